//! What can be done to a host: data. Whoever applies it knows these and nothing else.

use serde::{Deserialize, Serialize};
use stockade_profile::{AccountName, PackageName, ServiceName};

use super::path::HostPath;

/// One thing to do; each can be taken back from what was saved before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Action {
    /// Make this file, or give it this content; directories on the way are made (0755, root).
    Put {
        /// Where.
        path: HostPath,
        /// Its whole content. Never a secret: plans are shown.
        content: String,
        /// Permission bits.
        mode: u32,
        /// User and group id.
        owner: (u32, u32),
    },
    /// Change permission bits and owner of what is there.
    Mode {
        /// What.
        path: HostPath,
        /// Permission bits, with setuid and setgid.
        mode: u32,
        /// User and group id.
        owner: (u32, u32),
    },
    /// Take the file capability from a program.
    NoCapability {
        /// The program.
        path: HostPath,
    },
    /// Remove a file or a link.
    Remove {
        /// What.
        path: HostPath,
    },
    /// Put a symbolic link in place of whatever is there.
    Link {
        /// Where.
        path: HostPath,
        /// What it points to, as written.
        target: String,
    },
    /// Change lines of a configuration file: those given are exchanged, the rest is kept byte for byte.
    Edit {
        /// The file.
        path: HostPath,
        /// Each line to be replaced, exactly, without its end, with what stands there afterwards; an empty list of lines removes it.
        replace: Vec<(String, Vec<String>)>,
        /// Lines to add at the end, each once, unless they are there.
        append: Vec<String>,
    },
    /// Change how an account can log in.
    Account {
        /// The account.
        name: AccountName,
        /// What.
        change: Account,
    },
    /// Make the SSH host keys anew, of the kinds that were there.
    SshHostKeys {
        /// The directory of the keys.
        directory: HostPath,
    },
    /// Change a service through the init system that is there.
    Service {
        /// The service, as the init system names it, without a suffix.
        name: ServiceName,
        /// What.
        change: ServiceChange,
    },
    /// End a process that no service owns; it gets TERM, then KILL.
    End {
        /// Its number.
        pid: u32,
        /// When it started, in clock ticks since boot: another process of that number is left alone.
        started: u64,
        /// Its short name, for whoever reads the plan.
        name: String,
    },
    /// Remove a package, keeping what it had so that it can come back.
    RemovePackage {
        /// Who manages it.
        manager: PackageManager,
        /// The package.
        name: PackageName,
    },
    /// Give a service tighter bounds on trial: they are kept if it stays healthy, and taken back if not.
    Confine {
        /// The service.
        service: ServiceName,
        /// The drop-in of systemd.
        path: HostPath,
        /// Its content.
        content: String,
        /// What has to hold afterwards.
        health: Health,
    },
    /// Put a service under a policy of mandatory access control, on trial in the same way. The policy is named `stockade.<service>`
    /// with `AppArmor` and `stockade_<service>` with `SELinux`.
    Mac {
        /// The service.
        service: ServiceName,
        /// What enforces it.
        framework: Framework,
        /// Where the policy is kept.
        path: HostPath,
        /// The policy.
        policy: String,
        /// The drop-in of systemd that starts the service under it.
        drop_in: HostPath,
        /// Its content.
        content: String,
        /// What has to hold afterwards.
        health: Health,
    },
    /// Bring the rules of the signed profile into force.
    Firewall,
    /// Set a setting of the kernel that runs: a file below `/proc/sys` or `/sys`. It is gone with the next start.
    Setting {
        /// The file.
        path: HostPath,
        /// What is written to it, and read from it afterwards.
        value: String,
    },
}

/// A framework of mandatory access control whose policies can be made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framework {
    /// `AppArmor`.
    Apparmor,
    /// `SELinux`.
    Selinux,
}

/// How an account can log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Account {
    /// No password works any more; keys may.
    LockPassword,
    /// A new random password; whoever applies tells it once, to the person who asked.
    NewPassword,
    /// No way in at all: locked, and the shell is one that ends at once.
    Disable,
}

/// What to do with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceChange {
    /// Stop it now, if it runs.
    Stop,
    /// Not started at boot.
    Disable,
    /// Stopped, and can not be started by anything until this is undone.
    Mask,
    /// Started anew, to take up changed configuration; nothing if it does not run.
    Restart,
    /// Made to read its configuration, or started anew where it can not; nothing if it does not run.
    Reload,
}

/// Who manages packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageManager {
    /// Debian.
    Dpkg,
    /// Red Hat, SUSE, Yocto.
    Rpm,
    /// `OpenWrt`, older Yocto.
    Opkg,
    /// Alpine, newer `OpenWrt`.
    Apk,
}

/// What has to hold for a service to be called healthy: it runs, did not restart, and still listens where it did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// For how many seconds it is watched.
    pub seconds: u32,
    /// TCP ports it listened on before.
    pub tcp: Vec<u16>,
    /// UDP ports it listened on before.
    pub udp: Vec<u16>,
}

/// When in a plan: first what shuts the door, last what takes things away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The firewall.
    Shut,
    /// Services and processes that should not run.
    Stop,
    /// Files, modes, accounts, keys.
    Change,
    /// Services that take up what changed.
    Restart,
    /// Bounds on trial.
    Confine,
    /// Packages.
    Remove,
}

/// An action with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub stage: Stage,
    /// What.
    pub action: Action,
    /// What it does, as a short sentence in the imperative: "Lock the password of `guest`".
    pub says: String,
    /// What could break, as one sentence; none if nothing can.
    pub risk: Option<String>,
}

impl Step {
    /// A step by which nothing can break.
    pub fn safe(stage: Stage, action: Action, says: impl Into<String>) -> Self {
        Self {
            stage,
            action,
            says: says.into(),
            risk: None,
        }
    }

    /// A step, with what could break.
    pub fn risky(
        stage: Stage,
        action: Action,
        says: impl Into<String>,
        risk: impl Into<String>,
    ) -> Self {
        Self {
            stage,
            action,
            says: says.into(),
            risk: Some(risk.into()),
        }
    }
}
