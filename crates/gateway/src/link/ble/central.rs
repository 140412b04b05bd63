//! The central: listens for devices that speak CoAP, connects to them in turn, and carries messages.
//!
//! Packets of the controller, messages and the time go in; packets and messages come out. What arrives is nobody's yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tracing::{debug, trace};

use super::att::Client;
use super::hci::{self, Address, Advertisement, Bytes, Packet, Way, opcode};
use super::l2cap::{self, Asked, Assembly, Channel, Fault, Out};
use super::peer::{Carrier, Link};
use super::queue::Queue;

/// Connections at a time, where the controller does not say that it has room for fewer.
pub(super) const LINKS: usize = 8;

/// How long the controller may take to answer a command.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a device may take to be connected, how long to listen if it was not, and how long it may take then to open a way for messages.
const CONNECT: Duration = Duration::from_secs(3);
const LISTEN: Duration = Duration::from_millis(500);
const SETUP: Duration = Duration::from_secs(10);
/// How long the end of a connection may take.
const LEAVE: Duration = Duration::from_secs(3);

/// Remote user terminated connection.
const TERMINATED: u8 = 0x13;

/// The controller can not be worked with any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ControllerError {
    /// It said something that is no packet.
    #[error(transparent)]
    Lost(#[from] hci::Lost),
    /// It did not answer a command.
    #[error("no answer to command {0:#06x}")]
    Silent(u16),
    /// It can not do what is needed.
    #[error("command {0:#06x} was refused with status {1:#04x}")]
    Refused(u16, u8),
    /// It says so itself.
    #[error("hardware error {0:#04x}")]
    Broken(u8),
}

#[derive(Debug)]
struct Connecting {
    address: Address,
    way: Way,
    until: Duration,
    cancelled: bool,
}

/// One controller's host.
#[derive(Debug)]
pub(super) struct Central {
    commands: VecDeque<(u16, Vec<u8>)>,
    awaiting: Option<(u16, Duration)>,
    packets: VecDeque<Vec<u8>>,
    messages: VecDeque<(u64, Vec<u8>)>,
    /// What the controller takes: bytes at once, and pieces more.
    at_once: usize,
    room: usize,
    links: BTreeMap<u16, Link>,
    most: usize,
    queue: Queue,
    /// Until when it only listens, to hear all who are there before it chooses.
    listens: Duration,
    /// When somebody's rest is over, or that.
    wake: Option<Duration>,
    connecting: Option<Connecting>,
    listening: bool,
    next_peer: u64,
}

impl Central {
    /// Begins to bring a controller up. The address is this gateway's on the air, random and made for this start; peers are
    /// counted from `next_peer`.
    pub(super) fn new(mut address: [u8; 6], next_peer: u64) -> Self {
        // Volume 6, part B, section 1.3.2.1: a static random address has its two highest bits set.
        if let Some(highest) = address.last_mut() {
            *highest |= 0xc0;
        }
        let mut central = Self {
            commands: VecDeque::new(),
            awaiting: None,
            packets: VecDeque::new(),
            messages: VecDeque::new(),
            at_once: 27,
            room: 0,
            links: BTreeMap::new(),
            most: LINKS,
            queue: Queue::default(),
            listens: Duration::ZERO,
            wake: None,
            connecting: None,
            listening: false,
            next_peer,
        };
        central.command(opcode::RESET, &[]);
        // Disconnection complete, hardware error, LE; and of LE: connection complete, advertising report.
        let mask = (1_u64 << 4 | 1 << 15 | 1 << 61).to_le_bytes();
        central.command(opcode::SET_EVENT_MASK, &mask);
        central.command(opcode::LE_SET_EVENT_MASK, &0b11_u64.to_le_bytes());
        central.command(opcode::LE_READ_BUFFER_SIZE, &[]);
        central.command(opcode::LE_SET_RANDOM_ADDRESS, &address);
        // 251 bytes, 2120 µs: longer packets, where both can.
        let length = [251, 0, 0x48, 0x08];
        central.command(opcode::LE_WRITE_SUGGESTED_DATA_LENGTH, &length);
        // Passive: every 60 ms for 30, unfiltered. Nothing is sent, so nobody learns that a gateway is near.
        let scan = [0, 0x60, 0, 0x30, 0, 1, 0];
        central.command(opcode::LE_SET_SCAN_PARAMETERS, &scan);
        central.listen(true);
        central
    }

