//! One message of a device: evidence or events, looked at before it is believed.

use std::collections::BTreeMap;

use stockade_api::events::{self, Came};
use stockade_api::helper::{Event, Weight};
use stockade_api::signed::Evidence;
use stockade_controls::engine::Posture;
use stockade_profile::Control;
use stockade_store::Batch;
use stockade_store::telemetry::Record;
use time::{Duration, OffsetDateTime};

use super::kept::{FORMAT, Kept, Last};
use super::{Judge, nonce};
use crate::attest::Said;
use crate::events::Outcome;
use crate::name::DeviceId;
use crate::policy::{EVENTS, POSTURE};
use crate::registry::DeviceRecord;
use crate::tls::moment;

/// What a reason begins with that is about a case that was opened.
pub const OPENED: &str = "Its case was opened";
/// A device's clock that is off by more than this is told, where it matters when something happened.
const OFF: Duration = Duration::minutes(5);

/// What becomes of some messages.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) devices: BTreeMap<DeviceId, Kept>,
    pub(super) postures: BTreeMap<DeviceId, Posture>,
    /// What is kept beside them.
    pub(super) batch: Batch,
}

impl Judge {
    /// Takes one message into `group`. What a device should not have sent is told, and counted against it.
    pub(super) fn take(&self, record: &Record<'_>, now: OffsetDateTime, group: &mut Group) {
        let Ok(id) = DeviceId::new(&record.device) else {
            return;
        };
        let Some(device) = self.registry.get(&id, now) else {
            return;
        };
        let came = Duration::milliseconds(record.at_unix_ms);
        let came = OffsetDateTime::UNIX_EPOCH.checked_add(came).unwrap_or(now);
        let known = group.devices.get(&id).cloned();
        let mut kept = known.unwrap_or_else(|| match self.kept(&id) {
            Some(kept) => Kept::clone(&kept),
            None => Kept::default(),
        });
        kept.v = FORMAT;
        let taken = match &*record.schema {
            POSTURE => self
                .evidence(&device, &record.payload, came, &mut kept, &mut group.batch)
                .map(|posture| {
                    group.postures.insert(id.clone(), posture);
                }),
            EVENTS => self.events(&device, &record.payload, came, &mut kept),
            _ => return,
        };
        if let Err(why) = taken {
            let why = format!("{} refused: {why}", record.schema);
            self.tell(now, &id, Outcome::Refused, Control::Comms, why.clone());
            self.registry.violation(&id, Control::Comms, &why, now);
            if self.kept(&id).is_none() && !group.devices.contains_key(&id) {
                // Nothing that could be believed makes no agent of it.
                return;
            }
        }
        group.devices.insert(id, kept);
    }

    fn evidence(
        &self,
        device: &DeviceRecord,
        message: &[u8],
        came: OffsetDateTime,
        kept: &mut Kept,
        batch: &mut Batch,
    ) -> Result<Posture, String> {
        let shown = Evidence::claimed(message).map_err(|why| why.to_string())?;
        let current = device.certificate.iter().chain(&device.next_certificate);
        let certificate = current.into_iter().find(|it| it.fingerprint == shown);
        let certificate = certificate.ok_or("signed by a key that is not the device's own now")?;
        let point = certificate.p256.as_ref();
        let point =
            point.ok_or("evidence is signed with P-256, and the device's key is another")?;
        let evidence = Evidence::verify(message, point).map_err(|why| why.to_string())?;
        let (id, model) = (device.name.id.as_str(), device.name.model.as_str());
        if evidence.device != id {
            return Err("it is of another device".to_owned());
        }
        if evidence.posture.model != model {
            return Err("it is of another model".to_owned());
        }
        let asked = kept.asked.as_ref().map(|asked| asked.nonce.as_str());
        let fresh = asked.is_some() && asked == evidence.nonce.as_deref();
        let last = kept.last.as_ref().map_or(0, |last| last.number);
        if evidence.number <= last && !fresh {
            // A device that lost its count answers a question with any number.
            if let Ok(nonce) = nonce() {
                let _waits = kept.ask(&nonce, came);
            }
            let number = evidence.number;
            return Err(format!(
                "its number {number} is not above the last one, {last}"
            ));
        }
        if fresh {
            kept.answered();
            self.start(device, &evidence, came, kept, batch);
        }
        kept.taken(evidence.done, came);
        kept.last = Some(Last {
            number: evidence.number,
            came,
            at: evidence.at,
            fresh,
            profile_version: evidence.posture.profile_version,
            agent: crate::events::printable(&evidence.agent),
            system: evidence.system.as_deref().map(crate::events::printable),
        });
        kept.silent = false;
        let before: Vec<_> = kept.wrong.keys().cloned().collect();
        kept.judge(&evidence.posture, came);
        self.tell_difference(&device.name.id, &before, kept, came);
        Ok(evidence.posture)
    }

