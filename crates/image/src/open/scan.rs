//! Finds where formats may begin, in one pass.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, BuildError};
use stockade_controls::engine::Unseen;

use crate::compress::wide;
use crate::format::{FORMATS, Format};
use crate::{Bytes, Meter};

/// How much is read at once.
pub(super) const CHUNK: usize = 1 << 20;
/// The most places that are tried in one blob.
const MOST: usize = 100_000;

/// By number of the pattern: whose it is, where it stands in it, how long it is.
struct Magics {
    automaton: Result<AhoCorasick, BuildError>,
    owners: Vec<(&'static Format, u64, usize)>,
    longest: usize,
}

static MAGICS: LazyLock<Magics> = LazyLock::new(|| {
    let anywhere = FORMATS.iter().filter(|format| format.anywhere);
    let (owners, patterns): (Vec<_>, Vec<_>) = anywhere
        .flat_map(|format| format.magics.iter().map(move |it| (format, it)))
        .map(|(format, (at, magic))| ((format, *at, magic.len()), *magic))
        .unzip();
    Magics {
        longest: patterns.iter().map(|it| it.len()).max().unwrap_or(0),
        automaton: AhoCorasick::new(patterns),
        owners,
    }
});

/// Where which formats may begin, at `from` or later; in order, of one place in the table's.
pub(super) fn candidates(
    bytes: &Bytes,
    from: u64,
    meter: &Meter,
) -> Result<Vec<(u64, &'static Format)>, Unseen> {
    let automaton = MAGICS.automaton.as_ref();
    let automaton = automaton.map_err(|why| Unseen::Failed(why.to_string()))?;
    let overlap = MAGICS.longest.saturating_sub(1);
    let mut found = Vec::new();
    let mut at = from;
    while at < bytes.length() {
        meter.time()?;
        let chunk = bytes.some(at, CHUNK.saturating_add(overlap))?;
        for hit in automaton.find_overlapping_iter(&chunk) {
            // What begins in the overlap is found again with the next chunk.
            let Some((format, inside, length)) = MAGICS.owners.get(hit.pattern().as_usize()) else {
                continue;
            };
            if hit.start() >= CHUNK {
                continue;
            }
            let magic = at.saturating_add(wide(hit.start()));
            // Two bytes are everywhere: what has no more begins a sector.
            let fits = |it: &u64| *it >= from && (*length > 2 || it.is_multiple_of(512));
            if let Some(start) = magic.checked_sub(*inside).filter(fits) {
                if found.len() == MOST {
                    return Err(Unseen::TooMuch(MOST));
                }
                found.push((start, *format));
            }
        }
        at = at.saturating_add(wide(CHUNK));
    }
    // Formats lie in one table: their addresses are in its order.
    found.sort_by_key(|(start, format)| (*start, std::ptr::from_ref(*format)));
    found.dedup_by_key(|(start, format)| (*start, std::ptr::from_ref(*format)));
    Ok(found)
}

/// Whether all of it is zeros and ones, as padding and erased flash are.
pub(super) fn is_filler(bytes: &Bytes, meter: &Meter) -> Result<bool, Unseen> {
    let mut at = 0;
    while at < bytes.length() {
        meter.time()?;
        let chunk = bytes.some(at, CHUNK)?;
        if !chunk.iter().all(|byte| matches!(byte, 0 | 0xff)) {
            return Ok(false);
        }
        at = at.saturating_add(wide(chunk.len()));
    }
    Ok(true)
}
