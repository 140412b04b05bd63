//! Bounds for services: a drop-in made from what was seen of each, on trial.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stockade_profile::ServiceName;

use super::files::CAPABILITIES;
use super::root::{is_a_job, is_systems_own, processes_of};
use super::rules;
use super::seen::{Seen, look};
use crate::engine::{
    Action, Case, Confidence, Finding, Health, HostPath, InitSystem, Judged, Process, Remedy,
    Stage, Step, Transport, Unseen,
};
use crate::services::Service;
use crate::services::unit::{self, Unit};

/// For how long a service is watched after it got its bounds.
pub(crate) const TRIAL_SECONDS: u32 = 20;
/// How many of the bounds a service may lack before it is told.
const MAY_LACK: usize = 3;
/// What people log in through, or what runs work of others: bounds on it bind everything below.
const HOSTS_OTHERS: [&str; 20] = [
    "agetty",
    "atd",
    "containerd",
    "cron",
    "crond",
    "dockerd",
    "dropbear",
    "getty",
    "inetd",
    "libvirtd",
    "login",
    "lxc-start",
    "lxcfs",
    "podman",
    "sshd",
    "supervisord",
    "telnetd",
    "in.telnetd",
    "xinetd",
    "snapd",
];
/// What changes the system's programs for a living.
const UPDATERS: [&str; 8] = [
    "apt",
    "fwupd",
    "mender",
    "opkg",
    "packagekitd",
    "rauc",
    "swupdate",
    "unattended-upgrade",
];
/// Capabilities that next to no service has a use for; none of these is kept by what was not seen with it.
const RARE: [&str; 15] = [
    "audit_control",
    "block_suspend",
    "bpf",
    "lease",
    "linux_immutable",
    "mac_admin",
    "mac_override",
    "perfmon",
    "sys_boot",
    "sys_module",
    "sys_pacct",
    "sys_ptrace",
    "sys_rawio",
    "sys_time",
    "wake_alarm",
];

/// One line of a drop-in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound {
    key: &'static str,
    value: String,
}

/// Judges the services of systemd; other inits have no bounds to give.
pub(super) fn judge(case: &Case<'_>, services: &[Service], judged: &mut Judged) {
    let rule = &rules::UNCONFINED;
    match case.host.init() {
        Ok(InitSystem::Systemd) => (),
        Ok(_) => return judged.does_not_apply(rule, "only systemd bounds services"),
        Err(why) => return judged.unseen(rule, "the init system", &why),
    }
    let processes = match case.host.processes() {
        Ok(processes) => processes,
        Err(Unseen::Offline) => &[],
        Err(why) => return judged.unseen(rule, "the processes", &why),
    };
    let mut findings = Vec::new();
    let mut unseen = None;
    let mut looked_at = 0_usize;
    for service in services {
        let own = processes_of(processes, service);
        if service.masked
            || (!service.enabled && own.is_empty())
            || !service.unit.as_bytes().ends_with(b".service")
            || case.own.services.contains(&service.name)
            || is_systems_own(service)
            || hosts_others(service)
            || (own.is_empty() && is_a_job(case, service))
        {
            continue;
        }
        looked_at = looked_at.saturating_add(1);
        match unit::read(case.host, &format!("{}.service", service.name)) {
            Ok(unit) => findings.extend(finding(case, service, &unit, &own)),
            Err(why) => unseen = Some((service.unit.clone(), why)),
        }
    }
    match unseen {
        None => judged.judged(rule, format!("{looked_at} services"), findings),
        Some((path, why)) => judged.cannot_tell(rule, format!("`{path}`: {why}"), findings),
    }
}

fn named(service: &Service, names: &[&str]) -> bool {
    let program = service.program.as_ref().map(HostPath::name);
    let program = String::from_utf8_lossy(program.unwrap_or_default());
    let stem = service.name.split('@').next().unwrap_or_default();
    names
        .iter()
        .any(|it| *it == program || *it == stem || program.starts_with(&format!("{it}-")))
}

fn hosts_others(service: &Service) -> bool {
    named(service, &HOSTS_OTHERS)
}

