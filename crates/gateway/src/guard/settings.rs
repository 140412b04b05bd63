//! What an operator chose about the guard.

use std::collections::BTreeMap;
use std::net::IpAddr;

use stockade_profile::mud::signature::Anchors;
use stockade_profile::{ClassUri, InterfaceName, Network};

use super::mud::MudPolicy;

/// What the guard runs with.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// The LAN's interface.
    pub interface: InterfaceName,
    /// Whether ports of the bridge reach each other through the gateway only.
    pub isolate_ports: bool,
    /// The port of the gateway that unknown devices may reach.
    pub notice_port: u16,
    /// Name servers that devices' questions are passed on to; none: the system's.
    pub resolvers: Vec<IpAddr>,
    /// Addresses of classes of controllers.
    pub controllers: BTreeMap<ClassUri, Vec<IpAddr>>,
    /// Addresses of the devices' own controllers.
    pub my_controllers: Vec<IpAddr>,
    /// What to do with MUD files.
    pub mud: MudSettings,
}

/// What to do with MUD files.
#[derive(Debug, Clone)]
pub struct MudSettings {
    /// Whether to fetch them, and whose to take.
    pub policy: MudPolicy,
    /// Whose signature counts.
    pub signers: Anchors,
    /// Further certificates (PEM) that https servers may show.
    pub https_roots: Vec<u8>,
    /// Networks that they may be fetched from though they are not public.
    pub also: Vec<Network>,
}
