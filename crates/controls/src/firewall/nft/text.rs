//! The ruleset as nft reads it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt::{self, Display, Formatter, Write as _};

use super::{
    Base, Chain, ChainKind, Element, Family, Field, Hook, Kind, Limit, MapSource, Match, Policy,
    Rule, Ruleset, Set, Statement, States, Table, To, Unit, Value, Verdict,
};

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            table.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
        })
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family, self.name)?;
        let mut first = true;
        let mut gap = |f: &mut Formatter<'_>| {
            if std::mem::take(&mut first) {
                Ok(())
            } else {
                f.write_char('\n')
            }
        };
        for set in &self.sets {
            gap(f)?;
            set.fmt(f)?;
        }
        for chain in &self.chains {
            gap(f)?;
            chain.fmt(f)?;
        }
        f.write_str("}\n")
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.map { "map" } else { "set" };
        writeln!(f, "\t{word} {} {{", self.name)?;
        // The target of a neighbour message has no type of its own: nft is shown where it stands.
        let shown = self.key.contains(&Kind::Target);
        f.write_str(if shown { "\t\ttypeof " } else { "\t\ttype " })?;
        for (index, kind) in self.key.iter().enumerate() {
            let dot = if index == 0 { "" } else { " . " };
            match (shown, kind) {
                (true, Kind::Target) => write!(f, "{dot}{}", Field::NdTarget)?,
                (true, Kind::Mac) => write!(f, "{dot}{}", Field::EtherSource)?,
                (_, kind) => write!(f, "{dot}{}", kind.type_name())?,
            }
        }
        f.write_str(if self.map { " : verdict\n" } else { "\n" })?;
        if let Some(size) = self.size {
            writeln!(f, "\t\tsize {size}")?;
        }
        let flags = [
            (self.interval, "interval"),
            (self.dynamic, "dynamic"),
            (self.timeout, "timeout"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|it| it.0).map(|it| it.1).collect();
        if !flags.is_empty() {
            writeln!(f, "\t\tflags {}", flags.join(","))?;
        }
        if let Some(timeout) = self.default_timeout {
            writeln!(f, "\t\ttimeout {timeout}s")?;
        }
        if !self.elements.is_empty() {
            f.write_str("\t\telements = {\n")?;
            for element in &self.elements {
                f.write_str("\t\t\t")?;
                element.write(&self.key, f)?;
                f.write_str(",\n")?;
            }
            f.write_str("\t\t}\n")?;
        }
        f.write_str("\t}\n")
    }
}

impl Set {
    /// One element as nft's `add element` takes it.
    pub fn element_text<'a>(&'a self, element: &'a Element) -> impl Display + 'a {
        fmt::from_fn(|f| element.write(&self.key, f))
    }
}

impl Element {
    fn write(&self, kinds: &[Kind], f: &mut Formatter<'_>) -> fmt::Result {
        write_key(&self.key, kinds.iter().copied(), f)?;
        if let Some(timeout) = self.timeout {
            write!(f, " timeout {timeout}s")?;
        }
        if let Some(verdict) = &self.verdict {
            write!(f, " : {verdict}")?;
        }
        Ok(())
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(base) = &self.base {
            base.fmt(f)?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        f.write_str("\t}\n")
    }
}

impl Display for Base {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Ingress => "ingress",
            Hook::Egress => "egress",
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
        };
        let policy = match self.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        write!(f, "\t\ttype {kind} hook {hook} ")?;
        if let Some(device) = &self.device {
            write!(f, "device \"{device}\" ")?;
        }
        writeln!(f, "priority {}; policy {policy};", self.priority)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, statement) in self.statements.iter().enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            statement.fmt(f)?;
        }
        match &self.comment {
            Some(comment) => write!(f, " comment \"{}\"", comment.as_str()),
            None => Ok(()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match(it) => it.fmt(f),
            Self::Map { key, map } => {
                write_fields(key, f)?;
                match map {
                    MapSource::Named(name) => write!(f, " vmap @{name}"),
                    MapSource::Anonymous(elements) => {
                        f.write_str(" vmap { ")?;
                        for (index, (values, verdict)) in elements.iter().enumerate() {
                            f.write_str(if index == 0 { "" } else { ", " })?;
                            write_key(values, key.iter().map(|field| field.kind()), f)?;
                            write!(f, " : {verdict}")?;
                        }
                        f.write_str(" }")
                    }
                }
            }
            Self::Limit(limit) => limit.fmt(f),
            Self::Meter { set, key, limit } => {
                write!(f, "update @{set} {{ ")?;
                write_fields(key, f)?;
                write!(f, " {limit} }}")
            }
            Self::Update { set, key } => {
                write!(f, "update @{set} {{ ")?;
                write_fields(key, f)?;
                f.write_str(" }")
            }
            Self::Log {
                group,
                prefix,
                snaplen,
            } => {
                let prefix = prefix.as_str();
                write!(f, "log prefix \"{prefix}\" group {group} snaplen {snaplen}")
            }
            Self::Counter => f.write_str("counter"),
            Self::Redirect { port } => write!(f, "redirect to :{port}"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kinds = || self.key.iter().map(|field| field.kind());
        // `ct status` holds many flags; this is the one that we ask for.
        if self.key == [Field::CtDnat] {
            let not = matches!(self.to, To::Missing) != self.negated;
            return f.write_str(if not {
                "ct status ! dnat"
            } else {
                "ct status dnat"
            });
        }
        write_fields(&self.key, f)?;
        f.write_str(if self.negated { " != " } else { " " })?;
        match &self.to {
            To::Value(value) => match kinds().next() {
                Some(kind) => write_value(value, kind, f),
                None => Err(fmt::Error),
            },
            To::Anonymous(keys) => {
                f.write_str("{ ")?;
                for (index, key) in keys.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    write_key(key, kinds(), f)?;
                }
                f.write_str(" }")
            }
            To::Set(name) => write!(f, "@{name}"),
            To::Exists => f.write_str("exists"),
            To::Missing => f.write_str("missing"),
            To::Cgroup(path) => write!(f, "\"{}\"", path.as_str()),
        }
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { rate, per, burst } = self;
        write!(f, "limit rate {rate}/{per} burst {burst} packets")
    }
}

