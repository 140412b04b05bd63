//! Judging: what the kernel has, who is confined, and whether it holds.

use std::collections::BTreeSet;

use stockade_profile::{Mac, MacSystem, ServiceName};

use super::need::Need;
use super::selinux::Context;
use super::service::{Confinement, confinement, label, needs, own};
use super::{Attempt, Forbidden, apparmor, grsecurity, place, rules, selinux};
use crate::engine::{
    Action, Case, Finding, Framework, Host, HostPath, InitSystem, Judged, Kind, Process, Remedy,
    Severity, Stage, Step, Unseen,
};
use crate::privileges::{TRIAL_SECONDS, health, processes_of};
use crate::services::unit;
use crate::services::{self, Service};

/// Names that the kernel's list of security modules has, for what can confine.
const SYSTEMS: [(&str, &str); 5] = [
    ("apparmor", "AppArmor"),
    ("grsecurity", "grsecurity"),
    ("selinux", "SELinux"),
    ("smack", "Smack"),
    ("tomoyo", "TOMOYO"),
];
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// The framework, if policies can be made for it here.
pub(super) fn framework(system: MacSystem) -> Option<Framework> {
    match system {
        MacSystem::AppArmor => Some(Framework::Apparmor),
        MacSystem::SeLinux => Some(Framework::Selinux),
        MacSystem::Grsecurity => None,
    }
}

fn word(system: MacSystem) -> &'static str {
    match system {
        MacSystem::AppArmor => "apparmor",
        MacSystem::SeLinux => "selinux",
        MacSystem::Grsecurity => "grsecurity",
    }
}

fn text(host: &dyn Host, path: &'static str, most: usize) -> Result<String, Unseen> {
    let bytes = host.read(&HostPath::of(path), most)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// What of [`SYSTEMS`] the kernel has in force.
fn there(host: &dyn Host) -> Result<BTreeSet<&'static str>, Unseen> {
    let listed = match text(host, "/sys/kernel/security/lsm", 1 << 16) {
        Ok(list) => list,
        // Where nobody mounted securityfs, each is asked for by itself.
        Err(Unseen::Absent) => {
            let mut list = String::new();
            match text(host, "/sys/module/apparmor/parameters/enabled", 1 << 16) {
                Ok(enabled) if enabled == "Y" => list.push_str("apparmor,"),
                Ok(_) | Err(Unseen::Absent) => (),
                Err(why) => return Err(why),
            }
            match host.entry(&HostPath::of("/sys/fs/selinux/enforce")) {
                Ok(_) => list.push_str("selinux"),
                Err(Unseen::Absent) => (),
                Err(why) => return Err(why),
            }
            list
        }
        Err(why) => return Err(why),
    };
    let mut found: BTreeSet<_> = SYSTEMS
        .iter()
        .filter(|(word, _)| listed.split(',').any(|it| it == *word))
        .map(|(word, _)| *word)
        .collect();
    match host.entry(&HostPath::of("/proc/sys/kernel/grsecurity")) {
        Ok(entry) if entry.kind == Kind::Directory => {
            found.insert("grsecurity");
        }
        Ok(_) | Err(Unseen::Absent) => (),
        Err(why) => return Err(why),
    }
    Ok(found)
}

/// Judges whether the kernel has the system; whether it has.
pub(super) fn system(case: &Case<'_>, mac: &Mac, judged: &mut Judged) -> bool {
    let rule = &rules::SYSTEM;
    let found = match there(case.host) {
        Ok(found) => found,
        Err(why) => {
            judged.unseen(rule, "what the kernel confines by", &why);
            return false;
        }
    };
    let named = |word: &str| {
        let known = SYSTEMS.iter().find(|(it, _)| *it == word);
        known.map_or("", |(_, name)| name)
    };
    let all: Vec<_> = found.iter().map(|it| named(it)).collect();
    let all = if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.join(" and ")
    };
    let wanted = word(mac.system);
    let is_there = found.contains(wanted);
    let findings = if is_there {
        Vec::new()
    } else {
        let what = format!("The kernel has {all} in force, and not {}", named(wanted));
        vec![Finding::of(rule, "kernel", what).seen("/sys/kernel/security/lsm", all.clone())]
    };
    judged.judged(rule, all, findings);
    is_there
}

