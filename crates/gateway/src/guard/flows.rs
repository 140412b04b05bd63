//! Flows that were open when rights were taken away: those that are not allowed any more are cut, and no others.

use std::net::IpAddr;

use stockade_controls::firewall::compile::GuardPlan;
use stockade_controls::firewall::decide::{Decision, Probe, World, decide, opening_names};
use stockade_controls::firewall::policy::Policy;
use stockade_host::firewall::question;
use stockade_host::netlink::NetlinkError;
use stockade_host::netlink::flows::{Flow, Flows};
use stockade_profile::Direction;

use super::core::Core;
use super::device::Place;
use super::plan;

/// The rules that were and that are.
#[derive(Debug)]
pub(super) struct Rules<'r> {
    pub(super) core: &'r Core,
    pub(super) plan: &'r GuardPlan,
    pub(super) world: World,
    /// The plan from before, if it was another one.
    pub(super) before: Option<&'r GuardPlan>,
    /// Where the packets of this address were judged before; of all others nothing changed.
    pub(super) moved: Option<(IpAddr, Place)>,
}

/// Cuts what is not allowed any more: of the address that moved, or of every device. How many were cut.
pub(super) fn cut(rules: &Rules<'_>) -> Result<usize, NetlinkError> {
    let mut flows = Flows::open()?;
    let mut cut = 0;
    for flow in flows.list()? {
        let ends = [flow.original.source, flow.original.destination];
        if rules
            .moved
            .as_ref()
            .is_some_and(|(address, _)| !ends.contains(address))
        {
            continue;
        }
        if !rules.let_stay(&flow) && flows.cut(&flow)? {
            cut += 1;
        }
    }
    Ok(cut)
}

impl Rules<'_> {
    /// Whether both ends, as far as they are devices of the LAN, may have the flow.
    fn let_stay(&self, flow: &Flow) -> bool {
        let (from, to) = (flow.original.source, flow.original.destination);
        self.may(from, Direction::Out, to, flow) && self.may(to, Direction::In, from, flow)
    }

    fn may(&self, device: IpAddr, direction: Direction, peer: IpAddr, flow: &Flow) -> bool {
        // The gateway's own flows to devices are its own affair; what is not on the LAN is not guarded here.
        let standing = self.core.standing();
        let on_lan = standing.lan.iter().any(|net| net.contains(device));
        if !on_lan || standing.own.contains(&device) {
            return true;
        }
        let owner = self.core.owner(device);
        let place = owner.map_or(Place::Unknown, super::device::Device::place);
        let Some(policy) = plan::policy(self.plan, &place) else {
            return true;
        };
        let probe = question(flow, direction, peer);
        match decide(&policy, &self.world, &probe) {
            Decision::Allowed(_) => true,
            // Our forwarder has it.
            Decision::Forwarded => flow.is_redirected(),
            Decision::Refused(_) => self.was_a_name(device, &place, &policy, &probe),
        }
    }

    /// Addresses of names change while flows live, and those flows stay: if a rule about a name opens such flows, and every
    /// rule about a name that did so before still does.
    fn was_a_name(&self, device: IpAddr, place: &Place, policy: &Policy, probe: &Probe) -> bool {
        let before = match &self.moved {
            Some((address, before)) if *address == device => before,
            _ => place,
        };
        let Some(before) = plan::policy(self.before.unwrap_or(self.plan), before) else {
            return false;
        };
        let before = opening_names(&before, probe);
        !before.is_empty() && before.is_subset(&opening_names(policy, probe))
    }
}
