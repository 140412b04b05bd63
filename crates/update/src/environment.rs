//! U-Boot's environment, where `/etc/fw_env.config` says that it is.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use stockade_controls::boot::uboot::{self, Place, UbootError};

use crate::slots::SlotError;

/// The two copies: one of them is whole at any time.
#[derive(Debug)]
pub(crate) struct Environment {
    root: PathBuf,
    places: Vec<Place>,
}

impl From<UbootError> for SlotError {
    fn from(why: UbootError) -> Self {
        Self::Environment(why.to_string())
    }
}

impl Environment {
    pub(crate) fn open(root: &Path) -> Result<Self, SlotError> {
        let places = uboot::places(&fs_err::read_to_string(root.join("etc/fw_env.config"))?)?;
        if places.len() != 2 {
            // A power cut while the only copy is written would leave none.
            let why = "fw_env.config names one copy of it, and two are needed to write it safely";
            return Err(SlotError::Environment(why.to_owned()));
        }
        let root = root.to_owned();
        Ok(Self { root, places })
    }

    fn open_place(&self, place: &Place) -> io::Result<fs_err::File> {
        let path = place.path.to_string();
        let path = self.root.join(path.trim_start_matches('/'));
        let kind = fs_err::metadata(&path)?.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            let why = format!("{}: raw flash is not written here", path.display());
            return Err(io::Error::other(why));
        }
        fs_err::OpenOptions::new().read(true).write(true).open(path)
    }

    fn now(&self) -> Result<uboot::Environment, SlotError> {
        let copies = self.places.iter().map(|place| {
            let mut bytes = vec![0; place.size];
            self.open_place(place)?
                .file()
                .read_exact_at(&mut bytes, place.offset)?;
            Ok(bytes)
        });
        let copies: Vec<Vec<u8>> = copies.collect::<io::Result<_>>()?;
        let copies: Vec<&[u8]> = copies.iter().map(Vec::as_slice).collect();
        Ok(uboot::Environment::read(&copies)?)
    }

    pub(crate) fn read(&self) -> Result<BTreeMap<String, String>, SlotError> {
        Ok(self.now()?.variables)
    }

    /// Writes the copy that does not count, which counts once it is whole.
    pub(crate) fn write(&self, variables: &BTreeMap<String, String>) -> Result<(), SlotError> {
        let mut next = self.now()?;
        next.variables.clone_from(variables);
        let size = self.places.iter().map(|it| it.size).min().unwrap_or(0);
        let (number, bytes) = next.write(size)?;
        let gone = || SlotError::from(UbootError::Places);
        let place = self.places.get(number).ok_or_else(gone)?;
        let file = self.open_place(place)?;
        file.file().write_all_at(&bytes, place.offset)?;
        file.sync_all()?;
        if self.read()? == *variables {
            return Ok(());
        }
        Err(SlotError::Environment(
            "it does not read back as it was written".to_owned(),
        ))
    }
}
