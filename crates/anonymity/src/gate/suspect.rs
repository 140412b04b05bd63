//! The linkage test on a release of rows: what the attacker knows of everybody, held against what is seen of them.

use std::collections::BTreeMap;

use super::{Knows, Linked};
use crate::attack::linkage::{Profiles, link};
use crate::fold::{Folded, Rows};
use crate::number::{code, place, real};
use crate::{Column, Hierarchy, Role, Table};

/// Values, or names of a hierarchy, that a column of words is told by.
const MOST_WORDS: usize = 16;

/// Attacks those who are in the release; none with fewer than two.
pub(super) fn attack(rows: &Rows, release: &Table) -> Option<Linked> {
    let knows = if rows.known.is_some() {
        Knows::Half
    } else {
        Knows::Quasi
    };
    let mut views = Vec::new();
    for (at, column) in rows.table.columns().iter().enumerate() {
        let features = Features::of(column, rows.hierarchies.get(column.name()));
        // Whoever saw what somebody sent last week has its numbers. A secret in words is what nobody knows.
        let is_known = match (column.role(), knows) {
            (Role::Quasi, _) | (Role::Free, Knows::Half) => true,
            (Role::Sensitive, Knows::Half) => features.is_number,
            (Role::Direct | Role::Sensitive | Role::Free, _) => false,
        };
        if !is_known {
            continue;
        }
        let Some(shown) = release.column(column.name()) else {
            continue;
        };
        views.push(View {
            known: rows.known.as_ref().map(|known| known[at].as_slice()),
            column,
            features,
            shown,
        });
    }
    let width = views.iter().map(|view| view.features.width).sum();
    let (mut known, mut exact, mut seen) = (
        Profiles::new(width),
        Profiles::new(width),
        Profiles::new(width),
    );
    for (row, subject) in release.subjects().iter().enumerate() {
        let of_all = |view: &dyn Fn(&View<'_>, usize) -> Vec<f64>| -> Vec<f64> {
            views
                .iter()
                .flat_map(|it| view(it, place(*subject)))
                .collect()
        };
        known.push(&of_all(&|view, subject| view.known(subject)));
        exact.push(&of_all(&|view, subject| view.exact(subject)));
        seen.push(&of_all(&|view, subject| view.seen(subject, row)));
    }
    Some(Linked {
        linkage: link(&known, &seen)?,
        before: link(&known, &exact)?,
        knows,
    })
}

struct View<'a> {
    /// Of each subject what was known, if that is not all.
    known: Option<&'a [Folded]>,
    /// As it was, a row for each subject.
    column: &'a Column,
    features: Features<'a>,
    /// As it is released.
    shown: &'a Column,
}

impl View<'_> {
    fn exact(&self, subject: usize) -> Vec<f64> {
        self.features.of_values[place(self.column.codes()[subject])].clone()
    }

    fn known(&self, subject: usize) -> Vec<f64> {
        match self.known.and_then(|known| known.get(subject)) {
            None => self.exact(subject),
            Some(Folded::Number(number)) if self.features.is_number => vec![*number],
            Some(Folded::Text(text)) => {
                let code = self
                    .column
                    .dictionary()
                    .iter()
                    .position(|value| value == text);
                code.map_or_else(
                    || self.features.nothing(),
                    |code| self.features.of_values[code].clone(),
                )
            }
            Some(Folded::Number(_) | Folded::None) => self.features.nothing(),
        }
    }

    fn seen(&self, subject: usize, row: usize) -> Vec<f64> {
        let Some(text) = self.shown.text(row) else {
            return self.features.nothing();
        };
        self.features.of_name(self.column.codes()[subject], text)
    }
}

/// Numbers for the values of a column.
struct Features<'a> {
    width: usize,
    is_number: bool,
    of_values: Vec<Vec<f64>>,
    hierarchy: Option<&'a Hierarchy>,
    /// By level and name: the mean over the rows whose value it may stand for.
    of_names: Vec<Vec<Vec<f64>>>,
}

