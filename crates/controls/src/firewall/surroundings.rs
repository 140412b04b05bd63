//! Where a device stands: what `gateway`, `local-network` and the other words of a profile mean here.

use core::net::IpAddr;
use std::collections::BTreeMap;

use stockade_profile::{
    ClassUri, HostName, HttpsUrl, InterfaceName, LinkAddress, Manufacturer, ModelName, Network,
    ServiceName,
};

use super::nft::CgroupPath;

/// Facts about the place that a device, or the guard, is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Addresses of this host itself: nobody else may claim them.
    pub own: Vec<IpAddr>,
    /// The gateway's addresses, with the link-local one if it is known.
    pub gateway: Vec<IpAddr>,
    /// The gateway's hardware address; its addresses are then held to it.
    pub gateway_link: Option<LinkAddress>,
    /// Who answers DHCP; the gateway if empty, and anybody on the link if that is not known either.
    pub dhcp: Vec<IpAddr>,
    /// The networks that the device itself is in.
    pub local: Vec<Network>,
    /// Whom the DNS forwarder asks.
    pub resolvers: Vec<IpAddr>,
    /// The port of the DNS forwarder on this host; without one, nobody is asked and no name has an address.
    pub forwarder: Option<u16>,
    /// The hosts of each class of controllers.
    pub controllers: BTreeMap<ClassUri, Vec<IpAddr>>,
    /// The hosts that are controllers of this model.
    pub my_controllers: Vec<IpAddr>,
    /// Addresses of devices by group, where they are known; on a device, by what the operator says.
    pub members: BTreeMap<Group, Vec<IpAddr>>,
    /// The cgroup of each service on this host.
    pub services: BTreeMap<ServiceName, CgroupPath>,
    /// The interfaces whose frames are guarded too; they must be there when the rules are loaded.
    pub interfaces: Vec<InterfaceName>,
    /// The user that the agent runs as, if it is on this host: its TLS fronts alone reach the plain services behind them.
    pub agent: Option<u32>,
    /// `UPnP`, while the owner has it on.
    pub upnp: Option<UpnpWindow>,
}

/// `UPnP`, while the owner has it on: where, and by which program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpnpWindow {
    /// The interface of those who may ask for mappings.
    pub lan: InterfaceName,
    /// The interface that mappings lead in by.
    pub outside: InterfaceName,
    /// The networks of IPv4 behind the first.
    pub networks: Vec<Network>,
    /// The TCP port that mappings are asked for at.
    pub control: u16,
    /// The user that the daemon runs as, and nothing else does.
    pub user: u32,
}

/// A group of devices that a rule can speak of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The devices of a model.
    Model(ModelName),
    /// The devices whose MUD URL has this host (RFC 8520 §8).
    Authority(HostName),
    /// The devices whose profile has this manufacturer; what `same-manufacturer` means without a MUD URL.
    Maker(Maker),
    /// The devices with this MUD URL.
    Mud(Url),
}

/// A manufacturer, with an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Maker(Box<str>);

/// A URL, with an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url(Box<str>);

impl From<&Manufacturer> for Maker {
    fn from(manufacturer: &Manufacturer) -> Self {
        Self(manufacturer.as_str().into())
    }
}

impl From<&HttpsUrl> for Url {
    fn from(url: &HttpsUrl) -> Self {
        Self(url.as_str().into())
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model(model) => write!(f, "devices of the model `{model}`"),
            Self::Authority(host) => write!(f, "devices of the manufacturer `{host}`"),
            Self::Maker(maker) => write!(f, "devices of the manufacturer `{}`", maker.0),
            Self::Mud(url) => write!(f, "devices described by `{}`", url.0),
        }
    }
}
