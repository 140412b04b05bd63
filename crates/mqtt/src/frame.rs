//! Finding one packet in a stream of bytes (5.0 §2.1).

use crate::{
    DecodeError, ReasonCode, Version,
    error::{Rule, rule},
    wire::{self, Varint},
};

/// The type of a packet (5.0 table 2-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CONNECT.
    Connect,
    /// CONNACK.
    ConnAck,
    /// PUBLISH.
    Publish,
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
    /// SUBSCRIBE.
    Subscribe,
    /// SUBACK.
    SubAck,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// UNSUBACK.
    UnsubAck,
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect,
    /// AUTH, MQTT 5 only.
    Auth,
}

impl Kind {
    const fn from_u4(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this kind; a PUBLISH adds its own flags.
    pub(crate) const fn first_byte(self) -> u8 {
        match self {
            Self::Connect => 0x10,
            Self::ConnAck => 0x20,
            Self::Publish => 0x30,
            Self::PubAck => 0x40,
            Self::PubRec => 0x50,
            Self::PubRel => 0x62,
            Self::PubComp => 0x70,
            Self::Subscribe => 0x82,
            Self::SubAck => 0x90,
            Self::Unsubscribe => 0xA2,
            Self::UnsubAck => 0xB0,
            Self::PingReq => 0xC0,
            Self::PingResp => 0xD0,
            Self::Disconnect => 0xE0,
            Self::Auth => 0xF0,
        }
    }

    /// The statement that fixes the flags of this kind.
    const fn flags_rule(self) -> Rule {
        match self {
            Self::PubRel => Rule::both("MQTT-3.6.1-1"),
            Self::Subscribe => Rule::both("MQTT-3.8.1-1"),
            Self::Unsubscribe => Rule::both("MQTT-3.10.1-1"),
            Self::Disconnect => Rule::both("MQTT-3.14.1-1"),
            Self::Auth => Rule::both("MQTT-3.15.1-1"),
            Self::Connect
            | Self::ConnAck
            | Self::Publish
            | Self::PubAck
            | Self::PubRec
            | Self::PubComp
            | Self::SubAck
            | Self::UnsubAck
            | Self::PingReq
            | Self::PingResp => rule::FLAGS,
        }
    }
}

/// What a receiver accepts beyond the rules of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest whole packet, fixed header included (5.0 §3.1.2.11.4).
    pub max_packet: usize,
    /// The longest topic name or filter, in bytes.
    pub max_topic_bytes: usize,
    /// The most levels in a topic name or filter.
    pub max_topic_levels: usize,
}

impl Default for Limits {
    /// 256 KiB packets, topics of 1,024 bytes and 32 levels.
    fn default() -> Self {
        Self {
            max_packet: 256 * 1024,
            max_topic_bytes: 1024,
            max_topic_levels: 32,
        }
    }
}

impl Limits {
    /// As much as the protocol itself allows.
    pub const NONE: Self = Self {
        max_packet: usize::MAX,
        max_topic_bytes: usize::MAX,
        max_topic_levels: usize::MAX,
    };

    pub(crate) fn allow_topic(self, topic: &str) -> bool {
        let separators = topic.bytes().filter(|byte| *byte == b'/').count();
        topic.len() <= self.max_topic_bytes && separators < self.max_topic_levels
    }
}

/// One whole packet in a buffer, its body not looked at yet.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) body: &'a [u8],
    pub(crate) minimal: bool,
    pub(crate) len: usize,
    pub(crate) limits: Limits,
}

impl<'a> Frame<'a> {
    /// The type of the packet.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// How many bytes of the buffer the packet takes.
    #[expect(clippy::len_without_is_empty, reason = "a packet is never empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The protocol name and level a CONNECT asks for, even if the rest of it is broken: tells how to answer a peer of another
    /// version ([MQTT-3.1.2-2] of both specifications).
    pub fn connect_level(&self) -> Option<(&'a [u8], u8)> {
        if self.kind != Kind::Connect {
            return None;
        }
        let (len, rest) = self.body.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        Some((name, *rest.first()?))
    }
}

/// The packet at the start of `buf`, `None` while bytes are missing.
///
/// Looks at no more than five bytes, so calling it again for each byte of a slow peer costs nothing; type, flags and length are
/// refused as soon as they can be read.
pub fn frame(buf: &[u8], limits: Limits) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((&first, rest)) = buf.split_first() else {
        return Ok(None);
    };
    // The version is not known here; both specifications agree on everything but the number of the statement.
    let version = Version::V5;
    let Some(kind) = Kind::from_u4(first >> 4) else {
        return Err(rule::KIND.malformed(version, "packet type 0 is reserved"));
    };
    if kind != Kind::Publish && first != kind.first_byte() {
        return Err(kind
            .flags_rule()
            .malformed(version, "reserved flags of the fixed header"));
    }
    let (remaining, header, minimal) = match wire::varint(rest) {
        Varint::Value {
            value,
            len,
            minimal,
        } => (value, len.saturating_add(1), minimal),
        Varint::Unfinished => return Ok(None),
        Varint::TooLong => {
            return Err(rule::VARINT.malformed(version, "remaining length longer than four bytes"));
        }
    };
    let too_large = DecodeError::new(
        ReasonCode::PacketTooLarge,
        "MQTT-3.2.2-15",
        "packet larger than the maximum packet size",
    );
    let len = usize::try_from(remaining)
        .map_err(|_| too_large)?
        .saturating_add(header);
    if len > limits.max_packet {
        return Err(too_large);
    }
    Ok(buf.get(header..len).map(|body| Frame {
        kind,
        flags: first & 0x0F,
        body,
        minimal,
        len,
        limits,
    }))
}
