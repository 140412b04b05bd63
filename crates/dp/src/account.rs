//! What answers cost together.
//!
//! Two sums are kept, and the smaller counts. Plain composition: the epsilons of the Laplace answers add up. And
//! zero-concentrated differential privacy (Bun and Steinke, 2016): ε-DP is ½ε²-zCDP (proposition 1.4), Gaussian noise of
//! deviation Δ/e is ½e²-zCDP (proposition 1.6), ρ adds up (lemma 1.7).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fixed::{Fixed, float};

/// The delta of every budget: with this probability at most, an answer gives away more than epsilon says.
pub const DELTA: f64 = 1e-8;
/// The part of it that one search for group names takes.
pub(crate) const THRESHOLD_DELTA: f64 = 1e-10;
/// Such searches in one budget: half of the delta is always left for the conversion.
const MAX_THRESHOLDS: u32 = 50;

/// A privacy parameter, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Epsilon(u64);

impl Epsilon {
    /// The largest; beyond it nothing is private.
    pub const MAX: Self = Self(10_000_000);

    /// So many millionths, between one and [`Epsilon::MAX`].
    pub fn from_millionths(millionths: u64) -> Option<Self> {
        (1..=Self::MAX.0)
            .contains(&millionths)
            .then_some(Self(millionths))
    }

    /// The parameter in millionths.
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// What is left of it.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// An equal part of it.
    pub(crate) fn part(self, parts: u64) -> Self {
        Self(self.0.checked_div(parts).unwrap_or_default())
    }

    /// So many times it.
    pub(crate) fn times(self, many: u64) -> Option<Self> {
        self.0.checked_mul(many).map(Self)
    }

    pub(crate) fn to_f64(self) -> f64 {
        float(i128::from(self.0)) / 1e6
    }
}

impl From<Epsilon> for f64 {
    fn from(epsilon: Epsilon) -> Self {
        epsilon.to_f64()
    }
}

impl TryFrom<f64> for Epsilon {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        u64::try_from(Fixed::nearest(number).millionths())
            .map(Self)
            .map_err(|_| "an epsilon is not negative")
    }
}

impl FromStr for Epsilon {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fixed = text.parse::<Fixed>().ok();
        fixed
            .and_then(|fixed| u64::try_from(fixed.millionths()).ok())
            .and_then(Self::from_millionths)
            .ok_or("an epsilon is a number above 0 and at most 10, with at most six decimals, for example 0.1")
    }
}

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millionths = i64::try_from(self.0).unwrap_or(i64::MAX);
        Fixed::from_millionths(millionths)
            .unwrap_or_default()
            .fmt(f)
    }
}

/// What one answer costs. An answer's noise is Laplace's (`pure`), Gaussian (`gaussian`), or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The sum of the epsilons of its Laplace parts.
    pub(crate) pure: u64,
    /// The sum of the squares of the same, in 10^-12: twice their ρ.
    pub(crate) pure_squared: u128,
    /// The sum of e² of its Gaussian parts, in 10^-12: twice their ρ.
    pub(crate) gaussian_squared: u128,
    /// Searches for group names.
    pub(crate) thresholds: u32,
}

impl Cost {
    /// What this costs where nothing else is ever answered.
    pub fn alone(self) -> Option<Epsilon> {
        Account::default().and(self).map(Account::spent)
    }

    /// Whether its delta is zero.
    pub(crate) const fn is_pure(self) -> bool {
        self.gaussian_squared == 0 && self.thresholds == 0
    }
}

/// What all answers of one budget cost together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Account(Cost);

impl Account {
    /// The account after one more answer; nothing if it cannot be kept exactly, or its delta is used up.
    #[must_use]
    pub fn and(self, cost: Cost) -> Option<Self> {
        let Self(spent) = self;
        let sum = Cost {
            pure: spent.pure.checked_add(cost.pure)?,
            pure_squared: spent.pure_squared.checked_add(cost.pure_squared)?,
            gaussian_squared: spent.gaussian_squared.checked_add(cost.gaussian_squared)?,
            thresholds: spent.thresholds.checked_add(cost.thresholds)?,
        };
        (sum.thresholds <= MAX_THRESHOLDS).then_some(Self(sum))
    }

    /// The epsilon that holds for all answers together, at [`DELTA`].
    pub fn spent(self) -> Epsilon {
        let Self(spent) = self;
        let delta = delta_after(spent.thresholds);
        let plain = spent
            .pure
            .saturating_add(converted(spent.gaussian_squared, delta));
        let all = spent.pure_squared.saturating_add(spent.gaussian_squared);
        Epsilon(plain.min(converted(all, delta)))
    }
}

/// What so many searches leave of [`DELTA`].
fn delta_after(thresholds: u32) -> f64 {
    THRESHOLD_DELTA.mul_add(-f64::from(thresholds), DELTA)
}

/// The e of Gaussian noise of deviation Δ/e that beside so many searches costs `epsilon`; zero if there is none.
pub(crate) fn gaussian_part(epsilon: Epsilon, thresholds: u32) -> u64 {
    let (mut good, mut bad) = (0, epsilon.0.saturating_add(1));
    while bad.saturating_sub(good) > 1 {
        let middle = good.midpoint(bad);
        let squared = u128::from(middle).saturating_mul(u128::from(middle));
        if converted(squared, delta_after(thresholds)) <= epsilon.0 {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

/// The epsilon, in millionths and rounded up, for which ρ-zCDP is (ε, `delta`)-private, with ρ half of `squared`:
/// Canonne, Kamath and Steinke 2020, proposition 12, solved for ε. Any α above 1 gives a true bound: a search that missed
/// the best would cost budget, never privacy.
fn converted(squared: u128, delta: f64) -> u64 {
    if squared == 0 {
        return 0;
    }
    let rho = float(i128::try_from(squared).unwrap_or(i128::MAX)) / 2e12;
    // ε(α) with α = 1 + e^x.
    let epsilon = |x: f64| {
        let less = x.exp();
        let alpha = 1.0 + less;
        let logarithm = (-1.0 / alpha).ln_1p();
        alpha.mul_add(rho, (alpha.mul_add(logarithm, -delta.ln()) - x) / less)
    };
    let (mut low, mut high) = (-10.0_f64, 40.0_f64);
    for _ in 0..120 {
        let third = (high - low) / 3.0;
        if epsilon(low + third) < epsilon(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    // A millionth more than any rounding of the doubles.
    let bound = epsilon(low.midpoint(high)).max(0.0) * 1e6 * (1.0 + 1e-9);
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and saturates"
    )]
    let millionths = bound.ceil() as u64;
    millionths
}
