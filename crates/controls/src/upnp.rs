//! The control `upnp`: it is off until the owner switches it on, and nothing else on the device speaks it.

mod known;
mod rules;
pub mod settings;

use std::collections::BTreeSet;

use stockade_profile::{Control, ServiceName};

use crate::engine::{
    Action, Case, Check, Confidence, Finding, HostPath, Judged, Listener, Process, Rule,
    ServiceChange, Severity, Stage, Step, Transport, Unseen,
};
use crate::services::{self, Service};
use known::{DAEMON, KNOWN, Known};
use rules::{INSTALLED, LISTENER, PROGRAM, WINDOW};

/// The rule that nothing listens for `UPnP`, for who asks from outside.
pub static NO_LISTENER: &Rule = &LISTENER;

/// Sockets that are for nothing else: SSDP, NAT-PMP and PCP (RFC 6886 §3.1, RFC 6887 §7.1), and events of Windows.
const PORTS: [(Transport, u16); 4] = [
    (Transport::Udp, 1900),
    (Transport::Udp, 5350),
    (Transport::Udp, 5351),
    (Transport::Tcp, 2869),
];
/// Where programs are installed.
const PLACES: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
];

/// The control `upnp`.
#[derive(Debug)]
pub struct Upnp;

impl Check for Upnp {
    fn control(&self) -> Control {
        Control::Upnp
    }

    fn rules(&self) -> &'static [&'static Rule] {
        &rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        let services = services::list(case.host);
        let facts = Facts {
            case,
            services: services.as_deref().unwrap_or_default(),
            processes: case.host.processes().unwrap_or_default(),
        };
        facts.listeners(&mut judged);
        facts.programs(services.as_ref().err(), &mut judged);
        facts.installed(&mut judged);
        settings::judge(case, &mut judged);
        window(case, &mut judged);
        judged
    }
}

struct Facts<'a> {
    case: &'a Case<'a>,
    services: &'a [Service],
    processes: &'a [Process],
}

