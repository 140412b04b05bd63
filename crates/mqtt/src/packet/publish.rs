//! PUBLISH (5.0 §3.3, 3.1.1 §3.3).

use std::num::NonZeroU16;

use crate::{
    Binary, DecodeError, EncodeError, Frame, Kind, Limits, PacketId, QoS, Sender, SubscriptionIds,
    Text, TopicName, UserProperties, Version,
    error::{Rule, rule},
    property::{Properties, PropertySet, Writer, id, topic_name},
    wire::{Body, Reader, Sink, encode_with_tail},
};

const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

/// PUBLISH: a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// QoS, packet identifier and whether it is sent again.
    pub delivery: Delivery,
    /// To the server: keep as retained message. To a client: is a retained message.
    pub retain: bool,
    /// The topic; `None` only in MQTT 5 and with a topic alias.
    pub topic: Option<TopicName<'a>>,
    /// Properties, empty in 3.1.1.
    pub properties: PublishProperties<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

/// The QoS of a message and what goes with it: QoS 0 has no packet identifier [MQTT-2.2.1-2] and is never a duplicate [MQTT-3.3.1-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names of the specification")]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce {
        /// The packet identifier.
        id: PacketId,
        /// Whether the message may have been sent before.
        dup: bool,
    },
    /// QoS 2.
    ExactlyOnce {
        /// The packet identifier.
        id: PacketId,
        /// Whether the message may have been sent before.
        dup: bool,
    },
}

impl Delivery {
    /// The QoS alone.
    pub const fn qos(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce { .. } => QoS::AtLeastOnce,
            Self::ExactlyOnce { .. } => QoS::ExactlyOnce,
        }
    }

    /// The packet identifier of QoS 1 and 2.
    pub const fn id(self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { id, .. } | Self::ExactlyOnce { id, .. } => Some(id),
        }
    }

    /// Whether the message may have been sent before.
    pub const fn dup(self) -> bool {
        match self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { dup, .. } | Self::ExactlyOnce { dup, .. } => dup,
        }
    }

    fn first_byte(self, retain: bool) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        Kind::Publish.first_byte()
            | flag(self.dup(), DUP)
            | self.qos().as_u8() << 1
            | flag(retain, RETAIN)
    }
}

/// Properties of PUBLISH (5.0 §3.3.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishProperties<'a> {
    /// Whether the payload is UTF-8; absent is unspecified bytes. The payload itself is not checked here.
    pub payload_is_utf8: Option<bool>,
    /// Seconds the message lives.
    pub message_expiry: Option<u32>,
    /// A number that stands for the topic on this connection.
    pub topic_alias: Option<NonZeroU16>,
    /// Where to answer.
    pub response_topic: Option<TopicName<'a>>,
    /// What to repeat in the answer.
    pub correlation_data: Option<Binary<'a>>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The identifiers of the subscriptions which this message comes from; only from a server [MQTT-3.3.4-6].
    pub subscription_ids: SubscriptionIds<'a>,
    /// What the payload is.
    pub content_type: Option<Text<'a>>,
}

impl<'a> Publish<'a> {
    pub(crate) fn decode(
        frame: &Frame<'a>,
        mut reader: Reader<'a>,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        let version = reader.version();
        let qos = frame.publish_qos(version)?;
        let dup = frame.flags & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(reader.malformed(Rule::both("MQTT-3.3.1-2"), "DUP with QoS 0"));
        }
        let topic = match reader.rest() {
            // MQTT 5 leaves the topic out when an alias stands for it (§3.3.2.1); checked below.
            [0, 0, ..] if version == Version::V5 => {
                reader.u16()?;
                None
            }
            _ => Some(topic_name(
                &mut reader,
                frame.limits,
                Rule::both("MQTT-3.3.2-2"),
            )?),
        };
        let id_rule = match sender {
            Sender::Client => rule::PACKET_ID_CLIENT,
            Sender::Server => rule::PACKET_ID_SERVER,
        };
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce {
                id: reader.packet_id(id_rule)?,
                dup,
            },
            QoS::ExactlyOnce => Delivery::ExactlyOnce {
                id: reader.packet_id(id_rule)?,
                dup,
            },
        };
        let properties = PublishProperties::decode(&mut reader, frame.limits, sender)?;
        if topic.is_none() && properties.topic_alias.is_none() {
            return Err(reader.protocol(
                Rule::both("5.0 §3.3.2.1"),
                "empty topic name without topic alias",
            ));
        }
        Ok(Self {
            delivery,
            retain: frame.flags & RETAIN != 0,
            topic,
            properties,
            payload: reader.rest(),
        })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode_head(self.payload.len(), version, out)?;
        out.extend_from_slice(self.payload);
        Ok(())
    }

    /// Appends everything before the payload, for a payload of `payload_len` bytes which the caller sends after it: lets many
    /// receivers share one payload. `self.payload` is not looked at.
    pub fn encode_head(
        &self,
        payload_len: usize,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        encode_with_tail(
            self.delivery.first_byte(self.retain),
            self,
            payload_len,
            version,
            out,
        )
    }
}

