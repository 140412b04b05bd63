//! The control `protocols`: up-to-date versions of TLS only, and nothing in plain text for others to read.

pub mod rules;

use stockade_profile::{Control, TlsVersion};

use crate::engine::{Case, Check, Finding, Judged, Listener, Rule, TlsAnswers, Transport, Unseen};
use rules::{FRONT, OLD_TLS, PLAIN, VERSIONS};

/// The most listeners that are asked: each is asked over the network of the device itself, which takes time.
const MOST_ASKED: usize = 64;

/// The control `protocols`.
#[derive(Debug)]
pub struct Protocols;

/// A listener, and what it answered.
struct Asked<'a> {
    listener: &'a Listener,
    answers: Result<TlsAnswers, Unseen>,
}

impl Check for Protocols {
    fn control(&self) -> Control {
        Control::Protocols
    }

    fn rules(&self) -> &'static [&'static Rule] {
        &rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        let listeners = match case.host.listeners() {
            Ok(listeners) => listeners,
            Err(why) => {
                for rule in rules::ALL {
                    judged.unseen(rule, "what listens", &why);
                }
                return judged;
            }
        };
        let tcp = listeners.iter().filter(|it| it.transport == Transport::Tcp);
        let asked: Vec<Asked<'_>> = tcp
            .clone()
            .take(MOST_ASKED)
            .map(|listener| Asked {
                listener,
                answers: case.host.tls(listener),
            })
            .collect();
        let left_out = tcp.count().saturating_sub(asked.len());
        versions(case, &asked, left_out, &mut judged);
        plain(case, &asked, &mut judged);
        fronts(case, listeners, &mut judged);
        judged
    }
}

/// Which versions of TLS are accepted, beside those of the profile.
fn versions(case: &Case<'_>, asked: &[Asked<'_>], left_out: usize, judged: &mut Judged) {
    let allows_1_2 = case.profile.protocols.tls.contains(&TlsVersion::V1_2);
    let (mut old, mut other, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for Asked { listener, answers } in asked {
        let place = place(case, listener);
        let answers = match answers {
            Ok(answers) if answers.plain.is_none() && answers.accepted.is_empty() => continue,
            Ok(answers) => answers,
            Err(why) => {
                silent.push(format!("{place}: {why}"));
                continue;
            }
        };
        let accepts = |version: &&&str| answers.accepted.get(**version) == Some(&true);
        let outdated: Vec<&str> = ["ssl2", "ssl3", "tls1.0", "tls1.1"]
            .iter()
            .filter(accepts)
            .copied()
            .collect();
        if !outdated.is_empty() {
            let versions = outdated.join(", ");
            let what = format!("{place} accepts {versions}");
            old.push(
                Finding::of(&OLD_TLS, &place, what).seen(&place, format!("accepts {versions}")),
            );
        }
        if accepts(&&"tls1.2") && !allows_1_2 {
            let what = format!("{place} accepts TLS 1.2, and the profile says 1.3 only");
            other.push(Finding::of(&VERSIONS, &place, what).seen(&place, "accepts tls1.2"));
        }
    }
    let looked_at = format!("{} TCP listeners", asked.len());
    if left_out > 0 {
        silent.push(format!("{left_out} more listeners were not asked"));
    }
    for (rule, findings) in [(&OLD_TLS, old), (&VERSIONS, other)] {
        if silent.is_empty() {
            judged.judged(rule, looked_at.as_str(), findings);
        } else {
            judged.cannot_tell(rule, silent.join("; "), findings);
        }
    }
}

/// Services in plain text that others can reach.
fn plain(case: &Case<'_>, asked: &[Asked<'_>], judged: &mut Judged) {
    let mut findings = Vec::new();
    for Asked { listener, answers } in asked {
        let Ok(TlsAnswers {
            plain: Some(said), ..
        }) = answers
        else {
            continue;
        };
        // SSH protects itself; whether it may be on at all is the business of `credentials`.
        if listener.address.ip().is_loopback() || said.starts_with("SSH-") {
            continue;
        }
        let port = listener.address.port();
        let place = place(case, listener);
        let front = case
            .profile
            .protocols
            .fronts
            .iter()
            .find(|front| front.to.address().port() == port);
        let let_in = let_in(case, port);
        let advice = match (front, let_in) {
            (Some(front), _) => format!(
                "make it listen on 127.0.0.1 only: the profile's front on port {} stands for it",
                front.listen
            ),
            (None, true) => format!(
                "give it a front in the profile (`[[protocols.front]]`, `to = \"127.0.0.1:{port}\"`) and make it listen on 127.0.0.1 only"
            ),
            (None, false) => "stop it, or make it listen on 127.0.0.1 only".to_owned(),
        };
        // The firewall keeps others out, as long as it is in force.
        let severity = if let_in {
            PLAIN.severity
        } else {
            crate::engine::Severity::Low
        };
        let reach = if let_in {
            "the firewall lets others in"
        } else {
            "only the firewall keeps others out"
        };
        let what = format!("{place} speaks plain text on all its addresses, and {reach}");
        let mut finding = Finding::of(&PLAIN, &place, what)
            .seen(&place, format!("\"{said}\""))
            .with(severity, crate::engine::Confidence::High);
        finding.remedy = crate::engine::Remedy::Person(advice);
        findings.push(finding);
    }
    judged.judged(&PLAIN, format!("{} TCP listeners", asked.len()), findings);
}

/// Whether the profile's firewall lets others open connections to this port.
fn let_in(case: &Case<'_>, port: u16) -> bool {
    let rules = &case.profile.firewall.inward;
    rules.iter().any(|rule| {
        let protocol = rule.traffic.protocol;
        let tcp = matches!(
            protocol,
            stockade_profile::Protocol::Tcp | stockade_profile::Protocol::Any
        );
        tcp && rule.traffic.port.is_none_or(|ports| ports.contains(port))
    })
}

/// The TLS fronts of the profile: they listen.
fn fronts(case: &Case<'_>, listeners: &[Listener], judged: &mut Judged) {
    let fronts = &case.profile.protocols.fronts;
    if fronts.is_empty() {
        judged.does_not_apply(&FRONT, "the profile has no fronts");
        return;
    }
    let listens = |port: u16| {
        let on_it = |it: &&Listener| it.transport == Transport::Tcp && it.address.port() == port;
        listeners
            .iter()
            .any(|it| on_it(&it) && !it.address.ip().is_loopback())
    };
    let missing = fronts.iter().filter(|front| !listens(front.listen.get()));
    let findings = missing.map(|front| {
        let what = format!(
            "nothing listens on port {}, where the profile puts TLS in front of {}",
            front.listen, front.to
        );
        Finding::of(&FRONT, format!("port {}", front.listen), what)
    });
    judged.judged(
        &FRONT,
        format!("{} fronts", fronts.len()),
        findings.collect(),
    );
}

/// A listener in words: where, and whose.
fn place(case: &Case<'_>, listener: &Listener) -> String {
    let socket = format!("{} {}", listener.transport, listener.address);
    let name = case.host.processes().ok().and_then(|processes| {
        let process = processes
            .iter()
            .find(|it| listener.processes.contains(&it.pid))?;
        Some(process.name.clone())
    });
    name.map_or_else(|| socket.clone(), |name| format!("{socket} ({name})"))
}

#[cfg(test)]
mod tests;
