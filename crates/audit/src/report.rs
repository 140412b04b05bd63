//! The report: everything in it owned and in one order, so that the same input gives the same bytes. What is rendered is made of
//! it, and what is compared is read back as it, strictly.

mod make;
mod verdict;

pub(crate) use make::{hex, sha256};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stockade_advisories::Kind;
use stockade_controls::engine::{Confidence, Evidence, Severity, Standard, Standing, UnixSeconds};

use crate::audited::{ByProfile, Data, PartRow, PortRow, Spent, TargetKind};

/// The version of the form; it grows when a reader of the last one would misunderstand.
pub const FORM: u32 = 1;

/// Why a rule about all files cannot be judged, if some could not be read.
pub(crate) const GAP: &str = "not every file could be read: see what is not audited";

/// What an audit found, as it is printed, kept and compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Report {
    /// The version of this form.
    pub form: u32,
    /// What judged.
    pub tool: Tool,
    /// When, in seconds since 1970; only if `SOURCE_DATE_EPOCH` said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<UnixSeconds>,
    /// What was looked at.
    pub target: TargetReport,
    /// A running system or an image.
    pub standing: Standing,
    /// The profile it was judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ByProfile>,
    /// Which advisories its software was compared with.
    pub data: Data,
    /// The seven protocols.
    pub protocols: Vec<ProtocolReport>,
    /// Every rule that was asked, in the order of the controls.
    pub rules: Vec<RuleReport>,
    /// What the provisions are about that the rules cite.
    pub standards: BTreeMap<String, String>,
    /// What should have been looked at and could not be.
    pub not_audited: Vec<NotAudited>,
    /// What an image is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartRow>,
    /// What software is there, counted; the list itself is the `CycloneDX` output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Software>,
    /// What a host answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRow>,
    /// What it cost a host to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
    /// Waivers that waive nothing, and such as are over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle_waivers: Vec<IdleWaiver>,
    /// What became of the report that this one was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

/// What judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tool {
    /// Always `stockade`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The first half of the SHA-256 of all rules and their texts: the same rules, the same digest.
    pub rules: String,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TargetReport {
    /// What kind of thing it is.
    pub kind: TargetKind,
    /// As it was given.
    pub name: String,
    /// SHA-256 of a file, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What software is there, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Software {
    /// The distribution, as `debian 12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// How many components, by who says that they are there: `dpkg`, `apk`, `detected`.
    pub components: BTreeMap<Kind, u32>,
}

/// How one of the seven protocols stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProtocolReport {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub verdict: Stand,
    /// The worst of its findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<Severity>,
    /// How many findings there are, waived ones apart.
    pub findings: u32,
    /// How many are waived.
    pub waived: u32,
    /// How many rules hold.
    pub passed: u32,
    /// How many rules cannot be judged, wholly or in part.
    pub cannot_tell: u32,
}

/// How a protocol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stand {
    /// No rule about it can be asked here.
    NotJudged,
    /// Every rule holds, and everything could be looked at.
    Good,
    /// Nothing is known to be wrong, and not everything could be looked at.
    CannotTell,
    /// Something is wrong.
    Wrong,
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
    /// How bad breaking it is.
    pub severity: Severity,
    /// The provisions it touches.
    pub standards: Vec<String>,
    /// How it stands.
    pub state: Standard,
    /// What was looked at, why it can not be judged, or why it does not apply.
    pub note: String,
    /// What breaks it, worst first.
    pub findings: Vec<FindingReport>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FindingReport {
    /// The same for the same finding in the next version of the same thing: of the rule and what it is about, of no line and no offset.
    pub fingerprint: String,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Who decides here has decided to live with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waived>,
    /// How it stands to the baseline, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// Why somebody lives with a finding, and until when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Waived {
    /// Why.
    pub reason: String,
    /// The last day, as `2027-01-31`.
    pub expires: String,
}

