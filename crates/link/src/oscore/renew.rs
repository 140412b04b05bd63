//! New keys from old secrets, with random bytes of both ends in the ID Context (RFC 8613, appendix B.2).
//!
//! For ends that were given their secrets and lost the rest. It has no forward secrecy: where there is EDHOC, run that.

use subtle::ConstantTimeEq as _;

use crate::{
    cbor::{Reader, Writer},
    coap::message::{Builder, Code, Message},
    crypto::{Crypto, CryptoError, Secret},
};

use super::{Asked, Context, Header, Owed, ProtectError, Refused, Request, Secrets, To};

/// Random bytes drawn at a time: R1, S2, R3.
const RANDOM: usize = 8;
/// R2: S2, and as many bytes of its HMAC, so that nothing is kept for who only asks (appendix B.2.1).
const R2: usize = 2 * RANDOM;
/// The longest ID Context and kid context.
const MAX: usize = 64;

/// An ID Context as it travels: in a CBOR byte string.
#[derive(Debug, Clone)]
pub struct KidContext {
    bytes: [u8; MAX],
    length: usize,
}

impl KidContext {
    /// Of an ID Context in two parts.
    fn new(first: &[u8], second: &[u8]) -> Result<Self, CryptoError> {
        let mut bytes = [0; MAX];
        let mut writer = Writer::new(&mut bytes);
        writer.bytes_head(first.len().saturating_add(second.len()));
        writer.raw(first).raw(second);
        let length = writer.finish().map_err(|_| CryptoError::Length)?.len();
        Ok(Self { bytes, length })
    }

    /// The value of the kid context, for [`Outside`](super::Outside).
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// What is in it.
    fn id_context(&self) -> &[u8] {
        unwrapped(self.as_bytes()).unwrap_or_default()
    }

    fn derive<C: Crypto>(&self, crypto: &mut C, secrets: &Secrets) -> Result<Context, CryptoError> {
        Context::derive(crypto, secrets, Some(self.id_context()))
    }
}

fn unwrapped(kid_context: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(kid_context);
    let bytes = reader.bytes().ok()?;
    reader.is_empty().then_some(bytes)
}

/// A message's ID Context.
fn id_context(datagram: &[u8]) -> Result<&[u8], Refused> {
    let message = Message::parse(datagram).map_err(|_| Refused::Malformed)?;
    let header = Header::of(&message)?.ok_or(Refused::Unprotected)?;
    let kid_context = header.kid_context.ok_or(Refused::NoContext)?;
    unwrapped(kid_context).ok_or(Refused::Malformed)
}

/// A client's run.
#[derive(Debug)]
pub struct Renewing {
    r1: [u8; RANDOM],
}

impl Renewing {
    /// Begins (step 1): gives the context for one request, which carries this kid context.
    pub fn begin<C: Crypto>(
        crypto: &mut C,
        secrets: &Secrets,
    ) -> Result<(Self, Context, KidContext), CryptoError> {
        let mut r1 = [0; RANDOM];
        crypto.random(&mut r1)?;
        let kid_context = KidContext::new(&r1, &[])?;
        let context = kid_context.derive(crypto, secrets)?;
        Ok((Self { r1 }, context, kid_context))
    }

    /// Takes the response to that request (step 3): gives the context from now on. Its requests carry this kid context until one
    /// is answered.
    pub fn response<C: Crypto>(
        &self,
        crypto: &mut C,
        secrets: &Secrets,
        asked: &mut Asked,
        datagram: &mut [u8],
        now: u64,
    ) -> Result<(Context, KidContext), Refused> {
        let mut r2 = [0; MAX];
        let given = id_context(datagram)?;
        let r2 = r2.get_mut(..given.len()).ok_or(Refused::Malformed)?;
        r2.copy_from_slice(given);
        let second = KidContext::new(r2, &self.r1).map_err(Refused::Crypto)?;
        let mut second = second.derive(crypto, secrets).map_err(Refused::Crypto)?;
        second.unprotect_response(crypto, asked, datagram, now)?;
        let mut third = || {
            let mut r3 = [0; RANDOM];
            crypto.random(&mut r3)?;
            let kid_context = KidContext::new(r2, &r3)?;
            let context = kid_context.derive(crypto, secrets)?;
            Ok((context, kid_context))
        };
        third().map_err(Refused::Crypto)
    }
}

