//! Lists that are taken as a whole: KEV, EPSS, and until when distributions are supported.

use serde::Deserialize;

use super::{Document, List, MOST, day, is_cve, moment};
use crate::json;

/// A vulnerability that is used in the wild.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exploited {
    pub(crate) cve: String,
    pub(crate) added: String,
    pub(crate) ransomware: bool,
}

/// How likely it is to be used within thirty days, and the part of all that are less likely; in millionths.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Likely {
    pub(crate) cve: String,
    pub(crate) score: u32,
    pub(crate) percentile: u32,
}

/// Until which day a release of a distribution is mended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Supported {
    pub(crate) distribution: String,
    pub(crate) version: String,
    pub(crate) until: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(rename = "cveID")]
    cve: String,
    #[serde(default)]
    date_added: String,
    #[serde(default)]
    known_ransomware_campaign_use: String,
}

/// KEV as JSON.
pub(super) fn exploited(bytes: &[u8]) -> Document {
    let mut document = Document::default();
    let mut all = Vec::new();
    let mut of = String::new();
    for part in json::parts(bytes) {
        match part.key {
            b"dateReleased" => {
                of = serde_json::from_slice(part.value).unwrap_or_default();
            }
            b"vulnerabilities" => {
                for part in json::parts(part.value) {
                    match serde_json::from_slice::<Row>(part.value) {
                        Ok(row) if is_cve(&row.cve) && all.len() < MOST => all.push(Exploited {
                            cve: row.cve,
                            added: moment(&row.date_added),
                            ransomware: row.known_ransomware_campaign_use == "Known",
                        }),
                        Ok(row) => document.wrong(&row.cve, "it is no CVE"),
                        Err(why) => document.wrong("an entry of KEV", &why.to_string()),
                    }
                }
            }
            _ => (),
        }
    }
    document.list = Some((List::Exploited(all), of));
    document.dated("KEV")
}

impl Document {
    /// A list that does not say of when it is, or that has nothing in it, is none.
    fn dated(mut self, what: &str) -> Self {
        let fits = self.list.as_ref().is_some_and(|(list, of)| {
            let some = match list {
                List::Exploited(all) => !all.is_empty(),
                List::Likely(all) => !all.is_empty(),
                List::Supported(all) => !all.is_empty(),
            };
            some && day(of).is_some()
        });
        if !fits {
            self.list = None;
            self.wrong(what, "the list is empty, or does not say of when it is");
        }
        self
    }
}

/// A table of comma-separated values; none if its head is not known.
pub(super) fn table(bytes: &[u8], name: &str) -> Option<Document> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut rows = Rows(text);
    let mut head = rows.next()?;
    let mut of = String::new();
    if head.first().is_some_and(|it| it.starts_with('#')) {
        // `#model_version:v2025.03.14,score_date:2026-08-21T12:55:00Z`
        let date = head.iter().find_map(|it| it.strip_prefix("score_date:"));
        date.unwrap_or_default().clone_into(&mut of);
        head = rows.next()?;
    }
    let at = |name: &str| head.iter().position(|it| it == name);
    if let (Some(cve), Some(score), Some(percentile)) = (at("cve"), at("epss"), at("percentile")) {
        return Some(likely(rows, [cve, score, percentile], &of));
    }
    if let (Some(cve), Some(added)) = (at("cveID"), at("dateAdded")) {
        return Some(kev(rows, cve, added, at("knownRansomwareCampaignUse")));
    }
    if let (Some(version), Some(_), Some(eol)) = (at("version"), at("series"), at("eol")) {
        let columns = [version, eol, at("eol-lts").unwrap_or(eol)];
        return Some(supported(rows, columns, name));
    }
    None
}

fn likely(rows: Rows<'_>, [cve, score, percentile]: [usize; 3], of: &str) -> Document {
    let mut document = Document::default();
    let mut all = Vec::new();
    for row in rows {
        let millionths = |at: usize| row.get(at).and_then(|it| millionths(it));
        match (row.get(cve), millionths(score), millionths(percentile)) {
            (Some(cve), Some(score), Some(percentile)) if is_cve(cve) && all.len() < MOST => {
                all.push(Likely {
                    cve: cve.clone(),
                    score,
                    percentile,
                });
            }
            (cve, ..) => {
                document.wrong(cve.map_or("a row", String::as_str), "it is no row of EPSS");
            }
        }
    }
    document.list = Some((List::Likely(all), moment(of)));
    document.dated("EPSS")
}

