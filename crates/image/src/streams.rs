//! Compressed streams: each is one piece, what it was before.

mod lzop;

use stockade_controls::engine::Unseen;

use crate::compress::{Method, stream};
use crate::format::{Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The names of these formats in the table.
pub(crate) const NAMES: &[&str] = &["gzip", "xz", "zstd", "lz4", "lzop", "bzip2", "lzma"];

/// The magics of bzip2, by the size of its blocks.
pub(crate) const BZIP2: &[(u64, &[u8])] = &[
    (0, b"BZh11AY&SY"),
    (0, b"BZh21AY&SY"),
    (0, b"BZh31AY&SY"),
    (0, b"BZh41AY&SY"),
    (0, b"BZh51AY&SY"),
    (0, b"BZh61AY&SY"),
    (0, b"BZh71AY&SY"),
    (0, b"BZh81AY&SY"),
    (0, b"BZh91AY&SY"),
];
/// The beginnings of .lzma files: the properties of most programs and of `OpenWrt`'s, a power of two for a dictionary.
pub(crate) const LZMA: &[(u64, &[u8])] = &[
    (0, &[0x5d, 0x00, 0x10, 0x00, 0x00]),
    (0, &[0x5d, 0x00, 0x20, 0x00, 0x00]),
    (0, &[0x5d, 0x00, 0x40, 0x00, 0x00]),
    (0, &[0x5d, 0x00, 0x80, 0x00, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x01, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x02, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x04, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x08, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x10, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x20, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x40, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x80, 0x00]),
    (0, &[0x5d, 0x00, 0x00, 0x00, 0x01]),
    (0, &[0x5d, 0x00, 0x00, 0x00, 0x02]),
    (0, &[0x5d, 0x00, 0x00, 0x00, 0x04]),
    (0, &[0x5d, 0x00, 0x00, 0x00, 0x08]),
    (0, &[0x6d, 0x00, 0x10, 0x00, 0x00]),
    (0, &[0x6d, 0x00, 0x20, 0x00, 0x00]),
    (0, &[0x6d, 0x00, 0x40, 0x00, 0x00]),
    (0, &[0x6d, 0x00, 0x80, 0x00, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x01, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x02, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x04, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x08, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x10, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x20, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x40, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x80, 0x00]),
    (0, &[0x6d, 0x00, 0x00, 0x00, 0x01]),
    (0, &[0x6d, 0x00, 0x00, 0x00, 0x02]),
    (0, &[0x6d, 0x00, 0x00, 0x00, 0x04]),
    (0, &[0x6d, 0x00, 0x00, 0x00, 0x08]),
];

fn one(method: Method, bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let (made, taken) = stream(method, bytes, meter.limits().longest, meter)?;
    Ok(unpacked(made, taken))
}

fn unpacked(made: Vec<u8>, length: u64) -> Opened {
    Opened {
        content: Inside::Pieces(vec![Piece::new("", Bytes::memory(made))]),
        length: Some(length),
        notes: Vec::new(),
    }
}

pub(crate) fn gzip(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    one(Method::Gzip, bytes, meter)
}

pub(crate) fn xz(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    one(Method::Xz, bytes, meter)
}

pub(crate) fn zstd(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    one(Method::Zstd, bytes, meter)
}

pub(crate) fn lz4(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    one(Method::Lz4Frame, bytes, meter)
}

pub(crate) fn lz4_legacy(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    one(Method::Lz4Legacy, bytes, meter)
}

pub(crate) fn bzip2(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    one(Method::Bzip2, bytes, meter)
}

/// An .lzma file has no magic: the properties of all programs that write it, and a length that is all ones or not absurd.
pub(crate) fn lzma(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let header = bytes.read(0, 14)?;
    let size = header.get(5..13).unwrap_or_default();
    let size = size
        .iter()
        .rev()
        .fold(0_u64, |sum, byte| sum.wrapping_shl(8) | u64::from(*byte));
    let absurd = size != u64::MAX && (size == 0 || size >> 38 != 0);
    // The first byte of the range coder is always nothing.
    if absurd || header.last() != Some(&0) {
        return Err(Unseen::Damaged("not LZMA".to_owned()));
    }
    one(Method::Lzma, bytes, meter)
}

pub(crate) use lzop::open as lzop;

/// What an lzop file was before.
pub(crate) fn lzop_content(bytes: &Bytes, meter: &Meter) -> Result<Bytes, Unseen> {
    Ok(Bytes::memory(lzop::content(bytes, meter)?.0))
}
