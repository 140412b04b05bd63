//! ext2, ext3 and ext4, written from the kernel's `Documentation/filesystems/ext4`. What the journal holds is laid over what is
//! read, so that a file system that was not unmounted is seen as it would be mounted.

mod attributes;
mod blocks;
mod checksums;
mod journal;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use stockade_controls::engine::{Name, Unseen};

use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::inodes::{self, Inodes, Names, damaged, device, text};
use crate::{Bytes, Content, Contents, Meter, Node};

use checksums::Seed;

/// The root directory's inode.
const ROOT: u64 = 2;
/// The largest directory, in bytes.
const MOST_DIRECTORY: usize = 64 << 20;
/// The most bytes of attributes of all files.
const MOST_ATTRIBUTES: usize = 64 << 20;
/// The longest link (`PATH_MAX`).
const MOST_LINK: usize = 4096;

// Features without which a file system is not understood (`s_feature_incompat`).
const FILE_TYPE: u32 = 0x2;
const RECOVER: u32 = 0x4;
const WIDE: u32 = 0x80;
/// Those and: extents, MMP, flexible groups, EA inodes, a checksum's seed, large directories, inline data, encryption, case folding.
const KNOWN: u32 = FILE_TYPE | RECOVER | WIDE | 0x3_e740;

// Flags of an inode.
const ENCRYPTED: u32 = 0x800;
const INDEX: u32 = 0x1000;
const EXTENTS: u32 = 0x8_0000;
const ATTRIBUTE: u32 = 0x20_0000;
const INLINE: u32 = 0x1000_0000;

/// Opens a file system.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let head = bytes.read(1024, 1024)?;
    let mut files = Ext::of(bytes, meter, &head)?;
    let name = text(head.get(0x78..0x88).unwrap_or_default());
    let length = files.length;
    let recover = files.incompatible & RECOVER != 0;
    let replayed = if recover { files.replay() } else { Ok(0) };
    let files = Arc::new(files);
    let mut tree = inodes::tree(&*files, ROOT, meter)?;
    let mut notes = Vec::new();
    if !name.is_empty() {
        notes.push(("volume name".to_owned(), name));
    }
    match replayed {
        Ok(0) => (),
        Ok(blocks) => notes.push(("journal".to_owned(), format!("{blocks} blocks replayed"))),
        Err(why) => tree.miss(b"the journal", why),
    }
    let unread = files.unread.lock().map(|mut it| std::mem::take(&mut *it));
    for (inode, why) in unread.unwrap_or_default() {
        tree.miss(format!("attributes of inode {inode}").as_bytes(), why);
    }
    tree.contents = Some(files);
    Ok(Opened {
        content: Inside::Tree(tree),
        length: Some(length),
        notes,
    })
}

struct Ext {
    bytes: Bytes,
    meter: Meter,
    /// The size of a block.
    block: u64,
    /// How many bytes it all is.
    length: u64,
    inodes: u64,
    inodes_per_group: u64,
    inode_size: u64,
    /// Where the table of groups is, and how long a record of it.
    groups: u64,
    group_size: u64,
    incompatible: u32,
    journal: u64,
    /// Begins every checksum.
    seed: Seed,
    /// Blocks that the journal has anew: where it has them, and whether their first bytes were masked.
    newer: BTreeMap<u64, (u64, bool)>,
    /// Inodes whose attributes could not be read.
    unread: Mutex<Vec<(u64, Unseen)>>,
    /// How many bytes of attributes all files have: many may share a block of them.
    kept: AtomicUsize,
}

/// An inode.
struct Inode {
    mode: u32,
    owner: u32,
    group: u32,
    size: u64,
    modified: u64,
    flags: u32,
    /// The block of attributes.
    attributes: u64,
    /// Pointers to blocks, a tree of extents, a link's target or a small file.
    map: [u8; 60],
    /// What is behind the fields: more attributes.
    extra: Vec<u8>,
    /// Begins the checksums of what belongs to it.
    seed: Seed,
}

