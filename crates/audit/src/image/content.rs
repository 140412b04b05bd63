//! What one file breaks, by its content.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use stockade_controls::credentials::TOKENS;
use stockade_controls::engine::{Action, Finding, Stage, Step, UnixSeconds, Unseen};

use super::found_keys::published;
use super::keys::{self, AUTHORIZED, Key};
use super::scan::{Scan, wide};
use super::scripts::{self, Hit};
use super::{boot, certificates, firewall, secrets, settings};
use crate::counted;
use crate::elf::{self, Built};
use crate::kernel;

/// The most findings about one file.
const MOST_OF_A_FILE: usize = 20;

/// The most places in one file where a key or a configuration may begin.
const MOST_TRIES: usize = 1000;
/// The most where a token may begin: `eyJ` stands in many a picture.
const MOST_TOKENS: usize = 20_000;

/// What is looked for in every file.
#[derive(Debug, Clone, Copy)]
enum Needle {
    Pem,
    Der,
    Token,
    Hash,
    Address,
    Delay,
    Kernel,
}

static NEEDLES: LazyLock<(Vec<Needle>, Option<AhoCorasick>)> = LazyLock::new(|| {
    let mut all: Vec<(Needle, &[u8])> = vec![
        (Needle::Pem, b"-----BEGIN "),
        (Needle::Address, b"://"),
        (Needle::Delay, b"bootdelay="),
        (Needle::Kernel, kernel::EMBEDDED),
    ];
    all.extend(keys::DER.iter().map(|it| (Needle::Der, *it)));
    all.extend(
        TOKENS
            .iter()
            .map(|(begin, _, _)| (Needle::Token, begin.as_bytes())),
    );
    all.extend(
        secrets::HASHES
            .iter()
            .map(|it| (Needle::Hash, it.as_bytes())),
    );
    let (kinds, patterns): (Vec<Needle>, Vec<&[u8]>) = all.into_iter().unzip();
    (kinds, AhoCorasick::new(patterns).ok())
});

/// What a content breaks by itself: of a file of this path, or of none; `place` is what it is called.
pub(super) fn content_of(
    path: &str,
    place: &str,
    content: &[u8],
    mode: u32,
    now: UnixSeconds,
) -> Scan {
    let mut scan = Scan {
        files: 1,
        ..Scan::default()
    };
    let sample = is_sample(path);
    let text = text_of(path, content);
    match elf::facts(content) {
        Some(Ok(elf)) => scan.built.push(Built {
            place: place.to_owned(),
            mode,
            elf,
        }),
        Some(Err(why)) => scan.broken.push((place.to_owned(), why.to_string())),
        None => (),
    }
    let mut needles = Found {
        scan: &mut scan,
        content,
        path,
        place,
        text: text.is_some(),
        certificate: false,
        until: 0,
    };
    needles.look(sample);
    let certificate =
        needles.certificate || (content.starts_with(b"\x30\x82") && is_certificate(path));
    if let Some(key) = keys::whole_file(content).filter(|_| !sample) {
        scan.keys.push((place.to_owned(), key));
    }
    if certificate && !sample {
        let read = certificates::read(path, content, now);
        let found = read.into_iter().map(|it| (place.to_owned(), it));
        scan.certificates.extend(found);
    }
    scan.components = stockade_advisories::detect(place, content);
    if let Some(text) = text.filter(|_| !sample) {
        scan.kernels.extend(kernel::read(content, place));
        lines(path, place, &text, mode, &mut scan);
    }
    scan.findings.truncate(MOST_OF_A_FILE);
    scan
}

fn is_certificate(path: &str) -> bool {
    [".der", ".crt", ".cer", ".pem"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// A file as text, if it is one that somebody could have written.
fn text_of<'a>(path: &str, content: &'a [u8]) -> Option<Cow<'a, str>> {
    let head = content.get(..content.len().min(8192)).unwrap_or_default();
    let script = path.rsplit('/').next() == Some("boot.scr");
    (content.len() <= scripts::MOST && (script || !head.contains(&0)))
        .then(|| String::from_utf8_lossy(content))
}

