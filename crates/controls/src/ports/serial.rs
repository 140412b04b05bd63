//! Consoles on serial lines.

use std::collections::BTreeMap;

use stockade_profile::{ServiceName, Switch};

use super::rules::SERIAL;
use super::{names, text};
use crate::engine::{
    Action, Case, Finding, HostPath, InitSystem, Judged, Remedy, ServiceChange, Stage, Step, Unseen,
};

/// Where systemd finds what it starts for log-ins: its own, what a generator made of `console=`, and the administrator's.
const WANTS: [&str; 3] = [
    "/usr/lib/systemd/system/getty.target.wants",
    "/run/systemd/generator/getty.target.wants",
    "/etc/systemd/system/getty.target.wants",
];

/// Whether a terminal of this name is at the end of a wire: neither a screen's (`tty1`) nor one of the network's (`pts/0`).
pub fn is_serial(name: &str) -> bool {
    let wire = name.strip_prefix("tty").is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphabetic())
            && rest.ends_with(|c: char| c.is_ascii_digit())
    });
    wire || (name.starts_with("hvc") && name.len() > 3)
}

pub(super) fn judge(case: &Case<'_>, judged: &mut Judged) {
    if case.profile.ports.serial_console == Switch::On {
        return judged.does_not_apply(&SERIAL, "the profile allows it");
    }
    match find(case) {
        Ok(findings) => judged.judged(
            &SERIAL,
            "the command line, services and the table of init",
            findings,
        ),
        Err(why) => judged.unseen(&SERIAL, "serial consoles", &why),
    }
}

fn find(case: &Case<'_>) -> Result<Vec<Finding>, Unseen> {
    let line = text(case.host, "/proc/cmdline")?.unwrap_or_default();
    let mut findings = Vec::new();
    for word in line.split_whitespace() {
        let console = word.strip_prefix("console=").unwrap_or_default();
        let name = console.split(',').next().unwrap_or_default();
        if is_serial(name) {
            let what = format!(
                "the kernel writes to the serial line {name}, and systemd starts a log-in there"
            );
            let subject = format!("kernel console {name}");
            findings.push(Finding::of(&SERIAL, subject, what).seen("/proc/cmdline", word));
        }
    }
    let mut units = BTreeMap::new();
    if case.host.init() == Ok(InitSystem::Systemd) {
        for place in WANTS {
            for unit in names(case.host, place)? {
                let terminal = unit
                    .split_once('@')
                    .and_then(|(_, rest)| rest.strip_suffix(".service"));
                if terminal.is_some_and(is_serial) {
                    units.insert(unit, place);
                }
            }
        }
    }
    for (unit, place) in units {
        let name = unit.trim_end_matches(".service");
        let mask = HostPath::from_bytes(format!("/etc/systemd/system/{unit}").as_bytes());
        if mask.is_ok_and(|path| case.host.link(&path).is_ok_and(|to| to == b"/dev/null")) {
            continue;
        }
        let finding = Finding::of(
            &SERIAL,
            format!("log-in {name}"),
            format!("{name} asks for a log-in on a serial line"),
        );
        let finding = finding.seen(place, &unit);
        findings.push(match name.parse::<ServiceName>() {
            Ok(name) => {
                let says = format!("Stop the service {name} and keep it stopped");
                let action = Action::Service {
                    name,
                    change: ServiceChange::Mask,
                };
                let risk = "nobody can log in on that line any more";
                finding.mended_by(vec![Step::risky(Stage::Stop, action, says, risk)])
            }
            Err(_) => finding,
        });
    }
    findings.extend(table(case)?);
    Ok(findings)
}

/// Lines of the table of init: `ID:LEVELS:ACTION:PROGRAM` (inittab(5)), where `BusyBox` and procd name the terminal by the id.
fn table(case: &Case<'_>) -> Result<Option<Finding>, Unseen> {
    const PATH: &str = "/etc/inittab";
    let table = text(case.host, PATH)?.unwrap_or_default();
    let starts = |line: &&str| {
        let mut parts = line.splitn(4, ':');
        let (id, _, action, program) = (parts.next(), parts.next(), parts.next(), parts.next());
        let on = action
            .is_some_and(|it| matches!(it, "respawn" | "askfirst" | "respawnlate" | "askconsole"));
        let named = program.unwrap_or_default().split_whitespace();
        let mut terminals = named.chain(id).map(|word| word.trim_start_matches("/dev/"));
        !line.starts_with('#') && on && terminals.any(is_serial)
    };
    let lines: Vec<&str> = table.lines().filter(starts).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let replace = lines
        .iter()
        .map(|line| ((*line).to_owned(), vec![format!("#{line}")]));
    let action = Action::Edit {
        path: HostPath::of(PATH),
        replace: replace.collect(),
        append: Vec::new(),
    };
    let says = "Start no log-in on serial lines, from the next start on";
    let mut finding = Finding::of(&SERIAL, PATH, "init asks for a log-in on a serial line");
    for line in lines {
        finding = finding.seen(PATH, line);
    }
    finding.remedy = Remedy::Steps(vec![Step::risky(
        Stage::Change,
        action,
        says,
        "nobody can log in on that line any more",
    )]);
    Ok(Some(finding))
}
