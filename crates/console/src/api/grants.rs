//! What devices may ask of each other, and constrained devices by the key on their label.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use stockade_gateway::link::grants::{Grants, GrantsError, Right};
use stockade_gateway::name::{DeviceId, DeviceName};
use time::OffsetDateTime;

use super::Body;
use crate::act;
use crate::findings::Findings;
use crate::http::Problem;
use crate::state::Shared;

/// The methods of CoAP that a scope names, lowest bit first (RFC 9237, section 3).
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "IPATCH"];

#[derive(Serialize)]
pub(super) struct RightBody {
    from: String,
    to: String,
    /// `PATH=METHOD,METHOD`.
    scope: Vec<String>,
    /// Nothing where the profile says so, and as long as it does.
    #[serde(with = "time::serde::rfc3339::option")]
    until: Option<OffsetDateTime>,
    /// Whether who may ask has room for its grant: what has not is left out.
    fits: bool,
}

impl From<Right> for RightBody {
    fn from(right: Right) -> Self {
        let until = right.until.and_then(|until| i64::try_from(until).ok());
        Self {
            from: right.from.to_string(),
            to: right.to.to_string(),
            scope: right
                .scope
                .iter()
                .map(|(path, bits)| scope_text(path, *bits))
                .collect(),
            until: until.and_then(|until| OffsetDateTime::from_unix_timestamp(until).ok()),
            fits: right.fits,
        }
    }
}

fn scope_text(path: &str, bits: u8) -> String {
    let methods: Vec<&str> = (0_u8..)
        .zip(METHODS)
        .filter(|(bit, _)| bits >> bit & 1 == 1)
        .map(|(_, method)| method)
        .collect();
    format!("{path}={}", methods.join(","))
}

fn read_scope(text: &str) -> Option<(String, u8)> {
    let (path, methods) = text.rsplit_once('=')?;
    let mut bits = 0;
    for method in methods.split(',') {
        let at = METHODS
            .iter()
            .position(|known| known.eq_ignore_ascii_case(method))?;
        bits |= 1_u8.checked_shl(u32::try_from(at).ok()?)?;
    }
    (path.starts_with('/') && bits != 0).then(|| (path.to_owned(), bits))
}

#[derive(Serialize)]
pub(super) struct GrantsBody {
    grants: Vec<RightBody>,
    /// The key that grants are verified with, in PEM.
    authority: String,
}

