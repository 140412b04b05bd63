//! Taking back what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use stockade_controls::engine::{Action, HostPath, Plan, ServiceChange};

use super::account::{self, merged};
use super::act::content;
use super::error::{ApplyError, StepError};
use super::image::{self, Image, Was, look};
use super::journal::{Begun, Record};
use super::run::{Applier, tell};
use super::{Event, Progress, Undone};
use crate::init::{Init, InitError};

impl Applier {
    /// Takes back a plan: all of its steps that were begun and are not back yet, the last one first.
    pub(super) fn take_back(
        &mut self,
        run: u64,
        wish: bool,
        progress: &mut dyn Progress,
    ) -> Result<Undone, ApplyError> {
        let begin = Record::Undo { run, wish };
        if !self.journal.records.contains(&begin) {
            self.journal.write(begin)?;
        }
        let (mut plan, mut begun, mut after) = (Plan::default(), BTreeMap::new(), BTreeMap::new());
        let mut again = Vec::new();
        for record in &self.journal.records {
            match record {
                Record::Run {
                    run: of, plan: it, ..
                } if *of == run => plan = it.clone(),
                Record::Begin { run: of, begun: it } if *of == run => {
                    again.extend(it.again.clone());
                    begun.insert(it.step, it.clone());
                }
                Record::Done {
                    run: of,
                    step,
                    after: it,
                } if *of == run => {
                    after.insert(*step, it.clone());
                }
                Record::Back { run: of, step } if *of == run => {
                    begun.remove(step);
                }
                _ => (),
            }
        }
        let mut undone = Undone {
            runs: vec![run],
            ..Undone::default()
        };
        for (index, begun) in begun.iter().rev() {
            let Some(planned) = plan.steps.get(*index) else {
                continue;
            };
            let done = after.get(index).map(Vec::as_slice);
            let left = self.back(run, &planned.step.action, begun, done);
            let left = left.map_err(|why| ApplyError::NotBack {
                says: planned.step.says.clone(),
                why,
            })?;
            undone.steps += 1;
            for left in &left {
                tell(progress, &plan, *index, Event::Left(left));
            }
            undone.left.extend(left);
            tell(progress, &plan, *index, Event::TakenBack);
        }
        if let (false, Ok(Some(init))) = (again.is_empty(), self.init()) {
            for (name, change) in again {
                let units = init.states(&name).unwrap_or_default();
                for (unit, _) in units.iter().filter(|(_, runs)| *runs) {
                    let done = match change {
                        ServiceChange::Reload => init.reload(unit),
                        _ => init.restart(unit),
                    };
                    undone.left.extend(done.err().map(|why| why.to_string()));
                }
            }
        }
        self.journal.write(Record::Undone { run })?;
        self.journal.drop_copies(run)?;
        Ok(undone)
    }

    /// Starts again what ran, with its files and its policy as they were; what does not come back is told.
    fn resumed(&mut self, action: &Action, begun: &Begun) -> Result<Vec<String>, StepError> {
        let mut left = Vec::new();
        let by_files = matches!(
            action,
            Action::RemovePackage { .. } | Action::Confine { .. } | Action::Mac { .. }
        );
        let policy = match action {
            Action::Mac {
                framework,
                service,
                path,
                ..
            } => {
                let there = look(&self.root, path, None).map_err(StepError::at(path))?;
                Some((*framework, service, there != Was::Absent))
            }
            _ => None,
        };
        if let Some((framework, service, true)) = policy {
            left.extend(
                self.policy(framework, service, true)
                    .err()
                    .map(|why| why.to_string()),
            );
        }
        if (by_files || !begun.services.is_empty())
            && let Some(init) = self.init()?
        {
            left.extend(resume(init, action, begun));
        }
        // It ends without its policy what runs in it: only now is nothing in it.
        if let Some((framework, service, false)) = policy {
            left.extend(
                self.policy(framework, service, false)
                    .err()
                    .map(|why| why.to_string()),
            );
        }
        Ok(left)
    }

