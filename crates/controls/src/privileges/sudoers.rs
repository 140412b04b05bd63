//! Who may become root: sudoers(5) and doas.conf(5).

use std::collections::BTreeMap;

use super::guard::Guard;
use super::rules;
use crate::engine::{Action, Finding, HostPath, Judged, Kind, Severity, Stage, Step};

/// The most files that include one another.
const MOST_FILES: usize = 256;
/// The most rules of one file; more are not looked at, and that is said.
const MOST_GRANTS: usize = 10_000;
/// The groups that may do everything by custom.
const ADMINISTRATORS: [&str; 3] = ["%sudo", "%wheel", "%admin"];

/// One user specification: who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The line on which it begins, from 1.
    pub(crate) line: usize,
    /// Who.
    pub(crate) users: Vec<String>,
    /// The commands that need no password.
    pub(crate) without_password: Vec<String>,
    /// Whether one of the commands is `ALL`.
    pub(crate) everything: bool,
}

/// What a file of sudoers says, as far as it is judged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sudoers {
    /// User specifications.
    pub(crate) grants: Vec<Grant>,
    /// Lines that say `!authenticate` for somebody.
    pub(crate) unauthenticated: Vec<(usize, String)>,
    /// Files, and folders of files, that it includes.
    pub(crate) includes: Vec<(bool, String)>,
    /// There is more than is looked at.
    pub(crate) more: bool,
}

/// Reads a file of sudoers. Aliases of users and commands are resolved where the same file has them before their use.
pub(crate) fn parse(text: &str) -> Sudoers {
    let mut read = Sudoers::default();
    let mut aliases = BTreeMap::new();
    let mut whole = String::new();
    let mut begin = 0;
    for (number, line) in (1_usize..).zip(text.lines()) {
        if whole.is_empty() {
            begin = number;
        }
        if let Some(open) = line.strip_suffix('\\') {
            whole.push_str(open);
            continue;
        }
        whole.push_str(line);
        let line = std::mem::take(&mut whole);
        if read.grants.len() >= MOST_GRANTS {
            read.more = true;
            break;
        }
        one(&line, begin, &mut aliases, &mut read);
    }
    read
}

fn one(line: &str, number: usize, aliases: &mut BTreeMap<String, Vec<String>>, read: &mut Sudoers) {
    let line = line.trim();
    for (word, folder) in [("includedir", true), ("include", false)] {
        for sign in ['@', '#'] {
            let rest = line.strip_prefix(sign).and_then(|it| it.strip_prefix(word));
            if let Some(path) = rest.filter(|it| it.starts_with([' ', '\t'])) {
                let path = path.trim().trim_matches('"').to_owned();
                read.includes.push((folder, path));
                return;
            }
        }
    }
    // `#1000` is a user; anything else after `#` is a comment.
    let line = match line.find('#') {
        Some(at) if !numbered(line, at) => line.split_at(at).0.trim_end(),
        _ => line,
    };
    if line.is_empty() {
        return;
    }
    let (first, rest) = line
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((line, ""));
    if first.starts_with("Defaults") {
        if words(rest, ',').any(|it| it == "!authenticate") {
            read.unauthenticated.push((number, line.to_owned()));
        }
        return;
    }
    if let "User_Alias" | "Cmnd_Alias" | "Cmd_Alias" | "Host_Alias" | "Runas_Alias" = first {
        for alias in rest.split(" :") {
            if let Some((name, members)) = alias.split_once('=') {
                let members = words(members, ',').map(str::to_owned).collect();
                aliases.insert(
                    name.trim().trim_start_matches(':').trim().to_owned(),
                    members,
                );
            }
        }
        return;
    }
    grant(line, number, aliases, read);
}

fn numbered(line: &str, at: usize) -> bool {
    let after = line.as_bytes().get(at.saturating_add(1));
    after.is_some_and(u8::is_ascii_digit)
}

fn words(text: &str, at: char) -> impl Iterator<Item = &str> {
    text.split(at).map(str::trim).filter(|it| !it.is_empty())
}

