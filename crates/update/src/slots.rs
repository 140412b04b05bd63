//! The two places for systems, and what says which of them starts.

pub(crate) mod rauc;
mod uboot;

use std::io;
use std::path::Path;

use stockade_api::update::{self, Slot};

pub(crate) use self::uboot::{Uboot, Writer};

/// How often a boot loader tries a system before it takes the other one.
pub(crate) const TRIES: u64 = 3;

/// Why a slot could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The system does not say which slot it runs from.
    #[error(
        "cannot tell which slot this system runs from: its command line has neither `rauc.slot=` nor a `root=` that is one of the slots"
    )]
    Running,
    /// A file or a device.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The boot loader's variables.
    #[error("the environment of the boot loader: {0}")]
    Environment(String),
    /// The system does not fit.
    #[error("{place} has {room} bytes, and the system has {size}")]
    TooSmall {
        /// The slot's device.
        place: String,
        /// Its size.
        room: u64,
        /// The system's.
        size: u64,
    },
    /// The other program.
    #[error(transparent)]
    Program(#[from] stockade_host::program::ProgramError),
    /// RAUC says what it never should.
    #[error("RAUC: {0}")]
    Rauc(String),
}

/// What knows the slots.
#[derive(Debug)]
pub(crate) enum Slots {
    Rauc,
    Uboot(Uboot),
}

/// How they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The one that runs.
    pub(crate) running: Slot,
    /// The one that the boot loader tries first.
    pub(crate) first: Slot,
    /// Whether it would take each.
    pub(crate) good: [bool; 2],
}

impl Seen {
    pub(crate) fn is_good(self, slot: Slot) -> bool {
        let [a, b] = self.good;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }
}

impl Slots {
    pub(crate) fn open(root: &Path, slots: &update::Slots) -> Result<Self, SlotError> {
        Ok(match slots {
            update::Slots::Rauc => Self::Rauc,
            update::Slots::UbootEnv { a, b } => Self::Uboot(Uboot::open(root, [a, b])?),
        })
    }

    pub(crate) fn look(&self) -> Result<Seen, SlotError> {
        match self {
            Self::Rauc => rauc::look(),
            Self::Uboot(uboot) => uboot.look(),
        }
    }

    /// The system in this slot is to be started next.
    pub(crate) fn start_next(&self, slot: Slot) -> Result<(), SlotError> {
        match self {
            Self::Rauc => rauc::mark("active", slot),
            Self::Uboot(uboot) => uboot.start_next(slot),
        }
    }

    /// The system in this slot is good: every try is there again.
    pub(crate) fn mark_good(&self, slot: Slot) -> Result<(), SlotError> {
        match self {
            Self::Rauc => rauc::mark("good", slot),
            Self::Uboot(uboot) => uboot.mark_good(slot),
        }
    }

    /// Nothing starts from this slot any more, and the other one is first.
    pub(crate) fn mark_bad(&self, slot: Slot) -> Result<(), SlotError> {
        match self {
            Self::Rauc => rauc::mark("bad", slot),
            Self::Uboot(uboot) => uboot.mark_bad(slot),
        }
    }
}

impl Uboot {
    fn look(&self) -> Result<Seen, SlotError> {
        let running = self.running()?;
        let (first, left) = self.order()?;
        Ok(Seen {
            running,
            first,
            good: left.map(|left| left > 0),
        })
    }
}
