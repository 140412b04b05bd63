//! Secure communications: the device's keys, its certificate, and whom it trusts (`docs/controls/comms.md`).

pub(crate) mod certificate;
mod facts;
mod rules;
#[cfg(test)]
mod tests;

use stockade_profile::Control;

pub(crate) use self::certificate::fuzz;
pub use self::certificate::{Certificate, from_pem};
use crate::engine::{Case, Check, Judged, Rule};

/// The control `comms`.
#[derive(Debug)]
pub struct Comms;

impl Check for Comms {
    fn control(&self) -> Control {
        Control::Comms
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::RULES
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        rules::key_place(case, &mut judged);
        rules::key_private(case, &mut judged);
        rules::key_not_in_an_image(case, &mut judged);
        rules::certificate(case, &mut judged);
        rules::trust(case, &mut judged);
        judged
    }
}
