//! The log: who looked at what and why, so that nobody can take it back, and anybody with the public key can check it.
//!
//! The files in `log/` are those of C2SP's tlog-tiles. An entry is on disk, under a signed checkpoint, before what it tells of
//! is answered. What calls at once is written at once, under one checkpoint.

mod disk;
mod entry;
mod key;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_lc_rs::hmac;
use stockade_tlog::{Checkpoint, Hash, Nodes, Note, NoteError, Tile, WIDTH, bundle, root_at};

use self::disk::{CHECKPOINT, State, damaged};
pub use self::entry::{Commitment, Digest, Entry, Outcome, is_name};
pub use self::key::AwsLc;
use self::key::LogKey;
use crate::keys::KeyError;

/// The log's folder, in the vault's.
const FOLDER: &str = "log";
/// The log's key, in the vault's folder.
const KEY: &str = "log.key";
/// The public half, for whoever verifies.
const PUBLIC: &str = "log.pub";
/// Longest entry.
const MAX_ENTRY: usize = 2_048;
/// Entries under one new checkpoint: no write reaches further than into the next tile.
const MAX_GROUP: usize = WIDTH;

/// Why the log did not do what was asked. What was to be logged must not happen then.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("the log's files: {0}")]
    Io(#[from] io::Error),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The library refused the key.
    #[error("the cryptographic library failed")]
    Crypto,
    /// A file of the log is not what the log needs.
    #[error(
        "log/{path} {detail}: `stockade vault verify-log` says what else is wrong; restore the log from its newest copy"
    )]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The checkpoint is not one of this log.
    #[error("log/checkpoint {0}: restore the log from its newest copy")]
    Checkpoint(NoteError),
    /// The log is not the one that the keyring remembers.
    #[error(
        "the log has {now} entries and had {remembered}: an old copy was put in its place, or it was changed; restore the newest copy"
    )]
    Older {
        /// Entries now.
        now: u64,
        /// Entries that the keyring remembers.
        remembered: u64,
    },
    /// Something in an entry is no name and no number.
    #[error("an entry of the log holds names and numbers only")]
    NotAName,
    /// An entry is too long.
    #[error("an entry of the log is too long")]
    TooLong,
    /// A write failed at a moment when nobody knows what is on disk.
    #[error("the log stopped when a write failed; start again")]
    Stopped,
    /// Others wrote at the same time, and it failed for all: the first says why.
    #[error("the log was not written: {0}")]
    Together(String),
}

/// An entry is on disk, under a signed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Receipt {
    /// Its number, from 0.
    pub index: u64,
}

/// How the log stands: its size, and its root.
pub type Head = (u64, [u8; 32]);

/// The log, open for appending.
pub struct Log {
    dir: PathBuf,
    key: LogKey,
    /// Held while a group is written.
    state: Mutex<Written>,
    queue: Mutex<Queue>,
    done: Condvar,
}

struct Written {
    state: State,
    /// As on disk, and known to be.
    note: Vec<u8>,
    stopped: bool,
}

#[derive(Default)]
struct Queue {
    entries: Vec<Vec<u8>>,
    next: Arc<Group>,
    busy: bool,
}

