//! Topics both ways: by the profile's size and rate, kept on disk, kept for who sleeps.

use std::net::SocketAddr;

use stockade_link::coap::block::Block;
use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::coap::option;
use stockade_link::oscore::Asked;

use super::world::{Answer, Device, Show, World, at};
use crate::link::bearer::{Datagram, Place};
use crate::link::blocks::uint;

/// Registers an observation.
pub(super) fn observe(world: &mut World, device: &mut Device, path: &str) -> Asked {
    let options = [(option::OBSERVE, &[][..])];
    let (datagram, mut asked) = device.protect(Code::GET, path, &options, (&[], &[]));
    let out = world.datagram(device.place, &datagram);
    let answer = device.read(&mut asked, &out[0].bytes);
    assert_eq!(answer.code, Code::CONTENT);
    assert_eq!(out.len(), 1, "nothing waits yet");
    asked
}

/// Acknowledges a notification.
pub(super) fn acknowledge(
    world: &mut World,
    device: &Device,
    notification: &Datagram,
) -> Vec<Datagram> {
    let message = Message::parse(&notification.bytes).unwrap();
    assert_eq!(message.kind, Type::Confirmable);
    let mut buffer = [0; 8];
    let kind = Type::Acknowledgement;
    let none = Token::default();
    let ack = Builder::new(&mut buffer, kind, Code::EMPTY, message.id, &none);
    world.datagram(device.place, ack.finish().unwrap())
}

fn again(etag: &Answer) -> [(u16, &[u8]); 1] {
    [(option::ETAG, etag.etag.as_deref().unwrap())]
}

#[test]
fn what_the_profile_does_not_allow_is_refused_and_counted() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    assert_eq!(bed.post(&mut world, "moisture", &[b'1'; 64]), Code::CHANGED);
    assert_eq!(
        bed.post(&mut world, "moisture", &[b'1'; 65]),
        Code::REQUEST_ENTITY_TOO_LARGE
    );
    assert_eq!(bed.post(&mut world, "moisture", b"2"), Code::CHANGED);
    assert_eq!(bed.post(&mut world, "moisture", b"3"), Code::CHANGED);
    assert_eq!(
        bed.post(&mut world, "moisture", b"4"),
        Code::TOO_MANY_REQUESTS
    );
    assert_eq!(bed.post(&mut world, "audio", b"5"), Code::FORBIDDEN);
    // Another device's topic: below its own, it names nothing.
    assert_eq!(
        bed.post(&mut world, "soil-1/pot/moisture", b"6"),
        Code::FORBIDDEN
    );
    assert_eq!(
        bed.get(&mut world, "soil-1/pot/command").code,
        Code::FORBIDDEN
    );
    assert_eq!(bed.get(&mut world, "+").code, Code::BAD_REQUEST);
    let delete = bed
        .ask(&mut world, Code::DELETE, "moisture", &[], &[])
        .unwrap();
    assert_eq!(delete.code, Code::METHOD_NOT_ALLOWED);
    let odd = bed.ask(
        &mut world,
        Code::POST,
        "moisture",
        &[(option::IF_MATCH, b"x")],
        b"7",
    );
    assert_eq!(odd.unwrap().code, Code::BAD_OPTION);
    assert_eq!(world.telemetry().len(), 3);
    assert_eq!(world.violations().len(), 5, "{:#?}", world.violations());
}

#[test]
fn a_reading_is_answered_once_it_is_on_disk_and_its_repetition_is_no_second_one() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    world.durable = 0;
    let (datagram, mut asked) = bed.protect(Code::POST, "moisture", &[], (b"1", &[]));
    assert_eq!(world.datagram(bed.place, &datagram), []);
    // The device repeats it; now it knows that the answer comes by itself.
    let ack = world.datagram(bed.place, &datagram);
    let message = Message::parse(&ack[0].bytes).unwrap();
    assert_eq!(
        (message.kind, message.code),
        (Type::Acknowledgement, Code::EMPTY)
    );
    world.durable = u64::MAX;
    let parked: Vec<_> = world.core.parked.drain(..).collect();
    for (outbox, _) in parked {
        outbox.unpark(u64::MAX);
    }
    let out = world.poll();
    assert_eq!(bed.read(&mut asked, &out[0].bytes).code, Code::CHANGED);
    assert_eq!(world.telemetry().len(), 1);
}

