//! Limits that the client sets in CONNECT (MQTT 5): packet size, aliases, diagnostics.

use crate::answer::{Answer, Received};
use crate::server::{FORBIDDEN, Server};
use crate::wire::{
    self, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Properties, Publish, Version, id,
};

fn small(version: Version, name: &str, size: u32) -> Connect {
    Connect::new(version, name).with(Properties::new().four(id::MAXIMUM_PACKET_SIZE, size))
}

/// Nothing larger is sent; the client's reader insists.
pub(crate) fn maximum_packet_size_is_respected(server: &Server, version: Version) {
    let (mut client, _) = server.connect_with(&small(version, "small", 64));
    client.subscribe("t/a", 1);
    let mut publisher = server.connect(version, "source");
    for (size, packet_id) in [
        (10usize, 1u16),
        (100, 2),
        (53, 3),
        (54, 4),
        (60, 5),
        (20, 6),
    ] {
        publisher.publish(&Publish::new("t/a", &"x".repeat(size)).qos(1, packet_id));
    }
    // 2 bytes of header, 5 of topic, 2 of identifier, 1 of property length: 54 is what fits.
    let sizes: Vec<usize> = client
        .drain()
        .iter()
        .map(|message| message.payload.len())
        .collect();
    assert_eq!(sizes, [10, 53, 54, 20]);
}

/// What does not fit counts as delivered: it takes no place in the quota and is not sent later.
pub(crate) fn too_large_counts_as_sent(server: &Server, version: Version) {
    let connect = Connect::persistent(version, "small");
    let mut limits = Properties::new()
        .four(id::MAXIMUM_PACKET_SIZE, 64)
        .two(id::RECEIVE_MAXIMUM, 1);
    limits.0.extend(connect.properties.0.clone());
    let connect = Connect {
        properties: limits,
        ..connect
    };
    let (mut client, _) = server.connect_with(&connect);
    client.subscribe("t/a", 2);
    let mut publisher = server.connect(version, "source");
    publisher.publish(&Publish::new("t/a", &"x".repeat(100)).qos(1, 1));
    publisher.publish(&Publish::new("t/a", &"x".repeat(100)).qos(2, 2));
    publisher.publish(&Publish::new("t/a", "fits").qos(1, 3));
    assert_eq!(client.drain_texts(), ["fits"]);
    client.leave();
    let (mut client, present) = server.connect_with(&Connect::persistent(version, "small"));
    assert!(present);
    client.expect_nothing();
}

/// A reason string and user properties are left out where they would not fit; each kind of
/// answer is provoked with an error and must stay within the few bytes that the client takes.
pub(crate) fn diagnostics_fit_the_packet_size(server: &Server, version: Version) {
    for size in [24, 40] {
        let connect = small(version, "small", size);
        let mut client = server.open(version, "small");
        client.announce(&connect);
        client.send(&connect.encode());
        match client.recv() {
            // The server's own limits do not fit into this little: it may refuse.
            None => continue,
            Some(Answer::ConnAck(connack)) if connack.reason == 0 => {}
            other => panic!("CONNACK or closing is due, got {other:?}"),
        }
        provoke(server, &mut client);
        client.leave();
    }
}

/// PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK and PUBREL, with something to complain about.
fn provoke(server: &Server, client: &mut crate::client::Client) -> Vec<(&'static str, Received)> {
    let mut seen = Vec::new();
    client.send_publish(&Publish::new(FORBIDDEN, "x").qos(1, 1));
    let ack = client.await_ack(PUBACK, 1);
    assert!(ack.reason >= 0x80, "refused");
    seen.push(("PUBACK", ack.properties));
    client.send_publish(&Publish::new(FORBIDDEN, "x").qos(2, 2));
    let ack = client.await_ack(PUBREC, 2);
    assert!(ack.reason >= 0x80, "refused");
    seen.push(("PUBREC", ack.properties));
    client.send(&wire::ack(PUBREL, 99));
    seen.push(("PUBCOMP", client.await_ack(PUBCOMP, 99).properties));
    client.send(&wire::ack(PUBREC, 98));
    // A server may also answer an unknown identifier with silence.
    for answer in client.fence() {
        let Answer::PubRel(ack) = answer else {
            panic!("PUBREL or nothing is due, got {answer:?}")
        };
        seen.push(("PUBREL", ack.properties));
    }
    let codes = client.subscribe_with(&Properties::new(), &[(FORBIDDEN, 0)]);
    assert_eq!(
        codes.codes[0] >= 0x80,
        server.refuses_subscriptions(),
        "{codes:?}"
    );
    seen.push(("SUBACK", codes.properties));
    seen.push(("UNSUBACK", client.unsubscribe(&["t/never"]).properties));
    seen
}

/// Request Problem Information 0: no diagnostics but in CONNACK, DISCONNECT and PUBLISH.
pub(crate) fn no_diagnostics_unless_wanted(server: &Server, version: Version) {
    let quiet = Properties::new().byte(id::REQUEST_PROBLEM_INFO, 0);
    let (mut client, _) = server.connect_with(&Connect::new(version, "quiet").with(quiet));
    for (packet, properties) in provoke(server, &mut client) {
        assert_eq!(properties.text(id::REASON_STRING), None, "{packet}");
        assert!(properties.pairs().is_empty(), "{packet}");
    }
}