/// `users hosts = (runas) TAG: commands : hosts = …`.
fn grant(line: &str, number: usize, aliases: &BTreeMap<String, Vec<String>>, read: &mut Sudoers) {
    let Some((left, right)) = line.split_once('=') else {
        return;
    };
    // The hosts are the last list on the left; lists have blanks after their commas only.
    let left = left.replace(", ", ",").replace(" ,", ",");
    let users = left.trim().rsplit_once(|c: char| c.is_ascii_whitespace());
    let Some((users, _)) = users else { return };
    let resolve = |name: &str| {
        aliases
            .get(name)
            .cloned()
            .unwrap_or_else(|| vec![name.to_owned()])
    };
    let mut without_password = Vec::new();
    let mut everything = false;
    // A tag holds for the commands after it, up to its contrary.
    let mut free = false;
    let mut depth = false;
    for part in right.split(|c| {
        depth = (depth || c == '(') && c != ')';
        c == ',' && !depth
    }) {
        let mut command = part.trim();
        if command.starts_with('(') {
            command = command.split_once(')').map_or("", |(_, rest)| rest.trim());
        }
        while let Some((tag, rest)) = command.split_once(':') {
            let tag = tag.trim();
            let is_tag = |it: u8| it.is_ascii_uppercase() || it == b'_';
            if tag.is_empty() || !tag.bytes().all(is_tag) {
                break;
            }
            free = tag == "NOPASSWD" || (free && tag != "PASSWD");
            command = rest.trim();
        }
        for command in resolve(command) {
            if command.is_empty() || command.starts_with('!') {
                continue;
            }
            everything |= command == "ALL";
            if free {
                without_password.push(command);
            }
        }
    }
    read.grants.push(Grant {
        line: number,
        users: words(users, ',').flat_map(resolve).collect(),
        without_password,
        everything,
    });
}

/// Judges sudo and doas.
pub(super) fn judge(guard: &mut Guard<'_>, judged: &mut Judged) {
    let mut without_password = Vec::new();
    let mut everybody = Vec::new();
    let mut more = None;
    let mut files = vec![HostPath::of("/etc/sudoers")];
    let mut at = 0_usize;
    while let Some(file) = files.get(at).cloned() {
        at = at.saturating_add(1);
        guard.only_roots(&rules::SUDO_FILE, &file, "list of who may become root");
        let Some(text) = guard.text(&file) else {
            continue;
        };
        let read = parse(&text);
        if read.more {
            more = Some(file.clone());
        }
        for (folder, path) in &read.includes {
            includes(guard, &file, *folder, path, &mut files);
        }
        if files.len() > MOST_FILES {
            files.truncate(MOST_FILES);
            more = Some(file.clone());
        }
        judge_file(&file, &text, &read, &mut without_password, &mut everybody);
    }
    let doas = HostPath::of("/etc/doas.conf");
    guard.only_roots(&rules::SUDO_FILE, &doas, "list of who may become root");
    if let Some(text) = guard.text(&doas) {
        without_password.extend(judge_doas(&doas, &text));
    }
    guard.done_with(
        vec![
            (&rules::SUDO_PASSWORD, without_password),
            (&rules::SUDO_ALL, everybody),
        ],
        more.as_ref(),
        judged,
    );
    guard.done(&rules::SUDO_FILE, judged);
}

fn includes(
    guard: &mut Guard<'_>,
    file: &HostPath,
    folder: bool,
    path: &str,
    files: &mut Vec<HostPath>,
) {
    let absolute = match path.strip_prefix('/') {
        Some(_) => HostPath::from_bytes(path.as_bytes()),
        None => file.parent().join(path.as_bytes()),
    };
    let Ok(path) = absolute else { return };
    if !folder {
        if !files.contains(&path) {
            files.push(path);
        }
        return;
    }
    guard.only_roots(&rules::SUDO_FILE, &path, "folder of who may become root");
    for (path, entry) in guard.list(&path) {
        // Names with a dot or a tilde at their end are passed over (sudoers(5)).
        let counts = !path.name().contains(&b'.') && !path.name().ends_with(b"~");
        if counts && matches!(entry.kind, Kind::File | Kind::Link) && !files.contains(&path) {
            files.push(path);
        }
    }
}

