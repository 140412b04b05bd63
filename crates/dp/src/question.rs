//! What can be asked.
//!
//! ```text
//! count | count subjects | sum F | mean F | histogram F by STEP | quantile Q of F
//!     [by F [in VALUE, …]] [where F = VALUE [and …]] [per 1h] [from TIME to TIME]
//! ```

use std::fmt;

use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};

use crate::fixed::Fixed;
use crate::words::{Word, Words};

/// Most values in one list, most conditions.
const MAX_LIST: usize = 256;
const MAX_CONDITIONS: usize = 8;
const WHAT: &str = "`count`, `count subjects`, `sum FIELD`, `mean FIELD`, `histogram FIELD by STEP` or \
                    `quantile 0.9 of FIELD`";
const CLAUSES: &str =
    "`by FIELD`, `where FIELD = VALUE`, `per 1h`, `from TIME to TIME`, or the end";
const TIMES: &str = "a day or a moment (UTC): 2026-01-31 or 2026-01-31T12:00:00Z";
/// The last day of the year 9999: later times cannot be written.
const LAST_MOMENT: i64 = 253_402_214_400;
const SPANS: &str = "a number and s, min, h or d: 15min, 1h, 1d";

/// A question cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at column {}: {what}; possible: {possible}", at.saturating_add(1))]
pub struct QuestionError {
    /// At which byte.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// What could be there.
    pub possible: String,
}

impl QuestionError {
    pub(crate) fn new(at: usize, what: impl Into<String>, possible: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
            possible: possible.into(),
        }
    }
}

/// What is asked about the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// How many records.
    Count,
    /// How many subjects.
    Subjects,
    /// The sum of a field.
    Sum(String),
    /// The mean of a field.
    Mean(String),
    /// How many records have a field in which step.
    Histogram(String, Fixed),
    /// The value that so many thousandths of the records are below.
    Quantile(u32, String),
}

/// How a field must compare with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// How they are written.
pub(crate) const COMPARISONS: [(&str, Compare); 6] = [
    ("=", Compare::Is),
    ("!=", Compare::IsNot),
    ("<", Compare::Less),
    ("<=", Compare::AtMost),
    (">", Compare::More),
    (">=", Compare::AtLeast),
];

/// Only records of which this holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) field: String,
    pub(crate) compare: Compare,
    pub(crate) value: String,
}

/// One answer for each value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups {
    pub(crate) field: String,
    /// The values, if the question names them.
    pub(crate) values: Option<Vec<String>>,
}

/// A question about a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub(crate) what: What,
    pub(crate) by: Option<Groups>,
    pub(crate) conditions: Vec<Condition>,
    /// One answer for each such interval, in seconds.
    pub(crate) per: Option<u32>,
    /// From when, and until before when, in seconds since 1970.
    pub(crate) range: Option<(i64, i64)>,
}

impl Question {
    /// Reads a question.
    pub fn parse(text: &str) -> Result<Self, QuestionError> {
        let mut words = Words::of(text)?;
        let mut question = Self {
            what: what(&mut words)?,
            by: None,
            conditions: Vec::new(),
            per: None,
            range: None,
        };
        while let Some(word) = words.peek() {
            let twice = |there: bool| {
                if there {
                    Err(word.wrong("is there twice", CLAUSES))
                } else {
                    Ok(())
                }
            };
            if words.take("by") {
                twice(question.by.is_some())?;
                question.by = Some(groups(&mut words)?);
            } else if words.take("where") {
                twice(!question.conditions.is_empty())?;
                question.conditions = conditions(&mut words)?;
            } else if words.take("per") {
                twice(question.per.is_some())?;
                question.per = Some(span(words.next(SPANS)?)?);
            } else if words.take("from") {
                twice(question.range.is_some())?;
                question.range = Some(range(&mut words)?);
            } else {
                return Err(word.wrong("is not understood", CLAUSES));
            }
        }
        Ok(question)
    }
}

