//! How long a rotation takes, and how much memory: `cargo run --release -p stockade-vault --example rotate [SUBJECTS]`.
#![expect(
    clippy::print_stdout,
    clippy::use_debug,
    reason = "a measurement, told to a person"
)]

use std::sync::Arc;
use std::time::Instant;

use peak::peak;
use stockade_store::{Sqlite, Store};
use stockade_vault::{KeyError, Keys, RootPlace, Subject};

#[path = "common/peak.rs"]
mod peak;

/// Subjects that are made in one commit.
const TOGETHER: u32 = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u32 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 1_000_000,
    };
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("state.sqlite"))?);
    let root = RootPlace::File(dir.path().join("root.key"));
    let keys = Keys::open(store, root, dir.path())?;
    let start = Instant::now();
    for from in (0..count).step_by(usize::try_from(TOGETHER)?) {
        let some: Vec<_> = (from..count.min(from + TOGETHER))
            .map(|number| Subject {
                model: "cam-2".to_owned(),
                device: format!("device-{number}"),
            })
            .collect();
        keys.subjects(&some)?;
    }
    println!(
        "{count} subjects made in {:.1?}, memory at most {}",
        start.elapsed(),
        peak()
    );
    let start = Instant::now();
    let rotated = keys.rotate::<KeyError>(|| Ok(()), false)?;
    let elapsed = start.elapsed();
    println!(
        "a rotation wraps {:.0} subjects/s: {} wrapped anew and epoch {:?} destroyed in {elapsed:.1?}, memory at most {}",
        f64::from(count) / elapsed.as_secs_f64(),
        rotated.rewrapped,
        rotated.destroyed,
        peak()
    );
    Ok(())
}
