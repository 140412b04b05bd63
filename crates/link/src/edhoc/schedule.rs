//! The key schedule (RFC 9528, section 4), and what authenticates the parties (sections 5.3 to 5.5).

use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::cbor::{Kind, Reader, Writer};
use crate::credential::{Credential, IdCred};
use crate::crypto::{Crypto, CryptoError, PublicKey, Secret};

use super::{ConnectionId, Ead, EadItem, EdhocError, Identity, Suite, ead};

/// The labels of `EDHOC_KDF` (section 4.1.2, figure 6).
pub(super) mod label {
    pub(crate) const KEYSTREAM_2: u64 = 0;
    pub(crate) const SALT_3E2M: u64 = 1;
    pub(crate) const MAC_2: u64 = 2;
    /// The nonce's is the next.
    pub(crate) const K_3: u64 = 3;
    pub(crate) const SALT_4E3M: u64 = 5;
    pub(crate) const MAC_3: u64 = 6;
    pub(crate) const PRK_OUT: u64 = 7;
    /// The nonce's is the next.
    pub(crate) const K_4: u64 = 8;
    pub(crate) const PRK_EXPORTER: u64 = 10;
    pub(crate) const KEY_UPDATE: u64 = 11;
}

/// The longest head of the byte string that is a message: messages have 65,535 bytes at most.
pub(super) const HEAD: usize = 3;

/// A transcript hash, as the CBOR item that it nearly always is.
#[derive(Clone)]
pub(super) struct Transcript([u8; 34]);

impl Transcript {
    fn new(hash: &[u8; 32]) -> Self {
        let mut item = [0; 34];
        let [kind, length, bytes @ ..] = &mut item;
        [*kind, *length] = BYTES_32;
        *bytes = *hash;
        Self(item)
    }

    /// `TH_2` (section 5.3.2).
    pub(super) fn second<C: Crypto>(
        crypto: &mut C,
        g_y: &[u8; 32],
        message_1: &[u8; 32],
    ) -> Result<Self, EdhocError> {
        let hash = crypto.sha256(&[&BYTES_32, g_y, &BYTES_32, message_1])?;
        Ok(Self::new(&hash))
    }

    /// `TH_3` of `TH_2`, `TH_4` of `TH_3` (section 5.4.2).
    pub(super) fn next<C: Crypto>(
        &self,
        crypto: &mut C,
        plaintext: &[u8],
        credential: &[u8],
    ) -> Result<Self, EdhocError> {
        let hash = crypto.sha256(&[&self.0, plaintext, credential])?;
        Ok(Self::new(&hash))
    }

    const fn hash(&self) -> &[u8; 32] {
        let [_, _, hash @ ..] = &self.0;
        hash
    }

    /// The associated data of messages 3 and 4: an `Enc_structure` (appendix C.3).
    fn aad(&self) -> [u8; 45] {
        let mut aad = [0; 45];
        if let Some((head, item)) = aad.split_first_chunk_mut() {
            *head = *b"\x83\x68Encrypt0\x40";
            item.copy_from_slice(&self.0);
        }
        aad
    }
}

/// The head of a byte string of 32 bytes.
const BYTES_32: [u8; 2] = [0x58, 32];

/// `EDHOC_KDF` (section 4.1.2), with the context in parts, exclusive-ored with `out`.
pub(super) fn kdf_mask<C: Crypto>(
    crypto: &mut C,
    prk: &Secret<32>,
    label: u64,
    context: &[&[u8]],
    out: &mut [u8],
) -> Result<(), EdhocError> {
    let (mut head, mut tail) = ([0; 18], [0; 9]);
    let length = context.iter().map(|part| part.len()).sum();
    let mut writer = Writer::new(&mut head);
    writer.uint(label).bytes_head(length);
    let head = writer.finish()?;
    let mut writer = Writer::new(&mut tail);
    writer.uint(u64::try_from(out.len()).map_err(|_| EdhocError::Full)?);
    let tail = writer.finish()?;
    let mut info: [&[u8]; 7] = [&[]; 7];
    let all = [head].into_iter().chain(context.iter().copied());
    for (place, part) in info.iter_mut().zip(all.chain([tail])) {
        *place = part;
    }
    let info = info.get(..context.len().saturating_add(2));
    Ok(crypto.hkdf_mask(prk, info.ok_or(EdhocError::Full)?, out)?)
}

