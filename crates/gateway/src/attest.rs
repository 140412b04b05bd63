//! Whether a device started as it should, by its TPM: whose key is believed, what is right for which version, and what was last
//! said (`docs/attestation.md`).

mod introduce;
mod roots;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stockade_api::attest::Quoted;
use stockade_api::{Blob, attest::Attestation};
use stockade_attest::log::{EventLog, LogError};
use stockade_attest::reference::{Difference, FORM, Reference, Unknown};
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use time::{Duration, OffsetDateTime};

pub use self::introduce::IntroduceError;
pub use self::roots::{Roots, RootsError};
use self::verdict::Case;
pub use self::verdict::{NONE, Verdict};
use crate::events::printable;
use crate::name::{DeviceId, ModelName};

/// [`Key`] by device.
const KEYS: Table = Table::new("attest.keys");
/// [`Reference`] by `model/version`.
const REFERENCES: Table = Table::new("attest.references");
/// [`Attested`] by device.
const LAST: Table = Table::new("attest.last");
/// The version of the records' form.
const FORMAT: u8 = 1;
/// How long after an enrolment, or after an operator's word, a device may name its TPM's key.
const WINDOW: Duration = Duration::days(1);
/// The longest version of a system, in characters.
const MOST_VERSION: usize = 64;

/// A device's attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    v: u8,
    /// How it stands with the key.
    pub stands: Standing,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// How it stands with a device's attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Standing {
    /// The device may name one, for a day.
    Awaited,
    /// This is it, and no other.
    Known {
        /// Its `TPMT_PUBLIC`.
        public: Blob,
        /// Whether a certificate of the TPM's maker says that it is in a TPM.
        certified: bool,
    },
}

/// What a device's TPM said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    v: u8,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub came: OffsetDateTime,
    /// The version of the system, as the device says.
    pub version: String,
    /// What it said.
    pub quoted: Option<Quoted>,
    /// What was made of it.
    pub verdict: Verdict,
}

/// Something about attestation that is not done.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The store failed.
    #[error("the store of attestations failed")]
    Store(#[from] StoreError),
    /// Something in the store is not what was written.
    #[error("{0} in the store of attestations is damaged")]
    Damaged(String),
    /// The device's TPM said nothing that could be recorded.
    #[error("{0} has no attestation that is proved: its TPM has to sign its registers first")]
    NotProved(DeviceId),
    /// The log that came with it.
    #[error("the device's event log can not be read")]
    Log(#[from] LogError),
    /// A register is missing.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The form.
    #[error("these reference values are of another form than {FORM}")]
    Form,
    /// The version.
    #[error("a version has 1 to {MOST_VERSION} visible characters, and no `/`")]
    Version,
}

/// What is known of TPMs, and what is right.
pub struct Attester {
    store: Arc<dyn Store>,
    keys: Mutex<BTreeMap<DeviceId, Key>>,
    references: Mutex<BTreeMap<String, Arc<Reference>>>,
    /// Secrets that a TPM has yet to give back.
    pending: Mutex<BTreeMap<DeviceId, introduce::Pending>>,
}

impl std::fmt::Debug for Attester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attester").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(model: &str, version: &str) -> String {
    format!("{model}/{version}")
}

fn read<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, AttestError> {
    serde_json::from_slice(value)
        .map_err(|_| AttestError::Damaged(String::from_utf8_lossy(key).into_owned()))
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Text, numbers, lists and maps: they can always be written.
    serde_json::to_vec(value).unwrap_or_default()
}

