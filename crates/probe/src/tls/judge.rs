//! What the rules make of the answers. Pure: the time is an argument.

use std::collections::BTreeMap;

use stockade_controls::engine::{Confidence, Finding, Outcome, Rule, Verdict as Ruled};
use stockade_controls::protocols::rules::{OLD_TLS, VERSIONS};
use stockade_profile::{Profile, TlsVersion};
use stockade_wire::tls::{Version, suites};

use super::certificate::Certificate;
use super::{Accepts, Facts, Verdict};
use super::{certificate_rules as comms, rules as protocols};

/// A port that was asked, and what it answered. One that is known to speak something else is not handed in.
#[derive(Debug, Clone)]
pub struct Port<'a> {
    /// The port in words: `tcp 192.0.2.7:443`.
    pub place: String,
    /// The name or the address it is reached by.
    pub name: &'a str,
    /// The answers.
    pub facts: &'a Facts,
}

/// Findings of a rule, and why it cannot be judged wholly.
#[derive(Default)]
struct Ruling {
    findings: Vec<Finding>,
    unknown: Vec<String>,
    looked_at: usize,
}

/// Judges ports at a time in seconds since 1970. `tls-version` needs a profile.
pub fn judge(ports: &[Port<'_>], profile: Option<&Profile>, now: u64) -> Vec<Outcome> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut rulings: BTreeMap<&'static str, Ruling> = BTreeMap::new();
    for port in ports.iter().filter(|port| port.facts.plain().is_none()) {
        old(port, of(&mut rulings, &OLD_TLS));
        if let Some(profile) = profile {
            versions(port, profile, of(&mut rulings, &VERSIONS));
        }
        ciphers(port, &protocols::WEAK, of(&mut rulings, &protocols::WEAK));
        ciphers(port, &protocols::DATED, of(&mut rulings, &protocols::DATED));
        certificates(port, now, &mut rulings);
    }
    let rules = [&OLD_TLS, &VERSIONS];
    let rules = rules.iter().chain(protocols::ALL).chain(comms::ALL);
    rules
        .map(|rule| {
            let verdict = match rulings.remove(rule.id) {
                _ if rule.id == VERSIONS.id && profile.is_none() => {
                    Ruled::DoesNotApply("there is no profile to say which".to_owned())
                }
                None => Ruled::DoesNotApply("no port speaks TLS".to_owned()),
                Some(it) if !it.unknown.is_empty() => {
                    Ruled::CannotTell(it.unknown.join("; "), it.findings)
                }
                Some(it) if !it.findings.is_empty() => Ruled::Broken(it.findings),
                Some(it) => Ruled::Passed(format!("{} ports", it.looked_at)),
            };
            Outcome { rule, verdict }
        })
        .collect()
}

fn of<'a>(rulings: &'a mut BTreeMap<&'static str, Ruling>, rule: &Rule) -> &'a mut Ruling {
    let ruling = rulings.entry(rule.id).or_default();
    ruling.looked_at = ruling.looked_at.saturating_add(1);
    ruling
}

/// Forbidden versions.
fn old(port: &Port<'_>, ruling: &mut Ruling) {
    let place = &port.place;
    let versions: Vec<&str> = port
        .facts
        .offered()
        .filter(|it| it.is_old())
        .map(Version::as_str)
        .collect();
    if !versions.is_empty() {
        let versions = versions.join(", ");
        let what = format!("{place} accepts {versions}");
        let found = Finding::of(&OLD_TLS, place, what);
        ruling
            .findings
            .push(found.seen(place, format!("accepts {versions}")));
    }
    for (version, verdict) in &port.facts.versions {
        if let (true, Verdict::Undetermined(why)) = (version.is_old(), verdict) {
            ruling.unknown.push(format!("{place}, {version}: {why}"));
        }
    }
}

/// Versions beside those of the profile.
fn versions(port: &Port<'_>, profile: &Profile, ruling: &mut Ruling) {
    let place = &port.place;
    if profile.protocols.tls.contains(&TlsVersion::V1_2) {
        return;
    }
    for version in [Version::Tls12, Version::Dtls12] {
        match port.facts.versions.get(&version) {
            Some(Verdict::Offered { .. }) => {
                let what = format!("{place} accepts {version}, and the profile says 1.3 only");
                let found = Finding::of(&VERSIONS, place, what);
                ruling
                    .findings
                    .push(found.seen(place, format!("accepts {version}")));
            }
            Some(Verdict::Undetermined(why)) => {
                ruling.unknown.push(format!("{place}, {version}: {why}"));
            }
            Some(Verdict::Refused(_) | Verdict::NotTls(_)) | None => (),
        }
    }
}

/// Ciphers that are weak or dated, of every version.
fn ciphers(port: &Port<'_>, rule: &'static Rule, ruling: &mut Ruling) {
    let place = &port.place;
    let is_weak = rule.id == protocols::WEAK.id;
    let mut seen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut add = |version: Version, suite: u16| {
        let name = suites::name(suite).unwrap_or_default();
        let weak = suites::weak(name);
        let why = if is_weak {
            weak
        } else {
            suites::dated(name).filter(|_| weak.is_none())
        };
        if let Some(why) = why {
            let all = seen.entry(why).or_default();
            let told = format!("{version} {name}");
            if !all.contains(&told) {
                all.push(told);
            }
        }
    };
    for (version, ciphers) in &port.facts.ciphers {
        let accepts = if is_weak {
            &ciphers.weak
        } else {
            &ciphers.dated
        };
        match accepts {
            Accepts::Yes(suite) => add(*version, *suite),
            Accepts::Undetermined(why) => {
                ruling
                    .unknown
                    .push(format!("{place}, ciphers of {version}: {why}"));
            }
            Accepts::No => (),
        }
    }
    for (version, inventory) in &port.facts.inventory {
        for suite in &inventory.suites {
            add(*version, *suite);
        }
    }
    for (version, verdict) in &port.facts.versions {
        if let Verdict::Offered {
            suite: Some(suite), ..
        } = verdict
        {
            add(*version, *suite);
        }
    }
    for (why, accepted) in seen {
        let what = format!("{place} accepts ciphers with this fault: {why}");
        let mut found = Finding::of(rule, format!("{place}: {why}"), what);
        for one in accepted {
            found = found.seen(place, format!("accepts {one}"));
        }
        ruling.findings.push(found);
    }
}

/// The certificate of a port.
fn certificates(port: &Port<'_>, now: i64, rulings: &mut BTreeMap<&'static str, Ruling>) {
    let place = &port.place;
    if port.facts.offered().next().is_none()
        || (port.facts.certificates.is_err() && has_shared_key(port.facts))
    {
        return;
    }
    let read = port
        .facts
        .certificates
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|chain| {
            let all = chain.iter().map(|der| Certificate::read(der));
            all.collect::<Result<Vec<_>, _>>()
        });
    let read = read.and_then(|chain| {
        if chain.is_empty() {
            Err("it is empty".to_owned())
        } else {
            Ok(chain)
        }
    });
    for rule in comms::ALL {
        let ruling = of(rulings, rule);
        match &read {
            Ok(chain) => ruling.findings.extend(faults(rule, port, chain, now)),
            Err(why) => ruling
                .unknown
                .push(format!("{place}, its certificate: {why}")),
        }
    }
}

