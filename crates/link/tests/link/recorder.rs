//! The backend in Rust, which notes what it was asked.

use stockade_link::crypto::{
    Aead, Crypto, CryptoError, Curve, PublicKey, Secret,
    rust::{RustCrypto, RustKey},
};

/// A generator of a fixed seed, where chance need not be one.
pub(crate) type Chance = fn(&mut [u8]) -> Result<(), CryptoError>;

/// An operation of an AEAD.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sealed {
    pub(crate) key: [u8; 16],
    pub(crate) nonce: [u8; 13],
    pub(crate) aad: Vec<u8>,
    /// The plaintext, with room for the tag.
    pub(crate) buffer: Vec<u8>,
}

pub(crate) struct Recorder {
    inner: RustCrypto<Chance>,
    drawn: u8,
    /// The parts of each HMAC, and what came out.
    pub(crate) macs: Vec<(Vec<u8>, [u8; 32])>,
    pub(crate) sealed: Vec<Sealed>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            inner: RustCrypto::new(|_| Err(CryptoError::Failed)),
            drawn: 0,
            macs: Vec::new(),
            sealed: Vec::new(),
        }
    }
}

impl Crypto for Recorder {
    type PrivateKey = RustKey;

    /// Never the same twice in a test, and the same in each run.
    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.drawn = self.drawn.wrapping_add(1);
        let hash = self.inner.sha256(&[b"chance", &[self.drawn]])?;
        for (place, byte) in out.iter_mut().zip(hash) {
            *place = byte;
        }
        Ok(())
    }

    fn sha256(&mut self, parts: &[&[u8]]) -> Result<[u8; 32], CryptoError> {
        self.inner.sha256(parts)
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> Result<Secret<32>, CryptoError> {
        let mac = self.inner.hmac_sha256(key, parts)?;
        self.macs.push((parts.concat(), *mac.expose()));
        Ok(mac)
    }

    fn seal(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.sealed.push(Sealed {
            key: *key,
            nonce: *nonce,
            aad: aad.to_vec(),
            buffer: buffer.to_vec(),
        });
        self.inner.seal(aead, key, nonce, aad, buffer)
    }

    fn open(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.inner.open(aead, key, nonce, aad, buffer)
    }

    fn generate(&mut self, curve: Curve) -> Result<(RustKey, [u8; 32]), CryptoError> {
        self.inner.generate(curve)
    }

    fn agree(&mut self, key: &RustKey, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        self.inner.agree(key, peer)
    }

    fn sign(&mut self, key: &RustKey, message: &[u8]) -> Result<[u8; 64], CryptoError> {
        self.inner.sign(key, message)
    }

    fn verify(
        &mut self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        self.inner.verify(key, message, signature)
    }
}
