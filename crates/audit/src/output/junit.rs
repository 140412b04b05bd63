//! `JUnit`'s XML, as build servers read it: a suite a control, a case a rule.

use std::fmt::Write as _;

use stockade_controls::engine::{Severity, Standard};

use crate::report::{FindingReport, Report, RuleReport, Since};

/// The report as `JUnit` XML. A rule fails if a finding of it gates; what cannot be judged is an error; a rule that does not apply, or
/// all of whose findings are waived, is skipped.
pub fn junit(report: &Report, fail_on: Option<Severity>) -> String {
    let mut suites: Vec<(&str, Vec<Case>)> = Vec::new();
    for rule in &report.rules {
        let control = rule.id.split('/').next().unwrap_or_default();
        let case = case(rule, fail_on);
        match suites.iter_mut().find(|(name, _)| *name == control) {
            Some((_, cases)) => cases.push(case),
            None => suites.push((control, vec![case])),
        }
    }
    let unread = report.not_audited.iter().map(|it| Case {
        name: it.place.clone(),
        what: match &it.waived {
            None => What::Error(it.why.clone()),
            Some(waived) => What::Skipped(waived.reason.clone()),
        },
        told: String::new(),
    });
    let unread: Vec<Case> = unread.collect();
    if !unread.is_empty() {
        suites.push(("not-audited", unread));
    }
    let all: Vec<&Case> = suites.iter().flat_map(|(_, cases)| cases).collect();
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let name = escaped(&format!("stockade audit {}", report.target.name));
    let _infallible = writeln!(text, "<testsuites name=\"{name}\" {}>", counts(&all));
    for (name, cases) in &suites {
        let counts = counts(&cases.iter().collect::<Vec<_>>());
        let _infallible = writeln!(text, "  <testsuite name=\"{name}\" {counts}>");
        for case in cases {
            text.push_str(&case.xml(name));
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

struct Case {
    name: String,
    what: What,
    told: String,
}

enum What {
    Passed,
    Failed(Severity, String),
    Error(String),
    Skipped(String),
}

fn case(rule: &RuleReport, fail_on: Option<Severity>) -> Case {
    let gates = |it: &&FindingReport| {
        it.waived.is_none()
            && it.since != Some(Since::Unchanged)
            && fail_on.is_some_and(|least| it.severity >= least)
    };
    let waived = rule.findings.iter().find_map(|it| it.waived.as_ref());
    let all_waived = rule.findings.iter().all(|it| it.waived.is_some());
    let what = match (rule.findings.iter().find(gates), rule.state, waived) {
        (Some(worst), _, _) => What::Failed(worst.severity, worst.what.clone()),
        (None, Standard::CannotTell, _) => What::Error(rule.note.clone()),
        (None, Standard::DoesNotApply, _) => What::Skipped(rule.note.clone()),
        (None, _, Some(waived)) if all_waived => What::Skipped(format!(
            "waived until {}: {}",
            waived.expires, waived.reason
        )),
        (None, _, _) => What::Passed,
    };
    let mut told = String::new();
    for finding in &rule.findings {
        let _infallible = writeln!(told, "{}: {}", finding.severity, finding.what);
        for evidence in &finding.evidence {
            let _infallible = writeln!(told, "  {}: {}", evidence.place, evidence.seen);
        }
    }
    Case {
        name: format!("{}: {}", rule.id, rule.title),
        what,
        told,
    }
}

impl Case {
    fn xml(&self, suite: &str) -> String {
        let (name, told) = (escaped(&self.name), escaped(&self.told));
        let start = format!("    <testcase classname=\"stockade.{suite}\" name=\"{name}\"");
        let inner = match &self.what {
            What::Passed if told.is_empty() => return format!("{start}/>\n"),
            What::Passed => format!("<system-out>{told}</system-out>"),
            What::Failed(severity, why) => {
                let why = escaped(why);
                format!("<failure type=\"{severity}\" message=\"{why}\">{told}</failure>")
            }
            What::Error(why) => {
                let why = escaped(why);
                format!("<error type=\"cannot-tell\" message=\"{why}\">{told}</error>")
            }
            What::Skipped(why) => format!("<skipped message=\"{}\"/>", escaped(why)),
        };
        format!("{start}>\n      {inner}\n    </testcase>\n")
    }
}

fn counts(cases: &[&Case]) -> String {
    let (mut failures, mut errors, mut skipped) = (0, 0, 0);
    for case in cases {
        match case.what {
            What::Passed => (),
            What::Failed(..) => failures += 1,
            What::Error(_) => errors += 1,
            What::Skipped(_) => skipped += 1,
        }
    }
    let tests = cases.len();
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"")
}

/// XML 1.0 §2.4.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(super::harmless(letter)),
        }
    }
    out
}
