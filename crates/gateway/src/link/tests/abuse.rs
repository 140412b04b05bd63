//! Strangers, floods, replays, and what a hundred thousand devices cost.

use stockade_link::coap::block::Block;
use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::coap::option;

use super::world::{Device, Show, World, at};
use crate::link::bearer::Place;
use crate::link::blocks::uint;
use crate::link::budget::Rates;
use crate::link::peers::HANDSHAKES;

fn message(kind: Type, code: Code, path: &str, payload: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut builder = Builder::new(&mut buffer, kind, code, 7, &Token::new(b"t").unwrap());
    builder.path(path);
    builder.payload(payload).unwrap().to_vec()
}

/// The next number of a generator with a fixed seed.
pub(super) fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn what_is_not_protected_is_refused_in_few_bytes_and_leaves_nothing_behind() {
    let mut world = World::new();
    for (code, path) in [
        (Code::GET, ".well-known/core"),
        (Code::POST, "moisture"),
        (Code::GET, ".well-known/edhoc"),
        (Code::PUT, "grants"),
    ] {
        for kind in [Type::Confirmable, Type::NonConfirmable] {
            let asked = message(kind, code, path, b"x");
            let out = world.datagram(at(9), &asked);
            let answer = Message::parse(&out[0].bytes).unwrap();
            assert_eq!(answer.code, Code::UNAUTHORIZED, "{path}");
            assert!(out[0].bytes.len() <= asked.len() && answer.body.payload().is_empty());
        }
    }
    // Pings and answers to nothing are reset; the rest is not answered at all.
    let ping = [0x40, 0, 0, 1];
    assert_eq!(world.datagram(at(9), &ping)[0].bytes, [0x70, 0, 0, 1]);
    for silent in [
        &b""[..],
        b"\x40",
        b"\x16\x03\x01\x00\xa5\x01",
        &[0x60, 0, 0, 1],
        &[0x70, 0, 0, 1],
        &[0x50, 0x45, 0, 1],
    ] {
        assert_eq!(world.datagram(at(9), silent), [], "{silent:?}");
    }
    let counters = world.core.counters();
    assert_eq!(
        (
            counters.sessions,
            counters.active,
            counters.handshakes_under_way
        ),
        (0, 0, 0)
    );
}

#[test]
fn who_reads_without_end_what_is_made_for_it_is_told_when_to_come_again_and_others_are_not() {
    let mut world = World::new();
    let (mut bed, mut pot) = (world.enrolled("bed"), world.enrolled("pot"));
    let core = ".well-known/core";
    // The blocks of one answer were made at once, and are counted so.
    for number in 0..6 {
        let (more, szx) = (false, 0);
        let block = uint(Block { number, more, szx }.value());
        let options = [(option::BLOCK2, block.as_slice())];
        let part = bed.ask(&mut world, Code::GET, core, &options, &[]).unwrap();
        assert_eq!((part.code, part.payload.len()), (Code::CONTENT, 16));
    }
    for path in [core, "grants"].iter().cycle().take(7) {
        assert_eq!(bed.get(&mut world, path).code, Code::CONTENT);
    }
    for path in [core, "grants"] {
        let refused = bed.get(&mut world, path);
        assert_eq!(refused.code, Code::TOO_MANY_REQUESTS, "{path}");
        assert_eq!((refused.max_age, &refused.payload[..]), (Some(5), &b""[..]));
        assert_eq!(pot.get(&mut world, path).code, Code::CONTENT);
    }
    assert_eq!(bed.post(&mut world, "moisture", b"1"), Code::CHANGED);
    world.pass(5_000);
    assert_eq!(bed.get(&mut world, "grants").code, Code::CONTENT);
    assert_eq!(bed.get(&mut world, core).code, Code::TOO_MANY_REQUESTS);
}

