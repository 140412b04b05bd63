//! The answer: sums with noise, how far off they may be, and what was promised.

use serde::{Deserialize, Serialize};

use crate::account::{DELTA, Epsilon};
use crate::fixed::{Fixed, float};
use crate::noise::Noise;
use crate::plan::{Bounded, Groups, MAX_GROUPS, Measure, Plan, STEPS};
use crate::quantile::choose;
use crate::question::{span_written, written};
use crate::sample::{Random, SampleError};
use crate::tally::{Sums, Tally};

/// An answer that says little about each subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answer {
    /// The question in its one form, with its times.
    pub question: String,
    /// The numbers.
    pub cells: Vec<Cell>,
    /// What was promised.
    pub statement: Statement,
}

/// One number of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cell {
    /// Of which group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// From when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// From which number on, up to the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// The number; nothing where too few records are in it to tell.
    pub value: Option<f64>,
    /// It is no less without the noise, with 95 %.
    pub low: Option<f64>,
    /// It is no more without the noise, with 95 %.
    pub high: Option<f64>,
}

/// What was promised: what NIST SP 800-226 asks a claim of differential privacy to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Statement {
    /// Whose privacy.
    pub unit: String,
    /// Which data sets must look alike.
    pub neighbours: String,
    /// How alike: the answers' probabilities differ by no more than a factor of e^epsilon …
    pub epsilon: Epsilon,
    /// … but for this probability.
    pub delta: f64,
    /// How it is done.
    pub mechanism: String,
    /// How the numbers may be off.
    pub error: String,
}

impl Plan {
    /// Adds the noise to what was added up.
    pub fn answer(
        &self,
        tally: &Tally<'_>,
        random: &mut impl Random,
    ) -> Result<Answer, SampleError> {
        let mut cells = Vec::new();
        if let Measure::Quantile(of, share) = &self.measure {
            cells.push(self.quantile(of, *share, tally, random)?);
        } else {
            for (name, group) in self.shown(tally, random)? {
                for slot in 0..self.slots.map_or(1, |slots| slots.count) {
                    for bin in 0..self.bins {
                        let place = (slot, group, bin);
                        let sums = tally.cells.get(&place).copied().unwrap_or_default();
                        cells.push(Cell {
                            group: name.clone(),
                            time: self.time(slot),
                            step: self.step(bin),
                            ..self.noisy(sums, random)?
                        });
                    }
                }
            }
        }
        Ok(Answer {
            question: self.question.to_string(),
            cells,
            statement: self.statement(),
        })
    }

    /// The groups that are shown, by name.
    fn shown(
        &self,
        tally: &Tally<'_>,
        random: &mut impl Random,
    ) -> Result<Vec<(Option<String>, u32)>, SampleError> {
        match &self.groups {
            Groups::All => Ok(vec![(None, 0)]),
            Groups::Closed(names) => Ok(names.iter().cloned().map(Some).zip(0..).collect()),
            Groups::Open { noise, least } => {
                let mut shown = Vec::new();
                for (name, group) in &tally.names {
                    let size = tally.sizes.get(group).copied().unwrap_or_default();
                    if size.saturating_add(noise.draw(random)?) >= *least {
                        shown.push((Some(name.clone()), *group));
                    }
                }
                Ok(shown)
            }
        }
    }

    /// A cell's number, and between which numbers it is without the noise.
    fn noisy(&self, sums: Sums, random: &mut impl Random) -> Result<Cell, SampleError> {
        let mut draw = |at: usize, exact: i128| {
            let noise = self.noise.get(at).ok_or(SampleError::TooLarge)?;
            let noisy = exact
                .checked_add(noise.draw(random)?)
                .ok_or(SampleError::TooLarge)?;
            Ok((float(noisy), noise.within(self.noise.len() > 1)))
        };
        match &self.measure {
            Measure::Count | Measure::Subjects | Measure::Histogram(..) => {
                let (count, off) = draw(0, sums.count)?;
                let [value, low, high] = [count, count - off, count + off].map(|it| it.max(0.0));
                Ok(Cell::of([value, low, high]))
            }
            Measure::Sum(of) => {
                let (sum, off) = draw(0, of.on_grid(sums.sum)?)?;
                let [value, low, high] = [sum, sum - off, sum + off].map(|it| of.shown(it));
                Ok(Cell::of([value, low, high]))
            }
            Measure::Mean(of) => {
                let (sum, sum_off) = draw(0, of.on_grid(sums.sum)?)?;
                let (count, count_off) = draw(1, sums.count)?;
                if count <= count_off {
                    return Ok(Cell::default());
                }
                // The mean moves one way with the sum, and with the count the way the sum's sign says.
                let mean = |sum: f64, count: f64| {
                    let mean = of.shown(sum / count) + Fixed::to_f64_of(of.middle);
                    mean.clamp(Fixed::to_f64_of(of.low), Fixed::to_f64_of(of.high))
                };
                let ends = [count - count_off, count + count_off];
                let [a, b] = ends.map(|count| mean(sum - sum_off, count));
                let [c, d] = ends.map(|count| mean(sum + sum_off, count));
                Ok(Cell::of([mean(sum, count), a.min(b), c.max(d)]))
            }
            Measure::Quantile(..) => Ok(Cell::default()),
        }
    }

