//! ISO 9660 (ECMA-119) with Rock Ridge (RRIP 1.12 on SUSP 1.12); with Joliet's names where there is no Rock Ridge.

mod rock;

use stockade_controls::engine::{Kind, Unseen};

use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::inodes::{self, Inodes, Names, damaged, read, text};
use crate::{Bytes, Content, Meter, Node};

use rock::Rock;

/// What directories and descriptors are cut into (ECMA-119 §6.1.2).
const SECTOR: u64 = 2048;
/// The first descriptor.
const DESCRIPTORS: u64 = 16;
const MOST_DESCRIPTORS: u64 = 64;
/// The longest directory, and the most stretches of one file.
const MOST_DIRECTORY: u64 = 64 << 20;
const MOST_EXTENTS: usize = 1000;

pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let (mut primary, mut joliet, mut boot) = (None, None, false);
    for sector in DESCRIPTORS..DESCRIPTORS.saturating_add(MOST_DESCRIPTORS) {
        let at = sector.saturating_mul(SECTOR);
        let head = bytes.read(at, 190)?;
        if head.get(1..6) != Some(b"CD001") {
            break;
        }
        match head.first() {
            Some(0) => boot = true,
            Some(1) if primary.is_none() => primary = Some((at, head)),
            // Its escape sequence says UCS-2 (Joliet).
            Some(2) if matches!(head.get(88..91), Some([0x25, 0x2f, 0x40 | 0x43 | 0x45])) => {
                joliet = Some((at, head));
            }
            Some(255) => break,
            _ => (),
        }
    }
    let (at, head) = primary.ok_or(Unseen::Absent)?;
    let mut iso = Iso::new(bytes, &head)?;
    let mut root = at.saturating_add(ROOT_RECORD);
    let skip = iso.skip(root)?;
    let mut names = "ISO 9660";
    if let Some(skip) = skip {
        iso.names = By::Rock(skip);
        names = "Rock Ridge";
    } else if let Some((at, head)) = joliet {
        iso = Iso::new(bytes, &head)?;
        iso.names = By::Joliet;
        root = at.saturating_add(ROOT_RECORD);
        names = "Joliet";
    }
    let mut notes = vec![("names".to_owned(), names.to_owned())];
    let volume = head.get(40..72).unwrap_or_default().trim_ascii_end();
    notes.push(("volume".to_owned(), text(volume)));
    if boot {
        notes.push(("boot record".to_owned(), "El Torito or another".to_owned()));
    }
    Ok(Opened {
        content: Inside::Tree(inodes::tree(&iso, root, meter)?),
        length: Some(iso.bytes.length()),
        notes,
    })
}

/// Where a volume descriptor has the record of its root directory (§8.4.18).
const ROOT_RECORD: u64 = 156;

struct Iso {
    bytes: Bytes,
    block: u64,
    names: By,
}

/// What names are taken from.
enum By {
    /// ISO 9660's own.
    Plain,
    Joliet,
    /// Rock Ridge, behind so many bytes of each record's end.
    Rock(usize),
}

/// A directory's record (§9.1).
struct Record {
    /// How long it is itself.
    length: u64,
    at: u64,
    size: u64,
    modified: u64,
    flags: u8,
    name: Vec<u8>,
    system: Vec<u8>,
}

const DIRECTORY: u8 = 2;
const MORE: u8 = 0x80;

impl Iso {
    fn new(bytes: &Bytes, head: &[u8]) -> Result<Self, Unseen> {
        let mut fields = Fields::little(head);
        fields.take(80)?;
        let blocks = u64::from(fields.u32()?);
        fields.take(44)?;
        let block = u64::from(fields.u16()?);
        if !matches!(block, 512 | 1024 | 2048) {
            return Err(damaged("blocks of a size that there is not"));
        }
        let length = blocks.saturating_mul(block);
        Ok(Self {
            bytes: bytes.part(0, length.min(bytes.length()))?,
            block,
            names: By::Plain,
        })
    }

