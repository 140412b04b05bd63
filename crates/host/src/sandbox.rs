//! What each process of a device may do, and how it gives up the rest: capabilities, Landlock, seccomp.
//!
//! A process enters its sandbox first of all, while it has one thread. What can not be given up is an error: the process must
//! not go on (`docs/decisions/0153-sandboxes.md`).

use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, no_new_privs, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use stockade_api::Places;

mod calls;

/// The newest kind of Landlock that is asked for; an older kernel enforces what it knows.
const LANDLOCK: ABI = ABI::V6;

/// What a process may do.
#[derive(Debug)]
pub struct Sandbox {
    calls: calls::Calls,
    files: Option<Files>,
    kept: CapabilitySet,
}

/// What a process may reach by Landlock.
#[derive(Debug)]
struct Files {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    connect: Option<Vec<u16>>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Entered {
    /// All of it is enforced.
    Whole,
    /// The kernel is older than what Landlock was asked for: the rest is enforced.
    Partly,
    /// The kernel has no Landlock, and the operator said to go on without: seccomp and users are what is left.
    WithoutLandlock,
}

/// Why a process can not be shut in. It must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel refused.
    #[error("cannot {doing}")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        why: io::Error,
    },
    /// Threads that run already would not be shut in.
    #[error("there are {0} threads already: a fault of ours")]
    Threads(usize),
    /// Landlock.
    #[error("cannot set up Landlock: {0}")]
    Landlock(String),
    /// The kernel has no Landlock.
    #[error(
        "this kernel has no Landlock (Linux 5.13, and `landlock` in the kernel's list `lsm=`): start with `--allow-missing-landlock` to go on without it"
    )]
    NoLandlock,
    /// Seccomp.
    #[error("cannot set up seccomp: {0}")]
    Seccomp(String),
    /// A user that the process should become.
    #[error("there is no user `{0}` here")]
    NoUser(String),
}

impl Sandbox {
    /// The agent: the internet and its own folder, nothing else. `connect` are the TCP ports that it may reach.
    pub fn agent(places: &Places, connect: Vec<u16>) -> Self {
        Self {
            calls: calls::Calls::Only(calls::NETWORK),
            files: Some(Files {
                read: vec![
                    places.etc(),
                    places.root().join("etc/resolv.conf"),
                    places.root().join("etc/hosts"),
                    places.root().join("etc/nsswitch.conf"),
                    places.root().join("etc/localtime"),
                ],
                write: vec![places.agent_state()],
                connect: Some(connect),
            }),
            kept: CapabilitySet::empty(),
        }
    }

    /// The key process: its own folder, and what a module or a TPM needs (`read`, and devices in `write`).
    pub fn keys(places: &Places, mut read: Vec<PathBuf>, mut write: Vec<PathBuf>) -> Self {
        read.push(places.settings());
        write.push(places.keys_state());
        Self {
            calls: calls::Calls::Only(calls::LOCAL),
            files: Some(Files {
                read,
                write,
                connect: Some(Vec::new()),
            }),
            kept: CapabilitySet::empty(),
        }
    }

    /// The helper: it changes the system, so files are open to it; it has no network and can not reach into other processes
    /// or the kernel.
    pub fn helper() -> Self {
        Self {
            calls: calls::Calls::AllBut {
                families: Some(calls::STEWARD),
                but: &[],
            },
            files: None,
            kept: CapabilitySet::CHOWN
                // What the kernel refused, or would have.
                | CapabilitySet::AUDIT_READ
                | CapabilitySet::DAC_OVERRIDE
                | CapabilitySet::DAC_READ_SEARCH
                | CapabilitySet::FOWNER
                | CapabilitySet::FSETID
                | CapabilitySet::KILL
                | CapabilitySet::SETGID
                | CapabilitySet::SETUID
                | CapabilitySet::SETFCAP
                | CapabilitySet::NET_ADMIN
                | CapabilitySet::SYS_CHROOT
                // Other processes' programs and sockets are read in /proc.
                | CapabilitySet::SYS_PTRACE,
        }
    }

    /// Whoever asks listeners what they speak: connections, and no file.
    pub fn prober() -> Self {
        Self {
            calls: calls::Calls::Only(calls::NETWORK),
            files: Some(Files {
                read: Vec::new(),
                write: Vec::new(),
                connect: None,
            }),
            kept: CapabilitySet::empty(),
        }
    }

    /// Whoever fetches updates: the source's port, name servers, and its own folder.
    pub fn fetcher(places: &Places, port: u16) -> Self {
        let read = [
            "etc/stockade/update",
            "etc/resolv.conf",
            "etc/hosts",
            "etc/nsswitch.conf",
            "etc/localtime",
            "etc/ssl",
            "etc/ca-certificates",
            "etc/pki",
            "usr/share/ca-certificates",
            "usr/lib/ssl",
        ];
        Self {
            calls: calls::Calls::Only(calls::NETWORK),
            files: Some(Files {
                read: read.map(|path| places.root().join(path)).to_vec(),
                write: vec![places.spool()],
                connect: Some(vec![port, 53]),
            }),
            kept: CapabilitySet::empty(),
        }
    }

    /// The launcher: what the helper needs of the network.
    pub fn launcher() -> Self {
        Self {
            calls: calls::Calls::AllBut {
                families: None,
                but: &[],
            },
            files: None,
            kept: CapabilitySet::NET_ADMIN
                | CapabilitySet::NET_BIND_SERVICE
                | CapabilitySet::NET_RAW
                | CapabilitySet::KILL
                | CapabilitySet::CHOWN
                | CapabilitySet::DAC_OVERRIDE
                | CapabilitySet::FOWNER
                | CapabilitySet::SETGID
                | CapabilitySet::SETUID,
        }
    }

