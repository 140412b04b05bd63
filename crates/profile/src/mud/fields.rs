//! The values of a rule's fields, with their bounds.

use super::flow::PortSet;
use super::json::Json;
use super::matches::Why;
use crate::PortRange;
use crate::fault::quote;

/// The module of the lists (RFC 8519).
pub(crate) const ACL: &str = "ietf-access-control-list";

/// The module of a node's name, empty if it has none, and the name in it (RFC 7951 §4).
pub(crate) fn parts(key: &str) -> (&str, &str) {
    key.split_once(':').unwrap_or(("", key))
}

pub(crate) fn object<'j>(value: &'j Json, key: &str) -> Result<&'j [(String, Json)], Why> {
    match value {
        Json::Object(entries) => Ok(entries),
        Json::Null | Json::Boolean(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            Err(format!("`{key}` must be an object, not {}", value.kind()))
        }
    }
}

pub(crate) fn unknown(key: &str) -> Why {
    format!("it matches `{}`, which a profile can not say", quote(key))
}

pub(crate) fn text<'j>(key: &str, value: &'j Json) -> Result<&'j str, Why> {
    value
        .as_text()
        .ok_or_else(|| format!("`{key}` must be text, not {}", value.kind()))
}

pub(crate) fn whole(key: &str, value: &Json, most: i64) -> Result<i64, Why> {
    value
        .as_integer()
        .filter(|number| (0..=most).contains(number))
        .ok_or_else(|| format!("`{key}` must be a whole number from 0 to {most}"))
}

/// A port or a range of ports with its operator (RFC 8519 §4.2, `port-range-or-operator`); empty if it is port 0 alone.
pub(crate) fn ports(key: &str, value: &Json) -> Result<PortSet, Why> {
    let (mut operator, mut port, mut lower, mut upper) = (None, None, None, None);
    for (name, value) in object(value, key)? {
        match parts(name) {
            ("" | ACL, "operator") => operator = Some(text(name, value)?),
            ("" | ACL, "port") => port = Some(whole(name, value, 65_535)?),
            ("" | ACL, "lower-port") => lower = Some(whole(name, value, 65_535)?),
            ("" | ACL, "upper-port") => upper = Some(whole(name, value, 65_535)?),
            _ => return Err(unknown(name)),
        }
    }
    let most = i64::from(u16::MAX);
    let ranges = match (operator, port, lower, upper) {
        (None | Some("range"), None, Some(lower), Some(upper)) if lower <= upper => {
            vec![(lower, upper)]
        }
        (None | Some("eq"), None, Some(lower), None) => vec![(lower, lower)],
        // RFC 8519 §4.2: `eq` is what is meant if nothing is said.
        (None | Some("eq"), Some(port), None, None) => vec![(port, port)],
        (Some("lte"), Some(port), None, None) => vec![(0, port)],
        (Some("gte"), Some(port), None, None) => vec![(port, most)],
        (Some("neq"), Some(port), None, None) => {
            vec![(0, port.saturating_sub(1)), (port.saturating_add(1), most)]
        }
        _ => return Err(format!("`{key}` is neither a port nor a range of ports")),
    };
    let range = |(first, last): (i64, i64)| {
        let (first, last) = (u16::try_from(first.max(1)), u16::try_from(last));
        PortRange::new(first.ok()?, last.ok()?)
    };
    Ok(ranges.into_iter().filter_map(range).collect())
}

pub(crate) fn ethertype(key: &str, value: &Json) -> Result<u16, Why> {
    let number = match value.as_text() {
        Some(text) => {
            let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
            let plain = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            digits
                .filter(plain)
                .and_then(|digits| u16::from_str_radix(digits, 16).ok())
        }
        None => value
            .as_integer()
            .and_then(|number| u16::try_from(number).ok()),
    };
    number.ok_or_else(|| format!("`{key}` must be a number such as \"0x888e\""))
}
