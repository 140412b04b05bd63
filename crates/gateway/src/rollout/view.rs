//! A roll-out as it is shown.

use serde::Serialize;
use time::OffsetDateTime;

use super::kept::{Kept, Standing, State, Taken};
use super::step::Fleet;

/// The most devices that are named.
const NAMED: usize = 100;

/// A roll-out as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// Its number.
    pub id: u64,
    /// The model.
    pub model: String,
    /// The version that its devices go to.
    pub version: u64,
    /// `running`, `halted` or `done`.
    pub state: &'static str,
    /// Why it halted, if it did.
    pub why: Option<String>,
    /// Whether it halted by itself.
    pub by_itself: bool,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// Since when it is halted or done.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// The stages; those after the present one are empty.
    pub stages: Vec<StageView>,
    /// Which stage it is at, from 1.
    pub stage: usize,
    /// Seconds for which each device is watched.
    pub wait: i64,
    /// Seconds that a device may take to come up.
    pub within: i64,
    /// The share of a stage that may fall.
    pub limit: String,
    /// Devices of the model that run the version, or a newer one.
    pub current: usize,
    /// Devices of the model that do not.
    pub behind: usize,
    /// The devices that fell.
    pub fallen: Vec<Fallen>,
}

/// A stage as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct StageView {
    /// The share of the devices, with those of the stages before.
    pub share: String,
    /// Devices that were told in it.
    pub told: usize,
    /// Of these, how many run the version.
    pub run: usize,
    /// How many fell.
    pub fell: usize,
}

/// A device that fell.
#[derive(Debug, Clone, Serialize)]
pub struct Fallen {
    /// The device.
    pub device: String,
    /// Why.
    pub why: String,
}

impl Kept {
    /// How it stands.
    pub(super) fn view(&self, fleet: &Fleet) -> View {
        let rollout = &self.rollout;
        let (state, why, by_itself, since) = match &rollout.state {
            State::Running => ("running", None, false, None),
            State::Halted { why, by_itself, at } => {
                ("halted", Some(why.clone()), *by_itself, Some(*at))
            }
            State::Done { at } => ("done", None, false, Some(*at)),
        };
        let behind = self.behind(fleet).count();
        let all = fleet
            .values()
            .filter(|it| it.may && it.model == rollout.model)
            .count();
        let stages = rollout
            .plan
            .stages
            .iter()
            .enumerate()
            .map(|(number, share)| {
                let of = |fits: fn(&Taken) -> bool| {
                    let stage = self.devices.values().filter(|it| it.stage == number);
                    stage.filter(|it| fits(it)).count()
                };
                StageView {
                    share: share.to_string(),
                    told: of(|it| it.standing != Standing::Gone),
                    run: of(|it| matches!(it.standing, Standing::Runs(_))),
                    fell: of(|it| matches!(it.standing, Standing::Fell(_))),
                }
            });
        let fallen = self
            .devices
            .iter()
            .filter_map(|(id, it)| match &it.standing {
                Standing::Fell(why) => Some(Fallen {
                    device: id.to_string(),
                    why: why.clone(),
                }),
                _ => None,
            });
        View {
            id: rollout.id,
            model: rollout.model.to_string(),
            version: rollout.version,
            state,
            why,
            by_itself,
            started: rollout.started,
            since,
            stages: stages.collect(),
            stage: rollout.stage + 1,
            wait: rollout.plan.wait,
            within: rollout.plan.within,
            limit: rollout.plan.limit.to_string(),
            current: all - behind.min(all),
            behind,
            fallen: fallen.take(NAMED).collect(),
        }
    }
}
