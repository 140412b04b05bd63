//! What can go wrong with a plan.

use std::io;
use std::path::PathBuf;

use crate::init::InitError;
use crate::packages::PackageError;
use crate::program::ProgramError;

/// Why a plan was not carried out, or not undone.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The applier's own folder.
    #[error("the folder of undo data: {0}")]
    Folder(#[from] io::Error),
    /// Others could change what is in it.
    #[error(
        "{folder} belongs to another user or is open to others: `chown root {folder} && chmod 700 {folder}`"
    )]
    Open {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process is at work.
    #[error("another process carries out or undoes a plan now: wait for it to end")]
    Busy,
    /// The journal was damaged.
    #[error("{path}: line {line} is damaged: what was done before can not be undone by it")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// The journal is of another version.
    #[error("{path} was written by another version of stockade")]
    Version {
        /// The journal.
        path: PathBuf,
    },
    /// A crash cut a plan short, and that comes first.
    #[error("a plan was cut short: recover first")]
    Unfinished,
    /// A step can not be done here; nothing was changed.
    #[error("nothing was changed: {says}: {why}")]
    Refused {
        /// What the step does.
        says: String,
        /// Why not.
        why: StepError,
    },
    /// A step failed; all is as it was before.
    #[error("all is as it was before: {says}: {why}")]
    TakenBack {
        /// What the step does.
        says: String,
        /// Why it failed.
        why: StepError,
        /// What could not be taken back all the same.
        left: Vec<String>,
    },
    /// Something could not be taken back; it is tried again when recovering.
    #[error("{says} could not be taken back: {why}")]
    NotBack {
        /// What the step does.
        says: String,
        /// Why.
        why: StepError,
    },
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A file.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// Why.
        why: io::Error,
    },
    /// A service.
    #[error(transparent)]
    Init(#[from] InitError),
    /// A package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Another program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

impl StepError {
    pub(crate) fn at(path: impl ToString) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::File {
            path: path.to_string(),
            why,
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is what `map_err` hands over"
    )]
    pub(crate) fn other(why: impl ToString) -> Self {
        Self::Other(why.to_string())
    }
}
