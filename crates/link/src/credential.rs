//! Credentials: who somebody is, and how EDHOC names it (RFC 9528, section 3.5).

mod der;

use core::fmt;

use subtle::ConstantTimeEq as _;

use crate::cbor::{self, Full, Kind, Reader, Writer};
use crate::crypto::{Crypto, CryptoError, PublicKey, Y};

/// Why a credential is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialError {
    /// It could not be read.
    Malformed,
    /// Its key is of another kind than P-256, X25519 and Ed25519, or not of a form that is enough here.
    Unsupported,
    /// A private key is in it: whoever sent it gave itself away.
    PrivateKey,
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the credential could not be read",
            Self::Unsupported => "the credential's key is not of a known kind",
            Self::PrivateKey => "the credential contains a private key",
        })
    }
}

impl core::error::Error for CredentialError {}

impl From<cbor::Error> for CredentialError {
    fn from(_: cbor::Error) -> Self {
        Self::Malformed
    }
}

/// COSE header parameters that name credentials (RFC 9528, section 3.5.3; RFC 9360).
mod header {
    pub(super) const KCCS: i64 = 14;
    pub(super) const X5CHAIN: i64 = 33;
    pub(super) const X5T: i64 = 34;
}

/// Claims of a CWT (RFC 8392, section 3.1; RFC 8747).
const SUB: i64 = 2;
const CNF: i64 = 8;
/// The member of `cnf` that is a key.
const CNF_KEY: i64 = 1;

/// How a credential is named: `ID_CRED` (RFC 9528, section 3.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdCred<'a> {
    /// By a short name that both sides know.
    Kid(&'a [u8]),
    /// By a CWT claims set, which is the credential itself.
    Ccs(&'a [u8]),
    /// By the hash of a certificate (RFC 9360).
    X5t {
        /// The hash, in the registry of COSE.
        algorithm: i64,
        /// Its value.
        hash: &'a [u8],
    },
    /// By a chain of certificates, one byte string or an array of them, as encoded; the first is the credential.
    X5chain(&'a [u8]),
}

impl<'a> IdCred<'a> {
    /// Reads it as it stands in a plaintext (section 3.5.3.2): a `kid` alone is not in a map, and one that is the encoding of a
    /// small number not in a byte string. Surplus encodings are refused.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        match reader.peek()? {
            Kind::Uint | Kind::Negative => {
                let kid = reader.skip()?;
                if is_small(kid) {
                    Ok(Self::Kid(kid))
                } else {
                    Err(cbor::Error::Unexpected)
                }
            }
            Kind::Bytes => {
                let kid = reader.bytes()?;
                if is_small(kid) {
                    Err(cbor::Error::NotDeterministic)
                } else {
                    Ok(Self::Kid(kid))
                }
            }
            Kind::Map => Self::read_map(reader),
            Kind::Text | Kind::Array | Kind::Tag | Kind::Simple => Err(cbor::Error::Unexpected),
        }
    }

    fn read_map(reader: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        if reader.map()? != 1 {
            return Err(cbor::Error::Unexpected);
        }
        match reader.int()? {
            header::KCCS if reader.peek()? == Kind::Map => Ok(Self::Ccs(reader.skip()?)),
            header::X5T => {
                if reader.array()? != 2 {
                    return Err(cbor::Error::Unexpected);
                }
                Ok(Self::X5t {
                    algorithm: reader.int()?,
                    hash: reader.bytes()?,
                })
            }
            header::X5CHAIN => {
                let chain = reader.skip()?;
                // RFC 9360, section 2: one byte string, or an array of at least two.
                let mut inner = Reader::new(chain);
                if inner.peek()? != Kind::Bytes && inner.array()? < 2 {
                    return Err(cbor::Error::Unexpected);
                }
                while !inner.is_empty() {
                    inner.bytes()?;
                }
                Ok(Self::X5chain(chain))
            }
            _ => Err(cbor::Error::Unexpected),
        }
    }

    /// Writes it as it stands in a plaintext.
    pub fn write(&self, writer: &mut Writer<'_>) {
        match *self {
            Self::Kid(kid) if is_small(kid) => writer.raw(kid),
            Self::Kid(kid) => writer.bytes(kid),
            Self::Ccs(ccs) => writer.map(1).int(header::KCCS).raw(ccs),
            Self::X5t { algorithm, hash } => writer
                .map(1)
                .int(header::X5T)
                .array(2)
                .int(algorithm)
                .bytes(hash),
            Self::X5chain(chain) => writer.map(1).int(header::X5CHAIN).raw(chain),
        };
    }

    /// The certificates of a chain, each as an encoded byte string; none of another kind of name.
    pub fn certificates(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(match *self {
            Self::X5chain(chain) => chain,
            Self::Kid(_) | Self::Ccs(_) | Self::X5t { .. } => &[],
        });
        if matches!(reader.peek(), Ok(Kind::Array)) {
            // Read whole when it was made: its items follow.
            let _items = reader.array();
        }
        core::iter::from_fn(move || reader.skip().ok())
    }

    /// Whether it names this credential.
    pub fn names<C: Crypto>(
        &self,
        crypto: &mut C,
        credential: &Credential<'_>,
    ) -> Result<bool, CryptoError> {
        Ok(match *self {
            Self::Kid(kid) => credential.kid == Some(kid),
            Self::Ccs(ccs) => credential.bytes == ccs,
            Self::X5chain(_) => self.certificates().next() == Some(credential.bytes),
            Self::X5t { algorithm, hash } => {
                let Ok(certificate) = Reader::new(credential.bytes).bytes() else {
                    return Ok(false);
                };
                // SHA-256, or its first 8 bytes (RFC 9054, section 3.1).
                let length = match algorithm {
                    -15 => 8,
                    -16 => 32,
                    _ => return Ok(false),
                };
                crypto.sha256(&[certificate])?.get(..length) == Some(hash)
            }
        })
    }
}

