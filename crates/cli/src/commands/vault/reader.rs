//! `stockade vault reader` and `stockade vault reveal`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::super::{field, items};
use crate::admin::Admin;
use crate::args::vault::{Reader, Reveal};
use crate::out::{Out, table};
use crate::run::FOUND;

const READERS: &str = "/api/v1/vault/readers";

pub(super) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Reader,
) -> anyhow::Result<()> {
    let (name, device, key) = match command {
        Reader::List => {
            let all = admin.get(READERS).await?;
            out.line(&if json { all.to_string() } else { text(&all) });
            return Ok(());
        }
        Reader::Add { name, device, key } => (name, device, Some(fs_err::read_to_string(key)?)),
        Reader::Remove { name, device } => {
            is_there(&admin.get(READERS).await?, name, device.as_deref())?;
            (name, device, None)
        }
    };
    let body = json!({ "reader": name, "device": device, "key": key });
    let done = admin.post(READERS, &body).await?;
    out.line(&if json {
        done.to_string()
    } else {
        let what = if key.is_some() {
            "reads what is sealed from now on"
        } else {
            "reads nothing that comes from now on"
        };
        format!(
            "{name} {what}. Entry {} of the vault's log.",
            field(&done, "entry")
        )
    });
    Ok(())
}

/// A slip of the pen would leave the reader that was meant.
fn is_there(all: &Value, name: &str, device: Option<&str>) -> anyhow::Result<()> {
    let readers = items(all, "readers");
    let text =
        |reader: &Value, what: &str| reader.get(what).and_then(Value::as_str).map(str::to_owned);
    anyhow::ensure!(
        readers
            .iter()
            .any(|reader| text(reader, "reader").as_deref() == Some(name)
                && text(reader, "device").as_deref() == device),
        "there is no reader `{name}` {}; `stockade vault reader list` shows all",
        device.map_or_else(
            || "for all devices".to_owned(),
            |device| format!("for `{device}`")
        )
    );
    Ok(())
}

pub(super) async fn reveal(
    out: Out,
    admin: &Admin,
    json: bool,
    asked: &Reveal,
) -> anyhow::Result<ExitCode> {
    let body = json!({
        "device": asked.device,
        "model": asked.model,
        "schema": asked.schema,
        "field": asked.field,
        "value": asked.value,
        "purpose": asked.purpose,
    });
    let done = admin.post("/api/v1/vault/reveal", &body).await?;
    let value = done.get("value").filter(|value| !value.is_null());
    out.line(&match value {
        _ if json => done.to_string(),
        None => "nothing stands behind it: it is not of this device and field".to_owned(),
        Some(value) => value.to_string(),
    });
    Ok(match value {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(FOUND),
    })
}

fn text(all: &Value) -> String {
    let readers = items(all, "readers");
    if readers.is_empty() {
        return "no readers: sealed fields are withheld until there is one (stockade vault reader add)".to_owned();
    }
    let rows: Vec<Vec<String>> = readers
        .iter()
        .map(|reader| {
            let device = match reader.get("device").and_then(Value::as_str) {
                Some(device) => device.to_owned(),
                None => "all".to_owned(),
            };
            vec![field(reader, "reader"), device, field(reader, "key")]
        })
        .collect();
    table(&["READER", "DEVICE", "PUBLIC KEY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_is_there_is_taken_back() {
        let all = json!({ "readers": [
            { "reader": "owner", "device": null, "key": "…" },
            { "reader": "police", "device": "porch", "key": "…" },
        ] });
        is_there(&all, "owner", None).unwrap();
        is_there(&all, "police", Some("porch")).unwrap();
        insta::assert_snapshot!(is_there(&all, "ownr", None).unwrap_err(), @"there is no reader `ownr` for all devices; `stockade vault reader list` shows all");
        insta::assert_snapshot!(is_there(&all, "police", None).unwrap_err(), @"there is no reader `police` for all devices; `stockade vault reader list` shows all");
        insta::assert_snapshot!(is_there(&all, "owner", Some("porch")).unwrap_err(), @"there is no reader `owner` for `porch`; `stockade vault reader list` shows all");
    }
}
