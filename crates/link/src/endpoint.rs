//! A device's whole end of the link: what a firmware uses. Bytes and the time come in, bytes go out.
//!
//! ```text
//! loop:  a datagram came   ->  received(now, place, datagram)  ->  an event
//!        whenever awake    ->  poll(now, buffer)               ->  a datagram to send, or a request that failed
//!        nothing to do     ->  sleep until next_wake(now), or until a datagram comes
//! ```
//!
//! The handshake is done when there is something to say, the first request travelling with its last message (RFC 9668). Messages are
//! repeated, sessions that the other end has lost are made again, an observation is kept up over all of that, and the time and this
//! device's grants are fetched from the gateway. What costs energy and can be brought about by a stranger is rationed.
//!
//! Sessions end with a restart: a new handshake is 101 bytes, while keys in flash would need every number kept ahead of its use, and
//! would be there for a thief to read.

use crate::coap::block::{Assembly, Block};
use crate::coap::exchange::Exchanges;
use crate::coap::message::{Body, Builder, Code, Message, Token, Type};
use crate::credential::{Credential, same_key};
use crate::crypto::{Crypto, PublicKey};
use crate::grant::Clock;
use crate::oscore::To;

#[cfg(feature = "rustcrypto")]
pub(crate) mod fuzzing;
mod handshake;
mod incoming;
mod outgoing;
mod peer;
mod trust;

use peer::{Budget, Buffer, Peer, Purpose, Who};
use trust::{Offer, offers};

/// Where handshakes take place (RFC 9528, appendix A.2).
const EDHOC: &str = ".well-known/edhoc";
/// Where the gateway tells the time and gives grants.
const GRANTS: &str = "grants";
/// Bytes there are for the grants that the gateway gives us.
pub const GRANTS_MAX: usize = 1024;
/// How long a request waits for its session, in milliseconds: as long as for its response (RFC 7252, section 4.8.2).
const PATIENCE: u64 = 93_000;
/// When something that failed and that nobody else asks for is tried again.
const AGAIN: u64 = 60_000;
/// How often observations, the time and grants are renewed.
const RENEWAL: u64 = 3_600_000;
/// Handshakes that we begin: four, then one in five minutes. Who forges "4.01 Unauthorized" can have no more of them.
const BEGIN: Budget = Budget::new(4, 300_000);
/// Handshakes that strangers begin with us: eight, then one in ten seconds.
const ANSWER: Budget = Budget::new(8, 10_000);
/// How long a stranger has for the end of its handshake.
const STRANGER: u64 = 10_000;

/// Where a datagram comes from or goes to: which line, radio or connection, as the firmware numbers them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place(pub u8);

/// One of the peers of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerId(u8);

impl PeerId {
    /// The gateway.
    pub const GATEWAY: Self = Self(0);
}

/// What must outlast a restart. Both are short, and change about once an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// The time that has certainly been reached, and the highest epoch seen.
    Clock,
    /// Our grants, as the gateway gave them.
    Grants,
}

/// Where records are kept: flash, as a rule. One that is lost costs little: grants are fetched again, and until the gateway has told
/// the time, grants are judged by what is known of it.
pub trait Kept {
    /// Reads a record; its length, or nothing if there is none or it is damaged.
    fn load(&mut self, record: Record, out: &mut [u8]) -> Option<usize>;

    /// Keeps a record. What can not be kept is gone after a restart.
    fn store(&mut self, record: Record, bytes: &[u8]);
}

/// Who we are and whom we trust, as the gateway's `device add --constrained` wrote it down.
#[derive(Debug)]
pub struct Identity<'p, K> {
    /// What the gateway calls us, and grants for us name.
    pub name: &'p str,
    /// Our credential.
    pub credential: Credential<'p>,
    /// Its private key.
    pub key: K,
    /// The gateway's credential.
    pub gateway: Credential<'p>,
    /// The key that grants are signed with.
    pub authority: PublicKey,
}

/// What a datagram was about. It lies in the datagram.
#[derive(Debug)]
pub enum Event<'d> {
    /// The answer to our request.
    Response {
        /// Who answered.
        peer: PeerId,
        /// With which code.
        code: Code,
        /// And what.
        body: Body<'d>,
    },
    /// Something observed has changed, or a command came.
    Notified {
        /// Who says so.
        peer: PeerId,
        /// What.
        body: Body<'d>,
    },
    /// Another device asks for something, and its grant covers it. [`Endpoint::respond`] comes before the next datagram.
    Request {
        /// Who asks.
        peer: PeerId,
        /// The method.
        method: Code,
        /// Options and payload; [`Body::path_is`] tells what it is about.
        body: Body<'d>,
    },
}

