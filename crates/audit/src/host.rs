//! Hosts over the network: asked by crate `probe`, judged by its rules and the controls'.

use std::time::Instant;

use stockade_controls::engine::Standing;
use stockade_probe::host::{HostFacts, State, sum};
use stockade_probe::{Options, Target as Asked, tls};
use stockade_profile::Profile;

use crate::{AuditError, Audited, ByProfile, PortRow, Spent, Target, TargetKind};

/// Audits a host, or each one of a range that gives a sign of being there, at a time in seconds since 1970.
pub fn host(
    target: &str,
    profile: Option<&Profile>,
    options: &Options,
    now: u64,
    progress: &dyn Fn(&str),
) -> Result<Audited, AuditError> {
    let start = Instant::now();
    let asked = Asked::read(target).map_err(AuditError::Usage)?;
    let kind = Target {
        kind: TargetKind::Host,
        name: target.to_owned(),
        sha256: None,
    };
    let mut audited = Audited::of(kind, Standing::Live);
    audited.profile = profile.map(ByProfile::from);
    let mut hosts = asked.hosts.clone();
    let mut cost = stockade_probe::line::Spent::default();
    if hosts.len() > 1 {
        progress(&format!("looking for {} addresses", hosts.len()));
        let (there, spent) = stockade_probe::present(&hosts, options);
        let mut there = there.into_iter();
        // Nobody has an address of a range that gives no sign.
        hosts.retain(|_| there.next().unwrap_or(true));
        cost = spent;
    }
    for further in &asked.further {
        let why = "a further address of this name: it is audited by itself".to_owned();
        audited.not_audited.push((further.to_string(), why));
    }
    let mut options = options.clone();
    options.line.name.clone_from(&asked.name);
    let mut all = Vec::new();
    for host in &hosts {
        match stockade_probe::probe(*host, asked.port, &options, profile, progress) {
            Ok(facts) => {
                cost = sum(cost, facts.spent);
                add(&mut audited, &facts);
                all.push(facts);
            }
            Err(why) => audited
                .not_audited
                .push((host.ip().to_string(), why.to_string())),
        }
    }
    audited.spent = Some(Spent {
        connections: cost.connections,
        segments: cost.segments,
        datagrams: cost.datagrams,
        bytes: cost.bytes,
    });
    for facts in &all {
        let place = facts.address.to_string();
        if !facts.answers {
            let why = "it gives no sign of being there".to_owned();
            audited.not_audited.push((place, why));
        }
        let name = asked.name.as_deref();
        audited.outcomes.extend(judge(facts, name, profile, now));
        audited.not_audited.extend(facts.unread.iter().cloned());
    }
    shared_keys(&all, &mut audited);
    if all.is_empty() && audited.not_audited.is_empty() {
        let why = format!(
            "none of {} addresses gives a sign of being there",
            asked.hosts.len()
        );
        audited.not_audited.push((target.to_owned(), why));
    }
    audited.took = start.elapsed();
    Ok(audited)
}

fn judge(
    facts: &HostFacts,
    name: Option<&str>,
    profile: Option<&Profile>,
    now: u64,
) -> Vec<stockade_controls::engine::Outcome> {
    let mut outcomes = stockade_probe::judge(facts, profile);
    let address = facts.address.to_string();
    let port = |place, facts| tls::Port {
        place,
        name: name.unwrap_or(&address),
        facts,
    };
    let tcp = facts
        .tcp
        .iter()
        .filter_map(|it| Some(port(place(facts, "tcp", it.port), it.tls.as_ref()?)));
    let udp = facts
        .dtls
        .iter()
        .map(|(number, its)| port(place(facts, "udp", *number), its));
    let ports: Vec<_> = tcp.chain(udp).collect();
    outcomes.extend(tls::judge(&ports, profile, now));
    outcomes
}

fn place(facts: &HostFacts, transport: &str, port: u16) -> String {
    let address = std::net::SocketAddr::new(facts.address, port);
    format!("{transport} {address}")
}

/// Keys that several hosts have.
fn shared_keys(all: &[HostFacts], audited: &mut Audited) {
    let ports = all.iter().flat_map(|facts| {
        let tls = facts.tcp.iter().filter_map(|it| it.tls.as_ref());
        let tls = tls.chain(facts.dtls.iter().map(|(_, its)| its));
        tls.map(|it| (facts.address.to_string(), it))
    });
    let findings = tls::shared_keys(&ports.collect::<Vec<_>>());
    if let Some(first) = findings.first() {
        audited.outcomes.push(stockade_controls::engine::Outcome {
            rule: first.rule,
            verdict: stockade_controls::engine::Verdict::Broken(findings),
        });
    }
}

/// What a host answered, port by port, as far as something answers.
fn add(audited: &mut Audited, facts: &HostFacts) {
    let address = facts.address.to_string();
    let row = |transport: &str, port, state: State, service: Option<&str>, says: &str| PortRow {
        address: address.clone(),
        transport: transport.to_owned(),
        port,
        state: state.as_str().to_owned(),
        service: service.map(str::to_owned),
        says: says.to_owned(),
    };
    for port in &facts.tcp {
        let (service, says) = match &port.service {
            Ok(service) => (service.kind.as_str(), service.says.as_str()),
            Err(why) => ("unknown", why.as_str()),
        };
        audited
            .ports
            .push(row("tcp", port.port, State::Open, Some(service), says));
    }
    for port in &facts.udp {
        if port.state == State::Open {
            let service = Some(port.kind.as_str());
            audited
                .ports
                .push(row("udp", port.port, port.state, service, &port.says));
        }
    }
    if let Some(reply) = facts.upnp.as_ref().and_then(|it| it.replies.first()) {
        let says = reply.server.as_deref().unwrap_or_default();
        audited
            .ports
            .push(row("udp", 1900, State::Open, Some("ssdp"), says));
    }
}
