//! Roll-outs.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stockade_gateway::rollout::View;

use super::{Body, Named};
use crate::http::Problem;
use crate::rollouts::{self, Change, Start};
use crate::state::Shared;

#[derive(Serialize)]
pub(super) struct RolloutsBody {
    rollouts: Vec<View>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonBody {
    reason: String,
}

fn number(text: &str) -> Result<u64, Problem> {
    let wrong = |_| {
        Problem::not_found(
            "there is no such roll-out",
            "`stockade rollout list` shows all",
        )
    };
    text.parse().map_err(wrong)
}

pub(super) async fn list(State(app): State<Shared>) -> Result<Json<RolloutsBody>, Problem> {
    let rollouts = rollouts::list(&app).await?;
    Ok(Json(RolloutsBody { rollouts }))
}

pub(super) async fn show(
    State(app): State<Shared>,
    Named(id): Named,
) -> Result<Json<View>, Problem> {
    rollouts::show(&app, number(&id)?).await.map(Json)
}

pub(super) async fn start(
    State(app): State<Shared>,
    Body(asked): Body<Start>,
) -> Result<Json<View>, Problem> {
    rollouts::start(&app, asked).await.map(Json)
}

pub(super) async fn halt(
    State(app): State<Shared>,
    Named(id): Named,
    Body(ReasonBody { reason }): Body<ReasonBody>,
) -> Result<Json<View>, Problem> {
    rollouts::change(&app, number(&id)?, Change::Halt, &reason)
        .await
        .map(Json)
}

pub(super) async fn resume(
    State(app): State<Shared>,
    Named(id): Named,
    Body(ReasonBody { reason }): Body<ReasonBody>,
) -> Result<Json<View>, Problem> {
    rollouts::change(&app, number(&id)?, Change::Resume, &reason)
        .await
        .map(Json)
}
