//! The embedded implementations pass the suite that every implementation must pass.

use std::sync::Arc;
use std::time::Duration;

use stockade_store::suite::{self, Checked, Place};
use stockade_store::{Bus, Durability, Journal, JournalOptions, Sqlite, Store};
use tempfile::TempDir;

fn journal(options: &JournalOptions) -> Place<dyn Bus> {
    let (dir, options) = (TempDir::new().expect("a directory"), options.clone());
    Box::new(move || Box::new(Journal::open(dir.path(), options.clone()).expect("a journal")))
}

#[test]
fn sqlite_is_a_store() -> Checked {
    suite::store(&|| -> Place<dyn Store> {
        let dir = TempDir::new().unwrap();
        Box::new(move || Box::new(Sqlite::open(&dir.path().join("state.db")).unwrap()))
    })
}

#[test]
fn the_journal_is_a_bus() -> Checked {
    suite::bus(&|| journal(&JournalOptions::default()))
}

#[test]
fn the_journal_is_a_bus_with_small_segments() -> Checked {
    let options = JournalOptions {
        segment_bytes: 4096,
        buffer_bytes: 64 << 10,
        ..JournalOptions::default()
    };
    suite::bus(&|| journal(&options))
}

#[test]
fn the_journal_is_a_bus_when_synced_at_an_interval() -> Checked {
    let durability = Durability::Interval(Duration::from_millis(20));
    suite::bus(&|| {
        journal(&JournalOptions {
            durability,
            ..JournalOptions::default()
        })
    })
}

#[test]
fn a_bus_can_be_shared_as_a_trait_object() {
    let dir = TempDir::new().unwrap();
    let bus: Arc<dyn Bus> = Arc::new(Journal::open(dir.path(), JournalOptions::default()).unwrap());
    assert!(format!("{bus:?}").starts_with("Journal"));
}
