//! Text from outside: kept as data, and written so that it can do nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::events::printable;

/// Longest text kept of what a device says about itself, in characters.
const MAX: usize = 64;

/// What a device says about itself. Control characters and marks that turn the direction of writing are escaped when it is
/// made, so that no place that shows it can forget to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WireText(Box<str>);

impl WireText {
    /// Takes bytes as they came.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        // No more than four bytes a character: what is beyond can not be shown anyway.
        let head = bytes.get(..bytes.len().min(MAX * 4)).unwrap_or_default();
        Self::new(&String::from_utf8_lossy(head))
    }

    /// Takes text as it came.
    pub fn new(text: &str) -> Self {
        let text: String = text.chars().take(MAX).collect();
        Self(printable(&text).into())
    }

    /// The text, harmless.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WireText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WireText {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // What was escaped once has only printable characters and stays as it is.
        let text = String::deserialize(from)?;
        Ok(Self(printable(&text).into()))
    }
}

/// Serde for types that have one text form and read it strictly.
pub(super) mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(in crate::guard) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(in crate::guard) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The same for a value that may be missing.
pub(super) mod as_optional_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "the shape that serde calls")]
    pub(in crate::guard) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(in crate::guard) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_can_neither_steer_a_terminal_nor_hide() {
        let name = WireText::of_bytes(b"\x1b]0;owned\x07$(reboot)\"'\r\n\xff");
        assert_eq!(
            name.as_str(),
            "\\u{1b}]0;owned\\u{7}$(reboot)\"'\\u{d}\\u{a}\u{fffd}"
        );
        let turned = WireText::new("a\u{202e}b");
        assert_eq!(turned.as_str(), "a\\u{202e}b");
        assert!(WireText::new(&"x".repeat(10_000)).as_str().len() <= MAX);
    }

    #[test]
    fn what_was_stored_reads_back_the_same() {
        let name = WireText::of_bytes(b"cam\x1b[2J\xe2\x80\xae");
        let stored = serde_json::to_string(&name).unwrap();
        let back: WireText = serde_json::from_str(&stored).unwrap();
        assert_eq!(back, name);
    }
}
