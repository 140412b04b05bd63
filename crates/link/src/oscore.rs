//! OSCORE (RFC 8613): messages protected from end to end.
//!
//! A [`Context`] is what two ends share, with their keys, their numbers and what is known of replays. It is made of [`Secrets`],
//! protects requests and responses, and reads those of the other end. What ties a response to its request is kept by the caller:
//! [`Asked`] by who sent the request, [`Owed`] by who must answer it.
//!
//! Not done: being a proxy, or putting together the blocks a proxy cut (section 4.1.3.4.2); Block-wise goes inside.

use core::fmt;

use crate::{
    cbor::Writer,
    crypto::{Aead, Crypto, CryptoError, Secret},
};

mod header;
mod message;
mod outcome;
mod renew;
mod window;

pub use header::Header;
pub use message::message_3;
pub use outcome::{
    Asked, Inner, Outside, Owed, ProtectError, Refused, Request, Response, To, refuse,
};
pub use renew::{Begun, KidContext, Renewed, Renewer, Renewing};
use window::Window;

/// The longest Sender or Recipient ID: the nonce has no room for more (section 3.3).
pub const ID_MAX: usize = 7;
/// Sender Sequence Numbers are below this (section 7.2.1).
const NUMBERS: u64 = 1 << 40;
/// How many numbers are kept ahead at once ([`Kept`]; K of appendix B.1.1).
const AHEAD: u64 = 64;
/// After so many messages that were not authentic, the key protects nothing more: forging a tag of 8 bytes stays below a chance
/// of one in 2⁴⁴. It is the number draft-ietf-core-oscore-key-limits has for AES-CCM.
const FORGERIES: u32 = 1 << 20;

/// A Sender or Recipient ID: up to seven bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Zero behind the length, so that equal IDs are equal.
    bytes: [u8; ID_MAX],
    length: u8,
}

impl Id {
    /// The ID of these bytes; more than seven are none.
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; ID_MAX];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        let length = u8::try_from(id.len()).ok()?;
        Some(Self { bytes, length })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

/// What a context is derived from (section 3.2), as EDHOC agrees on it (RFC 9528, appendix A.1) or two ends were given it.
#[derive(Debug)]
pub struct Secrets {
    /// The Master Secret.
    pub master_secret: Secret<16>,
    /// The Master Salt. Where there is none: zeros, which give the same keys.
    pub master_salt: Secret<8>,
    /// What names us in what we send: the peer has it as its Recipient ID.
    pub sender_id: Id,
    /// What names the peer.
    pub recipient_id: Id,
    /// The algorithm of the messages.
    pub aead: Aead,
}

/// The numbers of a context must be kept where a loss of power does not reach them (appendix B.1.1).
pub trait Kept {
    /// Keeps `next`, the first number that may be used after a restart. When this returns, it is kept.
    fn store(&mut self, next: u64) -> Result<(), NotKept>;
}

/// The number could not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotKept;

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sequence number could not be kept")
    }
}

impl core::error::Error for NotKept {}

/// A security context (section 3.1). Never copied: two of one would use a nonce twice.
#[derive(Debug)]
pub struct Context {
    sender_key: Secret<16>,
    recipient_key: Secret<16>,
    common_iv: Secret<13>,
    sender_id: Id,
    recipient_id: Id,
    aead: Aead,
    /// What the caller knows it by.
    scope: u16,
    /// Messages that were not authentic.
    forgeries: u32,
    /// The next Sender Sequence Number.
    next: u64,
    /// The first number that may not be used yet.
    limit: u64,
    /// When it ends, on the caller's clock.
    expires: u64,
    window: Window,
}

// A gateway has one for each of its devices.
const _: () = assert!(size_of::<Context>() <= 128);

impl Context {
    /// Derives a context nobody has used yet (section 3.2.1). Both ends having one ID is a mistake: they would share a key.
    pub fn derive<C: Crypto>(
        crypto: &mut C,
        secrets: &Secrets,
        id_context: Option<&[u8]>,
    ) -> Result<Self, CryptoError> {
        if secrets.sender_id == secrets.recipient_id {
            return Err(CryptoError::Unsupported);
        }
        let key =
            crypto.hkdf_extract(secrets.master_salt.expose(), secrets.master_secret.expose())?;
        let mut derive = |id: &[u8], kind: &str, out: &mut [u8]| {
            let mut info = [0; 96];
            let mut info = Writer::new(&mut info);
            info.array(5).bytes(id);
            match id_context {
                Some(context) => info.bytes(context),
                None => info.null(),
            };
            // Of all values here, only lengths of keys and nonces: they fit.
            let length = u64::try_from(out.len()).unwrap_or_default();
            info.int(secrets.aead.cose().into()).text(kind).uint(length);
            let info = info.finish().map_err(|_| CryptoError::Length)?;
            crypto.hkdf_expand(&key, &[info], out)
        };
        let mut context = Self {
            sender_key: Secret::new([0; 16]),
            recipient_key: Secret::new([0; 16]),
            common_iv: Secret::new([0; 13]),
            sender_id: secrets.sender_id,
            recipient_id: secrets.recipient_id,
            aead: secrets.aead,
            scope: 0,
            forgeries: 0,
            next: 0,
            limit: NUMBERS,
            expires: u64::MAX,
            window: Window::NEW,
        };
        let (ours, theirs) = (secrets.sender_id, secrets.recipient_id);
        derive(ours.as_bytes(), "Key", context.sender_key.expose_mut())?;
        derive(theirs.as_bytes(), "Key", context.recipient_key.expose_mut())?;
        derive(&[], "IV", context.common_iv.expose_mut())?;
        Ok(context)
    }

    /// The same context, its numbers to be kept from the first on ([`Context::keep_ahead`]): for keys that outlive a restart.
    #[must_use]
    pub const fn kept(mut self) -> Self {
        self.limit = self.next;
        self
    }

    /// The same context after a restart, with the number that was stored last (appendix B.1). What was received before is not
    /// known any more: the first request is asked to prove that it is fresh ([`Refused::NotFresh`]).
    #[must_use]
    pub const fn resumed(mut self, stored: u64) -> Self {
        self.next = stored;
        self.limit = stored;
        self.window = Window::lost(stored);
        self
    }

    /// The same context, refused from `expires` on, with a number the caller knows it by.
    #[must_use]
    pub const fn limited(mut self, expires: u64, scope: u16) -> Self {
        self.expires = expires;
        self.scope = scope;
        self
    }

    /// What names us.
    pub const fn sender_id(&self) -> &Id {
        &self.sender_id
    }

    /// What names the peer.
    pub const fn recipient_id(&self) -> &Id {
        &self.recipient_id
    }

    /// The number the caller knows it by.
    pub const fn scope(&self) -> u16 {
        self.scope
    }

    /// From when on it is refused.
    pub const fn expires(&self) -> u64 {
        self.expires
    }

    /// Whether it serves: it has not ended, and not too many messages were forged. If not, new keys are due.
    pub const fn usable(&self, now: u64) -> bool {
        now < self.expires && self.forgeries < FORGERIES && self.next < NUMBERS
    }

    /// Keeps numbers ahead if the next one is not kept yet: to be called before each message where the context is
    /// [`kept`](Self::kept) or [`resumed`](Self::resumed). Otherwise protecting is refused.
    pub fn keep_ahead(&mut self, kept: &mut dyn Kept) -> Result<(), NotKept> {
        if self.next >= self.limit {
            let limit = self.next.saturating_add(AHEAD).min(NUMBERS);
            kept.store(limit)?;
            self.limit = limit;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
