//! The part of nftables that we write: tables, sets, chains and rules as data.
//!
//! Written in the kernel's own normal form, so that what is read back is the same value: a range of one is a value, the
//! members of a set are disjoint and sorted, no statement is implied by another. [`std::fmt::Display`] gives nft's text.

mod name;
mod text;
mod value;

use std::collections::BTreeSet;

use stockade_profile::InterfaceName;

pub use name::{CgroupPath, Comment, Ident, Unfit};
pub use value::{Kind, States, Value, merge};

/// All our tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// In the order in which they are written.
    pub tables: Vec<Table>,
}

/// A table's family, which says what packets its chains see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// ARP.
    Arp,
    /// Frames of one interface.
    Netdev,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What packets it sees.
    pub family: Family,
    /// Its name.
    pub name: Ident,
    /// Sets and maps.
    pub sets: Vec<Set>,
    /// Chains; one stands before those that refer to it.
    pub chains: Vec<Chain>,
}

/// A named set, or a map from keys to verdicts.
#[expect(clippy::struct_excessive_bools, reason = "nft's flags, each by itself")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: Ident,
    /// The kinds of the parts of its key.
    pub key: Vec<Kind>,
    /// Whether it maps to verdicts.
    pub map: bool,
    /// Whether elements are ranges.
    pub interval: bool,
    /// Whether packets add elements. nft 1.0.6 leaves this flag out of its JSON: a comparison can not see it.
    pub dynamic: bool,
    /// Whether elements may expire.
    pub timeout: bool,
    /// After how many seconds an element expires that does not say so itself.
    pub default_timeout: Option<u32>,
    /// How many elements there may be.
    pub size: Option<u32>,
    /// What it holds when it is made.
    pub elements: Vec<Element>,
}

/// One element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// A value for each part of the key.
    pub key: Vec<Value>,
    /// After how many seconds it expires.
    pub timeout: Option<u32>,
    /// What a map says for it.
    pub verdict: Option<Verdict>,
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: Ident,
    /// Where packets enter it from, if not from other chains alone.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where a chain is hooked into the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// What it may do.
    pub kind: ChainKind,
    /// The hook.
    pub hook: Hook,
    /// Its place among the chains of the hook; lower is earlier.
    pub priority: i32,
    /// The interface, for the family netdev.
    pub device: Option<InterfaceName>,
    /// What happens at its end.
    pub policy: Policy,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainKind {
    /// Accept and drop.
    Filter,
    /// Change addresses of new flows.
    Nat,
}

/// A hook of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Frames as they come in; families netdev and inet.
    Ingress,
    /// Frames as they go out; family netdev.
    Egress,
    /// All packets that came in, before they are routed.
    Prerouting,
    /// Packets for this host.
    Input,
    /// Packets that pass through.
    Forward,
    /// Packets of this host.
    Output,
}

/// What happens at the end of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// The packet goes on.
    Accept,
    /// The packet is gone.
    Drop,
}

/// One rule: statements from left to right; a match that fails ends the rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The statements.
    pub statements: Vec<Statement>,
    /// For people: the rule of the profile.
    pub comment: Option<Comment>,
}

/// One statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The rule goes on only if this holds.
    Match(Match),
    /// A verdict by a map; without an element the rule goes on with the next one.
    Map {
        /// What is looked up.
        key: Vec<Field>,
        /// Where.
        map: MapSource,
    },
    /// The rule goes on only within the rate.
    Limit(Limit),
    /// The rule goes on only if the packet's key, with a limit of its own, is within the rate. Adds the key to the set.
    Meter {
        /// The set of keys.
        set: Ident,
        /// The key.
        key: Vec<Field>,
        /// The rate of each key.
        limit: Limit,
    },
    /// Puts the packet's key into the set, or starts its time anew.
    Update {
        /// The set.
        set: Ident,
        /// The key.
        key: Vec<Field>,
    },
    /// A copy of the packet's beginning to a group of listeners.
    Log {
        /// The group.
        group: u16,
        /// What is said with it.
        prefix: Comment,
        /// How many bytes of the packet.
        snaplen: u32,
    },
    /// Counts packets and bytes.
    Counter,
    /// Sends a new flow to a port of this host.
    Redirect {
        /// The port.
        port: u16,
    },
    /// The end of the rule.
    Verdict(Verdict),
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// What of the packet is looked at; several make a concatenation.
    pub key: Vec<Field>,
    /// Whether it must not be so.
    pub negated: bool,
    /// What it must be.
    pub to: To,
}

/// What a condition compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// One value or range; for [`Field::CtState`] any of the states.
    Value(Value),
    /// One of these keys; two or more, or one that is a concatenation. Sorted.
    Anonymous(Vec<Vec<Value>>),
    /// One in this set.
    Set(Ident),
    /// It is there.
    Exists,
    /// It is not there.
    Missing,
    /// The socket belongs to this cgroup or to one below it.
    Cgroup(CgroupPath),
}

/// Where a verdict is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapSource {
    /// In a named map.
    Named(Ident),
    /// In the rule itself. Sorted by key.
    Anonymous(Vec<(Vec<Value>, Verdict)>),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on to the next base chain.
    Accept,
    /// It is gone.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// Into a chain, and back at its end.
    Jump(Ident),
    /// Into a chain, and at its end to where this chain would have ended.
    Goto(Ident),
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit {
    /// How many packets.
    pub rate: u64,
    /// In what time.
    pub per: Unit,
    /// How many at once.
    pub burst: u32,
}

/// The units of time that nft knows for rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
}

