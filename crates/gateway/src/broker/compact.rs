//! Writing what is still true anew, so that the journal's old part can go.
//!
//! A round walks through every session and every retained message, a few at a time. When it is
//! through and on disk, everything before its start is trimmed. No moment needs the whole state.

use stockade_store::BusError;

use super::message::Parcel;
use super::record::{Record, put_bytes, put_ids, put_number, put_time};
use super::session::Session;
use super::{Broker, Now, Output};

/// Bytes written per step, so that nobody waits long.
const STEP_BYTES: u64 = 256 * 1024;
/// Retained messages per step.
const STEP_RETAINED: usize = 64;

/// Where the walk is.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Bytes journalled since the last round began.
    written: u64,
    phase: Phase,
    /// The last position before the round.
    start: u64,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Resting,
    /// Sessions from this slot on.
    Sessions(u32),
    /// Retained messages after this topic.
    Retained(Option<Box<str>>),
    /// All is written; trimmed once this position is durable.
    Settling(u64),
}

impl Round {
    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
    }
}

impl Broker {
    /// Begins a round now, whatever was written since the last one. When it is through, all of the journal's records of
    /// sessions from before are trimmed.
    pub(crate) fn begin_round(&mut self, out: &mut Output) -> Result<(), BusError> {
        let start = self.bus.last().get();
        // Of no session, and so nothing to who reads it: where nothing is left to be written anew, the journal's next segment
        // would not begin, and the one before would stay.
        self.journal(&Record::Ended { sid: 0 }, out)?;
        self.round = Round {
            written: 0,
            phase: Phase::Sessions(0),
            start,
        };
        Ok(())
    }

    /// Whether no round is under way.
    pub(crate) fn is_compact(&self) -> bool {
        matches!(self.round.phase, Phase::Resting)
    }

    /// One step of a round, if one is due.
    pub(crate) fn compact(&mut self, out: &mut Output) {
        match self.round.phase {
            Phase::Resting if self.round.written < self.limits.compact_after => {}
            Phase::Resting => {
                self.round = Round {
                    written: 0,
                    phase: Phase::Sessions(0),
                    start: self.bus.last().get(),
                };
            }
            Phase::Sessions(from) => self.compact_sessions(from, out),
            Phase::Retained(ref after) => {
                let after = after.clone();
                self.compact_retained(after.as_deref(), out);
            }
            Phase::Settling(last) => {
                if self.bus.durable().borrow().get() >= last {
                    let start = stockade_store::Seq::new(self.round.start);
                    // If it fails the space stays in use until the next round.
                    let _trimmed = self.bus.trim(stockade_store::Stream::Sessions, start);
                    self.round.phase = Phase::Resting;
                }
            }
        }
    }

    fn compact_sessions(&mut self, from: u32, out: &mut Output) {
        let mut spent = 0;
        let mut slot = from;
        let mut body = Vec::new();
        while slot < self.sessions.end() && spent < STEP_BYTES {
            if let Some(session) = self.sessions.get(slot)
                && session.durable()
            {
                body.clear();
                put_session(session, out.now, &mut body);
                spent += body.len() as u64;
                if self.journal(&Record::Session(&body), out).is_err() {
                    // The same session again at the next step.
                    break;
                }
            }
            slot += 1;
        }
        let done = slot >= self.sessions.end();
        self.round.phase = if done {
            Phase::Retained(None)
        } else {
            Phase::Sessions(slot)
        };
    }

    fn compact_retained(&mut self, after: Option<&str>, out: &mut Output) {
        let some = self.retained.after(after, STEP_RETAINED);
        let mut last = after.map(Box::from);
        if some.is_empty() {
            self.round.phase = Phase::Settling(self.bus.last().get());
            return;
        }
        for (topic, kept) in some {
            if kept.message.expired(out.now) {
                self.retained.remove(&topic);
            } else {
                let message = &kept.message;
                let expires = message.expires_unix(out.now);
                let record = Record::Retained {
                    mid: message.mid,
                    qos: kept.qos,
                    expires,
                    wire: &message.wire,
                };
                if self.journal(&record, out).is_err() {
                    break;
                }
            }
            last = Some(topic);
        }
        self.round.phase = Phase::Retained(last);
    }
}

/// A whole session; read back by `Broker::restore`.
fn put_session(session: &Session, now: Now, out: &mut Vec<u8>) {
    put_number(out, session.sid);
    put_bytes(out, session.client.as_bytes());
    out.push(u8::from(session.version == stockade_mqtt::Version::V5));
    put_number(out, u64::from(session.expiry));
    put_time(out, session.offline_since);
    put_number(out, session.subscriptions.len() as u64);
    for held in &session.subscriptions {
        put_bytes(out, held.filter.as_bytes());
        out.push(held.options.0);
        put_number(out, held.id.map_or(0, |id| u64::from(id.get())));
    }
    put_number(out, session.incoming.len() as u64);
    for &id in &session.incoming {
        put_number(out, u64::from(id));
    }
    match &session.will {
        None => out.extend_from_slice(&[0, 0, 0]),
        Some(will) => {
            put_number(out, u64::from(will.delay));
            out.push(will.flags());
            put_bytes(out, &will.message.wire);
        }
    }
    let Some(outgoing) = &session.outgoing else {
        out.extend_from_slice(&[0, 0]);
        return;
    };
    put_number(out, outgoing.flights.len() as u64);
    for flight in &outgoing.flights {
        put_number(out, u64::from(flight.packet_id));
        out.push(u8::from(flight.parcel.is_some()));
        if let Some(parcel) = &flight.parcel {
            put_parcel(parcel, now, out);
        }
    }
    put_number(out, outgoing.queue.len() as u64);
    for parcel in &outgoing.queue {
        put_parcel(parcel, now, out);
    }
}

fn put_parcel(parcel: &Parcel, now: Now, out: &mut Vec<u8>) {
    put_number(out, parcel.message.mid);
    put_time(out, parcel.message.expires_unix(now));
    out.push(parcel.qos | (u8::from(parcel.retain) << 2));
    put_ids(out, &parcel.ids);
    put_bytes(out, &parcel.message.wire);
}
