//! When evidence, or the lack of it, puts a device into quarantine. Pure.

use stockade_controls::engine::{Severity, Standard};
use time::{Duration, OffsetDateTime};

use super::kept::{Kept, Wrong};
use crate::tls::moment;

/// How often a device whose start is to be attested is asked for it.
pub(super) const ATTEST: Duration = Duration::hours(1);

/// What an operator may choose about evidence (`docs/posture.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceSettings {
    /// Findings as bad as this, or worse, quarantine a device; none: no finding does. High.
    pub quarantine: Option<Severity>,
    /// How long a device may have a finding that is not critical before it is quarantined for it; 24 hours.
    pub grace: Duration,
    /// How long a device that has an agent may be silent before that is told; 24 hours.
    pub silence: Duration,
    /// Whether a device is quarantined for such a silence; not.
    pub quarantine_silent: bool,
    /// Whether every device whose profile says that it runs the agent must send evidence; not.
    pub required: bool,
}

impl Default for EvidenceSettings {
    fn default() -> Self {
        Self {
            quarantine: Some(Severity::High),
            grace: Duration::hours(24),
            silence: Duration::hours(24),
            quarantine_silent: false,
            required: false,
        }
    }
}

impl EvidenceSettings {
    /// Why a device belongs in quarantine now, each reason a sentence.
    pub(super) fn reasons(&self, kept: &Kept, now: OffsetDateTime) -> Vec<String> {
        let due = |(_, wrong): &(&String, &Wrong)| self.due(wrong, kept.released, now);
        let mut due: Vec<_> = kept.wrong.iter().filter(due).collect();
        // The worst first: only some reasons are kept.
        due.sort_by_key(|(_, wrong)| std::cmp::Reverse(wrong.severity));
        due.into_iter()
            .map(|(rule, wrong)| sentence(rule, wrong))
            .collect()
    }

    fn due(&self, wrong: &Wrong, released: Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
        let found = wrong.state == Standard::Broken || wrong.count > 0;
        // Broken without saying how badly is not better than badly.
        let severity = wrong.severity.unwrap_or(Severity::High);
        if !found || self.quarantine.is_none_or(|from| severity < from) {
            return false;
        }
        let bears = match released.filter(|released| wrong.since <= *released) {
            // Whoever released it knew of this, and gets as much time as the device had.
            Some(released) => released + self.grace,
            None if severity == Severity::Critical => wrong.since,
            None => wrong.since + self.grace,
        };
        now >= bears
    }

    /// Why a device whose start is to be attested belongs in quarantine now for how it started. `begun` is since when it could have
    /// been asked.
    pub(super) fn start(
        &self,
        kept: &Kept,
        begun: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Vec<String> {
        let Some(start) = &kept.attested else {
            return self.stale(begun, now).into_iter().collect();
        };
        if start.verdict.wrong.is_empty() {
            return self.stale(start.came, now).into_iter().collect();
        }
        let bears = match kept.released.filter(|released| start.since <= *released) {
            Some(released) => released + self.grace,
            None if start.verdict.time => start.since + self.grace,
            None => start.since,
        };
        let due = if now >= bears {
            &start.verdict.wrong[..]
        } else {
            &[]
        };
        due.iter()
            .map(|why| format!("attestation: {why}"))
            .collect()
    }

    fn stale(&self, since: OffsetDateTime, now: OffsetDateTime) -> Option<String> {
        let late = now - since > self.grace + ATTEST;
        late.then(|| {
            format!(
                "attestation: its TPM has not answered since {}",
                moment(since)
            )
        })
    }

    /// Since when a device is silent for too long, if it is. `heard` is when it was heard last, or since when it could have been.
    pub(super) fn silent(&self, heard: OffsetDateTime, now: OffsetDateTime) -> Option<String> {
        (now - heard > self.silence).then(|| format!("no evidence since {}", moment(heard)))
    }
}

/// A rule and what is wrong, for a person.
fn sentence(rule: &str, wrong: &Wrong) -> String {
    let more = match wrong.count {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    format!("{rule}: {}{more}", wrong.says)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn with(severity: Option<Severity>, state: Standard, count: u32) -> Kept {
        let wrong = Wrong {
            state,
            severity,
            count,
            says: "account `guest` has the password `guest`".to_owned(),
            since: START,
        };
        Kept {
            wrong: [("credentials/default-password".to_owned(), wrong)].into(),
            ..Kept::default()
        }
    }

    /// Hours after which a device with this is in quarantine; none if that never happens.
    fn hours(settings: &EvidenceSettings, kept: &Kept) -> Option<i64> {
        (0..1000).find(|hour| {
            !settings
                .reasons(kept, START + Duration::hours(*hour))
                .is_empty()
        })
    }

    #[test]
    fn what_is_critical_quarantines_at_once_and_what_is_high_after_its_time() {
        let settings = EvidenceSettings::default();
        let after = |severity| hours(&settings, &with(severity, Standard::Broken, 1));
        assert_eq!(after(Some(Severity::Critical)), Some(0));
        assert_eq!(after(Some(Severity::High)), Some(24));
        assert_eq!(after(None), Some(24));
        assert_eq!(after(Some(Severity::Medium)), None);
        let never = EvidenceSettings {
            quarantine: None,
            ..settings
        };
        let critical = with(Some(Severity::Critical), Standard::Broken, 1);
        assert_eq!(hours(&never, &critical), None);
    }

    #[test]
    fn what_cannot_be_judged_quarantines_only_for_what_was_found_all_the_same() {
        let settings = EvidenceSettings::default();
        assert_eq!(hours(&settings, &with(None, Standard::CannotTell, 0)), None);
        let found = with(Some(Severity::Critical), Standard::CannotTell, 1);
        assert_eq!(hours(&settings, &found), Some(0));
    }

    #[test]
    fn who_was_released_by_an_operator_is_given_time_for_what_was_known_then() {
        let settings = EvidenceSettings::default();
        let mut kept = with(Some(Severity::Critical), Standard::Broken, 3);
        kept.released = Some(START + Duration::hours(2));
        assert_eq!(hours(&settings, &kept), Some(26));
        let known = kept.wrong["credentials/default-password"].clone();
        let later = Wrong {
            since: START + Duration::hours(3),
            ..known
        };
        kept.wrong
            .insert("credentials/empty-password".to_owned(), later);
        assert_eq!(hours(&settings, &kept), Some(3));
    }

    #[test]
    fn the_reason_says_what_is_wrong_and_how_often() {
        let kept = with(Some(Severity::Critical), Standard::Broken, 3);
        assert_eq!(
            EvidenceSettings::default().reasons(&kept, START),
            ["credentials/default-password: account `guest` has the password `guest` (and 2 more)"]
        );
    }
}
