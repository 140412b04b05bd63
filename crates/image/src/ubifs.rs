//! UBIFS (the kernel's `fs/ubifs/ubifs-media.h`): the index says where the newest node of each key is, and the journal what came
//! after it. Nodes are taken with right checksums only.

mod log;
mod media;

use std::collections::BTreeMap;
use std::sync::Arc;

use stockade_controls::engine::{Kind, Name, Unseen};

use crate::compress::{Method, expand};
use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::inodes::{self, Inodes, Names, damaged};
use crate::tree::Contents;
use crate::{Bytes, Content, Meter, Node};

use media::{Flash, Inode, Place, Super};

/// The root's number.
const ROOT: u64 = 1;
/// Content is cut into blocks of this size.
const BLOCK: usize = 4096;

pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let head = Super::read(bytes)?;
    let flash = Flash::new(bytes, &head)?;
    let mut missed = Vec::new();
    let keys = log::keys(&flash, &head, meter, &mut missed)?;
    let length = flash.length();
    let files = Arc::new(Ubifs {
        flash,
        keys,
        meter: meter.clone(),
    });
    let mut tree = inodes::tree(&*files, ROOT, meter)?;
    for (place, why) in missed {
        tree.miss(place.as_bytes(), why);
    }
    tree.contents = Some(files);
    let mut notes = Vec::new();
    if head.authenticated {
        notes.push((
            "authenticated".to_owned(),
            "yes, not checked here".to_owned(),
        ));
    }
    Ok(Opened {
        content: Inside::Tree(tree),
        length: Some(length),
        notes,
    })
}

/// Where everything is.
#[derive(Default)]
struct Keys {
    inodes: BTreeMap<u64, Place>,
    /// By directory: names and inodes.
    names: BTreeMap<u64, BTreeMap<Vec<u8>, u64>>,
    /// By inode: names of extended attributes and the inodes with their values.
    attributes: BTreeMap<u64, BTreeMap<Vec<u8>, u64>>,
    /// By inode and block.
    data: BTreeMap<(u64, u32), Place>,
}

struct Ubifs {
    flash: Flash,
    keys: Keys,
    meter: Meter,
}

impl Ubifs {
    fn inode(&self, number: u64) -> Result<Inode, Unseen> {
        let place = self.keys.inodes.get(&number);
        let place = place.ok_or_else(|| damaged("a file of no inode"))?;
        Inode::new(&self.flash.node(*place, media::INODE)?)
    }

    /// The size; what the journal wrote behind it counts (the kernel's `recover_size`).
    fn size(&self, number: u64, inode: &Inode) -> Result<u64, Unseen> {
        let mut blocks = self.keys.data.range((number, 0)..=(number, u32::MAX));
        let Some(((_, block), place)) = blocks.next_back() else {
            return Ok(inode.size);
        };
        let start = u64::from(*block).saturating_mul(4096);
        if start.saturating_add(4096) <= inode.size {
            return Ok(inode.size);
        }
        let (length, _, _) = self.block(*place)?;
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        Ok(inode.size.max(start.saturating_add(length)))
    }

    /// A block's length, method and bytes.
    fn block(&self, place: Place) -> Result<(usize, u16, Vec<u8>), Unseen> {
        let node = self.flash.node(place, media::DATA)?;
        let mut fields = Fields::little(&node);
        fields.take(40)?;
        let length = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
        let method = fields.u16()?;
        fields.take(2)?;
        if length > BLOCK {
            return Err(damaged("a block that is too long"));
        }
        Ok((length, method, fields.rest().to_vec()))
    }

