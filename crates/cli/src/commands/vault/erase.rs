//! `stockade vault erase`

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::bail;
use serde_json::{Value, json};

use super::super::{counted, field, items};
use super::rotate_keys::{rotated, watched};
use crate::admin::Admin;
use crate::args::vault::Erase;
use crate::out::{Out, aside};

pub(super) async fn run(out: Out, admin: &Admin, json: bool, asked: &Erase) -> anyhow::Result<()> {
    if !asked.yes {
        if json || !std::io::stdin().is_terminal() {
            bail!("nobody is there to be asked, and what is erased does not come back: add --yes");
        }
        aside(&format!(
            "All that the vault has of `{}` goes, and nobody can bring it back. Type the device's name:",
            asked.device
        ));
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        if line.trim() != asked.device {
            bail!("nothing was erased");
        }
    }
    let body = json!({
        "device": asked.device,
        "model": asked.model,
        "reason": asked.reason,
        "defer": asked.defer,
    });
    let erased = watched(admin, admin.post("/api/v1/vault/erase", &body)).await?;
    out.line(&if json {
        erased.to_string()
    } else {
        text(&asked.device, &erased)
    });
    Ok(())
}

fn text(device: &str, erased: &Value) -> String {
    let none = Value::Null;
    let proof = erased.get("proof").unwrap_or(&none);
    let entry = field(proof, "entry");
    let forgot = erased.get("broker").and_then(forgot);
    if erased.get("found") != Some(&json!(true)) {
        let nothing = format!(
            "The vault has nothing of {device}: it sent nothing that was stored, or was erased before (entry {entry} of the log)."
        );
        let lines: Vec<_> = [nothing].into_iter().chain(forgot).collect();
        return lines.join("\n");
    }
    let mut lines = vec![format!(
        "Erased {device}: {} in {}, and its keys.",
        counted(number(erased, "records"), "record"),
        counted(number(erased, "blocks"), "block")
    )];
    lines.extend(forgot);
    match (erased.get("rotation"), erased.get("waits")) {
        (_, Some(Value::String(waits))) => lines.push(format!("Not complete yet: {waits}.")),
        (Some(rotation), _) => lines.push(rotated(rotation)),
        (None, _) => {}
    }
    let entries = match proof.get("rotation") {
        Some(Value::Number(second)) => format!("entries {entry} and {second}"),
        _ => format!("entry {entry}"),
    };
    lines.push(format!(
        "Proof: {entries} of the vault's log, of subject {}.",
        field(proof, "subject")
    ));
    lines.push(
        "Keep this checkpoint, and `stockade vault verify-log --old` holds the log to it:"
            .to_owned(),
    );
    for line in field(proof, "checkpoint").lines() {
        lines.push(format!("  {line}").trim_end().to_owned());
    }
    lines.push("If the device sends again, it is stored as somebody new: to end that, `stockade device revoke` or `remove`.".to_owned());
    lines.push(
        "Backups from before do not open any more, of no device: make a new one (docs/backup.md)."
            .to_owned(),
    );
    lines.push("What this does not reach:".to_owned());
    for item in items(erased, "remains") {
        lines.push(format!("  - {}", item.as_str().unwrap_or_default()));
    }
    lines.join("\n")
}

/// What the broker had; nothing if it was not asked.
fn forgot(broker: &Value) -> Option<String> {
    broker.as_object()?;
    Some(format!(
        "The broker forgot {}, {}, {} and {}.",
        counted(number(broker, "sessions"), "session"),
        counted(number(broker, "wills"), "will"),
        counted(number(broker, "waiting"), "waiting message"),
        counted(number(broker, "retained"), "retained message"),
    ))
}

fn number(of: &Value, name: &str) -> usize {
    let number = of.get(name).and_then(Value::as_u64);
    number.and_then(|it| usize::try_from(it).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erasure_says_what_went_what_proves_it_and_what_remains() {
        let rotation = json!({ "epoch": 2, "destroyed": [1], "rewrapped": 41, "damaged": 0, "scrubbed": true, "dead": 1 });
        let proof = json!({
            "entry": 12,
            "rotation": 13,
            "subject": "89ab",
            "checkpoint": "stockade.local/vault\n14\nroot=\n\n\u{2014} stockade.local/vault sig=\n",
        });
        let mut erased = json!({
            "found": true,
            "blocks": 1,
            "records": 3,
            "broker": { "sessions": 1, "wills": 0, "waiting": 2, "retained": 1, "cleared": true },
            "rotation": rotation,
            "waits": null,
            "proof": proof,
            "remains": ["releases and aggregates that were published before"],
        });
        insta::assert_snapshot!(text("porch", &erased), @"
        Erased porch: 3 records in 1 block, and its keys.
        The broker forgot 1 session, 0 wills, 2 waiting messages and 1 retained message.
        Epoch 2 is current, and epoch 1 destroyed; keys wrapped anew: 41. Keys of an epoch destroyed before: their data does not open: 1.
        Proof: entries 12 and 13 of the vault's log, of subject 89ab.
        Keep this checkpoint, and `stockade vault verify-log --old` holds the log to it:
          stockade.local/vault
          14
          root=

          — stockade.local/vault sig=
        If the device sends again, it is stored as somebody new: to end that, `stockade device revoke` or `remove`.
        Backups from before do not open any more, of no device: make a new one (docs/backup.md).
        What this does not reach:
          - releases and aggregates that were published before
        ");
        erased["waits"] = json!("its epoch ends within an hour of then");
        erased["rotation"] = Value::Null;
        erased["proof"]["rotation"] = Value::Null;
        let said = text("porch", &erased);
        assert!(
            said.contains(
                "\nNot complete yet: its epoch ends within an hour of then.\nProof: entry 12 of"
            ),
            "{said}"
        );
        let unknown = json!({ "found": false, "proof": { "entry": 7 } });
        insta::assert_snapshot!(text("porch", &unknown), @"The vault has nothing of porch: it sent nothing that was stored, or was erased before (entry 7 of the log).");
    }
}
