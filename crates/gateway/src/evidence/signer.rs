//! The key with which the gateway signs what devices are to do.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use stockade_profile::{KeyError, SigningKey};

use crate::pki::PkiError;
use crate::pki::files;

const KEY: &str = "signer.key";

/// Why there is no such key.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Its file.
    #[error("the gateway's signing key can not be used")]
    File(#[from] PkiError),
    /// It was there once.
    #[error("{} is missing: restore it from a backup; devices believe no other key", .0.display())]
    Lost(PathBuf),
    /// The key itself.
    #[error("the gateway's signing key can not be used")]
    Key(#[from] KeyError),
}

/// Opens the key in `dir`, or makes it unless devices know one already.
pub(super) fn open(dir: &Path, known: bool) -> Result<SigningKey, SignerError> {
    files::private_dir(dir).map_err(PkiError::from)?;
    let path = dir.join(KEY);
    if let Some(pem) = files::read_private(&path)? {
        return Ok(SigningKey::from_pem(&pem)?);
    }
    if known {
        return Err(SignerError::Lost(path));
    }
    let key = SigningKey::generate(&SystemRandom::new())?;
    files::create(&path, key.to_pem()?.as_bytes(), 0o600).map_err(PkiError::from)?;
    Ok(key)
}
