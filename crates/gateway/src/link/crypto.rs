//! The link's cryptography at the gateway: aws-lc for hashes and curves, which is what a handshake costs.
//!
//! AES-CCM, which aws-lc-rs does not offer, and Ed25519, whose strict verification it does not, are those of the devices.

use std::fmt;

use aws_lc_rs::agreement::{
    self, ECDH_P256, ParsedPublicKey as AgreementKey, PrivateKey, UnparsedPublicKey, X25519,
};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
};
use aws_lc_rs::{digest, hmac};
use stockade_link::crypto::rust::{RustCrypto, RustKey};
use stockade_link::crypto::{Aead, Crypto, CryptoError, Curve, PublicKey, Secret, Y};

type Fill = fn(&mut [u8]) -> Result<(), CryptoError>;

/// The backend.
pub struct AwsLc {
    rust: RustCrypto<Fill>,
    /// The point of P-256 that was agreed with last, by its x-coordinate: a Responder agrees twice with `G_X`, and finding y is a
    /// square root.
    last: Option<([u8; 32], AgreementKey)>,
}

impl Default for AwsLc {
    fn default() -> Self {
        Self {
            rust: RustCrypto::new(fill),
            last: None,
        }
    }
}

impl AwsLc {
    /// The point with this x-coordinate; which of the two does not matter to the x-coordinate of a product (SEC 1, section 2.3.4).
    fn point(&mut self, x: &[u8; 32]) -> Result<AgreementKey, CryptoError> {
        if let Some((last, point)) = &self.last
            && last == x
        {
            return Ok(point.clone());
        }
        let mut bytes = [2; 33];
        if let Some((_, rest)) = bytes.split_first_mut() {
            rest.copy_from_slice(x);
        }
        let point = AgreementKey::try_from(UnparsedPublicKey::new(&ECDH_P256, bytes))
            .map_err(|_| CryptoError::BadPublicKey)?;
        self.last = Some((*x, point.clone()));
        Ok(point)
    }
}

impl fmt::Debug for AwsLc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsLc")
    }
}

/// A private key.
pub struct AwsKey(Key);

enum Key {
    /// With the same key for signatures, unless it is of one handshake only.
    P256(PrivateKey, Option<EcdsaKeyPair>),
    X25519(PrivateKey),
    Ed25519(RustKey),
}

impl fmt::Debug for AwsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsKey")
    }
}

impl AwsKey {
    /// The key of these bytes: for P-256 a number in range, big-endian.
    pub fn new(curve: Curve, bytes: &Secret<32>) -> Result<Self, CryptoError> {
        let unsupported = |_| CryptoError::Unsupported;
        Ok(Self(match curve {
            Curve::P256 => {
                let key = PrivateKey::from_private_key(&ECDH_P256, bytes.expose())
                    .map_err(unsupported)?;
                let public = key.compute_public_key().map_err(|_| CryptoError::Failed)?;
                let signing = EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    bytes.expose(),
                    public.as_ref(),
                )
                .map_err(unsupported)?;
                Key::P256(key, Some(signing))
            }
            Curve::X25519 => Key::X25519(
                PrivateKey::from_private_key(&X25519, bytes.expose()).map_err(unsupported)?,
            ),
            Curve::Ed25519 => Key::Ed25519(RustKey::new(curve, bytes)?),
        }))
    }

    /// Its public half.
    pub fn public(&self) -> Result<PublicKey, CryptoError> {
        let (Key::P256(key, _) | Key::X25519(key)) = &self.0 else {
            return match &self.0 {
                Key::Ed25519(key) => Ok(key.public()),
                Key::P256(..) | Key::X25519(_) => Err(CryptoError::Failed),
            };
        };
        let public = key.compute_public_key().map_err(|_| CryptoError::Failed)?;
        match public.as_ref() {
            [4, point @ ..] if point.len() == 64 => {
                let (x, y) = point.split_at(32);
                let whole = |half: &[u8]| half.try_into().map_err(|_| CryptoError::Failed);
                Ok(PublicKey::P256 {
                    x: whole(x)?,
                    y: Y::Full(whole(y)?),
                })
            }
            bytes => bytes
                .try_into()
                .map(PublicKey::X25519)
                .map_err(|_| CryptoError::Failed),
        }
    }
}

