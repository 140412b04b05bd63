//! The CA: made once, kept private, taken over only if it fits.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::{
    BasicConstraints, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};
use tempfile::TempDir;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::tls::Leaf;

const START: OffsetDateTime = time::macros::datetime!(2026-11-22 12:00 UTC);

fn settings() -> PkiSettings {
    PkiSettings::new(TrustDomain::new("stockade.local").unwrap())
}

fn open_at(dir: &Path, now: OffsetDateTime) -> Result<Pki, PkiError> {
    Pki::open(dir, settings(), Clock::new(move || now))
}

fn request(pair: &KeyPair) -> Vec<u8> {
    CertificateParams::default()
        .serialize_request(pair)
        .unwrap()
        .der()
        .to_vec()
}

fn porch() -> DeviceName {
    DeviceName::new("cam-2", "porch").unwrap()
}

/// A CA made elsewhere, changed by `change` before it is signed.
fn foreign(pair: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Acme device CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = START - Duration::days(1);
    params.not_after = START + Duration::days(100);
    change(&mut params);
    params.self_signed(pair).unwrap().pem()
}

#[test]
fn a_ca_is_made_once_and_found_again() {
    let dir = TempDir::new().unwrap();
    let first = open_at(dir.path(), START).unwrap();
    let again = open_at(dir.path(), START + Duration::days(1)).unwrap();
    assert_eq!(first.ca_fingerprint(), again.ca_fingerprint());
    assert_eq!(first.ca_fingerprint().len(), 32 * 3 - 1);
    let other = TempDir::new().unwrap();
    assert_ne!(
        open_at(other.path(), START).unwrap().ca_fingerprint(),
        first.ca_fingerprint()
    );
}

#[test]
fn a_crash_between_key_and_certificate_is_made_good() {
    let dir = TempDir::new().unwrap();
    open_at(dir.path(), START).unwrap();
    let key = fs_err::read(dir.path().join("ca.key")).unwrap();
    fs_err::remove_file(dir.path().join("ca.pem")).unwrap();
    fs_err::write(dir.path().join(".new-ca.pem"), "half").unwrap();
    assert!(open_at(dir.path(), START).is_ok());
    assert_eq!(fs_err::read(dir.path().join("ca.key")).unwrap(), key);
}

#[test]
fn a_ca_without_its_key_is_not_replaced() {
    let dir = TempDir::new().unwrap();
    open_at(dir.path(), START).unwrap();
    fs_err::remove_file(dir.path().join("ca.key")).unwrap();
    assert!(matches!(open_at(dir.path(), START), Err(PkiError::Half(_))));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = TempDir::new().unwrap();
    open_at(dir.path(), START).unwrap();
    let key = dir.path().join("ca.key");
    fs_err::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = open_at(dir.path(), START).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("ca.key can be read by others (mode 640)"),
        "{error}"
    );
}

#[test]
fn a_wrong_clock_is_named() {
    let dir = TempDir::new().unwrap();
    open_at(dir.path(), START).unwrap();
    let error = open_at(dir.path(), OffsetDateTime::UNIX_EPOCH).unwrap_err();
    let text = "this machine's clock says 1970-01-01T00:00:00Z, but the CA is valid only from \
                2026-11-22T11:00:00Z: set the clock";
    assert_eq!(error.to_string(), text);
    assert!(matches!(
        open_at(dir.path(), START + Duration::days(4_000)),
        Err(PkiError::Expired { .. })
    ));
}

#[test]
fn a_device_certificate_holds_the_name_the_key_and_nothing_the_request_says() {
    let dir = TempDir::new().unwrap();
    let pki = open_at(dir.path(), START).unwrap();
    let pair = KeyPair::generate().unwrap();
    let mut asked = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    asked.distinguished_name.push(DnType::CommonName, "admin");
    let der = asked.serialize_request(&pair).unwrap();
    let request = Request::read(der.der()).unwrap();
    let issued = pki
        .issue(&porch(), &request, Duration::days(30), START)
        .unwrap();
    let leaf = Leaf::read(&issued.der.clone().into(), &settings().trust_domain).unwrap();
    assert_eq!(leaf.name, porch());
    assert_eq!(leaf.fingerprint, issued.fingerprint);
    assert_eq!(
        leaf.not_before,
        START - Duration::minutes(5),
        "backdated for slow clocks"
    );
    assert_eq!(
        leaf.not_after,
        START + Duration::days(7),
        "never longer than the operator allows"
    );
    let (_, parsed) = X509Certificate::from_der(&issued.der).unwrap();
    assert_eq!(parsed.subject().iter().count(), 0);
    assert!(!parsed.is_ca());
    let serial = parsed.raw_serial();
    assert_eq!(
        (serial.len(), serial[0]),
        (17, 1),
        "128 random bits behind a 1"
    );
    let short = pki
        .issue(&porch(), &request, Duration::hours(1), START)
        .unwrap();
    assert_eq!(short.not_after, START + Duration::hours(1));
    let late = START + Duration::days(3_650);
    let last = pki
        .issue(&porch(), &request, Duration::days(7), late)
        .unwrap();
    assert!(
        last.not_after < late + Duration::days(7),
        "never longer than the CA"
    );
}

