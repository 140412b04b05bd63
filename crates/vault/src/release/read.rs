//! The records of a data set as rows, with the roles that the profiles give their fields.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use stockade_anonymity::Role;
use stockade_anonymity::attack::unicity::{Unicity, unicity};
use stockade_anonymity::fold::{Fold, Given, Rows, Told, When};
use stockade_profile::{Category, Field, FieldRole, Generalisation, ReleaseGoal, Treatment};

use super::{Precision, ReleaseAsk, ReleaseError};
use crate::access::Access;
use crate::keys::SubjectId;
use crate::record::StoredRecord;
use crate::stat::moment;
use crate::value::{Fields, Value};
use crate::vault::{Damage, Vault, VaultError, Wanted};

/// Points of a trace that somebody may know.
pub(super) const POINTS: usize = 4;
/// Points of one device that are held against those of others.
const MOST_POINTS: usize = 256;
/// Columns of a release.
const MOST_FIELDS: usize = 256;

/// A data set, read.
pub(super) struct Reading {
    /// How exactly who asks is told of it.
    pub(super) precision: Precision,
    /// What the profiles of all models that send it ask at least.
    pub(super) floor: ReleaseGoal,
    pub(super) rows: Rows,
    /// Whose each row is.
    pub(super) subjects: Vec<SubjectId>,
    /// How many a few records single out.
    pub(super) points: Unicity,
    /// Fields that are in no row.
    pub(super) omitted: Vec<String>,
    pub(super) damaged: Vec<Damage>,
}

/// What the profiles say.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) floor: ReleaseGoal,
    pub(super) fields: BTreeMap<String, Field>,
}

pub(super) fn read(
    vault: &Vault,
    ask: &ReleaseAsk,
    access: &Access,
) -> Result<Reading, ReleaseError> {
    let said = said(vault, &ask.schema)?.ok_or_else(|| ReleaseError::UnknownDataSet {
        schema: ask.schema.clone(),
        known: vault.data_sets(),
    })?;
    let wanted = |record: &StoredRecord| {
        moment(record).filter(|at| {
            ask.from.is_none_or(|from| *at >= from.unix_timestamp())
                && ask.to.is_none_or(|to| *at < to.unix_timestamp())
        })
    };
    // Which fields there are, with those of places in them, and how long it took.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    vault.each(&ask.schema, &mut |_, record| {
        let Some(at) = wanted(record) else { return };
        first = first.min(at);
        last = last.max(at);
        flat(&record.fields, &mut |name, field, _| {
            if !names.contains_key(name) && names.len() < MOST_FIELDS {
                names.insert(name.to_owned(), field.to_owned());
            }
        });
    })?;
    let (mut told, mut omitted) = (BTreeMap::new(), Vec::new());
    for (name, field) in names {
        match said.fields.get(&field).and_then(|said| tell(&field, said)) {
            Some(tell) => drop(told.insert(name, tell)),
            None => omitted.push(name),
        }
    }
    let mut collected = Collected {
        known: known_values(&told),
        fold: Fold::new(told),
        subjects: BTreeMap::new(),
        traces: Vec::new(),
    };
    let mut outcome = Ok(());
    let damaged = vault.each(&ask.schema, &mut |subject, record| {
        if let (Some(at), Ok(())) = (wanted(record), &outcome) {
            // All at once is no time to know a part of.
            let is_known = first < last && at <= first.midpoint(last);
            let when = if is_known { When::Known } else { When::Later };
            outcome = collected.take(subject, (at, when), record, &said.fields);
        }
    })?;
    outcome?;
    let precision = Precision::of(access, said.floor.k);
    let sent = u32::try_from(collected.subjects.len()).unwrap_or(u32::MAX);
    if sent < precision.least() {
        let schema = ask.schema.clone();
        return Err(if precision.is_coarse() {
            let least = precision.least();
            ReleaseError::Few { schema, least }
        } else {
            ReleaseError::Nothing(schema)
        });
    }
    let mut subjects: Vec<(SubjectId, u32)> = collected.subjects.into_iter().collect();
    subjects.sort_by_key(|(_, number)| *number);
    Ok(Reading {
        precision,
        floor: said.floor,
        rows: collected.fold.finish()?,
        points: unicity(&collected.traces, POINTS, 1),
        subjects: subjects.into_iter().map(|(subject, _)| subject).collect(),
        omitted,
        damaged,
    })
}

/// What is collected in one reading.
struct Collected {
    fold: Fold,
    /// By column, the values that its hierarchy has.
    known: BTreeMap<String, BTreeSet<String>>,
    subjects: BTreeMap<SubjectId, u32>,
    /// The points of each subject.
    traces: Vec<Vec<u64>>,
}

