//! Nodes as they lie on the flash.

use stockade_controls::engine::Unseen;

use crate::Bytes;
use crate::fields::Fields;
use crate::inodes::{crc, damaged};

/// The header that all nodes have.
pub(super) const HEADER: usize = 24;
/// No node is longer than a whole block of content with its headers, but an index node.
const MOST_NODE: u32 = 1 << 20;

/// The kinds of nodes.
pub(super) const INODE: u8 = 0;
pub(super) const DATA: u8 = 1;
pub(super) const NAME: u8 = 2;
pub(super) const ATTRIBUTE: u8 = 3;
pub(super) const CUT: u8 = 4;
pub(super) const PADDING: u8 = 5;
pub(super) const SUPER: u8 = 6;
pub(super) const MASTER: u8 = 7;
pub(super) const REFERENCE: u8 = 8;
pub(super) const INDEX: u8 = 9;
pub(super) const COMMIT: u8 = 10;

/// Where a node lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) block: u32,
    pub(super) at: u32,
    pub(super) length: u32,
}

/// What the superblock says.
pub(super) struct Super {
    pub(super) block: u32,
    pub(super) blocks: u32,
    pub(super) log_blocks: u32,
    pub(super) authenticated: bool,
}

impl Super {
    pub(super) fn read(bytes: &Bytes) -> Result<Self, Unseen> {
        let head = bytes.read(0, 4096)?;
        let mut fields = Fields::little(&head);
        let (magic, sum) = (fields.u32()?, fields.u32()?);
        fields.take(12)?;
        if magic != 0x0610_1831 || fields.u8()? != SUPER {
            return Err(Unseen::Absent);
        }
        if crc(head.get(8..).unwrap_or_default()) != sum {
            return Err(damaged("its superblock's checksum is wrong"));
        }
        let mut fields = Fields::little(head.get(HEADER..).unwrap_or_default());
        fields.take(3)?;
        let key = fields.u8()?;
        let flags = fields.u32()?;
        fields.take(4)?;
        let (block, blocks) = (fields.u32()?, fields.u32()?);
        fields.take(12)?;
        let log_blocks = fields.u32()?;
        // The kernel takes none smaller.
        if !(15 << 10..=2 << 20).contains(&block) {
            let why = format!("UBIFS with erase blocks of {block} bytes is not read");
            return Err(Unseen::Failed(why));
        }
        if key != 0 || blocks < 5 || log_blocks < 2 || log_blocks >= blocks {
            return Err(damaged("a superblock that makes no sense"));
        }
        Ok(Self {
            block,
            blocks,
            log_blocks,
            authenticated: flags & 0x20 != 0,
        })
    }
}

/// The erase blocks.
pub(super) struct Flash {
    bytes: Bytes,
    block: u32,
}

impl Flash {
    pub(super) fn new(bytes: &Bytes, head: &Super) -> Result<Self, Unseen> {
        let length = u64::from(head.block).saturating_mul(u64::from(head.blocks));
        Ok(Self {
            bytes: bytes.part(0, length.min(bytes.length()))?,
            block: head.block,
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.bytes.length()
    }

    /// A whole erase block, or as much as there is of it.
    pub(super) fn block(&self, number: u32) -> Result<Vec<u8>, Unseen> {
        let at = u64::from(number).saturating_mul(u64::from(self.block));
        let length = usize::try_from(self.block).unwrap_or_default();
        self.bytes.some(at, length)
    }

    /// A node of this kind, if its checksum is right.
    pub(super) fn node(&self, place: Place, kind: u8) -> Result<Vec<u8>, Unseen> {
        let within = place.at.checked_add(place.length);
        if within.is_none_or(|end| end > self.block) || place.length > MOST_NODE {
            return Err(damaged("a node past the end of its block"));
        }
        let at = u64::from(place.block).saturating_mul(u64::from(self.block));
        let at = at.saturating_add(u64::from(place.at));
        let length = usize::try_from(place.length).unwrap_or_default();
        let node = self.bytes.read(at, length)?;
        let header = Header::read(&node)?;
        if header.kind != kind || header.length != place.length {
            let why = format!("no node of kind {kind} in block {}", place.block);
            return Err(Unseen::Damaged(why));
        }
        Ok(node)
    }
}

/// A node's header.
pub(super) struct Header {
    pub(super) sequence: u64,
    pub(super) length: u32,
    pub(super) kind: u8,
}

impl Header {
    /// Of the node that begins these bytes.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Unseen> {
        let mut fields = Fields::little(bytes);
        let (magic, sum) = (fields.u32()?, fields.u32()?);
        let sequence = fields.u64()?;
        let (length, kind) = (fields.u32()?, fields.u8()?);
        let end = usize::try_from(length).unwrap_or(usize::MAX);
        let checked = bytes.get(8..end).filter(|_| end >= HEADER);
        if magic != 0x0610_1831 || checked.is_none_or(|it| crc(it) != sum) {
            return Err(damaged("a node whose checksum is wrong"));
        }
        Ok(Self {
            sequence,
            length,
            kind,
        })
    }
}

/// A key: the inode; the kind; the block, or what a name was hashed to.
pub(super) fn key(bytes: &[u8]) -> Result<(u64, u8, u32), Unseen> {
    let mut fields = Fields::little(bytes);
    let (inode, second) = (fields.u32()?, fields.u32()?);
    let kind = u8::try_from(second.wrapping_shr(29)).unwrap_or_default();
    Ok((u64::from(inode), kind, second & 0x1fff_ffff))
}

/// `struct ubifs_ino_node`.
pub(super) struct Inode {
    pub(super) size: u64,
    pub(super) modified: u64,
    pub(super) links: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
    pub(super) encrypted: bool,
    /// A link's target, a device's numbers, an extended attribute's value.
    pub(super) data: Vec<u8>,
}

impl Inode {
    pub(super) fn new(node: &[u8]) -> Result<Self, Unseen> {
        let mut fields = Fields::little(node);
        fields.take(48)?;
        let size = fields.u64()?;
        fields.take(16)?;
        let modified = fields.u64()?;
        fields.take(12)?;
        let (links, owner, group) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (mode, flags, length) = (fields.u32()?, fields.u32()?, fields.u32()?);
        fields.take(44)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Self {
            size,
            // A date before 1970 is written as a negative number.
            modified: u64::try_from(modified.cast_signed()).unwrap_or(0),
            links,
            owner,
            group,
            mode,
            encrypted: flags & 0x40 != 0,
            data: fields.take(length)?.to_vec(),
        })
    }
}

/// `struct ubifs_dent_node`: directory or owner, inode, name.
pub(super) fn name(node: &[u8]) -> Result<(u64, u64, Vec<u8>), Unseen> {
    let (parent, _, _) = key(node.get(HEADER..).unwrap_or_default())?;
    let mut fields = Fields::little(node);
    fields.take(40)?;
    let inode = fields.u64()?;
    fields.take(2)?;
    let length = usize::from(fields.u16()?);
    fields.take(4)?;
    Ok((parent, inode, fields.take(length)?.to_vec()))
}
