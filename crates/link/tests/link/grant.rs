//! Grants, made and verified, with an independent judge.

use std::path::Path;
use std::process::Command;

use stockade_link::credential::{Credential, thumbprint};
use stockade_link::crypto::rust::{RustCrypto, RustKey};
use stockade_link::crypto::{CryptoError, Curve, PublicKey, Secret, Y};
use stockade_link::grant::{Clock, GRANT_MAX, Grant, GrantError, Granted, Issue, SLACK, Scope};

use crate::backend;

type Backend = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

const NOW: u64 = 1_795_000_000;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const GET: u8 = 1;
const POST: u8 = 2;
const PUT: u8 = 3;
const DELETE: u8 = 4;

/// Random as far as these tests are concerned.
#[expect(clippy::unnecessary_wraps, reason = "what a backend asks for may fail")]
fn counted(out: &mut [u8]) -> Result<(), CryptoError> {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    for byte in out {
        *byte = NEXT.fetch_add(37, Ordering::Relaxed);
    }
    Ok(())
}

fn crypto() -> Backend {
    RustCrypto::new(counted)
}

#[test]
fn the_backend_in_rust_is_right() {
    backend::holds(&mut crypto(), RustKey::new, RustKey::public);
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn key(byte: u8) -> RustKey {
    RustKey::new(Curve::P256, &Secret::new([byte; 32])).unwrap()
}

fn scope() -> Scope {
    // GET and PUT; POST.
    Scope::of([("/siren/sound", 0b101), ("/siren/test", 0b10)].into_iter()).unwrap()
}

/// A grant of the gateway, whose key is 1, for the device `siren-1/hall`, to the one whose key is 2.
fn grant(change: impl FnOnce(&mut Issue<'_>)) -> Vec<u8> {
    let (scope, asker) = (scope(), key(2).public());
    let mut issue = Issue {
        subject: "cam-2/porch",
        audience: "siren-1/hall",
        issued: NOW,
        expires: NOW + DAY,
        key: &asker,
        kid: Some(&[7]),
        scope: &scope,
        epoch: 5,
    };
    change(&mut issue);
    let mut out = [0; GRANT_MAX];
    issue
        .sign(&mut crypto(), &key(1), b"auth", &mut out)
        .unwrap()
        .to_vec()
}

fn told() -> Clock {
    let mut clock = Clock::default();
    clock.tell(NOW + HOUR, 5, 0);
    clock
}

fn verify(bytes: &[u8], clock: &mut Clock, uptime: u64) -> Result<Granted, GrantError> {
    Grant::read(bytes)?.verify(
        &mut crypto(),
        &key(1).public(),
        "siren-1/hall",
        &key(2).public(),
        (clock, uptime),
    )
}

#[test]
fn a_grant_gives_what_it_says_until_it_ends_and_nothing_else() {
    let mut clock = told();
    let granted = verify(&grant(|_| {}), &mut clock, 0).unwrap();
    let allows = |at, method, path| granted.allows(&clock, at, method, path);
    assert!(allows(0, GET, "/siren/sound") && allows(0, PUT, "siren/sound"));
    assert!(allows(0, POST, "siren/test"));
    for (method, path) in [
        (POST, "siren/sound"),
        (DELETE, "siren/sound"),
        (GET, "siren/test"),
        (GET, "siren"),
        (GET, "siren/sound/"),
        (GET, "siren/soun"),
        (GET, "//siren/sound"),
        (GET, ""),
        (0, "siren/sound"),
        (8, "siren/sound"),
        (255, "siren/sound"),
    ] {
        assert!(!allows(0, method, path), "{method} {path}");
    }
    let end = 23 * HOUR * 1000;
    assert!(allows(end - 1, GET, "siren/sound"));
    assert!(!allows(end, GET, "siren/sound"));
}

#[test]
fn a_grant_is_the_credential_of_who_may_ask() {
    let bytes = grant(|_| {});
    let mut buffer = [0; 200];
    let credential = Grant::read(&bytes).unwrap().credential(&mut buffer);
    let credential = credential.unwrap();
    assert_eq!(credential.subject, Some("cam-2/porch"));
    assert_eq!(credential.kid, Some([7].as_slice()));
    let mut own = [0; 200];
    let own =
        stockade_link::credential::ccs(&mut own, Some("cam-2/porch"), Some(&[7]), &key(2).public());
    assert_eq!(credential.bytes, own.unwrap());
}

#[test]
fn grants_of_others_for_others_and_by_others_are_refused() {
    let clock = &mut told();
    let read = |bytes: &[u8]| Grant::read(bytes).map(|_| ());
    let bytes = grant(|_| {});
    assert_eq!(
        verify(&grant(|issue| issue.audience = "siren-1/cellar"), clock, 0),
        Err(GrantError::NotForUs)
    );
    // Stolen: the key that proved itself is another.
    let stolen = Grant::read(&bytes).unwrap().verify(
        &mut crypto(),
        &key(1).public(),
        "siren-1/hall",
        &key(3).public(),
        (clock, 0),
    );
    assert_eq!(stolen, Err(GrantError::OtherKey));
    let forged = Grant::read(&bytes).unwrap().verify(
        &mut crypto(),
        &key(3).public(),
        "siren-1/hall",
        &key(2).public(),
        (clock, 0),
    );
    assert_eq!(forged, Err(GrantError::NotSigned));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        // Who signed it is said outside of what is signed, and decides nothing.
        let name = bytes.windows(4).position(|part| part == b"auth").unwrap();
        if !(name..name + 4).contains(&at) {
            assert!(verify(&damaged, clock, 0).is_err(), "byte {at}");
        }
        assert_eq!(read(&bytes[..at]), Err(GrantError::Malformed));
    }
    assert_eq!(
        read(&[&bytes[..], &[0]].concat()),
        Err(GrantError::Malformed)
    );
}

#[test]
fn time_is_judged_by_what_is_known_of_it() {
    let later = |seconds: u64| {
        let mut clock = Clock::default();
        clock.tell(NOW + seconds, 0, 0);
        clock
    };
    let bytes = grant(|_| {});
    assert!(verify(&bytes, &mut later(DAY - 1), 0).is_ok());
    assert_eq!(verify(&bytes, &mut later(DAY), 0), Err(GrantError::Expired));
    assert_eq!(
        verify(&bytes, &mut later(0), DAY * 1000),
        Err(GrantError::Expired)
    );
    let early = grant(|issue| (issue.issued, issue.expires) = (NOW + SLACK + 1, NOW + DAY));
    assert_eq!(verify(&early, &mut later(0), 0), Err(GrantError::NotYet));
    assert!(verify(&early, &mut later(1), 0).is_ok());
    // A gateway whose clock was ahead sets it right again.
    let mut clock = later(10 * DAY);
    clock.tell(NOW, 0, 0);
    assert!(verify(&bytes, &mut clock, 0).is_ok());
}

#[test]
fn without_a_clock_a_grant_lasts_its_life_from_its_first_use() {
    let bytes = grant(|_| {});
    let mut clock = Clock::default();
    let granted = verify(&bytes, &mut clock, 1000).unwrap();
    assert_eq!(granted.ends(), 1000 + DAY * 1000);
    // What is signed now is not earlier than what was signed before: the clock has learned.
    assert_eq!(clock.least(1000 + HOUR * 1000), NOW + HOUR);
    let old = grant(|issue| (issue.issued, issue.expires) = (NOW - DAY, NOW - 1));
    assert_eq!(verify(&old, &mut clock, 1000), Err(GrantError::Expired));
    // A restart: the counting goes on from what was kept.
    let mut kept = [0; Clock::KEPT];
    let length = clock.keep(1000 + HOUR * 1000, &mut kept);
    let mut clock = Clock::restored(&kept[..length], 0);
    assert_eq!(clock.epoch(), 5);
    let granted = verify(&bytes, &mut clock, 0).unwrap();
    assert_eq!(granted.ends(), 23 * HOUR * 1000);
    for damaged in [&kept[..length - 1], &[], &[0xff; 19]] {
        assert_eq!(Clock::restored(damaged, 0), Clock::default());
    }
}

#[test]
fn a_higher_epoch_revokes_what_was_given_before_and_sessions_with_it() {
    let mut clock = told();
    let granted = verify(&grant(|_| {}), &mut clock, 0).unwrap();
    // The higher epoch arrives with a grant of somebody else.
    let fresh = grant(|issue| issue.epoch = 6);
    let fresh = verify(&fresh, &mut clock, 0).unwrap();
    assert_eq!(clock.epoch(), 6);
    assert!(!granted.allows(&clock, 0, GET, "siren/sound"));
    assert!(fresh.allows(&clock, 0, GET, "siren/sound"));
    assert_eq!(
        verify(&grant(|_| {}), &mut clock, 0),
        Err(GrantError::Revoked)
    );
    clock.tell(NOW, 2, 0);
    assert_eq!(clock.epoch(), 6, "it never sinks");
    // A forged one raises nothing.
    let mut forged = grant(|issue| issue.epoch = 99);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(verify(&forged, &mut clock, 0), Err(GrantError::NotSigned));
    assert_eq!(clock.epoch(), 6);
}

#[test]
fn scopes_are_understood_completely_or_not_at_all() {
    for (scope, right) in [
        ("818263 2f6162 01", true),
        ("80", false),
        ("8182632f616200", false),
        ("8182632f61621880", false),
        ("8182632f61621a00010000", false),
        ("81826361626301", false),
        ("8183632f61620100", false),
        ("8182632f616201f6", false),
        ("a0", false),
        ("", false),
    ] {
        let scope = hex(scope);
        assert_eq!(Scope::read(&scope).is_ok(), right, "{scope:02x?}");
    }
    let long = "/".repeat(60);
    assert!(Scope::of([(long.as_str(), 1)].into_iter()).is_ok());
    assert!(Scope::of([(long.as_str(), 1), (long.as_str(), 1)].into_iter()).is_err());
}

/// `cbor2` and `cryptography` (OpenSSL) read our grant and verify it, and make one that we verify.
#[test]
fn an_independent_judge_agrees() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/test-venv/bin/python");
    let peers = root.join("target/labs/python-link-peers-1");
    if !python.exists() || !peers.exists() {
        println!("skipped: cbor2 and cryptography are not there (cargo xtask prepare)");
        return;
    }
    let PublicKey::P256 { x, y: Y::Full(y) } = key(1).public() else {
        panic!()
    };
    let text = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let bytes = grant(|_| {});
    let judged = Command::new(python)
        .env("PYTHONPATH", peers)
        .arg(root.join("crates/link/tests/judge.py"))
        .args([text(&bytes), text(&x), text(&y)])
        .output()
        .unwrap();
    assert!(
        judged.status.success(),
        "{}",
        String::from_utf8_lossy(&judged.stderr)
    );
    let out = String::from_utf8(judged.stdout).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        "cam-2/porch siren-1/hall 1795000000 1795086400 5 [['/siren/sound', 5], ['/siren/test', 2]]"
    );
    let asker = Credential::read(&hex(lines[1]))
        .map(|credential| credential.key)
        .unwrap();
    assert_eq!(
        text(&thumbprint(&mut crypto(), &asker).unwrap()),
        lines[2],
        "the thumbprint (RFC 9679)"
    );
    let theirs = hex(lines[3]);
    let granted = verify(&theirs, &mut told(), 0).unwrap();
    assert!(granted.allows(&told(), 0, GET, "siren/sound"));
}
