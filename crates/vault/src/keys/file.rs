//! A key in a file of its own, which only its owner can read.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use zeroize::Zeroizing;

use super::{KeyError, Secret, from_hex, random, to_hex};

/// Which key, and what to say where there is none.
pub(crate) struct KeyFile {
    /// Its first line.
    pub(crate) header: &'static str,
    /// Said where it is missing and may not be made.
    pub(crate) missing: &'static str,
    /// Said where something else is in its place.
    pub(crate) wrong: &'static str,
}

impl KeyFile {
    /// The key there. One that is not there is made if `create`.
    pub(crate) fn open(&self, path: &Path, create: bool) -> Result<Secret, KeyError> {
        let unusable = |detail| KeyError::Unusable {
            file: path.to_owned(),
            detail,
        };
        let mut open = match fs_err::File::open(path) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if create {
                    self.make(path)
                } else {
                    Err(unusable(self.missing))
                };
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = open.metadata()?;
        if metadata.mode() & 0o077 != 0 {
            return Err(unusable(
                "others could read the key; if nobody did: chmod 600",
            ));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(unusable("the key belongs to another user"));
        }
        // Room from the start: growing would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(256));
        match (&mut open).take(200).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => text.clear(),
            Err(error) => return Err(error.into()),
        }
        text.strip_prefix(self.header)
            .and_then(|hex| from_hex(hex.trim_ascii_end()))
            .map(Secret)
            .ok_or_else(|| unusable(self.wrong))
    }

    fn make(&self, path: &Path) -> Result<Secret, KeyError> {
        let key = Secret(random()?);
        let unfinished = path.with_extension("tmp");
        // What a crash left may be for others to read.
        match fs_err::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut out = options.open(&unfinished)?;
        out.write_all(self.header.as_bytes())?;
        out.write_all(to_hex(&*key).as_bytes())?;
        out.write_all(b"\n")?;
        out.sync_all()?;
        fs_err::rename(&unfinished, path)?;
        if let Some(dir) = path.parent() {
            fs_err::File::open(dir)?.sync_all()?;
        }
        Ok(key)
    }
}
