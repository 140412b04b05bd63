//! The firewall of this machine: applied, confirmed, taken back, compared.
//!
//! New rules may be put on trial: they stand beside the old ones in the kernel, which goes back to the old ones by itself
//! when nobody confirms in time, whatever has died meanwhile (`docs/decisions/0121-trial-in-the-kernel.md`).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use stockade_controls::firewall::check::{Difference, Verdict, compare, differences};
use stockade_controls::firewall::compile::{self, Slot as Place, device};
use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::nft::Ruleset;
use stockade_controls::firewall::policy::{Policy, Side, Unmet};
use stockade_controls::firewall::surroundings::Surroundings;
use stockade_profile::Profile;

use crate::nft::Nft;
use crate::surroundings::{SurroundingsError, Told, UpnpPlace, look};

mod error;
pub(crate) mod flow;
mod kernel;
mod names;
mod rules;
mod settle;
mod standing;
mod state;

pub use error::FirewallError;
use error::{TRIAL, WINDOW};
pub use flow::{Cut, question};
pub use names::Names;
pub use settle::Settled;
pub use standing::standing;
pub use state::{Record, StateError};
use state::{Slot, State};

/// Where the firewall remembers, unless it is told otherwise.
pub const FOLDER: &str = "/var/lib/stockade/firewall";
/// A profile that is to be enforced, and where.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The profile.
    pub profile: Profile,
    /// The profile as it was given: what is remembered.
    pub text: String,
    /// What the operator says about the place.
    pub told: Told,
    /// The remote session that it is applied from, if it is one.
    pub session: Option<String>,
}

/// A profile with all that follows from it here.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The place.
    pub around: Surroundings,
    /// The rules in the words of decisions.
    pub policy: Policy,
    /// The rules for the kernel, in force at once.
    pub ruleset: Ruleset,
}

impl Plan {
    /// What follows from a profile, as this machine stands now. Nothing is changed.
    pub fn of(profile: &Profile, told: &Told) -> Result<Self, SurroundingsError> {
        Ok(Self::at(profile, look(profile, told)?, Place::A))
    }

    /// What follows from a profile in given surroundings, with its chains in this of the two places.
    pub fn at(profile: &Profile, around: Surroundings, place: Place) -> Self {
        let policy = Policy::of(profile, &around, Side::Device);
        let ruleset = device(&policy, &around, place);
        Self {
            around,
            policy,
            ruleset,
        }
    }
}

/// From when on the rules hold for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// They are taken back after this time, unless they are confirmed.
    Trial(Duration),
    /// At once.
    AtOnce,
}

/// What applying did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// For how long they are on trial.
    pub trial: Option<Duration>,
    /// The flows that were open.
    pub cut: Cut,
    /// Rules of the profile that allow nothing here.
    pub unmet: Vec<Unmet>,
    /// What was found to be tidied up first.
    pub settled: Settled,
    /// Whether the rules decide as the profile does: they do, or it could not be said.
    pub judged: Checked,
}

/// The firewall of this machine.
#[derive(Debug)]
pub struct Firewall {
    nft: Nft,
    folder: PathBuf,
    judging: bool,
}

impl Firewall {
    /// The firewall that remembers in this folder.
    pub fn at(folder: &Path) -> Result<Self, FirewallError> {
        Ok(Self::with(Nft::find()?, folder))
    }

    /// The same with another `nft`, for tests of how it fails.
    #[doc(hidden)]
    pub fn with(nft: Nft, folder: &Path) -> Self {
        Self {
            nft,
            folder: folder.to_owned(),
            judging: true,
        }
    }

    /// Takes it on trust that rules decide as their profile: for tests that apply hundreds of times what others judge.
    #[doc(hidden)]
    #[must_use]
    pub fn trusting(mut self) -> Self {
        self.judging = false;
        self
    }

