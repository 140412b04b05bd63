//! What the vault keeps, for whoever may ask.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stockade_vault::{Counters, MAX_PAGE, Query, StoredRecord, Subject, Vault, VaultError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Asked;
use crate::fleet;
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
    records: Vec<StoredRecord>,
    /// Where to go on: `after` of the next request; nothing at the end.
    next: Option<u64>,
}

pub(super) async fn list(
    State(app): State<Shared>,
    Asked(asked): Asked<RecordsAsked>,
) -> Result<Json<RecordsBody>, Problem> {
    if asked.schema.is_empty() {
        return Err(Problem::bad(
            "`schema` is missing",
            "name a data set of a profile, for example `motion`",
        ));
    }
    let query = Query {
        subject: subject(&app, &asked.device)?,
        schema: asked.schema,
        from: moment("from", &asked.from)?,
        to: moment("to", &asked.to)?,
        after: asked.after,
        limit: asked.limit,
        newest_first: asked.order == Order::Newest,
    };
    let page = app
        .blocking(move |app| vault(app)?.query(&query).map_err(vault_problem))
        .await?;
    Ok(Json(RecordsBody {
        records: page.records,
        next: page.next,
    }))
}

pub(super) async fn counters(
    State(app): State<Shared>,
) -> Result<Json<BTreeMap<String, Counters>>, Problem> {
    Ok(Json(vault(&app)?.counters()))
}

fn subject(app: &Shared, device: &str) -> Result<Option<Subject>, Problem> {
    if device.is_empty() {
        return Ok(None);
    }
    let name = fleet::record(&app.state, device, app.now())?.name;
    Ok(Some(Subject {
        model: name.model.to_string(),
        device: name.id.to_string(),
    }))
}

fn moment(name: &str, text: &str) -> Result<Option<OffsetDateTime>, Problem> {
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

fn vault(app: &App) -> Result<&Vault, Problem> {
    app.state.vault.as_deref().ok_or_else(|| {
        Problem::conflict("no vault runs in this process", "ask where the vault runs")
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is handed over by map_err"
)]
fn vault_problem(error: VaultError) -> Problem {
    Problem::ours("read the vault", &error)
}
