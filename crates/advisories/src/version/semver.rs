//! Semantic Versioning 2.0.0, section 11.

use std::cmp::Ordering;

use super::{MOST, number};

#[derive(Debug)]
pub(super) struct Version<'a> {
    numbers: [&'a str; 3],
    before: Option<&'a str>,
}

impl<'a> Version<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        // What is built from it does not count (10).
        let text = text.split_once('+').map_or(text, |(it, _)| it);
        let (core, before) = match text.split_once('-') {
            Some((core, before)) => (core, Some(before)),
            None => (text, None),
        };
        let mut numbers = ["0"; 3];
        let mut given = core.split('.');
        let digits = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
        for (at, number) in numbers.iter_mut().enumerate() {
            match given.next() {
                Some(it) if digits(it) => *number = it,
                None if at > 0 => break,
                _ => return None,
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let word = |it: &str| !it.is_empty() && it.chars().all(plain);
        let fits = text.len() <= MOST
            && given.next().is_none()
            && before.is_none_or(|it| it.split('.').all(word));
        fits.then_some(Self { numbers, before })
    }

    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.numbers.iter().zip(&other.numbers);
        let order = pairs.fold(Ordering::Equal, |order, (a, b)| {
            order.then_with(|| number(a, b))
        });
        order.then_with(|| match (self.before, other.before) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(left), Some(right)) => before(left, right),
        })
    }
}

fn before(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let (a, b) = match (left.next(), right.next()) {
            (Some(a), Some(b)) => (a, b),
            // The longer one is newer (11.4.4).
            (a, b) => return a.is_some().cmp(&b.is_some()),
        };
        let digits = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit());
        let order = match (digits(a), digits(b)) {
            (true, true) => number(a, b),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}
