//! Updates of the system: what runs, what is offered, what goes on; looking and installing on the owner's password.

use std::net::IpAddr;

use askama::Template;
use hyper::StatusCode;
use stockade_api::helper::{
    Answer as Told, Authority, Request as Ask, UpdateRequest, UpdateStatus,
};

use super::http::{Answer, Form, go, html};
use super::session::Session;
use super::view::{Here, Shell, Words, moment};
use super::{BadForm, Page, Problem, confused, sections};

#[derive(Template)]
#[template(path = "updates.html")]
struct UpdatesPage {
    shell: Shell,
    updates: Option<View>,
}

/// How updates stand, as a person reads it.
struct View {
    runs: String,
    looked: Option<(String, String)>,
    failing: Option<Words>,
    offer: Option<Offer>,
    slots: Vec<(String, String, &'static str)>,
    trial: Option<(u64, Option<String>)>,
    returned: Option<(u64, String, Words)>,
    doing: Option<Words>,
    failed: Option<Words>,
}

struct Offer {
    version: u64,
    name: Option<String>,
    security: bool,
    since: String,
}

fn version(version: Option<u64>) -> String {
    version.map_or_else(|| "unknown".to_owned(), |it| it.to_string())
}

fn at(seconds: u64) -> String {
    moment(i64::try_from(seconds).unwrap_or(i64::MAX))
}

impl From<UpdateStatus> for View {
    fn from(status: UpdateStatus) -> Self {
        let state = status.state;
        let slots = state.slots.into_iter().map(|slot| {
            let how = match (slot.running, slot.good) {
                (true, _) => "runs",
                (false, true) => "can start",
                (false, false) => "cannot start",
            };
            (slot.name, version(slot.version), how)
        });
        Self {
            runs: version(state.running),
            looked: state.looked.map(|it| (at(it.at), it.source)),
            failing: state.failing.map(Words),
            offer: state.offered.map(|it| Offer {
                version: it.version,
                name: it.name,
                security: it.security,
                since: at(it.since),
            }),
            slots: slots.collect(),
            trial: state.trial.map(|it| (it.version, it.until.map(at))),
            returned: state
                .returned
                .map(|it| (it.version, at(it.at), Words(it.why))),
            doing: status.doing.map(Words),
            failed: status.failed.map(Words),
        }
    }
}

pub(super) async fn show(page: &Page, session: &Session) -> Result<Answer, Problem> {
    let status = sections::status(page).await?;
    let page = UpdatesPage {
        shell: Shell::new(Here::Updates, session.csrf()),
        updates: status.updates.map(View::from),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Looks, or installs what is offered; it goes on when nobody watches.
pub(super) async fn begin(page: &Page, mut form: Form, peer: IpAddr) -> Result<Answer, Problem> {
    let what = match form.take("what")?.as_str() {
        "look" => UpdateRequest::Look,
        // What was read on the page is what is installed, not what came since.
        "install" => UpdateRequest::Install {
            version: Some(
                form.take("version")?
                    .parse()
                    .map_err(|_| BadForm::Malformed)?,
            ),
        },
        _ => return Err(BadForm::Malformed.into()),
    };
    let authority = Authority::Password(form.tried("password", peer)?);
    match page
        .ask_with_password(peer, &Ask::Update { what, authority })
        .await?
    {
        Told::Done => Ok(go("/updates", None)),
        _ => Err(confused()),
    }
}
