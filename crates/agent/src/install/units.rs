//! What starts the three programs, for each kind of init.

use std::path::{Path, PathBuf};
use std::process::Command;

use stockade_controls::engine::InitSystem;

/// In the order in which they are started.
pub(super) const PROGRAMS: [&str; 3] = ["stockade-keys", "stockade-helper", "stockade-agent"];

const SYSTEMD: [&str; 3] = [
    include_str!("../../../../deploy/systemd/stockade-keys.service"),
    include_str!("../../../../deploy/systemd/stockade-helper.service"),
    include_str!("../../../../deploy/systemd/stockade-agent.service"),
];
const OPENRC: &str = include_str!("../../../../deploy/openrc/stockade.initd");
const PROCD: &str = include_str!("../../../../deploy/procd/stockade.init");
/// Lines of `/etc/inittab`: `BusyBox` and System V begin them in their own ways, and both take an empty or a short id.
const INITTAB: [&str; 3] = [
    "::respawn:/usr/lib/stockade/stockade-keys",
    "::respawn:/usr/lib/stockade/stockade-helper",
    "::respawn:/bin/su -s /bin/sh -c 'exec /usr/lib/stockade/stockade-agent run' stockade-agent",
];

/// The files of an init system: where, what, and the mode. `inittab` is not among them: it is everybody's.
pub(super) fn files(init: InitSystem, root: &Path) -> Vec<(PathBuf, &'static str, u32)> {
    match init {
        InitSystem::Systemd => {
            let place = |name| root.join(format!("etc/systemd/system/{name}.service"));
            PROGRAMS
                .into_iter()
                .zip(SYSTEMD)
                .map(|(name, text)| (place(name), text, 0o644))
                .collect()
        }
        InitSystem::OpenRc => {
            let place = |name| root.join(format!("etc/init.d/{name}"));
            PROGRAMS
                .into_iter()
                .map(|name| (place(name), OPENRC, 0o755))
                .collect()
        }
        InitSystem::Procd => vec![(root.join("etc/init.d/stockade"), PROCD, 0o755)],
        InitSystem::Busybox => Vec::new(),
    }
}

/// `inittab` with our lines, or without them.
pub(super) fn inittab(text: &str, with: bool) -> String {
    let ours = |line: &&str| INITTAB.contains(line);
    let theirs = text.lines().filter(|line| !ours(line));
    let lines = theirs.chain(INITTAB.into_iter().filter(|_| with));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The commands that start the programs now and at every boot, or that stop them for good.
pub(super) fn commands(init: InitSystem, start: bool) -> Vec<Command> {
    let command = |words: &[&str]| {
        let mut command = Command::new(words.first().copied().unwrap_or_default());
        command.args(words.get(1..).unwrap_or_default());
        command
    };
    let each = |words: fn(&str) -> [[&str; 3]; 2]| {
        PROGRAMS
            .iter()
            .flat_map(|name| words(name).map(|words| command(&words)))
            .collect()
    };
    match (init, start) {
        (InitSystem::Systemd, true) => {
            let mut all = vec![command(&["systemctl", "daemon-reload"])];
            all.extend(PROGRAMS.map(|name| command(&["systemctl", "enable", "--now", name])));
            all
        }
        (InitSystem::Systemd, false) => PROGRAMS
            .map(|name| command(&["systemctl", "disable", "--now", name]))
            .into(),
        (InitSystem::OpenRc, true) => {
            each(|name| [["rc-update", "add", name], ["rc-service", name, "start"]])
        }
        (InitSystem::OpenRc, false) => {
            each(|name| [["rc-service", name, "stop"], ["rc-update", "del", name]])
        }
        (InitSystem::Procd, true) => ["enable", "start"]
            .map(|verb| command(&["/etc/init.d/stockade", verb]))
            .into(),
        (InitSystem::Procd, false) => ["stop", "disable"]
            .map(|verb| command(&["/etc/init.d/stockade", verb]))
            .into(),
        (InitSystem::Busybox, _) => vec![command(&["kill", "-HUP", "1"])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_lines_of_inittab_come_once_and_go_without_a_trace() {
        let before = "::sysinit:/etc/init.d/rcS\n# a comment\n";
        let with = inittab(before, true);
        assert_eq!(inittab(&with, true), with);
        assert_eq!(inittab(&with, false), before);
        assert_eq!(with.lines().count(), 5);
    }

    #[test]
    fn the_units_of_systemd_leave_little_open() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text, _) in files(InitSystem::Systemd, dir.path()) {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, text).unwrap();
            // Of 10 and less is better: what the helper may do is its work.
            let most = if path.ends_with("stockade-helper.service") {
                "80"
            } else {
                "25"
            };
            let said = Command::new("systemd-analyze")
                .args(["security", "--offline=true", "--threshold", most])
                .arg(&path)
                .output();
            let Ok(said) = said else {
                println!("skipped: systemd-analyze is not installed");
                return;
            };
            let text =
                String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
            let last = text.lines().last().unwrap_or_default();
            assert!(said.status.success(), "{}: {last}", path.display());
        }
    }
}
