//! The administration API: JSON over https for programs that log in, and over the Unix socket for the command line.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use stockade_gateway::events::{Event, Outcome};
use stockade_gateway::name::DeviceId;
use stockade_gateway::registry::{DeviceRecord, EnrolmentCode};
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::Instant;

use crate::act::{self, Action, FaultView, NotInstalled};
use crate::fleet;
use crate::http::{Problem, session_of};
use crate::session::Session;
use crate::state::{Command, Shared};

mod records;

/// Most bytes of a JSON body.
const MAX_BODY: usize = 512 * 1024;
/// Most entries of one answer.
const MAX_LIMIT: usize = 1_000;
/// How often an event stream proves that it lives, and that its session does.
const PULSE: StdDuration = StdDuration::from_secs(15);

/// The API without its gate.
pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/session", get(session))
        .route("/api/v1/devices", get(devices).post(add))
        .route("/api/v1/devices/{id}", get(device).delete(remove))
        .route("/api/v1/devices/{id}/code", post(renew_code))
        .route("/api/v1/devices/{id}/quarantine", post(quarantine))
        .route("/api/v1/devices/{id}/release", post(release))
        .route("/api/v1/devices/{id}/revoke", post(revoke))
        .route("/api/v1/models", get(models))
        .route("/api/v1/models/{name}", get(model))
        .route("/api/v1/profiles", put(install))
        .route("/api/v1/events", get(events))
        .route("/api/v1/events/stream", get(event_stream))
        .route("/api/v1/vault/records", get(records::list))
        .route("/api/v1/vault/counters", get(records::counters))
        .route("/api/v1/publish", post(publish))
        .route(
            "/api/{*rest}",
            get(unknown)
                .post(unknown)
                .put(unknown)
                .delete(unknown)
                .patch(unknown),
        )
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn unknown() -> Problem {
    Problem::not_found(
        "there is no such address in the API",
        "the addresses are listed in docs/console.md",
    )
}

async fn not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this address does not take this method",
        "the methods are listed in docs/console.md",
    )
}

/// A JSON body, strictly of its type.
struct Body<T>(T);

impl<T: serde::de::DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, app).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(body_problem(&rejection)),
        }
    }
}

fn body_problem(rejection: &JsonRejection) -> Problem {
    let status = rejection.status();
    let help = match rejection {
        JsonRejection::MissingJsonContentType(_) => "send content-type: application/json",
        _ => "the fields of each request are listed in docs/console.md",
    };
    Problem::new(status, rejection.body_text(), help)
}

/// Query parameters, strictly of their type.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: serde::de::DeserializeOwned> FromRequestParts<Shared> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        app: &Shared,
    ) -> Result<Self, Problem> {
        let wrong = |r: QueryRejection| {
            Problem::bad(
                r.body_text(),
                "the parameters are listed in docs/console.md",
            )
        };
        Query::<T>::from_request_parts(parts, app)
            .await
            .map(|Query(asked)| Self(asked))
            .map_err(wrong)
    }
}

/// The part of the path that names something.
struct Named(String);

impl FromRequestParts<Shared> for Named {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        app: &Shared,
    ) -> Result<Self, Problem> {
        let wrong = |r: PathRejection| {
            Problem::bad(r.body_text(), "names consist of a-z, 0-9, `.`, `_` and `-`")
        };
        Path::<String>::from_request_parts(parts, app)
            .await
            .map(|Path(name)| Self(name))
            .map_err(wrong)
    }
}

#[derive(Serialize)]
struct StatusBody {
    version: String,
    ca_fingerprint: String,
    est_url: String,
    mqtt_address: String,
    trust_domain: String,
    devices: usize,
    models: usize,
    #[serde(with = "time::serde::rfc3339")]
    now: OffsetDateTime,
}

async fn status(State(app): State<Shared>) -> Json<StatusBody> {
    let now = app.now();
    let info = app.state.info.clone();
    Json(StatusBody {
        version: info.version,
        ca_fingerprint: info.ca_fingerprint,
        est_url: info.est_url,
        mqtt_address: info.mqtt_address,
        trust_domain: info.trust_domain.to_string(),
        devices: fleet::devices(&app.state, now).len(),
        models: fleet::models(&app.state).len(),
        now,
    })
}

#[derive(Serialize)]
struct SessionBody {
    csrf: Option<String>,
}

async fn session(session: Option<Extension<Arc<Session>>>) -> Json<SessionBody> {
    Json(SessionBody {
        csrf: session.map(|Extension(session)| session.csrf()),
    })
}

#[derive(Serialize)]
struct CertificateBody {
    fingerprint: String,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
}

#[derive(Serialize)]
struct ViolationBody {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    control: String,
    reason: String,
}

