//! Files in which others are: zip (APPNOTE.TXT 6.3), tar (POSIX ustar, pax and GNU names), gzip (RFC 1952).

use std::io::Read as _;
use std::ops::Range;

use flate2::read::{DeflateDecoder, MultiGzDecoder};

/// The most bytes of one document, and of one file's name.
pub(crate) const MOST: usize = 1 << 30;
const LONG: usize = 4096;
/// The most documents in one file.
const MOST_ENTRIES: usize = 4_000_000;

/// A document in a file of others: its name, where its bytes are, and how they were packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    at: Range<usize>,
    packed: Packed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Packed {
    Not,
    /// By deflate, to this length and checksum.
    Deflate(usize, u32),
    Other(u16),
}

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapping {
    Zip,
    Gzip,
    Tar,
    None,
}

pub(crate) fn wrapping(bytes: &[u8]) -> Wrapping {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        Wrapping::Zip
    } else if bytes.starts_with(b"\x1f\x8b") {
        Wrapping::Gzip
    } else if bytes.get(257..262) == Some(b"ustar") {
        Wrapping::Tar
    } else {
        Wrapping::None
    }
}

/// What gzip packed, all its members.
pub(crate) fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    limited(MultiGzDecoder::new(bytes), MOST)
}

fn limited(from: impl std::io::Read, most: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = from.take(limit).read_to_end(&mut out);
    read.map_err(|why| format!("it cannot be unpacked: {why}"))?;
    if out.len() > most {
        return Err(format!("it is larger than {most} bytes when unpacked"));
    }
    Ok(out)
}

impl Entry {
    /// Its bytes, unpacked and checked.
    pub(crate) fn open(&self, file: &[u8]) -> Result<Vec<u8>, String> {
        let bytes = file
            .get(self.at.clone())
            .ok_or("it lies outside its file")?;
        match self.packed {
            Packed::Not => Ok(bytes.to_vec()),
            Packed::Deflate(length, checksum) => {
                let out = limited(DeflateDecoder::new(bytes), length.min(MOST))?;
                if out.len() != length || crc32fast::hash(&out) != checksum {
                    return Err("it is damaged: length or checksum are wrong".to_owned());
                }
                Ok(out)
            }
            Packed::Other(method) => Err(format!(
                "it is packed by zip's method {method}, which is not read"
            )),
        }
    }
}

/// A number, little-endian, of `N` bytes at a place.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(N)?)?;
    let mut all = [0_u8; 8];
    all.get_mut(..N)?.copy_from_slice(field);
    usize::try_from(u64::from_le_bytes(all)).ok()
}

/// What is in a zip file, by its central directory.
pub(crate) fn zip(file: &[u8]) -> Result<Vec<Entry>, String> {
    central(file).ok_or_else(|| "its directory is damaged or cut off".to_owned())
}

fn central(file: &[u8]) -> Option<Vec<Entry>> {
    // 4.3.16: the end of the directory is at the end of the file, before a comment.
    let from = file.len().saturating_sub(22 + 65_535);
    let tail = file.get(from..)?;
    let end = tail.windows(4).rposition(|it| it == b"PK\x05\x06")?;
    let end = from.checked_add(end)?;
    let (mut count, mut at) = (
        number::<2>(file, end.checked_add(10)?)?,
        number::<4>(file, end.checked_add(16)?)?,
    );
    if count == 0xffff || at == 0xffff_ffff {
        // 4.3.14, 4.3.15
        let locator = end.checked_sub(20)?;
        if file.get(locator..)?.starts_with(b"PK\x06\x07") {
            let wide = number::<8>(file, locator.checked_add(8)?)?;
            if !file.get(wide..)?.starts_with(b"PK\x06\x06") {
                return None;
            }
            count = number::<8>(file, wide.checked_add(32)?)?;
            at = number::<8>(file, wide.checked_add(48)?)?;
        }
    }
    if count > MOST_ENTRIES {
        return None;
    }
    let mut all = Vec::new();
    for _ in 0..count {
        let head = file.get(at..)?;
        if !head.starts_with(b"PK\x01\x02") {
            return None;
        }
        let method = u16::try_from(number::<2>(head, 10)?).ok()?;
        let checksum = u32::try_from(number::<4>(head, 16)?).ok()?;
        let (mut packed, mut length) = (number::<4>(head, 20)?, number::<4>(head, 24)?);
        let (name, extra) = (number::<2>(head, 28)?, number::<2>(head, 30)?);
        let comment = number::<2>(head, 32)?;
        let mut place = number::<4>(head, 42)?;
        let extra_at = name.checked_add(46)?;
        // 4.5.3: those that do not fit are in this order in the extra field 1.
        let mut wide = wide(head.get(extra_at..extra_at.checked_add(extra)?)?);
        for field in [&mut length, &mut packed, &mut place] {
            if *field == 0xffff_ffff {
                *field = number::<8>(wide.split_off(..8)?, 0)?;
            }
        }
        let name = String::from_utf8_lossy(head.get(46..extra_at)?).into_owned();
        at = at
            .checked_add(extra_at)?
            .checked_add(extra)?
            .checked_add(comment)?;
        if name.ends_with('/') {
            continue;
        }
        let local = file.get(place..)?;
        if !local.starts_with(b"PK\x03\x04") {
            return None;
        }
        let start = place
            .checked_add(30)?
            .checked_add(number::<2>(local, 26)?)?
            .checked_add(number::<2>(local, 28)?)?;
        all.push(Entry {
            name,
            at: start..start.checked_add(packed)?,
            packed: match method {
                0 => Packed::Not,
                8 => Packed::Deflate(length, checksum),
                other => Packed::Other(other),
            },
        });
    }
    Some(all)
}

