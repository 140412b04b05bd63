//! Records of many, as one row for each subject: what is released of somebody is one row, however much they sent.
//!
//! Whoever can tell which records are of the same subject knows more with each of them; k must count for all together, so
//! they are one. Numbers become their mean, in steps of about a hundredth of what there is; anything else the value that came
//! most often.

use std::collections::BTreeMap;

use crate::number::{code, place};
use crate::{ANY, Column, Hierarchy, HierarchyFault, Role, Table, TableFault};

/// What stands where a subject said nothing.
pub const NONE: &str = "(none)";
/// Different texts of one subject in one column that are counted; others are left aside.
const MOST_TEXTS: usize = 32;
/// Subjects of one release.
const MOST_SUBJECTS: usize = 2_000_000;

/// What is known of a column beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is to somebody who looks for a person.
    pub role: Role,
    /// Each value and what it becomes, level by level, if that is said.
    pub hierarchy: Option<Vec<Vec<String>>>,
}

/// A value of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Given<'a> {
    /// A number; one that is none is not taken.
    Number(f64),
    /// Anything else.
    Text(&'a str),
}

/// When a record was, as far as the linkage test cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In the part of the time that the attacker knows.
    Known,
    /// Later, or nobody can say.
    Later,
}

/// Why records make no rows.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FoldFault {
    /// Too much to hold.
    #[error("more than {MOST_SUBJECTS} subjects")]
    TooMany,
    /// Nothing that could be released.
    #[error("no column is left that could be released: give one the role quasi, sensitive or free")]
    NoColumn,
    /// A hierarchy does not suit its column.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyFault),
    /// The columns make no table.
    #[error(transparent)]
    Table(#[from] TableFault),
}

/// Collects records.
#[derive(Debug)]
pub struct Fold {
    told: BTreeMap<String, Told>,
    /// By column, then by subject: what is known, and all.
    seen: BTreeMap<String, Vec<[Seen; 2]>>,
    subjects: usize,
    known: bool,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    sum: f64,
    numbers: u32,
    texts: Vec<(Box<str>, u32)>,
}

/// One subject's value of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Folded {
    Number(f64),
    Text(String),
    None,
}

/// A row for each subject, and what the linkage test takes the attacker to know.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Subject n has row n.
    pub table: Table,
    /// By column, for those that have one.
    pub hierarchies: BTreeMap<String, Hierarchy>,
    /// By column of the table, then by subject: what the known part of the time gives. Nothing where there is no time.
    pub(crate) known: Option<Vec<Vec<Folded>>>,
}

impl Fold {
    /// Of columns of which this is known. Direct identifiers are not taken, and what is not among them neither.
    pub fn new(mut told: BTreeMap<String, Told>) -> Self {
        told.retain(|_, told| told.role != Role::Direct);
        Self {
            seen: told.keys().map(|name| (name.clone(), Vec::new())).collect(),
            told,
            subjects: 0,
            known: false,
        }
    }

    /// A subject is there, even if it says nothing.
    pub fn subject(&mut self, subject: u32) -> Result<(), FoldFault> {
        self.subjects = self.subjects.max(place(subject) + 1);
        if self.subjects > MOST_SUBJECTS {
            return Err(FoldFault::TooMany);
        }
        Ok(())
    }

    /// A value of a record. Subjects are numbered from 0.
    pub fn add(
        &mut self,
        subject: u32,
        when: When,
        name: &str,
        given: Given<'_>,
    ) -> Result<(), FoldFault> {
        self.subject(subject)?;
        let Some(subjects) = self.seen.get_mut(name) else {
            return Ok(());
        };
        if subjects.len() <= place(subject) {
            subjects.resize(place(subject) + 1, Default::default());
        }
        let [known, all] = &mut subjects[place(subject)];
        all.take(given);
        if when == When::Known {
            self.known = true;
            known.take(given);
        }
        Ok(())
    }

