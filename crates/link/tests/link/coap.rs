//! CoAP: messages, options and the small tables, against RFC 7252, an independent implementation, and damage.

use proptest::collection::vec;
use proptest::prelude::*;
use stockade_link::coap::block::Block;
use stockade_link::coap::echo;
use stockade_link::coap::link_format::Links;
use stockade_link::coap::message::{
    Body, BuildError, Builder, Code, Malformed, Message, Token, Type,
};
use stockade_link::coap::option;
use stockade_link::crypto::rust::RustCrypto;
use stockade_link::crypto::{Crypto as _, CryptoError, Secret};

use crate::random::Random;

const TYPES: [Type; 4] = [
    Type::Confirmable,
    Type::NonConfirmable,
    Type::Acknowledgement,
    Type::Reset,
];

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = core::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("hex")
    });
    pairs.collect()
}

/// The message written anew from what was read.
fn rebuilt(message: &Message<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let (kind, code) = (message.kind, message.code);
    let mut builder = Builder::new(&mut buffer, kind, code, message.id, &message.token);
    builder.copy(message.body.options(), |_| true);
    let written = builder.payload(message.body.payload());
    written.expect("it fits").to_vec()
}

fn with_options(options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut buffer = [0; 2_000];
    let token = Token::default();
    let mut builder = Builder::new(&mut buffer, Type::Confirmable, Code::GET, 1, &token);
    for (number, value) in options {
        builder.option(*number, value);
    }
    builder.finish().expect("it fits").to_vec()
}

#[test]
fn the_examples_of_rfc_7252_appendix_a_read_and_write() {
    // Figure 16: GET /temperature, and 2.05 "22.3 C" in its acknowledgement.
    let request = hex("40 01 7d34 bb 74656d7065726174757265");
    let message = Message::parse(&request).unwrap();
    assert_eq!(
        (message.kind, message.code, message.id),
        (Type::Confirmable, Code::GET, 0x7d34)
    );
    assert!(message.body.path_is("/temperature"));
    let mut buffer = [0; 32];
    assert_eq!(message.body.path(&mut buffer), Ok("temperature"));
    let mut buffer = [0; 32];
    let token = Token::default();
    let mut builder = Builder::new(&mut buffer, Type::Confirmable, Code::GET, 0x7d34, &token);
    builder.path("/temperature");
    assert_eq!(builder.finish().unwrap(), request);
    let response = hex("60 45 7d34 ff 32322e332043");
    let message = Message::parse(&response).unwrap();
    assert_eq!(message.code.to_string(), "2.05");
    assert_eq!(message.body.payload(), b"22.3 C");
    assert_eq!(rebuilt(&message), response);
    // Figure 17: the same with the token 0x20.
    let request = hex("41 01 7d35 20 bb 74656d7065726174757265");
    let message = Message::parse(&request).unwrap();
    assert_eq!(message.token.as_bytes(), [0x20]);
    assert_eq!(rebuilt(&message), request);
}

#[test]
fn what_is_no_message_is_refused_and_only_what_may_be_is_reset() {
    let format = |kind| Err(Malformed::Format { kind, id: 0x0102 });
    let ignored = Err(Malformed::NoHeader);
    for (bytes, expected) in [
        ("", ignored),
        ("40 01 01", ignored),
        // Version 0, 2 and 3.
        ("00 01 0102", ignored),
        ("80 01 0102", ignored),
        ("c0 01 0102", ignored),
        // An empty message with a token, an option or a payload.
        ("41 00 0102 aa", format(Type::Confirmable)),
        ("41 00 0102", format(Type::Confirmable)),
        ("70 00 0102 b0", format(Type::Reset)),
        ("60 00 0102 ff 01", format(Type::Acknowledgement)),
        // Reserved classes 1, 3, 6 and 7.
        ("50 20 0102", format(Type::NonConfirmable)),
        ("40 60 0102", format(Type::Confirmable)),
        ("40 c0 0102", format(Type::Confirmable)),
        ("40 e1 0102", format(Type::Confirmable)),
        // A token of nine bytes, one that is cut off.
        ("49 01 0102 000000000000000000", format(Type::Confirmable)),
        ("44 01 0102 000000", format(Type::Confirmable)),
        // A marker with nothing behind.
        ("40 01 0102 ff", format(Type::Confirmable)),
        ("40 01 0102 b161 ff", format(Type::Confirmable)),
        // Reserved nibbles; lengths and deltas that are cut off or go past the end.
        ("40 01 0102 f0", format(Type::Confirmable)),
        ("40 01 0102 0f", format(Type::Confirmable)),
        ("40 01 0102 d0", format(Type::Confirmable)),
        ("40 01 0102 e001", format(Type::Confirmable)),
        ("40 01 0102 b5 61", format(Type::Confirmable)),
        ("40 01 0102 0e ffff", format(Type::Confirmable)),
        // An option number past 65535.
        ("40 01 0102 e0fff2 e0fff2", format(Type::Confirmable)),
        ("40 01 0102 e0ffff", format(Type::Confirmable)),
    ] {
        let bytes = hex(bytes);
        assert_eq!(Message::parse(&bytes), expected, "{bytes:02x?}");
    }
    // Option 65535 is the last there is.
    assert!(Message::parse(&hex("40 01 0102 e0fef2")).is_ok());
}

