//! The limits that no test reaches by counting.

use super::*;
use crate::{
    coap::{
        message::{Builder, Code, Message, Token, Type},
        option,
    },
    crypto::rust::RustCrypto,
};

fn secrets(ours: &[u8], theirs: &[u8]) -> Secrets {
    Secrets {
        master_secret: Secret::new([7; 16]),
        master_salt: Secret::new([0; 8]),
        sender_id: Id::new(ours).unwrap(),
        recipient_id: Id::new(theirs).unwrap(),
        aead: Aead::Ccm16Tag64,
    }
}

fn get(buffer: &mut [u8]) -> Message<'_> {
    let builder = Builder::new(buffer, Type::Confirmable, Code::GET, 1, &Token::default());
    Message::parse(builder.finish().unwrap()).unwrap()
}

struct Flash(u64);
impl Kept for Flash {
    fn store(&mut self, next: u64) -> Result<(), NotKept> {
        self.0 = next;
        Ok(())
    }
}

#[test]
fn the_last_number_is_the_last() {
    let mut crypto = RustCrypto::new(|_| Err(CryptoError::Failed));
    let mut client = Context::derive(&mut crypto, &secrets(b"a", b"b"), None).unwrap();
    let mut server = Context::derive(&mut crypto, &secrets(b"b", b"a"), None).unwrap();
    client.next = NUMBERS - 1;
    assert!(client.usable(0));
    let mut plain = [0; 8];
    let plain = get(&mut plain);
    let mut out = [0; 64];
    let outside = Outside::default();
    let (length, _) = client
        .protect_request(&mut crypto, &plain, outside, 0, &mut out)
        .unwrap();
    let value = Message::parse(&out[..length]).unwrap();
    let value = value.body.get(option::OSCORE).unwrap();
    assert_eq!(value, b"\x0d\xff\xff\xff\xff\xffa");
    let read = server.unprotect_request(&mut crypto, &mut out[..length], 0);
    assert!(read.is_ok());
    let ended = client.protect_request(&mut crypto, &plain, outside, 0, &mut out);
    assert_eq!(ended.unwrap_err(), ProtectError::Ended);
    assert!(!client.usable(0));

    // The same where numbers are kept ahead.
    let client = Context::derive(&mut crypto, &secrets(b"a", b"b"), None).unwrap();
    let mut client = client.resumed(NUMBERS - 2);
    let mut flash = Flash(0);
    for _ in 0..3 {
        client.keep_ahead(&mut flash).unwrap();
        let _ = client.protect_request(&mut crypto, &plain, outside, 0, &mut out);
    }
    assert_eq!((client.next, flash.0), (NUMBERS, NUMBERS));
}

#[test]
fn after_too_many_forgeries_a_context_is_of_no_use() {
    let mut crypto = RustCrypto::new(|_| Err(CryptoError::Failed));
    let mut client = Context::derive(&mut crypto, &secrets(b"a", b"b"), None).unwrap();
    let mut server = Context::derive(&mut crypto, &secrets(b"b", b"a"), None).unwrap();
    server.forgeries = FORGERIES - 1;
    let mut plain = [0; 8];
    let plain = get(&mut plain);
    let mut out = [0; 64];
    let (length, _) = client
        .protect_request(&mut crypto, &plain, Outside::default(), 0, &mut out)
        .unwrap();
    let right = &mut out[..length];
    let mut forged = right.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(server.usable(0));
    let refused = server.unprotect_request(&mut crypto, &mut forged, 0);
    assert_eq!(refused.unwrap_err(), Refused::NotAuthentic);
    assert!(!server.usable(0));
    let refused = server.unprotect_request(&mut crypto, right, 0);
    assert_eq!(refused.unwrap_err(), Refused::Ended);
    let refused = server.protect_request(&mut crypto, &plain, Outside::default(), 0, &mut out);
    assert_eq!(refused.unwrap_err(), ProtectError::Ended);
}

#[test]
fn nothing_secret_is_printed() {
    let mut crypto = RustCrypto::new(|_| Err(CryptoError::Failed));
    let secrets = secrets(b"a", b"b");
    let context = Context::derive(&mut crypto, &secrets, None).unwrap();
    for printed in [std::format!("{secrets:?}"), std::format!("{context:?}")] {
        assert!(printed.contains("Secret"));
        assert!(!printed.contains("7, 7"), "{printed}");
    }
    let key = std::format!("{:?}", context.sender_key.expose());
    assert!(!std::format!("{context:?}").contains(key.trim_matches(['[', ']'])));
}