/// Whether these bytes are the encoding of a number from −24 to 23 in one byte.
const fn is_small(kid: &[u8]) -> bool {
    matches!(kid, [0x00..=0x17 | 0x20..=0x37])
}

/// A credential: `CRED`, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential<'a> {
    /// All of it, exactly as encoded: a CWT claims set, or a certificate in a byte string.
    pub bytes: &'a [u8],
    /// The public key, which nobody has checked yet.
    pub key: PublicKey,
    /// The key's own name for itself.
    pub kid: Option<&'a [u8]>,
    /// Whose it says it is, if it is a CWT claims set.
    pub subject: Option<&'a str>,
}

impl<'a> Credential<'a> {
    /// Reads a CWT claims set (RFC 9528, section 3.5.2), or a certificate in a byte string. Signatures, names and times of a
    /// certificate are not looked at.
    pub fn read(bytes: &'a [u8]) -> Result<Self, CredentialError> {
        let mut reader = Reader::new(bytes);
        if reader.peek()? == Kind::Map {
            return Self::read_ccs(bytes);
        }
        let key = der::public_key(reader.bytes()?)?;
        reader.end()?;
        Ok(Self {
            bytes,
            key,
            kid: None,
            subject: None,
        })
    }

    fn read_ccs(bytes: &'a [u8]) -> Result<Self, CredentialError> {
        let mut reader = Reader::new(bytes);
        let pairs = reader.map()?;
        let (mut last, mut subject, mut key) = (None, None, None);
        for _ in 0..pairs {
            match reader.key(&mut last)? {
                SUB => subject = Some(reader.text()?),
                CNF => key = Some(read_cnf(&mut reader)?),
                _ => drop(reader.skip()?),
            }
        }
        reader.end()?;
        let (key, kid) = key.ok_or(CredentialError::Malformed)?;
        Ok(Self {
            bytes,
            key,
            kid,
            subject,
        })
    }
}

/// Reads a public key as `openssl` writes it, a `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1.2.7).
pub fn read_key_info(bytes: &[u8]) -> Result<PublicKey, CredentialError> {
    der::whole_key_info(bytes)
}

/// Reads a confirmation that is a key (RFC 8747, section 3.2), and its name.
pub(crate) fn read_cnf<'a>(
    reader: &mut Reader<'a>,
) -> Result<(PublicKey, Option<&'a [u8]>), CredentialError> {
    if reader.map()? != 1 || reader.int()? != CNF_KEY {
        return Err(CredentialError::Unsupported);
    }
    read_key(reader)
}

