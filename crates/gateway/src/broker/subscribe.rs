//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5 §3.8 to §3.11).

use std::sync::Arc;

use stockade_mqtt::{
    AckProperties, ReasonCode, RetainHandling, SubAck, Subscribe, Subscription, SubscriptionId,
    TopicFilter, UnsubAck, Unsubscribe,
};

use super::counters::bump;
use super::message::{Copy, Parcel};
use super::record::Record;
use super::session::Held;
use super::subscriptions::{Entry, Options};
use super::{Broker, Flow, Handle, Output};

impl Broker {
    /// A SUBSCRIBE of a client: each filter on its own [MQTT-3.8.4-5].
    pub(crate) fn subscribe(
        &mut self,
        handle: Handle,
        packet: &Subscribe<'_>,
        out: &mut Output,
    ) -> Flow {
        if !self.answer_fits(handle, packet.subscriptions.len()) {
            return self.protocol_error(handle, ReasonCode::PacketTooLarge, out);
        }
        let id = packet.properties.subscription_id;
        let mut reasons = Vec::with_capacity(packet.subscriptions.len());
        let mut retained = Vec::new();
        let mut gate = 0;
        for subscription in packet.subscriptions.iter() {
            match self.subscribe_one(handle, &subscription, id, out) {
                Ok((reason, fresh, seq)) => {
                    reasons.push(reason);
                    gate = gate.max(seq);
                    let wanted = match subscription.retain_handling {
                        RetainHandling::Send => true,
                        RetainHandling::SendIfNew => fresh,
                        RetainHandling::DoNotSend => false,
                    };
                    // §4.8.2: a shared subscription gets no retained messages.
                    if wanted && !reason.is_error() && subscription.filter.group().is_none() {
                        retained.push((subscription.filter.filter(), subscription));
                    }
                }
                Err(Flow::Retry) => return Flow::Retry,
                Err(flow) => return flow,
            }
        }
        let answer = SubAck {
            id: packet.id,
            properties: AckProperties::default(),
            reasons: reasons.as_slice().into(),
        };
        let flow = self.answer(handle, gate, out, |bytes| {
            answer.encode(handle.version, bytes)
        });
        if flow != Flow::Continue {
            return flow;
        }
        for (filter, subscription) in retained {
            self.send_retained(handle, filter, &subscription, id, out);
        }
        Flow::Continue
    }

    /// Whether the client takes an answer with that many reason codes: no larger packet may be sent
    /// [MQTT-3.1.2-24].
    fn answer_fits(&mut self, handle: Handle, codes: usize) -> bool {
        let live = self.live(handle).and_then(|session| session.live.as_ref());
        // First byte, remaining length, packet identifier, no properties, the codes.
        let rest = codes.saturating_add(3);
        let length = match rest {
            0..=0x7F => 1,
            0x80..=0x3FFF => 2,
            0x4000..=0x1F_FFFF => 3,
            _ => 4,
        };
        let size = u32::try_from(rest + length + 1).unwrap_or(u32::MAX);
        live.is_none_or(|live| size <= live.max_packet)
    }

    /// The reason code, whether the subscription is new, and the journal position to wait for.
    fn subscribe_one(
        &mut self,
        handle: Handle,
        wanted: &Subscription<'_>,
        id: Option<SubscriptionId>,
        out: &mut Output,
    ) -> Result<(ReasonCode, bool, u64), Flow> {
        let most = self.limits.subscriptions;
        let session = self.live(handle).ok_or(Flow::Close)?;
        let text = wanted.filter.as_str();
        let (sid, device, durable) = (session.sid, session.device, session.durable());
        let known = session
            .subscriptions
            .iter()
            .position(|held| *held.filter == *text);
        let full = known.is_none() && session.subscriptions.len() >= most;
        let policy = self
            .devices
            .get(device)
            .map(|d| Arc::clone(&d.policy))
            .ok_or(Flow::Close)?;
        // In 3.1.1 `$share/…` is an ordinary filter below `$`, and so closed.
        if text.starts_with('$') && wanted.filter.group().is_none()
            || !policy.may_subscribe(wanted.filter.filter())
        {
            bump(&self.counters.refused_subscribe);
            let allowed = policy.subscribes();
            let reason = format!("subscribes to `{text}`, its profile allows only {allowed}");
            self.comms_violation(handle.slot, reason, out);
            return Ok((ReasonCode::NotAuthorized, false, 0));
        }
        if full {
            bump(&self.counters.refused_subscribe);
            let reason = format!("asks for more than {most} subscriptions");
            self.comms_violation(handle.slot, reason, out);
            return Ok((ReasonCode::QuotaExceeded, false, 0));
        }
        let options = Options::new(
            wanted.qos.as_u8(),
            wanted.no_local,
            wanted.retain_as_published,
        );
        let mut gate = 0;
        if durable {
            let number = id.map_or(0, SubscriptionId::get);
            let record = Record::Subscribed {
                sid,
                filter: text,
                options: options.0,
                id: number,
            };
            match self.journal(&record, out) {
                Ok(seq) => gate = seq,
                Err(stockade_store::BusError::Full) => return Err(Flow::Retry),
                Err(_) => return Ok((ReasonCode::QuotaExceeded, false, 0)),
            }
        }
        self.hold(
            handle.slot,
            Held {
                filter: text.into(),
                options,
                id,
            },
        );
        let granted = match wanted.qos.as_u8() {
            0 => ReasonCode::Success,
            1 => ReasonCode::GrantedQoS1,
            _ => ReasonCode::GrantedQoS2,
        };
        Ok((granted, known.is_none(), gate))
    }