/// A server's end of it, for one client: it serves one run, and is then used up, so that nothing of it can be replayed.
#[derive(Debug)]
pub struct Renewer {
    key: Secret<16>,
}

/// What came of a request.
#[derive(Debug)]
pub enum Renewed<'a> {
    /// It began a run: to be answered with [`Begun::answer`].
    Begun(Begun),
    /// It ended the run: this is the context from now on, and the request is to be answered with it. The [`Renewer`] must go.
    Done(Context, Request<'a>),
}

/// A run that began, with the context of its one answer.
#[derive(Debug)]
pub struct Begun {
    second: Context,
    r2: [u8; R2],
    owed: Owed,
}

impl Renewer {
    /// Ready for a run.
    pub fn new<C: Crypto>(crypto: &mut C) -> Result<Self, CryptoError> {
        let mut key = Secret::new([0; 16]);
        crypto.random(key.expose_mut())?;
        Ok(Self { key })
    }

    /// R2 of these random bytes.
    fn r2<C: Crypto>(&self, crypto: &mut C, s2: [u8; RANDOM]) -> Result<[u8; R2], CryptoError> {
        let tag = crypto.hmac_sha256(self.key.expose(), &[&s2])?;
        let mut r2 = [0; R2];
        for (place, byte) in r2.iter_mut().zip(s2.iter().chain(tag.expose())) {
            *place = *byte;
        }
        Ok(r2)
    }

    /// Takes a request with a kid context that no context has (steps 2 and 4). Each costs key derivations: bound their rate.
    pub fn request<'a, C: Crypto>(
        &self,
        crypto: &mut C,
        secrets: &Secrets,
        datagram: &'a mut [u8],
        now: u64,
    ) -> Result<Renewed<'a>, Refused> {
        let id = id_context(datagram)?;
        let id = KidContext::new(id, &[]).map_err(|_| Refused::Malformed)?;
        let mut context = id.derive(crypto, secrets).map_err(Refused::Crypto)?;
        let request = context.unprotect_request(crypto, datagram, now)?;
        let id = id.id_context();
        if let Some((s2, _)) = id.split_first_chunk::<RANDOM>() {
            let ours = self.r2(crypto, *s2).map_err(Refused::Crypto)?;
            // R3 is as long as it has to be, or the client's keys might not be new.
            if id.len() >= R2.saturating_add(RANDOM)
                && bool::from(id.get(..R2).unwrap_or_default().ct_eq(&ours))
            {
                return Ok(Renewed::Done(context, request));
            }
        }
        let begin = || {
            let mut s2 = [0; RANDOM];
            crypto.random(&mut s2)?;
            let r2 = self.r2(crypto, s2)?;
            let second = KidContext::new(&r2, id)?.derive(crypto, secrets)?;
            Ok(Begun {
                second,
                r2,
                owed: request.owed,
            })
        };
        begin().map(Renewed::Begun).map_err(Refused::Crypto)
    }
}

impl Begun {
    /// Writes the answer: 4.01 with R2. Gives its length.
    pub fn answer<C: Crypto>(
        mut self,
        crypto: &mut C,
        to: To,
        now: u64,
        out: &mut [u8],
    ) -> Result<usize, ProtectError> {
        let mut plain = [0; 16];
        let builder = Builder::new(&mut plain, to.kind, Code::UNAUTHORIZED, to.id, &to.token);
        let message = Message::parse(builder.finish()?).map_err(|_| ProtectError::NotPlain)?;
        let kid_context = KidContext::new(&self.r2, &[]).map_err(ProtectError::Crypto)?;
        let more = (now, Some(kid_context.as_bytes()));
        self.second
            .protect_answer(crypto, &mut self.owed, &message, more, out)
    }
}
