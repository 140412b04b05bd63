//! Deciding, field by field, what may be stored.

mod ff1;
mod format;
mod noise;
mod pseudonym;
mod readers;
mod token;

use std::fmt;

use stockade_profile::{Field, Generalisation, Range, Schema, Treatment};
use time::OffsetDateTime;

pub(crate) use self::noise::System;
pub use self::pseudonym::{DataSetKeys, for_purpose};
pub use self::readers::{ReaderKey, ReaderKeyError, Readers, StoredReaders, seal_info};
use crate::generalise::generalise;
use crate::value::{Fields, Value};

/// Why a field was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// The profile does not name it.
    Unnamed,
    /// The profile says `drop`.
    ByProfile,
    /// It has not the shape that its treatment needs, or is outside of its range.
    WrongShape,
    /// Withheld: there is no reader's key to seal it for, or no randomness to blur it with.
    Sealed,
}

/// What is left of a record's fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Treated {
    /// What may be stored.
    pub fields: Fields,
    /// The others, and why.
    pub dropped: Vec<(String, Dropped)>,
}

/// Whose record is treated, by which keys.
#[derive(Clone, Copy)]
pub struct Treating<'a> {
    /// The keys of the data set.
    pub keys: &'a DataSetKeys,
    /// The subject's secret: without it none of its pseudonyms can be made again.
    pub secret: &'a [u8; 32],
    /// Who may open what is sealed.
    pub readers: &'a dyn Readers,
    /// The device's name, which its own readers go by.
    pub device: &'a str,
    /// When the record came.
    pub at: OffsetDateTime,
}

impl fmt::Debug for Treating<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Treating({:?})", self.keys)
    }
}

/// Treats each field as `schema` says. What is not named, or has not the shape its treatment needs, is dropped.
#[must_use]
pub fn treat(schema: &Schema, fields: Fields, by: Treating<'_>) -> Treated {
    let mut treated = Treated::default();
    for (name, value) in fields {
        let kept = match schema.get(name.as_str()) {
            None => Err(Dropped::Unnamed),
            Some(field) => one(field, &name, value, by),
        };
        match kept {
            Ok(value) => {
                treated.fields.insert(name, value);
            }
            Err(why) => treated.dropped.push((name, why)),
        }
    }
    treated
}

fn one(field: &Field, name: &str, value: Value, by: Treating<'_>) -> Result<Value, Dropped> {
    if let Some(range) = field.range
        && field.treatment != Treatment::Drop
        && !is_within(&value, range)
    {
        return Err(Dropped::WrongShape);
    }
    let kept = match &field.treatment {
        Treatment::Keep => keep(value),
        Treatment::Drop => return Err(Dropped::ByProfile),
        Treatment::Generalise {
            to: Generalisation::Level(level),
        } => field.hierarchy.as_ref().and_then(|hierarchy| {
            let joined = hierarchy.at(&spelled(&value)?, *level)?;
            Some(Value::Text(joined.to_owned()))
        }),
        Treatment::Generalise { to } => generalise(&value, *to),
        Treatment::Pseudonym { scope, window } => by.pseudonym(*scope, *window, name, &value),
        Treatment::FormatPreserving { alphabet } => {
            by.keys.encrypt_format(by.secret, name, *alphabet, &value)
        }
        Treatment::Token => by.keys.tokenise(by.secret, name, &value),
        Treatment::Noise { to, epsilon } => {
            let range = field.range.ok_or(Dropped::WrongShape)?;
            return noise::add(&value, range, *to, *epsilon);
        }
        Treatment::Seal { readers } => return by.seal(name, &value, readers),
    };
    kept.ok_or(Dropped::WrongShape)
}

/// Plain values and lists of them. An object has fields of its own, which the profile does not name.
fn keep(value: Value) -> Option<Value> {
    let plain = |value: &Value| match value {
        Value::Float(number) => number.is_finite(),
        value => value.is_scalar(),
    };
    let kept = match &value {
        Value::List(values) => values.iter().all(plain),
        value => plain(value),
    };
    kept.then_some(value)
}

/// Whether it is a number in the range, or a list of such.
fn is_within(value: &Value, range: Range) -> bool {
    let (min, max) = (range.min.millionths(), range.max.millionths());
    match value {
        Value::Integer(number) => number
            .checked_mul(1_000_000)
            .is_some_and(|number| (i128::from(min)..=i128::from(max)).contains(&number)),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a bound, next to which no number matters"
        )]
        Value::Float(number) => (min as f64 / 1e6..=max as f64 / 1e6).contains(number),
        Value::List(values) => values
            .iter()
            .all(|value| value.is_scalar() && is_within(value, range)),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::Bytes(_) | Value::Map(_) => false,
    }
}

/// A value as a hierarchy or an alphabet spells it.
fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Float(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
    }
}
