//! What a control is.

use stockade_profile::{Control, Profile};

use super::assess::Judged;
use super::finding::Rule;
use super::host::{Host, UnixSeconds};

/// What is judged, and by what.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// What its model is for.
    pub profile: &'a Profile,
    /// The time, as far as it is known.
    pub now: UnixSeconds,
    /// What Stockade itself has put there.
    pub own: &'a Own,
}

impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").finish_non_exhaustive()
    }
}

/// What Stockade itself has on a device: it is no finding, and it is said here and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// Its services.
    pub services: Vec<String>,
    /// The user ids that its own processes have, apart from root.
    pub users: Vec<u32>,
    /// Seconds for which `UPnP` is still on, if the owner has switched it on.
    pub upnp: Option<u64>,
    /// What its helper knows of the case.
    pub tamper: Option<crate::tamper::Seen>,
}

/// One control: facts, rules and plan are its own; a new one is its folder and a line in [`CONTROLS`](super::CONTROLS).
pub trait Check: Sync {
    /// Which.
    fn control(&self) -> Control;

    /// Its rules, in the order of a report.
    fn rules(&self) -> &'static [&'static Rule];

    /// Reads the facts, judges them, and says what would mend what is wrong.
    fn judge(&self, case: &Case<'_>) -> Judged;
}
