//! CBOR (RFC 8949), deterministically encoded and nothing else (section 4.2.1): a writer into a buffer, a reader of bytes.
//!
//! Left out, because nothing here uses them: floating point, and simple values besides true, false and null.

use core::fmt;

/// The buffer was too small for what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is full")
    }
}

impl core::error::Error for Full {}

/// Why bytes are not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// They end too early.
    Truncated,
    /// They could be said in another way that is the deterministic one, or are of an indefinite length, or map keys are out of
    /// order or twice there.
    NotDeterministic,
    /// Something else is there.
    Unexpected,
    /// Something follows.
    Trailing,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "CBOR ends too early",
            Self::NotDeterministic => "CBOR is not deterministically encoded",
            Self::Unexpected => "CBOR of another kind than expected",
            Self::Trailing => "something follows the CBOR",
        })
    }
}

impl core::error::Error for Error {}

/// The major types (RFC 8949, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned integer.
    Uint,
    /// A negative integer.
    Negative,
    /// A byte string.
    Bytes,
    /// A text string.
    Text,
    /// An array.
    Array,
    /// A map.
    Map,
    /// A tag.
    Tag,
    /// A simple value.
    Simple,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Uint,
        Self::Negative,
        Self::Bytes,
        Self::Text,
        Self::Array,
        Self::Map,
        Self::Tag,
        Self::Simple,
    ];

    const fn bits(self) -> u8 {
        match self {
            Self::Uint => 0x00,
            Self::Negative => 0x20,
            Self::Bytes => 0x40,
            Self::Text => 0x60,
            Self::Array => 0x80,
            Self::Map => 0xa0,
            Self::Tag => 0xc0,
            Self::Simple => 0xe0,
        }
    }
}

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;

/// Writes into a buffer. Once it is full, everything after is ignored and [`Writer::finish`] says so.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    used: usize,
    full: bool,
}

impl<'a> Writer<'a> {
    /// Nothing written yet.
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            used: 0,
            full: false,
        }
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(Kind::Uint, value)
    }

    /// A whole number.
    pub fn int(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.head(Kind::Uint, value),
            // −1 − n is the complement of n.
            Err(_) => self.head(Kind::Negative, (!value).unsigned_abs()),
        }
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.string(Kind::Bytes, value)
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.string(Kind::Text, value.as_bytes())
    }

    /// The head of a byte string whose bytes the caller writes next.
    pub fn bytes_head(&mut self, length: usize) -> &mut Self {
        self.count(Kind::Bytes, length)
    }

    /// The head of an array of as many items, which follow.
    pub fn array(&mut self, items: usize) -> &mut Self {
        self.count(Kind::Array, items)
    }

    /// The head of a map of as many pairs, which follow in the order of their keys.
    pub fn map(&mut self, pairs: usize) -> &mut Self {
        self.count(Kind::Map, pairs)
    }

    /// The tag of the item that follows.
    pub fn tag(&mut self, tag: u64) -> &mut Self {
        self.head(Kind::Tag, tag)
    }

    /// True or false.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.head(Kind::Simple, if value { TRUE } else { FALSE })
    }

    /// Null.
    pub fn null(&mut self) -> &mut Self {
        self.head(Kind::Simple, NULL)
    }

    /// Bytes that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        let place = self
            .used
            .checked_add(bytes.len())
            .and_then(|end| self.buffer.get_mut(self.used..end));
        match place {
            Some(place) if !self.full => {
                place.copy_from_slice(bytes);
                self.used = self.used.saturating_add(bytes.len());
            }
            _ => self.full = true,
        }
        self
    }

    /// How many bytes have been written.
    pub const fn written(&self) -> usize {
        self.used
    }

    /// What was written, if the buffer held all of it.
    pub fn finish(self) -> Result<&'a [u8], Full> {
        if self.full {
            return Err(Full);
        }
        let buffer: &'a [u8] = self.buffer;
        buffer.get(..self.used).ok_or(Full)
    }

    fn string(&mut self, kind: Kind, value: &[u8]) -> &mut Self {
        self.count(kind, value.len()).raw(value)
    }

    fn count(&mut self, kind: Kind, count: usize) -> &mut Self {
        // Where a usize does not fit into 64 bits, no such thing is in memory.
        self.head(kind, u64::try_from(count).unwrap_or(u64::MAX))
    }

    fn head(&mut self, kind: Kind, value: u64) -> &mut Self {
        let (info, length) = match value {
            0..=23 => (value.to_be_bytes()[7], 0),
            24..=0xff => (24, 1),
            0x100..=0xffff => (25, 2),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 8),
        };
        self.raw(&[kind.bits() | info]);
        let bytes = value.to_be_bytes();
        let (_, last) = bytes
            .split_at_checked(8_usize.saturating_sub(length))
            .unwrap_or_default();
        self.raw(last)
    }
}

