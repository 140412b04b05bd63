//! Fixed header and packet identifiers: section 2 of both versions.

use std::collections::BTreeSet;

use super::MALFORMED;
use crate::answer::Answer;
use crate::server::Server;
use crate::wire::{
    self, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Properties, Publish, V311, Version,
};

pub(crate) fn reserved_flags_close(server: &Server, version: Version) {
    let none = Properties::new();
    let mut cases = vec![
        wire::ack(PUBACK | 0x01, 1),
        wire::ack(PUBREC | 0x08, 1),
        wire::ack(0x60, 1),
        wire::ack(PUBCOMP | 0x02, 1),
        vec![0xC1, 0x00],
        vec![0xC8, 0x00],
    ];
    let mut subscribe = wire::subscribe(version, 1, &none, &[(b"t/a", 0)]);
    subscribe[0] = 0x80;
    cases.push(subscribe);
    let mut unsubscribe = wire::unsubscribe(version, 1, &[b"t/a"]);
    unsubscribe[0] = 0xA0;
    cases.push(unsubscribe);
    for case in cases {
        let mut client = server.fresh(version);
        client.send(&case);
        client.refused_with(MALFORMED);
    }
}

pub(crate) fn connect_flags_are_reserved(server: &Server, version: Version) {
    let mut client = server.open(version, "flags");
    let mut bytes = Connect::new(version, "flags").encode();
    bytes[0] = 0x11;
    client.send(&bytes);
    client.turned_away();
}

pub(crate) fn pubrel_flags_close(server: &Server, version: Version) {
    flags_close(server, version, &wire::ack(PUBREL, 1));
}

pub(crate) fn subscribe_flags_close(server: &Server, version: Version) {
    flags_close(
        server,
        version,
        &wire::subscribe(version, 1, &Properties::new(), &[(b"t/a", 0)]),
    );
}

pub(crate) fn unsubscribe_flags_close(server: &Server, version: Version) {
    flags_close(server, version, &wire::unsubscribe(version, 1, &[b"t/a"]));
}

/// Every value of the low four bits but 0010 closes.
fn flags_close(server: &Server, version: Version, packet: &[u8]) {
    for flags in (0..16u8).filter(|flags| *flags != 2) {
        let mut client = server.fresh(version);
        let mut bytes = packet.to_vec();
        bytes[0] = bytes[0] & 0xF0 | flags;
        client.send(&bytes);
        client.refused_with(MALFORMED);
    }
}

/// Packet types that are reserved, and those only a server sends.
pub(crate) fn impossible_packet_types_close(server: &Server, version: Version) {
    let mut firsts = vec![0x00, 0x20, 0x90, 0xB0, 0xD0];
    if version == V311 {
        firsts.push(0xF0);
    }
    for first in firsts {
        let mut client = server.fresh(version);
        client.send(&[first, 0x02, 0x00, 0x00]);
        client.refused_with(MALFORMED);
    }
}

/// A payload that begins like a packet identifier stays whole, in and out.
pub(crate) fn qos0_has_no_packet_identifier(server: &Server, version: Version) {
    let mut client = server.connect(version, "noid");
    client.subscribe("t/a", 2);
    client.send_publish(&Publish::new("t/a", "\u{0}\u{1}payload"));
    let message = client.expect_message();
    assert_eq!((message.qos, message.text()), (0, "\u{0}\u{1}payload"));
}

pub(crate) fn packet_identifier_zero_closes(server: &Server, version: Version) {
    let none = Properties::new();
    for case in [
        wire::subscribe(version, 0, &none, &[(b"t/a", 0)]),
        wire::unsubscribe(version, 0, &[b"t/a"]),
        Publish::new("t/a", "x").qos(1, 0).encode(version),
        Publish::new("t/a", "x").qos(2, 0).encode(version),
    ] {
        let mut client = server.fresh(version);
        client.send(&case);
        client.refused_with(MALFORMED);
    }
}

/// Messages that wait for their acknowledgement have different identifiers, none of them 0.
pub(crate) fn server_assigns_unused_identifiers(server: &Server, version: Version) {
    let mut subscriber = server.connect(version, "ids");
    subscriber.subscribe("t/#", 2);
    let mut publisher = server.connect(version, "source");
    for number in 1..=8 {
        publisher.publish(&Publish::new("t/a", "x").qos(1 + u8::from(number % 2 == 0), number));
    }
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        let message = subscriber.expect_message();
        assert!(message.packet_id > 0, "[MQTT-2.2.1-4] identifier 0");
        assert!(
            seen.insert(message.packet_id),
            "identifier {} is in use",
            message.packet_id
        );
    }
}

pub(crate) fn acknowledgements_carry_the_identifier(server: &Server, version: Version) {
    let mut client = server.connect(version, "echo");
    for packet_id in [1, 0x1234, 0xFFFF] {
        client.send_publish(&Publish::new("t/a", "x").qos(1, packet_id));
        expect_ack(client.recv(), PUBACK, packet_id);
        client.send_publish(&Publish::new("t/a", "x").qos(2, packet_id));
        expect_ack(client.recv(), PUBREC, packet_id);
        client.send(&wire::ack(PUBREL, packet_id));
        expect_ack(client.recv(), PUBCOMP, packet_id);
    }
    client.subscribe("t/a", 2);
    client.publish(&Publish::new("t/a", "x").qos(2, 5));
    let message = client.expect_message();
    client.send(&wire::ack(PUBREC, message.packet_id));
    expect_ack(client.recv(), PUBREL, message.packet_id);
}

pub(crate) fn expect_ack(answer: Option<Answer>, first: u8, packet_id: u16) {
    let (kind, ack) = match answer {
        Some(Answer::PubAck(ack)) => (PUBACK, ack),
        Some(Answer::PubRec(ack)) => (PUBREC, ack),
        Some(Answer::PubRel(ack)) => (PUBREL, ack),
        Some(Answer::PubComp(ack)) => (PUBCOMP, ack),
        other => panic!("{first:#04x} of {packet_id} is due, got {other:?}"),
    };
    assert_eq!((kind, ack.packet_id), (first, packet_id), "[MQTT-2.2.1-5]");
    assert!(ack.reason < 0x80, "refused with {:#04x}", ack.reason);
}

/// SUBACK and UNSUBACK.
pub(crate) fn subscription_answers_carry_the_identifier(server: &Server, version: Version) {
    let mut client = server.connect(version, "echo");
    for packet_id in [1, 0x1234, 0xFFFF] {
        client.send(&wire::subscribe(
            version,
            packet_id,
            &Properties::new(),
            &[(b"t/a", 0)],
        ));
        match client.recv() {
            Some(Answer::SubAck(codes)) => assert_eq!(codes.packet_id, packet_id),
            other => panic!("SUBACK is due, got {other:?}"),
        }
        client.send(&wire::unsubscribe(version, packet_id, &[b"t/a"]));
        match client.recv() {
            Some(Answer::UnsubAck(codes)) => assert_eq!(codes.packet_id, packet_id),
            other => panic!("UNSUBACK is due, got {other:?}"),
        }
    }
}

/// Every packet of a server is read with its property length; here each kind comes without
/// properties, and a message without them arrives byte for byte.
pub(crate) fn no_properties_is_said(server: &Server, version: Version) {
    let mut client = server.connect(version, "empty");
    client.subscribe("t/a", 1);
    client.publish(&Publish::new("t/a", "whole").qos(1, 1));
    let message = client.receive();
    assert_eq!((message.text(), message.properties.0.len()), ("whole", 0));
    client.unsubscribe(&["t/a"]);
    client.expect_nothing();
}