impl Attester {
    /// Opens what is kept.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, AttestError> {
        let mut keys = BTreeMap::new();
        for (key, value) in store.scan(KEYS, Scan::all())? {
            let id = std::str::from_utf8(&key).ok();
            let id = id.and_then(|id| DeviceId::new(id).ok());
            let known: Key = read(&key, &value)?;
            let damaged = || AttestError::Damaged(String::from_utf8_lossy(&key).into_owned());
            let id = id.filter(|_| known.v == FORMAT).ok_or_else(damaged)?;
            keys.insert(id, known);
        }
        let mut references = BTreeMap::new();
        for (key, value) in store.scan(REFERENCES, Scan::all())? {
            let reference: Reference = read(&key, &value)?;
            references.insert(
                place(&reference.model, &reference.version),
                reference.into(),
            );
        }
        Ok(Self {
            store,
            keys: Mutex::new(keys),
            references: Mutex::new(references),
            pending: Mutex::default(),
        })
    }

    /// A device's attestation key, or that one is awaited.
    pub fn key(&self, id: &DeviceId) -> Option<Key> {
        lock(&self.keys).get(id).cloned()
    }

    /// The device was enrolled, or an operator says so: it may name its TPM's key, once; the one before is not believed any more.
    pub fn await_key(&self, id: &DeviceId, now: OffsetDateTime) -> Result<(), AttestError> {
        lock(&self.pending).remove(id);
        self.put_key(id, Standing::Awaited, now)
    }

    fn put_key(
        &self,
        id: &DeviceId,
        stands: Standing,
        since: OffsetDateTime,
    ) -> Result<(), AttestError> {
        let key = Key {
            v: FORMAT,
            stands,
            since,
        };
        let mut keys = lock(&self.keys);
        let mut batch = Batch::new();
        batch.put(KEYS, id.as_str(), to_json(&key));
        self.store.commit(batch)?;
        keys.insert(id.clone(), key);
        Ok(())
    }

    /// Forgets devices that are no more.
    pub(crate) fn forget(&self, gone: &[DeviceId]) -> Result<(), AttestError> {
        let mut keys = lock(&self.keys);
        let mut batch = Batch::new();
        for id in gone {
            batch.delete(KEYS, id.as_str()).delete(LAST, id.as_str());
        }
        self.store.commit(batch)?;
        keys.retain(|id, _| !gone.contains(id));
        Ok(())
    }

    /// The reference values, by model and version.
    pub fn references(&self) -> Vec<Arc<Reference>> {
        lock(&self.references).values().cloned().collect()
    }

    /// What a device's TPM said last. Blocks.
    pub fn last(&self, id: &DeviceId) -> Result<Option<Attested>, AttestError> {
        let key = id.as_str().as_bytes();
        let found = self.store.get(LAST, key)?;
        found.map(|bytes| read(key, &bytes)).transpose()
    }

    /// Judges what came with evidence, and keeps it with `batch`.
    pub(crate) fn take(
        &self,
        said: &Said<'_>,
        attestation: Option<Attestation>,
        batch: &mut Batch,
    ) -> Attested {
        let version = said.version.unwrap_or(NONE);
        let (reference, others) = {
            let references = lock(&self.references);
            let prefix = place(said.model.as_str(), "");
            let others = references.keys().any(|key| key.starts_with(&prefix));
            let key = place(said.model.as_str(), version);
            (references.get(&key).cloned(), others)
        };
        let key = self.key(said.device);
        let case = Case {
            device: said.device.as_str(),
            nonce: said.nonce,
            wanted: said.wanted,
            key: key.as_ref(),
            reference: reference.as_deref(),
            others,
            version,
            now: said.came,
        };
        let verdict = case.judge(attestation.as_ref());
        let attested = Attested {
            v: FORMAT,
            came: said.came,
            version: version.to_owned(),
            quoted: match attestation {
                Some(Attestation::Quoted(quoted)) => Some(*quoted),
                Some(Attestation::Missing(_)) | None => None,
            },
            verdict,
        };
        batch.put(LAST, said.device.as_str(), to_json(&attested));
        attested
    }

    /// What a device that is known to be good said last becomes right for its model, in its version or in `version`.
    pub fn record(
        &self,
        id: &DeviceId,
        model: &ModelName,
        version: Option<&str>,
    ) -> Result<Arc<Reference>, AttestError> {
        let not_proved = || AttestError::NotProved(id.clone());
        let last = self.last(id)?.filter(|last| last.verdict.proved);
        let last = last.ok_or_else(not_proved)?;
        let quoted = last.quoted.ok_or_else(not_proved)?;
        let values = verdict::values(&quoted.quote).ok_or_else(not_proved)?;
        let log = EventLog::read(&quoted.log.0)?;
        let version = version.unwrap_or(&last.version);
        let wanted: Vec<u8> = values.keys().copied().collect();
        let reference = Reference::of_log(model.as_str(), version, &log, &values, wanted)?;
        self.put_reference(reference)
    }

    /// These values become right for a model's version; what is right of other registers stays.
    pub fn add(&self, mut reference: Reference) -> Result<Arc<Reference>, AttestError> {
        let key = place(&reference.model, &reference.version);
        let known = lock(&self.references).get(&key).cloned();
        if let Some(known) = known {
            let mut registers = known.registers.clone();
            registers.append(&mut reference.registers);
            reference.registers = registers;
        }
        self.put_reference(reference)
    }

    fn put_reference(&self, reference: Reference) -> Result<Arc<Reference>, AttestError> {
        let version = &reference.version;
        let sound = (1..=MOST_VERSION).contains(&version.chars().count())
            && version.chars().all(|c| c.is_ascii_graphic() && c != '/');
        if !sound {
            return Err(AttestError::Version);
        }
        if reference.form != FORM {
            return Err(AttestError::Form);
        }
        let key = place(&reference.model, version);
        let mut references = lock(&self.references);
        let mut batch = Batch::new();
        batch.put(REFERENCES, key.as_str(), to_json(&reference));
        self.store.commit(batch)?;
        let reference = Arc::new(reference);
        references.insert(key, Arc::clone(&reference));
        Ok(reference)
    }

    /// What is right for a model's version is not known any more; whether it was.
    pub fn forget_reference(&self, model: &ModelName, version: &str) -> Result<bool, AttestError> {
        let key = place(model.as_str(), version);
        let mut references = lock(&self.references);
        let mut batch = Batch::new();
        batch.delete(REFERENCES, key.as_str());
        self.store.commit(batch)?;
        Ok(references.remove(&key).is_some())
    }
}

/// Evidence that answered a question.
pub(crate) struct Said<'a> {
    pub(crate) device: &'a DeviceId,
    pub(crate) model: &'a ModelName,
    pub(crate) nonce: &'a str,
    pub(crate) version: Option<&'a str>,
    /// The registers that the profile names.
    pub(crate) wanted: &'a [u8],
    pub(crate) came: OffsetDateTime,
}

/// What differs, each a sentence.
fn sentences(differences: &[Difference]) -> impl Iterator<Item = String> {
    differences
        .iter()
        .map(|it| format!("{} (register {})", printable(&it.says), it.pcr))
}
