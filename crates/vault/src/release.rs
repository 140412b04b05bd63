//! Anonymised releases: one row for each device, k of them alike, attacked before they leave, and remembered.
//!
//! A release, and in which class each device was in it, is in the ledger before it is given; so is an entry in the log. The
//! next release of the same data set is held against all of the ledger.

mod input;
mod ledger;
mod precision;
mod read;
mod stream;
mod told;

use stockade_anonymity::csv::{CsvFault, Formulas};
use stockade_anonymity::fold::{FoldFault, Rows};
use stockade_anonymity::gate;
use stockade_anonymity::{Diversity, Goal, Recoding, SearchFault};
use stockade_profile::ReleaseGoal;
use time::OffsetDateTime;

pub use self::input::{ColumnRole, Input, InputRole, Roles};
pub use self::precision::Count;
use self::precision::Precision;
use self::read::Reading;
pub(crate) use self::stream::Streams;
pub use self::stream::{StreamError, StreamPage, StreamRow, StreamStatus, Streamed};
pub use self::told::{Asked, Given, Linkage, Measured, Release, Risk};
use crate::access::{Access, Action};
use crate::log::{Entry, Outcome};
use crate::vault::{Vault, VaultError};

/// What a release is asked to reach. What is not said is as the profile says it, and nothing may be laxer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReleaseAsk {
    /// The data set.
    pub schema: String,
    /// So many devices alike.
    pub k: Option<u32>,
    /// So many sensitive values among them.
    pub l: Option<u32>,
    /// So far from all of them at most.
    pub t: Option<f64>,
    /// Which part may be left out.
    pub suppress: Option<f64>,
    /// Each row only as coarse as its neighbours need, instead of all alike.
    pub local: bool,
    /// Only records of this time and later.
    pub from: Option<OffsetDateTime>,
    /// Only records before this time.
    pub to: Option<OffsetDateTime>,
    /// Only tell what would come of it.
    pub dry_run: bool,
}

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// There is no such data set.
    #[error("there is no data set `{}`; there is {}", .schema.escape_debug(), crate::stat::among(.known))]
    UnknownDataSet {
        /// What was asked for.
        schema: String,
        /// Those that have records.
        known: Vec<String>,
    },
    /// Laxer than the profile.
    #[error("{what} {asked} is laxer than the profile, which says {floor}")]
    Lax {
        /// Which of the numbers.
        what: &'static str,
        /// What was asked.
        asked: String,
        /// What the profile says.
        floor: String,
    },
    /// Nothing was sent in that time.
    #[error("no device sent a record of `{0}` in that time")]
    Nothing(String),
    /// Too few sent anything for who asks to be told of.
    #[error("fewer than {least} devices sent a record of `{schema}` in that time")]
    Few {
        /// The data set.
        schema: String,
        /// So many are needed.
        least: u32,
    },
    /// No release reaches the goal; how many devices there are is not told.
    #[error(
        "there is no such release: the table can not reach this however coarse: all together {0}"
    )]
    Unreachable(&'static str),
    /// A file of values, or of a hierarchy, cannot be read.
    #[error("the file cannot be read: {0}")]
    Csv(#[from] CsvFault),
    /// A time in a file is none.
    #[error("line {0}: not a time as 2026-01-31T12:00:00Z (RFC 3339)")]
    Time(usize),
    /// The records make no rows.
    #[error("the data cannot be released: {0}")]
    Fold(#[from] FoldFault),
    /// No release reaches the goal.
    #[error("there is no such release: {0}")]
    Search(#[from] SearchFault),
    /// The ledger is full.
    #[error("`{0}` was released {max} times, and each release more gives more away: no other one is made", max = ledger::MOST)]
    Often(String),
    /// Another release was made at the same moment.
    #[error("another release was made at the same time: ask again")]
    Meanwhile,
    /// The vault failed, or who asked may not.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<stockade_store::StoreError> for ReleaseError {
    fn from(error: stockade_store::StoreError) -> Self {
        Self::Vault(error.into())
    }
}

/// What must be reached: what the profile says, or what is asked where that is stricter. Laxer is refused.
fn strict(floor: ReleaseGoal, ask: &ReleaseAsk) -> Result<Goal, ReleaseError> {
    fn no_less<T: PartialOrd + Copy + ToString>(
        what: &'static str,
        floor: T,
        asked: Option<T>,
        is_lax: impl Fn(T, T) -> bool,
    ) -> Result<T, ReleaseError> {
        match asked {
            Some(asked) if is_lax(asked, floor) => Err(ReleaseError::Lax {
                what,
                asked: asked.to_string(),
                floor: floor.to_string(),
            }),
            asked => Ok(asked.unwrap_or(floor)),
        }
    }
    // What is no number is neither more nor less than another: it is lax.
    let above = |asked: f64, floor: f64| asked.is_nan() || asked > floor;
    Ok(Goal {
        k: no_less("k", floor.k, ask.k, |asked, floor| asked < floor)?,
        l: Some(Diversity::Distinct(no_less(
            "l",
            floor.l,
            ask.l,
            |asked, floor| asked < floor,
        )?)),
        t: Some(no_less("t", floor.t.to_f64(), ask.t, above)?),
        suppress: no_less(
            "suppress",
            f64::from(floor.suppress.parts()) / 100.0,
            ask.suppress,
            above,
        )?,
    })
}

/// How values are made coarser, by what was asked.
const fn recoding(local: bool) -> Recoding {
    if local {
        Recoding::Local
    } else {
        Recoding::Whole
    }
}

impl Vault {
    /// Makes a release of a data set, if it passes. What it gives away is in the ledger and in the log before it is given; that
    /// it was refused is in the log.
    pub fn release(
        &self,
        access: &Access,
        ask: &ReleaseAsk,
        now: OffsetDateTime,
    ) -> Result<Release, ReleaseError> {
        let reading = self.reading(access, Action::Release, ask, now)?;
        let precision = reading.precision;
        let goal = precision.goal(strict(reading.floor, ask)?, reading.floor.k);
        let mut earlier = self.earlier(&ask.schema, &reading.subjects)?;
        let stream = self.stream_classes(&ask.schema, &reading.subjects)?;
        earlier.classes.extend(stream);
        let entry = |outcome: Option<&str>| {
            let mut entry = Entry::new(now, access, Action::Release).fact("k", goal.k.into());
            entry.dataset = Some(ask.schema.clone());
            entry.query_hash = Some(self.log().digest("release", format!("{ask:?}").as_bytes()));
            match outcome {
                Some(why) => entry.because(Outcome::Refused, why),
                None => entry,
            }
        };
        let judged = match gate::judge(&reading.rows, &goal, recoding(ask.local), &earlier.classes)
        {
            Ok(judged) => judged,
            Err(fault) => {
                let _receipt = self.tell(&entry(Some("unreachable")))?;
                return Err(precision.fault(fault));
            }
        };
        let mut release = Release::of(&ask.schema, &goal, &judged, precision);
        release.omitted = reading.omitted;
        release.missing_blocks = reading.damaged.len();
        release.earlier = u32::try_from(earlier.classes.len()).unwrap_or(u32::MAX);
        if !judged.reasons.is_empty() {
            let _receipt = self.tell(&entry(Some("gate")))?;
            return Ok(release);
        }
        if ask.dry_run {
            let _receipt = self.tell(&entry(None).fact("dry-run", 1))?;
            return Ok(release);
        }
        ledger::write(
            self,
            &ask.schema,
            &reading.subjects,
            &earlier,
            &judged.classes,
            now,
        )?;
        release.number = Some(earlier.next);
        let release = release.with(&judged.release);
        let mut told = entry(None).fact("release", earlier.next.into()).fact(
            "rows",
            u64::try_from(release.rows.len()).unwrap_or(u64::MAX),
        );
        told.result_hash = Some(
            self.log()
                .digest("rows", release.csv(Formulas::Raw).as_bytes()),
        );
        let _receipt = self.tell(&told)?;
        Ok(release)
    }

    /// How exposed the devices of a data set are, as it is stored and as it would be released.
    pub fn risk(
        &self,
        access: &Access,
        ask: &ReleaseAsk,
        now: OffsetDateTime,
    ) -> Result<Risk, ReleaseError> {
        let reading = self.reading(access, Action::Risk, ask, now)?;
        let precision = reading.precision;
        let goal = precision.goal(strict(reading.floor, ask)?, reading.floor.k);
        let mut earlier = self.earlier(&ask.schema, &reading.subjects)?;
        let stream = self.stream_classes(&ask.schema, &reading.subjects)?;
        earlier.classes.extend(stream);
        let mut entry = Entry::new(now, access, Action::Risk);
        entry.dataset = Some(ask.schema.clone());
        let _receipt = self.tell(&entry)?;
        let mut risk = risk(
            &ask.schema,
            &reading.rows,
            &goal,
            (recoding(ask.local), precision),
            &earlier.classes,
        );
        risk.singled_out =
            (reading.points.tried > 0).then(|| precision.share(reading.points.share()));
        risk.omitted = reading.omitted;
        risk.missing_blocks = reading.damaged.len();
        Ok(risk)
    }

    fn tell(&self, entry: &Entry) -> Result<crate::log::Receipt, VaultError> {
        Ok(self.log().append(entry)?)
    }

    /// The rows of a data set, for who may.
    fn reading(
        &self,
        access: &Access,
        action: Action,
        ask: &ReleaseAsk,
        now: OffsetDateTime,
    ) -> Result<Reading, ReleaseError> {
        if let Err(refused) = access.may(action, &[]) {
            return Ok(self.refuse(access, action, refused, now)?);
        }
        let read = read::read(self, ask, access);
        if let Err(ReleaseError::Few { .. }) = &read {
            let mut entry = Entry::new(now, access, action).because(Outcome::Refused, "few");
            entry.dataset = Some(ask.schema.clone());
            let _receipt = self.tell(&entry)?;
        }
        read
    }
}

/// How exposed people are in these rows, and in what a release would make of them.
fn risk(
    name: &str,
    rows: &Rows,
    goal: &Goal,
    (recoding, precision): (Recoding, Precision),
    earlier: &[Vec<Option<u32>>],
) -> Risk {
    let (report, linked) = gate::exposure(rows);
    let (released, unreachable) = match gate::judge(rows, goal, recoding, earlier) {
        Ok(judged) => (Some(Release::of(name, goal, &judged, precision)), None),
        Err(fault) => (None, Some(precision.unreachable(fault))),
    };
    let mut risk = Risk::of(name, goal, (&report, linked), precision);
    risk.released = released;
    risk.unreachable = unreachable;
    risk
}
