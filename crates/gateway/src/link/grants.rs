//! Who may ask what of whom, as the profiles and the operator say; signed, and told to those it concerns.
//!
//! Of each device that is asked, the gateway keeps an epoch and what was given for it. When one who holds a grant loses the right
//! to it, before it has run out, the epoch rises at once: the device that is asked learns it at its next contact, or from the next grant
//! that is shown to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use stockade_link::cbor::Writer;
use stockade_link::credential::{Credential, ccs, write_key};
use stockade_link::crypto::{PublicKey, Y};
use stockade_link::endpoint::GRANTS_MAX;
use stockade_link::grant::{GRANT_MAX, Issue, IssueError, Scope};
use stockade_profile::Control;
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use time::OffsetDateTime;

use super::crypto::AwsLc;
use super::keys::LinkKeys;
use crate::events::{Happening, Outcome};
use crate::name::{DeviceId, DeviceName, ModelName};
use crate::registry::{DeviceRecord, Registry, State};

/// By the device that is asked.
const TABLE: Table = Table::new("link.grants");
/// The version of what is kept.
const FORMAT: u8 = 1;
/// How long a grant lasts: a day, in seconds. Devices fetch new ones long before.
pub const LIFE: u64 = 24 * 3600;
/// What a scope of a profile stands for: GET, POST and PUT, of the path that its dots part.
const METHODS: u8 = 0b111;
/// What an operator has granted may last a year at most, in seconds.
const LONGEST: u64 = 366 * 24 * 3600;
/// Bytes of what is told to a device with TLS.
const ROOM: usize = 64 * 1024;
/// Bytes around each grant that is told, at most.
const OFFER: usize = 8;
/// Bytes around all of them, at most.
const AROUND: usize = 100;

/// Why there is no grant.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is kept cannot be read.
    #[error("what is kept of grants for {0} is damaged: {1}")]
    Damaged(String, String),
    /// There is no such device.
    #[error("there is no device {0}")]
    Unknown(DeviceId),
    /// One of them is not active, or has no key for it.
    #[error("{0} and {1} cannot meet: both must be active, and certificates must be of P-256")]
    CannotMeet(DeviceName, DeviceName),
    /// The scope does not fit a grant.
    #[error("the scope is empty, too long, or holds a path without a slash at its beginning")]
    Scope,
    /// The time is not acceptable.
    #[error("a grant lasts a second at least and a year at most")]
    Life,
    /// It was not signed.
    #[error("the grant could not be signed: {0}")]
    Sign(IssueError),
}

/// What is kept of the grants for one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    v: u8,
    epoch: u64,
    /// By the operator.
    ordered: Vec<Entry>,
    /// Signed, and not run out.
    given: Vec<Entry>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            v: FORMAT,
            epoch: 1,
            ordered: Vec::new(),
            given: Vec::new(),
        }
    }
}

/// A device that may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    from: String,
    scope: Vec<(String, u8)>,
    /// Seconds since 1970.
    until: u64,
}

/// A right that a grant can be signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Who may ask.
    pub from: DeviceName,
    /// Who is asked.
    pub to: DeviceName,
    /// Paths, and methods as bits: GET 1, POST 2, PUT 4, DELETE 8.
    pub scope: Vec<(String, u8)>,
    /// Until when the operator said, in seconds since 1970; nothing where the profile says so.
    pub until: Option<u64>,
    /// Whether who may ask has room for its grant, beside those before it.
    pub fits: bool,
}

/// The grants of a gateway.
pub struct Grants {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    keys: Arc<LinkKeys>,
    kept: Mutex<BTreeMap<DeviceId, Kept>>,
}

impl std::fmt::Debug for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grants").finish_non_exhaustive()
    }
}