    fn quantile(
        &self,
        of: &Bounded,
        share: u32,
        tally: &Tally<'_>,
        random: &mut impl Random,
    ) -> Result<Cell, SampleError> {
        let Some(Noise::Laplace { over, under }) = self.noise.first().copied() else {
            return Err(SampleError::TooLarge);
        };
        let all: i128 = tally.cells.values().map(|sums| sums.count).sum();
        // What lies below a candidate, and what up to it, have the share between them; else it lacks the difference. One
        // subject moves that, in thousandths, by its records times max(share, 1000 - share).
        let mut below: i128 = 0;
        let scores: Vec<u128> = (0..=STEPS)
            .map(|step| {
                let wanted = all.saturating_mul(share.into());
                let before = below.saturating_mul(1_000).saturating_sub(wanted);
                let here = tally.cells.get(&(0, 0, step));
                below = below.saturating_add(here.map_or(0, |sums| sums.count));
                let after = wanted.saturating_sub(below.saturating_mul(1_000));
                before.max(after).max(0).unsigned_abs()
            })
            .collect();
        let reach = u128::from(share.max(1_000_u32.saturating_sub(share)));
        let reach = over.checked_mul(reach).ok_or(SampleError::TooLarge)?;
        let chosen = choose(random, &scores, under, reach)?;
        let width = i128::from(of.high.saturating_sub(of.low));
        let value = chosen
            .and_then(|step| i128::try_from(step).ok())
            .and_then(|step| width.checked_mul(step)?.checked_div(STEPS.into()))
            .and_then(|above| above.checked_add(of.low.into()))
            .map(|value| float(value) / 1e6);
        Ok(Cell {
            value,
            ..Cell::default()
        })
    }

    fn time(&self, slot: u32) -> Option<String> {
        let slots = self.slots?;
        let start = slots
            .first
            .checked_add(slot.into())?
            .checked_mul(slots.width)?;
        Some(written(start.max(self.from)))
    }

    fn step(&self, bin: u32) -> Option<f64> {
        let Measure::Histogram(of, step) = &self.measure else {
            return None;
        };
        let above = step.checked_mul(bin.into())?;
        Some(Fixed::to_f64_of(of.low.checked_add(above)?))
    }

    /// What the answer promises.
    pub fn statement(&self) -> Statement {
        let thresholds = match self.groups {
            Groups::Open { .. } => " of those groups that have enough devices, noise counted in",
            Groups::All | Groups::Closed(_) => "",
        };
        let mechanism = match (&self.measure, self.noise.first()) {
            (Measure::Quantile(..), _) => "permute-and-flip, drawn exactly".to_owned(),
            (_, Some(noise)) => format!("{} on the sums{thresholds}, drawn exactly", noise.name()),
            (_, None) => String::new(),
        };
        let few_groups = match (&self.groups, &self.measure) {
            (Groups::Open { .. }, _) | (Groups::Closed(_), Measure::Subjects) => {
                format!(", in its first {MAX_GROUPS} groups")
            }
            _ => String::new(),
        };
        let error = match (&self.measure, self.noise.first()) {
            (Measure::Quantile(_, share), Some(Noise::Laplace { over, under })) => {
                // Permute-and-flip is never worse than the exponential mechanism: 2 reach / epsilon (ln candidates + t).
                let reach = f64::from((*share).max(1_000_u32.saturating_sub(*share))) / 1_000.0;
                let scale = float(i128::try_from(*over).unwrap_or(i128::MAX))
                    / float(i128::try_from(*under).unwrap_or(i128::MAX));
                let off = 2.0 * reach * scale * (f64::from(STEPS).ln_1p() - 0.05_f64.ln());
                format!(
                    "with 95 % its rank among the records is at most {} off",
                    off.ceil()
                )
            }
            _ => "from low to high with 95 %, each number for itself; what was cut off beyond the bounds is not in it"
                .to_owned(),
        };
        Statement {
            unit: format!(
                "one device: all its records from {} to {}, of which at most {} in {} count{few_groups}",
                written(self.from),
                written(self.to),
                self.records,
                span_written(self.windows.width),
            ),
            neighbours: "with or without all records of one device".to_owned(),
            epsilon: self.cost().alone().unwrap_or(Epsilon::MAX),
            delta: if self.cost().is_pure() { 0.0 } else { DELTA },
            mechanism,
            error,
        }
    }
}

impl Cell {
    const fn of([value, low, high]: [f64; 3]) -> Self {
        Self {
            group: None,
            time: None,
            step: None,
            value: Some(value),
            low: Some(low),
            high: Some(high),
        }
    }
}

impl Bounded {
    /// A sum in steps of the grid, to the nearest.
    pub(crate) fn on_grid(&self, sum: i128) -> Result<i128, SampleError> {
        let grid = i128::try_from(self.grid).map_err(|_| SampleError::TooLarge)?;
        let half = grid.checked_div(2).unwrap_or_default();
        sum.checked_add(half)
            .and_then(|sum| sum.checked_div_euclid(grid))
            .ok_or(SampleError::TooLarge)
    }

    /// Steps of the grid as a number.
    fn shown(&self, steps: f64) -> f64 {
        steps * float(i128::try_from(self.grid).unwrap_or(i128::MAX)) / 1e6
    }
}
