//! Topic names, topic filters and shared subscriptions (5.0 §4.7 and §4.8.2).

use std::{borrow::Borrow, fmt, ops::Deref};

use crate::{Text, Version, value::TextError};

/// Why a string is no topic name or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is empty [MQTT-4.7.3-1].
    #[error("empty")]
    Empty,
    /// It takes more than 65,535 bytes [MQTT-4.7.3-3].
    #[error("longer than 65535 bytes")]
    TooLong,
    /// It holds U+0000 [MQTT-4.7.3-2].
    #[error("holds U+0000")]
    Nul,
    /// It is a name and holds `+` or `#` [MQTT-4.7.0-1].
    #[error("wildcard in a topic name")]
    Wildcard,
    /// `#` is not the last level on its own [MQTT-4.7.1-1].
    #[error("'#' is not the last level on its own")]
    MultiLevel,
    /// `+` shares its level with other characters [MQTT-4.7.1-2].
    #[error("'+' does not take its whole level")]
    SingleLevel,
    /// A shared subscription has an empty share name [MQTT-4.8.2-1].
    #[error("empty share name")]
    NoShareName,
    /// The share name holds a wildcard or nothing follows it [MQTT-4.8.2-2].
    #[error("share name holds a wildcard or no '/' follows it")]
    ShareName,
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    Text::new(text).map(|_| ()).map_err(|error| match error {
        TextError::TooLong | TextError::NotUserProperties => TopicError::TooLong,
        TextError::Nul => TopicError::Nul,
    })
}

/// The first level, and what follows its separator. `str::split` costs several times as much on names this short.
fn split_level(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let at = text
        .iter()
        .position(|byte| *byte == b'/')
        .unwrap_or(text.len());
    let (level, rest) = text.split_at_checked(at).unwrap_or((text, &[]));
    (level, rest.split_first().map(|(_, rest)| rest))
}

/// Whether a byte of the text is one of `any`. Counts them all, which for texts this short is quicker than stopping early.
fn holds(text: &str, any: [u8; 3]) -> bool {
    let [a, b, c] = any;
    text.bytes().filter(|byte| [a, b, c].contains(byte)).count() > 0
}

macro_rules! borrowed_and_owned {
    ($name:ident, $buf:ident, $what:literal) => {
        impl<'a> $name<'a> {
            /// The text.
            pub const fn as_str(self) -> &'a str {
                self.0
            }

            /// The levels between the separators; any of them may be empty.
            pub fn levels(self) -> impl Iterator<Item = &'a str> {
                self.0.split('/')
            }

            #[doc = concat!("An owned copy of the ", $what, ".")]
            pub fn to_buf(self) -> $buf {
                $buf(self.0.into())
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Deref for $name<'_> {
            type Target = str;

            fn deref(&self) -> &str {
                self.0
            }
        }

        impl<'a> TryFrom<&'a str> for $name<'a> {
            type Error = TopicError;

            fn try_from(text: &'a str) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }

        #[doc = concat!("A ", $what, " that owns its text.")]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $buf(Box<str>);

        impl $buf {
            #[doc = concat!("Checks a ", $what, ".")]
            pub fn new(text: impl Into<Box<str>>) -> Result<Self, TopicError> {
                let text = text.into();
                $name::new(&text)?;
                Ok(Self(text))
            }

            /// The borrowed form.
            pub fn borrow(&self) -> $name<'_> {
                $name(&self.0)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $buf {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Borrow<str> for $buf {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$name<'_>> for $buf {
            fn from(borrowed: $name<'_>) -> Self {
                borrowed.to_buf()
            }
        }
    };
}

/// The name of a topic: not empty, no wildcards, no U+0000, at most 65,535 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

borrowed_and_owned!(TopicName, TopicNameBuf, "topic name");

impl<'a> TopicName<'a> {
    /// Checks a topic name.
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        if !text.is_empty() && u16::try_from(text.len()).is_ok() && !holds(text, *b"\0+#") {
            return Ok(Self(text));
        }
        check_text(text)?;
        Err(TopicError::Wildcard)
    }
}

/// A topic filter: each `+` a whole level, `#` only as the last level, otherwise as a topic name.
///
/// A `$share/…` string is an ordinary filter to this type; [`SubscriptionFilter`] tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(&'a str);

borrowed_and_owned!(TopicFilter, TopicFilterBuf, "topic filter");

impl<'a> TopicFilter<'a> {
    /// Checks a topic filter.
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/');
        while let Some(level) = levels.next() {
            if level == "#" && levels.clone().next().is_some()
                || level != "#" && level.contains('#')
            {
                return Err(TopicError::MultiLevel);
            }
            if level != "+" && level.contains('+') {
                return Err(TopicError::SingleLevel);
            }
        }
        Ok(Self(text))
    }

    /// Whether the filter has a wildcard.
    pub fn has_wildcard(self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }

    fn starts_with_wildcard(self) -> bool {
        self.0.starts_with(['+', '#'])
    }

    /// Whether the filter matches a name (5.0 §4.7).
    pub fn matches(self, name: TopicName<'_>) -> bool {
        // [MQTT-4.7.2-1]
        if self.starts_with_wildcard() && name.0.starts_with('$') {
            return false;
        }
        let mut names = Some(name.0.as_bytes());
        let mut levels = Some(self.0.as_bytes());
        while let Some(ours) = levels {
            let (level, more) = split_level(ours);
            // Also matches no level at all: "a/#" includes its parent "a" (§4.7.1.2).
            if level == b"#" {
                return true;
            }
            let Some((theirs, rest)) = names.map(split_level) else {
                return false;
            };
            if level != b"+" && level != theirs {
                return false;
            }
            levels = more;
            names = rest;
        }
        names.is_none()
    }

    /// Whether every name that `other` matches is matched by this filter too.
    pub fn contains(self, other: TopicFilter<'_>) -> bool {
        // [MQTT-4.7.2-1]: such a filter matches names beginning with '$' only, which a leading wildcard never does.
        if self.starts_with_wildcard() && other.0.starts_with('$') {
            return false;
        }
        // A '#' includes the parent level, but no name has zero levels and no name is empty: "#" alone is the same set as
        // "+/#", and "/#" as "/+/#". With those forms a '#' in either filter always includes the case of no further level,
        // and the two can be compared level by level.
        let mut ours = self.normal().split('/');
        let mut theirs = other.normal().split('/');
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), _) | (None, None) => return true,
                (_, Some("#")) | (None, Some(_)) | (Some(_), None) => return false,
                (Some("+"), Some(_)) => {}
                (Some(our), Some(their)) => {
                    if our != their {
                        return false;
                    }
                }
            }
        }
    }

    fn normal(self) -> &'a str {
        match self.0 {
            "#" => "+/#",
            "/#" => "/+/#",
            other => other,
        }
    }
}

