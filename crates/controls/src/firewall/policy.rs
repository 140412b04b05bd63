//! A profile's rules where they stand: every word that means a place is resolved, and what we add ourselves is written out.

mod builtin;
mod resolve;

pub use resolve::groups_of;

use std::collections::BTreeSet;
use std::fmt;

use stockade_profile::{
    Direction, Frame, HostName, Mapping, ModelName, Network, Profile, Protocol, ServiceName,
    Traffic, Transport,
};

use super::nft::CgroupPath;
use super::surroundings::{Group, Surroundings, UpnpWindow};

/// What one device may do, here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The model that the profile is for; none where no profile is known.
    pub model: Option<ModelName>,
    /// Who may open which flows: those of the profile in its order, behind those that we add.
    pub allow: Vec<Allow>,
    /// Frames that are neither IP nor ARP.
    pub frames: Vec<(RuleId, Frame)>,
    /// Rules of the profile that allow nothing here, and why.
    pub unmet: Vec<Unmet>,
    /// Whether questions to any DNS server go to our forwarder.
    pub forwarded: bool,
    /// DNS servers that are asked directly all the same, by protocol: rules name them by address.
    pub direct: Vec<(Protocol, Network)>,
    /// `UPnP`, while the owner has it on.
    pub window: Option<Window>,
    /// The plain services behind TLS fronts.
    pub fronted: Fronted,
}

/// `UPnP`, while the owner has it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Where.
    pub place: UpnpWindow,
    /// What may be asked for.
    pub mappings: Vec<Mapping>,
}

/// TCP ports of this host that speak plain text, behind TLS fronts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fronted {
    /// Those that nobody reaches from elsewhere, whatever a rule says.
    pub inward: Vec<u16>,
    /// Those that on this host itself the agent alone reaches, with its user.
    pub local: Option<(Vec<u16>, u32)>,
}

/// A flow that may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// The rule that it comes from.
    pub id: RuleId,
    /// Who opens it, seen from the device.
    pub direction: Direction,
    /// The other end.
    pub peer: Peer,
    /// Its first packet.
    pub traffic: Traffic,
    /// The only service that may open it.
    pub service: Option<Service>,
    /// Only packets that no router has passed on: the hop limit is 255 (RFC 4861 §6.1, §7.1).
    pub on_link: bool,
    /// Only packets with this mark.
    pub mark: Option<u32>,
    /// The profile writes the other end as an address or a network.
    pub literal: bool,
    /// The rule as a sentence about the device.
    pub why: String,
}

/// A service and where its processes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in the profile.
    pub name: ServiceName,
    /// Its cgroup.
    pub cgroup: CgroupPath,
}

/// The other end of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Every address.
    Any,
    /// The addresses of these networks.
    Networks(Vec<Network>),
    /// The addresses that the name has now.
    Name(HostName),
    /// The devices of a group that the guard knows.
    Group(Group),
}

/// A rule that allows nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The rule.
    pub id: RuleId,
    /// Why it allows nothing, and what to do.
    pub why: String,
    /// The rule as a sentence about the device.
    pub rule: String,
}

/// Which rule: stable as long as the profile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleId {
    /// One that every device has.
    Builtin(&'static str),
    /// The profile's `[[firewall.in]]` of this place, from 1.
    In(usize),
    /// The profile's `[[firewall.out]]` of this place, from 1.
    Out(usize),
    /// The profile's `[[firewall.frame]]` of this place, from 1.
    Frame(usize),
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin-{name}"),
            Self::In(place) => write!(f, "in-{place}"),
            Self::Out(place) => write!(f, "out-{place}"),
            Self::Frame(place) => write!(f, "frame-{place}"),
        }
    }
}

/// Where the rules are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// On the device itself.
    Device,
    /// At the gateway, for a device that can run none.
    Guard,
}

impl Allow {
    /// Whether it speaks of every address there is: then encrypted DNS is not meant.
    pub fn is_broad(&self) -> bool {
        match &self.peer {
            Peer::Any => true,
            Peer::Networks(networks) => networks.iter().any(|network| network.prefix() == 0),
            Peer::Name(_) | Peer::Group(_) => false,
        }
    }
}

impl Window {
    /// The ports behind mappings, by transport.
    pub fn ports(&self, transport: Transport) -> BTreeSet<u16> {
        let of = self.mappings.iter().filter(|it| it.protocol == transport);
        of.map(|it| it.internal_port.get()).collect()
    }

    fn of(profile: &Profile, around: &Surroundings) -> Option<Self> {
        let place = around.upnp.clone()?;
        let upnp = &profile.upnp;
        (upnp.allow_enable && !place.networks.is_empty()).then(|| Self {
            place,
            mappings: upnp.mappings.clone(),
        })
    }
}

impl Fronted {
    fn of(profile: &Profile, around: &Surroundings) -> Self {
        let fronts = &profile.protocols.fronts;
        let ports: BTreeSet<u16> = fronts.iter().map(|it| it.to.address().port()).collect();
        // A front may take the same port at other addresses of this host.
        let taken = |port: &u16| fronts.iter().any(|it| it.listen.get() == *port);
        Self {
            inward: ports.iter().copied().filter(|it| !taken(it)).collect(),
            local: around
                .agent
                .filter(|_| !ports.is_empty())
                .map(|agent| (ports.into_iter().collect(), agent)),
        }
    }
}

impl Policy {
    /// The hosts that the rules name, each once.
    pub fn names(&self) -> BTreeSet<&HostName> {
        self.allow
            .iter()
            .filter_map(|allow| match &allow.peer {
                Peer::Name(name) => Some(name),
                Peer::Any | Peer::Networks(_) | Peer::Group(_) => None,
            })
            .collect()
    }

    /// The groups that the rules speak of, each once.
    pub fn groups(&self) -> BTreeSet<&Group> {
        self.allow
            .iter()
            .filter_map(|allow| match &allow.peer {
                Peer::Group(group) => Some(group),
                Peer::Any | Peer::Networks(_) | Peer::Name(_) => None,
            })
            .collect()
    }

    /// The DNS servers that the rules name by address, for UDP and for TCP.
    fn named_resolvers(&self) -> Vec<(Protocol, Network)> {
        let names_one = |allow: &&Allow, protocol: Protocol| {
            let port = allow.traffic.port.is_some_and(|port| port.contains(53));
            let matched = allow.traffic.protocol == protocol && port;
            let open = allow.literal && allow.direction == Direction::Out && !allow.is_broad();
            open && (matched || allow.traffic.protocol == Protocol::Any)
        };
        let mut named = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for allow in self.allow.iter().filter(|allow| names_one(allow, protocol)) {
                if let Peer::Networks(networks) = &allow.peer {
                    named.extend(networks.iter().map(|network| (protocol, *network)));
                }
            }
        }
        named
    }
}
