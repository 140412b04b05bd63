//! How a connection and a session end.

use std::net::SocketAddr;

use stockade_mqtt::{Disconnect, ReasonCode, Version};
use stockade_profile::Control;

use super::counters::drop_one;
use super::outbox::Closing;
use super::record::Record;
use super::{Broker, Flow, Handle, Output, Report};
use crate::name::DeviceId;

/// What becomes of the will when a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWord {
    /// Spoken, after its delay (MQTT 5 §3.1.2.5).
    Spoken,
    /// Deleted [MQTT-3.14.4-3].
    Deleted,
}

impl Broker {
    /// The connection ended without a DISCONNECT.
    pub fn handle_lost(&mut self, handle: Handle, out: &mut Output) {
        if self.live(handle).is_some() {
            self.detach(handle.slot, LastWord::Spoken, out);
        }
    }

    /// A DISCONNECT of the client (MQTT 5 §3.14).
    pub(crate) fn disconnect(
        &mut self,
        handle: Handle,
        packet: &Disconnect<'_>,
        out: &mut Output,
    ) -> Flow {
        let Some(session) = self.live(handle) else {
            return Flow::Close;
        };
        if let Some(asked) = packet.properties.session_expiry {
            if session.expiry == 0 && asked != 0 {
                // §3.14.2.2.2: a session that was to end with its connection cannot be kept.
                return self.protocol_error(handle, ReasonCode::ProtocolError, out);
            }
            let cap = self.limits.session_expiry;
            if let Some(session) = self.live(handle) {
                session.expiry = asked.min(cap);
                if asked == 0 {
                    let sid = session.sid;
                    // Told to the journal while the session is still one that must survive.
                    let _written = self.journal(
                        &Record::Closed {
                            sid,
                            at: out.now.unix,
                            expiry: 0,
                        },
                        out,
                    );
                }
            }
        }
        let word = match packet.reason {
            ReasonCode::Success => LastWord::Deleted,
            _ => LastWord::Spoken,
        };
        if let Some(live) = self.live(handle).and_then(|s| s.live.as_ref()) {
            let outbox = std::sync::Arc::clone(&live.outbox);
            if outbox.close(Closing::Orderly, |_| ()) {
                out.dirty.push(outbox);
            }
        }
        self.detach(handle.slot, word, out);
        Flow::Close
    }

    /// A packet that breaks the protocol: DISCONNECT with the reason in MQTT 5, a plain close in 3.1.1
    /// [MQTT-4.13.1-1].
    pub(crate) fn protocol_error(
        &mut self,
        handle: Handle,
        reason: ReasonCode,
        out: &mut Output,
    ) -> Flow {
        super::counters::bump(&self.counters.protocol_errors);
        self.close(handle.slot, reason, Closing::Orderly, out);
        Flow::Close
    }

    /// A packet that could not be decoded; `detail` is for the log.
    pub fn handle_malformed(
        &mut self,
        handle: Handle,
        error: &stockade_mqtt::DecodeError,
        out: &mut Output,
    ) {
        if self.live(handle).is_some() {
            self.violation(
                handle.slot,
                Control::Comms,
                format!("sent a broken packet: {error}"),
                out,
            );
            let _closed = self.protocol_error(handle, error.reason, out);
        }
    }

    /// A CONNECT that could not be decoded, or something else before it.
    pub fn handle_malformed_connect(
        &mut self,
        device: &DeviceId,
        peer: SocketAddr,
        error: &stockade_mqtt::DecodeError,
        out: &mut Output,
    ) {
        super::counters::bump(&self.counters.protocol_errors);
        out.reports.push(Report::Violation {
            device: device.clone(),
            control: Control::Comms,
            peer: Some(peer),
            reason: format!("sent a broken packet: {error}"),
        });
    }

    /// Closes the connection of a session, if it has one, and says why.
    pub(crate) fn close(&mut self, slot: u32, reason: ReasonCode, how: Closing, out: &mut Output) {
        let Some(session) = self.sessions.get(slot) else {
            return;
        };
        let Some(live) = &session.live else { return };
        let outbox = std::sync::Arc::clone(&live.outbox);
        let version = session.version;
        let listed = outbox.close(how, |bytes| {
            // 3.1.1 has no DISCONNECT from the server: the connection just ends (§3.14).
            if version == Version::V5 {
                super::message::put_disconnect(reason, bytes);
            }
        });
        if listed {
            out.dirty.push(outbox);
        }
        self.detach(slot, LastWord::Spoken, out);
    }

    /// Parts a session from its connection, which is gone or told to go.
    pub(crate) fn detach(&mut self, slot: u32, word: LastWord, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        if session.live.take().is_none() {
            return;
        }
        drop_one(&self.counters.connections);
        session.offline_since = out.now.unix;
        let (sid, expiry, device) = (session.sid, session.expiry, session.device);
        let durable = session.durable();
        self.update_spread(device);
        if durable {
            // If this is not written, the session counts as connected until the gateway starts again.
            let _written = self.journal(
                &Record::Closed {
                    sid,
                    at: out.now.unix,
                    expiry,
                },
                out,
            );
        }
        match word {
            LastWord::Deleted => self.forget_will(slot, out),
            LastWord::Spoken => self.schedule_will(slot, out),
        }
        if expiry == 0 {
            self.end_with_will(slot, out);
        } else {
            self.schedule_end(slot, out.now.mono.saturating_add(u64::from(expiry) * 1_000));
        }
    }

    /// The session ends at `at`.
    pub(crate) fn schedule_end(&mut self, slot: u32, at: u64) {
        if let Some(session) = self.sessions.get_mut(slot) {
            let old = std::mem::replace(&mut session.end_at, at);
            self.ends.remove(&(old, slot));
            if at > 0 {
                self.ends.insert((at, slot));
            }
        }
    }

    /// A session's time is over: its will is spoken first (MQTT 5 §3.1.3.2.2). While the journal takes
    /// nothing the session waits, so that no last word is lost.
    pub(crate) fn end_with_will(&mut self, slot: u32, out: &mut Output) {
        let waits = self.sessions.get(slot).is_some_and(|s| s.will.is_some());
        if waits && !self.speak_will(slot, out) {
            self.schedule_end(slot, out.now.mono + 1_000);
            return;
        }
        self.end(slot, out);
    }

    /// Forgets a session and all that was kept for it.
    pub(crate) fn end(&mut self, slot: u32, out: &mut Output) {
        self.schedule_end(slot, 0);
        self.schedule_will_at(slot, 0);
        let Some(session) = self.sessions.remove(slot) else {
            return;
        };
        drop_one(&self.counters.sessions);
        for held in &session.subscriptions {
            self.subscriptions.remove(&held.filter, slot);
        }
        self.by_client.remove(&session.client);
        self.by_sid.remove(&session.sid);
        self.leave_device(session.device, slot);
        if session.durable() {
            // If this is not written, the session ends again when the journal is replayed and its
            // time is found to be over.
            let _written = self.journal(&Record::Ended { sid: session.sid }, out);
        }
    }
}
