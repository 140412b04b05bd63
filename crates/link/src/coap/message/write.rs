//! Writing messages.

use core::fmt;

use super::{Code, MARKER, Options, Token, Type, parts};
use crate::coap::option;

/// Why a message could not be written: mistakes of ours, never of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildError {
    /// The buffer is full.
    Full,
    /// An option came after one of a higher number, or is longer than any may be.
    Order,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the message does not fit its buffer",
            Self::Order => "the options are not in order",
        })
    }
}

impl core::error::Error for BuildError {}

/// Writes a message into a lent buffer. Mistakes are kept and told at the end.
#[derive(Debug)]
pub struct Builder<'a> {
    buffer: &'a mut [u8],
    length: usize,
    last: u16,
    error: Option<BuildError>,
}

impl<'a> Builder<'a> {
    /// Begins a message.
    pub fn new(buffer: &'a mut [u8], kind: Type, code: Code, id: u16, token: &Token) -> Self {
        let mut builder = Self::body(buffer);
        let [high, low] = id.to_be_bytes();
        builder.push(&[0x40 | kind.bits() | token.length, code.0, high, low]);
        builder.push(token.as_bytes());
        builder
    }

    /// Begins options and payload alone.
    pub const fn body(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            length: 0,
            last: 0,
            error: None,
        }
    }

    /// Begins an OSCORE plaintext: a code, then options and payload (RFC 8613, section 5.3).
    pub fn plaintext(buffer: &'a mut [u8], code: Code) -> Self {
        let mut builder = Self::body(buffer);
        builder.push(&[code.0]);
        builder
    }

    /// Adds an option; numbers never descend.
    pub fn option(&mut self, number: u16, value: &[u8]) -> &mut Self {
        let delta = number.checked_sub(self.last);
        let (Some(delta), Ok(length)) = (delta, u16::try_from(value.len())) else {
            self.error.get_or_insert(BuildError::Order);
            return self;
        };
        let (delta, length) = (Split::of(delta), Split::of(length));
        self.push(&[(delta.nibble << 4) | length.nibble]);
        self.push(delta.more());
        self.push(length.more());
        self.push(value);
        self.last = number;
        self
    }

    /// Adds an option with a number in it, in the fewest bytes.
    pub fn uint(&mut self, number: u16, value: u32) -> &mut Self {
        let bytes = value.to_be_bytes();
        let value = bytes.get(option::uint_start(value)..).unwrap_or_default();
        self.option(number, value)
    }

    /// Adds one Uri-Path for each part of a path; slashes at its ends add none.
    pub fn path(&mut self, path: &str) -> &mut Self {
        for part in parts(path) {
            self.option(option::URI_PATH, part);
        }
        self
    }

    /// Adds options as they were read, those that `keep` lets through.
    pub fn copy(&mut self, options: Options<'_>, keep: impl Fn(u16) -> bool) -> &mut Self {
        for (number, value) in options {
            if keep(number) {
                self.option(number, value);
            }
        }
        self
    }

    /// Ends with a payload; an empty one is none. Gives the whole message.
    pub fn payload(mut self, payload: &[u8]) -> Result<&'a [u8], BuildError> {
        if !payload.is_empty() {
            self.push(&[MARKER]);
            self.push(payload);
        }
        self.finish()
    }

    /// Ends without a payload. Gives the whole message.
    pub fn finish(self) -> Result<&'a [u8], BuildError> {
        match self.error {
            Some(error) => Err(error),
            None => self.buffer.get(..self.length).ok_or(BuildError::Full),
        }
    }

    /// Writes the payload's marker, and gives the length up to and with it and the space behind, for a payload that is written in
    /// place. If nothing is, the message ends before the marker.
    pub fn payload_space(mut self) -> Result<(usize, &'a mut [u8]), BuildError> {
        self.push(&[MARKER]);
        if let Some(error) = self.error {
            return Err(error);
        }
        let space = self.buffer.get_mut(self.length..);
        Ok((self.length, space.ok_or(BuildError::Full)?))
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        match self.buffer.get_mut(self.length..end) {
            Some(space) => {
                space.copy_from_slice(bytes);
                self.length = end;
            }
            None => {
                self.error.get_or_insert(BuildError::Full);
            }
        }
    }
}

/// A delta or length as its four bits and the bytes that follow (RFC 7252, section 3.1).
struct Split {
    nibble: u8,
    bytes: [u8; 2],
    from: usize,
}

impl Split {
    fn of(value: u16) -> Self {
        let (nibble, value, from) = match value {
            0..=12 => (u8::try_from(value).unwrap_or_default(), 0, 2),
            13..=268 => (13, value.saturating_sub(13), 1),
            269.. => (14, value.saturating_sub(269), 0),
        };
        Self {
            nibble,
            bytes: value.to_be_bytes(),
            from,
        }
    }

    fn more(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}
