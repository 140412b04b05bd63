//! What a host and a Bluetooth controller say to each other (Bluetooth Core 5.4, volume 4, part E): the little that a central needs.

use std::fmt;

use stockade_link::bearer::gatt;

/// The longest packet of either kind that a controller may hand over here; the longest event has 258 bytes with its H4 type.
pub(super) const MAX_PACKET: usize = 1024;

/// H4 packet types (volume 4, part A, section 2).
const COMMAND: u8 = 1;
const ACL: u8 = 2;
const EVENT: u8 = 4;

/// Commands by their opcode (volume 4, part E, section 7).
pub(super) mod opcode {
    pub(crate) const DISCONNECT: u16 = 0x0406;
    pub(crate) const SET_EVENT_MASK: u16 = 0x0c01;
    pub(crate) const RESET: u16 = 0x0c03;
    pub(crate) const READ_BUFFER_SIZE: u16 = 0x1005;
    pub(crate) const LE_SET_EVENT_MASK: u16 = 0x2001;
    pub(crate) const LE_READ_BUFFER_SIZE: u16 = 0x2002;
    pub(crate) const LE_SET_RANDOM_ADDRESS: u16 = 0x2005;
    pub(crate) const LE_SET_SCAN_PARAMETERS: u16 = 0x200b;
    pub(crate) const LE_SET_SCAN_ENABLE: u16 = 0x200c;
    pub(crate) const LE_CREATE_CONNECTION: u16 = 0x200d;
    pub(crate) const LE_CREATE_CONNECTION_CANCEL: u16 = 0x200e;
    pub(crate) const LE_CONNECTION_UPDATE: u16 = 0x2013;
    pub(crate) const LE_WRITE_SUGGESTED_DATA_LENGTH: u16 = 0x2024;
}

/// A reader of little-endian bytes that never reads past their end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next so many bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next bytes, as an array.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The next byte.
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes.
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
}

/// A device's address on the air. It says where somebody is reached now, never who that is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    /// 0 public, 1 random.
    pub(super) kind: u8,
    /// As on the air: the last byte of the written form first.
    pub(super) bytes: [u8; 6],
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.bytes.iter().rev().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { "" } else { ":" })?;
        }
        write!(f, "/{}", if self.kind == 0 { "public" } else { "random" })
    }
}

/// Somebody who advertises.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advertisement<'a> {
    /// From where.
    pub(super) address: Address,
    /// Whether a connection is welcome; what answers a scan does not say.
    pub(super) connectable: bool,
    /// The advertising data.
    pub(super) data: &'a [u8],
}

/// What a controller says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// A command is done (Command Complete), with its status and what it returns, or begun (Command Status).
    Answered {
        /// Which command.
        opcode: u16,
        /// 0 is success.
        status: u8,
        /// The rest of the return parameters.
        returned: &'a [u8],
    },
    /// LE Connection Complete.
    Connected {
        /// 0 is success.
        status: u8,
        /// The connection's handle.
        handle: u16,
        /// Who is at the other end.
        address: Address,
    },
    /// Disconnection Complete.
    Disconnected {
        /// The connection's handle.
        handle: u16,
        /// Why.
        reason: u8,
    },
    /// Number Of Completed Packets: (handle, count) each.
    Sent(Vec<(u16, u16)>),
    /// LE Advertising Report.
    Advertised(Vec<Advertisement<'a>>),
    /// Data of a connection.
    Data {
        /// The connection's handle.
        handle: u16,
        /// Whether an L2CAP packet begins here.
        first: bool,
        /// The piece.
        bytes: &'a [u8],
    },
    /// Hardware Error: the controller does not know its state any more.
    Broken(u8),
    /// Nothing that is needed here.
    Other,
}

impl<'a> Packet<'a> {
    /// Reads one whole packet behind its H4 type; none if it is not as long as it says, or says what can not be.
    pub(super) fn parse(packet: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(packet);
        match bytes.u8()? {
            ACL => {
                // Volume 4, part E, section 5.4.2.
                let word = bytes.u16()?;
                let length = bytes.u16()?;
                (usize::from(length) == bytes.0.len()).then_some(Self::Data {
                    handle: word & 0x0fff,
                    first: word >> 12 & 0b11 != 0b01,
                    bytes: bytes.0,
                })
            }
            EVENT => {
                let code = bytes.u8()?;
                let length = bytes.u8()?;
                (usize::from(length) == bytes.0.len()).then_some(())?;
                event(code, bytes)
            }
            _ => None,
        }
    }
}

