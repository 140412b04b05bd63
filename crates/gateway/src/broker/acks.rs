//! Acknowledgements of a client for what was sent to it (MQTT 5 §4.3).

use stockade_mqtt::{Ack, AckKind, PacketId, ReasonCode};
use stockade_store::BusError;

use super::publish::Answer;
use super::record::Record;
use super::{Broker, Flow, Handle, Output};

impl Broker {
    /// PUBACK: a QoS 1 message has arrived.
    pub(crate) fn puback(&mut self, handle: Handle, ack: &Ack<'_>, out: &mut Output) -> Flow {
        self.complete(handle, ack.id, |flight| matches!(flight, Some(1)), out)
    }

    /// PUBCOMP: a QoS 2 message is complete.
    pub(crate) fn pubcomp(&mut self, handle: Handle, ack: &Ack<'_>, out: &mut Output) -> Flow {
        self.complete(handle, ack.id, |flight| flight.is_none(), out)
    }

    /// PUBREC: a QoS 2 message has arrived; it is not sent again, whatever happens.
    pub(crate) fn pubrec(&mut self, handle: Handle, ack: &Ack<'_>, out: &mut Output) -> Flow {
        let id = ack.id;
        if ack.reason.is_error() {
            // §4.3.3: refused by the client; the exchange is over.
            return self.complete(handle, id, |flight| matches!(flight, Some(2)), out);
        }
        let Some(session) = self.live(handle) else {
            return Flow::Close;
        };
        let (sid, durable) = (session.sid, session.durable());
        let flight = session
            .outgoing
            .as_ref()
            .and_then(|o| o.flights.get(o.position(id.get())?));
        let fresh = match flight.map(|f| f.parcel.as_ref().map(|p| p.qos)) {
            Some(Some(2)) => true,
            // PUBREC again: PUBREL again.
            Some(None) => false,
            _ => {
                let unknown = ReasonCode::PacketIdentifierNotFound;
                return self.acknowledge(
                    handle,
                    Answer {
                        kind: AckKind::PubRel,
                        id,
                        reason: unknown,
                        gate: 0,
                    },
                    out,
                );
            }
        };
        let mut gate = if durable { self.bus.last().get() } else { 0 };
        if fresh && durable {
            // Once it has PUBREL the client forgets the identifier. Were this forgotten by a crash,
            // the message would be sent again and be a duplicate: so PUBREL waits for the disk.
            match self.journal(
                &Record::Received {
                    sid,
                    packet_id: id.get(),
                },
                out,
            ) {
                Ok(seq) => gate = seq,
                Err(BusError::Full) => return Flow::Retry,
                Err(_) => return self.cannot_keep(handle, out),
            }
        }
        if let Some(outgoing) = self.live(handle).and_then(|s| s.outgoing.as_mut())
            && let Some(flight) = outgoing
                .position(id.get())
                .and_then(|at| outgoing.flights.get_mut(at))
        {
            flight.parcel = None;
        }
        self.acknowledge(
            handle,
            Answer {
                kind: AckKind::PubRel,
                id,
                reason: ReasonCode::Success,
                gate,
            },
            out,
        )
    }

    /// Ends the exchange of `id`, if it is in the state that `fits`: the QoS of the message not yet
    /// received, or none. An acknowledgement for anything else is ignored.
    fn complete(
        &mut self,
        handle: Handle,
        id: PacketId,
        fits: impl Fn(Option<u8>) -> bool,
        out: &mut Output,
    ) -> Flow {
        let Some(session) = self.live(handle) else {
            return Flow::Close;
        };
        let (sid, durable) = (session.sid, session.durable());
        let Some(outgoing) = session.outgoing.as_mut() else {
            return Flow::Continue;
        };
        let Some(at) = outgoing.position(id.get()) else {
            return Flow::Continue;
        };
        let state = outgoing
            .flights
            .get(at)
            .map(|f| f.parcel.as_ref().map(|p| p.qos));
        if !state.is_some_and(fits) {
            return Flow::Continue;
        }
        if durable {
            let acked = Record::Acked {
                sid,
                packet_id: id.get(),
            };
            // While the disk refuses, the end of an exchange is known in memory only: a crash then
            // sends a QoS 1 message or a PUBREL once more, which both may be.
            if let Err(BusError::Full) = self.journal(&acked, out) {
                return Flow::Retry;
            }
        }
        if let Some(outgoing) = self.live(handle).and_then(|s| s.outgoing.as_mut()) {
            // An answer to the connection before, for a message not yet sent again on this one.
            if at + outgoing.resend >= outgoing.flights.len() {
                outgoing.resend -= 1;
            }
            outgoing.flights.remove(at);
        }
        self.pump(handle.slot, out);
        Flow::Continue
    }

    /// A step of QoS 2 that must survive, while the disk refuses: nothing has changed, and the client
    /// may go on where it is once it is let in again.
    pub(crate) fn cannot_keep(&mut self, handle: Handle, out: &mut Output) -> Flow {
        let how = super::Closing::Orderly;
        self.close(handle.slot, ReasonCode::QuotaExceeded, how, out);
        Flow::Close
    }
}
