//! From findings to a plan.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::action::{Action, Step};
use super::assess::Assessment;
use super::finding::Remedy;

/// A step and the findings that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What to do.
    pub step: Step,
    /// For which findings: `rule subject`.
    pub mends: Vec<String>,
}

/// What to do, in order. Data: it can be shown, sent, stored and compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<PlannedStep>,
}

impl Plan {
    /// The plan that would mend what was found: every action once, stage by stage. A line that one step takes away is no other
    /// step's: what would exchange it too is planned when the file is as the first one leaves it.
    pub fn of(assessment: &Assessment) -> Self {
        let mut steps: Vec<PlannedStep> = Vec::new();
        for finding in assessment.findings() {
            let Remedy::Steps(wanted) = &finding.remedy else {
                continue;
            };
            let mends = format!("{} {}", finding.rule.id, finding.subject);
            for step in wanted {
                let same = |it: &&mut PlannedStep| joined(&it.step.action, &step.action).is_some();
                match steps.iter_mut().find(same) {
                    Some(known) => {
                        if let Some(action) = joined(&known.step.action, &step.action) {
                            // The words are those of the stricter one.
                            if action != known.step.action && action == step.action {
                                known.step = step.clone();
                            }
                            known.step.action = action;
                        }
                        if !known.mends.contains(&mends) {
                            known.mends.push(mends.clone());
                        }
                    }
                    None => steps.push(PlannedStep {
                        step: step.clone(),
                        mends: vec![mends.clone()],
                    }),
                }
            }
        }
        // Stable: within a stage, the order of the findings.
        steps.sort_by_key(|planned| planned.step.stage);
        let mut gone = BTreeSet::new();
        steps.retain(|planned| {
            let Action::Edit { path, replace, .. } = &planned.step.action else {
                return true;
            };
            let line_of = |line: &String| (path.clone(), line.clone());
            let free = replace
                .iter()
                .all(|(line, _)| !gone.contains(&line_of(line)));
            if free {
                let taken = replace.iter().filter(|(line, with)| !with.contains(line));
                gone.extend(taken.map(|(line, _)| line_of(line)));
            }
            free
        });
        Self { steps }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// The action that does what both do, if one can: the same, or modes of one file, of which only the common bits stay. The owner is
/// that of the first: the controls that only take bits away leave him as he is, and come later.
fn joined(a: &Action, b: &Action) -> Option<Action> {
    match (a, b) {
        (
            Action::Mode { path, mode, owner },
            Action::Mode {
                path: other,
                mode: also,
                owner: _,
            },
        ) if path == other => Some(Action::Mode {
            path: path.clone(),
            mode: mode & also,
            owner: *owner,
        }),
        (a, b) => (a == b).then(|| a.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Finding, HostPath, Outcome, Stage, Verdict};

    #[test]
    fn two_steps_about_the_mode_of_one_file_become_the_stricter_one() {
        let mode = |path, mode| Action::Mode {
            path: HostPath::of(path),
            mode,
            owner: (0, 0),
        };
        let both = joined(&mode("/a", 0o664), &mode("/a", 0o640));
        assert_eq!(both, Some(mode("/a", 0o640)));
        assert_eq!(joined(&mode("/a", 0o664), &mode("/b", 0o664)), None);
        assert_eq!(
            joined(&Action::Firewall, &Action::Firewall),
            Some(Action::Firewall)
        );
    }

    #[test]
    fn a_line_that_a_step_takes_away_is_no_other_steps() {
        const RULE: crate::engine::Rule = crate::engine::Rule {
            id: "test/lines",
            control: crate::engine::Control::Credentials,
            severity: crate::engine::Severity::Low,
            title: "",
            why: "",
            advice: "",
            standards: &[],
        };
        let edit = |with: &[&str]| Action::Edit {
            path: HostPath::of("/f"),
            replace: vec![(
                "a".to_owned(),
                with.iter().map(ToString::to_string).collect(),
            )],
            append: Vec::new(),
        };
        let planned = |all: &[&[&str]]| {
            let step = |with: &&[&str]| Step::safe(Stage::Change, edit(with), "");
            let finding = Finding::of(&RULE, "", "").mended_by(all.iter().map(step).collect());
            let outcomes = vec![Outcome {
                rule: &RULE,
                verdict: Verdict::Broken(vec![finding]),
            }];
            Plan::of(&Assessment { outcomes }).steps.len()
        };
        // What is put before a line leaves it to the next; what exchanges it does not.
        assert_eq!(planned(&[&["x", "a"], &["y", "a"], &["b"]]), 3);
        assert_eq!(planned(&[&["b"], &["x", "a"], &["c"]]), 1);
    }
}
