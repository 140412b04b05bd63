//! What a death in the middle, or the end of a trial, left behind: found by looking at the kernel, and tidied up.

use std::time::Duration;

use stockade_controls::firewall::compile::{Slot as Place, TABLE, TRIAL};
use stockade_controls::firewall::nft::{Family, Ruleset};

use super::rules::{self, Side};
use super::state::{Slot, State};
use super::{Cut, Firewall, FirewallError, cut, kernel, plan_of, remembered};
use crate::netlink::sets::{SetName, Sets};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Nothing to tidy up.
    Quiet,
    /// Rules are on trial.
    Trial {
        /// How much of its time is left.
        left: Duration,
    },
    /// A trial ended without confirmation: the rules from before are in force.
    Ended,
    /// Rules had reached the kernel, and are now remembered as those that are in force.
    Finished,
    /// Rules had not reached the kernel: those from before are in force.
    Unfinished,
}

/// The kernel and what is remembered, brought together.
#[derive(Debug)]
pub(super) struct Now {
    /// What was found.
    pub(super) settled: Settled,
    /// Our tables, as they are now.
    pub(super) held: Ruleset,
}

impl Firewall {
    /// Compares what is remembered with what the kernel has, and brings the two together.
    pub(super) fn settle(&self, state: &State) -> Result<Now, FirewallError> {
        let held = kernel::read(&self.nft)?;
        let pending = state.read(Slot::Pending)?;
        if rules::is_trial(&held) {
            if let Some(left) = time_left(&held)? {
                let settled = Settled::Trial { left };
                return Ok(Now { settled, held });
            }
            self.end_trial(state, &held)?;
            let held = kernel::read(&self.nft)?;
            let settled = Settled::Ended;
            return Ok(Now { settled, held });
        }
        let settled = match pending {
            None => Settled::Quiet,
            Some(pending)
                if pending.told.upnp.is_none()
                    && Place::of(&held) == Some(rules::slot(pending.slot)) =>
            {
                let before = plan_of(state, Slot::Confirmed)?;
                state.promote()?;
                cut(&remembered(&pending, None)?, before.as_slice())?;
                Settled::Finished
            }
            Some(_) => {
                state.forget(Slot::Pending)?;
                Settled::Unfinished
            }
        };
        Ok(Now { settled, held })
    }

    /// Only the rules before the trial are left; what was opened under the others and they do not allow is cut.
    pub(super) fn end_trial(&self, state: &State, both: &Ruleset) -> Result<Cut, FirewallError> {
        self.put(both, &old_side(both))?;
        // While UPnP was on, names were those of the confirmed rules; its interface may be gone by now.
        let tried = state.read(Slot::Pending)?;
        let tried = tried.filter(|it| it.told.upnp.is_none());
        let tried = tried.map(|it| remembered(&it, None)).transpose()?;
        state.forget(Slot::Pending)?;
        let Some(confirmed) = plan_of(state, Slot::Confirmed)? else {
            return Ok(Cut::default());
        };
        let mut before = vec![confirmed.clone()];
        before.extend(tried);
        cut(&confirmed, &before)
    }
}

/// The rules that a trial goes back to.
pub(super) fn old_side(both: &Ruleset) -> Ruleset {
    rules::side(&rules::with_dynamic_sets(both.clone()), Side::Old)
}

/// The rules on trial.
pub(super) fn new_side(both: &Ruleset) -> Ruleset {
    rules::side(&rules::with_dynamic_sets(both.clone()), Side::New)
}

/// How long the kernel keeps the new rules; none if it went back already.
pub(super) fn time_left(ruleset: &Ruleset) -> Result<Option<Duration>, FirewallError> {
    let mut sets = Sets::open()?;
    let mut least: Option<Duration> = None;
    for table in &ruleset.tables {
        if table.set(TRIAL).is_none() {
            continue;
        }
        let clock = SetName {
            family: table.family,
            table: TABLE.to_owned(),
            set: TRIAL.to_owned(),
        };
        let left = sets.list(&clock)?.iter().filter_map(|it| it.left).min();
        // The packets' table is the one that counts; all were written in one moment.
        match left {
            None if table.family == Family::Inet => return Ok(None),
            None => (),
            Some(left) => least = Some(least.map_or(left, |least| least.min(left))),
        }
    }
    Ok(least)
}
