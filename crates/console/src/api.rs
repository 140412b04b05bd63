//! The administration API: JSON over https for programs that log in, and over the Unix socket for the command line.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stockade_vault::RoleName;
use time::OffsetDateTime;

use crate::act;
use crate::fleet;
use crate::gate::By;
use crate::http::Problem;
use crate::session::Session;
use crate::state::{Command, Shared};

mod attestation;
mod devices;
mod events;
mod grants;
mod link;
mod models;
pub(crate) mod records;
mod rollouts;
pub(crate) mod table;
pub(crate) mod tokens;
pub(crate) mod vault;

pub(crate) use events::EventFilter;

/// Most bytes of a JSON body.
const MAX_BODY: usize = 512 * 1024;

/// The API without its gate.
pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/session", get(session))
        .route("/api/v1/devices", get(devices::list).post(devices::add))
        .route(
            "/api/v1/devices/{id}",
            get(devices::show).delete(devices::remove),
        )
        .route("/api/v1/devices/{id}/code", post(devices::renew_code))
        .route("/api/v1/devices/{id}/quarantine", post(devices::quarantine))
        .route("/api/v1/devices/{id}/release", post(devices::release))
        .route("/api/v1/devices/{id}/revoke", post(devices::revoke))
        .route(
            "/api/v1/devices/{id}/clear-tamper",
            post(devices::clear_tamper),
        )
        .route("/api/v1/devices/{id}/posture", get(devices::posture))
        .route("/api/v1/devices/{id}/command", post(devices::command))
        .route("/api/v1/devices/{id}/attestation", get(attestation::show))
        .route(
            "/api/v1/devices/{id}/attestation/record",
            post(attestation::record),
        )
        .route(
            "/api/v1/devices/{id}/attestation/reset",
            post(attestation::reset),
        )
        .route(
            "/api/v1/references",
            get(attestation::list)
                .put(attestation::add)
                .delete(attestation::forget),
        )
        .route("/api/v1/models", get(models::list))
        .route("/api/v1/models/{name}", get(models::show))
        .route("/api/v1/profiles", put(models::install))
        .route(
            "/api/v1/rollouts",
            get(rollouts::list).post(rollouts::start),
        )
        .route("/api/v1/rollouts/{id}", get(rollouts::show))
        .route("/api/v1/rollouts/{id}/halt", post(rollouts::halt))
        .route("/api/v1/rollouts/{id}/resume", post(rollouts::resume))
        .route("/api/v1/grants", get(grants::list).post(grants::give))
        .route("/api/v1/grants/revoke", post(grants::revoke))
        .route("/api/v1/link", get(link::show))
        .route("/api/v1/constrained", post(grants::add_constrained))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/stream", get(events::stream))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::add))
        .route("/api/v1/tokens/{name}", delete(tokens::revoke))
        .merge(vault_router())
        .route("/api/v1/publish", post(publish))
        .route(
            "/api/{*rest}",
            get(unknown)
                .post(unknown)
                .put(unknown)
                .delete(unknown)
                .patch(unknown),
        )
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// What can be asked of the vault.
fn vault_router() -> Router<Shared> {
    Router::new()
        .route("/api/v1/vault/records", get(records::list))
        .route("/api/v1/vault/counters", get(records::counters))
        .route("/api/v1/vault/erase", post(vault::erase::erase))
        .route("/api/v1/vault/export", get(vault::erase::export))
        .route("/api/v1/vault/keys", get(vault::keys::show))
        .route("/api/v1/vault/keys/rotate", post(vault::keys::rotate))
        .route(
            "/api/v1/vault/readers",
            get(vault::readers::list).post(vault::readers::set),
        )
        .route("/api/v1/vault/reveal", post(vault::readers::reveal))
        .route("/api/v1/vault/log", get(vault::log::list))
        .route("/api/v1/vault/log/{*path}", get(vault::log::file))
        .route("/api/v1/vault/release", post(vault::release::make))
        .route("/api/v1/vault/streams", get(vault::stream::list))
        .route(
            "/api/v1/vault/stream/{data_set}",
            get(vault::stream::read).post(vault::stream::switch),
        )
        .route("/api/v1/vault/risk", get(vault::release::risk))
        .route("/api/v1/vault/stat", post(vault::stat::ask))
        .route("/api/v1/vault/budgets", get(vault::stat::budgets))
        .route("/api/v1/vault/backup", get(vault::store::backup))
        .route("/api/v1/vault/fsck", post(vault::store::fsck))
}

