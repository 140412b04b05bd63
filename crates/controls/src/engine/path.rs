//! Paths of the host that is judged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::host::Unseen;

/// The longest path (Linux `PATH_MAX`).
const MOST: usize = 4096;

/// An absolute path inside the host that is judged, live or an image; no `.`, no `..`, no empty name, no NUL.
///
/// Names are bytes: a file whose name is no text must be judged as well. As text, what is no printable character is written
/// `\xNN`, and a backslash `\\`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HostPath(Box<[u8]>);

/// Text that is no absolute path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an absolute path without `.` and `..`")]
pub struct NotAPath(String);

impl HostPath {
    /// The root directory.
    pub fn root() -> Self {
        Self(Box::from(*b"/"))
    }

    /// A path from the bytes of its name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAPath> {
        let wrong = || NotAPath(bytes.escape_ascii().take(200).map(char::from).collect());
        let rest = bytes.strip_prefix(b"/").ok_or_else(wrong)?;
        let bad =
            |name: &[u8]| name.is_empty() || name == b"." || name == b".." || name.contains(&0);
        if bytes.len() > MOST || (!rest.is_empty() && rest.split(|byte| *byte == b'/').any(bad)) {
            return Err(wrong());
        }
        Ok(Self(bytes.into()))
    }

    /// A path that is written in the program.
    ///
    /// # Panics
    /// If it is none: a bug.
    pub fn of(text: &'static str) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "only for what is written in the program"
        )]
        Self::from_bytes(text.as_bytes()).expect("an absolute path")
    }

    /// This directory's entry of this name.
    pub fn join(&self, name: &[u8]) -> Result<Self, NotAPath> {
        let mut bytes = self.0.to_vec();
        if bytes.last() != Some(&b'/') {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::from_bytes(&bytes)
    }

    /// Its bytes, with the leading `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last name in it; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// The directory that it is in; the root's is the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        let cut = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        match self.0.get(..cut) {
            Some(before) if !before.is_empty() => Self(before.into()),
            _ => Self::root(),
        }
    }

    /// Whether it is this directory or something below it.
    pub fn is_in(&self, directory: &Self) -> bool {
        *directory == Self::root()
            || self
                .0
                .strip_prefix(directory.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() => {
                        let mut buffer = [0; 4];
                        for byte in c.encode_utf8(&mut buffer).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                    c => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl FromStr for HostPath {
    type Err = NotAPath;

    fn from_str(text: &str) -> Result<Self, NotAPath> {
        let wrong = || NotAPath(text.chars().take(200).collect());
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            match rest.next() {
                Some(b'\\') => bytes.push(b'\\'),
                Some(b'x') => {
                    let (high, low) = (rest.next(), rest.next());
                    let digit = |byte: Option<u8>| {
                        let digit = char::from(byte?).to_digit(16)?;
                        u8::try_from(digit).ok()
                    };
                    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                        return Err(wrong());
                    };
                    bytes.push(high.wrapping_shl(4) | low);
                }
                _ => return Err(wrong()),
            }
        }
        Self::from_bytes(&bytes).map_err(|_| wrong())
    }
}

impl From<HostPath> for String {
    fn from(path: HostPath) -> Self {
        path.to_string()
    }
}

impl TryFrom<String> for HostPath {
    type Error = NotAPath;

    fn try_from(text: String) -> Result<Self, NotAPath> {
        text.parse()
    }
}

/// Follows symbolic links in every part of a path, the last one too if `last`; never out of the root. `link` says where a link
/// points, and nothing for what is none.
pub fn follow(
    path: &HostPath,
    last: bool,
    link: &mut dyn FnMut(&HostPath) -> Option<Vec<u8>>,
) -> Result<HostPath, Unseen> {
    /// As many as Linux follows (`path_resolution(7)`).
    const MOST_LINKS: u32 = 40;
    let mut done = HostPath::root();
    let mut todo = names(path.as_bytes());
    let mut links = 0_u32;
    while let Some(name) = todo.pop() {
        if name == b".." {
            done = done.parent();
            continue;
        }
        let next = done
            .join(&name)
            .map_err(|why| Unseen::Damaged(why.to_string()))?;
        let target = if last || !todo.is_empty() {
            link(&next)
        } else {
            None
        };
        let Some(target) = target else {
            done = next;
            continue;
        };
        links = links.saturating_add(1);
        if links > MOST_LINKS {
            return Err(Unseen::Damaged("a loop of links".to_owned()));
        }
        if target.first() == Some(&b'/') {
            done = HostPath::root();
        }
        todo.extend(names(&target));
    }
    Ok(done)
}

/// The names of a path, the last one first.
pub(crate) fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/');
    let mut names: Vec<_> = names
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_goes_nowhere_but_down() {
        for good in ["/", "/etc", "/etc/a b", "/etc/..x"] {
            assert!(HostPath::from_bytes(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", "etc", "/etc/", "//", "/a/../b", "/.", "/a//b", "/a\0b"] {
            assert!(HostPath::from_bytes(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_written_and_read_back() {
        let path = HostPath::from_bytes(b"/tmp/a\xff\\\nb").expect("a path");
        assert_eq!(path.to_string(), r"/tmp/a\xff\\\x0ab");
        assert_eq!(
            path.to_string().parse::<HostPath>().expect("the same"),
            path
        );
    }

    #[test]
    fn below_is_by_whole_names() {
        let etc = HostPath::of("/etc");
        assert!(HostPath::of("/etc/passwd").is_in(&etc));
        assert!(!HostPath::of("/etcetera").is_in(&etc));
        assert!(HostPath::of("/x").is_in(&HostPath::root()));
        assert_eq!(HostPath::of("/etc/x").parent(), etc);
        assert_eq!(etc.parent(), HostPath::root());
        assert_eq!(
            HostPath::root().join(b"x").expect("a path"),
            HostPath::of("/x")
        );
    }
}
