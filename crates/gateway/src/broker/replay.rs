//! From the journal back to the state it was written from.

use std::collections::BTreeMap;
use std::sync::Arc;

use stockade_mqtt::{SubscriptionId, Version};

use super::message::{Message, Parcel, parse_wire, to_mono};
use super::record::{Fields, Published, Recipient, Record, RecordError, recipients};
use super::retained::Kept;
use super::session::{Held, Will};
use super::subscriptions::Options;
use super::{Broker, Now, Output};
use crate::name::DeviceId;

/// After a crash of the gateway clients have this long to come back before their wills are spoken, in
/// milliseconds: it was not they who were lost.
const WILL_GRACE: u64 = 30_000;

/// Why the journal cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A record this version cannot read.
    #[error("session record {seq}: {source}")]
    Record {
        /// Its position.
        seq: u64,
        /// What is wrong with it.
        source: RecordError,
    },
}

/// Messages met while reading back, so that all who wait for one share it.
#[derive(Debug, Default)]
pub struct Replay {
    messages: BTreeMap<u64, std::sync::Weak<Message>>,
}

impl Broker {
    /// Applies one record of the journal, in the order they were written. Records about what is not
    /// known are skipped: the journal may begin in the middle, what matters was written anew later.
    pub fn handle_replay(
        &mut self,
        replay: &mut Replay,
        seq: u64,
        record: &[u8],
        now: Now,
    ) -> Result<(), ReplayError> {
        let broken = |source| ReplayError::Record { seq, source };
        // Else a gateway that never lives long enough to write a round's worth never frees anything.
        self.round.wrote(record.len() as u64);
        let record = Record::decode(record).map_err(broken)?;
        self.apply(replay, &record, now)
            .ok_or_else(|| broken(RecordError::Malformed(0)))
    }

    fn apply(&mut self, replay: &mut Replay, record: &Record<'_>, now: Now) -> Option<()> {
        match *record {
            Record::Opened {
                sid,
                client,
                v5,
                expiry,
            } => self.reopen(sid, client, v5, expiry)?,
            Record::Ended { sid } => {
                if let Some(&slot) = self.by_sid.get(&sid) {
                    self.drop_session(slot);
                }
            }
            Record::Published(ref published) => self.republish(replay, published, now)?,
            Record::Retained {
                mid,
                qos,
                expires,
                wire,
            } => {
                let message = replay.message(mid, expires, wire, now);
                self.next_mid = self.next_mid.max(mid + 1);
                self.keep(&message, qos)?;
            }
            Record::Session(body) => self.restore(replay, body, now)?,
            Record::Closed { sid, .. }
            | Record::Subscribed { sid, .. }
            | Record::Unsubscribed { sid, .. }
            | Record::Sent { sid, .. }
            | Record::Received { sid, .. }
            | Record::Acked { sid, .. }
            | Record::Released { sid, .. }
            | Record::Dropped { sid, .. }
            | Record::Willed { sid, .. } => {
                if let Some(&slot) = self.by_sid.get(&sid) {
                    self.apply_to(slot, record);
                }
            }
        }
        Some(())
    }

    fn reopen(&mut self, sid: u64, client: &str, v5: bool, expiry: u32) -> Option<()> {
        let slot = if let Some(&slot) = self.by_sid.get(&sid) {
            slot
        } else {
            if let Some(&old) = self.by_client.get(client) {
                self.drop_session(old);
            }
            let id = client.split('/').next()?;
            let policy = Self::unknown_policy(&DeviceId::new(id).ok()?)?;
            let device = self.device_slot(&policy);
            self.open(sid, client, device)
        };
        let session = self.sessions.get_mut(slot)?;
        session.version = if v5 { Version::V5 } else { Version::V311 };
        session.expiry = expiry;
        session.offline_since = 0;
        Some(())
    }

    /// Removes a session without writing that down: the journal knows.
    fn drop_session(&mut self, slot: u32) {
        if let Some(session) = self.sessions.get_mut(slot) {
            session.expiry = 0;
        }
        self.end(slot, &mut Output::default());
    }

