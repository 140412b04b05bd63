//! The index, and the journal that came after it.

use std::collections::BTreeSet;

use stockade_controls::engine::Unseen;

use super::Keys;
use super::media::{
    ATTRIBUTE, COMMIT, CUT, DATA, Flash, HEADER, Header, INDEX, INODE, Inode, MASTER, NAME,
    PADDING, Place, REFERENCE, Super, key, name,
};
use crate::Meter;
use crate::fields::Fields;
use crate::inodes::damaged;

/// The most blocks of content, and the most nodes of the journal.
const MOST_DATA: usize = 4_000_000;
const MOST_JOURNAL: usize = 1_000_000;
/// After as many damaged places it is over.
const MOST_MISSED: usize = 1000;
/// Where the log begins, behind the superblock and two masters.
const LOG: u32 = 3;

/// What could not be read.
type Missed = Vec<(String, Unseen)>;

pub(super) fn keys(
    flash: &Flash,
    head: &Super,
    meter: &Meter,
    missed: &mut Missed,
) -> Result<Keys, Unseen> {
    let (commit, log, root) = master(flash)?;
    let mut keys = Keys::default();
    keys.index(flash, root, meter, missed)?;
    let mut journal = journal(flash, head, commit, log, missed)?;
    journal.sort_unstable_by_key(|(sequence, ..)| *sequence);
    for (_, kind, place) in journal {
        meter.time()?;
        keys.replay(flash, kind, place)?;
    }
    Ok(keys)
}

/// The last master: the number of its commit, where the log starts, where the index's root is.
fn master(flash: &Flash) -> Result<(u64, u32, Place), Unseen> {
    for block in [1, 2] {
        let (nodes, _) = nodes(flash, block, 0)?;
        let Some(node) = nodes.iter().rev().find(|node| node.kind == MASTER) else {
            continue;
        };
        let bytes = flash.node(node.place, MASTER)?;
        let mut fields = Fields::little(&bytes);
        fields.take(32)?;
        let commit = fields.u64()?;
        fields.take(4)?;
        let log = fields.u32()?;
        let (block, at, length) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let root = Place { block, at, length };
        return Ok((commit, log, root));
    }
    Err(damaged("it has no master"))
}

struct Found {
    sequence: u64,
    kind: u8,
    place: Place,
}

/// The nodes of a block from a place on, and whether nothing but erased flash follows the last one.
fn nodes(flash: &Flash, block: u32, from: u32) -> Result<(Vec<Found>, bool), Unseen> {
    let bytes = flash.block(block)?;
    let mut found = Vec::new();
    let mut at = usize::try_from(from).unwrap_or(usize::MAX);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        // Room that is too small for a node is filled with this byte.
        let filler = rest.iter().take_while(|byte| **byte == 0xce).count();
        if filler != 0 {
            at = at.saturating_add(filler);
            continue;
        }
        let Ok(header) = Header::read(rest) else {
            return Ok((found, rest.iter().all(|byte| *byte == 0xff)));
        };
        let mut length = usize::try_from(header.length).unwrap_or(usize::MAX);
        if header.kind == PADDING {
            let mut fields = Fields::little(rest.get(HEADER..).unwrap_or_default());
            let padding = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
            length = length.saturating_add(padding);
        } else {
            found.push(Found {
                sequence: header.sequence,
                kind: header.kind,
                place: Place {
                    block,
                    at: u32::try_from(at).unwrap_or(u32::MAX),
                    length: header.length,
                },
            });
        }
        let next = at.saturating_add(length).checked_next_multiple_of(8);
        at = next.unwrap_or(usize::MAX);
    }
}

/// The nodes that were written after the commit: sequence number, kind, place (the kernel's `ubifs_replay_journal`).
fn journal(
    flash: &Flash,
    head: &Super,
    commit: u64,
    start: u32,
    missed: &mut Missed,
) -> Result<Vec<(u64, u8, Place)>, Unseen> {
    let end = LOG.saturating_add(head.log_blocks);
    if !(LOG..end).contains(&start) {
        return Err(damaged("a log outside of its place"));
    }
    let mut all = Vec::new();
    let mut first = None;
    let mut buds = BTreeSet::new();
    for block in (start..end).chain(LOG..start) {
        let (log, whole) = nodes(flash, block, 0)?;
        let Some(node) = log.first() else {
            break;
        };
        let sequence = *first.get_or_insert(node.sequence);
        if node.sequence < sequence {
            break;
        }
        if node.sequence == sequence {
            let bytes = flash.node(node.place, COMMIT)?;
            let mut fields = Fields::little(bytes.get(HEADER..).unwrap_or_default());
            if fields.u64()? != commit {
                return Err(damaged("a log of another commit than the index"));
            }
        }
        if !whole {
            missed.push((
                format!("log in block {block}"),
                damaged("its end is damaged"),
            ));
        }
        for node in log.iter().filter(|node| node.kind == REFERENCE) {
            let bytes = flash.node(node.place, REFERENCE)?;
            let mut fields = Fields::little(bytes.get(HEADER..).unwrap_or_default());
            let (block, from) = (fields.u32()?, fields.u32()?);
            if !buds.insert((block, from)) {
                continue;
            }
            let (nodes, whole) = nodes(flash, block, from)?;
            if !whole {
                let place = format!("journal in block {block}");
                missed.push((place, damaged("its end is damaged")));
            }
            all.extend(nodes.iter().map(|it| (it.sequence, it.kind, it.place)));
            if all.len() > MOST_JOURNAL {
                return Err(Unseen::TooMuch(MOST_JOURNAL));
            }
        }
    }
    Ok(all)
}