impl Display for Unit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NfProto => "meta nfproto",
            Self::Protocol => "meta protocol",
            Self::L4Proto => "meta l4proto",
            Self::InputInterface => "iifname",
            Self::OutputInterface => "oifname",
            Self::Mark => "meta mark",
            Self::SocketUser => "meta skuid",
            Self::PacketType => "meta pkttype",
            Self::EtherSource => "ether saddr",
            Self::EtherDestination => "ether daddr",
            Self::EtherType => "ether type",
            Self::Ip4Source => "ip saddr",
            Self::Ip4Destination => "ip daddr",
            Self::Ip6Source => "ip6 saddr",
            Self::Ip6Destination => "ip6 daddr",
            Self::HopLimit => "ip6 hoplimit",
            Self::TcpSource => "tcp sport",
            Self::TcpDestination => "tcp dport",
            Self::UdpSource => "udp sport",
            Self::UdpDestination => "udp dport",
            Self::TransportSource => "th sport",
            Self::TransportDestination => "th dport",
            Self::IcmpType => "icmp type",
            Self::IcmpCode => "icmp code",
            Self::Icmp6Type => "icmpv6 type",
            Self::Icmp6Code => "icmpv6 code",
            Self::NdTarget => "@th,64,128",
            Self::ArpOperation => "arp operation",
            Self::ArpHardware => "arp htype",
            Self::ArpProtocol => "arp ptype",
            Self::ArpSourceEther => "arp saddr ether",
            Self::ArpSourceIp => "arp saddr ip",
            Self::ArpTargetIp => "arp daddr ip",
            Self::CtState => "ct state",
            Self::CtDirection => "ct direction",
            Self::CtDnat => "ct status",
            Self::ReversePath => "fib saddr . iif oif",
            Self::SourceType => "fib saddr type",
            Self::DestinationType => "fib daddr type",
            Self::LooseSourceRoute => "ip option lsrr",
            Self::StrictSourceRoute => "ip option ssrr",
            Self::RoutingHeader => "exthdr rt",
            Self::SocketCgroup(level) => return write!(f, "socket cgroupv2 level {level}"),
        })
    }
}

impl Kind {
    fn type_name(self) -> &'static str {
        match self {
            Self::Ip4 => "ipv4_addr",
            Self::Ip6 => "ipv6_addr",
            Self::Mac => "ether_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::EtherType => "ether_type",
            Self::IcmpType => "icmp_type",
            Self::Icmp6Type => "icmpv6_type",
            Self::Interface => "ifname",
            Self::Mark => "mark",
            Self::State => "ct_state",
            Self::NfProto => "nf_proto",
            Self::PacketType => "pkt_type",
            Self::AddressType => "fib_addrtype",
            Self::ArpOperation => "arp_op",
            Self::Direction => "ct_dir",
            Self::Number | Self::Target => "integer",
            Self::Presence => "boolean",
        }
    }
}

