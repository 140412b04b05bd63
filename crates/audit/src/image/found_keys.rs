//! Findings about keys and certificates: of which the public half tells what each is.

use stockade_controls::engine::{Confidence, Finding, Severity};

use super::keys::{self, KNOWN_KEY, PRIVATE_KEY};
use super::scan::Scan;
use super::updates;

/// A key whose private half is published.
pub(super) fn published(public: &[u8; 32], path: &str, place: &str) -> Option<Finding> {
    let source = keys::known(public)?;
    let (rule, what) = if updates::is_key_place(path) {
        (
            &updates::TEST_KEY,
            format!("updates are checked with a key in {path} whose private half is published"),
        )
    } else {
        (
            &KNOWN_KEY,
            format!("the private half of a key in {path} is published"),
        )
    };
    Some(Finding::of(rule, place, what).seen(place, format!("the key of {source}")))
}

/// Libraries and programs of cryptography, which have keys in them to try themselves on.
const SELF_TESTS: [&str; 13] = [
    "gnutls-",
    "softhsm",
    "libsofthsm",
    "openssl",
    "libcrypto",
    "libssl",
    "libgnutls",
    "libmbed",
    "libwolfssl",
    "libfreebl",
    "libsoftokn",
    "libgcrypt",
    "libhogweed",
];

/// The findings about keys and certificates, of which some need to know all others.
pub(super) fn of_keys(scan: &Scan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, key) in &scan.keys {
        let path = place.rsplit(": ").next().unwrap_or(place);
        if let Some(public) = &key.public {
            findings.extend(published(public, path, place));
        }
        // They have a rule of their own, also on a device.
        let of_host =
            path.starts_with("/etc/ssh/ssh_host_") || path.starts_with("/etc/dropbear/dropbear_");
        let name = path.rsplit('/').next().unwrap_or_default();
        if of_host || SELF_TESTS.iter().any(|it| name.starts_with(it)) {
            continue;
        }
        let locked = if key.encrypted {
            ", locked with a password"
        } else {
            ""
        };
        let short = key.public.as_ref().map(|it| {
            let [a, b, c, d, ..] = it;
            format!(", public half {a:02x}{b:02x}{c:02x}{d:02x}")
        });
        let what = format!("{path} holds {}{locked}", key.kind);
        let at = if key.at == 0 {
            String::new()
        } else {
            format!(" at {:#x}", key.at)
        };
        let mut finding = Finding::of(&PRIVATE_KEY, place, what).seen(
            format!("{place}{at}"),
            format!("{}{}", key.kind, short.unwrap_or_default()),
        );
        if key.encrypted {
            finding = finding.with(Severity::Medium, Confidence::High);
        }
        findings.push(finding);
    }
    for (place, certificate) in &scan.certificates {
        let path = place.rsplit(": ").next().unwrap_or(place);
        let beside = scan
            .keys
            .iter()
            .find(|(_, key)| key.public == Some(certificate.key));
        findings.extend(certificate.findings(place, beside.map(|(it, _)| it.as_str())));
        let known = published(&certificate.key, path, place);
        let by_name = || {
            let name = path.rsplit('/').next().unwrap_or_default();
            let whose = format!("{name} {}", certificate.subject);
            updates::is_key_place(path)
                .then(|| updates::of_tests(place, &whose))
                .flatten()
        };
        findings.extend(known.or_else(by_name));
    }
    findings
}
