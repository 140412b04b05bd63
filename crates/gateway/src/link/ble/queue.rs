//! Who waits for a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hci::{Address, Way};

/// Devices that wait for a connection, or for the end of their rest, at a time.
const CANDIDATES: usize = 256;
/// After how long a device that is not heard has gone: longer than a failing connection, during which nobody is heard.
const GONE: Duration = Duration::from_secs(8);
/// How long a device rests after a connection that was of use; each that was not doubles it, up to six times.
const REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Candidate {
    way: Way,
    seen: Duration,
    /// Since when it waits for a connection.
    waits: Duration,
    not_before: Duration,
    failures: u32,
}

impl Candidate {
    fn is_here(&self, now: Duration) -> bool {
        now.saturating_sub(self.seen) <= GONE
    }
}

/// Devices that were heard, by the address they have now.
#[derive(Debug, Default)]
pub(super) struct Queue {
    candidates: BTreeMap<Address, Candidate>,
}

impl Queue {
    /// A device says that it is there. Where there are too many, those that went away make room, and new ones wait outside.
    pub(super) fn hear(&mut self, address: Address, way: Way, now: Duration) {
        if let Some(candidate) = self.candidates.get_mut(&address) {
            if !candidate.is_here(now) {
                candidate.waits = now;
            }
            (candidate.way, candidate.seen) = (way, now);
            return;
        }
        if self.candidates.len() >= CANDIDATES {
            self.candidates
                .retain(|_, it| it.is_here(now) || it.not_before > now);
        }
        if self.candidates.len() < CANDIDATES {
            let candidate = Candidate {
                way,
                seen: now,
                waits: now,
                not_before: now,
                failures: 0,
            };
            self.candidates.insert(address, candidate);
        }
    }

    /// Who is there, not at rest and not linked, has failed least, and of those has waited longest.
    pub(super) fn next(
        &self,
        now: Duration,
        is_linked: impl Fn(Address) -> bool,
    ) -> Option<(Address, Way)> {
        self.candidates
            .iter()
            .filter(|(address, it)| {
                it.not_before <= now && it.is_here(now) && !is_linked(**address)
            })
            .min_by_key(|(_, it)| (it.failures, it.waits))
            .map(|(address, it)| (*address, it.way))
    }

    /// When the next rest is over.
    pub(super) fn wake(&self, now: Duration) -> Option<Duration> {
        let ends = self.candidates.values().map(|it| it.not_before);
        ends.filter(|end| *end > now).min()
    }

    /// A device rests: the longer, the more of its connections were of no use.
    pub(super) fn rest(&mut self, address: Address, worked: bool, now: Duration) {
        if let Some(candidate) = self.candidates.get_mut(&address) {
            let failures = if worked { 0 } else { candidate.failures + 1 };
            candidate.failures = failures.min(6);
            candidate.not_before = now + REST * (1 << candidate.failures);
            candidate.waits = candidate.not_before;
        }
    }
}
