//! Sessions: what is kept, for how long, and Session Present.

use std::time::{Duration, Instant};

use super::pass_expiry;
use crate::client::pass;
use crate::server::Server;
use crate::wire::{Bytes, Connect, PUBREC, Properties, Publish, V5, V311, Version, Will, id};

/// A stored session with a subscription to `t/a`, its connection closed.
pub(crate) fn store(server: &Server, version: Version, name: &str) {
    let (mut client, present) = server.connect_with(&Connect::persistent(version, name));
    assert!(!present, "nothing is stored yet");
    client.subscribe("t/a", 2);
    client.leave();
}

pub(crate) fn clean_discards(server: &Server, version: Version) {
    store(server, version, "kept");
    let mut other = server.connect(version, "other");
    other.publish(&Publish::new("t/a", "before").qos(1, 1));
    let (mut client, present) = server.connect_with(&Connect::new(version, "kept"));
    assert!(!present, "[MQTT-3.2.2-2] a clean session is never present");
    client.expect_nothing();
    other.publish(&Publish::new("t/a", "after").qos(1, 2));
    client.expect_nothing();
    client.leave();
    // Nor is what the clean session held used by a later one.
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "kept"));
    assert!(!present);
    client.expect_nothing();
}

/// State of a clean session is gone with its connection.
pub(crate) fn clean_session_leaves_nothing(server: &Server, version: Version) {
    let mut client = server.connect(version, "brief");
    client.subscribe("t/a", 2);
    client.leave();
    let mut other = server.connect(version, "other");
    other.publish(&Publish::new("t/a", "x").qos(1, 1));
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "brief"));
    assert!(!present);
    client.expect_nothing();
    other.publish(&Publish::new("t/a", "y").qos(1, 2));
    client.expect_nothing();
}

pub(crate) fn resumes(server: &Server, version: Version) {
    store(server, version, "kept");
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "kept"));
    assert!(present, "[MQTT-3.2.2-3] the session is there");
    client.publish(&Publish::new("t/a", "x").qos(1, 1));
    assert_eq!(client.receive().text(), "x", "the subscription is there");
}

pub(crate) fn creates_where_there_is_none(server: &Server, version: Version) {
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "new"));
    assert!(!present);
    client.subscribe("t/a", 1);
    client.publish(&Publish::new("t/a", "x").qos(1, 1));
    assert_eq!(client.receive().text(), "x");
}

/// Messages of QoS 1 and 2 that match while the client is away are kept, in order.
pub(crate) fn keeps_messages_while_away(server: &Server, version: Version) {
    store(server, version, "kept");
    let mut other = server.connect(version, "other");
    other.publish(&Publish::new("t/a", "one").qos(1, 1));
    other.publish(&Publish::new("t/b", "not subscribed").qos(1, 2));
    other.publish(&Publish::new("t/a", "two").qos(2, 3));
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "kept"));
    assert!(present);
    let first = client.receive();
    assert_eq!((first.text(), first.qos, first.dup), ("one", 1, false));
    let second = client.receive();
    assert_eq!((second.text(), second.qos, second.dup), ("two", 2, false));
    client.expect_nothing();
}

/// The state survives a connection that was cut, too.
pub(crate) fn survives_the_connection(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 1);
    client.cut();
    let mut other = server.connect(version, "other");
    // The session is stored whether or not the server has noticed the cut by now.
    other.publish(&Publish::new("t/a", "x").qos(1, 1));
    let (mut client, present) = server.connect_with(&kept);
    assert!(present);
    assert_eq!(client.receive().text(), "x");
}

pub(crate) fn session_present_tells_the_truth(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (client, present) = server.connect_with(&kept);
    assert!(!present, "no session yet");
    client.leave();
    let (client, present) = server.connect_with(&kept);
    assert!(present, "a session was stored");
    client.leave();
    let (client, present) = server.connect_with(&Connect::new(version, "kept"));
    assert!(!present, "a clean session");
    client.leave();
    let (_, present) = server.connect_with(&kept);
    assert!(!present, "the clean session is gone");
}

pub(crate) fn no_session_no_session_present(server: &Server, version: Version) {
    creates_where_there_is_none(server, version);
}

/// Retained messages belong to no session.
pub(crate) fn retained_messages_outlive_the_session(server: &Server, version: Version) {
    let mut client = server.connect(version, "brief");
    client.publish(&Publish::new("t/a", "kept").qos(1, 1).retain());
    client.leave();
    let mut later = server.connect(version, "later");
    later.subscribe("t/a", 0);
    assert_eq!(later.receive().text(), "kept");
}

