//! Every mutant is found, or decides as before for whatever packet is tried.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use stockade_controls::firewall::check::{Verdict, compare};
use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::eval::{Machine, Packet};
use stockade_controls::firewall::nft::{Family, Field, Hook, Ruleset};
use stockade_controls::firewall::policy::Policy;
use stockade_controls::firewall::surroundings::Surroundings;

use super::{compiled, mutants, places};

/// What the rules do to a packet that goes in, out or through.
fn fate(machine: &Machine<'_>, packet: &Packet) -> Vec<(bool, Option<u16>)> {
    let ways: [&[Hook]; 3] = [&[Hook::Input], &[Hook::Output], &[Hook::Forward]];
    let outcomes = ways.map(|hooks| machine.run(Family::Inet, hooks, packet));
    outcomes
        .iter()
        .map(|it| (it.passes, it.redirected))
        .collect()
}

/// Packets with values that occur in rules, and their neighbours.
fn packets() -> impl Strategy<Value = Packet> {
    let port = prop::sample::select(vec![52_u16, 53, 54, 442, 443, 852, 853, 8883, 8884, 40_000]);
    let address = prop::sample::select(vec![
        0x0000_0000_u32,
        0xc0a8_0701,
        0xc0a8_0702,
        0xc0a8_0800,
        0x0808_0808,
        0xcb00_7109,
    ]);
    let bits = prop::sample::select(vec![1_u8, 2, 4, 8, 64]);
    let protocol = prop::sample::select(vec![1_u8, 2, 6, 17, 47]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let kinds = (0_u8..6, 0_u8..6, prop::sample::select(vec![0_u8, 3, 8, 11]));
    (
        address.clone(),
        address,
        port.clone(),
        port,
        (bits, protocol),
        flags,
        kinds,
    )
        .prop_map(
            |(
                source,
                destination,
                from,
                to,
                (state, protocol),
                (lo, way, routed, mark),
                (kind, other, icmp),
            )| {
                let mut packet = Packet::default();
                packet.set(Field::NfProto, 2_u8);
                packet.set(Field::Protocol, 0x0800_u16);
                packet.set(Field::L4Proto, protocol);
                packet.set(Field::Ip4Source, source);
                packet.set(Field::Ip4Destination, destination);
                packet.set(Field::CtState, state);
                packet.set(Field::InputInterface, if lo { 0x6c6f_u16 } else { 7 });
                packet.set(Field::OutputInterface, 7_u8);
                packet.set(Field::ReversePath, u8::from(way));
                packet.set(Field::LooseSourceRoute, u8::from(routed));
                packet.set(Field::StrictSourceRoute, 0_u8);
                packet.set(Field::Mark, if mark { 0x5354_4b44_u32 } else { 0 });
                packet.set(Field::SourceType, kind);
                packet.set(Field::DestinationType, other);
                match protocol {
                    1 => {
                        packet.set(Field::IcmpType, icmp);
                        packet.set(Field::IcmpCode, 0_u8);
                    }
                    6 => {
                        packet.set(Field::TcpSource, from);
                        packet.set(Field::TcpDestination, to);
                    }
                    17 => {
                        packet.set(Field::UdpSource, from);
                        packet.set(Field::UdpDestination, to);
                    }
                    _ => {}
                }
                packet.redirected = vec![
                    (Field::Ip4Destination, 0x7f00_0001),
                    (Field::DestinationType, 2),
                ];
                packet
            },
        )
}

/// The first of many packets that the two rulesets treat otherwise.
fn differs(one: &Ruleset, other: &Ruleset) -> Option<Packet> {
    let (one, other) = (Machine::new(one).ok()?, Machine::new(other).ok()?);
    let mut runner = TestRunner::deterministic();
    (0..20_000).find_map(|_| {
        let packet = packets().new_tree(&mut runner).ok()?.current();
        (fate(&one, &packet) != fate(&other, &packet)).then_some(packet)
    })
}

/// Whether the change is found; if not, it must change nothing for any of many packets.
fn found(
    mutant: &mutants::Mutant,
    ruleset: &Ruleset,
    policy: &Policy,
    around: &Surroundings,
) -> bool {
    match compare(&mutant.ruleset, policy, around, &World::default()) {
        // Not judged is not passed.
        Verdict::Differs(_) | Verdict::Unjudged(_) => true,
        Verdict::Same { .. } => {
            let packet = differs(ruleset, &mutant.ruleset);
            assert_eq!(packet, None, "{}", mutant.what);
            false
        }
    }
}

/// The mutants of one place, every so many of them.
fn hunt(profile: &str, around: &Surroundings, every: usize) {
    let (policy, ruleset) = compiled(profile, around);
    let some: Vec<_> = mutants::all(&ruleset).into_iter().step_by(every).collect();
    let (one, other) = some.split_at(some.len() / 2);
    let of = |mutants: &[mutants::Mutant]| -> Vec<String> {
        let alike = mutants
            .iter()
            .filter(|it| !found(it, &ruleset, &policy, around));
        alike.map(|it| it.what.clone()).collect()
    };
    let alike = std::thread::scope(|scope| {
        let half = scope.spawn(|| of(one));
        let mut alike = of(other);
        alike.extend(half.join().expect("it ends"));
        alike
    });
    assert!(alike.len() * 4 < some.len(), "{alike:#?}");
}

#[test]
fn every_change_that_matters_is_found_where_little_is_known() {
    hunt(places::POOR, &places::bare(), 4);
}

#[test]
fn every_change_that_matters_is_found_where_all_is_known() {
    hunt(places::POOR, &places::home(), 7);
}

#[test]
fn every_change_that_matters_is_found_while_upnp_is_on() {
    let small = Surroundings {
        own: Vec::new(),
        forwarder: None,
        ..places::open()
    };
    hunt(places::MAPPED, &small, 47);
}
