//! Keys of the key process, as TLS uses them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use stockade_api::Blob;
use stockade_api::attest::{Credential, Endorsement};
use stockade_api::keys::{Answer, Request, Slot};
use stockade_host::local::Channel;

/// A slow TPM takes a second to sign; the process waits for it, as rustls signs in place.
const PATIENCE: Duration = Duration::from_secs(10);
/// Making a key takes a slow TPM longer.
const PATIENCE_TO_MAKE: Duration = Duration::from_mins(1);

/// Why the key process did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It can not be reached.
    #[error("cannot ask the key process")]
    Away(#[from] stockade_api::frame::FrameError),
    /// It said no.
    #[error("the key process refused: {0}")]
    Refused(String),
    /// There is no key in the slot.
    #[error("there is no key in the slot `{0}`")]
    Empty(Slot),
    /// It answered something else.
    #[error("the key process gave another answer than was asked for")]
    Other,
}

/// The way to the key process.
#[derive(Debug, Clone)]
pub struct Keys(PathBuf);

impl Keys {
    /// The key process that listens here.
    pub fn at(socket: PathBuf) -> Self {
        Self(socket)
    }

    fn ask(&self, request: &Request) -> Result<Answer, KeysError> {
        let patience = match request {
            Request::Make { .. } | Request::Endorsement | Request::Activate(_) => PATIENCE_TO_MAKE,
            _ => PATIENCE,
        };
        let connected = Channel::connect(&self.0, patience);
        match connected
            .map_err(stockade_api::frame::FrameError::from)?
            .call(request)?
        {
            Answer::Refused(why) => Err(KeysError::Refused(why)),
            answer => Ok(answer),
        }
    }

    /// The public half of a slot's key (a `SubjectPublicKeyInfo`), if there is one.
    pub fn public(&self, slot: Slot) -> Result<Option<Vec<u8>>, KeysError> {
        match self.ask(&Request::Public { slot })? {
            Answer::Public(spki) => Ok(Some(spki.0)),
            Answer::Empty => Ok(None),
            _ => Err(KeysError::Other),
        }
    }

    /// A certificate request for a slot's key, which is made if there is none.
    pub fn request(&self, slot: Slot) -> Result<Vec<u8>, KeysError> {
        self.ask(&Request::Make { slot })?;
        match self.ask(&Request::Csr { slot })? {
            Answer::Csr(der) => Ok(der.0),
            Answer::Empty => Err(KeysError::Empty(slot)),
            _ => Err(KeysError::Other),
        }
    }

    /// Puts the next key in the place of the one in use.
    pub fn promote(&self) -> Result<(), KeysError> {
        self.ask(&Request::Promote).map(drop)
    }

    /// Destroys a key.
    pub fn destroy(&self, slot: Slot) -> Result<(), KeysError> {
        self.ask(&Request::Drop { slot }).map(drop)
    }

    /// The TPM's own keys; none if the keys are in no TPM.
    pub fn endorsement(&self) -> Result<Option<Endorsement>, KeysError> {
        match self.ask(&Request::Endorsement)? {
            Answer::Endorsement(keys) => Ok(Some(keys)),
            Answer::Empty => Ok(None),
            _ => Err(KeysError::Other),
        }
    }

    /// What is in a credential for the TPM's own keys.
    pub fn activate(&self, credential: Credential) -> Result<Blob, KeysError> {
        match self.ask(&Request::Activate(credential))? {
            Answer::Activated(secret) => Ok(secret),
            _ => Err(KeysError::Other),
        }
    }

    /// A slot's key for TLS.
    pub fn for_tls(&self, slot: Slot) -> Arc<dyn SigningKey> {
        Arc::new(Remote {
            keys: self.clone(),
            slot,
        })
    }
}

/// A key that is not here.
#[derive(Debug, Clone)]
struct Remote {
    keys: Keys,
    slot: Slot,
}

impl SigningKey for Remote {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let known = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        known.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Remote {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let request = Request::SignTls {
            slot: self.slot,
            message: Blob(message.to_vec()),
        };
        match self.keys.ask(&request) {
            Ok(Answer::Signature(signature)) => Ok(signature.0),
            Ok(_) => Err(Error::General(KeysError::Other.to_string())),
            Err(why) => Err(Error::General(why.to_string())),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
