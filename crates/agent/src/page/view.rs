//! What the templates are made of.

use std::time::SystemTime;

use stockade_api::helper::{Event, Refused, Weight};
use stockade_controls::engine::{
    PROTOCOLS, Posture, ProtocolVerdict, Report, RuleReport, RuleState, Severity, Standard,
};
use stockade_profile::Control;
use time::OffsetDateTime;

use super::assets::{Urls, urls};

/// The most findings of one rule that a page shows.
const MOST_SHOWN: usize = 10;

/// The part of the page somebody is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// Before everything else: the visitor may not go anywhere yet.
    Before,
    Overview,
    Blocked,
    Updates,
    Ports,
    Upnp,
    Gateway,
    Log,
    /// Something that is not in the menu.
    Other,
}

/// What surrounds every page.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    pub(super) here: Here,
    /// For the forms; there is none for strangers.
    pub(super) csrf: String,
    pub(super) version: &'static str,
    pub(super) urls: &'static Urls,
}

impl Shell {
    pub(super) fn new(here: Here, csrf: String) -> Self {
        Self {
            here,
            csrf,
            version: env!("CARGO_PKG_VERSION"),
            urls: urls(),
        }
    }
}

/// A sentence in which backticks mark what is literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words(pub(super) String);

impl Words {
    /// Its pieces, and whether each is literal.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (bool, &str)> {
        let pieces = self.0.split('`').enumerate();
        pieces
            .map(|(n, text)| (n % 2 == 1, text))
            .filter(|(_, text)| !text.is_empty())
    }
}

impl<T: Into<String>> From<T> for Words {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// Why something was refused and what to do about it, in one line.
pub(super) fn fault(refused: &Refused) -> Words {
    let text = format!("{} {}", refused.why, refused.next);
    text.trim().into()
}

/// A time of the device's clock: `2026-11-23 01:15:00`.
pub(super) fn moment(unix: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(unix) else {
        return "at no known time".to_owned();
    };
    let (hour, minute, second) = at.to_hms();
    format!(
        "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
    )
}

/// The same of the system's clock.
pub(super) fn instant(at: SystemTime) -> String {
    moment(OffsetDateTime::from(at).unix_timestamp())
}

/// A length of time in its two largest units: `1 h 30 min`.
pub(super) fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut said = Vec::new();
    for (size, unit) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            said.push(format!("{count} {unit}"));
        } else if !said.is_empty() {
            break;
        }
    }
    said.truncate(2);
    if said.is_empty() {
        "0 s".to_owned()
    } else {
        said.join(" ")
    }
}

/// How one of the seven protocols stands.
#[derive(Debug)]
pub(super) struct ProtocolView {
    pub(super) name: &'static str,
    pub(super) verdict: &'static str,
    pub(super) badge: &'static str,
    pub(super) summary: String,
    pub(super) wrong: Vec<RuleView>,
    pub(super) unjudged: Vec<(Words, Words)>,
    pub(super) good: Vec<(Words, Words)>,
}

/// A rule that is broken.
#[derive(Debug)]
pub(super) struct RuleView {
    pub(super) title: Words,
    pub(super) why: Words,
    pub(super) severity: Severity,
    pub(super) findings: Vec<FindingView>,
    /// How many more there are.
    pub(super) more: usize,
    pub(super) mendable: bool,
    pub(super) advice: Words,
    pub(super) standards: String,
}

#[derive(Debug)]
pub(super) struct FindingView {
    pub(super) what: Words,
    pub(super) seen: Vec<(String, String)>,
    pub(super) person: Option<Words>,
}

