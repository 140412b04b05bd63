//! The right edge of a tree: all that is needed to append to it.

use crate::hash::{Hash, fold};
use crate::tile::{HEIGHT, Tile, WIDTH};

/// A tree of which only the tiles that are not full yet are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// By level of tiles: the nodes in the one that is not full.
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree of `size` entries, from its tiles that are not full; `read` hands over one's hashes.
    pub fn load<E>(
        size: u64,
        mut read: impl FnMut(Tile) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut levels = Vec::new();
        for level in 0..8_u8 {
            let shift = HEIGHT.saturating_mul(u32::from(level));
            let nodes = size.checked_shr(shift).unwrap_or(0);
            if nodes == 0 {
                break;
            }
            let width = u16::try_from(nodes & 255).unwrap_or(0);
            levels.push(if width == 0 {
                Vec::new()
            } else {
                read(Tile {
                    level,
                    index: nodes >> HEIGHT,
                    width,
                })?
            });
        }
        Ok(Self { size, levels })
    }

    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry's hash; hands over each tile that it made full.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(Tile, &[Hash])) {
        // No tree has 2^64 entries: at one each nanosecond that takes 584 years.
        self.size = self.size.saturating_add(1);
        let mut hash = leaf;
        for level in 0..8_u8 {
            let at = usize::from(level);
            if self.levels.len() <= at {
                self.levels.push(Vec::new());
            }
            let Some(nodes) = self.levels.get_mut(at) else {
                return;
            };
            nodes.push(hash);
            if nodes.len() < WIDTH {
                return;
            }
            let shift = HEIGHT.saturating_mul(u32::from(level).saturating_add(1));
            let tile = Tile {
                level,
                index: self.size.checked_shr(shift).unwrap_or(0).saturating_sub(1),
                width: 256,
            };
            full(tile, nodes);
            let Some(above) = Hash::root(nodes) else {
                return;
            };
            hash = above;
            nodes.clear();
        }
    }

    /// The tiles that are not full, with their hashes.
    pub fn partial(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        (0_u8..).zip(&self.levels).filter_map(|(level, nodes)| {
            let shift = HEIGHT.saturating_mul(u32::from(level).saturating_add(1));
            let tile = Tile {
                level,
                index: self.size.checked_shr(shift).unwrap_or(0),
                width: u16::try_from(nodes.len()).ok()?,
            };
            (!nodes.is_empty()).then_some((tile, nodes.as_slice()))
        })
    }

    /// The root (RFC 6962 §2.1).
    pub fn root(&self) -> Hash {
        let mut root = None;
        for nodes in &self.levels {
            fold(nodes, &mut root);
        }
        root.unwrap_or_else(Hash::empty)
    }
}
