//! Messages (RFC 7252, section 3), read where they lie and written into a lent buffer.

mod write;

use core::fmt;

use super::option;

pub use write::{BuildError, Builder};

/// The marker between options and payload.
const MARKER: u8 = 0xff;
/// The longest token (RFC 7252, section 3); longer ones (RFC 8974) are refused.
pub const TOKEN_MAX: usize = 8;

/// What a message asks of the layer below (RFC 7252, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// CON: repeated until it is acknowledged.
    Confirmable,
    /// NON: sent once.
    NonConfirmable,
    /// ACK.
    Acknowledgement,
    /// RST: the message could not be dealt with.
    Reset,
}

impl Type {
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Confirmable => 0x00,
            Self::NonConfirmable => 0x10,
            Self::Acknowledgement => 0x20,
            Self::Reset => 0x30,
        }
    }

    const fn of(first: u8) -> Self {
        match first & 0x30 {
            0x00 => Self::Confirmable,
            0x10 => Self::NonConfirmable,
            0x20 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }
}

/// A method or a response code (RFC 7252, section 12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub u8);

impl Code {
    /// 0.00, of messages that are only an acknowledgement, a reset or a ping.
    pub const EMPTY: Self = Self(0);
    /// 0.01
    pub const GET: Self = Self(1);
    /// 0.02
    pub const POST: Self = Self(2);
    /// 0.03
    pub const PUT: Self = Self(3);
    /// 0.04
    pub const DELETE: Self = Self(4);
    /// 0.05 (RFC 8132)
    pub const FETCH: Self = Self(5);
    /// 0.06 (RFC 8132)
    pub const PATCH: Self = Self(6);
    /// 0.07 (RFC 8132)
    pub const IPATCH: Self = Self(7);
    /// 2.01
    pub const CREATED: Self = Self::new(2, 1);
    /// 2.02
    pub const DELETED: Self = Self::new(2, 2);
    /// 2.03
    pub const VALID: Self = Self::new(2, 3);
    /// 2.04
    pub const CHANGED: Self = Self::new(2, 4);
    /// 2.05
    pub const CONTENT: Self = Self::new(2, 5);
    /// 2.31 (RFC 7959, section 2.9.1)
    pub const CONTINUE: Self = Self::new(2, 31);
    /// 4.00
    pub const BAD_REQUEST: Self = Self::new(4, 0);
    /// 4.01
    pub const UNAUTHORIZED: Self = Self::new(4, 1);
    /// 4.02
    pub const BAD_OPTION: Self = Self::new(4, 2);
    /// 4.03
    pub const FORBIDDEN: Self = Self::new(4, 3);
    /// 4.04
    pub const NOT_FOUND: Self = Self::new(4, 4);
    /// 4.05
    pub const METHOD_NOT_ALLOWED: Self = Self::new(4, 5);
    /// 4.06
    pub const NOT_ACCEPTABLE: Self = Self::new(4, 6);
    /// 4.08: blocks are missing (RFC 7959, section 2.9.2)
    pub const REQUEST_ENTITY_INCOMPLETE: Self = Self::new(4, 8);
    /// 4.09 (RFC 8132)
    pub const CONFLICT: Self = Self::new(4, 9);
    /// 4.12
    pub const PRECONDITION_FAILED: Self = Self::new(4, 12);
    /// 4.13
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self::new(4, 13);
    /// 4.15
    pub const UNSUPPORTED_CONTENT_FORMAT: Self = Self::new(4, 15);
    /// 4.29 (RFC 8516)
    pub const TOO_MANY_REQUESTS: Self = Self::new(4, 29);
    /// 5.00
    pub const INTERNAL_SERVER_ERROR: Self = Self::new(5, 0);
    /// 5.01
    pub const NOT_IMPLEMENTED: Self = Self::new(5, 1);
    /// 5.03
    pub const SERVICE_UNAVAILABLE: Self = Self::new(5, 3);
    /// 5.05
    pub const PROXYING_NOT_SUPPORTED: Self = Self::new(5, 5);

