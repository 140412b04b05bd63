//! EDHOC (RFC 9528): two parties learn who the other is and agree on keys, in three messages or four.
//!
//! Bytes in, bytes out: each step consumes a state, takes or composes a message in the caller's buffer, and gives the next state.
//! An error ends the session; [`error_message`] is what the peer may be told.
//!
//! | Initiator | Responder |
//! |---|---|
//! | [`Initiator::start`] composes `message_1` | |
//! | | [`GotMessage1::read`], [`GotMessage1::message_2`] |
//! | [`Initiator::message_2`], [`GotMessage2::verify`], [`Verified::message_3`] | |
//! | | [`WaitMessage3::message_3`], [`GotMessage3::verify`], if wanted [`SendMessage4::message_4`] |
//! | if expected [`AwaitMessage4::message_4`] | |
//!
//! The methods 0 to 3, the cipher suites 0 to 3. A message is as long as its buffer allows, at most 65,535 bytes, and `PLAINTEXT_2`
//! at most 8,160 (appendix E is not done). Connection identifiers have 8 bytes at most.

use core::fmt;

use crate::cbor::{self, Full, Kind, Reader, Writer};
use crate::credential::{Credential, IdCred};
use crate::crypto::{Aead, CryptoError, Curve, PublicKey};

mod ead;
mod error;
#[cfg(feature = "curve25519")]
pub(crate) mod fuzzing;
mod initiator;
mod responder;
mod schedule;
mod session;

pub use ead::{Ead, EadItem, Items};
pub use error::{PeerError, error_message, read_error};
pub use initiator::{GotMessage2, Initiator, Proposal, Verified};
pub use responder::{Accepts, GotMessage1, GotMessage3, WaitMessage3};
pub use session::{AwaitMessage4, Established, SendMessage4};

/// Who authenticates how (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// 0: both sign.
    SignSign,
    /// 1: the Initiator signs, the Responder has a static Diffie-Hellman key.
    SignStatic,
    /// 2: the Initiator has a static Diffie-Hellman key, the Responder signs.
    StaticSign,
    /// 3: both have static Diffie-Hellman keys.
    StaticStatic,
}

impl Method {
    /// All of them, by their numbers.
    pub const ALL: [Self; 4] = [
        Self::SignSign,
        Self::SignStatic,
        Self::StaticSign,
        Self::StaticStatic,
    ];

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::SignSign => 0,
            Self::SignStatic => 1,
            Self::StaticSign => 2,
            Self::StaticStatic => 3,
        }
    }

    /// The method of a number.
    pub fn of(number: i64) -> Option<Self> {
        let number = usize::try_from(number).ok()?;
        Self::ALL.get(number).copied()
    }

    /// Whether the Initiator signs.
    pub const fn initiator_signs(self) -> bool {
        matches!(self, Self::SignSign | Self::SignStatic)
    }

    /// Whether the Responder signs.
    pub const fn responder_signs(self) -> bool {
        matches!(self, Self::SignSign | Self::StaticSign)
    }
}

/// A cipher suite (section 3.6). All of these use SHA-256, and protect OSCORE messages with AES-CCM-16-64-128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// 0: X25519, Ed25519, tags of 8 bytes.
    S0,
    /// 1: X25519, Ed25519, tags of 16 bytes.
    S1,
    /// 2: P-256, ES256, tags of 8 bytes.
    S2,
    /// 3: P-256, ES256, tags of 16 bytes.
    S3,
}

impl Suite {
    /// All of them, by their numbers.
    pub const ALL: [Self; 4] = [Self::S0, Self::S1, Self::S2, Self::S3];

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::S0 => 0,
            Self::S1 => 1,
            Self::S2 => 2,
            Self::S3 => 3,
        }
    }

    /// The suite of a number.
    pub fn of(number: i64) -> Option<Self> {
        let number = usize::try_from(number).ok()?;
        Self::ALL.get(number).copied()
    }

    /// The AEAD of EDHOC's messages.
    pub const fn aead(self) -> Aead {
        match self {
            Self::S0 | Self::S2 => Aead::Ccm16Tag64,
            Self::S1 | Self::S3 => Aead::Ccm16Tag128,
        }
    }

    /// The AEAD of the application's messages, in each of them.
    pub const APPLICATION_AEAD: Aead = Aead::Ccm16Tag64;

    /// Bytes of the MAC of who authenticates with a static Diffie-Hellman key.
    pub const fn mac_length(self) -> usize {
        self.aead().tag_length()
    }

    /// The curve of key agreement.
    pub const fn curve(self) -> Curve {
        match self {
            Self::S0 | Self::S1 => Curve::X25519,
            Self::S2 | Self::S3 => Curve::P256,
        }
    }

    /// The curve of signatures.
    pub const fn signature_curve(self) -> Curve {
        match self {
            Self::S0 | Self::S1 => Curve::Ed25519,
            Self::S2 | Self::S3 => Curve::P256,
        }
    }

    /// Bytes of `Signature_or_MAC`.
    const fn proof_length(self, signs: bool) -> usize {
        if signs { 64 } else { self.mac_length() }
    }

    /// Whether a key can authenticate its owner in this suite.
    const fn fits(self, key: &PublicKey, signs: bool) -> bool {
        let curve = if signs {
            self.signature_curve()
        } else {
            self.curve()
        };
        matches!(
            (curve, key),
            (Curve::P256, PublicKey::P256 { .. })
                | (Curve::X25519, PublicKey::X25519(_))
                | (Curve::Ed25519, PublicKey::Ed25519(_))
        )
    }

    /// What to propose to a peer that has told which suites it knows (section 6.3.1): of our own, the most preferred first, those up
    /// to the first it knows. Nothing, if it knows none of them.
    pub fn select(ours: &[Self], peers: SuiteSet) -> Option<&[Self]> {
        let at = ours.iter().position(|&suite| peers.has(suite))?;
        ours.get(..=at)
    }
}

