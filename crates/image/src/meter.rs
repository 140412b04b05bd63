//! What reading an image may cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stockade_controls::engine::Unseen;

/// Bounds of one audit of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep images lie in images.
    pub depth: u8,
    /// The most files, directories and links in all.
    pub nodes: u64,
    /// The most bytes that are made by decompressing, in all.
    pub expanded: u64,
    /// The longest file or stream that is held in memory, in bytes.
    pub longest: usize,
    /// The most bytes of streams that are held in memory together, as files are read in them later.
    pub held: u64,
    /// How long it may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 8,
            nodes: 2_000_000,
            expanded: 16 << 30,
            longest: 512 << 20,
            held: 2 << 30,
            time: Duration::from_mins(5),
        }
    }
}

/// Counts what was spent; one for a whole audit, shared by all its readers. A clone counts on the same.
#[derive(Debug, Clone)]
pub struct Meter {
    limits: Limits,
    until: Instant,
    spent: Arc<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    nodes: AtomicU64,
    expanded: AtomicU64,
    held: AtomicU64,
}

impl Meter {
    /// Starts to count.
    pub fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            limits,
            until: now.checked_add(limits.time).unwrap_or(now),
            spent: Arc::default(),
        }
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// One file, directory or link more.
    pub fn node(&self) -> Result<(), Unseen> {
        spend(&self.spent.nodes, 1, self.limits.nodes)?;
        self.time()
    }

    /// So many bytes more will be made by decompressing.
    pub fn expand(&self, bytes: u64) -> Result<(), Unseen> {
        spend(&self.spent.expanded, bytes, self.limits.expanded)?;
        self.time()
    }

    /// So many bytes will stay in memory.
    pub fn hold(&self, bytes: u64) -> Result<(), Unseen> {
        spend(&self.spent.held, bytes, self.limits.held)
    }

    /// How many bytes stay in memory.
    pub(crate) fn held(&self) -> u64 {
        self.spent.held.load(Ordering::Relaxed)
    }

    /// No more than so many stay in memory now.
    pub(crate) fn let_go(&self, held: u64) {
        self.spent.held.store(held, Ordering::Relaxed);
    }

    /// Whether there is time left.
    pub fn time(&self) -> Result<(), Unseen> {
        if Instant::now() < self.until {
            Ok(())
        } else {
            let seconds = self.limits.time.as_secs();
            Err(Unseen::Failed(format!(
                "it took longer than {seconds} seconds"
            )))
        }
    }
}

fn spend(counter: &AtomicU64, more: u64, most: u64) -> Result<(), Unseen> {
    let before = counter.fetch_add(more, Ordering::Relaxed);
    if before.saturating_add(more) > most {
        return Err(Unseen::TooMuch(usize::try_from(most).unwrap_or(usize::MAX)));
    }
    Ok(())
}
