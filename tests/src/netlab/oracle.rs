//! Questions about one packet, and the answer that a MUD file gives in a place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::mud::{EVERY_PORT, Opener, Opening, Peer, Ports};
use super::packet::Transport;

/// What MUD's words mean in the lab.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `local-networks`.
    pub local: Vec<(IpAddr, u8)>,
    /// The addresses of names.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// The hosts of classes of controllers.
    pub controllers: BTreeMap<String, Vec<IpAddr>>,
    /// The hosts of `my-controller`.
    pub my_controllers: Vec<IpAddr>,
    /// Devices by the host of their MUD URL.
    pub manufacturers: BTreeMap<String, Vec<IpAddr>>,
    /// Devices by their MUD URL.
    pub models: BTreeMap<String, Vec<IpAddr>>,
    /// Whether questions to DNS servers go to a forwarder.
    pub forwarder: bool,
}

/// The first packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Who sends it.
    pub opener: Opener,
    /// The other end of the device.
    pub peer: IpAddr,
    /// The packet.
    pub transport: Transport,
}

/// What is to become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It passes.
    Passes,
    /// It is gone.
    Refused,
    /// The forwarder gets it.
    Forwarder,
}

/// A MUD file in a place.
#[derive(Debug)]
pub struct Oracle<'a> {
    /// Who may open what.
    pub openings: &'a [Opening],
    places: &'a Places,
    authority: &'a str,
}

/// The host of a URL, without its port.
pub fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next();
    host.unwrap_or_default().to_ascii_lowercase()
}

impl<'a> Oracle<'a> {
    /// The openings of a file with a URL of this host, in the place.
    pub fn new(openings: &'a [Opening], authority: &'a str, places: &'a Places) -> Self {
        Self {
            openings,
            places,
            authority,
        }
    }

    /// What the file says to a packet. `direct` says that any file of the place names this DNS server by its address: then the
    /// question goes there, if it may.
    pub fn answer(&self, question: &Question, direct: bool) -> Answer {
        let to = match question.transport {
            Transport::Tcp { to, .. } | Transport::Udp { to, .. } => Some(to),
            Transport::Icmp { .. } | Transport::Other(_) => None,
        };
        let out = question.opener == Opener::Device;
        if to == Some(53) && out && self.places.forwarder && !direct {
            return Answer::Forwarder;
        }
        let mut fitting = self
            .openings
            .iter()
            .filter(|opening| self.fits(opening, question));
        let first = fitting.next();
        let narrow = |opening: &Opening| opening.accepts && opening.peer != Peer::Any;
        // A rule about everybody does not mean DNS that nobody can see.
        let hidden = out && to == Some(853) && !first.is_some_and(narrow) && !fitting.any(narrow);
        match first {
            Some(opening)
                if opening.accepts
                    && !hidden
                    && opens(question.transport, question.peer.is_ipv6()) =>
            {
                Answer::Passes
            }
            _ => Answer::Refused,
        }
    }

    fn fits(&self, opening: &Opening, question: &Question) -> bool {
        let v6 = question.peer.is_ipv6();
        let number = question.transport.protocol(v6);
        let (source, destination) = match question.transport {
            Transport::Tcp { from, to, .. } | Transport::Udp { from, to } => (Some(from), Some(to)),
            Transport::Icmp { .. } | Transport::Other(_) => (None, None),
        };
        let within = |port: Option<u16>, ports: Ports| {
            port.map_or(ports == EVERY_PORT, |port| {
                (ports.0..=ports.1).contains(&port)
            })
        };
        let icmp = match (opening.icmp, question.transport) {
            ((None, None), _) => true,
            ((wanted, wanted_code), Transport::Icmp { kind, code, .. }) => {
                wanted.is_none_or(|wanted| wanted == kind)
                    && wanted_code.is_none_or(|wanted| wanted == code)
            }
            _ => false,
        };
        opening.opener == question.opener
            && opening.family.is_none_or(|family| (family == 6) == v6)
            && opening.protocol.is_none_or(|protocol| protocol == number)
            && within(source, opening.source)
            && within(destination, opening.destination)
            && icmp
            && self.is_peer(&opening.peer, question.peer)
    }

    /// The addresses that a peer has, and the networks that it is.
    pub fn is_peer(&self, peer: &Peer, address: IpAddr) -> bool {
        let among =
            |addresses: Option<&Vec<IpAddr>>| addresses.is_some_and(|them| them.contains(&address));
        let places = self.places;
        match peer {
            Peer::Any => true,
            Peer::Network(network, prefix) => inside(address, *network, *prefix),
            Peer::Name(name) => among(places.names.get(name)),
            Peer::Local => places
                .local
                .iter()
                .any(|(network, prefix)| inside(address, *network, *prefix)),
            Peer::Controller(uri) => among(places.controllers.get(uri)),
            Peer::MyController => places.my_controllers.contains(&address),
            Peer::SameManufacturer => among(places.manufacturers.get(self.authority)),
            Peer::Manufacturer(host) => among(places.manufacturers.get(host)),
            Peer::Model(url) => among(places.models.get(url)),
        }
    }

    /// Some addresses of a peer, of both families where it has both, and some just beside it.
    pub fn addresses(&self, peer: &Peer) -> BTreeSet<IpAddr> {
        let some = |addresses: Option<&Vec<IpAddr>>| -> Vec<IpAddr> {
            addresses.into_iter().flatten().copied().collect()
        };
        let places = self.places;
        let mut found = match peer {
            Peer::Any => Vec::new(),
            Peer::Network(network, prefix) => edges(*network, *prefix),
            Peer::Name(name) => some(places.names.get(name)),
            Peer::Local => places
                .local
                .iter()
                .flat_map(|(network, prefix)| edges(*network, *prefix))
                .collect(),
            Peer::Controller(uri) => some(places.controllers.get(uri)),
            Peer::MyController => places.my_controllers.clone(),
            Peer::SameManufacturer => some(places.manufacturers.get(self.authority)),
            Peer::Manufacturer(host) => some(places.manufacturers.get(host)),
            Peer::Model(url) => some(places.models.get(url)),
        };
        let beside: Vec<IpAddr> = found
            .iter()
            .flat_map(|address| [step(*address, 1), step(*address, -1)])
            .flatten()
            .collect();
        found.extend(beside);
        found.into_iter().collect()
    }
}

/// Whether connection tracking takes a message for the first of a flow: of ICMP only questions are.
fn opens(transport: Transport, v6: bool) -> bool {
    match transport {
        Transport::Icmp { kind, .. } if v6 => matches!(kind, 128 | 139),
        Transport::Icmp { kind, .. } => matches!(kind, 8 | 13 | 15 | 17),
        Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Other(_) => true,
    }
}

/// Whether an address lies in a network.
pub fn inside(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

fn edges(network: IpAddr, prefix: u8) -> Vec<IpAddr> {
    let last = match network {
        IpAddr::V4(first) => {
            IpAddr::V4((first.to_bits() | u32::MAX.checked_shr(prefix.into()).unwrap_or(0)).into())
        }
        IpAddr::V6(first) => {
            IpAddr::V6((first.to_bits() | u128::MAX.checked_shr(prefix.into()).unwrap_or(0)).into())
        }
    };
    vec![network, last]
}

/// The address so many further.
pub fn step(address: IpAddr, by: i8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => IpAddr::V4(address.to_bits().checked_add_signed(by.into())?.into()),
        IpAddr::V6(address) => IpAddr::V6(address.to_bits().checked_add_signed(by.into())?.into()),
    })
}
