//! Roll-outs: stage by stage, halted and gone on with.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use stockade_gateway::rollout::View;

use super::{Page, Refused};
use crate::http::{Operator, ProtectedForm, html};
use crate::rollouts::{self, Change, Start};
use crate::state::Shared;
use crate::view::{Moment, Nav, Shell};

#[derive(Template)]
#[template(path = "rollouts.html")]
pub(crate) struct RolloutsPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) models: Vec<String>,
    pub(crate) stages: String,
    pub(crate) rollouts: Vec<Shown>,
}

/// A roll-out, with its times as people read them.
pub(crate) struct Shown {
    pub(crate) view: View,
    pub(crate) started: Moment,
    pub(crate) since: Option<Moment>,
}

pub(super) async fn list(State(app): State<Shared>, operator: Operator) -> Page {
    let shell = operator.shell(&app, Nav::Rollouts);
    let now = app.now();
    let all = rollouts::list(&app)
        .await
        .map_err(|p| Refused::new(p, &shell))?;
    Ok(html(&RolloutsPage {
        shell,
        csrf: operator.0.csrf(),
        models: crate::fleet::models(&app.state)
            .into_iter()
            .map(|it| it.name)
            .collect(),
        stages: rollouts::stages().join(", "),
        rollouts: all
            .into_iter()
            .map(|view| Shown {
                started: Moment::new(view.started, now),
                since: view.since.map(|at| Moment::new(at, now)),
                view,
            })
            .collect(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartForm {
    model: String,
    version: String,
    stages: String,
}

pub(super) async fn start(
    State(app): State<Shared>,
    operator: Operator,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Rollouts);
    let refused = |problem| Refused::new(problem, &shell);
    let asked: StartForm = form.open(&operator.0).map_err(refused)?;
    let start = Start {
        model: asked.model,
        // What is no number is no version; it is refused as such.
        version: asked.version.trim().parse().unwrap_or_default(),
        stages: asked.stages.split(',').map(str::to_owned).collect(),
        wait: rollouts::wait(),
        within: rollouts::within(),
        limit: rollouts::limit(),
    };
    rollouts::start(&app, start).await.map_err(refused)?;
    Ok(Redirect::to("/rollouts").into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonForm {
    reason: String,
}

async fn change(
    app: Shared,
    operator: Operator,
    id: u64,
    form: ProtectedForm,
    change: Change,
) -> Page {
    let shell = operator.shell(&app, Nav::Rollouts);
    let refused = |problem| Refused::new(problem, &shell);
    let ReasonForm { reason } = form.open(&operator.0).map_err(refused)?;
    rollouts::change(&app, id, change, &reason)
        .await
        .map_err(refused)?;
    Ok(Redirect::to("/rollouts").into_response())
}

pub(super) async fn halt(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<u64>,
    form: ProtectedForm,
) -> Page {
    change(app, operator, id, form, Change::Halt).await
}

pub(super) async fn resume(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<u64>,
    form: ProtectedForm,
) -> Page {
    change(app, operator, id, form, Change::Resume).await
}

/// Somebody reloads where a form was sent to.
pub(super) async fn back(_operator: Operator) -> Response {
    Redirect::to("/rollouts").into_response()
}