    fn record(&self, at: u64) -> Result<Record, Unseen> {
        let length = read(&self.bytes, at, 1)?.first().copied().unwrap_or(0);
        let bytes = read(&self.bytes, at, u64::from(length))?;
        let mut fields = Fields::little(&bytes);
        fields.take(1)?;
        let attribute = u64::from(fields.u8()?);
        let extent = u64::from(fields.u32()?);
        fields.take(4)?;
        let size = u64::from(fields.u32()?);
        fields.take(4)?;
        let modified = moment(fields.take(7)?);
        let flags = fields.u8()?;
        let (unit, gap) = (fields.u8()?, fields.u8()?);
        fields.take(4)?;
        let name_long = usize::from(fields.u8()?);
        let name = fields.take(name_long)?.to_vec();
        if name_long.is_multiple_of(2) && !fields.rest().is_empty() {
            fields.take(1)?;
        }
        if unit != 0 || gap != 0 {
            return Err(Unseen::Failed("interleaved files are not read".to_owned()));
        }
        Ok(Record {
            length: u64::from(length),
            at: extent.saturating_add(attribute).saturating_mul(self.block),
            size,
            modified,
            flags,
            name,
            system: fields.rest().to_vec(),
        })
    }

    /// How much of each record's end is not SUSP's, if it is used at all: the root's own record says so (SUSP §5.3).
    fn skip(&self, root: u64) -> Result<Option<usize>, Unseen> {
        let own = self.record(self.record(root)?.at)?;
        Ok(match own.system.as_slice() {
            [b'S', b'P', 7, 1, 0xbe, 0xef, skip, ..] => Some(usize::from(*skip)),
            _ => None,
        })
    }

    fn rock(&self, record: &Record) -> Result<Option<Rock>, Unseen> {
        let By::Rock(skip) = self.names else {
            return Ok(None);
        };
        // The root's own record is the first of all and says how much to skip: it does not skip.
        let own = record.name == [0] && record.system.starts_with(b"SP");
        let from = record.system.get(if own { 0 } else { skip }..);
        Rock::read(from.unwrap_or_default(), &|block, at, length| {
            let place = u64::from(block).saturating_mul(self.block);
            read(
                &self.bytes,
                place.saturating_add(u64::from(at)),
                u64::from(length),
            )
        })
        .map(Some)
    }

    /// All of a file, which one record or more of the same name tell of; no holes between its stretches.
    fn content(&self, number: u64, first: &Record) -> Result<Bytes, Unseen> {
        let (mut at, mut record_long, mut size) = (number, first.length, first.size);
        let mut flags = first.flags;
        for _ in 0..MOST_EXTENTS {
            if flags & MORE == 0 {
                return self.bytes.part(first.at, size);
            }
            at = self.next(at.saturating_add(record_long))?;
            let record = self.record(at)?;
            if record.name != first.name || record.at != first.at.saturating_add(size) {
                let why = "a file in stretches that are apart is not read";
                return Err(Unseen::Failed(why.to_owned()));
            }
            (record_long, flags) = (record.length, record.flags);
            size = size.saturating_add(record.size);
        }
        Err(Unseen::TooMuch(MOST_EXTENTS))
    }

    /// The next record: none crosses a sector's end (§6.8.1.1).
    fn next(&self, at: u64) -> Result<u64, Unseen> {
        match read(&self.bytes, at, 1)?.first() {
            Some(0) | None => inodes::up(at.saturating_add(1), SECTOR),
            Some(_) => Ok(at),
        }
    }

