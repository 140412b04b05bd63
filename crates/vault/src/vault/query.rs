//! Reading what was stored.

use stockade_profile::Scope;
use stockade_store::Scan;
use time::OffsetDateTime;

use super::{RECORDS, Vault, VaultError, damaged, record_key};
use crate::generalise::instant;
use crate::record::StoredRecord;
use crate::value::Value;

/// Most records in one answer.
pub const MAX_PAGE: usize = 1_000;
/// Stored records that one query looks at; it goes on where it stopped.
const MAX_LOOKED_AT: usize = 20_000;

/// A device whose records are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its model; pseudonyms differ from one to the other.
    pub model: String,
    /// Its id.
    pub device: String,
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The data set.
    pub schema: String,
    /// Only of this device. Answered as far as the records tell: with `device` dropped, none is found.
    pub subject: Option<Subject>,
    /// Only records whose `time` is at or after this; those without a time are left out.
    pub from: Option<OffsetDateTime>,
    /// Only records whose `time` is before this; those without a time are left out.
    pub to: Option<OffsetDateTime>,
    /// Only records behind this number (before it, when the newest come first).
    pub after: Option<u64>,
    /// At most this many; no more than [`MAX_PAGE`] in any case.
    pub limit: usize,
    /// The newest first.
    pub newest_first: bool,
}

/// A part of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The records.
    pub records: Vec<StoredRecord>,
    /// Where to go on (as [`Query::after`]), if there may be more; a page may be short, or empty, and not the last.
    pub next: Option<u64>,
}

impl Vault {
    /// Stored records in the order they came in.
    pub fn query(&self, query: &Query) -> Result<Page, VaultError> {
        let limit = query.limit.clamp(1, MAX_PAGE);
        let wanted = self.wanted_devices(query)?;
        let mut page = Page {
            records: Vec::new(),
            next: query.after,
        };
        let mut looked_at = 0;
        loop {
            let piece = MAX_PAGE.min(MAX_LOOKED_AT - looked_at);
            let mut scan = Scan::prefix(prefix(&query.schema)).limit(piece);
            scan.reverse = query.newest_first;
            scan.after = page.next.map(|number| record_key(&query.schema, number));
            let entries = self.store.scan(RECORDS, scan)?;
            let is_end = entries.len() < piece;
            looked_at += entries.len();
            for (key, bytes) in entries {
                if page.records.len() == limit {
                    return Ok(page);
                }
                let record = stored_record(&query.schema, &key, &bytes)?;
                page.next = Some(record.number);
                if query.matches(&record, wanted.as_deref()) {
                    page.records.push(record);
                }
            }
            if is_end {
                return Ok(Page { next: None, ..page });
            }
            if looked_at >= MAX_LOOKED_AT {
                return Ok(page);
            }
        }
    }

    /// What `device` may look like in the records of the wanted device: its id, or its pseudonym in one of the scopes.
    fn wanted_devices(&self, query: &Query) -> Result<Option<Vec<Value>>, VaultError> {
        let Some(subject) = &query.subject else {
            return Ok(None);
        };
        let id = Value::Text(subject.device.clone());
        let pseudonyms = self.key.pseudonyms(&subject.model, &query.schema)?;
        let mut wanted = Vec::new();
        for scope in [Scope::Dataset, Scope::Model, Scope::Fleet] {
            wanted.extend(pseudonyms.of(scope, "device", &id).map(Value::Text));
        }
        wanted.push(id);
        Ok(Some(wanted))
    }
}

impl Query {
    fn matches(&self, record: &StoredRecord, wanted: Option<&[Value]>) -> bool {
        let is_wanted = |wanted: &[Value]| {
            record
                .fields
                .get("device")
                .is_some_and(|device| wanted.contains(device))
        };
        let time = || record.fields.get("time").and_then(instant);
        wanted.is_none_or(is_wanted)
            && self
                .from
                .is_none_or(|from| time().is_some_and(|time| time >= from))
            && self
                .to
                .is_none_or(|to| time().is_some_and(|time| time < to))
    }
}

/// What the keys of a data set's records begin with.
fn prefix(schema: &str) -> Vec<u8> {
    [schema.as_bytes(), &[0]].concat()
}

fn stored_record(schema: &str, key: &[u8], bytes: &[u8]) -> Result<StoredRecord, VaultError> {
    let number = key
        .last_chunk()
        .map_or(0, |number| u64::from_be_bytes(*number));
    let what = || format!("record {number} of {schema}");
    StoredRecord::decode(schema, number, bytes).map_err(|detail| damaged(&what(), &detail))
}
