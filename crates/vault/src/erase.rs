//! Erasing a subject, and ending epochs of keys.
//!
//! A tombstone, then the blocks, then the keys, then a new epoch under which everybody else's keys are wrapped, and the end of
//! the old one. A process may be killed at any point: the tombstone says what is owed until the new epoch begins, and the
//! keyring from then on ([`Vault::settle`]).

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use stockade_store::{Batch, Scan, Table};
use time::{Duration, OffsetDateTime};

use crate::access::{Access, Action, Refused};
use crate::block::Header;
use crate::keys::{KeyError, RootPlace, Rotated, SubjectId};
use crate::log::{Commitment, Entry};
use crate::vault::{BLOCKS, BY_SUBJECT, Subject, Vault, VaultError, damaged};

/// [`Tombstone`] by subject.
const TOMBSTONES: Table = Table::new("vault.tombstones");
/// Blocks that are deleted in one commit.
const BATCH: usize = 256;
/// Entries of the log that are read at once.
const LOOKED_AT: usize = 1_024;
/// A deferred erasure is due after this; [`Vault::settle`] is called each hour, so it is complete within a day.
pub const DEFER: Duration = Duration::HOUR.saturating_mul(23);

/// What a broker's deleted files leave.
const DELETED: &str = "deleted files of the gateway's journal, where the file system or a copy keeps them: they are sealed under a key that lives as \
     long as the vault";

/// What is still owed to a subject.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tombstone {
    /// What stands for its device in the index.
    name: [u8; 32],
    /// When the old epoch must end: seconds since 1970.
    due: i64,
}

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Whether the vault knew the device.
    pub found: bool,
    /// Blocks that were deleted.
    pub blocks: u64,
    /// The records in them.
    pub records: u64,
    /// What the gateway's broker had of it; none if no broker was asked.
    pub broker: Option<Forgotten>,
    /// The end of the epoch that the subject's keys were wrapped under; none if it is yet to come.
    pub rotation: Option<Rotated>,
    /// Why, and until when, the old epoch is alive.
    pub waits: Option<String>,
    /// What the log says of it.
    pub proof: Proof,
    /// What this could not erase.
    pub remains: Vec<String>,
}

/// What a broker had of a device, and has no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Sessions, with their subscriptions.
    pub sessions: u64,
    /// Wills that were not spoken.
    pub wills: u64,
    /// Copies of messages that waited to be delivered.
    pub waiting: u64,
    /// Retained messages.
    pub retained: u64,
    /// Whether the files are gone that had any of it.
    pub cleared: bool,
}

/// Where an erasure is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The number of the entry of the erasure.
    pub entry: u64,
    /// The number of the entry of the rotation.
    pub rotation: Option<u64>,
    /// What stood for the subject in the log; whoever had the subject's secret could tell. Nobody has it now.
    pub subject: Option<Commitment>,
    /// The log's signed checkpoint, which has both: whoever keeps it can hold the log to it.
    pub checkpoint: String,
}

