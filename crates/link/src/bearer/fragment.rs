//! Messages over frames that are too small for them: a byte before each piece, one message at a time.
//!
//! ```text
//!   7     6     5 4 3 2 1 0
//! +-----+-----+-------------+---------+
//! |first|last |   counter   | a piece |
//! +-----+-----+-------------+---------+
//! ```
//!
//! The counter goes on from message to message, so that the end of one is not taken for the end of another. What has a gap is dropped
//! whole: CoAP repeats it. There is one buffer a peer and no offset in it, so nothing overlaps and nothing grows.

use super::MESSAGE_MAX;

const FIRST: u8 = 0x80;
const LAST: u8 = 0x40;
const COUNTER: u8 = 0x3f;

/// Longest pause between two pieces of a message, in milliseconds.
pub const PAUSE_MAX: u64 = 2000;

/// Cuts messages for one peer.
#[derive(Debug, Default)]
pub struct Cutter {
    counter: u8,
}

impl Cutter {
    /// At the first message.
    pub const fn new() -> Self {
        Self { counter: 0 }
    }

    /// The pieces of a message and the byte before each, for frames of so many bytes.
    ///
    /// `None` where it can not be cut: empty, longer than [`MESSAGE_MAX`], or more pieces than the counter tells apart.
    pub fn cut<'m>(
        &mut self,
        message: &'m [u8],
        frame: usize,
    ) -> Option<impl Iterator<Item = (u8, &'m [u8])> + use<'m>> {
        let size = frame.checked_sub(1).filter(|it| *it > 0)?;
        let pieces = u8::try_from(message.len().div_ceil(size)).ok()?;
        if pieces == 0 || pieces > COUNTER.saturating_add(1) || message.len() > MESSAGE_MAX {
            return None;
        }
        let start = self.counter;
        self.counter = start.wrapping_add(pieces) & COUNTER;
        Some(
            message
                .chunks(size)
                .zip(1..=pieces)
                .map(move |(piece, number)| {
                    let first = if number == 1 { FIRST } else { 0 };
                    let last = if number == pieces { LAST } else { 0 };
                    let counter = start.wrapping_add(number).wrapping_sub(1) & COUNTER;
                    (first | last | counter, piece)
                }),
        )
    }
}

/// Puts the messages of one peer together again, in a buffer, lent or owned: [`MESSAGE_MAX`] bytes of it hold every message.
#[derive(Debug)]
pub struct Assembler<B> {
    buffer: B,
    length: usize,
    /// The counter of the next piece, while a message is under way.
    next: Option<u8>,
    /// When the last piece came.
    at: u64,
}

impl<B: AsMut<[u8]>> Assembler<B> {
    /// With nothing under way.
    pub const fn new(buffer: B) -> Self {
        Self {
            buffer,
            length: 0,
            next: None,
            at: 0,
        }
    }

    /// Takes a frame at a time in milliseconds, of any clock that does not go back; a message, when the frame was its last.
    pub fn push(&mut self, frame: &[u8], now: u64) -> Option<&[u8]> {
        let (header, piece) = frame.split_first().filter(|(_, piece)| !piece.is_empty())?;
        let counter = header & COUNTER;
        if header & FIRST == FIRST {
            self.length = 0;
        } else {
            let next = self.next?;
            // The piece before, once more: a radio that did not hear it acknowledged.
            if counter == next.wrapping_sub(1) & COUNTER {
                return None;
            }
            if counter != next || now.saturating_sub(self.at) > PAUSE_MAX {
                self.next = None;
                return None;
            }
        }
        self.next = None;
        let end = self.length.checked_add(piece.len())?;
        let buffer = self.buffer.as_mut();
        buffer.get_mut(self.length..end)?.copy_from_slice(piece);
        if header & LAST == LAST {
            return buffer.get(..end);
        }
        self.length = end;
        self.next = Some(counter.wrapping_add(1) & COUNTER);
        self.at = now;
        None
    }
}
