//! From a question and the data set's published bounds to what is added up, how loud the noise is, and what it costs.
//! No record is read for it.

mod intervals;

use std::collections::BTreeMap;

pub(crate) use self::intervals::Intervals;
use crate::account::{Cost, Epsilon, THRESHOLD_DELTA, gaussian_part};
use crate::fixed::Fixed;
use crate::noise::{Noise, Reach};
use crate::question::{Compare, Question, What};

/// Most numbers in one answer.
const MAX_CELLS: u64 = 10_000;
/// Days that a question without times is about; the last is today.
const DAYS: i64 = 30;
const DAY: i64 = 86_400;
/// Groups of one subject that count, where groups are searched for or subjects are counted: the first ones it is in.
pub(crate) const MAX_GROUPS: u32 = 4;
/// Most intervals of the contribution bound in one question.
const MAX_WINDOWS: u64 = 100_000;
/// A subject's part of a sum is this many steps of the grid at least: what rounding adds to the noise is less than a
/// thousandth.
const GRID: u128 = 10_000;
/// Candidates of a quantile: the range in so many steps.
pub(crate) const STEPS: u32 = 1_000;

/// What is known of a field without looking at any record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    /// The least and the greatest number it can be.
    pub range: Option<(Fixed, Fixed)>,
    /// All values it can have.
    pub values: Option<Vec<String>>,
    /// Why it cannot be asked for: `is never stored`.
    pub hidden: Option<&'static str>,
}

/// How many records of one subject count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contribution {
    /// In how long, in seconds.
    pub per: u32,
    /// How many.
    pub records: u32,
}

/// What is known of a data set without looking at any record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// Its fields.
    pub fields: BTreeMap<String, Field>,
    /// How many records of one subject count.
    pub contribution: Contribution,
}

/// A question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {possible}")]
pub struct PlanError {
    /// The word of the question that it is about; empty for the whole.
    pub word: String,
    /// What is wrong.
    pub what: String,
    /// What can be asked instead.
    pub possible: String,
}

/// Which groups an answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Groups {
    /// One for all.
    All,
    /// These, whether anything is in them or not.
    Closed(Vec<String>),
    /// Those of so many subjects that with [`THRESHOLD_DELTA`] at most a group of a single one is shown.
    Open { noise: Noise, least: i128 },
}

/// What is added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Measure {
    Count,
    Subjects,
    Sum(Bounded),
    Mean(Bounded),
    Histogram(Bounded, i64),
    Quantile(Bounded, u32),
}

/// A field whose numbers are clamped to a range, in millionths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bounded {
    pub(crate) field: String,
    pub(crate) low: i64,
    pub(crate) high: i64,
    /// Taken from each number before it is added, so that what one adds is small on both sides.
    pub(crate) middle: i64,
    /// A sum is rounded to multiples of this before the noise.
    pub(crate) grid: u128,
}

/// How a question will be answered, and what it costs.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) question: Question,
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Within each, so many records of a subject count.
    pub(crate) windows: Intervals,
    pub(crate) records: u32,
    pub(crate) slots: Option<Intervals>,
    pub(crate) groups: Groups,
    pub(crate) measure: Measure,
    pub(crate) bins: u32,
    /// For the one number of a cell, or for the two that a mean is made of.
    pub(crate) noise: Vec<Noise>,
    cost: Cost,
}

