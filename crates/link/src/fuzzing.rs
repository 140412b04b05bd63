//! Bodies of the fuzz targets.

#[cfg(feature = "rustcrypto")]
mod oscore;

#[cfg(feature = "curve25519")]
pub use crate::edhoc::fuzzing::{
    edhoc_error, edhoc_initiator, edhoc_message_1, edhoc_message_2, edhoc_message_3,
    edhoc_message_4, edhoc_responder,
};
#[cfg(feature = "rustcrypto")]
pub use crate::endpoint::fuzzing::link_endpoint;
#[cfg(feature = "rustcrypto")]
pub use oscore::{oscore_option, oscore_request, oscore_response, oscore_server};

use crate::coap::block::{self, Assembly, Block};
use crate::coap::exchange::{Exchanges, Received};
use crate::coap::message::{Builder, Code, Message, Token, Type};
use crate::coap::option;

pub use self::bearer::{bearer_apdu, bearer_fragment, bearer_gatt, bearer_slipmux};

mod bearer;

/// A CoAP message: what is read is all there was, so that writing it gives the same bytes.
pub fn coap_message(data: &[u8]) {
    let Ok(message) = Message::parse(data) else {
        return;
    };
    let mut buffer = [0; 2048];
    let (kind, code) = (message.kind, message.code);
    let mut builder = Builder::new(&mut buffer, kind, code, message.id, &message.token);
    builder.copy(message.body.options(), |_| true);
    if let Ok(written) = builder.payload(message.body.payload()) {
        assert_eq!(written, data);
    }
    let mut buffer = [0; 64];
    if let Ok(path) = message.body.path(&mut buffer) {
        assert!(message.body.path_is(path));
    }
    let _ = message.body.unknown_critical(&[option::URI_PATH]);
    for (_, value) in message.body.options() {
        let _ = Block::parse(value);
    }
}

/// A script for CoAP's reliability: sends, datagrams of two peers, answers and time, in any order. What is to be done at one time
/// comes to an end, and the time to wake is not before it.
pub fn coap_exchange(data: &[u8]) {
    let mut exchanges: Exchanges<u8, 3, 3, 32> = Exchanges::new(0xfffe);
    let (mut now, mut rest) = (0_u64, data);
    while let Some((&[operation, argument], more)) = rest.split_first_chunk::<2>() {
        let peer = operation >> 7;
        rest = more;
        match operation & 7 {
            0 => now = now.saturating_add(u64::from(argument) << 10),
            1 | 2 => {
                let kind = if argument & 1 == 0 {
                    Type::Confirmable
                } else {
                    Type::NonConfirmable
                };
                let id = exchanges.next_id();
                let mut buffer = [0; 8];
                let code = Code(argument >> 1);
                let written = Builder::new(&mut buffer, kind, code, id, &Token::default()).finish();
                if let Ok(written) = written {
                    let _ = exchanges.send(peer, written, u16::from(argument));
                }
            }
            3 => exchanges.finish(peer, 0xff00 | u16::from(argument)),
            4 if argument == 0 => exchanges.forget(peer),
            _ => {
                let (datagram, more) = rest.split_at(rest.len().min(usize::from(argument & 31)));
                rest = more;
                match exchanges.received(now, peer, datagram) {
                    Received::Request(message) | Received::Response { message, .. } => {
                        let answer = datagram.get(..usize::from(argument >> 5));
                        let _ = exchanges.answer(now, peer, &message, answer.unwrap_or_default());
                    }
                    Received::Nothing
                    | Received::Reset(_)
                    | Received::Delivered { .. }
                    | Received::Refused { .. } => {}
                }
            }
        }
        let mut outputs = 0_u8;
        while exchanges.poll(now).is_some() {
            outputs = outputs.saturating_add(1);
            assert!(outputs <= 9, "there is no end of what is to be done");
        }
        assert!(exchanges.next_wake().is_none_or(|wake| wake > now));
    }
}

