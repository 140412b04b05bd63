//! A message as it is kept, shared by everyone who gets it.

use std::sync::Arc;

use stockade_mqtt::{
    Delivery, Disconnect, EncodeError, Limits, Packet, PacketId, Publish, ReasonCode, Sender,
    SubscriptionId, TopicName, Version, frame,
};

use super::Now;
use super::session::Live;
use crate::name::DeviceName;

/// A message that waits for somebody, or is retained.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its number in the journal.
    pub(crate) mid: u64,
    /// The journal position that must be durable before it may leave.
    pub(crate) seq: u64,
    /// When it expires (monotonic milliseconds); 0 is never.
    pub(crate) expires: u64,
    /// The message as an MQTT 5 PUBLISH with QoS 0, without alias and subscription identifiers; behind it the device that
    /// published it, as `model/id`.
    pub(crate) wire: Box<[u8]>,
}

impl Message {
    pub(crate) fn size(&self) -> usize {
        self.wire.len()
    }

    /// The message itself. Always there: only [`put_wire`] makes these bytes, or the journal gave
    /// back what it had made.
    pub(crate) fn publish(&self) -> Option<Publish<'_>> {
        parse_wire(&self.wire)
    }

    pub(crate) fn topic(&self) -> Option<TopicName<'_>> {
        self.publish()?.topic
    }

    /// The device that published it, as `model/id`. Empty for the operator, for a will that is not spoken yet, and for what
    /// a version wrote that did not keep it.
    pub(crate) fn publisher(&self) -> &[u8] {
        let publish = frame(&self.wire, Limits::NONE).ok().flatten();
        publish
            .and_then(|publish| self.wire.get(publish.len()..))
            .unwrap_or_default()
    }

    pub(crate) fn expired(&self, now: Now) -> bool {
        self.expires != 0 && self.expires <= now.mono
    }

    /// When it expires by the other clock; 0 is never.
    pub(crate) fn expires_unix(&self, now: Now) -> i64 {
        to_unix(self.expires, now)
    }
}

/// A monotonic time by the wall clock; 0 stays 0.
pub(crate) fn to_unix(mono: u64, now: Now) -> i64 {
    if mono == 0 {
        return 0;
    }
    let ahead = i128::from(mono) - i128::from(now.mono);
    i64::try_from(i128::from(now.unix) + ahead)
        .unwrap_or(i64::MAX)
        .max(1)
}

/// A wall-clock time by the monotonic clock; 0 stays 0, the past is as early as it can be.
pub(crate) fn to_mono(unix: i64, now: Now) -> u64 {
    if unix == 0 {
        return 0;
    }
    let ahead = i128::from(unix) - i128::from(now.unix);
    u64::try_from(i128::from(now.mono) + ahead)
        .unwrap_or(1)
        .max(1)
}

/// Reads the kept form; `None` when these are other bytes.
pub(crate) fn parse_wire(wire: &[u8]) -> Option<Publish<'_>> {
    match frame(wire, Limits::NONE)
        .ok()??
        .decode(Version::V5, Sender::Client)
        .ok()?
    {
        Packet::Publish(publish) if publish.topic.is_some() => Some(publish),
        _ => None,
    }
}

/// Writes the kept form of a publish whose topic is known, and who published it.
pub(crate) fn put_wire(publish: &Publish<'_>, by: Option<&DeviceName>, out: &mut Vec<u8>) {
    let mut kept = *publish;
    kept.delivery = Delivery::AtMostOnce;
    kept.retain = false;
    kept.properties.topic_alias = None;
    kept.properties.subscription_ids = (&[][..]).into();
    // Cannot fail: it was decoded from a packet no larger. An empty message reads back as none.
    put(out, |out| kept.encode(Version::V5, out));
    if let Some(DeviceName { model, id }) = by
        && !out.is_empty()
    {
        out.extend_from_slice(model.as_str().as_bytes());
        out.push(b'/');
        out.extend_from_slice(id.as_str().as_bytes());
    }
}