fn finding(
    case: &Case<'_>,
    service: &Service,
    unit: &Unit,
    processes: &[&Process],
) -> Option<Finding> {
    let runs = !processes.is_empty();
    let seen = if runs {
        look(case.host, processes)
    } else {
        // What would be seen of a service that asks for nothing: only to tell how much it lacks.
        Ok(Seen {
            one_world: true,
            ..Seen::default()
        })
    };
    let missing = match &seen {
        Ok(seen) => bounds(service, unit, seen),
        Err(_) => bounds(service, unit, &Seen::default()),
    };
    if missing.len() < MAY_LACK {
        return None;
    }
    let keys: Vec<_> = missing.iter().map(|bound| bound.key).collect();
    let finding = Finding::of(
        &rules::UNCONFINED,
        format!("service {}", service.name),
        format!("The service {} may do more than it needs", service.name),
    )
    .seen(
        unit.path.to_string(),
        format!("without {}", keys.join(", ")),
    );
    let person = |why: String| Remedy::Person(why);
    let remedy = match seen {
        Err(why) => person(format!(
            "What {} uses can not be seen ({why}): bound it by hand, then try it.",
            service.name
        )),
        Ok(_) if !runs => person(format!(
            "Start {} and look again: bounds are made from what a service is seen to use, and tried on it.",
            service.name
        )),
        Ok(_) => match step(case, service, processes, &missing) {
            Some(step) => Remedy::Steps(vec![step]),
            None => person(rules::UNCONFINED.advice.to_owned()),
        },
    };
    let confidence = if runs {
        Confidence::High
    } else {
        Confidence::Medium
    };
    Some(Finding {
        remedy,
        ..finding.with(rules::UNCONFINED.severity, confidence)
    })
}

fn step(
    case: &Case<'_>,
    service: &Service,
    processes: &[&Process],
    missing: &[Bound],
) -> Option<Step> {
    let name: ServiceName = service.name.parse().ok()?;
    let path = format!("/etc/systemd/system/{name}.service.d/50-stockade.conf");
    let path = HostPath::from_bytes(path.as_bytes()).ok()?;
    let mut content = match case.host.read(&path, 1 << 16) {
        Ok(before) => String::from_utf8(before).ok()?,
        Err(Unseen::Absent) => format!(
            "# Bounds for {name}, made by Stockade from what the service was seen to use.\n[Service]\n"
        ),
        Err(_) => return None,
    };
    for Bound { key, value } in missing {
        writeln!(content, "{key}={value}").ok()?;
    }
    let health = health(case, processes)?;
    Some(Step::risky(
        Stage::Confine,
        Action::Confine {
            service: name,
            path,
            content,
            health,
        },
        format!(
            "Bound {} to what it was seen to use, and watch it for {TRIAL_SECONDS} seconds",
            service.name
        ),
        format!(
            "{} starts anew. What it does only once in a while was not seen, and may fail later: undo takes the bounds away.",
            service.name
        ),
    ))
}

/// What shows that a service is as well as it was before: where it listens now.
pub(crate) fn health(case: &Case<'_>, processes: &[&Process]) -> Option<Health> {
    let listeners = case.host.listeners().ok()?;
    let ports = |transport: Transport| {
        let own = listeners.iter().filter(|it| {
            it.transport == transport
                && processes
                    .iter()
                    .any(|process| it.processes.contains(&process.pid))
        });
        let mut ports: Vec<u16> = own.map(|it| it.address.port()).collect();
        // Ports that the kernel chose are other ones after a new start (ip_local_port_range).
        ports.retain(|port| transport == Transport::Tcp || *port < 32_768);
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    Some(Health {
        seconds: TRIAL_SECONDS,
        tcp: ports(Transport::Tcp),
        udp: ports(Transport::Udp),
    })
}

/// A service, looked at for what it lacks.
struct Lack<'a> {
    service: &'a Service,
    unit: &'a Unit,
    seen: &'a Seen,
    bounds: Vec<Bound>,
}

/// The bounds that a service lacks and that nothing seen of it, or said in its unit, contradicts (systemd.exec(5)).
fn bounds(service: &Service, unit: &Unit, seen: &Seen) -> Vec<Bound> {
    let mut lack = Lack {
        service,
        unit,
        seen,
        bounds: Vec::new(),
    };
    lack.files();
    lack.kernel();
    lack.bounds
}