fn what(words: &mut Words<'_>) -> Result<What, QuestionError> {
    const FIELD: &str = "a field of the data set";
    let word = words.next(WHAT)?;
    let kind = if word.quoted { "" } else { word.text };
    match kind {
        "count" if words.take("subjects") => Ok(What::Subjects),
        "count" => Ok(What::Count),
        "sum" => Ok(What::Sum(words.next(FIELD)?.plain(FIELD)?)),
        "mean" => Ok(What::Mean(words.next(FIELD)?.plain(FIELD)?)),
        "histogram" => {
            const STEP: &str = "`by` and the width of a step, for example `by 0.5`";
            let field = words.next(FIELD)?.plain(FIELD)?;
            words.expect("by", STEP)?;
            let step = words.next(STEP)?;
            let width = step.text.parse::<Fixed>().ok();
            let width = width.filter(|width| width.millionths() > 0);
            let width = width.ok_or_else(|| step.wrong("is no width", STEP))?;
            Ok(What::Histogram(field, width))
        }
        "quantile" => {
            const SHARE: &str = "a share from 0.001 to 0.999, with at most three decimals";
            let share = words.next(SHARE)?;
            let thousandths = share
                .text
                .parse::<Fixed>()
                .ok()
                .map(Fixed::millionths)
                .filter(|it| (1_000..=999_000).contains(it) && it.checked_rem(1_000) == Some(0))
                .and_then(|it| u32::try_from(it.checked_div(1_000)?).ok())
                .ok_or_else(|| share.wrong("is no share", SHARE))?;
            words.expect("of", "`of FIELD`")?;
            Ok(What::Quantile(
                thousandths,
                words.next(FIELD)?.plain(FIELD)?,
            ))
        }
        _ => Err(word.wrong("is no question", WHAT)),
    }
}

fn groups(words: &mut Words<'_>) -> Result<Groups, QuestionError> {
    const FIELD: &str = "a field, and perhaps `in` and its values: `by region in north, south`";
    let field = words.next(FIELD)?.plain(FIELD)?;
    if !words.take("in") {
        return Ok(Groups {
            field,
            values: None,
        });
    }
    let mut values = Vec::new();
    loop {
        let word = words.next(FIELD)?;
        let value = word.plain(FIELD)?;
        if values.contains(&value) {
            return Err(word.wrong("is there twice", "each value once"));
        }
        values.push(value);
        if values.len() > MAX_LIST {
            return Err(word.wrong(
                "is one too many",
                &format!("at most {MAX_LIST} values at once"),
            ));
        }
        if !words.take(",") {
            break;
        }
    }
    Ok(Groups {
        field,
        values: Some(values),
    })
}

fn conditions(words: &mut Words<'_>) -> Result<Vec<Condition>, QuestionError> {
    const FORM: &str = "a field, one of = != < <= > >=, and a value: `where region = north`";
    let mut conditions = Vec::new();
    loop {
        let word = words.next(FORM)?;
        if conditions.len() == MAX_CONDITIONS {
            return Err(word.wrong(
                "is one too many",
                &format!("at most {MAX_CONDITIONS} conditions"),
            ));
        }
        let field = word.plain(FORM)?;
        let sign = words.next(FORM)?;
        let compare = COMPARISONS
            .iter()
            .find(|(text, _)| !sign.quoted && *text == sign.text)
            .map(|(_, compare)| *compare)
            .ok_or_else(|| sign.wrong("is no comparison", FORM))?;
        let word = words.next(FORM)?;
        let value = word.plain(FORM)?;
        let by_order = !matches!(compare, Compare::Is | Compare::IsNot);
        if by_order && value.parse::<Fixed>().is_err() {
            return Err(word.wrong("is no number", "a number of at most six decimals"));
        }
        conditions.push(Condition {
            field,
            compare,
            value,
        });
        if !words.take("and") {
            return Ok(conditions);
        }
    }
}

