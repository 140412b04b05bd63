//! The segments of the journal: making one, opening what a crash left, knowing what is where.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::JournalError;
use super::disk::Disk;
use super::frame::{
    ALL_BEFORE_SYNCED, FILE_HEADER, FileHeader, FileHeaderError, FrameHeader, HEADER,
};
use crate::bus::{Seq, Stream};

const SUFFIX: &str = ".segment";
const UNFINISHED: &str = "new.segment.tmp";
/// Distance of the marks by which a reader finds its place.
pub(crate) const MARK_EVERY: u64 = 64 * 1024;

/// Where a frame starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) first: Seq,
    pub(crate) at: u64,
}

/// The newest position of each stream, in the order of [`Stream::slot`]; zero if there is none.
pub(crate) type Newest = [Seq; Stream::ALL.len()];

/// One file of the journal, as far as it is durable.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    pub(crate) used: u64,
    pub(crate) marks: Vec<Mark>,
    pub(crate) newest: Newest,
}

impl Segment {
    /// Creates the segment that holds `header.first` and what follows. It appears under its name only when complete.
    pub(crate) fn create(dir: &Path, header: FileHeader, disk: &dyn Disk) -> io::Result<Self> {
        let unfinished = dir.join(UNFINISHED);
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?
            .into_file();
        disk.write_at(&file, &header.encode(), 0)?;
        disk.sync(&file)?;
        let path = dir.join(format!("{:020}{SUFFIX}", header.first.get()));
        fs_err::rename(&unfinished, &path)?;
        sync_dir(dir)?;
        Ok(Self {
            path,
            file: Arc::new(file),
            used: FILE_HEADER as u64,
            marks: Vec::new(),
            newest: Newest::default(),
        })
    }

    /// Where to start reading for records after `after`.
    pub(crate) fn start(&self, after: Seq) -> u64 {
        let beyond = self
            .marks
            .partition_point(|mark| mark.first.get() <= after.get().saturating_add(1));
        beyond
            .checked_sub(1)
            .and_then(|i| self.marks.get(i))
            .map_or(FILE_HEADER as u64, |mark| mark.at)
    }

    fn note(&mut self, at: u64, frame: &FrameHeader, records: &[(Seq, Stream, &[u8])]) {
        if self
            .marks
            .last()
            .is_none_or(|mark| at - mark.at >= MARK_EVERY)
        {
            self.marks.push(Mark {
                first: frame.first,
                at,
            });
        }
        for (seq, stream, _) in records {
            if let Some(newest) = self.newest.get_mut(stream.slot()) {
                *newest = *seq;
            }
        }
    }
}

/// What a directory holds after recovery.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) segments: VecDeque<Segment>,
    /// The newest position on disk.
    pub(crate) last: Seq,
    /// The salt of every segment; `None` if there is no segment.
    pub(crate) salt: Option<u32>,
    /// Bytes that a crash left half written, now cut off.
    pub(crate) cut: u64,
}

/// Opens the segments in `dir`: verifies every record, cuts a torn end off the last segment, and makes what is left
/// durable.
pub(crate) fn recover(dir: &Path, disk: &dyn Disk) -> Result<Recovered, JournalError> {
    let paths = list(dir)?;
    let mut recovered = Recovered {
        segments: VecDeque::new(),
        last: Seq::ZERO,
        salt: None,
        cut: 0,
    };
    for (number, path) in paths.iter().enumerate() {
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)?
            .into_file();
        let opened = Opened::new(path, file)?;
        if number > 0 && opened.header.after != recovered.last {
            let detail = format!(
                "this segment follows record {}, but the one before it ends with {}: a segment is missing or cut short",
                opened.header.after, recovered.last
            );
            return Err(damaged(path, 0, detail));
        }
        let is_last = number + 1 == paths.len();
        recovered.last = recovered.last.max(opened.header.after);
        let scanned = opened.scan(recovered.last)?;
        if is_last {
            recovered.cut = scanned.mend(disk)?;
        } else if scanned.segment.used != scanned.length {
            let detail = "the record that starts here does not match its checksum".to_owned();
            return Err(damaged(path, scanned.segment.used, detail));
        }
        recovered.last = scanned.last;
        recovered.salt = Some(scanned.salt);
        recovered.segments.push_back(scanned.segment);
    }
    Ok(recovered)
}

