//! What happens to a plan, in the words that cross between processes.

use stockade_api::Secret;
use stockade_api::helper::{Outcome, Progress, StepState, Told};

use super::{Done, Event, Moment, Undone};

impl From<&Moment<'_>> for Progress {
    fn from(moment: &Moment<'_>) -> Self {
        let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
        Self {
            step: number(moment.number),
            of: number(moment.of),
            says: moment.says.to_owned(),
            state: match moment.event {
                Event::Begun => StepState::Begun,
                Event::Done | Event::Already => StepState::Done,
                Event::Failed(why) | Event::NotKept(why) | Event::Left(why) => {
                    StepState::Failed(why.to_owned())
                }
                Event::TakenBack => StepState::TakenBack,
            },
        }
    }
}

impl From<Done> for Outcome {
    fn from(done: Done) -> Self {
        let failed = done
            .not_kept
            .into_iter()
            .map(|(what, why)| format!("{what} stays as it was: {why}"));
        let told = done.told.into_iter().map(|mut told| Told {
            account: told.account.to_string(),
            password: Secret::from(std::mem::take(&mut *told.password)),
        });
        Self {
            done: u32::try_from(done.done).unwrap_or(u32::MAX),
            failed: failed.collect(),
            told: told.collect(),
        }
    }
}

impl From<Undone> for Outcome {
    fn from(undone: Undone) -> Self {
        Self {
            done: u32::try_from(undone.steps).unwrap_or(u32::MAX),
            failed: undone.left,
            told: Vec::new(),
        }
    }
}
