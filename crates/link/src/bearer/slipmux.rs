//! Messages on a serial line: SLIP frames (RFC 1055), told apart by their first byte (draft-bormann-t2trg-slipmux-03).
//!
//! A frame's checksum finds damage by chance, not by intent.

use core::iter::once;

use super::MESSAGE_MAX;

/// Ends a frame (RFC 1055); we also begin with it, so that noise before a frame is a frame of its own.
const END: u8 = 0xc0;
const ESC: u8 = 0xdb;
const ESC_END: u8 = 0xdc;
const ESC_ESC: u8 = 0xdd;

/// Longest frame a [`Decoder`] needs room for, in bytes: its kind, a message, the checksum.
pub const FRAME_MAX: usize = MESSAGE_MAX + 3;

/// What a frame holds. Frames of other kinds, IP packets and lines for a person to read, are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A CoAP message: the draft's configuration message.
    Message,
    /// A frame of a radio beside the line: eight bytes of the peer's address, then a [fragment](super::fragment). Not in the draft.
    Radio,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Message => 0xa9,
            Self::Radio => 0xaf,
        }
    }
}

/// A frame, byte by byte as it goes out.
pub fn encode(kind: Kind, bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let kind = kind.byte();
    let check = !bytes
        .iter()
        .fold(fcs(0xffff, kind), |sum, byte| fcs(sum, *byte));
    let content = once(kind)
        .chain(bytes.iter().copied())
        .chain(check.to_le_bytes());
    once(END).chain(content.flat_map(escaped)).chain(once(END))
}

fn escaped(byte: u8) -> impl Iterator<Item = u8> {
    let (first, second) = match byte {
        END => (ESC, Some(ESC_END)),
        ESC => (ESC, Some(ESC_ESC)),
        _ => (byte, None),
    };
    once(first).chain(second)
}

/// RFC 1662 appendix C.2, without its table: 512 bytes of flash are worth more than the time.
fn fcs(sum: u16, byte: u8) -> u16 {
    (0..8).fold(sum ^ u16::from(byte), |sum, _| {
        (sum >> 1) ^ if sum & 1 == 1 { 0x8408 } else { 0 }
    })
}

/// RFC 1662 appendix C.1: what the sum over a frame and its checksum comes to.
const GOOD: u16 = 0xf0b8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Too long, or not SLIP: nothing until the next end.
    Lost,
    Inside,
    Escaped,
}

/// A frame that came whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// That, without kind and checksum.
    pub bytes: &'a [u8],
}

/// Finds the frames in what a line says, into a buffer of the caller's: [`FRAME_MAX`] bytes of it hold every message.
#[derive(Debug)]
pub struct Decoder<'b> {
    buffer: &'b mut [u8],
    length: usize,
    sum: u16,
    state: State,
}

impl<'b> Decoder<'b> {
    /// Begins with a frame: where that was in the middle of one, its checksum tells.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            length: 0,
            sum: 0xffff,
            state: State::Inside,
        }
    }

    /// Takes a byte; a frame, when the byte ended one. What is damaged, too long or of another kind is passed over.
    pub fn push(&mut self, byte: u8) -> Option<Frame<'_>> {
        let byte = match (self.state, byte) {
            (state, END) => {
                let (length, good) = (self.length, self.sum == GOOD);
                (self.length, self.sum, self.state) = (0, 0xffff, State::Inside);
                // An end that was escaped aborts the frame: draft §5.
                return (state == State::Inside && good)
                    .then(|| frame(self.buffer.get(..length)?))?;
            }
            (State::Lost, _) => return None,
            (State::Inside, ESC) => {
                self.state = State::Escaped;
                return None;
            }
            (State::Escaped, ESC_END) => END,
            (State::Escaped, ESC_ESC) => ESC,
            (State::Escaped, _) => {
                self.state = State::Lost;
                return None;
            }
            (State::Inside, _) => byte,
        };
        self.state = State::Inside;
        match self.buffer.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length = self.length.saturating_add(1);
                self.sum = fcs(self.sum, byte);
            }
            None => self.state = State::Lost,
        }
        None
    }
}

fn frame(content: &[u8]) -> Option<Frame<'_>> {
    let (kind, rest) = content.split_first()?;
    let kind = [Kind::Message, Kind::Radio]
        .into_iter()
        .find(|it| it.byte() == *kind)?;
    let (bytes, _) = rest.split_last_chunk::<2>()?;
    Some(Frame { kind, bytes })
}
