//! What nft complains of, and which of our lines it means.

use std::fmt;

/// The longest line of ours that is repeated.
const LONGEST_LINE: usize = 300;

/// nft's first complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// In nft's words.
    pub message: String,
    /// The line of the ruleset that it means, if it says so.
    pub rule: Option<String>,
}

impl Complaint {
    /// Reads the first `FILE:LINE:FROM-TO: Error: MESSAGE` of what nft printed about a ruleset.
    pub(super) fn read(stderr: &[u8], ruleset: &str) -> Option<Self> {
        let text = String::from_utf8_lossy(stderr);
        let line = text
            .lines()
            .find(|line| line.contains("Error: "))
            .or_else(|| text.lines().find(|line| !line.trim().is_empty()))?;
        let (place, message) = line.split_once("Error: ").unwrap_or(("", line));
        let number = place
            .split(':')
            .nth(1)
            .and_then(|number| number.parse::<usize>().ok());
        let rule = number
            .and_then(|number| number.checked_sub(1))
            .and_then(|index| ruleset.lines().nth(index))
            .map(|rule| shortened(rule.trim()));
        Some(Self {
            message: shortened(&printable(message)),
            rule: rule.filter(|rule| !rule.is_empty()),
        })
    }

    /// What was named does not exist.
    pub(super) fn is_missing(&self) -> bool {
        self.message.contains("No such file or directory")
    }

    /// The process may not.
    pub(super) fn is_permission(&self) -> bool {
        self.message.contains("Operation not permitted")
            || self.message.contains("must be root")
            || self.message.contains("Permission denied")
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.rule {
            Some(rule) => write!(f, " (at `{rule}`)"),
            None => Ok(()),
        }
    }
}

fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(visible).collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_LINE {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST_LINE).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_nft_means_is_shown() {
        let stderr = b"/dev/stdin:3:10-20: Error: Could not process rule: No such file or directory\n    socket cgroupv2\n^^^\n";
        let ruleset = "table inet stockade {\n  chain a {\n    socket cgroupv2 level 1 \"x\" accept\n  }\n}\n";
        let complaint = Complaint::read(stderr, ruleset).expect("a complaint");
        assert_eq!(
            complaint.to_string(),
            "Could not process rule: No such file or directory (at `socket cgroupv2 level 1 \"x\" accept`)"
        );
        assert!(complaint.is_missing());
    }

    #[test]
    fn a_complaint_without_a_place_is_kept() {
        let stderr = b"Operation not permitted (you must be root)\n";
        let complaint = Complaint::read(stderr, "").expect("a complaint");
        assert!(complaint.is_permission());
        assert_eq!(complaint.rule, None);
    }

    #[test]
    fn silence_is_no_complaint() {
        assert_eq!(Complaint::read(b"\n", ""), None);
    }
}
