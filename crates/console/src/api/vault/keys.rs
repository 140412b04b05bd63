//! The vault's keys: how they stand, and new ones.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stockade_vault::Rotated;

use crate::api::Body;
use crate::api::records::{vault, vault_problem};
use crate::gate::By;
use crate::http::Problem;
use crate::state::Shared;

#[derive(Serialize)]
pub(crate) struct KeysBody {
    epoch: u32,
    /// Where the root key is.
    root: String,
    /// Whether a rotation makes a new root key, so that no older keyring opens any more.
    renewable: bool,
    /// Subjects whose keys a rotation under way has wrapped anew.
    rewrapped: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    #[serde(default)]
    give_up_damaged: bool,
}

#[derive(Serialize)]
pub(crate) struct RotatedBody {
    #[serde(flatten)]
    rotated: Rotated,
    /// The number of the log's entry.
    entry: u64,
}

pub(crate) async fn show(State(app): State<Shared>) -> Result<Json<KeysBody>, Problem> {
    let keys = vault(&app)?.keys();
    let (root, renewable) = keys.root();
    Ok(Json(KeysBody {
        epoch: keys.epoch(),
        root: root.to_string(),
        renewable,
        rewrapped: keys.rewrapped(),
    }))
}

pub(crate) async fn rotate(
    State(app): State<Shared>,
    By(access): By,
    Body(body): Body<RotateBody>,
) -> Result<Json<RotatedBody>, Problem> {
    app.blocking(move |app| {
        let rotated = vault(app)?.rotate_keys(&access, body.give_up_damaged, app.now());
        let (rotated, entry) = rotated.map_err(vault_problem)?;
        Ok(Json(RotatedBody { rotated, entry }))
    })
    .await
}
