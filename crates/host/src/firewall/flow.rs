//! Flows that are open, as questions to the policy; and those that it refuses, cut.

use std::collections::BTreeSet;
use std::net::IpAddr;

use stockade_controls::firewall::decide::{
    AddressType, Decision, Probe, State, Way, World, decide, opening_names,
};
use stockade_controls::firewall::names::MARK;
use stockade_controls::firewall::policy::Policy;
use stockade_profile::{Direction, HostName, ServiceName};

use crate::netlink::NetlinkError;
use crate::netlink::flows::{Ends, Flow, Flows};
use crate::netlink::routes::Routes;
use crate::process::{Owner, Socket, owner};

/// The hop limit that most hosts send with (RFC 1700); no rule about flows looks at it.
const HOP_LIMIT: u8 = 64;

/// What became of the flows that were open when the rules changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cut {
    /// Those that were cut.
    pub cut: Vec<Flow>,
    /// How many stay.
    pub kept: usize,
}

/// What a flow is to this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// It never leaves it.
    Inside,
    /// It begins or ends here.
    Own(Probe),
    /// It passes through.
    Through,
}

/// Cuts the flows that the policy would not let be opened, and no others.
///
/// `before` are the rules under which flows may have been opened: a flow to an address that a name had once is kept if no rule about names
/// that could have opened it was taken away, for addresses of names change while flows live.
pub(crate) fn cut(policy: &Policy, before: &[&Policy], world: &World) -> Result<Cut, NetlinkError> {
    let addresses = Routes::open()?.addresses()?;
    let own: BTreeSet<IpAddr> = addresses.iter().map(|found| found.address).collect();
    let mut flows = Flows::open()?;
    let mut told = Cut::default();
    for flow in flows.list()? {
        if stays(policy, before, world, &kind(&flow, &own, policy), &flow) {
            told.kept = told.kept.saturating_add(1);
        } else if flows.cut(&flow)? {
            told.cut.push(flow);
        }
    }
    Ok(told)
}

fn stays(policy: &Policy, before: &[&Policy], world: &World, kind: &Kind, flow: &Flow) -> bool {
    let probe = match kind {
        Kind::Inside => return true,
        // A device passes nothing on.
        Kind::Through => return false,
        Kind::Own(probe) => probe,
    };
    match decide(policy, world, probe) {
        Decision::Allowed(_) => true,
        // Our forwarder has it already, or it is our forwarder's own question.
        Decision::Forwarded => {
            let ours = Probe {
                mark: MARK,
                ..probe.clone()
            };
            flow.is_redirected() || matches!(decide(policy, world, &ours), Decision::Allowed(_))
        }
        Decision::Refused(_) => was_a_name(policy, before, probe),
    }
}

/// Whether a name may once have had the peer's address: some rule about a name opened such flows, and every rule about
/// a name that did so still does.
fn was_a_name(policy: &Policy, before: &[&Policy], probe: &Probe) -> bool {
    let opened = before
        .iter()
        .flat_map(|policy| opening_names(policy, probe));
    let then: BTreeSet<HostName> = opened.collect();
    !then.is_empty() && then.is_subset(&opening_names(policy, probe))
}

fn kind(flow: &Flow, own: &BTreeSet<IpAddr>, policy: &Policy) -> Kind {
    let tuple = &flow.original;
    let here = |address: IpAddr| own.contains(&address) || address.is_loopback();
    // What came in by a mapping is answered by somebody else.
    if here(tuple.destination) && flow.is_redirected() && !here(flow.reply.source) {
        return Kind::Through;
    }
    let direction = match (here(tuple.source), here(tuple.destination)) {
        (true, true) => return Kind::Inside,
        (true, false) => Direction::Out,
        (false, true) => Direction::In,
        // To everybody, so to this machine too.
        (false, false) if is_to_many(tuple.destination) => Direction::In,
        (false, false) => return Kind::Through,
    };
    let (peer, address) = match direction {
        Direction::Out => (tuple.destination, tuple.source),
        Direction::In => (tuple.source, tuple.destination),
    };
    let mut probe = question(flow, direction, peer);
    probe.way.lan = policy.window.as_ref().is_some_and(|window| {
        let mut networks = window.place.networks.iter();
        networks.any(|network| network.contains(peer))
    });
    let port = match direction {
        Direction::Out => probe.source_port,
        Direction::In => probe.destination_port,
    };
    let asked = policy.allow.iter().any(|allow| allow.service.is_some());
    probe.service = (asked && direction == Direction::Out)
        .then(|| {
            owner(&Socket {
                protocol: tuple.protocol,
                address,
                port,
            })
        })
        .flatten()
        .and_then(|owner| service(policy, &owner));
    Kind::Own(probe)
}

/// A flow as a question: may the device open it? `direction` is the device's, `peer` the other end.
pub fn question(flow: &Flow, direction: Direction, peer: IpAddr) -> Probe {
    let (source_port, destination_port, icmp) = match flow.original.ends {
        Ends::Ports {
            source,
            destination,
        } => (source, destination, None),
        Ends::Icmp { kind, code, .. } => (0, 0, Some((kind, code))),
        Ends::None => (0, 0, None),
    };
    let source = match direction {
        Direction::Out => AddressType::Local,
        Direction::In => AddressType::Unicast,
    };
    Probe {
        direction,
        peer,
        protocol: flow.original.protocol,
        source_port,
        destination_port,
        icmp,
        state: State::New,
        hop_limit: HOP_LIMIT,
        mark: 0,
        service: None,
        way: Way {
            source,
            ..Way::default()
        },
    }
}

fn is_to_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// The service of a rule that a program belongs to.
pub(crate) fn service(policy: &Policy, owner: &Owner) -> Option<ServiceName> {
    let services = policy
        .allow
        .iter()
        .filter_map(|allow| allow.service.as_ref());
    let mut belongs = services.filter(|service| {
        let rest = owner.cgroup.strip_prefix(service.cgroup.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    belongs.next().map(|service| service.name.clone())
}