impl Collected {
    fn take(
        &mut self,
        subject: SubjectId,
        (at, when): (i64, When),
        record: &StoredRecord,
        fields: &BTreeMap<String, Field>,
    ) -> Result<(), ReleaseError> {
        let next = u32::try_from(self.subjects.len()).unwrap_or(u32::MAX);
        let number = *self.subjects.entry(subject).or_insert(next);
        if number == next {
            self.traces.push(Vec::new());
        }
        self.fold.subject(number)?;
        let mut point = DefaultHasher::new();
        at.hash(&mut point);
        let mut outcome = Ok(());
        flat(&record.fields, &mut |name, field, value| {
            let is_quasi = fields
                .get(field)
                .is_some_and(|field| field.role() == FieldRole::Quasi);
            let Some(text) = text(value) else { return };
            if is_quasi {
                (name, &text).hash(&mut point);
            }
            let given = match (self.known.get(name), value.number()) {
                (Some(known), _) if !known.contains(&*text) => return,
                (None, Some(number)) => Given::Number(number),
                _ => Given::Text(&text),
            };
            if let Err(fault) = self.fold.add(number, when, name, given) {
                outcome = Err(fault);
            }
        });
        outcome?;
        let trace = usize::try_from(number)
            .ok()
            .and_then(|number| self.traces.get_mut(number));
        if let Some(trace) = trace.filter(|trace| trace.len() < MOST_POINTS) {
            trace.push(point.finish());
        }
        Ok(())
    }
}

impl Vault {
    /// Shows each record of a data set with whose it is. What cannot be read is returned.
    fn each(
        &self,
        schema: &str,
        each: &mut dyn FnMut(SubjectId, &StoredRecord),
    ) -> Result<Vec<Damage>, VaultError> {
        let mut damage = Vec::new();
        let mut runs = self.runs(Wanted {
            schema,
            subject: None,
            after: None,
            reverse: false,
        })?;
        while let Some(blocks) = runs.next()? {
            let run = self.open_run(schema, blocks, &|_| Ok(true), &mut damage)?;
            for stored in run.records() {
                if let Some(record) = stored.read(schema, &mut damage) {
                    each(stored.header.subject, &record);
                }
            }
        }
        Ok(damage)
    }
}

/// A plain value as text.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Bool(yes) => Some(Cow::Borrowed(if *yes { "true" } else { "false" })),
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Integer(number) => Some(Cow::Owned(number.to_string())),
        Value::Float(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// What the profiles of all models that send a data set say: the strictest of each.
pub(super) fn said(vault: &Vault, schema: &str) -> Result<Option<Said>, VaultError> {
    let policies = vault.policies(schema)?;
    let models: BTreeSet<String> = policies.into_values().map(|policy| policy.model).collect();
    let mut said: Option<Said> = None;
    for model in models {
        let Some(profile) = vault.profiles.profile(&model) else {
            continue;
        };
        let Some(fields) = profile.data.get(schema) else {
            continue;
        };
        let floor = profile
            .vault
            .get(schema)
            .cloned()
            .unwrap_or_default()
            .release();
        let said = said.get_or_insert_with(|| Said {
            floor,
            fields: BTreeMap::new(),
        });
        said.floor = ReleaseGoal {
            k: said.floor.k.max(floor.k),
            l: said.floor.l.max(floor.l),
            t: said.floor.t.min(floor.t),
            suppress: said.floor.suppress.min(floor.suppress),
            delay: said.floor.delay.min(floor.delay),
        };
        for (name, field) in fields {
            let known = said
                .fields
                .entry(name.to_string())
                .or_insert_with(|| field.clone());
            if strictness(field.role()) > strictness(known.role()) {
                known.role = Some(field.role());
            }
        }
    }
    Ok(said)
}

/// Which of two roles is the safer one to take: not released, made coarser, guarded by l and t, as it is.
const fn strictness(role: FieldRole) -> u8 {
    match role {
        FieldRole::Direct => 3,
        FieldRole::Quasi => 2,
        FieldRole::Sensitive => 1,
        FieldRole::Free => 0,
    }
}

/// What a column of a field is; nothing if it cannot be released: a time is no value of a device, the release is of one time.
pub(super) fn tell(name: &str, field: &Field) -> Option<Told> {
    let role = match field.role() {
        FieldRole::Direct => return None,
        FieldRole::Quasi => Role::Quasi,
        FieldRole::Sensitive => Role::Sensitive,
        FieldRole::Free => Role::Free,
    };
    let stored_at = match &field.treatment {
        Treatment::Generalise {
            to: Generalisation::Duration(_),
        } => return None,
        Treatment::Generalise {
            to: Generalisation::Level(level),
        } => usize::from(*level),
        _ if name == "time" => return None,
        _ => 0,
    };
    let hierarchy = field.hierarchy.as_ref().map(|hierarchy| {
        let row = |(value, levels): (&Category, &[Category])| -> Vec<String> {
            let all = std::iter::once(value).chain(levels);
            all.skip(stored_at).map(ToString::to_string).collect()
        };
        let rows: BTreeSet<Vec<String>> = hierarchy.rows().map(row).collect();
        rows.into_iter().collect()
    });
    Some(Told { role, hierarchy })
}

fn known_values(told: &BTreeMap<String, Told>) -> BTreeMap<String, BTreeSet<String>> {
    let of_column = |(name, told): (&String, &Told)| {
        let rows = told.hierarchy.as_ref()?;
        let values = rows.iter().filter_map(|row| row.first().cloned());
        Some((name.clone(), values.collect()))
    };
    told.iter().filter_map(of_column).collect()
}

/// Each plain value with its name and the name of the field that it is in: `location.lat` of `location`.
fn flat(fields: &Fields, each: &mut dyn FnMut(&str, &str, &Value)) {
    for (field, value) in fields {
        match value {
            Value::Map(parts) => {
                for (part, value) in parts {
                    each(&format!("{field}.{part}"), field, value);
                }
            }
            value => each(field, field, value),
        }
    }
}
