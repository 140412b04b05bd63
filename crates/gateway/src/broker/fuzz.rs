//! Arbitrary packets against the core, and what it wrote read back.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use stockade_mqtt::{Limits as Framing, Packet, Sender, Version, frame};
use stockade_store::{Bus, BusError, BusStatus, Seq, Stream};
use tokio::sync::watch;

use super::{Arrival, Broker, Flow, Handle, Limits, Now, Outbox, Output, Replay};
use crate::name::DeviceName;
use crate::policy::Policy;

/// A journal in memory: an input is over in microseconds, a file is not.
#[derive(Debug)]
pub(crate) struct Memory {
    records: Mutex<Vec<(Stream, Vec<u8>)>>,
    durable: watch::Sender<Seq>,
    /// 0 takes records, 1 is full, 2 refuses.
    mood: AtomicU8,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            records: Mutex::default(),
            durable: watch::channel(Seq::ZERO).0,
            mood: AtomicU8::new(0),
        }
    }
}

impl Bus for Memory {
    fn append_all(&self, records: &[(Stream, &[u8])]) -> Result<Seq, BusError> {
        match self.mood.load(Ordering::Relaxed) {
            0 => {}
            1 => return Err(BusError::Full),
            _ => {
                return Err(BusError::Refusing {
                    reason: "fuzzing".to_owned(),
                });
            }
        }
        let mut all = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(
            records
                .iter()
                .map(|(stream, bytes)| (*stream, bytes.to_vec())),
        );
        Ok(Seq::new(all.len() as u64))
    }
    fn durable(&self) -> watch::Receiver<Seq> {
        self.durable.subscribe()
    }
    fn status(&self) -> BusStatus {
        BusStatus::Healthy
    }
    fn read(&self, _: Stream, _: Seq, _: usize) -> Result<Vec<(Seq, Vec<u8>)>, BusError> {
        Ok(Vec::new())
    }
    fn trim(&self, _: Stream, _: Seq) -> Result<(), BusError> {
        Ok(())
    }
    fn last(&self) -> Seq {
        Seq::new(
            self.records
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len() as u64,
        )
    }
}

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam"
version = 1
class = "linux"
[[comms.publish]]
topic = "a"
max-bytes = 64
[[comms.subscribe]]
topic = "a/#"
"#;

struct Client {
    policy: Arc<Policy>,
    outbox: Arc<Outbox>,
    handle: Option<Handle>,
}

/// Each input is a row of steps: a byte says which of two clients and what happens, the packets follow.
/// Whatever comes, the core does not panic, sends only packets that decode, and what it wrote reads back.
#[expect(
    clippy::missing_panics_doc,
    reason = "a panic is how a fuzz target speaks"
)]
pub fn broker(data: &[u8]) {
    let Ok(profile) = stockade_profile::parse(PROFILE) else {
        return;
    };
    let bus = Arc::<Memory>::default();
    let limits = Limits {
        compact_after: 4_096,
        queue_messages: 4,
        inflight: 3,
        ..Limits::default()
    };
    let mut broker = Broker::new(limits.clone(), Arc::<Memory>::clone(&bus), Arc::default());
    let mut now = Now {
        mono: 1,
        unix: 1_790_000_000_000,
    };
    let mut conn = 0;
    let mut clients = ["x", "y"].map(|id| Client {
        policy: compile(&profile, id),
        outbox: Arc::default(),
        handle: None,
    });
    let mut rest = data;
    while let Some((&step, after)) = rest.split_first() {
        rest = after;
        let mut out = Output::at(now);
        let client = &mut clients[usize::from(step & 1)];
        match step >> 1 & 7 {
            0 => {
                now.mono += u64::from(step) * 100;
                now.unix += i64::from(step) * 100;
                out.now = now;
                broker.handle_tick(&mut out);
            }
            1 => bus.mood.store(step >> 4 & 3, Ordering::Relaxed),
            2 => {
                if let Some(handle) = client.handle.take() {
                    broker.handle_lost(handle, &mut out);
                }
            }
            3 => broker.revoke(&client.policy.device().id, &mut out),
            _ => rest = packets(&mut broker, client, rest, &mut conn, &mut out),
        }
        for client in &mut clients {
            check_output(client);
        }
    }
    let mut back = Broker::new(limits, Arc::<Memory>::clone(&bus), Arc::default());
    let mut replay = Replay::default();
    let records = std::mem::take(&mut *bus.records.lock().unwrap_or_else(PoisonError::into_inner));
    for (seq, (stream, record)) in (1..).zip(&records) {
        if *stream == Stream::Sessions {
            let read = back.handle_replay(&mut replay, seq, record, now);
            assert!(read.is_ok(), "a record that cannot be read back: {read:?}");
        }
    }
    bus.mood.store(0, Ordering::Relaxed);
    back.finish_replay(&mut Output::at(now));
}

#[expect(clippy::expect_used, reason = "both ids are names")]
fn compile(profile: &stockade_profile::Profile, id: &str) -> Arc<Policy> {
    let name = DeviceName::new("cam", id).expect("a name");
    Policy::compile(profile, &name, false)
}

fn packets<'a>(
    broker: &mut Broker,
    client: &mut Client,
    data: &'a [u8],
    conn: &mut u64,
    out: &mut Output,
) -> &'a [u8] {
    let version = client.handle.map_or(Version::V5, Handle::version);
    let whole = match frame(data, Framing::default()) {
        Ok(Some(whole)) => whole,
        Ok(None) => return &[],
        Err(error) => {
            if let Some(handle) = client.handle.take() {
                broker.handle_malformed(handle, &error, out);
            }
            return data.get(1..).unwrap_or_default();
        }
    };
    match (client.handle, whole.decode(version, Sender::Client)) {
        (None, Ok(Packet::Connect(connect))) => {
            *conn += 1;
            client.outbox = Arc::default();
            let arrival = Arrival {
                way: super::Way::Tls,
                policy: Arc::clone(&client.policy),
                peer: ([127, 0, 0, if conn.is_multiple_of(2) { 1 } else { 2 }], 1).into(),
                conn: *conn,
                fingerprint: [0; 32],
                certified_until: i64::MAX,
            };
            client.handle = broker.handle_connect(&arrival, &connect, &client.outbox, out);
        }
        (Some(handle), Ok(packet)) => {
            broker.handle_heard(handle, out);
            if broker.handle_packet(handle, &packet, out) == Flow::Close {
                client.handle = None;
            }
        }
        (Some(handle), Err(error)) => {
            broker.handle_malformed(handle, &error, out);
            client.handle = None;
        }
        (None, _) => {}
    }
    data.get(whole.len()..).unwrap_or_default()
}

fn check_output(client: &mut Client) {
    let mut bytes = Vec::new();
    client.outbox.take(u64::MAX, &mut bytes, Waker::noop());
    let Some(handle) = client.handle else { return };
    let mut rest = bytes.as_slice();
    while let Ok(Some(whole)) = frame(rest, Framing::NONE) {
        let packet = whole.decode(handle.version(), Sender::Server);
        assert!(packet.is_ok(), "sent what is no packet: {packet:?}");
        rest = rest.get(whole.len()..).unwrap_or_default();
    }
    assert!(rest.is_empty(), "sent half a packet");
}
