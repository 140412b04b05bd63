//! PUBLISH from a client: alias, policy, journal, delivery, acknowledgement (MQTT 5 §3.3.4, §4.3).

use stockade_mqtt::{
    Ack, AckKind, Delivery, EncodeError, PacketId, Publish, ReasonCode, TopicName, Version,
};
use stockade_store::BusError;

use super::counters::bump;
use super::deliver::{Inbound, Routed};
use super::message::put;
use super::record::Record;
use super::{Broker, Flow, Handle, Output, Report};
use crate::policy::Denied;

/// An acknowledgement to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) kind: AckKind,
    pub(crate) id: PacketId,
    pub(crate) reason: ReasonCode,
    /// The journal position it waits for; 0 is none.
    pub(crate) gate: u64,
}

/// What a publish gets instead of being delivered.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// An acknowledgement with this reason; where there is none to send, the connection ends.
    Answer(ReasonCode, ReasonCode),
    /// Nothing: it is dropped. For a QoS 0 publish above the rate, which is no reason to lose more.
    Drop,
}

impl Broker {
    /// A PUBLISH of a client.
    pub(crate) fn publish(
        &mut self,
        handle: Handle,
        packet: &Publish<'_>,
        out: &mut Output,
    ) -> Flow {
        let qos = packet.delivery.qos().as_u8();
        bump(match qos {
            0 => &self.counters.received_qos0,
            1 => &self.counters.received_qos1,
            _ => &self.counters.received_qos2,
        });
        let alias = packet.properties.topic_alias;
        if alias.is_none()
            && let Some(topic) = packet.topic
        {
            return self.publish_on(handle, packet, topic, out);
        }
        // §3.3.2.3.4: the alias is learnt or looked up before anything else.
        let number = alias.map_or(0, |a| usize::from(a.get()));
        let most = usize::from(self.limits.topic_aliases);
        let Some(live) = self.live(handle).and_then(|s| s.live.as_mut()) else {
            return Flow::Close;
        };
        if number > most {
            return self.protocol_error(handle, ReasonCode::TopicAliasInvalid, out);
        }
        if let Some(topic) = packet.topic {
            if live.aliases_in.len() < number {
                live.aliases_in.resize(number, None);
            }
            if let Some(place) = live.aliases_in.get_mut(number - 1) {
                *place = Some(topic.as_str().into());
            }
            return self.publish_on(handle, packet, topic, out);
        }
        let known = live
            .aliases_in
            .get_mut(number.wrapping_sub(1))
            .and_then(Option::take);
        let Some(text) = known else {
            return self.protocol_error(handle, ReasonCode::ProtocolError, out);
        };
        let flow = match TopicName::new(&text) {
            Ok(topic) => {
                let mut named = *packet;
                named.topic = Some(topic);
                self.publish_on(handle, &named, topic, out)
            }
            Err(_) => self.protocol_error(handle, ReasonCode::TopicAliasInvalid, out),
        };
        let live = self.live(handle).and_then(|s| s.live.as_mut());
        if let Some(place) = live.and_then(|l| l.aliases_in.get_mut(number.wrapping_sub(1))) {
            *place = Some(text);
        }
        flow
    }

