//! What the firewall remembers on disk: the rules that were confirmed, those on trial, and those before.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::event::{Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::surroundings::Told;

/// The version of the files.
const FORMAT: &str = "stockade-firewall-1";
/// The longest file that is read: a profile and the rules made of it.
const MOST: u64 = 64 * 1024 * 1024;

/// How long another process is waited for, and how often it is looked whether it is done.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);

/// Why the folder of the firewall is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the folder itself.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Others could change what is in it.
    #[error(
        "{folder} belongs to another user or is open to others: `chown root {folder} && chmod 700 {folder}`"
    )]
    Open {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process changes the firewall now.
    #[error("another `stockade firewall` is at work: wait for it to end")]
    Busy,
    /// A file is not one of ours, or was damaged.
    #[error("{path} is damaged: move it away, and apply the profile again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: serde_json::Error,
    },
    /// A file is of another version of this program.
    #[error("{path} was written by another version of stockade (`{format}`)")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: String,
    },
}

/// Which of the rules that are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Those that are to be in force.
    Confirmed,
    /// Those that were last handed to the kernel, and are not confirmed.
    Pending,
    /// Those that were confirmed before.
    Previous,
}

impl Slot {
    fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed.json",
            Self::Pending => "pending.json",
            Self::Previous => "previous.json",
        }
    }
}

/// Rules as they are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    format: String,
    /// The profile, as it was given.
    pub profile: String,
    /// What the operator said about the place.
    pub told: Told,
    /// The rules that follow from it, for nft: what brings them back.
    pub ruleset: String,
    /// Which of the two places in the kernel's tables they take, 0 or 1: never that of the rules before.
    pub slot: u8,
    /// When they were applied, in seconds since 1970.
    pub applied: u64,
    /// Whether they hold without being confirmed.
    pub at_once: bool,
    /// The remote session that they were applied from, if it was one: it is no proof that another can be had.
    pub session: Option<String>,
}

impl Record {
    /// A record of this version.
    pub fn new(profile: String, told: Told, ruleset: String) -> Self {
        Self {
            format: FORMAT.to_owned(),
            profile,
            told,
            ruleset,
            slot: 0,
            applied: 0,
            at_once: false,
            session: None,
        }
    }
}

/// The folder, held by this process alone.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    _lock: fs_err::File,
}

impl State {
    /// Takes the folder, waiting a while for another process to be done; makes it if it is not there.
    pub(crate) fn take(folder: &Path) -> Result<Self, StateError> {
        Self::take_within(folder, PATIENCE)
    }

