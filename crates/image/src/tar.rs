//! tar archives: ustar, GNU (long names and links) and pax with extended attributes (POSIX.1-2017 `pax`; GNU tar manual, "Basic
//! Tar Format"). The `tar` crate reads streams and gives up at the first entry that is wrong; here what is before and behind it
//! stays.

use std::collections::BTreeMap;

use stockade_controls::engine::{Kind, Unseen};

use crate::compress::wide;
use crate::format::{Inside, Opened};
use crate::{Bytes, Content, Meter, Node, Tree, inodes};

/// The magics: POSIX and GNU.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(257, b"ustar\0"), (257, b"ustar  \0")];

const BLOCK: u64 = 512;
/// The longest header of the pax or GNU kind.
const LONGEST: usize = 1 << 20;

/// What keys of extended attributes begin with.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// What entries before say about the next.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Reads one.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let mut tree = Tree::new();
    let mut global = BTreeMap::new();
    let mut ahead = Ahead::default();
    let (mut at, mut zeros) = (0_u64, 0_u8);
    while at < bytes.length() && zeros < 2 {
        meter.time()?;
        let header = match bytes.read(at, 512) {
            Ok(header) => header,
            Err(why) => {
                tree.miss(format!("at {at:#x}").as_bytes(), why);
                at = bytes.length();
                break;
            }
        };
        let mut body = at.saturating_add(BLOCK);
        at = body;
        if header.iter().all(|byte| *byte == 0) {
            zeros = zeros.saturating_add(1);
            continue;
        }
        zeros = 0;
        if !is_sound(&header) {
            if body == BLOCK {
                return Err(wrong("a header's checksum is wrong"));
            }
            let place = format!("at {:#x}", body.saturating_sub(BLOCK));
            tree.miss(place.as_bytes(), wrong("a header's checksum is wrong"));
            // Without it, nobody knows where the next one is.
            at = bytes.length();
            break;
        }
        let kind = field(&header, 156, 1).first().copied().unwrap_or_default();
        // GNU's sparse files have their map in blocks between header and content.
        let mut more = kind == b'S' && field(&header, 482, 1) != [0];
        while more {
            meter.time()?;
            more = bytes.read(body, 512)?.get(504) != Some(&0);
            body = body.saturating_add(BLOCK);
        }
        let said = ahead.pax.get(b"size".as_slice()).and_then(|it| decimal(it));
        let size = match said {
            Some(size) if !matches!(kind, b'x' | b'g' | b'L' | b'K') => size,
            _ => number(field(&header, 124, 12)).unwrap_or(u64::MAX),
        };
        // Links and directories have no content, whatever they say.
        let size = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        let content = match bytes.part(body, size) {
            Ok(content) => content,
            Err(why) => {
                tree.miss(&path_of(&header, &ahead), why);
                at = bytes.length();
                break;
            }
        };
        let padded = size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        at = body.saturating_add(padded).min(bytes.length());
        match kind {
            b'x' => records(&content.all(LONGEST)?, &mut ahead.pax)?,
            b'g' => {
                records(&content.all(LONGEST)?, &mut global)?;
                // Of all files at once, nothing is said that takes room in each.
                global.retain(|key, value| value.len() < 256 && !key.starts_with(ATTRIBUTE));
            }
            b'L' => ahead.name = Some(text(&content.all(LONGEST)?)),
            b'K' => ahead.link = Some(text(&content.all(LONGEST)?)),
            _ => {
                let mut with = std::mem::take(&mut ahead);
                for (key, value) in &global {
                    let value = || value.clone();
                    with.pax.entry(key.clone()).or_insert_with(value);
                }
                one(&header, kind, content, &with, (&mut tree, meter))?;
            }
        }
    }
    if zeros == 0 {
        tree.miss(b"its end", wrong("it ends without its end mark"));
    }
    Ok(Opened {
        content: Inside::Tree(tree),
        length: Some(filled_up(bytes, at, meter)?),
        notes: Vec::new(),
    })
}

/// The last record is filled up with zeros.
fn filled_up(bytes: &Bytes, mut at: u64, meter: &Meter) -> Result<u64, Unseen> {
    loop {
        meter.time()?;
        let rest = bytes.some(at, 512)?;
        if rest.is_empty() || rest.iter().any(|byte| *byte != 0) {
            return Ok(at);
        }
        at = at.saturating_add(wide(rest.len()));
    }
}