/// Why a request of ours had no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer came in time.
    TimedOut,
    /// The peer could do nothing with the message.
    Refused,
    /// It does not fit a datagram.
    TooLong,
    /// The cryptography failed.
    Crypto,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// There is no such peer (any more).
    NoPeer,
    /// The one before has no answer yet: there is one at a time with each peer.
    Busy,
    /// It does not fit, or its path is none.
    TooLong,
    /// Nothing is to be answered.
    NotAsked,
    /// No grant of ours is for this device.
    NotGranted,
    /// All places for peers are taken.
    Full,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// So many bytes of the buffer go there.
    Send(Place, usize),
    /// A request has failed.
    Failed(PeerId, Failure),
}

/// A device's end of the link, with up to `PEERS` peers, the gateway being the first, and datagrams of up to `SIZE` bytes.
///
/// A grant is about 200 bytes of a datagram: with 512 there is room for any of ours and a reading.
pub struct Endpoint<'p, C: Crypto, K: Kept, const PEERS: usize, const SIZE: usize> {
    us: Identity<'p, C::PrivateKey>,
    crypto: C,
    kept: K,
    exchanges: Exchanges<Place, PEERS, PEERS, SIZE>,
    peers: [Peer<C, SIZE>; PEERS],
    begin: Budget,
    answer: Budget,
    clock: Clock,
    grants: Buffer<GRANTS_MAX>,
    /// How far the transfer of our grants is, and when the next one is due.
    fetched: Assembly,
    next_block: Block,
    due: u64,
    /// When they came last.
    told: u64,
    /// The gateway knows our credential: its name is enough.
    known: bool,
    /// A datagram that nothing is kept of, and where it goes.
    reply: Option<Place>,
    spare: Buffer<SIZE>,
    scratch: [u8; SIZE],
}

impl<C: Crypto, K: Kept, const PEERS: usize, const SIZE: usize> core::fmt::Debug
    for Endpoint<'_, C, K, PEERS, SIZE>
{
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Endpoint")
    }
}

