//! The peer that the link is measured beside: lakers (EDHOC) and liboscore (OSCORE), from crates.io.
//! Keys and credentials are those of RFC 9529, section 3.
#![no_std]

use coap_message::{MessageOption as _, MinimalWritableMessage as _, ReadableMessage as _};
use coap_message_implementations::inmemory_write::Message;
use lakers::{
    Credential, CredentialTransfer, EADItem, EDHOCMethod, EDHOCSuite, EdhocInitiator,
    EdhocResponder, credential_check_or_fetch,
};
use liboscore::{AeadAlg, HkdfAlg, OscoreOption, PrimitiveContext, PrimitiveImmutables};

pub use lakers_crypto_rustcrypto::Crypto;

const CRED_I: &[u8] = b"\xa2\x02\x77\x34\x32\x2d\x35\x30\x2d\x33\x31\x2d\x46\x46\x2d\x45\x46\x2d\x33\x37\x2d\x33\x32\x2d\x33\x39\x08\xa1\x01\xa5\x01\x02\x02\x41\x2b\x20\x01\x21\x58\x20\xac\x75\xe9\xec\xe3\xe5\x0b\xfc\x8e\xd6\x03\x99\x88\x95\x22\x40\x5c\x47\xbf\x16\xdf\x96\x66\x0a\x41\x29\x8c\xb4\x30\x7f\x7e\xb6\x22\x58\x20\x6e\x5d\xe6\x11\x38\x8a\x4b\x8a\x82\x11\x33\x4a\xc7\xd3\x7e\xcb\x52\xa3\x87\xd2\x57\xe6\xdb\x3c\x2a\x93\xdf\x21\xff\x3a\xff\xc8";
const I: [u8; 32] = *b"\xfb\x13\xad\xeb\x65\x18\xce\xe5\xf8\x84\x17\x66\x08\x41\x14\x2e\x83\x0a\x81\xfe\x33\x43\x80\xa9\x53\x40\x6a\x13\x05\xe8\x70\x6b";
const CRED_R: &[u8] = b"\xa2\x02\x60\x08\xa1\x01\xa5\x01\x02\x02\x41\x0a\x20\x01\x21\x58\x20\xbb\xc3\x49\x60\x52\x6e\xa4\xd3\x2e\x94\x0c\xad\x2a\x23\x41\x48\xdd\xc2\x17\x91\xa1\x2a\xfb\xcb\xac\x93\x62\x20\x46\xdd\x44\xf0\x22\x58\x20\x45\x19\xe2\x57\x23\x6b\x2a\x0c\xe2\x02\x3f\x09\x31\xf1\xf3\x86\xca\x7a\xfd\xa6\x4f\xcd\xe0\x10\x8c\x22\x4c\x51\xea\xbf\x60\x72";
const R: [u8; 32] = *b"\x72\xcc\x47\x61\xdb\xd4\xc7\x8f\x75\x89\x31\xaa\x58\x9d\x34\x8d\x1e\xf8\x74\xa7\xe3\x03\xed\xe2\xf1\x40\xdc\xf3\xe6\xaa\x4a\xac";
const NO_EAD: Option<EADItem> = None;

/// What both sides have after a handshake: the OSCORE master secret and salt of either.
pub type Keys = ([u8; 16], [u8; 8]);

