//! Roll-outs: a new system for the devices of a model, a few of them first.
//!
//! A roll-out goes in stages. Each device that it takes gets a signed order to update; the device fetches and verifies the system
//! itself, and its evidence says which one runs. As soon as too many devices of a stage fall, the roll-out halts by itself.

mod kept;
mod run;
mod step;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stockade_controls::engine::{Severity, Standard};
use stockade_profile::Control;
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use time::OffsetDateTime;

use self::kept::{FORMAT, Kept, Rollout, Taken};
pub use self::kept::{MOST_STAGES, Plan, Share, State, WrongPlan};
pub use self::run::run;
use self::step::{Seen, Step};
pub use self::view::{Fallen, StageView, View};
use crate::events::{Happening, Outcome};
use crate::evidence::{self, Judge, NotAsked};
use crate::name::{DeviceId, ModelName};
use crate::registry::{self, Registry};

/// [`Rollout`] by number.
const ROLLOUTS: Table = Table::new("rollouts");
/// [`Taken`] by number and device.
const DEVICES: Table = Table::new("rollouts.devices");
/// As many are remembered.
const MOST: usize = 64;

/// What is wrong at a device that comes back from an update by itself.
const RETURNED: &str = "updates/health";

/// Roll-outs could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The store failed.
    #[error("the store of roll-outs failed")]
    Store(#[from] StoreError),
    /// Something in the store is not what was written.
    #[error("{0} in the store of roll-outs is damaged")]
    Damaged(String),
    /// What was asked cannot be done.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why a roll-out is not started or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such model.
    #[error("there is no model `{0}`")]
    NoModel(ModelName),
    /// Its devices take no whole systems.
    #[error("the profile of `{0}` names no slots: its devices take no whole systems")]
    NoSlots(ModelName),
    /// Another goes on.
    #[error("roll-out {0} of this model goes on; one at a time")]
    Active(u64),
    /// There is none of this number.
    #[error("there is no roll-out {0}")]
    Unknown(u64),
    /// It does not go on, so it cannot be halted.
    #[error("roll-out {0} does not go on")]
    NotRunning(u64),
    /// It is not halted, so it cannot go on.
    #[error("roll-out {0} is not halted")]
    NotHalted(u64),
}

/// All roll-outs of this gateway.
pub struct Rollouts {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    judge: Arc<Judge>,
    all: Mutex<BTreeMap<u64, Kept>>,
}

impl fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollouts").finish_non_exhaustive()
    }
}

impl Rollouts {
    /// Opens what is kept.
    pub fn open(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        judge: Arc<Judge>,
    ) -> Result<Self, RolloutError> {
        let damaged = |key: &[u8]| {
            RolloutError::Damaged(String::from_utf8_lossy(key).escape_debug().to_string())
        };
        let mut all = BTreeMap::new();
        for (key, value) in store.scan(ROLLOUTS, Scan::all())? {
            let rollout = serde_json::from_slice::<Rollout>(&value);
            let rollout = rollout.ok().filter(|it| it.v == FORMAT);
            let rollout = rollout.ok_or_else(|| damaged(&key))?;
            let devices = BTreeMap::new();
            all.insert(rollout.id, Kept { rollout, devices });
        }
        for (key, value) in store.scan(DEVICES, Scan::all())? {
            let read = || -> Option<(u64, DeviceId, Taken)> {
                let (id, device) = std::str::from_utf8(&key).ok()?.split_once('/')?;
                let taken = serde_json::from_slice(&value).ok()?;
                Some((id.parse().ok()?, DeviceId::new(device).ok()?, taken))
            };
            let (id, device, taken) = read().ok_or_else(|| damaged(&key))?;
            let kept = all.get_mut(&id).ok_or_else(|| damaged(&key))?;
            kept.devices.insert(device, taken);
        }
        Ok(Self {
            store,
            registry,
            judge,
            all: Mutex::new(all),
        })
    }

