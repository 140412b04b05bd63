//! OSV's records (ossf.github.io/osv-schema, 1.x).

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Document, Form, is_cve, loose, moment, short, word};
use crate::advisory::{Advisory, Affected, Edge, Range};
use crate::version::Scheme;

#[derive(Deserialize)]
struct Record {
    id: String,
    modified: String,
    withdrawn: Option<String>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    aliases: Option<Vec<String>>,
    #[serde(default)]
    upstream: Option<Vec<String>>,
    #[serde(default)]
    related: Option<Vec<String>>,
    #[serde(default)]
    severity: Option<Vec<Score>>,
    #[serde(default)]
    affected: Option<Vec<Package>>,
    #[serde(default, deserialize_with = "loose")]
    database_specific: Specific,
}

#[derive(Deserialize)]
struct Score {
    r#type: String,
    score: String,
}

#[derive(Deserialize)]
struct Package {
    package: Option<Name>,
    #[serde(default)]
    ranges: Option<Vec<Rows>>,
    #[serde(default)]
    versions: Option<Vec<String>>,
    #[serde(default)]
    severity: Option<Vec<Score>>,
    #[serde(default, deserialize_with = "loose")]
    ecosystem_specific: Specific,
}

#[derive(Deserialize)]
struct Name {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct Rows {
    r#type: String,
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
    limit: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Specific {
    severity: Option<String>,
    urgency: Option<String>,
}

pub(super) fn record(bytes: &[u8]) -> Document {
    let read = serde_json::from_slice::<Record>(bytes);
    let id = || name(bytes);
    Document::of(
        Form::Osv,
        read.map(advisory).map_err(|why| (id(), why.to_string())),
    )
}

/// The id of a record that cannot be read otherwise.
fn name(bytes: &[u8]) -> String {
    let mut parts = crate::json::parts(bytes);
    let id = parts.find(|part| part.key == b"id").map(|part| part.value);
    short(&String::from_utf8_lossy(id.unwrap_or_default()))
}

fn advisory(record: Record) -> Advisory {
    let all = |list: Option<Vec<String>>| list.unwrap_or_default();
    let (aliases, upstream) = (all(record.aliases), all(record.upstream));
    let own = std::iter::once(&record.id).chain(&aliases).chain(&upstream);
    let mut cves: BTreeSet<String> = own.filter(|it| is_cve(it)).cloned().collect();
    if cves.is_empty() {
        // A distribution's advisory names what it mends as related.
        cves.extend(all(record.related).into_iter().filter(|it| is_cve(it)));
    }
    // One that mends a fault or brings something new is none of a vulnerability.
    let bug = ["ALBA-", "ALEA-", "RLBA-", "RLEA-", "RHBA-", "RHEA-"];
    let nothing = cves.is_empty() && bug.iter().any(|it| record.id.starts_with(it));
    if cves.is_empty() {
        let other = aliases.iter().find(|it| it.starts_with("GHSA-"));
        cves.insert(other.unwrap_or(&record.id).clone());
    }
    let summary = record.summary.unwrap_or_default();
    let (vectors, mut said) = scores(record.severity);
    if said.is_empty() {
        said = record.database_specific.severity.unwrap_or_default();
    }
    if said.is_empty() {
        // `Important: kernel security update`
        let before = summary.split(':').next().filter(|it| word(it).is_some());
        before.unwrap_or_default().clone_into(&mut said);
    }
    let affected = record.affected.unwrap_or_default().into_iter();
    Advisory {
        withdrawn: record.withdrawn.is_some() || nothing,
        modified: moment(&record.modified),
        id: record.id,
        cves: cves.into_iter().collect(),
        summary: short(&summary),
        vectors,
        word: said,
        affected: affected.filter_map(package).collect(),
    }
}

fn scores(all: Option<Vec<Score>>) -> (Vec<String>, String) {
    let (mut vectors, mut said) = (Vec::new(), String::new());
    for it in all.unwrap_or_default() {
        if it.r#type.starts_with("CVSS") {
            vectors.push(it.score);
        } else {
            said = it.score;
        }
    }
    (vectors, said)
}

fn package(package: Package) -> Option<Affected> {
    let name = package.package?;
    let mut ranges = Vec::new();
    for rows in package.ranges.unwrap_or_default() {
        // Commits are of no use to whoever has no sources.
        if rows.r#type == "GIT" {
            continue;
        }
        let mut events = Vec::new();
        for event in rows.events {
            let each = [
                (Edge::From, event.introduced),
                (Edge::Fixed, event.fixed),
                (Edge::Last, event.last_affected),
                (Edge::Limit, event.limit),
            ];
            events.extend(each.into_iter().filter_map(|(edge, it)| Some((edge, it?))));
        }
        ranges.push(Range {
            semver: rows.r#type == "SEMVER",
            ..Range::of(events)
        });
    }
    let (vectors, said) = scores(package.severity);
    let mut affected = Affected {
        ranges,
        versions: package.versions.unwrap_or_default(),
        vectors,
        urgency: package.ecosystem_specific.urgency.unwrap_or(said),
        ecosystem: name.ecosystem,
        name: name.name,
        default: false,
    };
    affected.shorten(Scheme::of(&affected.ecosystem));
    Some(affected)
}
