//! Signed statements: `COSE_Sign1` (RFC 9052 §4.2) in its one form, with an algorithm, a content type and a key's name.

use crate::cbor::{CborError, Decoder, Encoder};
use crate::{KeyId, SigningKey, VerifyingKey};

/// RFC 9052 §2, table 1.
const SIGN1: u64 = 18;
// RFC 9052 §3.1, table 3: common header parameters.
const ALG: i64 = 1;
const CONTENT_TYPE: i64 = 3;
const KID: i64 = 4;
/// `EdDSA` (RFC 9053 §2.2, table 2).
pub const EDDSA: i64 = -8;
/// ECDSA with SHA-256 (RFC 9053 §2.1, table 1).
pub const ES256: i64 = -7;
/// Both kinds of signatures have this length.
const SIGNATURE_BYTES: usize = 64;

/// Why a signed statement is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The bytes are not deterministic CBOR.
    #[error("the signed message can not be read")]
    Encoding(#[from] CborError),
    /// The bytes are some other message.
    #[error("this is another message: {0}")]
    Message(&'static str),
    /// None of the keys that are trusted has signed.
    #[error("it is signed with the key {0}, which is not trusted")]
    UnknownKey(KeyId),
    /// The signature is wrong.
    #[error("the signature by the key {0} is wrong")]
    Signature(KeyId),
}

/// A statement of the right kind; whether its signature is right is still to be asked.
#[derive(Debug, Clone)]
#[must_use]
pub struct Opened<'m> {
    /// The name of the key that is said to have signed.
    pub key: &'m [u8],
    payload: &'m [u8],
    signature: &'m [u8],
    to_be_signed: Vec<u8>,
}

/// Reads a statement of this algorithm and content; any other is refused.
pub fn open<'m>(message: &'m [u8], algorithm: i64, content: &str) -> Result<Opened<'m>, OpenError> {
    let mut decoder = Decoder::new(message)?;
    if decoder.tag()? != SIGN1 || decoder.array()? != 4 {
        return Err(OpenError::Message("no COSE_Sign1"));
    }
    let header = decoder.bytes()?;
    if decoder.map()? != 0 {
        return Err(OpenError::Message("it has unprotected headers"));
    }
    let payload = decoder.bytes()?;
    let signature = decoder.bytes()?;
    decoder.end()?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(OpenError::Message("the signature has a wrong length"));
    }
    let key = read_protected(header, algorithm, content)?;
    Ok(Opened {
        key,
        payload,
        signature,
        to_be_signed: to_be_signed(header, payload),
    })
}

impl<'m> Opened<'m> {
    /// What was said and by which of these Ed25519 keys, if one of them has signed.
    pub fn signed_by(&self, trusted: &[VerifyingKey]) -> Result<(KeyId, &'m [u8]), OpenError> {
        let id = <[u8; 8]>::try_from(self.key).map(KeyId);
        let id = id.map_err(|_| OpenError::Message("the key's name has a wrong length"))?;
        // Two keys may share a name by chance: each is tried.
        let mut named = trusted.iter().filter(|key| key.id() == id).peekable();
        if named.peek().is_none() {
            return Err(OpenError::UnknownKey(id));
        }
        if named.any(|key| key.verify(&self.to_be_signed, self.signature)) {
            Ok((id, self.payload))
        } else {
            Err(OpenError::Signature(id))
        }
    }

    /// What was said, if `verify` takes the signature, its second argument, of the bytes that are its first.
    pub fn verified(&self, verify: impl FnOnce(&[u8], &[u8]) -> bool) -> Option<&'m [u8]> {
        verify(&self.to_be_signed, self.signature).then_some(self.payload)
    }
}

/// Signs a statement with an Ed25519 key; the same statement and key always give the same bytes.
pub fn sign(content: &str, key: &SigningKey, payload: &[u8]) -> Vec<u8> {
    let header = protected(EDDSA, content, key.id().as_bytes());
    let signature = key.sign(&to_be_signed(&header, payload));
    message(&header, payload, &signature)
}

/// Has a statement signed by whoever has the key; `sign` gets the bytes to be signed.
pub fn sign_with<E>(
    algorithm: i64,
    content: &str,
    key: &[u8],
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let header = protected(algorithm, content, key);
    let signature = sign(&to_be_signed(&header, payload))?;
    Ok(message(&header, payload, &signature))
}

/// RFC 9052 §4.2: `COSE_Sign1_Tagged` = #6.18([protected, unprotected, payload, signature]).
fn message(header: &[u8], payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut message = Encoder::default();
    message.tag(SIGN1);
    message.array(4);
    message.bytes(header);
    message.map(0);
    message.bytes(payload);
    message.bytes(signature);
    message.finish()
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

fn protected(algorithm: i64, content: &str, key: &[u8]) -> Vec<u8> {
    let mut header = Encoder::default();
    header.map(3);
    header.integer(ALG);
    header.integer(algorithm);
    header.integer(CONTENT_TYPE);
    header.text(content);
    header.integer(KID);
    header.bytes(key);
    header.finish()
}

fn read_protected<'m>(
    header: &'m [u8],
    algorithm: i64,
    content: &str,
) -> Result<&'m [u8], OpenError> {
    let mut decoder = Decoder::new(header)?;
    if decoder.map()? != 3 {
        return Err(OpenError::Message("it has other headers"));
    }
    if (decoder.integer()?, decoder.integer()?) != (ALG, algorithm) {
        return Err(OpenError::Message("the algorithm is another"));
    }
    if (decoder.integer()?, decoder.text()?) != (CONTENT_TYPE, content) {
        return Err(OpenError::Message("the content is something else"));
    }
    if decoder.integer()? != KID {
        return Err(OpenError::Message("the key is not named"));
    }
    let key = decoder.bytes()?;
    decoder.end()?;
    Ok(key)
}
