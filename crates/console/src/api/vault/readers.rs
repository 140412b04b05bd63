//! Who reads sealed fields, and what stands behind a token.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stockade_vault::{ReaderKey, Replaced, Value};

use super::erase::subject;
use crate::api::Body;
use crate::api::records::{vault, vault_problem};
use crate::gate::By;
use crate::http::Problem;
use crate::state::Shared;

#[derive(Serialize)]
pub(crate) struct ReadersBody {
    readers: Vec<ReaderBody>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReaderBody {
    /// As the profiles name it.
    reader: String,
    /// The device that it is for; without it for all.
    device: Option<String>,
    /// The public key, in base64 or PEM; without it the reader is taken back.
    key: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct SetBody {
    /// The number of the log's entry.
    entry: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevealBody {
    device: String,
    /// Needed for a device that the gateway no longer knows.
    model: Option<String>,
    schema: String,
    field: String,
    /// What is stored.
    value: String,
    purpose: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct RevealedBody {
    value: Option<Value>,
}

pub(crate) async fn list(
    State(app): State<Shared>,
    By(access): By,
) -> Result<Json<ReadersBody>, Problem> {
    let all = app
        .blocking(move |app| {
            let all = vault(app)?.readers(&access, app.now());
            all.map_err(vault_problem)
        })
        .await?;
    let readers = all.into_iter().map(|(reader, device, key)| ReaderBody {
        reader,
        device,
        key: Some(key.to_string()),
    });
    Ok(Json(ReadersBody {
        readers: readers.collect(),
    }))
}

pub(crate) async fn set(
    State(app): State<Shared>,
    By(access): By,
    Body(body): Body<ReaderBody>,
) -> Result<Json<SetBody>, Problem> {
    let bad = |error: &dyn std::fmt::Display| Problem::bad(error.to_string(), "see docs/data.md");
    let reader = body.reader.parse().map_err(|error| bad(&error))?;
    let key = body.key.as_deref().map(ReaderKey::parse).transpose();
    let key = key.map_err(|error| bad(&error))?;
    app.blocking(move |app| {
        let whose = (&reader, body.device.as_deref());
        let entry = vault(app)?.set_reader(&access, whose, key.as_ref(), app.now());
        entry
            .map(|entry| Json(SetBody { entry }))
            .map_err(vault_problem)
    })
    .await
}

pub(crate) async fn reveal(
    State(app): State<Shared>,
    by: By,
    Body(body): Body<RevealBody>,
) -> Result<Json<RevealedBody>, Problem> {
    let access = by.wanting(body.purpose);
    let replaced = Replaced {
        subject: subject(&app, &access, body.device, body.model)?,
        schema: body.schema,
        field: body.field,
        shown: body.value,
    };
    app.blocking(move |app| {
        let value = vault(app)?.reveal(&access, &replaced, app.now());
        value
            .map(|value| Json(RevealedBody { value }))
            .map_err(vault_problem)
    })
    .await
}
