//! `stockade profile learn`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use stockade_profile::{LinkAddress, Manufacturer, ModelName};

use super::time::time;

#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// Captures in which the device is seen (pcap or pcapng); - for standard input
    #[arg(required_unless_present = "interface")]
    pub(crate) captures: Vec<PathBuf>,
    /// The device's address on the link (MAC)
    #[arg(long, value_name = "MAC")]
    pub(crate) device: LinkAddress,
    /// Watch this interface as well
    #[arg(long, short, value_name = "NAME")]
    pub(crate) interface: Option<String>,
    /// For how long to watch; Ctrl-C ends it earlier
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = time, requires = "interface")]
    pub(crate) watch: Duration,
    /// Say how much of this capture the profile would have allowed
    #[arg(long, value_name = "CAPTURE")]
    pub(crate) test: Vec<PathBuf>,
    /// Where to write the profile; without it, it goes to standard output and the report to standard error
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// The model's name in the profile
    #[arg(long, default_value = "learned-device")]
    pub(crate) model: ModelName,
    /// The manufacturer's name in the profile
    #[arg(long, default_value = "unknown")]
    pub(crate) manufacturer: Manufacturer,
}
