//! What the guard tells of devices and models, as JSON.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::core::{Core, Installed};
use super::device::{By, Device, Origin, Role};
use super::mud::FileState;

/// The state in one word: `active`, `trusted`, `unknown`, `waiting` (for an operator's yes) or `quarantined`.
pub(super) fn state(core: &Core, device: &Device) -> &'static str {
    if device.is_quarantined() {
        return "quarantined";
    }
    match &device.role {
        Role::Model { .. } => "active",
        Role::Trusted => "trusted",
        Role::Unknown => {
            let file = device
                .mud
                .as_ref()
                .and_then(|mud| core.file(mud.url.as_str()));
            match file.map(|file| &file.state) {
                Some(FileState::Read(_)) => "waiting",
                Some(FileState::Asked { .. } | FileState::Failed { .. }) | None => "unknown",
            }
        }
    }
}

/// One device.
pub(super) fn device(core: &Core, device: &Device) -> Value {
    let addresses: Vec<Value> = device
        .addresses
        .iter()
        .map(|binding| {
            let (by, until) = match binding.by {
                By::Hand => ("hand", None),
                By::Lease { until } => ("lease", Some(moment(until))),
                By::Claim => ("claim", None),
            };
            json!({ "address": binding.address, "by": by, "until": until, "seen": moment(binding.seen) })
        })
        .collect();
    let reasons: Vec<&str> = [&device.quarantine, &device.gateway_quarantine]
        .into_iter()
        .flatten()
        .map(|why| why.reason.as_str())
        .collect();
    json!({
        "mac": device.mac.to_string(),
        "role": device.role.as_str(),
        "state": state(core, device),
        "reasons": reasons,
        "origin": origin(&device.origin),
        "device": device.device,
        "hostname": device.hostname,
        "addresses": addresses,
        "mud": mud(core, device),
        "other_mud": device.other_mud.as_ref().map(ToString::to_string),
        "first_seen": moment(device.first_seen),
        "last_seen": moment(device.last_seen),
    })
}

fn mud(core: &Core, device: &Device) -> Value {
    let Some(mud) = &device.mud else {
        return Value::Null;
    };
    let mut told =
        json!({ "url": mud.url.as_str(), "via": mud.via.as_str(), "at": moment(mud.at) });
    let state = match core.file(mud.url.as_str()).map(|file| &file.state) {
        None => json!({ "state": "not fetched" }),
        Some(FileState::Asked { .. }) => json!({ "state": "asked for" }),
        Some(FileState::Failed { why, .. }) => json!({ "state": "failed", "why": why }),
        Some(FileState::Read(contents)) => json!({
            "state": "read",
            "signer": contents.signer,
            "represented": contents.represented,
            "rules": contents.rules,
            "report": contents.report,
            "valid_until": moment(contents.valid_until),
        }),
    };
    if let (Some(told), Value::Object(state)) = (told.as_object_mut(), state) {
        told.extend(state);
    }
    told
}

/// One model, with how many devices are of it.
pub(super) fn model(core: &Core, installed: &Installed) -> Value {
    let device = &installed.profile.device;
    let of_it = core
        .devices()
        .filter(|d| d.role.model() == Some(&device.model));
    json!({
        "model": device.model.as_str(),
        "version": device.version,
        "manufacturer": device.manufacturer.as_str(),
        "origin": origin(&installed.origin),
        "installed": moment(installed.at),
        "devices": of_it.count(),
    })
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Nowhere => "nowhere".to_owned(),
        Origin::Hand => "by hand".to_owned(),
        Origin::Mud { url, signed: true } => format!("{url}, signed"),
        Origin::Mud { url, signed: false } => format!("{url}, not signed"),
    }
}

pub(super) fn moment(at: OffsetDateTime) -> String {
    // Only a year beyond 9999 has no such form, and no clock of ours says one.
    at.format(&Rfc3339).unwrap_or_default()
}
