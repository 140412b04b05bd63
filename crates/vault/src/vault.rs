//! The vault itself: from the bus through the treatments into the store, and out again.

mod query;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stockade_profile::{Generalisation, Profile, Schema, Treatment};
use stockade_store::telemetry::{Record, RecordError};
use stockade_store::{Batch, Bus, BusError, Scan, Seq, Store, StoreError, Stream, Table};
use time::OffsetDateTime;

pub use self::query::{MAX_PAGE, Page, Query, Subject};
use crate::counters::{Counters, Refusal};
use crate::keys::{KeyError, Pseudonyms, VaultKey};
use crate::payload::{PayloadError, decode};
use crate::record::StoredRecord;
use crate::treat::{Dropped, treat};
use crate::value::{Fields, Value};

/// Records by data set and number.
const RECORDS: Table = Table::new("vault.records");
/// [`Counters`] by data set.
const COUNTERS: Table = Table::new("vault.counters");
/// Single values: the position, the key's check value.
const META: Table = Table::new("vault.meta");
const POSITION: &[u8] = b"position";
const KEY_CHECK: &[u8] = b"pseudonym-key";

/// Messages that are treated and committed together.
const GROUP: usize = 1_000;
/// The counters of messages that name no known data set.
const UNKNOWN: &str = "(unknown)";

/// Where the vault finds out what a model's data may become.
pub trait Profiles: Send + Sync + fmt::Debug {
    /// The installed profile of `model`.
    fn profile(&self, model: &str) -> Option<Arc<Profile>>;
}

/// Why the vault did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The store failed.
    #[error("the vault's store failed")]
    Store(#[from] StoreError),
    /// The bus failed.
    #[error("the vault's source failed")]
    Bus(#[from] BusError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is not the one that made the stored pseudonyms.
    #[error("{file}: {detail}")]
    OtherKey {
        /// Where the key should be.
        file: String,
        /// What is wrong, and what to do.
        detail: &'static str,
    },
    /// Something in the store is not what the vault writes.
    #[error("{what} in the vault's store is damaged: {detail}")]
    Damaged {
        /// What it is.
        what: String,
        /// What is wrong.
        detail: String,
    },
}

/// What one call of [`Vault::ingest_available`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Messages stored.
    pub stored: u64,
    /// Messages refused; [`Vault::counters`] says why.
    pub refused: u64,
}

/// Treats telemetry, keeps the result, and answers questions about it.
#[derive(Debug)]
pub struct Vault {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    profiles: Arc<dyn Profiles>,
    key: VaultKey,
    /// Pseudonym keys by model and data set.
    pseudonyms: Mutex<BTreeMap<(String, String), Arc<Pseudonyms>>>,
    /// As in the store.
    progress: Mutex<Progress>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    position: Position,
    counters: BTreeMap<String, Counters>,
}

/// How far the vault is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Position {
    /// The last message taken from the bus.
    taken: Seq,
    /// The number of the last record. Not the bus's: that would tell how much else went on there.
    number: u64,
}

/// What becomes of a group of messages.
struct Group {
    batch: Batch,
    progress: Progress,
    ingested: Ingested,
}

impl Vault {
    /// Opens the vault. The key is in the directory `keys`; it is made at the first start, and never again.
    pub fn open(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        keys: &Path,
        profiles: Arc<dyn Profiles>,
    ) -> Result<Self, VaultError> {
        let key = open_key(&*store, keys)?;
        let mut progress = Progress::load(&*store)?;
        if progress.position.taken > bus.last() {
            tracing::warn!(
                vault = progress.position.taken.get(),
                bus = bus.last().get(),
                "the bus begins anew, so the vault takes it from the start"
            );
            let before = progress.position;
            progress.position.taken = Seq::ZERO;
            let mut batch = Batch::new();
            batch.require_equals(META, POSITION, before.encode());
            progress.position.put(&mut batch);
            store.commit(batch)?;
        }
        Ok(Self {
            store,
            bus,
            profiles,
            key,
            pseudonyms: Mutex::default(),
            progress: Mutex::new(progress),
        })
    }

