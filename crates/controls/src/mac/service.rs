//! A service that is to be confined: how its processes stand, and what it is seen to need.

use std::collections::BTreeSet;

use super::need::Need;
use super::selinux::Context;
use super::{name, selinux};
use crate::engine::{Case, Framework, Host, HostPath, Process, Unseen};
use crate::privileges::look;
use crate::services::Service;
use crate::services::unit::Unit;

/// The longest map of a process's memory that is read.
const LONGEST_MAP: usize = 4 << 20;
/// Domains of the reference policy that confine nothing.
const UNCONFINED: [&str; 5] = [
    "initrc_t",
    "kernel_t",
    "unconfined_service_t",
    "unconfined_t",
    "unlabeled_t",
];
/// The directories that systemd gives a service (systemd.exec(5)): the key, where they are, and the access.
const DIRECTORIES: [(&str, &str, &str); 5] = [
    ("CacheDirectory", "/var/cache", "rwkl"),
    ("ConfigurationDirectory", "/etc", "r"),
    ("LogsDirectory", "/var/log", "rwkl"),
    ("RuntimeDirectory", "/run", "rwkl"),
    ("StateDirectory", "/var/lib", "rwkl"),
];

/// How a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Confinement {
    /// Nothing confines it.
    None,
    /// The kernel watches it, and lets everything through.
    Watched,
    /// The kernel refuses.
    Enforced,
}

/// The label of a process, as the kernel has it.
pub(super) fn label(host: &dyn Host, framework: Framework, pid: &str) -> Result<String, Unseen> {
    let places: &[&str] = match framework {
        Framework::Apparmor => &["attr/apparmor/current", "attr/current"],
        Framework::Selinux => &["attr/current"],
    };
    let mut came = Err(Unseen::Absent);
    for place in places {
        let path = HostPath::from_bytes(format!("/proc/{pid}/{place}").as_bytes());
        came = path
            .map_err(|why| Unseen::Damaged(why.to_string()))
            .and_then(|path| host.read(&path, 1 << 16));
        if came != Err(Unseen::Absent) {
            break;
        }
    }
    let text = String::from_utf8(came?).map_err(|why| Unseen::Damaged(why.to_string()))?;
    Ok(text.trim_end_matches(['\0', '\n']).to_owned())
}

/// How a process of this label stands, and the name of its policy.
pub(super) fn confinement(
    framework: Framework,
    label: &str,
    permissive: &BTreeSet<String>,
    init: &str,
) -> (Confinement, String) {
    match framework {
        Framework::Apparmor => {
            let Some((profile, mode)) = label.rsplit_once(" (") else {
                return (Confinement::None, label.to_owned());
            };
            let confinement = match mode {
                "enforce)" | "kill)" => Confinement::Enforced,
                "unconfined)" => Confinement::None,
                _ => Confinement::Watched,
            };
            (confinement, profile.to_owned())
        }
        Framework::Selinux => {
            let domain = |label: &str| Context::read(label).map(|it| it.domain).unwrap_or_default();
            let (own, init) = (domain(label), domain(init));
            let watched = permissive.contains(&own);
            let confinement = if own.is_empty() || own == init || UNCONFINED.contains(&own.as_str())
            {
                Confinement::None
            } else if watched {
                Confinement::Watched
            } else {
                Confinement::Enforced
            };
            (confinement, own)
        }
    }
}

/// What a service was seen to need so far: by its processes, by its unit, by what was learnt, and by the policy that it has.
pub(super) fn needs(
    case: &Case<'_>,
    framework: Framework,
    service: &Service,
    unit: &Unit,
    processes: &[&Process],
    policy: Option<&str>,
) -> Result<BTreeSet<Need>, Unseen> {
    let known = case.host.mac()?;
    let service_name = service
        .name
        .parse()
        .map_err(|_| Unseen::Damaged("a name".to_owned()))?;
    let (mut needs, named) = match framework {
        Framework::Apparmor => {
            let mut needs = seen(case.host, processes)?;
            for (key, place, access) in DIRECTORIES {
                for directory in directories(unit, key) {
                    needs.extend(
                        Need::below(&format!("{place}/{directory}"), access)
                            .into_iter()
                            .flatten(),
                    );
                }
            }
            needs.extend(policy.map(super::apparmor::needs).unwrap_or_default());
            (needs, name(framework, &service_name))
        }
        Framework::Selinux => {
            let needs = policy.map(selinux::needs).unwrap_or_default();
            (needs, selinux::domain(&service_name))
        }
    };
    let deaf =
        || Unseen::Failed("the kernel's log of what it would refuse is not heard".to_owned());
    let learnt = known.learnt.as_ref().ok_or_else(deaf)?;
    needs.extend(learnt.get(&named).into_iter().flatten().cloned());
    if needs.len() > super::need::MOST {
        return Err(Unseen::TooMuch(super::need::MOST));
    }
    Ok(needs)
}

