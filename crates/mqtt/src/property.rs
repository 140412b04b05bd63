//! Properties of MQTT 5 packets (5.0 §2.2.2).

mod list;

use crate::{
    Binary, DecodeError, EncodeError, Limits, QoS, ReasonCode, SubscriptionId, Text, TopicName,
    Version,
    error::{Rule, rule},
    wire::{Count, Reader, Sink, encodable},
};

pub use list::{SubscriptionIds, UserProperties, UserPropertiesBuf};

/// The identifiers of table 2-4.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTH_METHOD: u8 = 0x15;
    pub(crate) const AUTH_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFO: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFO: u8 = 0x19;
    pub(crate) const RESPONSE_INFO: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_AVAILABLE: u8 = 0x28;
    pub(crate) const SUB_ID_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_AVAILABLE: u8 = 0x2A;
}

/// The property block of one packet while it is parsed.
pub(crate) struct Properties<'a> {
    reader: Reader<'a>,
    block: &'a [u8],
    /// The section of the specification which lists what this packet may hold.
    section: Rule,
    user_bytes: usize,
}

impl<'a> Properties<'a> {
    /// Takes the block off the packet; an empty one for 3.1.1.
    pub(crate) fn take(
        packet: &mut Reader<'a>,
        section: &'static str,
    ) -> Result<Self, DecodeError> {
        let block = match packet.version() {
            Version::V311 => &[],
            Version::V5 => {
                let len = packet.varint()?;
                packet.take(usize::try_from(len).unwrap_or(usize::MAX))?
            }
        };
        Ok(Self {
            reader: Reader::new(block, Version::V5),
            block,
            section: Rule::both(section),
            user_bytes: 0,
        })
    }

    /// The identifier of the next property; its value must be taken next.
    pub(crate) fn next(&mut self) -> Result<Option<u8>, DecodeError> {
        // Identifiers are variable byte integers; all that exist fit one byte.
        if self.reader.is_empty() {
            return Ok(None);
        }
        let id = self.reader.varint()?;
        u8::try_from(id).map(Some).map_err(|_| self.unknown())
    }

    /// The answer to an identifier which this packet must not hold.
    pub(crate) fn unknown(&self) -> DecodeError {
        self.reader.malformed(
            rule::PROPERTY_ID,
            "property not known or not allowed in this packet",
        )
    }

    /// A value the packet parses with but the protocol forbids.
    pub(crate) fn forbidden(&self, detail: &'static str) -> DecodeError {
        self.reader.protocol(self.section, detail)
    }

    fn once<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), DecodeError> {
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.forbidden("property appears more than once")),
        }
    }

    pub(crate) fn flag(&mut self, slot: &mut Option<bool>) -> Result<(), DecodeError> {
        let value = match self.reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(self.forbidden("property must be 0 or 1")),
        };
        self.once(slot, value)
    }

    /// Maximum QoS: 0 or 1 (5.0 §3.2.2.3.4).
    pub(crate) fn maximum_qos(&mut self, slot: &mut Option<QoS>) -> Result<(), DecodeError> {
        let mut one = slot.map(|qos| qos == QoS::AtLeastOnce);
        self.flag(&mut one)?;
        *slot = one.map(|one| {
            if one {
                QoS::AtLeastOnce
            } else {
                QoS::AtMostOnce
            }
        });
        Ok(())
    }

    pub(crate) fn u16(&mut self, slot: &mut Option<u16>) -> Result<(), DecodeError> {
        let value = self.reader.u16()?;
        self.once(slot, value)
    }

    pub(crate) fn u32(&mut self, slot: &mut Option<u32>) -> Result<(), DecodeError> {
        let value = self.reader.u32()?;
        self.once(slot, value)
    }

    /// A two byte integer in which zero is a protocol error.
    pub(crate) fn non_zero_u16(
        &mut self,
        slot: &mut Option<std::num::NonZeroU16>,
    ) -> Result<(), DecodeError> {
        let value = self.reader.u16()?;
        let value = value
            .try_into()
            .map_err(|_| self.forbidden("property must not be zero"))?;
        self.once(slot, value)
    }

    /// A topic alias; zero has a reason code of its own (5.0 §3.3.2.3.4).
    pub(crate) fn topic_alias(
        &mut self,
        slot: &mut Option<std::num::NonZeroU16>,
    ) -> Result<(), DecodeError> {
        let value = self.reader.u16()?;
        let value = value.try_into().map_err(|_| {
            DecodeError::new(
                ReasonCode::TopicAliasInvalid,
                "MQTT-3.3.2-8",
                "topic alias is zero",
            )
        })?;
        self.once(slot, value)
    }

    /// A four byte integer in which zero is a protocol error.
    pub(crate) fn non_zero_u32(
        &mut self,
        slot: &mut Option<std::num::NonZeroU32>,
    ) -> Result<(), DecodeError> {
        let value = self.reader.u32()?;
        let value = value
            .try_into()
            .map_err(|_| self.forbidden("property must not be zero"))?;
        self.once(slot, value)
    }

    pub(crate) fn subscription_id(&mut self) -> Result<SubscriptionId, DecodeError> {
        let value = self.reader.varint()?;
        SubscriptionId::new(value).ok_or_else(|| self.forbidden("subscription identifier is zero"))
    }

    pub(crate) fn one_subscription_id(
        &mut self,
        slot: &mut Option<SubscriptionId>,
    ) -> Result<(), DecodeError> {
        let value = self.subscription_id()?;
        self.once(slot, value)
    }

    pub(crate) fn text(&mut self, slot: &mut Option<Text<'a>>) -> Result<(), DecodeError> {
        let value = self.reader.text()?;
        self.once(slot, value)
    }

    pub(crate) fn binary(&mut self, slot: &mut Option<Binary<'a>>) -> Result<(), DecodeError> {
        let value = self.reader.binary()?;
        self.once(slot, value)
    }

    pub(crate) fn response_topic(
        &mut self,
        slot: &mut Option<TopicName<'a>>,
        limits: Limits,
    ) -> Result<(), DecodeError> {
        let value = topic_name(&mut self.reader, limits, Rule::both("MQTT-3.3.2-14"))?;
        self.once(slot, value)
    }

    /// Checks a user property; [`Properties::users`] gives them all in the end.
    pub(crate) fn user(&mut self) -> Result<(), DecodeError> {
        let before = self.reader.rest().len();
        // [MQTT-1.5.7-1]
        self.reader.text()?;
        self.reader.text()?;
        let taken = before.saturating_sub(self.reader.rest().len());
        self.user_bytes = self.user_bytes.saturating_add(taken).saturating_add(1);
        Ok(())
    }

    /// The user properties, once all of the block was taken.
    pub(crate) const fn users(&self) -> UserProperties<'a> {
        UserProperties::checked(self.block, self.user_bytes)
    }

    /// The subscription identifiers, once all of the block was taken.
    pub(crate) const fn subscription_ids(&self, any: bool) -> SubscriptionIds<'a> {
        SubscriptionIds::checked(if any { self.block } else { &[] })
    }
}