impl Keys {
    /// All that the index leads to; each of its nodes once, so that no loop is followed.
    fn index(
        &mut self,
        flash: &Flash,
        root: Place,
        meter: &Meter,
        missed: &mut Missed,
    ) -> Result<(), Unseen> {
        let mut seen = BTreeSet::new();
        let mut open = vec![root];
        while let Some(place) = open.pop() {
            meter.time()?;
            if !seen.insert(place) || missed.len() > MOST_MISSED {
                return Err(damaged("an index that is a loop, or damaged all over"));
            }
            if let Err(why) = self.branches(flash, place, &mut open, missed) {
                missed.push((format!("index in block {}", place.block), why));
            }
            if open.len() > MOST_DATA {
                return Err(Unseen::TooMuch(MOST_DATA));
            }
        }
        Ok(())
    }

    /// One node of the index.
    fn branches(
        &mut self,
        flash: &Flash,
        place: Place,
        open: &mut Vec<Place>,
        missed: &mut Missed,
    ) -> Result<(), Unseen> {
        let node = flash.node(place, INDEX)?;
        let mut fields = Fields::little(node.get(HEADER..).unwrap_or_default());
        let (count, level) = (usize::from(fields.u16()?), fields.u16()?);
        // With authentication each branch has a hash, too.
        let stride = fields.rest().len().checked_div(count).unwrap_or(0);
        if stride < 20 {
            return Err(damaged("an index node without its branches"));
        }
        for branch in fields.rest().chunks_exact(stride) {
            let mut fields = Fields::little(branch);
            let (block, at, length) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let place = Place { block, at, length };
            if level != 0 {
                open.push(place);
                continue;
            }
            let (inode, kind, block) = key(fields.rest())?;
            if let Err(why) = self.leaf(flash, (inode, kind, block), place) {
                missed.push((format!("node in block {}", place.block), why));
            }
        }
        Ok(())
    }

    fn leaf(&mut self, flash: &Flash, key: (u64, u8, u32), place: Place) -> Result<(), Unseen> {
        match key {
            (inode, INODE, _) => {
                self.inodes.insert(inode, place);
            }
            (inode, DATA, block) => {
                self.data.insert((inode, block), place);
            }
            (_, kind @ (NAME | ATTRIBUTE), _) => self.name(&flash.node(place, kind)?, kind)?,
            _ => return Err(damaged("a key of no kind")),
        }
        if self.data.len().max(self.inodes.len()) > MOST_DATA {
            return Err(Unseen::TooMuch(MOST_DATA));
        }
        Ok(())
    }

    /// One name; inode 0 is for one that is gone.
    fn name(&mut self, node: &[u8], kind: u8) -> Result<(), Unseen> {
        let (parent, inode, name) = name(node)?;
        let all = if kind == NAME {
            &mut self.names
        } else {
            &mut self.attributes
        };
        let names = all.entry(parent).or_default();
        if inode == 0 {
            names.remove(&name);
        } else {
            names.insert(name, inode);
        }
        Ok(())
    }

    /// One node of the journal.
    fn replay(&mut self, flash: &Flash, kind: u8, place: Place) -> Result<(), Unseen> {
        match kind {
            INODE => {
                let node = flash.node(place, INODE)?;
                let (number, ..) = key(node.get(HEADER..).unwrap_or_default())?;
                self.inodes.insert(number, place);
                if Inode::new(&node)?.links == 0 {
                    self.inodes.remove(&number);
                    self.attributes.remove(&number);
                    self.cut(number, 0);
                }
            }
            DATA => {
                let node = flash.node(place, DATA)?;
                let (inode, _, block) = key(node.get(HEADER..).unwrap_or_default())?;
                self.data.insert((inode, block), place);
            }
            NAME | ATTRIBUTE => self.name(&flash.node(place, kind)?, kind)?,
            CUT => {
                let node = flash.node(place, CUT)?;
                let mut fields = Fields::little(node.get(HEADER..).unwrap_or_default());
                let inode = u64::from(fields.u32()?);
                fields.take(20)?;
                let blocks = fields.u64()?.div_ceil(4096);
                self.cut(inode, u32::try_from(blocks).unwrap_or(u32::MAX));
            }
            _ => (),
        }
        Ok(())
    }

    /// Drops a file's blocks from one on.
    fn cut(&mut self, inode: u64, from: u32) {
        let blocks = self.data.range((inode, from)..=(inode, u32::MAX));
        for key in blocks.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.data.remove(&key);
        }
    }
}