    fn republish(&mut self, replay: &mut Replay, p: &Published<'_>, now: Now) -> Option<()> {
        self.next_mid = self.next_mid.max(p.mid + 1);
        let message = replay.message(p.mid, p.expires, p.wire, now);
        if p.packet_id != 0
            && let Some(from) = self.by_sid.get(&p.from).copied()
            && let Some(session) = self.sessions.get_mut(from)
        {
            session.incoming.insert(p.packet_id);
        }
        let (sessions, by_sid) = (&mut self.sessions, &self.by_sid);
        recipients(
            p.to,
            |Recipient {
                 sid,
                 flags,
                 packet_id,
             },
             ids| {
                let Some(session) = by_sid.get(&sid).and_then(|&slot| sessions.get_mut(slot))
                else {
                    return;
                };
                let parcel = Parcel {
                    message: Arc::clone(&message),
                    qos: flags & 3,
                    retain: flags & 4 != 0,
                    ids,
                };
                match packet_id {
                    0 => session.outgoing().enqueue(parcel),
                    id => session.outgoing().relaunch(id, parcel),
                }
            },
        )?;
        if p.retain {
            self.keep(&message, p.qos)
        } else {
            Some(())
        }
    }

    fn keep(&mut self, message: &Arc<Message>, qos: u8) -> Option<()> {
        let publish = parse_wire(&message.wire)?;
        let topic = publish.topic?;
        if publish.payload.is_empty() {
            self.retained.remove(topic.as_str());
        } else {
            let topic: Box<str> = topic.as_str().into();
            self.retained.set(
                &topic,
                Kept {
                    message: Arc::clone(message),
                    qos,
                },
            );
        }
        Some(())
    }

    fn apply_to(&mut self, slot: u32, record: &Record<'_>) {
        match *record {
            Record::Subscribed {
                filter,
                options,
                id,
                ..
            } => {
                let id = SubscriptionId::new(id);
                self.hold(
                    slot,
                    Held {
                        filter: filter.into(),
                        options: Options(options),
                        id,
                    },
                );
                return;
            }
            Record::Unsubscribed { filter, .. } => self.subscriptions.remove(filter, slot),
            _ => {}
        }
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        match *record {
            Record::Unsubscribed { filter, .. } => {
                session.subscriptions.retain(|h| *h.filter != *filter);
            }
            Record::Closed { at, expiry, .. } => {
                session.offline_since = at;
                session.expiry = expiry;
            }
            Record::Sent { mid, packet_id, .. } => {
                let outgoing = session.outgoing();
                if let Some(parcel) = outgoing.take_queued(mid) {
                    outgoing.relaunch(packet_id, parcel);
                }
            }
            Record::Dropped { mid, .. } => drop(session.outgoing().take_queued(mid)),
            Record::Received { packet_id, .. } => {
                let outgoing = session.outgoing();
                let at = outgoing.position(packet_id);
                if let Some(flight) = at.and_then(|at| outgoing.flights.get_mut(at)) {
                    flight.parcel = None;
                }
            }
            Record::Acked { packet_id, .. } => {
                session.outgoing().land(packet_id);
            }
            Record::Released { packet_id, .. } => {
                session.incoming.remove(&packet_id);
            }
            Record::Willed {
                delay, flags, wire, ..
            } => {
                session.will = (!wire.is_empty())
                    .then(|| Box::new(Will::kept(wire.into(), flags & 3, flags & 4 != 0, delay)));
            }
            _ => {}
        }
    }

