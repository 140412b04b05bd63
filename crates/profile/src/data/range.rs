//! Decimals, ranges of them, and percentages: a profile has no other numbers than whole ones.

use std::fmt;
use std::str::FromStr;

use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::read::{Form, Node, Text, Value, list, text};
use crate::units::{Step, digits};

/// A number with up to six decimals: `30`, `"-0.5"`. A whole one needs no quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(i64);

impl Decimal {
    /// The least that is above zero.
    pub(crate) const MILLIONTH: Self = Self(1);
    const ONE: i64 = 1_000_000;
    /// Beyond it, on both sides of zero, no number is taken.
    const MAX: i64 = 1_000_000_000_000 * Self::ONE;

    /// A whole number.
    pub(crate) const fn whole(number: i64) -> Self {
        Self(number.saturating_mul(Self::ONE))
    }

    /// So many millionths.
    pub(crate) const fn of_millionths(millionths: i64) -> Self {
        Self(millionths)
    }

    /// The number in millionths.
    pub const fn millionths(self) -> i64 {
        self.0
    }

    /// The double next to it.
    pub fn to_f64(self) -> f64 {
        // Both sides know this notation, and the parser rounds as it should.
        self.to_string().parse().unwrap_or(f64::NAN)
    }
}

impl FromStr for Decimal {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            let wrong = Malformed::new(format!("`{}` is not a number", quote(text)));
            wrong.help("up to six decimals, at most 1000000000000: \"0.5\", \"-40\"")
        };
        let (minus, plain) = match text.strip_prefix('-') {
            Some(plain) => (true, plain),
            None => (false, text),
        };
        let millionths = Step::millionths_of(plain)
            .and_then(|millionths| i64::try_from(millionths).ok())
            .filter(|millionths| *millionths <= Self::MAX)
            .ok_or_else(wrong)?;
        Ok(Self(if minus {
            millionths.saturating_neg()
        } else {
            millionths
        }))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}")?;
        Step::write_millionths(self.0.unsigned_abs(), f)
    }
}

impl Form for Decimal {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let number = match &node.value {
            Value::Integer(number) => number.to_string(),
            Value::Other(_) => {
                let wrong = Malformed::new("a number that is not whole is written in quotes");
                return Err(faults.error(node.at, wrong.help("for example \"0.5\"")));
            }
            Value::Text(_) | Value::Boolean(_) | Value::List(_) | Value::Table(_) => {
                text(node, faults)?.to_owned()
            }
        };
        number.parse().map_err(|wrong| faults.error(node.at, wrong))
    }

    fn write(&self) -> Value {
        match (self.0.checked_div(Self::ONE), self.0.checked_rem(Self::ONE)) {
            (Some(whole), Some(0)) => Value::Integer(whole),
            _ => Value::Text(self.to_string()),
        }
    }
}

/// The numbers from one to another, both included: `[0, 100]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub min: Decimal,
    /// The greatest; never less than the least, nor the same.
    pub max: Decimal,
}

impl Form for Range {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let wrong = || {
            let wrong = Malformed::new("a range is two numbers, the lesser first");
            wrong.help("for example `[0, 100]` or `[\"-0.5\", \"0.5\"]`")
        };
        let [min, max] = list(node, faults)? else {
            return Err(faults.error(node.at, wrong()));
        };
        let (min, max) = (Decimal::read(min, faults), Decimal::read(max, faults));
        let (min, max) = (min?, max?);
        if min >= max {
            return Err(faults.error(node.at, wrong()));
        }
        Ok(Self { min, max })
    }

    fn write(&self) -> Value {
        vec![self.min, self.max].write()
    }
}

/// A part of a hundred: `5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    pub(crate) const FIVE: Self = Self(5);
    pub(crate) const HALF: Self = Self(50);

    /// So many parts of a hundred; a hundred at most.
    pub const fn new(parts: u8) -> Option<Self> {
        if parts <= 100 {
            Some(Self(parts))
        } else {
            None
        }
    }

    /// How many parts of a hundred.
    pub const fn parts(self) -> u8 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.strip_suffix('%')
            .and_then(digits)
            .and_then(|parts| u8::try_from(parts).ok())
            .and_then(Self::new)
            .ok_or_else(|| {
                let wrong = Malformed::new(format!("`{}` is not a percentage", quote(text)));
                wrong.help("\"0%\" to \"100%\", in whole percents")
            })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Text for Percent {}