    /// The code `class.detail`.
    const fn new(class: u8, detail: u8) -> Self {
        Self((class << 5) | detail)
    }

    /// The digit before the dot.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The number behind the dot.
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// Whether it is a method.
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// Whether it is a response code.
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2 | 4 | 5)
    }

    /// Whether it is a response code that says it went well.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

/// What matches a response to its request (RFC 7252, section 5.3.1): up to eight bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// Zero behind the length, so that equal tokens are equal.
    bytes: [u8; TOKEN_MAX],
    length: u8,
}

impl Token {
    /// The token of these bytes; more than eight are none.
    pub fn new(token: &[u8]) -> Option<Self> {
        let mut bytes = [0; TOKEN_MAX];
        bytes.get_mut(..token.len())?.copy_from_slice(token);
        let length = u8::try_from(token.len()).ok()?;
        Some(Self { bytes, length })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not even a header, or another version: nothing is answered (RFC 7252, section 3).
    NoHeader,
    /// The header is whole, the rest is not: a confirmable one is answered by a reset (section 4.2), others are ignored.
    Format {
        /// What the header said.
        kind: Type,
        /// The message ID of the reset.
        id: u16,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "it is no CoAP message",
            Self::Format { .. } => "the CoAP message is malformed",
        })
    }
}

impl core::error::Error for Malformed {}

/// A message as it came: header, token, options and payload, all checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Confirmable or what else.
    pub kind: Type,
    /// The method or response code.
    pub code: Code,
    /// The message ID: what acknowledgements and duplicates are known by.
    pub id: u16,
    /// What matches responses to requests.
    pub token: Token,
    /// Options and payload.
    pub body: Body<'a>,
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let Some((&[first, code, id @ ..], rest)) = datagram.split_first_chunk::<4>() else {
            return Err(Malformed::NoHeader);
        };
        if first >> 6 != 1 {
            return Err(Malformed::NoHeader);
        }
        let (kind, code, id) = (Type::of(first), Code(code), u16::from_be_bytes(id));
        let message = || {
            let (token, body) = rest.split_at_checked(usize::from(first & 0x0f))?;
            let token = Token::new(token)?;
            // Section 4.1: an empty message is its header and nothing more. Section 4.2: reserved classes.
            let sound = if code == Code::EMPTY {
                rest.is_empty()
            } else {
                code.is_request() || code.is_response()
            };
            let body = sound.then(|| Body::parse(body))??;
            Some(Self {
                kind,
                code,
                id,
                token,
                body,
            })
        };
        message().ok_or(Malformed::Format { kind, id })
    }
}

/// Options and payload, checked: what follows the token, and what follows the code in an OSCORE plaintext (RFC 8613, section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<'a> {
    options: &'a [u8],
    payload: &'a [u8],
}

/// A path or query that names nothing: a part is empty, `.` or `..`, holds a slash or a control character, is not UTF-8, or all of
/// it is longer than the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPath;

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path is not a plain one")
    }
}

impl core::error::Error for BadPath {}

impl<'a> Body<'a> {
    /// Neither options nor payload.
    pub const EMPTY: Self = Self {
        options: &[],
        payload: &[],
    };