impl<'p, C: Crypto, K: Kept, const PEERS: usize, const SIZE: usize>
    Endpoint<'p, C, K, PEERS, SIZE>
{
    /// A device that has just started, at this time; the gateway is reached at that place.
    ///
    /// Some kilobytes: in a `static`, or where the main loop lives.
    #[inline(never)]
    pub fn new(
        us: Identity<'p, C::PrivateKey>,
        mut crypto: C,
        kept: K,
        (gateway, now): (Place, u64),
    ) -> Self {
        const { assert!(PEERS >= 1 && PEERS <= 10, "one byte names a session") }
        // Messages of an earlier start must not be taken for ours. Without randomness there will be no handshake either.
        let mut first = [0; 2];
        let _random = crypto.random(&mut first);
        // Built where it stays: a device has no stack for two of it.
        let mut endpoint = Self {
            us,
            crypto,
            kept,
            exchanges: Exchanges::new(u16::from_be_bytes(first)),
            peers: core::array::from_fn(|at| {
                Peer::new(if at == 0 { Who::Gateway } else { Who::Nobody }, gateway)
            }),
            begin: BEGIN,
            answer: ANSWER,
            clock: Clock::default(),
            grants: Buffer::EMPTY,
            fetched: Assembly::default(),
            next_block: outgoing::first_block(SIZE),
            due: 0,
            told: 0,
            known: false,
            reply: None,
            spare: Buffer::EMPTY,
            scratch: [0; SIZE],
        };
        endpoint.remember(now);
        endpoint
    }

    /// What was kept before the start.
    fn remember(&mut self, now: u64) {
        let length = self.kept.load(Record::Grants, self.grants.room());
        self.grants.keep(length.unwrap_or(0));
        let mut record = [0; Clock::KEPT];
        let length = self.kept.load(Record::Clock, &mut record).unwrap_or(0);
        self.clock = Clock::restored(record.get(..length).unwrap_or_default(), now);
    }

    /// Sends data: `POST`. The answer is an [`Event::Response`], or the failure comes from [`Endpoint::poll`].
    pub fn post(
        &mut self,
        now: u64,
        peer: PeerId,
        path: &str,
        payload: &[u8],
    ) -> Result<(), NotTaken> {
        self.request(now, peer, (Code::POST, path), payload)
    }

    /// Asks for something: `GET`.
    pub fn get(&mut self, now: u64, peer: PeerId, path: &str) -> Result<(), NotTaken> {
        self.request(now, peer, (Code::GET, path), &[])
    }

    /// A request of any method.
    pub fn request(
        &mut self,
        now: u64,
        peer: PeerId,
        (method, path): (Code, &str),
        payload: &[u8],
    ) -> Result<(), NotTaken> {
        let peer = self.peer(peer)?;
        if !peer.plain.is_empty() {
            return Err(NotTaken::Busy);
        }
        let mut builder = begin(peer.plain.room(), method);
        builder.path(path);
        let length = builder
            .payload(payload)
            .map_err(|_| NotTaken::TooLong)?
            .len();
        peer.plain.keep(length);
        peer.purpose = Purpose::Firmware;
        peer.until = now.saturating_add(PATIENCE);
        Ok(())
    }

    /// Observes something at a peer, from now on and whatever happens to the session: `GET` with Observe. One thing a peer.
    pub fn observe(&mut self, peer: PeerId, path: &str) -> Result<(), NotTaken> {
        let watch = &mut self.peer(peer)?.watch;
        watch.path.set(path.as_bytes()).ok_or(NotTaken::TooLong)?;
        watch.asked = None;
        watch.due = 0;
        Ok(())
    }

    /// Answers the request of a peer.
    pub fn respond(
        &mut self,
        now: u64,
        peer: PeerId,
        code: Code,
        payload: &[u8],
    ) -> Result<(), NotTaken> {
        let at = usize::from(peer.0);
        let Self {
            peers,
            crypto,
            exchanges,
            spare,
            scratch,
            reply,
            ..
        } = self;
        let peer = peers.get_mut(at).ok_or(NotTaken::NoPeer)?;
        let (request, mut owed) = peer.owed.take().ok_or(NotTaken::NotAsked)?;
        let context = peer.context.as_mut().ok_or(NotTaken::NotAsked)?;
        *reply = None;
        let to = to(exchanges, &request);
        let plain = Builder::new(spare.room(), to.kind, code, to.id, &to.token)
            .payload(payload)
            .map_err(|_| NotTaken::TooLong)?;
        let plain = Message::parse(plain).map_err(|_| NotTaken::TooLong)?;
        let length = context
            .protect_response(crypto, &mut owed, &plain, now, scratch)
            .map_err(|_| NotTaken::TooLong)?;
        let datagram = scratch.get(..length).ok_or(NotTaken::TooLong)?;
        exchanges
            .answer(now, peer.place, &request, datagram)
            .map_err(|_| NotTaken::Full)
    }

    /// A device that we may call, by the name the gateway has for it: one of our grants is for it. It is reached at `place`.
    pub fn call(&mut self, place: Place, name: &str) -> Result<PeerId, NotTaken> {
        self.call_first(place, |offer| offer.name == name)
    }

    /// The first device that one of our grants is for, whatever its name. It is reached at `place`.
    pub fn call_any(&mut self, place: Place) -> Result<PeerId, NotTaken> {
        self.call_first(place, |_| true)
    }

    fn call_first(
        &mut self,
        place: Place,
        wanted: impl FnMut(&Offer<'_>) -> bool,
    ) -> Result<PeerId, NotTaken> {
        let Some(offer) = offers(self.grants.get()).find(wanted) else {
            // It may have been granted since.
            self.due = self.due.min(self.told.saturating_add(AGAIN));
            return Err(NotTaken::NotGranted);
        };
        let key = offer.credential.key;
        let known =
            |peer: &Peer<C, SIZE>| matches!(peer.who, Who::Called(its) if same_key(&its, &key));
        let at = self
            .peers
            .iter()
            .position(known)
            .or_else(|| self.peers.iter().position(|peer| peer.who == Who::Nobody))
            .ok_or(NotTaken::Full)?;
        let peer = self.peers.get_mut(at).ok_or(NotTaken::Full)?;
        if peer.who == Who::Nobody {
            *peer = Peer::new(Who::Called(key), place);
        }
        peer.place = place;
        u8::try_from(at).map(PeerId).map_err(|_| NotTaken::Full)
    }

    /// Forgets a peer, which makes room for another; not the gateway.
    pub fn forget(&mut self, peer: PeerId) {
        if peer != PeerId::GATEWAY
            && let Some(its) = self.peers.get_mut(usize::from(peer.0))
        {
            self.exchanges.forget(its.place);
            *its = Peer::new(Who::Nobody, its.place);
        }
    }

    fn peer(&mut self, peer: PeerId) -> Result<&mut Peer<C, SIZE>, NotTaken> {
        self.peers
            .get_mut(usize::from(peer.0))
            .filter(|peer| matches!(peer.who, Who::Gateway | Who::Called(_)))
            .ok_or(NotTaken::NoPeer)
    }
}

/// Begins a request of ours; message ID and token are put in when it is protected.
fn begin(room: &mut [u8], method: Code) -> Builder<'_> {
    Builder::new(room, Type::Confirmable, method, 0, &Token::default())
}

/// The header of the answer to a message.
fn to<const PEERS: usize, const SIZE: usize>(
    exchanges: &mut Exchanges<Place, PEERS, PEERS, SIZE>,
    message: &Message<'_>,
) -> To {
    let token = message.token;
    if message.kind == Type::Confirmable {
        To {
            kind: Type::Acknowledgement,
            id: message.id,
            token,
        }
    } else {
        To {
            kind: Type::NonConfirmable,
            id: exchanges.next_id(),
            token,
        }
    }
}
