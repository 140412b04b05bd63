//! A TPM 2.0 by swtpm, whose memory outlives the power of its machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::tools::eventually;

/// A TPM: a folder, and a program that runs while its machine does.
#[derive(Debug, Clone)]
pub struct Tpm {
    folder: PathBuf,
}

impl Tpm {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Where it is asked.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// Power for the TPM; it goes off when the machine lets go of it.
    pub(super) fn start(&self) -> Result<Child> {
        let socket = self.socket();
        drop(fs_err::remove_file(&socket));
        let log = fs_err::File::create(self.folder.join("log"))?;
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--terminate", "--tpmstate"])
            .arg(format!("dir={}", self.folder.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(log.file().try_clone()?)
            .stderr(log.into_parts().0)
            .spawn()
            .context("cannot run swtpm")?;
        eventually("swtpm listens", Duration::from_secs(20), || {
            Ok(socket.exists().then_some(()))
        })?;
        Ok(child)
    }
}
