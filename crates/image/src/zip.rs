//! zip archives (PKWARE APPNOTE 6.3.10), zip64 too. What the directory and a file's own header say differently, or what lies in
//! two files at once, is damaged: one of two readers would be fooled.

use std::collections::BTreeSet;
use std::sync::Arc;

use stockade_controls::engine::{Kind, Unseen};

use crate::compress::{Method, expand, wide};
use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::{Bytes, Content, Contents, Meter, Tree, inodes};

/// The magics: a file, or the end of an archive without any.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"PK\x03\x04"), (0, b"PK\x05\x06")];

const END: &[u8] = b"PK\x05\x06";
const CHUNK: usize = 1 << 20;
/// The most files of one archive.
const MOST: u64 = 1_000_000;

/// The longest directory.
const DIRECTORY: usize = 64 << 20;

/// A line of the directory.
struct Line {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    checksum: u32,
    short: u64,
    long: u64,
    header: u64,
    mode: u32,
    owner: u32,
    group: u32,
    modified: u64,
}

/// Where the directory is, and where the archive ends.
struct Directory {
    at: u64,
    size: u64,
    count: u64,
    end: u64,
}

/// Reads one.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let directory = find(bytes, meter)?;
    let lines = lines(bytes, &directory, meter)?;
    let mut tree = Tree::new();
    let mut files = Files {
        meter: meter.clone(),
        places: Vec::new(),
    };
    // Of two that overlap, neither is believed.
    let mut overlapping = BTreeSet::new();
    let mut order: Vec<(u64, u64, usize)> = Vec::new();
    let placed: Vec<_> = lines.iter().map(|line| place(bytes, line)).collect();
    for (number, place) in placed.iter().enumerate() {
        if let Ok((header, content)) = place {
            let end = content.0.saturating_add(content.1);
            order.push((*header, end, number));
        }
    }
    order.sort_unstable();
    let mut last: Option<(u64, usize)> = None;
    for (start, end, number) in order {
        if let Some((before, other)) = last.filter(|(before, _)| start < *before) {
            overlapping.extend([other, number]);
            last = Some((before.max(end), number));
        } else {
            last = Some((end, number));
        }
        if end > directory.at {
            overlapping.insert(number);
        }
    }
    for (number, (line, place)) in lines.iter().zip(placed).enumerate() {
        let found = match place {
            _ if overlapping.contains(&number) => Err(wrong("it lies where another does")),
            Ok((_, (at, length))) => bytes.part(at, length),
            Err(why) => Err(why),
        };
        let added = found.and_then(|content| one(line, content, &mut files));
        match added {
            Ok(node) => tree.add(&line.name, node, meter)?,
            Err(why) => tree.miss(&line.name, why),
        }
    }
    tree.contents = Some(Arc::new(files));
    Ok(Opened {
        content: Inside::Tree(tree),
        length: Some(directory.end),
        notes: Vec::new(),
    })
}

/// One file as the directory has it (4.4).
fn one(line: &Line, content: Bytes, files: &mut Files) -> Result<crate::Node, Unseen> {
    if line.flags & 1 != 0 {
        return Err(wrong("it is encrypted"));
    }
    let method = match line.method {
        0 => None,
        8 => Some(Method::RawDeflate),
        12 => Some(Method::Bzip2),
        93 => Some(Method::Zstd),
        95 => Some(Method::Xz),
        other => return Err(wrong(&format!("the method {other}, which is not read"))),
    };
    if method.is_none() && line.short != line.long {
        return Err(wrong("it has two lengths"));
    }
    let (mode, owner) = (line.mode, line.owner);
    let mut node = inodes::node(mode, owner, line.group, line.long, line.modified)?;
    let place = Place {
        content,
        method,
        long: line.long,
        checksum: line.checksum,
    };
    match node.entry.kind {
        Kind::File => {
            node.content = Content::Number(wide(files.places.len()));
            files.places.push(place);
        }
        Kind::Link => node.link = Some(place.read(4096, &files.meter)?),
        Kind::Directory | Kind::Device | Kind::Other => (),
    }
    Ok(node)
}

