use std::time::Duration;

use super::Settings;
use super::central::{ControllerError, LINKS};
use super::fuzz::{Air, advertisement, connected, event, from_peer, play};
use super::hci::{Way, length, opcode, way};
use super::l2cap::{Assembly, Fault, packet};

const SECOND: Duration = Duration::from_secs(1);

/// Little-endian words behind bytes.
fn words(head: &[u8], words: &[u16]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// A device connected by handle 1, with a channel: MTU 200, MPS 23 and so many credits for us.
fn with_channel(credits: u16) -> Air {
    let mut air = Air::new();
    assert!(air.hear(&advertisement(7, false)));
    assert!(air.hear(&connected(1, 7)));
    let opened = words(&[0x15, 1, 10, 0], &[0x41, 200, 23, credits, 0]);
    assert!(air.hear(&from_peer(1, 5, &opened)));
    air.pieces.clear();
    air
}

/// How many commands of that kind there have been since last asked.
fn count(air: &Air, opcode: u16) -> usize {
    let same = |(its, _): &&(u16, Vec<u8>)| *its == opcode;
    air.commands.iter().filter(same).count()
}

#[test]
fn settings_say_where_the_controller_is() {
    let check = |text: &str| {
        format!(
            "{:?}",
            text.parse::<Settings>().map_err(|it| it.to_string())
        )
    };
    let texts = [
        "",
        "hci1",
        "hci-tcp:192.0.2.7:9000",
        "hci-tcp:[::1]:9000",
        "h4:/dev/ttyACM0",
        "h4:/dev/ttyACM0@1000000",
        "hci",
        "hci-tcp:9000",
        "h4:ttyACM0",
        "h4:/dev/ttyACM0@fast",
        "usb",
    ];
    let expected = r#"
Ok(Adapter(0))
Ok(Adapter(1))
Ok(Server("192.0.2.7:9000"))
Ok(Server("[::1]:9000"))
Ok(Line { path: "/dev/ttyACM0", baud: 115200 })
Ok(Line { path: "/dev/ttyACM0", baud: 1000000 })
Err("`hci` is not a bearer: a controller is hci0, hci-tcp:HOST:PORT or h4:PATH@BAUD")
Err("`hci-tcp:9000` is not a bearer: after hci-tcp: come a host and a port")
Err("`h4:ttyACM0` is not a bearer: a line is a path from the root, as /dev/ttyACM0")
Err("`h4:/dev/ttyACM0@fast` is not a bearer: the speed after @ is a number of bits a second, as 115200")
Err("`usb` is not a bearer: a controller is hci0, hci-tcp:HOST:PORT or h4:PATH@BAUD")"#;
    assert_eq!(texts.map(check).join("\n"), expected.trim());
}

#[test]
fn an_advertisement_says_how_to_speak() {
    let uuid = stockade_link::bearer::gatt::SERVICE.to_le_bytes();
    let element = |kind: u8, more: &[u8]| {
        let length = u8::try_from(17 + more.len()).expect("short");
        [&[length, kind], uuid.as_slice(), more].concat()
    };
    let check = |data: &[u8], expected| assert_eq!(way(data), expected, "{data:02x?}");
    check(&element(0x21, &[0x80, 0]), Some(Way::Channel(0x80)));
    check(&element(0x07, &[]), Some(Way::Gatt));
    check(&element(0x06, &[1; 16]), Some(Way::Gatt));
    check(
        &[element(0x07, &[]), element(0x21, &[0x81, 0])].concat(),
        Some(Way::Channel(0x81)),
    );
    check(&element(0x21, &[0, 1]), Some(Way::Gatt));
    check(&element(0x21, &[]), Some(Way::Gatt));
    check(&element(0x16, &[]), None);
    check(&element(0x07, &[])[..17], None);
    check(&[0, 0, 0, 200, 7], None);
    check(&[], None);
}

#[test]
fn a_stream_is_cut_into_packets_or_refused() {
    assert_eq!(length(&[]), Ok(None));
    assert_eq!(length(&[4, 0x0e]), Ok(None));
    assert_eq!(length(&[4, 0x0e, 4]), Ok(Some(7)));
    assert_eq!(length(&[2, 1, 0x20, 27, 0]), Ok(Some(32)));
    length(&[2, 1, 0x20, 0xff, 0xff]).expect_err("longer than a controller has");
    length(&[1, 3, 0x0c, 0]).expect_err("a host's");
}

#[test]
fn packets_come_in_any_pieces() {
    let whole = packet(0x40, &[7; 60]);
    for size in 1..=whole.len() {
        let mut assembly = Assembly::default();
        let mut pieces = whole.chunks(size).enumerate().peekable();
        while let Some((index, piece)) = pieces.next() {
            let added = assembly.add(index == 0, piece).expect("in order");
            assert_eq!(added.is_some(), pieces.peek().is_none());
            assert!(added.is_none_or(|it| it == (0x40, vec![7; 60])));
        }
    }
    let check = |pieces: &[(bool, &[u8])], expected| {
        let mut assembly = Assembly::default();
        let added: Result<Vec<_>, _> = pieces
            .iter()
            .map(|(first, piece)| assembly.add(*first, piece))
            .collect();
        assert_eq!(added.expect_err("refused"), expected, "{pieces:?}");
    };
    check(&[(false, &[1])], Fault::Malformed);
    check(&[(true, &[9, 0]), (true, &[9, 0])], Fault::Malformed);
    check(&[(true, &[1, 0, 4, 0, 1, 2])], Fault::Malformed);
    check(&[(true, &[9, 0, 4, 0]), (false, &[])], Fault::Malformed);
    check(&[(true, &[0xff, 0xff, 4, 0])], Fault::TooLong);
}

#[test]
fn a_message_goes_as_far_as_the_credits() {
    let mut air = with_channel(2);
    air.central.handle_message(0, vec![5; 60], air.now);
    air.settle();
    // 62 bytes are three packets of 23; two are paid for. Each fits one piece of 27.
    assert_eq!(air.pieces.len(), 2);
    air.hear(&from_peer(1, 5, &words(&[0x16, 9, 4, 0], &[0x41, 1])));
    assert_eq!(air.pieces.len(), 3);
    assert_eq!(
        air.pieces[0][4..],
        words(&[], &[23, 0x41, 60])[..]
            .iter()
            .copied()
            .chain([5; 21])
            .collect::<Vec<_>>()
    );
    // Longer than what the peer takes: lost at once, and not what follows.
    air.central.handle_message(0, vec![5; 201], air.now);
    air.hear(&from_peer(1, 5, &words(&[0x16, 9, 4, 0], &[0x41, 9])));
    assert_eq!(air.pieces.len(), 3);
    assert_eq!(count(&air, opcode::DISCONNECT), 0);
}

#[test]
fn a_peer_that_breaks_the_rules_is_disconnected() {
    let check = |why: &str, packets: &[(u16, Vec<u8>)]| {
        let mut air = with_channel(1);
        for (at, (channel, payload)) in packets.iter().enumerate() {
            assert_eq!(
                count(&air, opcode::DISCONNECT),
                0,
                "{why}: too early at {at}"
            );
            air.hear(&from_peer(1, *channel, payload));
        }
        assert_eq!(count(&air, opcode::DISCONNECT), 1, "{why}");
        // And it hears nothing more of what it says.
        air.hear(&from_peer(1, 0x40, &[1, 0, 9]));
        assert!(air.messages.is_empty(), "{why}");
    };
    check(
        "a message longer than agreed",
        &[(0x40, words(&[], &[1153]))],
    );
    check("more than the length", &[(0x40, vec![1, 0, 9, 9])]);
    check("no length", &[(0x40, vec![1])]);
    check(
        "a packet longer than agreed",
        &[(0x40, [vec![0xf8, 0], vec![0; 246]].concat())],
    );
    check(
        "too many credits",
        &[(5, words(&[0x16, 1, 4, 0], &[0x41, 0xffff]))],
    );
    check("no credits", &[(5, words(&[0x16, 1, 4, 0], &[0x41, 0]))]);
    check("a signal of another length", &[(5, vec![0x16, 1, 9, 0, 0])]);
    check(
        "the end of the channel",
        &[(5, words(&[0x06, 1, 4, 0], &[0x40, 0x41]))],
    );
}

#[test]
fn a_peer_is_answered_and_gets_nothing() {
    let mut air = with_channel(1);
    let mut check = |channel, asked: Vec<u8>, answer: &[u8]| {
        air.pieces.clear();
        air.hear(&from_peer(1, channel, &asked));
        let said: Vec<u8> = air.pieces.iter().flat_map(|it| it[4..].to_vec()).collect();
        assert_eq!(said, packet(channel, answer), "{asked:02x?}");
    };
    // Pairing not supported; no attributes; no channel to us; no command of that code.
    check(6, vec![0x0b, 0x01], &[5, 5]);
    check(
        4,
        words(&[0x10], &[1, 0xffff, 0x2800]),
        &[1, 0x10, 1, 0, 0x0a],
    );
    check(
        5,
        words(&[0x14, 3, 10, 0], &[0x80, 0x41, 23, 23, 1]),
        &words(&[0x15, 3, 10, 0], &[0, 0, 0, 0, 2]),
    );
    check(5, vec![0x17, 4, 0, 0], &[1, 4, 2, 0, 0, 0]);
    // Slow is fine, too slow to be noticed when it goes is not.
    check(
        5,
        words(&[0x12, 5, 8, 0], &[80, 100, 4, 600]),
        &[0x13, 5, 2, 0, 0, 0],
    );
    check(
        5,
        words(&[0x12, 6, 8, 0], &[3200, 3200, 400, 10]),
        &[0x13, 6, 2, 0, 1, 0],
    );
    assert_eq!(count(&air, opcode::LE_CONNECTION_UPDATE), 1);
    assert_eq!(count(&air, opcode::DISCONNECT), 0);
}

#[test]
fn a_server_without_the_service_is_left_alone() {
    let mut air = Air::new();
    air.hear(&advertisement(7, true));
    air.hear(&connected(1, 7));
    air.hear(&from_peer(1, 4, &[0x03, 247, 0]));
    assert_eq!(count(&air, opcode::DISCONNECT), 0);
    air.hear(&from_peer(1, 4, &[0x01, 0x06, 1, 0, 0x0a]));
    assert_eq!(count(&air, opcode::DISCONNECT), 1);
}

#[test]
fn a_setup_that_never_ends_is_ended() {
    let mut air = Air::new();
    air.hear(&advertisement(7, true));
    air.hear(&connected(1, 7));
    air.hear(&from_peer(1, 4, &[0x03, 23, 0]));
    air.hear(&from_peer(1, 4, &words(&[0x07], &[1, 0xffff])));
    // Characteristics for ever, each of them the first: 21 bytes at handle 1.
    let declaration = [&[0x09, 21, 1, 0, 2, 2, 0], [9; 16].as_slice()].concat();
    for _ in 0..99 {
        air.hear(&from_peer(1, 4, &declaration));
        air.wait(SECOND / 9);
    }
    assert_eq!(count(&air, opcode::DISCONNECT), 1);
}

#[test]
fn places_go_round_when_there_are_more_devices_than_places() {
    let mut air = Air::new();
    let all = u8::try_from(LINKS).expect("few") + 4;
    let mut served = std::collections::BTreeMap::new();
    let mut taken: std::collections::BTreeMap<u8, u8> = std::collections::BTreeMap::new();
    for _ in 0..600 {
        for number in (1..=all).filter(|it| !taken.contains_key(it)) {
            air.hear(&advertisement(number, false));
        }
        for (opcode, parameters) in std::mem::take(&mut air.commands) {
            match opcode {
                opcode::LE_CREATE_CONNECTION => {
                    let number = parameters[6];
                    let handle = (1..=all)
                        .find(|it| taken.values().all(|its| its != it))
                        .expect("one");
                    taken.insert(number, handle);
                    *served.entry(number).or_insert(0) += 1;
                    air.hear(&connected(handle, number));
                    air.hear(&from_peer(
                        handle,
                        5,
                        &words(&[0x15, 1, 10, 0], &[0x41, 200, 23, 9, 0]),
                    ));
                    air.hear(&from_peer(handle, 0x40, &[1, 0, number]));
                }
                opcode::DISCONNECT => {
                    taken.retain(|_, handle| *handle != parameters[0]);
                    air.hear(&event(0x05, &[0, parameters[0], 0, 0x16]));
                }
                _ => {}
            }
        }
        assert!(taken.len() <= LINKS);
        air.wait(SECOND);
    }
    let (least, most) = (served.values().min(), served.values().max());
    assert_eq!(served.len(), usize::from(all), "{served:?}");
    assert!(
        least
            .zip(most)
            .is_some_and(|(least, most)| *most <= least + 2 && *least > 10),
        "{served:?}"
    );
}

#[test]
fn twenty_who_never_answer_cost_less_and_less() {
    let mut air = Air::new();
    let mut hour = Vec::new();
    for _ in 0..1200 {
        for number in 1..=20 {
            air.hear(&advertisement(number, false));
        }
        assert!(air.wait(3 * SECOND));
        // A connection that was called off is told so.
        if count(&air, opcode::LE_CREATE_CONNECTION_CANCEL) > 0 {
            air.hear(&event(
                0x3e,
                &[0x01, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ));
        }
        hour.push(count(&air, opcode::LE_CREATE_CONNECTION));
        air.commands.clear();
    }
    // One after the other, each first once; and somebody new goes before all of them.
    air.hear(&advertisement(99, false));
    air.wait(4 * SECOND);
    air.hear(&event(
        0x3e,
        &[0x01, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ));
    air.hear(&advertisement(99, false));
    let last = air
        .commands
        .iter()
        .rev()
        .find(|(opcode, _)| *opcode == opcode::LE_CREATE_CONNECTION);
    assert_eq!(last.map(|(_, parameters)| parameters[6]), Some(99));
    assert!(hour.iter().all(|tries| *tries <= 2), "{hour:?}");
}

#[test]
fn a_controller_with_room_for_fewer_is_asked_for_no_more() {
    let mut air = with_channel(1);
    air.commands.clear();
    let [low, high] = opcode::LE_CREATE_CONNECTION.to_le_bytes();
    // The first answer is taken as success by this controller; then it says: connection limit exceeded, with the event.
    air.hear(&advertisement(8, false));
    air.hear(&event(0x0f, &[0x0d, 1, low, high]));
    air.wait(4 * SECOND);
    assert_eq!(count(&air, opcode::LE_CREATE_CONNECTION), 1);
}

#[test]
fn a_controller_that_does_not_answer_or_refuses_is_given_up() {
    use super::central::Central;
    let mut central = Central::new([0; 6], 0);
    central.poll_packet(Duration::ZERO).expect("reset");
    assert_eq!(central.poll_packet(Duration::ZERO), None, "one at a time");
    assert_eq!(central.next_timeout(), Some(5 * SECOND));
    assert_eq!(
        central.handle_timeout(5 * SECOND),
        Err(ControllerError::Silent(opcode::RESET))
    );
    let [low, high] = opcode::RESET.to_le_bytes();
    let refused = central.handle_packet(&event(0x0e, &[1, low, high, 0x01]), SECOND);
    assert_eq!(refused, Err(ControllerError::Refused(opcode::RESET, 1)));
    let broken = central.handle_packet(&event(0x10, &[0x42]), SECOND);
    assert_eq!(broken, Err(ControllerError::Broken(0x42)));
    assert!(matches!(
        central.handle_packet(&[9, 9], SECOND),
        Err(ControllerError::Lost(_))
    ));
}

#[test]
fn the_corpus_gets_as_far_as_messages() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/ble/");
    for (seed, messages) in [("channel", 2), ("gatt", 2), ("gatt-long-uuids", 0)] {
        let air = play(&fs_err::read([folder, seed].concat()).expect("committed"));
        assert_eq!(
            air.messages.len(),
            messages,
            "{seed}: {:02x?}",
            air.messages
        );
        assert!(air.central.links() > 0, "{seed}: still connected");
    }
}
