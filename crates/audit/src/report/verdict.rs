//! How the seven protocols stand.

use stockade_controls::engine::{Control, PROTOCOLS, Standard};

use super::{ProtocolReport, Report, Stand};

impl Report {
    /// Says anew how the protocols stand; after findings were waived.
    pub(crate) fn settle(&mut self) {
        let blind = self.not_audited.iter().any(|it| it.waived.is_none());
        let settled = PROTOCOLS
            .iter()
            .map(|(name, controls)| self.protocol(name, controls, blind));
        self.protocols = settled.collect();
    }

    fn protocol(&self, name: &str, controls: &[Control], blind: bool) -> ProtocolReport {
        let mut of = ProtocolReport {
            name: name.to_owned(),
            verdict: Stand::NotJudged,
            worst: None,
            findings: 0,
            waived: 0,
            passed: 0,
            cannot_tell: 0,
        };
        let of_it = |id: &str| {
            let control = id.split('/').next().unwrap_or_default();
            controls.iter().any(|it| it.as_str() == control)
        };
        for rule in self.rules.iter().filter(|rule| of_it(&rule.id)) {
            match rule.state {
                Standard::Passed => of.passed += 1,
                Standard::CannotTell => of.cannot_tell += 1,
                Standard::Broken | Standard::DoesNotApply => (),
            }
            for finding in &rule.findings {
                if finding.waived.is_some() {
                    of.waived += 1;
                } else {
                    of.findings += 1;
                    of.worst = of.worst.max(Some(finding.severity));
                }
            }
        }
        of.verdict = match (of.findings, of.cannot_tell, of.passed + of.waived) {
            (0, 0, 0) => Stand::NotJudged,
            // What could not be read may hold anything.
            (0, 0, _) if blind => Stand::CannotTell,
            (0, 0, _) => Stand::Good,
            (0, _, _) => Stand::CannotTell,
            _ => Stand::Wrong,
        };
        of
    }
}

impl ProtocolReport {
    /// The verdict in words, after the name.
    pub fn says(&self) -> String {
        let rules = |count: u32| crate::counted(count, "rule");
        let hold = match self.passed {
            1 => "1 rule holds".to_owned(),
            passed => format!("{passed} rules hold"),
        };
        let waived = match self.waived {
            0 => String::new(),
            waived => format!(" ({waived} waived)"),
        };
        match (self.verdict, self.cannot_tell) {
            (Stand::NotJudged, _) => "not judged: nothing of it can be seen from here".to_owned(),
            (Stand::Good, _) => format!("good: {hold}{waived}"),
            (Stand::CannotTell, 0) => {
                format!("cannot be judged wholly: {hold}, and not everything could be read{waived}")
            }
            (Stand::CannotTell, unjudged) => format!(
                "cannot be judged: {} of {}{waived}",
                unjudged,
                rules(self.passed + unjudged)
            ),
            (Stand::Wrong, _) => {
                let findings = crate::counted(self.findings, "finding");
                let worst = self.worst.map_or_else(String::new, |it| it.to_string());
                format!("wrong: {findings}, the worst {worst}{waived}")
            }
        }
    }
}
