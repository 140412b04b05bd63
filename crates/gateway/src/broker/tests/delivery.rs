//! Who gets what, how, and when it may leave.

use stockade_mqtt::{AckKind, RetainHandling};

use super::world::{KEPT, V5, V311, World};

#[test]
fn a_qos_0_message_leaves_at_once_and_touches_no_disk() {
    let mut w = World::new();
    let (a, b) = (w.client("a", V5), w.client("b", V311));
    w.subscribe(&b, "home/+", 2);
    let before = w.broker.bus.last();
    let _flow = w.publish(&a, "home/all", "hi", 0, 0);
    assert_eq!(b.read_up_to(0), ["PUBLISH home/all hi q0"]);
    assert_eq!(w.broker.bus.last(), before);
}

#[test]
fn an_acknowledgement_and_a_delivery_wait_for_the_disk() {
    let mut w = World::new();
    let (a, b) = (w.client("a", V5), w.client("b", V5));
    w.subscribe(&b, "home/all", 1);
    let _flow = w.publish(&a, "home/all", "hi", 1, 7);
    let written = w.broker.bus.last().get();
    assert_eq!(a.read_up_to(written - 1), Vec::<String>::new());
    assert_eq!(b.read_up_to(written - 1), Vec::<String>::new());
    assert_eq!(a.read_up_to(written), ["PUBACK #7 success"]);
    assert_eq!(b.read_up_to(written), ["PUBLISH home/all hi q1 #1"]);
}

#[test]
fn a_qos_2_message_sent_twice_is_delivered_once() {
    let mut w = World::new();
    let (a, b) = (w.client("a", KEPT), w.client("b", V311));
    w.subscribe(&b, "home/all", 2);
    for _ in 0..2 {
        let _flow = w.publish(&a, "home/all", "hi", 2, 7);
        assert_eq!(a.read(), ["PUBREC #7 success"]);
    }
    assert_eq!(b.read(), ["PUBLISH home/all hi q2 #1"]);
    let _flow = w.ack(&b, AckKind::PubRec, 1);
    assert_eq!(b.read(), ["PUBREL #1 success"]);
    let _flow = w.ack(&b, AckKind::PubComp, 1);
    let _flow = w.ack(&a, AckKind::PubRel, 7);
    assert_eq!(a.read(), ["PUBCOMP #7 success"]);
    let _flow = w.ack(&a, AckKind::PubRel, 7);
    assert_eq!(a.read(), ["PUBCOMP #7 packet identifier not found"]);
    // The identifier is free: the next message with it is another one.
    let _flow = w.publish(&a, "home/all", "new", 2, 7);
    assert_eq!(b.read(), ["PUBLISH home/all new q2 #2"]);
}

#[test]
fn the_window_of_a_client_is_never_exceeded_and_order_is_kept() {
    let mut w = World::new();
    let a = w.client("a", V5);
    let b = w.client(
        "b",
        super::world::How {
            window: Some(2),
            ..V5
        },
    );
    w.subscribe(&b, "home/all", 1);
    for n in 1..=4 {
        let _flow = w.publish(&a, "home/all", &n.to_string(), 1, n);
    }
    assert_eq!(
        b.read(),
        ["PUBLISH home/all 1 q1 #1", "PUBLISH home/all 2 q1 #2"]
    );
    let _flow = w.ack(&b, AckKind::PubAck, 1);
    assert_eq!(b.read(), ["PUBLISH home/all 3 q1 #3"]);
    let _flow = w.ack(&b, AckKind::PubAck, 1);
    assert_eq!(b.read(), Vec::<String>::new());
}

