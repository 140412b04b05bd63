//! What is there against what the profile allows.

use std::collections::{BTreeMap, BTreeSet};

use stockade_profile::{PackageName, ServiceName, Ssh};

use crate::engine::{
    Action, Case, Confidence, Finding, HostPath, Judged, Kind, Process, Remedy, Severity, Stage,
    Step, Unseen,
};
use crate::services::{self, Service};

use super::found::{odd, process_finding, service_finding, undeleted};
use super::named::{CLASSES, Class, class, of_upnp};
use super::packages::{self, Installed};
use super::rules;

/// The name in a profile that stands for the base system.
const BASE: &str = "base";
/// Where programs are started from by name.
const PATH: [&str; 8] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/bin",
    "/opt/sbin",
];
/// The servers of SSH: whether they may be on is for the control `credentials`.
const SSH_SERVICES: [&str; 3] = ["ssh", "sshd", "dropbear"];
const SSH_PACKAGES: [&str; 4] = ["openssh-server", "openssh", "dropbear", "dropbear-bin"];
/// Our own programs, where they are installed.
const OURS: [&str; 3] = [
    "/usr/lib/stockade",
    "/usr/bin/stockade",
    "/usr/local/bin/stockade",
];

/// Everything that judging takes.
struct Look<'a> {
    case: &'a Case<'a>,
    installed: Result<Installed, Unseen>,
    base: BTreeSet<String>,
    allowed: BTreeSet<String>,
}

pub(super) fn judge(case: &Case<'_>) -> Judged {
    let installed = packages::read(case.host);
    let (mut base, mut allowed) = (BTreeSet::new(), BTreeSet::new());
    if let Ok(installed) = &installed {
        base = installed.base();
        let profile = case.profile;
        let ssh = profile.credentials.ssh == Ssh::KeysOnly;
        let named = profile.programs.packages.iter().map(PackageName::as_str);
        let named = named
            .chain(case.own.services.iter().map(String::as_str))
            .chain(SSH_PACKAGES.into_iter().filter(|_| ssh));
        allowed = installed.with_needs(named);
        if profile
            .programs
            .packages
            .iter()
            .any(|it| it.as_str() == BASE)
        {
            allowed.extend(base.iter().cloned());
        }
    }
    let look = Look {
        case,
        installed,
        base,
        allowed,
    };
    let mut judged = Judged::default();
    look.packages(&mut judged);
    let all = look.services(&mut judged);
    look.processes(all.as_deref().ok(), &mut judged);
    look.named(&mut judged);
    judged
}