    fn content(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        let inode = self.inode(number)?;
        let size = usize::try_from(self.size(number, &inode)?).unwrap_or(usize::MAX);
        if size > most {
            return Err(Unseen::TooMuch(most));
        }
        self.meter.expand(u64::try_from(size).unwrap_or(u64::MAX))?;
        let mut content = vec![0; size];
        for ((_, block), place) in self.keys.data.range((number, 0)..=(number, u32::MAX)) {
            let (length, method, packed) = self.block(*place)?;
            let data = match method {
                0 => packed,
                1 => expand(Method::Lzo1x, &packed, length, &self.meter)?,
                2 => expand(Method::RawDeflate, &packed, length, &self.meter)?,
                3 => expand(Method::Zstd, &packed, length, &self.meter)?,
                other => {
                    let why = format!("content compressed by method {other} of UBIFS is not read");
                    return Err(Unseen::Failed(why));
                }
            };
            if data.len() != length {
                return Err(damaged("a block that is too short"));
            }
            let from = usize::try_from(*block)
                .unwrap_or(usize::MAX)
                .saturating_mul(BLOCK);
            for (to, byte) in content.iter_mut().skip(from).zip(&data) {
                *to = *byte;
            }
        }
        Ok(content)
    }

    fn attributes(&self, number: u64) -> Result<BTreeMap<Name, Vec<u8>>, Unseen> {
        let names = self.keys.attributes.get(&number);
        let values = names.into_iter().flatten().map(|(name, value)| {
            let value = self.inode(*value)?.data;
            Ok((name.clone().into_boxed_slice(), value))
        });
        values.collect()
    }
}

impl Inodes for Ubifs {
    fn node(&self, number: u64) -> Result<Node, Unseen> {
        let inode = self.inode(number)?;
        if inode.encrypted {
            return Err(Unseen::Failed("it is encrypted".to_owned()));
        }
        let mut node = inodes::node(inode.mode, inode.owner, inode.group, 0, inode.modified)?;
        match node.entry.kind {
            Kind::File => {
                node.entry.size = self.size(number, &inode)?;
                node.content = Content::Number(number);
            }
            Kind::Link => {
                node.entry.size = inode.size;
                node.link = Some(inodes::link(inode.data)?);
            }
            Kind::Device => {
                // Eight bytes have the same in their lower half.
                let packed = Fields::little(&inode.data).u32()?;
                node.device = Some(inodes::device(packed));
            }
            Kind::Directory | Kind::Other => (),
        }
        node.attributes = self.attributes(number)?;
        Ok(node)
    }

    fn names(&self, number: u64, to: &mut Names) -> Result<(), Unseen> {
        for (name, inode) in self.keys.names.get(&number).into_iter().flatten() {
            to.add(name, *inode)?;
        }
        Ok(())
    }
}

