//! An assessment as it is printed, sent to another process and stored: everything in it owned, one form for all.

use serde::{Deserialize, Serialize};
use stockade_profile::Profile;

use super::assess::{Assessment, Verdict};
use super::finding::{Confidence, Evidence, Finding, Severity};
use super::host::{Standing, UnixSeconds};
use super::posture::Standard;

/// The version of the form; it grows when a reader of the last one would misunderstand.
const FORM: u32 = 1;

/// What all controls found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Report {
    /// The version of this form.
    pub form: u32,
    /// The model of the profile.
    pub model: String,
    /// The version of the profile.
    pub profile_version: u64,
    /// A running system or an image.
    pub standing: Standing,
    /// When it was looked at, by the host's clock.
    pub at: UnixSeconds,
    /// Every rule, in the order of the controls.
    pub rules: Vec<RuleReport>,
}

/// One rule and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuleReport {
    /// `control/name`.
    pub id: String,
    /// What is right.
    pub title: String,
    /// Why it matters.
    pub why: String,
    /// How to mend it by hand.
    pub advice: String,
    /// The provisions it touches.
    pub standards: Vec<String>,
    /// How it stands.
    pub state: Standard,
    /// What was looked at, why it can not be judged, or why it does not apply.
    pub note: String,
    /// What breaks it.
    pub findings: Vec<FindingReport>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FindingReport {
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub what: String,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// What was seen, and where.
    pub evidence: Vec<Evidence>,
    /// Whether a plan can mend it.
    pub mendable: bool,
    /// What only a person can do, if it is so.
    pub person: Option<String>,
}

impl Report {
    /// The report of an assessment.
    pub fn of(
        assessment: &Assessment,
        profile: &Profile,
        standing: Standing,
        at: UnixSeconds,
    ) -> Self {
        let rules = assessment.outcomes.iter().map(|outcome| {
            let rule = outcome.rule;
            let (state, note, findings) = match &outcome.verdict {
                Verdict::Passed(looked_at) => (Standard::Passed, looked_at.as_str(), &[][..]),
                Verdict::Broken(findings) => (Standard::Broken, "", findings.as_slice()),
                Verdict::CannotTell(why, findings) => {
                    (Standard::CannotTell, why.as_str(), findings.as_slice())
                }
                Verdict::DoesNotApply(why) => (Standard::DoesNotApply, why.as_str(), &[][..]),
            };
            RuleReport {
                id: rule.id.to_owned(),
                title: rule.title.to_owned(),
                why: rule.why.to_owned(),
                advice: rule.advice.to_owned(),
                standards: rule.standards.iter().copied().map(str::to_owned).collect(),
                state,
                note: note.to_owned(),
                findings: findings.iter().map(FindingReport::of).collect(),
            }
        });
        Self {
            form: FORM,
            model: profile.device.model.to_string(),
            profile_version: profile.device.version,
            standing,
            at,
            rules: rules.collect(),
        }
    }

    /// All findings, with their rules.
    pub fn findings(&self) -> impl Iterator<Item = (&RuleReport, &FindingReport)> {
        self.rules
            .iter()
            .flat_map(|rule| rule.findings.iter().map(move |finding| (rule, finding)))
    }

    /// The rules that cannot be judged, wholly or in part.
    pub fn unjudged(&self) -> impl Iterator<Item = &RuleReport> {
        let unjudged = |rule: &&RuleReport| rule.state == Standard::CannotTell;
        self.rules.iter().filter(unjudged)
    }
}

impl FindingReport {
    fn of(finding: &Finding) -> Self {
        Self {
            subject: finding.subject.clone(),
            what: finding.what.clone(),
            severity: finding.severity,
            confidence: finding.confidence,
            evidence: finding.evidence.clone(),
            mendable: finding.remedy.person().is_none(),
            person: finding.remedy.person().map(str::to_owned),
        }
    }
}
