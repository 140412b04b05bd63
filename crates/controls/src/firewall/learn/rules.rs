//! From flows to rules.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use stockade_profile::{
    ClassUri, Direction, Endpoint, EtherType, Firewall, Frame, HostName, IcmpKind, Inward, Outward,
    PortRange, Profile, Protocol, Traffic,
};
use stockade_wire::packet::protocol;

use super::flow::{Class, Flow, Way};
use super::judge::probe;
use super::observe::Observation;
use super::place::is_broadcast;
use super::text::{Header, LearnError};
use crate::firewall::decide::{Because, Decision, World, decide};
use crate::firewall::policy::{Policy, RuleId, Side};

/// The class of DNS resolvers (RFC 8520 §17.7).
const RESOLVERS: &str = "urn:ietf:params:mud:dns";

/// So many ports that each were seen in one capture only are no services, but ports that a system hands out.
const MANY_PORTS: usize = 3;
/// The same where there is but one capture to judge by.
const MANY_PORTS_AT_ONCE: usize = 5;
/// Where systems hand out ports: Linux from 32768, Windows, macOS and RFC 6335 §6 from 49152.
const HANDED_OUT: u16 = 32_768;
/// Where small systems do: above the ports of services.
const ABOVE_SERVICES: u16 = 1024;

/// What was learned.
#[derive(Debug, Clone)]
pub struct Learned {
    /// The profile.
    pub profile: Profile,
    /// Its rules, in the order in which they are written, and how often each was needed.
    pub rules: Vec<Rule>,
    /// How many captures it was learned from.
    pub captures: usize,
    /// Names that were asked for and never connected to: the forwarder will refuse them.
    pub unused_names: BTreeSet<HostName>,
    /// Flows that no rule may be made for, and why: in words.
    pub left_out: Vec<String>,
}

/// A rule, and what it was made of.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Who opens, seen from the device.
    pub direction: Direction,
    /// What it allows.
    pub station: Station,
    /// How often it was needed.
    pub seen: Seen,
    /// How many ports were seen, where the rule allows more than those.
    pub of_ports: Option<usize>,
}

/// What a rule allows.
#[derive(Debug, Clone)]
pub enum Station {
    /// Flows with another end.
    Host(Endpoint, Traffic),
    /// Frames on the link.
    Frame(Frame),
}

/// How often a rule was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seen {
    /// In how many flows, or frames.
    pub flows: u64,
    /// In how many captures.
    pub captures: u64,
}

impl Seen {
    /// Whether it may have been a coincidence: once at all, or in one capture of several.
    pub fn once(self, captures: usize) -> bool {
        self.flows <= 1 || (self.captures <= 1 && captures > 1)
    }
}

/// The other end of a flow, with an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Gateway,
    Local,
    Resolver,
    Name(HostName),
    Address(IpAddr),
}

impl End {
    fn endpoint(&self) -> Result<Endpoint, LearnError> {
        Ok(match self {
            Self::Gateway => Endpoint::Gateway,
            Self::Local => Endpoint::LocalNetwork,
            Self::Resolver => {
                Endpoint::Controller(ClassUri::new(RESOLVERS).map_err(LearnError::Ours)?)
            }
            Self::Name(name) => Endpoint::Host(name.clone()),
            Self::Address(address) => Endpoint::Address(*address),
        })
    }
}

/// Which flows a rule will be made for: all of one are allowed by one rule, but for the ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    way: Way,
    end: End,
    protocol: u8,
    icmp: Option<(u8, u8)>,
    /// Answers to what was asked of a group.
    answers: bool,
}

/// The ports of flows of one kind.
#[derive(Debug, Clone, Default)]
struct Ports {
    /// Each port that was opened to: from which ports, in which captures, how often.
    to: BTreeMap<u16, Uses>,
}

#[derive(Debug, Clone, Default)]
struct Uses {
    from: BTreeSet<u16>,
    captures: BTreeSet<usize>,
    flows: u64,
}

/// Makes the smallest profile without a wildcard that allows what was seen.
pub fn learn(header: &Header, observations: &[Observation]) -> Result<Learned, LearnError> {
    let bare = header.profile()?;
    let mut gathered = Gathered::default();
    for (capture, observation) in observations.iter().enumerate() {
        gathered.add(capture, observation, observations, &bare);
    }
    let mut rules = gathered.rules(observations.len())?;
    rules.extend(frames(observations)?);
    let mut profile = bare;
    profile.firewall = firewall(&rules);
    let used: BTreeSet<&HostName> = gathered.names();
    let asked = observations.iter().flat_map(Observation::asked);
    let unused = asked.filter(|name| !used.contains(name)).cloned().collect();
    let learned = Learned {
        profile,
        rules,
        captures: observations.len(),
        unused_names: unused,
        left_out: gathered.left_out.into_iter().collect(),
    };
    // What nobody can read is no profile; better said here than when it is installed.
    if let Err(faults) = stockade_profile::parse(&learned.to_toml()) {
        return Err(LearnError::TooMany {
            rules: learned.rules.len(),
            why: faults
                .into_iter()
                .map(|fault| fault.message)
                .next()
                .unwrap_or_default(),
        });
    }
    Ok(learned)
}

