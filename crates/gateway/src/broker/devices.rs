//! Devices: the policy of each, what it has used of its rates, and what a change does to its sessions.

use std::sync::Arc;

use stockade_mqtt::{ReasonCode, TopicName};
use stockade_profile::{Control, Rate};
use stockade_store::{BusError, Stream, telemetry};

use super::clone::{self, Sightings};
use super::counters::{add, bump};
use super::message::Message;
use super::outbox::Closing;
use super::record::Record;
use super::{Broker, Handle, Now, Output, Report};
use crate::name::{DeviceId, DeviceName};
use crate::policy::Policy;

/// One device that has sessions.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) policy: Arc<Policy>,
    /// One bucket a publish rule of the policy, shared by all sessions of the device.
    buckets: Box<[Bucket]>,
    pub(crate) sessions: Vec<u32>,
    /// Its connections come from more than one address.
    pub(crate) spread: bool,
    pub(crate) sightings: Option<Box<Sightings>>,
    /// When it was last told that its key is cloned.
    cloned: Option<u64>,
}

/// A rate limit's state: the generic cell rate algorithm (ITU-T I.371), in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    arrival: u64,
}

/// The time one publish takes up.
fn step(rate: Rate) -> u64 {
    u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX) / u64::from(rate.count.max(1))
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: u64) -> bool {
        let now = now.saturating_mul(1_000_000);
        let per = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        let step = step(rate);
        let arrival = self.arrival.max(now);
        if rate.count == 0 || arrival - now > per.saturating_sub(step) {
            return false;
        }
        self.arrival = arrival.saturating_add(step);
        true
    }
}

impl Device {
    fn new(policy: Arc<Policy>) -> Self {
        let buckets = vec![Bucket::default(); policy.rules()].into();
        Self {
            policy,
            buckets,
            sessions: Vec::new(),
            spread: false,
            sightings: None,
            cloned: None,
        }
    }

    pub(crate) fn id(&self) -> &DeviceId {
        &self.policy.device().id
    }

    /// Whether a cloned key is news: two keepers that go on quarrelling in quarantine are told once in a while, not at
    /// every turn.
    fn tell_cloned(&mut self, now: u64) -> bool {
        let news = self
            .cloned
            .is_none_or(|told| now.saturating_sub(told) > clone::WINDOW);
        if news {
            self.cloned = Some(now);
        }
        news
    }

    /// Takes back what `within_rate` counted last.
    pub(crate) fn give_back(&mut self, rule: usize) {
        if let (Some(rate), Some(bucket)) = (self.policy.rate(rule), self.buckets.get_mut(rule)) {
            bucket.arrival = bucket.arrival.saturating_sub(step(rate));
        }
    }

    /// Counts one publish under rule number `rule`; false when that is too many.
    pub(crate) fn within_rate(&mut self, rule: usize, now: Now) -> bool {
        match (self.policy.rate(rule), self.buckets.get_mut(rule)) {
            (None, _) => true,
            (Some(rate), Some(bucket)) => bucket.take(rate, now.mono),
            (Some(_), None) => false,
        }
    }
}

impl Broker {
    /// The slot of a device, made if there is none, with the policy given.
    pub(crate) fn device_slot(&mut self, policy: &Arc<Policy>) -> u32 {
        let id = &policy.device().id;
        if let Some(&slot) = self.by_device.get(id) {
            return slot;
        }
        let slot = self.devices.insert(Device::new(Arc::clone(policy)));
        self.by_device.insert(id.clone(), slot);
        slot
    }

    /// The record for the vault or for judgement of what a device publishes, if the rule says that there is one. What is
    /// for the vault, the bus prepares.
    pub(crate) fn telemetry(
        &mut self,
        device: u32,
        rule: usize,
        (topic, payload): (TopicName<'_>, &[u8]),
        out: &mut Output,
    ) -> Result<Option<(Stream, Vec<u8>)>, BusError> {
        let Some(policy) = self.devices.get(device).map(|found| &found.policy) else {
            return Ok(None);
        };
        let Some((stream, schema)) = policy.kept(rule) else {
            return Ok(None);
        };
        let name = policy.device();
        let record = telemetry::Record {
            v: telemetry::VERSION,
            device: name.id.as_str().into(),
            model: name.model.as_str().into(),
            profile_version: policy.profile_version(),
            schema: schema.into(),
            topic: topic.as_str().into(),
            at_unix_ms: out.now.unix,
            payload: payload.into(),
        };
        let bytes = match stream {
            Stream::Telemetry => self.bus.prepare(&record),
            Stream::Sessions | Stream::Fleet | Stream::Posture => Ok(record.encode()),
        };
        match bytes {
            Ok(bytes) => Ok(Some((stream, bytes))),
            Err(error) => {
                self.tell_refusal(&error, out);
                Err(error)
            }
        }
    }

    /// What a device that has sessions may do now.
    pub(crate) fn policy(&self, device: &DeviceId) -> Option<&Arc<Policy>> {
        let slot = *self.by_device.get(device)?;
        Some(&self.devices.get(slot)?.policy)
    }

    /// The devices that have sessions, and the policy each has now.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.devices.iter().map(|(_, device)| &device.policy)
    }