impl Plan {
    /// Plans an answer that costs at most `epsilon`. A question that names no times is about the last 30 days, up to the
    /// end of the day of `now` (seconds since 1970).
    pub fn new(
        question: &Question,
        set: &DataSet,
        epsilon: Epsilon,
        now: i64,
    ) -> Result<Self, PlanError> {
        let (from, to) = question.range.unwrap_or_else(|| {
            let today = now.saturating_sub(now.rem_euclid(DAY));
            let end = today.saturating_add(DAY);
            (end.saturating_sub(DAYS.saturating_mul(DAY)), end)
        });
        let windows = Intervals::over(from, to, set.contribution.per, MAX_WINDOWS)
            .ok_or_else(|| wrong("to", "is too far away", "ask for a shorter time"))?;
        let slots = question
            .per
            .map(|per| {
                Intervals::over(from, to, per, MAX_CELLS).ok_or_else(|| {
                    let possible = "ask for longer intervals, or a shorter time";
                    wrong("per", "makes too many intervals", possible)
                })
            })
            .transpose()?;
        for condition in &question.conditions {
            let field = readable(set, &condition.field)?;
            let by_order = !matches!(condition.compare, Compare::Is | Compare::IsNot);
            if by_order && field.values.is_some() {
                return Err(wrong(
                    &condition.field,
                    "has no order",
                    "compare it by = or !=",
                ));
            }
        }
        let (groups, open) = groups(question, set)?;
        let (measure, bins) = measure(question, set)?;
        let mut plan = Self {
            question: Question {
                range: Some((from, to)),
                ..question.clone()
            },
            from,
            to,
            windows,
            records: set.contribution.records,
            slots,
            groups,
            measure,
            bins,
            noise: Vec::new(),
            cost: Cost::default(),
        };
        plan.fits()?;
        plan.price(epsilon, open).ok_or_else(|| PlanError {
            word: String::new(),
            what: "the noise would be too large to say anything".to_owned(),
            possible: "ask for a shorter time, or allow it to cost more".to_owned(),
        })?;
        Ok(plan)
    }

    /// What the answer will cost.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The question in its one form, with its times.
    pub const fn question(&self) -> &Question {
        &self.question
    }

    /// Everything that the answer depends on besides the records and the noise.
    pub fn canonical(&self) -> String {
        let known: &[String] = match &self.groups {
            Groups::All | Groups::Open { .. } => &[],
            Groups::Closed(known) => known,
        };
        let Self {
            question,
            windows,
            records,
            measure,
            ..
        } = self;
        format!("{question} | {known:?} {measure:?} {records} {windows:?}")
    }

    /// From when, and until before when, records are needed, in seconds since 1970.
    pub const fn range(&self) -> (i64, i64) {
        (self.from, self.to)
    }

    fn slot_count(&self) -> u64 {
        self.slots.map_or(1, |slots| slots.count.into())
    }

    /// Whether the answer has no more numbers than an answer may have.
    fn fits(&self) -> Result<(), PlanError> {
        let groups = match &self.groups {
            Groups::All | Groups::Open { .. } => 1,
            Groups::Closed(values) => u64::try_from(values.len()).unwrap_or(u64::MAX),
        };
        let cells = groups
            .saturating_mul(self.slot_count())
            .saturating_mul(self.bins.into());
        if cells > MAX_CELLS {
            return Err(PlanError {
                word: String::new(),
                what: format!("the answer would have {cells} numbers; {MAX_CELLS} are possible"),
                possible: "ask for a shorter time, wider steps or fewer groups".to_owned(),
            });
        }
        if matches!(self.measure, Measure::Quantile(..))
            && (self.slots.is_some() || self.groups != Groups::All)
        {
            let word = if self.slots.is_some() { "per" } else { "by" };
            return Err(wrong(
                word,
                "does not go with a quantile",
                "ask for one group at a time, with `where`",
            ));
        }
        Ok(())
    }

    /// Finds the noise and the price; nothing if the noise would be beyond all measure.
    fn price(&mut self, epsilon: Epsilon, open: bool) -> Option<()> {
        let parts = self.reaches(open)?;
        self.add_noise(&parts, epsilon, open)
    }

    /// How far one subject can move the numbers: all first ones of the cells together, and all second ones.
    pub(crate) fn reaches(&mut self, open: bool) -> Option<Vec<Reach>> {
        // At most so many records of one subject count in all, and in one cell.
        let all = u128::from(self.records).checked_mul(self.windows.count.into())?;
        let cell = u128::from(self.records)
            .checked_mul(self.windows.in_one_of(self.slots))?
            .min(all);
        let records = Reach {
            sum: all,
            squares: all.checked_mul(cell)?,
        };
        let slots = u128::from(self.slot_count());
        let cells = match &self.groups {
            Groups::All if !open => slots,
            Groups::All | Groups::Open { .. } => slots.checked_mul(MAX_GROUPS.into())?,
            Groups::Closed(values) => slots.checked_mul(u128::try_from(values.len()).ok()?)?,
        }
        .min(all);
        Some(match &mut self.measure {
            Measure::Count | Measure::Histogram(..) | Measure::Quantile(..) => vec![records],
            Measure::Subjects => {
                let most = cells.min(slots.checked_mul(MAX_GROUPS.into())?);
                vec![Reach {
                    sum: most,
                    squares: most,
                }]
            }
            Measure::Sum(of) => vec![of.reach(all, cell, cells)?],
            Measure::Mean(of) => vec![of.reach(all, cell, cells)?, records],
        })
    }

