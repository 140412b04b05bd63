//! The TPM's counter beside the journal: a journal that was put back from an older copy of the disk is noticed, as the counter
//! only ever goes up.
//!
//! It protects against a disk that is put back, not against somebody who writes a journal of his own: who can do that has root's
//! rights, or a disk that is not protected.

use std::fmt;

use stockade_api::Places;
use stockade_host::tpm::{Tpm, TpmError};

/// Of those that an owner may define (TCG registry of reserved TPM 2.0 handles §2.2.2).
const INDEX: u32 = 0x0180_5354;

/// Why the counter and the journal do not go together.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// The TPM.
    #[error("the TPM's counter of updates")]
    Tpm(#[from] TpmError),
    /// They differ.
    #[error(
        "what this device remembers of updates is older than its TPM's counter says, or was lost: it was put back from a copy (`stockade-update reset`, by root, begins anew)"
    )]
    PutBack,
    /// The TPM is another one, or gone.
    #[error(
        "the TPM that counted this device's updates is not there any more (`stockade-update reset`, by root, begins anew)"
    )]
    Gone,
}

/// The counter; none on a device without a TPM.
pub(crate) struct Counter(Option<Tpm>);

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.0.is_some()).finish()
    }
}

impl Counter {
    pub(crate) fn open(places: &Places) -> Result<Self, CounterError> {
        let device = places.root().join("dev/tpmrm0");
        Ok(Self(if device.exists() {
            Some(Tpm::open(&device)?)
        } else {
            None
        }))
    }

    fn value(&mut self) -> Result<Option<u64>, CounterError> {
        let tpm = self.0.as_mut();
        Ok(tpm.map(|tpm| tpm.counter(INDEX)).transpose()?.flatten())
    }

    /// For a device that remembers nothing: where it begins.
    pub(crate) fn begin(&mut self) -> Result<Option<u64>, CounterError> {
        if self.value()?.is_some() {
            return Err(CounterError::PutBack);
        }
        let Some(tpm) = &mut self.0 else {
            return Ok(None);
        };
        // One that was made and never counted has no value.
        remove(tpm)?;
        tpm.make_counter(INDEX)?;
        tpm.count(INDEX)?;
        self.value()
    }

    /// What it is to say after the next update that stays.
    pub(crate) fn next(now: Option<u64>) -> Option<u64> {
        now.map(|it| it.saturating_add(1))
    }

    /// It says what the journal says. The journal is one ahead if power was cut between the two.
    pub(crate) fn agrees(&mut self, journal: Option<u64>) -> Result<(), CounterError> {
        let Some(wanted) = journal else {
            // A TPM that came later: its counter begins with the next journal.
            return Ok(());
        };
        let said = self.value()?.ok_or(CounterError::Gone)?;
        match &mut self.0 {
            Some(tpm) if said.checked_add(1) == Some(wanted) => Ok(tpm.count(INDEX)?),
            _ if said == wanted => Ok(()),
            _ => Err(CounterError::PutBack),
        }
    }

    pub(crate) fn remove(&mut self) -> Result<(), CounterError> {
        self.0.as_mut().map_or(Ok(()), remove)
    }
}

fn remove(tpm: &mut Tpm) -> Result<(), CounterError> {
    match tpm.nv_remove(INDEX) {
        // It is not there; one that stays is noticed by whoever makes the next.
        Err(TpmError::Code(_)) => Ok(()),
        removed => Ok(removed?),
    }
}
