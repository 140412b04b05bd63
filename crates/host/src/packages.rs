//! Removing packages through whoever manages them, and what has to be kept so that they can come back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stockade_controls::engine::{Host, HostPath, Kind, PackageManager, Unseen};
use stockade_profile::PackageName;

use crate::program::{ProgramError, ask, find, succeed};

/// Scripts of packages may take their time on a slow device.
const PATIENCE: Duration = Duration::from_mins(10);
/// The most files that are kept of a package and its surroundings.
const MOST: usize = 200_000;

/// Why a package can not be removed.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Its manager said no, or is not there.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Others need it.
    #[error("with `{name}` would go: {others}")]
    Others {
        /// The package.
        name: PackageName,
        /// The others.
        others: String,
    },
    /// What it has can not be seen, so that it could not come back.
    #[error("{path}: {why}")]
    Unseen {
        /// Where.
        path: HostPath,
        /// Why.
        why: Unseen,
    },
}

/// The manager's program. It is this machine's own, also for another root.
pub fn program(manager: PackageManager) -> Result<PathBuf, ProgramError> {
    find(match manager {
        PackageManager::Dpkg => "dpkg",
        PackageManager::Rpm => "rpm",
        PackageManager::Opkg => "opkg",
        PackageManager::Apk => "apk",
    })
}

/// The manager at work on a root.
fn at(root: &Path, manager: PackageManager) -> Result<Command, ProgramError> {
    let mut command = Command::new(program(manager)?);
    command.arg(match manager {
        PackageManager::Dpkg | PackageManager::Rpm | PackageManager::Apk => "--root",
        PackageManager::Opkg => "--offline-root",
    });
    command.arg(root);
    Ok(command)
}

/// Whether a package is installed.
pub fn installed(
    root: &Path,
    manager: PackageManager,
    name: &PackageName,
) -> Result<bool, PackageError> {
    let name = name.as_str();
    let mut command = at(root, manager)?;
    match manager {
        PackageManager::Dpkg => {
            command = Command::new(find("dpkg-query")?);
            command.arg("--admindir").arg(root.join("var/lib/dpkg"));
            command.args(["--show", "--showformat", "${db:Status-Status}\\n", name]);
        }
        PackageManager::Rpm => _ = command.args(["--query", name]),
        PackageManager::Opkg => _ = command.args(["status", name]),
        PackageManager::Apk => _ = command.args(["info", "--installed", name]),
    }
    let answer = ask(command, PATIENCE)?;
    let said = String::from_utf8_lossy(&answer.stdout);
    Ok(match manager {
        // What was removed but left configuration is told too.
        PackageManager::Dpkg => said.lines().any(|line| line == "installed"),
        PackageManager::Opkg => said.contains("ok installed"),
        PackageManager::Rpm | PackageManager::Apk => answer.status.success(),
    })
}

/// Everything that removing a package changes, or may change: its files, the manager's records, and what scripts of packages
/// usually touch. Refuses if others would go along.
pub fn touched(
    root: &Path,
    host: &dyn Host,
    manager: PackageManager,
    name: &PackageName,
) -> Result<BTreeSet<HostPath>, PackageError> {
    rehearse(root, manager, name)?;
    let mut all = around(host, manager)?;
    let mut command = at(root, manager)?;
    match manager {
        PackageManager::Dpkg => {
            command = Command::new(find("dpkg-query")?);
            command.arg("--admindir").arg(root.join("var/lib/dpkg"));
            command.args(["--listfiles", name.as_str()]);
        }
        PackageManager::Rpm => _ = command.args(["--query", "--list", name.as_str()]),
        PackageManager::Opkg => _ = command.args(["files", name.as_str()]),
        PackageManager::Apk => _ = command.args(["info", "--contents", name.as_str()]),
    }
    let files = succeed(command, PATIENCE)?;
    for line in files.split(|byte| *byte == b'\n') {
        let path = match manager {
            // apk writes them without the first slash.
            PackageManager::Apk => HostPath::root().join(line),
            _ => HostPath::from_bytes(line),
        };
        let Ok(mut path) = path else { continue };
        // Directories that get empty go too, and the times of the others change.
        while path != HostPath::root() && all.insert(path.clone()) {
            path = path.parent();
        }
    }
    Ok(all)
}

