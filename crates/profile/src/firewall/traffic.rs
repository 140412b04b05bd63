//! Which packets open a flow that a rule speaks of: protocol, ports, family, kinds of ICMP.

use std::fmt;
use std::str::FromStr;

use crate::fault::{Faulted, Faults, Malformed, nearest, quote};
use crate::net::PortRange;
use crate::read::{Form, Keys, Node, Text, Value, Writer, mistyped};
use crate::text::choice;
use crate::units::digits;
use crate::{Endpoint, Rate};

/// The protocol that IP carries (the IANA registry of protocol numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, which IPv4 carries.
    Icmp,
    /// `ICMPv6`, which IPv6 carries.
    Icmpv6,
    /// IGMP, which IPv4 carries.
    Igmp,
    /// Another one, by its number; never one of those above.
    Number(u8),
    /// Every one.
    Any,
}

const PROTOCOL_HELP: &str = "tcp, udp, icmp, icmpv6, igmp, ip:<number> or any";
const NAMED: [(&str, Protocol); 6] = [
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("icmp", Protocol::Icmp),
    ("icmpv6", Protocol::Icmpv6),
    ("igmp", Protocol::Igmp),
    ("any", Protocol::Any),
];

impl Protocol {
    /// The protocol with this number.
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            2 => Self::Igmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmpv6,
            other => Self::Number(other),
        }
    }

    /// The number in the header; none for every protocol.
    pub fn number(self) -> Option<u8> {
        match self {
            Self::Icmp => Some(1),
            Self::Igmp => Some(2),
            Self::Tcp => Some(6),
            Self::Udp => Some(17),
            Self::Icmpv6 => Some(58),
            Self::Number(number) => Some(number),
            Self::Any => None,
        }
    }

    /// Whether its packets have ports that a rule can name.
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }

    /// The one family that carries it, if there is but one.
    pub fn only_family(self) -> Option<Family> {
        match self {
            Self::Icmp | Self::Igmp => Some(Family::Ipv4),
            Self::Icmpv6 => Some(Family::Ipv6),
            Self::Tcp | Self::Udp | Self::Number(_) | Self::Any => None,
        }
    }

    fn has_types(self) -> bool {
        matches!(self, Self::Icmp | Self::Icmpv6)
    }
}

impl FromStr for Protocol {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Some((_, protocol)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*protocol);
        }
        let wrong = Malformed::new(format!("`{}` is not a protocol", quote(text)));
        if let Some(number) = text.strip_prefix("ip:") {
            return digits(number)
                .and_then(|number| u8::try_from(number).ok())
                .map(Self::from_number)
                .ok_or_else(|| wrong.help("a protocol's number is from 0 to 255: \"ip:47\""));
        }
        Err(match nearest(text, NAMED.iter().map(|(name, _)| *name)) {
            Some(word) => wrong.help(format!("did you mean \"{word}\"?")),
            None => wrong.help(PROTOCOL_HELP),
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Number(number) = self {
            return write!(f, "ip:{number}");
        }
        let name = NAMED.iter().find(|(_, protocol)| protocol == self);
        f.write_str(name.map_or("any", |(name, _)| name))
    }
}

impl Text for Protocol {}

choice! {
    /// A version of the Internet Protocol.
    Family: "a family of addresses" {
        /// IPv4.
        Ipv4 = "ipv4",
        /// IPv6.
        Ipv6 = "ipv6",
    }
}

impl Family {
    /// The family's name for a sentence.
    pub(crate) fn spoken(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// One kind of ICMP message (RFC 792, RFC 4443).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IcmpKind {
    /// The type.
    pub kind: u8,
    /// The code; every one if absent.
    pub code: Option<u8>,
}

/// Which packets open a flow that a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// The protocol.
    pub protocol: Protocol,
    /// The port that the first packet goes to; there for TCP and UDP, and for them alone.
    pub port: Option<PortRange>,
    /// The port that the first packet comes from; any if absent.
    pub source_port: Option<PortRange>,
    /// The family; both if absent, or the one that carries the protocol.
    pub family: Option<Family>,
    /// The kind of message, for ICMP and `ICMPv6`; every one if absent.
    pub icmp: Option<IcmpKind>,
    /// How many new flows.
    pub rate: Option<Rate>,
}

impl Traffic {
    /// The same without its rate: what two rules may not both say.
    pub(crate) fn kind(self) -> Self {
        Self { rate: None, ..self }
    }