/// What documentation and tests bring along: keys and passwords of nobody.
fn is_sample(path: &str) -> bool {
    const WHOLE: [&str; 6] = [
        "/usr/share/doc/",
        "/usr/share/man/",
        "/usr/share/info/",
        "/usr/share/locale/",
        "/usr/share/bash-completion/",
        "/usr/share/zsh/",
    ];
    const PARTS: [&str; 10] = [
        ".egg-info/",
        ".dist-info/",
        "/doc/",
        "/test/",
        "/tests/",
        "/testdata/",
        "/example",
        "/sample",
        "/fixtures/",
        "/demo/",
    ];
    WHOLE.iter().any(|begin| path.starts_with(begin))
        || (path.starts_with("/usr/") && PARTS.iter().any(|part| path.contains(part)))
}

/// What the one search in a content finds.
struct Found<'a> {
    scan: &'a mut Scan,
    content: &'a [u8],
    path: &'a str,
    place: &'a str,
    text: bool,
    certificate: bool,
    /// Where the last key ends: a key in another's wrapping is the same one.
    until: usize,
}

impl Found<'_> {
    fn look(&mut self, sample: bool) {
        let (kinds, Some(search)) = &*NEEDLES else {
            let why = "the search could not be set up".to_owned();
            return self.scan.unread.push((self.place.to_owned(), why));
        };
        // Passwords of accounts have rules of their own.
        let accounts = ["/etc/shadow", "/etc/passwd", "/etc/gshadow", "/etc/group"]
            .iter()
            .any(|it| self.path.starts_with(it));
        let (mut tries, mut tokens) = (0_usize, 0_usize);
        for hit in search.find_iter(self.content) {
            let at = hit.start();
            let Some(kind) = kinds.get(hit.pattern().as_usize()) else {
                continue;
            };
            // Each of these may take long: a file that is full of them is not read to its end.
            if matches!(kind, Needle::Pem | Needle::Der | Needle::Kernel) {
                tries = tries.saturating_add(1);
                if tries > MOST_TRIES {
                    let why = Unseen::TooMuch(MOST_TRIES).to_string();
                    let why = format!("places where a key may begin: {why}");
                    self.scan.unread.push((self.place.to_owned(), why));
                    break;
                }
            }
            match kind {
                Needle::Pem => self.pem(at, sample),
                // An image has a few kernels, and each may be long.
                Needle::Kernel if self.scan.kernels.len() < MOST_OF_A_FILE => {
                    let found = kernel::embedded(self.content, at, self.place);
                    self.scan.kernels.extend(found);
                }
                Needle::Der => self.key(keys::der(self.content, at).filter(|_| !sample)),
                Needle::Delay if !self.text => {
                    let hit = boot::built_in(self.content, at);
                    self.scan
                        .findings
                        .extend(hit.map(|hit| finding(&hit, self.path, self.place)));
                }
                _ if sample || accounts || self.scan.findings.len() >= MOST_OF_A_FILE => (),
                Needle::Token => {
                    tokens = tokens.saturating_add(1);
                    if tokens > MOST_TOKENS {
                        let why = Unseen::TooMuch(MOST_TOKENS).to_string();
                        let why = format!("places where a token may begin: {why}");
                        self.scan.unread.push((self.place.to_owned(), why));
                        break;
                    }
                    self.secret(secrets::known_token(self.content, at));
                }
                Needle::Address => self.secret(secrets::in_address(self.content, at)),
                Needle::Hash => {
                    if let Some(text) =
                        secrets::hash(self.content, at).filter(|_| self.scan.hashes.len() < 10)
                    {
                        self.scan
                            .hashes
                            .push((self.place.to_owned(), text.to_owned()));
                    }
                }
                Needle::Delay | Needle::Kernel => (),
            }
        }
    }

    fn pem(&mut self, at: usize, sample: bool) {
        let rest = self.content.get(at..).unwrap_or_default();
        self.certificate |= rest.starts_with(b"-----BEGIN CERTIFICATE-----");
        if sample {
            return;
        }
        if let Some(public) = keys::public_pem(self.content, at) {
            self.scan
                .findings
                .extend(published(&public, self.path, self.place));
            return;
        }
        self.key(keys::pem(self.content, at));
    }

    fn key(&mut self, key: Option<Key>) {
        if let Some(key) =
            key.filter(|key| key.at >= self.until && self.scan.keys.len() < MOST_OF_A_FILE)
        {
            self.until = key.end;
            self.scan.keys.push((self.place.to_owned(), key));
        }
    }

    fn secret(&mut self, found: Option<secrets::Found>) {
        if let Some(found) = found {
            let line = spot(self.content, found.at, self.text);
            let finding = secrets::finding(&found, self.place, &format!("{}{line}", self.place));
            self.scan.findings.push(finding);
        }
    }
}

