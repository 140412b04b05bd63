//! Adding up, with each subject cut down to its bounds first.

use std::collections::{BTreeMap, BTreeSet};

use crate::fixed::Fixed;
use crate::plan::{Bounded, Groups, MAX_GROUPS, Measure, Plan, STEPS};
use crate::question::{Compare, Condition};

/// Longest name of a group that is searched for.
const MAX_NAME: usize = 128;

/// What a record has in a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Given<'a> {
    /// A whole number.
    Whole(i128),
    /// Any number.
    Number(f64),
    /// Text.
    Text(&'a str),
    /// Yes or no.
    Yes(bool),
}

/// Time, group, step.
pub(crate) type Place = (u32, u32, u32);

/// What is added up in one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) count: i128,
    pub(crate) sum: i128,
}

/// What one subject has added so far.
#[derive(Debug, Default)]
struct Subject {
    /// Records by window.
    used: BTreeMap<u32, u32>,
    groups: BTreeSet<u32>,
    /// Where it was counted, if subjects are counted.
    places: BTreeSet<Place>,
}

/// Takes records one by one, in any order, and adds up what counts.
#[derive(Debug)]
pub struct Tally<'p> {
    plan: &'p Plan,
    subjects: BTreeMap<u32, Subject>,
    /// Groups by name.
    pub(crate) names: BTreeMap<String, u32>,
    /// Subjects in each group, where groups are searched for.
    pub(crate) sizes: BTreeMap<u32, i128>,
    pub(crate) cells: BTreeMap<Place, Sums>,
}

impl<'p> Tally<'p> {
    /// Nothing added yet.
    pub fn new(plan: &'p Plan) -> Self {
        let known: &[String] = match &plan.groups {
            Groups::All | Groups::Open { .. } => &[],
            Groups::Closed(names) => names,
        };
        Self {
            plan,
            subjects: BTreeMap::new(),
            names: known.iter().cloned().zip(0..).collect(),
            sizes: BTreeMap::new(),
            cells: BTreeMap::new(),
        }
    }

    /// Takes a record of `subject` from the second `at` since 1970. What has no such field, or none of its kind, does not
    /// count.
    ///
    /// What a subject adds depends on its own records alone: so removing the subject removes that and nothing else.
    pub fn add<'a>(&mut self, subject: u32, at: i64, field: &dyn Fn(&str) -> Option<Given<'a>>) {
        // What does not fit is not counted: an i128 of millionths holds more than there are records on earth.
        let _counted = self.try_add(subject, at, field);
    }

    fn try_add<'a>(
        &mut self,
        subject: u32,
        at: i64,
        field: &dyn Fn(&str) -> Option<Given<'a>>,
    ) -> Option<()> {
        let plan = self.plan;
        if !(plan.from..plan.to).contains(&at)
            || !plan.question.conditions.iter().all(|it| holds(it, field))
        {
            return None;
        }
        let (bin, value) = match &plan.measure {
            Measure::Count | Measure::Subjects => (0, 0),
            Measure::Sum(of) | Measure::Mean(of) => (0, of.clamped(field)?.checked_sub(of.middle)?),
            Measure::Histogram(of, step) => {
                let above = of.clamped(field)?.checked_sub(of.low)?;
                let bin = u32::try_from(above.checked_div(*step)?).ok()?;
                (bin.min(plan.bins.saturating_sub(1)), 0)
            }
            Measure::Quantile(of, _) => (of.step(of.clamped(field)?)?, 0),
        };
        let name = match &plan.question.by {
            None => String::new(),
            Some(by) => text(field(&by.field)?),
        };
        let slot = plan.slots.map_or(Some(0), |slots| slots.of(at))?;
        let window = plan.windows.of(at)?;

        let from = self.subjects.entry(subject).or_default();
        let used = from.used.entry(window).or_default();
        if *used >= plan.records {
            return None;
        }
        let group = match &plan.groups {
            Groups::All => 0,
            Groups::Closed(_) => *self.names.get(&name)?,
            Groups::Open { .. } if name.len() > MAX_NAME => return None,
            Groups::Open { .. } => {
                let next = u32::try_from(self.names.len()).ok()?;
                let group = self.names.get(&name).copied().unwrap_or(next);
                if !from.groups.contains(&group) {
                    if from.groups.len() >= usize::try_from(MAX_GROUPS).ok()? {
                        return None;
                    }
                    from.groups.insert(group);
                    self.names.insert(name, group);
                    let size = self.sizes.entry(group).or_default();
                    *size = size.checked_add(1)?;
                }
                group
            }
        };
        let place = (slot, group, bin);
        if plan.measure == Measure::Subjects {
            // A moving device counts in the first groups of each time.
            let here = (slot, 0, 0)..=(slot, u32::MAX, 0);
            let groups = from.places.range(here).count();
            if groups >= usize::try_from(MAX_GROUPS).ok()? || !from.places.insert(place) {
                return None;
            }
        }
        *used = used.checked_add(1)?;
        let sums = self.cells.entry(place).or_default();
        sums.count = sums.count.checked_add(1)?;
        sums.sum = sums.sum.checked_add(value.into())?;
        Some(())
    }
}

impl Bounded {
    /// The field's number, no further than the range goes, in millionths.
    fn clamped<'a>(&self, field: &dyn Fn(&str) -> Option<Given<'a>>) -> Option<i64> {
        Some(number(field(&self.field)?)?.clamp(self.low, self.high))
    }

    /// The number of the candidate of a quantile that is next to `value`.
    fn step(&self, value: i64) -> Option<u32> {
        let steps = i128::from(STEPS);
        let width = i128::from(self.high).checked_sub(self.low.into())?;
        let above = i128::from(value).checked_sub(self.low.into())?;
        let at = above.checked_mul(steps)?.checked_div(width)?;
        u32::try_from(at).ok()
    }
}

fn number(given: Given<'_>) -> Option<i64> {
    match given {
        Given::Whole(number) => {
            let millionths = number.saturating_mul(Fixed::ONE.into());
            i64::try_from(millionths.clamp(i64::MIN.into(), i64::MAX.into())).ok()
        }
        Given::Number(number) => number
            .is_finite()
            .then(|| Fixed::nearest(number).millionths()),
        Given::Text(_) | Given::Yes(_) => None,
    }
}

fn text(given: Given<'_>) -> String {
    match given {
        Given::Text(text) => text.to_owned(),
        Given::Yes(yes) => yes.to_string(),
        Given::Whole(number) => number.to_string(),
        Given::Number(number) => Fixed::nearest(number).to_string(),
    }
}

fn holds<'a>(condition: &Condition, field: &dyn Fn(&str) -> Option<Given<'a>>) -> bool {
    let Some(given) = field(&condition.field) else {
        return false;
    };
    let wanted = condition.value.parse::<Fixed>().map(Fixed::millionths);
    let order = match (number(given), wanted) {
        (Some(number), Ok(wanted)) => number.cmp(&wanted),
        _ => text(given).cmp(&condition.value),
    };
    match condition.compare {
        Compare::Is => order.is_eq(),
        Compare::IsNot => order.is_ne(),
        Compare::Less => order.is_lt(),
        Compare::AtMost => order.is_le(),
        Compare::More => order.is_gt(),
        Compare::AtLeast => order.is_ge(),
    }
}