/// The segments' paths in order.
fn list(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name == UNFINISHED {
            // A crash while a segment was made; nothing was in it yet.
            fs_err::remove_file(&path)?;
        } else if name.ends_with(SUFFIX) {
            paths.push(path);
        } else {
            return Err(JournalError::Foreign { file: path });
        }
    }
    // The names are numbers of one length: their order is the records' order.
    paths.sort();
    Ok(paths)
}

struct Opened<'a> {
    path: &'a Path,
    file: File,
    header: FileHeader,
    length: u64,
}

/// A segment with its intact frames noted.
struct Scanned {
    segment: Segment,
    last: Seq,
    length: u64,
    salt: u32,
    /// Where the last frame starts that says everything before it is on disk.
    unsynced: u64,
}

impl<'a> Opened<'a> {
    fn new(path: &'a Path, file: File) -> Result<Self, JournalError> {
        let length = file.metadata().map_err(|e| named(path, &e))?.len();
        let mut bytes = [0; FILE_HEADER];
        let got = read_up_to(&file, &mut bytes, 0).map_err(|e| named(path, &e))?;
        match FileHeader::decode(bytes.get(..got).unwrap_or_default()) {
            Ok(header) => Ok(Self {
                path,
                file,
                header,
                length,
            }),
            Err(FileHeaderError::Foreign) => Err(JournalError::Foreign {
                file: path.to_owned(),
            }),
            Err(FileHeaderError::Newer(found)) => Err(JournalError::Newer {
                file: path.to_owned(),
                found,
            }),
            Err(FileHeaderError::Damaged) => Err(damaged(
                path,
                0,
                "the file's header does not match its checksum".into(),
            )),
        }
    }

    fn scan(self, mut last: Seq) -> Result<Scanned, JournalError> {
        let mut frames = Frames::new(
            &self.file,
            self.header.salt,
            FILE_HEADER as u64..self.length,
        );
        let mut segment = Segment {
            path: self.path.to_owned(),
            file: Arc::new(self.file.try_clone().map_err(|e| named(self.path, &e))?),
            used: FILE_HEADER as u64,
            marks: Vec::new(),
            newest: Newest::default(),
        };
        let mut unsynced = FILE_HEADER as u64;
        loop {
            let at = frames.at;
            let Some((frame, body)) = frames.next().map_err(|e| named(self.path, &e))? else {
                break;
            };
            // A frame from before is what an older file left on this place of the disk.
            let Some(records) = frame.records(body).filter(|_| frame.first > last) else {
                break;
            };
            segment.note(at, &frame, &records);
            if frame.flags & ALL_BEFORE_SYNCED != 0 {
                unsynced = at;
            }
            last = frame.last();
            segment.used = at + (HEADER + frame.body) as u64;
        }
        Ok(Scanned {
            segment,
            last,
            length: self.length,
            salt: self.header.salt,
            unsynced,
        })
    }
}

impl Scanned {
    /// Cuts what is behind the intact frames, if a crash can have left it, and makes the rest durable.
    ///
    /// Returns how many bytes of half-written frames were cut.
    fn mend(&self, disk: &dyn Disk) -> Result<u64, JournalError> {
        let Segment {
            path, file, used, ..
        } = &self.segment;
        let tail = read_range(file, *used, self.length).map_err(|e| named(path, &e))?;
        let torn = tail
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at as u64 + 1);
        if let Some(at) = synced_frame(&tail, self.last, self.salt) {
            let detail = format!(
                "the record that starts here does not match its checksum, and records at byte {} were written after it \
                 was safe",
                used + at
            );
            return Err(damaged(path, *used, detail));
        }
        file.set_len(*used).map_err(|e| named(path, &e))?;
        // A sync that failed before the restart leaves pages which read well and are clean, but are not on the disk:
        // a new sync would not write them. So what may have been under way is written again.
        let under_way = read_range(file, self.unsynced, *used).map_err(|e| named(path, &e))?;
        disk.write_at(file, &under_way, self.unsynced)
            .map_err(|e| named(path, &e))?;
        file.sync_all().map_err(|e| named(path, &e))?;
        Ok(torn)
    }
}

