//! How an image gets its next version: by whose key, over what, and whether anybody looks.

use stockade_controls::engine::{Confidence, Finding, rules};

use super::generic::rule;
use super::scripts::Hit;

rules! {
    Updates "updates";
    TEST_KEY = "test-key", Critical, "Updates are checked with the maker's key, and not with one of tests",
        "Keys of tests and examples are published: anybody can make an update that the device takes.",
        "Put the maker's own key in, and keep its private half off every machine that builds.",
        ["EN 303 645 5.3-7", "EN 303 645 5.3-9", "CRA I.I(2)(c)", "CRA I.I(2)(f)", "ISVS 3.4"];
    UNCHECKED = "unchecked-download", High, "Nothing is fetched and run that nobody checked",
        "Whoever stands between the device and the server, or takes the server over, runs what he likes as root.",
        "Fetch over https without `-k`, and check a signature before what was fetched is used.",
        ["EN 303 645 5.3-7", "EN 303 645 5.3-10", "EN 303 645 5.5-1", "CRA I.I(2)(c)", "CRA I.I(2)(f)", "ISVS 3.4"];
}

/// Where the keys are that updates are checked with.
const PLACES: [&str; 11] = [
    "/etc/rauc/",
    "/etc/swupdate",
    "/usr/share/swupdate",
    "/etc/opkg/keys/",
    "/etc/apk/keys/",
    "/trusted.gpg",
    "/etc/mender/",
    "/etc/security/otacerts",
    "/etc/update",
    "/etc/ota",
    "/etc/fwupd",
];
/// What names of keys of tests have in them, as words.
const TESTS: [&str; 10] = [
    "test",
    "testing",
    "dev",
    "development",
    "demo",
    "example",
    "snakeoil",
    "insecure",
    "sample",
    "dummy",
];

/// Whether updates are checked with what stands here.
pub(super) fn is_key_place(path: &str) -> bool {
    PLACES.iter().any(|part| path.contains(part))
}

/// A key for updates that a name, of its file or of its holder, tells to be one of tests.
pub(super) fn of_tests(place: &str, name: &str) -> Option<Finding> {
    let lower = name.to_ascii_lowercase();
    let word = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .find(|it| TESTS.contains(it))?;
    let what = format!("updates are checked with a key that is called one of tests: {place}");
    let finding = Finding::of(&TEST_KEY, place, what).seen(place, format!("`{word}` in its name"));
    Some(finding.with(TEST_KEY.severity, Confidence::Medium))
}

/// What becomes of what was fetched.
const USES: [&str; 14] = [
    "| sh",
    "|sh",
    "| bash",
    "|bash",
    "chmod +x",
    "chmod 755",
    "sysupgrade",
    "flashcp",
    "mtd write",
    "mtd_write",
    "of=/dev/",
    "dpkg -i",
    "opkg install",
    "firmware",
];
const CHECKS: [&str; 7] = [
    "gpg --verify",
    "gpgv",
    "-verify",
    "usign -V",
    "signify",
    "minisign",
    "openssl cms",
];
/// Options that switch off that a package is checked.
const OFF: [&str; 6] = [
    "--allow-untrusted",
    "--allow-unauthenticated",
    "--nosignature",
    "--no-gpg-check",
    "--nogpgcheck",
    "--force-checksum",
];

/// What a script does with what it fetches.
pub(super) struct Fetched {
    used: bool,
    checked: bool,
}

impl Fetched {
    pub(super) fn of(text: &str) -> Self {
        Self {
            used: USES.iter().any(|it| text.contains(it)),
            checked: CHECKS.iter().any(|it| text.contains(it)),
        }
    }
}

/// A line of a script that takes what nobody checked.
pub(super) fn script(number: usize, line: &str, fetched: &Fetched) -> Option<Hit> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let installs = [
        "apk", "apt", "apt-get", "opkg", "rpm", "dnf", "yum", "zypper",
    ];
    if words.iter().any(|it| OFF.contains(it)) && words.iter().any(|it| installs.contains(it)) {
        return Some(Hit::of(
            number,
            rule("updates/source"),
            "installs packages without checking them",
        ));
    }
    let fetches = |it: &&str| {
        matches!(
            it.rsplit('/').next(),
            Some("wget" | "curl" | "uclient-fetch")
        )
    };
    if !words.iter().any(fetches) {
        return None;
    }
    let plain = line.contains("http://") || line.contains("ftp://");
    let local = ["://127.", "://localhost", "://[::1]"]
        .iter()
        .any(|it| line.contains(it));
    let blind = words
        .iter()
        .any(|it| matches!(*it, "-k" | "--insecure" | "--no-check-certificate"));
    if local || fetched.checked || !fetched.used || !(plain || blind) {
        return None;
    }
    let how = if plain {
        "in plain text"
    } else {
        "from whoever answers"
    };
    Some(Hit::of(
        number,
        &UNCHECKED,
        format!("fetches something {how} and uses it unchecked"),
    ))
}

/// An address of updates in settings.
pub(super) fn setting(number: usize, line: &str) -> Option<Hit> {
    let lower = line.to_ascii_lowercase();
    let (before, after) = lower.split_once("http://")?;
    let about = [
        "update",
        "upgrade",
        "firmware",
        "ota_",
        "ota-",
        "serverurl",
        "server_url",
        "hawkbit",
    ];
    let named = before.len() < 200 && about.iter().any(|it| before.contains(it));
    let local = ["127.", "localhost", "[::1]"]
        .iter()
        .any(|it| after.starts_with(it));
    (named && !local).then(|| {
        let mut hit = Hit::of(
            number,
            &UNCHECKED,
            "names a source of updates in plain text",
        );
        hit.sure = Confidence::Medium;
        hit.severity = stockade_controls::engine::Severity::Medium;
        hit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_and_used_unchecked_is_found() {
        let id = |text: &str| script(1, text, &Fetched::of(text)).map(|hit| hit.rule.id);
        for bad in [
            "wget -qO- http://acme.io/i.sh | sh",
            "curl -k https://acme.io/fw.bin -o /tmp/firmware.bin",
        ] {
            assert_eq!(id(bad), Some("updates/unchecked-download"), "{bad}");
        }
        assert_eq!(
            id("apk add --allow-untrusted x.apk"),
            Some("updates/source")
        );
        for good in [
            "curl https://acme.io/fw.bin -o /tmp/firmware.bin",
            "curl http://127.0.0.1/x | sh",
            "wget http://acme.io/firmware.bin && openssl dgst -verify k.pem",
            "wget -q http://acme.io/weather",
        ] {
            assert_eq!(id(good), None, "{good}");
        }
        assert!(setting(1, "\"ServerURL\": \"http://ota.acme.io\",").is_some());
        assert!(setting(1, "HOMEPAGE=http://acme.io").is_none());
        assert!(of_tests("/etc/rauc/ca.pem", "CN=RAUC Test CA").is_some());
        assert!(of_tests("/etc/rauc/ca.pem", "CN=Contest Devices").is_none());
    }
}
