//! romfs (the kernel's `Documentation/filesystems/romfs.rst`). It keeps no owners, times or modes, but for "executable".

use stockade_controls::engine::{Kind, Unseen};

use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::inodes::{self, Inodes, Names, damaged, read, text, up};
use crate::{Bytes, Content, Meter, Node};

/// Everything lies at multiples of this.
const ALIGNED: u64 = 16;
/// The longest name, with its padding.
const MOST_NAME: u64 = 256;
/// As many hard links may lead to one another.
const MOST_HOPS: usize = 8;

pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let start = bytes.read(0, 16)?;
    let mut fields = Fields::big(&start);
    if fields.take(8)? != b"-rom1fs-" {
        return Err(Unseen::Absent);
    }
    let length = u64::from(fields.u32()?);
    let files = Romfs(bytes.part(0, length)?);
    if sum(&read(bytes, 0, length.min(512))?) != 0 {
        return Err(damaged("the checksum of its first 512 bytes is wrong"));
    }
    let (name, root) = files.name(ALIGNED)?;
    Ok(Opened {
        content: Inside::Tree(inodes::tree(&files, root, meter)?),
        length: Some(length),
        notes: vec![("volume".to_owned(), text(&name))],
    })
}

struct Romfs(Bytes);

/// The header of a file.
struct Header {
    next: u64,
    kind: u32,
    executable: bool,
    special: u32,
    size: u64,
    name: Vec<u8>,
    data: u64,
}

impl Romfs {
    /// A name with its padding, and what is behind it.
    fn name(&self, at: u64) -> Result<(Vec<u8>, u64), Unseen> {
        let bytes = self
            .0
            .from(at)?
            .some(0, usize::try_from(MOST_NAME).unwrap_or(0))?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| damaged("a name without an end"))?;
        let padded = up(u64::try_from(end).unwrap_or(0).saturating_add(1), ALIGNED)?;
        let name = bytes.get(..end).unwrap_or_default().to_vec();
        Ok((name, at.saturating_add(padded)))
    }

    fn header(&self, at: u64) -> Result<Header, Unseen> {
        let bytes = self.0.read(at, 16)?;
        let mut fields = Fields::big(&bytes);
        let (first, special, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (name, data) = self.name(at.saturating_add(ALIGNED))?;
        if sum(&read(&self.0, at, data.saturating_sub(at))?) != 0 {
            return Err(damaged("the checksum of a header is wrong"));
        }
        Ok(Header {
            next: u64::from(first & !15),
            kind: first & 7,
            executable: first & 8 != 0,
            special,
            size: u64::from(size),
            name,
            data,
        })
    }

    /// The file that a header is of: hard links lead to another.
    fn target(&self, mut at: u64) -> Result<u64, Unseen> {
        for _ in 0..MOST_HOPS {
            let header = self.header(at)?;
            if header.kind != 0 {
                break;
            }
            at = u64::from(header.special & !15);
        }
        Ok(at)
    }
}

/// Zero for what is whole.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(4).filter_map(|word| word.try_into().ok());
    words.fold(0, |sum: u32, word| {
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

impl Inodes for Romfs {
    fn node(&self, number: u64) -> Result<Node, Unseen> {
        let header = self.header(number)?;
        let kind = match header.kind {
            1 => 0o040_644,
            2 => 0o100_644,
            3 => 0o120_777,
            4 => 0o060_600,
            5 => 0o020_600,
            6 => 0o140_644,
            7 => 0o010_644,
            _ => return Err(damaged("a hard link that leads nowhere")),
        };
        let mode = if header.executable {
            kind | 0o111
        } else {
            kind
        };
        let mut node = inodes::node(mode, 0, 0, 0, 0)?;
        match node.entry.kind {
            Kind::File => {
                node.entry.size = header.size;
                node.content = Content::Bytes(self.0.part(header.data, header.size)?);
            }
            Kind::Link => {
                let target = self.0.part(header.data, header.size)?.all(4096)?;
                node.link = Some(inodes::link(target)?);
            }
            Kind::Device => {
                let minor = header.special & 0xffff;
                node.device = Some((header.special.wrapping_shr(16), minor));
            }
            Kind::Directory | Kind::Other => (),
        }
        Ok(node)
    }

    fn names(&self, number: u64, to: &mut Names) -> Result<(), Unseen> {
        let mut at = u64::from(self.header(number)?.special & !15);
        while at != 0 {
            let header = self.header(at)?;
            let dots = header.name == b"." || header.name == b"..";
            to.add(&header.name, if dots { at } else { self.target(at)? })?;
            // Only a way ahead ends.
            if header.next != 0 && header.next <= at {
                return Err(damaged("a directory that leads back"));
            }
            at = header.next;
        }
        Ok(())
    }
}
