//! The server of the OSCORE interop list: its resources, contexts B and D, and the server that knows nothing of OSCORE.

use stockade_link::{
    coap::{
        message::{Body, Builder, Code, Message, Token, Type},
        option,
    },
    crypto::{Aead, CryptoError, Secret, rust::RustCrypto},
    oscore::{Context, Header, Id, Kept, NotKept, Owed, Refused, Secrets, To, refuse},
};

/// The ID Context of contexts C and D.
pub(crate) const ID_CONTEXT: [u8; 8] = [0x37, 0xcb, 0xf3, 0x21, 0x00, 0x17, 0xa2, 0xd3];

pub(crate) type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

pub(crate) fn crypto() -> Crypto {
    RustCrypto::new(|_| Err(CryptoError::Failed))
}

/// A context of the list; `first` is the first byte of the Master Secret, which is 1 in all of them.
pub(crate) fn context(first: u8, sender: &[u8], recipient: &[u8], id: Option<&[u8]>) -> Context {
    let mut secret = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    secret[0] = first;
    let secrets = Secrets {
        master_secret: Secret::new(secret),
        master_salt: Secret::new([0x9e, 0x7c, 0xa9, 0x22, 0x23, 0x78, 0x63, 0x40]),
        sender_id: Id::new(sender).expect("a short ID"),
        recipient_id: Id::new(recipient).expect("a short ID"),
        aead: Aead::Ccm16Tag64,
    };
    Context::derive(&mut crypto(), &secrets, id).expect("keys of our own")
}

/// The first number that may be used after a restart, by any of the contexts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stored(u64);

impl Kept for Stored {
    fn store(&mut self, next: u64) -> Result<(), NotKept> {
        self.0 = self.0.max(next);
        Ok(())
    }
}

impl Stored {
    /// A context from before, or the first time.
    pub(crate) fn context(self, sender: &[u8], recipient: &[u8], id: Option<&[u8]>) -> Context {
        let context = context(1, sender, recipient, id);
        match self.0 {
            0 => context.kept(),
            stored => context.resumed(stored),
        }
    }
}

