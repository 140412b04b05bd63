//! The cryptography that EDHOC, OSCORE and grants rest on, behind one trait.
//!
//! Every operation may fail: a point may be off its curve, a secure element may be busy. Private keys are handles, so that
//! one that never leaves its element fits.

#[cfg(feature = "rustcrypto")]
pub mod rust;

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that are wiped when they are dropped, never printed and never compared with `==`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// These bytes, kept secret from here on.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves: to compute with, not to show.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// To be filled in place.
    pub const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why an operation gave nothing. Peers are never told which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CryptoError {
    /// A public key is no point of its curve, is of small order, or gives the shared secret zero.
    BadPublicKey,
    /// A tag or a signature is not right.
    NotAuthentic,
    /// This backend does not know the algorithm, or the key is of another one.
    Unsupported,
    /// A buffer has the wrong length: a mistake of ours.
    Length,
    /// The backend itself failed: no randomness, a hardware fault, a busy element.
    Failed,
}

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadPublicKey => "the public key is no valid point",
            Self::NotAuthentic => "the tag or signature is not right",
            Self::Unsupported => "the algorithm is not supported",
            Self::Length => "a buffer has the wrong length",
            Self::Failed => "the cryptographic backend failed",
        })
    }
}

impl core::error::Error for CryptoError {}

/// An elliptic curve for key agreement or signatures (COSE elliptic curves, RFC 9053).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256; ECDH, and ES256.
    P256,
    /// X25519; ECDH.
    X25519,
    /// Ed25519; `EdDSA`.
    Ed25519,
}

/// A public key, as bytes that nobody has checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// A point of P-256 by its x-coordinate; `y` where it is known, which signatures need.
    P256 {
        /// The x-coordinate, big-endian.
        x: [u8; 32],
        /// The y-coordinate or its sign.
        y: Y,
    },
    /// An X25519 public key (RFC 7748).
    X25519([u8; 32]),
    /// An Ed25519 public key (RFC 8032).
    Ed25519([u8; 32]),
}

/// What is known of the y-coordinate of a point (RFC 9053, section 7.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Y {
    /// Nothing: enough for key agreement.
    Unknown,
    /// Its sign bit: whether it is odd.
    Odd(bool),
    /// All of it, big-endian.
    Full([u8; 32]),
}

/// An AEAD of the suites (RFC 9053, section 4.2): 128-bit keys, 13-byte nonces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aead {
    /// AES-CCM-16-64-128, COSE 10: a tag of 8 bytes.
    Ccm16Tag64,
    /// AES-CCM-16-128-128, COSE 30: a tag of 16 bytes.
    Ccm16Tag128,
}

impl Aead {
    /// Bytes of the tag.
    pub const fn tag_length(self) -> usize {
        match self {
            Self::Ccm16Tag64 => 8,
            Self::Ccm16Tag128 => 16,
        }
    }

    /// The number of the algorithm in COSE.
    pub const fn cose(self) -> i8 {
        match self {
            Self::Ccm16Tag64 => 10,
            Self::Ccm16Tag128 => 30,
        }
    }
}

/// Cryptography. Implementations check what they are given: points, tags, lengths.
pub trait Crypto {
    /// A private key: its bytes, or a name for one that never leaves its element. Wiped when dropped.
    type PrivateKey;

    /// Whether it knows any signature: where not, a program has nothing of what comes before one.
    const SIGNATURES: bool = true;

    /// Fills `out` from a cryptographic random source.
    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError>;

    /// SHA-256 of the parts, one after the other.
    fn sha256(&mut self, parts: &[&[u8]]) -> Result<[u8; 32], CryptoError>;

    /// HMAC-SHA-256 of the parts, one after the other.
    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> Result<Secret<32>, CryptoError>;

    /// Encrypts in place: `buffer` is the plaintext with room for the tag behind it.
    fn seal(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError>;

    /// Decrypts in place: `buffer` is the ciphertext with its tag; the plaintext is what is before the tag. On an error
    /// nothing of the plaintext is left in it.
    fn open(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError>;

    /// A new ephemeral key for key agreement: its private half, and the public one (of P-256 the x-coordinate).
    fn generate(&mut self, curve: Curve) -> Result<(Self::PrivateKey, [u8; 32]), CryptoError>;

    /// The shared secret with a peer's public key (of P-256 the x-coordinate). A key that is no point, or of small order, is refused.
    fn agree(&mut self, key: &Self::PrivateKey, peer: &[u8; 32])
    -> Result<Secret<32>, CryptoError>;

    /// A signature of `message`: ES256 as r and s (RFC 9053, section 2.1), or Ed25519 (section 2.2), as the key is.
    fn sign(&mut self, key: &Self::PrivateKey, message: &[u8]) -> Result<[u8; 64], CryptoError>;

    /// Whether `signature` is the key's owner's.
    fn verify(
        &mut self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError>;

    /// HKDF-Extract with SHA-256 (RFC 5869, section 2.2).
    fn hkdf_extract(&mut self, salt: &[u8], secret: &[u8]) -> Result<Secret<32>, CryptoError> {
        self.hmac_sha256(salt, &[secret])
    }

    /// HKDF-Expand with SHA-256 (RFC 5869, section 2.3) into all of `out`, at most 255 hashes long.
    fn hkdf_expand(
        &mut self,
        key: &Secret<32>,
        info: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        out.fill(0);
        self.hkdf_mask(key, info, out)
    }

    /// As [`Crypto::hkdf_expand`], but exclusive-ors its output with `out`: a stream cipher.
    fn hkdf_mask(
        &mut self,
        key: &Secret<32>,
        info: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        /// Parts of the info, with the block before and the counter.
        const PARTS: usize = 8;
        let mut before: Option<Secret<32>> = None;
        for (index, chunk) in out.chunks_mut(32).enumerate() {
            let counter = u8::try_from(index)
                .ok()
                .and_then(|index| index.checked_add(1))
                .ok_or(CryptoError::Length)?;
            let counter = [counter];
            let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
            let all = before
                .iter()
                .map(|block| block.expose().as_slice())
                .chain(info.iter().copied())
                .chain([counter.as_slice()]);
            let mut count = 0_usize;
            for part in all {
                *parts.get_mut(count).ok_or(CryptoError::Length)? = part;
                count = count.saturating_add(1);
            }
            let parts = parts.get(..count).ok_or(CryptoError::Length)?;
            let block = self.hmac_sha256(key.expose(), parts)?;
            for (byte, mask) in chunk.iter_mut().zip(block.expose()) {
                *byte ^= mask;
            }
            before = Some(block);
        }
        Ok(())
    }
}
