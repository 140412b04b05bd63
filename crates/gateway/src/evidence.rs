//! What devices say of themselves: taken from the journal, judged by rule, kept, and answered with what they are to do.
//!
//! A device publishes signed evidence to `stockade/<id>/posture` and what happened on it to `stockade/<id>/events`; both are
//! in the journal before they are acknowledged. [`Judge`] takes them from there once each, whatever ends this process in
//! between. What a device is to do (a newer profile, commands) waits here until its evidence says that it is done.

mod came;
mod kept;
mod rule;
mod run;
mod signer;
mod take;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use stockade_api::signed::Order;
use stockade_controls::engine::Posture;
use stockade_profile::{Class, Control, SigningKey};
use stockade_store::{
    Batch, Bus, BusError, Scan, Seq, Store, StoreError, Stream, Table, telemetry,
};
use time::OffsetDateTime;

pub use self::came::{RefusedProfile, Taken, Told};
use self::kept::FORMAT;
pub use self::kept::{Kept, Last, Start, TooManyWait, Waiting, Wrong, words};
pub use self::rule::EvidenceSettings;
pub use self::run::run;
pub use self::signer::SignerError;
pub use self::take::OPENED;
use crate::attest::{AttestError, Attester};
use crate::events::{Happening, Outcome};
use crate::name::{DeviceId, ModelName};
use crate::registry::{ChangeError, DeviceRecord, Registry, State, hex};

/// [`Kept`] by device.
const DEVICES: Table = Table::new("evidence.devices");
/// The whole of the last posture, by device.
const POSTURES: Table = Table::new("evidence.postures");
/// How far the stream was taken.
const META: Table = Table::new("evidence.meta");
const POSITION: &[u8] = b"position";
/// Messages that are judged and committed together.
const GROUP: usize = 256;

/// Evidence could not be taken or kept.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The store failed.
    #[error("the store of evidence failed")]
    Store(#[from] StoreError),
    /// The bus failed.
    #[error("the source of evidence failed")]
    Bus(#[from] BusError),
    /// Something in the store is not what was written.
    #[error("{0} in the store of evidence is damaged")]
    Damaged(String),
    /// No key to sign with.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// What TPMs said.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// The registry did not take what was judged.
    #[error(transparent)]
    Registry(#[from] ChangeError),
}

/// A command that is not given.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    /// There is no such device, or it never said anything of itself: no agent runs on it.
    #[error(
        "{0} never sent evidence: no agent of ours runs on it, or it never reached this gateway"
    )]
    NoAgent(DeviceId),
    /// Too many wait.
    #[error(transparent)]
    Full(#[from] TooManyWait),
    /// It cannot be written down.
    #[error("the command cannot be kept")]
    Store(#[from] JudgeError),
    /// No random numbers.
    #[error("the system gives no randomness")]
    Randomness,
}

/// What an operator may ask of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Mend what is found.
    Apply,
    /// Take back what was applied last.
    Undo,
    /// Look again and send evidence.
    Assess,
    /// Switch `UPnP` off.
    UpnpOff,
    /// Renew the certificate.
    Renew,
}

