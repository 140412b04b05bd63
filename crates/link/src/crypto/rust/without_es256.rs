//! What stands in for ES256 where a device saves its flash: nothing is signed, and no signature is right.

use crate::crypto::{CryptoError, Y};

pub(super) const fn sign(_: &p256::SecretKey, _: &[u8; 32]) -> Result<[u8; 64], CryptoError> {
    Err(CryptoError::Unsupported)
}

pub(super) const fn verify(
    _: &[u8; 32],
    _: &Y,
    _: &[u8; 32],
    _: &[u8; 64],
) -> Result<(), CryptoError> {
    Err(CryptoError::Unsupported)
}