/// `EDHOC_KDF` with a transcript hash, of a fixed length.
pub(super) fn kdf<C: Crypto, const N: usize>(
    crypto: &mut C,
    prk: &Secret<32>,
    label: u64,
    th: &Transcript,
) -> Result<Secret<N>, EdhocError> {
    let mut out = Secret::new([0; N]);
    kdf_mask(crypto, prk, label, &[th.hash()], out.expose_mut())?;
    Ok(out)
}

/// Encrypts or decrypts `PLAINTEXT_2` (section 5.3.2).
pub(super) fn keystream<C: Crypto>(
    crypto: &mut C,
    prk_2e: &Secret<32>,
    th_2: &Transcript,
    text: &mut [u8],
) -> Result<(), EdhocError> {
    kdf_mask(crypto, prk_2e, label::KEYSTREAM_2, &[th_2.hash()], text)
}

/// `PRK_2e` (section 4.1.1.1).
pub(super) fn prk_2e<C: Crypto>(
    crypto: &mut C,
    key: &C::PrivateKey,
    peer: &[u8; 32],
    th_2: &Transcript,
) -> Result<Secret<32>, EdhocError> {
    let secret = crypto.agree(key, peer)?;
    Ok(crypto.hkdf_extract(th_2.hash(), secret.expose())?)
}

/// `PRK_3e2m` or `PRK_4e3m` of who has a static key (sections 4.1.1.2 and 4.1.1.3).
pub(super) fn prk_static<C: Crypto>(
    crypto: &mut C,
    before: &Secret<32>,
    salt: u64,
    th: &Transcript,
    (key, peer): (&C::PrivateKey, &[u8; 32]),
) -> Result<Secret<32>, EdhocError> {
    let salt: Secret<32> = kdf(crypto, before, salt, th)?;
    let secret = crypto.agree(key, peer)?;
    Ok(crypto.hkdf_extract(salt.expose(), secret.expose())?)
}

/// What crosses the wire of a public key for key agreement.
pub(super) const fn agreement_key(key: &PublicKey) -> &[u8; 32] {
    let (PublicKey::P256 { x: key, .. } | PublicKey::X25519(key) | PublicKey::Ed25519(key)) = key;
    key
}

/// Encrypts `PLAINTEXT_3` or `PLAINTEXT_4` in place; room for the tag is behind it.
pub(super) fn seal<C: Crypto>(
    crypto: &mut C,
    suite: Suite,
    (prk, label): (&Secret<32>, u64),
    th: &Transcript,
    buffer: &mut [u8],
) -> Result<(), EdhocError> {
    let key: Secret<16> = kdf(crypto, prk, label, th)?;
    let nonce: Secret<13> = kdf(crypto, prk, label.saturating_add(1), th)?;
    Ok(crypto.seal(
        suite.aead(),
        key.expose(),
        nonce.expose(),
        &th.aad(),
        buffer,
    )?)
}

/// Decrypts `CIPHERTEXT_3` or `CIPHERTEXT_4` in place, and gives the plaintext.
pub(super) fn open<'m, C: Crypto>(
    crypto: &mut C,
    suite: Suite,
    (prk, label): (&Secret<32>, u64),
    th: &Transcript,
    buffer: &'m mut [u8],
) -> Result<&'m [u8], EdhocError> {
    let length = buffer
        .len()
        .checked_sub(suite.aead().tag_length())
        .ok_or(EdhocError::Malformed)?;
    let key: Secret<16> = kdf(crypto, prk, label, th)?;
    let nonce: Secret<13> = kdf(crypto, prk, label.saturating_add(1), th)?;
    crypto.open(
        suite.aead(),
        key.expose(),
        nonce.expose(),
        &th.aad(),
        buffer,
    )?;
    buffer.get(..length).ok_or(EdhocError::Malformed)
}

/// The one byte string that a message 2, 3 or 4 is, to be decrypted in place.
pub(super) fn unframe(message: &mut [u8]) -> Result<&mut [u8], EdhocError> {
    let mut reader = Reader::new(message);
    let length = reader.bytes()?.len();
    reader.end()?;
    let head = message.len().saturating_sub(length);
    message.get_mut(head..).ok_or(EdhocError::Malformed)
}

