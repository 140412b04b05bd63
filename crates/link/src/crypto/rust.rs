//! The backend in Rust, by the `RustCrypto` crates and the dalek curves: for every processor.

use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::AffinePoint;
use p256::elliptic_curve::point::{AffineCoordinates as _, DecompressPoint as _};
use p256::elliptic_curve::subtle::Choice;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

mod ccm;
#[cfg_attr(not(feature = "curve25519"), path = "rust/without_curve25519.rs")]
mod curve25519;
#[cfg_attr(not(feature = "signatures"), path = "rust/without_es256.rs")]
mod es256;

use super::{Aead, Crypto, CryptoError, Curve, PublicKey, Secret, Y};

/// The backend; the caller's function fills buffers with random bytes.
pub struct RustCrypto<R> {
    random: R,
}

impl<R: FnMut(&mut [u8]) -> Result<(), CryptoError>> RustCrypto<R> {
    /// With this source of randomness, which must be fit for keys.
    pub const fn new(random: R) -> Self {
        Self { random }
    }
}

impl<R> fmt::Debug for RustCrypto<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RustCrypto")
    }
}

/// A private key in memory, wiped when dropped.
pub struct RustKey(Key);

enum Key {
    P256(p256::SecretKey),
    X25519(curve25519::Agreement),
    Ed25519(curve25519::Signing),
}

impl fmt::Debug for RustKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RustKey")
    }
}

impl RustKey {
    /// The key of these bytes: for P-256 a number in range, big-endian.
    pub fn new(curve: Curve, bytes: &Secret<32>) -> Result<Self, CryptoError> {
        Ok(Self(match curve {
            Curve::P256 => p256::SecretKey::from_slice(bytes.expose())
                .map(Key::P256)
                .map_err(|_| CryptoError::Unsupported)?,
            Curve::X25519 => Key::X25519(curve25519::Agreement::new(bytes)?),
            Curve::Ed25519 => Key::Ed25519(curve25519::Signing::new(bytes)?),
        }))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        match &self.0 {
            Key::P256(key) => {
                let point = *key.public_key().as_affine();
                PublicKey::P256 {
                    x: point.x().into(),
                    y: Y::Full(point.y().into()),
                }
            }
            Key::X25519(key) => PublicKey::X25519(key.public()),
            Key::Ed25519(key) => PublicKey::Ed25519(key.public()),
        }
    }
}

impl<R: FnMut(&mut [u8]) -> Result<(), CryptoError>> Crypto for RustCrypto<R> {
    type PrivateKey = RustKey;

    const SIGNATURES: bool = cfg!(any(feature = "signatures", feature = "curve25519"));

    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        (self.random)(out)
    }

    fn sha256(&mut self, parts: &[&[u8]]) -> Result<[u8; 32], CryptoError> {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Ok(hash.finalize().into())
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> Result<Secret<32>, CryptoError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| CryptoError::Length)?;
        for part in parts {
            mac.update(part);
        }
        Ok(Secret::new(mac.finalize().into_bytes().into()))
    }

    fn seal(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError> {
        let (text, tag) = split(aead, buffer)?;
        let made = ccm::apply((aead, key, nonce), aad, text, false)?;
        for (byte, made) in tag.iter_mut().zip(made) {
            *byte = made;
        }
        Ok(())
    }

    fn open(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError> {
        let (text, tag) = split(aead, buffer)?;
        let made = ccm::apply((aead, key, nonce), aad, text, true)?;
        let made = made.get(..tag.len()).ok_or(CryptoError::Length)?;
        if bool::from(made.ct_eq(tag)) {
            return Ok(());
        }
        text.fill(0);
        Err(CryptoError::NotAuthentic)
    }

    fn generate(&mut self, curve: Curve) -> Result<(RustKey, [u8; 32]), CryptoError> {
        // Of the numbers of 256 bits, one in 2^32 is out of the range of P-256; more than a few in a row is a broken source.
        for _ in 0..4 {
            let mut bytes = Secret::new([0; 32]);
            self.random(bytes.expose_mut())?;
            if let Ok(key) = RustKey::new(curve, &bytes) {
                let (PublicKey::P256 { x: public, .. }
                | PublicKey::X25519(public)
                | PublicKey::Ed25519(public)) = key.public();
                return Ok((key, public));
            }
        }
        Err(CryptoError::Failed)
    }

    fn agree(&mut self, key: &RustKey, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        match &key.0 {
            Key::P256(key) => {
                // The sign of y does not matter to the x-coordinate of the product.
                let point = decompress(peer, false)?;
                let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), point);
                Ok(Secret::new((*shared.raw_secret_bytes()).into()))
            }
            Key::X25519(key) => key.agree(peer),
            Key::Ed25519(_) => Err(CryptoError::Unsupported),
        }
    }

    fn sign(&mut self, key: &RustKey, message: &[u8]) -> Result<[u8; 64], CryptoError> {
        match &key.0 {
            Key::P256(key) => {
                let hash = self.sha256(&[message])?;
                es256::sign(key, &hash)
            }
            Key::Ed25519(key) => Ok(key.sign(message)),
            Key::X25519(_) => Err(CryptoError::Unsupported),
        }
    }

    fn verify(
        &mut self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        match key {
            PublicKey::P256 { x, y } => {
                let hash = self.sha256(&[message])?;
                es256::verify(x, y, &hash, signature)
            }
            PublicKey::Ed25519(key) => curve25519::verify(key, message, signature),
            PublicKey::X25519(_) => Err(CryptoError::Unsupported),
        }
    }
}

fn split(aead: Aead, buffer: &mut [u8]) -> Result<(&mut [u8], &mut [u8]), CryptoError> {
    let text = buffer
        .len()
        .checked_sub(aead.tag_length())
        .ok_or(CryptoError::Length)?;
    buffer.split_at_mut_checked(text).ok_or(CryptoError::Length)
}

fn decompress(x: &[u8; 32], odd: bool) -> Result<AffinePoint, CryptoError> {
    AffinePoint::decompress(&(*x).into(), Choice::from(u8::from(odd)))
        .into_option()
        .ok_or(CryptoError::BadPublicKey)
}
