//! The sections that only show: overview, what was blocked, gateway, log.

use askama::Template;
use hyper::StatusCode;
use stockade_api::helper::{Answer as Told, Event, Request as Ask, Status};

use super::case::CaseView;
use super::http::{Answer, go, html};
use super::session::Session;
use super::view::{EventView, Here, ProtocolView, Shell, Words, instant, protocols, span};
use super::{Page, Problem, confused};
use crate::standing::Noted;

/// How many events the log shows.
const SHOWN: u64 = 200;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    shell: Shell,
    status: Status,
    noted: Noted,
    troubles: Vec<Words>,
    protocols: Vec<ProtocolView>,
    age: String,
    wrong: usize,
    mendable: bool,
    upnp_left: Option<String>,
    case: Option<CaseView>,
}

#[derive(Template)]
#[template(path = "blocked.html")]
struct BlockedPage {
    shell: Shell,
    firewall: Option<ProtocolView>,
    events: Vec<EventView>,
}

#[derive(Template)]
#[template(path = "gateway.html")]
struct GatewayPage {
    shell: Shell,
    status: Status,
    noted: Noted,
    connected: Option<String>,
    certificate: Option<String>,
    evidence: Option<String>,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    shell: Shell,
    events: Vec<EventView>,
    /// The number of the oldest event that is still there.
    oldest: u64,
}

pub(super) async fn status(page: &Page) -> Result<Status, Problem> {
    match page.helper.ask(&Ask::Status).await? {
        Told::Status(status) => Ok(status),
        _ => Err(confused()),
    }
}

async fn report(page: &Page, again: bool) -> Result<(Vec<ProtocolView>, u64), Problem> {
    match page.helper.ask(&Ask::Assess { again }).await? {
        Told::Report { report, age } => Ok((protocols(&report), age)),
        _ => Err(confused()),
    }
}

pub(super) async fn overview(page: &Page, session: &Session) -> Result<Answer, Problem> {
    let status = status(page).await?;
    let (protocols, age) = report(page, false).await?;
    let rules = || protocols.iter().flat_map(|protocol| &protocol.wrong);
    let page = OverviewPage {
        shell: Shell::new(Here::Overview, session.csrf()),
        noted: page.standing.noted(),
        troubles: status.troubles.iter().cloned().map(Words).collect(),
        wrong: rules().count(),
        mendable: rules().any(|rule| rule.mendable),
        case: status.tamper.as_ref().map(CaseView::of),
        upnp_left: status.upnp.as_ref().map(|upnp| span(upnp.seconds)),
        status,
        protocols,
        age: span(age),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Looks at the device again.
pub(super) async fn look(page: &Page) -> Result<Answer, Problem> {
    report(page, true).await?;
    Ok(go("/", None))
}

/// The last events, the newest first.
async fn events(page: &Page) -> Result<(Vec<Event>, u64), Problem> {
    let last = status(page).await?.last_event;
    let mut after = last.saturating_sub(SHOWN);
    let mut all = Vec::new();
    loop {
        let Told::Events { events, oldest } = page.helper.ask(&Ask::Events { after }).await? else {
            return Err(confused());
        };
        let newest = events.last().map_or(last, |event| event.number);
        all.extend(events);
        // As many come at once as fit.
        if newest >= last || newest <= after {
            all.reverse();
            return Ok((all, oldest));
        }
        after = newest;
    }
}

pub(super) async fn blocked(page: &Page, session: &Session) -> Result<Answer, Problem> {
    let (protocols, _) = report(page, false).await?;
    let (events, _) = events(page).await?;
    let blocked = events.iter().filter(|event| event.kind == "blocked");
    let page = BlockedPage {
        shell: Shell::new(Here::Blocked, session.csrf()),
        firewall: protocols.into_iter().find(|it| it.name == "Firewall"),
        events: blocked.map(EventView::from).collect(),
    };
    Ok(html(StatusCode::OK, &page))
}

pub(super) async fn gateway(page: &Page, session: &Session) -> Result<Answer, Problem> {
    let status = status(page).await?;
    let noted = page.standing.noted();
    let page = GatewayPage {
        shell: Shell::new(Here::Gateway, session.csrf()),
        connected: noted.connected.map(instant),
        certificate: noted.certificate.map(instant),
        evidence: noted.evidence.map(instant),
        status,
        noted,
    };
    Ok(html(StatusCode::OK, &page))
}

pub(super) async fn log(page: &Page, session: &Session) -> Result<Answer, Problem> {
    let (events, oldest) = events(page).await?;
    let page = LogPage {
        shell: Shell::new(Here::Log, session.csrf()),
        events: events.iter().map(EventView::from).collect(),
        oldest,
    };
    Ok(html(StatusCode::OK, &page))
}