/// Makes a message of `length` bytes that are in `out` behind [`HEAD`] bytes.
pub(super) fn frame(out: &mut [u8], length: usize) -> Result<&[u8], EdhocError> {
    let mut head = [0; HEAD];
    let mut writer = Writer::new(&mut head);
    writer.bytes_head(length);
    let head = writer.finish()?;
    let start = HEAD.saturating_sub(head.len());
    let end = HEAD.saturating_add(length);
    let message = out.get_mut(start..end).ok_or(EdhocError::Full)?;
    message
        .get_mut(..head.len())
        .ok_or(EdhocError::Full)?
        .copy_from_slice(head);
    let length = message.len();
    out.copy_within(start..end, 0);
    out.get(..length).ok_or(EdhocError::Full)
}

/// What one party proves, and how.
pub(super) struct Proof<'a> {
    pub(super) suite: Suite,
    /// Whether by a signature.
    pub(super) signs: bool,
    /// Of its MAC.
    pub(super) label: u64,
    pub(super) prk: &'a Secret<32>,
    pub(super) th: &'a Transcript,
    /// `C_R`, in message 2 (section 5.3.2).
    pub(super) c_r: Option<ConnectionId>,
}

/// The parts of `PLAINTEXT_2` or `PLAINTEXT_3`, but for the proof itself.
struct Parts<'a> {
    /// `ID_CRED`, in its compact encoding if it has one.
    id: &'a [u8],
    credential: &'a [u8],
    ead: &'a [u8],
}

impl Parts<'_> {
    /// What stands before the compact encoding of a key identifier to make it `ID_CRED` (section 3.5.3.2).
    fn id_head(&self) -> &'static [u8] {
        match Reader::new(self.id).peek() {
            Ok(Kind::Map) => &[],
            Ok(Kind::Bytes) => &[0xa1, 4],
            _ => &[0xa1, 4, 0x41],
        }
    }
}

