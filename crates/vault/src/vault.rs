//! The vault itself: from the bus into blocks, and out again.

mod blocks;
mod group;
mod query;
mod seen;
#[cfg(test)]
mod tests;
mod tidy;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use aws_lc_rs::hmac;
use stockade_profile::Profile;
use stockade_store::{Batch, Bus, BusError, Scan, Seq, Store, StoreError, Stream, Table};
use time::OffsetDateTime;
use zeroize::Zeroizing;

pub use self::blocks::Damage;
pub(crate) use self::blocks::{Wanted, block_key, index_key, parse_key};
use self::group::Group;
pub use self::query::{MAX_PAGE, Page, Query, Subject};
use self::seen::Seen;
pub use self::tidy::Tidied;
use crate::access::Refused;
use crate::counters::{Counters, Refusal};
use crate::keys::{KeyError, Keys};
use crate::log::{Log, LogError};
use crate::release::Streams;
use crate::seal::Opener;

/// [`crate::block`]s by data set and the number of their first record.
pub(crate) const BLOCKS: Table = Table::new("vault.blocks");
/// Nothing, by subject, data set and first number: whose blocks are where.
pub(crate) const BY_SUBJECT: Table = Table::new("vault.by-subject");
/// [`Counters`] by data set.
pub(crate) const COUNTERS: Table = Table::new("vault.counters");
/// Single values: the position, and what was seen on the bus.
pub(crate) const META: Table = Table::new("vault.meta");
const POSITION: &[u8] = b"position";
const SEEN: &[u8] = b"seen";
/// What a version had that kept single records.
const OLD: [(Table, &[u8]); 1] = [(META, b"pseudonym-key")];

/// Messages that are stored together, at most.
const GROUP: usize = 32_768;
/// The counters of messages that name no known data set.
pub(crate) const UNKNOWN: &str = "(unknown)";

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
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The log failed, so nothing was done that it should tell of.
    #[error("the vault's log failed")]
    Log(#[from] LogError),
    /// Who asked may not.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The gateway's broker did not forget the device, so the vault did not begin.
    #[error("the broker did not forget the device: {why}")]
    Broker {
        /// Why not.
        why: String,
    },
    /// A version that kept records in another way wrote the store.
    #[error(
        "the vault's store was written by an older version, whose records this one does not read: start with a new data directory"
    )]
    OldStore,
    /// A backup was put back in part only.
    #[error(
        "a restore of the vault's store was cut short: repeat `stockade vault restore` with the same file"
    )]
    HalfRestored,
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
    /// Messages that came again, and were stored before.
    pub repeated: u64,
}

/// Stores what comes treated from the bus, and answers questions about it.
#[derive(Debug)]
pub struct Vault {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) profiles: Arc<dyn Profiles>,
    pub(crate) keys: Arc<Keys>,
    log: Log,
    tenant: [u8; 16],
    opener: Opener,
    /// As in the store. Whoever changes blocks holds it.
    progress: Mutex<Progress>,
    /// Held for writing where blocks are put in the place of others, for reading where they are read one after the other.
    merging: RwLock<()>,
    /// Taken behind `progress` if both are, never before it.
    pub(crate) streams: Mutex<Streams>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    position: Position,
    seen: Seen,
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

impl Vault {
    /// Opens the vault; its log is in the directory `dir`. The bus must be a [`crate::SealedBus`] with the same keys.
    pub fn open(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        keys: Arc<Keys>,
        dir: &Path,
        profiles: Arc<dyn Profiles>,
    ) -> Result<Self, VaultError> {
        for (table, key) in OLD {
            if store.get(table, key)?.is_some() {
                return Err(VaultError::OldStore);
            }
        }
        if crate::backup::half_restored(&*store)? {
            return Err(VaultError::HalfRestored);
        }
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
        let vault = Self {
            log: Log::open(dir, keys.log_seen())?,
            tenant: keys.installation(),
            store,
            bus,
            profiles,
            keys,
            opener: Opener::default(),
            progress: Mutex::new(progress),
            merging: RwLock::default(),
            streams: Mutex::default(),
        };
        vault.check_epoch()?;
        // A bus remembers it no longer than it runs.
        let taken = vault.progress().position.taken;
        vault.bus.trim(Stream::Telemetry, taken)?;
        Ok(vault)
    }

