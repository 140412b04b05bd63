//! The client of the OSCORE interop list: its tests, with contexts A and C. A test that fails panics.

use stockade_link::{
    coap::{
        message::{Builder, Code, Message, Token, Type},
        option,
    },
    oscore::{Asked, Context, Outside, Refused},
};

use super::server::{Crypto, ID_CONTEXT, Stored, context, crypto, keep_ahead};

/// The way to the server.
pub(crate) trait Link {
    fn send(&mut self, datagram: &[u8]);
    /// What comes next for the client, notifications too.
    fn receive(&mut self) -> Vec<u8>;
}

/// A response that was read.
struct Answer {
    code: Code,
    /// Without Observe.
    options: Vec<(u16, Vec<u8>)>,
    payload: Vec<u8>,
    notification: bool,
}

pub(crate) struct Client {
    crypto: Crypto,
    /// What a restart leaves of it.
    pub(crate) stored: Stored,
    a: Context,
    c: Context,
    id: u16,
}

const HELLO: &[u8] = b"Hello World!";
const TEXT: (u16, &[u8]) = (option::CONTENT_FORMAT, b"");

impl Client {
    pub(crate) fn new(stored: Stored) -> Self {
        Self {
            crypto: crypto(),
            stored,
            a: stored.context(b"", b"\x01", None),
            c: stored.context(b"", b"\x01", Some(&ID_CONTEXT)),
            id: 0x7000,
        }
    }

    /// A request: its path of the list, and more options.
    fn plain(&mut self, code: Code, path: &str, more: &[(u16, &[u8])], payload: &[u8]) -> Vec<u8> {
        self.id += 1;
        let mut options: Vec<(u16, &[u8])> = path
            .split('/')
            .map(|part| (option::URI_PATH, part.as_bytes()))
            .collect();
        options.extend(more);
        options.sort_by_key(|(number, _)| *number);
        let mut buffer = [0; 512];
        let token = Token::new(&self.id.to_be_bytes()).unwrap();
        let mut builder = Builder::new(&mut buffer, Type::Confirmable, code, self.id, &token);
        for (number, value) in options {
            builder.option(number, value);
        }
        builder.payload(payload).unwrap().to_vec()
    }

    /// Protects with context A, or C and its ID Context; looks at what is sent.
    fn protect(&mut self, with_c: bool, plain: &[u8]) -> (Vec<u8>, Asked) {
        let plain = Message::parse(plain).unwrap();
        let mut out = [0; 512];
        let outside = Outside {
            kid_context: with_c.then_some(&ID_CONTEXT),
            message_3: &[],
        };
        let context = if with_c { &mut self.c } else { &mut self.a };
        keep_ahead(context, &mut self.stored);
        let (length, asked) = context
            .protect_request(&mut self.crypto, &plain, outside, 0, &mut out)
            .unwrap();
        let sent = out[..length].to_vec();
        let outer = Message::parse(&sent).unwrap();
        let observe = plain.body.get(option::OBSERVE);
        let code = if observe.is_some() {
            Code::FETCH
        } else {
            Code::POST
        };
        assert_eq!(outer.code, code);
        assert_eq!(outer.body.get(option::OBSERVE), observe);
        let only = [option::OSCORE, option::OBSERVE];
        assert!(
            outer
                .body
                .options()
                .all(|(number, _)| only.contains(&number))
        );
        (sent, asked)
    }

    fn read(&mut self, with_c: bool, asked: &mut Asked, mut datagram: Vec<u8>) -> Answer {
        let context = if with_c { &mut self.c } else { &mut self.a };
        let response = context
            .unprotect_response(&mut self.crypto, asked, &mut datagram, 0)
            .unwrap();
        let options = response.inner.body.options();
        Answer {
            code: response.inner.code,
            options: options
                .filter(|(number, _)| *number != option::OBSERVE)
                .map(|(number, value)| (number, value.to_vec()))
                .collect(),
            payload: response.inner.body.payload().to_vec(),
            notification: response.order.is_some(),
        }
    }

