//! Rules about secrets in files that everybody can read. A finding says where and of what kind, never what.

use crate::engine::{
    Action, Case, Confidence, Entry, Finding, Host, HostPath, Judged, Kind, Rule, Severity, Stage,
    Step, Unseen,
};
use crate::services::unit;

use super::accounts::Accounts;
use super::keys::private_key;
use super::rules;

/// How much is looked at: files, bytes of each, bytes together, levels below where it begins.
const MOST_FILES: usize = 4000;
const MOST_BYTES: usize = 128 << 10;
const MOST_TOGETHER: usize = 12 << 20;
const DEEPEST: usize = 6;

/// Where programs keep their configuration.
const PLACES: [&str; 5] = ["/etc", "/opt", "/srv", "/usr/local/etc", "/boot"];
/// Not looked into: certificates of others, and what other rules read.
const PASSED_OVER: [&str; 8] = [
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/systemd",
    "/etc/ssh",
    "/etc/alternatives",
    "/etc/apparmor.d",
    "/etc/selinux",
    "/etc/pki/ca-trust",
];
/// Names of files that hold passwords of their own kind.
const PASSWORD_FILES: [&str; 11] = [
    ".netrc",
    ".pgpass",
    ".git-credentials",
    ".my.cnf",
    "wpa_supplicant.conf",
    "hostapd.conf",
    "chap-secrets",
    "pap-secrets",
    "wireless",
    "credentials",
    ".htpasswd",
];
/// How well-known tokens begin, how many characters follow at least, and what they are.
pub const TOKENS: &[(&str, usize, &str)] = &[
    ("AKIA", 16, "an access key of AWS"),
    ("ASIA", 16, "an access key of AWS"),
    ("ghp_", 36, "a token of GitHub"),
    ("gho_", 36, "a token of GitHub"),
    ("ghs_", 36, "a token of GitHub"),
    ("github_pat_", 40, "a token of GitHub"),
    ("glpat-", 20, "a token of GitLab"),
    ("xoxb-", 20, "a token of Slack"),
    ("xoxp-", 20, "a token of Slack"),
    ("xoxa-", 20, "a token of Slack"),
    ("hooks.slack.com/services/", 40, "a webhook of Slack"),
    ("AIza", 35, "an API key of Google"),
    ("GOCSPX-", 28, "a secret of Google OAuth"),
    ("sk_live_", 20, "a key of Stripe"),
    ("npm_", 36, "a token of npm"),
    ("dckr_pat_", 20, "a token of Docker"),
    ("SharedAccessKey=", 30, "a key of Azure IoT"),
    ("AccountKey=", 40, "a key of Azure storage"),
    ("hvs.", 24, "a token of Vault"),
    ("SG.", 60, "a key of SendGrid"),
    ("pypi-AgEI", 60, "a token of PyPI"),
    ("AGE-SECRET-KEY-1", 58, "a private key of age"),
    ("eyJ", 60, "a signed token (JWT)"),
];
/// What names of settings with a secret contain.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "auth_key",
    "psk",
];

/// Judges every rule about secrets in files.
pub(super) fn judge(case: &Case<'_>, accounts: Option<&Accounts>, judged: &mut Judged) {
    saved_passwords(case, accounts, judged);
    let mut scan = Scan {
        host: case.host,
        files: 0,
        bytes: 0,
        findings: Vec::new(),
        unseen: None,
    };
    for place in PLACES {
        scan.directory(&HostPath::of(place), 0, false);
    }
    let homes = accounts
        .iter()
        .flat_map(|it| &it.all)
        .filter(|it| it.user == 0 || it.user >= 1000);
    for home in homes.filter_map(|it| it.home.clone()) {
        if home != HostPath::root() && case.host.entry(&home).is_ok_and(|it| it.mode & 0o001 != 0) {
            scan.directory(&home, DEEPEST.saturating_sub(2), true);
        }
    }
    let looked_at = format!("{} files that everybody can read", scan.files);
    match scan.unseen {
        Some(why) => judged.cannot_tell(&rules::TOKENS, why, scan.findings),
        None => judged.judged(&rules::TOKENS, looked_at, scan.findings),
    }
    units(case, judged);
}

