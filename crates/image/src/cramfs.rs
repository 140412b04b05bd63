//! cramfs (the kernel's `include/uapi/linux/cramfs_fs.h`), of either byte order. It keeps eight bits of a group, and no times.

use std::sync::Arc;

use stockade_controls::engine::{Kind, Unseen};

use crate::compress::{Method, expand};
use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::inodes::{self, Inodes, Names, damaged, read, text};
use crate::tree::Contents;
use crate::{Bytes, Content, Meter, Node};

/// The root's inode, behind the superblock's 64 bytes.
const ROOT: u64 = 64;
const INODE: u64 = 12;
/// Linux reads files by pages of this size, and nothing in the image says another.
const BLOCK: u64 = 4096;
/// Flags: a checksum of all; what is understood besides (directories are sorted, holes, a signature, a root at an offset).
const CHECKED: u32 = 1;
const KNOWN: u32 = 0xff | 0x100 | 0x200 | 0x400;

pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    // Behind room for a boot sector, if not at the start.
    let (start, big) = [0, 512]
        .into_iter()
        .find_map(|at| match bytes.read(at, 4).ok()?.as_slice() {
            [0x45, 0x3d, 0xcd, 0x28] => Some((at, false)),
            [0x28, 0xcd, 0x3d, 0x45] => Some((at, true)),
            _ => None,
        })
        .ok_or(Unseen::Absent)?;
    let head = bytes.read(start, 64)?;
    let mut fields = if big {
        Fields::big(&head)
    } else {
        Fields::little(&head)
    };
    fields.take(4)?;
    let (size, flags) = (u64::from(fields.u32()?), fields.u32()?);
    fields.take(4)?;
    if fields.take(16)? != b"Compressed ROMFS" {
        return Err(Unseen::Absent);
    }
    let crc = fields.u32()?;
    fields.take(12)?;
    let name = text(fields.take(16)?);
    if flags & !KNOWN != 0 {
        let why = format!("cramfs of a kind that is not read (flags {flags:#x})");
        return Err(Unseen::Failed(why));
    }
    // Places count from the start of the image; the older kind has no length.
    let size = if flags & CHECKED == 0 {
        bytes.length()
    } else {
        size
    };
    let whole = bytes.part(0, size)?;
    let files = Arc::new(Cramfs {
        bytes: whole,
        big,
        meter: meter.clone(),
    });
    let mut tree = inodes::tree(&*files, start.saturating_add(ROOT), meter)?;
    if flags & CHECKED != 0 && files.sum(start)? != crc {
        tree.miss(b"/", damaged("the checksum of the file system is wrong"));
    }
    tree.contents = Some(files);
    Ok(Opened {
        content: Inside::Tree(tree),
        length: Some(size),
        notes: vec![("volume".to_owned(), name)],
    })
}

struct Cramfs {
    bytes: Bytes,
    big: bool,
    meter: Meter,
}

struct Inode {
    mode: u32,
    owner: u32,
    group: u32,
    size: u64,
    name: u64,
    at: u64,
}

impl Cramfs {
    fn fields<'a>(&self, bytes: &'a [u8]) -> Fields<'a> {
        if self.big {
            Fields::big(bytes)
        } else {
            Fields::little(bytes)
        }
    }

    /// Bit fields fill a word from its low end in one byte order, from its high end in the other.
    fn inode(&self, at: u64) -> Result<Inode, Unseen> {
        let bytes = read(&self.bytes, at, INODE)?;
        let mut fields = self.fields(&bytes);
        let (mode, owner) = (fields.u16()?, fields.u16()?);
        let (second, third) = (fields.u32()?, fields.u32()?);
        let (size, group, name, offset) = if self.big {
            (
                second.wrapping_shr(8),
                second & 0xff,
                third.wrapping_shr(26),
                third & 0x3ff_ffff,
            )
        } else {
            (
                second & 0xff_ffff,
                second.wrapping_shr(24),
                third & 0x3f,
                third.wrapping_shr(6),
            )
        };
        Ok(Inode {
            mode: u32::from(mode),
            owner: u32::from(owner),
            group,
            size: u64::from(size),
            name: u64::from(name).saturating_mul(4),
            at: u64::from(offset).saturating_mul(4),
        })
    }

    /// The checksum of all, with its own field as zero.
    fn sum(&self, start: u64) -> Result<u32, Unseen> {
        let mut hasher = crc32fast::Hasher::new();
        let mut at = start;
        while at < self.bytes.length() {
            let mut some = self.bytes.some(at, 1 << 20)?;
            if let Some(field) = some.get_mut(32..36).filter(|_| at == start) {
                field.fill(0);
            }
            hasher.update(&some);
            at = at.saturating_add(1 << 20);
            self.meter.time()?;
        }
        Ok(hasher.finalize())
    }

    /// A file's blocks: pointers to where each ends, then the blocks; one of no length is a hole.
    fn content(&self, inode: &Inode, most: usize) -> Result<Vec<u8>, Unseen> {
        let size = usize::try_from(inode.size).unwrap_or(usize::MAX);
        if size > most {
            return Err(Unseen::TooMuch(most));
        }
        let pointers = inode.size.div_ceil(BLOCK).saturating_mul(4);
        let table = read(&self.bytes, inode.at, pointers)?;
        let mut fields = self.fields(&table);
        let mut from = inode.at.saturating_add(pointers);
        let mut content = Vec::new();
        while content.len() < size {
            let wanted = size.saturating_sub(content.len()).min(4096);
            let end = u64::from(fields.u32()?);
            let length = end.checked_sub(from);
            let length = length.ok_or_else(|| damaged("a block that ends before it starts"))?;
            if length == 0 {
                content.resize(content.len().saturating_add(wanted), 0);
            } else {
                let packed = self.bytes.part(from, length)?.all(2 * 4096)?;
                let block = expand(Method::Zlib, &packed, wanted, &self.meter)?;
                if block.len() != wanted {
                    return Err(damaged("a block that is too short"));
                }
                content.extend(block);
            }
            from = end;
        }
        Ok(content)
    }
}

impl Contents for Cramfs {
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        self.content(&self.inode(number)?, most)
    }
}

impl Inodes for Cramfs {
    fn node(&self, number: u64) -> Result<Node, Unseen> {
        let inode = self.inode(number)?;
        let mut node = inodes::node(inode.mode, inode.owner, inode.group, inode.size, 0)?;
        match node.entry.kind {
            Kind::File => node.content = Content::Number(number),
            Kind::Link => node.link = Some(inodes::link(self.content(&inode, 4096)?)?),
            Kind::Device => {
                // Only the older 16 bits (fs/cramfs/inode.c).
                let packed = u32::try_from(inode.size & 0xffff).unwrap_or_default();
                node.device = Some(inodes::device(packed));
                node.entry.size = 0;
            }
            Kind::Directory | Kind::Other => (),
        }
        Ok(node)
    }

    fn names(&self, number: u64, to: &mut Names) -> Result<(), Unseen> {
        let inode = self.inode(number)?;
        let end = inode.at.saturating_add(inode.size);
        let mut at = inode.at;
        while at < end {
            let name = at.saturating_add(INODE);
            let length = self.inode(at)?.name;
            let bytes = read(&self.bytes, name, length)?;
            let used = bytes.iter().rposition(|byte| *byte != 0);
            let used = used.ok_or_else(|| damaged("a file without a name"))?;
            to.add(bytes.get(..=used).unwrap_or_default(), at)?;
            at = name.saturating_add(length);
        }
        Ok(())
    }
}
