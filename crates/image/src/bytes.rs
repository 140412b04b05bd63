//! Bytes that can be read at any place.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use stockade_controls::engine::Unseen;

/// A stretch of a file or of memory; cheap to clone and to cut.
#[derive(Clone)]
pub struct Bytes {
    source: Source,
    start: u64,
    length: u64,
}

#[derive(Clone)]
enum Source {
    File(Arc<File>),
    Memory(Arc<Vec<u8>>),
    /// Pieces one after another, each with the place where it starts.
    Joined(Arc<Vec<(u64, Bytes)>>),
    /// The same byte all over.
    Filled(u8),
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes")
            .field("start", &self.start)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Bytes {
    /// A whole file.
    pub fn file(file: File) -> Result<Self, Unseen> {
        let metadata = file.metadata().map_err(failed)?;
        Ok(Self {
            source: Source::File(Arc::new(file)),
            start: 0,
            length: metadata.len(),
        })
    }

    /// What is in memory already.
    pub fn memory(bytes: Vec<u8>) -> Self {
        Self {
            length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            source: Source::Memory(Arc::new(bytes)),
            start: 0,
        }
    }

    /// Pieces that lie apart, one after another.
    pub fn joined(pieces: impl IntoIterator<Item = Self>) -> Self {
        let mut length = 0_u64;
        let mut placed = Vec::new();
        for piece in pieces {
            let at = length;
            length = length.saturating_add(piece.length);
            placed.push((at, piece));
        }
        Self {
            source: Source::Joined(Arc::new(placed)),
            start: 0,
            length,
        }
    }

    /// As many of the same byte: what was erased, or a hole.
    pub fn filled(byte: u8, length: u64) -> Self {
        Self {
            source: Source::Filled(byte),
            start: 0,
            length,
        }
    }

    /// How many there are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// A part of it; [`Unseen::Damaged`] if there is not as much.
    pub fn part(&self, at: u64, length: u64) -> Result<Self, Unseen> {
        let end = at.checked_add(length).filter(|end| *end <= self.length);
        if end.is_none() {
            return Err(short(at, length, self.length));
        }
        Ok(Self {
            source: self.source.clone(),
            start: self.start.saturating_add(at),
            length,
        })
    }

    /// All from a place to the end.
    pub fn from(&self, at: u64) -> Result<Self, Unseen> {
        let length = self.length.checked_sub(at);
        self.part(at, length.ok_or_else(|| short(at, 0, self.length))?)
    }

    /// Reads exactly as many bytes from a place; [`Unseen::Damaged`] if there are not as many.
    pub fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, Unseen> {
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        let part = self.part(at, wanted)?;
        match &part.source {
            Source::Memory(all) => {
                let from = usize::try_from(part.start).unwrap_or(usize::MAX);
                let found = all.get(from..).and_then(|rest| rest.get(..length));
                Ok(found
                    .ok_or_else(|| short(at, wanted, self.length))?
                    .to_vec())
            }
            Source::File(file) => {
                let mut to = vec![0; length];
                file.read_exact_at(&mut to, part.start).map_err(failed)?;
                Ok(to)
            }
            Source::Joined(pieces) => {
                let mut to = Vec::with_capacity(length);
                let mut next = pieces.partition_point(|(at, _)| *at <= part.start);
                next = next.saturating_sub(1);
                while let Some((at, piece)) = pieces.get(next).filter(|_| to.len() < length) {
                    let done = u64::try_from(to.len()).unwrap_or(u64::MAX);
                    let from = part.start.saturating_add(done).saturating_sub(*at);
                    to.extend(piece.some(from, length.saturating_sub(to.len()))?);
                    next = next.saturating_add(1);
                }
                Ok(to)
            }
            // Only as much as somebody asked for, who has a bound of its own.
            Source::Filled(byte) => Ok(vec![*byte; length]),
        }
    }

    /// Reads as many bytes from a place as there are, `most` at most.
    pub fn some(&self, at: u64, most: usize) -> Result<Vec<u8>, Unseen> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        self.read(at.min(self.length), left.min(most))
    }

    /// All of it, where it is if it is in memory; [`Unseen::TooMuch`] if that is more than `most`.
    pub fn whole(&self, most: usize) -> Result<Cow<'_, [u8]>, Unseen> {
        let there = match (&self.source, usize::try_from(self.start)) {
            (Source::Memory(all), Ok(from)) => all.get(from..),
            _ => None,
        };
        let length = usize::try_from(self.length).ok().filter(|it| *it <= most);
        match there.zip(length).and_then(|(it, length)| it.get(..length)) {
            Some(there) => Ok(Cow::Borrowed(there)),
            None => self.all(most).map(Cow::Owned),
        }
    }

    /// Reads it all; [`Unseen::TooMuch`] if that is more than `most`.
    pub fn all(&self, most: usize) -> Result<Vec<u8>, Unseen> {
        match usize::try_from(self.length) {
            Ok(length) if length <= most => self.read(0, length),
            _ => Err(Unseen::TooMuch(most)),
        }
    }
}

fn short(at: u64, wanted: u64, there: u64) -> Unseen {
    Unseen::Damaged(format!(
        "{wanted} bytes at {at} are wanted, and there are {there}"
    ))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn failed(why: std::io::Error) -> Unseen {
    Unseen::Failed(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_across_their_borders() {
        let pieces = ["ab", "", "cde", "f"].map(|it| Bytes::memory(it.into()));
        let all = Bytes::joined(pieces.into_iter().chain([Bytes::filled(b'x', 1 << 40)]));
        assert_eq!(all.length(), 6 + (1 << 40));
        for (at, length, expected) in [(0, 7, "abcdefx"), (1, 2, "bc"), (2, 3, "cde"), (5, 0, "")] {
            assert_eq!(all.read(at, length), Ok(expected.into()));
        }
        let part = all.part(3, 4).expect("a part");
        assert_eq!(part.some(1, 100), Ok(b"efx".to_vec()));
        assert_eq!(part.whole(4).as_deref(), Ok(&b"defx"[..]));
        let part = Bytes::memory(b"abcdef".into()).part(1, 3).expect("a part");
        assert!(matches!(part.whole(3), Ok(Cow::Borrowed(b"bcd"))));
        assert_eq!(part.whole(2), Err(Unseen::TooMuch(2)));
        assert!(part.read(2, 3).is_err());
    }
}
