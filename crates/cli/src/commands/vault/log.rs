//! `stockade vault log`

use serde_json::Value;

use super::super::{field, items, moment};
use crate::admin::Admin;
use crate::args::vault::Log;
use crate::out::{Out, table};

pub(super) async fn run(out: Out, admin: &Admin, json: bool, asked: &Log) -> anyhow::Result<()> {
    let mut path = format!("/api/v1/vault/log?limit={}", asked.limit);
    if let Some(from) = asked.from {
        path = format!("{path}&from={from}");
    }
    let answer = admin.get(&path).await?;
    out.line(&match (json, asked.key) {
        (true, _) => answer.to_string(),
        (false, true) => field(&answer, "key"),
        (false, false) => text(&answer),
    });
    Ok(())
}

fn text(answer: &Value) -> String {
    let entries = items(answer, "entries");
    let rows: Vec<_> = entries.iter().map(row).collect();
    let head = [
        "ENTRY",
        "WHEN (UTC)",
        "WHO",
        "ROLE",
        "WHAT",
        "DATA SET",
        "PURPOSE",
        "BUDGET",
        "OUTCOME",
    ];
    let end = format!(
        "{} entries, root {}",
        field(answer, "size"),
        field(answer, "root")
    );
    if rows.is_empty() {
        return end;
    }
    format!("{}\n{end}", table(&head, &rows))
}

fn row(entry: &Value) -> Vec<String> {
    let mut outcome = field(entry, "outcome");
    if let Some(reason) = entry.get("reason").and_then(Value::as_str) {
        outcome = format!("{outcome}: {reason}");
    }
    let action = match entry.get("object").and_then(Value::as_str) {
        Some(object) => format!("{} {object}", field(entry, "action")),
        None => field(entry, "action"),
    };
    let empty = serde_json::Map::new();
    let facts = entry.get("facts").and_then(Value::as_object);
    for (name, number) in facts.unwrap_or(&empty) {
        outcome = format!("{outcome}, {name} {number}");
    }
    vec![
        field(entry, "index"),
        moment(entry, "at"),
        field(entry, "who"),
        field(entry, "role"),
        action,
        field(entry, "dataset"),
        field(entry, "purpose"),
        field(entry, "budget"),
        outcome,
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_looked_at_what_and_why_is_a_table() {
        let answer = json!({
            "size": 4, "root": "ab01", "key": "k", "entries": [
                { "index": 0, "v": 1, "at": "2026-11-23T12:00:00Z", "who": "ana", "role": "analyst", "action": "query",
                  "outcome": "done", "dataset": "motion", "purpose": "maintenance", "facts": { "records": 50 } },
                { "index": 1, "v": 1, "at": "2026-11-23T12:00:05Z", "who": "ana", "role": "analyst", "action": "stat",
                  "outcome": "done", "dataset": "motion", "budget": "0.1" },
                { "index": 2, "v": 1, "at": "2026-11-23T12:01:00Z", "who": "rev", "role": "auditor", "action": "query",
                  "outcome": "refused", "reason": "role" },
                { "index": 3, "v": 1, "at": "2026-11-23T12:02:00Z", "who": "admin", "role": "operator", "action": "tokens",
                  "outcome": "done", "object": "eve", "facts": { "days": 30 } },
            ],
        });
        insta::assert_snapshot!(text(&answer), @r"
        ENTRY  WHEN (UTC)           WHO    ROLE      WHAT        DATA SET  PURPOSE      BUDGET  OUTCOME
        0      2026-11-23 12:00:00  ana    analyst   query       motion    maintenance  -       done, records 50
        1      2026-11-23 12:00:05  ana    analyst   stat        motion    -            0.1     done
        2      2026-11-23 12:01:00  rev    auditor   query       -         -            -       refused: role
        3      2026-11-23 12:02:00  admin  operator  tokens eve  -         -            -       done, days 30
        4 entries, root ab01
        ");
        let empty = json!({ "size": 0, "root": "ab01", "entries": [] });
        insta::assert_snapshot!(text(&empty), @"0 entries, root ab01");
    }
}
