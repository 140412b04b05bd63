//! Signatures around claims: `COSE_Sign1` (RFC 9052, section 4.2) by ES256.

use core::fmt;

use super::{GRANT_MAX, GrantError, Scope, claim};
use crate::cbor::{Full, Reader, Writer};
use crate::credential;
use crate::crypto::{Crypto, CryptoError, PublicKey};

/// The tag of `COSE_Sign1`.
const SIGN1: u64 = 18;
/// The header `{1: -7}`: ES256.
const ES256: &[u8] = &[0xa1, 0x01, 0x26];
/// The header parameter that names a key.
const KID: i64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sign1<'a> {
    pub(super) payload: &'a [u8],
    signature: &'a [u8; 64],
}

impl<'a> Sign1<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, GrantError> {
        let mut reader = Reader::new(bytes);
        if reader.tag()? != SIGN1 || reader.array()? != 4 || reader.bytes()? != ES256 {
            return Err(GrantError::Malformed);
        }
        match reader.map()? {
            0 => {}
            // Which key signed: there is one that counts.
            1 if reader.int()? == KID => drop(reader.bytes()?),
            _ => return Err(GrantError::Malformed),
        }
        let payload = reader.bytes()?;
        let signature = reader.bytes_of()?;
        reader.end()?;
        Ok(Self { payload, signature })
    }

    pub(super) fn verify<C: Crypto>(
        &self,
        crypto: &mut C,
        authority: &PublicKey,
    ) -> Result<(), GrantError> {
        let PublicKey::P256 { .. } = authority else {
            return Err(GrantError::Crypto(CryptoError::Unsupported));
        };
        let mut buffer = [0; TO_BE_SIGNED];
        let message = to_be_signed(&mut buffer, self.payload)?;
        crypto
            .verify(authority, message, self.signature)
            .map_err(|error| match error {
                CryptoError::NotAuthentic => GrantError::NotSigned,
                CryptoError::BadPublicKey
                | CryptoError::Unsupported
                | CryptoError::Length
                | CryptoError::Failed => GrantError::Crypto(error),
            })
    }
}

/// A grant's payload, and what stands around it in the structure that is signed.
const TO_BE_SIGNED: usize = GRANT_MAX + 24;

/// The `Sig_structure` (RFC 9052, section 4.4).
fn to_be_signed<'b>(buffer: &'b mut [u8], payload: &[u8]) -> Result<&'b [u8], Full> {
    let mut writer = Writer::new(buffer);
    writer.array(4).text("Signature1").bytes(ES256).bytes(&[]);
    writer.bytes(payload);
    writer.finish()
}

/// What a grant is to say.
#[derive(Debug, Clone, Copy)]
pub struct Issue<'a> {
    /// Who may ask.
    pub subject: &'a str,
    /// Who is asked.
    pub audience: &'a str,
    /// From when, in seconds since 1970.
    pub issued: u64,
    /// Until when.
    pub expires: u64,
    /// The key of who may ask.
    pub key: &'a PublicKey,
    /// The name of this key, if its credential has one.
    pub kid: Option<&'a [u8]>,
    /// What may be asked.
    pub scope: &'a Scope,
    /// The epoch of who is asked.
    pub epoch: u64,
}

/// Why no grant was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueError {
    /// It would be longer than what is read.
    TooLong,
    /// It could not be signed.
    Crypto(CryptoError),
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the grant would be too long"),
            Self::Crypto(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for IssueError {}

impl From<Full> for IssueError {
    fn from(_: Full) -> Self {
        Self::TooLong
    }
}

impl Issue<'_> {
    /// The grant, signed by the gateway's authorisation key, which devices know as `name`.
    pub fn sign<'b, C: Crypto>(
        &self,
        crypto: &mut C,
        key: &C::PrivateKey,
        name: &[u8],
        out: &'b mut [u8; GRANT_MAX],
    ) -> Result<&'b [u8], IssueError> {
        let mut payload = [0; GRANT_MAX];
        let mut writer = Writer::new(&mut payload);
        writer.map(7).int(claim::SUB).text(self.subject);
        writer.int(claim::AUD).text(self.audience);
        writer.int(claim::EXP).uint(self.expires);
        writer.int(claim::IAT).uint(self.issued);
        writer.int(claim::CNF).map(1).int(1);
        credential::write_key(&mut writer, self.key, self.kid);
        writer.int(claim::SCOPE).bytes(self.scope.bytes());
        writer.int(claim::EPOCH).uint(self.epoch);
        let payload = writer.finish()?;
        let mut buffer = [0; TO_BE_SIGNED];
        let signature = crypto
            .sign(key, to_be_signed(&mut buffer, payload)?)
            .map_err(IssueError::Crypto)?;
        let mut writer = Writer::new(out);
        writer.tag(SIGN1).array(4).bytes(ES256);
        writer.map(1).int(KID).bytes(name);
        writer.bytes(payload).bytes(&signature);
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::crypto::{Y, rust::RustCrypto};
    use crate::grant::Grant;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text
            .bytes()
            .filter_map(|byte| char::from(byte).to_digit(16));
        let digits: Vec<u8> = digits.filter_map(|it| u8::try_from(it).ok()).collect();
        digits.chunks(2).map(|it| (it[0] << 4) | it[1]).collect()
    }

    #[test]
    fn the_signed_example_of_rfc_8392_verifies() {
        // Appendix A.2.3 and A.3.
        let key = PublicKey::P256 {
            x: hex("143329cce7868e416927599cf65a34f3ce2ffda55a7eca69ed8919a394d42f0f")
                .try_into()
                .unwrap(),
            y: Y::Full(
                hex("60f7f1a780d8a783bfb7a2dd6b2796e8128dbbcef9d3d168db9529971a36e7b9")
                    .try_into()
                    .unwrap(),
            ),
        };
        let signed = hex(
            "d28443a10126a104524173796d6d657472696345434453413235365850a70175636f61703a2f2f61732e6578616d706c652e636f6d02656572696b77037818636f61703a2f2f6c696768742e6578616d706c652e636f6d041a5612aeb0051a5610d9f0061a5610d9f007420b7158405427c1ff28d23fbad1f29c4c7c6a555e601d6fa29f9179bc3d7438bacaca5acd08c8d4d4f96131680c429a01f85951ecee743a52b9b63632c57209120e1c9e30",
        );
        let mut crypto = RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Failed));
        let read = Sign1::read(&signed).unwrap();
        assert_eq!(read.verify(&mut crypto, &key), Ok(()));
        assert_eq!(read.payload[..4], [0xa7, 0x01, 0x75, 0x63]);
        assert_eq!(
            Grant::read(&signed).err(),
            Some(GrantError::Malformed),
            "it is no grant"
        );
    }
}
