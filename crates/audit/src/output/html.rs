//! One page that needs nothing else: a summary for who decides, details for who mends, fit to be printed.

use std::collections::BTreeMap;

use askama::Template;
use stockade_controls::engine::{Severity, Standard, Standing};
use time::OffsetDateTime;

use crate::audited::{Data, TargetKind};
use crate::report::{FindingReport, ProtocolReport, Report, RuleReport, Since, Stand};

/// How many findings the summary names.
const FIRST: usize = 5;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Report,
    subject: &'static str,
    tone: &'static str,
    headline: String,
    open: Vec<(&'a RuleReport, &'a FindingReport)>,
    first: Vec<(&'a RuleReport, &'a FindingReport)>,
    broken: Vec<&'a RuleReport>,
    blind: Vec<(&'a str, Vec<&'a RuleReport>)>,
    held: Vec<&'a RuleReport>,
    idle: Vec<&'a RuleReport>,
    provisions: Vec<(&'a str, &'a str, String)>,
    data: String,
    at: Option<String>,
}

/// The report as a page without scripts and without anything from elsewhere.
pub fn html(report: &Report) -> Result<String, askama::Error> {
    let open = report.open_findings();
    // One finding a rule: five files with the same fault are one thing to mend.
    let mut first: Vec<(&RuleReport, &FindingReport)> = Vec::new();
    for (rule, finding) in &open {
        if first.len() < FIRST && !first.iter().any(|(it, _)| it.id == rule.id) {
            first.push((rule, finding));
        }
    }
    let of_state = |state: Standard| -> Vec<&RuleReport> {
        let rules = report.rules.iter();
        rules.filter(|rule| rule.state == state).collect()
    };
    let mut broken: Vec<&RuleReport> = report.rules.iter().collect();
    broken.retain(|rule| !rule.findings.is_empty());
    broken.sort_by_key(|rule| {
        let open = rule.findings.iter().filter(|it| it.waived.is_none());
        std::cmp::Reverse(open.map(|it| it.severity).max())
    });
    let (tone, headline) = headline(report);
    let at = report.at.and_then(|at| i64::try_from(at).ok());
    let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let page = Page {
        report,
        subject: match (report.target.kind, report.standing) {
            (TargetKind::Image, _) => "An image, not running",
            (TargetKind::Directory, _) => "A root directory, not running",
            (TargetKind::Host, _) => "A device, asked over the network",
            (TargetKind::Inventory, _) => "A list of software",
            (TargetKind::Live, Standing::Live | Standing::Offline) => "A running system",
        },
        tone,
        headline,
        first,
        open,
        broken,
        blind: report.unjudged_by_reason(),
        held: of_state(Standard::Passed),
        idle: of_state(Standard::DoesNotApply),
        provisions: provisions(report),
        data: report.data.says(),
        at: at.map(|at| at.to_string()),
    };
    let text = format!("{}\n", page.render()?.trim_end());
    Ok(text.chars().map(super::harmless).collect())
}

/// What a reader remembers.
fn headline(report: &Report) -> (&'static str, String) {
    let open = report.open_findings();
    let rest = if report.incomplete() {
        " Not everything could be judged."
    } else {
        ""
    };
    let Some((_, worst)) = open.first() else {
        let held = report
            .rules
            .iter()
            .filter(|it| it.state == Standard::Passed);
        let held = crate::counted(u64::try_from(held.count()).unwrap_or(u64::MAX), "rule");
        let tone = if rest.is_empty() { "good" } else { "warn" };
        return (
            tone,
            format!("Nothing was found to be wrong; {held} hold.{rest}"),
        );
    };
    let mut by_severity: BTreeMap<std::cmp::Reverse<Severity>, u32> = BTreeMap::new();
    for (_, finding) in &open {
        *by_severity
            .entry(std::cmp::Reverse(finding.severity))
            .or_default() += 1;
    }
    let counts = by_severity
        .iter()
        .map(|(it, count)| format!("{count} {}", it.0));
    let counts: Vec<String> = counts.collect();
    let findings = crate::counted(u64::try_from(open.len()).unwrap_or(u64::MAX), "finding");
    (
        severe(worst.severity),
        format!("{findings}: {}.{rest}", counts.join(", ")),
    )
}

/// Each provision that the rules touch, and how those rules stand.
fn provisions(report: &Report) -> Vec<(&str, &str, String)> {
    let provisions = report.standards.iter().map(|(id, title)| {
        let touching = report.rules.iter().filter(|it| it.standards.contains(id));
        let (mut broken, mut held, mut blind) = (0_u32, 0_u32, 0_u32);
        for rule in touching {
            match rule.state {
                Standard::Broken => broken += 1,
                Standard::Passed => held += 1,
                Standard::CannotTell => blind += 1,
                Standard::DoesNotApply => (),
            }
        }
        let counts = [
            (broken, "broken"),
            (blind, "cannot be judged"),
            (held, "hold"),
        ];
        let told = counts.iter().filter(|(count, _)| *count > 0);
        let told: Vec<String> = told.map(|(count, how)| format!("{count} {how}")).collect();
        let told = if told.is_empty() {
            "none applies".to_owned()
        } else {
            told.join(", ")
        };
        (id.as_str(), title.as_str(), told)
    });
    provisions.collect()
}

/// What is to be done about this finding, if that is more than the rule says.
fn own_words<'a>(rule: &RuleReport, finding: &'a FindingReport) -> Option<&'a String> {
    finding.person.as_ref().filter(|it| **it != rule.advice)
}

fn tone_of(protocol: &ProtocolReport) -> &'static str {
    match protocol.verdict {
        Stand::Good => "good",
        Stand::CannotTell => "warn",
        Stand::Wrong => protocol.worst.map_or("warn", severe),
        Stand::NotJudged => "",
    }
}

fn word_of(protocol: &ProtocolReport) -> &'static str {
    match protocol.verdict {
        Stand::Good => "good",
        Stand::CannotTell => "cannot tell",
        Stand::Wrong => "wrong",
        Stand::NotJudged => "not judged",
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "a template gives references"
)]
fn since_word(since: &Since) -> &'static str {
    match since {
        Since::New => "new",
        Since::Worse => "worse",
        Since::Unchanged => "as before",
    }
}

fn severe(severity: impl std::borrow::Borrow<Severity>) -> &'static str {
    match severity.borrow() {
        Severity::Critical | Severity::High => "bad",
        Severity::Medium => "warn",
        Severity::Low | Severity::Info => "",
    }
}

impl Data {
    /// In words.
    pub fn says(&self) -> String {
        match self {
            Self::NotRun { why } => format!("not run: {why}"),
            Self::Used { sources } => {
                let told = sources.iter().map(|it| {
                    let digest: String = it.sha256.chars().take(16).collect();
                    let bad = match it.bad {
                        0 => String::new(),
                        bad => format!(", {bad} more that could not be read"),
                    };
                    let records = format!("{}{bad}", crate::counted(it.records, "record"));
                    format!(
                        "{} ({}, of {}, {records}, SHA-256 {digest}…)",
                        it.name, it.kind, it.date
                    )
                });
                told.collect::<Vec<_>>().join("; ")
            }
        }
    }
}