#[test]
fn the_accepted_keys_are_accepted_and_a_changed_request_is_not() {
    let dir = TempDir::new().unwrap();
    let pki = open_at(dir.path(), START).unwrap();
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ] {
        let der = request(&KeyPair::generate_for(algorithm).unwrap());
        let read = Request::read(&der).unwrap();
        assert!(pki.issue(&porch(), &read, Duration::days(1), START).is_ok());
        let mut forged = der.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(Request::read(&forged).is_err());
        let mut longer = der;
        longer.push(0);
        assert_eq!(
            Request::read(&longer).unwrap_err(),
            RequestError::Unreadable
        );
    }
    assert_eq!(
        Request::read(&vec![0x30; 20_000]).unwrap_err(),
        RequestError::TooLong
    );
}

#[test]
fn an_existing_ca_is_taken_over_and_issues() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        let dir = TempDir::new().unwrap();
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let pem = foreign(&pair, |_| {});
        Pki::import(dir.path(), &pem, &pair.serialize_pem(), START).unwrap();
        let mode = fs_err::metadata(dir.path().join("ca.key"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600);
        let pki = open_at(dir.path(), START).unwrap();
        let read = Request::read(&request(&KeyPair::generate().unwrap())).unwrap();
        let issued = pki
            .issue(&porch(), &read, Duration::days(1), START)
            .unwrap();
        let (_, leaf) = X509Certificate::from_der(&issued.der).unwrap();
        let (_, ca) = X509Certificate::from_der(pki.ca_der()).unwrap();
        assert_eq!(leaf.issuer(), ca.subject());
        let again = Pki::import(dir.path(), &pem, &pair.serialize_pem(), START);
        assert!(
            matches!(again, Err(PkiError::Exists(_))),
            "devices trust the one that is there"
        );
    }
}

#[test]
fn a_ca_that_does_not_fit_is_refused_by_its_fault() {
    let pair = KeyPair::generate().unwrap();
    let key = pair.serialize_pem();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let check = |pem: &str, key: &str, expected: &str| {
        let dir = TempDir::new().unwrap();
        let error = Pki::import(dir.path(), pem, key, START)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!dir.path().join("ca.key").exists() && !dir.path().join("ca.pem").exists());
    };
    let fine = foreign(&pair, |_| {});
    check(
        &foreign(&pair, |p| p.is_ca = IsCa::ExplicitNoCa),
        &key,
        "it is not a CA",
    );
    check(
        &foreign(&pair, |p| {
            p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }),
        &key,
        "it may not sign certificates",
    );
    check(
        &fine,
        &KeyPair::generate().unwrap().serialize_pem(),
        "its key is another than the one given",
    );
    check(
        &foreign(&ed25519, |_| {}),
        &ed25519.serialize_pem(),
        "it is no EC key on P-256 or P-384",
    );
    check(
        &fine,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
        "it is encrypted: decrypt it first",
    );
    check("nothing", &key, "it holds no certificate");
    check(
        &foreign(&pair, |p| p.not_after = START - Duration::HOUR),
        &key,
        "the CA expired on",
    );
    check(
        &foreign(&pair, |p| p.not_before = START + Duration::HOUR),
        &key,
        "set the clock",
    );
}

#[test]
fn a_name_that_no_certificate_can_hold_is_refused() {
    let dir = TempDir::new().unwrap();
    let settings = PkiSettings {
        server_names: vec!["no name".to_owned()],
        ..settings()
    };
    let opened = Pki::open(dir.path(), settings, Clock::new(|| START));
    assert_eq!(
        opened.unwrap_err().to_string(),
        "`no name` is neither a host name nor an address"
    );
}

#[test]
fn the_gateways_own_certificate_renews_itself_and_follows_a_clock_that_jumps() {
    use std::sync::atomic::{AtomicI64, Ordering};
    let dir = TempDir::new().unwrap();
    let hours = Arc::new(AtomicI64::new(0));
    let clock = {
        let hours = Arc::clone(&hours);
        Clock::new(move || START + Duration::hours(hours.load(Ordering::SeqCst)))
    };
    let authority = Arc::new(Authority::open(dir.path(), START).unwrap());
    let settings = PkiSettings {
        server_names: vec!["gw.example".to_owned(), "192.0.2.1".to_owned()],
        ..settings()
    };
    let server = ServerCertificate::new(authority, &settings, clock).unwrap();
    let shown = |at: i64| {
        hours.store(at, Ordering::SeqCst);
        server.current().cert[0].to_vec()
    };
    let first = shown(0);
    assert_eq!(first, shown(100), "not at half its life");
    let second = shown(113);
    assert_ne!(first, second, "but at two thirds of seven days");
    assert_eq!(second, shown(114));
    assert_ne!(
        second,
        shown(1),
        "after a jump back it would be from the future"
    );
    let (_, parsed) = X509Certificate::from_der(&first).unwrap();
    let names = format!(
        "{:?}",
        parsed
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
    );
    for name in [
        "gw.example",
        "localhost",
        "[192, 0, 2, 1]",
        "[127, 0, 0, 1]",
    ] {
        assert!(names.contains(name), "{name} in {names}");
    }
}
