//! Byte-exact packets, most of them worked out in the specifications' own figures.

use std::num::NonZeroU16;

use stockade_mqtt::{
    Ack, AckKind, AckProperties, Auth, AuthProperties, Binary, ConnAck, ConnAckProperties, Connect,
    ConnectProperties, DecodeError, Delivery, Disconnect, DisconnectProperties, Limits, Packet,
    PacketId, Password, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Sender,
    SubAck, Subscribe, SubscribeProperties, Subscription, SubscriptionFilter, SubscriptionId, Text,
    TopicName, UnsubAck, Unsubscribe, UserProperties, UserPropertiesBuf, Version, Will,
    WillProperties, frame,
};

/// The packet is written as these bytes, and they are read as the packet.
fn check(packet: &Packet<'_>, version: Version, sender: Sender, expected: &[u8]) {
    let mut bytes = Vec::new();
    assert_eq!(packet.encode(version, &mut bytes), Ok(()));
    assert_eq!(bytes, expected, "{bytes:02X?}");
    let Ok(decoded) = decode(expected, version, sender) else {
        panic!("{expected:02X?}")
    };
    assert_eq!(format!("{decoded:?}"), format!("{packet:?}"));
}

fn decode(bytes: &[u8], version: Version, sender: Sender) -> Result<Packet<'_>, DecodeError> {
    match frame(bytes, Limits::default())? {
        Some(found) => found.decode(version, sender),
        None => panic!("{bytes:02X?} is not a whole packet"),
    }
}

fn text(text: &str) -> Text<'_> {
    Text::new(text).expect("a text")
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::new(text).expect("a topic")
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("not zero")
}

#[test]
fn connect_of_311_as_in_figure_3_6() {
    let connect = Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive: 10,
        properties: ConnectProperties::default(),
        client_id: text("dev"),
        will: Some(Will {
            topic: topic("w"),
            payload: Binary::new(b"gone").unwrap(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
        }),
        user_name: Some(text("u")),
        password: Some(Password::new(Binary::new(b"p").unwrap())),
    };
    let mut expected = vec![
        0x10,
        30,
        0,
        4,
        b'M',
        b'Q',
        b'T',
        b'T',
        4,
        0b1100_1110,
        0,
        10,
        0,
        3,
        b'd',
        b'e',
        b'v',
    ];
    expected.extend([
        0, 1, b'w', 0, 4, b'g', b'o', b'n', b'e', 0, 1, b'u', 0, 1, b'p',
    ]);
    expected[1] = u8::try_from(expected.len() - 2).unwrap();
    check(
        &Packet::Connect(Box::new(connect)),
        Version::V311,
        Sender::Client,
        &expected,
    );
}

#[test]
fn connect_of_5_with_session_expiry_as_in_figure_3_6() {
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 10,
        properties: ConnectProperties {
            session_expiry: Some(10),
            ..ConnectProperties::default()
        },
        client_id: text(""),
        will: None,
        user_name: None,
        password: None,
    };
    let expected = [
        0x10,
        18,
        0,
        4,
        b'M',
        b'Q',
        b'T',
        b'T',
        5,
        0b0000_0010,
        0,
        10,
        5,
        0x11,
        0,
        0,
        0,
        10,
        0,
        0,
    ];
    check(
        &Packet::Connect(Box::new(connect)),
        Version::V5,
        Sender::Client,
        &expected,
    );
}

#[test]
fn connack_says_the_same_in_both_versions() {
    let connack = |reason, session_present| {
        Packet::ConnAck(Box::new(ConnAck {
            session_present,
            reason,
            properties: ConnAckProperties::default(),
        }))
    };
    check(
        &connack(ReasonCode::Success, true),
        Version::V311,
        Sender::Server,
        &[0x20, 2, 1, 0],
    );
    check(
        &connack(ReasonCode::Success, true),
        Version::V5,
        Sender::Server,
        &[0x20, 3, 1, 0, 0],
    );
    check(
        &connack(ReasonCode::NotAuthorized, false),
        Version::V311,
        Sender::Server,
        &[0x20, 2, 0, 5],
    );
    check(
        &connack(ReasonCode::NotAuthorized, false),
        Version::V5,
        Sender::Server,
        &[0x20, 3, 0, 0x87, 0],
    );
    for (reason, code) in [
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::Banned, 5),
    ] {
        let mut bytes = Vec::new();
        connack(reason, false)
            .encode(Version::V311, &mut bytes)
            .unwrap();
        assert_eq!(bytes, [0x20, 2, 0, code], "{reason}");
    }
}

