//! What is told of a release: the same to a program, on a page and in a terminal.

use std::collections::BTreeMap;

use serde::Serialize;
use stockade_anonymity::attack::linkage;
use stockade_anonymity::csv::{Formulas, line};
use stockade_anonymity::gate::{Judged, Knows, Linked};
use stockade_anonymity::{Diversity, Goal, Report, Table};

use super::precision::{Count, Precision};

/// What was to be reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// Distinct subjects in a class.
    pub k: u32,
    /// Different sensitive values in it.
    pub l: Option<u32>,
    /// The distance of their distribution.
    pub t: Option<f64>,
    /// The part that may be left out.
    pub suppress: f64,
}

/// How exposed the subjects of a table are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Measured {
    /// How many.
    pub subjects: Count,
    /// Of how many different kinds.
    pub classes: Count,
    /// The fewest of a kind.
    pub k: Count,
    /// How many kinds there are of each size; not where numbers are rounded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sizes: BTreeMap<u32, usize>,
    /// Those who are the only one of their kind.
    pub unique: Count,
    /// The highest risk to be found.
    pub highest_risk: f64,
    /// The risk on average.
    pub average_risk: f64,
    /// What the classes give away of each sensitive column.
    pub sensitive: Vec<Given>,
}

/// What the classes give away of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Given {
    /// Its name.
    pub column: String,
    /// The fewest different values in a class.
    pub l: u32,
    /// The farthest that a class is from all.
    pub t: f64,
    /// Classes with one value: who is known to be in one has no secret.
    pub homogeneous: Count,
}

/// What the linkage test found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Linkage {
    /// What it was given of everybody.
    pub knows: &'static str,
    /// The part that it found at the first guess.
    pub found: f64,
    /// The part that it finds in the rows as they were.
    pub before: f64,
    /// What guessing blindly finds.
    pub chance: f64,
    /// What it may find.
    pub limit: f64,
}

/// A release, or what would become of one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Release {
    /// What it is called; never anything else.
    pub product: &'static str,
    /// The data set.
    pub data_set: String,
    /// Its number in the ledger; none if it was not released.
    pub number: Option<u32>,
    /// Whether numbers are rounded, and few not told: who asked may not count devices exactly.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rounded: bool,
    /// Why it may not be released; empty if it may.
    pub refused: Vec<String>,
    /// What was to be reached.
    pub goal: Asked,
    /// The k that was searched with: larger than asked where the linkage test needed it.
    pub k: u32,
    /// As it was.
    pub before: Measured,
    /// As it is released.
    pub after: Measured,
    /// Left out: too few were like them.
    pub alone: Count,
    /// Left out: together with earlier releases they would stand among too few.
    pub overlaid: Count,
    /// Earlier releases that it was held against.
    pub earlier: u32,
    /// The fewest that anybody stands among in all of them together.
    pub crowd: Option<Count>,
    /// What was lost, 0 to 1.
    pub loss: f64,
    /// The same by column.
    pub lost: Vec<(String, f64)>,
    /// Whether no other release of this kind loses less.
    pub optimal: bool,
    /// The linkage test.
    pub linkage: Option<Linkage>,
    /// Fields that are in no row.
    pub omitted: Vec<String>,
    /// Blocks that could not be read: what they had is missing. Which, `stockade vault fsck` says.
    pub missing_blocks: usize,
    /// The names of the columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The rows, in the order of their text: it says nothing of when they came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Vec<String>>,
}

/// How exposed the subjects of a data set are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Risk {
    /// The data set.
    pub data_set: String,
    /// Whether numbers are rounded, and few not told: who asked may not count devices exactly.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rounded: bool,
    /// What a release must reach.
    pub goal: Asked,
    /// One row a subject, as it is stored.
    pub stored: Measured,
    /// The linkage test on it.
    pub linkage: Option<Linkage>,
    /// How many records somebody knows of a subject in the next.
    pub points_known: usize,
    /// The part of the subjects with as many records whom these single out; none where nobody has as many.
    pub singled_out: Option<f64>,
    /// What a release would make of it.
    pub released: Option<Release>,
    /// Why there is none.
    pub unreachable: Option<String>,
    /// Fields that are in no row.
    pub omitted: Vec<String>,
    /// Blocks that could not be read: what they had is missing. Which, `stockade vault fsck` says.
    pub missing_blocks: usize,
}

