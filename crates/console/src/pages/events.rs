//! What happens, newest first, and live.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use crate::api::EventFilter;
use crate::http::{Operator, html};
use crate::state::Shared;
use crate::view::{Choice, EventRow, Nav, Shell};

/// Rows of the table.
const ROWS: usize = 200;

#[derive(Template)]
#[template(path = "events.html")]
pub(crate) struct EventsPage {
    pub(crate) shell: Shell,
    pub(crate) caption: String,
    pub(crate) stream: String,
    pub(crate) device: String,
    pub(crate) options: Vec<Choice>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) filtered: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    device: String,
    outcome: String,
}

pub(super) async fn show(
    State(app): State<Shared>,
    operator: Operator,
    Query(asked): Query<Asked>,
) -> Response {
    let shell = operator.shell(&app, Nav::Events);
    let now = app.now();
    let filter = EventFilter::new(&asked.device, &asked.outcome);
    let device = filter.device().unwrap_or_default().to_owned();
    let last = app
        .state
        .events
        .latest(None, 1)
        .first()
        .map_or(0, |event| event.seq);
    let events: Vec<EventRow> = app
        .state
        .events
        .latest(filter.device(), usize::MAX)
        .iter()
        .filter(|event| event.seq <= last && filter.wants(event))
        .take(ROWS)
        .map(|event| EventRow::new(event, now))
        .collect();
    let outcome = filter.outcome().unwrap_or_default().to_owned();
    // What cannot be a name will not happen, and needs an escape in an address: there is nothing to watch.
    let stream = if filter.possible() {
        format!("/api/v1/events/stream?after={last}&device={device}&outcome={outcome}")
    } else {
        String::new()
    };
    html(&page(shell, device, &outcome, events, stream))
}

pub(crate) fn page(
    shell: Shell,
    device: String,
    outcome: &str,
    events: Vec<EventRow>,
    stream: String,
) -> EventsPage {
    let options = [
        ("", "any"),
        ("admitted", "admitted"),
        ("refused", "refused"),
        ("changed", "changed"),
        ("alarm", "alarm"),
    ]
    .map(|(value, label)| Choice::new(value, label, outcome));
    EventsPage {
        shell,
        caption: "Events, newest first".to_owned(),
        stream,
        filtered: !device.is_empty() || !outcome.is_empty(),
        device,
        options: options.into(),
        events,
    }
}
