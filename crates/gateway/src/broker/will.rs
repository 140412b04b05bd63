//! Wills: what is published when a client is lost (MQTT 5 §3.1.2.5, §3.1.3.2).

use std::sync::Arc;

use stockade_mqtt::{Delivery, Publish, PublishProperties, Will as WillPacket};

use super::deliver::Inbound;
use super::message::{Message, put_wire};
use super::record::Record;
use super::session::Will;
use super::{Broker, Output};

impl Will {
    /// The will of a CONNECT.
    pub(crate) fn new(packet: &WillPacket<'_>) -> Self {
        let p = &packet.properties;
        let publish = Publish {
            delivery: Delivery::AtMostOnce,
            retain: false,
            topic: Some(packet.topic),
            properties: PublishProperties {
                payload_is_utf8: p.payload_is_utf8,
                message_expiry: p.message_expiry,
                response_topic: p.response_topic,
                correlation_data: p.correlation_data,
                user_properties: p.user_properties,
                content_type: p.content_type,
                ..PublishProperties::default()
            },
            payload: packet.payload.as_bytes(),
        };
        let mut wire = Vec::new();
        put_wire(&publish, None, &mut wire);
        Self::kept(
            wire.into(),
            packet.qos.as_u8(),
            packet.retain,
            p.delay.unwrap_or(0),
        )
    }

    /// A will from its kept form.
    pub(crate) fn kept(wire: Box<[u8]>, qos: u8, retain: bool, delay: u32) -> Self {
        let message = Arc::new(Message {
            mid: 0,
            seq: 0,
            expires: 0,
            wire,
        });
        Self {
            message,
            qos,
            retain,
            delay,
        }
    }

    /// Its QoS and retain flag, for the journal.
    pub(crate) fn flags(&self) -> u8 {
        self.qos | (u8::from(self.retain) << 2)
    }
}

impl Broker {
    /// The connection is lost: the will is spoken now or after its delay, which ends with the session.
    pub(crate) fn schedule_will(&mut self, slot: u32, out: &mut Output) {
        let Some(session) = self.sessions.get(slot) else {
            return;
        };
        let Some(will) = &session.will else { return };
        let delay = will.delay.min(session.expiry);
        if delay == 0 {
            if !self.speak_will(slot, out) {
                self.schedule_will_at(slot, out.now.mono + 1_000);
            }
        } else {
            self.schedule_will_at(slot, out.now.mono + u64::from(delay) * 1_000);
        }
    }

    /// The will is due at `at`; 0 is never.
    pub(crate) fn schedule_will_at(&mut self, slot: u32, at: u64) {
        if let Some(session) = self.sessions.get_mut(slot) {
            let old = std::mem::replace(&mut session.will_at, at);
            self.wills.remove(&(old, slot));
            if at > 0 {
                self.wills.insert((at, slot));
            }
        }
    }

    /// Publishes the will, if the device's policy still allows it. False when the journal does not
    /// take it now: it stays due.
    pub(crate) fn speak_will(&mut self, slot: u32, out: &mut Output) -> bool {
        self.schedule_will_at(slot, 0);
        let Some(session) = self.sessions.get_mut(slot) else {
            return true;
        };
        let Some(will) = session.will.take() else {
            return true;
        };
        let (sid, device, durable) = (session.sid, session.device, session.durable());
        let message = Arc::clone(&will.message);
        let (Some(mut publish), Some(found)) = (message.publish(), self.devices.get_mut(device))
        else {
            return true;
        };
        let Some(topic) = publish.topic else {
            return true;
        };
        let rule = match found.policy.may_publish(topic, publish.payload.len()) {
            Ok(rule) if found.within_rate(rule, out.now) => rule,
            _ => {
                let reason =
                    format!("its will on `{topic}` is not allowed any more and is not published");
                self.refuse(slot, reason, out);
                return true;
            }
        };
        publish.retain = will.retain;
        // Both in one write: a crash can neither lose the will nor speak it twice.
        let spoken = Record::Willed {
            sid,
            delay: 0,
            flags: 0,
            wire: &[],
        };
        let routed = self
            .telemetry(device, rule, (topic, publish.payload), out)
            .and_then(|kept| {
                let inbound = Inbound {
                    publish: &publish,
                    topic,
                    qos: will.qos,
                    from: sid,
                    device: Some(device),
                    packet_id: 0,
                    kept: kept.as_ref(),
                    with: durable.then_some(&spoken),
                };
                self.route(inbound, out)
            });
        let taken = routed.is_ok();
        if !taken && let Some(session) = self.sessions.get_mut(slot) {
            session.will = Some(will);
        }
        taken
    }

    /// The will is not wanted any more.
    pub(crate) fn forget_will(&mut self, slot: u32, out: &mut Output) {
        self.schedule_will_at(slot, 0);
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        let (sid, durable) = (session.sid, session.durable());
        if session.will.take().is_some() && durable {
            let _written = self.journal(
                &Record::Willed {
                    sid,
                    delay: 0,
                    flags: 0,
                    wire: &[],
                },
                out,
            );
        }
    }
}
