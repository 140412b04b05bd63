//! The places by which whoever may write there becomes root.

use super::guard::Guard;
use super::rules;
use crate::engine::{Action, Finding, HostPath, Kind, Severity, Stage, Step};
use crate::services::Service;
use crate::services::unit::DIRECTORIES;

/// Where root's shell looks for programs when nothing else is said.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
/// The files that set it.
const SET_PATH: [&str; 7] = [
    "/etc/environment",
    "/etc/profile",
    "/etc/login.defs",
    "/etc/crontab",
    "/root/.profile",
    "/root/.bashrc",
    "/root/.bash_profile",
];
/// What shells of root's and all programs read.
const LOGIN: [&str; 17] = [
    "/etc/profile",
    "/etc/bash.bashrc",
    "/etc/bashrc",
    "/etc/environment",
    "/etc/ld.so.conf",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/login.defs",
    "/etc/shells",
    "/etc/passwd",
    "/etc/group",
    "/root/.profile",
    "/root/.bashrc",
    "/root/.bash_profile",
    "/root/.bash_login",
    "/root/.shrc",
    "/root/.ssh/authorized_keys",
];
const LOGIN_FOLDERS: [&str; 4] = [
    "/etc/profile.d",
    "/etc/ld.so.conf.d",
    "/etc/pam.d",
    "/lib/security",
];
/// What init reads.
const START: [&str; 5] = [
    "/etc/inittab",
    "/etc/rc.local",
    "/etc/rc.conf",
    "/etc/rc.common",
    "/sbin/init",
];
const START_FOLDERS: [&str; 6] = [
    "/etc/init.d",
    "/etc/local.d",
    "/etc/conf.d",
    "/etc/hotplug.d",
    "/etc/udev/rules.d",
    "/lib/udev/rules.d",
];
/// Root's tables of cron, and the folders whose programs it runs.
const TABLES: [&str; 5] = [
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/crontabs/root",
    "/var/spool/cron/crontabs/root",
    "/var/spool/cron/root",
];
const RUN_PARTS: [&str; 9] = [
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
    "/etc/periodic/15min",
    "/etc/periodic/hourly",
    "/etc/periodic/daily",
    "/etc/periodic/weekly",
    "/etc/periodic/monthly",
];

/// The programs that root starts by name.
pub(super) fn root_path(guard: &mut Guard<'_>) {
    let rule = &rules::ROOT_PATH;
    let mut directories: Vec<String> = PATH.map(str::to_owned).to_vec();
    for place in SET_PATH.map(HostPath::of) {
        let Some(text) = guard.text(&place) else {
            continue;
        };
        for (line, value) in (1_usize..).zip(text.lines()).filter_map(path_of) {
            let (whole, odd): (Vec<&str>, _) = value.split(':').partition(|it| it.starts_with('/'));
            directories.extend(whole.into_iter().map(str::to_owned));
            // An empty name is where the shell happens to be (environ(7)).
            if odd.iter().any(|it| !it.starts_with(['$', '~'])) {
                let finding = Finding::of(
                    rule,
                    format!("{place} PATH"),
                    format!(
                        "Root's PATH in `{place}` has a directory that is not absolute: what it means depends on where root is"
                    ),
                );
                guard.found(finding.seen(format!("{place}:{line}"), value.to_owned()));
            }
        }
    }
    let mut seen = Vec::new();
    for directory in directories {
        let Ok(path) = HostPath::from_bytes(directory.trim_end_matches('/').as_bytes()) else {
            continue;
        };
        let path = guard.real(&path);
        if seen.contains(&path) {
            continue;
        }
        guard.only_roots(rule, &path, "directory of root's PATH");
        for (file, entry) in guard.list(&path) {
            if entry.kind == Kind::File {
                let what = format!("The program `{file}`");
                guard.only_roots_entry(rule, &file, &entry, &what);
            }
        }
        seen.push(path);
    }
}

/// The value of `PATH` on a line of a shell's script, of login.defs, or of a crontab, where it is root's.
fn path_of((number, line): (usize, &str)) -> Option<(usize, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let line = line.strip_prefix("ENV_SUPATH").map_or(line, str::trim);
    let value = line.strip_prefix("PATH=")?;
    let value = match value.strip_prefix(['"', '\'']) {
        Some(quoted) => quoted.split(['"', '\'']).next()?,
        None => value.split([' ', '\t', ';']).next()?,
    };
    Some((number, value))
}

/// How services start, and the programs that do so as root.
pub(super) fn start(guard: &mut Guard<'_>, services: &[Service]) {
    let rule = &rules::UNIT;
    for file in START {
        guard.only_roots(rule, &HostPath::of(file), "start script");
    }
    for folder in START_FOLDERS {
        folder_of(guard, rule, folder, "start script");
    }
    for folder in DIRECTORIES {
        folder_of(guard, rule, folder, "unit");
        for (path, entry) in guard.list(&HostPath::of(folder)) {
            if entry.kind == Kind::Directory && path.name().ends_with(b".d") {
                for (dropped, entry) in guard.list(&path) {
                    let what = format!("The drop-in `{dropped}`");
                    guard.only_roots_entry(rule, &dropped, &entry, &what);
                }
            }
        }
    }
    for service in services {
        if let Some(program) = service.program.as_ref()
            && matches!(service.user.as_deref(), None | Some("root" | "0"))
        {
            let what = format!("program of the service {}", service.name);
            guard.only_roots(rule, program, &what);
        }
    }
}

