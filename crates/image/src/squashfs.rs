//! `SquashFS`, versions 2 to 4, of both byte orders, and the forms that vendors made of it.
//!
//! Written from the layout that `Documentation/filesystems/squashfs.rst` of the kernel and `squashfs_compat.h` of squashfs-tools
//! tell. Metadata and contents are decompressed when they are asked for; nothing is believed that was not found in bounds.

mod attributes;
mod codec;
mod inode;
mod layout;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use stockade_controls::engine::{Entry, Unseen};

use crate::format::{Inside, Opened};
use crate::inodes::{self, Inodes, Names, damaged};
use crate::{Bytes, Content, Contents, Meter, Node};

use attributes::Attributes;
use codec::Codec;
use inode::{Body, File, Inode};
use layout::Layout;

/// A metadata block holds so many bytes.
const METADATA: usize = 8192;
/// What stands for "none" where the number of a fragment or of attributes is.
const NONE: u32 = u32::MAX;
/// The most metadata blocks, and fragments, that are kept at once.
const MOST_BLOCKS: usize = 4096;
const MOST_FRAGMENTS: usize = 16;
/// What it begins with: of either byte order, and as vendors changed it.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[
    (0, b"hsqs"),
    (0, b"sqsh"),
    (0, b"shsq"),
    (0, b"qshs"),
    (0, b"tqsh"),
    (0, b"hsqt"),
    (0, b"sqlz"),
];

/// Opens an image of `SquashFS`.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let (layout, notes) = Layout::read(bytes)?;
    let codec = Codec::of(&layout, bytes, meter)?;
    let length = layout.used;
    let mut reader = Reader {
        bytes: bytes.clone(),
        meter: meter.clone(),
        layout,
        codec,
        ids: [Vec::new(), Vec::new()],
        blocks: Mutex::default(),
        fragments: Mutex::default(),
        attributes: Mutex::default(),
    };
    reader.ids = reader.ids()?;
    let reader = Arc::new(reader);
    let mut tree = inodes::tree(&*reader, reader.layout.root, meter)?;
    let unread = reader
        .attributes
        .lock()
        .map(|mut it| std::mem::take(&mut it.unread));
    for (number, why) in unread.unwrap_or_default() {
        tree.miss(format!("attributes {number}").as_bytes(), why);
    }
    tree.contents = Some(reader);
    Ok(Opened {
        content: Inside::Tree(tree),
        length: Some(length),
        notes,
    })
}

/// A place in metadata: where its block is in the image, and how far it is into what the block holds.
#[derive(Debug, Clone, Copy)]
struct Place {
    block: u64,
    offset: usize,
}

impl Place {
    /// A reference: the block, counted from the start of the table, and the offset.
    fn of(table: u64, reference: u64) -> Self {
        Self {
            block: table.saturating_add(reference.wrapping_shr(16)),
            offset: usize::try_from(reference & 0xffff).unwrap_or_default(),
        }
    }
}

/// What a metadata block holds, and where the next one is.
type Block = (Arc<Vec<u8>>, u64);

/// What a fragment holds, once somebody asked.
type Fragment = OnceLock<Result<Arc<Vec<u8>>, Unseen>>;

struct Reader {
    bytes: Bytes,
    meter: Meter,
    layout: Layout,
    codec: Codec,
    ids: [Vec<u32>; 2],
    blocks: Mutex<BTreeMap<u64, Block>>,
    fragments: Mutex<VecDeque<(u32, Arc<Fragment>)>>,
    attributes: Mutex<Attributes>,
}

impl Reader {
    /// Reads metadata from a place on, which moves behind it.
    fn metadata(&self, place: &mut Place, length: usize) -> Result<Vec<u8>, Unseen> {
        let mut found = Vec::new();
        loop {
            let (block, next) = self.block(place.block)?;
            let rest = block.get(place.offset..);
            let rest = rest.ok_or_else(|| damaged("a place behind the end of a metadata block"))?;
            let missing = length.saturating_sub(found.len());
            if missing <= rest.len() {
                found.extend_from_slice(rest.get(..missing).unwrap_or_default());
                place.offset = place.offset.saturating_add(missing);
                return Ok(found);
            }
            found.extend_from_slice(rest);
            *place = Place {
                block: next,
                offset: 0,
            };
        }
    }

