//! Whatever can be encoded decodes to the same again, in both versions and for both senders.

use std::num::{NonZeroU16, NonZeroU32};

use proptest::{collection::vec, option, prelude::*};
use stockade_mqtt::{
    Ack, AckProperties, Auth, AuthProperties, Binary, ConnAck, ConnAckProperties, Connect,
    ConnectProperties, Delivery, Disconnect, DisconnectProperties, EncodeError, Kind, Limits,
    Packet, PacketId, Password, Publish, PublishFrame, PublishProperties, QoS, ReasonCode,
    RetainHandling, Sender, SubAck, Subscribe, SubscribeProperties, Subscription,
    SubscriptionFilter, SubscriptionId, Text, TopicName, UnsubAck, Unsubscribe, UserPropertiesBuf,
    Version, Will, WillProperties, frame,
};

/// Random values from which a packet of any type is built.
#[derive(Debug, Clone)]
struct Seed {
    texts: Vec<String>,
    blobs: Vec<Vec<u8>>,
    numbers: Vec<u32>,
    flags: Vec<Option<bool>>,
    user: Vec<(String, String)>,
    topic: String,
    filters: Vec<(String, u8)>,
    ids: Vec<u32>,
    /// Which optional fields are there.
    present: u32,
}

fn text() -> impl Strategy<Value = String> {
    // Any character but U+0000, so all of UTF-8's lengths and U+FEFF [MQTT-1.5.4-3].
    vec(
        prop_oneof![
            proptest::char::range('\u{1}', '\u{10FFFF}'),
            Just('\u{FEFF}'),
            Just('/')
        ],
        0..12,
    )
    .prop_map(String::from_iter)
}

fn topic() -> impl Strategy<Value = String> {
    "[a-z/$ é]{1,20}"
}

fn filter() -> impl Strategy<Value = String> {
    let levels = vec(prop_oneof!["[a-z$]{0,4}", Just("+".to_owned())], 1..5);
    (levels, any::<bool>(), option::of("[a-z]{1,4}")).prop_filter_map(
        "not empty",
        |(mut levels, all, share)| {
            if all {
                levels.push("#".to_owned());
            }
            let filter = levels.join("/");
            (!filter.is_empty()).then(|| match share {
                Some(share) => format!("$share/{share}/{filter}"),
                None => filter,
            })
        },
    )
}

prop_compose! {
    fn seed()(
        texts in vec(text(), 8), blobs in vec(vec(any::<u8>(), 0..200), 3), numbers in vec(1..=u32::MAX, 8),
        flags in vec(option::of(any::<bool>()), 6), user in vec((text(), text()), 0..4), topic in topic(),
        filters in vec((filter(), any::<u8>()), 1..5), ids in vec(1_u32..=0x0FFF_FFFF, 0..4), present in any::<u32>(),
    ) -> Seed {
        Seed { texts, blobs, numbers, flags, user, topic, filters, ids, present }
    }
}

impl Seed {
    fn has(&self, bit: usize) -> bool {
        self.present >> bit & 1 == 1
    }

    fn text(&self, at: usize) -> Text<'_> {
        Text::new(&self.texts[at]).expect("no U+0000 and short")
    }

    fn some_text(&self, at: usize) -> Option<Text<'_>> {
        self.has(at).then(|| self.text(at))
    }

    fn blob(&self, at: usize) -> Binary<'_> {
        Binary::new(&self.blobs[at]).expect("short")
    }

    fn some_blob(&self, at: usize) -> Option<Binary<'_>> {
        self.has(8 + at).then(|| self.blob(at))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.has(12 + at).then(|| self.numbers[at])
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.u32(at)
            .map(|number| u16::try_from(number >> 16).expect("16 bits"))
    }

    fn non_zero(&self, at: usize) -> Option<NonZeroU16> {
        self.u16(at).and_then(NonZeroU16::new)
    }

    fn id(&self) -> PacketId {
        NonZeroU16::new(u16::try_from(self.numbers[7] & 0xFFFF).expect("16 bits"))
            .map_or(PacketId::MIN, PacketId)
    }

    fn topic(&self) -> TopicName<'_> {
        TopicName::new(&self.topic).expect("a topic")
    }

    fn user(&self) -> UserPropertiesBuf {
        let mut user = UserPropertiesBuf::new();
        for (name, value) in &self.user {
            user.push(
                Text::new(name).expect("text"),
                Text::new(value).expect("text"),
            );
        }
        user
    }

    fn reason(&self, kind: Kind, sender: Sender) -> ReasonCode {
        let allowed: Vec<_> = ReasonCode::ALL
            .iter()
            .filter(|reason| reason.allowed_in(kind, sender))
            .collect();
        *allowed[self.numbers[6] as usize % allowed.len()]
    }

    fn subscriptions(&self, version: Version) -> Vec<Subscription<'_>> {
        self.filters
            .iter()
            .map(|(text, options)| {
                let filter = SubscriptionFilter::new(text, version).expect("a filter");
                let v5 = version == Version::V5;
                let handling = [
                    RetainHandling::Send,
                    RetainHandling::SendIfNew,
                    RetainHandling::DoNotSend,
                ];
                Subscription {
                    filter,
                    qos: QoS::from_u8(options % 3).expect("below 3"),
                    no_local: v5 && filter.group().is_none() && options & 4 != 0,
                    retain_as_published: v5 && options & 8 != 0,
                    retain_handling: if v5 {
                        handling[usize::from(options / 16 % 3)]
                    } else {
                        RetainHandling::Send
                    },
                }
            })
            .collect()
    }
}