    /// Starts a roll-out; its number. The first devices are taken at the next [`Rollouts::step`]. Blocks.
    pub fn start(
        &self,
        model: &ModelName,
        version: u64,
        plan: Plan,
        now: OffsetDateTime,
    ) -> Result<u64, RolloutError> {
        let profile = self.registry.profile(model);
        let profile = profile.ok_or_else(|| Refused::NoModel(model.clone()))?;
        if profile.updates.as_ref().is_none_or(|it| it.slots.is_none()) {
            return Err(Refused::NoSlots(model.clone()).into());
        }
        let mut all = self.lock();
        none_active(&all, model)?;
        let id = all.last_key_value().map_or(1, |(last, _)| last + 1);
        let kept = Kept {
            rollout: Rollout::new(id, model.clone(), version, plan, now),
            devices: BTreeMap::new(),
        };
        let mut batch = Batch::new();
        batch.put(ROLLOUTS, id.to_string(), to_json(&kept.rollout));
        // The oldest that is over makes room.
        let over = |it: &&Kept| !matches!(it.rollout.state, State::Running);
        let oldest = all.values().find(over).filter(|_| all.len() >= MOST);
        let oldest = oldest.map(|it| {
            batch.delete(ROLLOUTS, it.rollout.id.to_string());
            for device in it.devices.keys() {
                batch.delete(DEVICES, key(it.rollout.id, device));
            }
            it.rollout.id
        });
        self.store.commit(batch)?;
        if let Some(oldest) = oldest {
            all.remove(&oldest);
        }
        self.tell(
            now,
            None,
            Outcome::Changed,
            format!("roll-out {id}: {model} goes to version {version}"),
        );
        all.insert(id, kept);
        Ok(id)
    }

    /// Halts a roll-out: devices that have not taken the order yet keep their system. Blocks.
    pub fn halt(&self, id: u64, reason: &str, now: OffsetDateTime) -> Result<(), RolloutError> {
        self.change(&mut self.lock(), id, now, |kept| {
            if !matches!(kept.rollout.state, State::Running) {
                return Err(Refused::NotRunning(id));
            }
            Ok(kept.halt(reason.to_owned(), false, now))
        })
    }

    /// Goes on with a halted roll-out. What was wrong with its devices is known by then, and does not halt it again; those that
    /// do not run the version are told once more. Blocks.
    pub fn resume(&self, id: u64, reason: &str, now: OffsetDateTime) -> Result<(), RolloutError> {
        let fleet = self.look(now);
        let mut all = self.lock();
        let known = all.get(&id).ok_or(Refused::Unknown(id))?;
        none_active(&all, &known.rollout.model)?;
        self.change(&mut all, id, now, |kept| {
            if !matches!(kept.rollout.state, State::Halted { .. }) {
                return Err(Refused::NotHalted(id));
            }
            Ok(kept.resume(&fleet, reason, now))
        })
    }

    /// Time passed, or evidence came: every roll-out that goes on is looked at. Blocks.
    pub fn step(&self, now: OffsetDateTime) -> Result<(), RolloutError> {
        let running = |it: &&Kept| matches!(it.rollout.state, State::Running);
        let running: Vec<u64> = self
            .lock()
            .values()
            .filter(running)
            .map(|it| it.rollout.id)
            .collect();
        if running.is_empty() {
            return Ok(());
        }
        let fleet = self.look(now);
        for id in running {
            // An operator may have halted it since.
            let step = |kept: &mut Kept| match kept.rollout.state {
                State::Running => Ok(kept.step(&fleet, now)),
                State::Halted { .. } | State::Done { .. } => Ok(Step::default()),
            };
            self.change(&mut self.lock(), id, now, step)?;
        }
        Ok(())
    }

    /// All roll-outs, the newest first.
    pub fn list(&self, now: OffsetDateTime) -> Vec<View> {
        let fleet = self.look(now);
        self.lock()
            .values()
            .rev()
            .map(|it| it.view(&fleet))
            .collect()
    }

