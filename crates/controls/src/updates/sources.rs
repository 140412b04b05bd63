//! What switches off that packages are checked before they are installed.

use crate::engine::{Action, Finding, Host, HostPath, Remedy, Stage, Step, Unseen};

use super::rules;

/// The longest file of settings that is read.
const MOST: usize = 1 << 20;

const APT: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/apt.conf"];
const APT_FOLDERS: [&str; 2] = ["/etc/apt/sources.list.d", "/etc/apt/apt.conf.d"];
const OPKG: &str = "/etc/opkg.conf";

/// Words that switch a check off: in apt.conf(5) and sources.list(5), and the value that does it.
const OFF: [(&str, bool); 7] = [
    ("trusted", true),
    ("allow-insecure", true),
    ("allow-downgrade-to-insecure", true),
    ("allowunauthenticated", true),
    ("allowinsecurerepositories", true),
    ("allowdowngradetoinsecurerepositories", true),
    ("check-valid-until", false),
];

fn switches_off(name: &str, value: &str) -> bool {
    let name = name
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let value = match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "with" | "on" | "enable" | "1" => true,
        "no" | "false" | "without" | "off" | "disable" | "0" => false,
        _ => return false,
    };
    OFF.contains(&(name.as_str(), value))
}

/// Reads every file of settings that is there: how many there were, and what is wrong in them.
pub(super) fn judge(host: &dyn Host) -> Result<(usize, Vec<Finding>), (String, Unseen)> {
    let mut paths: Vec<HostPath> = APT.map(HostPath::of).to_vec();
    for folder in APT_FOLDERS.map(HostPath::of) {
        match host.list(&folder) {
            Err(Unseen::Absent) => (),
            Err(why) => return Err((folder.to_string(), why)),
            Ok(names) => paths.extend(names.iter().filter_map(|(name, _)| folder.join(name).ok())),
        }
    }
    paths.push(HostPath::of(OPKG));
    let (mut read, mut findings) = (0_usize, Vec::new());
    for path in &paths {
        let bytes = match host.read(path, MOST) {
            Err(Unseen::Absent) => continue,
            Err(why) => return Err((path.to_string(), why)),
            Ok(bytes) => bytes,
        };
        read = read.saturating_add(1);
        findings.extend(wrong(path, &String::from_utf8_lossy(&bytes)));
    }
    Ok((read, findings))
}

/// What is wrong in one file, which its place and name say how to read.
fn wrong(path: &HostPath, text: &str) -> Vec<Finding> {
    let (place, name) = (path.to_string(), String::from_utf8_lossy(path.name()));
    if place == OPKG {
        return opkg(path, text).into_iter().collect();
    }
    if place.starts_with("/etc/apt/apt.conf") {
        return configured_off(text)
            .into_iter()
            .map(|setting| found(&place, &setting))
            .collect();
    }
    if name.ends_with(".list") {
        let lines = text
            .lines()
            .filter_map(|line| Some((line, without_options(line)?)));
        return lines
            .map(|(line, instead)| edited(path, line, vec![instead]))
            .collect();
    }
    if name.ends_with(".sources") {
        let off = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(name, value)| switches_off(name.trim(), value.trim()))
        };
        return text
            .lines()
            .filter(off)
            .map(|line| edited(path, line, Vec::new()))
            .collect();
    }
    Vec::new()
}

fn found(place: &str, setting: &str) -> Finding {
    let what = format!(
        "{place} switches off that packages are checked: `{}`",
        setting.escape_debug()
    );
    let finding =
        Finding::of(&rules::SOURCE, place, what).seen(place, setting.escape_debug().to_string());
    Finding {
        remedy: Remedy::Person(format!("Take `{}` out of {place}.", setting.escape_debug())),
        ..finding
    }
}

fn edited(path: &HostPath, line: &str, instead: Vec<String>) -> Finding {
    let says = format!(
        "Have packages checked: change `{}` in {path}",
        line.trim().escape_debug()
    );
    let action = Action::Edit {
        path: path.clone(),
        replace: vec![(line.to_owned(), instead)],
        append: Vec::new(),
    };
    let risk = "What is not signed rightly is not installed any more.";
    found(&path.to_string(), line.trim()).mended_by(vec![Step::risky(
        Stage::Change,
        action,
        says,
        risk,
    )])
}

/// A line of sources.list(5) without the options that switch checks off; none if it has none of them.
fn without_options(line: &str) -> Option<String> {
    let code = line.split('#').next().unwrap_or_default();
    let (before, rest) = code.split_once('[')?;
    let (options, after) = rest.split_once(']')?;
    if !matches!(before.trim(), "deb" | "deb-src") {
        return None;
    }
    let off = |option: &&str| {
        option
            .split_once('=')
            .is_some_and(|(name, value)| switches_off(name, value))
    };
    let (bad, good): (Vec<&str>, Vec<&str>) = options.split_ascii_whitespace().partition(off);
    let kind = before.trim();
    let after = after.trim();
    match (bad.is_empty(), good.is_empty()) {
        (true, _) => None,
        (_, true) => Some(format!("{kind} {after}")),
        _ => Some(format!("{kind} [{}] {after}", good.join(" "))),
    }
}

/// What apt.conf(5) switches off: a name, by itself or in the blocks around it, and its value.
fn configured_off(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let (mut quoted, mut comment, mut last) = (false, None, ' ');
    for c in text.chars() {
        match (comment, c) {
            (Some('/'), '\n') => comment = None,
            (Some('*'), '/') if last == '*' => comment = None,
            (Some(_), _) => (),
            (None, '"') => quoted = !quoted,
            (None, _) if quoted => push(&mut words, c),
            (None, '/' | '*') if last == '/' => {
                comment = Some(c);
                if let Some(word) = words.last_mut() {
                    word.pop();
                }
            }
            (None, '#') => comment = Some('/'),
            (None, ' ' | '\t' | '\n' | '\r' | ';' | '{' | '}') => words.push(String::new()),
            (None, _) => push(&mut words, c),
        }
        last = c;
    }
    words.retain(|word| !word.is_empty());
    let pairs = words.iter().zip(words.iter().skip(1));
    pairs
        .filter(|(name, value)| switches_off(name, value))
        .map(|(name, value)| format!("{name} {value}"))
        .collect()
}

fn push(words: &mut [String], c: char) {
    if let Some(word) = words.last_mut() {
        word.push(c);
    }
}

/// opkg checks signatures only where it is told to.
fn opkg(path: &HostPath, text: &str) -> Option<Finding> {
    const CHECK: &str = "option check_signature";
    let on = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        matches!(
            words.as_slice(),
            ["option", "check_signature"] | ["option", "check_signature", "1"]
        )
    };
    if text.lines().any(on) {
        return None;
    }
    let action = Action::Edit {
        path: path.clone(),
        replace: Vec::new(),
        append: vec![CHECK.to_owned()],
    };
    let what = format!("{path} does not say `{CHECK}`: opkg installs what nobody signed");
    let step = Step::risky(
        Stage::Change,
        action,
        "Have opkg check signatures",
        "A feed without a signature is not taken any more.",
    );
    Some(Finding::of(&rules::SOURCE, path.to_string(), what).mended_by(vec![step]))
}

pub(super) fn fuzz(text: &str) {
    for path in [
        "/etc/apt/apt.conf",
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d/a.sources",
        OPKG,
    ] {
        drop(wrong(&HostPath::of(path), text));
    }
    for line in text.lines() {
        let mended = without_options(line);
        assert_eq!(
            mended.and_then(|it| without_options(&it)),
            None,
            "once is enough"
        );
    }
}
