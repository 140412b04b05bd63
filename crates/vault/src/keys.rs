//! The vault's keys: root → keyring → epoch → subject.
//!
//! A root key ([`RootPlace`]) wraps the keyring, one small file that holds the epochs' keys; an epoch's key wraps each subject's own
//! keys, which are rows of the store. To erase a subject its row goes, every other subject's row is wrapped anew under the next
//! epoch, and the epoch before is destroyed: what any journal, free page or backup still has of the row is worth nothing then.

mod error;
mod file;
mod keyring;
mod root;
mod rotate;
mod subjects;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::{constant_time, hkdf, hmac};
use stockade_store::{Batch, Store, StoreError, Table};
use zeroize::Zeroizing;

pub use self::error::KeyError;
pub(crate) use self::file::KeyFile;
use self::keyring::Keyring;
pub(crate) use self::keyring::fuzz;
use self::root::Root;
pub use self::root::RootPlace;
pub use self::rotate::Rotated;
use self::subjects::{Cache, Wrapper, epoch_of};
pub use self::subjects::{SubjectId, SubjectKeys};
use crate::vault::Subject;

/// Wrapped keys by [`SubjectId`].
pub(crate) const SUBJECTS: Table = Table::new("vault.subjects");
/// The subjects' ids by the keyed hash of model and device: a stolen store names nobody.
pub(crate) const NAMES: Table = Table::new("vault.subject-names");
pub(crate) const META: Table = Table::new("vault.meta");
/// The installation, and the check value of its keyring.
const INSTALLATION: &[u8] = b"installation";
/// The newest epoch that the store has seen.
pub(crate) const EPOCH: &[u8] = b"epoch";

pub(crate) const KEY_BYTES: usize = 32;

/// A key. It is not shown and not copied, and wiped when it goes.
pub struct Secret(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Deref for Secret {
    type Target = [u8; KEY_BYTES];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// All keys of a vault.
pub struct Keys {
    store: Arc<dyn Store>,
    root: Root,
    /// Rows are written under the lock of reading: when an epoch ends, none is under way.
    state: RwLock<State>,
    caches: Mutex<Caches>,
    names: hmac::Key,
    master: hkdf::Prk,
    rotating: Mutex<()>,
    rewrapped: AtomicU64,
}

struct State {
    keyring: Keyring,
    /// As the keyring's epochs.
    wrappers: Vec<Wrapper>,
}

#[derive(Default)]
struct Caches {
    names: Cache<[u8; KEY_BYTES], SubjectId>,
    subjects: Cache<SubjectId, Arc<SubjectKeys>>,
    /// Subjects that were removed: what was read before one was is not kept.
    removed: u64,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.root.place)
    }
}