impl Ext {
    fn of(bytes: &Bytes, meter: &Meter, head: &[u8]) -> Result<Self, Unseen> {
        let number = |at: usize, length: usize| {
            let rest = head.get(at..).unwrap_or_default();
            Fields::little(rest).number(length)
        };
        if number(0x38, 2)? != 0xef53 {
            return Err(Unseen::Absent);
        }
        let incompatible = u32::try_from(number(0x60, 4)?).unwrap_or(u32::MAX);
        let unknown = incompatible & !KNOWN;
        if unknown != 0 {
            let why = format!("it has features that are not read ({unknown:#x})");
            return Err(Unseen::Failed(why));
        }
        let log = number(0x18, 4)?;
        if log > 6 {
            return Err(damaged("a block of no size that there is"));
        }
        let block = 1024_u64.wrapping_shl(u32::try_from(log).unwrap_or_default());
        let wide = incompatible & WIDE != 0;
        // Revision 0 has fixed sizes.
        let inode_size = match number(0x4c, 4)? {
            0 => 128,
            _ => number(0x58, 2)?,
        };
        let group_size = if wide { number(0xfe, 2)? } else { 32 };
        let high = if wide { number(0x150, 4)? } else { 0 };
        let blocks = number(0x4, 4)? | high.wrapping_shl(32);
        let inodes_per_group = number(0x28, 4)?;
        if !(128..=block).contains(&inode_size)
            || !(32..=block).contains(&group_size)
            || inodes_per_group == 0
        {
            return Err(damaged("a table of no size that there is"));
        }
        let length = blocks.saturating_mul(block);
        Ok(Self {
            bytes: bytes.clone(),
            meter: meter.clone(),
            block,
            length: length.min(bytes.length()),
            inodes: number(0, 4)?,
            inodes_per_group,
            inode_size,
            groups: number(0x14, 4)?.saturating_add(1).saturating_mul(block),
            group_size,
            incompatible,
            journal: number(0xe0, 4)?,
            seed: checksums::seed(head)?,
            newer: BTreeMap::new(),
            unread: Mutex::default(),
            kept: AtomicUsize::default(),
        })
    }

    /// Bytes of the file system from a place on, as they are after the journal.
    fn raw(&self, at: u64, length: usize) -> Result<Vec<u8>, Unseen> {
        let mut found = self.bytes.read(at, length)?;
        if self.newer.is_empty() {
            return Ok(found);
        }
        let first = at.checked_div(self.block).unwrap_or_default();
        let end = at.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        let last = end.div_ceil(self.block);
        for (block, (journal, masked)) in self.newer.range(first..last) {
            let size = usize::try_from(self.block).unwrap_or_default();
            let mut anew = self.bytes.read(journal.saturating_mul(self.block), size)?;
            if *masked {
                for (to, from) in anew.iter_mut().zip(journal::MAGIC.to_be_bytes()) {
                    *to = from;
                }
            }
            let start = block.saturating_mul(self.block);
            // Where the block begins in what was asked for, or what was asked for in the block.
            let to = usize::try_from(start.saturating_sub(at)).unwrap_or(usize::MAX);
            let from = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            let to = found.get_mut(to..).unwrap_or_default();
            let from = anew.get(from..).unwrap_or_default();
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
        Ok(found)
    }

    fn inode(&self, number: u64) -> Result<Inode, Unseen> {
        let index = number.checked_sub(1).filter(|_| number <= self.inodes);
        let index = index.ok_or_else(|| damaged("an inode of a number that there is not"))?;
        let group = index.checked_div(self.inodes_per_group).unwrap_or_default();
        let index = index.checked_rem(self.inodes_per_group).unwrap_or_default();
        let record = self
            .groups
            .saturating_add(group.saturating_mul(self.group_size));
        let record = self.raw(record, usize::try_from(self.group_size).unwrap_or_default())?;
        let number_of_group = u32::try_from(group).unwrap_or(u32::MAX).to_le_bytes();
        let seed = checksums::more(self.seed, &number_of_group);
        checksums::check(seed, &record, 0x1e, 2)?;
        let mut fields = Fields::little(&record);
        fields.take(8)?;
        let low = fields.u32()?;
        let high = match record.get(0x28..0x2c) {
            Some(high) => Fields::little(high).u32()?,
            None => 0,
        };
        let table = u64::from(low) | u64::from(high).wrapping_shl(32);
        let at = table
            .saturating_mul(self.block)
            .saturating_add(index.saturating_mul(self.inode_size));
        let record = self.raw(at, usize::try_from(self.inode_size).unwrap_or_default())?;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Inode::read(&record, checksums::more(self.seed, &number.to_le_bytes()))
    }

    /// Attributes as files have them, as long as all together are not too many.
    fn keep(&self, mut found: Attributes) -> Result<Attributes, Unseen> {
        found.remove(attributes::DATA);
        let size = found.values().map(Vec::len).sum();
        let before = self.kept.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) > MOST_ATTRIBUTES {
            return Err(Unseen::TooMuch(MOST_ATTRIBUTES));
        }
        Ok(found)
    }

