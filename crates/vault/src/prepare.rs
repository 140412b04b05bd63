//! What a message becomes before it is on the bus: treated, and nothing of what the profile does not let be stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use stockade_profile::{Generalisation, Profile, Schema, Scope, Treatment};
use stockade_store::telemetry::Record;
use stockade_store::{Batch, Store, Table};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::counters::{Counters, Refusal};
use crate::keys::{Keys, SubjectId};
use crate::payload::{PayloadError, decode};
use crate::record::StoredRecord;
use crate::treat::{DataSetKeys, Dropped, StoredReaders, Treating, treat};
use crate::value::{Fields, Value};
use crate::vault::{Profiles, Subject, VaultError, damaged};

/// [`Policy`] by [`PolicyId`].
pub(crate) const POLICIES: Table = Table::new("vault.policies");
/// The form written here.
const FORM: u8 = 0xd1;
const DAY: u64 = 86_400;

/// Which policy a record was treated by.
pub(crate) type PolicyId = [u8; 16];

/// What a block's policy says to who reads it: as it was when the records were treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    v: u8,
    /// Whose devices.
    pub(crate) model: String,
    /// The data set.
    pub(crate) schema: String,
    /// Fields whose pseudonyms are made anew for each purpose of a query.
    pub(crate) per_purpose: Vec<String>,
}

impl Policy {
    /// The policy of a block.
    pub(crate) fn load(store: &dyn Store, id: &PolicyId) -> Result<Option<Self>, VaultError> {
        let Some(bytes) = store.get(POLICIES, id)? else {
            return Ok(None);
        };
        ciborium::from_reader(bytes.as_slice())
            .ok()
            .filter(|policy: &Self| policy.v == 1)
            .map(Some)
            .ok_or_else(|| damaged("a policy", "not what this version writes"))
    }

    /// Every policy there is.
    pub(crate) fn all(store: &dyn Store) -> Result<BTreeMap<PolicyId, Self>, VaultError> {
        let mut all = BTreeMap::new();
        for (id, _) in store.scan(POLICIES, stockade_store::Scan::all())? {
            let id = id
                .try_into()
                .map_err(|_| damaged("a policy", "its name is not of 16 bytes"))?;
            all.extend(Self::load(store, &id)?.map(|policy| (id, policy)));
        }
        Ok(all)
    }
}

/// A message as it is on the bus, inside of its seal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prepared<'a> {
    pub(crate) schema: &'a str,
    /// Fields that are not stored, and how many of each.
    pub(crate) lost: Vec<(&'a str, Dropped)>,
    pub(crate) outcome: Outcome<'a>,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    Refused(Refusal),
    Stored {
        subject: SubjectId,
        policy: PolicyId,
        /// The day of storing is no finer than this many days.
        step: u16,
        /// The record: fields and names of withheld ones.
        record: &'a [u8],
    },
}

