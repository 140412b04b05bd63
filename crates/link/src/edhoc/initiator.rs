//! The Initiator (RFC 9528, sections 5.2.2, 5.3.3 and 5.4.2).

use core::fmt;

use crate::cbor::{Reader, Writer};
use crate::credential::{Credential, IdCred};
use crate::crypto::{Crypto, Secret};

use super::error::write_suites;
use super::schedule::{self, Plaintext, Proof, Transcript, label};
use super::session::Ended;
use super::{
    AwaitMessage4, ConnectionId, Ead, EadItem, EdhocError, Established, Identity, Method, Suite,
    ead,
};

/// What `message_1` proposes.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// Who authenticates how.
    pub method: Method,
    /// The suite that this session is to use is the last; before it stand all that we like better (section 5.2.2).
    /// [`Suite::select`] cuts them so.
    pub suites: &'a [Suite],
    /// What we call the session.
    pub c_i: ConnectionId,
    /// What is sent along, in clear.
    pub ead_1: &'a [EadItem<'a>],
}

/// `message_1` is on its way.
pub struct Initiator<C: Crypto> {
    x: C::PrivateKey,
    method: Method,
    suite: Suite,
    c_i: ConnectionId,
    message_1: [u8; 32],
}

impl<C: Crypto> fmt::Debug for Initiator<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiator")
    }
}

impl<C: Crypto> Initiator<C> {
    /// Composes `message_1` in `out`.
    pub fn start<'o>(
        crypto: &mut C,
        proposal: &Proposal<'_>,
        out: &'o mut [u8],
    ) -> Result<(Self, &'o [u8]), EdhocError> {
        let suite = *proposal.suites.last().ok_or(EdhocError::Malformed)?;
        let numbers = proposal.suites.iter().map(|suite| suite.number().into());
        Self::propose(crypto, proposal, (suite, numbers), out)
    }

    /// As [`Initiator::start`], with the suites by their numbers.
    pub(super) fn propose<'o>(
        crypto: &mut C,
        proposal: &Proposal<'_>,
        (suite, numbers): (Suite, impl Iterator<Item = i64> + Clone),
        out: &'o mut [u8],
    ) -> Result<(Self, &'o [u8]), EdhocError> {
        let (x, g_x) = crypto.generate(suite.curve())?;
        let mut writer = Writer::new(out);
        writer.uint(proposal.method.number().into());
        write_suites(numbers, &mut writer);
        writer.bytes(&g_x);
        proposal.c_i.write(&mut writer);
        ead::write(proposal.ead_1, &mut writer)?;
        let message = writer.finish()?;
        let state = Self {
            x,
            method: proposal.method,
            suite,
            c_i: proposal.c_i,
            message_1: crypto.sha256(&[message])?,
        };
        Ok((state, message))
    }

    /// Reads `message_2` and decrypts it in place. The caller deals with the critical items of the labels `understood`.
    ///
    /// Nothing of it is proven yet: whoever answered has sent it.
    pub fn message_2<'m>(
        self,
        crypto: &mut C,
        message: &'m mut [u8],
        understood: &[u64],
    ) -> Result<GotMessage2<'m, C>, EdhocError> {
        let (g_y, text) = schedule::unframe(message)?
            .split_first_chunk_mut::<32>()
            .ok_or(EdhocError::Malformed)?;
        let th_2 = Transcript::second(crypto, g_y, &self.message_1)?;
        let prk_2e = schedule::prk_2e(crypto, &self.x, g_y, &th_2)?;
        schedule::keystream(crypto, &prk_2e, &th_2, text)?;
        let text: &'m [u8] = text;
        let mut reader = Reader::new(text);
        let c_r = ConnectionId::read(&mut reader)?;
        if c_r == self.c_i {
            return Err(EdhocError::SameIdentifier);
        }
        let length = self.suite.proof_length(self.method.responder_signs());
        Ok(GotMessage2 {
            plaintext: Plaintext::read(text, reader, length, understood)?,
            before: self,
            g_y: *g_y,
            c_r,
            th_2,
            prk_2e,
        })
    }
}

/// `message_2` is readable; whether it is authentic, the Responder's credential will tell.
pub struct GotMessage2<'m, C: Crypto> {
    before: Initiator<C>,
    g_y: [u8; 32],
    c_r: ConnectionId,
    th_2: Transcript,
    prk_2e: Secret<32>,
    plaintext: Plaintext<'m>,
}

impl<C: Crypto> fmt::Debug for GotMessage2<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GotMessage2")
    }
}

