//! The canonical bytes of a profile, and the order of its versions.

use crate::Profile;
use crate::cbor::{CborError, Decoder, Encoder};
use crate::fault::Faults;
use crate::read::Form as _;

/// Why bytes are not a profile's canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// They are not deterministic CBOR.
    #[error("the profile's bytes can not be read")]
    Encoding(#[from] CborError),
    /// They are the bytes of something else than a sound profile.
    #[error("the profile is not sound: {0}")]
    Content(String),
    /// They say a sound profile in another way than its one.
    #[error("the profile's bytes are not in their one form")]
    Form,
}

/// Why a profile can not take the place of the one that is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rollback {
    /// It is for another model.
    #[error("this profile is for the model `{new}`, not for `{installed}`")]
    Model {
        /// The model of the profile that is there.
        installed: String,
        /// The model of the other one.
        new: String,
    },
    /// It is older.
    #[error("version {new} is older than version {installed}, which is there already")]
    Older {
        /// The version that is there.
        installed: u64,
        /// The version of the other one.
        new: u64,
    },
    /// It has the same version and says something else.
    #[error(
        "version {version} is there already and says something else; a change needs a new version"
    )]
    Different {
        /// The version of both.
        version: u64,
    },
}

impl Profile {
    /// The profile's one form in bytes: deterministic CBOR (RFC 8949 §4.2.1) of the same document.
    pub fn canonical(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.value(&self.write());
        encoder.finish()
    }

    /// Reads canonical bytes, with the same checks as a profile's text has.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, CanonicalError> {
        let mut decoder = Decoder::new(bytes)?;
        let tree = decoder.node(0)?;
        decoder.end()?;
        let faults = Faults::default();
        let profile = Self::read(&tree, &faults).map_err(|_faulted| {
            CanonicalError::Content(faults.first_error().unwrap_or_default())
        })?;
        // Two ways to say one thing would be two signatures for one profile.
        if profile.canonical() == bytes {
            Ok(profile)
        } else {
            Err(CanonicalError::Form)
        }
    }
}

/// Whether `new` may take the place of `installed`: its version is higher, or it is the very same profile.
pub fn may_replace(installed: &Profile, new: &Profile) -> Result<(), Rollback> {
    let (old, next) = (&installed.device, &new.device);
    if old.model != next.model {
        let (installed, new) = (old.model.to_string(), next.model.to_string());
        return Err(Rollback::Model { installed, new });
    }
    match next.version.cmp(&old.version) {
        std::cmp::Ordering::Greater => Ok(()),
        std::cmp::Ordering::Less => Err(Rollback::Older {
            installed: old.version,
            new: next.version,
        }),
        std::cmp::Ordering::Equal if installed.canonical() == new.canonical() => Ok(()),
        std::cmp::Ordering::Equal => Err(Rollback::Different {
            version: next.version,
        }),
    }
}
