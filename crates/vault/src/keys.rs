//! The key of the pseudonyms, and the pseudonyms.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::{hkdf, hmac};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use stockade_profile::Scope;
use zeroize::Zeroizing;

use crate::value::Value;

const FILE: &str = "vault-pseudonyms.key";
const HEADER: &str = "stockade vault pseudonym key 1\n";
const KEY_BYTES: usize = 32;
/// Length of a pseudonym before it is written in hex: 128 bits, so that two values meet by chance about never.
const PSEUDONYM_BYTES: usize = 16;

/// Why the vault has no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refused.
    #[error("cannot use the vault's key: {0}")]
    Io(#[from] io::Error),
    /// The file is not a key, or others can read it.
    #[error("{}: {detail}", .file.display())]
    Unusable {
        /// The key's file.
        file: PathBuf,
        /// What is wrong, and what to do.
        detail: &'static str,
    },
    /// The machine gave no random bytes, or the library refused.
    #[error("the cryptographic library failed: {0}")]
    Crypto(&'static str),
}

/// The vault's key, from which the keys of all scopes are made.
pub struct VaultKey(hkdf::Prk);

impl std::fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VaultKey")
    }
}

impl VaultKey {
    /// The key in `dir`; `None` if there is none yet.
    pub fn load(dir: &Path) -> Result<Option<Self>, KeyError> {
        let file = dir.join(FILE);
        let unusable = |detail| KeyError::Unusable {
            file: file.clone(),
            detail,
        };
        let mut open = match fs_err::File::open(&file) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = open.metadata()?;
        if metadata.mode() & 0o077 != 0 {
            return Err(unusable(
                "others could read the key; if nobody did: chmod 600",
            ));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(unusable("belongs to another user"));
        }
        // Room from the start: growing would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(256));
        (&mut open).take(200).read_to_string(&mut text)?;
        let hex = text
            .strip_prefix(HEADER)
            .ok_or_else(|| unusable("not a key of the vault"))?;
        let key = from_hex(hex.trim_ascii_end())
            .ok_or_else(|| unusable("the key is damaged: restore it from a backup"))?;
        Ok(Some(Self::from_bytes(&key)))
    }

    /// Makes a key and keeps it in `dir`, readable by this user only.
    pub fn create(dir: &Path) -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new()
            .fill(&mut *key)
            .map_err(|_| KeyError::Crypto("no random bytes"))?;
        let unfinished = dir.join(format!("{FILE}.tmp"));
        let mut options = fs_err::OpenOptions::new();
        let mut out = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        out.write_all(HEADER.as_bytes())?;
        out.write_all(to_hex(&*key).as_bytes())?;
        out.write_all(b"\n")?;
        out.sync_all()?;
        fs_err::rename(&unfinished, dir.join(FILE))?;
        fs_err::File::open(dir)?.sync_all()?;
        Ok(Self::from_bytes(&key))
    }

    /// Where the key in `dir` is kept.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    /// The key made of these bytes.
    pub(crate) fn from_bytes(key: &[u8; KEY_BYTES]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, b"stockade vault pseudonyms 1").extract(key))
    }

    /// A value that tells keys apart and says nothing about them.
    pub(crate) fn check_value(&self) -> Result<[u8; PSEUDONYM_BYTES], KeyError> {
        let key = self.derive(&["check"])?;
        Ok(first_bytes(&hmac::sign(&key, b"check")))
    }

    /// The keys for one data set of one model.
    pub fn pseudonyms(&self, model: &str, schema: &str) -> Result<Pseudonyms, KeyError> {
        Ok(Pseudonyms {
            dataset: self.derive(&["dataset", model, schema])?,
            model: self.derive(&["model", model])?,
            fleet: self.derive(&["fleet"])?,
        })
    }

    /// HKDF-Expand (RFC 5869 §2.3) with the parts as info, each behind its length: no two lists of parts look alike.
    fn derive(&self, parts: &[&str]) -> Result<hmac::Key, KeyError> {
        let mut info = Vec::new();
        for part in parts {
            push_with_length(&mut info, part.as_bytes());
        }
        let info = [info.as_slice()];
        let expanded = self
            .0
            .expand(&info, hmac::HMAC_SHA256)
            .map_err(|_| KeyError::Crypto("no key derived"))?;
        Ok(expanded.into())
    }
}

/// Makes the pseudonyms of one data set. The keys are wiped by the library that holds them.
pub struct Pseudonyms {
    dataset: hmac::Key,
    model: hmac::Key,
    fleet: hmac::Key,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms")
    }
}

impl Pseudonyms {
    /// The pseudonym of a field's value within `scope`; `None` for what has parts or is nothing.
    ///
    /// The field's name is part of it: that two fields hold the same value is not shown.
    pub fn of(&self, scope: Scope, field: &str, value: &Value) -> Option<String> {
        let mut input = Zeroizing::new(Vec::with_capacity(64 + field.len()));
        push_with_length(&mut input, field.as_bytes());
        match value {
            Value::Text(text) => {
                input.push(b't');
                input.extend_from_slice(text.as_bytes());
            }
            Value::Bytes(bytes) => {
                input.push(b'b');
                input.extend_from_slice(bytes);
            }
            Value::Integer(number) => {
                input.push(b'i');
                input.extend_from_slice(&number.to_be_bytes());
            }
            Value::Float(number) => {
                input.push(b'f');
                // Zero has two signs.
                input.extend_from_slice(&(number + 0.0).to_be_bytes());
            }
            Value::Bool(value) => input.extend_from_slice(&[b'y', u8::from(*value)]),
            Value::Null | Value::List(_) | Value::Map(_) => return None,
        }
        let key = match scope {
            Scope::Dataset => &self.dataset,
            Scope::Model => &self.model,
            Scope::Fleet => &self.fleet,
        };
        let pseudonym: [u8; PSEUDONYM_BYTES] = first_bytes(&hmac::sign(key, &input));
        Some(to_hex(&pseudonym).to_string())
    }
}

fn push_with_length(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn first_bytes<const N: usize>(tag: &hmac::Tag) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    out
}

fn to_hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            out.extend(char::from_digit(half.into(), 16));
        }
    }
    out
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            let digit = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
            *byte = *byte << 4 | digit;
        }
    }
    Some(key)
}
