//! Which columns a stream's rows have, by what the profiles say, and how a record becomes a row.
//!
//! A stream must know beforehand what a column can be: numbers have a `range`, words a `hierarchy`, places are on earth.
//! A quasi-identifier without is in no row, and neither is a field that is `free`: no linkage test stands behind a stream.

use std::collections::BTreeMap;

use stockade_anonymity::stream::{Cell, Domain, Sensitive};
use stockade_anonymity::{Column, Hierarchy, Role};
use stockade_profile::{Field, Generalisation, Treatment};

use super::super::read::{Said, tell, text};
use crate::value::{Fields, Value};

/// Steps of a sensitive number: a finer one would be known again.
const STEPS: u32 = 16;
/// Different words of a sensitive field that has no hierarchy; rows with others are not taken.
const WORDS: usize = 256;

/// What a cell can be.
#[derive(Debug)]
enum Kind {
    Number {
        low: f64,
        high: f64,
    },
    /// Each word's code.
    Names(BTreeMap<String, u32>),
    /// The same, as they come.
    Words(BTreeMap<String, u32>),
}

/// A column.
#[derive(Debug)]
struct Way {
    name: String,
    field: String,
    /// Of a place: which of its numbers.
    part: Option<&'static str>,
    kind: Kind,
}

/// The columns of a stream.
#[derive(Debug, Default)]
pub(super) struct Columns {
    quasi: Vec<Way>,
    sensitive: Vec<Way>,
    pub(super) domains: Vec<Domain>,
    pub(super) secrets: Vec<Sensitive>,
    /// Fields that are in no row.
    pub(super) omitted: Vec<String>,
}

/// A record as a row.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) quasi: Vec<Cell>,
    pub(super) sensitive: Vec<u32>,
}

impl Columns {
    pub(super) fn of(said: &Said) -> Self {
        let mut columns = Self::default();
        for (name, field) in &said.fields {
            if !columns.add(name, field) {
                columns.omitted.push(name.clone());
            }
        }
        columns
    }

    fn add(&mut self, name: &str, field: &Field) -> bool {
        let Some(told) = tell(name, field).filter(|told| told.role != Role::Free) else {
            return false;
        };
        let is_quasi = told.role == Role::Quasi;
        if let Treatment::Generalise {
            to: Generalisation::Distance(_),
        } = field.treatment
        {
            if is_quasi {
                for (part, high) in [("lat", 90.0), ("lon", 180.0)] {
                    self.quasi.push(Way {
                        name: format!("{name}.{part}"),
                        field: name.to_owned(),
                        part: Some(part),
                        kind: Kind::Number { low: -high, high },
                    });
                    self.domains.push(Domain::Number { low: -high, high });
                }
            }
            return is_quasi;
        }
        let (kind, domain, secret) = if let Some(rows) = told.hierarchy {
            let values = rows
                .iter()
                .filter_map(|row| row.first())
                .map(String::as_str);
            let column = Column::new(name, told.role, values);
            let Ok(hierarchy) = Hierarchy::of_rows(&column, &rows) else {
                return false;
            };
            let codes: BTreeMap<String, u32> =
                column.dictionary().iter().cloned().zip(0..).collect();
            let count = u32::try_from(codes.len()).unwrap_or(u32::MAX);
            (
                Kind::Names(codes),
                Some(Domain::Category(hierarchy)),
                (count, false),
            )
        } else if let Some(range) = field.range {
            let (low, high) = (range.min.to_f64(), range.max.to_f64());
            if low >= high {
                return false;
            }
            let domain = Domain::Number { low, high };
            (Kind::Number { low, high }, Some(domain), (STEPS, true))
        } else {
            let most = u32::try_from(WORDS).unwrap_or(u32::MAX);
            (Kind::Words(BTreeMap::new()), None, (most, false))
        };
        let way = Way {
            name: name.to_owned(),
            field: name.to_owned(),
            part: None,
            kind,
        };
        if is_quasi {
            let Some(domain) = domain else { return false };
            self.domains.push(domain);
            self.quasi.push(way);
        } else {
            let (codes, ordered) = secret;
            self.secrets.push(Sensitive { codes, ordered });
            self.sensitive.push(way);
        }
        true
    }

