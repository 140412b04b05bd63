//! Times the codec on a 128-byte QoS 1 PUBLISH: `cargo run --release -p stockade-mqtt --example throughput`.

use std::{hint::black_box, time::Instant};

use stockade_mqtt::{
    Ack, AckKind, Delivery, Limits, Packet, PacketId, Publish, PublishFrame, PublishProperties,
    Sender, TopicFilter, TopicName, Version, frame,
};

const ROUNDS: u32 = 5_000_000;

#[expect(clippy::print_stdout, reason = "an example prints its result")]
fn time(what: &str, mut once: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        once();
    }
    println!(
        "{what:44} {:6.1} ns",
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
    );
}

fn main() {
    let payload = [b'x'; 128];
    let topic = TopicName::new("devices/cam-1/telemetry").ok();
    let publish = Publish {
        delivery: Delivery::AtLeastOnce {
            id: PacketId::MIN,
            dup: false,
        },
        retain: false,
        topic,
        properties: PublishProperties {
            message_expiry: Some(60),
            ..PublishProperties::default()
        },
        payload: &payload,
    };
    for version in [Version::V5, Version::V311] {
        let mut bytes = Vec::new();
        let mut out = Vec::with_capacity(1024);
        if publish.encode(version, &mut bytes).is_err() {
            return;
        }
        time(&format!("{version:?} PUBLISH decode"), || {
            let found = frame(black_box(&bytes), Limits::default());
            if let Ok(Some(found)) = found {
                assert!(black_box(found.decode(version, Sender::Client)).is_ok());
            }
        });
        time(&format!("{version:?} PUBLISH encode"), || {
            out.clear();
            assert!(publish.encode(version, black_box(&mut out)).is_ok());
        });
        if let Ok(shared) = PublishFrame::new(&publish, version) {
            time(&format!("{version:?} PUBLISH from a shared frame"), || {
                out.clear();
                shared.append(black_box(PacketId::MIN), false, black_box(&mut out));
            });
        }
        time(
            &format!("{version:?} PUBLISH decode, PUBACK encode"),
            || {
                out.clear();
                if let Ok(Some(found)) = frame(black_box(&bytes), Limits::default())
                    && let Ok(Packet::Publish(publish)) = found.decode(version, Sender::Client)
                    && let Some(id) = publish.delivery.id()
                {
                    let ack =
                        Ack::success(id).encode(AckKind::PubAck, version, black_box(&mut out));
                    assert!(ack.is_ok());
                }
            },
        );
    }
    if let (Ok(filter), Some(topic)) = (TopicFilter::new("devices/+/telemetry/#"), topic) {
        time("filter matches name, 3 levels", || {
            black_box(black_box(filter).matches(black_box(topic)));
        });
    }
}
