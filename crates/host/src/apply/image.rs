//! What is at a path, whole: taken before a step, put back when the step is taken back.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use serde::{Deserialize, Serialize};
use stockade_controls::engine::HostPath;

use super::place::{Handle, Place, Root};

const CHUNK: usize = 64 * 1024;
/// The longest list of extended attributes, and the longest of them, that Linux knows (`XATTR_SIZE_MAX`).
const MOST_XATTR: usize = 65_536;
/// The attribute that gives a program rights.
pub(crate) const CAPABILITY: &str = "security.capability";

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    pub(crate) path: HostPath,
    pub(crate) was: Was,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Was {
    Absent,
    File {
        about: About,
        size: u64,
        crc: u32,
        /// The copy of its content in the folder of the step, if one was made.
        copy: Option<u32>,
        /// Device and inode, if it has more than one name.
        shared: Option<(u64, u64)>,
    },
    Link {
        target: Vec<u8>,
        about: About,
    },
    Directory {
        about: About,
    },
}

/// Metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

impl About {
    /// Instead of a time: the time when it is set (utimensat(2)).
    pub(crate) const NOW: (i64, i64) = (0, fs::UTIME_NOW);

    pub(crate) fn fresh(mode: u32, owner: (u32, u32)) -> Self {
        Self {
            mode,
            owner,
            modified: Self::NOW,
            xattrs: BTreeMap::new(),
        }
    }
}

impl Was {
    pub(crate) fn about(&self) -> Option<&About> {
        match self {
            Self::Absent => None,
            Self::File { about, .. } | Self::Link { about, .. } | Self::Directory { about } => {
                Some(about)
            }
        }
    }

    /// Whether it is the same but for when it was written and where its copy is.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same_about =
            |a: &About, b: &About| (a.mode, a.owner, &a.xattrs) == (b.mode, b.owner, &b.xattrs);
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (
                Self::File {
                    about: a,
                    size,
                    crc,
                    ..
                },
                Self::File {
                    about: b,
                    size: other_size,
                    crc: other_crc,
                    ..
                },
            ) => (size, crc) == (other_size, other_crc) && same_about(a, b),
            (
                Self::Link { target, about: a },
                Self::Link {
                    target: other,
                    about: b,
                },
            ) => target == other && a.owner == b.owner,
            (Self::Directory { about: a }, Self::Directory { about: b }) => same_about(a, b),
            _ => false,
        }
    }

    /// Whether it is the same also in when it was written; a copy of it or its other names do not count.
    fn is(&self, other: &Self) -> bool {
        self.is_like(other)
            && self.about().map(|about| about.modified) == other.about().map(|about| about.modified)
    }

    /// Whether it gives whoever runs it more rights.
    fn gives_rights(&self) -> bool {
        matches!(self, Self::File { about, .. }
            if about.mode & 0o6000 != 0 || about.xattrs.contains_key(CAPABILITY))
    }
}

/// Looks at a path. With a `copy`, a file's content is copied there.
pub(crate) fn look(root: &Root, path: &HostPath, copy: Option<(&Path, u32)>) -> io::Result<Was> {
    let place = match root.place(path, false) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Was::Absent),
        place => place?,
    };
    look_at(&place, copy)
}

pub(crate) fn look_at(place: &Place, copy: Option<(&Path, u32)>) -> io::Result<Was> {
    let Some(handle) = place.handle()? else {
        return Ok(Was::Absent);
    };
    let about = About {
        mode: handle.about.st_mode & 0o7777,
        owner: (handle.about.st_uid, handle.about.st_gid),
        modified: (
            handle.about.st_mtime,
            handle.about.st_mtime_nsec.cast_signed(),
        ),
        xattrs: BTreeMap::new(),
    };
    match handle.kind() {
        FileType::Symlink => Ok(Was::Link {
            target: handle.link()?,
            about,
        }),
        FileType::Directory => Ok(Was::Directory {
            about: About {
                xattrs: xattrs(&handle)?,
                ..about
            },
        }),
        FileType::RegularFile => {
            let (size, crc) = match copy {
                Some((folder, number)) => read(&handle, Some(&folder.join(number.to_string())))?,
                None => read(&handle, None)?,
            };
            let shared =
                (handle.about.st_nlink > 1).then_some((handle.about.st_dev, handle.about.st_ino));
            Ok(Was::File {
                about: About {
                    xattrs: xattrs(&handle)?,
                    ..about
                },
                size,
                crc,
                copy: copy.map(|(_, number)| number),
                shared,
            })
        }
        _ => Err(io::Error::other("it is a device, a pipe or a socket")),
    }
}

