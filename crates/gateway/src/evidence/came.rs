//! What came of what a device was sent: the commands that it took, and a profile that it will not have.
//!
//! That a command was taken says the device's evidence, which its key signed. What came of it, its events say: a device's agent
//! can hold that back or make it up, as it can all events, and wins nothing by it.

use serde::{Deserialize, Serialize};
use stockade_api::events::Came;
use stockade_api::signed::Order;
use time::OffsetDateTime;

use super::kept::{Kept, words};
use crate::events::printable;

/// Commands whose outcome is remembered for one device.
const MOST_TAKEN: usize = 8;
/// The longest words that are kept of a device, in characters.
const LONGEST: usize = 200;

/// A command that the device took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// Its number.
    pub number: u64,
    /// What was to be done.
    pub order: Order,
    /// When the gateway heard of it.
    #[serde(with = "time::serde::rfc3339")]
    pub heard: OffsetDateTime,
    /// What came of it; none as long as the device does not say.
    pub outcome: Option<Told>,
}

/// What a device said of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Whether it was carried out.
    pub done: bool,
    /// What was done, or why not.
    pub says: String,
}

/// A profile that the device refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedProfile {
    /// Which signed bytes, as the device calls them.
    pub(super) name: String,
    /// Its version.
    pub version: u64,
    /// Why.
    pub says: String,
}

impl Taken {
    /// What it asked for, in a few words.
    pub fn words(&self) -> &'static str {
        words(&self.order)
    }
}

impl Kept {
    /// The device took the commands up to this number.
    pub(super) fn taken(&mut self, done: u64, heard: OffsetDateTime) {
        let (taken, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|it| it.number <= done);
        self.waiting = waiting;
        for it in taken {
            self.remember(it.number, it.order, heard, None);
        }
    }

    /// The device says what came of something; `sent` is the profile that it is sent now, with its version. Of what it is not sent,
    /// nothing is kept.
    pub(super) fn came(
        &mut self,
        came: Came,
        sent: impl FnOnce() -> Option<(u64, Vec<u8>)>,
        heard: OffsetDateTime,
    ) {
        let short = |says: &str| printable(&says.chars().take(LONGEST).collect::<String>());
        match came {
            Came::Command { number, done, says } => {
                let told = Told {
                    done,
                    says: short(&says),
                };
                if let Some(known) = self.taken.iter_mut().find(|it| it.number == number) {
                    known.outcome = Some(told);
                } else if let Some(waits) = self.waiting.iter().find(|it| it.number == number) {
                    let order = waits.order.clone();
                    self.remember(number, order, heard, Some(told));
                }
            }
            Came::Profile { name, says } => {
                let same = sent().filter(|(_, signed)| Came::name(signed) == name);
                if let Some((version, _)) = same {
                    let says = short(&says);
                    self.refused_profile = Some(RefusedProfile {
                        name,
                        version,
                        says,
                    });
                }
            }
        }
    }

    /// Whether the device said that it will not have these signed bytes.
    pub(super) fn refuses(&self, profile: &[u8]) -> bool {
        let refused = self.refused_profile.as_ref();
        refused.is_some_and(|it| it.name == Came::name(profile))
    }

    fn remember(
        &mut self,
        number: u64,
        order: Order,
        heard: OffsetDateTime,
        outcome: Option<Told>,
    ) {
        if self.taken.iter().any(|it| it.number == number) {
            return;
        }
        if self.taken.len() >= MOST_TAKEN {
            self.taken.remove(0);
        }
        self.taken.push(Taken {
            number,
            order,
            heard,
            outcome,
        });
    }
}
