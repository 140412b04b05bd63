//! Any sound firewall.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use stockade_profile::{
    Direction, Endpoint, EtherType, Family, Firewall, Frame, IcmpKind, Inward, LinkAddress,
    Outward, PortRange, Protocol, Rate, Traffic,
};

pub(crate) fn texts<T: FromStr<Err: Debug> + Debug>(
    pattern: &str,
) -> impl Strategy<Value = T> + use<T> {
    proptest::string::string_regex(pattern)
        .unwrap()
        .prop_map(|text| text.parse().unwrap())
}

pub(crate) fn any_of<T: Copy + Debug>(all: &'static [T]) -> impl Strategy<Value = T> {
    select(all)
}

/// A list in which no two say the same.
pub(crate) fn distinct<T: Debug, K: PartialEq>(
    item: impl Strategy<Value = T>,
    key: impl Fn(&T) -> K,
) -> impl Strategy<Value = Vec<T>> {
    vec(item, 0..4).prop_map(move |items| {
        let mut kept: Vec<T> = Vec::new();
        for item in items {
            if !kept.iter().any(|other| key(other) == key(&item)) {
                kept.push(item);
            }
        }
        kept
    })
}

pub(crate) fn set<T: Debug + Clone + PartialEq>(
    item: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<T>> {
    distinct(item, T::clone)
}

pub(crate) fn system_names<T: FromStr<Err: Debug> + Debug>() -> impl Strategy<Value = T> {
    texts("[A-Za-z0-9_+@:~][A-Za-z0-9._+@:~-]{0,8}")
}

pub(crate) fn rates() -> impl Strategy<Value = Rate> {
    (
        1_u32..,
        prop_oneof![select(vec![1, 60, 3_600, 86_400]), 1_u64..100_000],
    )
        .prop_map(|(count, per)| Rate {
            count,
            per: Duration::from_secs(per),
        })
}

pub(crate) fn port_ranges() -> impl Strategy<Value = PortRange> {
    (1_u16.., 1_u16..).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)).parse().unwrap())
}

pub(crate) fn endpoints() -> impl Strategy<Value = Endpoint> {
    prop_oneof![
        texts("gateway|local-network|any|same-manufacturer|my-controller|model:[a-z]{1,3}"),
        texts(
            "manufacturer:[a-z]{1,3}\\.example|controller:urn:[a-z]{1,3}|mud:https://[a-z]{1,3}\\.example/[a-z]"
        ),
        texts("[a-z]{1,5}\\.[a-z0-9]{1,3}[a-z]"),
        texts("[1-9]{1,2}\\.0\\.0\\.0/8|fd00:[1-9]::/32|10\\.[1-9]\\.0\\.1|fd00::[1-9]"),
    ]
}

/// Any traffic that can go to or come from that end.
pub(crate) fn traffic(peer: &Endpoint) -> impl Strategy<Value = Traffic> + use<> {
    let family = match peer.family() {
        Some(family) => option::of(Just(family)).boxed(),
        None => option::of(any_of(Family::ALL)).boxed(),
    };
    let of_peer = peer.family();
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        any::<u8>().prop_map(Protocol::from_number),
        Just(Protocol::Icmp),
        Just(Protocol::Icmpv6),
        Just(Protocol::Any),
    ];
    let icmp = (any::<u8>(), option::of(any::<u8>()));
    (
        protocol,
        port_ranges(),
        option::of(port_ranges()),
        family,
        option::of(icmp.prop_map(|(kind, code)| IcmpKind { kind, code })),
        option::of(rates()),
    )
        .prop_map(move |(protocol, port, source_port, family, icmp, rate)| {
            let only = protocol.only_family();
            let protocol = match (only, of_peer) {
                (Some(only), Some(of_peer)) if only != of_peer => Protocol::Any,
                _ => protocol,
            };
            let only = protocol.only_family();
            Traffic {
                protocol,
                port: protocol.has_ports().then_some(port),
                source_port: source_port.filter(|_| protocol.has_ports()),
                family: family.filter(|family| only.is_none_or(|only| only == *family)),
                icmp: icmp.filter(|_| matches!(protocol, Protocol::Icmp | Protocol::Icmpv6)),
                rate,
            }
        })
}

pub(crate) fn frames() -> impl Strategy<Value = Frame> {
    let ethertype =
        any::<u16>().prop_filter_map("spoken of elsewhere", |number| EtherType::new(number).ok());
    (
        any_of(Direction::ALL),
        ethertype,
        option::of(any::<[u8; 6]>().prop_map(LinkAddress::new)),
    )
        .prop_map(|(direction, ethertype, peer)| Frame {
            direction,
            ethertype,
            peer,
        })
}

pub(crate) fn firewall() -> impl Strategy<Value = Firewall> {
    let rule = || endpoints().prop_flat_map(|peer| (traffic(&peer), Just(peer)));
    let inward = rule().prop_map(|(traffic, from)| Inward { from, traffic });
    let outward =
        (rule(), option::of(system_names())).prop_map(|((traffic, to), service)| Outward {
            to,
            traffic,
            service,
        });
    let kind = |traffic: Traffic| Traffic {
        rate: None,
        ..traffic
    };
    (
        distinct(inward, move |rule| (rule.from.clone(), kind(rule.traffic))),
        distinct(outward, move |rule| {
            (rule.to.clone(), kind(rule.traffic), rule.service.clone())
        }),
        set(frames()),
    )
        .prop_map(|(inward, outward, frames)| Firewall {
            inward,
            outward,
            frames,
        })
}
