//! Will messages.

use std::time::{Duration, Instant};

use super::{connect::refused_connect, pass_expiry};
use crate::server::Server;
use crate::wire::{self, Connect, KEPT, Properties, Publish, V5, Version, Will, id};

fn watcher(server: &Server, version: Version) -> crate::client::Client {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/will", 2);
    watcher
}

fn with_will(version: Version, will: Will) -> Connect {
    Connect::new(version, "mortal").will(will)
}

pub(crate) fn published_when_the_connection_is_cut(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (client, _) = server.connect_with(&with_will(version, Will::new("t/will", "cut")));
    watcher.expect_nothing();
    client.cut();
    let message = watcher.receive();
    assert_eq!((message.topic.as_str(), message.text()), ("t/will", "cut"));
    watcher.expect_nothing();
}

/// Closed by the server for an error is not in good order either.
pub(crate) fn published_when_the_server_hangs_up(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (mut client, _) = server.connect_with(&with_will(version, Will::new("t/will", "error")));
    client.send(&[0x00, 0x00]);
    client.refused();
    assert_eq!(watcher.receive().text(), "error");
}

pub(crate) fn discarded_at_a_normal_disconnect(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (client, _) = server.connect_with(&with_will(version, Will::new("t/will", "never")));
    client.leave();
    if version == V5 {
        let (mut client, _) =
            server.connect_with(&with_will(version, Will::new("t/will", "never")));
        client.send(&wire::disconnect(0x00));
        client.until_closed();
    }
    watcher.expect_nothing();
}

/// DISCONNECT with Will Message, reason 0x04.
pub(crate) fn published_at_a_disconnect_that_asks_for_it(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (mut client, _) = server.connect_with(&with_will(version, Will::new("t/will", "asked")));
    client.send(&wire::disconnect(0x04));
    client.until_closed();
    assert_eq!(watcher.receive().text(), "asked");
}

/// Published once: the session's next connection has no will of its own.
pub(crate) fn removed_once_published(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (client, _) = server
        .connect_with(&Connect::persistent(version, "mortal").will(Will::new("t/will", "once")));
    client.cut();
    assert_eq!(watcher.receive().text(), "once");
    let (client, present) = server.connect_with(&Connect::persistent(version, "mortal"));
    assert!(present);
    client.cut();
    // The server has noticed the cut when the name can be used again.
    let (client, _) = server.connect_with(&Connect::persistent(version, "mortal"));
    client.leave();
    watcher.expect_nothing();
}

pub(crate) fn none_without_the_flag(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/#", 2);
    let client = server.connect(version, "mortal");
    client.cut();
    server.connect(version, "mortal").leave();
    watcher.expect_nothing();
}

pub(crate) fn flag_needs_topic_and_payload(server: &Server, version: Version) {
    let good = Connect::new(version, "refused");
    refused_connect(
        server,
        version,
        &Connect {
            flip: 0x04,
            ..good.clone()
        },
    );
    // A topic, but no payload.
    let mut tail = if version == V5 { vec![0] } else { Vec::new() };
    tail.extend(wire::Bytes::new().field(b"t/will").0);
    refused_connect(
        server,
        version,
        &Connect {
            flip: 0x04,
            tail,
            ..good
        },
    );
}

pub(crate) fn qos_needs_the_flag(server: &Server, version: Version) {
    for flip in [0x08, 0x10, 0x18] {
        refused_connect(
            server,
            version,
            &Connect {
                flip,
                ..Connect::new(version, "refused")
            },
        );
    }
}

pub(crate) fn retain_needs_the_flag(server: &Server, version: Version) {
    refused_connect(
        server,
        version,
        &Connect {
            flip: 0x20,
            ..Connect::new(version, "refused")
        },
    );
}

/// 3.1.1: flag 0, so neither QoS nor retain nor the fields.
pub(crate) fn nothing_without_the_flag(server: &Server, version: Version) {
    qos_needs_the_flag(server, version);
    retain_needs_the_flag(server, version);
    let tail = wire::Bytes::new().field(b"t/will").field(b"x").0;
    refused_connect(
        server,
        version,
        &Connect {
            tail,
            ..Connect::new(version, "refused")
        },
    );
}

pub(crate) fn qos_is_0_1_or_2(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    for qos in 0..=2 {
        let (client, _) =
            server.connect_with(&with_will(version, Will::new("t/will", "x").qos(qos)));
        client.cut();
        assert_eq!(watcher.receive().qos, qos);
    }
    let three = Connect::new(version, "refused").will(Will::new("t/will", "x").qos(3));
    refused_connect(server, version, &three);
}

pub(crate) fn not_retained_unless_asked(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (client, _) = server.connect_with(&with_will(version, Will::new("t/will", "x")));
    client.cut();
    assert!(!watcher.receive().retain);
    let mut later = server.connect(version, "later");
    later.subscribe("t/will", 0);
    later.expect_nothing();
}

