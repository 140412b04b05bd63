//! Who copies the disk, or reads the logs, learns nothing.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_store::{Bus, Journal, JournalOptions, Store as _, Stream, Table, suite};
use stockade_vault::VaultError;
use tempfile::TempDir;

use super::place::{now, of, open, purpose, record, subject, try_open};

/// What no file may hold.
const PLANTED: [&str; 6] = [
    "porch-camera-of-ada",
    "planted-kept-value",
    "ada@example.org",
    "c2VjcmV0LWNsaXA",
    "planted-retained-message",
    "planted-evidence",
];
const PAYLOAD: &[u8] = br#"{"confidence": "planted-kept-value", "owner-email": "ada@example.org", "clip": "c2VjcmV0LWNsaXA", "heart-rate": 71}"#;

/// Which of the planted texts are in a file of the directory.
fn found(dir: &Path) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    let mut bytes = 0;
    while let Some(dir) = todo.pop() {
        for entry in fs_err::read_dir(dir)
            .expect("works")
            .map(|entry| entry.expect("works"))
        {
            if entry.file_type().expect("works").is_dir() {
                todo.push(entry.path());
                continue;
            }
            let content = fs_err::read(entry.path()).expect("works");
            bytes += content.len();
            let is_in = |text: &&str| {
                content
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            };
            found.extend(PLANTED.into_iter().filter(is_in));
        }
    }
    assert!(bytes > 200, "there is something to look at");
    found.sort_unstable();
    found.dedup();
    found
}

/// What a gateway writes: telemetry, a session with a message, evidence.
fn write(bus: &dyn Bus, prepared: &[u8]) {
    let sessions = b"planted-retained-message of porch-camera-of-ada";
    bus.append_all(&[(Stream::Sessions, sessions), (Stream::Telemetry, prepared)])
        .expect("works");
    bus.append(Stream::Posture, b"planted-evidence")
        .expect("works");
    suite::wait(bus, bus.last()).expect("works");
}

#[test]
fn a_stolen_directory_shows_nothing_and_without_the_sealed_bus_it_does() {
    let stolen = TempDir::new().unwrap();
    let place = open(stolen.path());
    let record = record("porch-camera-of-ada", "motion", PAYLOAD);
    let prepared = place.bus.prepare(&record).unwrap();
    write(&*place.bus, &prepared);
    // While it is only on the bus, when it is in blocks, and when everything is closed.
    assert_eq!(found(stolen.path()), [""; 0]);
    assert_eq!(place.ingest().stored, 1);
    let shown = place.all(&of("motion"));
    assert!(
        format!("{shown:?}").contains("planted-kept-value"),
        "it is there"
    );
    let evidence = place
        .bus
        .read(Stream::Posture, stockade_store::Seq::ZERO, 9)
        .unwrap();
    assert_eq!(evidence[0].1, b"planted-evidence");
    write(&*place.bus, &prepared_again(&place));
    assert_eq!(found(stolen.path()), [""; 0]);
    drop(place);
    assert_eq!(found(stolen.path()), [""; 0]);

    // Protection off: the same records on the journal as it is.
    let open = TempDir::new().unwrap();
    let journal = Journal::open(&open.path().join("journal"), JournalOptions::default()).unwrap();
    write(&journal, &record.encode());
    drop(journal);
    assert_eq!(found(open.path()).len(), PLANTED.len());
}

fn prepared_again(place: &super::place::Place) -> Vec<u8> {
    let record = record("porch-camera-of-ada", "motion", PAYLOAD);
    place.bus.prepare(&record).expect("works")
}

#[test]
fn an_old_journal_and_an_old_store_are_refused_plainly() {
    for stream in Stream::ALL {
        let dir = TempDir::new().unwrap();
        let journal =
            Journal::open(&dir.path().join("journal"), JournalOptions::default()).unwrap();
        let clear = record("porch", "motion", PAYLOAD).encode();
        suite::wait(&journal, journal.append(stream, &clear).unwrap()).unwrap();
        drop(journal);
        let refused = try_open(dir.path()).map(drop).unwrap_err();
        let VaultError::Bus(refused) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            refused
                .to_string()
                .contains("start with a new data directory"),
            "{refused}"
        );
    }
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    let mut batch = stockade_store::Batch::new();
    batch.put(Table::new("vault.meta"), "pseudonym-key", "x");
    place.store.commit(batch).unwrap();
    drop(place);
    let refused = try_open(dir.path()).map(drop).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("start with a new data directory"),
        "{refused}"
    );
}

/// Where the log goes.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn logs_at_their_loudest_and_errors_say_nothing_of_what_was_sent() {
    let heard = Heard::default();
    let writer = heard.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let mut errors = String::new();
    tracing::subscriber::with_default(subscriber, || {
        let dir = TempDir::new().unwrap();
        let place = open(dir.path());
        for payload in [
            PAYLOAD,
            br#"{"owner-email": "ada@example.org", "owner-email": 1}"#,
            b"planted-kept-value",
            br#"{"ada@example.org": [[[[[[[[[[[["planted-kept-value"]]]]]]]]]]]]}"#,
        ] {
            place.send(&record("porch-camera-of-ada", "motion", payload));
        }
        place
            .journal
            .append(Stream::Telemetry, b"ada@example.org")
            .unwrap();
        place.settle();
        let ingested = place.ingest();
        assert_eq!((ingested.stored, ingested.refused), (1, 4));
        let query = stockade_vault::Query {
            subject: Some(subject("porch-camera-of-ada")),
            ..of("motion")
        };
        assert_eq!(place.page(&query).records.len(), 1);
        let refused = place
            .vault
            .query(&purpose("ada@example.org"), &query, now());
        errors = format!("{refused:?} {}", refused.as_ref().unwrap_err());
        // A block that cannot be read is told of, and what is in it is not.
        super::blocks::damage(&place, "motion", 0, |block| block.reverse());
        assert_eq!(place.page(&query).damaged.len(), 1);
        errors = format!(
            "{errors} {:?} {:?}",
            place.vault.counters(),
            place.vault.log().entries(0, 99)
        );
    });
    let log = String::from_utf8(heard.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("a block cannot be read"),
        "the test can hear: {log}"
    );
    for planted in PLANTED {
        assert!(!log.contains(planted), "{planted}: {log}");
        assert!(!errors.contains(planted), "{planted}: {errors}");
    }
}