/// Reads a `COSE_Key` (RFC 9052, section 7; RFC 9053, section 7), and its name.
pub fn read_key<'a>(
    reader: &mut Reader<'a>,
) -> Result<(PublicKey, Option<&'a [u8]>), CredentialError> {
    let pairs = reader.map()?;
    let (mut last, mut kind, mut kid, mut curve, mut x, mut y) =
        (None, None, None, None, None, Y::Unknown);
    for _ in 0..pairs {
        match reader.key(&mut last)? {
            1 => kind = Some(reader.int()?),
            2 => kid = Some(reader.bytes()?),
            -1 => curve = Some(reader.int()?),
            -2 => x = Some(*reader.bytes_of::<32>()?),
            -3 if reader.peek()? == Kind::Simple => y = Y::Odd(reader.bool()?),
            -3 => y = Y::Full(*reader.bytes_of::<32>()?),
            -4 => return Err(CredentialError::PrivateKey),
            _ => drop(reader.skip()?),
        }
    }
    let x = x.ok_or(CredentialError::Malformed)?;
    let key = match (kind, curve) {
        (Some(2), Some(1)) => PublicKey::P256 { x, y },
        (Some(1), Some(4)) => PublicKey::X25519(x),
        (Some(1), Some(6)) => PublicKey::Ed25519(x),
        _ => return Err(CredentialError::Unsupported),
    };
    Ok((key, kid))
}

/// Writes a `COSE_Key`.
pub fn write_key(writer: &mut Writer<'_>, key: &PublicKey, kid: Option<&[u8]>) {
    let (kind, curve, x, y) = match key {
        PublicKey::P256 { x, y } => (2, 1, x, *y),
        PublicKey::X25519(x) => (1, 4, x, Y::Unknown),
        PublicKey::Ed25519(x) => (1, 6, x, Y::Unknown),
    };
    let pairs = 3_usize
        .saturating_add(usize::from(kid.is_some()))
        .saturating_add(usize::from(y != Y::Unknown));
    writer.map(pairs).int(1).int(kind);
    if let Some(kid) = kid {
        writer.int(2).bytes(kid);
    }
    writer.int(-1).int(curve).int(-2).bytes(x);
    match y {
        Y::Unknown => {}
        Y::Odd(odd) => drop(writer.int(-3).bool(odd)),
        Y::Full(y) => drop(writer.int(-3).bytes(&y)),
    }
}

/// Writes a credential: a CWT claims set of a subject and its key (RFC 9528, section 3.5.2).
pub fn ccs<'b>(
    buffer: &'b mut [u8],
    subject: Option<&str>,
    kid: Option<&[u8]>,
    key: &PublicKey,
) -> Result<&'b [u8], Full> {
    let mut writer = Writer::new(buffer);
    writer.map(1_usize.saturating_add(usize::from(subject.is_some())));
    if let Some(subject) = subject {
        writer.int(SUB).text(subject);
    }
    writer.int(CNF).map(1).int(CNF_KEY);
    write_key(&mut writer, key, kid);
    writer.finish()
}

/// The SHA-256 thumbprint of a key (RFC 9679, sections 3 and 4). Of a P-256 key all of `y` must be known (section 4.2).
pub fn thumbprint<C: Crypto>(crypto: &mut C, key: &PublicKey) -> Result<[u8; 32], CryptoError> {
    if matches!(
        key,
        PublicKey::P256 {
            y: Y::Unknown | Y::Odd(_),
            ..
        }
    ) {
        return Err(CryptoError::Unsupported);
    }
    let mut buffer = [0; 80];
    let mut writer = Writer::new(&mut buffer);
    write_key(&mut writer, key, None);
    crypto.sha256(&[writer.finish().map_err(|Full| CryptoError::Length)?])
}

/// Whether two keys are the same, in constant time; of P-256, a `y` that one of them does not know decides nothing.
pub fn same_key(one: &PublicKey, other: &PublicKey) -> bool {
    match (one, other) {
        (PublicKey::P256 { x: a, y: y_a }, PublicKey::P256 { x: b, y: y_b }) => {
            let odd = |y: &Y| match y {
                Y::Unknown => None,
                Y::Odd(odd) => Some(*odd),
                Y::Full(y) => Some(y[31] & 1 == 1),
            };
            let signs = match (odd(y_a), odd(y_b)) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            };
            // Two values of y belong to an x, one odd and one even.
            bool::from(a.ct_eq(b)) && signs
        }
        (PublicKey::X25519(a), PublicKey::X25519(b))
        | (PublicKey::Ed25519(a), PublicKey::Ed25519(b)) => a.ct_eq(b).into(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
