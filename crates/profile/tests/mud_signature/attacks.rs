//! Signatures that must not be taken.

use stockade_profile::mud::signature::{Anchors, MAX_SIGNATURE, SignatureError, UnixTime, verify};

use crate::lab::{FILE, Lab, now, years};

// Object identifiers: the attributes digest, content type and signing time; data and signed data; digests.
const DIGEST: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";
const TYPE: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03";
const TIME: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05";
const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const SIGNED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";

fn refused(lab: &Lab, signature: &[u8]) -> SignatureError {
    verify(FILE, signature, &lab.anchors(), now()).unwrap_err()
}

#[test]
fn no_byte_may_change_none_may_be_missing_and_none_may_follow() {
    let lab = Lab::new("EC:prime256v1");
    let signature = lab.sign("-nosmimecap");
    let anchors = lab.anchors();
    assert!(verify(FILE, &signature, &anchors, now()).is_ok());
    // The certificate of the issuing authority is carried along, and any change to it breaks the chain.
    for at in 0..signature.len() {
        let mut changed = signature.clone();
        changed[at] ^= 0x41;
        assert!(
            verify(FILE, &changed, &anchors, now()).is_err(),
            "byte {at}"
        );
        assert!(
            verify(FILE, &signature[..at], &anchors, now()).is_err(),
            "cut at {at}"
        );
    }
    let longer = [signature.as_slice(), &[0]].concat();
    assert_eq!(
        refused(&lab, &longer),
        SignatureError::Message("bytes follow the CMS message")
    );
    assert_eq!(
        refused(&lab, &vec![0x30; MAX_SIGNATURE + 1]),
        SignatureError::TooLarge(MAX_SIGNATURE + 1)
    );
}

#[test]
fn the_signature_of_another_file_is_none() {
    let lab = Lab::new("EC:prime256v1");
    let signature = lab.sign("");
    for other in [&b""[..], &FILE[1..], &[FILE, b"\n"].concat()] {
        assert_eq!(
            verify(other, &signature, &lab.anchors(), now()),
            Err(SignatureError::Digest)
        );
    }
}

#[test]
fn certificates_hold_between_their_dates_only() {
    let lab = Lab::new("RSA:2048");
    let signature = lab.sign("");
    let at = |time| verify(FILE, &signature, &lab.anchors(), time).map(|_| ());
    assert_eq!(at(years(1)), Ok(()));
    assert_eq!(at(years(11)), Err(SignatureError::Expired));
    let before = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_000_000_000));
    assert_eq!(at(before), Err(SignatureError::NotYetValid));
}

#[test]
fn who_signed_must_lead_to_a_trusted_authority() {
    let (lab, stranger) = (Lab::new("EC:prime256v1"), Lab::new("EC:prime256v1"));
    // The stranger's names are the same: the keys differ.
    let error = refused(&lab, &stranger.sign(""));
    assert!(
        matches!(error, SignatureError::Untrusted | SignatureError::Chain(_)),
        "{error:?}"
    );
    assert_eq!(
        verify(FILE, &lab.sign(""), &Anchors::default(), now()),
        Err(SignatureError::Untrusted)
    );
}

#[test]
fn a_certificate_for_something_else_does_not_sign_files() {
    let lab = Lab::new("EC:prime256v1");
    let usage = "keyUsage=critical,digitalSignature";
    let with = |extensions: &str| {
        lab.signer_with(extensions);
        verify(FILE, &lab.sign(""), &lab.anchors(), now()).map(|_| ())
    };
    for good in [
        "emailProtection",
        "codeSigning",
        "1.3.6.1.5.5.7.3.36",
        "anyExtendedKeyUsage",
    ] {
        assert_eq!(
            with(&format!("{usage}\nextendedKeyUsage={good}")),
            Ok(()),
            "{good}"
        );
    }
    for bad in ["serverAuth", "clientAuth,timeStamping", "OCSPSigning"] {
        let refused = with(&format!("{usage}\nextendedKeyUsage={bad}"));
        assert!(
            matches!(refused, Err(SignatureError::Certificate(_))),
            "{bad}: {refused:?}"
        );
    }
    for bad in [
        "keyUsage=critical,keyEncipherment",
        "keyUsage=critical,nonRepudiation",
        "basicConstraints=CA:FALSE",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign",
    ] {
        let refused = with(bad);
        assert!(
            matches!(refused, Err(SignatureError::Certificate(_))),
            "{bad}: {refused:?}"
        );
    }
}

#[test]
fn who_is_no_authority_can_not_make_a_signer() {
    let lab = Lab::new("EC:prime256v1");
    // The signer, which is no authority, issues a certificate for another key.
    lab.key("thief.key", "EC:prime256v1");
    lab.certify(
        "thief",
        "mud signer",
        "signer",
        "keyUsage=critical,digitalSignature",
    );
    let signature = lab.openssl_to(
        "thief.p7s",
        "cms -sign -binary -outform DER -in file.json -signer thief.pem -inkey thief.key -certfile chain.pem",
    );
    let error = refused(&lab, &signature);
    assert!(matches!(error, SignatureError::Certificate(_)), "{error:?}");
}

