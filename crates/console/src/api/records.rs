//! What the vault keeps, for whoever may ask.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use stockade_vault::{
    Access, Counters, Damage, MAX_PAGE, Query, Refused, StoredRecord, Subject, Vault, VaultError,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Asked;
use crate::fleet;
use crate::gate::By;
use crate::http::Problem;
use crate::state::{App, Shared};

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordsAsked {
    schema: String,
    device: String,
    from: String,
    to: String,
    after: Option<u64>,
    limit: usize,
    order: Order,
    purpose: Option<String>,
}

impl Default for RecordsAsked {
    fn default() -> Self {
        Self {
            schema: String::new(),
            device: String::new(),
            from: String::new(),
            to: String::new(),
            after: None,
            limit: MAX_PAGE,
            order: Order::Oldest,
            purpose: None,
        }
    }
}

/// Which records come first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    #[default]
    Oldest,
    Newest,
}

#[derive(Serialize)]
pub(super) struct RecordsBody {
    /// What the records are, and are not.
    product: &'static str,
    records: Vec<StoredRecord>,
    /// Where to go on: `after` of the next request; nothing at the end.
    next: Option<u64>,
    /// Blocks that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<Damage>,
}

pub(super) async fn list(
    State(app): State<Shared>,
    by: By,
    Asked(asked): Asked<RecordsAsked>,
) -> Result<Json<RecordsBody>, Problem> {
    if asked.schema.is_empty() {
        return Err(Problem::bad(
            "`schema` is missing",
            "name a data set of a profile, for example `motion`",
        ));
    }
    let access = by.wanting(asked.purpose);
    let query = Query {
        subject: subject(&app, &access, asked.device)?,
        schema: asked.schema,
        from: moment("from", &asked.from)?,
        to: moment("to", &asked.to)?,
        after: asked.after,
        limit: asked.limit,
        newest_first: asked.order == Order::Newest,
    };
    let page = app
        .blocking(move |app| {
            let page = vault(app)?.query(&access, &query, app.now());
            page.map_err(vault_problem)
        })
        .await?;
    Ok(Json(RecordsBody {
        product: "pseudonymised: still personal data",
        damaged: page.damaged,
        records: page.records,
        next: page.next,
    }))
}

pub(super) async fn counters(
    State(app): State<Shared>,
) -> Result<Json<BTreeMap<String, Counters>>, Problem> {
    Ok(Json(vault(&app)?.counters()))
}

fn subject(app: &Shared, access: &Access, device: String) -> Result<Option<Subject>, Problem> {
    if device.is_empty() {
        return Ok(None);
    }
    if access.may_name().is_err() {
        // The vault refuses it, there or not, and says the same of both.
        return Ok(Some(Subject {
            model: String::new(),
            device,
        }));
    }
    fleet::subject(&app.state, &device, app.now()).map(Some)
}

pub(super) fn moment(name: &str, text: &str) -> Result<Option<OffsetDateTime>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map(Some)
        .map_err(|error| {
            Problem::bad(
                format!("`{name}` is no time: {error}"),
                "write it as 2026-01-31T12:00:00Z (RFC 3339)",
            )
        })
}

pub(crate) fn vault(app: &App) -> Result<&Vault, Problem> {
    app.state.vault.as_deref().ok_or_else(|| {
        Problem::conflict("no vault runs in this process", "ask where the vault runs")
    })
}

pub(crate) fn vault_problem(error: VaultError) -> Problem {
    match error {
        VaultError::Refused(
            refused @ (Refused::Role { .. } | Refused::Named { .. } | Refused::OtherSubject),
        ) => Problem::new(
            StatusCode::FORBIDDEN,
            refused.to_string(),
            "what each role may do is in docs/access.md",
        ),
        VaultError::Refused(refused) => Problem::new(
            StatusCode::FORBIDDEN,
            refused.to_string(),
            "purposes are in the profile: `purposes = [\"…\"]` in its [vault] section of the data set; the CLI takes one with --purpose",
        ),
        error => Problem {
            help: "what was begun is finished, or undone, by itself: see `stockade vault log`, and ask again; the gateway's log says why"
                .into(),
            ..Problem::ours("use the vault", &error)
        },
    }
}
