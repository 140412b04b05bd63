//! The rules of a gateway for its whole network: one pair of chains a model, a few elements a device.
//!
//! A packet from the network is looked up by hardware address and IP address together, and goes to its model's chain; so a
//! device that borrows an address of another is nobody. If that chain allows it and it goes to another device, that one's
//! chain has to allow it as well.

mod chains;
mod elements;
mod frames;
mod ports;
mod set;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use stockade_profile::{InterfaceName, LinkAddress, ModelName, Network, Profile, Protocol};

use super::super::nft::Ruleset;
use super::super::policy::{Policy, Side, groups_of};
use super::super::surroundings::{Group, Surroundings};

use chains::Writer;

pub use elements::{Change, elements};

/// All that the guard's rules are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardPlan {
    /// The interfaces of the guarded network.
    pub interfaces: Vec<InterfaceName>,
    /// The gateway's own place in it: `own` and `gateway` are its addresses there.
    pub around: Surroundings,
    /// The models that have a profile.
    pub models: BTreeMap<ModelName, Model>,
    /// The devices that are known, each once.
    pub devices: Vec<Guarded>,
    /// The gateway's TCP ports that a device in quarantine reaches, to be mended.
    pub repair: Vec<u16>,
    /// The gateway's TCP port that an unknown device reaches: the console's notice.
    pub notice: u16,
}

/// A model, as the guard enforces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What its devices may do.
    pub policy: Policy,
    /// What they may do in quarantine.
    pub quarantine: Policy,
    /// The groups that its devices are in.
    pub groups: Vec<Group>,
}

/// A device that the guard knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// Its hardware address.
    pub mac: LinkAddress,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whose rules it has.
    pub role: Role,
}

/// Whose rules a device has. One that is in no plan has those of the unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Its model's.
    Model(ModelName),
    /// Those of quarantine, for its model if that is known.
    Quarantined(Option<ModelName>),
    /// The owner's own: it may reach everything that lets itself be reached.
    Trusted,
}

impl Model {
    /// The rules of a profile at this gateway; `repair` as in [`GuardPlan`].
    pub fn of(profile: &Profile, around: &Surroundings, repair: &[u16]) -> Self {
        Self {
            policy: Policy::of(profile, around, Side::Guard),
            quarantine: Policy::quarantine(Some(profile), around, repair),
            groups: groups_of(profile),
        }
    }
}

impl GuardPlan {
    /// The DNS servers that any model names by address: questions to them are not sent to our forwarder, whoever asks.
    fn direct(&self) -> Vec<(Protocol, Network)> {
        let mut direct: Vec<(Protocol, Network)> = Vec::new();
        for model in self.models.values() {
            for resolver in &model.policy.direct {
                if !direct.contains(resolver) {
                    direct.push(*resolver);
                }
            }
        }
        direct
    }

    /// The policy of a role, as [`super::super::decide::decide`] takes it; none for a trusted device, and for a model without a
    /// profile.
    pub fn policy(&self, role: &Role) -> Option<Policy> {
        let mut policy = match role {
            Role::Model(model) => self.models.get(model)?.policy.clone(),
            Role::Quarantined(model) => self.quarantine(model.as_ref()),
            Role::Trusted => return None,
        };
        policy.direct = self.direct();
        Some(policy)
    }

    fn quarantine(&self, model: Option<&ModelName>) -> Policy {
        model.and_then(|model| self.models.get(model)).map_or_else(
            || Policy::quarantine(None, &self.around, &self.repair),
            |model| model.quarantine.clone(),
        )
    }

    /// The groups that rules speak of, numbered.
    fn groups(&self) -> BTreeMap<Group, usize> {
        let mut groups: BTreeSet<&Group> = BTreeSet::new();
        for model in self.models.values() {
            groups.extend(model.policy.groups());
        }
        let numbered = groups.into_iter().enumerate();
        numbered
            .map(|(number, group)| (group.clone(), number))
            .collect()
    }
}

/// All of the guard's tables.
pub fn guard(plan: &GuardPlan) -> Ruleset {
    let groups = plan.groups();
    let writer = Writer {
        plan,
        groups: &groups,
    };
    let mut tables = vec![writer.packets(), writer.arp(), writer.frames()];
    elements::fill(&mut tables, plan, &groups);
    Ruleset { tables }
}
