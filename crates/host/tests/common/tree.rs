//! A small system as files, and everything about it that can be compared.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use stockade_controls::engine::{
    Account, Action, HostPath, Plan, PlannedStep, ServiceChange, Stage, Step,
};

/// A file capability of the second version: `cap_net_raw` permitted and effective.
const NET_RAW: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Whether this can be done here; if not, it says so.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub(crate) fn root_only() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: files of other users are made only by root");
    }
    root
}

pub(crate) fn put(root: &Path, path: &str, mode: u32, owner: (u32, u32), content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(&path, content).expect("a file");
    chown(&path, Some(owner.0), Some(owner.1)).expect("an owner");
    fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

/// A system with something wrong in every way that an action mends.
pub(crate) fn system(root: &Path) {
    put(root, "sbin/init", 0o755, (0, 0), "#!/bin/sh\n");
    put(root, "lib/systemd/systemd", 0o755, (0, 0), "");
    put(
        root,
        "etc/passwd",
        0o644,
        (0, 0),
        "root:x:0:0::/root:/bin/sh\nguest:x:1000:1000::/home/guest:/bin/sh\nsvc:$1$a$b:7:7::/:/bin/sh\n",
    );
    put(
        root,
        "etc/shadow",
        0o640,
        (0, 42),
        "root:$6$a$b:19000:0:99999:7:::\nguest::19000:0:99999:7:::\n",
    );
    put(root, "etc/.pwd.lock", 0o600, (0, 0), "");
    put(root, "usr/sbin/nologin", 0o755, (0, 0), "");
    put(
        root,
        "etc/ssh/sshd_config",
        0o644,
        (0, 0),
        "Port 22\nPermitRootLogin yes\n# end",
    );
    for number in 0..8 {
        let path = format!("usr/bin/setuid{number}");
        put(root, &path, 0o4755, (0, 0), "program");
        put(root, &format!("srv/open{number}"), 0o666, (1000, 1000), "x");
    }
    put(root, "usr/bin/ping", 0o755, (0, 0), "ping");
    let ping = root.join("usr/bin/ping");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&ping, "security.capability", &NET_RAW, flags).expect("a capability");
    rustix::fs::setxattr(&ping, "user.note", b"kept", flags).expect("an attribute");
    put(root, "etc/cron.d/bad", 0o644, (0, 0), "* * * * * root x\n");
    put(
        root,
        "lib/systemd/system/telnet.service",
        0o644,
        (0, 0),
        "[Service]\nExecStart=/x\n",
    );
    put(
        root,
        "lib/systemd/system/ftp.service",
        0o644,
        (0, 0),
        "[Service]\nExecStart=/y\n",
    );
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).expect("a directory");
    for name in ["telnet.service", "ftp.service"] {
        let target = Path::new("/lib/systemd/system").join(name);
        symlink(target, wants.join(name)).expect("a link");
    }
    symlink("/etc/ssh", root.join("etc/ssh-old")).expect("a link");
    // Times that are not now, so that a change of them shows.
    for (number, path) in (0..).zip(walk(root)) {
        let time = rustix::fs::Timespec {
            tv_sec: 1_600_000_000 + number,
            tv_nsec: 123_456_789,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, flags).expect("times");
    }
}

/// Everything below a root, what is inside before what is outside.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = all.get(next).cloned() {
        next += 1;
        if path.symlink_metadata().expect("metadata").is_dir() {
            let inside = fs::read_dir(&path).expect("a directory");
            all.extend(inside.map(|it| it.expect("an entry").path()));
        }
    }
    all.sort();
    all.reverse();
    all
}