/// Where in `tail` an intact frame starts that was written after everything before it was synced.
fn synced_frame(tail: &[u8], last: Seq, salt: u32) -> Option<u64> {
    let mut at = 0;
    while let Some(rest) = tail.get(at..).filter(|rest| rest.len() >= HEADER) {
        let found = FrameHeader::decode(rest, salt)
            .filter(|frame| frame.flags & ALL_BEFORE_SYNCED != 0 && frame.first > last)
            .is_some_and(|frame| {
                let body = HEADER
                    .checked_add(frame.body)
                    .and_then(|end| rest.get(HEADER..end));
                body.is_some_and(|body| frame.records(body).is_some())
            });
        // At the very start it is the bad frame itself: intact, but out of order.
        if found && at > 0 {
            return Some(at as u64);
        }
        at += 1;
    }
    None
}

/// Reads the frames of a file one after the other, in large pieces.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    file: &'a File,
    salt: u32,
    /// Where the next frame starts.
    pub(crate) at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// The place of `buffer` in the file.
    buffered: u64,
}

/// How much is read at once.
const PIECE: usize = 256 * 1024;

impl<'a> Frames<'a> {
    pub(crate) fn new(file: &'a File, salt: u32, range: Range<u64>) -> Self {
        Self {
            file,
            salt,
            at: range.start,
            end: range.end,
            buffer: Vec::new(),
            buffered: range.start,
        }
    }

    /// The next frame whose header is intact, and its body unverified; `None` at the end, or where no frame starts.
    pub(crate) fn next(&mut self) -> io::Result<Option<(FrameHeader, &[u8])>> {
        if !self.fill(HEADER)? {
            return Ok(None);
        }
        let Some(frame) = FrameHeader::decode(self.buffered_from(self.at), self.salt) else {
            return Ok(None);
        };
        let Some(length) = HEADER.checked_add(frame.body) else {
            return Ok(None);
        };
        if !self.fill(length)? {
            return Ok(None);
        }
        let start = self.at;
        self.at += length as u64;
        Ok(self
            .buffered_from(start)
            .get(HEADER..length)
            .map(|body| (frame, body)))
    }

    fn buffered_from(&self, at: u64) -> &[u8] {
        let skip = usize::try_from(at - self.buffered).unwrap_or(usize::MAX);
        self.buffer.get(skip..).unwrap_or_default()
    }

    /// Makes `wanted` bytes from `at` available; false if the file ends before.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.buffered_from(self.at).len() >= wanted {
            return Ok(true);
        }
        if self
            .at
            .checked_add(wanted as u64)
            .is_none_or(|end| end > self.end)
        {
            return Ok(false);
        }
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        self.buffer.resize(wanted.max(PIECE).min(left), 0);
        self.buffered = self.at;
        let got = read_up_to(self.file, &mut self.buffer, self.at)?;
        self.buffer.truncate(got);
        Ok(got >= wanted)
    }
}

fn read_up_to(file: &File, mut out: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut total = 0;
    while !out.is_empty() {
        let got = file.read_at(out, at)?;
        if got == 0 {
            break;
        }
        total += got;
        at += got as u64;
        out = out.get_mut(got..).unwrap_or_default();
    }
    Ok(total)
}

fn read_range(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
    let got = read_up_to(file, &mut bytes, from)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

/// `error`, with the file it happened at.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn damaged(path: &Path, offset: u64, detail: String) -> JournalError {
    JournalError::Damaged {
        file: path.to_owned(),
        offset,
        detail,
    }
}

/// See [`crate::fuzzing::journal_open`].
pub(crate) fn fuzz_recover(data: &[u8]) {
    let Some(header) = FileHeader::decode(data).ok() else {
        return;
    };
    let Ok(file) =
        rustix::fs::memfd_create(c"segment", rustix::fs::MemfdFlags::CLOEXEC).map(File::from)
    else {
        return;
    };
    let disk = super::RealDisk;
    if disk.write_at(&file, data, 0).is_err() {
        return;
    }
    let scan = || {
        let file = file.try_clone()?;
        let length = file.metadata()?.len();
        let opened = Opened {
            path: Path::new("segment"),
            file,
            header,
            length,
        };
        let scanned = opened.scan(header.after)?;
        let cut = scanned.mend(&disk)?;
        Ok::<_, JournalError>((
            scanned.last,
            scanned.segment.used,
            scanned.segment.marks,
            cut,
        ))
    };
    if let Ok((last, used, marks, _)) = scan() {
        assert!(used <= data.len() as u64, "more was used than there is");
        let again = scan();
        assert!(
            matches!(again, Ok(again) if again == (last, used, marks, 0)),
            "what was mended is not stable"
        );
    }
}
