//! An advisory, whichever form it came in, and whether a version is affected by it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::version::Scheme;

/// What is kept of an advisory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Advisory {
    #[serde(skip)]
    pub(crate) id: String,
    /// `2026-08-21T09:00:00`: such texts are in the order of time.
    #[serde(skip)]
    pub(crate) modified: String,
    /// It was taken back; nothing is affected.
    #[serde(skip)]
    pub(crate) withdrawn: bool,
    /// The vulnerabilities that it is about; its own id if it names none.
    pub(crate) cves: Vec<String>,
    pub(crate) summary: String,
    /// CVSS vectors.
    pub(crate) vectors: Vec<String>,
    /// How bad it is in the words of whoever wrote it, where there is no vector.
    pub(crate) word: String,
    #[serde(skip)]
    pub(crate) affected: Vec<Affected>,
}

/// One package that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Affected {
    #[serde(skip)]
    pub(crate) ecosystem: String,
    #[serde(skip)]
    pub(crate) name: String,
    /// Whether a version that no range names is affected.
    #[serde(rename = "d", default, skip_serializing_if = "is_false")]
    pub(crate) default: bool,
    /// The first one that a version is in decides.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ranges: Vec<Range>,
    /// Versions that are affected by name.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) versions: Vec<String>,
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) vectors: Vec<String>,
    /// Debian's and Ubuntu's word for how much it matters there.
    #[serde(rename = "u", default, skip_serializing_if = "String::is_empty")]
    pub(crate) urgency: String,
}

/// Versions in a row, or several rows of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    /// Whether versions in it are affected.
    #[serde(rename = "y", default = "yes", skip_serializing_if = "is_true")]
    pub(crate) affected: bool,
    /// Semantic versions, whatever the ecosystem's are.
    #[serde(rename = "m", default, skip_serializing_if = "is_false")]
    pub(crate) semver: bool,
    #[serde(rename = "e")]
    pub(crate) events: Vec<(Edge, String)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(it: &bool) -> bool {
    !*it
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_true(it: &bool) -> bool {
    *it
}

const fn yes() -> bool {
    true
}

/// Where versions begin or end to be in a range, in the order in which those of one version count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Edge {
    /// This version is in it.
    #[serde(rename = "i")]
    From,
    /// This one is not, later ones are.
    #[serde(rename = "a")]
    After,
    /// This one is out of it again.
    #[serde(rename = "f")]
    Fixed,
    /// This is the last one in it.
    #[serde(rename = "l")]
    Last,
    /// Only versions before one of these are looked at (OSV, `limit`).
    #[serde(rename = "x")]
    Limit,
}

/// Whether a version is affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is; the version that is not any more, where one is told.
    Affected(Option<String>),
    /// It is not.
    Not,
    /// The version, or one of the advisory's, is none of its kind.
    Unknown,
}

/// The first of all versions (OSV), and one after all of a row (`5.4.*`).
const FIRST: &str = "0";
const ANY: &str = "*";
const AFTER_ALL: &str = "99999999999999999999";

impl Affected {
    /// Whether a version is affected, compared as its ecosystem does.
    pub(crate) fn asks(&self, version: &str, scheme: Scheme) -> Answer {
        if self.versions.iter().any(|it| it == version) {
            return Answer::Affected(self.fixed_after(version, scheme));
        }
        let mut unknown = false;
        for range in &self.ranges {
            match range.has(version, scheme) {
                Some(true) if range.affected => {
                    return Answer::Affected(self.fixed_after(version, scheme));
                }
                Some(true) => return Answer::Not,
                Some(false) => (),
                None => unknown = true,
            }
        }
        match (unknown, self.default) {
            (true, _) => Answer::Unknown,
            (false, true) => Answer::Affected(None),
            (false, false) => Answer::Not,
        }
    }

    /// The lowest version above this one at which a range that it is in ends.
    fn fixed_after(&self, version: &str, scheme: Scheme) -> Option<String> {
        let with = |range: &Range| range.scheme(version, scheme);
        let ends = self.ranges.iter().filter(|it| it.affected).flat_map(|it| {
            let scheme = with(it);
            let fixed = it.events.iter().filter(|(edge, _)| *edge == Edge::Fixed);
            fixed.filter_map(move |(_, end)| {
                let after = scheme?.compare(end, version)? == Ordering::Greater;
                after.then_some((scheme?, end))
            })
        });
        let lowest = ends.reduce(|(scheme, a), (_, b)| match scheme.compare(a, b) {
            Some(Ordering::Greater) => (scheme, b),
            _ => (scheme, a),
        });
        lowest.map(|(_, end)| end.clone())
    }

    /// Takes out the versions by name that a range has anyway.
    pub(crate) fn shorten(&mut self, scheme: Scheme) {
        let ranges = &self.ranges;
        self.versions.retain(|version| {
            !ranges
                .iter()
                .any(|range| range.affected && range.has(version, scheme) == Some(true))
        });
    }
}

impl Range {
    /// A range of versions that are affected.
    pub(crate) const fn of(events: Vec<(Edge, String)>) -> Self {
        Self {
            affected: true,
            semver: false,
            events,
        }
    }

    /// The scheme that everything in it, and this version, is read by.
    fn scheme(&self, version: &str, scheme: Scheme) -> Option<Scheme> {
        let wanted = if self.semver { Scheme::Semver } else { scheme };
        let reads = |scheme: Scheme| {
            let mut all = self.events.iter().map(|(_, it)| it.as_str());
            scheme.reads(version) && all.all(|it| it == FIRST || it == ANY || scheme.reads(it))
        };
        // What calls itself semantic and is not (`1.1.1n`) is compared as everybody's is.
        match wanted {
            Scheme::Semver | Scheme::Python => {
                [wanted, Scheme::Generic].into_iter().find(|it| reads(*it))
            }
            other => reads(other).then_some(other),
        }
    }

