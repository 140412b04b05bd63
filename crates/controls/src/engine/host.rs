//! What a host shows. One trait: a live system and an offline root are read by the same rules.

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::path::HostPath;

/// One name in a directory: bytes, which need not be text.
pub type Name = Box<[u8]>;

/// A moment: seconds since 1970-01-01 UTC.
pub type UnixSeconds = u64;

/// Why something is not known. What is not known is never taken as fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unseen {
    /// It is not there. For many rules that is an answer.
    #[error("it is not there")]
    Absent,
    /// Only a running system can tell, and this is an image.
    #[error("only a running system can tell")]
    Offline,
    /// This process may not look.
    #[error("no right to look")]
    Denied,
    /// It is larger than what is read; the bound in bytes or entries.
    #[error("there is more than {0}, which is as much as is looked at")]
    TooMuch(usize),
    /// It is something else than expected, for example a directory or a pipe where a file should be.
    #[error("it is not what it should be: {0}")]
    Damaged(String),
    /// Reading failed.
    #[error("it can not be read: {0}")]
    Failed(String),
}

/// Whether the host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It runs.
    Live,
    /// It is a root directory or an image.
    Offline,
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, block or character.
    Device,
    /// A pipe or a socket.
    Other,
}

/// A file's metadata; of the link itself where it is one (`lstat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky: 0o7777 at most.
    pub mode: u32,
    /// User id.
    pub owner: u32,
    /// Group id.
    pub group: u32,
    /// Length in bytes.
    pub size: u64,
    /// When the content changed last.
    pub modified: UnixSeconds,
}

/// A file that the one walk over the file system found worth a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notable {
    /// Where.
    pub path: HostPath,
    /// Its metadata.
    pub entry: Entry,
    /// The attribute `security.capability`, if it has one.
    pub capability: Option<Vec<u8>>,
}

/// What the one walk over the file system found: files that are setuid or setgid, have a file capability, may be written by
/// everybody (links, and directories with the sticky bit, apart), or have a name by which private keys and tokens go.
/// Sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The files.
    pub notable: Vec<Notable>,
    /// How many files were looked at.
    pub looked_at: usize,
    /// Where it could not look, and why: whoever judges says so.
    pub unseen: Vec<(HostPath, Unseen)>,
}

impl Inventory {
    /// Whether private keys, passwords or tokens go by this name.
    pub fn secret_by_name(name: &[u8]) -> bool {
        const ENDS: &[&[u8]] = &[
            b".pem",
            b".key",
            b".p12",
            b".pfx",
            b".jks",
            b".ppk",
            b".kdbx",
            b".psk",
            b".token",
            b"_key",
            b".nmconnection",
            b".keytab",
        ];
        const WHOLE: &[&[u8]] = &[
            b".netrc",
            b".pgpass",
            b".git-credentials",
            b".my.cnf",
            b".env",
            b".htpasswd",
            b"credentials",
            b"credentials.json",
            b"token",
            b"secrets.json",
            b"secrets.yaml",
            b"secrets.yml",
            b"wpa_supplicant.conf",
            b"hostapd.conf",
            b"chap-secrets",
            b"pap-secrets",
            b"krb5.keytab",
        ];
        WHOLE.contains(&name)
            || ENDS.iter().any(|end| name.ends_with(end))
            || (name.starts_with(b"id_") && !name.ends_with(b".pub"))
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot: with the number it names one process for good.
    pub started: u64,
    /// Its short name.
    pub name: String,
    /// Its program; none for kernel threads, or when it may not be seen.
    pub program: Option<HostPath>,
    /// Its arguments, shortened.
    pub arguments: Vec<String>,
    /// Effective user id.
    pub user: u32,
    /// Effective capabilities, as in `CapEff`.
    pub capabilities: u64,
    /// Whether it and its children can get no new privileges.
    pub no_new_privileges: bool,
    /// The seccomp mode: 0 none, 1 strict, 2 filter.
    pub seccomp: u8,
    /// Its cgroup, for example `/system.slice/camera.service`.
    pub cgroup: Option<String>,
}

/// The transport of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A socket that takes what comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where it listens.
    pub address: SocketAddr,
    /// The user id that it belongs to.
    pub user: u32,
    /// The processes that hold it; empty if they may not be seen.
    pub processes: Vec<u32>,
}

/// What a listener answered when it was asked for one version of TLS after another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TlsAnswers {
    /// By version (`ssl2`, `ssl3`, `tls1.0`, `tls1.1`, `tls1.2`, `tls1.3`): whether it was accepted. A version that could not be asked is not here.
    pub accepted: BTreeMap<String, bool>,
    /// It speaks something that is not TLS: what it said first, shortened and escaped.
    pub plain: Option<String>,
}

