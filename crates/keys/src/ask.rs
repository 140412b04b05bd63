//! What is answered to whom. Nothing here signs what was not looked at.

use std::cell::RefCell;

use rcgen::{
    CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey,
};
use stockade_api::keys::{Answer, Request, Slot};
use stockade_api::{Blob, signed};

use crate::store::{Point, Signature, Store, StoreError};

/// RFC 5480 §2: the `SubjectPublicKeyInfo` of a key on P-256, up to its point.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Who asks, as the kernel says (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// User 0.
    Root,
    /// The agent.
    Agent,
}

/// Answers one request.
pub(crate) fn answer(store: &mut dyn Store, caller: Caller, request: Request) -> Answer {
    match decide(store, caller, request) {
        Ok(answer) => answer,
        Err(Wrong::Store(StoreError::Empty(_) | StoreError::NoTpm)) => Answer::Empty,
        Err(wrong) => Answer::Refused(stockade_host::chain(&wrong)),
    }
}

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this is not what TLS 1.3 signs for the slot `{0}` (RFC 8446 §4.4.3)")]
    NotTls(Slot),
    #[error("only root may have evidence signed")]
    NotRoot,
    #[error("only root may destroy the key in use")]
    InUse,
    #[error("only root may destroy every key")]
    All,
    #[error("only root may have the TPM's registers signed")]
    Quote,
    #[error("a challenge has 32 bytes")]
    Challenge,
    #[error("cannot make a certificate request: {0}")]
    Csr(#[from] rcgen::Error),
}

fn decide(store: &mut dyn Store, caller: Caller, request: Request) -> Result<Answer, Wrong> {
    Ok(match request {
        Request::Public { slot } => public(store, slot)?,
        Request::Make { slot } => {
            if store.public(slot)?.is_none() {
                store.make(slot)?;
            }
            public(store, slot)?
        }
        Request::Csr { slot } => {
            let point = store.public(slot)?.ok_or(StoreError::Empty(slot))?;
            // RFC 7030 §4.2.1: the subject is the server's to decide; ours is empty.
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            let key = Held {
                store: RefCell::new(store),
                slot,
                point,
            };
            Answer::Csr(Blob(params.serialize_request(&key)?.der().to_vec()))
        }
        Request::SignTls { slot, message } => {
            if !is_certificate_verify(slot, &message.0) {
                return Err(Wrong::NotTls(slot));
            }
            Answer::Signature(Blob(der(&store.sign(slot, &message.0)?)))
        }
        Request::SignEvidence {
            certificate,
            payload,
        } => {
            if caller != Caller::Root {
                return Err(Wrong::NotRoot);
            }
            // The content type is written here: whatever the payload is, the signature is for evidence.
            let sign = |signed: &[u8]| store.sign(Slot::Device, signed).map(|it| it.to_vec());
            Answer::Evidence(Blob(signed::sign_evidence(&certificate, &payload.0, sign)?))
        }
        Request::Promote => {
            store.promote()?;
            Answer::Done
        }
        Request::Drop { slot } => {
            // Without it the device is out of the fleet until somebody enrols it anew.
            if slot == Slot::Device && caller != Caller::Root {
                return Err(Wrong::InUse);
            }
            store.destroy(slot)?;
            Answer::Done
        }
        Request::EraseAll => {
            if caller != Caller::Root {
                return Err(Wrong::All);
            }
            store.erase_all()?;
            Answer::Done
        }
        Request::Endorsement => Answer::Endorsement(store.endorsement()?),
        Request::Activate(credential) => {
            Answer::Activated(Blob(store.activate(&credential)?.to_vec()))
        }
        Request::Quote {
            challenge,
            registers,
        } => {
            if caller != Caller::Root {
                return Err(Wrong::Quote);
            }
            let challenge = challenge.0.as_slice().try_into();
            let challenge = challenge.map_err(|_| Wrong::Challenge)?;
            Answer::Quote(store.quote(challenge, &registers)?)
        }
    })
}

fn public(store: &mut dyn Store, slot: Slot) -> Result<Answer, StoreError> {
    let point = store.public(slot)?;
    Ok(point.map_or(Answer::Empty, |point| {
        Answer::Public(Blob([&SPKI[..], &point].concat()))
    }))
}

/// RFC 8446 §4.4.3: 64 spaces, the context, a zero, and a transcript hash of SHA-256 or SHA-384.
fn is_certificate_verify(slot: Slot, message: &[u8]) -> bool {
    let context: &[u8] = match slot {
        Slot::Device | Slot::DeviceNext => b"TLS 1.3, client CertificateVerify\0",
        Slot::Page => b"TLS 1.3, server CertificateVerify\0",
    };
    message
        .strip_prefix(&[0x20; 64])
        .and_then(|rest| rest.strip_prefix(context))
        .is_some_and(|hash| matches!(hash.len(), 32 | 48))
}

/// RFC 3279 §2.2.3: `ECDSA-Sig-Value`, SEQUENCE of r and s.
fn der(signature: &Signature) -> Vec<u8> {
    let mut body = Vec::with_capacity(72);
    for number in signature.chunks(32) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count().min(31);
        let number = number.get(zeros..).unwrap_or_default();
        // X.690 §8.3: a first bit that is set would make it negative.
        let sign = number.first().is_some_and(|byte| *byte >= 0x80);
        let length = u8::try_from(number.len()).unwrap_or_default() + u8::from(sign);
        body.extend([0x02, length]);
        body.extend(sign.then_some(0));
        body.extend(number);
    }
    // At most 70 bytes: the short form of a length.
    [
        &[0x30, u8::try_from(body.len()).unwrap_or_default()],
        body.as_slice(),
    ]
    .concat()
}

