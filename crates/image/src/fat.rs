//! FAT12, FAT16 and FAT32 with long names (Microsoft's "FAT: General Overview of On-Disk Format" 1.03). It keeps no owners and no
//! modes: Linux shows all as root's, 0755, or 0555 where written "read only".

use std::sync::Arc;

use stockade_controls::engine::{Kind, Unseen};

use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::inodes::{self, Inodes, Names, damaged, read};
use crate::tree::Contents;
use crate::{Bytes, Content, Meter, Node};

/// One entry of a directory.
const ENTRY: u64 = 32;
/// The longest directory: 65,536 entries.
const MOST_DIRECTORY: u64 = 2 << 20;
/// The root directory has no entry of its own; this is no place of one.
const ROOT: u64 = 0;

/// Attributes: read only, volume label, directory; all of a part of a long name.
const READ_ONLY: u8 = 1;
const VOLUME: u8 = 8;
const DIRECTORY: u8 = 16;
const LONG: u8 = 15;

pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let fat = Arc::new(Fat::new(bytes, meter)?);
    let mut tree = inodes::tree(&*fat, ROOT, meter)?;
    let notes = vec![("kind".to_owned(), format!("FAT{}", fat.bits))];
    let length = Some(fat.bytes.length());
    tree.contents = Some(fat);
    Ok(Opened {
        content: Inside::Tree(tree),
        length,
        notes,
    })
}

struct Fat {
    bytes: Bytes,
    /// The next cluster of each; two for the start.
    table: Vec<u32>,
    bits: u8,
    /// Where cluster 2 lies, and how long one is.
    data: u64,
    cluster: u64,
    root: Root,
}

enum Root {
    /// At a place of its own, so many bytes.
    Fixed(u64, u64),
    Cluster(u32),
}

impl Fat {
    /// The boot sector (§3): nothing but sound numbers make one.
    fn new(bytes: &Bytes, meter: &Meter) -> Result<Self, Unseen> {
        let head = bytes.read(0, 512)?;
        let mut fields = Fields::little(&head);
        fields.take(11)?;
        let sector = u64::from(fields.u16()?);
        let cluster = u64::from(fields.u8()?);
        let (reserved, copies) = (u64::from(fields.u16()?), u64::from(fields.u8()?));
        let (roots, sectors) = (u64::from(fields.u16()?), u64::from(fields.u16()?));
        let (media, table) = (fields.u8()?, u64::from(fields.u16()?));
        fields.take(8)?;
        let (sectors32, table32) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        fields.take(4)?;
        let root = fields.u32()?;
        let sound = matches!(sector, 512 | 1024 | 2048 | 4096)
            && cluster.is_power_of_two()
            && cluster <= 128
            && reserved != 0
            && matches!(copies, 1 | 2)
            && (media == 0xf0 || media >= 0xf8)
            && matches!(head.first(), Some(0xeb | 0xe9));
        if !sound {
            return Err(Unseen::Absent);
        }
        let sectors = if sectors == 0 { sectors32 } else { sectors };
        let is_32 = table == 0;
        let table = if is_32 { table32 } else { table };
        let at = reserved.saturating_mul(sector);
        let root_at = at.saturating_add(table.saturating_mul(copies).saturating_mul(sector));
        let root_long = roots.saturating_mul(ENTRY);
        let data = root_at.saturating_add(inodes::up(root_long, sector)?);
        let length = sectors.saturating_mul(sector);
        let cluster = cluster.saturating_mul(sector);
        let left = length.checked_sub(data).filter(|_| cluster != 0);
        let left = left.ok_or_else(|| damaged("its tables are longer than it is"))?;
        let clusters = left.checked_div(cluster).unwrap_or(0);
        let bits = match clusters {
            _ if is_32 => 32,
            0..4085 => 12,
            _ => 16,
        };
        // Two entries more than clusters; what the table has no room for is not there.
        let wanted = clusters.saturating_add(2).saturating_mul(bits).div_ceil(8);
        let table_long = table.saturating_mul(sector).min(wanted);
        let most = u64::try_from(meter.limits().longest / 8).unwrap_or(u64::MAX);
        if table_long > most {
            return Err(Unseen::TooMuch(meter.limits().longest / 8));
        }
        let raw = read(bytes, at, table_long)?;
        let bits = u8::try_from(bits).unwrap_or_default();
        Ok(Self {
            // What is cut off is told where it is missed.
            bytes: bytes.part(0, length.min(bytes.length()))?,
            table: entries(&raw, bits),
            bits,
            data,
            cluster,
            root: if is_32 {
                Root::Cluster(root)
            } else {
                Root::Fixed(root_at, root_long)
            },
        })
    }

