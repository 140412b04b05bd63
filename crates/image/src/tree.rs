//! Files of an image, as they are written in it.

mod host;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use stockade_controls::engine::{Entry, HostPath, Inventory, Kind, Name, Unseen, follow};

use crate::compress::wide;
use crate::{Bytes, Meter};

/// The most places that are told because they could not be read; one more says that there were more.
const MOST_UNREAD: usize = 1000;

/// A file, directory, link or device as the image has it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Kind, mode, owner, group, size, time.
    pub entry: Entry,
    /// Major and minor number, of a device.
    pub device: Option<(u32, u32)>,
    /// Where it points, of a symbolic link.
    pub link: Option<Vec<u8>>,
    /// Extended attributes: `security.capability`, `security.selinux`, …
    pub attributes: BTreeMap<Name, Vec<u8>>,
    /// What it holds, of a regular file.
    pub content: Content,
}

/// Where a file's content is.
#[derive(Debug, Clone)]
pub enum Content {
    /// It has none.
    Nothing,
    /// As it lies in the image.
    Bytes(Bytes),
    /// Its reader finds it by this number.
    Number(u64),
}

/// Reads contents that do not lie in the image as they are.
pub trait Contents: Send + Sync {
    /// The content of a file, `most` bytes at most: a longer one is [`Unseen::TooMuch`].
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen>;
}

/// All files of one file system or archive.
#[derive(Clone)]
pub struct Tree {
    /// By path; the root directory is `/`.
    pub nodes: BTreeMap<HostPath, Node>,
    /// What could not be read: where and why. Nothing that is missing is missing silently.
    pub unread: Vec<(String, Unseen)>,
    /// Reads contents by number.
    pub contents: Option<Arc<dyn Contents>>,
    inventory: OnceLock<Inventory>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("nodes", &self.nodes.len())
            .field("unread", &self.unread)
            .finish_non_exhaustive()
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// A directory that the image does not list, on the way to something that it does.
    pub(crate) fn implied() -> Self {
        Self {
            entry: Entry {
                kind: Kind::Directory,
                mode: 0o755,
                owner: 0,
                group: 0,
                size: 0,
                modified: 0,
            },
            device: None,
            link: None,
            attributes: BTreeMap::new(),
            content: Content::Nothing,
        }
    }
}

