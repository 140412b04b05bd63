//! One device: who it is, what it may do, what it did, and what can be done about it.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use stockade_gateway::evidence::Wish;
use stockade_gateway::registry::DeviceRecord;
use stockade_vault::Subject;

use super::{Page, Refused};
use crate::act::{self, Action};
use crate::attestation::{self, Start};
use crate::fleet::{self, Device};
use crate::http::{Operator, ProtectedForm, html};
use crate::posture::{self, Posture};
use crate::state::{ConsoleState, Shared};
use crate::view::{EventRow, Moment, Nav, SchemaView, Shell, StateWord, WordGroup};

/// What to say when a command waits.
const COMMANDED: &str = "The command waits for the device, and goes when it can be reached. Its evidence will say that it is done.";
/// The rule that a case that was opened breaks.
const LATCHED: &str = "tamper/latched";
/// Events shown of one device.
const ROWS: usize = 20;

#[derive(Template)]
#[template(path = "device.html")]
pub(crate) struct DevicePage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) spiffe: String,
    pub(crate) state: StateWord,
    pub(crate) reasons: Vec<String>,
    pub(crate) since: Option<Moment>,
    /// It enrols by the key of its label, not by a code.
    pub(crate) by_key: bool,
    pub(crate) done: Option<&'static str>,
    pub(crate) seen: Option<Moment>,
    /// Name, value, and whether the value is to be compared letter by letter.
    pub(crate) facts: Vec<(&'static str, String, bool)>,
    pub(crate) violations_minute: u64,
    pub(crate) violations_total: u64,
    pub(crate) profile_version: Option<u64>,
    pub(crate) posture: Option<Posture>,
    pub(crate) start: Option<Start>,
    pub(crate) now: time::OffsetDateTime,
    pub(crate) words: Vec<WordGroup>,
    pub(crate) schemas: Vec<SchemaView>,
    pub(crate) caption: String,
    pub(crate) events: Vec<EventRow>,
}

impl DevicePage {
    /// Its case was opened, by what it said then or says now.
    fn is_opened(&self) -> bool {
        let mut protocols = self.posture.iter().flat_map(|it| &it.protocols);
        let latched = |it: &posture::Protocol| it.rules.iter().any(|it| it.rule == LATCHED);
        let said = |reason: &String| reason.starts_with(stockade_gateway::evidence::OPENED);
        protocols.any(latched) || self.reasons.iter().any(said)
    }
}

#[derive(Template)]
#[template(path = "confirm.html")]
pub(crate) struct ConfirmPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Came {
    done: String,
}

pub(super) async fn show(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    Query(came): Query<Came>,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let now = app.now();
    let record = fleet::record(&app.state, &id, now).map_err(|p| Refused::new(p, &shell))?;
    let device = Device::from(&record);
    let profile = app.state.registry.profile(&record.name.model);
    let events = app.state.events.latest(Some(&device.id), ROWS);
    let mut schemas = profile.as_deref().map(fleet::schemas).unwrap_or_default();
    let subject = Subject {
        model: device.model.clone(),
        device: device.id.clone(),
    };
    let schemas = app
        .blocking(move |app| {
            fleet::newest(&app.state, &mut schemas, Some(&subject)).map(|()| schemas)
        })
        .await
        .map_err(|p| Refused::new(p, &shell))?;
    Ok(html(&DevicePage {
        csrf: operator.0.csrf(),
        spiffe: record.name.spiffe(&app.state.info.trust_domain),
        since: device.since.map(|since| Moment::new(since, now)),
        by_key: record.link.is_some(),
        done: Action::done(&came.done).or_else(|| (came.done == "command").then_some(COMMANDED)),
        seen: device.seen.map(|seen| Moment::new(seen, now)),
        facts: facts(&app.state, &record, now),
        profile_version: profile.as_ref().map(|p| p.device.version),
        posture: posture::of(
            &app.state,
            &device.id,
            profile.as_ref().map(|p| p.device.version),
        ),
        start: attestation::of(&app.state, &record),
        now,
        words: profile
            .as_deref()
            .map(|p| fleet::words(p, Some(&device.id)))
            .unwrap_or_default(),
        schemas,
        caption: format!("Recent events of {}", device.id),
        events: events
            .iter()
            .map(|event| EventRow::new(event, now))
            .collect(),
        shell,
        id: device.id,
        model: device.model,
        state: device.state,
        reasons: device.reasons,
        violations_minute: device.violations_minute,
        violations_total: device.violations_total,
    }))
}