/// Volume 4, part E, section 7.7.
fn event(code: u8, mut bytes: Bytes<'_>) -> Option<Packet<'_>> {
    Some(match code {
        0x05 => {
            let _status = bytes.u8()?;
            let handle = bytes.u16()? & 0x0fff;
            let reason = bytes.u8()?;
            Packet::Disconnected { handle, reason }
        }
        0x0e => {
            let _room = bytes.u8()?;
            let opcode = bytes.u16()?;
            Packet::Answered {
                opcode,
                // Opcode 0 only tells that there is room for commands.
                status: bytes.u8().unwrap_or(0),
                returned: bytes.0,
            }
        }
        0x0f => {
            let status = bytes.u8()?;
            let _room = bytes.u8()?;
            Packet::Answered {
                opcode: bytes.u16()?,
                status,
                returned: &[],
            }
        }
        0x10 => Packet::Broken(bytes.u8()?),
        0x13 => {
            let count = bytes.u8()?;
            let pairs = (0..count).map(|_| Some((bytes.u16()? & 0x0fff, bytes.u16()?)));
            Packet::Sent(pairs.collect::<Option<_>>()?)
        }
        0x3e => match bytes.u8()? {
            0x01 => {
                let status = bytes.u8()?;
                let handle = bytes.u16()? & 0x0fff;
                let _role = bytes.u8()?;
                let address = address(&mut bytes)?;
                Packet::Connected {
                    status,
                    handle,
                    address,
                }
            }
            0x02 => Packet::Advertised(reports(bytes)?),
            _ => Packet::Other,
        },
        _ => Packet::Other,
    })
}

fn address(bytes: &mut Bytes<'_>) -> Option<Address> {
    // 2 and 3 are identities behind 0 and 1; the list that resolves them is not used.
    let kind = bytes.u8()? & 1;
    Some(Address {
        kind,
        bytes: bytes.array()?,
    })
}

/// Section 7.7.65.2.
fn reports(mut bytes: Bytes<'_>) -> Option<Vec<Advertisement<'_>>> {
    let count = bytes.u8()?;
    let mut reports = Vec::new();
    for _ in 0..count {
        let kind = bytes.u8()?;
        let address = address(&mut bytes)?;
        let length = bytes.u8()?;
        let data = bytes.take(length.into())?;
        let _strength = bytes.u8()?;
        reports.push(Advertisement {
            address,
            connectable: kind <= 1,
            data,
        });
    }
    Some(reports)
}

/// A command, with its H4 type.
pub(super) fn command(opcode: u16, parameters: &[u8]) -> Vec<u8> {
    let [low, high] = opcode.to_le_bytes();
    let length = u8::try_from(parameters.len()).unwrap_or(u8::MAX);
    let mut packet = vec![COMMAND, low, high, length];
    packet.extend_from_slice(parameters);
    packet
}

/// An L2CAP packet for a connection, cut into what the controller takes at once, each with its H4 type.
pub(super) fn data(handle: u16, packet: &[u8], at_once: usize) -> impl Iterator<Item = Vec<u8>> {
    packet
        .chunks(at_once.max(1))
        .enumerate()
        .map(move |(index, piece)| {
            // The first of a packet that is not flushed is 0b00, what continues it 0b01.
            let word = (handle & 0x0fff) | if index == 0 { 0 } else { 1 << 12 };
            let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
            let mut out = vec![ACL];
            out.extend_from_slice(&word.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(piece);
            out
        })
}

/// How long the packet is that begins here (volume 4, part A: a stream has no other borders); none while too little of it is
/// there to say. An error is a stream that has lost its borders, or never was one of a controller.
pub(super) fn length(stream: &[u8]) -> Result<Option<usize>, Lost> {
    let mut bytes = Bytes(stream);
    let Some(kind) = bytes.u8() else {
        return Ok(None);
    };
    let length = match kind {
        ACL => bytes
            .take(2)
            .and_then(|_| bytes.u16())
            .map(|length| 5 + usize::from(length)),
        EVENT => bytes
            .take(1)
            .and_then(|_| bytes.u8())
            .map(|length| 3 + usize::from(length)),
        _ => return Err(Lost),
    };
    if length.is_some_and(|length| length > MAX_PACKET) {
        return Err(Lost);
    }
    Ok(length)
}

/// What comes from the controller is no stream of HCI packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what comes is no packet of a controller")]
pub(super) struct Lost;

/// The UUID of CoAP over GATT's service, as on the air.
const SERVICE: [u8; 16] = gatt::SERVICE.to_le_bytes();

/// How a device that advertises may be spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By an L2CAP channel of this SPSM.
    Channel(u16),
    /// By CoAP over GATT.
    Gatt,
}

/// How the device that advertises this speaks CoAP; none if it does not say that it does.
///
/// Service Data of the service (AD type 0x21) that is the two bytes of an SPSM offers a channel; the service in a list of
/// services (0x06, 0x07), or as service data of another form, is CoAP over GATT.
pub(super) fn way(advertising_data: &[u8]) -> Option<Way> {
    let mut bytes = Bytes(advertising_data);
    let mut way = None;
    while let Some(length) = bytes.u8() {
        let Some(mut element) = bytes.take(length.into()).map(Bytes) else {
            break;
        };
        match element.u8() {
            Some(0x21) if element.array() == Some(SERVICE) => {
                let spsm = <[u8; 2]>::try_from(element.0).map(u16::from_le_bytes);
                // Volume 3, part A, section 4.22: dynamic SPSMs, and below them those the SIG gives.
                if let Ok(spsm @ 0x01..=0xff) = spsm {
                    return Some(Way::Channel(spsm));
                }
                way = Some(Way::Gatt);
            }
            Some(0x06 | 0x07) if element.0.chunks(16).any(|uuid| uuid == SERVICE) => {
                way = Some(Way::Gatt);
            }
            _ => {}
        }
    }
    way
}