#[derive(Debug, Default)]
struct Gathered {
    kinds: BTreeMap<Kind, Ports>,
    left_out: BTreeSet<String>,
}

impl Gathered {
    fn add(
        &mut self,
        capture: usize,
        observation: &Observation,
        all: &[Observation],
        bare: &Profile,
    ) {
        let builtin = Policy::of(bare, &observation.around, Side::Guard);
        let nobody = World::default();
        for flow in &observation.flows {
            let decision = decide(&builtin, &nobody, &probe(flow));
            // What every device may do needs no rule; DNS gets one, for those who have no forwarder.
            if let Decision::Allowed(Because::Rule(RuleId::Builtin(_)) | Because::Error) = decision
            {
                continue;
            }
            let never = if is_discovery(flow) {
                Some("neighbour discovery never needs it")
            } else if flow.destination_port == 0 && flow.has_ports() {
                Some("nobody has port 0")
            } else {
                None
            };
            if let Some(why) = never {
                self.left_out.insert(format!("{flow}: {why}"));
                continue;
            }
            let kind = Kind {
                way: flow.direction.into(),
                end: end(flow, observation, all),
                protocol: flow.protocol,
                icmp: flow.icmp,
                answers: flow.answers.is_some(),
            };
            let ports = self.kinds.entry(kind).or_default();
            let uses = ports.to.entry(flow.destination_port).or_default();
            uses.from.insert(flow.source_port);
            uses.captures.insert(capture);
            uses.flows = uses.flows.saturating_add(1);
        }
    }

    fn names(&self) -> BTreeSet<&HostName> {
        self.kinds
            .keys()
            .filter_map(|kind| match &kind.end {
                End::Name(name) => Some(name),
                End::Gateway | End::Local | End::Resolver | End::Address(_) => None,
            })
            .collect()
    }

    fn rules(&self, captures: usize) -> Result<Vec<Rule>, LearnError> {
        let mut rules = Vec::new();
        for (kind, ports) in &self.kinds {
            for (traffic, seen, of_ports) in traffics(kind, ports, captures) {
                rules.push(Rule {
                    of_ports,
                    direction: kind.way.into(),
                    station: Station::Host(kind.end.endpoint()?, traffic),
                    seen,
                });
            }
        }
        Ok(rules)
    }
}

/// Neighbour and listener discovery that no built-in rule allows is none that should be.
fn is_discovery(flow: &Flow) -> bool {
    flow.protocol == protocol::ICMPV6
        && flow
            .icmp
            .is_some_and(|(kind, _)| matches!(kind, 130..=137 | 143))
}

