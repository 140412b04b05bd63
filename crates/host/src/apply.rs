//! Carries out a plan, step by step, so that it can be taken back: also after a crash, and bit for bit.
//!
//! Before a step everything that it will change is copied into the folder of the applier and written to its journal; after it
//! the host is looked at again. A step that fails takes back the whole plan.

mod account;
mod act;
mod back;
mod error;
mod image;
mod journal;
mod keys;
mod place;
mod run;
mod setting;
mod told;
mod trial;

use stockade_controls::engine::{Framework, HostPath, Plan, UnixSeconds};
use stockade_profile::{AccountName, ServiceName};
use zeroize::Zeroizing;

pub use self::error::{ApplyError, StepError};
pub use self::run::Applier;
pub use self::setting::set;

/// Watches the steps. What it does with what it is told can not fail.
pub trait Progress {
    /// Something happened to a step.
    fn step(&mut self, moment: &Moment<'_>);
}

impl<F: FnMut(&Moment<'_>)> Progress for F {
    fn step(&mut self, moment: &Moment<'_>) {
        self(moment);
    }
}

/// What happened to which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// What the step does.
    pub says: &'a str,
    /// What happened.
    pub event: Event<'a>,
}

/// What happened to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// It is begun.
    Begun,
    /// It is done, and the host shows it.
    Done,
    /// There was nothing to do: the host is so already.
    Already,
    /// It failed: why. The whole plan is taken back now.
    Failed(&'a str),
    /// It was a trial, and the service did not stay healthy: why. Only this step was taken back.
    NotKept(&'a str),
    /// It is taken back.
    TakenBack,
    /// Not all of it could be taken back: what is left, and why.
    Left(&'a str),
}

/// What came of a plan that was carried out.
#[derive(Debug, Default)]
pub struct Done {
    /// The number by which it can be undone; none if there was nothing to do.
    pub run: Option<u64>,
    /// How many steps were done.
    pub done: usize,
    /// How many had nothing to do.
    pub already: usize,
    /// Services that did not bear their new bounds and settings that the kernel refused, with why; they are as they were.
    pub not_kept: Vec<(String, String)>,
    /// New passwords. They are nowhere else.
    pub told: Vec<Told>,
}

/// A new password, told once.
pub struct Told {
    /// Whose.
    pub account: AccountName,
    /// The password.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// What to undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The plan that was carried out last and is not undone yet.
    Last,
    /// All of them, the last one first.
    All,
}

/// What came of undoing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Undone {
    /// The plans that were undone, by their numbers.
    pub runs: Vec<u64>,
    /// How many steps were taken back.
    pub steps: usize,
    /// What was left as it is, and why: somebody else changed it since, or it can not come back.
    pub left: Vec<String>,
}

/// What to do with a plan that a crash cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// Take it back.
    TakeBack,
    /// Take it back and carry it out anew: passwords that were never told are of no use.
    GoOn,
}

/// What was found after a crash, and done about it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What was taken back; none if there was nothing unfinished.
    pub taken_back: Option<Undone>,
    /// What came of carrying it out anew.
    pub done: Option<Done>,
}

/// A plan that was carried out, or begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub number: u64,
    /// When it was begun, by the device's clock.
    pub at: UnixSeconds,
    /// What became of it.
    pub state: RunState,
    /// The plan.
    pub plan: Plan,
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It was begun, or its undoing, and that was cut short.
    Unfinished,
    /// It is in effect.
    Applied,
    /// A step failed, and all was taken back.
    TakenBack,
    /// It was undone.
    Undone,
}

/// Brings the rules of the signed profile into force; whoever holds the profile provides it.
pub trait Rules: Send {
    /// Whether they are in force already.
    fn in_force(&mut self) -> bool;
    /// Brings them into force; why not, as a sentence.
    fn apply(&mut self) -> Result<(), String>;
    /// Goes back to the rules from before; why not, as a sentence.
    fn take_back(&mut self) -> Result<(), String>;
    /// Sets a setting of the kernel that this process has no right to; none if nobody here has.
    fn set(&mut self, _path: &HostPath, _value: &str) -> Option<Result<(), String>> {
        None
    }
}

/// Brings policies of mandatory access control into force; whoever may do that to the kernel provides it.
pub trait Policies: Send {
    /// Loads the policy of a service, in place of the one that is loaded; why not, as a sentence.
    fn load(&mut self, framework: Framework, service: &ServiceName) -> Result<(), String>;
    /// Unloads it; why not, as a sentence.
    fn unload(&mut self, framework: Framework, service: &ServiceName) -> Result<(), String>;
}

/// Reads a journal: how many records it has, and how many bytes they are; or the line that is damaged.
pub(crate) fn read_journal(bytes: &[u8]) -> Result<(usize, usize), usize> {
    journal::read(bytes).map(|(records, good)| (records.len(), good))
}
