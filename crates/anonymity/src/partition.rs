//! Rows put together by what they have in common, in time that grows with their number alone.

use crate::number::{code, place};

/// Numbers for keys, in the order in which they come. A table of open addressing: keys are few integers and need no allocation each.
#[derive(Debug)]
pub(crate) struct Groups {
    slots: Vec<u32>,
    keys: Vec<u64>,
}

impl Groups {
    /// For so many keys at most.
    pub(crate) fn for_keys(most: usize) -> Self {
        Self {
            slots: vec![0; most.saturating_mul(2).next_power_of_two()],
            keys: Vec::new(),
        }
    }

    /// How many keys there were.
    pub(crate) const fn len(&self) -> usize {
        self.keys.len()
    }

    /// The number of a key, and whether it is the first time.
    pub(crate) fn number(&mut self, key: u64) -> (u32, bool) {
        let mask = self.slots.len() - 1;
        let mut at = place(spread(key)) & mask;
        loop {
            match self.slots[at] {
                0 => {
                    let new = code(self.keys.len());
                    self.keys.push(key);
                    self.slots[at] = new + 1;
                    return (new, true);
                }
                taken if self.keys[place(taken - 1)] == key => return (taken - 1, false),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Forgets all keys.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(0);
        self.keys.clear();
    }
}

/// The finaliser of `MurmurHash3`: keys that differ little are far from each other.
fn spread(key: u64) -> u32 {
    let mut key = key ^ (key >> 33);
    key = key.wrapping_mul(0xff51_afd7_ed55_8ccd);
    key ^= key >> 33;
    u32::try_from(key >> 32).unwrap_or_default()
}

/// Two codes as one key.
pub(crate) fn pair(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

/// For each row the number of its group, numbered as they come, and how many there are: rows of a group have the same code in each of the
/// lists. With each list comes how many codes there are.
pub(crate) fn partition(lists: &[(&[u32], usize)], rows: usize) -> (Vec<u32>, usize) {
    let mut groups = Groups::for_keys(rows);
    let mut keys = vec![0_u64; rows];
    let mut range = 1_u64;
    for (codes, count) in lists {
        let count = u64::try_from(*count).unwrap_or(u64::MAX).max(1);
        if range.checked_mul(count).is_none() {
            range = renumber(&mut groups, &mut keys);
        }
        for (key, code) in keys.iter_mut().zip(*codes) {
            *key = *key * count + u64::from(*code);
        }
        range = range.saturating_mul(count);
    }
    groups.clear();
    let numbers = keys.iter().map(|key| groups.number(*key).0).collect();
    (numbers, groups.len())
}

/// Keys made as small as they can be; how many there are.
fn renumber(groups: &mut Groups, keys: &mut [u64]) -> u64 {
    groups.clear();
    for key in keys {
        *key = u64::from(groups.number(*key).0);
    }
    u64::try_from(groups.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_together_if_they_agree_in_everything_however_many_columns() {
        let codes: Vec<u32> = vec![0, 1, 0, 2_000_000, 1];
        let lists: Vec<(&[u32], usize)> = (0..40).map(|_| (&codes[..], 2_000_001)).collect();
        assert_eq!(partition(&lists, 5), (vec![0, 1, 0, 2, 1], 3));
        assert_eq!(partition(&[], 3), (vec![0, 0, 0], 1));
        assert_eq!(partition(&[], 0), (vec![], 0));
    }
}
