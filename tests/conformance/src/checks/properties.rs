//! Properties of PUBLISH (MQTT 5).

use super::{BAD_TOPIC, MALFORMED, pass_expiry};
use crate::answer::Message;
use crate::server::Server;
use crate::wire::{Connect, Properties, Publish, Version, id};

/// Publishes with properties; what arrives for two subscribers, one of them away at first.
fn forwarded(server: &Server, version: Version, properties: &Properties) -> [Message; 2] {
    let kept = Connect::persistent(version, "away");
    let (mut away, _) = server.connect_with(&kept);
    away.subscribe("t/p", 1);
    away.leave();
    let mut here = server.connect(version, "here");
    here.subscribe("t/p", 1);
    let mut publisher = server.connect(version, "source");
    publisher.publish(&Publish::new("t/p", "x").qos(1, 1).with(properties.clone()));
    let first = here.receive();
    let (mut away, _) = server.connect_with(&kept);
    [first, away.receive()]
}

pub(crate) fn payload_format_is_forwarded(server: &Server, version: Version) {
    for message in forwarded(
        server,
        version,
        &Properties::new().byte(id::PAYLOAD_FORMAT, 1),
    ) {
        assert_eq!(message.properties.number(id::PAYLOAD_FORMAT), Some(1));
    }
}

pub(crate) fn response_topic_is_forwarded(server: &Server, version: Version) {
    for message in forwarded(
        server,
        version,
        &Properties::new().text(id::RESPONSE_TOPIC, "t/answer/é"),
    ) {
        assert_eq!(
            message.properties.text(id::RESPONSE_TOPIC),
            Some("t/answer/é")
        );
    }
}

pub(crate) fn correlation_data_are_forwarded(server: &Server, version: Version) {
    let data = [0u8, 1, 0xFF, 0xC3, 0x28];
    for message in forwarded(
        server,
        version,
        &Properties::new().field(id::CORRELATION_DATA, &data),
    ) {
        assert_eq!(
            message.properties.binary(id::CORRELATION_DATA),
            Some(&data[..])
        );
    }
}

pub(crate) fn content_type_is_forwarded(server: &Server, version: Version) {
    for message in forwarded(
        server,
        version,
        &Properties::new().text(id::CONTENT_TYPE, "text/plain"),
    ) {
        assert_eq!(
            message.properties.text(id::CONTENT_TYPE),
            Some("text/plain")
        );
    }
}

pub(crate) fn user_properties_are_forwarded_in_order(server: &Server, version: Version) {
    let properties = Properties::new()
        .user("z", "1")
        .user("a", "2")
        .user("z", "1")
        .user("", "");
    for message in forwarded(server, version, &properties) {
        assert_eq!(
            message.properties.pairs(),
            [("z", "1"), ("a", "2"), ("z", "1"), ("", "")]
        );
    }
}

fn refused(server: &Server, version: Version, properties: Properties, reasons: &[u8]) {
    let mut client = server.fresh(version);
    client.send_publish(&Publish::new("t/a", "x").with(properties));
    client.refused_with(reasons);
}

pub(crate) fn response_topic_is_utf8(server: &Server, version: Version) {
    for text in [&b"t/\xC3\x28"[..], b"t/\xED\xA0\x80", b"t/\0"] {
        refused(
            server,
            version,
            Properties::new().field(id::RESPONSE_TOPIC, text),
            BAD_TOPIC,
        );
    }
}

pub(crate) fn response_topic_has_no_wildcards(server: &Server, version: Version) {
    for text in ["t/#", "t/+/a", "#", "+"] {
        refused(
            server,
            version,
            Properties::new().text(id::RESPONSE_TOPIC, text),
            BAD_TOPIC,
        );
    }
}

pub(crate) fn content_type_is_utf8(server: &Server, version: Version) {
    for text in [&b"\xC3\x28"[..], b"\xED\xA0\x80", b"\0"] {
        refused(
            server,
            version,
            Properties::new().field(id::CONTENT_TYPE, text),
            MALFORMED,
        );
    }
}

pub(crate) fn subscription_identifier_from_a_client_closes(server: &Server, version: Version) {
    refused(
        server,
        version,
        Properties::new().varint(id::SUBSCRIPTION_ID, 1),
        MALFORMED,
    );
}

