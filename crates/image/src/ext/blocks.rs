//! Where a file's blocks are: by a tree of extents, or by lists of pointers.

use stockade_controls::engine::Unseen;

use super::checksums::{self, Seed};
use super::{EXTENTS, Ext, Inode};
use crate::fields::Fields;
use crate::inodes::damaged;

/// The deepest tree of extents.
const MOST_DEPTH: u16 = 5;
const MAGIC: u16 = 0xf30a;

/// Blocks that follow each other; a hole if they are nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) block: Option<u64>,
    pub(super) count: u64,
}

/// Runs of a file from its start on.
struct Runs {
    found: Vec<Run>,
    /// How many blocks they are, and how many there shall be.
    count: u64,
    most: u64,
}

impl Runs {
    fn full(&self) -> bool {
        self.count >= self.most
    }

    fn add(&mut self, block: Option<u64>, count: u64) {
        let count = count.min(self.most.saturating_sub(self.count));
        if count == 0 {
            return;
        }
        self.count = self.count.saturating_add(count);
        if let Some(last) = self.found.last_mut() {
            let next = last.block.map(|first| first.saturating_add(last.count));
            if next == block {
                last.count = last.count.saturating_add(count);
                return;
            }
        }
        self.found.push(Run { block, count });
    }
}

impl Ext {
    /// The runs of a file's blocks, no more than its size asks for.
    pub(super) fn runs(&self, inode: &Inode) -> Result<Vec<Run>, Unseen> {
        let mut runs = Runs {
            found: Vec::new(),
            count: 0,
            most: inode.size.div_ceil(self.block),
        };
        if inode.flags & EXTENTS != 0 {
            self.extents(&inode.map, None, inode.seed, &mut runs)?;
        } else {
            let mut fields = Fields::little(&inode.map);
            for level in [0; 12].into_iter().chain([1, 2, 3]) {
                self.pointers(fields.u32()?, level, &mut runs)?;
            }
        }
        Ok(runs.found)
    }

    /// A node of the tree: a head, and then extents or places of nodes below. Each extent begins where or behind where the one
    /// before it ended, and each node has some, so that there are no more nodes than blocks.
    fn extents(
        &self,
        node: &[u8],
        depth: Option<u16>,
        seed: Seed,
        runs: &mut Runs,
    ) -> Result<(), Unseen> {
        self.meter.time()?;
        let mut fields = Fields::little(node);
        let (magic, count) = (fields.u16()?, fields.u16()?);
        let room = fields.u16()?;
        let level = fields.u16()?;
        fields.take(4)?;
        if magic != MAGIC || level > MOST_DEPTH || depth.is_some_and(|depth| level != depth) {
            return Err(damaged("a node of extents that is none"));
        }
        // The one in the inode is under the inode's.
        if depth.is_some() {
            checksums::check_extents(seed, node, room)?;
            if count == 0 {
                return Err(damaged("a node of extents with none"));
            }
        }
        for _ in 0..count {
            if runs.full() {
                break;
            }
            let first = u64::from(fields.u32()?);
            if level > 0 {
                let low = u64::from(fields.u32()?);
                let high = u64::from(fields.u16()?);
                fields.take(2)?;
                let at = (low | high.wrapping_shl(32)).saturating_mul(self.block);
                let below = self.raw(at, usize::try_from(self.block).unwrap_or_default())?;
                self.extents(&below, level.checked_sub(1), seed, runs)?;
                continue;
            }
            let length = fields.u16()?;
            let high = u64::from(fields.u16()?);
            let low = u64::from(fields.u32()?);
            let hole = first.checked_sub(runs.count);
            let hole = hole.ok_or_else(|| damaged("extents that overlap"))?;
            runs.add(None, hole);
            // Longer than this means: room that was never written.
            let (length, written) = match length.checked_sub(0x8000) {
                Some(length) if length > 0 => (length, false),
                _ => (length, true),
            };
            if length == 0 {
                return Err(damaged("an extent of no length"));
            }
            let block = written.then_some(low | high.wrapping_shl(32));
            runs.add(block, length.into());
        }
        Ok(())
    }

    /// A block, or at a level above 0 a block of pointers.
    fn pointers(&self, block: u32, level: u32, runs: &mut Runs) -> Result<(), Unseen> {
        if runs.full() {
            return Ok(());
        }
        let per = self.block.wrapping_shr(2);
        let block = u64::from(block);
        if block == 0 {
            runs.add(None, per.saturating_pow(level));
            return Ok(());
        }
        let Some(below) = level.checked_sub(1) else {
            runs.add(Some(block), 1);
            return Ok(());
        };
        self.meter.time()?;
        let at = block.saturating_mul(self.block);
        let list = self.raw(at, usize::try_from(self.block).unwrap_or_default())?;
        let mut fields = Fields::little(&list);
        for _ in 0..per {
            self.pointers(fields.u32()?, below, runs)?;
        }
        Ok(())
    }
}