/// The content of the extra field 1.
fn wide(mut extra: &[u8]) -> &[u8] {
    while let (Some(id), Some(length)) = (number::<2>(extra, 0), number::<2>(extra, 2)) {
        let rest = extra.get(4..).unwrap_or_default();
        if id == 1 {
            return rest.get(..length).unwrap_or_default();
        }
        extra = rest.get(length..).unwrap_or_default();
    }
    &[]
}

/// What is in a tar file. What is read before its end breaks off is given, and that it does.
pub(crate) fn tar(file: &[u8]) -> (Vec<Entry>, Option<String>) {
    let (mut all, mut at, mut long) = (Vec::new(), 0_usize, None);
    loop {
        let Some(head) = at.checked_add(512).and_then(|end| file.get(at..end)) else {
            return (all, Some("it breaks off".to_owned()));
        };
        if head.iter().all(|byte| *byte == 0) {
            return (all, None);
        }
        let Some((entry, next, kind)) = member(file, head, at) else {
            return (all, Some("it is damaged".to_owned()));
        };
        at = next;
        let content = file.get(entry.at.clone()).unwrap_or_default();
        match kind {
            b'L' => long = Some(text(content)),
            b'x' => long = pax_name(content).or(long),
            b'0' | 0 => {
                let name = long.take().unwrap_or(entry.name);
                all.push(Entry { name, ..entry });
            }
            _ => long = None,
        }
        if all.len() >= MOST_ENTRIES {
            return (all, Some("there are too many files in it".to_owned()));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..LONG).unwrap_or(bytes);
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default())
        .into_owned()
}

fn member(file: &[u8], head: &[u8], at: usize) -> Option<(Entry, usize, u8)> {
    // The checksum counts its own field as spaces.
    let sum = head.iter().enumerate().fold(0_u32, |sum, (at, byte)| {
        let byte = if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        };
        sum.wrapping_add(u32::from(byte))
    });
    let octal = |field: Range<usize>| {
        let digits = text(head.get(field)?);
        usize::from_str_radix(digits.trim(), 8).ok()
    };
    if octal(148..156)? != usize::try_from(sum).ok()? {
        return None;
    }
    let size = octal(124..136)?;
    let start = at.checked_add(512)?;
    let end = start.checked_add(size).filter(|end| *end <= file.len())?;
    let (name, before) = (text(head.get(..100)?), text(head.get(345..500)?));
    let name = if before.is_empty() {
        name
    } else {
        format!("{before}/{name}")
    };
    let entry = Entry {
        name,
        at: start..end,
        packed: Packed::Not,
    };
    let next = end.checked_next_multiple_of(512)?;
    Some((entry, next, *head.get(156)?))
}

/// `path` of a pax header: `length path=name`.
fn pax_name(content: &[u8]) -> Option<String> {
    let content = content.get(..LONG).unwrap_or(content);
    let mut lines = content.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let at = line.iter().position(|byte| *byte == b' ')?;
        Some(text(line.get(at..)?.strip_prefix(b" path=")?))
    })
}