/// What the manager keeps its records in, and what scripts of packages touch.
pub fn around(
    host: &dyn Host,
    manager: PackageManager,
) -> Result<BTreeSet<HostPath>, PackageError> {
    let own: &[&'static str] = match manager {
        PackageManager::Dpkg => &["/var/lib/dpkg"],
        // Debian's rpm has its own place for it.
        PackageManager::Rpm => &["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/root/.rpmdb"],
        PackageManager::Opkg => &["/usr/lib/opkg", "/var/lib/opkg", "/var/opkg-lists"],
        PackageManager::Apk => &[
            "/lib/apk/db",
            "/usr/lib/apk/db",
            "/var/lib/apk",
            "/var/cache/apk",
        ],
    };
    let others = [
        "/etc",
        "/var/lib/systemd",
        "/var/cache/ldconfig",
        "/var/cache/debconf",
        "/var/cache/man",
        "/var/log/dpkg.log",
        "/var/log/alternatives.log",
    ];
    let mut all = BTreeSet::from([HostPath::root()]);
    for top in own.iter().copied().chain(others) {
        let path = HostPath::of(top);
        let mut parent = path.parent();
        while parent != HostPath::root() {
            all.insert(parent.clone());
            parent = parent.parent();
        }
        walk(host, path, &mut all)?;
    }
    Ok(all)
}

fn walk(host: &dyn Host, path: HostPath, all: &mut BTreeSet<HostPath>) -> Result<(), PackageError> {
    let mut todo = vec![path];
    while let Some(path) = todo.pop() {
        let unseen = |why| PackageError::Unseen {
            path: path.clone(),
            why,
        };
        let kind = match host.entry(&path) {
            Ok(entry) => Some(entry.kind),
            // What comes into being there goes again.
            Err(Unseen::Absent) => None,
            Err(why) => return Err(unseen(why)),
        };
        if kind == Some(Kind::Directory) {
            for (name, _) in host.list(&path).map_err(unseen)? {
                let inside = path.join(&name);
                todo.push(inside.map_err(|why| unseen(Unseen::Damaged(why.to_string())))?);
            }
        }
        if matches!(kind, None | Some(Kind::Directory | Kind::File | Kind::Link)) {
            all.insert(path.clone());
        }
        if all.len() > MOST {
            return Err(unseen(Unseen::TooMuch(MOST)));
        }
    }
    Ok(())
}

/// Lets the manager say what would happen.
fn rehearse(root: &Path, manager: PackageManager, name: &PackageName) -> Result<(), PackageError> {
    let mut command = at(root, manager)?;
    match manager {
        PackageManager::Dpkg => _ = command.args(["--no-act", "--remove", name.as_str()]),
        PackageManager::Rpm => _ = command.args(["--erase", "--test", name.as_str()]),
        PackageManager::Opkg => _ = command.args(["--noaction", "remove", name.as_str()]),
        PackageManager::Apk => _ = command.args(["del", "--simulate", name.as_str()]),
    }
    let said = succeed(command, PATIENCE)?;
    let said = String::from_utf8_lossy(&said);
    // dpkg and rpm refuse by themselves; these take others along that nobody else needs.
    let goes = |line: &str| -> Option<String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let gone = match manager {
            PackageManager::Apk => words.iter().position(|it| *it == "Purging")?,
            PackageManager::Opkg => words.iter().position(|it| *it == "Removing")?,
            PackageManager::Dpkg | PackageManager::Rpm => return None,
        };
        let word = words.iter().skip(gone + 1).find(|it| **it != "package")?;
        (*word != name.as_str()).then(|| (*word).to_owned())
    };
    let others: Vec<String> = said.lines().filter_map(goes).collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(PackageError::Others {
        name: name.clone(),
        others: others.join(", "),
    })
}

/// Removes a package, and nothing else; its configuration stays where the manager leaves it.
pub fn remove(
    root: &Path,
    manager: PackageManager,
    name: &PackageName,
) -> Result<(), PackageError> {
    let mut command = at(root, manager)?;
    command.arg(match manager {
        PackageManager::Dpkg => "--remove",
        PackageManager::Rpm => "--erase",
        PackageManager::Opkg => "remove",
        PackageManager::Apk => "del",
    });
    command.arg(name.as_str());
    succeed(command, PATIENCE)?;
    if installed(root, manager, name)? {
        let command = format!("{manager:?}").to_lowercase();
        let said = format!("`{name}` is still installed");
        return Err(ProgramError::Failed { command, said }.into());
    }
    Ok(())
}