impl Contents for Ubifs {
    fn read(&self, number: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        self.content(number, most)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use stockade_controls::engine::HostPath;

    use super::*;
    use crate::inodes::crc;
    use crate::{Limits, Tree};

    fn node(kind: u8, sequence: u64, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let length = u32::try_from(body.len().saturating_add(media::HEADER)).expect("short");
        let mut node = 0x0610_1831_u32.to_le_bytes().to_vec();
        node.extend([0; 4]);
        node.extend(sequence.to_le_bytes());
        node.extend(length.to_le_bytes());
        node.extend([kind, 0, 0, 0]);
        node.extend(body);
        let sum = crc(&node[8..]).to_le_bytes();
        node[4..8].copy_from_slice(&sum);
        node.resize(node.len().next_multiple_of(8), 0xce);
        node
    }

    fn key(inode: u64, kind: u8, rest: u32) -> Vec<u8> {
        let second = u32::from(kind) << 29 | rest;
        let inode = u32::try_from(inode).expect("small").to_le_bytes();
        [&inode[..], &second.to_le_bytes(), &[0; 8]].concat()
    }

    fn name(sequence: u64, parent: u64, inode: u64, name: &[u8]) -> Vec<u8> {
        let length = u16::try_from(name.len()).expect("short").to_le_bytes();
        let key = key(parent, media::NAME, 7);
        let body = [
            &key,
            &inode.to_le_bytes()[..],
            &[0, 0],
            &length,
            &[0; 4],
            name,
            b"\0",
        ];
        node(media::NAME, sequence, &body)
    }

    fn inode(sequence: u64, number: u64, (mode, links): (u32, u32), size: u64) -> Vec<u8> {
        let mut body = [0; 136];
        body[..16].copy_from_slice(&key(number, media::INODE, 0));
        body[24..32].copy_from_slice(&size.to_le_bytes());
        body[68..72].copy_from_slice(&links.to_le_bytes());
        body[80..84].copy_from_slice(&mode.to_le_bytes());
        node(media::INODE, sequence, &[&body])
    }

    /// What the kernel writes before the next commit: nodes in a block, and the log says which.
    #[test]
    fn the_journal_is_replayed_over_the_index() {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image_flash/ubifs");
        let mut image = fs_err::read(file).expect("the corpus");
        let meter = Meter::new(Limits::default());
        let bytes = Bytes::memory(image.clone());
        let head = Super::read(&bytes).expect("a superblock");
        let flash = Flash::new(&bytes, &head).expect("blocks");
        let keys = log::keys(&flash, &head, &meter, &mut Vec::new()).expect("keys");
        let below = |parent: u64, name: &str| keys.names[&parent][name.as_bytes()];
        let (etc, bin) = (below(1, "etc"), below(1, "bin"));
        let (text, zeros) = (below(etc, "text"), below(bin, "zeros"));
        let data = |sequence, block: u32, content: &[u8]| {
            let length = u32::try_from(content.len()).expect("short").to_le_bytes();
            let key = key(5000, media::DATA, block);
            node(media::DATA, sequence, &[&key, &length, &[0; 4], content])
        };
        let cut_to: u64 = 4096;
        let cut = [
            &u32::try_from(zeros).expect("small").to_le_bytes()[..],
            &[0; 12],
            &9000_u64.to_le_bytes(),
            &cut_to.to_le_bytes(),
        ];
        // Not in the order of their numbers.
        let nodes = [
            name(9004, etc, 5000, b"new"),
            name(9001, etc, 5000, b"gone again"),
            name(9002, etc, 0, b"gone again"),
            inode(9003, 5000, (0o104_755, 1), 4100),
            data(9005, 0, &[b'a'; 4096]),
            data(9006, 1, b"tail"),
            name(9007, etc, 0, b"text"),
            inode(9008, text, (0o100_644, 0), 0),
            node(media::CUT, 9009, &cut),
            inode(9010, zeros, (0o100_600, 1), 4096),
        ];
        let block = usize::try_from(head.block).expect("small");
        let blocks = image.chunks_exact(block);
        let empty = blocks
            .skip(8)
            .position(|it| it.iter().all(|byte| *byte == 0xff));
        let empty = empty.expect("an empty block") + 8;
        let nodes = nodes.concat();
        image[empty * block..][..nodes.len()].copy_from_slice(&nodes);
        let lead = [
            u32::try_from(empty).expect("small").to_le_bytes(),
            [0; 4],
            [0; 4],
        ]
        .concat();
        let lead = node(media::REFERENCE, 9000, &[&lead, &[0; 28]]);
        let log = &image[3 * block..4 * block];
        let used = log.iter().rposition(|byte| *byte != 0xff).expect("a log") + 1;
        let used = used.next_multiple_of(8);
        image[3 * block + used..][..lead.len()].copy_from_slice(&lead);

        let opened = |image: &[u8]| -> Tree {
            let opened = open(&Bytes::memory(image.to_vec()), &meter).expect("an image");
            match opened.content {
                Inside::Tree(tree) => tree,
                other => panic!("{other:?}"),
            }
        };
        let tree = opened(&image);
        assert_eq!(tree.unread, []);
        let read = |path| tree.read(&HostPath::of(path), 1 << 20);
        assert_eq!(read("/etc/new"), Ok([&[b'a'; 4096][..], b"tail"].concat()));
        assert_eq!(tree.nodes[&HostPath::of("/etc/new")].entry.mode, 0o4755);
        assert_eq!(read("/etc/text"), Err(Unseen::Absent));
        assert_eq!(read("/etc/gone again"), Err(Unseen::Absent));
        assert_eq!(read("/bin/zeros"), Ok(vec![0; 4096]));
        assert_eq!(read("/etc/passwd"), Ok(b"root:x:0:0\n".to_vec()));
        // A journal that ends in something broken is told.
        image[empty * block + nodes.len()] = 0;
        assert!(!opened(&image).unread.is_empty());
    }
}