#[test]
fn a_flood_of_handshakes_is_bounded_in_time_and_memory_and_a_real_device_still_gets_in() {
    let mut world = World::new();
    let mut bed = world.add("bed");
    let mut flood = Device::new("flood");
    let (_, first) = flood.first();
    let asked = message(Type::Confirmable, Code::POST, ".well-known/edhoc", &first);
    let (mut begun, mut echoes) = (0, 0);
    for n in 0..10_000_u32 {
        let [_, _, c, d] = n.to_be_bytes();
        // Ten thousand spoofed addresses of many networks.
        let from = Place::Udp(std::net::SocketAddr::from(([100 + c % 50, c, d, 1], 5_683)));
        for answer in world.datagram(from, &asked) {
            assert!(answer.bytes.len() <= 136);
            match Message::parse(&answer.bytes).unwrap().code {
                Code::CHANGED => begun += 1,
                Code::UNAUTHORIZED => echoes += 1,
                other => panic!("{other}"),
            }
        }
    }
    assert!(begun <= 200, "{begun}");
    assert_eq!(begun + echoes, 10_000);
    assert!(world.core.counters().handshakes_under_way <= 200);
    // The device is asked for an Echo, brings it along, and gets in.
    let (state, first) = bed.first();
    let refused = bed.post_edhoc(&mut world, &first).unwrap();
    assert_eq!(refused.code, Code::UNAUTHORIZED);
    let out = world.datagram(
        bed.place,
        &message(Type::Confirmable, Code::POST, ".well-known/edhoc", &first),
    );
    let echo = Message::parse(&out[0].bytes)
        .unwrap()
        .body
        .get(option::ECHO)
        .unwrap()
        .to_vec();
    let mut elsewhere = Device::new("x");
    elsewhere.place = at(77);
    let stolen = elsewhere
        .post_edhoc_with(&mut world, &first, &[(option::ECHO, &echo)])
        .unwrap();
    assert_eq!(
        stolen.code,
        Code::UNAUTHORIZED,
        "an Echo is good for its address only"
    );
    let mut second = bed
        .post_edhoc_with(&mut world, &first, &[(option::ECHO, &echo)])
        .unwrap();
    assert_eq!(second.code, Code::CHANGED);
    let (_, name, third) = bed
        .answer_second(&world, state, &mut second.payload, Show::Credential)
        .unwrap();
    let done = bed.post_edhoc(&mut world, &[name, third].concat()).unwrap();
    assert_eq!(done.code, Code::CHANGED);
    // Ten seconds later nothing is left of the flood.
    world.pass(10_001);
    assert_eq!(world.core.counters().handshakes_under_way, 0);
}

#[test]
fn handshakes_under_way_have_an_end_whatever_the_rates() {
    let none = u32::MAX;
    let rates = Rates {
        source: 1_000_000,
        all: 1_000_000,
        source_echoed: none,
        all_echoed: none,
    };
    let mut world = World::with(rates);
    let (_, first) = Device::new("flood").first();
    let asked = message(
        Type::NonConfirmable,
        Code::POST,
        ".well-known/edhoc",
        &first,
    );
    for _ in 0..HANDSHAKES + 300 {
        world.datagram(at(9), &asked);
    }
    assert_eq!(world.core.counters().handshakes_under_way, HANDSHAKES);
}

#[test]
fn nobody_elsewhere_can_end_a_handshake_by_guessing_its_name() {
    let mut world = World::new();
    let mut bed = world.add("bed");
    let (established, name, third) = bed.third(&mut world, Show::Credential).unwrap();
    let guess = message(
        Type::Confirmable,
        Code::POST,
        ".well-known/edhoc",
        &[&name[..], &[0x43, 1, 2, 3]].concat(),
    );
    let out = world.datagram(at(66), &guess);
    assert_eq!(
        Message::parse(&out[0].bytes).unwrap().code,
        Code::BAD_REQUEST
    );
    let done = bed.post_edhoc(&mut world, &[name, third].concat()).unwrap();
    assert_eq!(done.code, Code::CHANGED);
    bed.establish(&established);
    assert_eq!(bed.post(&mut world, "moisture", b"1"), Code::CHANGED);
}

