//! The case: what was noticed is on disk before anything else, and what follows from it goes on until it is done.

mod latch;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stockade_api::helper::{Answer, Refusal, Refused, Weight};
use stockade_api::keys;
use stockade_controls::tamper::{Due, Record, Says, Seen, due, isolated};
use stockade_host::local::Channel;
use stockade_profile::{Profile, Response, Tamper, TamperInput};

use crate::device::Device;
use crate::events::By;
use crate::files;
use crate::refusal::{failed, refused};
pub(crate) use latch::Latch;
pub(crate) use watch::watch;

/// How long the key process may take to destroy what it has: a TPM is slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest reason, in characters.
const REASON: usize = 300;
/// The key that the agent makes for its page before it has a certificate for it.
const OWN_PAGE_KEY: &str = "page-own.pem";
const KEYS: &str = "keys";
const ISOLATION: &str = "isolation";

/// The case, as the helper knows it.
#[derive(Debug)]
pub(crate) struct Case {
    latch: Latch,
    sensors: BTreeMap<String, Says>,
    /// What could not be done, by what it is.
    troubles: BTreeMap<&'static str, String>,
}

impl Case {
    /// What is remembered below this folder. A damaged memory is one of an open case.
    pub(crate) fn open(folder: &Path) -> std::io::Result<Self> {
        Ok(Self {
            latch: Latch::open(folder)?,
            sensors: BTreeMap::new(),
            troubles: BTreeMap::new(),
        })
    }

    /// Remembers it in memory even if the disk fails: what follows must follow.
    fn remember(&mut self, change: impl FnOnce(&mut Record)) {
        let mut record = self.latch.record().clone();
        change(&mut record);
        match self.latch.put(record) {
            Ok(()) => drop(self.troubles.remove("memory")),
            Err(why) => {
                let why = format!("it is not remembered across a restart: {why}");
                self.troubles.insert("memory", why);
            }
        }
    }
}

impl Device {
    /// What is known of the case.
    pub(crate) fn case_seen(&self) -> Seen {
        let case = self.case();
        Seen {
            sensors: case.sensors.clone(),
            record: case.latch.record().clone(),
            troubles: case.troubles.values().cloned().collect(),
        }
    }

    /// The same, if there is anything to tell.
    pub(crate) fn tamper_status(&self) -> Option<Seen> {
        let seen = self.case_seen();
        let told = !seen.sensors.is_empty() || seen.record != Record::default();
        told.then_some(seen)
    }

    fn section(&self) -> Tamper {
        self.profile()
            .map(|profile| profile.tamper.clone())
            .unwrap_or_default()
    }

    /// Other sensors are watched from now on; none has been read.
    fn sensors_are(&self, section: &Tamper) {
        let unread = || Says::Unseen("it is not read yet".to_owned());
        let names = section.inputs.iter().map(ToString::to_string);
        self.case().sensors = names.map(|name| (name, unread())).collect();
    }

    /// A sensor is believed to say this from now on.
    fn sensed(&self, sensor: &str, says: &Says, at: Duration) {
        let mut case = self.case();
        case.sensors.insert(sensor.to_owned(), says.clone());
        match says {
            Says::Open => {
                let (mut fresh, now) = (false, self.now());
                if !case.latch.opened(sensor) {
                    case.remember(|record| fresh = record.opened(sensor, now));
                }
                drop(case);
                if fresh {
                    let says = format!("Its case was opened: {sensor}");
                    self.alarm("tamper-opened", &says);
                    self.forget_look();
                }
            }
            Says::Unseen(why) if case.latch.tells_unseen(sensor, at) => {
                drop(case);
                self.forget_look();
                let says = format!("A sensor of its case says nothing: {sensor}: {why}");
                self.alarm("tamper-unseen", &says);
            }
            Says::Unseen(_) | Says::Closed => (),
        }
    }

    /// Whether nothing but the gateway may be reached.
    pub(crate) fn is_isolated(&self) -> bool {
        let case = self.case();
        let latch = case.latch.record().latch.as_ref();
        latch.is_some_and(|latch| {
            latch.isolated.is_some() || self.section().response.contains(&Response::Isolate)
        })
    }