    /// One row for each subject.
    pub fn finish(self) -> Result<Rows, FoldFault> {
        let mut columns = Vec::new();
        let mut hierarchies = BTreeMap::new();
        let mut known = Vec::new();
        for (name, seen) in self.seen {
            let Some(told) = self.told.get(&name) else {
                continue;
            };
            if seen.iter().all(|[_, all]| all.is_empty()) {
                continue;
            }
            let is_number =
                told.hierarchy.is_none() && seen.iter().all(|[_, all]| all.texts.is_empty());
            let value = |of: usize, subject: usize| {
                seen.get(subject)
                    .map_or(Folded::None, |seen| seen[of].value(is_number))
            };
            let all: Vec<Folded> = (0..self.subjects)
                .map(|subject| value(1, subject))
                .collect();
            let (column, hierarchy) = column(&name, told, &all)?;
            if let Some(hierarchy) = hierarchy {
                hierarchies.insert(name.clone(), hierarchy);
            }
            columns.push(column);
            known.push(
                (0..self.subjects)
                    .map(|subject| value(0, subject))
                    .collect(),
            );
        }
        if columns.is_empty() {
            return Err(FoldFault::NoColumn);
        }
        Ok(Rows {
            table: Table::new(columns, (0..code(self.subjects)).collect())?,
            hierarchies,
            known: self.known.then_some(known),
        })
    }
}

impl Seen {
    fn take(&mut self, given: Given<'_>) {
        match given {
            Given::Number(number) if number.is_finite() => {
                self.sum += number;
                self.numbers = self.numbers.saturating_add(1);
            }
            Given::Number(_) => {}
            Given::Text(text) => {
                if let Some((_, count)) = self.texts.iter_mut().find(|(known, _)| **known == *text)
                {
                    *count = count.saturating_add(1);
                } else if self.texts.len() < MOST_TEXTS {
                    self.texts.push((text.into(), 1));
                }
            }
        }
    }

    const fn is_empty(&self) -> bool {
        self.numbers == 0 && self.texts.is_empty()
    }

    fn value(&self, is_number: bool) -> Folded {
        let mean = self.sum / f64::from(self.numbers);
        if is_number {
            return if mean.is_finite() {
                Folded::Number(mean)
            } else {
                Folded::None
            };
        }
        // Of those that came as often, the first by the alphabet.
        let most = self
            .texts
            .iter()
            .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
        match most {
            Some((text, _)) => Folded::Text(text.to_string()),
            None if mean.is_finite() => Folded::Text(mean.to_string()),
            None => Folded::None,
        }
    }
}

fn column(
    name: &str,
    told: &Told,
    all: &[Folded],
) -> Result<(Column, Option<Hierarchy>), FoldFault> {
    let numbers = || {
        all.iter().filter_map(|value| match value {
            Folded::Number(number) => Some(*number),
            Folded::Text(_) | Folded::None => None,
        })
    };
    let steps = Steps::of(numbers());
    let words: Vec<String> = all
        .iter()
        .map(|value| match value {
            Folded::Number(number) => steps.say(steps.at(*number)),
            Folded::Text(text) => text.clone(),
            Folded::None => NONE.to_owned(),
        })
        .collect();
    let column = Column::new(name, told.role, words.iter().map(String::as_str));
    let hierarchy = match &told.hierarchy {
        Some(rows) if told.role != Role::Free => {
            let mut rows = rows.clone();
            // Who said nothing is not told apart by it on the way to the top.
            if let Some(first) = rows.first()
                && !rows
                    .iter()
                    .any(|row| row.first().is_some_and(|value| value == NONE))
            {
                rows.push(vec![NONE.to_owned(); first.len()]);
            }
            Some(Hierarchy::of_rows(&column, &rows)?)
        }
        None if told.role == Role::Quasi && numbers().next().is_some() => {
            Some(steps.hierarchy(&column)?)
        }
        _ => None,
    };
    Ok((column, hierarchy))
}

/// Numbers in steps of 1, 2 or 5 times a power of ten.
struct Steps {
    /// The step is `digit * 10^power`.
    digit: f64,
    power: i32,
}

impl Steps {
    /// About a hundred from the least to the greatest.
    fn of(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let low = numbers.clone().fold(f64::INFINITY, f64::min);
        let high = numbers.fold(f64::NEG_INFINITY, f64::max);
        let most = low.abs().max(high.abs());
        // Beyond 2^53 steps from zero a step would be lost.
        let spread = if high > low { high - low } else { most };
        let wanted = (spread / 100.0).max(most / 1e15);
        if !wanted.is_finite() || wanted <= 0.0 {
            return Self {
                digit: 1.0,
                power: 0,
            };
        }
        #[expect(clippy::cast_possible_truncation, reason = "a logarithm is small")]
        let power = (wanted.log10().floor() as i32).clamp(-300, 300);
        let unit = 10_f64.powi(power);
        // A hair less will do: 0.5 is not quite 0.5.
        let mut digits = [1.0, 2.0, 5.0].into_iter();
        match digits.find(|digit| digit * unit >= wanted * 0.999_999) {
            Some(digit) => Self { digit, power },
            None => Self {
                digit: 1.0,
                power: power + 1,
            },
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 10^15 steps, see above"
    )]
    fn at(&self, number: f64) -> i64 {
        // A hair up: a number that is a step is not put below it by its own rounding.
        let steps = number / self.digit * 10_f64.powi(-self.power);
        steps.mul_add(1.0, 1e-9).floor() as i64
    }

