//! `stockade vault rotate-keys`

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{field, items};
use crate::admin::Admin;
use crate::args::vault::RotateKeys;
use crate::out::{Out, Progress};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    asked: &RotateKeys,
) -> anyhow::Result<()> {
    let body = json!({ "give_up_damaged": asked.give_up_damaged });
    let done = watched(admin, admin.post("/api/v1/vault/keys/rotate", &body)).await?;
    out.line(&if json {
        done.to_string()
    } else {
        format!(
            "{}\nEntry {} of the vault's log.",
            rotated(&done),
            field(&done, "entry")
        )
    });
    Ok(())
}

/// Waits for what rotates keys, and tells how far it is.
pub(super) async fn watched(
    admin: &Admin,
    work: impl Future<Output = anyhow::Result<Value>>,
) -> anyhow::Result<Value> {
    let progress = Progress::new();
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(LOOK) => {}
        }
        // Who may erase may not always see this.
        if let Ok(keys) = admin.get("/api/v1/vault/keys").await
            && let Some(Value::Number(rewrapped)) = keys.get("rewrapped")
        {
            progress.tell(&format!("keys of {rewrapped} devices wrapped anew"));
        }
    };
    progress.done();
    done
}

/// What a rotation did, in a sentence.
pub(super) fn rotated(done: &Value) -> String {
    let destroyed: Vec<String> = items(done, "destroyed")
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut text = format!(
        "Epoch {} is current, and epoch {} destroyed; keys wrapped anew: {}.",
        field(done, "epoch"),
        destroyed.join(" and "),
        field(done, "rewrapped")
    );
    for (name, what) in [
        ("damaged", "damaged, and given up"),
        (
            "dead",
            "of an epoch destroyed before: their data does not open",
        ),
    ] {
        match done.get(name).and_then(Value::as_u64) {
            None | Some(0) => {}
            Some(count) => text = format!("{text} Keys {what}: {count}."),
        }
    }
    text
}