pub(super) async fn list(State(app): State<Shared>) -> Result<Json<GrantsBody>, Problem> {
    of(&app)?;
    let now = app.now();
    app.blocking(move |app| {
        let grants = of(app)?;
        Ok(Json(GrantsBody {
            grants: grants.list(now).into_iter().map(RightBody::from).collect(),
            authority: grants.keys().authority_pem(),
        }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GiveBody {
    from: String,
    to: String,
    scope: Vec<String>,
    /// Seconds.
    #[serde(rename = "for")]
    life: u64,
}

pub(super) async fn give(
    State(app): State<Shared>,
    Body(body): Body<GiveBody>,
) -> Result<Response, Problem> {
    let (from, to) = (device(&body.from)?, device(&body.to)?);
    let mut scope = Vec::new();
    for text in &body.scope {
        scope.push(read_scope(text).ok_or_else(|| {
            Problem::bad(
                format!("`{text}` is no scope"),
                "a path and its methods: /siren/sound=GET,PUT",
            )
        })?);
    }
    let now = app.now();
    app.blocking(move |app| {
        let given = of(app)?.order(&from, &to, &scope, body.life, now);
        let given = RightBody::from(given.map_err(|error| problem(&error))?);
        tracing::info!(%from, %to, "console: the operator gave a grant");
        Ok((StatusCode::CREATED, Json(given)).into_response())
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    device: String,
}

#[derive(Serialize)]
pub(super) struct RevokedBody {
    device: String,
    epoch: u64,
}

pub(super) async fn revoke(
    State(app): State<Shared>,
    Body(body): Body<RevokeBody>,
) -> Result<Json<RevokedBody>, Problem> {
    let id = device(&body.device)?;
    let now = app.now();
    app.blocking(move |app| {
        let epoch = of(app)?.revoke(&id, now).map_err(|error| problem(&error))?;
        tracing::info!(device = %id, epoch, "console: the operator revoked grants");
        Ok(Json(RevokedBody {
            device: id.to_string(),
            epoch,
        }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ConstrainedBody {
    model: String,
    id: String,
    /// The thumbprint of its key, in hexadecimal.
    key: String,
    #[serde(default)]
    allow_policy_findings: bool,
}

#[derive(Serialize)]
pub(super) struct ConstrainedAddedBody {
    name: String,
    /// What the gateway calls it on the link.
    kid: String,
    /// The gateway's credential, in hexadecimal.
    gateway: String,
    /// The key that grants are verified with, in PEM.
    authority: String,
}

pub(super) async fn add_constrained(
    State(app): State<Shared>,
    Body(body): Body<ConstrainedBody>,
) -> Result<Response, Problem> {
    let key = stockade_attest::unhex(&body.key).and_then(|it| it.try_into().ok());
    let key = key.ok_or_else(|| {
        Problem::bad(
            "the key's thumbprint is not 64 hexadecimal digits",
            "it is on the device's label",
        )
    })?;
    let name = DeviceName::new(&body.model, &body.id)
        .map_err(|error| Problem::bad(error.to_string(), "choose another name"))?;
    let findings = Findings::allowed(body.allow_policy_findings);
    let now = app.now();
    app.blocking(move |app| {
        let grants = of(app)?;
        let passed = act::may_add(app, &name, findings)?;
        let added = app.state.registry.add_constrained(&name, key, now);
        let added = added.map_err(act::add_problem)?;
        tracing::info!(device = %name, "console: the operator added a constrained device");
        act::was_added(app, &name, passed);
        let answer = ConstrainedAddedBody {
            name: name.to_string(),
            kid: added.kid.to_string(),
            gateway: stockade_web::secret::hex(&grants.keys().credential()),
            authority: grants.keys().authority_pem(),
        };
        Ok((StatusCode::CREATED, Json(answer)).into_response())
    })
    .await
}

fn of(app: &crate::state::App) -> Result<&Grants, Problem> {
    app.state.grants.as_deref().ok_or_else(|| {
        Problem::not_found("there is no link in this process", "ask the gateway itself")
    })
}

fn device(text: &str) -> Result<DeviceId, Problem> {
    // `model/device`, as it is listed, is good too.
    let id = text.rsplit_once('/').map_or(text, |(_, id)| id);
    DeviceId::new(id)
        .map_err(|error| Problem::bad(error.to_string(), "`stockade device list` shows all"))
}

fn problem(error: &GrantsError) -> Problem {
    let text = error.to_string();
    match error {
        GrantsError::Unknown(_) => Problem::not_found(text, "`stockade device list` shows all"),
        GrantsError::CannotMeet(..) => {
            Problem::conflict(text, "`stockade device list` shows how they stand")
        }
        GrantsError::Scope | GrantsError::Life => {
            Problem::bad(text, "for example /siren/sound=GET,PUT for 1h")
        }
        GrantsError::Store(_) | GrantsError::Damaged(..) | GrantsError::Sign(_) => {
            Problem::ours("make the grant", error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_as_it_is_shown() {
        for text in ["/siren/sound=GET,PUT", "/a=IPATCH", "/a=b=POST"] {
            let (path, bits) = read_scope(text).unwrap();
            assert_eq!(scope_text(&path, bits), text);
        }
        for text in ["/a", "/a=", "a=GET", "/a=GET,", "/a=HEAD", ""] {
            assert_eq!(read_scope(text), None, "{text}");
        }
    }
}
