//! The one thread that writes the journal.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::disk::Disk;
use super::frame::{FILE_HEADER, FileHeader};
use super::segment::{MARK_EVERY, Mark, Segment, named};
use super::{Durability, Front, GAP, Group, Refusal, Shared};
use crate::bus::Seq;

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// A buffer grown beyond this by a burst is given back once it is not needed.
const KEPT_BUFFER: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    /// The segment being written; readers see it as of the last commit.
    active: Segment,
    /// The last position in the file.
    written: Seq,
    /// The last position that is on the medium, and when it got there.
    synced: Seq,
    synced_at: Instant,
    publish: watch::Sender<Seq>,
}

/// What a failure means for those who append.
enum Failure {
    /// No room: it may pass.
    Full(io::Error),
    /// The medium fails: until a restart.
    Broken(io::Error),
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        active: Segment,
        last: Seq,
        publish: watch::Sender<Seq>,
    ) -> Self {
        Self {
            shared,
            disk,
            active,
            written: last,
            synced: last,
            synced_at: Instant::now(),
            publish,
        }
    }

    pub(super) fn run(mut self) {
        // However this thread ends, nobody may believe that it still writes.
        let _ended = Ended(Arc::clone(&self.shared));
        let mut group = Group::default();
        loop {
            group.clear();
            let closing = self.take(&mut group);
            if !group.bytes.is_empty() && !self.commit(&group) {
                return;
            }
            if let Err(error) = self.sync_if_due(closing) {
                self.refuse_for_good(&error);
                return;
            }
            if closing && group.bytes.is_empty() {
                return;
            }
        }
    }

    /// Waits for records and swaps them into `group`; says whether the journal is being closed. Also returns, with
    /// nothing, when a sync is due.
    fn take(&self, group: &mut Group) -> bool {
        let mut front = self.shared.front();
        while front.group.bytes.is_empty() && !front.closing {
            front.idle = true;
            let Some(due) = self.until_sync() else {
                front = self
                    .shared
                    .work
                    .wait(front)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if due.is_zero() {
                break;
            }
            front = self
                .shared
                .work
                .wait_timeout(front, due)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        front.idle = false;
        std::mem::swap(&mut front.group, group);
        if !group.bytes.is_empty() {
            group.parts = std::mem::take(&mut front.part);
        }
        front.closing
    }

    /// How long until the interval's sync is due; `None` if nothing waits for one.
    fn until_sync(&self) -> Option<Duration> {
        match self.shared.options.durability {
            Durability::Interval(every) if self.synced < self.written => {
                Some(every.saturating_sub(self.synced_at.elapsed()))
            }
            Durability::Interval(_) | Durability::Commit => None,
        }
    }

    /// Writes `group` and publishes it, trying again while the disk is full. False: it was given up.
    fn commit(&mut self, group: &Group) -> bool {
        loop {
            match self.write(group) {
                Ok(()) => {
                    self.recovered();
                    let _before = self.publish.send_replace(group.last);
                    return true;
                }
                Err(Failure::Broken(error)) => {
                    self.refuse_for_good(&error);
                    return false;
                }
                Err(Failure::Full(error)) => {
                    if !self.wait_for_room(&error) {
                        return false;
                    }
                }
            }
        }
    }

    /// Writes `group` behind the last good byte. Nothing counts before the end: if it fails, it is done again from the
    /// start.
    fn write(&mut self, group: &Group) -> Result<(), Failure> {
        let length = group.bytes.len() as u64;
        if self.active.used > FILE_HEADER as u64
            && (group.parts || self.active.used + length > self.shared.options.segment_bytes)
        {
            self.rotate(group)?;
        }
        let at = self.active.used;
        let end = at + length;
        self.disk
            .write_at(&self.active.file, &group.bytes, at)
            .map_err(|e| self.failed(&e))?;
        match self.shared.options.durability {
            Durability::Commit => self.sync(group.last)?,
            Durability::Interval(_)
                if group.last.get().saturating_sub(self.synced.get()) >= GAP =>
            {
                self.sync(group.last)?;
            }
            Durability::Interval(_) => {}
        }
        self.written = group.last;
        self.active.take_in(group, end);
        let mut index = self.shared.index();
        if let Some(visible) = index.segments.back_mut() {
            visible.take_in(group, end);
        }
        Ok(())
    }

    /// Closes the active segment and begins the next one, whose first record is the first of `group`.
    fn rotate(&mut self, group: &Group) -> Result<(), Failure> {
        // On the medium, and no longer than its records: only the last segment may end in anything else.
        self.active
            .file
            .set_len(self.active.used)
            .map_err(|e| self.failed(&e))?;
        self.active
            .file
            .sync_all()
            .map_err(|e| Failure::Broken(named(&self.active.path, &e)))?;
        self.synced = self.written;
        self.synced_at = Instant::now();
        let first = group.marks.first().map_or(group.last, |mark| mark.first);
        let header = FileHeader {
            first,
            after: self.written,
            salt: self.shared.salt,
        };
        let next =
            Segment::create(&self.shared.dir, header, &*self.disk).map_err(|e| self.failed(&e))?;
        tracing::debug!(segment = %next.path.display(), "began a segment of the journal");
        self.shared.index().segments.push_back(next.clone());
        self.active = next;
        Ok(())
    }

    fn sync_if_due(&mut self, closing: bool) -> Result<(), io::Error> {
        let due = self
            .until_sync()
            .is_some_and(|left| left.is_zero() || closing);
        match due.then(|| self.sync(self.written)) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(Failure::Broken(error) | Failure::Full(error))) => Err(error),
        }
    }

    /// After a sync that failed, the kernel may have marked the pages clean without having written them: a second sync
    /// would succeed and mean nothing. So there is no second try; whoever restarts reads from the disk what is there.
    fn sync(&mut self, up_to: Seq) -> Result<(), Failure> {
        self.disk
            .sync(&self.active.file)
            .map_err(|e| Failure::Broken(named(&self.active.path, &e)))?;
        self.synced = up_to;
        self.synced_at = Instant::now();
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        let error = named(&self.active.path, error);
        if full {
            Failure::Full(error)
        } else {
            Failure::Broken(error)
        }
    }

    /// Refuses appends, and waits a moment. False: the journal was closed meanwhile.
    fn wait_for_room(&self, error: &io::Error) -> bool {
        let mut front = self.shared.front();
        if front.refusing.is_none() {
            tracing::error!(%error, "the journal takes no records until there is room on the disk");
            front.refusing = Some(Refusal {
                reason: format!("the disk is full: {error}"),
                passing: true,
            });
        }
        let closed = |front: &mut Front| !front.closing;
        front = self
            .shared
            .work
            .wait_timeout_while(front, RETRY, closed)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        if front.closing {
            tracing::error!(%error, "closed with records that had no room on the disk; none of them was acknowledged");
        }
        !front.closing
    }

    fn recovered(&self) {
        if self.shared.front().refusing.take().is_some() {
            tracing::warn!("there is room on the disk again: the journal takes records");
        }
    }

    fn refuse_for_good(&self, error: &io::Error) {
        tracing::error!(%error, "the journal takes no records until a restart: the disk failed");
        let reason = format!("the disk failed: {error}; restart when it is mended");
        self.shared.front().refusing = Some(Refusal {
            reason,
            passing: false,
        });
    }
}

impl Group {
    fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BUFFER && self.bytes.len() < self.bytes.capacity() / 8 {
            self.bytes = Vec::new();
        }
        *self = Self {
            bytes: std::mem::take(&mut self.bytes),
            marks: std::mem::take(&mut self.marks),
            ..Self::default()
        };
        self.bytes.clear();
        self.marks.clear();
    }
}

impl Segment {
    /// Notes that `group` is in the file and ends at `end`.
    fn take_in(&mut self, group: &Group, end: u64) {
        for mark in &group.marks {
            let at = self.used + mark.at;
            if self
                .marks
                .last()
                .is_none_or(|last| at - last.at >= MARK_EVERY)
            {
                self.marks.push(Mark {
                    first: mark.first,
                    at,
                });
            }
        }
        for (newest, of_group) in self.newest.iter_mut().zip(&group.newest) {
            *newest = (*newest).max(*of_group);
        }
        self.used = end;
    }
}

/// Tells the appenders when the writer is gone without having said why.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut front = self.0.front();
        if !front.closing && front.refusing.is_none() {
            let reason = "its writer stopped: a fault of the program".to_owned();
            front.refusing = Some(Refusal {
                reason,
                passing: false,
            });
        }
    }
}