/// A slot's key, as far as a certificate request needs it.
struct Held<'a> {
    store: RefCell<&'a mut dyn Store>,
    slot: Slot,
    point: Point,
}

impl PublicKeyData for Held<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Held<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = self.store.borrow_mut().sign(self.slot, message);
        signed
            .map(|signature| der(&signature))
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    use stockade_api::keys::Place;

    use super::*;

    fn store() -> (tempfile::TempDir, Box<dyn Store>) {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::open(&Place::File, None, &dir.path().join("keys")).unwrap();
        (dir, store)
    }

    fn verify_message(context: &str, hash: usize) -> Vec<u8> {
        [&[0x20; 64], context.as_bytes(), &[0], &vec![7; hash]].concat()
    }

    #[test]
    fn nothing_but_a_tls_1_3_handshake_in_the_slots_own_role_is_signed_for_tls() {
        let (_dir, mut store) = store();
        for slot in [Slot::Device, Slot::Page] {
            answer(&mut *store, Caller::Agent, Request::Make { slot });
        }
        let client = "TLS 1.3, client CertificateVerify";
        let server = "TLS 1.3, server CertificateVerify";
        let mut signs = |slot, message: Vec<u8>| {
            let asked = Request::SignTls {
                slot,
                message: Blob(message),
            };
            matches!(
                answer(&mut *store, Caller::Agent, asked),
                Answer::Signature(_)
            )
        };
        assert!(signs(Slot::Device, verify_message(client, 32)));
        assert!(signs(Slot::Device, verify_message(client, 48)));
        assert!(signs(Slot::Page, verify_message(server, 48)));
        for (slot, message) in [
            (Slot::Device, verify_message(server, 32)),
            (Slot::Page, verify_message(client, 32)),
            (Slot::Device, verify_message(client, 31)),
            (Slot::Device, verify_message(client, 64)),
            (Slot::Device, verify_message(client, 32)[1..].to_vec()),
            (Slot::Device, vec![7; 32]),
            (Slot::Device, Vec::new()),
            (Slot::DeviceNext, verify_message(client, 32)),
        ] {
            assert!(!signs(slot, message.clone()), "{slot}: {message:02x?}");
        }
    }

    #[test]
    fn evidence_is_signed_for_root_only() {
        let (_dir, mut store) = store();
        answer(
            &mut *store,
            Caller::Agent,
            Request::Make { slot: Slot::Device },
        );
        let mut asked = |caller| {
            let payload = Blob(b"{}".to_vec());
            answer(
                &mut *store,
                caller,
                Request::SignEvidence {
                    certificate: [7; 32],
                    payload,
                },
            )
        };
        assert!(matches!(asked(Caller::Agent), Answer::Refused(why) if why.contains("only root")));
        assert!(matches!(asked(Caller::Root), Answer::Evidence(_)));
    }

    #[test]
    fn the_key_in_use_is_destroyed_for_root_only_and_the_next_for_the_agent_too() {
        let (_dir, mut store) = store();
        for slot in [Slot::Device, Slot::DeviceNext] {
            answer(&mut *store, Caller::Agent, Request::Make { slot });
        }
        let mut asked = |caller, slot| answer(&mut *store, caller, Request::Drop { slot });
        let refused = asked(Caller::Agent, Slot::Device);
        assert!(matches!(refused, Answer::Refused(why) if why.contains("only root")));
        assert_eq!(asked(Caller::Agent, Slot::DeviceNext), Answer::Done);
        assert_eq!(asked(Caller::Root, Slot::Device), Answer::Done);
    }

    #[test]
    fn every_key_is_destroyed_and_registers_are_signed_for_root_only() {
        let (_dir, mut store) = store();
        for slot in Slot::ALL {
            answer(&mut *store, Caller::Agent, Request::Make { slot });
        }
        let mut asked = |caller, request| answer(&mut *store, caller, request);
        let quote = Request::Quote {
            challenge: Blob(vec![7; 32]),
            registers: vec![0],
        };
        for request in [Request::EraseAll, quote] {
            let refused = asked(Caller::Agent, request);
            assert!(
                matches!(&refused, Answer::Refused(why) if why.contains("only root")),
                "{refused:?}"
            );
        }
        let short = Request::Quote {
            challenge: Blob(vec![7; 31]),
            registers: vec![0],
        };
        assert!(
            matches!(asked(Caller::Root, short), Answer::Refused(why) if why.contains("32 bytes"))
        );
        assert_eq!(asked(Caller::Root, Request::EraseAll), Answer::Done);
        for slot in Slot::ALL {
            assert_eq!(asked(Caller::Root, Request::Public { slot }), Answer::Empty);
        }
    }

    #[test]
    fn a_signature_is_der_whatever_its_numbers_are() {
        let pair = aws_lc_rs::signature::EcdsaKeyPair::generate(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        )
        .unwrap();
        let random = aws_lc_rs::rand::SystemRandom::new();
        let public = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref();
        // In 600 signatures a number with a first byte of zero, and with its first bit set, come by.
        for round in 0..600_u32 {
            let message = round.to_be_bytes();
            let fixed = pair.sign(&random, &message).unwrap();
            let der = der(&fixed.as_ref().try_into().unwrap());
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public);
            key.verify(&message, &der)
                .expect("it is the same signature");
        }
        let zeros = der(&[0; 64]);
        assert_eq!(zeros, [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, mut store) = store();
        answer(
            &mut *store,
            Caller::Agent,
            Request::Make { slot: Slot::Device },
        );
        let path = dir.path().join("keys/device.p8");
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let answered = answer(
            &mut *store,
            Caller::Agent,
            Request::Public { slot: Slot::Device },
        );
        assert!(matches!(answered, Answer::Refused(why) if why.contains("mode 640")));
    }
}
