//! What a device says of itself to the gateway: its findings, without anything that could be a secret.

use serde::{Deserialize, Serialize};
use stockade_profile::Control;

use super::assess::{Assessment, Verdict};
use super::finding::Severity;
use super::host::UnixSeconds;

/// The seven protocols, with their controls, in the order in which people are told.
pub const PROTOCOLS: [(&str, &[Control]); 7] = [
    ("Secure communications", &[Control::Comms]),
    ("Up-to-date protocols", &[Control::Protocols]),
    ("UPnP", &[Control::Upnp]),
    ("Firewall", &[Control::Firewall]),
    (
        "Secure operating system",
        &[
            Control::Boot,
            Control::Credentials,
            Control::Privileges,
            Control::Programs,
            Control::Updates,
            Control::Mac,
        ],
    ),
    ("Data in the cloud", &[Control::Data]),
    ("Physical security", &[Control::Ports, Control::Tamper]),
];

/// The most findings told of one rule; how many there are is told all the same.
const MOST_TOLD: usize = 5;
/// The longest sentence told, in characters.
const LONGEST: usize = 200;

/// How one rule stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuleState {
    /// The rule's id.
    pub rule: String,
    /// How it stands.
    pub state: Standard,
    /// The worst of its findings.
    pub severity: Option<Severity>,
    /// How many findings there are.
    pub count: u32,
    /// The first of them, or why it can not be judged, as sentences.
    pub says: Vec<String>,
}

/// How a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standard {
    /// It holds.
    Passed,
    /// It is broken.
    Broken,
    /// It cannot be judged.
    CannotTell,
    /// It has nothing to judge here.
    DoesNotApply,
}

/// A device's findings now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Posture {
    /// The version of this form.
    pub form: u32,
    /// The model of the profile.
    pub model: String,
    /// The version of the profile.
    pub profile_version: u64,
    /// When it was looked at, by the device's clock.
    pub at: UnixSeconds,
    /// Every rule.
    pub rules: Vec<RuleState>,
}

/// How a protocol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolVerdict {
    /// Every rule holds.
    Good,
    /// No rule is about it yet, or none applies.
    NotJudged,
    /// Something cannot be judged, nothing is known to be wrong.
    CannotTell,
    /// Something is wrong.
    Wrong,
}

impl Posture {
    /// The posture that an assessment amounts to.
    pub fn of(
        assessment: &Assessment,
        profile: &stockade_profile::Profile,
        at: UnixSeconds,
    ) -> Self {
        let rules = assessment.outcomes.iter().map(|outcome| {
            let (state, findings, why) = match &outcome.verdict {
                Verdict::Passed(_) => (Standard::Passed, &[][..], None),
                Verdict::Broken(findings) => (Standard::Broken, findings.as_slice(), None),
                Verdict::CannotTell(why, findings) => {
                    (Standard::CannotTell, findings.as_slice(), Some(why))
                }
                // Said, too: of a rule that was broken and is absent, nobody knows whether it holds.
                Verdict::DoesNotApply(_) => (Standard::DoesNotApply, &[][..], None),
            };
            let told = why
                .into_iter()
                .chain(findings.iter().map(|finding| &finding.what));
            let says = told
                .take(MOST_TOLD)
                .map(|text| text.chars().take(LONGEST).collect());
            RuleState {
                rule: outcome.rule.id.to_owned(),
                state,
                severity: findings.iter().map(|finding| finding.severity).max(),
                count: u32::try_from(findings.len()).unwrap_or(u32::MAX),
                says: says.collect(),
            }
        });
        Self {
            form: 1,
            model: profile.device.model.to_string(),
            profile_version: profile.device.version,
            at,
            rules: rules.collect(),
        }
    }

    /// How one of the [`PROTOCOLS`] stands, by its controls.
    pub fn verdict(&self, controls: &[Control]) -> ProtocolVerdict {
        let of_it = |state: &&RuleState| {
            let control = state.rule.split('/').next().unwrap_or_default();
            controls.iter().any(|it| it.as_str() == control)
        };
        let states = self.rules.iter().filter(of_it);
        let verdicts = states.map(|state| match state.state {
            Standard::Broken => ProtocolVerdict::Wrong,
            Standard::CannotTell if state.count > 0 => ProtocolVerdict::Wrong,
            Standard::CannotTell => ProtocolVerdict::CannotTell,
            Standard::Passed => ProtocolVerdict::Good,
            Standard::DoesNotApply => ProtocolVerdict::NotJudged,
        });
        let rank = |verdict: &ProtocolVerdict| match verdict {
            ProtocolVerdict::NotJudged => 0,
            ProtocolVerdict::Good => 1,
            ProtocolVerdict::CannotTell => 2,
            ProtocolVerdict::Wrong => 3,
        };
        verdicts
            .max_by_key(rank)
            .unwrap_or(ProtocolVerdict::NotJudged)
    }
}
