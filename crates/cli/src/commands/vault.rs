//! `stockade vault …`

use serde_json::Value;

use super::{field, items, moment};
use crate::admin::{Admin, segment};
use crate::args::Vault;
use crate::out::Out;

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
    let mut path = format!("/api/v1/vault/records?limit={limit}");
    for (name, value) in [("schema", schema), ("device", device)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(value)));
        }
    }
    let answer = admin.get(&path).await?;
    if json {
        out.line(&answer.to_string());
        return Ok(());
    }
    let records = items(&answer, "records");
    if records.is_empty() {
        out.line(
            "no records; telemetry arrives here once a device publishes to a topic with a schema",
        );
    }
    for record in records {
        out.line(&line(record));
    }
    Ok(())
}

fn line(record: &Value) -> String {
    let empty = serde_json::Map::new();
    let fields = record
        .get("fields")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!(
        "{}  {:<12}  {}",
        moment(record, "ingested"),
        field(record, "schema"),
        fields.join("  ")
    )
}