struct Scan<'a> {
    host: &'a dyn Host,
    files: usize,
    bytes: usize,
    findings: Vec<Finding>,
    unseen: Option<String>,
}

impl Scan<'_> {
    fn directory(&mut self, path: &HostPath, depth: usize, hidden_only: bool) {
        if depth > DEEPEST
            || PASSED_OVER
                .iter()
                .any(|it| it.as_bytes() == path.as_bytes())
        {
            return;
        }
        let names = match self.host.list(path) {
            Ok(names) => names,
            Err(Unseen::Absent | Unseen::Damaged(_)) => return,
            Err(why) => {
                self.unseen.get_or_insert_with(|| format!("{path}: {why}"));
                return;
            }
        };
        for (name, entry) in names {
            if hidden_only && !name.starts_with(b".") {
                continue;
            }
            let Ok(below) = path.join(&name) else {
                continue;
            };
            match entry.kind {
                // What others may not enter, they can not read.
                Kind::Directory if entry.mode & 0o001 != 0 => {
                    self.directory(&below, depth.saturating_add(1), false);
                }
                Kind::File if entry.mode & 0o004 != 0 && entry.size > 0 => {
                    self.file(&below, &entry);
                }
                _ => (),
            }
        }
    }

    fn file(&mut self, path: &HostPath, entry: &Entry) {
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        if size > MOST_BYTES || PASSWORD_FILES.iter().any(|it| it.as_bytes() == path.name()) {
            return;
        }
        if self.files == MOST_FILES || self.bytes.saturating_add(size) > MOST_TOGETHER {
            let files = self.files;
            self.unseen
                .get_or_insert_with(|| format!("only {files} files were looked at"));
            return;
        }
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        let Ok(content) = self.host.read(path, MOST_BYTES) else {
            return;
        };
        if content.contains(&0) || private_key(&content).is_some() {
            // Programs, and keys, which have a rule of their own.
            return;
        }
        let found = secrets(&String::from_utf8_lossy(&content));
        if let Some((line, kind, confidence)) = found.first().copied() {
            let what = format!("{path} holds {kind}, and everybody can read it");
            let finding = Finding::of(&rules::TOKENS, path.to_string(), what)
                .seen(format!("{path}:{line}"), kind)
                .with(rules::TOKENS.severity, confidence);
            self.findings.push(closed(finding, path, entry));
        }
    }
}

/// The lines with a secret: number, kind, how sure.
pub(super) fn secrets(text: &str) -> Vec<(usize, &'static str, Confidence)> {
    let lines = (1_usize..).zip(text.lines());
    let found = lines.filter_map(|(number, line)| {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';', '!']) || line.len() > 4096 {
            return None;
        }
        if let Some(kind) = token(line) {
            return Some((number, kind, Confidence::High));
        }
        let (name, value) = assignment(line)?;
        (names_secret(name) && looks_random(value)).then_some((
            number,
            "a password or key",
            Confidence::Medium,
        ))
    });
    found.collect()
}

/// What kind of well-known token stands in a line, if one does.
pub fn token(line: &str) -> Option<&'static str> {
    let of_token =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=');
    let found = TOKENS.iter().find(|(begin, length, kind)| {
        line.match_indices(begin).any(|(at, _)| {
            let before = line.get(..at).and_then(|it| it.chars().next_back());
            let rest = line
                .get(at.saturating_add(begin.len())..)
                .unwrap_or_default();
            let rest = rest
                .split(|c: char| !of_token(c))
                .next()
                .unwrap_or_default();
            let whole = !before.is_some_and(|c| c.is_ascii_alphanumeric());
            let jwt = !kind.contains("JWT") || rest.matches('.').count() == 2;
            whole && rest.len() >= *length && jwt && varied(rest)
        })
    });
    found.map(|(_, _, kind)| *kind)
}

