//! Images and root directories, judged by the controls' own rules and by those that only a whole image can break.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]

mod boot;
mod certificates;
mod content;
mod firewall;
mod found_keys;
pub(crate) mod generic;
mod keys;
mod scan;
mod scripts;
mod secrets;
mod settings;
mod updates;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use stockade_controls::engine::{
    Action, CONTROLS, Case, Confidence, Finding, Host, HostPath, Outcome, Own, Remedy, Rule,
    ServiceChange, Stage, Standing, Step, UnixSeconds, Unseen, Verdict, assess,
};
use stockade_controls::programs::PLAIN_SERVER;
use stockade_controls::services::{self, Service};
use stockade_image::{Limits, Meter, Part, PartContent, Tree};
use stockade_profile::Profile;

use crate::audited::{AuditError, Audited, PartRow, Target, TargetKind};
use crate::report::GAP;
use crate::{elf, kernel, signed};
use scan::{Label, Scan};

/// How an image is audited.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The time by which certificates are judged.
    pub now: UnixSeconds,
    /// What it may cost.
    pub limits: Limits,
}

/// The rules that only an image can break, beside those of the controls.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let singles = [
        &scripts::CONSOLE,
        &firewall::FIREWALL,
        &firewall::NO_FIREWALL,
        &scripts::WEB_ROOT,
    ];
    let lists = [keys::ALL, scripts::ALL, updates::ALL, settings::ALL];
    lists.into_iter().flatten().copied().chain(singles)
}

/// Audits a file or a directory. What could not be read is told in the result; it is an error only when nothing could be.
pub fn image(
    path: &Path,
    profile: Option<&Profile>,
    options: &Options,
    progress: &dyn Fn(&str),
) -> Result<Audited, AuditError> {
    let begun = Instant::now();
    let generic = generic::profile();
    let mut judge = Judge {
        profile: profile.unwrap_or(&generic),
        profiled: profile.is_some(),
        now: options.now,
        meter: Meter::new(options.limits),
        progress,
        scan: Scan::default(),
        systems: 0,
        trees: 0,
        first: None,
    };
    let target = Target {
        kind: TargetKind::Directory,
        name: path.display().to_string(),
        sha256: None,
    };
    let mut audited = Audited::of(target, Standing::Offline);
    audited.profile = profile.map(Into::into);
    let mut take = |part| judge.part(part, &mut audited);
    let digest = stockade_image::visit(path, options.limits, progress, &mut take)
        .map_err(|why| AuditError::Incomplete(format!("{}: {why}", path.display())))?;
    if digest.is_some() {
        audited.target.kind = TargetKind::Image;
        audited.target.sha256 = digest;
    }
    judge.end(&mut audited);
    audited.took = begun.elapsed();
    Ok(audited)
}

/// Judges parts as they are opened: but of the first file system, none is kept.
struct Judge<'a> {
    profile: &'a Profile,
    profiled: bool,
    now: UnixSeconds,
    meter: Meter,
    progress: &'a dyn Fn(&str),
    scan: Scan,
    systems: usize,
    trees: usize,
    /// It is called by its place only if there is another one.
    first: Option<(String, Arc<Tree>)>,
}