#[test]
fn a_retained_message_meets_later_subscribers_until_an_empty_one_removes_it() {
    let mut w = World::new();
    let a = w.client("a", V5);
    let _flow = w.publish_with(&a, "home/all", "state", (1, 1), |p| p.retain = true);
    let b = w.client("b", V5);
    assert_eq!(
        w.subscribe(&b, "home/#", 1),
        [
            "SUBACK granted QoS 1",
            "PUBLISH home/all state q1 #1 retained"
        ]
    );
    let again = w.subscribe_with(&b, "home/#", 1, None, |s| {
        s.retain_handling = RetainHandling::SendIfNew;
    });
    assert_eq!(again, ["SUBACK granted QoS 1"]);
    let never = w.subscribe_with(&b, "home/all", 0, None, |s| {
        s.retain_handling = RetainHandling::DoNotSend;
    });
    assert_eq!(never, ["SUBACK success"]);
    let _flow = w.publish_with(&a, "home/all", "", (0, 0), |p| p.retain = true);
    assert_eq!(b.read(), ["PUBLISH home/all  q0"]);
    let c = w.client("c", V5);
    assert_eq!(w.subscribe(&c, "home/all", 1), ["SUBACK granted QoS 1"]);
}

#[test]
fn overlapping_subscriptions_get_one_copy_with_every_identifier_and_the_highest_qos() {
    let mut w = World::new();
    let (a, b) = (w.client("a", V5), w.client("b", V5));
    w.subscribe_with(&b, "home/all", 0, Some(5), |_| ());
    w.subscribe_with(&b, "home/#", 2, Some(6), |_| ());
    let _flow = w.publish(&a, "home/all", "x", 1, 1);
    assert_eq!(b.read(), ["PUBLISH home/all x q1 #1 ids=5,6"]);
}

