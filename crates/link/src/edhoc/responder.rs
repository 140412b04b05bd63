//! The Responder (RFC 9528, sections 5.2.3, 5.3.2 and 5.4.3).

use core::fmt;

use crate::cbor::Reader;
use crate::credential::{Credential, IdCred};
use crate::crypto::{Crypto, Secret};

use super::error::read_suites;
use super::schedule::{self, Plaintext, Proof, Transcript, label};
use super::session::Ended;
use super::{
    ConnectionId, Ead, EadItem, EdhocError, Established, Identity, Method, SendMessage4, Suite,
    SuiteSet,
};

/// What a Responder takes.
#[derive(Debug, Clone, Copy)]
pub struct Accepts<'a> {
    /// The methods. A key that signs should not also agree on keys (section 9.2): who has one key takes the methods of one kind.
    pub methods: &'a [Method],
    /// The suites.
    pub suites: SuiteSet,
    /// The labels of the critical items in `EAD_1` that the caller deals with.
    pub understood: &'a [u64],
}

/// `message_1` was read. No key has been touched and nothing is kept yet.
#[derive(Debug, Clone, Copy)]
pub struct GotMessage1<'m> {
    message: &'m [u8],
    method: Method,
    suite: Suite,
    g_x: &'m [u8; 32],
    c_i: ConnectionId,
    ead: Ead<'m>,
}

impl<'m> GotMessage1<'m> {
    /// Reads `message_1`.
    pub fn read(message: &'m [u8], accepts: &Accepts<'_>) -> Result<Self, EdhocError> {
        let mut reader = Reader::new(message);
        let method = reader.int()?;
        let mut selected = None;
        let mut first = None;
        read_suites(&mut reader, |number| {
            selected = Suite::of(number).filter(|&suite| accepts.suites.has(suite));
            first = first.or(selected);
        })?;
        let g_x = reader.bytes()?;
        // The first that we have too must be the one chosen (section 5.2.3). How long the key is, depends on the suite.
        let suite = first
            .filter(|_| first == selected)
            .ok_or(EdhocError::WrongSuite(accepts.suites))?;
        let g_x = g_x.try_into().map_err(|_| EdhocError::Malformed)?;
        let c_i = ConnectionId::read(&mut reader)?;
        let ead = Ead::read(reader, accepts.understood)?;
        let method = Method::of(method)
            .filter(|method| accepts.methods.contains(method))
            .ok_or(EdhocError::Method)?;
        Ok(Self {
            message,
            method,
            suite,
            g_x,
            c_i,
            ead,
        })
    }

    /// Who is to authenticate how.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The suite that both sides have.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// What the Initiator calls the session. Ours must differ.
    pub const fn c_i(&self) -> ConnectionId {
        self.c_i
    }

    /// `EAD_1`: anybody may have sent it, and everybody may read it.
    pub const fn ead(&self) -> Ead<'m> {
        self.ead
    }

    /// Composes `message_2` in `out`.
    ///
    /// Where we sign, `out` needs room for our credential, both names of it, `EAD_2` twice and 250 bytes.
    pub fn message_2<'o, C: Crypto>(
        self,
        crypto: &mut C,
        own: &Identity<'_, C::PrivateKey>,
        c_r: ConnectionId,
        ead_2: &[EadItem<'_>],
        out: &'o mut [u8],
    ) -> Result<(WaitMessage3<C>, &'o [u8]), EdhocError> {
        if c_r == self.c_i {
            return Err(EdhocError::SameIdentifier);
        }
        let (y, g_y) = crypto.generate(self.suite.curve())?;
        let message_1 = crypto.sha256(&[self.message])?;
        let th_2 = Transcript::second(crypto, &g_y, &message_1)?;
        let prk_2e = schedule::prk_2e(crypto, &y, self.g_x, &th_2)?;
        let signs = self.method.responder_signs();
        let prk_3e2m = if signs {
            prk_2e.clone()
        } else {
            let keys = (own.key, self.g_x);
            schedule::prk_static(crypto, &prk_2e, label::SALT_3E2M, &th_2, keys)?
        };
        let proof = Proof {
            suite: self.suite,
            signs,
            label: label::MAC_2,
            prk: &prk_3e2m,
            th: &th_2,
            c_r: Some(c_r),
        };
        let body = out.get_mut(schedule::HEAD..).ok_or(EdhocError::Full)?;
        let (key, body) = body.split_first_chunk_mut().ok_or(EdhocError::Full)?;
        *key = g_y;
        let length = proof.compose(crypto, own, ead_2, body)?;
        let text = body.get_mut(..length).ok_or(EdhocError::Full)?;
        let th_3 = th_2.next(crypto, text, own.credential.bytes)?;
        schedule::keystream(crypto, &prk_2e, &th_2, text)?;
        let message = schedule::frame(out, length.saturating_add(g_y.len()))?;
        let state = WaitMessage3 {
            y,
            th_3,
            prk_3e2m,
            method: self.method,
            suite: self.suite,
            c_i: self.c_i,
            c_r,
        };
        Ok((state, message))
    }
}

