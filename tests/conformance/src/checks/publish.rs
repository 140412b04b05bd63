//! PUBLISH: its flags and its topic.

use super::{BAD_TOPIC, MALFORMED};
use crate::answer::Answer;
use crate::server::{FORBIDDEN, Server};
use crate::wire::{self, Bytes, Connect, PUBACK, PUBREC, Publish, V5, V311, Version};

/// Not acknowledged, so sent again after the return: same identifier, DUP set.
pub(crate) fn redelivery_sets_dup(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 2);
    client.publish(&Publish::new("t/a", "one").qos(1, 1));
    let first = client.expect_message();
    client.publish(&Publish::new("t/a", "two").qos(2, 2));
    let second = client.expect_message();
    assert!(!first.dup && !second.dup, "the first attempt");
    client.cut();
    let (mut client, present) = server.connect_with(&kept);
    assert!(present);
    for before in [first, second] {
        let again = client.receive();
        assert!(again.dup, "[MQTT-3.3.1-1] a second attempt");
        assert_eq!(
            (again.packet_id, again.text()),
            (before.packet_id, before.text())
        );
    }
    client.expect_nothing();
}

pub(crate) fn dup_with_qos0_closes(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    client.send_publish(&Publish::new("t/a", "x").dup());
    client.refused_with(MALFORMED);
}

/// The strict reader refuses DUP with QoS 0; here it reads some.
pub(crate) fn qos0_comes_without_dup(server: &Server, version: Version) {
    let mut client = server.connect(version, "plain");
    client.subscribe("t/a", 0);
    client.send_publish(&Publish::new("t/a", "x"));
    client.send_publish(&Publish::new("t/a", "y").qos(1, 1).dup());
    client.await_ack(PUBACK, 1);
    let messages = client.drain();
    assert_eq!(messages.len(), 2);
    assert!(
        messages
            .iter()
            .all(|message| message.qos == 0 && !message.dup)
    );
}

pub(crate) fn dup_is_not_passed_on(server: &Server, version: Version) {
    let mut client = server.connect(version, "dup");
    client.subscribe("t/a", 2);
    client.publish(&Publish::new("t/a", "x").qos(1, 1).dup());
    assert!(!client.receive().dup);
    client.publish(&Publish::new("t/a", "x").qos(2, 2).dup());
    assert!(!client.receive().dup);
}

pub(crate) fn qos3_closes(server: &Server, version: Version) {
    for dup in [false, true] {
        let mut client = server.fresh(version);
        client.send_publish(&Publish {
            dup,
            ..Publish::new("t/a", "x").qos(3, 1)
        });
        client.refused_with(MALFORMED);
    }
}

/// No topic: nothing where it must be, or nothing in it.
pub(crate) fn topic_must_be_there(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    client.send(&[0x30, 0x00]);
    client.refused_with(MALFORMED);

    let mut client = server.fresh(version);
    client.send(&Bytes::new().two(9).raw(b"t/a").packet(0x30));
    client.refused_with(MALFORMED);

    let mut client = server.fresh(version);
    client.send_publish(&Publish::new("", "x"));
    client.refused_with(BAD_TOPIC);

    super::data::ill_formed_utf8_closes(server, version);
}

pub(crate) fn topic_must_not_contain_wildcards(server: &Server, version: Version) {
    for topic in ["t/#", "t/+", "#", "+", "t/a#", "t/a+/b", "t/+/b"] {
        let mut client = server.fresh(version);
        client.send_publish(&Publish::new(topic, "x"));
        client.refused_with(BAD_TOPIC);
    }
}

/// What arrives is what was published, under a topic that the filter matches.
pub(crate) fn topic_matches_the_filter(server: &Server, version: Version) {
    let mut client = server.connect(version, "match");
    client.subscribe("t/+/c", 0);
    for topic in ["t/a/c", "t/b/c", "t/a/d", "t//c", "t/a/c/d", "t/c"] {
        client.send_publish(&Publish::new(topic, topic));
    }
    let messages = client.drain();
    let topics: Vec<&str> = messages
        .iter()
        .map(|message| message.topic.as_str())
        .collect();
    assert_eq!(topics, ["t/a/c", "t/b/c", "t//c"]);
    assert!(
        messages
            .iter()
            .all(|message| message.topic == message.text())
    );
}

/// QoS 0: nothing; QoS 1: PUBACK; QoS 2: PUBREC.
pub(crate) fn answer_fits_the_qos(server: &Server, version: Version) {
    let mut client = server.connect(version, "answers");
    client.send_publish(&Publish::new("t/a", "x"));
    client.expect_nothing();
    client.send_publish(&Publish::new("t/a", "x").qos(1, 1));
    super::header::expect_ack(client.recv(), PUBACK, 1);
    client.send_publish(&Publish::new("t/a", "x").qos(2, 2));
    super::header::expect_ack(client.recv(), PUBREC, 2);
    client.expect_nothing();
}

/// Subscriptions that overlap: the message comes at the highest QoS among them, once or once
/// a subscription.
pub(crate) fn overlapping_subscriptions_respect_the_highest_qos(server: &Server, version: Version) {
    let mut client = server.connect(version, "overlap");
    for (filter, qos) in [("t/a/#", 1), ("t/+/b", 2), ("t/a/b", 0)] {
        client.subscribe(filter, qos);
    }
    client.publish(&Publish::new("t/a/b", "x").qos(2, 1));
    let messages = client.drain();
    assert!(
        (1..=3).contains(&messages.len()),
        "one copy, or one a subscription: {messages:?}"
    );
    assert_eq!(messages.iter().map(|message| message.qos).max(), Some(2));
}

/// A publication that is not allowed is, in 3.1.1, acknowledged or the connection is closed,
/// and reaches nobody in either case.
pub(crate) fn unauthorised_publish_is_acknowledged_or_closed(server: &Server, version: Version) {
    assert_eq!(version, V311);
    for qos in 0..=2 {
        let mut client = server.fresh(version);
        client.send_publish(&Publish::new(FORBIDDEN, "x").qos(qos, 1));
        client.send(&wire::PINGREQ);
        match client.recv() {
            None => {}
            Some(Answer::PingResp) => assert_eq!(qos, 0),
            Some(Answer::PubAck(ack)) => assert_eq!((qos, ack.packet_id), (1, 1)),
            Some(Answer::PubRec(ack)) => assert_eq!((qos, ack.packet_id), (2, 1)),
            other => panic!("an acknowledgement or closing is due, got {other:?}"),
        }
    }
}

/// MQTT 5 has a reason code for it.
pub(crate) fn refused_publish_has_a_reason(server: &Server, version: Version) {
    assert_eq!(version, V5);
    for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
        let mut client = server.fresh(version);
        client.send_publish(&Publish::new(FORBIDDEN, "x").qos(qos, 1));
        assert_eq!(client.await_ack(first, 1).reason, 0x87, "not authorized");
        client.send_publish(&Publish::new("t/nobody", "x").qos(qos, 2));
        let reason = client.await_ack(first, 2).reason;
        assert!(
            matches!(reason, 0x00 | 0x10),
            "success, or nobody subscribed: {reason:#04x}"
        );
    }
}
