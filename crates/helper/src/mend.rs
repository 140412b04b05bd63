//! Carrying out plans and taking them back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stockade_api::helper::{self, Answer, Progress, Refusal, Refused, Weight};
use stockade_controls::engine::{Account, Action};
use stockade_host::apply::{Applier, Moment, Unfinished, Which};

use crate::device::Device;
use crate::events::By;
use crate::firewall::Step;
use crate::look::changed;
use crate::mac::Loader;
use crate::refusal::{failed, refused};

/// Hears of each step.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(Progress);

impl Device {
    fn applier(self: &Arc<Self>) -> Result<Applier, Refused> {
        let state = self.places.helper_state().join("apply");
        let applier = Applier::open(self.places.root(), &state).map_err(|why| failed(&why))?;
        let policies = Loader(Arc::clone(self));
        let applier = applier.with_rules(Box::new(Step(Arc::clone(self))));
        Ok(applier.with_policies(Box::new(policies)))
    }

    /// Takes back whatever a death left half done.
    pub(crate) fn recover_plan(self: &Arc<Self>) -> Result<(), Refused> {
        let mut applier = self.applier()?;
        let found = applier
            .recover(Unfinished::TakeBack, &mut |_: &Moment<'_>| ())
            .map_err(|why| failed(&why))?;
        if let Some(undone) = found.taken_back {
            let says = format!(
                "A plan was cut short, and its {} steps were taken back",
                undone.steps
            );
            self.note(Weight::Warning, By::Helper, "recovered", &says);
        }
        if self.recover_trial(&applier)? {
            drop(applier);
            self.undo(helper::Which::Last, By::Helper, &mut |_| ())?;
            let says = "The helper ended during a trial: what was on trial was taken back";
            self.note(Weight::Warning, By::Helper, "recovered", says);
        } else {
            self.settings_now(&applier);
        }
        Ok(())
    }

    /// Does what the plan says; with a digest, only if it is still that plan.
    pub(crate) fn apply(
        self: &Arc<Self>,
        digest: Option<&str>,
        by: By,
        tell: Tell<'_>,
    ) -> Result<Answer, Refused> {
        let _work = self.work()?;
        self.no_trial()?;
        let looked = self.look_now()?;
        if digest.is_some_and(|it| it != looked.digest) {
            return Err(changed());
        }
        let mut plan = looked.plan.clone();
        if by == By::Gateway {
            plan.steps.retain(|it| !makes_password(&it.step.action));
            let left = looked.plan.steps.len() - plan.steps.len();
            if left > 0 {
                let says = format!(
                    "{left} new passwords were not made: only who applies the plan at the device would be told"
                );
                self.note(Weight::Warning, By::Helper, "apply", &says);
            }
        }
        let steps = plan.steps.len();
        let says = format!("A plan of {steps} steps begins");
        self.note(Weight::Change, by, "apply", &says);
        let mut applier = self.applier()?;
        let trial = self.begin_trial(&plan, &applier)?;
        let done = applier.apply(&plan, &mut |moment: &Moment<'_>| tell(moment.into()));
        self.forget_look();
        self.settings_now(&applier);
        let trial = trial && done.as_ref().is_ok_and(|done| done.run.is_some());
        if !trial {
            self.forget_trial()?;
        }
        let done = done.map_err(|why| {
            let refusal = failed(&why);
            self.note(Weight::Warning, by, "apply-failed", &refusal.why);
            refusal
        })?;
        let says = format!("{} steps were done", done.done);
        self.note(Weight::Change, by, "applied", &says);
        let mut outcome = helper::Outcome::from(done);
        if trial {
            let says = self.run_trial();
            self.note(Weight::Warning, by, "ports", &says);
            outcome.failed.push(says);
        }
        Ok(Answer::Applied(outcome))
    }

    /// Takes back what was applied.
    pub(crate) fn undo(
        self: &Arc<Self>,
        which: helper::Which,
        by: By,
        tell: Tell<'_>,
    ) -> Result<Answer, Refused> {
        let _work = self.work()?;
        let which = match which {
            helper::Which::Last => Which::Last,
            helper::Which::All => Which::All,
        };
        let mut applier = self.applier()?;
        let undone = applier.undo(which, &mut |moment: &Moment<'_>| tell(moment.into()));
        self.forget_look();
        self.settings_now(&applier);
        let undone = undone.map_err(|why| failed(&why))?;
        self.forget_trial()?;
        if undone.runs.is_empty() {
            return Err(refused(
                Refusal::Failed,
                "there is nothing to take back",
                "",
            ));
        }
        let says = format!("{} steps were taken back", undone.steps);
        self.note(Weight::Change, by, "undone", &says);
        Ok(Answer::Applied(undone.into()))
    }

    /// The next look is a new one. Nobody waits here for one that goes on.
    pub(crate) fn forget_look(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }
}

/// Whether it makes a password, which is told once. A command has nobody to tell it to but the agent, whose it must not be.
fn makes_password(action: &Action) -> bool {
    matches!(
        action,
        Action::Account {
            change: Account::NewPassword,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_password_is_left_out_of_what_a_command_has_done() {
        let of = |change| Action::Account {
            name: "guest".parse().expect("a name"),
            change,
        };
        assert!(makes_password(&of(Account::NewPassword)));
        assert!(!makes_password(&of(Account::LockPassword)));
        assert!(!makes_password(&Action::Firewall));
    }
}
