//! Keys of people, and those that stay beside the repository: Ed25519 in PKCS#8, one in a file that only its owner can read.

use std::io;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use stockade_host::files;
use stockade_profile::SigningKey;
use tough::schema::key::Key as Public;

use super::MakerError;
use super::role::hex;

/// A key that signs.
pub struct Key {
    pair: Ed25519KeyPair,
    /// Its id: SHA-256 of its public half in canonical JSON (TUF §4.2).
    pub id: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a key from a file.
    pub fn read(path: &Path) -> Result<Self, MakerError> {
        let bytes = files::read(path)?;
        let bytes = bytes.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is not there", path.display()),
            )
        })?;
        let wrong = || MakerError::Content {
            path: path.to_owned(),
            why: "no Ed25519 key in PKCS#8, as `stockade update init` makes them".to_owned(),
        };
        let bytes = zeroize::Zeroizing::new(bytes);
        let der = PrivatePkcs8KeyDer::from_pem_slice(&bytes).map_err(|_| wrong())?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| wrong())?;
        let public = public(pair.public_key().as_ref());
        let read: Public = serde_json::from_value(public).map_err(|_| wrong())?;
        let id = read.key_id().map_err(|_| wrong())?;
        Ok(Self { pair, id: hex(&id) })
    }

    /// Makes a key in a new file.
    pub(super) fn make(path: &Path) -> Result<Self, MakerError> {
        if path.exists() {
            return Err(MakerError::Exists(path.to_owned()));
        }
        let key = SigningKey::generate(&SystemRandom::new()).map_err(|_| MakerError::Randomness)?;
        let pem = key.to_pem().map_err(|_| MakerError::Randomness)?;
        files::put(path, pem.as_bytes())?;
        Self::read(path)
    }

    pub(super) fn sign(&self, message: &[u8]) -> String {
        hex(self.pair.sign(message).as_ref())
    }

    /// Its public half, as metadata has it.
    pub(super) fn public(&self) -> Value {
        public(self.pair.public_key().as_ref())
    }
}

fn public(bytes: &[u8]) -> Value {
    json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex(bytes) } })
}

/// The keys in a folder.
pub(super) fn all(folder: &Path) -> Result<Vec<Key>, MakerError> {
    let mut keys = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "pem") {
            keys.push(Key::read(&path)?);
        }
    }
    Ok(keys)
}
