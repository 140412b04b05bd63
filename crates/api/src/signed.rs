//! Signed statements: evidence, which the device signs, and commands, which the gateway signs.
//!
//! Both are `COSE_Sign1` (RFC 9052 §4.2) over JSON. Their content types differ from each other's and from a profile's, so that
//! no signature serves for something else.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use stockade_controls::engine::{Posture, UnixSeconds};
use stockade_profile::sign1::{self, EDDSA, ES256, OpenError};
use stockade_profile::{SigningKey, VerifyingKey};

use crate::attest::Attestation;

const EVIDENCE: &str = "application/vnd.stockade.evidence+json";
const COMMAND: &str = "application/vnd.stockade.command+json";
/// The version of both forms.
const FORM: u32 = 1;
/// The largest evidence, in bytes, as the gateway takes it: what fits into one MQTT packet.
pub const MOST_EVIDENCE: usize = 248 * 1024;
/// The largest command, in bytes.
pub const MOST_COMMAND: usize = 4 * 1024;

/// The SHA-256 of a certificate in DER: by it evidence names the key that signed.
pub type Fingerprint = [u8; 32];

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Evidence {
    /// The version of this form.
    pub form: u32,
    /// The device's id.
    pub device: String,
    /// It grows with every evidence of the device.
    pub number: u64,
    /// When, by the device's clock.
    pub at: UnixSeconds,
    /// What the gateway wanted to see, if it asked.
    pub nonce: Option<String>,
    /// The number of the last command that was done.
    pub done: u64,
    /// The version of the program.
    pub agent: String,
    /// The version of the system that runs; none if its maker gave it none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What was found.
    pub posture: Posture,
    /// How the device started; only in an answer to a nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
}

/// What the gateway wants done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Command {
    /// The version of this form.
    pub form: u32,
    /// For which device.
    pub device: String,
    /// It grows with every command for the device.
    pub number: u64,
    /// When it was given.
    pub issued: UnixSeconds,
    /// From when on it is not done any more.
    pub expires: UnixSeconds,
    /// What to do.
    pub order: Order,
}

/// What a command can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do", deny_unknown_fields)]
pub enum Order {
    /// Mend what is found.
    Apply,
    /// Take back what was applied last.
    Undo,
    /// Look again, and send evidence with this in it.
    AssessNow {
        /// What the gateway wants to see.
        nonce: String,
    },
    /// Switch `UPnP` off.
    UpnpOff,
    /// Renew the certificate.
    Renew,
    /// An operator knows that the case was opened, and has looked after it.
    ClearTamper {
        /// Why.
        reason: String,
    },
    /// Update the system to this version.
    Update {
        /// The version.
        version: u64,
    },
}

/// Why a statement is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// It is no statement of this kind by a key that is trusted.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// It is too long.
    #[error("a statement of {0} bytes is too long")]
    TooLong(usize),
    /// The signature is right, and what it signs makes no sense.
    #[error("what is signed makes no sense: {0}")]
    Content(String),
}

impl Evidence {
    /// Evidence in the form of today.
    pub const FORM: u32 = FORM;

    /// Has the evidence signed (ES256, RFC 9053 §2.1: r and s, 32 bytes each) by the key of this certificate.
    pub fn sign_with<E>(
        &self,
        certificate: &Fingerprint,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        // Its parts are text, numbers and lists: they can always be written.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        sign_evidence(certificate, &payload, sign)
    }

    /// The certificate whose key is said to have signed. Nothing is proved by that.
    pub fn claimed(message: &[u8]) -> Result<Fingerprint, SignedError> {
        let opened = open_evidence(message)?;
        let named = Fingerprint::try_from(opened.key);
        named.map_err(|_| OpenError::Message("the key's name has a wrong length").into())
    }

    /// Checks evidence with the public key, an uncompressed point, of the certificate that it names.
    pub fn verify(message: &[u8], point: &[u8]) -> Result<Self, SignedError> {
        let opened = open_evidence(message)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        let payload = opened.verified(|signed, signature| key.verify(signed, signature).is_ok());
        let read: Self = content(payload.ok_or(SignedError::Signature)?)?;
        form(read.form).map(|()| read)
    }
}

/// Has evidence signed that is written already: for the key process, which does not need to read it.
pub fn sign_evidence<E>(
    certificate: &Fingerprint,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    sign1::sign_with(ES256, EVIDENCE, certificate, payload, sign)
}

fn open_evidence(message: &[u8]) -> Result<sign1::Opened<'_>, SignedError> {
    short(message, MOST_EVIDENCE)?;
    Ok(sign1::open(message, ES256, EVIDENCE)?)
}

impl Command {
    /// Commands in the form of today.
    pub const FORM: u32 = FORM;

    /// Signs the command.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        sign1::sign(COMMAND, key, &payload)
    }

    /// Checks a command against the keys that are trusted. For whom it is, its number and its time are still to be judged.
    pub fn verify(message: &[u8], trusted: &[VerifyingKey]) -> Result<Self, SignedError> {
        short(message, MOST_COMMAND)?;
        let opened = sign1::open(message, EDDSA, COMMAND)?;
        let (_, payload) = opened.signed_by(trusted)?;
        let read: Self = content(payload)?;
        form(read.form).map(|()| read)
    }
}

fn short(message: &[u8], most: usize) -> Result<(), SignedError> {
    if message.len() > most {
        return Err(SignedError::TooLong(message.len()));
    }
    Ok(())
}

fn content<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, SignedError> {
    serde_json::from_slice(payload).map_err(|why| SignedError::Content(why.to_string()))
}

fn form(form: u32) -> Result<(), SignedError> {
    if form == FORM {
        Ok(())
    } else {
        Err(SignedError::Content(format!(
            "form {form} is not known here"
        )))
    }
}