/// A line of a text, an offset of anything else.
fn spot(content: &[u8], at: usize, text: bool) -> String {
    if text {
        let before = content.get(..at).unwrap_or_default();
        format!(":{}", before.split(|byte| *byte == b'\n').count())
    } else {
        format!(" at {at:#x}")
    }
}

/// What the lines of a text break.
fn lines(path: &str, place: &str, text: &str, mode: u32, scan: &mut Scan) {
    let mut hits = Vec::new();
    if let Some(kind) = scripts::kind(path, text) {
        hits.extend(scripts::judge(path, kind, text));
    }
    if mode & 0o111 == 0 || path.contains("/etc/") {
        let (found, tls) = settings::judge(path, text);
        hits.extend(found);
        if tls {
            scan.tls.push(place.to_owned());
        }
    }
    if firewall::sets_firewall(path, text) {
        scan.firewall.push(place.to_owned());
    }
    if let Some(found) = boot::judge(path, text) {
        scan.boot.push(place.to_owned());
        hits.extend(found);
    }
    // The worst of a file that has too many.
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.severity));
    hits.truncate(MOST_OF_A_FILE);
    for hit in &hits {
        let mut finding = finding(hit, path, place);
        if let Some(step) = edit(hit, path, text).filter(|_| place == path) {
            finding = finding.mended_by(vec![step]);
        }
        scan.findings.push(finding);
    }
    if secrets::has_settings(path, text) {
        let known: Vec<String> = scan
            .findings
            .iter()
            .flat_map(|it| &it.evidence)
            .map(|it| it.place.clone())
            .collect();
        for found in secrets::in_settings(path, text).iter().take(MOST_OF_A_FILE) {
            let line = format!("{place}{}", spot(text.as_bytes(), found.at, true));
            if !known.contains(&line) {
                scan.findings.push(secrets::finding(found, place, &line));
            }
        }
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    if matches!(name, "authorized_keys" | "authorized_keys2") {
        authorized(path, place, text, scan);
    }
}

fn finding(hit: &Hit, path: &str, place: &str) -> Finding {
    let line = if hit.line == 0 {
        String::new()
    } else {
        format!(":{}", hit.line)
    };
    let name = if path.is_empty() { place } else { path };
    Finding::of(hit.rule, place, format!("{name} {}", hit.what))
        .seen(format!("{place}{line}"), hit.what.as_str())
        .with(hit.severity, hit.sure)
}

/// What takes the line out, or puts the right one in its place.
fn edit(hit: &Hit, path: &str, text: &str) -> Option<Step> {
    let instead = hit.instead.as_ref()?;
    let line = text.lines().nth(hit.line.checked_sub(1)?)?;
    let action = Action::Edit {
        path: path.parse().ok()?,
        replace: vec![(line.to_owned(), vec![instead.clone()])],
        append: Vec::new(),
    };
    let says = format!("Change line {} of {path}, which {}", hit.line, hit.what);
    Some(Step::risky(
        Stage::Change,
        action,
        says,
        "What relies on it stops working.",
    ))
}

fn authorized(path: &str, place: &str, text: &str, scan: &mut Scan) {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let keys: Vec<&str> = lines.filter(|line| line.contains("AAAA")).collect();
    for public in keys.iter().filter_map(|line| keys::authorized(line)) {
        scan.findings.extend(published(&public, path, place));
    }
    if keys.is_empty() {
        return;
    }
    let what = format!(
        "{path} lets the holders of {} into every device",
        counted(wide(keys.len()), "key")
    );
    let mut finding =
        Finding::of(&AUTHORIZED, place, what).seen(place, counted(wide(keys.len()), "key"));
    if let Some(path) = path.parse().ok().filter(|_| place == path) {
        let remove = Action::Remove { path };
        let risk = "Nobody can log in with these keys any more.";
        finding = finding.mended_by(vec![Step::risky(
            Stage::Change,
            remove,
            format!("Remove {place}"),
            risk,
        )]);
    }
    scan.findings.push(finding);
}
