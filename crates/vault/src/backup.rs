//! The store in one file, of one moment, while the gateway runs; and back into an empty store.
//!
//! What opens it is not in it: the root key and the keyring. A backup from before a rotation cannot be read, and that is meant:
//! otherwise whoever was erased would be in it.

mod format;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use stockade_store::{Batch, Store, StoreError, Table};
use time::OffsetDateTime;

use self::format::{Sealer, Unsealer};
use crate::access::{Access, Action};
use crate::keys::{EPOCH, KeyError, Keys, META, SUBJECTS, SubjectId};
use crate::log::{Entry, Head, Log, LogError};
use crate::vault::{Vault, VaultError};

/// Tables that are no part of a backup: who is logged in, and which directory a database belongs to.
const NOT_KEPT: [&str; 2] = ["console.sessions", "store.owner"];
/// In [`META`] while a backup is put back: the salt of its file.
const RESTORING: &[u8] = b"restoring";
/// Bytes that are put back in one commit.
const BATCH: usize = 4 << 20;
/// Longest table's name, key and value that are believed.
const MOST: (usize, usize, usize) = (64, 64 << 10, 1 << 30);

/// Why a backup was not made or not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be written or read.
    #[error("the backup's file: {0}")]
    Io(#[from] io::Error),
    /// The store failed.
    #[error("the vault's store failed")]
    Store(#[from] StoreError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The vault refused.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Some other file.
    #[error("not a backup that this version reads")]
    NoBackup,
    /// Another installation's.
    #[error(
        "the backup of another vault than this keyring's: put the keyring and the root key of that vault in place first"
    )]
    OtherVault,
    /// It is not what was written.
    #[error("the backup is damaged: {0}; nothing was restored")]
    Damaged(String),
    /// There is something already.
    #[error(
        "the store is not empty (table {0}): a backup is restored into an empty one; move the state away first"
    )]
    NotEmpty(String),
    /// Another restore was cut short.
    #[error(
        "the restore of another backup was cut short: finish it with that file, or move the state away first"
    )]
    Unfinished,
    /// The keyring is from before the backup.
    #[error(
        "the keyring is of epoch {keyring} and the backup of epoch {backup}: restore the newest copy of the keyring first"
    )]
    KeyringOlder {
        /// The keyring's.
        keyring: u32,
        /// The backup's.
        backup: u32,
    },
    /// Nothing in it can be read.
    #[error(
        "since this backup the keys were rotated (epoch {backup}, now {keyring}), and nothing of the {subjects} devices in it can be \
         read any more: only a backup made after the last rotation is of use"
    )]
    Dead {
        /// The keyring's epoch.
        keyring: u32,
        /// The backup's.
        backup: u32,
        /// Devices in it.
        subjects: u64,
    },
    /// A device was erased since.
    #[error(
        "since this backup a device was erased, and restoring it would undo that: only a later backup is of use"
    )]
    UndoesErasure,
    /// It is older than what the log tells of.
    #[error(
        "the log tells of more than this backup has: {0}. Restoring it forgets the records since then, and budgets and releases as if \
         they were not spent; if there is no newer backup: --accept-older"
    )]
    Older(String),
}

/// What a backup says of itself, before everything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    at: i64,
    epoch: u32,
    log: Head,
}

/// What was backed up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// Entries of all tables.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The epoch of the keys: a rotation makes the backup useless.
    pub epoch: u32,
}

/// What was put back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Entries of all tables.
    pub entries: u64,
    /// Devices.
    pub subjects: u64,
    /// Devices whose keys cannot be opened.
    pub unreadable: u64,
    /// What the log tells of since the backup, counted.
    pub since: BTreeMap<String, u64>,
}

