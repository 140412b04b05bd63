//! Policies of mandatory access control in the kernel: loaded, unloaded, and tried from inside.

pub mod attempt;
pub mod heard;

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stockade_controls::engine::Framework;
use stockade_controls::mac;
use stockade_profile::ServiceName;

use crate::apply::Policies;
use crate::program::{ProgramError, find, succeed};

/// How long a policy may take to be compiled and loaded: a whole one of `SELinux` on a small processor.
pub const PATIENCE: Duration = Duration::from_mins(3);
/// Where a profile of `AppArmor` is unloaded by its name (Linux, `security/apparmor/apparmorfs.c`).
const REMOVE: &str = "/sys/kernel/security/apparmor/.remove";
/// Where the kernel shows `SELinux`.
const SELINUX: &str = "/sys/fs/selinux";

/// Why a policy is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub enum MacError {
    /// The framework's own program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A file of the kernel or of the policy.
    #[error("{place}: {why}")]
    File {
        /// Which.
        place: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// The configuration does not say which policy there is.
    #[error("/etc/selinux/config names no policy (SELINUXTYPE=)")]
    NoPolicy,
}

fn at(place: impl AsRef<Path>) -> impl FnOnce(io::Error) -> MacError {
    let place = place.as_ref().to_owned();
    move |why| MacError::File { place, why }
}

/// Policies, by whoever has the rights himself.
#[derive(Debug)]
pub struct Kernel;

impl Policies for Kernel {
    fn load(&mut self, framework: Framework, service: &ServiceName) -> Result<(), String> {
        load(framework, service).map_err(|why| why.to_string())
    }

    fn unload(&mut self, framework: Framework, service: &ServiceName) -> Result<(), String> {
        unload(framework, service).map_err(|why| why.to_string())
    }
}

/// Loads the policy of a service, from where it is kept, in place of the one that is loaded.
pub fn load(framework: Framework, service: &ServiceName) -> Result<(), MacError> {
    let file = mac::place(framework, service);
    match framework {
        Framework::Apparmor => {
            let mut command = Command::new(find("apparmor_parser")?);
            command.args(["--replace", "--skip-cache", "--", &file]);
            succeed(command, PATIENCE)?;
            Ok(())
        }
        Framework::Selinux if store()?.is_dir() => semodule(&["--install", &file]).map(drop),
        Framework::Selinux => whole_policy(),
    }
}

/// Unloads the policy of a service, whose file is gone already; one that is not loaded is fine.
pub fn unload(framework: Framework, service: &ServiceName) -> Result<(), MacError> {
    let name = mac::name(framework, service);
    match framework {
        Framework::Apparmor => {
            let mut remove = fs_err::OpenOptions::new();
            let removed = remove.write(true).open(REMOVE);
            match removed.and_then(|mut file| file.write_all(name.as_bytes())) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => Err(at(REMOVE)(why)),
                _ => Ok(()),
            }
        }
        Framework::Selinux if store()?.is_dir() => {
            let listed = semodule(&["--list-modules=full"])?;
            let mut lines = listed.lines();
            if lines.any(|it| it.split_ascii_whitespace().nth(1) == Some(&name)) {
                semodule(&["--remove", &name])?;
            }
            Ok(())
        }
        Framework::Selinux => whole_policy(),
    }
}

/// Whether the kernel only watches a domain of `SELinux`, by its own answer about an access (`security/selinux/selinuxfs.c`,
/// `sel_write_access`; the last number has the flag `AVD_FLAGS_PERMISSIVE`).
pub fn is_permissive(label: &str) -> io::Result<bool> {
    let class = fs_err::read_to_string(format!("{SELINUX}/class/process/index"))?;
    let mut open = fs_err::OpenOptions::new();
    let mut asked = open
        .read(true)
        .write(true)
        .open(format!("{SELINUX}/access"))?;
    asked.write_all(format!("{label} {label} {}", class.trim()).as_bytes())?;
    let mut answer = [0; 256];
    let length = asked.read(&mut answer)?;
    let answer = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
    let flags = answer.trim_end_matches(['\0', '\n']).split(' ').next_back();
    let flags = flags.and_then(|it| u32::from_str_radix(it, 16).ok());
    let flags = flags.ok_or_else(|| io::Error::other("the kernel's answer makes no sense"))?;
    Ok(flags & 1 != 0)
}

fn semodule(words: &[&str]) -> Result<String, MacError> {
    let mut command = Command::new(find("semodule")?);
    command.args(words);
    let said = succeed(command, PATIENCE)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// `SELINUXTYPE=` of `selinux_config(5)`.
fn policy_type() -> Result<String, MacError> {
    let path = "/etc/selinux/config";
    let text = fs_err::read_to_string(path).map_err(at(path))?;
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.trim().strip_prefix("SELINUXTYPE="));
    let found = found.map(str::trim).filter(|it| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !it.is_empty() && it.chars().all(plain)
    });
    found.map(str::to_owned).ok_or(MacError::NoPolicy)
}

/// Where the modules of a policy are, if it has some (semanage.conf(5)).
fn store() -> Result<PathBuf, MacError> {
    let policy = policy_type()?;
    Ok(Path::new("/var/lib/selinux")
        .join(policy)
        .join("active/modules"))
}

/// Compiles the maker's base policy with all of ours, where no store of modules is, and loads it: small devices have the
/// compiler alone.
fn whole_policy() -> Result<(), MacError> {
    let folder = Path::new("/etc/selinux").join(policy_type()?);
    let version = Path::new(SELINUX).join("policyvers");
    let version = fs_err::read_to_string(&version).map_err(at(version))?;
    let version = version.trim();
    let mut command = Command::new(find("secilc")?);
    let kept = folder.join("policy").join(format!("policy.{version}"));
    let fresh = folder.join("policy").join("stockade.fresh");
    command
        .args(["-c", version, "-f", "/dev/null", "-o"])
        .arg(&fresh);
    for place in [folder.join("cil"), PathBuf::from(mac::SELINUX)] {
        command.args(sources(&place)?);
    }
    succeed(command, PATIENCE)?;
    let policy = fs_err::read(&fresh).map_err(at(&fresh))?;
    let load = Path::new(SELINUX).join("load");
    // One write: the kernel takes a policy whole.
    let mut open = fs_err::OpenOptions::new();
    let loaded = open.write(true).open(&load);
    loaded
        .and_then(|mut file| file.write_all(&policy))
        .map_err(at(load))?;
    fs_err::rename(&fresh, &kept).map_err(at(kept))
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>, MacError> {
    let entries = match fs_err::read_dir(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(folder))?,
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|it| Some(it.ok()?.path()))
        .filter(|it| it.extension().is_some_and(|it| it == "cil"))
        .collect();
    found.sort();
    Ok(found)
}