impl Asked {
    const fn of(goal: &Goal) -> Self {
        Self {
            k: goal.k,
            l: match goal.l {
                Some(Diversity::Distinct(l)) => Some(l),
                _ => None,
            },
            t: goal.t,
            suppress: goal.suppress,
        }
    }
}

impl Release {
    /// Without rows: what is told of it.
    pub(super) fn of(name: &str, goal: &Goal, judged: &Judged, precision: Precision) -> Self {
        Self {
            product: "anonymised release",
            data_set: name.to_owned(),
            number: None,
            rounded: precision.is_coarse(),
            refused: judged
                .reasons
                .iter()
                .map(|reason| precision.reason(reason))
                .collect(),
            goal: Asked::of(goal),
            k: judged.k,
            before: Measured::of(&judged.before, precision),
            after: Measured::of(&judged.after, precision),
            alone: precision.count(judged.suppressed.alone),
            overlaid: precision.count(judged.suppressed.overlaid),
            earlier: 0,
            crowd: judged.crowd.map(|crowd| precision.at_least(crowd)),
            loss: precision.share(judged.loss.geometric),
            lost: judged
                .lost
                .iter()
                .map(|(column, lost)| (column.clone(), precision.share(*lost)))
                .collect(),
            optimal: judged.optimal,
            linkage: judged.linked.map(|linked| Linkage::of(&linked, precision)),
            omitted: Vec::new(),
            missing_blocks: 0,
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// With the rows, if nothing speaks against it.
    #[must_use]
    pub fn with(mut self, table: &Table) -> Self {
        if self.refused.is_empty() {
            self.columns = table
                .columns()
                .iter()
                .map(|it| it.name().to_owned())
                .collect();
            self.rows = rows(table);
        }
        self
    }

    /// The rows as a file (RFC 4180).
    pub fn csv(&self, formulas: Formulas) -> String {
        let lines = std::iter::once(&self.columns).chain(&self.rows);
        lines
            .map(|row| line(row.iter().map(String::as_str), formulas))
            .collect()
    }
}

impl Risk {
    pub(super) fn of(
        name: &str,
        goal: &Goal,
        (report, linked): (&Report, Option<Linked>),
        precision: Precision,
    ) -> Self {
        Self {
            data_set: name.to_owned(),
            rounded: precision.is_coarse(),
            goal: Asked::of(goal),
            stored: Measured::of(report, precision),
            linkage: linked.map(|linked| Linkage::of(&linked, precision)),
            points_known: super::read::POINTS,
            singled_out: None,
            released: None,
            unreachable: None,
            omitted: Vec::new(),
            missing_blocks: 0,
        }
    }
}

impl Measured {
    fn of(report: &Report, precision: Precision) -> Self {
        Self {
            subjects: precision.count(report.subjects),
            classes: precision.count(report.classes),
            k: precision.at_least(report.k),
            sizes: if precision.is_coarse() {
                BTreeMap::new()
            } else {
                report.sizes.clone()
            },
            unique: precision.count(report.unique_subjects),
            highest_risk: precision.share(report.prosecutor.highest),
            average_risk: precision.share(report.prosecutor.average),
            sensitive: report
                .sensitive
                .iter()
                .map(|given| Given {
                    column: given.column.clone(),
                    l: given.distinct,
                    t: precision.share(given.t),
                    homogeneous: precision.count(given.homogeneous_classes),
                })
                .collect(),
        }
    }
}

impl Linkage {
    fn of(linked: &Linked, precision: Precision) -> Self {
        Self {
            knows: match linked.knows {
                Knows::Half => "all numbers of the first half of the time",
                Knows::Quasi => "all quasi-identifiers",
            },
            found: precision.share(linked.linkage.first),
            before: precision.share(linked.before.first),
            chance: precision.share(linked.linkage.chance),
            limit: precision.share(linkage::limit(&linked.linkage)),
        }
    }
}

/// The rows of a table as text, sorted.
pub(super) fn rows(table: &Table) -> Vec<Vec<String>> {
    let text = |row: usize| {
        let columns = table.columns().iter();
        columns
            .map(|column| column.text(row).unwrap_or_default().to_owned())
            .collect()
    };
    let mut rows: Vec<Vec<String>> = (0..table.rows()).map(text).collect();
    rows.sort_unstable();
    rows
}
