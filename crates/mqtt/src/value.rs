//! The small checked values packets are made of.

use std::{fmt, num::NonZeroU16, ops::Deref};

/// The protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol version 5.
    V5,
}

impl Version {
    /// The protocol level byte of a CONNECT packet.
    pub const fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

/// Who sent a packet: some packets and values are allowed in one direction only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sender {
    /// The device or program that opened the connection.
    Client,
    /// The broker.
    Server,
}

/// Quality of service: how often a message may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::enum_variant_names, reason = "the names of the specification")]
pub enum QoS {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

impl QoS {
    /// The QoS for its number, `None` for anything above 2.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number of this QoS.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// A packet identifier, never zero [MQTT-2.2.1-3].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// The lowest identifier.
    pub const MIN: Self = Self(NonZeroU16::MIN);

    /// The identifier for a number, `None` for zero.
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A subscription identifier, 1 to 268,435,455 (5.0 §3.8.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(u32);

impl SubscriptionId {
    /// The identifier for a number in range.
    pub const fn new(value: u32) -> Option<Self> {
        match value {
            1..=0x0FFF_FFFF => Some(Self(value)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// When retained messages are sent for a new subscription (5.0 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetainHandling {
    /// At each SUBSCRIBE.
    Send,
    /// Only if the subscription did not exist.
    SendIfNew,
    /// Never.
    DoNotSend,
}

impl RetainHandling {
    pub(crate) const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Send),
            1 => Some(Self::SendIfNew),
            2 => Some(Self::DoNotSend),
            _ => None,
        }
    }

    pub(crate) const fn as_u8(self) -> u8 {
        match self {
            Self::Send => 0,
            Self::SendIfNew => 1,
            Self::DoNotSend => 2,
        }
    }
}

/// Why a string or bytes cannot be sent in MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// More than the 65,535 bytes a two byte length can say.
    #[error("longer than 65535 bytes")]
    TooLong,
    /// U+0000 [MQTT-1.5.4-2].
    #[error("holds U+0000")]
    Nul,
    /// Stored bytes are not a sequence of user properties.
    #[error("not a sequence of user properties")]
    NotUserProperties,
}

/// A UTF-8 encoded string: at most 65,535 bytes, without U+0000 (5.0 §1.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Checks a string.
    pub fn new(text: &'a str) -> Result<Self, TextError> {
        if u16::try_from(text.len()).is_err() {
            Err(TextError::TooLong)
        } else if text.as_bytes().contains(&0) {
            Err(TextError::Nul)
        } else {
            Ok(Self(text))
        }
    }

    /// The string itself.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Binary data of at most 65,535 bytes (5.0 §1.5.6); its `Debug` shows only the length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Binary<'a>(&'a [u8]);

impl<'a> Binary<'a> {
    /// Checks the length.
    pub fn new(bytes: &'a [u8]) -> Result<Self, TextError> {
        if u16::try_from(bytes.len()).is_err() {
            Err(TextError::TooLong)
        } else {
            Ok(Self(bytes))
        }
    }

    /// The bytes themselves.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl Deref for Binary<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl fmt::Debug for Binary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binary({} bytes)", self.0.len())
    }
}

/// The password of a CONNECT packet; it cannot be printed or compared by accident.
#[derive(Clone, Copy)]
pub struct Password<'a>(Binary<'a>);

impl<'a> Password<'a> {
    /// Wraps a secret.
    pub const fn new(secret: Binary<'a>) -> Self {
        Self(secret)
    }

    /// The secret: compare it in constant time, never log it.
    pub const fn expose(self) -> Binary<'a> {
        self.0
    }
}

impl fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}
