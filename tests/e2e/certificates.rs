//! Certificates that must not let anybody in: each is refused with the right alert or code, and told with its reason.

use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{succeed, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::Five;
use time::OffsetDateTime;

const NAME: &str = "spiffe://stockade.local/device/probe/porch";
const DAY: time::Duration = time::Duration::DAY;

/// A CA of the operator's own, so that the test can sign with it what the gateway never would.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = called(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = OffsetDateTime::now_utc() - 1_000 * DAY;
        params.not_after = OffsetDateTime::now_utc() + 1_000 * DAY;
        Self { params, key }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// What the gateway itself would issue.
fn honest() -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(NAME.try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = OffsetDateTime::now_utc() - DAY;
    params.not_after = OffsetDateTime::now_utc() + DAY;
    Ok(params)
}

/// A gateway that works with the authority, and the device of the profile enrolled with it.
fn gateway_of(authority: &Authority) -> Result<(Gateway, Device)> {
    let mut gateway = Gateway::prepared("")?;
    let (certificate, key) = (
        gateway.folder().join("own.pem"),
        gateway.folder().join("own.key"),
    );
    let pem = authority.params.clone().self_signed(&authority.key)?.pem();
    fs_err::write(&certificate, pem)?;
    fs_err::write(&key, authority.key.serialize_pem())?;
    succeed(
        gateway
            .command(&["ca", "import", "--certificate"])
            .arg(&certificate)
            .arg("--key")
            .arg(&key),
    )?;
    gateway.up()?;
    gateway.install(&stockade_e2e::tools::root().join("tests/profiles/probe.toml"))?;
    let device = gateway.enrol("probe", "porch")?;
    Ok((gateway, device))
}

/// Shows a chain instead of the device's own certificate; what the device is told.
fn shown(gateway: &Gateway, device: &Device, chain: &str, key: &KeyPair) -> Result<String> {
    let folder = gateway.folder().join("shown");
    fs_err::create_dir_all(&folder)?;
    let odd = Device {
        key: write(&folder.join("key.pem"), &key.serialize_pem())?,
        certificate: write(&folder.join("certificate.pem"), chain)?,
        ..device.clone()
    };
    Ok(match Connection::resume(&odd, "porch", Five(true)) {
        Ok(_) => "let in".to_owned(),
        Err(error) => format!("{error:#}"),
    })
}

/// Waits until the operator is told so; the same reason again within ten seconds is part of a sum.
fn heard(gateway: &Gateway, words: &str) -> Result<()> {
    let told = |event: &serde_json::Value| {
        let reason = event["reason"].as_str().unwrap_or_default();
        let who = event["device"].as_str().unwrap_or("-");
        event["outcome"] == "refused" && format!("{who}: {reason}").contains(words)
    };
    gateway
        .event(&format!("an event that says `{words}`"), told)
        .map(drop)
}

fn write(path: &Path, text: &str) -> Result<std::path::PathBuf> {
    fs_err::write(path, text)?;
    Ok(path.to_owned())
}

/// What is changed about an honest certificate, what the device is told, and what the operator.
type Case = (
    &'static str,
    fn(&mut CertificateParams) -> Result<()>,
    &'static str,
    &'static str,
);

const CASES: [Case; 11] = [
    (
        "one that the registry did not issue",
        |_| Ok(()),
        "0x87",
        "porch: shows a certificate that the registry does not know",
    ),
    (
        "an expired one",
        |p| {
            p.not_after = OffsetDateTime::now_utc() - DAY / 2;
            Ok(())
        },
        "CertificateExpired",
        "porch: its certificate expired on",
    ),
    (
        "one of the future",
        |p| {
            p.not_before = OffsetDateTime::now_utc() + DAY / 2;
            Ok(())
        },
        // rustls knows one alert for both ends (RFC 8446 §6.2 has no other that fits better).
        "CertificateExpired",
        "porch: its certificate is valid only from",
    ),
    (
        "one for another model",
        |p| named(p, &["spiffe://stockade.local/device/other/porch"]),
        "0x87",
        "porch: shows a certificate of the model other, but is registered as probe",
    ),
    (
        "one of another trust domain",
        |p| named(p, &["spiffe://evil.example/device/probe/porch"]),
        "AccessDenied",
        "spiffe://evil.example/device/probe/porch",
    ),
    (
        "one for nobody in the registry",
        |p| named(p, &["spiffe://stockade.local/device/probe/ghost"]),
        "0x87",
        "ghost: is not in the registry",
    ),
    (
        "one with two names",
        |p| named(p, &[NAME, "spiffe://stockade.local/device/probe/yard"]),
        "AccessDenied",
        "the certificate names no device of this gateway",
    ),
    (
        "one whose name is in the subject only",
        |p| {
            p.subject_alt_names.clear();
            p.distinguished_name = called("porch");
            Ok(())
        },
        "AccessDenied",
        "the certificate names no device of this gateway",
    ),
    (
        "a server's",
        |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            Ok(())
        },
        "UnsupportedCertificate",
        "porch: its certificate is not for clients",
    ),
    (
        "one that may sign others",
        |p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            p.key_usages.push(KeyUsagePurpose::KeyCertSign);
            Ok(())
        },
        "CertificateUnknown",
        "its certificate is not acceptable: CaUsedAsEndEntity",
    ),
    (
        "one whose name would escape a topic",
        |p| named(p, &["spiffe://stockade.local/device/probe/+"]),
        "AccessDenied",
        "a device id `+`",
    ),
];

