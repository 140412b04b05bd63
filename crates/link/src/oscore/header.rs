//! The value of the OSCORE option (RFC 8613, section 6.1).

use crate::cbor::{Full, Writer};

use super::NUMBERS;

/// The flag of a kid.
const KID: u8 = 0x08;
/// The flag of a kid context.
const KID_CONTEXT: u8 = 0x10;

/// What an OSCORE option says: which context a message is for, and its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header<'a> {
    /// The Partial IV: the sender's number of the message.
    pub number: Option<u64>,
    /// The kid context, by which contexts with one kid are told apart (section 5.1).
    pub kid_context: Option<&'a [u8]>,
    /// The kid: the Sender ID of who sent a request.
    pub kid: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// Reads the option's value. Reserved flags and lengths, and what could be said shorter, are refused.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let Some((&flags, rest)) = value.split_first() else {
            return Some(Self::default());
        };
        // Section 2: no flags at all are said by an empty value.
        if flags == 0 || flags & 0xe0 != 0 {
            return None;
        }
        let (number, rest) = rest.split_at_checked(usize::from(flags & 0x07))?;
        let number = match number {
            [] => None,
            // Section 5: leading zeros are removed, except of zero itself.
            [0, _, ..] => return None,
            bytes if bytes.len() > 5 => return None,
            bytes => Some(
                bytes
                    .iter()
                    .fold(0, |number, byte| (number << 8) | u64::from(*byte)),
            ),
        };
        let (kid_context, rest) = if flags & KID_CONTEXT == 0 {
            (None, rest)
        } else {
            let (length, rest) = rest.split_first()?;
            let (context, rest) = rest.split_at_checked(usize::from(*length))?;
            (Some(context), rest)
        };
        let kid = (flags & KID != 0).then_some(rest);
        if kid.is_none() && !rest.is_empty() {
            return None;
        }
        Some(Self {
            number,
            kid_context,
            kid,
        })
    }

    /// Writes the option's value.
    pub fn write<'b>(&self, out: &'b mut [u8]) -> Result<&'b [u8], Full> {
        let mut writer = Writer::new(out);
        if self.number.is_some_and(|number| number >= NUMBERS) {
            return Err(Full);
        }
        let number = self.number.map(Number::new);
        let number = number.as_ref().map_or(&[][..], Number::as_bytes);
        let flags = u8::try_from(number.len()).map_err(|_| Full)?
            | if self.kid.is_some() { KID } else { 0 }
            | if self.kid_context.is_some() {
                KID_CONTEXT
            } else {
                0
            };
        if flags != 0 {
            writer.raw(&[flags]).raw(number);
        }
        if let Some(context) = self.kid_context {
            writer.raw(&[u8::try_from(context.len()).map_err(|_| Full)?]);
            writer.raw(context);
        }
        writer.raw(self.kid.unwrap_or_default());
        writer.finish()
    }
}

/// A number as a Partial IV: the fewest bytes, at least one.
pub(super) struct Number {
    bytes: [u8; 8],
    from: usize,
}

impl Number {
    pub(super) fn new(number: u64) -> Self {
        let bytes = number.to_be_bytes();
        let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(7);
        Self { bytes, from }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }

    /// The five bytes in the nonce.
    pub(super) const fn padded(&self) -> [u8; 5] {
        let [_, _, _, padded @ ..] = self.bytes;
        padded
    }
}