    /// The runner: it carries out what changes the system itself, by programs that are fixed, and keeps its rights. Its network
    /// is one of its own that leads nowhere; without one (not `apart`) it makes no sockets but local ones.
    pub fn runner(apart: bool) -> Self {
        Self {
            calls: calls::Calls::AllBut {
                families: (!apart).then_some(calls::LOCAL),
                but: calls::RUNNER,
            },
            files: None,
            kept: CapabilitySet::all(),
        }
    }

    /// Gives up everything else, for good.
    pub fn enter(&self, allow_missing_landlock: bool) -> Result<Entered, SandboxError> {
        let threads = fs_err::read_dir("/proc/self/task").map_err(refused("count threads"))?;
        let threads = threads.count();
        if threads != 1 {
            return Err(SandboxError::Threads(threads));
        }
        // No memory of it in a file, and no other process of its user reads it (ptrace(2), "dumpable").
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, none).map_err(refused("forbid core dumps"))?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(refused("hide the process's memory"))?;
        drop_capabilities(self.kept)?;
        set_no_new_privs(true).map_err(refused("set no_new_privs"))?;
        let entered = match &self.files {
            Some(files) => files.enforce(allow_missing_landlock)?,
            None => Entered::Whole,
        };
        self.calls.enforce()?;
        read_back(self.kept)?;
        Ok(entered)
    }
}

impl Files {
    fn enforce(&self, allow_missing: bool) -> Result<Entered, SandboxError> {
        let failed = |why: &dyn std::fmt::Display| SandboxError::Landlock(why.to_string());
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))
            .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
            .map_err(|why| failed(&why))?;
        if self.connect.is_some() {
            ruleset = ruleset
                .handle_access(AccessNet::from_all(LANDLOCK))
                .map_err(|why| failed(&why))?;
        }
        let mut ruleset = ruleset.create().map_err(|why| failed(&why))?;
        let all = AccessFs::from_all(LANDLOCK);
        // Nothing that can be written is ever run.
        let writing = all & !AccessFs::Execute;
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        let paths = self.read.iter().map(|path| (path, reading));
        for (path, access) in paths.chain(self.write.iter().map(|path| (path, writing))) {
            // What is not there needs no permission.
            let Ok(opened) = PathFd::new(path) else {
                continue;
            };
            let access = if path.is_dir() {
                access
            } else {
                access & AccessFs::from_file(LANDLOCK)
            };
            ruleset = ruleset
                .add_rule(PathBeneath::new(opened, access))
                .map_err(|why| failed(&why))?;
        }
        for port in self.connect.iter().flatten() {
            ruleset = ruleset
                .add_rule(NetPort::new(*port, AccessNet::ConnectTcp))
                .map_err(|why| failed(&why))?;
        }
        let status = ruleset.restrict_self().map_err(|why| failed(&why))?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(Entered::Whole),
            RulesetStatus::PartiallyEnforced => Ok(Entered::Partly),
            RulesetStatus::NotEnforced if allow_missing => Ok(Entered::WithoutLandlock),
            RulesetStatus::NotEnforced => Err(SandboxError::NoLandlock),
        }
    }
}

/// User and group of a name, or of a number that stands for both.
pub fn ids(user: &str) -> Result<(u32, u32), SandboxError> {
    if let Ok(number) = user.parse() {
        return Ok((number, number));
    }
    let found = nix::unistd::User::from_name(user)
        .map_err(|why| refused("look up a user")(io::Error::from(why)))?
        .ok_or_else(|| SandboxError::NoUser(user.to_owned()))?;
    Ok((found.uid.as_raw(), found.gid.as_raw()))
}

/// Becomes the user of this id for good, in this group and no other; nothing if it is that user already.
pub fn become_id(user: u32, group: u32) -> Result<(), SandboxError> {
    use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    if geteuid() == user {
        return Ok(());
    }
    setgroups(&[group])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user))
        .map_err(|why| refused("become another user")(io::Error::from(why)))
}

fn drop_capabilities(kept: CapabilitySet) -> Result<(), SandboxError> {
    clear_ambient_capability_set().map_err(refused("clear ambient capabilities"))?;
    let now = capabilities(None).map_err(refused("read capabilities"))?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..64 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if !kept.contains(one) && capability_is_in_bounding_set(one).unwrap_or(false) {
                remove_capability_from_bounding_set(one)
                    .map_err(refused("shrink the bounding set"))?;
            }
        }
    }
    let sets = CapabilitySets {
        effective: now.permitted & kept,
        permitted: now.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(refused("drop capabilities"))
}

/// What was asked for has to be what is.
fn read_back(kept: CapabilitySet) -> Result<(), SandboxError> {
    let wrong = |what: &'static str| refused(what)(io::Error::from(io::ErrorKind::Other));
    let now = capabilities(None).map_err(refused("read capabilities"))?;
    if !kept.contains(now.permitted | now.effective | now.inheritable) {
        return Err(wrong("drop capabilities: some are still there"));
    }
    if !no_new_privs().map_err(refused("read no_new_privs"))? {
        return Err(wrong("set no_new_privs: it is not set"));
    }
    Ok(())
}

fn refused<E: Into<io::Error>>(doing: &'static str) -> impl Fn(E) -> SandboxError {
    move |why| SandboxError::Refused {
        doing,
        why: why.into(),
    }
}
