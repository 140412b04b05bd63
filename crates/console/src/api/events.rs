//! What happens: read page by page, or as it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures_util::stream::{Stream, unfold};
use serde::{Deserialize, Serialize};
use stockade_gateway::events::{Event, Outcome};
use stockade_gateway::name::DeviceId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::Instant;

use super::Asked;
use crate::http::{Problem, session_of};
use crate::session::Session;
use crate::state::Shared;

/// Most events of one answer, and of the past that a stream begins with.
const MAX_LIMIT: usize = 1_000;
/// How often an event stream proves that it lives, and that its session does.
const PULSE: StdDuration = StdDuration::from_secs(15);

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
pub(super) struct EventsAsked {
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
pub(super) struct EventsBody {
    events: Vec<Event>,
    /// Where to go on: `after` of the next request.
    next: u64,
}

pub(super) async fn list(
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

pub(super) async fn stream(
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
    unfold(watching, |mut watching| async move {
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
