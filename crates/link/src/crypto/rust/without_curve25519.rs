//! What stands in for X25519 and Ed25519 where a device saves their flash: no key of theirs can be made.

use core::convert::Infallible;

use crate::crypto::{CryptoError, Secret};

/// A key for agreement: there is none.
pub(super) struct Agreement(Infallible);

/// A key for signatures: there is none.
pub(super) struct Signing(Infallible);

impl Agreement {
    pub(super) const fn new(_: &Secret<32>) -> Result<Self, CryptoError> {
        Err(CryptoError::Unsupported)
    }

    pub(super) const fn public(&self) -> [u8; 32] {
        match self.0 {}
    }

    pub(super) const fn agree(&self, _: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        match self.0 {}
    }
}

impl Signing {
    pub(super) const fn new(_: &Secret<32>) -> Result<Self, CryptoError> {
        Err(CryptoError::Unsupported)
    }

    pub(super) const fn public(&self) -> [u8; 32] {
        match self.0 {}
    }

    pub(super) const fn sign(&self, _: &[u8]) -> [u8; 64] {
        match self.0 {}
    }
}

pub(super) const fn verify(_: &[u8; 32], _: &[u8], _: &[u8; 64]) -> Result<(), CryptoError> {
    Err(CryptoError::Unsupported)
}
