//! Everything of the vault looked at once: each block opened, each row of keys, the index, the counters, the log.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use base16ct::lower::encode_string as hex;
use serde::{Deserialize, Serialize};
use stockade_store::Batch;
use stockade_tlog::{Audit, Files, VerifierKey, audit};
use time::OffsetDateTime;

use crate::access::{Access, Action};
use crate::block::BlockError;
use crate::counters::Counters;
use crate::keys::{KeyError, NAMES, SUBJECTS, SubjectId};
use crate::log::{AwsLc, Entry, Log};
use crate::prepare::{POLICIES, Policy};
use crate::record::StoredRecord;
use crate::vault::{BLOCKS, BY_SUBJECT, COUNTERS, Vault, VaultError, index_key, parse_key};

/// What is named one by one; the rest is counted.
const NAMED: usize = 1_000;
/// Changes in one commit.
const BATCH: usize = 1_000;

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Blocks.
    pub blocks: u64,
    /// Records in the blocks that could be opened.
    pub records: u64,
    /// Devices.
    pub subjects: u64,
    /// Entries of the log; none if it is damaged.
    pub log: Option<u64>,
    /// What is wrong, the first thousand.
    pub found: Vec<Found>,
    /// What is wrong beyond that.
    pub more: u64,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it is.
    pub what: String,
    /// What is wrong with it.
    pub detail: String,
    /// It could not be judged: the key that would tell is not there, or is damaged itself.
    pub unjudged: bool,
    /// It was put right.
    pub repaired: bool,
}

/// A block, as it was seen.
struct Seen {
    subject: SubjectId,
    indexed: bool,
}

/// What one pass over the tables, in the order of their names, has found so far.
struct Pass<'a> {
    vault: &'a Vault,
    checked: Checked,
    /// By data set and first number.
    blocks: BTreeMap<(String, u64), Seen>,
    /// Keys of the index that belong to no block.
    stray: Vec<Vec<u8>>,
    counters: BTreeMap<String, u64>,
    stored: BTreeMap<String, u64>,
    policies: BTreeSet<Vec<u8>>,
    wanted_policies: BTreeSet<Vec<u8>>,
    /// Subjects that names lead to.
    named: BTreeSet<SubjectId>,
    failed: Option<VaultError>,
}

