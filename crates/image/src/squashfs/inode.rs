//! Inodes and directory entries; each version has its own.

use stockade_controls::engine::{Kind, Unseen};

use super::{Layout, NONE, Place};
use crate::fields::Fields;
use crate::inodes::{damaged, device};

/// The longest target of a link.
const MOST_LINK: u32 = 0xffff;

/// An inode.
pub(super) struct Inode {
    kind: u32,
    pub(super) mode: u32,
    /// An index into the table of users.
    pub(super) user: u32,
    /// An index into the table of groups.
    pub(super) group: u32,
    pub(super) time: u32,
    /// The number of its extended attributes.
    pub(super) attributes: Option<u32>,
    pub(super) body: Body,
}

/// What it is.
pub(super) enum Body {
    Directory { place: Place, size: u64 },
    File(File),
    Link(Vec<u8>),
    Device((u32, u32)),
    Other,
}

/// Where a file's content is.
pub(super) struct File {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) fragment: u32,
    /// Where in the fragment.
    pub(super) offset: u32,
    /// The place of the list of its blocks.
    pub(super) blocks: Place,
}

type Metadata<'a> = &'a mut dyn FnMut(&mut Place, usize) -> Result<Vec<u8>, Unseen>;

impl Inode {
    pub(super) fn kind(&self) -> Kind {
        match self.body {
            Body::Directory { .. } => Kind::Directory,
            Body::File(_) => Kind::File,
            Body::Link(_) => Kind::Link,
            Body::Device(..) => Kind::Device,
            Body::Other => Kind::Other,
        }
    }

    /// Reads one; `metadata` reads on from a place.
    pub(super) fn read(
        layout: &Layout,
        mut place: Place,
        metadata: Metadata<'_>,
    ) -> Result<Self, Unseen> {
        let version = layout.version;
        let head = match version {
            4 => 16,
            3 => 12,
            _ => 4,
        };
        let head = metadata(&mut place, head)?;
        let mut fields = layout.fields(&head);
        let [kind, mode, user, group] = if version == 4 {
            let mut next = || fields.u16().map(u32::from);
            [next()?, next()?, next()?, next()?]
        } else {
            bits(layout, &mut fields, [4, 12, 8, 8])?
        };
        let time = if version == 2 { 0 } else { fields.u32()? };
        let body = metadata(&mut place, length(version, kind)?)?;
        let fields = layout.fields(&body);
        let mut inode = Self {
            kind,
            mode,
            user,
            group,
            time,
            attributes: None,
            body: Body::Other,
        };
        match version {
            4 => inode.four(layout, fields, place, metadata)?,
            3 => inode.three(layout, fields, place, metadata)?,
            _ => inode.two(layout, fields, place, metadata)?,
        }
        inode.attributes = inode.attributes.filter(|number| *number != NONE);
        Ok(inode)
    }

    fn four(
        &mut self,
        layout: &Layout,
        mut fields: Fields<'_>,
        mut place: Place,
        metadata: Metadata<'_>,
    ) -> Result<(), Unseen> {
        let long = self.kind > 7;
        self.body = match self.kind {
            1 => {
                let block = fields.u32()?;
                fields.take(4)?;
                let size = fields.u16()?;
                directory(layout, block, fields.u16()?.into(), size.into())
            }
            8 => {
                fields.take(4)?;
                let (size, block) = (fields.u32()?, fields.u32()?);
                fields.take(6)?;
                directory(layout, block, fields.u16()?.into(), size)
            }
            2 => Body::File(File {
                start: fields.u32()?.into(),
                fragment: fields.u32()?,
                offset: fields.u32()?,
                size: fields.u32()?.into(),
                blocks: place,
            }),
            9 => {
                let (start, size) = (fields.u64()?, fields.u64()?);
                fields.take(12)?;
                Body::File(File {
                    start,
                    size,
                    fragment: fields.u32()?,
                    offset: fields.u32()?,
                    blocks: place,
                })
            }
            3 | 10 => {
                fields.take(4)?;
                let target = link(fields.u32()?, &mut place, metadata)?;
                if long {
                    let number = metadata(&mut place, 4)?;
                    self.attributes = Some(layout.fields(&number).u32()?);
                }
                self.body = Body::Link(target);
                return Ok(());
            }
            4 | 5 | 11 | 12 => {
                fields.take(4)?;
                Body::Device(device(fields.u32()?))
            }
            _ => {
                fields.take(4)?;
                Body::Other
            }
        };
        if long {
            self.attributes = Some(fields.u32()?);
        }
        Ok(())
    }

