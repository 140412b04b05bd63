//! `stockade rollout`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::time::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Have the devices of a model go to a version, a few of them first
    Start(Start),
    /// How a roll-out stands: stages, who fell and why
    Status {
        /// Its number [default: the newest]
        id: Option<u64>,
    },
    /// All roll-outs, newest first
    List,
    /// Halt a roll-out: devices that have not begun keep their system
    Halt {
        /// Its number
        id: u64,
        /// Why, for whoever looks later
        #[arg(long, default_value = "by the operator")]
        reason: String,
    },
    /// Go on with a halted roll-out; those that do not run the version are told again
    Resume {
        /// Its number
        id: u64,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The model, as its profile names it
    #[arg(long)]
    pub(crate) model: String,
    /// The version that its maker published
    #[arg(long)]
    pub(crate) version: u64,
    /// Shares of the devices; the last is 100%
    #[arg(long, value_delimiter = ',', default_value = "1%,10%,100%")]
    pub(crate) stages: Vec<String>,
    /// How long each device is watched after it came up
    #[arg(long, default_value = "1h", value_parser = time)]
    pub(crate) wait: Duration,
    /// How long a device may take to come up with the version
    #[arg(long, default_value = "6h", value_parser = time)]
    pub(crate) within: Duration,
    /// It halts by itself when more than this share of a stage fell
    #[arg(long, default_value = "2%")]
    pub(crate) limit: String,
}