impl<'a> Prepared<'a> {
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(256));
        out.push(FORM);
        put_text(&mut out, self.schema);
        // A payload has fewer fields than that (`MAX_VALUES`).
        out.extend(
            u16::try_from(self.lost.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        for (field, why) in self.lost.iter().take(u16::MAX.into()) {
            out.push(loss_id(*why));
            put_text(&mut out, field);
        }
        match &self.outcome {
            Outcome::Refused(why) => out.extend([0, refusal_id(*why)]),
            Outcome::Stored {
                subject,
                policy,
                step,
                record,
            } => {
                out.push(1);
                out.extend(subject.as_bytes());
                out.extend(policy);
                out.extend(step.to_be_bytes());
                out.extend_from_slice(record);
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (form, rest) = bytes.split_first()?;
        if *form != FORM {
            return None;
        }
        let (schema, rest) = take_text(rest)?;
        let (count, mut rest) = rest.split_first_chunk()?;
        let mut lost = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (why, after) = rest.split_first()?;
            let (field, after) = take_text(after)?;
            lost.push((field, LOSSES.into_iter().find(|it| loss_id(*it) == *why)?));
            rest = after;
        }
        let outcome = match rest.split_first()? {
            (0, [why]) => {
                Outcome::Refused(REFUSALS.into_iter().find(|it| refusal_id(*it) == *why)?)
            }
            (1, rest) => {
                let (subject, rest) = rest.split_first_chunk()?;
                let (policy, rest) = rest.split_first_chunk()?;
                let (step, record) = rest.split_first_chunk()?;
                Outcome::Stored {
                    subject: SubjectId::from_bytes(*subject),
                    policy: *policy,
                    step: u16::from_be_bytes(*step),
                    record,
                }
            }
            _ => return None,
        };
        Some(Self {
            schema,
            lost,
            outcome,
        })
    }
}

const LOSSES: [Dropped; 4] = [
    Dropped::Unnamed,
    Dropped::ByProfile,
    Dropped::WrongShape,
    Dropped::Sealed,
];

const fn loss_id(why: Dropped) -> u8 {
    match why {
        Dropped::Unnamed => 1,
        Dropped::ByProfile => 2,
        Dropped::WrongShape => 3,
        Dropped::Sealed => 4,
    }
}

/// What a gateway refuses; the others are the vault's.
const REFUSALS: [Refusal; 5] = [
    Refusal::UnknownModel,
    Refusal::UnknownSchema,
    Refusal::NeitherJsonNorCbor,
    Refusal::Malformed,
    Refusal::NothingLeft,
];

const fn refusal_id(why: Refusal) -> u8 {
    match why {
        Refusal::UnknownModel => 1,
        Refusal::UnknownSchema => 2,
        Refusal::NeitherJsonNorCbor => 3,
        Refusal::Malformed => 4,
        Refusal::NothingLeft => 5,
        Refusal::NotARecord | Refusal::Unreadable | Refusal::Erased | Refusal::NoKey => 0,
    }
}

/// Whether bytes are a prepared message: nothing else goes on the bus as telemetry.
pub(crate) fn is_prepared(bytes: &[u8]) -> bool {
    bytes.first() == Some(&FORM)
}

/// Names are far shorter than 64 KiB; a longer one would be cut.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = text
        .as_bytes()
        .get(..u16::MAX.into())
        .unwrap_or(text.as_bytes());
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text);
}

fn take_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Treats messages on their way to the bus.
#[derive(Debug)]
pub(crate) struct Preparer {
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    profiles: Arc<dyn Profiles>,
    /// By model and data set; as long as the profile is the same.
    rules: Mutex<BTreeMap<String, BTreeMap<String, Arc<Rules>>>>,
}

/// How the messages of one model and data set are treated.
#[derive(Debug)]
struct Rules {
    profile: Arc<Profile>,
    keys: DataSetKeys,
    policy: PolicyId,
    step: u16,
}

impl Preparer {
    pub(crate) fn new(store: Arc<dyn Store>, keys: Arc<Keys>, profiles: Arc<dyn Profiles>) -> Self {
        Self {
            store,
            keys,
            profiles,
            rules: Mutex::default(),
        }
    }