    /// Applies a changed policy to every session of the device, connected or not: what it may no
    /// longer have is dropped. A device that goes into quarantine or out of it is disconnected.
    pub fn set_policy(&mut self, policy: &Arc<Policy>, out: &mut Output) {
        let Some(&slot) = self.by_device.get(&policy.device().id) else {
            return;
        };
        let Some(device) = self.devices.get_mut(slot) else {
            return;
        };
        if *device.policy == **policy {
            return;
        }
        let zone_changed = device.policy.quarantined() != policy.quarantined();
        if zone_changed && !policy.quarantined() {
            // Released: whoever still quarrels is news again.
            device.cloned = None;
        }
        let known = !device.policy.is_nothing();
        device.policy = Arc::clone(policy);
        device.buckets = vec![Bucket::default(); policy.rules()].into();
        let sessions = device.sessions.clone();
        for session in sessions {
            self.apply_policy(session, policy, out);
            if zone_changed && known {
                let how = if policy.quarantined() {
                    Closing::Abort
                } else {
                    Closing::Orderly
                };
                self.close(session, ReasonCode::AdministrativeAction, how, out);
            }
        }
    }

    fn apply_policy(&mut self, slot: u32, policy: &Policy, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        let (sid, durable) = (session.sid, session.durable());
        let gone: Vec<_> = session
            .subscriptions
            .extract_if(.., |held| !policy.may_subscribe_text(&held.filter))
            .collect();
        session.subscriptions.shrink_to_fit();
        let mut changes = Vec::new();
        if let Some(outgoing) = &mut session.outgoing {
            let denied = |message: &Message| {
                !message
                    .topic()
                    .is_some_and(|topic| policy.may_receive(topic))
            };
            changes = outgoing.without(sid, denied);
            outgoing.drop_all(denied);
            add(&self.counters.refused_delivery, changes.len() as u64);
        }
        for held in &gone {
            self.subscriptions.remove(&held.filter, slot);
            changes.push(Record::Unsubscribed {
                sid,
                filter: &held.filter,
            });
        }
        if durable {
            for change in &changes {
                // What is not written now is found again when the journal is replayed: every
                // policy is applied anew then.
                let _written = self.journal(change, out);
            }
        }
    }

    /// The connections of a device, and the certificate each was made with.
    pub fn certificates(&self, device: &DeviceId) -> Vec<(Handle, [u8; 32])> {
        let found = self
            .by_device
            .get(device)
            .and_then(|&slot| self.devices.get(slot));
        let sessions = found.map(|d| d.sessions.as_slice()).unwrap_or_default();
        sessions
            .iter()
            .filter_map(|&slot| {
                let session = self.sessions.get(slot)?;
                let live = session.live.as_ref()?;
                let handle = Handle {
                    slot,
                    conn: live.conn,
                    version: session.version,
                };
                Some((handle, live.fingerprint))
            })
            .collect()
    }

    /// Ends a connection whose certificate is not good any more; the session stays.
    pub fn close_unauthorized(&mut self, handle: Handle, out: &mut Output) {
        if self.live(handle).is_some() {
            self.close(handle.slot, ReasonCode::NotAuthorized, Closing::Abort, out);
        }
    }

    /// Ends every session of a device at once and forgets it; nothing more leaves to it.
    pub fn revoke(&mut self, device: &DeviceId, out: &mut Output) {
        let Some(&slot) = self.by_device.get(device) else {
            return;
        };
        let sessions = self
            .devices
            .get(slot)
            .map(|d| d.sessions.clone())
            .unwrap_or_default();
        for session in sessions {
            // The last word of a device that is not trusted any more is not spoken.
            self.forget_will(session, out);
            self.close(session, ReasonCode::NotAuthorized, Closing::Abort, out);
            self.end(session, out);
        }
    }

    /// Takes a session from its device. A device without sessions stays until it is swept: a clone
    /// hunted or a rate used up must not be forgotten by reconnecting.
    pub(crate) fn leave_device(&mut self, device: u32, session: u32) {
        if let Some(found) = self.devices.get_mut(device) {
            found.sessions.retain(|&s| s != session);
        }
    }

