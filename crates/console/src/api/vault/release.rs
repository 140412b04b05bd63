//! Anonymised releases, and how exposed the devices of a data set are.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use stockade_vault::{Access, Release, ReleaseAsk, ReleaseError, Risk};

use crate::api::records::{moment, vault, vault_problem};
use crate::api::{Asked, Body};
use crate::gate::By;
use crate::http::Problem;
use crate::state::Shared;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct ReleaseAsked {
    pub(crate) schema: String,
    pub(crate) k: Option<u32>,
    pub(crate) l: Option<u32>,
    pub(crate) t: Option<f64>,
    pub(crate) suppress: Option<f64>,
    pub(crate) local: bool,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) dry_run: bool,
}

impl ReleaseAsked {
    fn ask(self) -> Result<ReleaseAsk, Problem> {
        if self.schema.is_empty() {
            return Err(Problem::bad(
                "`schema` is missing",
                "name a data set of a profile, for example `motion`",
            ));
        }
        Ok(ReleaseAsk {
            schema: self.schema,
            k: self.k,
            l: self.l,
            t: self.t,
            suppress: self.suppress,
            local: self.local,
            from: moment("from", &self.from)?,
            to: moment("to", &self.to)?,
            dry_run: self.dry_run,
        })
    }
}

/// Makes a release. One that does not pass is an answer too: it says why, and has no rows.
pub(crate) async fn make(
    State(app): State<Shared>,
    By(access): By,
    Body(asked): Body<ReleaseAsked>,
) -> Result<Json<Release>, Problem> {
    made(&app, access, asked).await.map(Json)
}

pub(crate) async fn made(
    app: &Shared,
    access: Access,
    asked: ReleaseAsked,
) -> Result<Release, Problem> {
    let ask = asked.ask()?;
    app.blocking(move |app| {
        let release = vault(app)?.release(&access, &ask, app.now());
        release.map_err(problem)
    })
    .await
}

pub(crate) async fn risk(
    State(app): State<Shared>,
    By(access): By,
    Asked(asked): Asked<ReleaseAsked>,
) -> Result<Json<Risk>, Problem> {
    measured(&app, access, asked).await.map(Json)
}

pub(crate) async fn measured(
    app: &Shared,
    access: Access,
    asked: ReleaseAsked,
) -> Result<Risk, Problem> {
    let ask = asked.ask()?;
    app.blocking(move |app| {
        let risk = vault(app)?.risk(&access, &ask, app.now());
        risk.map_err(problem)
    })
    .await
}

pub(super) fn problem(error: ReleaseError) -> Problem {
    let said = error.to_string();
    match error {
        ReleaseError::UnknownDataSet { .. } => Problem::not_found(
            said,
            "a data set is there once a device has sent a record of it: stockade vault query",
        ),
        ReleaseError::Lax { .. } => Problem::bad(
            said,
            "the floor is `release` in the profile's [vault] section of the data set; here it can be stricter only",
        ),
        ReleaseError::Nothing(_) | ReleaseError::Few { .. } => {
            Problem::bad(said, "take a longer time: --from, --to")
        }
        ReleaseError::Csv(_) | ReleaseError::Time(_) => Problem::bad(said, "write the file anew"),
        ReleaseError::Fold(_) => Problem::bad(said, "roles are in the profile: role = \"quasi\""),
        ReleaseError::Search(_) | ReleaseError::Unreachable(_) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            said,
            "more devices are needed, or fewer fields with the role sensitive; an aggregate needs no groups: stockade vault stat",
        ),
        ReleaseError::Often(_) => Problem::conflict(
            said,
            "aggregates have a budget that comes back: stockade vault stat",
        ),
        ReleaseError::Meanwhile => Problem::conflict(said, "ask again"),
        ReleaseError::Vault(error) => vault_problem(error),
    }
}
