//! How exactly devices are counted to somebody: whoever gets noise for the same question elsewhere gets no exact number here
//! (docs/decisions/0301).

use std::fmt;

use serde::{Serialize, Serializer};
use stockade_anonymity::gate::Reason;
use stockade_anonymity::{Goal, SearchFault};

use super::ReleaseError;
use crate::access::Access;

/// What numbers of devices are rounded to.
const STEP: u32 = 5;
/// Into so many steps shares are rounded, up.
const STEPS: f64 = 20.0;

/// A number of devices, or of kinds of them, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Exact(usize),
    /// So many, rounded.
    About(usize),
    /// Fewer than this, perhaps none.
    Fewer(u32),
}

impl Count {
    /// As a number; what is not told is none.
    pub const fn number(self) -> usize {
        match self {
            Self::Exact(number) | Self::About(number) => number,
            Self::Fewer(_) => 0,
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(number) | Self::About(number) => write!(f, "{number}"),
            Self::Fewer(bound) => write!(f, "fewer than {bound}"),
        }
    }
}

/// A number, or the words.
impl Serialize for Count {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exact(number) | Self::About(number) => number.serialize(to),
            Self::Fewer(_) => to.collect_str(self),
        }
    }
}

/// How exactly somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// As it is.
    Exact,
    /// Rounded, and below this not at all.
    Coarse { least: u32 },
}

impl Precision {
    /// Of somebody, where a release is of `k` devices alike.
    pub(super) fn of(access: &Access, k: u32) -> Self {
        if access.counts_exactly() {
            Self::Exact
        } else {
            Self::Coarse { least: k.max(STEP) }
        }
    }

    /// The fewest devices of which anything is told.
    pub(super) const fn least(self) -> u32 {
        match self {
            Self::Exact => 1,
            Self::Coarse { least } => least,
        }
    }

    pub(super) const fn is_coarse(self) -> bool {
        matches!(self, Self::Coarse { .. })
    }

    /// How many there are, to the nearest step.
    pub(super) fn count(self, number: usize) -> Count {
        self.rounded(number, |number, step| {
            number.saturating_add(step / 2) / step * step
        })
    }

    /// What everybody is among: nobody is promised more.
    pub(super) fn at_least(self, number: u32) -> Count {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        self.rounded(number, |number, step| number / step * step)
    }

    fn rounded(self, number: usize, round: impl Fn(usize, usize) -> usize) -> Count {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        match self {
            Self::Exact => Count::Exact(number),
            Self::Coarse { least } if number < size(least) => Count::Fewer(least),
            Self::Coarse { .. } => Count::About(round(number, size(STEP))),
        }
    }

    /// A share of the devices, or of anything that is counted in them: no risk is told smaller than it is.
    pub(super) fn share(self, share: f64) -> f64 {
        match self {
            Self::Exact => share,
            // Sums of fractions are not exact.
            Self::Coarse { .. } => ((share * STEPS - 1e-9).ceil().max(1.0) / STEPS).min(1.0),
        }
    }

    /// What is looked for. A k of one's own choice would count the devices by trying.
    pub(super) fn goal(self, goal: Goal, floor: u32) -> Goal {
        match self {
            Self::Coarse { .. } if goal.k > floor => Goal {
                k: goal.k.checked_next_multiple_of(STEP).unwrap_or(goal.k),
                ..goal
            },
            Self::Exact | Self::Coarse { .. } => goal,
        }
    }

    /// Why something may not be released.
    pub(super) fn reason(self, reason: &Reason) -> String {
        match reason {
            _ if self == Self::Exact => reason.to_string(),
            Reason::K { wanted, .. } => format!(
                "somebody is among fewer than {wanted} subjects: a higher --suppress or coarser hierarchies help"
            ),
            Reason::T { column, is, wanted } => Reason::T {
                column: column.clone(),
                is: self.share(*is),
                wanted: *wanted,
            }
            .to_string(),
            Reason::Suppressed { is, wanted } => Reason::Suppressed {
                is: self.share(*is),
                wanted: *wanted,
            }
            .to_string(),
            Reason::Linked { is, wanted } => {
                let wanted = self.share(*wanted);
                // Both may be in one step, and more were found than may be.
                let is = self.share(*is).max(self.share(wanted + 0.01));
                Reason::Linked { is, wanted }.to_string()
            }
            Reason::L { .. } | Reason::Nobody => reason.to_string(),
        }
    }

    /// The same in words, beside what is measured.
    pub(super) fn unreachable(self, fault: SearchFault) -> String {
        match fault {
            SearchFault::Unreachable { what, .. } if self.is_coarse() => {
                format!("the table can not reach this however coarse: all together {what}")
            }
            fault => fault.to_string(),
        }
    }

    /// Why there is nothing to release, without how many devices there are.
    pub(super) fn fault(self, fault: SearchFault) -> ReleaseError {
        match fault {
            SearchFault::Unreachable { what, .. } if self.is_coarse() => {
                ReleaseError::Unreachable(what)
            }
            fault => fault.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COARSE: Precision = Precision::Coarse { least: 10 };

    #[test]
    fn few_are_not_told_from_none_and_many_are_told_in_steps() {
        let told: Vec<String> = [0, 1, 9, 10, 12, 13, 237, 238]
            .map(|number| COARSE.count(number).to_string())
            .into();
        let few = "fewer than 10";
        assert_eq!(told, [few, few, few, "10", "10", "15", "235", "240"]);
        assert_eq!(COARSE.at_least(14), Count::About(10));
        assert_eq!(COARSE.at_least(9), Count::Fewer(10));
        assert_eq!(Precision::Exact.count(3), Count::Exact(3));
        let json = serde_json::to_string(&[COARSE.count(12), COARSE.count(3)]).unwrap();
        assert_eq!(json, r#"[10,"fewer than 10"]"#);
    }

    #[test]
    fn a_share_is_told_in_steps_and_never_smaller_than_it_is() {
        for (share, told) in [
            (0.0, 0.05),
            (1.0 / 240.0, 0.05),
            (0.05, 0.05),
            (0.3, 0.3),
            (0.31, 0.35),
            (1.0, 1.0),
        ] {
            assert!((COARSE.share(share) - told).abs() < 1e-9, "{share}");
        }
    }

    #[test]
    fn a_reason_is_told_without_the_numbers_that_count_devices() {
        let of = |is, wanted| COARSE.reason(&Reason::Linked { is, wanted });
        // Ten of 238, eleven found: both would tell how many there are.
        let told = of(11.0 / 238.0, 10.0 / 238.0);
        assert!(
            told.starts_with(
                "the linkage test found 10.0 % of the subjects again, and may find 5.0 %"
            ),
            "{told}"
        );
        assert_eq!(told, of(11.0 / 220.0, 10.0 / 220.0));
        let k = COARSE.reason(&Reason::K { is: 3, wanted: 10 });
        assert!(
            k.starts_with("somebody is among fewer than 10 subjects"),
            "{k}"
        );
        let goal = |k| {
            let goal = Goal {
                k,
                l: None,
                t: None,
                suppress: 0.0,
            };
            COARSE.goal(goal, 12).k
        };
        assert_eq!((goal(12), goal(13), goal(15)), (12, 15, 15));
    }
}