/// A response: its code, options and payload.
type Answer = (Code, Vec<(u16, &'static [u8])>, Vec<u8>);

/// What is observed, and by whom.
struct Observer {
    context: usize,
    owed: Owed,
    token: Token,
    /// What will be said, and as what.
    ahead: Vec<(Code, &'static [u8])>,
}

pub(crate) struct Server {
    crypto: Crypto,
    /// What a restart leaves of it.
    pub(crate) stored: Stored,
    contexts: [(Option<&'static [u8]>, Context); 2],
    aware: bool,
    id: u16,
    observer: Option<Observer>,
}

impl Server {
    pub(crate) fn new(stored: Stored) -> Self {
        let context = |id| (id, stored.context(b"\x01", b"", id));
        Self {
            crypto: crypto(),
            stored,
            contexts: [context(None), context(Some(&ID_CONTEXT))],
            aware: true,
            id: 0x4000,
            observer: None,
        }
    }

    /// One that does not know the OSCORE option.
    pub(crate) fn unaware() -> Self {
        Self {
            aware: false,
            ..Self::new(Stored::default())
        }
    }

    /// The answer to a request.
    pub(crate) fn handle(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let outer = Message::parse(datagram).ok()?;
        if !outer.code.is_request() {
            return None;
        }
        self.id = self.id.wrapping_add(1);
        let to = match outer.kind {
            Type::Confirmable => To {
                kind: Type::Acknowledgement,
                id: outer.id,
                token: outer.token,
            },
            _ => To {
                kind: Type::NonConfirmable,
                id: self.id,
                token: outer.token,
            },
        };
        if !self.aware {
            let known = [
                option::URI_PATH,
                option::URI_HOST,
                option::URI_PORT,
                option::ACCEPT,
            ];
            let answer = match outer.body.unknown_critical(&known) {
                Some(_) => (Code::BAD_OPTION, Vec::new(), Vec::new()),
                None => open(outer.code, &outer.body),
            };
            return Some(write(to, &answer));
        }
        let mut out = vec![0; 512];
        let refused = match Header::of(&outer) {
            Ok(None) => return Some(write(to, &open(outer.code, &outer.body))),
            Ok(Some(header)) => {
                let place = self
                    .contexts
                    .iter()
                    .position(|(id, _)| *id == header.kid_context);
                match place {
                    Some(place) => match self.protected(place, datagram, to) {
                        Ok(answer) => return Some(answer),
                        Err(refused) => refused,
                    },
                    None => Refused::NoContext,
                }
            }
            Err(refused) => refused,
        };
        let length = refuse(&refused, to, &mut out).expect("a short answer");
        out.truncate(length);
        Some(out)
    }

    fn protected(&mut self, place: usize, datagram: &[u8], to: To) -> Result<Vec<u8>, Refused> {
        let (_, context) = &mut self.contexts[place];
        keep_ahead(context, &mut self.stored);
        let mut datagram = datagram.to_vec();
        let request = match context.unprotect_request(&mut self.crypto, &mut datagram, 0) {
            Err(Refused::NotFresh(owed)) => {
                return Ok(challenge(&mut self.crypto, context, owed, to));
            }
            request => request?,
        };
        let (inner, mut owed) = (request.inner, request.owed);
        let observe = inner.body.uint(option::OBSERVE);
        let mut answer = resource(inner.code, &inner.body);
        let ends = inner.body.path_is("oscore/observe1");
        let observed = ends || inner.body.path_is("oscore/observe2");
        if observed && observe == Some(0) {
            answer.1.insert(0, (option::OBSERVE, b""));
        } else if observed && observe == Some(1) {
            self.observer = None;
            answer.2 = b"two".to_vec();
        }
        let out = protect(&mut self.crypto, context, &mut owed, &write(to, &answer));
        if observed && observe == Some(0) {
            let mut ahead = vec![(Code::CONTENT, &b"two"[..])];
            if ends {
                ahead.push((Code::INTERNAL_SERVER_ERROR, b"Terminate Observe"));
            }
            self.observer = Some(Observer {
                context: place,
                owed,
                token: to.token,
                ahead,
            });
        }
        Ok(out)
    }

    /// What there is to tell an observer.
    pub(crate) fn notification(&mut self) -> Option<Vec<u8>> {
        let observer = self.observer.as_mut()?;
        if observer.ahead.is_empty() {
            return None;
        }
        let (code, payload) = observer.ahead.remove(0);
        self.id = self.id.wrapping_add(1);
        let to = To {
            kind: Type::NonConfirmable,
            id: self.id,
            token: observer.token,
        };
        let mut options: Vec<(u16, &'static [u8])> = vec![(option::CONTENT_FORMAT, b"")];
        if code == Code::CONTENT {
            options.insert(0, (option::OBSERVE, b"\x01"));
        }
        let plain = write(to, &(code, options, payload.to_vec()));
        let (_, context) = &mut self.contexts[observer.context];
        keep_ahead(context, &mut self.stored);
        Some(protect(
            &mut self.crypto,
            context,
            &mut observer.owed,
            &plain,
        ))
    }
}

pub(crate) fn keep_ahead(context: &mut Context, stored: &mut Stored) {
    context.keep_ahead(stored).expect("it is kept");
}

fn challenge(crypto: &mut Crypto, context: &mut Context, owed: Owed, to: To) -> Vec<u8> {
    let mut out = vec![0; 64];
    let length = context.challenge(crypto, owed, to, 0, &mut out);
    out.truncate(length.expect("room"));
    out
}

fn protect(crypto: &mut Crypto, context: &mut Context, owed: &mut Owed, plain: &[u8]) -> Vec<u8> {
    let plain = Message::parse(plain).expect("our own");
    let mut out = vec![0; 512];
    let length = context
        .protect_response(crypto, owed, &plain, 0, &mut out)
        .expect("room");
    out.truncate(length);
    out
}

fn write(to: To, (code, options, payload): &Answer) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut builder = Builder::new(&mut buffer, to.kind, *code, to.id, &to.token);
    for (number, value) in options {
        builder.option(*number, value);
    }
    builder.payload(payload).expect("a short answer").to_vec()
}

/// What everybody may see.
fn open(code: Code, body: &Body<'_>) -> Answer {
    if body.path_is("oscore/hello/coap") {
        return resource(code, body);
    }
    (Code::UNAUTHORIZED, Vec::new(), Vec::new())
}

/// The resources of the list, section 2.
fn resource(code: Code, body: &Body<'_>) -> Answer {
    let text: (u16, &[u8]) = (option::CONTENT_FORMAT, b"");
    let hello = |more: &[(u16, &'static [u8])]| {
        let mut options = vec![text];
        options.extend(more);
        options.sort_by_key(|(number, _)| *number);
        (Code::CONTENT, options, b"Hello World!".to_vec())
    };
    let mut path = [0; 64];
    match (code, body.path(&mut path).unwrap_or_default()) {
        (Code::GET, "oscore/hello/coap" | "oscore/hello/1") => hello(&[]),
        (Code::GET, "oscore/hello/2") => hello(&[(option::ETAG, b"\x2b")]),
        (Code::GET, "oscore/hello/3") => hello(&[(option::MAX_AGE, b"\x05")]),
        (Code::GET, "oscore/observe1" | "oscore/observe2") => {
            (Code::CONTENT, vec![text], b"one".to_vec())
        }
        (Code::POST, "oscore/hello/6") => (Code::CHANGED, vec![text], body.payload().to_vec()),
        (Code::PUT, "oscore/hello/7") => {
            let stale = body.get(option::IF_NONE_MATCH).is_some()
                || body.get(option::IF_MATCH).is_some_and(|tag| tag != b"\x7b");
            let code = if stale {
                Code::PRECONDITION_FAILED
            } else {
                Code::CHANGED
            };
            (code, Vec::new(), Vec::new())
        }
        (Code::DELETE, "oscore/test") => (Code::DELETED, Vec::new(), Vec::new()),
        _ => (Code::NOT_FOUND, Vec::new(), Vec::new()),
    }
}