    /// Asks and reads the answer. If the server wants to know that the request is fresh, it is repeated with the Echo.
    fn ask(
        &mut self,
        link: &mut dyn Link,
        with_c: bool,
        (code, path): (Code, &str),
        more: &[(u16, &[u8])],
        payload: &[u8],
    ) -> (Answer, Asked) {
        let plain = self.plain(code, path, more, payload);
        let (sent, mut asked) = self.protect(with_c, &plain);
        link.send(&sent);
        let answer = self.read(with_c, &mut asked, link.receive());
        let echo = answer
            .options
            .iter()
            .find(|(number, _)| *number == option::ECHO);
        let (Code::UNAUTHORIZED, Some((_, echo))) = (answer.code, echo) else {
            return (answer, asked);
        };
        let mut more = more.to_vec();
        more.push((option::ECHO, echo));
        let plain = self.plain(code, path, &more, payload);
        let (sent, mut asked) = self.protect(with_c, &plain);
        link.send(&sent);
        (self.read(with_c, &mut asked, link.receive()), asked)
    }

    /// One of the tests of the list, from 0 to 17. For 16, the server must not know OSCORE.
    pub(crate) fn run(&mut self, test: u8, link: &mut dyn Link) {
        let hello = (Code::GET, "oscore/hello/1");
        match test {
            0 => {
                let plain = self.plain(Code::GET, "oscore/hello/coap", &[], b"");
                link.send(&plain);
                let answer = link.receive();
                let answer = Message::parse(&answer).unwrap();
                assert_eq!(answer.code, Code::CONTENT);
                assert_eq!(answer.body.payload(), HELLO);
            }
            1 => expect(
                &self.ask(link, false, hello, &[], b"").0,
                Code::CONTENT,
                &[TEXT],
                HELLO,
            ),
            2 => expect(
                &self.ask(link, true, hello, &[], b"").0,
                Code::CONTENT,
                &[TEXT],
                HELLO,
            ),
            3 => {
                let query = [(option::URI_QUERY, &b"first=1"[..])];
                let (answer, _) = self.ask(link, false, (Code::GET, "oscore/hello/2"), &query, b"");
                expect(
                    &answer,
                    Code::CONTENT,
                    &[(option::ETAG, b"\x2b"), TEXT],
                    HELLO,
                );
            }
            4 => {
                let accept = [(option::ACCEPT, &b""[..])];
                let (answer, _) =
                    self.ask(link, false, (Code::GET, "oscore/hello/3"), &accept, b"");
                expect(
                    &answer,
                    Code::CONTENT,
                    &[TEXT, (option::MAX_AGE, b"\x05")],
                    HELLO,
                );
            }
            5 => {
                let observe = [(option::OBSERVE, &b""[..])];
                let (answer, _) = self.ask(link, false, hello, &observe, b"");
                assert!(!answer.notification);
                expect(&answer, Code::CONTENT, &[TEXT], HELLO);
            }
            6 | 7 => self.observe(test, link),
            8 => {
                let path = (Code::POST, "oscore/hello/6");
                let (answer, _) = self.ask(link, false, path, &[TEXT], b"\x4a");
                expect(&answer, Code::CHANGED, &[TEXT], b"\x4a");
            }
            9 => {
                let more = [(option::IF_MATCH, &b"\x7b"[..]), TEXT];
                let path = (Code::PUT, "oscore/hello/7");
                let (answer, _) = self.ask(link, false, path, &more, b"\x7a");
                expect(&answer, Code::CHANGED, &[], b"");
            }
            10 => {
                let more = [(option::IF_NONE_MATCH, &b""[..]), TEXT];
                let path = (Code::PUT, "oscore/hello/7");
                let (answer, _) = self.ask(link, false, path, &more, b"\x8a");
                assert_eq!(answer.code, Code::PRECONDITION_FAILED);
            }
            11 => {
                let path = (Code::DELETE, "oscore/test");
                let (answer, _) = self.ask(link, false, path, &[], b"");
                expect(&answer, Code::DELETED, &[], b"");
            }
            _ => self.refused(test, link),
        }
    }

