//! Files that this process's user alone can read: PKCS#8, or what else a slot needs.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use stockade_api::keys::Slot;
use zeroize::Zeroizing;

use super::{Point, Signature, Store, StoreError};

/// Far more than a key on P-256 has.
const MOST: u64 = 4096;

/// One private file a slot, changed whole or not at all.
pub(super) struct Slots {
    dir: PathBuf,
    suffix: &'static str,
}

impl Slots {
    /// The files with this suffix in `dir`, which is made if it is not there and must be this user's alone.
    pub(super) fn open(dir: &Path, suffix: &'static str) -> Result<Self, StoreError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        private(dir, &fs_err::metadata(dir)?)?;
        Ok(Self {
            dir: dir.to_owned(),
            suffix,
        })
    }

    pub(super) fn path(&self, slot: impl Display) -> PathBuf {
        self.dir.join(format!("{slot}.{}", self.suffix))
    }

    pub(super) fn read(
        &self,
        slot: impl Display,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let path = self.path(slot);
        let meta = match fs_err::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            meta => meta?,
        };
        private(&path, &meta)?;
        if !meta.is_file() || meta.len() > MOST {
            return Err(StoreError::Damaged(path));
        }
        Ok(Some(Zeroizing::new(fs_err::read(path)?)))
    }

    pub(super) fn write(&self, slot: impl Display, content: &[u8]) -> Result<(), StoreError> {
        let fresh = self.fresh(&slot);
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs_err::rename(&fresh, self.path(slot))?;
        self.sync()
    }

    pub(super) fn promote(&self) -> Result<(), StoreError> {
        match fs_err::rename(self.path(Slot::DeviceNext), self.path(Slot::Device)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(StoreError::from).and_then(|()| self.sync()),
        }
    }

    pub(super) fn remove(&self, slot: impl Display) -> Result<(), StoreError> {
        // What a power cut left of a key goes too.
        for path in [self.fresh(&slot), self.path(&slot)] {
            match overwrite(&path).and_then(|()| fs_err::remove_file(&path)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        self.sync()
    }

    fn fresh(&self, slot: impl Display) -> PathBuf {
        self.dir.join(format!(".{slot}.new"))
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(fs_err::File::open(&self.dir)?.sync_all()?)
    }
}

/// Puts zeros in the place of what a file holds. A flash's controller may keep a copy; the file system does not.
fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

/// Only this process's user may have rights.
fn private(path: &Path, meta: &std::fs::Metadata) -> Result<(), StoreError> {
    let (mode, owner) = (meta.mode() & 0o777, meta.uid());
    if mode & 0o077 != 0 || owner != rustix::process::geteuid().as_raw() {
        return Err(StoreError::Exposed {
            path: path.to_owned(),
            mode,
            owner,
        });
    }
    Ok(())
}

/// Keys in PKCS#8 files.
pub(super) struct Files(Slots);

impl Files {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self(Slots::open(dir, "p8")?))
    }

    fn pair(&self, slot: Slot) -> Result<Option<EcdsaKeyPair>, StoreError> {
        let Some(der) = self.0.read(slot)? else {
            return Ok(None);
        };
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .map(Some)
            .map_err(|_| StoreError::Damaged(self.0.path(slot)))
    }
}

fn failed<E>(_: E) -> StoreError {
    StoreError::Failed("the cryptographic library failed".to_owned())
}

impl Store for Files {
    fn public(&mut self, slot: Slot) -> Result<Option<Point>, StoreError> {
        let pair = self.pair(slot)?;
        pair.map(|pair| pair.public_key().as_ref().try_into().map_err(failed))
            .transpose()
    }

    fn make(&mut self, slot: Slot) -> Result<(), StoreError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let der = pair.to_pkcs8v1().map_err(failed)?;
        self.0.write(slot, der.as_ref())
    }

    fn sign(&mut self, slot: Slot, message: &[u8]) -> Result<Signature, StoreError> {
        let pair = self.pair(slot)?.ok_or(StoreError::Empty(slot))?;
        let signature = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
        signature.as_ref().try_into().map_err(failed)
    }

    fn promote(&mut self) -> Result<(), StoreError> {
        self.0.promote()
    }

    fn destroy(&mut self, slot: Slot) -> Result<(), StoreError> {
        self.0.remove(slot)
    }
}
