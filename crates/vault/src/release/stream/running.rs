//! A stream in memory, as the store has it: fed, and what it gives is written in one commit with how far it is.

use std::collections::{BTreeMap, VecDeque};

use stockade_anonymity::stream::{Emission, Row, Settings, SettingsFault, Span, Stream, Tally};
use stockade_store::{Batch, Scan};
use time::OffsetDateTime;

use super::super::ledger::{encoded, prefix};
use super::super::read::Said;
use super::columns::{Columns, interval};
use super::kept::{self, Commitment, MEMBERS, ROWS, Released, State, WAITING, broken};
use super::{MOST_WAITING, SUBJECTS};
use crate::keys::SubjectId;
use crate::record::StoredRecord;
use crate::vault::{Vault, VaultError, Wanted, block_key};

/// Records that are taken in one go.
const TAKEN: usize = 10_000;
/// Rows released before, of which the distribution is known again after a start.
const REMEMBERED: usize = 10_000;
/// A row leaves so long before it must: the clock ticks each second.
const EARLY_MS: u64 = 2_000;

/// Why a stream cannot run.
#[derive(Debug)]
pub(super) enum Failed {
    Vault(VaultError),
    Settings(SettingsFault),
}

impl<E: Into<VaultError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Vault(error.into())
    }
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) said: Said,
    columns: Columns,
    stream: Stream,
    /// How much of what became of rows is counted.
    tally: Tally,
    pub(super) state: State,
    /// As it is in the store.
    pub(super) bytes: Vec<u8>,
    who: Vec<Commitment>,
    numbers: BTreeMap<Commitment, u32>,
    ids: BTreeMap<SubjectId, u32>,
    /// How many are in the core of each group, as it is in the store.
    cores: Vec<usize>,
    /// The sensitive codes of what waits.
    waiting: BTreeMap<u64, Vec<u32>>,
    /// When it was taken, the oldest first.
    ages: VecDeque<(u64, u64)>,
    delay: u64,
    changes: Batch,
}

pub(super) fn settings(said: &Said, columns: &Columns, sticky: bool) -> Settings {
    Settings {
        k: said.floor.k,
        // So many may stop for good before the group falls silent.
        spare: said.floor.k.div_ceil(2),
        l: said.floor.l,
        t: said.floor.t.to_f64(),
        delay: delay(said),
        // Several rows of a device in an emission would be as many hints, and would count as different values for l.
        rows_per_subject: 1,
        waiting: MOST_WAITING,
        subjects: SUBJECTS,
        sticky,
        quasi: columns.domains.clone(),
        sensitive: columns.secrets.clone(),
    }
}

fn delay(said: &Said) -> u64 {
    let delay = u64::try_from(said.floor.delay.as_millis()).unwrap_or(u64::MAX);
    delay - EARLY_MS.min(delay / 2)
}

impl Running {
    /// The stream as the store has it. What waits is read again by its numbers.
    pub(super) fn load(
        vault: &Vault,
        schema: &str,
        (state, bytes): (State, Vec<u8>),
        said: Said,
        sticky: bool,
    ) -> Result<Self, Failed> {
        let columns = Columns::of(&said);
        let (groups, who) = kept::groups(&*vault.store, schema)?;
        let cores = groups.iter().map(|group| group.core.len()).collect();
        let stream =
            Stream::new(settings(&said, &columns, sticky), groups).map_err(Failed::Settings)?;
        let mut running = Self {
            delay: delay(&said),
            said,
            columns,
            stream,
            tally: Tally::default(),
            state,
            bytes,
            numbers: who.iter().copied().zip(0..).collect(),
            who,
            ids: BTreeMap::new(),
            cores,
            waiting: BTreeMap::new(),
            ages: VecDeque::new(),
            changes: Batch::new(),
        };
        running.state.columns = running.columns.names();
        running.state.omitted.clone_from(&running.columns.omitted);
        let scan = Scan::prefix(prefix(schema)).reverse().limit(REMEMBERED);
        for entry in vault.store.scan(ROWS, scan)? {
            let (_, row) = kept::row(&entry)?;
            if let Some(codes) = running.columns.codes(&row.fields) {
                running.stream.handle_earlier(&codes);
            }
        }
        running.again(vault, schema)?;
        Ok(running)
    }

