//! Grants: what one device may ask of another, signed by the gateway (CWT, RFC 8392; AIF, RFC 9237).
//!
//! A grant is a `COSE_Sign1` (RFC 9052, section 4.2; ES256) of these claims and no others:
//!
//! | Claim | Meaning |
//! |---|---|
//! | `sub` (2) | who may ask, by the gateway's name for it |
//! | `aud` (3) | who is asked |
//! | `exp` (4), `iat` (6) | until when, and since when |
//! | `cnf` (8) | the asker's public key, as a `COSE_Key` (RFC 8747, section 3.2) |
//! | `scope` (9) | AIF in a byte string: pairs of a path and a set of methods (RFC 9237, section 3) |
//! | −65537 | the epoch of `aud` at which the grant was given |
//!
//! `sub` and `cnf` together are the asker's credential, a CWT claims set: who presents a grant names its key by its short name only,
//! and the other side has the credential from the grant. The key that proves itself in the handshake must be the one in `cnf`.

mod clock;
mod scope;
mod sign;

use core::fmt;

use crate::cbor::{self, Reader, Writer};
use crate::credential::{self, Credential, CredentialError};
use crate::crypto::{Crypto, CryptoError, PublicKey};

pub use self::clock::{Clock, SLACK};
pub use self::scope::{SCOPE_MAX, Scope};
pub use self::sign::{Issue, IssueError};

/// The label of the EAD item that carries a grant: of those for private use (RFC 9528, section 10.4). It is sent as critical.
pub const GRANT_EAD: u64 = 65_535;

/// The longest grant that is read.
pub const GRANT_MAX: usize = 512;

mod claim {
    pub(super) const SUB: i64 = 2;
    pub(super) const AUD: i64 = 3;
    pub(super) const EXP: i64 = 4;
    pub(super) const IAT: i64 = 6;
    pub(super) const CNF: i64 = 8;
    pub(super) const SCOPE: i64 = 9;
    /// Private use (RFC 8392, section 9.1.1).
    pub(super) const EPOCH: i64 = -65_537;
}

/// Why a grant gives nothing. The one who presented it is not told which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantError {
    /// It could not be read, or says something that is not known here.
    Malformed,
    /// The gateway has not signed it.
    NotSigned,
    /// It is for another device.
    NotForUs,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYet,
    /// It was given before grants were revoked.
    Revoked,
    /// It was given to another key than the one that proved itself.
    OtherKey,
    /// The cryptography failed.
    Crypto(CryptoError),
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the grant could not be read",
            Self::NotSigned => "the grant is not signed by the gateway",
            Self::NotForUs => "the grant is for another device",
            Self::Expired => "the grant has expired",
            Self::NotYet => "the grant is not valid yet",
            Self::Revoked => "the grant was revoked",
            Self::OtherKey => "the grant was given to another key",
            Self::Crypto(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for GrantError {}

impl From<cbor::Error> for GrantError {
    fn from(_: cbor::Error) -> Self {
        Self::Malformed
    }
}

impl From<cbor::Full> for GrantError {
    fn from(_: cbor::Full) -> Self {
        Self::Malformed
    }
}

impl From<CredentialError> for GrantError {
    fn from(_: CredentialError) -> Self {
        Self::Malformed
    }
}

/// A grant that was read completely, and that nobody has verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant<'a> {
    signed: sign::Sign1<'a>,
    /// Who may ask.
    pub subject: &'a str,
    /// Who is asked.
    pub audience: &'a str,
    /// Until when, in seconds since 1970.
    pub expires: u64,
    /// Since when.
    pub issued: u64,
    /// The key of who may ask.
    pub key: PublicKey,
    cnf: &'a [u8],
    /// What may be asked.
    pub scope: Scope,
    /// The epoch of who is asked.
    pub epoch: u64,
}

