//! What was in flight when a connection ended is sent again on the next (MQTT 5 §4.4).

use std::sync::Arc;

use stockade_mqtt::{Ack, AckKind, PacketId};

use super::counters::bump;
use super::message::{Copy, Put, put, put_copy};
use super::record::Record;
use super::{Broker, Output};

impl Broker {
    /// Sends again what was in flight when the connection before ended [MQTT-4.4.0-1].
    pub(crate) fn resend(&mut self, slot: u32, out: &mut Output) {
        if let Some(outgoing) = self
            .sessions
            .get_mut(slot)
            .and_then(|s| s.outgoing.as_mut())
        {
            outgoing.resend = outgoing.flights.len();
        }
        self.resend_some(slot, out);
    }

    /// Goes on sending again, as far as the client's window allows (§4.9).
    pub(crate) fn resend_some(&mut self, slot: u32, out: &mut Output) {
        loop {
            let last = self.bus.last().get();
            let Some(session) = self.sessions.get_mut(slot) else {
                return;
            };
            let (version, sid, durable) = (session.version, session.sid, session.durable());
            let (Some(live), Some(outgoing)) = (&mut session.live, &mut session.outgoing) else {
                return;
            };
            let flying = outgoing.flights.len() - outgoing.resend.min(outgoing.flights.len());
            if outgoing.resend == 0 || flying >= usize::from(live.window) {
                return;
            }
            let Some(flight) = outgoing.flights.get(flying).cloned() else {
                outgoing.resend = 0;
                return;
            };
            outgoing.resend -= 1;
            let gate = if durable { last } else { 0 };
            let id = flight.packet_id;
            let put = match &flight.parcel {
                None => {
                    let Some(id) = PacketId::new(id) else {
                        continue;
                    };
                    let listed = live.outbox.push(gate, |bytes| {
                        put(bytes, |bytes| {
                            Ack::success(id).encode(AckKind::PubRel, version, bytes)
                        });
                    });
                    Put::Sent(listed)
                }
                Some(parcel) => {
                    let copy = Copy {
                        qos: parcel.qos,
                        packet_id: id,
                        dup: true,
                        retain: parcel.retain,
                        ids: &parcel.ids,
                        expires: parcel.message.expires,
                        gate: gate.max(parcel.message.seq),
                    };
                    match parcel.message.publish() {
                        Some(publish) => put_copy(live, version, &publish, copy, out.now),
                        None => Put::TooLarge,
                    }
                }
            };
            match put {
                Put::Sent(true) => out.dirty.push(Arc::clone(&live.outbox)),
                Put::Sent(false) => {}
                Put::TooLarge => {
                    // The new connection takes no packets that large: as if delivered [MQTT-3.1.2-25].
                    outgoing.flights.remove(flying);
                    bump(&self.counters.dropped_large);
                    if durable {
                        let _written = self.journal(&Record::Acked { sid, packet_id: id }, out);
                    }
                }
            }
        }
    }
}
