//! The input, and how far it has been read.

use std::io::{ErrorKind, Read};

use super::{CaptureError, CaptureFault, Stop};

/// How much is asked of the input at a time.
const CHUNK: usize = 65_536;

#[derive(Debug)]
pub(super) struct Source<R> {
    input: R,
    /// Read from the input and not yet handed out, from `used` on.
    buffer: Vec<u8>,
    used: usize,
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            used: 0,
            offset: 0,
        }
    }

    /// How many bytes were handed out.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Fills the empty buffer; whether anything came.
    fn fill(&mut self) -> Result<bool, Stop> {
        self.used = 0;
        self.buffer.resize(CHUNK, 0);
        loop {
            match self.input.read(&mut self.buffer) {
                Ok(count) => {
                    self.buffer.truncate(count);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.clear();
                    return Err(fault_at(self.offset, CaptureFault::Read(error)).into());
                }
            }
        }
    }

    /// Hands out up to `most` bytes to `taker`; how many there were, 0 at the end of the input.
    fn part(&mut self, most: usize, taker: &mut impl FnMut(&[u8])) -> Result<usize, Stop> {
        if self.used >= self.buffer.len() && !self.fill()? {
            return Ok(0);
        }
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        let part = rest.get(..most).unwrap_or(rest);
        taker(part);
        let count = part.len();
        self.used = self.used.saturating_add(count);
        let count64 = u64::try_from(count).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(count64);
        Ok(count)
    }

    fn each(&mut self, count: usize, mut taker: impl FnMut(&[u8])) -> Result<(), Stop> {
        let start = self.offset;
        let mut missing = count;
        while missing > 0 {
            match self.part(missing, &mut taker)? {
                0 if missing == count => return Err(Stop::End),
                0 => return Err(Stop::Cut(start)),
                came => missing = missing.saturating_sub(came),
            }
        }
        Ok(())
    }

    /// The next `count` bytes. The buffer grows with what comes, not with what was promised.
    pub(super) fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::with_capacity(count.min(CHUNK));
        self.each(count, |part| bytes.extend_from_slice(part))?;
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), Stop> {
        self.each(count, |_| {})
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        let mut space = array.iter_mut();
        self.each(N, |part| {
            // The part first: `zip` asks its left side before its right one, and a place asked for would be lost.
            for (from, to) in part.iter().zip(space.by_ref()) {
                *to = *from;
            }
        })?;
        Ok(array)
    }
}

pub(super) fn fault_at(offset: u64, fault: CaptureFault) -> CaptureError {
    CaptureError { offset, fault }
}

impl Stop {
    /// What ended within a record that began earlier.
    pub(super) fn within(self, start: u64) -> Self {
        match self {
            Self::End | Self::Cut(_) => Self::Cut(start),
            Self::Fault(error) => Self::Fault(error),
        }
    }
}
