//! What a journal (jbd2) holds that is not in its place yet. Its numbers are big-endian.

use std::collections::BTreeMap;

use stockade_controls::engine::Unseen;

use super::{Ext, Inode};
use crate::fields::Fields;
use crate::inodes::damaged;

/// At the start of each of its own blocks.
pub(super) const MAGIC: u32 = 0xc03b_3998;

// Features of the journal.
const WIDE: u32 = 0x2;
const CHECKSUM_3: u32 = 0x10;
/// Those, revocation and checksums of the second kind.
const KNOWN: u32 = WIDE | CHECKSUM_3 | 0x1 | 0x8;

// Flags of a tag.
const MASKED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;

/// Blocks, with where the journal has them.
type Newer = BTreeMap<u64, (u64, bool)>;

struct Journal {
    /// Where its blocks are.
    places: Vec<u64>,
    first: u64,
    most: u64,
    features: u32,
}

impl Ext {
    /// Finds the blocks of all transactions that were finished; how many there are.
    pub(super) fn replay(&mut self) -> Result<usize, Unseen> {
        if self.journal == 0 {
            return Err(Unseen::Failed("it is on another device".to_owned()));
        }
        let inode: Inode = self.inode(self.journal)?;
        let mut places = Vec::new();
        for run in self.runs(&inode)? {
            let block = run.block.ok_or_else(|| damaged("a journal with holes"))?;
            // No more than there are in the file system.
            if block.saturating_add(run.count).saturating_mul(self.block) > self.bytes.length() {
                return Err(damaged("a journal past the end"));
            }
            places.extend(block..block.saturating_add(run.count));
            self.meter.time()?;
        }
        let head = self.journal_block(&places, 0)?;
        let mut fields = Fields::big(&head);
        let magic = fields.u32()?;
        fields.take(12)?;
        let (most, first, sequence, start) =
            (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        fields.take(8)?;
        let features = fields.u32()?;
        if magic != MAGIC {
            return Err(damaged("no journal is where it should be"));
        }
        if features & !KNOWN != 0 {
            let why = format!("it has features that are not read ({features:#x})");
            return Err(Unseen::Failed(why));
        }
        if start == 0 {
            return Ok(0);
        }
        let journal = Journal {
            places,
            first: first.into(),
            most: most.into(),
            features,
        };
        self.newer = self.transactions(&journal, sequence, start.into())?;
        Ok(self.newer.len())
    }

    fn journal_block(&self, places: &[u64], number: u64) -> Result<Vec<u8>, Unseen> {
        let at = usize::try_from(number).ok().and_then(|it| places.get(it));
        let at = at.ok_or_else(|| damaged("a place past the end of the journal"))?;
        let size = usize::try_from(self.block).unwrap_or_default();
        self.bytes.read(at.saturating_mul(self.block), size)
    }

    fn transactions(&self, journal: &Journal, sequence: u32, start: u64) -> Result<Newer, Unseen> {
        let (mut sequence, mut at) = (sequence, start);
        let mut newer = Newer::new();
        let (mut pending, mut revoked) = (Vec::new(), Vec::new());
        // Once around it.
        let mut left = journal.most;
        let mut step = |at: &mut u64| {
            left = left
                .checked_sub(1)
                .ok_or_else(|| damaged("a journal without an end"))?;
            let here = *at;
            *at = at.saturating_add(1);
            if *at >= journal.most {
                *at = journal.first;
            }
            Ok::<_, Unseen>(here)
        };
        loop {
            let block = self.journal_block(&journal.places, step(&mut at)?)?;
            let mut fields = Fields::big(&block);
            let (magic, kind, number) = (fields.u32()?, fields.u32()?, fields.u32()?);
            if magic != MAGIC || number != sequence {
                return Ok(newer);
            }
            match kind {
                1 => {
                    for (block, masked) in journal.tags(fields)? {
                        let place = usize::try_from(step(&mut at)?).ok();
                        let place = place.and_then(|place| journal.places.get(place));
                        let place = place.ok_or_else(|| damaged("a journal that is too short"))?;
                        pending.push((block, (*place, masked)));
                    }
                }
                2 => {
                    newer.extend(pending.drain(..));
                    for block in revoked.drain(..) {
                        newer.remove(&block);
                    }
                    sequence = sequence.wrapping_add(1);
                }
                5 => journal.revoked(fields, &mut revoked)?,
                _ => return Ok(newer),
            }
        }
    }
}

impl Journal {
    fn wide(&self) -> bool {
        self.features & WIDE != 0
    }

    /// The blocks that follow a descriptor: where they go, and whether their first bytes were masked.
    fn tags(&self, mut fields: Fields<'_>) -> Result<Vec<(u64, bool)>, Unseen> {
        let mut found = Vec::new();
        loop {
            let low = u64::from(fields.u32()?);
            let third = self.features & CHECKSUM_3 != 0;
            let flags = if third {
                fields.u32()?
            } else {
                fields.take(2)?;
                fields.u16()?.into()
            };
            let high = if third || self.wide() {
                fields.u32()?
            } else {
                0
            };
            if third {
                fields.take(4)?;
            }
            if flags & SAME_UUID == 0 {
                fields.take(16)?;
            }
            let high = if self.wide() { high } else { 0 };
            let block = low | u64::from(high).wrapping_shl(32);
            found.push((block, flags & MASKED != 0));
            if flags & LAST != 0 {
                return Ok(found);
            }
        }
    }

    /// Blocks whose older content in the journal is void.
    fn revoked(&self, mut fields: Fields<'_>, to: &mut Vec<u64>) -> Result<(), Unseen> {
        let length = usize::try_from(fields.u32()?).unwrap_or_default();
        let list = fields.take(length.saturating_sub(16))?;
        let width = if self.wide() { 8 } else { 4 };
        for number in list.chunks_exact(width) {
            to.push(Fields::big(number).number(width)?);
        }
        Ok(())
    }
}