/// With diagnostics, the answers are well-formed and their codes are of their tables.
pub(crate) fn reason_codes_are_of_the_tables(server: &Server, version: Version) {
    let mut client = server.connect(version, "loud");
    provoke(server, &mut client);
    super::header::acknowledgements_carry_the_identifier(server, version);
}

/// CONNACK and DISCONNECT, likewise.
pub(crate) fn refusals_fit_the_packet_size(server: &Server, version: Version) {
    let method = Properties::new().text(id::AUTH_METHOD, "no-such-method");
    for size in [5, 8, 20] {
        let connect = small(version, "small", size).with(method.clone());
        let mut client = server.open(version, "small");
        client.announce(&connect);
        client.send(&connect.encode());
        client.turned_away();
    }
}

pub(crate) fn disconnects_fit_the_packet_size(server: &Server, version: Version) {
    for size in [24, 40] {
        for bytes in [Publish::new("t/#", "x").encode(version), vec![0x00, 0x00]] {
            let connect = small(version, "small", size);
            let mut client = server.open(version, "small");
            client.announce(&connect);
            client.send(&connect.encode());
            match client.recv() {
                None => continue,
                Some(Answer::ConnAck(connack)) if connack.reason == 0 => {}
                other => panic!("CONNACK or closing is due, got {other:?}"),
            }
            client.send(&bytes);
            client.refused();
        }
    }
}

pub(crate) fn no_alias_unless_announced(server: &Server, version: Version) {
    let mut client = server.connect(version, "plain");
    client.subscribe("t/#", 0);
    for _ in 0..5 {
        client.send_publish(&Publish::new("t/a", "x"));
    }
    let messages = client.drain();
    assert_eq!(messages.len(), 5);
    assert!(
        messages
            .iter()
            .all(|m| m.properties.number(id::TOPIC_ALIAS).is_none())
    );
}

/// The client's reader resolves aliases and insists on the maximum.
pub(crate) fn aliases_stay_within_the_maximum(server: &Server, version: Version) {
    let two = Properties::new().two(id::TOPIC_ALIAS_MAXIMUM, 2);
    let (mut client, _) = server.connect_with(&Connect::new(version, "alias").with(two));
    client.subscribe("t/#", 0);
    let topics = ["t/a", "t/b", "t/c", "t/a", "t/b", "t/c", "t/d", "t/a"];
    for topic in topics {
        client.send_publish(&Publish::new(topic, topic));
    }
    let messages = client.drain();
    assert_eq!(messages.len(), topics.len());
    assert!(
        messages
            .iter()
            .all(|message| message.topic == message.text()),
        "{messages:?}"
    );
}

fn alias(number: u16) -> Properties {
    Properties::new().two(id::TOPIC_ALIAS, number)
}

fn announced_aliases(
    server: &Server,
    version: Version,
    name: &str,
) -> (crate::client::Client, u16) {
    let mut client = server.open(version, name);
    let connack = client.connect(&Connect::new(version, name));
    let maximum = connack
        .properties
        .number(id::TOPIC_ALIAS_MAXIMUM)
        .unwrap_or(0);
    (client, u16::try_from(maximum).expect("two bytes"))
}

/// Every alias from 1 to what the server announced; set, used, and set anew.
pub(crate) fn announced_aliases_are_taken(server: &Server, version: Version) {
    let (mut client, maximum) = announced_aliases(server, version, "alias");
    client.subscribe("t/#", 0);
    let mut expected = Vec::new();
    for number in (1..=maximum.min(20))
        .chain([maximum])
        .filter(|number| *number > 0)
    {
        let topic = format!("t/{number}");
        client.send_publish(&Publish::new(&topic, "set").with(alias(number)));
        client.send_publish(&Publish::new("", "used").with(alias(number)));
        expected.extend([topic.clone(), topic]);
    }
    let topics: Vec<String> = client
        .drain()
        .into_iter()
        .map(|message| message.topic)
        .collect();
    assert_eq!(topics, expected);
    if maximum > 0 {
        client.send_publish(&Publish::new("t/new", "x").with(alias(1)));
        client.send_publish(&Publish::new("", "x").with(alias(1)));
        assert_eq!(client.expect_message().topic, "t/new");
        assert_eq!(client.expect_message().topic, "t/new");
    }
}

pub(crate) fn alias_zero_closes(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    client.send_publish(&Publish::new("t/a", "x").with(alias(0)));
    client.refused_with(&[0x94, 0x81, 0x82]);
}

/// More than announced, and one that was never set.
pub(crate) fn unknown_aliases_close(server: &Server, version: Version) {
    let (mut client, maximum) = announced_aliases(server, version, "beyond");
    if let Some(beyond) = maximum.checked_add(1) {
        client.send_publish(&Publish::new("t/a", "x").with(alias(beyond)));
        client.refused_with(&[0x94]);
    }
    let (mut client, _) = announced_aliases(server, version, "unset");
    client.send_publish(&Publish::new("", "x").with(alias(1)));
    client.refused_with(&[0x82, 0x94]);
}

