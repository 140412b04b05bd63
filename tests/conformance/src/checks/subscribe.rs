//! SUBSCRIBE and SUBACK.

use super::{BAD_TOPIC, MALFORMED};
use crate::answer::Answer;
use crate::server::{FORBIDDEN, Server};
use crate::wire::{self, Bytes, Properties, Publish, V5, V311, Version, id};

const NO_LOCAL: u8 = 0x04;

pub(crate) fn filters_are_utf8(server: &Server, version: Version) {
    for filter in [&b"t/\xC3\x28"[..], b"t/\xED\xA0\x80", b"t/a\0"] {
        let mut client = server.fresh(version);
        client.send(&wire::subscribe(
            version,
            1,
            &Properties::new(),
            &[(b"t/a", 0), (filter, 0)],
        ));
        client.refused_with(BAD_TOPIC);
    }
}

pub(crate) fn needs_a_filter(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    client.send(&wire::subscribe(version, 1, &Properties::new(), &[]));
    client.refused_with(MALFORMED);
}

/// Reserved bits of the options, QoS 3 and, in MQTT 5, Retain Handling 3.
pub(crate) fn reserved_options_close(server: &Server, version: Version) {
    let options: &[u8] = match version {
        V5 => &[0x40, 0x80, 0xC0, 0x03, 0x30],
        V311 => &[0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x03],
    };
    for option in options {
        let mut client = server.fresh(version);
        client.send(&wire::subscribe(
            version,
            1,
            &Properties::new(),
            &[(b"t/a", *option)],
        ));
        client.refused_with(MALFORMED);
    }
}

/// A filter without its options.
pub(crate) fn truncated_payload_closes(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    let bytes = Bytes::new()
        .two(1)
        .properties(version, &Properties::new())
        .field(b"t/a");
    client.send(&bytes.packet(0x82));
    client.refused_with(MALFORMED);
}

pub(crate) fn wildcards_are_supported(server: &Server, version: Version) {
    let mut client = server.connect(version, "wild");
    for filter in ["t/#", "t/+", "t/+/a/#"] {
        client.subscribe(filter, 1);
    }
}

/// No Local: not to the connection that published, by way of that subscription.
pub(crate) fn no_local_keeps_own_messages_away(server: &Server, version: Version) {
    let mut client = server.connect(version, "self");
    client.subscribe("t/a", 1 | NO_LOCAL);
    client.publish(&Publish::new("t/a", "own").qos(1, 1));
    client.expect_nothing();
    let mut other = server.connect(version, "other");
    other.publish(&Publish::new("t/a", "another's").qos(1, 1));
    assert_eq!(client.receive().text(), "another's");
    client.subscribe("t/b", 1);
    client.publish(&Publish::new("t/b", "own").qos(1, 2));
    assert_eq!(client.receive().text(), "own");
}

pub(crate) fn no_local_on_a_shared_subscription_closes(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    client.send(&wire::subscribe(
        version,
        1,
        &Properties::new(),
        &[(b"$share/g/t/a", NO_LOCAL)],
    ));
    client.refused_with(&[0x82]);
}

/// The first thing after SUBSCRIBE is its SUBACK (here there is nothing else to send).
pub(crate) fn is_answered(server: &Server, version: Version) {
    let mut client = server.connect(version, "asks");
    client.send(&wire::subscribe(
        version,
        7,
        &Properties::new(),
        &[(b"t/a", 1)],
    ));
    match client.recv() {
        Some(Answer::SubAck(codes)) => assert_eq!((codes.packet_id, codes.codes), (7, vec![1])),
        other => panic!("SUBACK is due, got {other:?}"),
    }
    client.publish(&Publish::new("t/a", "x").qos(1, 1));
    assert_eq!(client.receive().text(), "x");
}

