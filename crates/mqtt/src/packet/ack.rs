//! PUBACK, PUBREC, PUBREL, PUBCOMP (5.0 §3.4 to §3.7), SUBACK (§3.9) and UNSUBACK (§3.11).

use crate::{
    DecodeError, EncodeError, Kind, PacketId, ReasonCode, ReasonCodes, Sender, Text,
    UserProperties, Version,
    error::{Rule, rule},
    property::{Properties, PropertySet, Writer, id},
    wire::{Body, Reader, Sink, encode},
};

/// Which of the four packets an [`Ack`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::enum_variant_names, reason = "the names of the specification")]
pub enum AckKind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}

impl AckKind {
    /// The type of the packet.
    pub const fn kind(self) -> Kind {
        match self {
            Self::PubAck => Kind::PubAck,
            Self::PubRec => Kind::PubRec,
            Self::PubRel => Kind::PubRel,
            Self::PubComp => Kind::PubComp,
        }
    }

    const fn reason_rule(self) -> Rule {
        Rule::both(match self {
            Self::PubAck => "MQTT-3.4.2-1",
            Self::PubRec => "MQTT-3.5.2-1",
            Self::PubRel => "MQTT-3.6.2-1",
            Self::PubComp => "MQTT-3.7.2-1",
        })
    }

    const fn section(self) -> &'static str {
        match self {
            Self::PubAck => "5.0 §3.4.2.2",
            Self::PubRec => "5.0 §3.5.2.2",
            Self::PubRel => "5.0 §3.6.2.2",
            Self::PubComp => "5.0 §3.7.2.2",
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The identifier of the message.
    pub id: PacketId,
    /// How it went; not sent in 3.1.1, where it is always success.
    pub reason: ReasonCode,
    /// Properties, empty in 3.1.1.
    pub properties: AckProperties<'a>,
}

/// Properties of all acknowledgements but CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckProperties<'a> {
    /// Why, for people.
    pub reason_string: Option<Text<'a>>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// Success without properties.
    pub fn success(id: PacketId) -> Self {
        Self::with_reason(id, ReasonCode::Success)
    }

    /// A reason without properties.
    pub fn with_reason(id: PacketId, reason: ReasonCode) -> Self {
        Self {
            id,
            reason,
            properties: AckProperties::default(),
        }
    }

    pub(crate) fn decode(
        reader: &mut Reader<'a>,
        kind: AckKind,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        let id = reader.packet_id(rule::PACKET_ID_ACK)?;
        // A remaining length of 2 means success, below 4 no properties (5.0 §3.4.2.1 and §3.4.2.2.1).
        if reader.version() == Version::V311 || reader.is_empty() {
            return Ok(Self::success(id));
        }
        let reason = reader.u8()?;
        let Some(reason) =
            ReasonCode::from_u8(reason).filter(|reason| reason.allowed_in(kind.kind(), sender))
        else {
            return Err(
                reader.protocol(kind.reason_rule(), "reason code not allowed in this packet")
            );
        };
        if reader.is_empty() {
            return Ok(Self::with_reason(id, reason));
        }
        Ok(Self {
            id,
            reason,
            properties: AckProperties::decode(reader, kind.section())?,
        })
    }

    /// Appends the packet; MQTT 5 in its shortest form.
    pub fn encode(
        &self,
        kind: AckKind,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        encode(kind.kind().first_byte(), self, version, out)
    }
}

impl Body for Ack<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        out.u16(self.id.get());
        let no_properties = self.properties.encoded_len()? == 0;
        if version == Version::V311 || no_properties && self.reason == ReasonCode::Success {
            return Ok(());
        }
        out.u8(self.reason.as_u8());
        if no_properties {
            return Ok(());
        }
        self.properties.write_block(version, out)
    }
}

impl<'a> AckProperties<'a> {
    fn decode(reader: &mut Reader<'a>, section: &'static str) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut block = Properties::take(reader, section)?;
        while let Some(property) = block.next()? {
            match property {
                id::REASON_STRING => block.text(&mut found.reason_string)?,
                id::USER_PROPERTY => block.user()?,
                _ => return Err(block.unknown()),
            }
        }
        found.user_properties = block.users();
        Ok(found)
    }
}

