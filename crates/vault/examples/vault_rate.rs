//! How fast the vault is here: `cargo run --release -p stockade-vault --example vault_rate [DIR]`.
#![expect(
    clippy::print_stdout,
    reason = "the result of a measurement goes to the terminal"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use stockade_profile::{Profile, parse};
use stockade_store::telemetry::Record;
use stockade_store::{Bus, BusError, Journal, JournalOptions, Sqlite, Stream, suite};
use stockade_vault::{Profiles, Vault, VaultKey, decode, treat};
use time::OffsetDateTime;

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
"#;
const PAYLOAD: &[u8] = br#"{"time":1790000000,"location":{"lat":47.3769,"lon":8.5417},"confidence":0.93,"owner-email":"a@example.org"}"#;
const MESSAGES: u32 = 200_000;

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
    let profile = Arc::new(parse(PROFILE).map_err(|faults| format!("{} faults", faults.len()))?);
    let rate = |start: Instant| f64::from(MESSAGES) / start.elapsed().as_secs_f64();

    let keys = VaultKey::create(&dir.path().join("."))?.pseudonyms("cam-2", "motion")?;
    let schema = profile.data.get("motion").ok_or("no data set")?;
    let start = Instant::now();
    for _ in 0..MESSAGES {
        std::hint::black_box(treat(schema, decode(PAYLOAD)?, &keys));
    }
    println!("decoded and treated: {:.0} messages/s", rate(start));

    let bus: Arc<dyn Bus> = Arc::new(Journal::open(
        &dir.path().join("journal"),
        JournalOptions::default(),
    )?);
    let store = Arc::new(Sqlite::open(&dir.path().join("state.db"))?);
    let vault = Vault::open(
        store,
        Arc::clone(&bus),
        dir.path(),
        Arc::new(Installed(profile)),
    )?;
    let record = Record {
        v: 1,
        device: "porch".into(),
        model: "cam-2".into(),
        profile_version: 1,
        schema: "motion".into(),
        topic: "cam-2/porch/motion".into(),
        at_unix_ms: 0,
        payload: PAYLOAD.into(),
    };
    let start = Instant::now();
    for _ in 0..MESSAGES {
        while let Err(error) = bus.append(Stream::Telemetry, &record.encode()) {
            if !matches!(error, BusError::Full) {
                return Err(error.into());
            }
            suite::wait(&*bus, bus.last())?;
        }
    }
    suite::wait(&*bus, bus.last())?;
    println!(
        "encoded and durable on the bus: {:.0} messages/s",
        rate(start)
    );
    let start = Instant::now();
    let ingested = vault.ingest_available(OffsetDateTime::UNIX_EPOCH)?;
    println!(
        "from the bus into the store: {:.0} messages/s ({} stored)",
        rate(start),
        ingested.stored
    );
    Ok(())
}
