//! The texts of `/proc` (proc(5)), read without trust: a process chooses its own name and arguments.

use std::net::SocketAddr;

use stockade_controls::engine::Transport;

use crate::process::address_of;

/// The most arguments of a process that are kept, and how much of each.
const MOST_ARGUMENTS: usize = 32;
const LONGEST_ARGUMENT: usize = 200;
/// The most listeners of one table that are kept.
pub(crate) const MOST_LISTENERS: usize = 16_384;

/// What `/proc/<pid>/stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The short name, made printable.
    pub(crate) name: String,
    /// When it started, in clock ticks since boot.
    pub(crate) started: u64,
    /// The number of its controlling terminal; 0 for none.
    pub(crate) terminal: u32,
}

/// What `/proc/<pid>/status` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// The effective user id.
    pub(crate) user: u32,
    /// `CapEff`.
    pub(crate) capabilities: u64,
    /// `NoNewPrivs`.
    pub(crate) no_new_privileges: bool,
    /// `Seccomp`; 0 where the kernel has none.
    pub(crate) seccomp: u8,
}

/// A line of `/proc/net/tcp` and its like, of a socket that takes what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whose it is.
    pub(crate) user: u32,
    /// Its inode.
    pub(crate) inode: u64,
}

/// Text that may be shown: no control characters, no more than so many characters.
fn printable(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    shown.take(most).collect()
}

/// Reads `/proc/<pid>/stat`. The name stands in brackets and may hold brackets, so that its end is the last one.
pub(crate) fn stat(content: &[u8]) -> Option<Stat> {
    let open = content.iter().position(|byte| *byte == b'(')?;
    let close = content.iter().rposition(|byte| *byte == b')')?;
    let name = content.get(open.checked_add(1)?..close)?;
    let rest = std::str::from_utf8(content.get(close.checked_add(1)?..)?).ok()?;
    // Fields 7 and 22; the state, field 3, is the first after the name.
    let mut fields = rest.split_ascii_whitespace().skip(4);
    let terminal: i32 = fields.next()?.parse().ok()?;
    let started = fields.nth(14)?.parse().ok()?;
    Some(Stat {
        name: printable(name, LONGEST_ARGUMENT),
        started,
        terminal: terminal.cast_unsigned(),
    })
}

/// Reads `/proc/<pid>/status`. The kernel escapes the name in it, so that every line is the kernel's own.
pub(crate) fn status(content: &[u8]) -> Option<Status> {
    let text = String::from_utf8_lossy(content);
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    Some(Status {
        // Real, effective, saved, file system.
        user: field("Uid")?.split_whitespace().nth(1)?.parse().ok()?,
        capabilities: u64::from_str_radix(field("CapEff")?, 16).ok()?,
        no_new_privileges: field("NoNewPrivs") == Some("1"),
        seccomp: field("Seccomp").and_then(|it| it.parse().ok()).unwrap_or(0),
    })
}

/// Reads `/proc/<pid>/cmdline`, as much of it as was read.
pub(crate) fn arguments(content: &[u8]) -> Vec<String> {
    let content = content.strip_suffix(&[0]).unwrap_or(content);
    if content.is_empty() {
        return Vec::new();
    }
    content
        .split(|byte| *byte == 0)
        .take(MOST_ARGUMENTS)
        .map(|argument| printable(argument, LONGEST_ARGUMENT))
        .collect()
}

/// Reads `/proc/<pid>/cgroup`: the unified hierarchy, or systemd's own where the other is not used (cgroups(7)).
pub(crate) fn cgroup(content: &[u8]) -> Option<String> {
    let mut best = None;
    for line in content.split(|byte| *byte == b'\n') {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (number, name, path) = (fields.next(), fields.next(), fields.next());
        let Some(path) = path else { continue };
        let sure = match (number, name) {
            (Some(b"0"), Some(b"")) => path != b"/",
            (_, Some(b"name=systemd")) => true,
            _ => continue,
        };
        if sure || best.is_none() {
            best = Some(path);
        }
    }
    best.map(|path| printable(path, 4096))
}

