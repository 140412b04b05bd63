//! CONNACK (5.0 §3.2, 3.1.1 §3.2).

use std::num::{NonZeroU16, NonZeroU32};

use crate::{
    Binary, DecodeError, EncodeError, Kind, QoS, ReasonCode, Sender, Text, UserProperties, Version,
    error::Rule,
    property::{Properties, PropertySet, Writer, id},
    wire::{Body, Reader, Sink, encode},
};

/// CONNACK: the server answers CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server kept the session; never with an error [MQTT-3.2.2-6].
    pub session_present: bool,
    /// Accepted or why not; mapped onto the return codes of 3.1.1 there.
    pub reason: ReasonCode,
    /// Properties, empty in 3.1.1.
    pub properties: ConnAckProperties<'a>,
}

/// Properties of CONNACK (5.0 §3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnAckProperties<'a> {
    /// Seconds the session outlives the connection, if not what the client asked for.
    pub session_expiry: Option<u32>,
    /// Unacknowledged QoS 1 and 2 messages the server takes at once; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS the server takes, 0 or 1; absent is 2. A 2 here cannot be said and is left out.
    pub maximum_qos: Option<QoS>,
    /// Whether retained messages are kept; absent is yes.
    pub retain_available: Option<bool>,
    /// The largest packet the server takes; absent is no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The client identifier the server chose.
    pub assigned_client_id: Option<Text<'a>>,
    /// The highest topic alias the server takes; absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Why, for people.
    pub reason_string: Option<Text<'a>>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Whether wildcards may be subscribed to; absent is yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscription identifiers are kept; absent is yes.
    pub subscription_id_available: Option<bool>,
    /// Whether subscriptions may be shared; absent is yes.
    pub shared_subscription_available: Option<bool>,
    /// The keep alive time to use instead of the client's.
    pub server_keep_alive: Option<u16>,
    /// A base for response topics.
    pub response_information: Option<Text<'a>>,
    /// Another server to use.
    pub server_reference: Option<Text<'a>>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<Text<'a>>,
    /// The last data of enhanced authentication.
    pub authentication_data: Option<Binary<'a>>,
}

impl<'a> ConnAck<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let session_present = match reader.u8()? {
            0 => false,
            1 => true,
            _ => {
                return Err(reader.malformed(
                    Rule::of("MQTT-3.2.2-1", "3.1.1 §3.2.2.1"),
                    "reserved CONNACK flags",
                ));
            }
        };
        let code = reader.u8()?;
        let reason = match reader.version() {
            Version::V311 => ReasonCode::from_connect_return_code(code),
            Version::V5 => ReasonCode::from_u8(code)
                .filter(|reason| reason.allowed_in(Kind::ConnAck, Sender::Server)),
        };
        let Some(reason) = reason else {
            return Err(reader.protocol(
                Rule::of("MQTT-3.2.2-8", "3.1.1 §3.2.2.3"),
                "reason code not allowed in CONNACK",
            ));
        };
        if session_present && reason != ReasonCode::Success {
            return Err(reader.protocol(
                Rule::of("MQTT-3.2.2-6", "MQTT-3.2.2-4"),
                "session present with an error",
            ));
        }
        Ok(Self {
            session_present,
            reason,
            properties: ConnAckProperties::decode(reader)?,
        })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(Kind::ConnAck.first_byte(), self, version, out)
    }
}

impl<'a> ConnAckProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut block = Properties::take(reader, "5.0 §3.2.2.3")?;
        while let Some(property) = block.next()? {
            match property {
                id::SESSION_EXPIRY => block.u32(&mut found.session_expiry)?,
                id::RECEIVE_MAXIMUM => block.non_zero_u16(&mut found.receive_maximum)?,
                id::MAXIMUM_QOS => block.maximum_qos(&mut found.maximum_qos)?,
                id::RETAIN_AVAILABLE => block.flag(&mut found.retain_available)?,
                id::MAXIMUM_PACKET_SIZE => block.non_zero_u32(&mut found.maximum_packet_size)?,
                id::ASSIGNED_CLIENT_ID => block.text(&mut found.assigned_client_id)?,
                id::TOPIC_ALIAS_MAXIMUM => block.u16(&mut found.topic_alias_maximum)?,
                id::REASON_STRING => block.text(&mut found.reason_string)?,
                id::USER_PROPERTY => block.user()?,
                id::WILDCARD_AVAILABLE => block.flag(&mut found.wildcard_subscription_available)?,
                id::SUB_ID_AVAILABLE => block.flag(&mut found.subscription_id_available)?,
                id::SHARED_AVAILABLE => block.flag(&mut found.shared_subscription_available)?,
                id::SERVER_KEEP_ALIVE => block.u16(&mut found.server_keep_alive)?,
                id::RESPONSE_INFO => block.text(&mut found.response_information)?,
                id::SERVER_REFERENCE => block.text(&mut found.server_reference)?,
                id::AUTH_METHOD => block.text(&mut found.authentication_method)?,
                id::AUTH_DATA => block.binary(&mut found.authentication_data)?,
                _ => return Err(block.unknown()),
            }
        }
        found.user_properties = block.users();
        Ok(found)
    }
}

impl PropertySet for ConnAckProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        let below_two = self.maximum_qos.filter(|qos| *qos != QoS::ExactlyOnce);
        out.u32(id::SESSION_EXPIRY, self.session_expiry);
        out.u16(
            id::RECEIVE_MAXIMUM,
            self.receive_maximum.map(NonZeroU16::get),
        );
        out.flag(
            id::MAXIMUM_QOS,
            below_two.map(|qos| qos == QoS::AtLeastOnce),
        );
        out.flag(id::RETAIN_AVAILABLE, self.retain_available);
        out.u32(
            id::MAXIMUM_PACKET_SIZE,
            self.maximum_packet_size.map(NonZeroU32::get),
        );
        out.text(id::ASSIGNED_CLIENT_ID, self.assigned_client_id);
        out.u16(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        out.text(id::REASON_STRING, self.reason_string);
        out.flag(id::WILDCARD_AVAILABLE, self.wildcard_subscription_available);
        out.flag(id::SUB_ID_AVAILABLE, self.subscription_id_available);
        out.flag(id::SHARED_AVAILABLE, self.shared_subscription_available);
        out.u16(id::SERVER_KEEP_ALIVE, self.server_keep_alive);
        out.text(id::RESPONSE_INFO, self.response_information);
        out.text(id::SERVER_REFERENCE, self.server_reference);
        out.text(id::AUTH_METHOD, self.authentication_method);
        out.binary(id::AUTH_DATA, self.authentication_data);
        self.user_properties.write(out.0);
    }
}

impl Body for ConnAck<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        out.u8(u8::from(
            self.session_present && self.reason == ReasonCode::Success,
        ));
        out.u8(match version {
            Version::V311 => self.reason.as_connect_return_code(),
            Version::V5 => self.reason.as_u8(),
        });
        self.properties.write_block(version, out)
    }
}
