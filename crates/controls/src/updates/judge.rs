//! What is remembered, and what package managers keep, against what the profile demands.

use std::time::Duration;

use stockade_profile::Updates;

use crate::engine::{
    Case, Finding, HostPath, Judged, Remedy, Rule, Severity, Standing, UnixSeconds, Unseen,
};

use super::debian::{self, Lists, Waiting};
use super::state::{Offered, Pending, State};
use super::{rules, sources};

/// Other managers of packages, and the file by which each is known.
const OTHERS: [(&str, &str); 8] = [
    ("apk", "/lib/apk/db/installed"),
    ("apk", "/usr/lib/apk/db/installed"),
    ("opkg", "/usr/lib/opkg/status"),
    ("opkg", "/var/lib/opkg/status"),
    ("rpm", "/usr/lib/sysimage/rpm/rpmdb.sqlite"),
    ("rpm", "/var/lib/rpm/rpmdb.sqlite"),
    ("rpm", "/var/lib/rpm/Packages.db"),
    ("rpm", "/var/lib/rpm/Packages"),
];
/// Debian's packages leave this when only a restart makes them matter.
const RESTART: &str = "/run/reboot-required";
/// Packages that are named in one sentence.
const NAMED: usize = 5;

pub(super) fn judge(case: &Case<'_>) -> Judged {
    let mut judged = Judged::default();
    let Some(updates) = &case.profile.updates else {
        for rule in rules::ALL {
            judged.does_not_apply(rule, "the profile has no `[updates]`");
        }
        return judged;
    };
    let look = Look {
        case,
        updates,
        state: State::read(case.host),
        lists: debian::lists(case.host),
    };
    look.looked(&mut judged);
    look.applied(&mut judged);
    look.security(&mut judged);
    look.source(&mut judged);
    look.slots(&mut judged);
    judged
}

struct Look<'a> {
    case: &'a Case<'a>,
    updates: &'a Updates,
    state: Result<State, Unseen>,
    lists: Result<Lists, Unseen>,
}

/// What of a rule is broken, and what of it cannot be judged.
#[derive(Default)]
struct Found {
    findings: Vec<Finding>,
    unknown: Vec<String>,
    looked_at: Vec<String>,
}

impl Found {
    fn told(self, rule: &'static Rule, nothing: &str, judged: &mut Judged) {
        if !self.unknown.is_empty() {
            judged.cannot_tell(rule, self.unknown.join("; "), self.findings);
        } else if self.findings.is_empty() && self.looked_at.is_empty() {
            judged.does_not_apply(rule, nothing);
        } else {
            judged.judged(rule, self.looked_at.join(", "), self.findings);
        }
    }
}

