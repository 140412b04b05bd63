//! What goes into a stream, and what comes out.

use std::collections::BTreeSet;

use super::{Cell, Domain, Span};

/// What a stream must keep to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// At least so many distinct subjects in each emission, and in the core of each group.
    pub k: u32,
    /// So many more in a group when it is cut: members that may stop for good before the group falls silent.
    pub spare: u32,
    /// At least so many different values of each sensitive column in each emission.
    pub l: u32,
    /// The farthest that an emission's values of a sensitive column may be from those of all rows so far, 0 to 1.
    pub t: f64,
    /// The longest that a row waits, in the unit of the times that are handed in.
    pub delay: u64,
    /// The most rows of one subject in one emission; what is more is suppressed.
    pub rows_per_subject: usize,
    /// The most rows that wait at any time; what comes on top is suppressed.
    pub waiting: usize,
    /// The most subjects; rows of those beyond are suppressed.
    pub subjects: usize,
    /// Whether groups are sticky. They must be; without it, releases can be laid over one another.
    pub sticky: bool,
    /// What is known to others, column by column.
    pub quasi: Vec<Domain>,
    /// What nobody is to learn, column by column.
    pub sensitive: Vec<Sensitive>,
}

/// A sensitive column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sensitive {
    /// Its codes are below this.
    pub codes: u32,
    /// Whether they are in order, so that neighbours are alike.
    pub ordered: bool,
}

/// One row that comes in.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Whose it is, below [`Settings::subjects`].
    pub subject: u32,
    /// A cell for each of [`Settings::quasi`].
    pub quasi: Vec<Cell>,
    /// A code for each of [`Settings::sensitive`].
    pub sensitive: Vec<u32>,
    /// By what the caller knows the row again.
    pub tag: u64,
}

/// Rows that leave together.
#[derive(Debug, Clone, PartialEq)]
pub struct Emission {
    /// What each quasi-identifier of all these rows becomes.
    pub spans: Vec<Span>,
    /// The rows, in an order that says nothing of when they came.
    pub rows: Vec<Out>,
    /// How many subjects they are of.
    pub subjects: u32,
}

/// A row that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Out {
    /// As it came in.
    pub tag: u64,
    /// Whose it is: for the ledger, never to be published.
    pub subject: u32,
}

/// Subjects that are only ever released together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// All of them.
    pub members: BTreeSet<u32>,
    /// Those who were in each emission.
    pub core: BTreeSet<u32>,
}

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Rows that came.
    pub taken: u64,
    /// Rows that left.
    pub released: u64,
    /// Suppressed: no k + spare subjects without a group waited.
    pub few: u64,
    /// Suppressed: too few of the group's core sent anything.
    pub thin: u64,
    /// Suppressed: sensitive values too alike, or too unlike all others.
    pub alike: u64,
    /// Suppressed: more rows of one subject than [`Settings::rows_per_subject`].
    pub crowded: u64,
    /// Suppressed: too many rows or subjects.
    pub full: u64,
    /// Refused: not of the shape that the settings say.
    pub shapeless: u64,
    /// The information loss of the released rows, summed: 0 to 1 each (normalised certainty penalty, mean of the columns).
    pub loss: f64,
}

impl Tally {
    /// What a released row lost on average, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a count to divide by")]
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.released.max(1) as f64
    }

    /// Rows that came and will never leave.
    pub const fn suppressed(&self) -> u64 {
        self.few + self.thin + self.alike + self.crowded + self.full + self.shapeless
    }
}

/// Why settings are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsFault {
    /// k below 2 protects nobody.
    #[error("k is {0}; with less than 2 everybody stands alone")]
    K(u32),
    /// t is a distance.
    #[error("t is not between 0 and 1")]
    T,
    /// A range from low to high that is none.
    #[error("quasi-identifier {0} has no range")]
    Range(usize),
    /// Something that must be is zero.
    #[error("{0} is 0")]
    Zero(&'static str),
    /// A group that is kept from before does not fit.
    #[error("a group has a member twice, beyond the number of subjects, or in the core only")]
    Group,
}
