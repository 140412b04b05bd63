//! What every device may do, so that it can have an address and be told of errors. Written out, so that it can be seen.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use stockade_profile::{Direction, Family, IcmpKind, Network, PortRange, Protocol, Rate, Traffic};

use super::{Allow, Peer, RuleId, Side};
use crate::firewall::names::MARK;
use crate::firewall::surroundings::Surroundings;

/// Link-local unicast (RFC 4291 §2.5.6).
const LINK_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
/// Multicast (RFC 4291 §2.7).
const MULTICAST6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);
/// All DHCP servers and relays on the link (RFC 8415 §7.1).
const DHCP6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), 128);
/// Echo requests, each way.
const ECHO: Rate = Rate {
    count: 5,
    per: Duration::from_secs(1),
};

/// The networks around these addresses alone.
pub(super) fn hosts(addresses: &[IpAddr]) -> Vec<Network> {
    let whole = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
    addresses
        .iter()
        .filter_map(|address| Network::around(*address, whole(address)))
        .collect()
}

pub(super) fn link_local() -> Option<Network> {
    network(LINK_LOCAL)
}

fn network((address, prefix): (Ipv6Addr, u8)) -> Option<Network> {
    Network::around(address.into(), prefix)
}

/// The networks of one family; anybody on the link if none is known.
fn known_or(networks: Vec<Network>, family: Family, otherwise: Peer) -> Peer {
    let of = |network: &Network| network.address().is_ipv4() == (family == Family::Ipv4);
    let known: Vec<Network> = networks.into_iter().filter(of).collect();
    if known.is_empty() {
        otherwise
    } else {
        Peer::Networks(known)
    }
}

pub(super) fn builtins(around: &Surroundings, side: Side) -> Vec<Allow> {
    let mut allow = dhcp(around);
    allow.extend(neighbours(around));
    allow.extend(echo(around, side));
    if side == Side::Device && around.forwarder.is_some() && !around.resolvers.is_empty() {
        let peer = Peer::Networks(hosts(&around.resolvers));
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let dns = rule(
                "dns",
                Direction::Out,
                peer.clone(),
                ports(protocol, None, 53),
            );
            let why = "its DNS forwarder may ask the resolvers; no other program may";
            allow.push(said(
                Allow {
                    mark: Some(MARK),
                    ..dns
                },
                why,
            ));
        }
    }
    allow
}

fn dhcp(around: &Surroundings) -> Vec<Allow> {
    let servers = if around.dhcp.is_empty() {
        &around.gateway
    } else {
        &around.dhcp
    };
    let servers4 = known_or(hosts(servers), Family::Ipv4, Peer::Any);
    let mut asked = match &servers4 {
        Peer::Networks(networks) => networks.clone(),
        Peer::Any | Peer::Name(_) | Peer::Group(_) => around.local.clone(),
    };
    asked.extend(hosts(&[IpAddr::V4(Ipv4Addr::BROADCAST)]));
    let asked = known_or(asked, Family::Ipv4, Peer::Any);
    let on_link = Peer::Networks(link_local().into_iter().collect());
    let servers6 = link_local_of(servers).map_or(on_link, Peer::Networks);
    let all6 = Peer::Networks(network(DHCP6).into_iter().collect());
    let v4 = |from, to| Traffic {
        family: Some(Family::Ipv4),
        ..ports(Protocol::Udp, Some(from), to)
    };
    let v6 = |from, to| Traffic {
        family: Some(Family::Ipv6),
        ..ports(Protocol::Udp, from, to)
    };
    // RFC 2131 §4.1, RFC 8415 §7.2: the server's port of DHCPv6 is said for what it receives only.
    [
        (
            rule("dhcp", Direction::Out, asked, v4(68, 67)),
            "may ask for an IPv4 address",
        ),
        (
            rule("dhcp", Direction::In, servers4, v4(67, 68)),
            "may be given an IPv4 address",
        ),
        (
            rule("dhcp6", Direction::Out, all6, v6(Some(546), 547)),
            "may ask for an IPv6 address",
        ),
        (
            rule("dhcp6", Direction::In, servers6, v6(None, 546)),
            "may be given an IPv6 address",
        ),
    ]
    .map(|(allow, why)| said(allow, why))
    .into()
}

