//! What a roll-out does next. Pure: the fleet as it is seen goes in, what is to be told comes out.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use time::{Duration, OffsetDateTime};

use super::kept::{Kept, Standing, State, Taken};
use crate::events::Outcome;
use crate::name::{DeviceId, ModelName};

/// Devices that are told in one step: a large fleet is told in many.
const AT_ONCE: usize = 256;
/// Devices that are named in one reason.
const NAMED: usize = 3;

/// A device as it is seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) model: ModelName,
    /// It is enrolled, and not revoked.
    pub(super) may: bool,
    /// Why it is in quarantine, if it is.
    pub(super) quarantine: Option<String>,
    /// It was told to be silent for too long.
    pub(super) silent: bool,
    /// When its last evidence came.
    pub(super) came: Option<OffsetDateTime>,
    /// The version of the system that runs.
    pub(super) system: Option<u64>,
    /// The rules that are broken badly.
    pub(super) wrong: BTreeSet<String>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// These get the order.
    pub(super) order: Vec<DeviceId>,
    /// These do not get it any more, if they have not got it yet.
    pub(super) withdraw: Vec<DeviceId>,
    /// What is told.
    pub(super) told: Vec<(Option<DeviceId>, Outcome, String)>,
}

pub(super) type Fleet = BTreeMap<DeviceId, Seen>;

impl Kept {
    /// A step of a roll-out that goes on.
    pub(super) fn step(&mut self, fleet: &Fleet, now: OffsetDateTime) -> Step {
        let (version, within) = (
            self.rollout.version,
            Duration::seconds(self.rollout.plan.within),
        );
        for (id, taken) in &mut self.devices {
            let seen = fleet
                .get(id)
                .filter(|it| it.may && it.model == self.rollout.model);
            taken.standing = seen.map_or(Standing::Gone, |seen| {
                taken.stands(seen, version, within, now)
            });
        }
        if let Some(why) = self.too_many_fell() {
            return self.halt(why, true, now);
        }
        let mut step = Step::default();
        self.take(fleet, now);
        let to_order = self.devices.iter().filter(|(_, taken)| taken.to_order);
        step.order = to_order.map(|(id, _)| id.clone()).take(AT_ONCE).collect();
        if step.order.is_empty() && self.settled(fleet) {
            self.advance(fleet, now, &mut step);
        }
        step
    }

    /// Halts.
    pub(super) fn halt(&mut self, why: String, by_itself: bool, now: OffsetDateTime) -> Step {
        let by = if by_itself {
            " by itself"
        } else {
            " by the operator"
        };
        let outcome = if by_itself {
            Outcome::Alarm
        } else {
            Outcome::Changed
        };
        let told = format!("roll-out {} halted{by}: {why}", self.rollout.id);
        let at = now;
        self.rollout.state = State::Halted { why, by_itself, at };
        let waits = self
            .devices
            .iter()
            .filter(|(_, it)| it.standing == Standing::Waits);
        Step {
            withdraw: waits.map(|(id, _)| id.clone()).collect(),
            told: vec![(None, outcome, told)],
            ..Step::default()
        }
    }

    /// Goes on: what is wrong now is known.
    pub(super) fn resume(&mut self, fleet: &Fleet, reason: &str, now: OffsetDateTime) -> Step {
        self.rollout.state = State::Running;
        for (id, taken) in &mut self.devices {
            let Some(seen) = fleet.get(id) else { continue };
            taken.since = now;
            taken.before.clone_from(&seen.wrong);
            taken.quarantined = seen.quarantine.is_some();
            taken.to_order = seen.system < Some(self.rollout.version);
            taken.standing = Standing::Waits;
        }
        let told = format!("roll-out {} goes on: {reason}", self.rollout.id);
        Step {
            told: vec![(None, Outcome::Changed, told)],
            ..Step::default()
        }
    }

