//! What goes out: answers inside of a session, and what is told to those who have none.

use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::oscore::{self, Owed, Refused, To};

use super::bearer::{Datagram, Place};
use super::core::{Content, Core, MESSAGE};

impl Core {
    // What goes out unprotected: little, and never more than came in asked for.

    pub(super) fn refuse(&mut self, place: Place, to: To, why: &Refused) {
        if matches!(why, Refused::Unprotected | Refused::NoContext) {
            self.counted.unprotected += 1;
        }
        let mut buffer = [0; 32];
        if let Ok(length) = oscore::refuse(why, to, &mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            self.out.push(Datagram { place, bytes });
        }
    }

    pub(super) fn plain(
        &mut self,
        place: Place,
        to: To,
        code: Code,
        options: &[(u16, &[u8])],
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let mut buffer = [0; MESSAGE];
        let mut builder = Builder::new(&mut buffer, to.kind, code, to.id, &to.token);
        for (number, value) in options {
            builder.option(*number, value);
        }
        let bytes = builder.payload(payload).ok()?.to_vec();
        self.out.push(Datagram {
            place,
            bytes: bytes.clone(),
        });
        Some(bytes)
    }

    pub(super) fn reset(&mut self, place: Place, id: u16) {
        self.empty(place, Type::Reset, id);
    }

    pub(super) fn empty(&mut self, place: Place, kind: Type, id: u16) {
        let to = To {
            kind,
            id,
            token: Token::default(),
        };
        let _sent = self.plain(place, to, Code::EMPTY, &[], &[]);
    }

    /// Protects an answer and sends it.
    pub(super) fn answer(
        &mut self,
        slot: u32,
        to: To,
        owed: &mut Owed,
        (code, options, payload): Content<'_>,
        now: u64,
    ) -> Option<Vec<u8>> {
        let session = self.peers.get(slot)?;
        let place = session.active.as_ref()?.place;
        let (mut plain, mut sealed) = ([0; MESSAGE], [0; MESSAGE + 64]);
        let mut builder = Builder::new(&mut plain, to.kind, code, to.id, &to.token);
        for (number, value) in options {
            builder.option(*number, value);
        }
        let plain = builder.payload(payload).ok()?;
        let message = Message::parse(plain).ok()?;
        let length = session
            .context
            .protect_response(&mut self.crypto, owed, &message, now, &mut sealed)
            .ok()?;
        let bytes = sealed.get(..length)?.to_vec();
        if let Some(active) = session.active.as_mut()
            && let Some(last) = active.last.as_mut()
            && (last.id, last.token) == (to.id, to.token)
        {
            last.answer = Some(bytes.clone());
        }
        self.out.push(Datagram {
            place,
            bytes: bytes.clone(),
        });
        Some(bytes)
    }
}
