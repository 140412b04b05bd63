//! The device's own loop: what is wrong here, what would mend it, doing it, taking it back.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Mend {
    /// On a device: how it stands by its profile, and what is wrong
    Status(Subject),
    /// On a device: what would mend it, why, and what could break; nothing is changed
    Plan(Subject),
    /// On a device: do what the plan says, so that it can be taken back
    Apply {
        #[command(flatten)]
        subject: Subject,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// On a device: what is plugged in, what else leads in, and what becomes of it; `keep`: what is on trial stays
    Ports(Ports),
    /// On a device: updates of the whole system
    #[command(subcommand)]
    Update(Update),
    /// On a device: a new random password for its page; it must be changed at log-in
    ResetPassword {
        /// The device's files are below this directory
        #[arg(long, value_name = "DIR", hide = true)]
        places: Option<PathBuf>,
    },
    /// On a device: take back what was applied, bit for bit
    Undo {
        #[command(flatten)]
        subject: Subject,
        /// Everything that was ever applied, not only the last plan
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Update {
    /// Ask the source what is there; nothing is installed
    Look(Here),
    /// Install the newest system, or this version, and start it on trial
    Install {
        /// The version
        #[arg(long)]
        version: Option<u64>,
        #[command(flatten)]
        here: Here,
    },
    /// Install the newest system of a bundle, without a network, and start it on trial
    Bundle {
        /// The bundle: a tar, or a directory
        path: PathBuf,
        #[command(flatten)]
        here: Here,
    },
    /// How updates stand: what runs, what is offered, what goes on
    Status(Here),
    /// The system on trial is healthy: it stays
    Confirm(Here),
}

#[derive(Debug, Args)]
pub(crate) struct Here {
    /// The device's files are below this directory
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) places: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Ports {
    /// What is on trial stays
    #[arg(value_name = "WHAT", value_parser = ["keep"])]
    pub(crate) what: Option<String>,
    /// The device's files are below this directory
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) places: Option<PathBuf>,
}

/// What is judged: without any of these this device, through its helper and by its signed profile.
#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// A root directory that does not run: an unpacked image, a mounted disk; needs --profile
    #[arg(long, value_name = "DIR", requires = "profile")]
    pub(crate) root: Option<PathBuf>,
    /// Judge by this profile and in this process, without a helper
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Where what was before is kept, for undoing
    /// [default: /var/lib/stockade/apply; with --root: DIR.undo beside it]
    #[arg(long, value_name = "DIR", requires = "profile")]
    pub(crate) keep: Option<PathBuf>,
    /// The device's files are below this directory
    #[arg(long, value_name = "DIR", hide = true, conflicts_with = "profile")]
    pub(crate) places: Option<PathBuf>,
}