    /// Takes back one step; what can not come back is told.
    pub(super) fn back(
        &mut self,
        run: u64,
        action: &Action,
        begun: &Begun,
        after: Option<&[Image]>,
    ) -> Result<Vec<String>, StepError> {
        let copies = self.journal.copies(run, begun.step);
        let mut before = begun.before.clone();
        let mut left = Vec::new();
        let mut lock = None;
        match action {
            Action::Firewall => {
                if let Some(rules) = &mut self.rules {
                    rules.take_back().map_err(StepError::other)?;
                } else {
                    left.push("nobody here can change the firewall: its rules stay".to_owned());
                }
            }
            Action::Setting { path, value } => left.extend(self.unset(path, value, begun)),
            Action::End { name, .. } => {
                left.push(format!(
                    "the process `{name}` was ended, and is not started again"
                ));
            }
            Action::Account { name, .. } => {
                lock = Some(account::Lock::take(&self.root)?);
                before.retain(|image| {
                    let merged = self.merge(&copies, image, after, name.as_str());
                    !merged.unwrap_or_default()
                });
            }
            Action::RemovePackage { .. } => {
                let there: BTreeSet<&HostPath> = begun.before.iter().map(|it| &it.path).collect();
                let came: BTreeSet<HostPath> = match after {
                    Some(after) => after.iter().map(|it| it.path.clone()).collect(),
                    None => self.came(action)?,
                };
                let new = came.into_iter().filter(|path| !there.contains(path));
                before.extend(new.map(|path| Image {
                    path,
                    was: Was::Absent,
                }));
            }
            _ => (),
        }
        let taking = Record::Taking {
            run,
            step: begun.step,
        };
        let again = self.journal.records.contains(&taking);
        if !again {
            self.journal.write(taking).map_err(StepError::other)?;
        }
        let restored = image::restore(&self.root, &copies, &before, after, again);
        left.extend(restored.map_err(|why| StepError::other(why.to_string()))?);
        drop(lock);
        left.extend(self.resumed(action, begun)?);
        self.journal
            .write(Record::Back {
                run,
                step: begun.step,
            })
            .map_err(StepError::other)?;
        Ok(left)
    }

    /// Where others changed accounts since, only the account's own line goes back.
    fn merge(
        &self,
        copies: &Path,
        image: &Image,
        after: Option<&[Image]>,
        name: &str,
    ) -> io::Result<bool> {
        let then = after.and_then(|after| after.iter().find(|it| it.path == image.path));
        let (
            Some(then),
            Was::File {
                copy: Some(copy), ..
            },
        ) = (then, &image.was)
        else {
            return Ok(false);
        };
        let now = look(&self.root, &image.path, None)?;
        if now.is_like(&then.was) || now.is_like(&image.was) {
            return Ok(false);
        }
        let Was::File { about, .. } = &now else {
            return Ok(false);
        };
        let old = zeroize::Zeroizing::new(fs_err::read(copies.join(copy.to_string()))?);
        let new = content(&self.root, &image.path).map_err(io::Error::other)?;
        let mut about = about.clone();
        about.modified = image::About::NOW;
        let place = self.root.place(&image.path, false)?;
        image::write(&place, &mut merged(&old, &new, name).as_slice(), &about)?;
        Ok(true)
    }
}

/// Brings services back to whether they ran.
fn resume(init: Init, action: &Action, begun: &Begun) -> Vec<String> {
    let mut left: Vec<String> = Vec::new();
    let mut note = |done: Result<(), InitError>| {
        left.extend(done.err().map(|why| why.to_string()));
    };
    note(init.reread());
    let name = match action {
        Action::Service { name, .. } => name,
        Action::Confine { service, .. } | Action::Mac { service, .. } => service,
        _ => return left,
    };
    let now = init.states(name).unwrap_or_default();
    for (unit, ran) in &begun.services {
        let runs = now.iter().any(|(it, runs)| it == unit && *runs);
        match (ran, runs) {
            (true, true) if matches!(action, Action::Confine { .. } | Action::Mac { .. }) => {
                note(init.restart(unit));
            }
            (true, false) => note(init.start(unit)),
            (false, true) => note(init.stop(unit)),
            _ => (),
        }
    }
    left
}