#[test]
fn publish_as_in_figure_3_11() {
    let publish = Publish {
        delivery: Delivery::AtLeastOnce {
            id: id(10),
            dup: false,
        },
        retain: false,
        topic: Some(topic("a/b")),
        properties: PublishProperties::default(),
        payload: b"hi",
    };
    let packet = Packet::Publish(publish);
    check(
        &packet,
        Version::V311,
        Sender::Client,
        &[0x32, 9, 0, 3, b'a', b'/', b'b', 0, 10, b'h', b'i'],
    );
    check(
        &packet,
        Version::V5,
        Sender::Client,
        &[0x32, 10, 0, 3, b'a', b'/', b'b', 0, 10, 0, b'h', b'i'],
    );
    let again = Publish {
        delivery: Delivery::ExactlyOnce {
            id: id(0x1234),
            dup: true,
        },
        retain: true,
        ..publish
    };
    check(
        &Packet::Publish(again),
        Version::V311,
        Sender::Client,
        &[0x3D, 9, 0, 3, b'a', b'/', b'b', 0x12, 0x34, b'h', b'i'],
    );
    let aliased = Publish {
        delivery: Delivery::AtMostOnce,
        topic: None,
        properties: PublishProperties {
            topic_alias: NonZeroU16::new(7),
            ..PublishProperties::default()
        },
        ..publish
    };
    check(
        &Packet::Publish(aliased),
        Version::V5,
        Sender::Client,
        &[0x30, 8, 0, 0, 3, 0x23, 0, 7, b'h', b'i'],
    );
}

#[test]
fn publish_to_a_client_holds_its_subscription_identifiers_and_user_properties_in_order() {
    let ids = [
        SubscriptionId::new(1).unwrap(),
        SubscriptionId::new(128).unwrap(),
    ];
    let mut user = UserPropertiesBuf::new();
    user.push(text("k"), text("1"));
    user.push(text("k"), text("2"));
    let properties = PublishProperties {
        user_properties: user.borrow(),
        subscription_ids: (&ids[..]).into(),
        ..PublishProperties::default()
    };
    let publish = Publish {
        delivery: Delivery::AtMostOnce,
        retain: false,
        topic: Some(topic("t")),
        properties,
        payload: b"",
    };
    let expected = [
        &[0x30, 23, 0, 1, b't', 19][..],
        &[0x26, 0, 1, b'k', 0, 1, b'1', 0x26, 0, 1, b'k', 0, 1, b'2'],
        &[0x0B, 1, 0x0B, 0x80, 1],
    ]
    .concat();
    check(
        &Packet::Publish(publish),
        Version::V5,
        Sender::Server,
        &expected,
    );
}

/// The sender may mix user properties with others; they are found in order and forwarded alone.
#[test]
fn mqtt_3_3_2_18_user_properties_between_others_keep_their_order() {
    let block = [
        &[0x26, 0, 1, b'a', 0, 1, b'1'][..],
        &[0x01, 1],
        &[0x26, 0, 1, b'b', 0, 0],
        &[0x03, 0, 1, b'c'],
        &[0x02, 0, 0, 0, 9],
        &[0x26, 0, 1, b'a', 0, 1, b'2'],
    ]
    .concat();
    let mut bytes = vec![0x30, 0, 0, 1, b't', u8::try_from(block.len()).unwrap()];
    bytes.extend(&block);
    bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
    let Ok(Packet::Publish(publish)) = decode(&bytes, Version::V5, Sender::Client) else {
        panic!("a PUBLISH")
    };
    let users = publish.properties.user_properties;
    let pairs: Vec<_> = users
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(pairs, [("a", "1"), ("b", ""), ("a", "2")]);
    assert_eq!(users.encoded_len(), 20);
    assert_eq!(users.to_buf().as_bytes().len(), 20);
    assert_eq!(publish.properties.message_expiry, Some(9));
    assert_eq!(publish.properties.content_type, Some(text("c")));
    assert!(publish.properties.subscription_ids.is_empty());
}

