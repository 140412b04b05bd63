//! Packets: from a frame's first byte to the payload of its transport.

mod arp;

use core::net::IpAddr;

use etherparse::{
    EtherType, IpNumber, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice,
    UdpSlice,
};

use crate::bytes::Bytes;
use crate::capture::LinkType;

pub use arp::Arp;

/// A MAC address as it is on the wire.
pub type MacBytes = [u8; 6];

/// `EtherType`s that are spoken of here.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Port access control, 802.1X.
    pub const EAPOL: u16 = 0x888e;
    /// Link layer discovery.
    pub const LLDP: u16 = 0x88cc;
}

/// IP protocol numbers that are spoken of here.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// `ICMPv6`.
    pub const ICMPV6: u8 = 58;
}

/// What a frame holds, as far as it could be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Who sent it over the link, if the capture says.
    pub source: Option<MacBytes>,
    /// To whom on the link, if the capture says.
    pub destination: Option<MacBytes>,
    /// The `EtherType` behind all VLAN tags; below 0x0600 it is the length of an IEEE 802.3 frame.
    pub ethertype: u16,
    /// The outermost VLAN's number.
    pub vlan: Option<u16>,
    /// What the frame carries.
    pub network: Network<'a>,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network<'a> {
    /// IPv4 or IPv6.
    Ip(Ip<'a>),
    /// Address resolution.
    Arp(Arp),
    /// Something else, or something cut or broken; its bytes.
    Other(&'a [u8]),
}

/// An IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// The protocol behind all extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Which part of a packet it is.
    pub fragment: Fragment,
    /// The transport's header.
    pub transport: Transport,
    /// What follows the headers that were understood; cut if the capture cut it.
    pub payload: &'a [u8],
}

/// Which part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first part; it holds the transport's header.
    First,
    /// A later part.
    Later,
}

/// A transport's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// From which port.
        source: u16,
        /// To which port.
        destination: u16,
        /// SYN, ACK and the others.
        flags: TcpFlags,
    },
    /// UDP.
    Udp {
        /// From which port.
        source: u16,
        /// To which port.
        destination: u16,
    },
    /// ICMP of IPv4 or of IPv6; the packet's protocol says which.
    Icmp {
        /// The message's type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Another protocol, a later fragment, or a header that is cut or broken.
    None,
}

/// The flags of a TCP header (RFC 9293 §3.1).
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are bits of one field, in any combination"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags {
    /// Opens.
    pub syn: bool,
    /// Acknowledges.
    pub ack: bool,
    /// Has no more to send.
    pub fin: bool,
    /// Resets.
    pub rst: bool,
}

/// Why a frame is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than the header of its link.
    #[error("the frame is shorter than its header")]
    Short,
    /// A link whose header is not known here.
    #[error("frames of {0} are not understood; capture on an Ethernet interface")]
    Link(LinkType),
}

/// Reads a frame.
///
/// Lengths in headers that promise more than there is are cut to what there is: captures are often cut.
pub fn parse(link: LinkType, bytes: &[u8]) -> Result<Packet<'_>, PacketError> {
    let short = PacketError::Short;
    match link {
        LinkType::Ethernet => {
            let lax = LaxSlicedPacket::from_ethernet(bytes).map_err(|_| short)?;
            let (source, destination, ethertype) = match &lax.link {
                Some(LinkSlice::Ethernet2(header)) => (
                    Some(header.source()),
                    Some(header.destination()),
                    header.ether_type(),
                ),
                _ => return Err(short),
            };
            Ok(packet(&lax, source, destination, ethertype))
        }
        LinkType::Raw => {
            let lax = LaxSlicedPacket::from_ip(bytes).map_err(|_| short)?;
            Ok(packet(&lax, None, None, version(bytes)))
        }
        LinkType::Loopback => {
            // The family's number differs between systems and its bytes between machines; the packet itself says it too.
            let bytes = bytes.get(4..).ok_or(short)?;
            let lax = LaxSlicedPacket::from_ip(bytes).map_err(|_| short)?;
            Ok(packet(&lax, None, None, version(bytes)))
        }
        LinkType::LinuxCooked => cooked(bytes).ok_or(short),
        LinkType::LinuxCooked2 => cooked2(bytes).ok_or(short),
        LinkType::Other(_) => Err(PacketError::Link(link)),
    }
}

/// Packet type, ARPHRD type, address length, address, protocol.
fn cooked(bytes: &[u8]) -> Option<Packet<'_>> {
    let mut header = Bytes(bytes);
    header.take(4)?;
    let length = header.u16()?;
    let address: MacBytes = header.array()?;
    header.take(2)?;
    let ethertype = header.u16()?;
    let lax = LaxSlicedPacket::from_ether_type(EtherType(ethertype), header.0);
    let source = (length == 6).then_some(address);
    Some(packet(&lax, source, None, EtherType(ethertype)))
}

/// Protocol, reserved, interface, ARPHRD type, packet type, address length, address.
fn cooked2(bytes: &[u8]) -> Option<Packet<'_>> {
    let mut header = Bytes(bytes);
    let ethertype = header.u16()?;
    header.take(9)?;
    let length = header.u8()?;
    let address: MacBytes = header.array()?;
    header.take(2)?;
    let lax = LaxSlicedPacket::from_ether_type(EtherType(ethertype), header.0);
    let source = (length == 6).then_some(address);
    Some(packet(&lax, source, None, EtherType(ethertype)))
}

