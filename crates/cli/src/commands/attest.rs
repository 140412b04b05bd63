//! `stockade attest`: how devices started, by their TPMs.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};
use stockade_attest::Algorithm;
use stockade_attest::log::{EventLog, LONGEST};
use stockade_attest::reference::Reference;

use super::{field, items, moment};
use crate::admin::{Admin, segment};
use crate::args::attest::Attest;
use crate::out::{Out, table};
use crate::run::FOUND;

/// The largest image that is read, in bytes.
const MOST_IMAGE: usize = 512 * 1024 * 1024;

pub(crate) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Attest,
) -> anyhow::Result<ExitCode> {
    let of = |id: &str, what: &str| format!("/api/v1/devices/{}/attestation{what}", segment(id));
    let (answer, text, code) = match command {
        Attest::Record { id, version } => {
            let body = json!({ "version": version });
            let answer = admin.post(&of(id, "/record"), &body).await?;
            (Some(answer), recorded as fn(&Value) -> String, 0)
        }
        Attest::Reference {
            uki,
            model,
            version,
        } => {
            let image = read(uki, MOST_IMAGE)?;
            let reference = Reference::of_uki(model, version, &image)
                .with_context(|| uki.display().to_string())?;
            let body = serde_json::to_vec(&reference)?;
            let answer = admin.put("/api/v1/references", "application/json", body);
            (Some(answer.await?), recorded as _, 0)
        }
        Attest::List => (Some(admin.get("/api/v1/references").await?), list as _, 0),
        Attest::Show { id } => {
            let answer = admin.get(&of(id, "")).await?;
            let start = answer.get("start").unwrap_or(&Value::Null);
            let wrong = !items(start, "wrong").is_empty();
            (Some(answer), show as _, if wrong { FOUND } else { 0 })
        }
        Attest::Forget { model, version } => {
            let (model, version) = (segment(model), segment(version));
            let path = format!("/api/v1/references?model={model}&version={version}");
            admin.delete(&path).await?;
            (None, list as _, 0)
        }
        Attest::Reset { id } => {
            admin.post(&of(id, "/reset"), &json!({})).await?;
            if !json {
                out.line(&format!(
                    "{id} may make its TPM known within a day; its agent does so within an hour"
                ));
            }
            (None, list as _, 0)
        }
        Attest::Log { file } => {
            let bytes = read(file, LONGEST)?;
            let log = EventLog::read(&bytes).with_context(|| file.display().to_string())?;
            (Some(told(&log)), log_text as _, 0)
        }
    };
    match answer {
        Some(answer) if json => out.line(&serde_json::to_string_pretty(&answer)?),
        Some(answer) => out.line(&text(&answer)),
        None => {}
    }
    Ok(ExitCode::from(code))
}

fn read(path: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most)?.saturating_add(1);
    fs_err::File::open(path)?
        .take(limit)
        .read_to_end(&mut bytes)?;
    anyhow::ensure!(
        bytes.len() <= most,
        "{} has more than {most} bytes",
        path.display()
    );
    Ok(bytes)
}

fn numbers(value: &Value, name: &str) -> String {
    let all: Vec<_> = items(value, name).iter().map(ToString::to_string).collect();
    all.join(", ")
}

fn recorded(answer: &Value) -> String {
    format!(
        "{} version {}: registers {}",
        field(answer, "model"),
        field(answer, "version"),
        numbers(answer, "registers")
    )
}