    fn block(&self, at: u64) -> Result<Block, Unseen> {
        let lock = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().get(&at) {
            return Ok(found.clone());
        }
        let read = self
            .codec
            .metadata(&self.layout, &self.bytes, at, &self.meter)?;
        let block = (Arc::new(read.0), read.1);
        let mut blocks = lock();
        if blocks.len() >= MOST_BLOCKS {
            blocks.clear();
        }
        blocks.insert(at, block.clone());
        Ok(block)
    }

    /// A record of a table whose blocks are found by an index of addresses at `index`.
    fn indexed(&self, index: u64, number: u64, record: usize) -> Result<Vec<u8>, Unseen> {
        let wide: usize = if self.layout.version == 2 { 4 } else { 8 };
        let size = u64::try_from(record).unwrap_or(1);
        let start = number.saturating_mul(size);
        let slot = start.wrapping_shr(13);
        let slot = slot.saturating_mul(u64::try_from(wide).unwrap_or(8));
        let address = self.bytes.read(index.saturating_add(slot), wide)?;
        let mut place = Place {
            block: self.layout.fields(&address).number(wide)?,
            offset: usize::try_from(start & 0x1fff).unwrap_or_default(),
        };
        self.metadata(&mut place, record)
    }

    /// The tables of users and of groups.
    fn ids(&self) -> Result<[Vec<u32>; 2], Unseen> {
        let layout = &self.layout;
        let table = |which: usize| -> Result<Vec<u32>, Unseen> {
            let at = layout.ids.get(which).copied().unwrap_or_default();
            let count = layout.id_counts.get(which).copied().unwrap_or_default();
            let mut ids = Vec::new();
            for number in 0..u64::from(count) {
                let id = if layout.version == 4 {
                    self.indexed(at, number, 4)?
                } else {
                    self.bytes
                        .read(at.saturating_add(number.saturating_mul(4)), 4)?
                };
                ids.push(layout.fields(&id).u32()?);
            }
            Ok(ids)
        };
        let users = table(0)?;
        let groups = if layout.version == 4 {
            users.clone()
        } else {
            table(1)?
        };
        Ok([users, groups])
    }

    fn inode(&self, reference: u64) -> Result<Inode, Unseen> {
        let place = Place::of(self.layout.inodes, reference);
        Inode::read(&self.layout, place, &mut |place, length| {
            self.metadata(place, length)
        })
    }

    /// A file's content: whole blocks, and the end of it in a fragment that it shares with others.
    fn content(&self, file: &File, most: usize) -> Result<Vec<u8>, Unseen> {
        let size = usize::try_from(file.size).ok().filter(|size| *size <= most);
        let size = size.ok_or(Unseen::TooMuch(most))?;
        let block = self.layout.block;
        let blocks = if file.fragment == NONE {
            size.div_ceil(block)
        } else {
            size.checked_div(block).unwrap_or_default()
        };
        let list = self.metadata(&mut file.blocks.clone(), blocks.saturating_mul(4))?;
        let mut list = self.layout.fields(&list);
        let mut all = Vec::with_capacity(size.min(1 << 20));
        let mut at = file.start;
        for _ in 0..blocks {
            let word = list.u32()?;
            let left = size.saturating_sub(all.len()).min(block);
            if word == 0 {
                self.meter.expand(u64::try_from(left).unwrap_or(u64::MAX))?;
                all.resize(all.len().saturating_add(left), 0);
                continue;
            }
            let data = self.data(at, word, left)?;
            if data.len() != left {
                return Err(damaged("a block is not as long as it should be"));
            }
            all.extend_from_slice(&data);
            at = at.saturating_add(u64::from(word & 0x00ff_ffff));
        }
        let tail = size.saturating_sub(all.len());
        if tail > 0 {
            let fragment = self.fragment(file.fragment)?;
            let from = usize::try_from(file.offset).unwrap_or(usize::MAX);
            let end = fragment.get(from..).and_then(|rest| rest.get(..tail));
            let end = end.ok_or_else(|| damaged("a fragment is not as long as it should be"))?;
            self.meter.expand(u64::try_from(tail).unwrap_or(u64::MAX))?;
            all.extend_from_slice(end);
        }
        Ok(all)
    }

    /// A data block; the word tells its length, and in bit 24 whether it is stored as it is.
    fn data(&self, at: u64, word: u32, most: usize) -> Result<Vec<u8>, Unseen> {
        let length = usize::try_from(word & 0x00ff_ffff).unwrap_or(usize::MAX);
        if length > self.layout.block.saturating_mul(2) {
            return Err(damaged("a block is longer than there are"));
        }
        let data = self.bytes.read(at, length)?;
        if word & 0x0100_0000 != 0 {
            return Ok(data);
        }
        self.codec.expand(&data, most, &self.meter)
    }

