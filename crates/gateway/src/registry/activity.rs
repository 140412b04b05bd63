//! What a device does, counted in memory and written down once a second.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::record::FORMAT;

/// How many violations are kept with their reasons.
const KEPT: usize = 5;
/// How long a reason may be, in characters.
const MAX_REASON: usize = 200;

/// A violation that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The control that was violated.
    pub control: String,
    /// What was tried.
    pub reason: String,
}

/// A device's counters in the store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredActivity {
    pub(super) v: u8,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) last_seen: Option<OffsetDateTime>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) violations: u64,
    pub(super) noted: VecDeque<Noted>,
}

/// A device's counters.
#[derive(Debug, Default)]
pub(super) struct Activity {
    pub(super) stored: StoredActivity,
    /// Whether it is on the list of those to be written.
    pub(super) unwritten: bool,
    minute: Option<Box<Minute>>,
}

/// Violations of the last sixty seconds, one count a second.
#[derive(Debug)]
struct Minute {
    second: i64,
    counts: [u16; 60],
}

impl Minute {
    /// Moves on to `second`, forgetting what is older than a minute. A clock that steps back a little stays where it
    /// is; one that jumps starts anew.
    fn advance(&mut self, second: i64) {
        let ahead = second.saturating_sub(self.second);
        if !(-60..60).contains(&ahead) {
            self.counts = [0; 60];
            self.second = second;
            return;
        }
        for passed in 1..=ahead {
            if let Some(count) = self
                .counts
                .get_mut(slot(self.second.saturating_add(passed)))
            {
                *count = 0;
            }
        }
        self.second = self.second.max(second);
    }

    fn total(&self) -> u32 {
        self.counts.iter().map(|&count| u32::from(count)).sum()
    }
}

fn slot(second: i64) -> usize {
    usize::try_from(second.rem_euclid(60)).unwrap_or_default()
}

impl Activity {
    pub(super) fn from_stored(stored: StoredActivity) -> Self {
        Self {
            stored,
            unwritten: false,
            minute: None,
        }
    }

    pub(super) fn seen(&mut self, now: OffsetDateTime, peer: SocketAddr) {
        self.stored.v = FORMAT;
        self.stored.last_seen = Some(now);
        self.stored.peer = Some(peer);
    }

    /// Counts a violation and says how many there were in the last minute.
    pub(super) fn violation(&mut self, control: &str, reason: &str, now: OffsetDateTime) -> u32 {
        self.stored.v = FORMAT;
        self.stored.violations = self.stored.violations.saturating_add(1);
        if self.stored.noted.len() >= KEPT {
            self.stored.noted.pop_front();
        }
        let reason = reason.chars().take(MAX_REASON).collect();
        self.stored.noted.push_back(Noted {
            at: now,
            control: control.to_owned(),
            reason,
        });
        let second = now.unix_timestamp();
        let minute = self.minute.get_or_insert_with(|| {
            Box::new(Minute {
                second,
                counts: [0; 60],
            })
        });
        minute.advance(second);
        if let Some(count) = minute.counts.get_mut(slot(minute.second)) {
            *count = count.saturating_add(1);
        }
        minute.total()
    }

    pub(super) fn last_minute(&self, now: OffsetDateTime) -> u32 {
        let Some(minute) = &self.minute else {
            return 0;
        };
        let mut minute = Minute {
            second: minute.second,
            counts: minute.counts,
        };
        minute.advance(now.unix_timestamp());
        minute.total()
    }

    /// Forgets the last minute: who was released starts anew.
    pub(super) fn forgive(&mut self) {
        self.minute = None;
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::seconds(1_000_000 + seconds)
    }

    #[test]
    fn a_minute_is_counted_to_the_second_and_then_forgotten() {
        let mut activity = Activity::default();
        for second in 0..60 {
            activity.violation("comms", "x", at(second));
        }
        assert_eq!(activity.last_minute(at(59)), 60);
        assert_eq!(activity.last_minute(at(60)), 59);
        assert_eq!(activity.violation("comms", "x", at(89)), 31);
        assert_eq!(activity.last_minute(at(200)), 0);
        assert_eq!(activity.stored.violations, 61);
        assert_eq!(activity.stored.noted.len(), KEPT);
    }

    #[test]
    fn a_clock_that_steps_back_forgets_nothing_and_one_that_jumps_starts_anew() {
        let mut activity = Activity::default();
        for _ in 0..10 {
            activity.violation("comms", "x", at(100));
        }
        assert_eq!(activity.violation("comms", "x", at(95)), 11);
        assert_eq!(activity.violation("comms", "x", at(-100_000)), 1);
        assert_eq!(activity.violation("comms", "x", at(100_000)), 1);
    }
}
