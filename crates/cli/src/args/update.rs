//! `stockade update`: what the maker of a device does.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Update {
    /// Begin a repository of systems: makes its keys and a first root of trust
    Init {
        /// A new folder
        dir: PathBuf,
        /// The model, as its profile names it
        #[arg(long)]
        model: String,
        /// How many keys may sign roots of trust, and how many systems
        #[arg(long, default_value_t = 3)]
        keys: usize,
        /// How many of them have to
        #[arg(long, default_value_t = 2)]
        threshold: usize,
    },
    /// Put a system up for signing; it is offered as soon as enough have signed
    Publish(Publish),
    /// Sign what waits, with a key; says how many signatures are missing
    Sign {
        /// The maker's folder
        dir: PathBuf,
        /// A private key (PKCS#8 PEM)
        #[arg(long)]
        key: PathBuf,
    },
    /// What is in it, who signed it, and until when it holds good
    Status {
        /// The maker's folder
        dir: PathBuf,
    },
    /// Say that this is still the newest: every few days, or devices refuse it
    Timestamp {
        /// The maker's folder
        dir: PathBuf,
    },
    /// Draft a root of trust in which keys of a role are exchanged
    Rotate {
        /// The maker's folder
        dir: PathBuf,
        /// Whose keys
        #[arg(long)]
        role: Role,
        /// Keys that go, by name or id
        #[arg(long, value_name = "KEY")]
        remove: Vec<String>,
        /// How many new ones are made
        #[arg(long, default_value_t = 0)]
        add: usize,
    },
    /// Draft a root of trust, or the list of systems, anew before its time is over
    Renew {
        /// The maker's folder
        dir: PathBuf,
        /// Which: root or targets
        #[arg(long)]
        role: Role,
    },
    /// Write the repository into one file, for devices that reach no network
    Bundle {
        /// The maker's folder
        dir: PathBuf,
        /// Where to write it
        #[arg(long, short)]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The maker's folder
    pub(crate) dir: PathBuf,
    /// The system: an image of a slot, or a bundle of RAUC
    pub(crate) file: PathBuf,
    /// Its version: higher than all before
    #[arg(long)]
    pub(crate) version: u64,
    /// The model [default: the one it was begun for]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// It mends a vulnerability: devices have less time
    #[arg(long)]
    pub(crate) security: bool,
    /// What the file is
    #[arg(long, value_enum, default_value = "image")]
    pub(crate) kind: Kind,
    /// What people call it, such as 2026.11.1
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Keys that sign it at once
    #[arg(long)]
    pub(crate) key: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// A whole image of a slot
    Image,
    /// A bundle that RAUC installs
    Rauc,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    /// Roots of trust: who may sign
    Root,
    /// Systems: what there is
    Targets,
    /// Which list of systems is the present one
    Snapshot,
    /// That this is the newest
    Timestamp,
}
