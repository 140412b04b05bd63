//! What the rules make of a host's answers.

mod comms;
mod credentials;
mod firewall;
mod ssh;
mod upnp;
mod upnp_answers;

use stockade_controls::credentials::DEFAULT_PASSWORD;
use stockade_controls::engine::{Confidence, Finding, Outcome, Rule, Severity, Verdict};
use stockade_controls::programs::PLAIN_SERVER;
use stockade_controls::protocols::rules::PLAIN;
use stockade_profile::{Profile, Protocol};

use crate::host::{HostFacts, Kind, Service, State, TcpFacts, UdpFacts, allowed, let_in};
use crate::services::inside::is_usually_mqtt;

/// An answer this many times as long as the question is of use to flood others.
const RATIO: usize = 10;

/// The rules of this module, in the order of a report.
pub(crate) fn rules() -> impl Iterator<Item = &'static Rule> {
    [comms::ALL, credentials::ALL, firewall::ALL, upnp::ALL]
        .into_iter()
        .flatten()
        .copied()
}

/// Judges a host by what it answered. Without a profile, what only a profile can say does not apply.
pub fn judge(facts: &HostFacts, profile: Option<&Profile>) -> Vec<Outcome> {
    let asked = Asked { facts, profile };
    let mut outcomes = vec![
        asked.broker(),
        asked.plain(),
        asked.open(),
        asked.passwords(),
        asked.ssh_algorithms(),
        asked.host_keys(),
        asked.ssh_off(),
        asked.plain_servers(),
        asked.unexpected(),
        asked.unused(),
    ];
    if facts.upnp.is_some() {
        outcomes.extend([asked.amplifies(), asked.resolves(), asked.tells()]);
    }
    if let Some(answers) = &facts.upnp {
        outcomes.extend(asked.upnp(answers));
    }
    if !facts.answers {
        let why = format!("{} gives no sign of being there", facts.address);
        for outcome in &mut outcomes {
            if !matches!(outcome.verdict, Verdict::DoesNotApply(_)) {
                outcome.verdict = Verdict::CannotTell(why.clone(), Vec::new());
            }
        }
    }
    outcomes
}

struct Asked<'a> {
    facts: &'a HostFacts,
    profile: Option<&'a Profile>,
}

/// A rule that was judged; what kept it from being judged wholly comes with it.
fn judged(
    rule: &'static Rule,
    looked_at: String,
    findings: Vec<Finding>,
    unseen: &[String],
) -> Outcome {
    let verdict = if !unseen.is_empty() {
        Verdict::CannotTell(unseen.join("; "), findings)
    } else if findings.is_empty() {
        Verdict::Passed(looked_at)
    } else {
        Verdict::Broken(findings)
    };
    Outcome { rule, verdict }
}

fn does_not_apply(rule: &'static Rule, why: &str) -> Outcome {
    Outcome {
        rule,
        verdict: Verdict::DoesNotApply(why.to_owned()),
    }
}

impl<'a> Asked<'a> {
    fn place(&self, transport: &str, port: u16) -> String {
        let to = std::net::SocketAddr::new(self.facts.address, port);
        format!("{transport} {to}")
    }

    /// The open ports whose service is known.
    fn services(&self) -> impl Iterator<Item = (&'a TcpFacts, &'a Service)> {
        let known = |it: &'a TcpFacts| it.service.as_ref().ok().map(|service| (it, service));
        self.facts.tcp.iter().filter_map(known)
    }

