//! Sessions and connections: begin, end, take-over, wills, clones.

use stockade_mqtt::{AckKind, Disconnect, Packet, ReasonCode};

use super::world::{How, KEPT, V5, V311, World};

const WILL: How = How {
    will: Some(("home/all", "lost", 0)),
    ..V5
};

#[test]
fn a_session_that_is_kept_queues_and_sends_again_with_the_same_identifiers() {
    for how in [
        KEPT,
        How {
            version: stockade_mqtt::Version::V311,
            ..KEPT
        },
    ] {
        let mut w = World::new();
        let a = w.client("a", V5);
        let b = w.client("b", how);
        w.subscribe(&b, "home/all", 2);
        let _flow = w.publish(&a, "home/all", "1", 1, 1);
        let _flow = w.publish(&a, "home/all", "2", 2, 2);
        assert_eq!(b.read().len(), 2);
        let _flow = w.ack(&b, AckKind::PubRec, 2);
        w.drop_connection(&b);
        let _flow = w.publish(&a, "home/all", "3", 1, 3);
        let _flow = w.publish(&a, "home/all", "zero", 0, 0);
        let b = w.connect("b", how);
        assert_eq!(
            b.read(),
            [
                "CONNACK success present",
                "PUBLISH home/all 1 q1 #1 dup",
                "PUBREL #2 success",
                "PUBLISH home/all 3 q1 #3"
            ]
        );
    }
}

#[test]
fn sending_again_keeps_to_the_window_of_the_new_connection() {
    let mut w = World::new();
    let a = w.client("a", V5);
    let b = w.client("b", KEPT);
    w.subscribe(&b, "home/all", 1);
    for n in 1..=3 {
        let _flow = w.publish(&a, "home/all", &n.to_string(), 1, n);
    }
    w.drop_connection(&b);
    let b = w.connect(
        "b",
        How {
            window: Some(1),
            ..KEPT
        },
    );
    assert_eq!(
        b.read(),
        ["CONNACK success present", "PUBLISH home/all 1 q1 #1 dup"]
    );
    for n in 1..=2 {
        let _flow = w.ack(&b, AckKind::PubAck, n);
        assert_eq!(
            b.read(),
            [format!("PUBLISH home/all {0} q1 #{0} dup", n + 1)]
        );
    }
}

#[test]
fn a_session_ends_with_its_time_or_with_a_clean_start() {
    let mut w = World::new();
    let b = w.client("b", KEPT);
    w.subscribe(&b, "home/all", 1);
    w.drop_connection(&b);
    w.pass(59);
    let b = w.connect("b", KEPT);
    assert_eq!(b.read(), ["CONNACK success present"]);
    w.drop_connection(&b);
    w.pass(61);
    let b = w.connect("b", KEPT);
    assert_eq!(b.read(), ["CONNACK success"]);
    w.drop_connection(&b);
    let b = w.connect(
        "b",
        How {
            clean: true,
            ..KEPT
        },
    );
    assert_eq!(b.read(), ["CONNACK success"]);
    assert_eq!(w.broker.sessions.len(), 1);
}

#[test]
fn a_second_connection_takes_the_session_and_the_first_is_told() {
    let mut w = World::new();
    let old = w.client("b", KEPT);
    w.subscribe(&old, "home/all", 1);
    let new = w.connect("b", KEPT);
    assert_eq!(old.read(), ["DISCONNECT session taken over", "closed"]);
    assert_eq!(new.read(), ["CONNACK success present"]);
    // What the old one still says or does changes nothing.
    w.drop_connection(&old);
    let a = w.client("a", V5);
    let _flow = w.publish(&a, "home/all", "x", 1, 1);
    assert_eq!(new.read(), ["PUBLISH home/all x q1 #1"]);
    let third = w.client(
        "b",
        How {
            version: stockade_mqtt::Version::V311,
            ..KEPT
        },
    );
    let fourth = w.connect("b", V311);
    assert_eq!(third.read(), ["closed"]);
    assert_eq!(fourth.read(), ["CONNACK success"]);
}