/// `0.00043` as 430; what is beyond 1 is none.
fn millionths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(part) || !digits(whole) || whole.is_empty() {
        return None;
    }
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    let whole: u32 = whole.parse().ok().filter(|it| *it <= 1)?;
    let all = whole
        .checked_mul(1_000_000)?
        .checked_add(part.parse().ok()?)?;
    (all <= 1_000_000).then_some(all)
}

/// KEV as a table: it says of when it is by its newest row only.
fn kev(rows: Rows<'_>, cve: usize, added: usize, ransomware: Option<usize>) -> Document {
    let mut document = Document::default();
    let mut all: Vec<Exploited> = Vec::new();
    for row in rows {
        match (row.get(cve), row.get(added)) {
            (Some(cve), Some(added)) if is_cve(cve) && all.len() < MOST => all.push(Exploited {
                cve: cve.clone(),
                added: moment(added),
                ransomware: ransomware
                    .and_then(|at| row.get(at))
                    .is_some_and(|it| it == "Known"),
            }),
            (cve, _) => document.wrong(cve.map_or("a row", String::as_str), "it is no row of KEV"),
        }
    }
    let newest = all.iter().map(|it| it.added.clone()).max();
    document.list = Some((List::Exploited(all), newest.unwrap_or_default()));
    document.dated("KEV")
}

/// `debian.csv` and `ubuntu.csv` of distro-info-data. The table says nothing of when it is: the last day in it does.
fn supported(rows: Rows<'_>, [version, eol, lts]: [usize; 3], name: &str) -> Document {
    let mut document = Document::default();
    let file = name.rsplit('/').next().and_then(|it| it.split('.').next());
    let Some(distribution @ ("debian" | "ubuntu")) = file else {
        let why = "the file's name is not that of a distribution (debian.csv, ubuntu.csv)";
        document.wrong(name, why);
        return document;
    };
    let mut all = Vec::new();
    for row in rows {
        // Those to come have no day yet.
        let Some(version) = row.get(version) else {
            continue;
        };
        // Debian's long-term support comes from the archive that is asked anyway.
        let days = [row.get(lts), row.get(eol)].into_iter().flatten();
        let until = days.into_iter().find(|it| day(it).is_some());
        if let Some(until) = until.filter(|_| all.len() < MOST) {
            let version = version.trim_end_matches(" LTS");
            all.push(Supported {
                distribution: distribution.to_owned(),
                version: version.to_owned(),
                until: until.clone(),
            });
        }
    }
    let of = all.iter().map(|it| it.until.clone()).max();
    document.list = Some((List::Supported(all), of.unwrap_or_default()));
    document.dated("the list of releases")
}

/// The rows of a table (RFC 4180).
struct Rows<'a>(&'a str);

impl Iterator for Rows<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        let mut row = Vec::new();
        while self.0.starts_with(['\r', '\n']) {
            self.0 = self.0.get(1..)?;
        }
        if self.0.is_empty() {
            return None;
        }
        loop {
            let mut field = String::new();
            if let Some(quoted) = self.0.strip_prefix('"') {
                let mut rest = quoted;
                loop {
                    let (part, more) = rest.split_once('"').unwrap_or((rest, ""));
                    field.push_str(part);
                    rest = more;
                    match more.strip_prefix('"') {
                        Some(more) => {
                            field.push('"');
                            rest = more;
                        }
                        None => break,
                    }
                }
                self.0 = rest;
            }
            let end = self.0.find([',', '\n']).unwrap_or(self.0.len());
            let (part, rest) = self.0.split_at(end);
            field.push_str(part.trim_end_matches('\r'));
            row.push(field);
            let Some(more) = rest.strip_prefix(',') else {
                self.0 = rest.strip_prefix('\n').unwrap_or(rest);
                return Some(row);
            };
            self.0 = more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_apart_as_rfc_4180_says() {
        let rows: Vec<_> = Rows("a,\"b, \"\"c\"\"\nd\",e\r\n\r\n,\n\"open").collect();
        assert_eq!(
            rows,
            [vec!["a", "b, \"c\"\nd", "e"], vec!["", ""], vec!["open"]]
        );
    }

    #[test]
    fn scores_are_numbers_between_nought_and_one() {
        for (text, expected) in [
            ("0.00043", Some(430)),
            ("1", Some(1_000_000)),
            ("0.97565999", Some(975_659)),
            ("1.5", None),
            ("-0.1", None),
            ("", None),
            ("1e-3", None),
        ] {
            assert_eq!(millionths(text), expected, "{text}");
        }
    }
}
