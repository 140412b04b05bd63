//! What one rule of a MUD file matches, in the words of a profile.

use crate::{
    Direction, Endpoint, EtherType, Family, IcmpKind, LinkAddress, PortRange, Protocol, Traffic,
};

/// The families of addresses that something holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Families {
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

impl Families {
    pub(crate) const BOTH: Self = Self {
        ipv4: true,
        ipv6: true,
    };

    pub(crate) fn only(family: Family) -> Self {
        Self {
            ipv4: family == Family::Ipv4,
            ipv6: family == Family::Ipv6,
        }
    }

    pub(crate) fn of(family: Option<Family>) -> Self {
        family.map_or(Self::BOTH, Self::only)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 && other.ipv4,
            ipv6: self.ipv6 && other.ipv6,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 || other.ipv4,
            ipv6: self.ipv6 || other.ipv6,
        }
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 && !other.ipv4,
            ipv6: self.ipv6 && !other.ipv6,
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        !self.ipv4 && !self.ipv6
    }

    /// The one family, if it is but one.
    pub(crate) fn single(self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, false) => Some(Family::Ipv4),
            (false, true) => Some(Family::Ipv6),
            (true, true) | (false, false) => None,
        }
    }
}

/// Ports as ranges, in order and apart; a protocol without ports has none.
pub(crate) type PortSet = Vec<PortRange>;

/// Packets that go one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) peer: Endpoint,
    pub(crate) families: Families,
    pub(crate) protocol: Protocol,
    /// The ports that they go to.
    pub(crate) to: PortSet,
    /// The ports that they come from.
    pub(crate) from: PortSet,
    pub(crate) icmp: Option<IcmpKind>,
    /// Who opened what they belong to, if the rule says so (RFC 8520 §4.8).
    pub(crate) initiated: Option<Direction>,
}

/// What one rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Matched {
    /// Packets.
    Flow(Flow),
    /// Frames that are neither IP nor ARP.
    Frame(EtherType, Option<LinkAddress>),
    /// ARP, which no profile speaks of.
    Arp,
}

/// One rule of a profile, without the parts that MUD can not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) peer: Endpoint,
    pub(crate) families: Families,
    pub(crate) protocol: Protocol,
    /// There for a protocol with ports, and for no other.
    pub(crate) to: Option<PortRange>,
    pub(crate) from: Option<PortRange>,
    pub(crate) icmp: Option<IcmpKind>,
}

impl Flow {
    /// The flow as rules, one for each pair of ranges of ports.
    pub(crate) fn openings(&self) -> Vec<Opening> {
        let one = |to, from| Opening {
            peer: self.peer.clone(),
            families: self.families,
            protocol: self.protocol,
            to,
            from,
            icmp: self.icmp,
        };
        if !self.protocol.has_ports() {
            return vec![one(None, None)];
        }
        let pairs = self
            .to
            .iter()
            .flat_map(|to| self.from.iter().map(move |from| (*to, *from)));
        pairs.map(|(to, from)| one(Some(to), Some(from))).collect()
    }

    /// Whether the other one is the same the other way round: source and destination exchanged.
    pub(crate) fn mirrors(&self, other: &Self) -> bool {
        self.meets(other)
            && self.families == other.families
            && self.to == other.from
            && self.from == other.to
            && self.icmp == other.icmp
    }

    /// Whether packets of one can be the answers to packets of the other.
    pub(crate) fn answers(&self, other: &Self) -> bool {
        let cross = |one: &PortSet, other: &PortSet| {
            let apart = |a: &PortRange, b: &PortRange| a.last() < b.first() || b.last() < a.first();
            !self.protocol.has_ports() || one.iter().any(|a| other.iter().any(|b| !apart(a, b)))
        };
        self.meets(other)
            && !self.families.and(other.families).is_empty()
            && cross(&self.to, &other.from)
            && cross(&self.from, &other.to)
    }

    fn meets(&self, other: &Self) -> bool {
        self.peer == other.peer && self.protocol == other.protocol
    }

    /// Whether it names the ports on one side only: the side that it goes to, or the side that it comes from.
    pub(crate) fn names_only_to(&self) -> bool {
        any(&self.from) && !any(&self.to)
    }

    pub(crate) fn names_only_from(&self) -> bool {
        any(&self.to) && !any(&self.from)
    }

    /// Whether it looks the same from both ends.
    pub(crate) fn is_its_own_mirror(&self) -> bool {
        self.to == self.from
    }

    /// The kind of message that asks for this one, if it is an answer (RFC 792, RFC 4443 §4).
    pub(crate) fn asked_by(&self) -> Option<u8> {
        match (self.protocol, self.icmp?.kind) {
            (Protocol::Icmp, 0) => Some(8),
            (Protocol::Icmpv6, 129) => Some(128),
            _ => None,
        }
    }

    /// Whether the other one is the echo request that this one answers.
    pub(crate) fn is_reply_to(&self, other: &Self) -> bool {
        let asked = self.asked_by();
        let kind = |flow: &Self| flow.icmp.map(|icmp| icmp.kind);
        asked.is_some() && asked == kind(other) && self.answers(other)
    }
}

fn any(ports: &PortSet) -> bool {
    ports.as_slice() == [PortRange::ANY]
}

impl Opening {
    /// The traffic of a profile's rule.
    pub(crate) fn traffic(&self) -> Traffic {
        // What the protocol or the address says already is not said twice.
        let implied = self.protocol.only_family().or_else(|| self.peer.family());
        Traffic {
            protocol: self.protocol,
            port: self.to,
            source_port: self.from.filter(|from| *from != PortRange::ANY),
            family: match implied {
                Some(_) => None,
                None => self.families.single(),
            },
            icmp: self.icmp,
            rate: None,
        }
    }

    /// The same as a profile says it of any traffic.
    pub(crate) fn of(peer: &Endpoint, traffic: &Traffic) -> Self {
        let source = traffic.source_port.unwrap_or(PortRange::ANY);
        Self {
            peer: peer.clone(),
            families: Families::of(traffic.held_to()).and(Families::of(peer.family())),
            protocol: traffic.protocol,
            to: traffic.port,
            from: traffic.protocol.has_ports().then_some(source),
            icmp: traffic.icmp,
        }
    }

    /// Whether the two differ in their families at most.
    pub(crate) fn same_but_family(&self, other: &Self) -> bool {
        let Self {
            peer,
            families: _,
            protocol,
            to,
            from,
            icmp,
        } = self;
        (protocol, to, from, icmp) == (&other.protocol, &other.to, &other.from, &other.icmp)
            && *peer == other.peer
    }
}
