//! A data set as columns of codes, and whose each row is.

use std::collections::{BTreeMap, BTreeSet};

use crate::number::{code, place};

/// What a column is to somebody who looks for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Names a subject by itself: never released.
    Direct,
    /// Known to others, and in combination leads to a subject.
    Quasi,
    /// What is to be learned about a subject by nobody.
    Sensitive,
    /// Neither known to others nor of interest to them.
    Free,
}

/// One column: for each row the code of its value, and the values that the codes stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    name: String,
    role: Role,
    ordered: bool,
    codes: Vec<u32>,
    dictionary: Vec<String>,
}

impl Column {
    /// A column of these values, one a row. Its dictionary is in order: by number where every value is one, else by text.
    pub fn new<'a>(name: &str, role: Role, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        let mut codes = Vec::new();
        for value in values {
            let next = code(seen.len());
            codes.push(*seen.entry(value).or_insert(next));
        }
        let numbers: Option<Vec<f64>> = seen.keys().map(|value| finite(value)).collect();
        let mut order: Vec<(&str, u32)> = seen.into_iter().collect();
        let ordered = numbers.is_some();
        if let Some(numbers) = numbers {
            let mut by_number: Vec<_> = numbers.into_iter().zip(order).collect();
            by_number.sort_by(|a, b| a.0.total_cmp(&b.0));
            order = by_number.into_iter().map(|(_, entry)| entry).collect();
        }
        let mut rank = vec![0; order.len()];
        for (new, (_, old)) in order.iter().enumerate() {
            rank[place(*old)] = code(new);
        }
        for value in &mut codes {
            *value = rank[place(*value)];
        }
        let dictionary = order
            .into_iter()
            .map(|(value, _)| value.to_owned())
            .collect();
        Self {
            name: name.to_owned(),
            role,
            ordered,
            codes,
            dictionary,
        }
    }

    /// A column whose codes and dictionary are there already; `ordered` says that values follow one another as in the dictionary.
    pub fn coded(
        name: &str,
        role: Role,
        ordered: bool,
        codes: Vec<u32>,
        dictionary: Vec<String>,
    ) -> Result<Self, TableFault> {
        if codes.iter().any(|code| place(*code) >= dictionary.len()) {
            return Err(TableFault::Code(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            role,
            ordered,
            codes,
            dictionary,
        })
    }

    /// What the column is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is to somebody who looks for a person.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether distances between values follow the order of the dictionary.
    pub const fn ordered(&self) -> bool {
        self.ordered
    }

    /// The code of each row's value: its place in the dictionary.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The values, each once.
    pub fn dictionary(&self) -> &[String] {
        &self.dictionary
    }

    /// The value of a row.
    pub fn text(&self, row: usize) -> Option<&str> {
        let code = self.codes.get(row)?;
        self.dictionary.get(place(*code)).map(String::as_str)
    }
}

/// A number, but neither infinite nor none at all.
pub(crate) fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Why columns and subjects make no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    /// Rows would be without a value or without a subject.
    #[error("column `{0}` and the subjects have different numbers of rows")]
    Rows(String),
    /// Two columns could not be told apart.
    #[error("two columns are called `{0}`")]
    Twice(String),
    /// A code stands for no value.
    #[error("column `{0}` has a code that its dictionary does not")]
    Code(String),
    /// More than a code can count.
    #[error("more than {} rows", u32::MAX)]
    TooMany,
}

/// Columns of the same length, and the subject of each row.
///
/// ```
/// # use stockade_anonymity::{Column, Role, Table, TableFault};
/// let region = Column::new("region", Role::Quasi, ["north", "north", "south"]);
/// let table = Table::new(vec![region], vec![0, 0, 1])?;
/// assert_eq!((table.rows(), table.distinct_subjects()), (3, 2));
/// # Ok::<(), TableFault>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<Column>,
    subjects: Vec<u32>,
}

impl Table {
    /// A table; a subject's number means it in this table only.
    pub fn new(columns: Vec<Column>, subjects: Vec<u32>) -> Result<Self, TableFault> {
        if u32::try_from(subjects.len()).is_err() {
            return Err(TableFault::TooMany);
        }
        let mut names = BTreeSet::new();
        for column in &columns {
            if column.codes.len() != subjects.len() {
                return Err(TableFault::Rows(column.name.clone()));
            }
            if !names.insert(column.name.as_str()) {
                return Err(TableFault::Twice(column.name.clone()));
            }
        }
        Ok(Self { columns, subjects })
    }

    /// A table in which each row is a subject of its own.
    pub fn of_individuals(columns: Vec<Column>) -> Result<Self, TableFault> {
        let rows = columns.first().map_or(0, |column| column.codes.len());
        let rows = u32::try_from(rows).map_err(|_| TableFault::TooMany)?;
        Self::new(columns, (0..rows).collect())
    }

    /// How many rows there are.
    pub const fn rows(&self) -> usize {
        self.subjects.len()
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns of a role.
    pub fn of_role(&self, role: Role) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(move |column| column.role == role)
    }

    /// The subject of each row.
    pub fn subjects(&self) -> &[u32] {
        &self.subjects
    }

    /// How many subjects there are.
    pub fn distinct_subjects(&self) -> usize {
        self.subjects.iter().collect::<BTreeSet<_>>().len()
    }
}
