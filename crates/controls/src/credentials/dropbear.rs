//! How dropbear is configured: by Debian's defaults, by UCI, or by whoever starts it.

use crate::engine::{Action, Finding, Host, HostPath, Process, Unseen};

use super::rules;
use super::ssh::Keep;

/// dropbear takes passwords unless it is told `-s`, or UCI says `PasswordAuth 'off'`.
pub(super) fn passwords(host: &dyn Host, keep: &Keep) -> Result<Vec<Finding>, Unseen> {
    let finding = |place: String, seen: &str| {
        Finding::of(
            &rules::SSH_PASSWORDS,
            "dropbear",
            "dropbear lets people in with a password",
        )
        .seen(place, seen)
    };
    let mut findings = Vec::new();
    let read = |path: &'static str| match host.read(&HostPath::of(path), 1 << 20) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(Unseen::Absent) => Ok(None),
        Err(why) => Err(why),
    };
    let uci = read("/etc/config/dropbear")?;
    let debian = read("/etc/default/dropbear")?;
    if let Some(text) = &uci {
        findings.extend(uci_passwords(text, keep, &finding));
    }
    if let Some(text) = &debian {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with("DROPBEAR_EXTRA_ARGS="));
        let value = line
            .and_then(|line| line.split_once('='))
            .map_or("", |(_, value)| value);
        let value = value.trim().trim_matches(['"', '\'']);
        if !keys_only(value.split_whitespace()) {
            let set = format!(
                "DROPBEAR_EXTRA_ARGS=\"{}\"",
                format!("{value} -s").trim_start()
            );
            let (replace, append) = match line {
                Some(line) => (vec![(line.to_owned(), vec![set])], Vec::new()),
                None => (Vec::new(), vec![set]),
            };
            let edit = Action::Edit {
                path: HostPath::of("/etc/default/dropbear"),
                replace,
                append,
            };
            let found = finding(
                "/etc/default/dropbear".to_owned(),
                line.unwrap_or("nothing is said"),
            );
            findings.push(keep.mended(
                found,
                "dropbear",
                edit,
                "Start dropbear with `-s`: keys only".to_owned(),
            ));
        }
    }
    if uci.is_none() && debian.is_none() {
        // Whoever starts it says how; a running one shows it.
        let running = |process: &&Process| process.name == "dropbear";
        let processes = host.processes()?;
        let mut open = processes
            .iter()
            .filter(running)
            .filter(|it| !keys_only(it.arguments.iter().skip(1).map(String::as_str)));
        if let Some(process) = open.next() {
            let found = finding(
                format!("process {}", process.pid),
                &process.arguments.join(" "),
            );
            findings.push(found);
        }
    }
    Ok(findings)
}

fn uci_passwords(
    text: &str,
    keep: &Keep,
    finding: &dyn Fn(String, &str) -> Finding,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for option in ["PasswordAuth", "RootPasswordAuth"] {
        let line = text.lines().find(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("option") && words.next() == Some(option)
        });
        let value = line
            .and_then(|line| line.split_whitespace().nth(2))
            .unwrap_or("on");
        if matches!(
            value.trim_matches(['"', '\'']),
            "off" | "0" | "no" | "false" | "disabled"
        ) {
            continue;
        }
        let set = format!("\toption {option} 'off'");
        let section = text
            .lines()
            .find(|line| line.trim_start().starts_with("config dropbear"));
        let (replace, append) = match (line, section) {
            (Some(line), _) => (vec![(line.to_owned(), vec![set])], Vec::new()),
            (None, Some(section)) => (
                vec![(section.to_owned(), vec![section.to_owned(), set])],
                Vec::new(),
            ),
            (None, None) => (Vec::new(), vec!["config dropbear".to_owned(), set]),
        };
        let edit = Action::Edit {
            path: HostPath::of("/etc/config/dropbear"),
            replace,
            append,
        };
        let mut found = finding(
            "/etc/config/dropbear".to_owned(),
            line.unwrap_or("nothing is said").trim(),
        );
        found.subject = format!("dropbear {option}");
        findings.push(keep.mended(
            found,
            "dropbear",
            edit,
            format!("Set `{option}` off in /etc/config/dropbear"),
        ));
    }
    findings
}

/// Whether these arguments of dropbear's have `-s`: no passwords.
fn keys_only<'a>(mut arguments: impl Iterator<Item = &'a str>) -> bool {
    arguments.any(|it| {
        it == "-s"
            || (it.starts_with('-')
                && it.len() <= 6
                && it.bytes().skip(1).all(|b| b"sgwaRFEmij".contains(&b))
                && it.contains('s'))
    })
}
