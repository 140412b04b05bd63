//! `stockade vault query`

use serde_json::Value;

use super::super::{field, items};
use crate::admin::{Admin, segment};
use crate::args::vault::Query;
use crate::out::{Out, table};

pub(super) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Query,
) -> anyhow::Result<()> {
    let Query {
        schema,
        purpose,
        device,
        from,
        to,
        limit,
    } = command;
    let Some(schema) = schema else {
        let counters = admin.get("/api/v1/vault/counters").await?;
        out.line(&if json {
            counters.to_string()
        } else {
            sets_text(&counters)
        });
        return Ok(());
    };
    let mut path = format!(
        "/api/v1/vault/records?order=newest&schema={}&limit={limit}",
        segment(schema)
    );
    let given = [
        ("purpose", purpose),
        ("device", device),
        ("from", from),
        ("to", to),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            path = format!("{path}&{name}={}", segment(value));
        }
    }
    let answer = admin.get(&path).await?;
    if json {
        out.line(&answer.to_string());
        return Ok(());
    }
    let nothing = ["records", "damaged"]
        .iter()
        .all(|name| items(&answer, name).is_empty());
    if nothing {
        let counters = admin.get("/api/v1/vault/counters").await?;
        out.line(&nothing_text(schema, &counters));
    } else {
        out.line(&records_text(&answer));
    }
    Ok(())
}

/// Why there may be nothing, and what to ask for instead.
fn nothing_text(schema: &str, counters: &Value) -> String {
    let sets = counters.as_object();
    if sets.is_some_and(|sets| sets.contains_key(schema)) {
        return format!("no records of `{schema}` that were asked for");
    }
    let there: Vec<&str> = sets
        .into_iter()
        .flat_map(|sets| sets.keys().map(String::as_str))
        .collect();
    let there = if there.is_empty() {
        String::new()
    } else {
        format!("; of these there are: {}", there.join(", "))
    };
    format!("no device has sent a record of `{schema}`{there}")
}

/// The records, the newest last, and what they are.
fn records_text(answer: &Value) -> String {
    let records = items(answer, "records");
    let mut lines: Vec<String> = records.iter().rev().map(line).collect();
    for block in items(answer, "damaged") {
        let (number, detail) = (field(block, "block"), field(block, "detail"));
        lines.push(format!("missing: block {number} cannot be read: {detail}"));
    }
    lines.push("These are pseudonymised: still personal data.".to_owned());
    lines.join("\n")
}

/// The data sets there are, and what became of messages and fields.
fn sets_text(counters: &Value) -> String {
    let empty = serde_json::Map::new();
    let sets = counters.as_object().unwrap_or(&empty);
    if sets.is_empty() {
        return "nothing stored yet; telemetry arrives once a device publishes to a topic with a schema".to_owned();
    }
    let rows: Vec<Vec<String>> = sets
        .iter()
        .map(|(schema, counters)| {
            let mut row = vec![schema.clone(), field(counters, "stored")];
            row.extend(
                ["refused", "dropped", "unnamed", "sealed"].map(|name| tally(counters, name)),
            );
            row
        })
        .collect();
    table(
        &[
            "DATA SET",
            "STORED",
            "REFUSED",
            "DROPPED BY PROFILE",
            "DROPPED AS UNNAMED",
            "WITHHELD",
        ],
        &rows,
    )
}

/// `owner-email 12, other 3`.
fn tally(counters: &Value, name: &str) -> String {
    let empty = serde_json::Map::new();
    let counts = counters
        .get(name)
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    if counts.is_empty() {
        return "-".to_owned();
    }
    let each: Vec<String> = counts
        .iter()
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    each.join(", ")
}

fn line(record: &Value) -> String {
    let empty = serde_json::Map::new();
    let fields = record
        .get("fields")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut parts: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let withheld: Vec<&str> = items(record, "withheld")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if !withheld.is_empty() {
        parts.push(format!(
            "(withheld until there is a reader key: {})",
            withheld.join(", ")
        ));
    }
    format!("{:<6} {}", field(record, "number"), parts.join("  "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_come_with_what_they_are_and_what_is_missing() {
        let answer = json!({
            "product": "pseudonymised: still personal data",
            "records": [
                { "number": 12, "fields": { "celsius": 21.5, "device": "5f0c" } },
                { "number": 9, "fields": { "celsius": 21 }, "withheld": ["clip"] },
            ],
            "next": 9,
            "damaged": [{ "schema": "reading", "block": 10, "detail": "damaged: its content is not what was sealed" }],
        });
        insta::assert_snapshot!(records_text(&answer), @r#"
        9      celsius=21  (withheld until there is a reader key: clip)
        12     celsius=21.5  device="5f0c"
        missing: block 10 cannot be read: damaged: its content is not what was sealed
        These are pseudonymised: still personal data.
        "#);
        let there = json!({ "motion": {}, "soil": {} });
        insta::assert_snapshot!(nothing_text("motion", &there), @"no records of `motion` that were asked for");
        insta::assert_snapshot!(nothing_text("motoin", &there), @"no device has sent a record of `motoin`; of these there are: motion, soil");
        insta::assert_snapshot!(nothing_text("motion", &json!({})), @"no device has sent a record of `motion`");
    }
}