    fn publish_on(
        &mut self,
        handle: Handle,
        packet: &Publish<'_>,
        topic: TopicName<'_>,
        out: &mut Output,
    ) -> Flow {
        let receive_maximum = usize::from(self.limits.receive_maximum);
        let Some(session) = self.live(handle) else {
            return Flow::Close;
        };
        let (sid, device) = (session.sid, session.device);
        if let Delivery::ExactlyOnce { id, .. } = packet.delivery {
            if session.incoming.contains(&id.get()) {
                // §4.3.3: the same message again; it was delivered once already.
                let gate = if session.durable() {
                    self.bus.last().get()
                } else {
                    0
                };
                return self.acknowledge(
                    handle,
                    Answer {
                        kind: AckKind::PubRec,
                        id,
                        reason: ReasonCode::Success,
                        gate,
                    },
                    out,
                );
            }
            if session.incoming.len() >= receive_maximum {
                // [MQTT-3.3.4-9]
                return self.protocol_error(handle, ReasonCode::ReceiveMaximumExceeded, out);
            }
        }
        let Some(found) = self.devices.get_mut(device) else {
            return Flow::Close;
        };
        let rule = match found.policy.may_publish(topic, packet.payload.len()) {
            Ok(rule) if found.within_rate(rule, out.now) => rule,
            Ok(rule) => return self.refuse_rate(handle, packet, topic, rule, out),
            Err(denied) => return self.refuse_publish(handle, packet, topic, denied, out),
        };
        if packet.retain && !self.room_to_retain(packet, topic) {
            let reason = format!(
                "asks to retain a message on `{topic}`: no room for more retained messages"
            );
            bump(&self.counters.refused_publish);
            self.comms_violation(handle.slot, reason, out);
            let quota = ReasonCode::QuotaExceeded;
            return self.answer_refusal(handle, packet, Refusal::Answer(quota, quota), out);
        }
        let qos = packet.delivery.qos().as_u8();
        let routed = self
            .telemetry(device, rule, (topic, packet.payload), out)
            .and_then(|kept| {
                let inbound = Inbound {
                    publish: packet,
                    topic,
                    qos,
                    from: sid,
                    device: Some(device),
                    packet_id: remembered(packet.delivery),
                    kept: kept.as_ref(),
                    with: None,
                };
                self.route(inbound, out)
            });
        match routed {
            Ok(routed) => self.accepted(handle, packet.delivery, topic, routed, out),
            Err(BusError::Full) => {
                if let Some(found) = self.devices.get_mut(device) {
                    found.give_back(rule);
                }
                Flow::Retry
            }
            Err(_) => {
                bump(&self.counters.refused_journal);
                let quota = ReasonCode::QuotaExceeded;
                let refusal = match qos {
                    0 => Refusal::Drop,
                    _ => Refusal::Answer(quota, quota),
                };
                self.answer_refusal(handle, packet, refusal, out)
            }
        }
    }

    /// A publish is in the journal and on its way: its sender gets its answer.
    fn accepted(
        &mut self,
        handle: Handle,
        delivery: Delivery,
        topic: TopicName<'_>,
        routed: Routed,
        out: &mut Output,
    ) -> Flow {
        let Some(session) = self.live(handle) else {
            return Flow::Close;
        };
        if let Delivery::ExactlyOnce { id, .. } = delivery {
            session.incoming.insert(id.get());
        }
        let device = session.device;
        if let Some(live) = session.live.as_mut()
            && !std::mem::replace(&mut live.spoke, true)
        {
            let peer = live.peer;
            if let Some(found) = self.devices.get(device) {
                let reason = format!("publishes to `{topic}`, as its profile allows");
                out.reports.push(Report::Admitted {
                    device: found.id().clone(),
                    peer,
                    reason,
                });
            }
        }
        // Only MQTT 5 can say that nobody listens (§3.4.2.1).
        let reason = match routed.recipients {
            0 => ReasonCode::NoMatchingSubscribers,
            _ => ReasonCode::Success,
        };
        let gate = routed.seq;
        match delivery {
            Delivery::AtMostOnce => Flow::Continue,
            Delivery::AtLeastOnce { id, .. } => self.acknowledge(
                handle,
                Answer {
                    kind: AckKind::PubAck,
                    id,
                    reason,
                    gate,
                },
                out,
            ),
            Delivery::ExactlyOnce { id, .. } => self.acknowledge(
                handle,
                Answer {
                    kind: AckKind::PubRec,
                    id,
                    reason,
                    gate,
                },
                out,
            ),
        }
    }

    fn room_to_retain(&self, packet: &Publish<'_>, topic: TopicName<'_>) -> bool {
        let size = packet.payload.len() + topic.len() + 64;
        packet.payload.is_empty()
            || self.retained.fits(
                topic.as_str(),
                size,
                self.limits.retained_messages,
                self.limits.retained_bytes,
            )
    }

    fn refuse_rate(
        &mut self,
        handle: Handle,
        packet: &Publish<'_>,
        topic: TopicName<'_>,
        rule: usize,
        out: &mut Output,
    ) -> Flow {
        let device = self
            .sessions
            .get(handle.slot)
            .and_then(|s| self.devices.get(s.device));
        let rate = device
            .and_then(|d| d.policy.rate(rule))
            .map(|r| r.to_string());
        let rate = rate.unwrap_or_default();
        let reason = format!("publishes to `{topic}` more often than its profile allows ({rate})");
        self.refuse(handle.slot, reason, out);
        let refusal = match packet.delivery {
            Delivery::AtMostOnce => Refusal::Drop,
            _ => Refusal::Answer(ReasonCode::QuotaExceeded, ReasonCode::MessageRateTooHigh),
        };
        self.answer_refusal(handle, packet, refusal, out)
    }

