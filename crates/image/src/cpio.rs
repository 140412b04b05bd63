//! cpio archives: "newc", with checksums or without, and the portable one ("odc"); several in a row are one, as Linux takes
//! them (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeMap;

use stockade_controls::engine::{Kind, Unseen};

use crate::compress::wide;
use crate::format::{Inside, Opened};
use crate::{Bytes, Content, Meter, Tree, inodes};

/// The magics.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"070701"), (0, b"070702"), (0, b"070707")];

/// The longest name that is read.
const NAME: u64 = 4096;
/// The most padding between two archives.
const PADDING: usize = 64 << 10;

/// The names of a file without its content, and the one that has it.
type Linked = (Vec<Vec<u8>>, Option<Vec<u8>>);

/// The header of one file.
struct Header {
    /// Device and inode, by which hard links know each other.
    identity: (u64, u64, u64),
    mode: u32,
    owner: u32,
    group: u32,
    links: u64,
    modified: u64,
    size: u64,
    device: (u32, u32),
    name: u64,
    /// How long it is.
    length: u64,
    /// What lengths are multiples of.
    align: u64,
    checksum: Option<u32>,
}

/// Reads archives one after another.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let mut tree = Tree::new();
    let mut at = 0;
    loop {
        at = archive(bytes, at, &mut tree, meter)?;
        // Zeros fill up the last block; a second archive may follow.
        let padding = bytes.some(at, PADDING)?;
        let zeros = padding.iter().take_while(|byte| **byte == 0).count();
        let next = at.saturating_add(wide(zeros));
        let magic = bytes.some(next, 6)?;
        if !MAGICS.iter().any(|(_, it)| magic == *it) {
            return Ok(Opened {
                content: Inside::Tree(tree),
                length: Some(next),
                notes: Vec::new(),
            });
        }
        at = next;
    }
}

/// One archive; says where it ends.
fn archive(bytes: &Bytes, start: u64, tree: &mut Tree, meter: &Meter) -> Result<u64, Unseen> {
    let mut at = start;
    let mut linked: BTreeMap<(u64, u64, u64), Linked> = BTreeMap::new();
    loop {
        let read = header(bytes, at).and_then(|header| {
            let name = bytes.part(at.saturating_add(header.length), header.name)?;
            Ok((
                name.read(0, usize::try_from(header.name).unwrap_or(0))?,
                header,
            ))
        });
        let (name, header) = match read {
            Ok(read) => read,
            Err(why) if at == start => return Err(why),
            Err(why) => {
                // What is behind it is lost, and said to be.
                tree.miss(format!("at {at:#x}").as_bytes(), why);
                return Ok(bytes.length());
            }
        };
        let name = name.strip_suffix(b"\0").unwrap_or(&name);
        let content = at.saturating_add(header.length);
        let content = aligned(content.saturating_add(header.name), header.align);
        at = aligned(content.saturating_add(header.size), header.align);
        if name == b"TRAILER!!!" {
            return Ok(at.min(bytes.length()));
        }
        let mode = (header.mode, header.owner, header.group);
        let node = inodes::node(mode.0, mode.1, mode.2, header.size, header.modified);
        let (mut node, data) = match (node, bytes.part(content, header.size)) {
            (Ok(node), Ok(data)) => (node, data),
            (Err(why), Ok(_)) => {
                tree.miss(name, why);
                continue;
            }
            (_, Err(why)) => {
                tree.miss(name, why);
                return Ok(bytes.length());
            }
        };
        match node.entry.kind {
            Kind::Link => match data.all(4096) {
                Ok(target) => node.link = Some(target),
                Err(why) => {
                    tree.miss(name, why);
                    continue;
                }
            },
            Kind::Device => node.device = Some(header.device),
            Kind::File => {
                if let Some(said) = header.checksum.filter(|_| header.size > 0)
                    && sum(&data, meter)? != said
                {
                    let why = "its checksum is wrong".to_owned();
                    tree.miss(name, Unseen::Damaged(why));
                }
                node.content = Content::Bytes(data);
            }
            Kind::Directory | Kind::Other => (),
        }
        let hard = node.entry.kind == Kind::File && header.links > 1;
        tree.add(name, node, meter)?;
        if !hard {
            continue;
        }
        let (names, holder) = linked.entry(header.identity).or_default();
        if header.size > 0 {
            *holder = Some(name.to_vec());
            for other in std::mem::take(names) {
                tree.also(&other, name, meter)?;
            }
        } else if let Some(holder) = holder {
            tree.also(name, holder, meter)?;
        } else {
            names.push(name.to_vec());
        }
    }
}

fn header(bytes: &Bytes, at: u64) -> Result<Header, Unseen> {
    let magic = bytes.read(at, 6)?;
    let new = match magic.as_slice() {
        b"070701" | b"070702" => true,
        b"070707" => false,
        _ => return Err(wrong("no header where one should be")),
    };
    let text = bytes.read(at, if new { 110 } else { 76 })?;
    let mut rest = text.get(6..).unwrap_or_default();
    let mut number = |digits: usize| {
        let (field, after) = rest.split_at_checked(digits).unwrap_or_default();
        rest = after;
        let radix = if new { 16 } else { 8 };
        let digit = |sum: Option<u64>, byte: &u8| {
            let digit = char::from(*byte).to_digit(radix)?;
            sum?.checked_mul(u64::from(radix))?
                .checked_add(u64::from(digit))
        };
        let value = field.iter().fold(Some(0_u64), digit);
        value.ok_or_else(|| wrong("a number that is none"))
    };
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let header = if new {
        let [inode, mode, owner, group] = [number(8)?, number(8)?, number(8)?, number(8)?];
        let [links, modified, size] = [number(8)?, number(8)?, number(8)?];
        let [major, minor, device, unit] = [number(8)?, number(8)?, number(8)?, number(8)?];
        let [name, check] = [number(8)?, number(8)?];
        Header {
            identity: (major, minor, inode),
            mode: small(mode),
            owner: small(owner),
            group: small(group),
            links,
            modified,
            size,
            device: (small(device), small(unit)),
            name,
            length: 110,
            align: 4,
            checksum: (magic == b"070702").then(|| small(check)),
        }
    } else {
        let [holder, inode, mode, owner] = [number(6)?, number(6)?, number(6)?, number(6)?];
        let [group, links, device, modified] = [number(6)?, number(6)?, number(6)?, number(11)?];
        let [name, size] = [number(6)?, number(11)?];
        // Each name has the content, and numbers of inodes are cut short: they tell nothing.
        let links = links.min(1);
        Header {
            identity: (holder, 0, inode),
            mode: small(mode),
            owner: small(owner),
            group: small(group),
            links,
            modified,
            size,
            device: inodes::device(small(device)),
            name,
            length: 76,
            align: 1,
            checksum: None,
        }
    };
    if header.name == 0 || header.name > NAME {
        return Err(wrong("a name of a length that none has"));
    }
    Ok(header)
}

/// The sum of all bytes, as the format with checksums has it.
fn sum(data: &Bytes, meter: &Meter) -> Result<u32, Unseen> {
    let (mut at, mut sum) = (0, 0_u32);
    while at < data.length() {
        meter.time()?;
        let chunk = data.some(at, 1 << 20)?;
        let add = |sum: u32, byte: &u8| sum.wrapping_add(u32::from(*byte));
        sum = chunk.iter().fold(sum, add);
        at = at.saturating_add(wide(chunk.len()));
    }
    Ok(sum)
}

fn aligned(at: u64, to: u64) -> u64 {
    at.checked_next_multiple_of(to).unwrap_or(u64::MAX)
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("cpio: {why}"))
}
