//! What is sealed: only its reader opens it, with HPKE of any maker.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::hpke::{
    DH_KEM_X25519_HKDF_SHA256_AES_128, DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE,
};
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey};
use stockade_store::Sqlite;
use stockade_vault::{ReaderKey, Readers, StoredReaders, seal_info};

use super::*;

const CLIP: &str = r#"{ use = "seal", readers = ["owner", "police"] }"#;

fn reader() -> (ReaderKey, HpkePrivateKey) {
    let (public, private) = SUITE.generate_key_pair().expect("a key pair");
    (
        ReaderKey::parse(&STANDARD.encode(public.0)).expect("a key"),
        private,
    )
}

/// `OpenBase` (RFC 9180 §6.1) of an envelope: the encapsulated key, then the ciphertext.
fn open(
    suite: &dyn Hpke,
    info: &[u8],
    aad: &[u8],
    envelope: &[u8],
    key: &HpkePrivateKey,
) -> Option<Vec<u8>> {
    let (enc, sealed) = envelope.split_at_checked(32)?;
    suite
        .open(&EncapsulatedSecret(enc.to_vec()), info, aad, sealed, key)
        .ok()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| u8::try_from(c.to_digit(16)?).ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn sealed(value: Value, readers: &dyn Readers) -> Result<Value, Dropped> {
    one(
        CLIP,
        value,
        Treating {
            readers,
            ..by(&MOTION, PORCH)
        },
    )
}

fn envelopes(value: &Value) -> &Fields {
    let Value::Map(envelopes) = value else {
        panic!("{value:?}")
    };
    envelopes
}

#[test]
fn only_the_reader_opens_it_and_only_as_this_field() {
    let (owner, owners) = reader();
    let (police, polices) = reader();
    let readers = BTreeMap::from([
        ("owner".parse().unwrap(), owner),
        ("police".parse().unwrap(), police),
    ]);
    let clip = Value::Map([("frames".to_owned(), Value::List(vec![Value::Integer(7)]))].into());
    let kept = sealed(clip.clone(), &readers).unwrap();
    let of = |name: &str| match &envelopes(&kept)[name] {
        Value::Bytes(envelope) => envelope.clone(),
        other => panic!("{other:?}"),
    };
    let info = seal_info("motion", "x");
    for (envelope, right, wrong) in [
        (of("owner"), &owners, &polices),
        (of("police"), &polices, &owners),
    ] {
        let plain = open(SUITE, &info, &[], &envelope, right).expect("it opens");
        assert_eq!(
            ciborium::from_reader::<Value, _>(plain.as_slice()).unwrap(),
            clip
        );
        assert_eq!(open(SUITE, &info, &[], &envelope, wrong), None);
        assert_eq!(
            open(SUITE, &seal_info("motion", "y"), &[], &envelope, right),
            None
        );
        assert_eq!(
            open(SUITE, &seal_info("motionx", ""), &[], &envelope, right),
            None
        );
    }
}

#[test]
fn without_a_key_it_is_withheld_and_a_devices_own_reader_goes_before() {
    let clip = || Value::Text("AAAA".into());
    assert_eq!(sealed(clip(), &NOBODY), Err(Dropped::Sealed));
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(&dir.path().join("state.sqlite")).unwrap();
    let stored = StoredReaders(&store);
    assert_eq!(sealed(clip(), &stored), Err(Dropped::Sealed));
    let owner = "owner".parse().unwrap();
    let (everywhere, _) = reader();
    let (porch, porchs) = reader();
    stored.put(&owner, None, Some(&everywhere)).unwrap();
    stored
        .put(&owner, Some("garden"), Some(&everywhere))
        .unwrap();
    stored.put(&owner, Some("porch"), Some(&porch)).unwrap();
    assert_eq!(stored.all().unwrap().len(), 3);
    let kept = sealed(clip(), &stored).unwrap();
    let [Value::Bytes(envelope)] = envelopes(&kept).values().collect::<Vec<_>>()[..] else {
        panic!("{kept:?}")
    };
    let plain = open(SUITE, &seal_info("motion", "x"), &[], envelope, &porchs).unwrap();
    assert_eq!(
        ciborium::from_reader::<Value, _>(plain.as_slice()).unwrap(),
        clip()
    );
    for device in [None, Some("garden"), Some("porch")] {
        stored.put(&owner, device, None).unwrap();
    }
    assert_eq!(sealed(clip(), &stored), Err(Dropped::Sealed));
}

#[test]
fn what_a_device_sealed_itself_passes_and_nothing_that_only_looks_so() {
    let by_device = |envelope: Value, reader: &str| {
        let envelopes = Fields::from([(reader.to_owned(), envelope)]);
        sealed(
            Value::Map([("sealed".to_owned(), Value::Map(envelopes))].into()),
            &NOBODY,
        )
    };
    let envelope = vec![7; 49];
    let expected = Value::Map([("owner".to_owned(), Value::Bytes(envelope.clone()))].into());
    for form in [
        Value::Bytes(envelope.clone()),
        Value::Text(STANDARD.encode(&envelope)),
    ] {
        assert_eq!(by_device(form, "owner"), Ok(expected.clone()));
    }
    for (wrong, reader) in [
        (Value::Bytes(envelope.clone()), "stranger"),
        (Value::Bytes(vec![7; 48]), "owner"),
        (
            Value::Text("in clear, and long enough to look like one envelope".into()),
            "owner",
        ),
        (Value::Integer(7), "owner"),
    ] {
        assert_eq!(by_device(wrong, reader), Err(Dropped::WrongShape));
    }
}

#[test]
fn a_readers_key_is_a_point_that_keeps_secrets() {
    let (key, _) = reader();
    let raw = STANDARD.decode(key.to_string()).unwrap();
    let spki = [&unhex("302a300506032b656e032100"), raw.as_slice()].concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(spki)
    );
    assert_eq!(ReaderKey::parse(&pem), Ok(key));
    // RFC 7748 §6.1: points of small order give the same secret to everybody.
    let one = unhex(&format!("01{}", "00".repeat(31)));
    for wrong in [vec![0; 32], one, vec![7; 31], vec![]] {
        assert!(ReaderKey::parse(&STANDARD.encode(wrong)).is_err());
    }
    assert!(ReaderKey::parse("not a key").is_err());
}

