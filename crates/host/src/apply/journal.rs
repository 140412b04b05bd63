//! The journal: one line a record, each with its checksum; only ever added to.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use stockade_controls::engine::{Plan, ServiceChange, UnixSeconds};
use stockade_profile::ServiceName;

use super::error::ApplyError;
use super::image::Image;

/// The version of the journal.
const FORMAT: u32 = 1;
/// The longest journal that is read.
const MOST: u64 = 256 * 1024 * 1024;
/// Room that is taken before a plan is begun, so that its end can be written down on a disk that is full by then.
const ROOM: u64 = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", deny_unknown_fields)]
pub(crate) enum Record {
    /// The first one.
    Journal { format: u32 },
    /// A plan is begun.
    Run {
        run: u64,
        at: UnixSeconds,
        plan: Plan,
    },
    /// A step is begun.
    Begin { run: u64, begun: Begun },
    /// It is done, and this is there now.
    Done {
        run: u64,
        step: usize,
        after: Vec<Image>,
    },
    /// The plan is carried out.
    Applied { run: u64 },
    /// Its undoing is begun, by somebody's wish or because a step failed.
    Undo { run: u64, wish: bool },
    /// Taking a step back is begun: from here on it was us who changed what is there.
    Taking { run: u64, step: usize },
    /// A step is taken back.
    Back { run: u64, step: usize },
    /// All steps are taken back.
    Undone { run: u64 },
}

/// What was there before a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begun {
    /// Its index in the plan.
    pub(crate) step: usize,
    pub(crate) before: Vec<Image>,
    /// What the service's name stands for, and whether it ran.
    pub(crate) services: Vec<(String, bool)>,
    /// What a setting of the kernel was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) setting: Option<String>,
    /// What is to be done to a service again once all is as it was: it was to take up what changed.
    pub(crate) again: Option<(ServiceName, ServiceChange)>,
}

/// The folder of the applier, held by this process alone.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    file: fs_err::File,
    /// What it says, in order.
    pub(crate) records: Vec<Record>,
    _lock: fs_err::File,
}

impl Journal {
    /// Takes the folder; makes it if it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self, ApplyError> {
        if !folder.exists() {
            let mut builder = std::fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(|why| {
                io::Error::new(
                    why.kind(),
                    format!("cannot make {}: {why}", folder.display()),
                )
            })?;
        }
        let about = fs_err::metadata(folder)?;
        let own = about.uid() == rustix::process::geteuid().as_raw();
        if !own || about.permissions().mode() & 0o077 != 0 {
            return Err(ApplyError::Open {
                folder: folder.to_owned(),
            });
        }
        let lock = private(folder.join("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => (),
            Err(Errno::WOULDBLOCK) => return Err(ApplyError::Busy),
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let path = folder.join("journal");
        let mut file = private(path.clone())?;
        let mut bytes = Vec::new();
        (&mut file).take(MOST).read_to_end(&mut bytes)?;
        let (records, good) = read(&bytes).map_err(|line| ApplyError::Damaged {
            path: path.clone(),
            line,
        })?;
        if u64::try_from(good).ok() != Some(file.metadata()?.len()) {
            // What a crash tore: it was never relied upon.
            file.file().set_len(u64::try_from(good).unwrap_or(0))?;
        }
        file.seek(SeekFrom::End(0))?;
        let mut journal = Self {
            folder: folder.to_owned(),
            file,
            records,
            _lock: lock,
        };
        match journal.records.first() {
            None => {
                journal.write(Record::Journal { format: FORMAT })?;
                fs_err::File::open(folder)?.sync_all()?;
            }
            Some(Record::Journal { format: FORMAT }) => (),
            Some(_) => return Err(ApplyError::Version { path }),
        }
        Ok(journal)
    }

    /// Adds a record; when this returns it lasts.
    pub(crate) fn write(&mut self, record: Record) -> Result<(), ApplyError> {
        let text = serde_json::to_string(&record).map_err(io::Error::other)?;
        let line = format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()));
        let end = self.file.stream_position()?;
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(why) = written {
            // Half a line must not stand before the next one.
            self.file.file().set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
            return Err(why.into());
        }
        self.records.push(record);
        Ok(())
    }

    /// Takes room on the disk for the records of a plan.
    pub(crate) fn reserve(&mut self) -> Result<(), ApplyError> {
        let end = self.file.stream_position()?;
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, end, ROOM) {
            // A file system that can not; then what is written tells.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    /// Where the copies of a step are.
    pub(crate) fn copies(&self, run: u64, step: usize) -> PathBuf {
        self.folder
            .join("copies")
            .join(run.to_string())
            .join(step.to_string())
    }

    /// A folder for passing things, empty.
    pub(crate) fn scratch(&self) -> Result<PathBuf, ApplyError> {
        self.clear_scratch()?;
        let path = self.folder.join("scratch");
        make_private(&path)?;
        Ok(path)
    }

    /// Drops what was passed: it may hold keys.
    pub(crate) fn clear_scratch(&self) -> Result<(), ApplyError> {
        match fs_err::remove_dir_all(self.folder.join("scratch")) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why.into()),
            _ => Ok(()),
        }
    }

    /// Makes the folder for the copies of a step, anew.
    pub(crate) fn make_copies(&self, run: u64, step: usize) -> Result<PathBuf, ApplyError> {
        let path = self.copies(run, step);
        if path.exists() {
            fs_err::remove_dir_all(&path)?;
        }
        make_private(&path)?;
        Ok(path)
    }

    /// Makes the copies of a step last.
    pub(crate) fn sync_copies(&self, run: u64, step: usize) -> Result<(), ApplyError> {
        let path = self.copies(run, step);
        for folder in path.ancestors().take_while(|it| *it != self.folder) {
            fs_err::File::open(folder)?.sync_all()?;
        }
        fs_err::File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    /// Drops the copies of a plan, which can not be taken back afterwards.
    pub(crate) fn drop_copies(&self, run: u64) -> Result<(), ApplyError> {
        let path = self.folder.join("copies").join(run.to_string());
        match fs_err::remove_dir_all(path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why.into()),
            _ => Ok(()),
        }
    }

    /// Begins the journal anew, empty.
    pub(crate) fn clear(&mut self) -> Result<(), ApplyError> {
        self.file.file().set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.records.clear();
        self.write(Record::Journal { format: FORMAT })
    }
}

/// Reads records: those before the end that a crash tore, and how many bytes they are; or the number of a line that is damaged.
pub(crate) fn read(bytes: &[u8]) -> Result<(Vec<Record>, usize), usize> {
    let (mut records, mut good) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(record) = record(line) else {
            // Only the last one can be torn: each is synced before the next.
            let last = good + line.len() == bytes.len();
            return if last {
                Ok((records, good))
            } else {
                Err(records.len() + 1)
            };
        };
        records.push(record);
        good += line.len();
    }
    Ok((records, good))
}

fn record(line: &[u8]) -> Option<Record> {
    let (crc, text) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let crc = str::from_utf8(crc).ok()?.strip_suffix(' ')?;
    let right = u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(text);
    right.then(|| serde_json::from_slice(text).ok())?
}

fn private(path: PathBuf) -> io::Result<fs_err::File> {
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

fn make_private(path: &Path) -> io::Result<()> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|why| io::Error::new(why.kind(), format!("cannot make {}: {why}", path.display())))
}