/// The filter of a shared subscription, `$share/{group}/{filter}` (5.0 §4.8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedFilter<'a> {
    text: &'a str,
    group: &'a str,
    filter: TopicFilter<'a>,
}

impl<'a> SharedFilter<'a> {
    /// What every shared subscription starts with [MQTT-4.8.2-1].
    pub const PREFIX: &'static str = "$share/";

    /// Checks a shared subscription's filter; `None` if the text does not begin with `$share/`.
    pub fn new(text: &'a str) -> Option<Result<Self, TopicError>> {
        let rest = text.strip_prefix(Self::PREFIX)?;
        Some(Self::after_prefix(text, rest))
    }

    fn after_prefix(text: &'a str, rest: &'a str) -> Result<Self, TopicError> {
        check_text(text)?;
        let (group, filter) = rest.split_once('/').ok_or(TopicError::ShareName)?;
        if group.is_empty() {
            return Err(TopicError::NoShareName);
        }
        // [MQTT-4.8.2-2]
        if group.contains(['+', '#']) || filter.is_empty() {
            return Err(TopicError::ShareName);
        }
        Ok(Self {
            text,
            group,
            filter: TopicFilter::new(filter)?,
        })
    }

    /// The share name: subscribers with the same one get each message once between them.
    pub const fn group(self) -> &'a str {
        self.group
    }

    /// The filter that is matched against names.
    pub const fn filter(self) -> TopicFilter<'a> {
        self.filter
    }

    /// The whole text, as in SUBSCRIBE.
    pub const fn as_str(self) -> &'a str {
        self.text
    }
}

/// What a SUBSCRIBE or UNSUBSCRIBE names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubscriptionFilter<'a> {
    /// An ordinary filter.
    Plain(TopicFilter<'a>),
    /// A shared subscription; in 3.1.1 there are none, and `$share/…` is an ordinary filter.
    Shared(SharedFilter<'a>),
}

impl<'a> SubscriptionFilter<'a> {
    /// Checks the filter as the version has it.
    pub fn new(text: &'a str, version: Version) -> Result<Self, TopicError> {
        match (version, SharedFilter::new(text)) {
            (Version::V5, Some(shared)) => Ok(Self::Shared(shared?)),
            (Version::V5, None) | (Version::V311, _) => Ok(Self::Plain(TopicFilter::new(text)?)),
        }
    }

    /// The filter that is matched against names.
    pub const fn filter(self) -> TopicFilter<'a> {
        match self {
            Self::Plain(filter) => filter,
            Self::Shared(shared) => shared.filter,
        }
    }

    /// The share name of a shared subscription.
    pub const fn group(self) -> Option<&'a str> {
        match self {
            Self::Plain(_) => None,
            Self::Shared(shared) => Some(shared.group),
        }
    }

    /// The whole text, as it is on the wire.
    pub const fn as_str(self) -> &'a str {
        match self {
            Self::Plain(filter) => filter.0,
            Self::Shared(shared) => shared.text,
        }
    }
}
