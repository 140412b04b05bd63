//! Sealed records: the form in which anything of devices is on the bus.
//!
//! ```text
//! form 1 | epoch 4 | salt 16 | count 8 | AES-256-GCM of the record, with the 29 bytes before it
//! ```
//!
//! Each run of the program seals under keys of its own, made from a stream's key and a random salt; the count is the nonce.
//! So no nonce is used twice, also not after a restored copy, and the two together are a name that no other record has.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::keys::{KeyError, random};

/// The form written here. No record in clear begins with it: neither CBOR's maps nor the broker's records.
const FORM: u8 = 0xf1;
const SALT: usize = 16;
const CLEAR: usize = 1 + 4 + SALT + 8;
/// Keys of runs that are kept at hand.
const MOST_KEYS: usize = 64;

/// The name of a record on the bus: of which run, and the how manieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordId {
    pub(crate) run: [u8; SALT],
    pub(crate) count: u64,
}

/// Why bytes are not a record that can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// It is no sealed record.
    InClear,
    /// Its epoch's key is gone.
    NoKey,
    /// It was sealed with another key, or changed since.
    Tampered,
}

impl OpenError {
    /// For a person, with what to do.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::InClear => {
                "it is not sealed: an older version wrote it, and this one keeps nothing in clear; start with a new data directory"
            }
            Self::NoKey => "the key of its epoch was destroyed",
            Self::Tampered => {
                "it was changed, or sealed with another key; restore journal and keyring from the same backup"
            }
        }
    }
}

/// Seals records of one stream in one run under one epoch.
pub(crate) struct Sealer {
    key: LessSafeKey,
    epoch: u32,
    salt: [u8; SALT],
    count: AtomicU64,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    pub(crate) fn new(stream_key: &hmac::Key, epoch: u32) -> Result<Self, KeyError> {
        let salt = *random::<SALT>()?;
        Ok(Self {
            key: run_key(stream_key, salt)?,
            epoch,
            salt,
            count: AtomicU64::new(0),
        })
    }

    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The sealed form of a record.
    pub(crate) fn seal(&self, clear: &[u8]) -> Result<Vec<u8>, KeyError> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut out = Vec::with_capacity(CLEAR + clear.len() + AES_256_GCM.tag_len());
        out.push(FORM);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(clear);
        let (header, body) = out.split_at_mut(CLEAR);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(count), Aad::from(&*header), body)
            .map_err(|_| KeyError::Crypto("a record was not sealed"))?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }
}

/// The name of a record, and what is in it.
pub(crate) type Opened = (RecordId, Zeroizing<Vec<u8>>);

/// Whether bytes have the sealed form; what is inside is not looked at.
pub(crate) fn is_sealed(record: &[u8]) -> bool {
    record.first() == Some(&FORM) && record.len() >= CLEAR + AES_256_GCM.tag_len()
}

/// Opens records of one stream, whichever run sealed them.
#[derive(Default)]
pub(crate) struct Opener(Mutex<BTreeMap<(u32, [u8; SALT]), LessSafeKey>>);

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener")
    }
}

impl Opener {
    /// What is in a sealed record. `stream_key` is asked for the key of an epoch.
    pub(crate) fn open(
        &self,
        record: &[u8],
        stream_key: impl FnOnce(u32) -> Result<Option<hmac::Key>, KeyError>,
    ) -> Result<Result<Opened, OpenError>, KeyError> {
        let Some((epoch, run, count)) = parse(record) else {
            return Ok(Err(OpenError::InClear));
        };
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.contains_key(&(epoch, run)) {
            let Some(key) = stream_key(epoch)? else {
                return Ok(Err(OpenError::NoKey));
            };
            if keys.len() >= MOST_KEYS {
                keys.clear();
            }
            keys.insert((epoch, run), run_key(&key, run)?);
        }
        let Some(key) = keys.get(&(epoch, run)) else {
            return Ok(Err(OpenError::NoKey));
        };
        let (header, body) = record.split_at(CLEAR);
        let mut clear = Zeroizing::new(body.to_vec());
        let Ok(opened) = key.open_in_place(nonce(count), Aad::from(header), &mut clear) else {
            return Ok(Err(OpenError::Tampered));
        };
        let length = opened.len();
        clear.truncate(length);
        Ok(Ok((RecordId { run, count }, clear)))
    }

    /// Forgets the keys of epochs that are not `alive`.
    pub(crate) fn keep(&self, alive: impl Fn(u32) -> bool) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|(epoch, _), _| alive(*epoch));
    }
}

fn parse(record: &[u8]) -> Option<(u32, [u8; SALT], u64)> {
    if !is_sealed(record) {
        return None;
    }
    let (_, rest) = record.split_first()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (salt, rest) = rest.split_first_chunk()?;
    Some((
        u32::from_be_bytes(*epoch),
        *salt,
        u64::from_be_bytes(*rest.first_chunk()?),
    ))
}

/// The key of one run: one step of a key derivation (SP 800-108) with the salt for its context.
fn run_key(stream_key: &hmac::Key, salt: [u8; SALT]) -> Result<LessSafeKey, KeyError> {
    let mut input = *b"stockade bus run 1..............";
    if let Some(end) = input.last_chunk_mut::<SALT>() {
        *end = salt;
    }
    let key = hmac::sign(stream_key, &input);
    UnboundKey::new(&AES_256_GCM, key.as_ref())
        .map(LessSafeKey::new)
        .map_err(|_| KeyError::Crypto("no key for the bus"))
}

fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; 12];
    if let Some(end) = nonce.last_chunk_mut::<8>() {
        *end = count.to_be_bytes();
    }
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[7; 32])
    }

    #[test]
    fn what_is_sealed_is_opened_and_every_flipped_bit_is_noticed() {
        let (sealer, opener) = (Sealer::new(&key(), 3).unwrap(), Opener::default());
        let sealed = sealer.seal(b"22.5 degrees").unwrap();
        let open = |bytes: &[u8]| {
            opener
                .open(bytes, |epoch| Ok((epoch == 3).then(key)))
                .unwrap()
        };
        let (id, clear) = open(&sealed).unwrap();
        assert_eq!((id.count, clear.as_slice()), (0, &b"22.5 degrees"[..]));
        for bit in 0..sealed.len() * 8 {
            let mut other = sealed.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&other).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(&sealed[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(
            open(b"\xa8 a record in clear, long enough to be one of ours in sealed form")
                .unwrap_err(),
            OpenError::InClear
        );
        assert_eq!(
            sealer
                .seal(b"")
                .and_then(|it| opener.open(&it, |_| Ok(None)))
                .unwrap()
                .unwrap()
                .0
                .count,
            1
        );
    }
}
