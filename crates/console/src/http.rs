//! Requests and answers: who asks, forms that only a check opens, refusals that say what to do next.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::de::DeserializeOwned;
use serde::de::value::{Error as FormError, MapDeserializer};
use serde::{Deserialize, Serialize};

use crate::admin::AdminError;
use crate::serve::Peer;
use crate::session::{COOKIE, Session};
use crate::state::Shared;
use crate::token::ADMINISTRATOR;
use crate::view::{Nav, Shell};
use stockade_vault::{Access, Role};
use stockade_web::secret::NoRandomness;

/// How long any answer may take; event streams have begun long before.
const ANSWER: Duration = Duration::from_secs(30);

/// Header that carries the session's secret with requests of a program.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

/// A page that says what went wrong and where to go from there.
#[derive(Template)]
#[template(path = "message.html")]
pub(crate) struct MessagePage {
    pub(crate) shell: Shell,
    pub(crate) title: &'static str,
    pub(crate) text: String,
    pub(crate) help: Option<String>,
    pub(crate) back: String,
    pub(crate) back_label: &'static str,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) help: String,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        error: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error: error.into(),
            help: help.into(),
        }
    }

    pub(crate) fn not_found(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, help)
    }

    pub(crate) fn bad(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, help)
    }

    pub(crate) fn conflict(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error, help)
    }

    /// Something failed that the visitor cannot mend and need not know in detail: that is in the log.
    pub(crate) fn ours(doing: &'static str, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            source = inner.source();
        }
        tracing::error!(doing, error = %text, "console: request failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the gateway could not {doing}"),
            "nothing was changed; the gateway's log says why",
        )
    }

    pub(crate) fn forged() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "this request did not come from a page of your session",
            "go back, reload the page and try again",
        )
    }

    /// As a page.
    pub(crate) fn page(self, shell: Shell) -> Response {
        let title = match self.status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::FORBIDDEN => "Refused",
            StatusCode::SERVICE_UNAVAILABLE => "Not now",
            StatusCode::CONFLICT => "That does not fit",
            _ => "That did not work",
        };
        let page = MessagePage {
            shell,
            title,
            text: sentence(&self.error),
            help: (!self.help.is_empty()).then(|| sentence(&self.help)),
            back: "/".to_owned(),
            back_label: "To the fleet",
        };
        (self.status, html(&page)).into_response()
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        Self::ours("look up the session", &error)
    }
}

impl From<NoRandomness> for Problem {
    fn from(error: NoRandomness) -> Self {
        Self::ours("make a secret", &error)
    }
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    error: &'a str,
    help: &'a str,
}

/// As JSON, for programs.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            error: &self.error,
            help: &self.help,
        };
        (self.status, Json(body)).into_response()
    }
}

/// The fragment as a sentence: capital first, full stop last.
pub(crate) fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    let mut out: String = chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default();
    if !out.is_empty() && !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

/// Renders a page.
pub(crate) fn html<T: Template>(page: &T) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => Problem::ours("draw the page", &error).into_response(),
    }
}

/// Somebody who is logged in, perhaps with a password that must be changed first.
pub(crate) struct LoggedIn(pub(crate) Session);

/// Somebody who is logged in and may do everything.
pub(crate) struct Operator(pub(crate) Session);