    /// The next packet for the controller.
    pub(super) fn poll_packet(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.awaiting.is_none()
            && let Some((opcode, packet)) = self.commands.pop_front()
        {
            self.awaiting = Some((opcode, now + ANSWER));
            return Some(packet);
        }
        self.packets.pop_front()
    }

    /// The next message, and by which connection it came.
    pub(super) fn poll_message(&mut self) -> Option<(u64, Vec<u8>)> {
        self.messages.pop_front()
    }

    /// When [`Central::handle_timeout`] is wanted.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let links = self.links.values().filter_map(|link| link.until);
        links
            .chain(self.awaiting.map(|(_, until)| until))
            .chain(self.connecting.as_ref().map(|it| it.until))
            .chain(self.wake)
            .min()
    }

    /// Whether the controller has taken all it was told to begin with.
    pub(super) fn is_ready(&self) -> bool {
        self.room > 0 && self.awaiting.is_none() && self.commands.is_empty()
    }

    /// How many connections there are.
    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    /// The number that the next connection will have.
    pub(super) fn next_peer(&self) -> u64 {
        self.next_peer
    }

    /// Takes a packet of the controller's.
    pub(super) fn handle_packet(
        &mut self,
        packet: &[u8],
        now: Duration,
    ) -> Result<(), ControllerError> {
        match Packet::parse(packet).ok_or(hci::Lost)? {
            Packet::Answered {
                opcode,
                status,
                returned,
            } => self.answered(opcode, status, returned, now)?,
            Packet::Connected { status, handle, .. } => self.connected(status, handle, now),
            Packet::Disconnected { handle, reason } => {
                debug!(handle, reason, "disconnected");
                self.drop_link(handle, now);
            }
            Packet::Sent(counts) => {
                for (handle, count) in counts {
                    if let Some(link) = self.links.get_mut(&handle) {
                        let count = link.in_flight.min(count.into());
                        link.in_flight -= count;
                        self.room += count;
                    }
                }
            }
            Packet::Advertised(reports) => {
                for report in reports {
                    self.advertised(&report, now);
                }
            }
            Packet::Data {
                handle,
                first,
                bytes,
            } => {
                if let Err(fault) = self.data(handle, first, bytes, now) {
                    self.leave(handle, Some(fault), now);
                }
            }
            Packet::Broken(code) => return Err(ControllerError::Broken(code)),
            Packet::Other => {}
        }
        self.proceed(now);
        Ok(())
    }

    /// Takes a message for a peer; one that is gone, or takes no more, does not get it.
    pub(super) fn handle_message(&mut self, peer: u64, message: Vec<u8>, now: Duration) {
        let Some(link) = self.links.values_mut().find(|link| link.peer == peer) else {
            return;
        };
        let taken = match &mut link.carrier {
            Carrier::Channel(channel) => channel.send(message),
            Carrier::Gatt(client) => client.send(message),
        };
        if taken {
            link.used = now;
        } else {
            debug!(peer, "a message is not sent: too long, or too much waits");
        }
        self.proceed(now);
    }

    /// Does what time is over for.
    pub(super) fn handle_timeout(&mut self, now: Duration) -> Result<(), ControllerError> {
        if let Some((opcode, until)) = self.awaiting
            && until <= now
        {
            return Err(ControllerError::Silent(opcode));
        }
        let over = |until: Option<Duration>| until.is_some_and(|until| until <= now);
        let late: Vec<u16> = self
            .links
            .iter()
            .filter(|(_, link)| over(link.until))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in late {
            if self.links.get(&handle).is_some_and(|link| link.leaving) {
                self.drop_link(handle, now);
            } else {
                self.leave(handle, Some(Fault::Late), now);
            }
        }
        if let Some(connecting) = self.connecting.as_mut().filter(|it| it.until <= now) {
            if connecting.cancelled {
                self.not_connected(now);
            } else {
                connecting.cancelled = true;
                connecting.until = now + LEAVE;
                self.command(opcode::LE_CREATE_CONNECTION_CANCEL, &[]);
            }
        }
        self.proceed(now);
        Ok(())
    }

    fn command(&mut self, opcode: u16, parameters: &[u8]) {
        let packet = hci::command(opcode, parameters);
        self.commands.push_back((opcode, packet));
    }

    fn listen(&mut self, on: bool) {
        if self.listening != on {
            self.listening = on;
            self.command(opcode::LE_SET_SCAN_ENABLE, &[u8::from(on), 0]);
        }
    }

    fn answered(
        &mut self,
        opcode: u16,
        status: u8,
        returned: &[u8],
        now: Duration,
    ) -> Result<(), ControllerError> {
        if self.awaiting.is_none_or(|(awaited, _)| awaited != opcode) {
            return Ok(());
        }
        self.awaiting = None;
        let mut bytes = Bytes(returned);
        match opcode {
            // An older controller, or one link that is going already: no harm.
            opcode::LE_WRITE_SUGGESTED_DATA_LENGTH
            | opcode::LE_CREATE_CONNECTION_CANCEL
            | opcode::LE_CONNECTION_UPDATE
            | opcode::DISCONNECT => {}
            opcode::LE_CREATE_CONNECTION if status != 0 => {
                // Connection limit exceeded, limited resources: it has room for as many as there are.
                if matches!(status, 0x09 | 0x0d) && !self.links.is_empty() {
                    self.most = self.links.len();
                }
                self.not_connected(now);
            }
            _ if status != 0 => return Err(ControllerError::Refused(opcode, status)),
            opcode::LE_READ_BUFFER_SIZE => match bytes.u16().zip(bytes.u8()) {
                // It has no buffers for LE alone; then those for all are asked for, before anything is sent.
                Some((0, _)) | None => {
                    let packet = hci::command(opcode::READ_BUFFER_SIZE, &[]);
                    let first = (opcode::READ_BUFFER_SIZE, packet);
                    self.commands.push_front(first);
                }
                Some((size, count)) => (self.at_once, self.room) = (size.into(), count.into()),
            },
            opcode::READ_BUFFER_SIZE => {
                let sizes = |bytes: &mut Bytes<'_>| {
                    let size = bytes.u16()?;
                    let _voice = bytes.u8()?;
                    Some((size, bytes.u16()?))
                };
                let (size, count) = sizes(&mut bytes)
                    .filter(|(size, _)| *size > 0)
                    .ok_or(hci::Lost)?;
                (self.at_once, self.room) = (size.into(), count.into());
            }
            _ => {}
        }
        Ok(())
    }

    fn advertised(&mut self, report: &Advertisement<'_>, now: Duration) {
        let Some(way) = hci::way(report.data).filter(|_| report.connectable) else {
            return;
        };
        if !self.is_linked(report.address) {
            self.queue.hear(report.address, way, now);
        }
    }

    fn is_linked(&self, address: Address) -> bool {
        self.links.values().any(|link| link.address == address)
    }

    /// Connects to who has failed least and waited longest; makes a place where there is none.
    fn turn(&mut self, now: Duration) {
        if self.connecting.is_some() || now < self.listens {
            return;
        }
        let next = self.queue.next(now, |address| self.is_linked(address));
        let Some((address, way)) = next else {
            return;
        };
        if self.links.len() < self.most {
            self.connect(address, way, now);
        } else if !self.links.values().any(|link| link.leaving) {
            let over = self
                .links
                .iter()
                .filter(|(_, link)| link.turn_is_over(now))
                .min_by_key(|(_, link)| link.used)
                .map(|(handle, _)| *handle);
            if let Some(handle) = over {
                self.leave(handle, None, now);
            }
        }
    }

    fn connect(&mut self, address: Address, way: Way, now: Duration) {
        debug!(?address, ?way, "connecting");
        self.listen(false);
        // Scan all the time; its address; ours, random; interval 30 to 50 ms, no latency, gone after 4 s.
        let mut parameters = vec![0x60, 0, 0x60, 0, 0, address.kind];
        parameters.extend_from_slice(&address.bytes);
        parameters.extend_from_slice(&[1, 24, 0, 40, 0, 0, 0, 0x90, 0x01, 0, 0, 0, 0]);
        self.command(opcode::LE_CREATE_CONNECTION, &parameters);
        self.connecting = Some(Connecting {
            address,
            way,
            until: now + CONNECT,
            cancelled: false,
        });
    }

    fn connected(&mut self, status: u8, handle: u16, now: Duration) {
        if status != 0 {
            return self.not_connected(now);
        }
        // Given up already, and here after all; or one that the controller has twice.
        let known = self.links.contains_key(&handle);
        let Some(connecting) = self.connecting.take().filter(|_| !known) else {
            return self.disconnect(handle);
        };
        let mut out = Out::new();
        let carrier = match connecting.way {
            Way::Channel(spsm) => Carrier::Channel(Channel::open(spsm, &mut out)),
            Way::Gatt => Carrier::Gatt(Client::new(&mut out)),
        };
        let mut link = Link {
            peer: self.next_peer,
            address: connecting.address,
            since: now,
            used: now,
            worked: false,
            until: Some(now + SETUP),
            leaving: false,
            carrier,
            assembly: Assembly::default(),
            pieces: VecDeque::new(),
            in_flight: 0,
        };
        self.next_peer += 1;
        debug!(peer = link.peer, address = ?link.address, "connected");
        // Two packets: there is room for them.
        if link.queue(handle, out, self.at_once).is_ok() {
            self.links.insert(handle, link);
        }
        self.listen(true);
    }

    fn not_connected(&mut self, now: Duration) {
        if let Some(connecting) = self.connecting.take() {
            debug!(address = ?connecting.address, "not connected");
            self.queue.rest(connecting.address, false, now);
            self.listens = now + LISTEN;
        }
        self.listen(true);
    }

    fn data(&mut self, handle: u16, first: bool, bytes: &[u8], now: Duration) -> Result<(), Fault> {
        let Some(link) = self.links.get_mut(&handle).filter(|link| !link.leaving) else {
            return Ok(());
        };
        let Some((channel, payload)) = link.assembly.add(first, bytes)? else {
            return Ok(());
        };
        let (mut messages, mut out) = (Vec::new(), Out::new());
        let asked = link.handle_packet(channel, &payload, &mut messages, &mut out)?;
        if link.carrier.is_open() {
            link.until = None;
        }
        link.queue(handle, out, self.at_once)?;
        if !messages.is_empty() {
            (link.used, link.worked) = (now, true);
        }
        let peer = link.peer;
        for message in messages {
            trace!(peer, length = message.len(), "a message");
            self.messages.push_back((peer, message));
        }
        if let Asked::Parameters(words) = asked {
            let mut parameters = handle.to_le_bytes().to_vec();
            for word in words.into_iter().chain([0, 0]) {
                parameters.extend_from_slice(&word.to_le_bytes());
            }
            // One wish at a time: who has many gets the last, or none.
            let update = opcode::LE_CONNECTION_UPDATE;
            if !self.commands.iter().any(|(opcode, _)| *opcode == update) {
                self.command(update, &parameters);
            }
        }
        Ok(())
    }

    /// Ends a connection: for a fault, or because others wait.
    fn leave(&mut self, handle: u16, fault: Option<Fault>, now: Duration) {
        let Some(link) = self.links.get_mut(&handle).filter(|link| !link.leaving) else {
            return;
        };
        if let Some(fault) = fault {
            debug!(peer = link.peer, %fault, "a connection is ended");
            link.worked &= fault == Fault::Closed;
        }
        link.leaving = true;
        link.until = Some(now + LEAVE);
        link.pieces.clear();
        self.disconnect(handle);
    }

    fn disconnect(&mut self, handle: u16) {
        let [low, high] = handle.to_le_bytes();
        self.command(opcode::DISCONNECT, &[low, high, TERMINATED]);
    }

    /// A connection has ended. What the controller held for it is free (volume 4, part E, section 4.3).
    fn drop_link(&mut self, handle: u16, now: Duration) {
        if let Some(link) = self.links.remove(&handle) {
            self.room += link.in_flight;
            self.queue.rest(link.address, link.worked, now);
        }
    }

    /// Hands the controller what it has room for, a piece a connection at a time, and looks whose turn it is.
    fn proceed(&mut self, now: Duration) {
        self.turn(now);
        let listens = Some(self.listens).filter(|it| *it > now);
        self.wake = self.queue.wake(now).into_iter().chain(listens).min();
        let mut more = true;
        while more && self.room > 0 {
            more = false;
            for (handle, link) in &mut self.links {
                if link.pieces.is_empty() && !link.leaving {
                    let mut out = Out::new();
                    match &mut link.carrier {
                        Carrier::Channel(channel) => channel.pump(&mut out),
                        Carrier::Gatt(client) => client.pump(&mut out),
                    }
                    for (channel, payload) in out {
                        let packet = l2cap::packet(channel, &payload);
                        link.pieces
                            .extend(hci::data(*handle, &packet, self.at_once));
                    }
                }
                if self.room > 0
                    && let Some(piece) = link.pieces.pop_front()
                {
                    link.in_flight += 1;
                    self.room -= 1;
                    self.packets.push_back(piece);
                    more = true;
                }
            }
        }
    }
}