/// How the firewall stands, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirewallState {
    /// The rules in force are those of this version of this model's profile.
    InForce {
        /// The model.
        model: String,
        /// The version of the profile.
        version: u64,
        /// Seconds until the rules on trial are taken back.
        trial: Option<u64>,
    },
    /// Rules of ours are there and are not what was written; what differs, first things first.
    Differs(Vec<String>),
    /// There are none of ours.
    None,
    /// The kernel or its tools can not do what is needed.
    Impossible(String),
}

/// Who starts services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitSystem {
    /// systemd.
    Systemd,
    /// `OpenRC`.
    OpenRc,
    /// procd of `OpenWrt`.
    Procd,
    /// The init of `BusyBox`, or of System V.
    Busybox,
}

impl InitSystem {
    /// Who would start services, by the files that are installed.
    pub fn installed(host: &dyn Host) -> Result<Self, Unseen> {
        // A missing file is an answer; one that can not be seen is none.
        let is_there = |path| match host.entry(&HostPath::of(path)) {
            Ok(_) => Ok(true),
            Err(Unseen::Absent) => Ok(false),
            Err(why) => Err(why),
        };
        let first = match host.link(&HostPath::of("/sbin/init")) {
            Ok(target) => target,
            // A program of its own, as with System V.
            Err(Unseen::Absent | Unseen::Damaged(_)) => Vec::new(),
            Err(why) => return Err(why),
        };
        let first = first.rsplit(|byte| *byte == b'/').next();
        Ok(match first {
            Some(b"systemd") => Self::Systemd,
            Some(b"openrc-init") => Self::OpenRc,
            _ if is_there("/sbin/procd")? => Self::Procd,
            _ if is_there("/sbin/openrc")? => Self::OpenRc,
            Some(b"busybox") => Self::Busybox,
            _ if is_there("/etc/inittab")? => Self::Busybox,
            _ if is_there("/lib/systemd/systemd")? => Self::Systemd,
            _ if is_there("/bin/busybox")? => Self::Busybox,
            _ => return Err(Unseen::Absent),
        })
    }
}

/// A host as it can be read. Nothing is changed by reading. Paths lead through symbolic links inside the host's root and never
/// out of it.
pub trait Host {
    /// Whether it runs.
    fn standing(&self) -> Standing;

    /// A regular file's content, `most` bytes at most: a longer one is [`Unseen::TooMuch`].
    fn read(&self, path: &HostPath, most: usize) -> Result<Vec<u8>, Unseen>;

    /// Bytes of a block device or of flash, past the kernel's cache; fewer at its end. What its medium, or the check of what it
    /// holds, refuses is [`Unseen::Damaged`].
    fn device(&self, _path: &HostPath, _at: u64, _length: usize) -> Result<Vec<u8>, Unseen> {
        Err(Unseen::Offline)
    }

    /// A file's metadata, not following it if it is a link.
    fn entry(&self, path: &HostPath) -> Result<Entry, Unseen>;

    /// Where a symbolic link points, as it is written in it.
    fn link(&self, path: &HostPath) -> Result<Vec<u8>, Unseen>;

    /// A directory's names with their metadata, sorted; an empty one is an empty list.
    fn list(&self, path: &HostPath) -> Result<Vec<(Name, Entry)>, Unseen>;

    /// The result of the one walk over the file system; made once.
    fn inventory(&self) -> Result<&Inventory, Unseen>;

    /// Who starts services.
    fn init(&self) -> Result<InitSystem, Unseen>;

    /// All processes, by number.
    fn processes(&self) -> Result<&[Process], Unseen> {
        Err(Unseen::Offline)
    }

    /// All sockets that listen, sorted.
    fn listeners(&self) -> Result<&[Listener], Unseen> {
        Err(Unseen::Offline)
    }

    /// Asks a listener which versions of TLS it accepts.
    fn tls(&self, _listener: &Listener) -> Result<TlsAnswers, Unseen> {
        Err(Unseen::Offline)
    }

    /// How the firewall stands.
    fn firewall(&self) -> Result<&FirewallState, Unseen> {
        Err(Unseen::Offline)
    }

    /// What was learnt of confined services, and what became of attempts at what is forbidden to them.
    fn mac(&self) -> Result<&crate::mac::Known, Unseen> {
        Err(Unseen::Offline)
    }
}