    /// Takes every durable message from the bus and stores it. Blocks while it works.
    ///
    /// Blocks, counters and the position are committed together: after a crash each message is stored once, and one that comes
    /// again, from a journal restored from a backup, is known by its name on the bus.
    pub fn ingest_available(&self, now: OffsetDateTime) -> Result<Ingested, VaultError> {
        let mut progress = self.progress();
        self.opener.keep(|epoch| self.keys.bus_key(epoch).is_some());
        let mut total = Ingested::default();
        loop {
            let messages = self
                .bus
                .read(Stream::Telemetry, progress.position.taken, GROUP)?;
            let Some((last, _)) = messages.last() else {
                return Ok(total);
            };
            let last = *last;
            let mut group = Group::new(&progress, last, now);
            let opened = self.open_all(messages, &mut group)?;
            for message in &opened {
                group.take(message);
            }
            let (batch, after, ingested) = group.finish(self, &progress)?;
            match self.store.commit(batch) {
                Ok(()) => {}
                Err(StoreError::Conflict { .. }) => {
                    // Another vault on the same store was quicker.
                    *progress = Progress::load(&*self.store)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            *progress = after;
            total.stored += ingested.stored;
            total.refused += ingested.refused;
            total.repeated += ingested.repeated;
            self.bus.trim(Stream::Telemetry, last)?;
        }
    }

    /// The messages that were not stored before, opened; what cannot be is counted.
    fn open_all(
        &self,
        messages: Vec<(Seq, Vec<u8>)>,
        group: &mut Group<'_>,
    ) -> Result<Vec<Zeroizing<Vec<u8>>>, VaultError> {
        let mut all = Vec::with_capacity(messages.len());
        for (seq, message) in messages {
            let key = |epoch| {
                let key = self.keys.bus_key(epoch);
                Ok(key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, &*key)))
            };
            match self.opener.open(&message, key)? {
                Ok((id, clear)) => all.extend(group.is_new(id).then_some(clear)),
                Err(error) => {
                    tracing::error!(%seq, reason = error.detail(), "a message on the bus cannot be opened");
                    group.refuse(UNKNOWN, Refusal::Unreadable);
                }
            }
        }
        Ok(all)
    }

    /// The log of who asked what, and why.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The keys.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// What became of messages and fields, by data set.
    pub fn counters(&self) -> BTreeMap<String, Counters> {
        self.progress().counters.clone()
    }

    /// The data sets that something was sent of.
    pub(crate) fn data_sets(&self) -> Vec<String> {
        let progress = self.progress();
        let known = progress.counters.keys().filter(|it| *it != UNKNOWN);
        known.cloned().collect()
    }

    /// The number of the last record that is stored.
    pub(crate) fn last_number(&self) -> u64 {
        self.progress().position.number
    }

    /// The purposes for which the profiles of these models let single devices' records of a data set be shown.
    pub(crate) fn purposes<'a>(
        &self,
        models: impl IntoIterator<Item = &'a str>,
        schema: &str,
    ) -> Vec<String> {
        let mut all = Vec::new();
        for model in models {
            let profile = self.profiles.profile(model);
            let usage = profile.as_deref().and_then(|it| it.vault.get(schema));
            all.extend(
                usage
                    .iter()
                    .flat_map(|it| &it.purposes)
                    .map(ToString::to_string),
            );
        }
        all.sort();
        all.dedup();
        all
    }

    /// While it is held no block comes or goes but by its holder.
    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        // It is replaced as a whole, after the commit.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
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
        let seen = match store.get(META, SEEN)? {
            None => Seen::default(),
            Some(bytes) => Seen::decode(&bytes)
                .ok_or_else(|| damaged("what was seen on the bus", "not what the vault writes"))?,
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
        Ok(Self {
            position,
            seen,
            counters,
        })
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

pub(crate) fn damaged(what: &str, detail: &str) -> VaultError {
    VaultError::Damaged {
        what: what.to_owned(),
        detail: detail.to_owned(),
    }
}
