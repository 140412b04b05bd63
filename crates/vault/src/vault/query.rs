//! Reading what was stored.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::blocks::{Damage, Wanted};
use super::{Vault, VaultError};
use crate::access::{Access, Action};
use crate::block::{BlockError, Header};
use crate::generalise::instant;
use crate::keys::SubjectKeys;
use crate::log::{Commitment, Entry};
use crate::prepare::{Policy, PolicyId};
use crate::record::StoredRecord;
use crate::treat::for_purpose;
use crate::value::Value;

/// Most records in one answer.
pub const MAX_PAGE: usize = 1_000;
/// Stored records that one query looks at; it goes on where it stopped.
const MAX_LOOKED_AT: usize = 20_000;

/// A device whose records are wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Only of this device.
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

/// A part of the answer: pseudonymised records, which are still personal data.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The records.
    pub records: Vec<StoredRecord>,
    /// Where to go on (as [`Query::after`]), if there may be more; a page may be short, or empty, and not the last.
    pub next: Option<u64>,
    /// Blocks that could not be read: what they had is missing above.
    pub damaged: Vec<Damage>,
}

impl Vault {
    /// Stored records in the order of their numbers, for who may and what the profiles allow them to be used for.
    ///
    /// The asking is in the log before the answer is given, and so is a refusal.
    pub fn query(
        &self,
        access: &Access,
        query: &Query,
        now: OffsetDateTime,
    ) -> Result<Page, VaultError> {
        let policies = self.policies(&query.schema)?;
        let models = policies.values().map(|policy| policy.model.as_str());
        let purposes = if policies.is_empty() {
            // Nothing was ever stored, so that no profile is asked and nothing is shown.
            access.purpose.iter().cloned().collect()
        } else {
            self.purposes(models, &query.schema)
        };
        let entry = |entry| self.told(entry, query);
        let named = query.subject.as_ref().map_or(Ok(()), |_| access.may_name());
        if let Err(refused) = access.may(Action::Query, &purposes).and(named) {
            let told = Entry::refused(now, access, Action::Query, &refused);
            let _receipt = self.log().append(&entry(told))?;
            return Err(refused.into());
        }
        let subject = match &query.subject {
            None => None,
            Some(subject) => Some(self.keys.find(subject)?),
        };
        let page = match &subject {
            // Nobody knows it here: it sent nothing, or was erased.
            Some(None) => Page::default(),
            Some(Some(keys)) => self.page(access, query, &policies, Some(keys))?,
            None => self.page(access, query, &policies, None)?,
        };
        let mut told = entry(Entry::new(now, access, Action::Query));
        let commitment = subject.flatten().map(|keys| Commitment::of(keys.secret()));
        let question = format!(
            "{:?} {commitment:?}",
            Query {
                subject: None,
                ..query.clone()
            }
        );
        told.subject = commitment;
        told.query_hash = Some(self.log().digest("query", question.as_bytes()));
        let answer = serde_json::to_vec(&page.records)
            .map_err(|error| super::damaged("an answer", &error.to_string()))?;
        told.result_hash = Some(self.log().digest("records", &answer));
        let count = u64::try_from(page.records.len()).unwrap_or(u64::MAX);
        let _receipt = self.log().append(&told.fact("records", count))?;
        Ok(page)
    }

    /// Whoever asks for a data set that no profile has could write anything into the log.
    fn told(&self, mut entry: Entry, query: &Query) -> Entry {
        let is_known = self.progress().counters.contains_key(&query.schema);
        entry.dataset = is_known.then(|| query.schema.clone());
        entry.purpose = entry.purpose.filter(|_| is_known);
        entry
    }

    fn page(
        &self,
        access: &Access,
        query: &Query,
        policies: &BTreeMap<PolicyId, Policy>,
        subject: Option<&SubjectKeys>,
    ) -> Result<Page, VaultError> {
        let mut page = Page {
            next: query.after,
            ..Page::default()
        };
        let views = self.views(access, &query.schema, policies)?;
        let may = |header: &Header| match policies.get(&header.policy) {
            Some(_) => Ok(views.contains_key(&header.policy)),
            None => Err(BlockError::NoPolicy),
        };
        let limit = query.limit.clamp(1, MAX_PAGE);
        let mut looked_at = 0;
        let mut runs = self.runs(Wanted {
            schema: &query.schema,
            subject: subject.map(|keys| keys.id),
            after: query.after,
            reverse: query.newest_first,
        })?;
        while let Some(blocks) = runs.next()? {
            let run = self.open_run(&query.schema, blocks, &may, &mut page.damaged)?;
            let mut records: Box<dyn Iterator<Item = _>> = Box::new(run.records());
            if query.newest_first {
                records = Box::new(run.records().rev());
            }
            for stored in records {
                if !query.is_beyond(stored.number) {
                    continue;
                }
                if page.records.len() == limit || looked_at == MAX_LOOKED_AT {
                    return Ok(page);
                }
                looked_at += 1;
                page.next = Some(stored.number);
                let record = stored.read(&query.schema, &mut page.damaged);
                if let Some(mut record) = record.filter(|record| query.matches(record)) {
                    if let Some(view) = views.get(&stored.header.policy) {
                        view.apply(&mut record);
                    }
                    page.records.push(record);
                }
            }
        }
        page.next = None;
        Ok(page)
    }

    /// How the records of each policy are shown for this purpose; those that may not be, have no view.
    fn views<'a>(
        &self,
        access: &Access,
        schema: &str,
        policies: &'a BTreeMap<PolicyId, Policy>,
    ) -> Result<BTreeMap<PolicyId, View<'a>>, VaultError> {
        let purpose = access.purpose.as_deref().unwrap_or_default();
        let mut views = BTreeMap::new();
        for (id, policy) in policies {
            let allowed = self.purposes([policy.model.as_str()], schema);
            if allowed.iter().any(|it| it == purpose) {
                let key =
                    self.keys
                        .domain_key(&[b"purpose", schema.as_bytes(), purpose.as_bytes()])?;
                views.insert(
                    *id,
                    View {
                        per_purpose: &policy.per_purpose,
                        key,
                    },
                );
            }
        }
        Ok(views)
    }
}

/// How the records of a policy are shown.
struct View<'a> {
    per_purpose: &'a [String],
    key: hmac::Key,
}

impl View<'_> {
    /// The pseudonyms as they are for the purpose: answers for two purposes are not joined by them.
    fn apply(&self, record: &mut StoredRecord) {
        for field in self.per_purpose {
            if let Some(Value::Text(stored)) = record.fields.get_mut(field) {
                *stored = for_purpose(&self.key, stored);
            }
        }
    }
}

impl Query {
    fn is_beyond(&self, number: u64) -> bool {
        match self.after {
            None => true,
            Some(after) if self.newest_first => number < after,
            Some(after) => number > after,
        }
    }

    fn matches(&self, record: &StoredRecord) -> bool {
        let time = || record.fields.get("time").and_then(instant);
        self.from
            .is_none_or(|from| time().is_some_and(|time| time >= from))
            && self
                .to
                .is_none_or(|to| time().is_some_and(|time| time < to))
    }
}
