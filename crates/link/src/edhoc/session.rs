//! What a handshake leaves: keys for the application, and `message_4` (RFC 9528, sections 4.2, 5.5, and appendices A.1 and H).

use core::fmt;

use crate::cbor::{Reader, Writer};
use crate::crypto::{Crypto, Secret};
use crate::oscore;

use super::schedule::{self, Transcript, label};
use super::{ConnectionId, Ead, EadItem, EdhocError, Suite, ead};

/// The labels of the exporter that OSCORE has (section 10.1).
const MASTER_SECRET: u64 = 0;
const MASTER_SALT: u64 = 1;

/// The end of a handshake, from which `message_4` and the session's keys are made.
pub(super) struct Ended {
    pub(super) suite: Suite,
    pub(super) prk_4e3m: Secret<32>,
    pub(super) th_4: Transcript,
}

impl Ended {
    pub(super) fn establish<C: Crypto>(
        &self,
        crypto: &mut C,
        sender: ConnectionId,
        recipient: ConnectionId,
    ) -> Result<Established, EdhocError> {
        Ok(Established {
            prk_out: schedule::kdf(crypto, &self.prk_4e3m, label::PRK_OUT, &self.th_4)?,
            suite: self.suite,
            sender,
            recipient,
        })
    }
}

/// Both sides are who they say and have the same secret.
pub struct Established {
    prk_out: Secret<32>,
    suite: Suite,
    sender: ConnectionId,
    recipient: ConnectionId,
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Established")
    }
}

impl Established {
    /// The suite of the session.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// What the peer calls the session.
    pub const fn sender(&self) -> ConnectionId {
        self.sender
    }

    /// What we call the session.
    pub const fn recipient(&self) -> ConnectionId {
        self.recipient
    }

    /// Keying material for an application, into all of `out` (section 4.2.1). A label with a context serves one purpose.
    pub fn exporter<C: Crypto>(
        &self,
        crypto: &mut C,
        label: u64,
        context: &[u8],
        out: &mut [u8],
    ) -> Result<(), EdhocError> {
        let prk = self.prk_exporter(crypto)?;
        export(crypto, &prk, label, context, out)
    }

    /// What OSCORE starts with (appendix A.1).
    pub fn oscore<C: Crypto>(&self, crypto: &mut C) -> Result<oscore::Secrets, EdhocError> {
        let prk = self.prk_exporter(crypto)?;
        let mut master_secret = Secret::new([0; 16]);
        let mut master_salt = Secret::new([0; 8]);
        export(crypto, &prk, MASTER_SECRET, &[], master_secret.expose_mut())?;
        export(crypto, &prk, MASTER_SALT, &[], master_salt.expose_mut())?;
        let id =
            |id: &ConnectionId| oscore::Id::new(id.as_bytes()).ok_or(EdhocError::LongIdentifier);
        Ok(oscore::Secrets {
            master_secret,
            master_salt,
            sender_id: id(&self.sender)?,
            recipient_id: id(&self.recipient)?,
            aead: Suite::APPLICATION_AEAD,
        })
    }

    /// New keys in place of the old ones, which are wiped; both sides name the same context (appendix H).
    pub fn key_update<C: Crypto>(
        &mut self,
        crypto: &mut C,
        context: &[u8],
    ) -> Result<(), EdhocError> {
        let mut prk_out = Secret::new([0; 32]);
        let out = prk_out.expose_mut();
        schedule::kdf_mask(crypto, &self.prk_out, label::KEY_UPDATE, &[context], out)?;
        self.prk_out = prk_out;
        Ok(())
    }

    fn prk_exporter<C: Crypto>(&self, crypto: &mut C) -> Result<Secret<32>, EdhocError> {
        let mut prk = Secret::new([0; 32]);
        let out = prk.expose_mut();
        schedule::kdf_mask(crypto, &self.prk_out, label::PRK_EXPORTER, &[], out)?;
        Ok(prk)
    }
}

fn export<C: Crypto>(
    crypto: &mut C,
    prk: &Secret<32>,
    label: u64,
    context: &[u8],
    out: &mut [u8],
) -> Result<(), EdhocError> {
    out.fill(0);
    schedule::kdf_mask(crypto, prk, label, &[context], out)
}

/// The Responder may send `message_4`, and must where nothing else protected goes to the Initiator (section 5.5).
pub struct SendMessage4(pub(super) Ended);

impl fmt::Debug for SendMessage4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendMessage4")
    }
}

impl SendMessage4 {
    /// Composes `message_4` in `out`.
    pub fn message_4<'o, C: Crypto>(
        self,
        crypto: &mut C,
        ead_4: &[EadItem<'_>],
        out: &'o mut [u8],
    ) -> Result<&'o [u8], EdhocError> {
        let Ended {
            suite,
            prk_4e3m,
            th_4,
        } = &self.0;
        let body = out.get_mut(schedule::HEAD..).ok_or(EdhocError::Full)?;
        let mut writer = Writer::new(body);
        ead::write(ead_4, &mut writer)?;
        let length = writer.finish()?.len();
        let length = length.saturating_add(suite.aead().tag_length());
        let body = body.get_mut(..length).ok_or(EdhocError::Full)?;
        schedule::seal(crypto, *suite, (prk_4e3m, label::K_4), th_4, body)?;
        schedule::frame(out, length)
    }
}

/// The Initiator may wait for `message_4`, which proves that the Responder has the keys.
pub struct AwaitMessage4(pub(super) Ended);

impl fmt::Debug for AwaitMessage4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitMessage4")
    }
}

impl AwaitMessage4 {
    /// Reads `message_4` and decrypts it in place. The caller deals with the critical items of the labels `understood`.
    pub fn message_4<'m, C: Crypto>(
        self,
        crypto: &mut C,
        message: &'m mut [u8],
        understood: &[u64],
    ) -> Result<Ead<'m>, EdhocError> {
        let Ended {
            suite,
            prk_4e3m,
            th_4,
        } = &self.0;
        let text = schedule::unframe(message)?;
        let text = schedule::open(crypto, *suite, (prk_4e3m, label::K_4), th_4, text)?;
        Ead::read(Reader::new(text), understood)
    }
}
