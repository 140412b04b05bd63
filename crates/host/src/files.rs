//! Small files that must survive a power cut, whole.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest file that is read.
pub const MOST: u64 = 1024 * 1024;

/// A directory that only root may look into.
pub fn private_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", path.display())))
}

/// A file's content; none if it is not there. Some are the agent's: what it may have put in a file's place, a link, a pipe that
/// hangs or a device that acts, is not opened.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let plain = match fs_err::symlink_metadata(path) {
        Ok(about) => about.is_file(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let strange = || {
        let why = format!("{} is not a regular file", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, why)
    };
    if !plain {
        return Err(strange());
    }
    // In between it may be exchanged.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs_err::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(strange());
    }
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        let why = format!("{} is longer than {MOST} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(Some(bytes))
}

/// Puts a file there, for root alone: after a power cut it is there whole, or the one before is.
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(why) = written {
        // On a full disk the half file would only be in the way.
        drop(fs_err::remove_file(&new));
        return Err(why);
    }
    fs_err::rename(&new, path)?;
    path.parent()
        .map_or(Ok(()), |parent| fs_err::File::open(parent)?.sync_all())
}

/// Overwrites a file of this user with zeros and removes it; one that is not there is none. A link, or a file that has a second
/// name somewhere, is removed only: its folder is not root's.
pub fn wipe(path: &Path, owner: u32) -> io::Result<()> {
    let opened = fs_err::OpenOptions::new()
        .write(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    if let Ok(mut file) = opened {
        let about = file.metadata()?;
        if about.is_file() && about.nlink() == 1 && about.uid() == owner {
            let zeros = usize::try_from(about.len().min(MOST)).unwrap_or_default();
            file.write_all(&vec![0; zeros])?;
            file.sync_all()?;
        }
    }
    match fs_err::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

/// What a file of ours says; none if it is not there. A damaged one is an error: it is never taken for an absent one.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|why| {
        let text = format!("{} is damaged: {why}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Puts a file of ours there.
pub fn put_json<T: Serialize>(path: &Path, what: &T) -> io::Result<()> {
    put(path, &serde_json::to_vec(what)?)
}

/// The version of the system in a root: `IMAGE_VERSION` of os-release(5).
pub fn image_version(root: &Path) -> Option<String> {
    let about = ["etc/os-release", "usr/lib/os-release"]
        .into_iter()
        .find_map(|path| fs_err::read_to_string(root.join(path)).ok())?;
    let version = about
        .lines()
        .find_map(|line| line.strip_prefix("IMAGE_VERSION="))?;
    let version = version.trim_matches(['"', '\'']);
    (!version.is_empty() && version.len() <= 64).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_link_or_a_pipe_in_the_place_of_a_file_is_told_and_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        put(&at("file"), b"here").unwrap();
        assert_eq!(read(&at("file")).unwrap().as_deref(), Some(&b"here"[..]));
        assert_eq!(read(&at("none")).unwrap(), None);
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for name in ["link", "pipe"] {
            let refused = read(&at(name)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
    }
}