impl<'a> Features<'a> {
    fn of(column: &Column, hierarchy: Option<&'a Hierarchy>) -> Self {
        let numbers: Vec<Option<f64>> = column
            .dictionary()
            .iter()
            .map(|value| value.parse().ok().filter(|n: &f64| n.is_finite()))
            .collect();
        let is_number = numbers.iter().any(Option::is_some)
            && numbers
                .iter()
                .zip(column.dictionary())
                .all(|(number, value)| number.is_some() || value == crate::fold::NONE);
        let mut counts = vec![0_usize; column.dictionary().len()];
        for code in column.codes() {
            counts[place(*code)] += 1;
        }
        let of_values: Vec<Vec<f64>> = if is_number {
            numbers
                .into_iter()
                .map(|number| vec![number.unwrap_or(f64::NAN)])
                .collect()
        } else {
            let words = words(column, hierarchy, &counts);
            let width = words.iter().map(|word| place(*word) + 1).max().unwrap_or(0);
            words
                .into_iter()
                .map(|word| {
                    let mut row = vec![0.0; width];
                    row[place(word)] = 1.0;
                    row
                })
                .collect()
        };
        let width = of_values.first().map_or(0, Vec::len);
        let levels = hierarchy.map_or(&[][..], Hierarchy::levels);
        let of_names = levels
            .iter()
            .map(|level| means(level.codes(), level.dictionary().len(), &of_values, &counts))
            .collect();
        Self {
            width,
            is_number,
            of_values,
            hierarchy,
            of_names,
        }
    }

    fn nothing(&self) -> Vec<f64> {
        vec![f64::NAN; self.width]
    }

    /// What the name says that is released for this value.
    fn of_name(&self, value: u32, name: &str) -> Vec<f64> {
        let levels = self.hierarchy.map_or(&[][..], Hierarchy::levels).iter();
        for (level, means) in levels.zip(&self.of_names) {
            let code = level.codes()[place(value)];
            if level.dictionary()[place(code)] == name {
                return means[place(code)].clone();
            }
        }
        if self.hierarchy.is_none() && name != crate::ANY {
            return self.of_values[place(value)].clone();
        }
        self.nothing()
    }
}

/// For each name the mean over the rows of its values.
fn means(names: &[u32], count: usize, of_values: &[Vec<f64>], rows: &[usize]) -> Vec<Vec<f64>> {
    let width = of_values.first().map_or(0, Vec::len);
    let mut sums = vec![(vec![0.0; width], 0_usize); count];
    for (name, (value, rows)) in names.iter().zip(of_values.iter().zip(rows)) {
        if value.iter().any(|number| number.is_nan()) {
            continue;
        }
        let (sum, all) = &mut sums[place(*name)];
        *all += rows;
        for (sum, number) in sum.iter_mut().zip(value) {
            *sum += number * real(*rows);
        }
    }
    sums.into_iter()
        .map(|(sum, all)| {
            sum.into_iter()
                .map(|sum| if all == 0 { f64::NAN } else { sum / real(all) })
                .collect()
        })
        .collect()
}

/// For each value which of a few words it is: a name of the first level with few enough, or else a frequent value or not.
fn words(column: &Column, hierarchy: Option<&Hierarchy>, counts: &[usize]) -> Vec<u32> {
    let mut levels = hierarchy.map_or(&[][..], Hierarchy::levels).iter();
    if let Some(level) = levels.find(|level| (2..=MOST_WORDS).contains(&level.dictionary().len())) {
        return level.codes().to_vec();
    }
    let mut frequent: Vec<usize> = (0..column.dictionary().len()).collect();
    frequent.sort_by_key(|value| std::cmp::Reverse(counts[*value]));
    let rank: BTreeMap<usize, u32> = frequent
        .into_iter()
        .enumerate()
        .map(|(rank, value)| (value, code(rank.min(MOST_WORDS - 1))))
        .collect();
    (0..counts.len())
        .map(|value| rank.get(&value).copied().unwrap_or(0))
        .collect()
}