    /// What a fragment holds. Files that follow each other share it; who asks while another thread makes it waits for that.
    fn fragment(&self, number: u32) -> Result<Arc<Vec<u8>>, Unseen> {
        let found = {
            let kept = self.fragments.lock();
            let mut kept = kept.unwrap_or_else(PoisonError::into_inner);
            let same = kept.iter().find(|(other, _)| *other == number);
            if let Some((_, found)) = same {
                Arc::clone(found)
            } else {
                let new = Arc::default();
                kept.push_front((number, Arc::clone(&new)));
                kept.truncate(MOST_FRAGMENTS);
                new
            }
        };
        found.get_or_init(|| self.make_fragment(number)).clone()
    }

    fn make_fragment(&self, number: u32) -> Result<Arc<Vec<u8>>, Unseen> {
        if number >= self.layout.fragment_count {
            return Err(damaged("a fragment that is not in the table"));
        }
        let (record, wide) = if self.layout.version == 2 {
            (8, 4)
        } else {
            (16, 8)
        };
        let entry = self.indexed(self.layout.fragments, number.into(), record)?;
        let mut entry = self.layout.fields(&entry);
        let (at, word) = (entry.number(wide)?, entry.u32()?);
        Ok(Arc::new(self.data(at, word, self.layout.block)?))
    }
}

impl Contents for Reader {
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        match self.inode(number)?.body {
            Body::File(file) => self.content(&file, most),
            _ => Err(damaged("a file that is none")),
        }
    }
}

impl Inodes for Reader {
    fn node(&self, reference: u64) -> Result<Node, Unseen> {
        let inode = self.inode(reference)?;
        let id = |which: usize, index: u32| {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let found = self.ids.get(which).and_then(|ids| ids.get(index));
            found
                .copied()
                .ok_or_else(|| damaged("its owner is not in the table"))
        };
        let owner = id(0, inode.user)?;
        // 255 is "the number of the user" (`SQUASHFS_GUIDS`).
        let group = if self.layout.version < 4 && inode.group == 255 {
            owner
        } else {
            id(1, inode.group)?
        };
        let entry = Entry {
            kind: inode.kind(),
            mode: inode.mode & 0o7777,
            owner,
            group,
            size: 0,
            modified: inode.time.into(),
        };
        let attributes = inode.attributes.map(|number| self.known_attributes(number));
        let mut node = Node {
            entry,
            device: None,
            link: None,
            attributes: attributes.unwrap_or_default(),
            content: Content::Nothing,
        };
        match inode.body {
            Body::File(file) => {
                node.entry.size = file.size;
                node.content = Content::Number(reference);
            }
            Body::Link(target) => {
                node.entry.size = u64::try_from(target.len()).unwrap_or_default();
                node.link = Some(inodes::link(target)?);
            }
            Body::Device(number) => node.device = Some(number),
            Body::Directory { size, .. } => node.entry.size = size,
            Body::Other => (),
        }
        Ok(node)
    }

    fn names(&self, reference: u64, to: &mut Names) -> Result<(), Unseen> {
        let Body::Directory { mut place, size } = self.inode(reference)?.body else {
            return Err(damaged("a directory that is none"));
        };
        let version = self.layout.version;
        // The size counts three bytes of `.` and `..`, which are not there.
        let dots = if version == 2 { 0 } else { 3 };
        let left = usize::try_from(size).unwrap_or(usize::MAX);
        let mut left = left.saturating_sub(dots);
        let (head, entry) = match version {
            4 => (12, 8),
            3 => (9, 5),
            _ => (4, 3),
        };
        let mut spend = |left: &mut usize, length: usize| {
            *left = left
                .checked_sub(length)
                .ok_or_else(|| damaged("a directory ends early"))?;
            self.metadata(&mut place, length)
        };
        while left > 0 {
            let bytes = spend(&mut left, head)?;
            let mut fields = self.layout.fields(&bytes);
            let count = fields.number(if version == 4 { 4 } else { 1 })?;
            let block = fields.number(if version == 2 { 3 } else { 4 })?;
            if count > 0xff {
                return Err(damaged("more than 256 entries behind one header"));
            }
            for _ in 0..=count {
                let bytes = spend(&mut left, entry)?;
                let (offset, length) = inode::entry(&self.layout, &bytes)?;
                let name = spend(&mut left, length.saturating_add(1))?;
                to.add(&name, block.wrapping_shl(16) | u64::from(offset))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
