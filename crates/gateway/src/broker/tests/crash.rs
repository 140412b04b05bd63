//! What a crash leaves: the journal up to what was durable, and nothing else.
//!
//! The state read back must be the state there was; and with clients that follow the protocol no
//! acknowledged message may be lost, and none with QoS 2 may arrive twice, wherever the crash falls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::task::Waker;

use proptest::prelude::*;
use stockade_mqtt::{AckKind, Limits as Framing, Packet, PacketId, Sender, Version, frame};
use stockade_store::{Bus as _, Seq, Stream};

use super::super::*;
use super::world::{Client, How, KEPT, V5, V311, World};

/// All that must survive, as text.
#[expect(
    clippy::use_debug,
    reason = "compared, and read by people when it differs"
)]
pub(super) fn dump(broker: &Broker) -> String {
    let mut out = String::new();
    for slot in broker.by_client.values() {
        let s = broker.sessions.get(*slot).unwrap();
        if !s.durable() {
            continue;
        }
        writeln!(
            out,
            "{} sid={} v={:?} expiry={}",
            s.client, s.sid, s.version, s.expiry
        )
        .unwrap();
        let mut held: Vec<_> = s.subscriptions.iter().map(|h| format!("{h:?}")).collect();
        held.sort();
        writeln!(out, "  {held:?} in={:?}", s.incoming).unwrap();
        let will = s
            .will
            .as_ref()
            .map(|w| (w.delay, w.flags(), &w.message.wire));
        writeln!(out, "  will={will:?}").unwrap();
        let Some(o) = &s.outgoing else { continue };
        for f in &o.flights {
            let p = f
                .parcel
                .as_ref()
                .map(|p| (p.message.mid, p.qos, p.retain, &p.ids));
            writeln!(out, "  flight #{} {p:?}", f.packet_id).unwrap();
        }
        for p in &o.queue {
            writeln!(
                out,
                "  queued {} q{} {:?}",
                p.message.mid, p.qos, p.message.wire
            )
            .unwrap();
        }
        writeln!(out, "  bytes={}", o.queued_bytes).unwrap();
    }
    for (topic, kept) in broker.retained.iter() {
        writeln!(
            out,
            "retained {topic} q{} {:?}",
            kept.qos, kept.message.wire
        )
        .unwrap();
    }
    out
}

/// Waits until everything is on disk: reading gives durable records only.
pub(super) fn all_durable(world: &World) {
    let last = world.disk.last();
    let mut durable = world.disk.durable();
    while durable.borrow_and_update().get() < last.get() {
        std::thread::yield_now();
    }
}

/// A new broker from the journal up to `until`.
pub(super) fn read_back(world: &World, until: u64) -> Broker {
    all_durable(world);
    let bus: Arc<dyn Bus> = Arc::<super::world::Disk>::clone(&world.disk);
    let mut broker = Broker::new(world.broker.limits.clone(), bus, Arc::default());
    let mut replay = Replay::default();
    for (seq, record) in world
        .disk
        .read(Stream::Sessions, Seq::ZERO, usize::MAX)
        .unwrap()
    {
        if seq.get() <= until {
            broker
                .handle_replay(&mut replay, seq.get(), &record, world.now)
                .unwrap();
        }
    }
    broker
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Op {
    Connect(usize, bool, u32, bool),
    Lose(usize),
    Subscribe(usize, usize, u8),
    Unsubscribe(usize, usize),
    Publish(usize, usize, u8, u16, bool),
    Ack(usize, u8, u16),
    Pass(u64),
    Narrow(usize, u32),
    Forget(usize),
}

const NAMES: [&str; 4] = ["a", "a/2", "b", "c"];
const FILTERS: [&str; 5] = [
    "home/#",
    "home/all",
    "home/+/up",
    "$share/g/home/#",
    "home/a/up",
];
const TOPICS: [&str; 3] = ["home/all", "home/a/up", "home/b/up"];

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..4usize, any::<bool>(), prop_oneof![Just(0u32), 5..60u32], any::<bool>())
            .prop_map(|(c, v5, e, w)| Op::Connect(c, v5, e, w)),
        1 => (0..4usize).prop_map(Op::Lose),
        2 => (0..4usize, 0..5usize, 0..3u8).prop_map(|(c, f, q)| Op::Subscribe(c, f, q)),
        1 => (0..4usize, 0..5usize).prop_map(|(c, f)| Op::Unsubscribe(c, f)),
        6 => (0..4usize, 0..3usize, 0..3u8, 1..9u16, any::<bool>())
            .prop_map(|(c, t, q, id, r)| Op::Publish(c, t, q, id, r)),
        6 => (0..4usize, 0..4u8, 1..9u16).prop_map(|(c, k, id)| Op::Ack(c, k, id)),
        1 => (0..20u64).prop_map(Op::Pass),
        1 => (0..4usize, 2..9u32).prop_map(|(c, v)| Op::Narrow(c, v)),
        1 => (0..4usize).prop_map(Op::Forget),
    ]
}

