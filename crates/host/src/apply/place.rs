//! Finding a place below a root, step by step, so that nobody's link leads anywhere else.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    self, AtFlags, FileType, Mode, OFlags, Stat, StatVfs, StatVfsMountFlags, Timestamps,
};
use rustix::io::Errno;
use stockade_controls::engine::{HostPath, NotAPath};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;
/// What a file is called until it is whole. One process writes at a time.
const FRESH: &str = ".stockade-new";

/// The root directory that is changed.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// A name in a directory that is held open: whatever happens to the way there, it stays the same directory.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
    /// The names of the directories on the way there from the root, links followed.
    way: Vec<Box<[u8]>>,
    name: Box<[u8]>,
    /// Only root may change the directory and those above it.
    pub(crate) safe: bool,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            fd: fs::open(path, flags, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// Whether it is the system that runs here.
    pub(crate) fn is_live(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Where a path leads. Links on the way are followed inside the root, if only root could have put them there; the last
    /// name is followed only if `last`.
    pub(crate) fn place(&self, path: &HostPath, last: bool) -> io::Result<Place> {
        let top = fs::openat(
            &self.fd,
            c".",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let safe = only_root(&fs::fstat(&top)?);
        let mut above = vec![(top, safe)];
        let mut way: Vec<Box<[u8]>> = Vec::new();
        let mut todo = names(path.as_bytes());
        let mut links = 0;
        loop {
            // The root itself is a name in itself.
            let name = todo.pop().unwrap_or_else(|| b".".as_slice().into());
            if *name == *b".." {
                way.pop();
                above.truncate(above.len().saturating_sub(1).max(1));
                continue;
            }
            let (directory, safe) = above.last().ok_or(Errno::NOTDIR)?;
            let ends = todo.is_empty();
            if ends && !last {
                return end(above, way, name);
            }
            let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match fs::openat(directory, &*name, look, Mode::empty()) {
                Err(Errno::NOENT) if ends => return end(above, way, name),
                opened => opened?,
            };
            let about = fs::fstat(&fd)?;
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if !safe || !is_root(about.st_uid) || links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = fs::readlinkat(&fd, c"", Vec::new())?;
                    if target.as_bytes().starts_with(b"/") {
                        way.clear();
                        above.truncate(1);
                    }
                    todo.extend(names(target.as_bytes()));
                }
                _ if ends => return end(above, way, name),
                FileType::Directory => {
                    let safe = *safe && only_root(&about);
                    above.push((fd, safe));
                    way.push(name);
                }
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
    }
}

/// The place itself; the directories above are closed.
fn end(mut above: Vec<(OwnedFd, bool)>, way: Vec<Box<[u8]>>, name: Box<[u8]>) -> io::Result<Place> {
    let (directory, safe) = above.pop().ok_or(Errno::NOTDIR)?;
    Ok(Place {
        directory,
        way,
        name,
        safe,
    })
}

impl Place {
    /// Where it is, without links.
    pub(crate) fn path(&self) -> Result<HostPath, NotAPath> {
        let mut path = HostPath::root();
        for name in self.way.iter().chain([&self.name]) {
            path = path.join(name)?;
        }
        Ok(path)
    }

    /// Opens the file itself.
    pub(crate) fn open(&self, flags: OFlags, mode: Mode) -> io::Result<std::fs::File> {
        Ok(fs::openat(&self.directory, &*self.name, flags, mode)?.into())
    }

    /// The file itself, not what it points to, open for nothing but looking at it and changing its metadata.
    pub(crate) fn handle(&self) -> io::Result<Option<Handle>> {
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&self.directory, &*self.name, look, Mode::empty()) {
            Ok(fd) => Ok(Some(Handle {
                about: fs::fstat(&fd)?,
                fd,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A new file under the name for what is not whole yet.
    pub(crate) fn fresh(&self) -> io::Result<OwnedFd> {
        self.clear()?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(
            &self.directory,
            FRESH,
            flags,
            Mode::RUSR | Mode::WUSR,
        )?)
    }

    /// A new link under the name for what is not whole yet.
    pub(crate) fn fresh_link(&self, target: &[u8]) -> io::Result<Self> {
        self.clear()?;
        fs::symlinkat(target, &self.directory, FRESH)?;
        self.beside()
    }

    /// The place of what is not whole yet.
    pub(crate) fn beside(&self) -> io::Result<Self> {
        Ok(Self {
            directory: self.directory.try_clone()?,
            way: self.way.clone(),
            name: FRESH.as_bytes().into(),
            safe: self.safe,
        })
    }

    /// Removes what a crash left half made.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match fs::unlinkat(&self.directory, FRESH, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What is whole takes its place, whatever is there, in one moment.
    pub(crate) fn settle(&self) -> io::Result<()> {
        if self
            .handle()?
            .is_some_and(|it| it.kind() == FileType::Directory)
        {
            fs::unlinkat(&self.directory, &*self.name, AtFlags::REMOVEDIR)?;
        }
        fs::renameat(&self.directory, FRESH, &self.directory, &*self.name)?;
        self.sync()
    }

    /// A second name for a file that was there before.
    pub(crate) fn link_to(&self, other: &Self) -> io::Result<()> {
        self.clear()?;
        fs::linkat(
            &other.directory,
            &*other.name,
            &self.directory,
            FRESH,
            AtFlags::empty(),
        )?;
        self.settle()
    }

    pub(crate) fn make_directory(&self) -> io::Result<()> {
        fs::mkdirat(
            &self.directory,
            &*self.name,
            Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH,
        )?;
        self.sync()
    }

    /// Removes it; a directory only if it is empty.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let flags = match self.handle()? {
            None => return Ok(()),
            Some(it) if it.kind() == FileType::Directory => AtFlags::REMOVEDIR,
            Some(_) => AtFlags::empty(),
        };
        fs::unlinkat(&self.directory, &*self.name, flags)?;
        self.sync()
    }

    /// Sets the times of a link itself.
    pub(crate) fn link_times(&self, times: &Timestamps) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(fs::utimensat(&self.directory, &*self.name, times, flags)?)
    }

    /// How full the file system is.
    pub(crate) fn space(&self) -> io::Result<StatVfs> {
        Ok(fs::fstatvfs(&self.directory)?)
    }

    /// Makes the names in its directory last.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // What is held can not be synced; this is the same directory.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::openat(&self.directory, c".", flags, Mode::empty())?;
        Ok(fs::fsync(directory)?)
    }
}

/// A file that is held: nobody can put another one under it.
#[derive(Debug)]
pub(crate) struct Handle {
    fd: OwnedFd,
    /// Its metadata when it was opened.
    pub(crate) about: Stat,
}

impl Handle {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.about.st_mode)
    }

    /// The name by which the kernel finds what is held, and nothing else.
    pub(crate) fn name(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    /// Opens a regular file to read it. Nothing else is ever opened: a pipe would wait for good.
    pub(crate) fn reader(&self) -> io::Result<fs_err::File> {
        if self.kind() != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        fs_err::File::open(self.name())
    }

    pub(crate) fn link(&self) -> io::Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.fd, c"", Vec::new())?.into_bytes())
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a file system can only be read.
pub(crate) fn read_only(space: &StatVfs) -> bool {
    space.f_flag.contains(StatVfsMountFlags::RDONLY)
}

/// The names of a path, the last one first.
fn names(path: &[u8]) -> Vec<Box<[u8]>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .rev()
        .map(Into::into)
        .collect()
}

/// A user that may change the system anyhow.
fn is_root(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Whether only root may change what is in a directory.
fn only_root(about: &Stat) -> bool {
    is_root(about.st_uid) && about.st_mode & 0o022 == 0
}
