//! Packets, built by hand: what a device's driver would put on the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A link-layer address.
pub type Mac = [u8; 6];

/// What follows the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// A TCP segment with these flags.
    Tcp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
        /// The flags' byte: 0x02 is SYN.
        flags: u8,
    },
    /// A UDP datagram.
    Udp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
    /// An ICMP message, or one of ICMP for IPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier, in the messages that have one: it is the flow's name.
        id: u16,
    },
    /// Any other IP protocol, by number.
    Other(u8),
}

impl Transport {
    /// The IP protocol's number.
    pub fn protocol(self, v6: bool) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Icmp { .. } if v6 => 58,
            Self::Icmp { .. } => 1,
            Self::Other(number) => number,
        }
    }
}

/// One packet of the lab.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// Who says it sent the frame.
    pub from_mac: Mac,
    /// Who the frame is for.
    pub to_mac: Mac,
    /// Who says it sent the packet.
    pub source: IpAddr,
    /// Who the packet is for.
    pub destination: IpAddr,
    /// What it carries.
    pub transport: Transport,
    /// The lab's number of it, in the last bytes.
    pub number: u32,
}

const MARK: [u8; 4] = *b"stk!";

impl Packet {
    /// The whole Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(100);
        frame.extend(self.to_mac);
        frame.extend(self.from_mac);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                let body = self.body(pseudo_v4(source, destination), false);
                frame.extend(header_v4(
                    source,
                    destination,
                    self.transport.protocol(false),
                    body.len(),
                ));
                frame.extend(body);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                let body = self.body(pseudo_v6(source, destination), true);
                frame.extend(header_v6(
                    source,
                    destination,
                    self.transport.protocol(true),
                    body.len(),
                ));
                frame.extend(body);
            }
            _ => panic!("a packet has one family: {self:?}"),
        }
        frame
    }

    fn body(&self, pseudo: u64, v6: bool) -> Vec<u8> {
        let mut body = Vec::with_capacity(40);
        let checksum_at = match self.transport {
            Transport::Tcp { from, to, flags } => {
                body.extend(from.to_be_bytes());
                body.extend(to.to_be_bytes());
                body.extend(self.number.to_be_bytes());
                body.extend([0; 4]);
                body.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
                Some(16)
            }
            Transport::Udp { from, to } => {
                body.extend(from.to_be_bytes());
                body.extend(to.to_be_bytes());
                body.extend(16_u16.to_be_bytes());
                body.extend([0, 0]);
                Some(6)
            }
            Transport::Icmp { kind, code, id } => {
                body.extend([kind, code, 0, 0]);
                body.extend(id.to_be_bytes());
                body.extend([0, 1]);
                Some(2)
            }
            Transport::Other(_) => None,
        };
        body.extend(MARK);
        body.extend(self.number.to_be_bytes());
        if let Some(at) = checksum_at {
            let protocol = self.transport.protocol(v6);
            // ICMP has no pseudo header on IPv4 (RFC 792), and one on IPv6 (RFC 4443 §2.3).
            let start = if protocol == 1 {
                0
            } else {
                pseudo + u64::from(protocol) + body.len() as u64
            };
            let sum = checksum(start, &body);
            body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        body
    }
}

/// The lab's number of a packet that begins with its IP header; nothing if the packet is none of the lab's.
pub fn number(packet: &[u8]) -> Option<u32> {
    let length = match packet.first()? >> 4 {
        4 => usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?])),
        6 => 40 + usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?])),
        _ => return None,
    };
    // An error or a redirect has the packet that it is about at its end (RFC 792, RFC 4443 §3, RFC 4861 §4.6.3).
    let about_another = match packet.first()? >> 4 {
        4 => *packet.get(9)? == 1 && matches!(packet.get(20)?, 3 | 5 | 11 | 12),
        _ => *packet.get(6)? == 58 && matches!(packet.get(40)?, 1..=4 | 137),
    };
    tail(packet.get(..length)?).filter(|_| !about_another)
}

/// The lab's number at the very end of these bytes.
pub fn tail(bytes: &[u8]) -> Option<u32> {
    let (rest, number) = bytes.split_last_chunk::<4>()?;
    rest.ends_with(&MARK).then(|| u32::from_be_bytes(*number))
}

fn header_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, body: usize) -> [u8; 20] {
    let total = u16::try_from(body + 20)
        .expect("lab packets are short")
        .to_be_bytes();
    let mut header = [
        0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = checksum(0, &header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn header_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, body: usize) -> [u8; 40] {
    let length = u16::try_from(body)
        .expect("lab packets are short")
        .to_be_bytes();
    let mut header = [0; 40];
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, length[0], length[1], protocol, 64]);
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    header
}

fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr) -> u64 {
    words(&source.octets()) + words(&destination.octets())
}

fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr) -> u64 {
    words(&source.octets()) + words(&destination.octets())
}

fn words(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks(2);
    pairs
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

/// The Internet checksum (RFC 1071).
fn checksum(start: u64, bytes: &[u8]) -> u16 {
    let mut sum = start + words(bytes);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("folded above")
}
