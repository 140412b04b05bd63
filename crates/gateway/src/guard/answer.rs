//! What the guard replies to each request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use stockade_profile::{LinkAddress, Profile};
use time::OffsetDateTime;

use super::core::Action;
use super::device::Role;
use super::request::{Page, Refusal, Request};
use super::run::{Guard, Undone};
use super::view;

/// The answer, or why not.
type Answered = Result<Value, Refusal>;

impl Guard {
    pub(super) fn reply(&mut self, request: &Request) -> Answered {
        let now = OffsetDateTime::now_utc();
        match request {
            Request::Status => Ok(self.status()),
            Request::List => {
                let devices = self.core.devices();
                let devices: Vec<Value> = devices.map(|d| view::device(&self.core, d)).collect();
                Ok(json!({ "devices": devices }))
            }
            Request::Show { mac } => self.show(*mac),
            Request::Add(add) => self.decide(add.mac, |core| core.add(add, now)),
            Request::Accept { mac } => self.decide(*mac, |core| core.accept(*mac, now)),
            Request::Quarantine { mac, reason } => {
                self.decide(*mac, |core| core.quarantine(*mac, reason, now))
            }
            Request::Release { mac } => self.decide(*mac, |core| core.release(*mac)),
            Request::Remove { mac } => {
                self.decide(*mac, |core| core.remove(*mac))?;
                Ok(json!({ "mac": mac.to_string() }))
            }
            Request::Gateway { device, isolated } => {
                let actions = self.core.gateway(device, isolated.as_ref(), now);
                let known = !actions.is_empty();
                done(self.perform(actions))?;
                Ok(json!({ "device": device.as_str(), "changed": known }))
            }
            Request::Models => {
                let models = self.core.models().values();
                let models: Vec<Value> = models.map(|m| view::model(&self.core, m)).collect();
                Ok(json!({ "models": models }))
            }
            Request::Install { canonical } => self.install(canonical, now),
            Request::Uninstall { model } => {
                let actions = self.core.uninstall(model)?;
                done(self.perform(actions))?;
                Ok(json!({ "model": model.as_str() }))
            }
            Request::Events(page) => Ok(self.events_after(*page)),
            Request::Blocked(page) => {
                let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
                Ok(self.blocked.after(page.after, limit))
            }
            Request::Check => Ok(self.check()),
            Request::Reload => match self.load() {
                None => Ok(json!({ "rules": self.kernel.words() })),
                Some(why) => Err(Refusal::new(why)),
            },
            Request::Off => self.off(),
        }
    }

    /// A decision about one device. What can not be written down is taken back.
    fn decide(
        &mut self,
        mac: LinkAddress,
        decision: impl FnOnce(&mut super::core::Core) -> Result<Vec<Action>, Refusal>,
    ) -> Answered {
        let before = self.core.device(mac).cloned();
        let actions = decision(&mut self.core)?;
        let undone = self.perform(actions);
        if undone.disk.is_some() {
            self.core.put_back(mac, before);
            // The kernel may be ahead of what is remembered: it is brought back, to be sure.
            self.load();
        }
        done(undone)?;
        Ok(self
            .core
            .device(mac)
            .map_or(Value::Null, |device| view::device(&self.core, device)))
    }

    fn install(&mut self, canonical: &str, now: OffsetDateTime) -> Answered {
        let wrong = |why: String| Refusal::new(format!("not a profile: {why}"));
        let bytes = BASE64
            .decode(canonical)
            .map_err(|error| wrong(error.to_string()))?;
        let profile =
            Profile::from_canonical(&bytes).map_err(|error| wrong(stockade_host::chain(&error)))?;
        let model = profile.device.model.clone();
        let actions = self.core.install(profile, now)?;
        done(self.perform(actions))?;
        let installed = self.core.models().get(&model);
        Ok(installed.map_or(Value::Null, |model| view::model(&self.core, model)))
    }

    fn show(&self, mac: LinkAddress) -> Answered {
        let device = self.core.device(mac).ok_or_else(|| {
            Refusal::new(format!("{mac} was never seen on the LAN"))
                .help("`stockade guard list` shows who was")
        })?;
        let mut told = view::device(&self.core, device);
        if let Some(fields) = told.as_object_mut() {
            fields.insert("blocked".to_owned(), json!(self.blocked.count(mac)));
            fields.insert("words".to_owned(), json!(self.kernel.device_words(device)));
        }
        Ok(told)
    }

