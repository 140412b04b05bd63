//! ndb (rpm's `lib/backend/ndb/rpmpkg.c`): slots that say where each header lies.

use stockade_controls::engine::Unseen;

use super::{Each, number, short, size, stretch};

/// Everything is counted in these.
const BLOCK: usize = 16;
const PAGE: usize = 4096;
/// The first slots are the file's own header.
const FIRST: usize = 32;

pub(super) fn headers(file: &[u8], each: Each<'_>) -> Result<(), Unseen> {
    if !file.starts_with(b"RpmP") {
        return Err(Unseen::Damaged("no database of rpm's own form".to_owned()));
    }
    let pages = size(number(file, 12, 4, false)?);
    let slots = stretch(file, 0, pages.saturating_mul(PAGE))?;
    for slot in slots.get(FIRST..).ok_or_else(short)?.chunks_exact(BLOCK) {
        let package = number(slot, 4, 4, false)?;
        if !slot.starts_with(b"Slot") {
            return Err(Unseen::Damaged("a slot that is none".to_owned()));
        }
        if package == 0 {
            continue;
        }
        let at = size(number(slot, 8, 4, false)?).saturating_mul(BLOCK);
        let blocks = size(number(slot, 12, 4, false)?);
        let blob = stretch(file, at, blocks.saturating_mul(BLOCK))?;
        if !blob.starts_with(b"BlbS") || number(blob, 4, 4, false)? != package {
            return Err(Unseen::Damaged(
                "a slot that leads to another package".to_owned(),
            ));
        }
        let length = size(number(blob, 12, 4, false)?);
        each(stretch(blob, BLOCK, length)?)?;
    }
    Ok(())
}
