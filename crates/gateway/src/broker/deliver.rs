//! From one accepted message to everyone who gets it.

use std::sync::Arc;

use stockade_mqtt::{Publish, SubscriptionId, TopicName};
use stockade_profile::Control;
use stockade_store::{BusError, Stream};

use super::counters::bump;
use super::message::{Copy, Message, Parcel, Put, put_copy, put_wire};
use super::record::{self, Published, Recipient, Record};
use super::retained::Kept;
use super::session::Session;
use super::{Broker, Limits, Now, Output};

/// One recipient of a message, decided before anything is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    slot: u32,
    qos: u8,
    retain: bool,
    /// Where its subscription identifiers are in the list.
    ids: (usize, usize),
    /// The packet identifier to send it with at once; 0 is to queue it (or QoS 0).
    packet_id: u16,
    durable: bool,
}

/// A message on its way in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inbound<'a> {
    /// The message; its topic is known.
    pub(crate) publish: &'a Publish<'a>,
    pub(crate) topic: TopicName<'a>,
    pub(crate) qos: u8,
    /// The session it comes from; 0 is the operator.
    pub(crate) from: u64,
    /// The slot of the device it comes from, if it is not the operator.
    pub(crate) device: Option<u32>,
    /// Its packet identifier, if it is QoS 2.
    pub(crate) packet_id: u16,
    /// The record for the vault or for judgement.
    pub(crate) kept: Option<&'a (Stream, Vec<u8>)>,
    /// Another change that must happen with it or not at all.
    pub(crate) with: Option<&'a Record<'a>>,
}

/// What all recipients of a message share.
struct Load<'a> {
    publish: &'a Publish<'a>,
    /// Subscription identifiers of all recipients.
    ids: &'a [SubscriptionId],
    /// The journal position it waits for.
    seq: u64,
    /// The kept form, if anybody may have to wait for it.
    message: Option<&'a Arc<Message>>,
}

/// What became of a message that was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Routed {
    /// How many get it.
    pub(crate) recipients: usize,
    /// The journal position it waits for; 0 is none.
    pub(crate) seq: u64,
}

impl Session {
    /// Whether a message with QoS > 0 can be sent to it at once.
    pub(crate) fn ready(&self, limits: &Limits) -> bool {
        let Some(live) = &self.live else { return false };
        self.outgoing.as_ref().is_none_or(|o| {
            o.queue.is_empty()
                && o.resend == 0
                && o.flights.len() < usize::from(live.window.min(limits.inflight))
        }) && live.outbox.pending() < limits.outbox_bytes
    }
}

impl Broker {
    /// Takes a message in: journal first, then everyone who gets it. Nothing has changed on an error.
    pub(crate) fn route(
        &mut self,
        inbound: Inbound<'_>,
        out: &mut Output,
    ) -> Result<Routed, BusError> {
        let mut plan = std::mem::take(&mut self.scratch.plan);
        plan.clear();
        let mut ids = Vec::new();
        self.plan(&inbound, &mut plan, &mut ids);
        let keep = inbound.publish.retain;
        let mid = self.next_mid;
        let seq = self.write_down(&inbound, mid, &plan, &ids, out);
        if let Ok(seq) = seq {
            self.next_mid += 1;
            let shared = keep || plan.iter().any(|step| step.qos > 0);
            let message = shared.then(|| {
                Arc::new(Message {
                    mid,
                    seq,
                    expires: expires(inbound.publish, out.now),
                    wire: self.scratch.wire.as_slice().into(),
                })
            });
            if let (true, Some(message)) = (keep, &message) {
                self.retain(inbound.topic, inbound.publish, inbound.qos, message);
            }
            let load = Load {
                publish: inbound.publish,
                ids: &ids,
                seq,
                message: message.as_ref(),
            };
            for step in &plan {
                self.hand_over(step, &load, out);
            }
        }
        let recipients = plan.len();
        self.scratch.plan = plan;
        seq.map(|seq| Routed { recipients, seq })
    }