#[test]
fn no_local_and_retain_as_published_are_kept() {
    let mut w = World::new();
    let (a, b) = (w.client("a", V5), w.client("b", V5));
    w.subscribe_with(&a, "home/all", 0, None, |s| s.no_local = true);
    w.subscribe_with(&b, "home/all", 0, None, |s| s.retain_as_published = true);
    let _flow = w.publish_with(&a, "home/all", "x", (0, 0), |p| p.retain = true);
    assert_eq!(a.read(), Vec::<String>::new());
    assert_eq!(b.read(), ["PUBLISH home/all x q0 retained"]);
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_who_is_there() {
    let mut w = World::new();
    let (a, b, c) = (w.client("a", V5), w.client("b", KEPT), w.client("c", V5));
    w.subscribe(&b, "$share/g/home/all", 1);
    w.subscribe(&c, "$share/g/home/all", 1);
    for n in 1..=4 {
        let _flow = w.publish(&a, "home/all", &n.to_string(), 1, n);
    }
    assert_eq!((b.read().len(), c.read().len()), (2, 2));
    w.drop_connection(&b);
    for n in 1..=2 {
        let _flow = w.publish(&a, "home/all", &n.to_string(), 1, n);
    }
    assert_eq!(c.read().len(), 2);
}

#[test]
fn topic_aliases_work_in_both_directions() {
    let mut w = World::new();
    let a = w.client("a", V5);
    let b = w.client(
        "b",
        super::world::How {
            aliases: Some(1),
            ..V5
        },
    );
    w.subscribe(&b, "home/#", 0);
    let alias = std::num::NonZeroU16::new(3);
    let _flow = w.publish_with(&a, "home/all", "1", (0, 0), |p| {
        p.properties.topic_alias = alias;
    });
    for n in ["2", "3"] {
        let _flow = w.publish_with(&a, "", n, (0, 0), |p| p.properties.topic_alias = alias);
    }
    let _flow = w.publish(&a, "home/a/up", "4", 0, 0);
    assert_eq!(
        b.read(),
        [
            "PUBLISH home/all 1 q0 alias=1",
            "PUBLISH  2 q0 alias=1",
            "PUBLISH  3 q0 alias=1",
            "PUBLISH home/a/up 4 q0"
        ]
    );
}

#[test]
fn a_message_waits_no_longer_than_it_lives_and_says_how_long_is_left() {
    let mut w = World::new();
    let a = w.client("a", V5);
    let b = w.client("b", KEPT);
    w.subscribe(&b, "home/all", 1);
    w.drop_connection(&b);
    for (n, life) in [(1, 5), (2, 20)] {
        let _flow = w.publish_with(&a, "home/all", &n.to_string(), (1, n), |p| {
            p.properties.message_expiry = Some(life);
        });
    }
    w.pass(10);
    let b = w.connect("b", KEPT);
    assert_eq!(
        b.read(),
        [
            "CONNACK success present",
            "PUBLISH home/all 2 q1 #1 expiry=10"
        ]
    );
}

#[test]
fn a_slow_reader_loses_qos_0_only_and_nobody_else_waits() {
    let mut w = World::with(super::super::Limits {
        outbox_bytes: 100,
        ..Default::default()
    });
    let (a, b, c) = (w.client("a", V5), w.client("b", V5), w.client("c", V5));
    w.subscribe(&b, "home/#", 1);
    w.subscribe(&c, "home/#", 1);
    let text = "x".repeat(60);
    for n in 1..=4 {
        let _flow = w.publish(&a, "home/all", &text, u8::from(n > 2), n);
        assert_eq!(c.read().len(), 1);
        let _flow = w.ack(&c, AckKind::PubAck, n.saturating_sub(2).max(1));
    }
    assert_eq!(b.read().len(), 2);
    w.pass(1);
    assert_eq!(b.read().len(), 2);
    assert_eq!(w.broker.counters().now().dropped_slow, 0);
    for n in 1..=4 {
        let _flow = w.publish(&a, "home/all", &text, 0, n);
        assert_eq!(c.read().len(), 1);
    }
    assert_eq!(w.broker.counters().now().dropped_slow, 2);
}

#[test]
fn a_queue_that_is_full_drops_its_oldest_and_asks_senders_to_slow_down() {
    let mut w = World::with(super::super::Limits {
        queue_messages: 3,
        ..Default::default()
    });
    let a = w.client("a", V5);
    let b = w.client(
        "b",
        super::world::How {
            window: Some(1),
            ..KEPT
        },
    );
    w.subscribe(&b, "home/all", 1);
    for n in 1..=3 {
        let _flow = w.publish(&a, "home/all", &n.to_string(), 1, n);
    }
    assert!(w.congested);
    for n in 4..=6 {
        let _flow = w.publish(&a, "home/all", &n.to_string(), 1, n);
    }
    assert_eq!(w.broker.counters().now().dropped_queue, 2);
    assert_eq!(b.read(), ["PUBLISH home/all 1 q1 #1"]);
    let _flow = w.ack(&b, AckKind::PubAck, 1);
    assert_eq!(b.read(), ["PUBLISH home/all 4 q1 #2"]);
}

#[test]
fn a_packet_larger_than_the_client_takes_is_not_sent_and_the_next_one_is() {
    let mut w = World::new();
    let a = w.client("a", V5);
    let b = w.client(
        "b",
        super::world::How {
            max_packet: Some(40),
            ..KEPT
        },
    );
    w.subscribe(&b, "home/all", 1);
    let _flow = w.publish(&a, "home/all", &"x".repeat(60), 1, 1);
    let _flow = w.publish(&a, "home/all", "small", 1, 2);
    assert_eq!(b.read(), ["PUBLISH home/all small q1 #1"]);
}

#[test]
fn telemetry_goes_to_the_vault_in_the_same_write_as_the_message() {
    let mut w = World::new();
    let a = w.client("a", V5);
    let _flow = w.publish(&a, "home/data", "{}", 1, 1);
    let last = w.broker.bus.last().get();
    assert_eq!(a.read_up_to(last), ["PUBACK #1 no matching subscribers"]);
    drop(w.broker);
    let dir = w.dir;
    drop(w.disk);
    let journal = super::world::journal(dir.path());
    let records = stockade_store::Bus::read(
        &journal,
        stockade_store::Stream::Telemetry,
        stockade_store::Seq::ZERO,
        10,
    )
    .unwrap();
    let record = stockade_store::telemetry::Record::decode(&records[0].1).unwrap();
    assert_eq!(
        (&*record.device, &*record.schema, &*record.payload),
        ("a", "motion", &b"{}"[..])
    );
}
