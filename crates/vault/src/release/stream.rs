//! A stream of released rows: what devices send leaves within a delay, with that of k devices, or not at all.
//!
//! The rows that leave, who is in which group from then on, and how far the stream is are one commit: nothing leaves twice. What
//! waits is in the store by its number and when it was taken; after a start it is read again and waits on.

mod columns;
mod kept;
mod running;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use stockade_anonymity::stream::{SettingsFault, Stream};
use stockade_profile::DataSetUse;
use stockade_store::{Batch, Scan, StoreError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::columns::Columns;
use self::kept::{ROWS, STREAMS, State, WAITING};
use self::running::{Failed, Running, settings};
use super::ReleaseError;
use super::ledger::prefix;
use super::read::said;
use crate::access::{Access, Action};
use crate::keys::{SubjectId, SubjectKeys};
use crate::log::Entry;
use crate::vault::{MAX_PAGE, Vault, VaultError, block_key};

/// Subjects of a stream.
const SUBJECTS: usize = 100_000;
/// Rows that wait.
const MOST_WAITING: usize = 100_000;
/// Released rows that are kept, whatever the retention says.
const MOST_ROWS: u64 = 1_000_000;
/// Rows that are deleted in one commit.
const BATCH: usize = 1_024;
const HOUR: i64 = 3_600;

/// What became of the records of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streamed {
    /// Records that it took.
    pub taken: u64,
    /// Rows that left.
    pub released: u64,
    /// Suppressed: too few devices without a group waited.
    pub few: u64,
    /// Suppressed: too few of the device's group sent anything.
    pub thin: u64,
    /// Suppressed: sensitive values too alike, or too unlike all others.
    pub alike: u64,
    /// Suppressed: a row of the same device waited already.
    pub crowded: u64,
    /// Suppressed: too many rows waited, or too many devices send.
    pub full: u64,
    /// Suppressed: a column is missing, or has no such value.
    pub shapeless: u64,
    /// Suppressed: erased, kept long enough or damaged while it waited, or the stream was switched off.
    pub gone: u64,
}

impl Streamed {
    /// Records that were taken and will never leave.
    pub const fn suppressed(&self) -> u64 {
        self.few + self.thin + self.alike + self.crowded + self.full + self.shapeless + self.gone
    }
}

/// A data set's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StreamStatus {
    /// The data set.
    pub data_set: String,
    /// Whether it takes records.
    pub on: bool,
    /// Why it does not although it is on.
    pub stands: Option<String>,
    /// What became of the records.
    pub counts: Streamed,
    /// Records that wait.
    pub waiting: u64,
    /// Groups that lost so many that they are never released again; unknown where the stream is not on.
    pub silent_groups: Option<usize>,
    /// The number of the last row.
    pub last: u64,
    /// The columns.
    pub columns: Vec<String>,
    /// Fields that are in no row.
    pub omitted: Vec<String>,
}

/// A row that was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamRow {
    /// Its number: grows by one.
    pub number: u64,
    /// When it was released (RFC 3339).
    pub released: String,
    /// The columns.
    pub fields: BTreeMap<String, String>,
}

/// Some rows that were released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StreamPage {
    /// What it is called; never anything else.
    pub product: &'static str,
    /// The data set.
    pub data_set: String,
    /// The columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<StreamRow>,
    /// Ask for what comes after this one next.
    pub next: u64,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No stream of it was ever switched on.
    #[error("`{}` has no stream", .0.escape_debug())]
    None(String),
    /// What the profile says makes no stream.
    #[error("the profile makes no stream of `{0}`: {1}")]
    Settings(String, SettingsFault),
    /// The same as for any release.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

impl<E: Into<VaultError>> From<E> for StreamError {
    fn from(error: E) -> Self {
        Self::Release(ReleaseError::Vault(error.into()))
    }
}

/// The streams that run.
#[derive(Debug)]
pub(crate) struct Streams {
    running: BTreeMap<String, Result<Box<Running>, String>>,
    /// Whether groups are. A test shows what becomes of rows if they are not.
    sticky: bool,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            running: BTreeMap::new(),
            sticky: true,
        }
    }
}