fn named(params: &mut CertificateParams, names: &[&str]) -> Result<()> {
    params.subject_alt_names.clear();
    for &name in names {
        params
            .subject_alt_names
            .push(SanType::URI(name.try_into()?));
    }
    Ok(())
}

#[test]
fn an_odd_certificate_is_refused_and_the_reason_is_told() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let authority = Authority::new("Our own CA", KeyPair::generate()?);
    let (gateway, device) = gateway_of(&authority)?;
    let key = KeyPair::generate()?;
    for (what, change, to_device, to_operator) in CASES {
        let mut params = honest()?;
        change(&mut params)?;
        let pem = params.signed_by(&key, &authority.issuer())?.pem();
        let told = shown(&gateway, &device, &pem, &key).with_context(|| what)?;
        assert!(
            told.contains(to_device),
            "{what}: the device is told {told}"
        );
        heard(&gateway, to_operator).with_context(|| what)?;
    }
    Connection::resume(&device, "porch", Five(true))?;
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    Ok(())
}

#[test]
fn who_signs_decides_and_a_device_is_no_authority() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let authority = Authority::new("Our own CA", KeyPair::generate()?);
    let (gateway, device) = gateway_of(&authority)?;
    let key = KeyPair::generate()?;

    // Another CA that calls itself the same.
    let other = Authority::new("Our own CA", KeyPair::generate()?);
    let pem = honest()?.signed_by(&key, &other.issuer())?.pem();
    let told = shown(&gateway, &device, &pem, &key)?;
    assert!(
        told.contains("DecryptError") || told.contains("UnknownCA"),
        "{told}"
    );
    heard(&gateway, "porch: its certificate is forged")?;

    // Nobody but itself.
    let pem = honest()?.self_signed(&key)?.pem();
    let told = shown(&gateway, &device, &pem, &key)?;
    assert!(told.contains("alert"), "{told}");
    heard(&gateway, "issued by a CA that is not this gateway's")?;

    // The device's own certificate, which may sign nothing (RFC 5280 §4.2.1.9).
    let own = Authority::new(
        "porch",
        KeyPair::from_pem(&fs_err::read_to_string(&device.key)?)?,
    );
    let leaf = honest()?.signed_by(&key, &own.issuer())?.pem();
    let chain = leaf + &fs_err::read_to_string(&device.certificate)?;
    let told = shown(&gateway, &device, &chain, &key)?;
    assert!(told.contains("alert"), "{told}");

    // A true chain with a CA in between is read, but what it names is still not what the registry issued.
    let mut between = Authority::new("Between", KeyPair::generate()?);
    let middle = between
        .params
        .clone()
        .signed_by(&between.key, &authority.issuer())?
        .pem();
    between.params.distinguished_name = called("Between");
    let chain = honest()?.signed_by(&key, &between.issuer())?.pem() + &middle;
    let told = shown(&gateway, &device, &chain, &key)?;
    assert!(told.contains("0x87"), "{told}");
    heard(&gateway, "the registry does not know")?;

    Connection::resume(&device, "porch", Five(true))?;
    Ok(())
}
