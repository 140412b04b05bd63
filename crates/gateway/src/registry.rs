//! The fleet: which devices and models there are, how each stands, and which certificate is whose.
//!
//! Everything is kept in memory for reading and written through the store. What takes rights away (quarantine, revoke,
//! a certificate that supersedes another) holds in memory before it is written; what gives rights is written first. So
//! a failing disk leaves a device with fewer rights than asked, never with more.

mod activity;
mod codes;
mod decide;
mod enrol;
mod errors;
mod link;
mod live;
mod models;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use serde::Serialize;
use stockade_profile::Control;
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use time::{Duration, OffsetDateTime};
use tokio::sync::broadcast;

pub use self::activity::Noted;
use self::activity::{Activity, StoredActivity};
use self::codes::Guesses;
pub use self::codes::{EnrolmentCode, GuessSettings, NoRandomness};
pub use self::enrol::{CodeProof, CodeRefused, EnrolError, Issued, Renewal, ReturnRefused};
pub use self::errors::{AddError, ChangeError, InstallError, OpenError, Refusal};
use self::link::LinkNames;
pub use self::link::{Kid, LinkRecord};
use self::live::recognise;
pub use self::live::{Admission, Violations};
use self::models::read_model;
pub use self::models::{Installed, Model};
pub use self::record::{CertificateRecord, DeviceRecord, State, UnreadableRecord};
use self::record::{Stored, decode};
pub(crate) use self::record::{hex, model_name};
use crate::events::{EventLog, Happening, Outcome};
use crate::name::{DeviceId, ModelName};

const DEVICES: Table = Table::new("registry.devices");
const ACTIVITY: Table = Table::new("registry.activity");
const MODELS: Table = Table::new("registry.models");

/// How many changes a receiver of [`Registry::changes`] may fall behind.
const BEHIND: usize = 4_096;
/// How many records are written as one.
const AT_ONCE: usize = 256;

/// What an operator may choose about the registry.
#[derive(Debug, Clone, Copy)]
pub struct RegistrySettings {
    /// More violations than this within 60 seconds quarantine a device; 30.
    pub violations_per_minute: u32,
    /// How long an enrolment code can be used; 24 hours.
    pub code_life: Duration,
    /// How long after its certificate expired a device may still get a new one with it, into quarantine; 30 days.
    /// Zero means never.
    pub return_window: Duration,
    /// How many wrong enrolment codes are borne.
    pub guesses: GuessSettings,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            violations_per_minute: 30,
            code_life: Duration::hours(24),
            return_window: Duration::days(30),
            guesses: GuessSettings::default(),
        }
    }
}

/// The devices and models of this gateway.
pub struct Registry {
    store: Arc<dyn Store>,
    events: Arc<EventLog>,
    settings: RegistrySettings,
    devices: RwLock<BTreeMap<DeviceId, Arc<Slot>>>,
    models: ArcSwap<BTreeMap<ModelName, Arc<Model>>>,
    installing: Mutex<()>,
    addresses: Mutex<BTreeMap<IpAddr, BTreeSet<DeviceId>>>,
    link: Mutex<LinkNames>,
    /// Devices whose record in memory is ahead of the store.
    ahead: Mutex<BTreeSet<DeviceId>>,
    /// Devices whose counters are ahead of the store.
    counted: Mutex<BTreeSet<DeviceId>>,
    /// The store did not take what was written last; told once, not at every try.
    failing: AtomicBool,
    guesses: Guesses,
    changes: broadcast::Sender<DeviceId>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// One device in memory.
struct Slot {
    now: ArcSwap<Stored>,
    /// What the store holds; its lock is held by whoever changes the device. `None`: removed.
    written: Mutex<Option<Arc<Stored>>>,
    activity: Mutex<Activity>,
}

/// A record whose lock is held, on its way to the store.
struct Unwritten<'a> {
    id: &'a DeviceId,
    after: &'a Arc<Stored>,
    written: &'a mut Option<Arc<Stored>>,
}

/// Whether a change takes rights away or gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Tighten,
    Loosen,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreadable(
    what: &'static str,
    key: &[u8],
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Record {
        what,
        key: String::from_utf8_lossy(key).escape_default().to_string(),
        source: source.into(),
    }
}

impl Registry {
    /// Reads the registry from the store.
    pub fn open(
        store: Arc<dyn Store>,
        events: Arc<EventLog>,
        settings: RegistrySettings,
    ) -> Result<Self, OpenError> {
        let mut activities = BTreeMap::new();
        for (key, value) in store.scan(ACTIVITY, Scan::all())? {
            let stored: StoredActivity =
                decode(&value).map_err(|e| unreadable("the counters", &key, e))?;
            activities.insert(key, stored);
        }
        let mut devices = BTreeMap::new();
        let mut addresses: BTreeMap<IpAddr, BTreeSet<DeviceId>> = BTreeMap::new();
        let mut link = LinkNames::default();
        for (key, value) in store.scan(DEVICES, Scan::all())? {
            let text = std::str::from_utf8(&key).map_err(|e| unreadable("the name", &key, e))?;
            let id = DeviceId::new(text).map_err(|e| unreadable("the name", &key, e))?;
            let stored: Stored = decode(&value).map_err(|e| unreadable("the record", &key, e))?;
            let activity = activities.remove(&key).unwrap_or_default();
            if let Some(peer) = activity.peer {
                addresses.entry(peer.ip()).or_default().insert(id.clone());
            }
            if let Some(known) = &stored.link {
                link.put(&id, known);
            }
            devices.insert(
                id,
                Arc::new(Slot::new(stored, Activity::from_stored(activity))),
            );
        }
        let mut models = BTreeMap::new();
        for (key, value) in store.scan(MODELS, Scan::all())? {
            let model = read_model(&key, &value)?;
            models.insert(model.name.clone(), Arc::new(model));
        }
        Ok(Self {
            store,
            events,
            settings,
            devices: RwLock::new(devices),
            models: ArcSwap::from_pointee(models),
            installing: Mutex::new(()),
            addresses: Mutex::new(addresses),
            link: Mutex::new(link),
            ahead: Mutex::default(),
            counted: Mutex::default(),
            failing: AtomicBool::new(false),
            guesses: Guesses::new(settings.guesses),
            changes: broadcast::channel(BEHIND).0,
        })
    }