#[test]
fn a_command_waits_for_a_device_that_asks_now_and_then_until_it_has_it() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let nothing = bed.get(&mut world, "command");
    assert_eq!((nothing.code, nothing.etag), (Code::CONTENT, None));
    // It sleeps for an hour; two commands come.
    world.pass(3_600_000);
    assert_eq!(world.core.counters().active, 0);
    assert_eq!(world.command("soil-1/bed/command", b"one"), 1);
    assert_eq!(world.command("soil-1/bed/command", b"two"), 1);
    let one = bed.get(&mut world, "command");
    assert_eq!(one.payload, b"one");
    // The answer was lost, or it lost power: it comes again.
    assert_eq!(bed.get(&mut world, "command").payload, b"one");
    world.restart_link();
    bed.shake_hands(&mut world, Show::Name).unwrap();
    let one = bed.get(&mut world, "command");
    assert_eq!(one.payload, b"one");
    let two = bed
        .ask(&mut world, Code::GET, "command", &again(&one), &[])
        .unwrap();
    assert_eq!(two.payload, b"two");
    let none = bed
        .ask(&mut world, Code::GET, "command", &again(&two), &[])
        .unwrap();
    assert_eq!((none.payload.as_slice(), none.etag), (&b""[..], None));
    // Neither comes again.
    world.pass(600_000);
    assert_eq!(bed.get(&mut world, "command").etag, None);
}

#[test]
fn who_observes_is_told_at_once_one_after_the_other() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let mut asked = observe(&mut world, &mut bed, "command");
    assert_eq!(world.command("soil-1/bed/command", b"one"), 1);
    assert_eq!(world.command("soil-1/bed/command", b"two"), 1);
    let out = world.poll();
    assert_eq!(out.len(), 1, "the second waits for the first");
    assert_eq!(bed.read(&mut asked, &out[0].bytes).payload, b"one");
    let out = acknowledge(&mut world, &bed, &out[0]);
    assert_eq!(bed.read(&mut asked, &out[0].bytes).payload, b"two");
    assert_eq!(acknowledge(&mut world, &bed, &out[0]), []);
    world.pass(100_000_000);
    assert_eq!(world.pass(60_000), []);
}

#[test]
fn a_notification_is_repeated_and_then_kept_for_who_does_not_answer() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let mut asked = observe(&mut world, &mut bed, "command");
    world.command("soil-1/bed/command", b"one");
    let mut sent = world.poll();
    for _ in 0..4_000 {
        sent.extend(world.pass(100));
    }
    assert_eq!(sent.len(), 5);
    assert!(
        sent.iter().all(|it| *it == sent[0]),
        "a repetition is the same message"
    );
    // An hour later it wakes up, says something, and is told.
    for _ in 0..36 {
        world.pass(100_000);
    }
    let (datagram, mut reading) = bed.protect(Code::POST, "moisture", &[], (b"1", &[]));
    let mut out = world.datagram(bed.place, &datagram);
    assert_eq!(
        bed.read(&mut reading, &out.remove(0).bytes).code,
        Code::CHANGED
    );
    out.extend(world.poll());
    // What was subscribed lasts at the broker, and the observation here.
    if out.is_empty() {
        let nothing = bed.get(&mut world, "command");
        assert_eq!(nothing.payload, b"one");
    } else {
        assert_eq!(bed.read(&mut asked, &out[0].bytes).payload, b"one");
        assert_eq!(acknowledge(&mut world, &bed, &out[0]), []);
    }
}