/// `name = value`, `name: value`, `"name": "value",`, `export NAME=value`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(['=', ':'])?;
    let name = name.trim().trim_matches(['"', '\'']);
    let name = name.rsplit(|c: char| c.is_whitespace()).next()?;
    let value = value.trim().trim_end_matches([',', ';']);
    Some((name, value.trim_matches(['"', '\''])))
}

/// Whether a setting of this name holds a secret, and not the place of one.
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|it| name.contains(it))
        && !["file", "path", "_dir", "url", "_cmd", "command"]
            .iter()
            .any(|it| name.contains(it))
}

/// Whether a value is a secret and no word, path, switch or place holder.
fn looks_random(value: &str) -> bool {
    let plain = |c: char| {
        c.is_ascii_graphic()
            && !matches!(c, '$' | '<' | '>' | '(' | ')' | '{' | '}' | '[' | ']' | '`')
    };
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    value.len() >= 8
        && value.len() <= 512
        && value.chars().all(plain)
        && !value.starts_with(['/', '~', '%', '@'])
        && digits >= 2
        && letters >= 2
        && varied(value)
}

/// Whether it has at least 2.5 bits in each character, by how often each occurs.
fn varied(text: &str) -> bool {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count = count.saturating_add(1);
        }
    }
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let bits: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum();
    bits >= 2.5
}

/// Closed to others by its mode.
fn closed(finding: Finding, path: &HostPath, entry: &Entry) -> Finding {
    let mode = entry.mode & !0o007;
    let action = Action::Mode {
        path: path.clone(),
        mode,
        owner: (entry.owner, entry.group),
    };
    finding.mended_by(vec![Step::risky(
        Stage::Change,
        action,
        format!("Close {path} to others: mode {mode:04o}"),
        "A program that runs as somebody else can not read this file any more.",
    )])
}

/// Files that are there to hold passwords.
fn saved_passwords(case: &Case<'_>, accounts: Option<&Accounts>, judged: &mut Judged) {
    let rule: &'static Rule = &rules::SAVED;
    let inventory = match case.host.inventory() {
        Ok(inventory) => inventory,
        Err(why) => return judged.unseen(rule, "the files", &why),
    };
    let is_one = |path: &HostPath| {
        PASSWORD_FILES.iter().any(|it| it.as_bytes() == path.name())
            || path.name().ends_with(b".nmconnection")
            || path.name().ends_with(b".psk")
    };
    let wireless = HostPath::of("/etc/config/wireless");
    let known = inventory
        .notable
        .iter()
        .map(|it| (it.path.clone(), it.entry));
    let extra = case
        .host
        .entry(&wireless)
        .map(|entry| (wireless, entry))
        .ok();
    let mut count = 0_usize;
    let mut findings = Vec::new();
    for (path, entry) in known.chain(extra) {
        if entry.kind != Kind::File || !is_one(&path) || path.to_string().starts_with("/usr/share/")
        {
            continue;
        }
        count = count.saturating_add(1);
        let person = accounts
            .iter()
            .flat_map(|it| &it.all)
            .any(|it| it.user >= 1000 && it.group == entry.group);
        let open = entry.mode & if person { 0o004 } else { 0o044 };
        if (entry.mode & 0o004 == 0 && (open == 0 || entry.group == 0))
            || !holds_password(case.host, &path)
        {
            continue;
        }
        let what = format!("{path} holds passwords, and others can read it");
        let finding = Finding::of(rule, path.to_string(), what)
            .seen(path.to_string(), format!("mode {:04o}", entry.mode));
        findings.push(closed(
            finding,
            &path,
            &Entry {
                mode: entry.mode & !0o040,
                ..entry
            },
        ));
    }
    judged.judged(rule, format!("{count} files that hold passwords"), findings);
}