#[test]
fn acknowledgements_take_their_shortest_form() {
    let ack = |reason| Ack::with_reason(id(2), reason);
    let bytes = |ack: Ack<'_>, kind, version| {
        let mut bytes = Vec::new();
        ack.encode(kind, version, &mut bytes).unwrap();
        bytes
    };
    for version in [Version::V311, Version::V5] {
        assert_eq!(
            bytes(ack(ReasonCode::Success), AckKind::PubAck, version),
            [0x40, 2, 0, 2]
        );
        assert_eq!(
            bytes(ack(ReasonCode::Success), AckKind::PubRec, version),
            [0x50, 2, 0, 2]
        );
        assert_eq!(
            bytes(ack(ReasonCode::Success), AckKind::PubRel, version),
            [0x62, 2, 0, 2]
        );
        assert_eq!(
            bytes(ack(ReasonCode::Success), AckKind::PubComp, version),
            [0x70, 2, 0, 2]
        );
    }
    assert_eq!(
        bytes(ack(ReasonCode::NotAuthorized), AckKind::PubAck, Version::V5),
        [0x40, 3, 0, 2, 0x87]
    );
    assert_eq!(
        bytes(
            ack(ReasonCode::NotAuthorized),
            AckKind::PubAck,
            Version::V311
        ),
        [0x40, 2, 0, 2]
    );
    let properties = AckProperties {
        reason_string: Some(text("no")),
        user_properties: UserProperties::default(),
    };
    let why = Ack {
        id: id(2),
        reason: ReasonCode::Success,
        properties,
    };
    assert_eq!(
        bytes(why, AckKind::PubRel, Version::V5),
        [0x62, 9, 0, 2, 0, 5, 0x1F, 0, 2, b'n', b'o']
    );
}

/// A sender may also use the long forms.
#[test]
fn long_forms_of_acknowledgements_and_disconnect_are_read() {
    for bytes in [
        &[0x40, 2, 0, 2][..],
        &[0x40, 3, 0, 2, 0],
        &[0x40, 4, 0, 2, 0, 0],
    ] {
        let decoded = decode(bytes, Version::V5, Sender::Client);
        assert!(
            matches!(decoded, Ok(Packet::PubAck(ack)) if ack == Ack::success(id(2))),
            "{bytes:?} {decoded:?}"
        );
    }
    for bytes in [&[0xE0, 0][..], &[0xE0, 1, 0], &[0xE0, 2, 0, 0]] {
        let decoded = decode(bytes, Version::V5, Sender::Client);
        assert!(
            matches!(decoded, Ok(Packet::Disconnect(it)) if it == Disconnect::with_reason(ReasonCode::Success)),
            "{bytes:?}"
        );
    }
}

#[test]
fn subscribe_as_in_figure_3_23() {
    let filter = |text| SubscriptionFilter::new(text, Version::V311).unwrap();
    let list = [
        Subscription::new(filter("a/b"), QoS::AtLeastOnce),
        Subscription::new(filter("c/d"), QoS::ExactlyOnce),
    ];
    let subscribe = Subscribe {
        id: id(10),
        properties: SubscribeProperties::default(),
        subscriptions: (&list[..]).into(),
    };
    let expected = [
        0x82, 14, 0, 10, 0, 3, b'a', b'/', b'b', 1, 0, 3, b'c', b'/', b'd', 2,
    ];
    check(
        &Packet::Subscribe(subscribe),
        Version::V311,
        Sender::Client,
        &expected,
    );
    let shared = [Subscription {
        filter: SubscriptionFilter::new("$share/g/#", Version::V5).unwrap(),
        qos: QoS::AtMostOnce,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    }];
    let properties = SubscribeProperties {
        subscription_id: SubscriptionId::new(0x0FFF_FFFF),
        ..SubscribeProperties::default()
    };
    let subscribe = Subscribe {
        id: id(1),
        properties,
        subscriptions: (&shared[..]).into(),
    };
    let expected = [
        &[0x82, 21, 0, 1, 5, 0x0B, 0xFF, 0xFF, 0xFF, 0x7F, 0, 10][..],
        b"$share/g/#",
        &[0x28],
    ]
    .concat();
    check(
        &Packet::Subscribe(subscribe),
        Version::V5,
        Sender::Client,
        &expected,
    );
}

