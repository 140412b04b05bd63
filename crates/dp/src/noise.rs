//! Which noise, and how far it throws.

use crate::fixed::float;
use crate::sample::{Random, SampleError, gaussian, laplace};

/// A variance up to here is kept as a fraction: the steps of an exact draw then fit into 128 bits.
const MAX_FRACTION: u128 = 1 << 57;
const MILLION: u128 = 1_000_000;

/// How far one subject can move all the numbers of a release together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The sum of what each number moves by.
    pub(crate) sum: u128,
    /// The sum of the squares of the same.
    pub(crate) squares: u128,
}

/// Noise that is added to a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Discrete Laplace noise of scale `over / under`.
    Laplace {
        /// Over the line.
        over: u128,
        /// Under the line.
        under: u128,
    },
    /// Discrete Gaussian noise of variance `over / under`.
    Gaussian {
        /// Over the line.
        over: u128,
        /// Under the line.
        under: u128,
    },
}

impl Noise {
    /// Laplace noise that makes a release of this reach (`epsilon` millionths)-private.
    pub(crate) fn laplace(reach: Reach, epsilon: u64) -> Option<Self> {
        Some(Self::Laplace {
            over: reach.sum.checked_mul(MILLION)?,
            under: u128::from(epsilon),
        })
        .filter(|_| epsilon > 0 && reach.sum > 0)
    }

    /// Gaussian noise that makes a release of this reach ½e²-zCDP, e in millionths.
    pub(crate) fn gaussian(reach: Reach, e: u64) -> Option<Self> {
        let over = reach.squares.checked_mul(MILLION)?.checked_mul(MILLION)?;
        let under = u128::from(e).checked_mul(u128::from(e))?;
        let common = gcd(over, under);
        let (over, under) = (over.checked_div(common)?, under.checked_div(common)?);
        let (over, under) = if over <= MAX_FRACTION {
            (over, under)
        } else {
            // Upwards: a little more noise than it takes.
            (over.div_ceil(under), 1)
        };
        (over > 0 && over <= MAX_FRACTION).then_some(Self::Gaussian { over, under })
    }

    /// Draws it.
    pub fn draw(self, random: &mut impl Random) -> Result<i128, SampleError> {
        match self {
            Self::Laplace { over, under } => laplace(random, over, under),
            Self::Gaussian { over, under } => gaussian(random, over, under),
        }
    }

    /// Roughly its standard deviation.
    pub(crate) fn deviation(self) -> f64 {
        match self {
            Self::Laplace { over, under } => std::f64::consts::SQRT_2 * quotient(over, under),
            Self::Gaussian { over, under } => quotient(over, under).sqrt(),
        }
    }

    /// It is no further from zero than this with 95 % for one number, or for two of the same noise both.
    pub(crate) fn within(self, both: bool) -> f64 {
        match self {
            // P(|X| > w) is at most e^(-w under / over).
            Self::Laplace { over, under } => {
                let miss: f64 = if both { 0.025 } else { 0.05 };
                (quotient(over, under) * -miss.ln()).ceil()
            }
            // No wider than the continuous one, rounded (Canonne, Kamath and Steinke 2020, proposition 23).
            Self::Gaussian { over, under } => {
                let deviations = if both { 2.241_403 } else { 1.959_964 };
                (quotient(over, under).sqrt() * deviations).ceil() + 1.0
            }
        }
    }

    /// What it is, for a person.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Laplace { .. } => "discrete Laplace noise",
            Self::Gaussian { .. } => "discrete Gaussian noise",
        }
    }
}

fn quotient(over: u128, under: u128) -> f64 {
    let float = |number: u128| float(i128::try_from(number).unwrap_or(i128::MAX));
    float(over) / float(under)
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a.max(1)
}
