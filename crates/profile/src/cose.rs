//! The signed form of a profile: `COSE_Sign1` (RFC 9052 §4.2) with Ed25519 over the canonical bytes.

use crate::cbor::CborError;
use crate::sign1::{self, EDDSA, OpenError};
use crate::{CanonicalError, KeyId, Profile, SigningKey, VerifyingKey};

/// A signature for anything else, by the same key, is none for a profile.
const PROFILE: &str = "application/vnd.stockade.profile+cbor";

/// Why a signed profile is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The bytes are not deterministic CBOR.
    #[error("the signed profile can not be read")]
    Encoding(#[from] CborError),
    /// The bytes are some other message than a signed profile.
    #[error("this is not a signed profile: {0}")]
    Message(&'static str),
    /// None of the keys that are trusted has signed.
    #[error("the profile is signed with the key {0}, which is not trusted")]
    UnknownKey(KeyId),
    /// The signature is wrong.
    #[error("the signature by the key {0} is wrong")]
    Signature(KeyId),
    /// The signature is right, and what it signs is no profile.
    #[error("the signed content is not a profile")]
    Content(#[from] CanonicalError),
}

/// A profile whose signature was right.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verified {
    profile: Profile,
    key: KeyId,
}

impl Verified {
    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The profile, without the proof.
    pub fn into_profile(self) -> Profile {
        self.profile
    }

    /// The key that signed.
    pub fn key(&self) -> KeyId {
        self.key
    }
}

/// Signs a profile; the same profile and key always give the same bytes.
pub fn sign(profile: &Profile, key: &SigningKey) -> Vec<u8> {
    sign1::sign(PROFILE, key, &profile.canonical())
}

/// Checks a signed profile against the keys that are trusted.
pub fn verify(message: &[u8], trusted: &[VerifyingKey]) -> Result<Verified, VerifyError> {
    let opened = sign1::open(message, EDDSA, PROFILE)?;
    let (key, payload) = opened.signed_by(trusted)?;
    let profile = Profile::from_canonical(payload)?;
    Ok(Verified { profile, key })
}

impl From<OpenError> for VerifyError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Encoding(why) => Self::Encoding(why),
            OpenError::Message(why) => Self::Message(why),
            OpenError::UnknownKey(key) => Self::UnknownKey(key),
            OpenError::Signature(key) => Self::Signature(key),
        }
    }
}
