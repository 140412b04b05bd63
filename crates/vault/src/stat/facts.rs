//! What is known of a data set without looking at a record: what the profiles say.

use std::collections::BTreeSet;
use std::time::Duration;

use stockade_dp::{Contribution, DataSet, Epsilon, Field, Fixed};
use stockade_profile::{self as profile, DataSetUse, FieldRole, Generalisation, Treatment};

use crate::vault::{Vault, VaultError};

/// A data set, as the profiles of all models that send it say together.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) schema: String,
    pub(super) set: DataSet,
    /// The smallest budget that a profile allows.
    pub(super) epsilon: Epsilon,
    /// The longest time that it is for.
    pub(super) per: Duration,
}

impl Facts {
    /// Of one data set, or of all that there are records of.
    pub(super) fn load(vault: &Vault, schema: Option<&str>) -> Result<Vec<Self>, VaultError> {
        let names: Vec<String> = match schema {
            Some(schema) => vec![schema.to_owned()],
            None => vault.data_sets(),
        };
        let mut all = Vec::new();
        for name in names {
            let mut models: Vec<String> = vault
                .policies(&name)?
                .into_values()
                .map(|policy| policy.model)
                .collect();
            models.sort();
            models.dedup();
            let mut facts: Option<Self> = None;
            for model in models {
                let Some(profile) = vault.profiles.profile(&model) else {
                    continue;
                };
                let Some(fields) = profile.data.get(name.as_str()) else {
                    continue;
                };
                let usage = profile
                    .vault
                    .get(name.as_str())
                    .cloned()
                    .unwrap_or_default();
                let of_model = Self::of(&name, fields, &usage);
                facts = Some(match facts {
                    None => of_model,
                    Some(facts) => facts.and(of_model),
                });
            }
            all.extend(facts);
        }
        Ok(all)
    }

    pub(super) fn of(name: &str, fields: &profile::Schema, usage: &DataSetUse) -> Self {
        let budget = usage.budget();
        let epsilon = u64::try_from(budget.epsilon.millionths()).unwrap_or_default();
        let epsilon = Epsilon::from_millionths(epsilon).unwrap_or(Epsilon::MAX);
        let bound = usage.contribution();
        Self {
            schema: name.to_owned(),
            set: DataSet {
                fields: fields
                    .iter()
                    .map(|(name, said)| (name.to_string(), field(said)))
                    .collect(),
                contribution: Contribution {
                    per: u32::try_from(bound.per.as_secs()).unwrap_or(u32::MAX),
                    records: bound.records,
                },
            },
            epsilon,
            per: budget.per,
        }
    }

    /// Bounds that hold for both: the wider ranges and lists, the larger share of one device, the smaller budget.
    fn and(mut self, other: Self) -> Self {
        for (name, theirs) in other.set.fields {
            let ours = self.set.fields.entry(name).or_default();
            *ours = Field {
                range: match (ours.range, theirs.range) {
                    (Some((low, high)), Some((low2, high2))) => {
                        Some((low.min(low2), high.max(high2)))
                    }
                    (ours, theirs) => ours.or(theirs),
                },
                values: match (ours.values.take(), theirs.values) {
                    (Some(mut ours), Some(theirs)) => {
                        ours.extend(theirs);
                        ours.sort();
                        ours.dedup();
                        Some(ours)
                    }
                    (ours, theirs) => ours.or(theirs),
                },
                hidden: ours.hidden.or(theirs.hidden),
            };
        }
        let larger = |bound: &Contribution| bound.records;
        self.set.contribution =
            std::cmp::max_by_key(self.set.contribution, other.set.contribution, larger);
        self.epsilon = self.epsilon.min(other.epsilon);
        self.per = self.per.max(other.per);
        self
    }
}

fn field(said: &profile::Field) -> Field {
    let hidden = match (&said.treatment, said.role()) {
        (Treatment::Drop, _) => Some("is never stored"),
        (Treatment::Seal { .. }, _) => Some("is sealed: only its readers can open it"),
        (
            Treatment::Generalise {
                to: Generalisation::Distance(_),
            },
            _,
        ) => Some("is a place: ask by a field that names regions"),
        (_, FieldRole::Direct) => {
            Some("tells devices or people apart, which an aggregate does not")
        }
        _ => None,
    };
    let fixed = |number: profile::Decimal| Fixed::from_millionths(number.millionths());
    let range = said
        .range
        .and_then(|range| fixed(range.min).zip(fixed(range.max)));
    Field {
        range,
        values: values(said),
        hidden,
    }
}

/// The values that a field can have, where its hierarchy names them.
fn values(said: &profile::Field) -> Option<Vec<String>> {
    let rows = said.hierarchy.as_ref()?.rows();
    let mut all = BTreeSet::new();
    for (value, levels) in rows {
        let stored = match &said.treatment {
            Treatment::Generalise {
                to: Generalisation::Level(level),
            } => levels.get(usize::from(*level).checked_sub(1)?)?,
            _ => value,
        };
        all.insert(stored.to_string());
    }
    Some(all.into_iter().collect())
}
