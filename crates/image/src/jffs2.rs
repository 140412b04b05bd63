//! JFFS2 (the kernel's `include/uapi/linux/jffs2.h`), of either byte order: a log of nodes, each with its checksum. The newest
//! version of each stays; summaries and clean markers say nothing that the nodes do not.

mod scan;

use std::collections::BTreeMap;
use std::sync::Arc;

use stockade_controls::engine::{Kind, Name, Unseen};

use crate::compress::{Method, expand};
use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::inodes::{self, Inodes, Names, damaged, read};
use crate::tree::Contents;
use crate::{Bytes, Content, Meter, Node};

/// The root's number.
const ROOT: u32 = 1;

pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let big = match bytes.read(0, 2)?.as_slice() {
        [0x19, 0x85] => true,
        [0x85, 0x19] => false,
        _ => return Err(Unseen::Absent),
    };
    let (log, length, missed) = scan::scan(bytes, big, meter)?;
    // Two bytes are found in anything.
    if log.names.is_empty() {
        return Err(Unseen::Absent);
    }
    let files = Arc::new(Jffs2 {
        bytes: bytes.clone(),
        big,
        meter: meter.clone(),
        log,
    });
    let mut tree = inodes::tree(&*files, u64::from(ROOT), meter)?;
    for why in missed {
        tree.miss(b"/", damaged(&why));
    }
    tree.contents = Some(files);
    Ok(Opened {
        content: Inside::Tree(tree),
        length: Some(length),
        notes: Vec::new(),
    })
}

/// What the nodes say.
#[derive(Default)]
struct Log {
    /// The versions of each inode, with their places.
    inodes: BTreeMap<u32, Vec<(u32, u64)>>,
    /// By directory and name: the version, and the inode, which is 0 for what was deleted.
    names: BTreeMap<(u32, Vec<u8>), (u32, u32)>,
    /// By number: the version, the name and the value of an extended attribute.
    attributes: BTreeMap<u32, (u32, Name, Vec<u8>)>,
    /// By inode and number of the attribute: the newest sequence number; one that is odd takes the attribute off.
    references: BTreeMap<(u32, u32), u32>,
}

struct Jffs2 {
    bytes: Bytes,
    big: bool,
    meter: Meter,
    log: Log,
}

/// `struct jffs2_raw_inode`: metadata, and a stretch of the content.
struct Inode {
    mode: u32,
    owner: u32,
    group: u32,
    /// How long the file is from this version on.
    size: u32,
    modified: u32,
    offset: u32,
    packed: u32,
    length: u32,
    method: u8,
    data_crc: u32,
    node_crc: u32,
}

/// How long it is without its data, and without its two checksums.
const INODE: u64 = 68;
const INODE_CHECKED: usize = 60;

impl Inode {
    fn new(bytes: &[u8], big: bool) -> Result<Self, Unseen> {
        let mut fields = if big {
            Fields::big(bytes)
        } else {
            Fields::little(bytes)
        };
        fields.take(20)?;
        let mode = fields.u32()?;
        let (owner, group, size) = (fields.u16()?, fields.u16()?, fields.u32()?);
        fields.take(4)?;
        let modified = fields.u32()?;
        fields.take(4)?;
        let (offset, packed, length) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let method = fields.u8()?;
        fields.take(3)?;
        Ok(Self {
            mode,
            owner: u32::from(owner),
            group: u32::from(group),
            size,
            modified,
            offset,
            packed,
            length,
            method,
            data_crc: fields.u32()?,
            node_crc: fields.u32()?,
        })
    }
}

impl Jffs2 {
    fn inode(&self, at: u64) -> Result<Inode, Unseen> {
        Inode::new(&read(&self.bytes, at, INODE)?, self.big)
    }

    /// The versions of an inode, the newest last.
    fn versions(&self, number: u64) -> &[(u32, u64)] {
        let number = u32::try_from(number).ok();
        let found = number.and_then(|number| self.log.inodes.get(&number));
        found.map(Vec::as_slice).unwrap_or_default()
    }

