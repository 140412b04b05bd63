//! What the broker has for a device becomes answers and notifications (RFC 7641), repeated until they are acknowledged.

use stockade_link::coap::exchange::{ACK_TIMEOUT, MAX_RETRANSMIT};
use stockade_link::coap::message::{Code, Type};
use stockade_link::coap::option;
use stockade_link::oscore::To;
use stockade_mqtt::PacketId;

use super::active::{Flying, Observed, Pending, Waiting, What};
use super::bearer::{Datagram, Place};
use super::blocks::{first, uint};
use super::core::Core;
use super::guest::{Came, WINDOW};
use super::resources::{code, observe};
use crate::broker::{Broker, Now, Output};

/// How long a device that says nothing keeps what only an active one has, in milliseconds: longer than it repeats a request.
pub(super) const IDLE: u64 = 120_000;

impl Core {
    /// Takes what the broker has for a device.
    pub(super) fn collect(
        &mut self,
        slot: u32,
        broker: &mut Broker,
        durable: u64,
        out: &mut Output,
    ) {
        let waker = self.waker(slot);
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        let Some(guest) = active.and_then(|active| active.guest.as_ref()) else {
            return;
        };
        let (came, park) = guest.take(durable, &waker);
        if let Some(position) = park {
            let outbox = std::sync::Arc::clone(guest.outbox());
            self.parked.push((outbox, position));
        }
        for one in came {
            match one {
                Came::Answer(packet, reason) => {
                    let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
                    let Some(active) = active else { return };
                    let at = active.pending.iter().position(|p| p.packet == packet);
                    if let Some(at) = at {
                        let pending = active.pending.remove(at);
                        self.settle(slot, pending, reason, out.now);
                    }
                }
                Came::Message { id, topic, payload } => {
                    self.put(slot, id, topic.into(), payload);
                }
                Came::Ended => {
                    let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
                    let Some(active) = active else { return };
                    let pending = std::mem::take(&mut active.pending);
                    if let Some(guest) = active.forget_guest() {
                        guest.leave(broker, out);
                    }
                    self.find_flying(slot);
                    for mut one in pending {
                        let refused = (Code::SERVICE_UNAVAILABLE, &[][..], &[][..]);
                        self.answer(slot, one.to, &mut one.owed, refused, out.now.mono);
                    }
                    return;
                }
            }
        }
        self.notify(slot, out.now.mono);
    }

    fn put(&mut self, slot: u32, id: Option<PacketId>, topic: Box<str>, payload: Vec<u8>) {
        let etag = self.fresh_etag();
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        let Some(active) = active else { return };
        // Those with an identifier the broker bounds; of the others the oldest gives way.
        if id.is_none()
            && active.inbox.iter().filter(|w| w.id.is_none()).count() >= usize::from(WINDOW)
        {
            let oldest = active.inbox.iter().position(|w| w.id.is_none());
            let _gone = oldest.and_then(|at| active.inbox.remove(at));
        }
        active.inbox.push_back(Waiting {
            id,
            topic,
            payload,
            etag,
            told: false,
        });
    }

