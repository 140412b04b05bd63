//! The log's own key: it signs the checkpoints, and keys the digests in the entries.

use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use aws_lc_rs::{hkdf, hmac};
use stockade_tlog::{Ed25519, Hash, Kind, VerifierKey};

use super::LogError;
use crate::keys::{KEY_BYTES, KeyFile};

const FILE: KeyFile = KeyFile {
    header: "stockade vault log key 1\n",
    missing: "the key of the log is missing, and the log was signed with it: restore it from a backup",
    wrong: "no key of the log, or a damaged one: restore it from a backup",
};

/// Checks signatures by aws-lc.
#[derive(Debug, Clone, Copy)]
pub struct AwsLc;

impl Ed25519 for AwsLc {
    fn good(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, key)
            .verify(message, signature)
            .is_ok()
    }
}

pub(super) struct LogKey {
    pair: Ed25519KeyPair,
    pub(super) public: VerifierKey,
    pub(super) digests: hmac::Key,
}

impl LogKey {
    /// The key in `file`; a new one if there is none and `create`.
    pub(super) fn open(file: &Path, create: bool) -> Result<Self, LogError> {
        Self::from_seed(&*FILE.open(file, create)?)
    }

    fn from_seed(seed: &[u8; KEY_BYTES]) -> Result<Self, LogError> {
        let crypto = |_| LogError::Crypto;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| LogError::Crypto)?;
        let public: [u8; 32] = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| LogError::Crypto)?;
        // The log's name is its key's: no two have one, and none needs to be chosen.
        let hash = Hash::leaf(&public).to_string();
        let name = format!("stockade-vault-{}", hash.get(..16).unwrap_or_default());
        let digests = hkdf::Salt::new(hkdf::HKDF_SHA256, b"stockade vault log digests 1")
            .extract(seed)
            .expand(&[b"digest"], hmac::HMAC_SHA256)
            .map_err(crypto)?
            .into();
        Ok(Self {
            pair,
            public: VerifierKey::new(&name, Kind::Log, public).map_err(|_| LogError::Crypto)?,
            digests,
        })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}