impl Vault {
    /// Writes all of the store into `out`, as it is at one moment; others go on meanwhile. Blocks.
    pub fn backup(
        &self,
        access: &Access,
        out: &mut dyn Write,
        now: OffsetDateTime,
    ) -> Result<BackedUp, BackupError> {
        if let Err(refused) = access.may(Action::Maintain, &[]) {
            return Ok(self.refuse(access, Action::Maintain, refused, now)?);
        }
        let epoch = self.keys.epoch();
        let entry = Entry::new(now, access, Action::Maintain);
        let _receipt = self.log().append(&entry.fact("backup", u64::from(epoch)))?;
        let about = About {
            at: now.unix_timestamp(),
            epoch,
            log: self.log().head(),
        };
        let mut done = BackedUp {
            epoch,
            ..BackedUp::default()
        };
        let mut sealer = Sealer::begin(out, &self.keys)?;
        let mut bytes = Vec::new();
        ciborium::into_writer(&about, &mut bytes).map_err(io::Error::other)?;
        put(&mut sealer, &bytes)?;
        let mut failed = None;
        self.store.snapshot("", &mut |table, key, value| {
            if NOT_KEPT.contains(&table) {
                return ControlFlow::Continue(());
            }
            let written = [table.as_bytes(), key, value]
                .into_iter()
                .try_for_each(|part| put(&mut sealer, part));
            done.entries = done.entries.saturating_add(1);
            let length = key.len().saturating_add(value.len());
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            done.bytes = done.bytes.saturating_add(length);
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        // No table has this name.
        put(&mut sealer, b"")?;
        put(&mut sealer, &done.entries.to_be_bytes())?;
        sealer.end()?;
        Ok(done)
    }
}

/// Where a backup goes.
#[derive(Debug, Clone, Copy)]
pub struct Empty<'a> {
    /// A store that nobody else has open, without anything in it.
    pub store: &'a dyn Store,
    /// The keys of the vault that was backed up.
    pub keys: &'a Keys,
    /// Its log.
    pub log: &'a Log,
}

/// Puts a backup back. It is read to its end before anything is written; a process that is killed meanwhile is repeated with the
/// same file. With `accept_older`, a backup that the log knows to be old is taken too.
pub fn restore(
    into: Empty<'_>,
    file: &mut (impl Read + Seek),
    accept_older: bool,
    now: OffsetDateTime,
) -> Result<Restored, BackupError> {
    let (salt, mut restored) = look(into, file, accept_older)?;
    let mut batch = Batch::new();
    batch.put(META, RESTORING, salt);
    into.store.commit(batch)?;
    let newest = into.store.get(META, EPOCH)?;
    file.seek(SeekFrom::Start(0))?;
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let (mut batch, mut bytes) = (Batch::new(), 0_usize);
    each_entry(into.keys, file, &mut |table, key, value| {
        if table == META.as_str() && key == EPOCH && newest.as_deref() > Some(value.as_slice()) {
            return Ok(());
        }
        // Tables' names are of the program everywhere else: few, and there as long as it runs.
        let named = tables
            .entry(table)
            .or_insert_with_key(|name| Table::new(Box::leak(name.clone().into_boxed_str())));
        bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
        batch.put(*named, key, value);
        if bytes >= BATCH {
            bytes = 0;
            into.store.commit(std::mem::take(&mut batch))?;
        }
        Ok(())
    })?;
    batch.delete(META, RESTORING);
    into.store.commit(batch)?;
    restored.entries = restored.entries.max(1);
    let entry = Entry::by_vault(now, Action::Maintain);
    let _receipt = into.log.append(&entry.fact("restored", restored.entries))?;
    Ok(restored)
}

/// Whether a restore was cut short: what is in the store is not all.
pub(crate) fn half_restored(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.get(META, RESTORING)?.is_some())
}

/// Reads all of the file, and judges whether it may be restored.
fn look(
    into: Empty<'_>,
    file: &mut impl Read,
    accept_older: bool,
) -> Result<([u8; 32], Restored), BackupError> {
    let mut restored = Restored::default();
    let keyring = into.keys.epoch();
    let (salt, about) = each_entry(into.keys, file, &mut |table, key, value| {
        restored.entries = restored.entries.saturating_add(1);
        if table == SUBJECTS.as_str() {
            restored.subjects = restored.subjects.saturating_add(1);
            let id = key.try_into().map(SubjectId::from_bytes);
            if !id.is_ok_and(|id| into.keys.unwrap(id, &value).is_ok()) {
                restored.unreadable = restored.unreadable.saturating_add(1);
            }
        }
        Ok(())
    })?;
    check_empty(into.store, &salt)?;
    let (backup, subjects) = (about.epoch, restored.subjects);
    if backup > keyring {
        return Err(BackupError::KeyringOlder { keyring, backup });
    }
    if subjects > 0 && restored.unreadable == subjects && keyring > backup {
        return Err(BackupError::Dead {
            keyring,
            backup,
            subjects,
        });
    }
    since(into.log, about.log, &mut restored)?;
    let erased = restored.since.contains_key("erase");
    if erased && keyring == backup {
        return Err(BackupError::UndoesErasure);
    }
    if !restored.since.is_empty() && !accept_older {
        let told: Vec<_> = restored
            .since
            .iter()
            .map(|(action, count)| format!("{action} ({count})"))
            .collect();
        return Err(BackupError::Older(told.join(", ")));
    }
    Ok((salt, restored))
}

