//! One look at a host by all controls.

use std::collections::BTreeMap;

use super::control::{Case, Check};
use super::finding::{Finding, Rule};
use super::host::Unseen;

/// All controls, in the order of a report.
pub const CONTROLS: &[&dyn Check] = &[
    &crate::comms::Comms,
    &crate::firewall::Firewall,
    &crate::protocols::Protocols,
    &crate::upnp::Upnp,
    &crate::boot::Boot,
    &crate::credentials::Credentials,
    &crate::programs::Programs,
    &crate::privileges::Privileges,
    &crate::ports::Ports,
    &crate::tamper::Tamper,
    &crate::updates::Updates,
    &crate::mac::Mac,
];

/// What a control made of its rules.
#[derive(Debug, Default)]
pub struct Judged {
    outcomes: BTreeMap<&'static str, Verdict>,
}

/// What became of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds; what was looked at, as half a sentence: "3 accounts".
    Passed(String),
    /// It is broken.
    Broken(Vec<Finding>),
    /// It cannot be judged: why. Never taken as fine. What was found all the same comes with it.
    CannotTell(String, Vec<Finding>),
    /// It has nothing to judge here: why.
    DoesNotApply(String),
}

impl Judged {
    /// A rule was judged: it holds unless there are findings.
    pub fn judged(
        &mut self,
        rule: &'static Rule,
        looked_at: impl Into<String>,
        findings: Vec<Finding>,
    ) {
        let verdict = if findings.is_empty() {
            Verdict::Passed(looked_at.into())
        } else {
            Verdict::Broken(findings)
        };
        self.outcomes.insert(rule.id, verdict);
    }

    /// A rule can not be judged, or not wholly; what was found all the same goes along.
    pub fn cannot_tell(
        &mut self,
        rule: &'static Rule,
        why: impl Into<String>,
        findings: Vec<Finding>,
    ) {
        let verdict = Verdict::CannotTell(why.into(), findings);
        self.outcomes.insert(rule.id, verdict);
    }

    /// A rule can not be judged because something could not be read.
    pub fn unseen(&mut self, rule: &'static Rule, what: &str, why: &Unseen) {
        self.cannot_tell(rule, format!("{what}: {why}"), Vec::new());
    }

    /// A rule has nothing to judge here.
    pub fn does_not_apply(&mut self, rule: &'static Rule, why: impl Into<String>) {
        self.outcomes
            .insert(rule.id, Verdict::DoesNotApply(why.into()));
    }
}

/// One rule's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The rule.
    pub rule: &'static Rule,
    /// What became of it.
    pub verdict: Verdict,
}

/// What all controls found, rule by rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// Every rule once, in the order of the controls.
    pub outcomes: Vec<Outcome>,
}

impl Assessment {
    /// All findings, in the order of the rules.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.outcomes
            .iter()
            .flat_map(|outcome| match &outcome.verdict {
                Verdict::Broken(findings) | Verdict::CannotTell(_, findings) => findings.as_slice(),
                Verdict::Passed(_) | Verdict::DoesNotApply(_) => &[],
            })
    }
}

/// Judges a host by these controls; [`CONTROLS`] are all. A rule that its control is silent about cannot be judged.
pub fn assess(case: &Case<'_>, controls: &[&dyn Check]) -> Assessment {
    let mut outcomes = Vec::new();
    for control in controls {
        let mut judged = control.judge(case);
        for rule in control.rules() {
            let silent = || {
                Verdict::CannotTell("the control did not judge it: a bug".to_owned(), Vec::new())
            };
            let verdict = judged.outcomes.remove(rule.id).unwrap_or_else(silent);
            outcomes.push(Outcome { rule, verdict });
        }
    }
    Assessment { outcomes }
}
