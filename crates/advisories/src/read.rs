//! The forms that data comes in, told by their content.

mod cve5;
mod lists;
mod nvd;
mod osv;

use serde::{Deserialize as _, Deserializer};
use stockade_controls::engine::Severity;

use crate::advisory::Advisory;
use crate::json;

pub(crate) use lists::{Exploited, Likely, Supported};
pub(crate) use nvd::CPE;

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// OSV's records.
    Osv,
    /// The 2.0 API and feeds of the National Vulnerability Database.
    Nvd,
    /// CVE records, version 5.
    Cve,
    /// CISA's catalogue of exploited vulnerabilities.
    Kev,
    /// The Exploit Prediction Scoring System's scores.
    Epss,
    /// Until when distributions are supported, as `distro-info-data` has it.
    Support,
}

impl Form {
    /// Its short name, for good.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Osv => "osv",
            Self::Nvd => "nvd",
            Self::Cve => "cve-5",
            Self::Kev => "kev",
            Self::Epss => "epss",
            Self::Support => "support",
        }
    }
}

/// What a document holds.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) advisories: Vec<(Form, Advisory)>,
    /// A list that is taken as a whole, and the day it is of.
    pub(crate) list: Option<(List, String)>,
    /// What could not be read: which record, and why.
    pub(crate) bad: Vec<(String, String)>,
}

/// A list that is taken as a whole.
#[derive(Debug)]
pub(crate) enum List {
    Exploited(Vec<Exploited>),
    Likely(Vec<Likely>),
    Supported(Vec<Supported>),
}

/// The most records of one kind in one document, and the longest texts of one.
const MOST: usize = 2_000_000;
const MOST_PARTS: usize = 20_000;
const LONG: usize = 512;

/// Reads a document of a known form; none if it is of none.
pub(crate) fn document(bytes: &[u8], name: &str) -> Option<Document> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match bytes.trim_ascii_start().first()? {
        b'{' => object(bytes),
        b'[' => {
            let mut all = Document::default();
            let mut known = true;
            for part in json::parts(bytes) {
                match object(part.value) {
                    Some(document) => all.take(document),
                    None => known = false,
                }
            }
            if !known {
                if all.advisories.is_empty() && all.bad.is_empty() {
                    return None;
                }
                all.wrong("an element", "it is no record of a known form");
            }
            Some(all)
        }
        _ => lists::table(bytes, name),
    }
}

fn object(bytes: &[u8]) -> Option<Document> {
    const TELLING: [&[u8]; 7] = [
        b"dataType",
        b"catalogVersion",
        b"format",
        b"vulnerabilities",
        b"cve",
        b"id",
        b"lastModified",
    ];
    let mut found = [None; 7];
    for part in json::parts(bytes) {
        let at = TELLING.iter().position(|key| *key == part.key);
        if let Some(place) = at.and_then(|at| found.get_mut(at)) {
            *place = Some(part.value.trim_ascii());
        }
    }
    let [kind, catalog, format, all, cve, id, changed] = found;
    let of_nvd = format.is_some_and(|it| it.starts_with(b"\"NVD"));
    match all {
        _ if kind == Some(b"\"CVE_RECORD\"") => Some(cve5::record(bytes)),
        _ if catalog.is_some() => Some(lists::exploited(bytes)),
        Some(all) if of_nvd => Some(nvd::feed(all)),
        None if cve.is_some() || (id.is_some() && changed.is_some()) => Some(nvd::record(bytes)),
        None if id.is_some() => Some(osv::record(bytes)),
        _ => None,
    }
}

impl Document {
    fn of(form: Form, read: Result<Advisory, (String, String)>) -> Self {
        let mut document = Self::default();
        document.add(form, read);
        document
    }

    fn add(&mut self, form: Form, read: Result<Advisory, (String, String)>) {
        match read.and_then(fits) {
            Ok(advisory) if self.advisories.len() < MOST => self.advisories.push((form, advisory)),
            Ok(advisory) => self.wrong(&advisory.id, "there are too many records"),
            Err((id, why)) => self.wrong(&id, &why),
        }
    }

    fn wrong(&mut self, id: &str, why: &str) {
        if self.bad.len() < MOST {
            self.bad.push((short(id), short(why)));
        }
    }

    fn take(&mut self, other: Self) {
        self.advisories.extend(other.advisories);
        self.bad.extend(other.bad);
        if let Some((_, day)) = other.list {
            self.wrong(&day, "a list among records");
        }
    }
}

/// What has texts or lists beyond all measure is no advisory.
fn fits(advisory: Advisory) -> Result<Advisory, (String, String)> {
    let Advisory { id, affected, .. } = &advisory;
    let named = |it: &String| !it.is_empty() && it.len() <= LONG && !it.contains(char::is_control);
    let wrong = if !named(id) {
        Some("it has no id, or one beyond all measure")
    } else if day(&advisory.modified).is_none() {
        Some("it does not say when it was changed")
    } else if affected.len() > MOST_PARTS
        || affected.iter().any(|it| {
            !named(&it.name)
                || it.ecosystem.len() > LONG
                || it.ranges.len() > MOST_PARTS
                || it.versions.len() > MOST_PARTS
                || it.ranges.iter().any(|it| it.events.len() > MOST_PARTS)
        })
    {
        Some("what it affects is beyond all measure, or has no name")
    } else {
        None
    };
    match wrong {
        Some(why) => Err((advisory.id, why.to_owned())),
        None => Ok(advisory),
    }
}

/// As much of a text as is worth telling.
pub(crate) fn short(text: &str) -> String {
    text.trim_matches('"')
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

/// Seconds since 1970 at the beginning of a day `2026-08-21`, with whatever stands behind it.
pub(crate) fn day(text: &str) -> Option<u64> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = time::Date::parse(text.get(..10)?, format).ok()?;
    u64::try_from(date.midnight().assume_utc().unix_timestamp()).ok()
}

/// The part of a time that can be compared as text.
fn moment(text: &str) -> String {
    text.chars().take(19).collect()
}

/// Whether text is a CVE's name.
pub(crate) fn is_cve(text: &str) -> bool {
    let mut parts = text.split('-');
    let digits = |it: Option<&str>| {
        it.is_some_and(|it| {
            it.len() >= 4 && it.len() < 20 && it.bytes().all(|b| b.is_ascii_digit())
        })
    };
    parts.next() == Some("CVE")
        && digits(parts.next())
        && digits(parts.next())
        && parts.next().is_none()
}

/// How bad it is by a word.
pub(crate) fn word(text: &str) -> Option<Severity> {
    Some(match text.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "important" | "high" => Severity::High,
        "moderate" | "medium" => Severity::Medium,
        "low" | "negligible" | "unimportant" | "none" => Severity::Low,
        _ => return None,
    })
}

/// What is not of the expected type is taken as not there: whatever else a record says still counts.
fn loose<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned + Default>(
    from: D,
) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(T::deserialize(value).unwrap_or_default())
}