/// Reads bytes item by item. After an error it may stand anywhere: give up.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// That nothing follows.
    pub const fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Trailing)
        }
    }

    /// What comes next.
    pub fn peek(&self) -> Result<Kind, Error> {
        let first = *self.rest.first().ok_or(Error::Truncated)?;
        Kind::ALL
            .get(usize::from(first >> 5))
            .copied()
            .ok_or(Error::Unexpected)
    }

    /// An unsigned integer.
    pub fn uint(&mut self) -> Result<u64, Error> {
        self.of(Kind::Uint)
    }

    /// A whole number of 64 bits.
    pub fn int(&mut self) -> Result<i64, Error> {
        let (kind, value) = self.head()?;
        let value = i64::try_from(value).map_err(|_| Error::Unexpected)?;
        if kind == Kind::Uint {
            Ok(value)
        } else if kind == Kind::Negative {
            Ok(!value)
        } else {
            Err(Error::Unexpected)
        }
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.of(Kind::Bytes)?;
        self.take(length)
    }

    /// A byte string of exactly this length.
    pub fn bytes_of<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        self.bytes()?.try_into().map_err(|_| Error::Unexpected)
    }

    /// A text string.
    pub fn text(&mut self) -> Result<&'a str, Error> {
        let length = self.of(Kind::Text)?;
        core::str::from_utf8(self.take(length)?).map_err(|_| Error::Unexpected)
    }

    /// The head of an array: how many items follow, of which as many bytes at least are there.
    pub fn array(&mut self) -> Result<usize, Error> {
        let count = self.of(Kind::Array)?;
        self.fitting(count, 1)
    }

    /// The head of a map: how many pairs follow, of which twice as many bytes at least are there.
    pub fn map(&mut self) -> Result<usize, Error> {
        let count = self.of(Kind::Map)?;
        self.fitting(count, 2)
    }

    /// A key of a map whose keys are all whole numbers: after `last`, as deterministic encoding orders them.
    pub fn key(&mut self, last: &mut Option<i64>) -> Result<i64, Error> {
        let key = self.int()?;
        let rank = |key: i64| (key < 0, key.unsigned_abs());
        if last.is_some_and(|last| rank(last) >= rank(key)) {
            return Err(Error::NotDeterministic);
        }
        *last = Some(key);
        Ok(key)
    }

    /// A tag.
    pub fn tag(&mut self) -> Result<u64, Error> {
        self.of(Kind::Tag)
    }

    /// True or false.
    pub fn bool(&mut self) -> Result<bool, Error> {
        match self.of(Kind::Simple)? {
            TRUE => Ok(true),
            FALSE => Ok(false),
            _ => Err(Error::Unexpected),
        }
    }

    /// Null.
    pub fn null(&mut self) -> Result<(), Error> {
        match self.of(Kind::Simple)? {
            NULL => Ok(()),
            _ => Err(Error::Unexpected),
        }
    }

    /// The next item whole, with everything in it, as it is encoded. Takes time in its length, whatever its depth; the order of
    /// map keys in it is not looked at.
    pub fn skip(&mut self) -> Result<&'a [u8], Error> {
        let all = self.rest;
        let mut open = 1_u64;
        while let Some(others) = open.checked_sub(1) {
            let (kind, value) = self.head()?;
            let more = match kind {
                Kind::Uint | Kind::Negative => 0,
                Kind::Simple if (FALSE..=NULL).contains(&value) => 0,
                Kind::Simple => return Err(Error::Unexpected),
                Kind::Bytes => self.take(value).map(|_| 0)?,
                Kind::Text => {
                    core::str::from_utf8(self.take(value)?).map_err(|_| Error::Unexpected)?;
                    0
                }
                Kind::Array => self.fitting(value, 1).map(|_| value)?,
                Kind::Map => self.fitting(value, 2).map(|_| value.saturating_mul(2))?,
                Kind::Tag => 1,
            };
            open = others.saturating_add(more);
        }
        let length = all.len().saturating_sub(self.rest.len());
        all.get(..length).ok_or(Error::Truncated)
    }

    fn of(&mut self, wanted: Kind) -> Result<u64, Error> {
        let (kind, value) = self.head()?;
        if kind == wanted {
            Ok(value)
        } else {
            Err(Error::Unexpected)
        }
    }

    fn head(&mut self) -> Result<(Kind, u64), Error> {
        let kind = self.peek()?;
        let (&first, rest) = self.rest.split_first().ok_or(Error::Truncated)?;
        self.rest = rest;
        let info = first & 0x1f;
        let (length, least) = match info {
            0..=23 => return Ok((kind, u64::from(info))),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            28..=30 => return Err(Error::Unexpected),
            _ => return Err(Error::NotDeterministic),
        };
        if kind == Kind::Simple {
            return Err(Error::Unexpected);
        }
        let value = self
            .take(length)?
            .iter()
            .fold(0_u64, |value, &byte| (value << 8) | u64::from(byte));
        if value < least {
            return Err(Error::NotDeterministic);
        }
        Ok((kind, value))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let (taken, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn fitting(&self, count: u64, bytes_each: usize) -> Result<usize, Error> {
        usize::try_from(count)
            .ok()
            .filter(|count| {
                count
                    .checked_mul(bytes_each)
                    .is_some_and(|least| least <= self.rest.len())
            })
            .ok_or(Error::Truncated)
    }
}

#[cfg(test)]
mod tests;
