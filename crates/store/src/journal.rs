//! The embedded [`Bus`]: one segmented log, one writer thread, group commit.
//!
//! Appending copies into a buffer. The writer thread takes the whole buffer, writes it, syncs it once, and then moves
//! the durable position; what comes in meanwhile gathers in the other buffer. So a slow disk makes groups larger, not
//! devices slower, until the buffer is full: then appending is refused, and the caller stops reading from its peers.

mod disk;
mod frame;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use self::disk::{Disk, RealDisk};
use self::frame::{ALL_BEFORE_SYNCED, FileHeader, Stamp, body_crc, frame_len, write_frame};
use self::segment::{Frames, MARK_EVERY, Mark, Newest, Recovered, Segment, recover};
use self::writer::Writer;
use crate::bus::{Bus, BusError, BusStatus, Seq, Stream};

/// Positions left out at each opening, and most records that [`Durability::Interval`] leaves unsynced: a loss of power
/// may take those records, but their positions, which consumers may have noted, are not given out again.
const GAP: u64 = 1 << 20;
/// About the most bytes that one call of `read` gives.
const READ_BYTES: usize = 8 << 20;

/// When a record counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on the medium: survives a crash of the program, of the machine, and a loss of power.
    Commit,
    /// Once it is written; the medium is synced at this interval. Survives a crash of the program, but a loss of power
    /// takes up to the interval.
    Interval(Duration),
}

/// How a [`Journal`] works.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// When a record counts as durable.
    pub durability: Durability,
    /// Size at which a new segment is begun; space is freed in such pieces.
    pub segment_bytes: u64,
    /// Most bytes that wait to be written; also the limit of one record.
    pub buffer_bytes: usize,
}

impl Default for JournalOptions {
    /// Durable on commit, segments of 64 MiB, a buffer of 16 MiB.
    fn default() -> Self {
        Self {
            durability: Durability::Commit,
            segment_bytes: 64 << 20,
            buffer_bytes: 16 << 20,
        }
    }
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk or its file system refused.
    #[error("cannot open the journal: {0}")]
    Io(#[from] io::Error),
    /// What is on disk is not what was written, and it is not the end that a crash may tear.
    #[error("{}: damaged at byte {offset}: {detail}", .file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the damage starts.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// Something else is in the journal's directory.
    #[error("{}: not a segment of a journal", .file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// The journal was written by a newer version.
    #[error("{}: format {found}; this version knows formats up to {}: start a newer stockade", .file.display(), frame::FORMAT)]
    Newer {
        /// The segment.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// One segmented log on the local disk.
///
/// Dropping it writes and syncs what is gathered. One process at a time: the caller holds the lock of the data
/// directory ([`crate::DataDir`]).
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    durable: watch::Receiver<Seq>,
    writer: Option<JoinHandle<()>>,
}

/// What the appenders, the readers and the writer thread share.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    options: JournalOptions,
    salt: u32,
    front: Mutex<Front>,
    /// Wakes the writer.
    work: Condvar,
    /// The durable part of the segments; changed by the writer and by `trim`.
    index: Mutex<Index>,
    trimming: Mutex<()>,
}

/// Where records gather.
#[derive(Debug)]
struct Front {
    group: Group,
    next: Seq,
    /// Why nothing is taken, if so.
    refusing: Option<Refusal>,
    /// The writer sleeps: whoever brings the first record wakes it.
    idle: bool,
    /// The next group begins a segment.
    part: bool,
    closing: bool,
}

#[derive(Debug, Clone)]
struct Refusal {
    reason: String,
    passing: bool,
}

/// Frames that are written and synced together.
#[derive(Debug, Default)]
struct Group {
    bytes: Vec<u8>,
    /// Starts of frames, about [`MARK_EVERY`] bytes apart, counted from the start of the group.
    marks: Vec<Mark>,
    newest: Newest,
    last: Seq,
    /// It begins a segment.
    parts: bool,
}

#[derive(Debug)]
struct Index {
    segments: VecDeque<Segment>,
    trimmed: Newest,
}

impl Journal {
    /// Opens the journal in `dir`, which is created if it is not there.
    ///
    /// Every record is verified. The half-written end that a crash leaves is cut off; any other damage is an error.
    pub fn open(dir: &Path, options: JournalOptions) -> Result<Self, JournalError> {
        Self::open_on(dir, options, Arc::new(RealDisk))
    }