impl Vault {
    /// Looks at everything. With `repair`, what can be made anew from the blocks is: their index by device. Blocks.
    pub fn fsck(
        &self,
        access: &Access,
        repair: bool,
        now: OffsetDateTime,
    ) -> Result<Checked, VaultError> {
        if let Err(refused) = access.may(Action::Maintain, &[]) {
            return self.refuse(access, Action::Maintain, refused, now);
        }
        let mut pass = Pass {
            vault: self,
            checked: Checked::default(),
            blocks: BTreeMap::new(),
            stray: Vec::new(),
            counters: BTreeMap::new(),
            stored: BTreeMap::new(),
            policies: BTreeSet::new(),
            wanted_policies: BTreeSet::new(),
            named: BTreeSet::new(),
            failed: None,
        };
        self.store.snapshot(
            "vault.",
            &mut |table, key, value| match pass.entry(table, key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    pass.failed = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        if let Some(error) = pass.failed {
            return Err(error);
        }
        pass.compare();
        let (missing, stray) = pass.index(repair);
        if repair {
            self.mend(&missing, &stray)?;
        }
        let mut checked = pass.checked;
        self.check_log(&mut checked);
        let found = checked.more.saturating_add(count(checked.found.len()));
        let entry = Entry::new(now, access, Action::Maintain);
        let _receipt = self.log().append(&entry.fact("found", found))?;
        Ok(checked)
    }

    fn mend(&self, missing: &[(Vec<u8>, Vec<u8>)], stray: &[Vec<u8>]) -> Result<(), VaultError> {
        for piece in missing.chunks(BATCH) {
            // While it is held no block comes or goes.
            let _steady = self.progress();
            let mut batch = Batch::new();
            for (block, index) in piece {
                if self.store.get(BLOCKS, block)?.is_some() {
                    batch.put(BY_SUBJECT, index.as_slice(), *b"");
                }
            }
            self.store.commit(batch)?;
        }
        for piece in stray.chunks(BATCH) {
            let mut batch = Batch::new();
            for index in piece {
                batch.delete(BY_SUBJECT, index.as_slice());
            }
            self.store.commit(batch)?;
        }
        Ok(())
    }

    fn check_log(&self, checked: &mut Checked) {
        let Ok(key) = VerifierKey::parse(&self.log().public_key()) else {
            checked.add(
                "the log".to_owned(),
                "its key cannot be read".to_owned(),
                true,
            );
            return;
        };
        let with = Audit {
            key: &key,
            witnesses: &[],
            old: None,
        };
        // Somebody may append meanwhile: then it is read anew.
        let mut last = None;
        for _ in 0..5 {
            match audit(&mut OfLog(self.log()), &with, &AwsLc, |_, _| {}) {
                Ok(audited) => {
                    checked.log = Some(audited.checkpoint.size);
                    return;
                }
                Err(difference) => last = Some(difference),
            }
        }
        if let Some(difference) = last {
            checked.add("the log".to_owned(), difference.to_string(), false);
        }
    }
}

impl Pass<'_> {
    fn entry(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), VaultError> {
        if table == BLOCKS.as_str() {
            self.block(key, value)
        } else if table == BY_SUBJECT.as_str() {
            self.index_entry(key);
            Ok(())
        } else if table == COUNTERS.as_str() {
            let counters: Result<Counters, _> = ciborium::from_reader(value);
            match (std::str::from_utf8(key), counters) {
                (Ok(schema), Ok(counters)) => {
                    self.counters.insert(schema.to_owned(), counters.stored);
                }
                _ => self.checked.add(
                    format!("the counters of {}", String::from_utf8_lossy(key)),
                    "not what the vault writes".to_owned(),
                    false,
                ),
            }
            Ok(())
        } else if table == POLICIES.as_str() {
            self.policies.insert(key.to_owned());
            if ciborium::from_reader::<Policy, _>(value).is_err() {
                let what = format!("policy {}", hex(key));
                self.checked
                    .add(what, "not what the vault writes".to_owned(), false);
            }
            Ok(())
        } else if table == NAMES.as_str() {
            match (key.len(), value.try_into()) {
                (32, Ok(id)) => {
                    self.named.insert(SubjectId::from_bytes(id));
                }
                _ => self.checked.add(
                    format!("entry {} of the index of devices", hex(key)),
                    "not what the vault writes".to_owned(),
                    false,
                ),
            }
            Ok(())
        } else if table == SUBJECTS.as_str() {
            self.subject(key, value)
        } else {
            Ok(())
        }
    }

    fn block(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), VaultError> {
        self.checked.blocks = self.checked.blocks.saturating_add(1);
        let Some((schema, first)) = parse_key(key) else {
            let what = format!("a block under the key {}", hex(key));
            self.checked
                .add(what, "not a key of a block".to_owned(), false);
            return Ok(());
        };
        let what = || format!("block {first} of {schema}");
        let opened = self.vault.open_block(schema, first, bytes)?;
        match opened {
            Ok((header, opened)) => {
                let mut records = 0_u64;
                for (number, record) in opened.records() {
                    records = records.saturating_add(1);
                    if StoredRecord::decode(schema, number, header.day, record).is_err() {
                        let what = format!("record {number} of {schema}");
                        self.checked
                            .add(what, "not what the vault writes".to_owned(), false);
                    }
                }
                self.checked.records = self.checked.records.saturating_add(records);
                let stored = self.stored.entry(schema.to_owned()).or_default();
                *stored = stored.saturating_add(records);
                self.wanted_policies.insert(header.policy.to_vec());
                self.blocks.insert(
                    (schema.to_owned(), first),
                    Seen {
                        subject: header.subject,
                        indexed: false,
                    },
                );
            }
            // What changed since, such as by an erasure or a merger, is not damaged.
            Err(_) if self.vault.store.get(BLOCKS, key)?.as_deref() != Some(bytes) => {}
            Err(error) => {
                let unjudged = matches!(
                    error,
                    BlockError::NoKey | BlockError::DamagedKey | BlockError::OtherForm(_)
                );
                self.checked.add(what(), error.to_string(), unjudged);
                // The header may be right: then its place in the index is.
                if let Ok(header) = crate::block::Header::parse(bytes) {
                    let seen = Seen {
                        subject: header.subject,
                        indexed: true,
                    };
                    self.blocks.insert((schema.to_owned(), first), seen);
                }
            }
        }
        Ok(())
    }

    fn index_entry(&mut self, key: &[u8]) {
        let parsed = key.split_first_chunk::<16>().and_then(|(id, rest)| {
            let (schema, first) = parse_key(rest)?;
            Some((SubjectId::from_bytes(*id), (schema.to_owned(), first)))
        });
        let seen = parsed.and_then(|(id, block)| {
            let seen = self.blocks.get_mut(&block)?;
            (seen.subject == id).then_some(seen)
        });
        match seen {
            Some(seen) => seen.indexed = true,
            None => self.stray.push(key.to_owned()),
        }
    }

    fn subject(&mut self, key: &[u8], row: &[u8]) -> Result<(), VaultError> {
        self.checked.subjects = self.checked.subjects.saturating_add(1);
        let Ok(id) = key.try_into().map(SubjectId::from_bytes) else {
            let what = format!("the keys under {}", hex(key));
            self.checked
                .add(what, "not the number of a device".to_owned(), false);
            return Ok(());
        };
        let what = format!("the keys of subject {id}");
        match self.vault.keys().unwrap(id, row) {
            // Names come before subjects.
            Ok(_) if !self.named.remove(&id) => {
                self.checked
                    .add(what, "no device leads to them".to_owned(), false);
            }
            Ok(_) => {}
            // Wrapped anew since.
            Err(_) if self.vault.store.get(SUBJECTS, key)?.as_deref() != Some(row) => {
                self.named.remove(&id);
            }
            Err(error @ (KeyError::Damaged { .. } | KeyError::Destroyed { .. })) => {
                self.named.remove(&id);
                self.checked.add(what, error.to_string(), false);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What shows only when all tables were seen.
    fn compare(&mut self) {
        for id in std::mem::take(&mut self.named) {
            self.checked.add(
                format!("subject {id}"),
                "a device leads to it, and it has no keys".to_owned(),
                false,
            );
        }
        for id in self.wanted_policies.difference(&self.policies) {
            self.checked.add(
                format!("policy {}", hex(id)),
                "blocks were treated by it, and it is not there".to_owned(),
                false,
            );
        }
        for (schema, records) in &self.stored {
            if self
                .counters
                .get(schema)
                .is_none_or(|counted| counted < records)
            {
                self.checked.add(
                    format!("the counters of {schema}"),
                    format!("fewer were counted than the {records} records that are there"),
                    false,
                );
            }
        }
    }

    /// Blocks that the index does not have, with their keys and the index's; and keys of the index that lead to no block.
    #[expect(clippy::type_complexity, reason = "two lists of keys")]
    fn index(&mut self, repair: bool) -> (Vec<(Vec<u8>, Vec<u8>)>, Vec<Vec<u8>>) {
        let mut missing = Vec::new();
        for ((schema, first), seen) in &self.blocks {
            if seen.indexed {
                continue;
            }
            let index = index_key(seen.subject, schema, *first);
            let block = index.get(16..).unwrap_or_default().to_vec();
            missing.push((block, index));
            let what = format!("the index of block {first} of {schema}");
            self.checked.add(what, "missing".to_owned(), false);
            self.checked.mended(repair);
        }
        let stray = std::mem::take(&mut self.stray);
        for index in &stray {
            let what = format!("the index's entry {}", hex(index));
            self.checked
                .add(what, "leads to no block of its device".to_owned(), false);
            self.checked.mended(repair);
        }
        (missing, stray)
    }
}

impl Checked {
    fn add(&mut self, what: String, detail: String, unjudged: bool) {
        if self.found.len() >= NAMED {
            self.more = self.more.saturating_add(1);
            return;
        }
        self.found.push(Found {
            what,
            detail,
            unjudged,
            repaired: false,
        });
    }

    fn mended(&mut self, repaired: bool) {
        if let (0, Some(found)) = (self.more, self.found.last_mut()) {
            found.repaired = repaired;
        }
    }
}

struct OfLog<'a>(&'a Log);

impl Files for OfLog<'_> {
    fn read(
        &mut self,
        path: &str,
        most: usize,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let bytes = self.0.file(path)?.ok_or("it is not there")?;
        if bytes.len() > most {
            return Err("it is too long".into());
        }
        Ok(bytes)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