    /// Takes what waited before a start: in the order, and at the times, of then.
    fn again(&mut self, vault: &Vault, schema: &str) -> Result<(), VaultError> {
        let waiting = kept::waiting(&*vault.store, schema)?;
        let numbers: BTreeMap<u64, u64> =
            waiting.iter().map(|(at, number)| (*number, *at)).collect();
        let mut found = BTreeMap::new();
        if let (Some((first, _)), Some((last, _))) =
            (numbers.first_key_value(), numbers.last_key_value())
        {
            records(
                vault,
                schema,
                (first.saturating_sub(1), *last),
                &mut |subject, record| {
                    if numbers.contains_key(&record.number) {
                        found.insert(record.number, (subject, record));
                    }
                    true
                },
            )?;
        }
        for (at, number) in waiting {
            match found.remove(&number) {
                Some((subject, record)) => self.take(vault, schema, subject, &record, at)?,
                None => self.state.counts.gone += 1,
            }
            if !self.waiting.contains_key(&number) {
                self.changes.delete(WAITING, block_key(schema, number));
            }
        }
        Ok(())
    }

    /// Takes the records up to the number `last`, and lets time pass; whether there is more to take.
    pub(super) fn go_on(
        &mut self,
        vault: &Vault,
        schema: &str,
        last: u64,
        now: u64,
    ) -> Result<bool, VaultError> {
        if self.state.taken < last {
            let (mut new, mut ended) = (Vec::new(), true);
            records(
                vault,
                schema,
                (self.state.taken, last),
                &mut |subject, record| {
                    new.push((subject, record));
                    ended = new.len() < TAKEN;
                    ended
                },
            )?;
            for (subject, record) in new {
                self.state.taken = record.number;
                self.state.counts.taken += 1;
                self.take(vault, schema, subject, &record, now)?;
                if self.waiting.contains_key(&record.number) {
                    let at = now.to_be_bytes();
                    self.changes
                        .put(WAITING, block_key(schema, record.number), at);
                }
            }
            if ended {
                self.state.taken = last;
            }
        }
        self.stream.handle_time(now);
        Ok(self.state.taken < last)
    }

    fn take(
        &mut self,
        vault: &Vault,
        schema: &str,
        subject: SubjectId,
        record: &StoredRecord,
        now: u64,
    ) -> Result<(), VaultError> {
        let Some(cells) = self.columns.row(&record.fields) else {
            self.state.counts.shapeless += 1;
            return Ok(());
        };
        let Some(subject) = self.number(vault, schema, subject)? else {
            self.state.counts.gone += 1;
            return Ok(());
        };
        let refused = |tally: &Tally| tally.full + tally.crowded + tally.shapeless;
        let before = refused(self.stream.tally());
        self.stream.handle_row(
            now,
            Row {
                subject,
                quasi: cells.quasi,
                sensitive: cells.sensitive.clone(),
                tag: record.number,
            },
        );
        if refused(self.stream.tally()) == before {
            self.waiting.insert(record.number, cells.sensitive);
            self.ages.push_back((now, record.number));
        }
        Ok(())
    }

    /// A subject's number in this stream; nothing if its keys are gone.
    fn number(
        &mut self,
        vault: &Vault,
        schema: &str,
        subject: SubjectId,
    ) -> Result<Option<u32>, VaultError> {
        if let Some(number) = self.ids.get(&subject) {
            return Ok(Some(*number));
        }
        let Some(keys) = vault.keys.by_id(subject)? else {
            return Ok(None);
        };
        let commitment = kept::commitment(&keys, schema);
        let next = u32::try_from(self.who.len()).unwrap_or(u32::MAX);
        if self.who.len() >= SUBJECTS && !self.numbers.contains_key(&commitment) {
            // The stream counts it.
            return Ok(Some(u32::MAX));
        }
        let number = *self.numbers.entry(commitment).or_insert(next);
        if number == next {
            self.who.push(commitment);
        }
        self.ids.insert(subject, number);
        Ok(Some(number))
    }

