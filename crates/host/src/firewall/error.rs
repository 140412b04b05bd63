//! What can go wrong with the firewall.

use std::io;

use stockade_controls::firewall::readback::ReadbackError;

use super::state::StateError;
use crate::netlink::NetlinkError;
use crate::nft::NftError;
use crate::surroundings::SurroundingsError;

/// The shortest and the longest trial, in seconds.
pub(super) const TRIAL: std::ops::RangeInclusive<u64> = 5..=3600;
/// The shortest and the longest time that `UPnP` is on, in seconds.
pub(super) const WINDOW: std::ops::RangeInclusive<u64> = 5..=86_400;

/// Why the firewall is not as it was to be. Unless the text says otherwise, the rules from before are in force.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// `nft` or the kernel refused.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The kernel, asked without `nft`.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The place.
    #[error(transparent)]
    Surroundings(#[from] SurroundingsError),
    /// Something stands in our tables that we did not write.
    #[error("somebody else has changed our tables")]
    Foreign(#[from] ReadbackError),
    /// A profile that was remembered is not sound for this version.
    #[error("the profile that was applied before is not sound for this version of stockade: {0}")]
    Remembered(String),
    /// The time of a trial is out of bounds.
    #[error("a trial lasts from {} to {} seconds", TRIAL.start(), TRIAL.end())]
    Trial,
    /// The kernel does not hold what it was given; the rules from before are back.
    #[error(
        "the kernel does not hold the rules as they were written, so the rules from before are in force again: {0}"
    )]
    NotAsWritten(String),
    /// The rules for the kernel would not decide as the profile does.
    #[error(
        "the rules would not decide as the profile does, which is a fault of stockade; nothing was changed: {0}"
    )]
    Wrong(String),
    /// The same, and going back failed too.
    #[error(
        "the kernel does not hold the rules as they were written ({what}), and the rules from before could not be brought back: look at `nft list ruleset`"
    )]
    NotBack {
        /// What was wrong first.
        what: String,
        /// Why going back failed.
        #[source]
        why: Box<Self>,
    },
    /// The rules are in force, but that could not be written down.
    #[error(
        "the new rules are in force, but that could not be written down; `stockade firewall status` will try again"
    )]
    NotRecorded(#[source] StateError),
    /// Nothing is on trial.
    #[error("no rules are on trial: {0}")]
    NoTrial(&'static str),
    /// `UPnP` can not be on.
    #[error("UPnP can not be switched on: {0}")]
    Window(&'static str),
    /// There is nothing from before.
    #[error("there is nothing to go back to: no other rules were confirmed before these")]
    NothingBefore,
    /// Time on this machine.
    #[error("the clock of this machine is before 1970")]
    Clock,
}

impl From<io::Error> for FirewallError {
    fn from(why: io::Error) -> Self {
        Self::State(StateError::File(why))
    }
}