/// Everything about everything below a root; with `times` also when it was written.
pub(crate) fn digest(root: &Path, times: bool) -> String {
    let mut text = String::new();
    for path in walk(root) {
        let about = path.symlink_metadata().expect("metadata");
        let name = path.strip_prefix(root).expect("below").display();
        let (mode, user, group) = (about.mode(), about.uid(), about.gid());
        write!(text, "{name} {mode:o} {user}:{group} {}", about.nlink()).expect("text");
        if times {
            write!(text, " {}.{:09}", about.mtime(), about.mtime_nsec()).expect("text");
        }
        if about.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            write!(text, " -> {}", target.display()).expect("text");
        } else {
            for attribute in ["security.capability", "user.note"] {
                let mut value = [0; 64];
                if let Ok(length) = rustix::fs::getxattr(&path, attribute, &mut value[..]) {
                    write!(text, " {attribute}={}", value[..length].escape_ascii()).expect("text");
                }
            }
        }
        if about.is_file() {
            let content = fs::read(&path).expect("content");
            write!(text, " {:08x}", crc32fast::hash(&content)).expect("text");
            assert!(
                !path
                    .file_name()
                    .expect("a name")
                    .as_bytes()
                    .starts_with(b".stockade"),
                "{name} was left behind"
            );
        }
        text.push('\n');
    }
    text
}

pub(crate) fn path(text: &str) -> HostPath {
    text.parse().expect("a path")
}

pub(crate) fn plan(actions: Vec<Action>) -> Plan {
    let planned = |action: Action| PlannedStep {
        step: Step::safe(Stage::Change, action, "Do it"),
        mends: Vec::new(),
    };
    Plan {
        steps: actions.into_iter().map(planned).collect(),
    }
}

/// Thirty steps over all kinds of changes to files.
pub(crate) fn thirty() -> Plan {
    let mut actions = vec![
        Action::Service {
            name: "telnet".parse().expect("a name"),
            change: ServiceChange::Mask,
        },
        Action::Service {
            name: "ftp".parse().expect("a name"),
            change: ServiceChange::Disable,
        },
        Action::Put {
            path: path("/etc/new/deep/file"),
            content: "new\n".to_owned(),
            mode: 0o640,
            owner: (0, 7),
        },
        Action::Put {
            path: path("/usr/sbin/nologin"),
            content: "other\n".to_owned(),
            mode: 0o700,
            owner: (3, 4),
        },
        Action::NoCapability {
            path: path("/usr/bin/ping"),
        },
        Action::Mode {
            path: path("/usr/bin/ping"),
            mode: 0o700,
            owner: (5, 5),
        },
        Action::Remove {
            path: path("/etc/cron.d/bad"),
        },
        Action::Mode {
            path: path("/etc/cron.d"),
            mode: 0o700,
            owner: (0, 0),
        },
        Action::Edit {
            path: path("/etc/ssh-old/sshd_config"),
            replace: vec![(
                "PermitRootLogin yes".to_owned(),
                vec!["PermitRootLogin no".to_owned()],
            )],
            append: vec!["PasswordAuthentication no".to_owned()],
        },
        Action::Edit {
            path: path("/etc/ssh/sshd_config"),
            replace: vec![("Port 22".to_owned(), Vec::new())],
            append: Vec::new(),
        },
        Action::Account {
            name: "guest".parse().expect("a name"),
            change: Account::LockPassword,
        },
        Action::Account {
            name: "svc".parse().expect("a name"),
            change: Account::Disable,
        },
        Action::Link {
            path: path("/etc/localtime"),
            target: "../usr/share/zoneinfo/UTC".to_owned(),
        },
        Action::Link {
            path: path("/sbin/init"),
            target: "/bin/true".to_owned(),
        },
    ];
    for number in 0..8 {
        actions.push(Action::Mode {
            path: path(&format!("/usr/bin/setuid{number}")),
            mode: 0o755,
            owner: (0, 0),
        });
        actions.push(Action::Mode {
            path: path(&format!("/srv/open{number}")),
            mode: 0o640,
            owner: (1000, 1000),
        });
    }
    plan(actions)
}

/// Runs one of this program's own tests in a child, told where by variables; it fails if the child does.
pub(crate) fn child(name: &str, variables: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", name, "--nocapture", "--include-ignored"]);
    command.envs(variables.iter().copied());
    command
}
