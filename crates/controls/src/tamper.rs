//! The control `tamper`: the case is watched, what was seen is not forgotten, and what follows from it is possible.
//!
//! [`Watch`] makes of what sensors say what is believed of them; [`Record`] is what is remembered on disk; [`due`] says what
//! follows. None of it knows a clock or a device.

mod rules;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stockade_profile::{
    Control, Endpoint, Firewall, Inward, Outward, PortRange, Profile, Protocol, Response,
    Tamper as Section, Traffic, Upnp,
};

use crate::engine::{
    Case, Check, Confidence, Finding, Judged, Rule, Severity, Standing, UnixSeconds,
};
use rules::{INPUTS, LATCHED, RESPONSE};
pub use watch::{Says, Watch};

/// What is known of the case, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Seen {
    /// What each sensor of the profile says.
    pub sensors: BTreeMap<String, Says>,
    /// What is remembered.
    pub record: Record,
    /// What should have followed and could not be done.
    pub troubles: Vec<String>,
}

/// What is remembered, whatever happens to the power.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// The version of this form.
    pub form: u32,
    /// The case was opened, and nobody has cleared it.
    pub latch: Option<Latch>,
    /// The last time that it was cleared.
    pub cleared: Option<Cleared>,
}

/// The case was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Latch {
    /// Which sensors said so, and when first, by the device's clock.
    pub opened: BTreeMap<String, UnixSeconds>,
    /// Since when nothing but the gateway is reached.
    pub isolated: Option<UnixSeconds>,
    /// When the keys were erased.
    pub erased: Option<UnixSeconds>,
}

/// Somebody cleared it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cleared {
    /// When.
    pub at: UnixSeconds,
    /// On whose word.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What was cleared.
    pub latch: Latch,
}

impl Record {
    /// The form of today.
    pub const FORM: u32 = 1;

    /// A sensor says that the case is open; whether this one had not said so before.
    pub fn opened(&mut self, sensor: &str, at: UnixSeconds) -> bool {
        let latch = self.latch.get_or_insert_default();
        let fresh = !latch.opened.contains_key(sensor);
        latch.opened.entry(sensor.to_owned()).or_insert(at);
        fresh
    }

    /// Somebody cleared it; whether there was something to clear.
    pub fn clear(&mut self, at: UnixSeconds, by: &str, reason: &str) -> bool {
        let Some(latch) = self.latch.take() else {
            return false;
        };
        self.cleared = Some(Cleared {
            at,
            by: by.to_owned(),
            reason: reason.to_owned(),
            latch,
        });
        true
    }
}

impl Latch {
    /// The sensors that said so, for a person.
    pub fn sensors(&self) -> String {
        let names: Vec<&str> = self.opened.keys().map(String::as_str).collect();
        names.join(", ")
    }
}

/// What follows and is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// Close every connection but the one to the gateway.
    pub isolate: bool,
    /// Erase the keys.
    pub erase: bool,
}

/// What still has to follow from what is remembered.
pub fn due(section: &Section, record: &Record) -> Due {
    let Some(latch) = &record.latch else {
        return Due::default();
    };
    // A sensor that the profile does not name any more does not speak for erasing.
    let names = section.inputs.iter().map(ToString::to_string);
    let said = names.filter(|name| latch.opened.contains_key(name)).count();
    let enough = section.erases_at().is_some_and(|needed| said >= needed);
    Due {
        isolate: section.response.contains(&Response::Isolate) && latch.isolated.is_none(),
        erase: enough && latch.erased.is_none(),
    }
}