    fn content(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        let versions = self.versions(number);
        let last = versions
            .last()
            .ok_or_else(|| damaged("a file of no inode"))?;
        let size = usize::try_from(self.inode(last.1)?.size).unwrap_or(usize::MAX);
        if size > most {
            return Err(Unseen::TooMuch(most));
        }
        // Holes that nothing was written to are zeros: they cost memory, too.
        self.meter.expand(u64::try_from(size).unwrap_or(u64::MAX))?;
        let mut content = vec![0; size];
        for (_, at) in versions {
            let inode = self.inode(*at)?;
            if inode.length == 0 {
                continue;
            }
            let data = self.data(*at, &inode)?;
            let from = usize::try_from(inode.offset).unwrap_or(usize::MAX);
            for (to, byte) in content.iter_mut().skip(from).zip(&data) {
                *to = *byte;
            }
        }
        Ok(content)
    }

    /// The stretch that one version holds.
    fn data(&self, at: u64, inode: &Inode) -> Result<Vec<u8>, Unseen> {
        let length = usize::try_from(inode.length).unwrap_or(usize::MAX);
        let most = self.meter.limits().longest;
        if length > most {
            return Err(Unseen::TooMuch(most));
        }
        let packed = read(
            &self.bytes,
            at.saturating_add(INODE),
            u64::from(inode.packed),
        )?;
        let data = match inode.method {
            0 => packed,
            1 => {
                self.meter.expand(u64::from(inode.length))?;
                vec![0; length]
            }
            2 => {
                self.meter.expand(u64::from(inode.length))?;
                rtime(&packed, length)?
            }
            6 => expand(Method::Zlib, &packed, length, &self.meter)?,
            7 => expand(Method::Lzo1x, &packed, length, &self.meter)?,
            // As OpenWrt's kernels pack: lc 0, lp 0, pb 0.
            8 => {
                let method = Method::LzmaRaw {
                    props: 0,
                    dict: 0x2000,
                };
                expand(method, &packed, length, &self.meter)?
            }
            other => {
                let why = format!("content compressed by method {other} of JFFS2 is not read");
                return Err(Unseen::Failed(why));
            }
        };
        if data.len() != length {
            return Err(damaged("a stretch of content that is too short"));
        }
        Ok(data)
    }
}

/// The kernel's `fs/jffs2/compr_rtime.c`: after each byte, how many bytes follow as they did where it was last.
fn rtime(packed: &[u8], length: usize) -> Result<Vec<u8>, Unseen> {
    let mut last: BTreeMap<u8, usize> = BTreeMap::new();
    let mut data = Vec::new();
    let mut pairs = packed.chunks_exact(2);
    while data.len() < length {
        let Some(&[byte, repeat]) = pairs.next() else {
            return Err(damaged("a stretch of content that ends early"));
        };
        data.push(byte);
        let from = last.insert(byte, data.len()).unwrap_or(0);
        for place in (from..).take(usize::from(repeat)) {
            let again = data.get(place).copied();
            data.push(again.ok_or_else(|| damaged("a repeat of what is not there"))?);
        }
    }
    data.truncate(length);
    Ok(data)
}

impl Inodes for Jffs2 {
    fn node(&self, number: u64) -> Result<Node, Unseen> {
        let inode = match self.versions(number).last() {
            Some((_, at)) => (*at, self.inode(*at)?),
            // The kernel makes one of its own.
            None if number == u64::from(ROOT) => return inodes::node(0o040_755, 0, 0, 0, 0),
            None => return Err(damaged("a file of no inode")),
        };
        let (at, inode) = inode;
        let modified = u64::from(inode.modified);
        let mut node = inodes::node(inode.mode, inode.owner, inode.group, 0, modified)?;
        match node.entry.kind {
            Kind::File => {
                node.entry.size = u64::from(inode.size);
                node.content = Content::Number(number);
            }
            Kind::Link => {
                // All of it, whatever the size says (fs/jffs2/readinode.c).
                let target = inodes::link(self.data(at, &inode)?)?;
                node.entry.size = u64::from(inode.size);
                node.link = Some(target);
            }
            Kind::Device => {
                let data = self.data(at, &inode)?;
                let mut fields = if self.big {
                    Fields::big(&data)
                } else {
                    Fields::little(&data)
                };
                let packed = fields.number(if data.len() == 2 { 2 } else { 4 })?;
                node.device = Some(inodes::device(u32::try_from(packed).unwrap_or_default()));
            }
            Kind::Directory | Kind::Other => (),
        }
        let number = u32::try_from(number).unwrap_or_default();
        let references = self.log.references.range((number, 0)..=(number, u32::MAX));
        for ((_, attribute), _) in references.filter(|(_, sequence)| *sequence & 1 == 0) {
            let found = self.log.attributes.get(attribute);
            let (_, name, value) =
                found.ok_or_else(|| damaged("an extended attribute that is not there"))?;
            node.attributes.insert(name.clone(), value.clone());
        }
        Ok(node)
    }

