//! `stockade vault …`

use serde_json::Value;

use super::{field, items};
use crate::admin::{Admin, segment};
use crate::args::Vault;
use crate::out::{Out, table};

pub(crate) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Vault,
) -> anyhow::Result<()> {
    let Vault::Query {
        schema,
        device,
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
    if let Some(device) = device {
        path = format!("{path}&device={}", segment(device));
    }
    let answer = admin.get(&path).await?;
    if json {
        out.line(&answer.to_string());
        return Ok(());
    }
    let records = items(&answer, "records");
    if records.is_empty() {
        out.line("no records; they arrive once a device publishes to a topic of this data set");
    }
    for record in records.iter().rev() {
        out.line(&line(record));
    }
    Ok(())
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