    /// Takes every durable message from the bus, treats it and stores the result. Blocks while it works.
    ///
    /// Records, counters and the position are committed together: after a crash, each message is stored once.
    pub fn ingest_available(&self, now: OffsetDateTime) -> Result<Ingested, VaultError> {
        let mut progress = self.progress();
        let mut total = Ingested::default();
        loop {
            let messages = self
                .bus
                .read(Stream::Telemetry, progress.position.taken, GROUP)?;
            let Some((last, _)) = messages.last() else {
                return Ok(total);
            };
            let before = progress.position;
            let mut group = Group {
                batch: Batch::new(),
                progress: progress.clone(),
                ingested: Ingested::default(),
            };
            group.progress.position.taken = *last;
            for (_, message) in &messages {
                self.take(message, now, &mut group)?;
            }
            match self.store.commit(group.finish(before, &progress)) {
                Ok(()) => {}
                Err(StoreError::Conflict { .. }) => {
                    // Another vault on the same store was quicker.
                    *progress = Progress::load(&*self.store)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            total.stored += group.ingested.stored;
            total.refused += group.ingested.refused;
            *progress = group.progress;
            self.bus.trim(Stream::Telemetry, progress.position.taken)?;
        }
    }

    /// What became of messages and fields, by data set.
    pub fn counters(&self) -> BTreeMap<String, Counters> {
        self.progress().counters.clone()
    }

    /// Treats one message into `group`. Only a failure of this program is an error: what a device sent is refused, and
    /// counted, and the stream goes on.
    fn take(
        &self,
        message: &[u8],
        now: OffsetDateTime,
        group: &mut Group,
    ) -> Result<(), VaultError> {
        let record = match Record::decode(message) {
            Ok(record) => record,
            Err(RecordError::Newer(_)) => return group.refuse(UNKNOWN, Refusal::NewerRecord),
            Err(RecordError::Malformed(_)) => return group.refuse(UNKNOWN, Refusal::NotARecord),
        };
        let Some(profile) = self.profiles.profile(&record.model) else {
            return group.refuse(UNKNOWN, Refusal::UnknownModel);
        };
        let Some(schema) = profile.data.get(&*record.schema) else {
            return group.refuse(UNKNOWN, Refusal::UnknownSchema);
        };
        let mut fields = match decode(&record.payload) {
            Ok(fields) => fields,
            Err(PayloadError::Neither) => {
                return group.refuse(&record.schema, Refusal::NeitherJsonNorCbor);
            }
            Err(_) => return group.refuse(&record.schema, Refusal::Malformed),
        };
        add_transport(&record, schema, &mut fields);
        let pseudonyms = self.pseudonyms(&record.model, &record.schema)?;
        let treated = treat(schema, fields, &pseudonyms);

        let counters = group.counters(&record.schema);
        let mut withheld = Vec::new();
        for (field, why) in treated.dropped {
            counters.drop(&field, why);
            if why == Dropped::Sealed {
                withheld.push(field);
            }
        }
        if treated.fields.is_empty() {
            return group.refuse(&record.schema, Refusal::NothingLeft);
        }
        counters.stored += 1;
        let day = StoredRecord::day(now, time_step(schema));
        group.store(
            &record.schema,
            StoredRecord::encode(day, treated.fields, withheld),
        );
        Ok(())
    }

    fn pseudonyms(&self, model: &str, schema: &str) -> Result<Arc<Pseudonyms>, VaultError> {
        let mut cache = self
            .pseudonyms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let name = (model.to_owned(), schema.to_owned());
        if let Some(pseudonyms) = cache.get(&name) {
            return Ok(Arc::clone(pseudonyms));
        }
        let pseudonyms = Arc::new(self.key.pseudonyms(model, schema)?);
        cache.insert(name, Arc::clone(&pseudonyms));
        Ok(pseudonyms)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // It is replaced as a whole, after the commit.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn counters(&mut self, schema: &str) -> &mut Counters {
        self.progress.counters.entry(schema.to_owned()).or_default()
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the last step of a function that can fail"
    )]
    fn refuse(&mut self, schema: &str, why: Refusal) -> Result<(), VaultError> {
        self.ingested.refused += 1;
        self.counters(schema).refuse(why);
        Ok(())
    }

    fn store(&mut self, schema: &str, record: Vec<u8>) {
        self.ingested.stored += 1;
        self.progress.position.number += 1;
        self.batch.put(
            RECORDS,
            record_key(schema, self.progress.position.number),
            record,
        );
    }

    /// The batch with the new position and the counters that changed; refused if the old position is not `before`.
    fn finish(&mut self, before: Position, old: &Progress) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        if before == Position::default() {
            batch.require_absent(META, POSITION);
        } else {
            batch.require_equals(META, POSITION, before.encode());
        }
        self.progress.position.put(&mut batch);
        for (schema, counters) in &self.progress.counters {
            if old.counters.get(schema) != Some(counters) {
                let mut bytes = Vec::new();
                let written = ciborium::into_writer(counters, &mut bytes);
                debug_assert!(written.is_ok(), "encoding into memory failed");
                batch.put(COUNTERS, schema.as_bytes(), bytes);
            }
        }
        batch
    }
}

