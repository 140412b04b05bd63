//! CONNECT (5.0 §3.1, 3.1.1 §3.1).

use std::num::{NonZeroU16, NonZeroU32};

use crate::{
    Binary, DecodeError, EncodeError, Frame, Kind, Limits, Password, QoS, ReasonCode, Text,
    TopicName, UserProperties, Version,
    error::Rule,
    property::{Properties, PropertySet, Writer, id, topic_name},
    wire::{Body, Reader, Sink, encode},
};

const PROTOCOL_NAME: &str = "MQTT";

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// CONNECT: a client opens its session.
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    /// The version the client speaks, for the rest of the connection.
    pub version: Version,
    /// Forget the session of before; "clean session" in 3.1.1.
    pub clean_start: bool,
    /// Seconds between packets at most, 0 for no limit.
    pub keep_alive: u16,
    /// Properties, empty in 3.1.1.
    pub properties: ConnectProperties<'a>,
    /// The client identifier, empty if the server shall choose one.
    pub client_id: Text<'a>,
    /// The message to publish when the client is lost.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub user_name: Option<Text<'a>>,
    /// The password.
    pub password: Option<Password<'a>>,
}

/// Properties of CONNECT (5.0 §3.1.2.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectProperties<'a> {
    /// Seconds the session outlives the connection; absent is 0, `u32::MAX` is for ever.
    pub session_expiry: Option<u32>,
    /// Unacknowledged QoS 1 and 2 messages the client takes at once; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest packet the client takes; absent is no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest topic alias the client takes; absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Whether the client wants response information; absent is no.
    pub request_response_information: Option<bool>,
    /// Whether the client wants reason strings; absent is yes.
    pub request_problem_information: Option<bool>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<Text<'a>>,
    /// The first data of enhanced authentication.
    pub authentication_data: Option<Binary<'a>>,
}

/// The will: what to publish when the client is lost (5.0 §3.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// Its topic.
    pub topic: TopicName<'a>,
    /// Its payload.
    pub payload: Binary<'a>,
    /// Its QoS.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Its properties, empty in 3.1.1.
    pub properties: WillProperties<'a>,
}

/// Properties of the will (5.0 §3.1.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WillProperties<'a> {
    /// Seconds to wait before publishing; absent is 0.
    pub delay: Option<u32>,
    /// Whether the payload is UTF-8; absent is unspecified bytes.
    pub payload_is_utf8: Option<bool>,
    /// Seconds the message lives.
    pub message_expiry: Option<u32>,
    /// What the payload is.
    pub content_type: Option<Text<'a>>,
    /// Where to answer.
    pub response_topic: Option<TopicName<'a>>,
    /// What to repeat in the answer.
    pub correlation_data: Option<Binary<'a>>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Connect<'a> {
    pub(crate) fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let version = version(frame)?;
        frame.check_header(version)?;
        let reader = &mut Reader::new(frame.body, version);
        // §3.1.2.1 and §3.1.2.2, which version() looked at.
        reader.str()?;
        reader.u8()?;
        let flags = Flags::decode(reader)?;
        let keep_alive = reader.u16()?;
        let properties = ConnectProperties::decode(reader)?;
        // §3.1.3: the payload's fields come in this order [MQTT-3.1.3-1].
        let client_id = reader.text()?;
        if client_id.is_empty() && version == Version::V311 && !flags.clean_start {
            return Err(DecodeError::new(
                ReasonCode::ClientIdentifierNotValid,
                "MQTT-3.1.3-8",
                "empty client identifier without clean session",
            ));
        }
        let will = match flags.will {
            None => None,
            Some((qos, retain)) => {
                let properties = WillProperties::decode(reader, frame.limits)?;
                let topic = topic_name(
                    reader,
                    frame.limits,
                    Rule::of("MQTT-4.7.0-1", "MQTT-4.7.1-1"),
                )?;
                Some(Will {
                    topic,
                    payload: reader.binary()?,
                    qos,
                    retain,
                    properties,
                })
            }
        };
        let user_name = if flags.user_name {
            Some(reader.text()?)
        } else {
            None
        };
        let password = if flags.password {
            Some(Password::new(reader.binary()?))
        } else {
            None
        };
        reader.end()?;
        Ok(Self {
            version,
            clean_start: flags.clean_start,
            keep_alive,
            properties,
            client_id,
            will,
            user_name,
            password,
        })
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.version == Version::V311 && self.password.is_some() && self.user_name.is_none() {
            return Err(EncodeError::NotInVersion);
        }
        encode(Kind::Connect.first_byte(), self, self.version, out)
    }
}

/// The version a CONNECT names, or the answer that this server does not speak it.
fn version(frame: &Frame<'_>) -> Result<Version, DecodeError> {
    // A name cut short gets the same answer as any other cut packet: the reader below finds it.
    let reader = &mut Reader::new(frame.body, Version::V5);
    let name = reader.str()?;
    let level = reader.u8()?;
    let unsupported = |statement, detail| {
        DecodeError::new(ReasonCode::UnsupportedProtocolVersion, statement, detail)
    };
    if name != PROTOCOL_NAME {
        return Err(unsupported("MQTT-3.1.2-1", "protocol name is not MQTT"));
    }
    match level {
        4 => Ok(Version::V311),
        5 => Ok(Version::V5),
        _ => Err(unsupported(
            "MQTT-3.1.2-2",
            "protocol version is neither 5 nor 4",
        )),
    }
}

struct Flags {
    clean_start: bool,
    will: Option<(QoS, bool)>,
    user_name: bool,
    password: bool,
}

