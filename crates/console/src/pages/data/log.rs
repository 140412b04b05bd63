//! Who looked at what, and why: the vault's log, the newest entries first.

use askama::Template;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use stockade_tlog::Hash;
use stockade_vault::{Entry, Outcome};

use crate::api::vault::log;
use crate::http::{Operator, html};
use crate::pages::{Page, Refused};
use crate::state::Shared;
use crate::view::{Moment, Nav, Shell};

/// Entries on one page.
const ROWS: u64 = 100;

#[derive(Template)]
#[template(path = "data_log.html")]
pub(crate) struct LogPage {
    pub(crate) shell: Shell,
    pub(crate) size: u64,
    pub(crate) root: String,
    pub(crate) key: String,
    pub(crate) entries: Vec<Row>,
    /// Where the page of older entries ends, if there are any.
    pub(crate) older: Option<u64>,
    /// Where that of newer ones ends.
    pub(crate) newer: Option<u64>,
}

/// An entry.
pub(crate) struct Row {
    pub(crate) index: u64,
    pub(crate) at: Moment,
    pub(crate) who: String,
    pub(crate) role: &'static str,
    pub(crate) what: String,
    pub(crate) about: String,
    pub(crate) purpose: String,
    pub(crate) outcome: &'static str,
    /// The badge's class.
    pub(crate) badge: &'static str,
    pub(crate) facts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::pages) struct Asked {
    /// Only entries before this one.
    before: Option<u64>,
}

pub(in crate::pages) async fn show(
    State(app): State<Shared>,
    operator: Operator,
    Query(asked): Query<Asked>,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let now = app.now();
    let read = app.blocking(move |app| {
        let log = log::of(app)?;
        let (size, root) = log.head();
        let end = asked.before.unwrap_or(size).min(size);
        let begin = end.saturating_sub(ROWS);
        let many = usize::try_from(end - begin).unwrap_or_default();
        let mut entries = log
            .entries(begin, many)
            .map_err(|error| log::problem(&error))?;
        entries.reverse();
        Ok((size, root, log.public_key(), begin, end, entries))
    });
    let (size, root, key, begin, end, entries) = read.await.map_err(|p| Refused::new(p, &shell))?;
    Ok(html(&LogPage {
        shell,
        size,
        root: Hash(root).to_string(),
        key,
        entries: entries
            .into_iter()
            .map(|(index, entry)| Row::new(index, entry, now))
            .collect(),
        older: (begin > 0).then_some(begin),
        newer: (end < size).then(|| end.saturating_add(ROWS).min(size)),
    }))
}

impl Row {
    fn new(index: u64, entry: Entry, now: time::OffsetDateTime) -> Self {
        let (outcome, badge) = match entry.outcome {
            Outcome::Done => ("done", "admitted"),
            Outcome::Refused => ("refused", "refused"),
            Outcome::Failed => ("failed", "alarm"),
        };
        let mut facts: Vec<String> = entry.reason.into_iter().collect();
        facts.extend(entry.budget.map(|spent| format!("epsilon {spent}")));
        facts.extend(
            entry
                .facts
                .iter()
                .map(|(name, number)| format!("{name} {number}")),
        );
        let short = |text: String| text.chars().take(12).collect::<String>();
        let subject = entry
            .subject
            .map(|it| format!("subject {}…", short(text(&it))));
        let about = [entry.dataset, entry.object, subject];
        Self {
            index,
            at: Moment::new(entry.at, now),
            who: entry.who,
            role: entry.role.as_str(),
            what: text(&entry.action),
            about: about.into_iter().flatten().collect::<Vec<_>>().join(", "),
            purpose: entry.purpose.unwrap_or_default(),
            outcome,
            badge,
            facts,
        }
    }
}

/// As the log's files have it.
fn text(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
