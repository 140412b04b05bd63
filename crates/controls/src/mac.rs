//! `mac`: mandatory access control.
//!
//! A policy for a service is made of what it was seen to do: first the kernel only watches, and what it would have refused is
//! added; when that went on for as long as the profile says, the policy is enforced, on trial.

mod apparmor;
mod grsecurity;
mod judge;
pub mod log;
mod need;
mod rules;
mod selinux;
mod service;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stockade_profile::{Control, MacSystem, Profile, ServiceName};

use crate::engine::{Case, Check, Framework, Host, Judged, Rule, Standing, Unseen};

pub use need::{MOST, Need};

/// The control `mac`.
#[derive(Debug)]
pub struct Mac;

impl Check for Mac {
    fn control(&self) -> Control {
        Control::Mac
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        let Some(mac) = &case.profile.mac else {
            for rule in rules::ALL {
                judged.does_not_apply(rule, "the profile asks for none");
            }
            return judged;
        };
        if case.host.standing() == Standing::Offline {
            for rule in rules::ALL {
                judged.unseen(rule, "the kernel", &Unseen::Offline);
            }
            return judged;
        }
        if judge::system(case, mac, &mut judged) {
            judge::enforcing(case, mac, &mut judged);
            judge::confined(case, mac, &mut judged);
            judge::permissive(case, mac, &mut judged);
            judge::effective(case, mac, &mut judged);
        } else {
            for rule in rules::ALL.iter().skip(1) {
                judged.cannot_tell(
                    rule,
                    "the kernel does not show the system that confines",
                    Vec::new(),
                );
            }
        }
        judged
    }
}

/// The labels under which processes are that the profile wants confined, and that are: what enforces each, and the label as it
/// is entered.
pub fn enforced(
    host: &dyn Host,
    profile: &Profile,
    permissive: &BTreeSet<String>,
) -> BTreeSet<(Framework, String)> {
    let mac = profile.mac.as_ref();
    mac.map(|mac| judge::enforced(host, mac, permissive))
        .unwrap_or_default()
}

/// The labels of all processes by `SELinux`; none if the profile wants another system.
pub fn labels(host: &dyn Host, profile: &Profile) -> BTreeSet<String> {
    let wanted = profile.mac.as_ref().map(|mac| mac.system);
    let processes = match wanted {
        Some(MacSystem::SeLinux) => host.processes().unwrap_or_default(),
        _ => &[],
    };
    let label = |pid: u32| service::label(host, Framework::Selinux, &pid.to_string());
    processes
        .iter()
        .filter_map(|it| label(it.pid).ok())
        .collect()
}

/// The domain in a label of `SELinux`.
pub fn domain(label: &str) -> Option<String> {
    log::type_of(label)
}

/// What only a running system knows of the services that are to be confined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// By policy (`stockade.<service>` or `stockade_<service>_t`): what the kernel would have refused while it only watched; none
    /// if its log is not heard.
    pub learnt: Option<BTreeMap<String, BTreeSet<Need>>>,
    /// By label of a process: what came of attempts at what is forbidden, or why none could be made.
    pub attempts: BTreeMap<String, Result<Vec<Attempt>, String>>,
    /// The domains of `SELinux` that are permissive, of those that processes run in.
    pub permissive: BTreeSet<String>,
}

/// An attempt at something, made twice: freely, to show that it can succeed, and confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attempt {
    /// What was tried.
    pub what: Forbidden,
    /// Whether it succeeds freely.
    pub free: bool,
    /// Whether it succeeded confined.
    pub confined: bool,
}

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forbidden {
    /// Read the passwords' hashes.
    Shadow,
    /// Open a file of `/etc` for writing.
    Etc,
    /// Make a socket of the internet.
    Internet,
    /// Make a socket that sees every packet.
    Raw,
    /// Mount a file system.
    Mount,
    /// Read the memory of another process.
    Memory,
    /// Load a policy, which is to switch all of this off.
    Policy,
}

/// The folder of our modules for `SELinux`.
pub const SELINUX: &str = "/etc/stockade/selinux";

/// The policy of a service, by its name.
pub fn name(framework: Framework, service: &ServiceName) -> String {
    match framework {
        Framework::Apparmor => format!("stockade.{service}"),
        Framework::Selinux => {
            // What an identifier of CIL may have in it.
            let plain = |c: char| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            };
            let service: String = service.as_str().chars().map(plain).collect();
            format!("stockade_{service}")
        }
    }
}

/// Where the policy of a service is kept.
pub fn place(framework: Framework, service: &ServiceName) -> String {
    let name = name(framework, service);
    match framework {
        Framework::Apparmor => format!("/etc/apparmor.d/{name}"),
        Framework::Selinux => format!("{SELINUX}/{name}.cil"),
    }
}

/// Takes the data as a record of the kernel's log, and writes what it says into policies.
pub(crate) fn fuzz(data: &[u8]) {
    let Some(heard) = log::read(data) else {
        return;
    };
    let Ok(service) = "camera".parse::<ServiceName>() else {
        return;
    };
    let needs: BTreeSet<Need> = heard.needs.into_iter().collect();
    let text = apparmor::text(&service, &needs, false);
    let of_files = needs.iter().filter(|it| !matches!(it, Need::Allow { .. }));
    let read = apparmor::needs(&text);
    for need in of_files {
        let known = apparmor::is_given(need) || read.contains(need);
        assert!(known, "it is read back: {need:?}");
    }
    assert!(text.lines().all(|line| !line.contains(char::is_control)));
}
