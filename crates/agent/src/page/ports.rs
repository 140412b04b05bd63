//! What is plugged in, what else leads in, and what becomes of it; what is on trial is kept on the owner's password.

use std::net::IpAddr;

use askama::Template;
use hyper::StatusCode;
use stockade_api::helper::{Answer as Told, Authority, PortsState, Request as Ask};

use super::http::{Answer, Form, go, html};
use super::session::Session;
use super::view::{Here, Shell, Words};
use super::{Page, Problem, confused};

#[derive(Template)]
#[template(path = "ports.html")]
struct PortsPage {
    shell: Shell,
    enforced: bool,
    trial: Option<u64>,
    ways: Vec<WayView>,
}

/// A device that is plugged in, or another way in.
struct WayView {
    what: Words,
    place: String,
    /// The look of its badge, and what it says.
    badge: (&'static str, &'static str),
    why: Words,
}

/// What is open and may not be stands out.
fn badge(open: bool, allowed: bool) -> (&'static str, &'static str) {
    match (open, allowed) {
        (true, true) => ("active", "in use"),
        (true, false) => ("revoked", "in use, not allowed"),
        (false, true) => ("changed", "allowed, not in use"),
        (false, false) => ("active", "kept out"),
    }
}

pub(super) async fn show(page: &Page, session: &Session) -> Result<Answer, Problem> {
    let state: PortsState = match page.helper.ask(&Ask::Ports).await? {
        Told::Ports(state) => state,
        _ => return Err(confused()),
    };
    let usb = state.usb.into_iter().map(|it| WayView {
        badge: badge(it.works, it.allowed),
        what: Words(it.what),
        place: format!("USB {}", it.port),
        why: Words(it.why),
    });
    let others = state.ways.into_iter().map(|it| WayView {
        badge: badge(it.open, it.allowed),
        what: Words(format!("`{}`", it.name)),
        place: it.kind,
        why: Words(String::new()),
    });
    let page = PortsPage {
        shell: Shell::new(Here::Ports, session.csrf()),
        enforced: state.enforced,
        trial: state.trial,
        ways: usb.chain(others).collect(),
    };
    Ok(html(StatusCode::OK, &page))
}

/// What is on trial stays: whoever sees this page still gets in.
pub(super) async fn keep(page: &Page, mut form: Form, peer: IpAddr) -> Result<Answer, Problem> {
    let authority = Authority::Password(form.tried("password", peer)?);
    match page
        .ask_with_password(peer, &Ask::KeepPorts { authority })
        .await?
    {
        Told::Done => Ok(go("/ports", None)),
        _ => Err(confused()),
    }
}
