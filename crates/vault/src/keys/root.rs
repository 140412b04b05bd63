//! The root key: what the keyring is wrapped by. It is in a file, behind a PKCS#11 module, or in a TPM.

mod token;
mod tpm;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hkdf;
use stockade_api::keys::{Place, Token};
use stockade_host::tpm::Tpm;
use zeroize::Zeroizing;

use super::file::KeyFile;
use super::{KEY_BYTES, KeyError, Secret, expand};

const FILE: KeyFile = KeyFile {
    header: "stockade vault root key 1\n",
    missing: "the vault's root key is missing: restore it from its backup, or name its place by [vault] root-key",
    wrong: "not a root key of the vault, or a damaged one: restore it from its backup",
};

/// Names one installation: what of it is in a token or a TPM, and what is bound to it.
pub(crate) type Installation = [u8; 16];

/// Where the root key is: `file:PATH`, `tpm`, `tpm:PATH`, or a PKCS#11 URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootPlace {
    /// A file of 0600. Whoever copied it and an older keyring reads what was erased since.
    File(PathBuf),
    /// A token: each rotation makes a key in it and destroys the one before.
    Pkcs11(Token),
    /// A TPM 2.0, by its device or Unix socket: the same, in its lasting memory.
    Tpm(PathBuf),
}

impl FromStr for RootPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::File(path))
            } else {
                Err("the root key's file needs its whole path: file:/…".to_owned())
            };
        }
        match text.parse() {
            Ok(Place::Pkcs11(token)) => Ok(Self::Pkcs11(token)),
            Ok(Place::Tpm(device)) => Ok(Self::Tpm(device)),
            Ok(Place::File) => Err("the root key's file needs its path: file:/…".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl fmt::Display for RootPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Pkcs11(token) => write!(f, "the PKCS#11 token `{}`", token.label),
            Self::Tpm(device) => write!(f, "the TPM {}", device.display()),
        }
    }
}

/// A root key that can be used.
pub(crate) struct Root {
    pub(crate) place: RootPlace,
    held: Held,
}

enum Held {
    File(Secret),
    Token(Mutex<token::Token>),
    Tpm(Mutex<Tpm>),
}

impl Root {
    /// The root key there. A file that is not there is made if `create`.
    pub(crate) fn open(place: RootPlace, create: bool) -> Result<Self, KeyError> {
        let held = match &place {
            RootPlace::File(path) => Held::File(FILE.open(path, create)?),
            RootPlace::Pkcs11(place) => Held::Token(Mutex::new(token::Token::open(place)?)),
            RootPlace::Tpm(device) => Held::Tpm(Mutex::new(Tpm::open(device)?)),
        };
        Ok(Self { place, held })
    }

    /// One that everybody knows, for fuzzing.
    pub(crate) fn known() -> Self {
        Self {
            place: RootPlace::File(PathBuf::new()),
            held: Held::File(Secret(Zeroizing::new([7; KEY_BYTES]))),
        }
    }

    /// Whether [`Root::destroy`] puts an older keyring out of everybody's reach.
    pub(crate) const fn destroys(&self) -> bool {
        !matches!(self.held, Held::File(_))
    }

    /// What the keyring of this generation is wrapped by; none if that was destroyed.
    pub(crate) fn secret(
        &self,
        of: &Installation,
        generation: u32,
    ) -> Result<Option<Secret>, KeyError> {
        match &self.held {
            Held::File(root) => {
                let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &**root);
                expand(&prk, &[b"root", of, &generation.to_be_bytes()]).map(Some)
            }
            Held::Token(token) => lock(token).secret(of, generation),
            Held::Tpm(tpm) => tpm::secret(&mut lock(tpm), of, generation),
        }
    }

    /// Makes the key of a generation, in the place of one that a crash left.
    pub(crate) fn make(&self, of: &Installation, generation: u32) -> Result<(), KeyError> {
        match &self.held {
            Held::File(_) => Ok(()),
            Held::Token(token) => lock(token).make(of, generation),
            Held::Tpm(tpm) => tpm::make(&mut lock(tpm), of, generation),
        }
    }

    /// Destroys the key of a generation, if there is one.
    pub(crate) fn destroy(&self, of: &Installation, generation: u32) -> Result<(), KeyError> {
        match &self.held {
            Held::File(_) => Ok(()),
            Held::Token(token) => lock(token).destroy(of, generation),
            Held::Tpm(tpm) => tpm::destroy(&mut lock(tpm), of, generation),
        }
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
