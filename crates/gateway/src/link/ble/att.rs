//! A client of one service, CoAP over GATT (Bluetooth Core 5.4, volume 3, parts F and G): found, subscribed to, written to.

use std::collections::VecDeque;

use stockade_link::bearer::gatt::{DOWNSTREAM, Peer, SERVICE, UPSTREAM, VALUE_MAX};

use super::hci::Bytes;
use super::l2cap::{ATTRIBUTES, Fault, Out};

/// Attribute opcodes (part F, section 3.4.8).
const ERROR: u8 = 0x01;
const MTU_REQUEST: u8 = 0x02;
const MTU_RESPONSE: u8 = 0x03;
const FIND_REQUEST: u8 = 0x04;
const FIND_RESPONSE: u8 = 0x05;
const FIND_BY_VALUE_REQUEST: u8 = 0x06;
const FIND_BY_VALUE_RESPONSE: u8 = 0x07;
const READ_BY_TYPE_REQUEST: u8 = 0x08;
const READ_BY_TYPE_RESPONSE: u8 = 0x09;
const WRITE_REQUEST: u8 = 0x12;
const WRITE_RESPONSE: u8 = 0x13;
const NOTIFICATION: u8 = 0x1b;
const INDICATION: u8 = 0x1d;
const CONFIRMATION: u8 = 0x1e;
const WRITE_COMMAND: u8 = 0x52;

/// Declarations and descriptors (assigned numbers).
const PRIMARY_SERVICE: u16 = 0x2800;
const CHARACTERISTIC: u16 = 0x2803;
const CONFIGURATION: u16 = 0x2902;

/// Properties of a characteristic (part G, section 3.3.1.1).
const WRITE_WITHOUT_RESPONSE: u8 = 0x04;
const WRITE: u8 = 0x08;
const NOTIFY: u8 = 0x10;
const INDICATE: u8 = 0x20;

/// A value of the longest kind, with its opcode and handle.
const MTU: u16 = 517;
/// Without an agreement (part F, section 3.2.8).
const LEAST_MTU: u16 = 23;
/// Messages that wait for a write to be answered.
const QUEUE: usize = 8;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Mtu,
    Service,
    Characteristics {
        last: u16,
    },
    Descriptors {
        last: u16,
    },
    Subscribe,
    Ready,
    /// Ready, and a write has not been answered.
    Writing,
}

/// One connection's client.
#[derive(Debug)]
pub(super) struct Client {
    step: Step,
    mtu: u16,
    /// Where we write: handle and properties.
    down: Option<(u16, u8)>,
    /// What is indicated: handle, properties and the last handle that may belong to it.
    up: Option<(u16, u8, u16)>,
    peer: Peer,
    waiting: VecDeque<Vec<u8>>,
}

impl Client {
    /// Begins to ask the peer's server.
    pub(super) fn new(out: &mut Out) -> Self {
        request(MTU_REQUEST, &[MTU], &[], out);
        Self {
            step: Step::Mtu,
            mtu: LEAST_MTU,
            down: None,
            up: None,
            peer: Peer::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Whether messages go both ways.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.step, Step::Ready | Step::Writing)
    }

    /// A packet of the attribute channel; messages that it brought are added.
    pub(super) fn handle_packet(
        &mut self,
        packet: &[u8],
        messages: &mut Vec<Vec<u8>>,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let mut bytes = Bytes(packet);
        match bytes.u8().ok_or(Fault::Malformed)? {
            code @ (NOTIFICATION | INDICATION) => {
                let handle = bytes.u16().ok_or(Fault::Malformed)?;
                if code == INDICATION {
                    request(CONFIRMATION, &[], &[], out);
                }
                if self.is_open() && self.up.is_some_and(|(up, ..)| up == handle) {
                    self.take(bytes.0, messages);
                }
                Ok(())
            }
            // Commands (part F, section 3.3.1).
            code if code & 0x40 != 0 => Ok(()),
            // Requests are even. We are no server.
            code if code % 2 == 0 && code != CONFIRMATION => {
                serve(code, bytes, out);
                Ok(())
            }
            code => self.handle_answer(code, bytes, out),
        }
    }

