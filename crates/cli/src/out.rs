//! The one place that prints.

use std::io::{self, IsTerminal as _, Write as _};

/// How wide text is where no terminal says.
pub(crate) const COLUMNS: usize = 100;

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
    width: usize,
}

impl Out {
    /// Decides about colours once.
    pub(crate) fn new() -> Self {
        Self {
            colour: io::stdout().is_terminal() && colours_wanted(),
            width: match rustix::termios::tcgetwinsize(io::stdout()) {
                Ok(size) if size.ws_col > 0 => usize::from(size.ws_col).clamp(60, 120),
                _ => COLUMNS,
            },
        }
    }

    /// Without colours, as wide as ever: a file's.
    pub(crate) fn plain() -> Self {
        Self {
            colour: false,
            width: COLUMNS,
        }
    }

    /// How many columns there are: the terminal's, within reason; a hundred where there is none.
    pub(crate) fn width(self) -> usize {
        self.width
    }

    /// A whole text; a reader that went away is no fault, a full disk is.
    #[expect(clippy::unused_self, reason = "printing without an Out is not offered")]
    pub(crate) fn whole(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        written.or_else(|why| match why.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(why),
        })
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

/// How far it got, on one line of standard error that is written over; nothing where nobody watches.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            shown: io::stderr().is_terminal(),
        }
    }

    /// What goes on now.
    pub(crate) fn tell(&self, text: &str) {
        if self.shown {
            let text: String = printable(text).chars().take(COLUMNS - 20).collect();
            let mut stderr = io::stderr().lock();
            let _closed = write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush());
        }
    }

    /// The line is gone again.
    pub(crate) fn done(&self) {
        self.tell("");
    }
}

/// A text from elsewhere, without what would steer a terminal or turn the direction of writing.
pub(crate) fn printable(text: &str) -> String {
    let harmless = |letter: char| match letter {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ if letter.is_control() && letter != '\n' => '\u{fffd}',
        _ => letter,
    };
    text.chars().map(harmless).collect()
}

/// A paragraph behind a label, broken at blanks, its other lines under the first. Of a label, colours take no room.
pub(crate) fn wrapped(text: &mut String, label: &str, paragraph: &str, width: usize) {
    let mut colour = false;
    let seen = label.chars().filter(|letter| {
        let hidden = colour || *letter == '\u{1b}';
        colour = hidden && *letter != 'm';
        !hidden
    });
    let indent = " ".repeat(seen.count());
    let mut line = label.to_owned();
    let mut filled = indent.len();
    let mut empty = true;
    for word in paragraph.split_whitespace() {
        let long = word.chars().count();
        if !empty && filled + 1 + long > width {
            text.push_str(line.trim_end());
            text.push('\n');
            line.clone_from(&indent);
            filled = indent.len();
            empty = true;
        }
        if !empty {
            line.push(' ');
            filled += 1;
        }
        line.push_str(word);
        filled += long;
        empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
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