impl Grants {
    /// What was kept of them.
    pub fn open(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        keys: Arc<LinkKeys>,
    ) -> Result<Self, GrantsError> {
        let mut kept = BTreeMap::new();
        for (key, value) in store.scan(TABLE, Scan::all())? {
            let name = String::from_utf8_lossy(&key).into_owned();
            let damaged = |why: String| GrantsError::Damaged(name.clone(), why);
            let id = DeviceId::new(&name).map_err(|error| damaged(error.to_string()))?;
            let of: Kept =
                serde_json::from_slice(&value).map_err(|error| damaged(error.to_string()))?;
            if of.v != FORMAT {
                return Err(damaged("it was written by another version".to_owned()));
            }
            kept.insert(id, of);
        }
        Ok(Self {
            registry,
            store,
            keys,
            kept: Mutex::new(kept),
        })
    }

    /// What a device is told at `/grants`, in CBOR: `[time, epoch, [[grant, credential, name], ...]]`, and to a device with TLS, which
    /// was not provisioned with it, the key that grants are verified with as a fourth item.
    pub fn bundle(&self, id: &DeviceId, now: OffsetDateTime) -> Result<Vec<u8>, GrantsError> {
        let device = self.device(id, now)?;
        let mut kept = self.lock();
        let epoch = self.settle(&mut kept, &device, now)?;
        let mut offers = Vec::new();
        for right in self.rights_of(&kept, &device, now) {
            if !right.fits {
                tracing::warn!(device = %device.name, to = %right.to, "a device has no room for all its grants");
                continue;
            }
            let to = self.device(&right.to.id, now)?;
            let offer = match self.give(&mut kept, &device, &to, &right, now) {
                Ok(grant) => (
                    grant,
                    credential(&to).unwrap_or_default(),
                    to.name.to_string(),
                ),
                Err(error @ GrantsError::Store(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, from = %right.from, to = %right.to, "no grant could be made");
                    continue;
                }
            };
            offers.push(offer);
        }
        drop(kept);
        let size = offers
            .iter()
            .map(|(grant, credential, name)| grant.len() + credential.len() + name.len() + OFFER);
        let mut buffer = vec![0; size.sum::<usize>() + 160];
        let mut writer = Writer::new(&mut buffer);
        writer.array(if device.link.is_some() { 3 } else { 4 });
        writer.uint(seconds(now)).uint(epoch).array(offers.len());
        for (grant, credential, name) in &offers {
            writer.array(3).bytes(grant).bytes(credential).text(name);
        }
        if device.link.is_none() {
            write_key(&mut writer, self.keys.authority(), None);
        }
        let length = writer.written();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// The operator lets one device ask another for a while. It has its grant when it asks for its grants next.
    pub fn order(
        &self,
        from: &DeviceId,
        to: &DeviceId,
        scope: &[(String, u8)],
        life: u64,
        now: OffsetDateTime,
    ) -> Result<Right, GrantsError> {
        if !(1..=LONGEST).contains(&life) {
            return Err(GrantsError::Life);
        }
        let (from, to) = (self.device(from, now)?, self.device(to, now)?);
        if !can_meet(&from, &to) {
            return Err(GrantsError::CannotMeet(from.name, to.name));
        }
        encoded(scope)?;
        let until = seconds(now).saturating_add(life);
        let entry = Entry {
            from: from.name.id.to_string(),
            scope: scope.to_owned(),
            until,
        };
        let mut all = self.lock();
        let mut kept = all.get(&to.name.id).cloned().unwrap_or_default();
        kept.ordered
            .retain(|other| other.from != entry.from || other.scope != scope);
        kept.ordered.push(entry);
        self.keep(&mut all, &to.name.id, kept)?;
        let mut rights = self.rights_of(&all, &from, now).into_iter();
        drop(all);
        let reason = format!("{} may ask it, by the operator", from.name);
        self.tell(&to.name.id, reason, now);
        rights
            .find(|it| it.to == to.name && it.scope == scope && it.until.is_some())
            .ok_or(GrantsError::CannotMeet(from.name, to.name))
    }

    /// Revokes every grant for a device that was given so far, and takes back what the operator granted of it and to it.
    pub fn revoke(&self, id: &DeviceId, now: OffsetDateTime) -> Result<u64, GrantsError> {
        let device = self.device(id, now)?;
        let mut all = self.lock();
        let others: Vec<DeviceId> = all
            .iter()
            .filter(|(_, kept)| kept.ordered.iter().any(|entry| entry.from == id.as_str()))
            .map(|(other, _)| other.clone())
            .collect();
        for other in others {
            let mut kept = all.get(&other).cloned().unwrap_or_default();
            kept.ordered.retain(|entry| entry.from != id.as_str());
            self.keep(&mut all, &other, kept)?;
            if let Some(other) = self.registry.get(&other, now) {
                self.settle(&mut all, &other, now)?;
            }
        }
        let mut kept = all.get(id).cloned().unwrap_or_default();
        kept.ordered.clear();
        kept.given.clear();
        kept.epoch = kept.epoch.saturating_add(1);
        let epoch = kept.epoch;
        self.keep(&mut all, id, kept)?;
        drop(all);
        self.tell(
            &device.name.id,
            "its grants were revoked by the operator".to_owned(),
            now,
        );
        Ok(epoch)
    }

    /// Every right there is, by who may ask.
    pub fn list(&self, now: OffsetDateTime) -> Vec<Right> {
        let kept = self.lock();
        let devices = self.registry.list(now);
        devices
            .iter()
            .flat_map(|device| self.rights_of(&kept, device, now))
            .collect()
    }

    /// The key that grants are verified with.
    pub fn keys(&self) -> &LinkKeys {
        &self.keys
    }

    /// What a device may ask of others, now; what the operator said first.
    fn rights_of(
        &self,
        kept: &BTreeMap<DeviceId, Kept>,
        from: &DeviceRecord,
        now: OffsetDateTime,
    ) -> Vec<Right> {
        let id = from.name.id.as_str();
        let ordered = kept
            .iter()
            .filter(|(_, of)| of.ordered.iter().any(|entry| entry.from == id));
        let mut others: Vec<DeviceId> = ordered.map(|(to, _)| to.clone()).collect();
        if let Some(profile) = self.registry.profile(&from.name.model) {
            for peer in &profile.comms.peers {
                let model = ModelName::new(peer.model.as_str());
                others.extend(model.iter().flat_map(|model| self.registry.ids_of(model)));
            }
        }
        others.sort();
        others.dedup();
        let others = others.iter();
        let mut rights: Vec<Right> = others
            .filter_map(|other| self.registry.get(other, now))
            .flat_map(|to| self.rights(kept.get(&to.name.id), from, &to, now))
            .collect();
        rights.sort_by_key(|right| right.until.is_none());
        // One always fits.
        if rights.len() > 1 {
            self.fit(kept, from, &mut rights, now);
        }
        rights
    }

    /// Says which grants a device has room for, in their order.
    fn fit(
        &self,
        kept: &BTreeMap<DeviceId, Kept>,
        from: &DeviceRecord,
        rights: &mut [Right],
        now: OffsetDateTime,
    ) {
        let most = from.link.as_ref().map_or(ROOM, |_| GRANTS_MAX);
        let mut room = most.saturating_sub(AROUND);
        for right in rights {
            let to = self.registry.get(&right.to.id, now);
            let size = to.and_then(|to| {
                let epoch = kept.get(&to.name.id).map_or(1, |kept| kept.epoch);
                let grant = self.sign(from, &to, right, epoch, now).ok()?;
                Some(grant.len() + credential(&to)?.len() + to.name.to_string().len() + OFFER)
            });
            // What can not be signed is not told, and takes no room.
            let left = room.checked_sub(size.unwrap_or(0));
            right.fits = left.is_some();
            room = left.unwrap_or(room);
        }
    }

    /// What one device may ask of another, now.
    fn rights(
        &self,
        kept: Option<&Kept>,
        from: &DeviceRecord,
        to: &DeviceRecord,
        now: OffsetDateTime,
    ) -> Vec<Right> {
        if !can_meet(from, to) {
            return Vec::new();
        }
        let right = |scope, until| Right {
            from: from.name.clone(),
            to: to.name.clone(),
            scope,
            until,
            fits: true,
        };
        let mut rights: Vec<Right> = kept
            .into_iter()
            .flat_map(|kept| &kept.ordered)
            .filter(|entry| entry.from == from.name.id.as_str() && entry.until > seconds(now))
            .map(|entry| right(entry.scope.clone(), Some(entry.until)))
            .collect();
        if let Some(profile) = self.registry.profile(&from.name.model) {
            let peers = profile.comms.peers.iter();
            let scope: Vec<(String, u8)> = peers
                .filter(|peer| peer.model.as_str() == to.name.model.as_str())
                .flat_map(|peer| &peer.scope)
                .map(|name| (format!("/{}", name.as_str().replace('.', "/")), METHODS))
                .collect();
            if !scope.is_empty() {
                rights.push(right(scope, None));
            }
        }
        rights
    }

    /// Finds what became void, at all devices or where one of these is concerned.
    fn settle_where(
        &self,
        changed: Option<&BTreeSet<DeviceId>>,
        now: OffsetDateTime,
    ) -> Result<(), GrantsError> {
        let mut all = self.lock();
        let names: Option<BTreeSet<&str>> =
            changed.map(|ids| ids.iter().map(DeviceId::as_str).collect());
        let concerned: Vec<DeviceId> = all
            .iter()
            .filter(|(to, kept)| {
                names.as_ref().is_none_or(|names| {
                    let mut given = kept.given.iter();
                    names.contains(to.as_str())
                        || given.any(|given| names.contains(given.from.as_str()))
                })
            })
            .map(|(to, _)| to.clone())
            .collect();
        for to in concerned {
            if let Some(to) = self.registry.get(&to, now) {
                self.settle(&mut all, &to, now)?;
            }
        }
        Ok(())
    }

    /// The epoch of a device, after what became void meanwhile has been found.
    fn settle(
        &self,
        all: &mut BTreeMap<DeviceId, Kept>,
        to: &DeviceRecord,
        now: OffsetDateTime,
    ) -> Result<u64, GrantsError> {
        let id = &to.name.id;
        let Some(before) = all.get(id) else {
            return Ok(Kept::default().epoch);
        };
        let mut kept = before.clone();
        kept.ordered.retain(|entry| entry.until > seconds(now));
        kept.given.retain(|entry| entry.until > seconds(now));
        let void = kept.given.iter().find(|given| {
            let from = DeviceId::new(&given.from)
                .ok()
                .and_then(|from| self.registry.get(&from, now));
            let rights = from.map(|from| self.rights(Some(&kept), &from, to, now));
            !rights.is_some_and(|rights| rights.iter().any(|right| right.scope == given.scope))
        });
        if let Some(void) = void {
            let reason = format!(
                "what {} might ask of it is void: its grants are revoked",
                void.from
            );
            kept.epoch = kept.epoch.saturating_add(1);
            kept.given.clear();
            self.tell(id, reason, now);
        }
        let epoch = kept.epoch;
        self.keep(all, id, kept)?;
        Ok(epoch)
    }

    /// A grant, signed now. That it was given is on disk before.
    fn give(
        &self,
        all: &mut BTreeMap<DeviceId, Kept>,
        from: &DeviceRecord,
        to: &DeviceRecord,
        right: &Right,
        now: OffsetDateTime,
    ) -> Result<Vec<u8>, GrantsError> {
        let epoch = self.settle(all, to, now)?;
        let expires = ends(right, now);
        let mut kept = all.get(&to.name.id).cloned().unwrap_or_default();
        let id = from.name.id.as_str();
        let noted = kept
            .given
            .iter()
            .position(|it| it.from == id && it.scope == right.scope);
        // By the profile, noted for a day more, so that it is written once a day.
        let entry = Entry {
            from: id.to_owned(),
            scope: right.scope.clone(),
            until: right.until.unwrap_or_else(|| expires.saturating_add(LIFE)),
        };
        match noted.and_then(|at| kept.given.get_mut(at)) {
            Some(noted) if noted.until >= expires => {}
            Some(noted) => *noted = entry,
            None => kept.given.push(entry),
        }
        self.keep(all, &to.name.id, kept)?;
        self.sign(from, to, right, epoch, now)
    }

    fn sign(
        &self,
        from: &DeviceRecord,
        to: &DeviceRecord,
        right: &Right,
        epoch: u64,
        now: OffsetDateTime,
    ) -> Result<Vec<u8>, GrantsError> {
        let scope = encoded(&right.scope)?;
        let cannot = || GrantsError::CannotMeet(from.name.clone(), to.name.clone());
        let credential = credential(from).ok_or_else(cannot)?;
        let credential = Credential::read(&credential).map_err(|_| cannot())?;
        let issue = Issue {
            subject: &from.name.to_string(),
            audience: &to.name.to_string(),
            issued: seconds(now),
            expires: ends(right, now),
            key: &credential.key,
            kid: credential.kid,
            scope: &scope,
            epoch,
        };
        let mut out = [0; GRANT_MAX];
        let signed = issue.sign(
            &mut AwsLc::default(),
            &self.keys.authority,
            &self.keys.name,
            &mut out,
        );
        signed.map(<[u8]>::to_vec).map_err(GrantsError::Sign)
    }

    /// Writes what changed, and only then knows it.
    fn keep(
        &self,
        all: &mut BTreeMap<DeviceId, Kept>,
        id: &DeviceId,
        kept: Kept,
    ) -> Result<(), GrantsError> {
        let value = |kept: &Kept| serde_json::to_vec(kept).unwrap_or_default();
        let after = value(&kept);
        if all.get(id).map(value).as_deref() != Some(&after) {
            let mut batch = Batch::new();
            batch.put(TABLE, id.as_str(), after);
            self.store.commit(batch)?;
            all.insert(id.clone(), kept);
        }
        Ok(())
    }

    fn device(&self, id: &DeviceId, now: OffsetDateTime) -> Result<DeviceRecord, GrantsError> {
        let found = self.registry.get(id, now);
        found.ok_or_else(|| GrantsError::Unknown(id.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, id: &DeviceId, reason: String, now: OffsetDateTime) {
        let told = Happening {
            outcome: Outcome::Changed,
            control: Control::Comms,
            device: Some(id.to_string()),
            peer: None,
            reason,
        };
        self.registry.events().record(now, told);
    }
}

/// Both are active, and have keys that a handshake can be done with.
fn can_meet(from: &DeviceRecord, to: &DeviceRecord) -> bool {
    let ready =
        |device: &DeviceRecord| device.state == State::Active && credential(device).is_some();
    from.name.id != to.name.id && ready(from) && ready(to)
}

/// A device's credential: the one it enrolled with, or one made of the key of its certificate.
fn credential(device: &DeviceRecord) -> Option<Vec<u8>> {
    if let Some(link) = &device.link {
        return link.credential.clone();
    }
    // One that was issued and not used so far is the first.
    let certificate = device
        .certificate
        .as_ref()
        .or(device.next_certificate.as_ref())?;
    let [4, point @ ..] = certificate.p256.as_deref()? else {
        return None;
    };
    let (x, y) = point.split_at_checked(32)?;
    let key = PublicKey::P256 {
        x: x.try_into().ok()?,
        y: Y::Full(y.try_into().ok()?),
    };
    let mut buffer = [0; 256];
    let made = ccs(&mut buffer, Some(&device.name.to_string()), None, &key);
    made.ok().map(<[u8]>::to_vec)
}

fn encoded(scope: &[(String, u8)]) -> Result<Scope, GrantsError> {
    Scope::of(
        scope
            .iter()
            .map(|(path, methods)| (path.as_str(), *methods)),
    )
    .map_err(|_| GrantsError::Scope)
}

/// When a grant that is signed now runs out.
fn ends(right: &Right, now: OffsetDateTime) -> u64 {
    let day = seconds(now).saturating_add(LIFE);
    right.until.map_or(day, |until| until.min(day))
}

fn seconds(now: OffsetDateTime) -> u64 {
    u64::try_from(now.unix_timestamp()).unwrap_or(0)
}

mod run;
#[cfg(test)]
mod tests;

pub use self::run::run;