/// Judges whether it refuses.
pub(super) fn enforcing(case: &Case<'_>, mac: &Mac, judged: &mut Judged) {
    let rule = &rules::ENFORCING;
    let (place, wanted) = match mac.system {
        MacSystem::AppArmor => ("/sys/module/apparmor/parameters/mode", "enforce"),
        MacSystem::SeLinux => ("/sys/fs/selinux/enforce", "1"),
        MacSystem::Grsecurity => {
            return judged.cannot_tell(rule, "gradm tells only its own administrator", Vec::new());
        }
    };
    let seen = match text(case.host, place, 1 << 16) {
        Ok(seen) => seen,
        Err(why) => return judged.unseen(rule, place, &why),
    };
    let mut findings = Vec::new();
    if seen != wanted {
        let what = "The kernel only watches what its policy forbids";
        findings.push(Finding::of(rule, "kernel", what).seen(place, seen));
    }
    // The first process is `kernel` as long as there is no policy.
    if mac.system == MacSystem::SeLinux
        && label(case.host, Framework::Selinux, "1").is_ok_and(|it| Context::read(&it).is_none())
    {
        findings.push(Finding::of(
            rule,
            "policy",
            "No policy of SELinux is loaded",
        ));
    }
    judged.judged(rule, place, findings);
}

/// The labels of the services that are to be confined and are.
pub(super) fn enforced(
    host: &dyn Host,
    mac: &Mac,
    permissive: &BTreeSet<String>,
) -> BTreeSet<(Framework, String)> {
    let mut found = BTreeSet::new();
    let (Some(framework), Ok(services)) = (framework(mac.system), services::list(host)) else {
        return found;
    };
    let init = label(host, framework, "1").unwrap_or_default();
    let processes = host.processes().unwrap_or_default();
    for service in services {
        if !mac.confine.iter().any(|it| it.as_str() == service.name) {
            continue;
        }
        for process in processes_of(processes, &service) {
            let Ok(label) = label(host, framework, &process.pid.to_string()) else {
                continue;
            };
            let (how, policy) = confinement(framework, &label, permissive, &init);
            if how == Confinement::Enforced {
                let entered = match framework {
                    Framework::Apparmor => policy,
                    Framework::Selinux => label,
                };
                found.insert((framework, entered));
            }
        }
    }
    found
}

/// Judges each service that the profile names.
pub(super) fn confined(case: &Case<'_>, mac: &Mac, judged: &mut Judged) {
    let rule = &rules::CONFINED;
    let services = match services::list(case.host) {
        Ok(services) => services,
        Err(why) => return judged.unseen(rule, "the services", &why),
    };
    let processes = match case.host.processes() {
        Ok(processes) => processes,
        Err(why) => return judged.unseen(rule, "the processes", &why),
    };
    let (mut findings, mut unseen, mut count) = (Vec::new(), None, 0_usize);
    for name in &mac.confine {
        let service = services.iter().find(|it| it.name == name.as_str());
        // What is not there needs nothing; what should be there is for `programs`.
        let Some(service) = service.filter(|it| !it.masked) else {
            continue;
        };
        count = count.saturating_add(1);
        let own = processes_of(processes, service);
        match one(case, mac, name, service, &own) {
            Ok(finding) => findings.extend(finding),
            Err(why) => unseen = Some(format!("`{name}`: {why}")),
        }
    }
    match (mac.system, unseen) {
        (MacSystem::Grsecurity, _) => {
            judged.cannot_tell(rule, "gradm tells only its own administrator", findings);
        }
        (_, Some(why)) => judged.cannot_tell(rule, why, findings),
        (_, None) => judged.judged(rule, format!("{count} services"), findings),
    }
}

