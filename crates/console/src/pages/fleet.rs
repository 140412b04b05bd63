//! The fleet: every device in one table.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use crate::fleet::{self, Device};
use crate::http::{Operator, html};
use crate::posture::{self, Word};
use crate::state::{ConsoleState, Shared};
use crate::view::{Choice, Moment, Nav, Shell, StateWord};

/// Rows on one page.
const MAX_ROWS: usize = 500;

#[derive(Template)]
#[template(path = "fleet.html")]
pub(crate) struct FleetPage {
    pub(crate) shell: Shell,
    pub(crate) counts: Vec<Count>,
    pub(crate) total: usize,
    pub(crate) models: usize,
    pub(crate) first_model: String,
    pub(crate) query: String,
    pub(crate) options: Vec<Choice>,
    pub(crate) postures: Vec<Choice>,
    pub(crate) rows: Vec<Row>,
    pub(crate) shown_limit: bool,
}

/// How many devices are in one state, and where to see them.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) href: String,
    pub(crate) label: String,
    pub(crate) number: usize,
    pub(crate) chosen: bool,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) constrained: bool,
    pub(crate) state: StateWord,
    pub(crate) posture: Word,
    pub(crate) seen: Option<Moment>,
    pub(crate) violations_minute: u64,
    pub(crate) violations_total: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    q: String,
    state: String,
    posture: String,
}

pub(super) async fn show(
    State(app): State<Shared>,
    operator: Operator,
    Query(filter): Query<Filter>,
) -> Response {
    let shell = operator.shell(&app, Nav::Fleet);
    let now = app.now();
    let models = fleet::models(&app.state);
    let devices = fleet::devices(&app.state, now);
    html(&page(
        shell,
        (&app.state, &devices),
        (models.len(), models.into_iter().next().map(|m| m.name)),
        &filter,
        now,
    ))
}

fn page(
    shell: Shell,
    (app, devices): (&ConsoleState, &[Device]),
    (models, first_model): (usize, Option<String>),
    filter: &Filter,
    now: time::OffsetDateTime,
) -> FleetPage {
    let query: String = filter.q.trim().chars().take(64).collect();
    let state = StateWord::parse(&filter.state);
    let wanted = query.to_lowercase();
    let posture = Word::ALL
        .into_iter()
        .find(|word| word.class() == filter.posture);
    let mut rows: Vec<Row> = devices
        .iter()
        .filter(|device| state.is_none_or(|state| device.state == state))
        .filter(|device| device.id.contains(&wanted) || device.model.contains(&wanted))
        .map(|device| (device, posture::word(app, &device.id)))
        .filter(|(_, word)| posture.is_none_or(|posture| posture == *word))
        .take(MAX_ROWS + 1)
        .map(|(device, posture)| Row {
            id: device.id.clone(),
            model: device.model.clone(),
            constrained: device.constrained,
            state: device.state,
            posture,
            seen: device.seen.map(|seen| Moment::new(seen, now)),
            violations_minute: device.violations_minute,
            violations_total: device.violations_total,
        })
        .collect();
    let shown_limit = rows.len() > MAX_ROWS;
    rows.truncate(MAX_ROWS);
    let chosen = state.map_or("", StateWord::class);
    let mut options = vec![Choice::new("", "any", chosen)];
    options.extend(StateWord::ALL.map(|word| Choice::new(word.class(), word.to_string(), chosen)));
    let chosen = posture.map_or("", Word::class);
    let mut postures = vec![Choice::new("", "any", chosen)];
    postures.extend(Word::ALL.map(|word| Choice::new(word.class(), word.label(), chosen)));
    FleetPage {
        shell,
        counts: counts(devices, state),
        total: devices.len(),
        models,
        first_model: first_model.unwrap_or_default(),
        query,
        options,
        postures,
        rows,
        shown_limit,
    }
}

fn counts(devices: &[Device], chosen: Option<StateWord>) -> Vec<Count> {
    let all = Count {
        href: "/".to_owned(),
        label: "All devices".to_owned(),
        number: devices.len(),
        chosen: chosen.is_none(),
    };
    let mut counts = vec![all];
    counts.extend(StateWord::ALL.map(|word| Count {
        href: format!("/?state={}", word.class()),
        label: word.to_string(),
        number: devices.iter().filter(|device| device.state == word).count(),
        chosen: chosen == Some(word),
    }));
    counts
}
