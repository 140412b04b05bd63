//! Services that are started by scripts: `OpenRC`, procd, and the init of `BusyBox` or System V.

use std::collections::BTreeMap;

use super::{MOST, Service, below, names, processes_of};
use crate::engine::{Action, Host, HostPath, Kind, Unseen};

const SCRIPTS: &str = "/etc/init.d";
const TABLE: &str = "/etc/inittab";
/// Scripts that start others, and leftovers: no services.
const NO_SERVICES: [&str; 10] = [
    "README",
    "functions.sh",
    "rc",
    "rcS",
    "rcK",
    "rc.local",
    "skeleton",
    "rc.common",
    "README.txt",
    "depend",
];
/// The directories of links by which System V starts things.
const RUNLEVELS: [&str; 6] = [
    "/etc/rcS.d",
    "/etc/rc1.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc4.d",
    "/etc/rc5.d",
];
/// The actions of a line of the table that do something at boot or later (`inittab` of `BusyBox` and System V).
const STARTS: [&str; 7] = [
    "respawn", "askfirst", "once", "wait", "boot", "bootwait", "sysinit",
];

pub(super) fn openrc(host: &dyn Host) -> Result<Vec<Service>, Unseen> {
    let mut enabled = Vec::new();
    for link in openrc_links(host)? {
        enabled.push(String::from_utf8_lossy(link.name()).into_owned());
    }
    scripts(host, |name| enabled.iter().any(|it| it == name))
}

fn openrc_links(host: &dyn Host) -> Result<Vec<HostPath>, Unseen> {
    let top = HostPath::of("/etc/runlevels");
    let mut links = Vec::new();
    for (level, kind, _) in names(host, &top)? {
        if kind == Kind::Directory {
            let level = below(&top, &level)?;
            for (name, _, _) in names(host, &level)? {
                links.push(below(&level, &name)?);
            }
        }
    }
    Ok(links)
}

pub(super) fn openrc_off(host: &dyn Host, name: &str, mask: bool) -> Result<Vec<Action>, Unseen> {
    let links = openrc_links(host)?;
    let own = links.into_iter().filter(|it| it.name() == name.as_bytes());
    let mut actions: Vec<_> = own.map(|path| Action::Remove { path }).collect();
    if mask {
        actions.extend(not_executable(host, name)?);
    }
    Ok(actions)
}

pub(super) fn procd(host: &dyn Host) -> Result<Vec<Service>, Unseen> {
    let started: Vec<String> = names(host, &HostPath::of("/etc/rc.d"))?
        .into_iter()
        .filter_map(|(link, _, _)| ordered(&link, 'S').map(str::to_owned))
        .collect();
    scripts(host, |name| started.iter().any(|it| it == name))
}

pub(super) fn procd_off(host: &dyn Host, name: &str, mask: bool) -> Result<Vec<Action>, Unseen> {
    let directory = HostPath::of("/etc/rc.d");
    let mut actions = Vec::new();
    for (link, _, _) in names(host, &directory)? {
        if ordered(&link, 'S') == Some(name) {
            let path = below(&directory, &link)?;
            actions.push(Action::Remove { path });
        }
    }
    if mask {
        actions.extend(not_executable(host, name)?);
    }
    Ok(actions)
}

/// Scripts of System V with its runlevels, scripts of `BusyBox` whose name begins with `S`, and the lines of the table.
pub(super) fn sysv(host: &dyn Host) -> Result<Vec<Service>, Unseen> {
    let mut all = sysv_scripts(host)?;
    let path = HostPath::of(TABLE);
    for line in table(host)? {
        let Some((_, program)) = entry(&line) else {
            continue;
        };
        let Ok(program) = HostPath::from_bytes(program.as_bytes()) else {
            continue;
        };
        let name = String::from_utf8_lossy(program.name()).into_owned();
        // What starts the scripts is no service.
        if program.is_in(&HostPath::of(SCRIPTS)) || NO_SERVICES.contains(&name.as_str()) {
            continue;
        }
        all.push(Service {
            processes: processes_of(host, &name, Some(&program))?,
            name,
            unit: path.clone(),
            enabled: true,
            masked: false,
            program: Some(program),
            user: None,
        });
    }
    Ok(all)
}

