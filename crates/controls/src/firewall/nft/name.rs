//! Text that goes into a ruleset: names, comments, paths. None can end a word or a quotation early.

use std::fmt;

/// A text that can not be what it was to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(&'static str);

/// The name of a table, chain or set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ident(Box<str>);

/// The kernel's `NFT_NAME_MAXLEN` without its terminator.
const LONGEST: usize = 255;

impl Ident {
    /// Checks a name; letters, digits, `_`, `.` and `-`, the first a letter.
    pub fn new(text: &str) -> Result<Self, Unfit> {
        if text.len() > LONGEST {
            return Err(Unfit("a name has at most 255 bytes"));
        }
        if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(Unfit(
                "a name has letters, digits, `_`, `.` and `-`; the first is a letter",
            ))
        }
    }

    /// A name of ours and a checked name behind it: what does not fit in a name can not come out.
    pub fn made(ours: &str, theirs: &str) -> Self {
        let mut name: String = ours
            .chars()
            .chain(theirs.chars())
            .filter(|&c| allowed(c))
            .collect();
        name.truncate(LONGEST);
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A comment or a log prefix: at most 127 bytes of printable ASCII without quotes and backslashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Comment(Box<str>);

impl Comment {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, Unfit> {
        if text.len() > 127 {
            return Err(Unfit("a comment has at most 127 bytes"));
        }
        if text.chars().all(quotable) {
            Ok(Self(text.into()))
        } else {
            Err(Unfit("a comment has printable ASCII without `\"` and `\\`"))
        }
    }

    /// A comment of ours: what can not stand in one is left out.
    pub fn made(text: &str) -> Self {
        Self(text.chars().filter(|&c| quotable(c)).take(127).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn quotable(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\')
}

/// A cgroup below the root of the cgroup file system, as `system.slice/camera.service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CgroupPath(Box<str>);

impl CgroupPath {
    /// Checks a path: relative, no empty part, no `.` and `..`, printable ASCII without quotes and backslashes.
    pub fn new(text: &str) -> Result<Self, Unfit> {
        let odd = |part: &str| matches!(part, "" | "." | "..");
        if text.len() > 1024 {
            return Err(Unfit("a cgroup path has at most 1024 bytes"));
        }
        if text.split('/').any(odd) {
            return Err(Unfit(
                "a cgroup path is relative and has no empty part, no `.` and no `..`",
            ));
        }
        if text.chars().all(quotable) {
            Ok(Self(text.into()))
        } else {
            Err(Unfit(
                "a cgroup path has printable ASCII without `\"` and `\\`",
            ))
        }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many cgroups deep it is; what `socket cgroupv2 level` says.
    pub fn level(&self) -> u8 {
        u8::try_from(self.0.split('/').count()).unwrap_or(u8::MAX)
    }
}
