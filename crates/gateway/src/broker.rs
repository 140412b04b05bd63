//! The MQTT broker's core: sessions, subscriptions, retained messages, wills, delivery.
//!
//! No socket, clock, thread or random source: packets and the time come in, bytes appear in the
//! connections' outboxes, changes that must survive go to the journal, and what somebody should know
//! comes back in an [`Output`]. The shell around it is [`crate::mqtt`].
//!
//! | What comes in | Method |
//! |---|---|
//! | a client's CONNECT | [`Broker::handle_connect`] |
//! | any other packet | [`Broker::handle_packet`] |
//! | the connection ended | [`Broker::handle_lost`] |
//! | time passed | [`Broker::handle_tick`] |
//! | a device's policy changed, a device was revoked | [`Broker::set_policy`], [`Broker::revoke`] |
//! | a message of the operator | [`Broker::publish_from_operator`] |
//! | a device's data is erased | `Broker::forget`, step by step |

mod acks;
pub(crate) mod clone;
mod compact;
mod connect;
mod counters;
mod deliver;
mod devices;
mod expiry;
mod forget;
pub(crate) mod fuzz;
mod leave;
mod message;
mod operator;
mod outbox;
mod publish;
mod record;
mod replay;
mod resend;
mod retained;
mod session;
mod slab;
mod subscribe;
mod subscriptions;
#[cfg(test)]
mod tests;
mod will;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use stockade_mqtt::{Packet, ReasonCode, Version};
use stockade_profile::Control;
use stockade_store::{Bus, BusError, Stream};

use self::compact::Round;
use self::devices::Device;
use self::record::Record;
use self::retained::Retained;
use self::session::Session;
use self::slab::Slab;
use self::subscriptions::{Entry, Subscriptions};
use crate::name::DeviceId;

pub(crate) use self::connect::put_connack_error;
pub use self::connect::{Arrival, Way};
pub use self::counters::{Counters, CountersNow};
pub(crate) use self::forget::Forgetting;
pub use self::forget::{Forgotten, Whose};
pub use self::operator::OperatorError;
pub use self::outbox::{Closing, Outbox, Taken};
pub use self::record::RecordError;
pub use self::replay::{Replay, ReplayError};

/// The time, told by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of a clock that never jumps; starts above zero.
    pub mono: u64,
    /// Milliseconds since 1970, UTC; may jump.
    pub unix: i64,
}

/// What the broker bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest packet a client may send, in bytes.
    pub max_packet: u32,
    /// Messages with QoS > 0 a client may have unacknowledged towards us.
    pub receive_maximum: u16,
    /// Messages with QoS > 0 we have unacknowledged towards one client.
    pub inflight: u16,
    /// Messages waiting for one session.
    pub queue_messages: usize,
    /// Bytes waiting for one session.
    pub queue_bytes: usize,
    /// Bytes waiting to be written to one connection before QoS 0 is dropped and QoS > 0 queued.
    pub outbox_bytes: usize,
    /// Subscriptions of one session.
    pub subscriptions: usize,
    /// Sessions of one device.
    pub sessions_per_device: usize,
    /// Retained messages in all.
    pub retained_messages: usize,
    /// Bytes of retained messages in all.
    pub retained_bytes: usize,
    /// Topic aliases a client may use, and the most we use towards it.
    pub topic_aliases: u16,
    /// The longest session expiry, in seconds; a client that asks for more is told.
    pub session_expiry: u32,
    /// The longest keep alive, in seconds; a client that asks for more, or none, is told (MQTT 5).
    pub keep_alive: u16,
    /// Bytes of journal written before old sessions are written anew and the journal is trimmed.
    pub compact_after: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_packet: 256 * 1024,
            receive_maximum: 256,
            inflight: 512,
            queue_messages: 10_000,
            queue_bytes: 8 * 1024 * 1024,
            outbox_bytes: 1024 * 1024,
            subscriptions: 64,
            sessions_per_device: 16,
            retained_messages: 100_000,
            retained_bytes: 64 * 1024 * 1024,
            topic_aliases: 16,
            session_expiry: 7 * 24 * 3600,
            keep_alive: 3600,
            compact_after: 64 * 1024 * 1024,
        }
    }
}

/// A connection as the core knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    pub(crate) slot: u32,
    pub(crate) conn: u64,
    pub(crate) version: Version,
}