    /// Reads options and, behind its marker, a payload. A marker with nothing behind is an error (RFC 7252, section 3).
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut options = Options {
            rest: bytes,
            number: 0,
        };
        while options.rest.first().is_some_and(|byte| *byte != MARKER) {
            options.step()?;
        }
        let payload = match options.rest.split_first() {
            None => options.rest,
            Some((_, [])) => return None,
            Some((_, payload)) => payload,
        };
        let options = bytes
            .len()
            .checked_sub(options.rest.len())
            .and_then(|length| bytes.get(..length))?;
        Some(Self { options, payload })
    }

    /// The options in their order, as number and value.
    pub const fn options(&self) -> Options<'a> {
        Options {
            rest: self.options,
            number: 0,
        }
    }

    /// The payload; empty where there is none.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The first value of an option. One whose length is not allowed counts as not there (RFC 7252, section 5.4.3).
    pub fn get(&self, wanted: u16) -> Option<&'a [u8]> {
        self.all(wanted).next()
    }

    /// The number in the first option of this kind.
    pub fn uint(&self, wanted: u16) -> Option<u32> {
        option::uint(self.get(wanted)?)
    }

    /// All values of an option.
    pub fn all(&self, wanted: u16) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.options()
            .filter(move |(number, value)| {
                *number == wanted && option::length_allowed(wanted, value.len())
            })
            .map(|(_, value)| value)
    }

    /// The first critical option that is not among the known ones, has a length that is not allowed, or is there once too often:
    /// a request with one is answered 4.02, a response with one is refused (RFC 7252, section 5.4.1).
    pub fn unknown_critical(&self, known: &[u16]) -> Option<u16> {
        let mut before = None;
        self.options().find_map(|(number, value)| {
            let again = before.replace(number) == Some(number);
            let understood = known.contains(&number)
                && option::length_allowed(number, value.len())
                && (!again || option::repeatable(number));
            (option::critical(number) && !understood).then_some(number)
        })
    }

    /// Writes the path, its parts joined by `/`, without one at its beginning. No parts at all: the empty path.
    pub fn path<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b str, BadPath> {
        let mut length = 0_usize;
        for (number, part) in self.options() {
            if number != option::URI_PATH {
                continue;
            }
            // RFC 7252, section 5.10.1: never `.` or `..`; the rest here is what no resource of ours is named by.
            if part.len() > 255
                || matches!(part, b"" | b"." | b"..")
                || part
                    .iter()
                    .any(|byte| *byte == b'/' || *byte < b' ' || *byte == 0x7f)
            {
                return Err(BadPath);
            }
            let slash: &[u8] = if length == 0 { b"" } else { b"/" };
            for piece in [slash, part] {
                let end = length.checked_add(piece.len()).ok_or(BadPath)?;
                buffer
                    .get_mut(length..end)
                    .ok_or(BadPath)?
                    .copy_from_slice(piece);
                length = end;
            }
        }
        let path = buffer.get(..length).ok_or(BadPath)?;
        core::str::from_utf8(path).map_err(|_| BadPath)
    }

    /// Whether this is the path, given with `/` between its parts and none at its beginning.
    pub fn path_is(&self, path: &str) -> bool {
        self.all(option::URI_PATH).eq(parts(path))
    }
}

/// The parts of a path between its slashes.
fn parts(path: &str) -> impl Iterator<Item = &[u8]> {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty())
}

/// The options of a message in their order, as number and value.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    rest: &'a [u8],
    number: u16,
}

impl<'a> Options<'a> {
    /// The next option; nothing if what is there is none.
    fn step(&mut self) -> Option<(u16, &'a [u8])> {
        let (first, mut rest) = self.rest.split_first()?;
        let delta = extended(first >> 4, &mut rest)?;
        let length = extended(first & 0x0f, &mut rest)?;
        let number = u32::from(self.number).checked_add(delta)?;
        self.number = u16::try_from(number).ok()?;
        let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some((self.number, value))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.step()
    }
}

/// A delta or length whose four bits are given (RFC 7252, section 3.1); 15 is reserved.
fn extended(nibble: u8, rest: &mut &[u8]) -> Option<u32> {
    let (value, more) = match nibble {
        0..=12 => return Some(u32::from(nibble)),
        13 => {
            let (byte, more) = rest.split_first()?;
            (u32::from(*byte).checked_add(13)?, more)
        }
        14 => {
            let (bytes, more) = rest.split_first_chunk::<2>()?;
            (
                u32::from(u16::from_be_bytes(*bytes)).checked_add(269)?,
                more,
            )
        }
        _ => return None,
    };
    *rest = more;
    Some(value)
}
