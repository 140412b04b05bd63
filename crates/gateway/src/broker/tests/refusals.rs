//! What is refused, with which word, and that nothing else happens.

use std::sync::atomic::Ordering;

use stockade_mqtt::{AckKind, Auth, AuthProperties, Packet, ReasonCode};

use super::super::Flow;
use super::world::{How, KEPT, V5, V311, World};

#[test]
fn a_topic_the_profile_does_not_name_is_refused_counted_and_reaches_nobody() {
    let mut w = World::new();
    let (a, b) = (w.client("a", V5), w.client("b", V5));
    w.subscribe(&b, "home/#", 2);
    for qos in [1, 2] {
        assert_eq!(w.publish(&a, "home/b/up", "x", qos, 3), Flow::Continue);
    }
    assert_eq!(
        a.read(),
        ["PUBACK #3 not authorized", "PUBREC #3 not authorized"]
    );
    assert_eq!(
        w.told()[0],
        "publishes to `home/b/up`, its profile allows only `home/all`, `home/a/up`, `home/slow` and others"
    );
    assert_eq!(w.publish(&a, "home/b/up", "x", 0, 0), Flow::Close);
    assert_eq!(a.read(), ["DISCONNECT not authorized", "closed"]);
    let old = w.client("a", V311);
    assert_eq!(w.publish(&old, "$SYS/x", "x", 1, 1), Flow::Close);
    assert_eq!(old.read(), ["closed"]);
    assert_eq!(b.read(), Vec::<String>::new());
    assert_eq!(w.broker.counters().now().refused_publish, 4);
}

#[test]
fn a_payload_or_a_rate_above_the_rule_is_refused() {
    let mut w = World::new();
    let a = w.client("a", V5);
    let _flow = w.publish(&a, "home/all", &"x".repeat(101), 1, 1);
    assert_eq!(a.read(), ["PUBACK #1 quota exceeded"]);
    for n in 2..=4 {
        let _flow = w.publish(&a, "home/slow", "x", 1, n);
    }
    let answers = a.read();
    assert_eq!(answers[2], "PUBACK #4 quota exceeded");
    assert_eq!(
        w.told(),
        [
            "publishes 101 bytes to `home/all`, its profile allows 100",
            "publishes to `home/slow` more often than its profile allows (2/s)"
        ]
    );
    // A second session of the device has no second rate.
    let other = w.client("a/2", V5);
    let _flow = w.publish(&other, "home/slow", "x", 1, 1);
    assert_eq!(other.read(), ["PUBACK #1 quota exceeded"]);
}

#[test]
fn a_filter_wider_than_the_profile_is_refused_shared_or_not_in_both_versions() {
    let mut w = World::new();
    w.filter = "home/+/up".to_owned();
    let (a, old) = (w.client("a", V5), w.client("b", V311));
    for filter in [
        "home/#",
        "+/+/up",
        "$share/g/home/#",
        "$SYS/#",
        "home/a/up/x",
    ] {
        assert_eq!(
            w.subscribe(&a, filter, 1),
            ["SUBACK not authorized"],
            "{filter}"
        );
        assert_eq!(
            w.subscribe(&old, filter, 1),
            ["SUBACK unspecified error"],
            "{filter}"
        );
    }
    assert_eq!(
        w.subscribe(&old, "$share/g/home/a/up", 1),
        ["SUBACK unspecified error"]
    );
    assert_eq!(
        w.subscribe(&a, "$share/g/home/a/up", 1),
        ["SUBACK granted QoS 1"]
    );
    assert_eq!(w.told().len(), 11);
}

#[test]
fn nobody_connects_under_another_name_or_with_a_will_beyond_its_profile() {
    let mut w = World::new();
    let mine = super::world::policy("a", 1, "home/#", false);
    for foreign in [
        "b",
        "a2",
        "a/",
        "a/x/y",
        "a/ü",
        "a/123456789012345678901234567890123",
    ] {
        let refused = w.connect_as(foreign, V5, std::sync::Arc::clone(&mine));
        assert_eq!(
            refused.read(),
            ["CONNACK client identifier not valid", "closed"],
            "{foreign}"
        );
    }
    let will = How {
        will: Some(("home/b/up", "x", 0)),
        ..V5
    };
    assert_eq!(
        w.connect("a", will).read(),
        ["CONNACK not authorized", "closed"]
    );
    assert_eq!(w.told().len(), 7);
    assert_eq!(w.connect_as("", V5, mine).read(), ["CONNACK success"]);
    assert_eq!(
        w.broker.by_client.keys().map(|k| &**k).collect::<Vec<_>>(),
        ["a"]
    );
}

