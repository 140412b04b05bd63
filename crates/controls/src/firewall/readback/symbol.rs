//! Values as nft writes them: numbers, words for numbers, addresses, ranges.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value as Json;

use super::super::nft::{Field, Kind, States, Value};
use super::{Read, Strange, shown, strange};

type Words = &'static [(&'static str, u32)];

/// How a value is to be read: its kind, and the words that stand for numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sort {
    kind: Kind,
    words: Words,
}

impl From<Kind> for Sort {
    fn from(kind: Kind) -> Self {
        let words = words(kind);
        Self { kind, words }
    }
}

impl From<Field> for Sort {
    fn from(field: Field) -> Self {
        let kind = field.kind();
        let words = match field {
            Field::IcmpCode => ICMP_CODES,
            Field::Icmp6Code => ICMP6_CODES,
            _ => words(kind),
        };
        Self { kind, words }
    }
}

/// One value or range of a sort.
pub(super) fn value(json: &Json, sort: Sort) -> Read<Value> {
    if let Some(range) = json.get("range") {
        let ends = range.as_array().map(Vec::as_slice);
        let Some([first, last]) = ends else {
            return strange(shown(json));
        };
        return range_of(&single(first, sort)?, &single(last, sort)?);
    }
    if let Some(prefix) = json.get("prefix") {
        return prefix_of(prefix, sort.kind);
    }
    single(json, sort)
}

fn range_of(first: &Value, last: &Value) -> Read<Value> {
    match (first, last) {
        (Value::Ip4(first, _), Value::Ip4(last, _)) if first <= last => {
            Ok(Value::Ip4(*first, *last))
        }
        (Value::Ip6(first, _), Value::Ip6(last, _)) if first <= last => {
            Ok(Value::Ip6(*first, *last))
        }
        (Value::Number(first, _), Value::Number(last, _)) if first <= last => {
            Ok(Value::Number(*first, *last))
        }
        _ => strange(format!("a range from {first:?} to {last:?}")),
    }
}

fn prefix_of(json: &Json, kind: Kind) -> Read<Value> {
    let wrong = || Strange(format!("prefix {}", shown(json)));
    let address = json.get("addr").and_then(Json::as_str).ok_or_else(wrong)?;
    let length = json.get("len").and_then(Json::as_u64).ok_or_else(wrong)?;
    let length = u32::try_from(length).map_err(|_| wrong())?;
    match (address.parse(), kind) {
        (Ok(IpAddr::V4(address)), Kind::Ip4) if length <= 32 => {
            let host = u32::MAX.checked_shr(length).unwrap_or_default();
            let first = address.to_bits() & !host;
            Ok(Value::Ip4(
                Ipv4Addr::from_bits(first),
                Ipv4Addr::from_bits(first | host),
            ))
        }
        (Ok(IpAddr::V6(address)), Kind::Ip6) if length <= 128 => {
            let host = u128::MAX.checked_shr(length).unwrap_or_default();
            let first = address.to_bits() & !host;
            Ok(Value::Ip6(
                Ipv6Addr::from_bits(first),
                Ipv6Addr::from_bits(first | host),
            ))
        }
        _ => Err(wrong()),
    }
}

fn single(json: &Json, sort: Sort) -> Read<Value> {
    let (kind, text) = (sort.kind, json.as_str());
    match (kind, text) {
        (Kind::Ip4, Some(text)) => text.parse().map(Value::ip4).map_err(|_| wrong(json, kind)),
        (Kind::Ip6 | Kind::Target, Some(text)) => text
            .parse()
            .ok()
            .or_else(|| hexadecimal(text).map(Ipv6Addr::from_bits))
            .map(Value::ip6)
            .ok_or_else(|| wrong(json, kind)),
        // A number that is small enough is one in JSON too.
        (Kind::Target, None) => {
            let number = json.as_u64().map(|it| Ipv6Addr::from_bits(it.into()));
            number.map(Value::ip6).ok_or_else(|| wrong(json, kind))
        }
        (Kind::Mac, Some(text)) => mac(text).map(Value::Mac).ok_or_else(|| wrong(json, kind)),
        (Kind::Interface, Some(text)) => text
            .parse()
            .map(Value::Interface)
            .map_err(|_| wrong(json, kind)),
        (Kind::State, Some(word)) => state(word)
            .map(Value::States)
            .ok_or_else(|| wrong(json, kind)),
        (Kind::Ip4 | Kind::Ip6 | Kind::Mac | Kind::Interface | Kind::State | Kind::Presence, _) => {
            Err(wrong(json, kind))
        }
        (_, Some(word)) => number(word, sort.words)
            .map(Value::number)
            .ok_or_else(|| wrong(json, kind)),
        (_, None) => {
            let number = json.as_u64().and_then(|it| u32::try_from(it).ok());
            number.map(Value::number).ok_or_else(|| wrong(json, kind))
        }
    }
}

fn wrong(json: &Json, kind: Kind) -> Strange {
    Strange(format!("{} where a {kind:?} belongs", shown(json)))
}

fn hexadecimal(text: &str) -> Option<u128> {
    u128::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// One state of a flow.
pub(super) fn state(word: &str) -> Option<States> {
    Some(match word {
        "invalid" => States::INVALID,
        "established" => States::ESTABLISHED,
        "related" => States::RELATED,
        "new" => States::NEW,
        "untracked" => States::UNTRACKED,
        _ => return None,
    })
}

/// The number that a word stands for.
fn number(word: &str, words: Words) -> Option<u32> {
    let found = words.iter().find(|(its, _)| *its == word);
    found.map(|(_, number)| *number)
}

/// The words of a kind: libnftables' own tables, not those of the system.
fn words(kind: Kind) -> Words {
    match kind {
        Kind::Protocol => PROTOCOLS,
        Kind::EtherType => ETHER_TYPES,
        Kind::IcmpType => ICMP_TYPES,
        Kind::Icmp6Type => ICMP6_TYPES,
        Kind::NfProto => &[("ipv4", 2), ("ipv6", 10)],
        Kind::PacketType => &[
            ("host", 0),
            ("unicast", 0),
            ("broadcast", 1),
            ("multicast", 2),
            ("other", 3),
        ],
        Kind::AddressType => ADDRESS_TYPES,
        Kind::ArpOperation => &[("request", 1), ("reply", 2)],
        Kind::Direction => &[("original", 0), ("reply", 1)],
        _ => &[],
    }
}

const ADDRESS_TYPES: Words = &[
    ("unspec", 0),
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
];

/// These come from the system's list of protocols, unless nft is told `-p`; the names are those of IANA's registry.
const PROTOCOLS: Words = &[
    ("ip", 0),
    ("hopopt", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("comp", 108),
    ("sctp", 132),
    ("udplite", 136),
];

const ETHER_TYPES: Words = &[
    ("ip", 0x0800),
    ("arp", 0x0806),
    ("ip6", 0x86dd),
    ("8021q", 0x8100),
    ("8021ad", 0x88a8),
    ("vlan", 0x8100),
];

const ICMP_TYPES: Words = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

const ICMP6_TYPES: Words = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("mld2-listener-report", 143),
];

const ICMP_CODES: Words = &[
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("frag-needed", 4),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
];

const ICMP6_CODES: Words = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("addr-unreachable", 3),
    ("port-unreachable", 4),
    ("policy-fail", 5),
    ("reject-route", 6),
];
