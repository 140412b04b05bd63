//! How fast telemetry becomes durable here: `cargo run --release -p stockade-vault --example ingest_rate [DIR [RECORDS]]`.
//!
//! Treated, sealed, on the bus, and from there in blocks in the store; and beside it what the bus alone does. With RECORDS, the data
//! set grows to so many, which are then read.
#![expect(
    clippy::print_stdout,
    reason = "the result of a measurement goes to the terminal"
)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peak::peak;
use stockade_profile::{Profile, parse};
use stockade_store::telemetry::Record;
use stockade_store::{Bus, BusError, Journal, JournalOptions, Sqlite, Store, Stream, suite};
use stockade_vault::{Access, Keys, Profiles, Query, Role, RootPlace, SealedBus, Vault};
use time::OffsetDateTime;

#[path = "common/peak.rs"]
mod peak;

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linux"
[comms]
key = "file"
certificate-life = "7d"
[data.motion]
device = { use = "pseudonym", scope = "dataset" }
time = { use = "generalise", to = "1min" }
location = { use = "generalise", to = "1km" }
confidence = { use = "keep" }
owner-email = { use = "drop" }
[vault.motion]
purposes = ["operation"]
"#;
const PAYLOAD: &[u8] = br#"{"time":1790000000,"location":{"lat":47.3769,"lon":8.5417},"confidence":0.93,"owner-email":"a@example.org"}"#;
const MESSAGES: u32 = 400_000;
const DEVICES: u32 = 1_000;

#[derive(Debug)]
struct Installed(Arc<Profile>);

impl Profiles for Installed {
    fn profile(&self, _model: &str) -> Option<Arc<Profile>> {
        Some(Arc::clone(&self.0))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = match std::env::args_os().nth(1) {
        Some(dir) => tempfile::TempDir::new_in(dir)?,
        None => tempfile::TempDir::new()?,
    };
    let dir = dir.path();
    let profile = parse(PROFILE).map_err(|faults| format!("{} faults", faults.len()))?;
    let profiles: Arc<dyn Profiles> = Arc::new(Installed(Arc::new(profile)));
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.join("state.db"))?);
    let root = RootPlace::File(dir.join("root.key"));
    let keys = Arc::new(Keys::open(Arc::clone(&store), root, dir)?);
    let journal = |name| Journal::open(&dir.join(name), JournalOptions::default());
    let plain: Arc<dyn Bus> = Arc::new(journal("plain")?);
    let bus: Arc<dyn Bus> = Arc::new(SealedBus::open(
        Arc::new(journal("journal")?),
        Arc::clone(&store),
        Arc::clone(&keys),
        Arc::clone(&profiles),
    )?);
    let vault = Vault::open(store, Arc::clone(&bus), keys, dir, profiles)?;

    let names: Vec<String> = (0..DEVICES)
        .map(|number| format!("device-{number}"))
        .collect();
    // What the broker writes of its sessions, which no treatment slows down.
    for (name, bus) in [("clear", &plain), ("sealed", &bus)] {
        let start = Instant::now();
        for _ in 0..MESSAGES {
            append(&**bus, Stream::Sessions, &[0x5a; 150])?;
        }
        let appended = start.elapsed();
        suite::wait(&**bus, bus.last())?;
        println!(
            "sessions, {name}: {:.0} appended/s, {:.0} durable/s",
            rate(appended),
            rate(start.elapsed())
        );
    }
    let (taken, _) = fill(&*plain, &names)?;
    println!("clear, on the bus: {:.0} messages/s", rate(taken));
    // The first message of each device makes its keys.
    let start = Instant::now();
    for name in &names {
        bus.prepare(&record(name))?;
    }
    println!(
        "keys of new devices: {:.0} devices/s",
        f64::from(DEVICES) / start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    for name in names.iter().cycle().take(usize::try_from(MESSAGES)?) {
        std::hint::black_box(bus.prepare(&record(name))?);
    }
    println!("treated: {:.0} messages/s", rate(start.elapsed()));
    let (taken, appended) = fill(&*bus, &names)?;
    println!(
        "treated, sealed, on the bus: {:.0} messages/s ({:.0} taken)",
        rate(taken),
        rate(appended)
    );

    let start = Instant::now();
    let ingested = vault.ingest_available(OffsetDateTime::now_utc())?;
    println!(
        "from the bus into durable blocks: {:.0} records/s ({} stored)",
        rate(start.elapsed()),
        ingested.stored
    );
    let start = Instant::now();
    let tidied = vault.tidy(OffsetDateTime::now_utc())?;
    println!(
        "{} blocks merged in {:.2} s; the store has {} MB",
        tidied.merged,
        start.elapsed().as_secs_f64(),
        megabytes(dir)?
    );
    ask(&vault)?;
    let records = std::env::args().nth(2).map(|it| it.parse()).transpose()?;
    grow(&vault, &*bus, &names, records.unwrap_or(MESSAGES))
}