/// Reads a file's content, and copies it.
fn read(handle: &Handle, copy: Option<&Path>) -> io::Result<(u64, u32)> {
    let mut from = handle.reader()?;
    let mut to = copy.map(private_file).transpose()?;
    let (mut size, mut crc) = (0, crc32fast::Hasher::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk)?;
        let read = chunk.get(..length).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        crc.update(read);
        size += u64::try_from(length).unwrap_or(u64::MAX);
        if let Some(to) = &mut to {
            to.write_all(read)?;
        }
    }
    if let Some(to) = to {
        to.sync_all()?;
    }
    Ok((size, crc.finalize()))
}

/// A new file that only its owner may read.
fn private_file(path: &Path) -> io::Result<fs_err::File> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

fn xattrs(handle: &Handle) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let name = handle.name();
    let mut names = vec![0; MOST_XATTR];
    let length = match fs::listxattr(&*name, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let names = names.get(..length).unwrap_or_default();
    let mut all = BTreeMap::new();
    for attribute in names.split(|byte| *byte == 0).filter(|it| !it.is_empty()) {
        let attribute = str::from_utf8(attribute).map_err(io::Error::other)?;
        let mut value = vec![0; MOST_XATTR];
        let length = fs::getxattr(&*name, attribute, &mut value[..])?;
        value.truncate(length);
        all.insert(attribute.to_owned(), value);
    }
    Ok(all)
}

/// Sets all metadata of what is there; nothing is followed.
pub(crate) fn set_about(place: &Place, about: &About) -> io::Result<()> {
    let Some(handle) = place.handle()? else {
        return Err(Errno::NOENT.into());
    };
    let (owner, group) = (Uid::from_raw(about.owner.0), Gid::from_raw(about.owner.1));
    let name = handle.name();
    if (handle.about.st_uid, handle.about.st_gid) != about.owner {
        let this = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        fs::chownat(handle.fd(), c"", Some(owner), Some(group), this)?;
    }
    if handle.kind() != FileType::Symlink {
        let there = xattrs(&handle)?;
        for gone in there.keys().filter(|it| !about.xattrs.contains_key(*it)) {
            fs::removexattr(&*name, gone)?;
        }
        for (attribute, value) in &about.xattrs {
            if there.get(attribute) != Some(value) {
                fs::setxattr(&*name, attribute, value, XattrFlags::empty())?;
            }
        }
        // After the owner: a change of it takes setuid away.
        fs::chmodat(
            fs::CWD,
            &*name,
            Mode::from_raw_mode(about.mode),
            AtFlags::empty(),
        )?;
    }
    let time = |tv_nsec, tv_sec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(fs::UTIME_OMIT, 0),
        last_modification: time(about.modified.1, about.modified.0),
    };
    if handle.kind() == FileType::Symlink {
        // The kernel has no other way for links than by their name.
        return place.link_times(&times);
    }
    fs::utimensat(fs::CWD, &*name, &times, AtFlags::empty())?;
    match handle.kind() {
        FileType::RegularFile => handle.reader().and_then(|file| file.sync_all()),
        _ => Ok(()),
    }
}

/// Makes a file, whole or not at all.
pub(crate) fn write(place: &Place, content: &mut impl io::Read, about: &About) -> io::Result<()> {
    let made = (|| {
        let mut file = std::fs::File::from(place.fresh()?);
        io::copy(content, &mut file)?;
        set_about(&place.beside()?, about)?;
        file.sync_all()?;
        place.settle()
    })();
    if made.is_err() {
        // On a full disk the half file would only be in the way.
        drop(place.clear());
    }
    made
}

