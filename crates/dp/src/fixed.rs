//! Numbers of six decimals.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of at most six decimals, held in millionths: what is added up is whole numbers, so that no rounding depends
/// on the order.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Fixed(i64);

impl Fixed {
    /// One.
    pub const ONE: i64 = 1_000_000;
    /// So far from zero a number may be: a million millions, and a double still holds each millionth of a thousandth of
    /// that.
    const MAX: i64 = 1_000_000 * 1_000_000 * 1_000_000;

    /// The number of so many millionths, if it is no further from zero than a million millions.
    pub fn from_millionths(millionths: i64) -> Option<Self> {
        (-Self::MAX..=Self::MAX)
            .contains(&millionths)
            .then_some(Self(millionths))
    }

    /// The number in millionths.
    pub const fn millionths(self) -> i64 {
        self.0
    }

    /// The nearest there is.
    pub(crate) fn nearest(number: f64) -> Self {
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            reason = "saturates, and what is not a number is 0"
        )]
        let millionths = (number * 1e6).round() as i64;
        Self(millionths.clamp(-Self::MAX, Self::MAX))
    }

    /// So many millionths as a double.
    pub(crate) fn to_f64_of(millionths: i64) -> f64 {
        float(i128::from(millionths)) / 1e6
    }
}

/// A whole number as the nearest double.
pub(crate) const fn float(number: i128) -> f64 {
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "to be shown, or compared as roughly as doubles do"
    )]
    let float = number as f64;
    float
}

impl FromStr for Fixed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, part) = match digits.split_once('.') {
            Some((_, "")) => return Err(()),
            Some(both) => both,
            None => (digits, ""),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 13 || part.len() > 6 || !plain(whole) || !plain(part) {
            return Err(());
        }
        let millionths = format!("{whole}{part:0<6}")
            .parse::<i64>()
            .map_err(|_| ())?;
        Self::from_millionths(if negative {
            millionths.saturating_neg()
        } else {
            millionths
        })
        .ok_or(())
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.unsigned_abs();
        let (whole, part) = (
            size.checked_div(1_000_000).unwrap_or_default(),
            size.checked_rem(1_000_000).unwrap_or_default(),
        );
        let sign = if self.0 < 0 { "-" } else { "" };
        let part = format!("{part:06}");
        match part.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            part => write!(f, "{sign}{whole}.{part}"),
        }
    }
}
