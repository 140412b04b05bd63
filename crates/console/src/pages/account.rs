//! Log in, log out, change the password.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use stockade_gateway::events::{Happening, Outcome};
use stockade_profile::Control;

use super::{Page, Refused};
use crate::admin::{Admin, Password};
use crate::http::{Elsewhere, LoggedIn, Problem, ProtectedForm, Source, fields, html};
use crate::session::{Session, forget_cookie};
use crate::state::{App, Shared};
use crate::view::{Nav, Shell};

#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct LoginPage {
    pub(crate) shell: Shell,
    pub(crate) fault: Option<String>,
}

#[derive(Template)]
#[template(path = "password.html")]
pub(crate) struct PasswordPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) must_change: bool,
    pub(crate) fault: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginForm {
    username: String,
    password: Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    #[serde(rename = "username")]
    _username: String,
    current: Password,
    new: Password,
    again: Password,
}

fn stranger(app: &App) -> Shell {
    Shell {
        nav: Nav::None,
        csrf: None,
        version: app.state.info.version.clone(),
    }
}

pub(super) async fn login_form(
    State(app): State<Shared>,
    session: Result<LoggedIn, Elsewhere>,
) -> Response {
    if session.is_ok() {
        return Redirect::to("/").into_response();
    }
    html(&LoginPage {
        shell: stranger(&app),
        fault: None,
    })
}

fn login_again(app: &App, status: StatusCode, fault: String) -> Response {
    (
        status,
        html(&LoginPage {
            shell: stranger(app),
            fault: Some(fault),
        }),
    )
        .into_response()
}

pub(super) async fn login(
    State(app): State<Shared>,
    source: Source,
    Form(form): Form<Vec<(String, String)>>,
) -> Page {
    let refused = |problem| Refused::new(problem, &stranger(&app));
    let form: LoginForm = fields(form).map_err(refused)?;
    let now = app.now();
    if let Err(too_many) = app.limit.attempt(source.ip(), now) {
        tracing::debug!(source = %source.ip(), "console: too many attempts to log in");
        let fault = format!("Too many attempts. Try again in {} s.", too_many.seconds);
        let mut response = login_again(&app, StatusCode::TOO_MANY_REQUESTS, fault);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, too_many.seconds.into());
        return Ok(response);
    }
    let session = in_turn(&app, move |app| {
        let right =
            Admin::verify(&*app.state.store, &form.password)?.filter(|_| form.username == "admin");
        Ok(right
            .map(|standing| Session::start(&*app.state.store, standing, now))
            .transpose()?)
    })
    .await
    .map_err(refused)?;
    let Some(session) = session else {
        tell(
            &app,
            Outcome::Refused,
            source,
            "a wrong password at the console's log-in",
        );
        return Ok(login_again(
            &app,
            StatusCode::UNAUTHORIZED,
            "That is not the password.".to_owned(),
        ));
    };
    app.limit.succeeded(source.ip());
    tell(
        &app,
        Outcome::Admitted,
        source,
        "the administrator logged in at the console",
    );
    Ok(arrive(&session))
}

/// Puts on record what happened with the administrator's access. The limit on attempts bounds how often.
fn tell(app: &App, outcome: Outcome, source: Source, reason: &str) {
    let happening = Happening {
        outcome,
        control: Control::Credentials,
        device: None,
        peer: source.0,
        reason: reason.to_owned(),
    };
    app.state.events.record(app.now(), happening);
}

/// Starts the session in the browser, and goes where it may go.
fn arrive(session: &Session) -> Response {
    let place = if session.standing.one_time {
        "/password"
    } else {
        "/"
    };
    (
        [(header::SET_COOKIE, session.set_cookie())],
        Redirect::to(place),
    )
        .into_response()
}

/// Work that hashes passwords, a few at a time so that memory has an end.
async fn in_turn<T: Send + 'static>(
    app: &Shared,
    work: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let _turn = app
        .hashing
        .acquire()
        .await
        .map_err(|closed| Problem::ours("check the password", &closed))?;
    app.blocking(work).await
}

pub(super) async fn logout(
    State(app): State<Shared>,
    LoggedIn(session): LoggedIn,
    form: ProtectedForm,
) -> Page {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    let refused = |problem| Refused::new(problem, &stranger(&app));
    let Nothing {} = form.open(&session).map_err(refused)?;
    app.blocking(move |app| Ok(session.end(&*app.state.store)?))
        .await
        .map_err(refused)?;
    Ok((
        [(header::SET_COOKIE, forget_cookie())],
        Redirect::to("/login"),
    )
        .into_response())
}

fn password_page(app: &App, session: &Session, fault: Option<String>) -> PasswordPage {
    let nav = if session.standing.one_time {
        Nav::None
    } else {
        Nav::Other
    };
    let shell = Shell {
        nav,
        csrf: Some(session.csrf()),
        version: app.state.info.version.clone(),
    };
    PasswordPage {
        shell,
        csrf: session.csrf(),
        must_change: session.standing.one_time,
        fault,
    }
}

pub(super) async fn password_form(
    State(app): State<Shared>,
    LoggedIn(session): LoggedIn,
) -> Response {
    html(&password_page(&app, &session, None))
}

pub(super) async fn change_password(
    State(app): State<Shared>,
    LoggedIn(session): LoggedIn,
    source: Source,
    form: ProtectedForm,
) -> Page {
    let empty = password_page(&app, &session, None);
    let refused = |problem| Refused::new(problem, &empty.shell);
    let form: PasswordForm = form.open(&session).map_err(refused)?;
    let again = |status, fault: String| {
        Ok((status, html(&password_page(&app, &session, Some(fault)))).into_response())
    };
    if !form.new.same(&form.again) {
        return again(
            StatusCode::BAD_REQUEST,
            "The two new passwords differ.".to_owned(),
        );
    }
    let now = app.now();
    // Whoever found an open session must not try passwords without end.
    if let Err(too_many) = app.limit.attempt(source.ip(), now) {
        return again(
            StatusCode::TOO_MANY_REQUESTS,
            format!("Too many attempts. Try again in {} s.", too_many.seconds),
        );
    }
    let outcome = in_turn(&app, move |app| {
        let store = &*app.state.store;
        let Some(standing) = Admin::verify(store, &form.current)? else {
            return Ok(Err("That is not the current password.".to_owned()));
        };
        match Admin::choose(store, standing, &form.current, &form.new, now)? {
            Ok(standing) => Ok(Ok(Session::start(store, standing, now)?)),
            Err(fault) => Ok(Err(fault.to_string())),
        }
    })
    .await
    .map_err(refused)?;
    match outcome {
        Ok(fresh) => {
            app.limit.succeeded(source.ip());
            tell(
                &app,
                Outcome::Changed,
                source,
                "the administrator's password was changed",
            );
            Ok(arrive(&fresh))
        }
        Err(fault) => again(StatusCode::BAD_REQUEST, fault),
    }
}
