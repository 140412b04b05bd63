//! What a search works on: the rows of a table, those that no generalisation tells apart counted once.

use crate::classes::list;
use crate::goal::{Diversity, Goal};
use crate::hierarchy::Hierarchy;
use crate::loss;
use crate::number::{code, place};
use crate::partition::{Groups, partition};
use crate::sensitive::Sensitive;
use crate::table::{Column, Role, Table};

/// What sums of shares may be off by.
pub(super) const ROUNDING: f64 = 1e-12;

/// One quasi-identifier.
pub(super) struct Dimension<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    /// For each level, the loss of each name.
    pub(super) losses: Vec<Vec<f64>>,
    /// For each level, the loss of all rows together.
    pub(super) totals: Vec<f64>,
    /// For each unit, the code of its value.
    pub(super) codes: Vec<u32>,
}

impl Dimension<'_> {
    pub(super) fn levels(&self) -> usize {
        self.hierarchy.levels().len()
    }

    /// What a unit is called at a level.
    pub(super) fn name(&self, level: usize, unit: u32) -> u32 {
        let value = self.codes[place(unit)];
        self.hierarchy.levels()[level].codes()[place(value)]
    }

    /// What is lost of a unit at a level.
    pub(super) fn loss(&self, level: usize, unit: u32) -> f64 {
        self.losses[level][place(self.name(level, unit))]
    }
}

/// What keeps a class out of a release.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    Passes,
    /// Too few subjects, or too few values: so has each part of it.
    Fails,
    /// Distributed unlike what is asked: a part of it may pass. With the share of its rows, at least, that are in none.
    Unlike(f64),
}

impl Verdict {
    fn or_unlike(self, share: f64) -> Self {
        match self {
            Self::Passes => Self::Unlike(share),
            Self::Unlike(other) => Self::Unlike(share.max(other)),
            Self::Fails => Self::Fails,
        }
    }
}

/// Rows as a search sees them. Units of one subject follow one another.
pub(super) struct Units<'a> {
    pub(super) dimensions: Vec<Dimension<'a>>,
    /// The rows of each unit.
    pub(super) rows: Vec<u32>,
    /// The unit of each row.
    pub(super) of_rows: Vec<u32>,
    /// The subject of each unit; empty where each row is a subject of its own.
    subjects: Vec<u32>,
    /// For each sensitive column, the value of each unit and what classes are held against; empty where nobody asks.
    secrets: Vec<(Vec<u32>, Sensitive<'a>)>,
    k: u32,
    l: Option<Diversity>,
    t: Option<f64>,
}