    /// A whole session, as `compact.rs` writes it.
    fn restore(&mut self, replay: &mut Replay, body: &[u8], now: Now) -> Option<()> {
        let mut f = Fields(body);
        let (sid, client, v5, expiry) = (f.number()?, f.text()?, f.flag()?, f.small()?);
        if let Some(&slot) = self.by_sid.get(&sid) {
            self.drop_session(slot);
        }
        self.reopen(sid, client, v5, expiry)?;
        let slot = *self.by_sid.get(&sid)?;
        self.sessions.get_mut(slot)?.offline_since = f.small()?;
        for _ in 0..f.number()? {
            let held = Held {
                filter: f.text()?.into(),
                options: Options(f.byte()?),
                id: SubscriptionId::new(f.small()?),
            };
            self.hold(slot, held);
        }
        let session = self.sessions.get_mut(slot)?;
        for _ in 0..f.number()? {
            session.incoming.insert(f.small()?);
        }
        let (delay, flags, wire) = (f.small()?, f.byte()?, f.bytes()?);
        session.will = (!wire.is_empty())
            .then(|| Box::new(Will::kept(wire.into(), flags & 3, flags & 4 != 0, delay)));
        for _ in 0..f.number()? {
            let packet_id = f.small()?;
            if f.flag()? {
                let parcel = replay.parcel(&mut f, now)?;
                session.outgoing().launch(packet_id, parcel);
            } else {
                session.outgoing().launch_release(packet_id);
            }
        }
        for _ in 0..f.number()? {
            let parcel = replay.parcel(&mut f, now)?;
            session.outgoing().enqueue(parcel);
        }
        self.next_mid = self.next_mid.max(replay.newest() + 1);
        f.0.is_empty().then_some(())
    }

    /// Everything was read back: sessions get their times again. Call [`Broker::set_policy`] or
    /// [`Broker::revoke`] for each of [`Broker::devices`] next; until then they may do nothing.
    pub fn finish_replay(&mut self, out: &mut Output) {
        let all: Vec<u32> = self.sessions.iter().map(|(slot, _)| slot).collect();
        for slot in all {
            let Some(session) = self.sessions.get_mut(slot) else {
                continue;
            };
            let (sid, expiry) = (session.sid, session.expiry);
            if expiry == 0 {
                self.drop_session(slot);
                continue;
            }
            let was_connected = session.offline_since == 0;
            if was_connected {
                session.offline_since = out.now.unix;
            }
            let since = to_mono(session.offline_since, out.now);
            let end = since + u64::from(expiry) * 1_000;
            let delay = session
                .will
                .as_ref()
                .map(|w| u64::from(w.delay.min(expiry)) * 1_000);
            if was_connected {
                let _written = self.journal(
                    &Record::Closed {
                        sid,
                        at: out.now.unix,
                        expiry,
                    },
                    out,
                );
            }
            self.schedule_end(slot, end.max(out.now.mono));
            if let Some(delay) = delay {
                let due = since + delay;
                self.schedule_will_at(
                    slot,
                    due.max(out.now.mono + WILL_GRACE)
                        .min(end.max(out.now.mono)),
                );
            }
        }
        let kept = self.retained.len() as u64;
        self.counters
            .retained
            .store(kept, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Replay {
    fn message(&mut self, mid: u64, expires: i64, wire: &[u8], now: Now) -> Arc<Message> {
        if let Some(known) = self.messages.get(&mid).and_then(std::sync::Weak::upgrade) {
            return known;
        }
        // Read back, it is on disk: nothing waits for it any more.
        let message = Arc::new(Message {
            mid,
            seq: 0,
            expires: to_mono(expires, now),
            wire: wire.into(),
        });
        self.messages.insert(mid, Arc::downgrade(&message));
        if self.messages.len().is_multiple_of(4_096) {
            self.messages
                .retain(|_, message| message.strong_count() > 0);
        }
        message
    }

    fn parcel(&mut self, f: &mut Fields<'_>, now: Now) -> Option<Parcel> {
        let (mid, expires, flags) = (f.number()?, f.small()?, f.byte()?);
        let ids = f.ids()?;
        let message = self.message(mid, expires, f.bytes()?, now);
        Some(Parcel {
            message,
            qos: flags & 3,
            retain: flags & 4 != 0,
            ids,
        })
    }

    fn newest(&self) -> u64 {
        self.messages.last_key_value().map_or(0, |(&mid, _)| mid)
    }
}
