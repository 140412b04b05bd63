//! OSCORE when the power fails: appendices B.1 and B.2 of RFC 8613.

use std::collections::BTreeSet;

use stockade_link::{
    coap::{
        message::{Code, Message, Token, Type},
        option,
    },
    oscore::{Context, NotKept, Outside, ProtectError, Refused, Renewed, Renewer, Renewing, To},
};

use super::{Flash, answer, ask, content, get, message, pair, secrets, take};
use crate::{random::Random, recorder::Recorder};

#[test]
fn after_a_restart_the_server_takes_nothing_from_before() {
    let mut crypto = Recorder::new();
    let (mut client, server) = pair(&mut crypto);
    let mut flash = Flash::default();
    let mut server = server.kept();
    let mut old = Vec::new();
    for _ in 0..3 {
        let (request, _) = ask(&mut crypto, &mut client, &get(b"unlock"));
        old.push(request.clone());
        server.keep_ahead(&mut flash).unwrap();
        take(&mut crypto, &mut server, &request).unwrap();
    }
    let (unseen, _) = ask(&mut crypto, &mut client, &get(b"unlock"));
    old.push(unseen);

    let mut server = pair(&mut crypto).1.resumed(flash.next);
    let to = To {
        kind: Type::Acknowledgement,
        id: 7,
        token: Token::new(b"tk").unwrap(),
    };
    let mut out = [0; 128];
    for request in &old {
        for _ in 0..2 {
            let refused = take(&mut crypto, &mut server, request);
            let Err(Refused::NotFresh(owed)) = refused else {
                panic!("{refused:?}");
            };
            server.keep_ahead(&mut flash).unwrap();
            server
                .challenge(&mut crypto, owed, to, 0, &mut out)
                .unwrap();
        }
    }
    // The client's own next one is asked too, and proves itself.
    let (request, mut asked) = ask(&mut crypto, &mut client, &get(b"unlock"));
    let Err(Refused::NotFresh(owed)) = take(&mut crypto, &mut server, &request) else {
        panic!("not asked")
    };
    let length = server
        .challenge(&mut crypto, owed, to, 0, &mut out)
        .unwrap();
    let response = client
        .unprotect_response(&mut crypto, &mut asked, &mut out[..length], 0)
        .unwrap();
    assert_eq!(response.inner.code, Code::UNAUTHORIZED);
    assert_eq!(response.inner.body.payload(), b"");
    let echo = response.inner.body.get(option::ECHO).unwrap().to_vec();
    let wrong: &[(u16, &[u8])] = &[(option::URI_PATH, b"unlock"), (option::ECHO, b"no")];
    let (request, _) = ask(&mut crypto, &mut client, &message(Code::GET, wrong, b""));
    let refused = take(&mut crypto, &mut server, &request);
    assert!(matches!(refused, Err(Refused::NotFresh(_))));
    let right: &[(u16, &[u8])] = &[(option::URI_PATH, b"unlock"), (option::ECHO, &echo)];
    let (request, _) = ask(&mut crypto, &mut client, &message(Code::GET, right, b""));
    let again = request.clone();
    take(&mut crypto, &mut server, &request).unwrap();
    // From here on the window serves: what is older is refused, what is newer is not asked.
    for request in old.iter().chain([&again]) {
        let refused = take(&mut crypto, &mut server, request);
        assert_eq!(refused, Err(Refused::Replayed));
    }
    let (request, _) = ask(&mut crypto, &mut client, &get(b"unlock"));
    assert!(take(&mut crypto, &mut server, &request).is_ok());
}

/// One end of a pair that may lose power at any moment.
struct End {
    context: Context,
    flash: Flash,
    ids: (&'static [u8], &'static [u8]),
}

impl End {
    fn new(crypto: &mut Recorder, ids: (&'static [u8], &'static [u8])) -> Self {
        let context = Context::derive(crypto, &secrets(ids.0, ids.1), None).unwrap();
        Self {
            context: context.kept(),
            flash: Flash::default(),
            ids,
        }
    }