    /// The noise that throws less for this reach. The price is shared equally among the numbers of a cell and the search
    /// for groups.
    fn add_noise(&mut self, parts: &[Reach], epsilon: Epsilon, open: bool) -> Option<()> {
        let numbers = u64::try_from(parts.len()).ok()?;
        let part = epsilon.part(numbers.checked_add(open.into())?);
        let part_squared = u128::from(part.millionths()).checked_pow(2)?;
        let laplace: Option<Vec<Noise>> = parts
            .iter()
            .map(|reach| Noise::laplace(*reach, part.millionths()))
            .collect();

        let whole = gaussian_part(part.times(numbers)?, open.into());
        let e_squared = u128::from(whole)
            .checked_pow(2)?
            .checked_div(numbers.into())?;
        let e = u64::try_from(e_squared.isqrt()).ok()?;
        let gaussian: Option<Vec<Noise>> = parts
            .iter()
            .map(|reach| Noise::gaussian(*reach, e))
            .collect();

        let mut cost = Cost::default();
        if open {
            self.groups = search(part.millionths())?;
            cost = Cost {
                pure: part.millionths(),
                pure_squared: part_squared,
                gaussian_squared: 0,
                thresholds: 1,
            };
        }
        let throws = |noise: &Option<Vec<Noise>>| {
            let first = noise.as_ref().and_then(|noise| noise.first());
            first.map_or(f64::INFINITY, |noise| noise.deviation())
        };
        let is_choice = matches!(self.measure, Measure::Quantile(..));
        if is_choice || throws(&laplace) <= throws(&gaussian) {
            self.noise = laplace?;
            cost.pure = cost.pure.checked_add(part.times(numbers)?.millionths())?;
            cost.pure_squared = cost
                .pure_squared
                .checked_add(part_squared.checked_mul(numbers.into())?)?;
        } else {
            self.noise = gaussian?;
            cost.gaussian_squared = u128::from(e).checked_pow(2)?.checked_mul(numbers.into())?;
        }
        self.cost = cost;
        Some(())
    }
}

/// The search for group names: the noise on the number of a group's subjects, and the least noisy number that is shown.
///
/// One subject is in at most [`MAX_GROUPS`] groups. One that nobody else is in has the number 1, and is shown with
/// P(noise ≥ least - 1) = q^(least - 1) / (1 + q), q = e^(-1/scale), which for all of them is at most [`THRESHOLD_DELTA`].
fn search(epsilon: u64) -> Option<Groups> {
    let reach = Reach {
        sum: MAX_GROUPS.into(),
        squares: MAX_GROUPS.into(),
    };
    let noise = Noise::laplace(reach, epsilon)?;
    let scale = f64::from(MAX_GROUPS) / Epsilon::from_millionths(epsilon)?.to_f64();
    let beyond = scale * (f64::from(MAX_GROUPS) / THRESHOLD_DELTA).ln();
    let least = Fixed::nearest(beyond.ceil() + 2.0).millionths();
    Some(Groups::Open {
        noise,
        least: i128::from(least.checked_div(Fixed::ONE)?),
    })
}

/// The groups that are known beforehand; otherwise that they must be searched for.
fn groups(question: &Question, set: &DataSet) -> Result<(Groups, bool), PlanError> {
    let Some(by) = &question.by else {
        return Ok((Groups::All, false));
    };
    let field = readable(set, &by.field)?;
    Ok(match by.values.as_ref().or(field.values.as_ref()) {
        Some(values) => (Groups::Closed(values.clone()), false),
        None => (Groups::All, true),
    })
}