/// Appends a packet, or nothing if it cannot be written.
pub(crate) fn put(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) {
    let before = out.len();
    if encode(out).is_err() {
        out.truncate(before);
    }
}

/// A message on its way to one session.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) ids: Box<[SubscriptionId]>,
}

/// How one copy of a message is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy<'a> {
    pub(crate) qos: u8,
    pub(crate) packet_id: u16,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) ids: &'a [SubscriptionId],
    /// When the message expires (monotonic milliseconds); 0 is never.
    pub(crate) expires: u64,
    /// The journal position it waits for.
    pub(crate) gate: u64,
}

impl<'a> Copy<'a> {
    /// A copy with QoS 0.
    pub(crate) fn once(retain: bool, ids: &'a [SubscriptionId], expires: u64, gate: u64) -> Self {
        Self {
            qos: 0,
            packet_id: 0,
            dup: false,
            retain,
            ids,
            expires,
            gate,
        }
    }
}

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// In the outbox; true when the connection is to be listed for waking.
    Sent(bool),
    /// Larger than the client takes: as if delivered [MQTT-3.1.2-25].
    TooLarge,
}

/// Writes one copy of `publish` (whose topic is known) to a connection.
pub(crate) fn put_copy(
    live: &mut Live,
    version: Version,
    publish: &Publish<'_>,
    copy: Copy<'_>,
    now: Now,
) -> Put {
    let mut p = *publish;
    p.retain = copy.retain;
    p.delivery = match (copy.qos, PacketId::new(copy.packet_id)) {
        (1, Some(id)) => Delivery::AtLeastOnce { id, dup: copy.dup },
        (2, Some(id)) => Delivery::ExactlyOnce { id, dup: copy.dup },
        _ => Delivery::AtMostOnce,
    };
    p.properties.topic_alias = None;
    p.properties.subscription_ids = copy.ids.into();
    if copy.expires != 0 {
        // [MQTT-3.3.2-6]: the time it has waited is taken off.
        let left = copy.expires.saturating_sub(now.mono).div_ceil(1_000).max(1);
        p.properties.message_expiry = Some(u32::try_from(left).unwrap_or(u32::MAX));
    }
    let mut named = false;
    if version == Version::V5 && live.aliases_out_max > 0 {
        named = alias_out(live, &mut p);
    }
    let max = usize::try_from(live.max_packet).unwrap_or(usize::MAX);
    let mut fits = true;
    let listed = live.outbox.push(copy.gate, |bytes| {
        let before = bytes.len();
        fits = p.encode(version, bytes).is_ok() && bytes.len() - before <= max;
        if !fits {
            bytes.truncate(before);
        }
    });
    if fits {
        return Put::Sent(listed);
    }
    if named {
        live.aliases_out.pop();
    }
    Put::TooLarge
}

/// Replaces the topic by its alias, or gives it one while there are some left (§3.3.2.3.4).
/// True when an alias was made.
fn alias_out(live: &mut Live, p: &mut Publish<'_>) -> bool {
    let Some(topic) = p.topic else { return false };
    let number = |at: usize| {
        u16::try_from(at + 1)
            .ok()
            .and_then(std::num::NonZeroU16::new)
    };
    if let Some(at) = live.aliases_out.iter().position(|t| **t == *topic) {
        p.properties.topic_alias = number(at);
        p.topic = None;
        return false;
    }
    if live.aliases_out.len() >= usize::from(live.aliases_out_max) {
        return false;
    }
    live.aliases_out.push(topic.as_str().into());
    p.properties.topic_alias = number(live.aliases_out.len() - 1);
    true
}

/// Writes a DISCONNECT of the server (MQTT 5 only).
pub(crate) fn put_disconnect(reason: ReasonCode, out: &mut Vec<u8>) {
    let disconnect = Disconnect::with_reason(reason);
    put(out, |out| disconnect.encode(Version::V5, out));
}
