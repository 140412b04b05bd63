//! Flows, and which side opened them.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use stockade_profile::{Direction, HostName, Protocol};
use stockade_wire::packet::{Ip, TcpFlags, Transport, protocol};

use super::place::is_private;

/// Ports below this belong to services (RFC 6335 §6): nobody asks from there but a service.
const SYSTEM_PORTS: u16 = 1024;

/// What kind of flow, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The device opens it to one host.
    Outbound,
    /// One host opens it to the device.
    Inbound,
    /// It goes to a group or to everybody, from the device or to it.
    Multicast,
}

impl Class {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Outbound, Self::Inbound, Self::Multicast];

    /// The class as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Multicast => "multicast",
        }
    }
}

/// A flow, from the packet that opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// What kind.
    pub class: Class,
    /// Who opened it, seen from the device.
    pub direction: Direction,
    /// The device's own address in it; the group's, if the device is one of many it goes to.
    pub own: IpAddr,
    /// The other end.
    pub peer: IpAddr,
    /// The IP protocol.
    pub protocol: u8,
    /// The port that it was opened from; 0 where the protocol has none.
    pub source_port: u16,
    /// The port that it was opened to; 0 where the protocol has none.
    pub destination_port: u16,
    /// Type and code, for ICMP.
    pub icmp: Option<(u8, u8)>,
    /// TTL or hop limit of the first packet.
    pub hop_limit: u8,
    /// When its first packet was seen.
    pub time: Duration,
    /// How many packets were seen.
    pub packets: u64,
    /// The name that the device had asked for to get the other end's address.
    pub name: Option<HostName>,
    /// An answer to what was asked of a group: the port that the question came from.
    pub answers: Option<u16>,
    /// The capture began after the flow, so the side that opened it is a guess.
    pub guessed: bool,
}

/// Two ends of packets, seen from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ends {
    pub(super) own: IpAddr,
    pub(super) peer: IpAddr,
    pub(super) protocol: u8,
    pub(super) own_port: u16,
    pub(super) peer_port: u16,
    /// Type and code of messages that open something.
    pub(super) icmp: Option<(u8, u8)>,
    /// Who opens, where no port tells a flow from the one the other way.
    pub(super) way: Option<Way>,
}

/// A direction with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    In,
    Out,
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::In,
            Direction::Out => Self::Out,
        }
    }
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::In => Self::In,
            Way::Out => Self::Out,
        }
    }
}

/// What was seen between two ends.
#[derive(Debug, Clone)]
pub(super) struct Talk {
    pub(super) first: Direction,
    pub(super) time: Duration,
    pub(super) packets: u64,
    pub(super) hop_limit: u8,
    /// Packets went this way, and that way.
    inward: bool,
    outward: bool,
    /// Who said SYN; who answered it.
    syn: Option<Direction>,
    syn_ack: Option<Direction>,
}

impl Talk {
    pub(super) fn new(direction: Direction, time: Duration, hop_limit: u8) -> Self {
        Self {
            first: direction,
            time,
            packets: 0,
            hop_limit,
            inward: false,
            outward: false,
            syn: None,
            syn_ack: None,
        }
    }

    pub(super) fn saw(&mut self, direction: Direction, transport: Transport) {
        self.packets = self.packets.saturating_add(1);
        match direction {
            Direction::In => self.inward = true,
            Direction::Out => self.outward = true,
        }
        if let Transport::Tcp {
            flags: TcpFlags { syn: true, ack, .. },
            ..
        } = transport
        {
            let seen = if ack {
                &mut self.syn_ack
            } else {
                &mut self.syn
            };
            seen.get_or_insert(direction);
        }
    }

    /// The side that opened it, if a packet said so.
    pub(super) fn opener(&self) -> Option<Direction> {
        self.syn.or_else(|| self.syn_ack.map(other))
    }
}

pub(super) fn other(direction: Direction) -> Direction {
    match direction {
        Direction::In => Direction::Out,
        Direction::Out => Direction::In,
    }
}