    /// What answers over UDP.
    fn datagrams(&self) -> impl Iterator<Item = &'a UdpFacts> {
        self.facts.udp.iter().filter(|it| it.state == State::Open)
    }

    /// Why something may have been missed that a rule about any port is about.
    fn missed(&self) -> Vec<String> {
        let unread = self
            .facts
            .unread
            .iter()
            .map(|(place, why)| format!("{place}: {why}"));
        let failed = self.facts.tcp.iter().filter_map(|it| {
            let why = it.service.as_ref().err()?;
            Some(format!("{}: {why}", self.place("tcp", it.port)))
        });
        unread.chain(failed).collect()
    }

    /// The same, and ports that are open and answer nothing that is known.
    fn unknown(&self) -> Vec<String> {
        let unknown = self.services().filter(|(_, it)| it.kind == Kind::Unknown);
        let unknown = unknown.map(|(it, service)| {
            format!(
                "{} is open and {}",
                self.place("tcp", it.port),
                service.says
            )
        });
        let mut all = self.missed();
        all.extend(unknown);
        all
    }

    fn looked_at(&self) -> String {
        let (tcp, udp) = (self.facts.ports.len(), self.facts.udp.len());
        format!(
            "{tcp} ports of TCP and {udp} of UDP, of which {} answer",
            self.facts
                .tcp
                .len()
                .saturating_add(self.datagrams().count())
        )
    }

    fn broker(&self) -> Outcome {
        let mut findings = Vec::new();
        let mut unseen = self.missed();
        let mut brokers = 0_usize;
        let inside = self.facts.tcp.iter().filter_map(|port| {
            let found = port.inside.as_ref()?;
            if let Err(why) = found
                && is_usually_mqtt(port.port)
            {
                let place = self.place("tcp", port.port);
                unseen.push(format!("{place}, inside TLS: {why}"));
            }
            Some((port, found.as_ref().ok()?))
        });
        let inside: Vec<_> = inside.collect();
        let all = self.services().chain(inside);
        for (port, service) in all.filter(|(_, it)| it.kind == Kind::Mqtt) {
            let place = self.place("tcp", port.port);
            brokers = brokers.saturating_add(1);
            match service.open {
                Some(true) => {
                    let what = format!("The broker at {place} takes any client.");
                    findings.push(
                        Finding::of(&comms::ANONYMOUS, &place, what).seen(&place, &service.says),
                    );
                }
                Some(false) => (),
                None => unseen.push(format!("{place}: {}", service.says)),
            }
        }
        if brokers == 0 && unseen.is_empty() {
            return does_not_apply(
                &comms::ANONYMOUS,
                "no broker answers, neither in plain text nor inside TLS",
            );
        }
        judged(
            &comms::ANONYMOUS,
            format!("{brokers} brokers"),
            findings,
            &unseen,
        )
    }

    /// Services in plain text, of both transports.
    fn plain(&self) -> Outcome {
        let mut findings = Vec::new();
        for (port, service) in self.services() {
            let place = self.place("tcp", port.port);
            let why = match service.kind {
                // SSH and RDP protect themselves, DNS has nothing to protect; what an unknown service does is not known.
                Kind::Tls | Kind::Ssh | Kind::Rdp | Kind::Dns | Kind::Unknown => continue,
                Kind::Http
                    if service
                        .http
                        .as_ref()
                        .is_some_and(crate::services::Http::only_sends_to_tls) =>
                {
                    continue;
                }
                kind => format!("{place} speaks {kind} in plain text"),
            };
            findings.push(Finding::of(&PLAIN, &place, why).seen(&place, &service.says));
        }
        for port in self.datagrams() {
            // CoAP may be protected above itself (OSCORE), but this was an answer in clear.
            let plain = matches!(port.kind, Kind::Coap | Kind::Snmp | Kind::Tftp)
                && (port.kind != Kind::Coap || port.open == Some(true));
            if plain {
                let place = self.place("udp", port.port);
                let what = format!("{place} speaks {} in plain text", port.kind);
                let severity = if port.kind == Kind::Coap {
                    Severity::Medium
                } else {
                    PLAIN.severity
                };
                let finding = Finding::of(&PLAIN, &place, what).seen(&place, &port.says);
                findings.push(finding.with(severity, Confidence::High));
            }
        }
        judged(&PLAIN, self.looked_at(), findings, &self.unknown())
    }

    fn open(&self) -> Outcome {
        let rule = &credentials::OPEN;
        let mut findings = Vec::new();
        let mut found = |place: &str, severity, what: &str, says: &str| {
            let what = format!("{place} {what}.");
            let finding = Finding::of(rule, place, what).seen(place, says);
            // What looks like a shell was not asked to do anything.
            let confidence = if severity == Severity::Critical && says.ends_with(['#', '$', '>']) {
                Confidence::Medium
            } else {
                Confidence::High
            };
            findings.push(finding.with(severity, confidence));
        };
        for (port, service) in self.services().filter(|(_, it)| it.open == Some(true)) {
            let (severity, what) = match service.kind {
                Kind::Adb => (
                    Severity::Critical,
                    "gives anybody a shell, by Android's debug bridge",
                ),
                Kind::Shell => (Severity::Critical, "gives anybody a shell"),
                Kind::Telnet => (Severity::Critical, "gives anybody a shell, by telnet"),
                Kind::Vnc => (
                    Severity::Critical,
                    "shows its screen to anybody and takes his clicks",
                ),
                Kind::Ftp => (Severity::High, "lets anybody in by FTP"),
                Kind::Rtsp => (Severity::High, "shows its picture to anybody"),
                Kind::Modbus => (Severity::High, "takes commands from anybody, by Modbus"),
                // `comms/anonymous-mqtt` is about brokers.
                _ => continue,
            };
            found(&self.place("tcp", port.port), severity, what, &service.says);
        }
        for port in self.datagrams().filter(|it| it.open == Some(true)) {
            let (severity, what) = match port.kind {
                Kind::Snmp => (
                    Severity::High,
                    "tells anybody about itself, by SNMP with the community `public`",
                ),
                Kind::Tftp => (Severity::Medium, "takes anybody's requests for files"),
                Kind::Ntp => (
                    Severity::Low,
                    "tells anybody the state of its clock, by NTP's control messages",
                ),
                Kind::Coap => (Severity::Low, "tells anybody what it has, by CoAP"),
                _ => continue,
            };
            found(&self.place("udp", port.port), severity, what, &port.says);
        }
        judged(rule, self.looked_at(), findings, &self.unknown())
    }

    fn passwords(&self) -> Outcome {
        if !self.facts.credentials_tried {
            return does_not_apply(
                DEFAULT_PASSWORD,
                "passwords were not tried: `--try-credentials` tries three of them a service",
            );
        }
        let mut findings = Vec::new();
        let (mut unseen, mut tried, mut services) = (self.missed(), 0_usize, 0_usize);
        for (port, service) in self.services() {
            let Some(logins) = &port.logins else {
                continue;
            };
            let place = self.place("tcp", port.port);
            services = services.saturating_add(1);
            tried = tried.saturating_add(logins.tried);
            if let Some(account) = &logins.let_in {
                let what = format!(
                    "{place} lets in `{account}` with the password that devices are shipped with."
                );
                let seen = format!("{}: accepted at try {}", service.kind, logins.tried);
                findings.push(
                    Finding::of(DEFAULT_PASSWORD, format!("{place} {account}"), what)
                        .seen(&place, seen),
                );
            } else if let Some(why) = logins.stopped {
                unseen.push(format!("{place}: {why}"));
            }
        }
        if services == 0 && unseen.is_empty() {
            return does_not_apply(
                DEFAULT_PASSWORD,
                "no service asks for a password in a way that can be tried",
            );
        }
        judged(
            DEFAULT_PASSWORD,
            format!("{tried} tries at {services} services"),
            findings,
            &unseen,
        )
    }

    fn plain_servers(&self) -> Outcome {
        let tcp = self
            .services()
            .filter(|(_, it)| matches!(it.kind, Kind::Telnet | Kind::Ftp | Kind::Shell));
        let tcp = tcp.map(|(port, it)| (self.place("tcp", port.port), it.kind, it.says.as_str()));
        let udp = self.datagrams().filter(|it| it.kind == Kind::Tftp);
        let udp = udp.map(|it| (self.place("udp", it.port), it.kind, it.says.as_str()));
        let findings = tcp.chain(udp).map(|(place, kind, says)| {
            Finding::of(
                PLAIN_SERVER,
                &place,
                format!("A server of {kind} answers at {place}."),
            )
            .seen(&place, says)
        });
        let findings = findings.collect();
        judged(PLAIN_SERVER, self.looked_at(), findings, &self.unknown())
    }

    fn unexpected(&self) -> Outcome {
        let rule = &firewall::UNEXPECTED;
        let Some(profile) = self.profile else {
            return does_not_apply(rule, "no profile was given");
        };
        let tcp = self.facts.tcp.iter().map(|it| {
            let (kind, says) = match &it.service {
                Ok(service) => (service.kind.as_str(), service.says.as_str()),
                Err(why) => ("unknown", why.as_str()),
            };
            ("tcp", Protocol::Tcp, it.port, kind, says)
        });
        let udp = self.datagrams().map(|it| {
            (
                "udp",
                Protocol::Udp,
                it.port,
                it.kind.as_str(),
                it.says.as_str(),
            )
        });
        let ssdp = self.facts.upnp.iter().filter(|it| !it.replies.is_empty());
        let ssdp = ssdp.map(|_| ("udp", Protocol::Udp, 1900, "ssdp", "answers a search"));
        let others = tcp.chain(udp).chain(ssdp);
        let others =
            others.filter(|(_, protocol, port, ..)| let_in(profile, *protocol, *port).is_none());
        let findings = others.map(|(transport, _, port, kind, says)| {
            let place = self.place(transport, port);
            let what = format!("{place} ({kind}) answers, and the profile does not name it.");
            Finding::of(rule, &place, what).seen(&place, says)
        });
        let findings = findings.collect();
        judged(rule, self.looked_at(), findings, &self.missed())
    }

    fn unused(&self) -> Outcome {
        let rule = &firewall::UNUSED;
        if self.profile.is_none() {
            return does_not_apply(rule, "no profile was given");
        }
        let mut count = 0_usize;
        let mut findings = Vec::new();
        for port in allowed(self.profile, Protocol::Tcp) {
            let Some(state) = self.facts.ports.get(&port) else {
                continue;
            };
            count = count.saturating_add(1);
            if *state != State::Open {
                let place = self.place("tcp", port);
                let what = format!(
                    "The profile lets others in at {place}, and it is {}.",
                    match state {
                        State::Closed => "closed",
                        State::Open | State::Silent => "silent",
                    }
                );
                findings.push(Finding::of(rule, &place, what).seen(&place, state.as_str()));
            }
        }
        judged(rule, format!("{count} ports of the profile"), findings, &[])
    }

    fn amplifies(&self) -> Outcome {
        let rule = &firewall::AMPLIFIES;
        let udp = self
            .datagrams()
            .map(|it| (it.port, it.kind, it.sent, it.received));
        let ssdp = self
            .facts
            .upnp
            .iter()
            .map(|it| (1900, Kind::Ssdp, it.unicast.0, it.unicast.1));
        let mut count = 0_usize;
        let mut findings = Vec::new();
        for (port, kind, sent, received) in udp.chain(ssdp).filter(|it| it.3 > 0) {
            count = count.saturating_add(1);
            let ratio = received.checked_div(sent).unwrap_or_default();
            if ratio >= RATIO {
                let place = self.place("udp", port);
                let what = format!(
                    "{place} ({kind}) answers with {ratio} times as many bytes as it is sent."
                );
                findings.push(
                    Finding::of(rule, &place, what)
                        .seen(&place, format!("{sent} bytes sent, {received} came back")),
                );
            }
        }
        judged(
            rule,
            format!("{count} services over UDP that answer"),
            findings,
            &[],
        )
    }

    fn resolves(&self) -> Outcome {
        let rule = &firewall::RESOLVES;
        let findings = self
            .datagrams()
            .filter(|it| it.kind == Kind::Dns && it.open == Some(true))
            .map(|it| {
                let place = self.place("udp", it.port);
                Finding::of(rule, &place, format!("{place} asks names for anybody."))
                    .seen(&place, &it.says)
            });
        judged(rule, "udp 53".to_owned(), findings.collect(), &[])
    }

    fn tells(&self) -> Outcome {
        let rule = &firewall::TELLS;
        let allowed = |port| {
            self.profile
                .is_some_and(|it| let_in(it, Protocol::Udp, port).is_some())
        };
        let telling = self
            .datagrams()
            .filter(|it| matches!(it.kind, Kind::Mdns | Kind::WsDiscovery) && !allowed(it.port));
        let findings = telling.map(|it| {
            let place = self.place("udp", it.port);
            Finding::of(
                rule,
                &place,
                format!("{place} answers {} by which devices are found.", it.kind),
            )
            .seen(&place, &it.says)
        });
        judged(
            rule,
            "multicast DNS and WS-Discovery".to_owned(),
            findings.collect(),
            &[],
        )
    }
}

#[cfg(test)]
mod tests;