/// The directories of the service that only it has.
pub(super) fn own(unit: &Unit) -> Vec<HostPath> {
    let all = DIRECTORIES
        .iter()
        .filter(|(key, ..)| *key != "ConfigurationDirectory");
    let paths = all.flat_map(|(key, place, _)| {
        let names = directories(unit, key);
        names.into_iter().map(move |it| format!("{place}/{it}"))
    });
    paths
        .filter_map(|it| HostPath::from_bytes(it.as_bytes()).ok())
        .collect()
}

fn directories(unit: &Unit, key: &str) -> Vec<String> {
    let values = unit.all("Service", key);
    let names = values.iter().flat_map(|it| it.split_ascii_whitespace());
    // A second name after a colon is a link; what systemd fills in is not known here.
    let names = names.map(|it| it.split(':').next().unwrap_or(it));
    names
        .filter(|it| !it.contains('%'))
        .map(str::to_owned)
        .collect()
}

/// What the processes have open and mapped.
fn seen(host: &dyn Host, processes: &[&Process]) -> Result<BTreeSet<Need>, Unseen> {
    let mut needs = BTreeSet::new();
    let mut file = |path: &HostPath, access: &str| {
        // What is no text can not be written into a profile; what is removed has no path any more.
        let text = str::from_utf8(path.as_bytes()).ok();
        let text = text.filter(|it| !it.ends_with(" (deleted)") && !it.starts_with("/memfd:"));
        needs.extend(text.and_then(|it| Need::file(it, access.chars())));
    };
    let seen = look(host, processes)?;
    for path in seen.files.iter().chain(&seen.devices) {
        file(
            path,
            if seen.written.contains(path) {
                "rwk"
            } else {
                "r"
            },
        );
    }
    // How a device was opened is not kept.
    for path in &seen.devices {
        file(path, "rw");
    }
    for process in processes {
        if let Some(program) = &process.program {
            file(program, "mrx");
        }
        let path = HostPath::from_bytes(format!("/proc/{}/maps", process.pid).as_bytes());
        let path = path.map_err(|why| Unseen::Damaged(why.to_string()))?;
        let maps = match host.read(&path, LONGEST_MAP) {
            Err(Unseen::Absent) => continue,
            maps => maps?,
        };
        for line in maps.split(|byte| *byte == b'\n') {
            // Address, rights, offset, device, inode, path (proc(5)).
            let Some(at) = line.iter().position(|byte| *byte == b'/') else {
                continue;
            };
            if let Some(path) = line.get(at..).and_then(|it| HostPath::from_bytes(it).ok()) {
                let runs = line
                    .split(|byte| *byte == b' ')
                    .nth(1)
                    .is_some_and(|it| it.contains(&b'x'));
                file(&path, if runs { "mr" } else { "r" });
            }
        }
    }
    for family in seen.families.iter().flatten() {
        let kinds: &[(&str, &str)] = match *family {
            "AF_INET" => &[("inet", "stream"), ("inet", "dgram")],
            "AF_INET6" => &[("inet6", "stream"), ("inet6", "dgram")],
            "AF_NETLINK" => &[("netlink", "raw")],
            "AF_PACKET" => &[("packet", "raw")],
            _ => &[],
        };
        needs.extend(kinds.iter().map(|(family, kind)| Need::Network {
            family: (*family).to_owned(),
            kind: (*kind).to_owned(),
        }));
    }
    Ok(needs)
}
