//! How fast the journal is on this disk: `cargo run --release -p stockade-store --example journal_rate [DIR]`.
#![expect(
    clippy::print_stdout,
    reason = "the result of a measurement goes to the terminal"
)]

use std::error::Error;
use std::time::{Duration, Instant};

use stockade_store::{Bus as _, BusError, Durability, Journal, JournalOptions, Stream, suite};

const RECORD: [u8; 150] = [0x5a; 150];

fn main() -> Result<(), Box<dyn Error>> {
    let dir = match std::env::args_os().nth(1) {
        Some(dir) => tempfile::TempDir::new_in(dir)?,
        None => tempfile::TempDir::new()?,
    };
    let options = |durability| JournalOptions {
        durability,
        ..JournalOptions::default()
    };
    let interval = Durability::Interval(Duration::from_secs(1));

    let journal = Journal::open(&dir.path().join("commit"), options(Durability::Commit))?;
    let mut waits = Vec::new();
    for _ in 0..1_000 {
        let start = Instant::now();
        let seq = journal.append(Stream::Telemetry, &RECORD)?;
        suite::wait(&journal, seq)?;
        waits.push(start.elapsed());
    }
    waits.sort();
    let at = |share: usize| {
        waits
            .get(waits.len() * share / 1000)
            .map_or(0, Duration::as_micros)
    };
    println!(
        "one at a time, durable: p50 {} µs, p99 {} µs, p99.9 {} µs",
        at(500),
        at(990),
        at(999)
    );

    for (name, durability) in [
        ("commit", Durability::Commit),
        ("interval of 1 s", interval),
    ] {
        let journal = Journal::open(&dir.path().join(name), options(durability))?;
        let (count, mut full) = (2_000_000_u32, 0_u32);
        let start = Instant::now();
        for _ in 0..count {
            while let Err(error) = journal.append(Stream::Telemetry, &RECORD) {
                if !matches!(error, BusError::Full) {
                    return Err(error.into());
                }
                full += 1;
                suite::wait(&journal, journal.last())?;
            }
        }
        let appended = start.elapsed();
        suite::wait(&journal, journal.last())?;
        let rate = |time: Duration| f64::from(count) / time.as_secs_f64();
        println!(
            "{name}: {:.0} appends/s, {:.0} durable/s, buffer full {full} times",
            rate(appended),
            rate(start.elapsed())
        );
    }
    Ok(())
}
