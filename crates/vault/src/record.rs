//! A record as it is stored and shown.

use serde::{Deserialize, Serialize};
use time::{Date, OffsetDateTime};

use crate::value::Fields;

/// The version written here.
const VERSION: u8 = 1;

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

/// The same in the store; its number and data set are in the key.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    v: u8,
    /// Days since 1970.
    day: i64,
    fields: Fields,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<String>,
}

const DAY: i64 = 86_400;

impl StoredRecord {
    /// The day for a record that is stored `now`, no finer than the step (in seconds) of its time.
    pub(crate) fn day(now: OffsetDateTime, step: Option<u64>) -> i64 {
        let step = step
            .and_then(|step| i64::try_from(step).ok())
            .unwrap_or(DAY)
            .max(DAY);
        let seconds = now.unix_timestamp();
        (seconds - seconds.rem_euclid(step)).div_euclid(DAY)
    }

    pub(crate) fn encode(day: i64, fields: Fields, withheld: Vec<String>) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        let written = ciborium::into_writer(
            &Stored {
                v: VERSION,
                day,
                fields,
                withheld,
            },
            &mut out,
        );
        // Only the writer can fail, and a Vec does not.
        debug_assert!(written.is_ok(), "encoding into memory failed");
        out
    }

    /// The record in `bytes`; what is wrong with them otherwise.
    pub(crate) fn decode(schema: &str, number: u64, bytes: &[u8]) -> Result<Self, String> {
        let stored: Stored = ciborium::from_reader(bytes).map_err(|error| error.to_string())?;
        if stored.v != VERSION {
            return Err(format!(
                "version {}; this version knows {VERSION}",
                stored.v
            ));
        }
        let date = stored
            .day
            .checked_mul(DAY)
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let date = date.map_or(Date::MIN, OffsetDateTime::date);
        let stored_on = format!(
            "{:04}-{:02}-{:02}",
            date.year(),
            u8::from(date.month()),
            date.day()
        );
        Ok(Self {
            number,
            schema: schema.to_owned(),
            stored: stored_on,
            fields: stored.fields,
            withheld: stored.withheld,
        })
    }
}
