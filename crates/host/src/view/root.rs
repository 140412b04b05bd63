//! A root directory that nothing leads out of.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;
use stockade_controls::engine::{Entry, HostPath, Kind, Name, Unseen};

/// The most entries of one directory that are listed.
const MOST_ENTRIES: usize = 65_536;
/// How often a look-up is tried again that the kernel gave up because something was renamed meanwhile.
const TRIES: usize = 16;
/// The major number of raw flash (Linux `MTD_CHAR_MAJOR`).
const MTD: u32 = 90;
/// What `O_DIRECT` reads by: no block device has larger sectors.
const BLOCK: u16 = 4096;

/// A directory taken as the root: links inside it, absolute ones and `..` too, stay inside (openat2(2), `RESOLVE_IN_ROOT`).
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    /// Opens a directory of this machine.
    pub(super) fn open(path: &Path) -> Result<Self, Unseen> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(unseen)?;
        Ok(Self(fd))
    }

    /// Opens what is at a path inside.
    fn find(&self, path: &HostPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            let flags = flags | OFlags::CLOEXEC;
            match rustix::fs::openat2(&self.0, path.as_bytes(), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => (),
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// A regular file's content, `most` bytes at most.
    pub(super) fn read(&self, path: &HostPath, most: usize) -> Result<Vec<u8>, Unseen> {
        let found = self.find(path, OFlags::PATH).map_err(absent)?;
        let stat = rustix::fs::fstat(&found).map_err(unseen)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Unseen::Damaged("not a regular file".to_owned()));
        }
        if usize::try_from(stat.st_size).unwrap_or(usize::MAX) > most {
            return Err(Unseen::TooMuch(most));
        }
        // Opened only now that it is known to be a file, and that very file: to open a pipe hangs, to open a device acts.
        let again = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, again, flags, Mode::empty()).map_err(unseen)?;
        // Files of /proc say that they are empty.
        drain(file.as_fd(), most)
    }

    /// Bytes of a block device or of flash, past the page cache: dm-verity checks what comes from the medium, and nothing twice.
    pub(super) fn device(
        &self,
        path: &HostPath,
        at: u64,
        length: usize,
    ) -> Result<Vec<u8>, Unseen> {
        let found = self.find(path, OFlags::PATH).map_err(absent)?;
        let stat = rustix::fs::fstat(&found).map_err(unseen)?;
        let direct = match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice => OFlags::DIRECT,
            // Flash has no cache, and other character devices act when they are opened.
            FileType::CharacterDevice if rustix::fs::major(stat.st_rdev) == MTD => OFlags::empty(),
            _ => return Err(Unseen::Damaged("not a block device".to_owned())),
        };
        let again = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | direct;
        let file = rustix::fs::openat(CWD, again, flags, Mode::empty()).map_err(unseen)?;
        aligned(file.as_fd(), at, length)
    }

    /// Metadata, not following the last name.
    pub(super) fn entry(&self, path: &HostPath) -> Result<Entry, Unseen> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found = self.find(path, flags).map_err(absent)?;
        Ok(entry_of(&rustix::fs::fstat(&found).map_err(unseen)?))
    }

    /// Where a link points.
    pub(super) fn link(&self, path: &HostPath) -> Result<Vec<u8>, Unseen> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found = self.find(path, flags).map_err(absent)?;
        let stat = rustix::fs::fstat(&found).map_err(unseen)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(Unseen::Damaged("not a link".to_owned()));
        }
        let target = rustix::fs::readlinkat(&found, "", Vec::new()).map_err(unseen)?;
        Ok(target.into_bytes())
    }

    /// A directory, opened for reading.
    pub(super) fn directory(&self, path: &HostPath) -> Result<OwnedFd, Unseen> {
        self.find(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(unseen)
    }

    /// A directory's names with their metadata, sorted.
    pub(super) fn list(&self, path: &HostPath) -> Result<Vec<(Name, Entry)>, Unseen> {
        let directory = self.directory(path)?;
        let mut names: Vec<Name> = Vec::new();
        each_name(directory.as_fd(), &mut |name, _| {
            if names.len() == MOST_ENTRIES {
                return Err(Unseen::TooMuch(MOST_ENTRIES));
            }
            names.push(name.into());
            Ok(())
        })?;
        names.sort_unstable();
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            match stat_in(directory.as_fd(), &name) {
                Ok(stat) => entries.push((name, entry_of(&stat))),
                // Gone meanwhile.
                Err(Errno::NOENT) => (),
                Err(why) => return Err(unseen(why)),
            }
        }
        Ok(entries)
    }
}

