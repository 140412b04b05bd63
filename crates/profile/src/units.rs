//! Quantities with a unit: durations, rates, distances, steps.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::read::{Form, Node, Text, Value, text};

/// Longest first, so that writing finds the largest unit that divides.
const TIME_UNITS: &[(&str, u64)] = &[("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
const MAX_SECONDS: u64 = 3_660 * 86_400;

/// Reads `7d`, `24h`, `1min`, `30s`.
fn seconds(text: &str) -> Result<u64, Malformed> {
    let wrong = || {
        let wrong = Malformed::new(format!("`{}` is not a duration", quote(text)));
        wrong.help("a number and s, min, h or d: \"30s\", \"10min\", \"24h\", \"7d\"")
    };
    let (count, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let Some(&(_, size)) = TIME_UNITS.iter().find(|&&(name, _)| name == unit) else {
        let meant = match unit {
            "m" | "mins" | "minute" | "minutes" => "min",
            "sec" | "secs" | "second" | "seconds" => "s",
            "hr" | "hrs" | "hour" | "hours" => "h",
            "day" | "days" => "d",
            _ => return Err(wrong()),
        };
        let odd = Malformed::new(format!("`{unit}` is not a unit of time"));
        return Err(odd.help(format!("did you mean \"{count}{meant}\"?")));
    };
    match count.checked_mul(size) {
        Some(0) => Err(Malformed::new("a duration can not be zero")),
        Some(seconds @ 1..=MAX_SECONDS) => Ok(seconds),
        _ => Err(Malformed::new("a duration is at most ten years (3660d)")),
    }
}

/// The duration in its largest whole unit, as a profile writes it.
pub(crate) fn short(duration: Duration) -> String {
    let (count, unit) = largest_unit(duration);
    format!("{count}{unit}")
}

/// The duration for a sentence: `30 days`.
pub(crate) fn spoken(duration: Duration) -> String {
    let (count, unit) = largest_unit(duration);
    let name = match unit {
        "d" => "day",
        "h" => "hour",
        "min" => "minute",
        _ => "second",
    };
    if count == 1 {
        format!("1 {name}")
    } else {
        format!("{count} {name}s")
    }
}

fn largest_unit(duration: Duration) -> (u64, &'static str) {
    let seconds = duration.as_secs();
    TIME_UNITS
        .iter()
        .find_map(|&(unit, size)| {
            let whole = seconds != 0 && seconds.checked_rem(size) == Some(0);
            whole.then(|| (seconds.checked_div(size).unwrap_or_default(), unit))
        })
        .unwrap_or((seconds, "s"))
}

impl Form for Duration {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let text = text(node, faults)?;
        seconds(text)
            .map(Self::from_secs)
            .map_err(|wrong| faults.error(node.at, wrong))
    }

    fn write(&self) -> Value {
        Value::Text(short(*self))
    }
}

/// How often something may happen: `2/s`, `10/min`, `5/15min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many times.
    pub count: u32,
    /// In how long; whole seconds.
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            let wrong = Malformed::new(format!("`{}` is not a rate", quote(text)));
            wrong.help("a number, `/` and a time: \"2/s\", \"10/min\", \"100/h\", \"5/15min\"")
        };
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let count = digits(count)
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(wrong)?;
        if count == 0 {
            return Err(Malformed::new("a rate of zero").help("leave the rule out instead"));
        }
        let per = match TIME_UNITS.iter().find(|&&(unit, _)| unit == per) {
            Some(&(_, size)) => size,
            None => seconds(per).map_err(|_| wrong())?,
        };
        Ok(Self {
            count,
            per: Duration::from_secs(per),
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match largest_unit(self.per) {
            (1, unit) => write!(f, "{}/{unit}", self.count),
            (per, unit) => write!(f, "{}/{per}{unit}", self.count),
        }
    }
}

impl Text for Rate {}

impl Rate {
    /// The rate for a sentence: `2 a second`.
    pub(crate) fn spoken(self) -> String {
        match (self.per.as_secs(), self.count) {
            (1, count) => format!("{count} a second"),
            (60, count) => format!("{count} a minute"),
            (3_600, count) => format!("{count} an hour"),
            (86_400, count) => format!("{count} a day"),
            (_, count) => format!("{count} in {}", spoken(self.per)),
        }
    }
}

/// A length on the ground, in whole metres: `500m`, `1km`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance(u32);

impl Distance {
    const MAX: u32 = 20_000_000;

    /// A distance of at least 1 m and at most 20,000 km, half the way around the earth.
    pub fn from_metres(metres: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&metres).then_some(Self(metres))
    }

    /// The distance in metres; never zero.
    pub fn metres(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.checked_div(1_000), self.0.checked_rem(1_000)) {
            (Some(kilometres), Some(0)) => write!(f, "{kilometres}km"),
            _ => write!(f, "{}m", self.0),
        }
    }
}

