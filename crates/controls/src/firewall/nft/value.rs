//! Values that packets are compared with.

use core::net::{Ipv4Addr, Ipv6Addr};

use stockade_profile::InterfaceName;

use super::Field;

/// One value, or an inclusive range of values of one kind. The ends of a range of one are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// IPv4 addresses.
    Ip4(Ipv4Addr, Ipv4Addr),
    /// IPv6 addresses.
    Ip6(Ipv6Addr, Ipv6Addr),
    /// A hardware address.
    Mac([u8; 6]),
    /// Numbers: ports, protocols, types, marks; as the standards write them, whatever the byte order.
    Number(u32, u32),
    /// The name of an interface, whole.
    Interface(InterfaceName),
    /// States of a flow; any of them.
    States(States),
}

impl Value {
    /// A number.
    pub fn number(number: impl Into<u32>) -> Self {
        let number = number.into();
        Self::Number(number, number)
    }

    /// An IPv4 address.
    pub fn ip4(address: Ipv4Addr) -> Self {
        Self::Ip4(address, address)
    }

    /// An IPv6 address.
    pub fn ip6(address: Ipv6Addr) -> Self {
        Self::Ip6(address, address)
    }
}

/// What the values of a field are, and so how they are written and which sets they fit in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `ipv4_addr`.
    Ip4,
    /// `ipv6_addr`.
    Ip6,
    /// The target of a neighbour message: an IPv6 address that nft takes for a number.
    Target,
    /// `ether_addr`.
    Mac,
    /// `inet_proto`.
    Protocol,
    /// `inet_service`.
    Port,
    /// `ether_type`.
    EtherType,
    /// `icmp_type`.
    IcmpType,
    /// `icmpv6_type`.
    Icmp6Type,
    /// `ifname`.
    Interface,
    /// `mark`.
    Mark,
    /// `ct_state`.
    State,
    /// A plain number.
    Number,
    /// `nf_proto`.
    NfProto,
    /// `pkt_type`.
    PacketType,
    /// `fib_addrtype`.
    AddressType,
    /// `arp_op`.
    ArpOperation,
    /// `ct_dir`.
    Direction,
    /// Only there or not there.
    Presence,
}

impl Kind {
    /// Whether nft knows ranges of it; of words and of raw bytes it does not.
    pub fn has_ranges(self) -> bool {
        match self {
            Self::Ip4
            | Self::Ip6
            | Self::Protocol
            | Self::Port
            | Self::IcmpType
            | Self::Icmp6Type
            | Self::Mark
            | Self::Number => true,
            Self::Target
            | Self::Mac
            | Self::EtherType
            | Self::Interface
            | Self::State
            | Self::NfProto
            | Self::PacketType
            | Self::AddressType
            | Self::ArpOperation
            | Self::Direction
            | Self::Presence => false,
        }
    }
}

impl Field {
    /// What its values are.
    pub fn kind(self) -> Kind {
        match self {
            Self::NfProto => Kind::NfProto,
            Self::Protocol | Self::EtherType | Self::ArpProtocol => Kind::EtherType,
            Self::L4Proto => Kind::Protocol,
            Self::InputInterface | Self::OutputInterface => Kind::Interface,
            Self::Mark => Kind::Mark,
            Self::PacketType => Kind::PacketType,
            Self::EtherSource | Self::EtherDestination | Self::ArpSourceEther => Kind::Mac,
            Self::Ip4Source | Self::Ip4Destination | Self::ArpSourceIp | Self::ArpTargetIp => {
                Kind::Ip4
            }
            Self::Ip6Source | Self::Ip6Destination => Kind::Ip6,
            Self::NdTarget => Kind::Target,
            Self::TcpSource
            | Self::TcpDestination
            | Self::UdpSource
            | Self::UdpDestination
            | Self::TransportSource
            | Self::TransportDestination => Kind::Port,
            Self::IcmpType => Kind::IcmpType,
            Self::Icmp6Type => Kind::Icmp6Type,
            Self::SocketUser
            | Self::HopLimit
            | Self::IcmpCode
            | Self::Icmp6Code
            | Self::ArpHardware => Kind::Number,
            Self::ArpOperation => Kind::ArpOperation,
            Self::CtState => Kind::State,
            Self::CtDirection => Kind::Direction,
            Self::SourceType | Self::DestinationType => Kind::AddressType,
            Self::CtDnat
            | Self::ReversePath
            | Self::LooseSourceRoute
            | Self::StrictSourceRoute
            | Self::RoutingHeader
            | Self::SocketCgroup(_) => Kind::Presence,
        }
    }
}

/// States of a flow, as connection tracking tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct States(u8);

impl States {
    /// Fits no flow.
    pub const INVALID: Self = Self(1);
    /// Packets of a flow that is open.
    pub const ESTABLISHED: Self = Self(2);
    /// The first packet of a flow that another flow caused, or an error about one.
    pub const RELATED: Self = Self(4);
    /// The first packet of a flow.
    pub const NEW: Self = Self(8);
    /// Not tracked.
    pub const UNTRACKED: Self = Self(64);

    /// The kernel's bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// States from the kernel's bits, if it is one or more that are known.
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits != 0 && bits & !(1 | 2 | 4 | 8 | 64) == 0).then_some(Self(bits))
    }

    /// These and those.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The same values, sorted, disjoint, and neighbours joined.
pub fn merge(values: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut values: Vec<Value> = values.into_iter().collect();
    values.sort();
    let mut merged: Vec<Value> = Vec::with_capacity(values.len());
    for value in values {
        match merged.last_mut().and_then(|last| joined(last, &value)) {
            Some(both) => {
                merged.pop();
                merged.push(both);
            }
            None => merged.push(value),
        }
    }
    merged
}

/// Both as one, if they touch; `a` does not begin after `b`.
fn joined(a: &Value, b: &Value) -> Option<Value> {
    match (a, b) {
        (Value::Ip4(first, last), Value::Ip4(from, to)) => {
            let touch = last
                .to_bits()
                .checked_add(1)
                .is_none_or(|next| from.to_bits() <= next);
            touch.then(|| Value::Ip4(*first, *last.max(to)))
        }
        (Value::Ip6(first, last), Value::Ip6(from, to)) => {
            let touch = last
                .to_bits()
                .checked_add(1)
                .is_none_or(|next| from.to_bits() <= next);
            touch.then(|| Value::Ip6(*first, *last.max(to)))
        }
        (Value::Number(first, last), Value::Number(from, to)) => {
            let touch = last.checked_add(1).is_none_or(|next| *from <= next);
            touch.then(|| Value::Number(*first, *last.max(to)))
        }
        _ => (a == b).then(|| a.clone()),
    }
}