/// The record at the end that is right about where the directory is (4.3.16), or its larger brother (4.3.14).
fn find(bytes: &Bytes, meter: &Meter) -> Result<Directory, Unseen> {
    let mut at = 0;
    while at < bytes.length() {
        meter.time()?;
        let chunk = bytes.some(at, CHUNK.saturating_add(3))?;
        for place in memchr::memmem::find_iter(&chunk, END) {
            let end = at.saturating_add(wide(place));
            if let Ok(directory) = record(bytes, end)
                && directory.count <= MOST
            {
                return Ok(directory);
            }
        }
        at = at.saturating_add(wide(CHUNK));
    }
    Err(wrong("it has no directory"))
}

fn record(bytes: &Bytes, at: u64) -> Result<Directory, Unseen> {
    let fixed = bytes.read(at, 22)?;
    let mut fields = Fields::little(&fixed);
    fields.take(4)?;
    let disks = (fields.u16()?, fields.u16()?);
    let (here, count) = (fields.u16()?, fields.u16()?);
    let (size, start) = (fields.u32()?, fields.u32()?);
    let comment = u64::from(fields.u16()?);
    let end = at.saturating_add(22).saturating_add(comment);
    let mut found = Directory {
        at: u64::from(start),
        size: u64::from(size),
        count: u64::from(count),
        end: end.min(bytes.length()),
    };
    let mut follows = at;
    if count == u16::MAX || size == u32::MAX || start == u32::MAX {
        let locator = at.checked_sub(20).ok_or_else(|| wrong("no locator"))?;
        let fixed = bytes.read(locator, 20)?;
        let mut fields = Fields::little(&fixed);
        if fields.take(4)? != b"PK\x06\x07" {
            return Err(wrong("no locator"));
        }
        fields.u32()?;
        follows = fields.u64()?;
        let fixed = bytes.read(follows, 56)?;
        let mut fields = Fields::little(&fixed);
        if fields.take(4)? != b"PK\x06\x06" {
            return Err(wrong("no record of zip64"));
        }
        fields.take(28)?;
        found.count = fields.u64()?;
        found.size = fields.u64()?;
        found.at = fields.u64()?;
    } else if here != count {
        return Err(wrong("it is in several pieces"));
    }
    if disks != (0, 0) || found.at.checked_add(found.size) != Some(follows) {
        return Err(wrong("its directory is not where it should be"));
    }
    Ok(found)
}

/// The directory (4.3.12).
fn lines(bytes: &Bytes, directory: &Directory, meter: &Meter) -> Result<Vec<Line>, Unseen> {
    let most = meter.limits().longest.min(DIRECTORY);
    let text = bytes.part(directory.at, directory.size)?.all(most)?;
    let mut fields = Fields::little(&text);
    let mut lines = Vec::new();
    for _ in 0..directory.count {
        meter.time()?;
        if fields.take(4)? != b"PK\x01\x02" {
            return Err(wrong("a line of its directory"));
        }
        let made_by = fields.u16()?;
        fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        let (time, day) = (fields.u16()?, fields.u16()?);
        let checksum = fields.u32()?;
        let (short, long) = (fields.u32()?, fields.u32()?);
        let [name, extra, comment] = [fields.u16()?, fields.u16()?, fields.u16()?];
        fields.take(4)?;
        let outside = fields.u32()?;
        let header = fields.u32()?;
        let name = fields.take(usize::from(name))?.to_vec();
        let extra = fields.take(usize::from(extra))?;
        fields.take(usize::from(comment))?;
        let unix = made_by.wrapping_shr(8) == 3;
        let mut mode = if unix { outside.wrapping_shr(16) } else { 0 };
        if mode & 0o170_000 == 0 {
            let directory = name.ends_with(b"/");
            let plain = if directory { 0o755 } else { 0o644 };
            mode = if mode.trailing_zeros() >= 12 {
                plain
            } else {
                mode & 0o7777
            };
            mode |= if directory { 0o040_000 } else { 0o100_000 };
        }
        let mut line = Line {
            name,
            flags,
            method,
            checksum,
            short: u64::from(short),
            long: u64::from(long),
            header: u64::from(header),
            mode,
            owner: 0,
            group: 0,
            modified: calendar(day, time),
        };
        more(extra, &mut line)?;
        lines.push(line);
    }
    if !fields.rest().is_empty() {
        return Err(wrong("its directory is longer than it says"));
    }
    Ok(lines)
}