    fn open_on(
        dir: &Path,
        options: JournalOptions,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, JournalError> {
        fs_err::create_dir_all(dir)?;
        let Recovered {
            mut segments,
            last,
            salt,
            cut,
        } = recover(dir, &*disk)?;
        if cut > 0 {
            tracing::warn!(dir = %dir.display(), bytes = cut, "cut off what a crash had left half written");
        }
        let salt = match salt {
            Some(salt) => salt,
            None => random_salt()?,
        };
        let next = Seq::new(
            last.get()
                .saturating_add(if last == Seq::ZERO { 1 } else { GAP }),
        );
        if segments.is_empty() {
            segments.push_back(Segment::create(
                dir,
                FileHeader {
                    first: next,
                    after: last,
                    salt,
                },
                &*disk,
            )?);
        }
        let active = segments
            .back()
            .cloned()
            .ok_or_else(|| io::Error::other("no segment"))?;
        let (publish, durable) = watch::channel(before(next));
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            options,
            salt,
            front: Mutex::new(Front {
                group: Group::default(),
                next,
                refusing: None,
                idle: false,
                part: false,
                closing: false,
            }),
            work: Condvar::new(),
            index: Mutex::new(Index {
                segments,
                trimmed: Newest::default(),
            }),
            trimming: Mutex::new(()),
        });
        let writer = Writer::new(Arc::clone(&shared), disk, active, last, publish);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared,
            durable,
            writer: Some(thread),
        })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.front().closing = true;
        self.shared.work.notify_all();
        if let Some(thread) = self.writer.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}

impl Bus for Journal {
    fn append_all(&self, records: &[(Stream, &[u8])]) -> Result<Seq, BusError> {
        let limit = self.shared.options.buffer_bytes;
        let length = frame_len(records).unwrap_or(usize::MAX);
        let count = u16::try_from(records.len());
        let (Ok(count), true) = (count, length <= limit) else {
            return Err(BusError::TooLarge {
                bytes: length,
                limit,
            });
        };
        // Before the lock, for it is the only part whose time depends on the payload, but for the copy itself.
        let body_crc = body_crc(records);

        let mut front = self.shared.front();
        if let Some(refusal) = &front.refusing {
            return Err(BusError::Refusing {
                reason: refusal.reason.clone(),
            });
        }
        if count == 0 {
            return Ok(before(front.next));
        }
        if front.group.bytes.len() + length > limit {
            return Err(BusError::Full);
        }
        let last = front.push(records, body_crc, &self.shared);
        let wake = front.idle;
        front.idle = false;
        drop(front);
        if wake {
            self.shared.work.notify_one();
        }
        Ok(last)
    }

    fn durable(&self) -> watch::Receiver<Seq> {
        self.durable.clone()
    }

    fn status(&self) -> BusStatus {
        match &self.shared.front().refusing {
            None => BusStatus::Healthy,
            Some(refusal) => BusStatus::Refusing {
                reason: refusal.reason.clone(),
                passing: refusal.passing,
            },
        }
    }

    fn read(
        &self,
        stream: Stream,
        after: Seq,
        max_records: usize,
    ) -> Result<Vec<(Seq, Vec<u8>)>, BusError> {
        // A copy: the files stay readable through it even if they are trimmed meanwhile.
        let segments: Vec<_> = {
            let index = self.shared.index();
            let wanted = |segment: &&Segment| {
                segment
                    .newest
                    .get(stream.slot())
                    .is_some_and(|newest| *newest > after)
            };
            let place = |segment: &Segment| Place {
                file: Arc::clone(&segment.file),
                path: segment.path.clone(),
                from: segment.start(after),
                to: segment.used,
            };
            index.segments.iter().filter(wanted).map(place).collect()
        };
        let mut out = Found {
            records: Vec::new(),
            bytes: 0,
            max_records,
        };
        for place in segments {
            if out.is_enough() {
                break;
            }
            place.read(stream, after, self.shared.salt, &mut out)?;
        }
        Ok(out.records)
    }

