//! Records of the National Vulnerability Database: its API and its feeds, 2.0.

use serde::Deserialize;

use super::{Document, Form, moment, short};
use crate::advisory::{Advisory, Affected, Edge, Range};
use crate::json;

/// Names of products are kept under this ecosystem, as `vendor:product`.
pub(crate) const CPE: &str = "CPE";

#[derive(Deserialize)]
struct Item {
    cve: Record,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    last_modified: String,
    #[serde(default)]
    vuln_status: String,
    #[serde(default)]
    descriptions: Vec<Text>,
    #[serde(default)]
    metrics: Metrics,
    #[serde(default)]
    configurations: Vec<Configuration>,
}

#[derive(Deserialize)]
pub(super) struct Text {
    #[serde(default)]
    pub(super) lang: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metrics {
    cvss_metric_v40: Vec<Metric>,
    cvss_metric_v31: Vec<Metric>,
    cvss_metric_v30: Vec<Metric>,
    cvss_metric_v2: Vec<Metric>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    cvss_data: Vector,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Vector {
    #[serde(default)]
    pub(super) vector_string: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(default)]
    negate: bool,
    #[serde(default)]
    cpe_match: Vec<Match>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    vulnerable: bool,
    criteria: String,
    version_start_including: Option<String>,
    version_start_excluding: Option<String>,
    version_end_including: Option<String>,
    version_end_excluding: Option<String>,
}

pub(super) fn feed(all: &[u8]) -> Document {
    let mut document = Document::default();
    for part in json::parts(all) {
        read(part.value, &mut document);
    }
    document
}

/// A record by itself, with or without its wrapping.
pub(super) fn record(bytes: &[u8]) -> Document {
    let mut document = Document::default();
    if json::parts(bytes).any(|part| part.key == b"cve") {
        read(bytes, &mut document);
    } else {
        read(&[b"{\"cve\":", bytes, b"}"].concat(), &mut document);
    }
    document
}

fn read(bytes: &[u8], document: &mut Document) {
    let item = serde_json::from_slice::<Item>(bytes);
    document.add(
        Form::Nvd,
        item.map(|it| advisory(it.cve)).map_err(|why| {
            let id = json::parts(bytes)
                .find(|part| part.key == b"cve")
                .and_then(|cve| json::parts(cve.value).find(|part| part.key == b"id"))
                .map_or(b"a record".as_slice(), |id| id.value);
            (String::from_utf8_lossy(id).into_owned(), why.to_string())
        }),
    );
}

fn advisory(record: Record) -> Advisory {
    let Metrics {
        cvss_metric_v40,
        cvss_metric_v31,
        cvss_metric_v30,
        cvss_metric_v2,
    } = record.metrics;
    let metrics = [
        cvss_metric_v40,
        cvss_metric_v31,
        cvss_metric_v30,
        cvss_metric_v2,
    ];
    let vectors = metrics.into_iter().flatten();
    let english = record.descriptions.iter().find(|it| it.lang == "en");
    let applies = record.configurations.iter().filter(|it| linux(it));
    let matches = applies.flat_map(|it| &it.nodes).filter(|it| !it.negate);
    let matches = matches.flat_map(|it| &it.cpe_match);
    Advisory {
        cves: vec![record.id.clone()],
        withdrawn: record.vuln_status == "Rejected",
        modified: moment(&record.last_modified),
        summary: english.map(|it| short(&it.value)).unwrap_or_default(),
        vectors: vectors.map(|it| it.cvss_data.vector_string).collect(),
        word: String::new(),
        affected: matches
            .filter(|it| it.vulnerable)
            .filter_map(affected)
            .collect(),
        id: record.id,
    }
}

/// Whether it can be of a device with Linux: where platforms are named, one of them is not another system.
fn linux(configuration: &Configuration) -> bool {
    let mut platforms = configuration.nodes.iter().flat_map(|it| &it.cpe_match);
    let mut platforms = platforms
        .by_ref()
        .filter(|it| !it.vulnerable)
        .filter_map(|it| Cpe::read(&it.criteria))
        .filter(|it| it.part == "o")
        .peekable();
    platforms.peek().is_none() || platforms.any(|it| !foreign(&it.product))
}

fn foreign(system: &str) -> bool {
    const FOREIGN: [&str; 8] = [
        "windows",
        "macos",
        "mac_os",
        "iphone_os",
        "ipados",
        "android",
        "solaris",
        "aix",
    ];
    FOREIGN.iter().any(|it| system.starts_with(it))
}

fn affected(it: &Match) -> Option<Affected> {
    let cpe = Cpe::read(&it.criteria)?;
    if foreign(&cpe.system) {
        return None;
    }
    let mut events = Vec::new();
    let bounds = [
        (Edge::From, &it.version_start_including),
        (Edge::After, &it.version_start_excluding),
        (Edge::Last, &it.version_end_including),
        (Edge::Fixed, &it.version_end_excluding),
    ];
    for (edge, version) in bounds {
        events.extend(version.iter().map(|it| (edge, it.clone())));
    }
    let mut affected = Affected {
        ecosystem: CPE.to_owned(),
        name: format!("{}:{}", cpe.vendor, cpe.product),
        ..Affected::default()
    };
    match cpe.version.as_str() {
        "*" | "-" => {
            if !events
                .iter()
                .any(|(edge, _)| matches!(edge, Edge::From | Edge::After))
            {
                events.push((Edge::From, "0".to_owned()));
            }
            affected.ranges.push(Range::of(events));
        }
        _ => affected.versions.push(cpe.version),
    }
    Some(affected)
}

/// What is wanted of a name of CPE 2.3 (NISTIR 7695, 6.2).
struct Cpe {
    part: String,
    vendor: String,
    product: String,
    /// With the update behind it: `1.0` and `rc1` are `1.0rc1`.
    version: String,
    /// The system that it is for.
    system: String,
}

impl Cpe {
    fn read(text: &str) -> Option<Self> {
        let mut fields = vec![String::new()];
        let mut quoted = false;
        for c in text.strip_prefix("cpe:2.3:")?.chars() {
            if !quoted && c == ':' {
                fields.push(String::new());
            } else if !quoted && c == '\\' {
                quoted = true;
                continue;
            } else {
                fields.last_mut()?.push(c);
            }
            quoted = false;
        }
        let mut fields = fields.into_iter();
        let mut next = || fields.next();
        let (part, vendor, product) = (next()?, next()?, next()?);
        let (version, update) = (next()?, next().unwrap_or_default());
        let system = fields.nth(3).unwrap_or_default();
        let version = match update.as_str() {
            "" | "*" | "-" => version,
            update => format!("{version}{update}"),
        };
        Some(Self {
            part,
            vendor,
            product,
            version,
            system,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpe_is_taken_apart_at_colons_that_are_not_quoted() {
        let cpe = Cpe::read(r"cpe:2.3:a:w1.fi:wpa\:x:2.10:rc1:*:*:*:windows_10:*:*").expect("one");
        assert_eq!((cpe.part.as_str(), cpe.product.as_str()), ("a", "wpa:x"));
        assert_eq!(
            (cpe.version.as_str(), cpe.system.as_str()),
            ("2.10rc1", "windows_10")
        );
        assert!(Cpe::read("cpe:/a:b").is_none());
        assert!(Cpe::read("cpe:2.3:a").is_none());
    }
}
