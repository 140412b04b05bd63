//! What was stored, dropped and refused, counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::treat::Dropped;

/// Most unnamed fields that are counted by name, in one data set.
const MAX_UNNAMED: usize = 64;
/// Longest such name, in bytes.
const MAX_NAME: usize = 64;
/// All the others: the names come from devices, which could send ever new ones, or people's names.
const OTHERS: &str = "(others)";

/// Why a message was refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// What the bus held is not a message as this version prepares it.
    NotARecord,
    /// What the bus held was changed, or sealed with a key that is gone.
    Unreadable,
    /// Its device was erased after it was sent.
    Erased,
    /// The keys of its device are damaged.
    NoKey,
    /// There is no profile for the model.
    UnknownModel,
    /// The model's profile has no such data set.
    UnknownSchema,
    /// The payload is neither a JSON object nor a CBOR map.
    NeitherJsonNorCbor,
    /// The payload is malformed, or beyond the limits.
    Malformed,
    /// Nothing of it may be stored.
    NothingLeft,
}

impl Refusal {
    /// The reason for people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotARecord => "not a telemetry record",
            Self::Unreadable => "changed on the bus, or its key is gone",
            Self::Erased => "its device was erased",
            Self::NoKey => "the keys of its device are damaged",
            Self::UnknownModel => "unknown model",
            Self::UnknownSchema => "unknown data set",
            Self::NeitherJsonNorCbor => "neither a JSON object nor a CBOR map",
            Self::Malformed => "malformed, or beyond the limits",
            Self::NothingLeft => "no field left to store",
        }
    }
}

/// What became of one data set's messages and fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages stored.
    pub stored: u64,
    /// Messages refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Fields dropped because the profile does not name them.
    pub unnamed: BTreeMap<String, u64>,
    /// Fields dropped because the profile says so.
    pub dropped: BTreeMap<String, u64>,
    /// Fields dropped because they had not the shape that their treatment needs.
    pub wrong_shape: BTreeMap<String, u64>,
    /// Fields withheld: sealed fields need a reader key.
    pub sealed: BTreeMap<String, u64>,
}

impl Counters {
    pub(crate) fn refuse(&mut self, why: Refusal, messages: u64) {
        count(&mut self.refused, why.as_str(), messages);
    }

    /// The name by which a lost field is counted: those that no profile named come from a device, which could send people's.
    pub(crate) fn name(field: &str, why: Dropped) -> &str {
        let plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        if why == Dropped::Unnamed && (field.len() > MAX_NAME || !field.chars().all(plain)) {
            OTHERS
        } else {
            field
        }
    }

    pub(crate) fn drop(&mut self, field: &str, why: Dropped) {
        match why {
            Dropped::Unnamed => {
                let fits = self.unnamed.contains_key(field) || self.unnamed.len() < MAX_UNNAMED;
                let name = if fits { Self::name(field, why) } else { OTHERS };
                count(&mut self.unnamed, name, 1);
            }
            Dropped::ByProfile => count(&mut self.dropped, field, 1),
            Dropped::WrongShape => count(&mut self.wrong_shape, field, 1),
            Dropped::Sealed => count(&mut self.sealed, field, 1),
        }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str, times: u64) {
    if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_add(times);
    } else {
        counts.insert(name.to_owned(), times);
    }
}
