//! Arbitrary packets of peers and of a controller, against the central behind a controller that answers.

use std::time::Duration;

use super::central::{Central, LINKS};
use super::hci::{self, Bytes, opcode};
use super::l2cap::packet;

/// What the controller of a test has room for.
const ROOM: u8 = 16;
/// The advertising data of a device with a channel: service data, SPSM 0x80.
const CHANNEL: [u8; 20] = with(19, 0x21, [0x80, 0]);
/// And of one with CoAP over GATT: the second byte from the end is a list of nothing more.
const GATT: [u8; 20] = with(17, 0x07, [1, 0x0a]);

const fn with(length: u8, kind: u8, end: [u8; 2]) -> [u8; 20] {
    let mut data = [0; 20];
    let uuid = stockade_link::bearer::gatt::SERVICE.to_le_bytes();
    (data[0], data[1], data[18], data[19]) = (length, kind, end[0], end[1]);
    let mut at = 0;
    while at < 16 {
        data[2 + at] = uuid[at];
        at += 1;
    }
    data
}

/// An event, with its H4 type.
pub(crate) fn event(code: u8, parameters: &[u8]) -> Vec<u8> {
    let length = u8::try_from(parameters.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![4, code, length];
    bytes.extend_from_slice(parameters);
    bytes
}

/// Who advertises from address `number`.
pub(crate) fn advertisement(number: u8, gatt: bool) -> Vec<u8> {
    let data = if gatt { GATT } else { CHANNEL };
    let head = [0x02, 1, 0, 1, number, 0, 0, 0, 0, 0xc0, 20];
    event(0x3e, &[&head, data.as_slice(), &[0xd0]].concat())
}

/// What a controller says when a connection to `number` is there.
pub(crate) fn connected(handle: u8, number: u8) -> Vec<u8> {
    let tail = [number, 0, 0, 0, 0, 0xc0, 24, 0, 0, 0, 0x90, 1, 0];
    event(
        0x3e,
        &[&[0x01, 0, handle, 0, 0, 1], tail.as_slice()].concat(),
    )
}

/// An L2CAP packet of a peer, whole.
pub(crate) fn from_peer(handle: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let whole = packet(channel, payload);
    let mut bytes = vec![2, handle, 0x20];
    let length = u16::try_from(whole.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&whole);
    bytes
}

/// A central, and a controller that does what it is told.
#[derive(Debug)]
pub(crate) struct Air {
    /// The central.
    pub(super) central: Central,
    /// The time.
    pub(crate) now: Duration,
    /// The commands since last asked: opcode and parameters.
    pub(crate) commands: Vec<(u16, Vec<u8>)>,
    /// The pieces of packets to peers since last asked, without their H4 type.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// Messages that arrived, and by which connection.
    pub(crate) messages: Vec<(u64, Vec<u8>)>,
}

impl Air {
    /// One that is up and listens.
    pub(crate) fn new() -> Self {
        let mut air = Self {
            central: Central::new([0; 6], 0),
            now: Duration::ZERO,
            commands: Vec::new(),
            pieces: Vec::new(),
            messages: Vec::new(),
        };
        air.settle();
        air
    }

    /// Hands the central a packet, and settles; whether the controller can still be worked with.
    pub(crate) fn hear(&mut self, packet: &[u8]) -> bool {
        let heard = self.central.handle_packet(packet, self.now).is_ok();
        heard && self.settle()
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, time: Duration) -> bool {
        let until = self.now + time;
        while let Some(at) = self.central.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            if self.central.handle_timeout(self.now).is_err() || !self.settle() {
                return false;
            }
        }
        self.now = until;
        true
    }

    /// Answers commands with success and takes pieces until nothing more comes. Connections and their ends are not told.
    pub(crate) fn settle(&mut self) -> bool {
        let mut packets = 0;
        loop {
            self.messages
                .extend(std::iter::from_fn(|| self.central.poll_message()));
            let Some(packet) = self.central.poll_packet(self.now) else {
                return true;
            };
            packets += 1;
            assert!(packets < 10_000, "it never ends");
            let mut bytes = Bytes(&packet);
            let answer = if bytes.u8() == Some(1) {
                let opcode = bytes.u16().expect("an opcode");
                let parameters = bytes.0.get(1..).unwrap_or_default();
                self.commands.push((opcode, parameters.to_vec()));
                let [low, high] = opcode.to_le_bytes();
                match opcode {
                    opcode::LE_READ_BUFFER_SIZE => event(0x0e, &[1, low, high, 0, 27, 0, ROOM]),
                    opcode::DISCONNECT
                    | opcode::LE_CREATE_CONNECTION
                    | opcode::LE_CONNECTION_UPDATE => event(0x0f, &[0, 1, low, high]),
                    _ => event(0x0e, &[1, low, high, 0]),
                }
            } else {
                self.pieces.push(bytes.0.to_vec());
                let handle = bytes.u16().expect("a handle");
                let [low, high] = (handle & 0x0fff).to_le_bytes();
                event(0x13, &[1, low, high, 1, 0])
            };
            if self.central.handle_packet(&answer, self.now).is_err() {
                return false;
            }
        }
    }
}

/// The whole central: first the kind of peer, then what it, the controller and the core do, each behind a byte that says which and one
/// that says how long.
pub fn ble(data: &[u8]) {
    play(data);
    // What a stream of the controller's is cut into is the same however it comes.
    if let Ok(Some(length)) = hci::length(data) {
        let head = data.get(..length.min(5)).unwrap_or(data);
        assert!(hci::length(head).is_ok(), "a verdict was taken back");
    }
}

/// The same; what became of it.
pub(crate) fn play(data: &[u8]) -> Air {
    let mut bytes = Bytes(data);
    let mut air = Air::new();
    air.hear(&advertisement(7, bytes.u8().unwrap_or(0) % 2 == 1));
    air.hear(&connected(1, 7));
    while let Some((what, length)) = bytes.u8().zip(bytes.u8()) {
        let piece = bytes.take(bytes.0.len().min(length.into()));
        let piece = piece.unwrap_or_default();
        let fine = match what % 8 {
            channel @ 0..4 => {
                let channel = [4, 5, 6, 0x40].get(usize::from(channel));
                air.hear(&from_peer(1, channel.copied().unwrap_or(0), piece))
            }
            4 => air.hear(piece),
            5 => {
                air.central.handle_message(0, piece.to_vec(), air.now);
                air.settle()
            }
            6 => air.wait(Duration::from_millis(u64::from(length) * 100)),
            _ => {
                let number = piece.first().copied().unwrap_or(0);
                air.hear(&advertisement(number, length % 2 == 1))
                    && air.hear(&connected(number, number))
            }
        };
        assert!(
            air.central.links() <= LINKS,
            "more connections than there may be"
        );
        if !fine {
            break;
        }
    }
    air
}