impl Handle {
    /// The protocol version the connection speaks.
    pub fn version(self) -> Version {
        self.version
    }
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Hand in the next packet.
    Continue,
    /// Hand in nothing more; the outbox says how the connection ends.
    Close,
    /// Nothing was taken, the journal's buffer is full: hand in the same packet again later.
    Retry,
}

/// Something to tell outside the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A device broke its profile or the protocol; it is counted against it.
    Violation {
        /// Who.
        device: DeviceId,
        /// The control of the profile that decided.
        control: Control,
        /// Where from, if by a connection.
        peer: Option<SocketAddr>,
        /// What and why, for a person.
        reason: String,
    },
    /// A key is used in two places at once.
    Cloned {
        /// Whose.
        device: DeviceId,
        /// The latest place.
        peer: SocketAddr,
        /// What was seen.
        reason: String,
    },
    /// A device was let in, or did what its profile allows for the first time on a connection.
    Admitted {
        /// Who.
        device: DeviceId,
        /// Where from.
        peer: SocketAddr,
        /// What.
        reason: String,
    },
    /// A connection was ended although nobody did anything wrong.
    Closed {
        /// Whose.
        device: DeviceId,
        /// The control of the profile that decided.
        control: Control,
        /// Where from.
        peer: Option<SocketAddr>,
        /// Why.
        reason: String,
    },
    /// The journal takes no records.
    JournalRefuses {
        /// Why.
        reason: String,
    },
}

/// The time of one or more calls to the core, and what they leave for the shell to do.
#[derive(Debug, Default)]
pub struct Output {
    /// The time of these calls.
    pub now: Now,
    /// Connections with something new in their outbox: call [`Outbox::flush`] on each.
    pub dirty: Vec<Arc<Outbox>>,
    /// What to tell outside.
    pub reports: Vec<Report>,
    /// Somebody's queue is filling: read the sender's next packets a little later.
    pub congested: bool,
}

impl Output {
    /// Nothing to do yet, at this time.
    pub fn at(now: Now) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }
}

/// The broker's core.
#[derive(Debug)]
pub struct Broker {
    limits: Limits,
    bus: Arc<dyn Bus>,
    counters: Arc<Counters>,
    sessions: Slab<Box<Session>>,
    by_client: BTreeMap<Box<str>, u32>,
    by_sid: BTreeMap<u64, u32>,
    devices: Slab<Device>,
    by_device: BTreeMap<DeviceId, u32>,
    subscriptions: Subscriptions,
    retained: Retained,
    /// Sessions that end, and when (monotonic milliseconds).
    ends: BTreeSet<(u64, u32)>,
    /// Wills that are due, and when.
    wills: BTreeSet<(u64, u32)>,
    next_sid: u64,
    next_mid: u64,
    /// When connections were looked through last.
    swept: u64,
    round: Round,
    /// The journal refused the last record; told once.
    refusing: bool,
    scratch: Scratch,
}

/// Buffers used again and again.
#[derive(Debug, Default)]
struct Scratch {
    entries: Vec<Entry>,
    plan: Vec<deliver::Step>,
    record: Vec<u8>,
    to: Vec<u8>,
    wire: Vec<u8>,
}

impl Broker {
    /// A broker that knows nobody and writes to `bus`.
    pub fn new(limits: Limits, bus: Arc<dyn Bus>, counters: Arc<Counters>) -> Self {
        Self {
            limits,
            bus,
            counters,
            sessions: Slab::default(),
            by_client: BTreeMap::new(),
            by_sid: BTreeMap::new(),
            devices: Slab::default(),
            by_device: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            retained: Retained::default(),
            ends: BTreeSet::new(),
            wills: BTreeSet::new(),
            next_sid: 1,
            next_mid: 1,
            swept: 0,
            round: Round::default(),
            refusing: false,
            scratch: Scratch::default(),
        }
    }

