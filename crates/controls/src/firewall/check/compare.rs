//! A device's rules and its policy, asked the same questions.
//!
//! Exact: every test in the rules and in the policy is about ranges of one field, so that a value for each way of answering
//! all tests about a field stands for all others, and every combination of those is tried.

use core::net::IpAddr;
use std::collections::BTreeSet;

use stockade_profile::{Direction, Family, InterfaceName, Network};

use super::super::compile::name_set;
use super::super::decide::{Decision, Leg, Passing, Probe, World, decide, pass};
use super::super::eval::{Machine, Outcome, Packet, number};
use super::super::nft::{Element, Family as TableFamily, Field, Ruleset, Value};
use super::super::policy::Policy;
use super::super::surroundings::Surroundings;
use super::classes::Tests;
use super::questions::{Asked, Way};
use super::told::{CounterExample, Got, Verdict, spoken};

/// How many classes of packets are compared at most.
const LIMIT: u64 = 40_000_000;

/// Why a comparison ends before its end.
pub(super) enum Stop {
    Differs(Box<CounterExample>),
    Unjudged(String),
}

/// Whether the rules of a device, as they were read back, decide as its policy does; for every packet, or for which not.
///
/// `world` says which addresses names have now: those that are in the sets. A name without addresses is given one of each
/// family, in its sets and in the world, so that rules about it are tried all the same. The rules for ARP and for frames are
/// compared by what they are ([`super::differences`]), not by what they do.
pub fn compare(
    ruleset: &Ruleset,
    policy: &Policy,
    around: &Surroundings,
    world: &World,
) -> Verdict {
    let (mut ruleset, mut world) = (ruleset.clone(), world.clone());
    people(&mut ruleset, policy, &mut world);
    let machine = match Machine::new(&ruleset) {
        Ok(machine) => machine,
        Err(error) => return error.into(),
    };
    let mut judge = Judge {
        ruleset: &ruleset,
        machine,
        policy,
        around,
        world: &world,
        classes: 0,
    };
    for way in [Way::Out, Way::In, Way::Through] {
        let tests = Tests::of(&ruleset, TableFamily::Inet, way.hooks());
        let asked = match Asked::new(tests, way, policy, around, &world) {
            Ok(asked) => asked,
            Err(why) => return Verdict::Unjudged(why),
        };
        for family in [Family::Ipv4, Family::Ipv6] {
            let answer = asked.all(family, &mut |probe, packet| judge.ask(way, probe, packet));
            match answer {
                Ok(()) => {}
                Err(Stop::Differs(example)) => return Verdict::Differs(example),
                Err(Stop::Unjudged(why)) => return Verdict::Unjudged(why),
            }
        }
    }
    Verdict::Same {
        classes: judge.classes,
    }
}

struct Judge<'j> {
    ruleset: &'j Ruleset,
    machine: Machine<'j>,
    policy: &'j Policy,
    around: &'j Surroundings,
    world: &'j World,
    classes: u64,
}

impl Judge<'_> {
    fn ask(&mut self, way: Way, probe: &Probe, packet: &Packet) -> Result<(), Stop> {
        self.classes = self.classes.saturating_add(1);
        if self.classes > LIMIT {
            let why = format!("there are more than {LIMIT} classes of packets");
            return Err(Stop::Unjudged(why));
        }
        let expected = match way {
            Way::Through => pass(self.policy.window.as_ref(), &self.passing(probe, packet)),
            Way::In | Way::Out => decide(self.policy, self.world, probe),
        };
        let outcome = self.machine.run(TableFamily::Inet, way.hooks(), packet);
        let got = match (outcome.passes, outcome.redirected) {
            (false, _) => Got::Dropped,
            (true, None) => Got::Passes,
            (true, Some(port)) => Got::Redirected(port),
        };
        let agreed = match expected {
            Decision::Allowed(_) => got == Got::Passes,
            Decision::Forwarded => self.around.forwarder.map(Got::Redirected) == Some(got),
            Decision::Refused(_) => got == Got::Dropped,
        };
        if agreed {
            Ok(())
        } else {
            Err(Stop::Differs(Box::new(
                self.example(probe, packet, expected, got, &outcome),
            )))
        }
    }

    /// The question as one about a packet that passes through.
    fn passing(&self, probe: &Probe, packet: &Packet) -> Passing {
        let place = self.policy.window.as_ref().map(|window| &window.place);
        let leg = |field| {
            let is = |name: Option<&InterfaceName>| {
                name.is_some_and(|name| packet.get(field) == Some(number(name.as_str().as_bytes())))
            };
            if is(place.map(|it| &it.lan)) {
                Leg::Lan
            } else if is(place.map(|it| &it.outside)) {
                Leg::Outside
            } else {
                Leg::Elsewhere
            }
        };
        let to = match probe.family() {
            Family::Ipv4 => Field::Ip4Destination,
            Family::Ipv6 => Field::Ip6Destination,
        };
        let to = packet.get(to).unwrap_or_default();
        Passing {
            from: leg(Field::InputInterface),
            to: leg(Field::OutputInterface),
            source: probe.peer,
            destination: super::questions::address(to, probe.family()),
            protocol: probe.protocol,
            source_port: probe.source_port,
            destination_port: probe.destination_port,
            icmp: probe.icmp.map(|(kind, _)| kind),
            state: probe.state,
            mapped: packet.get(Field::CtDnat) == Some(1),
        }
    }

    fn example(
        &self,
        probe: &Probe,
        packet: &Packet,
        expected: Decision,
        got: Got,
        outcome: &Outcome,
    ) -> CounterExample {
        CounterExample {
            probe: probe.clone(),
            also: also(probe, packet),
            expected,
            got,
            by: outcome.by.as_ref().map(|place| spoken(self.ruleset, place)),
        }
    }
}