    /// The one family that it is held to, by itself or by its protocol.
    pub fn held_to(&self) -> Option<Family> {
        self.family.or_else(|| self.protocol.only_family())
    }

    /// Reads the keys of a rule that say which packets; `peer` is the key of the other end.
    pub(crate) fn read(
        keys: &mut Keys<'_>,
        peer: Option<&Endpoint>,
        port: &str,
    ) -> Result<Self, Faulted> {
        let protocol = keys.required::<Protocol>("protocol", "\"tcp\"");
        let ports = Self::ports(keys, protocol.as_ref().ok().copied(), port);
        let family = Self::family(keys, protocol.as_ref().ok().copied(), peer);
        let icmp = Self::icmp(keys, protocol.as_ref().ok().copied());
        let rate = keys.optional("rate");
        if let Ok(Protocol::Any) = protocol {
            let wrong = Malformed::new("`any` allows every protocol there is");
            keys.warn("protocol", wrong.help("name the protocol that is needed"));
        }
        let (port, source_port) = ports?;
        Ok(Self {
            protocol: protocol?,
            port,
            source_port,
            family: family?,
            icmp: icmp?,
            rate: rate?,
        })
    }

    fn ports(
        keys: &mut Keys<'_>,
        protocol: Option<Protocol>,
        example: &str,
    ) -> Result<(Option<PortRange>, Option<PortRange>), Faulted> {
        let port: Result<Option<PortRange>, Faulted> = match protocol {
            Some(protocol) if protocol.has_ports() => keys.required("port", example).map(Some),
            _ => keys.optional("port"),
        };
        let source_port = keys.optional("source-port");
        if let Ok(Some(PortRange::ANY)) = port {
            let wrong = Malformed::new("every port is open by this rule");
            keys.warn("port", wrong.help("name the ports that are needed"));
        }
        let Some(protocol) = protocol.filter(|protocol| !protocol.has_ports()) else {
            return Ok((port?, source_port?));
        };
        refuse(keys, "port", port?.is_some(), || {
            format!("`{protocol}` has no ports")
        })?;
        refuse(keys, "source-port", source_port?.is_some(), || {
            format!("`{protocol}` has no ports")
        })?;
        Ok((None, None))
    }

    fn family(
        keys: &mut Keys<'_>,
        protocol: Option<Protocol>,
        peer: Option<&Endpoint>,
    ) -> Result<Option<Family>, Faulted> {
        let family = keys.optional("family")?;
        let only = protocol.and_then(Protocol::only_family);
        let of_peer = peer.and_then(Endpoint::family);
        if let (Some(family), Some(only)) = (family, only.filter(|only| family != Some(*only))) {
            let wrong = Malformed::new(format!(
                "{} never carries this protocol, and the rule would allow nothing",
                family.spoken()
            ));
            return Err(keys.error("family", wrong.help(format!("\"{only}\", or leave it out"))));
        }
        let held = family.or(only);
        if let (Some(held), Some(of_peer)) = (held, of_peer)
            && held != of_peer
        {
            let (key, other) = match family {
                Some(_) => ("family", of_peer.spoken()),
                None => ("protocol", of_peer.spoken()),
            };
            let wrong = format!("the address is one of {other}, and the rule would allow nothing");
            return Err(keys.error(key, Malformed::new(wrong)));
        }
        Ok(family)
    }

    fn icmp(keys: &mut Keys<'_>, protocol: Option<Protocol>) -> Result<Option<IcmpKind>, Faulted> {
        let kind: Result<Option<u8>, Faulted> = keys.optional("icmp-type");
        let code: Result<Option<u8>, Faulted> = keys.optional("icmp-code");
        let (kind, code) = (kind?, code?);
        if let Some(protocol) = protocol.filter(|protocol| !protocol.has_types()) {
            let why = || format!("`{protocol}` has no types of messages; icmp and icmpv6 have");
            refuse(keys, "icmp-type", kind.is_some(), why)?;
            refuse(keys, "icmp-code", code.is_some(), why)?;
        }
        refuse(keys, "icmp-code", kind.is_none() && code.is_some(), || {
            "a code means nothing without `icmp-type`".to_owned()
        })?;
        Ok(kind.map(|kind| IcmpKind { kind, code }))
    }

    pub(crate) fn write(&self, writer: Writer) -> Writer {
        writer
            .put("protocol", &self.protocol)
            .some("port", self.port.as_ref())
            .some("source-port", self.source_port.as_ref())
            .some("family", self.family.as_ref())
            .some("icmp-type", self.icmp.map(|icmp| icmp.kind).as_ref())
            .some("icmp-code", self.icmp.and_then(|icmp| icmp.code).as_ref())
            .some("rate", self.rate.as_ref())
    }

