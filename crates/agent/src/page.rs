//! The device's own page, for the person who owns the device: log-in, how the device stands, mending, `UPnP`, the log.
//!
//! The page decides nothing. What it shows comes from the helper, and what is changed there is changed on the administrator's
//! password, which the helper checks by itself: who takes over this process wins none of that.

mod account;
mod assets;
mod case;
mod http;
mod mend;
mod ports;
mod sections;
mod session;
mod updates;
mod upnp;
mod view;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use askama::Template;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use stockade_api::helper::{self, Refusal};
use stockade_web::gate::{GateSettings, Permit};
use stockade_web::limit::LoginLimit;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::http::{Answer, BadForm, Form, go, html, text};
use self::session::{Session, Sessions};
use self::view::{Here, Shell, Words};
use crate::door::{self, Guest};
use crate::helper::{Helper, HelperError};
use crate::standing::Standing;

pub use self::session::{ABSOLUTE, COOKIE, IDLE};

/// Connections at once, of all sources and of one; one that has asked for something keeps its place for this long.
const PLACES: GateSettings = GateSettings {
    total: 32,
    per_source: 12,
    speaking: Some(Duration::from_secs(15)),
};
/// Request headers that take longer, or a connection idle for longer, are broken off.
const HEADERS: Duration = Duration::from_secs(15);
/// No connection lives longer than this.
const LIFETIME: Duration = Duration::from_mins(15);
/// Bytes of a request's head that are buffered: the least that hyper takes.
const MOST_HEAD: usize = 8 * 1024;

/// The page and who is at it.
#[derive(Debug)]
pub struct Page {
    helper: Helper,
    standing: Arc<Standing>,
    names: Vec<String>,
    sessions: Sessions,
    limit: LoginLimit,
    began: Instant,
    /// One password is checked at a time: it costs the helper memory.
    passwords: Semaphore,
    work: Mutex<Option<mend::Work>>,
}

/// A page that says what went wrong and where to go from there.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    shell: Shell,
    title: &'static str,
    text: Words,
    help: Words,
    back: &'static str,
}

/// Why a request was not carried out.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    title: &'static str,
    text: String,
    help: String,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, text: &str, help: &str) -> Self {
        Self {
            status,
            title,
            text: text.to_owned(),
            help: help.to_owned(),
        }
    }

    fn absent() -> Self {
        let text = "There is no such page on this device.";
        Self::new(StatusCode::NOT_FOUND, "Not found", text, "")
    }

    fn page(self, csrf: String) -> Answer {
        let page = MessagePage {
            shell: Shell::new(Here::Before, csrf),
            title: self.title,
            text: self.text.into(),
            help: self.help.into(),
            back: "/",
        };
        html(self.status, &page)
    }
}

impl From<BadForm> for Problem {
    fn from(bad: BadForm) -> Self {
        match bad {
            BadForm::Malformed => Self::new(
                StatusCode::BAD_REQUEST,
                "That did not work",
                "This form was not filled in right.",
                "Go back and try again.",
            ),
            BadForm::Forged => Self::new(
                StatusCode::FORBIDDEN,
                "Refused",
                "This request did not come from a page of your session.",
                "Go back, reload the page and try again.",
            ),
        }
    }
}

impl From<HelperError> for Problem {
    fn from(error: HelperError) -> Self {
        match error {
            HelperError::Refused(refused) => Self {
                status: status(refused.kind),
                title: "Not done",
                text: refused.why,
                help: refused.next,
            },
            HelperError::Away(_) | HelperError::Slow => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Not now",
                "The part of Stockade that has the rights on this device does not answer.",
                "It is started again by itself. If this lasts, look at the log of `stockade-helper`.",
            ),
        }
    }
}

/// The status of an answer that tells a refusal of the helper.
fn status(kind: Refusal) -> StatusCode {
    match kind {
        Refusal::Password => StatusCode::UNAUTHORIZED,
        Refusal::Wait(_) => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Changed | Refusal::Busy | Refusal::Stale => StatusCode::CONFLICT,
        Refusal::Failed => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Forbidden | Refusal::MustChange | Refusal::Signature | Refusal::Profile => {
            StatusCode::FORBIDDEN
        }
    }
}

impl Page {
    /// A page of the device that has these names, as they stand in addresses of browsers.
    pub fn new(helper: Helper, standing: Arc<Standing>, names: Vec<String>) -> Self {
        Self {
            helper,
            standing,
            names,
            sessions: Sessions::default(),
            limit: LoginLimit::default(),
            began: Instant::now(),
            passwords: Semaphore::new(1),
            work: Mutex::default(),
        }
    }