/// The same filter again: one subscription, with the new QoS; retained messages come again.
pub(crate) fn the_same_filter_replaces(server: &Server, version: Version) {
    let mut client = server.connect(version, "again");
    client.publish(&Publish::new("t/a", "kept").qos(2, 1).retain());
    for qos in [2, 0, 1] {
        client.subscribe("t/a", qos);
        let message = client.receive();
        assert_eq!((message.text(), message.qos), ("kept", qos));
        client.publish(&Publish::new("t/a", "live").qos(2, 2));
        let message = client.receive();
        assert_eq!((message.text(), message.qos), ("live", qos));
        client.expect_nothing();
    }
}

/// Nothing is lost while a subscription is replaced.
pub(crate) fn replacing_loses_nothing(server: &Server, version: Version) {
    let mut subscriber = server.connect(version, "busy");
    subscriber.subscribe("t/a", 1);
    let mut publisher = server.connect(version, "source");
    let mut expected = Vec::new();
    for round in 0..10u16 {
        let texts = [format!("{round}-before"), format!("{round}-after")];
        publisher.publish(&Publish::new("t/a", &texts[0]).qos(1, 1));
        subscriber.subscribe("t/a", 1);
        publisher.publish(&Publish::new("t/a", &texts[1]).qos(1, 2));
        expected.extend(texts);
    }
    assert_eq!(subscriber.drain_texts(), expected);
}

/// Many filters in one packet: as if each had come alone, but one answer, codes in order.
pub(crate) fn many_filters_one_answer(server: &Server, version: Version) {
    let mut client = server.connect(version, "many");
    let filters = [
        ("t/a", 0),
        ("t/b", 2),
        (FORBIDDEN, 1),
        ("t/c", 1),
        ("t/a", 1),
    ];
    let codes = client.subscribe_with(&Properties::new(), &filters).codes;
    assert_eq!(
        codes.len(),
        filters.len(),
        "[MQTT-3.8.4-6] one code a filter"
    );
    assert_eq!(
        codes[2] >= 0x80,
        server.refuses_subscriptions(),
        "{:#04x}",
        codes[2]
    );
    assert_eq!(
        [codes[0], codes[1], codes[3], codes[4]],
        [0, 2, 1, 1],
        "[MQTT-3.9.3-1] in order"
    );
    client.expect_nothing();
    for (topic, qos) in [("t/a", 1), ("t/b", 2), ("t/c", 1)] {
        client.publish(&Publish::new(topic, topic).qos(2, 1));
        let message = client.receive();
        assert_eq!((message.text(), message.qos), (topic, qos));
    }
    client.expect_nothing();
}

/// A code says what was granted, or that it failed, and it is true.
pub(crate) fn codes_tell_the_truth(server: &Server, version: Version) {
    let mut client = server.connect(version, "truth");
    for qos in 0..=2 {
        let granted = client.try_subscribe("t/a", qos);
        assert!(granted <= qos, "granted {granted}, asked for {qos}");
        client.publish(&Publish::new("t/a", "x").qos(2, 1));
        assert_eq!(client.receive().qos, granted);
    }
    let refused = client.try_subscribe(FORBIDDEN, 0);
    assert_eq!(
        refused >= 0x80,
        server.refuses_subscriptions(),
        "{refused:#04x}"
    );
}

/// The lower of the QoS published and the QoS granted.
pub(crate) fn delivered_at_the_lower_qos(server: &Server, version: Version) {
    let mut client = server.connect(version, "lower");
    for granted in 0..=2 {
        client.subscribe("t/a", granted);
        for published in 0..=2 {
            client.publish(&Publish::new("t/a", "x").qos(published, u16::from(published > 0)));
            assert_eq!(
                client.receive().qos,
                granted.min(published),
                "{granted} {published}"
            );
        }
    }
}

/// Codes beyond the table are refused by the strict reader; here it reads some of each kind.
pub(crate) fn codes_are_of_the_table(server: &Server, version: Version) {
    many_filters_one_answer(server, version);
    codes_tell_the_truth(server, version);
}

/// A subscription identifier of 0 is a protocol error; here because the server must look.
pub(crate) fn identifier_zero_closes(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    let zero = Properties::new().varint(id::SUBSCRIPTION_ID, 0);
    client.send(&wire::subscribe(version, 1, &zero, &[(b"t/a", 0)]));
    client.refused_with(MALFORMED);
}
