//! File systems whose files go by numbers: inodes, or places of records.

use std::collections::{BTreeMap, BTreeSet};

use stockade_controls::engine::{Entry, HostPath, Kind, Unseen};

use crate::{Bytes, Content, Meter, Node, Tree};

/// The most names of one directory.
const MOST_NAMES: usize = 1_000_000;

/// Reads one file by its number.
pub(crate) trait Inodes {
    /// What is there.
    fn node(&self, number: u64) -> Result<Node, Unseen>;

    /// The names in a directory, with their numbers; those before a place that can not be read, too.
    fn names(&self, number: u64, to: &mut Names) -> Result<(), Unseen>;
}

/// Names in a directory.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<(Vec<u8>, u64)>);

impl Names {
    /// One more.
    pub(crate) fn add(&mut self, name: &[u8], number: u64) -> Result<(), Unseen> {
        if self.0.len() >= MOST_NAMES {
            return Err(Unseen::TooMuch(MOST_NAMES));
        }
        if name != b"." && name != b".." {
            self.0.push((name.to_vec(), number));
        }
        Ok(())
    }
}

/// All files below a root directory; each directory once, so that no loop is followed.
pub(crate) fn tree(files: &dyn Inodes, root: u64, meter: &Meter) -> Result<Tree, Unseen> {
    let mut tree = Tree::new();
    let node = files.node(root)?;
    if node.entry.kind != Kind::Directory {
        return Err(damaged("its root is not a directory"));
    }
    tree.add(b"/", node, meter)?;
    let mut seen = BTreeSet::from([root]);
    let mut open = vec![(HostPath::root(), root)];
    while let Some((path, number)) = open.pop() {
        let mut names = Names::default();
        if let Err(why) = files.names(number, &mut names) {
            tree.miss(path.as_bytes(), why);
        }
        let mut there = BTreeSet::new();
        for (name, number) in names.0 {
            meter.time()?;
            let one = !name.contains(&b'/') && there.insert(name.clone());
            let Some(at) = path.join(&name).ok().filter(|_| one) else {
                let shown = [path.as_bytes(), b"/", &name].concat();
                tree.miss(&shown, damaged("no name for a file, or there twice"));
                continue;
            };
            match files.node(number) {
                Ok(node) if node.entry.kind != Kind::Directory => {
                    tree.add(at.as_bytes(), node, meter)?;
                }
                Ok(node) if seen.insert(number) => {
                    tree.add(at.as_bytes(), node, meter)?;
                    open.push((at, number));
                }
                Ok(_) => tree.miss(at.as_bytes(), damaged("a directory in two places")),
                Err(why) => tree.miss(at.as_bytes(), why),
            }
        }
    }
    Ok(tree)
}

/// A file as `st_mode` has it, without content.
pub(crate) fn node(
    mode: u32,
    owner: u32,
    group: u32,
    size: u64,
    modified: u64,
) -> Result<Node, Unseen> {
    let kind = match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Link,
        0o060_000 | 0o020_000 => Kind::Device,
        0o010_000 | 0o140_000 => Kind::Other,
        _ => return Err(damaged("a file of no kind")),
    };
    Ok(Node {
        entry: Entry {
            kind,
            mode: mode & 0o7777,
            owner,
            group,
            size,
            modified,
        },
        device: None,
        link: None,
        attributes: BTreeMap::new(),
        content: Content::Nothing,
    })
}

/// A device's numbers as Linux packs them into 32 bits; the older 16 bits are the same.
pub(crate) fn device(packed: u32) -> (u32, u32) {
    let minor = (packed & 0xff) | (packed.wrapping_shr(12) & 0xf_ff00);
    (packed.wrapping_shr(8) & 0xfff, minor)
}

