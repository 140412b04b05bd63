//! What a datagram means.

use crate::coap::exchange::{Exchanges, Received, empty};
use crate::coap::message::{Body, Code, Message, Type};
use crate::coap::option;
use crate::crypto::Crypto;
use crate::oscore::{Header, Id, Refused, Request, message_3, refuse};

use super::peer::{Purpose, Stage, Who};
use super::{AGAIN, EDHOC, Endpoint, Event, Failure, Kept, PeerId, Place, RENEWAL, to};

/// What a request is, before anything of it is believed.
enum Arrival {
    /// It is not protected.
    Plain,
    /// It is `message_1`.
    Handshake,
    /// It is protected, for the context of this name; perhaps with `message_3` before it.
    Protected(Id, bool),
    /// It should be protected.
    Wrong(Refused),
}

impl Arrival {
    fn of(message: &Message<'_>) -> Self {
        let header = match Header::of(message) {
            Ok(Some(header)) => header,
            Ok(None) if message.code == Code::POST && message.body.path_is(EDHOC) => {
                return Self::Handshake;
            }
            Ok(None) => return Self::Plain,
            Err(why) => return Self::Wrong(why),
        };
        let combined = match message_3(message) {
            Ok(message_3) => message_3.is_some(),
            Err(why) => return Self::Wrong(why),
        };
        match header.kid.and_then(Id::new) {
            Some(kid) => Self::Protected(kid, combined),
            None => Self::Wrong(Refused::NoContext),
        }
    }
}

