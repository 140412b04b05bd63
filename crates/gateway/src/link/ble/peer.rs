//! One connection: what came of the peer, and what goes to it.

use std::collections::VecDeque;
use std::time::Duration;

use super::att::{self, Client};
use super::hci::{self, Address, Bytes};
use super::l2cap::{self, Asked, Assembly, Channel, Fault, Out};

/// Pieces that wait for the controller, a connection.
const PIECES: usize = 256;
/// While others wait: how long a connection may be quiet, and how long it may be there at all.
const QUIET: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) enum Carrier {
    Channel(Channel),
    Gatt(Client),
}

impl Carrier {
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Channel(channel) => channel.is_open(),
            Self::Gatt(client) => client.is_open(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: u64,
    pub(super) address: Address,
    pub(super) since: Duration,
    /// When a message last went either way.
    pub(super) used: Duration,
    /// Whether one ever did.
    pub(super) worked: bool,
    /// Until when it must be open, or gone.
    pub(super) until: Option<Duration>,
    pub(super) leaving: bool,
    pub(super) carrier: Carrier,
    pub(super) assembly: Assembly,
    pub(super) pieces: VecDeque<Vec<u8>>,
    /// Pieces in the controller's hands.
    pub(super) in_flight: usize,
}

impl Link {
    /// One whole L2CAP packet.
    pub(super) fn handle_packet(
        &mut self,
        channel: u16,
        payload: &[u8],
        messages: &mut Vec<Vec<u8>>,
        out: &mut Out,
    ) -> Result<Asked, Fault> {
        match (channel, &mut self.carrier) {
            (l2cap::SIGNALS, Carrier::Channel(ours)) => {
                return l2cap::handle_signal(payload, Some(ours), out);
            }
            (l2cap::SIGNALS, Carrier::Gatt(_)) => {
                return l2cap::handle_signal(payload, None, out);
            }
            (l2cap::ATTRIBUTES, Carrier::Gatt(client)) => {
                client.handle_packet(payload, messages, out)?;
            }
            (l2cap::ATTRIBUTES, Carrier::Channel(_)) => {
                let mut bytes = Bytes(payload);
                if let Some(code) = bytes.u8().filter(|code| code % 2 == 0 && *code < 0x1e) {
                    att::serve(code, bytes, out);
                }
            }
            (l2cap::OURS, Carrier::Channel(ours)) => {
                messages.extend(ours.handle_packet(payload, out)?);
            }
            // Pairing is of no use here (part H, section 3.5.5: pairing not supported), to a request of either kind.
            (l2cap::SECURITY, _) if matches!(payload.first(), Some(0x01 | 0x0b)) => {
                out.push((l2cap::SECURITY, vec![0x05, 0x05]));
            }
            _ => {}
        }
        Ok(Asked::Nothing)
    }

    /// Queues packets, cut for the controller.
    pub(super) fn queue(&mut self, handle: u16, out: Out, at_once: usize) -> Result<(), Fault> {
        for (channel, payload) in out {
            let packet = l2cap::packet(channel, &payload);
            self.pieces.extend(hci::data(handle, &packet, at_once));
        }
        if self.pieces.len() > PIECES {
            return Err(Fault::Flood);
        }
        Ok(())
    }

    /// Whether others may have its place.
    pub(super) fn turn_is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.used) > QUIET || now.saturating_sub(self.since) > TURN
    }
}