#[test]
fn a_will_is_spoken_when_its_client_is_lost_and_not_when_it_leaves() {
    let mut w = World::new();
    let b = w.client("b", V5);
    w.subscribe(&b, "home/all", 0);
    let a = w.client("a", WILL);
    w.drop_connection(&a);
    assert_eq!(b.read(), ["PUBLISH home/all lost q0"]);
    let a = w.client("a", WILL);
    let _flow = w.send(
        &a,
        &Packet::Disconnect(Disconnect::with_reason(ReasonCode::Success)),
    );
    assert_eq!(b.read(), Vec::<String>::new());
    let a = w.client("a", WILL);
    let with_will = Disconnect::with_reason(ReasonCode::DisconnectWithWill);
    let _flow = w.send(&a, &Packet::Disconnect(with_will));
    assert_eq!(b.read(), ["PUBLISH home/all lost q0"]);
    let _silent = w.client(
        "a",
        How {
            keep_alive: 10,
            ..WILL
        },
    );
    w.pass(14);
    assert_eq!(b.read(), Vec::<String>::new());
    w.pass(3);
    assert_eq!(b.read(), ["PUBLISH home/all lost q0"]);
}

#[test]
fn a_will_waits_for_its_delay_and_a_return_in_time_deletes_it() {
    let how = How {
        will: Some(("home/all", "lost", 10)),
        ..KEPT
    };
    let mut w = World::new();
    let b = w.client("b", V5);
    w.subscribe(&b, "home/all", 0);
    let a = w.client("a", how);
    w.drop_connection(&a);
    w.pass(9);
    let a = w.client("a", how);
    w.pass(9);
    assert_eq!(b.read(), Vec::<String>::new());
    w.drop_connection(&a);
    w.pass(11);
    assert_eq!(b.read(), ["PUBLISH home/all lost q0"]);
    // A session that ends earlier speaks earlier.
    let a = w.client("a", How { expiry: 3, ..how });
    w.drop_connection(&a);
    w.pass(4);
    assert_eq!(b.read(), ["PUBLISH home/all lost q0"]);
}

#[test]
fn a_certificate_that_ends_takes_its_connection_with_it() {
    let mut w = World::new();
    let a = w.client("a", V5);
    w.now.unix += 999_999_000;
    w.pass(3);
    assert_eq!(a.read(), ["DISCONNECT not authorized", "closed"]);
    assert_eq!(w.told(), ["its certificate ended while it was connected"]);
}

#[test]
fn a_revoked_device_is_gone_to_the_last_byte_and_its_will_is_silent() {
    let mut w = World::new();
    let b = w.client("b", V5);
    w.subscribe(&b, "home/#", 0);
    let a = w.client("a", How { expiry: 60, ..WILL });
    w.subscribe(&a, "home/all", 1);
    let _flow = w.publish(&b, "home/all", "secret", 1, 1);
    b.read();
    let id = crate::name::DeviceId::new("a").unwrap();
    w.turn(|broker, out| broker.revoke(&id, out));
    assert_eq!(a.read(), ["DISCONNECT not authorized", "closed"]);
    w.pass(100);
    assert_eq!(b.read(), Vec::<String>::new());
    assert_eq!(w.broker.sessions.len(), 1);
}