/// A handshake of both sides, method 3 and suite 2, credentials by kid, with message_4 left out; calls `mark` after each step.
pub fn handshake<G: rand_core::RngCore + rand_core::CryptoRng + Clone>(
    rng: G,
    mark: &mut dyn FnMut(&str),
) -> Keys {
    let cred_i = Credential::parse_ccs(CRED_I).unwrap();
    let cred_r = Credential::parse_ccs(CRED_R).unwrap();
    let initiator = EdhocInitiator::new(
        Crypto::new(rng.clone()),
        EDHOCMethod::StatStat,
        EDHOCSuite::CipherSuite2,
    );
    let responder = EdhocResponder::new(Crypto::new(rng), EDHOCMethod::StatStat, R, cred_r.clone());
    let (initiator, message_1) = initiator.prepare_message_1(None, &NO_EAD).unwrap();
    mark("initiator-message-1");
    let (responder, _, _) = responder.process_message_1(&message_1).unwrap();
    let (responder, message_2) = responder
        .prepare_message_2(CredentialTransfer::ByReference, None, &NO_EAD)
        .unwrap();
    mark("responder-message-2");
    let (mut initiator, _, id_cred_r, _) = initiator.parse_message_2(&message_2).unwrap();
    let valid = credential_check_or_fetch(Some(cred_r), id_cred_r).unwrap();
    initiator.set_identity(I, cred_i.clone()).unwrap();
    let initiator = initiator.verify_message_2(valid).unwrap();
    let (initiator, message_3, _) = initiator
        .prepare_message_3(CredentialTransfer::ByReference, &NO_EAD)
        .unwrap();
    mark("initiator-message-3");
    let (responder, id_cred_i, _) = responder.parse_message_3(&message_3).unwrap();
    let valid = credential_check_or_fetch(Some(cred_i), id_cred_i).unwrap();
    let (responder, _) = responder.verify_message_3(valid).unwrap();
    let mut responder = responder.completed_without_message_4().unwrap();
    let mut initiator = initiator.completed_without_message_4().unwrap();
    let (mut secret, mut salt) = ([0; 16], [0; 8]);
    secret.copy_from_slice(&responder.edhoc_exporter(0, &[], 16)[..16]);
    salt.copy_from_slice(&responder.edhoc_exporter(1, &[], 8)[..8]);
    mark("responder-finish");
    assert_eq!(&initiator.edhoc_exporter(0, &[], 16)[..16], &secret[..]);
    assert_eq!(&initiator.edhoc_exporter(1, &[], 8)[..8], &salt[..]);
    mark("initiator-keys");
    (secret, salt)
}

/// An OSCORE context of one side.
pub fn context((secret, salt): &Keys, sender: &[u8], recipient: &[u8]) -> PrimitiveContext {
    let immutables = PrimitiveImmutables::derive(
        HkdfAlg::from_number(5).unwrap(),
        secret,
        salt,
        None,
        AeadAlg::from_number(10).unwrap(),
        sender,
        recipient,
    )
    .unwrap();
    PrimitiveContext::new_from_fresh_material(immutables)
}

/// Protects a POST of `payload` to a path of one segment into `tail`; gives the length behind the header.
pub fn protect(
    context: &mut PrimitiveContext,
    payload: &[u8],
    code: &mut u8,
    tail: &mut [u8],
) -> usize {
    let mut message = Message::new(code, tail);
    liboscore::protect_request(&mut message, context, |inner| {
        inner.set_code(2);
        inner.add_option(11, b"t").unwrap();
        inner.set_payload(payload).unwrap();
    })
    .unwrap();
    message.finish()
}

/// Takes it off again; gives the length of the payload.
pub fn unprotect(context: &mut PrimitiveContext, code: &mut u8, tail: &mut [u8]) -> usize {
    let mut option = [0; 16];
    let mut length = 0;
    let mut message = Message::new_from_existing(code, tail);
    for o in message.options() {
        if o.number() == 9 {
            length = o.value().len();
            option[..length].copy_from_slice(o.value());
        }
    }
    let option = OscoreOption::parse(&option[..length]).unwrap();
    liboscore::unprotect_request(&mut message, option, context, |inner| inner.payload().len())
        .unwrap()
        .1
}

/// Not random, and quick: what is measured is everything else.
#[derive(Clone)]
pub struct Counting(pub u64);

impl rand_core::RngCore for Counting {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next_u64() as u8;
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl rand_core::CryptoRng for Counting {}