    /// Whether nft and the kernel would take the rules. Nothing is changed.
    pub fn dry_run(&self, plan: &Plan) -> Result<(), FirewallError> {
        let held = kernel::text(&self.nft)?;
        let transaction = kernel::replacing(&held, &plan.ruleset.to_string());
        Ok(self.nft.check(&transaction)?)
    }

    /// Puts the rules of a profile into force, all of them or none; what was in force stays if anything goes wrong.
    pub fn apply(&self, wanted: &Wanted, how: How) -> Result<Applied, FirewallError> {
        let trial = match how {
            How::Trial(time) if TRIAL.contains(&time.as_secs()) => Some(time),
            How::Trial(_) => return Err(FirewallError::Trial),
            How::AtOnce => None,
        };
        if wanted.told.upnp.is_some() {
            return Err(FirewallError::Window("it comes with no profile"));
        }
        self.apply_in(&State::take(&self.folder)?, wanted, trial)
    }

    /// Switches `UPnP` on for a time: the rules that are in force, and with them what it needs, as a trial that nobody can
    /// confirm. The kernel itself goes back when the time is over, whatever has died meanwhile.
    pub fn open_window(&self, place: &UpnpPlace, time: Duration) -> Result<Applied, FirewallError> {
        let refused = |why| Err(FirewallError::Window(why));
        let state = State::take(&self.folder)?;
        if let Settled::Trial { .. } = self.settle(&state)?.settled {
            return refused("it is on already, or other rules are on trial");
        }
        let Some(record) = state.read(Slot::Confirmed)? else {
            return refused("no profile is in force");
        };
        let profile = profile_of(&record)?;
        let most = profile.upnp.max_duration;
        match most.filter(|_| profile.upnp.allow_enable) {
            None => return refused("the profile does not allow it"),
            Some(most) if time > most => {
                return refused("the profile does not allow it for so long");
            }
            Some(_) if !WINDOW.contains(&time.as_secs()) => return refused("for too short a time"),
            Some(_) => (),
        }
        let mut wanted = Wanted {
            profile,
            text: record.profile,
            told: record.told,
            session: None,
        };
        wanted.told.upnp = Some(place.clone());
        self.apply_in(&state, &wanted, Some(time))
    }

