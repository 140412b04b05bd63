//! Disk images.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// An empty image; one of that name is emptied.
pub(super) fn empty(path: &Path, mib: u64) -> Result<PathBuf> {
    fs_err::File::create(path)?.set_len(mib << 20)?;
    Ok(path.to_owned())
}
