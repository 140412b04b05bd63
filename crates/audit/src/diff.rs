//! What became better and what became worse between two reports; and a report marked with it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use serde::Serialize;
use stockade_controls::engine::{Severity, Standard};

use crate::audited::TargetKind;
use crate::report::{Baseline, FindingReport, Gone, Report, RuleReport, Since, TargetReport};

/// Why two reports cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("{0} and {1} cannot be compared: they are not the same kind of thing")]
pub struct Unlike(String, String);

/// Two reports, compared.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diff {
    /// What the earlier one was about.
    pub old: TargetReport,
    /// What the later one is about.
    pub new: TargetReport,
    /// What was not there.
    pub worse: Vec<Change>,
    /// What was there and is mended.
    pub better: Vec<Gone>,
    /// What was there and cannot be judged now: nobody knows whether it is mended.
    pub no_longer_judged: Vec<Gone>,
    /// Rules that were judged and no longer can be, with the reason.
    pub blind: Vec<(String, String)>,
    /// Rules that can be judged now, and could not be.
    pub seeing: Vec<String>,
    /// How many findings are as they were.
    pub unchanged: u32,
}

/// Something that is worse than it was.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// The finding, as it is now.
    #[serde(flatten)]
    pub now: Gone,
    /// How bad it was, if it was there.
    pub was: Option<Severity>,
}

/// Compares two reports. Findings that are waived in the later one are not new.
pub fn compare(old: &Report, new: &Report) -> Result<Diff, Unlike> {
    let family = |kind: TargetKind| match kind {
        TargetKind::Image | TargetKind::Directory => 0,
        TargetKind::Host => 1,
        TargetKind::Live => 2,
        TargetKind::Inventory => 3,
    };
    if family(old.target.kind) != family(new.target.kind) {
        let of = |report: &Report| report.target.name.clone();
        return Err(Unlike(of(old), of(new)));
    }
    let before = severities(old);
    let now: BTreeSet<&str> = new
        .findings()
        .map(|(_, finding)| finding.fingerprint.as_str())
        .collect();
    let mut diff = Diff {
        old: old.target.clone(),
        new: new.target.clone(),
        worse: Vec::new(),
        better: Vec::new(),
        no_longer_judged: Vec::new(),
        blind: Vec::new(),
        seeing: Vec::new(),
        unchanged: 0,
    };
    for (rule, finding) in new.open_findings() {
        let was = before.get(finding.fingerprint.as_str()).copied();
        if since(was, finding.severity) == Since::Unchanged {
            diff.unchanged += 1;
        } else {
            let now = gone(rule, finding);
            diff.worse.push(Change { now, was });
        }
    }
    let judged: BTreeMap<&str, &RuleReport> =
        new.rules.iter().map(|it| (it.id.as_str(), it)).collect();
    // A rule that was not asked this time does not apply either.
    let alike = old.profile.is_some() == new.profile.is_some()
        && old.standing == new.standing
        && discriminant(&old.data) == discriminant(&new.data);
    let missing = old
        .findings()
        .filter(|(_, it)| !now.contains(it.fingerprint.as_str()));
    for (rule, finding) in missing {
        // With a part of the thing unread, what is gone may only be out of sight.
        let known = judged
            .get(rule.id.as_str())
            .is_some_and(|rule| match rule.state {
                Standard::Passed | Standard::Broken => true,
                Standard::DoesNotApply => alike,
                Standard::CannotTell => false,
            });
        if known && !blinder(old, new) {
            diff.better.push(gone(rule, finding));
        } else {
            diff.no_longer_judged.push(gone(rule, finding));
        }
    }
    diff.better.sort_by_key(|it| std::cmp::Reverse(it.severity));
    let could: BTreeMap<&str, bool> = old
        .rules
        .iter()
        .map(|it| (it.id.as_str(), can(it)))
        .collect();
    for rule in &new.rules {
        match (could.get(rule.id.as_str()), can(rule)) {
            (Some(true), false) => diff.blind.push((rule.id.clone(), rule.note.clone())),
            (Some(false), true) => diff.seeing.push(rule.id.clone()),
            _ => (),
        }
    }
    let blind = new.not_audited.iter().filter(|it| it.waived.is_none());
    let blind = blind.filter(|it| !old.not_audited.iter().any(|was| was.place == it.place));
    diff.blind
        .extend(blind.map(|it| (it.place.clone(), it.why.clone())));
    Ok(diff)
}

impl Diff {
    /// How many findings became worse that are at least as bad as this.
    pub fn gating(&self, fail_on: Option<Severity>) -> usize {
        let gates = |it: &&Change| fail_on.is_some_and(|least| it.now.severity >= least);
        self.worse.iter().filter(gates).count()
    }

    /// Whether something can no longer be judged.
    pub fn incomplete(&self) -> bool {
        !self.blind.is_empty() || !self.no_longer_judged.is_empty()
    }
}

impl Report {
    /// Marks each finding with how it stands to an earlier report; what gates is then only what is new or worse.
    pub fn against(&mut self, old: &Self) -> Result<(), Unlike> {
        let diff = compare(old, self)?;
        let before = severities(old);
        let findings = self.rules.iter_mut().flat_map(|rule| &mut rule.findings);
        for finding in findings.filter(|it| it.waived.is_none()) {
            let was = before.get(finding.fingerprint.as_str()).copied();
            finding.since = Some(since(was, finding.severity));
        }
        self.baseline = Some(Baseline {
            target: diff.old,
            new: u32::try_from(diff.worse.len()).unwrap_or(u32::MAX),
            unchanged: diff.unchanged,
            fixed: diff.better,
            no_longer_judged: diff.no_longer_judged,
        });
        Ok(())
    }
}

/// How bad each finding is that nobody had waived, by its fingerprint: what was waived and is no more is new.
fn severities(report: &Report) -> BTreeMap<&str, Severity> {
    let mut all = BTreeMap::new();
    for (_, finding) in report.open_findings() {
        let worst = all
            .entry(finding.fingerprint.as_str())
            .or_insert(finding.severity);
        *worst = finding.severity.max(*worst);
    }
    all
}

fn since(was: Option<Severity>, is: Severity) -> Since {
    match was {
        None => Since::New,
        Some(was) if was < is => Since::Worse,
        Some(_) => Since::Unchanged,
    }
}

/// Whether places cannot be looked at now that could be before.
fn blinder(old: &Report, new: &Report) -> bool {
    new.not_audited.len() > old.not_audited.len()
}

fn can(rule: &RuleReport) -> bool {
    rule.state != Standard::CannotTell
}

fn gone(rule: &RuleReport, finding: &FindingReport) -> Gone {
    Gone {
        rule: rule.id.clone(),
        fingerprint: finding.fingerprint.clone(),
        subject: finding.subject.clone(),
        what: finding.what.clone(),
        severity: finding.severity,
    }
}
