//! CONNECT and CONNACK: their form.

use crate::answer::Answer;
use crate::server::Server;
use crate::wire::{
    self, Bytes, Connect, PINGREQ, Properties, Publish, V5, V311, Version, Will, id,
};

pub(crate) fn first_packet_must_be_connect(server: &Server, version: Version) {
    for case in [
        PINGREQ.to_vec(),
        Publish::new("t/a", "x").retain().encode(version),
        wire::subscribe(version, 1, &Properties::new(), &[(b"t/a", 0)]),
        wire::DISCONNECT.to_vec(),
    ] {
        let mut client = server.open(version, "first");
        client.send(&case);
        assert_eq!(client.turned_away(), None, "no CONNACK without CONNECT");
    }
    let mut later = server.connect(version, "later");
    later.subscribe("t/a", 0);
    later.expect_nothing();
}

pub(crate) fn second_connect_closes(server: &Server, version: Version) {
    let mut client = server.connect(version, "twice");
    client.send(&Connect::new(version, "twice").encode());
    client.refused_with(&[0x82]);
}

pub(crate) fn wrong_protocol_name_is_refused(server: &Server, version: Version) {
    for name in ["MQTX", "MQTTT", "mqtt", ""] {
        let mut client = server.open(version, "name");
        client.send(
            &Connect {
                name: name.into(),
                ..Connect::new(version, "name")
            }
            .encode(),
        );
        let reason = client.turned_away();
        assert!(
            matches!(reason, None | Some(0x84 | 0x01 | 0x81 | 0x82)),
            "{name:?}: {reason:02x?}"
        );
    }
}

pub(crate) fn wrong_level_is_refused(server: &Server, version: Version) {
    match version {
        V5 => {
            for level in [6, 127] {
                let mut client = server.open(version, "level");
                client.send(
                    &Connect {
                        level,
                        ..Connect::new(version, "level")
                    }
                    .encode(),
                );
                let reason = client.turned_away();
                assert!(
                    matches!(reason, None | Some(0x84 | 0x01)),
                    "{level}: {reason:02x?}"
                );
            }
        }
        V311 => {
            let mut client = server.open(version, "level");
            client.send(
                &Connect {
                    level: 2,
                    ..Connect::new(version, "level")
                }
                .encode(),
            );
            assert_eq!(
                client.turned_away(),
                Some(0x01),
                "unacceptable protocol level"
            );
        }
    }
}

pub(crate) fn reserved_connect_flag_closes(server: &Server, version: Version) {
    refused_connect(
        server,
        version,
        &Connect {
            flip: 0x01,
            ..Connect::new(version, "reserved")
        },
    );
}

/// A CONNECT that is not well-formed: closed, in 3.1.1 without a CONNACK [MQTT-3.1.4-1].
pub(crate) fn refused_connect(server: &Server, version: Version, connect: &Connect) {
    refused_bytes(server, version, &connect.encode());
}

fn refused_bytes(server: &Server, version: Version, bytes: &[u8]) {
    let mut client = server.open(version, "refused");
    client.send(bytes);
    let reason = client.turned_away();
    match version {
        V311 => assert_eq!(reason, None, "closed without a CONNACK"),
        V5 => assert!(
            matches!(reason, None | Some(0x81 | 0x82 | 0x85)),
            "{reason:02x?}"
        ),
    }
}

pub(crate) fn user_name_without_its_flag_closes(server: &Server, version: Version) {
    let tail = Bytes::new().field(b"user").0;
    refused_connect(
        server,
        version,
        &Connect {
            tail,
            ..Connect::new(version, "refused")
        },
    );
}

pub(crate) fn user_name_flag_without_name_closes(server: &Server, version: Version) {
    refused_connect(
        server,
        version,
        &Connect {
            flip: 0x80,
            ..Connect::new(version, "refused")
        },
    );
}

pub(crate) fn password_without_its_flag_closes(server: &Server, version: Version) {
    let tail = Bytes::new().field(b"secret").0;
    let user = Some(b"user".to_vec());
    refused_connect(
        server,
        version,
        &Connect {
            user,
            tail,
            ..Connect::new(version, "refused")
        },
    );
}

pub(crate) fn password_flag_without_password_closes(server: &Server, version: Version) {
    let user = Some(b"user".to_vec());
    refused_connect(
        server,
        version,
        &Connect {
            flip: 0x40,
            user,
            ..Connect::new(version, "refused")
        },
    );
}

/// 3.1.1 knows no password without a user name.
pub(crate) fn password_needs_a_user_name(server: &Server, version: Version) {
    let password = Some(b"secret".to_vec());
    refused_connect(
        server,
        version,
        &Connect {
            password,
            ..Connect::new(version, "refused")
        },
    );
}