fn fill(out: &mut [u8]) -> Result<(), CryptoError> {
    aws_lc_rs::rand::fill(out).map_err(|_| CryptoError::Failed)
}

impl Crypto for AwsLc {
    type PrivateKey = AwsKey;

    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        fill(out)
    }

    fn sha256(&mut self, parts: &[&[u8]]) -> Result<[u8; 32], CryptoError> {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            hash.update(part);
        }
        (hash.finish().as_ref().try_into()).map_err(|_| CryptoError::Failed)
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> Result<Secret<32>, CryptoError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut mac = hmac::Context::with_key(&key);
        for part in parts {
            mac.update(part);
        }
        let tag = mac.sign().as_ref().try_into();
        tag.map(Secret::new).map_err(|_| CryptoError::Failed)
    }

    fn seal(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.rust.seal(aead, key, nonce, aad, buffer)
    }

    fn open(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.rust.open(aead, key, nonce, aad, buffer)
    }

    fn generate(&mut self, curve: Curve) -> Result<(AwsKey, [u8; 32]), CryptoError> {
        let generated =
            |algorithm| PrivateKey::generate(algorithm).map_err(|_| CryptoError::Failed);
        let key = AwsKey(match curve {
            Curve::P256 => Key::P256(generated(&ECDH_P256)?, None),
            Curve::X25519 => Key::X25519(generated(&X25519)?),
            Curve::Ed25519 => {
                let (key, public) = self.rust.generate(curve)?;
                return Ok((AwsKey(Key::Ed25519(key)), public));
            }
        });
        let (PublicKey::P256 { x: public, .. }
        | PublicKey::X25519(public)
        | PublicKey::Ed25519(public)) = key.public()?;
        Ok((key, public))
    }

    fn agree(&mut self, key: &AwsKey, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        // Off the curve, or of small order: aws-lc refuses both.
        let bad = CryptoError::BadPublicKey;
        let secret = |shared: &[u8]| {
            let shared = shared.try_into().map(Secret::new);
            shared.map_err(|_| CryptoError::Failed)
        };
        match &key.0 {
            Key::P256(key, _) => {
                let point = self.point(peer)?;
                agreement::agree(key, point, bad, secret)
            }
            Key::X25519(key) => {
                agreement::agree(key, UnparsedPublicKey::new(&X25519, peer), bad, secret)
            }
            Key::Ed25519(_) => Err(CryptoError::Unsupported),
        }
    }

    fn sign(&mut self, key: &AwsKey, message: &[u8]) -> Result<[u8; 64], CryptoError> {
        match &key.0 {
            Key::P256(_, Some(key)) => key
                .sign(&SystemRandom::new(), message)
                .ok()
                .and_then(|signature| signature.as_ref().try_into().ok())
                .ok_or(CryptoError::Failed),
            Key::Ed25519(key) => self.rust.sign(key, message),
            Key::P256(_, None) | Key::X25519(_) => Err(CryptoError::Unsupported),
        }
    }

    fn verify(
        &mut self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        let PublicKey::P256 { x, y } = key else {
            return self.rust.verify(key, message, signature);
        };
        let (form, y) = match y {
            Y::Full(y) => (4, y.as_slice()),
            Y::Odd(odd) => (2 + u8::from(*odd), [].as_slice()),
            Y::Unknown => return Err(CryptoError::BadPublicKey),
        };
        let point = [&[form], x.as_slice(), y].concat();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .map_err(|_| CryptoError::BadPublicKey)?
            .verify_sig(message, signature)
            .map_err(|_| CryptoError::NotAuthentic)
    }
}

#[cfg(test)]
#[path = "../../../link/tests/link/backend.rs"]
mod backend;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_is_right() {
        backend::holds(&mut AwsLc::default(), AwsKey::new, |key| {
            key.public().unwrap()
        });
    }
}