    fn restart(&mut self, crypto: &mut Recorder) {
        let context = Context::derive(crypto, &secrets(self.ids.0, self.ids.1), None).unwrap();
        self.context = context.resumed(self.flash.next);
    }
}

/// Two ends, and an attacker who has everything ever sent.
struct Play {
    crypto: Recorder,
    ends: [End; 2],
    random: Random,
    sent: Vec<Vec<u8>>,
    accepted: u32,
    round: u32,
}

impl Play {
    fn step(&mut self) {
        self.round += 1;
        let at = self.random.below(2);
        if self.random.below(80) == 0 {
            self.ends[at].restart(&mut self.crypto);
        }
        // Keeping may fail, and the power between keeping and sending.
        let end = &mut self.ends[at];
        end.flash.fails = self.random.below(10) == 0;
        let kept = end.context.keep_ahead(&mut end.flash);
        if self.random.below(80) == 0 {
            self.ends[at].restart(&mut self.crypto);
        } else if self.random.below(2) == 0 {
            let observe: &[(u16, &[u8])] = &[(option::OBSERVE, b"")];
            let options = if self.random.below(3) == 0 {
                observe
            } else {
                &[]
            };
            let sent = self.send(at, options);
            assert!(sent.is_some() || kept == Err(NotKept));
        } else {
            self.deliver(at);
        }
    }

    /// A request of this end, unless its number is not kept.
    fn send(&mut self, at: usize, options: &[(u16, &[u8])]) -> Option<Vec<u8>> {
        let plain = message(Code::GET, options, &self.round.to_be_bytes());
        let plain = Message::parse(&plain).unwrap();
        let mut out = [0; 128];
        let context = &mut self.ends[at].context;
        let outside = Outside::default();
        let result = context.protect_request(&mut self.crypto, &plain, outside, 0, &mut out);
        let length = match result {
            Ok((length, _)) => length,
            Err(error) => {
                assert_eq!(error, ProtectError::NotKept);
                return None;
            }
        };
        self.sent.push(out[..length].to_vec());
        self.sent.last().cloned()
    }

    /// Mostly something new for this end, or its own reflected; and what it answers, once or more often.
    fn deliver(&mut self, at: usize) {
        let depth = if self.random.below(4) == 0 {
            self.sent.len()
        } else {
            8
        };
        let back = self.random.below(depth);
        let Some(datagram) = self.sent.iter().rev().nth(back) else {
            return;
        };
        let context = &mut self.ends[at].context;
        let mut out = [0; 128];
        match take(&mut self.crypto, context, datagram) {
            Ok(mut owed) => {
                self.accepted += 1;
                let plain = content(&self.round.to_be_bytes());
                let plain = Message::parse(&plain).unwrap();
                for _ in 0..self.random.below(3) {
                    let crypto = &mut self.crypto;
                    let result = context.protect_response(crypto, &mut owed, &plain, 0, &mut out);
                    assert!(matches!(result, Ok(_) | Err(ProtectError::NotKept)));
                }
            }
            Err(Refused::NotFresh(owed)) => {
                let to = To {
                    kind: Type::NonConfirmable,
                    id: 1,
                    token: Token::default(),
                };
                let result = context.challenge(&mut self.crypto, owed, to, 0, &mut out);
                if result.is_ok() && self.random.below(3) > 0 {
                    self.prove(at);
                }
            }
            Err(_) => {}
        }
    }

    /// The other end repeats the Echo it was given: code and head of the option are before it, the tag behind.
    fn prove(&mut self, at: usize) {
        let sealed = &self.crypto.sealed.last().unwrap().buffer;
        let echo = sealed[3..sealed.len() - 8].to_vec();
        if let Some(fresh) = self.send(1 - at, &[(option::ECHO, &echo)]) {
            let _ = take(&mut self.crypto, &mut self.ends[at].context, &fresh);
        }
    }
}

