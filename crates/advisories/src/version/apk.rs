//! apk's versions: `number{.number}{letter}{_suffix{number}}{~hash}{-r#}` (apk-package(5)).

use std::cmp::Ordering;

use super::{MOST, number, run};

/// Suffixes in their order: before the release, and after it.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// A part, in the order in which kinds of parts may come: of two versions that are equal so far, the one whose next part is of an
/// earlier kind is newer, except for suffixes that stand for before a release.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    First(&'a str),
    Number(&'a str),
    Letter(&'a str),
    /// Its rank, and whether it stands for before a release.
    Suffix(usize, bool),
    SuffixNumber(&'a str),
    Hash(&'a str),
    Revision(&'a str),
    End,
}

impl Part<'_> {
    const fn rank(&self) -> u8 {
        match self {
            Self::First(_) => 0,
            Self::Number(_) => 1,
            Self::Letter(_) => 2,
            Self::Suffix(..) => 3,
            Self::SuffixNumber(_) => 4,
            Self::Hash(_) => 5,
            Self::Revision(_) => 6,
            Self::End => 7,
        }
    }

    /// Where it stands against a part of another kind: before the end, or how far after it.
    const fn weight(&self) -> i8 {
        match self {
            Self::Suffix(_, true) => -1,
            Self::End => 0,
            Self::Revision(_) => 1,
            Self::Hash(_) => 2,
            Self::SuffixNumber(_) => 3,
            Self::Suffix(_, false) => 4,
            Self::Letter(_) => 5,
            Self::Number(_) => 6,
            Self::First(_) => 7,
        }
    }
}

#[derive(Debug)]
pub(super) struct Version<'a>(Vec<Part<'a>>);

impl<'a> Version<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        if text.len() > MOST {
            return None;
        }
        let digits = |text: &'a str| Some(run(text, true)).filter(|(it, _)| !it.is_empty());
        let (first, mut rest) = digits(text)?;
        let mut parts = vec![Part::First(first)];
        while !rest.is_empty() {
            let last = parts.last()?.rank();
            let part;
            if let Some(more) = rest.strip_prefix('.').filter(|_| last <= 1) {
                let (it, more) = digits(more)?;
                (part, rest) = (Part::Number(it), more);
            } else if let Some(more) = rest.strip_prefix('_').filter(|_| last <= 4) {
                let end = more.find(|c: char| !c.is_ascii_lowercase());
                let (word, more) = more.split_at(end.unwrap_or(more.len()));
                let find = |all: &[&str]| all.iter().position(|it| *it == word);
                let it = match find(&BEFORE) {
                    Some(rank) => Part::Suffix(rank, true),
                    None => Part::Suffix(find(&AFTER)?, false),
                };
                (part, rest) = (it, more);
            } else if let Some(more) = rest.strip_prefix('~').filter(|_| last <= 4) {
                let end = more.find(|c: char| !c.is_ascii_hexdigit());
                let (hash, more) = more.split_at(end.unwrap_or(more.len()));
                if hash.is_empty() {
                    return None;
                }
                (part, rest) = (Part::Hash(hash), more);
            } else if let Some(more) = rest.strip_prefix("-r").filter(|_| last <= 5) {
                let (it, more) = digits(more)?;
                (part, rest) = (Part::Revision(it), more);
            } else if last == 3 {
                let (it, more) = digits(rest)?;
                (part, rest) = (Part::SuffixNumber(it), more);
            } else if last <= 1 && rest.starts_with(|c: char| c.is_ascii_lowercase()) {
                let (it, more) = rest.split_at_checked(1)?;
                (part, rest) = (Part::Letter(it), more);
            } else {
                return None;
            }
            parts.push(part);
        }
        Some(Self(parts))
    }

    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        let end = || std::iter::repeat(&Part::End);
        let pairs = self.0.iter().chain(end()).zip(other.0.iter().chain(end()));
        let most = self.0.len().max(other.0.len());
        for (left, right) in pairs.take(most) {
            let order = match (left, right) {
                // Behind the first, a number with a zero before it counts as a fraction.
                (Part::Number(a), Part::Number(b)) if a.starts_with('0') || b.starts_with('0') => {
                    a.cmp(b)
                }
                (Part::First(a), Part::First(b))
                | (Part::Number(a), Part::Number(b))
                | (Part::SuffixNumber(a), Part::SuffixNumber(b))
                | (Part::Revision(a), Part::Revision(b)) => number(a, b),
                (Part::Letter(a), Part::Letter(b)) | (Part::Hash(a), Part::Hash(b)) => a.cmp(b),
                (Part::Suffix(a, before), Part::Suffix(b, too)) => {
                    too.cmp(before).then_with(|| a.cmp(b))
                }
                _ => left.weight().cmp(&right.weight()),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}