/// The `EtherType` that an IP packet without a link would have.
fn version(bytes: &[u8]) -> EtherType {
    match bytes.first().map(|byte| byte >> 4) {
        Some(6) => EtherType(ethertype::IPV6),
        _ => EtherType(ethertype::IPV4),
    }
}

fn packet<'a>(
    lax: &LaxSlicedPacket<'a>,
    source: Option<MacBytes>,
    destination: Option<MacBytes>,
    outer: EtherType,
) -> Packet<'a> {
    let payload = lax.ether_payload();
    let inner = payload.as_ref().map_or(outer, |payload| payload.ether_type);
    let rest = payload.map(|payload| payload.payload).unwrap_or_default();
    let network = match &lax.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let first = header.fragments_offset().value() == 0;
            Network::Ip(ip_of(
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                ),
                header.ttl(),
                fragment(header.is_fragmenting_payload(), first),
                ip.payload(),
            ))
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let first = first_fragment(ip.extensions());
            Network::Ip(ip_of(
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                ),
                header.hop_limit(),
                fragment(ip.is_payload_fragmented(), first),
                ip.payload(),
            ))
        }
        Some(LaxNetSlice::Arp(arp)) => {
            Arp::of(arp).map_or_else(|| Network::Other(arp.slice()), Network::Arp)
        }
        None => Network::Other(rest),
    };
    Packet {
        source,
        destination,
        ethertype: inner.0,
        vlan: lax.vlan_ids().first().map(|vlan| vlan.value()),
        network,
    }
}

/// Whether no fragment header (RFC 8200 §4.5) says that the packet begins elsewhere. Walked by hand: etherparse's iterator reads
/// unchecked memory where a packet ends inside its headers.
fn first_fragment(extensions: &etherparse::Ipv6ExtensionsSlice<'_>) -> bool {
    let mut kind = extensions.first_header();
    let mut rest = extensions.slice();
    while let [next, length, field @ ..] = rest {
        let length = usize::from(*length);
        let size = match kind {
            Some(IpNumber::IPV6_FRAGMENTATION_HEADER) => {
                let offset = field
                    .first_chunk()
                    .map_or(0, |it| u16::from_be_bytes(*it) >> 3);
                if offset != 0 {
                    return false;
                }
                8
            }
            // RFC 4302 §2.2: in words, less two.
            Some(IpNumber::AUTHENTICATION_HEADER) => length.saturating_add(2).saturating_mul(4),
            _ => length.saturating_add(1).saturating_mul(8),
        };
        rest = rest.get(size..).unwrap_or_default();
        kind = Some(IpNumber(*next));
    }
    true
}

fn fragment(fragmented: bool, first: bool) -> Fragment {
    match (fragmented, first) {
        (false, _) => Fragment::Whole,
        (true, true) => Fragment::First,
        (true, false) => Fragment::Later,
    }
}

fn ip_of<'a>(
    (source, destination): (IpAddr, IpAddr),
    hop_limit: u8,
    fragment: Fragment,
    payload: &LaxIpPayloadSlice<'a>,
) -> Ip<'a> {
    let (transport, rest) = if fragment == Fragment::Later {
        (Transport::None, payload.payload)
    } else {
        transport(payload.ip_number, payload.payload)
    };
    Ip {
        source,
        destination,
        protocol: payload.ip_number.0,
        hop_limit,
        fragment,
        transport,
        payload: rest,
    }
}

/// A transport's header and what follows it.
fn transport(number: IpNumber, bytes: &[u8]) -> (Transport, &[u8]) {
    let read = match number {
        IpNumber::TCP => tcp(bytes),
        IpNumber::UDP => UdpSlice::from_slice_lax(bytes).ok().map(|udp| {
            let header = Transport::Udp {
                source: udp.source_port(),
                destination: udp.destination_port(),
            };
            (header, udp.payload())
        }),
        IpNumber::ICMP | IpNumber::IPV6_ICMP => icmp(bytes),
        _ => None,
    };
    read.unwrap_or((Transport::None, bytes))
}

fn tcp(bytes: &[u8]) -> Option<(Transport, &[u8])> {
    let tcp = TcpSlice::from_slice(bytes).ok()?;
    let header = Transport::Tcp {
        source: tcp.source_port(),
        destination: tcp.destination_port(),
        flags: TcpFlags {
            syn: tcp.syn(),
            ack: tcp.ack(),
            fin: tcp.fin(),
            rst: tcp.rst(),
        },
    };
    Some((header, tcp.payload()))
}

/// Type, code and checksum; what follows belongs to the message (RFC 792, RFC 4443 §2.1).
fn icmp(bytes: &[u8]) -> Option<(Transport, &[u8])> {
    let mut header = Bytes(bytes);
    let (kind, code) = (header.u8()?, header.u8()?);
    header.take(2)?;
    Some((Transport::Icmp { kind, code }, header.0))
}
