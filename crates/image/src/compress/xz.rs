//! The .xz stream as `SquashFS` has it for each block: one block of LZMA2 with a CRC-32. It is read here because the decoder's own
//! check goes byte by byte, which is a tenth of all the time that such an image takes.

use stockade_controls::engine::Unseen;

use super::Sink;

/// Reads it; `false` if it is not of this shape, and nothing was made. The numbers are those of "The .xz File Format" 1.2.0.
pub(super) fn block(input: &[u8], out: &mut Sink<'_>) -> Result<bool, Unseen> {
    let Some((dictionary, data)) = begin(input) else {
        return Ok(false);
    };
    // A dictionary longer than all that may come of it is never looked up.
    let dictionary = dictionary.min(u32::try_from(out.most.max(4096)).unwrap_or(u32::MAX));
    let mut reader = lzma_rust2::Lzma2Reader::new(data, dictionary, None);
    out.drain(&mut reader)?;
    // 3.3 and 3.4: zeros up to a multiple of four bytes, and the check.
    let rest = reader.into_inner();
    let (padding, rest) = rest.split_at_checked(rest.len() % 4).unwrap_or_default();
    let check = rest.first_chunk().copied().map(u32::from_le_bytes);
    if padding.iter().any(|it| *it != 0) || check != Some(crc32fast::hash(&out.made)) {
        return Err(Unseen::Damaged("xz: its checksum is wrong".to_owned()));
    }
    Ok(true)
}

/// The size of the dictionary, and what is behind the headers.
fn begin(input: &[u8]) -> Option<(u32, &[u8])> {
    // 2.1.1: the check is CRC-32. The whole is a multiple of four bytes long.
    let rest = input.strip_prefix(b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36")?;
    let length = usize::from(*rest.first()?).checked_add(1)?.checked_mul(4)?;
    let (header, data) = rest.split_at_checked(length)?;
    let (header, sum) = header.split_last_chunk()?;
    let whole =
        crc32fast::hash(header) == u32::from_le_bytes(*sum) && input.len().is_multiple_of(4);
    // 3.1.2: one filter; both sizes may be there.
    let [_, flags @ (0 | 0x40 | 0x80 | 0xc0), fields @ ..] = header else {
        return None;
    };
    let mut fields = fields;
    for bit in [0x40, 0x80] {
        if flags & bit != 0 {
            let last = fields.iter().position(|byte| byte & 0x80 == 0)?;
            fields = fields.get(last.checked_add(1)?..)?;
        }
    }
    // 5.3.1: LZMA2, and its one byte of properties.
    let [0x21, 1, bits @ 0..40, padding @ ..] = fields else {
        return None;
    };
    let dictionary = (2 | u32::from(bits & 1)).checked_shl(u32::from(bits / 2).checked_add(11)?)?;
    (whole && padding.iter().all(|it| *it == 0)).then_some((dictionary, data))
}
