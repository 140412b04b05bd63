//! What the store has of a stream: how far it is, who is in which group, what waits, and the rows that were released.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use stockade_anonymity::stream::{Group, Tally};
use stockade_store::{Batch, Scan, Store, Table};

use super::super::ledger::{encoded, prefix};
use super::Streamed;
use crate::keys::SubjectKeys;
use crate::vault::{VaultError, damaged};

/// [`State`] by data set.
pub(super) const STREAMS: Table = Table::new("vault.streams");
/// By data set and [`Commitment`], the group of a subject (u32), and 1 if it was in each emission of it.
pub(super) const MEMBERS: Table = Table::new("vault.stream-members");
/// By data set and number of a record that waits, when it was taken: milliseconds since 1970 (u64).
pub(super) const WAITING: Table = Table::new("vault.stream-waiting");
/// [`Released`] by data set and number.
pub(super) const ROWS: Table = Table::new("vault.stream-rows");

/// What stands for a subject in a stream: found from its secret only.
pub(super) type Commitment = [u8; 32];

/// How far a stream is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) v: u8,
    pub(super) on: bool,
    /// The number of the last record that was taken.
    pub(super) taken: u64,
    /// The number of the next row.
    pub(super) next: u64,
    /// What became of the records, since ever.
    pub(super) counts: Streamed,
    /// The same, as the log has it, and in which hour it was told: hours since 1970.
    pub(super) told: Streamed,
    pub(super) hour: i64,
    pub(super) columns: Vec<String>,
    pub(super) omitted: Vec<String>,
}

/// A row that was released.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Released {
    /// When: seconds since 1970.
    pub(super) at: i64,
    pub(super) fields: BTreeMap<String, String>,
}

impl State {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, VaultError> {
        let state: Option<Self> = ciborium::from_reader(bytes).ok();
        state
            .filter(|it| it.v == 1)
            .ok_or_else(|| broken("a stream"))
    }

    /// Writes it in the place of what is there: nobody else may have changed that.
    pub(super) fn put(
        &self,
        schema: &str,
        before: Option<&[u8]>,
        batch: &mut Batch,
    ) -> Result<Vec<u8>, VaultError> {
        let bytes = encoded(self)?;
        match before {
            None => batch.require_absent(STREAMS, schema.as_bytes()),
            Some(before) => batch.require_equals(STREAMS, schema.as_bytes(), before),
        };
        batch.put(STREAMS, schema.as_bytes(), bytes.clone());
        Ok(bytes)
    }
}

/// The groups of a stream, and who is who: subjects are numbered as they come.
pub(super) fn groups(
    store: &dyn Store,
    schema: &str,
) -> Result<(Vec<Group>, Vec<Commitment>), VaultError> {
    let (mut groups, mut who): (Vec<Group>, Vec<Commitment>) = (Vec::new(), Vec::new());
    for (key, value) in store.scan(MEMBERS, Scan::prefix(prefix(schema)))? {
        let (commitment, group, core) =
            member(&key, &value).ok_or_else(|| broken("a member of a stream's group"))?;
        let subject = u32::try_from(who.len()).map_err(|_| broken("a stream's members"))?;
        who.push(commitment);
        // A group that lost its members with their erasure keeps its place.
        if groups.len() <= group {
            groups.resize_with(group + 1, Group::default);
        }
        if let Some(group) = groups.get_mut(group) {
            group.members.insert(subject);
            if core {
                group.core.insert(subject);
            }
        }
    }
    Ok((groups, who))
}

fn member(key: &[u8], value: &[u8]) -> Option<(Commitment, usize, bool)> {
    let (group, core) = value.split_first_chunk()?;
    let group = usize::try_from(u32::from_be_bytes(*group)).ok()?;
    // More groups than subjects there are not.
    (group < super::SUBJECTS).then_some((*key.last_chunk()?, group, core == [1]))
}

pub(super) fn put_member(
    batch: &mut Batch,
    schema: &str,
    who: &Commitment,
    group: usize,
    core: bool,
) {
    let group = u32::try_from(group).unwrap_or(u32::MAX);
    let value = [group.to_be_bytes().as_slice(), &[u8::from(core)]].concat();
    batch.put(MEMBERS, member_key(schema, who), value);
}

pub(super) fn member_key(schema: &str, who: &Commitment) -> Vec<u8> {
    [prefix(schema).as_slice(), who].concat()
}

/// The group of a subject, and whether it is in its core.
pub(super) fn group_of(
    store: &dyn Store,
    schema: &str,
    who: &Commitment,
) -> Result<Option<(u32, bool)>, VaultError> {
    let value = store.get(MEMBERS, &member_key(schema, who))?;
    let group = value.as_deref().and_then(|it| it.split_first_chunk());
    Ok(group.map(|(group, core)| (u32::from_be_bytes(*group), core == [1])))
}

/// Numbers of records that wait, and when each was taken, the oldest first.
pub(super) fn waiting(store: &dyn Store, schema: &str) -> Result<Vec<(u64, u64)>, VaultError> {
    let entries = store.scan(WAITING, Scan::prefix(prefix(schema)))?;
    let read = |(key, at): (Vec<u8>, Vec<u8>)| {
        let at = u64::from_be_bytes(at.try_into().ok()?);
        Some((at, u64::from_be_bytes(*key.last_chunk()?)))
    };
    let all: Option<Vec<(u64, u64)>> = entries.into_iter().map(read).collect();
    let mut all = all.ok_or_else(|| broken("a row that waits"))?;
    all.sort_unstable();
    Ok(all)
}

pub(super) fn row(entry: &(Vec<u8>, Vec<u8>)) -> Result<(u64, Released), VaultError> {
    let number = entry.0.last_chunk().map(|it| u64::from_be_bytes(*it));
    let row = ciborium::from_reader(entry.1.as_slice()).ok();
    number.zip(row).ok_or_else(|| broken("a released row"))
}

pub(super) fn commitment(keys: &SubjectKeys, schema: &str) -> Commitment {
    let key = hmac::Key::new(hmac::HMAC_SHA256, keys.secret());
    let what = [b"stockade vault stream 1\0", schema.as_bytes()].concat();
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(hmac::sign(&key, &what).as_ref()) {
        *to = *from;
    }
    out
}

pub(super) fn broken(what: &str) -> VaultError {
    damaged(what, "not what the vault writes")
}

impl Streamed {
    /// What came on top of it in memory. What was taken is counted where it is taken: what waited at a start comes twice.
    pub(super) fn add(&mut self, before: &Tally, after: &Tally) {
        self.released += after.released - before.released;
        self.few += after.few - before.few;
        self.thin += after.thin - before.thin;
        self.alike += after.alike - before.alike;
        self.crowded += after.crowded - before.crowded;
        self.full += after.full - before.full;
    }
}
