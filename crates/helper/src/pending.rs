//! Since when security updates of packages wait: nobody else on a device remembers it.

use stockade_controls::engine::{Host, UnixSeconds, Unseen};
use stockade_controls::updates::{Pending, waiting};

use crate::device::Device;
use crate::files;

impl Device {
    /// Notes what waits now, before it is judged. What cannot be read is judged as that.
    pub(crate) fn note_waiting(&self, host: &dyn Host, now: UnixSeconds) {
        let known = match Pending::read(host) {
            Ok(known) => known,
            Err(Unseen::Absent) => Pending::default(),
            Err(why) => return self.trouble("updates", &format!("since when they wait: {why}")),
        };
        let Ok(names) = waiting(host) else { return };
        let next = known.now(names.iter().map(String::as_str), now);
        if next == known {
            return;
        }
        let path = self.places.helper_state().join("pending.json");
        match files::put_json(&path, &next) {
            Ok(()) => self.mended("updates"),
            Err(why) => self.trouble(
                "updates",
                &format!("since when they wait is not kept: {why}"),
            ),
        }
    }
}