/// Encodes, decodes and gives the packet to `check`.
fn roundtrip(
    packet: &Packet<'_>,
    version: Version,
    sender: Sender,
    check: impl FnOnce(&Packet<'_>),
) {
    let mut bytes = vec![0xAA];
    packet
        .encode(version, &mut bytes)
        .unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    let bytes = &bytes[1..];
    let found = frame(bytes, Limits::NONE)
        .expect("well-formed")
        .expect("whole");
    assert_eq!((found.len(), found.kind()), (bytes.len(), packet.kind()));
    let decoded = found
        .decode(version, sender)
        .unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    check(&decoded);
    assert_eq!(
        format!("{decoded:?}"),
        format!("{packet:?}"),
        "the same in print"
    );
}

macro_rules! same {
    ($packet:expr, $variant:ident, $version:expr, $sender:expr) => {{
        let packet = $packet;
        roundtrip(
            &Packet::$variant(packet.clone()),
            $version,
            $sender,
            |decoded| match decoded {
                Packet::$variant(decoded) => assert_eq!(*decoded, packet),
                other => panic!("decoded as {other:?}"),
            },
        );
    }};
}

const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];

fn publish<'a>(
    seed: &'a Seed,
    user: &'a UserPropertiesBuf,
    ids: &'a [SubscriptionId],
    version: Version,
    sender: Sender,
) -> Publish<'a> {
    let delivery = match seed.numbers[0] % 3 {
        0 => Delivery::AtMostOnce,
        1 => Delivery::AtLeastOnce {
            id: seed.id(),
            dup: seed.has(30),
        },
        _ => Delivery::ExactlyOnce {
            id: seed.id(),
            dup: seed.has(30),
        },
    };
    let mut publish = Publish {
        delivery,
        retain: seed.has(29),
        topic: Some(seed.topic()),
        properties: PublishProperties::default(),
        payload: &seed.blobs[2],
    };
    if version == Version::V5 {
        publish.properties = PublishProperties {
            payload_is_utf8: seed.flags[0],
            message_expiry: seed.u32(0),
            topic_alias: seed.non_zero(1),
            response_topic: seed.has(28).then(|| seed.topic()),
            correlation_data: seed.some_blob(0),
            user_properties: user.borrow(),
            subscription_ids: if sender == Sender::Server {
                ids.into()
            } else {
                (&[][..]).into()
            },
            content_type: seed.some_text(0),
        };
        if publish.properties.topic_alias.is_some() && seed.has(27) {
            publish.topic = None;
        }
    }
    publish
}