pub(super) fn sysv_scripts(host: &dyn Host) -> Result<Vec<Service>, Unseen> {
    let mut started = Vec::new();
    for level in RUNLEVELS.map(HostPath::of) {
        for (link, _, _) in names(host, &level)? {
            started.extend(ordered(&link, 'S').map(str::to_owned));
        }
    }
    scripts(host, |name| started.iter().any(|it| it == name))
}

pub(super) fn sysv_off(host: &dyn Host, name: &str, mask: bool) -> Result<Vec<Action>, Unseen> {
    let mut actions = runlevels_off(host, name)?;
    let directory = HostPath::of(SCRIPTS);
    for (script, _, mode) in names(host, &directory)? {
        // BusyBox as Buildroot sets it up runs every executable script whose name begins with `S`.
        if ordered(&script, 'S') != Some(name) {
            continue;
        }
        if script.strip_suffix(".sh").is_some() {
            // These are read by the shell that starts the others, executable or not.
            let path = below(&directory, &script)?;
            actions.push(Action::Remove { path });
        } else if mode & 0o111 != 0 {
            actions.extend(not_executable(host, &script)?);
        }
    }
    let lines: Vec<_> = table(host)?
        .into_iter()
        .filter(|line| {
            entry(line).is_some_and(|(_, program)| program.rsplit('/').next() == Some(name))
        })
        .collect();
    if !lines.is_empty() {
        let off = |line: String| {
            let kept = format!("# off: {line}");
            (line, vec![kept])
        };
        actions.push(Action::Edit {
            path: HostPath::of(TABLE),
            replace: lines.into_iter().map(off).collect(),
            append: Vec::new(),
        });
    }
    if mask {
        actions.extend(not_executable(host, name)?);
    }
    Ok(actions)
}

/// Links that start a script become links that stop it, as `update-rc.d disable` does: a package that is updated
/// does not make them anew then.
pub(super) fn runlevels_off(host: &dyn Host, name: &str) -> Result<Vec<Action>, Unseen> {
    let mut actions = Vec::new();
    for level in RUNLEVELS.map(HostPath::of) {
        for (link, kind, _) in names(host, &level)? {
            if ordered(&link, 'S') != Some(name) || kind != Kind::Link {
                continue;
            }
            let path = below(&level, &link)?;
            let target = String::from_utf8_lossy(&host.link(&path)?).into_owned();
            actions.push(Action::Remove { path });
            actions.push(Action::Link {
                path: below(&level, &format!("K01{name}"))?,
                target,
            });
        }
    }
    Ok(actions)
}

/// A script that nobody may execute is started by no init.
fn not_executable(host: &dyn Host, script: &str) -> Result<Option<Action>, Unseen> {
    let path = below(&HostPath::of(SCRIPTS), script)?;
    match host.entry(&path) {
        Ok(entry) if entry.kind == Kind::File => Ok(Some(Action::Mode {
            path,
            mode: entry.mode & !0o111,
            owner: (entry.owner, entry.group),
        })),
        Ok(_) | Err(Unseen::Absent) => Ok(None),
        Err(why) => Err(why),
    }
}

fn scripts(host: &dyn Host, started: impl Fn(&str) -> bool) -> Result<Vec<Service>, Unseen> {
    let directory = HostPath::of(SCRIPTS);
    let mut all = Vec::new();
    for (file, kind, mode) in names(host, &directory)? {
        if kind == Kind::Directory || NO_SERVICES.contains(&file.as_str()) || file.starts_with('.')
        {
            continue;
        }
        let path = below(&directory, &file)?;
        let read_anyhow = ordered(&file, 'S').is_some() && file.strip_suffix(".sh").is_some();
        let executable = kind == Kind::Link || mode & 0o111 != 0 || read_anyhow;
        let numbered = ordered(&file, 'S');
        let name = numbered.unwrap_or(&file).to_owned();
        let text = match host.read(&path, MOST) {
            Err(Unseen::Absent) => continue,
            text => text?,
        };
        let text = String::from_utf8_lossy(&text);
        let known = assignments(&text);
        let program = program(&text, &known);
        all.push(Service {
            processes: processes_of(host, &name, program.as_ref())?,
            enabled: executable && (numbered.is_some() || started(&file)),
            masked: !executable,
            unit: path,
            program,
            user: user(&text, &known),
            name,
        });
    }
    Ok(all)
}