impl Keys {
    /// Opens the keys of the vault in `store`; the keyring is in `dir`. Root key and keyring are made at the first start, and
    /// never again: what was stored could not be read with others.
    pub fn open(store: Arc<dyn Store>, place: RootPlace, dir: &Path) -> Result<Self, KeyError> {
        let known = store.get(META, INSTALLATION)?;
        let file = Keyring::path(dir);
        let is_first = known.is_none() && !file.try_exists()?;
        let root = Root::open(place, is_first)?;
        let unusable = |detail| KeyError::Unusable {
            file: file.clone(),
            detail,
        };
        let keyring = match Keyring::load(dir, &root)? {
            Some(keyring) => keyring,
            None if is_first => Keyring::create(dir, &root)?,
            None => {
                return Err(unusable(
                    "the vault's keyring is missing, and nothing in the vault can be read without it: restore its newest copy",
                ));
            }
        };
        let master = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &keyring.content.master);
        let check = [
            keyring.installation.as_slice(),
            &*expand(&master, &[b"check"])?,
        ]
        .concat();
        let newest = keyring.current().number;
        match known {
            Some(known) if known == check => {}
            Some(_) => {
                return Err(unusable(
                    "the keyring of another vault: restore this one's newest copy",
                ));
            }
            None => {
                let mut batch = Batch::new();
                batch
                    .require_absent(META, INSTALLATION)
                    .put(META, INSTALLATION, check);
                store.commit(batch)?;
            }
        }
        let seen = store.get(META, EPOCH)?.unwrap_or_default();
        if seen.as_slice() > newest.to_be_bytes().as_slice() {
            return Err(unusable(
                "the keyring is older than what it should open: after its copy was made the epoch changed; restore its newest copy",
            ));
        }
        let names = hmac::Key::new(hmac::HMAC_SHA256, &*expand(&master, &[b"names"])?);
        let wrappers = keyring.wrappers()?;
        Ok(Self {
            store,
            root,
            state: RwLock::new(State { keyring, wrappers }),
            caches: Mutex::default(),
            names,
            master,
            rotating: Mutex::default(),
            rewrapped: AtomicU64::default(),
        })
    }

    /// The keys of this device's subject, made if it was never seen; on disk when this returns.
    pub fn subject(&self, subject: &Subject) -> Result<Arc<SubjectKeys>, KeyError> {
        let mut all = self.subjects(std::slice::from_ref(subject))?;
        all.pop().ok_or(KeyError::Crypto("no subject"))
    }

    /// The keys of many at once, in their order; those that are new cost one commit together.
    pub fn subjects(&self, subjects: &[Subject]) -> Result<Vec<Arc<SubjectKeys>>, KeyError> {
        loop {
            let removed = self.caches().removed;
            let state = self.state();
            let mut batch = Batch::new();
            let mut made: BTreeMap<[u8; KEY_BYTES], Arc<SubjectKeys>> = BTreeMap::new();
            let mut all = Vec::with_capacity(subjects.len());
            for subject in subjects {
                let name = self.name(subject);
                let keys = if let Some(keys) = self.named(&state, &name)? {
                    keys
                } else if let Some(keys) = made.get(&name) {
                    Arc::clone(keys)
                } else {
                    let keys = Arc::new(SubjectKeys::make(SubjectId::new()?)?);
                    batch
                        .require_absent(NAMES, name)
                        .put(NAMES, name, *keys.id.as_bytes())
                        .put(SUBJECTS, *keys.id.as_bytes(), state.current()?.wrap(&keys)?);
                    made.insert(name, Arc::clone(&keys));
                    keys
                };
                all.push(keys);
            }
            if made.is_empty() {
                return Ok(all);
            }
            match self.store.commit(batch) {
                Ok(()) => {}
                // Another was quicker with one of them.
                Err(StoreError::Conflict { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut caches = self.caches();
            if caches.removed == removed {
                for (name, keys) in made {
                    caches.names.put(name, keys.id);
                    caches.subjects.put(keys.id, keys);
                }
            }
            return Ok(all);
        }
    }

    /// Makes the keys of those that have none, in one commit: so that [`Keys::subject`] finds them. How many those were.
    pub fn introduce(&self, subjects: &[Subject]) -> Result<usize, KeyError> {
        let mut missing = Vec::new();
        for subject in subjects {
            if self.id_of(&self.name(subject))?.is_none() {
                missing.push(subject.clone());
            }
        }
        if !missing.is_empty() {
            self.subjects(&missing)?;
        }
        Ok(missing.len())
    }

    /// The keys of this device's subject, if there is one.
    pub fn find(&self, subject: &Subject) -> Result<Option<Arc<SubjectKeys>>, KeyError> {
        self.named(&self.state(), &self.name(subject))
    }

    /// The keys of a subject; none if it is not there, or no more.
    pub fn by_id(&self, id: SubjectId) -> Result<Option<Arc<SubjectKeys>>, KeyError> {
        self.with_id(&self.state(), id)
    }

    /// A key that lives as long as the vault, for one thing: HKDF-Expand (RFC 5869 §2.3) of the keyring's master key, each part
    /// behind its length.
    pub fn domain_key(&self, parts: &[&[u8]]) -> Result<hmac::Key, KeyError> {
        Ok(hmac::Key::new(
            hmac::HMAC_SHA256,
            &*self.domain_secret(parts)?,
        ))
    }

    /// The same, as bytes.
    pub fn domain_secret(&self, parts: &[&[u8]]) -> Result<Secret, KeyError> {
        let mut info = vec![b"domain".as_slice()];
        info.extend_from_slice(parts);
        expand(&self.master, &info)
    }

    /// What names this installation in what is sealed, so that nothing of another can be put in its place.
    pub fn installation(&self) -> [u8; 16] {
        self.state().keyring.installation
    }

    /// The current epoch.
    pub fn epoch(&self) -> u32 {
        self.state().keyring.current().number
    }

    /// The key of an epoch for what is on the bus; none if it was destroyed.
    pub fn bus_key(&self, epoch: u32) -> Option<Secret> {
        let state = self.state();
        let epochs = &state.keyring.content.epochs;
        let epoch = epochs.iter().find(|it| it.number == epoch)?;
        Some(Secret(Zeroizing::new(epoch.bus)))
    }

    /// Seals and appends to the bus under the current epoch. No epoch begins meanwhile: what an old one sealed is on the bus before
    /// the vault takes all of it, and the old one ends. `act` must ask for no key.
    pub fn on_bus<T>(&self, act: impl FnOnce(u32, &[u8; KEY_BYTES]) -> T) -> T {
        let state = self.state();
        let epoch = state.keyring.current();
        act(epoch.number, &epoch.bus)
    }

    /// The log as it was when this was last told, if ever: its size and its root. A log that does not continue it is an older one.
    pub fn log_seen(&self) -> Option<(u64, [u8; 32])> {
        self.state().keyring.content.log
    }

    /// Remembers the log as it is now. This writes the keyring: not for each entry.
    pub fn remember_log(&self, size: u64, root: [u8; 32]) -> Result<(), KeyError> {
        self.change(|content| content.log = Some((size, root)))
    }

    /// Where the root key is, and whether a destroyed epoch stays destroyed for those who copied key and keyring before.
    pub fn root(&self) -> (&RootPlace, bool) {
        (&self.root.place, self.root.destroys())
    }

    /// What stands for model and device in the store.
    fn name(&self, subject: &Subject) -> [u8; KEY_BYTES] {
        let mut text = Zeroizing::new(Vec::with_capacity(128));
        push_with_length(&mut text, subject.model.as_bytes());
        push_with_length(&mut text, subject.device.as_bytes());
        let mut name = [0; KEY_BYTES];
        name.copy_from_slice(hmac::sign(&self.names, &text).as_ref());
        name
    }

    /// What stands for this device in the store, and its subject, if it has one: also when its keys are damaged.
    pub(crate) fn locate(
        &self,
        subject: &Subject,
    ) -> Result<Option<([u8; KEY_BYTES], SubjectId)>, KeyError> {
        let name = self.name(subject);
        Ok(self.id_of(&name)?.map(|id| (name, id)))
    }

    /// Whether a subject's keys are in the store.
    pub(crate) fn is_kept(&self, id: SubjectId) -> Result<bool, KeyError> {
        Ok(self.store.get(SUBJECTS, id.as_bytes())?.is_some())
    }

    /// Removes a subject's rows, with all that `batch` changes, and forgets its keys.
    pub(crate) fn remove(
        &self,
        mut batch: Batch,
        name: [u8; KEY_BYTES],
        id: SubjectId,
    ) -> Result<(), KeyError> {
        batch.delete(SUBJECTS, *id.as_bytes()).delete(NAMES, name);
        let removed = self.store.commit(batch);
        // Behind the commit: whoever still read the rows must not keep what was in them.
        let mut caches = self.caches();
        caches.removed = caches.removed.wrapping_add(1);
        caches.names.forget(&name);
        caches.subjects.forget(&id);
        Ok(removed?)
    }

    fn named(
        &self,
        state: &State,
        name: &[u8; KEY_BYTES],
    ) -> Result<Option<Arc<SubjectKeys>>, KeyError> {
        match self.id_of(name)? {
            Some(id) => self.with_id(state, id),
            None => Ok(None),
        }
    }

    fn id_of(&self, name: &[u8; KEY_BYTES]) -> Result<Option<SubjectId>, KeyError> {
        let mut caches = self.caches();
        let removed = caches.removed;
        if let Some(id) = caches.names.get(name) {
            return Ok(Some(id));
        }
        drop(caches);
        let Some(id) = self.store.get(NAMES, name)? else {
            return Ok(None);
        };
        let id = id.try_into().map(SubjectId::from_bytes);
        let id = id.map_err(|_| KeyError::DamagedName)?;
        let mut caches = self.caches();
        if caches.removed == removed {
            caches.names.put(*name, id);
        }
        Ok(Some(id))
    }

    fn with_id(&self, state: &State, id: SubjectId) -> Result<Option<Arc<SubjectKeys>>, KeyError> {
        let mut caches = self.caches();
        let removed = caches.removed;
        if let Some(keys) = caches.subjects.get(&id) {
            return Ok(Some(keys));
        }
        drop(caches);
        let Some(row) = self.store.get(SUBJECTS, id.as_bytes())? else {
            return Ok(None);
        };
        let keys = Arc::new(state.unwrap(id, &row)?);
        let mut caches = self.caches();
        if caches.removed == removed {
            caches.subjects.put(id, Arc::clone(&keys));
        }
        Ok(Some(keys))
    }

    /// The keys in a row that was read of this subject; from no cache.
    pub(crate) fn unwrap(&self, id: SubjectId, row: &[u8]) -> Result<SubjectKeys, KeyError> {
        self.state().unwrap(id, row)
    }

    /// Changes the keyring, in the file and then in memory.
    fn change(&self, change: impl FnOnce(&mut keyring::Content)) -> Result<(), KeyError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.keyring.change(&self.root, false, change)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // It changes only as a whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn caches(&self) -> MutexGuard<'_, Caches> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn current(&self) -> Result<&Wrapper, KeyError> {
        self.wrappers
            .last()
            .ok_or(KeyError::Crypto("no epoch is alive"))
    }

    fn unwrap(&self, id: SubjectId, row: &[u8]) -> Result<SubjectKeys, KeyError> {
        let damaged = KeyError::Damaged { subject: id };
        let Some(epoch) = epoch_of(row) else {
            return Err(damaged);
        };
        let Some(wrapper) = self.wrappers.iter().find(|it| it.epoch == epoch) else {
            return Err(KeyError::Destroyed { subject: id, epoch });
        };
        wrapper.unwrap(id, row).ok_or(damaged)
    }
}

/// HKDF-Expand (RFC 5869 §2.3) with the parts as info, each behind its length: no two lists of parts look alike.
fn expand(prk: &hkdf::Prk, parts: &[&[u8]]) -> Result<Secret, KeyError> {
    let mut info = Zeroizing::new(Vec::with_capacity(128));
    for part in parts {
        push_with_length(&mut info, part);
    }
    let info = [info.as_slice()];
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    prk.expand(&info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut *key))
        .map_err(|_| KeyError::Crypto("no key derived"))?;
    Ok(Secret(key))
}

pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyError> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_| KeyError::Crypto("no random bytes"))?;
    Ok(bytes)
}

/// Compares in constant time.
pub(crate) fn constant_eq(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

pub(crate) fn push_with_length(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

pub(crate) fn to_hex(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(base16ct::lower::encode_string(bytes))
}

pub(crate) fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let written = base16ct::mixed::decode(text, &mut *key).ok()?.len();
    (written == KEY_BYTES).then_some(key)
}
