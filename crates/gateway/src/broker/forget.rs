//! Forgetting a device: its sessions, and what it published, from memory and by the journal.

use stockade_mqtt::{Delivery, Publish, PublishProperties, ReasonCode, TopicFilterBuf, TopicName};
use stockade_profile::Profile;
use stockade_store::BusError;

use super::message::{Message, put_wire};
use super::outbox::Closing;
use super::record::Record;
use super::{Broker, Output};
use crate::name::DeviceName;

/// Retained messages that are looked at in one step.
const RETAINED: usize = 1_024;
/// Messages of sessions that are looked at in one step, about.
const WAITING: usize = 16_384;

/// Which messages are a device's.
#[derive(Debug)]
pub struct Whose {
    device: DeviceName,
    /// As it stands behind a message.
    publisher: String,
    /// What no other device publishes to or hears, by their profile.
    own: Vec<TopicFilterBuf>,
}

/// What the broker had of a device, and has no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Its sessions, with their subscriptions.
    pub sessions: u64,
    /// Its wills that were not spoken.
    pub wills: u64,
    /// Copies of messages that waited for it, or for others if it had published them.
    pub waiting: u64,
    /// Retained messages.
    pub retained: u64,
    /// Whether the files of the journal that had any of it are gone.
    pub cleared: bool,
}

/// How far the forgetting is.
#[derive(Debug)]
pub(crate) struct Forgetting {
    whose: Whose,
    at: At,
    pub(crate) gone: Forgotten,
}

/// In this order: nothing comes to where the walk has been.
#[derive(Debug)]
enum At {
    /// The device's sessions, from which more would come.
    Own,
    /// Retained messages after this topic, which whoever subscribes would get.
    Retained(Option<Box<str>>),
    /// Sessions from this slot on.
    Waiting(u32),
    Done,
}

impl Whose {
    /// What is `device`'s: what it published, and what is on the topics in which `profile`, that of its model, has its name.
    pub fn new(device: DeviceName, profile: Option<&Profile>) -> Self {
        Self {
            publisher: device.to_string(),
            own: profile.map_or_else(Vec::new, |profile| own_topics(profile, device.id.as_str())),
            device,
        }
    }

    fn is(&self, message: &Message) -> bool {
        message.publisher() == self.publisher.as_bytes()
            || message.topic().is_some_and(|topic| {
                let mut own = self.own.iter();
                own.any(|filter| filter.borrow().matches(topic))
            })
    }
}

impl Forgetting {
    pub(crate) fn new(whose: Whose) -> Self {
        Self {
            whose,
            at: At::Own,
            gone: Forgotten::default(),
        }
    }
}

impl Broker {
    /// One step; true when all is done. What the journal does not take is not forgotten: the step is to be repeated.
    pub(crate) fn forget(
        &mut self,
        forgetting: &mut Forgetting,
        out: &mut Output,
    ) -> Result<bool, BusError> {
        let Forgetting { whose, at, gone } = forgetting;
        *at = match at {
            At::Own => {
                self.forget_sessions(whose, gone, out)?;
                At::Retained(None)
            }
            At::Retained(after) => {
                match self.forget_retained(whose, after.as_deref(), gone, out)? {
                    Some(last) => At::Retained(Some(last)),
                    None => At::Waiting(0),
                }
            }
            At::Waiting(from) => match self.forget_waiting(whose, *from, gone, out)? {
                Some(next) => At::Waiting(next),
                None => At::Done,
            },
            At::Done => At::Done,
        };
        Ok(matches!(at, At::Done))
    }

