//! The old format of LZ4: blocks of 8 MiB, each after its length.

use std::io::Read as _;

use stockade_controls::engine::Unseen;

use super::{Sink, Source, damaged};

/// What a frame begins with.
pub(super) const FRAME: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const LEGACY: [u8; 4] = 0x184c_2102_u32.to_le_bytes();
const BLOCK: usize = 8 << 20;
/// The most that 8 MiB become (`LZ4_COMPRESSBOUND`).
const MOST: u32 = (8 << 20) + (8 << 20) / 255 + 16;

/// Blocks until one is not full. A kernel's four bytes of length behind the last are not taken.
pub(super) fn legacy(source: &mut Source<'_>, out: &mut Sink<'_>) -> Result<(), Unseen> {
    let mut magic = [0; 4];
    source.read_exact(&mut magic).map_err(damaged)?;
    if magic != LEGACY {
        return Err(Unseen::Damaged("not LZ4".to_owned()));
    }
    loop {
        let Ok(length) = <[u8; 4]>::try_from(source.peek(4)?) else {
            if out.made.is_empty() {
                return Err(Unseen::Damaged("LZ4: it ends early".to_owned()));
            }
            return Ok(());
        };
        let length = u32::from_le_bytes(length);
        if length == 0 || length > MOST {
            return Ok(());
        }
        source.read_exact(&mut [0; 4]).map_err(damaged)?;
        let mut block = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        source.read_exact(&mut block).map_err(damaged)?;
        let start = out.made.len();
        out.made.resize(start.saturating_add(BLOCK), 0);
        let to = out.made.get_mut(start..).unwrap_or_default();
        let made = lz4_flex::block::decompress_into(&block, to)
            .map_err(|why| Unseen::Damaged(format!("LZ4: {why}")))?;
        out.made.truncate(start.saturating_add(made));
        out.count(made)?;
        if made < BLOCK {
            return Ok(());
        }
    }
}