/// A topic name of a packet, within the limits.
pub(crate) fn topic_name<'a>(
    reader: &mut Reader<'a>,
    limits: Limits,
    wildcard: Rule,
) -> Result<TopicName<'a>, DecodeError> {
    let text = reader.str()?;
    let name = TopicName::new(text).map_err(|error| error.in_packet(reader.version(), wildcard))?;
    if limits.allow_topic(&name) {
        Ok(name)
    } else {
        Err(DecodeError::new(
            ReasonCode::TopicNameInvalid,
            "5.0 §3.14.2.1",
            "topic name longer or deeper than this server accepts",
        ))
    }
}

/// Writes optional properties, each behind its identifier.
pub(crate) struct Writer<'o, S: Sink>(pub(crate) &'o mut S);

impl<S: Sink> Writer<'_, S> {
    pub(crate) fn flag(&mut self, property: u8, value: Option<bool>) {
        if let Some(value) = value {
            self.0.u8(property);
            self.0.u8(u8::from(value));
        }
    }

    pub(crate) fn u16(&mut self, property: u8, value: Option<u16>) {
        if let Some(value) = value {
            self.0.u8(property);
            self.0.u16(value);
        }
    }

    pub(crate) fn u32(&mut self, property: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.0.u8(property);
            self.0.u32(value);
        }
    }

    pub(crate) fn string(&mut self, property: u8, value: Option<&str>) {
        if let Some(value) = value {
            self.0.u8(property);
            self.0.string(value);
        }
    }

    pub(crate) fn text(&mut self, property: u8, value: Option<Text<'_>>) {
        self.string(property, value.map(Text::as_str));
    }

    pub(crate) fn binary(&mut self, property: u8, value: Option<Binary<'_>>) {
        if let Some(value) = value {
            self.0.u8(property);
            self.0.binary(value);
        }
    }

    pub(crate) fn subscription_id(&mut self, value: Option<SubscriptionId>) {
        if let Some(value) = value {
            self.0.u8(id::SUBSCRIPTION_ID);
            self.0.varint(value.get());
        }
    }
}

/// The properties of one packet type, which can write themselves without their length.
pub(crate) trait PropertySet {
    fn write(&self, out: &mut Writer<'_, impl Sink>);

    /// The bytes they take without their length.
    fn encoded_len(&self) -> Result<u32, EncodeError> {
        let mut count = Count::default();
        self.write(&mut Writer(&mut count));
        encodable(count.get())
    }

    /// Length and properties in MQTT 5, nothing in 3.1.1.
    fn write_block(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        if version == Version::V5 {
            out.varint(self.encoded_len()?);
            self.write(&mut Writer(out));
        }
        Ok(())
    }
}