fn range(words: &mut Words<'_>) -> Result<(i64, i64), QuestionError> {
    let from = moment(words.next(TIMES)?)?;
    words.expect("to", "`to TIME`")?;
    let word = words.next(TIMES)?;
    let to = moment(word)?;
    if to <= from {
        return Err(word.wrong("is not later than where it starts", "a later time"));
    }
    Ok((from, to))
}

fn moment(word: Word<'_>) -> Result<i64, QuestionError> {
    let day = time::macros::format_description!("[year]-[month]-[day]");
    let date = Date::parse(word.text, &day).map(|date| date.midnight().assume_utc());
    date.or_else(|_| OffsetDateTime::parse(word.text, &Rfc3339))
        .ok()
        .map(OffsetDateTime::unix_timestamp)
        .filter(|seconds| (0..=LAST_MOMENT).contains(seconds))
        .ok_or_else(|| word.wrong("is no time", TIMES))
}

/// `15min`, `1h`, `1d`, in seconds; at most ten years.
fn span(word: Word<'_>) -> Result<u32, QuestionError> {
    let digits = word.text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = word.text.strip_prefix(digits).unwrap_or_default();
    let size = match unit {
        "s" => Some(1_u32),
        "min" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    size.zip(digits.parse::<u32>().ok())
        .and_then(|(size, count)| size.checked_mul(count))
        .filter(|seconds| (1..=3_660 * 86_400).contains(seconds))
        .ok_or_else(|| word.wrong("is no length of time", SPANS))
}

/// The one way to write the question: two questions that mean the same read the same.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Count => f.write_str("count")?,
            What::Subjects => f.write_str("count subjects")?,
            What::Sum(field) => write!(f, "sum {}", Name(field))?,
            What::Mean(field) => write!(f, "mean {}", Name(field))?,
            What::Histogram(field, step) => write!(f, "histogram {} by {step}", Name(field))?,
            What::Quantile(share, field) => write!(f, "quantile 0.{share:03} of {}", Name(field))?,
        }
        if let Some(by) = &self.by {
            write!(f, " by {}", Name(&by.field))?;
            for (index, value) in by.values.iter().flatten().enumerate() {
                let before = if index == 0 { " in " } else { ", " };
                write!(f, "{before}{}", Name(value))?;
            }
        }
        for (index, condition) in self.conditions.iter().enumerate() {
            let before = if index == 0 { "where" } else { "and" };
            let sign = COMPARISONS
                .iter()
                .find(|(_, compare)| *compare == condition.compare);
            let sign = sign.map_or("", |(text, _)| text);
            let (field, value) = (Name(&condition.field), Name(&condition.value));
            write!(f, " {before} {field} {sign} {value}")?;
        }
        if let Some(per) = self.per {
            write!(f, " per {}", span_written(per.into()))?;
        }
        if let Some((from, to)) = self.range {
            write!(f, " from {} to {}", written(from), written(to))?;
        }
        Ok(())
    }
}

/// Seconds in the largest whole unit.
pub(crate) fn span_written(seconds: i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let found = units
        .iter()
        .find(|(size, _)| seconds.checked_rem(*size) == Some(0));
    let (size, unit) = found.copied().unwrap_or((1, "s"));
    format!("{}{unit}", seconds.checked_div(size).unwrap_or(seconds))
}

/// Seconds since 1970 as RFC 3339.
pub(crate) fn written(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// A name or value, in quotes where it needs them.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KEYWORDS: [&str; 9] = [
            "by", "where", "per", "from", "to", "in", "and", "of", "subjects",
        ];
        let Self(text) = self;
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
        if text.is_empty() || !text.chars().all(plain) || KEYWORDS.contains(text) {
            write!(f, "\"{text}\"")
        } else {
            f.write_str(text)
        }
    }
}