impl Facts<'_> {
    /// Stockade's own daemon, while the owner has it on.
    fn is_own(&self, user: u32) -> bool {
        let own = self.case.own;
        own.upnp.is_some() && own.users.contains(&user)
    }

    fn listeners(&self, judged: &mut Judged) {
        let listeners = match self.case.host.listeners() {
            Ok(listeners) => listeners,
            Err(why) => return judged.unseen(&LISTENER, "what listens", &why),
        };
        let speaks = |listener: &Listener| {
            let port = (listener.transport, listener.address.port());
            let of = |process: &&Process| listener.processes.contains(&process.pid);
            let known = |process: &Process| of_process(process).is_some_and(|it| it.serves);
            PORTS.contains(&port) || self.processes.iter().filter(of).any(known)
        };
        let others = listeners.iter().filter(|it| !self.is_own(it.user));
        let findings = others.filter(|it| speaks(it)).map(|listener| {
            let place = format!("{} {}", listener.transport, listener.address);
            let of = self.processes.iter();
            let of = of.filter(|it| listener.processes.contains(&it.pid));
            let processes: Vec<&Process> = of.collect();
            let names: BTreeSet<&str> = processes.iter().map(|it| it.name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            let who = if names.is_empty() {
                "a program that can not be seen".to_owned()
            } else {
                names.join(", ")
            };
            let finding = Finding::of(&LISTENER, &place, format!("{who} takes UPnP at {place}"))
                .seen(&place, who);
            mended(finding, self.ending(&[], &processes))
        });
        judged.judged(
            &LISTENER,
            format!("{} listeners", listeners.len()),
            findings.collect(),
        );
    }

    fn programs(&self, unseen: Option<&Unseen>, judged: &mut Judged) {
        let mut findings = Vec::new();
        for known in &KNOWN {
            let services = self.services.iter().filter(|it| is_service(known, it));
            let started =
                services.filter(|it| !it.masked && (it.enabled || it.runs() == Some(true)));
            let services: Vec<&Service> = started.collect();
            let processes = self.processes.iter();
            let processes = processes
                .filter(|it| of_process(it).is_some_and(|its| its.name == known.name))
                .filter(|it| !self.is_own(it.user));
            let processes: Vec<&Process> = processes.collect();
            if services.is_empty() && processes.is_empty() {
                continue;
            }
            let state = if processes.is_empty() {
                "is started at boot"
            } else {
                "runs"
            };
            let what = format!("{}, {}, {state}", known.name, known.what);
            let mut finding = Finding::of(&PROGRAM, format!("program {}", known.name), what);
            if !known.serves {
                finding = finding.with(Severity::Medium, Confidence::High);
            }
            for service in &services {
                finding = finding.seen(service.unit.to_string(), "enabled or running");
            }
            for process in &processes {
                finding = finding.seen(format!("process {}", process.pid), &process.name);
            }
            findings.push(mended(finding, self.ending(&services, &processes)));
        }
        let looked_at = format!(
            "{} services and {} processes",
            self.services.len(),
            self.processes.len()
        );
        match unseen {
            Some(why) => judged.cannot_tell(&PROGRAM, format!("the services: {why}"), findings),
            None => judged.judged(&PROGRAM, looked_at, findings),
        }
    }

    /// What ends these and keeps them ended.
    fn ending(&self, services: &[&Service], processes: &[&Process]) -> Vec<Step> {
        let owns = |service: &&Service, pid: u32| {
            let its = service.processes.as_ref();
            its.is_some_and(|all| all.contains(&pid))
        };
        let mut services: Vec<&Service> = services.to_vec();
        let mut steps = Vec::new();
        for process in processes {
            match self.services.iter().find(|it| owns(it, process.pid)) {
                Some(service) if services.contains(&service) => (),
                Some(service) => services.push(service),
                None => steps.push(Step::safe(
                    Stage::Stop,
                    Action::End {
                        pid: process.pid,
                        started: process.started,
                        name: process.name.clone(),
                    },
                    format!("End {}, which speaks UPnP", process.name),
                )),
            }
        }
        let masks = services.iter().filter_map(|service| {
            let name: ServiceName = service.name.parse().ok()?;
            let says = format!("Stop the service {name} and keep it stopped");
            let action = Action::Service {
                name,
                change: ServiceChange::Mask,
            };
            let risk = "what it shares or opens by UPnP is no longer there";
            Some(Step::risky(Stage::Stop, action, says, risk))
        });
        steps.extend(masks);
        steps
    }

    fn installed(&self, judged: &mut Judged) {
        let allowed = self.case.profile.upnp.allow_enable;
        let (mut findings, mut unseen) = (Vec::new(), Vec::new());
        let mut looked_at = 0_usize;
        for known in KNOWN.iter().filter(|it| !(allowed && it.name == DAEMON)) {
            for place in PLACES {
                let path = format!("{place}/{}", known.name);
                let Ok(path) = HostPath::from_bytes(path.as_bytes()) else {
                    continue;
                };
                looked_at = looked_at.saturating_add(1);
                match self.case.host.entry(&path) {
                    Err(Unseen::Absent) => (),
                    Err(why) => unseen.push(format!("{path}: {why}")),
                    Ok(_) => {
                        let what =
                            format!("{path} is {}, which the device does not need", known.what);
                        let place = path.to_string();
                        let finding = Finding::of(&INSTALLED, &place, what);
                        findings.push(finding.seen(&place, "is there"));
                        break;
                    }
                }
            }
        }
        if unseen.is_empty() {
            judged.judged(&INSTALLED, format!("{looked_at} places"), findings);
        } else {
            judged.cannot_tell(&INSTALLED, unseen.join("; "), findings);
        }
    }
}

/// Without a step that mends it, a person has to.
fn mended(finding: Finding, steps: Vec<Step>) -> Finding {
    if steps.is_empty() {
        return finding;
    }
    finding.mended_by(steps)
}

fn of_process(process: &Process) -> Option<&'static Known> {
    let program = process.program.as_ref().map(HostPath::name);
    KNOWN.iter().find(|known| {
        let name = known.name.as_bytes();
        // The kernel keeps 15 bytes of a name.
        let short = name.get(..15).unwrap_or(name);
        match program {
            Some(program) => program == name,
            None => process.name.as_bytes() == short,
        }
    })
}

fn is_service(known: &Known, service: &Service) -> bool {
    let program = service.program.as_ref().map(HostPath::name);
    service.name == known.name
        || program == Some(known.name.as_bytes())
        || known.services.contains(&service.name.as_str())
}

/// While it is on: as long as the profile says, and not longer.
fn window(case: &Case<'_>, judged: &mut Judged) {
    let Some(left) = case.own.upnp else {
        return judged.judged(&WINDOW, "it is off", Vec::new());
    };
    let upnp = &case.profile.upnp;
    let most = upnp.max_duration.filter(|_| upnp.allow_enable);
    let what = match most {
        None => "UPnP is on, and the profile does not allow it".to_owned(),
        Some(most) if left > most.as_secs() => format!(
            "UPnP is on for {left} more seconds, and the profile allows {}",
            most.as_secs()
        ),
        Some(_) => return judged.judged(&WINDOW, format!("{left} seconds left"), Vec::new()),
    };
    judged.judged(
        &WINDOW,
        "it is on",
        vec![Finding::of(&WINDOW, "window", what)],
    );
}

#[cfg(test)]
mod tests;