/// How a finding stands to a baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// It was not there.
    New,
    /// It was there, and is worse now.
    Worse,
    /// It was there.
    Unchanged,
}

/// Something that should have been looked at and could not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotAudited {
    /// Where.
    pub place: String,
    /// Why not.
    pub why: String,
    /// Who decides here has decided to live with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waived>,
}

/// A waiver that waives nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdleWaiver {
    /// Its rule.
    pub rule: String,
    /// What it is about.
    pub about: String,
    /// `over since 2026-01-31`, `nothing of this was found`.
    pub why: String,
}

/// What became of an earlier report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Baseline {
    /// What it was about.
    pub target: TargetReport,
    /// How many findings are new or worse.
    pub new: u32,
    /// How many are as they were.
    pub unchanged: u32,
    /// What was found then and is no more.
    pub fixed: Vec<Gone>,
    /// What was found then and cannot be judged now, or was not asked: nobody knows whether it is mended.
    pub no_longer_judged: Vec<Gone>,
}

/// A finding of an earlier report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Gone {
    /// Its rule.
    pub rule: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// What it was about.
    pub subject: String,
    /// What was wrong.
    pub what: String,
    /// How bad it was.
    pub severity: Severity,
}

/// Why a report cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum NoReport {
    /// It is none, or is damaged.
    #[error("this is no report of `stockade audit … -o json`")]
    Damaged(#[from] serde_json::Error),
    /// It is of another version of the form.
    #[error("this report has form {0}, and this program reads form {FORM}: make it anew")]
    Form(u32),
}

impl Report {
    /// The report as JSON, with a line break at the end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(format!("{text}\n"))
    }

    /// Reads a report back.
    pub fn from_json(text: &str) -> Result<Self, NoReport> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let Form { form } = serde_json::from_str(text)?;
        if form != FORM {
            return Err(NoReport::Form(form));
        }
        Ok(serde_json::from_str(text)?)
    }

    /// All findings, with their rules.
    pub fn findings(&self) -> impl Iterator<Item = (&RuleReport, &FindingReport)> {
        self.rules
            .iter()
            .flat_map(|rule| rule.findings.iter().map(move |finding| (rule, finding)))
    }

    /// All findings that nobody has waived, worst first.
    pub fn open_findings(&self) -> Vec<(&RuleReport, &FindingReport)> {
        let mut open: Vec<_> = self
            .findings()
            .filter(|(_, finding)| finding.waived.is_none())
            .collect();
        open.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.severity));
        open
    }

    /// The rules that cannot be judged, wholly or in part.
    pub fn unjudged(&self) -> impl Iterator<Item = &RuleReport> {
        let unjudged = |rule: &&RuleReport| rule.state == Standard::CannotTell;
        self.rules.iter().filter(unjudged)
    }

    /// The rules that cannot be judged, those together that have the same reason.
    pub fn unjudged_by_reason(&self) -> Vec<(&str, Vec<&RuleReport>)> {
        let mut reasons: Vec<(&str, Vec<&RuleReport>)> = Vec::new();
        for rule in self.unjudged() {
            match reasons.iter_mut().find(|(note, _)| *note == rule.note) {
                Some((_, rules)) => rules.push(rule),
                None => reasons.push((&rule.note, vec![rule])),
            }
        }
        reasons
    }

    /// Whether something that should have been judged could not be.
    pub fn incomplete(&self) -> bool {
        self.unjudged().next().is_some() || self.not_audited.iter().any(|it| it.waived.is_none())
    }

    /// How many open findings are at least as bad as this; with a baseline, only such as are new or worse.
    pub fn gating(&self, fail_on: Option<Severity>) -> usize {
        let Some(least) = fail_on else { return 0 };
        let gates = |(_, finding): &(&RuleReport, &FindingReport)| {
            finding.severity >= least && finding.since != Some(Since::Unchanged)
        };
        self.open_findings().into_iter().filter(gates).count()
    }
}
