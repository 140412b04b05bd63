//! `stockade audit rules`: what is judged, and why.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use stockade_audit::{rules, standards};
use stockade_controls::engine::Rule;

use crate::out::{Out, table, wrapped};

pub(super) fn run(out: Out, json: bool, id: Option<&str>) -> anyhow::Result<ExitCode> {
    let chosen: Vec<&Rule> = rules::all()
        .filter(|rule| id.is_none_or(|id| rule.id == id))
        .collect();
    if let (Some(id), true) = (id, chosen.is_empty()) {
        bail!("there is no rule `{id}`: `stockade audit rules` lists them");
    }
    if json {
        let told: Vec<_> = chosen.iter().map(|rule| as_json(rule)).collect();
        out.line(&serde_json::to_string_pretty(&told)?);
    } else if let (Some(_), [rule]) = (id, chosen.as_slice()) {
        out.line(one(rule, out.width()).trim_end());
    } else {
        let rows = chosen.iter().map(|rule| {
            let severity = rule.severity.to_string();
            vec![rule.id.to_owned(), severity, rule.title.to_owned()]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        out.line(&table(&["RULE", "SEVERITY", "WHAT IS RIGHT"], &rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(rule: &Rule) -> serde_json::Value {
    let about = |id: &&str| json!({ "id": id, "about": standards::title(id) });
    json!({
        "id": rule.id,
        "severity": rule.severity,
        "title": rule.title,
        "why": rule.why,
        "advice": rule.advice,
        "standards": rule.standards.iter().map(about).collect::<Vec<_>>(),
    })
}

fn one(rule: &Rule, width: usize) -> String {
    let mut text = format!("{} ({})\n", rule.id, rule.severity);
    wrapped(&mut text, "", rule.title, width);
    wrapped(&mut text, "  why   ", rule.why, width);
    wrapped(&mut text, "  mend  ", rule.advice, width);
    for id in rule.standards {
        let about = standards::title(id).unwrap_or_default();
        let _infallible = writeln!(text, "  {id}: {about}");
    }
    text
}
