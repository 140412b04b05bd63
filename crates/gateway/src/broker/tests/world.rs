//! A broker, a clock to turn, and clients that read and write packets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use stockade_mqtt::{
    AckKind, Connect, ConnectProperties, Delivery, Limits as Framing, Packet, PacketId, Publish,
    PublishProperties, QoS, RetainHandling, Sender, Subscribe, SubscribeProperties, Subscription,
    SubscriptionFilter, SubscriptionId, Text, TopicName, Version, frame,
};
use stockade_store::{Bus, BusError, BusStatus, Durability, Journal, JournalOptions, Seq, Stream};
use tokio::sync::watch;

use super::super::*;
use crate::name::DeviceName;
use crate::policy::Policy;

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam"
version = VERSION
class = "linux"
[[comms.publish]]
topic = "home/all"
max-bytes = 100
[[comms.publish]]
topic = "home/${device}/up"
max-bytes = 100
[[comms.publish]]
topic = "home/slow"
max-bytes = 100
rate = "2/s"
[[comms.publish]]
topic = "home/data"
max-bytes = 100
schema = "motion"
[[comms.subscribe]]
topic = "FILTER"
[data.motion]
x = { use = "keep" }
"#;

fn source(version: u32, filter: &str) -> String {
    PROFILE
        .replace("VERSION", &version.to_string())
        .replace("FILTER", filter)
}

/// What `id` may do: publish to a few topics, subscribe to what `filter` allows.
pub(super) fn policy(id: &str, version: u32, filter: &str, quarantined: bool) -> Arc<Policy> {
    let profile = stockade_profile::parse(&source(version, filter)).unwrap();
    Policy::compile(&profile, &DeviceName::new("cam", id).unwrap(), quarantined)
}

/// A journal whose disk can be made to fail.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) journal: Journal,
    /// 0 takes records, 1 is full, 2 refuses.
    pub(super) mood: AtomicU8,
}

impl Bus for Disk {
    fn append_all(&self, records: &[(Stream, &[u8])]) -> Result<Seq, BusError> {
        match self.mood.load(Ordering::Relaxed) {
            0 => self.journal.append_all(records),
            1 => Err(BusError::Full),
            _ => Err(BusError::Refusing {
                reason: "no space left on device".to_owned(),
            }),
        }
    }
    fn durable(&self) -> watch::Receiver<Seq> {
        self.journal.durable()
    }
    fn status(&self) -> BusStatus {
        self.journal.status()
    }
    fn read(
        &self,
        stream: Stream,
        after: Seq,
        most: usize,
    ) -> Result<Vec<(Seq, Vec<u8>)>, BusError> {
        self.journal.read(stream, after, most)
    }
    fn trim(&self, stream: Stream, up_to: Seq) -> Result<(), BusError> {
        self.journal.trim(stream, up_to)
    }
    fn last(&self) -> Seq {
        self.journal.last()
    }
    fn part(&self) {
        self.journal.part();
    }
    fn first(&self) -> Seq {
        self.journal.first()
    }
}

/// A connection, from the client's side.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) handle: Option<Handle>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) version: Version,
}

/// How a client connects.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) version: Version,
    pub(super) clean: bool,
    /// Session expiry; in 3.1.1 a clean session or not.
    pub(super) expiry: u32,
    pub(super) window: Option<u16>,
    pub(super) aliases: Option<u16>,
    pub(super) keep_alive: u16,
    pub(super) address: u8,
    pub(super) will: Option<(&'static str, &'static str, u32)>,
    pub(super) max_packet: Option<u32>,
}

/// MQTT 5, no session kept.
pub(super) const V5: How = How {
    version: Version::V5,
    clean: true,
    expiry: 0,
    window: None,
    aliases: None,
    keep_alive: 0,
    address: 1,
    will: None,
    max_packet: None,
};
/// 3.1.1, no session kept.
pub(super) const V311: How = How {
    version: Version::V311,
    ..V5
};
/// MQTT 5, a session kept for a minute.
pub(super) const KEPT: How = How {
    clean: false,
    expiry: 60,
    ..V5
};

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) disk: Arc<Disk>,
    pub(super) broker: Broker,
    pub(super) now: Now,
    pub(super) filter: String,
    pub(super) reports: Vec<Report>,
    pub(super) congested: bool,
    conns: u64,
}

