//! The seam that carries records: ordered, durable streams.

use std::fmt;

use tokio::sync::watch;

use crate::telemetry::Record;

/// Position of a record: global over all streams, strictly growing, never used twice; gaps are normal.
///
/// `Seq::ZERO` is before the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of this position.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which stream a record belongs to; the numbers are on disk and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stream {
    /// The broker's sessions: what must survive a crash of the gateway.
    Sessions = 1,
    /// Telemetry on its way to the vault ([`crate::telemetry::Record`]).
    Telemetry = 2,
    /// Changes of the fleet, for the other gateways.
    Fleet = 3,
    /// What devices say of themselves, on its way to judgement ([`crate::telemetry::Record`]).
    Posture = 4,
}

impl Stream {
    /// Every stream there is.
    pub const ALL: [Self; 4] = [Self::Sessions, Self::Telemetry, Self::Fleet, Self::Posture];

    /// The stable number of this stream.
    pub const fn id(self) -> u8 {
        match self {
            Self::Sessions => 1,
            Self::Telemetry => 2,
            Self::Fleet => 3,
            Self::Posture => 4,
        }
    }

    /// The stream with this number.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Sessions),
            2 => Some(Self::Telemetry),
            3 => Some(Self::Fleet),
            4 => Some(Self::Posture),
            _ => None,
        }
    }

    /// Place of this stream in an array with one element a stream.
    pub(crate) const fn slot(self) -> usize {
        match self {
            Self::Sessions => 0,
            Self::Telemetry => 1,
            Self::Fleet => 2,
            Self::Posture => 3,
        }
    }
}

/// Whether records are taken at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusStatus {
    /// Records are taken.
    Healthy,
    /// Records are refused.
    Refusing {
        /// Why, for a person.
        reason: String,
        /// Whether it ends by itself once the cause is gone (a full disk), or needs a restart (a failed one).
        passing: bool,
    },
}

/// Why a record was not taken, or not read.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The disk is slower than the producers: nothing was taken; try again when [`Bus::durable`] has moved.
    #[error("the journal's buffer is full: the disk is slower than what comes in")]
    Full,
    /// The disk is full or failed: nothing is taken until that is mended.
    #[error("the journal takes no records: {reason}")]
    Refusing {
        /// Why, for a person.
        reason: String,
    },
    /// A record that can never be taken.
    #[error("records of {bytes} bytes are too large (the limit is {limit})")]
    TooLarge {
        /// What was asked for, with the overhead.
        bytes: usize,
        /// What fits.
        limit: usize,
    },
    /// Reading failed.
    #[error("cannot read the journal")]
    Read(#[source] std::io::Error),
    /// What is on disk is not what was written.
    #[error("the journal is damaged: {file} at byte {offset}: {detail}")]
    Damaged {
        /// The file.
        file: String,
        /// Where the damage starts.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A record that was written is not one that this bus seals with its key.
    #[error("record {seq} of the bus cannot be opened: {detail}")]
    Sealed {
        /// Its position.
        seq: Seq,
        /// Why not, and what to do.
        detail: &'static str,
    },
}

/// Ordered, durable streams of records.
///
/// Appending never waits for the disk. Who must wait watches [`Bus::durable`]: everything at or before it survives a
/// crash (and, as far as the implementation's durability setting says, a loss of power).
pub trait Bus: Send + Sync + fmt::Debug {
    /// Appends several records as one: after a crash either all of them are there or none is.
    ///
    /// They get successive positions; the last one is returned. At least one record must be given.
    fn append_all(&self, records: &[(Stream, &[u8])]) -> Result<Seq, BusError>;

    /// Appends one record and returns its position.
    fn append(&self, stream: Stream, record: &[u8]) -> Result<Seq, BusError> {
        self.append_all(&[(stream, record)])
    }

    /// The form in which a message of a device goes on [`Stream::Telemetry`]: as it is, unless this bus carries only what
    /// was treated and sealed. What cannot be prepared was not taken.
    fn prepare(&self, record: &Record<'_>) -> Result<Vec<u8>, BusError> {
        Ok(record.encode())
    }

    /// The position up to which everything is durable; it only grows.
    fn durable(&self) -> watch::Receiver<Seq>;

    /// Whether records are taken at the moment.
    fn status(&self) -> BusStatus;

    /// Durable records of `stream` after `after`, oldest first: at most `max_records`, and fewer when they are large.
    ///
    /// Empty only if there is none. Records already trimmed may still be given: a consumer keeps its own position.
    fn read(
        &self,
        stream: Stream,
        after: Seq,
        max_records: usize,
    ) -> Result<Vec<(Seq, Vec<u8>)>, BusError>;

    /// Says that nothing of `stream` at or before `up_to` is needed any more. Space is freed in large pieces, once
    /// every stream is past them.
    fn trim(&self, stream: Stream, up_to: Seq) -> Result<(), BusError>;

    /// The newest position given out, durable or not; every record appended later gets a higher one.
    fn last(&self) -> Seq;

    /// What is durable now and what is appended from now on are kept apart: once all of the former is trimmed, none of it
    /// stays because of the latter. A bus that frees records one by one has nothing to do.
    fn part(&self) {}

    /// The oldest position that may still be on disk, trimmed or not; above [`Bus::last`] if there is none.
    fn first(&self) -> Seq {
        Seq::ZERO
    }
}
