//! Puts checksums right, so that what is behind them is reached by noise, too.

use crate::fields::Fields;
use crate::inodes::{crc, crc_from_zero};

/// The nodes of UBIFS and of JFFS2, and the headers of UBI.
pub(super) fn mend(data: &mut [u8]) {
    let mut at = 0_usize;
    while let Some(rest) = data.get_mut(at..).filter(|rest| rest.len() >= 12) {
        let magic: [u8; 4] = rest.first_chunk().copied().unwrap_or_default();
        match magic {
            [0x31, 0x18, 0x10, 0x06] => drop(ubifs(rest)),
            [b'U', b'B', b'I', _] => drop(put(rest, 60, 0..60, u32::to_be_bytes, crc)),
            [0x85, 0x19, ..] => drop(jffs2(rest, false)),
            [0x19, 0x85, ..] => drop(jffs2(rest, true)),
            _ => (),
        }
        at = at.saturating_add(4);
    }
}

/// Writes the sum of a stretch to a place.
fn put(
    rest: &mut [u8],
    to: usize,
    of: std::ops::Range<usize>,
    order: fn(u32) -> [u8; 4],
    sum: fn(&[u8]) -> u32,
) -> Option<()> {
    let sum = order(sum(rest.get(of)?));
    let to = rest.get_mut(to..)?.first_chunk_mut()?;
    *to = sum;
    Some(())
}

fn ubifs(rest: &mut [u8]) -> Option<()> {
    let length = Fields::little(rest.get(16..)?).number(4).ok()?;
    let length = usize::try_from(length).ok()?.max(8);
    put(rest, 4, 8..length, u32::to_le_bytes, crc)
}

fn jffs2(rest: &mut [u8], big: bool) -> Option<()> {
    let order = if big {
        u32::to_be_bytes
    } else {
        u32::to_le_bytes
    };
    let number = |rest: &[u8], at: usize, length: usize| {
        let from = rest.get(at..)?;
        let mut fields = if big {
            Fields::big(from)
        } else {
            Fields::little(from)
        };
        usize::try_from(fields.number(length).ok()?).ok()
    };
    let kind = number(rest, 2, 2)?;
    put(rest, 8, 0..8, order, crc_from_zero)?;
    match kind {
        0xe001 => {
            let end = number(rest, 28, 1)?.saturating_add(40);
            put(rest, 36, 40..end, order, crc_from_zero)?;
            put(rest, 32, 0..32, order, crc_from_zero)
        }
        0xe002 => {
            let end = number(rest, 48, 4)?.saturating_add(68);
            put(rest, 60, 68..end, order, crc_from_zero)?;
            put(rest, 64, 0..60, order, crc_from_zero)
        }
        0xe008 => put(rest, 28, 0..28, order, crc_from_zero),
        0xe009 => put(rest, 24, 0..24, order, crc_from_zero),
        _ => Some(()),
    }
}