fn list(answer: &Value) -> String {
    let rows: Vec<_> = items(answer, "references")
        .iter()
        .map(|it| {
            vec![
                field(it, "model"),
                field(it, "version"),
                numbers(it, "registers"),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "nothing is recorded: `stockade attest record DEVICE` takes a good device's start"
            .to_owned();
    }
    table(&["MODEL", "VERSION", "REGISTERS"], &rows)
}

fn show(answer: &Value) -> String {
    let start = answer.get("start").unwrap_or(&Value::Null);
    let mut lines = vec![match start {
        Value::Null => format!("{}: its profile asks for no register", field(answer, "id")),
        start => {
            let how = match (field(start, "came").as_str(), items(start, "wrong")) {
                ("-", _) => "did not say so far how it started".to_owned(),
                (_, []) => format!("started as it should, as of {} UTC", moment(start, "came")),
                _ => format!(
                    "did not start as it should, since {} UTC",
                    moment(start, "since")
                ),
            };
            let key = match field(start, "key").as_str() {
                "awaited" => "awaited",
                "known" => "known",
                "certified" => "known, certified by its maker",
                _ => "not known",
            };
            format!("{}: {how}; its TPM is {key}", field(answer, "id"))
        }
    }];
    let wrong = items(start, "wrong").iter().filter_map(Value::as_str);
    lines.extend(wrong.map(|why| format!("  {why}")));
    if let Some(last) = answer.get("last").filter(|it| !it.is_null()) {
        lines.push(format!("version {}", field(last, "version")));
        for register in items(last, "registers") {
            let (is, should) = (field(register, "value"), field(register, "should_be"));
            let stands = match should.as_str() {
                "-" => "no reference".to_owned(),
                it if it == is => "as it should be".to_owned(),
                it => format!("should be {it}"),
            };
            lines.push(format!(
                "{:>4}  {is}  {stands}",
                field(register, "register")
            ));
        }
        lines.extend(events(last));
    }
    lines.join("\n")
}

fn events(of: &Value) -> impl Iterator<Item = String> + '_ {
    items(of, "events").iter().map(|event| {
        let digest = field(event, "digest");
        let short = digest.get(..16).unwrap_or(&digest);
        format!(
            "{:>4}  {short:<16}  {}",
            field(event, "register"),
            field(event, "component")
        )
    })
}

/// What a log says, with the digests of the best algorithm that it has.
fn told(log: &EventLog<'_>) -> Value {
    let best = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
    let best = best.into_iter().find(|it| log.algorithms.contains(it));
    let algorithm = best.unwrap_or(Algorithm::Sha1);
    let hex = |bytes: &[u8]| stockade_web::secret::hex(bytes);
    let events = log.events.iter().map(|event| {
        json!({
            "register": event.pcr,
            "kind": event.kind_name().map_or_else(|| format!("{:#010x}", event.kind), str::to_owned),
            "component": event.component(),
            "digest": event.digest(algorithm).filter(|_| !event.is_no_action()).map(hex),
        })
    });
    let registers = log.replay(algorithm).into_iter();
    let registers =
        registers.map(|(register, value)| json!({ "register": register, "value": hex(&value) }));
    json!({
        "algorithm": algorithm.name(),
        "events": events.collect::<Vec<_>>(),
        "registers": registers.collect::<Vec<_>>(),
    })
}

fn log_text(told: &Value) -> String {
    let mut lines: Vec<_> = events(told).collect();
    lines.push(format!("registers ({}):", field(told, "algorithm")));
    lines.extend(items(told, "registers").iter().map(|register| {
        format!(
            "{:>4}  {}",
            field(register, "register"),
            field(register, "value")
        )
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_shown_with_what_differs() {
        let answer = json!({
            "id": "porch",
            "start": {
                "registers": [4, 11], "key": "known", "proved": true,
                "wrong": ["initrd (.initrd) was changed (register 11)"],
                "came": "2026-11-22T18:40:03Z", "since": "2026-11-22T18:40:03Z",
            },
            "last": {
                "version": "7",
                "registers": [
                    { "register": 4, "value": "aa", "should_be": "aa" },
                    { "register": 11, "value": "bb", "should_be": "cc" },
                    { "register": 12, "value": "dd", "should_be": null },
                ],
                "events": [
                    { "register": 11, "component": "initrd (.initrd)", "digest": "00112233445566778899" },
                ],
            },
        });
        insta::assert_snapshot!(show(&answer));
        let good = json!({ "id": "porch", "start": { "key": "awaited", "wrong": [], "came": null }, "last": null });
        insta::assert_snapshot!(show(&good), @"porch: did not say so far how it started; its TPM is awaited");
    }

    #[test]
    fn a_log_is_told_whole() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let bytes = read(&root.join("tests/data/start.eventlog"), LONGEST).unwrap();
        insta::assert_snapshot!(log_text(&told(&EventLog::read(&bytes).unwrap())));
    }
}
