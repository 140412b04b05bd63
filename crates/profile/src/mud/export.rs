//! From a profile to a MUD file: each rule is written so that it reads back as the same rule, or it is refused with the reason.

use super::GATEWAY;
use super::aces::{ace, frame_ace};
use super::file::read;
use super::flow::{Families, Opening};
use super::import::{ImportOptions, import};
use super::json::Json;
use super::section::{Label, LastUpdate, Mud, TlsRule};
use crate::{
    Direction, Endpoint, Family, Firewall, Frame, HttpsUrl, PortRange, Profile, Protocol, Traffic,
};

/// What a MUD file says that its profile does not know.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Where the file will be.
    pub url: HttpsUrl,
    /// When it was made.
    pub last_update: LastUpdate,
    /// Where its signature will be: an address, maybe relative to the file's own.
    pub signature: Option<String>,
}

/// A MUD file made of a profile, and what became of each rule of the profile.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The file.
    pub bytes: Vec<u8>,
    /// What became of each rule, in the order of the profile: out, in, frames.
    pub rules: Vec<ExportReport>,
}

/// What became of one rule of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// The rule as a sentence.
    pub rule: String,
    /// Why it is not in the file, if it is not.
    pub refused: Option<String>,
    /// What the file does not say of it.
    pub warnings: Vec<String>,
}

impl Exported {
    /// The report, line by line: `7 of 8 rules are in the MUD file`, what was refused and why, what is lost.
    pub fn report(&self) -> Vec<String> {
        let written = self.rules.iter().filter(|rule| rule.refused.is_none());
        let (written, all) = (written.count(), self.rules.len());
        let mut lines = vec![format!("{written} of {all} rules are in the MUD file")];
        for ExportReport {
            rule,
            refused,
            warnings,
        } in &self.rules
        {
            match refused {
                Some(why) => lines.push(format!("{rule}: REFUSED: {why}")),
                None => lines.extend(
                    warnings
                        .iter()
                        .map(|warning| format!("{rule}: warning: {warning}")),
                ),
            }
        }
        lines
    }
}

/// Makes a MUD file of a profile's firewall.
pub fn export(profile: &Profile, options: &ExportOptions) -> Exported {
    let mut rules = sentences(&profile.firewall);
    let mut root = file(profile, options, &mut rules);
    let lost = lost(&profile.firewall, &rules, &root);
    // What reads back as another rule's answers is left out, rather than lost in silence.
    for index in lost {
        if let Some(rule) = rules.get_mut(index) {
            let why = "a reader of the file would not get this rule back: it looks like the answers of another one";
            rule.refused.get_or_insert_with(|| why.to_owned());
        }
    }
    root = file(profile, options, &mut rules);
    Exported {
        bytes: root.pretty().into_bytes(),
        rules,
    }
}

fn sentences(firewall: &Firewall) -> Vec<ExportReport> {
    let outward = firewall.outward.iter().map(crate::Outward::spoken);
    let inward = firewall.inward.iter().map(crate::Inward::spoken);
    let frames = firewall.frames.iter().map(Frame::spoken);
    let report = |rule| ExportReport {
        rule,
        refused: None,
        warnings: Vec::new(),
    };
    outward.chain(inward).chain(frames).map(report).collect()
}

/// A rule of the firewall that speaks of packets.
struct Source<'p> {
    direction: Direction,
    peer: &'p Endpoint,
    traffic: &'p Traffic,
    service: bool,
}

fn sources(firewall: &Firewall) -> impl Iterator<Item = Source<'_>> {
    let outward = firewall.outward.iter().map(|rule| Source {
        direction: Direction::Out,
        peer: &rule.to,
        traffic: &rule.traffic,
        service: rule.service.is_some(),
    });
    let inward = firewall.inward.iter().map(|rule| Source {
        direction: Direction::In,
        peer: &rule.from,
        traffic: &rule.traffic,
        service: false,
    });
    outward.chain(inward)
}

/// The places of rules that reading the file does not give back.
fn lost(firewall: &Firewall, rules: &[ExportReport], root: &Json) -> Vec<usize> {
    let read = read(root.pretty().as_bytes()).ok();
    let back = read.map(|file| import(&file, &ImportOptions::default()).profile.firewall);
    let back: Vec<(Direction, Opening)> = back.iter().flat_map(openings).collect();
    let is_back = |(way, opening): &(Direction, Opening)| {
        back.iter().any(|(other, read)| {
            way == other
                && read.same_but_family(opening)
                && opening.families.without(read.families).is_empty()
        })
    };
    let written = openings(firewall).into_iter().zip(rules).enumerate();
    written
        .filter(|(_, (opening, rule))| rule.refused.is_none() && !is_back(opening))
        .map(|(index, _)| index)
        .collect()
}

