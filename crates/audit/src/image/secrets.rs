//! Secrets that are part of an image: tokens of services, passwords in addresses, scripts and settings, password hashes in programs.
//! What is told is where, of what kind and how long; never what.

use std::collections::BTreeSet;

use stockade_controls::credentials::{Hash, TOKENS, guesses, names_secret, token};
use stockade_controls::engine::{Confidence, Finding, Rule};
use stockade_profile::Profile;

use super::generic::rule;
use super::keys::{HASH, SECRET};

/// How hashes begin that somebody may have built in.
pub(super) const HASHES: [&str; 8] = ["$1$", "$5$", "$6$", "$2a$", "$2b$", "$2y$", "$y$", "$apr1$"];
/// The longest secret, and the longest line that is looked at.
const MOST: usize = 1024;
/// As much is looked at of a token that is not signed.
const LONGEST: usize = 128;
/// Microseconds of guessing at hashes that are built in, for one image.
pub(super) const GUESSING: u64 = 400_000;

/// Files whose lines are read as settings, by the end of their names.
const SETTINGS: [&str; 27] = [
    ".conf",
    ".cfg",
    ".ini",
    ".json",
    ".yaml",
    ".yml",
    ".toml",
    ".xml",
    ".properties",
    ".env",
    ".sh",
    ".php",
    ".js",
    ".lua",
    ".py",
    ".pl",
    ".rb",
    ".cgi",
    ".asp",
    ".html",
    ".htm",
    ".service",
    ".config",
    ".default",
    ".nmconnection",
    ".netrc",
    ".sql",
];
/// Where what is written is the maker's: elsewhere are libraries of others, with examples of their own.
const OWN: [&str; 16] = [
    "/etc/",
    "/root/",
    "/home/",
    "/opt/",
    "/srv/",
    "/var/www/",
    "/www/",
    "/usr/local/",
    "/data/",
    "/app/",
    "/mnt/",
    "/boot/",
    "/usr/www/",
    "/webroot/",
    "/htdocs/",
    "/cgi-bin/",
];
/// What stands for a secret that is not there.
const PLACE_HOLDERS: [&str; 32] = [
    "changeme",
    "example",
    "placeholder",
    "your",
    "xxxx",
    "****",
    "....",
    "none",
    "null",
    "nil",
    "true",
    "false",
    "undefined",
    "string",
    "required",
    "optional",
    "prompt",
    "disabled",
    "enabled",
    "default",
    "password",
    "passwd",
    "secret",
    "token",
    "insert",
    "redacted",
    "dummy",
    "todo",
    "files",
    "compat",
    "systemd",
    "unset",
];

/// A secret that was found: where in the content, of what kind, how sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: usize,
    pub(super) kind: &'static str,
    pub(super) sure: Confidence,
}

/// A token of a service, whose beginning was seen at `at`.
pub(super) fn known_token(content: &[u8], at: usize) -> Option<Found> {
    let from = at.checked_sub(1).unwrap_or(at);
    let window = content.get(from..content.len().min(at.saturating_add(MOST)))?;
    let before = at.saturating_sub(from);
    let of_token = |it: &u8| it.is_ascii_alphanumeric() || b"-_.+/=".contains(it);
    let run = window.iter().skip(before).take_while(|it| of_token(it));
    let run = window.get(before..before.saturating_add(run.count()))?;
    // To look closely takes long, and a file can be full of beginnings: three parts have two dots between them, and few of theirs.
    let signed = run.starts_with(b"eyJ");
    let parts = run.split(|byte| *byte == b'.').count();
    let begins = run.windows(3).filter(|it| it == b"eyJ").count();
    if signed && (parts != 3 || begins > 8) {
        return None;
    }
    let most = if signed { MOST } else { LONGEST };
    let end = before.saturating_add(run.len().min(most));
    let line = window.get(..end)?.utf8_chunks().last()?.valid();
    let kind = token(line)?;
    // The key ids of AWS are of a fixed form; the one of its documentation is no secret.
    let id = content.get(at..at.saturating_add(20)).unwrap_or_default();
    let aws = kind.contains("AWS");
    let upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let longer = content.get(at.saturating_add(20)).is_some_and(upper);
    let begins = TOKENS
        .iter()
        .any(|(begin, _, _)| id.starts_with(begin.get(..3).unwrap_or(begin).as_bytes()));
    let right = begins && (!aws || (id.iter().all(upper) && !longer && !id.ends_with(b"EXAMPLE")));
    right.then_some(Found {
        at,
        kind,
        sure: Confidence::High,
    })
}