#[test]
fn what_the_protocol_forbids_ends_the_connection_with_its_reason() {
    let alias = std::num::NonZeroU16::new;
    let auth = Auth {
        reason: ReasonCode::ReAuthenticate,
        properties: AuthProperties::default(),
    };
    let mut w = World::new();
    let a = w.client("a", V5);
    let _flow = w.publish_with(&a, "home/all", "x", (0, 0), |p| {
        p.properties.topic_alias = alias(17);
    });
    assert_eq!(a.read(), ["DISCONNECT topic alias invalid", "closed"]);
    let a = w.client("a", V5);
    let _flow = w.publish_with(&a, "", "x", (0, 0), |p| p.properties.topic_alias = alias(5));
    assert_eq!(a.read(), ["DISCONNECT protocol error", "closed"]);
    let a = w.client("a", V5);
    if let Some(handle) = a.handle {
        let _flow = w.turn(|b, out| b.handle_packet(handle, &Packet::Auth(auth), out));
    }
    assert_eq!(a.read(), ["DISCONNECT protocol error", "closed"]);
}

#[test]
fn more_open_qos_2_messages_than_announced_end_the_connection() {
    let mut w = World::with(super::super::Limits {
        receive_maximum: 2,
        ..Default::default()
    });
    let a = w.client("a", V5);
    for n in 1..=3 {
        let _flow = w.publish(&a, "home/all", "x", 2, n);
    }
    assert_eq!(a.read()[2], "DISCONNECT receive maximum exceeded");
}

#[test]
fn a_disk_that_refuses_makes_the_gateway_refuse_and_it_recovers() {
    let mut w = World::new();
    let (a, old) = (w.client("a", V5), w.client("b", V311));
    let kept = w.client("c", KEPT);
    w.subscribe(&kept, "home/all", 1);
    w.disk.mood.store(2, Ordering::Relaxed);
    let _flow = w.publish(&a, "home/all", "x", 1, 1);
    let _flow = w.publish(&a, "home/all", "x", 2, 2);
    assert_eq!(
        a.read(),
        ["PUBACK #1 quota exceeded", "PUBREC #2 quota exceeded"]
    );
    assert_eq!(w.publish(&old, "home/all", "x", 1, 1), Flow::Close);
    assert_eq!(old.read(), ["closed"]);
    assert_eq!(kept.read(), Vec::<String>::new());
    assert_eq!(
        w.connect("d", KEPT).read(),
        ["CONNACK server unavailable", "closed"]
    );
    // QoS 0 needs no disk.
    let _flow = w.publish(&a, "home/all", "zero", 0, 0);
    assert_eq!(kept.read(), ["PUBLISH home/all zero q0"]);
    assert_eq!(
        w.told(),
        ["ALARM the journal takes no records: no space left on device"]
    );
    w.disk.mood.store(0, Ordering::Relaxed);
    let _flow = w.publish(&a, "home/all", "again", 1, 3);
    assert_eq!(a.read(), ["PUBACK #3 success"]);
    assert_eq!(kept.read(), ["PUBLISH home/all again q1 #1"]);
}

#[test]
fn while_the_disk_refuses_exchanges_end_or_wait_and_pings_are_answered() {
    let mut w = World::new();
    let (a, kept) = (w.client("a", V5), w.client("c", KEPT));
    w.subscribe(&kept, "home/all", 2);
    let _flow = w.publish(&a, "home/all", "one", 1, 1);
    let _flow = w.publish(&a, "home/all", "two", 2, 2);
    assert_eq!(kept.read().len(), 2);
    w.disk.mood.store(2, Ordering::Relaxed);
    assert_eq!(w.ack(&kept, AckKind::PubAck, 1), Flow::Continue);
    assert_eq!(w.send(&kept, &Packet::PingReq), Flow::Continue);
    assert_eq!(kept.read(), ["PINGRESP"]);
    assert_eq!(w.ack(&kept, AckKind::PubRec, 2), Flow::Close);
    assert_eq!(kept.read(), ["DISCONNECT quota exceeded", "closed"]);
    w.disk.mood.store(0, Ordering::Relaxed);
    let kept = w.connect("c", KEPT);
    assert_eq!(
        kept.read(),
        ["CONNACK success present", "PUBLISH home/all two q2 #2 dup"]
    );
}

#[test]
fn a_full_journal_buffer_takes_nothing_and_counts_nothing() {
    let mut w = World::new();
    let a = w.client("a", V5);
    w.disk.mood.store(1, Ordering::Relaxed);
    for _ in 0..5 {
        assert_eq!(w.publish(&a, "home/slow", "x", 1, 1), Flow::Retry);
    }
    assert_eq!(a.read(), Vec::<String>::new());
    w.disk.mood.store(0, Ordering::Relaxed);
    assert_eq!(w.publish(&a, "home/slow", "x", 1, 1), Flow::Continue);
    assert_eq!(a.read(), ["PUBACK #1 no matching subscribers"]);
    assert_eq!(w.told(), Vec::<String>::new());
}
