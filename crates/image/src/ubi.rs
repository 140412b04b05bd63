//! UBI (the kernel's `drivers/mtd/ubi/ubi-media.h`): volumes whose blocks lie in any order on the erase blocks of a flash chip.

use std::collections::BTreeMap;

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::format::{Inside, Opened, Piece};
use crate::inodes::{crc, damaged, read, text};
use crate::{Bytes, Meter};

/// Both headers have 60 bytes and a checksum.
const HEADER: usize = 64;
/// Erase blocks are this long at least, and begin at multiples of it.
const STEP: u64 = 512;
/// The longest erase block; as many of the first ones are measured.
const MOST_BLOCK: u64 = 16 << 20;
const MEASURED: usize = 64;
/// So many blocks in a row may be bad; then something else follows.
const MOST_BAD: u64 = 8;
/// The volume with the table of volumes; those from it on are not for files.
const LAYOUT: u32 = 0x7fff_efff;
/// A record of the table, and the most of them.
const RECORD: usize = 172;
const MOST_VOLUMES: usize = 128;
/// The most erase blocks.
const MOST_BLOCKS: u64 = 1 << 20;

/// The header that counts how often a block was erased, as far as it says where things are.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Geometry {
    volume_header: u64,
    data: u64,
}

/// A block's copy of a part of a volume.
struct Copy {
    sequence: u64,
    copied: bool,
    is_static: bool,
    length: u64,
    used: u32,
    pad: u64,
    data_crc: u32,
    at: u64,
}

pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let geometry = geometry(bytes, 0)?.ok_or(Unseen::Absent)?;
    let block = block(bytes, geometry)?;
    let logical = block.checked_sub(geometry.data).filter(|it| *it != 0);
    let logical = logical.ok_or_else(|| damaged("erase blocks without room for data"))?;
    let flash = Flash {
        bytes,
        geometry,
        block,
        logical,
    };
    let (volumes, end, bad) = flash.scan(meter)?;
    let names = flash.names(&volumes);
    let mut pieces = Vec::new();
    let mut ids: Vec<u32> = volumes.keys().map(|(id, _)| *id).collect();
    ids.dedup();
    for id in ids.into_iter().filter(|id| *id < LAYOUT) {
        let parts: BTreeMap<_, _> = volumes.range((id, 0)..=(id, u32::MAX)).collect();
        let name = match names.get(&id) {
            Some(name) => format!("volume {name}"),
            None => format!("volume {id}"),
        };
        pieces.push(Piece::new(name, flash.volume(&parts)?));
    }
    if !bad.is_empty() {
        // What nobody recognises is told as not audited.
        let name = format!("{} damaged erase blocks", bad.len());
        pieces.push(Piece::new(name, Bytes::joined(bad)));
    }
    Ok(Opened {
        content: Inside::Pieces(pieces),
        length: Some(end),
        notes: vec![("erase blocks".to_owned(), format!("{block} bytes"))],
    })
}

/// A block's first header; none if there is none. A wrong checksum is an error.
fn geometry(bytes: &Bytes, at: u64) -> Result<Option<Geometry>, Unseen> {
    let Ok(header) = bytes.read(at, HEADER) else {
        return Ok(None);
    };
    if !header.starts_with(b"UBI#") {
        return Ok(None);
    }
    let mut fields = Fields::big(&header);
    fields.take(16)?;
    let (volume_header, data) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    whole(&header)?;
    Ok(Some(Geometry {
        volume_header,
        data,
    }))
}

fn whole(header: &[u8]) -> Result<(), Unseen> {
    let (checked, sum) = header.split_at_checked(60).unwrap_or_default();
    if crc(checked).to_be_bytes() == sum {
        Ok(())
    } else {
        Err(damaged("a header whose checksum is wrong"))
    }
}

/// How long an erase block is: no header says so, the distance from one to the next does.
fn block(bytes: &Bytes, first: Geometry) -> Result<u64, Unseen> {
    let headers = u64::try_from(HEADER).unwrap_or(u64::MAX);
    let sound = first.volume_header >= headers
        && first.volume_header.saturating_add(headers) <= first.data
        && first.data < MOST_BLOCK;
    if !sound {
        return Err(damaged("headers and data that overlap"));
    }
    let (mut least, mut last, mut at, mut found) = (None, 0, STEP, 0);
    while found < MEASURED && at < last.max(1_u64).saturating_add(MOST_BLOCK) {
        if at >= bytes.length() {
            break;
        }
        if matches!(geometry(bytes, at), Ok(Some(next)) if next == first) {
            let distance = at.saturating_sub(last);
            least = Some(least.map_or(distance, |least: u64| least.min(distance)));
            (last, found) = (at, found.saturating_add(1));
        }
        at = at.saturating_add(STEP);
    }
    Ok(least.unwrap_or_else(|| bytes.length()))
}

