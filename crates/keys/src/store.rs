//! Where private keys are: a file, a PKCS#11 token, a TPM. Every one holds ECDSA keys on P-256, by slot, and gives none away.

mod file;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(feature = "tpm")]
mod tpm;

use std::path::{Path, PathBuf};

use stockade_api::attest::{Credential, Endorsement, Quote};
use stockade_api::keys::{Place, Slot};
#[cfg(feature = "tpm")]
use stockade_host::tpm::{Wire, reach as reach_tpm};
use zeroize::Zeroizing;

/// An uncompressed point on P-256 (SEC 1 §2.3.3).
pub(crate) type Point = [u8; 65];
/// An ECDSA signature on P-256: r and s (RFC 9053 §2.1).
pub(crate) type Signature = [u8; 64];

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written; the error names it.
    #[error("cannot keep the key")]
    File(#[from] std::io::Error),
    /// Somebody else can read the key.
    #[error(
        "{path} is open to others (mode {mode:o}, owner {owner}): take their rights away, and make a new key if anybody else was on this machine"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// There is no key in this slot.
    #[error("there is no key in the slot `{0}`")]
    Empty(Slot),
    /// What is kept is no key.
    #[error("{0} is damaged")]
    Damaged(PathBuf),
    /// Only a TPM tells how a device started.
    #[error("the device's keys are in no TPM")]
    NoTpm,
    /// The cryptographic library, the token or the TPM failed.
    #[error("{0}")]
    Failed(String),
    /// This program was built without this store.
    #[error("this program was built without support for this place for keys")]
    NotBuilt,
}

#[cfg(not(feature = "tpm"))]
type Wire = std::convert::Infallible;

/// Keys by slot.
pub(crate) trait Store: Send {
    /// The public half of a slot's key, if there is one.
    fn public(&mut self, slot: Slot) -> Result<Option<Point>, StoreError>;

    /// Makes a key in a slot that is empty.
    fn make(&mut self, slot: Slot) -> Result<(), StoreError>;

    /// Signs the SHA-256 of `message`.
    fn sign(&mut self, slot: Slot, message: &[u8]) -> Result<Signature, StoreError>;

    /// Puts the key of `device-next` in the place of `device`, whose key is gone then. Nothing if there is none to put.
    fn promote(&mut self) -> Result<(), StoreError>;

    /// Destroys a slot's key, if there is one: what a file held is overwritten before it goes.
    fn destroy(&mut self, slot: Slot) -> Result<(), StoreError>;

    /// Destroys every key. One that can not be destroyed saves none of the others.
    fn erase_all(&mut self) -> Result<(), StoreError> {
        let erased = Slot::ALL.map(|slot| self.destroy(slot));
        erased.into_iter().collect()
    }

    /// The TPM's own keys.
    fn endorsement(&mut self) -> Result<Endorsement, StoreError> {
        Err(StoreError::NoTpm)
    }

    /// What is in a credential for the TPM's own keys.
    fn activate(&mut self, _credential: &Credential) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        Err(StoreError::NoTpm)
    }

    /// The registers, signed by the TPM.
    fn quote(&mut self, _challenge: &[u8; 32], _registers: &[u8]) -> Result<Quote, StoreError> {
        Err(StoreError::NoTpm)
    }
}

/// What has to be opened while this process still has the rights to: the TPM's device.
pub(crate) fn reach(place: &Place) -> Result<Option<Wire>, StoreError> {
    match place {
        #[cfg(feature = "tpm")]
        Place::Tpm(device) => Ok(Some(reach_tpm(device)?)),
        _ => Ok(None),
    }
}

/// Opens the store; `dir` is this process's own directory.
pub(crate) fn open(
    place: &Place,
    reached: Option<Wire>,
    dir: &Path,
) -> Result<Box<dyn Store>, StoreError> {
    match (place, reached) {
        (Place::File, _) => Ok(Box::new(file::Files::open(dir)?)),
        #[cfg(feature = "pkcs11")]
        (Place::Pkcs11(token), _) => Ok(Box::new(pkcs11::Token::open(token)?)),
        #[cfg(feature = "tpm")]
        (Place::Tpm(_), Some(wire)) => Ok(Box::new(tpm::Tpm::open(wire, dir)?)),
        _ => Err(StoreError::NotBuilt),
    }
}
