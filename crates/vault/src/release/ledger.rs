//! What was released, and in which class each device was: so that releases laid over one another leave k.
//!
//! A device's classes are under a keyed commitment that only its secret makes. With the device they are erased.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use stockade_store::{Batch, Scan, StoreError, Table};
use time::OffsetDateTime;

use super::ReleaseError;
use crate::access::{Access, Action};
use crate::keys::{SubjectId, SubjectKeys};
use crate::vault::{Vault, VaultError, damaged};

/// [`Row`] by data set and number.
const RELEASES: Table = Table::new("vault.releases");
/// [`Classes`] by commitment.
const CLASSES: Table = Table::new("vault.release-classes");
/// Releases of one data set.
pub(super) const MOST: u32 = 256;

/// A release.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    v: u8,
    /// When: seconds since 1970.
    at: i64,
}

/// By data set, in which class of which release a device was.
type Classes = BTreeMap<String, Vec<(u32, u32)>>;

/// The releases of a data set before this one.
#[derive(Debug)]
pub(super) struct Earlier {
    /// For each, the class of each subject.
    pub(super) classes: Vec<Vec<Option<u32>>>,
    /// The number of the next one, from 1.
    pub(super) next: u32,
}

impl Vault {
    /// The releases of a data set, as far as these subjects were in them.
    pub(super) fn earlier(
        &self,
        schema: &str,
        subjects: &[SubjectId],
    ) -> Result<Earlier, ReleaseError> {
        let entries = self.store.scan(RELEASES, Scan::prefix(prefix(schema)))?;
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        for (_, bytes) in &entries {
            let row: Result<Row, _> = ciborium::from_reader(bytes.as_slice());
            if row.is_err() {
                return Err(damaged("the ledger of releases", "not what the vault writes").into());
            }
        }
        if count >= MOST {
            return Err(ReleaseError::Often(schema.to_owned()));
        }
        let mut classes = vec![vec![None; subjects.len()]; entries.len()];
        for (at, subject) in subjects.iter().enumerate() {
            let Some((of_subject, _)) = self.classes(*subject)? else {
                continue;
            };
            for (release, class) in of_subject.get(schema).into_iter().flatten() {
                let index = release
                    .checked_sub(1)
                    .and_then(|index| usize::try_from(index).ok());
                let place = index.and_then(|index| classes.get_mut(index)?.get_mut(at));
                let beyond = || {
                    damaged(
                        "the ledger of releases",
                        "a class of a release that there is not",
                    )
                };
                *place.ok_or_else(beyond)? = Some(*class);
            }
        }
        Ok(Earlier {
            classes,
            next: count + 1,
        })
    }

    /// The releases of a data set so far, by number, and when each was made: for who may see its counters.
    pub fn releases(
        &self,
        access: &Access,
        schema: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<(u32, OffsetDateTime)>, VaultError> {
        if let Err(refused) = access.may(Action::Counters, &[]) {
            return self.refuse(access, Action::Counters, refused, now);
        }
        let entries = self.store.scan(RELEASES, Scan::prefix(prefix(schema)))?;
        let rows = entries.iter().zip(1..).map(|((_, bytes), number)| {
            let row: Row = ciborium::from_reader(bytes.as_slice()).ok()?;
            Some((number, OffsetDateTime::from_unix_timestamp(row.at).ok()?))
        });
        rows.collect::<Option<_>>()
            .ok_or_else(|| damaged("the ledger of releases", "not what the vault writes"))
    }

    /// What it was in, and as it is in the store.
    fn classes(&self, subject: SubjectId) -> Result<Option<(Classes, Vec<u8>)>, VaultError> {
        let Some(keys) = self.keys.by_id(subject)? else {
            return Ok(None);
        };
        let Some(bytes) = self.store.get(CLASSES, key(&keys).as_ref())? else {
            return Ok(None);
        };
        match ciborium::from_reader(bytes.as_slice()) {
            Ok(classes) => Ok(Some((classes, bytes))),
            Err(error) => Err(damaged("a device's releases", &error.to_string())),
        }
    }

    /// An erasure takes with it in which releases a device was.
    pub(crate) fn forget_releases(keys: &SubjectKeys, batch: &mut Batch) {
        batch.delete(CLASSES, key(keys).as_ref());
    }
}

/// Writes a release in one commit.
pub(super) fn write(
    vault: &Vault,
    schema: &str,
    subjects: &[SubjectId],
    earlier: &Earlier,
    classes: &[Option<u32>],
    now: OffsetDateTime,
) -> Result<(), ReleaseError> {
    let mut batch = Batch::new();
    let at = [prefix(schema).as_slice(), &earlier.next.to_be_bytes()].concat();
    let row = Row {
        v: 1,
        at: now.unix_timestamp(),
    };
    batch
        .require_absent(RELEASES, at.clone())
        .put(RELEASES, at, encoded(&row)?);
    for (subject, class) in subjects.iter().zip(classes) {
        let Some(class) = class else { continue };
        let gone = || damaged("a device's keys", "gone while it was released: ask again");
        let keys = vault
            .keys
            .by_id(*subject)
            .map_err(VaultError::from)?
            .ok_or_else(gone)?;
        let place = key(&keys);
        // A release of another data set may be writing the same row.
        let mut of_subject = if let Some((of_subject, before)) = vault.classes(*subject)? {
            batch.require_equals(CLASSES, place.as_ref(), before);
            of_subject
        } else {
            batch.require_absent(CLASSES, place.as_ref());
            Classes::new()
        };
        of_subject
            .entry(schema.to_owned())
            .or_default()
            .push((earlier.next, *class));
        batch.put(CLASSES, place.as_ref(), encoded(&of_subject)?);
    }
    match vault.store.commit(batch) {
        Err(StoreError::Conflict { .. }) => Err(ReleaseError::Meanwhile),
        other => Ok(other?),
    }
}

pub(super) fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, VaultError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)
        .map_err(|error| damaged("the ledger of releases", &error.to_string()))?;
    Ok(bytes)
}

/// Data sets' names have no zero byte.
pub(super) fn prefix(schema: &str) -> Vec<u8> {
    [schema.as_bytes(), &[0]].concat()
}

/// What stands for a device in the ledger: found from its secret only.
fn key(keys: &SubjectKeys) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, keys.secret());
    hmac::sign(&key, b"stockade vault releases 1")
}
