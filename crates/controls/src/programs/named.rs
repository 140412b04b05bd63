//! Programs that are known by name to have no place on a device in the field.

use crate::engine::Rule;

use super::rules;

/// A class of programs: its rule, what it is called, and the names. A `*` at the end stands for digits, dots and dashes: `gcc-12`.
pub(super) struct Class {
    pub(super) rule: &'static Rule,
    pub(super) called: &'static str,
    names: &'static [&'static str],
}

/// All classes.
pub(super) const CLASSES: [Class; 5] = [
    Class {
        rule: &rules::SERVERS,
        called: "a server that sends passwords in plain text",
        names: &[
            "telnetd",
            "in.telnetd",
            "utelnetd",
            "busybox-telnetd",
            "inetutils-telnetd",
            "telnetd-ssl",
            "ftpd",
            "in.ftpd",
            "vsftpd",
            "proftpd",
            "proftpd-basic",
            "proftpd-core",
            "pure-ftpd",
            "bftpd",
            "tnftpd",
            "ftpd-ssl",
            "inetutils-ftpd",
            "rshd",
            "in.rshd",
            "rsh-server",
            "rsh-redone-server",
            "rlogind",
            "in.rlogind",
            "rexecd",
            "in.rexecd",
            "tftpd",
            "in.tftpd",
            "tftpd-hpa",
            "atftpd",
            "utftpd",
            "fingerd",
            "in.fingerd",
            "inetd",
            "openbsd-inetd",
            "inetutils-inetd",
            "xinetd",
            "snmpd",
            "rpcbind",
            "portmap",
            "nis",
            "ypserv",
            "ypbind",
            "x11vnc",
            "adbd",
            "gdbserver",
        ],
    },
    Class {
        rule: &rules::COMPILERS,
        called: "a compiler",
        names: &[
            "gcc*",
            "g++*",
            "cpp*",
            "cc",
            "c++",
            "clang*",
            "tcc",
            "rustc",
            "cargo",
            "golang*",
            "go",
            "make",
            "cmake",
            "as",
            "ld",
            "binutils",
            "build-essential",
            "nasm",
            "yasm",
            "javac",
            "ghc",
            "fpc",
            "gfortran*",
        ],
    },
    Class {
        rule: &rules::DEBUGGERS,
        called: "a debugger",
        names: &[
            "gdb",
            "gdb-minimal",
            "gdb-multiarch",
            "lldb*",
            "strace",
            "ltrace",
            "perf",
            "linux-perf*",
            "bpftrace",
            "valgrind",
            "radare2",
            "r2",
            "frida-server",
            "openocd",
            "systemtap",
            "crash",
        ],
    },
    Class {
        rule: &rules::SNIFFERS,
        called: "a program to listen on networks",
        names: &[
            "tcpdump",
            "tshark",
            "wireshark",
            "wireshark-common",
            "dumpcap",
            "ettercap",
            "ettercap-common",
            "dsniff",
            "ngrep",
            "aircrack-ng",
            "kismet",
            "bettercap",
            "snort",
            "darkstat",
            "netsniff-ng",
        ],
    },
    Class {
        rule: &rules::SNIFFERS,
        called: "a program to attack networks",
        names: &[
            "nmap",
            "masscan",
            "hydra",
            "medusa",
            "john",
            "hashcat",
            "msfconsole",
            "metasploit-framework",
            "sqlmap",
            "nikto",
            "arpspoof",
            "hping3",
            "socat",
            "ncat",
            "proxychains",
            "proxychains4",
            "3proxy",
            "xmrig",
            "cpuminer",
        ],
    },
];

/// Programs that the control `upnp` judges.
const OF_UPNP: [&str; 11] = [
    "miniupnpd",
    "miniupnpd-nftables",
    "miniupnpd-iptables",
    "minissdpd",
    "upnpd",
    "linux-igd",
    "minidlna",
    "minidlnad",
    "rygel",
    "miniupnpc",
    "upnpc",
];

/// Which class this is the name of.
pub(super) fn class(name: &str) -> Option<&'static Class> {
    let version = |rest: &str| {
        rest.bytes()
            .all(|byte| byte.is_ascii_digit() || b".-".contains(&byte))
    };
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(begin) => name.strip_prefix(begin).is_some_and(version),
        None => name == pattern,
    };
    CLASSES
        .iter()
        .find(|class| class.names.iter().any(|it| fits(it)))
}

/// Whether another control judges it.
pub(super) fn of_upnp(name: &str) -> bool {
    OF_UPNP.contains(&name) || name.starts_with("gupnp") || name.starts_with("libupnp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_but_for_a_version() {
        assert_eq!(class("gcc-12").map(|it| it.called), Some("a compiler"));
        assert_eq!(
            class("telnetd").map(|it| it.rule.id),
            Some("programs/plain-server")
        );
        for harmless in [
            "gcc-12-base",
            "telnet",
            "make-ssl-cert",
            "asdf",
            "ldconfig",
            "libgdbm6",
            "ccache",
        ] {
            assert!(class(harmless).is_none(), "{harmless}");
        }
    }
}