    fn take(&mut self, value: &[u8], messages: &mut Vec<Vec<u8>>) {
        let mut datagram = [0; VALUE_MAX + 4];
        let incoming = self.peer.receive(value, &mut datagram);
        messages.extend(incoming.acknowledgement.map(Vec::from));
        messages.extend(
            datagram
                .get(..incoming.length)
                .filter(|datagram| !datagram.is_empty())
                .map(<[u8]>::to_vec),
        );
    }

    /// The answer to our one request.
    fn handle_answer(
        &mut self,
        code: u8,
        mut bytes: Bytes<'_>,
        out: &mut Out,
    ) -> Result<(), Fault> {
        self.step = match (self.step, code) {
            (Step::Mtu, MTU_RESPONSE | ERROR) => {
                let theirs = bytes.u16().filter(|_| code == MTU_RESPONSE);
                self.mtu = theirs.unwrap_or(LEAST_MTU).clamp(LEAST_MTU, MTU);
                let service = SERVICE.to_le_bytes();
                let asked = [1, u16::MAX, PRIMARY_SERVICE];
                request(FIND_BY_VALUE_REQUEST, &asked, &service, out);
                Step::Service
            }
            (Step::Service, FIND_BY_VALUE_RESPONSE) => {
                let (from, last) = bytes.u16().zip(bytes.u16()).ok_or(Fault::Malformed)?;
                request(
                    READ_BY_TYPE_REQUEST,
                    &[from, last, CHARACTERISTIC],
                    &[],
                    out,
                );
                Step::Characteristics { last }
            }
            (Step::Characteristics { last }, READ_BY_TYPE_RESPONSE) => {
                self.characteristics(bytes, last, out)?
            }
            (Step::Characteristics { last }, ERROR) => self.ask_descriptors(last, out)?,
            (Step::Descriptors { last }, FIND_RESPONSE) => Self::descriptors(
                self.up.map_or(0, |(_, properties, _)| properties),
                bytes,
                last,
                out,
            )?,
            (Step::Subscribe, WRITE_RESPONSE) | (Step::Writing, WRITE_RESPONSE | ERROR) => {
                Step::Ready
            }
            (Step::Service | Step::Descriptors { .. } | Step::Subscribe, ERROR) => {
                return Err(Fault::NoService);
            }
            _ => return Err(Fault::Malformed),
        };
        Ok(())
    }

    /// Part G, section 4.6.1: declarations, each with its handle, until there are no more.
    fn characteristics(
        &mut self,
        mut bytes: Bytes<'_>,
        last: u16,
        out: &mut Out,
    ) -> Result<Step, Fault> {
        let size = bytes.u8().ok_or(Fault::Malformed)?;
        let mut read = 0;
        while let Some(mut one) = bytes.take(size.into()).map(Bytes).filter(|_| size > 0) {
            let fields = |one: &mut Bytes<'_>| Some((one.u16()?, one.u8()?, one.u16()?));
            let (declared, properties, handle) = fields(&mut one).ok_or(Fault::Malformed)?;
            // The one before ends where this one begins.
            if let Some((up, _, end)) = &mut self.up
                && declared > *up
            {
                *end = (*end).min(declared - 1);
            }
            let uuid = one.array().map(u128::from_le_bytes);
            if uuid == Some(DOWNSTREAM) && properties & (WRITE | WRITE_WITHOUT_RESPONSE) != 0 {
                self.down = Some((handle, properties));
            }
            if uuid == Some(UPSTREAM) && properties & (NOTIFY | INDICATE) != 0 {
                self.up = Some((handle, properties, last));
            }
            // Handles only rise. Whoever answers for ever is late in the end.
            if declared <= read {
                return Err(Fault::Malformed);
            }
            read = declared;
        }
        match read.checked_add(1).filter(|next| read > 0 && *next <= last) {
            Some(next) => {
                request(
                    READ_BY_TYPE_REQUEST,
                    &[next, last, CHARACTERISTIC],
                    &[],
                    out,
                );
                Ok(Step::Characteristics { last })
            }
            None => self.ask_descriptors(last, out),
        }
    }