    /// What is counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Any packet after the CONNECT.
    pub fn handle_packet(&mut self, handle: Handle, packet: &Packet<'_>, out: &mut Output) -> Flow {
        match packet {
            Packet::Publish(publish) => self.publish(handle, publish, out),
            Packet::PubAck(ack) => self.puback(handle, ack, out),
            Packet::PubRec(ack) => self.pubrec(handle, ack, out),
            Packet::PubRel(ack) => self.release(handle, ack.id, out),
            Packet::PubComp(ack) => self.pubcomp(handle, ack, out),
            Packet::Subscribe(subscribe) => self.subscribe(handle, subscribe, out),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(handle, unsubscribe, out),
            Packet::PingReq => self.ping(handle, out),
            Packet::Disconnect(disconnect) => self.disconnect(handle, disconnect, out),
            // A second CONNECT [MQTT-3.1.0-2], an AUTH nobody asked for [MQTT-4.12.0-6], or a
            // packet only servers send.
            Packet::Connect(_)
            | Packet::Auth(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => self.protocol_error(handle, ReasonCode::ProtocolError, out),
        }
    }

    /// Something was read from a connection: once for all packets of one read.
    pub fn handle_heard(&mut self, handle: Handle, out: &mut Output) {
        let Some(session) = self.live(handle) else {
            return;
        };
        let device = session.device;
        if let Some(live) = &mut session.live {
            live.heard = out.now.mono;
        }
        if self.devices.get(device).is_some_and(|d| d.spread) {
            self.heard_beside_others(handle.slot, out);
        }
    }

    /// A connection goes on from another address, which only the link's can.
    pub(crate) fn handle_moved(&mut self, handle: Handle, peer: SocketAddr) {
        let Some(session) = self.live(handle) else {
            return;
        };
        let device = session.device;
        if let Some(live) = &mut session.live {
            live.peer = peer;
        }
        self.update_spread(device);
    }

    /// [MQTT-3.12.4-1]
    fn ping(&mut self, handle: Handle, out: &mut Output) -> Flow {
        let Some(live) = self.live(handle).and_then(|s| s.live.as_mut()) else {
            return Flow::Close;
        };
        if live.outbox.push(0, stockade_mqtt::encode_ping_response) {
            out.dirty.push(Arc::clone(&live.outbox));
        }
        Flow::Continue
    }

    /// The gateway stops: every connection is told so and ends.
    pub fn shut_down(&mut self, out: &mut Output) {
        let all: Vec<u32> = self.sessions.iter().map(|(slot, _)| slot).collect();
        for slot in all {
            self.close(slot, ReasonCode::ServerShuttingDown, Closing::Orderly, out);
        }
    }

    /// Writes one record; everything that depends on it waits for the returned position.
    fn journal(&mut self, record: &Record<'_>, out: &mut Output) -> Result<u64, BusError> {
        let mut bytes = std::mem::take(&mut self.scratch.record);
        bytes.clear();
        record.encode(&mut bytes);
        let done = self.append(&[(Stream::Sessions, &bytes)], out);
        self.scratch.record = bytes;
        done
    }

    fn append(&mut self, records: &[(Stream, &[u8])], out: &mut Output) -> Result<u64, BusError> {
        match self.bus.append_all(records) {
            Ok(seq) => {
                self.refusing = false;
                let sessions = records.iter().filter(|(s, _)| *s == Stream::Sessions);
                self.round
                    .wrote(sessions.map(|(_, bytes)| bytes.len() as u64).sum());
                Ok(seq.get())
            }
            Err(error) => {
                self.tell_refusal(&error, out);
                Err(error)
            }
        }
    }

    /// Tells once that nothing is taken; that the disk is slow is no news.
    fn tell_refusal(&mut self, error: &BusError, out: &mut Output) {
        if !matches!(error, BusError::Full) && !std::mem::replace(&mut self.refusing, true) {
            out.reports.push(Report::JournalRefuses {
                reason: error.to_string(),
            });
        }
    }

    /// The session of a connection, unless another connection has taken it.
    fn live(&mut self, handle: Handle) -> Option<&mut Session> {
        let session = self.sessions.get_mut(handle.slot)?;
        session
            .live
            .as_ref()
            .filter(|live| live.conn == handle.conn)?;
        Some(session)
    }

    fn violation(&self, slot: u32, control: Control, reason: String, out: &mut Output) {
        let Some(session) = self.sessions.get(slot) else {
            return;
        };
        let Some(device) = self.devices.get(session.device) else {
            return;
        };
        out.reports.push(Report::Violation {
            device: device.id().clone(),
            control,
            peer: session.live.as_ref().map(|live| live.peer),
            reason,
        });
    }
}