fn judge_file(
    file: &HostPath,
    text: &str,
    read: &Sudoers,
    without_password: &mut Vec<Finding>,
    everybody: &mut Vec<Finding>,
) {
    let line_of = |number: usize| {
        text.lines()
            .nth(number.saturating_sub(1))
            .unwrap_or_default()
    };
    for (number, line) in &read.unauthenticated {
        let finding = Finding::of(
            &rules::SUDO_PASSWORD,
            format!("{file} {line}"),
            format!("`{file}` lets users become root without a password (`!authenticate`)"),
        );
        let whole = line_of(*number);
        let finding = finding.seen(format!("{file}:{number}"), line.clone());
        let edits = (whole.trim() == line).then(|| (whole, Vec::new()));
        without_password.push(edited(
            finding,
            file,
            edits,
            "Ask for a password before anybody becomes root",
        ));
    }
    for grant in &read.grants {
        let users = grant.users.join(", ");
        let seen = line_of(grant.line);
        let place = format!("{file}:{}", grant.line);
        let roots = grant
            .users
            .iter()
            .all(|it| matches!(it.as_str(), "root" | "#0"));
        if !grant.without_password.is_empty() && !roots {
            let all = grant.without_password.iter().any(|it| it == "ALL");
            let what = if all {
                format!("{users} may do everything as root without a password")
            } else {
                let commands = grant.without_password.join(", ");
                format!("{users} may run {commands} as root without a password")
            };
            let finding = Finding::of(&rules::SUDO_PASSWORD, format!("{file} {users}"), what);
            let severity = if all {
                Severity::High
            } else {
                Severity::Medium
            };
            let finding = Finding {
                severity,
                ..finding
            }
            .seen(&*place, seen.trim());
            let asked = without_tag(seen, "NOPASSWD:");
            let edits = asked.map(|it| (seen, vec![it]));
            let says = format!("Ask {users} for a password before they become root");
            without_password.push(edited(finding, file, edits, &says));
        }
        let trusted = |user: &String| {
            matches!(user.as_str(), "root" | "#0") || ADMINISTRATORS.contains(&user.as_str())
        };
        let strangers: Vec<_> = grant.users.iter().filter(|it| !trusted(it)).collect();
        if grant.everything && !strangers.is_empty() {
            let all = strangers.iter().any(|it| *it == "ALL");
            let who = if all { "everybody" } else { &users };
            let finding = Finding::of(
                &rules::SUDO_ALL,
                format!("{file} {users}"),
                format!("{who} may do everything as root"),
            );
            let severity = if all { Severity::High } else { Severity::Low };
            everybody.push(
                Finding {
                    severity,
                    ..finding
                }
                .seen(place, seen.trim()),
            );
        }
    }
}

/// The line without every such tag; none if it goes on on another line, or has none.
fn without_tag(line: &str, tag: &str) -> Option<String> {
    if line.ends_with('\\') || !line.contains(tag) {
        return None;
    }
    Some(line.replace(&format!("{tag} "), "").replace(tag, ""))
}

/// Mended by an edit, if one line says it all.
fn edited(
    finding: Finding,
    file: &HostPath,
    edit: Option<(&str, Vec<String>)>,
    says: &str,
) -> Finding {
    let Some((line, with)) = edit else {
        return finding;
    };
    let action = Action::Edit {
        path: file.clone(),
        replace: vec![(line.to_owned(), with)],
        append: Vec::new(),
    };
    let risk = "Scripts and timers that become root this way stop working; users without a password can no longer become root.";
    finding.mended_by(vec![Step::risky(Stage::Change, action, says, risk)])
}

/// `permit [options] identity …` with `nopass` among the options (doas.conf(5)).
fn judge_doas(file: &HostPath, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let code = line.split('#').next().unwrap_or_default();
        let mut words = code.split_ascii_whitespace();
        if words.next() != Some("permit") {
            continue;
        }
        let mut nopass = false;
        let mut who = None;
        let mut braces = false;
        for word in words {
            match word {
                "nopass" => nopass = true,
                "persist" | "keepenv" | "nolog" => (),
                "setenv" | "{" => braces = true,
                _ if word.ends_with('}') => braces = false,
                _ if braces => (),
                _ => {
                    who = Some(word);
                    break;
                }
            }
        }
        let Some(who) = who.filter(|who| nopass && *who != "root") else {
            continue;
        };
        let finding = Finding::of(
            &rules::SUDO_PASSWORD,
            format!("{file} {who}"),
            format!("{who} may become another user without a password"),
        );
        let finding = finding.seen(format!("{file}:{number}"), line.trim());
        let edits = without_tag(line, "nopass").map(|it| (line, vec![it]));
        let says = format!("Ask {who} for a password before they become root");
        findings.push(edited(finding, file, edits, &says));
    }
    findings
}
