//! What can be wrong with a packet, and which rule says so.

use crate::{ReasonCode, Version, topic::TopicError};

/// A packet that breaks the specification: what to answer, which rule, and what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail} [{statement}]")]
pub struct DecodeError {
    /// The MQTT 5 reason code to close the connection with.
    pub reason: ReasonCode,
    /// The normative statement, such as `MQTT-3.3.2-2`, or where the specification numbers none the section, such as `5.0 §2.2.2.2`.
    pub statement: &'static str,
    /// What was wrong, for the log; the peer only learns the reason code.
    pub detail: &'static str,
}

impl DecodeError {
    pub(crate) const fn new(
        reason: ReasonCode,
        statement: &'static str,
        detail: &'static str,
    ) -> Self {
        Self {
            reason,
            statement,
            detail,
        }
    }
}

/// A packet that cannot be written as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The packet is longer than a remaining length can say (268,435,455 bytes).
    #[error("packet longer than 268435455 bytes")]
    TooLarge,
    /// The packet type or a value in it does not exist in this protocol version.
    #[error("not expressible in this version of the protocol")]
    NotInVersion,
    /// A PUBLISH has neither a topic name nor a topic alias.
    #[error("PUBLISH without topic name and topic alias")]
    NoTopic,
    /// A SUBSCRIBE, UNSUBSCRIBE or their answers list nothing.
    #[error("nothing to subscribe to, unsubscribe from or acknowledge")]
    Empty,
    /// No Local is set on a shared subscription [MQTT-3.8.3-4].
    #[error("no-local on a shared subscription")]
    NoLocalOnShared,
}

/// One rule as both specifications number it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    v5: &'static str,
    v311: &'static str,
}

impl Rule {
    pub(crate) const fn both(statement: &'static str) -> Self {
        Self {
            v5: statement,
            v311: statement,
        }
    }

    pub(crate) const fn of(v5: &'static str, v311: &'static str) -> Self {
        Self { v5, v311 }
    }

    pub(crate) const fn id(self, version: Version) -> &'static str {
        match version {
            Version::V5 => self.v5,
            Version::V311 => self.v311,
        }
    }

    /// The packet cannot be parsed according to the specification (5.0 §4.13.1).
    pub(crate) const fn malformed(self, version: Version, detail: &'static str) -> DecodeError {
        DecodeError::new(ReasonCode::MalformedPacket, self.id(version), detail)
    }

    /// The packet parses but holds what the protocol does not allow (5.0 §4.13.1).
    pub(crate) const fn protocol(self, version: Version, detail: &'static str) -> DecodeError {
        DecodeError::new(ReasonCode::ProtocolError, self.id(version), detail)
    }
}

/// The rules that more than one packet type can break.
pub(crate) mod rule {
    use super::Rule;

    pub(crate) const TRUNCATED: Rule = Rule::of("5.0 §4.13.1", "MQTT-4.8.0-1");
    pub(crate) const TRAILING: Rule = Rule::of("5.0 §4.13.1", "MQTT-4.8.0-1");
    pub(crate) const UTF8: Rule = Rule::of("MQTT-1.5.4-1", "MQTT-1.5.3-1");
    pub(crate) const NUL: Rule = Rule::of("MQTT-1.5.4-2", "MQTT-1.5.3-2");
    pub(crate) const VARINT_MINIMAL: Rule = Rule::both("MQTT-1.5.5-1");
    pub(crate) const VARINT: Rule = Rule::of("5.0 §1.5.5", "3.1.1 §2.2.3");
    pub(crate) const FLAGS: Rule = Rule::of("MQTT-2.1.3-1", "MQTT-2.2.2-2");
    pub(crate) const KIND: Rule = Rule::of("5.0 §2.1.2", "3.1.1 §2.2.1");
    pub(crate) const PACKET_ID_CLIENT: Rule = Rule::of("MQTT-2.2.1-3", "MQTT-2.3.1-1");
    pub(crate) const PACKET_ID_SERVER: Rule = Rule::of("MQTT-2.2.1-4", "MQTT-2.3.1-1");
    pub(crate) const PACKET_ID_ACK: Rule = Rule::of("MQTT-2.2.1-5", "MQTT-2.3.1-6");
    pub(crate) const PACKET_ID_SUBACK: Rule = Rule::of("MQTT-2.2.1-6", "MQTT-2.3.1-7");
    pub(crate) const PROPERTY_ID: Rule = Rule::both("5.0 §2.2.2.2");
    pub(crate) const QOS: Rule = Rule::both("MQTT-3.3.1-4");
}

impl TopicError {
    /// The error of a packet that holds this topic.
    pub(crate) const fn in_packet(self, version: Version, wildcard: Rule) -> DecodeError {
        let (rule, detail) = match self {
            Self::Empty => (Rule::both("MQTT-4.7.3-1"), "empty topic name or filter"),
            Self::TooLong => (Rule::both("MQTT-4.7.3-3"), "topic longer than 65535 bytes"),
            Self::Nul => (Rule::both("MQTT-4.7.3-2"), "topic holds U+0000"),
            Self::Wildcard => (wildcard, "wildcard in a topic name"),
            Self::MultiLevel => (
                Rule::of("MQTT-4.7.1-1", "MQTT-4.7.1-2"),
                "'#' is not the last level on its own",
            ),
            Self::SingleLevel => (
                Rule::of("MQTT-4.7.1-2", "MQTT-4.7.1-3"),
                "'+' shares its level",
            ),
            Self::NoShareName => (
                Rule::both("MQTT-4.8.2-1"),
                "shared subscription without share name",
            ),
            Self::ShareName => (
                Rule::both("MQTT-4.8.2-2"),
                "share name holds a wildcard or no filter follows it",
            ),
        };
        rule.malformed(version, detail)
    }
}
