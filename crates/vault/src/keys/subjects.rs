//! The subjects' own keys, as they are in memory and as a row of the store.
//!
//! ```text
//! version 1 | epoch 4 | commitment 32 | nonce 12 | AES-256-GCM of data key 32 and secret 32, with its tag 16
//! ```

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keyring::Epoch;
use super::root::Installation;
use super::{KEY_BYTES, KeyError, Secret, constant_eq, expand, random};

const VERSION: u8 = 1;
const CLEAR: usize = 1 + 4 + KEY_BYTES;
const NONCE: usize = 12;
const ROW: usize = CLEAR + NONCE + 2 * KEY_BYTES + 16;

/// A subject inside the vault: random, made when its device is first seen. It names nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectId([u8; 16]);

impl SubjectId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(super) fn new() -> Result<Self, KeyError> {
        Ok(Self(*random()?))
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One subject's keys. Gone with the subject: then nothing of it can be read, and no pseudonym of it made again.
pub struct SubjectKeys {
    /// Which subject.
    pub id: SubjectId,
    /// What its keys are known by: stored beside what is sealed by them, and checked before they are used.
    pub commitment: [u8; KEY_BYTES],
    pub(super) data: Secret,
    pub(super) secret: Secret,
}

impl fmt::Debug for SubjectKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKeys({})", self.id)
    }
}

impl SubjectKeys {
    pub(super) fn make(id: SubjectId) -> Result<Self, KeyError> {
        Self::of(id, Secret(random()?), Secret(random()?))
    }

    fn of(id: SubjectId, data: Secret, secret: Secret) -> Result<Self, KeyError> {
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &*data);
        let commitment = *expand(&prk, &[b"commitment", id.as_bytes(), &*secret])?;
        Ok(Self {
            id,
            commitment,
            data,
            secret,
        })
    }

    /// A key of this subject for one thing, such as a block: HKDF-Expand of the data key (RFC 5869 §2.3).
    pub fn derive(&self, parts: &[&[u8]]) -> Result<Secret, KeyError> {
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &*self.data);
        let mut info = vec![b"data".as_slice()];
        info.extend_from_slice(parts);
        expand(&prk, &info)
    }

    /// What goes into each pseudonym of this subject, so that nobody makes it again when the subject is erased.
    pub fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }

    /// What stands for this subject where its id must not be: nobody can tell whose it was once it is erased.
    pub fn commit(&self, what: &[u8]) -> Result<[u8; KEY_BYTES], KeyError> {
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &*self.secret);
        Ok(*expand(&prk, &[b"commit", what])?)
    }
}

/// Wraps the subjects' keys of one epoch.
pub(super) struct Wrapper {
    pub(super) epoch: u32,
    installation: Installation,
    key: LessSafeKey,
}

impl Wrapper {
    pub(super) fn new(epoch: &Epoch, installation: Installation) -> Result<Self, KeyError> {
        let key = UnboundKey::new(&AES_256_GCM, &epoch.kek)
            .map_err(|_| KeyError::Crypto("no key for the epoch"))?;
        Ok(Self {
            epoch: epoch.number,
            installation,
            key: LessSafeKey::new(key),
        })
    }

    /// The row. Nonces are random: an epoch wraps far fewer than 2^32 rows (SP 800-38D §8.3).
    pub(super) fn wrap(&self, keys: &SubjectKeys) -> Result<Vec<u8>, KeyError> {
        let mut row = Vec::with_capacity(ROW);
        row.push(VERSION);
        row.extend_from_slice(&self.epoch.to_be_bytes());
        row.extend_from_slice(&keys.commitment);
        let aad = self.aad(keys.id, &row);
        let nonce = random::<NONCE>()?;
        let mut inner = Zeroizing::new([0; 2 * KEY_BYTES]);
        let (data, secret) = inner.split_at_mut(KEY_BYTES);
        data.copy_from_slice(&*keys.data);
        secret.copy_from_slice(&*keys.secret);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(aad),
                &mut *inner,
            )
            .map_err(|_| KeyError::Crypto("a subject's keys were not wrapped"))?;
        row.extend_from_slice(&*nonce);
        row.extend_from_slice(&*inner);
        row.extend_from_slice(tag.as_ref());
        Ok(row)
    }

    /// The keys in the row of this subject; `None` if it is damaged, or of another epoch.
    pub(super) fn unwrap(&self, id: SubjectId, row: &[u8]) -> Option<SubjectKeys> {
        if row.len() != ROW || epoch_of(row)? != self.epoch {
            return None;
        }
        let (clear, sealed) = row.split_at_checked(CLEAR)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let mut inner = Zeroizing::new(sealed.to_vec());
        let plain = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(self.aad(id, clear)),
                &mut inner,
            )
            .ok()?;
        let (data, secret) = plain.split_first_chunk::<KEY_BYTES>()?;
        let secret = secret.first_chunk::<KEY_BYTES>()?;
        let [data, secret] = [data, secret].map(|key| Secret(Zeroizing::new(*key)));
        let keys = SubjectKeys::of(id, data, secret).ok()?;
        constant_eq(&keys.commitment, clear.last_chunk::<KEY_BYTES>()?).then_some(keys)
    }

    fn aad(&self, id: SubjectId, clear: &[u8]) -> Vec<u8> {
        [&self.installation, id.as_bytes().as_slice(), clear].concat()
    }
}

/// The epoch of a row; `None` if it is not a row of this version.
pub(super) fn epoch_of(row: &[u8]) -> Option<u32> {
    let rest = row.strip_prefix(&[VERSION])?;
    Some(u32::from_be_bytes(*rest.first_chunk()?))
}

/// What was used last, in two halves: when the younger is full it becomes the older, and what nobody asked for is forgotten.
pub(super) struct Cache<K, V> {
    young: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
}

/// Subjects in one half of a cache: some 10 MB.
const HALF: usize = 32_768;

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.put(key.clone(), value.clone());
        Some(value)
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}