impl<'m, C: Crypto> GotMessage2<'m, C> {
    /// Which credential the Responder claims.
    pub const fn id_cred(&self) -> &IdCred<'m> {
        &self.plaintext.id_cred
    }

    /// `EAD_2`. Not proven to be the Responder's before [`GotMessage2::verify`].
    pub const fn ead(&self) -> Ead<'m> {
        self.plaintext.ead
    }

    #[cfg(feature = "curve25519")]
    pub(super) const fn plaintext(&self) -> &'m [u8] {
        self.plaintext.all
    }

    /// What the Responder calls the session.
    pub const fn c_r(&self) -> ConnectionId {
        self.c_r
    }

    /// That the Responder is the owner of this credential, and is not ourselves.
    ///
    /// `scratch` is used where the Responder signs: for its credential, both names of it, `EAD_2` and 100 bytes.
    pub fn verify<'i>(
        self,
        crypto: &mut C,
        peer: &Credential<'_>,
        own: &'i Identity<'i, C::PrivateKey>,
        scratch: &mut [u8],
    ) -> Result<Verified<'i, C>, EdhocError> {
        let Initiator {
            x,
            method,
            suite,
            c_i,
            ..
        } = self.before;
        let signs = method.responder_signs();
        schedule::usable(suite, signs, peer, &own.credential)?;
        let prk_3e2m = if signs {
            self.prk_2e
        } else {
            let keys = (&x, schedule::agreement_key(&peer.key));
            schedule::prk_static(crypto, &self.prk_2e, label::SALT_3E2M, &self.th_2, keys)?
        };
        let proof = Proof {
            suite,
            signs,
            label: label::MAC_2,
            prk: &prk_3e2m,
            th: &self.th_2,
            c_r: Some(self.c_r),
        };
        proof.check(crypto, &self.plaintext, peer, scratch)?;
        let th_3 = self.th_2.next(crypto, self.plaintext.all, peer.bytes)?;
        Ok(Verified {
            own,
            signs: method.initiator_signs(),
            suite,
            g_y: self.g_y,
            c_i,
            c_r: self.c_r,
            th_3,
            prk_3e2m,
        })
    }
}

/// The Responder is who it says; `message_3` can be composed.
pub struct Verified<'i, C: Crypto> {
    own: &'i Identity<'i, C::PrivateKey>,
    signs: bool,
    suite: Suite,
    g_y: [u8; 32],
    c_i: ConnectionId,
    c_r: ConnectionId,
    th_3: Transcript,
    prk_3e2m: Secret<32>,
}

impl<C: Crypto> fmt::Debug for Verified<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified")
    }
}

impl<C: Crypto> Verified<'_, C> {
    /// Composes `message_3` in `out`.
    ///
    /// Where we sign, `out` needs room for our credential, both names of it, `EAD_3` twice and 200 bytes.
    ///
    /// That the Responder has the keys is known when `message_4`, or anything else protected with them, has come from it.
    pub fn message_3<'o>(
        self,
        crypto: &mut C,
        ead_3: &[EadItem<'_>],
        out: &'o mut [u8],
    ) -> Result<(Established, AwaitMessage4, &'o [u8]), EdhocError> {
        let prk_4e3m = if self.signs {
            self.prk_3e2m.clone()
        } else {
            let keys = (self.own.key, &self.g_y);
            schedule::prk_static(crypto, &self.prk_3e2m, label::SALT_4E3M, &self.th_3, keys)?
        };
        let proof = Proof {
            suite: self.suite,
            signs: self.signs,
            label: label::MAC_3,
            prk: &prk_4e3m,
            th: &self.th_3,
            c_r: None,
        };
        let body = out.get_mut(schedule::HEAD..).ok_or(EdhocError::Full)?;
        let length = proof.compose(crypto, self.own, ead_3, body)?;
        let text = body.get(..length).ok_or(EdhocError::Full)?;
        let th_4 = self.th_3.next(crypto, text, self.own.credential.bytes)?;
        let length = length.saturating_add(self.suite.aead().tag_length());
        let body = body.get_mut(..length).ok_or(EdhocError::Full)?;
        let key = (&self.prk_3e2m, label::K_3);
        schedule::seal(crypto, self.suite, key, &self.th_3, body)?;
        let message = schedule::frame(out, length)?;
        let ended = Ended {
            suite: self.suite,
            prk_4e3m,
            th_4,
        };
        let established = ended.establish(crypto, self.c_r, self.c_i)?;
        Ok((established, AwaitMessage4(ended), message))
    }
}