    /// Decides who gets the message, how, and with which packet identifier.
    fn plan(&mut self, inbound: &Inbound<'_>, plan: &mut Vec<Step>, ids: &mut Vec<SubscriptionId>) {
        let mut entries = std::mem::take(&mut self.scratch.entries);
        entries.clear();
        let (sessions, limits) = (&self.sessions, &self.limits);
        let ready = |slot| sessions.get(slot).is_some_and(|s| s.ready(limits));
        self.subscriptions
            .collect(inbound.topic.as_str(), &mut entries, ready);
        if entries.len() > 1 {
            entries.sort_by_key(|e| e.session);
        }
        let mut rest = entries.as_slice();
        while let Some(first) = rest.first() {
            let n = rest
                .iter()
                .take_while(|e| e.session == first.session)
                .count();
            let (same, others) = rest.split_at(n);
            rest = others;
            let Some(session) = self.sessions.get(first.session) else {
                continue;
            };
            let own = session.sid == inbound.from;
            let mut step = Step {
                slot: first.session,
                qos: 0,
                retain: false,
                ids: (ids.len(), ids.len()),
                packet_id: 0,
                durable: session.durable(),
            };
            let mut wanted = false;
            // Overlapping subscriptions: one copy, with the highest QoS and every identifier
            // [MQTT-3.3.4-2] [MQTT-3.3.4-3].
            for entry in same.iter().filter(|e| !(own && e.options.no_local())) {
                wanted = true;
                step.qos = step.qos.max(entry.options.qos().min(inbound.qos));
                step.retain |= entry.options.retain_as_published() && inbound.publish.retain;
                ids.extend(entry.id);
            }
            step.ids.1 = ids.len();
            if !wanted {
                continue;
            }
            let policy = self.devices.get(session.device).map(|d| &d.policy);
            if !policy.is_some_and(|p| p.may_receive(inbound.topic)) {
                bump(&self.counters.refused_delivery);
                continue;
            }
            if step.qos > 0 && session.ready(&self.limits) {
                step.packet_id = session.outgoing.as_ref().map_or(1, |o| o.peek_id());
            }
            plan.push(step);
        }
        self.scratch.entries = entries;
    }

    /// Writes to the journal what must survive; the kept form of the message is left in `scratch.wire`.
    fn write_down(
        &mut self,
        inbound: &Inbound<'_>,
        mid: u64,
        plan: &[Step],
        ids: &[SubscriptionId],
        out: &mut Output,
    ) -> Result<u64, BusError> {
        let keep = inbound.publish.retain;
        if inbound.qos == 0 && !keep && inbound.kept.is_none() && inbound.with.is_none() {
            return Ok(0);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.wire.clear();
        scratch.to.clear();
        scratch.record.clear();
        let expires = super::message::to_unix(expires(inbound.publish, out.now), out.now);
        if inbound.qos > 0 || keep {
            let by = inbound.device.and_then(|slot| self.devices.get(slot));
            let by = by.map(|device| device.policy.device());
            put_wire(inbound.publish, by, &mut scratch.wire);
        }
        if inbound.qos > 0 {
            for step in plan.iter().filter(|s| s.durable && s.qos > 0) {
                let Some(session) = self.sessions.get(step.slot) else {
                    continue;
                };
                let flags = step.qos | (u8::from(step.retain) << 2);
                let ids = ids.get(step.ids.0..step.ids.1).unwrap_or_default();
                let who = Recipient {
                    sid: session.sid,
                    flags,
                    packet_id: step.packet_id,
                };
                record::put_recipient(&mut scratch.to, &who, ids);
            }
            let published = Published {
                mid,
                from: inbound.from,
                packet_id: inbound.packet_id,
                qos: inbound.qos,
                retain: keep,
                expires,
                wire: &scratch.wire,
                to: &scratch.to,
            };
            Record::Published(published).encode(&mut scratch.record);
        } else if keep {
            Record::Retained {
                mid,
                qos: 0,
                expires,
                wire: &scratch.wire,
            }
            .encode(&mut scratch.record);
        }
        let mut with = Vec::new();
        if let Some(record) = inbound.with {
            record.encode(&mut with);
        }
        let none: &[u8] = &[];
        let kept = inbound
            .kept
            .map_or((Stream::Telemetry, none), |(stream, record)| {
                (*stream, record.as_slice())
            });
        let all = [
            (Stream::Sessions, with.as_slice()),
            (Stream::Sessions, scratch.record.as_slice()),
            kept,
        ];
        let mut used: [(Stream, &[u8]); 3] = all;
        let mut n = 0;
        for record in all.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            if let Some(place) = used.get_mut(n) {
                *place = record;
                n += 1;
            }
        }
        let done = match used.get(..n) {
            Some(records) if !records.is_empty() => self.append(records, out),
            _ => Ok(0),
        };
        self.scratch = scratch;
        // What has QoS 0 waits for nothing, whatever was written for the sake of others.
        done.map(|seq| if inbound.qos == 0 { 0 } else { seq })
    }

