//! What the core has to tell: violations to the registry, and everything to the events.

use std::sync::Arc;

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

pub(super) fn tell_one(shared: &Shared, _now: Now, report: Report) {
    let around = &shared.around;
    let now = around.clock.now();
    let tell = |outcome, control, device, peer, reason| {
        around.events.record(
            now,
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
            tell(
                Outcome::Alarm,
                Control::Credentials,
                name.clone(),
                Some(peer),
                reason.clone(),
            );
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
