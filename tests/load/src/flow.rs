//! Messages through the broker: as many as it takes, or at a steady rate with their delays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::identity::{Device, load};
use crate::process::{Process, Stretch};
use crate::settings::Settings;
use stockade_load::wire;

/// What every task of a run shares.
struct Run {
    started: Instant,
    counting: AtomicBool,
    over: AtomicBool,
    sent: AtomicU64,
    delivered: AtomicU64,
    qos: u8,
    window: usize,
    payload: usize,
    /// Messages a second of each publisher; 0 for no limit.
    rate: u64,
    /// Messages in one write.
    batch: usize,
}

impl Run {
    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Who listens to what, and how many publish.
struct Shape {
    publishers: usize,
    subscribers: usize,
}

impl Shape {
    fn parse(name: &str, width: usize) -> Result<Self> {
        Ok(match name {
            "pairs" => Self {
                publishers: width,
                subscribers: width,
            },
            "fan-in" => Self {
                publishers: width,
                subscribers: 1,
            },
            "fan-out" => Self {
                publishers: 1,
                subscribers: width,
            },
            other => bail!("there is no shape `{other}`: pairs, fan-in, fan-out"),
        })
    }

    fn filter(&self, subscriber: usize, devices: &[Device]) -> String {
        let publisher = if self.subscribers == self.publishers {
            subscriber
        } else {
            0
        };
        match devices.get(publisher) {
            Some(device) if self.subscribers >= self.publishers => {
                format!("bench/{}/up", device.id)
            }
            _ => "bench/+/up".to_owned(),
        }
    }
}

/// Runs one shape for a while.
pub(crate) async fn run(settings: &Settings) -> Result<Value> {
    let port = settings.get("port", 8883_u16)?;
    let five = wire::Five(settings.get("version", 5_u8)? == 5);
    let shape = Shape::parse(
        &settings.get("shape", "pairs".to_owned())?,
        settings.get("width", 10_usize)?,
    )?;
    let seconds = settings.get("secs", 5_u64)?;
    let devices = load(
        Path::new(settings.text("ids")?),
        shape.publishers + shape.subscribers,
    )?;
    if devices.len() < shape.publishers + shape.subscribers {
        bail!("{} devices are too few", devices.len());
    }
    let run = Arc::new(Run {
        started: Instant::now(),
        counting: AtomicBool::new(false),
        over: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        qos: settings.get("qos", 1)?,
        window: settings.get("window", 64)?,
        payload: settings.get("payload", 128_usize)?.max(8),
        rate: settings.get("rate", 0)?,
        batch: settings.get("batch", 16_usize)?.max(1),
    });
    let mut readers = JoinSet::new();
    for (number, device) in devices
        .iter()
        .skip(shape.publishers)
        .take(shape.subscribers)
        .enumerate()
    {
        let mut client = Client::connect(device, &device.id, port, five).await?;
        client
            .subscribe(&shape.filter(number, &devices), run.qos)
            .await?;
        readers.spawn(receive(client, Arc::clone(&run)));
    }
    let mut writers = JoinSet::new();
    for device in devices.iter().take(shape.publishers) {
        let client = Client::connect(device, &device.id, port, five).await?;
        writers.spawn(publish(
            client,
            format!("bench/{}/up", device.id),
            Arc::clone(&run),
        ));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stretch = Stretch::begin(Process(settings.text("pid")?.parse()?))?;
    run.counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    run.counting.store(false, Ordering::Relaxed);
    let (wall, cpu) = stretch.end()?;
    run.over.store(true, Ordering::Relaxed);
    let (sent, delivered) = (count(&run.sent)?, count(&run.delivered)?);
    while let Some(done) = writers.join_next().await {
        done??;
    }
    let mut delays = Vec::new();
    while let Some(done) = readers.join_next().await {
        delays.extend(done??);
    }
    delays.sort_unstable();
    Ok(json!({
        "sent_per_second": sent / wall,
        "delivered_per_second": delivered / wall,
        "cpu_us": cpu * 1e6 / delivered.max(1.0),
        "per_core_second": delivered / cpu,
        "p50_ms": percentile(&delays, 50),
        "p99_ms": percentile(&delays, 99),
    }))
}

fn count(counter: &AtomicU64) -> Result<f64> {
    Ok(f64::from(u32::try_from(counter.load(Ordering::Relaxed))?))
}

/// In milliseconds, from sorted microseconds.
fn percentile(sorted: &[u32], percent: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted
        .get(last * percent / 100)
        .map(|delay| f64::from(*delay) / 1000.0)
}

/// Publishes until the run is over, with at most `window` messages unacknowledged.
async fn publish(client: Client, topic: String, run: Arc<Run>) -> Result<()> {
    let (five, window) = (client.five, run.window.min(client.window));
    let (mut reader, mut writer) = tokio::io::split(client.stream);
    let free = Arc::new(tokio::sync::Semaphore::new(window));
    let acknowledged = Arc::clone(&free);
    let acks = Arc::clone(&run);
    let reading = tokio::spawn(async move {
        let mut inbox = Vec::with_capacity(16 * 1024);
        while !acks.over() {
            let patience = Duration::from_millis(200);
            match tokio::time::timeout(patience, reader.read_buf(&mut inbox)).await {
                Err(_) => continue,
                Ok(Ok(0)) => bail!("the broker closed a publisher's connection"),
                Ok(read) => read?,
            };
            let (mut at, mut taken_acks) = (0, 0);
            while let Some((first, body, taken)) = wire::next(inbox.get(at..).unwrap_or_default())?
            {
                at += taken;
                match first >> 4 {
                    wire::PUBACK if body.get(2).is_none_or(|code| *code < 0x80) => taken_acks += 1,
                    wire::PUBACK | wire::DISCONNECT => {
                        bail!("the broker refused a message: {body:02x?}")
                    }
                    _ => {}
                }
            }
            inbox.drain(..at);
            acknowledged.add_permits(taken_acks);
        }
        Ok(())
    });
    let mut identifier = 0_u16;
    let mut payload = vec![0x5A_u8; run.payload];
    let mut packets = Vec::with_capacity(32 * 1024);
    let begun = Instant::now();
    let mut total = 0_u64;
    while !run.over() && !reading.is_finished() {
        if let Some(due) = (total * 1_000_000).checked_div(run.rate) {
            tokio::time::sleep_until((begun + Duration::from_micros(due)).into()).await;
        }
        let mut batch = if run.rate > 0 { 1 } else { run.batch };
        if run.qos == 1 {
            let wait = free.acquire();
            let Ok(permit) = tokio::time::timeout(Duration::from_millis(200), wait).await else {
                continue;
            };
            permit?.forget();
            batch = 1 + take(&free, batch - 1);
        }
        packets.clear();
        for _ in 0..batch {
            identifier = identifier.checked_add(1).unwrap_or(1);
            stamp(&mut payload, run.started);
            wire::publish(
                five,
                &topic,
                (run.qos == 1).then_some(identifier),
                &payload,
                &mut packets,
            );
        }
        writer.write_all(&packets).await?;
        writer.flush().await?;
        total += batch as u64;
        if run.counting.load(Ordering::Relaxed) {
            run.sent.fetch_add(batch as u64, Ordering::Relaxed);
        }
    }
    reading.await?
}

/// Up to `most` more places in the window, without waiting.
fn take(free: &tokio::sync::Semaphore, most: usize) -> usize {
    let mut taken = 0;
    while taken < most
        && free
            .try_acquire()
            .map(tokio::sync::SemaphorePermit::forget)
            .is_ok()
    {
        taken += 1;
    }
    taken
}

/// The time of sending, in nanoseconds since the run began, at the head of the payload.
fn stamp(payload: &mut [u8], started: Instant) {
    let now = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    for (to, from) in payload.iter_mut().zip(now.to_be_bytes()) {
        *to = from;
    }
}

/// Takes and acknowledges messages until the run is over; returns delays in microseconds.
async fn receive(mut client: Client, run: Arc<Run>) -> Result<Vec<u32>> {
    let mut delays = Vec::new();
    let mut acks = Vec::with_capacity(4 * 1024);
    let mut inbox = std::mem::take(&mut client.inbox);
    inbox.reserve(64 * 1024);
    while !run.over() {
        let patience = Duration::from_millis(200);
        match tokio::time::timeout(patience, client.stream.read_buf(&mut inbox)).await {
            Err(_) => continue,
            Ok(Ok(0)) => bail!("the broker closed a subscriber's connection"),
            Ok(read) => read?,
        };
        let counting = run.counting.load(Ordering::Relaxed);
        let now = u64::try_from(run.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        acks.clear();
        let (mut at, mut messages) = (0, 0);
        while let Some((first, body, taken)) = wire::next(inbox.get(at..).unwrap_or_default())? {
            at += taken;
            if first >> 4 != wire::PUBLISH {
                continue;
            }
            let (identifier, payload) = wire::published(client.five, first, body)?;
            if let Some(identifier) = identifier {
                wire::acknowledge(wire::PUBACK, identifier, &mut acks);
            }
            messages += 1;
            if counting && run.rate > 0 {
                let sent = payload
                    .first_chunk()
                    .map_or(now, |bytes| u64::from_be_bytes(*bytes));
                delays.push(u32::try_from(now.saturating_sub(sent) / 1000).unwrap_or(u32::MAX));
            }
        }
        inbox.drain(..at);
        if counting {
            run.delivered.fetch_add(messages, Ordering::Relaxed);
        }
        if !acks.is_empty() {
            client.send(&acks).await?;
        }
    }
    Ok(delays)
}
