//! Log in, log out, change the password.

use std::net::IpAddr;

use askama::Template;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use stockade_api::helper::{Answer as Told, Request as Ask};

use super::http::{Answer, Form, go, html};
use super::session::{Session, forget};
use super::view::{Here, Shell, Words, fault};
use super::{Page, Problem, confused, status};
use crate::helper::HelperError;

#[derive(Template)]
#[template(path = "login.html")]
struct LogInPage {
    shell: Shell,
    fault: Option<Words>,
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    shell: Shell,
    must_change: bool,
    fault: Option<Words>,
}

pub(super) fn log_in_form() -> Answer {
    log_in_again(StatusCode::OK, None)
}

fn log_in_again(status: StatusCode, fault: Option<Words>) -> Answer {
    let shell = Shell::new(Here::Before, String::new());
    html(status, &LogInPage { shell, fault })
}

pub(super) async fn log_in(page: &Page, request: Request<Incoming>, peer: IpAddr) -> Answer {
    let ask = async {
        let mut form = Form::of_stranger(request).await?;
        let password = form.tried("password", peer)?;
        Ok::<_, Problem>(Ask::LogIn { password })
    };
    let ask = match ask.await {
        Ok(ask) => ask,
        Err(problem) => return problem.page(String::new()),
    };
    match page.ask_with_password(peer, &ask).await {
        Ok(Told::LoggedIn { must_change }) => match arrive(page, must_change) {
            Ok(answer) => answer,
            Err(problem) => problem.page(String::new()),
        },
        Ok(_) => confused().page(String::new()),
        Err(HelperError::Refused(refused)) => {
            log_in_again(status(refused.kind), Some(fault(&refused)))
        }
        Err(away) => Problem::from(away).page(String::new()),
    }
}

/// Starts a session in the browser, and goes where it may go.
fn arrive(page: &Page, must_change: bool) -> Result<Answer, Problem> {
    let session = page.sessions.start(must_change).map_err(|_| {
        let text = "This device has no random numbers for a session now.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Not now", text, "")
    })?;
    let place = if must_change { "/password" } else { "/" };
    Ok(go(place, Some(session.cookie())))
}

pub(super) fn log_out(page: &Page, session: &Session) -> Answer {
    page.sessions.end(session);
    go("/login", Some(forget()))
}

pub(super) fn password_form(session: &Session) -> Answer {
    password_again(session, StatusCode::OK, None)
}

fn password_again(session: &Session, status: StatusCode, fault: Option<Words>) -> Answer {
    let here = if session.must_change {
        Here::Before
    } else {
        Here::Other
    };
    let page = PasswordPage {
        shell: Shell::new(here, session.csrf()),
        must_change: session.must_change,
        fault,
    };
    html(status, &page)
}

pub(super) async fn change_password(
    page: &Page,
    session: &Session,
    mut form: Form,
    peer: IpAddr,
) -> Result<Answer, Problem> {
    let old = form.tried("current", peer)?;
    let new = form.password("new")?;
    // Both were typed by the same person a moment ago: there is nobody to learn from how long this takes.
    if new.expose() != form.take("again")?.as_str() {
        let says = "The two new passwords differ.";
        let again = password_again(session, StatusCode::BAD_REQUEST, Some(says.into()));
        return Ok(again);
    }
    match page
        .ask_with_password(peer, &Ask::ChangePassword { old, new })
        .await
    {
        Ok(Told::Done) => {
            page.sessions.end_all();
            arrive(page, false)
        }
        Ok(_) => Err(confused()),
        Err(HelperError::Refused(refused)) => {
            let status = status(refused.kind);
            Ok(password_again(session, status, Some(fault(&refused))))
        }
        Err(away) => Err(away.into()),
    }
}
