//! One session: what is kept for a client, connected or not.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use stockade_mqtt::{SubscriptionId, Version};

use super::message::{Message, Parcel};
use super::outbox::Outbox;
use super::record::Record;
use super::subscriptions::Options;

/// A subscription as its session remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// The filter, with its `$share` part.
    pub(crate) filter: Box<str>,
    pub(crate) options: Options,
    pub(crate) id: Option<SubscriptionId>,
}

/// What is kept for a client.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its number in the journal; never used twice.
    pub(crate) sid: u64,
    pub(crate) client: Box<str>,
    /// Slot of its device.
    pub(crate) device: u32,
    pub(crate) version: Version,
    /// How long it outlives its connection, in seconds.
    pub(crate) expiry: u32,
    /// When its connection ended (milliseconds since 1970); 0 while connected.
    pub(crate) offline_since: i64,
    /// When it ends (monotonic milliseconds), as in the broker's list; 0 is not listed.
    pub(crate) end_at: u64,
    /// When its will is due, as in the broker's list; 0 is not listed.
    pub(crate) will_at: u64,
    pub(crate) subscriptions: Vec<Held>,
    /// Incoming QoS 2 packet identifiers not yet released.
    pub(crate) incoming: BTreeSet<u16>,
    pub(crate) outgoing: Option<Box<Outgoing>>,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) live: Option<Box<Live>>,
}

impl Session {
    /// True when the session must survive a crash.
    pub(crate) fn durable(&self) -> bool {
        self.expiry > 0
    }

    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        self.outgoing.get_or_insert_default()
    }

    /// Gives back the memory of an empty queue.
    pub(crate) fn tidy(&mut self) {
        if self
            .outgoing
            .as_ref()
            .is_some_and(|o| o.is_empty() && o.capacity() > 64)
        {
            let next_id = self.outgoing.as_ref().map_or(0, |o| o.last_id);
            self.outgoing = Some(Box::new(Outgoing {
                last_id: next_id,
                ..Outgoing::default()
            }));
        }
    }
}

/// The last word of a client whose connection is lost.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Seconds between the loss and the word.
    pub(crate) delay: u32,
}

/// Messages on their way to a client.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Sent, not yet complete, in the order of sending.
    pub(crate) flights: VecDeque<Flight>,
    /// Not yet sent.
    pub(crate) queue: VecDeque<Parcel>,
    /// Payload bytes in `queue`.
    pub(crate) queued_bytes: usize,
    /// How many of the last `flights` are yet to be sent again on this connection.
    pub(crate) resend: usize,
    last_id: u16,
}