pub(crate) fn retained_when_asked(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (client, _) =
        server.connect_with(&with_will(version, Will::new("t/will", "kept").retain()));
    client.cut();
    assert!(
        !watcher.receive().retain,
        "to a subscription that was there it is a message like any"
    );
    let mut later = server.connect(version, "later");
    later.subscribe("t/will", 0);
    let message = later.receive();
    assert_eq!((message.text(), message.retain), ("kept", true));
}

pub(crate) fn topic_is_utf8(server: &Server, version: Version) {
    for topic in [&b"t/\xC3\x28"[..], b"t/\xED\xA0\x80", b"t/\0"] {
        let will = Will {
            topic: topic.to_vec(),
            ..Will::new("", "x")
        };
        let mut client = server.open(version, "mortal");
        client.send(&with_will(version, will).encode());
        client.turned_away();
    }
}

fn delayed(version: Version, seconds: u32) -> Connect {
    let delay = Properties::new().four(id::WILL_DELAY, seconds);
    Connect::persistent(version, "mortal").will(Will::new("t/will", "late").with(delay))
}

/// Published when the delay has passed, not before.
pub(crate) fn published_after_its_delay(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (client, _) = server.connect_with(&delayed(version, 1));
    let start = Instant::now();
    client.cut();
    watcher.expect_nothing();
    assert_eq!(watcher.receive().text(), "late");
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "after {:?}",
        start.elapsed()
    );
}

/// Published when the session ends, if that is earlier than the delay.
pub(crate) fn published_when_the_session_ends(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let delay = Properties::new().four(id::WILL_DELAY, KEPT);
    let will = Will::new("t/will", "session over").with(delay);
    let (client, _) = server.connect_with(&with_will(version, will));
    client.cut();
    assert_eq!(watcher.receive().text(), "session over");
}

pub(crate) fn not_published_after_a_return_in_time(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (client, _) = server.connect_with(&delayed(version, 1));
    client.cut();
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "mortal"));
    assert!(present);
    pass_expiry();
    client.expect_nothing();
    watcher.expect_nothing();
}

/// A will is stored with its session: its properties come with it, pairs in their order.
pub(crate) fn user_properties_keep_their_order(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let properties = Properties::new()
        .user("z", "1")
        .user("a", "2")
        .text(id::CONTENT_TYPE, "type")
        .user("z", "3")
        .user("m", "4")
        .byte(id::PAYLOAD_FORMAT, 1)
        .four(id::MESSAGE_EXPIRY, 100)
        .text(id::RESPONSE_TOPIC, "t/answer")
        .text(id::CORRELATION_DATA, "42");
    let (client, _) = server.connect_with(&with_will(
        version,
        Will::new("t/will", "x").with(properties),
    ));
    client.cut();
    let message = watcher.receive();
    assert_eq!(
        message.properties.pairs(),
        [("z", "1"), ("a", "2"), ("z", "3"), ("m", "4")]
    );
    assert_eq!(message.properties.text(id::CONTENT_TYPE), Some("type"));
    assert_eq!(message.properties.number(id::PAYLOAD_FORMAT), Some(1));
    assert_eq!(
        message.properties.text(id::RESPONSE_TOPIC),
        Some("t/answer")
    );
    assert_eq!(
        message.properties.binary(id::CORRELATION_DATA),
        Some(&b"42"[..])
    );
    let expiry = message.properties.number(id::MESSAGE_EXPIRY);
    assert!(matches!(expiry, Some(98..=100)), "{expiry:?}");
}

/// Ordinary traffic of the client does not touch its will.
pub(crate) fn stored_with_the_session(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (mut client, _) =
        server.connect_with(&with_will(version, Will::new("t/will", "stored").qos(1)));
    client.publish(&Publish::new("t/other", "x").qos(1, 1));
    watcher.expect_nothing();
    client.cut();
    assert_eq!(watcher.receive().text(), "stored");
}

/// A newcomer under the same name: the connection of before is closed without a DISCONNECT of its
/// client, so its will is published, unless there is a delay and the session goes on.
pub(crate) fn published_at_a_take_over(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let kept = Connect::persistent(version, "mortal");
    let (_first, _) = server.connect_with(&kept.clone().will(Will::new("t/will", "taken over")));
    let (_second, present) = server.connect_with(&kept);
    assert!(present);
    assert_eq!(watcher.receive().text(), "taken over");
}

/// A clean start ends the session of before, so that its will waits for no delay.
pub(crate) fn published_when_a_clean_start_ends_the_session(server: &Server, version: Version) {
    let mut watcher = watcher(server, version);
    let (client, _) = server.connect_with(&delayed(version, KEPT));
    client.cut();
    let (_clean, present) = server.connect_with(&Connect::new(version, "mortal"));
    assert!(!present);
    assert_eq!(watcher.receive().text(), "late");
}
