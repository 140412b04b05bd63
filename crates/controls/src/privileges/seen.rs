//! What the processes of a service were seen to use: open files, sockets, rights, namespaces.

use std::collections::BTreeSet;

use crate::engine::{Host, HostPath, Process, Unseen};

/// The most processes of one service that are looked at.
const MOST_PROCESSES: usize = 64;
/// The longest table of sockets that is read.
const LONGEST_TABLE: usize = 8 << 20;
/// The devices that every service may have (`PrivateDevices=` of systemd.exec(5)), and what journald hands out.
const HARMLESS: [&str; 7] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
];
/// The tables of sockets, their families, and in which column each has the inode; what has no table is a family of its own.
const TABLES: [(&str, &str, usize); 13] = [
    ("unix", "AF_UNIX", 6),
    ("tcp", "AF_INET", 9),
    ("udp", "AF_INET", 9),
    ("udplite", "AF_INET", 9),
    ("raw", "AF_INET", 9),
    ("icmp", "AF_INET", 9),
    ("tcp6", "AF_INET6", 9),
    ("udp6", "AF_INET6", 9),
    ("udplite6", "AF_INET6", 9),
    ("raw6", "AF_INET6", 9),
    ("icmp6", "AF_INET6", 9),
    ("netlink", "AF_NETLINK", 9),
    ("packet", "AF_PACKET", 8),
];

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// Every user id.
    pub(crate) users: BTreeSet<u32>,
    /// Every effective capability.
    pub(crate) capabilities: u64,
    /// The programs that run, and the files that are open.
    pub(crate) files: BTreeSet<HostPath>,
    /// The files that are open for writing.
    pub(crate) written: BTreeSet<HostPath>,
    /// The devices that are open, harmless ones apart.
    pub(crate) devices: BTreeSet<HostPath>,
    /// The families of the sockets; none if one of them is of a family that is not known.
    pub(crate) families: Option<BTreeSet<&'static str>>,
    /// Whether the processes are in one set of namespaces, that of the first.
    pub(crate) one_world: bool,
    /// Whether one has a scheduling policy of real time (proc(5), field 41 of `stat`).
    pub(crate) real_time: bool,
}

/// Looks at the processes of a service. One that ends meanwhile is no trouble; one that may not be seen is.
pub(crate) fn look(host: &dyn Host, processes: &[&Process]) -> Result<Seen, Unseen> {
    let mut seen = Seen {
        one_world: true,
        ..Seen::default()
    };
    if processes.len() > MOST_PROCESSES {
        return Err(Unseen::TooMuch(MOST_PROCESSES));
    }
    let mut sockets = BTreeSet::new();
    let mut worlds = BTreeSet::new();
    let mut is_seen = processes.is_empty();
    for process in processes {
        seen.users.insert(process.user);
        seen.capabilities |= process.capabilities;
        seen.files.extend(process.program.clone());
        match one(host, process.pid, &mut seen, &mut sockets, &mut worlds) {
            Ok(()) => is_seen = true,
            Err(Unseen::Absent) => (),
            Err(why) => return Err(why),
        }
    }
    if !is_seen {
        return Err(Unseen::Failed("/proc does not show them".to_owned()));
    }
    seen.one_world = worlds.len() <= 1;
    seen.families = match processes.first() {
        Some(first) => families(host, first.pid, sockets)?,
        None => Some(BTreeSet::new()),
    };
    Ok(seen)
}

fn one(
    host: &dyn Host,
    pid: u32,
    seen: &mut Seen,
    sockets: &mut BTreeSet<Vec<u8>>,
    worlds: &mut BTreeSet<Vec<Vec<u8>>>,
) -> Result<(), Unseen> {
    let place = |rest: &str| {
        HostPath::from_bytes(format!("/proc/{pid}{rest}").as_bytes())
            .map_err(|why| Unseen::Damaged(why.to_string()))
    };
    let open = place("/fd")?;
    for (number, _) in host.list(&open)? {
        let link = open
            .join(&number)
            .map_err(|why| Unseen::Damaged(why.to_string()))?;
        let target = match host.link(&link) {
            Ok(target) => target,
            Err(Unseen::Absent) => continue,
            Err(why) => return Err(why),
        };
        if let Some(inode) = target.strip_prefix(b"socket:[") {
            let inode = inode.strip_suffix(b"]").unwrap_or(inode);
            sockets.insert(inode.to_vec());
            continue;
        }
        let Ok(path) = HostPath::from_bytes(&target) else {
            continue;
        };
        let shown = path.to_string();
        if shown.starts_with("/dev/") {
            let harmless = HARMLESS.contains(&shown.as_str())
                || shown.starts_with("/dev/pts/")
                || shown.starts_with("/dev/shm/");
            if !harmless {
                seen.devices.insert(path);
            }
            continue;
        }
        let number = String::from_utf8_lossy(&number).into_owned();
        if is_written(host, &place(&format!("/fdinfo/{number}"))?)? {
            seen.written.insert(path.clone());
        }
        seen.files.insert(path);
    }
    let mut world = Vec::new();
    for kind in ["mnt", "net", "pid", "user", "ipc", "uts"] {
        world.extend(host.link(&place(&format!("/ns/{kind}"))?).ok());
    }
    worlds.insert(world);
    let stat = host.read(&place("/stat")?, 1 << 16)?;
    seen.real_time |= policy(&stat).is_some_and(|policy| matches!(policy, 1 | 2 | 6));
    Ok(())
}

/// Whether an open file was opened for writing: `flags` of `/proc/<pid>/fdinfo`, in octal (proc(5)).
fn is_written(host: &dyn Host, path: &HostPath) -> Result<bool, Unseen> {
    let text = match host.read(path, 1 << 16) {
        Err(Unseen::Absent) => return Ok(false),
        text => text?,
    };
    let text = String::from_utf8_lossy(&text);
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|it| u32::from_str_radix(it.trim(), 8).ok());
    // What can not be read is taken as written.
    Ok(flags.is_none_or(|flags| flags & 0o3 != 0))
}

/// The scheduling policy of `/proc/<pid>/stat`: 1 FIFO, 2 round robin, 6 deadline.
fn policy(stat: &[u8]) -> Option<u32> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(stat.get(close.checked_add(1)?..)?).ok()?;
    rest.split_ascii_whitespace().nth(38)?.parse().ok()
}

/// The families of these sockets, by the tables of the process's network namespace; none if one is in no table.
fn families(
    host: &dyn Host,
    pid: u32,
    mut sockets: BTreeSet<Vec<u8>>,
) -> Result<Option<BTreeSet<&'static str>>, Unseen> {
    let mut families = BTreeSet::new();
    for (table, family, column) in TABLES {
        if sockets.is_empty() {
            break;
        }
        let path = HostPath::from_bytes(format!("/proc/{pid}/net/{table}").as_bytes())
            .map_err(|why| Unseen::Damaged(why.to_string()))?;
        let text = match host.read(&path, LONGEST_TABLE) {
            Err(Unseen::Absent) => continue,
            text => text?,
        };
        for line in text.split(|byte| *byte == b'\n').skip(1) {
            let mut fields = line
                .split(u8::is_ascii_whitespace)
                .filter(|it| !it.is_empty());
            if fields.nth(column).is_some_and(|it| sockets.remove(it)) {
                families.insert(family);
            }
        }
    }
    Ok(sockets.is_empty().then_some(families))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_read_whatever_the_name_is() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 2 0";
        let line = format!("7 (a) b) {fields}");
        assert_eq!(policy(line.as_bytes()), Some(2));
    }
}