#[test]
fn a_change_of_profile_reaches_sessions_that_sleep() {
    let mut w = World::new();
    let (a, b) = (w.client("a", V5), w.client("b", KEPT));
    w.subscribe(&b, "home/all", 1);
    w.subscribe(&b, "home/a/up", 1);
    let _flow = w.publish(&a, "home/a/up", "sent", 1, 9);
    w.drop_connection(&b);
    for (n, topic) in [(1, "home/all"), (2, "home/a/up")] {
        let _flow = w.publish(&a, topic, "queued", 1, n);
    }
    let narrow = super::world::policy("b", 2, "home/all", false);
    w.turn(|broker, out| broker.set_policy(&narrow, out));
    w.filter = "home/all".to_owned();
    let b = w.connect_as("b", KEPT, narrow);
    assert_eq!(
        b.read(),
        ["CONNACK success present", "PUBLISH home/all queued q1 #2"]
    );
    let _flow = w.publish(&a, "home/a/up", "later", 1, 3);
    assert_eq!(b.read(), Vec::<String>::new());
}

#[test]
fn quarantine_closes_the_session_and_leaves_only_the_repair_topics() {
    let mut w = World::new();
    let b = w.client("b", KEPT);
    w.subscribe(&b, "home/all", 1);
    let shut = super::world::policy("b", 1, "home/#", true);
    w.turn(|broker, out| broker.set_policy(&shut, out));
    assert_eq!(b.read(), ["DISCONNECT administrative action", "closed"]);
    let b = w.connect_as("b", KEPT, shut);
    assert_eq!(b.read(), ["CONNACK success present"]);
    assert_eq!(w.subscribe(&b, "home/all", 1), ["SUBACK not authorized"]);
    assert_eq!(
        w.subscribe(&b, "stockade/b/repair", 1),
        ["SUBACK granted QoS 1"]
    );
    let handed = w.turn(|broker, out| {
        broker.publish_from_operator(("stockade/b/repair", b"update"), 1, false, out)
    });
    assert_eq!(handed.unwrap().1, 1);
    assert_eq!(b.read(), ["PUBLISH stockade/b/repair update q1 #1"]);
}

#[test]
fn one_key_in_two_places_at_once_is_a_clone_and_a_device_that_moves_is_not() {
    let mut w = World::new();
    let old = w.client("b/1", V5);
    let new = w.client("b/2", How { address: 2, ..V5 });
    w.pass(6);
    let _flow = w.send(&old, &Packet::PingReq);
    let _flow = w.send(&new, &Packet::PingReq);
    // One late burst from where it was before is no proof.
    assert_eq!(w.told(), Vec::<String>::new());
    w.pass(6);
    let _flow = w.send(&old, &Packet::PingReq);
    assert_eq!(
        w.told(),
        ["CLONE cloned key: 10.0.0.1 and 10.0.0.2 use its certificate at the same time"]
    );
    // Two slots of one place are one device.
    let (one, _two) = (w.client("c/1", V5), w.client("c/2", V5));
    for _ in 0..5 {
        w.pass(6);
        let _flow = w.send(&one, &Packet::PingReq);
    }
    assert_eq!(w.told(), Vec::<String>::new());
}

#[test]
fn two_places_that_take_the_session_from_each_other_are_a_clone_if_both_live() {
    for alive in [true, false] {
        let mut w = World::new();
        let id = crate::name::DeviceId::new("b").unwrap();
        let quarrel = |w: &mut World, times: u8| {
            for n in 0..times {
                w.client(
                    "b",
                    How {
                        address: 1 + n % 2,
                        ..V5
                    },
                );
                let displaced = std::net::SocketAddr::from(([10, 0, 0, 1 + (n + 1) % 2], 1));
                if alive && n > 0 {
                    w.turn(|b, out| b.handle_displaced_alive(&id, displaced, out));
                }
                w.pass(1);
            }
            w.told().len()
        };
        assert_eq!(quarrel(&mut w, 6), usize::from(alive));
        assert_eq!(quarrel(&mut w, 20), 0, "told once, not at every turn");
        // Quarantined and released: whoever quarrels then is news.
        for quarantined in [true, false] {
            let policy = super::world::policy("b", 1, "home/#", quarantined);
            w.turn(|broker, out| broker.set_policy(&policy, out));
        }
        let _closed = w.told();
        assert_eq!(quarrel(&mut w, 6), usize::from(alive));
    }
}