/// Reads `/proc/net/tcp`, `tcp6`, `udp` or `udp6`; whether there were more listeners than are kept comes with them.
pub(crate) fn sockets(content: &[u8], transport: Transport) -> (Vec<Socket>, bool) {
    let mut found = Vec::new();
    for line in content.split(|byte| *byte == b'\n').skip(1) {
        let Some(socket) = std::str::from_utf8(line)
            .ok()
            .and_then(|line| socket(line, transport))
        else {
            continue;
        };
        if found.len() == MOST_LISTENERS {
            return (found, true);
        }
        found.push(socket);
    }
    (found, false)
}

fn socket(line: &str, transport: Transport) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    // TCP_LISTEN; a datagram socket that is bound is in TCP_CLOSE, connected ones in TCP_ESTABLISHED.
    let wanted = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    if fields.next()? != wanted || remote.port() != 0 {
        return None;
    }
    // Queues, timer, retransmits.
    let user = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Socket {
        address: local,
        user,
        inode,
    })
}

fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(address_of(address)?, port))
}

/// The inode in the target of a link in `/proc/<pid>/fd`, if it is a socket.
pub(crate) fn socket_inode(target: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_not_forge_its_own_facts() {
        let tail = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        for (name, shown) in [
            ("sh", "sh"),
            ("a) S 1 (b", "a) S 1 (b"),
            ("a\n(x", "a\u{fffd}(x"),
        ] {
            let read = stat(format!("12 ({name}) {tail}").as_bytes()).expect("a process");
            assert_eq!((read.name.as_str(), read.started), (shown, 777));
        }
        assert_eq!(stat(b"12 (sh S 1"), None);
        assert_eq!(stat(b")("), None);
    }

    #[test]
    fn the_effective_user_and_rights_are_read() {
        let text = b"Name:\tx\\nUid:\t0\nUid:\t1000\t7\t7\t7\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let read = status(text).expect("a process");
        assert_eq!(read.user, 7);
        assert_eq!(read.capabilities, 0xa804_25fb);
        assert!(read.no_new_privileges);
        assert_eq!(read.seccomp, 2);
        assert_eq!(status(b"Name:\tx\n"), None);
    }

    #[test]
    fn arguments_are_shortened() {
        assert_eq!(arguments(b"a\0b c\0\0"), ["a", "b c", ""]);
        assert_eq!(arguments(b""), [""; 0]);
        let long = [b'x'; 5000];
        assert_eq!(arguments(&long).concat().len(), LONGEST_ARGUMENT);
        assert_eq!(arguments(&[0; 5000]).len(), MOST_ARGUMENTS);
    }

    #[test]
    fn the_cgroup_is_the_one_that_services_have() {
        let read = |text: &str| cgroup(text.as_bytes());
        let camera = Some("/system.slice/camera.service".to_owned());
        assert_eq!(read("0::/system.slice/camera.service\n"), camera);
        assert_eq!(
            read("4:memory:/x\n1:name=systemd:/system.slice/camera.service\n0::/\n"),
            camera
        );
        assert_eq!(read("0::/\n"), Some("/".to_owned()));
        assert_eq!(read(""), None);
    }

    #[test]
    fn only_sockets_that_take_what_comes_are_listeners() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let tail = "00000000:00000000 00:00000000 00000000  1000        0 4242 1";
        let listen = format!("{head}   0: 0100007F:0016 00000000:0000 0A {tail}\n");
        let (found, more) = sockets(listen.as_bytes(), Transport::Tcp);
        assert!(!more);
        let [one] = found.as_slice() else {
            panic!("one listener, not {found:?}")
        };
        assert_eq!(one.address, "127.0.0.1:22".parse().expect("an address"));
        assert_eq!((one.user, one.inode), (1000, 4242));
        let joined = format!("{head}   0: 0100007F:0016 0100007F:9999 01 {tail}\n");
        for transport in [Transport::Tcp, Transport::Udp] {
            assert_eq!(sockets(joined.as_bytes(), transport).0, []);
        }
    }
}