    /// The broker has done what a request asked for, or refused it.
    fn settle(&mut self, slot: u32, pending: Pending, reason: stockade_mqtt::ReasonCode, now: Now) {
        let Pending {
            to,
            mut owed,
            what,
            separate,
            ..
        } = pending;
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        let Some(active) = active else { return };
        let to = if separate {
            // It was acknowledged already: not repeated, as the device asks again if it does not come.
            To {
                kind: Type::NonConfirmable,
                id: active.fresh_id(),
                token: to.token,
            }
        } else {
            to
        };
        let refused = reason.is_error();
        match what {
            What::Publish { too_large, block } => {
                // With the block and its "more", a refusal would ask for the next (RFC 7959, section 2.3).
                let value = block.filter(|_| !refused).map(uint);
                let options: Vec<(u16, &[u8])> = value
                    .iter()
                    .map(|value| (option::BLOCK1, value.as_slice()))
                    .collect();
                let answer = (code(reason, too_large), &options[..], &[][..]);
                self.answer(slot, to, &mut owed, answer, now.mono);
            }
            What::Observe(_) | What::Get { .. } if refused => {
                let answer = (code(reason, false), &[][..], &[][..]);
                self.answer(slot, to, &mut owed, answer, now.mono);
            }
            What::Observe(topic) => {
                active.topics.push(topic.clone());
                let sequence = self.sequence();
                let options = [(option::OBSERVE, sequence.as_slice())];
                let answer = (Code::CONTENT, &options[..], &[][..]);
                if self.answer(slot, to, &mut owed, answer, now.mono).is_some()
                    && let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut())
                {
                    let token = to.token;
                    observe(&mut active.observed, Observed { topic, token, owed });
                }
            }
            What::Get { topic, block } => {
                active.topics.push(topic.clone());
                self.give_oldest((slot, to), &mut owed, &topic, block, now.mono);
            }
        }
    }

    /// The place of a notification among the others (RFC 7641, section 4.4). Inside, OSCORE has one of its own; CoAP is looked at
    /// first.
    fn sequence(&mut self) -> Vec<u8> {
        uint(self.fresh_etag() & 0x00ff_ffff)
    }

    /// Sends the next message to a device that observes its topic, if none is on its way.
    fn notify(&mut self, slot: u32, now: u64) {
        let sequence = self.sequence();
        let Some(session) = self.peers.get(slot) else {
            return;
        };
        let Some(active) = session.active.as_mut() else {
            return;
        };
        if active.asleep || active.flying.is_some() {
            return;
        }
        let Some((at, etag, topic, payload)) = active.news() else {
            return;
        };
        let id = active.fresh_id();
        let mut observed = active.observed.remove(at);
        let (block, part) = first(payload.len(), None);
        let more = block.is_some();
        if more {
            self.keep(slot, &topic, &payload, etag);
        }
        let number = etag.to_be_bytes();
        let block = block.map(|block| uint(block.value()));
        let mut options: Vec<(u16, &[u8])> =
            vec![(option::ETAG, &number), (option::OBSERVE, &sequence)];
        if let Some(block) = &block {
            options.push((option::BLOCK2, block));
        }
        let to = To {
            kind: Type::Confirmable,
            id,
            token: observed.token,
        };
        let sent = self.answer(
            slot,
            to,
            &mut observed.owed,
            (
                Code::CONTENT,
                &options,
                payload.get(part).unwrap_or_default(),
            ),
            now,
        );
        let token = observed.token;
        let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut()) else {
            return;
        };
        active.observed.push(observed);
        let Some(bytes) = sent else { return };
        let next = now + ACK_TIMEOUT;
        active.flying = Some(Flying {
            id,
            bytes,
            tries: 0,
            next,
            etag,
            token,
            more,
        });
        self.find_flying(slot);
        self.schedule(slot, next);
    }

    /// A notification is found by where the device is now, and what was found before is forgotten.
    pub(super) fn find_flying(&mut self, slot: u32) {
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        let Some(active) = active else { return };
        let now = active.flying.as_ref().map(|it| (active.place, it.id));
        if let Some(before) = std::mem::replace(&mut active.found_by, now) {
            self.flying.remove(&before);
        }
        self.flying.extend(now.map(|now| (now, slot)));
    }

    /// A device acknowledged a notification: it is the broker's no more.
    pub(super) fn acknowledged(&mut self, place: Place, id: u16) {
        let Some(slot) = self.flying.remove(&(place, id)) else {
            return;
        };
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        let Some(active) = active else { return };
        // What is not on its way any more may be acknowledged late.
        let Some(flying) = active.flying.take_if(|it| it.id == id) else {
            return;
        };
        let waiting = active.inbox.iter_mut().find(|it| it.etag == flying.etag);
        match waiting {
            Some(waiting) if flying.more => waiting.told = true,
            _ => self.arrived.push((slot, flying.etag)),
        }
    }

    /// A device does not want a notification: it is told of the topic no more (RFC 7641, section 3.6).
    pub(super) fn refused_notification(&mut self, place: Place, id: u16) {
        let Some(slot) = self.flying.remove(&(place, id)) else {
            return;
        };
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        let Some(active) = active else { return };
        if let Some(flying) = active.flying.take_if(|it| it.id == id) {
            active.observed.retain(|it| it.token != flying.token);
        }
    }

    /// What arrived is confirmed to the broker, and the next is sent.
    pub(super) fn confirm_arrived(&mut self, broker: &mut Broker, out: &mut Output) {
        for (slot, etag) in std::mem::take(&mut self.arrived) {
            self.confirm(slot, etag, broker, out);
            self.notify(slot, out.now.mono);
        }
    }

    /// A device's time has come: its notification is repeated, or it is found to be asleep, or idle.
    pub(super) fn due(&mut self, slot: u32, broker: &mut Broker, out: &mut Output) {
        let now = out.now.mono;
        let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut()) else {
            return;
        };
        let place = active.place;
        if let Some(flying) = &mut active.flying
            && flying.next <= now
        {
            if flying.tries < MAX_RETRANSMIT {
                flying.tries += 1;
                flying.next = now + (ACK_TIMEOUT << flying.tries);
                let bytes = flying.bytes.clone();
                self.out.push(Datagram { place, bytes });
            } else {
                // It stays in the inbox until the device is heard.
                active.flying = None;
                active.asleep = true;
                self.find_flying(slot);
            }
        }
        let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut()) else {
            return;
        };
        let idle =
            active.flying.is_none() && active.pending.is_empty() && now >= active.heard + IDLE;
        if idle && active.observed.is_empty() {
            let gone = self.peers.get(slot).and_then(|s| s.active.take());
            if let Some(gone) = gone {
                self.drop_active(slot, *gone);
            }
            return;
        }
        if idle && active.asleep {
            // What it observes is remembered, and what comes meanwhile waits at the broker.
            if let Some(guest) = active.forget_guest() {
                guest.leave(broker, out);
            }
        } else if let Some(guest) = &active.guest {
            guest.heard(broker, out);
        }
        let next = active
            .flying
            .as_ref()
            .map_or(now + IDLE, |flying| flying.next);
        self.schedule(slot, next.max(now + 1));
    }
}