/// The number of the first entry of a group, or why none was written.
#[derive(Default)]
struct Group(OnceLock<Result<u64, String>>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in the vault's folder `vault`, or begins it. `remembered` is what the keyring last saw of it: a log that
    /// does not begin with that is refused.
    pub fn open(vault: &Path, remembered: Option<Head>) -> Result<Self, LogError> {
        let dir = vault.join(FOLDER);
        fs_err::create_dir_all(&dir)?;
        let note = disk::checkpoint(&dir)?;
        let (remembered, root) = remembered.unwrap_or_else(|| (0, Hash::empty().0));
        if note.is_none() && remembered > 0 {
            return Err(LogError::Older { now: 0, remembered });
        }
        let key = LogKey::open(&vault.join(KEY), note.is_none())?;
        let written = match note {
            Some(note) => Written::load(&dir, &key, note)?,
            None => Written::begin(&dir, &key)?,
        };
        written.state.tidy(&dir)?;
        fs_err::write(vault.join(PUBLIC), format!("{}\n", key.public.text()))?;
        let log = Self {
            dir,
            key,
            state: Mutex::new(written),
            queue: Mutex::default(),
            done: Condvar::new(),
        };
        let now = log.head().0;
        let same = now >= remembered && log.root_at(remembered)? == Some(Hash(root));
        if same {
            Ok(log)
        } else {
            Err(LogError::Older { now, remembered })
        }
    }

    /// Appends an entry. It is on disk when this returns, and what it tells of may be answered then. Blocks.
    pub fn append(&self, entry: &Entry) -> Result<Receipt, LogError> {
        let bytes = entry.encode()?;
        if bytes.len() > MAX_ENTRY {
            return Err(LogError::TooLong);
        }
        let mut queue = lock(&self.queue);
        while queue.entries.len() >= MAX_GROUP {
            queue = self.wait(queue);
        }
        let group = Arc::clone(&queue.next);
        let at = queue.entries.len();
        queue.entries.push(bytes);
        loop {
            if let Some(written) = group.0.get() {
                return match written {
                    Ok(first) => Ok(Receipt {
                        index: first.saturating_add(u64::try_from(at).unwrap_or(0)),
                    }),
                    Err(why) => Err(LogError::Together(why.clone())),
                };
            }
            if queue.busy {
                queue = self.wait(queue);
                continue;
            }
            // This call writes for all that wait.
            queue.busy = true;
            let entries = std::mem::take(&mut queue.entries);
            let writing = std::mem::take(&mut queue.next);
            drop(queue);
            let written = self.write(entries).map_err(|error| error.to_string());
            let _new = writing.0.set(written);
            queue = lock(&self.queue);
            queue.busy = false;
            self.done.notify_all();
        }
    }

    /// Stands for a question or an answer in an entry. Only this log makes it, so nobody can try what it stands for.
    pub fn digest(&self, what: &str, bytes: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key.digests);
        context.update(what.as_bytes());
        context.update(&[0]);
        context.update(bytes);
        entry::digest(&context.sign())
    }

    /// How the log stands, on disk.
    pub fn head(&self) -> Head {
        let written = lock(&self.state);
        (written.state.edge.size(), written.state.edge.root().0)
    }

    /// That it had these entries, and what is there now came behind them.
    pub(crate) fn begins_with(&self, (remembered, root): Head) -> Result<(), LogError> {
        let now = self.head().0;
        if now >= remembered && self.root_at(remembered)? == Some(Hash(root)) {
            return Ok(());
        }
        Err(LogError::Older { now, remembered })
    }

    /// The public key, as `NAME+ID+KEY`.
    pub fn public_key(&self) -> String {
        self.key.public.text()
    }

    /// Entries from number `from` on, as many as `limit` at most, with their numbers.
    pub fn entries(&self, from: u64, limit: usize) -> Result<Vec<(u64, Entry)>, LogError> {
        let mut found = Vec::new();
        let mut number = from;
        while found.len() < limit {
            // Held for one bundle at a time: what is at the edge is replaced when something is appended.
            let written = lock(&self.state);
            let Some(tile) = Tile::holding(0, number, written.state.edge.size()) else {
                break;
            };
            let entries = disk::entries(&self.dir, tile)?;
            drop(written);
            let skip = usize::try_from(number % 256).unwrap_or(0);
            for bytes in entries.into_iter().skip(skip).take(limit - found.len()) {
                let entry = Entry::decode(&bytes).ok_or_else(|| {
                    damaged(
                        &tile.bundle_path(),
                        "has an entry that the vault did not write",
                    )
                })?;
                found.push((number, entry));
                number += 1;
            }
        }
        Ok(found)
    }

    /// A file of the log, as a reader of tlog-tiles asks for it: the checkpoint, a tile or a bundle, of any width that the log
    /// has. None if it has no such file.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>, LogError> {
        let written = lock(&self.state);
        if path == CHECKPOINT {
            return Ok(Some(written.note.clone()));
        }
        let asked = Tile::parse(path).and_then(|(asked, is_bundle)| {
            let first = asked.index.checked_mul(256)?;
            let have = Tile::holding(asked.level, first, written.state.edge.size())?;
            (have.width >= asked.width).then_some((have, usize::from(asked.width), is_bundle))
        });
        let Some((have, width, is_bundle)) = asked else {
            return Ok(None);
        };
        if is_bundle {
            let mut entries = disk::entries(&self.dir, have)?;
            entries.truncate(width);
            return Ok(Some(bundle(&entries).map_err(|_| LogError::TooLong)?));
        }
        let mut bytes = disk::read(&self.dir, &have.path(), WIDTH * 32)?;
        bytes.truncate(width * 32);
        Ok(Some(bytes))
    }

    /// Writes a group; the number of its first entry.
    fn write(&self, entries: Vec<Vec<u8>>) -> Result<u64, LogError> {
        let mut written = lock(&self.state);
        if written.stopped {
            return Err(LogError::Stopped);
        }
        let first = written.state.edge.size();
        let state = written.state.with(&self.dir, entries)?;
        let note = note(&self.key, &state);
        disk::prepare_checkpoint(&self.dir, &note)?;
        // If this fails, the log on disk may be the new one. To go on from the old one could then sign two logs.
        if let Err(error) = disk::publish_checkpoint(&self.dir) {
            written.stopped = true;
            return Err(error);
        }
        written.state = state;
        written.note = note;
        if let Err(error) = written.state.tidy(&self.dir) {
            tracing::warn!(%error, "the log's older tiles are still there");
        }
        Ok(first)
    }

    /// The root that the log had at a size; none if it never had so many entries.
    fn root_at(&self, size: u64) -> Result<Option<Hash>, LogError> {
        let written = lock(&self.state);
        let now = written.state.edge.size();
        if size > now {
            return Ok(None);
        }
        root_at(&mut OnDisk(&self.dir), now, size)
    }

    fn wait<'q>(&self, queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        self.done
            .wait(queue)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// The log that this checkpoint speaks of.
    fn load(dir: &Path, key: &LogKey, note: Vec<u8>) -> Result<Self, LogError> {
        let checkpoint = Note::parse(&note)
            .and_then(|note| note.open(&key.public, &[], &AwsLc))
            .map_err(LogError::Checkpoint)?
            .checkpoint;
        let state = State::load(dir, checkpoint.size)?;
        if state.edge.root() != checkpoint.root {
            return Err(damaged(
                CHECKPOINT,
                "signed another root than the tiles have",
            ));
        }
        Ok(Self {
            state,
            note,
            stopped: false,
        })
    }

    /// A log without entries.
    fn begin(dir: &Path, key: &LogKey) -> Result<Self, LogError> {
        let state = State::default();
        let note = note(key, &state);
        disk::prepare_checkpoint(dir, &note)?;
        disk::publish_checkpoint(dir)?;
        Ok(Self {
            state,
            note,
            stopped: false,
        })
    }
}

struct OnDisk<'a>(&'a Path);

impl Nodes for OnDisk<'_> {
    type Error = LogError;

    fn nodes(&mut self, tile: Tile) -> Result<Vec<Hash>, LogError> {
        let path = tile.path();
        tile.nodes(&disk::read(self.0, &path, WIDTH * 32)?)
            .ok_or_else(|| damaged(&path, "does not hold as many hashes as the log needs"))
    }
}

/// The signed checkpoint of a state.
fn note(key: &LogKey, state: &State) -> Vec<u8> {
    let text = Checkpoint {
        origin: key.public.name().to_owned(),
        size: state.edge.size(),
        root: state.edge.root(),
    }
    .text();
    let signature = key.sign(text.as_bytes());
    Note::new(text).signed(&key.public, &signature).bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