#[test]
fn weak_algorithms_are_refused() {
    let lab = Lab::new("RSA:2048");
    for digest in ["sha1", "md5", "sha224"] {
        let error = refused(&lab, &lab.sign(&format!("-md {digest}")));
        assert!(
            matches!(error, SignatureError::Weak(_)),
            "{digest}: {error:?}"
        );
    }
    for kind in ["RSA:1024", "EC:secp224r1", "EC:secp256k1"] {
        let lab = Lab::new(kind);
        let error = refused(&lab, &lab.sign(""));
        assert!(
            matches!(error, SignatureError::Signature | SignatureError::Weak(_)),
            "{kind}: {error:?}"
        );
    }
    // A short salt, and a digest that is not that of the signature.
    let salt = lab.sign("-keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:8");
    assert!(matches!(refused(&lab, &salt), SignatureError::Weak(_)));
}

#[test]
fn an_issuer_that_signed_with_sha1_is_not_believed() {
    let lab = Lab::new("EC:prime256v1");
    lab.write("ext", b"keyUsage=critical,digitalSignature");
    lab.openssl("req -new -key signer.key -subj /CN=weak -out csr");
    lab.openssl(
        "x509 -req -sha1 -in csr -CA issuing.pem -CAkey issuing.key -CAcreateserial -days 30 -extfile ext -out signer.pem",
    );
    let error = refused(&lab, &lab.sign(""));
    assert!(matches!(error, SignatureError::Chain(_)), "{error:?}");
}

#[test]
fn the_form_is_that_of_a_detached_signature_with_one_signer() {
    let lab = Lab::new("EC:prime256v1");
    let said = |options: &str| refused(&lab, &lab.sign(options)).to_string();
    let form = "this is no signature of a MUD file: ";
    assert_eq!(
        said("-noattr"),
        format!("{form}the signature has no signed attributes")
    );
    assert_eq!(
        said("-nodetach"),
        format!("{form}the signature carries content of its own: it must be detached")
    );
    assert_eq!(
        said("-nocerts"),
        "the signature does not carry its signer's certificate"
    );
    assert_eq!(
        said("-econtent_type 1.2.840.113549.1.9.16.1.4"),
        format!("{form}the signed content is something else than a file")
    );
    lab.key("second.key", "EC:prime256v1");
    lab.certify(
        "second",
        "second signer",
        "issuing",
        "keyUsage=critical,digitalSignature",
    );
    assert_eq!(
        said("-signer second.pem -inkey second.key"),
        format!("{form}the message has more than one signer: one must answer for the file")
    );
    let streamed = lab.sign("-stream");
    assert!(matches!(
        refused(&lab, &streamed),
        SignatureError::Message(_)
    ));
    for other in [
        &b""[..],
        b"-----BEGIN CMS-----",
        FILE,
        &lab.read("signer.pem"),
    ] {
        assert!(matches!(refused(&lab, other), SignatureError::Message(_)));
    }
}

/// A message put together by hand around a real signature: the attributes are what was signed, the rest is not.
#[test]
fn attributes_that_contradict_the_message_are_refused() {
    let lab = Lab::new("EC:prime256v1");
    let good = lab.sign("-nosmimecap");
    let patch = |from: &[u8], to: &[u8], nth: usize| {
        assert_eq!(from.len(), to.len());
        let places: Vec<usize> = (0..good.len() - from.len())
            .filter(|&at| &good[at..at + from.len()] == from)
            .collect();
        let at = places[nth];
        let mut changed = good.clone();
        changed[at..at + from.len()].copy_from_slice(to);
        changed
    };
    let form = "this is no signature of a MUD file: ";
    for (from, to, nth, words) in [
        (
            DIGEST,
            TIME,
            0,
            "the signed attributes have no digest of the file",
        ),
        (TYPE, TIME, 0, "the signed attributes name no content type"),
        (TIME, TYPE, 0, "the signed attributes can not be read"),
        (
            DATA,
            SIGNED,
            1,
            "the signed attributes name another content type than the message",
        ),
        (
            DATA,
            SIGNED,
            0,
            "the signed content is something else than a file",
        ),
        (SIGNED, DATA, 0, "the CMS message is no signature"),
        (
            SHA256,
            SHA384,
            0,
            "the signer's digest is not among those announced",
        ),
    ] {
        assert_eq!(
            refused(&lab, &patch(from, to, nth)).to_string(),
            format!("{form}{words}")
        );
    }
}

#[test]
fn a_trust_file_that_is_none_is_refused() {
    let lab = Lab::new("EC:prime256v1");
    let mut anchors = Anchors::default();
    for bad in [&b""[..], b"x", &lab.read("ca.key"), &[0x30, 0x03, 1, 2, 3]] {
        assert_eq!(anchors.add(bad), Err(SignatureError::Anchors));
    }
    assert!(anchors.is_empty());
    lab.openssl("x509 -in ca.pem -outform DER -out ca.der");
    anchors.add(&lab.read("ca.der")).unwrap();
    assert!(verify(FILE, &lab.sign(""), &anchors, now()).is_ok());
}
