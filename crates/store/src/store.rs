//! The seam that keeps state: tables of keys and values, changed in atomic and durable batches.

use std::fmt;
use std::ops::{Bound, ControlFlow};

/// A table's name. Each crate names its own tables: `registry.devices`, `vault.blocks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table(&'static str);

impl Table {
    /// The table of this name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Which entries of a table are wanted. Keys are ordered by their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Only keys which start with this.
    pub prefix: Vec<u8>,
    /// Only keys beyond this one, in the direction of the scan.
    pub after: Option<Vec<u8>>,
    /// At most this many.
    pub limit: usize,
    /// From the highest key down.
    pub reverse: bool,
}

impl Scan {
    /// All entries of the table.
    pub const fn all() -> Self {
        Self {
            prefix: Vec::new(),
            after: None,
            limit: usize::MAX,
            reverse: false,
        }
    }

    /// Entries whose keys start with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::all()
        }
    }

    /// The same, but only beyond `key`.
    #[must_use]
    pub fn after(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.after = Some(key.into());
        self
    }

    /// The same, but at most `limit` entries.
    #[must_use]
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The same, from the highest key down.
    #[must_use]
    pub const fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }
}

/// What must be true of a key for a batch to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The key must not be there.
    Absent,
    /// The key must have this value.
    Equals(Vec<u8>),
}

/// One step of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Refuse the whole batch unless this holds before it.
    Require(Table, Vec<u8>, Need),
    /// Set a key, new or not.
    Put(Table, Vec<u8>, Vec<u8>),
    /// Remove a key, there or not.
    Delete(Table, Vec<u8>),
}

/// Changes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
}

impl Batch {
    /// An empty batch.
    pub const fn new() -> Self {
        Self { ops: Vec::new() }
    }

    /// Sets `key` to `value`.
    pub fn put(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.ops.push(Op::Put(table, key.into(), value.into()));
        self
    }

    /// Removes `key`; fine if it is not there.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) -> &mut Self {
        self.ops.push(Op::Delete(table, key.into()));
        self
    }

    /// Refuses the batch with [`StoreError::Conflict`] if `key` was there before it.
    pub fn require_absent(&mut self, table: Table, key: impl Into<Vec<u8>>) -> &mut Self {
        self.ops.push(Op::Require(table, key.into(), Need::Absent));
        self
    }

    /// Refuses the batch with [`StoreError::Conflict`] unless `key` had exactly this value before it.
    pub fn require_equals(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.ops
            .push(Op::Require(table, key.into(), Need::Equals(value.into())));
        self
    }

    /// The steps, in the order they were asked for. Requirements are about the state before the whole batch.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Why the store did not do what was asked. Nothing was changed, unless it was [`StoreError::Unknown`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A requirement of the batch did not hold: somebody else was quicker.
    #[error("a requirement on table {table} did not hold")]
    Conflict {
        /// The table of the first requirement that failed.
        table: Table,
    },
    /// No room on the disk.
    #[error("no room left on the disk for {file}")]
    Full {
        /// The file that cannot grow.
        file: String,
    },
    /// The store was written by a newer version.
    #[error(
        "{file} has format {found}; this version knows formats up to {known}: start a newer stockade"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The file belongs to something else.
    #[error("{file} is a database, but not one of Stockade's store")]
    Foreign {
        /// The file.
        file: String,
    },
    /// The connection to the database broke during a commit, and did not come back to ask what became of it.
    #[error("{file}: the connection broke during a commit: it may have happened")]
    Unknown {
        /// The database.
        file: String,
    },
    /// The database failed.
    #[error("{file}: cannot {doing}")]
    Failed {
        /// The file.
        file: String,
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Is shown a table's name, a key and its value.
pub type EachEntry<'a> = dyn FnMut(&str, &[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Tables of keys and values. Calls block: use `spawn_blocking` where latency matters.
pub trait Store: Send + Sync + fmt::Debug {
    /// The value of `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Entries in the order of their keys.
    fn scan(&self, table: Table, scan: Scan) -> Result<Vec<Entry>, StoreError>;

    /// Carries out all of `batch` or nothing; on disk when it returns.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Shows `each` every entry of the tables whose names start with `prefix`, by table and key, as they are at one moment,
    /// until it breaks off.
    fn snapshot(&self, prefix: &str, each: &mut EachEntry<'_>) -> Result<(), StoreError> {
        let _ = (prefix, each);
        Err(StoreError::Failed {
            file: format!("{self:?}"),
            doing: "show all entries of one moment",
            source: "this store cannot".into(),
        })
    }

    /// Makes what was deleted unreadable in the engine's own files.
    fn scrub(&self) -> Result<Scrub, StoreError> {
        Ok(Scrub::Never)
    }
}

/// What became of deleted values in an engine's own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrub {
    /// They are unreadable.
    Done,
    /// Somebody reads, such as a backup, and keeps them: to be tried again.
    Busy,
    /// The engine keeps copies that it alone can remove, in its own time (`PostgreSQL`: dead rows, the write-ahead log).
    Never,
}

pub(crate) type KeyBound = Bound<Vec<u8>>;

/// The lowest and highest key of a scan; `None` if there can be none.
pub(crate) fn bounds(scan: &Scan) -> Option<(KeyBound, KeyBound)> {
    let mut low = Bound::Included(scan.prefix.clone());
    let mut high = after_prefix(&scan.prefix).map_or(Bound::Unbounded, Bound::Excluded);
    if let Some(after) = &scan.after {
        let inside = after.starts_with(&scan.prefix);
        match (scan.reverse, inside, *after < scan.prefix) {
            (false, true, _) => low = Bound::Excluded(after.clone()),
            (true, true, _) => high = Bound::Excluded(after.clone()),
            // Beyond the prefix already: nothing is left; before it: all is.
            (false, false, false) | (true, false, true) => return None,
            (false, false, true) | (true, false, false) => {}
        }
    }
    Some((low, high))
}

/// The first key behind all that start with `prefix`; `None` if there is none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if let Some(next) = last.checked_add(1) {
            key.push(next);
            return Some(key);
        }
    }
    None
}
