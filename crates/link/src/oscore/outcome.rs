//! What is asked of a context, and what comes of it.

use core::fmt;

use crate::{
    coap::{
        message::{Body, BuildError, Builder, Code, Token, Type},
        option,
    },
    crypto::CryptoError,
};

/// A request of ours: what its responses are read with.
///
/// Keep it until the response came, and while an observation lasts.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    pub(super) number: u64,
    pub(super) observe: bool,
    /// A response without a number was accepted; of a request without Observe, any.
    pub(super) answered: bool,
    /// The Notification Number (section 7.4.1).
    pub(super) latest: Option<u64>,
}

/// A request of the peer: what its responses are protected with.
///
/// Not copied, for a copy would use the nonce of the request twice. Keep it until the response is sent, and while an observation
/// lasts.
#[derive(Debug, PartialEq, Eq)]
pub struct Owed {
    pub(super) number: u64,
    /// The nonce of the request is not for responses: it was used, or there will be more of them (section 4.1.3.5.2), or the
    /// request may be old (appendix B.1.2).
    pub(super) spent: bool,
}

/// What was inside of a protected message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner<'a> {
    /// The method or response code.
    pub code: Code,
    /// Options and payload.
    pub body: Body<'a>,
}

/// A request that is authentic, new, and fresh as far as anybody can know.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it says.
    pub inner: Inner<'a>,
    /// What its response needs.
    pub owed: Owed,
}

/// A response that is authentic and belongs to our request.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// What it says.
    pub inner: Inner<'a>,
    /// If it is a notification: its place among them. The first may have none and counts as the oldest.
    pub order: Option<u64>,
}

/// What a request says outside of its protection, if anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outside<'a> {
    /// The kid context (section 5.1).
    pub kid_context: Option<&'a [u8]>,
    /// EDHOC message 3, to travel with the request (RFC 9668, section 3.2). Empty: none.
    pub message_3: &'a [u8],
}

/// The header of a message that is written here.
#[derive(Debug, Clone, Copy)]
pub struct To {
    /// Confirmable or what else.
    pub kind: Type,
    /// The message ID.
    pub id: u16,
    /// The token of the request.
    pub token: Token,
}

/// Why a message was not protected. Nothing of it may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtectError {
    /// The context has expired, saw too many forgeries, or has no numbers left: new keys are due.
    Ended,
    /// The number is not kept yet: [`super::Context::keep_ahead`] comes first.
    NotKept,
    /// It does not fit the buffer.
    Full,
    /// It is no request or no response, as the case may be, or has an option that cannot be protected: OSCORE, EDHOC, Proxy-Uri.
    NotPlain,
    /// The cryptography failed.
    Crypto(CryptoError),
}

impl fmt::Display for ProtectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the security context has ended",
            Self::NotKept => "the sequence number is not kept yet",
            Self::Full => "the protected message does not fit its buffer",
            Self::NotPlain => "the message is not one that can be protected",
            Self::Crypto(_) => "the cryptography failed",
        })
    }
}

impl core::error::Error for ProtectError {}

impl From<BuildError> for ProtectError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Full => Self::Full,
            BuildError::Order => Self::NotPlain,
        }
    }
}

/// Why a message was not accepted. Nothing of it may be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not protected at all.
    Unprotected,
    /// It is no OSCORE message, or what was inside is no message.
    Malformed,
    /// Nobody has a context for it.
    NoContext,
    /// The context has expired or saw too many forgeries.
    Ended,
    /// It was received before, is too old to know, or older than what came already.
    Replayed,
    /// Its tag is not right.
    NotAuthentic,
    /// We restarted, and it may be from before: to be answered with [`super::Context::challenge`].
    NotFresh(Owed),
    /// The cryptography itself failed.
    Crypto(CryptoError),
}

impl Refused {
    /// The code that a request is answered with (section 8.2).
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed => Code::BAD_OPTION,
            Self::NotAuthentic => Code::BAD_REQUEST,
            Self::Crypto(_) => Code::INTERNAL_SERVER_ERROR,
            Self::Unprotected
            | Self::NoContext
            | Self::Ended
            | Self::Replayed
            | Self::NotFresh(_) => Code::UNAUTHORIZED,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unprotected => "the message is not protected",
            Self::Malformed => "the message is no OSCORE message",
            Self::NoContext => "there is no security context for the message",
            Self::Ended => "the security context has ended",
            Self::Replayed => "the message was received before",
            Self::NotAuthentic => "the message is not authentic",
            Self::NotFresh(_) => "the request may be from before the restart",
            Self::Crypto(_) => "the cryptography failed",
        })
    }
}

impl core::error::Error for Refused {}

/// Writes the unprotected answer to a refused request: its code, not to be stored, and not a word more. Gives its length.
pub fn refuse(why: &Refused, to: To, out: &mut [u8]) -> Result<usize, BuildError> {
    let mut builder = Builder::new(out, to.kind, why.code(), to.id, &to.token);
    builder.uint(option::MAX_AGE, 0);
    Ok(builder.finish()?.len())
}
