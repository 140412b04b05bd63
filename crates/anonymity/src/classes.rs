//! Classes: rows that nobody can tell apart by what others know.

use std::collections::BTreeMap;

use crate::number::{code, place};
use crate::partition::{Groups, pair, partition};
use crate::table::{Column, Role, Table};

/// The rows of a table put together by their quasi-identifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    of_rows: Vec<u32>,
    rows: Vec<u32>,
    subjects: Vec<u32>,
}

impl Classes {
    /// By the columns of [`Role::Quasi`].
    pub fn of(table: &Table) -> Self {
        let quasi: Vec<_> = table.of_role(Role::Quasi).map(list).collect();
        let (of_rows, count) = partition(&quasi, table.rows());
        let (mut rows, mut subjects) = (vec![0; count], vec![0; count]);
        let mut seen = Groups::for_keys(table.rows());
        for (class, subject) in of_rows.iter().zip(table.subjects()) {
            rows[place(*class)] += 1;
            if seen.number(pair(*class, *subject)).1 {
                subjects[place(*class)] += 1;
            }
        }
        Self {
            of_rows,
            rows,
            subjects,
        }
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.rows.len()
    }

    /// The class of each row.
    pub fn of_rows(&self) -> &[u32] {
        &self.of_rows
    }

    /// The number of rows of each class.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The number of distinct subjects of each class.
    pub fn subjects(&self) -> &[u32] {
        &self.subjects
    }

    /// The anonymity k: the least number of distinct subjects in a class (Sweeney 2002, there in rows); nothing is there to expose in no rows.
    pub fn k(&self) -> Option<u32> {
        self.subjects.iter().copied().min()
    }

    /// What somebody learns who knows all rows of a subject at once: the number of subjects that share a subject's set of classes, for each
    /// set.
    pub fn whole(&self, table: &Table) -> Vec<u32> {
        let mut of_subjects: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (subject, class) in table.subjects().iter().zip(&self.of_rows) {
            of_subjects.entry(*subject).or_default().push(*class);
        }
        let mut sets: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        for mut set in of_subjects.into_values() {
            set.sort_unstable();
            set.dedup();
            *sets.entry(set).or_default() += 1;
        }
        sets.into_values().collect()
    }

    /// For each class of a sample how many subjects of a population it stands for: those with the same values in the columns by which the sample
    /// was put together. None where the population has no column of that name.
    pub fn in_population(&self, sample: &Table, population: &Table) -> Option<Vec<u32>> {
        let mut joined = Vec::new();
        for column in sample.of_role(Role::Quasi) {
            let other = population.column(column.name())?;
            let texts = |column: &Column| -> Vec<String> {
                let text = |code: &u32| column.dictionary()[place(*code)].clone();
                column.codes().iter().map(text).collect()
            };
            let (ours, theirs) = (texts(column), texts(other));
            let both = ours.iter().chain(&theirs).map(String::as_str);
            joined.push(Column::new(column.name(), Role::Quasi, both));
        }
        let lists: Vec<_> = joined.iter().map(list).collect();
        let (of_rows, count) = partition(&lists, sample.rows() + population.rows());
        let (ours, theirs) = of_rows.split_at(sample.rows());
        let (mut subjects, mut seen) = (vec![0; count], Groups::for_keys(population.rows()));
        for (class, subject) in theirs.iter().zip(population.subjects()) {
            if seen.number(pair(*class, *subject)).1 {
                subjects[place(*class)] += 1;
            }
        }
        let mut sizes = vec![0; self.count()];
        for (class, joined) in self.of_rows.iter().zip(ours) {
            sizes[place(*class)] = subjects[place(*joined)];
        }
        Some(sizes)
    }
}

/// A column as [`partition`] takes it.
pub(crate) fn list(column: &Column) -> (&[u32], usize) {
    (column.codes(), column.dictionary().len())
}

/// For each class, how many of its subjects have which value of a column: each subject counts once for each value that it has.
pub(crate) struct Spread {
    /// Where each class begins in `values`, and where the last one ends.
    starts: Vec<usize>,
    values: Vec<u32>,
}

impl Spread {
    pub(crate) fn of(classes: &Classes, table: &Table, column: &Column) -> Self {
        let several = classes.subjects.iter().sum::<u32>() != code(table.rows());
        let mut seen = Groups::for_keys(if several { table.rows() } else { 0 });
        let (pairs, _) = if several {
            partition(
                &[(classes.of_rows(), classes.count()), list(column)],
                table.rows(),
            )
        } else {
            (Vec::new(), 0)
        };
        let mut counted = vec![true; table.rows()];
        if several {
            for (row, pair_of_row) in pairs.iter().enumerate() {
                counted[row] = seen.number(pair(*pair_of_row, table.subjects()[row])).1;
            }
        }
        let mut starts = vec![0_usize; classes.count() + 1];
        for (class, _) in classes.of_rows.iter().zip(&counted).filter(|(_, it)| **it) {
            starts[place(*class) + 1] += 1;
        }
        for class in 0..classes.count() {
            starts[class + 1] += starts[class];
        }
        let mut next = starts.clone();
        let mut values = vec![0; next.last().copied().unwrap_or_default()];
        for (row, class) in classes.of_rows.iter().enumerate() {
            if counted[row] {
                let at = &mut next[place(*class)];
                values[*at] = column.codes()[row];
                *at += 1;
            }
        }
        Self { starts, values }
    }

    /// All values of a class.
    pub(crate) fn of_class(&self, class: usize) -> &[u32] {
        &self.values[self.starts[class]..self.starts[class + 1]]
    }

    /// All values of all classes.
    pub(crate) fn all(&self) -> &[u32] {
        &self.values
    }
}
