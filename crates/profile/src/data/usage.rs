//! `[vault.*]`: what the stored data of a data set may be used for.

use std::time::Duration;

use super::{Decimal, Percent};
use crate::fault::{Faulted, Faults};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::{identifier, name};

name! {
    /// What data is used for, as the maker names it.
    PurposeName: "a purpose", identifier
}

const DAY: Duration = Duration::from_hours(24);

/// What a data set's stored data may be used for. What is not said is strict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataSetUse {
    /// What single devices' data may be looked at for; for nothing else, and if there is none, not at all.
    pub purposes: Vec<PurposeName>,
    /// How long it is kept; see [`Self::retention`].
    pub retention: Option<Duration>,
    /// How much of it one device adds; see [`Self::contribution`].
    pub contribution: Option<Contribution>,
    /// What an anonymised release must reach; see [`Self::release`].
    pub release: Option<ReleaseGoal>,
    /// What aggregates may cost; see [`Self::budget`].
    pub budget: Option<Budget>,
}

/// How many records of one device count, at most, in a release or an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contribution {
    /// In how long.
    pub per: Duration,
    /// How many.
    pub records: u32,
}

/// What an anonymised release must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseGoal {
    /// So many devices at least are alike in every quasi-identifier (k-anonymity).
    pub k: u32,
    /// So many values at least a sensitive field has among them (l-diversity).
    pub l: u32,
    /// At most so far its distribution among them is from that of all (t-closeness), 0 to 1.
    pub t: Decimal,
    /// At most so many of the records may be left out to reach this.
    pub suppress: Percent,
    /// At most so long a record may wait for others that are like it.
    pub delay: Duration,
}

/// What all aggregates together may reveal about one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The sum of what they may cost.
    pub epsilon: Decimal,
    /// In how long.
    pub per: Duration,
}

impl DataSetUse {
    /// How long it is kept where the profile does not say: 30 days.
    pub const RETENTION: Duration = Duration::from_hours(30 * 24);

    /// How long it is kept.
    pub fn retention(&self) -> Duration {
        self.retention.unwrap_or(Self::RETENTION)
    }

    /// How many records of one device count.
    pub fn contribution(&self) -> Contribution {
        self.contribution.unwrap_or_default()
    }

    /// What an anonymised release must reach.
    pub fn release(&self) -> ReleaseGoal {
        self.release.unwrap_or_default()
    }

    /// What aggregates may cost.
    pub fn budget(&self) -> Budget {
        self.budget.unwrap_or_default()
    }
}

/// Where the profile does not say: 24 records a day, one an hour.
impl Default for Contribution {
    fn default() -> Self {
        Self {
            per: DAY,
            records: 24,
        }
    }
}

/// Where the profile does not say: k = 10, l = 3, t = 0.3, 5 % left out, one hour.
impl Default for ReleaseGoal {
    fn default() -> Self {
        Self {
            k: 10,
            l: 3,
            t: Decimal::of_millionths(300_000),
            suppress: Percent::FIVE,
            delay: Duration::from_hours(1),
        }
    }
}

/// Where the profile does not say: 1 in 30 days.
impl Default for Budget {
    fn default() -> Self {
        Self {
            epsilon: Decimal::whole(1),
            per: DataSetUse::RETENTION,
        }
    }
}

impl Form for DataSetUse {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let purposes = keys.or_default("purposes");
        let retention = keys.optional("retention");
        let contribution = keys.optional("contribution");
        let release = keys.optional("release");
        let budget = keys.optional("budget");
        keys.finish()?;
        Ok(Self {
            purposes: purposes?,
            retention: retention?,
            contribution: contribution?,
            release: release?,
            budget: budget?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("purposes", &self.purposes)
            .some("retention", self.retention.as_ref())
            .some("contribution", self.contribution.as_ref())
            .some("release", self.release.as_ref())
            .some("budget", self.budget.as_ref())
            .done()
    }
}

impl Form for Contribution {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let per = keys.required("per", "\"1d\"");
        let records = keys.required("records", "96");
        let records = keys.within("records", records, &(1..=1_000_000));
        keys.finish()?;
        Ok(Self {
            per: per?,
            records: records?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("per", &self.per)
            .put("records", &self.records)
            .done()
    }
}

impl Form for ReleaseGoal {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let strict = Self::default();
        let mut keys = Keys::of(node, faults)?;
        let k = keys.or("k", strict.k);
        let l = keys.or("l", strict.l);
        let t = keys.or("t", strict.t);
        let t = keys.within("t", t, &(Decimal::whole(0)..=Decimal::whole(1)));
        let suppress = keys.or("suppress", strict.suppress);
        let delay = keys.or("delay", strict.delay);
        keys.finish()?;
        Ok(Self {
            k: k?,
            l: l?,
            t: t?,
            suppress: suppress?,
            delay: delay?,
        })
    }

    fn write(&self) -> Value {
        let strict = Self::default();
        Writer::default()
            .unless("k", &self.k, &strict.k)
            .unless("l", &self.l, &strict.l)
            .unless("t", &self.t, &strict.t)
            .unless("suppress", &self.suppress, &strict.suppress)
            .unless("delay", &self.delay, &strict.delay)
            .done()
    }
}

impl Form for Budget {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let epsilon = keys.required("epsilon", "\"1\"");
        let epsilon = keys.within(
            "epsilon",
            epsilon,
            &(Decimal::MILLIONTH..=Decimal::whole(1_000)),
        );
        let per = keys.required("per", "\"30d\"");
        keys.finish()?;
        Ok(Self {
            epsilon: epsilon?,
            per: per?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("epsilon", &self.epsilon)
            .put("per", &self.per)
            .done()
    }
}