/// `message_2` is on its way: what is kept until `message_3` comes.
pub struct WaitMessage3<C: Crypto> {
    y: C::PrivateKey,
    th_3: Transcript,
    prk_3e2m: Secret<32>,
    method: Method,
    suite: Suite,
    c_i: ConnectionId,
    c_r: ConnectionId,
}

impl<C: Crypto> fmt::Debug for WaitMessage3<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WaitMessage3")
    }
}

impl<C: Crypto> WaitMessage3<C> {
    /// Who is to authenticate how.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Reads `message_3` and decrypts it in place. The caller deals with the critical items of the labels `understood`.
    ///
    /// That it decrypts proves that it comes from the Initiator of this session; not yet who that is.
    pub fn message_3<'m>(
        self,
        crypto: &mut C,
        message: &'m mut [u8],
        understood: &[u64],
    ) -> Result<GotMessage3<'m, C>, EdhocError> {
        let text = schedule::unframe(message)?;
        let key = (&self.prk_3e2m, label::K_3);
        let text = schedule::open(crypto, self.suite, key, &self.th_3, text)?;
        let length = self.suite.proof_length(self.method.initiator_signs());
        Ok(GotMessage3 {
            plaintext: Plaintext::read(text, Reader::new(text), length, understood)?,
            before: self,
        })
    }
}

/// `message_3` is readable; whether the Initiator is who it says, its credential will tell.
pub struct GotMessage3<'m, C: Crypto> {
    before: WaitMessage3<C>,
    plaintext: Plaintext<'m>,
}

impl<C: Crypto> fmt::Debug for GotMessage3<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GotMessage3")
    }
}

impl<'m, C: Crypto> GotMessage3<'m, C> {
    /// Which credential the Initiator claims.
    pub const fn id_cred(&self) -> &IdCred<'m> {
        &self.plaintext.id_cred
    }

    /// `EAD_3`. Not proven to be the credential's owner's before [`GotMessage3::verify`].
    pub const fn ead(&self) -> Ead<'m> {
        self.plaintext.ead
    }

    /// That the Initiator is the owner of this credential, and is not ourselves.
    ///
    /// `scratch` is used where the Initiator signs: for its credential, both names of it, `EAD_3` and 100 bytes.
    pub fn verify(
        self,
        crypto: &mut C,
        peer: &Credential<'_>,
        own: &Credential<'_>,
        scratch: &mut [u8],
    ) -> Result<(Established, SendMessage4), EdhocError> {
        let before = self.before;
        let suite = before.suite;
        let signs = before.method.initiator_signs();
        schedule::usable(suite, signs, peer, own)?;
        let prk_4e3m = if signs {
            before.prk_3e2m
        } else {
            let keys = (&before.y, schedule::agreement_key(&peer.key));
            schedule::prk_static(
                crypto,
                &before.prk_3e2m,
                label::SALT_4E3M,
                &before.th_3,
                keys,
            )?
        };
        let proof = Proof {
            suite,
            signs,
            label: label::MAC_3,
            prk: &prk_4e3m,
            th: &before.th_3,
            c_r: None,
        };
        proof.check(crypto, &self.plaintext, peer, scratch)?;
        let th_4 = before.th_3.next(crypto, self.plaintext.all, peer.bytes)?;
        let ended = Ended {
            suite,
            prk_4e3m,
            th_4,
        };
        let established = ended.establish(crypto, before.c_i, before.c_r)?;
        Ok((established, SendMessage4(ended)))
    }
}