/// Fields that the directory's line has no room for (4.5.3 and Info-ZIP's `extrafld.txt`).
fn more(extra: &[u8], line: &mut Line) -> Result<(), Unseen> {
    let mut fields = Fields::little(extra);
    while fields.rest().len() >= 4 {
        let (kind, length) = (fields.u16()?, fields.u16()?);
        let mut field = Fields::little(fields.take(usize::from(length))?);
        match kind {
            1 => {
                for number in [&mut line.long, &mut line.short, &mut line.header] {
                    if *number == u64::from(u32::MAX) {
                        *number = field.u64()?;
                    }
                }
            }
            0x5455 => {
                let flags = field.u8()?;
                if flags & 1 != 0 {
                    line.modified = u64::from(field.u32()?);
                }
            }
            0x7875 => {
                field.u8()?;
                for number in [&mut line.owner, &mut line.group] {
                    let length = usize::from(field.u8()?);
                    if length > 8 {
                        return Err(wrong("an owner of a length that none has"));
                    }
                    *number = u32::try_from(field.number(length)?).unwrap_or(u32::MAX);
                }
            }
            _ => (),
        }
    }
    Ok(())
}

/// Where a file's own header is, and its content: place and length. They must agree (4.3.7).
fn place(bytes: &Bytes, line: &Line) -> Result<(u64, (u64, u64)), Unseen> {
    let fixed = bytes.read(line.header, 30)?;
    let mut fields = Fields::little(&fixed);
    let magic = fields.take(4)?;
    fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.take(4)?;
    let checksum = fields.u32()?;
    let (short, long) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let (name, extra) = (fields.u16()?, fields.u16()?);
    let after = line.header.saturating_add(30);
    let named = bytes.read(after, usize::from(name))?;
    // Lengths behind the content (bit 3) may be none here; those of zip64 are elsewhere.
    let later = flags & 8 != 0;
    let large = u64::from(u32::MAX);
    let same = |here: u64, there: u64| here == there || later && here == 0 || here == large;
    let agree = magic == b"PK\x03\x04"
        && (flags, method) == (line.flags, line.method)
        && named == line.name
        && same(u64::from(checksum), u64::from(line.checksum))
        && same(short, line.short)
        && same(long, line.long);
    if !agree {
        return Err(wrong("its header and the directory say different things"));
    }
    let content = after
        .saturating_add(u64::from(name))
        .saturating_add(u64::from(extra));
    Ok((line.header, (content, line.short)))
}

/// MS-DOS's date and time.
fn calendar(day: u16, time: u16) -> u64 {
    let part = |from: u16, shift: u32, mask: u16| from.wrapping_shr(shift) & mask;
    let year = u32::from(part(day, 9, 0x7f)).saturating_add(1980);
    let small = |number: u16| u8::try_from(number).unwrap_or(u8::MAX);
    let clock = [
        (part(time, 11, 0x1f), 3600),
        (part(time, 5, 0x3f), 60),
        (part(time, 0, 0x1f), 2),
    ];
    let seconds = clock.iter().fold(0_u64, |sum, (count, each)| {
        sum.saturating_add(u64::from(*count).saturating_mul(*each))
    });
    let (month, day) = (small(part(day, 5, 0xf)), small(part(day, 0, 0x1f)));
    inodes::date(year, month, day, seconds)
}

/// Where files are, by number.
struct Files {
    meter: Meter,
    places: Vec<Place>,
}

struct Place {
    content: Bytes,
    method: Option<Method>,
    long: u64,
    checksum: u32,
}

impl Place {
    fn read(&self, most: usize, meter: &Meter) -> Result<Vec<u8>, Unseen> {
        let long = usize::try_from(self.long).unwrap_or(usize::MAX);
        if long > most {
            return Err(Unseen::TooMuch(most));
        }
        let content = self.content.all(meter.limits().longest)?;
        let content = match self.method {
            None => content,
            Some(method) => expand(method, &content, long, meter)?,
        };
        if content.len() != long || crc32fast::hash(&content) != self.checksum {
            return Err(wrong("its length or checksum is wrong"));
        }
        Ok(content)
    }
}

impl Contents for Files {
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let place = self.places.get(number).ok_or(Unseen::Absent)?;
        place.read(most, &self.meter)
    }
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("zip: {why}"))
}