impl Look<'_> {
    /// An image is made before a device looks for anything.
    fn image(&self) -> bool {
        self.case.host.standing() == Standing::Offline
    }

    fn age(&self, at: UnixSeconds) -> Duration {
        Duration::from_secs(self.case.now.saturating_sub(at))
    }

    /// The lists, where updates come as packages: without slots they must be there.
    fn packages(&self) -> Option<&Lists> {
        let lists = self.lists.as_ref().ok()?;
        (self.updates.slots.is_none() || !lists.made.is_empty()).then_some(lists)
    }

    fn looked(&self, judged: &mut Judged) {
        let most = self.updates.max_age;
        let mut found = Found::default();
        let mut judge =
            |subject: &str, place: &str, at: Option<UnixSeconds>, why: Option<&String>| {
                let age = at.map(|at| self.age(at));
                if let Some(age) = age.filter(|age| *age <= most) {
                    return found
                        .looked_at
                        .push(format!("{subject} {} ago", spoken(age)));
                }
                let ago =
                    age.map_or_else(|| "never".to_owned(), |age| format!("{} ago", spoken(age)));
                let what = format!(
                    "nobody looked for {subject} in {}: the last time was {ago}",
                    spoken(most)
                );
                let finding = Finding::of(&rules::LOOKED, subject, what)
                    .seen(place, format!("last look: {ago}"));
                found.findings.push(match why {
                    Some(why) => finding.seen(place, format!("it fails: {why}")),
                    None => finding,
                });
            };
        match &self.state {
            Ok(state) if self.updates.slots.is_some() || state.looked.is_some() => {
                let at = state.looked.as_ref().map(|it| it.at);
                judge(
                    "updates of the system",
                    super::STATE,
                    at,
                    state.failing.as_ref(),
                );
            }
            Err(Unseen::Absent) if self.updates.slots.is_some() && !self.image() => {
                judge("updates of the system", super::STATE, None, None);
            }
            Ok(_) | Err(Unseen::Absent) => (),
            Err(why) => found.unknown.push(format!("{}: {why}", super::STATE)),
        }
        match (self.packages(), &self.lists) {
            (Some(lists), _) if lists.made.is_empty() && self.image() => (),
            (Some(lists), _) => {
                let known = lists
                    .made
                    .iter()
                    .filter_map(|(name, made)| Some((*made.as_ref().ok()?, name)));
                if lists.made.is_empty() {
                    let mut judge_none = Finding::of(
                        &rules::LOOKED,
                        "security updates of packages",
                        "nobody looked for security updates of packages: apt has no list of them",
                    );
                    judge_none.remedy = Remedy::Person("Name Debian's archive of security updates in /etc/apt/sources.list, and look: `apt-get update`.".to_owned());
                    found
                        .findings
                        .push(judge_none.seen("/var/lib/apt/lists", "no list"));
                } else if let Some((at, name)) = known.min() {
                    judge("security updates of packages", name, Some(at), None);
                }
                for (name, made) in &lists.made {
                    if let Err(why) = made {
                        found.unknown.push(format!("when {name} was made: {why}"));
                    }
                }
            }
            (None, Err(why)) if *why != Unseen::Absent => {
                found.unknown.push(format!("the packages: {why}"));
            }
            _ => (),
        }
        self.other_managers(&mut found);
        let nothing = if self.image() {
            "an image has not looked for anything yet"
        } else {
            "there is no package manager, and the profile names no slots"
        };
        found.told(&rules::LOOKED, nothing, judged);
    }

    /// Managers whose lists tell nothing of security.
    fn other_managers(&self, found: &mut Found) {
        if self.updates.slots.is_some() || self.lists.is_ok() {
            return;
        }
        let there = OTHERS
            .iter()
            .find(|(_, path)| self.case.host.entry(&HostPath::of(path)).is_ok());
        if let Some((name, path)) = there {
            found.unknown.push(format!(
                "{path}: the lists of {name} do not tell which updates are of security"
            ));
        }
    }

    fn offered(&self) -> Option<&Offered> {
        self.state.as_ref().ok()?.offered.as_ref()
    }

    fn applied(&self, judged: &mut Judged) {
        let mut found = Found::default();
        match &self.state {
            Ok(state) => {
                if let Some(running) = state.running {
                    found.looked_at.push(format!("version {running} runs"));
                }
                let late = self
                    .offered()
                    .filter(|it| self.age(it.since) > self.updates.max_age);
                if let Some(offer) = late {
                    let what = format!(
                        "version {} is offered for {}, and is not installed",
                        offer.version,
                        spoken(self.age(offer.since))
                    );
                    found
                        .findings
                        .push(Finding::of(&rules::APPLIED, "the system", what));
                }
            }
            Err(Unseen::Absent) => (),
            Err(why) => found.unknown.push(format!("{}: {why}", super::STATE)),
        }
        if self.case.host.standing() == Standing::Live && self.lists.is_ok() {
            match self.case.host.entry(&HostPath::of(RESTART)) {
                Ok(_) => {
                    let what = "updates of packages are installed, and do not run before the device restarts";
                    let finding = Finding::of(&rules::APPLIED, "a restart", what)
                        .seen(RESTART, "it is there");
                    let remedy = Remedy::Person("Restart the device.".to_owned());
                    found.findings.push(Finding { remedy, ..finding });
                }
                Err(Unseen::Absent) => found.looked_at.push("no restart is waited for".to_owned()),
                Err(why) => found.unknown.push(format!("{RESTART}: {why}")),
            }
        }
        found.told(&rules::APPLIED, "nothing was offered yet", judged);
    }

    fn security(&self, judged: &mut Judged) {
        let within = self.updates.security_within;
        let mut found = Found::default();
        match &self.state {
            Ok(state) if state.looked.is_some() => {
                let waits = self.offered().filter(|it| it.security);
                match waits {
                    Some(it) if self.age(it.since) > within => {
                        let what = format!(
                            "version {} mends a vulnerability and waits for {}",
                            it.version,
                            spoken(self.age(it.since))
                        );
                        found.findings.push(
                            Finding::of(&rules::SECURITY, "the system", what)
                                .seen(super::STATE, "offered and verified"),
                        );
                    }
                    Some(it) => found.looked_at.push(format!(
                        "version {} waits since {}",
                        it.version,
                        spoken(self.age(it.since))
                    )),
                    None => found.looked_at.push("the system: nothing waits".to_owned()),
                }
            }
            Ok(_) | Err(Unseen::Absent) if self.updates.slots.is_none() || self.image() => (),
            Ok(_) | Err(Unseen::Absent) => found
                .unknown
                .push("nobody looked for updates of the system yet".to_owned()),
            Err(why) => found.unknown.push(format!("{}: {why}", super::STATE)),
        }
        match (self.packages(), &self.lists) {
            (Some(lists), _) => self.packages_waiting(lists, &mut found),
            (None, Err(why)) if *why != Unseen::Absent => {
                found.unknown.push(format!("the packages: {why}"));
            }
            _ => (),
        }
        self.other_managers(&mut found);
        found.told(&rules::SECURITY, "nothing was offered yet", judged);
    }

    fn packages_waiting(&self, lists: &Lists, found: &mut Found) {
        if lists.made.is_empty() {
            if !self.image() {
                found
                    .unknown
                    .push("apt has no list of security updates".to_owned());
            }
            return;
        }
        found.unknown.extend(lists.unknown.iter().cloned());
        // What a list offers has been there since the list was made, at least.
        let made = lists
            .made
            .iter()
            .filter_map(|(_, made)| made.as_ref().ok())
            .max()
            .copied();
        let pending = match Pending::read(self.case.host) {
            Ok(pending) => Some(pending),
            Err(Unseen::Absent) => None,
            Err(why) => return found.unknown.push(format!("{}: {why}", super::PENDING)),
        };
        let since = |waits: &Waiting| {
            let first = pending
                .as_ref()
                .and_then(|it| it.since.get(&waits.package).copied());
            first.into_iter().chain(made).min()
        };
        let late = |waits: &&Waiting| {
            since(waits).is_some_and(|since| self.age(since) > self.updates.security_within)
        };
        let late: Vec<&Waiting> = lists.waiting.iter().filter(late).collect();
        if !late.is_empty() {
            found.findings.push(self.late(&late));
        }
        let others = lists.waiting.len().saturating_sub(late.len());
        if others > 0 && pending.is_none() {
            found.unknown.push(format!(
                "{others} packages wait for a security update, and since when is not known"
            ));
        }
        if made.is_some_and(|made| self.age(made) > self.updates.max_age) {
            found
                .unknown
                .push("the lists are too old to tell what waits".to_owned());
        }
        found.looked_at.push(match others {
            0 => "packages: nothing waits".to_owned(),
            others => format!("{others} packages wait, none for too long"),
        });
    }

    fn late(&self, late: &[&Waiting]) -> Finding {
        let (first, more) = late.split_at(late.len().min(NAMED));
        let names: Vec<&str> = late.iter().map(|it| it.package.as_str()).collect();
        let named = first
            .iter()
            .map(|it| it.package.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let and = if more.is_empty() {
            String::new()
        } else {
            format!(" and {} more", more.len())
        };
        let what = format!(
            "security updates wait for more than {}: {}{and}",
            spoken(self.updates.security_within),
            named.escape_debug()
        );
        let finding = Finding::of(&rules::SECURITY, "packages", what);
        let finding = late.iter().fold(finding, |finding, it| {
            let versions = format!(
                "{} is installed, {} is offered",
                it.installed.escape_debug(),
                it.offered.escape_debug()
            );
            finding.seen(format!("package {}", it.package.escape_debug()), versions)
        });
        let names: Vec<&str> = names.into_iter().filter(|name| plain(name)).collect();
        Finding {
            remedy: Remedy::Person(format!(
                "Install them: `apt-get update && apt-get --only-upgrade install {}`.",
                names.join(" ")
            )),
            ..finding
        }
    }

    fn source(&self, judged: &mut Judged) {
        let (files, mut findings) = match sources::judge(self.case.host) {
            Ok(found) => found,
            Err((place, why)) => return judged.unseen(&rules::SOURCE, &place, &why),
        };
        let looked = self.state.as_ref().ok().and_then(|it| it.looked.as_ref());
        let (wanted, mut said) = (self.updates.source.to_string(), Vec::new());
        if let Some(looked) = looked {
            // A bundle is a file; it is verified as all others are.
            if looked.source.starts_with("http") && looked.source != wanted {
                let what = format!(
                    "the device looks for updates at {}, and the profile says {wanted}",
                    looked.source.escape_debug()
                );
                findings.push(Finding::of(&rules::SOURCE, "the source", what));
            }
            said.push("signed metadata of the source".to_owned());
        }
        if files > 0 {
            said.push(format!("{files} files of settings"));
        }
        if findings.is_empty() && said.is_empty() {
            return judged.does_not_apply(&rules::SOURCE, "nothing installs updates yet");
        }
        judged.judged(&rules::SOURCE, said.join(", "), findings);
    }

    fn slots(&self, judged: &mut Judged) {
        let both = [&rules::HEALTH, &rules::SLOTS];
        if self.updates.slots.is_none() {
            return both
                .into_iter()
                .for_each(|rule| judged.does_not_apply(rule, "the profile names no slots"));
        }
        let state = match &self.state {
            Ok(state) => state,
            Err(Unseen::Absent) if self.image() => {
                return both
                    .into_iter()
                    .for_each(|rule| judged.does_not_apply(rule, "an image was not updated yet"));
            }
            Err(why) => {
                return both
                    .into_iter()
                    .for_each(|rule| judged.unseen(rule, super::STATE, why));
            }
        };
        let returned = state.returned.as_ref().map(|it| {
            let what = format!(
                "the device came back from version {} {} ago: {}",
                it.version,
                spoken(self.age(it.at)),
                it.why.escape_debug()
            );
            Finding::of(&rules::HEALTH, "the system", what)
                .seen(super::STATE, it.why.escape_debug().to_string())
        });
        let trial = state.trial.as_ref().map_or_else(
            || "no version is on trial".to_owned(),
            |it| format!("version {} is on trial", it.version),
        );
        judged.judged(&rules::HEALTH, trial, returned.into_iter().collect());
        if state.slots.len() < 2 {
            return judged.cannot_tell(&rules::SLOTS, "the slots are not known", Vec::new());
        }
        let bad = state.slots.iter().filter(|it| !it.good).map(|it| {
            let what = format!(
                "slot `{}` has no system that starts",
                it.name.escape_debug()
            );
            let finding = Finding::of(
                &rules::SLOTS,
                format!("slot {}", it.name.escape_debug()),
                what,
            );
            let severity = if it.running {
                Severity::High
            } else {
                finding.severity
            };
            finding.with(severity, crate::engine::Confidence::High)
        });
        judged.judged(
            &rules::SLOTS,
            format!("{} slots", state.slots.len()),
            bad.collect(),
        );
    }
}

/// A package's name as Debian's policy (§5.6.1) has it: one that is typed into a shell.
fn plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// A time for a sentence: in days from two days on, in hours from two hours on.
fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400_u64, "days"), (3_600, "hours"), (60, "minutes")];
    let unit = units
        .into_iter()
        .find(|(size, _)| seconds >= size.saturating_mul(2));
    let (size, name) = unit.unwrap_or((1, "seconds"));
    format!("{} {name}", seconds.checked_div(size).unwrap_or_default())
}
