//! One thing that a confined program needs, as it is kept, and as it stands in a policy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The most that one service is given: a policy that grows for ever confines nothing.
pub const MOST: usize = 2048;
/// The letters of access, in the order in which they are written; `x` is written `ix`: what is started stays confined.
const LETTERS: &str = "mrwklx";
/// Where names are made up anew each time.
const SCRATCH: [&str; 3] = ["/tmp/", "/var/tmp/", "/dev/shm/"];
/// What means something in a path of `AppArmor` (apparmor.d(5), "Globbing").
const SPECIAL: &str = "\\\"?*[]{}^";

/// One thing that a confined program needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Need {
    /// A capability, in small letters and without `CAP_`.
    Capability(String),
    /// Access to files.
    File {
        /// The path as a pattern of `AppArmor`.
        path: String,
        /// Letters of `mrwklx`, each once and in this order.
        access: String,
    },
    /// Sockets of a family, and of one kind of it.
    Network {
        /// `inet`, `unix`, …
        family: String,
        /// `stream`, `dgram`, …
        kind: String,
    },
    /// Access of `SELinux`: to objects of a type.
    Allow {
        /// The type.
        to: String,
        /// The class of objects.
        class: String,
        /// The permission.
        permission: String,
    },
}

impl Need {
    /// Access to one file; none if its name can not be written down, or nothing is asked for.
    pub fn file(path: &str, access: impl IntoIterator<Item = char>) -> Option<Self> {
        if !path.starts_with('/') || path.chars().any(char::is_control) {
            return None;
        }
        Some(Self::File {
            access: letters(access)?,
            path: pattern(path),
        })
    }

    /// Everything below a directory, and the directory itself.
    pub(super) fn below(directory: &str, access: &str) -> [Option<Self>; 2] {
        let all = |ending: &str, access: &str| {
            Some(Self::File {
                path: format!("{}{ending}", escaped(directory)),
                access: letters(access.chars())?,
            })
        };
        [all("/", "r"), all("/**", access)]
    }

    /// The line of a profile of `AppArmor`; none for what only `SELinux` knows.
    pub(super) fn line(&self) -> Option<String> {
        Some(match self {
            Self::File { path, access } => {
                let plain = |c: char| c.is_alphanumeric() || "/._-+:~*[]{}\\".contains(c);
                let access = access.replace('x', "ix");
                if path.chars().all(plain) {
                    format!("{path} {access},")
                } else {
                    format!("\"{path}\" {access},")
                }
            }
            Self::Capability(name) => format!("capability {name},"),
            Self::Network { family, kind } => format!("network {family} {kind},"),
            Self::Allow { .. } => return None,
        })
    }

    /// Reads a line that [`Need::line`] wrote.
    pub(super) fn of_line(line: &str) -> Option<Self> {
        let line = line.trim().strip_suffix(',')?;
        if let Some(name) = line.strip_prefix("capability ") {
            return word(name).map(Self::Capability);
        }
        if let Some(rest) = line.strip_prefix("network ") {
            let (family, kind) = rest.split_once(' ')?;
            return Some(Self::Network {
                family: word(family)?,
                kind: word(kind)?,
            });
        }
        let (path, access) = line.rsplit_once(' ')?;
        let path = match path.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?,
            None => path,
        };
        let access = access.replace("ix", "x");
        let fits = path.starts_with('/') && letters(access.chars()).as_ref() == Some(&access);
        fits.then(|| Self::File {
            path: path.to_owned(),
            access,
        })
    }
}

/// A name of the kernel's: a capability, a family, a type.
pub(super) fn word(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let fits = !text.is_empty() && text.len() <= 128 && text.chars().all(plain);
    fits.then(|| text.to_owned())
}

fn letters(access: impl IntoIterator<Item = char>) -> Option<String> {
    let wanted: BTreeSet<char> = access.into_iter().collect();
    let known = LETTERS.chars().filter(|it| wanted.contains(it));
    let known: String = known.collect();
    (!known.is_empty() && known.len() == wanted.len()).then_some(known)
}

fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if SPECIAL.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A path in which what differs from one start to the next is left open: numbers of processes, names of scratch files.
fn pattern(path: &str) -> String {
    if let Some(place) = SCRATCH
        .iter()
        .find(|it| path.len() > it.len() && path.starts_with(**it))
    {
        return format!("{place}**");
    }
    let path = escaped(path);
    if !path.starts_with("/proc/") {
        return path;
    }
    let open = |part: &str| {
        let number = !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        if number {
            "[0-9]*".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(open).collect::<Vec<_>>().join("/")
}

/// Needs without what others among them say already, and one for each path.
pub(super) fn merged(needs: impl IntoIterator<Item = Need>) -> BTreeSet<Need> {
    let mut files: BTreeMap<String, BTreeSet<char>> = BTreeMap::new();
    let mut others = BTreeSet::new();
    for need in needs {
        match need {
            Need::File { path, access } => files.entry(path).or_default().extend(access.chars()),
            need => {
                others.insert(need);
            }
        }
    }
    let covered = |path: &str, access: &BTreeSet<char>| {
        let mut ends = path
            .match_indices('/')
            .filter(|(at, _)| at.saturating_add(1) < path.len());
        ends.any(|(at, _)| {
            let all = path.get(..at).map(|it| format!("{it}/**"));
            let wide = all.filter(|it| it != path).and_then(|it| files.get(&it));
            wide.is_some_and(|wide| access.is_subset(wide))
        })
    };
    let kept = files.iter().filter(|(path, access)| !covered(path, access));
    others.extend(kept.map(|(path, access)| Need::File {
        path: path.clone(),
        access: LETTERS.chars().filter(|it| access.contains(it)).collect(),
    }));
    others
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_into_a_profile_is_read_back(path in "/\\PC{0,40}", access in "[mrwklx]{1,6}") {
            let need = Need::file(&path, access.chars()).expect("a path");
            let line = need.line().expect("a file");
            prop_assert_eq!(Need::of_line(&line), Some(need));
        }
    }

    #[test]
    fn what_a_name_holds_is_never_more_than_a_name() {
        let line = |path| Need::file(path, "r".chars()).and_then(|it| it.line());
        assert_eq!(line("/a b"), Some("\"/a b\" r,".to_owned()));
        assert_eq!(line("/a* r,"), Some("\"/a\\* r,\" r,".to_owned()));
        assert_eq!(line("/a\" w,"), Some("\"/a\\\" w,\" r,".to_owned()));
        assert_eq!(line("/a\n/** rw,"), None);
        assert_eq!(Need::file("/a", "q".chars()), None);
        assert_eq!(Need::file("a", "r".chars()), None);
    }

    #[test]
    fn what_changes_from_start_to_start_is_left_open() {
        let of = |path| Need::file(path, "xr".chars()).and_then(|it| it.line());
        assert_eq!(
            of("/proc/12/task/13/stat"),
            Some("/proc/[0-9]*/task/[0-9]*/stat rix,".to_owned())
        );
        assert_eq!(of("/tmp/xYz/1"), Some("/tmp/** rix,".to_owned()));
        assert_eq!(of("/tmp/"), Some("/tmp/ rix,".to_owned()));
    }

    #[test]
    fn one_line_a_path_and_none_that_a_wider_one_says_already() {
        let file = |path: &str, access: &str| Need::file(path, access.chars());
        let all = [
            file("/a", "r"),
            file("/a", "w"),
            file("/v/x/y", "w"),
            file("/v/z", "x"),
        ];
        let all = all.into_iter().chain(Need::below("/v", "rw")).flatten();
        let lines: Vec<_> = merged(all).iter().filter_map(Need::line).collect();
        assert_eq!(lines, ["/a rw,", "/v/ r,", "/v/** rw,", "/v/z ix,"]);
    }
}