    fn take_within(folder: &Path, patience: Duration) -> Result<Self, StateError> {
        if !folder.exists() {
            let mut builder = std::fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(|why| named(folder, &why))?;
        }
        let about = fs_err::metadata(folder)?;
        let own = about.uid() == rustix::process::geteuid().as_raw();
        if !own || about.permissions().mode() & 0o077 != 0 {
            return Err(StateError::Open {
                folder: folder.to_owned(),
            });
        }
        let lock = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))?;
        let until = Instant::now() + patience;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        folder: folder.to_owned(),
                        _lock: lock,
                    });
                }
                Err(Errno::WOULDBLOCK) if Instant::now() < until => {
                    let wait = Timespec::try_from(LOOK).ok();
                    // Nothing is polled: the time is what is waited for.
                    let _over = poll(&mut [], wait.as_ref());
                }
                Err(Errno::WOULDBLOCK) => return Err(StateError::Busy),
                Err(errno) => return Err(StateError::File(errno.into())),
            }
        }
    }

    /// Reads a record; none if there is none.
    pub(crate) fn read(&self, slot: Slot) -> Result<Option<Record>, StateError> {
        read(&self.folder.join(slot.name()))
    }

    /// Writes a record so that after a crash the old or the new one is there, whole.
    pub(crate) fn write(&self, slot: Slot, record: &Record) -> Result<(), StateError> {
        let path = self.folder.join(slot.name());
        let fresh = path.with_extension("new");
        let text = serde_json::to_vec_pretty(record).map_err(|why| StateError::Damaged {
            path: path.clone(),
            why,
        })?;
        let mut options = fs_err::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        if let Err(why) = written {
            // On a full disk the half file would only be in the way.
            drop(fs_err::remove_file(&fresh));
            return Err(why.into());
        }
        fs_err::rename(&fresh, &path)?;
        self.sync()
    }

    /// The rules on trial become those that are to be in force.
    pub(crate) fn promote(&self) -> Result<(), StateError> {
        let (confirmed, previous) = (self.path(Slot::Confirmed), self.path(Slot::Previous));
        if confirmed.exists() {
            let fresh = previous.with_extension("new");
            drop(fs_err::remove_file(&fresh));
            fs_err::hard_link(&confirmed, &fresh)?;
            fs_err::rename(&fresh, &previous)?;
        }
        fs_err::rename(self.path(Slot::Pending), confirmed)?;
        self.sync()
    }

    /// Forgets a record.
    pub(crate) fn forget(&self, slot: Slot) -> Result<(), StateError> {
        match fs_err::remove_file(self.path(slot)) {
            Ok(()) => self.sync(),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(why) => Err(why.into()),
        }
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.folder.join(slot.name())
    }

    fn sync(&self) -> Result<(), StateError> {
        Ok(fs_err::File::open(&self.folder)?.sync_all()?)
    }
}

fn read(path: &Path) -> Result<Option<Record>, StateError> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why.into()),
    };
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    let damaged = |why| StateError::Damaged {
        path: path.to_owned(),
        why,
    };
    // The version is looked at before the fields, which may be others then.
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
    match value.get("format").and_then(serde_json::Value::as_str) {
        Some(FORMAT) => serde_json::from_value(value).map(Some).map_err(damaged),
        other => Err(StateError::Version {
            path: path.to_owned(),
            format: other.unwrap_or("none").to_owned(),
        }),
    }
}

fn named(path: &Path, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("cannot make {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(profile: &str) -> Record {
        Record::new(profile.to_owned(), Told::default(), "table\n".to_owned())
    }

    #[test]
    fn what_is_promoted_is_confirmed_and_what_was_confirmed_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = State::take(&folder.path().join("firewall")).expect("the folder");
        for profile in ["one", "two"] {
            state
                .write(Slot::Pending, &record(profile))
                .expect("written");
            state.promote().expect("promoted");
        }
        let read = |slot| {
            state
                .read(slot)
                .expect("readable")
                .map(|record| record.profile)
        };
        assert_eq!(read(Slot::Confirmed).as_deref(), Some("two"));
        assert_eq!(read(Slot::Previous).as_deref(), Some("one"));
        assert_eq!(read(Slot::Pending), None);
    }

    #[test]
    fn one_process_at_a_time_changes_the_firewall() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("firewall");
        let first = State::take(&path).expect("the folder");
        let second = State::take_within(&path, Duration::from_millis(50));
        assert!(matches!(second, Err(StateError::Busy)));
        drop(first);
        State::take(&path).expect("it is free again");
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("firewall");
        drop(State::take(&path).expect("the folder"));
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o770)).expect("a mode");
        assert!(matches!(State::take(&path), Err(StateError::Open { .. })));
    }

    #[test]
    fn a_damaged_record_and_one_of_another_version_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = State::take(&folder.path().join("firewall")).expect("the folder");
        let path = state.path(Slot::Confirmed);
        fs_err::write(&path, "{").expect("written");
        assert!(matches!(
            state.read(Slot::Confirmed),
            Err(StateError::Damaged { .. })
        ));
        fs_err::write(&path, "{\"format\":\"stockade-firewall-9\"}").expect("written");
        assert!(matches!(
            state.read(Slot::Confirmed),
            Err(StateError::Version { .. })
        ));
    }
}