/// What a rule calls the other end of a flow.
fn end(flow: &Flow, observation: &Observation, all: &[Observation]) -> End {
    let around = &observation.around;
    let dns = flow.destination_port == 53 && flow.has_ports();
    if dns && flow.direction == Direction::Out && flow.class == Class::Outbound {
        return End::Resolver;
    }
    let peer = flow.peer;
    let everywhere = matches!(peer, IpAddr::V4(v4) if v4.is_broadcast());
    if peer.is_multicast() || everywhere {
        return End::Address(peer);
    }
    if around.gateway.contains(&peer) {
        return End::Gateway;
    }
    let link_local = matches!(peer, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let near = around.local.iter().any(|network| network.contains(peer));
    if near || link_local || is_broadcast(peer, &around.local) {
        return End::Local;
    }
    // The name that this device asked for, else the one under which any capture knows the address.
    let known = || all.iter().find_map(|other| other.names.at(peer, flow.time));
    match flow.name.as_ref().or_else(known) {
        Some(name) => End::Name(name.clone()),
        None => End::Address(peer),
    }
}

/// The packets that rules of one kind speak of: a rule for each port, or one for ports that were handed out.
fn traffics(kind: &Kind, ports: &Ports, captures: usize) -> Vec<(Traffic, Seen, Option<usize>)> {
    let protocol = Protocol::from_number(kind.protocol);
    let plain = Traffic {
        protocol,
        port: None,
        source_port: None,
        family: None,
        icmp: kind.icmp.map(|(kind, code)| IcmpKind {
            kind,
            code: Some(code),
        }),
        rate: None,
    };
    if !protocol.has_ports() {
        return vec![(plain, seen(ports.to.values()), None)];
    }
    let one = |(port, uses): (&u16, &Uses)| {
        let traffic = Traffic {
            port: PortRange::new(*port, *port),
            source_port: from_service(kind, [uses]),
            ..plain
        };
        (traffic, seen([uses]), None)
    };
    let Some(lowest) = handed_out_from(kind, ports, captures) else {
        return ports.to.iter().map(one).collect();
    };
    let mut traffics: Vec<_> = ports.to.range(..lowest).map(one).collect();
    let uses: Vec<&Uses> = ports.to.range(lowest..).map(|(_, uses)| uses).collect();
    let traffic = Traffic {
        port: PortRange::new(lowest, u16::MAX),
        source_port: from_service(kind, uses.iter().copied()),
        ..plain
    };
    let count = uses.len();
    traffics.push((traffic, seen(uses), Some(count)));
    traffics
}

/// From where on ports were handed out, if they were: many that never come again, or any that a question came from.
fn handed_out_from(kind: &Kind, ports: &Ports, captures: usize) -> Option<u16> {
    let passing = |(port, uses): &(&u16, &Uses)| {
        let fleeting = captures <= 1 || uses.captures.len() <= 1;
        **port >= ABOVE_SERVICES && (fleeting || kind.answers)
    };
    let many = match (kind.answers, captures) {
        (true, _) => 1,
        (false, ..=1) => MANY_PORTS_AT_ONCE,
        (false, _) => MANY_PORTS,
    };
    let mut found = ports.to.iter().filter(passing);
    let (first, _) = found.next()?;
    // The first one was taken already.
    if found.count() < many.saturating_sub(1) {
        return None;
    }
    Some(if *first < HANDED_OUT {
        ABOVE_SERVICES
    } else {
        HANDED_OUT
    })
}

/// The port that flows come from, if it is always the same and the flows are answers: it is the service that was asked.
fn from_service<'u>(kind: &Kind, uses: impl IntoIterator<Item = &'u Uses>) -> Option<PortRange> {
    if !kind.answers {
        return None;
    }
    let mut from = uses.into_iter().flat_map(|uses| &uses.from);
    let first = *from.next()?;
    (first != 0 && from.all(|port| *port == first))
        .then(|| PortRange::new(first, first))
        .flatten()
}

fn seen<'u>(uses: impl IntoIterator<Item = &'u Uses>) -> Seen {
    let mut captures: BTreeSet<usize> = BTreeSet::new();
    let mut flows: u64 = 0;
    for uses in uses {
        captures.extend(&uses.captures);
        flows = flows.saturating_add(uses.flows);
    }
    Seen {
        flows,
        captures: u64::try_from(captures.len()).unwrap_or(u64::MAX),
    }
}

/// Rules for frames that are neither IP nor ARP. The other station is not named: it is another one at each place.
fn frames(observations: &[Observation]) -> Result<Vec<Rule>, LearnError> {
    let mut kinds: BTreeMap<(u16, Way), Seen> = BTreeMap::new();
    for observation in observations {
        for (&(way, ethertype), &count) in &observation.frames {
            let seen = kinds.entry((ethertype, way)).or_default();
            seen.flows = seen.flows.saturating_add(count);
            seen.captures = seen.captures.saturating_add(1);
        }
    }
    let rule = |((ethertype, way), seen): ((u16, Way), Seen)| {
        let frame = Frame {
            direction: way.into(),
            ethertype: EtherType::new(ethertype).map_err(LearnError::Ours)?,
            peer: None,
        };
        Ok(Rule {
            direction: way.into(),
            station: Station::Frame(frame),
            seen,
            of_ports: None,
        })
    };
    kinds.into_iter().map(rule).collect()
}

fn firewall(rules: &[Rule]) -> Firewall {
    let mut firewall = Firewall::default();
    for rule in rules {
        match (&rule.station, rule.direction) {
            (Station::Host(from, traffic), Direction::In) => firewall.inward.push(Inward {
                from: from.clone(),
                traffic: *traffic,
            }),
            (Station::Host(to, traffic), Direction::Out) => firewall.outward.push(Outward {
                to: to.clone(),
                traffic: *traffic,
                service: None,
            }),
            (Station::Frame(frame), _) => firewall.frames.push(*frame),
        }
    }
    firewall
}
