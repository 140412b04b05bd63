//! rpm's versions: `epoch:version-release`, each part by rpmvercmp (rpm, docs/manual, "Version comparison").

use std::cmp::Ordering;

use super::{MOST, number, run};

#[derive(Debug)]
pub(super) struct Version<'a> {
    epoch: &'a str,
    version: &'a str,
    /// None asks for every release of the version.
    release: Option<&'a str>,
}

impl<'a> Version<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release)),
            None => (rest, None),
        };
        let allowed = |it: &str| {
            !it.is_empty()
                && it
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._+~^:-".contains(&byte))
        };
        let fits = text.len() <= MOST
            && !epoch.is_empty()
            && epoch.bytes().all(|byte| byte.is_ascii_digit())
            && allowed(version)
            && release.is_none_or(allowed);
        fits.then_some(Self {
            epoch,
            version,
            release,
        })
    }

    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        number(self.epoch, other.epoch)
            .then_with(|| compare(self.version, other.version))
            .then_with(|| match (self.release, other.release) {
                (Some(left), Some(right)) => compare(left, right),
                _ => Ordering::Equal,
            })
    }
}

/// rpmvercmp: runs of digits and of letters in turn; what is between them only parts them. `~` is before the end, `^` after it and
/// before all else; digits are newer than letters.
fn compare(mut left: &str, mut right: &str) -> Ordering {
    let parts = |c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^';
    loop {
        left = left.trim_start_matches(parts);
        right = right.trim_start_matches(parts);
        match (left.strip_prefix('~'), right.strip_prefix('~')) {
            (Some(a), Some(b)) => {
                (left, right) = (a, b);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => (),
        }
        match (left.strip_prefix('^'), right.strip_prefix('^')) {
            (Some(a), Some(b)) => {
                (left, right) = (a, b);
                continue;
            }
            (Some(_), None) if right.is_empty() => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) if left.is_empty() => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => (),
        }
        if left.is_empty() || right.is_empty() {
            return left.len().cmp(&right.len());
        }
        let digits = |it: &str| it.starts_with(|c: char| c.is_ascii_digit());
        let (a, b);
        match (digits(left), digits(right)) {
            (true, true) => {
                ((a, left), (b, right)) = (run(left, true), run(right, true));
                let order = number(a, b);
                if order != Ordering::Equal {
                    return order;
                }
            }
            (false, false) => {
                ((a, left), (b, right)) = (letters(left), letters(right));
                let order = a.cmp(b);
                if order != Ordering::Equal {
                    return order;
                }
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
        }
    }
}

fn letters(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphabetic());
    text.split_at(end.unwrap_or(text.len()))
}
