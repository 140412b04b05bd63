//! A report as others read it: what a code forge shows, what a build server counts, what a person prints.

mod html;
mod junit;
mod sarif;

pub use html::html;
pub use junit::junit;
pub use sarif::sarif;

use crate::report::{Report, RuleReport};

/// A letter from elsewhere; in the place of one that steers a terminal, turns the direction of writing or is none in XML 1.0 (§2.2)
/// a sign that something was there.
fn harmless(letter: char) -> char {
    match letter {
        '\t' | '\n' => letter,
        '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{fffe}'
        | '\u{ffff}' => '\u{fffd}',
        _ if letter.is_control() => '\u{fffd}',
        _ => letter,
    }
}

/// A rule's place among all of the report, by its id.
fn index_of(report: &Report, rule: &RuleReport) -> Option<usize> {
    report.rules.iter().position(|it| it.id == rule.id)
}