async fn unknown() -> Problem {
    Problem::not_found(
        "there is no such address in the API",
        "the addresses are listed in docs/console.md",
    )
}

async fn not_allowed() -> Problem {
    no_such_method()
}

fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this address does not take this method",
        "the methods are listed in docs/console.md",
    )
}

/// A JSON body, strictly of its type.
pub(crate) struct Body<T>(T);

impl<T: serde::de::DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, app).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(body_problem(&rejection)),
        }
    }
}

fn body_problem(rejection: &JsonRejection) -> Problem {
    let status = rejection.status();
    let help = match rejection {
        JsonRejection::MissingJsonContentType(_) => "send content-type: application/json",
        _ => "the fields of each request are listed in docs/console.md",
    };
    Problem::new(status, rejection.body_text(), help)
}

/// Query parameters, strictly of their type.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: serde::de::DeserializeOwned> FromRequestParts<Shared> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        app: &Shared,
    ) -> Result<Self, Problem> {
        let wrong = |r: QueryRejection| {
            Problem::bad(
                r.body_text(),
                "the parameters are listed in docs/console.md",
            )
        };
        Query::<T>::from_request_parts(parts, app)
            .await
            .map(|Query(asked)| Self(asked))
            .map_err(wrong)
    }
}

/// The part of the path that names something.
struct Named(String);

impl FromRequestParts<Shared> for Named {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        app: &Shared,
    ) -> Result<Self, Problem> {
        let wrong = |r: PathRejection| {
            Problem::bad(r.body_text(), "names consist of a-z, 0-9, `.`, `_` and `-`")
        };
        Path::<String>::from_request_parts(parts, app)
            .await
            .map(|Path(name)| Self(name))
            .map_err(wrong)
    }
}

#[derive(Serialize)]
struct StatusBody {
    version: String,
    ca_fingerprint: String,
    est_url: String,
    mqtt_address: String,
    trust_domain: String,
    devices: usize,
    models: usize,
    #[serde(with = "time::serde::rfc3339")]
    now: OffsetDateTime,
}

async fn status(State(app): State<Shared>) -> Json<StatusBody> {
    let now = app.now();
    let info = app.state.info.clone();
    Json(StatusBody {
        version: info.version,
        ca_fingerprint: info.ca_fingerprint,
        est_url: info.est_url,
        mqtt_address: info.mqtt_address,
        trust_domain: info.trust_domain.to_string(),
        devices: fleet::devices(&app.state, now).len(),
        models: fleet::models(&app.state).len(),
        now,
    })
}

#[derive(Serialize)]
struct SessionBody {
    csrf: Option<String>,
    /// The account or the token.
    who: String,
    role: RoleName,
}

async fn session(session: Option<Extension<Arc<Session>>>, By(access): By) -> Json<SessionBody> {
    Json(SessionBody {
        csrf: session.map(|Extension(session)| session.csrf()),
        role: access.role.name(),
        who: access.who,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody {
    topic: String,
    payload: String,
    #[serde(default)]
    qos: u8,
    /// How the payload is written: `text` as it is, `base64` for bytes.
    #[serde(default)]
    encoding: Encoding,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Encoding {
    #[default]
    Text,
    Base64,
}

async fn publish(
    State(app): State<Shared>,
    Body(body): Body<PublishBody>,
) -> Result<StatusCode, Problem> {
    let payload = match body.encoding {
        Encoding::Text => body.payload.into_bytes(),
        Encoding::Base64 => STANDARD.decode(&body.payload).map_err(|error| {
            Problem::bad(
                format!("the payload is not base64: {error}"),
                "RFC 4648 section 4",
            )
        })?,
    };
    act::publish(
        &app,
        Command {
            topic: body.topic,
            payload,
            qos: body.qos,
        },
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
