//! Bearers: framing, fragments, cards and characteristics, with damage and loss between the ends.

use std::collections::VecDeque;

use proptest::prelude::*;
use stockade_link::bearer::MESSAGE_MAX;
use stockade_link::bearer::apdu::{
    AID, ApduError, COMMAND_MAX, Card, Exchange, RESPONSE_MAX, Status, Step, select, selected,
};
use stockade_link::bearer::fragment::{Assembler, Cutter, PAUSE_MAX};
use stockade_link::bearer::gatt::{GattError, Incoming, Peer, VALUE_MAX};
use stockade_link::bearer::slipmux::{Decoder, FRAME_MAX, Kind, encode};

use crate::random::Random;

/// Messages, commands or responses, one after the other.
type Records<'a> = &'a [&'a [u8]];

/// The messages in what a line says.
fn messages(line: &[u8]) -> Vec<Vec<u8>> {
    let mut buffer = [0; FRAME_MAX];
    let mut decoder = Decoder::new(&mut buffer);
    let mut messages = Vec::new();
    for byte in line {
        if let Some(frame) = decoder.push(*byte) {
            messages.push(frame.bytes.to_vec());
        }
    }
    messages
}

fn framed(message: &[u8]) -> Vec<u8> {
    encode(Kind::Message, message).collect()
}

#[test]
fn a_frame_is_as_the_draft_has_it() {
    let frame = b"\xc0\xa9\x62\x84\x86\xae\x02\x00\xfd\x4a\xc0";
    assert_eq!(framed(&frame[2..8]), frame);
    let escaped = framed(b"\xc0\xdb");
    assert_eq!(escaped[..6], *b"\xc0\xa9\xdb\xdc\xdb\xdd");
}

#[test]
fn frames_are_found_whatever_is_between_them() {
    let (one, two) = (framed(b"one"), framed(b"two"));
    let cases: [(&str, Vec<u8>, Records<'_>); 10] = [
        ("two in a row", [&one[..], &two].concat(), &[b"one", b"two"]),
        (
            "one end between them",
            [&one[..one.len() - 1], &two].concat(),
            &[b"one", b"two"],
        ),
        (
            "no end before the first",
            [&one[1..], &two].concat(),
            &[b"one", b"two"],
        ),
        (
            "a line for a person",
            [b"\xc0\nbooted\xc0", &one[..]].concat(),
            &[b"one"],
        ),
        (
            "noise",
            [b"\x00\xff\xdb\x01 noise", &one[..]].concat(),
            &[b"one"],
        ),
        (
            "an IP packet",
            [b"\xc0\x45\x00\x00\xc0", &one[..]].concat(),
            &[b"one"],
        ),
        (
            "a frame that was aborted",
            [&one[..one.len() - 1], b"\xdb\xc0", &two].concat(),
            &[b"two"],
        ),
        ("half a frame", [&one[..4], &two].concat(), &[b"two"]),
        (
            "what is not SLIP",
            [b"\xc0\xa9\xdb\x01\xc0", &one[..]].concat(),
            &[b"one"],
        ),
        ("without end", [&[0xa9; 5000][..], &one].concat(), &[b"one"]),
    ];
    for (what, line, expected) in cases {
        assert_eq!(messages(&line), expected, "{what}");
    }
    assert!(
        messages(&framed(&[7; MESSAGE_MAX + 1])).is_empty(),
        "longer than the buffer"
    );
    assert_eq!(messages(&framed(&[7; MESSAGE_MAX])), [[7; MESSAGE_MAX]]);
}

#[test]
fn a_turned_bit_is_never_a_message() {
    let message: Vec<u8> = (0..=255).collect();
    let line = [framed(&message), framed(b"next")].concat();
    let first = framed(&message).len();
    for bit in 0..first * 8 {
        let mut line = line.clone();
        line[bit / 8] ^= 1 << (bit % 8);
        let mut found = messages(&line);
        assert_eq!(found.pop().unwrap(), b"next", "bit {bit}");
        // In the end before the frame, or the one behind it, nothing of the message is damaged.
        assert!(
            found.is_empty() || found == [message.as_slice()],
            "bit {bit}: {found:?}"
        );
    }
}

proptest! {
    #[test]
    fn another_slipmux_and_ours_understand_each_other(message in prop::collection::vec(any::<u8>(), 1..300)) {
        let mut theirs = [0; 700];
        let length = slipmux::encode_configuration(&message, &mut theirs);
        prop_assert_eq!(messages(&theirs[..length]), std::slice::from_ref(&message));

        let mut content = [0; 400];
        let mut handler = slipmux::ReferencedLatestFrame::new(&mut [], &mut content, &mut []);
        let mut decoder = slipmux::Decoder::new();
        let complete = framed(&message).into_iter().any(|byte| {
            let status = decoder.decode(byte, &mut handler);
            matches!(status, Ok(slipmux::DecodeStatus::FrameCompleteConfiguration))
        });
        prop_assert!(complete);
        prop_assert_eq!(&content[..message.len()], &message[..]);
    }

    #[test]
    fn what_was_cut_is_put_together(message in prop::collection::vec(any::<u8>(), 1..=MESSAGE_MAX), frame in 20_usize..300) {
        let mut assembler = Assembler::new([0; MESSAGE_MAX]);
        let mut cutter = Cutter::new();
        for _ in 0..70 {
            let frames = cut(&mut cutter, &message, frame);
            prop_assert!(frames.iter().all(|it| it.len() <= frame));
            let (last, others) = frames.split_last().unwrap();
            for frame in others {
                prop_assert_eq!(assembler.push(frame, 0), None);
            }
            prop_assert_eq!(assembler.push(last, 0), Some(&message[..]));
            prop_assert_eq!(assembler.push(last, 0), if others.is_empty() { Some(&message[..]) } else { None });
        }
    }

    #[test]
    fn messages_of_any_length_pass_between_reader_and_card(there in 0..=MESSAGE_MAX, back in 0..=MESSAGE_MAX) {
        exchanged(there, back);
    }
}

fn cut(cutter: &mut Cutter, message: &[u8], frame: usize) -> Vec<Vec<u8>> {
    let pieces = cutter.cut(message, frame).expect("it can be cut");
    pieces
        .map(|(header, piece)| [&[header], piece].concat())
        .collect()
}

#[test]
fn what_can_not_be_cut_is_not() {
    let mut cutter = Cutter::new();
    for (length, frame) in [
        (0, 100),
        (MESSAGE_MAX + 1, 100),
        (1, 0),
        (1, 1),
        (MESSAGE_MAX, 18),
        (65, 2),
    ] {
        assert!(
            cutter.cut(&vec![0; length], frame).is_none(),
            "{length} bytes by {frame}"
        );
    }
    assert_eq!(cutter.cut(&[0; MESSAGE_MAX], 19).unwrap().count(), 64);
}

#[test]
fn pieces_that_do_not_follow_are_no_message() {
    let message: Vec<u8> = (0..100).collect();
    let frames = cut(&mut Cutter::new(), &message, 21);
    assert_eq!(frames.len(), 5);
    // Which frames come, in which order, and whether there is a message in the end.
    let cases: [(&str, &[usize], bool); 8] = [
        ("as they were sent", &[0, 1, 2, 3, 4], true),
        ("each of them twice", &[0, 0, 1, 1, 2, 2, 3, 3, 4], true),
        ("begun anew", &[0, 1, 2, 0, 1, 2, 3, 4], true),
        ("a gap", &[0, 1, 3, 4], false),
        ("two exchanged", &[0, 2, 1, 3, 4], false),
        ("an old one between", &[0, 1, 2, 0, 3, 4], false),
        ("without the first", &[1, 2, 3, 4], false),
        ("the last alone", &[4], false),
    ];
    for (what, order, whole) in cases {
        let mut assembler = Assembler::new([0; MESSAGE_MAX]);
        let mut arrived = false;
        for at in order {
            arrived = assembler
                .push(&frames[*at], 0)
                .is_some_and(|it| it == message);
        }
        assert_eq!(arrived, whole, "{what}");
    }

    let mut assembler = Assembler::new([0; MESSAGE_MAX]);
    for (frame, at) in frames.iter().zip([
        0,
        PAUSE_MAX,
        2 * PAUSE_MAX,
        3 * PAUSE_MAX + 1,
        3 * PAUSE_MAX + 1,
    ]) {
        assert_eq!(assembler.push(frame, at), None, "a pause is too long");
    }
    for counter in 0..200_u8 {
        let first = if counter == 0 { 0x80 } else { 0 };
        let frame = [[first | counter & 0x3f; 1].as_slice(), &[0; 100]].concat();
        assert_eq!(assembler.push(&frame, 0), None, "one without end");
    }
    assert_eq!(assembler.push(&[], 0), None);
    assert_eq!(assembler.push(&[0xc0], 0), None, "one of nothing");
}

/// A radio of 127-byte frames that loses, doubles and overtakes, of a fixed seed.
struct Air {
    random: Random,
    frames: VecDeque<Vec<u8>>,
}

impl Air {
    fn send(&mut self, frame: Vec<u8>) {
        assert!(frame.len() <= 127);
        match self.random.below(100) {
            0..10 => {}
            10..15 => self.frames.extend([frame.clone(), frame]),
            15..18 if !self.frames.is_empty() => self.frames.insert(self.frames.len() - 1, frame),
            _ => self.frames.push_back(frame),
        }
    }
}

#[test]
fn a_radio_that_loses_frames_delivers_messages_whole_or_not_at_all() {
    let mut air = Air {
        random: Random(7),
        frames: VecDeque::new(),
    };
    let mut cutter = Cutter::new();
    let mut assembler = Assembler::new([0; MESSAGE_MAX]);
    let (mut sent, mut now) = (0_u32, 0);
    for number in 0..2000_usize {
        let length = 1 + number * 131 % MESSAGE_MAX;
        let message: Vec<u8> = (0..length)
            .map(|at| (at ^ number ^ (number >> 8)).to_le_bytes()[0])
            .collect();
        // Repeated until it arrives, as CoAP does.
        let mut arrived = false;
        while !arrived {
            sent += 1;
            for frame in cut(&mut cutter, &message, 127) {
                air.send(frame);
            }
            while let Some(frame) = air.frames.pop_front() {
                now += 4;
                if let Some(it) = assembler.push(&frame, now) {
                    assert_eq!(it, message, "message {number}");
                    arrived = true;
                }
            }
        }
    }
    assert!((2000..6000).contains(&sent), "{sent} for 2000");
}

/// One exchange of a message there and a message back.
fn exchanged(there: usize, back: usize) {
    let message: Vec<u8> = (0..there).map(|at| at.to_le_bytes()[0]).collect();
    let reply: Vec<u8> = (0..back).map(|at| !at.to_le_bytes()[0]).collect();
    let (mut at_card, mut at_reader) = ([0; MESSAGE_MAX], [0; MESSAGE_MAX]);
    let (mut command, mut response) = ([0; COMMAND_MAX], [0; RESPONSE_MAX]);
    let mut card = Card::new(&mut at_card);
    let Step::Respond(length) = card.command(&select(), &mut response) else {
        panic!("a message");
    };
    assert!(selected(&response[..length]));
    let mut exchange = Exchange::new(&message, &mut at_reader);
    let mut commands = 0;
    let length = loop {
        commands += 1;
        let length = exchange.command(&mut command);
        let length = match card.command(&command[..length], &mut response) {
            Step::Respond(length) => length,
            Step::Message(length) => {
                assert_eq!(*card.message(length), message);
                card.reply(&reply, &mut response)
            }
        };
        if let Some(length) = exchange
            .response(&response[..length])
            .expect("the card is ours")
        {
            break length;
        }
    };
    assert_eq!(at_reader[..length], reply);
    assert_eq!(
        commands,
        there.div_ceil(255).max(1) + back.div_ceil(256).max(1) - 1
    );
}

#[test]
fn messages_at_the_seams_pass_between_reader_and_card() {
    let lengths = [0, 1, 254, 255, 256, 257, 510, 511, 512, 513, MESSAGE_MAX];
    for there in lengths {
        for back in lengths {
            exchanged(there, back);
        }
    }
}

#[test]
fn a_card_refuses_what_it_does_not_know() {
    let poll = b"\x80\x5c\0\0\0".as_slice();
    let other = [b"\0\xa4\x04\0\x0a".as_slice(), &AID[..9], b"\x02\0"].concat();
    // Commands, one after the other, and the last one's response.
    let cases: [(&str, Records<'_>, [u8; 2]); 13] = [
        ("nothing", &[b""], [0x67, 0]),
        ("half a header", &[b"\0\xa4\x04"], [0x67, 0]),
        ("a message before it was selected", &[poll], [0x69, 0x85]),
        ("another application", &[&other], [0x6a, 0x82]),
        (
            "a message after another application",
            &[&select(), &other, poll],
            [0x69, 0x85],
        ),
        (
            "another way to select",
            &[b"\0\xa4\0\0\x02\x3f\0"],
            [0x6a, 0x82],
        ),
        (
            "a command that is not ours",
            &[&select(), b"\0\xb0\0\0\0"],
            [0x6d, 0],
        ),
        (
            "a class that is not ours",
            &[&select(), b"\xff\xca\0\0\0"],
            [0x6e, 0],
        ),
        (
            "parameters",
            &[&select(), b"\x80\x5c\0\x01\0"],
            [0x6a, 0x86],
        ),
        (
            "more, of nothing",
            &[&select(), b"\0\xc0\0\0\0"],
            [0x69, 0x85],
        ),
        (
            "a length beyond the end",
            &[&select(), b"\x80\x5c\0\0\x09abc"],
            [0x67, 0],
        ),
        (
            "an extended length",
            &[&select(), b"\x80\x5c\0\0\0\0\x03abc\0\0"],
            [0x67, 0],
        ),
        (
            "bytes behind the end",
            &[&select(), b"\x80\x5c\0\0\x01a\0\0"],
            [0x67, 0],
        ),
    ];
    for (what, commands, status) in cases {
        let mut buffer = [0; 300];
        let mut card = Card::new(&mut buffer);
        let mut response = [0; RESPONSE_MAX];
        let mut last = Step::Respond(0);
        for command in commands {
            last = card.command(command, &mut response);
        }
        assert_eq!(
            (last, [response[0], response[1]]),
            (Step::Respond(2), status),
            "{what}"
        );
    }
}

#[test]
fn a_card_forgets_what_was_broken_off() {
    let poll = b"\x80\x5c\0\0\0".as_slice();
    // A chain that does not fit is refused, and the next message is not part of it; nor is one that the reader broke off.
    let mut buffer = [0; 300];
    let mut card = Card::new(&mut buffer);
    let mut response = [0; RESPONSE_MAX];
    let piece = [b"\x90\x5c\0\0\xff".as_slice(), &[7; 255]].concat();
    for (command, status) in [
        (&select()[..], [0x90, 0]),
        (&piece, [0x90, 0]),
        (&piece, [0x6a, 0x84]),
        (&piece, [0x90, 0]),
    ] {
        assert_eq!(card.command(command, &mut response), Step::Respond(2));
        assert_eq!([response[0], response[1]], status);
    }
    card.command(&select(), &mut response);
    assert_eq!(
        card.command(b"\x80\x5c\0\0\x01a\0", &mut response),
        Step::Message(1)
    );
    assert_eq!(card.message(1), b"a");
    // A reply longer than the buffer is refused; one that was not fetched to its end gives way to the next message.
    assert_eq!(card.reply(&[0; 301], &mut response), 2);
    assert_eq!(card.command(poll, &mut response), Step::Message(0));
    assert_eq!(card.reply(&[1; 300], &mut response), RESPONSE_MAX);
    assert_eq!(response[256..], [0x61, 44]);
    assert_eq!(card.command(poll, &mut response), Step::Message(0));
}

#[test]
fn a_reader_comes_to_an_end_with_every_card() {
    type Outcome = Result<Option<usize>, ApduError>;
    let refused = |high, low| Err(ApduError::Refused(Status(high, low)));
    // The message's length, the card's responses, and what comes of the last.
    let cases: [(&str, usize, Records<'_>, Outcome); 10] = [
        ("nothing", 0, &[b""], Err(ApduError::Malformed)),
        ("half a status", 0, &[b"\x90"], Err(ApduError::Malformed)),
        ("a refusal", 1, &[b"\x69\x85"], refused(0x69, 0x85)),
        (
            "a refusal within a chain",
            300,
            &[b"\x67\0"],
            refused(0x67, 0),
        ),
        (
            "data within a chain",
            300,
            &[b"a\x90\0"],
            Err(ApduError::Malformed),
        ),
        (
            "more within a chain",
            300,
            &[b"\x61\x05"],
            refused(0x61, 0x05),
        ),
        (
            "more, and nothing yet",
            0,
            &[b"\x61\x01", b"a\x90\0"],
            Ok(Some(1)),
        ),
        (
            "more, and nothing again",
            0,
            &[b"\x61\x01", b"\x61\x01"],
            Err(ApduError::Malformed),
        ),
        (
            "an end without data",
            0,
            &[b"ab\x61\x01", b"\x90\0"],
            Err(ApduError::Malformed),
        ),
        (
            "more than there is room",
            0,
            &[b"ab\x61\x03", b"cde\x90\0"],
            Err(ApduError::TooLong),
        ),
    ];
    for (what, length, responses, expected) in cases {
        let (message, mut buffer) = (vec![0; length], [0; 4]);
        let mut exchange = Exchange::new(&message, &mut buffer);
        let mut last = Ok(None);
        for response in responses {
            assert_eq!(last, Ok(None), "{what}");
            last = exchange.response(response);
        }
        assert_eq!(last, expected, "{what}");
    }
}

/// A side of a connection, with the buffers a bearer has.
struct Side(Peer);

impl Side {
    fn send(&mut self, datagram: &[u8]) -> Result<(Vec<u8>, bool), GattError> {
        let mut value = [0; VALUE_MAX];
        let outgoing = self.0.send(datagram, &mut value)?;
        Ok((value[..outgoing.length].to_vec(), outgoing.reliable))
    }

    fn receive(&mut self, value: &[u8]) -> (Option<[u8; 4]>, Vec<u8>) {
        let mut datagram = [0; VALUE_MAX + 4];
        let incoming = self.0.receive(value, &mut datagram);
        (
            incoming.acknowledgement,
            datagram[..incoming.length].to_vec(),
        )
    }
}

/// Draft §3.2.8, figure 2, from both sides: datagrams in, the figure's bits on the air, datagrams out.
#[test]
fn the_drafts_example_comes_out_bit_by_bit() {
    let (mut client, mut server) = (Side(Peer::new()), Side(Peer::new()));
    let mut id = 0;
    // Who sends; the datagram's type, code and token; whether a stack acknowledges; then the bits M, C, A and the radio's reliability.
    let mut step = |from_client: bool,
                    first: u8,
                    rest: &[u8],
                    bits: u8,
                    reliable: bool,
                    acknowledged: bool| {
        let (from, to) = if from_client {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        id += 1;
        let datagram = [&[first, rest[0], 0, id], &rest[1..]].concat();
        let (value, radio) = from.send(&datagram).unwrap();
        assert_eq!((value[0] & 0xf0, radio), (bits, reliable), "message {id}");
        let (acknowledgement, arrived) = to.receive(&value);
        assert_eq!(acknowledgement.is_some(), acknowledged, "message {id}");
        if rest[0] == 0 {
            assert!(
                value.len() == 1 && arrived.is_empty(),
                "no code in an empty message"
            );
        } else {
            let kind = if bits & 0x20 == 0 { 0x50 } else { 0x40 };
            assert_eq!((arrived[0], arrived[1]), (kind | first & 15, rest[0]));
            assert_eq!(arrived[4..], rest[1..], "token, options and payload");
        }
    };
    step(true, 0x41, b"\x01\x01\x60\x54temp", 0x60, true, false);
    step(false, 0x51, b"\x45\x01\x61\x01\xff22", 0x50, false, true);
    step(false, 0x51, b"\x45\x01\x61\x02\xff21", 0x50, false, false);
    step(true, 0x41, b"\x01\x02\xb5model", 0x20, true, false);
    step(false, 0x41, b"\x45\x02\xffExampleScan", 0x60, true, true);
    step(true, 0x60, b"\x00", 0x10, true, true);
    step(false, 0x51, b"\x45\x01\x61\x03\xff20", 0x00, false, false);
    step(false, 0x41, b"\x45\x01\x61\x04\xff20", 0x20, true, false);
    step(true, 0x60, b"\x00", 0x00, true, true);
}

#[test]
fn a_confirmable_message_waits_for_the_one_before() {
    let (mut one, mut two) = (Side(Peer::new()), Side(Peer::new()));
    let (first, _) = one.send(b"\x40\x01\x12\x34").unwrap();
    assert_eq!(
        one.send(b"\x40\x01\x12\x34").unwrap().0,
        first,
        "repeated by its stack"
    );
    assert_eq!(one.send(b"\x40\x01\x12\x35"), Err(GattError::Busy));
    assert_eq!(one.send(b"\x50\x01\x12\x36"), Err(GattError::Busy));
    assert_eq!(two.receive(&first).1, b"\x40\x01\0\0");
    assert_eq!(two.receive(&first), (None, Vec::new()), "draft §3.2.4");
    // An answer in the acknowledgement comes as the acknowledgement, then the answer.
    let (answer, reliable) = two.send(b"\x60\x45\0\0\xffyes").unwrap();
    assert!(reliable);
    assert_eq!(
        one.receive(&answer),
        (Some(*b"\x60\0\x12\x34"), b"\x50\x45\0\0\xffyes".to_vec())
    );
    assert!(one.send(b"\x40\x01\x12\x35").is_ok());
}

#[test]
fn what_is_no_message_is_neither_sent_nor_taken() {
    let long = [b"\x50\x01\0\0\xff".as_slice(), &[0; VALUE_MAX]].concat();
    let bad: [&[u8]; 8] = [
        b"",
        b"\x40\x01\0",
        b"\x80\x01\0\0",
        b"\x49\x01\0\x000123456789",
        b"\x42\x01\0\0a",
        b"\x41\0\0\0a",
        b"\x40\0\0\0a",
        &long,
    ];
    for datagram in bad {
        assert!(Side(Peer::new()).send(datagram).is_err(), "{datagram:x?}");
    }
    let long = [b"\x40\x01\xff".as_slice(), &[0; VALUE_MAX]].concat();
    let bad: [&[u8]; 7] = [
        b"",
        b"\x80\x01",
        b"\xc0",
        b"\x41",
        b"\x40\0",
        b"\x42\x01a",
        &long,
    ];
    for value in bad {
        let mut datagram = [0; VALUE_MAX + 4];
        assert_eq!(
            Peer::new().receive(value, &mut datagram),
            Incoming::default(),
            "{value:x?}"
        );
    }
}
