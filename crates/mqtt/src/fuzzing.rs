//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

use crate::{
    Delivery, Limits, Packet, PacketId, PublishFrame, Sender, SharedFilter, TopicFilter, TopicName,
    Version, frame,
};

/// Decodes a stream of MQTT 5 packets, as the server and as the client.
pub fn mqtt_frame_v5(data: &[u8]) {
    stream(data, Version::V5);
}

/// Decodes a stream of MQTT 3.1.1 packets, as the server and as the client.
pub fn mqtt_frame_v311(data: &[u8]) {
    stream(data, Version::V311);
}

/// Takes the data as two lines, a filter and a name or another filter.
pub fn mqtt_topic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (first, second) = text.split_once('\n').unwrap_or((text, text));
    if let Some(Ok(shared)) = SharedFilter::new(first) {
        let text = format!("$share/{}/{}", shared.group(), shared.filter());
        assert_eq!(text, first, "a shared filter is made of its parts");
    }
    let Ok(filter) = TopicFilter::new(first) else {
        return;
    };
    assert!(filter.contains(filter), "a filter contains itself: {first}");
    if let Ok(name) = TopicName::new(second) {
        let literal = TopicFilter::new(second).map(|literal| filter.contains(literal));
        assert_eq!(
            literal,
            Ok(filter.matches(name)),
            "a name is a filter that matches only itself"
        );
    }
    if let Ok(other) = TopicFilter::new(second) {
        // An arbitrary name of the other filter: all its wildcards replaced by a word.
        let member: String = other
            .levels()
            .map(|level| {
                if matches!(level, "+" | "#") {
                    "x"
                } else {
                    level
                }
            })
            .collect::<Vec<_>>()
            .join("/");
        let Ok(member) = TopicName::new(&member) else {
            return;
        };
        if other.matches(member) && filter.contains(other) {
            assert!(
                filter.matches(member),
                "{filter} contains {other} but does not match {member}"
            );
        }
    }
}

fn stream(data: &[u8], version: Version) {
    for sender in [Sender::Client, Sender::Server] {
        for limits in [Limits::default(), Limits::NONE] {
            let mut rest = data;
            while let Ok(Some(found)) = frame(rest, limits) {
                let Some(next) = rest.get(found.len()..) else {
                    return;
                };
                rest = next;
                if let Ok(packet) = found.decode(version, sender) {
                    again(&packet, version, sender);
                }
            }
        }
    }
}

/// What was decoded can be encoded, and decodes to the same again.
fn again(packet: &Packet<'_>, version: Version, sender: Sender) {
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    assert_eq!(packet.encode(version, &mut once), Ok(()), "{packet:?}");
    let decoded =
        frame(&once, Limits::NONE).map(|found| found.map(|found| found.decode(version, sender)));
    let Ok(Some(Ok(second))) = decoded else {
        unreachable!("{packet:?} became {once:02X?}, then {decoded:?}")
    };
    assert_eq!(second.encode(version, &mut twice), Ok(()), "{second:?}");
    assert_eq!(once, twice, "{packet:?}");
    if let Packet::Publish(publish) = packet {
        let id = publish.delivery.id().unwrap_or(PacketId::MIN);
        let mut framed = Vec::new();
        let stale = match publish.delivery {
            Delivery::AtMostOnce => Delivery::AtMostOnce,
            Delivery::AtLeastOnce { .. } => Delivery::AtLeastOnce {
                id: PacketId::MIN,
                dup: true,
            },
            Delivery::ExactlyOnce { .. } => Delivery::ExactlyOnce {
                id: PacketId::MIN,
                dup: true,
            },
        };
        let template = crate::Publish {
            delivery: stale,
            ..*publish
        };
        if let Ok(template) = PublishFrame::new(&template, version) {
            template.append(id, publish.delivery.dup(), &mut framed);
        }
        assert_eq!(framed, once, "{publish:?}");
    }
}
