//! Numbers and bytes of a record, one after another.

use stockade_controls::engine::Unseen;

/// What is left of a record, and which way round its numbers are.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    big: bool,
}

impl<'a> Fields<'a> {
    /// Little-endian.
    pub(crate) fn little(rest: &'a [u8]) -> Self {
        Self { rest, big: false }
    }

    /// Big-endian.
    pub(crate) fn big(rest: &'a [u8]) -> Self {
        Self { rest, big: true }
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Unseen> {
        let short = || Unseen::Damaged("a record ends early".to_owned());
        let (first, rest) = self.rest.split_at_checked(length).ok_or_else(short)?;
        self.rest = rest;
        Ok(first)
    }

    /// A number of so many bytes, eight at most.
    pub(crate) fn number(&mut self, length: usize) -> Result<u64, Unseen> {
        let bytes = self.take(length)?;
        let add = |sum: u64, byte: &u8| sum.wrapping_shl(8) | u64::from(*byte);
        Ok(if self.big {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Unseen> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    /// Two bytes.
    pub(crate) fn u16(&mut self) -> Result<u16, Unseen> {
        Ok(u16::try_from(self.number(2)?).unwrap_or_default())
    }

    /// Four bytes.
    pub(crate) fn u32(&mut self) -> Result<u32, Unseen> {
        Ok(u32::try_from(self.number(4)?).unwrap_or_default())
    }

    /// Eight bytes.
    pub(crate) fn u64(&mut self) -> Result<u64, Unseen> {
        self.number(8)
    }
}
