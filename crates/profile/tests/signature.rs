//! The signed form, against openssl and against others' COSE.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::path::Path;
use std::process::{Command, Output};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::test::rand::FixedByteRandom;
use proptest::prelude::*;
use stockade_profile::{
    KeyError, Profile, SigningKey, VerifyError, VerifyingKey, parse, sign, verify,
};

fn camera() -> Profile {
    parse(include_str!("../../../profiles/cam-2.toml")).unwrap()
}

/// The same key in each run.
fn fixed(byte: u8) -> SigningKey {
    SigningKey::generate(&FixedByteRandom { byte }).unwrap()
}

fn run(program: &mut Command) -> Output {
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program:?}: {said}");
    output
}

#[test]
fn what_is_signed_is_verified_with_its_key_and_no_other() {
    let (key, other) = (fixed(1), fixed(2));
    let signed = sign(&camera(), &key);
    let trusted = [other.verifying_key(), key.verifying_key()];
    let verified = verify(&signed, &trusted).unwrap();
    assert_eq!(verified.key(), key.id());
    assert_eq!(verified.into_profile(), camera());
    assert_eq!(
        verify(&signed, &[other.verifying_key()]).unwrap_err(),
        VerifyError::UnknownKey(key.id())
    );
    assert_eq!(
        verify(&signed, &[]).unwrap_err(),
        VerifyError::UnknownKey(key.id())
    );
}

#[test]
fn one_profile_and_one_key_always_give_the_same_bytes() {
    assert_eq!(sign(&camera(), &fixed(1)), sign(&camera(), &fixed(1)));
}

#[test]
fn the_signed_form_is_fixed() {
    let small = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"m\"\nversion = 1\nclass = \"linux\"\n";
    let signed = sign(&parse(small).unwrap(), &fixed(1));
    insta::assert_snapshot!(format!("{signed:02x?}"));
}

#[test]
fn changing_any_one_byte_of_a_signed_profile_is_noticed() {
    let key = fixed(1);
    let trusted = [key.verifying_key()];
    let signed = sign(&camera(), &key);
    for at in 0..signed.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = signed.clone();
            changed[at] ^= flip;
            assert!(
                verify(&changed, &trusted).is_err(),
                "byte {at} with {flip:#x}"
            );
        }
        assert!(verify(&signed[..at], &trusted).is_err(), "cut at {at}");
    }
    let trailing = [signed, vec![0]].concat();
    assert!(verify(&trailing, &trusted).is_err());
}

#[test]
fn a_signature_by_the_same_key_for_something_else_is_none() {
    let key = fixed(1);
    let signed = sign(&camera(), &key);
    let name = b"application/vnd.stockade.profile+cbor";
    let at = signed
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    let mut other = signed.clone();
    other[at + 12] ^= 1;
    assert_eq!(
        verify(&other, &[key.verifying_key()]).unwrap_err(),
        VerifyError::Message("the content is something else")
    );
}

#[test]
fn a_key_reads_back_from_its_file_and_does_not_print_itself() {
    let key = SigningKey::generate(&SystemRandom::new()).unwrap();
    let pem = key.to_pem().unwrap();
    let again = SigningKey::from_pem(&pem).unwrap();
    assert_eq!(again.id(), key.id());
    assert_eq!(again.to_pem().unwrap(), pem);
    let public = key.verifying_key();
    assert_eq!(VerifyingKey::from_pem(&public.to_pem()).unwrap(), public);
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.id()));
}

#[test]
fn two_new_keys_differ() {
    let random = SystemRandom::new();
    let (a, b) = (
        SigningKey::generate(&random).unwrap(),
        SigningKey::generate(&random).unwrap(),
    );
    assert_ne!(a.id(), b.id());
    let mut probe = [0; 8];
    random.fill(&mut probe).unwrap();
    assert_ne!(&probe, a.id().as_bytes());
}

#[test]
fn a_file_that_is_no_such_key_is_refused_by_what_it_is() {
    let pem = fixed(1).to_pem().unwrap();
    let public = fixed(1).verifying_key().to_pem();
    let private = |text: &str| SigningKey::from_pem(text).unwrap_err();
    assert_eq!(private(""), KeyError::Pem("PRIVATE KEY"));
    assert_eq!(private(&public), KeyError::Pem("PRIVATE KEY"));
    assert_eq!(
        private(&pem.replace("END", "EDN")),
        KeyError::Pem("PRIVATE KEY")
    );
    assert_eq!(private(&" ".repeat(5_000)), KeyError::Pem("PRIVATE KEY"));
    assert_eq!(
        VerifyingKey::from_pem(&pem).unwrap_err(),
        KeyError::Pem("PUBLIC KEY")
    );
    let p256 = run(Command::new("openssl").args([
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]));
    assert_eq!(
        private(&String::from_utf8(p256.stdout).unwrap()),
        KeyError::Algorithm
    );
}

#[test]
fn openssl_reads_our_key_files_and_we_read_those_of_openssl() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours.pem"), dir.path().join("theirs.pem"));
    let key = SigningKey::generate(&SystemRandom::new()).unwrap();
    fs_err::write(&ours, key.to_pem().unwrap().as_bytes()).unwrap();
    let public = run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&ours));
    assert_eq!(
        String::from_utf8(public.stdout).unwrap(),
        key.verifying_key().to_pem()
    );
    let same = run(Command::new("openssl").args(["pkey", "-in"]).arg(&ours));
    assert_eq!(
        String::from_utf8(same.stdout).unwrap(),
        *key.to_pem().unwrap()
    );

    run(Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(&theirs));
    let key = SigningKey::from_pem(&fs_err::read_to_string(&theirs).unwrap()).unwrap();
    let public = run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&theirs));
    let public = VerifyingKey::from_pem(str::from_utf8(&public.stdout).unwrap()).unwrap();
    assert_eq!(public, key.verifying_key());
    assert_eq!(
        verify(&sign(&camera(), &key), &[public])
            .unwrap()
            .into_profile(),
        camera()
    );
}

/// Python's cwt reads it, of `tests/profile-judge.txt`.
fn judge(public: &Path, message: &Path) -> Option<Command> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = here.join("../../target/labs/python-profile-judge-1");
    libraries.is_dir().then(|| {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", libraries);
        command.arg(here.join("tests/data/verify.py"));
        command.args([public, message]);
        command
    })
}

#[test]
fn others_verify_our_signature_and_read_our_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::generate(&SystemRandom::new()).unwrap();
    let (public, message) = (
        dir.path().join("public.pem"),
        dir.path().join("profile.cose"),
    );
    let Some(mut judge) = judge(&public, &message) else {
        println!("skipped: cwt is not there (cargo xtask prepare)");
        return;
    };
    fs_err::write(&public, key.verifying_key().to_pem()).unwrap();
    let signed = sign(&camera(), &key);
    fs_err::write(&message, &signed).unwrap();
    let output = run(&mut judge);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("signed by {}\nmodel cam-2 version 7\ncanonical\n", key.id())
    );
    // The probe sees a wrong signature, too.
    let last = signed.len() - 1;
    let mut forged = signed;
    forged[last] ^= 1;
    fs_err::write(&message, forged).unwrap();
    let output = judge.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

proptest! {
    #[test]
    fn any_one_changed_byte_is_noticed(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let key = fixed(1);
        let mut signed = sign(&camera(), &key);
        let at = at.index(signed.len());
        signed[at] ^= flip;
        prop_assert!(verify(&signed, &[key.verifying_key()]).is_err());
    }

    #[test]
    fn verifying_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verify(&bytes, &[fixed(1).verifying_key()]).is_err());
    }
}