/// What one answer costs: the newest three, and all pages.
fn ask(vault: &Vault) -> Result<(), Box<dyn Error>> {
    let access = Access {
        who: "bench".to_owned(),
        role: Role::Operator,
        purpose: Some("operation".to_owned()),
    };
    let now = OffsetDateTime::now_utc();
    let mut query = Query {
        schema: "motion".to_owned(),
        limit: 3,
        newest_first: true,
        ..Query::default()
    };
    let start = Instant::now();
    let page = vault.query(&access, &query, now)?;
    println!(
        "the newest {}: {} µs",
        page.records.len(),
        start.elapsed().as_micros()
    );
    (query.limit, query.newest_first) = (1_000, false);
    let (start, mut read) = (Instant::now(), 0_u32);
    for _ in 0..50 {
        let page = vault.query(&access, &query, now)?;
        read += u32::try_from(page.records.len())?;
        query.after = page.next;
    }
    println!(
        "read page by page: {:.0} records/s",
        f64::from(read) / start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Lets the data set grow, and reads all of it as a release does.
fn grow(
    vault: &Vault,
    bus: &dyn Bus,
    names: &[String],
    records: u32,
) -> Result<(), Box<dyn Error>> {
    for _ in 1..records.div_ceil(MESSAGES) {
        fill(bus, names)?;
        vault.ingest_available(OffsetDateTime::now_utc())?;
    }
    vault.tidy(OffsetDateTime::now_utc())?;
    // Linux forgets what the most was (proc(5)).
    fs_err::write("/proc/self/clear_refs", "5")?;
    let before = peak();
    let (start, mut read) = (Instant::now(), 0_u32);
    vault.read_all("motion", 0..u64::MAX, &mut |_, _| {
        read += 1;
        std::ops::ControlFlow::Continue(())
    })?;
    println!(
        "read all {read}: {:.0} records/s; memory {before} before, {} at most while reading",
        f64::from(read) / start.elapsed().as_secs_f64(),
        peak()
    );
    Ok(())
}

fn rate(time: Duration) -> f64 {
    f64::from(MESSAGES) / time.as_secs_f64()
}

fn record(device: &str) -> Record<'_> {
    Record {
        v: 1,
        device: device.into(),
        model: "cam-2".into(),
        profile_version: 1,
        schema: "motion".into(),
        topic: "cam-2/porch/motion".into(),
        at_unix_ms: 1_790_000_000_000,
        payload: PAYLOAD.into(),
    }
}

/// All messages, device by device: how long until they are durable, and how long the appending took.
fn fill(bus: &dyn Bus, names: &[String]) -> Result<(Duration, Duration), Box<dyn Error>> {
    let start = Instant::now();
    for name in names.iter().cycle().take(usize::try_from(MESSAGES)?) {
        let prepared = bus.prepare(&record(name))?;
        append(bus, Stream::Telemetry, &prepared)?;
    }
    let appended = start.elapsed();
    suite::wait(bus, bus.last())?;
    Ok((start.elapsed(), appended))
}

/// Waits where the disk is slower.
fn append(bus: &dyn Bus, stream: Stream, record: &[u8]) -> Result<(), Box<dyn Error>> {
    while let Err(error) = bus.append(stream, record) {
        if !matches!(error, BusError::Full) {
            return Err(error.into());
        }
        suite::wait(bus, bus.last())?;
    }
    Ok(())
}

fn megabytes(dir: &Path) -> std::io::Result<u64> {
    Ok(fs_err::metadata(dir.join("state.db"))?.len() >> 20)
}
