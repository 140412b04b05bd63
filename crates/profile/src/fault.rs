//! Faults: what is wrong in a profile, and where.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

/// More faults than this are counted, not kept.
const MAX_FAULTS: usize = 1_000;

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The profile is refused.
    Error,
    /// The profile is taken, but probably does not say what its author meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong in a profile's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted in characters from 1.
    pub column: usize,
    /// How many characters from there on are at fault; 0 where something is missing.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
    /// Whether the profile is refused for it.
    pub severity: Severity,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            line,
            column,
            message,
            severity,
            ..
        } = self;
        write!(f, "{line}:{column}: {}: {message}", severity.as_str())?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// A text that is not what its place asks for, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed {
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl Malformed {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// A stretch of the source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct At {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Proof that a fault was reported: the only way to fail while reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faulted(());

struct Raw {
    at: At,
    severity: Severity,
    message: String,
    help: Option<String>,
    /// Whether it is a fault of the notation itself.
    syntax: bool,
}

/// Gathers faults while a document is read.
#[derive(Default)]
pub(crate) struct Faults {
    raw: RefCell<Vec<Raw>>,
    syntax: RefCell<Vec<At>>,
    more: Cell<usize>,
}

impl Faults {
    pub(crate) fn error(&self, at: At, wrong: Malformed) -> Faulted {
        self.push(at, Severity::Error, wrong, false);
        Faulted(())
    }

    pub(crate) fn warn(&self, at: At, wrong: Malformed) {
        self.push(at, Severity::Warning, wrong, false);
    }

    /// A fault of the notation itself: what was read near it can not be relied on.
    pub(crate) fn syntax(&self, at: At, wrong: Malformed) -> Faulted {
        self.syntax.borrow_mut().push(at);
        self.push(at, Severity::Error, wrong, true);
        Faulted(())
    }

    /// Something is missing, which says nothing if the notation is broken elsewhere.
    pub(crate) fn missing(&self, at: At, wrong: Malformed) -> Faulted {
        if self.syntax.borrow().is_empty() {
            self.push(at, Severity::Error, wrong, false);
        }
        Faulted(())
    }

    /// Takes back that something is missing, once it is found to be there under a mistyped name.
    pub(crate) fn retract(&self, at: At, message: &str) {
        self.raw
            .borrow_mut()
            .retain(|raw| raw.at != at || raw.message != message);
    }

    fn push(&self, at: At, severity: Severity, wrong: Malformed, syntax: bool) {
        let Malformed { message, help } = wrong;
        let mut raw = self.raw.borrow_mut();
        if raw.len() < MAX_FAULTS {
            raw.push(Raw {
                at,
                severity,
                message,
                help,
                syntax,
            });
        } else {
            self.more.set(self.more.get().saturating_add(1));
        }
    }

    /// The first error, for a document that has no lines.
    pub(crate) fn first_error(self) -> Option<String> {
        self.raw
            .into_inner()
            .into_iter()
            .find(|raw| raw.severity == Severity::Error)
            .map(|raw| raw.message)
    }

    /// All faults with their places in `source`, in the order of the text.
    pub(crate) fn locate(self, source: &str) -> Vec<Fault> {
        let lines = Lines::of(source);
        let broken = self.syntax.into_inner();
        let broken: BTreeSet<usize> = broken.iter().map(|at| lines.number(at.start)).collect();
        let mut raw = self.raw.into_inner();
        raw.sort_by_key(|raw| (raw.at.start, raw.severity));
        let mut faults: Vec<Fault> = Vec::with_capacity(raw.len());
        let mut told = BTreeSet::new();
        for Raw {
            at,
            severity,
            message,
            help,
            syntax,
        } in raw
        {
            let (line, column, length) = lines.place(at);
            // On a line with broken notation nothing else means what it seems to.
            if broken.contains(&line) && !(syntax && told.insert(line)) {
                continue;
            }
            let fault = Fault {
                line,
                column,
                length,
                message,
                help,
                severity,
            };
            if faults.last() != Some(&fault) {
                faults.push(fault);
            }
        }
        if let (more @ 1.., Some(last)) = (self.more.get(), faults.last().cloned()) {
            faults.push(Fault {
                message: format!("and {more} more faults"),
                help: None,
                ..last
            });
        }
        faults
    }
}

/// Where each line of a text starts.
pub(crate) struct Lines<'s> {
    source: &'s str,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    pub(crate) fn of(source: &'s str) -> Self {
        let after = source
            .match_indices('\n')
            .map(|(at, _)| at.saturating_add(1));
        Self {
            source,
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    /// The number of the line that holds this byte, from 1.
    fn number(&self, byte: usize) -> usize {
        self.starts.partition_point(|&start| start <= byte)
    }

    /// A line's text, without its end.
    pub(crate) fn text(&self, number: usize) -> &'s str {
        let start = number
            .checked_sub(1)
            .and_then(|index| self.starts.get(index));
        let rest = start
            .and_then(|&start| self.source.get(start..))
            .unwrap_or_default();
        rest.lines().next().unwrap_or_default()
    }

    fn place(&self, at: At) -> (usize, usize, usize) {
        let number = self.number(at.start);
        let line = self.text(number);
        let start = number
            .checked_sub(1)
            .and_then(|index| self.starts.get(index))
            .copied();
        let from = at.start.saturating_sub(start.unwrap_or_default());
        let to = at.end.saturating_sub(start.unwrap_or_default());
        // Counting characters by their first byte holds inside one, too.
        let characters = |upto: usize| {
            line.char_indices()
                .take_while(|&(byte, _)| byte < upto)
                .count()
        };
        let before = characters(from);
        (
            number,
            before.saturating_add(1),
            characters(to).saturating_sub(before),
        )
    }
}

/// A text from outside, made fit for a message: short, and without control characters.
pub(crate) fn quote(text: &str) -> String {
    const MAX: usize = 64;
    let mut short: String = text
        .chars()
        .take(MAX)
        .flat_map(char::escape_debug)
        .collect();
    // escape_debug also escapes quotes, which do no harm between backticks.
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(MAX).is_some() {
        short.push('…');
    }
    short
}

/// The candidate that a mistyped word most likely meant.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    const MAX: usize = 64;
    if word.len() > MAX {
        return None;
    }
    let plain = word.to_lowercase().replace('_', "-");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&plain, candidate), candidate))
        .filter(|&(distance, candidate)| {
            distance <= candidate.len().div_ceil(3) && distance < candidate.len()
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}