impl Streams {
    /// What is in memory is read anew.
    pub(crate) fn forget(&mut self) {
        self.running.clear();
    }
}

impl Vault {
    /// Switches a data set's stream on or off. It takes what is stored from now on; what waits when it is switched off is
    /// suppressed. Groups are kept for the next time.
    pub fn switch_stream(
        &self,
        access: &Access,
        schema: &str,
        on: bool,
        now: OffsetDateTime,
    ) -> Result<StreamStatus, StreamError> {
        if let Err(refused) = access.may(Action::Stream, &[]) {
            return Ok(self.refuse(access, Action::Stream, refused, now)?);
        }
        let said = said(self, schema)?.ok_or_else(|| ReleaseError::UnknownDataSet {
            schema: schema.to_owned(),
            known: self.data_sets(),
        })?;
        let columns = Columns::of(&said);
        if on {
            let fault = |fault| StreamError::Settings(schema.to_owned(), fault);
            Stream::new(settings(&said, &columns, true), Vec::new()).map_err(fault)?;
        }
        let last = self.last_number();
        let mut streams = self.streams();
        let before = self.store.get(STREAMS, schema.as_bytes())?;
        let mut state = match &before {
            Some(bytes) => State::read(bytes)?,
            None => State {
                v: 1,
                next: 1,
                hour: now.unix_timestamp().div_euclid(HOUR),
                ..State::default()
            },
        };
        if state.on != on {
            let mut entry = Entry::new(now, access, Action::Stream);
            entry.dataset = Some(schema.to_owned());
            entry.object = Some(if on { "on" } else { "off" }.to_owned());
            let entry = entry.fact("k", said.floor.k.into());
            let _receipt = self.log().append(&entry)?;
            state.on = on;
            state.columns = columns.names();
            state.omitted = columns.omitted;
            let mut batch = Batch::new();
            if on {
                state.taken = last;
            }
            for (_, number) in kept::waiting(&*self.store, schema)? {
                state.counts.gone += 1;
                batch.delete(WAITING, block_key(schema, number));
            }
            state.put(schema, before.as_deref(), &mut batch)?;
            streams.running.remove(schema);
            match self.store.commit(batch) {
                Err(StoreError::Conflict { .. }) => return Err(ReleaseError::Meanwhile.into()),
                other => other?,
            }
        }
        Ok(self.status(&streams, schema, state)?)
    }

    /// All streams there are. The counts are exact, so this is for who may see the counters.
    pub fn release_streams(
        &self,
        access: &Access,
        now: OffsetDateTime,
    ) -> Result<Vec<StreamStatus>, VaultError> {
        if let Err(refused) = access.may(Action::Counters, &[]) {
            return self.refuse(access, Action::Counters, refused, now);
        }
        let streams = self.streams();
        let all = self.states()?.into_iter();
        all.map(|(schema, state, _)| self.status(&streams, &schema, state))
            .collect()
    }

    /// The rows that were released behind the number `after`, `limit` at most.
    pub fn read_stream(
        &self,
        access: &Access,
        schema: &str,
        (after, limit): (u64, usize),
        now: OffsetDateTime,
    ) -> Result<StreamPage, StreamError> {
        if let Err(refused) = access.may(Action::Release, &[]) {
            return Ok(self.refuse(access, Action::Release, refused, now)?);
        }
        let state = self.store.get(STREAMS, schema.as_bytes())?;
        let state = state.ok_or_else(|| StreamError::None(schema.to_owned()))?;
        let scan = Scan::prefix(prefix(schema))
            .after(block_key(schema, after))
            .limit(limit.clamp(1, MAX_PAGE));
        let mut rows = Vec::new();
        for entry in self.store.scan(ROWS, scan)? {
            let (number, row) = kept::row(&entry)?;
            let at = OffsetDateTime::from_unix_timestamp(row.at).ok();
            let released = at.and_then(|at| at.format(&Rfc3339).ok());
            rows.push(StreamRow {
                number,
                released: released.ok_or_else(|| kept::broken("a released row"))?,
                fields: row.fields,
            });
        }
        Ok(StreamPage {
            product: "anonymised release",
            data_set: schema.to_owned(),
            columns: State::read(&state)?.columns,
            next: rows.last().map_or(after, |row| row.number),
            rows,
        })
    }

