//! What was found and what would be done about it, as a person reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use stockade_controls::engine::{
    FindingReport, PROTOCOLS, Plan, Report, RuleReport, Severity, Standard, Standing,
};
use stockade_profile::Control;

use crate::commands::counted;
use crate::out::{COLUMNS, Out, Tone, table, wrapped};

/// How many pieces of evidence are shown of one finding, and how many findings of one rule; JSON has all.
const MOST_SHOWN: usize = 3;
const MOST_OF_A_RULE: usize = 5;

/// How the device stands: the seven protocols, then what is wrong, worst first.
pub(super) fn status(out: Out, report: &Report) -> String {
    let mut text = format!("{}\n\n{}\n", head(report), protocols(out, report));
    let mut rules: Vec<&RuleReport> = report.rules.iter().collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.findings.iter().map(|it| it.severity).max()));
    for rule in rules {
        for finding in rule.findings.iter().take(MOST_OF_A_RULE) {
            text.push('\n');
            text.push_str(&self::finding(out, rule, finding));
        }
        let more = rule.findings.len().saturating_sub(MOST_OF_A_RULE);
        if more > 0 {
            let _infallible = writeln!(
                text,
                "\n{}: {more} more like these (--json has all)",
                rule.id
            );
        }
    }
    text.push_str(&unjudged(report));
    text.push('\n');
    text.push_str(&closing(report, report.findings().count()));
    text
}

/// What would be done, step by step, with reasons and risks.
pub(super) fn plan(out: Out, report: &Report, plan: &Plan) -> String {
    let found = report.findings().count();
    let said: BTreeMap<String, &FindingReport> = report
        .findings()
        .map(|(rule, finding)| (format!("{} {}", rule.id, finding.subject), finding))
        .collect();
    let mut text = match (plan.steps.len(), found) {
        (0, 0) => "Nothing to do: no rule is known to be broken.\n".to_owned(),
        (0, found) => format!("No step of ours would mend {}.\n", findings(found)),
        (steps, found) => {
            let mended = report.findings().filter(|(_, it)| it.mendable).count();
            let (steps, of) = (counted(steps, "step"), findings(found));
            format!("{steps} would mend {mended} of {of}. Nothing was changed.\n")
        }
    };
    for (number, planned) in plan.steps.iter().enumerate() {
        let step = &planned.step;
        let number = number + 1;
        let _infallible = write!(text, "\n{number:>3}. {}\n", step.says);
        for mends in &planned.mends {
            let what = said.get(mends).map_or("", |finding| finding.what.as_str());
            let rule = mends.split(' ').next().unwrap_or_default();
            let severity = said.get(mends).map(|finding| finding.severity);
            let severity = severity.map_or_else(String::new, |it| paint(out, it));
            push_wrapped(
                &mut text,
                "     wrong  ",
                &format!("{severity} {rule}: {what}"),
            );
        }
        let why = report.rules.iter().find(|rule| {
            planned
                .mends
                .iter()
                .any(|it| it.split(' ').next() == Some(&rule.id))
        });
        if let Some(rule) = why {
            push_wrapped(&mut text, "     why    ", &rule.why);
        }
        let risk = step.risk.as_deref().unwrap_or("nothing that we know of");
        push_wrapped(&mut text, "     breaks ", risk);
    }
    let persons = report.findings().filter_map(|(rule, finding)| {
        let what = finding.person.as_ref()?;
        Some((rule, finding, what))
    });
    let mut first = true;
    for (rule, finding, what) in persons {
        if first {
            text.push_str("\nOnly a person can mend these:\n");
            first = false;
        }
        let severity = paint(out, finding.severity);
        push_wrapped(
            &mut text,
            "  -  ",
            &format!("{severity} {}: {}", rule.id, finding.what),
        );
        push_wrapped(&mut text, "     ", what);
    }
    text.push_str(&unjudged(report));
    if !plan.is_empty() {
        text.push_str("\nDo it: stockade device apply    Take it back: stockade device undo\n");
    }
    text
}

fn head(report: &Report) -> String {
    let what = match report.standing {
        Standing::Live => "this machine",
        Standing::Offline => "an image, not running",
    };
    format!(
        "{} by its profile, version {} ({what})",
        report.model, report.profile_version
    )
}

