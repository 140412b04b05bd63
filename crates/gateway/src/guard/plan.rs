//! From what the core knows to what the rules are made from.

use std::collections::BTreeMap;

use stockade_controls::firewall::compile::{GuardPlan, Guarded, Model, Role as Ruled};
use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::policy::Policy;
use stockade_controls::firewall::surroundings::Surroundings;
use stockade_profile::ModelName;

use super::core::{Core, Standing};
use super::device::{Device, Place};
use super::settings::GuardSettings;

/// The gateway's ports that a device in quarantine reaches: console, enrolment, MQTT.
const REPAIR: [u16; 3] = [8443, 8444, 8883];

/// All of it.
pub(super) fn plan(core: &Core, settings: &GuardSettings, forwarder: Option<u16>) -> GuardPlan {
    let around = surroundings(core.standing(), settings, forwarder);
    let models: BTreeMap<ModelName, Model> = core
        .models()
        .iter()
        .map(|(name, installed)| {
            let model = Model::of(&installed.profile, &around, &REPAIR);
            (name.clone(), model)
        })
        .collect();
    GuardPlan {
        interfaces: vec![settings.interface.clone()],
        devices: core
            .devices()
            .filter_map(|device| guarded(device, &models))
            .collect(),
        around,
        models,
        repair: REPAIR.to_vec(),
        notice: settings.notice_port,
    }
}

fn surroundings(
    standing: &Standing,
    settings: &GuardSettings,
    forwarder: Option<u16>,
) -> Surroundings {
    Surroundings {
        own: standing.own.clone(),
        gateway: standing.own.clone(),
        gateway_link: Some(standing.mac),
        dhcp: standing.own.clone(),
        local: standing.lan.clone(),
        resolvers: settings.resolvers.clone(),
        forwarder,
        controllers: settings.controllers.clone(),
        my_controllers: settings.my_controllers.clone(),
        interfaces: vec![settings.interface.clone()],
        ..Surroundings::default()
    }
}

/// A device in the rules; one that is unknown, or has no address, is in none.
pub(super) fn guarded(device: &Device, models: &BTreeMap<ModelName, Model>) -> Option<Guarded> {
    Some(Guarded {
        mac: device.mac,
        addresses: Some(&device.addresses)
            .filter(|all| !all.is_empty())?
            .iter()
            .map(|binding| binding.address)
            .collect(),
        role: role(&device.place(), models)?,
    })
}

/// The rules of a place; none for those that nobody knows, and for a model whose profile is gone.
fn role(place: &Place, models: &BTreeMap<ModelName, Model>) -> Option<Ruled> {
    match place {
        Place::Trusted => Some(Ruled::Trusted),
        Place::Model(model) if models.contains_key(model) => Some(Ruled::Model(model.clone())),
        Place::Unknown | Place::Model(_) => None,
        Place::Quarantine(model) => Some(Ruled::Quarantined(model.clone())),
    }
}

/// The policy of a place; none for a trusted device.
pub(super) fn policy(plan: &GuardPlan, place: &Place) -> Option<Policy> {
    match role(place, &plan.models) {
        Some(role) => plan.policy(&role),
        None => Some(Policy::unknown(&plan.around, plan.notice)),
    }
}

/// Who is in which group now, and what names have which addresses.
pub(super) fn world(core: &Core, plan: &GuardPlan, names: World) -> World {
    let mut world = names;
    for device in core.devices() {
        let Place::Model(model) = device.place() else {
            continue;
        };
        let Some(model) = plan.models.get(&model) else {
            continue;
        };
        for group in &model.groups {
            let members = world.members.entry(group.clone()).or_default();
            members.extend(device.addresses.iter().map(|binding| binding.address));
        }
    }
    world
}
