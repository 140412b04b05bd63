//! `stockade rollout …`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{field, items, moment};
use crate::admin::Admin;
use crate::args::rollout::{Rollout, Start};
use crate::out::{Out, table};
use crate::run::FOUND;

pub(crate) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Rollout,
) -> anyhow::Result<ExitCode> {
    let path = |id: u64, verb: &str| format!("/api/v1/rollouts/{id}{verb}");
    let (answer, text): (Value, fn(&Value) -> String) = match command {
        Rollout::Start(asked) => (admin.post("/api/v1/rollouts", &body(asked)).await?, one),
        Rollout::List => (admin.get("/api/v1/rollouts").await?, all),
        Rollout::Status { id: Some(id) } => (admin.get(&path(*id, "")).await?, one),
        Rollout::Status { id: None } => {
            let list = admin.get("/api/v1/rollouts").await?;
            let newest = items(&list, "rollouts").first().cloned();
            match newest {
                Some(newest) => (newest, one),
                None => (list, all),
            }
        }
        Rollout::Halt { id, reason } => (
            admin
                .post(&path(*id, "/halt"), &json!({ "reason": reason }))
                .await?,
            one,
        ),
        Rollout::Resume { id, reason } => (
            admin
                .post(&path(*id, "/resume"), &json!({ "reason": reason }))
                .await?,
            one,
        ),
    };
    out.line(&if json {
        answer.to_string()
    } else {
        text(&answer)
    });
    let fell = matches!(command, Rollout::Status { .. }) && answer["by_itself"] == true;
    Ok(if fell {
        ExitCode::from(FOUND)
    } else {
        ExitCode::SUCCESS
    })
}

fn body(asked: &Start) -> Value {
    json!({
        "model": asked.model, "version": asked.version, "stages": asked.stages,
        "wait": asked.wait.as_secs(), "within": asked.within.as_secs(), "limit": asked.limit,
    })
}

fn all(answer: &Value) -> String {
    let all = items(answer, "rollouts");
    if all.is_empty() {
        return "no roll-out yet; `stockade rollout start` begins one".to_owned();
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|it| {
            let of = |name| field(it, name);
            vec![
                of("id"),
                of("model"),
                of("version"),
                of("state"),
                of("current"),
                of("behind"),
                moment(it, "started"),
            ]
        })
        .collect();
    table(
        &[
            "ROLL-OUT",
            "MODEL",
            "VERSION",
            "STATE",
            "RUN IT",
            "DO NOT",
            "STARTED (UTC)",
        ],
        &rows,
    )
}

fn one(it: &Value) -> String {
    let of = |name| field(it, name);
    let mut lines = vec![format!(
        "roll-out {}: {} to version {}, {}; {} devices run it, {} do not",
        of("id"),
        of("model"),
        of("version"),
        of("state"),
        of("current"),
        of("behind"),
    )];
    if of("why") != "-" {
        let by = if it["by_itself"] == true {
            "itself"
        } else {
            "the operator"
        };
        lines.push(format!(
            "halted by {by}, {} UTC: {}",
            moment(it, "since"),
            of("why")
        ));
    }
    let here = it["stage"].as_u64().filter(|_| of("state") == "running");
    let rows: Vec<Vec<String>> = (1_u64..)
        .zip(items(it, "stages"))
        .map(|(number, stage)| {
            let now = if here == Some(number) { "now" } else { "" };
            vec![
                field(stage, "share"),
                field(stage, "told"),
                field(stage, "run"),
                field(stage, "fell"),
                now.to_owned(),
            ]
        })
        .collect();
    lines.push(table(&["STAGE", "TOLD", "RUN IT", "FELL", ""], &rows));
    for fell in items(it, "fallen") {
        lines.push(format!(
            "fell: {}: {}",
            field(fell, "device"),
            field(fell, "why")
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_out_says_where_it_is_and_why_it_halted() {
        let stage = |share, told, run, fell| json!({ "share": share, "told": told, "run": run, "fell": fell });
        let mut it = json!({
            "id": 3, "model": "cam-2", "version": 12, "state": "halted", "by_itself": true, "started": "2026-11-22T18:40:03Z",
            "since": "2026-11-22T19:40:03Z", "why": "of stage 1%, 1 of 2 devices fell: porch: silent since it was told",
            "stage": 1, "stages": [stage("1%", 2, 1, 1), stage("100%", 0, 0, 0)], "current": 1, "behind": 199,
            "fallen": [{ "device": "porch", "why": "silent since it was told" }],
        });
        insta::assert_snapshot!("halted", one(&it));
        it["state"] = json!("running");
        it["why"] = Value::Null;
        it["fallen"] = json!([]);
        insta::assert_snapshot!("running", one(&it));
        insta::assert_snapshot!("list", all(&json!({ "rollouts": [it] })));
    }
}