    /// Takes what was stored since, and lets time pass: what is due leaves, or is suppressed. Each second, and at once again if
    /// there is more to take; blocks while it works.
    pub fn go_on_streaming(&self, now: OffsetDateTime) -> Result<bool, VaultError> {
        let last = self.last_number();
        let mut streams = self.streams();
        let mut outcome = Ok(false);
        for (schema, state, bytes) in self.states()? {
            match self.go_on(&mut streams, &schema, (state, bytes), last, now) {
                Ok(more) => outcome = outcome.map(|it| it | more),
                // The others go on.
                Err(error) => {
                    tracing::error!(schema, %error, "a stream of releases stands still");
                    // What is in memory may be ahead of the store.
                    streams.running.remove(&schema);
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    fn go_on(
        &self,
        streams: &mut Streams,
        schema: &str,
        (mut state, bytes): (State, Vec<u8>),
        last: u64,
        now: OffsetDateTime,
    ) -> Result<bool, VaultError> {
        if state.hour < now.unix_timestamp().div_euclid(HOUR) {
            self.expire_rows(schema, state.next, now)?;
        }
        let Some(mut running) = self.running(streams, schema, (&state, &bytes))? else {
            if self.tell_of(schema, &mut state, now)? {
                let mut batch = Batch::new();
                state.put(schema, Some(&bytes), &mut batch)?;
                self.store.commit(batch)?;
            }
            return Ok(false);
        };
        let now_ms = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let more = running.go_on(self, schema, last, now_ms)?;
        let mut batch = running.changed(schema, now, now_ms)?;
        self.tell_of(schema, &mut running.state, now)?;
        if !batch.is_empty() || running.state != state {
            running.bytes = running.state.put(schema, Some(&bytes), &mut batch)?;
            self.store.commit(batch)?;
        }
        streams.running.insert(schema.to_owned(), Ok(running));
        Ok(more)
    }

    /// The stream as it is in memory, if that is what the store has and the profile says, or else read anew; nothing if it is
    /// off or cannot run.
    fn running(
        &self,
        streams: &mut Streams,
        schema: &str,
        (state, bytes): (&State, &[u8]),
    ) -> Result<Option<Box<Running>>, VaultError> {
        if !state.on {
            return Ok(None);
        }
        let Some(said) = said(self, schema)? else {
            return Ok(None);
        };
        let before = match streams.running.remove(schema) {
            Some(Ok(running)) if running.bytes == bytes && running.said == said => {
                return Ok(Some(running));
            }
            Some(Err(why)) => Some(why),
            _ => None,
        };
        let kept = (state.clone(), bytes.to_owned());
        match Running::load(self, schema, kept, said, streams.sticky) {
            Ok(running) => Ok(Some(Box::new(running))),
            Err(Failed::Vault(error)) => Err(error),
            Err(Failed::Settings(fault)) => {
                let why = fault.to_string();
                if before.as_ref() != Some(&why) {
                    tracing::error!(schema, why, "a stream of releases stands still");
                }
                streams.running.insert(schema.to_owned(), Err(why));
                Ok(None)
            }
        }
    }

    /// An entry an hour; whether the hour is a new one. If the process ends before the commit, the same rows are told again, by
    /// the same numbers.
    fn tell_of(
        &self,
        schema: &str,
        state: &mut State,
        now: OffsetDateTime,
    ) -> Result<bool, VaultError> {
        let hour = now.unix_timestamp().div_euclid(HOUR);
        if state.hour >= hour {
            return Ok(false);
        }
        let (counts, told) = (state.counts, state.told);
        if counts != told {
            let mut entry = Entry::by_vault(now, Action::Stream)
                .fact("taken", counts.taken - told.taken)
                .fact("released", counts.released - told.released)
                .fact("suppressed", counts.suppressed() - told.suppressed())
                .fact("last", state.next.saturating_sub(1));
            entry.dataset = Some(schema.to_owned());
            let _receipt = self.log().append(&entry)?;
        }
        state.told = counts;
        state.hour = hour;
        Ok(true)
    }

    /// Deletes rows that were kept as long as the records are, and those that are too many.
    fn expire_rows(&self, schema: &str, next: u64, now: OffsetDateTime) -> Result<(), VaultError> {
        let models = self.policies(schema)?.into_values();
        let kept = models.filter_map(|policy| {
            let profile = self.profiles.profile(&policy.model)?;
            Some(profile.vault.get(schema)?.retention())
        });
        let kept = kept.min().unwrap_or(DataSetUse::RETENTION);
        let kept = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
        let oldest = now.unix_timestamp().saturating_sub(kept);
        loop {
            let scan = Scan::prefix(prefix(schema)).limit(BATCH);
            let entries = self.store.scan(ROWS, scan)?;
            let mut batch = Batch::new();
            for entry in &entries {
                let (number, row) = kept::row(entry)?;
                if row.at < oldest || number.saturating_add(MOST_ROWS) < next {
                    batch.delete(ROWS, entry.0.clone());
                }
            }
            let is_end = batch.ops().len() < BATCH;
            self.store.commit(batch)?;
            if is_end {
                return Ok(());
            }
        }
    }

    /// The groups of the stream of a data set as classes: a release is held against them too. First those who were in each
    /// emission of their group, who stand among each other; then, if there are others, all.
    pub(super) fn stream_classes(
        &self,
        schema: &str,
        subjects: &[SubjectId],
    ) -> Result<Vec<Vec<Option<u32>>>, VaultError> {
        if self.store.get(STREAMS, schema.as_bytes())?.is_none() {
            return Ok(Vec::new());
        }
        let (mut cores, mut all) = (Vec::new(), Vec::new());
        for subject in subjects {
            let keys = self.keys.by_id(*subject)?;
            let who = keys.map(|keys| kept::commitment(&keys, schema));
            let group = who.map(|who| kept::group_of(&*self.store, schema, &who));
            let group = group.transpose()?.flatten();
            cores.push(group.and_then(|(group, core)| core.then_some(group)));
            all.push(group.map(|(group, _)| group));
        }
        if cores == all {
            all.clear();
        }
        let mut classes = vec![cores, all];
        classes.retain(|classes| classes.iter().any(Option::is_some));
        Ok(classes)
    }

    /// An erasure takes with it in which groups a device was.
    pub(crate) fn forget_streams(
        &self,
        keys: &SubjectKeys,
        batch: &mut Batch,
    ) -> Result<(), VaultError> {
        for (schema, ..) in self.states()? {
            running::forget(&schema, &kept::commitment(keys, &schema), batch);
        }
        Ok(())
    }

    /// While it is held no row leaves but by its holder.
    pub(crate) fn streams(&self) -> MutexGuard<'_, Streams> {
        // Whatever panicked left a stream out, and it is read anew.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn states(&self) -> Result<Vec<(String, State, Vec<u8>)>, VaultError> {
        let all = self.store.scan(STREAMS, Scan::all())?.into_iter();
        all.map(|(schema, bytes)| {
            let schema = String::from_utf8(schema).map_err(|_| kept::broken("a stream"))?;
            Ok((schema, State::read(&bytes)?, bytes))
        })
        .collect()
    }

    fn status(
        &self,
        streams: &Streams,
        schema: &str,
        state: State,
    ) -> Result<StreamStatus, VaultError> {
        let running = streams.running.get(schema).filter(|_| state.on);
        let waiting = kept::waiting(&*self.store, schema)?.len();
        Ok(StreamStatus {
            data_set: schema.to_owned(),
            on: state.on,
            stands: running.and_then(|it| it.as_ref().err().cloned()),
            silent_groups: running.and_then(|it| it.as_ref().ok().map(|it| it.silent())),
            counts: state.counts,
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
            last: state.next.saturating_sub(1),
            columns: state.columns,
            omitted: state.omitted,
        })
    }
}
