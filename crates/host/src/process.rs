//! Which program of this machine has a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The longest file of `/proc` that is read.
const MOST: u64 = 16 * 1024 * 1024;

/// How far up a session is looked for.
const MOST_ANCESTORS: usize = 64;
/// How long a process has to end, for each signal.
const END: Duration = Duration::from_secs(5);

/// A program of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// Its name, as the kernel has it: text of the program's own choice.
    pub name: String,
    /// Its cgroup below the root, without the first slash; empty at the root.
    pub cgroup: String,
}

/// A socket, as it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// The IP protocol: 6 or 17.
    pub protocol: u8,
    /// This machine's address.
    pub address: IpAddr,
    /// This machine's port.
    pub port: u16,
}

/// Who has a socket, if that can be known: sockets come and go, and kernels may hide them.
pub fn owner(socket: &Socket) -> Option<Owner> {
    owner_in(Path::new("/proc"), socket)
}

/// The remote session (`SSH_CONNECTION` of sshd) that this process, or the one that started it and so on, belongs to.
/// `sudo` hides it from the process itself, not from its ancestors.
pub fn remote_session() -> Option<String> {
    session_of(Path::new("/proc"), std::process::id())
}

fn session_of(proc: &Path, mut pid: u32) -> Option<String> {
    for _ in 0..MOST_ANCESTORS {
        let folder = proc.join(pid.to_string());
        let environment = read(&folder.join("environ")).unwrap_or_default();
        let mut variables = environment.split('\0');
        if let Some(session) = variables.find_map(|it| it.strip_prefix("SSH_CONNECTION=")) {
            return Some(session.to_owned());
        }
        // The name may hold anything; after its last bracket come the state and the parent (proc(5)).
        let about = read(&folder.join("stat"))?;
        let (_, rest) = about.rsplit_once(')')?;
        pid = rest.split_whitespace().nth(1)?.parse().ok()?;
        if pid <= 1 {
            return None;
        }
    }
    None
}

fn owner_in(proc: &Path, socket: &Socket) -> Option<Owner> {
    let files: &[&str] = match (socket.protocol, socket.address) {
        // A socket of IPv6 may also speak IPv4.
        (6, IpAddr::V4(_)) => &["tcp", "tcp6"],
        (6, IpAddr::V6(_)) => &["tcp6"],
        (17, IpAddr::V4(_)) => &["udp", "udp6"],
        (17, IpAddr::V6(_)) => &["udp6"],
        _ => return None,
    };
    let inode = files.iter().find_map(|file| {
        let text = read(&proc.join("thread-self/net").join(file))?;
        text.lines().skip(1).find_map(|line| inode_of(line, socket))
    })?;
    holder(proc, inode)
}

/// The inode on a line of `/proc/net/tcp` or `udp`, if the line is about this socket (proc(5)).
fn inode_of(line: &str, socket: &Socket) -> Option<u64> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let (address, port) = local.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != socket.port {
        return None;
    }
    let address = address_of(address)?;
    if address != socket.address && !address.is_unspecified() {
        return None;
    }
    let inode = fields.nth(7)?.parse().ok()?;
    // A connection that only waits to be forgotten belongs to nobody.
    (inode != 0).then_some(inode)
}

/// An address as the kernel prints it: words of four bytes, each in the machine's order.
pub(crate) fn address_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = text.get(at..at.checked_add(8)?)?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut octets = [0; 16];
            for (place, byte) in octets.iter_mut().zip(words.as_flattened()) {
                *place = *byte;
            }
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

/// The process that has the socket open.
fn holder(proc: &Path, inode: u64) -> Option<Owner> {
    let wanted = format!("socket:[{inode}]");
    for entry in fs::read_dir(proc).ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Processes end while they are looked at.
        let Ok(open) = fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let has = open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| target.as_os_str() == wanted.as_str());
        if has {
            return Some(describe(proc, pid));
        }
    }
    None
}