fn apply(world: &mut World, clients: &mut [Option<Client>; 4], n: usize, op: &Op) {
    let live = |c: &Option<Client>| c.clone().filter(|c| c.outbox.closing().is_none());
    match *op {
        Op::Connect(c, v5, expiry, will) => {
            let version = if v5 { Version::V5 } else { Version::V311 };
            let will = will.then_some(("home/all", "lost", 5));
            let how = How {
                version,
                clean: expiry % 3 == 0,
                expiry,
                window: Some(2),
                will,
                ..V5
            };
            let client = world.connect(NAMES[c], how);
            clients[c] = client.handle.is_some().then_some(client);
        }
        Op::Lose(c) => {
            if let Some(client) = clients[c].take() {
                world.drop_connection(&client);
            }
        }
        Op::Subscribe(c, f, qos) => {
            if let Some(client) = live(&clients[c])
                && (client.version == Version::V5 || !FILTERS[f].starts_with('$'))
            {
                world.subscribe_with(&client, FILTERS[f], qos, None, |_| ());
            }
        }
        Op::Unsubscribe(c, f) => {
            if let Some(client) = live(&clients[c]) {
                let filter =
                    stockade_mqtt::SubscriptionFilter::new(FILTERS[f], client.version).unwrap();
                let filters = [filter];
                let packet = stockade_mqtt::Unsubscribe {
                    id: PacketId::new(3).unwrap(),
                    user_properties: stockade_mqtt::UserProperties::default(),
                    filters: filters.as_slice().into(),
                };
                let _flow = world.send(&client, &Packet::Unsubscribe(packet));
            }
        }
        Op::Publish(c, t, qos, id, retain) => {
            if let Some(client) = live(&clients[c]) {
                let _flow =
                    world.publish_with(&client, TOPICS[t], &n.to_string(), (qos, id), |p| {
                        p.retain = retain;
                        if retain && n.is_multiple_of(4) {
                            p.payload = &[];
                        }
                    });
            }
        }
        Op::Ack(c, kind, id) => {
            if let Some(client) = live(&clients[c]) {
                let kinds = [
                    AckKind::PubAck,
                    AckKind::PubRec,
                    AckKind::PubComp,
                    AckKind::PubRel,
                ];
                let _flow = world.ack(&client, kinds[usize::from(kind)], id);
            }
        }
        Op::Pass(seconds) => world.pass(seconds),
        Op::Narrow(c, version) => {
            let filter = if version % 2 == 0 {
                "home/all"
            } else {
                "home/#"
            };
            let device = NAMES[c].split('/').next().unwrap();
            let policy = super::world::policy(device, version, filter, false);
            world.turn(|b, out| b.set_policy(&policy, out));
        }
        Op::Forget(c) => {
            world.forget(NAMES[c].split('/').next().unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_back_is_what_there_was(
        ops in prop::collection::vec(op(), 1..60),
        compact in any::<bool>(),
    ) {
        let limits = Limits { compact_after: if compact { 200 } else { u64::MAX }, ..Limits::default() };
        let mut world = World::with(limits);
        let mut clients = [None, None, None, None];
        for (n, op) in ops.iter().enumerate() {
            apply(&mut world, &mut clients, n, op);
        }
        let back = read_back(&world, u64::MAX);
        prop_assert_eq!(dump(&back), dump(&world.broker));
    }
}

#[test]
fn a_round_of_compaction_says_everything_anew_and_frees_the_rest() {
    let mut w = World::with(Limits {
        compact_after: 1,
        ..Limits::default()
    });
    let (a, b) = (w.client("a", V5), w.client("b", KEPT));
    w.subscribe(&b, "home/#", 2);
    let _flow = w.publish_with(&a, "home/all", "kept", (1, 1), |p| p.retain = true);
    w.drop_connection(&b);
    let _flow = w.publish(&a, "home/all", "queued", 2, 2);
    let before = w.broker.bus.last().get();
    w.pass(3);
    all_durable(&w);
    // Only what was written after the round began is read.
    let late: Vec<_> = w
        .disk
        .read(Stream::Sessions, Seq::new(before), usize::MAX)
        .unwrap_or_default();
    let bus: Arc<dyn Bus> = Arc::<super::world::Disk>::clone(&w.disk);
    let mut broker = Broker::new(Limits::default(), bus, Arc::default());
    let mut replay = Replay::default();
    for (seq, record) in late {
        broker
            .handle_replay(&mut replay, seq.get(), &record, w.now)
            .unwrap();
    }
    let text = dump(&broker);
    assert_eq!(text, dump(&w.broker));
    assert!(
        text.contains("queued 2") && text.contains("retained home/all"),
        "{text}"
    );
}

#[test]
fn what_was_read_back_counts_towards_the_next_round() {
    let mut w = World::new();
    let a = w.client("a", KEPT);
    w.subscribe(&a, "home/#", 1);
    all_durable(&w);
    let bus: Arc<dyn Bus> = Arc::<super::world::Disk>::clone(&w.disk);
    let limits = Limits {
        compact_after: 1,
        ..Limits::default()
    };
    let mut broker = Broker::new(limits, bus, Arc::default());
    let mut replay = Replay::default();
    let records = w
        .disk
        .read(Stream::Sessions, Seq::ZERO, usize::MAX)
        .unwrap();
    for (seq, record) in records {
        broker
            .handle_replay(&mut replay, seq.get(), &record, w.now)
            .unwrap();
    }
    let before = w.disk.last();
    for _ in 0..3 {
        broker.compact(&mut Output::at(w.now));
    }
    assert!(w.disk.last() > before, "nothing was written anew");
}

/// A client that keeps its side of the protocol over lost connections and crashes of the gateway.
#[derive(Debug, Default)]
struct Honest {
    client: Option<Client>,
    /// CONNACK has come.
    ready: bool,
    /// Written, not yet with the gateway.
    sending: VecDeque<Vec<u8>>,
    /// Its own messages by packet identifier: the text, the QoS, and whether PUBREC has come.
    open: BTreeMap<u16, (u32, u8, bool)>,
    next_id: u16,
    /// Incoming QoS 2 identifiers.
    incoming: BTreeSet<u16>,
    /// What the application got.
    got: Vec<u32>,
    /// Its own messages that were acknowledged.
    acknowledged: BTreeSet<u32>,
}

impl Honest {
    fn publish(&mut self, text: u32, qos: u8) {
        self.next_id = self.next_id % 50 + 1;
        if self.open.contains_key(&self.next_id) || !self.ready {
            return;
        }
        self.open.insert(self.next_id, (text, qos, false));
        self.write_publish(self.next_id, false);
    }

    fn write_publish(&mut self, id: u16, dup: bool) {
        let (text, qos, _) = self.open[&id];
        let payload = text.to_string();
        let packet = PacketId::new(id).unwrap();
        let publish = stockade_mqtt::Publish {
            delivery: match qos {
                1 => stockade_mqtt::Delivery::AtLeastOnce { id: packet, dup },
                _ => stockade_mqtt::Delivery::ExactlyOnce { id: packet, dup },
            },
            retain: false,
            topic: stockade_mqtt::TopicName::new("home/all").ok(),
            properties: stockade_mqtt::PublishProperties::default(),
            payload: payload.as_bytes(),
        };
        self.write(&Packet::Publish(publish));
    }

    fn write(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        self.sending.push_back(bytes);
    }

    fn ack(&mut self, kind: AckKind, id: PacketId) {
        let ack = stockade_mqtt::Ack::success(id);
        self.write(&match kind {
            AckKind::PubAck => Packet::PubAck(ack),
            AckKind::PubRec => Packet::PubRec(ack),
            AckKind::PubRel => Packet::PubRel(ack),
            AckKind::PubComp => Packet::PubComp(ack),
        });
    }

    /// Reads what may leave once everything up to `durable` is on disk, and answers.
    fn read(&mut self, durable: u64) {
        let Some(client) = self.client.clone() else {
            return;
        };
        let mut bytes = Vec::new();
        client.outbox.take(durable, &mut bytes, Waker::noop());
        let mut rest = bytes.as_slice();
        while let Some(whole) = frame(rest, Framing::NONE).unwrap() {
            rest = &rest[whole.len()..];
            match whole.decode(Version::V5, Sender::Server).unwrap() {
                Packet::ConnAck(connack) => self.connected(connack.session_present),
                Packet::Publish(p) => {
                    let id = p.delivery.id().unwrap();
                    let text = std::str::from_utf8(p.payload).unwrap().parse().unwrap();
                    if p.delivery.qos() == stockade_mqtt::QoS::AtLeastOnce {
                        self.got.push(text);
                        self.ack(AckKind::PubAck, id);
                    } else {
                        if self.incoming.insert(id.get()) {
                            self.got.push(text);
                        }
                        self.ack(AckKind::PubRec, id);
                    }
                }
                Packet::PubAck(a) => {
                    let (text, ..) = self.open.remove(&a.id.get()).unwrap();
                    self.acknowledged.insert(text);
                }
                Packet::PubRec(a) => {
                    if let Some(open) = self.open.get_mut(&a.id.get()) {
                        open.2 = true;
                        self.acknowledged.insert(open.0);
                        self.ack(AckKind::PubRel, a.id);
                    }
                }
                Packet::PubComp(a) => {
                    self.open.remove(&a.id.get());
                }
                Packet::PubRel(a) => {
                    self.incoming.remove(&a.id.get());
                    self.ack(AckKind::PubComp, a.id);
                }
                _ => {}
            }
        }
    }

    fn connected(&mut self, present: bool) {
        self.ready = true;
        if !present {
            self.incoming.clear();
        }
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            if self.open[&id].2 && present {
                self.ack(AckKind::PubRel, PacketId::new(id).unwrap());
            } else if self.open[&id].2 {
                // The gateway lost the session after its PUBREC: it must not.
                panic!("session lost with an exchange open");
            } else {
                self.write_publish(id, true);
            }
        }
    }

    fn lost(&mut self) {
        self.client = None;
        self.ready = false;
        self.sending.clear();
    }
}

struct Sim {
    world: World,
    who: [Honest; 2],
    text: u32,
}

impl Sim {
    fn connect(&mut self, n: usize) {
        if self.who[n].client.is_none() {
            let how = How {
                window: Some(3),
                ..KEPT
            };
            self.who[n].client = Some(self.world.connect(
                ["a", "b"][n],
                How {
                    expiry: 9_999,
                    ..how
                },
            ));
        }
    }

    fn deliver(&mut self, n: usize, packets: usize) {
        let Some(client) = self.who[n].client.clone() else {
            return;
        };
        for _ in 0..packets {
            let Some(bytes) = self.who[n].sending.pop_front() else {
                return;
            };
            let packet = frame(&bytes, Framing::NONE).unwrap().unwrap();
            let packet = packet.decode(Version::V5, Sender::Client).unwrap();
            let handle = client.handle.unwrap();
            assert_eq!(
                self.world
                    .turn(|b, out| b.handle_packet(handle, &packet, out)),
                Flow::Continue
            );
        }
    }

    /// The gateway dies; what comes back knows the journal up to `durable`, which nobody may have
    /// been told more than.
    fn crash(&mut self, durable: u64) {
        for honest in &mut self.who {
            honest.read(durable);
            honest.lost();
        }
        let mut broker = read_back(&self.world, durable);
        let mut out = Output::at(self.world.now);
        broker.finish_replay(&mut out);
        for id in ["a", "b"] {
            broker.set_policy(&super::world::policy(id, 1, "home/#", false), &mut out);
        }
        // The journal goes on from its durable end: what was after it is gone.
        let fresh = World::new();
        let old = std::mem::replace(&mut self.world, fresh);
        self.world.now = old.now;
        let mut record = Vec::new();
        for (seq, bytes) in old
            .disk
            .read(Stream::Sessions, Seq::ZERO, usize::MAX)
            .unwrap()
        {
            if seq.get() <= durable {
                record.push(bytes);
            }
        }
        for bytes in record {
            self.world.disk.append(Stream::Sessions, &bytes).unwrap();
        }
        broker.bus = Arc::<super::world::Disk>::clone(&self.world.disk);
        self.world.broker = broker;
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            for n in 0..2 {
                self.connect(n);
                self.who[n].read(u64::MAX);
                self.deliver(n, usize::MAX);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Move {
    Publish(u8),
    Deliver(usize, usize),
    Read(usize, u64),
    Lose(usize),
    Connect(usize),
    Crash(u64),
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (1..3u8).prop_map(Move::Publish),
        6 => (0..2usize, 1..4usize).prop_map(|(n, k)| Move::Deliver(n, k)),
        5 => (0..2usize, 0..4u64).prop_map(|(n, b)| Move::Read(n, b)),
        1 => (0..2usize).prop_map(Move::Lose),
        3 => (0..2usize).prop_map(Move::Connect),
        1 => (0..6u64).prop_map(Move::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn wherever_it_crashes_nothing_acknowledged_is_lost_and_qos_2_comes_once(
        moves in prop::collection::vec(a_move(), 1..150),
    ) {
        let mut sim = Sim { world: World::new(), who: Default::default(), text: 0 };
        sim.connect(1);
        sim.who[1].read(u64::MAX);
        let client = sim.who[1].client.clone().unwrap();
        sim.world.subscribe(&client, "home/all", 2);
        let mut qos_of = BTreeMap::new();
        // The durable position only grows, whoever looks.
        let mut durable = sim.world.disk.last().get();
        for step in moves {
            let last = sim.world.disk.last().get();
            match step {
                Move::Publish(qos) => {
                    sim.text += 1;
                    qos_of.insert(sim.text, qos);
                    sim.who[0].publish(sim.text, qos);
                }
                Move::Deliver(n, k) => sim.deliver(n, k),
                Move::Read(n, behind) => {
                    durable = durable.max(last.saturating_sub(behind));
                    sim.who[n].read(durable);
                }
                Move::Lose(n) => {
                    if let Some(client) = sim.who[n].client.clone() {
                        sim.world.drop_connection(&client);
                        sim.who[n].lost();
                    }
                }
                Move::Connect(n) => sim.connect(n),
                Move::Crash(behind) => {
                    durable = durable.max(last.saturating_sub(behind));
                    sim.crash(durable);
                    durable = sim.world.disk.last().get();
                }
            }
        }
        sim.settle();
        let got = &sim.who[1].got;
        prop_assert!(sim.who[0].open.is_empty(), "unfinished: {:?}", sim.who[0].open);
        for text in &sim.who[0].acknowledged {
            prop_assert!(got.contains(text), "lost: {text}");
        }
        for (text, qos) in qos_of {
            let times = got.iter().filter(|g| **g == text).count();
            prop_assert!(qos == 1 || times <= 1, "{text} came {times} times");
        }
    }
}

#[test]
fn after_a_crash_a_will_waits_for_its_client_to_come_back() {
    let how = How {
        will: Some(("home/all", "lost", 0)),
        ..KEPT
    };
    for returns in [true, false] {
        let mut w = World::new();
        w.client("a", how);
        let mut broker = read_back(&w, u64::MAX);
        let mut out = Output::at(w.now);
        broker.finish_replay(&mut out);
        broker.set_policy(&super::world::policy("a", 1, "home/#", false), &mut out);
        w.broker = broker;
        let b = w.client("b", V311);
        w.subscribe(&b, "home/all", 0);
        w.pass(20);
        if returns {
            w.client("a", how);
        }
        w.pass(20);
        assert_eq!(b.read().len(), usize::from(!returns));
    }
}