    /// A regular file's content.
    fn content(&self, inode: &Inode, most: usize) -> Result<Vec<u8>, Unseen> {
        let size = usize::try_from(inode.size)
            .ok()
            .filter(|size| *size <= most);
        let size = size.ok_or(Unseen::TooMuch(most))?;
        if inode.flags & ENCRYPTED != 0 {
            return Err(Unseen::Failed("it is encrypted".to_owned()));
        }
        if inode.flags & INLINE != 0 {
            let mut all = inode.map.to_vec();
            if size > all.len() {
                let mut found = self.attributes(inode)?;
                all.append(&mut found.remove(attributes::DATA).unwrap_or_default());
            }
            if all.len() < size {
                return Err(damaged("a file in its inode that is too short"));
            }
            all.truncate(size);
            return Ok(all);
        }
        let mut all = Vec::with_capacity(size.min(1 << 20));
        for run in self.runs(inode)? {
            let length = usize::try_from(run.count.saturating_mul(self.block));
            let left = size.saturating_sub(all.len());
            let length = length.unwrap_or(usize::MAX).min(left);
            if let Some(block) = run.block {
                let at = block.saturating_mul(self.block);
                all.append(&mut self.raw(at, length)?);
            } else {
                self.meter
                    .expand(u64::try_from(length).unwrap_or(u64::MAX))?;
                all.resize(all.len().saturating_add(length), 0);
            }
        }
        if all.len() < size {
            self.meter.expand(inode.size)?;
            all.resize(size, 0);
        }
        Ok(all)
    }

    fn link(&self, inode: &Inode) -> Result<Vec<u8>, Unseen> {
        let size = usize::try_from(inode.size).unwrap_or(usize::MAX);
        let quick = inode.flags & (EXTENTS | INLINE | ENCRYPTED) == 0;
        match inode.map.get(..size) {
            // The target is where others have their pointers; the byte that ends it needs room as well.
            Some(target) if quick && size < inode.map.len() => Ok(target.to_vec()),
            _ => self.content(inode, MOST_LINK),
        }
    }
}

impl Inode {
    fn read(record: &[u8], seed: Seed) -> Result<Self, Unseen> {
        let field = |at: usize, length: usize| {
            let rest = record.get(at..).unwrap_or_default();
            Fields::little(rest).number(length)
        };
        let short = |at, length| Ok(u32::try_from(field(at, length)?).unwrap_or_default());
        let mode = short(0, 2)?;
        let map = record.get(0x28..).and_then(<[u8]>::first_chunk);
        let map = *map.ok_or_else(|| damaged("an inode that is too short"))?;
        let own = if record.len() > 128 {
            field(0x80, 2)?
        } else {
            0
        };
        let generation = record.get(0x64..0x68).unwrap_or_default();
        let seed = checksums::more(seed, generation);
        checksums::check_inode(seed, record, own >= 4)?;
        // Seconds as a signed number, and two bits more of them (`EXT4_EPOCH_BITS`), if there is room.
        let seconds = i32::from_ne_bytes(short(0x10, 4)?.to_ne_bytes());
        let epoch = if own >= 12 { field(0x88, 4)? & 3 } else { 0 };
        let epoch = i64::try_from(epoch.wrapping_shl(32)).unwrap_or_default();
        let modified = i64::from(seconds).saturating_add(epoch);
        let behind = usize::try_from(own.saturating_add(128)).unwrap_or(usize::MAX);
        Ok(Self {
            mode,
            owner: short(2, 2)? | short(0x78, 2)?.wrapping_shl(16),
            group: short(0x18, 2)? | short(0x7a, 2)?.wrapping_shl(16),
            size: field(4, 4)? | field(0x6c, 4)?.wrapping_shl(32),
            modified: u64::try_from(modified).unwrap_or_default(),
            flags: short(0x20, 4)?,
            attributes: field(0x68, 4)? | field(0x76, 2)?.wrapping_shl(32),
            map,
            extra: record.get(behind..).unwrap_or_default().to_vec(),
            seed,
        })
    }
}