impl Vault {
    /// Erases all that the vault has of a device, and before that what `broker` forgets, for whoever may. With `defer`, the old
    /// epoch ends together with that of others, within a day.
    ///
    /// The broker is asked first and again at each try: killed behind it, the erasure was not begun; killed later, the broker
    /// owes nothing.
    pub fn erase(
        &self,
        access: &Access,
        subject: &Subject,
        defer: bool,
        broker: impl FnOnce() -> Result<Option<Forgotten>, String>,
        now: OffsetDateTime,
    ) -> Result<Erased, VaultError> {
        if let Err(refused) = access.may_on(Action::Erase, subject) {
            return self.refuse(access, Action::Erase, refused, now);
        }
        let mut told = Entry::new(now, access, Action::Erase);
        let located = self.keys.locate(subject)?;
        if let Some((_, id)) = located {
            told.subject = match self.keys.by_id(id) {
                Ok(keys) => keys.map(|keys| Commitment::of(keys.secret())),
                // What cannot be read is erased all the same.
                Err(KeyError::Damaged { .. } | KeyError::Destroyed { .. }) => None,
                Err(error) => return Err(error.into()),
            };
        }
        let receipt = self
            .log()
            .append(&told.clone().fact("found", u64::from(located.is_some())))?;
        let broker = broker().map_err(|why| VaultError::Broker { why })?;
        let mut erased = Erased {
            found: located.is_some(),
            blocks: 0,
            records: 0,
            broker,
            rotation: None,
            waits: None,
            proof: Proof {
                entry: receipt.index,
                rotation: None,
                subject: told.subject,
                checkpoint: String::new(),
            },
            remains: self.remains(broker),
        };
        if let Some((name, id)) = located {
            let due = if defer { now + DEFER } else { now };
            let tombstone = Tombstone {
                name,
                due: due.unix_timestamp(),
            };
            let mut batch = Batch::new();
            batch.put(TOMBSTONES, *id.as_bytes(), tombstone.encode()?);
            self.store.commit(batch)?;
            // What is on the bus becomes blocks, which go with the others.
            self.ingest_available(now)?;
            (erased.blocks, erased.records) = self.remove(id, tombstone)?;
            if defer {
                erased.waits = Some(format!(
                    "its epoch ends within an hour of {}; until then a copy of its keys from before still opens",
                    due.replace_nanosecond(0).unwrap_or(due)
                ));
            } else {
                let entry = Entry::by_vault(now, Action::RotateKeys);
                match self.rotate(entry, false, now) {
                    Ok((rotated, index)) => {
                        if !rotated.scrubbed {
                            let until = if self.keys.owes_scrub()? {
                                "somebody reads the database, such as a backup: deleted rows stay in its log until an hour after that; \
                                 they are wrapped under the destroyed epoch"
                            } else {
                                "the database keeps deleted rows in its own log and pages until it recycles them; they are wrapped \
                                 under the destroyed epoch"
                            };
                            erased.remains.push(until.to_owned());
                        }
                        erased.rotation = Some(rotated);
                        erased.proof.rotation = Some(index);
                    }
                    Err(VaultError::Key(error)) => {
                        erased.waits = Some(format!(
                            "the old epoch is alive, and its end is tried again each hour: {error}"
                        ));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let checkpoint = self.log().file("checkpoint")?.unwrap_or_default();
        erased.proof.checkpoint = String::from_utf8_lossy(&checkpoint).into_owned();
        Ok(erased)
    }

    /// Begins a new epoch of keys and ends the old one; the number of the log's entry. Damaged keys keep it alive unless they are
    /// given up.
    pub fn rotate_keys(
        &self,
        access: &Access,
        give_up_damaged: bool,
        now: OffsetDateTime,
    ) -> Result<(Rotated, u64), VaultError> {
        if let Err(refused) = access.may(Action::RotateKeys, &[]) {
            return self.refuse(access, Action::RotateKeys, refused, now);
        }
        let entry = Entry::new(now, access, Action::RotateKeys);
        self.rotate(entry, give_up_damaged, now)
    }

    /// Does what is owed: erasures and rotations that were interrupted, and deferred ones that are due. At a start, and now and
    /// then.
    pub fn settle(&self, now: OffsetDateTime) -> Result<(), VaultError> {
        let mut due = false;
        for (id, tombstone) in self.tombstones()? {
            if self.keys.is_kept(id)? {
                self.remove(id, tombstone)?;
            }
            due |= tombstone.due <= now.unix_timestamp();
        }
        let resumed = self.keys.resume(|| self.ingest_available(now).map(drop))?;
        if let Some(rotated) = resumed {
            self.rotated(Entry::by_vault(now, Action::RotateKeys), &rotated)?;
        }
        if due {
            let entry = Entry::by_vault(now, Action::RotateKeys);
            self.rotate(entry, false, now)?;
        }
        Ok(self.keys.settle_scrub()?)
    }

    /// Refuses a keyring that is older than the log: with it, what was erased since would be there again.
    pub(crate) fn check_epoch(&self) -> Result<(), VaultError> {
        let keyring = self.keys.epoch();
        // Each end of an epoch is remembered in the keyring behind its entry, so none can be before this.
        let mut next = self.keys.log_seen().map_or(0, |(size, _)| size);
        loop {
            let entries = self.log().entries(next, LOOKED_AT)?;
            let Some((last, _)) = entries.last() else {
                return Ok(());
            };
            next = last + 1;
            for (_, entry) in &entries {
                if let Some(log) = entry.facts.get("epoch").copied()
                    && log > keyring.into()
                {
                    return Err(KeyError::Older { keyring, log }.into());
                }
            }
        }
    }

    /// A new epoch, and the end of the old one with all whose keys were removed under it.
    fn rotate(
        &self,
        told: Entry,
        give_up_damaged: bool,
        now: OffsetDateTime,
    ) -> Result<(Rotated, u64), VaultError> {
        let mut done = Batch::new();
        for (id, _) in self.tombstones()? {
            if !self.keys.is_kept(id)? {
                done.delete(TOMBSTONES, *id.as_bytes());
            }
        }
        let erased = u64::try_from(done.ops().len()).unwrap_or(u64::MAX);
        let drain = || {
            self.ingest_available(now)?;
            // From here on the keyring says what is owed.
            Ok::<_, VaultError>(self.store.commit(done)?)
        };
        let rotated = self.keys.rotate(drain, give_up_damaged)?;
        let index = self.rotated(told.fact("erased", erased), &rotated)?;
        Ok((rotated, index))
    }

    fn rotated(&self, told: Entry, rotated: &Rotated) -> Result<u64, VaultError> {
        let told = told
            .fact("epoch", rotated.epoch.into())
            .fact("rewrapped", rotated.rewrapped)
            .fact("damaged", rotated.damaged);
        let receipt = self.log().append(&told)?;
        let (size, root) = self.log().head();
        self.keys.remember_log(size, root)?;
        Ok(receipt.index)
    }

    /// Removes a subject's blocks, and then its keys: how many blocks, and records.
    fn remove(&self, id: SubjectId, tombstone: Tombstone) -> Result<(u64, u64), VaultError> {
        // No block comes or is merged meanwhile.
        let _alone = self.progress();
        // Nothing of it leaves meanwhile, and what waits of it is forgotten.
        let mut streams = self.streams();
        streams.forget();
        let (mut blocks, mut records) = (0, 0);
        loop {
            let scan = Scan::prefix(id.as_bytes().as_slice()).limit(BATCH);
            let entries = self.store.scan(BY_SUBJECT, scan)?;
            let mut batch = Batch::new();
            if entries.is_empty() {
                if let Ok(Some(keys)) = self.keys.by_id(id) {
                    Self::forget_releases(&keys, &mut batch);
                    self.forget_streams(&keys, &mut batch)?;
                }
                self.keys.remove(batch, tombstone.name, id)?;
                return Ok((blocks, records));
            }
            for (index, _) in entries {
                let block = index
                    .get(id.as_bytes().len()..)
                    .unwrap_or_default()
                    .to_vec();
                if let Some(bytes) = self.store.get(BLOCKS, &block)? {
                    blocks += 1;
                    records += Header::parse(&bytes).map_or(0, |header| u64::from(header.count));
                }
                batch.delete(BLOCKS, block).delete(BY_SUBJECT, index);
            }
            self.store.commit(batch)?;
        }
    }

    fn tombstones(&self) -> Result<Vec<(SubjectId, Tombstone)>, VaultError> {
        let damaged = || damaged("a tombstone", "not what the vault writes");
        let read = |(id, bytes): (Vec<u8>, Vec<u8>)| {
            let id = id.try_into().map_err(|_| damaged())?;
            let tombstone = ciborium::from_reader(bytes.as_slice()).map_err(|_| damaged())?;
            Ok((SubjectId::from_bytes(id), tombstone))
        };
        self.store
            .scan(TOMBSTONES, Scan::all())?
            .into_iter()
            .map(read)
            .collect()
    }

    /// Puts a refusal on record.
    pub(crate) fn refuse<T>(
        &self,
        access: &Access,
        action: Action,
        refused: Refused,
        now: OffsetDateTime,
    ) -> Result<T, VaultError> {
        let entry = Entry::refused(now, access, action, &refused);
        let _receipt = self.log().append(&entry)?;
        Err(refused.into())
    }

    /// What no erasure of ours reaches.
    fn remains(&self, broker: Option<Forgotten>) -> Vec<String> {
        let (place, destroys) = self.keys.root();
        let copies = match place {
            RootPlace::File(_) => {
                "copies of the root key's file together with a copy of the old keyring: who has both opens what was stored before"
            }
            RootPlace::Pkcs11(_) | RootPlace::Tpm(_) => {
                "backups of the PKCS#11 token or of the TPM, if it can be backed up, together with a copy of the old keyring"
            }
        };
        let medium = if destroys {
            "what the disk's controller, the file system or a snapshot kept of overwritten files: it opens no more, as the root key \
             of the old keyring was destroyed"
        } else {
            "what the disk's controller, the file system or a snapshot kept of the overwritten keyring: with the root key's file it \
             opens what was stored before"
        };
        let mut remains = vec![copies, medium];
        remains.extend([
            "releases and aggregates that were published before",
            "fields sealed for readers, where a reader has copies of them",
            "the device's registration, its events and readers named for it at the gateway: remove the device there",
        ]);
        remains.extend(match broker {
            None => vec!["messages at the broker that wait for it, or that it published"],
            Some(Forgotten { cleared: true, .. }) => vec![DELETED],
            Some(_) => vec![DELETED, "files of the gateway's journal that others still need: they go when those have taken what is theirs"],
        });
        remains.into_iter().map(str::to_owned).collect()
    }
}

impl Tombstone {
    fn encode(self) -> Result<Vec<u8>, VaultError> {
        let mut bytes = Vec::new();
        ciborium::into_writer(&self, &mut bytes)
            .map_err(|error| damaged("a tombstone", &error.to_string()))?;
        Ok(bytes)
    }
}