    /// Devices whose state, certificate or profile changed, from now on. A receiver that lags behind must look at all.
    pub fn changes(&self) -> broadcast::Receiver<DeviceId> {
        self.changes.subscribe()
    }

    /// Where the registry tells what happens.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    /// What was chosen about the registry.
    pub const fn settings(&self) -> &RegistrySettings {
        &self.settings
    }

    // Devices.

    /// Every device, by id.
    pub fn list(&self, now: OffsetDateTime) -> Vec<DeviceRecord> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices
            .iter()
            .map(|(id, slot)| slot.record(id, now))
            .collect()
    }

    /// One device.
    pub fn get(&self, id: &DeviceId, now: OffsetDateTime) -> Option<DeviceRecord> {
        self.slot(id).map(|slot| slot.record(id, now))
    }

    // Inside.

    fn slot(&self, id: &DeviceId) -> Option<Arc<Slot>> {
        self.devices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Changes one device, in memory and on disk, in the order its direction demands, and tells who watches.
    fn change<T, E: From<StoreError> + From<ChangeError>>(
        &self,
        id: &DeviceId,
        direction: Direction,
        change: impl FnOnce(&mut Stored) -> Result<T, E>,
    ) -> Result<T, E> {
        let slot = self
            .slot(id)
            .ok_or_else(|| ChangeError::Unknown(id.clone()))?;
        let mut written = lock(&slot.written);
        if written.is_none() {
            return Err(ChangeError::Unknown(id.clone()).into());
        }
        let before = slot.now.load_full();
        let mut after = Stored::clone(&before);
        let out = change(&mut after)?;
        if after == *before && lock(&self.ahead).get(id).is_none() {
            return Ok(out);
        }
        let after = Arc::new(after);
        if direction == Direction::Tighten {
            slot.now.store(Arc::clone(&after));
        }
        if let Err(error) = self.write(&mut [Unwritten {
            id,
            after: &after,
            written: &mut written,
        }]) {
            if direction == Direction::Tighten {
                lock(&self.ahead).insert(id.clone());
                drop(written);
                self.notify(id);
            }
            return Err(error.into());
        }
        slot.now.store(after);
        lock(&self.ahead).remove(id);
        drop(written);
        self.notify(id);
        Ok(out)
    }

    /// Brings the store up to what memory says, all of it or nothing.
    fn write(&self, unwritten: &mut [Unwritten<'_>]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for one in &*unwritten {
            let Some(on_disk) = &one.written else {
                continue;
            };
            // Another process that wrote in between, in a store that many gateways share, makes this a conflict.
            batch.require_equals(DEVICES, one.id.as_str(), to_json(&**on_disk));
            batch.put(DEVICES, one.id.as_str(), to_json(&**one.after));
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.store.commit(batch)?;
        for one in unwritten {
            if let Some(on_disk) = one.written.as_mut() {
                *on_disk = Arc::clone(one.after);
            }
        }
        Ok(())
    }

    fn notify(&self, id: &DeviceId) {
        // Nobody watching is no fault.
        let _watched = self.changes.send(id.clone());
    }

    fn tell(&self, now: OffsetDateTime, id: Option<&DeviceId>, outcome: Outcome, reason: String) {
        let device = id.map(ToString::to_string);
        self.events.record(
            now,
            Happening {
                outcome,
                control: Control::Credentials,
                device,
                peer: None,
                reason,
            },
        );
    }
}

impl Slot {
    fn new(stored: Stored, activity: Activity) -> Self {
        let stored = Arc::new(stored);
        Self {
            now: ArcSwap::new(Arc::clone(&stored)),
            written: Mutex::new(Some(stored)),
            activity: Mutex::new(activity),
        }
    }

    fn record(&self, id: &DeviceId, now: OffsetDateTime) -> DeviceRecord {
        let stored = self.now.load();
        let activity = lock(&self.activity);
        DeviceRecord {
            name: stored.name(id),
            state: stored.state.clone(),
            added: stored.added,
            code_expires: stored.code.as_ref().map(|code| code.expires),
            certificate: stored.current.clone(),
            next_certificate: stored.next.clone(),
            link: stored.link.clone(),
            last_seen: activity.stored.last_seen,
            last_peer: activity.stored.peer,
            violations: activity.stored.violations,
            violations_last_minute: activity.last_minute(now),
            recent_violations: activity.stored.noted.iter().cloned().collect(),
        }
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // The stored types have string keys and no fallible parts: writing them to memory cannot fail. If it ever did,
    // an empty value would be refused when it is read, not taken for something else.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
