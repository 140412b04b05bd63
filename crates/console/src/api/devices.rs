//! Devices: told, added, changed, removed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use stockade_gateway::evidence::Wish;
use stockade_gateway::registry::{DeviceRecord, EnrolmentCode};
use time::OffsetDateTime;

use super::models::{WordBody, word_bodies};
use super::{Body, Named};
use crate::act::{self, Action};
use crate::findings::Findings;
use crate::fleet;
use crate::http::Problem;
use crate::posture::{self, Posture};
use crate::state::{ConsoleState, Shared};

#[derive(Serialize)]
pub(super) struct CertificateBody {
    fingerprint: String,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
}

#[derive(Serialize)]
pub(super) struct ViolationBody {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    control: String,
    reason: String,
}

#[derive(Serialize)]
pub(super) struct DeviceBody {
    id: String,
    model: String,
    state: &'static str,
    reasons: Vec<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    added: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    code_expires: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    last_seen: Option<OffsetDateTime>,
    last_peer: Option<String>,
    violations: u64,
    violations_last_minute: u64,
    recent_violations: Vec<ViolationBody>,
    certificate: Option<CertificateBody>,
    /// How it stands by its own evidence.
    posture: posture::Word,
}

impl DeviceBody {
    fn of(state: &ConsoleState, record: &DeviceRecord) -> Self {
        let device = fleet::Device::from(record);
        let posture = posture::word(state, &device.id);
        Self {
            id: device.id,
            model: device.model,
            state: record.state.as_str(),
            reasons: device.reasons,
            since: device.since,
            added: record.added,
            code_expires: record.code_expires,
            last_seen: device.seen,
            last_peer: record.last_peer.map(|peer| peer.to_string()),
            violations: device.violations_total,
            violations_last_minute: device.violations_minute,
            recent_violations: record
                .recent_violations
                .iter()
                .map(|noted| ViolationBody {
                    at: noted.at,
                    control: noted.control.clone(),
                    reason: noted.reason.clone(),
                })
                .collect(),
            certificate: record
                .certificate
                .as_ref()
                .map(|certificate| CertificateBody {
                    fingerprint: stockade_web::secret::hex(&certificate.fingerprint),
                    not_after: certificate.not_after,
                }),
            posture,
        }
    }
}

#[derive(Serialize)]
pub(super) struct DevicesBody {
    devices: Vec<DeviceBody>,
}

pub(super) async fn list(State(app): State<Shared>) -> Json<DevicesBody> {
    let devices = app
        .state
        .registry
        .list(app.now())
        .iter()
        .map(|record| DeviceBody::of(&app.state, record))
        .collect();
    Json(DevicesBody { devices })
}

#[derive(Serialize)]
pub(super) struct ShownBody {
    #[serde(flatten)]
    device: DeviceBody,
    spiffe: String,
    profile_version: Option<u64>,
    /// Of a device that came by the key of its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<LinkBody>,
    words: Vec<WordBody>,
}

#[derive(Serialize)]
struct LinkBody {
    /// Its short name.
    kid: String,
    /// The thumbprint of its key.
    key: String,
}

pub(super) async fn show(
    State(app): State<Shared>,
    Named(id): Named,
) -> Result<Json<ShownBody>, Problem> {
    let record = fleet::record(&app.state, &id, app.now())?;
    let profile = app.state.registry.profile(&record.name.model);
    Ok(Json(ShownBody {
        device: DeviceBody::of(&app.state, &record),
        spiffe: record.name.spiffe(&app.state.info.trust_domain),
        profile_version: profile.as_ref().map(|p| p.device.version),
        link: record.link.as_ref().map(|link| LinkBody {
            kid: stockade_web::secret::hex(&link.kid.bytes()),
            key: stockade_web::secret::hex(&link.key),
        }),
        words: profile
            .as_deref()
            .map(|p| word_bodies(p, Some(&id)))
            .unwrap_or_default(),
    }))
}

#[derive(Serialize)]
pub(super) struct PostureBody {
    id: String,
    #[serde(flatten)]
    posture: Posture,
}

pub(super) async fn posture(
    State(app): State<Shared>,
    Named(id): Named,
) -> Result<Json<PostureBody>, Problem> {
    let record = fleet::record(&app.state, &id, app.now())?;
    let profile = app.state.registry.profile(&record.name.model);
    let installed = profile.map(|profile| profile.device.version);
    let posture = posture::of(&app.state, &id, installed).ok_or_else(|| {
        Problem::not_found(
            format!("{} never sent evidence", record.name.id),
            "no agent of ours runs on it, or it never reached this gateway: docs/posture.md",
        )
    })?;
    let id = record.name.id.to_string();
    Ok(Json(PostureBody { id, posture }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandBody {
    #[serde(rename = "do")]
    wish: Wish,
}

#[derive(Serialize)]
pub(super) struct CommandedBody {
    id: String,
    number: u64,
}

pub(super) async fn command(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<CommandBody>,
) -> Result<Json<CommandedBody>, Problem> {
    let (id, number) = posture::wish(&app, &id, body.wish).await?;
    let id = id.to_string();
    Ok(Json(CommandedBody { id, number }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AddBody {
    model: String,
    id: String,
    #[serde(default)]
    allow_policy_findings: bool,
}

#[derive(Serialize)]
pub(super) struct AddedBody {
    code: String,
    #[serde(with = "time::serde::rfc3339")]
    expires: OffsetDateTime,
    est_url: String,
    ca_fingerprint: String,
}

fn added(app: &Shared, code: &EnrolmentCode) -> Response {
    let answer = AddedBody {
        code: code.reveal().to_owned(),
        expires: code.expires(),
        est_url: app.state.info.est_url.clone(),
        ca_fingerprint: app.state.info.ca_fingerprint.clone(),
    };
    (StatusCode::CREATED, Json(answer)).into_response()
}

pub(super) async fn renew_code(
    State(app): State<Shared>,
    Named(id): Named,
) -> Result<Response, Problem> {
    let (_name, code) = act::renew_code(&app, &id).await?;
    Ok(added(&app, &code))
}

pub(super) async fn remove(
    State(app): State<Shared>,
    Named(id): Named,
) -> Result<StatusCode, Problem> {
    act::remove(&app, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn add(
    State(app): State<Shared>,
    Body(body): Body<AddBody>,
) -> Result<Response, Problem> {
    let findings = Findings::allowed(body.allow_policy_findings);
    let device = act::add(&app, &body.model, &body.id, findings).await?;
    Ok(added(&app, &device.code))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonBody {
    #[serde(default)]
    reason: String,
}

async fn change(
    app: Shared,
    id: String,
    action: Action,
    reason: &str,
) -> Result<Json<DeviceBody>, Problem> {
    let id = act::on_device(&app, &id, action, reason).await?;
    let record = fleet::record(&app.state, id.as_str(), app.now())?;
    Ok(Json(DeviceBody::of(&app.state, &record)))
}

pub(super) async fn quarantine(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<ReasonBody>,
) -> Result<Json<DeviceBody>, Problem> {
    change(app, id, Action::Quarantine, &body.reason).await
}

pub(super) async fn release(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<ReasonBody>,
) -> Result<Json<DeviceBody>, Problem> {
    change(app, id, Action::Release, &body.reason).await
}

pub(super) async fn revoke(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<ReasonBody>,
) -> Result<Json<DeviceBody>, Problem> {
    change(app, id, Action::Revoke, &body.reason).await
}

pub(super) async fn clear_tamper(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<ReasonBody>,
) -> Result<Json<DeviceBody>, Problem> {
    change(app, id, Action::ClearTamper, &body.reason).await
}
