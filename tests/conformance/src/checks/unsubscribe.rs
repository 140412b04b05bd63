//! UNSUBSCRIBE, UNSUBACK and PINGREQ.

use super::{BAD_TOPIC, MALFORMED};
use crate::answer::Answer;
use crate::server::Server;
use crate::wire::{self, Connect, PINGREQ, PUBCOMP, PUBREC, PUBREL, Publish, V5, Version};

pub(crate) fn filters_are_utf8(server: &Server, version: Version) {
    for filter in [&b"t/\xC3\x28"[..], b"t/\xED\xA0\x80", b"t/a\0"] {
        let mut client = server.fresh(version);
        client.send(&wire::unsubscribe(version, 1, &[b"t/a", filter]));
        client.refused_with(BAD_TOPIC);
    }
}

pub(crate) fn needs_a_filter(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    client.send(&wire::unsubscribe(version, 1, &[]));
    client.refused_with(MALFORMED);
}

/// Filters are compared as they are: one that merely matches deletes nothing.
pub(crate) fn filters_are_compared_exactly(server: &Server, version: Version) {
    let mut client = server.connect(version, "exact");
    client.subscribe("t/+/b", 1);
    for other in ["t/a/b", "t/#", "t/+/B", "t/+/b/", "t/+/+", "#"] {
        client.unsubscribe(&[other]);
    }
    client.publish(&Publish::new("t/a/b", "still").qos(1, 1));
    assert_eq!(client.receive().text(), "still");
    client.unsubscribe(&["t/+/b"]);
    client.publish(&Publish::new("t/a/b", "gone").qos(1, 2));
    client.expect_nothing();
}

pub(crate) fn nothing_new_comes_after_it(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "leaver");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 1);
    client.publish(&Publish::new("t/a", "before").qos(1, 1));
    assert_eq!(client.receive().text(), "before");
    client.unsubscribe(&["t/a"]);
    client.publish(&Publish::new("t/a", "after").qos(1, 2));
    client.expect_nothing();
    client.leave();
    let (mut client, present) = server.connect_with(&kept);
    assert!(present);
    client.publish(&Publish::new("t/a", "later").qos(1, 3));
    client.expect_nothing();
}

/// What was being delivered is delivered to the end.
pub(crate) fn what_was_begun_is_completed(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "leaver");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 2);
    client.publish(&Publish::new("t/a", "one").qos(1, 1));
    client.publish(&Publish::new("t/a", "two").qos(2, 2));
    let (one, two) = (client.expect_message(), client.expect_message());
    client.unsubscribe(&["t/a"]);
    client.cut();
    let (mut client, _) = server.connect_with(&kept);
    let again = client.expect_message();
    assert_eq!((again.packet_id, again.text()), (one.packet_id, "one"));
    client.finish(&again);
    let again = client.expect_message();
    assert_eq!((again.packet_id, again.text()), (two.packet_id, "two"));
    client.send(&wire::ack(PUBREC, two.packet_id));
    client.await_ack(PUBREL, two.packet_id);
    client.send(&wire::ack(PUBCOMP, two.packet_id));
    client.expect_nothing();
}

/// Answered although there was nothing to delete.
pub(crate) fn is_answered_always(server: &Server, version: Version) {
    let mut client = server.connect(version, "asks");
    client.subscribe("t/a", 0);
    for (packet_id, filter) in [(7, "t/a"), (8, "t/a"), (9, "t/never")] {
        client.send(&wire::unsubscribe(version, packet_id, &[filter.as_bytes()]));
        match client.recv() {
            Some(Answer::UnsubAck(codes)) => assert_eq!(codes.packet_id, packet_id),
            other => panic!("UNSUBACK is due, got {other:?}"),
        }
    }
}

/// Many filters: all deleted, one answer; in MQTT 5 a code a filter, in order.
pub(crate) fn many_filters_one_answer(server: &Server, version: Version) {
    let mut client = server.connect(version, "many");
    for filter in ["t/a", "t/b", "t/c"] {
        client.subscribe(filter, 1);
    }
    let codes = client.unsubscribe(&["t/a", "t/never", "t/b"]).codes;
    if version == V5 {
        assert_eq!(codes, [0x00, 0x11, 0x00]);
    } else {
        assert!(codes.is_empty(), "3.1.1 has no codes here: {codes:02x?}");
    }
    client.expect_nothing();
    for topic in ["t/a", "t/b", "t/c"] {
        client.publish(&Publish::new(topic, topic).qos(1, 1));
    }
    assert_eq!(client.drain_texts(), ["t/c"]);
}

pub(crate) fn ping_is_answered(server: &Server, version: Version) {
    let mut client = server.connect(version, "ping");
    for _ in 0..3 {
        client.send(&PINGREQ);
        assert_eq!(client.recv(), Some(Answer::PingResp));
    }
    client.send(&[PINGREQ, PINGREQ].concat());
    assert_eq!(client.recv(), Some(Answer::PingResp));
    assert_eq!(client.recv(), Some(Answer::PingResp));
}