fn openings(firewall: &Firewall) -> Vec<(Direction, Opening)> {
    sources(firewall)
        .map(|source| (source.direction, opening(&source)))
        .collect()
}

fn opening(source: &Source<'_>) -> Opening {
    let mut opening = Opening::of(source.peer, source.traffic);
    // The whole of a family is written without an address.
    if let Endpoint::Network(network) = &opening.peer
        && network.prefix() == 0
    {
        opening.peer = Endpoint::Any;
    }
    opening
}

/// The six lists of the file.
#[derive(Default)]
struct Lists {
    from: [Vec<Json>; 3],
    to: [Vec<Json>; 3],
}

/// The list for IPv4, for IPv6, and for frames.
const KINDS: [(&str, &str); 3] = [
    ("ipv4", "ipv4-acl-type"),
    ("ipv6", "ipv6-acl-type"),
    ("frames", "eth-acl-type"),
];

impl Lists {
    fn push(&mut self, direction: Direction, kind: usize, ace: Json) {
        let lists = match direction {
            Direction::Out => &mut self.from,
            Direction::In => &mut self.to,
        };
        if let Some(list) = lists.get_mut(kind) {
            list.push(ace);
        }
    }
}

fn file(profile: &Profile, options: &ExportOptions, rules: &mut [ExportReport]) -> Json {
    let mut lists = Lists::default();
    let none = Mud::default();
    let about = profile.mud.as_ref().unwrap_or(&none);
    let mut reports = rules.iter_mut();
    let mut counts = [0_usize; 2];
    for source in sources(&profile.firewall) {
        let [outward, inward] = &mut counts;
        let count = match source.direction {
            Direction::Out => outward,
            Direction::In => inward,
        };
        *count = count.saturating_add(1);
        let name = format!("{}-{count}", source.direction);
        let Some(report) = reports.next() else { break };
        if report.refused.is_some() {
            continue;
        }
        if let Err(why) = said(&source) {
            report.refused = Some(why);
            continue;
        }
        let tls = about.tls.iter().find(|tls| {
            let Traffic { protocol, port, .. } = source.traffic;
            tls.speaks_of(source.direction, source.peer, *protocol, *port)
        });
        report.warnings = write(&name, &source, tls, &mut lists);
    }
    for (index, frame) in profile.firewall.frames.iter().enumerate() {
        let name = format!("frame-{}", index.saturating_add(1));
        lists.push(frame.direction, 2, frame_ace(&name, frame));
    }
    Json::object([
        ("ietf-mud:mud", container(profile, about, options, &lists)),
        ("ietf-access-control-list:acls", acls(lists)),
    ])
}

/// Whether MUD has words for the rule's other end.
fn said(source: &Source<'_>) -> Result<(), String> {
    if let Endpoint::Model(model) = source.peer {
        return Err(format!(
            "MUD knows other models by their MUD URL only: write \"mud:https://...\" instead of \"model:{model}\""
        ));
    }
    let gateway = |class: &crate::ClassUri| class.as_str() == GATEWAY;
    if matches!(source.peer, Endpoint::Controller(class) if gateway(class)) {
        return Err("a reader takes this class for the gateway: write \"gateway\"".to_owned());
    }
    Ok(())
}

/// Writes a rule, and the answers to it so that others, who filter packets, let them pass; gives what is lost.
fn write(name: &str, source: &Source<'_>, tls: Option<&TlsRule>, lists: &mut Lists) -> Vec<String> {
    let mut warnings = Vec::new();
    if source.traffic.rate.is_some() {
        warnings.push("MUD has no rates: the file allows it at any".to_owned());
    }
    if source.service {
        warnings.push("MUD knows no services: the file allows it to the whole device".to_owned());
    }
    let opening = opening(source);
    let answers = answers(source.direction, &opening);
    if answers.is_none() {
        warnings.push(
            "its answers are not written, since MUD can not tell them from what the other end opens; \
             who filters by the file alone may drop them"
                .to_owned(),
        );
    }
    for (kind, family) in [(0, Family::Ipv4), (1, Family::Ipv6)] {
        if opening.families.and(Families::only(family)).is_empty() {
            continue;
        }
        let own = ace(
            name,
            source.direction,
            source.direction,
            &opening,
            family,
            tls,
        );
        lists.push(source.direction, kind, own);
        if let Some(answers) = &answers {
            let name = format!("{name}-answers");
            let way = other(source.direction);
            let ace = ace(&name, way, source.direction, answers, family, None);
            lists.push(way, kind, ace);
        }
    }
    warnings
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::In => Direction::Out,
        Direction::Out => Direction::In,
    }
}