/// The profile of a device that nothing is to reach but its gateway: at these ports, and from there at its page. A gateway that
/// is known by name alone is asked for at the resolvers.
pub fn isolated(profile: &Profile, gateway: &[u16], page: u16, by_name: bool) -> Profile {
    let to = |endpoint: &Endpoint, protocol, port| Outward {
        to: endpoint.clone(),
        traffic: one_port(protocol, port),
        service: None,
    };
    let ports = gateway.iter();
    let mut outward: Vec<Outward> = ports
        .map(|port| to(&Endpoint::Gateway, Protocol::Tcp, *port))
        .collect();
    let dns = "controller:urn:ietf:params:mud:dns".parse().ok();
    if let Some(dns) = dns.filter(|_| by_name) {
        outward.extend([Protocol::Udp, Protocol::Tcp].map(|protocol| to(&dns, protocol, 53)));
    }
    let inward = Inward {
        from: Endpoint::Gateway,
        traffic: one_port(Protocol::Tcp, page),
    };
    Profile {
        firewall: Firewall {
            inward: vec![inward],
            outward,
            frames: Vec::new(),
        },
        upnp: Upnp::default(),
        ..profile.clone()
    }
}

fn one_port(protocol: Protocol, port: u16) -> Traffic {
    Traffic {
        protocol,
        port: PortRange::new(port, port),
        source_port: None,
        family: None,
        icmp: None,
        rate: None,
    }
}

/// The control `tamper`.
#[derive(Debug)]
pub struct Tamper;

impl Check for Tamper {
    fn control(&self) -> Control {
        Control::Tamper
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        let section = &case.profile.tamper;
        let Some(seen) = &case.own.tamper else {
            for rule in self.rules() {
                if section.inputs.is_empty() {
                    judged.does_not_apply(rule, UNWATCHED);
                } else if case.host.standing() == Standing::Offline {
                    judged.cannot_tell(rule, "only a running system can tell", Vec::new());
                } else {
                    judged.cannot_tell(rule, "only the helper of the device knows", Vec::new());
                }
            }
            return judged;
        };
        inputs(section, seen, &mut judged);
        latched(section, seen, &mut judged);
        response(section, seen, &mut judged);
        judged
    }
}

const UNWATCHED: &str = "the profile names no sensor of the case";

/// A sensor that is gone or held by somebody is not fine: its wire may have been cut.
fn inputs(section: &Section, seen: &Seen, judged: &mut Judged) {
    if section.inputs.is_empty() {
        return judged.does_not_apply(&INPUTS, UNWATCHED);
    }
    let mut findings = Vec::new();
    for name in section.inputs.iter().map(ToString::to_string) {
        let why = match seen.sensors.get(&name) {
            Some(Says::Closed | Says::Open) => continue,
            Some(Says::Unseen(why)) => why.as_str(),
            None => "nothing watches it",
        };
        let what = format!("the sensor {name} says nothing: {why}");
        findings.push(Finding::of(&INPUTS, &name, what).seen(&name, why));
    }
    if findings.is_empty() {
        let looked_at = format!("{} sensors", section.inputs.len());
        return judged.judged(&INPUTS, looked_at, findings);
    }
    judged.cannot_tell(&INPUTS, "a sensor of the case can not be read", findings);
}

fn latched(section: &Section, seen: &Seen, judged: &mut Judged) {
    let Some(latch) = &seen.record.latch else {
        if section.inputs.is_empty() {
            return judged.does_not_apply(&LATCHED, UNWATCHED);
        }
        return judged.judged(&LATCHED, "nothing was noticed", Vec::new());
    };
    let what = format!("its case was opened: {}", latch.sensors());
    let mut finding = Finding::of(&LATCHED, "case", what);
    for (sensor, at) in &latch.opened {
        finding = finding.seen(sensor, format!("open at {at}"));
    }
    judged.judged(&LATCHED, "it was opened", vec![finding]);
}

fn response(section: &Section, seen: &Seen, judged: &mut Judged) {
    if section.response.is_empty() && seen.troubles.is_empty() {
        return judged.does_not_apply(&RESPONSE, "the profile wants nothing to follow");
    }
    let mut findings = Vec::new();
    if section.response.contains(&Response::EraseKeys) && section.erases_at().is_none() {
        let what = "the keys would never be erased: that takes two sensors, and it has one";
        let finding = Finding::of(&RESPONSE, "erase-keys", what);
        findings.push(finding.with(Severity::Medium, Confidence::High));
    }
    let troubles = seen.troubles.iter();
    findings.extend(troubles.map(|why| Finding::of(&RESPONSE, "response", why.as_str())));
    judged.judged(&RESPONSE, "what should follow", findings);
}
