//! What is remembered from one update to the next. It is on disk before what it names begins.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stockade_api::update::{Phase, Slot};
use stockade_controls::engine::UnixSeconds;
use stockade_host::files;

const FORM: u32 = 1;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Journal {
    pub(crate) form: u32,
    /// The highest version that proved healthy here.
    pub(crate) confirmed: u64,
    /// What the TPM's counter said when that was written, or is to say after it; none without a TPM.
    pub(crate) counter: Option<u64>,
    /// Where an update stands.
    pub(crate) phase: Phase,
    /// The versions in the slots, as far as we wrote them.
    pub(crate) versions: BTreeMap<Slot, u64>,
    /// Versions that did not prove healthy.
    pub(crate) bad: BTreeSet<u64>,
    /// The one that the device came back from last, and why.
    pub(crate) returned: Option<(u64, String)>,
    /// A time at which signed metadata held good: it is over for sure.
    pub(crate) seen: UnixSeconds,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            form: FORM,
            confirmed: 0,
            counter: None,
            phase: Phase::Idle,
            versions: BTreeMap::new(),
            bad: BTreeSet::new(),
            returned: None,
            seen: 0,
        }
    }
}

/// Where it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    folder: PathBuf,
}

impl Kept {
    pub(crate) fn at(folder: &Path) -> io::Result<Self> {
        files::private_directory(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// What is remembered, if anything ever was. What is damaged is an error: taken for nothing, it would let an old system in.
    pub(crate) fn read(&self) -> io::Result<Option<Journal>> {
        let read: Option<Journal> = files::read_json(&self.path())?;
        match read {
            Some(journal) if journal.form != FORM => Err(io::Error::other(format!(
                "{}: form {} is not known here",
                self.path().display(),
                journal.form
            ))),
            read => Ok(read),
        }
    }

    pub(crate) fn put(&self, journal: &Journal) -> io::Result<()> {
        files::put_json(&self.path(), journal)
    }
}
