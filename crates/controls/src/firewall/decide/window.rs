//! What passes while the owner has `UPnP` on: questions from the LAN, answers to it, and flows in by a mapping.

use core::net::{IpAddr, Ipv4Addr};

use stockade_profile::{Direction, Protocol, Transport};

use super::super::policy::{RuleId, Window};
use super::{Because, Decision, ERRORS4, Probe, Reason, State};

/// The rule that lets it pass.
pub const UPNP: RuleId = RuleId::Builtin("upnp");
/// The port of SSDP (`UPnP` Device Architecture 2.0 §1.2.2).
pub(in super::super) const SSDP: u16 = 1900;
/// The group of SSDP (the same).
pub(in super::super) const SSDP_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);

/// Which interface a packet that passes through has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// That of those who may ask for mappings.
    Lan,
    /// That which mappings lead in by.
    Outside,
    /// Another.
    Elsewhere,
}

/// One packet from one network to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    /// Where it comes from.
    pub from: Leg,
    /// Where it goes to.
    pub to: Leg,
    /// Its source.
    pub source: IpAddr,
    /// Its destination, behind the mapping.
    pub destination: IpAddr,
    /// The IP protocol.
    pub protocol: u8,
    /// The port that it comes from; 0 where the protocol has none.
    pub source_port: u16,
    /// The port that it goes to; 0 where the protocol has none.
    pub destination_port: u16,
    /// The type, for ICMP.
    pub icmp: Option<u8>,
    /// The flow that it belongs to.
    pub state: State,
    /// The flow's destination was changed: it came in by a mapping.
    pub mapped: bool,
}

/// What the policy says to a packet that passes through: a device is no router, mappings apart.
pub fn pass(window: Option<&Window>, packet: &Passing) -> Decision {
    let refused = Decision::Refused(Reason::NoRule);
    let Some(window) = window.filter(|_| packet.mapped && packet.source.is_ipv4()) else {
        return refused;
    };
    let (inward, host, port) = match (packet.from, packet.to) {
        (Leg::Outside, Leg::Lan) => (true, packet.destination, packet.destination_port),
        (Leg::Lan, Leg::Outside) => (false, packet.source, packet.source_port),
        _ => return refused,
    };
    let protocol = Protocol::from_number(packet.protocol);
    let mapped = match protocol {
        Protocol::Tcp => window.ports(Transport::Tcp).contains(&port),
        Protocol::Udp => window.ports(Transport::Udp).contains(&port),
        _ => false,
    };
    let error = packet.icmp.is_some_and(|kind| ERRORS4.contains(&kind));
    match packet.state {
        State::Related if protocol == Protocol::Icmp && error => Decision::Allowed(Because::Error),
        State::New if inward && mapped && is_of(window, host) => {
            Decision::Allowed(Because::Rule(UPNP))
        }
        State::Established if mapped && is_of(window, host) => Decision::Allowed(Because::Open),
        _ => refused,
    }
}

/// Whether the daemon sent it.
pub(super) fn is_daemon(window: &Window, probe: &Probe) -> bool {
    probe.direction == Direction::Out && probe.way.user == Some(window.place.user)
}

/// What the daemon may say: answers, and over SSDP that it is there. It opens no connection, so that no event of
/// `UPnP` goes anywhere (CVE-2020-12695).
pub(super) fn daemon(window: &Window, probe: &Probe, forwarded: bool) -> Decision {
    let udp = probe.way.lan && Some(probe.protocol) == Protocol::Udp.number();
    let answer = probe.source_port == SSDP && is_of(window, probe.peer);
    let notice = probe.destination_port == SSDP && probe.peer == SSDP_GROUP;
    match probe.state {
        State::Established => Decision::Allowed(Because::Open),
        State::New if udp && (answer || notice) && !forwarded => {
            Decision::Allowed(Because::Rule(UPNP))
        }
        _ => Decision::Refused(Reason::NoRule),
    }
}

/// Whether the window lets a flow of this host be opened: questions to the daemon, and IGMP (RFC 3376 §4), without which
/// switches bring it none.
pub(super) fn opens(window: &Window, probe: &Probe) -> bool {
    let protocol = Protocol::from_number(probe.protocol);
    let asked = match protocol {
        Protocol::Udp => probe.destination_port == SSDP,
        Protocol::Tcp => probe.destination_port == window.place.control,
        Protocol::Igmp => true,
        _ => false,
    };
    let is_group = matches!(probe.peer, IpAddr::V4(peer) if peer.is_multicast());
    probe.way.lan
        && match probe.direction {
            Direction::In => asked && is_of(window, probe.peer),
            Direction::Out => protocol == Protocol::Igmp && is_group,
        }
}

/// Whether it is an address of the LAN.
fn is_of(window: &Window, address: IpAddr) -> bool {
    let mut networks = window.place.networks.iter();
    networks.any(|network| network.contains(address))
}
