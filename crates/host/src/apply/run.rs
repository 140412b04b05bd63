//! Carrying out, taking back, recovering.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use stockade_controls::engine::{
    Action, Framework, Host, HostPath, Plan, ServiceChange, UnixSeconds,
};
use stockade_profile::ServiceName;

use super::act::{self, Prepared, no_room};
use super::error::{ApplyError, StepError};
use super::image::{Image, look};
use super::journal::{Begun, Journal, Record};
use super::place::Root;
use super::{
    Done, Event, Moment, Policies, Progress, Recovered, Rules, Run, RunState, Told, Undone,
    Unfinished, Which, setting, trial,
};
use crate::init::Init;
use crate::packages;
use crate::process;
use crate::view::{Live, Offline};

/// Carries out plans on a root directory, and takes them back.
pub struct Applier {
    pub(super) root: Root,
    pub(super) journal: Journal,
    pub(super) rules: Option<Box<dyn Rules>>,
    pub(super) policies: Option<Box<dyn Policies>>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier")
            .field("root", &self.root.path)
            .finish_non_exhaustive()
    }
}

/// What became of a step.
enum Outcome {
    Done,
    Already,
    NotKept(String, String),
}

impl Applier {
    /// Takes the folder of undo data. Services and processes are changed only if the root is `/`: anywhere else nothing runs.
    pub fn open(root: &Path, folder: &Path) -> Result<Self, ApplyError> {
        Ok(Self {
            root: Root::open(root)?,
            journal: Journal::open(folder)?,
            rules: None,
            policies: None,
        })
    }

    /// With somebody who can bring the firewall's rules into force; without, a plan that needs it is refused.
    #[must_use]
    pub fn with_rules(mut self, rules: Box<dyn Rules>) -> Self {
        self.rules = Some(rules);
        self
    }

    /// With somebody who can bring policies of mandatory access control into force; without, a plan that needs it is refused.
    #[must_use]
    pub fn with_policies(mut self, policies: Box<dyn Policies>) -> Self {
        self.policies = Some(policies);
        self
    }

    /// Carries out a plan. If a step fails, all that was done is taken back.
    pub fn apply(&mut self, plan: &Plan, progress: &mut dyn Progress) -> Result<Done, ApplyError> {
        let history = self.history();
        if history.iter().any(|run| run.state == RunState::Unfinished) {
            return Err(ApplyError::Unfinished);
        }
        self.refuse(plan)?;
        let run = history.last().map_or(1, |run| run.number + 1);
        let mut done = Done::default();
        for index in 0..plan.steps.len() {
            let mut tell = |event: Event<'_>| tell(progress, plan, index, event);
            let outcome = self.step(run, plan, index, &mut done, &mut tell);
            match outcome {
                Ok(Outcome::Done) => {
                    done.done += 1;
                    tell(Event::Done);
                }
                Ok(Outcome::Already) => {
                    done.already += 1;
                    tell(Event::Already);
                }
                Ok(Outcome::NotKept(what, why)) => {
                    tell(Event::NotKept(&why));
                    done.not_kept.push((what, why));
                }
                Err(why) => {
                    tell(Event::Failed(&why.to_string()));
                    return Err(self.fail(done.run, plan, index, why, progress));
                }
            }
        }
        if let Some(run) = done.run {
            self.journal.write(Record::Applied { run })?;
        }
        Ok(done)
    }

    /// Takes back all that was done before a step failed.
    fn fail(
        &mut self,
        run: Option<u64>,
        plan: &Plan,
        index: usize,
        why: StepError,
        progress: &mut dyn Progress,
    ) -> ApplyError {
        let step = plan.steps.get(index);
        let says = step.map(|it| it.step.says.clone()).unwrap_or_default();
        let Some(run) = run else {
            return ApplyError::Refused { says, why };
        };
        match self.take_back(run, false, progress) {
            Ok(undone) => ApplyError::TakenBack {
                says,
                why,
                left: undone.left,
            },
            Err(worse) => worse,
        }
    }

