//! Tokens for programs and for people without the console's password.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use stockade_vault::{Access, Action, Role, RoleName};
use time::OffsetDateTime;

use super::{Body, Named};
use crate::fleet;
use crate::gate::{By, log};
use crate::http::Problem;
use crate::state::Shared;
use crate::token::{self, Listed, MAX_DAYS, NotAdded};

#[derive(Serialize)]
pub(super) struct ListBody {
    tokens: Vec<Listed>,
}

pub(super) async fn list(State(app): State<Shared>) -> Result<Json<ListBody>, Problem> {
    let now = app.now();
    let tokens = app
        .blocking(move |app| Ok(token::list(&*app.state.store, now)?))
        .await?;
    Ok(Json(ListBody { tokens }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddBody {
    pub(crate) name: String,
    /// `operator`, `analyst`, `auditor`, or `subject:DEVICE`.
    pub(crate) role: String,
    pub(crate) days: u16,
}

#[derive(Serialize)]
pub(super) struct AddedBody {
    name: String,
    role: String,
    token: String,
    #[serde(with = "time::serde::rfc3339")]
    expires: OffsetDateTime,
}

pub(super) async fn add(
    State(app): State<Shared>,
    By(access): By,
    Body(body): Body<AddBody>,
) -> Result<(StatusCode, Json<AddedBody>), Problem> {
    let (token, expires) = made(&app, access, &body).await?;
    let added = AddedBody {
        name: body.name,
        role: body.role,
        token,
        expires,
    };
    Ok((StatusCode::CREATED, Json(added)))
}

/// A token that the log knows of, and until when it lives.
pub(crate) async fn made(
    app: &Shared,
    access: Access,
    body: &AddBody,
) -> Result<(String, OffsetDateTime), Problem> {
    let role = role(app, &body.role)?;
    if !(1..=MAX_DAYS).contains(&body.days) {
        return Err(Problem::bad(
            format!("a token cannot live for {} days", body.days),
            format!("from 1 to {MAX_DAYS}"),
        ));
    }
    let (now, days, name) = (app.now(), body.days, body.name.clone());
    let object = logged(&role, &name);
    let (token, expires) = app
        .blocking(move |app| {
            token::add(&*app.state.store, &name, role, days, now).map_err(not_added)
        })
        .await?;
    // Nobody was shown it yet: one that the log does not know of opens nothing.
    let told = log(app, access, Action::Tokens, move |mut entry| {
        entry.object = object;
        entry.fact("days", days.into())
    });
    if let Err(problem) = told.await {
        let name = body.name.clone();
        app.blocking(move |app| Ok(token::revoke(&*app.state.store, &name)?))
            .await?;
        return Err(problem);
    }
    Ok((token, expires))
}

pub(super) async fn revoke(
    State(app): State<Shared>,
    By(access): By,
    Named(name): Named,
) -> Result<StatusCode, Problem> {
    taken_back(&app, access, name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn taken_back(app: &Shared, access: Access, name: String) -> Result<(), Problem> {
    let asked = name.clone();
    let role = app
        .blocking(move |app| Ok(token::revoke(&*app.state.store, &asked)?))
        .await?
        .ok_or_else(|| {
            Problem::not_found(
                format!("there is no token `{name}`"),
                "stockade token list shows those there are",
            )
        })?;
    // What takes rights away holds at once, written or not.
    log(app, access, Action::Tokens, move |mut entry| {
        entry.object = logged(&role, &name);
        entry.fact("revoked", 1)
    })
    .await
}

/// A token's name as the log has it: that of a subject's may be the device's.
fn logged(role: &Role, name: &str) -> Option<String> {
    (role.name() != RoleName::Subject).then(|| name.to_owned())
}

fn role(app: &Shared, text: &str) -> Result<Role, Problem> {
    match (text, text.strip_prefix("subject:")) {
        ("operator", _) => Ok(Role::Operator),
        ("analyst", _) => Ok(Role::Analyst),
        ("auditor", _) => Ok(Role::Auditor),
        (_, Some(device)) => fleet::subject(&app.state, device, app.now()).map(Role::Subject),
        _ => Err(Problem::bad(
            format!("`{text}` is no role"),
            "operator, analyst, auditor, or subject:DEVICE",
        )),
    }
}

fn not_added(error: NotAdded) -> Problem {
    match error {
        NotAdded::Name(_) => Problem::bad(
            error.to_string(),
            "names consist of a-z, 0-9, `.`, `_` and `-`; admin, admin-socket, vault and subject are taken",
        ),
        NotAdded::Exists(_) => Problem::conflict(
            error.to_string(),
            "choose another name, or take that one back: stockade token revoke NAME",
        ),
        NotAdded::Full => Problem::conflict(error.to_string(), "take back those nobody needs"),
        NotAdded::Failed(error) => error.into(),
    }
}
