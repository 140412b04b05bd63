//! A profile written as a MUD file and read again allows the same.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use stockade_profile::mud::{
    ExportOptions, Exported, ImportOptions, Imported, export, import, read,
};
use stockade_profile::{
    Endpoint, Family, Firewall, IcmpKind, Inward, Outward, PortRange, Profile, Protocol, Traffic,
    check,
};

use crate::arbitrary;
use crate::world::{difference, frames};

pub(crate) fn options() -> ExportOptions {
    ExportOptions {
        url: "https://mud.acme.example/cam-2.json".parse().unwrap(),
        last_update: "2026-11-22T12:00:00Z".parse().unwrap(),
        signature: Some("cam-2.p7s".to_owned()),
    }
}

pub(crate) fn back(exported: &Exported) -> Imported {
    import(&read(&exported.bytes).unwrap(), &ImportOptions::default())
}

fn agentless(firewall: Firewall) -> Profile {
    let head = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 7\nclass = \"agentless\"\n";
    Profile {
        firewall,
        ..check(head).profile.unwrap()
    }
}

/// The rules that were written, without what MUD has no words for.
fn written(profile: &Profile, exported: &Exported) -> Firewall {
    let mut reports = exported.rules.iter();
    let mut kept = || reports.next().unwrap().refused.is_none();
    let mut firewall = profile.firewall.clone();
    firewall.outward.retain(|_| kept());
    firewall.inward.retain(|_| kept());
    firewall.frames.retain(|_| kept());
    for rule in &mut firewall.outward {
        rule.traffic.rate = None;
        rule.service = None;
    }
    for rule in &mut firewall.inward {
        rule.traffic.rate = None;
    }
    firewall
}

/// Few ends and few ports, so that rules look like the answers of one another.
fn crowded() -> impl Strategy<Value = Firewall> {
    let port =
        || select(vec!["1", "2", "1-2", "any"]).prop_map(|port| port.parse::<PortRange>().unwrap());
    let icmp = |kind| Some(IcmpKind { kind, code: None });
    let protocol = select(vec![
        (Protocol::Udp, None),
        (Protocol::Udp, None),
        (Protocol::Tcp, None),
        (Protocol::Any, None),
        (Protocol::Icmp, icmp(0)),
        (Protocol::Icmp, icmp(8)),
        (Protocol::Icmpv6, icmp(128)),
        (Protocol::Icmpv6, icmp(129)),
        (Protocol::Icmp, None),
    ]);
    let peer = select(vec!["a.example", "gateway", "any", "10.0.0.0/8"]);
    let rule = (
        peer,
        protocol,
        port(),
        port(),
        option::of(select(Family::ALL)),
    );
    let rule = rule.prop_map(|(peer, (protocol, icmp), to, from, family)| {
        let ports = protocol.has_ports();
        let peer: Endpoint = peer.parse().unwrap();
        let held = protocol.only_family().or_else(|| peer.family());
        let traffic = Traffic {
            protocol,
            port: ports.then_some(to),
            source_port: Some(from).filter(|from| ports && *from != PortRange::ANY),
            family: family.filter(|_| held.is_none()),
            icmp,
            rate: None,
        };
        (peer, traffic)
    });
    let possible = |(peer, traffic): &(Endpoint, Traffic)| {
        let (own, other) = (peer.family(), traffic.protocol.only_family());
        own.is_none() || other.is_none() || own == other
    };
    let rules = vec(rule.prop_filter("no packet can meet it", possible), 0..6);
    let distinct = |rules: Vec<(Endpoint, Traffic)>| {
        let mut kept = Vec::new();
        for rule in rules {
            if !kept.contains(&rule) {
                kept.push(rule);
            }
        }
        kept
    };
    (rules.clone(), rules).prop_map(move |(inward, outward)| Firewall {
        inward: distinct(inward)
            .into_iter()
            .map(|(from, traffic)| Inward { from, traffic })
            .collect(),
        outward: distinct(outward)
            .into_iter()
            .map(|(to, traffic)| Outward {
                to,
                traffic,
                service: None,
            })
            .collect(),
        frames: Vec::new(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_what_is_read(firewall in prop_oneof![arbitrary::firewall(), crowded()]) {
        let profile = agentless(firewall);
        let exported = export(&profile, &options());
        if exported.rules.iter().all(|rule| rule.refused.is_some()) {
            prop_assert!(read(&exported.bytes).is_err(), "a file without rules says nothing");
            return Ok(());
        }
        let back = back(&exported);
        prop_assert_eq!(back.count().refused, 0, "{:?}", back.report(true));
        let expected = written(&profile, &exported);
        let (count, packet) = difference(&expected, &back.profile.firewall);
        prop_assert!(packet.is_none(), "{:?} of {count}:\n{:?}", packet, back.report(true));
        prop_assert_eq!(frames(&expected), frames(&back.profile.firewall));
        prop_assert_eq!(&back.profile.device.model, &profile.device.model);
        // What is read can be written as text and read again.
        let text = back.profile.to_toml();
        prop_assert_eq!(check(&text).profile, Some(back.profile), "{}", text);
    }

    #[test]
    fn writing_what_was_read_changes_nothing(firewall in prop_oneof![arbitrary::firewall(), crowded()]) {
        let exported = export(&agentless(firewall), &options());
        prop_assume!(exported.rules.iter().any(|rule| rule.refused.is_none()));
        let first = back(&exported).profile;
        let again = export(&first, &options());
        prop_assert!(again.rules.iter().all(|rule| rule.refused.is_none()), "{:?}", again.report());
        prop_assert_eq!(back(&again).profile, first);
    }
}