/// Blocks of a body in any order: what is placed is within the limit and follows what was there; and slices of bodies of any length.
pub fn coap_block(data: &[u8]) {
    const LIMIT: usize = 3000;
    let mut assembly = Assembly::default();
    for record in data.chunks_exact(6) {
        let Ok(&[value, low, size, high, tag, announced]) = <&[u8; 6]>::try_from(record) else {
            return;
        };
        let Some(block) = Block::parse(&[value, low]) else {
            continue;
        };
        let payload = if size == 0 {
            block.size()
        } else {
            usize::from(u16::from_be_bytes([high & 7, size]))
        };
        let tags = [tag; 9];
        let tag = tags.get(..usize::from(tag & 15)).filter(|_| tag & 16 != 0);
        let announced = (announced != 0).then(|| u32::from(announced) << 5);
        let before = assembly;
        match assembly.place(block, tag, payload, announced, LIMIT) {
            Ok(at) => {
                assert!(at == 0 || at == before.length());
                assert_eq!(assembly.length(), at.saturating_add(payload));
                assert!(assembly.length() <= LIMIT);
            }
            Err(_) => assert_eq!(assembly, before),
        }
        let total = payload.saturating_mul(usize::from(size));
        if let Ok(Some((answer, range))) = block::slice(total, Some(block), size) {
            assert_eq!(answer.offset(), Some(range.start));
            assert!(range.end <= total && range.len() <= answer.size());
            assert_eq!(answer.more, range.end < total);
        }
    }
}

/// Any bytes: items are read or refused, and what was skipped is the beginning of what was there.
pub fn link_cbor(data: &[u8]) {
    let mut reader = crate::cbor::Reader::new(data);
    while let Ok(item) = reader.skip() {
        assert!(!item.is_empty() && data.ends_with(reader.rest()));
        let mut inner = crate::cbor::Reader::new(item);
        if let Ok(number) = inner.int() {
            let mut buffer = [0; 9];
            let mut writer = crate::cbor::Writer::new(&mut buffer);
            writer.int(number);
            assert_eq!(writer.finish(), Ok(item));
        }
    }
}

/// A credential or a name of one: what was read is written as it was.
pub fn link_credential(data: &[u8]) {
    use crate::cbor::{Reader, Writer};
    use crate::credential::{Credential, IdCred};
    if let Ok(credential) = Credential::read(data) {
        assert_eq!(credential.bytes, data);
        assert!(crate::credential::same_key(
            &credential.key,
            &credential.key
        ));
    }
    let mut reader = Reader::new(data);
    if let Ok(id) = IdCred::read(&mut reader) {
        let mut buffer = [0; 1024];
        let mut writer = Writer::new(&mut buffer);
        id.write(&mut writer);
        if let Ok(written) = writer.finish() {
            assert!(data.starts_with(written));
        }
        assert!(id.certificates().count() <= data.len());
    }
}

/// A grant: what is read of it says the same in other words, and nobody gets anything by a grant that is not signed.
#[cfg(feature = "rustcrypto")]
pub fn link_grant(data: &[u8]) {
    use crate::crypto::{CryptoError, PublicKey, Y, rust::RustCrypto};
    use crate::grant::{Clock, Grant, Scope};
    let Ok(grant) = Grant::read(data) else {
        return;
    };
    let entries = || grant.scope.entries();
    assert!(entries().count() > 0);
    for (path, methods) in entries() {
        for method in 1..=7 {
            let bit = 1_u8.rotate_left(method).rotate_right(1);
            assert!(methods & bit == 0 || grant.scope.allows(method.to_le_bytes()[0], path));
        }
    }
    assert_eq!(Scope::read(grant.scope.bytes()), Ok(grant.scope));
    let mut buffer = [0; 600];
    if let Ok(credential) = grant.credential(&mut buffer) {
        assert_eq!(credential.key, grant.key);
    }
    // A key with which nobody has signed.
    let authority = PublicKey::P256 {
        x: [0; 32],
        y: Y::Odd(true),
    };
    let mut crypto = RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Failed));
    let mut clock = Clock::default();
    let us = grant.audience;
    let given = grant.verify(&mut crypto, &authority, us, &grant.key, (&mut clock, 0));
    assert!(given.is_err() && clock == Clock::default());
}

/// A label or what is built into a firmware: what was read is written as it was.
pub fn link_label(data: &[u8]) {
    use crate::label::{LABEL_MAX, Label, Provisioning};
    let mut buffer = [0; LABEL_MAX];
    if let Ok(text) = core::str::from_utf8(data)
        && let Ok(label) = Label::read(text)
    {
        assert_eq!(label.write(&mut buffer), Ok(text));
    }
    if let Ok(label) = Label::read_ndef(data) {
        assert_eq!(label.write_ndef(&mut buffer), Ok(data));
    }
    if let Ok(provisioning) = Provisioning::read(data) {
        let mut buffer = [0; 2048];
        if let Ok(written) = provisioning.write(&mut buffer) {
            let again = Provisioning::read(written);
            assert!(again.is_ok_and(|again| again.gateway == provisioning.gateway));
        }
    }
    let _key = crate::credential::read_key_info(data);
}
