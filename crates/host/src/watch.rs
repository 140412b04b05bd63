//! Blocked packets, as people want to hear of them: who, what, whose program, and the rule that would have to exist.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use stockade_controls::firewall::decide::{
    AddressType, Because, Decision, Probe, Reason, State, Way, World, decide,
};
use stockade_controls::firewall::policy::Policy;
use stockade_controls::firewall::surroundings::Surroundings;
use stockade_profile::{Direction, HostName, Protocol};
use stockade_wire::capture::LinkType;
use stockade_wire::packet::{self, Ip, Network, Transport};

use crate::firewall::flow::service;
use crate::firewall::{Firewall, FirewallError};
use crate::netlink::NetlinkError;
use crate::netlink::packets::{Group, Heard, Logged};
use crate::process::{Owner, Socket, owner};

/// The group that a device's rules log to.
pub const DEVICE_GROUP: u16 = 53;
/// The prefix of what our rules log: `stk:<direction>:<chain>`.
const PREFIX: &str = "stk:";

/// A packet that was blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// When.
    pub at: SystemTime,
    /// Which way it went, seen from the device.
    pub direction: Direction,
    /// The other end; none for what is no IP packet.
    pub peer: Option<IpAddr>,
    /// A name that the other end's address has now.
    pub name: Option<HostName>,
    /// The other end's hardware address, of what came in over Ethernet.
    pub link: Option<[u8; 6]>,
    /// What it is: `tcp port 443`, `icmp type 8`, `ARP`.
    pub what: String,
    /// The program that sent it, or that it was for.
    pub owner: Option<Owner>,
    /// The user whose program sent it.
    pub user: Option<u32>,
    /// Why it was blocked, where the rules say more than that none allows it.
    pub why: String,
    /// The rule of the profile that would have to exist; none if no rule can allow it.
    pub rule: Option<String>,
}

/// What the rules are, so that packets can be explained.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    /// The rules.
    pub policy: Option<Policy>,
    /// The place.
    pub around: Surroundings,
    /// The names.
    pub world: World,
}

impl Ground {
    /// The rules that are in force here.
    pub fn here(firewall: &Firewall) -> Result<Self, FirewallError> {
        Ok(match firewall.in_force()? {
            None => Self::default(),
            Some((plan, world)) => Self {
                policy: Some(plan.policy),
                around: plan.around,
                world,
            },
        })
    }
}

/// Listens for blocked packets.
#[derive(Debug)]
pub struct Watch {
    group: Group,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Packets.
    Blocked(Vec<Blocked>),
    /// Some were lost: more came than could be told.
    Lost,
}

impl Watch {
    /// Listens to a group.
    pub fn start(group: u16) -> Result<Self, NetlinkError> {
        Group::bind(group).map(|group| Self { group })
    }

    /// What came, waiting for it no longer than `patience`.
    pub fn next(&mut self, ground: &Ground, patience: Duration) -> Result<Sight, NetlinkError> {
        Ok(match self.hear(patience)? {
            Heard::Lost => Sight::Lost,
            Heard::Packets(packets) => {
                Sight::Blocked(packets.iter().map(|it| explain(ground, it)).collect())
            }
        })
    }

    /// The same, for [`explain`] on a ground that is looked at only when there is something to explain.
    pub fn hear(&mut self, patience: Duration) -> Result<Heard, NetlinkError> {
        let mut heard = self.group.next(patience)?;
        if let Heard::Packets(packets) = &mut heard {
            packets.retain(|logged| logged.prefix.starts_with(PREFIX));
        }
        Ok(heard)
    }
}

/// What a blocked packet was, and what would have let it pass.
pub fn explain(ground: &Ground, logged: &Logged) -> Blocked {
    let direction = match logged.prefix.strip_prefix(PREFIX) {
        Some(rest) if rest.starts_with("out") => Direction::Out,
        _ => Direction::In,
    };
    let mut blocked = Blocked {
        at: logged.at.unwrap_or_else(SystemTime::now),
        direction,
        peer: None,
        name: None,
        link: logged.source_mac,
        what: match logged.ethertype {
            packet::ethertype::ARP => "ARP".to_owned(),
            other => format!("a frame of the type {other:#06x}"),
        },
        owner: None,
        user: logged.user,
        why: Reason::NoRule.to_string(),
        rule: None,
    };
    let parsed = packet::parse(LinkType::Raw, &logged.payload);
    match parsed.map(|packet| packet.network) {
        Ok(Network::Ip(ip)) if logged.ethertype != packet::ethertype::ARP => {
            explain_ip(ground, logged, &ip, &mut blocked);
        }
        _ => (),
    }
    blocked
}

