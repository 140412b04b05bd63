//! When a certificate is renewed, and how: decided from what is there, so that a power cut at any point is no case of its own.
//!
//! Two slots: the certificate in use, and the next one. The next one takes the place of the other only after the gateway has let the
//! device in with it. No clock and no network here.

use std::time::Duration;

use stockade_api::keys::Slot;
use stockade_controls::comms::Certificate;
use stockade_controls::engine::UnixSeconds;

/// The longest rest: the clock may jump, so it is looked at again after that.
const REST: Duration = Duration::from_hours(1);
/// The first pause after a failure; it doubles up to [`REST`].
const PAUSE: Duration = Duration::from_mins(1);
/// How often the gateway may refuse the next certificate before it is thrown away.
const MOST_REFUSALS: u32 = 3;

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The time, never below the floor.
    pub now: UnixSeconds,
    /// The certificate in use.
    pub current: Option<Certificate>,
    /// The next certificate.
    pub next: Option<Certificate>,
    /// The public half of the key in `device`.
    pub key: Option<Vec<u8>>,
    /// The public half of the key in `device-next`.
    pub next_key: Option<Vec<u8>>,
    /// Whether the gateway wants a renewal now.
    pub asked: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing for this long, or until something happens.
    Rest(Duration),
    /// Put the next certificate's file in the place of the one in use: its key is there already.
    Settle,
    /// Show the gateway the next certificate in a session. If it is let in: promote the key, and settle.
    Prove,
    /// Have a key in `device-next` certified, as the device of this slot (RFC 7030 §4.2.2).
    Request(Slot),
    /// Throw the next certificate and its key away.
    Discard,
    /// Nothing can be done here: the device needs a new code. Told, and looked at again after a rest.
    NeedCode,
}

/// Why a step did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The gateway was not reached, or something of ours failed: a full disk, the key process.
    Trouble,
    /// The gateway said no.
    Refused,
}

/// What is remembered while the process runs; nothing of it is needed after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Renewal {
    failures: u32,
    refusals: u32,
}

impl Renewal {
    /// What to do now.
    pub fn next(&self, facts: &Facts) -> Step {
        let held = |certificate: &Option<Certificate>, key: &Option<Vec<u8>>| {
            let held = certificate
                .clone()
                .filter(|it| Some(&it.spki) == key.as_ref());
            held.map(|it| (facts.now < it.not_after, it))
        };
        if held(&facts.next, &facts.key).is_some() {
            return Step::Settle;
        }
        match (
            held(&facts.current, &facts.key),
            held(&facts.next, &facts.next_key),
        ) {
            // What the gateway keeps refusing goes, as long as there is something to go back to.
            (Some(_), Some(_)) if self.refusals >= MOST_REFUSALS => Step::Discard,
            (_, Some((true, _))) => Step::Prove,
            // The gateway may have taken it for ours already: it comes back with it rather than with the one before.
            (_, Some((false, _))) if self.refusals < MOST_REFUSALS => {
                Step::Request(Slot::DeviceNext)
            }
            (Some((true, current)), None) if !facts.asked && facts.now < current.renew_at() => {
                let left = Duration::from_secs(current.renew_at().saturating_sub(facts.now));
                Step::Rest(left.min(REST))
            }
            (Some(_), None) if self.refusals < MOST_REFUSALS => Step::Request(Slot::Device),
            // It is still good: the gateway changes its mind, or its operator's.
            (Some((true, _)), None) => Step::Rest(REST),
            (_, None | Some(_)) => Step::NeedCode,
        }
    }

    /// A step was done. Pauses begin anew only when the gateway has let the device in.
    pub fn done(&mut self, step: Step) {
        self.refusals = 0;
        if matches!(step, Step::Prove | Step::Settle) {
            self.failures = 0;
        }
    }

    /// A step was not done: how long to wait, `jitter` from 0 to 1 spreads devices that all failed at once.
    pub fn failed(&mut self, why: Failure, jitter: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if why == Failure::Refused {
            self.refusals = self.refusals.saturating_add(1);
        }
        let doubled = PAUSE * 2_u32.pow(self.failures.saturating_sub(1).min(6));
        doubled
            .min(REST)
            .mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// After a rest that refusals led to, the gateway is asked again.
    pub fn rested(&mut self) {
        self.refusals = 0;
    }
}

#[cfg(test)]
mod tests;