/// The seven protocols, as the owner is told of them.
pub(super) fn protocols(report: &Report) -> Vec<ProtocolView> {
    let posture = posture(report);
    let view = |(name, controls): &(&'static str, &'static [Control])| {
        let rules: Vec<&RuleReport> = report
            .rules
            .iter()
            .filter(|rule| is_of(rule, controls))
            .collect();
        let told = |state| {
            let of_it = rules.iter().filter(move |rule| rule.state == state);
            of_it.map(|rule| (rule.title.as_str().into(), rule.note.as_str().into()))
        };
        let wrong: Vec<_> = rules
            .iter()
            .filter(|rule| !rule.findings.is_empty())
            .map(|rule| RuleView::of(rule))
            .collect();
        let unjudged: Vec<_> = told(Standard::CannotTell).collect();
        let good: Vec<_> = told(Standard::Passed).collect();
        let (verdict, badge, summary) = match posture.verdict(controls) {
            ProtocolVerdict::Good => (
                "Good",
                "active",
                said(good.len(), "rule holds", "rules hold"),
            ),
            ProtocolVerdict::Wrong => (
                "Needs mending",
                "revoked",
                said(wrong.len(), "rule is broken", "rules are broken"),
            ),
            ProtocolVerdict::CannotTell => (
                "Cannot tell",
                "quarantined",
                said(
                    unjudged.len(),
                    "rule cannot be judged",
                    "rules cannot be judged",
                ),
            ),
            ProtocolVerdict::NotJudged => (
                "Not judged here",
                "none",
                match *controls {
                    [Control::Data] => "Data is protected where it is kept: the vault judges that.",
                    _ => "Nothing on this device is judged for it yet.",
                }
                .to_owned(),
            ),
        };
        ProtocolView {
            name,
            verdict,
            badge,
            summary,
            wrong,
            unjudged,
            good,
        }
    };
    PROTOCOLS.iter().map(view).collect()
}

fn said(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}.", if count == 1 { one } else { many })
}

fn is_of(rule: &RuleReport, controls: &[Control]) -> bool {
    let control = rule.id.split('/').next().unwrap_or_default();
    controls.iter().any(|it| it.as_str() == control)
}

/// The report as a posture: one place decides how a protocol stands.
fn posture(report: &Report) -> Posture {
    let rules = report.rules.iter().map(|rule| RuleState {
        rule: rule.id.clone(),
        state: rule.state,
        severity: None,
        count: u32::try_from(rule.findings.len()).unwrap_or(u32::MAX),
        says: Vec::new(),
    });
    Posture {
        form: 1,
        model: report.model.clone(),
        profile_version: report.profile_version,
        at: report.at,
        rules: rules.collect(),
    }
}

impl RuleView {
    fn of(rule: &RuleReport) -> Self {
        let findings = rule.findings.iter().take(MOST_SHOWN);
        let severities = rule.findings.iter().map(|finding| finding.severity);
        Self {
            title: rule.title.as_str().into(),
            why: rule.why.as_str().into(),
            severity: severities.max().unwrap_or(Severity::Info),
            findings: findings
                .map(|finding| FindingView {
                    what: finding.what.as_str().into(),
                    seen: finding
                        .evidence
                        .iter()
                        .take(MOST_SHOWN)
                        .map(|it| (it.place.clone(), it.seen.clone()))
                        .collect(),
                    person: finding.person.clone().map(Words),
                })
                .collect(),
            more: rule.findings.len().saturating_sub(MOST_SHOWN),
            mendable: rule.findings.iter().any(|finding| finding.mendable),
            advice: rule.advice.as_str().into(),
            standards: rule.standards.join(" · "),
        }
    }
}

/// A line of the log.
#[derive(Debug)]
pub(super) struct EventView {
    pub(super) at: String,
    pub(super) badge: &'static str,
    pub(super) weight: &'static str,
    pub(super) by: String,
    pub(super) says: Words,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        let (badge, weight) = match event.weight {
            Weight::Note => ("none", "note"),
            Weight::Change => ("changed", "change"),
            Weight::Warning => ("refused", "warning"),
        };
        Self {
            at: moment(i64::try_from(event.at).unwrap_or(i64::MAX)),
            badge,
            weight,
            by: event.by.clone(),
            says: event.says.as_str().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_said_in_two_units() {
        let said: Vec<_> = [0, 59, 60, 3_599, 3_600, 5_400, 90_061].map(span).into();
        let words = [
            "0 s",
            "59 s",
            "1 min",
            "59 min 59 s",
            "1 h",
            "1 h 30 min",
            "1 d 1 h",
        ];
        assert_eq!(said, words);
    }

    #[test]
    fn times_are_said_in_utc() {
        assert_eq!(moment(1_795_396_500), "2026-11-23 01:15:00");
        assert_eq!(moment(i64::MAX), "at no known time");
    }
}
