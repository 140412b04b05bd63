//! The one place that prints.

use std::io::Write as _;

/// One line for the reader.
pub(crate) fn line(text: &str) {
    // A closed pipe is the reader's choice, not a failure of the chore.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Text that brings its own line ends.
pub(crate) fn text(text: &str) {
    drop(write!(std::io::stdout().lock(), "{text}"));
}

/// One line about something that is wrong.
pub(crate) fn problem(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Prints rows with their columns aligned; the first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        line(format!("  {}", cells.join("  ")).trim_end());
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
            line(&format!("  {}", rule.join("  ")));
        }
    }
}
