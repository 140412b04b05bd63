//! Versions of everybody else: numbers first, then what stands behind them.

use std::cmp::Ordering;

use super::{MOST, number, run};

/// Words that stand for before a release, in their order.
const BEFORE: [&str; 12] = [
    "dev", "devel", "snapshot", "test", "alpha", "a", "beta", "b", "c", "pre", "preview", "rc",
];
/// Words that stand for the release itself, or for one after it, without more.
const RELEASE: [&str; 3] = ["final", "release", "ga"];

/// What stands behind the numbers, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Tilde,
    Before(usize),
    End,
    Word(&'a str),
    Number(&'a str),
}

impl Part<'_> {
    const fn rank(&self) -> u8 {
        match self {
            Self::Tilde => 0,
            Self::Before(_) => 1,
            Self::End => 2,
            Self::Word(_) => 3,
            Self::Number(_) => 4,
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Before(a), Self::Before(b)) => a.cmp(b),
            (Self::Word(a), Self::Word(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => number(a, b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Version<'a> {
    epoch: &'a str,
    /// Without zeros at the end: `1.0` is `1.0.0`.
    numbers: Vec<&'a str>,
    rest: Vec<Part<'a>>,
}

impl<'a> Version<'a> {
    /// A single letter behind a number is of a release after it (`1.1.1a`), unless a number follows a or b (`2.0b2`).
    pub(super) fn read(text: &'a str) -> Option<Self> {
        Self::parse(text, false)
    }

    /// PEP 440: `a`, `b`, `c` are always before a release; `1!` is an epoch.
    pub(super) fn python(text: &'a str) -> Option<Self> {
        Self::parse(text, true)
    }

    fn parse(text: &'a str, python: bool) -> Option<Self> {
        if text.len() > MOST {
            return None;
        }
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (epoch, mut text) = match text.split_once('!') {
            Some((epoch, rest)) if python && epoch.bytes().all(|it| it.is_ascii_digit()) => {
                (epoch, rest)
            }
            _ => ("0", text),
        };
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        if python {
            // A local version counts for nothing against an advisory.
            text = text.split_once('+').map_or(text, |(it, _)| it);
        }
        let mut numbers = Vec::new();
        loop {
            let (digits, more) = run(text, true);
            numbers.push(digits);
            text = more;
            match more.strip_prefix('.') {
                Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => text = next,
                _ => break,
            }
        }
        while numbers.last().is_some_and(|it| number(it, "0").is_eq()) {
            numbers.pop();
        }
        let mut rest = Vec::new();
        while let Some(first) = text.chars().next() {
            if first.is_ascii_digit() {
                let (digits, more) = run(text, true);
                rest.push(Part::Number(digits));
                text = more;
            } else if first.is_ascii_alphabetic() {
                let end = text.find(|c: char| !c.is_ascii_alphabetic());
                let (word, more) = text.split_at(end.unwrap_or(text.len()));
                text = more;
                let followed = more.starts_with(|c: char| c.is_ascii_digit());
                let found = BEFORE.iter().position(|it| it.eq_ignore_ascii_case(word));
                let found = found.filter(|_| {
                    word.len() > 1 || python || (followed && !word.eq_ignore_ascii_case("c"))
                });
                match found {
                    Some(rank) => rest.push(Part::Before(rank)),
                    None if RELEASE.iter().any(|it| it.eq_ignore_ascii_case(word)) => (),
                    None => rest.push(Part::Word(word)),
                }
            } else {
                if first == '~' {
                    rest.push(Part::Tilde);
                }
                text = text.get(first.len_utf8()..)?;
                // What only parts two parts says nothing; other signs are of no version.
                if !matches!(first, '~' | '.' | '-' | '_' | '+' | ':' | '^') {
                    return None;
                }
            }
        }
        Some(Self {
            epoch,
            numbers,
            rest,
        })
    }

    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        let most = self.numbers.len().max(other.numbers.len());
        let zero = |all: &'_ [&'a str], at: usize| all.get(at).copied().unwrap_or("0");
        let numbers = (0..most).fold(Ordering::Equal, |order, at| {
            order.then_with(|| number(zero(&self.numbers, at), zero(&other.numbers, at)))
        });
        let most = self.rest.len().max(other.rest.len());
        let at = |all: &'_ [Part<'a>], at: usize| all.get(at).copied().unwrap_or(Part::End);
        let rest = (0..most).fold(Ordering::Equal, |order, place| {
            order.then_with(|| at(&self.rest, place).cmp(&at(&other.rest, place)))
        });
        number(self.epoch, other.epoch).then(numbers).then(rest)
    }
}