struct Flash<'a> {
    bytes: &'a Bytes,
    geometry: Geometry,
    block: u64,
    /// How much of a block is data.
    logical: u64,
}

/// A volume, and a place in it.
type At = (u32, u32);
/// The copies of each part.
type Volumes = BTreeMap<At, Vec<Copy>>;

impl Flash<'_> {
    /// All blocks; where they end; those that are damaged.
    fn scan(&self, meter: &Meter) -> Result<(Volumes, u64, Vec<Bytes>), Unseen> {
        let mut volumes = Volumes::new();
        let (mut end, mut bad, mut doubtful) = (0, Vec::new(), Vec::new());
        let blocks = self.bytes.length().checked_div(self.block).unwrap_or(0);
        if blocks > MOST_BLOCKS {
            return Err(Unseen::TooMuch(usize::try_from(MOST_BLOCKS).unwrap_or(0)));
        }
        for number in 0..blocks {
            meter.time()?;
            let at = number.saturating_mul(self.block);
            let all = || self.bytes.part(at, self.block);
            let erased = || -> Result<bool, Unseen> {
                let start = self.bytes.some(at, 4096)?;
                Ok(start.iter().all(|byte| *byte == 0xff))
            };
            match geometry(self.bytes, at) {
                Ok(Some(it)) if it == self.geometry => {
                    bad.append(&mut doubtful);
                    end = at.saturating_add(self.block);
                    match self.header(at, blocks) {
                        Ok(Some((place, copy))) => volumes.entry(place).or_default().push(copy),
                        Ok(None) => (),
                        Err(_) => bad.push(all()?),
                    }
                }
                Ok(None) if erased()? => (),
                _ => doubtful.push(all()?),
            }
            if u64::try_from(doubtful.len()).unwrap_or(u64::MAX) > MOST_BAD {
                break;
            }
        }
        for copies in volumes.values_mut() {
            // The newest first; the copy that was moved is whole only if its checksum says so.
            copies.sort_by_key(|copy| std::cmp::Reverse(copy.sequence));
            if copies.len() > 1 {
                let older = copies.iter().position(|it| !it.copied || self.is_whole(it));
                copies.drain(..older.unwrap_or(0));
            }
            copies.truncate(1);
        }
        Ok((volumes, end, bad))
    }

    /// The second header: which volume's part lies in a block; none if none does.
    fn header(&self, at: u64, blocks: u64) -> Result<Option<(At, Copy)>, Unseen> {
        let place = at.saturating_add(self.geometry.volume_header);
        let header = self.bytes.read(place, HEADER)?;
        if header.iter().all(|byte| *byte == 0xff) {
            return Ok(None);
        }
        whole(&header)?;
        let mut fields = Fields::big(&header);
        if fields.take(4)? != b"UBI!" {
            return Err(damaged("no header of a volume"));
        }
        fields.take(1)?;
        let (kind, copied) = (fields.u8()?, fields.u8()?);
        fields.take(1)?;
        let (id, part) = (fields.u32()?, fields.u32()?);
        fields.take(4)?;
        let length = u64::from(fields.u32()?);
        let (used, pad, data_crc) = (fields.u32()?, u64::from(fields.u32()?), fields.u32()?);
        fields.take(4)?;
        let sequence = fields.u64()?;
        // No volume is longer than the flash.
        if u64::from(part.max(used)) > blocks || length.max(pad) > self.logical {
            return Err(damaged("a part of a volume that is past its end"));
        }
        let copy = Copy {
            sequence,
            copied: copied != 0,
            is_static: kind == 2,
            length,
            used,
            pad,
            data_crc,
            at: at.saturating_add(self.geometry.data),
        };
        Ok(Some(((id, part), copy)))
    }

    fn is_whole(&self, copy: &Copy) -> bool {
        read(self.bytes, copy.at, copy.length).is_ok_and(|data| crc(&data) == copy.data_crc)
    }

    /// The names of the table's volumes: its two copies are parts 0 and 1 of a volume of its own.
    fn names(&self, volumes: &Volumes) -> BTreeMap<u32, String> {
        let mut names = BTreeMap::new();
        for copy in [0, 1]
            .iter()
            .filter_map(|it| volumes.get(&(LAYOUT, *it))?.first())
        {
            let length = MOST_VOLUMES.saturating_mul(RECORD);
            let long = usize::try_from(self.logical).unwrap_or(usize::MAX);
            let table = self
                .bytes
                .some(copy.at, length.min(long))
                .unwrap_or_default();
            for (id, record) in (0_u32..).zip(table.chunks_exact(RECORD)) {
                let (checked, sum) = record.split_at_checked(168).unwrap_or_default();
                let used = record.get(..4).is_some_and(|it| it != [0; 4]);
                if used && crc(checked).to_be_bytes() == sum {
                    let name = text(record.get(16..144).unwrap_or_default());
                    names.entry(id).or_insert(name);
                }
            }
        }
        names
    }

    /// A volume's bytes. What is missing of a dynamic one is erased; a static one ends there, so that it is found to be short.
    fn volume(&self, parts: &BTreeMap<&At, &Vec<Copy>>) -> Result<Bytes, Unseen> {
        let copies: BTreeMap<u32, &Copy> = parts
            .iter()
            .filter_map(|((_, part), copies)| Some((*part, copies.first()?)))
            .collect();
        let last = copies.keys().last().copied().unwrap_or(0);
        let pad = copies.values().next().map_or(0, |copy| copy.pad);
        let usable = self.logical.saturating_sub(pad);
        let mut pieces = Vec::new();
        for part in 0..=last {
            match copies.get(&part) {
                Some(copy) if copy.is_static => {
                    if part >= copy.used || !self.is_whole(copy) {
                        break;
                    }
                    pieces.push(self.bytes.part(copy.at, copy.length)?);
                }
                Some(copy) => pieces.push(self.bytes.part(copy.at, usable)?),
                None if copies.values().any(|copy| copy.is_static) => break,
                None => pieces.push(Bytes::filled(0xff, usable)),
            }
        }
        Ok(Bytes::joined(pieces))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Limits;

    /// How the corpus was made: blocks, with the second header and the data in each.
    const BLOCK: usize = 16_384;
    const SECOND: usize = 512;
    const DATA: usize = 1024;

    fn first_of(blocks: &[Vec<u8>]) -> Vec<u8> {
        let bytes = Bytes::memory(blocks.concat());
        let opened = open(&bytes, &Meter::new(Limits::default())).expect("volumes");
        assert_eq!(opened.length, Some(bytes.length()));
        match opened.content {
            Inside::Pieces(pieces) => pieces[0].bytes.all(1 << 20).expect("a volume"),
            other => panic!("{other:?}"),
        }
    }

    /// The same block, written later.
    fn later(block: &[u8], copied: u8, data: &[u8]) -> Vec<u8> {
        let mut block = block.to_vec();
        block[DATA..][..data.len()].copy_from_slice(data);
        block[SECOND + 6] = copied;
        block[SECOND + 47] = 9;
        let sum = crc(&block[SECOND..SECOND + 60]).to_be_bytes();
        block[SECOND + 60..SECOND + 64].copy_from_slice(&sum);
        block
    }

    #[test]
    fn blocks_lie_in_any_order_and_the_newest_copy_counts() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image_flash/ubi");
        let image = fs_err::read(file).expect("the corpus");
        let mut blocks: Vec<Vec<u8>> = image.chunks_exact(BLOCK).map(<[u8]>::to_vec).collect();
        let volume = first_of(&blocks);
        blocks.reverse();
        // An erased block and a bad one are passed.
        blocks.insert(3, vec![0xff; BLOCK]);
        blocks.insert(5, vec![0x5a; BLOCK]);
        assert_eq!(first_of(&blocks), volume);
        let of_first =
            |block: &&Vec<u8>| block[SECOND + 8..SECOND + 16] == [0; 8] && block[SECOND] == b'U';
        let first = blocks.iter().find(of_first).expect("a block").clone();
        // A move that was cut off: its checksum is that of other data.
        blocks.insert(0, later(&first, 1, b"half"));
        assert_eq!(first_of(&blocks), volume);
        blocks.insert(0, later(&first, 0, b"newer"));
        assert_eq!(first_of(&blocks)[..5], *b"newer");
    }
}