/// A name and a password in an address, whose `://` was seen at `at`.
pub(super) fn in_address(content: &[u8], at: usize) -> Option<Found> {
    let rest = content.get(at.checked_add(3)?..)?;
    let rest = rest.get(..rest.len().min(256))?;
    let ends = |byte: &u8| !byte.is_ascii_graphic() || b"/?#\"'<>\\ `|,;".contains(byte);
    let authority = rest.split(ends).next()?;
    let authority = str::from_utf8(authority).ok()?;
    let (who, host) = authority.rsplit_once('@')?;
    let (name, password) = who.split_once(':')?;
    let host_like =
        host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') && host.len() >= 3;
    let plain = !name.is_empty() && host_like && value(password) && !password.contains("pass");
    let example =
        host.contains("example.") || host.starts_with("host") || host.starts_with("server");
    (plain && !example).then_some(Found {
        at,
        kind: "a password in an address",
        sure: Confidence::Medium,
    })
}

/// Whether the lines of a file are looked at as settings and code of the maker.
pub(super) fn has_settings(place: &str, text: &str) -> bool {
    let own = OWN.iter().any(|part| place.contains(part));
    let name = place.rsplit('/').next().unwrap_or_default();
    let known = SETTINGS.iter().any(|end| name.ends_with(end)) || !name.contains('.');
    own && known && !place.starts_with("/etc/ssl/") && (text.len() < 4096 || !minified(text))
}

/// Programs of web pages in one line are libraries.
fn minified(text: &str) -> bool {
    text.lines().any(|line| line.len() > 5000)
}

/// Secrets in the lines of settings and code.
pub(super) fn in_settings(place: &str, text: &str) -> Vec<Found> {
    let name = place.rsplit('/').next().unwrap_or_default();
    let wireless = name.contains("wpa_supplicant")
        || name.contains("hostapd")
        || name.ends_with(".nmconnection")
        || name == "wireless";
    let (mut found, mut at) = (Vec::new(), 0_usize);
    for line in text.split_inclusive('\n') {
        let here = at;
        at = at.saturating_add(line.len());
        let line = line.trim();
        if line.len() > MOST
            || line.starts_with(['#', ';', '*', '<']) && !line.starts_with("<?")
            || line.starts_with("//")
        {
            continue;
        }
        let kind = if wireless && of_wireless(line) {
            "the password of a wireless network"
        } else if pipes_password(line) {
            "a password that a script sets"
        } else if assigned(line) {
            "a password or key"
        } else {
            continue;
        };
        found.push(Found {
            at: here,
            kind,
            sure: Confidence::Medium,
        });
    }
    found
}

fn of_wireless(line: &str) -> bool {
    let Some((key, said)) = line.split_once(['=', ' ']) else {
        return false;
    };
    let (key, said) = match key {
        "option" => said.trim().split_once([' ', '\t']).unwrap_or((said, "")),
        key => (key.trim(), said),
    };
    let said = said.trim().trim_matches(['"', '\'']);
    matches!(
        key,
        "psk" | "wpa_passphrase" | "wpa_psk" | "key" | "wep_key0" | "sae_password" | "password"
    ) && said.len() >= 5
        && value(said)
}

/// `echo root:x | chpasswd`, `passwd` fed by a pipe.
fn pipes_password(line: &str) -> bool {
    let Some((before, after)) = line.split_once('|') else {
        return false;
    };
    let sets =
        after.trim_start().starts_with("chpasswd") || after.trim_start().starts_with("passwd ");
    let said = before
        .trim()
        .trim_start_matches("echo")
        .trim_start_matches("printf")
        .trim();
    sets && said != before.trim() && !said.contains('$') && said.len() >= 3
}