    fn names(&self, number: u64, to: &mut Names) -> Result<(), Unseen> {
        let number = u32::try_from(number).unwrap_or_default();
        let from = (number, Vec::new());
        let of_it = self.log.names.range(from..);
        for ((_, name), (_, inode)) in of_it.take_while(|((parent, _), _)| *parent == number) {
            if *inode != 0 {
                to.add(name, u64::from(*inode))?;
            }
        }
        Ok(())
    }
}

impl Contents for Jffs2 {
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        self.content(number, most)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use stockade_controls::engine::HostPath;

    use super::*;
    use crate::inodes::crc_from_zero;
    use crate::{Limits, Tree};

    /// A node, little-endian: numbers of four bytes, two checksums where the kind has them, then the content.
    fn node(kind: u16, checked: &[u32], content: &[u8]) -> Vec<u8> {
        let head = if kind == 0xe001 { 40 } else { 68 };
        let length = u32::try_from(content.len().saturating_add(head)).expect("short");
        let mut node = [&0x1985_u16.to_le_bytes()[..], &kind.to_le_bytes()].concat();
        node.extend(length.to_le_bytes());
        node.extend(crc_from_zero(&node).to_le_bytes());
        node.extend(checked.iter().flat_map(|it| it.to_le_bytes()));
        let (of_node, of_content) = (crc_from_zero(&node), crc_from_zero(content));
        let sums = match kind {
            0xe001 => [of_node, of_content],
            _ => [of_content, of_node],
        };
        node.extend(sums.iter().flat_map(|it| it.to_le_bytes()));
        node.extend(content);
        node.resize(node.len().next_multiple_of(4), 0xff);
        node
    }

    fn name(parent: u32, version: u32, inode: u32, name: &[u8]) -> Vec<u8> {
        let length = u32::try_from(name.len()).expect("short");
        // The last number is the name's length and the kind.
        let checked = [parent, version, inode, 0, length | 8 << 8];
        node(0xe001, &checked, name)
    }

    fn inode(number: u32, version: u32, size: u32, offset: u32, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("short");
        let checked = [
            number, version, 0o100_644, 0, size, 0, 0, 0, offset, length, length, 0,
        ];
        node(0xe002, &checked, content)
    }

    #[test]
    fn the_newest_version_of_each_node_counts() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = file.join("../../fuzz/corpus/image_flash/jffs2-little");
        let original = fs_err::read(file).expect("the corpus");
        let opened = |image: Vec<u8>| -> Tree {
            let opened = open(&Bytes::memory(image), &Meter::new(Limits::default()));
            match opened.expect("an image").content {
                Inside::Tree(tree) => tree,
                other => panic!("{other:?}"),
            }
        };
        let mut obsolete = name(1, 9, 0, b"file");
        // A bit of its kind is taken off.
        obsolete[3] &= !0x20;
        let nodes = [
            inode(900, 3, 6, 3, b"new"),
            inode(900, 1, 9, 0, b"aaabbbccc"),
            name(1, 2, 900, b"file"),
            obsolete,
            name(1, 8, 0, b"short"),
            inode(901, 1, 4, 0, b"left"),
            inode(901, 2, 2, 0, b""),
            name(1, 1, 901, b"cut"),
        ];
        let nodes = nodes.concat();
        let image = [original.as_slice(), &nodes].concat();
        let tree = opened(image.clone());
        assert_eq!(tree.unread, []);
        let read = |path| tree.read(&HostPath::of(path), 1 << 20);
        assert_eq!(read("/file"), Ok(b"aaanew".to_vec()));
        assert_eq!(read("/cut"), Ok(b"le".to_vec()));
        assert!(!tree.nodes.contains_key(&HostPath::of("/short")));
        assert!(tree.nodes.contains_key(&HostPath::of("/etc")));
        // A node that is broken is told.
        for place in [20, 70] {
            let mut image = image.clone();
            image[original.len() + place] ^= 1;
            assert_eq!(opened(image).unread.len(), 1, "{place}");
        }
    }

    #[test]
    fn rtime_repeats_what_followed() {
        let packed = [b'a', 0, b'b', 0, b'a', 5, b'c', 0];
        assert_eq!(rtime(&packed, 9), Ok(b"ababababc".to_vec()));
        assert!(rtime(b"a", 1).is_err());
        assert!(rtime(&packed, 10).is_err());
    }
}