    /// One roll-out.
    pub fn show(&self, id: u64, now: OffsetDateTime) -> Result<View, Refused> {
        let fleet = self.look(now);
        let all = self.lock();
        all.get(&id)
            .map(|it| it.view(&fleet))
            .ok_or(Refused::Unknown(id))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Kept>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one roll-out: on disk first, then devices are told. Who was not told when this process ended is told at the next step.
    fn change(
        &self,
        all: &mut BTreeMap<u64, Kept>,
        id: u64,
        now: OffsetDateTime,
        change: impl FnOnce(&mut Kept) -> Result<Step, Refused>,
    ) -> Result<(), RolloutError> {
        let kept = all.get_mut(&id).ok_or(Refused::Unknown(id))?;
        let mut after = kept.clone();
        let step = change(&mut after)?;
        self.keep(kept, &after)?;
        let mut told = after.clone();
        for device in &step.order {
            match self.judge.update(device, after.rollout.version, now) {
                Ok(_number) => {
                    if let Some(taken) = told.devices.get_mut(device) {
                        taken.to_order = false;
                    }
                }
                // It is tried again; a device that is never told falls, and says so.
                Err(NotAsked::NoAgent(_) | NotAsked::Full(_)) => (),
                Err(error) => tracing::warn!(%device, %error, "an order to update is not kept"),
            }
        }
        for device in &step.withdraw {
            if let Err(error) = self.judge.no_update(device) {
                tracing::warn!(%device, %error, "an order to update is not withdrawn");
            }
        }
        self.keep(&after, &told)?;
        *kept = told;
        for (device, outcome, reason) in step.told {
            self.tell(now, device.as_ref(), outcome, reason);
        }
        Ok(())
    }

    /// Writes what differs.
    fn keep(&self, before: &Kept, after: &Kept) -> Result<(), RolloutError> {
        let mut batch = Batch::new();
        if before.rollout != after.rollout {
            batch.put(
                ROLLOUTS,
                after.rollout.id.to_string(),
                to_json(&after.rollout),
            );
        }
        for (device, taken) in &after.devices {
            if before.devices.get(device) != Some(taken) {
                batch.put(DEVICES, key(after.rollout.id, device), to_json(taken));
            }
        }
        if !batch.is_empty() {
            self.store.commit(batch)?;
        }
        Ok(())
    }

    /// Every device, as far as it matters here.
    fn look(&self, now: OffsetDateTime) -> BTreeMap<DeviceId, Seen> {
        let records = self.registry.list(now).into_iter();
        let seen = records.map(|record| {
            let kept = self.judge.kept(&record.name.id);
            let last = kept.as_ref().and_then(|it| it.last.as_ref());
            let quarantine = match &record.state {
                registry::State::Quarantined {
                    reasons, evidence, ..
                } => Some(
                    reasons
                        .iter()
                        .chain(evidence)
                        .next()
                        .cloned()
                        .unwrap_or_default(),
                ),
                _ => None,
            };
            let seen = Seen {
                model: record.name.model.clone(),
                may: matches!(record.state, registry::State::Active) || quarantine.is_some(),
                quarantine,
                silent: kept.as_ref().is_some_and(|it| it.silent),
                came: last.map(|it| it.came),
                system: last.and_then(|it| it.system.as_ref()?.parse().ok()),
                wrong: kept.map(|it| wrong(&it)).unwrap_or_default(),
            };
            (record.name.id, seen)
        });
        seen.collect()
    }

    fn tell(
        &self,
        now: OffsetDateTime,
        device: Option<&DeviceId>,
        outcome: Outcome,
        reason: String,
    ) {
        let happening = Happening {
            outcome,
            control: Control::Updates,
            device: device.map(ToString::to_string),
            peer: None,
            reason,
        };
        self.registry.events().record(now, happening);
    }
}

/// The rules that are broken badly, and the one that says that a device came back from an update.
fn wrong(kept: &evidence::Kept) -> BTreeSet<String> {
    let bad = |(rule, wrong): &(&String, &evidence::Wrong)| {
        let found = wrong.state == Standard::Broken || wrong.count > 0;
        found && (wrong.severity.unwrap_or(Severity::High) >= Severity::High || *rule == RETURNED)
    };
    kept.wrong
        .iter()
        .filter(bad)
        .map(|(rule, _)| rule.clone())
        .collect()
}

fn none_active(all: &BTreeMap<u64, Kept>, model: &ModelName) -> Result<(), Refused> {
    let active = all
        .values()
        .find(|it| it.rollout.model == *model && matches!(it.rollout.state, State::Running));
    active.map_or(Ok(()), |it| Err(Refused::Active(it.rollout.id)))
}

fn key(id: u64, device: &DeviceId) -> String {
    format!("{id}/{device}")
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    // Text, numbers, lists and maps of text: they can always be written.
    serde_json::to_vec(value).unwrap_or_default()
}