#[test]
fn a_replay_from_anywhere_does_nothing() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let (first, mut asked) = bed.protect(Code::POST, "moisture", &[], (b"1", &[]));
    let out = world.datagram(bed.place, &first);
    assert_eq!(bed.read(&mut asked, &out[0].bytes).code, Code::CHANGED);
    assert_eq!(bed.post(&mut world, "moisture", b"2"), Code::CHANGED);
    for place in [bed.place, at(9)] {
        let out = world.datagram(place, &first);
        assert_eq!(
            Message::parse(&out[0].bytes).unwrap().code,
            Code::UNAUTHORIZED
        );
    }
    assert_eq!(world.telemetry().len(), 2);
    assert_eq!(world.core.counters().replays, 2);
    // The session goes where its device is, not where a replay came from.
    assert_eq!(
        bed.post(&mut world, "stockade/bed/events", b"3"),
        Code::CHANGED
    );
}

#[test]
fn thousands_of_mutations_of_real_messages_change_nothing_and_stop_nobody() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let (_, first) = bed.first();
    let (datagram, _) = bed.protect(Code::POST, "moisture", &[], (b"1", &[]));
    assert_eq!(world.datagram(bed.place, &datagram).len(), 1);
    let originals = [
        message(Type::Confirmable, Code::POST, ".well-known/edhoc", &first),
        message(
            Type::Confirmable,
            Code::POST,
            ".well-known/edhoc",
            &[&[0][..], &[0x52; 19]].concat(),
        ),
        datagram,
    ];
    let mut seed = 0x1234_5678_9abc_def1;
    for _ in 0..20_000 {
        let mut bytes = originals[usize::try_from(next(&mut seed) % 3).unwrap()].clone();
        for _ in 0..=next(&mut seed) % 3 {
            let at = usize::try_from(next(&mut seed)).unwrap() % bytes.len();
            match next(&mut seed) % 4 {
                0 => bytes[at] ^= 1 << (next(&mut seed) % 8),
                1 => bytes.truncate(at.max(1)),
                2 => bytes[at] = 0xff,
                _ => bytes.insert(at, next(&mut seed).to_be_bytes()[0]),
            }
        }
        let out = world.datagram(at(33), &bytes);
        assert!(
            out.iter()
                .all(|it| it.bytes.len() <= 136.max(3 * bytes.len()))
        );
        world.now.mono += 1;
    }
    assert_eq!(world.telemetry().len(), 1);
    assert_eq!(world.core.counters().sessions, 1);
    let mut asked = bed.protect(Code::POST, "moisture", &[], (b"2", &[]));
    let out = world.datagram(bed.place, &asked.0);
    assert_eq!(bed.read(&mut asked.1, &out[0].bytes).code, Code::CHANGED);
}

#[test]
fn a_hundred_thousand_idle_devices_take_at_most_200_bytes_each() {
    use stockade_link::crypto::{Aead, Secret};
    use stockade_link::oscore::{Context, Id, Secrets};

    use crate::link::peers::{Peers, Session, name};
    use crate::registry::Kid;

    let mut crypto = crate::link::crypto::AwsLc::default();
    let mut peers = Peers::default();
    for n in 0..100_000_u32 {
        let slot = peers.reserve(&[0x37]).unwrap();
        let secrets = Secrets {
            master_secret: Secret::new([1; 16]),
            master_salt: Secret::new([2; 8]),
            sender_id: Id::new(&[0x37]).unwrap(),
            recipient_id: Id::new(&name(slot)).unwrap(),
            aead: Aead::Ccm16Tag64,
        };
        let context = Context::derive(&mut crypto, &secrets, None).unwrap();
        let [_, bytes @ ..] = n.to_be_bytes();
        let short = bytes
            .iter()
            .skip_while(|byte| **byte == 0)
            .copied()
            .collect::<Vec<_>>();
        let kid = match n {
            0..0x18 => vec![bytes[2]],
            0x18..0x1_0000 => bytes[1..].to_vec(),
            _ => short,
        };
        let kid = Kid::from_bytes(&kid).unwrap();
        let session = Session {
            context,
            kid,
            key: [0; 8],
            active: None,
        };
        assert!(peers.establish(slot, session).is_none());
    }
    assert_eq!(peers.len(), 100_000);
    let each = peers.bytes() / 100_000;
    assert!(each <= 200, "{each} bytes");
}