    /// The places of a chain's clusters, `most` bytes at most.
    fn chain(&self, first: u32, most: u64) -> Result<Vec<u64>, Unseen> {
        let mut places = Vec::new();
        let mut at = first;
        let end = match self.bits {
            12 => 0xff8,
            16 => 0xfff8,
            _ => 0x0fff_fff8,
        };
        let wanted = most.div_ceil(self.cluster.max(1));
        if first >= end {
            return Err(damaged("a chain of clusters without a start"));
        }
        while at < end && u64::try_from(places.len()).unwrap_or(u64::MAX) < wanted {
            let index = usize::try_from(at).unwrap_or(usize::MAX);
            let next = self.table.get(index).filter(|_| at >= 2);
            let next = next.ok_or_else(|| damaged("a chain of clusters that leads out"))?;
            if places.len() > self.table.len() {
                return Err(damaged("a chain of clusters that is a loop"));
            }
            let number = u64::from(at).saturating_sub(2);
            places.push(
                self.data
                    .saturating_add(number.saturating_mul(self.cluster)),
            );
            at = *next;
        }
        Ok(places)
    }

    /// The entries of a directory, with their places.
    fn entries(&self, number: u64) -> Result<Vec<(u64, Vec<u8>)>, Unseen> {
        let first = if number == ROOT {
            match self.root {
                Root::Cluster(first) => first,
                Root::Fixed(at, length) => return self.stretch(at, length),
            }
        } else {
            self.entry(number)?.first
        };
        let mut found = Vec::new();
        let chain = self.chain(first, MOST_DIRECTORY.saturating_add(self.cluster))?;
        let length = u64::try_from(chain.len()).unwrap_or(u64::MAX);
        if length.saturating_mul(self.cluster) > MOST_DIRECTORY.max(self.cluster) {
            return Err(damaged("a directory that is longer than one may be"));
        }
        for at in chain {
            found.extend(self.stretch(at, self.cluster)?);
        }
        Ok(found)
    }

    fn stretch(&self, at: u64, length: u64) -> Result<Vec<(u64, Vec<u8>)>, Unseen> {
        let bytes = read(&self.bytes, at, length)?;
        let places = (at..).step_by(32);
        Ok(places
            .zip(bytes.chunks_exact(32).map(<[u8]>::to_vec))
            .collect())
    }

    fn entry(&self, at: u64) -> Result<Entry, Unseen> {
        Entry::new(&read(&self.bytes, at, ENTRY)?, self.bits == 32)
    }
}

/// The table's entries (§4): 12, 16 or 28 bits.
fn entries(raw: &[u8], bits: u8) -> Vec<u32> {
    let number = |bytes: &[u8]| {
        let add = |sum: u32, byte: &u8| sum.wrapping_shl(8) | u32::from(*byte);
        bytes.iter().rev().fold(0, add)
    };
    match bits {
        12 => {
            let pairs = raw.chunks(3).map(number);
            pairs
                .flat_map(|it| [it & 0xfff, it.wrapping_shr(12)])
                .collect()
        }
        16 => raw.chunks_exact(2).map(number).collect(),
        _ => raw
            .chunks_exact(4)
            .map(|it| number(it) & 0x0fff_ffff)
            .collect(),
    }
}

/// A directory's entry (§6).
struct Entry {
    name: [u8; 11],
    attributes: u8,
    case: u8,
    first: u32,
    size: u64,
    modified: u64,
}

impl Entry {
    fn new(bytes: &[u8], wide: bool) -> Result<Self, Unseen> {
        let mut fields = Fields::little(bytes);
        let name = fields.take(11)?.try_into().unwrap_or_default();
        let (attributes, case) = (fields.u8()?, fields.u8()?);
        fields.take(7)?;
        let high = fields.u16()?;
        let (time, date) = (fields.u16()?, fields.u16()?);
        let (low, size) = (fields.u16()?, fields.u32()?);
        let high = if wide {
            u32::from(high).wrapping_shl(16)
        } else {
            0
        };
        let part = |value: u16, shift: u32, mask: u16| u64::from(value.wrapping_shr(shift) & mask);
        let seconds = part(time, 11, 31)
            .saturating_mul(3600)
            .saturating_add(part(time, 5, 63).saturating_mul(60))
            .saturating_add(part(time, 0, 31).saturating_mul(2));
        let year = u32::from(date.wrapping_shr(9)).saturating_add(1980);
        let small = |value: u64| u8::try_from(value).unwrap_or_default();
        let (month, day) = (small(part(date, 5, 15)), small(part(date, 0, 31)));
        Ok(Self {
            name,
            attributes,
            case,
            first: high | u32::from(low),
            size: u64::from(size),
            modified: inodes::date(year, month, day, seconds),
        })
    }