/// What has expired before delivery could begin is not delivered; what has not, is.
pub(crate) fn an_expired_message_is_not_delivered(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "away");
    let (mut away, _) = server.connect_with(&kept);
    away.subscribe("t/p", 1);
    away.leave();
    let mut publisher = server.connect(version, "source");
    let brief = Properties::new().four(id::MESSAGE_EXPIRY, 1);
    let long = Properties::new().four(id::MESSAGE_EXPIRY, 100);
    publisher.publish(&Publish::new("t/p", "brief").qos(1, 1).with(brief.clone()));
    publisher.publish(&Publish::new("t/p", "long").qos(1, 2).with(long));
    publisher.publish(
        &Publish::new("t/r", "retained")
            .qos(1, 3)
            .with(brief)
            .retain(),
    );
    pass_expiry();
    let (mut away, _) = server.connect_with(&kept);
    assert_eq!(away.drain_texts(), ["long"]);
    let mut later = server.connect(version, "later");
    later.subscribe("t/r", 1);
    later.expect_nothing();
}

/// The interval that arrives is what is left of it.
pub(crate) fn expiry_counts_the_time_it_waited(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "away");
    let (mut away, _) = server.connect_with(&kept);
    away.subscribe("t/p", 1);
    away.leave();
    let mut here = server.connect(version, "here");
    here.subscribe("t/p", 1);
    let expiry = Properties::new().four(id::MESSAGE_EXPIRY, 100);
    here.publish(&Publish::new("t/p", "x").qos(1, 1).with(expiry));
    let at_once = here
        .receive()
        .properties
        .number(id::MESSAGE_EXPIRY)
        .expect("an interval");
    assert!((99..=100).contains(&at_once), "{at_once}");
    let expiry = Properties::new().four(id::MESSAGE_EXPIRY, 100);
    here.publish(&Publish::new("t/r", "x").qos(1, 2).with(expiry).retain());
    pass_expiry();
    here.subscribe("t/r", 1);
    let left = here
        .receive()
        .properties
        .number(id::MESSAGE_EXPIRY)
        .expect("an interval");
    assert!((90..=99).contains(&left), "of the retained message: {left}");
    let (mut away, _) = server.connect_with(&kept);
    let left = away
        .receive()
        .properties
        .number(id::MESSAGE_EXPIRY)
        .expect("an interval");
    assert!((90..=99).contains(&left), "{left}");
}

/// Overlapping subscriptions: each message names the subscriptions for which it is sent.
pub(crate) fn subscription_identifiers_are_sent(server: &Server, version: Version) {
    let mut client = server.connect(version, "overlap");
    for (number, filter) in [(1, "t/a/#"), (268_435_455, "t/+/b"), (300, "t/c")] {
        let properties = Properties::new().varint(id::SUBSCRIPTION_ID, number);
        client.subscribe_with(&properties, &[(filter, 1)]);
    }
    client.subscribe("t/a/b", 1);
    client.publish(&Publish::new("t/a/b", "x").qos(1, 1));
    let messages = client.drain();
    let mut all: Vec<u32> = Vec::new();
    for message in &messages {
        let numbers = message.properties.numbers(id::SUBSCRIPTION_ID);
        if messages.len() == 1 {
            assert_eq!(
                numbers,
                [1, 268_435_455],
                "[MQTT-3.3.4-4] one copy, all identifiers"
            );
        } else {
            assert!(
                numbers.len() <= 1,
                "[MQTT-3.3.4-5] each copy its own identifier: {numbers:?}"
            );
        }
        all.extend(numbers);
    }
    all.sort_unstable();
    assert_eq!(all, [1, 268_435_455]);
}

/// A retained message, too, names the subscription for which it is sent; one subscription
/// replaced by another has the identifier of the new one.
pub(crate) fn a_replaced_subscription_has_its_new_identifier(server: &Server, version: Version) {
    let mut client = server.connect(version, "replace");
    client.publish(&Publish::new("t/a", "x").qos(1, 1).retain());
    for number in [7, 8] {
        let properties = Properties::new().varint(id::SUBSCRIPTION_ID, number);
        client.subscribe_with(&properties, &[("t/a", 1)]);
        let expected = u32::try_from(number).expect("small");
        assert_eq!(
            client.receive().properties.numbers(id::SUBSCRIPTION_ID),
            [expected]
        );
    }
    client.subscribe("t/a", 1);
    assert_eq!(
        client.receive().properties.numbers(id::SUBSCRIPTION_ID),
        Vec::<u32>::new()
    );
}
