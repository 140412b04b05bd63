//! The scan over all nodes.

use stockade_controls::engine::Unseen;

use super::{INODE, INODE_CHECKED, Inode, Log};
use crate::fields::Fields;
use crate::inodes::{crc_from_zero as crc, damaged, read, up};
use crate::{Bytes, Meter};

/// The most nodes.
const MOST_NODES: usize = 4_000_000;
/// After so many bytes that are neither a node nor erased it is over.
const MOST_BETWEEN: u64 = 64 << 10;
/// How much is looked at at a time.
const WINDOW: usize = 1 << 20;
const HEADER: usize = 12;

/// The kinds of nodes. Those of the highest two bits must be understood; the next bit is taken off what is obsolete.
const NAME: u16 = 0xe001;
const INODE_NODE: u16 = 0xe002;
const ATTRIBUTE: u16 = 0xe008;
const REFERENCE: u16 = 0xe009;
const MUST: u16 = 0xc000;
const ACCURATE: u16 = 0x2000;

/// What was missed, each kind of damage once.
#[derive(Default)]
struct Missed {
    nodes: (u64, u64),
    between: (u64, u64),
    unknown: (u64, u64),
}

fn count(what: &mut (u64, u64), at: u64, more: u64) {
    if what.0 == 0 {
        what.1 = at;
    }
    what.0 = what.0.saturating_add(more);
}

/// All nodes; where the last one ends; what was missed on the way.
pub(super) fn scan(
    bytes: &Bytes,
    big: bool,
    meter: &Meter,
) -> Result<(Log, u64, Vec<String>), Unseen> {
    let mut log = Log::default();
    let mut missed = Missed::default();
    let (mut at, mut end, mut nodes) = (0_u64, 0_u64, 0_usize);
    // What lies since the last node, if it is not erased.
    let mut between = 0_u64;
    let (mut window, mut start) = (Vec::new(), 0_u64);
    while at < bytes.length() && between <= MOST_BETWEEN {
        let mut from = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        if window.len() < from.saturating_add(HEADER) {
            meter.time()?;
            (window, start, from) = (bytes.some(at, WINDOW)?, at, 0);
        }
        let rest = window.get(from..).unwrap_or_default();
        let erased = rest.iter().take_while(|byte| **byte == 0xff).count() & !3;
        if erased != 0 {
            at = at.saturating_add(u64::try_from(erased).unwrap_or(u64::MAX));
            continue;
        }
        let Some((kind, length)) = header(rest, big).filter(|(_, length)| {
            let end = at.checked_add(*length);
            end.is_some_and(|end| end <= bytes.length())
        }) else {
            (at, between) = (at.saturating_add(4), between.saturating_add(4));
            continue;
        };
        count(&mut missed.between, end, between);
        between = 0;
        nodes = nodes.saturating_add(1);
        if nodes > MOST_NODES {
            return Err(Unseen::TooMuch(MOST_NODES));
        }
        // The bit is off: it was written again elsewhere.
        if kind & ACCURATE != 0 {
            let node = Place {
                bytes,
                at,
                length,
                big,
            };
            let read = match kind {
                NAME => node.name(&mut log),
                INODE_NODE => node.inode(&mut log),
                ATTRIBUTE => node.attribute(&mut log),
                REFERENCE => node.reference(&mut log),
                other if other & MUST == MUST => {
                    count(&mut missed.unknown, at, 1);
                    Ok(())
                }
                _ => Ok(()),
            };
            if read.is_err() {
                count(&mut missed.nodes, at, 1);
            }
        }
        at = up(at.saturating_add(length), 4)?;
        end = at;
    }
    for versions in log.inodes.values_mut() {
        versions.sort_unstable();
    }
    Ok((log, end.min(bytes.length()), missed.told()))
}

impl Missed {
    fn told(&self) -> Vec<String> {
        let all = [
            (self.nodes, "nodes with wrong checksums"),
            (self.between, "bytes that are neither a node nor erased"),
            (self.unknown, "nodes of a kind that is not known"),
        ];
        let some = all.iter().filter(|((count, _), _)| *count != 0);
        some.map(|((count, first), what)| format!("{count} {what}, the first at {first:#x}"))
            .collect()
    }
}