    /// `NAME.EXT`; the two halves in small letters where the byte of Windows NT says so.
    fn short(&self) -> Vec<u8> {
        let (base, extension) = self.name.split_at(8);
        let half = |bytes: &[u8], small: bool| {
            let bytes = bytes.trim_ascii_end();
            if small {
                bytes.to_ascii_lowercase()
            } else {
                bytes.to_vec()
            }
        };
        let mut name = half(base, self.case & 8 != 0);
        if let Some(first) = name.first_mut().filter(|it| **it == 5) {
            *first = 0xe5;
        }
        let extension = half(extension, self.case & 16 != 0);
        if !extension.is_empty() {
            name.push(b'.');
            name.extend(extension);
        }
        name
    }

    /// What each part of a long name has of its short one (§7.2).
    fn sum(&self) -> u8 {
        let add = |sum: u8, byte: &u8| sum.rotate_right(1).wrapping_add(*byte);
        self.name.iter().fold(0, add)
    }
}

/// The parts of a long name (§7): the last part comes first.
#[derive(Default)]
struct Long {
    letters: Vec<u16>,
    next: u8,
    sum: u8,
}

impl Long {
    fn part(&mut self, bytes: &[u8]) -> Result<(), Unseen> {
        let mut fields = Fields::little(bytes);
        let order = fields.u8()?;
        let mut letters = fields.take(10)?.to_vec();
        fields.take(2)?;
        let sum = fields.u8()?;
        letters.extend(fields.take(12)?);
        fields.take(2)?;
        letters.extend(fields.take(4)?);
        let mut letters: Vec<u16> = letters
            .chunks_exact(2)
            .map(|it| u16::from_le_bytes(it.try_into().unwrap_or_default()))
            .collect();
        if order & 0x40 != 0 {
            *self = Self {
                letters: Vec::new(),
                next: order & 0x3f,
                sum,
            };
        } else if order != self.next || sum != self.sum {
            return Err(damaged("a long name whose parts do not fit"));
        }
        self.next = (order & 0x3f).saturating_sub(1);
        letters.append(&mut self.letters);
        self.letters = letters;
        Ok(())
    }

    /// The name, if it belongs to this entry.
    fn name(self, entry: &Entry) -> Option<Vec<u8>> {
        let belongs = !self.letters.is_empty() && self.next == 0 && self.sum == entry.sum();
        let end = self.letters.iter().position(|it| *it == 0);
        let letters = self.letters.get(..end.unwrap_or(self.letters.len()))?;
        belongs.then(|| String::from_utf16_lossy(letters).into_bytes())
    }
}

impl Inodes for Fat {
    fn node(&self, number: u64) -> Result<Node, Unseen> {
        if number == ROOT {
            return inodes::node(0o040_755, 0, 0, 0, 0);
        }
        let entry = self.entry(number)?;
        let allowed = if entry.attributes & READ_ONLY == 0 {
            0o755
        } else {
            0o555
        };
        let kind = if entry.attributes & DIRECTORY == 0 {
            0o100_000
        } else {
            0o040_000
        };
        let mut node = inodes::node(kind | allowed, 0, 0, entry.size, entry.modified)?;
        if node.entry.kind == Kind::File && entry.size != 0 {
            node.content = Content::Number(number);
        }
        Ok(node)
    }

    fn names(&self, number: u64, to: &mut Names) -> Result<(), Unseen> {
        let mut long = Long::default();
        for (at, bytes) in self.entries(number)? {
            match bytes.first() {
                Some(0) | None => break,
                Some(0xe5) => {
                    long = Long::default();
                    continue;
                }
                _ => (),
            }
            let entry = Entry::new(&bytes, self.bits == 32)?;
            if entry.attributes & 0x3f == LONG {
                long.part(&bytes)?;
            } else if entry.attributes & VOLUME == 0 {
                let name = std::mem::take(&mut long).name(&entry);
                to.add(&name.unwrap_or_else(|| entry.short()), at)?;
            }
        }
        Ok(())
    }
}

impl Contents for Fat {
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        let entry = self.entry(number)?;
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        if size > most {
            return Err(Unseen::TooMuch(most));
        }
        let mut content = Vec::new();
        for at in self.chain(entry.first, entry.size)? {
            let left = entry
                .size
                .saturating_sub(u64::try_from(content.len()).unwrap_or(u64::MAX));
            content.extend(read(&self.bytes, at, left.min(self.cluster))?);
        }
        if content.len() != size {
            return Err(damaged("a file that is longer than its clusters"));
        }
        Ok(content)
    }
}