#[derive(Serialize)]
struct DeviceBody {
    id: String,
    model: String,
    state: &'static str,
    reasons: Vec<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    added: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    code_expires: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    last_seen: Option<OffsetDateTime>,
    last_peer: Option<String>,
    violations: u64,
    violations_last_minute: u64,
    recent_violations: Vec<ViolationBody>,
    certificate: Option<CertificateBody>,
}

impl From<&DeviceRecord> for DeviceBody {
    fn from(record: &DeviceRecord) -> Self {
        let device = fleet::Device::from(record);
        Self {
            id: device.id,
            model: device.model,
            state: record.state.as_str(),
            reasons: device.reasons,
            since: device.since,
            added: record.added,
            code_expires: record.code_expires,
            last_seen: device.seen,
            last_peer: record.last_peer.map(|peer| peer.to_string()),
            violations: device.violations_total,
            violations_last_minute: device.violations_minute,
            recent_violations: record
                .recent_violations
                .iter()
                .map(|noted| ViolationBody {
                    at: noted.at,
                    control: noted.control.clone(),
                    reason: noted.reason.clone(),
                })
                .collect(),
            certificate: record
                .certificate
                .as_ref()
                .map(|certificate| CertificateBody {
                    fingerprint: crate::secret::hex(&certificate.fingerprint),
                    not_after: certificate.not_after,
                }),
        }
    }
}

#[derive(Serialize)]
struct DevicesBody {
    devices: Vec<DeviceBody>,
}

async fn devices(State(app): State<Shared>) -> Json<DevicesBody> {
    let devices = app
        .state
        .registry
        .list(app.now())
        .iter()
        .map(DeviceBody::from)
        .collect();
    Json(DevicesBody { devices })
}

#[derive(Serialize)]
struct ShownBody {
    #[serde(flatten)]
    device: DeviceBody,
    spiffe: String,
    profile_version: Option<u64>,
    words: Vec<WordBody>,
}

#[derive(Serialize)]
struct WordBody {
    control: &'static str,
    text: String,
}

fn word_bodies(profile: &stockade_profile::Profile, device: Option<&str>) -> Vec<WordBody> {
    let sentences = fleet::sentences(profile, device);
    sentences
        .into_iter()
        .map(|(control, text)| WordBody { control, text })
        .collect()
}

