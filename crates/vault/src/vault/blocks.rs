//! Reading blocks, one run after the other.
//!
//! Records are numbered as they come. A *window* is all numbers with the same upper bits. Where small blocks of a window were
//! merged ([`super::tidy`]) its blocks lie across each other, and are read together; elsewhere blocks follow each other.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use serde::Serialize;
use stockade_store::{Scan, Table};

use super::{BLOCKS, BY_SUBJECT, Vault, VaultError, damaged};
use crate::block::{self, BlockError, Header, Opened, Place};
use crate::keys::{KeyError, SubjectId, SubjectKeys};
use crate::prepare::{Policy, PolicyId};
use crate::record::StoredRecord;

/// Numbers in a window.
pub(crate) const WINDOW: u64 = if cfg!(test) { 256 } else { 1 << 16 };
/// By data set and window: 1 if small blocks were merged, 0 if there was nothing to merge.
pub(crate) const MERGED: Table = Table::new("vault.merged");
/// Blocks that are asked for at once.
const PIECE: usize = 64;

/// A block as it is in the store, behind the number of its first record.
pub(crate) type Kept = (u64, Vec<u8>);

/// A block that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Its data set.
    pub schema: String,
    /// The number of its first record, which names it.
    pub block: u64,
    /// What is wrong with it.
    pub detail: String,
}

/// Which blocks are wanted, and in which direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) schema: &'a str,
    pub(crate) subject: Option<SubjectId>,
    /// Records beyond this number, in the direction.
    pub(crate) after: Option<u64>,
    pub(crate) reverse: bool,
}

/// Blocks as they are in the store, a run at a time.
pub(crate) struct Runs<'a> {
    vault: &'a Vault,
    wanted: Wanted<'a>,
    /// Where the next piece begins.
    at: Option<Vec<u8>>,
    ahead: VecDeque<Kept>,
    ended: bool,
    /// The window asked about last, and whether it was merged.
    window: Option<(u64, bool)>,
    _steady: RwLockReadGuard<'a, ()>,
}

/// The records of some blocks, in their order.
#[derive(Debug, Default)]
pub(crate) struct Run {
    blocks: Vec<(Header, Opened)>,
    /// Number, block, place in the block.
    order: Vec<(u64, usize, usize)>,
}

/// A record of a run, not decoded yet.
pub(crate) struct Stored<'a> {
    pub(crate) number: u64,
    pub(crate) header: &'a Header,
    bytes: &'a [u8],
}

impl Stored<'_> {
    pub(crate) fn decode(&self, schema: &str) -> Result<StoredRecord, VaultError> {
        StoredRecord::decode(schema, self.number, self.header.day, self.bytes)
            .map_err(|detail| damaged(&format!("record {} of {schema}", self.number), &detail))
    }

    /// The same, where one record that cannot be read is no reason to withhold the others.
    pub(crate) fn read(&self, schema: &str, damage: &mut Vec<Damage>) -> Option<StoredRecord> {
        self.decode(schema)
            .map_err(|error| {
                damage.push(Damage {
                    schema: schema.to_owned(),
                    block: self.number,
                    detail: error.to_string(),
                });
            })
            .ok()
    }
}

impl Run {
    /// The records, ascending.
    pub(crate) fn records(&self) -> impl DoubleEndedIterator<Item = Stored<'_>> {
        self.order.iter().filter_map(|(number, block, at)| {
            let (header, opened) = self.blocks.get(*block)?;
            Some(Stored {
                number: *number,
                header,
                bytes: opened.record(*at)?,
            })
        })
    }

    fn push(&mut self, header: Header, opened: Opened) {
        let block = self.blocks.len();
        let places = opened.numbers().enumerate();
        self.order
            .extend(places.map(|(at, number)| (number, block, at)));
        self.blocks.push((header, opened));
    }
}

impl Vault {
    /// The blocks that may have wanted records.
    pub(crate) fn runs<'a>(&'a self, wanted: Wanted<'a>) -> Result<Runs<'a>, VaultError> {
        let mut runs = Runs {
            vault: self,
            wanted,
            at: None,
            ahead: VecDeque::new(),
            ended: false,
            window: None,
            _steady: self.merging.read().unwrap_or_else(PoisonError::into_inner),
        };
        runs.at = runs.start()?;
        Ok(runs)
    }

