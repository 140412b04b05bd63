//! Root keys in a TPM's lasting memory: 32 random bytes a generation. Whoever is root on this machine reads them, as the vault does;
//! a stolen disk does not have them, and an index that was removed is gone.

use stockade_host::tpm::{NEVER_WRITTEN, Tpm, TpmError};
use zeroize::Zeroizing;

use super::{Installation, KeyError, Secret};
use crate::keys::random;

/// The owner's indices begin here (TCG Registry of Reserved TPM 2.0 Handles §2.2.2).
const OWNERS: u32 = 0x0180_0000;
/// Installations on one TPM are told apart by this many bits.
const SPREAD: u32 = 0x000f_ffff;

impl From<TpmError> for KeyError {
    fn from(error: TpmError) -> Self {
        Self::Root(error.to_string())
    }
}

pub(super) fn secret(
    tpm: &mut Tpm,
    of: &Installation,
    generation: u32,
) -> Result<Option<Secret>, KeyError> {
    let bytes = match tpm.nv_read(index(of, generation)) {
        // Made and not yet written when the power went.
        Err(TpmError::Code(NEVER_WRITTEN)) => None,
        bytes => bytes?.map(Zeroizing::new),
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let key = bytes
        .as_slice()
        .try_into()
        .map(|key| Secret(Zeroizing::new(key)));
    key.map(Some).map_err(|_| {
        KeyError::Root("the TPM holds something else where the root key was".to_owned())
    })
}

pub(super) fn make(tpm: &mut Tpm, of: &Installation, generation: u32) -> Result<(), KeyError> {
    destroy(tpm, of, generation)?;
    let key = random::<32>()?;
    Ok(tpm.nv_keep(index(of, generation), &*key)?)
}

pub(super) fn destroy(tpm: &mut Tpm, of: &Installation, generation: u32) -> Result<(), KeyError> {
    let index = index(of, generation);
    match tpm.nv_read(index) {
        Ok(None) => Ok(()),
        Ok(Some(_)) | Err(TpmError::Code(NEVER_WRITTEN)) => Ok(tpm.nv_remove(index)?),
        Err(error) => Err(error.into()),
    }
}

/// Two for each installation: only neighbours are there at a time.
fn index(of: &Installation, generation: u32) -> u32 {
    let [a, b, c, ..] = *of;
    let spread = u32::from_be_bytes([0, a, b, c]) & SPREAD;
    OWNERS | spread << 1 | generation & 1
}