fn holds_password(host: &dyn Host, path: &HostPath) -> bool {
    let Ok(content) = host.read(path, MOST_BYTES) else {
        return true;
    };
    let text = String::from_utf8_lossy(&content);
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let by_lines = [
        "password",
        "psk",
        "option key",
        "wep_key",
        "secret",
        "identity",
        "_authtoken",
        "aws_secret",
    ];
    // Each line of these is a password or a hash.
    let always = [
        ".pgpass",
        ".git-credentials",
        "chap-secrets",
        "pap-secrets",
        ".htpasswd",
    ];
    let every =
        always.iter().any(|it| it.as_bytes() == path.name()) || path.name().ends_with(b".psk");
    lines.any(|line| {
        every
            || by_lines
                .iter()
                .any(|it| line.to_ascii_lowercase().contains(it))
    })
}

/// Secrets in the environment of units: whoever is on the device can ask systemd for them.
fn units(case: &Case<'_>, judged: &mut Judged) {
    let (mut findings, mut count) = (Vec::new(), 0_usize);
    for directory in [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ] {
        let directory = HostPath::of(directory);
        let names = match case.host.list(&directory) {
            Ok(names) => names,
            Err(Unseen::Absent) => continue,
            Err(why) => return judged.unseen(&rules::UNITS, &directory.to_string(), &why),
        };
        // `/lib` is a link to `/usr/lib` on merged systems; then this is the same file twice.
        let same = directory.as_bytes() == b"/lib/systemd/system"
            && case
                .host
                .entry(&HostPath::of("/lib"))
                .is_ok_and(|it| it.kind == Kind::Link);
        for (name, entry) in names.iter().filter(|(name, entry)| {
            !same && entry.kind == Kind::File && name.ends_with(b".service")
        }) {
            let Ok(path) = directory.join(name) else {
                continue;
            };
            count = count.saturating_add(1);
            if usize::try_from(entry.size).unwrap_or(usize::MAX) > MOST_BYTES {
                continue;
            }
            let Ok(content) = case.host.read(&path, MOST_BYTES) else {
                continue;
            };
            let directives = unit::parse(&content);
            let environment = directives
                .iter()
                .filter(|it| it.section == "Service" && it.key == "Environment");
            let secret = environment
                .flat_map(|it| it.value.split_whitespace())
                .find_map(|word| {
                    let (name, value) = word.trim_matches(['"', '\'']).split_once('=')?;
                    let set = value.len() >= 4 && !value.starts_with(['$', '%', '/', '<']);
                    (names_secret(name) && set).then(|| name.to_owned())
                });
            if let Some(name) = secret {
                let what = format!(
                    "{path} has the secret `{name}` in its environment, which everybody on the device can read"
                );
                findings.push(
                    Finding::of(&rules::UNITS, path.to_string(), what)
                        .seen(path.to_string(), format!("Environment={name}=…"))
                        .with(Severity::High, Confidence::High),
                );
            }
        }
    }
    judged.judged(&rules::UNITS, format!("{count} units"), findings);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_and_words_paths_and_place_holders_are_not() {
        let secret = [
            "aws_access_key_id = AKIAIOSFODNN7EXAMPL1",
            "cloud-token: \"8f14e45fceea167a5a36dedd4bea2543\",",
            "export API_KEY=dGhpcyBpcyA0Mg1xZ",
            "HostName=h.azure-devices.net;SharedAccessKey=Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZg==",
            "password = 'korrekt38pferd'",
        ];
        for line in secret {
            assert_eq!(secrets(line).len(), 1, "{line}");
        }
        let harmless = [
            "# password = korrekt3pferd",
            "password = changes",
            "password_file = /etc/x/secret1234",
            "token: ${TOKEN_1234}",
            "PASSWORD=%i12345678",
            "password required pam_unix.so",
            "auth_key = AAAAAAAA11111111",
            "passwd:         files systemd",
            "tokens = 4096",
        ];
        for line in harmless {
            assert_eq!(secrets(line), [], "{line}");
        }
    }
}