/// What makes the packet special, if it is.
fn also(probe: &Probe, packet: &Packet) -> Vec<String> {
    let way = probe.way;
    let mut also = Vec::new();
    let mut say = |is: bool, what: &str| {
        if is {
            also.push(what.to_owned());
        }
    };
    say(way.loopback, "it never leaves this host");
    say(
        way.astray,
        "it comes in by an interface its source is not reached by",
    );
    say(way.source_routed, "it wants to say itself how it is routed");
    say(way.no_address, "it has no source address yet");
    say(
        way.false_claim,
        "it claims an address that is not its sender's",
    );
    let near = match probe.direction {
        Direction::In => [Field::Ip4Destination, Field::Ip6Destination],
        Direction::Out => [Field::Ip4Source, Field::Ip6Source],
    };
    if let Some(address) = near.iter().find_map(|field| packet.get(*field)) {
        also.push(format!(
            "this end is {}",
            super::questions::address(address, probe.family())
        ));
    }
    also.push(format!("its source is {:?}", way.source).to_lowercase());
    if probe.mark != 0 {
        also.push(format!("mark {:#x}", probe.mark));
    }
    also
}

/// Gives each name without addresses one of each family, in its sets and in the world.
fn people(ruleset: &mut Ruleset, policy: &Policy, world: &mut World) {
    let taken: BTreeSet<IpAddr> = world.names.values().flatten().copied().collect();
    let of_policy = |address: IpAddr| {
        let mut networks = policy.allow.iter().flat_map(|allow| match &allow.peer {
            super::super::policy::Peer::Networks(networks) => networks.as_slice(),
            _ => &[],
        });
        networks.any(|network: &Network| network.prefix() > 0 && network.contains(address))
    };
    // Addresses for measurements, which nobody has (RFC 2544 §C.2.2, RFC 5180 §8).
    let mut free4 = (0_u32..0x0002_0000).map(|it| 0xc612_0000_u32.saturating_add(it));
    let mut free6 = (1_u128..0x0002_0000).map(|it| (0x2001_0002_u128 << 96).saturating_add(it));
    for name in policy.names() {
        let known = world.names.entry(name.clone()).or_default();
        if !known.is_empty() {
            continue;
        }
        let v4 = free4.find(|it| {
            !taken.contains(&IpAddr::V4((*it).into())) && !of_policy(IpAddr::V4((*it).into()))
        });
        let v6 = free6.find(|it| {
            !taken.contains(&IpAddr::V6((*it).into())) && !of_policy(IpAddr::V6((*it).into()))
        });
        let pairs = [
            (
                Family::Ipv4,
                v4.map(|it| (IpAddr::V4(it.into()), Value::ip4(it.into()))),
            ),
            (
                Family::Ipv6,
                v6.map(|it| (IpAddr::V6(it.into()), Value::ip6(it.into()))),
            ),
        ];
        for (family, pair) in pairs {
            let Some((address, value)) = pair else {
                continue;
            };
            known.insert(address);
            let wanted = name_set(name, family);
            let sets = ruleset.tables.iter_mut().flat_map(|table| &mut table.sets);
            for set in sets.filter(|set| set.name == wanted) {
                set.elements.push(Element {
                    key: vec![value.clone()],
                    timeout: None,
                    verdict: None,
                });
            }
        }
    }
}