/// All fields at once, in their order: the server finds each.
pub(crate) fn fields_come_in_order(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/will", 0);
    let will =
        Will::new("t/will", "payload").with(Properties::new().text(id::CONTENT_TYPE, "type"));
    let connect = Connect {
        user: Some(b"user".to_vec()),
        password: Some(b"secret".to_vec()),
        will: Some(will),
        ..Connect::new(version, "ordered")
    };
    let (client, _) = server.connect_with(&connect);
    client.cut();
    let message = watcher.expect_message();
    assert_eq!(
        (message.topic.as_str(), message.text()),
        ("t/will", "payload")
    );
    if version == V5 {
        assert_eq!(message.properties.text(id::CONTENT_TYPE), Some("type"));
    }
}

/// A CONNECT that ends before the client identifier.
pub(crate) fn client_id_must_be_there(server: &Server, version: Version) {
    let bytes = Bytes::new()
        .field(b"MQTT")
        .byte(version.level())
        .byte(0x02)
        .two(60)
        .properties(version, &Properties::new());
    refused_bytes(server, version, &bytes.packet(0x10));
}

pub(crate) fn connect_is_validated(server: &Server, version: Version) {
    let good = Connect::new(version, "refused");
    refused_connect(
        server,
        version,
        &Connect {
            tail: vec![0],
            ..good.clone()
        },
    );
    // Client identifier longer than what is left of the packet.
    let head = Bytes::new()
        .field(b"MQTT")
        .byte(version.level())
        .byte(0x02)
        .two(60)
        .properties(version, &Properties::new());
    refused_bytes(server, version, &head.two(10).raw(b"short").packet(0x10));
    // Ends in the middle of the variable header.
    refused_bytes(
        server,
        version,
        &Bytes::new()
            .field(b"MQTT")
            .byte(version.level())
            .packet(0x10),
    );
    refused_bytes(server, version, &Bytes::new().packet(0x10));
    if version == V5 {
        let twice = Properties::new()
            .two(id::RECEIVE_MAXIMUM, 5)
            .two(id::RECEIVE_MAXIMUM, 5);
        refused_connect(server, version, &good.clone().with(twice));
        let zero = Properties::new().two(id::RECEIVE_MAXIMUM, 0);
        refused_connect(server, version, &good.clone().with(zero));
        let nothing = Properties::new().four(id::MAXIMUM_PACKET_SIZE, 0);
        refused_connect(server, version, &good.clone().with(nothing));
        let foreign = Properties::new().two(id::TOPIC_ALIAS, 1);
        refused_connect(server, version, &good.clone().with(foreign));
        let neither = Properties::new().byte(id::REQUEST_PROBLEM_INFO, 2);
        refused_connect(server, version, &good.with(neither));
    }
}

pub(crate) fn accepted_connect_is_acknowledged(server: &Server, version: Version) {
    let mut client = server.open(version, "welcome");
    let connack = client.connect(&Connect::new(version, "welcome"));
    assert_eq!((connack.reason, connack.session_present), (0, false));
    client.expect_nothing();
}

/// What follows a CONNECT that is refused is not looked at.
pub(crate) fn nothing_after_a_refused_connect_counts(server: &Server, version: Version) {
    let level = if version == V5 { 6 } else { 2 };
    let mut bytes = Connect {
        level,
        ..Connect::new(version, "refused")
    }
    .encode();
    bytes.extend(Publish::new("t/kept", "x").retain().encode(version));
    bytes.extend(Publish::new("t/kept", "x").encode(version));
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/#", 0);
    let mut client = server.open(version, "refused");
    client.send(&bytes);
    client.turned_away();
    watcher.expect_nothing();
    watcher.subscribe("t/kept", 0);
    watcher.expect_nothing();
}

/// CONNACK comes before the answers to what was sent along with CONNECT, and before messages
/// that waited.
pub(crate) fn connack_comes_first(server: &Server, version: Version) {
    let mut client = server.open(version, "first");
    let mut bytes = Connect::new(version, "first").encode();
    bytes.extend(wire::subscribe(
        version,
        1,
        &Properties::new(),
        &[(b"t/a", 0)],
    ));
    bytes.extend(PINGREQ);
    client.send(&bytes);
    assert!(matches!(client.recv(), Some(Answer::ConnAck(ack)) if ack.reason == 0));
    assert!(matches!(client.recv(), Some(Answer::SubAck(_))));
    assert!(matches!(client.recv(), Some(Answer::PingResp)));

    let kept = Connect::persistent(version, "kept");
    let (mut kept_client, _) = server.connect_with(&kept);
    kept_client.subscribe("t/b", 1);
    kept_client.leave();
    client.publish(&Publish::new("t/b", "waited").qos(1, 9));
    // `connect` insists that the first packet is the CONNACK.
    let (mut back, present) = server.connect_with(&kept);
    assert!(present);
    assert_eq!(back.receive().text(), "waited");
}