#[test]
fn the_vector_of_rfc_9180_opens() {
    // Appendix A.1.1: the same key encapsulation and derivation, with AES-128-GCM.
    let key = HpkePrivateKey::from(unhex(
        "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
    ));
    let envelope = unhex(
        "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431\
         f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
    );
    let opened = open(
        DH_KEM_X25519_HKDF_SHA256_AES_128,
        b"Ode on a Grecian Urn",
        b"Count-0",
        &envelope,
        &key,
    );
    assert_eq!(
        opened.as_deref(),
        Some(b"Beauty is truth, truth beauty".as_slice())
    );
}

#[test]
fn another_makers_hpke_opens_what_we_seal_and_we_what_it_seals() {
    let libraries =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/labs/python-link-peers-1");
    if !libraries.is_dir() {
        println!(
            "skipped: no {}, which `cargo xtask test` makes",
            libraries.display()
        );
        return;
    }
    let (key, private) = reader();
    let readers = BTreeMap::from([("owner".parse().unwrap(), key.clone())]);
    let kept = sealed(Value::Text("a clip".into()), &readers).unwrap();
    let Value::Bytes(envelope) = &envelopes(&kept)["owner"] else {
        panic!("{kept:?}")
    };
    let info = seal_info("motion", "x");
    let script = "
import base64, sys
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
private, envelope, info = map(base64.b64decode, sys.argv[1:])
suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
key = X25519PrivateKey.from_private_bytes(private)
print(base64.b64encode(suite.decrypt(envelope, key, info)).decode())
print(base64.b64encode(suite.encrypt(b'from afar', key.public_key(), info)).decode())
";
    let output = Command::new("python3")
        .env("PYTHONPATH", &libraries)
        .args(["-c", script])
        .args([private.secret_bytes(), envelope, &info].map(|bytes| STANDARD.encode(bytes)))
        .output()
        .expect("python3");
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Vec<u8>> = said
        .lines()
        .map(|line| STANDARD.decode(line).unwrap())
        .collect();
    let [plain, theirs] = &said[..] else {
        panic!("{}", String::from_utf8_lossy(&output.stderr))
    };
    let plain: Value = ciborium::from_reader(plain.as_slice()).unwrap();
    assert_eq!(plain, Value::Text("a clip".into()));
    assert_eq!(
        open(SUITE, &info, &[], theirs, &private).as_deref(),
        Some(b"from afar".as_slice())
    );
}
