//! Roll-outs, by page or by API.

use std::sync::Arc;

use serde::Deserialize;
use stockade_gateway::name::ModelName;
use stockade_gateway::rollout::{Plan, Refused, RolloutError, Rollouts, Share, View, WrongPlan};
use time::Duration;

use crate::act::WHICH_MODELS;
use crate::http::Problem;
use crate::state::{App, Shared};

/// Longest reason, in characters.
const MAX_REASON: usize = 200;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    pub(crate) model: String,
    pub(crate) version: u64,
    #[serde(default = "stages")]
    pub(crate) stages: Vec<String>,
    /// Seconds for which each device is watched.
    #[serde(default = "wait")]
    pub(crate) wait: u32,
    /// Seconds that a device may take to come up.
    #[serde(default = "within")]
    pub(crate) within: u32,
    #[serde(default = "limit")]
    pub(crate) limit: String,
}

/// One in a hundred, one in ten, all.
pub(crate) fn stages() -> Vec<String> {
    ["1%", "10%", "100%"].map(str::to_owned).to_vec()
}

/// An hour.
pub(crate) const fn wait() -> u32 {
    60 * 60
}

/// Six hours.
pub(crate) const fn within() -> u32 {
    6 * 60 * 60
}

/// Two percent.
pub(crate) fn limit() -> String {
    Share::TWO_PERCENT.to_string()
}

/// What an operator changes about a roll-out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Halt,
    Resume,
}

fn of(app: &App) -> Result<Arc<Rollouts>, Problem> {
    app.state.rollouts.clone().ok_or_else(|| {
        Problem::conflict(
            "no roll-outs run in this process",
            "ask where the gateway runs",
        )
    })
}

/// All of them, the newest first.
pub(crate) async fn list(app: &Shared) -> Result<Vec<View>, Problem> {
    let now = app.now();
    app.blocking(move |app| Ok(of(app)?.list(now))).await
}

/// One of them.
pub(crate) async fn show(app: &Shared, id: u64) -> Result<View, Problem> {
    let now = app.now();
    app.blocking(move |app| of(app)?.show(id, now).map_err(|why| refused(&why)))
        .await
}

/// Starts one.
pub(crate) async fn start(app: &Shared, asked: Start) -> Result<View, Problem> {
    let model = ModelName::new(asked.model.trim());
    let model = model.map_err(|why| Problem::bad(why.to_string(), WHICH_MODELS))?;
    let plan = plan(&asked).map_err(|why| {
        Problem::bad(
            why.to_string(),
            "for example stages 1%, 10%, 100%, an hour apart",
        )
    })?;
    if asked.version == 0 {
        return Err(Problem::bad(
            "versions begin with 1",
            "take the one that the maker published",
        ));
    }
    let now = app.now();
    app.blocking(move |app| {
        let all = of(app)?;
        let id = all.start(&model, asked.version, plan, now).map_err(problem)?;
        tracing::info!(%model, version = asked.version, rollout = id, "console: the operator started a roll-out");
        all.show(id, now).map_err(|why| refused(&why))
    })
    .await
}

fn plan(asked: &Start) -> Result<Plan, WrongPlan> {
    let stages = asked
        .stages
        .iter()
        .map(|it| it.trim().parse())
        .collect::<Result<_, _>>()?;
    let seconds = |it: u32| Duration::seconds(it.into());
    Plan::new(
        stages,
        seconds(asked.wait),
        seconds(asked.within),
        asked.limit.trim().parse()?,
    )
}

/// Halts one, or goes on with it.
pub(crate) async fn change(
    app: &Shared,
    id: u64,
    change: Change,
    reason: &str,
) -> Result<View, Problem> {
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        return Err(Problem::bad(
            "a reason is missing, or too long",
            "say in a few words why: it is kept with the events",
        ));
    }
    let now = app.now();
    app.blocking(move |app| {
        let all = of(app)?;
        match change {
            Change::Halt => all.halt(id, &reason, now),
            Change::Resume => all.resume(id, &reason, now),
        }
        .map_err(problem)?;
        tracing::info!(
            rollout = id,
            ?change,
            reason,
            "console: the operator changed a roll-out"
        );
        all.show(id, now).map_err(|why| refused(&why))
    })
    .await
}

fn problem(error: RolloutError) -> Problem {
    match error {
        RolloutError::Refused(why) => refused(&why),
        error => Problem::ours("keep the roll-out", &error),
    }
}

fn refused(why: &Refused) -> Problem {
    let text = why.to_string();
    match why {
        Refused::NoModel(_) => Problem::not_found(text, WHICH_MODELS),
        Refused::Unknown(_) => Problem::not_found(text, "`stockade rollout list` shows all"),
        Refused::NoSlots(_) => {
            Problem::conflict(text, "`slots` in [updates] says where a system goes")
        }
        Refused::Active(id) => {
            Problem::conflict(text, format!("halt it first: `stockade rollout halt {id}`"))
        }
        Refused::NotRunning(_) | Refused::NotHalted(_) => {
            Problem::conflict(text, "`stockade rollout status` says how it stands")
        }
    }
}