impl<'a> PublishProperties<'a> {
    fn decode(
        reader: &mut Reader<'a>,
        limits: Limits,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut block = Properties::take(reader, "5.0 §3.3.2.3")?;
        let mut any_subscription_id = false;
        while let Some(property) = block.next()? {
            match property {
                id::PAYLOAD_FORMAT => block.flag(&mut found.payload_is_utf8)?,
                id::MESSAGE_EXPIRY => block.u32(&mut found.message_expiry)?,
                id::TOPIC_ALIAS => block.topic_alias(&mut found.topic_alias)?,
                id::RESPONSE_TOPIC => block.response_topic(&mut found.response_topic, limits)?,
                id::CORRELATION_DATA => block.binary(&mut found.correlation_data)?,
                id::USER_PROPERTY => block.user()?,
                id::SUBSCRIPTION_ID => {
                    block.subscription_id()?;
                    if sender == Sender::Client {
                        let rule = Rule::both("MQTT-3.3.4-6");
                        return Err(
                            rule.protocol(Version::V5, "subscription identifier from a client")
                        );
                    }
                    any_subscription_id = true;
                }
                id::CONTENT_TYPE => block.text(&mut found.content_type)?,
                _ => return Err(block.unknown()),
            }
        }
        found.user_properties = block.users();
        found.subscription_ids = block.subscription_ids(any_subscription_id);
        Ok(found)
    }
}

impl PropertySet for PublishProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        out.flag(id::PAYLOAD_FORMAT, self.payload_is_utf8);
        out.u32(id::MESSAGE_EXPIRY, self.message_expiry);
        out.u16(id::TOPIC_ALIAS, self.topic_alias.map(NonZeroU16::get));
        out.string(
            id::RESPONSE_TOPIC,
            self.response_topic.map(TopicName::as_str),
        );
        out.binary(id::CORRELATION_DATA, self.correlation_data);
        out.text(id::CONTENT_TYPE, self.content_type);
        self.user_properties.write(out.0);
        self.subscription_ids.write(out.0);
    }
}

impl Body for Publish<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        match self.topic {
            Some(topic) => out.string(&topic),
            None if version == Version::V5 && self.properties.topic_alias.is_some() => out.u16(0),
            None => return Err(EncodeError::NoTopic),
        }
        if let Some(id) = self.delivery.id() {
            out.u16(id.get());
        }
        self.properties.write_block(version, out)
    }
}

/// A PUBLISH encoded once and sent to many: only the packet identifier and the DUP flag change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishFrame {
    bytes: Vec<u8>,
    /// Where the packet identifier is, if there is one.
    id_at: Option<usize>,
}

impl PublishFrame {
    /// Encodes the message; its packet identifier and DUP flag do not matter.
    pub fn new(publish: &Publish<'_>, version: Version) -> Result<Self, EncodeError> {
        let mut bytes = Vec::new();
        publish.encode(version, &mut bytes)?;
        let id_at = publish.delivery.id().map(|_| {
            // First byte, remaining length (its last byte has no high bit), topic with its length.
            let header = bytes
                .iter()
                .skip(1)
                .take_while(|byte| **byte & 0x80 != 0)
                .count()
                .saturating_add(2);
            let topic = publish.topic.map_or(0, |topic| topic.len());
            header.saturating_add(topic).saturating_add(2)
        });
        Ok(Self { bytes, id_at })
    }

    /// The bytes the packet takes.
    #[expect(clippy::len_without_is_empty, reason = "a packet is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The QoS it was encoded with.
    pub fn qos(&self) -> QoS {
        let flags = self.bytes.first().copied().unwrap_or_default();
        QoS::from_u8(flags >> 1 & 0b11).unwrap_or(QoS::AtMostOnce)
    }

    /// Appends the message with this identifier and DUP flag; both are ignored at QoS 0.
    pub fn append(&self, id: PacketId, dup: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let Some(id_at) = self.id_at else { return };
        let packet = out.get_mut(start..).unwrap_or_default();
        if let Some(first) = packet.first_mut() {
            *first = if dup { *first | DUP } else { *first & !DUP };
        }
        if let Some(bytes) = packet
            .get_mut(id_at..)
            .and_then(<[u8]>::first_chunk_mut::<2>)
        {
            *bytes = id.get().to_be_bytes();
        }
    }
}
