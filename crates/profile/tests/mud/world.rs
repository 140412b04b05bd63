//! A reference for what a firewall's rules allow, apart from the code under test: one packet that opens, yes or no.

use std::collections::BTreeSet;
use std::net::IpAddr;

use stockade_profile::{
    Direction, Endpoint, Family, Firewall, Frame, PortRange, Protocol, Traffic,
};

/// The first packet of a flow.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) way: Direction,
    pub(crate) peer: Endpoint,
    pub(crate) family: Family,
    pub(crate) protocol: u8,
    pub(crate) to: u16,
    pub(crate) from: u16,
    pub(crate) icmp: (u8, u8),
}

fn rules(firewall: &Firewall) -> Vec<(Direction, &Endpoint, &Traffic)> {
    let outward = firewall
        .outward
        .iter()
        .map(|rule| (Direction::Out, &rule.to, &rule.traffic));
    let inward = firewall
        .inward
        .iter()
        .map(|rule| (Direction::In, &rule.from, &rule.traffic));
    outward.chain(inward).collect()
}

pub(crate) fn allows(firewall: &Firewall, packet: &Packet) -> bool {
    rules(firewall).into_iter().any(|(way, peer, traffic)| {
        way == packet.way && is_of(peer, packet) && carries(traffic, packet)
    })
}

/// Groups and names have no addresses here: each is but itself, and within `any`.
fn is_of(peer: &Endpoint, packet: &Packet) -> bool {
    let address = |peer: &Endpoint| -> Option<IpAddr> {
        match peer {
            Endpoint::Address(address) => Some(*address),
            Endpoint::Network(network) => Some(network.address()),
            _ => None,
        }
    };
    let family = |address: IpAddr| {
        if address.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        }
    };
    match (peer, address(&packet.peer)) {
        (Endpoint::Any, _) => true,
        (Endpoint::Network(network), _) if network.prefix() == 0 => {
            family(network.address()) == packet.family
        }
        (Endpoint::Network(network), Some(address)) => network.contains(address),
        (Endpoint::Address(own), Some(address)) => *own == address,
        (own, _) => *own == packet.peer,
    }
}

fn carries(traffic: &Traffic, packet: &Packet) -> bool {
    let protocol = traffic
        .protocol
        .number()
        .is_none_or(|number| number == packet.protocol);
    let family = traffic.family.is_none_or(|family| family == packet.family)
        && match traffic.protocol {
            Protocol::Icmp | Protocol::Igmp => packet.family == Family::Ipv4,
            Protocol::Icmpv6 => packet.family == Family::Ipv6,
            _ => true,
        };
    let port = |range: Option<PortRange>, port: u16| range.is_none_or(|range| range.contains(port));
    let icmp = traffic.icmp.is_none_or(|icmp| {
        icmp.kind == packet.icmp.0 && icmp.code.is_none_or(|code| code == packet.icmp.1)
    });
    protocol
        && family
        && port(traffic.port, packet.to)
        && port(traffic.source_port, packet.from)
        && icmp
}

/// The ports at and around the ends of a range.
fn around(range: Option<PortRange>) -> BTreeSet<u16> {
    let (first, last) = range.map_or((1, u16::MAX), |range| (range.first(), range.last()));
    [first - 1, first, last, last.saturating_add(1), 40_000]
        .into_iter()
        .filter(|port| *port != 0)
        .collect()
}

/// Packets at and around each edge of each rule of these firewalls.
pub(crate) fn packets(firewalls: &[&Firewall]) -> Vec<Packet> {
    let mut packets = Vec::new();
    let nobody: Endpoint = "nobody.example".parse().unwrap();
    for (way, peer, traffic) in firewalls.iter().flat_map(|firewall| rules(firewall)) {
        let families = match peer.family() {
            Some(family) => vec![family],
            None => Family::ALL.to_vec(),
        };
        let peers = [peer.clone(), nobody.clone()];
        let own = traffic.protocol.number().unwrap_or(99);
        let (kind, code) = traffic
            .icmp
            .map_or((8, 0), |icmp| (icmp.kind, icmp.code.unwrap_or(0)));
        for family in families {
            for peer in &peers {
                for way in [
                    way,
                    if way == Direction::In {
                        Direction::Out
                    } else {
                        Direction::In
                    },
                ] {
                    for protocol in BTreeSet::from([own, 6, 17]) {
                        for to in around(traffic.port) {
                            for from in around(traffic.source_port) {
                                for icmp in [
                                    (kind, code),
                                    (kind, code.wrapping_add(1)),
                                    (kind.wrapping_add(1), code),
                                ] {
                                    packets.push(Packet {
                                        way,
                                        peer: peer.clone(),
                                        family,
                                        protocol,
                                        to,
                                        from,
                                        icmp,
                                    });
                                    // Kinds of messages mean nothing to other protocols.
                                    if !matches!(own, 1 | 58) {
                                        break;
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    packets
}

/// The first packet about which two firewalls differ, and how many were tried.
pub(crate) fn difference(one: &Firewall, other: &Firewall) -> (usize, Option<Packet>) {
    let packets = packets(&[one, other]);
    let count = packets.len();
    let differ = packets
        .into_iter()
        .find(|packet| allows(one, packet) != allows(other, packet));
    (count, differ)
}

/// The frames in an order of their own.
pub(crate) fn frames(firewall: &Firewall) -> Vec<Frame> {
    let mut frames = firewall.frames.clone();
    frames.sort_by_key(|frame| (frame.direction, frame.ethertype, frame.peer));
    frames
}
