//! Malformed packets and protocol errors, each with the statement it breaks.

mod common;

use common::{field, packet, unhex};
use stockade_mqtt::{
    DecodeError, Limits, ReasonCode,
    Sender::{self, Client, Server},
    Version::{self, V5, V311},
    frame,
};

fn decode_error(bytes: &[u8], version: Version, sender: Sender) -> Option<DecodeError> {
    match frame(bytes, Limits::default()) {
        Err(error) => Some(error),
        Ok(None) => panic!("{bytes:02X?} is not a whole packet"),
        Ok(Some(found)) => {
            assert_eq!(found.len(), bytes.len(), "the case is one packet");
            found.decode(version, sender).err()
        }
    }
}

/// `frame` does not know the version, so in fixed headers the statements are those of MQTT 5.
#[test]
fn packets_that_break_a_statement_are_refused() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in include_str!("malformed.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let [version, sender, packet, reason, statement, what] = line
            .split('|')
            .map(str::trim)
            .collect::<Vec<_>>()
            .try_into()
            .expect("six columns");
        let version = match version {
            "v5" => V5,
            "v311" => V311,
            other => panic!("version {other}"),
        };
        let sender = match sender {
            "client" => Client,
            "server" => Server,
            other => panic!("sender {other}"),
        };
        let reason = u8::from_str_radix(&reason.replace("0x", ""), 16)
            .ok()
            .and_then(ReasonCode::from_u8)
            .expect("a reason code");
        let got = decode_error(&unhex(packet), version, sender)
            .map(|error| (error.reason, error.statement));
        if got != Some((reason, statement)) {
            wrong.push(format!(
                "{what}: expected {statement} {reason}, got {got:?}: {line}"
            ));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases > 250, "only {cases} cases read");
}

/// What looks like one of the refused packets but is allowed.
#[test]
fn packets_close_to_the_refused_ones_are_accepted() {
    let fine = |bytes: Vec<u8>, version, sender| {
        assert_eq!(decode_error(&bytes, version, sender), None, "{bytes:02X?}");
    };
    // 3.1.1 asks for no shortest form of the remaining length.
    fine(vec![0x30, 0x83, 0, 0, 1, b'a'], V311, Client);
    fine(packet(0x40, &[&[0, 1, 0x10]]), V5, Server);
    fine(
        connect("MQTT", 5, 0x42, &[&field("c"), &field("p")]),
        V5,
        Client,
    );
    fine(connect("MQTT", 5, 0, &[&field("")]), V5, Client);
    fine(connect("MQTT", 4, 2, &[&field("")]), V5, Client);
    fine(
        packet(0x82, &[&[0, 1, 0], &field("$share/g/a"), &[0]]),
        V5,
        Client,
    );
    fine(
        packet(0x82, &[&[0, 1], &field("$share//a"), &[0]]),
        V311,
        Client,
    );
    fine(
        packet(
            0x10,
            &[
                &field("MQTT"),
                &[5, 2, 0, 60, 5, 0x11, 0, 0, 0, 1],
                &field("c"),
            ],
        ),
        V5,
        Client,
    );
}

fn connect(name: &str, level: u8, flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    packet(
        0x10,
        &[
            &field(name),
            &[level, flags, 0, 60],
            properties,
            &rest.concat(),
        ],
    )
}

/// `frame` does not know the version, so its errors name the statement of MQTT 5.
#[test]
fn packets_in_the_wrong_direction_are_refused() {
    let refused = |sender, first: u8, version| {
        decode_error(&[first, 0], version, sender)
            .is_some_and(|error| error.detail == "packet type not allowed in this direction")
    };
    for version in [V5, V311] {
        for first in [0x20, 0x90, 0xB0, 0xD0] {
            assert!(refused(Client, first, version), "{first:02X} from a client");
        }
        for first in [0x10, 0x82, 0xA2, 0xC0] {
            assert!(refused(Server, first, version), "{first:02X} from a server");
        }
    }
    assert!(
        refused(Server, 0xE0, V311),
        "3.1.1 servers send no DISCONNECT"
    );
    assert!(!refused(Server, 0xE0, V5));
}

#[test]
fn the_level_of_a_connect_is_known_even_if_the_rest_is_broken() {
    let level = |bytes: &[u8]| {
        frame(bytes, Limits::default())
            .unwrap()
            .unwrap()
            .connect_level()
            .map(|(name, level)| (name.to_vec(), level))
    };
    assert_eq!(
        level(&connect("MQTT", 6, 0xFF, &[])),
        Some((b"MQTT".to_vec(), 6))
    );
    assert_eq!(
        level(&connect("MQIsdp", 3, 2, &[])),
        Some((b"MQIsdp".to_vec(), 3))
    );
    assert_eq!(level(&[0x10, 3, 0, 9, b'M']), None);
    assert_eq!(level(&[0xC0, 0]), None);
}

#[test]
fn topics_beyond_the_limits_get_the_reason_code_for_them() {
    let deep = ["a"; 33].join("/");
    let long = "a".repeat(1025);
    for topic in [deep, long] {
        let reason = |bytes: Vec<u8>, version| {
            decode_error(&bytes, version, Client).map(|error| error.reason)
        };
        assert_eq!(
            reason(packet(0x30, &[&field(&topic)]), V311),
            Some(ReasonCode::TopicNameInvalid)
        );
        assert_eq!(
            reason(packet(0x82, &[&[0, 1], &field(&topic), &[0]]), V311),
            Some(ReasonCode::TopicFilterInvalid)
        );
        assert_eq!(
            reason(packet(0xA2, &[&[0, 1, 0], &field(&topic)]), V5),
            Some(ReasonCode::TopicFilterInvalid)
        );
    }
    let fits = ["a"; 32].join("/");
    assert_eq!(
        decode_error(&packet(0x30, &[&field(&fits)]), V311, Client),
        None
    );
}

#[test]
fn headers_are_refused_as_soon_as_they_can_be_read() {
    let limits = Limits {
        max_packet: 20,
        ..Limits::default()
    };
    assert_eq!(
        frame(&[0x00], limits)
            .map(|_| ())
            .map_err(|error| error.reason),
        Err(ReasonCode::MalformedPacket)
    );
    assert_eq!(
        frame(&[0x30, 19], limits)
            .map(|_| ())
            .map_err(|error| error.reason),
        Err(ReasonCode::PacketTooLarge),
        "no body needed"
    );
    assert!(
        matches!(frame(&[0x30, 18], limits), Ok(None)),
        "20 bytes in all are fine"
    );
    assert!(matches!(frame(&[0x30, 0x80], limits), Ok(None)));
    assert!(matches!(frame(&[], limits), Ok(None)));
}

#[test]
fn a_packet_is_found_once_its_last_byte_is_there() {
    let bytes = packet(0x30, &[&field("a/b"), &[0], &[7; 300]]);
    for end in 0..bytes.len() {
        assert!(
            matches!(frame(&bytes[..end], Limits::default()), Ok(None)),
            "{end} bytes"
        );
    }
    let mut more = bytes.clone();
    more.extend([0xC0, 0]);
    assert_eq!(
        frame(&more, Limits::default()).map(|found| found.map(|found| found.len())),
        Ok(Some(bytes.len()))
    );
}
