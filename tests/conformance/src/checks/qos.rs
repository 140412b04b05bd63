//! Delivery: 5.0 and 3.1.1 sections 4.3 to 4.6.

use super::pass_expiry;
use crate::answer::Answer;
use crate::server::{FORBIDDEN, Server};
use crate::wire::{
    self, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Properties, Publish, V5, V311, Version, id,
};

/// The sender's side of QoS 0.
pub(crate) fn qos0_is_sent_once(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 0);
    client.send_publish(&Publish::new("t/a", "x"));
    let message = client.expect_message();
    assert_eq!((message.qos, message.dup, message.packet_id), (0, false, 0));
    client.cut();
    let (mut client, _) = server.connect_with(&kept);
    client.expect_nothing();
}

/// The sender's side of QoS 1: a new identifier, DUP 0, kept until PUBACK and not after it.
pub(crate) fn qos1_sender(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 1);
    for number in 1..=2 {
        client.publish(&Publish::new("t/a", &number.to_string()).qos(1, number));
    }
    let (one, two) = (client.expect_message(), client.expect_message());
    assert_ne!(one.packet_id, two.packet_id, "an identifier in use");
    assert!(
        [&one, &two]
            .iter()
            .all(|m| m.qos == 1 && !m.dup && m.packet_id > 0)
    );
    client.send(&wire::ack(PUBACK, one.packet_id));
    client.expect_nothing();
    client.cut();
    let (mut client, _) = server.connect_with(&kept);
    let again = client.receive();
    assert_eq!(
        (again.packet_id, again.text(), again.dup),
        (two.packet_id, "2", true)
    );
    client.expect_nothing();
    client.cut();
    let (mut client, _) = server.connect_with(&kept);
    client.expect_nothing();
}

/// The receiver's side of QoS 1: PUBACK, and after it the identifier is free, DUP or not.
pub(crate) fn qos1_receiver(server: &Server, version: Version) {
    let mut client = server.connect(version, "receiver");
    client.subscribe("t/a", 0);
    client.publish(&Publish::new("t/a", "one").qos(1, 5));
    client.publish(&Publish::new("t/a", "two").qos(1, 5));
    client.publish(&Publish::new("t/a", "three").qos(1, 5).dup());
    assert_eq!(client.drain_texts(), ["one", "two", "three"]);
}

/// The sender's side of QoS 2 up to PUBREL.
pub(crate) fn qos2_sender(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 2);
    for number in 1..=2 {
        client.publish(&Publish::new("t/a", &number.to_string()).qos(2, number));
    }
    let (one, two) = (client.expect_message(), client.expect_message());
    assert_ne!(one.packet_id, two.packet_id, "an identifier in use");
    assert!(
        [&one, &two]
            .iter()
            .all(|m| m.qos == 2 && !m.dup && m.packet_id > 0)
    );
    client.send(&wire::ack(PUBREC, one.packet_id));
    client.await_ack(PUBREL, one.packet_id);
    client.cut();
    // One is released: PUBREL again, never PUBLISH. Two is not: PUBLISH again.
    let (mut client, _) = server.connect_with(&kept);
    let (mut released, mut published) = (0, 0);
    for answer in client.fence() {
        match answer {
            Answer::PubRel(ack) if ack.packet_id == one.packet_id => released += 1,
            Answer::Publish(m) if m.packet_id == two.packet_id && m.dup && m.text() == "2" => {
                published += 1;
            }
            other => panic!("PUBREL of one and PUBLISH of two are due, got {other:?}"),
        }
    }
    assert_eq!((released, published), (1, 1));
    client.send(&wire::ack(PUBCOMP, one.packet_id));
    client.send(&wire::ack(PUBREC, two.packet_id));
    client.await_ack(PUBREL, two.packet_id);
    client.send(&wire::ack(PUBCOMP, two.packet_id));
    client.expect_nothing();
    client.cut();
    let (mut client, _) = server.connect_with(&kept);
    client.expect_nothing();
}

