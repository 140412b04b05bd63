//! Sealing for readers: HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The vault has
//! no key that opens what it stores.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{Hpke as _, HpkePublicKey};
use stockade_profile::ReaderName;
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use zeroize::Zeroizing;

use super::{Dropped, Treating};
use crate::keys::push_with_length;
use crate::value::{Fields, Value};

/// What the application's part of the key schedule begins with (RFC 9180 §5.1).
const INFO: &[u8] = b"stockade vault seal 1";
/// Nenc of DHKEM(X25519, HKDF-SHA256) (RFC 9180 §7.1).
const ENC: usize = 32;
/// Nt of AES-256-GCM (RFC 9180 §7.3).
const TAG: usize = 16;
/// What a device that seals by itself puts around the readers' envelopes.
const SEALED: &str = "sealed";

/// Why a text is not a reader's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an X25519 public key: 32 bytes in base64, or PEM of a SubjectPublicKeyInfo (openssl genpkey -algorithm X25519, then openssl pkey -pubout)"
)]
pub struct ReaderKeyError;

/// A reader's public key.
#[derive(Clone, PartialEq, Eq)]
pub struct ReaderKey([u8; ENC]);

impl fmt::Debug for ReaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReaderKey({self})")
    }
}

impl fmt::Display for ReaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl ReaderKey {
    /// `SubjectPublicKeyInfo` of X25519 up to the key (RFC 8410 §4).
    const SPKI: &[u8] = &[
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00,
    ];

    /// Reads base64 of the key itself, or PEM of its `SubjectPublicKeyInfo`. A key that would give everybody the same
    /// secret is refused (RFC 7748 §6.1).
    pub fn parse(text: &str) -> Result<Self, ReaderKeyError> {
        let body: String = text
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .map(str::trim)
            .collect();
        let bytes = STANDARD.decode(body).map_err(|_| ReaderKeyError)?;
        let key = bytes.strip_prefix(Self::SPKI).unwrap_or(&bytes);
        let key = Self(key.try_into().map_err(|_| ReaderKeyError)?);
        key.seal(&[], &[]).map(|_| key).ok_or(ReaderKeyError)
    }

    /// Its bytes, as they are stored.
    pub const fn as_bytes(&self) -> &[u8; ENC] {
        &self.0
    }

    /// `SealBase` (RFC 9180 §6.1): the encapsulated key, then the ciphertext.
    fn seal(&self, info: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let key = HpkePublicKey(self.0.to_vec());
        let (enc, sealed) = DH_KEM_X25519_HKDF_SHA256_AES_256
            .seal(info, &[], plain, &key)
            .ok()?;
        Some([enc.0, sealed].concat())
    }
}

/// Where the readers' keys are.
pub trait Readers: fmt::Debug {
    /// The reader's key, for this device.
    fn key(&self, reader: &ReaderName, device: &str) -> Option<ReaderKey>;
}

/// The same keys for all devices.
impl Readers for BTreeMap<ReaderName, ReaderKey> {
    fn key(&self, reader: &ReaderName, _: &str) -> Option<ReaderKey> {
        self.get(reader).cloned()
    }
}

/// Readers' keys by reader, a zero byte and the device, which is empty for all devices.
const READERS: Table = Table::new("vault.readers");

/// The readers that the operator has named. They are asked for at each field to be sealed: to seal takes longer.
#[derive(Debug, Clone, Copy)]
pub struct StoredReaders<'a>(pub &'a dyn Store);

/// A device's own reader goes before that of all.
impl Readers for StoredReaders<'_> {
    fn key(&self, reader: &ReaderName, device: &str) -> Option<ReaderKey> {
        // What can not be read is no key: the field is withheld, and counted.
        let of = |device| {
            let key = self.0.get(READERS, &Self::name(reader, device)).ok()??;
            Some(ReaderKey(key.try_into().ok()?))
        };
        of(device).or_else(|| of(""))
    }
}

impl StoredReaders<'_> {
    /// All there are: the reader, the device that it is for if it is for one, and its key.
    pub fn all(&self) -> Result<Vec<(String, Option<String>, ReaderKey)>, StoreError> {
        let read = |(name, key): (Vec<u8>, Vec<u8>)| {
            let name = String::from_utf8(name).ok()?;
            let (reader, device) = name.split_once('\0')?;
            let device = (!device.is_empty()).then(|| device.to_owned());
            Some((reader.to_owned(), device, ReaderKey(key.try_into().ok()?)))
        };
        let stored = self.0.scan(READERS, Scan::all())?;
        Ok(stored.into_iter().filter_map(read).collect())
    }

    /// Stores a reader's key, or takes it back. What was sealed for it stays sealed for it.
    pub fn put(
        &self,
        reader: &ReaderName,
        device: Option<&str>,
        key: Option<&ReaderKey>,
    ) -> Result<(), StoreError> {
        let name = Self::name(reader, device.unwrap_or_default());
        let mut batch = Batch::new();
        match key {
            Some(key) => batch.put(READERS, name, key.0),
            None => batch.delete(READERS, name),
        };
        self.0.commit(batch)
    }

    fn name(reader: &ReaderName, device: &str) -> Vec<u8> {
        [reader.as_str().as_bytes(), &[0], device.as_bytes()].concat()
    }
}

impl Treating<'_> {
    /// An envelope for each reader that has a key. What the device has sealed itself passes as it is.
    pub(super) fn seal(
        self,
        field: &str,
        value: &Value,
        readers: &[ReaderName],
    ) -> Result<Value, Dropped> {
        if let Value::Map(fields) = value
            && fields.len() == 1
            && let Some(Value::Map(envelopes)) = fields.get(SEALED)
        {
            let sealed = sealed_by_device(envelopes, readers);
            return sealed.map(Value::Map).ok_or(Dropped::WrongShape);
        }
        let mut plain = Zeroizing::new(Vec::with_capacity(256));
        ciborium::into_writer(value, &mut *plain).map_err(|_| Dropped::WrongShape)?;
        let info = seal_info(&self.keys.schema, field);
        let envelopes: Fields = readers
            .iter()
            .filter_map(|reader| {
                let key = self.readers.key(reader, self.device)?;
                Some((reader.to_string(), Value::Bytes(key.seal(&info, &plain)?)))
            })
            .collect();
        if envelopes.is_empty() {
            return Err(Dropped::Sealed);
        }
        Ok(Value::Map(envelopes))
    }
}

/// What a reader opens a field with, as `info`: an envelope of one field does not pass for another's. The additional
/// data is empty.
#[must_use]
pub fn seal_info(schema: &str, field: &str) -> Vec<u8> {
    let mut info = INFO.to_vec();
    push_with_length(&mut info, schema.as_bytes());
    push_with_length(&mut info, field.as_bytes());
    info
}

/// Envelopes for readers of the profile only, and long enough to be some. Whether they open, only a reader can tell.
fn sealed_by_device(envelopes: &Fields, readers: &[ReaderName]) -> Option<Fields> {
    let envelope = |(reader, value): (&String, &Value)| {
        readers.iter().find(|known| known.as_str() == reader)?;
        let bytes = match value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Text(text) => STANDARD.decode(text).ok()?,
            _ => return None,
        };
        (bytes.len() > ENC + TAG).then_some((reader.clone(), Value::Bytes(bytes)))
    };
    let taken: Fields = envelopes.iter().map(envelope).collect::<Option<_>>()?;
    (!taken.is_empty()).then_some(taken)
}
