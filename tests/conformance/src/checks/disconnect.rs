//! DISCONNECT and the handling of errors.

use super::MALFORMED;
use crate::answer::Answer;
use crate::server::Server;
use crate::wire::{self, Bytes, Connect, PINGREQ, Properties, Publish, V5, Version, Will, id};

/// Closed before there was a CONNACK: without a DISCONNECT.
pub(crate) fn none_before_connack(server: &Server, version: Version) {
    for bytes in [
        PINGREQ.to_vec(),
        vec![0x10, 0x00],
        vec![0x00, 0x00],
        vec![0xF0, 0x00],
    ] {
        let mut client = server.open(version, "early");
        client.send(&bytes);
        client.turned_away();
    }
    super::connect::refusal_says_no_session(server, version);
}

/// Reserved bits: not the DISCONNECT of the protocol, so the will is published.
pub(crate) fn reserved_bits_make_it_malformed(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/will", 0);
    for flags in [0x01, 0x02, 0x08] {
        let connect = Connect::new(version, "mortal").will(Will::new("t/will", "malformed"));
        let (mut client, _) = server.connect_with(&connect);
        client.send(&[0xE0 | flags, 0x00]);
        client.refused_with(MALFORMED);
        assert_eq!(watcher.receive().text(), "malformed");
    }
}

/// What the server says when it closes: read strictly, in several situations.
pub(crate) fn reasons_are_of_the_table(server: &Server, version: Version) {
    let mut seen = Vec::new();
    for bytes in [
        vec![0x00, 0x00],
        Publish::new("t/#", "x").encode(version),
        Publish::new("t/a", "x").qos(3, 1).encode(version),
        Publish::new("", "x")
            .with(Properties::new().two(id::TOPIC_ALIAS, 9))
            .encode(version),
        Connect::new(version, "again").encode(),
    ] {
        let mut client = server.fresh(version);
        client.send(&bytes);
        seen.extend(client.refused());
    }
    super::identity::newcomer_takes_over(server, version);
    assert!(seen.iter().all(|reason| *reason >= 0x80), "{seen:02x?}");
}

/// A DISCONNECT with properties other than a client's, or that ends in the middle.
pub(crate) fn malformed_ones_publish_the_will(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/will", 0);
    let receive_maximum = Properties::new().two(id::RECEIVE_MAXIMUM, 1);
    for body in [
        Bytes::new().byte(0x00).properties(V5, &receive_maximum),
        Bytes::new().byte(0x00).byte(5),
        Bytes::new().byte(0x03),
    ] {
        let connect = Connect::new(version, "mortal").will(Will::new("t/will", "malformed"));
        let (mut client, _) = server.connect_with(&connect);
        client.send(&body.packet(0xE0));
        client.refused();
        assert_eq!(watcher.receive().text(), "malformed");
    }
}

/// After its DISCONNECT the server says nothing and closes.
pub(crate) fn is_the_last_word(server: &Server, version: Version) {
    let mut first = server.connect(version, "same");
    first.subscribe("t/#", 0);
    let mut second = server.connect(version, "same");
    second.publish(&Publish::new("t/a", "x").qos(1, 1));
    assert_eq!(first.refused(), Some(0x8E));
}

pub(crate) fn closes_when_the_client_leaves(server: &Server, version: Version) {
    let mut client = server.connect(version, "leaver");
    client.send(&wire::DISCONNECT);
    assert_eq!(client.recv(), None, "closed, without an answer");
}

/// What comes after DISCONNECT is not looked at.
pub(crate) fn nothing_after_it_counts(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/a", 0);
    let mut client = server.connect(version, "leaver");
    let mut bytes = wire::DISCONNECT.to_vec();
    bytes.extend(Publish::new("t/a", "x").encode(version));
    client.send(&bytes);
    assert_eq!(client.recv(), None);
    watcher.expect_nothing();
}

/// Errors of several kinds: each closes, with a reason that is one for errors; others live on.
pub(crate) fn errors_close(server: &Server, version: Version) {
    let mut bystander = server.connect(version, "bystander");
    bystander.subscribe("t/a", 1);
    let mut cases = vec![
        vec![0x00, 0x00],
        vec![0x30, 0x00],
        vec![0x82, 0x00],
        Bytes::new().two(1).packet(0x82),
        Bytes::new().byte(1).packet(0x40),
        vec![0xC0, 0x01, 0x00],
        Publish::new("t/a", "x").qos(3, 1).encode(version),
        Connect::new(version, "again").encode(),
    ];
    if version == V5 {
        let twice = Properties::new()
            .byte(id::PAYLOAD_FORMAT, 1)
            .byte(id::PAYLOAD_FORMAT, 1);
        cases.push(Publish::new("t/a", "x").with(twice).encode(version));
        let unknown = Properties::new().byte(0x7F, 1);
        cases.push(Publish::new("t/a", "x").with(unknown).encode(version));
        let foreign = Properties::new().two(id::RECEIVE_MAXIMUM, 1);
        cases.push(Publish::new("t/a", "x").with(foreign).encode(version));
        cases.push(
            Publish::new("t/a", "x")
                .with(Properties::new().byte(id::PAYLOAD_FORMAT, 2))
                .encode(version),
        );
        // A property length that reaches beyond the packet.
        cases.push(Bytes::new().field(b"t/a").varint(100).packet(0x30));
    }
    for case in cases {
        let mut client = server.fresh(version);
        client.send(&case);
        if let Some(reason) = client.refused() {
            assert!(
                matches!(reason, 0x81 | 0x82 | 0x99 | 0x90),
                "{case:02x?}: {reason:#04x}"
            );
        }
    }
    bystander.publish(&Publish::new("t/a", "alive").qos(1, 1));
    assert_eq!(bystander.receive().text(), "alive");
}

/// A reason of 0x80 or more, in CONNACK or DISCONNECT, is followed by closing.
pub(crate) fn an_error_reason_means_closing(server: &Server, version: Version) {
    let refused = Connect::new(version, "refused")
        .with(Properties::new().text(id::AUTH_METHOD, "no-such-method"));
    let mut client = server.open(version, "refused");
    let connack = client.connect(&refused);
    assert!(connack.reason >= 0x80);
    assert_eq!(client.recv(), None);

    let mut first = server.connect(version, "same");
    let _second = server.connect(version, "same");
    assert!(matches!(first.recv(), Some(Answer::Disconnect(0x8E, _))));
    assert_eq!(first.recv(), None);
}
