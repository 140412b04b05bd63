//! Statements and expressions of a rule.

use serde_json::Value as Json;

use super::super::nft::{
    CgroupPath, Field, MapSource, Match, Statement, States, To, Value, Verdict,
};
use super::list::{comment_of, ident, limit};
use super::set::key_of;
use super::symbol::{Sort, state, value};
use super::{Members, Read, Strange, only, shown, small, strange};

pub(super) fn statement(json: Json) -> Read<Statement> {
    let (name, value) = only(json)?;
    match name.as_str() {
        "match" => condition(Members::of(value)?).map(Statement::Match),
        "vmap" => map(Members::of(value)?),
        "limit" => limit(Members::of(value)?).map(Statement::Limit),
        "set" => update(Members::of(value)?),
        "log" => log(Members::of(value)?),
        "counter" => counter(Members::of(value)?),
        "redirect" => redirect(Members::of(value)?),
        _ => match verdict(&name, &value)? {
            Some(verdict) => Ok(Statement::Verdict(verdict)),
            None => strange(format!("{name} {}", shown(&value))),
        },
    }
}

/// The verdict of this name, if it is one.
pub(super) fn verdict(name: &str, value: &Json) -> Read<Option<Verdict>> {
    let target = || {
        let mut members = Members::of(value.clone())?;
        let target = ident(&members.text("target")?)?;
        members.done()?;
        Ok(target)
    };
    let verdict = match name {
        "jump" => return Ok(Some(Verdict::Jump(target()?))),
        "goto" => return Ok(Some(Verdict::Goto(target()?))),
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "return" => Verdict::Return,
        _ => return Ok(None),
    };
    if value.is_null() {
        Ok(Some(verdict))
    } else {
        strange(format!("{name} {}", shown(value)))
    }
}

fn condition(mut members: Members) -> Read<Match> {
    let operator = members.text("op")?;
    let left = members.need("left")?;
    let right = members.need("right")?;
    members.done()?;
    let key = key(left)?;
    match key.as_slice() {
        [Field::CtState] => return states(key, &operator, &right),
        [Field::CtDnat] => return dnat(key, &operator, &right),
        _ => {}
    }
    let negated = match operator.as_str() {
        "==" => false,
        "!=" => true,
        other => return strange(format!("operator {other}")),
    };
    let (key, to) = compared(key, right)?;
    Ok(Match { key, negated, to })
}

/// `ct state a,b` asks whether one of the bits is set; any other operator asks something else.
fn states(key: Vec<Field>, operator: &str, right: &Json) -> Read<Match> {
    let words = match right {
        Json::Array(words) => words.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut any = None::<States>;
    for word in words {
        let one = word.as_str().and_then(state);
        let one = one.ok_or_else(|| Strange(format!("state {}", shown(word))))?;
        any = Some(any.map_or(one, |any| any.or(one)));
    }
    match any {
        Some(states) if operator == "in" => Ok(Match {
            key,
            negated: false,
            to: To::Value(Value::States(states)),
        }),
        _ => strange(format!("ct state {operator} {}", shown(right))),
    }
}

fn dnat(key: Vec<Field>, operator: &str, right: &Json) -> Read<Match> {
    let to = match (operator, right.as_str()) {
        ("in", Some("dnat")) => To::Exists,
        ("!", Some("dnat")) => To::Missing,
        _ => return strange(format!("ct status {operator} {}", shown(right))),
    };
    Ok(Match {
        key,
        negated: false,
        to,
    })
}

/// What a key is compared with. The cgroup's level is known only by the path that it is compared with.
fn compared(key: Vec<Field>, right: Json) -> Read<(Vec<Field>, To)> {
    if let [Field::SocketCgroup(_)] = key.as_slice() {
        let path = right.as_str().map(CgroupPath::new);
        let Some(Ok(path)) = path else {
            return strange(format!("cgroup {}", shown(&right)));
        };
        return Ok((vec![Field::SocketCgroup(path.level())], To::Cgroup(path)));
    }
    if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
        return Ok((key, To::Set(ident(name)?)));
    }
    if let [
        Field::ReversePath
        | Field::LooseSourceRoute
        | Field::StrictSourceRoute
        | Field::RoutingHeader,
    ] = key.as_slice()
    {
        return match right {
            Json::Bool(true) => Ok((key, To::Exists)),
            Json::Bool(false) => Ok((key, To::Missing)),
            other => strange(shown(&other)),
        };
    }
    let sorts: Vec<Sort> = key.iter().map(|field| Sort::from(*field)).collect();
    match right {
        Json::Object(mut map) if map.contains_key("set") && map.len() == 1 => {
            let Some(Json::Array(elements)) = map.remove("set") else {
                return strange("a set is a list");
            };
            let elements = elements.into_iter().map(|json| key_of(json, &sorts));
            let mut elements = elements.collect::<Read<Vec<_>>>()?;
            elements.sort();
            Ok((key, To::Anonymous(elements)))
        }
        right => match sorts.as_slice() {
            [sort] => Ok((key, To::Value(value(&right, *sort)?))),
            _ => strange(format!("a concatenation compared with {}", shown(&right))),
        },
    }
}