impl Inodes for Ext {
    fn node(&self, number: u64) -> Result<Node, Unseen> {
        let inode = self.inode(number)?;
        let mut node = inodes::node(
            inode.mode,
            inode.owner,
            inode.group,
            inode.size,
            inode.modified,
        )?;
        match inode.mode & 0o170_000 {
            0o100_000 => node.content = Content::Number(number),
            0o120_000 => node.link = Some(inodes::link(self.link(&inode)?)?),
            0o060_000 | 0o020_000 => {
                let mut fields = Fields::little(&inode.map);
                let (old, new) = (fields.u32()?, fields.u32()?);
                node.device = Some(device(if old == 0 { new } else { old }));
                node.entry.size = 0;
            }
            _ => (),
        }
        match self.attributes(&inode).and_then(|it| self.keep(it)) {
            Ok(found) => node.attributes = found,
            Err(why) => {
                if let Ok(mut unread) = self.unread.lock() {
                    unread.push((number, why));
                }
            }
        }
        Ok(node)
    }

    fn names(&self, number: u64, to: &mut Names) -> Result<(), Unseen> {
        let inode = self.inode(number)?;
        if inode.flags & ENCRYPTED != 0 {
            return Err(Unseen::Failed("its names are encrypted".to_owned()));
        }
        let all = self.content(&inode, MOST_DIRECTORY)?;
        if inode.flags & INLINE != 0 {
            // The number of the directory above, and behind the inode's part the attribute's.
            let (first, second) = all.split_at_checked(60).unwrap_or((&all, &[]));
            self.entries(first.get(4..).unwrap_or_default(), to)?;
            return self.entries(second, to);
        }
        for (number, block) in all
            .chunks(usize::try_from(self.block).unwrap_or(1024))
            .enumerate()
        {
            // Blocks of the index look like one empty entry, and the first one like the two of the directory itself.
            let index = inode.flags & INDEX != 0 && (number == 0 || block.starts_with(&[0; 4]));
            if !index {
                checksums::check_directory(inode.seed, block)?;
            }
            self.entries(block, to)?;
        }
        Ok(())
    }
}

impl Ext {
    /// Entries of a directory: the number of an inode, the record's length, the name's, and a kind that the inode tells better.
    fn entries(&self, block: &[u8], to: &mut Names) -> Result<(), Unseen> {
        let mut rest = block;
        while !rest.is_empty() {
            let mut fields = Fields::little(rest);
            let (inode, length, name) = (fields.u32()?, fields.u16()?, fields.u8()?);
            fields.take(1)?;
            // 65536 does not fit.
            let length = match usize::from(length) {
                0 | 0xffff if self.block == 0x1_0000 => rest.len(),
                length => length,
            };
            if inode != 0 {
                to.add(fields.take(name.into())?, inode.into())?;
            }
            let next = rest.get(length..).filter(|_| length >= 8);
            rest = next.ok_or_else(|| damaged("an entry that is too long"))?;
        }
        Ok(())
    }
}

impl Contents for Ext {
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        self.content(&self.inode(number)?, most)
    }
}

type Attributes = BTreeMap<Name, Vec<u8>>;

#[cfg(test)]
mod tests;
