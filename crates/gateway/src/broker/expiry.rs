//! What happens because time passes.

use stockade_mqtt::ReasonCode;
use stockade_profile::Control;

use super::outbox::Closing;
use super::{Broker, Output, Report};

/// How often connections are looked through for silent ones, in milliseconds.
const SWEEP: u64 = 1_000;

impl Broker {
    /// Time has passed: call it several times a second.
    pub fn handle_tick(&mut self, out: &mut Output) {
        while let Some(&(at, slot)) = self.wills.first()
            && at <= out.now.mono
        {
            if !self.speak_will(slot, out) {
                self.schedule_will_at(slot, out.now.mono + SWEEP);
            }
        }
        while let Some(&(at, slot)) = self.ends.first()
            && at <= out.now.mono
        {
            self.schedule_end(slot, 0);
            self.end_with_will(slot, out);
        }
        if out.now.mono >= self.swept + SWEEP {
            self.swept = out.now.mono;
            self.sweep(out);
            self.sweep_devices(out.now);
        }
        self.compact(out);
    }

    /// Ends connections that were silent for too long or whose certificate has ended, and goes on
    /// sending to those whose reader was slow.
    fn sweep(&mut self, out: &mut Output) {
        let mut silent = Vec::new();
        let mut ended = Vec::new();
        let mut waiting = Vec::new();
        for (slot, session) in self.sessions.iter() {
            let Some(live) = &session.live else { continue };
            if live.certified_until <= out.now.unix {
                ended.push(slot);
            } else if live.silence > 0 && out.now.mono > live.heard + live.silence {
                silent.push(slot);
            } else if session
                .outgoing
                .as_ref()
                .is_some_and(|o| !o.queue.is_empty() || o.resend > 0)
            {
                waiting.push(slot);
            }
        }
        for slot in silent {
            // [MQTT-3.1.2-22]
            self.close(slot, ReasonCode::KeepAliveTimeout, Closing::Orderly, out);
        }
        for slot in ended {
            self.certificate_ended(slot, out);
            self.close(slot, ReasonCode::NotAuthorized, Closing::Abort, out);
        }
        for slot in waiting {
            self.pump(slot, out);
        }
    }

    fn certificate_ended(&self, slot: u32, out: &mut Output) {
        let Some(session) = self.sessions.get(slot) else {
            return;
        };
        let Some(device) = self.devices.get(session.device) else {
            return;
        };
        out.reports.push(Report::Closed {
            device: device.id().clone(),
            control: Control::Comms,
            peer: session.live.as_ref().map(|live| live.peer),
            reason: "its certificate ended while it was connected".to_owned(),
        });
    }
}