/// What is in a folder, and the folder.
fn folder_of(
    guard: &mut Guard<'_>,
    rule: &'static crate::engine::Rule,
    folder: &'static str,
    what: &str,
) {
    let folder = guard.real(&HostPath::of(folder));
    guard.only_roots(rule, &folder, &format!("folder of a {what}"));
    for (path, entry) in guard.list(&folder) {
        match entry.kind {
            Kind::File | Kind::Directory => {
                guard.only_roots_entry(rule, &path, &entry, &format!("The {what} `{path}`"));
            }
            // A service that is on is a link, to where the rule looks anyhow; a link elsewhere is followed.
            Kind::Link => guard.only_roots(rule, &path, what),
            Kind::Device | Kind::Other => (),
        }
    }
}

/// What cron runs as root.
pub(super) fn cron(guard: &mut Guard<'_>) {
    let rule = &rules::CRON;
    for folder in RUN_PARTS {
        folder_of(guard, rule, folder, "job");
    }
    folder_of(guard, rule, "/etc/cron.d", "table of jobs");
    let mut tables: Vec<(HostPath, bool)> = TABLES
        .into_iter()
        .map(|it| (HostPath::of(it), it == "/etc/crontab"))
        .collect();
    let more = guard.list(&HostPath::of("/etc/cron.d"));
    tables.extend(more.into_iter().map(|(path, _)| (path, true)));
    for (table, with_user) in tables {
        guard.only_roots(rule, &table, "table of jobs");
        let Some(text) = guard.text(&table) else {
            continue;
        };
        for program in text.lines().flat_map(|line| jobs(line, with_user)) {
            let executable = guard
                .host
                .entry(&guard.real(&program))
                .is_ok_and(|it| it.kind == Kind::File && it.mode & 0o111 != 0);
            let script = [&b".sh"[..], b".py", b".pl"]
                .iter()
                .any(|end| program.name().ends_with(end));
            if executable || script {
                guard.only_roots(rule, &program, "program that cron runs as root");
            }
        }
    }
}

/// The absolute paths in the command of a line of a crontab (crontab(5)), if it runs as root.
pub(crate) fn jobs(line: &str, with_user: bool) -> Vec<HostPath> {
    let line = line.trim();
    if line.starts_with('#') {
        return Vec::new();
    }
    // `@daily` stands for five fields.
    let times = if line.starts_with('@') { 1 } else { 5 };
    let mut words = line.split_ascii_whitespace().skip(times);
    if with_user && words.next() != Some("root") {
        return Vec::new();
    }
    let split = |c: char| c.is_ascii_whitespace() || ";|&<>()`\"'=".contains(c);
    words
        .flat_map(|word| word.split(split))
        .filter_map(|word| HostPath::from_bytes(word.as_bytes()).ok())
        .filter(|path| *path != HostPath::root())
        .collect()
}

/// What root's shell runs, and what every program loads.
pub(super) fn login(guard: &mut Guard<'_>) {
    let rule = &rules::LOGIN_SCRIPT;
    for file in LOGIN {
        guard.only_roots(rule, &HostPath::of(file), "file");
    }
    for folder in LOGIN_FOLDERS {
        folder_of(guard, rule, folder, "file");
    }
}

/// What is put into every program (ld.so(8)).
pub(super) fn preload(guard: &mut Guard<'_>) {
    let rule = &rules::PRELOAD;
    let file = HostPath::of("/etc/ld.so.preload");
    guard.only_roots(rule, &file, "list of libraries");
    let text = guard.text(&file).unwrap_or_default();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let code = line.split('#').next().unwrap_or_default();
        for library in code.split([' ', '\t', ':']).filter(|it| !it.is_empty()) {
            // A system's own: Raspberry Pi OS does so, with `${PLATFORM}` in the name.
            let own = ["/lib/", "/usr/lib/", "/lib64/", "/usr/lib64/"]
                .iter()
                .any(|it| library.starts_with(it));
            if let Ok(path) = HostPath::from_bytes(library.as_bytes()) {
                guard.only_roots(rule, &path, "library that is put into every program");
            }
            if own {
                continue;
            }
            let finding = Finding::of(
                rule,
                format!("library {library}"),
                format!("`{library}` is put into every program, and it is not where libraries are"),
            );
            let finding = finding.seen(format!("{file}:{number}"), line.to_owned());
            let step = Step::risky(
                Stage::Change,
                Action::Edit {
                    path: file.clone(),
                    replace: vec![(line.to_owned(), Vec::new())],
                    append: Vec::new(),
                },
                format!("Remove `{library}` from what is put into every program"),
                "A program that relies on the library fails when it starts anew.",
            );
            guard.found(
                Finding {
                    severity: Severity::Critical,
                    ..finding
                }
                .mended_by(vec![step]),
            );
        }
    }
}