#[test]
fn an_independent_implementation_writes_what_we_write_and_reads_no_more() {
    let vectors = include_str!("../vectors/coap-messages.txt");
    let (mut count, mut refused) = (0, 0);
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        if let Some(damaged) = line.strip_prefix("refused ") {
            assert!(Message::parse(&hex(damaged)).is_err(), "{line}");
            refused += 1;
            continue;
        }
        let mut fields = line.split(' ');
        let mut next = || fields.next().expect("a field");
        let number = |text: &str| text.parse::<u16>().expect("a number");
        let kind = TYPES[usize::from(number(next()))];
        let code = Code(u8::try_from(number(next())).unwrap());
        let id = number(next());
        let token = Token::new(&hex(next())).unwrap();
        let options = next();
        let (payload, datagram) = (hex(next()), hex(next()));
        let mut buffer = [0; 3_000];
        let mut builder = Builder::new(&mut buffer, kind, code, id, &token);
        for option in options.split(';').filter(|option| !option.is_empty()) {
            let (number, value) = option.split_once('=').unwrap();
            builder.option(number.parse().unwrap(), &hex(value));
        }
        assert_eq!(builder.payload(&payload).unwrap(), datagram, "{line}");
        let message = Message::parse(&datagram).expect(line);
        assert_eq!((message.kind, message.code, message.id), (kind, code, id));
        assert_eq!(message.token, token);
        assert_eq!(message.body.payload(), payload);
        count += 1;
    }
    assert_eq!((count, refused), (200, 100));
}

#[test]
fn damage_is_refused_or_read_as_what_is_there() {
    let mut original = with_options(&[
        (option::URI_HOST, b"gateway"),
        (option::OBSERVE, &[]),
        (option::URI_PATH, b"cam-2"),
        (option::URI_PATH, b"motion"),
        (option::BLOCK1, &[0x1e]),
        (option::ECHO, &[7; 12]),
        (option::REQUEST_TAG, b"tag"),
        (9_999, &[1; 300]),
    ]);
    original.extend_from_slice(b"\xffpayload");
    let mut random = Random(7);
    let mut read = 0;
    for _ in 0..30_000 {
        let damaged = random.mutated(&original);
        if let Ok(message) = Message::parse(&damaged) {
            // Each message has one encoding: what was read is all there was.
            assert_eq!(rebuilt(&message), damaged);
            read += 1;
        }
        stockade_link::fuzzing::coap_message(&damaged);
    }
    assert!(read > 3_000, "the damage leaves some readable: {read}");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        header in (0_usize..4, prop_oneof![1_u8..32, 64_u8..96, 128_u8..192], any::<u16>()),
        token in vec(any::<u8>(), 0..=8),
        mut options in vec((any::<u16>(), vec(any::<u8>(), 0..400)), 0..12),
        payload in vec(any::<u8>(), 0..100),
    ) {
        options.sort_by_key(|(number, _)| *number);
        let (kind, code, id) = (TYPES[header.0], Code(header.1), header.2);
        let token = Token::new(&token).unwrap();
        let mut buffer = [0; 6_000];
        let mut builder = Builder::new(&mut buffer, kind, code, id, &token);
        for (number, value) in &options {
            builder.option(*number, value);
        }
        let written = builder.payload(&payload).unwrap();
        let message = Message::parse(written).unwrap();
        prop_assert_eq!((message.kind, message.code, message.id), (kind, code, id));
        prop_assert_eq!(message.token, token);
        prop_assert_eq!(message.body.payload(), &payload);
        let read: Vec<_> = message.body.options().map(|(n, v)| (n, v.to_vec())).collect();
        prop_assert_eq!(read, options);
    }

    #[test]
    fn a_number_and_a_block_come_back(number: u32, block in 0_u32..0x10_0000, more: bool, szx in 0_u8..7) {
        let mut buffer = [0; 32];
        let mut builder = Builder::body(&mut buffer);
        let value = Block::new(block, more, szx).unwrap();
        builder.uint(option::BLOCK2, value.value()).uint(option::SIZE1, number);
        let body = Body::parse(builder.finish().unwrap()).unwrap();
        prop_assert_eq!(body.uint(option::SIZE1), Some(number));
        prop_assert_eq!(Block::parse(body.get(option::BLOCK2).unwrap()), Some(value));
        // The fewest bytes (RFC 7252, section 3.2).
        prop_assert!(body.get(option::SIZE1).unwrap().first() != Some(&0));
    }
}

