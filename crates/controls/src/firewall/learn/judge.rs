//! How much of what was seen a profile allows.

use core::net::IpAddr;
use std::collections::BTreeMap;

use stockade_profile::{Direction, HostName, Profile};

use super::flow::{Class, Flow};
use super::observe::Observation;
use crate::firewall::decide::{AddressType, Decision, Probe, Reason, State, Way, World, decide};
use crate::firewall::policy::{Policy, Side};

/// What a profile says to the flows of some captures.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// The flows of each class.
    pub classes: BTreeMap<Class, Count>,
    /// Every flow that would be refused.
    pub refused: Vec<Refused>,
    /// Names that the device asked for and no rule knows: the DNS forwarder refuses them.
    pub unknown_names: BTreeMap<HostName, u64>,
}

/// How many flows, and how many of them are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// All.
    pub flows: u64,
    /// Those that the profile allows.
    pub allowed: u64,
}

impl Count {
    /// Allowed flows in tenths of a percent; all of none is all.
    pub fn per_mille(self) -> u64 {
        let scaled = self.allowed.saturating_mul(1000);
        scaled.checked_div(self.flows).unwrap_or(1000)
    }
}

/// A flow that would be refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The capture, by its place.
    pub capture: usize,
    /// The flow.
    pub flow: Flow,
    /// Why.
    pub reason: Reason,
}

/// Decides about each flow as the firewall would.
///
/// Names have the addresses that these observations and `before` gave them: a device asks anew before it connects, and what
/// the capture did not see of that, the forwarder would have seen.
pub fn judge(profile: &Profile, observations: &[Observation], before: &[Observation]) -> Judged {
    let mut judged = Judged::default();
    let mut names: BTreeMap<HostName, std::collections::BTreeSet<IpAddr>> = BTreeMap::new();
    for observation in before.iter().chain(observations) {
        for (name, address) in observation.names.all() {
            names.entry(name.clone()).or_default().insert(address);
        }
    }
    let world = World {
        names,
        ..World::default()
    };
    for (capture, observation) in observations.iter().enumerate() {
        let policy = Policy::of(profile, &observation.around, Side::Guard);
        let known = policy.names();
        for name in observation.asked().filter(|name| !known.contains(name)) {
            let count = judged.unknown_names.entry(name.clone()).or_default();
            *count = count.saturating_add(1);
        }
        for flow in &observation.flows {
            let count = judged.classes.entry(flow.class).or_default();
            count.flows = count.flows.saturating_add(1);
            match decide(&policy, &world, &probe(flow)) {
                Decision::Allowed(_) | Decision::Forwarded => {
                    count.allowed = count.allowed.saturating_add(1);
                }
                Decision::Refused(reason) => judged.refused.push(Refused {
                    capture,
                    flow: flow.clone(),
                    reason,
                }),
            }
        }
    }
    judged
}

/// The packet that opened a flow.
pub(super) fn probe(flow: &Flow) -> Probe {
    let out = flow.direction == Direction::Out;
    Probe {
        direction: flow.direction,
        peer: flow.peer,
        protocol: flow.protocol,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        icmp: flow.icmp,
        state: State::New,
        hop_limit: flow.hop_limit,
        mark: 0,
        service: None,
        way: Way {
            source: if out {
                AddressType::Local
            } else {
                AddressType::Unicast
            },
            no_address: out && flow.own.is_unspecified(),
            ..Way::default()
        },
    }
}