impl<'a> Units<'a> {
    pub(super) fn of(
        table: &Table,
        quasi: &[(&Column, &'a Hierarchy)],
        hierarchy: impl Fn(&str) -> Option<&'a Hierarchy>,
        goal: &Goal,
    ) -> Self {
        let mut dense = Groups::for_keys(table.rows());
        let subjects = table.subjects().iter();
        let subjects: Vec<u32> = subjects.map(|it| dense.number(u64::from(*it)).0).collect();
        let several = dense.len() < table.rows();
        let secret: Vec<&Column> = if goal.l.is_some() || goal.t.is_some() {
            table.of_role(Role::Sensitive).collect()
        } else {
            Vec::new()
        };
        let mut lists: Vec<(&[u32], usize)> = quasi.iter().map(|(it, _)| list(it)).collect();
        lists.extend(secret.iter().map(|it| list(it)));
        if several {
            // First: numbers grow as they come, and subjects do so too once rows are sorted by them.
            lists.insert(0, (&subjects, dense.len()));
        }
        let mut order: Vec<u32> = (0..code(table.rows())).collect();
        if several {
            order.sort_by_key(|row| subjects[place(*row)]);
        }
        let sorted: Vec<Vec<u32>> = lists
            .iter()
            .map(|(codes, _)| order.iter().map(|row| codes[place(*row)]).collect())
            .collect();
        let sorted: Vec<(&[u32], usize)> = std::iter::zip(&sorted, &lists)
            .map(|(codes, (_, count))| (&codes[..], *count))
            .collect();
        let (numbers, count) = partition(&sorted, table.rows());
        let (mut rows, mut first, mut of_rows) =
            (vec![0; count], vec![0; count], vec![0; table.rows()]);
        for (row, unit) in order.iter().zip(&numbers) {
            if rows[place(*unit)] == 0 {
                first[place(*unit)] = *row;
            }
            rows[place(*unit)] += 1;
            of_rows[place(*row)] = *unit;
        }
        let of_units = |codes: &[u32]| first.iter().map(|row| codes[place(*row)]).collect();
        let dimensions = quasi
            .iter()
            .map(|(column, hierarchy)| {
                let losses = loss::of_names(hierarchy);
                let level_total = |(level, losses): (&crate::Level, &Vec<f64>)| {
                    let names = column.codes().iter().map(|it| level.codes()[place(*it)]);
                    names.map(|name| losses[place(name)]).sum()
                };
                Dimension {
                    hierarchy,
                    totals: std::iter::zip(hierarchy.levels(), &losses)
                        .map(level_total)
                        .collect(),
                    losses,
                    codes: of_units(column.codes()),
                }
            })
            .collect();
        let secrets = secret.iter().map(|column| {
            // Once for each subject that has it, as in a report.
            let mut seen = Groups::for_keys(table.rows());
            let pairs = partition(&[(&subjects, dense.len()), list(column)], table.rows()).0;
            let values: Vec<u32> = std::iter::zip(&pairs, column.codes())
                .filter(|(pair, _)| seen.number(u64::from(**pair)).1)
                .map(|(_, value)| *value)
                .collect();
            let (domain, tree) = (column.dictionary().len(), hierarchy(column.name()));
            let judge = Sensitive::new(&values, domain, column.ordered(), tree);
            (of_units(column.codes()), judge)
        });
        Self {
            secrets: secrets.collect(),
            subjects: if several {
                of_units(&subjects)
            } else {
                Vec::new()
            },
            dimensions,
            rows,
            of_rows,
            k: goal.k,
            l: goal.l,
            t: goal.t,
        }
    }

    /// Whether a class needs more than its number of subjects to pass.
    pub(super) const fn secretive(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// The least number of subjects of a class.
    pub(super) const fn least(&self) -> u32 {
        self.k
    }

    /// The subject of a unit, where subjects have more than one row.
    pub(super) fn subject(&self, unit: usize) -> Option<u32> {
        self.subjects.get(unit).copied()
    }

    /// Whether a class of these units, which are in order, may be released.
    pub(super) fn judge(&mut self, class: &[u32]) -> Verdict {
        let subjects: u32 = if self.subjects.is_empty() {
            class.iter().map(|unit| self.rows[place(*unit)]).sum()
        } else {
            let runs = class.chunk_by(|a, b| self.subjects[place(*a)] == self.subjects[place(*b)]);
            code(runs.count())
        };
        if subjects < self.k {
            return Verdict::Fails;
        }
        let mut verdict = Verdict::Passes;
        for (values, judge) in &mut self.secrets {
            let value = |unit: &u32| values[place(*unit)];
            let values: Vec<u32> = if self.subjects.is_empty() {
                let rows = |unit: &u32| place(self.rows[place(*unit)]);
                let each = |unit: &u32| std::iter::repeat_n(value(unit), rows(unit));
                class.iter().flat_map(each).collect()
            } else {
                let subject = |unit: &u32| self.subjects[place(*unit)];
                let mut pairs: Vec<_> = class.iter().map(|it| (subject(it), value(it))).collect();
                pairs.sort_unstable();
                pairs.dedup();
                pairs.into_iter().map(|(_, value)| value).collect()
            };
            if let Some(wanted) = self.l
                && !judge.is_diverse(&values, wanted)
            {
                if matches!(wanted, Diversity::Distinct(_)) {
                    return Verdict::Fails;
                }
                verdict = verdict.or_unlike(0.0);
            }
            if let Some(most) = self.t {
                let distance = judge.distance(&values);
                if distance > most + ROUNDING {
                    // The distance is convex and at most 1: with parts that keep it, and a share of rows in none, the class is no
                    // farther than (1 - share) * t + share. What a subject has in several parts would count there more often.
                    let share = (distance - most - ROUNDING) / (1.0 - most);
                    verdict = verdict.or_unlike(if self.subjects.is_empty() { share } else { 0.0 });
                }
            }
        }
        verdict
    }
}
