//! `programs`: nothing is installed, started or running that the model is not for.

mod found;
mod judge;
mod named;
pub mod packages;
mod rules;

use stockade_profile::Control;

pub use packages::{Package, alpine, stanzas};

use crate::engine::{Case, Check, Judged, Rule};

/// The rule against servers of plain text log-ins, for who asks from outside.
pub static PLAIN_SERVER: &Rule = &rules::SERVERS;

/// The control `programs`.
#[derive(Debug)]
pub struct Programs;

impl Check for Programs {
    fn control(&self) -> Control {
        Control::Programs
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        judge::judge(case)
    }
}

/// Any bytes as a database of dpkg's and of apk's.
pub(crate) fn fuzz(data: &[u8]) {
    drop(stanzas(data));
    drop(alpine(data));
}
