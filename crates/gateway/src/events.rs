//! What happened at the gateway, told once: to the log, to who watches, and to who asks later.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use stockade_profile::Control;
use time::OffsetDateTime;
use tokio::sync::broadcast;

/// How many past events are kept for those who ask later.
const KEPT: usize = 10_000;
/// How far a watcher may fall behind before it is told that it missed some.
const BEHIND: usize = 1_024;
/// Longest text taken over from a peer, in characters.
const MAX_REASON: usize = 300;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A device was let in, enrolled, or did what its profile allows for the first time.
    Admitted,
    /// Something the profile or the gateway's rules do not allow was refused.
    Refused,
    /// A device changed its state: quarantined, released, revoked, left.
    Changed,
    /// Somebody should look now: a cloned key, a failing disk.
    Alarm,
}

impl Outcome {
    /// The word used in tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Changed => "changed",
            Self::Alarm => "alarm",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Position in the log of this run; grows by one.
    pub seq: u64,
    /// When, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What came of it.
    pub outcome: Outcome,
    /// The control (and so the protocol of the profile) that decided.
    pub control: &'static str,
    /// The device, where it is known.
    pub device: Option<String>,
    /// The peer's address, where there is one.
    pub peer: Option<SocketAddr>,
    /// What and why, as one sentence a person can read; text from a peer is escaped.
    pub reason: String,
}

impl Event {
    /// One line with fields: an alarm is worth waking someone, and what a stranger can cause is for who asks for it.
    fn log(&self) {
        let (outcome, device) = (self.outcome.as_str(), self.device.as_deref());
        let peer = self.peer.map(tracing::field::display);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "stockade::events",
                    seq = self.seq,
                    outcome,
                    control = self.control,
                    device,
                    peer,
                    "{}",
                    self.reason
                )
            };
        }
        match self.outcome {
            Outcome::Alarm => line!(warn),
            Outcome::Changed => line!(info),
            Outcome::Admitted | Outcome::Refused => line!(debug),
        }
    }
}

/// What a caller knows of an event; the log adds number and time.
#[derive(Debug, Clone)]
pub struct Happening {
    /// What came of it.
    pub outcome: Outcome,
    /// The control that decided.
    pub control: Control,
    /// The device, where it is known.
    pub device: Option<String>,
    /// The peer's address, where there is one.
    pub peer: Option<SocketAddr>,
    /// What and why.
    pub reason: String,
}

/// The events of this run.
#[derive(Debug)]
pub struct EventLog {
    recent: Mutex<Recent>,
    watchers: broadcast::Sender<Event>,
}

#[derive(Debug)]
struct Recent {
    next: u64,
    events: VecDeque<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            recent: Mutex::new(Recent {
                next: 1,
                events: VecDeque::new(),
            }),
            watchers: broadcast::channel(BEHIND).0,
        }
    }
}

impl EventLog {
    /// Records what happened at `at`, and tells everyone who watches.
    pub fn record(&self, at: OffsetDateTime, what: Happening) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event {
            seq: recent.next,
            at,
            outcome: what.outcome,
            control: what.control.as_str(),
            device: what.device,
            peer: what.peer,
            reason: printable(&what.reason),
        };
        event.log();
        recent.next += 1;
        if recent.events.len() == KEPT {
            recent.events.pop_front();
        }
        recent.events.push_back(event.clone());
        // Sent under the lock, so that watchers see the numbers in order. No watcher is no fault.
        let _watched = self.watchers.send(event);
    }

    /// Up to `limit` events after number `after`, oldest first.
    pub fn after(&self, after: u64, limit: usize) -> Vec<Event> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .events
            .iter()
            .filter(|e| e.seq > after)
            .take(limit)
            .cloned()
            .collect()
    }

    /// The last `limit` events that concern `device` (or all), newest first.
    pub fn latest(&self, device: Option<&str>, limit: usize) -> Vec<Event> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |e: &&Event| device.is_none_or(|d| e.device.as_deref() == Some(d));
        recent
            .events
            .iter()
            .rev()
            .filter(wanted)
            .take(limit)
            .cloned()
            .collect()
    }

    /// Events from now on.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.watchers.subscribe()
    }
}

/// Text that cannot move a terminal's cursor or start a new log line, and has an end.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(MAX_REASON) {
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(device: &str, reason: &str) -> Happening {
        Happening {
            outcome: Outcome::Refused,
            control: Control::Comms,
            device: Some(device.to_owned()),
            peer: None,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn numbers_grow_and_old_events_make_room() {
        let log = EventLog::default();
        for _ in 0..KEPT + 5 {
            log.record(OffsetDateTime::UNIX_EPOCH, refused("a", "x"));
        }
        let first = log.after(0, 1).remove(0).seq;
        assert_eq!(first, 6);
        assert_eq!(
            log.latest(None, 1).remove(0).seq,
            u64::try_from(KEPT).unwrap() + 5
        );
    }

    #[test]
    fn text_of_a_peer_cannot_forge_a_line_or_colour_a_terminal() {
        let log = EventLog::default();
        log.record(
            OffsetDateTime::UNIX_EPOCH,
            refused("a", "topic \u{1b}[2J\nadmitted"),
        );
        let reason = log.latest(Some("a"), 1).remove(0).reason;
        assert_eq!(reason, "topic \\u{1b}[2J\\u{a}admitted");
    }
}
