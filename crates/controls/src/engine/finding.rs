//! Rules and what breaks them.

use std::fmt;

use serde::{Deserialize, Serialize};
pub use stockade_profile::Control;

use super::action::Step;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Helps whoever is in already.
    Low,
    /// A way in under conditions.
    Medium,
    /// A way in.
    High,
    /// A way in that is used in the wild.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// How sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// A guess from a name or a version.
    Low,
    /// What is configured says so.
    Medium,
    /// It was seen.
    High,
}

/// One rule; everything about it that does not depend on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `control/name`, stable for good: reports, baselines and waivers name it.
    pub id: &'static str,
    /// The control.
    pub control: Control,
    /// What is right, as a short sentence: "No account has a default password".
    pub title: &'static str,
    /// Why it matters: what an attacker makes of it.
    pub why: &'static str,
    /// How bad breaking it is.
    pub severity: Severity,
    /// How to mend it by hand.
    pub advice: &'static str,
    /// Provisions that it touches: `EN 303 645 5.1-1`, `NISTIR 8425 …`, `CRA I.I(2)(d)`, `ISVS 2.1.1`.
    pub standards: &'static [&'static str],
}

/// Where something was seen and what; never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// A path with a line, a socket, a process, a package: `/etc/shadow:3`, `tcp 0.0.0.0:23`.
    pub place: String,
    /// What was seen there.
    pub seen: String,
}

impl Evidence {
    /// What was seen at a place.
    pub fn at(place: impl Into<String>, seen: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            seen: seen.into(),
        }
    }
}

/// What would mend a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// These steps, in this order.
    Steps(Vec<Step>),
    /// Something that only a person can do or decide: a sentence that says what.
    Person(String),
}

impl Remedy {
    /// What only a person can do, if no plan mends it.
    pub fn person(&self) -> Option<&str> {
        match self {
            Self::Person(what) => Some(what),
            Self::Steps(_) => None,
        }
    }
}

/// A fact that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What it is about, in words that stay the same from one look to the next: `account root`, `/usr/bin/x`.
    pub subject: String,
    /// What is wrong, as one sentence.
    pub what: String,
    /// How bad it is here; the rule's own unless there is a reason.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// What would mend it.
    pub remedy: Remedy,
}

impl Finding {
    /// A finding as bad as its rule says, seen for sure.
    pub fn of(rule: &'static Rule, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            rule,
            subject: subject.into(),
            what: what.into(),
            severity: rule.severity,
            confidence: Confidence::High,
            evidence: Vec::new(),
            remedy: Remedy::Person(rule.advice.to_owned()),
        }
    }

    /// With what was seen at a place.
    #[must_use]
    pub fn seen(mut self, place: impl Into<String>, seen: impl Into<String>) -> Self {
        self.evidence.push(Evidence::at(place, seen));
        self
    }

    /// Mended by these steps.
    #[must_use]
    pub fn mended_by(mut self, steps: Vec<Step>) -> Self {
        self.remedy = Remedy::Steps(steps);
        self
    }

    /// Less sure.
    #[must_use]
    pub fn with(mut self, severity: Severity, confidence: Confidence) -> Self {
        self.severity = severity;
        self.confidence = confidence;
        self
    }
}

/// The rules of a control, each a static, and `ALL` of them in the order of a report.
#[macro_export]
macro_rules! rules {
    ($control:ident $prefix:literal; $($(#[$doc:meta])* $name:ident = $id:literal, $severity:ident, $title:literal, $why:literal, $advice:literal, $standards:expr;)*) => {
        $($(#[$doc])* pub(super) static $name: $crate::engine::Rule = $crate::engine::Rule {
            id: concat!($prefix, "/", $id),
            control: $crate::engine::Control::$control,
            title: $title,
            why: $why,
            severity: $crate::engine::Severity::$severity,
            advice: $advice,
            standards: &$standards,
        };)*
        /// All, in the order of a report.
        pub(super) const ALL: &[&$crate::engine::Rule] = &[$(&$name),*];
    };
}
pub use rules;