    fn observe(&mut self, test: u8, link: &mut dyn Link) {
        let path = if test == 6 {
            "oscore/observe1"
        } else {
            "oscore/observe2"
        };
        let register = [(option::OBSERVE, &b""[..])];
        let (answer, mut asked) = self.ask(link, false, (Code::GET, path), &register, b"");
        assert!(answer.notification);
        expect(&answer, Code::CONTENT, &[TEXT], b"one");
        let answer = self.read(false, &mut asked, link.receive());
        assert!(answer.notification);
        expect(&answer, Code::CONTENT, &[TEXT], b"two");
        if test == 6 {
            let answer = self.read(false, &mut asked, link.receive());
            assert!(!answer.notification);
            expect(
                &answer,
                Code::INTERNAL_SERVER_ERROR,
                &[TEXT],
                b"Terminate Observe",
            );
            return;
        }
        let cancel = [(option::OBSERVE, &b"\x01"[..])];
        let (answer, _) = self.ask(link, false, (Code::GET, path), &cancel, b"");
        assert!(!answer.notification);
        assert_eq!(answer.code, Code::CONTENT);
    }

    /// Tests 12 to 17, which must not succeed.
    fn refused(&mut self, test: u8, link: &mut dyn Link) {
        let plain = self.plain(Code::GET, "oscore/hello/1", &[], b"");
        let (sent, mut asked) = match test {
            // Another Sender ID; other keys.
            12 | 13 => {
                let mut other = match test {
                    12 => context(1, b"\x05", b"\x01", None),
                    _ => context(2, b"", b"\x01", None),
                };
                std::mem::swap(&mut self.a, &mut other);
                // Of numbers the server has not seen yet.
                for _ in 0..20 {
                    self.protect(false, &plain);
                }
                let protected = self.protect(false, &plain);
                std::mem::swap(&mut self.a, &mut other);
                protected
            }
            _ => self.protect(false, &plain),
        };
        if test == 17 {
            link.send(&plain);
        } else {
            link.send(&sent);
        }
        let mut datagram = link.receive();
        if test == 15 {
            self.read(false, &mut asked, datagram);
            // Not a repetition of the message, but of the request.
            let mut again = sent;
            again[3] ^= 0xff;
            link.send(&again);
            datagram = link.receive();
        }
        let code = Message::parse(&datagram).unwrap().code;
        let result = if test == 14 {
            let mut other = context(2, b"", b"\x01", None);
            let result = other.unprotect_response(&mut self.crypto, &mut asked, &mut datagram, 0);
            result.map(|_| ())
        } else {
            let result = self
                .a
                .unprotect_response(&mut self.crypto, &mut asked, &mut datagram, 0);
            result.map(|_| ())
        };
        let (expected, refused) = match test {
            12 | 15 | 17 => (Code::UNAUTHORIZED, Refused::Unprotected),
            13 => (Code::BAD_REQUEST, Refused::Unprotected),
            14 => (Code::CHANGED, Refused::NotAuthentic),
            _ => (Code::BAD_OPTION, Refused::Unprotected),
        };
        assert_eq!((code, result), (expected, Err(refused)));
    }
}

fn expect(answer: &Answer, code: Code, options: &[(u16, &[u8])], payload: &[u8]) {
    let given: Vec<_> = answer
        .options
        .iter()
        .map(|(number, value)| (*number, &value[..]))
        .collect();
    assert_eq!(
        (answer.code, &given[..], &answer.payload[..]),
        (code, options, payload)
    );
}