    fn retain(&mut self, topic: TopicName<'_>, p: &Publish<'_>, qos: u8, message: &Arc<Message>) {
        if p.payload.is_empty() {
            // [MQTT-3.3.1-6] [MQTT-3.3.1-7]
            self.retained.remove(topic.as_str());
        } else {
            self.retained.set(
                topic.as_str(),
                Kept {
                    message: Arc::clone(message),
                    qos,
                },
            );
        }
        let kept = self.retained.len() as u64;
        self.counters
            .retained
            .store(kept, std::sync::atomic::Ordering::Relaxed);
    }

    fn hand_over(&mut self, step: &Step, load: &Load<'_>, out: &mut Output) {
        let ids = load.ids.get(step.ids.0..step.ids.1).unwrap_or_default();
        if step.qos == 0 {
            let expires = expires(load.publish, out.now);
            let copy = Copy::once(step.retain, ids, expires, load.seq);
            self.send_once(step.slot, load.publish, copy, out);
            return;
        }
        let Some(message) = load.message else { return };
        let parcel = Parcel {
            message: Arc::clone(message),
            qos: step.qos,
            retain: step.retain,
            ids: ids.into(),
        };
        match step.packet_id {
            0 => self.enqueue(step.slot, parcel, out),
            id => self.send(step.slot, parcel, load.publish, (id, load.seq), out),
        }
    }

