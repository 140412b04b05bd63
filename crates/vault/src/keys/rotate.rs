//! A new epoch, and the end of the ones before.
//!
//! A process may be killed at any point: until the old epoch's end everything opens, and [`Keys::is_rotating`] tells that the end
//! is owed.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use stockade_store::{Batch, Scan, Scrub, StoreError};

use super::keyring::{Epoch, step};
use super::subjects::{SubjectId, epoch_of};
use super::{EPOCH, KeyError, Keys, META, SUBJECTS};

/// Rows that are wrapped anew in one commit.
const BATCH: usize = 2_000;
/// In [`META`] while what was deleted is yet to be made unreadable in the store's own files.
const SCRUB: &[u8] = b"scrub";

/// Epochs that can be alive at once: damaged rows keep old ones.
pub(super) const MOST_EPOCHS: usize = 32;

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The epoch that is current now.
    pub epoch: u32,
    /// The epochs that were destroyed.
    pub destroyed: Vec<u32>,
    /// Subjects whose keys were wrapped anew.
    pub rewrapped: u64,
    /// Subjects whose keys are damaged, and given up now.
    pub damaged: u64,
    /// Whether the store emptied its own log, and overwrote what was deleted.
    pub scrubbed: bool,
    /// Subjects whose keys are of an epoch destroyed before: they came back with an older store.
    pub dead: u64,
}

impl Keys {
    /// Begins a new epoch, wraps every subject's keys under it and destroys the epochs before. In between `drain` takes from the
    /// bus what was sealed before; [`Keys::rewrapped`] tells how far it is.
    ///
    /// Damaged rows keep the old epochs alive, unless they are given up.
    pub fn rotate<E: From<KeyError>>(
        &self,
        drain: impl FnOnce() -> Result<(), E>,
        give_up_damaged: bool,
    ) -> Result<Rotated, E> {
        let _one = self.one_at_a_time();
        // What every rotation before this left, none of which could end: the bus has nothing of them any more.
        if self.state().wrappers.len() >= MOST_EPOCHS {
            self.finish(give_up_damaged)?;
        }
        self.begin()?;
        drain()?;
        Ok(self.finish(give_up_damaged)?)
    }

    /// Ends what a rotation that was interrupted left; nothing if none was.
    pub fn resume<E: From<KeyError>>(
        &self,
        drain: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<Rotated>, E> {
        let _one = self.one_at_a_time();
        if !self.is_rotating() {
            return Ok(None);
        }
        drain()?;
        Ok(Some(self.finish(false)?))
    }

    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.rotating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on keys are wrapped, and the bus is sealed, under a new epoch.
    pub(super) fn begin(&self) -> Result<u32, KeyError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let number = state
            .keyring
            .current()
            .number
            .checked_add(1)
            .ok_or(KeyError::Crypto("no epoch is left"))?;
        let epoch = Epoch::new(number)?;
        state
            .keyring
            .change(&self.root, false, |content| content.epochs.push(epoch))?;
        state.wrappers = state.keyring.wrappers()?;
        step()?;
        // A keyring from before is found out by this, once the first row needs the new epoch.
        let mut batch = Batch::new();
        batch.put(META, EPOCH, number.to_be_bytes());
        self.store.commit(batch)?;
        Ok(number)
    }

    /// How many subjects' keys a rotation under way has wrapped anew; none if there is none.
    pub fn rewrapped(&self) -> Option<u64> {
        self.is_rotating()
            .then(|| self.rewrapped.load(Ordering::Relaxed))
    }

    /// Whether an old epoch is still alive.
    pub fn is_rotating(&self) -> bool {
        self.state().wrappers.len() > 1
    }

    /// Wraps every subject's keys under the current epoch and destroys the others.
    pub(super) fn finish(&self, give_up_damaged: bool) -> Result<Rotated, KeyError> {
        let mut rotated = Rotated {
            epoch: self.epoch(),
            destroyed: Vec::new(),
            rewrapped: 0,
            damaged: 0,
            scrubbed: false,
            dead: 0,
        };
        let mut first = None;
        self.rewrapped.store(0, Ordering::Relaxed);
        let mut scan = Scan::all().limit(BATCH);
        loop {
            step()?;
            let rows = self.store.scan(SUBJECTS, scan.clone())?;
            let Some((last, _)) = rows.last() else { break };
            let last = last.clone();
            let before = rotated.clone();
            let batch = self.rewrap(rows, &mut rotated, &mut first)?;
            match self.store.commit(batch) {
                Ok(()) => scan.after = Some(last),
                // A subject was erased meanwhile: the same rows again.
                Err(StoreError::Conflict { .. }) => rotated = before,
                Err(error) => return Err(error.into()),
            }
            self.rewrapped.store(rotated.rewrapped, Ordering::Relaxed);
        }
        step()?;
        rotated.scrubbed = self.scrub()?;
        step()?;
        if let (Some(first), false) = (first, give_up_damaged) {
            return Err(KeyError::KeepsOldEpoch {
                count: rotated.damaged,
                first,
            });
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let current = rotated.epoch;
        rotated
            .destroyed
            .extend(state.wrappers.iter().map(|it| it.epoch));
        rotated.destroyed.retain(|epoch| *epoch < current);
        state.keyring.change(&self.root, true, |content| {
            content.epochs.retain(|epoch| epoch.number >= current);
        })?;
        state.wrappers.retain(|wrapper| wrapper.epoch >= current);
        Ok(rotated)
    }

    /// Makes what was deleted unreadable in the store's own files, or remembers that this is owed: the new epoch need not wait for
    /// who reads there.
    fn scrub(&self) -> Result<bool, KeyError> {
        let scrub = self.store.scrub()?;
        let mut batch = Batch::new();
        if scrub == Scrub::Busy {
            batch.put(META, SCRUB, []);
        } else if self.owes_scrub()? {
            batch.delete(META, SCRUB);
        }
        self.store.commit(batch)?;
        Ok(scrub == Scrub::Done)
    }

    /// Whether somebody was in the way when the store should have made unreadable what was deleted.
    pub(crate) fn owes_scrub(&self) -> Result<bool, KeyError> {
        Ok(self.store.get(META, SCRUB)?.is_some())
    }

    /// Does so now, if it is owed.
    pub(crate) fn settle_scrub(&self) -> Result<(), KeyError> {
        let _one = self.one_at_a_time();
        if self.owes_scrub()? {
            self.scrub()?;
        }
        Ok(())
    }

    /// The rows that are not yet of the current epoch, wrapped under it.
    fn rewrap(
        &self,
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        rotated: &mut Rotated,
        first: &mut Option<SubjectId>,
    ) -> Result<Batch, KeyError> {
        let state = self.state();
        let mut batch = Batch::new();
        for (key, row) in rows {
            let current = state.current()?;
            if epoch_of(&row) == Some(current.epoch) {
                continue;
            }
            let mut id = [0; 16];
            for (to, from) in id.iter_mut().zip(&key) {
                *to = *from;
            }
            let id = SubjectId::from_bytes(id);
            match state.unwrap(id, &row) {
                Ok(keys) => {
                    let new = current.wrap(&keys)?;
                    batch
                        .require_equals(SUBJECTS, key.as_slice(), row)
                        .put(SUBJECTS, key, new);
                    rotated.rewrapped = rotated.rewrapped.saturating_add(1);
                }
                Err(KeyError::Destroyed { .. }) => rotated.dead = rotated.dead.saturating_add(1),
                Err(KeyError::Damaged { .. }) => {
                    first.get_or_insert(id);
                    rotated.damaged = rotated.damaged.saturating_add(1);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }
}
