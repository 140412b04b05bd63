//! What is told of a release: the same to a program, on a page and in a terminal.

use std::collections::BTreeMap;

use serde::Serialize;
use stockade_anonymity::attack::linkage;
use stockade_anonymity::csv::line;
use stockade_anonymity::gate::{Judged, Knows, Linked};
use stockade_anonymity::{Diversity, Goal, Report, Table};

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
    pub subjects: usize,
    /// Of how many different kinds.
    pub classes: usize,
    /// The fewest of a kind.
    pub k: u32,
    /// How many kinds there are of each size.
    pub sizes: BTreeMap<u32, usize>,
    /// Those who are the only one of their kind.
    pub unique: usize,
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
    pub homogeneous: usize,
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
    pub alone: usize,
    /// Left out: together with earlier releases they would stand among too few.
    pub overlaid: usize,
    /// Earlier releases that it was held against.
    pub earlier: u32,
    /// The fewest that anybody stands among in all of them together.
    pub crowd: Option<u32>,
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
    pub fn of(name: &str, goal: &Goal, judged: &Judged) -> Self {
        Self {
            product: "anonymised release",
            data_set: name.to_owned(),
            number: None,
            refused: judged.reasons.iter().map(ToString::to_string).collect(),
            goal: Asked::of(goal),
            k: judged.k,
            before: Measured::of(&judged.before),
            after: Measured::of(&judged.after),
            alone: judged.suppressed.alone,
            overlaid: judged.suppressed.overlaid,
            earlier: 0,
            crowd: judged.crowd,
            loss: judged.loss.geometric,
            lost: judged.lost.clone(),
            optimal: judged.optimal,
            linkage: judged.linked.map(|linked| Linkage::of(&linked)),
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
    pub fn csv(&self) -> String {
        let lines = std::iter::once(&self.columns).chain(&self.rows);
        lines
            .map(|row| line(row.iter().map(String::as_str)))
            .collect()
    }
}

impl Risk {
    pub(super) fn of(
        name: &str,
        goal: &Goal,
        report: &Report,
        linked: Option<Linked>,
        released: Option<Release>,
        unreachable: Option<String>,
    ) -> Self {
        Self {
            data_set: name.to_owned(),
            goal: Asked::of(goal),
            stored: Measured::of(report),
            linkage: linked.map(|linked| Linkage::of(&linked)),
            points_known: super::read::POINTS,
            singled_out: None,
            released,
            unreachable,
            omitted: Vec::new(),
            missing_blocks: 0,
        }
    }
}

impl Measured {
    fn of(report: &Report) -> Self {
        Self {
            subjects: report.subjects,
            classes: report.classes,
            k: report.k,
            sizes: report.sizes.clone(),
            unique: report.unique_subjects,
            highest_risk: report.prosecutor.highest,
            average_risk: report.prosecutor.average,
            sensitive: report
                .sensitive
                .iter()
                .map(|given| Given {
                    column: given.column.clone(),
                    l: given.distinct,
                    t: given.t,
                    homogeneous: given.homogeneous_classes,
                })
                .collect(),
        }
    }
}

impl Linkage {
    fn of(linked: &Linked) -> Self {
        Self {
            knows: match linked.knows {
                Knows::Half => "all numbers of the first half of the time",
                Knows::Quasi => "all quasi-identifiers",
            },
            found: linked.linkage.first,
            before: linked.before.first,
            chance: linked.linkage.chance,
            limit: linkage::limit(&linked.linkage),
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