    /// Their names: first what is made coarser.
    pub(super) fn names(&self) -> Vec<String> {
        let all = self.quasi.iter().chain(&self.sensitive);
        all.map(|way| way.name.clone()).collect()
    }

    /// The row of a record; nothing if it lacks a column, or has no such value.
    pub(super) fn row(&mut self, fields: &Fields) -> Option<Cells> {
        let quasi = self.quasi.iter().map(|way| {
            let value = way.value(fields)?;
            match &way.kind {
                // Rounding down may have put it below.
                Kind::Number { low, high } => {
                    Some(Cell::Number(value.number()?.clamp(*low, *high)))
                }
                Kind::Names(codes) | Kind::Words(codes) => {
                    Some(Cell::Code(*codes.get(&*text(value)?)?))
                }
            }
        });
        let quasi = quasi.collect::<Option<_>>()?;
        let sensitive = self.sensitive.iter_mut().map(|way| {
            let value = way.value(fields)?;
            match &mut way.kind {
                Kind::Number { low, high } => Some(step(value.number()?, *low, *high)),
                Kind::Names(codes) => codes.get(&*text(value)?).copied(),
                Kind::Words(codes) => word(codes, &text(value)?),
            }
        });
        Some(Cells {
            quasi,
            sensitive: sensitive.collect::<Option<_>>()?,
        })
    }

    /// What is shown of the codes of the sensitive columns.
    pub(super) fn shown(&self, codes: &[u32]) -> Vec<(String, String)> {
        let columns = self.sensitive.iter().zip(codes);
        columns
            .map(|(way, code)| {
                let shown = match &way.kind {
                    Kind::Number { low, high } => {
                        let width = (high - low) / f64::from(STEPS);
                        let from = low + f64::from(*code) * width;
                        interval(from, from + width)
                    }
                    Kind::Names(codes) | Kind::Words(codes) => codes
                        .iter()
                        .find(|(_, known)| *known == code)
                        .map_or_else(String::new, |(name, _)| name.clone()),
                };
                (way.name.clone(), shown)
            })
            .collect()
    }

    /// The names of the quasi-identifiers.
    pub(super) fn known(&self) -> impl Iterator<Item = &str> {
        self.quasi.iter().map(|way| way.name.as_str())
    }

    /// The codes of the sensitive columns of a row that was shown.
    pub(super) fn codes(&mut self, shown: &BTreeMap<String, String>) -> Option<Vec<u32>> {
        let all = self.sensitive.iter_mut().map(|way| {
            let text = shown.get(&way.name)?;
            match &mut way.kind {
                Kind::Number { low, high } => {
                    let from: f64 = text.split("..").next()?.parse().ok()?;
                    // The middle: a border may be rounded to either side.
                    let half = (*high - *low) / f64::from(STEPS) / 2.0;
                    Some(step(from + half, *low, *high))
                }
                Kind::Names(codes) => codes.get(text).copied(),
                Kind::Words(codes) => word(codes, text),
            }
        });
        all.collect()
    }
}

impl Way {
    fn value<'a>(&self, fields: &'a Fields) -> Option<&'a Value> {
        match (fields.get(&self.field)?, self.part) {
            (Value::Map(parts), Some(part)) => parts.get(part),
            (value, None) => Some(value),
            _ => None,
        }
    }
}

/// `0.5..2`
pub(super) fn interval(low: f64, high: f64) -> String {
    format!("{low}..{high}")
}

/// The code of a word, known or new; nothing if there are too many.
fn word(codes: &mut BTreeMap<String, u32>, text: &str) -> Option<u32> {
    if let Some(code) = codes.get(text) {
        return Some(*code);
    }
    let next = u32::try_from(codes.len())
        .ok()
        .filter(|_| codes.len() < WORDS)?;
    codes.insert(text.to_owned(), next);
    Some(next)
}

/// In which step of its range a number is.
fn step(number: f64, low: f64, high: f64) -> u32 {
    let place = (number - low) / (high - low) * f64::from(STEPS);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of steps"
    )]
    let step = place.clamp(0.0, f64::from(STEPS - 1)) as u32;
    step
}
