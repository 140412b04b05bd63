//! The fleet: which devices and models there are, how each stands, and which certificate is whose.
//!
//! Everything is kept in memory for reading and written through the store. What takes rights away (quarantine, revoke,
//! a certificate that supersedes another) holds in memory before it is written; what gives rights is written first. So
//! a failing disk leaves a device with fewer rights than asked, never with more.

mod activity;
mod codes;
mod enrol;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use stockade_profile::{Control, Profile};
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use time::{Duration, OffsetDateTime};
use tokio::sync::broadcast;

pub use self::activity::Noted;
use self::activity::{Activity, StoredActivity};
use self::codes::Guesses;
pub use self::codes::{EnrolmentCode, GuessSettings, NoRandomness};
pub use self::enrol::{CodeProof, CodeRefused, EnrolError, Issued, Renewal, ReturnRefused};
pub(crate) use self::record::hex;
pub use self::record::{CertificateRecord, DeviceRecord, State, UnreadableRecord};
use self::record::{FORMAT, Stored, StoredCode, decode};
use crate::events::{EventLog, Happening, Outcome};
use crate::name::{DeviceId, DeviceName, ModelName};
use crate::tls::{Fingerprint, hello, moment};

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
    /// Devices whose record in memory is ahead of the store.
    ahead: Mutex<BTreeSet<DeviceId>>,
    /// Devices whose counters are ahead of the store.
    counted: Mutex<BTreeSet<DeviceId>>,
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

/// A model and its profile.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// The profile installed.
    pub profile: Arc<Profile>,
    /// The profile's canonical bytes.
    pub canonical: Arc<[u8]>,
    /// When it was installed.
    pub installed: OffsetDateTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredModel {
    v: u8,
    #[serde(with = "time::serde::rfc3339")]
    installed: OffsetDateTime,
    canonical: String,
}

/// The registry could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("cannot read the registry")]
    Store(#[from] StoreError),
    /// A record in it cannot be read.
    #[error("cannot read {what} of {key} in the registry")]
    Record {
        /// Kind of record.
        what: &'static str,
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A device could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// There is one of this id.
    #[error("there is a device {0} already")]
    Exists(DeviceName),
    /// No profile says what the model is for.
    #[error(
        "there is no profile for the model {0}: install one first (stockade profile install FILE)"
    )]
    NoModel(ModelName),
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The store failed: nothing was added.
    #[error("cannot write to the registry")]
    Store(#[from] StoreError),
}

/// A device could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of this id.
    #[error("there is no device {0}")]
    Unknown(DeviceId),
    /// Revoked is for ever.
    #[error("{id} is revoked since {}: remove it and add it anew", moment(*.since))]
    Revoked {
        /// The device.
        id: DeviceId,
        /// Since when.
        since: OffsetDateTime,
    },
    /// Only a quarantined device can be released.
    #[error("{id} is not in quarantine, it is {state}")]
    NotQuarantined {
        /// The device.
        id: DeviceId,
        /// How it stands.
        state: &'static str,
    },
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The store failed. What took rights away holds until the gateway stops, and is written as soon as that works.
    #[error("cannot write to the registry")]
    Store(#[from] StoreError),
}

/// A profile was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Its model's name cannot be part of a certificate.
    #[error(transparent)]
    Name(#[from] crate::name::NameError),
    /// Not newer than the one installed.
    #[error("the profile of {model} was not installed: {reason}")]
    Rollback {
        /// The model.
        model: ModelName,
        /// Why.
        reason: String,
    },
    /// Its own bytes do not read back.
    #[error("the profile of {model} does not read back from its canonical bytes: {reason}")]
    Canonical {
        /// The model.
        model: ModelName,
        /// Why.
        reason: String,
    },
    /// The store failed: nothing was installed.
    #[error("cannot write to the registry")]
    Store(#[from] StoreError),
}

/// A profile that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The model.
    pub model: ModelName,
    /// The profile's version.
    pub version: u64,
    /// Whether it differs from what was there.
    pub changed: bool,
    /// How many devices of the model there are.
    pub devices: usize,
}

