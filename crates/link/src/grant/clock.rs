//! What a device knows of the time, and of revocations.

use super::GrantError;
use crate::cbor::{Reader, Writer};

/// How far clocks may be apart, in seconds.
pub const SLACK: u64 = 300;

/// The earliest the time can be, and whether it is the time: a device without a battery knows after a restart only what it kept.
/// And the epoch, below which grants for this device are revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970, at least.
    floor: u64,
    /// When it was so, in milliseconds of uptime.
    at: u64,
    /// The gateway has told the time since the start.
    told: bool,
    epoch: u64,
}

impl Clock {
    /// Bytes that [`Clock::keep`] gives at most.
    pub const KEPT: usize = 19;

    /// Knows what was kept before a restart; of bytes that could not be read, nothing.
    pub fn restored(kept: &[u8], uptime: u64) -> Self {
        let read = || {
            let mut reader = Reader::new(kept);
            let pair = reader.array().ok().filter(|&count| count == 2);
            pair.and_then(|_| Some((reader.uint().ok()?, reader.uint().ok()?)))
                .filter(|_| reader.is_empty())
        };
        let (floor, epoch) = read().unwrap_or_default();
        Self {
            floor,
            at: uptime,
            told: false,
            epoch,
        }
    }

    /// What is to be kept: now and then, and always after the epoch has changed. Gives its length.
    pub fn keep(&self, uptime: u64, out: &mut [u8; Self::KEPT]) -> usize {
        let mut writer = Writer::new(out);
        writer.array(2).uint(self.least(uptime)).uint(self.epoch);
        writer.written()
    }

    /// What time it is at least, in seconds since 1970.
    pub const fn least(&self, uptime: u64) -> u64 {
        self.floor
            .saturating_add(uptime.saturating_sub(self.at) / 1000)
    }

    /// The gateway's word, fresh and authentic. It goes back too: grants are made by the same clock, and a gateway whose clock was
    /// once ahead would otherwise have shut its devices up.
    pub const fn tell(&mut self, time: u64, epoch: u64, uptime: u64) {
        self.floor = time;
        self.at = uptime;
        self.told = true;
        self.raise(epoch);
    }

    /// Below this, grants are revoked. It only rises.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    const fn raise(&mut self, epoch: u64) {
        if epoch > self.epoch {
            self.epoch = epoch;
        }
    }

    /// When a verified grant ends, in milliseconds of uptime.
    pub(super) fn judge(
        &mut self,
        uptime: u64,
        begins: u64,
        expires: u64,
        epoch: u64,
    ) -> Result<u64, GrantError> {
        if epoch < self.epoch {
            return Err(GrantError::Revoked);
        }
        let now = self.least(uptime);
        if begins > now.saturating_add(SLACK) && self.told {
            return Err(GrantError::NotYet);
        }
        // The gateway has signed it at that time: it is later now.
        let now = now.max(begins);
        let left = expires
            .checked_sub(now)
            .filter(|&left| left > 0)
            .ok_or(GrantError::Expired)?;
        if !self.told && begins > self.least(uptime) {
            self.floor = begins;
            self.at = uptime;
        }
        self.raise(epoch);
        Ok(uptime.saturating_add(left.saturating_mul(1000)))
    }
}
