//! The public key of an X.509 certificate (RFC 5280, section 4.1): a walk to one field, and no judgement of the others.

use crate::crypto::{PublicKey, Y};

use super::CredentialError;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// `id-ecPublicKey` with `prime256v1` (RFC 5480, section 2.1.1).
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
/// `id-X25519` and `id-Ed25519` (RFC 8410, section 3).
const X25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x6e];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// The key of a certificate.
pub(super) fn public_key(certificate: &[u8]) -> Result<PublicKey, CredentialError> {
    let mut outer = Der(certificate);
    let mut whole = Der(outer.element(SEQUENCE)?);
    outer.end()?;
    let mut fields = Der(whole.element(SEQUENCE)?);
    // The signature's algorithm, and the signature.
    whole.element(SEQUENCE)?;
    whole.element(BIT_STRING)?;
    whole.end()?;
    if fields.0.first() == Some(&VERSION) {
        fields.element(VERSION)?;
    }
    fields.element(INTEGER)?;
    // The algorithm, the issuer, the validity and the subject.
    for _ in 0..4 {
        fields.element(SEQUENCE)?;
    }
    key_info(fields.element(SEQUENCE)?)
}

/// The key of a `SubjectPublicKeyInfo` by itself.
pub(super) fn whole_key_info(bytes: &[u8]) -> Result<PublicKey, CredentialError> {
    let mut outer = Der(bytes);
    let content = outer.element(SEQUENCE)?;
    outer.end()?;
    key_info(content)
}

fn key_info(content: &[u8]) -> Result<PublicKey, CredentialError> {
    let mut info = Der(content);
    let algorithm = info.element(SEQUENCE)?;
    let bits = info.element(BIT_STRING)?;
    info.end()?;
    let (&0, key) = bits.split_first().ok_or(CredentialError::Malformed)? else {
        return Err(CredentialError::Malformed);
    };
    key_of(algorithm, key)
}

fn key_of(algorithm: &[u8], key: &[u8]) -> Result<PublicKey, CredentialError> {
    let malformed = |_| CredentialError::Malformed;
    match algorithm {
        P256 => match key.split_first() {
            // SEC 1, section 2.3.3.
            Some((4, point)) => {
                let (x, y) = point
                    .split_at_checked(32)
                    .ok_or(CredentialError::Malformed)?;
                Ok(PublicKey::P256 {
                    x: x.try_into().map_err(malformed)?,
                    y: Y::Full(y.try_into().map_err(malformed)?),
                })
            }
            Some((sign @ (2 | 3), x)) => Ok(PublicKey::P256 {
                x: x.try_into().map_err(malformed)?,
                y: Y::Odd(*sign == 3),
            }),
            _ => Err(CredentialError::Malformed),
        },
        X25519 => Ok(PublicKey::X25519(key.try_into().map_err(malformed)?)),
        ED25519 => Ok(PublicKey::Ed25519(key.try_into().map_err(malformed)?)),
        _ => Err(CredentialError::Unsupported),
    }
}

/// DER elements, one after the other (X.690, section 10.1: lengths in the shortest form).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn element(&mut self, tag: u8) -> Result<&'a [u8], CredentialError> {
        let (found, rest) = self.0.split_first().ok_or(CredentialError::Malformed)?;
        let (&first, rest) = rest.split_first().ok_or(CredentialError::Malformed)?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => match *rest {
                [length, ref rest @ ..] if length >= 0x80 => (usize::from(length), rest),
                _ => return Err(CredentialError::Malformed),
            },
            0x82 => match *rest {
                [high, low, ref rest @ ..] if high > 0 => {
                    (usize::from(u16::from_be_bytes([high, low])), rest)
                }
                _ => return Err(CredentialError::Malformed),
            },
            _ => return Err(CredentialError::Malformed),
        };
        let (content, rest) = rest
            .split_at_checked(length)
            .ok_or(CredentialError::Malformed)?;
        if *found != tag {
            return Err(CredentialError::Malformed);
        }
        self.0 = rest;
        Ok(content)
    }

    const fn end(&self) -> Result<(), CredentialError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(CredentialError::Malformed)
        }
    }
}