pub(crate) fn one_connack_a_connection(server: &Server, version: Version) {
    let mut client = server.connect(version, "once");
    client.expect_nothing();
    client.send(&Connect::new(version, "once").encode());
    // `refused` takes nothing but a DISCONNECT.
    client.refused();
}

/// Flags of every CONNACK are read strictly; here of an acceptance and of a refusal.
pub(crate) fn connack_flags_are_reserved(server: &Server, version: Version) {
    accepted_connect_is_acknowledged(server, version);
    refusal_says_no_session(server, version);
}

/// Refused with a CONNACK although a session is stored: Session Present is 0, and it closes.
pub(crate) fn refusal_says_no_session(server: &Server, version: Version) {
    let (client, _) = server.connect_with(&Connect::persistent(version, "stored"));
    client.leave();
    let again = Connect::persistent(version, "stored");
    let refused = match version {
        V5 => again.with(Properties::new().text(id::AUTH_METHOD, "no-such-method")),
        V311 => Connect { level: 2, ..again },
    };
    let mut client = server.open(version, "stored");
    let connack = client.connect(&refused);
    assert!(
        connack.reason != 0 && !connack.session_present,
        "{connack:?}"
    );
    assert!(
        client.until_closed().is_empty(),
        "nothing comes after a refusal"
    );
    let (_, present) = server.connect_with(&Connect::persistent(version, "stored"));
    assert!(present, "the refused connection does not end the session");
}

/// The reasons for refusing are those of the table; each is read strictly.
pub(crate) fn refusals_use_the_table(server: &Server, version: Version) {
    refusal_says_no_session(server, version);
    wrong_level_is_refused(server, version);
    wrong_protocol_name_is_refused(server, version);
}

/// QoS 2 and retained messages are there; CONNACK does not deny them.
pub(crate) fn all_qos_are_supported(server: &Server, version: Version) {
    let mut client = server.open(version, "able");
    let connack = client.connect(&Connect::new(version, "able"));
    assert_eq!(connack.properties.number(id::MAXIMUM_QOS), None);
    assert_eq!(
        connack.properties.number(id::RETAIN_AVAILABLE).unwrap_or(1),
        1
    );
    client.subscribe("t/a", 2);
    client.publish(&Publish::new("t/a", "x").qos(2, 1));
    assert_eq!(client.receive().qos, 2);
}

/// A stream has no packets: one byte at a time, or all at once, is the same.
pub(crate) fn bytes_come_in_any_pieces(server: &Server, version: Version) {
    let mut bytes = Connect::new(version, "pieces").encode();
    bytes.extend(wire::subscribe(
        version,
        1,
        &Properties::new(),
        &[(b"t/a", 1)],
    ));
    bytes.extend(Publish::new("t/a", "piecemeal").qos(1, 7).encode(version));
    bytes.extend(PINGREQ);
    for size in [1, 2, 7, bytes.len()] {
        let mut client = server.open(version, "pieces");
        for piece in bytes.chunks(size) {
            client.send(piece);
        }
        assert!(matches!(client.recv(), Some(Answer::ConnAck(ack)) if ack.reason == 0));
        assert!(matches!(client.recv(), Some(Answer::SubAck(_))));
        let mut arrived = client.fence();
        arrived.retain(|answer| *answer != Answer::PingResp);
        let messages = arrived
            .iter()
            .filter(|a| matches!(a, Answer::Publish(_)))
            .count();
        let acks = arrived
            .iter()
            .filter(|a| matches!(a, Answer::PubAck(_)))
            .count();
        assert_eq!((messages, acks, arrived.len()), (1, 1, 2), "{arrived:?}");
    }
}

/// Messages of many reads and many TLS records arrive whole.
pub(crate) fn large_messages_come_whole(server: &Server, version: Version) {
    let mut client = server.connect(version, "large");
    client.subscribe("t/a", 2);
    for (qos, size) in [(0, 65_000), (1, 40_000), (2, 65_500)] {
        let payload: String = (b'a'..=b'z').cycle().take(size).map(char::from).collect();
        client.send_publish(&Publish::new("t/a", &payload).qos(qos, u16::from(qos > 0)));
        if qos == 2 {
            client.await_ack(wire::PUBREC, 1);
            client.send(&wire::ack(wire::PUBREL, 1));
        }
        let message = client.receive();
        assert!(
            message.text() == payload,
            "{size} bytes, whole and in order"
        );
        match qos {
            0 => {}
            1 => _ = client.await_ack(wire::PUBACK, 1),
            _ => _ = client.await_ack(wire::PUBCOMP, 1),
        }
    }
}
