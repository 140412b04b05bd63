//! What is kept of a roll-out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::name::{DeviceId, ModelName};

/// The version of the records' form.
pub(super) const FORMAT: u8 = 1;
/// Stages that a roll-out can have.
pub const MOST_STAGES: usize = 10;
/// Parts of a whole.
const WHOLE: u32 = 10_000;

/// A share of the devices, in hundredths of a percent: more than none, all at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u32);

impl Share {
    /// All devices.
    pub const ALL: Self = Self(WHOLE);
    /// Two percent.
    pub const TWO_PERCENT: Self = Self(200);

    /// Of so many devices, rounded up.
    pub(super) fn of(self, all: usize) -> usize {
        let all = u64::try_from(all).unwrap_or(u64::MAX);
        let part = all.saturating_mul(self.0.into()).div_ceil(WHOLE.into());
        usize::try_from(part).unwrap_or(usize::MAX)
    }

    /// Whether so many of these are more than this share.
    pub(super) fn exceeded(self, part: usize, all: usize) -> bool {
        let times = |count: usize, by: u32| {
            u64::try_from(count)
                .unwrap_or(u64::MAX)
                .saturating_mul(by.into())
        };
        times(part, WHOLE) > times(all, self.0)
    }
}

impl FromStr for Share {
    type Err = WrongPlan;

    fn from_str(text: &str) -> Result<Self, WrongPlan> {
        let wrong = || WrongPlan::Share(text.escape_debug().to_string());
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || part.len() > 2 || !digits(whole) || !digits(part)
        {
            return Err(wrong());
        }
        let hundredths: u32 = format!("{whole}{part:0<2}").parse().map_err(|_| wrong())?;
        Some(Self(hundredths))
            .filter(|it| (1..=WHOLE).contains(&it.0))
            .ok_or_else(wrong)
    }
}

impl TryFrom<String> for Share {
    type Error = WrongPlan;

    fn try_from(text: String) -> Result<Self, WrongPlan> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => write!(f, "{whole}%"),
            part if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            part => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// Why a roll-out cannot be done as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongPlan {
    /// No share.
    #[error("`{0}` is no share: for example 1%, 0.5% or 100%")]
    Share(String),
    /// The stages do not lead to all devices.
    #[error("stages grow, there are {MOST_STAGES} at most, and the last is 100%")]
    Stages,
    /// A time that makes no sense.
    #[error("`{0}` is between {1} seconds and 30 days")]
    Time(&'static str, i64),
}

/// How a roll-out goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub(super) stages: Vec<Share>,
    /// Seconds for which each device is watched before the next stage.
    pub(super) wait: i64,
    /// Seconds that a device may take to come up with the version.
    pub(super) within: i64,
    pub(super) limit: Share,
}

impl Plan {
    /// A plan: stages; how long each device is watched after it came up; how long it may take to do so; which share of a stage may fall.
    pub fn new(
        stages: Vec<Share>,
        wait: Duration,
        within: Duration,
        limit: Share,
    ) -> Result<Self, WrongPlan> {
        let grow = stages.windows(2).all(|pair| pair.first() < pair.last());
        if !grow || stages.last() != Some(&Share::ALL) || stages.len() > MOST_STAGES {
            return Err(WrongPlan::Stages);
        }
        let most = Duration::days(30);
        for (name, time, least) in [("wait", wait, 0), ("within", within, 1)] {
            if time > most || time.whole_seconds() < least {
                return Err(WrongPlan::Time(name, least));
            }
        }
        Ok(Self {
            stages,
            wait: wait.whole_seconds(),
            within: within.whole_seconds(),
            limit,
        })
    }
}

/// One roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollout {
    pub(super) v: u8,
    pub(super) id: u64,
    #[serde(with = "crate::registry::model_name")]
    pub(super) model: ModelName,
    pub(super) version: u64,
    pub(super) plan: Plan,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) started: OffsetDateTime,
    /// Which stage, from 0.
    pub(super) stage: usize,
    pub(super) state: State,
}

/// Whether it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum State {
    /// It goes on.
    Running,
    /// It was halted.
    Halted {
        /// Why.
        why: String,
        /// Whether it halted by itself.
        by_itself: bool,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// All devices run the version.
    Done {
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
}

/// A device that a roll-out took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Taken {
    pub(super) stage: usize,
    /// Since when it is waited for.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) since: OffsetDateTime,
    /// It has to be told yet.
    pub(super) to_order: bool,
    /// What was wrong with it before.
    pub(super) before: BTreeSet<String>,
    /// It was in quarantine before.
    pub(super) quarantined: bool,
    pub(super) standing: Standing,
}

/// What became of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    /// It is waited for.
    Waits,
    /// It runs the version, since then.
    Runs(#[serde(with = "time::serde::rfc3339")] OffsetDateTime),
    /// It fell: why.
    Fell(String),
    /// It was revoked or removed, or is another model's now.
    Gone,
}

/// A roll-out with its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) rollout: Rollout,
    pub(super) devices: BTreeMap<DeviceId, Taken>,
}

impl Rollout {
    pub(super) fn new(
        id: u64,
        model: ModelName,
        version: u64,
        plan: Plan,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            v: FORMAT,
            id,
            model,
            version,
            plan,
            started: now,
            stage: 0,
            state: State::Running,
        }
    }
}
