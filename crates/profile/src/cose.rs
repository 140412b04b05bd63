//! The signed form of a profile: `COSE_Sign1` (RFC 9052 §4.2) with Ed25519 over the canonical bytes.

use crate::cbor::{CborError, Decoder, Encoder};
use crate::{CanonicalError, KeyId, Profile, SigningKey, VerifyingKey};

/// RFC 9052 §2, table 1.
const SIGN1: u64 = 18;
// RFC 9052 §3.1, table 3: common header parameters.
const ALG: i64 = 1;
const CONTENT_TYPE: i64 = 3;
const KID: i64 = 4;
/// RFC 9053 §2.2, table 2.
const EDDSA: i64 = -8;
/// A signature for anything else, by the same key, is none for a profile.
const PROFILE: &str = "application/vnd.stockade.profile+cbor";
const SIGNATURE_BYTES: usize = 64;

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
    let (header, payload) = (protected(key.id()), profile.canonical());
    let signature = key.sign(&to_be_signed(&header, &payload));
    let mut message = Encoder::default();
    // RFC 9052 §4.2: COSE_Sign1_Tagged = #6.18([protected, unprotected, payload, signature]).
    message.tag(SIGN1);
    message.array(4);
    message.bytes(&header);
    message.map(0);
    message.bytes(&payload);
    message.bytes(&signature);
    message.finish()
}

/// Checks a signed profile against the keys that are trusted.
pub fn verify(message: &[u8], trusted: &[VerifyingKey]) -> Result<Verified, VerifyError> {
    let mut decoder = Decoder::new(message)?;
    if decoder.tag()? != SIGN1 || decoder.array()? != 4 {
        return Err(VerifyError::Message("no COSE_Sign1"));
    }
    let header = decoder.bytes()?;
    if decoder.map()? != 0 {
        return Err(VerifyError::Message("it has unprotected headers"));
    }
    let payload = decoder.bytes()?;
    let signature = decoder.bytes()?;
    decoder.end()?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(VerifyError::Message("the signature has a wrong length"));
    }
    let id = read_protected(header)?;
    // Two keys may share a name by chance: each is tried.
    let mut named = trusted.iter().filter(|key| key.id() == id).peekable();
    if named.peek().is_none() {
        return Err(VerifyError::UnknownKey(id));
    }
    let signed = to_be_signed(header, payload);
    if !named.any(|key| key.verify(&signed, signature)) {
        return Err(VerifyError::Signature(id));
    }
    let profile = Profile::from_canonical(payload)?;
    Ok(Verified { profile, key: id })
}

/// RFC 9052 §4.4: `Sig_structure`, with no external data.
fn to_be_signed(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut structure = Encoder::default();
    structure.array(4);
    structure.text("Signature1");
    structure.bytes(header);
    structure.bytes(&[]);
    structure.bytes(payload);
    structure.finish()
}

fn protected(id: KeyId) -> Vec<u8> {
    let mut header = Encoder::default();
    header.map(3);
    header.integer(ALG);
    header.integer(EDDSA);
    header.integer(CONTENT_TYPE);
    header.text(PROFILE);
    header.integer(KID);
    header.bytes(id.as_bytes());
    header.finish()
}

fn read_protected(header: &[u8]) -> Result<KeyId, VerifyError> {
    let mut decoder = Decoder::new(header)?;
    if decoder.map()? != 3 {
        return Err(VerifyError::Message(
            "other headers than those of a profile",
        ));
    }
    if (decoder.integer()?, decoder.integer()?) != (ALG, EDDSA) {
        return Err(VerifyError::Message("the algorithm is not EdDSA"));
    }
    if (decoder.integer()?, decoder.text()?) != (CONTENT_TYPE, PROFILE) {
        return Err(VerifyError::Message("the content is something else"));
    }
    if decoder.integer()? != KID {
        return Err(VerifyError::Message("the key is not named"));
    }
    let id = decoder.bytes()?.try_into();
    decoder.end()?;
    id.map(KeyId)
        .map_err(|_| VerifyError::Message("the key's name has a wrong length"))
}