#[test]
fn a_notification_follows_a_device_that_moves_and_an_old_acknowledgement_counts_for_no_other() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let _asked = observe(&mut world, &mut bed, "command");
    world.command("soil-1/bed/command", b"one");
    world.command("soil-1/bed/command", b"two");
    let first = world.poll().remove(0);
    // Its router gives it another port, and it hears the notification there.
    let before = bed.place;
    bed.place = Place::Udp(SocketAddr::from(([192, 0, 2, 1], 50_001)));
    let moved = bed.post(&mut world, "moisture", b"1");
    assert_eq!(moved, Code::CHANGED);
    let again = world.pass(2_000).remove(0);
    assert_eq!((again.place, &again.bytes), (bed.place, &first.bytes));
    let second = acknowledge(&mut world, &bed, &again).remove(0);
    // Late, and from where it was: the second is still to be repeated.
    for place in [bed.place, before] {
        bed.place = place;
        assert_eq!(acknowledge(&mut world, &bed, &first), []);
    }
    assert_eq!(world.pass(2_000).len(), 1);
    // Another address: the notification is found there, and nothing is left of where it was.
    bed.place = at(2);
    assert_eq!(bed.post(&mut world, "moisture", b"2"), Code::CHANGED);
    assert_eq!(world.core.flying.len(), 1);
    assert_eq!(acknowledge(&mut world, &bed, &second), []);
    for _ in 0..20 {
        world.pass(60_000);
    }
    assert_eq!(world.core.flying.len(), 0);
}

#[test]
fn a_reset_ends_an_observation_and_the_command_waits() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let _asked = observe(&mut world, &mut bed, "command");
    world.command("soil-1/bed/command", b"one");
    let out = world.poll();
    let id = Message::parse(&out[0].bytes).unwrap().id;
    let mut buffer = [0; 8];
    let none = Token::default();
    let reset = Builder::new(&mut buffer, Type::Reset, Code::EMPTY, id, &none)
        .finish()
        .unwrap()
        .to_vec();
    assert_eq!(world.datagram(bed.place, &reset), []);
    assert_eq!(world.pass(60_000), []);
    assert_eq!(bed.get(&mut world, "command").payload, b"one");
}

#[test]
fn a_picture_comes_in_blocks_and_is_one_message() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let picture: Vec<u8> = (0..2_500_u32)
        .map(|n| (n % 251).try_into().unwrap())
        .collect();
    let send = |world: &mut World, bed: &mut Device, number: u32, part: &[u8], more: bool| {
        let value = uint(
            Block {
                number,
                more,
                szx: 6,
            }
            .value(),
        );
        let options = [(option::BLOCK1, value.as_slice())];
        bed.ask(world, Code::POST, "picture", &options, part)
            .unwrap()
            .code
    };
    let parts: Vec<&[u8]> = picture.chunks(1_024).collect();
    assert_eq!(
        send(&mut world, &mut bed, 0, parts[0], true),
        Code::CONTINUE
    );
    // A block that is missing, or of another size, begins anew.
    assert_eq!(
        send(&mut world, &mut bed, 2, parts[2], false),
        Code::REQUEST_ENTITY_INCOMPLETE
    );
    assert_eq!(
        send(&mut world, &mut bed, 0, &parts[0][..1_000], true),
        Code::BAD_REQUEST
    );
    assert_eq!(
        send(&mut world, &mut bed, 0, parts[0], true),
        Code::CONTINUE
    );
    assert_eq!(
        send(&mut world, &mut bed, 1, parts[1], true),
        Code::CONTINUE
    );
    assert_eq!(
        send(&mut world, &mut bed, 2, parts[2], false),
        Code::CHANGED
    );
    // More than the profile allows ends where it is too much.
    for number in 0..2 {
        assert_eq!(
            send(&mut world, &mut bed, number, &[0; 1_024], true),
            Code::CONTINUE
        );
    }
    assert_eq!(
        send(&mut world, &mut bed, 2, &[0; 1_024], true),
        Code::REQUEST_ENTITY_TOO_LARGE
    );
    assert_eq!(world.core.bodies, 0);
    // Nothing is gathered for a topic it may not publish to.
    let value = uint(
        Block {
            number: 0,
            more: true,
            szx: 6,
        }
        .value(),
    );
    let options = [(option::BLOCK1, value.as_slice())];
    let refused = bed
        .ask(&mut world, Code::POST, "audio", &options, &[0; 1_024])
        .unwrap();
    assert_eq!(refused.code, Code::FORBIDDEN);
}

