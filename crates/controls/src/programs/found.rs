//! Findings about services and processes, and what mends them.

use stockade_profile::ServiceName;

use crate::engine::{
    Action, Confidence, Finding, HostPath, Process, ServiceChange, Severity, Stage, Step,
};
use crate::services::Service;

use super::rules;

pub(super) fn service_finding(service: &Service) -> Finding {
    let state = if service.runs() == Some(true) {
        "runs"
    } else {
        "starts at boot"
    };
    let what = format!(
        "service `{}` {state}, and the profile does not name it",
        service.name
    );
    let finding = Finding::of(&rules::SERVICES, format!("service {}", service.name), what)
        .seen(service.unit.to_string(), state);
    let Ok(name) = service.name.parse::<ServiceName>() else {
        return finding;
    };
    finding.mended_by(vec![Step::risky(
        Stage::Stop,
        Action::Service {
            name,
            change: ServiceChange::Mask,
        },
        format!("Stop `{}` and keep it stopped", service.name),
        format!("What needs `{}` stops working.", service.name),
    )])
}

pub(super) fn process_finding(
    process: &Process,
    program: &HostPath,
    wrong: &str,
    severity: Severity,
) -> Finding {
    let what = format!("`{}` runs: {wrong}", process.name);
    let action = Action::End {
        pid: process.pid,
        started: process.started,
        name: process.name.clone(),
    };
    Finding::of(&rules::PROCESSES, format!("process {program}"), what)
        .seen(
            format!("process {}", process.pid),
            format!("{program}, user {}", process.user),
        )
        .with(severity, Confidence::Medium)
        .mended_by(vec![Step::risky(
            Stage::Stop,
            action,
            format!("End `{}`, process {}", process.name, process.pid),
            "What it does stops; it is back as soon as something starts it again.",
        )])
}

/// The kernel writes ` (deleted)` behind the name of a program whose file was exchanged or removed.
pub(super) fn undeleted(program: &HostPath) -> HostPath {
    let name = program.as_bytes().strip_suffix(b" (deleted)");
    name.and_then(|name| HostPath::from_bytes(name).ok())
        .unwrap_or_else(|| program.clone())
}

/// Places from which nothing that was installed runs.
pub(super) fn odd(program: &HostPath) -> bool {
    ["/tmp", "/var/tmp", "/dev", "/run", "/home", "/root"]
        .iter()
        .any(|it| program.is_in(&HostPath::of(it)))
}