    /// Does what has to follow from what is remembered; what failed is told, and tried again if it is time for that.
    pub(crate) fn follow_up(&self, again: bool) {
        let due = {
            let case = self.case();
            let due = due(&self.section(), case.latch.record());
            let tries = |what| again || !case.troubles.contains_key(what);
            Due {
                erase: due.erase && tries(KEYS),
                isolate: due.isolate && tries(ISOLATION),
            }
        };
        if due.erase {
            let done = self.erase_keys();
            self.followed(KEYS, "The keys were erased", done, |latch, now| {
                latch.erased = Some(now);
            });
        }
        if due.isolate {
            // A window of UPnP is a trial of its own, in the way of other rules.
            drop(self.recover_upnp());
            let done = self.settle_firewall().map(drop).map_err(|why| why.why);
            let says = "Nothing but the gateway is reached any more";
            self.followed(ISOLATION, says, done, |latch, now| {
                latch.isolated = Some(now);
            });
        } else if again && self.is_isolated() {
            // Whatever somebody else did to the rules meanwhile.
            drop(self.settle_firewall());
        }
    }

    fn followed(
        &self,
        what: &'static str,
        says: &str,
        done: Result<(), String>,
        note: impl FnOnce(&mut stockade_controls::tamper::Latch, u64),
    ) {
        let now = self.now();
        let mut case = self.case();
        match done {
            Ok(()) => {
                case.troubles.remove(what);
                case.remember(|record| {
                    if let Some(latch) = &mut record.latch {
                        note(latch, now);
                    }
                });
                drop(case);
                self.alarm("tamper-response", says);
            }
            Err(why) => {
                let why = format!("{what}: {why}");
                let news = case.troubles.insert(what, why.clone()).as_ref() != Some(&why);
                drop(case);
                if news {
                    self.alarm(
                        "tamper-failed",
                        &format!("What should follow did not: {why}"),
                    );
                }
            }
        }
        self.forget_look();
    }

    /// Every key of the device: those of the key process, and the one of the page that the agent made for itself.
    fn erase_keys(&self) -> Result<(), String> {
        let mut keys = Channel::connect(&self.places.keys_socket(), PATIENCE)
            .map_err(|why| stockade_host::chain(&why))?;
        match keys.call(&keys::Request::EraseAll) {
            Ok(keys::Answer::Done) => (),
            Ok(keys::Answer::Refused(why)) => return Err(why),
            Ok(_) => return Err("the key process answered something else".to_owned()),
            Err(why) => return Err(stockade_host::chain(&why)),
        }
        // The page's certificate goes with its key: the agent would go on showing it.
        let given = format!("{}.pem", keys::Slot::Page);
        for file in [OWN_PAGE_KEY, given.as_str()] {
            let path = self.places.agent_state().join(file);
            files::wipe(&path, self.arguments.agent.0).map_err(|why| why.to_string())?;
        }
        Ok(())
    }

    /// Somebody says that it is looked after. What is open still can not be cleared.
    pub(crate) fn clear_tamper(&self, reason: &str, by: By) -> Result<Answer, Refused> {
        let reason: String = reason.trim().chars().take(REASON).collect();
        if reason.is_empty() {
            return Err(refused(Refusal::Failed, "no reason is given", "say why"));
        }
        let _work = self.work()?;
        let section = self.section();
        if section.inputs.contains(&TamperInput::Chassis) {
            watch::reset_chassis(self.places.root());
            if watch::chassis(self.places.root()) == Ok(false) {
                let name = TamperInput::Chassis.to_string();
                self.case().sensors.insert(name, Says::Closed);
            }
        }
        let mut case = self.case();
        let mut open = case.sensors.iter().filter(|(_, says)| **says == Says::Open);
        if let Some((sensor, _)) = open.next() {
            let why = format!("the case is open: {sensor}");
            return Err(refused(Refusal::Failed, why, "close it first"));
        }
        let mut record = case.latch.record().clone();
        if !record.clear(self.now(), by.name(), &reason) {
            let why = "there is nothing to clear: the case was not opened";
            return Err(refused(Refusal::Failed, why, ""));
        }
        // What cannot be written down stands.
        case.latch.put(record).map_err(|why| failed(&why))?;
        case.troubles.clear();
        drop(case);
        self.forget_look();
        let says = format!("That its case was opened is cleared: {reason}");
        self.note(Weight::Change, by, "tamper-cleared", &says);
        if let Err(why) = self.settle_firewall() {
            self.trouble("firewall", &why.why);
        }
        Ok(Answer::Done)
    }

    /// The profile that lets nothing through but the gateway.
    pub(crate) fn isolated(&self, profile: &Profile) -> Arc<Profile> {
        let settings = &self.settings;
        let by_name = settings.gateway.parse::<std::net::IpAddr>().is_err();
        let out = [settings.mqtt_port, settings.est_port];
        Arc::new(isolated(profile, &out, self.page_port(), by_name))
    }
}