    /// Serves it over TLS, for good.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, config: Arc<ServerConfig>) {
        let receive = move |guest| Arc::clone(&self).converse(guest);
        door::serve(listener, config, PLACES, receive).await;
    }

    async fn converse(self: Arc<Self>, guest: Guest) {
        let Guest {
            stream,
            peer,
            here,
            place,
        } = guest;
        let service = hyper::service::service_fn(move |request| {
            let (page, place) = (Arc::clone(&self), Arc::clone(&place));
            async move {
                let answer = page.answer(request, peer.ip(), here, &place).await;
                Ok::<_, std::convert::Infallible>(http::secured(answer))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(MOST_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        // However it ends, there is nobody left to tell.
        drop(timeout(LIFETIME, connection).await);
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
        here: SocketAddr,
        place: &Permit,
    ) -> Answer {
        let headers = request.headers();
        if !http::for_us(headers, here, &self.names) {
            let says = "this device has another name: use its address\n";
            return text(StatusCode::MISDIRECTED_REQUEST, "text/plain", says);
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads && request.method() != Method::POST {
            let says = "this address does not take such a request\n";
            return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", says);
        }
        let own = stockade_web::from_own_page(|name| headers.get(name).map(HeaderValue::as_bytes));
        if !reads && !own {
            return Problem::from(BadForm::Forged).page(String::new());
        }
        place.spoke();
        if let Some(asset) = assets::serve(request.uri().path()) {
            return asset;
        }
        let session = http::cookie(headers).and_then(|it| self.sessions.find(it));
        let Some(session) = session else {
            return match (reads, request.uri().path()) {
                (true, "/login") => account::log_in_form(),
                (false, "/login") => account::log_in(&self, request, peer).await,
                _ => go("/login", None),
            };
        };
        let csrf = session.csrf();
        let done = if reads {
            self.show(&request, session).await
        } else {
            self.change(request, session, peer).await
        };
        done.unwrap_or_else(|problem| problem.page(csrf))
    }

    /// Pages.
    async fn show(
        self: &Arc<Self>,
        request: &Request<Incoming>,
        session: Session,
    ) -> Result<Answer, Problem> {
        let path = request.uri().path();
        if session.must_change && path != "/password" {
            return Ok(go("/password", None));
        }
        let query = request.uri().query().unwrap_or_default();
        match path {
            "/" => sections::overview(self, &session).await,
            "/login" => Ok(go("/", None)),
            "/password" => Ok(account::password_form(&session)),
            "/plan" => mend::plan(self, &session).await,
            "/undo" => Ok(mend::undo_form(&session)),
            "/work" => Ok(mend::work(self, &session)),
            "/blocked" => sections::blocked(self, &session).await,
            "/updates" => updates::show(self, &session).await,
            "/ports" => ports::show(self, &session).await,
            "/upnp" => upnp::show(self, &session).await,
            "/upnp/on" => upnp::confirm(self, &session, query).await,
            "/gateway" => sections::gateway(self, &session).await,
            "/log" => sections::log(self, &session).await,
            _ => Err(Problem::absent()),
        }
    }

    /// Requests that change something; each opens its form by the session's secret first.
    async fn change(
        self: &Arc<Self>,
        request: Request<Incoming>,
        session: Session,
        peer: IpAddr,
    ) -> Result<Answer, Problem> {
        let path = request.uri().path().to_owned();
        let form = Form::of(request, &session).await?;
        match path.as_str() {
            "/logout" => Ok(account::log_out(self, &session)),
            "/password" => account::change_password(self, &session, form, peer).await,
            _ if session.must_change => Ok(go("/password", None)),
            "/look" => sections::look(self).await,
            "/apply" => mend::apply(self, &session, form, peer),
            "/undo" => mend::undo(self, &session, form, peer),
            "/updates" => updates::begin(self, form, peer).await,
            "/ports" => ports::keep(self, form, peer).await,
            "/upnp/on" => upnp::switch_on(self, &session, form, peer).await,
            "/upnp/off" => upnp::switch_off(self).await,
            _ => Err(Problem::absent()),
        }
    }

    /// Counts an attempt with a password; too many are refused before the helper hears of them.
    fn attempt(&self, peer: IpAddr) -> Result<(), HelperError> {
        self.limit.attempt(peer, self.now()).map_err(|too_many| {
            HelperError::Refused(helper::Refused {
                kind: Refusal::Wait(too_many.seconds.into()),
                why: "There were too many attempts from where you are.".to_owned(),
                next: format!("Try again in {} s.", too_many.seconds),
            })
        })
    }

    /// Asks something with a password in it.
    async fn ask_with_password(
        &self,
        peer: IpAddr,
        request: &helper::Request,
    ) -> Result<helper::Answer, HelperError> {
        self.attempt(peer)?;
        let _turn = self.passwords.acquire().await;
        let answer = self.helper.ask(request).await?;
        self.limit.succeeded(peer);
        Ok(answer)
    }

    /// A time that no clock's jump changes: the limit's only use of it is how much has passed.
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + self.began.elapsed()
    }
}

/// An answer of a kind that was not asked for.
fn confused() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not now",
        "The helper gave an answer that this page does not understand.",
        "Both must be of the same version.",
    )
}