/// What is added up, and into how many steps of a histogram.
fn measure(question: &Question, set: &DataSet) -> Result<(Measure, u32), PlanError> {
    let measure = match &question.what {
        What::Count => Measure::Count,
        What::Subjects => Measure::Subjects,
        What::Sum(field) => Measure::Sum(bounded(set, field)?),
        What::Mean(field) => {
            let of = bounded(set, field)?;
            Measure::Mean(Bounded {
                middle: of.low.midpoint(of.high),
                ..of
            })
        }
        What::Quantile(share, field) => Measure::Quantile(bounded(set, field)?, *share),
        What::Histogram(field, step) => {
            let of = bounded(set, field)?;
            let step = step.millionths();
            // Both ends belong to the range: the last step takes the greatest number too.
            let bins = of
                .high
                .saturating_sub(of.low)
                .saturating_sub(1)
                .checked_div(step)
                .and_then(|last| u32::try_from(last).ok()?.checked_add(1))
                .ok_or_else(|| wrong(field, "has too many such steps", "ask for wider ones"))?;
            return Ok((Measure::Histogram(of, step), bins));
        }
    };
    Ok((measure, 1))
}

/// A field that may be asked for.
fn readable<'a>(set: &'a DataSet, name: &str) -> Result<&'a Field, PlanError> {
    let names: Vec<&str> = set
        .fields
        .iter()
        .filter(|(_, field)| field.hidden.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    let possible = format!("the fields are: {}", names.join(", "));
    match set.fields.get(name) {
        None => Err(wrong(name, "is no field of this data set", &possible)),
        Some(Field {
            hidden: Some(why), ..
        }) => Err(wrong(name, why, &possible)),
        Some(field) => Ok(field),
    }
}

/// A field with a range.
fn bounded(set: &DataSet, name: &str) -> Result<Bounded, PlanError> {
    let Some((low, high)) = readable(set, name)?.range else {
        let ranged: Vec<&str> = set
            .fields
            .iter()
            .filter(|(_, field)| field.range.is_some() && field.hidden.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        let possible = if ranged.is_empty() {
            "the profile gives no field a `range`: ask for `count` or `count subjects`".to_owned()
        } else {
            format!("fields with a range: {}", ranged.join(", "))
        };
        let what =
            "has no `range` in the profile, so that one device could move the answer as it likes";
        return Err(wrong(name, what, &possible));
    };
    Ok(Bounded {
        field: name.to_owned(),
        low: low.millionths(),
        high: high.millionths(),
        middle: 0,
        grid: 1,
    })
}

fn wrong(word: &str, what: &str, possible: &str) -> PlanError {
    PlanError {
        word: word.to_owned(),
        what: format!("`{}` {what}", word.escape_debug()),
        possible: possible.to_owned(),
    }
}

impl Bounded {
    /// How far one subject moves the sums: `all` records in all, `cell` in one cell, in at most so many `cells`. Chooses
    /// the grid.
    ///
    /// Rounding to the grid moves each sum that a subject is in by less than one step more. With `x_i` the exact moves in
    /// steps: `Σ(x_i + 1) ≤ Σx_i + cells`, and `Σ(x_i + 1)² ≤ max x · Σx_i + 2 Σx_i + cells`.
    fn reach(&mut self, all: u128, cell: u128, cells: u128) -> Option<Reach> {
        let one = self
            .low
            .abs_diff(self.middle)
            .max(self.high.abs_diff(self.middle));
        let most = cell.checked_mul(one.into())?;
        while most.checked_div(self.grid)? >= GRID.checked_mul(10)? {
            self.grid = self.grid.checked_mul(10)?;
        }
        let most = most.div_ceil(self.grid);
        let sum = all.checked_mul(one.into())?.div_ceil(self.grid);
        let squares = most.checked_mul(sum)?;
        if self.grid == 1 {
            return Some(Reach { sum, squares });
        }
        Some(Reach {
            sum: sum.checked_add(cells)?,
            squares: squares
                .checked_add(sum.checked_mul(2)?)?
                .checked_add(cells)?,
        })
    }
}