    /// Sends a copy with QoS 0, or drops it if the reader is slow.
    pub(crate) fn send_once(
        &mut self,
        slot: u32,
        publish: &Publish<'_>,
        copy: Copy<'_>,
        out: &mut Output,
    ) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        let version = session.version;
        let Some(live) = session.live.as_mut() else {
            return;
        };
        if live.outbox.pending() >= self.limits.outbox_bytes {
            bump(&self.counters.dropped_slow);
            return;
        }
        match put_copy(live, version, publish, copy, out.now) {
            Put::Sent(listed) => {
                bump(&self.counters.sent_qos0);
                if listed {
                    out.dirty.push(Arc::clone(&live.outbox));
                }
            }
            Put::TooLarge => bump(&self.counters.dropped_large),
        }
    }

    /// Sends a message with QoS > 0 for the first time, under a packet identifier that is free; it
    /// leaves once the journal position is durable.
    fn send(
        &mut self,
        slot: u32,
        parcel: Parcel,
        publish: &Publish<'_>,
        (packet_id, gate): (u16, u64),
        out: &mut Output,
    ) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        let (sid, durable, version) = (session.sid, session.durable(), session.version);
        let Some(live) = session.live.as_mut() else {
            return;
        };
        let copy = Copy {
            qos: parcel.qos,
            packet_id,
            dup: false,
            retain: parcel.retain,
            ids: &parcel.ids,
            expires: parcel.message.expires,
            gate,
        };
        match put_copy(live, version, publish, copy, out.now) {
            Put::Sent(listed) => {
                bump(match parcel.qos {
                    1 => &self.counters.sent_qos1,
                    _ => &self.counters.sent_qos2,
                });
                if listed {
                    out.dirty.push(Arc::clone(&live.outbox));
                }
                session.outgoing().launch(packet_id, parcel);
            }
            Put::TooLarge => {
                bump(&self.counters.dropped_large);
                if durable {
                    let _written = self.journal(&Record::Acked { sid, packet_id }, out);
                }
            }
        }
    }

    /// Queues a message; the oldest make room when there are too many.
    fn enqueue(&mut self, slot: u32, parcel: Parcel, out: &mut Output) {
        let (most, most_bytes) = (self.limits.queue_messages, self.limits.queue_bytes);
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        let (sid, durable, live) = (session.sid, session.durable(), session.live.is_some());
        let outgoing = session.outgoing();
        outgoing.enqueue(parcel);
        let half_full = outgoing.queue.len() > most / 2 || outgoing.queued_bytes > most_bytes / 2;
        out.congested |= live && half_full;
        let mut dropped = Vec::new();
        while outgoing.queue.len() > most || outgoing.queued_bytes > most_bytes {
            let Some(oldest) = outgoing.dequeue() else {
                break;
            };
            dropped.push(oldest.message.mid);
        }
        for mid in dropped {
            bump(&self.counters.dropped_queue);
            if durable {
                let _written = self.journal(&Record::Dropped { sid, mid }, out);
            }
        }
    }

    /// Sends what waits for a session, as far as its window and its outbox allow.
    pub(crate) fn pump(&mut self, slot: u32, out: &mut Output) {
        self.resend_some(slot, out);
        while let Some(session) = self.sessions.get_mut(slot) {
            let (sid, durable) = (session.sid, session.durable());
            let (Some(live), Some(outgoing)) = (&mut session.live, &mut session.outgoing) else {
                return;
            };
            if outgoing.queue.is_empty() || outgoing.resend > 0 {
                session.tidy();
                return;
            }
            let window = usize::from(live.window.min(self.limits.inflight));
            if outgoing.flights.len() >= window || live.outbox.pending() >= self.limits.outbox_bytes
            {
                return;
            }
            let packet_id = outgoing.peek_id();
            let Some(parcel) = outgoing.dequeue() else {
                return;
            };
            let mid = parcel.message.mid;
            if parcel.message.expired(out.now) {
                bump(&self.counters.dropped_expired);
                if durable {
                    let _written = self.journal(&Record::Dropped { sid, mid }, out);
                }
                continue;
            }
            let mut gate = parcel.message.seq;
            if durable {
                let sent = Record::Sent {
                    sid,
                    mid,
                    packet_id,
                };
                if let Ok(seq) = self.journal(&sent, out) {
                    gate = seq;
                } else {
                    // It waits; time or an acknowledgement tries again.
                    if let Some(session) = self.sessions.get_mut(slot) {
                        session.outgoing().put_back(parcel);
                    }
                    return;
                }
            }
            let message = Arc::clone(&parcel.message);
            if let Some(publish) = message.publish() {
                self.send(slot, parcel, &publish, (packet_id, gate), out);
            }
        }
    }

    /// A violation of `[comms]` by a session's client.
    pub(crate) fn comms_violation(&self, slot: u32, reason: String, out: &mut Output) {
        self.violation(slot, Control::Comms, reason, out);
    }
}

/// When a message expires (monotonic milliseconds); 0 is never.
pub(crate) fn expires(publish: &Publish<'_>, now: Now) -> u64 {
    publish
        .properties
        .message_expiry
        .map_or(0, |s| now.mono + u64::from(s) * 1_000)
}
