//! The time that certificates are judged by: the system's, and never below what is known to be past.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use stockade_controls::engine::UnixSeconds;

/// No program of ours runs before it was written: 2026-11-01. A build may say better.
const WRITTEN: UnixSeconds = 1_793_491_200;
/// How much later the time has to be before it is written down again.
const STRIDE: u64 = 24 * 3600;

/// A clock with a floor.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    floor: Mutex<UnixSeconds>,
}

impl Clock {
    /// With the floor that is kept in this file, if there is one.
    pub fn open(file: PathBuf) -> Self {
        let seen = fs_err::read_to_string(&file)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let built = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
        let floor = seen.unwrap_or(0).max(built.unwrap_or(0)).max(WRITTEN);
        Self {
            file,
            floor: Mutex::new(floor),
        }
    }

    /// The time, never below the floor.
    pub fn now(&self) -> UnixSeconds {
        let system = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        system
            .as_secs()
            .max(*self.floor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// This moment is past for sure: a certificate of ours began, or a gateway whose certificate was in date let us in.
    pub fn seen(&self, moment: UnixSeconds) {
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        if moment > *floor {
            let write = moment > floor.saturating_add(STRIDE) || !self.file.exists();
            *floor = moment;
            // A full disk costs the floor of the next start, nothing now.
            if write && let Err(error) = super::replace(&self.file, moment.to_string().as_bytes()) {
                crate::run::say(&format!("cannot note the time: {error}"));
            }
        }
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}