/// While it is connected a session lasts, however short its expiry; twice, as 3.1.1 has none.
pub(crate) fn lasts_while_connected(server: &Server, version: Version) {
    let mut connect = Connect::new(version, "living");
    if version == V5 {
        connect = connect.with(Properties::new().four(id::SESSION_EXPIRY, 1));
    }
    let (mut client, _) = server.connect_with(&connect);
    client.subscribe("t/a", 1);
    client.send_publish(&Publish::new("t/b", "open").qos(2, 77));
    client.await_ack(PUBREC, 77);
    pass_expiry();
    client.publish(&Publish::new("t/a", "x").qos(1, 1));
    assert_eq!(client.receive().text(), "x");
    client.send_publish(&Publish::new("t/b", "open").qos(2, 77).dup());
    client.await_ack(PUBREC, 77);
}

pub(crate) fn ends_when_its_expiry_has_passed(server: &Server, version: Version) {
    let brief = Connect::new(version, "brief")
        .clean(false)
        .with(Properties::new().four(id::SESSION_EXPIRY, 1));
    let (mut client, _) = server.connect_with(&brief);
    client.subscribe("t/a", 1);
    client.leave();
    let (client, present) = server.connect_with(&brief);
    assert!(present, "before it has passed");
    client.leave();
    pass_expiry();
    let mut other = server.connect(version, "other");
    other.publish(&Publish::new("t/a", "x").qos(1, 1));
    let (mut client, present) = server.connect_with(&brief);
    assert!(!present, "after it has passed");
    client.expect_nothing();
}

/// Session Expiry Interval 0: the session ends with its connection, even an unclean one.
pub(crate) fn expiry_zero_ends_at_once(server: &Server, version: Version) {
    assert_eq!(version, V5);
    let (mut client, _) = server.connect_with(&Connect::new(version, "zero").clean(false));
    client.subscribe("t/a", 1);
    client.leave();
    let (_, present) = server.connect_with(&Connect::new(version, "zero").clean(false));
    assert!(!present);
}

/// One and a half times the keep-alive without a packet, and the server hangs up as if the
/// network had failed: the will is published.
pub(crate) fn keep_alive_is_enforced(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/will", 0);
    let connect = Connect::new(version, "silent")
        .keep_alive(1)
        .will(Will::new("t/will", "silent"));
    let mut client = server.open(version, "silent");
    let connack = client.connect(&connect);
    assert_eq!(connack.reason, 0);
    assert_eq!(
        connack.properties.number(id::SERVER_KEEP_ALIVE),
        None,
        "the client's own is used"
    );
    let start = Instant::now();
    client.patience(Duration::from_secs(10));
    let reason = client.refused();
    let silent = start.elapsed();
    assert!(
        matches!(reason, None | Some(0x8D)),
        "keep alive timeout, got {reason:02x?}"
    );
    assert!(
        silent >= Duration::from_millis(1400),
        "hung up after {silent:?}"
    );
    assert_eq!(watcher.expect_message().text(), "silent");
}

/// 3.1.1: what a persistent session is, in one story.
pub(crate) fn persistent_session_of_311(server: &Server, version: Version) {
    assert_eq!(version, V311);
    resumes(server, version);
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "second"));
    assert!(!present);
    client.subscribe("t/b", 1);
    client.cut();
    let (_, present) = server.connect_with(&Connect::persistent(version, "second"));
    assert!(present, "stored after the disconnection");
}

/// The expiry that counts is the one of DISCONNECT, where it has one.
pub(crate) fn disconnect_can_end_the_session(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 1);
    let never = Properties::new().four(id::SESSION_EXPIRY, 0);
    client.send(
        &Bytes::new()
            .byte(0x00)
            .properties(version, &never)
            .packet(0xE0),
    );
    client.until_closed();
    let (mut client, present) = server.connect_with(&kept);
    assert!(!present, "it ended with its connection");
    client.publish(&Publish::new("t/a", "x").qos(1, 1));
    client.expect_nothing();
}

/// Any packet counts; PINGREQ does.
pub(crate) fn keep_alive_is_refreshed(server: &Server, version: Version) {
    let (mut client, _) = server.connect_with(&Connect::new(version, "lively").keep_alive(1));
    for round in 0..3 {
        pass(Duration::from_millis(900));
        if round % 2 == 0 {
            client.expect_nothing();
        } else {
            client.publish(&Publish::new("t/a", "x").qos(1, 1));
        }
    }
}

/// A session belongs to the name, not to the protocol version: what waits is sent in the new one.
pub(crate) fn resumes_in_another_version(server: &Server, version: Version) {
    let before = if version == V5 { V311 } else { V5 };
    let (mut client, _) = server.connect_with(&Connect::persistent(before, "changed"));
    client.subscribe("t/a", 2);
    client.publish(&Publish::new("t/a", "in flight").qos(1, 1));
    let open = client.expect_message();
    client.cut();
    let mut other = server.connect(before, "other");
    other.publish(&Publish::new("t/a", "waiting").qos(2, 1));
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "changed"));
    assert!(present);
    let again = client.receive();
    assert_eq!(
        (again.packet_id, again.text(), again.dup),
        (open.packet_id, "in flight", true)
    );
    let next = client.receive();
    assert_eq!((next.text(), next.qos, next.dup), ("waiting", 2, false));
    client.expect_nothing();
}