    /// Opens the blocks of a run. What cannot be opened goes to `damage`; what `may` does not let be seen is left out.
    pub(crate) fn open_run(
        &self,
        schema: &str,
        blocks: Vec<Kept>,
        may: &dyn Fn(&Header) -> Result<bool, BlockError>,
        damage: &mut Vec<Damage>,
    ) -> Result<Run, VaultError> {
        let mut run = Run::default();
        for (first, bytes) in blocks {
            // What is not authentic yet decides nothing: a flipped bit must not hide a block.
            let opened = self
                .open_block(schema, first, &bytes)?
                .and_then(|(header, opened)| {
                    may(&header).map(|may| may.then_some((header, opened)))
                });
            match opened {
                Ok(Some((header, opened))) => run.push(header, opened),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(schema, block = first, %error, "a block cannot be read");
                    damage.push(Damage {
                        schema: schema.to_owned(),
                        block: first,
                        detail: error.to_string(),
                    });
                }
            }
        }
        run.order.sort_unstable();
        Ok(run)
    }

    /// One block.
    pub(crate) fn open_block(
        &self,
        schema: &str,
        first: u64,
        bytes: &[u8],
    ) -> Result<Result<(Header, Opened), BlockError>, VaultError> {
        let header = match Header::parse(bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let keys = match self.subject_keys(header.subject)? {
            Ok(keys) => keys,
            Err(error) => return Ok(Err(error)),
        };
        let place = Place {
            tenant: &self.tenant,
            schema,
            first,
        };
        Ok(block::open(place, &keys, bytes).map(|opened| (header, opened)))
    }

    fn subject_keys(
        &self,
        subject: SubjectId,
    ) -> Result<Result<Arc<SubjectKeys>, BlockError>, VaultError> {
        match self.keys.by_id(subject) {
            Ok(Some(keys)) => Ok(Ok(keys)),
            Ok(None) | Err(KeyError::Destroyed { .. }) => Ok(Err(BlockError::NoKey)),
            Err(KeyError::Damaged { .. }) => Ok(Err(BlockError::DamagedKey)),
            Err(error) => Err(error.into()),
        }
    }

    /// Shows every record of a data set whose number is in `range`, with its subject's number within this reading, in the order
    /// of their numbers. What cannot be read is returned.
    ///
    /// This asks nobody for a purpose: it is for what makes aggregates and releases of the records, and shows none.
    pub fn read_all(
        &self,
        schema: &str,
        range: std::ops::Range<u64>,
        each: &mut dyn FnMut(u32, &StoredRecord) -> ControlFlow<()>,
    ) -> Result<Vec<Damage>, VaultError> {
        let mut subjects = BTreeMap::new();
        let mut damage = Vec::new();
        let mut runs = self.runs(Wanted {
            schema,
            subject: None,
            after: range.start.checked_sub(1),
            reverse: false,
        })?;
        while let Some(blocks) = runs.next()? {
            if blocks.first().is_some_and(|(first, _)| *first >= range.end) {
                break;
            }
            let run = self.open_run(schema, blocks, &|_| Ok(true), &mut damage)?;
            for stored in run.records() {
                if !range.contains(&stored.number) {
                    continue;
                }
                let next = u32::try_from(subjects.len()).unwrap_or(u32::MAX);
                let subject = *subjects.entry(stored.header.subject).or_insert(next);
                let Some(record) = stored.read(schema, &mut damage) else {
                    continue;
                };
                if each(subject, &record).is_break() {
                    return Ok(damage);
                }
            }
        }
        Ok(damage)
    }

    /// The policies by which records of a data set were treated.
    pub(crate) fn policies(&self, schema: &str) -> Result<BTreeMap<PolicyId, Policy>, VaultError> {
        let mut all = Policy::all(&*self.store)?;
        all.retain(|_, policy| policy.schema == schema);
        Ok(all)
    }
}