    fn refuse_publish(
        &mut self,
        handle: Handle,
        packet: &Publish<'_>,
        topic: TopicName<'_>,
        denied: Denied,
        out: &mut Output,
    ) -> Flow {
        let device = self
            .sessions
            .get(handle.slot)
            .and_then(|s| self.devices.get(s.device));
        let allowed = device
            .map(|d| d.policy.publishes().to_string())
            .unwrap_or_default();
        let zone = match device {
            Some(d) if d.policy.quarantined() => "in quarantine it may publish to",
            _ => "its profile allows only",
        };
        let (reason, answer) = match denied {
            Denied::Topic => (
                format!("publishes to `{topic}`, {zone} {allowed}"),
                Refusal::Answer(ReasonCode::NotAuthorized, ReasonCode::NotAuthorized),
            ),
            // PUBACK has no 0x95 (§3.4.2.1): its quota code means a limit set by an administrator.
            Denied::Size { max_bytes } => (
                format!(
                    "publishes {} bytes to `{topic}`, its profile allows {max_bytes}",
                    packet.payload.len()
                ),
                Refusal::Answer(ReasonCode::QuotaExceeded, ReasonCode::PacketTooLarge),
            ),
        };
        self.refuse(handle.slot, reason, out);
        self.answer_refusal(handle, packet, answer, out)
    }

    /// Refuses a publish as its version and quality of service allow: an acknowledgement that says
    /// so (MQTT 5, QoS > 0), or the end of the connection.
    fn answer_refusal(
        &mut self,
        handle: Handle,
        packet: &Publish<'_>,
        refusal: Refusal,
        out: &mut Output,
    ) -> Flow {
        let Refusal::Answer(answer, last_word) = refusal else {
            return Flow::Continue;
        };
        let kind = match packet.delivery {
            Delivery::AtLeastOnce { .. } => AckKind::PubAck,
            _ => AckKind::PubRec,
        };
        match packet.delivery.id() {
            Some(id) if handle.version == Version::V5 => self.acknowledge(
                handle,
                Answer {
                    kind,
                    id,
                    reason: answer,
                    gate: 0,
                },
                out,
            ),
            _ => {
                self.close(handle.slot, last_word, super::Closing::Orderly, out);
                Flow::Close
            }
        }
    }

    /// Writes an acknowledgement that waits for the journal position `gate`.
    pub(crate) fn acknowledge(&mut self, handle: Handle, answer: Answer, out: &mut Output) -> Flow {
        let ack = Ack::with_reason(answer.id, answer.reason);
        self.answer(handle, answer.gate, out, |bytes| {
            ack.encode(answer.kind, handle.version, bytes)
        })
    }

    /// Writes an answer that waits for the journal position `gate`.
    pub(crate) fn answer(
        &mut self,
        handle: Handle,
        gate: u64,
        out: &mut Output,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Flow {
        let Some(live) = self.live(handle).and_then(|s| s.live.as_mut()) else {
            return Flow::Close;
        };
        if live.outbox.push(gate, |bytes| put(bytes, encode)) {
            out.dirty.push(std::sync::Arc::clone(&live.outbox));
        }
        Flow::Continue
    }

    /// A PUBREL of a client: the packet identifier is free again (§4.3.3).
    pub(crate) fn release(&mut self, handle: Handle, id: PacketId, out: &mut Output) -> Flow {
        let Some(session) = self.live(handle) else {
            return Flow::Close;
        };
        let (sid, durable) = (session.sid, session.durable());
        if !session.incoming.contains(&id.get()) {
            let unknown = ReasonCode::PacketIdentifierNotFound;
            return self.acknowledge(
                handle,
                Answer {
                    kind: AckKind::PubComp,
                    id,
                    reason: unknown,
                    gate: 0,
                },
                out,
            );
        }
        let mut gate = 0;
        if durable {
            // Forgotten by a crash, the identifier would make the next message that uses it a
            // duplicate, and lose it: so PUBCOMP waits for the disk.
            match self.journal(
                &Record::Released {
                    sid,
                    packet_id: id.get(),
                },
                out,
            ) {
                Ok(seq) => gate = seq,
                Err(BusError::Full) => return Flow::Retry,
                Err(_) => return self.cannot_keep(handle, out),
            }
        }
        if let Some(session) = self.live(handle) {
            session.incoming.remove(&id.get());
        }
        self.acknowledge(
            handle,
            Answer {
                kind: AckKind::PubComp,
                id,
                reason: ReasonCode::Success,
                gate,
            },
            out,
        )
    }
}

/// The packet identifier by which a message is known if it comes again (§4.3.3); 0 if it is not.
fn remembered(delivery: Delivery) -> u16 {
    match delivery {
        Delivery::ExactlyOnce { id, .. } => id.get(),
        Delivery::AtMostOnce | Delivery::AtLeastOnce { .. } => 0,
    }
}