#[test]
fn blocks_of_two_bodies_are_not_put_together_and_a_length_that_is_none_is_refused() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let mut send = |number, more, szx, tag: &[u8], size: u32, part: &[u8]| {
        let block = uint(Block { number, more, szx }.value());
        let size = uint(size);
        let options = [
            (option::BLOCK1, block.as_slice()),
            (option::SIZE1, &size),
            (option::REQUEST_TAG, tag),
        ];
        let answer = bed.ask(&mut world, Code::POST, "picture", &options, part);
        (answer.unwrap().code, world.core.bodies)
    };
    // RFC 9175, section 3.3: another Request-Tag is another body.
    assert_eq!(send(0, true, 0, b"a", 32, &[1; 16]), (Code::CONTINUE, 16));
    assert_eq!(
        send(1, false, 0, b"b", 32, &[2; 16]),
        (Code::REQUEST_ENTITY_INCOMPLETE, 0)
    );
    // The last block is no longer than its size says (RFC 7959, section 2.2).
    assert_eq!(send(0, true, 0, b"a", 32, &[1; 16]), (Code::CONTINUE, 16));
    assert_eq!(
        send(1, false, 0, b"a", 32, &[2; 17]),
        (Code::BAD_REQUEST, 0)
    );
    // What says that it will be too long is refused with its first block.
    assert_eq!(
        send(0, true, 0, b"a", 65_537, &[1; 16]),
        (Code::REQUEST_ENTITY_TOO_LARGE, 0)
    );
    assert_eq!(send(0, true, 0, b"c", 17, &[1; 16]), (Code::CONTINUE, 16));
    assert_eq!(send(1, false, 0, b"c", 17, &[1]), (Code::CHANGED, 0));
}

#[test]
fn firmware_is_fetched_in_blocks_and_is_its_own_until_the_last_one() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let firmware: Vec<u8> = (0..3_000_u32)
        .map(|n| (n % 253).try_into().unwrap())
        .collect();
    let mut asked = observe(&mut world, &mut bed, "firmware");
    world.command("soil-1/bed/firmware", &firmware);
    let out = world.poll();
    let first = bed.read(&mut asked, &out[0].bytes);
    assert_eq!(acknowledge(&mut world, &bed, &out[0]), []);
    let mut got = first.payload;
    for number in 1.. {
        let value = uint(
            Block {
                number,
                more: false,
                szx: 6,
            }
            .value(),
        );
        let options = [(option::BLOCK2, value.as_slice())];
        let next = bed
            .ask(&mut world, Code::GET, "firmware", &options, &[])
            .unwrap();
        assert_eq!(next.etag, first.etag);
        got.extend(next.payload);
        if !Block::parse(&next.block.unwrap().to_be_bytes()[1..])
            .unwrap()
            .more
        {
            break;
        }
    }
    assert_eq!(got, firmware);
    world.pass(600_000);
    assert_eq!(bed.get(&mut world, "firmware").etag, None, "it has it");
}

#[test]
fn a_device_reads_what_it_may_use() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let list = bed.get(&mut world, ".well-known/core");
    let text = String::from_utf8(list.payload).unwrap();
    for part in [
        "</moisture>;rt=\"stockade.publish\";max=\"64\"",
        "</command>;rt=\"stockade.subscribe\";obs",
        "</grants>",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let refused = bed
        .ask(&mut world, Code::POST, ".well-known/core", &[], &[])
        .unwrap();
    assert_eq!(refused.code, Code::METHOD_NOT_ALLOWED);
}