/// A message that was sent and is not yet complete.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) packet_id: u16,
    /// The message; `None` once the client has it and only the release is left.
    pub(crate) parcel: Option<Parcel>,
}

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.flights.is_empty() && self.queue.is_empty()
    }

    fn capacity(&self) -> usize {
        self.flights.capacity() + self.queue.capacity()
    }

    /// The packet identifier that the next message will be sent with; nothing changes yet.
    pub(crate) fn peek_id(&self) -> u16 {
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !self.flights.iter().any(|f| f.packet_id == id) {
                return id;
            }
        }
    }

    /// Puts a message in flight under an identifier from `peek_id`.
    pub(crate) fn launch(&mut self, packet_id: u16, parcel: Parcel) {
        self.last_id = packet_id;
        self.flights.push_back(Flight {
            packet_id,
            parcel: Some(parcel),
        });
    }

    /// The same, read back. An identifier in use again shows that the exchange before it was complete,
    /// although the disk refused to say so.
    pub(crate) fn relaunch(&mut self, packet_id: u16, parcel: Parcel) {
        self.land(packet_id);
        self.launch(packet_id, parcel);
    }

    /// Takes a message out of those in flight. Most are complete in the order they were sent in, so it is
    /// near the front.
    pub(crate) fn land(&mut self, packet_id: u16) {
        if let Some(at) = self.position(packet_id) {
            self.flights.remove(at);
        }
    }

    /// A QoS 2 message that only waits for its end.
    pub(crate) fn launch_release(&mut self, packet_id: u16) {
        self.last_id = packet_id;
        self.flights.push_back(Flight {
            packet_id,
            parcel: None,
        });
    }

    /// Takes a message out of the queue, wherever it is.
    pub(crate) fn take_queued(&mut self, mid: u64) -> Option<Parcel> {
        let at = self.queue.iter().position(|p| p.message.mid == mid)?;
        let parcel = self.queue.remove(at)?;
        self.queued_bytes = self.queued_bytes.saturating_sub(parcel.message.size());
        Some(parcel)
    }

    /// What the journal is told when the messages that `goes` says of go: see [`Outgoing::drop_all`].
    pub(crate) fn without(
        &self,
        sid: u64,
        goes: impl Fn(&Message) -> bool,
    ) -> Vec<Record<'static>> {
        let queued = self.queue.iter().filter(|parcel| goes(&parcel.message));
        let queued = queued.map(|parcel| Record::Dropped {
            sid,
            mid: parcel.message.mid,
        });
        let is_flying = |flight: &&Flight| flight.parcel.as_ref().is_some_and(|p| goes(&p.message));
        let flying = self.flights.iter().filter(is_flying);
        let flying = flying.map(|flight| Record::Acked {
            sid,
            packet_id: flight.packet_id,
        });
        queued.chain(flying).collect()
    }

    /// Drops the messages that `goes` says of, queued or in flight.
    pub(crate) fn drop_all(&mut self, goes: impl Fn(&Message) -> bool) {
        self.queue.retain(|parcel| !goes(&parcel.message));
        self.queued_bytes = self.queue.iter().map(|parcel| parcel.message.size()).sum();
        self.flights
            .retain(|flight| !flight.parcel.as_ref().is_some_and(|p| goes(&p.message)));
        self.resend = self.resend.min(self.flights.len());
    }

    pub(crate) fn position(&self, packet_id: u16) -> Option<usize> {
        self.flights.iter().position(|f| f.packet_id == packet_id)
    }

    pub(crate) fn enqueue(&mut self, parcel: Parcel) {
        self.queued_bytes += parcel.message.size();
        self.queue.push_back(parcel);
    }

    pub(crate) fn put_back(&mut self, parcel: Parcel) {
        self.queued_bytes += parcel.message.size();
        self.queue.push_front(parcel);
    }

    pub(crate) fn dequeue(&mut self) -> Option<Parcel> {
        let parcel = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(parcel.message.size());
        Some(parcel)
    }
}

/// The connection of a session.
#[derive(Debug)]
pub(crate) struct Live {
    /// Number of the connection; never used twice in one run.
    pub(crate) conn: u64,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) peer: SocketAddr,
    /// Messages with QoS > 0 the client takes at a time (MQTT 5 §3.1.2.11.3), or our own ceiling.
    pub(crate) window: u16,
    /// The largest packet the client takes (§3.1.2.11.4).
    pub(crate) max_packet: u32,
    /// One and a half times the keep alive, in milliseconds; 0 is for ever.
    pub(crate) silence: u64,
    pub(crate) connected: u64,
    pub(crate) heard: u64,
    /// SHA-256 of its certificate.
    pub(crate) fingerprint: [u8; 32],
    /// A message of it was accepted on this connection.
    pub(crate) spoke: bool,
    /// When the certificate ends (milliseconds since 1970).
    pub(crate) certified_until: i64,
    /// First proof of life beside a newer connection, see `clone.rs`.
    pub(crate) suspected: u64,
    /// Topics the client gave an alias (§3.3.2.3.4).
    pub(crate) aliases_in: Vec<Option<Box<str>>>,
    /// Topics we gave an alias, at most `aliases_out_max`.
    pub(crate) aliases_out: Vec<Box<str>>,
    pub(crate) aliases_out_max: u16,
}