async fn device(State(app): State<Shared>, Named(id): Named) -> Result<Json<ShownBody>, Problem> {
    let record = fleet::record(&app.state, &id, app.now())?;
    let profile = app.state.registry.profile(&record.name.model);
    Ok(Json(ShownBody {
        device: DeviceBody::from(&record),
        spiffe: record.name.spiffe(&app.state.info.trust_domain),
        profile_version: profile.as_ref().map(|p| p.device.version),
        words: profile
            .as_deref()
            .map(|p| word_bodies(p, Some(&id)))
            .unwrap_or_default(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    model: String,
    id: String,
}

#[derive(Serialize)]
struct AddedBody {
    code: String,
    #[serde(with = "time::serde::rfc3339")]
    expires: OffsetDateTime,
    est_url: String,
    ca_fingerprint: String,
}

fn added(app: &Shared, code: &EnrolmentCode) -> Response {
    let answer = AddedBody {
        code: code.reveal().to_owned(),
        expires: code.expires(),
        est_url: app.state.info.est_url.clone(),
        ca_fingerprint: app.state.info.ca_fingerprint.clone(),
    };
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn renew_code(State(app): State<Shared>, Named(id): Named) -> Result<Response, Problem> {
    let (_name, code) = act::renew_code(&app, &id).await?;
    Ok(added(&app, &code))
}

async fn remove(State(app): State<Shared>, Named(id): Named) -> Result<StatusCode, Problem> {
    act::remove(&app, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add(State(app): State<Shared>, Body(body): Body<AddBody>) -> Result<Response, Problem> {
    let device = act::add(&app, &body.model, &body.id).await?;
    Ok(added(&app, &device.code))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    #[serde(default)]
    reason: String,
}

async fn change(
    app: Shared,
    id: String,
    action: Action,
    reason: &str,
) -> Result<Json<DeviceBody>, Problem> {
    let id = act::on_device(&app, &id, action, reason).await?;
    let record = fleet::record(&app.state, id.as_str(), app.now())?;
    Ok(Json(DeviceBody::from(&record)))
}

async fn quarantine(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<ReasonBody>,
) -> Result<Json<DeviceBody>, Problem> {
    change(app, id, Action::Quarantine, &body.reason).await
}

async fn release(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<ReasonBody>,
) -> Result<Json<DeviceBody>, Problem> {
    change(app, id, Action::Release, &body.reason).await
}

async fn revoke(
    State(app): State<Shared>,
    Named(id): Named,
    Body(body): Body<ReasonBody>,
) -> Result<Json<DeviceBody>, Problem> {
    change(app, id, Action::Revoke, &body.reason).await
}

#[derive(Serialize)]
struct ModelBody {
    model: String,
    manufacturer: String,
    version: u64,
    devices: usize,
}

#[derive(Serialize)]
struct ModelsBody {
    models: Vec<ModelBody>,
}

async fn models(State(app): State<Shared>) -> Json<ModelsBody> {
    let models = fleet::models(&app.state)
        .into_iter()
        .map(|m| ModelBody {
            model: m.name,
            manufacturer: m.manufacturer,
            version: m.version,
            devices: m.devices,
        })
        .collect();
    Json(ModelsBody { models })
}

#[derive(Serialize)]
struct ModelShownBody {
    model: String,
    manufacturer: String,
    version: u64,
    words: Vec<WordBody>,
}

async fn model(
    State(app): State<Shared>,
    Named(name): Named,
) -> Result<Json<ModelShownBody>, Problem> {
    let profile = fleet::profile(&app.state, &name)?;
    Ok(Json(ModelShownBody {
        model: profile.device.model.to_string(),
        manufacturer: profile.device.manufacturer.to_string(),
        version: profile.device.version,
        words: word_bodies(&profile, None),
    }))
}

#[derive(Serialize)]
struct InstalledBody {
    model: String,
    version: u64,
    changed: bool,
}

#[derive(Serialize)]
struct FaultsBody {
    error: String,
    help: &'static str,
    faults: Vec<FaultView>,
}

async fn install(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let essence = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let bytes = axum::body::Bytes::from_request(request, &app)
        .await
        .map_err(|rejection| {
            Problem::new(
                rejection.status(),
                rejection.body_text(),
                "a profile is at most 512 KiB long",
            )
        })?;
    let outcome = match essence.as_str() {
        "text/toml" | "application/toml" => match String::from_utf8(bytes.into()) {
            Ok(source) => act::install_text(&app, source).await,
            Err(_not_text) => {
                return Err(Problem::bad("the profile is not UTF-8", "save it as UTF-8"));
            }
        },
        "application/cose" => act::install_signed(&app, bytes.into()).await,
        _ => {
            let help = "send text/toml, or application/cose for a signed profile";
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "no profile of this content type",
                help,
            ));
        }
    };
    match outcome {
        Ok(installed) => {
            let body = InstalledBody {
                model: installed.model,
                version: installed.version,
                changed: installed.changed,
            };
            Ok(Json(body).into_response())
        }
        Err(NotInstalled::Problem(problem)) => Err(problem),
        Err(NotInstalled::Faults(faults)) => {
            let body = FaultsBody {
                error: format!(
                    "the profile has {} faults; nothing was installed",
                    faults.len()
                ),
                help: "`stockade profile check FILE` shows each with its place",
                faults,
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
        }
    }
}

/// Which events are wanted.
#[derive(Debug, Clone)]
pub(crate) struct EventFilter {
    device: Option<String>,
    outcome: Option<Outcome>,
}

impl EventFilter {
    /// Reads what was asked for; an outcome that does not exist is no filter.
    pub(crate) fn new(device: &str, outcome: &str) -> Self {
        let all = [
            Outcome::Admitted,
            Outcome::Refused,
            Outcome::Changed,
            Outcome::Alarm,
        ];
        let device = device.trim();
        Self {
            device: (!device.is_empty()).then(|| device.chars().take(64).collect()),
            outcome: all.into_iter().find(|known| known.as_str() == outcome),
        }
    }

    pub(crate) fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    pub(crate) fn outcome(&self) -> Option<&'static str> {
        self.outcome.map(Outcome::as_str)
    }

    /// Whether the device that is asked for is one that can exist.
    pub(crate) fn possible(&self) -> bool {
        self.device
            .as_deref()
            .is_none_or(|device| DeviceId::new(device).is_ok())
    }

    pub(crate) fn wants(&self, event: &Event) -> bool {
        self.device
            .as_deref()
            .is_none_or(|device| event.device.as_deref() == Some(device))
            && self.outcome.is_none_or(|outcome| event.outcome == outcome)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EventsAsked {
    after: u64,
    limit: usize,
    device: String,
    outcome: String,
}

impl Default for EventsAsked {
    fn default() -> Self {
        Self {
            after: 0,
            limit: MAX_LIMIT,
            device: String::new(),
            outcome: String::new(),
        }
    }
}

impl EventsAsked {
    fn filter(&self) -> Result<EventFilter, Problem> {
        let filter = EventFilter::new(&self.device, &self.outcome);
        if filter.outcome.is_none() && !self.outcome.is_empty() {
            return Err(Problem::bad(
                "no such outcome",
                "`outcome` is admitted, refused, changed or alarm",
            ));
        }
        Ok(filter)
    }
}

#[derive(Serialize)]
struct EventsBody {
    events: Vec<Event>,
    /// Where to go on: `after` of the next request.
    next: u64,
}

async fn events(
    State(app): State<Shared>,
    Asked(asked): Asked<EventsAsked>,
) -> Result<Json<EventsBody>, Problem> {
    let filter = asked.filter()?;
    let after = known(&app, asked.after);
    let mut events = app.state.events.after(after, usize::MAX);
    events.retain(|event| filter.wants(event));
    events.truncate(asked.limit.min(MAX_LIMIT));
    let next = events.last().map_or(after, |event| event.seq);
    Ok(Json(EventsBody { events, next }))
}

/// What an event stream remembers between two messages.
struct Watching {
    app: Shared,
    filter: EventFilter,
    /// Of this run, but from before the stream began: the latest few, and the next one is last.
    backlog: Vec<Event>,
    last: u64,
    live: broadcast::Receiver<Event>,
    /// The cookie whose session must live on, or nothing on the Unix socket.
    headers: Option<HeaderMap>,
    next_pulse: Instant,
    _place: OwnedSemaphorePermit,
}

/// The number to go on from. One that was not given out yet is from before the gateway was started anew.
fn known(app: &Shared, after: u64) -> u64 {
    let last = app
        .state
        .events
        .latest(None, 1)
        .first()
        .map_or(0, |event| event.seq);
    if after > last { 0 } else { after }
}

async fn event_stream(
    State(app): State<Shared>,
    session: Option<Extension<Arc<Session>>>,
    headers: HeaderMap,
    Asked(asked): Asked<EventsAsked>,
) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&app.streams).try_acquire_owned() else {
        let help = "close a window that shows live events";
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many event streams are open",
            help,
        ));
    };
    // A browser that lost the connection says what it saw last (HTML, section 9.2.4), which is newer than the address.
    let resumed = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.parse().ok());
    // Watched before the past is read, so that nothing is lost in between; what comes twice is told apart by number.
    let live = app.state.events.watch();
    let after = known(&app, resumed.unwrap_or(asked.after));
    let mut backlog = app.state.events.latest(None, MAX_LIMIT);
    backlog.retain(|event| event.seq > after);
    let watching = Watching {
        filter: asked.filter()?,
        backlog,
        last: after,
        live,
        headers: session.is_some().then_some(headers),
        next_pulse: Instant::now() + PULSE,
        app,
        _place: place,
    };
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Sse::new(messages(watching))).into_response())
}