/// The visitor must go somewhere else first.
pub(crate) enum Elsewhere {
    To(&'static str),
    Problem(Box<Problem>),
}

impl IntoResponse for Elsewhere {
    fn into_response(self) -> Response {
        match self {
            Self::To(place) => Redirect::to(place).into_response(),
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

/// The session that the request's cookie names, if it lives.
pub(crate) async fn session_of(
    headers: &HeaderMap,
    app: &Shared,
    touch: bool,
) -> Result<Option<Session>, Problem> {
    let Some(cookie) = cookie(headers).map(str::to_owned) else {
        return Ok(None);
    };
    let now = app.now();
    app.blocking(move |app| Ok(Session::find(&*app.state.store, &cookie, now, touch)?))
        .await
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

impl FromRequestParts<Shared> for LoggedIn {
    type Rejection = Elsewhere;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Elsewhere> {
        match session_of(&parts.headers, app, true).await {
            Ok(Some(session)) => Ok(Self(session)),
            Ok(None) => Err(Elsewhere::To("/login")),
            Err(problem) => Err(Elsewhere::Problem(Box::new(problem))),
        }
    }
}

impl FromRequestParts<Shared> for Operator {
    type Rejection = Elsewhere;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Elsewhere> {
        let LoggedIn(session) = LoggedIn::from_request_parts(parts, app).await?;
        if session.standing.one_time {
            Err(Elsewhere::To("/password"))
        } else {
            Ok(Self(session))
        }
    }
}

impl Operator {
    /// As the vault knows them, and what they want its data for.
    pub(crate) fn access(purpose: Option<String>) -> Access {
        Access {
            who: ADMINISTRATOR.to_owned(),
            role: Role::Operator,
            purpose,
        }
    }

    pub(crate) fn shell(&self, app: &Shared, nav: Nav) -> Shell {
        Shell {
            nav,
            csrf: Some(self.0.csrf()),
            version: app.state.info.version.clone(),
        }
    }
}

/// The address a log-in came from; requests over no network have none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source(pub(crate) Option<SocketAddr>);

impl Source {
    /// What attempts are counted by; those without an address share one.
    pub(crate) fn ip(self) -> IpAddr {
        self.0
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
    }
}

impl Source {
    /// Of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        Self(extensions.get::<Peer>().map(|peer| peer.0))
    }
}

impl<S: Sync> FromRequestParts<S> for Source {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

/// A form as it was sent. What is in it comes out only through [`ProtectedForm::open`].
#[must_use]
pub(crate) struct ProtectedForm {
    fields: Vec<(String, String)>,
}

impl ProtectedForm {
    /// The form's fields, if it carries the secret of this session. Unknown, missing and repeated
    /// fields are refused.
    pub(crate) fn open<T: DeserializeOwned>(self, session: &Session) -> Result<T, Problem> {
        let mut csrf = None;
        let mut rest = Vec::with_capacity(self.fields.len());
        for (name, value) in self.fields {
            if name != "csrf" {
                rest.push((name, value));
            } else if csrf.replace(value).is_some() {
                return Err(Problem::forged());
            }
        }
        let _genuine = session
            .check(&csrf.unwrap_or_default())
            .map_err(|_forged| Problem::forged())?;
        fields(rest)
    }

    /// A form that only says yes: that it is of this session, and says nothing else.
    pub(crate) fn agreed(self, session: &Session) -> Result<(), Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Yes {}

        let Yes {} = self.open(session)?;
        Ok(())
    }
}

/// What makes a browser keep the answer as a file of this name.
pub(crate) fn attachment(
    name: &str,
    kind: &'static str,
) -> Result<[(HeaderName, HeaderValue); 2], Problem> {
    let named = HeaderValue::try_from(format!("attachment; filename=\"{name}\""))
        .map_err(|error| Problem::ours("name the file", &error))?;
    Ok([
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, named),
    ])
}

/// Fields of a form as a type; each is text.
pub(crate) fn fields<T: DeserializeOwned>(fields: Vec<(String, String)>) -> Result<T, Problem> {
    T::deserialize(MapDeserializer::<_, FormError>::new(fields.into_iter())).map_err(|error| {
        Problem::bad(
            format!("this form was not filled in right: {error}"),
            "go back and try again",
        )
    })
}

impl FromRequest<Shared> for ProtectedForm {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        match Form::<Vec<(String, String)>>::from_request(request, app).await {
            Ok(Form(fields)) => Ok(Self { fields }),
            Err(rejection) => Err(Problem::new(
                rejection.status(),
                "this form cannot be read",
                "go back and try again with less text",
            )),
        }
    }
}

/// Refuses requests that change something and come from a page of another origin: first by what the browser
/// says of the request (Fetch Metadata), for older ones by the origin.
pub(crate) async fn same_origin(request: Request, next: Next) -> Response {
    if from_own_page(request.method(), request.headers()) {
        next.run(request).await
    } else {
        Problem::forged().into_response()
    }
}

fn from_own_page(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    stockade_web::from_own_page(|name| headers.get(name).map(HeaderValue::as_bytes))
}

/// Ends requests that take too long, such as bodies that trickle in.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER, next.run(request)).await {
        Ok(response) => response,
        Err(_late) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the request took too long",
            "try again",
        )
        .into_response(),
    }
}