/// `password = "x"`, `"password": "x",`, `PASSWORD=x`, `define('DB_PASSWORD', 'x')`.
fn assigned(line: &str) -> bool {
    let defined = line
        .strip_prefix("define(")
        .and_then(|rest| rest.split_once(','));
    let Some((name, said)) = defined.or_else(|| line.split_once(['=', ':'])) else {
        return false;
    };
    let name = name
        .trim()
        .trim_end_matches([':', '!', '+'])
        .trim_matches(['"', '\'', '`']);
    let Some(name) = name
        .rsplit(|c: char| !(c.is_alphanumeric() || "_-".contains(c)))
        .next()
    else {
        return false;
    };
    let said = said.trim().trim_start_matches(['=', ':']).trim();
    let said = said.trim_end_matches([',', ';', ')', ' ']);
    let quoted = ['"', '\'', '`'].iter().find_map(|quote| {
        let inner = said.strip_prefix(*quote)?.strip_suffix(*quote)?;
        (!inner.contains(*quote)).then_some(inner)
    });
    // Code has words without quotes that are names of other things: only a plain assignment of a shell or of settings counts.
    let code =
        line.contains('(') || line.contains("let ") || line.contains("var ") || line.ends_with(';');
    let bare = if code || said.contains(char::is_whitespace) {
        None
    } else {
        Some(said)
    };
    let secret = name_of_secret(name);
    let differs = |said: &str| !said.eq_ignore_ascii_case(name);
    let Some(said) = quoted
        .or(bare)
        .filter(|said| secret && value(said) && differs(said))
    else {
        return false;
    };
    // Without quotes a short word is more often a switch than a password.
    quoted.is_some()
        || said.len() >= 8 && said.bytes().any(|byte| byte.is_ascii_digit())
        || said.len() >= 5 && name.eq_ignore_ascii_case("password")
}

/// Whether a name ends in what secrets are called.
fn name_of_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let ends = [
        "password",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "api_key",
        "psk",
        "secret_key",
        "access_key",
        "pass",
    ];
    (ends.iter().any(|end| lower.ends_with(end)) && names_secret(name))
        || lower.ends_with("pwd")
        || lower.ends_with("_pass")
}

/// Whether this could be a secret: no variable, path, place holder or prose.
fn value(said: &str) -> bool {
    let lower = said.to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_graphic() && !"$<>(){}[]`%".contains(c);
    let holder = |it: &str| lower == *it || (it.len() > 3 && lower.starts_with(it));
    (4..=256).contains(&said.len())
        && said.chars().all(plain)
        && !said.starts_with(['/', '~', '@', '.', '*', '-', '&', '!'])
        && !PLACE_HOLDERS.iter().any(|it| holder(it))
        && !said.contains("://")
        && said.bytes().collect::<BTreeSet<u8>>().len() > 2
}

/// A password hash, whose `$` was seen at `at`: whole, as `crypt(3)` writes it.
pub(super) fn hash(content: &[u8], at: usize) -> Option<&str> {
    let rest = content.get(at..content.len().min(at.saturating_add(200)))?;
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"./$=,".contains(byte);
    let end = rest
        .iter()
        .position(|byte| !digit(byte))
        .unwrap_or(rest.len());
    let text = str::from_utf8(rest.get(..end)?).ok()?;
    let parts: Vec<&str> = text.split('$').collect();
    let digest = parts.last()?.len();
    let whole = match (parts.get(1).copied()?, parts.len()) {
        ("1" | "apr1", 4) => digest == 22,
        ("5", 4 | 5) | ("y", 5) => digest == 43,
        ("6", 4 | 5) => digest == 86,
        ("2a" | "2b" | "2y", 4) => digest == 53,
        _ => false,
    };
    // `$2a$10$xxxx…`, on which time is spent so that nobody learns which accounts there are.
    let digits: BTreeSet<u8> = parts.last()?.bytes().collect();
    let held = digits.len() > 8 && !SELF_TESTS.iter().any(|salt| text.contains(salt));
    (whole && held && Hash::of(text).is_some()).then_some(text)
}

/// The salts of hashes by which musl's `crypt(3)` tries itself, wherever it is linked in.
const SELF_TESTS: [&str; 2] = ["$abcd0123$", "$abc0123456789$"];