/// `telnet` of `S50telnet`; shells scripts of `BusyBox` may end in `.sh`.
fn ordered(name: &str, letter: char) -> Option<&str> {
    let rest = name.strip_prefix(letter)?;
    let (number, name) = rest.split_at_checked(2)?;
    (number.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty()).then_some(name)
}

fn table(host: &dyn Host) -> Result<Vec<String>, Unseen> {
    match host.read(&HostPath::of(TABLE), MOST) {
        Ok(text) => Ok(String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect()),
        Err(Unseen::Absent) => Ok(Vec::new()),
        Err(why) => Err(why),
    }
}

/// Action and program of a line of the table: `id:runlevels:action:process`.
fn entry(line: &str) -> Option<(&str, &str)> {
    let mut parts = line.trim().splitn(4, ':');
    let id = parts.next()?;
    let (_, action, process) = (parts.next()?, parts.next()?, parts.next()?);
    if id.starts_with('#') || !STARTS.contains(&action) {
        return None;
    }
    // `-` makes a log-in shell of it, `+` is for accounting.
    let program = process
        .trim_start_matches(['-', '+'])
        .split_ascii_whitespace()
        .next()?;
    Some((action, program))
}

/// The simple assignments of a script: `NAME=value`, quoted or not.
fn assignments(text: &str) -> BTreeMap<&str, &str> {
    let mut known = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if !name.is_empty()
            && name
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'_')
        {
            known.entry(name).or_insert_with(|| word(value));
        }
    }
    known
}

/// The first word of a value, without its quotes.
fn word(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or(rest);
        }
    }
    value.split([' ', '\t', ';', '#']).next().unwrap_or(value)
}

/// A value, with the variables in it replaced as far as they are simple.
fn expand(value: &str, known: &BTreeMap<&str, &str>, depth: u8) -> String {
    let Some((before, rest)) = value.split_once('$') else {
        return value.to_owned();
    };
    let (name, rest) = if let Some(inner) = rest.strip_prefix('{') {
        inner.split_once('}').unwrap_or((inner, ""))
    } else {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let end = end.unwrap_or(rest.len());
        rest.split_at_checked(end).unwrap_or((rest, ""))
    };
    if depth > 4 {
        return String::new();
    }
    let deeper = depth.saturating_add(1);
    let inner = known.get(name).map(|it| expand(it, known, deeper));
    format!(
        "{before}{}{}",
        inner.unwrap_or_default(),
        expand(rest, known, deeper)
    )
}

fn program(text: &str, known: &BTreeMap<&str, &str>) -> Option<HostPath> {
    let assigned = ["command", "PROG", "DAEMON", "EXEC", "BIN"];
    let assigned = assigned.iter().filter_map(|name| known.get(name).copied());
    let called = text.lines().filter_map(|line| {
        let line = line.trim();
        let command = line.strip_prefix("procd_set_param command ");
        let command = command.or_else(|| line.strip_prefix("service_start "));
        let command = command.or_else(|| line.split_once("--exec ").map(|(_, after)| after));
        Some(word(command?))
    });
    assigned.chain(called).find_map(|value| {
        let value = expand(value, known, 0);
        HostPath::from_bytes(value.split_ascii_whitespace().next()?.as_bytes()).ok()
    })
}

fn user(text: &str, known: &BTreeMap<&str, &str>) -> Option<String> {
    let assigned = known.get("command_user").map(|it| expand(it, known, 0));
    let called = || {
        text.lines()
            .find_map(|line| line.trim().strip_prefix("procd_set_param user "))
            .map(|it| expand(word(it), known, 0))
    };
    let user = assigned.or_else(called)?;
    let name = user.split(':').next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}
