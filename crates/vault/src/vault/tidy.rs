//! What the vault does now and then: small blocks become larger ones, and what was kept long enough goes.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use stockade_profile::DataSetUse;
use stockade_store::{Batch, Scan, StoreError};
use time::OffsetDateTime;

use super::blocks::{Kept, MERGED, WINDOW, block_key, index_key, parse_key};
use super::group::fitting;
use super::{BLOCKS, BY_SUBJECT, Vault, VaultError};
use crate::block::{self, Header, Opened, Place};
use crate::keys::SubjectId;
use crate::prepare::{Policy, PolicyId};
use crate::record::day;

/// A window with more bytes than this has large blocks already.
const MOST_BYTES: usize = 16 << 20;
/// Blocks that are deleted in one commit.
const BATCH: usize = 256;

/// Whose blocks are merged: of one device, treated by one policy, stored on one day.
type Like = (SubjectId, PolicyId, i32);

/// What one call of [`Vault::tidy`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Blocks that became part of larger ones.
    pub merged: u64,
    /// Blocks that were kept long enough.
    pub expired: u64,
}

impl Vault {
    /// Deletes what was kept as long as its profile says, and merges small blocks. Blocks while it works.
    pub fn tidy(&self, now: OffsetDateTime) -> Result<Tidied, VaultError> {
        let mut tidied = Tidied::default();
        for schema in self.data_sets() {
            tidied.expired += self.expire(&schema, now)?;
            tidied.merged += self.merge(&schema)?;
        }
        self.remember_log()?;
        Ok(tidied)
    }

    /// Has the keyring remember the log as it stands: one from before, or none, is noticed at the next start. Each hour, and at
    /// an orderly end.
    pub fn remember_log(&self) -> Result<(), VaultError> {
        let head = self.log().head();
        if self.keys.log_seen() != Some(head) {
            self.keys.remember_log(head.0, head.1)?;
        }
        Ok(())
    }

    /// Records are numbered as they are stored, so that the old ones come first. A block whose header is damaged goes with the
    /// first that is as old or older.
    fn expire(&self, schema: &str, now: OffsetDateTime) -> Result<u64, VaultError> {
        let today = i64::from(day(now, 1));
        let ages = self.ages(schema)?;
        let least = ages
            .values()
            .copied()
            .min()
            .unwrap_or_else(|| days(DataSetUse::RETENTION));
        let mut expired = 0;
        let mut scan = Scan::prefix(prefix(schema)).limit(BATCH);
        loop {
            let _one = self.progress();
            let entries = self.store.scan(BLOCKS, scan.clone())?;
            let Some((last, _)) = entries.last() else {
                return Ok(expired);
            };
            scan.after = Some(last.clone());
            let (mut batch, mut unreadable, mut young) = (Batch::new(), Vec::new(), false);
            for (key, bytes) in &entries {
                let Ok(header) = Header::parse(bytes) else {
                    unreadable.push(key);
                    continue;
                };
                let age = today - i64::from(header.day);
                let most = ages
                    .get(&header.policy)
                    .copied()
                    .unwrap_or_else(|| days(DataSetUse::RETENTION));
                if age >= most {
                    for key in unreadable.drain(..) {
                        batch.delete(BLOCKS, key.clone());
                        expired += 1;
                    }
                    let (_, first) = parse_key(key).unwrap_or((schema, 0));
                    batch
                        .delete(BLOCKS, key.clone())
                        .delete(BY_SUBJECT, index_key(header.subject, schema, first));
                    expired += 1;
                } else if age < least {
                    young = true;
                    break;
                }
            }
            self.store.commit(batch)?;
            if young {
                return Ok(expired);
            }
        }
    }

    /// For how many days the records of each policy are kept, as their models' profiles say now.
    fn ages(&self, schema: &str) -> Result<BTreeMap<PolicyId, i64>, VaultError> {
        let kept = |policy: &Policy| {
            let profile = self.profiles.profile(&policy.model);
            let usage = profile.as_deref().and_then(|it| it.vault.get(schema));
            days(usage.map_or(DataSetUse::RETENTION, DataSetUse::retention))
        };
        Ok(self
            .policies(schema)?
            .iter()
            .map(|(id, policy)| (*id, kept(policy)))
            .collect())
    }