impl<'a> Grant<'a> {
    /// Reads a grant whole. Whatever is unknown in it is an error: it might be a restriction.
    pub fn read(bytes: &'a [u8]) -> Result<Self, GrantError> {
        if bytes.len() > GRANT_MAX {
            return Err(GrantError::Malformed);
        }
        let signed = sign::Sign1::read(bytes)?;
        let mut reader = Reader::new(signed.payload);
        let pairs = reader.map()?;
        let (mut subject, mut audience, mut key, mut cnf, mut scope) =
            (None, None, None, None, None);
        let (mut expires, mut issued, mut epoch) = (None, None, None);
        let mut last = None;
        for _ in 0..pairs {
            match reader.key(&mut last)? {
                claim::SUB => subject = Some(reader.text()?),
                claim::AUD => audience = Some(reader.text()?),
                claim::EXP => expires = Some(reader.uint()?),
                claim::IAT => issued = Some(reader.uint()?),
                claim::CNF => {
                    let mut inner = reader;
                    key = Some(credential::read_cnf(&mut inner)?.0);
                    cnf = Some(reader.skip()?);
                }
                claim::SCOPE => scope = Some(Scope::read(reader.bytes()?)?),
                claim::EPOCH => epoch = Some(reader.uint()?),
                _ => return Err(GrantError::Malformed),
            }
        }
        reader.end()?;
        let missing = GrantError::Malformed;
        Ok(Self {
            signed,
            subject: subject.ok_or(missing)?,
            audience: audience.ok_or(missing)?,
            expires: expires.ok_or(missing)?,
            issued: issued.ok_or(missing)?,
            key: key.ok_or(missing)?,
            cnf: cnf.ok_or(missing)?,
            scope: scope.ok_or(missing)?,
            epoch: epoch.ok_or(missing)?,
        })
    }

    /// The credential of who may ask, as it proves itself with: `sub` and `cnf`.
    pub fn credential<'b>(&self, buffer: &'b mut [u8]) -> Result<Credential<'b>, GrantError> {
        let mut writer = Writer::new(buffer);
        writer.map(2).int(claim::SUB).text(self.subject);
        writer.int(claim::CNF).raw(self.cnf);
        Ok(Credential::read(writer.finish()?)?)
    }

    /// What the grant gives to the owner of `presenter`, the key that proved itself to us just now. All it takes is checked here:
    /// the signature of the gateway's `authority`, that it is for `us`, the time, the epoch, and the key. `clock` learns from what
    /// is verified.
    pub fn verify<C: Crypto>(
        &self,
        crypto: &mut C,
        authority: &PublicKey,
        us: &str,
        presenter: &PublicKey,
        (clock, uptime): (&mut Clock, u64),
    ) -> Result<Granted, GrantError> {
        if self.audience != us {
            return Err(GrantError::NotForUs);
        }
        if !credential::same_key(&self.key, presenter) {
            return Err(GrantError::OtherKey);
        }
        self.signed.verify(crypto, authority)?;
        let ends = clock.judge(uptime, self.issued, self.expires, self.epoch)?;
        Ok(Granted {
            scope: self.scope,
            ends,
            epoch: self.epoch,
        })
    }
}

/// What a verified grant gives: kept beside the session, and asked before each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Granted {
    scope: Scope,
    /// By our own counting of time.
    ends: u64,
    epoch: u64,
}

impl Granted {
    /// Whether a request of this method, a CoAP code from 1 to 7, for this path is granted now. `clock` knows of revocations since.
    pub fn allows(&self, clock: &Clock, uptime: u64, method: u8, path: &str) -> bool {
        self.stands(clock, uptime) && self.scope.allows(method, path)
    }

    /// Whether it still gives anything: its session ends with it.
    pub const fn stands(&self, clock: &Clock, uptime: u64) -> bool {
        uptime < self.ends && self.epoch >= clock.epoch()
    }

    /// When it ends, in milliseconds as the `uptime` it was verified at.
    pub const fn ends(&self) -> u64 {
        self.ends
    }
}
