//! Attempts at what is forbidden, made for real from inside a policy.
//!
//! A process that makes them has a life of its own: it enters the policy, tries, and tells by its exit status alone, as the
//! policy may forbid it any other word. Nothing is changed by an attempt that succeeds.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use stockade_controls::engine::Framework;
use stockade_controls::mac::{Attempt, Forbidden};

use crate::program::{ProgramError, ask};

/// How long the attempts may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// All, in the order of their bits in the exit status.
const ALL: [Forbidden; 7] = [
    Forbidden::Shadow,
    Forbidden::Etc,
    Forbidden::Internet,
    Forbidden::Raw,
    Forbidden::Mount,
    Forbidden::Memory,
    Forbidden::Policy,
];
/// The exit status of one that could not enter the policy: a bit that no attempt has.
const OUTSIDE: u8 = 1 << 7;

/// Has both kinds of attempt made by `program`, which answers to the words that are added with [`run`]: freely and under a label.
pub fn made(
    program: impl Fn() -> Command,
    framework: Framework,
    label: &str,
) -> Result<Vec<Attempt>, String> {
    let say = |why: ProgramError| why.to_string();
    let tried = |label: &str| {
        let mut command = program();
        command.args([word(framework), label]);
        let ended = ask(command, PATIENCE).map_err(say)?.status;
        let bits = ended.code().and_then(|it| u8::try_from(it).ok());
        match bits {
            Some(bits) if bits & OUTSIDE == 0 => Ok(bits),
            Some(_) => Err(format!("`{label}` can not be entered")),
            // A policy that forbids so much that a program can not even end is not told from one that was killed.
            None => Err(format!("nothing can be tried under `{label}`: {ended}")),
        }
    };
    let (free, confined) = (tried("")?, tried(label)?);
    let attempts = ALL.into_iter().enumerate().map(|(bit, what)| Attempt {
        what,
        free: free & (1 << bit) != 0,
        confined: confined & (1 << bit) != 0,
    });
    Ok(attempts.collect())
}

fn word(framework: Framework) -> &'static str {
    match framework {
        Framework::Apparmor => "apparmor",
        Framework::Selinux => "selinux",
    }
}

/// The life of a process that tries: the framework, and the label or nothing. What it exits with.
pub fn run(framework: &str, label: &str) -> u8 {
    let framework = match framework {
        "apparmor" => Framework::Apparmor,
        "selinux" => Framework::Selinux,
        _ => return OUTSIDE,
    };
    // Looked up before: inside nothing may be readable.
    let parent = format!("/proc/{}/mem", std::os::unix::process::parent_id());
    if !label.is_empty() && enter(framework, label).is_err() {
        return OUTSIDE;
    }
    let mut bits = 0;
    for (bit, what) in ALL.into_iter().enumerate() {
        bits |= u8::from(succeeds(what, framework, &parent)) << bit;
    }
    bits
}

/// Goes under a label for good: `aa_change_profile(2)` and `setcon(3)`, which are writes.
fn enter(framework: Framework, label: &str) -> io::Result<()> {
    let new = "/proc/self/attr/apparmor/current";
    match framework {
        Framework::Apparmor => {
            let place = if std::path::Path::new(new).exists() {
                new
            } else {
                "/proc/self/attr/current"
            };
            fs_err::write(place, format!("changeprofile {label}"))
        }
        Framework::Selinux => fs_err::write("/proc/self/attr/current", label),
    }
}

/// Whether an attempt succeeds.
fn succeeds(what: Forbidden, framework: Framework, parent: &str) -> bool {
    let opens = |path: &str, write: bool| {
        let mut options = std::fs::OpenOptions::new();
        options.read(!write).append(write);
        options.custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK);
        options.open(path).is_ok()
    };
    let sockets = |family, kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, None).is_ok();
    match what {
        Forbidden::Shadow => opens("/etc/shadow", false),
        Forbidden::Etc => opens("/etc/passwd", true),
        Forbidden::Internet => sockets(AddressFamily::Inet, SockType::Stream),
        Forbidden::Raw => sockets(AddressFamily::Packet, SockType::Raw),
        // An option that no file system has: whoever may mount hears of the option.
        Forbidden::Mount => {
            let option = CString::new("stockade-no-such-option").unwrap_or_default();
            let mounted = mount(
                Some("stockade"),
                "/proc",
                Some("tmpfs"),
                MsFlags::empty(),
                Some(option.as_c_str()),
            );
            mounted == Err(nix::errno::Errno::EINVAL)
        }
        Forbidden::Memory => opens(parent, false),
        Forbidden::Policy => match framework {
            Framework::Apparmor => opens("/sys/kernel/security/apparmor/.replace", true),
            Framework::Selinux => opens("/sys/fs/selinux/load", true),
        },
    }
}
