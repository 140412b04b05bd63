//! Streams of released rows.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stockade_vault::{MAX_PAGE, StreamError, StreamPage, StreamStatus};

use super::release;
use crate::api::records::{vault, vault_problem};
use crate::api::{Asked, Body, Named};
use crate::gate::By;
use crate::http::Problem;
use crate::state::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Piece {
    after: u64,
    limit: usize,
}

impl Default for Piece {
    fn default() -> Self {
        Self {
            after: 0,
            limit: MAX_PAGE,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct All {
    streams: Vec<StreamStatus>,
}

pub(crate) async fn list(State(app): State<Shared>, By(access): By) -> Result<Json<All>, Problem> {
    app.blocking(move |app| {
        let streams = vault(app)?.release_streams(&access, app.now());
        let streams = streams.map_err(vault_problem)?;
        Ok(Json(All { streams }))
    })
    .await
}

pub(crate) async fn switch(
    State(app): State<Shared>,
    By(access): By,
    Named(schema): Named,
    Body(asked): Body<Switch>,
) -> Result<Json<StreamStatus>, Problem> {
    app.blocking(move |app| {
        let status = vault(app)?.switch_stream(&access, &schema, asked.on, app.now());
        status.map(Json).map_err(problem)
    })
    .await
}

pub(crate) async fn read(
    State(app): State<Shared>,
    By(access): By,
    Named(schema): Named,
    Asked(piece): Asked<Piece>,
) -> Result<Json<StreamPage>, Problem> {
    app.blocking(move |app| {
        let piece = (piece.after, piece.limit);
        let page = vault(app)?.read_stream(&access, &schema, piece, app.now());
        page.map(Json).map_err(problem)
    })
    .await
}

fn problem(error: StreamError) -> Problem {
    let said = error.to_string();
    match error {
        StreamError::None(_) => Problem::not_found(
            said,
            "an operator switches it on: stockade vault stream on DATASET",
        ),
        StreamError::Settings(..) => Problem::bad(
            said,
            "k is 2 at least, and a field with the role quasi needs a `range` or a `hierarchy` in the profile",
        ),
        StreamError::Release(error) => release::problem(error),
    }
}
