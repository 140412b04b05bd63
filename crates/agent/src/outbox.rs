//! Events on their way to the gateway, kept over weeks without it.
//!
//! [`Core`] decides what is kept, dropped and sent; it is pure. [`Outbox`] is its file: records are appended, each with its
//! CRC-32 and synced, and the file is written anew when it has grown. A power cut tears the last record at most, which is cut off;
//! what was acknowledged is not sent again, what was put is not lost. While the disk takes nothing, events are kept in memory.

mod core;
#[cfg(test)]
mod tests;

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use stockade_api::events::Batch;
use stockade_api::helper::Event;

pub use self::core::{Core, Record};

/// The most bytes of events that are kept.
pub const MOST: usize = 1024 * 1024;
/// A file this many times as large as what it says is written anew.
const GROWN: u64 = 2;
/// And at least this large.
const SMALL: u64 = 64 * 1024;

/// The events and their file.
#[derive(Debug)]
pub struct Outbox {
    core: Core,
    path: PathBuf,
    /// The file and how long its sound part is; none while the disk does not take it.
    file: Option<(fs_err::File, u64)>,
}

impl Outbox {
    /// Opens the outbox in this file. `log` names a log that begins anew, and no other log of this device may have had that name.
    pub fn open(path: PathBuf, log: u64, most: usize) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match fs_err::File::open(&path) {
            Ok(file) => {
                // Twice what it may grow to, and what one batch may add.
                let limit = u64::try_from(most)
                    .unwrap_or(u64::MAX)
                    .saturating_mul(2 * GROWN + 1);
                file.take(limit.saturating_add(SMALL))
                    .read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (core, _sound) = Core::read(&bytes, log, most);
        let mut outbox = Self {
            core,
            path,
            file: None,
        };
        // What a power cut tore is left behind.
        outbox.rewrite();
        Ok(outbox)
    }

    /// Whether what is here is on disk.
    pub fn is_saved(&self) -> bool {
        self.file.is_some()
    }

    /// What is kept.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Takes over events of the helper's log, which goes from `oldest` to `last`.
    pub fn take(&mut self, events: Vec<Event>, oldest: u64, last: u64) {
        let mut records = self.core.compare(oldest, last);
        for event in events {
            records.extend(self.core.put(event));
        }
        self.append(&records);
    }

    /// The next batch to send.
    pub fn batch(&self) -> Batch {
        self.core.batch()
    }

    /// The gateway has everything up to this number.
    pub fn acknowledged(&mut self, up_to: u64) {
        let records = self.core.acknowledged(up_to);
        self.append(&records);
    }

    fn append(&mut self, records: &[Record]) {
        if records.is_empty() && self.is_saved() {
            return;
        }
        let bytes: Vec<u8> = records.iter().flat_map(Record::write).collect();
        let kept = u64::try_from(self.core.bytes()).unwrap_or(u64::MAX);
        let grown = |length: u64| length > SMALL.max(kept.saturating_mul(GROWN));
        match &mut self.file {
            Some((file, length)) if !grown(*length) => {
                if file
                    .write_all(&bytes)
                    .and_then(|()| file.sync_data())
                    .is_ok()
                {
                    *length = length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                } else {
                    // Half a record may be there: nothing is written after it.
                    self.file = None;
                }
            }
            _ => self.rewrite(),
        }
    }

    /// Writes all of it into a new file, which takes the old one's place only when it is whole.
    fn rewrite(&mut self) {
        self.file = self.written_anew().ok();
    }

    fn written_anew(&self) -> io::Result<(fs_err::File, u64)> {
        let bytes: Vec<u8> = self
            .core
            .snapshot()
            .iter()
            .flat_map(Record::write)
            .collect();
        let fresh = self.path.with_extension("new");
        let mut options = fs_err::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs_err::rename(&fresh, &self.path)?;
        if let Some(dir) = self.path.parent() {
            fs_err::File::open(dir)?.sync_all()?;
        }
        Ok((file, u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }
}
