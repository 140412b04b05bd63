//! A vault on a disk of its own, with the embedded journal and store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_profile::{Profile, parse};
use stockade_store::telemetry::Record;
use stockade_store::{Bus, Journal, JournalOptions, Sqlite, Store, Stream, suite};
use stockade_vault::{
    Access, Ingested, Keys, Page, Profiles, Query, Role, RootPlace, SealedBus, StoredRecord,
    Subject, Vault, VaultError,
};
use time::OffsetDateTime;

pub(crate) const PROFILE: &str = r#"
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
clip = { use = "seal", readers = ["owner"] }
[vault.motion]
purposes = ["operation", "repair"]
retention = "10d"
[data.bare]
number = { use = "keep" }
owner = { use = "pseudonym", scope = "purpose" }
[vault.bare]
purposes = ["operation", "repair"]
[data.closed]
number = { use = "keep" }
"#;

/// 2026-09-21 14:13:20 UTC.
pub(crate) const NOW: i64 = 1_790_000_000;

#[derive(Debug)]
pub(crate) struct Installed(pub(crate) Mutex<BTreeMap<String, Arc<Profile>>>);

impl Installed {
    pub(crate) fn put(&self, model: &str, text: &str) {
        let profile = parse(text).expect("a sound profile");
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(model.to_owned(), Arc::new(profile));
    }
}

impl Profiles for Installed {
    fn profile(&self, model: &str) -> Option<Arc<Profile>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(model).map(Arc::clone)
    }
}

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).expect("a date")
}

pub(crate) fn purpose(purpose: &str) -> Access {
    Access {
        who: "ada".to_owned(),
        role: Role::Analyst,
        purpose: Some(purpose.to_owned()),
    }
}

pub(crate) fn subject(device: &str) -> Subject {
    Subject {
        model: "cam-2".to_owned(),
        device: device.to_owned(),
    }
}

pub(crate) struct Place {
    pub(crate) profiles: Arc<Installed>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) store: Arc<Sqlite>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) vault: Vault,
}

#[expect(
    clippy::unwrap_in_result,
    reason = "only the vault's own errors are of interest"
)]
pub(crate) fn try_open(dir: &Path) -> Result<Place, VaultError> {
    let options = JournalOptions {
        segment_bytes: 16 << 10,
        ..JournalOptions::default()
    };
    let journal = Journal::open(&dir.join("journal"), options).expect("a journal");
    let journal = Arc::new(journal);
    let store = Arc::new(Sqlite::open(&dir.join("state.db"))?);
    let profiles = Arc::new(Installed(Mutex::default()));
    profiles.put("cam-2", PROFILE);
    let root = RootPlace::File(dir.with_extension("root"));
    let keys = Arc::new(Keys::open(
        Arc::<Sqlite>::clone(&store) as Arc<dyn Store>,
        root,
        dir,
    )?);
    let bus: Arc<dyn Bus> = Arc::new(SealedBus::open(
        Arc::<Journal>::clone(&journal) as Arc<dyn Bus>,
        Arc::<Sqlite>::clone(&store) as Arc<dyn Store>,
        Arc::clone(&keys),
        Arc::<Installed>::clone(&profiles) as Arc<dyn Profiles>,
    )?);
    let vault = Vault::open(
        Arc::<Sqlite>::clone(&store) as Arc<dyn Store>,
        Arc::clone(&bus),
        Arc::clone(&keys),
        dir,
        Arc::<Installed>::clone(&profiles) as Arc<dyn Profiles>,
    )?;
    Ok(Place {
        profiles,
        journal,
        bus,
        store,
        keys,
        vault,
    })
}

pub(crate) fn open(dir: &Path) -> Place {
    try_open(dir).expect("a vault")
}

pub(crate) fn record<'a>(device: &'a str, schema: &'a str, payload: &'a [u8]) -> Record<'a> {
    Record {
        v: 1,
        device: device.into(),
        model: "cam-2".into(),
        profile_version: 1,
        schema: schema.into(),
        topic: "cam-2/x/motion".into(),
        at_unix_ms: NOW * 1_000,
        payload: payload.into(),
    }
}

impl Place {
    /// On its way to the disk when this returns.
    pub(crate) fn append(&self, record: &Record<'_>) -> stockade_store::Seq {
        let prepared = self.bus.prepare(record).expect("prepared");
        self.bus
            .append(Stream::Telemetry, &prepared)
            .expect("taken")
    }

    pub(crate) fn settle(&self) {
        suite::wait(&*self.bus, self.bus.last()).expect("durable");
    }

    pub(crate) fn send(&self, record: &Record<'_>) {
        self.append(record);
        self.settle();
    }

    pub(crate) fn ingest(&self) -> Ingested {
        self.vault.ingest_available(now()).expect("ingested")
    }

    pub(crate) fn page(&self, query: &Query) -> Page {
        let mut access = purpose("operation");
        if query.subject.is_some() {
            // Nobody else asks for a device by its name.
            access.role = Role::Operator;
        }
        let page = self.vault.query(&access, query, now());
        page.expect("an answer")
    }

    /// Every record, page by page.
    pub(crate) fn all(&self, query: &Query) -> Vec<StoredRecord> {
        let (mut query, mut all) = (query.clone(), Vec::new());
        loop {
            let page = self.page(&query);
            assert_eq!(page.damaged, []);
            all.extend(page.records);
            query.after = page.next;
            if page.next.is_none() {
                return all;
            }
        }
    }
}

pub(crate) fn of(schema: &str) -> Query {
    Query {
        schema: schema.into(),
        limit: 1_000,
        ..Query::default()
    }
}
