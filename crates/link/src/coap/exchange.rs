//! Reliability (RFC 7252, section 4): what is sent is repeated until it is acknowledged, what comes twice is seen once.
//!
//! [`Exchanges`] is a client and a server in one. It looks at headers only, so OSCORE lies inside; nothing of what it does is
//! authenticated. It therefore keeps nothing of what comes in until its caller, who has verified it, calls
//! [`answer`](Exchanges::answer) or [`finish`](Exchanges::finish).
//! It has no place for multicast: a bearer hands over what was sent to this endpoint alone.

use core::fmt;

use super::message::{Code, Malformed, Message, Token, Type};

/// Milliseconds until the first repetition, at least (RFC 7252, section 4.8); half as much again by chance.
pub const ACK_TIMEOUT: u64 = 2_000;
/// How often a message is repeated.
pub const MAX_RETRANSMIT: u8 = 4;
/// How long a confirmable message's ID stands for it (section 4.8.2).
pub const EXCHANGE_LIFETIME: u64 = 247_000;
/// How long a non-confirmable message's ID stands for it.
pub const NON_LIFETIME: u64 = 145_000;
/// How long a response is waited for when it is not acknowledgements that are waited for: the longest that a sender tries.
pub const MAX_TRANSMIT_WAIT: u64 = 93_000;

