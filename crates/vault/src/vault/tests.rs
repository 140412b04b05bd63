//! Merging, where a window has few numbers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use stockade_profile::{Profile, parse};
use stockade_store::telemetry::Record;
use stockade_store::{Journal, JournalOptions, Sqlite, Table, suite};
use tempfile::TempDir;

use super::blocks::{MERGED, WINDOW};
use super::*;
use crate::access::Role;
use crate::{Access, RootPlace, SealedBus, StoredRecord, Value};

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
[data.bare]
number = { use = "keep" }
[vault.bare]
purposes = ["operation"]
"#;

#[derive(Debug)]
struct Installed(Arc<Profile>);

impl Profiles for Installed {
    fn profile(&self, _model: &str) -> Option<Arc<Profile>> {
        Some(Arc::clone(&self.0))
    }
}

struct Place {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    vault: Vault,
}

fn open(dir: &Path) -> Place {
    let journal = Journal::open(&dir.join("journal"), JournalOptions::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.join("state.db")).unwrap());
    let profiles: Arc<dyn Profiles> = Arc::new(Installed(Arc::new(parse(PROFILE).unwrap())));
    let root = RootPlace::File(dir.join("root.key"));
    let keys = Arc::new(Keys::open(Arc::clone(&store), root, dir).unwrap());
    let bus: Arc<dyn Bus> = Arc::new(
        SealedBus::open(
            Arc::new(journal),
            Arc::clone(&store),
            Arc::clone(&keys),
            Arc::clone(&profiles),
        )
        .unwrap(),
    );
    let vault = Vault::open(Arc::clone(&store), Arc::clone(&bus), keys, dir, profiles).unwrap();
    Place { bus, store, vault }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap()
}

impl Place {
    /// Rounds of one record of each device.
    fn rounds(&self, devices: u64, rounds: std::ops::Range<u64>) {
        for round in rounds {
            for device in 0..devices {
                let payload = format!(r#"{{"number": {}}}"#, round * devices + device);
                let record = Record {
                    v: 1,
                    device: format!("device-{device}").into(),
                    model: "cam-2".into(),
                    profile_version: 1,
                    schema: "bare".into(),
                    topic: "t".into(),
                    at_unix_ms: 0,
                    payload: payload.as_bytes().into(),
                };
                let prepared = self.bus.prepare(&record).unwrap();
                self.bus.append(Stream::Telemetry, &prepared).unwrap();
            }
            suite::wait(&*self.bus, self.bus.last()).unwrap();
            self.vault.ingest_available(now()).unwrap();
        }
    }

    fn count(&self, table: Table) -> usize {
        self.store.scan(table, Scan::all()).unwrap().len()
    }

    fn all(&self, device: Option<&str>, newest_first: bool, limit: usize) -> Vec<(u64, Value)> {
        let access = Access {
            who: "it".to_owned(),
            role: Role::Operator,
            purpose: Some("operation".to_owned()),
        };
        let mut query = Query {
            schema: "bare".to_owned(),
            subject: device.map(|device| Subject {
                model: "cam-2".to_owned(),
                device: device.to_owned(),
            }),
            limit,
            newest_first,
            ..Query::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.vault.query(&access, &query, now()).unwrap();
            assert_eq!(page.damaged, []);
            let value = |record: StoredRecord| (record.number, record.fields["number"].clone());
            all.extend(page.records.into_iter().map(value));
            query.after = page.next;
            if page.next.is_none() {
                return all;
            }
        }
    }
}

#[test]
fn small_blocks_are_merged_and_every_answer_stays_the_same() {
    let dir = TempDir::new_in("/dev/shm").unwrap();
    let place = open(dir.path());
    let devices = 7;
    place.rounds(devices, 0..WINDOW * 5 / 2 / devices);
    let before = place.all(None, false, 1_000);
    let of_one = place.all(Some("device-3"), false, 1_000);
    let blocks = place.count(BLOCKS);
    assert_eq!(before.len(), blocks, "one record each");
    let tidied = place.vault.tidy(now()).unwrap();
    assert_eq!(tidied.merged, WINDOW * 2 - 1, "numbers begin with 1");
    let left = place.count(BLOCKS);
    assert!(left < blocks / 3, "{left} of {blocks}");
    assert_eq!(place.count(BY_SUBJECT), left);
    assert_eq!(place.count(MERGED), 2);
    let reversed = |mut all: Vec<_>| {
        all.reverse();
        all
    };
    for limit in [1_000, 10] {
        assert_eq!(place.all(None, false, limit), before);
        assert_eq!(reversed(place.all(None, true, limit)), before);
        assert_eq!(place.all(Some("device-3"), false, limit), of_one);
        assert_eq!(reversed(place.all(Some("device-3"), true, limit)), of_one);
    }
    let mut seen = BTreeMap::new();
    let wanted = 100..400;
    let damage = place
        .vault
        .read_all("bare", wanted.clone(), &mut |subject, record| {
            seen.insert(record.number, subject);
            std::ops::ControlFlow::Continue(())
        });
    assert_eq!(damage.unwrap(), []);
    assert!(seen.keys().copied().eq(wanted));
    assert_eq!(seen.values().max(), Some(&6));
    // What comes later goes on behind it, and a second look finds nothing to do.
    assert_eq!(place.vault.tidy(now()).unwrap(), Tidied::default());
    place.rounds(devices, 1_000..1_010);
    assert_eq!(place.all(None, false, 50).len(), before.len() + 70);
}
