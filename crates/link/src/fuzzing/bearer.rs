//! Bearers: what strangers say on a line, a radio, a reader, a characteristic.

use crate::bearer::apdu::{COMMAND_MAX, Card, Exchange, RESPONSE_MAX, Step, select};
use crate::bearer::fragment::{Assembler, Cutter};
use crate::bearer::gatt::{GattError, Peer, VALUE_MAX};
use crate::bearer::slipmux::{Decoder, FRAME_MAX, Kind, encode};
use crate::bearer::{MESSAGE_MAX, fragment};

/// The bytes of a serial line: frames fit the buffer, go out as they came in, and a message comes through whatever was before it.
pub fn bearer_slipmux(data: &[u8]) {
    let (mut small, mut other) = ([0; 64], [0; FRAME_MAX]);
    let mut decoder = Decoder::new(&mut small);
    for byte in data {
        let Some(frame) = decoder.push(*byte) else {
            continue;
        };
        assert!(frame.bytes.len() <= 61);
        let mut decoder = Decoder::new(&mut other);
        let again = encode(frame.kind, frame.bytes)
            .any(|byte| decoder.push(byte).is_some_and(|it| it == frame));
        assert!(again, "a frame is what its bytes say");
    }
    let message = data.get(..MESSAGE_MAX).unwrap_or(data);
    let mut decoder = Decoder::new(&mut other);
    let arrived = data
        .iter()
        .copied()
        .chain(encode(Kind::Message, message))
        .fold(false, |_, byte| {
            decoder.push(byte).is_some_and(|it| it.bytes == message)
        });
    assert!(arrived, "a message comes through after anything");
}

/// The frames of a radio, each with its length and the time since the last; then the data as a message, cut as its first byte says.
pub fn bearer_fragment(data: &[u8]) {
    let mut assembler = Assembler::new([0; 64]);
    let (mut now, mut rest) = (0_u64, data);
    while let Some((&[length, time], more)) = rest.split_first_chunk() {
        let (frame, more) = more.split_at(more.len().min(usize::from(length)));
        rest = more;
        now = now.saturating_add(u64::from(time) << 4);
        let message = assembler.push(frame, now);
        assert!(message.is_none_or(|it| !it.is_empty() && it.len() <= 64));
    }
    let size = data.first().copied().map_or(0, usize::from);
    let mut assembler = Assembler::new([0; MESSAGE_MAX]);
    let mut cutter = Cutter::new();
    for _ in 0..2 {
        let Some(pieces) = cutter.cut(data, size) else {
            return;
        };
        let mut arrived = false;
        for (header, piece) in pieces {
            assert!(!arrived, "nothing after the last piece");
            let mut frame = [0; 256];
            let length = piece.len().saturating_add(1).min(size);
            for (place, byte) in frame.iter_mut().zip([header].iter().chain(piece)) {
                *place = *byte;
            }
            let message =
                assembler.push(frame.get(..length).unwrap_or_default(), fragment::PAUSE_MAX);
            arrived = message.is_some_and(|it| it == data);
        }
        assert!(arrived, "a message comes through");
    }
}

/// Commands to a card, each after its length; the same as responses to a reader; then the data as a message from one to the other.
pub fn bearer_apdu(data: &[u8]) {
    let (mut at_card, mut at_reader) = ([0; 600], [0; 600]);
    let (mut command, mut response) = ([0; COMMAND_MAX], [0; RESPONSE_MAX]);
    let mut card = Card::new(&mut at_card);
    card.command(&select(), &mut response);
    let mut exchange = Exchange::new(data, &mut at_reader);
    let (mut rest, mut over) = (data, false);
    while let Some((length, more)) = rest.split_first() {
        let (record, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        let answered = match card.command(record, &mut response) {
            Step::Respond(length) => length,
            Step::Message(length) => {
                assert!(card.message(length).len() == length);
                card.reply(record, &mut response)
            }
        };
        assert!((2..=RESPONSE_MAX).contains(&answered));
        if !over {
            assert!((5..=COMMAND_MAX).contains(&exchange.command(&mut command)));
            over = !matches!(exchange.response(record), Ok(None));
        }
    }
    card.command(&select(), &mut response);
    let mut exchange = Exchange::new(data, &mut at_reader);
    // As many commands and responses as the message has pieces, and one for luck.
    for _ in 0..8 {
        let length = exchange.command(&mut command);
        let length = match card.command(command.get(..length).unwrap_or_default(), &mut response) {
            Step::Respond(length) => length,
            Step::Message(length) => {
                assert_eq!(card.message(length), data);
                card.reply(data, &mut response)
            }
        };
        match exchange.response(response.get(..length).unwrap_or_default()) {
            Ok(None) => {}
            Ok(Some(length)) => {
                assert_eq!(at_reader.get(..length), Some(data));
                return;
            }
            Err(_) => break,
        }
    }
    assert!(data.len() > 600, "a message comes through");
}

/// Values of a characteristic, each after its length, to one side of a connection; what it takes, it can send on.
pub fn bearer_gatt(data: &[u8]) {
    let (mut peer, mut other) = (Peer::new(), Peer::new());
    let (mut datagram, mut value) = ([0; VALUE_MAX + 4], [0; VALUE_MAX]);
    let mut rest = data;
    while let Some((length, more)) = rest.split_first() {
        let (record, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        let _ = other.send(record, &mut value);
        let incoming = peer.receive(record, &mut datagram);
        if incoming.length == 0 {
            continue;
        }
        let taken = datagram.get(..incoming.length).unwrap_or_default();
        match peer.send(taken, &mut value) {
            Ok(outgoing) => {
                let sent = value.get(..outgoing.length).unwrap_or_default();
                assert_eq!(
                    sent.get(1..),
                    record.get(1..),
                    "code, token and the rest are as they were"
                );
            }
            Err(error) => assert_eq!(error, GattError::Busy),
        }
    }
}
