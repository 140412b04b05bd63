//! Retained messages.

use crate::client::Client;
use crate::server::Server;
use crate::wire::{Connect, Publish, V5, Version};

const HANDLING_IF_NEW: u8 = 0x10;
const HANDLING_NEVER: u8 = 0x20;
const AS_PUBLISHED: u8 = 0x08;

fn retained(
    server: &Server,
    version: Version,
    name: &str,
    filter: &str,
) -> Vec<(String, bool, u8)> {
    let mut client = server.connect(version, name);
    client.subscribe(filter, 2);
    client
        .drain()
        .iter()
        .map(|m| (m.text().to_owned(), m.retain, m.qos))
        .collect()
}

pub(crate) fn the_last_one_is_kept_with_its_qos(server: &Server, version: Version) {
    let mut client = server.connect(version, "keeper");
    client.publish(&Publish::new("t/a", "first").qos(1, 1).retain());
    client.publish(&Publish::new("t/a", "second").qos(2, 2).retain());
    client.publish(&Publish::new("t/b", "other").qos(1, 3).retain());
    assert_eq!(
        retained(server, version, "later", "t/a"),
        [("second".into(), true, 2)]
    );
    let mut all = retained(server, version, "last", "t/#");
    all.sort();
    assert_eq!(all, [("other".into(), true, 1), ("second".into(), true, 2)]);
}

/// One of QoS 0 takes the place of the one before, whatever its QoS.
pub(crate) fn qos0_replaces(server: &Server, version: Version) {
    let mut client = server.connect(version, "keeper");
    client.publish(&Publish::new("t/a", "old").qos(2, 1).retain());
    client.publish(&Publish::new("t/a", "new").retain());
    let kept = retained(server, version, "later", "t/a");
    assert!(
        kept.is_empty() || kept == [("new".into(), true, 0)],
        "never the old one: {kept:?}"
    );
}

/// No payload: passed on like any message, and what was kept is gone.
pub(crate) fn an_empty_one_removes(server: &Server, version: Version) {
    let mut client = server.connect(version, "keeper");
    client.publish(&Publish::new("t/a", "kept").qos(1, 1).retain());
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/a", 1);
    assert_eq!(watcher.receive().text(), "kept");
    client.publish(&Publish::new("t/a", "").qos(1, 2).retain());
    let message = watcher.receive();
    assert_eq!((message.payload.len(), message.retain), (0, false));
    assert_eq!(retained(server, version, "later", "t/a"), []);
}

pub(crate) fn an_empty_one_is_not_kept(server: &Server, version: Version) {
    let mut client = server.connect(version, "keeper");
    client.publish(&Publish::new("t/a", "").qos(1, 1).retain());
    assert_eq!(retained(server, version, "later", "t/a"), []);
}

pub(crate) fn without_the_flag_nothing_changes(server: &Server, version: Version) {
    let mut client = server.connect(version, "keeper");
    client.publish(&Publish::new("t/a", "passing").qos(1, 1));
    assert_eq!(retained(server, version, "one", "t/a"), []);
    client.publish(&Publish::new("t/a", "kept").qos(1, 2).retain());
    client.publish(&Publish::new("t/a", "passing").qos(1, 3));
    client.publish(&Publish::new("t/a", "").qos(1, 4));
    assert_eq!(
        retained(server, version, "two", "t/a"),
        [("kept".into(), true, 1)]
    );
}

fn keeper_and_client(server: &Server, version: Version) -> Client {
    let mut keeper = server.connect(version, "keeper");
    keeper.publish(&Publish::new("t/a", "kept").qos(1, 1).retain());
    keeper.leave();
    server.connect(version, "client")
}

/// Sent when the subscription is made, each time it is made.
pub(crate) fn sent_to_each_new_subscription(server: &Server, version: Version) {
    let mut client = keeper_and_client(server, version);
    for _ in 0..2 {
        client.subscribe("t/+", 1);
        let message = client.receive();
        assert_eq!((message.text(), message.retain), ("kept", true));
        client.expect_nothing();
    }
}

/// Retain Handling 1: only where the subscription did not exist.
pub(crate) fn sent_if_the_subscription_is_new(server: &Server, version: Version) {
    let mut client = keeper_and_client(server, version);
    client.subscribe("t/a", 1 | HANDLING_IF_NEW);
    assert_eq!(client.receive().text(), "kept");
    client.subscribe("t/a", 1 | HANDLING_IF_NEW);
    client.expect_nothing();
    client.unsubscribe(&["t/a"]);
    client.subscribe("t/a", 1 | HANDLING_IF_NEW);
    assert_eq!(client.receive().text(), "kept");
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 1 | HANDLING_IF_NEW);
    assert_eq!(client.receive().text(), "kept");
    client.leave();
    let (mut client, present) = server.connect_with(&kept);
    assert!(present);
    client.subscribe("t/a", 1 | HANDLING_IF_NEW);
    client.expect_nothing();
}

/// Retain Handling 2.
pub(crate) fn never_sent_when_not_wanted(server: &Server, version: Version) {
    let mut client = keeper_and_client(server, version);
    client.subscribe("t/a", 1 | HANDLING_NEVER);
    client.expect_nothing();
    client.publish(&Publish::new("t/a", "live").qos(1, 1));
    assert_eq!(client.receive().text(), "live");
}

/// To a subscription that is there the flag is 0.
pub(crate) fn flag_is_cleared_for_the_established(server: &Server, version: Version) {
    let mut client = server.connect(version, "watcher");
    client.subscribe("t/a", 1);
    client.publish(&Publish::new("t/a", "x").qos(1, 1).retain());
    assert!(!client.receive().retain);
    client.publish(&Publish::new("t/a", "y").qos(1, 2));
    assert!(!client.receive().retain);
}

/// Retain As Published.
pub(crate) fn flag_is_kept_when_asked(server: &Server, version: Version) {
    assert_eq!(version, V5);
    let mut client = server.connect(version, "watcher");
    client.subscribe("t/a", 1 | AS_PUBLISHED);
    client.publish(&Publish::new("t/a", "x").qos(1, 1).retain());
    assert!(client.receive().retain);
    client.publish(&Publish::new("t/a", "y").qos(1, 2));
    assert!(!client.receive().retain);
}

/// 3.1.1: set for what was retained, when the subscription is made.
pub(crate) fn flag_is_set_for_a_new_subscription(server: &Server, version: Version) {
    the_last_one_is_kept_with_its_qos(server, version);
    let (mut client, _) = server.connect_with(&Connect::new(version, "again"));
    client.subscribe("t/a", 0);
    let message = client.receive();
    assert_eq!((message.retain, message.qos), (true, 0));
}
