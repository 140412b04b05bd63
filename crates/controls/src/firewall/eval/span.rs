//! Values as ranges of numbers, and sets of them.

use std::collections::BTreeMap;

use super::super::nft::Value;

/// An inclusive range of numbers.
pub(crate) type Span = (u128, u128);

/// A value as a range of numbers.
pub(crate) fn of_value(value: &Value) -> Span {
    match value {
        Value::Ip4(first, last) => (first.to_bits().into(), last.to_bits().into()),
        Value::Ip6(first, last) => (first.to_bits(), last.to_bits()),
        Value::Mac(bytes) => one(number(bytes)),
        Value::Number(first, last) => ((*first).into(), (*last).into()),
        Value::Interface(name) => one(number(name.as_str().as_bytes())),
        Value::States(states) => one(states.bits().into()),
    }
}

fn one(number: u128) -> Span {
    (number, number)
}

/// Bytes as one number; a name of an interface has at most 15.
pub(crate) fn number(bytes: &[u8]) -> u128 {
    let shifted = |sum: u128, byte: &u8| sum.wrapping_shl(8) | u128::from(*byte);
    bytes.iter().fold(0, shifted)
}

/// Keys with something behind each of them.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// Keys without ranges.
    exact: BTreeMap<Vec<u128>, T>,
    /// Keys of one part, sorted; they do not overlap.
    single: Vec<(Span, T)>,
    /// Keys of several parts with a range among them.
    ranges: Vec<(Vec<Span>, T)>,
}

impl<T> Table<T> {
    pub(super) fn new(elements: impl Iterator<Item = (Vec<Span>, T)>) -> Self {
        let mut table = Self {
            exact: BTreeMap::new(),
            single: Vec::new(),
            ranges: Vec::new(),
        };
        for (key, data) in elements {
            match key.as_slice() {
                spans if spans.iter().all(|(first, last)| first == last) => {
                    let key = key.into_iter().map(|(first, _)| first).collect();
                    table.exact.entry(key).or_insert(data);
                }
                [span] => table.single.push((*span, data)),
                _ => table.ranges.push((key, data)),
            }
        }
        table.single.sort_by_key(|(span, _)| *span);
        table
    }

    pub(super) fn get(&self, key: &[u128]) -> Option<&T> {
        self.exact
            .get(key)
            .or_else(|| self.in_single(key))
            .or_else(|| self.in_ranges(key))
    }

    fn in_single(&self, key: &[u128]) -> Option<&T> {
        let [value] = key else {
            return None;
        };
        let after = self
            .single
            .partition_point(|((first, _), _)| first <= value);
        let before = self.single.get(after.checked_sub(1)?)?;
        let ((_, last), data) = before;
        (value <= last).then_some(data)
    }

    fn in_ranges(&self, key: &[u128]) -> Option<&T> {
        let within = |(value, (first, last)): (&u128, &Span)| first <= value && value <= last;
        let found = self
            .ranges
            .iter()
            .find(|(spans, _)| key.iter().zip(spans).all(within));
        found.map(|(_, data)| data)
    }
}