/// Puts back what a step changed. `after` is how the step left it, none if it was cut short; what somebody else changed since
/// is left as it is, and told. `again` says that this was begun before, and cut short.
pub(crate) fn restore(
    root: &Root,
    copies: &Path,
    before: &[Image],
    after: Option<&[Image]>,
    again: bool,
) -> io::Result<Vec<String>> {
    let mut left = Vec::new();
    let mut todo: Vec<(&Image, bool)> = Vec::new();
    for image in before {
        if let Ok(place) = root.place(&image.path, false) {
            place.clear()?;
        }
    }
    for image in before {
        let now = look(root, &image.path, None)?;
        let then = after.and_then(|after| after.iter().find(|it| it.path == image.path));
        let same = again || then.is_none_or(|then| now.is(&then.was));
        if now.is(&image.was) {
            continue;
        }
        let ours = then.is_none_or(|then| now.is_like(&then.was)) || now.is_like(&image.was);
        if !ours {
            left.push(format!(
                "{} was changed since, and is left as it is",
                image.path
            ));
            continue;
        }
        todo.push((image, same));
    }
    // First what is inside goes, then what is outside comes back, and the times of directories last.
    todo.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    let mut known = BTreeMap::new();
    for (image, _) in todo.iter().rev().filter(|(it, _)| it.was == Was::Absent) {
        match root.place(&image.path, false).and_then(|it| it.remove()) {
            Ok(()) => (),
            Err(why) if why.kind() == io::ErrorKind::NotFound => (),
            Err(why) if why.kind() == io::ErrorKind::DirectoryNotEmpty => {
                left.push(format!("{} is in use by now, and stays", image.path));
            }
            Err(why) => return Err(why),
        }
    }
    for (image, _) in &todo {
        if !bring_back(root, copies, image, &mut known)? {
            left.push(format!(
                "{} gave rights to whoever runs it, and others than root can exchange it: it does not get them back",
                image.path
            ));
        }
    }
    for (image, same) in todo.iter().rev() {
        let Was::Directory { about } = &image.was else {
            continue;
        };
        let place = root.place(&image.path, false)?;
        let mut about = about.clone();
        if !same && let Was::Directory { about: now } = look_at(&place, None)? {
            about.modified = now.modified;
        }
        set_about(&place, &about)?;
    }
    Ok(left)
}

/// Brings back one thing, unless it would give rights where a user can exchange what gets them; whether it did. A directory
/// gets its metadata later.
fn bring_back<'a>(
    root: &Root,
    copies: &Path,
    image: &'a Image,
    known: &mut BTreeMap<(u64, u64), &'a HostPath>,
) -> io::Result<bool> {
    let place = || root.place(&image.path, false);
    match &image.was {
        Was::Absent => (),
        Was::Directory { .. } => {
            let place = place()?;
            let now = look_at(&place, None)?;
            if !matches!(now, Was::Directory { .. }) {
                place.remove()?;
                place.make_directory()?;
            }
        }
        Was::Link { target, about } => {
            let place = place()?;
            set_about(&place.fresh_link(target)?, about)?;
            place.settle()?;
        }
        Was::File {
            about,
            size,
            crc,
            copy,
            shared,
        } => {
            let place = place()?;
            if image.was.gives_rights() && !place.safe {
                return Ok(false);
            }
            if let Some(first) = shared.and_then(|it| known.get(&it)) {
                place.link_to(&root.place(first, false)?)?;
                return Ok(true);
            }
            let now = look_at(&place, None)?;
            let in_place =
                matches!(&now, Was::File { size: s, crc: c, .. } if (s, c) == (size, crc));
            match copy {
                _ if in_place => set_about(&place, about)?,
                Some(number) => {
                    let mut content = fs_err::File::open(copies.join(number.to_string()))?;
                    write(&place, &mut content, about)?;
                }
                None => return Err(io::Error::other("its content was changed by somebody else")),
            }
            if let Some(shared) = shared {
                known.insert(*shared, &image.path);
            }
        }
    }
    Ok(true)
}