impl Flags {
    /// §3.1.2.3.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        let set = |flag| flags & flag != 0;
        if set(0x01) {
            return Err(reader.malformed(Rule::both("MQTT-3.1.2-3"), "reserved CONNECT flag"));
        }
        let Some(will_qos) = QoS::from_u8(flags >> 3 & 0b11) else {
            return Err(reader.malformed(Rule::of("MQTT-3.1.2-12", "MQTT-3.1.2-14"), "will QoS 3"));
        };
        if !set(WILL) && will_qos != QoS::AtMostOnce {
            return Err(reader.malformed(
                Rule::of("MQTT-3.1.2-11", "MQTT-3.1.2-13"),
                "will QoS without will",
            ));
        }
        if !set(WILL) && set(WILL_RETAIN) {
            return Err(reader.malformed(
                Rule::of("MQTT-3.1.2-13", "MQTT-3.1.2-15"),
                "will retain without will",
            ));
        }
        if reader.version() == Version::V311 && set(PASSWORD) && !set(USER_NAME) {
            return Err(reader.malformed(Rule::both("MQTT-3.1.2-22"), "password without user name"));
        }
        Ok(Self {
            clean_start: set(CLEAN_START),
            will: set(WILL).then_some((will_qos, set(WILL_RETAIN))),
            user_name: set(USER_NAME),
            password: set(PASSWORD),
        })
    }
}

impl<'a> ConnectProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut block = Properties::take(reader, "5.0 §3.1.2.11")?;
        while let Some(property) = block.next()? {
            match property {
                id::SESSION_EXPIRY => block.u32(&mut found.session_expiry)?,
                id::RECEIVE_MAXIMUM => block.non_zero_u16(&mut found.receive_maximum)?,
                id::MAXIMUM_PACKET_SIZE => block.non_zero_u32(&mut found.maximum_packet_size)?,
                id::TOPIC_ALIAS_MAXIMUM => block.u16(&mut found.topic_alias_maximum)?,
                id::REQUEST_RESPONSE_INFO => block.flag(&mut found.request_response_information)?,
                id::REQUEST_PROBLEM_INFO => block.flag(&mut found.request_problem_information)?,
                id::USER_PROPERTY => block.user()?,
                id::AUTH_METHOD => block.text(&mut found.authentication_method)?,
                id::AUTH_DATA => block.binary(&mut found.authentication_data)?,
                _ => return Err(block.unknown()),
            }
        }
        if found.authentication_data.is_some() && found.authentication_method.is_none() {
            return Err(block.forbidden("authentication data without method"));
        }
        found.user_properties = block.users();
        Ok(found)
    }
}

impl PropertySet for ConnectProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        out.u32(id::SESSION_EXPIRY, self.session_expiry);
        out.u16(
            id::RECEIVE_MAXIMUM,
            self.receive_maximum.map(NonZeroU16::get),
        );
        out.u32(
            id::MAXIMUM_PACKET_SIZE,
            self.maximum_packet_size.map(NonZeroU32::get),
        );
        out.u16(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        out.flag(id::REQUEST_RESPONSE_INFO, self.request_response_information);
        out.flag(id::REQUEST_PROBLEM_INFO, self.request_problem_information);
        out.text(id::AUTH_METHOD, self.authentication_method);
        out.binary(id::AUTH_DATA, self.authentication_data);
        self.user_properties.write(out.0);
    }
}

impl<'a> WillProperties<'a> {
    fn decode(reader: &mut Reader<'a>, limits: Limits) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut block = Properties::take(reader, "5.0 §3.1.3.2")?;
        while let Some(property) = block.next()? {
            match property {
                id::WILL_DELAY => block.u32(&mut found.delay)?,
                id::PAYLOAD_FORMAT => block.flag(&mut found.payload_is_utf8)?,
                id::MESSAGE_EXPIRY => block.u32(&mut found.message_expiry)?,
                id::CONTENT_TYPE => block.text(&mut found.content_type)?,
                id::RESPONSE_TOPIC => block.response_topic(&mut found.response_topic, limits)?,
                id::CORRELATION_DATA => block.binary(&mut found.correlation_data)?,
                id::USER_PROPERTY => block.user()?,
                _ => return Err(block.unknown()),
            }
        }
        found.user_properties = block.users();
        Ok(found)
    }
}

impl PropertySet for WillProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        out.u32(id::WILL_DELAY, self.delay);
        out.flag(id::PAYLOAD_FORMAT, self.payload_is_utf8);
        out.u32(id::MESSAGE_EXPIRY, self.message_expiry);
        out.text(id::CONTENT_TYPE, self.content_type);
        out.string(
            id::RESPONSE_TOPIC,
            self.response_topic.map(TopicName::as_str),
        );
        out.binary(id::CORRELATION_DATA, self.correlation_data);
        self.user_properties.write(out.0);
    }
}

impl Body for Connect<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        out.string(PROTOCOL_NAME);
        out.u8(version.level());
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let will = self.will.map_or(0, |will| {
            WILL | will.qos.as_u8() << 3 | flag(will.retain, WILL_RETAIN)
        });
        out.u8(flag(self.clean_start, CLEAN_START)
            | will
            | flag(self.user_name.is_some(), USER_NAME)
            | flag(self.password.is_some(), PASSWORD));
        out.u16(self.keep_alive);
        self.properties.write_block(version, out)?;
        out.string(&self.client_id);
        if let Some(will) = &self.will {
            will.properties.write_block(version, out)?;
            out.string(&will.topic);
            out.binary(will.payload);
        }
        if let Some(user_name) = self.user_name {
            out.string(&user_name);
        }
        if let Some(password) = self.password {
            out.binary(password.expose());
        }
        Ok(())
    }
}