impl Runs<'_> {
    /// The blocks of the next run, ascending; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Kept>>, VaultError> {
        let Some((first, bytes)) = self.pop()? else {
            return Ok(None);
        };
        let window = first / WINDOW;
        let mut run = vec![(first, bytes)];
        if self.is_merged(window)? {
            while let Some((first, bytes)) = self.pop()? {
                if first / WINDOW != window {
                    self.ahead.push_front((first, bytes));
                    break;
                }
                run.push((first, bytes));
            }
        }
        Ok(Some(run))
    }

    fn pop(&mut self) -> Result<Option<Kept>, VaultError> {
        if self.ahead.is_empty() && !self.ended {
            let mut scan = Scan::prefix(self.prefix()).limit(PIECE);
            scan.reverse = self.wanted.reverse;
            scan.after = self.at.take();
            let (table, is_index) = self.table();
            let entries = self.vault.store.scan(table, scan)?;
            self.ended = entries.len() < PIECE;
            self.at = entries.last().map(|(key, _)| key.clone());
            for (key, bytes) in entries {
                let first = key
                    .last_chunk()
                    .map_or(0, |first| u64::from_be_bytes(*first));
                if !is_index {
                    self.ahead.push_back((first, bytes));
                } else if let Some(bytes) = self
                    .vault
                    .store
                    .get(BLOCKS, &block_key(self.wanted.schema, first))?
                {
                    self.ahead.push_back((first, bytes));
                }
            }
            if self.ahead.is_empty() {
                return self.pop();
            }
        }
        Ok(self.ahead.pop_front())
    }

    /// The key behind which, in the direction, all blocks with wanted records are.
    fn start(&mut self) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(after) = self.wanted.after else {
            return Ok(None);
        };
        if self.wanted.reverse {
            let Some(highest) = after.checked_sub(1) else {
                self.ended = true;
                return Ok(None);
            };
            let window = highest / WINDOW;
            let before = if self.is_merged(window)? {
                window.saturating_add(1).saturating_mul(WINDOW)
            } else {
                after
            };
            return Ok(Some(self.key(before)));
        }
        let lowest = after.saturating_add(1);
        let window = lowest / WINDOW;
        let from = if self.is_merged(window)? {
            window.saturating_mul(WINDOW)
        } else {
            // The block that may have it in its middle.
            let mut scan = Scan::prefix(self.prefix()).after(self.key(lowest)).limit(1);
            scan.reverse = true;
            let before = self.vault.store.scan(self.table().0, scan)?;
            let first = before.first().and_then(|(key, _)| key.last_chunk());
            first.map_or(lowest, |first| u64::from_be_bytes(*first))
        };
        Ok(from.checked_sub(1).map(|number| self.key(number)))
    }

    fn is_merged(&mut self, window: u64) -> Result<bool, VaultError> {
        match self.window {
            Some((known, merged)) if known == window => Ok(merged),
            _ => {
                let key = block_key(self.wanted.schema, window);
                let merged = self.vault.store.get(MERGED, &key)?.as_deref() == Some(&[1]);
                self.window = Some((window, merged));
                Ok(merged)
            }
        }
    }

    fn table(&self) -> (Table, bool) {
        match self.wanted.subject {
            None => (BLOCKS, false),
            Some(_) => (BY_SUBJECT, true),
        }
    }

    fn prefix(&self) -> Vec<u8> {
        let mut key = self.key(0);
        key.truncate(key.len().saturating_sub(8));
        key
    }

    fn key(&self, number: u64) -> Vec<u8> {
        match self.wanted.subject {
            None => block_key(self.wanted.schema, number),
            Some(subject) => index_key(subject, self.wanted.schema, number),
        }
    }
}

/// Data sets' names have no zero byte.
pub(crate) fn block_key(schema: &str, first: u64) -> Vec<u8> {
    [schema.as_bytes(), &[0], &first.to_be_bytes()].concat()
}

/// The data set and the first number in the key of a block.
pub(crate) fn parse_key(key: &[u8]) -> Option<(&str, u64)> {
    let (rest, first) = key.split_last_chunk()?;
    let schema = rest.strip_suffix(&[0])?;
    Some((
        std::str::from_utf8(schema).ok()?,
        u64::from_be_bytes(*first),
    ))
}

pub(crate) fn index_key(subject: SubjectId, schema: &str, first: u64) -> Vec<u8> {
    [subject.as_bytes().as_slice(), &block_key(schema, first)].concat()
}
