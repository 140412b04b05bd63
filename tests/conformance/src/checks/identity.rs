//! Client identifiers.

use super::session;
use crate::server::{Server, Which, which};
use crate::wire::{Connect, KEPT, Properties, Publish, V5, V311, Version, id};

/// Two names, two sessions; one name, one session.
pub(crate) fn client_id_names_the_session(server: &Server, version: Version) {
    let (mut one, _) = server.connect_with(&Connect::persistent(version, "one"));
    one.subscribe("t/one", 1);
    one.leave();
    let (mut two, present) = server.connect_with(&Connect::persistent(version, "two"));
    assert!(!present, "another client's session");
    two.publish(&Publish::new("t/one", "for one").qos(1, 1));
    two.expect_nothing();
    let (mut one, present) = server.connect_with(&Connect::persistent(version, "one"));
    assert!(present);
    assert_eq!(one.receive().text(), "for one");
}

/// Names of 1 to 23 bytes of digits and letters. A device of ours has a lower-case name, and
/// upper-case letters in the slot after it.
pub(crate) fn short_client_ids_are_accepted(server: &Server, version: Version) {
    let mut names = vec![
        "a",
        "7",
        "0123456789",
        "abcdefghijklmnopqrstuvw",
        "xyz0123456789abcdefghij",
    ];
    match which() {
        Which::Ours => names.extend(["a/ABCDEFGHIJKLMNOPQRSTU", "a/VWXYZ"]),
        Which::Mosquitto => names.extend(["ABCDEFGHIJKLMNOPQRSTUVW", "XYZ"]),
    }
    for name in names {
        let (mut client, _) = server.connect_with(&Connect::new(version, name));
        client.expect_nothing();
        client.leave();
    }
}

pub(crate) fn empty_client_id_gets_a_name(server: &Server, version: Version) {
    let mut client = server.open(version, "nameless");
    let connack = client.connect(&Connect::new(version, ""));
    assert_eq!(connack.reason, 0);
    if version == V5 {
        let name = connack
            .properties
            .text(id::ASSIGNED_CLIENT_ID)
            .expect("[MQTT-3.2.2-16]");
        assert!(!name.is_empty());
    }
    client.subscribe("t/a", 1);
    client.publish(&Publish::new("t/a", "x").qos(1, 1));
    assert_eq!(client.receive().text(), "x");
}

/// The name that was assigned is as good as one that was given: its session is resumed.
pub(crate) fn assigned_name_is_the_sessions_name(server: &Server, version: Version) {
    let connect = Connect::new(version, "").with(Properties::new().four(id::SESSION_EXPIRY, KEPT));
    let mut client = server.open(version, "nameless");
    let connack = client.connect(&connect);
    let name = connack
        .properties
        .text(id::ASSIGNED_CLIENT_ID)
        .expect("an assigned name")
        .to_owned();
    client.subscribe("t/a", 1);
    client.leave();
    let mut back = server.open(version, "nameless");
    let connack = back.connect(&Connect::persistent(version, &name));
    assert_eq!((connack.reason, connack.session_present), (0, true));
    assert_eq!(
        connack.properties.text(id::ASSIGNED_CLIENT_ID),
        None,
        "this name was given"
    );
}

/// Each nameless client gets a name that no session has.
pub(crate) fn assigned_names_are_unique(server: &Server, version: Version) {
    let mut clients = Vec::new();
    let mut names = Vec::new();
    for _ in 0..3 {
        let mut client = server.open(version, "nameless");
        let connect =
            Connect::new(version, "").with(Properties::new().four(id::SESSION_EXPIRY, KEPT));
        let connack = client.connect(&connect);
        names.push(
            connack
                .properties
                .text(id::ASSIGNED_CLIENT_ID)
                .expect("a name")
                .to_owned(),
        );
        clients.push(client);
    }
    let mut distinct = names.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
    for client in &mut clients {
        client.expect_nothing();
    }
}

/// 3.1.1: without a name there is nothing to resume.
pub(crate) fn empty_client_id_needs_a_clean_session(server: &Server, version: Version) {
    let mut client = server.open(version, "nameless");
    let connack = client.connect(&Connect::new(version, "").clean(false));
    assert_eq!(connack.reason, 0x02, "identifier rejected");
    assert!(client.until_closed().is_empty());
}

pub(crate) fn refused_client_id_closes(server: &Server, version: Version) {
    let Some(name) = server.refused_client_id() else {
        // The reference takes any name but, in 3.1.1, the empty one of a stored session.
        if version == V311 {
            empty_client_id_needs_a_clean_session(server, version);
        }
        return;
    };
    let mut client = server.open(version, "rightful");
    let connack = client.connect(&Connect::new(version, name));
    assert_eq!(connack.reason, if version == V5 { 0x85 } else { 0x02 });
    assert!(client.until_closed().is_empty());
}

/// Further checks of a CONNECT: here that the name is the certificate's.
pub(crate) fn further_checks_close(server: &Server, version: Version) {
    refused_client_id_closes(server, version);
}

pub(crate) fn newcomer_takes_over(server: &Server, version: Version) {
    let mut first = server.connect(version, "same");
    let mut second = server.connect(version, "same");
    let reason = first.refused();
    assert!(
        matches!(reason, None | Some(0x8E)),
        "session taken over, got {reason:02x?}"
    );
    if version == V5 {
        assert_eq!(reason, Some(0x8E));
    }
    second.expect_nothing();
}

/// Clean Start counts for a take-over too.
pub(crate) fn clean_start_is_processed(server: &Server, version: Version) {
    session::clean_discards(server, version);
    let (mut first, _) = server.connect_with(&Connect::persistent(version, "same"));
    first.subscribe("t/a", 1);
    let (mut second, present) = server.connect_with(&Connect::persistent(version, "same"));
    assert!(present, "the living session is resumed");
    second.publish(&Publish::new("t/a", "x").qos(1, 1));
    assert_eq!(second.receive().text(), "x");
    let (mut third, present) = server.connect_with(&Connect::new(version, "same"));
    assert!(!present, "the living session is discarded");
    third.publish(&Publish::new("t/a", "y").qos(1, 1));
    third.expect_nothing();
}