/// What an ICMP message is to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// It opens one.
    Opens,
    /// It answers a message of this type.
    Answers(u8),
    /// It tells of an error in another flow, which connection tracking knows.
    Error,
    /// It wants another route; every firewall of ours drops it (RFC 4890 §4.4.2 and RFC 1122 §3.2.2.2 let it).
    Redirect,
}

pub(super) fn message(ip: &Ip<'_>, kind: u8) -> Message {
    match (ip.protocol, kind) {
        (protocol::ICMP, 0) => Message::Answers(8),
        (protocol::ICMP, 14) => Message::Answers(13),
        (protocol::ICMP, 5) | (protocol::ICMPV6, 137) => Message::Redirect,
        (protocol::ICMPV6, 129) => Message::Answers(128),
        (protocol::ICMP, 3 | 4 | 11 | 12) | (protocol::ICMPV6, 1..=4) => Message::Error,
        _ => Message::Opens,
    }
}

/// Ports that flows of this capture were opened to, whoever asks: an unclear flow that has one was opened to it.
#[derive(Debug, Default)]
pub(super) struct Services {
    ports: BTreeMap<(u8, IpAddr), BTreeSet<u16>>,
}

impl Services {
    pub(super) fn add(&mut self, ends: &Ends, opener: Direction) {
        let (host, port) = match opener {
            Direction::Out => (ends.peer, ends.peer_port),
            Direction::In => (ends.own, ends.own_port),
        };
        let ports = self.ports.entry((ends.protocol, host)).or_default();
        ports.insert(port);
    }

    fn has(&self, protocol: u8, host: IpAddr, port: u16) -> bool {
        let ports = self.ports.get(&(protocol, host));
        ports.is_some_and(|ports| ports.contains(&port))
    }

    /// The side that opened a flow of TCP or UDP whose first packet may have been missed, and whether that is a guess.
    pub(super) fn opener(&self, ends: &Ends, talk: &Talk) -> (Direction, bool) {
        if let Some(opener) = talk.opener() {
            return (opener, false);
        }
        // A group never answers under its own address.
        if ends.peer.is_multicast() || ends.own.is_multicast() {
            return (talk.first, false);
        }
        let theirs = self.has(ends.protocol, ends.peer, ends.peer_port);
        let ours = self.has(ends.protocol, ends.own, ends.own_port);
        // Behind a router that translates addresses nothing is opened from outside; TCP would have shown it.
        let outside = is_private(ends.own) && !is_private(ends.peer);
        let both = talk.inward && talk.outward;
        let guess = match (theirs, ours) {
            (true, false) => Some(Direction::Out),
            (false, true) => Some(Direction::In),
            _ if outside && (ends.protocol == protocol::TCP || both) => Some(Direction::Out),
            _ => by_ports(ends),
        };
        match guess {
            // The first packet that was seen goes the way of the guess: nothing speaks for a missed one.
            Some(opener) => (
                opener,
                ends.protocol == protocol::TCP || opener != talk.first,
            ),
            None => (talk.first, false),
        }
    }
}

/// Systems hand out high ports to those who ask.
fn by_ports(ends: &Ends) -> Option<Direction> {
    let (theirs, ours) = (ends.peer_port, ends.own_port);
    match (theirs < SYSTEM_PORTS, ours < SYSTEM_PORTS) {
        (true, false) => Some(Direction::Out),
        (false, true) => Some(Direction::In),
        _ if ends.protocol != protocol::TCP => None,
        _ if theirs < ours => Some(Direction::Out),
        _ => Some(Direction::In),
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.direction {
            Direction::Out => f.write_str("out to ")?,
            Direction::In => f.write_str("in from ")?,
        }
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.peer)?,
            None => self.peer.fmt(f)?,
        }
        if self.direction == Direction::In && self.class == Class::Multicast {
            write!(f, " for {}", self.own)?;
        }
        write!(f, ", {}", Protocol::from_number(self.protocol))?;
        if let Some((kind, code)) = self.icmp {
            return write!(f, " type {kind} code {code}");
        }
        if self.has_ports() {
            write!(f, " port {}", self.destination_port)?;
        }
        Ok(())
    }
}

impl Flow {
    pub(super) fn has_ports(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP)
    }
}
