//! Between the helper and `stockade-update`, which installs whole systems: what is asked, and what comes back.

use serde::{Deserialize, Serialize};
use stockade_controls::engine::UnixSeconds;

/// Something to do, and what has to be known for it: a line of JSON to the program's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Job {
    /// What to do.
    pub errand: Errand,
    /// The model of this device.
    pub model: String,
    /// Where systems are written to; none if the device takes packages only.
    pub slots: Option<Slots>,
    /// The time, as far as it can be believed.
    pub now: UnixSeconds,
}

/// The places for systems, and what says which of them starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Slots {
    /// RAUC knows.
    Rauc,
    /// The environment of U-Boot says it.
    UbootEnv {
        /// The device of slot A.
        a: String,
        /// The device of slot B.
        b: String,
    },
}

/// What the program says: lines of JSON. All but the last are [`Said::Doing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Said {
    /// What it does now, as half a sentence.
    Doing(String),
    /// It is done, and this is how things stand.
    Done(Standing),
    /// It is not done: why, as a sentence.
    Refused(String),
}

/// What is asked of the program that installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Errand {
    /// Says where things stand, and finishes what a power cut left half done.
    Settle,
    /// Judges what was fetched.
    Look,
    /// Installs this version, or the newest.
    Install {
        /// The version.
        version: Option<u64>,
        /// A bundle to take it from, in place of what was fetched: a file or a directory.
        bundle: Option<String>,
    },
    /// The system that runs is healthy: it stays.
    Confirm,
    /// The system that runs is not healthy: the other one starts next.
    Fail {
        /// Why, as half a sentence.
        why: String,
    },
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Standing {
    /// The version that runs (`IMAGE_VERSION` of os-release(5)); none if the system does not say.
    pub runs: Option<u64>,
    /// The slots; empty if there are none.
    pub slots: Vec<SlotState>,
    /// The highest version that proved healthy here: nothing below it is installed.
    pub confirmed: u64,
    /// Where an update stands.
    pub phase: Phase,
    /// The version that the device came back from last, and why; until a newer one is kept.
    pub returned: Option<(u64, String)>,
    /// The newest system for this model that was offered, if this was a look or an installation.
    pub newest: Option<Offer>,
}

/// One of two places for a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The one beside it.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// As boot loaders say it.
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

/// What is in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SlotState {
    /// Which.
    pub slot: Slot,
    /// The version in it, if that is known.
    pub version: Option<u64>,
    /// Whether the running system is in it.
    pub running: bool,
    /// Whether the boot loader would take it.
    pub good: bool,
}

/// A system that is offered, its signatures checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Offer {
    /// Its version.
    pub version: u64,
    /// What people call it.
    pub name: Option<String>,
    /// Whether it, or one between the running one and it, mends a vulnerability.
    pub security: bool,
    /// Its size in bytes.
    pub size: u64,
}

/// Where an update stands. Each is on disk before what it names begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Phase {
    /// None is going on.
    #[default]
    Idle,
    /// The slot that does not run is written: nothing starts from it.
    Writing {
        /// The version.
        version: u64,
        /// Where to.
        slot: Slot,
    },
    /// The new system is there whole, and starts next.
    Ready {
        /// The version.
        version: u64,
        /// Where.
        slot: Slot,
    },
    /// The new system runs, and has to prove that it is healthy.
    Trying {
        /// The version.
        version: u64,
        /// Where.
        slot: Slot,
    },
}
