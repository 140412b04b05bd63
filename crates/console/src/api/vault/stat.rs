//! Aggregates, and what is left of the budgets that pay for them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use stockade_vault::{Access, Ask, Budget, StatError, Told};

use crate::api::Body;
use crate::api::records::{vault, vault_problem};
use crate::gate::By;
use crate::http::Problem;
use crate::state::Shared;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskBody {
    pub(crate) schema: String,
    pub(crate) question: String,
    /// As text, so that it stays the decimal that it is.
    pub(crate) epsilon: Option<String>,
    #[serde(default)]
    pub(crate) again: bool,
}

#[derive(Serialize)]
pub(crate) struct ToldBody {
    product: &'static str,
    #[serde(flatten)]
    told: Told,
}

#[derive(Serialize)]
pub(crate) struct BudgetsBody {
    budgets: Vec<Budget>,
}

pub(crate) async fn ask(
    State(app): State<Shared>,
    By(access): By,
    Body(body): Body<AskBody>,
) -> Result<Json<ToldBody>, Problem> {
    Ok(Json(ToldBody {
        product: "aggregate",
        told: told(&app, access, body).await?,
    }))
}

pub(crate) async fn told(app: &Shared, access: Access, body: AskBody) -> Result<Told, Problem> {
    let epsilon = body.epsilon.map(|text| text.parse()).transpose();
    let epsilon = epsilon.map_err(|wrong: &str| Problem::bad("`epsilon` is no price", wrong))?;
    let ask = Ask {
        schema: body.schema,
        question: body.question,
        epsilon,
        again: body.again,
    };
    app.blocking(move |app| {
        let told = vault(app)?.stat(&access, &ask, app.now());
        told.map_err(problem)
    })
    .await
}

pub(crate) async fn budgets(
    State(app): State<Shared>,
    By(access): By,
) -> Result<Json<BudgetsBody>, Problem> {
    let budgets = app
        .blocking(move |app| {
            let budgets = vault(app)?.budgets(&access, app.now());
            budgets.map_err(problem)
        })
        .await?;
    Ok(Json(BudgetsBody { budgets }))
}

pub(crate) fn problem(error: StatError) -> Problem {
    match error {
        StatError::Question(wrong) => Problem::bad(
            format!(
                "the question, at column {}: {}",
                wrong.at.saturating_add(1),
                wrong.what
            ),
            format!("possible: {}", wrong.possible),
        ),
        StatError::Price => Problem::bad(error.to_string(), "for example 0.1"),
        StatError::UnknownDataSet { .. } => Problem::not_found(
            error.to_string(),
            "a data set is there once a device has sent a record of it: stockade vault query",
        ),
        StatError::Exhausted { .. } => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            error.to_string(),
            "ask for something that was answered before, which is free, or for less: stockade vault stat --budget",
        ),
        StatError::Vault(error) => vault_problem(error),
        StatError::Noise(error) => Problem::ours("draw the noise of an answer", &error),
    }
}
