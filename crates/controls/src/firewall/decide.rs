//! What a policy says to one packet: the meaning that rulesets, cuts of live flows and messages to people are held to.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use stockade_profile::{Direction, Family, HostName, PortRange, Protocol, ServiceName, Traffic};

use super::names;
use super::policy::{Allow, Peer, Policy, RuleId};
use super::surroundings::Group;

mod window;

pub use window::{Leg, Passing, UPNP, pass};
pub(super) use window::{SSDP, SSDP_GROUP};

/// What changes while a policy stays: who has a name, who is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct World {
    /// The addresses that names have now.
    pub names: BTreeMap<HostName, BTreeSet<IpAddr>>,
    /// The addresses of the devices of groups.
    pub members: BTreeMap<Group, BTreeSet<IpAddr>>,
}

/// One packet, seen from the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Which way it goes.
    pub direction: Direction,
    /// The other end's address: the source of what comes in, the destination of what goes out.
    pub peer: IpAddr,
    /// The IP protocol, behind extension headers.
    pub protocol: u8,
    /// The port that it comes from; 0 where the protocol has none.
    pub source_port: u16,
    /// The port that it goes to; 0 where the protocol has none.
    pub destination_port: u16,
    /// Type and code, for ICMP and `ICMPv6`.
    pub icmp: Option<(u8, u8)>,
    /// The flow that it belongs to.
    pub state: State,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// The mark on the packet; only this host's own packets have one.
    pub mark: u32,
    /// The service that sent it, where that can be known.
    pub service: Option<ServiceName>,
    /// What the host knows about its way.
    pub way: Way,
}

/// What connection tracking says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The first of its flow.
    New,
    /// Of a flow that is open.
    Established,
    /// Caused by a flow that is open.
    Related,
    /// Fits no flow.
    Invalid,
    /// Not tracked; neighbour discovery never is.
    Untracked,
}

/// What the host knows about a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts, each by itself")]
pub struct Way {
    /// Its destination is an address of this host, and it comes from here.
    pub loopback: bool,
    /// It came in by an interface that its source is not reached by.
    pub astray: bool,
    /// What its source is to this host.
    pub source: AddressType,
    /// Its source is `0.0.0.0` or `::`: it has no address yet.
    pub no_address: bool,
    /// It wants to say itself how it is routed (RFC 791 §3.1, RFC 8200 §4.4).
    pub source_routed: bool,
    /// It is a neighbour advertisement that claims what is not its sender's: an address of this host, or the gateway's
    /// from another hardware address.
    pub false_claim: bool,
    /// It comes in or goes out by the interface that `UPnP` is on at.
    pub lan: bool,
    /// The user of the socket that sent it, if there is one.
    pub user: Option<u32>,
}

/// What an address is to a host, by its routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum AddressType {
    /// `::`, and whatever no route speaks of; the kernel counts `0.0.0.0` among broadcasts.
    Unspecified,
    /// Somebody else's.
    #[default]
    Unicast,
    /// Its own, loopback addresses among them.
    Local,
    /// Everybody's on a network.
    Broadcast,
    /// One of several hosts'.
    Anycast,
    /// A group's.
    Multicast,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It passes.
    Allowed(Because),
    /// A question to a DNS server: our forwarder answers it, and the server never sees it.
    Forwarded,
    /// It is dropped.
    Refused(Reason),
}

/// Why a packet passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// A rule lets its flow be opened.
    Rule(RuleId),
    /// Its flow is open.
    Open,
    /// It tells of an error in an open flow (RFC 4890 §4.3.1).
    Error,
    /// It never leaves this host.
    Loopback,
}

/// Why a packet is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No rule lets it pass.
    NoRule,
    /// Its source can not be where it came from.
    Spoofed,
    /// It wants to say itself how it is routed.
    SourceRouted,
    /// Connection tracking can make nothing of it.
    Invalid,
    /// A neighbour message that a router has passed on, or that says what its sender may not say.
    Neighbour,
    /// A DNS server over TLS or HTTPS that no rule names.
    EncryptedDns,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRule => "no rule allows it",
            Self::Spoofed => "its source can not be there",
            Self::SourceRouted => "it says itself how it is to be routed",
            Self::Invalid => "it belongs to no flow",
            Self::Neighbour => "neighbour discovery does not allow it",
            Self::EncryptedDns => "it goes to a DNS server that no rule names",
        })
    }
}

