//! The hashes of the tree (RFC 6962 §2.1).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a leaf, of a node, or of the empty tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of a tree without leaves: of nothing.
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// Of an entry.
    pub fn leaf(entry: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update([0])
                .chain_update(entry)
                .finalize()
                .into(),
        )
    }

    /// Of the node above two.
    pub fn node(left: &Self, right: &Self) -> Self {
        Self(
            Sha256::new()
                .chain_update([1])
                .chain_update(left.0)
                .chain_update(right.0)
                .finalize()
                .into(),
        )
    }

    /// As a checkpoint writes it (RFC 4648 section 4).
    pub fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads what [`Hash::base64`] wrote.
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The root of a list of nodes of one height.
    pub(crate) fn root(nodes: &[Self]) -> Option<Self> {
        let mut edge = None;
        fold(nodes, &mut edge);
        edge
    }
}

/// Puts a list of nodes of one height to the left of `right`: the perfect trees in it, from the right, each above what is so far.
pub(crate) fn fold(mut nodes: &[Hash], right: &mut Option<Hash>) {
    while !nodes.is_empty() {
        // The lowest bit of the length is the size of the last perfect tree.
        let last = 1_usize << nodes.len().trailing_zeros();
        let Some((left, tree)) = nodes.split_at_checked(nodes.len().saturating_sub(last)) else {
            return;
        };
        let Some(tree) = perfect(tree.to_vec()) else {
            return;
        };
        *right = Some(right.map_or(tree, |right| Hash::node(&tree, &right)));
        nodes = left;
    }
}

/// The root of so many nodes as are a power of two.
fn perfect(mut nodes: Vec<Hash>) -> Option<Hash> {
    while nodes.len() > 1 {
        nodes = nodes
            .chunks(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(Hash::node(left, right)),
                _ => None,
            })
            .collect();
    }
    nodes.pop()
}

/// Lower-case hexadecimal.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