fn map(mut members: Members) -> Read<Statement> {
    let key = key(members.need("key")?)?;
    let data = members.need("data")?;
    members.done()?;
    let map = match data {
        Json::String(name) => match name.strip_prefix('@') {
            Some(name) => MapSource::Named(ident(name)?),
            None => return strange(format!("a map {name}")),
        },
        other => {
            let (word, elements) = only(other)?;
            let (true, Json::Array(elements)) = (word == "set", elements) else {
                return strange(format!("a map of {word}"));
            };
            let sorts: Vec<Sort> = key.iter().map(|field| Sort::from(*field)).collect();
            let elements = elements.into_iter().map(|json| mapped(json, &sorts));
            let mut elements = elements.collect::<Read<Vec<_>>>()?;
            elements.sort();
            MapSource::Anonymous(elements)
        }
    };
    Ok(Statement::Map { key, map })
}

fn mapped(json: Json, sorts: &[Sort]) -> Read<(Vec<Value>, Verdict)> {
    let Json::Array(pair) = json else {
        return strange(shown(&json));
    };
    let mut pair = pair.into_iter();
    let (Some(key), Some(to), None) = (pair.next(), pair.next(), pair.next()) else {
        return strange("an element of a map is a pair");
    };
    let (name, value) = only(to)?;
    let verdict = verdict(&name, &value)?.ok_or_else(|| Strange(format!("a map to {name}")))?;
    Ok((key_of(key, sorts)?, verdict))
}

fn update(mut members: Members) -> Read<Statement> {
    let operation = members.text("op")?;
    if operation != "update" {
        return strange(format!("{operation} to a set"));
    }
    let set = members.text("set")?;
    let set = ident(set.strip_prefix('@').unwrap_or_default())?;
    let key = key(members.need("elem")?)?;
    let within = members.take("stmt");
    members.done()?;
    let Some(within) = within else {
        return Ok(Statement::Update { set, key });
    };
    let Json::Array(within) = within else {
        return strange(shown(&within));
    };
    let mut within = within.into_iter();
    let (Some(one), None) = (within.next(), within.next()) else {
        return strange("a meter has one limit");
    };
    match statement(one)? {
        Statement::Limit(limit) => Ok(Statement::Meter { set, key, limit }),
        other => strange(format!("a meter with {other}")),
    }
}

fn log(mut members: Members) -> Read<Statement> {
    let number =
        |members: &mut Members, name: &str| members.number(name).map(Option::unwrap_or_default);
    let group = number(&mut members, "group")?;
    let snaplen = number(&mut members, "snaplen")?;
    let prefix = comment_of(&members.need("prefix")?)?;
    members.done()?;
    Ok(Statement::Log {
        group: small("group", group)?,
        prefix,
        snaplen: small("snaplen", snaplen)?,
    })
}

fn counter(mut members: Members) -> Read<Statement> {
    members.number("packets")?;
    members.number("bytes")?;
    members.done()?;
    Ok(Statement::Counter)
}

fn redirect(mut members: Members) -> Read<Statement> {
    let port = members.number("port")?.unwrap_or_default();
    members.done()?;
    Ok(Statement::Redirect {
        port: small("port", port)?,
    })
}

fn key(json: Json) -> Read<Vec<Field>> {
    match json {
        Json::Object(mut map) if map.contains_key("concat") && map.len() == 1 => {
            let Some(Json::Array(parts)) = map.remove("concat") else {
                return strange("a concatenation is a list");
            };
            parts.into_iter().map(field).collect()
        }
        other => Ok(vec![field(other)?]),
    }
}

fn field(json: Json) -> Read<Field> {
    let (name, value) = only(json)?;
    let text = value.to_string();
    let known = match name.as_str() {
        "meta" => meta(Members::of(value)?)?,
        "payload" => payload(Members::of(value)?)?,
        "ct" => track(Members::of(value)?)?,
        "fib" => fib(Members::of(value)?)?,
        "ip option" => option(Members::of(value)?)?,
        "exthdr" => header(Members::of(value)?)?,
        "socket" => socket(Members::of(value)?)?,
        _ => None,
    };
    known.ok_or_else(|| {
        Strange(format!(
            "{name} {}",
            text.chars().take(120).collect::<String>()
        ))
    })
}

