//! Domain names: labels of bytes, compressed on the wire (RFC 1035 §4.1.4), compared without case (RFC 4343).

use std::fmt;
use std::str::FromStr;

use crate::bytes::Bytes;

/// The longest name with its lengths and the root (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// A domain name, in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Each label after its length, without the root's: so a suffix of a name is a suffix of these bytes.
    labels: Box<[u8]>,
}

/// Why there is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It ends too early.
    #[error("a name is cut")]
    Cut,
    /// More than 255 bytes, or a label of more than 63.
    #[error("a name is too long")]
    TooLong,
    /// A label is empty.
    #[error("a name has an empty label")]
    Empty,
    /// A pointer does not point to earlier bytes; it could go round for ever.
    #[error("a name points forward or to itself")]
    Pointer,
    /// A kind of label that nobody uses (RFC 6891 §5).
    #[error("a name has a label of an unknown kind")]
    Label,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self {
            labels: Box::default(),
        }
    }

    /// Reads a name that begins at `rest`, which is the last part of `whole`.
    ///
    /// Every pointer must point before the place where the labels it ends began, so each name comes to an end.
    pub(super) fn read<'a>(whole: &'a [u8], rest: &mut Bytes<'a>) -> Result<Self, NameError> {
        let mut labels = Vec::new();
        let mut here = *rest;
        // Where the labels being read began.
        let mut before = whole.len().saturating_sub(rest.len());
        let mut jumped = false;
        loop {
            let length = here.u8().ok_or(NameError::Cut)?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    let label = here.take(length.into()).ok_or(NameError::Cut)?;
                    if labels.len().saturating_add(label.len()) > MAX_NAME.saturating_sub(2) {
                        return Err(NameError::TooLong);
                    }
                    labels.push(length);
                    labels.extend(label.iter().map(u8::to_ascii_lowercase));
                }
                3 => {
                    let low = here.u8().ok_or(NameError::Cut)?;
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if !jumped {
                        *rest = here;
                    }
                    jumped = true;
                    if target >= before {
                        return Err(NameError::Pointer);
                    }
                    before = target;
                    here = Bytes(whole.get(target..).ok_or(NameError::Pointer)?);
                }
                _ => return Err(NameError::Label),
            }
        }
        if !jumped {
            *rest = here;
        }
        Ok(Self {
            labels: labels.into(),
        })
    }

    /// The labels, from the host to the top.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Bytes(&self.labels);
        std::iter::from_fn(move || {
            let length = rest.u8()?;
            rest.take(length.into())
        })
    }

    /// Each label after its length, without the root's.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.labels
    }

    /// The name as text if it has but letters, digits, `-` and `_`: the only ones that hosts and services have.
    pub fn host(&self) -> Option<String> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let sound = |label: &[u8]| label.iter().all(plain);
        (!self.labels.is_empty() && self.labels().all(sound)).then(|| self.to_string())
    }

    /// Whether the name is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        let mut rest = Bytes(&self.labels);
        loop {
            if *rest.0 == *other.labels {
                return true;
            }
            let length = rest.u8().unwrap_or_default();
            if rest.take(length.into()).is_none_or(<[u8]>::is_empty) {
                return false;
            }
        }
    }
}

impl fmt::Display for Name {
    /// RFC 1035 §5.1: dots and backslashes within a label, and what is no visible ASCII, are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.labels.is_empty() {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                    other => write!(f, "\\{other:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Text without escapes; a dot at the end is allowed.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut labels = Vec::new();
        if text.is_empty() {
            return Ok(Self::root());
        }
        for label in text.split('.') {
            let length = u8::try_from(label.len()).map_err(|_| NameError::TooLong)?;
            match length {
                0 => return Err(NameError::Empty),
                64.. => return Err(NameError::TooLong),
                _ => {}
            }
            labels.push(length);
            labels.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        if labels.len() >= MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(Self {
            labels: labels.into(),
        })
    }
}
