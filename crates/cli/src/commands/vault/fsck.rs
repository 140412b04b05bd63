//! `stockade vault fsck`

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::admin::Admin;
use crate::args::vault::Fsck;
use crate::commands::{field, items};
use crate::out::Out;
use crate::run::{FOUND, INCOMPLETE};

pub(super) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    asked: &Fsck,
) -> anyhow::Result<ExitCode> {
    let body = json!({ "repair": asked.repair });
    let checked = admin.post("/api/v1/vault/fsck", &body).await?;
    if let Some(error) = checked.get("error").and_then(Value::as_str) {
        anyhow::bail!("the vault cannot be checked: {error}; the gateway's log says more");
    }
    out.line(&if json {
        checked.to_string()
    } else {
        text(&checked)
    });
    Ok(ExitCode::from(code(&checked)))
}

fn is(found: &Value, what: &str) -> bool {
    found.get(what).and_then(Value::as_bool) == Some(true)
}

/// What could not be judged comes first: the rest may hide behind it.
fn code(checked: &Value) -> u8 {
    let found = items(checked, "found");
    if found.iter().any(|it| is(it, "unjudged")) {
        INCOMPLETE
    } else if found.iter().any(|it| !is(it, "repaired")) {
        FOUND
    } else {
        0
    }
}

fn text(checked: &Value) -> String {
    let mut told = String::new();
    for found in items(checked, "found") {
        let end = match (is(found, "unjudged"), is(found, "repaired")) {
            (true, _) => " (not judged)",
            (_, true) => " (made anew)",
            _ => "",
        };
        told = format!(
            "{told}{}: {}{end}\n",
            field(found, "what"),
            field(found, "detail")
        );
    }
    if checked["more"] != 0 {
        told = format!("{told}and {} more\n", field(checked, "more"));
    }
    let log = match checked["log"].as_u64() {
        Some(entries) => format!("{entries} entries of the log"),
        None => "not the log".to_owned(),
    };
    format!(
        "{told}Looked at {} blocks with {} records that can be read, the keys of {} devices, {log}. {}",
        field(checked, "blocks"),
        field(checked, "records"),
        field(checked, "subjects"),
        match code(checked) {
            0 => "Nothing is wrong now.",
            FOUND =>
                "What is named is damaged, the rest is sound; a backup brings it back (docs/backup.md).",
            _ => "Some of it could not be judged: the keys that would tell are missing or damaged.",
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_damage_is_a_line_and_the_code_tells_the_worst() {
        let found = |unjudged: bool, repaired: bool| json!({ "what": "block 1 of motion", "detail": "damaged", "unjudged": unjudged, "repaired": repaired });
        let checked = |found: &[Value]| json!({ "blocks": 3, "records": 9, "subjects": 2, "log": 5, "found": found, "more": 0 });
        assert_eq!(code(&checked(&[])), 0);
        assert_eq!(code(&checked(&[found(false, true)])), 0);
        assert_eq!(
            code(&checked(&[found(false, true), found(false, false)])),
            FOUND
        );
        assert_eq!(
            code(&checked(&[found(true, false), found(false, false)])),
            INCOMPLETE
        );
        insta::assert_snapshot!(text(&checked(&[
            found(true, false),
            found(false, true),
            found(false, false)
        ])));
        insta::assert_snapshot!(text(&checked(&[])));
    }
}