/// What the policy says to a packet.
pub fn decide(policy: &Policy, world: &World, probe: &Probe) -> Decision {
    // First of all: nothing that it says is believed, so it gets nowhere by any other rule.
    if let Some(window) = &policy.window
        && window::is_daemon(window, probe)
    {
        let forwarded = probe.state == State::New && goes_to_forwarder(policy, probe);
        return window::daemon(window, probe, forwarded);
    }
    // A question to a resolver on this host as well: what that one knows, the sets may have forgotten.
    if probe.state == State::New && goes_to_forwarder(policy, probe) {
        return Decision::Forwarded;
    }
    if is_fronted_here(policy, probe) {
        return Decision::Refused(Reason::NoRule);
    }
    if probe.way.loopback {
        return Decision::Allowed(Because::Loopback);
    }
    if probe.way.source_routed {
        return Decision::Refused(Reason::SourceRouted);
    }
    if is_link_message(probe) {
        return link_message(policy, world, probe);
    }
    if probe.state == State::Invalid {
        return Decision::Refused(Reason::Invalid);
    }
    if is_spoofed(probe) {
        return Decision::Refused(Reason::Spoofed);
    }
    match probe.state {
        State::Established => Decision::Allowed(Because::Open),
        State::Related if is_error(probe) => Decision::Allowed(Because::Error),
        State::New => opens(policy, world, probe),
        State::Related | State::Untracked | State::Invalid => Decision::Refused(Reason::NoRule),
    }
}

/// Whether a rule lets the packet open its flow.
fn opens(policy: &Policy, world: &World, probe: &Probe) -> Decision {
    let to_plain = policy.fronted.inward.contains(&probe.destination_port);
    if to_plain && probe.direction == Direction::In && is_tcp(probe) {
        return Decision::Refused(Reason::NoRule);
    }
    if let Some(window) = &policy.window
        && window::opens(window, probe)
    {
        return Decision::Allowed(Because::Rule(UPNP));
    }
    let fits = |allow: &&Allow| !is_link_rule(allow) && allows(allow, world, probe);
    let mut rules = policy.allow.iter().filter(fits);
    if let Some(allow) = rules.clone().find(|allow| !allow.is_broad()) {
        return Decision::Allowed(Because::Rule(allow.id));
    }
    match rules.next() {
        Some(_) if is_encrypted_dns(probe) => Decision::Refused(Reason::EncryptedDns),
        Some(allow) => Decision::Allowed(Because::Rule(allow.id)),
        None => Decision::Refused(Reason::NoRule),
    }
}

/// Whether somebody on this host who is not the agent goes past a TLS front.
fn is_fronted_here(policy: &Policy, probe: &Probe) -> bool {
    let Some((ports, agent)) = &policy.fronted.local else {
        return false;
    };
    probe.direction == Direction::Out
        && probe.way.loopback
        && is_tcp(probe)
        && ports.contains(&probe.destination_port)
        && probe.way.user.is_some_and(|user| user != *agent)
}

fn is_tcp(probe: &Probe) -> bool {
    Some(probe.protocol) == Protocol::Tcp.number()
}

/// Neighbour and listener discovery: not tracked, and judged before anything that a route is needed for.
fn link_message(policy: &Policy, world: &World, probe: &Probe) -> Decision {
    use AddressType::{Anycast, Broadcast, Local, Multicast};
    let inward = probe.direction == Direction::In;
    if inward && matches!(probe.way.source, Local | Broadcast | Anycast | Multicast) {
        return Decision::Refused(Reason::Spoofed);
    }
    if inward && probe.way.false_claim {
        return Decision::Refused(Reason::Neighbour);
    }
    policy
        .allow
        .iter()
        .find(|allow| is_link_rule(allow) && allows(allow, world, probe))
        .map_or(Decision::Refused(Reason::Neighbour), |allow| {
            Decision::Allowed(Because::Rule(allow.id))
        })
}

/// What comes in has the address of somebody else, one who is reached that way; what goes out has the host's own, or none yet.
fn is_spoofed(probe: &Probe) -> bool {
    match probe.direction {
        Direction::In => probe.way.astray || probe.way.source != AddressType::Unicast,
        Direction::Out => probe.way.source != AddressType::Local && !probe.way.no_address,
    }
}

/// Whether all that the rule asks of a first packet is so.
pub fn allows(allow: &Allow, world: &World, probe: &Probe) -> bool {
    let service = |wanted: &ServiceName| probe.service.as_ref() == Some(wanted);
    allow.direction == probe.direction
        && fits(&allow.traffic, probe)
        && is_peer(&allow.peer, world, probe.peer)
        && (!allow.on_link || probe.hop_limit == u8::MAX)
        && allow.mark.is_none_or(|mark| probe.mark == mark)
        && allow.service.as_ref().is_none_or(|it| service(&it.name))
}