    /// Adds a subscription to a session, or replaces it [MQTT-3.8.4-3].
    pub(crate) fn hold(&mut self, slot: u32, held: Held) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        let entry = Entry {
            session: slot,
            options: held.options,
            id: held.id,
        };
        self.subscriptions.insert(&held.filter, entry);
        let mut known = session.subscriptions.iter_mut();
        if let Some(old) = known.find(|h| h.filter == held.filter) {
            *old = held;
        } else {
            session.subscriptions.reserve_exact(1);
            session.subscriptions.push(held);
        }
    }

    fn send_retained(
        &mut self,
        handle: Handle,
        filter: TopicFilter<'_>,
        subscription: &Subscription<'_>,
        id: Option<SubscriptionId>,
        out: &mut Output,
    ) {
        let ids: Box<[SubscriptionId]> = id.into_iter().collect();
        for kept in self.retained.matching(filter) {
            let Some(publish) = kept.message.publish() else {
                continue;
            };
            let Some(topic) = publish.topic else { continue };
            if kept.message.expired(out.now) {
                bump(&self.counters.dropped_expired);
                self.retained.remove(topic.as_str());
                continue;
            }
            let Some(session) = self.live(handle) else {
                return;
            };
            let (sid, device, durable) = (session.sid, session.device, session.durable());
            if !self
                .devices
                .get(device)
                .is_some_and(|d| d.policy.may_receive(topic))
            {
                bump(&self.counters.refused_delivery);
                continue;
            }
            let qos = kept.qos.min(subscription.qos.as_u8());
            if qos == 0 {
                let (expires, gate) = (kept.message.expires, kept.message.seq);
                let copy = Copy::once(true, &ids, expires, gate);
                self.send_once(handle.slot, &publish, copy, out);
                continue;
            }
            let parcel = Parcel {
                message: Arc::clone(&kept.message),
                qos,
                retain: true,
                ids: ids.clone(),
            };
            // Queued in the journal with its own body: the retained message may change before it is sent.
            if durable && self.journal_parcel(sid, &parcel, out).is_err() {
                continue;
            }
            if let Some(session) = self.live(handle) {
                session.outgoing().enqueue(parcel);
            }
            self.pump(handle.slot, out);
        }
    }

    /// Writes one message for one session to the journal, as queued.
    fn journal_parcel(
        &mut self,
        sid: u64,
        parcel: &Parcel,
        out: &mut Output,
    ) -> Result<u64, stockade_store::BusError> {
        let mut to = Vec::new();
        let flags = parcel.qos | (u8::from(parcel.retain) << 2);
        let who = super::record::Recipient {
            sid,
            flags,
            packet_id: 0,
        };
        super::record::put_recipient(&mut to, &who, &parcel.ids);
        let message = &parcel.message;
        let published = super::record::Published {
            mid: message.mid,
            from: 0,
            packet_id: 0,
            qos: parcel.qos,
            retain: false,
            expires: message.expires_unix(out.now),
            wire: &message.wire,
            to: &to,
        };
        self.journal(&Record::Published(published), out)
    }

    /// An UNSUBSCRIBE of a client.
    pub(crate) fn unsubscribe(
        &mut self,
        handle: Handle,
        packet: &Unsubscribe<'_>,
        out: &mut Output,
    ) -> Flow {
        if !self.answer_fits(handle, packet.filters.len()) {
            return self.protocol_error(handle, ReasonCode::PacketTooLarge, out);
        }
        let mut reasons = Vec::with_capacity(packet.filters.len());
        let mut gate = 0;
        for filter in packet.filters.iter() {
            let text = filter.as_str();
            let Some(session) = self.live(handle) else {
                return Flow::Close;
            };
            let (sid, durable) = (session.sid, session.durable());
            let Some(at) = session
                .subscriptions
                .iter()
                .position(|h| *h.filter == *text)
            else {
                reasons.push(ReasonCode::NoSubscriptionExisted);
                continue;
            };
            if durable {
                match self.journal(&Record::Unsubscribed { sid, filter: text }, out) {
                    Ok(seq) => gate = gate.max(seq),
                    Err(stockade_store::BusError::Full) => return Flow::Retry,
                    Err(_) => {
                        reasons.push(ReasonCode::UnspecifiedError);
                        continue;
                    }
                }
            }
            if let Some(session) = self.live(handle) {
                session.subscriptions.remove(at);
            }
            self.subscriptions.remove(text, handle.slot);
            reasons.push(ReasonCode::Success);
        }
        let answer = UnsubAck {
            id: packet.id,
            properties: AckProperties::default(),
            reasons: reasons.as_slice().into(),
        };
        self.answer(handle, gate, out, |bytes| {
            answer.encode(handle.version, bytes)
        })
    }
}
