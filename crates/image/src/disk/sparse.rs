//! Sparse images of Android (`system/core/libsparse/sparse_format.h`).

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::format::{Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The magic, with version 1.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"\x3a\xff\x26\xed\x01\0")];

/// The most chunks.
const MOST: u32 = 1_000_000;

/// Reads it as the image that it is.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let fixed = bytes.read(0, 28)?;
    let mut fields = Fields::little(&fixed);
    fields.take(8)?;
    let (header, of_chunk) = (u64::from(fields.u16()?), u64::from(fields.u16()?));
    let block = u64::from(fields.u32()?);
    let (blocks, chunks) = (u64::from(fields.u32()?), fields.u32()?);
    if header < 28 || of_chunk < 12 || block == 0 || block % 4 != 0 || chunks > MOST {
        return Err(wrong("sizes that none has"));
    }
    let mut at = header;
    let mut pieces = Vec::new();
    let mut made = 0_u64;
    for _ in 0..chunks {
        meter.time()?;
        let fixed = bytes.read(at, 12)?;
        let mut fields = Fields::little(&fixed);
        let kind = fields.u16()?;
        fields.u16()?;
        let length = u64::from(fields.u32()?).saturating_mul(block);
        let total = u64::from(fields.u32()?);
        let body = total.checked_sub(of_chunk);
        let body = body.ok_or_else(|| wrong("a chunk shorter than its header"))?;
        let content = bytes.part(at.saturating_add(of_chunk), body)?;
        match kind {
            0xcac1 if body == length => pieces.push(content),
            0xcac2 => pieces.push(fill(&content.read(0, 4)?, length, meter)?),
            0xcac3 => pieces.push(Bytes::filled(0, length)),
            0xcac4 => (),
            _ => return Err(wrong("a chunk of no kind, or of two lengths")),
        }
        if kind != 0xcac4 {
            made = made.saturating_add(length);
        }
        at = at.saturating_add(total);
    }
    if made != blocks.saturating_mul(block) {
        return Err(wrong("its chunks are not as long as it says"));
    }
    Ok(Opened {
        content: Inside::Pieces(vec![Piece::new("", Bytes::joined(pieces))]),
        length: Some(at),
        notes: Vec::new(),
    })
}

fn fill(word: &[u8], length: u64, meter: &Meter) -> Result<Bytes, Unseen> {
    let first = word.first().copied().unwrap_or_default();
    if word.iter().all(|byte| *byte == first) {
        return Ok(Bytes::filled(first, length));
    }
    let most = meter.limits().longest;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > most {
        return Err(Unseen::TooMuch(most));
    }
    meter.hold(crate::compress::wide(length))?;
    let made = word.iter().copied().cycle().take(length);
    Ok(Bytes::memory(made.collect()))
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("Android sparse: {why}"))
}