#[test]
fn suback_unsubscribe_and_unsuback() {
    let properties = AckProperties::default();
    let reasons = [
        ReasonCode::Success,
        ReasonCode::GrantedQoS2,
        ReasonCode::UnspecifiedError,
    ];
    let suback = Packet::SubAck(SubAck {
        id: id(10),
        properties,
        reasons: (&reasons[..]).into(),
    });
    check(
        &suback,
        Version::V311,
        Sender::Server,
        &[0x90, 5, 0, 10, 0, 2, 0x80],
    );
    check(
        &suback,
        Version::V5,
        Sender::Server,
        &[0x90, 6, 0, 10, 0, 0, 2, 0x80],
    );
    let refused = SubAck {
        id: id(1),
        properties,
        reasons: (&[ReasonCode::NotAuthorized][..]).into(),
    };
    let mut bytes = Vec::new();
    refused.encode(Version::V311, &mut bytes).unwrap();
    assert_eq!(bytes, [0x90, 3, 0, 1, 0x80], "3.1.1 knows one failure");
    let filters = [SubscriptionFilter::new("a", Version::V5).unwrap()];
    let unsubscribe = Packet::Unsubscribe(Unsubscribe {
        id: id(3),
        user_properties: UserProperties::default(),
        filters: (&filters[..]).into(),
    });
    check(
        &unsubscribe,
        Version::V311,
        Sender::Client,
        &[0xA2, 5, 0, 3, 0, 1, b'a'],
    );
    check(
        &unsubscribe,
        Version::V5,
        Sender::Client,
        &[0xA2, 6, 0, 3, 0, 0, 1, b'a'],
    );
    let reasons = [ReasonCode::NoSubscriptionExisted];
    let unsuback = UnsubAck {
        id: id(3),
        properties,
        reasons: (&reasons[..]).into(),
    };
    check(
        &Packet::UnsubAck(unsuback),
        Version::V5,
        Sender::Server,
        &[0xB0, 4, 0, 3, 0, 0x11],
    );
    let mut bytes = Vec::new();
    unsuback.encode(Version::V311, &mut bytes).unwrap();
    assert_eq!(bytes, [0xB0, 2, 0, 3]);
}

#[test]
fn pings_disconnect_and_auth() {
    check(&Packet::PingReq, Version::V311, Sender::Client, &[0xC0, 0]);
    check(&Packet::PingResp, Version::V5, Sender::Server, &[0xD0, 0]);
    let leave = Packet::Disconnect(Disconnect::with_reason(ReasonCode::Success));
    check(&leave, Version::V311, Sender::Client, &[0xE0, 0]);
    check(&leave, Version::V5, Sender::Client, &[0xE0, 0]);
    let will = Packet::Disconnect(Disconnect::with_reason(ReasonCode::DisconnectWithWill));
    check(&will, Version::V5, Sender::Client, &[0xE0, 1, 4]);
    let properties = DisconnectProperties {
        session_expiry: Some(0),
        ..DisconnectProperties::default()
    };
    let expire = Packet::Disconnect(Disconnect {
        reason: ReasonCode::Success,
        properties,
    });
    check(
        &expire,
        Version::V5,
        Sender::Client,
        &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0],
    );
    let properties = AuthProperties {
        authentication_method: Some(text("x")),
        authentication_data: Some(Binary::new(&[9]).unwrap()),
        ..AuthProperties::default()
    };
    let auth = Packet::Auth(Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties,
    });
    check(
        &auth,
        Version::V5,
        Sender::Client,
        &[0xF0, 10, 0x18, 8, 0x15, 0, 1, b'x', 0x16, 0, 1, 9],
    );
}

/// The bounds of table 1-1 (5.0) and 2.4 (3.1.1).
#[test]
fn mqtt_1_5_5_1_remaining_lengths_take_the_fewest_bytes() {
    for (payload, header) in [
        (124_usize, 2),
        (125, 3),
        (16_380, 3),
        (16_381, 4),
        (2_097_148, 4),
        (2_097_149, 5),
    ] {
        let body = vec![0; payload];
        let publish = Publish {
            delivery: Delivery::AtMostOnce,
            retain: false,
            topic: Some(topic("a")),
            properties: PublishProperties::default(),
            payload: &body,
        };
        let mut bytes = Vec::new();
        publish.encode(Version::V311, &mut bytes).unwrap();
        assert_eq!(bytes.len(), payload + 3 + header);
        assert_eq!(
            frame(&bytes, Limits::NONE).unwrap().unwrap().len(),
            bytes.len()
        );
    }
}

/// "A" and U+2A6D4, figure 1-2 of both specifications, behind a byte order mark which must stay.
#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_is_part_of_the_string() {
    let bytes = [
        0x30, 10, 0, 8, 0xEF, 0xBB, 0xBF, 0x41, 0xF0, 0xAA, 0x9B, 0x94,
    ];
    let Ok(Packet::Publish(publish)) = decode(&bytes, Version::V311, Sender::Client) else {
        panic!("a PUBLISH")
    };
    assert_eq!(
        publish.topic.map(TopicName::as_str),
        Some("\u{FEFF}A\u{2A6D4}")
    );
}
