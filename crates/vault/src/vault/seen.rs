//! Which messages were taken: so that one that comes again is not stored again, whatever order they come in.

use std::collections::VecDeque;

use crate::seal::RecordId;

/// Runs of the gateway that are remembered.
const RUNS: usize = 32;
/// Gaps in a run that may still be filled; the oldest counts as filled beyond that.
const GAPS: usize = 64;
const RUN: usize = 16;

/// The counts that were taken, by run, as stretches that grow. The run heard last is the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(VecDeque<([u8; RUN], Vec<Stretch>)>);

/// From this count on, up to before this one.
type Stretch = (u64, u64);

impl Seen {
    /// Takes note of a message; false if it was taken before, or is so late that it may have been.
    pub(super) fn take(&mut self, id: RecordId) -> bool {
        let known = self.0.iter().rposition(|(run, _)| *run == id.run);
        let at = known.unwrap_or_else(|| {
            if self.0.len() >= RUNS {
                self.0.pop_front();
            }
            self.0.push_back((id.run, Vec::new()));
            self.0.len() - 1
        });
        let Some((_, stretches)) = self.0.get_mut(at) else {
            return false;
        };
        take(stretches, id.count)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (run, stretches) in &self.0 {
            out.extend(run);
            out.extend(u16::try_from(stretches.len()).unwrap_or(0).to_be_bytes());
            for (from, to) in stretches {
                out.extend(from.to_be_bytes());
                out.extend(to.to_be_bytes());
            }
        }
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut seen = Self::default();
        while !bytes.is_empty() {
            let (run, rest) = bytes.split_first_chunk()?;
            let (count, rest) = rest.split_first_chunk()?;
            let mut stretches = Vec::new();
            bytes = rest;
            for _ in 0..u16::from_be_bytes(*count) {
                let (from, rest) = bytes.split_first_chunk()?;
                let (to, rest) = rest.split_first_chunk()?;
                stretches.push((u64::from_be_bytes(*from), u64::from_be_bytes(*to)));
                bytes = rest;
            }
            seen.0.push_back((*run, stretches));
        }
        Some(seen)
    }
}

fn take(stretches: &mut Vec<(u64, u64)>, count: u64) -> bool {
    let next = count.saturating_add(1);
    // The first stretch that ends at the count or behind it; nearly always the last.
    let at = stretches.partition_point(|(_, to)| *to < count);
    match stretches.get(at).copied() {
        Some((from, to)) if (from..to).contains(&count) => return false,
        Some((_, to)) if to == count => {
            let joined = stretches
                .get(at + 1)
                .copied()
                .filter(|(from, _)| *from == next);
            if let Some((_, end)) = joined {
                stretches.remove(at + 1);
                set(stretches, at, |it| it.1 = end);
            } else {
                set(stretches, at, |it| it.1 = next);
            }
        }
        Some((from, _)) if from == next => set(stretches, at, |it| it.0 = count),
        Some(_) if at == 0 && stretches.len() > GAPS => return false,
        _ => stretches.insert(at, (count, next)),
    }
    if stretches.len() > GAPS + 1
        && let (Some((from, _)), Some((_, to))) =
            (stretches.first().copied(), stretches.get(1).copied())
    {
        stretches.remove(0);
        set(stretches, 0, |it| *it = (from, to));
    }
    true
}

fn set(stretches: &mut [(u64, u64)], at: usize, change: impl FnOnce(&mut (u64, u64))) {
    if let Some(stretch) = stretches.get_mut(at) {
        change(stretch);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(run: u8, count: u64) -> RecordId {
        RecordId {
            run: [run; RUN],
            count,
        }
    }

    #[test]
    fn each_message_counts_once_in_whatever_order_it_comes() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let (mut seen, mut model) = (Seen::default(), BTreeSet::new());
        for _ in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let next = id(u8::try_from(random % 3).unwrap(), (random >> 8) % 60);
            assert_eq!(seen.take(next), model.insert(next), "{next:?}");
        }
        assert_eq!(Seen::decode(&seen.encode()), Some(seen));
    }

    #[test]
    fn gaps_and_runs_are_bounded_and_what_is_too_late_is_not_taken_twice() {
        let mut seen = Seen::default();
        for count in 0..10_000 {
            assert!(seen.take(id(1, count * 2)));
        }
        assert!(seen.encode().len() < 2_000);
        assert!(!seen.take(id(1, 1)), "a gap long closed");
        assert!(seen.take(id(1, 19_997)), "a gap still open");
        for run in 2..200 {
            assert!(seen.take(id(run, 7)));
        }
        assert!(seen.0.len() <= RUNS);
        assert_eq!(Seen::decode(&[1; 17]), None);
    }
}
