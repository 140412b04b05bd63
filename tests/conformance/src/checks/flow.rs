//! Flow control: Receive Maximum (MQTT 5), and how many messages may be open.

use crate::answer::{Answer, Message};
use crate::client::Client;
use crate::server::Server;
use crate::wire::{
    self, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Properties, Publish, Version, id,
};

/// A subscriber that takes `maximum` messages at a time, and eight messages for it.
fn slow_subscriber(server: &Server, version: Version, maximum: u16, qos: u8) -> (Client, Client) {
    let limit = Properties::new().two(id::RECEIVE_MAXIMUM, maximum);
    let (mut subscriber, _) = server.connect_with(&Connect::new(version, "slow").with(limit));
    subscriber.subscribe("t/a", 2);
    let mut publisher = server.connect(version, "source");
    for number in 1..=8u16 {
        publisher.publish(&Publish::new("t/a", &number.to_string()).qos(qos, number));
    }
    (subscriber, publisher)
}

fn messages(answers: Vec<Answer>) -> Vec<Message> {
    answers
        .into_iter()
        .map(|answer| match answer {
            Answer::Publish(message) => message,
            other => panic!("messages are due, got {other:?}"),
        })
        .collect()
}

/// Never more than Receive Maximum without acknowledgement; each acknowledgement lets one more
/// through, until all have come.
pub(crate) fn receive_maximum_is_respected(server: &Server, version: Version) {
    for maximum in [1, 3] {
        let (mut subscriber, _publisher) = slow_subscriber(server, version, maximum, 1);
        let mut open = messages(subscriber.fence());
        let mut seen = Vec::new();
        while !open.is_empty() {
            assert!(open.len() <= usize::from(maximum), "{open:?}");
            let first = open.remove(0);
            seen.push(first.text().to_owned());
            subscriber.send(&wire::ack(PUBACK, first.packet_id));
            open.extend(messages(subscriber.fence()));
        }
        assert_eq!(seen, ["1", "2", "3", "4", "5", "6", "7", "8"]);
        subscriber.leave();
    }
}

/// With QoS 2 a place is free after PUBCOMP, not after PUBREC.
pub(crate) fn quota_is_returned_by_pubcomp(server: &Server, version: Version) {
    let (mut subscriber, _publisher) = slow_subscriber(server, version, 1, 2);
    for number in 1..=8 {
        let open = messages(subscriber.fence());
        assert_eq!(open.len(), 1, "one at a time");
        assert_eq!(open[0].text(), number.to_string());
        subscriber.send(&wire::ack(PUBREC, open[0].packet_id));
        subscriber.await_ack(PUBREL, open[0].packet_id);
        subscriber.expect_nothing();
        subscriber.send(&wire::ack(PUBCOMP, open[0].packet_id));
    }
    subscriber.expect_nothing();
}

/// A PUBREC with an error returns it, too.
pub(crate) fn quota_is_returned_by_an_error(server: &Server, version: Version) {
    let (mut subscriber, _publisher) = slow_subscriber(server, version, 1, 2);
    let first = subscriber.expect_message();
    subscriber.send(&wire::ack_reason(PUBREC, first.packet_id, 0x80));
    assert_eq!(subscriber.expect_message().text(), "2");
}

/// The quota is spent: QoS 0, answers and handshakes go on.
pub(crate) fn other_packets_are_not_delayed(server: &Server, version: Version) {
    let (mut subscriber, mut publisher) = slow_subscriber(server, version, 1, 1);
    let open = subscriber.expect_message();
    subscriber.expect_nothing();
    subscriber.subscribe("t/b", 0);
    publisher.send_publish(&Publish::new("t/b", "at most once"));
    assert_eq!(subscriber.expect_message().text(), "at most once");
    subscriber.publish(&Publish::new("t/c", "x").qos(1, 1));
    subscriber.publish(&Publish::new("t/c", "x").qos(2, 2));
    subscriber.unsubscribe(&["t/b"]);
    subscriber.send(&wire::ack(PUBACK, open.packet_id));
    assert_eq!(subscriber.expect_message().text(), "2");
}

/// As many messages as the server says it takes: it takes them.
pub(crate) fn server_takes_what_it_announces(server: &Server, version: Version) {
    let mut client = server.open(version, "burst");
    let connack = client.connect(&Connect::new(version, "burst"));
    let maximum = connack
        .properties
        .number(id::RECEIVE_MAXIMUM)
        .unwrap_or(65_535);
    let count = u16::try_from(maximum.min(50)).expect("at most 50");
    for packet_id in 1..=count {
        client.send_publish(&Publish::new("t/a", "x").qos(2, packet_id));
    }
    for packet_id in 1..=count {
        client.await_ack(PUBREC, packet_id);
    }
    client.fence();
    for packet_id in 1..=count {
        client.send(&wire::ack(PUBREL, packet_id));
        client.await_ack(PUBCOMP, packet_id);
    }
}

/// More than that is an error with a reason of its own.
pub(crate) fn more_than_announced_closes(server: &Server, version: Version) {
    let mut client = server.open(version, "flood");
    let connack = client.connect(&Connect::new(version, "flood"));
    let maximum = connack
        .properties
        .number(id::RECEIVE_MAXIMUM)
        .unwrap_or(65_535);
    let Ok(beyond) = u16::try_from(maximum + 1) else {
        return;
    };
    let mut bytes = Vec::new();
    for packet_id in 1..=beyond {
        bytes.extend(Publish::new("t/a", "x").qos(2, packet_id).encode(version));
    }
    client.send(&bytes);
    let answers = client.until_closed();
    let last = answers.last();
    assert!(
        matches!(last, Some(Answer::Disconnect(0x93, _))),
        "receive maximum exceeded is due, got {last:?}"
    );
}

/// After a return, too: what is sent again counts, and the quota may have become smaller.
pub(crate) fn resending_respects_the_receive_maximum(server: &Server, version: Version) {
    let connect = |maximum| {
        let limit = Properties::new().two(id::RECEIVE_MAXIMUM, maximum);
        Connect::persistent(version, "slow").with(limit)
    };
    let (mut subscriber, _) = server.connect_with(&connect(4));
    subscriber.subscribe("t/a", 1);
    let mut publisher = server.connect(version, "source");
    for number in 1..=6u16 {
        publisher.publish(&Publish::new("t/a", &number.to_string()).qos(1, number));
    }
    let first = messages(subscriber.fence());
    assert_eq!(first.len(), 4);
    subscriber.cut();
    let (mut subscriber, present) = server.connect_with(&connect(2));
    assert!(present);
    let mut seen = Vec::new();
    let mut open = messages(subscriber.fence());
    while !open.is_empty() {
        assert!(open.len() <= 2, "{open:?}");
        let message = open.remove(0);
        assert_eq!(message.dup, seen.len() < 4, "{message:?}");
        seen.push(message.text().to_owned());
        subscriber.send(&wire::ack(PUBACK, message.packet_id));
        open.extend(messages(subscriber.fence()));
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5", "6"]);
}