/// Seconds since 1970 of a date of the calendar; 0 if it is none. The time of day is taken as UTC.
pub(crate) fn date(year: u32, month: u8, day: u8, seconds: u64) -> u64 {
    let valid = (1970..10_000).contains(&year) && (1..=12).contains(&month);
    if !valid || !(1..=31).contains(&day) {
        return 0;
    }
    // Days of the years from March on, so that the leap day is the last.
    let (year, month) = match month {
        1 | 2 => (
            u64::from(year).saturating_sub(1),
            u64::from(month).saturating_add(9),
        ),
        _ => (u64::from(year), u64::from(month).saturating_sub(3)),
    };
    let leap = (year / 4)
        .saturating_sub(year / 100)
        .saturating_add(year / 400);
    let months = month.saturating_mul(153).saturating_add(2) / 5;
    let days = [year.saturating_mul(365), leap, months, u64::from(day)];
    let days = days.iter().fold(0_u64, |sum, it| sum.saturating_add(*it));
    // Day 719469 of this count is 1970-01-01.
    days.saturating_sub(719_469)
        .saturating_mul(86_400)
        .saturating_add(seconds)
}

/// What is wrong with it.
pub(crate) fn damaged(why: &str) -> Unseen {
    Unseen::Damaged(why.to_owned())
}

/// The next multiple.
pub(crate) fn up(value: u64, to: u64) -> Result<u64, Unseen> {
    let next = value.checked_next_multiple_of(to);
    next.ok_or_else(|| damaged("a place past all places"))
}

/// Text up to its first NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    text.escape_ascii().map(char::from).collect()
}

/// A link's content: refuses what is longer than a path may be.
pub(crate) fn link(bytes: Vec<u8>) -> Result<Vec<u8>, Unseen> {
    if bytes.len() >= 4096 || bytes.contains(&0) {
        return Err(damaged("a link that can point nowhere"));
    }
    Ok(bytes)
}

/// The checksum of one stretch without the inversion at its end (the kernel's `crc32`, begun with all ones).
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    !crc32fast::hash(bytes)
}

/// The same, begun with zero.
pub(crate) fn crc_from_zero(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(u32::MAX);
    hasher.update(bytes);
    !hasher.finalize()
}

