//! PINGREQ and PINGRESP (5.0 §3.12 and §3.13), DISCONNECT (§3.14) and AUTH (§3.15).

use crate::{
    Binary, DecodeError, EncodeError, Kind, ReasonCode, Sender, Text, UserProperties, Version,
    error::Rule,
    property::{Properties, PropertySet, Writer, id},
    wire::{Body, Reader, Sink, encode},
};

/// Appends a PINGREQ.
pub fn encode_ping_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&[Kind::PingReq.first_byte(), 0]);
}

/// Appends a PINGRESP.
pub fn encode_ping_response(out: &mut Vec<u8>) {
    out.extend_from_slice(&[Kind::PingResp.first_byte(), 0]);
}

/// DISCONNECT: the last packet of a connection; in 3.1.1 only a client sends it, and it says nothing but good-bye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; always success in 3.1.1.
    pub reason: ReasonCode,
    /// Properties, empty in 3.1.1.
    pub properties: DisconnectProperties<'a>,
}

/// Properties of DISCONNECT (5.0 §3.14.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DisconnectProperties<'a> {
    /// A new session expiry; only from a client [MQTT-3.14.2-2].
    pub session_expiry: Option<u32>,
    /// Why, for people.
    pub reason_string: Option<Text<'a>>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Another server to use; only from a server.
    pub server_reference: Option<Text<'a>>,
}

impl<'a> Disconnect<'a> {
    /// A reason without properties.
    pub fn with_reason(reason: ReasonCode) -> Self {
        Self {
            reason,
            properties: DisconnectProperties::default(),
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'a>, sender: Sender) -> Result<Self, DecodeError> {
        // A remaining length of 0 means success, below 2 no properties (5.0 §3.14.2.1 and §3.14.2.2.1).
        if reader.version() == Version::V311 || reader.is_empty() {
            return Ok(Self::with_reason(ReasonCode::Success));
        }
        let reason = reason(
            reader,
            Kind::Disconnect,
            sender,
            Rule::both("MQTT-3.14.2-1"),
        )?;
        if reader.is_empty() {
            return Ok(Self::with_reason(reason));
        }
        Ok(Self {
            reason,
            properties: DisconnectProperties::decode(reader, sender)?,
        })
    }

    /// Appends the packet, MQTT 5 in its shortest form.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(Kind::Disconnect.first_byte(), self, version, out)
    }
}

fn reason(
    reader: &mut Reader<'_>,
    kind: Kind,
    sender: Sender,
    rule: Rule,
) -> Result<ReasonCode, DecodeError> {
    let code = reader.u8()?;
    ReasonCode::from_u8(code)
        .filter(|reason| reason.allowed_in(kind, sender))
        .ok_or_else(|| reader.protocol(rule, "reason code not allowed in this packet"))
}

impl<'a> DisconnectProperties<'a> {
    fn decode(reader: &mut Reader<'a>, sender: Sender) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut block = Properties::take(reader, "5.0 §3.14.2.2")?;
        while let Some(property) = block.next()? {
            match property {
                id::SESSION_EXPIRY => block.u32(&mut found.session_expiry)?,
                id::REASON_STRING => block.text(&mut found.reason_string)?,
                id::USER_PROPERTY => block.user()?,
                id::SERVER_REFERENCE => block.text(&mut found.server_reference)?,
                _ => return Err(block.unknown()),
            }
        }
        if sender == Sender::Server && found.session_expiry.is_some() {
            let rule = Rule::both("MQTT-3.14.2-2");
            return Err(reader.protocol(rule, "session expiry from a server"));
        }
        if sender == Sender::Client && found.server_reference.is_some() {
            return Err(reader.protocol(
                Rule::both("5.0 §3.14.2.2.5"),
                "server reference from a client",
            ));
        }
        found.user_properties = block.users();
        Ok(found)
    }
}

impl PropertySet for DisconnectProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        out.u32(id::SESSION_EXPIRY, self.session_expiry);
        out.text(id::REASON_STRING, self.reason_string);
        out.text(id::SERVER_REFERENCE, self.server_reference);
        self.user_properties.write(out.0);
    }
}

impl Body for Disconnect<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        if version == Version::V311 {
            return Ok(());
        }
        write_short(self.reason, &self.properties, out)
    }
}

/// Reason and properties, each left out if it says nothing.
fn write_short(
    reason: ReasonCode,
    properties: &impl PropertySet,
    out: &mut impl Sink,
) -> Result<(), EncodeError> {
    let no_properties = properties.encoded_len()? == 0;
    if no_properties && reason == ReasonCode::Success {
        return Ok(());
    }
    out.u8(reason.as_u8());
    if no_properties {
        Ok(())
    } else {
        properties.write_block(Version::V5, out)
    }
}

/// AUTH: a step of enhanced authentication (5.0 §4.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Which step.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: AuthProperties<'a>,
}

/// Properties of AUTH (5.0 §3.15.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuthProperties<'a> {
    /// The method, the same as in CONNECT.
    pub authentication_method: Option<Text<'a>>,
    /// What the method sends.
    pub authentication_data: Option<Binary<'a>>,
    /// Why, for people.
    pub reason_string: Option<Text<'a>>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, sender: Sender) -> Result<Self, DecodeError> {
        let rule = Rule::both("MQTT-3.15.2-1");
        // Success without properties may be left out altogether (§3.15.2.1), and only a server says it.
        if reader.is_empty() {
            return match sender {
                Sender::Server => Ok(Self {
                    reason: ReasonCode::Success,
                    properties: AuthProperties::default(),
                }),
                Sender::Client => {
                    Err(reader.protocol(rule, "reason code not allowed in this packet"))
                }
            };
        }
        let reason = reason(reader, Kind::Auth, sender, rule)?;
        Ok(Self {
            reason,
            properties: AuthProperties::decode(reader)?,
        })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if version == Version::V311 {
            return Err(EncodeError::NotInVersion);
        }
        encode(Kind::Auth.first_byte(), self, version, out)
    }
}

impl<'a> AuthProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut block = Properties::take(reader, "5.0 §3.15.2.2")?;
        while let Some(property) = block.next()? {
            match property {
                id::AUTH_METHOD => block.text(&mut found.authentication_method)?,
                id::AUTH_DATA => block.binary(&mut found.authentication_data)?,
                id::REASON_STRING => block.text(&mut found.reason_string)?,
                id::USER_PROPERTY => block.user()?,
                _ => return Err(block.unknown()),
            }
        }
        // §3.15.2.2.2
        if found.authentication_method.is_none() {
            return Err(block.forbidden("AUTH without authentication method"));
        }
        found.user_properties = block.users();
        Ok(found)
    }
}

impl PropertySet for AuthProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        out.text(id::AUTH_METHOD, self.authentication_method);
        out.binary(id::AUTH_DATA, self.authentication_data);
        out.text(id::REASON_STRING, self.reason_string);
        self.user_properties.write(out.0);
    }
}

impl Body for Auth<'_> {
    fn write(&self, _: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        let no_properties = self.properties.encoded_len()? == 0;
        if no_properties && self.reason == ReasonCode::Success {
            return Ok(());
        }
        out.u8(self.reason.as_u8());
        self.properties.write_block(Version::V5, out)
    }
}
