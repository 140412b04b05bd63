//! What `stockade vault policy check` refuses in a profile, and the operator's word to go on all the same.

use stockade_gateway::events::{Happening, Outcome};
use stockade_profile::{Control, PolicySeverity, Profile};

use crate::act::FaultView;
use crate::http::Problem;
use crate::state::App;

/// Places that an event names; its text has an end.
const NAMED: usize = 5;

/// What is to become of a profile whose policy is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Findings {
    /// It is refused.
    Refuse,
    /// The operator said that it is taken all the same.
    Allow,
}

impl Findings {
    /// Taken only if the operator said so.
    pub(crate) const fn allowed(said: bool) -> Self {
        if said { Self::Allow } else { Self::Refuse }
    }
}

/// What a profile's policy is refused for; first what is said first by `vault policy check`.
pub(crate) fn of(profile: &Profile) -> Vec<FaultView> {
    stockade_profile::policy(profile)
        .into_iter()
        .filter(|fault| fault.severity == PolicySeverity::Refused)
        .map(|fault| FaultView {
            place: Some(fault.place),
            message: fault.what,
            help: Some(fault.instead),
        })
        .collect()
}

/// A policy was looked at, and nothing is in the way: that it holds, or the operator's word.
#[derive(Debug)]
#[must_use]
pub(crate) struct Passed {
    overruled: Vec<FaultView>,
}

/// Looks at the policy of `profile`; the error is what it is refused for.
pub(crate) fn check(profile: &Profile, findings: Findings) -> Result<Passed, Vec<FaultView>> {
    let found = of(profile);
    match findings {
        Findings::Refuse if !found.is_empty() => Err(found),
        Findings::Refuse | Findings::Allow => Ok(Passed { overruled: found }),
    }
}

impl Passed {
    /// Tells as an event what was done against the policy's check, if anything was: `what` is a clause, and the findings' places
    /// come behind it.
    pub(crate) fn tell(self, app: &App, device: Option<&str>, what: &str) -> Vec<FaultView> {
        if !self.overruled.is_empty() {
            let reason = format!(
                "{what}, although its policy is refused: {}",
                places(&self.overruled)
            );
            app.state.events.record(
                app.now(),
                Happening {
                    outcome: Outcome::Changed,
                    control: Control::Data,
                    device: device.map(str::to_owned),
                    peer: None,
                    reason,
                },
            );
        }
        self.overruled
    }
}

/// That no device is added whose data would be kept so.
pub(crate) fn not_added(model: &str, found: &[FaultView]) -> Problem {
    let mut told: Vec<_> = found
        .iter()
        .take(NAMED)
        .map(|fault| {
            let place = fault.place.as_deref().unwrap_or_default();
            format!("{place}: {}", fault.message)
        })
        .collect();
    told.extend(more(found));
    Problem::conflict(
        format!(
            "what the profile of {model} says of its data is known to fail: {}",
            told.join("; ")
        ),
        "install a profile that `stockade vault policy check` takes; or add the device all the same: --allow-policy-findings",
    )
}

fn places(found: &[FaultView]) -> String {
    let mut told: Vec<_> = found
        .iter()
        .take(NAMED)
        .filter_map(|fault| fault.place.clone())
        .collect();
    told.extend(more(found));
    told.join(", ")
}

fn more(found: &[FaultView]) -> Option<String> {
    let beyond = found.len().saturating_sub(NAMED);
    (beyond > 0).then(|| format!("and {beyond} more"))
}