    /// For a sentence: `tcp port 443, 20 a second at most`.
    pub(crate) fn spoken(&self) -> String {
        let protocol = match (self.protocol, self.protocol.number()) {
            (Protocol::Number(_), Some(number)) => format!("IP protocol {number}"),
            (_, None) => "any protocol".to_owned(),
            (named, Some(_)) => named.to_string(),
        };
        let said = |part: Option<String>| part.unwrap_or_default();
        let icmp = self.icmp.map(|IcmpKind { kind, code }| {
            let code = said(code.map(|code| format!(" code {code}")));
            format!(" type {kind}{code}")
        });
        [
            protocol,
            said(self.port.map(|port| format!(" {}", port.spoken()))),
            said(icmp),
            said(
                self.family
                    .map(|family| format!(" over {}", family.spoken())),
            ),
            said(
                self.source_port
                    .map(|port| format!(" from {}", port.spoken())),
            ),
            said(self.rate.map(|rate| format!(", {} at most", rate.spoken()))),
        ]
        .concat()
    }
}

fn refuse(
    keys: &Keys<'_>,
    key: &str,
    there: bool,
    why: impl Fn() -> String,
) -> Result<(), Faulted> {
    if there {
        Err(keys.error(key, Malformed::new(why())))
    } else {
        Ok(())
    }
}

choice! {
    /// Which way something goes, seen from the device.
    Direction: "a direction" {
        /// To the device.
        In = "in",
        /// From the device.
        Out = "out",
    }
}

/// What a frame carries (IEEE 802.3 §3.2.6): an `EtherType`, or below 1536 the length of what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EtherType(u16);

impl EtherType {
    /// Refuses what other rules speak of: IPv4, IPv6, ARP, and the tags of virtual networks.
    pub fn new(number: u16) -> Result<Self, Malformed> {
        let (what, help) = match number {
            0x0800 => ("IPv4", "write [[firewall.in]] and [[firewall.out]]"),
            0x86dd => ("IPv6", "write [[firewall.in]] and [[firewall.out]]"),
            0x0806 => ("ARP", "every device may ask for addresses; leave it out"),
            0x8100 | 0x88a8 => (
                "the tag of a virtual network",
                "what the frame carries behind the tag is judged by itself",
            ),
            other => return Ok(Self(other)),
        };
        Err(Malformed::new(format!(
            "{number:#06x} is {what}, which is not a frame of its own"
        ))
        .help(help))
    }

    /// The number in the frame.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl Form for EtherType {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let Value::Integer(number) = node.value else {
            return Err(mistyped(node, "a whole number", faults));
        };
        u16::try_from(number)
            .map_err(|_| {
                let wrong = Malformed::new(format!("{number} is not what a frame can carry"));
                wrong.help("a number from 0 to 0xffff: 0x888e")
            })
            .and_then(Self::new)
            .map_err(|wrong| faults.error(node.at, wrong))
    }

    fn write(&self) -> Value {
        Value::Integer(self.0.into())
    }
}

/// An address on the link: `02:00:5e:10:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkAddress([u8; 6]);

impl LinkAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address with these bytes.
    pub fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order of the wire.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// Whether it is a group of stations.
    pub fn is_group(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 1
    }
}

impl FromStr for LinkAddress {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            Malformed::new(format!("`{}` is not an address on the link", quote(text)))
                .help("six pairs of hexadecimal digits: \"02:00:5e:10:00:01\"")
        };
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or_else(wrong)?;
            let plain = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(pair, 16)
                .ok()
                .filter(|_| plain)
                .ok_or_else(wrong)?;
        }
        match pairs.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl Text for LinkAddress {}

/// A frame on the link that is neither IP nor ARP; no router passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Which way it goes.
    pub direction: Direction,
    /// What it carries.
    pub ethertype: EtherType,
    /// The other station; any if absent.
    pub peer: Option<LinkAddress>,
}

impl Form for Frame {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let direction = keys.required("direction", "\"out\"");
        let ethertype = keys.required("ethertype", "0x888e");
        let peer = keys.optional("peer");
        keys.finish()?;
        Ok(Self {
            direction: direction?,
            ethertype: ethertype?,
            peer: peer?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("direction", &self.direction)
            .put("ethertype", &self.ethertype)
            .some("peer", self.peer.as_ref())
            .done()
    }
}
