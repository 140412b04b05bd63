//! How devices started: told, recorded, forgotten.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use stockade_attest::reference::Reference;

use super::{Asked, Body, Named};
use crate::attestation::{self, Start, Whole};
use crate::fleet;
use crate::http::Problem;
use crate::state::Shared;

#[derive(Serialize)]
pub(super) struct ShownBody {
    id: String,
    /// How it stands; none if its profile asks for nothing.
    start: Option<Start>,
    /// What its TPM said last.
    last: Option<Whole>,
}

pub(super) async fn show(
    State(app): State<Shared>,
    Named(id): Named,
) -> Result<Json<ShownBody>, Problem> {
    let record = fleet::record(&app.state, &id, app.now())?;
    let references = attestation::references(&app)?;
    let last = attestation::last(&app, record.name.id.clone()).await?;
    Ok(Json(ShownBody {
        id: record.name.id.to_string(),
        start: attestation::of(&app.state, &record),
        last: last.map(|it| Whole::of(&it, &references, record.name.model.as_str())),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordBody {
    #[serde(default)]
    version: Option<String>,
}

/// What is right for a version of a model, in short.
#[derive(Serialize)]
pub(super) struct ReferenceBody {
    model: String,
    version: String,
    registers: Vec<u8>,
}

impl From<Arc<Reference>> for ReferenceBody {
    fn from(it: Arc<Reference>) -> Self {
        Self {
            model: it.model.clone(),
            version: it.version.clone(),
            registers: it.registers.keys().copied().collect(),
        }
    }
}

pub(super) async fn record(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<RecordBody>,
) -> Result<Json<ReferenceBody>, Problem> {
    let recorded = attestation::record(&app, &id, body.version).await?;
    Ok(Json(recorded.into()))
}

pub(super) async fn reset(
    State(app): State<Shared>,
    Named(id): Named,
) -> Result<StatusCode, Problem> {
    attestation::reset(&app, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
pub(super) struct ReferencesBody {
    references: Vec<ReferenceBody>,
}

pub(super) async fn list(State(app): State<Shared>) -> Result<Json<ReferencesBody>, Problem> {
    let references = attestation::references(&app)?;
    let references = references.into_iter().map(ReferenceBody::from).collect();
    Ok(Json(ReferencesBody { references }))
}

pub(super) async fn add(
    State(app): State<Shared>,
    Body(reference): Body<Reference>,
) -> Result<Json<ReferenceBody>, Problem> {
    Ok(Json(attestation::add(&app, reference).await?.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichBody {
    model: String,
    version: String,
}

pub(super) async fn forget(
    State(app): State<Shared>,
    Asked(which): Asked<WhichBody>,
) -> Result<StatusCode, Problem> {
    attestation::forget(&app, &which.model, which.version).await?;
    Ok(StatusCode::NO_CONTENT)
}