    fn three(
        &mut self,
        layout: &Layout,
        mut fields: Fields<'_>,
        place: Place,
        metadata: Metadata<'_>,
    ) -> Result<(), Unseen> {
        // The number of the inode is part of the head.
        if self.kind != 2 {
            fields.take(4)?;
        }
        self.body = match self.kind {
            1 => {
                let [size, offset] = bits(layout, &mut fields, [19, 13])?;
                directory(layout, fields.u32()?, offset, size)
            }
            8 => {
                let [size, offset] = bits(layout, &mut fields, [27, 13])?;
                directory(layout, fields.u32()?, offset, size)
            }
            9 => {
                let start = fields.u64()?;
                let (fragment, offset) = (fields.u32()?, fields.u32()?);
                Body::File(File {
                    start,
                    size: fields.u64()?,
                    fragment,
                    offset,
                    blocks: place,
                })
            }
            2 => {
                let start = fields.u64()?;
                file(start, fields, place)?
            }
            _ => self.small(fields, place, metadata)?,
        };
        Ok(())
    }

    fn two(
        &mut self,
        layout: &Layout,
        mut fields: Fields<'_>,
        place: Place,
        metadata: Metadata<'_>,
    ) -> Result<(), Unseen> {
        self.body = match self.kind {
            1 | 8 => {
                let width = if self.kind == 1 { 19 } else { 27 };
                let [size, offset] = bits(layout, &mut fields, [width, 13])?;
                self.time = fields.u32()?;
                let [block] = bits(layout, &mut fields, [24])?;
                directory(layout, block, offset, size)
            }
            2 => {
                self.time = fields.u32()?;
                let start = fields.u32()?.into();
                file(start, fields, place)?
            }
            _ => self.small(fields, place, metadata)?,
        };
        Ok(())
    }

    /// Links, devices and the rest, of versions 2 and 3.
    fn small(
        &self,
        mut fields: Fields<'_>,
        mut place: Place,
        metadata: Metadata<'_>,
    ) -> Result<Body, Unseen> {
        Ok(match self.kind {
            3 => Body::Link(link(fields.u16()?.into(), &mut place, metadata)?),
            4 | 5 => Body::Device(device(fields.u16()?.into())),
            _ => Body::Other,
        })
    }
}

/// How many bytes follow the head, without lists and names.
fn length(version: u16, kind: u32) -> Result<usize, Unseen> {
    Ok(match (version, kind) {
        (3, 1) | (4, 1 | 2) => 16,
        (4, 3..=5 | 10 | 13 | 14) => 8,
        (3 | 4, 6 | 7) => 4,
        (4, 8) => 24,
        (4, 9) => 40,
        (4, 11 | 12) => 12,
        (2 | 3, 2) => 20,
        (3, 3..=5) => 6,
        (3, 8) => 19,
        (3, 9) => 28,
        (2, 1) => 11,
        (2, 3..=5) => 2,
        (2, 6 | 7) => 0,
        (2, 8) => 14,
        _ => return Err(damaged("an inode of no kind that there is")),
    })
}

fn directory(layout: &Layout, block: u32, offset: u32, size: u32) -> Body {
    Body::Directory {
        place: Place {
            block: layout.directories.saturating_add(block.into()),
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
        },
        size: size.into(),
    }
}

fn file(start: u64, mut fields: Fields<'_>, blocks: Place) -> Result<Body, Unseen> {
    Ok(Body::File(File {
        start,
        fragment: fields.u32()?,
        offset: fields.u32()?,
        size: fields.u32()?.into(),
        blocks,
    }))
}

fn link(length: u32, place: &mut Place, metadata: Metadata<'_>) -> Result<Vec<u8>, Unseen> {
    match usize::try_from(length) {
        Ok(bytes) if length <= MOST_LINK => metadata(place, bytes),
        _ => Err(damaged("a link that is too long")),
    }
}

/// An entry of a directory: the offset of its inode, and the length of its name less one.
pub(super) fn entry(layout: &Layout, bytes: &[u8]) -> Result<(u32, usize), Unseen> {
    let mut fields = layout.fields(bytes);
    let [offset, _, length] = if layout.version == 4 {
        let offset = fields.u16()?.into();
        fields.take(2)?;
        [offset, fields.u16()?.into(), fields.u16()?.into()]
    } else {
        bits(layout, &mut fields, [13, 3, 8])?
    };
    if length > 0xff {
        return Err(damaged("a name that is too long"));
    }
    Ok((offset, usize::try_from(length).unwrap_or_default()))
}

/// The bit fields of versions 2 and 3: from the lowest bit on where the byte order is little-endian, from the highest where it is
/// big-endian.
fn bits<const N: usize>(
    layout: &Layout,
    fields: &mut Fields<'_>,
    widths: [u32; N],
) -> Result<[u32; N], Unseen> {
    let sum: u32 = widths.iter().sum();
    let bytes = usize::try_from(sum.wrapping_shr(3)).unwrap_or_default();
    let number = fields.number(bytes)?;
    let mut below = 0_u32;
    Ok(widths.map(|width| {
        let before = below;
        below = below.saturating_add(width);
        let shift = if layout.big {
            sum.saturating_sub(below)
        } else {
            before
        };
        let mask = 1_u64.wrapping_shl(width).wrapping_sub(1);
        u32::try_from(number.wrapping_shr(shift) & mask).unwrap_or_default()
    }))
}