impl Judge<'_> {
    fn part(&mut self, part: Part, audited: &mut Audited) {
        audited.parts.push(row(&part));
        match part.content {
            PartContent::Tree(tree) => {
                self.trees = self.trees.saturating_add(1);
                if let Some((place, tree)) = self.first.take() {
                    self.tree(&tree, Label(Some(&place)), audited);
                }
                // What was asked for needs no name.
                if part.format == stockade_image::DIRECTORY {
                    self.tree(&tree, Label(None), audited);
                } else if self.trees == 1 {
                    self.first = Some((part.place, tree));
                } else {
                    self.tree(&tree, Label(Some(&part.place)), audited);
                }
            }
            PartContent::Data(bytes) => {
                let found = scan::data(&part.place, &bytes, self.now, &self.meter);
                self.scan.join(found);
            }
            PartContent::NotAudited(why) => {
                audited.not_audited.push((part.place, why.to_string()));
            }
            PartContent::Container => (),
        }
    }

    fn tree(&mut self, tree: &Tree, label: Label<'_>, audited: &mut Audited) {
        for (place, why) in &tree.unread {
            audited.not_audited.push((label.at(place), why.to_string()));
        }
        (self.progress)(label.0.unwrap_or("files"));
        if is_system(tree) {
            self.systems = self.systems.saturating_add(1);
            audited.outcomes.extend(self.system(tree, label));
            software(tree, label, audited);
        }
        let found = scan::tree(tree, label, self.now, &self.meter, self.progress);
        self.scan.join(found);
    }

    /// What can be said only when all was seen.
    fn end(mut self, audited: &mut Audited) {
        if let Some((_, tree)) = self.first.take() {
            self.tree(&tree, Label(None), audited);
        }
        let mut scan = std::mem::take(&mut self.scan);
        if self.systems == 0 {
            let why = "no system was found: neither /etc/passwd nor an init with a shell";
            audited
                .outcomes
                .extend(
                    CONTROLS
                        .iter()
                        .flat_map(|it| it.rules())
                        .map(|rule| Outcome {
                            rule,
                            verdict: Verdict::CannotTell(why.to_owned(), Vec::new()),
                        }),
                );
        }
        audited.not_audited.extend(scan.unread.iter().cloned());
        if !scan.components.is_empty() {
            let all = audited.inventory.get_or_insert_default();
            all.add_detected(std::mem::take(&mut scan.components));
        }
        self.of_scan(scan, self.systems, audited);
    }

    /// The controls' own judgement of a root, as on a device.
    fn system(&self, tree: &Tree, label: Label<'_>) -> Vec<Outcome> {
        let own = Own::default();
        let case = Case {
            host: tree,
            profile: self.profile,
            now: self.now,
            own: &own,
        };
        let (starts, accounts) = (has_init(tree), is_there(tree, "/etc/passwd"));
        let services = format!("the services: {}", Unseen::Absent);
        let nobody = format!("/etc/passwd: {}", Unseen::Absent);
        let outcomes = assess(&case, CONTROLS).outcomes.into_iter().map(|outcome| {
            let mut outcome = generic::settled(outcome, self.profiled, Standing::Offline);
            if let Verdict::CannotTell(why, _) = &outcome.verdict {
                // Nobody is asked what nobody starts; nor where a boot loader is that lies elsewhere.
                if !starts && why.ends_with(&services) {
                    outcome =
                        generic::none(outcome.rule, "nothing starts services: there is no init");
                } else if !accounts && (*why == nobody || why == "the accounts can not be read") {
                    outcome = generic::none(outcome.rule, "there are no accounts");
                } else if outcome.rule.id == "boot/command-line" && why.contains("does not say") {
                    outcome =
                        generic::none(outcome.rule, "this part of the image has no command line");
                }
            }
            placed(outcome, label)
        });
        let mut outcomes: Vec<Outcome> = outcomes.collect();
        outcomes.extend(started(tree, label));
        outcomes
    }

    /// What the files broke, rule by rule.
    fn of_scan(&self, scan: Scan, systems: usize, audited: &mut Audited) {
        let mut left = secrets::GUESSING;
        let mut findings = found_keys::of_keys(&scan);
        let of_hashes = scan
            .hashes
            .iter()
            .filter_map(|(place, hash)| secrets::of_hash(hash, place, self.profile, &mut left));
        findings.extend(of_hashes.collect::<Vec<Finding>>());
        findings.extend(scan.findings);
        let mut by_rule: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
        for finding in findings {
            by_rule.entry(finding.rule.id).or_default().push(finding);
        }
        let looked_at = format!("{} files", scan.files);
        audited.outcomes.extend(kernel::judge(&scan.kernels));
        audited.outcomes.extend(signed::judge(&audited.parts));
        let gap = (!scan.unread.is_empty()).then(|| GAP.to_owned());
        let broken = scan.broken.first();
        let gaps = gap
            .clone()
            .or_else(|| broken.map(|(place, why)| format!("{place}: {why}")));
        audited
            .outcomes
            .extend(elf::judge(&scan.built, gaps.as_deref()));
        for rule in rules() {
            let found = by_rule.remove(rule.id).unwrap_or_default();
            let verdict = match (&gap, found.is_empty(), rule.id) {
                (gap, _, id) if id == firewall::NO_FIREWALL.id => {
                    match (gap, protected(&scan.firewall, systems)) {
                        (Some(why), Verdict::Broken(found)) => {
                            Verdict::CannotTell(why.clone(), found)
                        }
                        (_, told) => told,
                    }
                }
                (Some(why), _, _) => Verdict::CannotTell(why.clone(), found),
                (None, true, id) if id == settings::TLS_SETTINGS.id && scan.tls.is_empty() => {
                    Verdict::DoesNotApply("no settings say which versions are accepted".to_owned())
                }
                (None, true, _) if scan.files == 0 => {
                    Verdict::CannotTell("there is nothing in it that was read".to_owned(), found)
                }
                (None, true, _) => Verdict::Passed(looked_at.clone()),
                (None, false, _) => Verdict::Broken(found),
            };
            audited.outcomes.push(Outcome { rule, verdict });
        }
        if !scan.boot.is_empty() && !by_rule.contains_key("boot/command-line") {
            let rule = generic::rule("boot/command-line");
            audited.outcomes.push(Outcome {
                rule,
                verdict: Verdict::Passed(scan.boot.join(", ")),
            });
        }
        // Rules of the controls, by what only a pass over all files sees.
        for found in by_rule.into_values() {
            if let Some(rule) = found.first().map(|it| it.rule) {
                audited.outcomes.push(Outcome {
                    rule,
                    verdict: Verdict::Broken(found),
                });
            }
        }
    }
}

