//! `stockade firewall …`

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use stockade_profile::{ClassUri, LinkAddress, Malformed, Network};

use super::time::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Firewall {
    /// The rules of a profile as they would be on this machine: in words, then for nft
    Show {
        #[command(flatten)]
        place: Place,
        /// The profile in TOML
        profile: PathBuf,
    },
    /// Compare the kernel's rules with a profile; each difference is named
    Check {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        kept: Kept,
        /// The profile in TOML [default: the one that was applied]
        profile: Option<PathBuf>,
    },
    /// Put a profile's rules into force, on trial until they are confirmed
    Apply(Apply),
    /// Keep the rules that are on trial; from a new session, which proves that one can be had
    Confirm {
        #[command(flatten)]
        kept: Kept,
        /// Take the session that applied them for proof enough
        #[arg(long)]
        same_session: bool,
    },
    /// Go back to the rules before
    Undo {
        #[command(flatten)]
        kept: Kept,
    },
    /// What is in force, and whether a trial runs
    Status {
        #[command(flatten)]
        kept: Kept,
    },
    /// Blocked packets as they come, each with the rule that would have to exist
    Watch {
        #[command(flatten)]
        kept: Kept,
        /// End after so many
        #[arg(long, value_name = "NUMBER")]
        count: Option<u64>,
    },
    /// Enforce a profile and answer its names: the program of a boot unit
    Run {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        kept: Kept,
        /// The profile in TOML [default: the one that was applied]
        profile: Option<PathBuf>,
    },
    /// Take the rules away: everything passes
    Off {
        #[command(flatten)]
        kept: Kept,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) kept: Kept,
    /// How long the rules are on trial: without `stockade firewall confirm` the kernel goes back to those before
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub(crate) confirm_within: Duration,
    /// For good at once, without a trial: for scripts that run where nobody can be locked out
    #[arg(long, conflicts_with = "confirm_within")]
    pub(crate) now: bool,
    /// Only ask nft and the kernel whether they would take the rules
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The profile in TOML
    pub(crate) profile: PathBuf,
}

/// Where this machine stands; what is not said is found out.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The gateway's address [default: that of the default route]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<IpAddr>,
    /// The gateway's hardware address; nobody else may then claim its addresses
    #[arg(long, value_name = "MAC")]
    pub(crate) gateway_link: Option<LinkAddress>,
    /// A network that this machine is in [default: those of its interfaces]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) local: Vec<Network>,
    /// Whom the DNS forwarder asks [default: the system's name servers]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) resolver: Vec<IpAddr>,
    /// The port of the DNS forwarder on this machine
    #[arg(long, value_name = "PORT", default_value_t = 5_053)]
    pub(crate) forwarder: u16,
    /// A host of a class of controllers, for rules about `controller:URI`
    #[arg(long, value_name = "URI=ADDRESS", value_parser = controller)]
    pub(crate) controller: Vec<(ClassUri, IpAddr)>,
    /// A host that controls devices of this model, for rules about `my-controller`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) my_controller: Vec<IpAddr>,
}

fn controller(text: &str) -> Result<(ClassUri, IpAddr), String> {
    let (class, host) = text
        .rsplit_once('=')
        .ok_or("for example urn:example:controller=192.0.2.7")?;
    let class = class.parse().map_err(|wrong: Malformed| wrong.message)?;
    let host = host
        .parse()
        .map_err(|_| format!("`{host}` is not an address"))?;
    Ok((class, host))
}

/// Where the firewall remembers.
#[derive(Debug, Args)]
pub(crate) struct Kept {
    /// Where the firewall remembers what was confirmed
    #[arg(long, value_name = "DIR", default_value = stockade_host::firewall::FOLDER)]
    pub(crate) state: PathBuf,
}
