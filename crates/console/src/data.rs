//! The data sets, as the profiles and the vault have them together.

use std::collections::BTreeSet;
use std::sync::Arc;

use stockade_profile::{DataSetUse, Profile, Schema};
use stockade_vault::{Access, Action, Budget, Counters, SPENT};
use time::{Duration, OffsetDateTime};

use crate::api::records::{vault, vault_problem};
use crate::api::vault::log;
use crate::api::vault::stat;
use crate::http::Problem;
use crate::state::App;

/// Entries of the log that are read at once.
const PIECE: u64 = 1_024;
/// Pieces that are looked at for the steps of a budget.
const PIECES: usize = 20;

/// A data set.
#[derive(Debug, Clone)]
pub(crate) struct DataSet {
    pub(crate) name: String,
    pub(crate) counters: Counters,
    /// The models that send it, by name.
    pub(crate) models: Vec<(String, Arc<Profile>)>,
    /// What is left for aggregates; nothing before there are records.
    pub(crate) budget: Option<Budget>,
    /// The releases so far: number and when.
    pub(crate) releases: Vec<(u32, OffsetDateTime)>,
}

/// How a budget went: points of (0 to 1 of its time, 0 to 1 of it).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Steps {
    pub(crate) from: OffsetDateTime,
    pub(crate) points: Vec<(f64, f64)>,
}

impl DataSet {
    /// What each model's profile says of the fields, and of what they may be used for.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&str, &Schema, DataSetUse)> {
        self.models.iter().filter_map(|(model, profile)| {
            let usage = profile.vault.get(self.name.as_str()).cloned();
            let fields = profile.data.get(self.name.as_str())?;
            Some((model.as_str(), fields, usage.unwrap_or_default()))
        })
    }

    /// What single devices' records may be looked at for.
    pub(crate) fn purposes(&self) -> Vec<String> {
        let all: BTreeSet<String> = self
            .said()
            .flat_map(|(_, _, usage)| usage.purposes)
            .map(|purpose| purpose.to_string())
            .collect();
        all.into_iter().collect()
    }

    /// How long the budget is for.
    pub(crate) fn per(&self) -> std::time::Duration {
        let all = self.said().map(|(_, _, usage)| usage.budget().per);
        all.max().unwrap_or_default()
    }
}

/// All there are, by name. Blocks.
pub(crate) fn all(app: &App, access: &Access) -> Result<Vec<DataSet>, Problem> {
    let (vault, now) = (vault(app)?, app.now());
    let counters = vault.counters();
    let budgets = vault.budgets(access, now).map_err(stat::problem)?;
    let models = app.state.registry.models();
    let named = models.iter().flat_map(|model| model.profile.data.keys());
    let mut names: BTreeSet<String> = named.map(ToString::to_string).collect();
    // What names no data set has no page.
    names.extend(
        counters
            .keys()
            .filter(|name| !name.starts_with('('))
            .cloned(),
    );
    names
        .into_iter()
        .map(|name| {
            let of = |profile: &Profile| profile.data.contains_key(name.as_str());
            let models = models.iter().filter(|model| of(&model.profile));
            Ok(DataSet {
                counters: counters.get(&name).cloned().unwrap_or_default(),
                models: models
                    .map(|model| (model.name.to_string(), Arc::clone(&model.profile)))
                    .collect(),
                budget: budgets.iter().find(|it| it.data_set == name).cloned(),
                releases: vault.releases(access, &name, now).map_err(vault_problem)?,
                name,
            })
        })
        .collect()
}

/// Messages that name no known data set, by why they were refused.
pub(crate) fn strays(app: &App) -> Result<Vec<(String, u64)>, Problem> {
    let counters = vault(app)?.counters().into_iter();
    let strays = counters.filter(|(name, _)| name.starts_with('('));
    Ok(strays.flat_map(|(_, counters)| counters.refused).collect())
}

/// One of them. Blocks.
pub(crate) fn one(app: &App, access: &Access, name: &str) -> Result<DataSet, Problem> {
    let all = all(app, access)?;
    all.into_iter().find(|set| set.name == name).ok_or_else(|| {
        Problem::not_found(
            format!("there is no data set `{}`", name.escape_default()),
            "the data page shows which there are",
        )
    })
}

/// How the budget of a data set went since it was full, as far back as the newest entries of the log tell. Blocks.
pub(crate) fn steps(app: &App, set: &DataSet) -> Result<Option<Steps>, Problem> {
    let Some(budget) = &set.budget else {
        return Ok(None);
    };
    let Some(end) = budget.full_again else {
        return Ok(None);
    };
    let per = Duration::try_from(set.per()).unwrap_or(Duration::MAX);
    let from = end.checked_sub(per).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let place = |at: OffsetDateTime| (at - from).as_seconds_f64() / per.as_seconds_f64();
    let all = f64::from(budget.epsilon);
    let mut points = vec![(place(app.now()), f64::from(budget.spent) / all)];
    let log = log::of(app)?;
    let mut end = log.head().0;
    for _ in 0..PIECES {
        let begin = end.saturating_sub(PIECE);
        let many = usize::try_from(end - begin).unwrap_or_default();
        let entries = log
            .entries(begin, many)
            .map_err(|error| log::problem(&error))?;
        for (_, entry) in entries.iter().rev().filter(|(_, entry)| {
            entry.at >= from
                && entry.action == Action::Stat
                && entry.dataset.as_ref() == Some(&set.name)
        }) {
            if let Some(spent) = entry.facts.get(SPENT) {
                let spent = f64::from(u32::try_from(*spent).unwrap_or(u32::MAX)) / 1e6;
                points.push((place(entry.at), spent / all));
            }
        }
        end = begin;
        if end == 0 || entries.first().is_none_or(|(_, entry)| entry.at < from) {
            break;
        }
    }
    points.reverse();
    Ok(Some(Steps { from, points }))
}