    fn name(&self, record: &Record) -> Vec<u8> {
        let plain = match self.names {
            By::Joliet => {
                let letters = record.name.chunks_exact(2);
                let letters =
                    letters.map(|it| u16::from_be_bytes(it.try_into().unwrap_or_default()));
                String::from_utf16_lossy(&letters.collect::<Vec<_>>()).into_bytes()
            }
            // As Linux shows them.
            By::Plain | By::Rock(_) => record.name.to_ascii_lowercase(),
        };
        let version = plain.iter().position(|byte| *byte == b';');
        let name = plain.get(..version.unwrap_or(plain.len()));
        let name = name.unwrap_or_default();
        name.strip_suffix(b".").unwrap_or(name).to_vec()
    }
}

/// A date and time of seven bytes (§9.1.5); the zone is taken off, unless it is one that there is not: so does Linux, and
/// genisoimage writes such.
fn moment(bytes: &[u8]) -> u64 {
    let &[year, month, day, hour, minute, second, zone] = bytes else {
        return 0;
    };
    let seconds = u64::from(hour)
        .saturating_mul(3600)
        .saturating_add(u64::from(minute).saturating_mul(60))
        .saturating_add(u64::from(second));
    let year = u32::from(year).saturating_add(1900);
    let local = inodes::date(year, month, day, seconds);
    let zone = Some(zone.cast_signed()).filter(|zone| (-52..=52).contains(zone));
    let east = i64::from(zone.unwrap_or(0)).saturating_mul(900);
    local.saturating_add_signed(east.saturating_neg())
}

impl Inodes for Iso {
    fn node(&self, number: u64) -> Result<Node, Unseen> {
        let record = self.record(number)?;
        let directory = record.flags & DIRECTORY != 0;
        // The root's record in the descriptor has no room for more; its own record in itself has.
        let rock = match self.rock(&record)? {
            Some(rock) if rock.mode.is_none() && directory && record.name == [0] => {
                self.rock(&self.record(record.at)?)?
            }
            rock => rock,
        };
        let rock = rock.unwrap_or_default();
        let plain = if directory { 0o040_555 } else { 0o100_444 };
        let (mode, owner, group) = rock.mode.unwrap_or((plain, 0, 0));
        let modified = rock.modified.unwrap_or(record.modified);
        let mut node = inodes::node(mode, owner, group, 0, modified)?;
        match node.entry.kind {
            Kind::File if rock.packed => {
                let why = "its content is compressed by zisofs, which is not read";
                return Err(Unseen::Failed(why.to_owned()));
            }
            Kind::File => {
                let content = self.content(number, &record)?;
                node.entry.size = content.length();
                node.content = Content::Bytes(content);
            }
            Kind::Link => node.link = Some(inodes::link(rock.link)?),
            Kind::Device => node.device = rock.device,
            Kind::Directory | Kind::Other => (),
        }
        Ok(node)
    }

    fn names(&self, number: u64, to: &mut Names) -> Result<(), Unseen> {
        let directory = self.record(number)?;
        if directory.size > MOST_DIRECTORY {
            return Err(Unseen::TooMuch(
                usize::try_from(MOST_DIRECTORY).unwrap_or(0),
            ));
        }
        let end = directory.at.saturating_add(directory.size);
        let (mut at, mut more) = (directory.at, false);
        loop {
            // Two steps: the rest of a sector may be empty up to the directory's end.
            at = if at < end { self.next(at)? } else { at };
            if at >= end {
                return Ok(());
            }
            if read(&self.bytes, at, 1)?.first() == Some(&0) {
                continue;
            }
            let record = self.record(at)?;
            let rock = self.rock(&record)?.unwrap_or_default();
            // The first and the second are the directory itself and the one above it. A moved directory is shown where it was.
            let shown = !matches!(record.name.as_slice(), [0 | 1]) && !rock.moved && !more;
            if shown {
                let name = rock.name.unwrap_or_else(|| self.name(&record));
                let number = rock
                    .child
                    .map(|it| u64::from(it).saturating_mul(self.block));
                to.add(&name, number.unwrap_or(at))?;
            }
            more = record.flags & MORE != 0;
            at = at.saturating_add(record.length);
        }
    }
}
