//! Formats that are known by their first bytes and not read: told by name, never passed over.

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::format::Opened;
use crate::{Bytes, Meter};

/// Of one of these formats, by bytes that nothing else has.
pub(crate) fn named(_: &Bytes, _: &Meter) -> Result<Opened, Unseen> {
    Err(Unseen::Failed("this format is not read".to_owned()))
}

/// XFS: four letters, and a size of blocks that there is.
pub(crate) fn xfs(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let head = bytes.read(4, 4)?;
    let block = Fields::big(&head).u32()?;
    sound(block.is_power_of_two() && (512..=65_536).contains(&block))?;
    named(bytes, meter)
}

/// Minix: two bytes, and a map of inodes that is as long as their number wants it, of either byte order.
pub(crate) fn minix(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let head = bytes.read(1024, 18)?;
    let one = |mut fields: Fields<'_>| -> Result<bool, Unseen> {
        let inodes = u32::from(fields.u16()?);
        fields.take(2)?;
        let maps = u32::from(fields.u16()?);
        Ok(inodes != 0 && maps == inodes.saturating_add(1).div_ceil(8192))
    };
    sound(one(Fields::little(&head))? || one(Fields::big(&head))?)?;
    named(bytes, meter)
}

/// YAFFS: the header of the first object says that it is in the root; its name is text, with zeros behind it.
pub(crate) fn yaffs(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let head = bytes.read(0, 268)?;
    let name = head.get(10..266).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    let (name, rest) = name.split_at_checked(end).unwrap_or_default();
    let plain = name.iter().all(u8::is_ascii_graphic);
    sound(end != 0 && plain && rest.iter().all(|byte| *byte == 0))?;
    named(bytes, meter)
}

fn sound(is: bool) -> Result<(), Unseen> {
    if is { Ok(()) } else { Err(Unseen::Absent) }
}
