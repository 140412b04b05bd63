//! Deterministic CBOR (RFC 8949 §4.2.1) for the few types that a profile and its signature need.

use crate::fault::At;
use crate::read::{Entry, Node, Value};

/// Why bytes are not the deterministic encoding of anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborError {
    /// The bytes end within an item.
    #[error("the bytes end too early")]
    Short,
    /// Bytes follow the item.
    #[error("bytes follow the end")]
    Trailing,
    /// Not the shortest form, or a length that is not said in advance.
    #[error("a number or length is not in its one form")]
    Form,
    /// Keys of a map out of order or repeated.
    #[error("the keys of a map are not in order")]
    Order,
    /// Text that is no UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A type that has no place here.
    #[error("a type that has no place here")]
    Type,
    /// Nested too deeply.
    #[error("nested too deeply")]
    Depth,
    /// Too many bytes.
    #[error("too many bytes")]
    Size,
}

/// A profile's text and its bytes are no larger than this.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
const MAX_DEPTH: usize = 8;

// RFC 8949 §3.1, the major types.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;
// RFC 8949 §3.3, table 3.
const FALSE: u64 = 20;
const TRUE: u64 = 21;

/// Writes items one after the other; the caller keeps the order of maps.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    /// The head of an item in its shortest form (RFC 8949 §4.2.1).
    fn head(&mut self, major: u8, argument: u64) {
        let major = major.checked_shl(5).unwrap_or_default();
        let bytes = argument.to_be_bytes();
        let (info, width) = match argument {
            0..=23 => {
                self.0
                    .push(major | u8::try_from(argument).unwrap_or_default());
                return;
            }
            24..=0xff => (24, 1),
            0x100..=0xffff => (25, 2),
            0x1_0000..=0xffff_ffff => (26, 4),
            0x1_0000_0000.. => (27, 8),
        };
        self.0.push(major | info);
        self.0
            .extend(bytes.iter().skip(bytes.len().saturating_sub(width)));
    }

    fn head_of(&mut self, major: u8, length: usize) {
        self.head(major, u64::try_from(length).unwrap_or(u64::MAX));
    }

    pub(crate) fn integer(&mut self, number: i64) {
        match u64::try_from(number) {
            Ok(number) => self.head(UNSIGNED, number),
            // RFC 8949 §3.1, major type 1: the argument is -1 - n, which is !n.
            Err(_) => self.head(NEGATIVE, u64::try_from(!number).unwrap_or_default()),
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.head_of(BYTES, bytes.len());
        self.0.extend(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.head_of(TEXT, text.len());
        self.0.extend(text.as_bytes());
    }

    pub(crate) fn array(&mut self, length: usize) {
        self.head_of(ARRAY, length);
    }

    pub(crate) fn map(&mut self, length: usize) {
        self.head_of(MAP, length);
    }

    pub(crate) fn tag(&mut self, number: u64) {
        self.head(TAG, number);
    }

    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Integer(number) => self.integer(*number),
            Value::Text(text) => self.text(text),
            Value::Boolean(flag) => self.head(SIMPLE, if *flag { TRUE } else { FALSE }),
            Value::List(items) => {
                self.array(items.len());
                for item in items {
                    self.value(&item.value);
                }
            }
            Value::Table(entries) => {
                self.map(entries.len());
                let mut sorted: Vec<(Vec<u8>, &Value)> = entries
                    .iter()
                    .map(|entry| (key(&entry.key), &entry.node.value))
                    .collect();
                // RFC 8949 §4.2.1: in the bytewise order of the encoded keys.
                sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
                for (key, value) in sorted {
                    self.0.extend(key);
                    self.value(value);
                }
            }
            // No writer makes one: it stands for what TOML has and a profile has not.
            Value::Other(_) => self.head(SIMPLE, FALSE),
        }
    }
}

fn key(text: &str) -> Vec<u8> {
    let mut key = Encoder::default();
    key.text(text);
    key.finish()
}

/// Reads items one after the other; takes nothing but the deterministic form.
#[derive(Debug)]
pub(crate) struct Decoder<'b> {
    rest: &'b [u8],
}

