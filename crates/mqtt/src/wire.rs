//! Reading and writing the basic types (5.0 §1.5).

use crate::{
    Binary, DecodeError, EncodeError, PacketId, Text, TextError, Version,
    error::{Rule, rule},
};

/// The largest variable byte integer, and so the largest remaining length (5.0 §1.5.5).
pub(crate) const VARINT_MAX: u32 = 0x0FFF_FFFF;

/// What a variable byte integer at the start of some bytes looks like.
pub(crate) enum Varint {
    /// Value, number of bytes, and whether a shorter form exists.
    Value {
        value: u32,
        len: usize,
        minimal: bool,
    },
    /// The bytes end before the integer does.
    Unfinished,
    /// Four bytes that all ask for more.
    TooLong,
}

/// Reads a variable byte integer of at most four bytes.
pub(crate) fn varint(bytes: &[u8]) -> Varint {
    let mut value: u32 = 0;
    for (at, shift) in [0_u32, 7, 14, 21].into_iter().enumerate() {
        let Some(byte) = bytes.get(at) else {
            return Varint::Unfinished;
        };
        value |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Varint::Value {
                value,
                len: at.saturating_add(1),
                minimal: at == 0 || *byte != 0,
            };
        }
    }
    Varint::TooLong
}

/// Takes values off the front of a packet's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    version: Version,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8], version: Version) -> Self {
        Self {
            rest: bytes,
            version,
        }
    }

    pub(crate) const fn version(&self) -> Version {
        self.version
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn malformed(&self, rule: Rule, detail: &'static str) -> DecodeError {
        rule.malformed(self.version, detail)
    }

    pub(crate) const fn protocol(&self, rule: Rule, detail: &'static str) -> DecodeError {
        rule.protocol(self.version, detail)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.malformed(rule::TRUNCATED, "packet ends inside a field"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.malformed(rule::TRUNCATED, "packet ends inside a field"));
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn packet_id(&mut self, rule: Rule) -> Result<PacketId, DecodeError> {
        let id = self.u16()?;
        PacketId::new(id).ok_or_else(|| self.protocol(rule, "packet identifier is zero"))
    }

    /// A variable byte integer inside an MQTT 5 packet.
    pub(crate) fn varint(&mut self) -> Result<u32, DecodeError> {
        match varint(self.rest) {
            Varint::Value {
                value,
                len,
                minimal: true,
            } => {
                self.take(len)?;
                Ok(value)
            }
            Varint::Value { minimal: false, .. } => Err(self.malformed(
                rule::VARINT_MINIMAL,
                "variable byte integer is not the shortest form",
            )),
            Varint::Unfinished => Err(self.malformed(
                rule::TRUNCATED,
                "packet ends inside a variable byte integer",
            )),
            Varint::TooLong => {
                Err(self.malformed(rule::VARINT, "variable byte integer longer than four bytes"))
            }
        }
    }

    pub(crate) fn binary(&mut self) -> Result<Binary<'a>, DecodeError> {
        let len = self.u16()?;
        let bytes = self.take(usize::from(len))?;
        Binary::new(bytes)
            .map_err(|_| self.malformed(rule::TRUNCATED, "binary data longer than 65535 bytes"))
    }

    pub(crate) fn str(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?.as_bytes();
        std::str::from_utf8(bytes)
            .map_err(|_| self.malformed(rule::UTF8, "string is not well-formed UTF-8"))
    }

    pub(crate) fn text(&mut self) -> Result<Text<'a>, DecodeError> {
        let text = self.str()?;
        Text::new(text).map_err(|error| match error {
            TextError::Nul => self.malformed(rule::NUL, "string holds U+0000"),
            TextError::TooLong | TextError::NotUserProperties => {
                self.malformed(rule::TRUNCATED, "string longer than 65535 bytes")
            }
        })
    }

    /// The packet must end here.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed(rule::TRAILING, "bytes after the end of the packet"))
        }
    }
}

/// Where encoded bytes go: counted first, written second, by the same code.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// A variable byte integer; the caller made sure it is at most [`VARINT_MAX`].
    fn varint(&mut self, value: u32) {
        let mut left = value & VARINT_MAX;
        loop {
            let [.., low] = left.to_be_bytes();
            left >>= 7;
            if left == 0 {
                self.u8(low & 0x7F);
                return;
            }
            self.u8(low | 0x80);
        }
    }

    /// A two byte length and the bytes: the type holds that they are no more than 65,535.
    fn binary(&mut self, value: Binary<'_>) {
        self.u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        self.put(&value);
    }

    /// As [`Sink::binary`], for the text of a [`Text`] or a topic: both are checked to fit.
    fn string(&mut self, value: &str) {
        self.u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        self.put(value.as_bytes());
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what would be written.
#[derive(Debug, Default)]
pub(crate) struct Count(usize);

impl Count {
    pub(crate) const fn get(&self) -> usize {
        self.0
    }
}

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

/// A length as a variable byte integer can say it.
pub(crate) fn encodable(len: usize) -> Result<u32, EncodeError> {
    u32::try_from(len)
        .ok()
        .filter(|len| *len <= VARINT_MAX)
        .ok_or(EncodeError::TooLarge)
}

/// Something that knows how to write the part of a packet after the fixed header.
pub(crate) trait Body {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError>;
}

/// Writes a whole packet, or nothing if it cannot be written.
pub(crate) fn encode(
    first: u8,
    body: &impl Body,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    encode_with_tail(first, body, 0, version, out)
}

/// As [`encode`], for a body which the caller ends with `tail` more bytes.
pub(crate) fn encode_with_tail(
    first: u8,
    body: &impl Body,
    tail: usize,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut count = Count::default();
    body.write(version, &mut count)?;
    let remaining = encodable(count.get().saturating_add(tail))?;
    out.reserve(count.get().saturating_add(tail).saturating_add(5));
    out.u8(first);
    Sink::varint(out, remaining);
    body.write(version, out)
}
