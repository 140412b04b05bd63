//! Whole hosts, written down: everything that a control finds on them, and the plan.

mod credentials;
mod privileges;
mod programs;
mod updates;

use std::fmt::Write as _;

use stockade_controls::engine::{Assessment, Case, Check, MemoryHost, Own, Plan, Verdict, assess};
use stockade_profile::Profile;

/// A profile of a camera with these further lines.
fn profile(more: &str) -> Profile {
    let text = format!(
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 7\nclass = \"linux\"\n{more}"
    );
    stockade_profile::parse(&text).expect("a profile")
}

/// What one control finds on a host.
fn look(control: &dyn Check, host: &MemoryHost, profile: &Profile) -> Assessment {
    let own = Own::default();
    let case = Case {
        host,
        profile,
        now: 1_800_000_000,
        own: &own,
    };
    assess(&case, &[control])
}

/// Everything, as text.
fn told(assessment: &Assessment) -> String {
    let mut text = String::new();
    for outcome in &assessment.outcomes {
        let (state, findings) = match &outcome.verdict {
            Verdict::Passed(looked_at) => (format!("passed: {looked_at}"), &[][..]),
            Verdict::Broken(findings) => ("broken".to_owned(), findings.as_slice()),
            Verdict::CannotTell(why, findings) => {
                (format!("cannot tell: {why}"), findings.as_slice())
            }
            Verdict::DoesNotApply(why) => (format!("does not apply: {why}"), &[][..]),
        };
        writeln!(text, "{} {state}", outcome.rule.id).expect("text");
        for finding in findings {
            let (severity, what) = (finding.severity, &finding.what);
            writeln!(text, "  {severity}: {what}").expect("text");
            for it in &finding.evidence {
                writeln!(text, "    {}: {}", it.place, it.seen).expect("text");
            }
        }
    }
    text.push_str("plan\n");
    for planned in Plan::of(assessment).steps {
        let step = planned.step;
        writeln!(text, "  {}", step.says).expect("text");
        let action = serde_json::to_string(&step.action).expect("an action");
        writeln!(text, "    {action}").expect("text");
    }
    text
}