    /// Switches `UPnP` off before its time is over; whether it was on.
    pub fn close_window(&self) -> Result<Option<Cut>, FirewallError> {
        let state = State::take(&self.folder)?;
        let now = self.settle(&state)?;
        match (now.settled, state.read(Slot::Pending)?) {
            (Settled::Trial { .. }, Some(pending)) if pending.told.upnp.is_some() => {
                self.end_trial(&state, &now.held).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn apply_in(
        &self,
        state: &State,
        wanted: &Wanted,
        trial: Option<Duration>,
    ) -> Result<Applied, FirewallError> {
        let around = look(&wanted.profile, &wanted.told)?;
        // What somebody else wrote into our tables goes with them.
        let now = match self.settle(state) {
            Err(FirewallError::Foreign(_)) => settle::Now {
                settled: Settled::Quiet,
                held: Ruleset::default(),
            },
            now => now?,
        };
        let confirmed = state.read(Slot::Confirmed)?;
        let before = confirmed
            .as_ref()
            .map(|it| remembered(it, None))
            .transpose()?;
        let old = old(&now.held, before.as_ref());
        let place = Place::of(&old).map_or(Place::A, Place::other);
        let plan = Plan::at(&wanted.profile, around, place);
        // Before anything is touched: what is read back afterwards has to be the very same rules.
        let judged = if self.judging {
            judged(&plan, &plan.ruleset, &World::default())
        } else {
            Checked::Unjudged("nobody asked".to_owned())
        };
        if let Checked::Wrong(what) = judged {
            return Err(FirewallError::Wrong(what));
        }
        let mut record = Record::new(
            wanted.text.clone(),
            wanted.told.clone(),
            plan.ruleset.to_string(),
        );
        record.slot = rules::number(place);
        record.applied = clock()?;
        record.at_once = trial.is_none();
        record.session.clone_from(&wanted.session);
        state.write(Slot::Pending, &record)?;
        let put = match trial {
            Some(time) => {
                let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
                self.put(&now.held, &compile::trial(&old, &plan.ruleset, seconds))
            }
            None => self.put(&now.held, &plan.ruleset),
        };
        if let Err(error) = put {
            // What is in force is what was: the record of what was wished for is of no use.
            state.forget(Slot::Pending)?;
            return Err(error);
        }
        if trial.is_none() {
            state.promote().map_err(FirewallError::NotRecorded)?;
        }
        Ok(Applied {
            trial,
            cut: cut(&plan, before.as_slice())?,
            unmet: plan.policy.unmet,
            settled: now.settled,
            judged,
        })
    }

    /// The rules on trial hold for good.
    pub fn confirm(&self) -> Result<Cut, FirewallError> {
        let state = State::take(&self.folder)?;
        let now = self.settle(&state)?;
        match now.settled {
            Settled::Trial { .. } => (),
            Settled::Ended => {
                return Err(FirewallError::NoTrial(
                    "the trial ended without confirmation, and the rules from before are in force",
                ));
            }
            Settled::Finished => return Ok(Cut::default()),
            Settled::Quiet | Settled::Unfinished => {
                return Err(FirewallError::NoTrial(
                    "`stockade firewall apply` starts one",
                ));
            }
        }
        let pending = state.read(Slot::Pending)?;
        let pending = pending.ok_or(FirewallError::NoTrial("the record of it is gone"))?;
        if pending.told.upnp.is_some() {
            return Err(FirewallError::NoTrial("UPnP is on, and ends by itself"));
        }
        let plan = remembered(&pending, None)?;
        let before = plan_of(&state, Slot::Confirmed)?;
        // The very rules that were tried, not what would follow from the profile by now.
        self.put(&now.held, &settle::new_side(&now.held))?;
        state.promote().map_err(FirewallError::NotRecorded)?;
        cut(&plan, before.as_slice())
    }

    /// Back to the rules before: before the trial, or before those that were confirmed last.
    pub fn undo(&self) -> Result<Cut, FirewallError> {
        let state = State::take(&self.folder)?;
        let now = self.settle(&state)?;
        if matches!(now.settled, Settled::Trial { .. }) {
            return self.end_trial(&state, &now.held);
        }
        let previous = state.read(Slot::Previous)?;
        let mut record = previous.ok_or(FirewallError::NothingBefore)?;
        let place = Place::of(&now.held).map_or(Place::A, Place::other);
        let plan = remembered(&record, Some(place))?;
        record.slot = rules::number(place);
        record.applied = clock()?;
        state.write(Slot::Pending, &record)?;
        if let Err(error) = self.put(&now.held, &plan.ruleset) {
            state.forget(Slot::Pending)?;
            return Err(error);
        }
        let before = plan_of(&state, Slot::Confirmed)?;
        state.promote().map_err(FirewallError::NotRecorded)?;
        cut(&plan, before.as_slice())
    }

    /// Brings the rules of the confirmed profile up to date with where this machine stands now: its addresses, its
    /// services, a restart. Whether anything had to be changed; none if nothing was ever confirmed.
    pub fn refresh(&self) -> Result<Option<bool>, FirewallError> {
        let state = State::take(&self.folder)?;
        let held = match self.settle(&state) {
            Ok(now) if matches!(now.settled, Settled::Trial { .. }) => return Ok(Some(false)),
            Ok(now) => now.held,
            Err(FirewallError::Foreign(_)) => Ruleset::default(),
            Err(error) => return Err(error),
        };
        let Some(record) = state.read(Slot::Confirmed)? else {
            return Ok(None);
        };
        let place = Place::of(&held);
        let plan = remembered(&record, place)?;
        if place.is_some() && differences(&plan.ruleset, &held).is_empty() {
            return Ok(Some(false));
        }
        self.put(&held, &plan.ruleset)?;
        cut(&plan, std::slice::from_ref(&plan))?;
        Ok(Some(true))
    }

    /// Takes all our tables away; everything passes then.
    pub fn off(&self) -> Result<(), FirewallError> {
        let state = State::take(&self.folder)?;
        self.put(&Ruleset::default(), &Ruleset::default())?;
        state.forget(Slot::Pending)?;
        state.forget(Slot::Confirmed)?;
        state.forget(Slot::Previous)?;
        Ok(())
    }

    /// What is in force, after tidying up what a death or the end of a trial left behind.
    pub fn status(&self) -> Result<Status, FirewallError> {
        let state = State::take(&self.folder)?;
        let now = self.settle(&state)?;
        Ok(Status {
            settled: now.settled,
            confirmed: state.read(Slot::Confirmed)?,
            pending: state.read(Slot::Pending)?,
            tables: !now.held.tables.is_empty(),
        })
    }

    /// Each difference between the rules in the kernel and those of the profile, or of the one that was confirmed.
    pub fn check(&self, wanted: Option<&Wanted>) -> Result<Checked, FirewallError> {
        let state = State::take(&self.folder)?;
        let settle::Now { settled, held } = self.settle(&state)?;
        let on_trial = rules::is_trial(&held);
        let held = if on_trial {
            settle::new_side(&held)
        } else {
            held
        };
        let place = Place::of(&held).unwrap_or(Place::A);
        let plan = match (wanted, settled) {
            (Some(wanted), _) => {
                let around = look(&wanted.profile, &wanted.told)?;
                Some(Plan::at(&wanted.profile, around, place))
            }
            (None, Settled::Trial { .. }) => state
                .read(Slot::Pending)?
                .map(|it| remembered(&it, Some(place)))
                .transpose()?,
            (None, _) => state
                .read(Slot::Confirmed)?
                .map(|it| remembered(&it, Some(place)))
                .transpose()?,
        };
        let Some(plan) = plan else {
            return Ok(Checked::Nothing);
        };
        let told = differences(&plan.ruleset, &held);
        if !told.is_empty() {
            return Ok(Checked::Different(told));
        }
        Ok(judged(&plan, &held, &names::world(&plan.policy)?))
    }

    /// The remote session that the rules on trial were applied from, if it was one.
    pub fn trial_session(&self) -> Result<Option<String>, FirewallError> {
        let state = State::take(&self.folder)?;
        let pending = state.read(Slot::Pending)?;
        Ok(pending.and_then(|record| record.session))
    }

    /// The rules that are in force, with what they mean now: for explaining packets.
    pub fn in_force(&self) -> Result<Option<(Plan, World)>, FirewallError> {
        let state = State::take(&self.folder)?;
        let slot = match self.settle(&state)?.settled {
            Settled::Trial { .. } => Slot::Pending,
            _ => Slot::Confirmed,
        };
        let Some(plan) = plan_of(&state, slot)? else {
            return Ok(None);
        };
        let world = names::world(&plan.policy)?;
        Ok(Some((plan, world)))
    }

    /// Replaces our tables, reads them back, and goes back if they are not as written.
    fn put(&self, held: &Ruleset, wish: &Ruleset) -> Result<(), FirewallError> {
        let before = kernel::text(&self.nft)?;
        let mut wish = wish.clone();
        {
            let _quiet = names::hold(&self.folder)?;
            kernel::carry(&rules::with_dynamic_sets(held.clone()), &mut wish)?;
            let transaction = kernel::replacing(&before, &wish.to_string());
            self.nft.apply(&transaction)?;
        }
        let wrong = match kernel::read(&self.nft) {
            Ok(found) => {
                let told = differences(&wish, &found);
                if told.is_empty() {
                    return Ok(());
                }
                spoken(&told)
            }
            Err(error) => error.to_string(),
        };
        // The tables that are there now have to go first, whether they are read or not.
        let now = kernel::text(&self.nft).unwrap_or_else(|_| wish.to_string());
        match self.nft.apply(&kernel::replacing(&now, &before)) {
            Ok(()) => Err(FirewallError::NotAsWritten(wrong)),
            Err(why) => Err(FirewallError::NotBack {
                what: wrong,
                why: Box::new(why.into()),
            }),
        }
    }
}

/// What is in force.
#[derive(Debug, Clone)]
pub struct Status {
    /// What was tidied up, or the trial that runs.
    pub settled: Settled,
    /// The rules that are to be in force.
    pub confirmed: Option<Record>,
    /// The rules on trial.
    pub pending: Option<Record>,
    /// Whether the kernel has tables of ours.
    pub tables: bool,
}

/// What comparing the kernel with the profile showed.
#[derive(Debug, Clone)]
pub enum Checked {
    /// The kernel has the rules that follow from the profile, and they decide as the profile does.
    Same {
        /// How many kinds of packets were looked at.
        classes: u64,
    },
    /// Not the same rules.
    Different(Vec<Difference>),
    /// The same rules as written, but they do not decide as the profile does: a fault of ours.
    Wrong(String),
    /// It could not be said.
    Unjudged(String),
    /// There is nothing to compare with: no profile was ever confirmed.
    Nothing,
}

/// The rules that a trial goes back to: those that the kernel has, or after a restart those that were confirmed.
fn old(held: &Ruleset, confirmed: Option<&Plan>) -> Ruleset {
    let held = if rules::is_trial(held) {
        settle::old_side(held)
    } else {
        rules::with_dynamic_sets(held.clone())
    };
    match (held.tables.is_empty(), confirmed) {
        (true, Some(plan)) => plan.ruleset.clone(),
        _ => held,
    }
}

/// What follows from rules that were remembered, as this machine stands now.
fn remembered(record: &Record, place: Option<Place>) -> Result<Plan, FirewallError> {
    let profile = profile_of(record)?;
    let around = look(&profile, &record.told)?;
    let place = place.unwrap_or_else(|| rules::slot(record.slot));
    Ok(Plan::at(&profile, around, place))
}

fn profile_of(record: &Record) -> Result<Profile, FirewallError> {
    let checked = stockade_profile::check(&record.profile);
    checked.profile.ok_or_else(|| {
        let first = checked.faults.first().map(|fault| fault.message.clone());
        FirewallError::Remembered(first.unwrap_or_default())
    })
}

/// Whether rules decide as the policy does, for every kind of packet; `world` are the addresses that their sets hold.
fn judged(plan: &Plan, ruleset: &Ruleset, world: &World) -> Checked {
    match compare(ruleset, &plan.policy, &plan.around, world) {
        Verdict::Same { classes } => Checked::Same { classes },
        Verdict::Differs(example) => Checked::Wrong(example.to_string()),
        Verdict::Unjudged(why) => Checked::Unjudged(why),
    }
}

fn plan_of(state: &State, slot: Slot) -> Result<Option<Plan>, FirewallError> {
    let record = state.read(slot)?;
    record.map(|it| remembered(&it, None)).transpose()
}

fn cut(plan: &Plan, before: &[Plan]) -> Result<Cut, FirewallError> {
    let world = names::world(&plan.policy)?;
    let before: Vec<&Policy> = before.iter().map(|plan| &plan.policy).collect();
    Ok(flow::cut(&plan.policy, &before, &world)?)
}

fn spoken(told: &[Difference]) -> String {
    let lines: Vec<String> = told.iter().map(Difference::to_string).collect();
    lines.join("; ")
}

fn clock() -> Result<u64, FirewallError> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since
        .map(|since| since.as_secs())
        .map_err(|_| FirewallError::Clock)
}