    fn status(&self) -> Value {
        let standing = self.core.standing();
        let count = |wanted: &str| {
            let mut devices = 0_usize;
            for device in self.core.devices() {
                if view::state(&self.core, device) == wanted {
                    devices += 1;
                }
            }
            devices
        };
        let troubles = &self.troubles;
        let warnings: Vec<&String> = [
            &troubles.rules,
            &troubles.disk,
            &troubles.deaf,
            &troubles.isolation,
            &troubles.standing,
        ]
        .into_iter()
        .flatten()
        .chain(self.kernel.warnings())
        .collect();
        let policy = &self.settings.mud.policy;
        let isolation = match (&self.isolation, &troubles.isolation) {
            (None, _) => "off: devices behind one switch reach each other past the gateway",
            (Some(_), None) => "devices reach each other through the gateway only",
            (Some(_), Some(_)) => "not complete",
        };
        json!({
            "interface": self.settings.interface.as_str(),
            "own": standing.own,
            "lan": standing.lan.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "devices": self.core.devices().len(),
            "active": count("active"),
            "trusted": count("trusted"),
            "quarantined": count("quarantined"),
            "unknown": count("unknown") + count("waiting"),
            "models": self.core.models().len(),
            "rules": self.kernel.words(),
            "isolation": isolation,
            "names": self.names.as_ref().map_or_else(
                || "no forwarder: rules about names allow nothing".to_owned(),
                super::names::Names::words,
            ),
            "mud": match (policy.fetch, policy.accept) {
                (false, _) => "not fetched",
                (true, super::mud::Accept::Ask) => "fetched; you say yes",
                (true, super::mud::Accept::Signed) => "fetched; taken with a trusted signature, else you say yes",
                (true, super::mud::Accept::Any) => "fetched and taken, signed or not",
            },
            "warnings": warnings,
        })
    }

    fn events_after(&self, page: Page) -> Value {
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        // Without a number to go on from: the newest.
        let events = if page.after == 0 {
            let mut newest = self.events.latest(None, limit);
            newest.reverse();
            newest
        } else {
            self.events.after(page.after, limit)
        };
        let next = events.last().map_or(page.after, |event| event.seq);
        json!({ "events": events, "next": next })
    }

    fn check(&mut self) -> Value {
        let checked = tokio::task::block_in_place(|| self.kernel.check(&self.core));
        match checked {
            Ok(report) => {
                let differs = !report.differences.is_empty();
                json!({
                    "verdict": if differs { "differs" } else { "same" },
                    "summary": report.summary,
                    "differences": report.differences,
                })
            }
            Err(error) => json!({
                "verdict": "not judged",
                "summary": format!("could not be judged: {}", stockade_host::chain(&error)),
                "differences": [],
            }),
        }
    }

    /// Takes the rules away first: an interface that is back as it was, under rules that count on its isolation, would let
    /// devices reach each other with everyone believing that they can not.
    fn off(&mut self) -> Answered {
        let failed = |error: &dyn std::error::Error| Refusal::new(stockade_host::chain(error));
        tokio::task::block_in_place(|| self.kernel.remove()).map_err(|error| failed(&error))?;
        let before = self.kept.before().map_err(|error| failed(&error))?;
        if let Some(isolation) = &self.isolation {
            isolation.restore(&before).map_err(|error| failed(&error))?;
            self.kept.restored().map_err(|error| failed(&error))?;
        }
        Ok(json!({ "off": true, "trusted": self.trusted() }))
    }

    fn trusted(&self) -> usize {
        self.core
            .devices()
            .filter(|d| d.role == Role::Trusted)
            .count()
    }
}

fn done(undone: Undone) -> Result<(), Refusal> {
    if let Some(why) = undone.disk {
        return Err(Refusal::new(format!(
            "not done, for it can not be written down: {why}"
        )));
    }
    if let Some(why) = undone.rules {
        return Err(Refusal::new(format!("written down, but not in force: {why}"))
            .help("the rules from before stay in force; this is tried again every 10 seconds; `stockade guard status`"));
    }
    Ok(())
}