/// What the log tells of since it stood so. A log that never stood so is refused.
fn since(log: &Log, (size, root): Head, restored: &mut Restored) -> Result<(), BackupError> {
    log.begins_with((size, root))?;
    let mut next = size;
    loop {
        let entries = log.entries(next, 1_024)?;
        let Some((last, _)) = entries.last() else {
            return Ok(());
        };
        next = last.saturating_add(1);
        for (_, entry) in entries {
            let name = serde_json::to_value(entry.action).map_err(io::Error::other)?;
            let name = name.as_str().unwrap_or("unknown").to_owned();
            let count = restored.since.entry(name).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// Nothing may be there but what opening the keys writes, and what an earlier try with the same file left.
fn check_empty(store: &dyn Store, salt: &[u8; 32]) -> Result<(), BackupError> {
    match store.get(META, RESTORING)? {
        Some(other) if other == *salt => return Ok(()),
        Some(_) => return Err(BackupError::Unfinished),
        None => {}
    }
    let mut found = None;
    store.snapshot("", &mut |table, _, _| {
        if table == META.as_str() || NOT_KEPT.contains(&table) {
            return ControlFlow::Continue(());
        }
        found = Some(table.to_owned());
        ControlFlow::Break(())
    })?;
    match found {
        Some(table) => Err(BackupError::NotEmpty(table)),
        None => Ok(()),
    }
}

type OnEntry<'a> = dyn FnMut(String, Vec<u8>, Vec<u8>) -> Result<(), BackupError> + 'a;

/// Reads a backup to its end: its salt, and what it says of itself.
fn each_entry(
    keys: &Keys,
    file: &mut dyn Read,
    on_entry: &mut OnEntry<'_>,
) -> Result<([u8; 32], About), BackupError> {
    let (mut from, salt) = Unsealer::begin(file, keys)?;
    let about = content(&mut from, on_entry)?;
    from.end()?;
    Ok((salt, about))
}

/// Reads what is inside of the seal.
fn content(from: &mut impl Read, on_entry: &mut OnEntry<'_>) -> Result<About, BackupError> {
    let damaged = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            BackupError::Damaged(error.to_string())
        }
        _ => error.into(),
    };
    let odd = || BackupError::Damaged("an entry is not what this version writes".to_owned());
    let about = take(from, MOST.1).map_err(damaged)?;
    let about = ciborium::from_reader(about.as_slice()).map_err(|_| BackupError::NoBackup)?;
    let mut entries = 0_u64;
    loop {
        let table = take(from, MOST.0).map_err(damaged)?;
        if table.is_empty() {
            break;
        }
        let table = String::from_utf8(table).map_err(|_| odd())?;
        let key = take(from, MOST.1).map_err(damaged)?;
        let value = take(from, MOST.2).map_err(damaged)?;
        entries = entries.saturating_add(1);
        on_entry(table, key, value)?;
    }
    let counted = take(from, 8).map_err(damaged)?;
    if counted == entries.to_be_bytes() {
        Ok(about)
    } else {
        Err(odd())
    }
}

fn put(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(bytes)
}

fn take(from: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    let told = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    if told <= most {
        from.take(u64::from(length)).read_to_end(&mut bytes)?;
    }
    if bytes.len() == told {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// See [`crate::fuzzing::vault_backup`].
pub(crate) fn fuzz(data: &[u8]) {
    // As what is inside of a seal, the bytes are authentic.
    let mut bytes = 0_usize;
    let read = content(&mut &*data, &mut |table, key, value| {
        bytes = [table.len(), key.len(), value.len()]
            .into_iter()
            .fold(bytes, usize::saturating_add);
        Ok(())
    });
    assert!(read.is_err() || bytes < data.len(), "more than there is");
    format::fuzz(data);
}
