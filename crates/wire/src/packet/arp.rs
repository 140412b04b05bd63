//! Address resolution (RFC 826) of IPv4 over Ethernet.

use core::net::Ipv4Addr;

use etherparse::ArpPacketSlice;

use super::MacBytes;

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// Who says so.
    pub sender: MacBytes,
    /// The address the sender claims; 0.0.0.0 while it asks whether somebody has it (RFC 5227 §2.1.1).
    pub sender_address: Ipv4Addr,
    /// Who is meant.
    pub target: MacBytes,
    /// The address in question.
    pub target_address: Ipv4Addr,
}

impl Arp {
    /// None for other links and other protocols.
    pub(super) fn of(arp: &ArpPacketSlice<'_>) -> Option<Self> {
        let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from);
        if arp.proto_addr_type().0 != super::ethertype::IPV4 {
            return None;
        }
        Some(Self {
            operation: arp.operation().0,
            sender: arp.sender_hw_addr().try_into().ok()?,
            sender_address: address(arp.sender_protocol_addr())?,
            target: arp.target_hw_addr().try_into().ok()?,
            target_address: address(arp.target_protocol_addr())?,
        })
    }
}
