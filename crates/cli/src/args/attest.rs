//! `stockade attest`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Attest {
    /// Take how a device started last as right for its model: it is known to be good
    Record {
        /// The device
        id: String,
        /// The version of the system it is right for [default: the one it runs]
        #[arg(long)]
        version: Option<String>,
    },
    /// Say what is right by a unified kernel image, before any device runs it
    Reference {
        /// The image (register 11)
        #[arg(long, value_name = "FILE")]
        uki: PathBuf,
        /// The model, as its profile names it
        #[arg(long)]
        model: String,
        /// The version of the system: IMAGE_VERSION of its os-release
        #[arg(long)]
        version: String,
    },
    /// What is right, by model and version
    List,
    /// How a device started: registers, events, what differs
    Show {
        /// The device
        id: String,
    },
    /// Withdraw what is right for a version: devices that run it are refused
    Forget {
        /// The model, as its profile names it
        #[arg(long)]
        model: String,
        /// The version of the system
        #[arg(long)]
        version: String,
    },
    /// Let a device make its TPM known anew, within a day
    Reset {
        /// The device
        id: String,
    },
    /// What an event log of a firmware says, and which registers it leads to
    Log {
        /// The log, as in /sys/kernel/security/tpm0/binary_bios_measurements
        file: PathBuf,
    },
}
