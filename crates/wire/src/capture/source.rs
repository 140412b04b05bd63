//! The bytes that were handed in, and how far they have been read.

use super::{CaptureError, CaptureFault, Stop};

#[derive(Debug, Default)]
pub(super) struct Source {
    /// Handed in; read up to `used`.
    buffer: Vec<u8>,
    used: usize,
    /// Where `used` is in the whole input.
    offset: u64,
    /// Bytes to pass over as they come, and where the block they belong to began.
    skip: u64,
    skip_from: u64,
}

/// A place to go back to when more bytes are needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    used: usize,
    offset: u64,
}

impl Source {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        self.buffer.drain(..self.used.min(self.buffer.len()));
        self.used = 0;
        if self.skip > 0 {
            let skipped = usize_of(self.skip).min(bytes.len());
            bytes = bytes.get(skipped..).unwrap_or_default();
            let skipped = u64_of(skipped);
            self.skip = self.skip.saturating_sub(skipped);
            self.offset = self.offset.saturating_add(skipped);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes were read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where something began that is not whole.
    pub(super) fn begun(&self) -> Option<u64> {
        if self.skip > 0 {
            Some(self.skip_from)
        } else if self.used < self.buffer.len() {
            Some(self.offset)
        } else {
            None
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            used: self.used,
            offset: self.offset,
        }
    }

    pub(super) fn go_back(&mut self, mark: Mark) {
        self.used = mark.used;
        self.offset = mark.offset;
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&[u8], Stop> {
        let end = self.used.saturating_add(count);
        let bytes = self.buffer.get(self.used..end).ok_or(Stop::More)?;
        self.used = end;
        self.offset = self.offset.saturating_add(u64_of(count));
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.bytes(N)?.try_into().map_err(|_| Stop::More)
    }

    /// Passes over bytes of a block that began at `start`, those that are still to come, too.
    pub(super) fn pass_over(&mut self, start: u64, count: u64) {
        let here = self.buffer.len().saturating_sub(self.used);
        let now = usize_of(count).min(here);
        self.used = self.used.saturating_add(now);
        self.offset = self.offset.saturating_add(u64_of(now));
        self.skip = count.saturating_sub(u64_of(now));
        self.skip_from = start;
    }
}

pub(super) fn fault_at(offset: u64, fault: CaptureFault) -> CaptureError {
    CaptureError { offset, fault }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn u64_of(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
