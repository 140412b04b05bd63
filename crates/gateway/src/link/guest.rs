//! A device of the link as a client of the broker: the topics, sizes, rates, queues and the journal are MQTT's.
//!
//! What it says goes into the core as MQTT 5 packets; what the core has for it is read out of its outbox, as a connection's
//! task would write it to a socket: an acknowledgement is there once what it acknowledges is on disk.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::task::Waker;

use stockade_mqtt::{
    Ack, Connect, ConnectProperties, Delivery, Disconnect, Limits as Framing, Packet, PacketId,
    Publish, PublishProperties, QoS, ReasonCode, Sender, Subscribe, SubscribeProperties,
    Subscription, SubscriptionFilter, Subscriptions, Text, TopicName, Version, frame,
};

use crate::broker::{Arrival, Broker, Flow, Handle, Outbox, Output};

/// Messages the broker hands over before the device has confirmed one.
pub(super) const WINDOW: u16 = 8;
/// The largest packet the broker hands over, in bytes.
const MAX_PACKET: u32 = 64 * 1024;

/// A device's connection to the broker. To be ended by [`Guest::leave`].
#[derive(Debug)]
pub(super) struct Guest {
    outbox: Arc<Outbox>,
    handle: Handle,
    next_id: u16,
    /// Its session outlives the connection: it has subscriptions.
    pub(super) lasting: bool,
}

/// What the broker has for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Came {
    /// The answer to a publish or a subscription: what it asked for is on disk, or is refused.
    Answer(PacketId, ReasonCode),
    /// A message of a subscription; to be confirmed if it has an identifier.
    Message {
        id: Option<PacketId>,
        topic: String,
        payload: Vec<u8>,
    },
    /// The connection is over.
    Ended,
}

impl Guest {
    /// Connects. Nothing, if the broker refuses; why, it has reported.
    pub(super) fn arrive(
        broker: &mut Broker,
        arrival: &Arrival,
        wanted: bool,
        waker: &Waker,
        out: &mut Output,
    ) -> Option<Self> {
        let client = format!("{}/link", arrival.policy.device().id);
        let lasting = wanted || broker.knows(&client);
        let connect = Connect {
            version: Version::V5,
            clean_start: !lasting,
            keep_alive: 0,
            properties: ConnectProperties {
                session_expiry: lasting.then_some(u32::MAX),
                receive_maximum: NonZeroU16::new(WINDOW),
                maximum_packet_size: NonZeroU32::new(MAX_PACKET),
                ..ConnectProperties::default()
            },
            client_id: Text::new(&client).ok()?,
            will: None,
            user_name: None,
            password: None,
        };
        let outbox = Arc::<Outbox>::default();
        // The waker is there before there is something to wake it for.
        outbox.take(0, &mut Vec::new(), waker);
        let handle = broker.handle_connect(arrival, &connect, &outbox, out)?;
        Some(Self {
            outbox,
            handle,
            next_id: 0,
            lasting,
        })
    }

    /// Disconnects; a lasting session goes on without a connection.
    pub(super) fn leave(self, broker: &mut Broker, out: &mut Output) {
        let bye = Packet::Disconnect(Disconnect::with_reason(ReasonCode::Success));
        let _ended = broker.handle_packet(self.handle, &bye, out);
        self.outbox.detach();
    }

    /// The device is somewhere else.
    pub(super) fn moved(&self, broker: &mut Broker, peer: SocketAddr) {
        broker.handle_moved(self.handle, peer);
    }

    /// The device was heard.
    pub(super) fn heard(&self, broker: &mut Broker, out: &mut Output) {
        broker.handle_heard(self.handle, out);
    }

    /// Publishes at QoS 1. Nothing, if the broker takes nothing now.
    pub(super) fn publish(
        &mut self,
        broker: &mut Broker,
        topic: TopicName<'_>,
        payload: &[u8],
        out: &mut Output,
    ) -> Option<PacketId> {
        let id = self.fresh_id();
        let publish = Packet::Publish(Publish {
            delivery: Delivery::AtLeastOnce { id, dup: false },
            retain: false,
            topic: Some(topic),
            properties: PublishProperties::default(),
            payload,
        });
        (broker.handle_packet(self.handle, &publish, out) == Flow::Continue).then_some(id)
    }

    /// Subscribes to one topic, at QoS 1 at most.
    pub(super) fn subscribe(
        &mut self,
        broker: &mut Broker,
        topic: TopicName<'_>,
        out: &mut Output,
    ) -> Option<PacketId> {
        let id = self.fresh_id();
        let filter = SubscriptionFilter::new(topic.as_str(), Version::V5).ok()?;
        let list = [Subscription::new(filter, QoS::AtLeastOnce)];
        let subscribe = Packet::Subscribe(Subscribe {
            id,
            properties: SubscribeProperties::default(),
            subscriptions: Subscriptions::from(&list[..]),
        });
        (broker.handle_packet(self.handle, &subscribe, out) == Flow::Continue).then_some(id)
    }

    /// The device has a message: it is not sent again.
    pub(super) fn confirm(&self, broker: &mut Broker, id: PacketId, out: &mut Output) {
        // While the journal is full the message is sent once more, which one of QoS 1 may be.
        let _flow = broker.handle_packet(self.handle, &Packet::PubAck(Ack::success(id)), out);
    }

    /// What may leave now. A position returned asks for another call once it is durable: the outbox then wakes `waker`
    /// through [`Outbox::unpark`].
    pub(super) fn take(&self, durable: u64, waker: &Waker) -> (Vec<Came>, Option<u64>) {
        let mut bytes = Vec::new();
        let taken = self.outbox.take(durable, &mut bytes, waker);
        let mut came = Vec::new();
        let mut rest = bytes.as_slice();
        while let Ok(Some(whole)) = frame(rest, Framing::NONE) {
            rest = rest.get(whole.len()..).unwrap_or_default();
            match whole.decode(Version::V5, Sender::Server) {
                Ok(Packet::PubAck(ack)) => came.push(Came::Answer(ack.id, ack.reason)),
                Ok(Packet::SubAck(ack)) => {
                    let reason = ack.reasons.iter().next();
                    let reason = reason.unwrap_or(ReasonCode::UnspecifiedError);
                    came.push(Came::Answer(ack.id, reason));
                }
                Ok(Packet::Publish(publish)) => {
                    if let Some(topic) = publish.topic {
                        came.push(Came::Message {
                            id: publish.delivery.id(),
                            topic: topic.as_str().to_owned(),
                            payload: publish.payload.to_vec(),
                        });
                    }
                }
                // CONNACK, PINGRESP, and DISCONNECT, which `closing` tells.
                Ok(_) => {}
                Err(_) => {
                    came.push(Came::Ended);
                    break;
                }
            }
        }
        if taken.closing.is_some() {
            came.push(Came::Ended);
        }
        (came, taken.park)
    }

    /// Its outbox, for who wakes it when the disk is there.
    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    fn fresh_id(&mut self) -> PacketId {
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.next_id) {
                return id;
            }
        }
    }
}