    /// Ends the device's sessions, the connections with them; it may come again, as somebody new.
    fn forget_sessions(
        &mut self,
        whose: &Whose,
        gone: &mut Forgotten,
        out: &mut Output,
    ) -> Result<(), BusError> {
        let slot = self.by_device.get(&whose.device.id);
        let found = slot.and_then(|&slot| self.devices.get(slot));
        let Some(found) = found.filter(|found| *found.policy.device() == whose.device) else {
            return Ok(());
        };
        for slot in found.sessions.clone() {
            let Some(session) = self.sessions.get(slot) else {
                continue;
            };
            let (sid, will) = (session.sid, session.will.is_some());
            let waiting = session.outgoing.as_ref().map_or(0, |outgoing| {
                let flying = outgoing.flights.iter().filter(|it| it.parcel.is_some());
                outgoing.queue.len() + flying.count()
            });
            if session.durable() {
                self.journal(&Record::Ended { sid }, out)?;
            }
            // Not spoken: it would be in all the places again from which the rest is taken.
            self.forget_will(slot, out);
            let reason = ReasonCode::AdministrativeAction;
            self.close(slot, reason, Closing::Abort, out);
            self.end(slot, out);
            gone.sessions += 1;
            gone.wills += u64::from(will);
            gone.waiting += waiting as u64;
        }
        Ok(())
    }

    /// Looks at some retained messages; the topic of the last one, or none if there was none.
    fn forget_retained(
        &mut self,
        whose: &Whose,
        after: Option<&str>,
        gone: &mut Forgotten,
        out: &mut Output,
    ) -> Result<Option<Box<str>>, BusError> {
        let mut last = None;
        for (topic, kept) in self.retained.after(after, RETAINED) {
            if whose.is(&kept.message) {
                // A number of its own: by the one of what goes, reading back would find what goes.
                let mid = self.next_mid;
                let removal = Record::Retained {
                    mid,
                    qos: 0,
                    expires: 0,
                    wire: &nothing_on(&topic),
                };
                self.journal(&removal, out)?;
                self.next_mid += 1;
                self.retained.remove(&topic);
                gone.retained += 1;
            }
            last = Some(topic);
        }
        let kept = self.retained.len() as u64;
        self.counters
            .retained
            .store(kept, std::sync::atomic::Ordering::Relaxed);
        Ok(last)
    }

    /// Looks at some sessions; the next slot, or none after the last one.
    fn forget_waiting(
        &mut self,
        whose: &Whose,
        from: u32,
        gone: &mut Forgotten,
        out: &mut Output,
    ) -> Result<Option<u32>, BusError> {
        let (mut slot, mut looked) = (from, 0);
        while slot < self.sessions.end() && looked < WAITING {
            looked += 1;
            if let Some(session) = self.sessions.get(slot)
                && let Some(outgoing) = &session.outgoing
            {
                looked += outgoing.queue.len() + outgoing.flights.len();
                let durable = session.durable();
                let changes = outgoing.without(session.sid, |message| whose.is(message));
                for change in changes.iter().filter(|_| durable) {
                    self.journal(change, out)?;
                }
                let outgoing = self.sessions.get_mut(slot).map(|it| it.outgoing());
                if let Some(outgoing) = outgoing.filter(|_| !changes.is_empty()) {
                    outgoing.drop_all(|message| whose.is(message));
                }
                gone.waiting += changes.len() as u64;
            }
            slot += 1;
        }
        Ok((slot < self.sessions.end()).then_some(slot))
    }
}

fn own_topics(profile: &Profile, id: &str) -> Vec<TopicFilterBuf> {
    let comms = &profile.comms;
    let publish = comms.publish.iter().map(|rule| &rule.topic);
    let subscribe = comms.subscribe.iter().map(|rule| &rule.topic);
    publish
        .chain(subscribe)
        .filter(|template| template.names_device())
        .map(|template| template.expand(id))
        .chain([format!("stockade/{id}/#")])
        .filter_map(|filter| TopicFilterBuf::new(filter).ok())
        .collect()
}

/// The kept form of an empty message, which takes away what is retained on its topic.
fn nothing_on(topic: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    if let Ok(topic) = TopicName::new(topic) {
        let publish = Publish {
            delivery: Delivery::AtMostOnce,
            retain: false,
            topic: Some(topic),
            properties: PublishProperties::default(),
            payload: &[],
        };
        put_wire(&publish, None, &mut wire);
    }
    wire
}
