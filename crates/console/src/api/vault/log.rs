//! The vault's log: read by people, and its files as any reader of tlog-tiles asks for them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use stockade_tlog::Hash;
use stockade_vault::{Entry, Log, LogError};

use crate::api::Asked;
use crate::http::Problem;
use crate::state::{App, Shared};

/// Most entries in one answer.
const MAX_PAGE: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogAsked {
    /// From this entry on; without it: the last ones.
    from: Option<u64>,
    limit: usize,
}

impl Default for LogAsked {
    fn default() -> Self {
        Self {
            from: None,
            limit: 100,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct LogBody {
    size: u64,
    root: String,
    /// For `verify-log --key`.
    key: String,
    entries: Vec<Numbered>,
}

#[derive(Serialize)]
struct Numbered {
    index: u64,
    #[serde(flatten)]
    entry: Entry,
}

pub(crate) async fn list(
    State(app): State<Shared>,
    Asked(asked): Asked<LogAsked>,
) -> Result<Json<LogBody>, Problem> {
    app.blocking(move |app| {
        let log = of(app)?;
        let (size, root) = log.head();
        let limit = asked.limit.clamp(1, MAX_PAGE);
        let last = u64::try_from(limit).unwrap_or(u64::MAX);
        let from = asked.from.unwrap_or_else(|| size.saturating_sub(last));
        let entries = log.entries(from, limit).map_err(|error| problem(&error))?;
        Ok(Json(LogBody {
            size,
            root: Hash(root).to_string(),
            key: log.public_key(),
            entries: entries
                .into_iter()
                .map(|(index, entry)| Numbered { index, entry })
                .collect(),
        }))
    })
    .await
}

pub(crate) async fn file(
    State(app): State<Shared>,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    app.blocking(move |app| {
        let bytes = of(app)?.file(&path).map_err(|error| problem(&error))?;
        let bytes = bytes.ok_or_else(|| {
            Problem::not_found(
                "the log has no such file",
                "checkpoint, tile/LEVEL/INDEX and tile/entries/INDEX (C2SP tlog-tiles)",
            )
        })?;
        let kind = match path.as_str() {
            "checkpoint" => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        };
        Ok(([(header::CONTENT_TYPE, kind)], Bytes::from(bytes)).into_response())
    })
    .await
}

pub(crate) fn of(app: &App) -> Result<&Log, Problem> {
    let vault = app.state.vault.as_deref().ok_or_else(|| {
        Problem::conflict("no vault runs in this process", "ask where the vault runs")
    })?;
    Ok(vault.log())
}

pub(crate) fn problem(error: &LogError) -> Problem {
    Problem::ours("read the vault's log", error)
}
