//! X25519 and Ed25519, of the suites 0 and 1, by the dalek curves.

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use x25519_dalek::StaticSecret;

use crate::crypto::{CryptoError, Secret};

/// A key for agreement.
pub(super) struct Agreement(StaticSecret);

impl Agreement {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "where the curves are left out, no key is made"
    )]
    pub(super) fn new(bytes: &Secret<32>) -> Result<Self, CryptoError> {
        Ok(Self(StaticSecret::from(*bytes.expose())))
    }

    pub(super) fn public(&self) -> [u8; 32] {
        x25519_dalek::PublicKey::from(&self.0).to_bytes()
    }

    pub(super) fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(*peer));
        // RFC 7748, section 6.1: not the all-zero value, which small-order points give.
        if shared.was_contributory() {
            Ok(Secret::new(shared.to_bytes()))
        } else {
            Err(CryptoError::BadPublicKey)
        }
    }
}

/// A key for signatures.
pub(super) struct Signing(Secret<32>);

impl Signing {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "where the curves are left out, no key is made"
    )]
    pub(super) fn new(bytes: &Secret<32>) -> Result<Self, CryptoError> {
        Ok(Self(bytes.clone()))
    }

    pub(super) fn public(&self) -> [u8; 32] {
        let key = SigningKey::from_bytes(self.0.expose());
        key.verifying_key().to_bytes()
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let key = SigningKey::from_bytes(self.0.expose());
        key.sign(message).to_bytes()
    }
}

pub(super) fn verify(
    key: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), CryptoError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| CryptoError::BadPublicKey)?;
    // Strict: keys of small order, with which anything verifies, are refused.
    if key.is_weak() {
        return Err(CryptoError::BadPublicKey);
    }
    key.verify_strict(message, &signature.into())
        .map_err(|_| CryptoError::NotAuthentic)
}
