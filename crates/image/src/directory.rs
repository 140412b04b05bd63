//! A directory of this machine as a tree: looked at once, files opened when they are read, nothing followed and no other file
//! system entered.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;
use stockade_controls::engine::{Kind, Unseen};

use crate::{Bytes, Content, Contents, Meter, Node, Tree, inodes};

/// The longest list of attributes, and the longest attribute (`XATTR_SIZE_MAX`).
const ATTRIBUTES: usize = 64 << 10;

/// Walks it.
pub(crate) fn tree(path: &Path, meter: &Meter) -> Result<Tree, Unseen> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(unseen)?;
    let mut tree = Tree::new();
    let mut files = Files {
        root,
        paths: Vec::new(),
    };
    let top = files.open(b".", OFlags::PATH).map_err(unseen)?;
    tree.add(b"/", files.node(&top, b".")?, meter)?;
    let mut open: Vec<Vec<u8>> = vec![b".".to_vec()];
    while let Some(at) = open.pop() {
        let names = match files.names(&at, meter) {
            Ok(names) => names,
            Err(why) => {
                tree.miss(shown(&at), why);
                continue;
            }
        };
        for name in names {
            let path = [at.as_slice(), b"/", &name].concat();
            let node = match files.open(&path, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(file) => files.node(&file, &path),
                // Gone meanwhile.
                Err(Errno::NOENT) => continue,
                Err(Errno::XDEV) => {
                    let why = "another file system is mounted here".to_owned();
                    Err(Unseen::Failed(why))
                }
                Err(why) => Err(unseen(why)),
            };
            match node {
                Ok(node) => {
                    if node.entry.kind == Kind::Directory {
                        open.push(path.clone());
                    }
                    tree.add(&path, node, meter)?;
                }
                Err(why) => tree.miss(shown(&path), why),
            }
        }
    }
    tree.contents = Some(Arc::new(files));
    Ok(tree)
}

/// A path as a tree names it.
fn shown(path: &[u8]) -> &[u8] {
    match path.strip_prefix(b".") {
        Some(b"") | None => b"/",
        Some(path) => path,
    }
}

struct Files {
    root: OwnedFd,
    /// By number of the content.
    paths: Vec<Vec<u8>>,
}

impl Files {
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let stay = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC;
        // A link that is the last name is opened itself, which NO_SYMLINKS allows with O_PATH and O_NOFOLLOW.
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), stay)
    }

    fn names(&self, path: &[u8], meter: &Meter) -> Result<Vec<Vec<u8>>, Unseen> {
        let directory = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let directory = directory.map_err(unseen)?;
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut entries = RawDir::new(directory.as_fd(), buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            meter.time()?;
            let name = entry.map_err(unseen)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn node(&mut self, file: &OwnedFd, path: &[u8]) -> Result<Node, Unseen> {
        let stat = rustix::fs::fstat(file).map_err(unseen)?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let modified = u64::try_from(stat.st_mtime).unwrap_or_default();
        let mut node = inodes::node(stat.st_mode, stat.st_uid, stat.st_gid, size, modified)?;
        match node.entry.kind {
            Kind::File => {
                let number = u64::try_from(self.paths.len()).unwrap_or(u64::MAX);
                node.content = Content::Number(number);
                self.paths.push(path.to_vec());
            }
            Kind::Link => {
                let target = rustix::fs::readlinkat(file, "", Vec::new()).map_err(unseen)?;
                node.link = Some(target.into_bytes());
            }
            Kind::Device => {
                let device = stat.st_rdev;
                node.device = Some((rustix::fs::major(device), rustix::fs::minor(device)));
            }
            Kind::Directory | Kind::Other => (),
        }
        attributes(file, &mut node)?;
        Ok(node)
    }
}

/// Extended attributes; through `/proc`, as there is no call for what is only open as a path.
fn attributes(file: &OwnedFd, node: &mut Node) -> Result<(), Unseen> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut names = Vec::with_capacity(1024);
    match rustix::fs::listxattr(&path, spare_capacity(&mut names)) {
        Ok(_) => (),
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(Errno::RANGE) => {
            names = Vec::with_capacity(ATTRIBUTES);
            rustix::fs::listxattr(&path, spare_capacity(&mut names)).map_err(unseen)?;
        }
        Err(why) => return Err(unseen(why)),
    }
    for name in names.split(|byte| *byte == 0).filter(|it| !it.is_empty()) {
        let mut value = Vec::with_capacity(ATTRIBUTES);
        match rustix::fs::getxattr(&path, name, spare_capacity(&mut value)) {
            Ok(_) => {
                value.shrink_to_fit();
                node.attributes.insert(name.into(), value);
            }
            Err(Errno::NODATA) => (),
            Err(why) => return Err(unseen(why)),
        }
    }
    Ok(())
}

impl Contents for Files {
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let path = self.paths.get(number).ok_or(Unseen::Absent)?;
        let file = self.open(path, OFlags::PATH | OFlags::NOFOLLOW);
        let file = file.map_err(unseen)?;
        let stat = rustix::fs::fstat(&file).map_err(unseen)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Unseen::Damaged("not a regular file".to_owned()));
        }
        // Opened only now that it is known to be a file, and that very file: to open a pipe hangs, to open a device acts.
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, again, flags, Mode::empty()).map_err(unseen)?;
        Bytes::file(file.into())?.all(most)
    }
}

fn unseen(why: Errno) -> Unseen {
    match why {
        Errno::NOENT => Unseen::Absent,
        Errno::ACCESS | Errno::PERM => Unseen::Denied,
        other => Unseen::Failed(other.to_string()),
    }
}
