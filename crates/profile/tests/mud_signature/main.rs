//! The signature of a MUD file, against openssl in both directions, and under attack.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod attacks;
mod lab;

use aws_lc_rs::rand::SystemRandom;
use stockade_profile::mud::signature::{Identity, SignatureError, sign, verify};

use lab::{FILE, Lab, now};

/// The keys a maker may have, as openssl names them.
const KEYS: [&str; 4] = ["RSA:2048", "EC:prime256v1", "EC:secp384r1", "ED25519"];

#[test]
fn what_we_sign_openssl_verifies() {
    for kind in KEYS {
        let lab = Lab::new(kind);
        let identity = Identity::from_pem(&lab.read("signer.key"), &lab.read("chain.pem")).unwrap();
        let signature = sign(FILE, &identity, now(), &SystemRandom::new()).unwrap();
        lab.write("ours.p7s", &signature);
        let verified = lab.try_openssl(
            "cms -verify -binary -inform DER -in ours.p7s -content file.json -CAfile ca.pem -out out.json",
        );
        if kind == "ED25519" && verified.is_err() {
            // openssl 3.0 knows no Ed25519 in CMS (it came with 3.2?): the message is at least one it can read.
            lab.openssl("cms -cmsout -print -noout -inform DER -in ours.p7s");
            continue;
        }
        verified.unwrap();
        assert_eq!(lab.read("out.json"), FILE, "{kind}");
    }
}

#[test]
fn what_we_sign_we_verify() {
    for kind in KEYS {
        let lab = Lab::new(kind);
        let identity = Identity::from_pem(&lab.read("signer.key"), &lab.read("chain.pem")).unwrap();
        let signature = sign(FILE, &identity, now(), &SystemRandom::new()).unwrap();
        let signed = verify(FILE, &signature, &lab.anchors(), now()).unwrap();
        assert_eq!(signed.file(), FILE);
        assert_eq!(signed.signer(), "CN=mud signer");
    }
}

#[test]
fn what_openssl_signs_we_verify() {
    let options = [
        "",
        "-md sha384",
        "-md sha512",
        "-keyid",
        "-nosmimecap",
        "-cades",
        "-econtent_type 1.2.840.113549.1.9.16.1.41",
    ];
    for kind in ["RSA:2048", "RSA:4096", "EC:prime256v1", "EC:secp384r1"] {
        let lab = Lab::new(kind);
        for option in options {
            let signed = lab.sign(option);
            let verified = verify(FILE, &signed, &lab.anchors(), now());
            assert_eq!(
                verified.map(|signed| signed.signer().to_owned()),
                Ok("CN=mud signer".to_owned()),
                "{kind} {option}"
            );
        }
    }
    let lab = Lab::new("RSA:2048");
    let pss = lab.sign("-keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:32");
    assert!(verify(FILE, &pss, &lab.anchors(), now()).is_ok());
}

#[test]
fn the_chain_may_be_given_with_the_signature_or_with_the_trust() {
    let lab = Lab::new("EC:prime256v1");
    let alone = lab.openssl_to(
        "alone.p7s",
        "cms -sign -binary -outform DER -in file.json -signer signer.pem -inkey signer.key",
    );
    assert_eq!(
        verify(FILE, &alone, &lab.anchors(), now()),
        Err(SignatureError::Untrusted)
    );
    let anchors = lab.anchors_of(&["issuing.pem"]);
    let signed = verify(FILE, &alone, &anchors, now()).unwrap();
    assert_eq!(signed.signer(), "CN=mud signer");
}

#[test]
fn a_device_can_demand_a_signer_by_name() {
    let lab = Lab::new("EC:prime256v1");
    let signature = lab.sign("");
    let signed = verify(FILE, &signature, &lab.anchors(), now()).unwrap();
    // Name ::= SEQUENCE OF SET OF { commonName "mud signer" } (RFC 5280 §4.1.2.4), a UTF8String as openssl writes it.
    let name = [
        b"\x30\x15\x31\x13\x30\x11\x06\x03\x55\x04\x03\x0c\x0a".as_slice(),
        b"mud signer",
    ]
    .concat();
    assert!(signed.is_by(&name));
    assert!(!signed.is_by(&name[..name.len() - 1]));
}

#[test]
fn what_others_would_refuse_is_not_signed() {
    let lab = Lab::new("EC:prime256v1");
    let random = SystemRandom::new();
    let tried = |key: &str, chain: &str, at| {
        Identity::from_pem(&lab.read(key), &lab.read(chain))
            .and_then(|identity| sign(FILE, &identity, at, &random).map(|_| ()))
    };
    lab.key("other.key", "EC:prime256v1");
    assert_eq!(tried("signer.key", "chain.pem", now()), Ok(()));
    assert_eq!(
        tried("other.key", "chain.pem", now()),
        Err(SignatureError::Signature)
    );
    assert_eq!(
        tried("signer.key", "chain.pem", lab::years(40)),
        Err(SignatureError::Expired)
    );
    assert!(matches!(
        tried("issuing.key", "issuing.pem", now()),
        Err(SignatureError::Certificate(_))
    ));
    lab.key("short.key", "RSA:1024");
    assert!(matches!(
        tried("short.key", "chain.pem", now()),
        Err(SignatureError::Key(_))
    ));
    assert!(matches!(
        tried("chain.pem", "chain.pem", now()),
        Err(SignatureError::Key(_))
    ));
}