impl Tree {
    /// A root directory with nothing in it.
    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(HostPath::root(), Node::implied())]),
            unread: Vec::new(),
            contents: None,
            inventory: OnceLock::new(),
        }
    }

    /// Puts a file in, as unpacking would: links among the directories on the way are followed and never lead out, missing ones
    /// are made, and of two of one path the later one stays. What can not be put there is told in [`Tree::unread`]; an error is
    /// the meter's.
    pub fn add(&mut self, path: &[u8], node: Node, meter: &Meter) -> Result<(), Unseen> {
        meter.node()?;
        // An archive can say much of each of many files in few bytes.
        let attributes = node.attributes.values().map(Vec::len);
        let lengths = attributes.chain(node.link.as_ref().map(Vec::len));
        let kept = lengths.fold(path.len(), usize::saturating_add);
        meter.hold(wide(kept))?;
        if let Err(why) = self.put(path, node, meter)? {
            self.miss(path, why);
        }
        Ok(())
    }

    /// Puts in another name of a file that is there (a hard link).
    pub fn also(&mut self, path: &[u8], first: &[u8], meter: &Meter) -> Result<(), Unseen> {
        let found = normal(first).and_then(|first| {
            let at = self.resolve(&first, false)?;
            self.nodes.get(&at).cloned().ok_or(Unseen::Absent)
        });
        match found {
            Ok(node) if node.entry.kind != Kind::Directory => self.add(path, node, meter),
            _ => {
                let why = "a hard link to what is not there".to_owned();
                self.miss(path, Unseen::Damaged(why));
                Ok(())
            }
        }
    }

    /// Tells of a place that can not be read.
    pub fn miss(&mut self, path: &[u8], why: Unseen) {
        if self.unread.len() < MOST_UNREAD {
            let place = path.escape_ascii().take(1000).map(char::from).collect();
            self.unread.push((place, why));
        } else if self.unread.len() == MOST_UNREAD {
            let more = ("more".to_owned(), Unseen::TooMuch(MOST_UNREAD));
            self.unread.push(more);
        }
    }

    /// A regular file's content, through links; `most` bytes at most.
    pub fn read(&self, path: &HostPath, most: usize) -> Result<Vec<u8>, Unseen> {
        let node = self.node(path, true)?;
        if node.entry.kind != Kind::File {
            return Err(Unseen::Damaged("not a regular file".to_owned()));
        }
        match &node.content {
            Content::Nothing => Ok(Vec::new()),
            Content::Bytes(bytes) => bytes.all(most),
            Content::Number(number) => {
                let reader = self.contents.as_ref();
                let nobody = || Unseen::Failed("nothing reads this content".to_owned());
                reader.ok_or_else(nobody)?.read(*number, most)
            }
        }
    }

    /// The extended attributes of a file, or of a link itself.
    pub fn attributes(&self, path: &HostPath) -> Result<&BTreeMap<Name, Vec<u8>>, Unseen> {
        Ok(&self.node(path, false)?.attributes)
    }

    fn put(
        &mut self,
        path: &[u8],
        node: Node,
        meter: &Meter,
    ) -> Result<Result<(), Unseen>, Unseen> {
        let at = match normal(path) {
            Ok(at) => at,
            Err(why) => return Ok(Err(why)),
        };
        let directory = node.entry.kind == Kind::Directory;
        if at == HostPath::root() && !directory {
            return Ok(Err(wrong("the root is a directory")));
        }
        // What is a directory in the map has only directories above it.
        let parent = at.parent();
        let parent = if self.is_directory(&parent) {
            parent
        } else {
            match self.resolve(&parent, true) {
                Ok(parent) => parent,
                Err(why) => return Ok(Err(why)),
            }
        };
        if let Err(why) = self.make(&parent, meter)? {
            return Ok(Err(why));
        }
        let at = match parent.join(at.name()) {
            _ if at == HostPath::root() => at,
            Ok(at) => at,
            Err(why) => return Ok(Err(Unseen::Damaged(why.to_string()))),
        };
        if !directory && self.is_directory(&at) && self.first_in(&at).is_some() {
            return Ok(Err(wrong("it is in the place of a directory with files")));
        }
        self.nodes.insert(at, node);
        Ok(Ok(()))
    }

    /// Makes a directory and those above it, where nothing is.
    fn make(&mut self, path: &HostPath, meter: &Meter) -> Result<Result<(), Unseen>, Unseen> {
        let mut missing = Vec::new();
        let mut at = path.clone();
        loop {
            match self.nodes.get(&at) {
                Some(node) if node.entry.kind == Kind::Directory => break,
                Some(_) => return Ok(Err(wrong("what it is in is not a directory"))),
                None => missing.push(at.clone()),
            }
            at = at.parent();
        }
        for path in missing {
            meter.node()?;
            meter.hold(wide(path.as_bytes().len()))?;
            self.nodes.insert(path, Node::implied());
        }
        Ok(Ok(()))
    }

    fn is_directory(&self, path: &HostPath) -> bool {
        let node = self.nodes.get(path);
        node.is_some_and(|node| node.entry.kind == Kind::Directory)
    }

    fn resolve(&self, path: &HostPath, last: bool) -> Result<HostPath, Unseen> {
        follow(path, last, &mut |at| self.nodes.get(at)?.link.clone())
    }

    /// What is at a path, through links; through the last one too if `last`.
    fn node(&self, path: &HostPath, last: bool) -> Result<&Node, Unseen> {
        match self.nodes.get(path) {
            // The map has nothing below a link.
            Some(node) if !last || node.link.is_none() => Ok(node),
            _ => {
                let at = self.resolve(path, last)?;
                self.nodes.get(&at).ok_or(Unseen::Absent)
            }
        }
    }

    /// The first path below a directory.
    fn first_in(&self, directory: &HostPath) -> Option<&HostPath> {
        self.after(directory, Bound::Included(directory.join(b"\x01").ok()?))
    }

    /// The next path below a directory, from a bound on.
    fn after(&self, directory: &HostPath, from: Bound<HostPath>) -> Option<&HostPath> {
        let next = self.nodes.range((from, Bound::Unbounded)).next()?.0;
        (next != directory && next.is_in(directory)).then_some(next)
    }

    /// The entries of a directory, in order. Below each of them the map is jumped over, not read.
    fn children(&self, directory: &HostPath) -> Vec<(&HostPath, &Node)> {
        let mut found = Vec::new();
        let mut next = self.first_in(directory);
        while let Some(path) = next {
            let from = if path.parent() == *directory {
                found.extend(self.nodes.get_key_value(path));
                Bound::Excluded(path.clone())
            } else {
                // The byte after `/`: past all that is below this entry.
                let prefix = match directory.as_bytes() {
                    b"/" => 1,
                    bytes => bytes.len().saturating_add(1),
                };
                let below = path.as_bytes().get(prefix..).unwrap_or_default();
                let name = below.iter().position(|byte| *byte == b'/').unwrap_or(0);
                let end = prefix.saturating_add(name);
                let mut past = path.as_bytes().get(..end).unwrap_or_default().to_vec();
                past.push(b'0');
                match HostPath::from_bytes(&past) {
                    Ok(past) => Bound::Included(past),
                    Err(_) => Bound::Excluded(path.clone()),
                }
            };
            next = self.after(directory, from);
        }
        found
    }
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(why.to_owned())
}

/// A path as an archive writes it: relative or not, with `.` and doubled slashes.
fn normal(path: &[u8]) -> Result<HostPath, Unseen> {
    let mut whole = Vec::with_capacity(path.len().saturating_add(1));
    for name in path.split(|byte| *byte == b'/') {
        if !name.is_empty() && name != b"." {
            whole.push(b'/');
            whole.extend_from_slice(name);
        }
    }
    if whole.is_empty() {
        return Ok(HostPath::root());
    }
    HostPath::from_bytes(&whole).map_err(|why| Unseen::Damaged(why.to_string()))
}

#[cfg(test)]
mod tests;
