//! The process of miniupnpd: started with the one right that it needs and an alarm, ended by its user.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, alarm, setgroups, setresgid, setresuid};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde::{Deserialize, Serialize};

use super::UpnpError;
use crate::process::{Socket, owner};

/// Where it is installed.
const PLACES: [&str; 3] = [
    "/usr/sbin/miniupnpd",
    "/usr/bin/miniupnpd",
    "/sbin/miniupnpd",
];
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

/// What it is started with: all that whoever starts it has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Its configuration.
    pub configuration: String,
    /// After how many seconds the kernel ends it.
    pub seconds: u32,
    /// The user that it runs as.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// Where it is, if it is installed.
pub(super) fn program() -> Result<&'static Path, UpnpError> {
    let mut places = PLACES.iter().map(Path::new);
    places.find(|place| place.is_file()).ok_or_else(|| {
        UpnpError::NotHere("miniupnpd is not installed (Debian: miniupnpd-nftables)".to_owned())
    })
}

/// Starts it. It ends with the thread that calls this, at the latest after its seconds; the caller is to wait for it, so that
/// nothing of it stays in the list of processes.
pub fn spawn(start: &Start) -> io::Result<Child> {
    let program = program().map_err(io::Error::other)?;
    if start.user == 0 || start.group == 0 || start.seconds == 0 {
        return Err(io::Error::other("miniupnpd never runs as root or for ever"));
    }
    // In memory: it is read once, and nothing is left behind.
    let file = memfd_create("miniupnpd.conf", MemfdFlags::CLOEXEC)?;
    let mut file = fs_err::File::from_parts(file.into(), "miniupnpd.conf");
    file.write_all(start.configuration.as_bytes())?;
    let mut command = Command::new(program);
    command
        // `-d` keeps it in the foreground, so that the alarm and the end of its parent reach it.
        .args(["-d", "-f", "/proc/self/fd/0", "-P", "/dev/null"])
        .env_clear()
        .current_dir("/")
        .stdin(file.into_parts().0)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (start, parent) = (start.clone(), rustix::process::getpid());
    let calls = forbidden().map_err(io::Error::other)?;
    #[expect(
        unsafe_code,
        reason = "the child changes itself before it becomes the daemon"
    )]
    // SAFETY: `confine` makes system calls only: it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || confine(parent, &start, &calls));
    }
    command.spawn()
}

/// What it never needs: it opens no connection (events of `UPnP` would be one, CVE-2020-12695; a log another), starts nothing
/// and looks at no other process.
fn forbidden() -> Result<BpfProgram, seccompiler::Error> {
    let calls = [
        libc::SYS_connect,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_ptrace,
        libc::SYS_bpf,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
    ];
    let filter = SeccompFilter::new(
        calls.map(|call| (call, Vec::new())).into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

/// Its own user, the right to change rules and no other, little of everything, and an end.
fn confine(parent: Pid, start: &Start, calls: &BpfProgram) -> io::Result<()> {
    set_keep_capabilities(true)?;
    let (user, group) = (Uid::from_raw(start.user), Gid::from_raw(start.group));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    let one = CapabilitySet::NET_ADMIN;
    let sets = CapabilitySets {
        effective: one,
        permitted: one,
        inheritable: one,
    };
    set_capabilities(None, sets)?;
    configure_capability_in_ambient_set(one, true)?;
    set_no_new_privs(true)?;
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, 64),
        (Resource::As, 64 * 1024 * 1024),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // Kept over execve(2), and the daemon leaves SIGALRM alone, so that it ends it.
    alarm::set(start.seconds);
    apply_filter(calls).map_err(|_| io::ErrorKind::PermissionDenied.into())
}

/// Waits until it takes questions.
pub(super) fn wait(address: IpAddr, port: u16, patience: Duration) -> io::Result<()> {
    let socket = Socket {
        protocol: 6,
        address,
        port,
    };
    until(patience, || Ok(owner(&socket).is_some()))
}

/// Ends every process of its user.
pub(super) fn stop(user: u32) -> io::Result<()> {
    until(PATIENCE, || {
        let running = running(user)?;
        for pid in &running {
            // It may have ended meanwhile.
            let _ended = pidfd_open(*pid, PidfdFlags::empty())
                .and_then(|handle| pidfd_send_signal(handle, Signal::KILL));
        }
        Ok(running.is_empty())
    })
}

/// The processes of its user that have not ended.
pub(super) fn running(user: u32) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        // Processes end while they are looked at.
        let path = format!("/proc/{pid}/status");
        let about = fs_err::read_to_string(path).unwrap_or_default();
        let field = |key: &str| about.lines().find_map(|line| line.strip_prefix(key));
        let its = field("Uid:").and_then(|it| it.split_whitespace().next()?.parse().ok());
        let ended = field("State:").is_some_and(|it| it.trim_start().starts_with(['Z', 'X']));
        if its == Some(user) && !ended {
            found.extend(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

fn until(patience: Duration, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let end = Instant::now() + patience;
    while !done()? {
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let wait = rustix::event::Timespec::try_from(LOOK).ok();
        // Nothing is polled: the time is what is waited for.
        let _over = rustix::event::poll(&mut [], wait.as_ref());
    }
    Ok(())
}