impl Lack<'_> {
    fn add(&mut self, key: &'static str, value: impl Into<String>, fits: bool) {
        let mut set = self.unit.directives.iter();
        if fits && !set.any(|it| it.section == "Service" && it.key == key) {
            let value = value.into();
            self.bounds.push(Bound { key, value });
        }
    }

    /// Whether a value of the unit has this word in it.
    fn says(&self, word: &str) -> bool {
        let mut set = self.unit.directives.iter();
        set.any(|it| it.section == "Service" && it.value.contains(word))
    }

    fn has(&self, key: &str) -> bool {
        !self.unit.all("Service", key).is_empty()
    }

    fn updates(&self) -> bool {
        named(self.service, &UPDATERS)
    }

    /// Containers, and what makes some, need what most bounds take away.
    fn manages(&self) -> bool {
        self.has("Delegate") || !self.seen.one_world
    }

    fn files(&mut self) {
        let seen = self.seen;
        let privileged = self.updates() || self.manages();
        self.add("NoNewPrivileges", "yes", !privileged);
        let system = ["/usr", "/boot", "/efi", "/etc", "/bin", "/sbin", "/lib"];
        let changes = self.has("ConfigurationDirectory") || under(&seen.written, &system);
        self.add("ProtectSystem", "full", !self.updates() && !changes);
        let homes = ["/home", "/root", "/run/user"];
        let at_home = under(&seen.files, &homes) || homes.iter().any(|it| self.says(it));
        self.add("ProtectHome", "yes", !at_home && !self.says("%h"));
        let shares = under(&seen.files, &["/tmp", "/var/tmp"]) || self.says("/tmp");
        self.add(
            "PrivateTmp",
            "yes",
            !shares && !self.has("JoinsNamespaceOf"),
        );
        let given = ["DeviceAllow", "SupplementaryGroups", "AmbientCapabilities"];
        let devices =
            !seen.devices.is_empty() || self.says("/dev/") || given.iter().any(|it| self.has(it));
        self.add("PrivateDevices", "yes", !devices && !self.manages());
        let tunes = under(&seen.written, &["/proc/sys", "/sys"]);
        self.add("ProtectKernelTunables", "yes", !tunes && !self.manages());
        let loads = self.manages() || self.says("modprobe");
        self.add("ProtectKernelModules", "yes", !loads);
        let logs = ["/proc/kmsg", "/dev/kmsg"];
        let reads = under(&seen.files, &logs) || under(&seen.devices, &logs) || self.says("kmsg");
        self.add("ProtectKernelLogs", "yes", !reads);
        let groups = under(&seen.written, &["/sys/fs/cgroup"]) || self.manages();
        self.add("ProtectControlGroups", "yes", !groups);
    }

    fn kernel(&mut self) {
        let seen = self.seen;
        if let Some(families) = &seen.families {
            // What every service may come to need, and what was seen.
            let mut list = vec!["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"];
            list.extend(families.iter().filter(|it| **it == "AF_PACKET"));
            self.add("RestrictAddressFamilies", list.join(" "), !self.manages());
        }
        self.add("RestrictNamespaces", "yes", !self.manages());
        self.add("LockPersonality", "yes", true);
        let real_time = seen.real_time || self.has("CPUSchedulingPolicy");
        self.add("RestrictRealtime", "yes", !real_time);
        self.add("RestrictSUIDSGID", "yes", !self.updates());
        let rare = capabilities(self.service, seen);
        self.add("CapabilityBoundingSet", rare, !self.manages());
        let filtered = !self.manages() && !self.updates();
        // Together with the filter: a call that is refused is an error, not the end.
        let errors = filtered && !self.has("SystemCallFilter");
        self.add("SystemCallFilter", "@system-service", filtered);
        self.add("SystemCallErrorNumber", "EPERM", errors);
        self.add("SystemCallArchitectures", "native", true);
    }
}

fn under(files: &BTreeSet<HostPath>, places: &[&'static str]) -> bool {
    let mut places = places.iter().map(|it| HostPath::of(it));
    places.any(|place| files.iter().any(|file| file.is_in(&place)))
}

/// All that is rare, unless it was seen with a service that had given up the rest, or its name says that it needs it.
fn capabilities(service: &Service, seen: &Seen) -> String {
    let bit = |name: &str| {
        let at = CAPABILITIES.iter().position(|it| *it == name);
        at.is_some_and(|at| {
            seen.capabilities
                .wrapping_shr(u32::try_from(at).unwrap_or(63))
                & 1
                == 1
        })
    };
    // Whoever can load modules and set the clock and reboot has simply all of them.
    let all = bit("sys_module") && bit("sys_boot") && bit("sys_admin");
    let clock = ["ntp", "chrony", "time", "ptp", "gpsd", "hwclock"]
        .iter()
        .any(|it| service.name.contains(it));
    let taken = RARE.iter().filter(|name| {
        let used = (!all && bit(name)) || (clock && matches!(**name, "sys_time" | "wake_alarm"));
        !used
    });
    let taken: Vec<_> = taken
        .map(|name| format!("CAP_{}", name.to_ascii_uppercase()))
        .collect();
    format!("~{}", taken.join(" "))
}