/// The link-local addresses among these, if there is one.
fn link_local_of(addresses: &[IpAddr]) -> Option<Vec<Network>> {
    let local = link_local()?;
    let found = hosts(addresses);
    let found: Vec<Network> = found
        .into_iter()
        .filter(|host| local.contains(host.address()))
        .collect();
    (!found.is_empty()).then_some(found)
}

/// Neighbour discovery (RFC 4861) and multicast listener discovery (RFC 2710 §3, RFC 3810 §5), as RFC 4890 §4.4.1 has it.
fn neighbours(around: &Surroundings) -> Vec<Allow> {
    use Direction::{In, Out};
    let on_link = || Peer::Networks(link_local().into_iter().collect());
    let routers = link_local_of(&around.gateway).map_or_else(on_link, Peer::Networks);
    let groups = || Peer::Networks(network(MULTICAST6).into_iter().collect());
    let nd = |direction, peer, kind| {
        let mut allow = rule("nd", direction, peer, icmp6(kind));
        allow.on_link = true;
        allow
    };
    let mld = |direction, peer, kind| rule("mld", direction, peer, icmp6(kind));
    [
        (nd(Out, groups(), 133), "may look for a router"),
        (nd(In, routers, 134), "may hear from its router"),
        (nd(Out, Peer::Any, 135), "may look for its neighbours"),
        (
            nd(In, Peer::Any, 135),
            "may be looked for by its neighbours",
        ),
        (nd(Out, Peer::Any, 136), "may answer its neighbours"),
        (nd(In, Peer::Any, 136), "may be answered by its neighbours"),
        (
            mld(In, on_link(), 130),
            "may be asked which groups it listens to",
        ),
        (
            mld(Out, groups(), 131),
            "may say that it listens to a group",
        ),
        (mld(Out, groups(), 132), "may say that it leaves a group"),
        (
            mld(Out, groups(), 143),
            "may say which groups it listens to",
        ),
    ]
    .map(|(allow, why)| said(allow, why))
    .into()
}

/// Echo requests (RFC 792, RFC 4443 §4.1): between a device and its own link; at the guard the gateway alone, as no device is
/// another's business.
fn echo(around: &Surroundings, side: Side) -> Vec<Allow> {
    let mut near = hosts(&around.gateway);
    if side == Side::Device {
        near.extend(around.local.iter().copied());
        near.extend(link_local());
    }
    let peer = |family| known_or(near.clone(), family, Peer::Networks(Vec::new()));
    let limited = |traffic| Traffic {
        rate: Some(ECHO),
        ..traffic
    };
    [Direction::In, Direction::Out]
        .into_iter()
        .flat_map(|direction| {
            let why = match direction {
                Direction::In => "may be pinged by its neighbours, 5 a second at most",
                Direction::Out => "may ping its neighbours, 5 a second at most",
            };
            [(Family::Ipv4, icmp4(8)), (Family::Ipv6, icmp6(128))]
                .map(|(family, echo)| rule("echo", direction, peer(family), limited(echo)))
                .map(|allow| said(allow, why))
        })
        .filter(|allow| allow.peer != Peer::Networks(Vec::new()))
        .collect()
}

pub(super) fn rule(
    name: &'static str,
    direction: Direction,
    peer: Peer,
    traffic: Traffic,
) -> Allow {
    Allow {
        id: RuleId::Builtin(name),
        direction,
        peer,
        traffic,
        service: None,
        on_link: false,
        mark: None,
        literal: false,
        why: String::new(),
    }
}

fn said(allow: Allow, why: &str) -> Allow {
    let why = why.to_owned();
    Allow { why, ..allow }
}

fn ports(protocol: Protocol, from: Option<u16>, to: u16) -> Traffic {
    Traffic {
        protocol,
        port: PortRange::new(to, to),
        source_port: from.and_then(|from| PortRange::new(from, from)),
        family: None,
        icmp: None,
        rate: None,
    }
}

fn icmp4(kind: u8) -> Traffic {
    message(Protocol::Icmp, kind)
}

fn icmp6(kind: u8) -> Traffic {
    message(Protocol::Icmpv6, kind)
}

fn message(protocol: Protocol, kind: u8) -> Traffic {
    Traffic {
        protocol,
        port: None,
        source_port: None,
        family: None,
        icmp: Some(IcmpKind { kind, code: None }),
        rate: None,
    }
}
