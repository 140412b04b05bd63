//! From what an audit gave to its report.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use stockade_advisories::Inventory;
use stockade_controls::engine::{Finding, Outcome, Rule, Standard, UnixSeconds, Verdict};

use super::{FORM, FindingReport, NotAudited, Report, RuleReport, Software, TargetReport, Tool};
use crate::audited::{Audited, Target, TargetKind};
use crate::{rules, standards};

impl Report {
    /// The report of an audit.
    pub fn of(audited: &Audited, at: Option<UnixSeconds>) -> Self {
        let rules = rule_reports(audited);
        let cited: BTreeSet<&String> = rules.iter().flat_map(|rule| &rule.standards).collect();
        let about = |id: &&String| Some(((*id).clone(), standards::title(id)?.to_owned()));
        let inventory = audited.inventory.as_ref();
        let not_audited: BTreeSet<NotAudited> = audited
            .not_audited
            .iter()
            .chain(inventory.iter().flat_map(|it| &it.unread))
            .map(|(place, why)| NotAudited {
                place: place.clone(),
                why: why.clone(),
                waived: None,
            })
            .collect();
        let mut report = Self {
            form: FORM,
            tool: Tool::this(),
            at,
            target: TargetReport {
                kind: audited.target.kind,
                name: audited.target.name.clone(),
                sha256: audited.target.sha256.map(|digest| hex(&digest)),
            },
            standing: audited.standing,
            profile: audited.profile.clone(),
            data: audited.data.clone(),
            protocols: Vec::new(),
            standards: cited.iter().filter_map(about).collect(),
            rules,
            not_audited: not_audited.into_iter().collect(),
            parts: audited.parts.clone(),
            inventory: inventory.map(software),
            ports: audited.ports.clone(),
            spent: audited.spent,
            idle_waivers: Vec::new(),
            baseline: None,
        };
        report.settle();
        report
    }
}

fn software(inventory: &Inventory) -> Software {
    let mut components = BTreeMap::new();
    for component in &inventory.components {
        *components.entry(component.kind).or_default() += 1;
    }
    let distribution = inventory.distribution.as_ref();
    Software {
        distribution: distribution.map(|it| format!("{} {}", it.id, it.version).trim().to_owned()),
        components,
    }
}

impl Tool {
    fn this() -> Self {
        let mut digest = Sha256::new();
        for rule in rules::all() {
            let words = [rule.id, rule.title, rule.why, rule.advice];
            for text in words.iter().chain(rule.standards) {
                digest.update(text.as_bytes());
                digest.update([0]);
            }
            digest.update(rule.severity.to_string());
            digest.update([0]);
        }
        Self {
            name: "stockade".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rules: first_half(digest),
        }
    }
}

/// Every rule once, in the order of all rules; what came more than once (several systems in one image) is put together.
fn rule_reports(audited: &Audited) -> Vec<RuleReport> {
    let place: BTreeMap<&str, usize> = rules::all()
        .enumerate()
        .map(|(place, rule)| (rule.id, place))
        .collect();
    let mut by_rule: BTreeMap<(usize, &str), Vec<&Outcome>> = BTreeMap::new();
    for outcome in &audited.outcomes {
        let id = outcome.rule.id;
        let key = (place.get(id).copied().unwrap_or(usize::MAX), id);
        by_rule.entry(key).or_default().push(outcome);
    }
    let reports = by_rule.values().filter_map(|outcomes| {
        let rule = outcomes.first()?.rule;
        Some(rule_report(rule, outcomes, &audited.target))
    });
    reports.collect()
}

fn rule_report(rule: &'static Rule, outcomes: &[&Outcome], target: &Target) -> RuleReport {
    // What cannot be told weighs most: it may be anything. A rule that has nothing to judge in one place says nothing of another.
    let rank = |state: Standard| match state {
        Standard::DoesNotApply => 0,
        Standard::Passed => 1,
        Standard::Broken => 2,
        Standard::CannotTell => 3,
    };
    let (mut state, mut notes, mut findings) = (Standard::DoesNotApply, Vec::new(), Vec::new());
    let told = outcomes.iter().map(|outcome| match &outcome.verdict {
        Verdict::Passed(looked_at) => (Standard::Passed, looked_at.as_str(), &[][..]),
        Verdict::Broken(findings) => (Standard::Broken, "", findings.as_slice()),
        Verdict::CannotTell(why, found) => (Standard::CannotTell, why.as_str(), found.as_slice()),
        Verdict::DoesNotApply(why) => (Standard::DoesNotApply, why.as_str(), &[][..]),
    });
    for (of_one, note, found) in told {
        if rank(of_one) > rank(state) {
            state = of_one;
            notes.clear();
        }
        if of_one == state && !note.is_empty() && !notes.contains(&note) {
            notes.push(note);
        }
        findings.extend(found);
    }
    RuleReport {
        id: rule.id.to_owned(),
        title: rule.title.to_owned(),
        why: rule.why.to_owned(),
        advice: rule.advice.to_owned(),
        severity: rule.severity,
        standards: rule.standards.iter().copied().map(str::to_owned).collect(),
        state,
        note: notes.join("; "),
        findings: finding_reports(rule, findings, target),
    }
}

