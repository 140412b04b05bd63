//! How long to wait before the gateway is tried again. Pure.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST: Duration = Duration::from_mins(10);
/// A session that lasted this long was a good one. The gateway itself ends one when it quarantines or releases the device.
const GOOD: Duration = Duration::from_secs(10);

/// The wait doubles with each failure, and each device waits somewhat else: after a gateway's restart they do not all come at once.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failed: u32,
}

impl Pace {
    /// How long to wait after a session that lasted this long; `random` is any number.
    pub(super) fn pause(&mut self, lasted: Duration, random: u32) -> Duration {
        if lasted >= GOOD {
            self.failed = 0;
        }
        let longest = FIRST.saturating_mul(1 << self.failed.min(16)).min(LONGEST);
        self.failed = self.failed.saturating_add(1);
        // From half of it to all of it.
        let share = f64::from(random) / f64::from(u32::MAX);
        longest.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_its_limit_differs_and_starts_anew_after_a_good_session() {
        let mut pace = Pace::default();
        let waits: Vec<u64> = (0..12)
            .map(|_| pace.pause(Duration::ZERO, u32::MAX).as_secs())
            .collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]);
        assert_eq!(pace.pause(Duration::ZERO, 0).as_secs(), 300);
        assert_eq!(pace.pause(GOOD, u32::MAX).as_secs(), 2);
    }
}