/// Judges one service.
fn one(
    case: &Case<'_>,
    mac: &Mac,
    name: &ServiceName,
    service: &Service,
    processes: &[&Process],
) -> Result<Option<Finding>, Unseen> {
    let finding = |what: String| Finding::of(&rules::CONFINED, format!("service {name}"), what);
    let Some(framework) = framework(mac.system) else {
        return by_hand(case, name, service, processes);
    };
    if processes.is_empty() {
        let person =
            format!("Start {name} and look again: a policy is made from what it is seen to do.");
        let mut finding = finding(format!(
            "{name} does not run, so that nobody knows what confines it"
        ))
        .with(Severity::Medium, crate::engine::Confidence::Medium);
        finding.remedy = Remedy::Person(person);
        return Ok(Some(finding));
    }
    let permissive = &case.host.mac()?.permissive;
    let init = label(case.host, framework, "1")?;
    let mut worst: Option<(Confinement, String, &Process)> = None;
    for process in processes {
        let label = match label(case.host, framework, &process.pid.to_string()) {
            // It ended meanwhile.
            Err(Unseen::Absent) => continue,
            label => label?,
        };
        let (confinement, policy) = confinement(framework, &label, permissive, &init);
        if worst.as_ref().is_none_or(|(it, ..)| confinement < *it) {
            worst = Some((confinement, policy, process));
        }
    }
    let (confinement, policy, process) = worst.ok_or(Unseen::Absent)?;
    let seen = |finding: Finding| {
        finding.seen(
            format!("process {} ({})", process.pid, process.name),
            policy.clone(),
        )
    };
    let mut making = Making {
        case,
        framework,
        name,
        service,
        processes,
    };
    Ok(match confinement {
        Confinement::Enforced => None,
        Confinement::None => {
            let finding = seen(finding(format!("{name} is not confined")));
            // A policy that was enforced already is not watched again.
            let enforced = making.policy()?.is_some_and(|it| !it.watches);
            Some(making.mended(finding, !enforced))
        }
        Confinement::Watched => {
            let over = match making.policy()? {
                Some(it) if it.watches => {
                    let until = it.since.saturating_add(mac.learn.as_secs());
                    (until > case.now).then_some(until.saturating_sub(case.now))
                }
                _ => {
                    let mut finding = seen(finding(format!(
                        "{name} is only watched, by a policy that is not ours"
                    )));
                    finding.remedy = Remedy::Person(rules::PERMISSIVE.advice.to_owned());
                    return Ok(Some(finding));
                }
            };
            let finding = seen(finding(format!(
                "{name} is watched at its work, and not confined yet"
            )))
            .with(Severity::Medium, crate::engine::Confidence::High);
            Some(match over {
                Some(left) => Finding {
                    remedy: Remedy::Person(format!(
                        "Nothing yet: it can be confined in {} minutes, when it was watched for long enough.",
                        left.div_ceil(60)
                    )),
                    ..finding
                },
                None => making.mended(finding, false),
            })
        }
    })
}

/// A policy of ours as it is kept.
struct Kept {
    text: String,
    watches: bool,
    /// When it was written.
    since: u64,
}

/// A policy that is to be made.
struct Making<'a> {
    case: &'a Case<'a>,
    framework: Framework,
    name: &'a ServiceName,
    service: &'a Service,
    processes: &'a [&'a Process],
}

impl Making<'_> {
    fn place(&self) -> Result<HostPath, Unseen> {
        let path = place(self.framework, self.name);
        HostPath::from_bytes(path.as_bytes()).map_err(|why| Unseen::Damaged(why.to_string()))
    }

    fn policy(&mut self) -> Result<Option<Kept>, Unseen> {
        let path = self.place()?;
        let text = match self.case.host.read(&path, 1 << 20) {
            Err(Unseen::Absent) => return Ok(None),
            text => String::from_utf8_lossy(&text?).into_owned(),
        };
        Ok(Some(Kept {
            watches: text.contains("flags=(complain,") || text.contains("(typepermissive "),
            since: self.case.host.entry(&path)?.modified,
            text,
        }))
    }

    /// With the step that confines it, or with why only a person can.
    fn mended(&mut self, finding: Finding, complain: bool) -> Finding {
        match self.step(complain) {
            Ok(step) => finding.mended_by(vec![step]),
            Err(why) => Finding {
                remedy: Remedy::Person(format!("{why} {}", rules::CONFINED.advice)),
                ..finding
            },
        }
    }

    /// The step, or why there is none, as a sentence.
    fn step(&mut self, complain: bool) -> Result<Step, String> {
        let (host, name) = (self.case.host, self.name);
        if host.init() != Ok(InitSystem::Systemd) {
            return Err("Only systemd starts a service under a policy by itself.".to_owned());
        }
        let tools: &[&str] = match self.framework {
            Framework::Apparmor => &["apparmor_parser"],
            Framework::Selinux => &["semodule", "secilc"],
        };
        let is_there = |tool: &&str| {
            ["/usr/sbin", "/sbin", "/usr/bin"].iter().any(|place| {
                let path = HostPath::from_bytes(format!("{place}/{tool}").as_bytes());
                path.is_ok_and(|it| host.entry(&it).is_ok())
            })
        };
        if !tools.iter().any(is_there) {
            return Err(format!(
                "There is no `{}` on this device.",
                tools.join("` and no `")
            ));
        }
        let failed = |why: Unseen| format!("What {name} does can not be seen ({why}).");
        let unit = unit::read(host, &format!("{name}.service")).map_err(failed)?;
        let kept = self.policy().map_err(failed)?;
        let kept = kept.as_ref().map(|it| it.text.as_str());
        let needs = needs(
            self.case,
            self.framework,
            self.service,
            &unit,
            self.processes,
            kept,
        )
        .map_err(failed)?;
        let (policy, directive) = match self.framework {
            Framework::Apparmor => {
                let directive = format!("AppArmorProfile={}", super::name(self.framework, name));
                (apparmor::text(name, &needs, complain), directive)
            }
            Framework::Selinux => {
                let context = |pid| {
                    let label = label(host, Framework::Selinux, pid).map_err(failed)?;
                    Context::read(&label)
                        .ok_or_else(|| format!("The label `{label}` is none of a policy."))
                };
                let (init, helper) = (context("1")?, context("self")?);
                let text = selinux::text(name, (&init, &helper), &own(&unit), &needs, complain);
                (text, format!("SELinuxContext={}", init.of(name)))
            }
        };
        let drop_in = format!("/etc/systemd/system/{name}.service.d/60-stockade-mac.conf");
        let content = format!(
            "# {name} starts under a policy of its own, made by Stockade from what it was seen to do.\n[Service]\n{directive}\n"
        );
        let (says, risk) = if complain {
            (
                format!("Watch {name} at its work, to confine it to that later"),
                format!("{name} starts anew. Nothing is refused to it yet."),
            )
        } else {
            (
                format!(
                    "Confine {name} to what it was seen to do, and watch it for {TRIAL_SECONDS} seconds"
                ),
                format!(
                    "{name} starts anew. What it did not do while it was watched is refused from now on: undo lets it again."
                ),
            )
        };
        let action = Action::Mac {
            service: name.clone(),
            framework: self.framework,
            path: self.place().map_err(failed)?,
            policy,
            drop_in: HostPath::from_bytes(drop_in.as_bytes()).map_err(|why| why.to_string())?,
            content,
            health: health(self.case, self.processes)
                .ok_or("What it listens on can not be seen.")?,
        };
        Ok(Step::risky(Stage::Confine, action, says, risk))
    }
}

