//! What became of a MUD file's rules, for people.

use super::import::{Imported, Outcome, RuleReport};
use crate::Direction;

/// How many rules of a file became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Rules that the profile says.
    pub represented: usize,
    /// Rules that say no more than another one.
    pub covered: usize,
    /// Rules that are not in the profile.
    pub refused: usize,
}

impl Count {
    /// All rules of the file.
    pub fn total(self) -> usize {
        self.held().saturating_add(self.refused)
    }

    /// The rules that the profile holds to.
    pub fn held(self) -> usize {
        self.represented.saturating_add(self.covered)
    }
}

impl Imported {
    /// How many rules became what.
    pub fn count(&self) -> Count {
        let of = |wanted: fn(&Outcome) -> bool| {
            let rules = self.rules.iter();
            rules.filter(|rule| wanted(&rule.outcome)).count()
        };
        Count {
            represented: of(|outcome| matches!(outcome, Outcome::Represented { .. })),
            covered: of(|outcome| matches!(outcome, Outcome::Covered { .. })),
            refused: of(|outcome| matches!(outcome, Outcome::Refused { .. })),
        }
    }

    /// The one line that says it: `6 of 6 rules: 3 in the profile, 3 covered by them`.
    pub fn summary(&self) -> String {
        let count = self.count();
        let Count {
            represented,
            covered,
            refused,
        } = count;
        let (held, total) = (count.held(), count.total());
        let refused = match refused {
            0 => String::new(),
            _ => format!(", {refused} refused"),
        };
        format!(
            "{held} of {total} rules: {represented} in the profile, {covered} covered by them{refused}"
        )
    }

    /// The report, line by line: the summary, what was refused and why, what is odd, and, in full, what became of each rule.
    pub fn report(&self, full: bool) -> Vec<String> {
        let mut lines = vec![self.summary()];
        let refused = |rule: &&RuleReport| matches!(rule.outcome, Outcome::Refused { .. });
        if full {
            lines.extend(self.rules.iter().flat_map(RuleReport::lines));
        } else {
            lines.extend(
                self.rules
                    .iter()
                    .filter(refused)
                    .flat_map(RuleReport::lines),
            );
            lines.extend(self.gathered());
        }
        let warning = |warning: &String| format!("warning: {warning}");
        lines.extend(self.warnings.iter().map(warning));
        lines
    }

    /// The warnings of rules, each once, with how many rules have it.
    fn gathered(&self) -> Vec<String> {
        let mut gathered: Vec<(&str, &str, usize)> = Vec::new();
        for rule in &self.rules {
            if matches!(rule.outcome, Outcome::Refused { .. }) {
                continue;
            }
            for warning in &rule.warnings {
                match gathered.iter_mut().find(|(text, _, _)| text == warning) {
                    Some((_, _, count)) => *count = count.saturating_add(1),
                    None => gathered.push((warning, &rule.ace, 1)),
                }
            }
        }
        let line = |(text, ace, count): (&str, &str, usize)| match count {
            1 => format!("warning: {ace}: {text}"),
            2 => format!("warning: {ace} and one more rule: {text}"),
            _ => format!(
                "warning: {ace} and {} more rules: {text}",
                count.saturating_sub(1)
            ),
        };
        gathered.into_iter().map(line).collect()
    }
}

impl RuleReport {
    /// The rule's name with that of its list.
    pub fn name(&self) -> String {
        format!("{}/{}", self.acl, self.ace)
    }

    fn lines(&self) -> Vec<String> {
        let way = match self.direction {
            Direction::In => "to the device",
            Direction::Out => "from the device",
        };
        let name = self.name();
        let mut lines = match &self.outcome {
            Outcome::Represented { rules } => {
                vec![format!("{name} ({way}): {}", rules.join("; "))]
            }
            Outcome::Covered { by, why } => {
                vec![format!("{name} ({way}): covered by {by}: {why}")]
            }
            Outcome::Refused { why } => vec![format!("{name} ({way}): REFUSED: {why}")],
        };
        lines.extend(
            self.warnings
                .iter()
                .map(|warning| format!("  warning: {warning}")),
        );
        lines
    }
}