#[test]
fn mistakes_of_ours_are_told_not_written() {
    let token = Token::new(b"token").unwrap();
    for room in 0..25 {
        let mut buffer = [0; 64];
        let buffer = buffer.get_mut(..room).unwrap();
        let mut builder = Builder::new(buffer, Type::Confirmable, Code::GET, 1, &token);
        builder.path("/a/long/path");
        let written = builder.payload(b"x");
        assert_eq!(written.is_ok(), room >= 23, "{room}: {written:?}");
    }
    let mut buffer = [0; 64];
    let mut builder = Builder::body(&mut buffer);
    builder
        .option(option::URI_PATH, b"a")
        .option(option::OBSERVE, &[]);
    assert_eq!(builder.finish(), Err(BuildError::Order));
    assert!(Token::new(&[0; 9]).is_none());
    // A payload written in place.
    let mut buffer = [0; 8];
    let mut builder = Builder::plaintext(&mut buffer, Code::CONTENT);
    builder.uint(option::OBSERVE, 5);
    let (length, space) = builder.payload_space().unwrap();
    assert_eq!((length, space.len()), (4, 4));
    space.copy_from_slice(b"22.3");
    assert_eq!(buffer, *b"\x45\x61\x05\xff22.3");
}

#[test]
fn a_critical_option_that_is_not_understood_is_found() {
    let known = [option::URI_PATH, option::URI_HOST, option::ACCEPT];
    let found = |options: &[(u16, &[u8])]| {
        let bytes = with_options(options);
        Message::parse(&bytes)
            .unwrap()
            .body
            .unknown_critical(&known)
    };
    assert_eq!(
        found(&[(11, b"a"), (11, b"b"), (14, b"5"), (60, &[])]),
        None
    );
    // Elective ones may be anything; 2053 is critical.
    assert_eq!(found(&[(14, &[0; 9]), (2048, &[0; 99])]), None);
    assert_eq!(found(&[(11, b"a"), (2053, b"")]), Some(2053));
    // Twice, too long, too short.
    assert_eq!(found(&[(17, &[50]), (17, &[60])]), Some(17));
    assert_eq!(found(&[(17, &[0, 0, 50])]), Some(17));
    assert_eq!(found(&[(3, b"")]), Some(3));
    assert_eq!(found(&[(11, &[b'a'; 256])]), Some(11));
    // RFC 7252, section 5.10, table 4; RFC 7959; RFC 7641; RFC 8613; RFC 9668; RFC 9175.
    for (number, expected) in [
        (option::IF_MATCH, true),
        (option::URI_HOST, true),
        (option::ETAG, false),
        (option::OBSERVE, false),
        (option::OSCORE, true),
        (option::MAX_AGE, false),
        (option::EDHOC, true),
        (option::BLOCK2, true),
        (option::BLOCK1, true),
        (option::SIZE2, false),
        (option::PROXY_URI, true),
        (option::SIZE1, false),
        (option::ECHO, false),
        (option::NO_RESPONSE, false),
        (option::REQUEST_TAG, false),
    ] {
        assert_eq!(option::critical(number), expected, "{number}");
    }
}

