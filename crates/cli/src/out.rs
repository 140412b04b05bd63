//! The one place that prints.

use std::io::{self, IsTerminal as _, Write as _};

/// What a word in a line means, for those who see colours; nobody needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Let in, done.
    Good,
    /// Refused.
    Bad,
    /// Somebody should look.
    Alarm,
    /// Beside the point.
    Dim,
    /// Neither.
    Plain,
}

/// Standard output, with colours where they are welcome (<https://no-color.org>).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    colour: bool,
}

impl Out {
    /// Decides about colours once.
    pub(crate) fn new() -> Self {
        Self {
            colour: io::stdout().is_terminal() && colours_wanted(),
        }
    }

    /// One line; a reader that went away (`| head`) is no fault.
    #[expect(clippy::unused_self, reason = "printing without an Out is not offered")]
    pub(crate) fn line(self, text: &str) {
        let mut stdout = io::stdout().lock();
        let _closed = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }

    /// A word in its colour.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Alarm => "1;31",
            Tone::Dim => "2",
            Tone::Plain => return text.to_owned(),
        };
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn colours_wanted() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    !unwanted && !dumb
}

/// Whether the log may use colours.
pub(crate) fn colours_on_stderr() -> bool {
    io::stderr().is_terminal() && colours_wanted()
}

/// An error, on standard error: what went wrong, why, and what to do next.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut stderr = io::stderr().lock();
    let _closed = writeln!(stderr, "error: {error:#}");
}

/// What is said beside the output proper, on standard error.
pub(crate) fn aside(text: &str) {
    let mut stderr = io::stderr().lock();
    let _closed = writeln!(stderr, "{text}");
}

/// Columns as wide as their widest cell; the last one is left ragged.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![render(head.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| render(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let rows = vec![
            vec!["porch".to_owned(), "active".to_owned()],
            vec!["x".to_owned(), "quarantined".to_owned()],
        ];
        assert_eq!(
            table(&["DEVICE", "STATE"], &rows),
            "DEVICE  STATE\nporch   active\nx       quarantined"
        );
    }
}