/// What a datagram is, to the layer above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<'d> {
    /// Nothing: a duplicate, an acknowledgement that changes nothing above, or rubbish.
    Nothing,
    /// These four bytes go back at once: a reset to a ping or to what could not be read (sections 4.2 and 4.3).
    Reset([u8; 4]),
    /// A request, new as far as is known. Before the next datagram of its peer is taken: [`Exchanges::answer`], once it is verified.
    Request(Message<'d>),
    /// A response. Once it is verified: [`Exchanges::finish`], if it answers a request; [`Exchanges::answer`] with nothing, unless it
    /// came in an acknowledgement.
    Response {
        /// The response.
        message: Message<'d>,
        /// The message ID of the request that waits for it. None: its token may be that of an observation; else
        /// a confirmable one is answered by a reset ([`empty`]).
        request: Option<u16>,
    },
    /// A confirmable response or notification of ours arrived.
    Delivered {
        /// Its message ID.
        id: u16,
        /// Its token.
        token: Token,
    },
    /// The peer could do nothing with a message of ours: who sent a notification forgets its observer (RFC 7641, section 3.6).
    Refused {
        /// Its message ID.
        id: u16,
        /// Its token.
        token: Token,
    },
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<'a, P> {
    /// A datagram to send.
    Send(P, &'a [u8]),
    /// Nobody acknowledged or answered this message of ours; it is forgotten.
    TimedOut {
        /// To whom it went.
        peer: P,
        /// Its message ID.
        id: u16,
        /// Its token.
        token: Token,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    /// Waits until nothing else to its peer is unacknowledged (NSTART is 1: section 4.7).
    Queued,
    /// Sent, not acknowledged.
    Repeating,
    /// A request that is acknowledged or never will be: its response is waited for.
    Waiting,
}

/// A message of ours.
#[derive(Debug, Default)]
struct Sent<P, const SIZE: usize> {
    state: State,
    peer: P,
    id: u16,
    token: Token,
    confirmable: bool,
    request: bool,
    repeated: u8,
    /// Until the first repetition; it doubles with each.
    timeout: u64,
    due: u64,
    datagram: Datagram<SIZE>,
}

/// A message of a peer's, and what it was answered.
#[derive(Debug, Default)]
struct Seen<P, const SIZE: usize> {
    peer: P,
    id: u16,
    /// Forgotten from here on.
    until: u64,
    confirmable: bool,
    /// The answer is to be sent, for the first time or because its message came again.
    due: bool,
    answer: Datagram<SIZE>,
}

#[derive(Debug)]
struct Datagram<const SIZE: usize> {
    length: usize,
    bytes: [u8; SIZE],
}

impl<const SIZE: usize> Default for Datagram<SIZE> {
    fn default() -> Self {
        Self {
            length: 0,
            bytes: [0; SIZE],
        }
    }
}

impl<const SIZE: usize> Datagram<SIZE> {
    fn set(&mut self, datagram: &[u8]) -> Result<(), Full> {
        let space = self.bytes.get_mut(..datagram.len()).ok_or(Full)?;
        space.copy_from_slice(datagram);
        self.length = datagram.len();
        Ok(())
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// There is no place left, or the datagram is longer than a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no room for one more message")
    }
}

impl core::error::Error for Full {}

/// What is under way with all peers: `OUT` messages of ours, `IN` of theirs that are remembered, of up to `SIZE` bytes each. `P` names
/// a peer's endpoint. Times are milliseconds of any clock that does not go back.
#[derive(Debug)]
pub struct Exchanges<P, const OUT: usize, const IN: usize, const SIZE: usize> {
    sent: [Sent<P, SIZE>; OUT],
    seen: [Seen<P, SIZE>; IN],
    next_id: u16,
}

impl<P: Copy + Eq + Default, const OUT: usize, const IN: usize, const SIZE: usize>
    Exchanges<P, OUT, IN, SIZE>
{
    /// Nothing is under way. The first message ID is one by chance (section 4.4).
    pub fn new(first_id: u16) -> Self {
        Self {
            sent: core::array::from_fn(|_| Sent::default()),
            seen: core::array::from_fn(|_| Seen::default()),
            next_id: first_id,
        }
    }

    /// A message ID for the next message to [`send`](Self::send).
    pub const fn next_id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    /// Whether there is room for one more message of ours.
    pub fn has_room(&self) -> bool {
        self.sent.iter().any(|sent| sent.state == State::Free)
    }

    /// Takes a message to send: confirmable ones are repeated, requests wait for their response. `random` spreads the repetitions
    /// of many peers (`ACK_RANDOM_FACTOR`, section 4.2).
    pub fn send(&mut self, peer: P, datagram: &[u8], random: u16) -> Result<(), Full> {
        let message = Message::parse(datagram).map_err(|_| Full)?;
        let free = |sent: &&mut Sent<P, SIZE>| sent.state == State::Free;
        let sent = self.sent.iter_mut().find(free).ok_or(Full)?;
        sent.datagram.set(datagram)?;
        sent.state = State::Queued;
        sent.peer = peer;
        sent.id = message.id;
        sent.token = message.token;
        sent.confirmable = message.kind == Type::Confirmable;
        sent.request = message.code.is_request();
        sent.repeated = 0;
        // ACK_RANDOM_FACTOR is 1.5: up to 1000 of 2000 ms more.
        let spread = u64::from(random).saturating_mul(ACK_TIMEOUT >> 1) >> 16;
        sent.timeout = ACK_TIMEOUT.saturating_add(spread);
        Ok(())
    }

    /// Remembers that a message of a peer's was dealt with, and sends `datagram` back now and whenever the message comes again.
    /// Without one, a confirmable message gets an empty acknowledgement. A second answer takes the place of the first.
    ///
    /// If there is no place left, the oldest message is forgotten: should it come again, it is new (and OSCORE knows it).
    pub fn answer(
        &mut self,
        now: u64,
        peer: P,
        message: &Message<'_>,
        datagram: &[u8],
    ) -> Result<(), Full> {
        let same = |seen: &Seen<P, SIZE>| seen.peer == peer && seen.id == message.id;
        let known = self.seen.iter().position(same);
        let oldest = || (0..IN).min_by_key(|at| self.seen.get(*at).map(|seen| seen.until));
        let place = known.or_else(oldest).ok_or(Full)?;
        let seen = self.seen.get_mut(place).ok_or(Full)?;
        let confirmable = message.kind == Type::Confirmable;
        if datagram.is_empty() && confirmable {
            seen.answer.set(&empty(Type::Acknowledgement, message.id))?;
        } else {
            seen.answer.set(datagram)?;
        }
        let lifetime = if confirmable {
            EXCHANGE_LIFETIME
        } else {
            NON_LIFETIME
        };
        seen.peer = peer;
        seen.id = message.id;
        seen.until = now.saturating_add(lifetime);
        seen.confirmable = confirmable;
        seen.due = seen.answer.length != 0;
        Ok(())
    }

    /// The request is answered, or nobody waits for it any more.
    pub fn finish(&mut self, peer: P, id: u16) {
        if let Some(sent) = self.find(peer, id) {
            sent.state = State::Free;
        }
    }

    /// Forgets all that is under way with a peer: to be called when it is gone for good.
    pub fn forget(&mut self, peer: P) {
        for sent in self.sent.iter_mut().filter(|sent| sent.peer == peer) {
            sent.state = State::Free;
        }
        for seen in self.seen.iter_mut().filter(|seen| seen.peer == peer) {
            seen.until = 0;
            seen.due = false;
        }
    }

    /// Looks at a datagram.
    pub fn received<'d>(&mut self, now: u64, peer: P, datagram: &'d [u8]) -> Received<'d> {
        let message = match Message::parse(datagram) {
            Ok(message) => message,
            Err(Malformed::Format {
                kind: Type::Confirmable,
                id,
            }) => return Received::Reset(empty(Type::Reset, id)),
            Err(_) => return Received::Nothing,
        };
        match message.kind {
            // Section 4.3: a ping.
            Type::Confirmable if message.code == Code::EMPTY => {
                Received::Reset(empty(Type::Reset, message.id))
            }
            Type::Confirmable | Type::NonConfirmable => self.arrived(now, peer, message),
            Type::Acknowledgement => self.acknowledged(now, peer, message),
            Type::Reset => match self.find(peer, message.id) {
                // Section 4.2: a reset with anything in it is no message.
                Some(sent) if message.code == Code::EMPTY => {
                    sent.state = State::Free;
                    let (id, token) = (sent.id, sent.token);
                    Received::Refused { id, token }
                }
                _ => Received::Nothing,
            },
        }
    }

    fn arrived<'d>(&mut self, now: u64, peer: P, message: Message<'d>) -> Received<'d> {
        let known = |seen: &&mut Seen<P, SIZE>| {
            seen.until > now && seen.peer == peer && seen.id == message.id
        };
        if let Some(seen) = self.seen.iter_mut().find(known) {
            // Section 4.5: what was confirmable is acknowledged each time, in the same way.
            seen.due |= seen.confirmable && message.kind == Type::Confirmable;
            return Received::Nothing;
        }
        if message.code.is_request() {
            return Received::Request(message);
        }
        if !message.code.is_response() {
            return Received::Nothing;
        }
        let answered = |sent: &&Sent<P, SIZE>| {
            sent.is_under_way(peer) && sent.request && sent.token == message.token
        };
        let request = self.sent.iter().find(answered).map(|sent| sent.id);
        Received::Response { message, request }
    }

    fn acknowledged<'d>(&mut self, now: u64, peer: P, message: Message<'d>) -> Received<'d> {
        let Some(sent) = self.find(peer, message.id) else {
            return Received::Nothing;
        };
        let (id, token) = (sent.id, sent.token);
        if message.code.is_response() {
            // Section 5.3.2: in the acknowledgement, message ID and token both match.
            if !sent.request || token != message.token {
                return Received::Nothing;
            }
            let request = Some(id);
            return Received::Response { message, request };
        }
        if message.code != Code::EMPTY || sent.state != State::Repeating {
            return Received::Nothing;
        }
        if sent.request {
            sent.state = State::Waiting;
            sent.due = now.saturating_add(MAX_TRANSMIT_WAIT);
            return Received::Nothing;
        }
        sent.state = State::Free;
        Received::Delivered { id, token }
    }

    /// What is to be done now; to be asked until it is nothing.
    pub fn poll(&mut self, now: u64) -> Option<Output<'_, P>> {
        if let Some(at) = self.seen.iter().position(|seen| seen.due) {
            let seen = self.seen.get_mut(at)?;
            seen.due = false;
            return Some(Output::Send(seen.peer, seen.answer.get()));
        }
        let ready = |at: &usize| self.wake(*at).is_some_and(|wake| wake <= now);
        // Those in a queue go in the order of their IDs, which count up.
        let age = |at: &usize| {
            let id = self.sent.get(*at).map(|sent| sent.id);
            id.map(|id| id.wrapping_sub(self.next_id))
        };
        let at = (0..OUT).filter(ready).min_by_key(age)?;
        let sent = self.sent.get_mut(at)?;
        // What is queued was not repeated yet.
        if sent.state == State::Waiting || sent.repeated == MAX_RETRANSMIT {
            sent.state = State::Free;
            return Some(Output::TimedOut {
                peer: sent.peer,
                id: sent.id,
                token: sent.token,
            });
        }
        match (sent.state, sent.confirmable, sent.request) {
            (State::Repeating, _, _) => {
                sent.repeated = sent.repeated.saturating_add(1);
                sent.due = now.saturating_add(sent.timeout << sent.repeated);
            }
            (_, true, _) => {
                sent.state = State::Repeating;
                sent.due = now.saturating_add(sent.timeout);
            }
            (_, false, true) => {
                sent.state = State::Waiting;
                sent.due = now.saturating_add(MAX_TRANSMIT_WAIT);
            }
            (_, false, false) => sent.state = State::Free,
        }
        Some(Output::Send(sent.peer, sent.datagram.get()))
    }

    /// When [`poll`](Self::poll) has something to do, if nothing else happens; 0 is at once.
    pub fn next_wake(&self) -> Option<u64> {
        if self.seen.iter().any(|seen| seen.due) {
            return Some(0);
        }
        (0..OUT).filter_map(|at| self.wake(at)).min()
    }

    /// When something is to be done for a message of ours.
    fn wake(&self, at: usize) -> Option<u64> {
        let sent = self.sent.get(at)?;
        match sent.state {
            State::Free => None,
            State::Repeating | State::Waiting => Some(sent.due),
            State::Queued => {
                let busy = |other: &Sent<P, SIZE>| {
                    other.state == State::Repeating && other.peer == sent.peer
                };
                (!sent.confirmable || !self.sent.iter().any(busy)).then_some(0)
            }
        }
    }

    fn find(&mut self, peer: P, id: u16) -> Option<&mut Sent<P, SIZE>> {
        self.sent
            .iter_mut()
            .find(|sent| sent.id == id && sent.is_under_way(peer))
    }
}

impl<P: Eq + Copy, const SIZE: usize> Sent<P, SIZE> {
    fn is_under_way(&self, peer: P) -> bool {
        matches!(self.state, State::Repeating | State::Waiting) && self.peer == peer
    }
}

/// A message that is a header and nothing else (section 4.1): an acknowledgement or a reset.
pub const fn empty(kind: Type, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [0x40 | kind.bits(), 0, high, low]
}