/// What a hash that is built in means: one that a known default fits is worse. `left` is the time for guessing that is left.
pub(super) fn of_hash(
    text: &str,
    place: &str,
    profile: &Profile,
    left: &mut u64,
) -> Option<Finding> {
    let hash = Hash::of(text)?;
    let each = hash.microseconds().unwrap_or(u64::MAX);
    let mut fits = false;
    for guess in guesses("root", profile) {
        let Some(rest) = left.checked_sub(each) else {
            break;
        };
        *left = rest;
        fits = hash.fits(guess.as_bytes());
        if fits {
            break;
        }
    }
    let name = hash.name();
    let found = |rule: &'static Rule, what: String| {
        Some(Finding::of(rule, place, what).seen(place, format!("a hash of {name}")))
    };
    if fits {
        let what =
            format!("{place} has a password built in, and it is one that devices are shipped with");
        return found(rule("credentials/default-password"), what);
    }
    found(
        &HASH,
        format!("{place} has the hash of a password built in"),
    )
}

/// The finding of a secret.
pub(super) fn finding(found: &Found, place: &str, line: &str) -> Finding {
    let what = format!("{place} holds {}", found.kind);
    Finding::of(&SECRET, place, what)
        .seen(line, found.kind)
        .with(SECRET.severity, found.sure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_settings_and_code_are_found_and_what_stands_for_one_is_not() {
        let found = [
            "password = \"hunter22\"",
            "$db_password = 'Xk29fj';",
            "\"apiKey\": \"9f8a7b6c5d\",",
            "define('DB_PASSWORD', 'cam2admin');",
            "PASSWORD=admin1234",
            "echo root:letmein | chpasswd",
            "const adminPwd = \"s3cr3t!\";",
        ];
        for line in found {
            assert_eq!(in_settings("/www/login.php", line).len(), 1, "{line}");
        }
        let harmless = [
            "# password = \"hunter22\"",
            "password = \"\"",
            "password = \"your password\"",
            "var password = document.getElementById('p');",
            "password: files systemd",
            "passwd:         compat",
            "PASSWORD=$1",
            "token = next_token",
            "password_file = /etc/x",
            "token: \"{{ token }}\"",
            "label_password = \"Password\"",
            "auth requisite pam_deny.so",
            "secret = \"changeme\"",
        ];
        for line in harmless {
            assert_eq!(in_settings("/etc/x.conf", line), [], "{line}");
        }
        let psk = in_settings(
            "/etc/wpa_supplicant.conf",
            "    psk=\"our wifi 1\"\n    psk=\"ourwifi12\"\n",
        );
        assert_eq!(psk.len(), 1);
        assert_eq!(psk[0].at, 21);
    }

    #[test]
    fn addresses_and_tokens_are_found_where_they_begin() {
        let address = |text: &str| {
            let at = text.find("://").expect("an address");
            in_address(text.as_bytes(), at).is_some()
        };
        assert!(address("mqtt://cam:h4ckme@broker.acme.io:1883/x"));
        for harmless in [
            "http://user:pass@example.com/",
            "https://acme.io/a@b",
            "http://$USER:$PASS@acme.io",
            "ftp://anonymous@acme.io",
            "http://host:8080/x@y",
        ] {
            assert!(!address(harmless), "{harmless}");
        }
        let text = b"\0x=ghp_0123456789abcdefghijABCDEFGHIJ012345\0";
        let found = known_token(text, 3).expect("a token");
        assert_eq!((found.at, found.kind), (3, "a token of GitHub"));
        assert_eq!(known_token(b"AKIAIOSFODNN7EXAMPLE", 0), None);
        assert!(known_token(b"AKIAIOSFODNN7EXAMPL2 ", 0).is_some());
    }

    #[test]
    fn hashes_are_whole_or_none() {
        let text =
            b"x $1$abcdefgh$/ehdsgh6T85pypwniuldr1\0 $6$short$abc $2a$00$abcdefghijklmnopqrstuu";
        assert_eq!(hash(text, 2), Some("$1$abcdefgh$/ehdsgh6T85pypwniuldr1"));
        assert_eq!(hash(text, 38), None);
        assert_eq!(hash(text, 51), None);
        let mut left = GUESSING;
        let profile = crate::image::generic::profile();
        let finding = of_hash(
            "$1$abcdefgh$/ehdsgh6T85pypwniuldr1",
            "/bin/x",
            &profile,
            &mut left,
        );
        assert_eq!(
            finding.expect("a finding").rule.id,
            "credentials/default-password"
        );
        assert!(left < GUESSING);
    }
}