/// Whether it has shared keys in place of certificates (RFC 4279, RFC 5489).
fn has_shared_key(facts: &Facts) -> bool {
    facts.versions.values().any(|verdict| match verdict {
        Verdict::Offered {
            suite: Some(suite), ..
        } => {
            suites::name(*suite).is_some_and(|name| name.contains("PSK") || name.contains("_anon_"))
        }
        Verdict::Offered { .. }
        | Verdict::Refused(_)
        | Verdict::NotTls(_)
        | Verdict::Undetermined(_) => false,
    })
}

/// How a chain breaks one rule.
fn faults(rule: &'static Rule, port: &Port<'_>, chain: &[Certificate], now: i64) -> Vec<Finding> {
    let place = &port.place;
    let mut findings = Vec::new();
    for (at, certificate) in chain.iter().enumerate() {
        let (leaf, own) = (at == 0, certificate.self_signed);
        let subject = &certificate.subject;
        let what = if rule.id == comms::DATE.id && now > certificate.not_after {
            Some(format!(
                "expired {} days ago",
                days(now.saturating_sub(certificate.not_after))
            ))
        } else if rule.id == comms::DATE.id && now < certificate.not_before {
            let left = days(certificate.not_before.saturating_sub(now));
            Some(format!("is good in {left} days only"))
        } else if rule.id == comms::NAME.id && leaf && !certificate.is_for(port.name) {
            let names = certificate.names.join(", ");
            Some(format!(
                "is for {}, not for {}",
                if names.is_empty() { "nobody" } else { &names },
                port.name
            ))
        } else if rule.id == comms::ISSUER.id && leaf && own {
            Some("is signed by itself".to_owned())
        } else if rule.id == comms::SIGNATURE.id && !own && certificate.is_weakly_signed() {
            Some(format!("is signed by {}", certificate.signature))
        } else if rule.id == comms::KEY.id && certificate.is_weak_key() {
            let (kind, bits) = certificate.key.unwrap_or_default();
            Some(format!("has a key of {bits} bits ({kind})"))
        } else if rule.id == comms::DEFAULT.id
            && leaf
            && let Some(part) = certificate.default_of()
        {
            Some(format!("is one that comes with software: \"{part}\""))
        } else {
            None
        };
        if let Some(what) = what {
            let said = format!("the certificate of {place} ({subject}) {what}");
            let mut found = Finding::of(rule, format!("{place}: {subject}"), said)
                .seen(place, format!("{subject} {what}"));
            if rule.id == comms::DEFAULT.id {
                found.confidence = Confidence::Medium;
            }
            findings.push(found);
        }
    }
    findings
}

fn days(seconds: i64) -> i64 {
    seconds.div_euclid(86_400)
}

/// Keys that more than one host has: `(host, what its port answered)`.
pub fn shared_keys(hosts: &[(String, &Facts)]) -> Vec<Finding> {
    let mut by_key: BTreeMap<Vec<u8>, (String, Vec<&str>)> = BTreeMap::new();
    for (host, facts) in hosts {
        let leaf = facts
            .certificates
            .as_ref()
            .ok()
            .and_then(|chain| chain.first());
        let Some(leaf) = leaf.and_then(|der| Certificate::read(der).ok()) else {
            continue;
        };
        let (_, with) = by_key
            .entry(leaf.spki)
            .or_insert((leaf.subject, Vec::new()));
        if !with.contains(&host.as_str()) {
            with.push(host);
        }
    }
    let shared = by_key.into_values().filter(|(_, hosts)| hosts.len() > 1);
    shared
        .map(|(subject, hosts)| {
            let what = format!(
                "{} hosts have the same key in their certificates ({subject})",
                hosts.len()
            );
            let found = Finding::of(&comms::DEFAULT, format!("the key of {subject}"), what);
            let seen = |found: Finding, host: &&str| found.seen(*host, "the same key");
            hosts.iter().fold(found, seen)
        })
        .collect()
}