/// What takes evidence, judges it and answers it.
pub struct Judge {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    registry: Arc<Registry>,
    settings: EvidenceSettings,
    attester: Arc<Attester>,
    signer: SigningKey,
    /// Silence before this was the gateway's own.
    since: OffsetDateTime,
    /// Held by whoever changes something; how far the stream was taken.
    working: Mutex<Seq>,
    devices: Mutex<BTreeMap<DeviceId, Arc<Kept>>>,
    /// Wakes whoever sends what waits.
    news: tokio::sync::Notify,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Judge {
    /// Opens what is kept. The signing key is in `keys`; it is made at the first start.
    pub fn open(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        registry: Arc<Registry>,
        settings: EvidenceSettings,
        keys: &Path,
        now: OffsetDateTime,
    ) -> Result<Self, JudgeError> {
        let damaged = |key: &[u8]| JudgeError::Damaged(String::from_utf8_lossy(key).into_owned());
        let mut devices = BTreeMap::new();
        for (key, value) in store.scan(DEVICES, Scan::all())? {
            let id = std::str::from_utf8(&key)
                .ok()
                .and_then(|id| DeviceId::new(id).ok());
            let kept = serde_json::from_slice::<Kept>(&value)
                .ok()
                .filter(|it| it.v == FORMAT);
            let (Some(id), Some(kept)) = (id, kept) else {
                return Err(damaged(&key));
            };
            devices.insert(id, Arc::new(kept));
        }
        let position = match store.get(META, POSITION)? {
            Some(bytes) => u64::from_be_bytes(bytes.try_into().map_err(|_| damaged(POSITION))?),
            None => 0,
        };
        // A bus that begins anew is taken from its start.
        let position = Some(Seq::new(position)).filter(|it| *it <= bus.last());
        let position = position.unwrap_or_default();
        // A bus remembers it no longer than it runs.
        bus.trim(Stream::Posture, position)?;
        let attester = Arc::new(Attester::open(Arc::clone(&store))?);
        Ok(Self {
            attester,
            store,
            bus,
            registry,
            settings,
            signer: signer::open(keys, !devices.is_empty())?,
            since: now,
            working: Mutex::new(position),
            devices: Mutex::new(devices),
            news: tokio::sync::Notify::new(),
        })
    }

    /// The public half of the key that signs profiles and commands for devices, in PEM.
    pub fn signer(&self) -> String {
        self.signer.verifying_key().to_pem()
    }

    /// What is known of devices' TPMs.
    pub const fn attester(&self) -> &Arc<Attester> {
        &self.attester
    }

    /// What is right for a model changed: its devices that did not start as they should are asked again. Blocks.
    pub fn ask_again(&self, model: &ModelName, now: OffsetDateTime) -> Result<(), JudgeError> {
        let _one_at_a_time = lock(&self.working);
        for record in self.registry.list(now) {
            let kept = self.kept(&record.name.id).filter(|kept| {
                let start = kept.attested.as_ref();
                record.name.model == *model && start.is_some_and(|it| !it.verdict.wrong.is_empty())
            });
            if let Some(kept) = kept {
                self.ask(&record.name.id, &kept, now)?;
            }
        }
        Ok(())
    }

    /// Asks for evidence that can not be older than now.
    fn ask(&self, id: &DeviceId, kept: &Kept, now: OffsetDateTime) -> Result<(), JudgeError> {
        let mut after = kept.clone();
        if let Ok(nonce) = nonce()
            && after.ask(&nonce, now).is_ok()
            && after != *kept
        {
            self.keep(id, after)?;
            self.news.notify_one();
        }
        Ok(())
    }

    /// The registers by which a device's start is to be attested; empty if its profile names none.
    fn measured(&self, record: &DeviceRecord) -> Vec<u8> {
        let profile = self.registry.profile(&record.name.model);
        profile.map_or_else(Vec::new, |it| it.boot.measured.iter().collect())
    }

    /// Asks a device how it started, if it is time to.
    fn ask_for_start(&self, record: &DeviceRecord, now: OffsetDateTime) -> Result<(), JudgeError> {
        let id = &record.name.id;
        let Some(kept) = self.kept(id).filter(|it| it.last.is_some()) else {
            return Ok(());
        };
        let here = matches!(record.state, State::Active | State::Quarantined { .. });
        if !here || self.measured(record).is_empty() {
            return Ok(());
        }
        // A TPM that was made known since can be believed now.
        let known = self.attester.key(id).map(|it| it.since);
        let due = kept.attested.as_ref().is_none_or(|start| {
            now - start.came >= rule::ATTEST || known.is_some_and(|since| since > start.came)
        });
        if due {
            self.ask(id, &kept, now)?;
        }
        Ok(())
    }

    /// What was chosen about evidence.
    pub const fn settings(&self) -> &EvidenceSettings {
        &self.settings
    }

    /// How a device stands by its evidence; none of one that never said anything of itself.
    pub fn kept(&self, id: &DeviceId) -> Option<Arc<Kept>> {
        lock(&self.devices).get(id).cloned()
    }

    /// The whole of a device's last posture. Blocks.
    pub fn posture(&self, id: &DeviceId) -> Result<Option<Posture>, JudgeError> {
        let Some(bytes) = self.store.get(POSTURES, id.as_str().as_bytes())? else {
            return Ok(None);
        };
        let posture = serde_json::from_slice(&bytes);
        posture
            .map(Some)
            .map_err(|_| JudgeError::Damaged(format!("the posture of {id}")))
    }

    /// Has a device do something, as soon as it can be reached. The number of the command. Blocks.
    pub fn wish(&self, id: &DeviceId, wish: Wish, now: OffsetDateTime) -> Result<u64, NotAsked> {
        let nonce = nonce()?;
        self.have(id, |kept| match wish {
            Wish::Apply => kept.wait_for(Order::Apply, now),
            Wish::Undo => kept.wait_for(Order::Undo, now),
            Wish::UpnpOff => kept.wait_for(Order::UpnpOff, now),
            Wish::Renew => kept.wait_for(Order::Renew, now),
            Wish::Assess => kept.ask(&nonce, now),
        })
    }

    /// Has a device update its system, as soon as it can be reached. The number of the command. Blocks.
    pub(crate) fn update(
        &self,
        id: &DeviceId,
        version: u64,
        now: OffsetDateTime,
    ) -> Result<u64, NotAsked> {
        self.have(id, |kept| kept.wait_for(Order::Update { version }, now))
    }

    /// No update waits for a device any more that has not taken it yet. Blocks.
    pub(crate) fn no_update(&self, id: &DeviceId) -> Result<(), NotAsked> {
        let update = |it: &Waiting| matches!(it.order, Order::Update { .. });
        self.have(id, |kept| {
            kept.waiting.retain(|it| !update(it));
            Ok(())
        })
    }

    /// Has a device clear that its case was opened, and lets it out of its quarantine: the operator knows of it. The number of the
    /// command; none of a device that has no agent by now. Blocks.
    pub fn clear_tamper(
        &self,
        id: &DeviceId,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<u64, NotAsked> {
        let reason = reason.to_owned();
        self.have(id, |kept| kept.wait_for(Order::ClearTamper { reason }, now))
    }

    /// Changes what waits for a device.
    fn have<T>(
        &self,
        id: &DeviceId,
        change: impl FnOnce(&mut Kept) -> Result<T, TooManyWait>,
    ) -> Result<T, NotAsked> {
        let _one_at_a_time = lock(&self.working);
        let kept = self.kept(id).ok_or_else(|| NotAsked::NoAgent(id.clone()))?;
        let mut after = Kept::clone(&kept);
        let number = change(&mut after)?;
        if after != *kept {
            self.keep(id, after)?;
            self.news.notify_one();
        }
        Ok(number)
    }

    /// What waits for a device, each thing signed on its own: a profile newer than its own, unless it refused that one, then
    /// commands in their order.
    pub fn waiting(&self, id: &DeviceId, now: OffsetDateTime) -> Vec<Vec<u8>> {
        let (Some(kept), Some(record)) = (self.kept(id), self.registry.get(id, now)) else {
            return Vec::new();
        };
        if matches!(record.state, State::Revoked { .. }) {
            return Vec::new();
        }
        let has = kept.last.as_ref().map_or(0, |last| last.profile_version);
        let profile = self.signed_profile(&record.name.model, has);
        let profile = profile.map(|(_, signed)| signed);
        let profile = profile.filter(|signed| !kept.refuses(signed));
        let commands = kept.waiting.iter().filter(|it| it.expires > now);
        let commands = commands.map(|it| it.command(id).sign(&self.signer));
        profile.into_iter().chain(commands).collect()
    }

    /// The profile of a model if it is newer than this version, as devices are sent it, and its own version.
    fn signed_profile(&self, model: &ModelName, has: u64) -> Option<(u64, Vec<u8>)> {
        let profile = self.registry.profile(model)?;
        let version = profile.device.version;
        (version > has).then(|| (version, stockade_profile::sign(&profile, &self.signer)))
    }

    /// Takes everything new from the journal, and says of which devices it was. Blocks while it works.
    ///
    /// What is kept and the position are committed together: after a crash, each message is taken once.
    pub fn take_available(&self, now: OffsetDateTime) -> Result<Vec<DeviceId>, JudgeError> {
        let mut position = lock(&self.working);
        let mut heard = Vec::new();
        loop {
            let reached = *self.bus.durable().borrow();
            let messages = self.bus.read(Stream::Posture, *position, GROUP)?;
            let Some((last, _)) = messages.last() else {
                // Up to here there is nothing: the next reading need not look through what is of other streams.
                *position = reached.max(*position);
                return Ok(heard);
            };
            let mut group = take::Group::default();
            for (_, message) in &messages {
                match telemetry::Record::decode(message) {
                    Ok(record) => self.take(&record, now, &mut group),
                    // Only this program writes there.
                    Err(error) => tracing::error!(%error, "a record of evidence cannot be read"),
                }
            }
            let touched: Vec<_> = group.devices.keys().cloned().collect();
            let mut batch = group.batch;
            for (id, kept) in &group.devices {
                batch.put(DEVICES, id.as_str(), to_json(kept));
            }
            for (id, posture) in &group.postures {
                batch.put(POSTURES, id.as_str(), to_json(posture));
            }
            batch.put(META, POSITION, last.get().to_be_bytes());
            self.store.commit(batch)?;
            lock(&self.devices).extend(group.devices.into_iter().map(|(id, it)| (id, it.into())));
            *position = *last;
            self.bus.trim(Stream::Posture, *last)?;
            for id in &touched {
                self.hold(id, now)?;
            }
            heard.extend(touched);
        }
    }

    /// Time passed, or devices came and went: grace ends, silence is noticed, who is gone is forgotten. Blocks.
    pub fn look(&self, now: OffsetDateTime) -> Result<(), JudgeError> {
        let _one_at_a_time = lock(&self.working);
        let records = self.registry.list(now);
        for record in &records {
            self.notice_silence(record, now)?;
            self.ask_for_start(record, now)?;
            self.hold(&record.name.id, now)?;
        }
        let mut gone: Vec<_> = lock(&self.devices).keys().cloned().collect();
        gone.retain(|id| {
            records
                .binary_search_by(|record| record.name.id.cmp(id))
                .is_err()
        });
        if !gone.is_empty() {
            let mut batch = Batch::new();
            for id in &gone {
                batch
                    .delete(DEVICES, id.as_str())
                    .delete(POSTURES, id.as_str());
            }
            self.store.commit(batch)?;
            self.attester.forget(&gone)?;
            lock(&self.devices).retain(|id, _| !gone.contains(id));
        }
        Ok(())
    }

    /// Tells, once, that a device is silent which should not be.
    fn notice_silence(&self, record: &DeviceRecord, now: OffsetDateTime) -> Result<(), JudgeError> {
        let id = &record.name.id;
        let kept = self.kept(id).unwrap_or_default();
        if kept.silent || !matches!(record.state, State::Active | State::Quarantined { .. }) {
            return Ok(());
        }
        if let Some(why) = self.silence(record, &kept, now) {
            self.tell(now, id, Outcome::Changed, Control::Comms, why);
            let mut after = Kept::clone(&kept);
            after.silent = true;
            self.keep(id, after)?;
        }
        Ok(())
    }

    /// Since when a device is silent for too long that is expected to send evidence.
    fn silence(&self, record: &DeviceRecord, kept: &Kept, now: OffsetDateTime) -> Option<String> {
        let heard = match &kept.last {
            Some(last) => last.came,
            None if self.must_send(record) => record.certificate.as_ref()?.issued,
            None => return None,
        };
        self.settings.silent(heard.max(self.since), now)
    }

    fn must_send(&self, record: &DeviceRecord) -> bool {
        let profile = self.registry.profile(&record.name.model);
        self.settings.required && profile.is_some_and(|it| it.device.class == Class::Linux)
    }

    /// Has the registry hold a device to what its evidence says, or lets it go: that only for evidence that answered a question
    /// asked after it was held.
    fn hold(&self, id: &DeviceId, now: OffsetDateTime) -> Result<(), JudgeError> {
        let (Some(kept), Some(record)) = (self.kept(id), self.registry.get(id, now)) else {
            return Ok(());
        };
        let evidence = match &record.state {
            State::Quarantined { evidence, .. } => evidence.clone(),
            State::Active => Vec::new(),
            State::Pending | State::Revoked { .. } => return Ok(()),
        };
        let mut after = Kept::clone(&kept);
        if kept.held && evidence.is_empty() && !matches!(record.state, State::Quarantined { .. }) {
            // An operator let it go: that is respected for a while.
            after.released = Some(now);
            after.held = false;
        }
        let mut reasons = self.settings.reasons(&after, now);
        if kept.last.is_some() && !self.measured(&record).is_empty() {
            let issued = record.certificate.as_ref().map(|it| it.issued);
            let begun = issued.map_or(self.since, |issued| issued.max(self.since));
            reasons.extend(self.settings.start(&after, begun, now));
        }
        let silent = || self.silence(&record, &kept, now);
        let required = self.must_send(&record) && kept.last.is_none();
        if (self.settings.quarantine_silent || required)
            && let Some(why) = silent()
        {
            reasons.push(why);
        }
        let fresh = kept.last.as_ref().is_some_and(|last| last.fresh);
        if !reasons.is_empty() {
            if reasons != evidence {
                self.registry.judged(id, &reasons, now)?;
            }
            after.held = true;
        } else if !evidence.is_empty() && fresh {
            self.registry.judged(id, &[], now)?;
            after.held = false;
        } else if !evidence.is_empty()
            && let Ok(nonce) = nonce()
        {
            // What says that it is mended may be older than what is wrong: it has to say so again.
            let _waits = after.ask(&nonce, now);
            self.news.notify_one();
        }
        if after != *kept {
            self.keep(id, after)?;
        }
        Ok(())
    }

    /// Writes what is kept of one device, then lets it hold.
    fn keep(&self, id: &DeviceId, mut kept: Kept) -> Result<(), JudgeError> {
        kept.v = FORMAT;
        let mut batch = Batch::new();
        batch.put(DEVICES, id.as_str(), to_json(&kept));
        self.store.commit(batch)?;
        lock(&self.devices).insert(id.clone(), Arc::new(kept));
        Ok(())
    }

    fn tell(
        &self,
        now: OffsetDateTime,
        id: &DeviceId,
        outcome: Outcome,
        control: Control,
        reason: String,
    ) {
        let happening = Happening {
            outcome,
            control,
            device: Some(id.to_string()),
            peer: None,
            reason,
        };
        self.registry.events().record(now, happening);
    }
}

/// Something that no evidence can have in it by chance.
fn nonce() -> Result<String, NotAsked> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| NotAsked::Randomness)?;
    Ok(hex(&bytes))
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Text, numbers, lists and maps of text: they can always be written.
    serde_json::to_vec(value).unwrap_or_default()
}