/// grsecurity: a text for a person.
fn by_hand(
    case: &Case<'_>,
    name: &ServiceName,
    service: &Service,
    processes: &[&Process],
) -> Result<Option<Finding>, Unseen> {
    let path = format!("/etc/stockade/grsecurity/{name}.policy");
    let path =
        HostPath::from_bytes(path.as_bytes()).map_err(|why| Unseen::Damaged(why.to_string()))?;
    if processes.is_empty() || case.host.entry(&path).is_ok() {
        return Ok(None);
    }
    let Some(program) = service
        .program
        .clone()
        .or_else(|| processes.first()?.program.clone())
    else {
        return Ok(None);
    };
    let unit = unit::read(case.host, &format!("{name}.service"))?;
    let needs = needs(case, Framework::Apparmor, service, &unit, processes, None)?;
    let step = Step::safe(
        Stage::Change,
        Action::Put {
            path,
            content: grsecurity::text(name, &program, &needs),
            mode: 0o600,
            owner: (0, 0),
        },
        format!("Write down a policy for {name}, for a person to try and load with gradm"),
    );
    let what = format!("Nobody here can tell whether {name} is confined");
    let finding = Finding::of(&rules::CONFINED, format!("service {name}"), what);
    Ok(Some(finding.mended_by(vec![step])))
}

/// Judges what is left to watch only, of others than ours: those are told by [`confined`].
pub(super) fn permissive(case: &Case<'_>, mac: &Mac, judged: &mut Judged) {
    let rule = &rules::PERMISSIVE;
    let (found, place) = match mac.system {
        MacSystem::AppArmor => match text(case.host, PROFILES, 4 << 20) {
            Ok(text) => {
                let watched = text.lines().filter_map(|it| it.strip_suffix(" (complain)"));
                let watched = watched.filter(|it| !it.contains("//null-"));
                (
                    watched.map(str::to_owned).collect::<BTreeSet<_>>(),
                    PROFILES,
                )
            }
            Err(why) => return judged.unseen(rule, PROFILES, &why),
        },
        MacSystem::SeLinux => match case.host.mac() {
            Ok(known) => (known.permissive.clone(), "domains of what runs"),
            Err(why) => return judged.unseen(rule, "the domains", &why),
        },
        MacSystem::Grsecurity => {
            return judged.does_not_apply(rule, "grsecurity enforces or learns as a whole");
        }
    };
    let others = found
        .iter()
        .filter(|it| !it.starts_with("stockade.") && !it.starts_with("stockade_"));
    let findings = others.map(|it| {
        let what = format!("The policy `{it}` only watches");
        Finding::of(rule, format!("policy {it}"), what).seen(place, it.clone())
    });
    judged.judged(rule, place, findings.collect());
}