/// As many bytes as a number of the image says.
pub(crate) fn read(bytes: &Bytes, at: u64, length: u64) -> Result<Vec<u8>, Unseen> {
    let wanted = usize::try_from(length).unwrap_or(usize::MAX);
    bytes.read(at, wanted)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::{Inside, Opened};
    use crate::fuzzing::Random;
    use crate::{Limits, cramfs, fat, iso, jffs2, romfs, ubi, ubifs};

    type Open = fn(&Bytes, &Meter) -> Result<Opened, Unseen>;

    fn corpus(name: &str) -> Bytes {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        Bytes::memory(fs_err::read(folder.join(name)).expect("the corpus"))
    }

    fn opened(open: Open, bytes: &Bytes) -> Inside {
        let opened = open(bytes, &Meter::new(Limits::default())).expect("an image");
        assert!(opened.length.expect("a length") <= bytes.length());
        opened.content
    }

    /// What every one of them keeps of the files that the corpora were made of.
    fn holds(name: &str, inside: &Inside) {
        let Inside::Tree(tree) = inside else {
            panic!("{name}: {inside:?}");
        };
        assert_eq!(tree.unread, [], "{name}");
        let read = |path| {
            let path = HostPath::of(path);
            tree.read(&path, 1 << 20)
                .unwrap_or_else(|why| panic!("{name}: {path}: {why}"))
        };
        assert_eq!(read("/etc/passwd"), b"root:x:0:0\n", "{name}");
        let text: Vec<_> = (1..=40)
            .map(|it| format!("line {it} of a text\n"))
            .collect();
        let text = text.concat();
        assert_eq!(read("/etc/text"), text.as_bytes(), "{name}");
        assert_eq!(read("/bin/zeros"), [0; 9000], "{name}");
        assert_eq!(
            read("/bin/sparse"),
            [&vec![0; 20_000][..], b"end"].concat(),
            "{name}"
        );
        if name.ends_with("fat12") {
            assert_eq!(
                read("/A long name of a file.text"),
                text.as_bytes(),
                "{name}"
            );
            return;
        }
        let node = |path| tree.nodes.get(&HostPath::of(path)).expect(path);
        assert_eq!(node("/short").link.as_deref(), Some(&b"etc/passwd"[..]));
        assert_eq!(read("/also"), b"root:x:0:0\n", "{name}");
        assert_eq!(node("/dev/console").device, Some((5, 1)), "{name}");
        assert_eq!(node("/dev/pipe").entry.kind, Kind::Other, "{name}");
        assert_eq!(tree.nodes.len(), 13, "{name}: {:?}", tree.nodes.keys());
        if !name.ends_with("romfs") {
            assert_eq!(node("/bin/su").entry.mode, 0o4755, "{name}");
        }
    }

    #[test]
    fn what_the_corpora_were_made_of_is_in_them() {
        let all: [(&str, Open); 9] = [
            ("image_flash/ubifs", ubifs::open),
            ("image_flash/jffs2-little", jffs2::open),
            ("image_flash/jffs2-big", jffs2::open),
            ("image_flash/jffs2-rtime", jffs2::open),
            ("image_disc/cramfs-little", cramfs::open),
            ("image_disc/cramfs-big", cramfs::open),
            ("image_disc/romfs", romfs::open),
            ("image_disc/fat12", fat::open),
            ("image_disc/iso", iso::open),
        ];
        for (name, open) in all {
            holds(name, &opened(open, &corpus(name)));
        }
        let Inside::Pieces(pieces) = opened(ubi::open, &corpus("image_flash/ubi")) else {
            panic!("no volumes");
        };
        let names: Vec<_> = pieces.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["volume root", "volume kernel"]);
        holds("ubi", &opened(ubifs::open, &pieces[0].bytes));
        assert_eq!(pieces[1].bytes.read(0, 6), Ok(b"line 1".to_vec()));
        // A block of the first volume whose header is broken is a piece of its own.
        let mut broken = corpus("image_flash/ubi").all(1 << 20).expect("all");
        broken[5 * 16384 + 512 + 10] ^= 1;
        let Inside::Pieces(pieces) = opened(ubi::open, &Bytes::memory(broken)) else {
            panic!("no volumes");
        };
        let last = pieces.last().expect("pieces");
        assert_eq!(last.name, "1 damaged erase blocks");
        assert_eq!(last.bytes.length(), 16384);
    }

    /// All that is told of it: how long it is, and every file.
    fn told(open: Open, data: Vec<u8>) -> Option<(Option<u64>, Vec<String>)> {
        let opened = open(&Bytes::memory(data), &Meter::new(Limits::default())).ok()?;
        let Inside::Tree(tree) = opened.content else {
            return None;
        };
        let mut files = Vec::new();
        for (path, node) in &tree.nodes {
            let content = match node.entry.kind {
                Kind::File => tree.read(path, 1 << 20).ok()?,
                _ => Vec::new(),
            };
            let (entry, link, device) = (node.entry, &node.link, node.device);
            let attributes = &node.attributes;
            files.push(format!(
                "{path} {entry:?} {link:?} {device:?} {attributes:?} {content:?}"
            ));
        }
        tree.unread.is_empty().then_some((opened.length, files))
    }

    #[test]
    fn damage_under_a_checksum_is_never_silent() {
        let all: [(&str, Open); 5] = [
            ("image_flash/ubifs", ubifs::open),
            ("image_flash/jffs2-little", jffs2::open),
            ("image_flash/jffs2-big", jffs2::open),
            ("image_disc/cramfs-little", cramfs::open),
            ("image_disc/cramfs-big", cramfs::open),
        ];
        let mut random = Random(3);
        for (name, open) in all {
            let original = corpus(name).all(1 << 20).expect("the corpus");
            let whole = told(open, original.clone()).expect("an image");
            let mut noticed = 0;
            for _ in 0..300 {
                match told(open, random.mutated(&original)) {
                    None => noticed += 1,
                    Some(other) if other.0 != whole.0 => noticed += 1,
                    Some(other) => assert_eq!(other, whole, "{name}"),
                }
            }
            assert!(noticed > 30, "{name}: {noticed}");
        }
    }

    #[test]
    fn dates_and_devices_are_as_linux_has_them() {
        assert_eq!(date(1970, 1, 1, 5), 5);
        assert_eq!(date(2000, 2, 29, 0), 951_782_400);
        assert_eq!(date(2026, 11, 23, 3600), 1_795_392_000 + 3600);
        assert_eq!(date(1969, 12, 31, 0), 0);
        assert_eq!(device(0x0501), (5, 1));
        assert_eq!(device(0x1234_56ff), (0x456, 0x1_23ff));
    }
}