/// Some of the cipher suites, in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SuiteSet(u8);

impl SuiteSet {
    /// All that are known here.
    pub const ALL: Self = Self(0b1111);

    /// These.
    pub fn of(suites: &[Suite]) -> Self {
        Self(suites.iter().fold(0, |set, &suite| set | Self::bit(suite)))
    }

    /// Whether it is one of them.
    pub const fn has(self, suite: Suite) -> bool {
        self.0 & Self::bit(suite) != 0
    }

    /// Each of them.
    pub fn each(self) -> impl Iterator<Item = Suite> + Clone {
        Suite::ALL.into_iter().filter(move |&suite| self.has(suite))
    }

    const fn bit(suite: Suite) -> u8 {
        1 << suite.number()
    }
}

/// The name that one side gives to a session, for the other to call it by (section 3.3): 8 bytes at most, of which OSCORE takes 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId {
    length: u8,
    bytes: [u8; Self::LONGEST],
}

impl ConnectionId {
    /// More bytes are refused.
    pub const LONGEST: usize = 8;

    /// These bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, EdhocError> {
        let mut id = Self {
            length: u8::try_from(bytes.len()).map_err(|_| EdhocError::LongIdentifier)?,
            bytes: [0; Self::LONGEST],
        };
        id.bytes
            .get_mut(..bytes.len())
            .ok_or(EdhocError::LongIdentifier)?
            .copy_from_slice(bytes);
        Ok(id)
    }

    /// The bytes: the OSCORE identifier (section 3.3.3).
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// Reads it: a byte that is a small integer stands for itself (section 3.3.2).
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, EdhocError> {
        if reader.peek()? == Kind::Bytes {
            let id = Self::new(reader.bytes()?)?;
            return if id.is_integer() {
                Err(EdhocError::Malformed)
            } else {
                Ok(id)
            };
        }
        let id = Self::new(reader.skip()?)?;
        if id.is_integer() {
            Ok(id)
        } else {
            Err(EdhocError::Malformed)
        }
    }

    /// Writes it: as it stands before a message, too (appendix A.2).
    pub fn write(&self, writer: &mut Writer<'_>) {
        if self.is_integer() {
            writer.raw(self.as_bytes());
        } else {
            writer.bytes(self.as_bytes());
        }
    }

    const fn is_integer(&self) -> bool {
        self.length == 1 && matches!(self.bytes[0], 0x00..=0x17 | 0x20..=0x37)
    }
}

/// Our own side: what we call our credential, the credential, and its private key.
#[derive(Debug)]
pub struct Identity<'a, K> {
    /// How the peer is told which credential it is: a name, or all of it.
    pub id_cred: IdCred<'a>,
    /// The credential, as the peer has it.
    pub credential: Credential<'a>,
    /// Its private key.
    pub key: &'a K,
}

/// Why a session ended. Peers are told what [`error_message`] makes of it, which is little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdhocError {
    /// The message is not encoded as it must be, or not this message.
    Malformed,
    /// The method is unknown, or not accepted.
    Method,
    /// The Initiator chose a suite that we do not know, or passed one over that we do. These we have.
    WrongSuite(SuiteSet),
    /// A connection identifier has more than 8 bytes, or more than 7 where OSCORE is to use it.
    LongIdentifier,
    /// Both sides gave the session one name (section 3.3.3).
    SameIdentifier,
    /// A critical item of external authorization data that nobody here understands (section 3.8).
    CriticalItem(u64),
    /// The credential that the peer named is not known here: for the caller to answer with.
    UnknownCredential,
    /// A credential's key is of no use in this suite and method, or the credential could not be read.
    Credential,
    /// The peer shows our own key: our own messages come back, or two devices have one key.
    Reflected,
    /// The peer could not prove that it is who it says.
    NotAuthentic,
    /// A public key is no valid point.
    BadPublicKey,
    /// The cryptographic backend failed.
    Crypto(CryptoError),
    /// A buffer of ours is too small.
    Full,
}

impl fmt::Display for EdhocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the message is malformed",
            Self::Method => "the method is not accepted",
            Self::WrongSuite(_) => "the cipher suite is not accepted",
            Self::LongIdentifier => "a connection identifier is too long",
            Self::SameIdentifier => "both sides chose the same connection identifier",
            Self::CriticalItem(_) => "a critical item is not understood",
            Self::UnknownCredential => "the credential is not known",
            Self::Credential => "the credential cannot be used",
            Self::Reflected => "the peer shows our own key",
            Self::NotAuthentic => "the peer is not authentic",
            Self::BadPublicKey => "a public key is no valid point",
            Self::Crypto(_) => "the cryptographic backend failed",
            Self::Full => "a buffer is too small",
        })
    }
}

impl core::error::Error for EdhocError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Crypto(error) = self {
            Some(error)
        } else {
            None
        }
    }
}

impl From<cbor::Error> for EdhocError {
    fn from(_: cbor::Error) -> Self {
        Self::Malformed
    }
}

impl From<Full> for EdhocError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl From<CryptoError> for EdhocError {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::NotAuthentic => Self::NotAuthentic,
            CryptoError::BadPublicKey => Self::BadPublicKey,
            CryptoError::Unsupported | CryptoError::Length | CryptoError::Failed => {
                Self::Crypto(error)
            }
        }
    }
}

#[cfg(test)]
mod tests;