    /// Undoes what was carried out.
    pub fn undo(
        &mut self,
        which: Which,
        progress: &mut dyn Progress,
    ) -> Result<Undone, ApplyError> {
        let history = self.history();
        if history.iter().any(|run| run.state == RunState::Unfinished) {
            return Err(ApplyError::Unfinished);
        }
        let applied = history
            .iter()
            .rev()
            .filter(|run| run.state == RunState::Applied);
        let most = match which {
            Which::Last => 1,
            Which::All => usize::MAX,
        };
        let mut undone = Undone::default();
        for run in applied.take(most) {
            let one = self.take_back(run.number, true, progress)?;
            undone.runs.extend(one.runs);
            undone.steps += one.steps;
            undone.left.extend(one.left);
        }
        Ok(undone)
    }

    /// Ends what a crash cut short; to be called before anything else.
    pub fn recover(
        &mut self,
        unfinished: Unfinished,
        progress: &mut dyn Progress,
    ) -> Result<Recovered, ApplyError> {
        self.journal.clear_scratch()?;
        let mut history = self.history().into_iter();
        let Some(run) = history.find(|run| run.state == RunState::Unfinished) else {
            return Ok(Recovered::default());
        };
        let wish = Record::Undo {
            run: run.number,
            wish: true,
        };
        let undoing = self.journal.records.contains(&wish);
        let mut recovered = Recovered {
            taken_back: Some(self.take_back(run.number, undoing, progress)?),
            done: None,
        };
        if unfinished == Unfinished::GoOn && !undoing {
            recovered.done = Some(self.apply(&run.plan, progress)?);
        }
        Ok(recovered)
    }

    /// All plans that were begun, the first one first.
    pub fn history(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut wished = BTreeSet::new();
        for record in &self.journal.records {
            let (number, state) = match record {
                Record::Run { run, at, plan } => {
                    runs.push(Run {
                        number: *run,
                        at: *at,
                        state: RunState::Unfinished,
                        plan: plan.clone(),
                    });
                    continue;
                }
                Record::Applied { run } => (*run, RunState::Applied),
                Record::Undo { run, wish } => {
                    if *wish {
                        wished.insert(*run);
                    }
                    (*run, RunState::Unfinished)
                }
                Record::Undone { run } if wished.contains(run) => (*run, RunState::Undone),
                Record::Undone { run } => (*run, RunState::TakenBack),
                Record::Journal { .. }
                | Record::Begin { .. }
                | Record::Done { .. }
                | Record::Taking { .. }
                | Record::Back { .. } => continue,
            };
            if let Some(run) = runs.iter_mut().find(|it| it.number == number) {
                run.state = state;
            }
        }
        runs
    }

    /// Forgets everything that was carried out: it can not be undone afterwards.
    pub fn forget(&mut self) -> Result<(), ApplyError> {
        let history = self.history();
        if history.iter().any(|run| run.state == RunState::Unfinished) {
            return Err(ApplyError::Unfinished);
        }
        // The journal goes first: copies that nobody knows are only in the way.
        self.journal.clear()?;
        for run in history {
            self.journal.drop_copies(run.number)?;
        }
        Ok(())
    }

    fn host(&self) -> Result<Box<dyn Host>, StepError> {
        let opened: Result<Box<dyn Host>, _> = if self.root.is_live() {
            Live::open().map(|it| Box::new(it) as _)
        } else {
            Offline::open(&self.root.path).map(|it| Box::new(it) as _)
        };
        opened.map_err(StepError::other)
    }

    pub(super) fn init(&self) -> Result<Option<Init>, StepError> {
        if !self.root.is_live() {
            return Ok(None);
        }
        Ok(Init::detect()?)
    }

