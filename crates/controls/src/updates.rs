//! `updates`: the device looks for updates, and has those that matter in time.

mod debian;
mod judge;
mod rules;
mod sources;
mod state;

use stockade_profile::Control;

pub use debian::{Version, waiting};
pub use state::{Looked, Offered, PENDING, Pending, Returned, STATE, Slot, State, Trial};

use crate::engine::{Case, Check, Judged, Rule};

/// The control `updates`.
#[derive(Debug)]
pub struct Updates;

impl Check for Updates {
    fn control(&self) -> Control {
        Control::Updates
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        judge::judge(case)
    }
}

/// Any bytes as what package managers keep, and as what is remembered.
pub(crate) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    debian::fuzz(&text);
    sources::fuzz(&text);
}
