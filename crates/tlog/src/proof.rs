//! Proofs: made from tiles, and checked without them.

use crate::hash::Hash;
use crate::tile::{HEIGHT, Tile};

/// Where the nodes of tiles come from.
pub trait Nodes {
    /// Why there are none.
    type Error;

    /// The hashes of a tile, as many as it has.
    fn nodes(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::Error>;
}

/// The proof shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead from the one to the other")]
pub struct Unproven;

/// The largest power of two below `n`, for n of 2 or more (RFC 6962 §2.1).
fn split(n: u64) -> u64 {
    n.saturating_sub(1)
        .checked_ilog2()
        .and_then(|bit| 1_u64.checked_shl(bit))
        .unwrap_or(0)
}

/// The hash of a range of entries; `from` is a multiple of the largest power of two in its length.
fn range<N: Nodes>(nodes: &mut N, size: u64, from: u64, to: u64) -> Result<Option<Hash>, N::Error> {
    let mut trees = Vec::new();
    let mut at = from;
    while let Some(bit) = to.saturating_sub(at).checked_ilog2() {
        let Some(tree) = perfect(nodes, size, bit, at >> bit)? else {
            return Ok(None);
        };
        trees.push(tree);
        at = at.saturating_add(1_u64.checked_shl(bit).unwrap_or(0));
    }
    Ok(trees
        .into_iter()
        .rev()
        .reduce(|right, left| Hash::node(&left, &right)))
}

/// The node `number` of a height.
fn perfect<N: Nodes>(
    nodes: &mut N,
    size: u64,
    height: u32,
    number: u64,
) -> Result<Option<Hash>, N::Error> {
    let (level, above) = (height / HEIGHT, height % HEIGHT);
    let first = number.checked_shl(above);
    let tile = u8::try_from(level)
        .ok()
        .and_then(|level| Tile::holding(level, first?, size));
    let (Some(first), Some(tile)) = (first, tile) else {
        return Ok(None);
    };
    let hashes = nodes.nodes(tile)?;
    let offset = usize::try_from(first & 255).unwrap_or(usize::MAX);
    let end = offset.saturating_add(1_usize.checked_shl(above).unwrap_or(0));
    Ok(hashes.get(offset..end).and_then(Hash::root))
}

/// The root that the tree had at `old`, from the tiles of a tree of `size`; none if they do not hold it.
pub fn root_at<N: Nodes>(nodes: &mut N, size: u64, old: u64) -> Result<Option<Hash>, N::Error> {
    if old == 0 {
        return Ok(Some(Hash::empty()));
    }
    range(nodes, size, 0, old)
}

/// One step down, from a node to the one below it that has the entry; the other one.
fn descend(from: &mut u64, to: &mut u64, entry: u64) -> (u64, u64) {
    let middle = from.saturating_add(split(to.saturating_sub(*from)));
    if entry < middle {
        (middle, std::mem::replace(to, middle))
    } else {
        (std::mem::replace(from, middle), middle)
    }
}

/// That entry `index` is in the tree of `size` (RFC 6962 §2.1.1); none if the tiles do not hold it.
pub fn inclusion<N: Nodes>(
    nodes: &mut N,
    index: u64,
    size: u64,
) -> Result<Option<Vec<Hash>>, N::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut from, mut to) = (0_u64, size);
    let mut proof = Vec::new();
    while to.saturating_sub(from) > 1 {
        let beside = descend(&mut from, &mut to, index);
        let Some(hash) = range(nodes, size, beside.0, beside.1)? else {
            return Ok(None);
        };
        proof.push(hash);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// That the tree of `size` begins with that of `old` (RFC 6962 §2.1.2); none if the tiles do not hold it.
pub fn consistency<N: Nodes>(
    nodes: &mut N,
    old: u64,
    size: u64,
) -> Result<Option<Vec<Hash>>, N::Error> {
    if old > size {
        return Ok(None);
    }
    if old == 0 || old == size {
        return Ok(Some(Vec::new()));
    }
    let (mut from, mut to) = (0_u64, size);
    let mut proof = Vec::new();
    // SUBPROOF(m, D[n], b): down to the node that ends where the old tree does.
    while old != to {
        // The entry before its end.
        let beside = descend(&mut from, &mut to, old.saturating_sub(1));
        let Some(hash) = range(nodes, size, beside.0, beside.1)? else {
            return Ok(None);
        };
        proof.push(hash);
    }
    // Who asks knows the old root: it is left out where that node is the whole old tree.
    if from != 0 {
        let Some(hash) = range(nodes, size, from, to)? else {
            return Ok(None);
        };
        proof.push(hash);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// Checks a proof of inclusion (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: Hash,
    root: Hash,
    proof: &[Hash],
) -> Result<(), Unproven> {
    if index >= size {
        return Err(Unproven);
    }
    let (mut number, mut last) = (index, size.saturating_sub(1));
    let mut hash = leaf;
    for beside in proof {
        if last == 0 {
            return Err(Unproven);
        }
        if number & 1 == 1 || number == last {
            hash = Hash::node(beside, &hash);
            while number & 1 == 0 && number != 0 {
                (number, last) = (number >> 1, last >> 1);
            }
        } else {
            hash = Hash::node(&hash, beside);
        }
        (number, last) = (number >> 1, last >> 1);
    }
    if last == 0 && hash == root {
        Ok(())
    } else {
        Err(Unproven)
    }
}

/// Checks a proof of consistency (RFC 9162 §2.1.4.2).
pub fn verify_consistency(
    (old, old_root): (u64, Hash),
    (size, root): (u64, Hash),
    proof: &[Hash],
) -> Result<(), Unproven> {
    let ended = |sound: bool| if sound { Ok(()) } else { Err(Unproven) };
    if old == 0 {
        // Every tree begins with the empty one.
        return ended(proof.is_empty() && old_root == Hash::empty());
    }
    if old >= size {
        return ended(old == size && proof.is_empty() && old_root == root);
    }
    // Step 2: an old tree that is perfect is its own first node.
    let own = old.is_power_of_two().then_some(old_root);
    let mut path = own.iter().chain(proof);
    let (mut number, mut last) = (old.saturating_sub(1), size.saturating_sub(1));
    while number & 1 == 1 {
        (number, last) = (number >> 1, last >> 1);
    }
    let Some(first) = path.next() else {
        return Err(Unproven);
    };
    let (mut before, mut now) = (*first, *first);
    for beside in path {
        if last == 0 {
            return Err(Unproven);
        }
        if number & 1 == 1 || number == last {
            before = Hash::node(beside, &before);
            now = Hash::node(beside, &now);
            while number & 1 == 0 && number != 0 {
                (number, last) = (number >> 1, last >> 1);
            }
        } else {
            now = Hash::node(&now, beside);
        }
        (number, last) = (number >> 1, last >> 1);
    }
    ended(last == 0 && before == old_root && now == root)
}
