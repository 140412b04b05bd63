//! A report as a person reads it: the seven protocols first, then what is wrong, worst first, then what nobody knows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use stockade_audit::{Diff, FindingReport, Gone, ProtocolReport, Report, RuleReport, Since, Stand};
use stockade_controls::engine::{Plan, Standard};

pub(super) use crate::commands::counted;
use crate::commands::mend::text::paint;
use crate::out::{Out, Tone, printable, table, wrapped};

/// How many pieces of evidence are shown of one finding, and how many findings of one rule; the other forms have all.
const MOST_SHOWN: usize = 3;
const MOST_OF_A_RULE: usize = 5;

/// The whole report.
pub(super) fn report(out: Out, report: &Report, plan: Option<&Plan>) -> String {
    let mut page = Page {
        out,
        width: out.width(),
        text: String::new(),
    };
    page.head(report);
    page.protocols(&report.protocols);
    page.findings(report);
    if let Some(plan) = plan {
        page.plan(plan);
    }
    page.unjudged(report);
    page.baseline(report);
    page.waived(report);
    page.rest(report);
    page.text
}

/// What is between two reports.
pub(super) fn diff(out: Out, diff: &Diff) -> String {
    let mut page = Page {
        out,
        width: out.width(),
        text: String::new(),
    };
    let head = format!("{} → {}", diff.old.name, diff.new.name);
    page.line(&printable(&head));
    page.heading("Worse");
    for change in &diff.worse {
        let was = match change.was {
            Some(was) => format!("was {was}: "),
            None => String::new(),
        };
        page.gone(&change.now, &was);
    }
    page.none_if(diff.worse.is_empty());
    page.heading("Better");
    for gone in &diff.better {
        page.gone(gone, "");
    }
    page.none_if(diff.better.is_empty());
    if diff.incomplete() {
        page.heading("No longer judged");
        for gone in &diff.no_longer_judged {
            page.gone(gone, "nobody knows whether it is mended: ");
        }
        for (what, why) in &diff.blind {
            page.item("  ?  ", &format!("{what}: {why}"));
        }
    }
    if !diff.seeing.is_empty() {
        page.heading("Judged for the first time");
        page.item("  ", &diff.seeing.join(", "));
    }
    page.line("");
    let unchanged = usize::try_from(diff.unchanged).unwrap_or(usize::MAX);
    page.line(&format!("{} as before.", counted(unchanged, "finding")));
    page.text
}

