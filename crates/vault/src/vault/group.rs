//! A group of messages on its way into the store: sorted by data set and subject, sealed in blocks, committed as one.

use std::collections::BTreeMap;

use stockade_store::{Batch, Seq};
use time::OffsetDateTime;

use super::blocks::{WINDOW, block_key, index_key};
use super::{
    BLOCKS, BY_SUBJECT, COUNTERS, Ingested, META, POSITION, Position, Progress, SEEN, UNKNOWN,
    Vault, VaultError,
};
use crate::block::{self, FULL, Header, MAX_RECORDS, Place};
use crate::counters::{Counters, Refusal};
use crate::keys::{KeyError, SubjectId};
use crate::prepare::{Outcome, PolicyId, Prepared};
use crate::record::day;
use crate::seal::RecordId;

/// Records that may be in one block.
type Like<'a> = (&'a str, SubjectId, PolicyId, i32);

pub(super) struct Group<'a> {
    progress: Progress,
    ingested: Ingested,
    now: OffsetDateTime,
    records: BTreeMap<Like<'a>, Vec<&'a [u8]>>,
}

impl<'a> Group<'a> {
    /// Nothing yet of what comes behind `before`; it ends with the message at `last`.
    pub(super) fn new(before: &Progress, last: Seq, now: OffsetDateTime) -> Self {
        let mut progress = before.clone();
        progress.position.taken = last;
        Self {
            progress,
            ingested: Ingested::default(),
            now,
            records: BTreeMap::new(),
        }
    }

    /// Whether the message was not taken before; it is now.
    pub(super) fn is_new(&mut self, id: RecordId) -> bool {
        let is_new = self.progress.seen.take(id);
        self.ingested.repeated += u64::from(!is_new);
        is_new
    }

    /// Takes one message.
    pub(super) fn take(&mut self, message: &'a [u8]) {
        let Some(prepared) = Prepared::decode(message) else {
            return self.refuse(UNKNOWN, Refusal::NotARecord);
        };
        let schema = if prepared.schema.is_empty() {
            UNKNOWN
        } else {
            prepared.schema
        };
        if !prepared.lost.is_empty() {
            let counters = self.counters(schema);
            for (field, why) in prepared.lost {
                counters.drop(field, why);
            }
        }
        match prepared.outcome {
            Outcome::Refused(why) => self.refuse(schema, why),
            Outcome::Stored {
                subject,
                policy,
                step,
                record,
            } => {
                let like = (schema, subject, policy, day(self.now, step));
                self.records.entry(like).or_default().push(record);
            }
        }
    }

    pub(super) fn refuse(&mut self, schema: &str, why: Refusal) {
        self.refuse_all(schema, why, 1);
    }

    fn refuse_all(&mut self, schema: &str, why: Refusal, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.ingested.refused += count;
        self.counters(schema).refuse(why, count);
    }

    fn counters(&mut self, schema: &str) -> &mut Counters {
        self.progress.counters.entry(schema.to_owned()).or_default()
    }

    /// The batch with the blocks, the new position and the counters that changed; refused if the position is not that of
    /// `before`.
    pub(super) fn finish(
        mut self,
        vault: &Vault,
        before: &Progress,
    ) -> Result<(Batch, Progress, Ingested), VaultError> {
        let mut batch = Batch::new();
        let epoch = vault.keys.epoch();
        for (like, records) in std::mem::take(&mut self.records) {
            let (schema, subject, policy, day) = like;
            let keys = match vault.keys.by_id(subject) {
                Ok(Some(keys)) => keys,
                Ok(None) | Err(KeyError::Destroyed { .. }) => {
                    self.refuse_all(schema, Refusal::Erased, records.len());
                    continue;
                }
                Err(KeyError::Damaged { .. }) => {
                    tracing::error!(%subject, "the keys of a subject are damaged: its records cannot be stored");
                    self.refuse_all(schema, Refusal::NoKey, records.len());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let stored = u64::try_from(records.len()).unwrap_or(u64::MAX);
            self.ingested.stored += stored;
            self.counters(schema).stored += stored;
            let mut rest = records.as_slice();
            while !rest.is_empty() {
                let first = self.progress.position.number + 1;
                let (now, later) = rest.split_at(fitting(rest, first));
                rest = later;
                let numbered: Vec<_> = (first..).zip(now.iter().copied()).collect();
                let place = Place {
                    tenant: &vault.tenant,
                    schema,
                    first,
                };
                let header = Header {
                    epoch,
                    subject,
                    day,
                    count: 0,
                    policy,
                };
                batch.put(
                    BLOCKS,
                    block_key(schema, first),
                    block::seal(place, header, &keys, &numbered)?,
                );
                batch.put(BY_SUBJECT, index_key(subject, schema, first), Vec::new());
                self.progress.position.number += u64::try_from(now.len()).unwrap_or(0);
            }
        }
        put_progress(&mut batch, before, &self.progress);
        Ok((batch, self.progress, self.ingested))
    }
}

/// How many of the records are the next block: no block is too full, and none reaches into the next window.
pub(super) fn fitting(records: &[&[u8]], first: u64) -> usize {
    let to_border = usize::try_from(WINDOW - first % WINDOW).unwrap_or(1);
    let mut bytes = 0_usize;
    let fits = |record: &&&[u8]| {
        let before = bytes;
        bytes = bytes.saturating_add(record.len());
        before == 0 || bytes <= FULL
    };
    records
        .iter()
        .take(MAX_RECORDS.min(to_border))
        .take_while(fits)
        .count()
        .max(1)
}

fn put_progress(batch: &mut Batch, before: &Progress, after: &Progress) {
    if before.position == Position::default() {
        batch.require_absent(META, POSITION);
    } else {
        batch.require_equals(META, POSITION, before.position.encode());
    }
    after.position.put(batch);
    batch.put(META, SEEN, after.seen.encode());
    for (schema, counters) in &after.counters {
        if before.counters.get(schema) != Some(counters) {
            let mut bytes = Vec::new();
            let written = ciborium::into_writer(counters, &mut bytes);
            debug_assert!(written.is_ok(), "encoding into memory failed");
            batch.put(COUNTERS, schema.as_bytes(), bytes);
        }
    }
}