/// Judges what came of attempts.
pub(super) fn effective(case: &Case<'_>, mac: &Mac, judged: &mut Judged) {
    let rule = &rules::EFFECTIVE;
    let known = match case.host.mac() {
        Ok(known) => known,
        Err(why) => return judged.unseen(rule, "what came of attempts", &why),
    };
    if mac.system == MacSystem::Grsecurity {
        return judged.cannot_tell(
            rule,
            "nobody enters a subject of grsecurity to try it",
            Vec::new(),
        );
    }
    let (mut findings, mut refused, mut unknown) = (Vec::new(), 0_usize, None);
    for (label, came) in &known.attempts {
        let attempts = match came {
            Ok(attempts) => attempts,
            Err(why) => {
                unknown = Some(why.clone());
                continue;
            }
        };
        let given = granted(case.host, mac, label);
        let tried = attempts
            .iter()
            .filter(|it| it.free && !gives(&given, it.what));
        let before = refused;
        for Attempt { what, confined, .. } in tried {
            if *confined {
                let done = says(*what);
                findings.push(Finding::of(
                    rule,
                    format!("{label} {done}"),
                    format!("A program under `{label}` can {done}"),
                ));
            } else {
                refused = refused.saturating_add(1);
            }
        }
        if refused == before && findings.is_empty() {
            unknown = Some(format!(
                "nothing that succeeds freely could be tried under `{label}`"
            ));
        }
    }
    match unknown {
        Some(why) => judged.cannot_tell(rule, why, findings),
        None if known.attempts.is_empty() => {
            judged.does_not_apply(rule, "no service is confined yet");
        }
        None => judged.judged(rule, format!("{refused} attempts were refused"), findings),
    }
}

fn says(what: Forbidden) -> &'static str {
    match what {
        Forbidden::Shadow => "read the hashes of passwords",
        Forbidden::Etc => "open /etc/passwd for writing",
        Forbidden::Internet => "make sockets of the internet",
        Forbidden::Raw => "make sockets that see every packet",
        Forbidden::Mount => "mount file systems",
        Forbidden::Memory => "read the memory of another process",
        Forbidden::Policy => "open the door by which policies are loaded",
    }
}

/// What our policy grants to a label; nothing is known of the policies of others.
fn granted(host: &dyn Host, mac: &Mac, label: &str) -> BTreeSet<Need> {
    let Some(framework) = framework(mac.system) else {
        return BTreeSet::new();
    };
    let (_, policy) = confinement(framework, label, &BTreeSet::new(), "");
    let own = mac.confine.iter().find(|service| match framework {
        Framework::Apparmor => super::name(framework, service) == policy,
        Framework::Selinux => selinux::domain(service) == policy,
    });
    let path = own.and_then(|it| HostPath::from_bytes(place(framework, it).as_bytes()).ok());
    let text = path
        .and_then(|it| host.read(&it, 1 << 20).ok())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match framework {
        Framework::Apparmor => apparmor::needs(&text),
        Framework::Selinux => selinux::needs(&text),
    }
}

/// Whether a policy gives what is tried: then it is no attempt at what is forbidden. What types of files are is not known here:
/// with `SELinux` access to any file counts.
fn gives(needs: &BTreeSet<Need>, what: Forbidden) -> bool {
    let file = |wanted: &str, letter: char, right: &str| {
        needs.iter().any(|need| match need {
            Need::File { path, access } => {
                let fits = match path.strip_suffix("**") {
                    Some(place) => wanted.starts_with(place),
                    None => path == wanted,
                };
                fits && access.contains(letter)
            }
            Need::Allow {
                class, permission, ..
            } => class == "file" && permission == right,
            Need::Capability(_) | Need::Network { .. } => false,
        })
    };
    let socket = |wanted: &[&str], classes: &[&str]| {
        needs.iter().any(|need| match need {
            Need::Network { family, .. } => wanted.contains(&family.as_str()),
            Need::Allow { class, .. } => classes.contains(&class.as_str()),
            Need::Capability(_) | Need::File { .. } => false,
        })
    };
    match what {
        Forbidden::Shadow => file("/etc/shadow", 'r', "open"),
        Forbidden::Etc => file("/etc/passwd", 'w', "append") || file("/etc/passwd", 'w', "write"),
        Forbidden::Internet => socket(&["inet"], &["tcp_socket"]),
        Forbidden::Raw => socket(&["packet"], &["packet_socket"]),
        // Never given by learning.
        Forbidden::Mount | Forbidden::Memory | Forbidden::Policy => false,
    }
}