fn meta(mut members: Members) -> Read<Option<Field>> {
    let key = members.text("key")?;
    members.done()?;
    Ok(Some(match key.as_str() {
        "nfproto" => Field::NfProto,
        "protocol" => Field::Protocol,
        "l4proto" => Field::L4Proto,
        "iifname" => Field::InputInterface,
        "oifname" => Field::OutputInterface,
        "mark" => Field::Mark,
        "skuid" => Field::SocketUser,
        "pkttype" => Field::PacketType,
        _ => return Ok(None),
    }))
}

fn payload(mut members: Members) -> Read<Option<Field>> {
    if let Some(base) = members.take("base") {
        let offset = members.number("offset")?;
        let length = members.number("len")?;
        members.done()?;
        let target = base.as_str() == Some("th") && offset == Some(64) && length == Some(128);
        return Ok(target.then_some(Field::NdTarget));
    }
    let protocol = members.text("protocol")?;
    let field = members.text("field")?;
    members.done()?;
    Ok(Some(match (protocol.as_str(), field.as_str()) {
        ("ether", "saddr") => Field::EtherSource,
        ("ether", "daddr") => Field::EtherDestination,
        ("ether", "type") => Field::EtherType,
        ("ip", "saddr") => Field::Ip4Source,
        ("ip", "daddr") => Field::Ip4Destination,
        ("ip6", "saddr") => Field::Ip6Source,
        ("ip6", "daddr") => Field::Ip6Destination,
        ("ip6", "hoplimit") => Field::HopLimit,
        ("tcp", "sport") => Field::TcpSource,
        ("tcp", "dport") => Field::TcpDestination,
        ("udp", "sport") => Field::UdpSource,
        ("udp", "dport") => Field::UdpDestination,
        ("th", "sport") => Field::TransportSource,
        ("th", "dport") => Field::TransportDestination,
        ("icmp", "type") => Field::IcmpType,
        ("icmp", "code") => Field::IcmpCode,
        ("icmpv6", "type") => Field::Icmp6Type,
        ("icmpv6", "code") => Field::Icmp6Code,
        ("arp", "operation") => Field::ArpOperation,
        ("arp", "htype") => Field::ArpHardware,
        ("arp", "ptype") => Field::ArpProtocol,
        ("arp", "saddr ether") => Field::ArpSourceEther,
        ("arp", "saddr ip") => Field::ArpSourceIp,
        ("arp", "daddr ip") => Field::ArpTargetIp,
        _ => return Ok(None),
    }))
}

fn track(mut members: Members) -> Read<Option<Field>> {
    let key = members.text("key")?;
    members.done()?;
    Ok(match key.as_str() {
        "state" => Some(Field::CtState),
        "direction" => Some(Field::CtDirection),
        "status" => Some(Field::CtDnat),
        _ => None,
    })
}

fn fib(mut members: Members) -> Read<Option<Field>> {
    let result = members.text("result")?;
    let flags = members.need("flags")?;
    members.done()?;
    let flags = match &flags {
        Json::Array(flags) => flags.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut flags: Vec<&str> = flags
        .iter()
        .map(|flag| flag.as_str().unwrap_or_default())
        .collect();
    flags.sort_unstable();
    Ok(match (result.as_str(), flags.as_slice()) {
        ("oif", ["iif", "saddr"]) => Some(Field::ReversePath),
        ("type", ["saddr"]) => Some(Field::SourceType),
        ("type", ["daddr"]) => Some(Field::DestinationType),
        _ => None,
    })
}

fn option(mut members: Members) -> Read<Option<Field>> {
    let name = members.text("name")?;
    members.done()?;
    Ok(match name.as_str() {
        "lsrr" => Some(Field::LooseSourceRoute),
        "ssrr" => Some(Field::StrictSourceRoute),
        _ => None,
    })
}

fn header(mut members: Members) -> Read<Option<Field>> {
    let name = members.text("name")?;
    members.done()?;
    Ok((name == "rt").then_some(Field::RoutingHeader))
}

fn socket(mut members: Members) -> Read<Option<Field>> {
    let key = members.text("key")?;
    members.done()?;
    Ok((key == "cgroupv2").then_some(Field::SocketCgroup(0)))
}
