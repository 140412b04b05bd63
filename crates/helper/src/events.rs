//! What happened: numbered lines on disk, bounded.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use stockade_api::helper::{Event, Weight};
use stockade_controls::engine::UnixSeconds;

use crate::files;

/// A file is put aside when it is longer; two are kept.
const MOST: u64 = 256 * 1024;
/// As many events as are told at once: far below what a frame holds.
const TOLD: usize = 200;
/// As many warnings are kept in memory while the disk takes nothing.
const MOST_UNWRITTEN: usize = 32;
/// The longest sentence that is kept, in characters.
const LONGEST: usize = 500;

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Root,
    Owner,
    Agent,
    Gateway,
    Helper,
}

impl By {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Owner => "owner",
            Self::Agent => "agent",
            Self::Gateway => "gateway",
            Self::Helper => "helper",
        }
    }
}

/// The log.
#[derive(Debug)]
pub(crate) struct Events {
    file: PathBuf,
    before: PathBuf,
    last: u64,
    /// What the disk did not take, as it matters: it is told all the same until the next start.
    unwritten: Vec<Event>,
}

impl Events {
    /// The log in a folder. A line that a power cut tore is passed over.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let mut log = Self {
            file: folder.join("events.log"),
            before: folder.join("events.before.log"),
            last: 0,
            unwritten: Vec::new(),
        };
        log.last = log.all()?.last().map_or(0, |event| event.number);
        Ok(log)
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Notes an event. What can not be written is lost, as the disk is full then; the last warnings are kept in memory.
    pub(crate) fn note(&mut self, at: UnixSeconds, weight: Weight, by: By, kind: &str, says: &str) {
        let number = self.last.saturating_add(1);
        let event = Event {
            number,
            at,
            weight,
            by: by.name().to_owned(),
            kind: kind.to_owned(),
            says: says.chars().take(LONGEST).collect(),
        };
        if self.write(&event).is_err() {
            if weight < Weight::Warning {
                return;
            }
            if self.unwritten.len() == MOST_UNWRITTEN {
                self.unwritten.remove(0);
            }
            self.unwritten.push(event);
        }
        self.last = number;
    }

    fn write(&self, event: &Event) -> io::Result<()> {
        let long = fs_err::metadata(&self.file).is_ok_and(|about| about.len() > MOST);
        if long {
            fs_err::rename(&self.file, &self.before)?;
        }
        let mut file = fs_err::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.file)?;
        let mut line = serde_json::to_vec(event)?;
        // First: it ends whatever a power cut or a full disk left half.
        line.insert(0, b'\n');
        file.write_all(&line)?;
        file.sync_data()
    }

    /// The events after a number, as many as fit, and the number of the oldest that is still there.
    pub(crate) fn after(&self, number: u64) -> io::Result<(Vec<Event>, u64)> {
        let mut all = self.all()?;
        all.extend(self.unwritten.iter().cloned());
        all.sort_by_key(|event| event.number);
        let oldest = all.first().map_or(0, |event| event.number);
        let wanted = all.into_iter().filter(|event| event.number > number);
        Ok((wanted.take(TOLD).collect(), oldest))
    }

    fn all(&self) -> io::Result<Vec<Event>> {
        let mut all: Vec<Event> = Vec::new();
        for file in [&self.before, &self.file] {
            let bytes = files::read(file)?.unwrap_or_default();
            let lines = bytes.split(|byte| *byte == b'\n');
            let events = lines.filter_map(|line| serde_json::from_slice::<Event>(line).ok());
            for event in events {
                if all.last().is_none_or(|last| last.number < event.number) {
                    all.push(event);
                }
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(log: &mut Events, says: &str) {
        log.note(1, Weight::Note, By::Helper, "test", says);
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_over_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Events::open(folder.path()).unwrap();
        note(&mut log, "one");
        note(&mut log, "two");
        let file = folder.path().join("events.log");
        let mut bytes = fs_err::read(&file).unwrap();
        bytes.truncate(bytes.len() - 5);
        fs_err::write(&file, bytes).unwrap();
        let mut log = Events::open(folder.path()).unwrap();
        assert_eq!(log.last(), 1);
        note(&mut log, "three");
        let (events, oldest) = log.after(0).unwrap();
        let told: Vec<(u64, &str)> = events.iter().map(|it| (it.number, &*it.says)).collect();
        assert_eq!((told, oldest), (vec![(1, "one"), (2, "three")], 1));
    }

    #[test]
    fn a_warning_is_told_although_the_disk_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Events::open(folder.path()).unwrap();
        note(&mut log, "one");
        // A directory in the place of the file takes nothing, not even of root.
        fs_err::remove_file(folder.path().join("events.log")).unwrap();
        fs_err::create_dir(folder.path().join("events.log")).unwrap();
        note(&mut log, "lost");
        log.note(2, Weight::Warning, By::Helper, "tamper-opened", "open");
        assert_eq!(log.last(), 2);
        fs_err::remove_dir(folder.path().join("events.log")).unwrap();
        note(&mut log, "three");
        let (events, _) = log.after(0).unwrap();
        let told: Vec<(u64, &str)> = events.iter().map(|it| (it.number, &*it.says)).collect();
        assert_eq!(told, [(2, "open"), (3, "three")]);
    }

    #[test]
    fn the_log_has_a_bound_and_says_where_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Events::open(folder.path()).unwrap();
        for _ in 0..2_000 {
            note(&mut log, &"x".repeat(400));
        }
        let size = |name| fs_err::metadata(folder.path().join(name)).map_or(0, |it| it.len());
        let all = size("events.log") + size("events.before.log");
        assert!(all < 2 * MOST + 2_000, "{all}");
        let (events, oldest) = log.after(1_990).unwrap();
        assert_eq!(events.len(), 10);
        assert!(oldest > 1, "{oldest}");
    }
}
