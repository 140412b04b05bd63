//! OSCORE: RFC 8613's vectors byte for byte, the two ends with each other, and against damage and replays.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use stockade_link::{
    coap::{
        message::{Builder, Code, Message, Token, Type},
        option,
    },
    crypto::{Aead, Secret},
    oscore::{
        Asked, Context, Header, Id, Kept, NotKept, Outside, Owed, ProtectError, Refused, Secrets,
        To, message_3, refuse,
    },
};

use crate::{random::Random, recorder::Recorder};

#[path = "oscore_restart.rs"]
mod restart;

/// The values of appendix C, by section and name.
fn vectors() -> BTreeMap<String, BTreeMap<String, String>> {
    serde_json::from_str(include_str!("../vectors/rfc8613.json")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let digits = digits.map(|pair| str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn secrets(sender: &[u8], recipient: &[u8]) -> Secrets {
    Secrets {
        master_secret: Secret::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        master_salt: Secret::new([0x9e, 0x7c, 0xa9, 0x22, 0x23, 0x78, 0x63, 0x40]),
        sender_id: Id::new(sender).unwrap(),
        recipient_id: Id::new(recipient).unwrap(),
        aead: Aead::Ccm16Tag64,
    }
}

/// Both ends of one context: the client's ID is empty, the server's 01.
fn pair(crypto: &mut Recorder) -> (Context, Context) {
    let client = Context::derive(crypto, &secrets(b"", b"\x01"), None).unwrap();
    let server = Context::derive(crypto, &secrets(b"\x01", b""), None).unwrap();
    (client, server)
}

fn message(code: Code, options: &[(u16, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let token = Token::new(b"tk").unwrap();
    let mut builder = Builder::new(&mut buffer, Type::Confirmable, code, 7, &token);
    for (number, value) in options {
        builder.option(*number, value);
    }
    builder.payload(payload).unwrap().to_vec()
}

fn get(path: &[u8]) -> Vec<u8> {
    message(Code::GET, &[(option::URI_PATH, path)], b"")
}

fn content(payload: &[u8]) -> Vec<u8> {
    message(Code::CONTENT, &[], payload)
}

/// A request, protected.
fn ask(crypto: &mut Recorder, client: &mut Context, plain: &[u8]) -> (Vec<u8>, Asked) {
    let mut out = [0; 2048];
    let plain = Message::parse(plain).unwrap();
    let (length, asked) = client
        .protect_request(crypto, &plain, Outside::default(), 0, &mut out)
        .unwrap();
    (out[..length].to_vec(), asked)
}

/// A response, protected.
fn answer(crypto: &mut Recorder, server: &mut Context, owed: &mut Owed, plain: &[u8]) -> Vec<u8> {
    let mut out = [0; 2048];
    let plain = Message::parse(plain).unwrap();
    let length = server
        .protect_response(crypto, owed, &plain, 0, &mut out)
        .unwrap();
    out[..length].to_vec()
}

/// A request, read from a copy of it; gives what its response needs.
fn take(crypto: &mut Recorder, server: &mut Context, datagram: &[u8]) -> Result<Owed, Refused> {
    let mut copy = datagram.to_vec();
    let request = server.unprotect_request(crypto, &mut copy, 0);
    request.map(|it| it.owed)
}

/// Where numbers are kept, or the power fails before they are.
#[derive(Default)]
struct Flash {
    next: u64,
    fails: bool,
}

impl Kept for Flash {
    fn store(&mut self, next: u64) -> Result<(), NotKept> {
        if self.fails {
            return Err(NotKept);
        }
        assert!(next > self.next, "numbers only grow");
        self.next = next;
        Ok(())
    }
}

/// Contexts of sections C.1 to C.3, and the one of a request section.
fn of(crypto: &mut Recorder, section: &BTreeMap<String, String>) -> Context {
    let given = |name: &str| bytes(section.get(name).map_or("", String::as_str));
    let mut salt = [0; 8];
    salt[..given("Master Salt").len()].copy_from_slice(&given("Master Salt"));
    let secrets = Secrets {
        master_secret: Secret::new(given("Master Secret").try_into().unwrap()),
        master_salt: Secret::new(salt),
        sender_id: Id::new(&given("Sender ID")).unwrap(),
        recipient_id: Id::new(&given("Recipient ID")).unwrap(),
        aead: Aead::Ccm16Tag64,
    };
    let id_context = section.get("ID Context").map(|hex| bytes(hex));
    Context::derive(crypto, &secrets, id_context.as_deref()).unwrap()
}

#[test]
fn keys_are_derived_as_in_rfc_8613_c1_to_c3() {
    let all = vectors();
    for name in ["C.1.1", "C.1.2", "C.2.1", "C.2.2", "C.3.1", "C.3.2"] {
        let section = &all[name];
        let mut crypto = Recorder::new();
        let mut context = of(&mut crypto, section);
        let derived: BTreeMap<_, _> = crypto.macs.iter().cloned().collect();
        for (info, value) in [
            ("info (for Sender Key)", "Sender Key"),
            ("info (for Recipient Key)", "Recipient Key"),
            ("info (for Common IV)", "Common IV"),
        ] {
            let info = [bytes(&section[info]), vec![1]].concat();
            let value = bytes(&section[value]);
            assert_eq!(derived[&info][..value.len()], value, "{name}");
        }
        // The nonces are those of number 0: of a request of ours, and of a response to a request of the peer's number 0.
        ask(&mut crypto, &mut context, &get(b"x"));
        let sealed = crypto.sealed.pop().unwrap();
        assert_eq!(sealed.nonce[..], bytes(&section["sender nonce"]), "{name}");
        assert_eq!(sealed.key[..], bytes(&section["Sender Key"]), "{name}");
        let mut peer = section.clone();
        peer.insert("Sender ID".to_owned(), section["Recipient ID"].clone());
        peer.insert("Recipient ID".to_owned(), section["Sender ID"].clone());
        let mut peer = of(&mut crypto, &peer);
        let (request, _) = ask(&mut crypto, &mut peer, &get(b"x"));
        let mut owed = take(&mut crypto, &mut context, &request).unwrap();
        answer(&mut crypto, &mut context, &mut owed, &content(b"y"));
        let sealed = crypto.sealed.pop().unwrap();
        assert_eq!(
            sealed.nonce[..],
            bytes(&section["recipient nonce"]),
            "{name}"
        );
    }
}

#[test]
fn requests_are_protected_as_in_rfc_8613_c4_to_c6() {
    let all = vectors();
    for (name, client, server) in [
        ("C.4", "C.1.1", "C.1.2"),
        ("C.5", "C.2.1", "C.2.2"),
        ("C.6", "C.3.1", "C.3.2"),
    ] {
        let section = &all[name];
        let mut crypto = Recorder::new();
        let mut flash = Flash {
            next: 20,
            fails: false,
        };
        let mut client = of(&mut crypto, &all[client]).resumed(20);
        client.keep_ahead(&mut flash).unwrap();
        let kid_context = section.get("kid context").map(|hex| bytes(hex));
        let outside = Outside {
            kid_context: kid_context.as_deref(),
            message_3: &[],
        };
        let plain = bytes(&section["Unprotected CoAP request"]);
        let mut out = [0; 64];
        let (length, _) = client
            .protect_request(
                &mut crypto,
                &Message::parse(&plain).unwrap(),
                outside,
                0,
                &mut out,
            )
            .unwrap();
        let sealed = crypto.sealed.pop().unwrap();
        let plaintext = bytes(&section["plaintext"]);
        assert_eq!(sealed.key[..], bytes(&section["encryption key"]), "{name}");
        assert_eq!(sealed.nonce[..], bytes(&section["nonce"]), "{name}");
        assert_eq!(sealed.aad, bytes(&section["AAD"]), "{name}");
        assert_eq!(sealed.buffer[..plaintext.len()], plaintext, "{name}");
        let datagram = &mut out[..length];
        assert_eq!(
            datagram,
            bytes(&section["Protected CoAP request (OSCORE message)"]),
            "{name}"
        );
        let outer = Message::parse(datagram).unwrap();
        assert_eq!(
            outer.body.payload(),
            bytes(&section["ciphertext"]),
            "{name}"
        );
        let value = bytes(&section["OSCORE option value"]);
        assert_eq!(outer.body.get(option::OSCORE), Some(&value[..]), "{name}");
        let header = Header::parse(&value).unwrap();
        assert_eq!(header.kid, Some(&bytes(&section["kid"])[..]), "{name}");
        assert_eq!(header.number, Some(0x14), "{name}");

        let mut server = of(&mut crypto, &all[server]);
        let request = server.unprotect_request(&mut crypto, datagram, 0).unwrap();
        assert_eq!(request.inner.code, Code::GET);
        assert!(request.inner.body.path_is("tv1"));
    }
}

#[test]
fn responses_are_protected_as_in_rfc_8613_c7_and_c8() {
    let all = vectors();
    let mut crypto = Recorder::new();
    let mut client = of(&mut crypto, &all["C.1.1"]).resumed(20);
    client
        .keep_ahead(&mut Flash {
            next: 20,
            fails: false,
        })
        .unwrap();
    let mut server = of(&mut crypto, &all["C.1.2"]);
    let plain = bytes(&all["C.4"]["Unprotected CoAP request"]);
    let (request, mut asked) = ask(&mut crypto, &mut client, &plain);
    let mut owed = take(&mut crypto, &mut server, &request).unwrap();
    // The second has a Partial IV, as C.8 wants.
    for name in ["C.7", "C.8"] {
        let section = &all[name];
        let plain = bytes(&section["Unprotected CoAP response"]);
        let mut protected = answer(&mut crypto, &mut server, &mut owed, &plain);
        let sealed = crypto.sealed.pop().unwrap();
        assert_eq!(sealed.key[..], bytes(&section["encryption key"]), "{name}");
        assert_eq!(sealed.nonce[..], bytes(&section["nonce"]), "{name}");
        assert_eq!(sealed.aad, bytes(&section["AAD"]), "{name}");
        let plaintext = bytes(&section["plaintext"]);
        assert_eq!(sealed.buffer[..plaintext.len()], plaintext, "{name}");
        let whole = bytes(&section["Protected CoAP response (OSCORE message)"]);
        assert_eq!(protected, whole, "{name}");
        let read = client.unprotect_response(&mut crypto, &mut asked, &mut protected, 0);
        // One response is all there is to a request without Observe.
        if name == "C.7" {
            assert_eq!(read.unwrap().inner.body.payload(), b"Hello World!");
        } else {
            assert_eq!(read, Err(Refused::Replayed));
        }
    }
}

/// Options that are protected, in order, with values of allowed lengths.
fn options() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let protected = [
        1, 4, 5, 8, 11, 12, 14, 15, 17, 20, 23, 27, 28, 60, 252, 258, 292, 2053, 65000,
    ];
    let one = (
        prop::sample::select(protected.to_vec()),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    prop::collection::vec(one, 0..8).prop_map(|mut all| {
        all.sort_by_key(|(number, _)| *number);
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_protected_comes_out_as_it_was(
        options in options(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        method in 1_u8..8,
        host in prop::option::of(prop::collection::vec(any::<u8>(), 1..20)),
        large_tag in any::<bool>(),
        ids in any::<([u8; 3], [u8; 7])>(),
        combined in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut crypto = Recorder::new();
        let mut ours = secrets(&ids.0, &ids.1);
        let mut theirs = secrets(&ids.1, &ids.0);
        if large_tag {
            ours.aead = Aead::Ccm16Tag128;
            theirs.aead = Aead::Ccm16Tag128;
        }
        let mut client = Context::derive(&mut crypto, &ours, None).unwrap();
        let mut server = Context::derive(&mut crypto, &theirs, None).unwrap();
        let mut given: Vec<(u16, &[u8])> = host.iter().map(|host| (option::URI_HOST, &host[..])).collect();
        given.extend(options.iter().map(|(number, value)| (*number, &value[..])));
        given.sort_by_key(|(number, _)| *number);
        let mut buffer = [0; 4096];
        let mut front = stockade_link::cbor::Writer::new(&mut buffer);
        front.bytes(&combined);
        let front = if combined.is_empty() { &[][..] } else { front.finish().unwrap() };
        let mut plain = [0; 4096];
        let mut out = [0; 4096];
        for code in [Code(method), Code::CONTENT] {
            let token = Token::new(b"abcdefgh").unwrap();
            let mut builder = Builder::new(&mut plain, Type::NonConfirmable, code, 9, &token);
            for (number, value) in &given {
                builder.option(*number, value);
            }
            let plain = builder.payload(&payload).unwrap();
            let plain = Message::parse(plain).unwrap();
            let inner = if code.is_request() {
                let outside = Outside { kid_context: None, message_3: front };
                let (length, _) = client.protect_request(&mut crypto, &plain, outside, 0, &mut out).unwrap();
                let outer = Message::parse(&out[..length]).unwrap();
                prop_assert_eq!(outer.body.get(option::URI_HOST), host.as_deref());
                prop_assert_eq!((outer.kind, outer.id, outer.token), (plain.kind, 9, token));
                prop_assert_eq!(outer.code, Code::POST);
                prop_assert_eq!(message_3(&outer).unwrap(), (!front.is_empty()).then_some(front));
                server.unprotect_request(&mut crypto, &mut out[..length], 0).unwrap().inner
            } else {
                let (request, mut asked) = ask(&mut crypto, &mut client, &get(b"x"));
                let mut owed = take(&mut crypto, &mut server, &request).unwrap();
                let length = server.protect_response(&mut crypto, &mut owed, &plain, 0, &mut out).unwrap();
                prop_assert_eq!(Message::parse(&out[..length]).unwrap().code, Code::CHANGED);
                client.unprotect_response(&mut crypto, &mut asked, &mut out[..length], 0).unwrap().inner
            };
            prop_assert_eq!(inner.code, code);
            prop_assert_eq!(inner.body.payload(), &payload[..]);
            let expected: Vec<_> = options.iter().map(|(number, value)| (*number, &value[..])).collect();
            prop_assert_eq!(inner.body.options().collect::<Vec<_>>(), expected);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The window is that of a set of all numbers ever received.
    #[test]
    fn a_number_is_accepted_once_and_not_when_it_is_too_old(
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..200),
    ) {
        let mut crypto = Recorder::new();
        let (mut client, mut server) = pair(&mut crypto);
        let requests: Vec<_> = (0..200).map(|_| ask(&mut crypto, &mut client, &get(b"x")).0).collect();
        let mut seen = BTreeSet::new();
        let mut base = 0;
        for (index, jump) in steps {
            // Mostly near what came last.
            let number = if jump == 0 { index.index(200) } else { (base + index.index(80)).saturating_sub(70).min(199) };
            let highest = seen.last().copied().unwrap_or(0);
            let new = !seen.contains(&number) && number + 64 > highest;
            let result = take(&mut crypto, &mut server, &requests[number]);
            if new {
                prop_assert!(result.is_ok());
                seen.insert(number);
            } else {
                prop_assert_eq!(result, Err(Refused::Replayed));
            }
            base = number.max(highest);
        }
    }
}

#[test]
fn the_window_is_exactly_64_wide() {
    let mut crypto = Recorder::new();
    let (mut client, mut server) = pair(&mut crypto);
    let all: Vec<_> = (0..65)
        .map(|_| ask(&mut crypto, &mut client, &get(b"x")).0)
        .collect();
    let mut read = |number: usize| take(&mut crypto, &mut server, &all[number]).map(|_| ());
    assert_eq!(read(64), Ok(()));
    assert_eq!(read(0), Err(Refused::Replayed));
    assert_eq!(read(1), Ok(()));
    assert_eq!(read(1), Err(Refused::Replayed));
    assert_eq!(read(63), Ok(()));
    assert_eq!(read(64), Err(Refused::Replayed));
}

/// Whether what OSCORE protects is the same: it does not protect the header, the options outside, nor a kid context.
fn same(damaged: &[u8], original: &[u8]) -> bool {
    let original = Message::parse(original).unwrap();
    let header = Header::of(&original).unwrap().unwrap();
    Message::parse(damaged).is_ok_and(|it| {
        it.code.is_request() == original.code.is_request()
            && it.body.payload() == original.body.payload()
            && Header::of(&it).unwrap().unwrap().number == header.number
    })
}

#[test]
fn damaged_messages_are_refused_and_change_nothing() {
    let mut crypto = Recorder::new();
    let (mut client, mut server) = pair(&mut crypto);
    let observe: &[(u16, &[u8])] = &[(option::OBSERVE, b""), (option::URI_PATH, b"x")];
    let plain = message(Code::GET, observe, b"");
    let (request, mut asked) = ask(&mut crypto, &mut client, &plain);
    let mut owed = take(&mut crypto, &mut server, &request).unwrap();
    let response = answer(&mut crypto, &mut server, &mut owed, &content(b"21.5"));
    let (_, mut server) = pair(&mut crypto);
    let mut random = Random(8613);
    for _ in 0..15_000 {
        let damaged = random.mutated(&request);
        if take(&mut crypto, &mut server, &damaged).is_ok() {
            assert!(same(&damaged, &request), "{damaged:02x?}");
            (_, server) = pair(&mut crypto);
        }
        let damaged = random.mutated(&response);
        let mut copy = damaged.clone();
        let result = client.unprotect_response(&mut crypto, &mut asked, &mut copy, 0);
        if result.is_ok() {
            assert!(same(&damaged, &response), "{damaged:02x?}");
            (client, _) = pair(&mut crypto);
            (_, asked) = ask(&mut crypto, &mut client, &plain);
        }
    }
    assert!(take(&mut crypto, &mut server, &request).is_ok());
    let mut response = response;
    let read = client.unprotect_response(&mut crypto, &mut asked, &mut response, 0);
    assert_eq!(read.unwrap().inner.body.payload(), b"21.5");
}

#[test]
fn a_response_belongs_to_its_request_alone() {
    let mut crypto = Recorder::new();
    let (mut client, mut server) = pair(&mut crypto);
    let (first, mut asked_first) = ask(&mut crypto, &mut client, &get(b"a"));
    let (second, mut asked_second) = ask(&mut crypto, &mut client, &get(b"b"));
    let mut to_first = {
        let mut owed = take(&mut crypto, &mut server, &first).unwrap();
        answer(&mut crypto, &mut server, &mut owed, &content(b"a"))
    };
    take(&mut crypto, &mut server, &second).unwrap();
    let mut copy = to_first.clone();
    let wrong = client.unprotect_response(&mut crypto, &mut asked_second, &mut copy, 0);
    assert_eq!(wrong, Err(Refused::NotAuthentic));
    let mut copy = to_first.clone();
    let right = client.unprotect_response(&mut crypto, &mut asked_first, &mut copy, 0);
    assert_eq!(right.unwrap().inner.body.payload(), b"a");
    let again = client.unprotect_response(&mut crypto, &mut asked_first, &mut to_first, 0);
    assert_eq!(again, Err(Refused::Replayed));
}

#[test]
fn of_two_devices_with_one_key_the_second_is_a_replay() {
    let mut crypto = Recorder::new();
    let (mut one, mut server) = pair(&mut crypto);
    let (mut other, _) = pair(&mut crypto);
    let (first, mut asked) = ask(&mut crypto, &mut one, &get(b"a"));
    let (second, mut asked_too) = ask(&mut crypto, &mut other, &get(b"b"));
    let mut owed = take(&mut crypto, &mut server, &first).unwrap();
    let refused = take(&mut crypto, &mut server, &second);
    assert_eq!(refused, Err(Refused::Replayed));
    // The one answer is for both of them, since they are one to the server; but it is not given twice.
    let response = answer(&mut crypto, &mut server, &mut owed, &content(b"a"));
    for (context, asked) in [(&mut one, &mut asked), (&mut other, &mut asked_too)] {
        let mut copy = response.clone();
        let read = context.unprotect_response(&mut crypto, asked, &mut copy, 0);
        assert!(read.is_ok());
        let mut copy = response.clone();
        let read = context.unprotect_response(&mut crypto, asked, &mut copy, 0);
        assert_eq!(read, Err(Refused::Replayed));
    }
}

#[test]
fn notifications_have_numbers_of_their_own_and_old_ones_are_refused() {
    let mut crypto = Recorder::new();
    let (mut client, mut server) = pair(&mut crypto);
    let register: &[(u16, &[u8])] = &[(option::OBSERVE, b""), (option::URI_PATH, b"x")];
    let (request, mut asked) = ask(&mut crypto, &mut client, &message(Code::GET, register, b""));
    assert_eq!(Message::parse(&request).unwrap().code, Code::FETCH);
    let mut owed = take(&mut crypto, &mut server, &request).unwrap();
    let notify = |payload: &[u8]| message(Code::CONTENT, &[(option::OBSERVE, b"\x09")], payload);
    let mut all: Vec<_> = [b"0", b"1", b"2"]
        .iter()
        .map(|payload| answer(&mut crypto, &mut server, &mut owed, &notify(*payload)))
        .collect();
    for one in &all {
        let outer = Message::parse(one).unwrap();
        assert_eq!(outer.code, Code::CONTENT);
        assert_eq!(outer.body.get(option::OBSERVE), Some(&[9][..]));
    }
    let mut read = |at: usize| {
        let result = client.unprotect_response(&mut crypto, &mut asked, &mut all[at], 0);
        result.map(|it| {
            (
                it.order,
                it.inner.body.get(option::OBSERVE).map(<[u8]>::to_vec),
            )
        })
    };
    assert_eq!(read(1), Ok((Some(1), Some(Vec::new()))));
    assert_eq!(read(0), Err(Refused::Replayed));
    assert_eq!(read(2), Ok((Some(2), Some(Vec::new()))));
    assert_eq!(read(2), Err(Refused::Replayed));

    // A notification nobody asked for.
    let (request, mut asked) = ask(&mut crypto, &mut client, &get(b"x"));
    let mut owed = take(&mut crypto, &mut server, &request).unwrap();
    let mut response = answer(&mut crypto, &mut server, &mut owed, &notify(b"3"));
    let result = client.unprotect_response(&mut crypto, &mut asked, &mut response, 0);
    assert_eq!(result, Err(Refused::Malformed));
}

#[test]
fn wrong_messages_get_the_codes_of_section_8_2_and_nothing_else() {
    let mut crypto = Recorder::new();
    let (mut client, mut server) = pair(&mut crypto);
    let (request, _) = ask(&mut crypto, &mut client, &get(b"x"));
    let value_at = request.iter().rposition(|byte| *byte == 0x09).unwrap();
    let with = |at: usize, byte: u8| {
        let mut copy = request.clone();
        copy[at] = byte;
        copy
    };
    let last = request.len() - 1;
    let other_kid = {
        let mut client = Context::derive(&mut crypto, &secrets(b"\x05", b"\x01"), None).unwrap();
        ask(&mut crypto, &mut client, &get(b"x")).0
    };
    let cases = [
        (get(b"x"), Code::UNAUTHORIZED),
        (with(value_at, 0x29), Code::BAD_OPTION),
        (with(value_at, 0x0e), Code::BAD_OPTION),
        (with(value_at, 0x08), Code::BAD_OPTION),
        (other_kid, Code::UNAUTHORIZED),
        (with(last, request[last] ^ 1), Code::BAD_REQUEST),
        (request.clone(), Code::EMPTY),
        (request.clone(), Code::UNAUTHORIZED),
    ];
    for (case, (mut datagram, code)) in cases.into_iter().enumerate() {
        let result = server.unprotect_request(&mut crypto, &mut datagram, 0);
        let Err(why) = result else {
            assert_eq!(code, Code::EMPTY, "{case}");
            continue;
        };
        assert_eq!(why.code(), code, "{case}: {why}");
        let mut out = [0; 16];
        let to = To {
            kind: Type::Acknowledgement,
            id: 7,
            token: Token::new(b"tk").unwrap(),
        };
        let length = refuse(&why, to, &mut out).unwrap();
        let answer = Message::parse(&out[..length]).unwrap();
        assert_eq!(answer.code, code);
        let options: Vec<_> = answer.body.options().collect();
        assert_eq!(options, [(option::MAX_AGE, &[][..])]);
        assert_eq!(answer.body.payload(), b"");
    }
}

#[test]
fn what_cannot_be_protected_is_not_sent() {
    let mut crypto = Recorder::new();
    let (mut client, mut server) = pair(&mut crypto);
    let mut out = [0; 64];
    let mut protect = |client: &mut Context, plain: &[u8], now| {
        let plain = Message::parse(plain).unwrap();
        let outside = Outside::default();
        client
            .protect_request(&mut crypto, &plain, outside, now, &mut out)
            .map(|_| ())
    };
    for number in [option::OSCORE, option::EDHOC, option::PROXY_URI] {
        let plain = message(Code::GET, &[(number, b"\x01")], b"");
        assert_eq!(protect(&mut client, &plain, 0), Err(ProtectError::NotPlain));
    }
    assert_eq!(
        protect(&mut client, &content(b""), 0),
        Err(ProtectError::NotPlain)
    );
    let long = message(Code::GET, &[], &[0; 64]);
    assert_eq!(protect(&mut client, &long, 0), Err(ProtectError::Full));

    // An end.
    let mut client = client.limited(100, 42);
    assert_eq!(client.scope(), 42);
    assert_eq!(protect(&mut client, &get(b"x"), 99), Ok(()));
    assert_eq!(
        protect(&mut client, &get(b"x"), 100),
        Err(ProtectError::Ended)
    );
    let (mut request, mut asked) = ask(&mut crypto, &mut client, &get(b"x"));
    server = server.limited(100, 0);
    let mut copy = request.clone();
    let late = server.unprotect_request(&mut crypto, &mut copy, 100);
    assert_eq!(late, Err(Refused::Ended));
    let mut owed = server
        .unprotect_request(&mut crypto, &mut request, 99)
        .unwrap()
        .owed;
    let plain = content(b"x");
    let plain = Message::parse(&plain).unwrap();
    let late = server.protect_response(&mut crypto, &mut owed, &plain, 100, &mut out);
    assert_eq!(late, Err(ProtectError::Ended));
    let length = server
        .protect_response(&mut crypto, &mut owed, &plain, 99, &mut out)
        .unwrap();
    let late = client.unprotect_response(&mut crypto, &mut asked, &mut out[..length], 100);
    assert_eq!(late, Err(Refused::Ended));

    // One ID for both ends would be one key for both.
    assert!(Context::derive(&mut crypto, &secrets(b"a", b"a"), None).is_err());
}

#[test]
fn options_that_could_be_said_otherwise_are_refused() {
    for wrong in [
        "00",
        "07",
        "0600000000000000",
        "20",
        "40",
        "80",
        "0101ff",
        "020001",
        "10",
        "1002aa",
        "09",
    ] {
        assert_eq!(Header::parse(&bytes(wrong)), None, "{wrong}");
    }
    for right in [
        "",
        "0100",
        "0914",
        "08",
        "0925aa",
        "1900021234",
        "0dffffffffff00010203040506",
    ] {
        let value = bytes(right);
        let header = Header::parse(&value).unwrap();
        assert_eq!(header.write(&mut [0; 32]).unwrap(), value, "{right}");
    }
}