/// An alias ends with its connection, even if the session goes on.
pub(crate) fn aliases_end_with_the_connection(server: &Server, version: Version) {
    let kept = Connect::persistent(version, "alias");
    let mut client = server.open(version, "alias");
    let connack = client.connect(&kept);
    if connack
        .properties
        .number(id::TOPIC_ALIAS_MAXIMUM)
        .unwrap_or(0)
        > 0
    {
        client.send_publish(&Publish::new("t/a", "x").with(alias(1)));
        client.expect_nothing();
    }
    client.cut();
    let (mut client, present) = server.connect_with(&kept);
    assert!(present);
    client.send_publish(&Publish::new("", "x").with(alias(1)));
    client.refused_with(&[0x82, 0x94]);
}

/// No Response Information where it was not asked for; where it was, it is text.
pub(crate) fn response_information_only_when_asked(server: &Server, version: Version) {
    for wanted in [None, Some(0), Some(1)] {
        let properties = wanted
            .map(|wanted| Properties::new().byte(id::REQUEST_RESPONSE_INFO, wanted))
            .unwrap_or_default();
        let mut client = server.open(version, "response");
        let connack = client.connect(&Connect::new(version, "response").with(properties));
        let information = connack.properties.text(id::RESPONSE_INFO);
        assert!(
            wanted == Some(1) || information.is_none(),
            "{information:?}"
        );
        client.leave();
    }
}

/// CONNACK is no exception: where it does not fit, the server says nothing and closes.
pub(crate) fn connack_fits_or_there_is_none(server: &Server, version: Version) {
    for size in [1, 4, 5, 8, 12, 16] {
        let connect = small(version, "small", size);
        let mut client = server.open(version, "small");
        client.announce(&connect);
        client.send(&connect.encode());
        match client.recv() {
            None => {}
            Some(Answer::ConnAck(connack)) if connack.reason == 0 => client.leave(),
            Some(Answer::ConnAck(_)) => assert_eq!(client.recv(), None),
            other => panic!("CONNACK or closing is due, got {other:?}"),
        }
    }
}

/// An answer with a code a filter can become large: it fits, or the connection ends.
pub(crate) fn answers_fit_or_the_connection_ends(server: &Server, version: Version) {
    let filters: Vec<String> = (0..30).map(|number| format!("t/{number}")).collect();
    let filters: Vec<&[u8]> = filters.iter().map(String::as_bytes).collect();
    let wanted: Vec<(&[u8], u8)> = filters.iter().map(|filter| (*filter, 0)).collect();
    for packet in [
        wire::subscribe(version, 1, &Properties::new(), &wanted),
        wire::unsubscribe(version, 1, &filters),
    ] {
        let (mut client, _) = server.connect_with(&small(version, "small", 24));
        client.send(&packet);
        // Whatever comes, the client's reader insists on the size.
        match client.recv() {
            None | Some(Answer::Disconnect(0x80.., _)) => {}
            Some(Answer::SubAck(codes) | Answer::UnsubAck(codes)) => {
                assert_eq!(codes.codes.len(), 30);
            }
            other => panic!("an answer or closing is due, got {other:?}"),
        }
    }
}

/// What is larger than the server said it takes is refused as soon as its header says so.
pub(crate) fn larger_than_announced_closes(server: &Server, version: Version) {
    let mut client = server.open(version, "large");
    let connack = client.connect(&Connect::new(version, "large"));
    let Some(maximum) = connack.properties.number(id::MAXIMUM_PACKET_SIZE) else {
        // Nothing is said, so anything is taken.
        return;
    };
    let beyond = usize::try_from(maximum).expect("a size");
    client.send(&wire::Bytes::new().byte(0x30).varint(beyond).0);
    client.refused_with(&[0x95]);
}

/// So do those that the server sends: what it sends again has its topic in full.
pub(crate) fn server_aliases_end_with_the_connection(server: &Server, version: Version) {
    let mut properties = Properties::new().two(id::TOPIC_ALIAS_MAXIMUM, 2);
    properties
        .0
        .extend(Connect::persistent(version, "").properties.0);
    let connect = Connect {
        properties,
        ..Connect::persistent(version, "alias")
    };
    let (mut client, _) = server.connect_with(&connect);
    client.subscribe("t/#", 1);
    let topics = ["t/a", "t/b", "t/a", "t/b"];
    for (topic, packet_id) in topics.iter().zip(1..) {
        client.publish(&Publish::new(topic, topic).qos(1, packet_id));
        assert_eq!(client.expect_message().topic, *topic);
    }
    client.cut();
    // The client's reader knows no alias of the connection before.
    let (mut client, present) = server.connect_with(&connect);
    assert!(present);
    let again: Vec<String> = (0..4).map(|_| client.receive().topic).collect();
    assert_eq!(again, topics);
}