/// One file.
fn one(
    header: &[u8],
    kind: u8,
    content: Bytes,
    ahead: &Ahead,
    (tree, meter): (&mut Tree, &Meter),
) -> Result<(), Unseen> {
    let path = path_of(header, ahead);
    let pax = |key: &str| ahead.pax.get(key.as_bytes());
    let link = pax("linkpath").cloned().or_else(|| ahead.link.clone());
    let link = link.unwrap_or_else(|| text(field(header, 157, 100)));
    if kind == b'1' {
        return tree.also(&path, &link, meter);
    }
    let bits = match kind {
        // The oldest archives write a directory as a file with a slash behind its name.
        0 | b'0' | b'7' if path.ends_with(b"/") => 0o040_000,
        0 | b'0' | b'7' => 0o100_000,
        b'2' => 0o120_000,
        b'3' => 0o020_000,
        b'4' => 0o060_000,
        b'5' => 0o040_000,
        b'6' => 0o010_000,
        b'V' => return Ok(()),
        b'S' => {
            tree.miss(&path, wrong("a sparse file, which is not read"));
            return Ok(());
        }
        other => {
            let kind = char::from(other).escape_default();
            tree.miss(&path, wrong(&format!("an entry of the kind {kind}")));
            return Ok(());
        }
    };
    if ahead.pax.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
        tree.miss(&path, wrong("a sparse file, which is not read"));
        return Ok(());
    }
    let of = |key: &str, at: usize, length: usize| {
        let said = pax(key).and_then(|it| decimal(it));
        said.or_else(|| number(field(header, at, length)))
    };
    let numbers = [of("uid", 108, 8), of("gid", 116, 8), of("mtime", 136, 12)];
    let mode = number(field(header, 100, 8));
    let ([Some(owner), Some(group), modified], Some(mode)) = (numbers, mode) else {
        tree.miss(&path, wrong("a number that is none"));
        return Ok(());
    };
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let mode = small(mode & 0o7777) | bits;
    let size = if bits == 0o100_000 {
        content.length()
    } else {
        0
    };
    let modified = modified.unwrap_or_default();
    let mut node: Node = inodes::node(mode, small(owner), small(group), size, modified)?;
    match node.entry.kind {
        Kind::File => node.content = Content::Bytes(content),
        Kind::Link => node.link = Some(link),
        Kind::Device => {
            let part = |at| small(number(field(header, at, 8)).unwrap_or_default());
            node.device = Some((part(329), part(337)));
        }
        Kind::Directory | Kind::Other => (),
    }
    for (key, value) in &ahead.pax {
        if let Some(name) = key.strip_prefix(ATTRIBUTE) {
            node.attributes.insert(name.into(), value.clone());
        }
    }
    tree.add(&path, node, meter)
}

fn path_of(header: &[u8], ahead: &Ahead) -> Vec<u8> {
    let said = ahead.pax.get(b"path".as_slice()).or(ahead.name.as_ref());
    if let Some(path) = said {
        return path.clone();
    }
    let name = text(field(header, 0, 100));
    // GNU's header has other things there.
    let prefix = text(field(header, 345, 155));
    if field(header, 257, 6) != b"ustar\0" || prefix.is_empty() {
        return name;
    }
    [prefix, name].join(&b'/')
}

/// The sum of all bytes of the header, its own place taken as spaces.
fn is_sound(header: &[u8]) -> bool {
    let sums = header.iter().enumerate().map(|(at, byte)| match at {
        148..156 => 32,
        _ => u64::from(*byte),
    });
    number(field(header, 148, 8)) == Some(sums.sum())
}

/// Records of the pax kind: length, key, value.
fn records(mut rest: &[u8], to: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), Unseen> {
    while !rest.is_empty() {
        let broken = || wrong("a record of an extended header");
        let space = rest.iter().position(|byte| *byte == b' ');
        let space = space.ok_or_else(broken)?;
        let length = decimal(rest.get(..space).unwrap_or_default());
        let length = usize::try_from(length.ok_or_else(broken)?).unwrap_or(usize::MAX);
        let (record, after) = rest.split_at_checked(length).ok_or_else(broken)?;
        let record = record.get(space.saturating_add(1)..).ok_or_else(broken)?;
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=');
        let (key, value) = record.split_at(equals.ok_or_else(broken)?);
        to.insert(key.to_vec(), value.get(1..).unwrap_or_default().to_vec());
        rest = after;
    }
    Ok(())
}

fn field(header: &[u8], at: usize, length: usize) -> &[u8] {
    let end = at.saturating_add(length);
    header.get(at..end).unwrap_or_default()
}

fn text(field: &[u8]) -> Vec<u8> {
    field
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// The whole seconds of a decimal number.
fn decimal(text: &[u8]) -> Option<u64> {
    let whole = text.split(|byte| *byte == b'.').next()?;
    std::str::from_utf8(whole).ok()?.parse().ok()
}

/// An octal number with spaces or zeros around it, or the binary ones of GNU tar.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((first @ 0x80.., rest)) = field.split_first() {
        let first = u64::from(*first & 0x7f);
        return rest.iter().try_fold(first, |sum, byte| {
            sum.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let digits = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let digits = std::str::from_utf8(digits).ok()?.trim();
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("tar: {why}"))
}
