//! `[evidence]`: what the gateway makes of what devices say of themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stockade_controls::engine::Severity;
use stockade_gateway::evidence::EvidenceSettings;

use super::Span;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [evidence]"
)]
pub(crate) struct Evidence {
    /// A finding this bad, or worse, quarantines a device: `low`, `medium`, `high`, `critical`; `never`.
    pub(crate) quarantine_from: From,
    /// How long a device may have a finding that is not critical before that.
    pub(crate) grace: Span,
    /// A device with an agent that is silent for longer is told of.
    pub(crate) silence: Span,
    /// Whether such a device is quarantined, too.
    pub(crate) quarantine_silent: bool,
    /// Whether every device of the class `linux` must send evidence: one that never does is quarantined after `silence`.
    pub(crate) required: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    Low,
    Medium,
    High,
    Critical,
    Never,
}

impl Default for Evidence {
    fn default() -> Self {
        let day = Span(Duration::from_hours(24));
        Self {
            quarantine_from: From::High,
            grace: day,
            silence: day,
            quarantine_silent: false,
            required: false,
        }
    }
}

impl Evidence {
    /// As the gateway takes it.
    pub(crate) fn settings(self) -> anyhow::Result<EvidenceSettings> {
        Ok(EvidenceSettings {
            quarantine: match self.quarantine_from {
                From::Low => Some(Severity::Low),
                From::Medium => Some(Severity::Medium),
                From::High => Some(Severity::High),
                From::Critical => Some(Severity::Critical),
                From::Never => None,
            },
            grace: self.grace.0.try_into()?,
            silence: self.silence.0.try_into()?,
            quarantine_silent: self.quarantine_silent,
            required: self.required,
        })
    }
}
