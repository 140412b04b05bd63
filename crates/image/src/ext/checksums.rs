//! Checksums of metadata (`metadata_csum`): CRC-32C, begun with one of the file system's UUID. Files have none.

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::inodes::damaged;

/// What a checksum begins with: one of what is before. None if the file system has no checksums.
pub(super) type Seed = Option<u32>;

/// CRC-32C (RFC 3720 appendix B.4), begun with another and not inverted at its end.
fn crc(begun: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0_u32;
        let mut rest: &mut [u32] = &mut table;
        while let [first, others @ ..] = rest {
            let mut sum = byte;
            let mut bit = 0_u32;
            while bit < 8 {
                let low = (sum & 1).wrapping_neg();
                sum = sum.wrapping_shr(1) ^ (low & 0x82f6_3b78);
                bit = bit.wrapping_add(1);
            }
            *first = sum;
            byte = byte.wrapping_add(1);
            rest = others;
        }
        table
    };
    bytes.iter().fold(begun, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        let entry = TABLE.get(usize::from(low ^ byte)).copied();
        sum.wrapping_shr(8) ^ entry.unwrap_or_default()
    })
}

/// The seed of a file system, of its superblock, which has a checksum itself.
pub(super) fn seed(head: &[u8]) -> Result<Seed, Unseen> {
    let field = |at: usize| Fields::little(head.get(at..).unwrap_or_default()).u32();
    if field(0x64)? & 0x400 == 0 {
        return Ok(None);
    }
    let (covered, sum) = (head.get(..0x3fc).unwrap_or_default(), field(0x3fc)?);
    if crc(u32::MAX, covered) != sum {
        return Err(damaged("the checksum of the superblock is wrong"));
    }
    // It stays when the UUID changes.
    let kept = field(0x60)? & 0x2000 != 0;
    let uuid = head.get(0x68..0x78).unwrap_or_default();
    Ok(Some(if kept {
        field(0x270)?
    } else {
        crc(u32::MAX, uuid)
    }))
}

/// Goes on from a seed.
pub(super) fn more(seed: Seed, bytes: &[u8]) -> Seed {
    seed.map(|seed| crc(seed, bytes))
}

/// A checksum within what it is over: there are zeros instead. `length` is 2 of one of which the lower half is kept.
pub(super) fn check(seed: Seed, bytes: &[u8], at: usize, length: usize) -> Result<(), Unseen> {
    let Some(seed) = seed else {
        return Ok(());
    };
    let end = at.saturating_add(length);
    let before = crc(seed, bytes.get(..at).unwrap_or_default());
    let zeros = [0; 4];
    let there = crc(before, zeros.get(..length).unwrap_or_default());
    let sum = crc(there, bytes.get(end..).unwrap_or_default());
    same(sum, bytes.get(at..end).unwrap_or_default())
}

/// A node's of extents: behind the room for all that it could hold, of twelve bytes each, and its head.
pub(super) fn check_extents(seed: Seed, node: &[u8], room: u16) -> Result<(), Unseen> {
    let over = usize::from(room).saturating_add(1).saturating_mul(12);
    check_before(seed, node, over, over)
}

/// A directory block's: in the last bytes of an entry at its end, which has no name.
pub(super) fn check_directory(seed: Seed, block: &[u8]) -> Result<(), Unseen> {
    let over = block.len().saturating_sub(12);
    check_before(seed, block, over, over.saturating_add(8))
}

fn check_before(seed: Seed, bytes: &[u8], over: usize, at: usize) -> Result<(), Unseen> {
    let Some(seed) = seed else {
        return Ok(());
    };
    let kept = bytes.get(at..).and_then(|rest| rest.get(..4));
    let sum = crc(seed, bytes.get(..over).unwrap_or_default());
    same(sum, kept.unwrap_or_default())
}

/// An inode's: in two halves, of which old inodes have the lower one only.
pub(super) fn check_inode(seed: Seed, record: &[u8], both: bool) -> Result<(), Unseen> {
    if !both {
        return check(seed, record, 0x7c, 2);
    }
    let Some(seed) = seed else {
        return Ok(());
    };
    let part = |from: usize, to: usize| record.get(from..to).unwrap_or_default();
    let mut sum = seed;
    for bytes in [
        part(0, 0x7c),
        &[0; 2],
        part(0x7e, 0x82),
        &[0; 2],
        part(0x84, record.len()),
    ] {
        sum = crc(sum, bytes);
    }
    same(sum, &[part(0x7c, 0x7e), part(0x82, 0x84)].concat())
}

fn same(sum: u32, kept: &[u8]) -> Result<(), Unseen> {
    if kept.is_empty() || !sum.to_le_bytes().starts_with(kept) {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // RFC 3720 appendix B.4: 32 bytes of zeros.
        assert_eq!(!crc(u32::MAX, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc(u32::MAX, b"123456789"), 0xe306_9283);
    }
}
