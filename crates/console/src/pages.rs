//! The pages: each a struct and a template.

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::http::{Operator, Problem};
use crate::state::Shared;
use crate::view::{Nav, Shell};

mod account;
mod add;
mod data;
mod device;
mod erase;
mod events;
mod fleet;
mod models;
mod rollouts;
mod tokens;

/// Most bytes of a form; a profile's text is the longest, and each byte may take three in a form.
const MAX_FORM: usize = 512 * 1024;

/// A refusal, drawn as a page of the visitor's session.
pub(crate) struct Refused(Box<(Problem, Shell)>);

impl Refused {
    fn new(problem: Problem, shell: &Shell) -> Self {
        Self(Box::new((problem, shell.clone())))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (problem, shell) = *self.0;
        problem.page(shell)
    }
}

/// A page, or a page that says why not.
type Page = Result<Response, Refused>;

/// All pages.
pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(fleet::show))
        .route("/login", get(account::login_form).post(account::login))
        .route(
            "/logout",
            get(|| async { Redirect::to("/") }).post(account::logout),
        )
        .route(
            "/password",
            get(account::password_form).post(account::change_password),
        )
        .route("/events", get(events::show))
        .route("/devices/new", get(add::form).post(add::submit))
        .route("/devices/{id}", get(device::show))
        .route(
            "/devices/{id}/revoke",
            get(device::confirm_revoke).post(device::revoke),
        )
        .route(
            "/devices/{id}/quarantine",
            get(device::back).post(device::quarantine),
        )
        .route(
            "/devices/{id}/release",
            get(device::back).post(device::release),
        )
        .route(
            "/devices/{id}/clear-tamper",
            get(device::back).post(device::clear_tamper),
        )
        .route(
            "/devices/{id}/command",
            get(device::back).post(device::command),
        )
        .route(
            "/devices/{id}/code",
            get(device::back).post(device::new_code),
        )
        .route(
            "/devices/{id}/remove",
            get(device::back).post(device::remove),
        )
        .route("/models", get(models::list))
        .route(
            "/models/install",
            get(models::install_form).post(models::install),
        )
        .route("/models/{name}", get(models::show))
        .route("/rollouts", get(rollouts::list).post(rollouts::start))
        .route(
            "/rollouts/{id}/halt",
            get(rollouts::back).post(rollouts::halt),
        )
        .route(
            "/rollouts/{id}/resume",
            get(rollouts::back).post(rollouts::resume),
        )
        .merge(vault())
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(MAX_FORM))
}

/// What concerns the data.
fn vault() -> Router<Shared> {
    Router::new()
        .route("/data", get(data::list))
        .route("/data/log", get(data::log))
        .route("/data/{name}", get(data::show))
        .route("/data/{name}/risk", get(data::back).post(data::measure))
        .route("/data/{name}/stat", get(data::back).post(data::stat))
        .route("/data/{name}/release", get(data::back).post(data::release))
        .route("/data/{name}/records", get(data::back).post(data::records))
        .route(
            "/devices/{id}/export",
            get(device::back).post(erase::export),
        )
        .route(
            "/devices/{id}/erase",
            get(erase::confirm).post(erase::erase),
        )
        .route("/tokens", get(tokens::list).post(tokens::add))
        .route(
            "/tokens/{name}/revoke",
            get(tokens::back).post(tokens::revoke),
        )
}

async fn not_found(State(app): State<Shared>, operator: Operator) -> Response {
    let problem = Problem::not_found(
        "there is no such page",
        "the address may be mistyped, or the page has moved",
    );
    problem.page(operator.shell(&app, Nav::Other))
}

async fn not_allowed() -> Response {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this address does not take such a request",
        "open it in a browser",
    )
    .into_response()
}
