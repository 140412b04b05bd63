//! The files of lzop (its `src/lzop.c`): a header, then blocks, each with its lengths and checksums.

use stockade_controls::engine::Unseen;

use super::unpacked;
use crate::compress::{Method, expand, wide};
use crate::fields::Fields;
use crate::format::Opened;
use crate::{Bytes, Meter};

const MAGIC: usize = 9;
/// The longest block that lzop writes (`MAX_BLOCK_SIZE`).
const BLOCK: usize = 64 << 20;
const ADLER_OF_DATA: u32 = 1;
const ADLER_OF_BLOCK: u32 = 2;
const EXTRA: u32 = 0x40;
const CRC_OF_DATA: u32 = 0x100;
const CRC_OF_BLOCK: u32 = 0x200;
const FILTER: u32 = 0x800;

pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let (made, length) = content(bytes, meter)?;
    Ok(unpacked(made, length))
}

/// What it was before, and how long it is.
pub(super) fn content(bytes: &Bytes, meter: &Meter) -> Result<(Vec<u8>, u64), Unseen> {
    let header = bytes.some(0, 4096)?;
    let mut fields = Fields::big(&header);
    fields.take(MAGIC)?;
    let version = fields.u16()?;
    fields.u16()?;
    if version >= 0x0940 {
        fields.u16()?;
    }
    let method = fields.u8()?;
    if version >= 0x0940 {
        fields.u8()?;
    }
    let flags = fields.u32()?;
    if flags & FILTER != 0 {
        fields.u32()?;
    }
    fields.take(8)?;
    if version >= 0x0940 {
        fields.u32()?;
    }
    let name = usize::from(fields.u8()?);
    fields.take(name)?;
    fields.u32()?;
    if flags & EXTRA != 0 {
        let length = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
        fields.take(length)?;
        fields.u32()?;
    }
    if !(1..=3).contains(&method) || flags & FILTER != 0 {
        return Err(wrong("a method that is not read"));
    }
    let mut at = wide(header.len().saturating_sub(fields.rest().len()));
    let mut made = Vec::new();
    loop {
        let header = bytes.some(at, 24)?;
        let mut fields = Fields::big(&header);
        let long = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
        if long == 0 {
            meter.hold(wide(made.len()))?;
            return Ok((made, at.saturating_add(4)));
        }
        let short = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
        if long > BLOCK || short > long {
            return Err(wrong("a block is too long"));
        }
        let mut sums = Vec::new();
        for flag in [ADLER_OF_DATA, CRC_OF_DATA] {
            if flags & flag != 0 {
                sums.push((flag, fields.u32()?));
            }
        }
        for flag in [ADLER_OF_BLOCK, CRC_OF_BLOCK] {
            if flags & flag != 0 && short < long {
                fields.u32()?;
            }
        }
        at = at.saturating_add(wide(header.len().saturating_sub(fields.rest().len())));
        let block = bytes.read(at, short)?;
        at = at.saturating_add(wide(short));
        let block = if short == long {
            block
        } else {
            expand(Method::Lzo1x, &block, long, meter)?
        };
        let sound = sums.iter().all(|(flag, said)| {
            *said
                == if *flag == CRC_OF_DATA {
                    crc32fast::hash(&block)
                } else {
                    adler32(&block)
                }
        });
        if block.len() != long || !sound {
            return Err(wrong("a block's checksum is wrong"));
        }
        made.extend(block);
        if made.len() > meter.limits().longest {
            return Err(Unseen::TooMuch(meter.limits().longest));
        }
    }
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1_u32, 0_u32);
    // As many as do not overflow (RFC 1950 section 9, `NMAX`).
    for chunk in bytes.chunks(5552) {
        for byte in chunk {
            low = low.wrapping_add(u32::from(*byte));
            high = high.wrapping_add(low);
        }
        (low, high) = (low % 65_521, high % 65_521);
    }
    high.wrapping_shl(16) | low
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("lzop: {why}"))
}
