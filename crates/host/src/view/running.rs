//! The processes and sockets of the system that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use stockade_controls::engine::{HostPath, Listener, Process, Transport, Unseen};

use super::proc;
use super::root::{drain, each_name, unseen};

/// The most processes that are looked at.
const MOST_PROCESSES: usize = 32_768;
/// The most open files that are looked at, of all processes together.
const MOST_OPEN: usize = 1_000_000;
/// The longest text of `/proc` about one process.
const LONGEST: usize = 64 * 1024;
/// The longest table of sockets.
const LONGEST_TABLE: usize = 32 * 1024 * 1024;

/// A folder that looks like `/proc`.
#[derive(Debug)]
pub(super) struct Proc(OwnedFd);

impl Proc {
    pub(super) fn open(path: &Path) -> Result<Self, Unseen> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(unseen)?;
        Ok(Self(fd))
    }

    fn file(&self, path: &str) -> Result<OwnedFd, Unseen> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, path, flags, Mode::empty()).map_err(unseen)
    }

    pub(super) fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, Unseen> {
        drain(self.file(path)?.as_fd(), most)
    }

    fn link(&self, path: &str) -> Option<Vec<u8>> {
        let target = rustix::fs::readlinkat(&self.0, path, Vec::new()).ok()?;
        Some(target.into_bytes())
    }

    /// The numbers of all processes, sorted.
    fn numbers(&self) -> Result<Vec<u32>, Unseen> {
        // Reading from the start each time: the place in the open directory is shared.
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Start(0)).map_err(unseen)?;
        let mut numbers = Vec::new();
        each_name(self.0.as_fd(), &mut |name, _| {
            if let Some(number) = std::str::from_utf8(name)
                .ok()
                .and_then(|it| it.parse().ok())
            {
                if numbers.len() == MOST_PROCESSES {
                    return Err(Unseen::TooMuch(MOST_PROCESSES));
                }
                numbers.push(number);
            }
            Ok(())
        })?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// All processes, by number. One that ends while it is looked at is left out. Programs are named as in the host's root.
    pub(super) fn processes(&self, root: &Path) -> Result<Vec<Process>, Unseen> {
        let numbers = self.numbers()?;
        let read = numbers.into_iter().map(|pid| self.process(pid, root));
        read.filter_map(Result::transpose).collect()
    }

    fn process(&self, pid: u32, root: &Path) -> Result<Option<Process>, Unseen> {
        let read = |file: &str| match self.read(&format!("{pid}/{file}"), LONGEST) {
            Ok(content) => Ok(Some(content)),
            Err(why) if gone(&why) => Ok(None),
            Err(why) => Err(why),
        };
        let (Some(stat), Some(status)) = (read("stat")?, read("status")?) else {
            return Ok(None);
        };
        let damaged = || Unseen::Damaged(format!("/proc/{pid} is not as the kernel writes it"));
        let stat = proc::stat(&stat).ok_or_else(damaged)?;
        let status = proc::status(&status).ok_or_else(damaged)?;
        // The start of it: arguments may be as long as a process likes.
        let arguments = match self.head(&format!("{pid}/cmdline")) {
            Ok(content) => proc::arguments(&content),
            Err(why) if gone(&why) => return Ok(None),
            Err(_) => Vec::new(),
        };
        let program = self.link(&format!("{pid}/exe"));
        Ok(Some(Process {
            pid,
            started: stat.started,
            name: stat.name,
            program: program.and_then(|target| program_of(&target, root)),
            arguments,
            user: status.user,
            capabilities: status.capabilities,
            no_new_privileges: status.no_new_privileges,
            seccomp: status.seccomp,
            // Kernels without cgroups have no such file.
            cgroup: read("cgroup")
                .ok()
                .flatten()
                .and_then(|it| proc::cgroup(&it)),
        }))
    }

    /// The first 4 KiB of a file.
    fn head(&self, path: &str) -> Result<Vec<u8>, Unseen> {
        let file = self.file(path)?;
        let mut content = Vec::with_capacity(4096);
        rustix::io::read(&file, rustix::buffer::spare_capacity(&mut content)).map_err(unseen)?;
        Ok(content)
    }

    /// All sockets that listen in this network namespace, sorted, each with the processes that hold it.
    pub(super) fn listeners(&self) -> Result<Vec<Listener>, Unseen> {
        let mut sockets = Vec::new();
        for (file, transport) in [
            ("tcp", Transport::Tcp),
            ("tcp6", Transport::Tcp),
            ("udp", Transport::Udp),
            ("udp6", Transport::Udp),
        ] {
            let table = match self.read(&format!("thread-self/net/{file}"), LONGEST_TABLE) {
                Ok(table) => table,
                // A kernel without IPv6.
                Err(Unseen::Absent) if file.ends_with('6') => continue,
                Err(why) => return Err(why),
            };
            let (found, more) = proc::sockets(&table, transport);
            if more {
                return Err(Unseen::TooMuch(proc::MOST_LISTENERS));
            }
            sockets.extend(found.into_iter().map(|socket| (transport, socket)));
        }
        let mut holders: BTreeMap<u64, BTreeSet<u32>> = sockets
            .iter()
            .map(|(_, socket)| (socket.inode, BTreeSet::new()))
            .collect();
        if !holders.is_empty() {
            self.holders(&mut holders)?;
        }
        let listeners = sockets.into_iter().map(|(transport, socket)| Listener {
            transport,
            address: socket.address,
            user: socket.user,
            processes: holders
                .get(&socket.inode)
                .into_iter()
                .flatten()
                .copied()
                .collect(),
        });
        let mut listeners: Vec<_> = listeners.collect();
        listeners.sort_unstable();
        listeners.dedup();
        Ok(listeners)
    }

    /// Finds who holds these sockets.
    fn holders(&self, wanted: &mut BTreeMap<u64, BTreeSet<u32>>) -> Result<(), Unseen> {
        let mut looked = 0_usize;
        for pid in self.numbers()? {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let path = format!("{pid}/fd");
            // Gone, or not ours to see: the socket then has no holder that is known.
            let Ok(folder) = rustix::fs::openat(&self.0, path, flags, Mode::empty()) else {
                continue;
            };
            let seen = each_name(folder.as_fd(), &mut |name, _| {
                looked = looked.saturating_add(1);
                if looked > MOST_OPEN {
                    return Err(Unseen::TooMuch(MOST_OPEN));
                }
                let target = rustix::fs::readlinkat(&folder, name, Vec::new());
                if let Some(inode) = target.ok().and_then(|it| proc::socket_inode(it.to_bytes()))
                    && let Some(holders) = wanted.get_mut(&inode)
                {
                    holders.insert(pid);
                }
                Ok(())
            });
            // Any other failure: a process that ended meanwhile.
            if let Err(why @ Unseen::TooMuch(_)) = seen {
                return Err(why);
            }
        }
        Ok(())
    }
}

/// Whether a process ended while it was looked at (proc(5): `ENOENT` on opening, `ESRCH` on reading).
fn gone(why: &Unseen) -> bool {
    *why == Unseen::Absent || *why == unseen(Errno::SRCH)
}

/// The program, as it is named in the host's root.
fn program_of(target: &[u8], root: &Path) -> Option<HostPath> {
    use std::os::unix::ffi::OsStrExt as _;

    let target = target.strip_suffix(b" (deleted)").unwrap_or(target);
    let root = root.as_os_str().as_bytes();
    let inside = match target.strip_prefix(root) {
        Some(rest) if root != b"/" && rest.starts_with(b"/") => rest,
        _ => target,
    };
    HostPath::from_bytes(inside).ok()
}
