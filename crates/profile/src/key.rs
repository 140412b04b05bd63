//! Ed25519 keys (RFC 8032) for signing profiles, in the files that openssl reads and writes.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// RFC 8410 §4: the `SubjectPublicKeyInfo` of an Ed25519 key, up to the key's 32 bytes.
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const KEY_BYTES: usize = 32;
/// Far more than either key file has.
const MAX_PEM: usize = 4_096;
/// RFC 7468 §2: lines of 64 characters.
const PEM_LINE: usize = 64;

/// Why a key can not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file is not PEM with this label.
    #[error("this is not a PEM file with BEGIN {0}")]
    Pem(&'static str),
    /// The key is not an Ed25519 key.
    #[error("this is not an Ed25519 key")]
    Algorithm,
    /// The source of randomness failed.
    #[error("the system gives no randomness")]
    Randomness,
    /// The library refused to work.
    #[error("the cryptographic library failed")]
    Library,
}

/// The name of a key: the first eight bytes of the SHA-256 of the public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub(crate) [u8; 8]);

impl KeyId {
    fn of(public: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, public);
        let mut id = [0; 8];
        id.iter_mut()
            .zip(digest.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(id)
    }

    /// The eight bytes, as a signature carries them.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A private key; it can be neither copied nor printed, and the library wipes it.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

impl SigningKey {
    /// Makes a new key from randomness.
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        random
            .fill(seed.as_mut())
            .map_err(|_| KeyError::Randomness)?;
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref())
            .map(Self)
            .map_err(|_| KeyError::Library)
    }

    /// Reads a PKCS#8 file, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = from_pem(PRIVATE, pem)?;
        // RFC 5958 §2 lets the public key be left out, and openssl does.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map(Self)
            .map_err(|_| KeyError::Algorithm)
    }

    /// The key as a PKCS#8 file (RFC 8410 §7); wiped when it is dropped.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        // Version 1: openssl 3.0 does not read version 2.
        let der = self.0.to_pkcs8v1().map_err(|_| KeyError::Library)?;
        Ok(to_pem(PRIVATE, der.as_ref()))
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut public = [0; KEY_BYTES];
        public
            .iter_mut()
            .zip(self.0.public_key().as_ref())
            .for_each(|(to, from)| *to = *from);
        VerifyingKey(public)
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        KeyId::of(self.0.public_key().as_ref())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// A public key that profiles are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey([u8; KEY_BYTES]);

impl VerifyingKey {
    /// Reads a `SubjectPublicKeyInfo` file, as `openssl pkey -pubout` writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = from_pem(PUBLIC, pem)?;
        let key = der.strip_prefix(&SPKI).ok_or(KeyError::Algorithm)?;
        key.try_into().map(Self).map_err(|_| KeyError::Algorithm)
    }

    /// The key as a `SubjectPublicKeyInfo` file.
    pub fn to_pem(&self) -> String {
        let der = [SPKI.as_slice(), &self.0].concat();
        to_pem(PUBLIC, &der).to_string()
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.0)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

/// The one block of a PEM file (RFC 7468 §3, the lax form for line ends only).
fn from_pem(label: &'static str, pem: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let wrong = KeyError::Pem(label);
    if pem.len() > MAX_PEM {
        return Err(wrong);
    }
    let (_, rest) = pem
        .split_once(&format!("-----BEGIN {label}-----"))
        .ok_or(wrong)?;
    let (body, _) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or(wrong)?;
    // With room for all of it: a buffer that grows would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(body.len()));
    text.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
    STANDARD
        .decode(text.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| wrong)
}

fn to_pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::with_capacity(MAX_PEM));
    for part in ["-----BEGIN ", label, "-----\n"] {
        pem.push_str(part);
    }
    let mut line = 0_usize;
    for c in body.chars() {
        if line == PEM_LINE {
            pem.push('\n');
            line = 0;
        }
        pem.push(c);
        line = line.saturating_add(1);
    }
    for part in ["\n-----END ", label, "-----\n"] {
        pem.push_str(part);
    }
    pem
}