    fn ask_descriptors(&self, last: u16, out: &mut Out) -> Result<Step, Fault> {
        let (Some(_), Some((handle, _, end))) = (self.down, self.up) else {
            return Err(Fault::NoService);
        };
        let last = end.min(last);
        let from = handle.checked_add(1).filter(|from| *from <= last);
        request(
            FIND_REQUEST,
            &[from.ok_or(Fault::NoService)?, last],
            &[],
            out,
        );
        Ok(Step::Descriptors { last })
    }

    /// Part G, section 4.7.1, until the one that subscribes (section 3.3.3.3).
    fn descriptors(
        properties: u8,
        mut bytes: Bytes<'_>,
        last: u16,
        out: &mut Out,
    ) -> Result<Step, Fault> {
        let size = match bytes.u8() {
            Some(1) => 2,
            Some(2) => 16,
            _ => return Err(Fault::Malformed),
        };
        let mut read = 0;
        while let Some((handle, uuid)) = bytes.u16().zip(bytes.take(size)) {
            if uuid == CONFIGURATION.to_le_bytes() {
                let how = if properties & INDICATE != 0 { 2 } else { 1 };
                request(WRITE_REQUEST, &[handle, how], &[], out);
                return Ok(Step::Subscribe);
            }
            if handle <= read {
                return Err(Fault::Malformed);
            }
            read = handle;
        }
        let next = read.checked_add(1).filter(|next| read > 0 && *next <= last);
        request(
            FIND_REQUEST,
            &[next.ok_or(Fault::NoService)?, last],
            &[],
            out,
        );
        Ok(Step::Descriptors { last })
    }

    /// A message for the peer; whether it is on its way.
    pub(super) fn send(&mut self, message: Vec<u8>) -> bool {
        if self.is_open() && self.waiting.len() < QUEUE {
            self.waiting.push_back(message);
            return true;
        }
        false
    }

    /// What may go now: one write at a time.
    pub(super) fn pump(&mut self, out: &mut Out) {
        while let (Step::Ready, Some((handle, properties))) = (self.step, self.down) {
            let Some(message) = self.waiting.pop_front() else {
                return;
            };
            let mut value = [0; VALUE_MAX];
            let room = usize::from(self.mtu - 3).min(VALUE_MAX);
            let Some(Ok(outgoing)) = value
                .get_mut(..room)
                .map(|value| self.peer.send(&message, value))
            else {
                // Longer than the peer takes, or before its time: lost, as on any radio.
                continue;
            };
            let value = value.get(..outgoing.length).unwrap_or_default();
            let answered = properties & WRITE_WITHOUT_RESPONSE == 0
                || outgoing.reliable && properties & WRITE != 0;
            if answered {
                self.step = Step::Writing;
            }
            let code = if answered {
                WRITE_REQUEST
            } else {
                WRITE_COMMAND
            };
            request(code, &[handle], value, out);
        }
    }
}

/// We have no attributes; a peer that looks for some is told so.
pub(super) fn serve(code: u8, mut bytes: Bytes<'_>, out: &mut Out) {
    if code == MTU_REQUEST {
        return request(MTU_RESPONSE, &[MTU], &[], out);
    }
    let handle = bytes.u16().unwrap_or(0);
    let [low, high] = handle.to_le_bytes();
    // Attribute not found.
    request(ERROR, &[], &[code, low, high, 0x0a], out);
}

fn request(code: u8, words: &[u16], bytes: &[u8], out: &mut Out) {
    let mut payload = vec![code];
    for word in words {
        payload.extend_from_slice(&word.to_le_bytes());
    }
    payload.extend_from_slice(bytes);
    out.push((ATTRIBUTES, payload));
}
