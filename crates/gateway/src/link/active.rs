//! What a device has while it says something, or waits to be told something; at rest it has none of it.

use std::collections::VecDeque;

use stockade_link::coap::block::{Assembly, Block};
use stockade_link::coap::message::Token;
use stockade_link::oscore::{Owed, To};
use stockade_mqtt::{PacketId, TopicName};

use super::bearer::Place;
use super::guest::Guest;

/// Observations of one device.
pub(super) const OBSERVED: usize = 4;
/// Requests of one device that wait for the disk.
pub(super) const PENDING: usize = 4;
/// Answers that are made for one device alone, as its grants: so many at once, and one more in so many milliseconds.
const MADE: (u64, u64) = (8, 5_000);

/// A device that was heard lately, or that observes a topic.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) place: Place,
    pub(super) guest: Option<Guest>,
    /// Its last request, for a repetition of it.
    pub(super) last: Option<Last>,
    pub(super) pending: Vec<Pending>,
    pub(super) observed: Vec<Observed>,
    /// Topics this connection to the broker is subscribed to.
    pub(super) topics: Vec<Box<str>>,
    pub(super) inbox: VecDeque<Waiting>,
    pub(super) flying: Option<Flying>,
    /// What the last notification is found by, until it is acknowledged.
    pub(super) found_by: Option<(Place, u16)>,
    pub(super) taking: Option<Taking>,
    pub(super) given: Option<Given>,
    /// It did not answer: nothing is sent before it is heard again.
    pub(super) asleep: bool,
    /// When it was heard last.
    pub(super) heard: u64,
    /// When the registry is told again that it was.
    pub(super) seen: u64,
    /// When time has to be told to it, as in the list of times.
    pub(super) due: u64,
    /// When what was made for it is paid for (GCRA, as in the budget of handshakes).
    made: u64,
    pub(super) next_id: u16,
}

/// A request, and the answer once there is one.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) id: u16,
    pub(super) token: Token,
    pub(super) answer: Option<Vec<u8>>,
}

/// A request that is answered when the broker says so.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) to: To,
    pub(super) owed: Owed,
    pub(super) packet: PacketId,
    pub(super) what: What,
    /// The request was repeated meanwhile, and acknowledged: its answer comes by itself.
    pub(super) separate: bool,
}

/// What was asked for.
#[derive(Debug)]
pub(super) enum What {
    /// To publish; `Some` is the option of the last block, where it came in blocks.
    Publish { too_large: bool, block: Option<u32> },
    /// To be told of a topic.
    Observe(Box<str>),
    /// What waits on a topic.
    Get {
        topic: Box<str>,
        block: Option<Block>,
    },
}

/// A topic that a device is told of (RFC 7641).
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) topic: Box<str>,
    pub(super) token: Token,
    pub(super) owed: Owed,
}

/// A message for the device.
#[derive(Debug)]
pub(super) struct Waiting {
    /// What the broker knows it by, if it wants to know that it arrived.
    pub(super) id: Option<PacketId>,
    pub(super) topic: Box<str>,
    pub(super) payload: Vec<u8>,
    /// What the device knows it by.
    pub(super) etag: u32,
    /// It knows of it, and has still to fetch the rest.
    pub(super) told: bool,
}

/// A notification that is not acknowledged yet.
#[derive(Debug)]
pub(super) struct Flying {
    pub(super) id: u16,
    pub(super) bytes: Vec<u8>,
    pub(super) tries: u8,
    pub(super) next: u64,
    pub(super) etag: u32,
    pub(super) token: Token,
    /// More blocks follow: the device has it all only when it has fetched the last one.
    pub(super) more: bool,
}

/// A body that comes in blocks (RFC 7959, section 2.5).
#[derive(Debug)]
pub(super) struct Taking {
    pub(super) topic: Box<str>,
    pub(super) assembly: Assembly,
    pub(super) body: Vec<u8>,
}

impl Taking {
    /// Nothing of it came so far.
    pub(super) fn of(topic: TopicName<'_>) -> Self {
        Self {
            topic: topic.as_str().into(),
            assembly: Assembly::default(),
            body: Vec::new(),
        }
    }
}

/// A body that goes in blocks.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) path: Box<str>,
    pub(super) body: Vec<u8>,
    pub(super) etag: u32,
}

impl Active {
    pub(super) fn new(place: Place, now: u64, next_id: u16) -> Self {
        Self {
            place,
            guest: None,
            last: None,
            pending: Vec::new(),
            observed: Vec::new(),
            topics: Vec::new(),
            inbox: VecDeque::new(),
            flying: None,
            found_by: None,
            taking: None,
            given: None,
            asleep: false,
            heard: now,
            seen: 0,
            due: 0,
            made: 0,
            next_id,
        }
    }

    pub(super) fn fresh_id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// Counts an answer that is made for it alone, or says in how many seconds there can be one.
    pub(super) fn make(&mut self, now: u64) -> Result<(), u32> {
        let (most, each) = MADE;
        let paid = self.made.max(now);
        let over = (paid - now).saturating_sub((most - 1) * each);
        if over > 0 {
            return Err(u32::try_from(over.div_ceil(1_000)).unwrap_or(u32::MAX));
        }
        self.made = paid + each;
        Ok(())
    }

    /// The oldest message on a topic.
    pub(super) fn oldest(&self, topic: &str) -> Option<&Waiting> {
        self.inbox.iter().find(|waiting| *waiting.topic == *topic)
    }

    /// The oldest message on a topic it observes, and which observation that is.
    pub(super) fn news(&self) -> Option<(usize, u32, Box<str>, Vec<u8>)> {
        let mut untold = self.inbox.iter().filter(|waiting| !waiting.told);
        untold.find_map(|it| {
            let at = self.observes(&it.topic)?;
            Some((at, it.etag, it.topic.clone(), it.payload.clone()))
        })
    }

    fn observes(&self, topic: &str) -> Option<usize> {
        self.observed.iter().position(|it| *it.topic == *topic)
    }

    /// Takes a message out, by what the device knows it by.
    pub(super) fn remove(&mut self, etag: u32) -> Option<Waiting> {
        let at = self.inbox.iter().position(|w| w.etag == etag)?;
        self.inbox.remove(at)
    }

    /// Bytes of bodies, which are bounded in all.
    pub(super) fn bodies(&self) -> usize {
        let taking = self.taking.as_ref().map_or(0, |t| t.body.len());
        taking + self.given.as_ref().map_or(0, |g| g.body.len())
    }

    /// The connection to the broker is over: what it had handed over comes again with the next one.
    pub(super) fn forget_guest(&mut self) -> Option<Guest> {
        self.topics.clear();
        self.inbox.clear();
        self.flying = None;
        self.guest.take()
    }
}