impl Look<'_> {
    fn packages(&self, judged: &mut Judged) {
        let installed = match &self.installed {
            Ok(installed) => installed,
            Err(Unseen::Absent) => {
                return judged.does_not_apply(&rules::PACKAGES, "there is no package manager");
            }
            Err(why) => return judged.unseen(&rules::PACKAGES, "the packages", why),
        };
        let too_many: BTreeSet<&String> = installed
            .all
            .keys()
            .filter(|name| !self.allowed.contains(*name) && !of_upnp(name))
            .collect();
        let (system, others): (Vec<&String>, Vec<&String>) =
            too_many.iter().partition(|name| self.base.contains(**name));
        let mut findings = Vec::new();
        if !system.is_empty() {
            let what = format!(
                "{} packages of the base system are installed, and the profile does not name `{BASE}`",
                system.len()
            );
            let finding = Finding::of(&rules::PACKAGES, "the base system", what);
            findings.push(Finding {
                remedy: Remedy::Person(format!("Write `{BASE}` into `[programs] packages` of the profile: without it the device does not run.")),
                ..finding
            });
        }
        findings.extend(self.in_order(installed, &others));
        judged.judged(
            &rules::PACKAGES,
            format!("{} packages", installed.all.len()),
            findings,
        );
    }

    /// A finding for each package, those that need others before the others: so they can be removed one after another.
    fn in_order(&self, installed: &Installed, names: &[&String]) -> Vec<Finding> {
        let set: BTreeSet<&String> = names.iter().copied().collect();
        let mut needed_by: BTreeMap<&String, usize> = set.iter().map(|name| (*name, 0)).collect();
        let needs = |name: &str| {
            installed
                .needs(name)
                .into_iter()
                .filter(|it| it.as_str() != name && set.contains(it))
                .collect::<Vec<_>>()
        };
        for name in &set {
            for need in needs(name) {
                if let Some(count) = needed_by.get_mut(need) {
                    *count = count.saturating_add(1);
                }
            }
        }
        let first: BTreeSet<&String> = needed_by
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(name, _)| *name)
            .collect();
        let mut ready = first.clone();
        let mut left = set.clone();
        let mut findings = Vec::new();
        // A circle has no first: then the first by name is taken.
        while let Some(name) = ready.pop_first().or_else(|| left.first().copied()) {
            if !left.remove(name) {
                continue;
            }
            for need in needs(name) {
                if let Some(count) = needed_by.get_mut(need) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        ready.insert(need);
                    }
                }
            }
            findings.push(self.package(installed, name, first.contains(name)));
        }
        findings
    }

    fn package(&self, installed: &Installed, name: &str, by_itself: bool) -> Finding {
        let (what, severity) = if by_itself {
            let severity = class(name).map_or(rules::PACKAGES.severity, |it| it.rule.severity);
            (
                format!("package `{name}` is installed, and the profile does not name it"),
                severity,
            )
        } else {
            (
                format!(
                    "package `{name}` is installed only because of others that the profile does not name"
                ),
                Severity::Info,
            )
        };
        let finding = Finding::of(&rules::PACKAGES, format!("package {name}"), what)
            .seen(format!("package {name}"), "installed")
            .with(severity, Confidence::High);
        self.removed(installed, finding, name)
    }

    fn removed(&self, installed: &Installed, finding: Finding, name: &str) -> Finding {
        if self.base.contains(name) {
            return finding;
        }
        let Ok(package) = name.parse::<PackageName>() else {
            return finding;
        };
        finding.mended_by(vec![Step::risky(
            Stage::Remove,
            Action::RemovePackage {
                manager: installed.manager,
                name: package,
            },
            format!("Remove the package `{name}`"),
            format!("What uses `{name}` without saying so stops working."),
        )])
    }

    /// Judges the services; gives them all back. Those of the base system are never found fault with, whether the profile names it
    /// or not: that is said once, of the packages.
    fn services(&self, judged: &mut Judged) -> Result<Vec<Service>, Unseen> {
        let all = services::list(self.case.host);
        let all = match all {
            Ok(all) => all,
            Err(why) => {
                judged.unseen(&rules::SERVICES, "the services", &why);
                return Err(why);
            }
        };
        let on = all
            .iter()
            .filter(|it| !it.masked && (it.enabled || it.runs() == Some(true)));
        let unnamed: Vec<_> = on.filter(|it| !self.names_service(&it.name)).collect();
        let units = unnamed.iter().map(|it| it.unit.clone()).collect();
        let (owners, unknown) = match self.owners(&units) {
            Ok(owners) => (owners, None),
            Err(why) => (
                BTreeMap::new(),
                Some(format!("which services are of the base system: {why}")),
            ),
        };
        let of_base = |service: &Service| {
            let owner = owners.get(&service.unit);
            owner.is_some_and(|owner| self.base.contains(owner))
        };
        let strange = unnamed.iter().filter(|it| !of_base(it));
        let findings = if unknown.is_some() {
            Vec::new()
        } else {
            strange.map(|it| service_finding(it)).collect()
        };
        match unknown {
            Some(why) => judged.cannot_tell(&rules::SERVICES, why, findings),
            None => judged.judged(
                &rules::SERVICES,
                format!("{} services", all.len()),
                findings,
            ),
        }
        Ok(all)
    }

    /// Whether the profile names a service, it is ours, or another control judges it. An instance goes by its template's name.
    fn names_service(&self, name: &str) -> bool {
        let template = name.split('@').next().unwrap_or(name);
        let is_it = |it: &str| it == name || it == template;
        let mut named = self
            .case
            .profile
            .programs
            .services
            .iter()
            .map(ServiceName::as_str);
        named.any(is_it)
            || self.case.own.services.iter().any(|it| is_it(it))
            || SSH_SERVICES.contains(&template)
            || of_upnp(template)
    }

    /// Who owns files; nobody where there is no package manager.
    fn owners(&self, wanted: &BTreeSet<HostPath>) -> Result<BTreeMap<HostPath, String>, Unseen> {
        match &self.installed {
            Ok(installed) => installed.owners(self.case.host, wanted),
            Err(Unseen::Absent) => Ok(BTreeMap::new()),
            Err(why) => Err(why.clone()),
        }
    }

    fn processes(&self, services: Option<&[Service]>, judged: &mut Judged) {
        let processes = match self.case.host.processes() {
            Ok(processes) => processes,
            Err(Unseen::Offline) => {
                return judged
                    .does_not_apply(&rules::PROCESSES, "only a running system has processes");
            }
            Err(why) => return judged.unseen(&rules::PROCESSES, "the processes", &why),
        };
        let of_services: BTreeSet<u32> = services
            .into_iter()
            .flatten()
            .filter_map(|it| it.processes.as_ref())
            .flatten()
            .copied()
            .collect();
        let strangers: Vec<(&Process, HostPath)> = processes
            .iter()
            .filter(|it| {
                it.pid != 1
                    && !of_services.contains(&it.pid)
                    && !self.case.own.users.contains(&it.user)
            })
            .filter(|it| !of_upnp(&it.name) && !SSH_SERVICES.contains(&it.name.as_str()))
            .filter_map(|it| Some((it, undeleted(it.program.as_ref()?))))
            .filter(|(_, program)| !OURS.iter().any(|it| program.is_in(&HostPath::of(it))))
            .collect();
        let programs = strangers
            .iter()
            .map(|(_, program)| program.clone())
            .collect();
        let owners = self.owners(&programs);
        let listening: BTreeSet<u32> = self
            .case
            .host
            .listeners()
            .into_iter()
            .flatten()
            .flat_map(|it| &it.processes)
            .copied()
            .collect();
        let mut findings = Vec::new();
        for (process, program) in &strangers {
            let owner = owners.as_ref().ok().and_then(|owners| owners.get(program));
            let known = owner.is_some_and(|it| self.allowed.contains(it) || self.base.contains(it));
            let (wrong, severity) = if let Some(class) = class(&process.name) {
                (class.called, class.rule.severity)
            } else if listening.contains(&process.pid) {
                ("it listens, and belongs to no service", Severity::Medium)
            } else if known || (owners.is_err() || self.installed.is_err()) && !odd(program) {
                continue;
            } else if owner.is_some() {
                ("its package is not named by the profile", Severity::Low)
            } else {
                ("it belongs to no package and no service", Severity::Medium)
            };
            findings.push(process_finding(process, program, wrong, severity));
        }
        match (owners, services) {
            (Ok(_), Some(_)) => judged.judged(
                &rules::PROCESSES,
                format!("{} processes", processes.len()),
                findings,
            ),
            (Err(why), _) => judged.cannot_tell(
                &rules::PROCESSES,
                format!("what packages programs belong to: {why}"),
                findings,
            ),
            (_, None) => {
                judged.cannot_tell(&rules::PROCESSES, "the services can not be told", findings);
            }
        }
    }

    /// The programs that have a name that tells, and why that may not be all.
    fn files_by_name(&self) -> (BTreeMap<HostPath, &'static Class>, Option<String>) {
        let mut unseen = None;
        let mut files = BTreeMap::new();
        for directory in PATH.map(HostPath::of) {
            // On merged systems `/bin` is a link to `/usr/bin`.
            if self
                .case
                .host
                .entry(&directory)
                .is_ok_and(|it| it.kind == Kind::Link)
            {
                continue;
            }
            match self.case.host.list(&directory) {
                Ok(names) => files.extend(names.into_iter().filter_map(|(name, entry)| {
                    let found = class(str::from_utf8(&name).ok()?)?;
                    let program = entry.kind == Kind::Link
                        || (entry.kind == Kind::File && entry.mode & 0o111 != 0);
                    program.then_some((directory.join(&name).ok()?, found))
                })),
                Err(Unseen::Absent) => (),
                Err(why) => unseen = Some(format!("{directory}: {why}")),
            }
        }
        (files, unseen)
    }

    /// Packages, and files where programs are started from, that have a name that tells.
    fn named(&self, judged: &mut Judged) {
        let (files, unseen) = self.files_by_name();
        let owners = self
            .owners(&files.keys().cloned().collect())
            .unwrap_or_default();
        let mut findings: BTreeMap<(&str, String), Finding> = BTreeMap::new();
        if let Ok(installed) = &self.installed {
            for name in installed
                .all
                .keys()
                .filter(|name| !self.allowed.contains(*name))
            {
                let Some(class) = class(name) else { continue };
                let what = format!("`{name}` is {}", class.called);
                let finding = Finding::of(class.rule, format!("package {name}"), what)
                    .seen(format!("package {name}"), "installed");
                findings.insert(
                    (class.rule.id, finding.subject.clone()),
                    self.removed(installed, finding, name),
                );
            }
        }
        for (path, class) in &files {
            let owner = owners.get(path);
            if owner.is_some_and(|owner| self.allowed.contains(owner)) {
                continue;
            }
            let subject =
                owner.map_or_else(|| path.to_string(), |owner| format!("package {owner}"));
            let key = (class.rule.id, subject.clone());
            let known = findings.remove(&key);
            let finding = known.unwrap_or_else(|| {
                let what = format!("{path} is {}", class.called);
                let finding = Finding::of(class.rule, subject, what);
                match (&self.installed, owner) {
                    (Ok(installed), Some(owner)) => self.removed(installed, finding, owner),
                    _ => finding.mended_by(vec![Step::risky(
                        Stage::Remove,
                        Action::Remove { path: path.clone() },
                        format!("Remove {path}"),
                        "What starts this program stops working.",
                    )]),
                }
            });
            findings.insert(key, finding.seen(path.to_string(), class.called));
        }
        let told: BTreeSet<&str> = CLASSES.iter().map(|it| it.rule.id).collect();
        for id in told {
            let Some(rule) = CLASSES.iter().map(|it| it.rule).find(|it| it.id == id) else {
                continue;
            };
            let of_rule = findings
                .iter()
                .filter(|((of, _), _)| *of == id)
                .map(|(_, finding)| finding.clone())
                .collect();
            match &unseen {
                Some(why) => judged.cannot_tell(rule, why.clone(), of_rule),
                None => judged.judged(rule, "packages and programs by name", of_rule),
            }
        }
    }
}
