//! Which services run as root.

use super::rules;
use crate::engine::{Case, Confidence, Finding, Judged, Process, Severity};
use crate::services::Service;
use crate::services::unit;

/// Parts of the system itself: they start, watch and serve everything else, and nobody chose them.
const SYSTEM: [&str; 31] = [
    "acpid",
    "bootmisc",
    "console-getty",
    "cron",
    "crond",
    "dbus",
    "dbus-broker",
    "debug-shell",
    "devfs",
    "dmesg",
    "dpkg-db-backup",
    "emergency",
    "eudev",
    "getty",
    "getty-static",
    "hwdrivers",
    "initrd-cleanup",
    "initrd-switch-root",
    "klogd",
    "log",
    "mdev",
    "modloop",
    "networking",
    "quotaon",
    "rc-local",
    "rescue",
    "sysctl",
    "sysfs",
    "syslog",
    "udev",
    "umountfs",
];

/// Whether a service is a part of the system. Names count for what comes with the system only: a unit in `/etc` is somebody's.
pub(super) fn is_systems_own(service: &Service) -> bool {
    let stem = service.name.split('@').next().unwrap_or_default();
    let named = SYSTEM.contains(&stem)
        || stem.starts_with("systemd-")
        || [
            "serial-getty",
            "container-getty",
            "user",
            "user-runtime-dir",
            "autovt",
            "modprobe",
        ]
        .contains(&stem);
    let path = service.unit.as_bytes();
    let places: [&[u8]; 3] = [b"/usr/lib/systemd/", b"/lib/systemd/", b"/etc/init.d/"];
    named && places.iter().any(|it| path.starts_with(it))
}

/// The processes of a service.
pub(crate) fn processes_of<'a>(all: &'a [Process], service: &Service) -> Vec<&'a Process> {
    let own = service.processes.as_deref().unwrap_or_default();
    all.iter().filter(|it| own.contains(&it.pid)).collect()
}

/// Whether a service ends when it has done its work: a job, not a door.
pub(super) fn is_a_job(case: &Case<'_>, service: &Service) -> bool {
    if !service.unit.as_bytes().ends_with(b".service") {
        // Scripts that name no program set something up.
        return service.program.is_none();
    }
    unit::read(case.host, &format!("{}.service", service.name))
        .is_ok_and(|unit| unit.last("Service", "Type") == Some("oneshot"))
}

/// Judges who runs as root.
pub(super) fn judge(case: &Case<'_>, services: &[Service], judged: &mut Judged) {
    let processes = case.host.processes().unwrap_or_default();
    let listeners = case.host.listeners().unwrap_or_default();
    let mut findings = Vec::new();
    let mut looked_at = 0_usize;
    for service in services {
        let own = processes_of(processes, service);
        if service.masked || (!service.enabled && own.is_empty()) {
            continue;
        }
        looked_at = looked_at.saturating_add(1);
        let named = &case.profile.privileges.root_services;
        let stem = service.name.split('@').next().unwrap_or_default();
        if named
            .iter()
            .any(|it| [stem, &service.name].contains(&it.as_str()))
            || case.own.services.contains(&service.name)
            || is_systems_own(service)
        {
            continue;
        }
        let seen: Vec<_> = own.iter().filter(|it| it.user == 0).collect();
        let said = matches!(service.user.as_deref(), None | Some("root" | "0"));
        // What is seen counts; what is only written counts where nothing runs.
        let (is_root, confidence) = if own.is_empty() {
            (said && !is_a_job(case, service), Confidence::Medium)
        } else {
            (!seen.is_empty(), Confidence::High)
        };
        if !is_root {
            continue;
        }
        let reachable = listeners.iter().any(|listener| {
            !listener.address.ip().is_loopback()
                && seen.iter().any(|it| listener.processes.contains(&it.pid))
        });
        let (severity, reach) = if reachable {
            (Severity::High, " and can be reached from outside")
        } else {
            (rules::ROOT_SERVICE.severity, "")
        };
        let what = format!(
            "The service {} runs as root{reach}, and the profile does not name it",
            service.name
        );
        let mut finding = Finding::of(
            &rules::ROOT_SERVICE,
            format!("service {}", service.name),
            what,
        )
        .with(severity, confidence);
        for process in seen.iter().take(5) {
            finding = finding.seen(
                format!("process {}", process.pid),
                format!("{} as user 0", process.name),
            );
        }
        if seen.is_empty() {
            finding = finding.seen(service.unit.to_string(), "no other user is named");
        }
        findings.push(finding);
    }
    judged.judged(
        &rules::ROOT_SERVICE,
        format!("{looked_at} services"),
        findings,
    );
}