impl Proof<'_> {
    /// `MAC_2` or `MAC_3` (sections 5.3.2 and 5.4.2), in `out`, which is zero.
    fn mac<'o, C: Crypto>(
        &self,
        crypto: &mut C,
        parts: &Parts<'_>,
        out: &'o mut Secret<32>,
    ) -> Result<&'o [u8], EdhocError> {
        if self.signs && !C::SIGNATURES {
            return Err(CryptoError::Unsupported.into());
        }
        let mut names = [0; 16];
        let mut writer = Writer::new(&mut names);
        if let Some(c_r) = &self.c_r {
            c_r.write(&mut writer);
        }
        writer.raw(parts.id_head());
        let names = writer.finish()?;
        let context = [names, parts.id, &self.th.0, parts.credential, parts.ead];
        // What is signed is a whole hash.
        let length = if self.signs {
            32
        } else {
            self.suite.mac_length()
        };
        let out = out.expose_mut().get_mut(..length).ok_or(EdhocError::Full)?;
        kdf_mask(crypto, self.prk, self.label, &context, out)?;
        Ok(out)
    }

    /// The `Sig_structure` of COSE (RFC 9052, section 4.4; appendix C.3).
    fn to_be_signed<'s>(
        &self,
        parts: &Parts<'_>,
        mac: &[u8],
        scratch: &'s mut [u8],
    ) -> Result<&'s [u8], EdhocError> {
        let mut writer = Writer::new(scratch);
        writer.array(4).text("Signature1");
        let id_head = parts.id_head();
        writer.bytes_head(id_head.len().saturating_add(parts.id.len()));
        writer.raw(id_head).raw(parts.id);
        let external = [&self.th.0, parts.credential, parts.ead];
        writer.bytes_head(external.iter().map(|part| part.len()).sum());
        for part in external {
            writer.raw(part);
        }
        writer.bytes(mac);
        Ok(writer.finish()?)
    }

    /// Writes `PLAINTEXT_2` or `PLAINTEXT_3` to the beginning of `out`, and gives its length. What is behind it is overwritten,
    /// if this party signs.
    pub(super) fn compose<C: Crypto>(
        &self,
        crypto: &mut C,
        own: &Identity<'_, C::PrivateKey>,
        ead: &[EadItem<'_>],
        out: &mut [u8],
    ) -> Result<usize, EdhocError> {
        if !self.suite.fits(&own.credential.key, self.signs) {
            return Err(EdhocError::Credential);
        }
        let length = self.suite.proof_length(self.signs);
        let blank = [0; 64];
        let blank = blank.get(..length).ok_or(EdhocError::Full)?;
        let mut writer = Writer::new(out);
        if let Some(c_r) = &self.c_r {
            c_r.write(&mut writer);
        }
        let id = writer.written();
        own.id_cred.write(&mut writer);
        let id = id..writer.written();
        writer.bytes(blank);
        let after = writer.written();
        ead::write(ead, &mut writer)?;
        let end = writer.written();
        writer.finish()?;
        let (text, scratch) = out.split_at_mut_checked(end).ok_or(EdhocError::Full)?;
        let parts = Parts {
            id: text.get(id).ok_or(EdhocError::Full)?,
            credential: own.credential.bytes,
            ead: text.get(after..).ok_or(EdhocError::Full)?,
        };
        let (mut mac, signature) = (Secret::new([0; 32]), &mut [0; 64]);
        let mut proof = self.mac(crypto, &parts, &mut mac)?;
        if self.signs && C::SIGNATURES {
            let message = self.to_be_signed(&parts, proof, scratch)?;
            *signature = crypto.sign(own.key, message)?;
            scratch.zeroize();
            proof = signature;
        }
        text.get_mut(after.saturating_sub(length)..after)
            .filter(|place| place.len() == proof.len())
            .ok_or(EdhocError::Full)?
            .copy_from_slice(proof);
        Ok(end)
    }

    /// That the peer is the owner of this credential.
    pub(super) fn check<C: Crypto>(
        &self,
        crypto: &mut C,
        plaintext: &Plaintext<'_>,
        peer: &Credential<'_>,
        scratch: &mut [u8],
    ) -> Result<(), EdhocError> {
        let parts = Parts {
            id: plaintext.id,
            credential: peer.bytes,
            ead: plaintext.ead.bytes(),
        };
        let mut mac = Secret::new([0; 32]);
        let mac = self.mac(crypto, &parts, &mut mac)?;
        if self.signs && C::SIGNATURES {
            let signature = plaintext.proof.try_into();
            let signature = signature.map_err(|_| EdhocError::Malformed)?;
            let message = self.to_be_signed(&parts, mac, scratch)?;
            let verified = crypto.verify(&peer.key, message, signature);
            scratch.zeroize();
            return Ok(verified?);
        }
        if bool::from(mac.ct_eq(plaintext.proof)) {
            Ok(())
        } else {
            Err(EdhocError::NotAuthentic)
        }
    }
}

/// That a peer's key can be used so, and is not our own.
pub(super) fn usable(
    suite: Suite,
    signs: bool,
    peer: &Credential<'_>,
    own: &Credential<'_>,
) -> Result<(), EdhocError> {
    if !suite.fits(&peer.key, signs) {
        return Err(EdhocError::Credential);
    }
    if agreement_key(&peer.key) == agreement_key(&own.key) {
        return Err(EdhocError::Reflected);
    }
    Ok(())
}

/// `PLAINTEXT_2` behind `C_R`, or `PLAINTEXT_3`, as it was received.
pub(super) struct Plaintext<'m> {
    pub(super) all: &'m [u8],
    id: &'m [u8],
    pub(super) id_cred: IdCred<'m>,
    proof: &'m [u8],
    pub(super) ead: Ead<'m>,
}

impl<'m> Plaintext<'m> {
    pub(super) fn read(
        all: &'m [u8],
        mut reader: Reader<'m>,
        proof_length: usize,
        understood: &[u64],
    ) -> Result<Self, EdhocError> {
        let before = reader.rest();
        let id_cred = IdCred::read(&mut reader)?;
        let length = before.len().saturating_sub(reader.rest().len());
        let proof = reader.bytes()?;
        if proof.len() != proof_length {
            return Err(EdhocError::Malformed);
        }
        Ok(Self {
            all,
            id: before.get(..length).ok_or(EdhocError::Malformed)?,
            id_cred,
            proof,
            ead: Ead::read(reader, understood)?,
        })
    }
}
