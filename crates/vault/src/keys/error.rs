//! Why keys fail.

use std::io;
use std::path::PathBuf;

use stockade_store::StoreError;

use super::SubjectId;

/// Why a key cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refused.
    #[error("cannot use the vault's key: {0}")]
    Io(#[from] io::Error),
    /// The file is not a key, or others can read it.
    #[error("{}: {detail}", .file.display())]
    Unusable {
        /// The key's file.
        file: PathBuf,
        /// What is wrong, and what to do.
        detail: &'static str,
    },
    /// The token or the TPM failed.
    #[error("the vault's root key: {0}")]
    Root(String),
    /// The root key is another than the one that wrapped the keyring.
    #[error(
        "{root} is not the root key that wrapped {}: an older keyring was restored, or another root key; restore the newest of both",
        .keyring.display()
    )]
    OtherRoot {
        /// Where the root key is.
        root: String,
        /// The keyring's file.
        keyring: PathBuf,
    },
    /// The epoch's key was destroyed: what it wrapped belongs to the time before an erasure or a rotation.
    #[error(
        "subject {subject} is wrapped under epoch {epoch}, whose key was destroyed: its row is from before a rotation and can no longer be opened"
    )]
    Destroyed {
        /// Whose keys.
        subject: SubjectId,
        /// The epoch.
        epoch: u32,
    },
    /// A row of the store cannot be opened by the key that wrote it.
    #[error(
        "the keys of subject {subject} are damaged in the store: see `stockade vault fsck`, and restore a backup of this epoch"
    )]
    Damaged {
        /// Whose keys.
        subject: SubjectId,
    },
    /// The log knows better.
    #[error(
        "the keyring is of epoch {keyring}, and the log tells of epoch {log}: an older keyring was restored; restore its newest copy"
    )]
    Older {
        /// The keyring's epoch.
        keyring: u32,
        /// The last one in the log.
        log: u64,
    },
    /// An entry of the index of devices is damaged.
    #[error("an entry of the vault's index of devices is damaged: see `stockade vault fsck`")]
    DamagedName,
    /// The rotation is complete but for the end of the old epoch: that would lose what a backup could still mend.
    #[error(
        "{count} subjects' keys are damaged in the store ({first} first), so the old epoch is not destroyed yet: restore them from a \
         backup, or give them up with --give-up-damaged"
    )]
    KeepsOldEpoch {
        /// How many.
        count: u64,
        /// One of them.
        first: SubjectId,
    },
    /// The store failed.
    #[error("the store of the vault's keys failed")]
    Store(#[from] StoreError),
    /// The machine gave no random bytes, or the library refused.
    #[error("the cryptographic library failed: {0}")]
    Crypto(&'static str),
}
