//! Certificates of the device itself: how long they are good, how strong they are, and whether their keys lie beside them.

use stockade_controls::engine::{Confidence, Finding, Severity, UnixSeconds};
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{FromDer as _, Pem, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::keys::{self, CERTIFICATE};

/// More in one file are a list of whom to trust, not the device's own.
const MOST_OF_A_DEVICE: usize = 8;
/// Where systems keep whom they trust.
const TRUSTED: [&str; 7] = [
    "/ssl/certs/",
    "/ca-certificates",
    "/certifi/",
    "/pki/ca-trust",
    "/cacerts/",
    "/share/mozilla/",
    "/mozilla/",
];

/// A certificate that was found.
#[derive(Debug)]
pub(super) struct Certificate {
    /// Whose, in words.
    pub(super) subject: String,
    /// SHA-256 of its key.
    pub(super) key: [u8; 32],
    /// Whether it may sign others.
    pub(super) authority: bool,
    /// What is wrong with it, whatever lies beside it.
    pub(super) wrong: Vec<(String, Severity)>,
}

/// The certificates of a text in PEM, or of one in DER.
pub(super) fn read(place: &str, content: &[u8], now: UnixSeconds) -> Vec<Certificate> {
    if content.starts_with(b"\x30\x82") {
        return one(content, now).into_iter().collect();
    }
    let all = Pem::iter_from_buffer(content).filter_map(Result::ok);
    let all: Vec<Pem> = all
        .filter(|pem| pem.label == "CERTIFICATE")
        .take(MOST_OF_A_DEVICE.saturating_add(1))
        .collect();
    let trusted = TRUSTED.iter().any(|part| place.contains(part));
    if trusted || all.len() > MOST_OF_A_DEVICE {
        return Vec::new();
    }
    all.iter()
        .filter_map(|pem| one(&pem.contents, now))
        .collect()
}

fn one(der: &[u8], now: UnixSeconds) -> Option<Certificate> {
    let (_, read) = X509Certificate::from_der(der).ok()?;
    let mut wrong = Vec::new();
    let moment = i64::try_from(now).ok()?;
    let validity = read.validity();
    if validity.not_after.timestamp() < moment {
        let day = validity.not_after.to_datetime().date();
        wrong.push((format!("ended on {day}"), Severity::Medium));
    }
    // A clock that is a day behind is no fault of the certificate's.
    if validity.not_before.timestamp() > moment.saturating_add(86_400) {
        let day = validity.not_before.to_datetime().date();
        wrong.push((format!("is not good before {day}"), Severity::Low));
    }
    let algorithm = &read.signature_algorithm.algorithm;
    let own = read.subject() == read.issuer();
    let broken = [
        (oid::OID_PKCS1_MD5WITHRSAENC, "MD5"),
        (oid::OID_PKCS1_SHA1WITHRSA, "SHA-1"),
    ];
    // Nobody checks the signature of one that signed itself.
    if let Some((_, name)) = broken
        .iter()
        .find(|(it, _)| it == algorithm)
        .filter(|_| !own)
    {
        wrong.push((format!("is signed with {name}"), Severity::Medium));
    }
    let bits = match read.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()).filter(|bits| *bits < 2048),
        Ok(PublicKey::EC(point)) => Some(point.key_size()).filter(|bits| *bits < 224),
        _ => None,
    };
    if let Some(bits) = bits {
        wrong.push((format!("has a key of {bits} bits"), Severity::High));
    }
    let subject = read.subject().to_string();
    Some(Certificate {
        subject: subject.escape_debug().take(100).collect(),
        key: keys::hash(read.public_key().raw),
        authority: read.is_ca(),
        wrong,
    })
}

impl Certificate {
    /// What is wrong with it at a place; `private` if the image has its private key.
    pub(super) fn findings(&self, place: &str, private: Option<&str>) -> Vec<Finding> {
        let finding = |what: String, severity| {
            let what = format!("the certificate of `{}` in {place} {what}", self.subject);
            Finding::of(&CERTIFICATE, place, what)
                .seen(place, &self.subject)
                .with(severity, Confidence::High)
        };
        let wrong = self.wrong.iter();
        let mut all: Vec<Finding> = wrong
            .map(|(what, severity)| finding(what.clone(), *severity))
            .collect();
        if let Some(beside) = private.filter(|_| self.authority) {
            let what = format!(
                "is that of an authority, and its private key is in {beside}: everybody who has the image can issue certificates"
            );
            all.push(finding(what, Severity::Critical));
        }
        all
    }
}