    /// The message as it may be on the bus. Only a failure of this program is an error: what a device sent is refused, and
    /// the refusal goes to the vault, to be counted.
    pub(crate) fn prepare(&self, record: &Record<'_>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let refused = |schema, why| {
            Prepared {
                schema,
                lost: Vec::new(),
                outcome: Outcome::Refused(why),
            }
            .encode()
        };
        let Some(profile) = self.profiles.profile(&record.model) else {
            return Ok(refused("", Refusal::UnknownModel));
        };
        let Some(schema) = profile.data.get(&*record.schema) else {
            return Ok(refused("", Refusal::UnknownSchema));
        };
        let mut fields = match decode(&record.payload) {
            Ok(fields) => fields,
            Err(PayloadError::Neither) => {
                return Ok(refused(&record.schema, Refusal::NeitherJsonNorCbor));
            }
            Err(_) => return Ok(refused(&record.schema, Refusal::Malformed)),
        };
        add_transport(record, schema, &mut fields);
        let rules = self.rules(&profile, &record.model, &record.schema, schema)?;
        let subject = self.keys.subject(&Subject {
            model: record.model.to_string(),
            device: record.device.to_string(),
        })?;
        let by = Treating {
            keys: &rules.keys,
            secret: subject.secret(),
            readers: &StoredReaders(&*self.store),
            device: &record.device,
            at: moment(record.at_unix_ms),
        };
        let treated = treat(schema, fields, by);
        let lost: Vec<_> = treated
            .dropped
            .iter()
            .map(|(field, why)| (Counters::name(field, *why), *why))
            .collect();
        let withheld: Vec<_> = treated
            .dropped
            .iter()
            .filter(|(_, why)| *why == Dropped::Sealed)
            .map(|(field, _)| field.as_str())
            .collect();
        let stored = Zeroizing::new(StoredRecord::encode(&treated.fields, &withheld));
        let outcome = if treated.fields.is_empty() {
            Outcome::Refused(Refusal::NothingLeft)
        } else {
            Outcome::Stored {
                subject: subject.id,
                policy: rules.policy,
                step: rules.step,
                record: &stored,
            }
        };
        Ok(Prepared {
            schema: &record.schema,
            lost,
            outcome,
        }
        .encode())
    }

    fn rules(
        &self,
        profile: &Arc<Profile>,
        model: &str,
        name: &str,
        schema: &Schema,
    ) -> Result<Arc<Rules>, VaultError> {
        let mut all = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = all.get(model).and_then(|of_model| of_model.get(name))
            && Arc::ptr_eq(&rules.profile, profile)
        {
            return Ok(Arc::clone(rules));
        }
        let canonical = profile.canonical();
        let mut context = Context::new(&SHA256);
        for part in [
            b"stockade vault policy 1".as_slice(),
            name.as_bytes(),
            &canonical,
        ] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut policy = PolicyId::default();
        for (to, from) in policy.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        let per_purpose = |field: &Treatment| {
            matches!(
                field,
                Treatment::Pseudonym {
                    scope: Scope::Purpose,
                    ..
                }
            )
        };
        let told = Policy {
            v: 1,
            model: model.to_owned(),
            schema: name.to_owned(),
            per_purpose: schema
                .iter()
                .filter(|(_, field)| per_purpose(&field.treatment))
                .map(|(name, _)| name.to_string())
                .collect(),
        };
        let mut bytes = Vec::new();
        ciborium::into_writer(&told, &mut bytes)
            .map_err(|error| damaged("a policy", &error.to_string()))?;
        if self.store.get(POLICIES, &policy)?.as_ref() != Some(&bytes) {
            let mut batch = Batch::new();
            batch.put(POLICIES, policy, bytes);
            self.store.commit(batch)?;
        }
        let rules = Arc::new(Rules {
            profile: Arc::clone(profile),
            keys: DataSetKeys::new(&self.keys, model, name)?,
            policy,
            step: time_step(schema),
        });
        all.entry(model.to_owned())
            .or_default()
            .insert(name.to_owned(), Arc::clone(&rules));
        Ok(rules)
    }
}

/// Adds what the gateway knows and the schema names. Who sent it is the gateway's to say: a device that names another
/// in its payload is not believed.
fn add_transport(record: &Record<'_>, schema: &Schema, fields: &mut Fields) {
    if schema.contains_key("device") {
        fields.insert("device".to_owned(), Value::Text(record.device.to_string()));
    }
    if schema.contains_key("time") {
        fields
            .entry("time".to_owned())
            .or_insert_with(|| Value::Integer(record.at_unix_ms.into()));
    }
}

/// A gateway's clock may show anything.
fn moment(unix_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The step in days that the schema's time is rounded to, if it is that coarse.
fn time_step(schema: &Schema) -> u16 {
    let days = match schema.get("time").map(|field| &field.treatment) {
        Some(Treatment::Generalise {
            to: Generalisation::Duration(step),
        }) => step.as_secs() / DAY,
        _ => 1,
    };
    u16::try_from(days.max(1)).unwrap_or(u16::MAX)
}
