//! CVE records, version 5 (cveproject.github.io/cve-schema).

use serde::Deserialize;

use super::nvd::{CPE, Text, Vector};
use super::{Document, Form, loose, moment, short};
use crate::advisory::{Advisory, Affected, Edge, Range, upper};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    cve_metadata: Metadata,
    containers: Containers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    cve_id: String,
    state: Option<String>,
    date_updated: Option<String>,
    date_published: Option<String>,
}

#[derive(Deserialize)]
struct Containers {
    cna: Container,
    #[serde(default)]
    adp: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    title: Option<String>,
    #[serde(default)]
    affected: Vec<Product>,
    #[serde(default)]
    descriptions: Vec<Text>,
    #[serde(default)]
    metrics: Vec<Metric>,
    #[serde(default, deserialize_with = "loose")]
    provider_metadata: Provider,
    date_public: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Provider {
    date_updated: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    #[serde(rename = "cvssV4_0")]
    v4: Option<Vector>,
    #[serde(rename = "cvssV3_1")]
    v31: Option<Vector>,
    #[serde(rename = "cvssV3_0")]
    v30: Option<Vector>,
    #[serde(rename = "cvssV2_0")]
    v2: Option<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Product {
    vendor: Option<String>,
    product: Option<String>,
    default_status: Option<Status>,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Affected,
    Unaffected,
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: Option<String>,
    status: Status,
    version_type: Option<String>,
    less_than: Option<String>,
    less_than_or_equal: Option<String>,
    #[serde(default)]
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    at: String,
    status: Status,
}

pub(super) fn record(bytes: &[u8]) -> Document {
    let read = serde_json::from_slice::<Record>(bytes);
    let id = || {
        let mut parts = crate::json::parts(bytes);
        let of = parts.find(|part| part.key == b"cveMetadata");
        let id = of.and_then(|it| crate::json::parts(it.value).find(|it| it.key == b"cveId"));
        String::from_utf8_lossy(id.map_or(b"a record", |it| it.value)).into_owned()
    };
    Document::of(
        Form::Cve,
        read.map(advisory).map_err(|why| (id(), why.to_string())),
    )
}

fn advisory(record: Record) -> Advisory {
    let Record {
        cve_metadata: data,
        containers: Containers { cna, adp },
    } = record;
    let english = cna.descriptions.iter().find(|it| it.lang.starts_with("en"));
    let summary = cna.title.as_ref().or_else(|| Some(&english?.value));
    let dates = [
        &data.date_updated,
        &data.date_published,
        &cna.provider_metadata.date_updated,
        &cna.date_public,
    ];
    let modified = dates.into_iter().flatten().next();
    let metrics = || std::iter::once(&cna).chain(&adp).flat_map(|it| &it.metrics);
    let vectors = metrics().flat_map(|it| [&it.v4, &it.v31, &it.v30, &it.v2]);
    // What others add to a record is often a second telling of the same: it counts where its author says nothing.
    let told = if cna.affected.is_empty() {
        adp.iter().flat_map(|it| &it.affected).collect()
    } else {
        cna.affected.iter().collect::<Vec<_>>()
    };
    Advisory {
        cves: vec![data.cve_id.clone()],
        withdrawn: data.state.is_some_and(|it| it == "REJECTED"),
        modified: moment(modified.map_or("", String::as_str)),
        summary: summary.map(|it| short(it)).unwrap_or_default(),
        vectors: vectors
            .flatten()
            .map(|it| it.vector_string.clone())
            .collect(),
        word: String::new(),
        affected: told.into_iter().filter_map(affected).collect(),
        id: data.cve_id,
    }
}

fn affected(product: &Product) -> Option<Affected> {
    let name = |text: &Option<String>| {
        let text = text.as_ref()?.trim().to_lowercase().replace(' ', "_");
        (!text.is_empty() && text != "n/a").then_some(text)
    };
    let (vendor, of) = (name(&product.vendor), name(&product.product)?);
    let mut affected = Affected {
        ecosystem: CPE.to_owned(),
        name: format!("{}:{of}", vendor.unwrap_or_default()),
        default: product.default_status == Some(Status::Affected),
        ..Affected::default()
    };
    let (git, other): (Vec<&Version>, Vec<_>) = product
        .versions
        .iter()
        .partition(|it| it.version_type.as_deref() == Some("git"));
    if other.is_empty() && !git.is_empty() {
        // Commits are of no use to whoever has no sources.
        return None;
    }
    for it in other {
        rows(it, &mut affected);
    }
    Some(affected)
}

/// A version, or a row of them, with what changes inside it.
fn rows(it: &Version, affected: &mut Affected) {
    let Some(version) = it.version.as_deref().map(str::trim) else {
        return;
    };
    let semver = it.version_type.as_deref() == Some("semver");
    let mut row = |status: Status, from: &str, end: Option<(Edge, String)>| {
        let from = match from {
            "unspecified" | "n/a" | "*" | "0" => "0",
            from => from,
        };
        let mut events = vec![(Edge::From, from.to_owned())];
        events.extend(end);
        // What is not known to be affected is not said to be.
        affected.ranges.push(Range {
            affected: status == Status::Affected,
            semver,
            events,
        });
    };
    let end = match (&it.less_than, &it.less_than_or_equal) {
        (Some(end), _) if end == "*" => None,
        (Some(end), _) => Some((Edge::Fixed, upper(end))),
        (None, Some(end)) if end == "*" => None,
        (None, Some(end)) => Some((Edge::Last, upper(end))),
        (None, None) if version == "*" => None,
        (None, None) => {
            // One version; some write the row into it: `< 1.2`.
            match version
                .strip_prefix("<=")
                .map(|it| (Edge::Last, it))
                .or_else(|| version.strip_prefix('<').map(|it| (Edge::Fixed, it)))
            {
                Some((edge, end)) => row(it.status, "0", Some((edge, end.trim().to_owned()))),
                None => row(it.status, version, Some((Edge::Last, version.to_owned()))),
            }
            return;
        }
    };
    let (mut status, mut from) = (it.status, version.to_owned());
    for change in &it.changes {
        row(status, &from, Some((Edge::Fixed, change.at.clone())));
        (status, from) = (change.status, change.at.clone());
    }
    row(status, &from, end);
}
