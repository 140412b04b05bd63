//! AES-CCM of the backend in Rust beside that of another crate, and of RFC 3610.

use ::ccm::aead::AeadInOut;
use ::ccm::consts::{U8, U13, U16};
use ::ccm::{Ccm, KeyInit};
use aes::Aes128;
use proptest::collection::vec;
use proptest::prelude::*;
use stockade_link::crypto::rust::RustCrypto;
use stockade_link::crypto::{Aead, Crypto, CryptoError};

fn ours() -> impl Crypto {
    RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Failed))
}

fn theirs<C: KeyInit + AeadInOut<NonceSize = U13>>(
    key: &[u8; 16],
    nonce: &[u8; 13],
    aad: &[u8],
    text: &[u8],
) -> Vec<u8> {
    let mut sealed = text.to_vec();
    let tag = C::new_from_slice(key)
        .unwrap()
        .encrypt_inout_detached(nonce.into(), aad, sealed.as_mut_slice().into())
        .unwrap();
    sealed.extend_from_slice(&tag);
    sealed
}

/// RFC 3610, section 8, packet vector 1.
#[test]
fn ccm_gives_what_its_rfc_does() {
    let key = std::array::from_fn(|at| 0xC0 + u8::try_from(at).unwrap());
    let nonce = *b"\x00\x00\x00\x03\x02\x01\x00\xA0\xA1\xA2\xA3\xA4\xA5";
    let packet: [u8; 31] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let (aad, text) = packet.split_at(8);
    let mut buffer = [text, &[0; 8]].concat();
    ours()
        .seal(Aead::Ccm16Tag64, &key, &nonce, aad, &mut buffer)
        .unwrap();
    assert_eq!(
        buffer,
        b"\x58\x8C\x97\x9A\x61\xC6\x63\xD2\xF0\x66\xD0\xC2\xC0\xF9\x89\x80\x6D\x5F\x6B\x61\xDA\xC3\x84\x17\xE8\xD1\x2C\xFD\xF9\x26\xE0"
    );
}

/// Longer than their fields can say is refused, not cut.
#[test]
fn ccm_refuses_what_is_too_long() {
    let seal = |aad: usize, text: usize| {
        ours().seal(
            Aead::Ccm16Tag64,
            &[1; 16],
            &[2; 13],
            &vec![0; aad],
            &mut vec![0; text + 8],
        )
    };
    assert_eq!(seal(0xFEFF, 0xFFFF), Ok(()));
    assert_eq!(seal(0xFF00, 0), Err(CryptoError::Length));
    assert_eq!(seal(0x1_0000, 0), Err(CryptoError::Length));
    assert_eq!(seal(0, 0x1_0000), Err(CryptoError::Length));
}

proptest! {
    #[test]
    fn ccm_is_that_of_others(
        key: [u8; 16],
        nonce: [u8; 13],
        aad in vec(any::<u8>(), 0..80),
        text in vec(any::<u8>(), 0..300),
    ) {
        for (aead, theirs) in [
            (Aead::Ccm16Tag64, theirs::<Ccm<Aes128, U8, U13>>(&key, &nonce, &aad, &text)),
            (Aead::Ccm16Tag128, theirs::<Ccm<Aes128, U16, U13>>(&key, &nonce, &aad, &text)),
        ] {
            let mut buffer = text.clone();
            buffer.resize(text.len() + aead.tag_length(), 0);
            ours().seal(aead, &key, &nonce, &aad, &mut buffer).unwrap();
            prop_assert_eq!(&buffer, &theirs);
            ours().open(aead, &key, &nonce, &aad, &mut buffer).unwrap();
            prop_assert_eq!(buffer.get(..text.len()), Some(text.as_slice()));
        }
    }
}
