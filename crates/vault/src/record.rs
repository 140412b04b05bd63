//! A record as it is stored and shown.

use serde::Serialize;
use time::{Date, OffsetDateTime};

use crate::value::Fields;

/// One treated message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredRecord {
    /// Its number in the vault; grows.
    pub number: u64,
    /// The data set.
    pub schema: String,
    /// The day it was stored, or the start of the longer interval that its `time` is rounded to.
    pub stored: String,
    /// What the profile lets be stored.
    pub fields: Fields,
    /// Names of the fields that are withheld: sealed fields need a reader key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

const DAY: i64 = 86_400;

/// The day since 1970 for a record that is stored `now`, no finer than `step` days.
pub(crate) fn day(now: OffsetDateTime, step: u16) -> i32 {
    let days = now.unix_timestamp().div_euclid(DAY);
    let days = days - days.rem_euclid(i64::from(step.max(1)));
    i32::try_from(days).unwrap_or(i32::MAX)
}

/// The day as people write it.
fn date(day: i32) -> String {
    let date = OffsetDateTime::from_unix_timestamp(i64::from(day) * DAY)
        .map_or(Date::MIN, OffsetDateTime::date);
    format!(
        "{:04}-{:02}-{:02}",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}

impl StoredRecord {
    /// The part that is sealed: CBOR of the fields and of the withheld ones' names.
    pub(crate) fn encode(fields: &Fields, withheld: &[&str]) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let written = ciborium::into_writer(&(fields, withheld), &mut out);
        // Only the writer can fail, and a Vec does not.
        debug_assert!(written.is_ok(), "encoding into memory failed");
        out
    }

    /// The record in `bytes`; what is wrong with them otherwise.
    pub(crate) fn decode(
        schema: &str,
        number: u64,
        day: i32,
        bytes: &[u8],
    ) -> Result<Self, String> {
        let (fields, withheld) =
            ciborium::from_reader(bytes).map_err(|error| format!("{error}"))?;
        Ok(Self {
            number,
            schema: schema.to_owned(),
            stored: date(day),
            fields,
            withheld,
        })
    }
}
