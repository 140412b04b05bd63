//! `UPnP`: off; on for a while, after a look at what that allows and a second log-in; off again by time or by click.

use std::net::IpAddr;

use askama::Template;
use hyper::StatusCode;
use stockade_api::helper::{Answer as Told, Request as Ask, Status, Upnp, UpnpOffer};

use super::http::{Answer, Form, go, html};
use super::session::Session;
use super::view::{Here, Shell, Words, fault, span};
use super::{BadForm, Page, Problem, confused, status};
use crate::helper::HelperError;

/// What can be chosen, in seconds, as far as the profile allows.
const DURATIONS: [u64; 7] = [60, 300, 900, 3_600, 14_400, 43_200, 86_400];

#[derive(Template)]
#[template(path = "upnp.html")]
struct UpnpPage {
    shell: Shell,
    on: Option<Upnp>,
    left: String,
    offer: Option<UpnpOffer>,
    durations: Vec<(u64, String)>,
}

#[derive(Template)]
#[template(path = "upnp_on.html")]
struct ConfirmPage {
    shell: Shell,
    interface: String,
    seconds: u64,
    span: String,
    possible: Vec<Words>,
    fault: Option<Words>,
}

async fn look(page: &Page) -> Result<Status, Problem> {
    match page.helper.ask(&Ask::Status).await? {
        Told::Status(status) => Ok(status),
        _ => Err(confused()),
    }
}

pub(super) async fn show(page: &Page, session: &Session) -> Result<Answer, Problem> {
    let status = look(page).await?;
    let most = status.offer.as_ref().map_or(0, |offer| offer.most);
    let shorter = DURATIONS.into_iter().filter(|seconds| *seconds < most);
    let durations = shorter.chain([most]).map(|it| (it, span(it)));
    let page = UpnpPage {
        shell: Shell::new(Here::Upnp, session.csrf()),
        left: span(status.upnp.as_ref().map_or(0, |upnp| upnp.seconds)),
        on: status.upnp,
        offer: status.offer,
        durations: durations.collect(),
    };
    Ok(html(StatusCode::OK, &page))
}

/// What was chosen, if it is among what can be chosen.
async fn chosen(page: &Page, interface: &str, seconds: &str) -> Result<(UpnpOffer, u64), Problem> {
    let offer = look(page).await?.offer.ok_or_else(|| {
        let text = "The profile of this model does not allow UPnP.";
        Problem::new(StatusCode::FORBIDDEN, "Not done", text, "")
    })?;
    let seconds = seconds.parse().map_err(|_| BadForm::Malformed)?;
    if !offer.interfaces.iter().any(|it| it == interface) || !(1..=offer.most).contains(&seconds) {
        return Err(BadForm::Malformed.into());
    }
    Ok((offer, seconds))
}

/// What would be possible with this choice, and the second log-in.
pub(super) async fn confirm(
    page: &Page,
    session: &Session,
    query: &str,
) -> Result<Answer, Problem> {
    let mut query = Form::parse(query.as_bytes())?;
    let interface = query.take("interface")?.to_string();
    let (offer, seconds) = chosen(page, &interface, &query.take("seconds")?).await?;
    let page = ConfirmPage::new(session, interface, seconds, offer, None);
    Ok(html(StatusCode::OK, &page))
}

impl ConfirmPage {
    fn new(
        session: &Session,
        interface: String,
        seconds: u64,
        offer: UpnpOffer,
        fault: Option<Words>,
    ) -> Self {
        Self {
            shell: Shell::new(Here::Upnp, session.csrf()),
            interface,
            seconds,
            span: span(seconds),
            possible: offer.possible.into_iter().map(Words).collect(),
            fault,
        }
    }
}

pub(super) async fn switch_on(
    page: &Page,
    session: &Session,
    mut form: Form,
    peer: IpAddr,
) -> Result<Answer, Problem> {
    let interface = form.take("interface")?.to_string();
    let (offer, seconds) = chosen(page, &interface, &form.take("seconds")?).await?;
    let ask = Ask::UpnpOn {
        password: form.tried("password", peer)?,
        interface: interface.clone(),
        seconds,
    };
    match page.ask_with_password(peer, &ask).await {
        Ok(Told::Upnp { .. }) => Ok(go("/upnp", None)),
        Ok(_) => Err(confused()),
        Err(HelperError::Refused(refused)) => {
            let status = status(refused.kind);
            let again = ConfirmPage::new(session, interface, seconds, offer, Some(fault(&refused)));
            Ok(html(status, &again))
        }
        Err(away) => Err(away.into()),
    }
}

/// Off needs no password: it takes a right away.
pub(super) async fn switch_off(page: &Page) -> Result<Answer, Problem> {
    page.helper.ask(&Ask::UpnpOff).await?;
    Ok(go("/upnp", None))
}
