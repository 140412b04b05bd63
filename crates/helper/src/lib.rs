//! The process with rights and no network: assesses, plans, applies, takes back.
//!
//! The main flow is [`run`]. `serve` says who is listened to, `ask` what becomes of each request; the rest is a file for each
//! thing that the helper looks after.

mod ask;
mod attest;
mod blocked;
mod clock;
mod command;
mod device;
mod events;
mod evidence;
mod firewall;
mod launcher;
mod look;
mod mac;
mod mend;
mod password;
mod pending;
mod ports;
mod profile;
mod refusal;
mod runner;
mod serve;
mod tamper;
mod update;
mod upnp;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use stockade_api::Places;
use stockade_host::sandbox::Sandbox;
use stockade_host::{files, local};

pub use launcher::{Role, run as launcher};

/// How the helper is started; users are user and group ids.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// The directory that paths begin at.
    pub root: PathBuf,
    /// The agent.
    pub agent: (u32, u32),
    /// The key process.
    pub keys: (u32, u32),
    /// miniupnpd.
    pub upnp: (u32, u32),
}

/// Starts what needs the network, gives up the rest of it, brings the device back to a known state, and answers for good.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let places = Places::below(&arguments.root);
    let hands = launcher::Hands::start()?;
    // Landlock is not asked of a process that changes the system.
    let _entered = Sandbox::helper().enter(true)?;
    fs_err::create_dir_all(places.run())?;
    let socket = places.helper_socket();
    let listener = local::listen(&socket, arguments.agent.1).context("cannot listen")?;
    let device = Arc::new(device::Device::open(places, arguments, hands)?);
    device.recover();
    serve::serve(&device, &listener)
}