#[test]
fn no_nonce_is_used_twice_whatever_is_lost() {
    let mut crypto = Recorder::new();
    let ends = [
        End::new(&mut crypto, (b"", b"\x01")),
        End::new(&mut crypto, (b"\x01", b"")),
    ];
    let mut play = Play {
        crypto,
        ends,
        random: Random(9),
        sent: Vec::new(),
        accepted: 0,
        round: 0,
    };
    for _ in 0..6000 {
        play.step();
    }
    assert!(play.accepted > 100, "{} were accepted", play.accepted);
    let mut used = BTreeSet::new();
    for one in &play.crypto.sealed {
        assert!(used.insert((one.key, one.nonce)), "twice: {one:02x?}");
    }
    assert!(used.len() > 2000, "{} were sent", used.len());
}

#[test]
fn lost_contexts_are_derived_anew_with_both_ends_randomness() {
    let mut crypto = Recorder::new();
    let (ours, theirs) = (secrets(b"", b"\x01"), secrets(b"\x01", b""));
    let to = To {
        kind: Type::Acknowledgement,
        id: 7,
        token: Token::new(b"tk").unwrap(),
    };
    let mut out = [0; 256];
    let plain = get(b"x");
    let plain = Message::parse(&plain).unwrap();
    let (renewing, mut first, kid_context) = Renewing::begin(&mut crypto, &ours).unwrap();
    let outside = |kid_context| Outside {
        kid_context: Some(kid_context),
        message_3: &[],
    };
    let (length, mut asked) = first
        .protect_request(
            &mut crypto,
            &plain,
            outside(kid_context.as_bytes()),
            0,
            &mut out,
        )
        .unwrap();
    let first_request = out[..length].to_vec();
    let renewer = Renewer::new(&mut crypto).unwrap();

    // Whoever repeats the first request gets another answer, each with a key of its own.
    let mut response = Vec::new();
    for _ in 0..3 {
        let request = &mut first_request.clone();
        let begun = renewer.request(&mut crypto, &theirs, request, 0).unwrap();
        let Renewed::Begun(begun) = begun else {
            panic!("{begun:?}")
        };
        let length = begun.answer(&mut crypto, to, 0, &mut out).unwrap();
        response = out[..length].to_vec();
    }
    let mut damaged = response.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let refused = renewing.response(&mut crypto, &ours, &mut asked, &mut damaged, 0);
    assert_eq!(refused.unwrap_err(), Refused::NotAuthentic);
    let (mut client, kid_context) = renewing
        .response(&mut crypto, &ours, &mut asked, &mut response, 0)
        .unwrap();

    let (length, mut asked) = client
        .protect_request(
            &mut crypto,
            &plain,
            outside(kid_context.as_bytes()),
            0,
            &mut out,
        )
        .unwrap();
    let second_request = out[..length].to_vec();
    let request = &mut second_request.clone();
    let done = renewer.request(&mut crypto, &theirs, request, 0).unwrap();
    let Renewed::Done(mut server, request) = done else {
        panic!("{done:?}")
    };
    assert!(request.inner.body.path_is("x"));
    let mut owed = request.owed;
    let mut response = answer(&mut crypto, &mut server, &mut owed, &content(b"y"));
    let read = client.unprotect_response(&mut crypto, &mut asked, &mut response, 0);
    assert_eq!(read.unwrap().inner.body.payload(), b"y");
    // Repeated, it is refused by the context, and by another run taken for a beginning.
    let repeated = take(&mut crypto, &mut server, &second_request);
    assert_eq!(repeated, Err(Refused::Replayed));
    let another = Renewer::new(&mut crypto).unwrap();
    let repeated = &mut second_request.clone();
    let result = another.request(&mut crypto, &theirs, repeated, 0);
    assert!(matches!(result, Ok(Renewed::Begun(_))));

    let keys: BTreeSet<_> = crypto.sealed.iter().map(|it| (it.key, it.nonce)).collect();
    assert_eq!(keys.len(), crypto.sealed.len());
}
