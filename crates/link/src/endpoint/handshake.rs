//! Sessions: begun by us because there is something to say, or by another device that has a grant.

use core::mem::replace;

use crate::coap::message::{Builder, Code, Message, Type};
use crate::coap::option;
use crate::credential::{IdCred, same_key};
use crate::crypto::Crypto;
use crate::edhoc::{
    self, Accepts, ConnectionId, EadItem, EdhocError, Established, GotMessage1, Initiator, Method,
    Proposal, Suite, SuiteSet, error_message,
};
use crate::grant::{GRANT_EAD, Grant};
use crate::oscore::{Context, Id, Refused, message_3};

use super::outgoing::by_chance;
use super::peer::{Peer, Stage, Who};
use super::trust::offers;
use super::{EDHOC, Endpoint, Failure, Identity, Kept, Place, STRANGER, to};

/// Bytes of a device's credential: a name of 64, a key with all of its point, and its name.
const CREDENTIAL_MAX: usize = 192;
/// What stands before `message_1` (RFC 9528, appendix A.2).
const FIRST: u8 = 0xf5;

impl<C: Crypto, K: Kept, const PEERS: usize, const SIZE: usize> Endpoint<'_, C, K, PEERS, SIZE> {
    /// Sends `message_1`, with the Echo that the peer wants to see (RFC 9175), if it does.
    pub(super) fn begin_handshake(&mut self, at: usize, echo: &[u8]) -> Result<(), Failure> {
        let Self {
            peers,
            crypto,
            exchanges,
            scratch,
            ..
        } = self;
        let peer = peers.get_mut(at).ok_or(Failure::Crypto)?;
        let (token, spread) = by_chance(crypto)?;
        let id = exchanges.next_id();
        peer.flip = !peer.flip;
        let proposal = Proposal {
            method: Method::StaticStatic,
            suites: &[Suite::S2],
            c_i: name(at, peer.flip).ok_or(Failure::Crypto)?,
            ead_1: &[],
        };
        let mut builder = Builder::new(scratch, Type::Confirmable, Code::POST, id, &token);
        builder
            .path(EDHOC)
            .uint(option::CONTENT_FORMAT, option::format::CID_EDHOC.into());
        if !echo.is_empty() {
            builder.option(option::ECHO, echo);
        }
        let (before, space) = builder.payload_space().map_err(|_| Failure::TooLong)?;
        let (first, space) = space.split_first_mut().ok_or(Failure::TooLong)?;
        *first = FIRST;
        let (state, message) =
            Initiator::start(crypto, &proposal, space).map_err(|_| Failure::Crypto)?;
        let length = before.saturating_add(1).saturating_add(message.len());
        let datagram = scratch.get(..length).ok_or(Failure::TooLong)?;
        exchanges
            .send(peer.place, datagram, spread)
            .map_err(|_| Failure::TooLong)?;
        peer.stage = Stage::Asked(state);
        peer.under_way = Some((id, token));
        Ok(())
    }

    /// Takes the answer to `message_1`, and sends `message_3` with the request that waits. If it is no good, another handshake may
    /// begin, as long as there are any.
    pub(super) fn message_2(&mut self, now: u64, at: usize, datagram: &mut [u8]) {
        let Some(peer) = self.peers.get_mut(at) else {
            return;
        };
        let Stage::Asked(initiator) = replace(&mut peer.stage, Stage::Idle) else {
            return;
        };
        let Ok(message) = Message::parse(datagram) else {
            return;
        };
        if message.code == Code::UNAUTHORIZED
            && let Some(echo) = message.body.get(option::ECHO)
        {
            let done = if self.begin.take(now) {
                self.begin_handshake(at, echo)
            } else {
                Ok(())
            };
            if let Err(why) = done {
                self.lost(now, at, why);
            }
            return;
        }
        let from = payload_at(&message, datagram);
        if message.code == Code::CHANGED
            && let Ok(length) =
                self.finish_handshake(at, initiator, datagram.get_mut(from..).unwrap_or_default())
            && let Err(why) = self.ask(now, at, length)
        {
            self.lost(now, at, why);
        }
    }

    /// Makes `message_3` in `spare`, and the context; gives the length.
    fn finish_handshake(
        &mut self,
        at: usize,
        initiator: Initiator<C>,
        message: &mut [u8],
    ) -> Result<usize, EdhocError> {
        let Self {
            us,
            peers,
            crypto,
            spare,
            scratch,
            grants,
            reply,
            known,
            ..
        } = self;
        let peer = peers.get_mut(at).ok_or(EdhocError::Malformed)?;
        let (credential, grant) = match peer.who {
            Who::Gateway => (us.gateway, None),
            Who::Called(key) => {
                let offer = offers(grants.get())
                    .find(|offer| same_key(&offer.credential.key, &key))
                    .ok_or(EdhocError::UnknownCredential)?;
                (offer.credential, Some(offer.grant))
            }
            Who::Nobody | Who::Caller(_) => return Err(EdhocError::Malformed),
        };
        let got = initiator.message_2(crypto, message, &[])?;
        if !got.id_cred().names(crypto, &credential)? {
            return Err(EdhocError::UnknownCredential);
        }
        // The gateway knows us by name once we have been there; another device has our credential in the grant.
        let own = own(us, *known || grant.is_some());
        let grant = grant.map(|grant| EadItem {
            label: GRANT_EAD,
            critical: true,
            value: Some(grant),
        });
        let verified = got.verify(crypto, &credential, &own, scratch)?;
        *reply = None;
        let (established, _, message_3) =
            verified.message_3(crypto, grant.as_slice(), spare.room())?;
        let length = message_3.len();
        spare.keep(length);
        peer.context = Some(context(crypto, &established)?);
        peer.confirmed = false;
        Ok(length)
    }

    /// Answers `message_1` of a stranger, if strangers have not had enough of us and there is a place.
    pub(super) fn message_1(
        &mut self,
        now: u64,
        place: Place,
        message: &Message<'_>,
        datagram: &[u8],
    ) {
        let payload = Message::parse(datagram)
            .map(|message| message.body.payload())
            .unwrap_or_default();
        let Some((&FIRST, message_1)) = payload.split_first() else {
            return self.edhoc_error(place, message, &EdhocError::Malformed);
        };
        let accepts = Accepts {
            methods: &[Method::StaticStatic],
            suites: SuiteSet::of(&[Suite::S2]),
            understood: &[],
        };
        match GotMessage1::read(message_1, &accepts) {
            Ok(got) => {
                if self.answer.take(now)
                    && let Err(why) = self.send_message_2(now, place, message, got)
                {
                    self.edhoc_error(place, message, &why);
                }
            }
            Err(why) => self.edhoc_error(place, message, &why),
        }
    }

    fn send_message_2(
        &mut self,
        now: u64,
        place: Place,
        message: &Message<'_>,
        got: GotMessage1<'_>,
    ) -> Result<(), EdhocError> {
        let Self {
            us,
            peers,
            crypto,
            exchanges,
            scratch,
            ..
        } = self;
        let free = |peer: &Peer<C, SIZE>| peer.who == Who::Nobody;
        let at = peers.iter().position(free).ok_or(EdhocError::Full)?;
        let peer = peers.get_mut(at).ok_or(EdhocError::Full)?;
        let mut flip = !peer.flip;
        if name(at, flip) == Some(got.c_i()) {
            flip = !flip;
        }
        let c_r = name(at, flip).ok_or(EdhocError::Full)?;
        let to = to(exchanges, message);
        let mut builder = Builder::new(scratch, to.kind, Code::CHANGED, to.id, &to.token);
        builder.uint(option::CONTENT_FORMAT, option::format::EDHOC.into());
        let (before, space) = builder.payload_space().map_err(|_| EdhocError::Full)?;
        let (state, message_2) = got.message_2(crypto, &own(us, true), c_r, &[], space)?;
        let length = before.saturating_add(message_2.len());
        let datagram = scratch.get(..length).ok_or(EdhocError::Full)?;
        exchanges
            .answer(now, place, message, datagram)
            .map_err(|_| EdhocError::Full)?;
        *peer = Peer::new(Who::Caller(None), place);
        peer.flip = flip;
        peer.stage = Stage::Answered(state, now.saturating_add(STRANGER));
        Ok(())
    }

    /// Takes the `message_3` before a request for the session of this name. Where no handshake waits for it, it came again: the
    /// request is then for the session that there is.
    pub(super) fn message_3(&mut self, now: u64, kid: Id, datagram: &[u8]) -> Result<(), Refused> {
        let waits = |(at, peer): (usize, &Peer<C, SIZE>)| {
            matches!(peer.stage, Stage::Answered(..))
                && name(at, peer.flip).is_some_and(|name| name.as_bytes() == kid.as_bytes())
        };
        let Some(at) = self.peers.iter().enumerate().position(waits) else {
            return Ok(());
        };
        let message = Message::parse(datagram).map_err(|_| Refused::Malformed)?;
        let message_3 = message_3(&message)?.ok_or(Refused::Malformed)?;
        self.reply = None;
        self.spare.set(message_3).ok_or(Refused::Malformed)?;
        let done = self.admit(now, at);
        if done.is_err()
            && let Some(peer) = self.peers.get_mut(at)
        {
            *peer = Peer::new(Who::Nobody, peer.place);
        }
        done.map_err(|_| Refused::NoContext)
    }

    /// Finishes the handshake that a stranger began: it proves who it is, and its grant says that it may come in.
    fn admit(&mut self, now: u64, at: usize) -> Result<(), EdhocError> {
        let Self {
            us,
            peers,
            crypto,
            spare,
            scratch,
            clock,
            ..
        } = self;
        let peer = peers.get_mut(at).ok_or(EdhocError::Malformed)?;
        let Stage::Answered(state, _) = replace(&mut peer.stage, Stage::Idle) else {
            return Err(EdhocError::Malformed);
        };
        let length = spare.get().len();
        let message = spare.room().get_mut(..length).ok_or(EdhocError::Full)?;
        let got = state.message_3(crypto, message, &[GRANT_EAD])?;
        // Who it is, its grant says as well: the name of its key is enough.
        let grant = got.ead().find(GRANT_EAD).and_then(|item| item.value);
        let grant = Grant::read(grant.ok_or(EdhocError::UnknownCredential)?)
            .map_err(|_| EdhocError::UnknownCredential)?;
        let mut buffer = [0; CREDENTIAL_MAX];
        let credential = grant
            .credential(&mut buffer)
            .map_err(|_| EdhocError::Credential)?;
        if !got.id_cred().names(crypto, &credential)? {
            return Err(EdhocError::UnknownCredential);
        }
        let (established, _) = got.verify(crypto, &credential, &us.credential, scratch)?;
        let epoch = clock.epoch();
        let granted = grant
            .verify(
                crypto,
                &us.authority,
                us.name,
                &credential.key,
                (clock, now),
            )
            .map_err(|_| EdhocError::NotAuthentic)?;
        let key = credential.key;
        peer.context = Some(context(crypto, &established)?.limited(granted.ends(), 0));
        peer.granted = Some(granted);
        peer.who = Who::Caller(Some(key));
        // A device that comes again has one place.
        for (other, its) in peers.iter_mut().enumerate() {
            if other != at && matches!(its.who, Who::Caller(Some(its)) if same_key(&its, &key)) {
                *its = Peer::new(Who::Nobody, its.place);
            }
        }
        // What it tells of revocations must outlast a restart.
        if self.clock.epoch() != epoch {
            self.keep_clock(now);
        }
        Ok(())
    }

    /// What a stranger is told of a handshake that went wrong: next to nothing.
    fn edhoc_error(&mut self, place: Place, message: &Message<'_>, why: &EdhocError) {
        let to = to(&mut self.exchanges, message);
        let mut error = [0; 16];
        let Ok(error) = error_message(why, &mut error) else {
            return;
        };
        let mut builder = Builder::new(
            self.spare.room(),
            to.kind,
            Code::BAD_REQUEST,
            to.id,
            &to.token,
        );
        builder.uint(option::CONTENT_FORMAT, option::format::EDHOC.into());
        if let Ok(length) = builder.payload(error).map(<[u8]>::len) {
            self.spare.keep(length);
            self.reply = Some(place);
        }
    }
}

/// Our side of a handshake: by our credential's name where the peer has the credential.
fn own<'i, K>(us: &'i Identity<'_, K>, known: bool) -> edhoc::Identity<'i, K> {
    let id_cred = match us.credential.kid {
        Some(kid) if known => IdCred::Kid(kid),
        _ => IdCred::Ccs(us.credential.bytes),
    };
    edhoc::Identity {
        id_cred,
        credential: us.credential,
        key: &us.key,
    }
}

fn context<C: Crypto>(crypto: &mut C, established: &Established) -> Result<Context, EdhocError> {
    let secrets = established.oscore(crypto)?;
    Ok(Context::derive(crypto, &secrets, None)?)
}

/// What we call a session with the peer in this place: one byte, which no other session of ours has.
fn name(at: usize, flip: bool) -> Option<ConnectionId> {
    let name = at.checked_mul(2)?.checked_add(usize::from(flip))?;
    ConnectionId::new(&[u8::try_from(name).ok()?]).ok()
}

/// Where the payload of a message begins in its datagram.
fn payload_at(message: &Message<'_>, datagram: &[u8]) -> usize {
    datagram.len().saturating_sub(message.body.payload().len())
}