fn write_fields(fields: &[Field], f: &mut Formatter<'_>) -> fmt::Result {
    for (index, field) in fields.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { " . " })?;
        field.fmt(f)?;
    }
    Ok(())
}

fn write_key(
    values: &[Value],
    kinds: impl Iterator<Item = Kind>,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    for (index, (value, kind)) in values.iter().zip(kinds).enumerate() {
        f.write_str(if index == 0 { "" } else { " . " })?;
        write_value(value, kind, f)?;
    }
    Ok(())
}

fn write_value(value: &Value, kind: Kind, f: &mut Formatter<'_>) -> fmt::Result {
    match value {
        Value::Ip4(first, last) => write_range((*first).into(), (*last).into(), f),
        Value::Ip6(first, _) if kind == Kind::Target => write!(f, "{:#034x}", first.to_bits()),
        Value::Ip6(first, last) => write_range((*first).into(), (*last).into(), f),
        Value::Mac(bytes) => {
            for (index, byte) in bytes.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { ":" })?;
                write!(f, "{byte:02x}")?;
            }
            Ok(())
        }
        Value::Number(first, last) => {
            write_number(*first, kind, f)?;
            if first == last {
                return Ok(());
            }
            f.write_char('-')?;
            write_number(*last, kind, f)
        }
        Value::Interface(name) => write!(f, "\"{name}\""),
        Value::States(states) => {
            let words = [
                (States::ESTABLISHED, "established"),
                (States::RELATED, "related"),
                (States::NEW, "new"),
                (States::INVALID, "invalid"),
                (States::UNTRACKED, "untracked"),
            ];
            let words: Vec<&str> = words
                .iter()
                .filter(|it| states.contains(it.0))
                .map(|it| it.1)
                .collect();
            f.write_str(&words.join(","))
        }
    }
}

/// As one address, as a network if it is one, or as a range.
fn write_range(first: IpAddr, last: IpAddr, f: &mut Formatter<'_>) -> fmt::Result {
    if first == last {
        return first.fmt(f);
    }
    let prefix = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => prefix4(first, last),
        (IpAddr::V6(first), IpAddr::V6(last)) => prefix6(first, last),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Err(fmt::Error),
    };
    match prefix {
        Some(prefix) => write!(f, "{first}/{prefix}"),
        None => write!(f, "{first}-{last}"),
    }
}

fn prefix4(first: Ipv4Addr, last: Ipv4Addr) -> Option<u32> {
    let (first, differ) = (first.to_bits(), first.to_bits() ^ last.to_bits());
    let prefix = differ.leading_zeros();
    let host = u32::MAX.checked_shr(prefix).unwrap_or_default();
    (differ == host && first & host == 0).then_some(prefix)
}

fn prefix6(first: Ipv6Addr, last: Ipv6Addr) -> Option<u32> {
    let (first, differ) = (first.to_bits(), first.to_bits() ^ last.to_bits());
    let prefix = differ.leading_zeros();
    let host = u128::MAX.checked_shr(prefix).unwrap_or_default();
    (differ == host && first & host == 0).then_some(prefix)
}

/// A number by its word where nft's grammar has one that asks no file of the system.
fn write_number(number: u32, kind: Kind, f: &mut Formatter<'_>) -> fmt::Result {
    let word = match (kind, number) {
        (Kind::Protocol, 1) => "icmp",
        (Kind::Protocol, 6) => "tcp",
        (Kind::Protocol, 17) => "udp",
        (Kind::Protocol, 58) => "icmpv6",
        (Kind::EtherType, 0x0800) => "ip",
        (Kind::EtherType, 0x0806) => "arp",
        (Kind::EtherType, 0x86dd) => "ip6",
        (Kind::NfProto, 2) => "ipv4",
        (Kind::NfProto, 10) => "ipv6",
        (Kind::PacketType, 0) => "host",
        (Kind::PacketType, 1) | (Kind::AddressType, 3) => "broadcast",
        (Kind::PacketType, 2) | (Kind::AddressType, 5) => "multicast",
        (Kind::PacketType, 3) => "other",
        (Kind::AddressType, 1) => "unicast",
        (Kind::AddressType, 2) => "local",
        (Kind::AddressType, 4) => "anycast",
        (Kind::ArpOperation, 1) => "request",
        (Kind::ArpOperation, 2) | (Kind::Direction, 1) => "reply",
        (Kind::Direction, 0) => "original",
        (Kind::EtherType | Kind::Mark, _) => return write!(f, "{number:#06x}"),
        _ => return number.fmt(f),
    };
    f.write_str(word)
}
