//! `stockade vault export`

use std::process::ExitCode;

use serde_json::Value;

use super::super::{field, items};
use crate::admin::{Admin, segment};
use crate::args::vault::Export;
use crate::out::{Out, aside};

pub(super) async fn run(out: Out, admin: &Admin, asked: &Export) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/vault/export?device={}", segment(&asked.device));
    if let Some(model) = &asked.model {
        path = format!("{path}&model={}", segment(model));
    }
    let mut from = String::new();
    let (mut missing, mut told) = (false, 0_u64);
    loop {
        let piece = admin.get(&format!("{path}{from}")).await?;
        for record in items(&piece, "records") {
            out.line(&record.to_string());
            told = told.saturating_add(1);
        }
        for block in items(&piece, "damaged") {
            missing = true;
            aside(&format!(
                "missing: block {} of {} cannot be read: {}",
                field(block, "block"),
                field(block, "schema"),
                field(block, "detail")
            ));
        }
        match piece.get("next") {
            None | Some(Value::Null) => break,
            Some(next) => {
                let schema = segment(&field(next, "schema"));
                from = format!("&schema={schema}&after={}", field(next, "after"));
            }
        }
    }
    if told == 0 && !missing {
        aside(&format!("nothing is stored of {}", asked.device));
    }
    Ok(if missing {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    })
}
