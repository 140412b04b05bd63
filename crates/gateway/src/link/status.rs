//! How the link does: what its core counts, and which of its bearers work.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_profile::Control;
use time::OffsetDateTime;

use super::bearer::Place;
use super::core::LinkCounters;
use crate::events::{EventLog, Happening, Outcome};

/// How the link does.
#[derive(Debug)]
pub struct LinkStatus {
    counters: Mutex<LinkCounters>,
    bearers: Vec<Arc<BearerStatus>>,
}

impl LinkStatus {
    /// Of these bearers, by their numbers; nothing was counted so far.
    pub fn new(bearers: Vec<Arc<BearerStatus>>) -> Self {
        Self {
            counters: Mutex::default(),
            bearers,
        }
    }

    /// What was counted so far, a moment ago.
    pub fn counters(&self) -> LinkCounters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, counters: LinkCounters) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }

    /// Where somebody is, for a person: the bearer of an address that stands for one of short range.
    pub fn place(&self, address: &SocketAddr) -> String {
        Place::near(address)
            .and_then(|(bearer, peer)| Some((self.bearers.get(usize::from(bearer))?, peer)))
            .map_or_else(
                || address.to_string(),
                |(bearer, peer)| format!("{}, peer {peer}", bearer.name),
            )
    }

    /// Its bearers of short range, by their numbers.
    pub fn bearers(&self) -> &[Arc<BearerStatus>] {
        &self.bearers
    }
}

/// How a bearer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Neither worked nor failed so far.
    Starts,
    /// Opened; nobody was heard on it so far.
    Open,
    /// It works.
    Works,
    /// It failed, for this reason, and is tried again.
    Failed(String),
}

/// A bearer, and how it does. The events are told once when it fails, and once when it works again.
#[derive(Debug)]
pub struct BearerStatus {
    name: String,
    events: Arc<EventLog>,
    /// Whether the events know of a failure, too.
    now: Mutex<(Standing, bool)>,
}

impl BearerStatus {
    /// One that neither worked nor failed so far.
    pub fn new(name: String, events: Arc<EventLog>) -> Arc<Self> {
        let now = Mutex::new((Standing::Starts, false));
        Arc::new(Self { name, events, now })
    }

    /// As the settings name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it does now.
    pub fn standing(&self) -> Standing {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.0.clone()
    }

    pub(super) fn opened(&self) {
        self.put(Standing::Open, |told| told);
    }

    pub(super) fn works(&self) {
        if self.put(Standing::Works, |_| false) {
            self.tell(
                Outcome::Changed,
                format!("bearer {} works again", self.name),
            );
        }
    }

    pub(super) fn failed(&self, why: &dyn std::fmt::Display) {
        let why = why.to_string();
        if !self.put(Standing::Failed(why.clone()), |_| true) {
            let reason = format!(
                "bearer {} failed: {why}; tried again until it works",
                self.name
            );
            self.tell(Outcome::Alarm, reason);
        }
    }

    /// Whether the events knew of a failure before.
    fn put(&self, standing: Standing, told: impl Fn(bool) -> bool) -> bool {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let before = now.1;
        *now = (standing, told(before));
        before
    }

    fn tell(&self, outcome: Outcome, reason: String) {
        let told = Happening {
            outcome,
            control: Control::Comms,
            device: None,
            peer: None,
            reason,
        };
        self.events.record(OffsetDateTime::now_utc(), told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_short_range_is_told_by_its_bearer() {
        let bearers = ["serial:/dev/ttyACM0", "nfc"];
        let bearers = bearers.map(|name| BearerStatus::new(name.to_owned(), Arc::default()));
        let status = LinkStatus::new(bearers.into());
        let at = |bearer, peer| Place::Near { bearer, peer }.address();
        assert_eq!(status.place(&at(0, 7)), "serial:/dev/ttyACM0, peer 7");
        assert_eq!(
            status.place(&at(1, 0xffff_ffff_ffff)),
            "nfc, peer 281474976710655"
        );
        // A bearer that is gone since, and addresses as they are.
        assert_eq!(status.place(&at(2, 7)), "[100::2:0:0:7]:0");
        for text in ["192.0.2.7:5683", "[2001:db8::1]:5683", "[::1]:5683"] {
            assert_eq!(status.place(&text.parse().unwrap()), text);
        }
    }

    #[test]
    fn a_failure_is_told_once_and_once_that_it_is_over() {
        let events = Arc::new(EventLog::default());
        let bearer = BearerStatus::new("serial:/dev/ttyACM0".to_owned(), Arc::clone(&events));
        assert_eq!(bearer.standing(), Standing::Starts);
        bearer.opened();
        assert_eq!(bearer.standing(), Standing::Open);
        bearer.works();
        for _ in 0..3 {
            bearer.failed(&"No such device");
            assert_eq!(
                bearer.standing(),
                Standing::Failed("No such device".to_owned())
            );
            bearer.opened();
        }
        bearer.works();
        bearer.works();
        assert_eq!(bearer.standing(), Standing::Works);
        let told: Vec<String> = events
            .latest(None, 10)
            .iter()
            .map(|event| event.reason.clone())
            .collect();
        assert_eq!(
            told,
            [
                "bearer serial:/dev/ttyACM0 works again",
                "bearer serial:/dev/ttyACM0 failed: No such device; tried again until it works",
            ]
        );
    }
}