/// Worst first, in one order, the same one once.
fn finding_reports(
    rule: &Rule,
    mut findings: Vec<&Finding>,
    target: &Target,
) -> Vec<FindingReport> {
    let places = |finding: &Finding| -> Vec<String> {
        let places = finding.evidence.iter();
        places.map(|it| it.place.clone()).collect()
    };
    findings.sort_by_cached_key(|finding| {
        let worst_first = std::cmp::Reverse(finding.severity);
        let about = (finding.subject.clone(), finding.what.clone());
        (worst_first, about, places(finding))
    });
    findings.dedup();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let reports = findings.into_iter().map(|finding| {
        let subject = lasting(&finding.subject, target);
        let number = seen.entry(subject.clone()).or_default();
        *number += 1;
        FindingReport {
            fingerprint: fingerprint(rule.id, &subject, *number),
            subject: finding.subject.clone(),
            what: finding.what.clone(),
            severity: finding.severity,
            confidence: finding.confidence,
            evidence: finding.evidence.clone(),
            mendable: finding.remedy.person().is_none(),
            person: finding.remedy.person().map(str::to_owned),
            waived: None,
            since: None,
        }
    });
    reports.collect()
}

/// What a finding is, for good. Of several about the same thing the second is another one, and the first stays what it is.
fn fingerprint(rule: &str, subject: &str, number: u32) -> String {
    let mut digest = Sha256::new();
    digest.update(rule.as_bytes());
    digest.update([0]);
    digest.update(subject.as_bytes());
    if number > 1 {
        digest.update([0]);
        digest.update(number.to_string());
    }
    first_half(digest)
}

/// A subject without what changes from one version of the same thing to the next: the image's name, where parts of it lie, a line.
fn lasting(subject: &str, target: &Target) -> String {
    let name = match target.kind {
        TargetKind::Image | TargetKind::Directory => {
            let named = target.name.trim_end_matches('/');
            [named, named.rsplit('/').next().unwrap_or(named)]
        }
        // An address is given by a network: the device has another one tomorrow. A range has many, and keeps them apart.
        TargetKind::Host | TargetKind::Live | TargetKind::Inventory => [target.name.as_str(); 2],
    };
    let bare = name.iter().find_map(|name| {
        let rest = subject.strip_prefix(name).filter(|_| !name.is_empty())?;
        let rest = rest.strip_prefix([',', ':', '/', ' '])?;
        Some(rest.trim_start())
    });
    let words = bare.unwrap_or(subject).split(' ').map(|word| {
        let is_place = word.strip_prefix("0x").is_some_and(|digits| {
            let digits = digits.trim_end_matches([',', ':']);
            !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_hexdigit())
        });
        let line = word.rsplit_once(':').filter(|(path, line)| {
            path.contains('/') && !line.is_empty() && line.bytes().all(|it| it.is_ascii_digit())
        });
        match line {
            _ if is_place => "…",
            // `/etc/shadow:3`; an address with its port has no slash.
            Some((path, _)) => path,
            None => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn first_half(digest: Sha256) -> String {
    let digest = digest.finalize();
    hex(digest.get(..16).unwrap_or(&digest))
}

/// The SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes in hexadecimal.
pub(crate) use base16ct::lower::encode_string as hex;

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> Target {
        Target {
            kind: TargetKind::Image,
            name: name.to_owned(),
            sha256: None,
        }
    }

    #[test]
    fn what_a_finding_is_about_outlives_a_version_of_the_image() {
        let old = lasting(
            "build/fw-1.0.bin, squashfs at 0x120200: /etc/shadow:3",
            &image("build/fw-1.0.bin"),
        );
        let new = lasting(
            "fw-1.1.bin, squashfs at 0x130000: /etc/shadow:4",
            &image("fw-1.1.bin"),
        );
        assert_eq!(old, new);
        assert_eq!(old, "squashfs at … /etc/shadow");
    }

    #[test]
    fn what_a_finding_is_about_keeps_what_tells_it_from_others() {
        let root = image("root");
        assert_eq!(lasting("account root", &root), "account root");
        assert_eq!(lasting("root-twin", &root), "root-twin");
        assert_eq!(lasting("tcp 192.0.2.7:23", &root), "tcp 192.0.2.7:23");
        let host = Target {
            kind: TargetKind::Host,
            ..image("192.0.2.7")
        };
        assert_eq!(lasting("192.0.2.7:23 tcp", &host), "23 tcp");
        assert_eq!(lasting("192.0.2.77:23 tcp", &host), "192.0.2.77:23 tcp");
    }

    #[test]
    fn a_second_finding_about_the_same_leaves_the_first_what_it_is() {
        assert_ne!(fingerprint("a/b", "x", 1), fingerprint("a/b", "x", 2));
        assert_ne!(fingerprint("a/b", "x", 1), fingerprint("a/c", "x", 1));
        // Baselines are kept for years: this value is for good.
        assert_eq!(
            fingerprint("a/b", "x", 1),
            "f3cdf8d1e4fa9a7c7e19b700b083d890"
        );
    }
}