impl<'b> Decoder<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Result<Self, CborError> {
        if bytes.len() > MAX_BYTES {
            Err(CborError::Size)
        } else {
            Ok(Self { rest: bytes })
        }
    }

    pub(crate) fn end(&self) -> Result<(), CborError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CborError::Trailing)
        }
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], CborError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CborError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let &[first] = self.take(1)? else {
            return Err(CborError::Short);
        };
        let (major, info) = (first >> 5, first & 0x1f);
        let (width, least) = match info {
            0..=23 => return Ok((major, info.into())),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(CborError::Form),
        };
        // Simple values have no shorter form to compare with: only those in the head are known here.
        let argument = self
            .take(width)?
            .iter()
            .fold(0_u64, |all, &byte| all << 8 | u64::from(byte));
        if argument < least || major == SIMPLE {
            Err(CborError::Form)
        } else {
            Ok((major, argument))
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<u64, CborError> {
        let (major, argument) = self.head()?;
        if major == wanted {
            Ok(argument)
        } else {
            Err(CborError::Type)
        }
    }

    fn slice(&mut self, length: u64) -> Result<&'b [u8], CborError> {
        self.take(usize::try_from(length).map_err(|_| CborError::Short)?)
    }

    pub(crate) fn integer(&mut self) -> Result<i64, CborError> {
        let (major, argument) = self.head()?;
        integer(major, argument)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], CborError> {
        let length = self.expect(BYTES)?;
        self.slice(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'b str, CborError> {
        let length = self.expect(TEXT)?;
        str::from_utf8(self.slice(length)?).map_err(|_| CborError::Utf8)
    }

    pub(crate) fn array(&mut self) -> Result<u64, CborError> {
        self.expect(ARRAY)
    }

    pub(crate) fn map(&mut self) -> Result<u64, CborError> {
        self.expect(MAP)
    }

    pub(crate) fn tag(&mut self) -> Result<u64, CborError> {
        self.expect(TAG)
    }

    pub(crate) fn node(&mut self, depth: usize) -> Result<Node, CborError> {
        if depth > MAX_DEPTH {
            return Err(CborError::Depth);
        }
        let deeper = depth.saturating_add(1);
        let (major, argument) = self.head()?;
        let value = match major {
            UNSIGNED | NEGATIVE => Value::Integer(integer(major, argument)?),
            TEXT => {
                let text = str::from_utf8(self.slice(argument)?).map_err(|_| CborError::Utf8)?;
                Value::Text(text.to_owned())
            }
            // Lengths are never trusted for a reservation: each item must be there.
            ARRAY => {
                let mut items = Vec::new();
                for _ in 0..argument {
                    items.push(self.node(deeper)?);
                }
                Value::List(items)
            }
            MAP => Value::Table(self.entries(argument, deeper)?),
            SIMPLE if argument == FALSE => Value::Boolean(false),
            SIMPLE if argument == TRUE => Value::Boolean(true),
            _ => return Err(CborError::Type),
        };
        Ok(Node {
            at: At::default(),
            value,
        })
    }

    fn entries(&mut self, count: u64, depth: usize) -> Result<Vec<Entry>, CborError> {
        let mut entries = Vec::new();
        let mut last: &[u8] = &[];
        for _ in 0..count {
            let start = self.rest;
            let key = self.text()?;
            let used = start.len().saturating_sub(self.rest.len());
            let encoded = start.get(..used).unwrap_or_default();
            if encoded <= last {
                return Err(CborError::Order);
            }
            last = encoded;
            let node = self.node(depth)?;
            entries.push(Entry {
                key: key.to_owned(),
                key_at: At::default(),
                node,
            });
        }
        Ok(entries)
    }
}

fn integer(major: u8, argument: u64) -> Result<i64, CborError> {
    let number = i64::try_from(argument).map_err(|_| CborError::Type)?;
    match major {
        UNSIGNED => Ok(number),
        NEGATIVE => Ok(!number),
        _ => Err(CborError::Type),
    }
}
