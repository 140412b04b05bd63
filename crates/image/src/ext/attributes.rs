//! Extended attributes: behind the inode's fields, and in a block of their own.

use std::collections::BTreeMap;

use stockade_controls::engine::Unseen;

use super::checksums;
use super::{ATTRIBUTE, Attributes, ENCRYPTED, Ext, INLINE, Inode};
use crate::fields::Fields;
use crate::inodes::damaged;

const MAGIC: u32 = 0xea02_0000;
/// The end of a file that lies in its inode; it is told as content, not as an attribute.
pub(super) const DATA: &[u8] = b"system.data";
/// The most bytes of one value (`XATTR_SIZE_MAX`), and of all of a file.
const MOST: usize = 64 << 10;
const MOST_IN_ALL: usize = 1 << 20;

impl Ext {
    pub(super) fn attributes(&self, inode: &Inode) -> Result<Attributes, Unseen> {
        let mut found = BTreeMap::new();
        if inode.extra.starts_with(&MAGIC.to_le_bytes()) {
            let entries = inode.extra.get(4..).unwrap_or_default();
            self.list(entries, entries, &mut found)?;
        }
        if inode.attributes != 0 {
            let size = usize::try_from(self.block).unwrap_or_default();
            let at = inode.attributes.saturating_mul(self.block);
            let block = self.raw(at, size)?;
            if !block.starts_with(&MAGIC.to_le_bytes()) {
                return Err(damaged("a block of attributes that is none"));
            }
            let seed = checksums::more(self.seed, &inode.attributes.to_le_bytes());
            checksums::check(seed, &block, 0x10, 4)?;
            self.list(block.get(32..).unwrap_or_default(), &block, &mut found)?;
        }
        Ok(found)
    }

    /// A list of entries; their values are in the same stretch, or in an inode.
    fn list(&self, entries: &[u8], values: &[u8], found: &mut Attributes) -> Result<(), Unseen> {
        let (mut fields, mut sum) = (Fields::little(entries), 0_usize);
        // Four zeros, or no room for more.
        while fields.rest().first_chunk().is_some_and(|it| *it != [0; 4]) {
            let (length, kind) = (fields.u8()?, fields.u8()?);
            let at = usize::from(fields.u16()?);
            let inode = fields.u32()?;
            let size = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
            fields.take(4)?;
            let name = fields.take(length.into())?;
            let padding = usize::from(length).wrapping_neg() & 3;
            fields.take(padding.min(fields.rest().len()))?;
            let prefix: &[u8] = match kind {
                1 => b"user.",
                2 => b"system.posix_acl_access",
                3 => b"system.posix_acl_default",
                4 => b"trusted.",
                6 => b"security.",
                7 => b"system.",
                8 => b"system.richacl",
                9 => b"encryption.",
                _ => return Err(damaged("an attribute of no kind that there is")),
            };
            if size > MOST {
                return Err(Unseen::TooMuch(MOST));
            }
            let value = if inode == 0 {
                let value = values.get(at..).and_then(|rest| rest.get(..size));
                value
                    .ok_or_else(|| damaged("an attribute past its end"))?
                    .to_vec()
            } else {
                self.elsewhere(inode.into(), size)?
            };
            sum = sum.saturating_add(size);
            if sum > MOST_IN_ALL {
                return Err(Unseen::TooMuch(MOST_IN_ALL));
            }
            found.insert([prefix, name].concat().into(), value);
        }
        Ok(())
    }

    /// A value that has an inode of its own, which has no attributes that would be needed to read it.
    fn elsewhere(&self, number: u64, size: usize) -> Result<Vec<u8>, Unseen> {
        let inode = self.inode(number)?;
        let plain = inode.flags & (ATTRIBUTE | INLINE | ENCRYPTED) == ATTRIBUTE;
        let value = plain.then(|| self.content(&inode, size));
        let value =
            value.ok_or_else(|| damaged("an attribute in an inode that is not for it"))??;
        if value.len() != size {
            return Err(damaged("an attribute in an inode of another size"));
        }
        Ok(value)
    }
}