/// Something of a packet, or known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `meta nfproto`: 2 is IPv4, 10 is IPv6.
    NfProto,
    /// `meta protocol`: the ethertype.
    Protocol,
    /// `meta l4proto`: the transport protocol, behind IPv6 extension headers.
    L4Proto,
    /// `iifname`.
    InputInterface,
    /// `oifname`.
    OutputInterface,
    /// `meta mark`.
    Mark,
    /// `meta skuid`: the user of the socket.
    SocketUser,
    /// `meta pkttype`: 0 host, 1 broadcast, 2 multicast, 3 another host; as the link says.
    PacketType,
    /// `ether saddr`.
    EtherSource,
    /// `ether daddr`.
    EtherDestination,
    /// `ether type`.
    EtherType,
    /// `ip saddr`.
    Ip4Source,
    /// `ip daddr`.
    Ip4Destination,
    /// `ip6 saddr`.
    Ip6Source,
    /// `ip6 daddr`.
    Ip6Destination,
    /// `ip6 hoplimit`.
    HopLimit,
    /// `tcp sport`.
    TcpSource,
    /// `tcp dport`.
    TcpDestination,
    /// `udp sport`.
    UdpSource,
    /// `udp dport`.
    UdpDestination,
    /// `th sport`: whatever the transport; used in concatenations with [`Field::L4Proto`].
    TransportSource,
    /// `th dport`: whatever the transport; used in concatenations with [`Field::L4Proto`].
    TransportDestination,
    /// `icmp type`.
    IcmpType,
    /// `icmp code`.
    IcmpCode,
    /// `icmpv6 type`.
    Icmp6Type,
    /// `icmpv6 code`.
    Icmp6Code,
    /// The target of a neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4): `@th,64,128`.
    NdTarget,
    /// `arp operation`: 1 is a request, 2 a reply.
    ArpOperation,
    /// `arp htype`.
    ArpHardware,
    /// `arp ptype`.
    ArpProtocol,
    /// `arp saddr ether`.
    ArpSourceEther,
    /// `arp saddr ip`.
    ArpSourceIp,
    /// `arp daddr ip`.
    ArpTargetIp,
    /// `ct state`.
    CtState,
    /// `ct direction`: 0 original, 1 reply.
    CtDirection,
    /// `ct status dnat`: the flow's destination was changed; compared with [`To::Exists`] or [`To::Missing`].
    CtDnat,
    /// `fib saddr . iif oif`: whether the way back to the source leaves by the interface that it came in by.
    ReversePath,
    /// `fib saddr type`: what the source is to this host.
    SourceType,
    /// `fib daddr type`: what the destination is to this host: 1 unicast, 2 local, 3 broadcast, 4 anycast, 5 multicast.
    DestinationType,
    /// `ip option lsrr`: loose source route (RFC 791 §3.1).
    LooseSourceRoute,
    /// `ip option ssrr`: strict source route (RFC 791 §3.1).
    StrictSourceRoute,
    /// `exthdr rt`: an IPv6 routing header (RFC 8200 §4.4).
    RoutingHeader,
    /// `socket cgroupv2 level N`: the cgroup, N levels below the root, that the socket belongs to.
    SocketCgroup(u8),
}

impl Rule {
    /// A rule of these statements.
    pub fn new(statements: impl IntoIterator<Item = Statement>) -> Self {
        Self {
            statements: statements.into_iter().collect(),
            comment: None,
        }
    }

    /// The same, with a word for people.
    #[must_use]
    pub fn said(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }
}

impl Ruleset {
    /// The table of this family and name.
    pub fn table(&self, family: Family, name: &str) -> Option<&Table> {
        let same = |table: &&Table| table.family == family && table.name.as_str() == name;
        self.tables.iter().find(same)
    }
}

impl Table {
    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name.as_str() == name)
    }

    /// The set or map of this name.
    pub fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name.as_str() == name)
    }
}

impl Statement {
    /// `field value`; a set of one is a value, and of none nothing at all.
    pub fn is(field: Field, values: impl IntoIterator<Item = Value>) -> Self {
        Self::compare(field, false, values)
    }

    /// `field != value`.
    pub fn is_not(field: Field, values: impl IntoIterator<Item = Value>) -> Self {
        Self::compare(field, true, values)
    }

    fn compare(field: Field, negated: bool, values: impl IntoIterator<Item = Value>) -> Self {
        let mut values = if field.kind().has_ranges() {
            merge(values)
        } else {
            let values: BTreeSet<Value> = values.into_iter().collect();
            values.into_iter().collect()
        };
        let to = match (values.len(), values.pop()) {
            (1, Some(one)) => To::Value(one),
            (_, last) => To::Anonymous(
                values
                    .into_iter()
                    .chain(last)
                    .map(|one| vec![one])
                    .collect(),
            ),
        };
        Self::Match(Match {
            key: vec![field],
            negated,
            to,
        })
    }

    /// `field @set`.
    pub fn in_set(key: impl Into<Vec<Field>>, set: Ident) -> Self {
        Self::Match(Match {
            key: key.into(),
            negated: false,
            to: To::Set(set),
        })
    }

    /// `field != @set`.
    pub fn not_in_set(key: impl Into<Vec<Field>>, set: Ident) -> Self {
        Self::Match(Match {
            key: key.into(),
            negated: true,
            to: To::Set(set),
        })
    }

    /// `field exists`.
    pub fn exists(field: Field) -> Self {
        Self::Match(Match {
            key: vec![field],
            negated: false,
            to: To::Exists,
        })
    }

    /// `field missing`.
    pub fn missing(field: Field) -> Self {
        Self::Match(Match {
            key: vec![field],
            negated: false,
            to: To::Missing,
        })
    }

    /// `ct state a,b`.
    pub fn state(states: States) -> Self {
        Self::Match(Match {
            key: vec![Field::CtState],
            negated: false,
            to: To::Value(Value::States(states)),
        })
    }
}

impl From<Verdict> for Statement {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}