    fn trim(&self, stream: Stream, up_to: Seq) -> Result<(), BusError> {
        let _one_at_a_time = self
            .shared
            .trimming
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut index = self.shared.index();
        if let Some(trimmed) = index.trimmed.get_mut(stream.slot()) {
            *trimmed = up_to.max(*trimmed);
        }
        // The last one stays: it is being written, and it keeps the count of positions.
        let mut freed = Vec::new();
        while index.segments.len() > 1 {
            let trimmed = index.trimmed;
            let passed = |oldest: &mut Segment| {
                oldest
                    .newest
                    .iter()
                    .zip(&trimmed)
                    .all(|(newest, trimmed)| newest <= trimmed)
            };
            let Some(oldest) = index.segments.pop_front_if(passed) else {
                break;
            };
            freed.push(oldest.path);
        }
        drop(index);
        for path in freed {
            fs_err::remove_file(&path).map_err(BusError::Read)?;
            // One by one: a loss of power must not bring back a segment without the one that follows it.
            segment::sync_dir(&self.shared.dir).map_err(BusError::Read)?;
        }
        Ok(())
    }

    fn last(&self) -> Seq {
        before(self.shared.front().next)
    }

    fn part(&self) {
        self.shared.front().part = true;
    }

    fn first(&self) -> Seq {
        let oldest = self
            .shared
            .index()
            .segments
            .front()
            .and_then(|segment| segment.marks.first().map(|mark| mark.first));
        oldest.unwrap_or_else(|| self.shared.front().next)
    }
}

impl Shared {
    // A panic cannot leave these half changed in a way that matters: a frame is pushed whole, and counted after.
    fn front(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front {
    fn push(&mut self, records: &[(Stream, &[u8])], body_crc: u32, shared: &Shared) -> Seq {
        // The first of a group is written when the group before it is synced.
        let synced = self.group.bytes.is_empty() && shared.options.durability == Durability::Commit;
        let stamp = Stamp {
            first: self.next,
            body_crc,
            flags: if synced { ALL_BEFORE_SYNCED } else { 0 },
            salt: shared.salt,
        };
        let group = &mut self.group;
        let at = group.bytes.len() as u64;
        if group
            .marks
            .last()
            .is_none_or(|mark| at - mark.at >= MARK_EVERY)
        {
            group.marks.push(Mark {
                first: self.next,
                at,
            });
        }
        write_frame(&mut group.bytes, records, stamp);
        let mut seq = self.next.get();
        for (stream, _) in records {
            if let Some(newest) = group.newest.get_mut(stream.slot()) {
                *newest = Seq::new(seq);
            }
            seq += 1;
        }
        self.next = Seq::new(seq);
        group.last = before(self.next);
        group.last
    }
}

/// A part of a segment to read.
struct Place {
    file: Arc<std::fs::File>,
    path: PathBuf,
    from: u64,
    to: u64,
}

struct Found {
    records: Vec<(Seq, Vec<u8>)>,
    bytes: usize,
    max_records: usize,
}

impl Found {
    fn is_enough(&self) -> bool {
        self.records.len() >= self.max_records || self.bytes >= READ_BYTES
    }
}

impl Place {
    fn read(&self, stream: Stream, after: Seq, salt: u32, out: &mut Found) -> Result<(), BusError> {
        let mut frames = Frames::new(&self.file, salt, self.from..self.to);
        while frames.at < self.to {
            let at = frames.at;
            let frame = frames
                .next()
                .map_err(|e| BusError::Read(segment::named(&self.path, &e)))?;
            let Some(records) = frame.and_then(|(frame, body)| frame.records(body)) else {
                return Err(BusError::Damaged {
                    file: self.path.display().to_string(),
                    offset: at,
                    detail: "the record that starts here does not match its checksum".to_owned(),
                });
            };
            for (seq, of, bytes) in records {
                if of == stream && seq > after {
                    if out.is_enough() {
                        return Ok(());
                    }
                    out.bytes += bytes.len();
                    out.records.push((seq, bytes.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// See [`crate::fuzzing::journal_open`].
pub(crate) fn fuzz_open(data: &[u8]) {
    segment::fuzz_recover(data);
}

fn before(seq: Seq) -> Seq {
    Seq::new(seq.get().saturating_sub(1))
}

fn random_salt() -> io::Result<u32> {
    let mut salt = [0; 4];
    let got = rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())?;
    if got != salt.len() {
        return Err(io::Error::other("the kernel gave no random bytes"));
    }
    Ok(u32::from_le_bytes(salt))
}