fn facts(
    state: &ConsoleState,
    record: &DeviceRecord,
    now: time::OffsetDateTime,
) -> Vec<(&'static str, String, bool)> {
    let mut facts = vec![("Added", Moment::new(record.added, now).absolute, false)];
    if let Some(peer) = record.last_peer {
        let link = state.link.as_deref();
        let place = link.map_or_else(|| peer.to_string(), |link| link.place(&peer));
        facts.push(("Last address", place, false));
    }
    if let Some(expires) = record.code_expires {
        facts.push((
            "Code works until",
            Moment::new(expires, now).absolute,
            false,
        ));
    }
    if let Some(link) = &record.link {
        let key = stockade_web::secret::hex(&link.key);
        facts.push(("Thumbprint of its key", key, true));
        facts.push(("Short name on the link", link.kid.to_string(), true));
        let enrolled = if link.credential.is_some() {
            "by its key, over the link"
        } else {
            "not yet: its first handshake is waited for"
        };
        facts.push(("Enrolled", enrolled.to_owned(), false));
    }
    if let Some(certificate) = &record.certificate {
        facts.push((
            "Certificate until",
            Moment::new(certificate.not_after, now).absolute,
            false,
        ));
        facts.push((
            "Its SHA-256",
            stockade_web::secret::hex(&certificate.fingerprint),
            true,
        ));
    }
    facts
}

pub(super) async fn confirm_revoke(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let record = fleet::record(&app.state, &id, app.now()).map_err(|p| Refused::new(p, &shell))?;
    Ok(html(&ConfirmPage {
        shell,
        csrf: operator.0.csrf(),
        id: record.name.id.to_string(),
    }))
}

/// Somebody reloads where a form was sent to.
pub(super) async fn back(_operator: Operator, Path(id): Path<String>) -> Response {
    match stockade_gateway::name::DeviceId::new(&id) {
        Ok(id) => Redirect::to(&format!("/devices/{id}")).into_response(),
        Err(_not_a_name) => Redirect::to("/").into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonForm {
    reason: String,
}

async fn carry_out(
    app: Shared,
    operator: Operator,
    id: String,
    form: ProtectedForm,
    action: Action,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let refused = |problem| Refused::new(problem, &shell);
    let ReasonForm { reason } = form.open(&operator.0).map_err(refused)?;
    let id = act::on_device(&app, &id, action, &reason)
        .await
        .map_err(refused)?;
    Ok(Redirect::to(&format!("/devices/{id}?done={}", action.as_str())).into_response())
}

pub(super) async fn quarantine(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    carry_out(app, operator, id, form, Action::Quarantine).await
}

pub(super) async fn release(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    carry_out(app, operator, id, form, Action::Release).await
}

pub(super) async fn revoke(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    carry_out(app, operator, id, form, Action::Revoke).await
}

pub(super) async fn clear_tamper(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    carry_out(app, operator, id, form, Action::ClearTamper).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WishForm {
    wish: Wish,
}

pub(super) async fn command(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let refused = |problem| Refused::new(problem, &shell);
    let WishForm { wish } = form.open(&operator.0).map_err(refused)?;
    let (id, _number) = posture::wish(&app, &id, wish).await.map_err(refused)?;
    Ok(Redirect::to(&format!("/devices/{id}?done=command")).into_response())
}

pub(super) async fn new_code(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let refused = |problem| Refused::new(problem, &shell);
    form.agreed(&operator.0).map_err(refused)?;
    let (name, code) = act::renew_code(&app, &id).await.map_err(refused)?;
    Ok(super::add::show_code(
        &app,
        shell.clone(),
        name.model.as_str(),
        name.id.as_str(),
        &code,
    ))
}

pub(super) async fn remove(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let refused = |problem| Refused::new(problem, &shell);
    form.agreed(&operator.0).map_err(refused)?;
    act::remove(&app, &id).await.map_err(refused)?;
    Ok(Redirect::to("/").into_response())
}
