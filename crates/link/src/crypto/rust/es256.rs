//! ES256 (RFC 9053, section 2.1), of hashed messages.

use p256::AffinePoint;
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::point::AffineCoordinates as _;

use crate::crypto::{CryptoError, Y};

pub(super) fn sign(key: &p256::SecretKey, hash: &[u8; 32]) -> Result<[u8; 64], CryptoError> {
    let signature: Signature = SigningKey::from(key)
        .sign_prehash(hash)
        .map_err(|_| CryptoError::Failed)?;
    Ok(signature.to_bytes().into())
}

pub(super) fn verify(
    x: &[u8; 32],
    y: &Y,
    hash: &[u8; 32],
    signature: &[u8; 64],
) -> Result<(), CryptoError> {
    let point = match y {
        Y::Full(y) => AffinePoint::from_coordinates(&(*x).into(), &(*y).into())
            .into_option()
            .ok_or(CryptoError::BadPublicKey)?,
        Y::Odd(odd) => super::decompress(x, *odd)?,
        Y::Unknown => return Err(CryptoError::BadPublicKey),
    };
    let key = VerifyingKey::from_affine(point).map_err(|_| CryptoError::BadPublicKey)?;
    let signature = Signature::from_slice(signature).map_err(|_| CryptoError::NotAuthentic)?;
    key.verify_prehash(hash, &signature)
        .map_err(|_| CryptoError::NotAuthentic)
}