struct Page {
    out: Out,
    width: usize,
    text: String,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.line("");
        self.line(text);
    }

    /// Words from elsewhere behind a label of ours.
    fn item(&mut self, label: &str, words: &str) {
        wrapped(&mut self.text, label, &printable(words), self.width);
    }

    fn none_if(&mut self, empty: bool) {
        if empty {
            self.line("  nothing");
        }
    }

    fn gone(&mut self, gone: &Gone, note: &str) {
        let label = format!("  {} ", paint(self.out, gone.severity));
        self.item(&label, &format!("{}: {note}{}", gone.rule, gone.what));
    }

    fn head(&mut self, report: &Report) {
        let digest = report.target.sha256.as_ref();
        let digest = digest.map_or_else(String::new, |it| format!(", SHA-256 {it}"));
        self.item("", &format!("{}{digest}", report.target.name));
        let by = report.profile.as_ref();
        let by = by.map_or_else(
            || "by what holds for every device: no profile was given".to_owned(),
            |it| format!("by the profile of {}, version {}", it.model, it.version),
        );
        let rules: String = report.tool.rules.chars().take(12).collect();
        let (name, version) = (&report.tool.name, &report.tool.version);
        let judged = format!("judged {by} ({name} {version}, rules {rules}…)");
        self.item("", &judged);
        self.item("advisories ", &report.data.says());
        self.line("");
    }

    fn protocols(&mut self, protocols: &[ProtocolReport]) {
        let rows = protocols.iter().map(|it| {
            let tone = match it.verdict {
                Stand::Good => Tone::Good,
                Stand::CannotTell => Tone::Alarm,
                Stand::Wrong => Tone::Bad,
                Stand::NotJudged => Tone::Dim,
            };
            vec![it.name.clone(), self.out.paint(tone, &it.says())]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        self.line(&table(&["PROTOCOL", "VERDICT"], &rows));
    }

    fn findings(&mut self, report: &Report) {
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        for (rule, finding) in report.open_findings() {
            let of_rule = told.entry(&rule.id).or_default();
            *of_rule += 1;
            if *of_rule <= MOST_OF_A_RULE {
                self.finding(report, rule, finding, *of_rule == 1);
            }
        }
        for (id, count) in told {
            let more = count.saturating_sub(MOST_OF_A_RULE);
            if more > 0 {
                self.line("");
                self.line(&format!("{id}: {more} more like these (-o json has all)"));
            }
        }
    }

    fn finding(
        &mut self,
        report: &Report,
        rule: &RuleReport,
        finding: &FindingReport,
        first: bool,
    ) {
        self.line("");
        let label = format!("{} ", paint(self.out, finding.severity));
        let since = match finding.since {
            None | Some(Since::Unchanged) => "",
            Some(Since::New) => "new: ",
            Some(Since::Worse) => "worse than before: ",
        };
        self.item(&label, &format!("{}: {since}{}", rule.id, finding.what));
        for evidence in finding.evidence.iter().take(MOST_SHOWN) {
            self.item(
                "  seen  ",
                &format!("{}: {}", evidence.place, evidence.seen),
            );
        }
        let more = finding.evidence.len().saturating_sub(MOST_SHOWN);
        if more > 0 {
            self.line(&format!("        and {more} more (-o json has all)"));
        }
        if first {
            self.item("  why   ", &rule.why);
        }
        let own = finding
            .person
            .as_ref()
            .filter(|it| first || **it != rule.advice);
        match own {
            Some(person) => self.item("  mend  ", person),
            None if first => self.item("  mend  ", &rule.advice),
            None => (),
        }
        if first && !rule.standards.is_empty() {
            let about = |id: &String| match report.standards.get(id) {
                Some(title) => format!("{id} ({title})"),
                None => id.clone(),
            };
            let standards: Vec<String> = rule.standards.iter().map(about).collect();
            self.item("  cites ", &standards.join("; "));
        }
    }

    fn plan(&mut self, plan: &Plan) {
        self.heading("What would mend it, in this order");
        for (number, planned) in plan.steps.iter().enumerate() {
            let label = format!("{:>3}. ", number + 1);
            self.item(&label, &planned.step.says);
            self.item("     for    ", &planned.mends.join(", "));
            let risk = planned.step.risk.as_deref();
            self.item("     breaks ", risk.unwrap_or("nothing that we know of"));
        }
        self.none_if(plan.is_empty());
    }

    fn unjudged(&mut self, report: &Report) {
        if report.unjudged().next().is_some() || !report.not_audited.is_empty() {
            self.heading("Cannot be judged; nothing of this is known to be fine");
        }
        for (why, rules) in report.unjudged_by_reason() {
            let ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
            self.item("  ?  ", &format!("{why}: {}", ids.join(", ")));
        }
        for it in &report.not_audited {
            let waived = it.waived.as_ref().map_or_else(String::new, |it| {
                format!(" (waived until {}: {})", it.expires, it.reason)
            });
            self.item(
                "  ?  ",
                &format!("not audited: {}: {}{waived}", it.place, it.why),
            );
        }
    }

    fn baseline(&mut self, report: &Report) {
        let Some(baseline) = &report.baseline else {
            return;
        };
        let head = format!(
            "Since {}: {} new or worse, {} as before, {} mended",
            baseline.target.name,
            baseline.new,
            baseline.unchanged,
            baseline.fixed.len()
        );
        self.line("");
        self.item("", &head);
        for gone in &baseline.fixed {
            self.gone(gone, "mended: ");
        }
        for gone in &baseline.no_longer_judged {
            self.gone(gone, "can no longer be judged: ");
        }
    }

    fn waived(&mut self, report: &Report) {
        let waived = report.findings().filter_map(|(rule, finding)| {
            let waived = finding.waived.as_ref()?;
            Some((rule, finding, waived))
        });
        for (number, (rule, finding, waived)) in waived.enumerate() {
            if number == 0 {
                self.heading("Waived");
            }
            let words = format!(
                "{}: {} (until {}: {})",
                rule.id, finding.what, waived.expires, waived.reason
            );
            self.item("  -  ", &words);
        }
        if !report.idle_waivers.is_empty() {
            self.heading("Waivers that waive nothing");
        }
        for it in &report.idle_waivers {
            self.item("  !  ", &format!("{} ({}): {}", it.rule, it.about, it.why));
        }
    }

    /// What holds, what does not apply, and what the thing is: in short.
    fn rest(&mut self, report: &Report) {
        let of_state = |state: Standard| -> Vec<&str> {
            let rules = report.rules.iter().filter(|it| it.state == state);
            rules.map(|it| it.id.as_str()).collect()
        };
        let held = of_state(Standard::Passed);
        let idle = of_state(Standard::DoesNotApply).len();
        self.line("");
        let rules = counted(held.len(), "rule");
        let colon = if held.is_empty() { "" } else { ": " };
        let label = format!("{rules} passed{colon}");
        let label = self.out.paint(Tone::Good, &label);
        wrapped(&mut self.text, &label, &held.join(", "), self.width);
        if idle > 0 {
            let idle = counted(idle, "rule");
            self.line(&format!(
                "{idle} with nothing to judge here (-o json says why)"
            ));
        }
        self.parts(report);
        self.ports(report);
    }

    fn parts(&mut self, report: &Report) {
        if let Some(software) = &report.inventory {
            let counts: u32 = software.components.values().sum();
            let components = counted(usize::try_from(counts).unwrap_or(usize::MAX), "component");
            let of = software
                .distribution
                .as_deref()
                .unwrap_or("no known distribution");
            self.line("");
            self.item(
                "software ",
                &format!("{components}, {of} (-o cyclonedx lists them)"),
            );
        }
        if report.parts.is_empty() {
            return;
        }
        self.line("");
        let rows = report.parts.iter().map(|part| {
            let files = part.files.map_or_else(String::new, |it| it.to_string());
            vec![
                part.format.clone(),
                format!("{:#x}", part.at),
                files,
                printable(&part.place),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        self.line(&table(&["FORMAT", "AT", "FILES", "PART"], &rows));
    }

    fn ports(&mut self, report: &Report) {
        if !report.ports.is_empty() {
            self.line("");
            let rows = report.ports.iter().map(|port| {
                let at = format!("{} {}", port.transport, port.port);
                let service = port.service.clone().unwrap_or_else(|| "-".to_owned());
                let says = printable(&port.says).replace('\n', " ");
                let says: String = says.chars().take(60).collect();
                vec![
                    printable(&port.address),
                    at,
                    port.state.clone(),
                    printable(&service),
                    says,
                ]
            });
            let rows: Vec<Vec<String>> = rows.collect();
            self.line(&table(
                &["ADDRESS", "PORT", "STATE", "SERVICE", "SAYS"],
                &rows,
            ));
        }
        if let Some(spent) = report.spent {
            self.line("");
            let _infallible = writeln!(
                self.text,
                "asked with {} connections, {} segments, {} datagrams, {} bytes",
                spent.connections, spent.segments, spent.datagrams, spent.bytes
            );
        }
    }
}

#[cfg(test)]
#[path = "../../../../audit/tests/report/made_up.rs"]
mod made_up;

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up() -> Report {
        let mut report = Report::of(&made_up::audited(), None);
        "0".repeat(32).clone_into(&mut report.tool.rules);
        "1.2.3".clone_into(&mut report.tool.version);
        report
    }

    #[test]
    fn a_report_tells_the_seven_then_what_is_wrong_then_what_nobody_knows() {
        let report = made_up();
        let plan = stockade_audit::harden::plan(&made_up::audited());
        insta::assert_snapshot!(super::report(Out::plain(), &report, Some(&plan)));
    }

    #[test]
    fn two_reports_are_told_by_what_is_worse_and_what_is_better() {
        let (old, mut new) = (made_up(), made_up::audited());
        new.outcomes.truncate(2);
        let diff = stockade_audit::compare(&old, &Report::of(&new, None)).expect("both are images");
        let back = stockade_audit::compare(&Report::of(&new, None), &old).expect("both are images");
        let text = [
            super::diff(Out::plain(), &diff),
            super::diff(Out::plain(), &back),
        ];
        insta::assert_snapshot!(text.join("\n----\n"));
    }
}