    /// Those that are still to be taken, in the order of this roll-out. Who is silent or in quarantine is taken in the last stage only:
    /// the first ones have to show something.
    pub(super) fn open<'a>(&self, fleet: &'a Fleet) -> Vec<&'a DeviceId> {
        let last = self.rollout.stage + 1 >= self.rollout.plan.stages.len();
        let open = fleet.iter().filter(|(id, seen)| {
            let fit = last || seen.quarantine.is_none();
            seen.may
                && seen.model == self.rollout.model
                && seen.system < Some(self.rollout.version)
                && !self.devices.contains_key(*id)
                && seen.came.is_some()
                && !seen.silent
                && fit
        });
        let mut open: Vec<_> = open
            .map(|(id, _)| (place(self.rollout.id, id), id))
            .collect();
        open.sort_unstable();
        open.into_iter().map(|(_, id)| id).collect()
    }

    fn take(&mut self, fleet: &Fleet, now: OffsetDateTime) {
        let open = self.open(fleet);
        let stands = self
            .devices
            .values()
            .filter(|it| it.standing != Standing::Gone);
        let there = stands.count();
        let share = self.rollout.plan.stages.get(self.rollout.stage);
        let wanted = share.map_or(0, |share| share.of(there + open.len()));
        for id in open.into_iter().take(wanted.saturating_sub(there)) {
            let Some(seen) = fleet.get(id) else { continue };
            let taken = Taken {
                stage: self.rollout.stage,
                since: now,
                to_order: true,
                before: seen.wrong.clone(),
                quarantined: seen.quarantine.is_some(),
                standing: Standing::Waits,
            };
            self.devices.insert(id.clone(), taken);
        }
    }

    /// Why the roll-out halts, if too many devices of a stage fell.
    fn too_many_fell(&self) -> Option<String> {
        for (number, share) in self.rollout.plan.stages.iter().enumerate() {
            let stage = self.devices.iter().filter(|(_, it)| it.stage == number);
            let there: Vec<_> = stage
                .filter(|(_, it)| it.standing != Standing::Gone)
                .collect();
            let fell: Vec<String> = there.iter().filter_map(|(id, it)| it.fell(id)).collect();
            if self.rollout.plan.limit.exceeded(fell.len(), there.len()) {
                let more = match fell.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!("; and {more} more"),
                };
                let named: Vec<&str> = fell.iter().take(NAMED).map(String::as_str).collect();
                let (count, all) = (fell.len(), there.len());
                return Some(format!(
                    "of stage {share}, {count} of {all} devices fell: {}{more}",
                    named.join("; ")
                ));
            }
        }
        None
    }

    /// Whether every device of the stages so far has shown what it does with the version for long enough, and there is one at least.
    fn settled(&self, fleet: &Fleet) -> bool {
        let wait = Duration::seconds(self.rollout.plan.wait);
        let mut all = self
            .devices
            .iter()
            .filter(|(_, it)| it.standing != Standing::Gone)
            .peekable();
        let last = self.rollout.stage + 1 >= self.rollout.plan.stages.len();
        (last || all.peek().is_some())
            && all.all(|(id, taken)| match &taken.standing {
                Standing::Waits => false,
                Standing::Fell(_) | Standing::Gone => true,
                Standing::Runs(since) => fleet
                    .get(id)
                    .and_then(|it| it.came)
                    .is_some_and(|came| came - *since >= wait),
            })
    }

    fn advance(&mut self, fleet: &Fleet, now: OffsetDateTime, step: &mut Step) {
        let id = self.rollout.id;
        if let Some(share) = self.rollout.plan.stages.get(self.rollout.stage + 1) {
            self.rollout.stage += 1;
            step.told.push((
                None,
                Outcome::Changed,
                format!("roll-out {id} goes to stage {share}"),
            ));
            return;
        }
        if self.behind(fleet).next().is_some() {
            return;
        }
        self.rollout.state = State::Done { at: now };
        let (model, version) = (&self.rollout.model, self.rollout.version);
        let told = format!("roll-out {id} is done: {model} runs version {version}");
        step.told.push((None, Outcome::Changed, told));
    }

    /// Devices of the model that do not run the version, for whatever reason.
    pub(super) fn behind<'a>(&self, fleet: &'a Fleet) -> impl Iterator<Item = &'a DeviceId> {
        let (model, version) = (self.rollout.model.clone(), self.rollout.version);
        let behind = move |(_, seen): &(&DeviceId, &Seen)| {
            seen.may && seen.model == model && seen.system < Some(version)
        };
        fleet.iter().filter(behind).map(|(id, _)| id)
    }
}

impl Taken {
    fn stands(&self, seen: &Seen, version: u64, within: Duration, now: OffsetDateTime) -> Standing {
        let new: Vec<&str> = seen
            .wrong
            .difference(&self.before)
            .map(String::as_str)
            .collect();
        if !new.is_empty() {
            return Standing::Fell(format!("does not hold any more: {}", new.join(", ")));
        }
        if let Some(why) = seen.quarantine.as_ref().filter(|_| !self.quarantined) {
            return Standing::Fell(format!("in quarantine: {why}"));
        }
        let heard = seen.came.map_or(self.since, |came| came.max(self.since));
        if seen.silent || now - heard > within {
            return Standing::Fell("silent since it was told".to_owned());
        }
        if seen.system >= Some(version) {
            let since = match &self.standing {
                Standing::Runs(since) => *since,
                _ => heard,
            };
            return Standing::Runs(since);
        }
        if now - self.since > within {
            return Standing::Fell(format!("did not come up with version {version} in time"));
        }
        Standing::Waits
    }

    /// Who fell, and why.
    pub(super) fn fell(&self, id: &DeviceId) -> Option<String> {
        match &self.standing {
            Standing::Fell(why) => Some(format!("{id}: {why}")),
            _ => None,
        }
    }
}

/// The place of a device in the order of a roll-out: another one in each, so that it is not always the same who is first.
fn place(rollout: u64, id: &DeviceId) -> Vec<u8> {
    let named = format!("{rollout}/{id}");
    digest::digest(&digest::SHA256, named.as_bytes())
        .as_ref()
        .to_vec()
}