/// Whether anything in the image sets a firewall up.
fn protected(by: &[String], systems: usize) -> Verdict {
    match by {
        _ if systems == 0 => Verdict::DoesNotApply("there is no system to protect".to_owned()),
        [] => {
            let what = "nothing in the image sets a firewall up";
            let finding = Finding::of(&firewall::NO_FIREWALL, "firewall", what);
            let sure = finding.with(firewall::NO_FIREWALL.severity, Confidence::Medium);
            Verdict::Broken(vec![sure])
        }
        by => Verdict::Passed(by.iter().take(5).cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// Adds the software of a system to the list of it.
fn software(tree: &Tree, label: Label<'_>, audited: &mut Audited) {
    let mut more = stockade_advisories::inventory(tree);
    for component in &mut more.components {
        component.place = label.at(&component.place);
    }
    let all = audited.inventory.get_or_insert_default();
    all.distribution = all.distribution.take().or(more.distribution);
    all.components.append(&mut more.components);
    let unread = more.unread.into_iter();
    all.unread
        .extend(unread.map(|(place, why)| (label.at(&place), why)));
}

fn row(part: &Part) -> PartRow {
    let files = match &part.content {
        PartContent::Tree(tree) => u64::try_from(tree.nodes.len()).ok(),
        PartContent::Container | PartContent::Data(_) | PartContent::NotAudited(_) => None,
    };
    PartRow {
        place: part.place.clone(),
        format: part.format.to_owned(),
        at: part.at,
        length: part.length,
        files,
        notes: part.notes.clone(),
    }
}

fn is_there(host: &dyn Host, path: &str) -> bool {
    path.parse()
        .is_ok_and(|path: HostPath| host.entry(&path).is_ok())
}

const INITS: [&str; 6] = [
    "/sbin/init",
    "/init",
    "/linuxrc",
    "/etc/preinit",
    "/etc/inittab",
    "/lib/systemd/systemd",
];

fn has_init(host: &dyn Host) -> bool {
    INITS.iter().any(|path| is_there(host, path))
}

/// Whether something could run from this tree: it has accounts, or an init and a shell. A package that brings an init has not.
fn is_system(host: &dyn Host) -> bool {
    is_there(host, "/etc/passwd") || (has_init(host) && is_there(host, "/bin/sh"))
}

/// An outcome that says in which part of the image it is.
fn placed(mut outcome: Outcome, label: Label<'_>) -> Outcome {
    if let Verdict::Broken(findings) | Verdict::CannotTell(_, findings) = &mut outcome.verdict {
        for finding in findings.iter_mut().filter(|_| label.0.is_some()) {
            // A plan is made for the root that was asked for, and for no other.
            if matches!(finding.remedy, Remedy::Steps(_)) {
                finding.remedy = Remedy::Person(finding.rule.advice.to_owned());
            }
            finding.subject = label.at(&finding.subject);
            for evidence in &mut finding.evidence {
                evidence.place = label.at(&evidence.place);
            }
        }
    }
    outcome
}

/// Servers of plain text, and web servers as root, that the init system starts.
fn started(host: &dyn Host, label: Label<'_>) -> Vec<Outcome> {
    let Ok(services) = services::list(host) else {
        return Vec::new();
    };
    let (mut plain, mut web) = (Vec::new(), Vec::new());
    for service in services.iter().filter(|it| it.enabled && !it.masked) {
        let program = service
            .program
            .as_ref()
            .map(|path| String::from_utf8_lossy(path.name()).into_owned());
        let is = |names: &[&str]| {
            names.contains(&service.name.as_str())
                || program.as_deref().is_some_and(|it| names.contains(&it))
        };
        if is(&scripts::PLAIN) {
            plain.push(of_service(
                PLAIN_SERVER,
                service,
                "asks for passwords in plain text or for none",
            ));
        } else if is(&scripts::ALWAYS_ROOT) && service.user.as_deref().is_none_or(|it| it == "root")
        {
            web.push(of_service(
                &scripts::WEB_ROOT,
                service,
                "is a web server that runs as root",
            ));
        }
    }
    let outcomes = [(PLAIN_SERVER, plain), (&scripts::WEB_ROOT, web)];
    let broken = outcomes.into_iter().filter(|(_, found)| !found.is_empty());
    broken
        .map(|(rule, found)| {
            placed(
                Outcome {
                    rule,
                    verdict: Verdict::Broken(found),
                },
                label,
            )
        })
        .collect()
}

fn of_service(rule: &'static Rule, service: &Service, does: &str) -> Finding {
    let name = &service.name;
    let what = format!("the service {name} starts at boot, and {does}");
    let unit = service.unit.to_string();
    let finding = Finding::of(rule, format!("service {name}"), what).seen(unit, "enabled");
    let Ok(name) = name.parse() else {
        return finding;
    };
    let says = format!("Stop the service {name} and keep it stopped");
    let action = Action::Service {
        name,
        change: ServiceChange::Mask,
    };
    finding.mended_by(vec![Step::risky(
        Stage::Stop,
        action,
        says,
        "What it serves is not there any more.",
    )])
}

/// Takes the data as a file at each of these places: every finding says where, and never what is secret.
pub(crate) fn fuzz(data: &[u8], places: &[&str]) {
    for place in places {
        let found = content::content_of(place, place, data, 0o644, 0);
        let all = found
            .findings
            .iter()
            .chain(&found_keys::of_keys(&found))
            .cloned()
            .collect::<Vec<_>>();
        for finding in all {
            assert!(finding.subject.starts_with(place), "it says where");
            assert!(finding.what.len() < 8192, "it is a sentence");
        }
    }
}