impl PropertySet for AckProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        out.text(id::REASON_STRING, self.reason_string);
        self.user_properties.write(out.0);
    }
}

/// SUBACK: the server answers SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// The identifier of the SUBSCRIBE.
    pub id: PacketId,
    /// Properties, empty in 3.1.1.
    pub properties: AckProperties<'a>,
    /// One for each filter, in order; in 3.1.1 every error is sent as 0x80.
    pub reasons: ReasonCodes<'a>,
}

impl<'a> SubAck<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let id = reader.packet_id(rule::PACKET_ID_SUBACK)?;
        let properties = AckProperties::decode(reader, "5.0 §3.9.2.1")?;
        let codes = reader.take(reader.rest().len())?;
        let v311 = reader.version() == Version::V311;
        let allowed = |code: &u8| {
            let allowed = |reason: ReasonCode| reason.allowed_in(Kind::SubAck, Sender::Server);
            ReasonCode::from_u8(*code).is_some_and(allowed)
                && (!v311 || matches!(code, 0..=2 | 0x80))
        };
        if !codes.iter().all(allowed) {
            return Err(reader.protocol(
                Rule::both("MQTT-3.9.3-2"),
                "reason code not allowed in SUBACK",
            ));
        }
        if codes.is_empty() {
            return Err(reader.protocol(
                Rule::of("MQTT-3.9.3-2", "MQTT-3.8.4-5"),
                "SUBACK without reason code",
            ));
        }
        Ok(Self {
            id,
            properties,
            reasons: ReasonCodes::wire(codes),
        })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(Kind::SubAck.first_byte(), self, version, out)
    }
}

impl Body for SubAck<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        if self.reasons.is_empty() {
            return Err(EncodeError::Empty);
        }
        out.u16(self.id.get());
        self.properties.write_block(version, out)?;
        for reason in self.reasons.iter() {
            let code = if version == Version::V311 && reason.is_error() {
                ReasonCode::UnspecifiedError
            } else {
                reason
            };
            out.u8(code.as_u8());
        }
        Ok(())
    }
}

/// UNSUBACK: the server answers UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// The identifier of the UNSUBSCRIBE.
    pub id: PacketId,
    /// Properties, empty in 3.1.1.
    pub properties: AckProperties<'a>,
    /// One for each filter, in order; not sent in 3.1.1.
    pub reasons: ReasonCodes<'a>,
}

impl<'a> UnsubAck<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let id = reader.packet_id(rule::PACKET_ID_SUBACK)?;
        if reader.version() == Version::V311 {
            return Ok(Self {
                id,
                properties: AckProperties::default(),
                reasons: ReasonCodes::wire(&[]),
            });
        }
        let properties = AckProperties::decode(reader, "5.0 §3.11.2.1")?;
        let codes = reader.take(reader.rest().len())?;
        let allowed = |reason: ReasonCode| reason.allowed_in(Kind::UnsubAck, Sender::Server);
        if codes.is_empty()
            || !codes
                .iter()
                .all(|code| ReasonCode::from_u8(*code).is_some_and(allowed))
        {
            return Err(reader.protocol(
                Rule::both("MQTT-3.11.3-2"),
                "reason code not allowed in UNSUBACK or none",
            ));
        }
        Ok(Self {
            id,
            properties,
            reasons: ReasonCodes::wire(codes),
        })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(Kind::UnsubAck.first_byte(), self, version, out)
    }
}

impl Body for UnsubAck<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        out.u16(self.id.get());
        if version == Version::V311 {
            return Ok(());
        }
        if self.reasons.is_empty() {
            return Err(EncodeError::Empty);
        }
        self.properties.write_block(version, out)?;
        for reason in self.reasons.iter() {
            out.u8(reason.as_u8());
        }
        Ok(())
    }
}
