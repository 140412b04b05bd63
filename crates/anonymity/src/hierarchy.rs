//! Coarser and coarser words for the values of a column.

use std::collections::BTreeMap;

use crate::number::{code, place};
use crate::table::{Column, finite};

/// What a value becomes where nothing is said of it.
pub const ANY: &str = "*";
/// Levels of one hierarchy, the values themselves included: each is a factor of the search.
pub const MOST_LEVELS: usize = 32;

/// For each value of a column's dictionary, what it is called at each level; level 0 is the value itself, the last level says nothing.
///
/// Two values of the same name at one level have the same name at each higher one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    levels: Vec<Level>,
}

/// One level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    codes: Vec<u32>,
    dictionary: Vec<String>,
    leaves: Vec<u32>,
}

impl Level {
    /// For each value of the column's dictionary, the code of its name at this level.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The names at this level.
    pub fn dictionary(&self) -> &[String] {
        &self.dictionary
    }

    /// For each name, how many values of the domain it may stand for.
    pub fn leaves(&self) -> &[u32] {
        &self.leaves
    }

    /// Names for the values of the dictionary, and for those of the domain: these are counted.
    fn of<'a>(names: Vec<String>, domain: impl Iterator<Item = &'a str>) -> Self {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut dictionary = Vec::new();
        let mut codes = Vec::with_capacity(names.len());
        for name in names {
            let next = code(dictionary.len());
            codes.push(*seen.entry(name).or_insert_with_key(|name| {
                dictionary.push(name.clone());
                next
            }));
        }
        let mut leaves = vec![0; dictionary.len()];
        for name in domain {
            if let Some(known) = seen.get(name) {
                leaves[place(*known)] += 1;
            }
        }
        Self {
            codes,
            dictionary,
            leaves,
        }
    }
}

/// Why a hierarchy does not suit a column.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HierarchyFault {
    /// Nothing says what a value becomes.
    #[error("the hierarchy of `{column}` does not have its value `{value}`")]
    Missing {
        /// The column.
        column: String,
        /// Its value.
        value: String,
    },
    /// A value is described twice.
    #[error("line {line}: `{value}` is there already")]
    Twice {
        /// The line of the file.
        line: usize,
        /// The value.
        value: String,
    },
    /// A line is shorter or longer than the first one.
    #[error("line {line} has {found} levels, the first one {wanted}")]
    Uneven {
        /// The line of the file.
        line: usize,
        /// How many levels it has.
        found: usize,
        /// How many the first one has.
        wanted: usize,
    },
    /// What is one name becomes two on the next level.
    #[error(
        "in the hierarchy of `{column}`, `{name}` of level {level} becomes more than one name on the next"
    )]
    Splits {
        /// The column.
        column: String,
        /// The name.
        name: String,
        /// Its level.
        level: usize,
    },
    /// More than [`MOST_LEVELS`].
    #[error("a hierarchy of more than {MOST_LEVELS} levels")]
    Deep,
    /// A value that is no number, or a step that is none to count by.
    #[error("`{value}` of `{column}` is not a number to put into intervals of {step}")]
    Number {
        /// The column.
        column: String,
        /// Its value.
        value: String,
        /// The width of the intervals.
        step: f64,
    },
}