#[test]
fn a_path_is_plain_or_none() {
    let path = |parts: &[&[u8]]| {
        let options: Vec<_> = parts.iter().map(|part| (option::URI_PATH, *part)).collect();
        let bytes = with_options(&options);
        let mut buffer = [0; 20];
        let message = Message::parse(&bytes).unwrap();
        message.body.path(&mut buffer).ok().map(String::from)
    };
    assert_eq!(path(&[]).as_deref(), Some(""));
    assert_eq!(
        path(&[b"cam-2", b"motion"]).as_deref(),
        Some("cam-2/motion")
    );
    assert_eq!(path(&["ü".as_bytes(), b"a b"]).as_deref(), Some("ü/a b"));
    for bad in [
        &[b"".as_slice()] as &[&[u8]],
        &[b"a", b""],
        &[b"", b"a"],
        &[b"."],
        &[b"a", b"..", b"b"],
        &[b"a/b"],
        &[b"a\0"],
        &[b"a\x7f"],
        &[b"\xff"],
        &[b"twenty-one", b"characters"],
    ] {
        assert_eq!(path(bad), None, "{bad:?}");
    }
    for (length, plain) in [(255, true), (256, false)] {
        let bytes = with_options(&[(option::URI_PATH, &vec![b'a'; length])]);
        let mut buffer = [0; 300];
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.body.path(&mut buffer).is_ok(), plain);
    }
    let bytes = with_options(&[(option::URI_PATH, b"a"), (option::URI_PATH, b"")]);
    assert!(!Message::parse(&bytes).unwrap().body.path_is("a"));
}

#[test]
fn an_echo_holds_for_its_address_and_its_time_alone() {
    let mut crypto = RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Failed));
    let key = Secret::new([7; 32]);
    let echo = echo::value(&mut crypto, &key, 1_000, b"192.0.2.1:5683").unwrap();
    let mut fresh = |key: &Secret<32>, echo: &[u8], now, peer: &[u8]| {
        echo::is_fresh(&mut crypto, key, echo, now, peer, 60).unwrap()
    };
    assert!(fresh(&key, &echo, 1_000, b"192.0.2.1:5683"));
    assert!(fresh(&key, &echo, 1_060, b"192.0.2.1:5683"));
    assert!(!fresh(&key, &echo, 1_061, b"192.0.2.1:5683"));
    assert!(!fresh(&key, &echo, 999, b"192.0.2.1:5683"));
    assert!(!fresh(&key, &echo, 1_000, b"192.0.2.2:5683"));
    assert!(!fresh(
        &Secret::new([8; 32]),
        &echo,
        1_000,
        b"192.0.2.1:5683"
    ));
    for length in 0..12 {
        assert!(!fresh(&key, &echo[..length], 1_000, b"192.0.2.1:5683"));
    }
    for bit in 0..96 {
        let mut forged = echo;
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(!fresh(&key, &forged, 1_000, b"192.0.2.1:5683"));
    }
    let mut long = echo.to_vec();
    long.push(0);
    assert!(!fresh(&key, &long, 1_000, b"192.0.2.1:5683"));
    // The value by its definition, computed from the parts.
    let mac = crypto
        .hmac_sha256(&[7; 32], &[&[0, 252, 0, 0, 3, 232], b"192.0.2.1:5683"])
        .unwrap();
    assert_eq!(echo[4..], mac.expose()[..8]);
    assert_eq!(echo::response_limit(20), 136);
    assert_eq!(echo::response_limit(100), 300);
}

#[test]
fn links_are_written_so_that_no_name_changes_their_meaning() {
    let mut buffer = [0; 100];
    let mut links = Links::new(&mut buffer);
    links
        .link("/cam-2/motion")
        .attribute("rt", "a \"b\\")
        .flag("obs");
    links.link("/a>b,ü");
    let written = core::str::from_utf8(links.finish().unwrap()).unwrap();
    let expected = r#"</cam-2/motion>;rt="a \"b\\";obs,</a%3Eb,%C3%BC>"#;
    assert_eq!(written, expected);
    for room in 0..expected.len() {
        let mut buffer = [0; 100];
        let mut links = Links::new(&mut buffer[..room]);
        links
            .link("/cam-2/motion")
            .attribute("rt", "a \"b\\")
            .flag("obs");
        links.link("/a>b,ü");
        assert!(links.finish().is_err());
    }
}