fn messages(watching: Watching) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold(watching, |mut watching| async move {
        let message = watching.next().await?;
        Some((Ok(message), watching))
    })
}

impl Watching {
    /// The next message; none when the session or the log has ended.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.backlog.pop() {
                if let Some(message) = self.message(&event) {
                    return Some(message);
                }
                continue;
            }
            tokio::select! {
                received = self.live.recv() => match received {
                    Ok(event) => {
                        if let Some(message) = self.message(&event) {
                            return Some(message);
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        return Some(sse::Event::default().event("missed").data(missed.to_string()));
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep_until(self.next_pulse) => {
                    self.next_pulse = Instant::now() + PULSE;
                    if !self.welcome().await {
                        return None;
                    }
                    return Some(sse::Event::default().comment("alive"));
                }
            }
        }
    }

    /// The event as a message, if it is new and wanted.
    fn message(&mut self, event: &Event) -> Option<sse::Event> {
        if event.seq <= self.last {
            return None;
        }
        self.last = event.seq;
        if !self.filter.wants(event) {
            return None;
        }
        let data = serde_json::to_string(event).ok()?;
        Some(sse::Event::default().id(event.seq.to_string()).data(data))
    }

    /// Whether the session the stream began with still lives. Watching does not lengthen it.
    async fn welcome(&self) -> bool {
        match &self.headers {
            None => true,
            Some(headers) => matches!(session_of(headers, &self.app, false).await, Ok(Some(_))),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody {
    topic: String,
    payload: String,
    #[serde(default)]
    qos: u8,
    /// How the payload is written: `text` as it is, `base64` for bytes.
    #[serde(default)]
    encoding: Encoding,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Encoding {
    #[default]
    Text,
    Base64,
}

async fn publish(
    State(app): State<Shared>,
    Body(body): Body<PublishBody>,
) -> Result<StatusCode, Problem> {
    let payload = match body.encoding {
        Encoding::Text => body.payload.into_bytes(),
        Encoding::Base64 => STANDARD.decode(&body.payload).map_err(|error| {
            Problem::bad(
                format!("the payload is not base64: {error}"),
                "RFC 4648 section 4",
            )
        })?,
    };
    act::publish(
        &app,
        Command {
            topic: body.topic,
            payload,
            qos: body.qos,
        },
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
