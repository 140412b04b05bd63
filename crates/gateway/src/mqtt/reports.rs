//! What the core has to tell: violations to the registry, and everything to the events.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_profile::Control;
use tokio::sync::mpsc;

use super::Shared;
use crate::broker::{Now, Report};
use crate::events::{Happening, Outcome};

/// Reports told in one go. Those that may end in a quarantine, which waits for the disk, are told off the
/// threads that serve connections.
const BATCH: usize = 64;

pub(super) async fn tell(shared: Arc<Shared>, mut reports: mpsc::Receiver<(Now, Report)>) {
    loop {
        let mut some = Vec::new();
        if reports.recv_many(&mut some, BATCH).await == 0 {
            return;
        }
        let waits =
            |report: &Report| matches!(report, Report::Violation { .. } | Report::Cloned { .. });
        if !some.iter().any(|(_, report)| waits(report)) {
            for (now, report) in some {
                tell_one(&shared, now, report);
            }
            continue;
        }
        let shared = Arc::clone(&shared);
        let told = tokio::task::spawn_blocking(move || {
            for (now, report) in some {
                tell_one(&shared, now, report);
            }
        });
        if told.await.is_err() {
            return;
        }
    }
}

/// Events of one device in one window; the rest are summed.
const EVENTS: u32 = 50;
/// The window, in milliseconds.
const WINDOW: u64 = 10_000;

/// How much was told of each device lately, so that one of them cannot flood the log.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Windows>);

#[derive(Debug, Default)]
struct Windows {
    of: BTreeMap<String, Window>,
    swept: u64,
}

#[derive(Debug, Default)]
struct Window {
    since: u64,
    told: u32,
    more: u32,
}

impl Told {
    /// Whether one more event of `device` is told, and how many were left out before it.
    fn may_tell(&self, device: &str, now: Now) -> Option<u32> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.mono >= windows.swept + WINDOW {
            windows.swept = now.mono;
            windows
                .of
                .retain(|_, w| w.more > 0 || now.mono < w.since + WINDOW);
        }
        let window = windows.of.entry(device.to_owned()).or_default();
        if window.told == 0 || now.mono >= window.since + WINDOW {
            let more = window.more;
            *window = Window {
                since: now.mono,
                told: 1,
                more: 0,
            };
            return Some(more);
        }
        if window.told < EVENTS {
            window.told += 1;
            return Some(0);
        }
        window.more += 1;
        None
    }
}

fn tell_event(shared: &Shared, at: Now, mut what: Happening) {
    let device = what.device.as_deref();
    if let Some(device) = device.filter(|_| what.outcome != Outcome::Alarm) {
        match shared.told.may_tell(device, at) {
            Some(0) => {}
            Some(more) => {
                let _written = write!(what.reason, " (and {more} more events of it before)");
            }
            None => return,
        }
    }
    let around = &shared.around;
    around.events.record(around.clock.now(), what);
}

pub(super) fn tell_one(shared: &Shared, at: Now, report: Report) {
    let around = &shared.around;
    let now = around.clock.now();
    let tell = |outcome, control, device, peer, reason| {
        tell_event(
            shared,
            at,
            Happening {
                outcome,
                control,
                device,
                peer,
                reason,
            },
        );
    };
    match report {
        Report::Violation {
            device,
            control,
            peer,
            reason,
        } => {
            tell(
                Outcome::Refused,
                control,
                Some(device.to_string()),
                peer,
                reason.clone(),
            );
            let _counts = around.registry.violation(&device, control, &reason, now);
        }
        Report::Cloned {
            device,
            peer,
            reason,
        } => {
            let name = Some(device.to_string());
            let (alarm, control) = (Outcome::Alarm, Control::Credentials);
            tell(alarm, control, name.clone(), Some(peer), reason.clone());
            if let Err(error) = around.registry.quarantine(&device, &reason, now) {
                let reason = format!("the quarantine for a cloned key was not written: {error}");
                tell(Outcome::Alarm, Control::Credentials, name, None, reason);
            }
        }
        Report::Admitted {
            device,
            peer,
            reason,
        } => {
            tell(
                Outcome::Admitted,
                Control::Comms,
                Some(device.to_string()),
                Some(peer),
                reason,
            );
        }
        Report::Closed {
            device,
            control,
            peer,
            reason,
        } => {
            tell(
                Outcome::Changed,
                control,
                Some(device.to_string()),
                peer,
                reason,
            );
        }
        Report::JournalRefuses { reason } => {
            let reason = format!("nothing with QoS above 0 is accepted: {reason}");
            tell(Outcome::Alarm, Control::Comms, None, None, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_floods_is_summed_and_others_are_told() {
        let told = Told::default();
        let at = |mono| Now { mono, unix: 0 };
        for _ in 0..EVENTS {
            assert_eq!(told.may_tell("a", at(1)), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(told.may_tell("a", at(2)), None);
        }
        assert_eq!(told.may_tell("b", at(2)), Some(0));
        assert_eq!(told.may_tell("a", at(1 + WINDOW)), Some(7));
        assert_eq!(told.may_tell("a", at(2 + WINDOW)), Some(0));
        assert_eq!(told.may_tell("c", at(9 * WINDOW)), Some(0));
        assert_eq!(told.0.lock().unwrap().of.len(), 1);
    }
}
