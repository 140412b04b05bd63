//! The two shapes of text that recur: one word of a closed list, and a checked name.

use crate::fault::{Malformed, nearest, quote};
use crate::read::known_words;

/// Declares an enum whose variants are written as fixed words.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident: $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of its words in the reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word that a profile writes.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::fault::Malformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::text::not_one_of($what, text, &[$($word,)+])),
                }
            }
        }

        impl $crate::read::Text for $name {}
    };
}

/// Declares a newtype over text that one grammar has passed.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident: $what:literal, $grammar:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks a text.
            pub fn new(text: &str) -> Result<Self, $crate::fault::Malformed> {
                $grammar($what, text).map(|()| Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::fault::Malformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        /// A map by this name answers to plain text.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl $crate::read::Text for $name {}

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use {choice, name};

pub(crate) fn not_one_of(what: &str, text: &str, words: &[&str]) -> Malformed {
    let wrong = Malformed::new(format!("`{}` is not {what}", quote(text)));
    match nearest(text, words.iter().copied()) {
        Some(word) => wrong.help(format!("did you mean \"{word}\"?")),
        None => wrong.help(format!("one of {}", known_words(words))),
    }
}

/// `[a-z0-9][a-z0-9._-]{0,63}`: fit for topics, paths and host names.
pub(crate) fn identifier(what: &str, text: &str) -> Result<(), Malformed> {
    length(what, text, 64)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let rest = |c: char| plain(c) || matches!(c, '.' | '_' | '-');
    if text.starts_with(plain) && text.chars().all(rest) {
        return Ok(());
    }
    let wrong = Malformed::new(format!("`{}` can not be {what}", quote(text)));
    Err(wrong.help("a-z, 0-9, `.`, `_` and `-`; the first is a letter or a digit"))
}

/// A name that the device's own system gave: printable ASCII without blanks, `/` and quotes.
pub(crate) fn system_name(what: &str, text: &str) -> Result<(), Malformed> {
    length(what, text, 128)?;
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@' | ':' | '~');
    if text.chars().all(allowed) && !text.starts_with(['-', '.']) {
        return Ok(());
    }
    let wrong = Malformed::new(format!("`{}` can not be {what}", quote(text)));
    Err(wrong.help("letters, digits and `. _ - + @ : ~`; the first is no `-` and no `.`"))
}

/// A label for people or a field of theirs: anything printable.
pub(crate) fn label(what: &str, text: &str) -> Result<(), Malformed> {
    length(what, text, 128)?;
    if text.chars().any(char::is_control) || text.trim() != text {
        let wrong = format!("{what} has no control characters, and no blanks at its ends");
        return Err(Malformed::new(wrong));
    }
    Ok(())
}

/// An absolute path with no way up in it.
pub(crate) fn absolute_path(what: &str, text: &str) -> Result<(), Malformed> {
    length(what, text, 1024)?;
    let Some(rest) = text.strip_prefix('/') else {
        let wrong = Malformed::new(format!("`{}` is not {what}", quote(text)));
        return Err(wrong.help("it starts at the root: /usr/bin/..."));
    };
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if rest.split('/').any(odd) || text.chars().any(char::is_control) {
        let wrong = Malformed::new(format!("`{}` is not {what}", quote(text)));
        return Err(wrong.help("no empty part, no `.`, no `..`, no control characters"));
    }
    Ok(())
}

/// RFC 3986 §3: a scheme, `:`, and what the scheme makes of the rest.
pub(crate) fn uri(what: &str, text: &str) -> Result<(), Malformed> {
    length(what, text, 256)?;
    let wrong = || {
        Malformed::new(format!("`{}` can not be {what}", quote(text)))
            .help("a URI: \"urn:ietf:params:mud:dns\" or \"https://example.org/hubs\"")
    };
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    // RFC 3986 §2: unreserved, reserved and `%`.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    if named && !rest.is_empty() && rest.chars().all(plain) {
        return Ok(());
    }
    Err(wrong())
}

fn length(what: &str, text: &str, most: usize) -> Result<(), Malformed> {
    if text.is_empty() {
        return Err(Malformed::new(format!("{what} can not be empty")));
    }
    if text.len() > most {
        return Err(Malformed::new(format!("{what} has at most {most} bytes")));
    }
    Ok(())
}