/// Reads whole blocks into memory that starts at one, as `O_DIRECT` asks for, and gives what was asked for.
fn aligned(file: BorrowedFd<'_>, at: u64, length: usize) -> Result<Vec<u8>, Unseen> {
    let block = usize::from(BLOCK);
    let skipped = usize::from(u16::try_from(at % u64::from(BLOCK)).unwrap_or_default());
    let mut place = at - at % u64::from(BLOCK);
    let wanted = length.saturating_add(skipped);
    let mut memory = vec![0_u8; wanted.saturating_add(2 * block)];
    let start = memory.as_ptr().align_offset(block);
    let blocks = &mut memory[start..start + wanted.next_multiple_of(block)];
    let mut read = 0;
    while read < blocks.len() {
        match rustix::io::pread(file, &mut blocks[read..], place) {
            Ok(0) => break,
            Ok(count) => {
                read += count;
                place += u64::try_from(count).unwrap_or_default();
            }
            Err(Errno::INTR) => (),
            // The kernel's word for a block that can not be had, or is not what its hash says.
            Err(why @ (Errno::IO | Errno::BADMSG)) => return Err(Unseen::Damaged(why.to_string())),
            Err(why) => return Err(unseen(why)),
        }
    }
    let end = read.min(wanted);
    Ok(blocks[skipped.min(end)..end].to_vec())
}

/// What an open file still gives, `most` bytes at most.
pub(super) fn drain(file: BorrowedFd<'_>, most: usize) -> Result<Vec<u8>, Unseen> {
    let mut content = Vec::new();
    loop {
        if content.len() > most {
            return Err(Unseen::TooMuch(most));
        }
        content.reserve(4096.min(most.saturating_add(1)));
        match rustix::io::read(file, rustix::buffer::spare_capacity(&mut content)) {
            Ok(0) => return Ok(content),
            Ok(_) | Err(Errno::INTR) => (),
            Err(why) => return Err(unseen(why)),
        }
    }
}

/// Takes a name and its kind; an error ends the look.
pub(super) type See<'a> = dyn FnMut(&[u8], FileType) -> Result<(), Unseen> + 'a;

/// Every name of an open directory but `.` and `..`, with its kind where the file system says it.
pub(super) fn each_name(directory: BorrowedFd<'_>, see: &mut See<'_>) -> Result<(), Unseen> {
    let mut buffer = vec![MaybeUninit::uninit(); 8192];
    let mut names = RawDir::new(directory, &mut buffer);
    while let Some(entry) = names.next() {
        let entry = entry.map_err(unseen)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            see(name, entry.file_type())?;
        }
    }
    Ok(())
}

/// Metadata of a directory's name, not following it.
pub(super) fn stat_in(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Metadata as rules know it.
pub(super) fn entry_of(stat: &Stat) -> Entry {
    Entry {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            FileType::BlockDevice | FileType::CharacterDevice => Kind::Device,
            _ => Kind::Other,
        },
        mode: stat.st_mode & 0o7777,
        owner: stat.st_uid,
        group: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: u64::try_from(stat.st_mtime).unwrap_or_default(),
    }
}

/// A refusal of the kernel, in the words of the rules.
pub(super) fn unseen(why: Errno) -> Unseen {
    match why {
        Errno::NOENT => Unseen::Absent,
        Errno::ACCESS | Errno::PERM => Unseen::Denied,
        Errno::LOOP => Unseen::Damaged("a loop of links".to_owned()),
        Errno::NOTDIR => Unseen::Damaged("not a directory".to_owned()),
        other => Unseen::Failed(other.to_string()),
    }
}

/// The same, where a file in the place of a directory on the way only means that the thing is not there.
fn absent(why: Errno) -> Unseen {
    match why {
        Errno::NOTDIR => Unseen::Absent,
        other => unseen(other),
    }
}