fn protocols(out: Out, report: &Report) -> String {
    let rows: Vec<Vec<String>> = PROTOCOLS
        .iter()
        .map(|(name, controls)| {
            let (tone, verdict) = verdict(report, controls);
            vec![(*name).to_owned(), out.paint(tone, &verdict)]
        })
        .collect();
    table(&["PROTOCOL", "VERDICT"], &rows)
}

/// How one protocol stands, in words.
fn verdict(report: &Report, controls: &[Control]) -> (Tone, String) {
    let rules = report.rules.iter().filter(|rule| {
        let control = rule.id.split('/').next().unwrap_or_default();
        controls.iter().any(|it| it.as_str() == control)
    });
    let (mut held, mut unjudged, mut found, mut worst) = (0, 0, 0, None);
    for rule in rules {
        match rule.state {
            Standard::Passed => held += 1,
            Standard::CannotTell => unjudged += 1,
            Standard::Broken | Standard::DoesNotApply => (),
        }
        found += rule.findings.len();
        worst = worst.max(rule.findings.iter().map(|it| it.severity).max());
    }
    match (found, unjudged, held, worst) {
        (0, 0, 0, _) => (Tone::Dim, "not judged here".to_owned()),
        (0, 0, held, _) => (Tone::Good, format!("good: {} hold", counted(held, "rule"))),
        (0, unjudged, _, _) => {
            let rules = counted(unjudged, "rule");
            (Tone::Alarm, format!("cannot be judged: {rules}"))
        }
        (found, _, _, worst) => {
            let worst = worst.unwrap_or(Severity::Info);
            let what = findings(found);
            (Tone::Bad, format!("wrong: {what}, the worst {worst}"))
        }
    }
}

fn finding(out: Out, rule: &RuleReport, finding: &FindingReport) -> String {
    let mut text = String::new();
    let severity = paint(out, finding.severity);
    push_wrapped(
        &mut text,
        "",
        &format!("{severity} {}: {}", rule.id, finding.what),
    );
    for evidence in finding.evidence.iter().take(MOST_SHOWN) {
        push_wrapped(
            &mut text,
            "  seen  ",
            &format!("{}: {}", evidence.place, evidence.seen),
        );
    }
    let more = finding.evidence.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        let _infallible = writeln!(text, "        and {more} more (--json has all)");
    }
    if let Some(person) = &finding.person {
        push_wrapped(&mut text, "  mend  ", person);
    }
    text
}

fn unjudged(report: &Report) -> String {
    let mut text = String::new();
    for rule in report.unjudged() {
        if text.is_empty() {
            text.push_str("\nCannot be judged:\n");
        }
        push_wrapped(&mut text, "  ?  ", &format!("{}: {}", rule.id, rule.note));
    }
    text
}

/// What is left after a plan was carried out.
pub(super) fn summary(report: &Report) -> String {
    match report.findings().count() {
        0 => "no finding is left".to_owned(),
        left => format!("{} left: stockade device status", findings(left)),
    }
}

fn closing(report: &Report, found: usize) -> String {
    let held = report
        .rules
        .iter()
        .filter(|it| it.state == Standard::Passed);
    let held = format!(
        "{} of {} hold.",
        counted(held.count(), "rule"),
        report.rules.len()
    );
    let mendable = report.findings().filter(|(_, it)| it.mendable).count();
    if mendable == 0 {
        return held;
    }
    format!(
        "{held} `stockade device plan` shows what would mend {mendable} of {}.",
        findings(found)
    )
}

pub(crate) fn paint(out: Out, severity: Severity) -> String {
    let tone = match severity {
        Severity::Critical | Severity::High => Tone::Bad,
        Severity::Medium => Tone::Alarm,
        Severity::Low | Severity::Info => Tone::Dim,
    };
    out.paint(tone, &severity.to_string())
}

fn findings(count: usize) -> String {
    counted(count, "finding")
}

fn push_wrapped(text: &mut String, label: &str, paragraph: &str) {
    wrapped(text, label, paragraph, COLUMNS);
}