    /// What evidence that answers a question says of how the device started.
    fn start(
        &self,
        device: &DeviceRecord,
        evidence: &Evidence,
        came: OffsetDateTime,
        kept: &mut Kept,
        batch: &mut Batch,
    ) {
        let wanted = self.measured(device);
        let profile = self.registry.profile(&device.name.model);
        // A device that has not got the profile yet that asks for it can not know.
        let knows = profile.is_some_and(|it| evidence.posture.profile_version >= it.device.version);
        let attestation = evidence.attestation.clone();
        if wanted.is_empty() || (attestation.is_none() && !knows) {
            return;
        }
        let said = Said {
            device: &device.name.id,
            model: &device.name.model,
            nonce: evidence.nonce.as_deref().unwrap_or_default(),
            version: evidence.system.as_deref(),
            wanted: &wanted,
            came,
        };
        let attested = self.attester.take(&said, attestation, batch);
        let before = kept.attested.as_ref().map(|it| it.verdict.wrong.clone());
        let wrong = attested.verdict.wrong.clone();
        kept.started(attested.verdict, came);
        if before.as_ref() != Some(&wrong) {
            let told = match &wrong[..] {
                [] => "its TPM says that it started as it should".to_owned(),
                wrong => format!("how it started: {}", wrong.join("; ")),
            };
            self.tell(came, &device.name.id, Outcome::Changed, Control::Boot, told);
        }
    }

    /// Tells what is wrong that was not, and what is mended.
    fn tell_difference(&self, id: &DeviceId, before: &[String], kept: &Kept, came: OffsetDateTime) {
        let list = |rules: Vec<&String>| {
            let more = rules.len().saturating_sub(3);
            let first: Vec<_> = rules.iter().take(3).map(|rule| rule.as_str()).collect();
            match more {
                0 => first.join(", "),
                more => format!("{} and {more} more", first.join(", ")),
            }
        };
        let new: Vec<_> = kept
            .wrong
            .keys()
            .filter(|rule| !before.contains(rule))
            .collect();
        let mended: Vec<_> = before
            .iter()
            .filter(|rule| !kept.wrong.contains_key(*rule))
            .collect();
        let parts = [("does not hold", new), ("holds now", mended)];
        let parts = parts.into_iter().filter(|(_, rules)| !rules.is_empty());
        let told: Vec<_> = parts
            .map(|(what, rules)| format!("{what}: {}", list(rules)))
            .collect();
        if !told.is_empty() {
            let told = format!("its evidence: {}", told.join("; "));
            self.tell(came, id, Outcome::Changed, Control::Comms, told);
        }
    }

    fn events(
        &self,
        device: &DeviceRecord,
        message: &[u8],
        came: OffsetDateTime,
        kept: &mut Kept,
    ) -> Result<(), String> {
        let id = &device.name.id;
        let batch = events::Batch::read(message).map_err(|why| why.to_string())?;
        if batch.log != kept.log {
            (kept.log, kept.told, kept.lost) = (batch.log, 0, 0);
        }
        let new = |event: &&Event| event.number > kept.told;
        // Where a session begins, or the device: it may have started in another way.
        let begins = batch.events.is_empty()
            || batch
                .events
                .iter()
                .filter(new)
                .any(|it| it.kind == "started");
        if begins
            && !self.measured(device).is_empty()
            && let Ok(nonce) = nonce()
        {
            let _waits = kept.ask(&nonce, came);
        }
        for event in batch.events.iter().filter(|event| event.number > kept.told) {
            let outcome = match event.weight {
                Weight::Note | Weight::Change => Outcome::Changed,
                Weight::Warning => Outcome::Alarm,
            };
            self.tell(
                came,
                id,
                outcome,
                control(&event.kind),
                on_device(event, came),
            );
        }
        let opened = |it: &&Event| it.number > kept.told && it.kind == "tamper-opened";
        for event in batch.events.iter().filter(opened) {
            // What the device says is enough: it holds at once, and until an operator says otherwise.
            let which = event.says.strip_prefix(OPENED).unwrap_or(&event.says);
            let why = format!(
                "{OPENED}{} ({})",
                which.chars().take(200).collect::<String>(),
                moment(came)
            );
            let why = crate::events::printable(&why);
            // What cannot be written holds all the same, and the registry tells.
            let _held = self
                .registry
                .quarantine_for(id, Control::Tamper, &why, came);
        }
        let told = kept.told;
        for event in batch.events.iter().filter(|it| it.number > told) {
            if event.kind == "started" {
                // Whom it trusts may be others now: it is sent again what it refused.
                kept.refused_profile = None;
            }
            if let Some(it) = Came::read(event) {
                let sent = || self.signed_profile(&device.name.model, 0);
                kept.came(it, sent, came);
            }
        }
        let last = batch.events.iter().map(|event| event.number).max();
        kept.told = kept.told.max(last.unwrap_or_default());
        if batch.lost > kept.lost {
            let lost = batch.lost - kept.lost;
            let why = format!(
                "{lost} events were lost on it: more than it has room for happened while it was away"
            );
            self.tell(came, id, Outcome::Changed, Control::Comms, why);
            kept.lost = batch.lost;
        }
        Ok(())
    }
}

/// What happened on a device, with its own time where that tells something.
fn on_device(event: &Event, came: OffsetDateTime) -> String {
    let at = i64::try_from(event.at).ok();
    let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let when = match at {
        Some(at) if (came - at).abs() < OFF => String::new(),
        Some(at) => format!(" on {} by its clock", moment(at)),
        None => " at a time that its clock cannot tell".to_owned(),
    };
    format!("{} (by {}{when})", event.says, event.by)
}

/// The control that an event of a device belongs to, by its kind.
fn control(kind: &str) -> Control {
    let of = |prefix: &str| kind.starts_with(prefix);
    if of("upnp") {
        Control::Upnp
    } else if of("log-in") || of("password") {
        Control::Credentials
    } else if of("firewall") {
        Control::Firewall
    } else if of("tamper") {
        Control::Tamper
    } else {
        Control::Comms
    }
}