impl Hierarchy {
    /// A hierarchy for this column from the names of its values: the rows of a file, each a value and its names from the finest on.
    ///
    /// A last level that says nothing is added where the file has none. Values that the column lacks count where loss is measured.
    pub fn of_rows<S: AsRef<str>>(
        column: &Column,
        rows: &[Vec<S>],
    ) -> Result<Self, HierarchyFault> {
        let wanted = rows.first().map_or(0, Vec::len);
        let mut by_value: BTreeMap<&str, &[S]> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let line = at.saturating_add(1);
            let Some((value, names)) = row.split_first().filter(|_| row.len() == wanted) else {
                return Err(HierarchyFault::Uneven {
                    line,
                    found: row.len(),
                    wanted,
                });
            };
            if by_value.insert(value.as_ref(), names).is_some() {
                let value = value.as_ref().to_owned();
                return Err(HierarchyFault::Twice { line, value });
            }
        }
        let mut levels = vec![Vec::new(); wanted.max(1)];
        for value in column.dictionary() {
            let missing = || HierarchyFault::Missing {
                column: column.name().to_owned(),
                value: value.clone(),
            };
            let names = by_value.get(value.as_str()).ok_or_else(missing)?;
            let names = names.iter().map(AsRef::as_ref);
            for (level, name) in levels
                .iter_mut()
                .zip(std::iter::once(value.as_str()).chain(names))
            {
                level.push(name.to_owned());
            }
        }
        let mut domain = vec![Vec::new(); wanted.max(1)];
        for row in rows {
            for (level, name) in domain.iter_mut().zip(row) {
                level.push(name.as_ref());
            }
        }
        Self::checked(column, levels, &domain)
    }

    /// Values as they are, or nothing.
    pub fn all_or_nothing(column: &Column) -> Self {
        let values = column.dictionary();
        let nothing = values.iter().map(|_| ANY);
        Self {
            levels: vec![
                Level::of(values.to_vec(), values.iter().map(String::as_str)),
                Level::of(nothing.clone().map(str::to_owned).collect(), nothing),
            ],
        }
    }

    /// Intervals `[from, to)` of these widths, from the narrowest on, counted from 0. Widths that do not divide the next one are refused.
    pub fn of_numbers(column: &Column, widths: &[f64]) -> Result<Self, HierarchyFault> {
        let mut levels = vec![column.dictionary().to_vec()];
        for step in widths.iter().copied() {
            let name = |value: &String| {
                let number = finite(value).filter(|_| step.is_finite() && step > 0.0);
                let from = number.map(|number| (number / step).floor() * step);
                let fault = || HierarchyFault::Number {
                    column: column.name().to_owned(),
                    value: value.clone(),
                    step,
                };
                from.map(|from| format!("[{from}, {})", from + step))
                    .ok_or_else(fault)
            };
            levels.push(
                column
                    .dictionary()
                    .iter()
                    .map(name)
                    .collect::<Result<_, _>>()?,
            );
        }
        Self::of_names(column, levels)
    }

    /// Levels by the names of each value of the dictionary, from the values themselves on.
    pub fn of_names(column: &Column, names: Vec<Vec<String>>) -> Result<Self, HierarchyFault> {
        let domain = names.clone();
        let domain: Vec<Vec<&str>> = domain
            .iter()
            .map(|level| level.iter().map(String::as_str).collect())
            .collect();
        Self::checked(column, names, &domain)
    }

    fn checked(
        column: &Column,
        mut names: Vec<Vec<String>>,
        domain: &[Vec<&str>],
    ) -> Result<Self, HierarchyFault> {
        let values = column.dictionary().len();
        if let Some(level) = names.iter().find(|level| level.len() != values) {
            return Err(HierarchyFault::Uneven {
                line: 1,
                found: level.len(),
                wanted: values,
            });
        }
        let says_nothing = |level: &Vec<String>| level.windows(2).all(|pair| pair[0] == pair[1]);
        let mut domain = domain.to_vec();
        if names.len() < 2 || !names.last().is_some_and(says_nothing) {
            let size = domain.first().map_or(values, Vec::len);
            names.push(vec![ANY.to_owned(); values]);
            domain.push(vec![ANY; size]);
        }
        let levels: Vec<Level> = std::iter::zip(names, domain)
            .map(|(names, domain)| Level::of(names, domain.into_iter()))
            .collect();
        if levels.len() > MOST_LEVELS {
            return Err(HierarchyFault::Deep);
        }
        for (at, pair) in levels.windows(2).enumerate() {
            let [fine, coarse] = pair else { continue };
            let mut becomes = vec![None; fine.dictionary.len()];
            for (from, to) in fine.codes.iter().zip(&coarse.codes) {
                if *becomes[place(*from)].get_or_insert(*to) != *to {
                    return Err(HierarchyFault::Splits {
                        column: column.name().to_owned(),
                        name: fine.dictionary[place(*from)].clone(),
                        level: at,
                    });
                }
            }
        }
        Ok(Self { levels })
    }

    /// Whether it is one of this column's values.
    pub(crate) fn suits(&self, column: &Column) -> bool {
        let Some(values) = self.levels.first() else {
            return false;
        };
        let names = values.codes.iter().map(|it| &values.dictionary[place(*it)]);
        names.eq(column.dictionary())
    }

    /// The levels, from the values themselves to the one that says nothing.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }
}
