//! A repository that lies on this device: a folder or a bundle, put there by anybody. Nothing in it is believed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::tar;

/// The folder of the metadata in a repository.
pub const METADATA: &str = "metadata";
/// The folder of the targets.
pub const TARGETS: &str = "targets";
/// The largest metadata file, in bytes: four of them are kept in one file of ours.
pub(crate) const MOST_METADATA: u64 = 200 * 1024;
const PIECE: usize = 256 * 1024;

/// A repository that lies here.
#[derive(Debug, Clone)]
pub struct Shelf(Arc<Lies>);

#[derive(Debug)]
enum Lies {
    Folder(OwnedFd),
    Bundle(File, BTreeMap<String, tar::Member>),
}

/// A file of it, from its next byte on.
#[derive(Debug)]
struct Reading {
    file: File,
    at: u64,
    left: u64,
}

impl Shelf {
    /// Opens a folder or a bundle.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named =
            |why: io::Error| io::Error::new(why.kind(), format!("{}: {why}", path.display()));
        // A pipe would hang here.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(open(path, flags, Mode::empty()).map_err(|why| named(why.into()))?);
        let about = file.metadata()?;
        if about.is_dir() {
            return Ok(Self(Arc::new(Lies::Folder(file.into()))));
        }
        if !about.is_file() {
            return Err(named(io::Error::other("neither a file nor a folder")));
        }
        let members = tar::members(&file, about.len()).map_err(named)?;
        Ok(Self(Arc::new(Lies::Bundle(file, members))))
    }

    fn find(&self, name: &str) -> io::Result<Reading> {
        match &*self.0 {
            Lies::Folder(folder) => {
                // Whoever owns the folder may have put links there, and pipes.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                let file = File::from(openat2(folder, name, flags, Mode::empty(), within)?);
                let about = file.metadata()?;
                if !about.is_file() {
                    return Err(io::Error::other("not a regular file"));
                }
                let left = about.len();
                Ok(Reading { file, at: 0, left })
            }
            Lies::Bundle(file, members) => {
                let member = members.get(name).ok_or(io::ErrorKind::NotFound)?;
                Ok(Reading {
                    file: file.try_clone()?,
                    at: member.at,
                    left: member.length,
                })
            }
        }
    }
}

impl Reading {
    fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let wanted = usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE));
        let mut piece = vec![0; wanted];
        let got = self.file.read_at(&mut piece, self.at)?;
        if got == 0 {
            return Ok(None);
        }
        piece.truncate(got);
        self.at = self.at.saturating_add(got as u64);
        self.left = self.left.saturating_sub(got as u64);
        Ok(Some((piece.into(), self)))
    }
}

/// The place of a repository for whoever reads it by this: not an address.
pub(crate) fn base(folder: &str) -> Option<Url> {
    Url::parse(&format!("file:///{folder}/")).ok()
}

/// The metadata that there may be (TUF §3.1.2): roots, and the three others. Whoever delegates says so in another file, which
/// is not read.
pub(crate) fn is_metadata(name: &str) -> bool {
    let numbered = |rest: &str| {
        let digits = rest.strip_suffix(".root.json");
        let digits = digits.or_else(|| rest.strip_suffix(".snapshot.json"));
        let digits = digits.or_else(|| rest.strip_suffix(".targets.json"));
        digits.is_some_and(|it| {
            !it.is_empty() && it.len() < 20 && it.bytes().all(|b| b.is_ascii_digit())
        })
    };
    ["timestamp.json", "snapshot.json", "targets.json"].contains(&name) || numbered(name)
}

#[async_trait]
impl Transport for Shelf {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let failed = |why: io::Error| {
            let kind = match why.kind() {
                io::ErrorKind::NotFound => TransportErrorKind::FileNotFound,
                _ => TransportErrorKind::Other,
            };
            TransportError::new_with_cause(kind, &url, why)
        };
        let name = url.path().trim_start_matches('/');
        let reading = self.find(name).map_err(failed)?;
        if let Some(file) = name.strip_prefix("metadata/") {
            if !is_metadata(file) {
                return Err(failed(io::Error::other("no metadata of this name is read")));
            }
            if reading.left > MOST_METADATA {
                return Err(failed(io::Error::other("too long for metadata")));
            }
        }
        let address = url.clone();
        let stream = futures_util::stream::try_unfold(reading, move |reading| {
            let next = reading.next();
            let next = next.map_err(|why| {
                TransportError::new_with_cause(TransportErrorKind::Other, &address, why)
            });
            std::future::ready(next)
        });
        Ok(Box::pin(stream))
    }
}
