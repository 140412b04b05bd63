//! Who asks the API, and whether they may: the one way in, over https and over the socket.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use stockade_vault::{Access, Action, Entry, Outcome, Role};

use crate::api::table::{self, Open};
use crate::http::{CSRF_HEADER, Problem, Source, session_of};
use crate::state::Shared;
use crate::token::{self, ADMINISTRATOR, SOCKET};

/// Who asks. What the data is for is set by whoever reads the request.
pub(crate) struct By(pub(crate) Access);

impl By {
    /// The same, for a purpose.
    pub(crate) fn wanting(self, purpose: Option<String>) -> Access {
        Access { purpose, ..self.0 }
    }
}

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // Without the gate nobody is anybody.
        let access = parts.extensions.get::<Access>().cloned();
        access.map(Self).ok_or_else(not_logged_in)
    }
}

/// Lets through who may call the route: for https.
pub(crate) async fn https(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    // Who shows a token is judged by it alone.
    let access = if request.headers().contains_key(header::AUTHORIZATION) {
        let text = bearer(request.headers()).map(str::to_owned);
        by_token(&app, text, Source::of(request.extensions())).await
    } else {
        by_session(&app, &mut request).await
    };
    match access {
        Ok(access) => pass(&app, access, request, next).await,
        Err(problem) => {
            let unknown = problem.status == StatusCode::UNAUTHORIZED;
            let mut response = problem.into_response();
            if unknown {
                // RFC 6750 section 3.
                let bearer = HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, bearer);
            }
            response
        }
    }
}

/// The same for the Unix socket, whose file says who may open it: the operator.
pub(crate) async fn socket(State(app): State<Shared>, request: Request, next: Next) -> Response {
    pass(&app, operator(SOCKET), request, next).await
}

/// Asks the table, and hands on who asks.
async fn pass(app: &Shared, access: Access, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let open = table::open(request.method(), path.map_or("", MatchedPath::as_str));
    let open = match open {
        Ok(open) => open,
        Err(problem) => return problem.into_response(),
    };
    if !open.to().contains(&access.role.name()) {
        return refused(app, access, open).await.into_response();
    }
    request.extensions_mut().insert(access);
    next.run(request).await
}

/// Tells, and has it in the log where it was for data.
async fn refused(app: &Shared, access: Access, open: Open) -> Problem {
    let role = access.role.name();
    let problem = Problem::new(
        StatusCode::FORBIDDEN,
        format!("the role {role} may not do this"),
        "what each role may do is in docs/access.md",
    );
    let Open::For(action) = open else {
        return problem;
    };
    match log(app, access, action, |entry| {
        entry.because(Outcome::Refused, "role")
    })
    .await
    {
        Ok(()) => problem,
        Err(problem) => problem,
    }
}

/// Puts into the vault's log, where one runs here, what was done. Before it is answered.
pub(crate) async fn log(
    app: &Shared,
    access: Access,
    action: Action,
    more: impl FnOnce(Entry) -> Entry + Send + 'static,
) -> Result<(), Problem> {
    let now = app.now();
    app.blocking(move |app| {
        if let Some(vault) = &app.state.vault {
            let entry = more(Entry::new(now, &access, action));
            let written = vault.log().append(&entry);
            let _receipt =
                written.map_err(|error| Problem::ours("write the vault's log", &error))?;
        }
        Ok(())
    })
    .await
}

fn operator(who: &str) -> Access {
    Access {
        who: who.to_owned(),
        role: Role::Operator,
        purpose: None,
    }
}

/// Who has the token that the request shows (RFC 6750 section 2.1).
async fn by_token(app: &Shared, text: Option<String>, source: Source) -> Result<Access, Problem> {
    let text = text.ok_or_else(no_token)?;
    let now = app.now();
    let found = app
        .blocking(move |app| Ok(token::find(&*app.state.store, &text, now)?))
        .await?;
    // Only failures count: 256 bits are not guessed, and whoever tries keeps nobody out who has a token.
    found.ok_or_else(|| match app.tokens.attempt(source.ip(), now) {
        Ok(()) => no_token(),
        Err(wait) => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests with tokens that are none",
            format!("wait {} seconds", wait.seconds),
        ),
    })
}

/// The token that a request shows, if it shows one (RFC 6750 section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).into_iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

fn no_token() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "this is no token, or it is over, or was taken back",
        "ask an operator for one: stockade token add NAME --role ROLE",
    )
}

fn not_logged_in() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "not logged in",
        "log in first, or use the socket admin.sock in the data directory",
    )
}

/// The operator, if they are logged in, and if what changes something carries the session's secret.
async fn by_session(app: &Shared, request: &mut Request) -> Result<Access, Problem> {
    let session = session_of(request.headers(), app, true)
        .await?
        .ok_or_else(not_logged_in)?;
    if session.standing.one_time {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "the one-time password must be changed first",
            "log in with a browser and choose one",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let sent = request
            .headers()
            .get(CSRF_HEADER)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let _genuine = session.check(sent).map_err(|_forged| {
            Problem::new(
                StatusCode::FORBIDDEN,
                "the session's token is missing or wrong",
                "send the value of GET /api/v1/session as x-csrf-token",
            )
        })?;
    }
    request.extensions_mut().insert(Arc::new(session));
    Ok(operator(ADMINISTRATOR))
}
