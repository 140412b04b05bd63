//! Tiles and bundles: the files of a log (C2SP tlog-tiles).

use std::fmt::Write as _;

use crate::hash::Hash;

/// A tile covers so many levels of the tree.
pub const HEIGHT: u32 = 8;
/// Hashes in a full tile, and entries in a full bundle.
pub const WIDTH: usize = 256;
/// Longest a bundle can be: each entry with the two bytes of its length.
pub const MAX_BUNDLE: usize = WIDTH * (2 + 65_535);

/// Which hashes: `width` nodes of height `8 * level`, from number `256 * index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// How high: 0 for the hashes of entries; each level is 8 levels of the tree.
    pub level: u8,
    /// Its number in its level.
    pub index: u64,
    /// How many hashes it has: 256, or fewer at the right edge.
    pub width: u16,
}

impl Tile {
    /// The tile with the node `number` of a level, in a tree of `size` entries; none if the tree has no such node.
    pub fn holding(level: u8, number: u64, size: u64) -> Option<Self> {
        let shift = HEIGHT.checked_mul(u32::from(level))?;
        let nodes = size.checked_shr(shift)?;
        if number >= nodes {
            return None;
        }
        let index = number >> HEIGHT;
        let width = nodes.checked_sub(index.checked_shl(HEIGHT)?)?.min(256);
        Some(Self {
            level,
            index,
            width: u16::try_from(width).ok()?,
        })
    }

    /// Where the hashes are.
    pub fn path(self) -> String {
        self.place(&format!("tile/{}", self.level))
    }

    /// Where the entries of a tile of level 0 are.
    pub fn bundle_path(self) -> String {
        self.place("tile/entries")
    }

    /// `x001/x234/067`, in threes of digits from the left, and `.p/5` for one that is not full.
    fn place(self, folder: &str) -> String {
        let digits = self.index.to_string();
        let long = digits.len().next_multiple_of(3);
        let digits = format!("{digits:0>long$}");
        let mut path = folder.to_owned();
        let last = long.saturating_sub(3);
        for (at, digit) in digits.chars().enumerate() {
            if at.is_multiple_of(3) {
                path.push_str(if at == last { "/" } else { "/x" });
            }
            path.push(digit);
        }
        if usize::from(self.width) < WIDTH {
            // Writing into a String cannot fail.
            let _written = write!(path, ".p/{}", self.width);
        }
        path
    }

    /// Reads what [`Tile::path`] or [`Tile::bundle_path`] wrote; the latter is told by `true`. Exactly: of two spellings of
    /// one tile, one is refused.
    pub fn parse(path: &str) -> Option<(Self, bool)> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let bundle = level == "entries";
        let level = if bundle { 0 } else { level.parse().ok()? };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok()?),
            None => (rest, 256),
        };
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let tile = Self {
            level,
            index: digits.parse().ok()?,
            width,
        };
        let same = if bundle {
            tile.bundle_path() == path
        } else {
            tile.path() == path
        };
        // A tree of 2^64 entries has eight levels of tiles.
        (same && (1..=256).contains(&width) && level < 8).then_some((tile, bundle))
    }

    /// The bytes of a tile's file.
    pub fn bytes(nodes: &[Hash]) -> Vec<u8> {
        nodes.iter().flat_map(|hash| hash.0).collect()
    }

    /// The hashes in a tile's file; none if they are not as many as it has.
    pub fn nodes(self, bytes: &[u8]) -> Option<Vec<Hash>> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        (rest.is_empty() && hashes.len() == usize::from(self.width))
            .then(|| hashes.iter().copied().map(Hash).collect())
    }
}

/// Why a bundle could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It ends in the middle of an entry.
    #[error("ends in the middle of an entry")]
    Short,
    /// It has more entries, or fewer, than its name says.
    #[error("has {0} entries or more, and not as many as its name says")]
    Count(usize),
    /// An entry of more than 65,535 bytes.
    #[error("an entry is longer than 65,535 bytes")]
    Long,
}

/// The entries as they stand in a bundle, each behind its length in two bytes.
pub fn bundle(entries: &[Vec<u8>]) -> Result<Vec<u8>, BundleError> {
    let mut out = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| BundleError::Long)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// The `count` entries of a bundle.
pub fn unbundle(mut bytes: &[u8], count: u16) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        if entries.len() == usize::from(count) {
            return Err(BundleError::Count(entries.len().saturating_add(1)));
        }
        let (length, rest) = bytes.split_first_chunk().ok_or(BundleError::Short)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).ok_or(BundleError::Short)?;
        entries.push(entry);
        bytes = rest;
    }
    if entries.len() < usize::from(count) {
        return Err(BundleError::Count(entries.len()));
    }
    Ok(entries)
}