/// The kind and the length of the node that starts here, if one does.
fn header(bytes: &[u8], big: bool) -> Option<(u16, u64)> {
    let bytes = bytes.get(..HEADER)?;
    let mut fields = if big {
        Fields::big(bytes)
    } else {
        Fields::little(bytes)
    };
    let (magic, kind) = (fields.u16().ok()?, fields.u16().ok()?);
    let (length, sum) = (fields.u32().ok()?, fields.u32().ok()?);
    if magic != 0x1985 || length < 12 {
        return None;
    }
    // The sum is that of the node while it was in force.
    let mut summed = [0; 8];
    summed.copy_from_slice(bytes.get(..8)?);
    let in_force = kind | ACCURATE;
    let in_force = if big {
        in_force.to_be_bytes()
    } else {
        in_force.to_le_bytes()
    };
    summed.get_mut(2..4)?.copy_from_slice(&in_force);
    (crc(&summed) == sum).then(|| (kind, u64::from(length)))
}

/// A node in the image.
struct Place<'a> {
    bytes: &'a Bytes,
    at: u64,
    length: u64,
    big: bool,
}

fn checked(bytes: &[u8], sum: u32) -> Result<(), Unseen> {
    if crc(bytes) == sum {
        Ok(())
    } else {
        Err(damaged("a wrong checksum"))
    }
}

impl Place<'_> {
    fn all(&self) -> Result<Vec<u8>, Unseen> {
        read(self.bytes, self.at, self.length)
    }

    fn fields<'a>(&self, bytes: &'a [u8]) -> Fields<'a> {
        if self.big {
            Fields::big(bytes)
        } else {
            Fields::little(bytes)
        }
    }

    fn name(&self, log: &mut Log) -> Result<(), Unseen> {
        let bytes = self.all()?;
        let mut fields = self.fields(&bytes);
        fields.take(12)?;
        let (parent, version, inode) = (fields.u32()?, fields.u32()?, fields.u32()?);
        fields.take(4)?;
        let length = usize::from(fields.u8()?);
        fields.take(3)?;
        let (node_crc, name_crc) = (fields.u32()?, fields.u32()?);
        checked(bytes.get(..32).unwrap_or_default(), node_crc)?;
        let name = fields.take(length)?;
        checked(name, name_crc)?;
        let found = log.names.entry((parent, name.to_vec())).or_default();
        *found = (*found).max((version, inode));
        Ok(())
    }

    fn inode(&self, log: &mut Log) -> Result<(), Unseen> {
        let bytes = self.all()?;
        let inode = Inode::new(&bytes, self.big)?;
        checked(
            bytes.get(..INODE_CHECKED).unwrap_or_default(),
            inode.node_crc,
        )?;
        let from = usize::try_from(INODE).unwrap_or(usize::MAX);
        let mut data = Fields::little(bytes.get(from..).unwrap_or_default());
        let packed = usize::try_from(inode.packed).unwrap_or(usize::MAX);
        checked(data.take(packed)?, inode.data_crc)?;
        let mut fields = self.fields(&bytes);
        fields.take(12)?;
        let (number, version) = (fields.u32()?, fields.u32()?);
        log.inodes
            .entry(number)
            .or_default()
            .push((version, self.at));
        Ok(())
    }

    fn attribute(&self, log: &mut Log) -> Result<(), Unseen> {
        let bytes = self.all()?;
        let mut fields = self.fields(&bytes);
        fields.take(12)?;
        let (number, version) = (fields.u32()?, fields.u32()?);
        let (prefix, name) = (fields.u8()?, usize::from(fields.u8()?));
        let value = usize::from(fields.u16()?);
        let (data_crc, node_crc) = (fields.u32()?, fields.u32()?);
        checked(bytes.get(..28).unwrap_or_default(), node_crc)?;
        // The name, a NUL, the value.
        let both = name.saturating_add(1).saturating_add(value);
        checked(fields.clone().take(both)?, data_crc)?;
        let prefix: &[u8] = match prefix {
            1 => b"user.",
            2 => b"security.",
            3 => b"system.posix_acl_access",
            4 => b"system.posix_acl_default",
            5 => b"trusted.",
            _ => return Err(damaged("an attribute of no kind")),
        };
        let name = [prefix, fields.take(name)?].concat().into_boxed_slice();
        fields.take(1)?;
        let value = fields.take(value)?.to_vec();
        let newer = log.attributes.get(&number);
        if newer.is_none_or(|(other, _, _)| *other <= version) {
            log.attributes.insert(number, (version, name, value));
        }
        Ok(())
    }

    fn reference(&self, log: &mut Log) -> Result<(), Unseen> {
        let bytes = self.all()?;
        let mut fields = self.fields(&bytes);
        fields.take(12)?;
        let (inode, attribute) = (fields.u32()?, fields.u32()?);
        let (sequence, node_crc) = (fields.u32()?, fields.u32()?);
        checked(bytes.get(..24).unwrap_or_default(), node_crc)?;
        let found = log.references.entry((inode, attribute)).or_default();
        *found = (*found).max(sequence);
        Ok(())
    }
}
