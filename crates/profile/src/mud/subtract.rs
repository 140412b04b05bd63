//! What is left of a rule that accepts once an earlier one has dropped a part of it (RFC 8519 §3: the first match wins).

use super::flow::{Families, Opening};
use super::matches::Why;
use crate::{Endpoint, IcmpKind, Network, PortRange, Protocol};

/// The rules that say `accepted` without `dropped`; refused where a profile can not say the rest.
pub(crate) fn subtract(accepted: Opening, dropped: &Opening) -> Result<Vec<Opening>, Why> {
    if apart(&accepted, dropped) {
        return Ok(vec![accepted]);
    }
    let mut left = Vec::new();
    let mut rest = accepted;
    for peer in peers_without(&rest.peer, &dropped.peer)? {
        let opening = Opening {
            peer,
            ..rest.clone()
        };
        left.push(opening);
    }
    let outside = rest.families.without(dropped.families);
    if !outside.is_empty() {
        left.push(Opening {
            families: outside,
            ..rest.clone()
        });
        rest.families = rest.families.and(dropped.families);
    }
    if rest.protocol == Protocol::Any && dropped.protocol != Protocol::Any {
        return Err(format!(
            "a profile can not say every protocol but {}",
            dropped.protocol
        ));
    }
    for to in ports_without(rest.to, dropped.to) {
        left.push(Opening {
            to: Some(to),
            ..rest.clone()
        });
    }
    rest.to = within(rest.to, dropped.to);
    for from in ports_without(rest.from, dropped.from) {
        left.push(Opening {
            from: Some(from),
            ..rest.clone()
        });
    }
    if !has_kinds_of(dropped.icmp, rest.icmp) {
        return Err("a profile can not say every kind of message but one".to_owned());
    }
    Ok(left)
}

/// Whether no packet can be of both.
fn apart(one: &Opening, other: &Opening) -> bool {
    let families: Families = one.families.and(other.families);
    let protocols = one.protocol != other.protocol
        && one.protocol != Protocol::Any
        && other.protocol != Protocol::Any;
    let ports = |one: Option<PortRange>, other: Option<PortRange>| match (one, other) {
        (Some(one), Some(other)) => one.last() < other.first() || other.last() < one.first(),
        _ => false,
    };
    let kinds = match (one.icmp, other.icmp) {
        (Some(one), Some(other)) => {
            let codes = matches!((one.code, other.code), (Some(one), Some(other)) if one != other);
            one.kind != other.kind || codes
        }
        _ => false,
    };
    families.is_empty()
        || protocols
        || ports(one.to, other.to)
        || ports(one.from, other.from)
        || kinds
        || peers_apart(&one.peer, &other.peer)
}

fn inside(inner: Network, outer: Network) -> bool {
    inner.prefix() >= outer.prefix() && outer.contains(inner.address())
}

/// Only addresses can be told apart: a name or a group may have any.
fn peers_apart(one: &Endpoint, other: &Endpoint) -> bool {
    match (one.as_network(), other.as_network()) {
        (Some(one), Some(other)) => !inside(one, other) && !inside(other, one),
        _ => false,
    }
}

/// The parts of an end that are not in the other one.
fn peers_without(peer: &Endpoint, dropped: &Endpoint) -> Result<Vec<Endpoint>, Why> {
    if peer == dropped || *dropped == Endpoint::Any {
        return Ok(Vec::new());
    }
    match (peer.as_network(), dropped.as_network()) {
        (Some(own), Some(other)) if inside(own, other) => Ok(Vec::new()),
        (Some(own), Some(other)) => {
            let parts = own.without(other).into_iter();
            Ok(parts.map(Endpoint::of_network).collect())
        }
        _ => Err(format!(
            "a profile can not say {} without {}",
            peer.spoken(),
            dropped.spoken()
        )),
    }
}

fn ports_without(ports: Option<PortRange>, dropped: Option<PortRange>) -> Vec<PortRange> {
    let (Some(ports), Some(dropped)) = (ports, dropped) else {
        return Vec::new();
    };
    let below = dropped
        .first()
        .checked_sub(1)
        .and_then(|last| PortRange::new(ports.first(), last.min(ports.last())));
    let above = dropped
        .last()
        .checked_add(1)
        .and_then(|first| PortRange::new(first.max(ports.first()), ports.last()));
    below.into_iter().chain(above).collect()
}

fn within(ports: Option<PortRange>, dropped: Option<PortRange>) -> Option<PortRange> {
    let (own, other) = (ports?, dropped.or(ports)?);
    PortRange::new(own.first().max(other.first()), own.last().min(other.last()))
}

/// Whether every kind of message of one is among those of the other.
fn has_kinds_of(outer: Option<IcmpKind>, inner: Option<IcmpKind>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => {
            outer.kind == inner.kind && (outer.code.is_none() || outer.code == inner.code)
        }
    }
}