impl<C: Crypto, K: Kept, const PEERS: usize, const SIZE: usize> Endpoint<'_, C, K, PEERS, SIZE> {
    /// Takes a datagram. It is decrypted where it lies; what it says lies there too.
    pub fn received<'d>(
        &mut self,
        now: u64,
        place: Place,
        datagram: &'d mut [u8],
    ) -> Option<Event<'d>> {
        match self.exchanges.received(now, place, datagram) {
            Received::Nothing | Received::Delivered { .. } => None,
            Received::Reset(bytes) => {
                self.reply(place, &bytes);
                None
            }
            Received::Refused { id, .. } => {
                // Nothing proves that it is the peer's: as if no answer had come.
                let at = self.waiting(place, id)?;
                self.lost(now, at, Failure::Refused);
                None
            }
            Received::Request(message) => {
                let arrival = Arrival::of(&message);
                self.requested(now, place, bare(&message), arrival, datagram)
            }
            Received::Response { message, request } => {
                let protected = !matches!(Header::of(&message), Ok(None));
                let message = bare(&message);
                match request {
                    Some(id) => self.answered(now, (place, id), message, protected, datagram),
                    None => self.notified(now, place, &message, datagram),
                }
            }
        }
    }

    fn requested<'d>(
        &mut self,
        now: u64,
        place: Place,
        message: Message<'static>,
        arrival: Arrival,
        datagram: &'d mut [u8],
    ) -> Option<Event<'d>> {
        let (kid, combined) = match arrival {
            Arrival::Handshake => {
                self.message_1(now, place, &message, datagram);
                return None;
            }
            Arrival::Protected(kid, combined) => (kid, combined),
            Arrival::Plain => return self.refused(place, &message, &Refused::Unprotected),
            Arrival::Wrong(why) => return self.refused(place, &message, &why),
        };
        if combined && let Err(why) = self.message_3(now, kid, datagram) {
            return self.refused(place, &message, &why);
        }
        let of = |peer: &super::Peer<C, SIZE>| {
            peer.context
                .as_ref()
                .is_some_and(|context| *context.recipient_id() == kid)
        };
        let Some(at) = self.peers.iter().position(of) else {
            return self.refused(place, &message, &Refused::NoContext);
        };
        let id = PeerId(u8::try_from(at).ok()?);
        let Self { peers, crypto, .. } = self;
        let peer = peers.get_mut(at)?;
        let context = peer.context.as_mut()?;
        match context.unprotect_request(crypto, datagram, now) {
            Ok(Request { inner, owed }) => {
                peer.place = place;
                peer.confirmed = true;
                peer.owed = Some((message, owed));
                let code = if inner.body.unknown_critical(&[option::URI_PATH]).is_some() {
                    Some(Code::BAD_OPTION)
                } else if self.allowed(now, at, inner.code, &inner.body) {
                    None
                } else {
                    Some(Code::FORBIDDEN)
                };
                if let Some(code) = code {
                    // A peer that is told nothing asks again.
                    let _told = self.respond(now, id, code, &[]);
                    return None;
                }
                Some(Event::Request {
                    peer: id,
                    method: inner.code,
                    body: inner.body,
                })
            }
            Err(why) => self.refused(place, &message, &why),
        }
    }

    fn answered<'d>(
        &mut self,
        now: u64,
        (place, id): (Place, u16),
        message: Message<'static>,
        protected: bool,
        datagram: &'d mut [u8],
    ) -> Option<Event<'d>> {
        let at = self.waiting(place, id)?;
        let Self {
            peers,
            crypto,
            exchanges,
            ..
        } = self;
        let peer = peers.get_mut(at)?;
        if matches!(peer.stage, Stage::Asked(_)) {
            acknowledge(exchanges, now, place, &message);
            exchanges.finish(place, id);
            peer.under_way = None;
            self.message_2(now, at, datagram);
            return None;
        }
        if !protected {
            // "4.01": the peer has lost the session, or somebody wants us to believe that. Without a handshake left, we go on
            // waiting.
            if self.begin.ready(now) {
                exchanges.finish(place, id);
                self.known &= peer.confirmed;
                peer.end();
            }
            return None;
        }
        let asked = peer.asked.as_mut()?;
        let context = peer.context.as_mut()?;
        let response = context
            .unprotect_response(crypto, asked, datagram, now)
            .ok()?;
        acknowledge(exchanges, now, place, &message);
        exchanges.finish(place, id);
        peer.confirmed = true;
        peer.under_way = None;
        peer.plain.clear();
        self.known |= peer.who == Who::Gateway;
        let asked = peer.asked.take()?;
        let (code, body) = (response.inner.code, response.inner.body);
        let id = PeerId(u8::try_from(at).ok()?);
        match peer.purpose {
            Purpose::Firmware => Some(Event::Response {
                peer: id,
                code,
                body,
            }),
            Purpose::Watch => {
                let observed = response.order.is_some();
                peer.watch.asked = observed.then_some((message.token, asked));
                peer.watch.due = now.saturating_add(if observed { RENEWAL } else { AGAIN });
                let news = code.is_success() && !body.payload().is_empty();
                news.then_some(Event::Notified { peer: id, body })
            }
            Purpose::Grants => {
                self.granted(now, code, &body);
                None
            }
        }
    }

    fn notified<'d>(
        &mut self,
        now: u64,
        place: Place,
        message: &Message<'static>,
        datagram: &'d mut [u8],
    ) -> Option<Event<'d>> {
        let Self {
            peers,
            crypto,
            exchanges,
            ..
        } = self;
        let of = |peer: &super::Peer<C, SIZE>| {
            peer.place == place
                && peer
                    .watch
                    .asked
                    .as_ref()
                    .is_some_and(|(token, _)| *token == message.token)
        };
        let Some(at) = peers.iter().position(of) else {
            // RFC 7641, section 3.6: whoever observes no more says so.
            if message.kind == Type::Confirmable {
                self.reply(place, &empty(Type::Reset, message.id));
            }
            return None;
        };
        let peer = peers.get_mut(at)?;
        let (_, asked) = peer.watch.asked.as_mut()?;
        let context = peer.context.as_mut()?;
        let response = context
            .unprotect_response(crypto, asked, datagram, now)
            .ok()?;
        acknowledge(exchanges, now, place, message);
        if response.order.is_none() {
            peer.watch.asked = None;
            peer.watch.due = now.saturating_add(AGAIN);
        }
        let news = response.inner.code.is_success();
        news.then_some(Event::Notified {
            peer: PeerId(u8::try_from(at).ok()?),
            body: response.inner.body,
        })
    }

    /// Which peer waits for an answer to a message of this ID.
    pub(super) fn waiting(&self, place: Place, id: u16) -> Option<usize> {
        self.peers.iter().position(|peer| {
            peer.place == place && peer.under_way.is_some_and(|(its, _)| its == id)
        })
    }

    /// Answers without a word more than the code, and keeps nothing of it.
    fn refused<'d>(
        &mut self,
        place: Place,
        message: &Message<'_>,
        why: &Refused,
    ) -> Option<Event<'d>> {
        let to = to(&mut self.exchanges, message);
        let length = refuse(why, to, self.spare.room()).ok()?;
        self.spare.keep(length);
        self.reply = Some(place);
        None
    }

    /// Sends something once, and keeps nothing of it.
    pub(super) fn reply(&mut self, place: Place, datagram: &[u8]) {
        self.reply = self.spare.set(datagram).map(|()| place);
    }
}

/// A confirmable response is acknowledged, now and if it comes again.
fn acknowledge<const PEERS: usize, const SIZE: usize>(
    exchanges: &mut Exchanges<Place, PEERS, PEERS, SIZE>,
    now: u64,
    place: Place,
    message: &Message<'_>,
) {
    if message.kind != Type::Acknowledgement {
        // There is always a place, and four bytes fit it.
        let _kept = exchanges.answer(now, place, message, &[]);
    }
}

/// A message's header alone, which outlives the datagram.
fn bare(message: &Message<'_>) -> Message<'static> {
    Message {
        kind: message.kind,
        code: message.code,
        id: message.id,
        token: message.token,
        body: Body::EMPTY,
    }
}