    /// Merges the small blocks of the windows that are complete.
    fn merge(&self, schema: &str) -> Result<u64, VaultError> {
        let mark = self
            .store
            .scan(MERGED, Scan::prefix(prefix(schema)).reverse().limit(1))?;
        let mut next = mark
            .first()
            .and_then(|(key, _)| parse_key(key))
            .map_or(0, |(_, window)| window + 1);
        let mut merged = 0;
        loop {
            // Windows without a block of this data set are passed over.
            let after = next.saturating_mul(WINDOW).checked_sub(1);
            let mut scan = Scan::prefix(prefix(schema)).limit(1);
            scan.after = after.map(|number| block_key(schema, number));
            let found = self.store.scan(BLOCKS, scan)?;
            let Some((_, first)) = found.first().and_then(|(key, _)| parse_key(key)) else {
                return Ok(merged);
            };
            let window = first / WINDOW;
            let one = self.progress();
            if window >= one.position.number / WINDOW {
                return Ok(merged);
            }
            merged += self.merge_window(schema, window)?;
            drop(one);
            next = window + 1;
        }
    }

    fn merge_window(&self, schema: &str, window: u64) -> Result<u64, VaultError> {
        let blocks = self.window(schema, window)?;
        let mut like: BTreeMap<Like, Vec<(&Kept, Opened)>> = BTreeMap::new();
        for block in &blocks {
            let (first, bytes) = block;
            // What cannot be opened stays as it is, to be found.
            if let Ok((header, opened)) = self.open_block(schema, *first, bytes)? {
                let key = (header.subject, header.policy, header.day);
                like.entry(key).or_default().push((block, opened));
            }
        }
        let mut batch = Batch::new();
        let mut merged = 0;
        for ((subject, policy, day), blocks) in like {
            let Ok(Some(keys)) = self.keys.by_id(subject) else {
                continue;
            };
            if blocks.len() < 2 {
                continue;
            }
            for ((first, bytes), _) in &blocks {
                let key = block_key(schema, *first);
                batch
                    .require_equals(BLOCKS, key.clone(), bytes.as_slice())
                    .delete(BLOCKS, key);
                batch.delete(BY_SUBJECT, index_key(subject, schema, *first));
                merged += 1;
            }
            let records: Vec<(u64, &[u8])> = blocks
                .iter()
                .flat_map(|(_, opened)| opened.records())
                .collect();
            let mut rest = records.as_slice();
            while let Some((first, _)) = rest.first() {
                let bytes: Vec<&[u8]> = rest
                    .iter()
                    .map(|(_, record)| *record)
                    .take(block::MAX_RECORDS)
                    .collect();
                let (now, later) = rest.split_at(fitting(&bytes, *first));
                rest = later;
                let place = Place {
                    tenant: &self.tenant,
                    schema,
                    first: *first,
                };
                let header = Header {
                    epoch: self.keys.epoch(),
                    subject,
                    day,
                    count: 0,
                    policy,
                };
                batch.put(
                    BLOCKS,
                    block_key(schema, *first),
                    block::seal(place, header, &keys, now)?,
                );
                batch.put(BY_SUBJECT, index_key(subject, schema, *first), Vec::new());
            }
        }
        batch.put(MERGED, block_key(schema, window), [u8::from(merged > 0)]);
        // Nobody reads from block to block meanwhile.
        let _alone = self.merging.write().unwrap_or_else(PoisonError::into_inner);
        match self.store.commit(batch) {
            Ok(()) => Ok(merged),
            // Another changed them; later.
            Err(StoreError::Conflict { .. }) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The blocks of a window; none if it has large ones.
    fn window(&self, schema: &str, window: u64) -> Result<Vec<Kept>, VaultError> {
        let mut scan = Scan::prefix(prefix(schema)).limit(BATCH);
        let from = window.saturating_mul(WINDOW).checked_sub(1);
        scan.after = from.map(|number| block_key(schema, number));
        let (mut blocks, mut bytes) = (Vec::new(), 0_usize);
        loop {
            let entries = self.store.scan(BLOCKS, scan.clone())?;
            let is_end = entries.len() < BATCH;
            scan.after = entries.last().map(|(key, _)| key.clone());
            for (key, block) in entries {
                let Some((_, first)) =
                    parse_key(&key).filter(|(_, first)| first / WINDOW == window)
                else {
                    return Ok(blocks);
                };
                bytes = bytes.saturating_add(block.len());
                if bytes > MOST_BYTES {
                    return Ok(Vec::new());
                }
                blocks.push((first, block));
            }
            if is_end {
                return Ok(blocks);
            }
        }
    }
}

fn prefix(schema: &str) -> Vec<u8> {
    [schema.as_bytes(), &[0]].concat()
}

/// Days that have begun: what is kept for a part of a day is kept until its end.
fn days(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs().div_ceil(86_400)).unwrap_or(i64::MAX)
}
