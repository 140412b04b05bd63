//! Tokens: for programs, and for people without the console's password.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{Page, Refused};
use crate::api::tokens::{AddBody, made, taken_back};
use crate::http::{Operator, Problem, ProtectedForm, html};
use crate::state::Shared;
use crate::token::{self, MAX_DAYS};
use crate::view::{Moment, Nav, Shell};

#[derive(Template)]
#[template(path = "tokens.html")]
pub(crate) struct TokensPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) tokens: Vec<Row>,
    pub(crate) most_days: u16,
    pub(crate) revoked: bool,
    pub(crate) fresh: Option<Fresh>,
    pub(crate) wrong: Option<Problem>,
    pub(crate) name: String,
}

/// A token that was just made.
pub(crate) struct Fresh {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) expires: Moment,
}

/// A token in the list.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) created: Moment,
    pub(crate) expires: Moment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Came {
    done: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddForm {
    name: String,
    role: String,
    /// For the role `subject`.
    device: String,
    days: String,
}

async fn page(app: &Shared, operator: &Operator) -> Result<TokensPage, Problem> {
    let now: OffsetDateTime = app.now();
    let tokens = app
        .blocking(move |app| Ok(token::list(&*app.state.store, now)?))
        .await?;
    Ok(TokensPage {
        shell: operator.shell(app, Nav::Data),
        csrf: operator.0.csrf(),
        tokens: tokens
            .into_iter()
            .map(|it| Row {
                name: it.name,
                role: it.role,
                created: Moment::new(it.created, now),
                expires: Moment::new(it.expires, now),
            })
            .collect(),
        most_days: MAX_DAYS,
        revoked: false,
        fresh: None,
        wrong: None,
        name: String::new(),
    })
}

pub(super) async fn list(
    State(app): State<Shared>,
    operator: Operator,
    Query(came): Query<Came>,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let page = page(&app, &operator).await;
    let mut page = page.map_err(|p| Refused::new(p, &shell))?;
    page.revoked = came.done == "revoked";
    Ok(html(&page))
}

pub(super) async fn add(
    State(app): State<Shared>,
    operator: Operator,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let refused = |problem| Refused::new(problem, &shell);
    let asked: AddForm = form.open(&operator.0).map_err(refused)?;
    let body = AddBody {
        name: asked.name.trim().to_owned(),
        role: match asked.role.as_str() {
            "subject" => format!("subject:{}", asked.device.trim()),
            _ => asked.role,
        },
        // What is no number is no time; it is refused as such.
        days: asked.days.trim().parse().unwrap_or_default(),
    };
    let came = made(&app, Operator::access(None), &body).await;
    let mut page = page(&app, &operator).await.map_err(refused)?;
    match came {
        Ok((token, expires)) => {
            page.fresh = Some(Fresh {
                name: body.name,
                token,
                expires: Moment::new(expires, app.now()),
            });
            Ok(html(&page))
        }
        Err(problem) => {
            let status = problem.status;
            page.name = body.name;
            page.wrong = Some(problem);
            Ok((status, html(&page)).into_response())
        }
    }
}

pub(super) async fn revoke(
    State(app): State<Shared>,
    operator: Operator,
    Path(name): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let refused = |problem| Refused::new(problem, &shell);
    form.agreed(&operator.0).map_err(refused)?;
    taken_back(&app, Operator::access(None), name)
        .await
        .map_err(refused)?;
    Ok(Redirect::to("/tokens?done=revoked").into_response())
}

/// Somebody reloads where a form was sent to.
pub(super) async fn back(_operator: Operator) -> Response {
    Redirect::to("/tokens").into_response()
}
