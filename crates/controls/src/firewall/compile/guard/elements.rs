//! A device as elements of the guard's sets and maps.

use core::net::IpAddr;
use std::collections::BTreeMap;

use stockade_profile::{Direction, Family, Frame, LinkAddress};

use super::super::super::nft::{Element, Family as TableFamily, Ident, Set, Table, Value, Verdict};
use super::super::super::surroundings::Group;
use super::super::line::group_set;
use super::chains::{Prefix, trusted};
use super::frames::EAPOL;
use super::{GuardPlan, Guarded, Role, set};

/// One element of one set of the guard's tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The table's family; its name is [`super::super::GUARD_TABLE`].
    pub family: TableFamily,
    /// The set or map.
    pub set: Ident,
    /// The element.
    pub element: Element,
}

/// The elements that stand for a device in the plan's tables: what is added when it comes, and taken away when it goes. Of a
/// device whose role changes, the verdicts of maps do, and its groups and frames.
pub fn elements(plan: &GuardPlan, device: &Guarded) -> Vec<Change> {
    of(plan, &plan.groups(), device)
}

/// Puts the devices into the tables.
pub(super) fn fill(tables: &mut [Table], plan: &GuardPlan, groups: &BTreeMap<Group, usize>) {
    let mut sets: BTreeMap<(TableFamily, Ident), &mut Set> = BTreeMap::new();
    for table in tables {
        for set in &mut table.sets {
            sets.insert((table.family, set.name.clone()), set);
        }
    }
    for device in &plan.devices {
        for change in of(plan, groups, device) {
            if let Some(set) = sets.get_mut(&(change.family, change.set)) {
                set.elements.push(change.element);
            }
        }
    }
    for set in sets.into_values() {
        settle(set);
    }
}

/// Sorts what was put in, and leaves out what is there twice: the device that comes first keeps its address.
fn settle(set: &mut Set) {
    set.elements.sort_by(|a, b| a.key.cmp(&b.key));
    set.elements.dedup_by(|later, first| later.key == first.key);
}

fn of(plan: &GuardPlan, groups: &BTreeMap<Group, usize>, device: &Guarded) -> Vec<Change> {
    let Some((out, inward)) = chains(plan, &device.role) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    let mac = || Value::Mac(device.mac.bytes());
    let mut put = |family, set: &str, key: Vec<Value>, verdict: Option<&Ident>| {
        changes.push(Change {
            family,
            set: Ident::made(set, ""),
            element: Element {
                key,
                timeout: None,
                verdict: verdict.map(|chain| Verdict::Goto(chain.clone())),
            },
        });
    };
    let (inet, arp) = (TableFamily::Inet, TableFamily::Arp);
    if device.role == Role::Trusted {
        put(inet, set::TRUSTED, vec![mac()], None);
    }
    for address in &device.addresses {
        match address {
            IpAddr::V4(v4) => {
                let address = || Value::ip4(*v4);
                put(inet, set::FROM4, vec![mac(), address()], Some(&out));
                put(inet, set::TO4, vec![address()], Some(&inward));
                put(arp, set::KNOWN4, vec![address()], None);
                put(arp, set::BOUND4, vec![mac(), address()], None);
            }
            IpAddr::V6(v6) => {
                let address = || Value::ip6(*v6);
                put(inet, set::FROM6, vec![mac(), address()], Some(&out));
                put(inet, set::TO6, vec![address()], Some(&inward));
                put(inet, set::KNOWN6, vec![address()], None);
                put(inet, set::TARGET, vec![address()], None);
                put(inet, set::CLAIM, vec![mac(), address()], None);
            }
        }
    }
    // In quarantine a device is in no group: nobody reaches it for being one of them.
    let Role::Model(model) = &device.role else {
        return changes;
    };
    let Some(model) = plan.models.get(model) else {
        return changes;
    };
    for number in model.groups.iter().filter_map(|group| groups.get(group)) {
        for address in &device.addresses {
            let (family, value) = match address {
                IpAddr::V4(v4) => (Family::Ipv4, Value::ip4(*v4)),
                IpAddr::V6(v6) => (Family::Ipv6, Value::ip6(*v6)),
            };
            put(inet, group_set(*number, family).as_str(), vec![value], None);
        }
    }
    // The key exchange of Wi-Fi passes for everybody.
    let named = |frame: &&Frame| frame.ethertype.get() != EAPOL;
    let frames = model.policy.frames.iter().map(|(_, frame)| frame);
    for frame in frames.filter(named) {
        let (set, key) = frame_key(device.mac, frame);
        put(TableFamily::Netdev, set, key, None);
    }
    changes
}

fn frame_key(mac: LinkAddress, frame: &Frame) -> (&'static str, Vec<Value>) {
    let kind = Value::number(frame.ethertype.get());
    let mut key = vec![Value::Mac(mac.bytes()), kind];
    let set = match (frame.direction, frame.peer) {
        (Direction::Out, None) => set::FRAMES_OUT,
        (Direction::Out, Some(_)) => set::FRAMES_OUT_TO,
        (Direction::In, None) => set::FRAMES_IN,
        (Direction::In, Some(_)) => set::FRAMES_IN_FROM,
    };
    key.extend(frame.peer.map(|peer| Value::Mac(peer.bytes())));
    (set, key)
}

/// The chains of a role; none for a model that has no profile here: such a device is unknown.
fn chains(plan: &GuardPlan, role: &Role) -> Option<(Ident, Ident)> {
    let both = |prefix: Prefix<'_>| {
        let out = prefix.chain(Direction::Out);
        (out, prefix.chain(Direction::In))
    };
    match role {
        Role::Model(model) => {
            let known = plan.models.contains_key(model);
            known.then(|| both(Prefix::Model(model.as_str())))
        }
        Role::Quarantined(Some(model)) if plan.models.contains_key(model) => {
            Some(both(Prefix::Quarantine(model.as_str())))
        }
        Role::Quarantined(_) => Some(both(Prefix::Nobody)),
        Role::Trusted => Some((trusted(Direction::Out), trusted(Direction::In))),
    }
}
