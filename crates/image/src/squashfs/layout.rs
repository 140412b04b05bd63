//! The superblock; each version has its own.

use stockade_controls::engine::Unseen;

use crate::Bytes;
use crate::fields::Fields;
use crate::inodes::damaged;

/// Where everything is.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) version: u16,
    pub(super) big: bool,
    /// The compressor's number, of version 4.
    pub(super) compressor: u16,
    /// Each metadata block's data comes behind one byte more (`-check_data` of old versions).
    pub(super) checked: bool,
    pub(super) block: usize,
    pub(super) root: u64,
    pub(super) used: u64,
    pub(super) inodes: u64,
    pub(super) directories: u64,
    pub(super) fragments: u64,
    pub(super) fragment_count: u32,
    /// The table of ids; of users and groups apart before version 4.
    pub(super) ids: [u64; 2],
    pub(super) id_counts: [u16; 2],
    pub(super) attributes: Option<u64>,
}

impl Layout {
    /// Reads the superblock. The byte order is told by the version's number, because vendors change the magic.
    pub(super) fn read(bytes: &Bytes) -> Result<(Self, Vec<(String, String)>), Unseen> {
        let head = bytes.some(0, 119)?;
        let fields = |big| {
            if big {
                Fields::big(&head)
            } else {
                Fields::little(&head)
            }
        };
        let version = |big| {
            let mut fields = fields(big);
            fields.take(28)?;
            fields.u16()
        };
        let (little, other) = (version(false)?, version(true)?);
        let (big, version) = match (little, other) {
            (2..=4, _) => (false, little),
            (_, 2..=4) => (true, other),
            (1, _) | (_, 1) => return Err(damaged("version 1 is not read")),
            _ => return Err(damaged("no version of SquashFS has this number")),
        };
        let mut all = fields(big);
        let layout = if version == 4 {
            Self::four(&mut all, big)?
        } else {
            Self::older(&mut all, big, version)?
        };
        let size = layout.block;
        if !size.is_power_of_two() || !(4096..=1 << 20).contains(&size) {
            return Err(damaged("a block of no size that there is"));
        }
        if layout.used > bytes.length() {
            return Err(Unseen::Damaged(format!(
                "it says that it has {} bytes, and there are {}",
                layout.used,
                bytes.length()
            )));
        }
        let order = if big { "big" } else { "little" };
        let notes = vec![("version".to_owned(), format!("{version}, {order}-endian"))];
        Ok((layout, notes))
    }

    fn four(fields: &mut Fields<'_>, big: bool) -> Result<Self, Unseen> {
        fields.take(12)?;
        let block = fields.u32()?;
        let fragment_count = fields.u32()?;
        let compressor = fields.u16()?;
        fields.take(4)?;
        let ids = fields.u16()?;
        fields.take(4)?;
        let root = fields.u64()?;
        let used = fields.u64()?;
        let id_table = fields.u64()?;
        let attributes = fields.u64()?;
        Ok(Self {
            version: 4,
            big,
            compressor,
            checked: false,
            block: usize::try_from(block).unwrap_or_default(),
            root,
            used,
            inodes: fields.u64()?,
            directories: fields.u64()?,
            fragments: fields.u64()?,
            fragment_count,
            ids: [id_table; 2],
            id_counts: [ids; 2],
            attributes: (attributes != u64::MAX).then_some(attributes),
        })
    }

    fn older(fields: &mut Fields<'_>, big: bool, version: u16) -> Result<Self, Unseen> {
        fields.take(8)?;
        let mut short = [0; 5];
        for number in &mut short {
            *number = u64::from(fields.u32()?);
        }
        fields.take(8)?;
        let flags = fields.u8()?;
        let id_counts = [fields.u8()?.into(), fields.u8()?.into()];
        fields.take(4)?;
        let root = fields.u64()?;
        let block = fields.u32()?;
        let fragment_count = fields.u32()?;
        let short_fragments = u64::from(fields.u32()?);
        let mut long = [0; 6];
        if version == 3 {
            for number in &mut long {
                *number = fields.u64()?;
            }
        } else {
            let [used, users, groups, inodes, directories] = short;
            long = [used, users, groups, inodes, directories, short_fragments];
        }
        let [used, users, groups, inodes, directories, fragments] = long;
        Ok(Self {
            version,
            big,
            compressor: 1,
            checked: flags & 4 != 0,
            block: usize::try_from(block).unwrap_or_default(),
            root,
            used,
            inodes,
            directories,
            fragments,
            fragment_count,
            ids: [users, groups],
            id_counts,
            attributes: None,
        })
    }

    pub(super) fn fields<'a>(&self, bytes: &'a [u8]) -> Fields<'a> {
        if self.big {
            Fields::big(bytes)
        } else {
            Fields::little(bytes)
        }
    }
}