fn explain_ip(ground: &Ground, logged: &Logged, ip: &Ip<'_>, blocked: &mut Blocked) {
    let (peer, here) = match blocked.direction {
        Direction::Out => (ip.destination, ip.source),
        Direction::In => (ip.source, ip.destination),
    };
    let (from, to, icmp) = match ip.transport {
        Transport::Tcp {
            source,
            destination,
            ..
        }
        | Transport::Udp {
            source,
            destination,
        } => (source, destination, None),
        Transport::Icmp { kind, code } => (0, 0, Some((kind, code))),
        Transport::None => (0, 0, None),
    };
    let protocol = Protocol::from_number(ip.protocol);
    blocked.what = what(protocol, to, icmp);
    blocked.peer = Some(peer);
    blocked.name = name_of(&ground.world, peer);
    if protocol.has_ports() {
        let port = if blocked.direction == Direction::Out {
            from
        } else {
            to
        };
        blocked.owner = owner(&Socket {
            protocol: ip.protocol,
            address: here,
            port,
        });
    }
    let mut probe = Probe {
        direction: blocked.direction,
        peer,
        protocol: ip.protocol,
        source_port: from,
        destination_port: to,
        icmp,
        state: State::New,
        hop_limit: ip.hop_limit,
        mark: logged.mark,
        service: None,
        way: Way {
            source: source(ground, blocked.direction, peer),
            ..Way::default()
        },
    };
    if let (Some(policy), Some(owner)) = (&ground.policy, &blocked.owner) {
        probe.service = service(policy, owner);
    }
    let named = |endpoint: &str| Some(suggest(blocked.direction, endpoint, protocol, to, icmp));
    let policy = ground.policy.as_ref();
    (blocked.why, blocked.rule) = match policy.map(|it| decide(it, &ground.world, &probe)) {
        None => (Reason::NoRule.to_string(), named(&endpoint(ground, peer))),
        Some(Decision::Refused(reason)) => {
            let rule = match reason {
                Reason::NoRule => named(&endpoint(ground, peer)),
                // A rule that names the server itself allows it.
                Reason::EncryptedDns => named(&peer.to_string()),
                _ => None,
            };
            (reason.to_string(), rule)
        }
        Some(Decision::Allowed(Because::Rule(id))) => (
            format!("more than rule {id} allows at a time, or in the middle of no flow"),
            None,
        ),
        Some(Decision::Allowed(_) | Decision::Forwarded) => (Reason::Invalid.to_string(), None),
    };
}

fn source(ground: &Ground, direction: Direction, peer: IpAddr) -> AddressType {
    match direction {
        Direction::Out => AddressType::Local,
        Direction::In if ground.around.own.contains(&peer) => AddressType::Local,
        Direction::In => AddressType::Unicast,
    }
}

/// The name that an address has now.
fn name_of(world: &World, address: IpAddr) -> Option<HostName> {
    let mut having = world
        .names
        .iter()
        .filter(|(_, addresses)| addresses.contains(&address));
    having.next().map(|(name, _)| name.clone())
}

/// How a profile would say who an address is.
fn endpoint(ground: &Ground, address: IpAddr) -> String {
    if let Some(name) = name_of(&ground.world, address) {
        return name.to_string();
    }
    if ground.around.gateway.contains(&address) {
        return "gateway".to_owned();
    }
    let near = |network: &stockade_profile::Network| network.contains(address);
    if ground.around.local.iter().any(near) {
        return "local-network".to_owned();
    }
    address.to_string()
}

fn what(protocol: Protocol, port: u16, icmp: Option<(u8, u8)>) -> String {
    match icmp {
        Some((kind, code)) => format!("{protocol} type {kind} code {code}"),
        None if protocol.has_ports() => format!("{protocol} port {port}"),
        None => match protocol {
            Protocol::Number(number) => format!("IP protocol {number}"),
            named => named.to_string(),
        },
    }
}

/// The rule that would let such a flow be opened, as it would stand in a profile. Port 0 can not be allowed, and is shown
/// as it is so that the profile's check says why.
pub fn suggest(
    direction: Direction,
    endpoint: &str,
    protocol: Protocol,
    port: u16,
    icmp: Option<(u8, u8)>,
) -> String {
    let (section, key) = match direction {
        Direction::In => ("in", "from"),
        Direction::Out => ("out", "to"),
    };
    let mut lines = vec![
        format!("[[firewall.{section}]]"),
        format!("{key} = \"{endpoint}\""),
        format!("protocol = \"{protocol}\""),
    ];
    if protocol.has_ports() {
        lines.push(format!("port = {port}"));
    }
    if let Some((kind, code)) = icmp {
        lines.push(format!("icmp-type = {kind}"));
        if code != 0 {
            lines.push(format!("icmp-code = {code}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suggested_rule_is_one_that_a_profile_can_have() {
        let head = "schema = 1\n\n[device]\nmodel = \"m\"\nmanufacturer = \"Acme\"\nversion = 1\nclass = \"linux\"\n";
        for direction in [Direction::In, Direction::Out] {
            for (protocol, port, icmp) in [
                (6, 443, None),
                (17, 5353, None),
                (1, 0, Some((8, 0))),
                (58, 0, Some((128, 3))),
                (2, 0, None),
                (47, 0, None),
            ] {
                let protocol = Protocol::from_number(protocol);
                let endpoint = match protocol {
                    Protocol::Icmpv6 => "2001:db8::9",
                    _ => "192.0.2.9",
                };
                let rule = suggest(direction, endpoint, protocol, port, icmp);
                let checked = stockade_profile::check(&format!("{head}\n{rule}"));
                assert!(checked.profile.is_some(), "{rule}{:?}", checked.faults);
            }
        }
    }
}