    /// What is to be written since the last time; nothing if nothing happened.
    pub(super) fn changed(
        &mut self,
        schema: &str,
        now: OffsetDateTime,
        now_ms: u64,
    ) -> Result<Batch, VaultError> {
        let mut batch = std::mem::take(&mut self.changes);
        while let Some(emission) = self.stream.poll_emission() {
            self.release(schema, &emission, now, &mut batch)?;
        }
        // What was due and did not leave is suppressed.
        while let Some((at, number)) = self.ages.front().copied() {
            if at.saturating_add(self.delay) > now_ms {
                break;
            }
            self.ages.pop_front();
            if self.waiting.remove(&number).is_some() {
                batch.delete(WAITING, block_key(schema, number));
            }
        }
        let groups = self.stream.groups();
        self.cores.resize(groups.len(), 0);
        for (number, (group, core)) in groups.iter().zip(&mut self.cores).enumerate() {
            if group.core.len() != *core {
                *core = group.core.len();
                for member in &group.members {
                    let who = usize::try_from(*member)
                        .ok()
                        .and_then(|it| self.who.get(it));
                    let who = who.ok_or_else(|| broken("a stream's group"))?;
                    kept::put_member(&mut batch, schema, who, number, group.core.contains(member));
                }
            }
        }
        let tally = *self.stream.tally();
        self.state.counts.add(&self.tally, &tally);
        self.tally = tally;
        Ok(batch)
    }

    fn release(
        &mut self,
        schema: &str,
        emission: &Emission,
        now: OffsetDateTime,
        batch: &mut Batch,
    ) -> Result<(), VaultError> {
        let spans = emission.spans.iter().map(|span| match span {
            Span::Number(low, high) => interval(*low, *high),
            Span::Name(name) => name.clone(),
        });
        let quasi: Vec<(String, String)> =
            self.columns.known().map(str::to_owned).zip(spans).collect();
        let mut rows = Vec::with_capacity(emission.rows.len());
        for row in &emission.rows {
            let codes = self.waiting.remove(&row.tag);
            let codes = codes.ok_or_else(|| broken("a row that waited"))?;
            batch.delete(WAITING, block_key(schema, row.tag));
            let cells = quasi.iter().cloned().chain(self.columns.shown(&codes));
            rows.push(cells.collect::<BTreeMap<_, _>>());
        }
        // In an order that says nothing of when, and from whom, they came.
        rows.sort_unstable();
        for fields in rows {
            let at = now.unix_timestamp();
            let key = block_key(schema, self.state.next);
            batch.put(ROWS, key, encoded(&Released { at, fields })?);
            self.state.next += 1;
        }
        Ok(())
    }

    pub(super) fn silent(&self) -> usize {
        self.stream.silent()
    }
}

/// Shows the records of a data set behind the first number up to the second one, as long as more are wanted. What cannot be
/// read was told, and is passed over.
fn records(
    vault: &Vault,
    schema: &str,
    (after, last): (u64, u64),
    each: &mut dyn FnMut(SubjectId, StoredRecord) -> bool,
) -> Result<(), VaultError> {
    let mut damage = Vec::new();
    let mut runs = vault.runs(Wanted {
        schema,
        subject: None,
        after: Some(after),
        reverse: false,
    })?;
    while let Some(blocks) = runs.next()? {
        if blocks.first().is_some_and(|(first, _)| *first > last) {
            break;
        }
        let run = vault.open_run(schema, blocks, &|_| Ok(true), &mut damage)?;
        for stored in run.records() {
            if stored.number <= after || stored.number > last {
                continue;
            }
            if let Some(record) = stored.read(schema, &mut damage)
                && !each(stored.header.subject, record)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Forgets a subject in the stream of a data set.
pub(super) fn forget(schema: &str, who: &Commitment, batch: &mut Batch) {
    batch.delete(MEMBERS, kept::member_key(schema, who));
}