proptest! {
    #[test]
    fn publish_survives(seed in seed()) {
        let user = seed.user();
        let ids: Vec<_> = seed.ids.iter().filter_map(|id| SubscriptionId::new(*id)).collect();
        for (version, sender) in [(Version::V5, Sender::Client), (Version::V5, Sender::Server), (Version::V311, Sender::Client)] {
            let packet = publish(&seed, &user, &ids, version, sender);
            same!(packet, Publish, version, sender);

            let (mut whole, mut head) = (Vec::new(), Vec::new());
            packet.encode(version, &mut whole).unwrap();
            packet.encode_head(packet.payload.len(), version, &mut head).unwrap();
            head.extend(packet.payload);
            prop_assert_eq!(&head, &whole, "head and payload are the packet");

            let other_id = |id: PacketId| PacketId::new(!id.get()).unwrap_or(PacketId::MIN);
            let changed = match packet.delivery {
                Delivery::AtMostOnce => Delivery::AtMostOnce,
                Delivery::AtLeastOnce { id, dup } => Delivery::AtLeastOnce { id: other_id(id), dup: !dup },
                Delivery::ExactlyOnce { id, dup } => Delivery::ExactlyOnce { id: other_id(id), dup: !dup },
            };
            let (mut expected, mut patched) = (vec![1, 2, 3], vec![1, 2, 3]);
            Publish { delivery: changed, ..packet }.encode(version, &mut expected).unwrap();
            let framed = PublishFrame::new(&packet, version).unwrap();
            framed.append(changed.id().unwrap_or(PacketId::MIN), changed.dup(), &mut patched);
            prop_assert_eq!(framed.qos(), packet.delivery.qos());
            prop_assert_eq!(framed.len() + 3, patched.len());
            prop_assert_eq!(patched, expected, "only identifier and DUP change");
        }
    }

    #[test]
    fn connect_survives(seed in seed()) {
        let user = seed.user();
        for version in [Version::V5, Version::V311] {
            let v5 = version == Version::V5;
            let mut connect = Connect {
                version,
                clean_start: seed.has(31) || !v5,
                keep_alive: u16::try_from(seed.numbers[0] & 0xFFFF).unwrap(),
                properties: ConnectProperties::default(),
                client_id: seed.text(1),
                will: seed.has(30).then(|| Will {
                    topic: seed.topic(),
                    payload: seed.blob(0),
                    qos: QoS::from_u8(u8::try_from(seed.numbers[1] % 3).unwrap()).unwrap(),
                    retain: seed.has(29),
                    properties: WillProperties::default(),
                }),
                user_name: seed.has(28).then(|| seed.text(2)),
                password: None,
            };
            if v5 || connect.user_name.is_some() {
                connect.password = seed.has(27).then(|| Password::new(seed.blob(1)));
            }
            if v5 {
                connect.properties = ConnectProperties {
                    session_expiry: seed.u32(0),
                    receive_maximum: seed.non_zero(1),
                    maximum_packet_size: seed.u32(2).and_then(NonZeroU32::new),
                    topic_alias_maximum: seed.u16(3),
                    request_response_information: seed.flags[0],
                    request_problem_information: seed.flags[1],
                    user_properties: user.borrow(),
                    authentication_method: seed.has(26).then(|| seed.text(3)),
                    authentication_data: if seed.has(26) { seed.some_blob(2) } else { None },
                };
                if let Some(will) = &mut connect.will {
                    will.properties = WillProperties {
                        delay: seed.u32(4),
                        payload_is_utf8: seed.flags[2],
                        message_expiry: seed.u32(5),
                        content_type: seed.some_text(4),
                        response_topic: seed.has(25).then(|| seed.topic()),
                        correlation_data: seed.some_blob(1),
                        user_properties: user.borrow(),
                    };
                }
            }
            let secret = connect.password.map(|password| password.expose().as_bytes().to_vec());
            roundtrip(&Packet::Connect(Box::new(connect)), version, Sender::Client, |decoded| match decoded {
                // A password has no ==, and its print hides it.
                Packet::Connect(decoded) => assert_eq!(decoded.password.map(|password| password.expose().as_bytes().to_vec()), secret),
                other => panic!("decoded as {other:?}"),
            });
        }
    }

    #[test]
    fn connack_survives(seed in seed()) {
        let user = seed.user();
        let reason = seed.reason(Kind::ConnAck, Sender::Server);
        let session_present = seed.has(31) && reason == ReasonCode::Success;
        let properties = ConnAckProperties {
            session_expiry: seed.u32(0),
            receive_maximum: seed.non_zero(1),
            maximum_qos: seed.flags[0].map(|one| if one { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            retain_available: seed.flags[1],
            maximum_packet_size: seed.u32(2).and_then(NonZeroU32::new),
            assigned_client_id: seed.some_text(0),
            topic_alias_maximum: seed.u16(3),
            reason_string: seed.some_text(1),
            user_properties: user.borrow(),
            wildcard_subscription_available: seed.flags[2],
            subscription_id_available: seed.flags[3],
            shared_subscription_available: seed.flags[4],
            server_keep_alive: seed.u16(4),
            response_information: seed.some_text(2),
            server_reference: seed.some_text(3),
            authentication_method: seed.some_text(4),
            authentication_data: seed.some_blob(0),
        };
        same!(Box::new(ConnAck { session_present, reason, properties }), ConnAck, Version::V5, Sender::Server);
        let reason = ReasonCode::from_connect_return_code(u8::try_from(seed.numbers[0] % 6).unwrap()).unwrap();
        let session_present = session_present && reason == ReasonCode::Success;
        let properties = ConnAckProperties::default();
        same!(Box::new(ConnAck { session_present, reason, properties }), ConnAck, Version::V311, Sender::Server);
    }

    #[test]
    fn acknowledgements_survive(seed in seed()) {
        let user = seed.user();
        let properties = AckProperties { reason_string: seed.some_text(0), user_properties: user.borrow() };
        for sender in SENDERS {
            let ack = |kind| Ack { id: seed.id(), reason: seed.reason(kind, sender), properties };
            same!(ack(Kind::PubAck), PubAck, Version::V5, sender);
            same!(ack(Kind::PubRec), PubRec, Version::V5, sender);
            same!(ack(Kind::PubRel), PubRel, Version::V5, sender);
            same!(ack(Kind::PubComp), PubComp, Version::V5, sender);
            let ack = Ack::success(seed.id());
            same!(ack, PubAck, Version::V311, sender);
            same!(ack, PubRec, Version::V311, sender);
            same!(ack, PubRel, Version::V311, sender);
            same!(ack, PubComp, Version::V311, sender);
        }
        let sub: Vec<_> = ReasonCode::ALL.iter().copied().filter(|reason| reason.allowed_in(Kind::SubAck, Sender::Server)).collect();
        let unsub: Vec<_> = ReasonCode::ALL.iter().copied().filter(|reason| reason.allowed_in(Kind::UnsubAck, Sender::Server)).collect();
        let (sub, unsub) = (&sub[seed.numbers[0] as usize % sub.len()..], &unsub[seed.numbers[1] as usize % unsub.len()..]);
        same!(SubAck { id: seed.id(), properties, reasons: sub.into() }, SubAck, Version::V5, Sender::Server);
        same!(UnsubAck { id: seed.id(), properties, reasons: unsub.into() }, UnsubAck, Version::V5, Sender::Server);
        let properties = AckProperties::default();
        let granted = [ReasonCode::Success, ReasonCode::GrantedQoS1, ReasonCode::GrantedQoS2, ReasonCode::UnspecifiedError];
        let granted = &granted[seed.numbers[0] as usize % 4..];
        same!(SubAck { id: seed.id(), properties, reasons: granted.into() }, SubAck, Version::V311, Sender::Server);
        same!(UnsubAck { id: seed.id(), properties, reasons: (&[][..]).into() }, UnsubAck, Version::V311, Sender::Server);
    }

    #[test]
    fn subscribe_and_unsubscribe_survive(seed in seed()) {
        let user = seed.user();
        for version in [Version::V5, Version::V311] {
            let mut properties = SubscribeProperties::default();
            let mut user_properties = properties.user_properties;
            if version == Version::V5 {
                user_properties = user.borrow();
                properties = SubscribeProperties { subscription_id: seed.ids.first().and_then(|id| SubscriptionId::new(*id)), user_properties };
            }
            let list = seed.subscriptions(version);
            same!(Subscribe { id: seed.id(), properties, subscriptions: list.as_slice().into() }, Subscribe, version, Sender::Client);
            let filters: Vec<_> = list.iter().map(|one| one.filter).collect();
            same!(Unsubscribe { id: seed.id(), user_properties, filters: filters.as_slice().into() }, Unsubscribe, version, Sender::Client);
        }
    }

    #[test]
    fn disconnect_auth_and_pings_survive(seed in seed()) {
        let user = seed.user();
        for sender in SENDERS {
            let properties = DisconnectProperties {
                session_expiry: if sender == Sender::Client { seed.u32(0) } else { None },
                reason_string: seed.some_text(0),
                user_properties: user.borrow(),
                server_reference: if sender == Sender::Server { seed.some_text(1) } else { None },
            };
            same!(Disconnect { reason: seed.reason(Kind::Disconnect, sender), properties }, Disconnect, Version::V5, sender);
            let properties = AuthProperties {
                authentication_method: Some(seed.text(0)),
                authentication_data: seed.some_blob(0),
                reason_string: seed.some_text(1),
                user_properties: user.borrow(),
            };
            same!(Auth { reason: seed.reason(Kind::Auth, sender), properties }, Auth, Version::V5, sender);
        }
        same!(Disconnect::with_reason(ReasonCode::Success), Disconnect, Version::V311, Sender::Client);
        for version in [Version::V5, Version::V311] {
            roundtrip(&Packet::PingReq, version, Sender::Client, |_| ());
            roundtrip(&Packet::PingResp, version, Sender::Server, |_| ());
        }
    }

    #[test]
    fn any_bytes_decode_without_panic(mut bytes in vec(any::<u8>(), 0..200), header in any::<u8>()) {
        // A length that fits gets past the frame.
        if let (Some(last), [_, second, ..]) = (u8::try_from(bytes.len().saturating_sub(2)).ok(), bytes.as_mut_slice()) {
            *second = last & 0x7F;
        }
        if let Some(first) = bytes.first_mut() {
            *first = header;
        }
        stockade_mqtt::fuzzing::mqtt_frame_v5(&bytes);
        stockade_mqtt::fuzzing::mqtt_frame_v311(&bytes);
    }

    /// A flipped byte in a good packet is refused or is another good packet.
    #[test]
    fn damaged_packets_decode_without_panic(seed in seed(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let user = seed.user();
        for version in [Version::V5, Version::V311] {
            let mut bytes = Vec::new();
            publish(&seed, &user, &[], version, Sender::Client).encode(version, &mut bytes).unwrap();
            let list = seed.subscriptions(version);
            let subscribe = Subscribe { id: seed.id(), properties: SubscribeProperties::default(), subscriptions: list.as_slice().into() };
            subscribe.encode(version, &mut bytes).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = value;
            stockade_mqtt::fuzzing::mqtt_frame_v5(&bytes);
            stockade_mqtt::fuzzing::mqtt_frame_v311(&bytes);
        }
    }

    #[test]
    fn user_properties_survive_storage(seed in seed()) {
        let user = seed.user();
        let back = UserPropertiesBuf::from_bytes(user.as_bytes().to_vec());
        prop_assert_eq!(back.as_ref(), Ok(&user));
        prop_assert_eq!(user.borrow().to_buf(), user.clone());
        let pairs: Vec<_> = user.borrow().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        prop_assert_eq!(pairs, seed.user);
        let mut cut = user.as_bytes().to_vec();
        if cut.pop().is_some() {
            prop_assert!(UserPropertiesBuf::from_bytes(cut).is_err());
        }
    }
}

#[test]
fn what_a_version_cannot_say_is_not_encoded() {
    let none: &mut Vec<u8> = &mut Vec::new();
    let filter = SubscriptionFilter::new("$share/g/a", Version::V5).unwrap();
    let shared = [Subscription::new(filter, QoS::AtMostOnce)];
    let no_local = [Subscription {
        no_local: true,
        ..shared[0]
    }];
    let subscribe = |list| Subscribe {
        id: PacketId::MIN,
        properties: SubscribeProperties::default(),
        subscriptions: list,
    };
    assert_eq!(
        subscribe((&shared[..]).into()).encode(Version::V311, none),
        Err(EncodeError::NotInVersion)
    );
    assert_eq!(
        subscribe((&no_local[..]).into()).encode(Version::V5, none),
        Err(EncodeError::NoLocalOnShared)
    );
    assert_eq!(
        subscribe((&[][..]).into()).encode(Version::V5, none),
        Err(EncodeError::Empty)
    );
    let auth = Auth {
        reason: ReasonCode::Success,
        properties: AuthProperties::default(),
    };
    assert_eq!(
        auth.encode(Version::V311, none),
        Err(EncodeError::NotInVersion)
    );
    let publish = Publish {
        delivery: Delivery::AtMostOnce,
        retain: false,
        topic: None,
        properties: PublishProperties {
            topic_alias: NonZeroU16::new(1),
            ..PublishProperties::default()
        },
        payload: b"",
    };
    assert_eq!(
        publish.encode(Version::V311, none),
        Err(EncodeError::NoTopic)
    );
    assert_eq!(
        publish.encode_head(0x0FFF_FFFF, Version::V5, none),
        Err(EncodeError::TooLarge)
    );
    let connect = Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive: 0,
        properties: ConnectProperties::default(),
        client_id: Text::default(),
        will: None,
        user_name: None,
        password: Some(Password::new(Binary::default())),
    };
    assert_eq!(connect.encode(none), Err(EncodeError::NotInVersion));
    assert!(none.is_empty(), "nothing half-written: {none:?}");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let password = Password::new(Binary::new(b"hunter2").unwrap());
    assert_eq!(format!("{password:?}"), "Password(hidden)");
    assert_eq!(format!("{:?}", password.expose()), "Binary(7 bytes)");
}
