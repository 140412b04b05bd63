//! The one walk over the file system.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use stockade_controls::engine::{HostPath, Inventory, Notable, Unseen};

use super::root::{Root, each_name, entry_of, stat_in, unseen};

/// How deep it goes; each level is an open directory and a buffer.
const DEEPEST: usize = 64;
/// The most files looked at.
const MOST_FILES: usize = 4_000_000;
/// The most files kept.
const MOST_NOTABLE: usize = 20_000;
/// The most places told that could not be seen.
const MOST_UNSEEN: usize = 1000;

/// Where a running system keeps what is no file on a disk.
const RUNNING: &[&[u8]] = &[b"/proc", b"/sys", b"/dev", b"/run"];

/// File systems without files of their own (`statfs(2)`): proc, sysfs, devpts, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf,
/// configfs, efivarfs, pstore, mqueue, hugetlbfs, nsfs, `binfmt_misc`, selinuxfs.
const VIRTUAL: &[u64] = &[
    0x9fa0,
    0x6265_6572,
    0x1cd1,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6265_6570,
    0xde5e_81e4,
    0x6165_676c,
    0x1980_0202,
    0x9584_58f6,
    0x6e73_6673,
    0x4249_4e4d,
    0xf97c_ff8c,
];
/// File systems of another machine or program, which may hang: NFS, SMB, SMB2, CIFS, FUSE, autofs, 9p, AFS, Ceph.
const ELSEWHERE: &[u64] = &[
    0x6969,
    0x517b,
    0xfe53_4d42,
    0xff53_4d42,
    0x6573_5546,
    0x0187,
    0x0102_1997,
    0x5346_414f,
    0x00c3_6400,
];

/// Looks at every file once.
pub(super) fn walk(root: &Root, live: bool) -> Result<Inventory, Unseen> {
    let top = root.directory(&HostPath::root())?;
    let stat = rustix::fs::fstat(&top).map_err(unseen)?;
    let mut walk = Walk {
        live,
        found: Inventory::default(),
        mounts: vec![(stat.st_dev, stat.st_ino)],
        path: Vec::new(),
        full: false,
    };
    walk.directory(top.as_fd(), &stat, 0);
    let mut found = walk.found;
    found.notable.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    found.unseen.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

struct Walk {
    live: bool,
    found: Inventory,
    /// The tops of mounts that were walked: a directory mounted twice is seen once.
    mounts: Vec<(u64, u64)>,
    /// Where it is; empty at the root.
    path: Vec<u8>,
    /// It has seen as much as it may.
    full: bool,
}

impl Walk {
    fn directory(&mut self, directory: BorrowedFd<'_>, stat: &Stat, depth: usize) {
        // Everybody may put things into it, and take away what others have put there.
        if !self.path.is_empty() && stat.st_mode & 0o1002 == 0o0002 {
            self.note(stat, None);
        }
        if depth == DEEPEST {
            self.miss(Unseen::TooMuch(DEEPEST));
            return;
        }
        let length = self.path.len();
        let outcome = each_name(directory, &mut |name, kind| {
            self.path.push(b'/');
            self.path.extend_from_slice(name);
            self.one(directory, name, kind, depth);
            self.path.truncate(length);
            if self.full {
                // Told where it happened; the way up is only left.
                return Err(Unseen::TooMuch(MOST_FILES));
            }
            Ok(())
        });
        if let Err(why) = outcome
            && !self.full
        {
            self.miss(why);
        }
    }

    fn one(&mut self, inside: BorrowedFd<'_>, name: &[u8], kind: FileType, depth: usize) {
        self.found.looked_at = self.found.looked_at.saturating_add(1);
        if self.found.looked_at > MOST_FILES {
            self.full = true;
            self.miss(Unseen::TooMuch(MOST_FILES));
            return;
        }
        match kind {
            FileType::Symlink | FileType::BlockDevice | FileType::CharacterDevice => return,
            FileType::Directory => return self.enter(inside, name, depth),
            _ => (),
        }
        let stat = match stat_in(inside, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return,
            Err(why) => return self.miss(unseen(why)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.enter(inside, name, depth),
            FileType::Symlink | FileType::BlockDevice | FileType::CharacterDevice => return,
            FileType::RegularFile => (),
            // Who may write to a socket is for its service to say; while it runs, this is everyday.
            _ if self.live => return,
            _ => (),
        }
        let capability = if stat.st_mode & 0o111 == 0 {
            None
        } else {
            match capability(inside, name) {
                Ok(capability) => capability,
                Err(why) => {
                    self.miss(unseen(why));
                    None
                }
            }
        };
        if capability.is_some() || stat.st_mode & 0o6002 != 0 || Inventory::secret_by_name(name) {
            self.note(&stat, capability);
        }
    }

    /// Goes into a directory, unless it is a mount that holds no files of this device.
    fn enter(&mut self, inside: BorrowedFd<'_>, name: &[u8], depth: usize) {
        if self.live && RUNNING.contains(&self.path.as_slice()) {
            return;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |resolve| rustix::fs::openat2(inside, name, flags, Mode::empty(), resolve);
        let stay = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let (opened, mounted) = match open(stay | ResolveFlags::NO_XDEV) {
            Err(Errno::XDEV) => (open(stay), true),
            other => (other, false),
        };
        let stated = opened.and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)));
        let (directory, stat) = match stated {
            Ok(both) => both,
            // Gone or exchanged meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return,
            Err(why) => return self.miss(unseen(why)),
        };
        if mounted {
            match rustix::fs::fstatfs(&directory) {
                Ok(system) => {
                    #[expect(
                        clippy::cast_sign_loss,
                        clippy::cast_possible_truncation,
                        reason = "the number of a file system has 32 bits, however wide the field is"
                    )]
                    let kind = u64::from(system.f_type as u32);
                    if VIRTUAL.contains(&kind) {
                        return;
                    }
                    if ELSEWHERE.contains(&kind) {
                        let why = "a file system of another machine or program".to_owned();
                        return self.miss(Unseen::Failed(why));
                    }
                }
                Err(why) => return self.miss(unseen(why)),
            }
            let top = (stat.st_dev, stat.st_ino);
            if self.mounts.contains(&top) {
                return;
            }
            self.mounts.push(top);
        }
        self.directory(directory.as_fd(), &stat, depth.saturating_add(1));
    }

    fn note(&mut self, stat: &Stat, capability: Option<Vec<u8>>) {
        if self.found.notable.len() == MOST_NOTABLE {
            self.full = true;
            return self.miss(Unseen::TooMuch(MOST_NOTABLE));
        }
        match HostPath::from_bytes(&self.path) {
            Ok(path) => self.found.notable.push(Notable {
                path,
                entry: entry_of(stat),
                capability,
            }),
            Err(why) => self.miss(Unseen::Damaged(why.to_string())),
        }
    }

    fn miss(&mut self, why: Unseen) {
        if self.found.unseen.len() < MOST_UNSEEN {
            let path = HostPath::from_bytes(&self.path).unwrap_or_else(|_| HostPath::root());
            self.found.unseen.push((path, why));
        }
    }
}

/// The attribute `security.capability` (capabilities(7)); version 3 of it has 24 bytes.
fn capability(inside: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    // Through the open directory: there is no `fgetxattr` that takes a name in one.
    let mut path = format!("/proc/self/fd/{}/", inside.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut value = Vec::with_capacity(64);
    let spare = rustix::buffer::spare_capacity(&mut value);
    match rustix::fs::lgetxattr(path, "security.capability", spare) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT) => Ok(None),
        Err(why) => Err(why),
    }
}