impl Progress {
    fn load(store: &dyn Store) -> Result<Self, VaultError> {
        let position = match store.get(META, POSITION)? {
            None => Position::default(),
            Some(bytes) => {
                Position::decode(&bytes).ok_or_else(|| damaged("the position", "not 16 bytes"))?
            }
        };
        let mut counters = BTreeMap::new();
        for (schema, bytes) in store.scan(COUNTERS, Scan::all())? {
            let what = "a data set's counters";
            let schema =
                String::from_utf8(schema).map_err(|error| damaged(what, &error.to_string()))?;
            let of_schema = ciborium::from_reader(bytes.as_slice())
                .map_err(|error| damaged(what, &error.to_string()))?;
            counters.insert(schema, of_schema);
        }
        Ok(Self { position, counters })
    }
}

impl Position {
    /// Nothing taken and nothing stored is told by the absence of a position.
    fn put(self, batch: &mut Batch) {
        if self == Self::default() {
            batch.delete(META, POSITION);
        } else {
            batch.put(META, POSITION, self.encode());
        }
    }

    fn encode(self) -> [u8; 16] {
        ((u128::from(self.taken.get()) << 64) | u128::from(self.number)).to_be_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (taken, number) = bytes.split_at_checked(8)?;
        let taken = u64::from_be_bytes(taken.try_into().ok()?);
        Some(Self {
            taken: Seq::new(taken),
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

/// The vault's key: the one there is, or a new one if nothing was ever made with another.
fn open_key(store: &dyn Store, keys: &Path) -> Result<VaultKey, VaultError> {
    let known = store.get(META, KEY_CHECK)?;
    let other = |detail| VaultError::OtherKey {
        file: VaultKey::path(keys).display().to_string(),
        detail,
    };
    let key = match (VaultKey::load(keys)?, &known) {
        (Some(key), _) => key,
        (None, None) => VaultKey::create(keys)?,
        (None, Some(_)) => {
            return Err(other(
                "the key is missing, and with another the same device would get other pseudonyms than in \
                              the stored records: restore it from a backup",
            ));
        }
    };
    let check = key.check_value()?;
    match known {
        Some(known) if known == check => {}
        Some(_) => {
            return Err(other(
                "this is not the key that made the stored pseudonyms: restore it from a backup",
            ));
        }
        None => {
            let mut batch = Batch::new();
            batch
                .require_absent(META, KEY_CHECK)
                .put(META, KEY_CHECK, check);
            store.commit(batch)?;
        }
    }
    Ok(key)
}

/// Adds what the gateway knows and the schema names. Who sent it is the gateway's to say: a device that names another
/// in its payload is not believed.
fn add_transport(record: &Record<'_>, schema: &Schema, fields: &mut Fields) {
    if schema.contains_key("device") {
        fields.insert("device".to_owned(), Value::Text(record.device.to_string()));
    }
    if schema.contains_key("time") {
        fields
            .entry("time".to_owned())
            .or_insert_with(|| Value::Integer(record.at_unix_ms.into()));
    }
}

/// The step that the schema's time is rounded to, if it is.
fn time_step(schema: &Schema) -> Option<u64> {
    match schema.get("time") {
        Some(Treatment::Generalise {
            to: Generalisation::Duration(step),
        }) => Some(step.as_secs()),
        _ => None,
    }
}

/// Data sets' names have no zero byte.
fn record_key(schema: &str, number: u64) -> Vec<u8> {
    [schema.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

fn damaged(what: &str, detail: &str) -> VaultError {
    VaultError::Damaged {
        what: what.to_owned(),
        detail: detail.to_owned(),
    }
}
