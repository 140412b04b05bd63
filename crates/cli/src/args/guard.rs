//! `stockade guard …`

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use stockade_profile::{LinkAddress, ModelName};

#[derive(Debug, Subcommand)]
pub(crate) enum Guard {
    /// Guard a LAN: every device on it is held to its profile
    Run(Run),
    /// How the guard is, and what it guards
    Status,
    /// Every device on the LAN: what it is taken for, its addresses
    List,
    /// One device: addresses, where its profile comes from, what it may do in words
    Show {
        /// The address of its network card
        mac: LinkAddress,
    },
    /// Say what a device is
    Add(Add),
    /// One of the owner's own: a phone, a computer
    Trust {
        /// The address of its network card
        mac: LinkAddress,
        /// An address it has for good
        #[arg(long, value_name = "ADDRESS")]
        address: Vec<IpAddr>,
    },
    /// Take the profile of the MUD file that a device announced
    Accept {
        /// The address of its network card
        mac: LinkAddress,
    },
    /// Isolate a device: only what it needs to be mended
    Quarantine {
        /// The address of its network card
        mac: LinkAddress,
        /// Why, for whoever looks later
        #[arg(long, default_value = "by the operator")]
        reason: String,
    },
    /// Back to its profile after quarantine
    Release {
        /// The address of its network card
        mac: LinkAddress,
    },
    /// Forget what was said of a device: it is unknown again
    Remove {
        /// The address of its network card
        mac: LinkAddress,
    },
    /// The models the guard has profiles of
    Models,
    /// Give the guard a profile; an older version is refused
    Install {
        /// A profile in TOML
        file: PathBuf,
    },
    /// Forget a model that no device is of
    Uninstall {
        /// The model
        model: ModelName,
    },
    /// What happened on the LAN, newest last
    Events {
        /// Only those after this number
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Blocked packets as they come, each with the rule that would have to exist
    Watch {
        /// End after so many packets
        #[arg(long)]
        count: Option<u64>,
    },
    /// Compare the kernel's rules with what they should be
    Check,
    /// Load the rules anew
    Reload,
    /// Take the rules away, give the interface back, and end the guard
    Off,
}

/// What is not said here comes from the section `guard` of DIR/stockade.toml.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The LAN's interface: a bridge, or a card
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,
    /// Configuration file [default: DIR/stockade.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Whose MUD file is believed without asking: ask (nobody's), signed, any
    #[arg(long, value_name = "WHOSE")]
    pub(crate) mud_accept: Option<String>,
    /// A name server that devices' questions are passed on to
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) resolver: Vec<IpAddr>,
    /// End when standard input closes: whoever started it is gone
    #[arg(long, hide = true)]
    pub(crate) until_input_ends: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The address of its network card
    pub(crate) mac: LinkAddress,
    /// The model, as its profile names it
    #[arg(long)]
    pub(crate) model: Option<ModelName>,
    /// An address it has for good
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Vec<IpAddr>,
    /// The device of the gateway's registry that it is: quarantined there, isolated here
    #[arg(long, value_name = "ID")]
    pub(crate) device: Option<String>,
}