/// The receiver's side of QoS 2: one message however often it is sent before PUBREL, PUBCOMP
/// for PUBREL, and a new message after that.
pub(crate) fn qos2_receiver(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/a", 0);
    let mut client = server.connect(version, "receiver");
    for dup in [false, true, true] {
        client.send_publish(&Publish {
            dup,
            ..Publish::new("t/a", "one").qos(2, 5)
        });
        super::header::expect_ack(client.recv(), PUBREC, 5);
    }
    client.send(&wire::ack(PUBREL, 5));
    super::header::expect_ack(client.recv(), PUBCOMP, 5);
    assert_eq!(watcher.drain_texts(), ["one"]);
    client.publish(&Publish::new("t/a", "two").qos(2, 5));
    assert_eq!(watcher.drain_texts(), ["two"]);
}

/// The same across a connection that is lost between PUBREC and PUBREL.
pub(crate) fn qos2_receiver_after_a_return(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/a", 0);
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.send_publish(&Publish::new("t/a", "one").qos(2, 5));
    client.await_ack(PUBREC, 5);
    client.cut();
    let (mut client, present) = server.connect_with(&kept);
    assert!(present);
    client.publish(&Publish::new("t/a", "one").qos(2, 5).dup());
    assert_eq!(watcher.drain_texts(), ["one"]);
}

/// PUBREL of an identifier that is not in use is answered, too.
pub(crate) fn pubrel_is_answered(server: &Server, version: Version) {
    qos2_receiver(server, version);
    let mut client = server.connect(version, "release");
    client.send(&wire::ack(PUBREL, 99));
    let ack = client.await_ack(PUBCOMP, 99);
    assert!(
        version != V5 || matches!(ack.reason, 0x00 | 0x92),
        "{:#04x}",
        ack.reason
    );
}

/// PUBREC with an error ends it: the identifier is free.
pub(crate) fn pubrec_with_an_error_frees_the_identifier(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    watcher.subscribe("t/a", 0);
    let mut client = server.connect(version, "refused");
    client.send_publish(&Publish::new(FORBIDDEN, "x").qos(2, 5));
    assert!(client.await_ack(PUBREC, 5).reason >= 0x80);
    client.publish(&Publish::new("t/a", "new").qos(2, 5));
    assert_eq!(watcher.drain_texts(), ["new"]);
}

/// Once sent, a QoS 2 message does not expire: it is sent again after the return.
pub(crate) fn a_sent_message_does_not_expire(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 2);
    let expiry = Properties::new().four(id::MESSAGE_EXPIRY, 1);
    client.publish(&Publish::new("t/a", "sent").qos(2, 1).with(expiry));
    let sent = client.expect_message();
    client.cut();
    pass_expiry();
    let (mut client, _) = server.connect_with(&kept);
    let again = client.receive();
    assert_eq!((again.packet_id, again.text()), (sent.packet_id, "sent"));
}

/// A message that expires between PUBREC and PUBREL does not stop the handshake.
pub(crate) fn handshake_goes_on_after_expiry(server: &Server, version: Version) {
    let mut client = server.connect(version, "slow");
    let expiry = Properties::new().four(id::MESSAGE_EXPIRY, 1);
    client.send_publish(&Publish::new("t/a", "x").qos(2, 5).with(expiry));
    client.await_ack(PUBREC, 5);
    pass_expiry();
    client.send(&wire::ack(PUBREL, 5));
    let ack = client.await_ack(PUBCOMP, 5);
    assert_eq!(ack.reason, 0x00);
}

