//! What goes out: requests, repetitions, and when.

use crate::coap::block::Block;
use crate::coap::exchange::Output as Sending;
use crate::coap::message::{Code, Message, Token};
use crate::coap::option;
use crate::crypto::Crypto;
use crate::oscore::{Outside, ProtectError};

use super::peer::{Purpose, Stage, Who};
use super::{AGAIN, Endpoint, Failure, GRANTS, Kept, Output, PATIENCE, PeerId, begin};

/// To begin with, the largest block that a datagram of so many bytes carries: beside header, token, options and tag.
pub(super) const fn first_block(datagram: usize) -> Block {
    let szx = match datagram.saturating_sub(64) {
        0..64 => 1,
        64..128 => 2,
        128..256 => 3,
        256..512 => 4,
        512..1024 => 5,
        1024.. => 6,
    };
    Block {
        number: 0,
        more: false,
        szx,
    }
}

impl<C: Crypto, K: Kept, const PEERS: usize, const SIZE: usize> Endpoint<'_, C, K, PEERS, SIZE> {
    /// What is to be done now: to be asked until it is nothing. A datagram is put into `out`, which has room for `SIZE` bytes.
    pub fn poll(&mut self, now: u64, out: &mut [u8]) -> Option<Output> {
        if let Some(place) = self.reply.take() {
            let datagram = self.spare.get();
            out.get_mut(..datagram.len())?.copy_from_slice(datagram);
            return Some(Output::Send(place, datagram.len()));
        }
        for at in 0..PEERS {
            if let Some(failure) = self.work(now, at) {
                return Some(Output::Failed(PeerId(u8::try_from(at).ok()?), failure));
            }
        }
        loop {
            match self.exchanges.poll(now)? {
                Sending::Send(place, datagram) => {
                    out.get_mut(..datagram.len())?.copy_from_slice(datagram);
                    return Some(Output::Send(place, datagram.len()));
                }
                Sending::TimedOut { peer, id, .. } => {
                    if let Some(at) = self.waiting(peer, id) {
                        self.lost(now, at, Failure::TimedOut);
                        if let Some(failure) = self.work(now, at) {
                            return Some(Output::Failed(PeerId(u8::try_from(at).ok()?), failure));
                        }
                    }
                }
            }
        }
    }

    /// When [`Endpoint::poll`] has something to do, if no datagram comes before.
    pub fn next_wake(&self, now: u64) -> Option<u64> {
        if self.reply.is_some() {
            return Some(now);
        }
        let peers = self.peers.iter().filter_map(|peer| {
            if peer.under_way.is_some() || peer.who == Who::Nobody {
                return None;
            }
            if let Stage::Answered(_, until) = peer.stage {
                return Some(until);
            }
            if !peer.plain.is_empty() {
                return Some(if peer.ready(now) {
                    now
                } else {
                    self.begin.next().min(peer.until)
                });
            }
            let grants = (peer.who == Who::Gateway && peer.ready(now)).then_some(self.due);
            let watch = (!peer.watch.path.is_empty()).then_some(peer.watch.due);
            grants.into_iter().chain(watch).min()
        });
        self.exchanges.next_wake().into_iter().chain(peers).min()
    }

    /// Sends what waits at a peer, or begins the session that it needs; tells of what was given up.
    fn work(&mut self, now: u64, at: usize) -> Option<Failure> {
        let peer = self.peers.get_mut(at)?;
        if matches!(peer.stage, Stage::Answered(_, until) if until <= now)
            || matches!(peer.who, Who::Caller(Some(_)) if !peer.ready(now))
        {
            *peer = super::Peer::new(Who::Nobody, peer.place);
        }
        if peer
            .context
            .as_ref()
            .is_some_and(|context| !context.usable(now))
        {
            peer.end();
        }
        if peer.under_way.is_some() || peer.who == Who::Nobody {
            return None;
        }
        if peer.plain.is_empty() {
            self.errand(now, at)?;
        }
        let Self {
            peers,
            begin: budget,
            ..
        } = self;
        let peer = peers.get_mut(at)?;
        if peer.until <= now {
            peer.plain.clear();
            match peer.purpose {
                Purpose::Firmware => return Some(peer.failure),
                Purpose::Watch => peer.watch.due = now.saturating_add(AGAIN),
                Purpose::Grants => self.due = now.saturating_add(AGAIN),
            }
            return None;
        }
        let done = if peer.ready(now) {
            self.ask(now, at, 0)
        } else if budget.take(now) {
            self.begin_handshake(at, &[])
        } else {
            return None;
        };
        if let Err(why) = done {
            self.lost(now, at, why);
        }
        None
    }

    /// Makes the request that we have ourselves, if one is due.
    fn errand(&mut self, now: u64, at: usize) -> Option<()> {
        let peer = self.peers.get_mut(at)?;
        let mut builder = begin(peer.plain.room(), Code::GET);
        peer.purpose = if at == 0 && peer.confirmed && self.due <= now {
            builder
                .path(GRANTS)
                .uint(option::BLOCK2, self.next_block.value());
            Purpose::Grants
        } else if !peer.watch.path.is_empty() && peer.watch.due <= now {
            let path = core::str::from_utf8(peer.watch.path.get()).ok()?;
            builder
                .uint(option::OBSERVE, option::observe::REGISTER)
                .path(path);
            Purpose::Watch
        } else {
            return None;
        };
        let length = builder.finish().ok()?.len();
        peer.plain.keep(length);
        peer.until = now.saturating_add(PATIENCE);
        Some(())
    }

    /// Protects the request that waits, and sends it; so many bytes of `message_3`, which lies in `spare`, before it.
    pub(super) fn ask(&mut self, now: u64, at: usize, message_3: usize) -> Result<(), Failure> {
        let Self {
            peers,
            crypto,
            exchanges,
            spare,
            scratch,
            ..
        } = self;
        let peer = peers.get_mut(at).ok_or(Failure::Crypto)?;
        let context = peer.context.as_mut().ok_or(Failure::Crypto)?;
        let (token, spread) = by_chance(crypto)?;
        let id = exchanges.next_id();
        let plain = Message::parse(peer.plain.get()).map_err(|_| Failure::TooLong)?;
        let message = Message { id, token, ..plain };
        let outside = Outside {
            kid_context: None,
            message_3: spare.get().get(..message_3).unwrap_or_default(),
        };
        let (length, asked) = context
            .protect_request(crypto, &message, outside, now, scratch)
            .map_err(|why| match why {
                ProtectError::Full | ProtectError::NotPlain => Failure::TooLong,
                ProtectError::Ended | ProtectError::NotKept | ProtectError::Crypto(_) => {
                    Failure::Crypto
                }
            })?;
        let datagram = scratch.get(..length).ok_or(Failure::TooLong)?;
        exchanges
            .send(peer.place, datagram, spread)
            .map_err(|_| Failure::TooLong)?;
        peer.asked = Some(asked);
        peer.under_way = Some((id, message.token));
        Ok(())
    }

    /// What was sent to a peer had no answer, or could not be sent. A session of which the peer has shown nothing is over.
    pub(super) fn lost(&mut self, now: u64, at: usize, why: Failure) {
        if let Some(peer) = self.peers.get_mut(at) {
            if let Some((id, _)) = peer.under_way.take() {
                self.exchanges.finish(peer.place, id);
            }
            peer.stage = Stage::Idle;
            peer.asked = None;
            if !peer.confirmed {
                peer.context = None;
            }
            peer.until = now;
            peer.failure = why;
        }
    }
}

/// A token, and what spreads the repetitions of a message ([`Exchanges::send`](crate::coap::exchange::Exchanges::send)).
pub(super) fn by_chance<C: Crypto>(crypto: &mut C) -> Result<(Token, u16), Failure> {
    let mut random = [0; 4];
    crypto.random(&mut random).map_err(|_| Failure::Crypto)?;
    let [token @ .., high, low] = &random;
    let token = Token::new(token).unwrap_or_default();
    Ok((token, u16::from_be_bytes([*high, *low])))
}