/// A device that may come in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Its name.
    pub name: DeviceName,
    /// What it may do.
    pub profile: Arc<Profile>,
    /// Whether it may only reach what it needs to be mended.
    pub quarantined: bool,
    /// Until when its certificate, and so its session, is good.
    pub not_after: OffsetDateTime,
}

/// A device that may not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none of this id.
    #[error("is not in the registry")]
    Unknown,
    /// Its certificate names another model.
    #[error("shows a certificate of the model {shown}, but is registered as {registered}")]
    OtherModel {
        /// The certificate's model.
        shown: ModelName,
        /// The registry's.
        registered: ModelName,
    },
    /// Revoked.
    #[error("is revoked since {}: {reason}", moment(*.since))]
    Revoked {
        /// Why.
        reason: String,
        /// Since when.
        since: OffsetDateTime,
    },
    /// Its certificate was replaced, and the new one is in use: somebody holds an old key.
    #[error("shows a certificate that a newer one has superseded")]
    Superseded,
    /// Its certificate is not one the registry knows of.
    #[error("shows a certificate that the registry does not know")]
    UnknownCertificate,
    /// Its certificate has expired.
    #[error("shows a certificate that expired on {}", moment(*.0))]
    Expired(OffsetDateTime),
    /// No profile says what it is for.
    #[error("is of the model {0}, which has no profile")]
    NoProfile(ModelName),
}

