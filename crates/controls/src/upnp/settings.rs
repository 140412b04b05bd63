//! Settings of other programs that make them ask routers for ports, or serve `UPnP`.

use stockade_profile::ServiceName;

use super::rules::SETTINGS;
use crate::engine::{Action, Case, Finding, HostPath, Judged, ServiceChange, Stage, Step, Unseen};

/// The longest settings file that is read, and its most lines that are changed.
const MOST: usize = 1024 * 1024;
const MOST_LINES: usize = 64;

/// One setting of one program.
#[derive(Debug)]
struct Setting {
    /// Where it stands.
    files: &'static [&'static str],
    /// What the line has before its value, apart from blanks.
    key: &'static str,
    /// The value that switches it on, and off.
    values: (&'static str, &'static str),
    /// The service that takes it up again.
    service: &'static str,
}

const SETTINGS_OF: [Setting; 7] = [
    Setting {
        files: &[
            "/etc/transmission-daemon/settings.json",
            "/var/lib/transmission-daemon/.config/transmission-daemon/settings.json",
            "/var/lib/transmission/.config/transmission-daemon/settings.json",
        ],
        key: "\"port-forwarding-enabled\":",
        values: ("true", "false"),
        service: "transmission-daemon",
    },
    Setting {
        files: &[
            "/var/lib/qbittorrent/.config/qBittorrent/qBittorrent.conf",
            "/root/.config/qBittorrent/qBittorrent.conf",
        ],
        key: "Connection\\UPnP=",
        values: ("true", "false"),
        service: "qbittorrent-nox",
    },
    Setting {
        files: &["/var/lib/deluged/.config/deluge/core.conf"],
        key: "\"upnp\":",
        values: ("true", "false"),
        service: "deluged",
    },
    Setting {
        files: &["/var/lib/deluged/.config/deluge/core.conf"],
        key: "\"natpmp\":",
        values: ("true", "false"),
        service: "deluged",
    },
    Setting {
        files: &[
            "/var/lib/syncthing/.config/syncthing/config.xml",
            "/root/.config/syncthing/config.xml",
        ],
        key: "<natEnabled>",
        values: ("true</natEnabled>", "false</natEnabled>"),
        service: "syncthing",
    },
    Setting {
        files: &["/etc/config/upnpd"],
        key: "option enabled ",
        values: ("1", "0"),
        service: "miniupnpd",
    },
    Setting {
        files: &["/etc/default/miniupnpd"],
        key: "START_DAEMON=",
        values: ("1", "0"),
        service: "miniupnpd",
    },
];

/// Lines that switch a setting on, each with the one that switches it off.
fn lines(text: &str, key: &str, (on, off): (&str, &str)) -> Vec<(String, String)> {
    let bare = |text: &str| {
        text.chars()
            .filter(|it| !it.is_whitespace())
            .collect::<String>()
    };
    let key = bare(key);
    let found = text.lines().filter_map(|line| {
        let plain = bare(line);
        let value = plain.strip_prefix(&key)?;
        let value = value.trim_end_matches(',').trim_matches(['"', '\'']);
        // From behind: a key may have the value in it.
        let at = (value == on).then(|| line.rfind(on)).flatten()?;
        let (before, rest) = line.split_at_checked(at)?;
        let after = rest.strip_prefix(on)?;
        Some((line.to_owned(), format!("{before}{off}{after}")))
    });
    found.take(MOST_LINES).collect()
}

pub(super) fn judge(case: &Case<'_>, judged: &mut Judged) {
    let (mut findings, mut unread, mut read) = (Vec::new(), Vec::new(), 0_usize);
    for setting in &SETTINGS_OF {
        for file in setting.files {
            let path = HostPath::of(file);
            let content = match case.host.read(&path, MOST) {
                Ok(content) => content,
                Err(Unseen::Absent) => continue,
                Err(why) => {
                    unread.push(format!("{path}: {why}"));
                    continue;
                }
            };
            read = read.saturating_add(1);
            let text = String::from_utf8_lossy(&content);
            let on = lines(&text, setting.key, setting.values);
            if !on.is_empty() {
                findings.push(finding(setting, &path, on));
            }
        }
    }
    if unread.is_empty() {
        judged.judged(&SETTINGS, format!("{read} files"), findings);
    } else {
        judged.cannot_tell(&SETTINGS, unread.join("; "), findings);
    }
}

fn finding(setting: &Setting, path: &HostPath, on: Vec<(String, String)>) -> Finding {
    let key = setting.key.trim_matches([' ', '=', ':', '"', '<', '>']);
    let what = format!(
        "{path} switches `{key}` on, so {} speaks UPnP",
        setting.service
    );
    let mut finding = Finding::of(&SETTINGS, format!("{path} {key}"), what);
    for (line, _) in &on {
        finding = finding.seen(path.to_string(), line.trim());
    }
    let edit = Action::Edit {
        path: path.clone(),
        replace: on.into_iter().map(|(old, new)| (old, vec![new])).collect(),
        append: Vec::new(),
    };
    let mut steps = vec![Step::risky(
        Stage::Change,
        edit,
        format!("Switch `{key}` off in {path}"),
        format!(
            "{} is no longer reached from outside by itself",
            setting.service
        ),
    )];
    if let Ok(name) = setting.service.parse::<ServiceName>() {
        let says = format!("Have {name} read its settings again");
        let change = ServiceChange::Reload;
        let action = Action::Service { name, change };
        steps.push(Step::safe(Stage::Restart, action, says));
    }
    finding.mended_by(steps)
}

/// Any text as a settings file: each line that is exchanged was there, and is off afterwards.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for setting in &SETTINGS_OF {
        for (old, new) in lines(&text, setting.key, setting.values) {
            assert!(text.lines().any(|line| line == old), "made up");
            assert!(
                lines(&new, setting.key, setting.values).is_empty(),
                "still on"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_exchanged_byte_for_byte_apart_from_its_value() {
        let check = |text: &str, key: &str, values, expected: &[&str]| {
            let new: Vec<String> = lines(text, key, values)
                .into_iter()
                .map(|it| it.1)
                .collect();
            assert_eq!(new, expected, "{text}");
        };
        let json = ("true", "false");
        let key = "\"port-forwarding-enabled\":";
        check(
            "{\n    \"port-forwarding-enabled\": true,\n",
            key,
            json,
            &["    \"port-forwarding-enabled\": false,"],
        );
        check("\"port-forwarding-enabled\" : false", key, json, &[]);
        check("# \"port-forwarding-enabled\": true", key, json, &[]);
        check(
            "\toption enabled '1'",
            "option enabled ",
            ("1", "0"),
            &["\toption enabled '0'"],
        );
        check("option enabled 10", "option enabled ", ("1", "0"), &[]);
        check(
            "<natEnabled>true</natEnabled>",
            "<natEnabled>",
            ("true</natEnabled>", "false</natEnabled>"),
            &["<natEnabled>false</natEnabled>"],
        );
    }
}