/// The width of the intervals that a number is rounded to, as a decimal: `5`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step(u64);

impl Step {
    const DECIMALS: usize = 6;
    const ONE: u64 = 1_000_000;
    const MAX: u64 = 1_000_000 * Self::ONE;

    /// The step in millionths; never zero.
    pub fn millionths(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let step = Self::millionths_of(text)?;
        (step != 0 && step <= Self::MAX).then_some(Self(step))
    }

    /// Reads a number with up to six decimals.
    pub(crate) fn millionths_of(text: &str) -> Option<u64> {
        let (whole, part) = match text.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, part)) => (whole, part),
            None => (text, ""),
        };
        if part.len() > Self::DECIMALS {
            return None;
        }
        let part = digits(&format!("{part:0<6}"))?;
        digits(whole)?.checked_mul(Self::ONE)?.checked_add(part)
    }

    pub(crate) fn write_millionths(millionths: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = millionths.checked_div(Self::ONE).unwrap_or_default();
        let part = format!(
            "{:06}",
            millionths.checked_rem(Self::ONE).unwrap_or_default()
        );
        match part.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            part => write!(f, "{whole}.{part}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::write_millionths(self.0, f)
    }
}

/// How coarse a field is made before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generalisation {
    /// A time is rounded down to a multiple of this, in whole seconds.
    Duration(Duration),
    /// A location is moved to the middle of a cell of this size.
    Distance(Distance),
    /// A number is rounded down to a multiple of this.
    Step(Step),
    /// A value becomes what it joins into on this level of its field's hierarchy; from 1.
    Level(u8),
}

impl FromStr for Generalisation {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let metres = |count: u64, unit: u64| {
            let metres = count
                .checked_mul(unit)
                .and_then(|metres| u32::try_from(metres).ok());
            metres
                .and_then(Distance::from_metres)
                .map(Self::Distance)
                .ok_or_else(|| Malformed::new("a distance is from 1m to 20000km, in whole metres"))
        };
        if let Some(level) = text.strip_prefix("level ") {
            return digits(level)
                .and_then(|level| u8::try_from(level).ok())
                .filter(|level| *level > 0)
                .map(Self::Level)
                .ok_or_else(|| Malformed::new("a level is a number from 1: \"level 1\""));
        }
        match number_and_unit(text) {
            Some((count, "m")) => {
                metres(count, 1).map_err(|wrong| wrong.help("minutes are written \"min\""))
            }
            Some((count, "km")) => metres(count, 1_000),
            Some((_, unit)) if TIME_UNITS.iter().any(|&(name, _)| name == unit) => {
                seconds(text).map(|count| Self::Duration(Duration::from_secs(count)))
            }
            _ => Step::parse(text).map(Self::Step).ok_or_else(|| {
                let wrong = Malformed::new(format!("`{}` can not be rounded to", quote(text)));
                let number = text.chars().all(|c| c.is_ascii_digit() || c == '.');
                wrong.help(if number && !text.is_empty() {
                    "a step is from 0.000001 to 1000000"
                } else {
                    "a time \"1min\", a distance \"1km\", a step of a number \"0.5\", or a \"level 1\" of a hierarchy"
                })
            }),
        }
    }
}

impl fmt::Display for Generalisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration(duration) => f.write_str(&short(*duration)),
            Self::Distance(distance) => distance.fmt(f),
            Self::Step(step) => step.fmt(f),
            Self::Level(level) => write!(f, "level {level}"),
        }
    }
}

impl Text for Generalisation {}

impl Generalisation {
    /// For a sentence: `1 minute`, `1 km`, `steps of 0.5`.
    pub(crate) fn spoken(self) -> String {
        match self {
            Self::Duration(duration) => spoken(duration),
            Self::Distance(distance) => match distance.to_string().strip_suffix("km") {
                Some(kilometres) => format!("{kilometres} km"),
                None => format!("{} m", distance.metres()),
            },
            Self::Step(step) => format!("steps of {step}"),
            Self::Level(level) => format!("level {level} of its hierarchy"),
        }
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let count = digits(text.strip_suffix(unit)?)?;
    (!unit.is_empty()).then_some((count, unit))
}

/// A plain decimal number without a sign, far from the end of its type.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && text.len() <= 18)
        .then(|| text.parse().ok())
        .flatten()
}