/// The names whose rules would let the flow be opened, whatever addresses they have now: addresses of names change while
/// flows live.
pub fn opening_names(policy: &Policy, probe: &Probe) -> BTreeSet<HostName> {
    let names = policy.allow.iter().filter_map(|allow| {
        let Peer::Name(name) = &allow.peer else {
            return None;
        };
        let mut anywhere = allow.clone();
        anywhere.peer = Peer::Any;
        allows(&anywhere, &World::default(), probe).then(|| name.clone())
    });
    names.collect()
}

fn is_peer(peer: &Peer, world: &World, address: IpAddr) -> bool {
    let among = |addresses: Option<&BTreeSet<IpAddr>>| {
        addresses.is_some_and(|addresses| addresses.contains(&address))
    };
    match peer {
        Peer::Any => true,
        Peer::Networks(networks) => networks.iter().any(|network| network.contains(address)),
        Peer::Name(name) => among(world.names.get(name)),
        Peer::Group(group) => among(world.members.get(group)),
    }
}

fn fits(traffic: &Traffic, probe: &Probe) -> bool {
    let Traffic {
        protocol,
        port,
        source_port,
        family: _,
        icmp,
        rate: _,
    } = traffic;
    let holds = |range: Option<PortRange>, port| range.is_none_or(|range| range.contains(port));
    protocol
        .number()
        .is_none_or(|number| number == probe.protocol)
        && traffic
            .held_to()
            .is_none_or(|family| family == probe.family())
        && holds(*port, probe.destination_port)
        && holds(*source_port, probe.source_port)
        && icmp.is_none_or(|wanted| {
            probe.icmp.is_some_and(|(kind, code)| {
                kind == wanted.kind && wanted.code.is_none_or(|wanted| wanted == code)
            })
        })
}

impl Probe {
    /// The family of its addresses.
    pub fn family(&self) -> Family {
        if self.peer.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        }
    }
}

/// Neighbour discovery (RFC 4861 §4) and listener discovery (RFC 2710 §3, RFC 3810 §5): never leave their link.
pub(super) const LINK_MESSAGES: [std::ops::RangeInclusive<u8>; 2] = [130..=137, 143..=143];

fn is_link_message(probe: &Probe) -> bool {
    let is = |kind: u8| LINK_MESSAGES.iter().any(|kinds| kinds.contains(&kind));
    probe.family() == Family::Ipv6
        && Some(probe.protocol) == Protocol::Icmpv6.number()
        && probe.icmp.is_some_and(|(kind, _)| is(kind))
}

/// Whether a rule is about such messages; one of the profile's own about `ICMPv6` is not.
pub(super) fn is_link_rule(allow: &Allow) -> bool {
    allow.id == RuleId::Builtin("nd") || allow.id == RuleId::Builtin("mld")
}

/// Errors that a flow needs to hear of (RFC 4890 §4.3.1, §4.4.1; RFC 792): unreachable, too big, time exceeded, parameter problem.
pub(super) const ERRORS4: [u8; 3] = [3, 11, 12];
/// The same for IPv6.
pub(super) const ERRORS6: std::ops::RangeInclusive<u8> = 1..=4;

fn is_error(probe: &Probe) -> bool {
    let Some((kind, _)) = probe.icmp else {
        return false;
    };
    match (probe.family(), probe.protocol) {
        (Family::Ipv4, 1) => ERRORS4.contains(&kind),
        (Family::Ipv6, 58) => ERRORS6.contains(&kind),
        _ => false,
    }
}

/// The port of DNS (RFC 1035 §4.2).
pub(super) const DNS: u16 = 53;
/// The port of DNS over TLS, DTLS and QUIC (RFC 7858 §3.1, RFC 9250 §4.1.1).
pub(super) const DNS_OVER_TLS: u16 = 853;
/// The port of DNS over HTTPS (RFC 8484).
pub(super) const HTTPS: u16 = 443;

fn goes_to_forwarder(policy: &Policy, probe: &Probe) -> bool {
    let protocol = Protocol::from_number(probe.protocol);
    let direct = |peer| {
        let mut resolvers = policy.direct.iter().filter(|it| it.0 == protocol);
        resolvers.any(|(_, network)| network.contains(peer))
    };
    policy.forwarded
        && probe.direction == Direction::Out
        && protocol.has_ports()
        && probe.destination_port == DNS
        && probe.mark != names::MARK
        && !direct(probe.peer)
}

fn is_encrypted_dns(probe: &Probe) -> bool {
    let known = || names::known_networks().any(|network| network.contains(probe.peer));
    probe.direction == Direction::Out
        && Protocol::from_number(probe.protocol).has_ports()
        && (probe.destination_port == DNS_OVER_TLS || (probe.destination_port == HTTPS && known()))
}