    /// Whether a version is in it (OSV schema, "Evaluation"). None if that cannot be told.
    fn has(&self, version: &str, scheme: Scheme) -> Option<bool> {
        let scheme = self.scheme(version, scheme)?;
        let compare = |left: &str, right: &str| match (left, right) {
            (FIRST, FIRST) | (ANY, ANY) => Ordering::Equal,
            (FIRST, _) | (_, ANY) => Ordering::Less,
            (_, FIRST) | (ANY, _) => Ordering::Greater,
            // Both were read before.
            _ => scheme.compare(left, right).unwrap_or(Ordering::Equal),
        };
        let at = |edge: &str| {
            if edge == FIRST {
                Ordering::Greater
            } else {
                compare(version, edge)
            }
        };
        let mut limits = self.events.iter().filter(|(edge, _)| *edge == Edge::Limit);
        if limits.clone().next().is_some() && !limits.any(|(_, it)| at(it) == Ordering::Less) {
            return Some(false);
        }
        let mut events: Vec<&(Edge, String)> = self.events.iter().collect();
        events.sort_by(|(a, left), (b, right)| compare(left, right).then(a.cmp(b)));
        let mut is_in = false;
        for (edge, it) in events {
            let at = at(it);
            match edge {
                Edge::From => is_in |= at != Ordering::Less,
                Edge::After => is_in |= at == Ordering::Greater,
                Edge::Fixed => is_in &= at == Ordering::Less,
                Edge::Last => is_in &= at != Ordering::Greater,
                Edge::Limit => (),
            }
        }
        Some(is_in)
    }
}

/// An upper end such as `5.4.*` as a version after all of them.
pub(crate) fn upper(text: &str) -> String {
    match text {
        ANY => ANY.to_owned(),
        other => other.replace(ANY, AFTER_ALL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(events: &[(Edge, &str)]) -> Affected {
        let events = events.iter().map(|(edge, it)| (*edge, (*it).to_owned()));
        Affected {
            ranges: vec![Range::of(events.collect())],
            ..Affected::default()
        }
    }

    fn check(
        affected: &Affected,
        version: &str,
        scheme: Scheme,
        fixed: Result<Option<&str>, bool>,
    ) {
        let expected = match fixed {
            Ok(fixed) => Answer::Affected(fixed.map(ToOwned::to_owned)),
            Err(true) => Answer::Not,
            Err(false) => Answer::Unknown,
        };
        assert_eq!(affected.asks(version, scheme), expected, "{version}");
    }

    #[test]
    fn a_version_is_in_a_range_from_its_beginning_to_before_its_end() {
        use Edge::{Fixed, From, Last, Limit};
        // In no order, twice in and out.
        let two = range(&[
            (Fixed, "2.0-1"),
            (From, "0"),
            (From, "1:1"),
            (Fixed, "1:2-3~deb12u1"),
        ]);
        for (version, fixed) in [
            ("0~", Ok(Some("2.0-1"))),
            ("2.0-1~bpo12+1", Ok(Some("2.0-1"))),
            ("2.0-1", Err(true)),
            ("2.0-1+b1", Err(true)),
            ("1:1", Ok(Some("1:2-3~deb12u1"))),
            ("1:2-3~bpo11+1", Ok(Some("1:2-3~deb12u1"))),
            ("1:2-3~deb12u1", Err(true)),
            ("no version", Err(false)),
        ] {
            check(&two, version, Scheme::Debian, fixed);
        }
        let last = range(&[(From, "1.2"), (Last, "1.4")]);
        check(&last, "1.1", Scheme::Generic, Err(true));
        check(&last, "1.4.0", Scheme::Generic, Ok(None));
        check(&last, "1.4.1", Scheme::Generic, Err(true));
        let limit = range(&[(From, "1"), (Limit, "3"), (Limit, "2")]);
        check(&limit, "2.5", Scheme::Generic, Ok(None));
        check(&limit, "3", Scheme::Generic, Err(true));
        check(&range(&[(From, "0")]), "7", Scheme::Rpm, Ok(None));
    }

    #[test]
    fn a_version_by_name_counts_and_one_that_is_in_a_range_anyway_is_not_kept() {
        let mut named = range(&[(Edge::From, "1.0"), (Edge::Fixed, "1.2")]);
        named.versions = ["1.1", "3.0-odd"].map(ToOwned::to_owned).to_vec();
        named.shorten(Scheme::Generic);
        assert_eq!(named.versions, ["3.0-odd"]);
        check(&named, "3.0-odd", Scheme::Generic, Ok(None));
        check(&named, "1.1", Scheme::Generic, Ok(Some("1.2")));
    }

    #[test]
    fn what_is_not_affected_comes_before_what_is_by_default() {
        let row = |from: &str, last: &str| Range {
            affected: false,
            ..Range::of(vec![
                (Edge::From, from.to_owned()),
                (Edge::Last, upper(last)),
            ])
        };
        let kernel = Affected {
            default: true,
            ranges: vec![row("5.4.100", "5.4.*"), row("0", "2.6.11")],
            ..Affected::default()
        };
        for (version, fixed) in [
            ("2.6.11", Err(true)),
            ("5.4.99", Ok(None)),
            ("5.4.100", Err(true)),
            ("5.4.3000", Err(true)),
            ("5.5", Ok(None)),
        ] {
            check(&kernel, version, Scheme::Generic, fixed);
        }
    }
}
