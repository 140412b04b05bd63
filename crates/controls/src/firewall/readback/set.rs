//! Named sets and maps.

use serde_json::Value as Json;

use super::super::nft::{Element, Kind, Set, Value, Verdict};
use super::list::ident;
use super::rule::verdict;
use super::symbol::{Sort, value};
use super::{Members, Read, Strange, shown, small, strange};

pub(super) fn read(map: bool, mut members: Members) -> Read<Set> {
    let name = ident(&members.text("name")?)?;
    members.number("handle")?;
    let key = kinds(&members.need("type")?)?;
    if map {
        let to = members.text("map")?;
        if to != "verdict" {
            return strange(format!("a map to {to}"));
        }
    }
    let flags = members
        .take("flags")
        .unwrap_or_else(|| Json::Array(Vec::new()));
    let (mut interval, mut timeout, mut dynamic) = (false, false, false);
    for flag in flags.as_array().into_iter().flatten() {
        match flag.as_str() {
            Some("interval") => interval = true,
            Some("timeout") => timeout = true,
            Some("dynamic") => dynamic = true,
            _ => return strange(format!("flag {}", shown(flag))),
        }
    }
    let size = members.number("size")?;
    let default_timeout = members.number("timeout")?;
    let sorts: Vec<Sort> = key.iter().map(|kind| Sort::from(*kind)).collect();
    let elements = match members.take("elem") {
        None => Vec::new(),
        Some(Json::Array(elements)) => {
            let elements = elements.into_iter().map(|json| element(json, map, &sorts));
            elements.collect::<Read<Vec<_>>>()?
        }
        Some(other) => return strange(shown(&other)),
    };
    members.done()?;
    Ok(Set {
        name,
        key,
        map,
        interval,
        dynamic,
        timeout,
        default_timeout: default_timeout.map(|it| small("timeout", it)).transpose()?,
        size: size.map(|it| small("size", it)).transpose()?,
        elements,
    })
}

fn kinds(json: &Json) -> Read<Vec<Kind>> {
    match json {
        Json::String(name) => Ok(vec![kind(name)?]),
        Json::Array(names) => {
            let names = names.iter();
            names
                .map(|name| kind(name.as_str().unwrap_or_default()))
                .collect()
        }
        other => strange(format!("type {}", shown(other))),
    }
}

fn kind(name: &str) -> Read<Kind> {
    Ok(match name {
        "ipv4_addr" => Kind::Ip4,
        "ipv6_addr" => Kind::Ip6,
        "integer" => Kind::Target,
        "ether_addr" => Kind::Mac,
        "inet_proto" => Kind::Protocol,
        "inet_service" => Kind::Port,
        "ether_type" => Kind::EtherType,
        "icmp_type" => Kind::IcmpType,
        "icmpv6_type" => Kind::Icmp6Type,
        "ifname" => Kind::Interface,
        "mark" => Kind::Mark,
        "ct_state" => Kind::State,
        "nf_proto" => Kind::NfProto,
        "pkt_type" => Kind::PacketType,
        "fib_addrtype" => Kind::AddressType,
        "arp_op" => Kind::ArpOperation,
        "ct_dir" => Kind::Direction,
        other => {
            return strange(format!(
                "a set of {}",
                other.chars().take(64).collect::<String>()
            ));
        }
    })
}

fn element(json: Json, map: bool, sorts: &[Sort]) -> Read<Element> {
    let (json, verdict) = if map {
        let Json::Array(pair) = json else {
            return strange(shown(&json));
        };
        let mut pair = pair.into_iter();
        let (Some(key), Some(to), None) = (pair.next(), pair.next(), pair.next()) else {
            return strange("an element of a map is a pair");
        };
        (key, Some(verdict_of(to)?))
    } else {
        (json, None)
    };
    let (key, timeout) = timed(json)?;
    let timeout = timeout.map(|it| small("timeout", it)).transpose()?;
    Ok(Element {
        key: key_of(key, sorts)?,
        timeout,
        verdict,
    })
}

fn verdict_of(json: Json) -> Read<Verdict> {
    let (name, value) = super::only(json)?;
    verdict(&name, &value)?.ok_or_else(|| Strange(format!("a map to {name}")))
}

/// The key of an element, without what may be said around it.
fn timed(json: Json) -> Read<(Json, Option<u64>)> {
    let Json::Object(map) = &json else {
        return Ok((json, None));
    };
    if !map.contains_key("elem") {
        return Ok((json, None));
    }
    let (_, inner) = super::only(json)?;
    let mut inner = Members::of(inner)?;
    let value = inner.need("val")?;
    let timeout = inner.number("timeout")?;
    // How much of the time is left, and where a meter stands: neither is a rule.
    inner.take("expires");
    inner.take("limit");
    inner.done()?;
    Ok((value, timeout))
}

/// A key: a value, or as many values as the key has parts.
pub(super) fn key_of(json: Json, sorts: &[Sort]) -> Read<Vec<Value>> {
    let parts = match json {
        Json::Object(mut map) if map.contains_key("concat") && map.len() == 1 => {
            match map.remove("concat") {
                Some(Json::Array(parts)) => parts,
                _ => return strange("a concatenation is a list"),
            }
        }
        other => vec![other],
    };
    if parts.len() != sorts.len() {
        return strange(format!(
            "a key of {} parts where {} belong",
            parts.len(),
            sorts.len()
        ));
    }
    let pairs = parts.iter().zip(sorts);
    pairs.map(|(json, sort)| value(json, *sort)).collect()
}
