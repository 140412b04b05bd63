//! Deciding, field by field, what may be stored.

use stockade_profile::{Schema, Treatment};

use crate::generalise::generalise;
use crate::keys::Pseudonyms;
use crate::value::{Fields, Value};

/// Why a field was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// The profile does not name it.
    Unnamed,
    /// The profile says `drop`.
    ByProfile,
    /// It has not the shape that its treatment needs.
    WrongShape,
    /// The profile says `seal`, and there is no reader's key to seal it for.
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

/// Treats each field as `schema` says. What is not named, or has not the shape its treatment needs, is dropped.
#[must_use]
pub fn treat(schema: &Schema, fields: Fields, pseudonyms: &Pseudonyms) -> Treated {
    let mut treated = Treated::default();
    for (name, value) in fields {
        let kept = match schema.get(name.as_str()) {
            None => Err(Dropped::Unnamed),
            Some(Treatment::Keep) => keep(value),
            Some(Treatment::Drop) => Err(Dropped::ByProfile),
            Some(Treatment::Generalise { to }) => {
                generalise(&value, *to).ok_or(Dropped::WrongShape)
            }
            Some(Treatment::Pseudonym { scope }) => pseudonyms
                .of(*scope, &name, &value)
                .map(Value::Text)
                .ok_or(Dropped::WrongShape),
            Some(Treatment::Seal { .. }) => Err(Dropped::Sealed),
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

/// Plain values and lists of them. An object has fields of its own, which the profile does not name.
fn keep(value: Value) -> Result<Value, Dropped> {
    let plain = match &value {
        Value::List(values) => values.iter().all(Value::is_scalar),
        value => value.is_scalar(),
    };
    if plain {
        Ok(value)
    } else {
        Err(Dropped::WrongShape)
    }
}