/// Sent again when the client returns, in the order of the first time, and at no other time.
pub(crate) fn resent_on_return_only(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 2);
    for number in 1..=4u16 {
        let qos = if number % 2 == 0 { 2 } else { 1 };
        client.publish(&Publish::new("t/a", &number.to_string()).qos(qos, number));
    }
    let first: Vec<_> = (0..4).map(|_| client.expect_message()).collect();
    pass_expiry();
    client.expect_nothing();
    client.cut();
    let (mut client, _) = server.connect_with(&kept);
    for before in &first {
        let again = client.expect_message();
        assert_eq!(
            (again.packet_id, again.text(), again.dup),
            (before.packet_id, before.text(), true)
        );
    }
    client.expect_nothing();
}

/// PUBACK or PUBREC with an error acknowledges; the message is not sent again.
pub(crate) fn an_error_acknowledges(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "kept");
    let (mut client, _) = server.connect_with(&kept);
    client.subscribe("t/a", 2);
    client.publish(&Publish::new("t/a", "one").qos(1, 1));
    let one = client.expect_message();
    client.send(&wire::ack_reason(PUBACK, one.packet_id, 0x80));
    client.publish(&Publish::new("t/a", "two").qos(2, 2));
    let two = client.expect_message();
    client.send(&wire::ack_reason(PUBREC, two.packet_id, 0x83));
    client.expect_nothing();
    client.cut();
    let (mut client, present) = server.connect_with(&kept);
    assert!(present);
    client.expect_nothing();
}

/// Per publisher, topic and QoS: the order in which they were published.
pub(crate) fn order_is_kept(server: &Server, version: Version) {
    let mut subscriber = server.connect(version, "ordered");
    subscriber.subscribe("t/#", 2);
    let mut publisher = server.connect(version, "source");
    for qos in 0..=2u8 {
        let expected: Vec<String> = (1..=15).map(|number| format!("{qos}-{number}")).collect();
        for (text, packet_id) in expected.iter().zip(1..) {
            publisher.send_publish(
                &Publish::new("t/a", text).qos(qos, if qos > 0 { packet_id } else { 0 }),
            );
        }
        for packet_id in 1..=15 {
            match qos {
                0 => {}
                1 => _ = publisher.await_ack(PUBACK, packet_id),
                _ => {
                    publisher.await_ack(PUBREC, packet_id);
                    publisher.send(&wire::ack(PUBREL, packet_id));
                    publisher.await_ack(PUBCOMP, packet_id);
                }
            }
        }
        publisher.expect_nothing();
        let mut got = Vec::new();
        while got.len() < expected.len() {
            got.push(subscriber.receive().text().to_owned());
        }
        assert_eq!(got, expected, "QoS {qos}");
    }
}

/// Every subscriber that matches gets the message, those away too.
pub(crate) fn added_to_every_matching_session(server: &Server, version: Version) {
    super::session::keeps_messages_while_away(server, version);
    let mut clients: Vec<_> = ["s1", "s2", "s3"]
        .iter()
        .map(|name| server.connect(version, name))
        .collect();
    for client in &mut clients {
        client.subscribe("t/b", 1);
    }
    let mut publisher = server.connect(version, "source");
    publisher.publish(&Publish::new("t/b", "all").qos(1, 1));
    for client in &mut clients {
        assert_eq!(client.drain_texts(), ["all"]);
    }
}

/// Subscribers of the other protocol version, too; what their version cannot say is left out.
pub(crate) fn added_to_sessions_of_the_other_version(server: &Server, version: Version) {
    let other = if version == V5 { V311 } else { V5 };
    let mut subscriber = server.connect(other, "other");
    subscriber.subscribe("t/b", 2);
    let mut publisher = server.connect(version, "source");
    let properties = Properties::new()
        .text(id::CONTENT_TYPE, "text")
        .user("k", "v");
    let message = Publish::new("t/b", "across")
        .qos(2, 1)
        .with(properties)
        .retain();
    publisher.publish(&message);
    let arrived = subscriber.receive();
    assert_eq!(
        (arrived.text(), arrived.qos, arrived.topic.as_str()),
        ("across", 2, "t/b")
    );
    let mut later = server.connect(other, "later");
    later.subscribe("t/b", 0);
    assert_eq!(later.receive().text(), "across");
}
