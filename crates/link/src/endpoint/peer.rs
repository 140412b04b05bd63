//! What is known of one peer, and how often strangers may make us work.

use crate::coap::message::{Message, Token};
use crate::crypto::{Crypto, PublicKey};
use crate::edhoc::{Initiator, WaitMessage3};
use crate::grant::Granted;
use crate::oscore::{Asked, Context, Owed};

use super::{Failure, Place};

/// Bytes that come and go, of at most `SIZE`.
#[derive(Debug)]
pub(super) struct Buffer<const SIZE: usize> {
    bytes: [u8; SIZE],
    length: usize,
}

impl<const SIZE: usize> Buffer<SIZE> {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; SIZE],
        length: 0,
    };

    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// All of the room, to be filled; [`Buffer::keep`] says how much of it was.
    pub(super) const fn room(&mut self) -> &mut [u8; SIZE] {
        &mut self.bytes
    }

    pub(super) fn keep(&mut self, length: usize) {
        self.length = length.min(SIZE);
    }

    /// Nothing, where it is too long.
    pub(super) fn set(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.length = bytes.len();
        Some(())
    }

    pub(super) const fn clear(&mut self) {
        self.length = 0;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Who has a place among the peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Nobody: it is free.
    Nobody,
    /// The gateway.
    Gateway,
    /// A device that we call: one of our grants names its key.
    Called(PublicKey),
    /// A device that calls us. Before the end of its handshake nobody knows which.
    Caller(Option<PublicKey>),
}

/// How far a handshake is.
pub(super) enum Stage<C: Crypto> {
    /// There is none.
    Idle,
    /// `message_1` is with the exchanges.
    Asked(Initiator<C>),
    /// `message_2` is with the exchanges, until then.
    Answered(WaitMessage3<C>, u64),
}

/// Whom a request of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The firmware.
    Firmware,
    /// To begin an observation, or to begin it again.
    Watch,
    /// The time and our grants.
    Grants,
}

/// Something observed at a peer.
#[derive(Debug)]
pub(super) struct Watch {
    /// Its path; empty: nothing is observed.
    pub(super) path: Buffer<64>,
    /// What the notifications are read with.
    pub(super) asked: Option<(Token, Asked)>,
    /// When to ask for it, or to ask again.
    pub(super) due: u64,
}

/// One peer.
pub(super) struct Peer<C: Crypto, const SIZE: usize> {
    pub(super) who: Who,
    pub(super) place: Place,
    pub(super) stage: Stage<C>,
    pub(super) context: Option<Context>,
    /// The peer has shown that it has the context's keys.
    pub(super) confirmed: bool,
    /// Which of its two names the session has, so that the next one has the other.
    pub(super) flip: bool,
    /// The request that is to be answered, unprotected; empty: none.
    pub(super) plain: Buffer<SIZE>,
    pub(super) purpose: Purpose,
    /// When the request is given up, and what is said of it then.
    pub(super) until: u64,
    pub(super) failure: Failure,
    /// Message ID and token of what is with the exchanges: `message_1`, or the request.
    pub(super) under_way: Option<(u16, Token)>,
    pub(super) asked: Option<Asked>,
    pub(super) watch: Watch,
    /// What a caller's grant gives.
    pub(super) granted: Option<Granted>,
    /// A request of the peer's that the firmware is to answer.
    pub(super) owed: Option<(Message<'static>, Owed)>,
}

impl<C: Crypto, const SIZE: usize> Peer<C, SIZE> {
    pub(super) const fn new(who: Who, place: Place) -> Self {
        Self {
            who,
            place,
            stage: Stage::Idle,
            context: None,
            confirmed: false,
            flip: false,
            plain: Buffer::EMPTY,
            purpose: Purpose::Firmware,
            until: 0,
            failure: Failure::TimedOut,
            under_way: None,
            asked: None,
            watch: Watch {
                path: Buffer::EMPTY,
                asked: None,
                due: 0,
            },
            granted: None,
            owed: None,
        }
    }

    /// Whether requests can be protected.
    pub(super) fn ready(&self, now: u64) -> bool {
        self.confirmed
            && self
                .context
                .as_ref()
                .is_some_and(|context| context.usable(now))
    }

    /// The session is over; what was asked is asked again in the next one.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Idle;
        self.context = None;
        self.confirmed = false;
        self.under_way = None;
        self.asked = None;
        self.watch.asked = None;
        self.watch.due = 0;
        self.owed = None;
    }
}

/// How often something may be done that costs energy and that a stranger can bring about: some times at once, then now and then.
#[derive(Debug)]
pub(super) struct Budget {
    left: u8,
    most: u8,
    /// Milliseconds until one more.
    each: u64,
    /// Since when the next one is being saved.
    since: u64,
}

impl Budget {
    pub(super) const fn new(most: u8, each: u64) -> Self {
        Self {
            left: most,
            most,
            each,
            since: 0,
        }
    }

    /// Whether there is one.
    pub(super) fn ready(&mut self, now: u64) -> bool {
        while self.left < self.most && now.saturating_sub(self.since) >= self.each {
            self.left = self.left.saturating_add(1);
            self.since = self.since.saturating_add(self.each);
        }
        if self.left == self.most {
            self.since = now;
        }
        self.left > 0
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: u64) -> bool {
        let taken = self.ready(now);
        self.left = self.left.saturating_sub(1);
        taken
    }

    /// When there is one.
    pub(super) fn next(&self) -> u64 {
        if self.left > 0 {
            0
        } else {
            self.since.saturating_add(self.each)
        }
    }
}