pub(super) fn journal(dir: &std::path::Path) -> Journal {
    let options = JournalOptions {
        durability: Durability::Interval(std::time::Duration::from_hours(1)),
        ..JournalOptions::default()
    };
    Journal::open(dir, options).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk {
            journal: journal(dir.path()),
            mood: AtomicU8::new(0),
        });
        let bus: Arc<dyn Bus> = Arc::<Disk>::clone(&disk);
        let broker = Broker::new(limits, bus, Arc::default());
        let now = Now {
            mono: 1_000,
            unix: 1_790_000_000_000,
        };
        Self {
            dir,
            disk,
            broker,
            now,
            filter: "home/#".to_owned(),
            reports: Vec::new(),
            congested: false,
            conns: 0,
        }
    }

    pub(super) fn turn<R>(&mut self, f: impl FnOnce(&mut Broker, &mut Output) -> R) -> R {
        let mut out = Output::at(self.now);
        let result = f(&mut self.broker, &mut out);
        for outbox in &out.dirty {
            outbox.flush(u64::MAX);
        }
        self.congested |= out.congested;
        self.reports.extend(
            out.reports
                .into_iter()
                .filter(|r| !matches!(r, Report::Admitted { .. })),
        );
        result
    }

    /// Turns the clock, as time does: tick by tick.
    pub(super) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.now.mono += 500;
            self.now.unix += 500;
            self.turn(Broker::handle_tick);
        }
    }

    pub(super) fn connect(&mut self, client: &str, how: How) -> Client {
        let device = client.split('/').next().unwrap();
        let policy = policy(device, 1, &self.filter, false);
        self.connect_as(client, how, policy)
    }

    pub(super) fn connect_as(&mut self, client: &str, how: How, policy: Arc<Policy>) -> Client {
        self.conns += 1;
        let arrival = Arrival {
            way: Way::Tls,
            policy,
            peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, how.address)), 1_000),
            conn: self.conns,
            fingerprint: [0; 32],
            certified_until: self.now.unix + 1_000_000_000,
        };
        let v5 = how.version == Version::V5;
        let will = how.will.map(|(topic, payload, delay)| stockade_mqtt::Will {
            topic: TopicName::new(topic).unwrap(),
            payload: stockade_mqtt::Binary::new(payload.as_bytes()).unwrap(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: stockade_mqtt::WillProperties {
                delay: (v5 && delay > 0).then_some(delay),
                ..stockade_mqtt::WillProperties::default()
            },
        });
        let packet = Connect {
            version: how.version,
            clean_start: if v5 { how.clean } else { how.expiry == 0 },
            keep_alive: how.keep_alive,
            properties: ConnectProperties {
                session_expiry: (v5 && how.expiry > 0).then_some(how.expiry),
                receive_maximum: how.window.and_then(std::num::NonZeroU16::new),
                topic_alias_maximum: how.aliases,
                maximum_packet_size: how.max_packet.and_then(std::num::NonZeroU32::new),
                ..ConnectProperties::default()
            },
            client_id: Text::new(client).unwrap(),
            will,
            user_name: None,
            password: None,
        };
        let outbox = Arc::<Outbox>::default();
        let handle = self.turn(|b, out| b.handle_connect(&arrival, &packet, &outbox, out));
        Client {
            handle,
            outbox,
            version: how.version,
        }
    }

    /// A client that is connected, its CONNACK read.
    pub(super) fn client(&mut self, client: &str, how: How) -> Client {
        let client = self.connect(client, how);
        let connack = client.read();
        assert!(connack[0].starts_with("CONNACK success"), "{connack:?}");
        client
    }

    pub(super) fn send(&mut self, client: &Client, packet: &Packet<'_>) -> Flow {
        // Through the bytes, as from a real client.
        let mut bytes = Vec::new();
        packet.encode(client.version, &mut bytes).unwrap();
        let decoded = frame(&bytes, Framing::default()).unwrap().unwrap();
        let decoded = decoded.decode(client.version, Sender::Client).unwrap();
        let handle = client.handle.unwrap();
        self.turn(|b, out| {
            b.handle_heard(handle, out);
            b.handle_packet(handle, &decoded, out)
        })
    }

    pub(super) fn subscribe(&mut self, client: &Client, filter: &str, qos: u8) -> Vec<String> {
        self.subscribe_with(client, filter, qos, None, |_| ())
    }

    pub(super) fn subscribe_with(
        &mut self,
        client: &Client,
        filter: &str,
        qos: u8,
        id: Option<u32>,
        change: impl FnOnce(&mut Subscription<'_>),
    ) -> Vec<String> {
        let filter = SubscriptionFilter::new(filter, client.version).unwrap();
        let mut one = Subscription::new(filter, QoS::from_u8(qos).unwrap());
        one.retain_handling = RetainHandling::Send;
        change(&mut one);
        let list = [one];
        let packet = Subscribe {
            id: PacketId::new(9).unwrap(),
            properties: SubscribeProperties {
                subscription_id: id.and_then(SubscriptionId::new),
                ..SubscribeProperties::default()
            },
            subscriptions: list.as_slice().into(),
        };
        let _flow = self.send(client, &Packet::Subscribe(packet));
        client.read()
    }

    pub(super) fn publish(
        &mut self,
        client: &Client,
        topic: &str,
        payload: &str,
        qos: u8,
        id: u16,
    ) -> Flow {
        self.publish_with(client, topic, payload, (qos, id), |_| ())
    }

    pub(super) fn publish_with(
        &mut self,
        client: &Client,
        topic: &str,
        payload: &str,
        (qos, id): (u8, u16),
        change: impl FnOnce(&mut Publish<'_>),
    ) -> Flow {
        let id = PacketId::new(id.max(1)).unwrap();
        let mut publish = Publish {
            delivery: match qos {
                0 => Delivery::AtMostOnce,
                1 => Delivery::AtLeastOnce { id, dup: false },
                _ => Delivery::ExactlyOnce { id, dup: false },
            },
            retain: false,
            topic: TopicName::new(topic).ok(),
            properties: PublishProperties::default(),
            payload: payload.as_bytes(),
        };
        change(&mut publish);
        self.send(client, &Packet::Publish(publish))
    }

    pub(super) fn ack(&mut self, client: &Client, kind: AckKind, id: u16) -> Flow {
        let ack = stockade_mqtt::Ack::success(PacketId::new(id).unwrap());
        let packet = match kind {
            AckKind::PubAck => Packet::PubAck(ack),
            AckKind::PubRec => Packet::PubRec(ack),
            AckKind::PubRel => Packet::PubRel(ack),
            AckKind::PubComp => Packet::PubComp(ack),
        };
        self.send(client, &packet)
    }

    pub(super) fn drop_connection(&mut self, client: &Client) {
        let handle = client.handle.unwrap();
        self.turn(|b, out| b.handle_lost(handle, out));
    }

    /// Forgets a device to the end.
    pub(super) fn forget(&mut self, device: &str) -> Forgotten {
        let profile = stockade_profile::parse(&source(1, &self.filter)).unwrap();
        let name = DeviceName::new("cam", device).unwrap();
        let mut forgetting = Forgetting::new(Whose::new(name, Some(&profile)));
        while !self
            .turn(|broker, out| broker.forget(&mut forgetting, out))
            .unwrap()
        {}
        forgetting.gone
    }

    /// The violations and alarms so far, forgotten afterwards.
    pub(super) fn told(&mut self) -> Vec<String> {
        let reports = std::mem::take(&mut self.reports);
        let text = |report| match report {
            Report::Cloned { reason, .. } => format!("CLONE {reason}"),
            Report::Violation { reason, .. }
            | Report::Admitted { reason, .. }
            | Report::Closed { reason, .. } => reason,
            Report::JournalRefuses { reason } => format!("ALARM {reason}"),
        };
        reports.into_iter().map(text).collect()
    }
}

impl Client {
    /// The packets that may leave once everything up to `durable` is on disk.
    pub(super) fn read_up_to(&self, durable: u64) -> Vec<String> {
        let mut bytes = Vec::new();
        let taken = self.outbox.take(durable, &mut bytes, Waker::noop());
        let mut lines = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(whole) = frame(rest, Framing::NONE).unwrap() {
            lines.push(line(&whole.decode(self.version, Sender::Server).unwrap()));
            rest = &rest[whole.len()..];
        }
        assert!(rest.is_empty());
        if taken.closing.is_some() {
            lines.push("closed".to_owned());
        }
        lines
    }

    /// All packets, as if the disk were always ready.
    pub(super) fn read(&self) -> Vec<String> {
        self.read_up_to(u64::MAX)
    }
}

fn line(packet: &Packet<'_>) -> String {
    match packet {
        Packet::ConnAck(p) => {
            let present = if p.session_present { " present" } else { "" };
            format!("CONNACK {}{present}", p.reason.as_str())
        }
        Packet::Publish(p) => {
            let id = p
                .delivery
                .id()
                .map(|i| format!(" #{i}"))
                .unwrap_or_default();
            let dup = if p.delivery.dup() { " dup" } else { "" };
            let retain = if p.retain { " retained" } else { "" };
            let alias = p
                .properties
                .topic_alias
                .map(|a| format!(" alias={a}"))
                .unwrap_or_default();
            let expiry = p
                .properties
                .message_expiry
                .map(|e| format!(" expiry={e}"))
                .unwrap_or_default();
            let ids: Vec<_> = p
                .properties
                .subscription_ids
                .iter()
                .map(|i| i.get().to_string())
                .collect();
            let ids = if ids.is_empty() {
                String::new()
            } else {
                format!(" ids={}", ids.join(","))
            };
            let topic = p.topic.map(|t| t.to_string()).unwrap_or_default();
            let payload = String::from_utf8_lossy(p.payload);
            let qos = p.delivery.qos().as_u8();
            format!("PUBLISH {topic} {payload} q{qos}{id}{dup}{retain}{alias}{expiry}{ids}")
        }
        Packet::PubAck(p) => format!("PUBACK #{} {}", p.id, p.reason.as_str()),
        Packet::PubRec(p) => format!("PUBREC #{} {}", p.id, p.reason.as_str()),
        Packet::PubRel(p) => format!("PUBREL #{} {}", p.id, p.reason.as_str()),
        Packet::PubComp(p) => format!("PUBCOMP #{} {}", p.id, p.reason.as_str()),
        Packet::SubAck(p) => {
            let reasons: Vec<_> = p.reasons.iter().map(ReasonCode::as_str).collect();
            format!("SUBACK {}", reasons.join(", "))
        }
        Packet::UnsubAck(_) => "UNSUBACK".to_owned(),
        Packet::Disconnect(p) => format!("DISCONNECT {}", p.reason.as_str()),
        Packet::PingResp => "PINGRESP".to_owned(),
        other => format!("{:?}", other.kind()),
    }
}
