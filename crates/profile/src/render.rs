//! Faults as a person reads them: the place, the line, a mark below it, and what to write instead.

use std::fmt::{self, Write as _};

use crate::fault::Lines;
use crate::{Fault, Severity};

/// What is shown of a line; a longer one is cut around the fault.
const WIDTH: usize = 120;
/// How much of a cut line stands before the fault.
const BEFORE: usize = 40;

/// Renders faults beside the lines of `source` that they are in; `file` is its name, for people.
pub fn render(source: &str, file: &str, faults: &[Fault]) -> String {
    let lines = Lines::of(source);
    let gutter = faults
        .iter()
        .map(|fault| fault.line.to_string().len())
        .max()
        .unwrap_or_default();
    let mut out = String::new();
    for fault in faults {
        // Writing to a string does not fail.
        let _: fmt::Result = one(&mut out, &lines, &plain(file), gutter, fault);
    }
    let _: fmt::Result = summary(&mut out, faults);
    out
}

fn one(
    out: &mut String,
    lines: &Lines<'_>,
    file: &str,
    gutter: usize,
    fault: &Fault,
) -> fmt::Result {
    let Fault {
        line,
        column,
        length,
        message,
        help,
        severity,
    } = fault;
    let (shown, mark) = cut(lines.text(*line), *column, *length);
    let blank = "";
    writeln!(out, "{}: {}", severity.as_str(), plain(message))?;
    writeln!(out, "{blank:gutter$}--> {file}:{line}:{column}")?;
    writeln!(out, "{blank:gutter$} |")?;
    writeln!(out, "{}", format!("{line:gutter$} | {shown}").trim_end())?;
    writeln!(out, "{blank:gutter$} | {mark}")?;
    if let Some(help) = help {
        writeln!(out, "{blank:gutter$} = help: {}", plain(help))?;
    }
    writeln!(out)
}

/// A text that moves no cursor and changes no colour.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}

/// The part of a line around a fault, fit for a terminal, and the mark below it.
fn cut(line: &str, column: usize, length: usize) -> (String, String) {
    let before = column.saturating_sub(1);
    let start = if line.chars().nth(WIDTH).is_some() {
        before.saturating_sub(BEFORE)
    } else {
        0
    };
    let mut shown = String::new();
    let mut mark = String::new();
    if start > 0 {
        shown.push('…');
        mark.push(' ');
    }
    let mut rest = line.chars().skip(start);
    for (c, place) in rest.by_ref().take(WIDTH).zip(start..) {
        // A tab keeps the mark in its place, anything else that moves the cursor is shown as a dot.
        let shape = if c == '\t' { '\t' } else { ' ' };
        shown.push(if c.is_control() && c != '\t' { '·' } else { c });
        if place < before {
            mark.push(shape);
        } else if place < before.saturating_add(length) {
            mark.push('^');
        }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    if !mark.ends_with('^') {
        mark.push('^');
    }
    (shown, mark)
}

fn summary(out: &mut String, faults: &[Fault]) -> fmt::Result {
    let count = |severity| {
        faults
            .iter()
            .filter(|fault| fault.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let plural = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    match (errors, warnings) {
        (0, 0) => Ok(()),
        (0, _) => writeln!(out, "{}", plural(warnings, "warning")),
        (_, 0) => writeln!(out, "{}", plural(errors, "error")),
        _ => writeln!(
            out,
            "{}, {}",
            plural(errors, "error"),
            plural(warnings, "warning")
        ),
    }
}