    /// Forgets devices without sessions whose rates have recovered and whose sightings are old.
    pub(crate) fn sweep_devices(&mut self, now: Now) {
        let horizon = now.mono.saturating_mul(1_000_000);
        let gone: Vec<(u32, DeviceId)> = self
            .devices
            .iter()
            .filter(|(_, d)| {
                d.sessions.is_empty() && d.buckets.iter().all(|b| b.arrival <= horizon)
            })
            .filter(|(_, d)| d.sightings.as_ref().is_none_or(|s| s.old(now.mono)))
            .map(|(slot, d)| (slot, d.id().clone()))
            .collect();
        for (slot, id) in gone {
            self.by_device.remove(&id);
            self.devices.remove(slot);
        }
    }

    /// Finds out anew whether the device's connections come from more than one address.
    pub(crate) fn update_spread(&mut self, device: u32) {
        let Some(found) = self.devices.get(device) else {
            return;
        };
        let sessions = &self.sessions;
        let mut addresses = found
            .sessions
            .iter()
            .filter_map(|&s| sessions.get(s)?.live.as_ref())
            .map(|live| live.peer.ip());
        let first = addresses.next();
        let spread = addresses.any(|ip| Some(ip) != first);
        if let Some(found) = self.devices.get_mut(device) {
            found.spread = spread;
        }
    }

    /// A connection was heard while its device has others from other addresses: see `clone.rs`.
    pub(crate) fn heard_beside_others(&mut self, slot: u32, out: &mut Output) {
        let Some(session) = self.sessions.get(slot) else {
            return;
        };
        let Some(live) = &session.live else { return };
        let (conn, ip, mut suspected) = (live.conn, live.peer.ip(), live.suspected);
        let Some(device) = self.devices.get(session.device) else {
            return;
        };
        let newer = device
            .sessions
            .iter()
            .filter_map(|&s| self.sessions.get(s)?.live.as_ref())
            .filter(|other| other.peer.ip() != ip && other.conn > conn)
            .max_by_key(|other| other.conn);
        let Some(newer) = newer else { return };
        let (of, newer) = (session.device, (newer.peer, newer.connected));
        if clone::side_by_side(&mut suspected, newer.1, out.now.mono)
            && let Some(device) = self.devices.get_mut(of)
            && device.tell_cloned(out.now.mono)
        {
            out.reports.push(Report::Cloned {
                device: device.id().clone(),
                peer: newer.0,
                reason: format!(
                    "cloned key: {} and {} use its certificate at the same time",
                    ip,
                    newer.0.ip()
                ),
            });
        }
        if let Some(live) = self.sessions.get_mut(slot).and_then(|s| s.live.as_mut()) {
            live.suspected = suspected;
        }
    }

    /// A connection displaced by a newer one showed that its peer lives.
    pub fn handle_displaced_alive(
        &mut self,
        device: &DeviceId,
        peer: std::net::SocketAddr,
        out: &Output,
    ) {
        let Some(&slot) = self.by_device.get(device) else {
            return;
        };
        if let Some(device) = self.devices.get_mut(slot) {
            device
                .sightings
                .get_or_insert_default()
                .alive(peer.ip(), out.now.mono);
        }
    }

    /// `new` takes over the session of the living connection from `old`.
    pub(crate) fn displaced(
        &mut self,
        device: u32,
        old: std::net::SocketAddr,
        new: std::net::SocketAddr,
        out: &mut Output,
    ) {
        let Some(device) = self.devices.get_mut(device) else {
            return;
        };
        let Some(sightings) = device.sightings.as_mut() else {
            return;
        };
        if sightings.displaced(old.ip(), new.ip(), out.now.mono) && device.tell_cloned(out.now.mono)
        {
            out.reports.push(Report::Cloned {
                device: device.id().clone(),
                peer: new,
                reason: format!(
                    "cloned key: {} and {} take its session from each other, both alive",
                    old.ip(),
                    new.ip()
                ),
            });
        }
    }

    /// Refuses something for the profile's sake: counted, and told with the rule.
    pub(crate) fn refuse(&mut self, slot: u32, reason: String, out: &mut Output) {
        bump(&self.counters.refused_publish);
        self.violation(slot, Control::Comms, reason, out);
    }

    /// A policy that allows nothing, for a session found in the journal.
    pub(crate) fn unknown_policy(id: &DeviceId) -> Option<Arc<Policy>> {
        let name = DeviceName::new("unknown", id.as_str()).ok()?;
        Some(Arc::new(Policy::nothing(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rate_allows_a_burst_of_its_count_and_then_its_pace() {
        let rate = Rate {
            count: 2,
            per: Duration::from_secs(1),
        };
        let mut bucket = Bucket::default();
        let taken: Vec<_> = [
            1_000, 1_000, 1_000, 1_499, 1_500, 1_501, 2_000, 9_000, 9_000, 9_000,
        ]
        .map(|now| bucket.take(rate, now))
        .into();
        assert_eq!(
            taken,
            [
                true, true, false, false, true, false, true, true, true, false
            ]
        );
    }
}