/// The packets that answer, if a reader can tell them from packets that open.
fn answers(direction: Direction, opening: &Opening) -> Option<Opening> {
    let mirrored = Opening {
        to: opening.from,
        from: opening.to,
        ..opening.clone()
    };
    let is_any = |port: Option<PortRange>| port == Some(PortRange::ANY);
    match opening.protocol {
        // `direction-initiated` tells.
        Protocol::Tcp => Some(mirrored),
        Protocol::Udp => {
            let names_to = !is_any(opening.to);
            let told = match (names_to, is_any(opening.from)) {
                (true, true) => true,
                (true, false) => direction == Direction::Out && opening.to != opening.from,
                (false, _) => false,
            };
            told.then_some(mirrored)
        }
        Protocol::Icmp | Protocol::Icmpv6 => {
            let mut kind = opening.icmp?;
            kind.kind = match (opening.protocol, kind.kind) {
                (Protocol::Icmp, 8) => 0,
                (Protocol::Icmpv6, 128) => 129,
                _ => return None,
            };
            Some(Opening {
                icmp: Some(kind),
                ..mirrored
            })
        }
        Protocol::Igmp | Protocol::Number(_) | Protocol::Any => None,
    }
}

/// `ietf-mud:mud` (RFC 8520 §3).
fn container(profile: &Profile, about: &Mud, options: &ExportOptions, lists: &Lists) -> Json {
    let mut nodes: Vec<(String, Json)> = Vec::new();
    let mut put = |key: &str, value: Option<Json>| {
        nodes.extend(value.map(|value| (key.to_owned(), value)));
    };
    let line = |label: Option<&Label>| label.map(|label| Json::text(label.as_str()));
    let device = &profile.device;
    put("mud-version", Some(Json::number(1)));
    put("mud-url", Some(Json::text(options.url.as_str())));
    put("mud-signature", options.signature.clone().map(Json::Text));
    put(
        "last-update",
        Some(Json::text(options.last_update.as_str())),
    );
    put("cache-validity", Some(Json::number(about.cache_validity)));
    put("is-supported", Some(Json::Boolean(about.is_supported)));
    // RFC 8520 §3.7: at most 60 characters.
    let told = format!("{} {}", device.manufacturer, device.model);
    let told = Json::Text(told.chars().take(60).collect::<String>().trim().to_owned());
    put("systeminfo", line(about.systeminfo.as_ref()).or(Some(told)));
    let maker = Json::text(device.manufacturer.as_str());
    put("mfg-name", line(about.mfg_name.as_ref()).or(Some(maker)));
    put(
        "documentation",
        about
            .documentation
            .as_ref()
            .map(|uri| Json::text(uri.as_str())),
    );
    let model = Json::text(device.model.as_str());
    put(
        "model-name",
        line(about.model_name.as_ref()).or(Some(model)),
    );
    put("firmware-rev", line(about.firmware_rev.as_ref()));
    put("software-rev", line(about.software_rev.as_ref()));
    if !about.extensions.is_empty() {
        let names = about
            .extensions
            .iter()
            .map(|name| Json::text(name.as_str()));
        put("extensions", Some(Json::List(names.collect())));
    }
    if about.tls_profiles {
        put(
            "ietf-mud-tls:is-tls-dtls-profile-supported",
            Some(Json::Boolean(true)),
        );
    }
    put("from-device-policy", Some(policy("from", &lists.from)));
    put("to-device-policy", Some(policy("to", &lists.to)));
    Json::Object(nodes)
}

fn policy(way: &str, lists: &[Vec<Json>; 3]) -> Json {
    let used = KINDS
        .iter()
        .zip(lists)
        .filter(|(_, rules)| !rules.is_empty());
    let named =
        used.map(|((kind, _), _)| Json::object([("name", Json::Text(format!("{way}-{kind}")))]));
    let list = Json::object([("access-list", Json::List(named.collect()))]);
    Json::object([("access-lists", list)])
}

fn acls(lists: Lists) -> Json {
    let Lists { from, to } = lists;
    let mut acls = Vec::new();
    for (way, lists) in [("from", from), ("to", to)] {
        for ((kind, name), rules) in KINDS.iter().zip(lists) {
            if !rules.is_empty() {
                acls.push(Json::object([
                    ("name", Json::Text(format!("{way}-{kind}"))),
                    ("type", Json::text(*name)),
                    ("aces", Json::object([("ace", Json::List(rules))])),
                ]));
            }
        }
    }
    Json::object([("acl", Json::List(acls))])
}