    /// Refuses what can not succeed, before anything is changed.
    fn refuse(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        let mut init = None;
        for planned in &plan.steps {
            let action = &planned.step.action;
            let found = match action {
                Action::Firewall if self.rules.is_none() => Err(StepError::other(
                    "nobody here can bring the firewall's rules into force",
                )),
                Action::Mac { .. } if self.policies.is_none() => Err(StepError::other(
                    "nobody here can bring policies into force",
                )),
                Action::RemovePackage { manager, .. } => {
                    packages::program(*manager).map(|_| ()).map_err(Into::into)
                }
                Action::Service { .. } | Action::Confine { .. } | Action::Mac { .. }
                    if init.is_none() =>
                {
                    self.init().map(|found| init = Some(found))
                }
                _ => Ok(()),
            };
            let room = |()| match written(action) {
                Some((path, length)) => match no_room(&self.root, &path, length) {
                    Ok(None) => Ok(()),
                    Ok(Some(why)) => Err(StepError::other(why)),
                    Err(why) => Err(StepError::at(path)(why)),
                },
                None => Ok(()),
            };
            found.and_then(room).map_err(|why| ApplyError::Refused {
                says: planned.step.says.clone(),
                why,
            })?;
        }
        self.journal.reserve()
    }

    fn step(
        &mut self,
        run: u64,
        plan: &Plan,
        index: usize,
        done: &mut Done,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome, StepError> {
        let Some(planned) = plan.steps.get(index) else {
            return Ok(Outcome::Already);
        };
        let action = &planned.step.action;
        let host = self.host()?;
        let scratch = self.journal.scratch().map_err(StepError::other)?;
        let prepared = act::prepare(&self.root, &*host, action, &scratch)?;
        self.journal.clear_scratch().map_err(StepError::other)?;
        let init = match prepared.service {
            Some(_) => self.init()?,
            None => None,
        };
        let services = match (&init, &prepared.service) {
            (Some(init), Some((name, _))) => init.states(name)?,
            _ => Vec::new(),
        };
        if self.holds(action, &prepared, &services)? {
            return Ok(Outcome::Already);
        }
        let touches = self.touches(&*host, action, &prepared)?;
        if done.run.is_none() {
            let record = Record::Run {
                run,
                at: now(),
                plan: plan.clone(),
            };
            self.journal.write(record).map_err(StepError::other)?;
            done.run = Some(run);
        }
        let before = self.keep(run, index, touches)?;
        let again = match (action, &prepared.service) {
            (Action::Service { .. }, Some((name, change)))
                if matches!(change, ServiceChange::Restart | ServiceChange::Reload) =>
            {
                Some((name.clone(), *change))
            }
            _ => None,
        };
        let begun = Begun {
            step: index,
            before,
            services,
            setting: match action {
                Action::Setting { path, .. } => Some(setting::read(&self.root, path)?),
                _ => None,
            },
            again,
        };
        let record = Record::Begin {
            run,
            begun: begun.clone(),
        };
        self.journal.write(record).map_err(StepError::other)?;
        tell(Event::Begun);
        if let Err(why) = self.act(action, &prepared, init, &begun) {
            // A trial that fails is no fault of the plan, nor is what the kernel does not let anybody change.
            let what = match action {
                Action::Confine { service, .. } | Action::Mac { service, .. } => {
                    service.to_string()
                }
                Action::Setting { path, .. } => path.to_string(),
                _ => return Err(why),
            };
            let left = self.back(run, action, &begun, None)?;
            let why = left
                .into_iter()
                .fold(why.to_string(), |all, it| format!("{all}; {it}"));
            return Ok(Outcome::NotKept(what, why));
        }
        self.note_done(run, action, &begun)?;
        if let Some((account, password)) = prepared.told {
            done.told.push(Told { account, password });
        }
        Ok(Outcome::Done)
    }

    /// What a step will change, with whether its content is; refuses what may not be changed.
    fn touches(
        &self,
        host: &dyn Host,
        action: &Action,
        prepared: &Prepared,
    ) -> Result<BTreeMap<HostPath, bool>, StepError> {
        for wanted in &prepared.wanted {
            let refusal = wanted.refusal(&self.root);
            if let Some(why) = refusal.map_err(StepError::at(wanted.path()))? {
                return Err(StepError::other(format!("{}: {why}", wanted.path())));
            }
        }
        let mut touches = BTreeMap::new();
        for wanted in &prepared.wanted {
            let all = wanted.touches(&self.root);
            for (path, copied) in all.map_err(StepError::at(wanted.path()))? {
                *touches.entry(path).or_default() |= copied;
            }
        }
        if let Action::RemovePackage { manager, name } = action {
            let kept = packages::touched(&self.root.path, host, *manager, name)?;
            touches.extend(kept.into_iter().map(|path| (path, true)));
        }
        Ok(touches)
    }

    /// Writes down how a step left things.
    fn note_done(&mut self, run: u64, action: &Action, begun: &Begun) -> Result<(), StepError> {
        let mut paths: BTreeSet<HostPath> = begun.before.iter().map(|it| it.path.clone()).collect();
        paths.extend(self.came(action)?);
        let mut after = Vec::with_capacity(paths.len());
        for path in paths {
            let was = look(&self.root, &path, None).map_err(StepError::at(&path))?;
            after.push(Image { path, was });
        }
        let record = Record::Done {
            run,
            step: begun.step,
            after,
        };
        self.journal.write(record).map_err(StepError::other)
    }

    /// Copies what a step will change.
    fn keep(
        &self,
        run: u64,
        index: usize,
        touches: BTreeMap<HostPath, bool>,
    ) -> Result<Vec<Image>, StepError> {
        let copies = self
            .journal
            .make_copies(run, index)
            .map_err(StepError::other)?;
        let mut before = Vec::with_capacity(touches.len());
        for (number, (path, copied)) in (0..).zip(touches) {
            let copy = copied.then_some((copies.as_path(), number));
            let was = look(&self.root, &path, copy).map_err(StepError::at(&path))?;
            before.push(Image { path, was });
        }
        let synced = self.journal.sync_copies(run, index);
        synced.map_err(StepError::other)?;
        Ok(before)
    }

    /// What is there after a package was removed, where its manager and scripts write.
    pub(super) fn came(&self, action: &Action) -> Result<BTreeSet<HostPath>, StepError> {
        match action {
            Action::RemovePackage { manager, .. } => {
                Ok(packages::around(&*self.host()?, *manager)?)
            }
            _ => Ok(BTreeSet::new()),
        }
    }

    /// Whether the host is so already.
    fn holds(
        &mut self,
        action: &Action,
        prepared: &Prepared,
        services: &[(String, bool)],
    ) -> Result<bool, StepError> {
        let live = self.root.is_live();
        let runs = services.iter().any(|(_, runs)| *runs);
        Ok(match action {
            Action::Firewall => self.rules.as_mut().is_some_and(|rules| rules.in_force()),
            // Whether the kernel has the policy of the file, and the service is under it, is not seen in files.
            Action::Mac { .. } if live => false,
            Action::Setting { path, value } => !live || setting::read(&self.root, path)? == *value,
            Action::End { pid, started, .. } => !live || !process::is(*pid, *started),
            Action::RemovePackage { manager, name } => {
                !packages::installed(&self.root.path, *manager, name)?
            }
            Action::Service { change, .. } => {
                let stops = matches!(change, ServiceChange::Stop | ServiceChange::Mask);
                let takes_up = matches!(change, ServiceChange::Restart | ServiceChange::Reload);
                !(runs && (stops || takes_up)) && self.all_hold(prepared)?
            }
            _ => self.all_hold(prepared)?,
        })
    }

    fn all_hold(&self, prepared: &Prepared) -> Result<bool, StepError> {
        for wanted in &prepared.wanted {
            let holds = wanted.holds(&self.root);
            if !holds.map_err(StepError::at(wanted.path()))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does it, and looks whether the host shows it.
    fn act(
        &mut self,
        action: &Action,
        prepared: &Prepared,
        init: Option<Init>,
        begun: &Begun,
    ) -> Result<(), StepError> {
        let running = || begun.services.iter().filter(|(_, runs)| *runs);
        let change = prepared.service.as_ref().map(|(_, change)| *change);
        let stops = matches!(change, Some(ServiceChange::Stop | ServiceChange::Mask));
        if let (Some(init), true) = (init, stops) {
            for (unit, _) in running() {
                init.stop(unit)?;
            }
        }
        for wanted in &prepared.wanted {
            wanted
                .make(&self.root)
                .map_err(StepError::at(wanted.path()))?;
        }
        if let Action::Mac {
            framework, service, ..
        } = action
        {
            self.policy(*framework, service, true)?;
        }
        if let (Some(init), Some((name, change))) = (init, &prepared.service) {
            if !prepared.wanted.is_empty() {
                init.reread()?;
            }
            match change {
                ServiceChange::Stop | ServiceChange::Mask => {
                    // Something may have started it before its files were changed.
                    for (unit, _) in init.states(name)?.iter().filter(|(_, runs)| *runs) {
                        init.stop(unit)?;
                    }
                }
                ServiceChange::Restart => {
                    for (unit, _) in running() {
                        init.restart(unit)?;
                    }
                }
                ServiceChange::Reload => {
                    for (unit, _) in running() {
                        init.reload(unit)?;
                    }
                }
                ServiceChange::Disable => (),
            }
            if stops && let Some((unit, _)) = init.states(name)?.iter().find(|(_, runs)| *runs) {
                return Err(StepError::other(format!(
                    "`{unit}` was started again at once"
                )));
            }
            if let Some(health) = &prepared.health
                && running().next().is_some()
            {
                trial::watch(init, name, health)?;
            }
        }
        match action {
            Action::Firewall => {
                let rules = self.rules.as_mut().ok_or("nobody here has the rules");
                let applied = rules.map_err(StepError::other)?.apply();
                applied.map_err(StepError::other)?;
            }
            Action::End { pid, started, name }
                if !process::end(*pid, *started).map_err(StepError::other)? =>
            {
                return Err(StepError::other(format!(
                    "process {pid} (`{name}`) does not end"
                )));
            }
            Action::RemovePackage { manager, name } => {
                packages::remove(&self.root.path, *manager, name)?;
            }
            Action::Setting { path, value } => self.set(path, value)?,
            _ => (),
        }
        self.shows(prepared)
    }

    /// Whether everything is as it was made.
    fn shows(&self, prepared: &Prepared) -> Result<(), StepError> {
        for wanted in &prepared.wanted {
            let holds = wanted.holds(&self.root);
            if !holds.map_err(StepError::at(wanted.path()))? {
                return Err(StepError::other(format!(
                    "{} is not as it was made: somebody changes it at the same time",
                    wanted.path()
                )));
            }
        }
        Ok(())
    }
}

impl Applier {
    /// Loads or unloads the policy of a service; nothing in a root where nothing runs.
    pub(super) fn policy(
        &mut self,
        framework: Framework,
        service: &ServiceName,
        load: bool,
    ) -> Result<(), StepError> {
        if !self.root.is_live() {
            return Ok(());
        }
        let nobody = "nobody here can bring policies into force";
        let policies = self.policies.as_mut();
        let policies = policies.ok_or_else(|| StepError::other(nobody))?;
        let done = if load {
            policies.load(framework, service)
        } else {
            policies.unload(framework, service)
        };
        done.map_err(StepError::other)
    }
}

pub(super) fn tell(progress: &mut dyn Progress, plan: &Plan, index: usize, event: Event<'_>) {
    let step = plan.steps.get(index);
    progress.step(&Moment {
        number: index + 1,
        of: plan.steps.len(),
        says: step.map_or("", |it| it.step.says.as_str()),
        event,
    });
}

/// Where an action writes first, and about how much.
fn written(action: &Action) -> Option<(HostPath, u64)> {
    let length = |text: &String| u64::try_from(text.len()).unwrap_or(u64::MAX);
    Some(match action {
        Action::Put { path, content, .. } | Action::Confine { path, content, .. } => {
            (path.clone(), length(content))
        }
        Action::Mac { path, policy, .. } => (path.clone(), length(policy)),
        Action::Mode { path, .. }
        | Action::NoCapability { path }
        | Action::Remove { path }
        | Action::Link { path, .. }
        | Action::Edit { path, .. }
        | Action::SshHostKeys { directory: path } => (path.clone(), 0),
        Action::Account { .. } | Action::Service { .. } => (HostPath::of("/etc"), 0),
        Action::RemovePackage { .. } => (HostPath::of("/var"), 0),
        Action::End { .. } | Action::Firewall | Action::Setting { .. } => return None,
    })
}

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