/// What a violation led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violations {
    /// Since the device was added.
    pub total: u64,
    /// In the last minute.
    pub last_minute: u32,
    /// Whether this one put the device into quarantine.
    pub quarantined: bool,
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
        for (key, value) in store.scan(DEVICES, Scan::all())? {
            let text = std::str::from_utf8(&key).map_err(|e| unreadable("the name", &key, e))?;
            let id = DeviceId::new(text).map_err(|e| unreadable("the name", &key, e))?;
            let stored: Stored = decode(&value).map_err(|e| unreadable("the record", &key, e))?;
            let activity = activities.remove(&key).unwrap_or_default();
            if let Some(peer) = activity.peer {
                addresses.entry(peer.ip()).or_default().insert(id.clone());
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
            ahead: Mutex::default(),
            counted: Mutex::default(),
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

    // Models.

    /// Installs a profile; a model's version never goes back, also when its last device is gone.
    pub fn install_profile(
        &self,
        profile: Profile,
        now: OffsetDateTime,
    ) -> Result<Installed, InstallError> {
        let name = ModelName::new(profile.device.model.as_str())?;
        let version = profile.device.version;
        let canonical = profile.canonical();
        let _one_at_a_time = lock(&self.installing);
        let models = self.models.load_full();
        let installed = models.get(&name);
        if let Some(installed) = installed {
            stockade_profile::may_replace(&installed.profile, &profile).map_err(|reason| {
                InstallError::Rollback {
                    model: name.clone(),
                    reason: reason.to_string(),
                }
            })?;
        }
        let devices = self.ids_of(&name);
        let changed = installed.is_none_or(|installed| *installed.canonical != *canonical);
        if !changed {
            return Ok(Installed {
                model: name,
                version,
                changed,
                devices: devices.len(),
            });
        }
        Profile::from_canonical(&canonical).map_err(|reason| InstallError::Canonical {
            model: name.clone(),
            reason: reason.to_string(),
        })?;
        let stored = StoredModel {
            v: FORMAT,
            installed: now,
            canonical: BASE64.encode(&canonical),
        };
        let mut batch = Batch::new();
        batch.put(MODELS, name.as_str(), to_json(&stored));
        self.store.commit(batch)?;
        let model = Model {
            name: name.clone(),
            profile: Arc::new(profile),
            canonical: canonical.into(),
            installed: now,
        };
        let mut next = BTreeMap::clone(&models);
        next.insert(name.clone(), Arc::new(model));
        self.models.store(Arc::new(next));
        self.tell(
            now,
            None,
            Outcome::Changed,
            format!("profile of {name} version {version} installed"),
        );
        for id in &devices {
            self.notify(id);
        }
        Ok(Installed {
            model: name,
            version,
            changed,
            devices: devices.len(),
        })
    }

    /// The profile of a model.
    pub fn profile(&self, model: &ModelName) -> Option<Arc<Profile>> {
        self.models
            .load()
            .get(model)
            .map(|model| Arc::clone(&model.profile))
    }

    /// Every model, by name.
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.models.load().values().cloned().collect()
    }

    fn ids_of(&self, model: &ModelName) -> Vec<DeviceId> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices
            .iter()
            .filter(|(_, slot)| slot.now.load().model == *model)
            .map(|(id, _)| id.clone())
            .collect()
    }

    // Devices.

    /// Adds a device and gives the code it enrols with.
    pub fn add(&self, name: &DeviceName, now: OffsetDateTime) -> Result<EnrolmentCode, AddError> {
        if self.profile(&name.model).is_none() {
            return Err(AddError::NoModel(name.model.clone()));
        }
        let (code, stored_code) = self.fresh_code(&name.id, now)?;
        let stored = Stored {
            v: FORMAT,
            model: name.model.clone(),
            added: now,
            state: State::Pending,
            code: Some(stored_code),
            current: None,
            next: None,
            previous: None,
        };
        let mut batch = Batch::new();
        batch.require_absent(DEVICES, name.id.as_str());
        batch.put(DEVICES, name.id.as_str(), to_json(&stored));
        match self.store.commit(batch) {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => {
                let there = self
                    .get(&name.id, now)
                    .map_or_else(|| name.clone(), |record| record.name);
                return Err(AddError::Exists(there));
            }
            Err(error) => return Err(error.into()),
        }
        let slot = Arc::new(Slot::new(stored, Activity::default()));
        self.devices
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.id.clone(), slot);
        self.tell(
            now,
            Some(&name.id),
            Outcome::Changed,
            format!("{name} added, waits to enrol"),
        );
        self.notify(&name.id);
        Ok(code)
    }

    /// Gives a known device another code: its key was lost, or its code expired. An older code is void.
    pub fn renew_code(
        &self,
        id: &DeviceId,
        now: OffsetDateTime,
    ) -> Result<EnrolmentCode, ChangeError> {
        let (code, stored_code) = self.fresh_code(id, now)?;
        self.change(id, Direction::Loosen, |stored| {
            not_revoked(id, stored)?;
            stored.code = Some(stored_code);
            Ok::<_, ChangeError>(())
        })?;
        self.tell(
            now,
            Some(id),
            Outcome::Changed,
            "got a new enrolment code".to_owned(),
        );
        Ok(code)
    }

    fn fresh_code(
        &self,
        id: &DeviceId,
        now: OffsetDateTime,
    ) -> Result<(EnrolmentCode, StoredCode), NoRandomness> {
        let expires = now + self.settings.code_life;
        let code = EnrolmentCode::generate(expires)?;
        let stored = StoredCode {
            hash: code.hash(id).0,
            expires,
            key: None,
        };
        Ok((code, stored))
    }

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

    /// Puts a device into quarantine, with one more reason if it is there already.
    pub fn quarantine(
        &self,
        id: &DeviceId,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        self.quarantine_for(id, Control::Comms, reason, now)
    }

    fn quarantine_for(
        &self,
        id: &DeviceId,
        control: Control,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        let changed = self.change(id, Direction::Tighten, |stored| {
            not_revoked(id, stored)?;
            stored.state = stored.state.quarantined(reason, now);
            Ok(())
        });
        if !matches!(
            changed,
            Err(ChangeError::Unknown(_) | ChangeError::Revoked { .. })
        ) {
            self.events.record(
                now,
                Happening {
                    outcome: Outcome::Changed,
                    control,
                    device: Some(id.to_string()),
                    peer: None,
                    reason: format!("quarantined: {reason}"),
                },
            );
        }
        changed
    }

    /// Lets a device out of quarantine.
    pub fn release(
        &self,
        id: &DeviceId,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        self.change(id, Direction::Loosen, |stored| {
            not_revoked(id, stored)?;
            if !matches!(stored.state, State::Quarantined { .. }) {
                return Err(ChangeError::NotQuarantined {
                    id: id.clone(),
                    state: stored.state.as_str(),
                });
            }
            stored.state = stored.at_rest();
            Ok(())
        })?;
        if let Some(slot) = self.slot(id) {
            lock(&slot.activity).forgive();
        }
        self.tell(
            now,
            Some(id),
            Outcome::Changed,
            format!("released from quarantine: {reason}"),
        );
        Ok(())
    }

    /// Shuts a device out for ever.
    pub fn revoke(
        &self,
        id: &DeviceId,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        let changed = self.change(id, Direction::Tighten, |stored| {
            not_revoked(id, stored)?;
            stored.state = State::revoked(reason, now);
            stored.code = None;
            if let Some(next) = &mut stored.next {
                next.der = None;
            }
            Ok(())
        });
        if !matches!(
            changed,
            Err(ChangeError::Unknown(_) | ChangeError::Revoked { .. })
        ) {
            self.tell(
                now,
                Some(id),
                Outcome::Changed,
                format!("revoked: {reason}"),
            );
        }
        changed
    }

    /// Forgets a device. Its certificates are of no use any more; the id may be added anew.
    pub fn remove(&self, id: &DeviceId, now: OffsetDateTime) -> Result<(), ChangeError> {
        let slot = self
            .slot(id)
            .ok_or_else(|| ChangeError::Unknown(id.clone()))?;
        let mut written = lock(&slot.written);
        let Some(on_disk) = written.as_ref() else {
            return Err(ChangeError::Unknown(id.clone()));
        };
        let mut batch = Batch::new();
        batch.require_equals(DEVICES, id.as_str(), to_json(&**on_disk));
        batch
            .delete(DEVICES, id.as_str())
            .delete(ACTIVITY, id.as_str());
        self.store.commit(batch)?;
        *written = None;
        self.devices
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        lock(&self.ahead).remove(id);
        lock(&self.counted).remove(id);
        drop(written);
        if let Some(peer) = lock(&slot.activity).stored.peer {
            self.left(peer.ip(), id);
        }
        self.tell(
            now,
            Some(id),
            Outcome::Changed,
            "removed from the registry".to_owned(),
        );
        self.notify(id);
        Ok(())
    }

    // What happens all the time: no disk here.

    /// Says whether a device that shows this certificate may come in now. Asked at every CONNECT.
    ///
    /// The first use of a new certificate supersedes the one before it: at once in memory, and on disk with the next
    /// [`Registry::flush`]. A crash in between only means that the new one supersedes it at its next use.
    pub fn admit(
        &self,
        name: &DeviceName,
        fingerprint: &Fingerprint,
        now: OffsetDateTime,
    ) -> Result<Admission, Refusal> {
        let slot = self.slot(&name.id).ok_or(Refusal::Unknown)?;
        let mut stored = slot.now.load_full();
        let certificate = recognise(&stored, name, fingerprint)?.clone();
        if certificate.not_after < now {
            return Err(Refusal::Expired(certificate.not_after));
        }
        let profile = self
            .profile(&name.model)
            .ok_or_else(|| Refusal::NoProfile(name.model.clone()))?;
        if stored
            .next
            .as_ref()
            .is_some_and(|next| next.fingerprint == *fingerprint)
        {
            stored = self
                .first_use(&name.id, &slot, fingerprint)
                .ok_or(Refusal::Unknown)?;
            recognise(&stored, name, fingerprint)?;
        }
        let quarantined = matches!(stored.state, State::Quarantined { .. });
        Ok(Admission {
            name: name.clone(),
            profile,
            quarantined,
            not_after: certificate.not_after,
        })
    }

    fn first_use(
        &self,
        id: &DeviceId,
        slot: &Slot,
        fingerprint: &Fingerprint,
    ) -> Option<Arc<Stored>> {
        let written = lock(&slot.written);
        written.as_ref()?;
        let now = slot.now.load_full();
        if now
            .next
            .as_ref()
            .is_none_or(|next| next.fingerprint != *fingerprint)
        {
            return Some(now);
        }
        let mut promoted = Stored::clone(&now);
        promoted.promote();
        let promoted = Arc::new(promoted);
        slot.now.store(Arc::clone(&promoted));
        lock(&self.ahead).insert(id.clone());
        drop(written);
        // A session that still runs on the certificate before this one has to end.
        self.notify(id);
        Some(promoted)
    }

    /// Notes that a device was heard of.
    pub fn seen(&self, id: &DeviceId, now: OffsetDateTime, peer: SocketAddr) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let mut activity = lock(&slot.activity);
        let before = activity.stored.peer.map(|peer| peer.ip());
        activity.seen(now, peer);
        self.count(id, &mut activity);
        drop(activity);
        if before != Some(peer.ip()) {
            if let Some(before) = before {
                self.left(before, id);
            }
            lock(&self.addresses)
                .entry(peer.ip())
                .or_default()
                .insert(id.clone());
        }
    }

    fn left(&self, address: IpAddr, id: &DeviceId) {
        let mut addresses = lock(&self.addresses);
        if let Some(here) = addresses.get_mut(&address) {
            here.remove(id);
            if here.is_empty() {
                addresses.remove(&address);
            }
        }
    }

    /// The device last seen at this address; none if there were several.
    pub fn at_address(&self, address: IpAddr) -> Option<DeviceId> {
        let addresses = lock(&self.addresses);
        let here = addresses.get(&address.to_canonical())?;
        if here.len() == 1 {
            here.first().cloned()
        } else {
            None
        }
    }

    /// Counts a violation of a device's profile. Too many in a minute quarantine it, before this returns.
    pub fn violation(
        &self,
        id: &DeviceId,
        control: Control,
        reason: &str,
        now: OffsetDateTime,
    ) -> Violations {
        let Some(slot) = self.slot(id) else {
            return Violations {
                total: 0,
                last_minute: 0,
                quarantined: false,
            };
        };
        let mut activity = lock(&slot.activity);
        let last_minute = activity.violation(control.as_str(), reason, now);
        let total = activity.stored.violations;
        self.count(id, &mut activity);
        drop(activity);
        let too_many = last_minute > self.settings.violations_per_minute;
        let quarantined =
            too_many && matches!(slot.now.load().state, State::Active | State::Pending);
        if quarantined {
            let why = format!(
                "{last_minute} violations of its profile within a minute, the last: {control}: {reason}"
            );
            if let Err(error) = self.quarantine_for(id, control, &why, now) {
                // It holds in memory, and flush tries again; whoever watches must know.
                self.tell(
                    now,
                    Some(id),
                    Outcome::Alarm,
                    format!("the quarantine was not written: {}", chain(&error)),
                );
            }
        }
        Violations {
            total,
            last_minute,
            quarantined,
        }
    }

    fn count(&self, id: &DeviceId, activity: &mut Activity) {
        if !activity.unwritten {
            activity.unwritten = true;
            lock(&self.counted).insert(id.clone());
        }
    }

    /// Writes what is ahead of the store. Blocks; to be called about once a second, and before the gateway stops.
    pub fn flush(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        let ahead = std::mem::take(&mut *lock(&self.ahead));
        if let Err(error) = self.flush_records(&ahead) {
            lock(&self.ahead).extend(ahead);
            let why = format!("the registry cannot be written: {}", chain(&error));
            self.tell(now, None, Outcome::Alarm, why);
            return Err(error);
        }
        self.flush_counters()
    }

    fn flush_records(&self, ahead: &BTreeSet<DeviceId>) -> Result<(), StoreError> {
        let slots: Vec<(&DeviceId, Arc<Slot>)> = ahead
            .iter()
            .filter_map(|id| self.slot(id).map(|slot| (id, slot)))
            .collect();
        for chunk in slots.chunks(AT_ONCE) {
            // Several locks at once, always in the order of the ids; everyone else holds one at most.
            let mut guards: Vec<_> = chunk.iter().map(|(_, slot)| lock(&slot.written)).collect();
            let after: Vec<Arc<Stored>> =
                chunk.iter().map(|(_, slot)| slot.now.load_full()).collect();
            let mut unwritten: Vec<Unwritten<'_>> = chunk
                .iter()
                .zip(&after)
                .zip(&mut guards)
                .map(|(((id, _), after), written)| Unwritten { id, after, written })
                .collect();
            self.write(&mut unwritten)?;
        }
        Ok(())
    }

    fn flush_counters(&self) -> Result<(), StoreError> {
        let counted = std::mem::take(&mut *lock(&self.counted));
        let mut batch = Batch::new();
        for id in &counted {
            if let Some(slot) = self.slot(id) {
                let mut activity = lock(&slot.activity);
                activity.unwritten = false;
                batch.put(ACTIVITY, id.as_str(), to_json(&activity.stored));
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.store.commit(batch).inspect_err(|_| {
            for id in &counted {
                if let Some(slot) = self.slot(id) {
                    lock(&slot.activity).unwritten = true;
                }
            }
            lock(&self.counted).extend(counted);
        })
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

impl Admission {
    /// Whether the device's profile lets it speak this version of TLS.
    pub fn permits_tls(&self, version: u16) -> bool {
        let name = if version == hello::TLS13 {
            "1.3"
        } else {
            "1.2"
        };
        self.profile
            .protocols
            .tls
            .iter()
            .any(|allowed| allowed.as_str() == name)
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
            last_seen: activity.stored.last_seen,
            last_peer: activity.stored.peer,
            violations: activity.stored.violations,
            violations_last_minute: activity.last_minute(now),
            recent_violations: activity.stored.noted.iter().cloned().collect(),
        }
    }
}

/// Finds the certificate among those of the device, if the device is wanted at all.
fn recognise<'a>(
    stored: &'a Stored,
    name: &DeviceName,
    fingerprint: &Fingerprint,
) -> Result<&'a CertificateRecord, Refusal> {
    if let State::Revoked { reason, since } = &stored.state {
        return Err(Refusal::Revoked {
            reason: reason.clone(),
            since: *since,
        });
    }
    if stored.model != name.model {
        return Err(Refusal::OtherModel {
            shown: name.model.clone(),
            registered: stored.model.clone(),
        });
    }
    let slots = [stored.current.as_ref(), stored.next.as_ref()];
    match slots
        .into_iter()
        .flatten()
        .find(|known| known.fingerprint == *fingerprint)
    {
        Some(known) => Ok(known),
        None if stored.previous == Some(*fingerprint) => Err(Refusal::Superseded),
        None => Err(Refusal::UnknownCertificate),
    }
}

fn not_revoked(id: &DeviceId, stored: &Stored) -> Result<(), ChangeError> {
    match stored.state {
        State::Revoked { since, .. } => Err(ChangeError::Revoked {
            id: id.clone(),
            since,
        }),
        _ => Ok(()),
    }
}

fn read_model(key: &[u8], value: &[u8]) -> Result<Model, OpenError> {
    let stored: StoredModel = decode(value).map_err(|e| unreadable("the profile", key, e))?;
    let canonical = BASE64
        .decode(&stored.canonical)
        .map_err(|e| unreadable("the profile", key, e))?;
    let profile = Profile::from_canonical(&canonical)
        .map_err(|e| unreadable("the profile", key, e.to_string()))?;
    let name = ModelName::new(profile.device.model.as_str())
        .map_err(|e| unreadable("the profile", key, e))?;
    Ok(Model {
        name,
        profile: Arc::new(profile),
        canonical: canonical.into(),
        installed: stored.installed,
    })
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // The stored types have string keys and no fallible parts: writing them to memory cannot fail. If it ever did,
    // an empty value would be refused when it is read, not taken for something else.
    serde_json::to_vec(value).unwrap_or_default()
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
