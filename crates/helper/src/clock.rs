//! The time, as far as it can be believed.

use std::time::SystemTime;

use stockade_controls::engine::UnixSeconds;

/// This program was written then: no clock that says less is right.
const WRITTEN: UnixSeconds = 1_795_392_000;

/// The time; never before one that was known to be over.
pub(crate) fn now(floor: UnixSeconds) -> UnixSeconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let clock = since.map_or(0, |since| since.as_secs());
    clock.max(floor).max(WRITTEN)
}