fn describe(proc: &Path, pid: u32) -> Owner {
    let folder = proc.join(pid.to_string());
    let name = read(&folder.join("comm")).unwrap_or_default();
    let groups = read(&folder.join("cgroup")).unwrap_or_default();
    // The unified hierarchy has number 0 (cgroups(7)).
    let cgroup = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    Owner {
        pid,
        name: name.trim_end().to_owned(),
        cgroup: cgroup.unwrap_or_default().to_owned(),
    }
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a process is there: the one of this number that started then, in clock ticks since boot.
pub fn is(pid: u32, started: u64) -> bool {
    // After the bracket come the state, and as the 20th from there the start (proc(5)).
    let stat = read(&Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.as_deref()
        .and_then(|text| text.rsplit_once(')'))
        .map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>())
        .is_some_and(|fields| {
            let start = fields.get(19).and_then(|it| it.parse().ok());
            start == Some(started) && !matches!(fields.first(), Some(&"Z" | &"X"))
        })
}

/// Ends a process, with TERM and then KILL; whether it is gone. Another process of the same number is left alone.
pub fn end(pid: u32, started: u64) -> std::io::Result<bool> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(number) = number else {
        return Ok(true);
    };
    let held = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(held) => held,
        Err(Errno::SRCH) => return Ok(true),
        Err(errno) => return Err(errno.into()),
    };
    // What is held stays the same process from here on.
    if !is(pid, started) {
        return Ok(true);
    }
    for signal in [Signal::TERM, Signal::KILL] {
        match pidfd_send_signal(&held, signal) {
            Ok(()) | Err(Errno::SRCH) => (),
            Err(errno) => return Err(errno.into()),
        }
        let wait = Timespec::try_from(END).ok();
        poll(&mut [PollFd::new(&held, PollFlags::IN)], wait.as_ref())?;
        if !is(pid, started) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits.
pub(crate) fn pause(time: Duration) {
    let wait = Timespec::try_from(time).ok();
    // Nothing is polled: the time is what is waited for.
    let _over = poll(&mut [], wait.as_ref());
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_socket_of_this_program_is_found_to_be_its_own() {
        let name = fs::read_to_string("/proc/self/comm").expect("a name");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let udp = UdpSocket::bind("[::]:0").expect("a socket");
        for (protocol, port, address) in [
            (6, tcp.local_addr().expect("an address").port(), "127.0.0.1"),
            (
                17,
                udp.local_addr().expect("an address").port(),
                "127.0.0.1",
            ),
            (17, udp.local_addr().expect("an address").port(), "::1"),
        ] {
            let socket = Socket {
                protocol,
                address: address.parse().expect("an address"),
                port,
            };
            let owner = owner(&socket).expect("an owner");
            assert_eq!(owner.pid, std::process::id());
            assert_eq!(owner.name, name.trim_end());
        }
    }

    #[test]
    fn a_remote_session_is_found_in_an_ancestor() {
        let folder = tempfile::tempdir().expect("a folder");
        for (pid, parent, environment) in [
            (90, 80, "PATH=/bin"),
            (80, 70, ""),
            (70, 1, "A=b\0SSH_CONNECTION=192.0.2.9 5022 192.0.2.2 22\0"),
            (60, 1, "A=b"),
        ] {
            let process = folder.path().join(pid.to_string());
            fs::create_dir(&process).expect("a folder");
            let about = format!("{pid} (a (b) c) S {parent} 1 1");
            fs::write(process.join("stat"), about).expect("written");
            fs::write(process.join("environ"), environment).expect("written");
        }
        let session = session_of(folder.path(), 90);
        assert_eq!(session.as_deref(), Some("192.0.2.9 5022 192.0.2.2 22"));
        assert_eq!(session_of(folder.path(), 60), None);
        assert_eq!(session_of(folder.path(), 50), None);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_prints_them() {
        assert_eq!(
            address_of("0100007F"),
            Some("127.0.0.1".parse().expect("an address"))
        );
        assert_eq!(
            address_of("00000000000000000000000001000000"),
            Some("::1".parse().expect("an address"))
        );
        assert_eq!(
            address_of("0000000000000000FFFF00000100007F"),
            Some("127.0.0.1".parse().expect("an address"))
        );
        for wrong in ["", "01", "0100007G", "0100007F00"] {
            assert_eq!(address_of(wrong), None);
        }
    }
}