    #[expect(clippy::cast_precision_loss, reason = "at most 10^15 steps")]
    fn say(&self, at: i64) -> String {
        let decimals = usize::try_from(-self.power).unwrap_or(0);
        let said = format!(
            "{:.decimals$}",
            at as f64 * self.digit * 10_f64.powi(self.power)
        );
        if said.trim_start_matches(['-', '0', '.']).is_empty() {
            "0".to_owned()
        } else {
            said
        }
    }

    /// Intervals of 2, 4, 8, … steps, until there is one.
    fn hierarchy(&self, column: &Column) -> Result<Hierarchy, HierarchyFault> {
        let at: Vec<Option<i64>> = column
            .dictionary()
            .iter()
            .map(|value| value.parse().ok().map(|number| self.at(number)))
            .collect();
        let mut levels = vec![column.dictionary().to_vec()];
        for doubled in 1..=10_u32 {
            let width = 1_i64 << doubled;
            let of = |at: &Option<i64>| {
                at.map_or_else(
                    || NONE.to_owned(),
                    |at| {
                        let from = at.div_euclid(width).saturating_mul(width);
                        format!(
                            "[{}, {})",
                            self.say(from),
                            self.say(from.saturating_add(width))
                        )
                    },
                )
            };
            let names: Vec<String> = at.iter().map(of).collect();
            if names.iter().all(|name| Some(name) == names.first()) {
                break;
            }
            levels.push(names);
        }
        levels.push(vec![ANY.to_owned(); column.dictionary().len()]);
        Hierarchy::of_names(column, levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(role: Role) -> Told {
        Told {
            role,
            hierarchy: None,
        }
    }

    #[test]
    fn a_subject_is_one_row_of_means_and_of_what_came_most() {
        let mut fold = Fold::new(BTreeMap::from([
            ("id".to_owned(), told(Role::Direct)),
            ("kwh".to_owned(), told(Role::Quasi)),
            ("mode".to_owned(), told(Role::Sensitive)),
        ]));
        for (subject, when, kwh, mode) in [
            (0, When::Known, 1.0, "eco"),
            (0, When::Later, 3.0, "away"),
            (0, When::Later, 2.0, "away"),
            (1, When::Later, 52.0, "eco"),
        ] {
            fold.add(subject, when, "id", Given::Text("a")).unwrap();
            fold.add(subject, when, "kwh", Given::Number(kwh)).unwrap();
            fold.add(subject, when, "mode", Given::Text(mode)).unwrap();
            fold.add(subject, when, "other", Given::Text("not named"))
                .unwrap();
        }
        fold.add(1, When::Later, "kwh", Given::Number(f64::NAN))
            .unwrap();
        fold.subject(2).unwrap();
        let rows = fold.finish().unwrap();
        let shown: Vec<Vec<&str>> = rows
            .table
            .columns()
            .iter()
            .map(|column| (0..3).filter_map(|row| column.text(row)).collect())
            .collect();
        assert_eq!(shown, [["2.0", "52.0", NONE], ["away", "eco", NONE]]);
        assert_eq!(rows.known.unwrap()[0][0], Folded::Number(1.0));
        let names = rows.hierarchies["kwh"].levels()[3].dictionary().join(" ");
        assert_eq!(names, "(none) [0, 4.0) [52.0, 56.0)");
    }

    #[test]
    fn steps_are_round_and_about_a_hundred() {
        for (low, high, step) in [
            (0.0, 73.0, "1"),
            (0.0, 0.3, "0.005"),
            (-5e8, 5e8, "10000000"),
            (7.0, 7.0, "0.1"),
        ] {
            let steps = Steps::of([low, high].into_iter());
            assert_eq!(steps.say(1), step);
            assert_eq!(steps.say(steps.at(0.0)), "0");
        }
        let steps = Steps::of([0.0, 30.0].into_iter());
        assert_eq!(steps.say(steps.at(0.3 + 0.3 + 0.3)), "0.5");
        assert_eq!(steps.say(steps.at(1.5)), "1.5");
        let _never_panics = Steps::of([f64::MIN, f64::MAX].into_iter()).at(f64::MAX);
    }
}
