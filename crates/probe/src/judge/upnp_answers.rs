//! What the rules make of a host's answers to `UPnP`.

use stockade_controls::engine::{Confidence, Finding, Outcome, Severity};
use stockade_controls::upnp::NO_LISTENER;

use super::{Asked, does_not_apply, judged, upnp};
use crate::host::Kind;
use crate::upnp::{Came, UpnpFacts};

impl Asked<'_> {
    /// What answers for `UPnP` and its like.
    fn listens(&self, answers: &UpnpFacts) -> Vec<Finding> {
        let ssdp = self.place("udp", 1900);
        let mut listens = Vec::new();
        if let Some(reply) = answers.replies.first() {
            let what = format!("{ssdp} answers searches for UPnP devices.");
            let says = reply.server.as_deref().unwrap_or("names no program");
            let (sent, received) = answers.unicast;
            listens.push(Finding::of(NO_LISTENER, &ssdp, what).seen(
                &ssdp,
                format!(
                    "{says}; {} kinds of answers, {received} bytes for one search of {sent}",
                    answers.replies.len()
                ),
            ));
        }
        for port in self.datagrams().filter(|it| it.kind == Kind::NatPmp) {
            let place = self.place("udp", port.port);
            listens.push(
                Finding::of(
                    NO_LISTENER,
                    &place,
                    format!("{place} answers NAT-PMP or PCP."),
                )
                .seen(&place, &port.says),
            );
        }
        listens
    }

    fn gateways(&self, answers: &UpnpFacts) -> Vec<Finding> {
        let maps = self
            .datagrams()
            .filter(|it| it.kind == Kind::NatPmp && it.open == Some(true));
        let maps = maps.map(|it| {
            let place = self.place("udp", it.port);
            Finding::of(
                &upnp::GATEWAY,
                &place,
                format!("{place} opens ports for anybody, to himself."),
            )
            .seen(&place, "NAT-PMP: mapped, and taken away again")
        });
        gateways(answers).into_iter().chain(maps).collect()
    }

    pub(super) fn upnp(&self, answers: &UpnpFacts) -> Vec<Outcome> {
        let mut unseen: Vec<String> = answers
            .unread
            .iter()
            .map(|(place, why)| format!("{place}: {why}"))
            .collect();
        unseen.sort();
        let ssdp = self.place("udp", 1900);
        let listens = self.listens(answers);
        if answers.replies.is_empty() {
            let why = "nothing answers a search";
            let rest = [
                &upnp::GATEWAY,
                &upnp::EVENTS,
                &upnp::LOCATION,
                &upnp::GIVES_AWAY,
            ];
            let first = judged(
                NO_LISTENER,
                "SSDP, NAT-PMP and PCP".to_owned(),
                listens,
                &[],
            );
            let maps = self.gateways(answers);
            let rest = rest.into_iter().map(|rule| match rule.id {
                id if id == upnp::GATEWAY.id && !maps.is_empty() => {
                    judged(rule, String::new(), maps.clone(), &[])
                }
                _ => does_not_apply(rule, why),
            });
            return std::iter::once(first).chain(rest).collect();
        }
        let descriptions = format!("{} descriptions", answers.devices.len());
        let elsewhere = answers.elsewhere.iter().map(|(url, why)| {
            let url = crate::text::told(url.as_bytes());
            Finding::of(
                &upnp::LOCATION,
                &ssdp,
                format!("{ssdp} announces `{url}`, and {why}."),
            )
            .seen(&ssdp, url)
        });
        vec![
            judged(NO_LISTENER, String::new(), listens, &[]),
            judged(
                &upnp::GATEWAY,
                descriptions.clone(),
                self.gateways(answers),
                &unseen,
            ),
            judged(
                &upnp::EVENTS,
                descriptions.clone(),
                events(answers),
                &unseen,
            ),
            judged(
                &upnp::LOCATION,
                format!("{} answers", answers.replies.len()),
                elsewhere.collect(),
                &[],
            ),
            judged(&upnp::GIVES_AWAY, descriptions, leaks(answers), &unseen),
        ]
    }
}

fn leaks(answers: &UpnpFacts) -> Vec<Finding> {
    let all = answers.devices.iter().flat_map(|device| {
        device.leaks.iter().map(|(what, length)| {
            let place = device.place.to_string();
            let says = format!("The description at {place} gives away {what}.");
            let finding = Finding::of(&upnp::GIVES_AWAY, format!("{place} {what}"), says);
            finding.seen(&place, format!("{what} {length}").trim_end())
        })
    });
    all.collect()
}

fn gateways(answers: &UpnpFacts) -> Vec<Finding> {
    let all = answers.gateways.iter().map(|it| {
        let (severity, what) = match (it.maps_to_others, it.maps_to_asker) {
            (Some(true), _) => (Severity::Critical, "opens ports for anybody, to any device"),
            (_, Some(true)) => (Severity::High, "opens ports for anybody, to himself"),
            (_, Some(false)) => (Severity::Low, "answers, and refused to open a port"),
            (_, None) => (
                Severity::High,
                "opens ports for programs (it was not tried: `--active` does)",
            ),
        };
        let mut finding = Finding::of(&upnp::GATEWAY, &it.place, format!("{} {what}.", it.place));
        finding = finding
            .seen(&it.place, &it.kind)
            .with(severity, Confidence::High);
        if let Some(outside) = &it.outside {
            finding = finding.seen(&it.place, format!("tells the outside address: {outside}"));
        }
        for mapping in &it.mappings {
            finding = finding.seen(&it.place, format!("tells of a mapping: {mapping}"));
        }
        for port in &it.left {
            finding = finding.seen(
                &it.place,
                format!("the mapping of port {port} could not be taken away; it ends after 60 s"),
            );
        }
        finding
    });
    all.collect()
}

fn events(answers: &UpnpFacts) -> Vec<Finding> {
    let all = answers.events.iter().filter_map(|it| {
        let (severity, confidence, what) = match it.other {
            Came::Delivered => (Severity::High, Confidence::High, "sends events to an address of another network"),
            // Some accept and send nothing: it is not proven.
            Came::Accepted if it.second => (Severity::Low, Confidence::Medium, "accepts an address of another network for events, and none arrived there"),
            Came::Accepted => (Severity::Medium, Confidence::Low, "accepts an address of another network for events; whether they arrive was not seen"),
            Came::Refused(_) => return None,
        };
        let own = match it.own {
            Came::Refused(status) => format!("for our own address: refused ({status})"),
            Came::Accepted => "for our own address: accepted, none arrived".to_owned(),
            Came::Delivered => "for our own address: arrived".to_owned(),
        };
        let malformed = if it.malformed { "accepted" } else { "refused" };
        let finding = Finding::of(&upnp::EVENTS, &it.place, format!("{} {what}.", it.place));
        Some(finding.seen(&it.place, format!("{own}; a malformed one: {malformed}")).with(severity, confidence))
    });
    all.collect()
}
