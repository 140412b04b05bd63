//! From frames on the LAN to sightings.

use std::net::{IpAddr, Ipv6Addr};

use stockade_profile::LinkAddress;
use stockade_wire::capture::LinkType;
use stockade_wire::dhcp::{self, Dhcp, Dhcp6, DhcpKind};
use stockade_wire::lldp::Lldp;
use stockade_wire::neighbour::{self, Neighbour};
use stockade_wire::packet::{self, Arp, Ip, Network, Packet, Transport, ethertype};

use super::sighting::{Sighting, mud_url};
use super::text::WireText;

/// Lease times that a server that names none is taken to mean (RFC 2132 §9.2 lets only BOOTP leave it out).
const UNNAMED_LEASE: u32 = 3_600;

/// What one frame shows. `outgoing` is what the kernel says of it: this machine sent the frame, no other can pretend to.
pub fn look(bytes: &[u8], outgoing: bool) -> Vec<Sighting> {
    // What is cut or broken shows nothing.
    let Ok(packet) = packet::parse(LinkType::Ethernet, bytes) else {
        return Vec::new();
    };
    let Some(source) = packet.source else {
        return Vec::new();
    };
    if outgoing {
        return lease(&packet).into_iter().collect();
    }
    let mac = LinkAddress::new(source);
    let seen = match &packet.network {
        Network::Arp(arp) => Some(answer(mac, arp)),
        Network::Ip(ip) => from_ip(mac, ip),
        Network::Other(bytes) if packet.ethertype == ethertype::LLDP => lldp(mac, bytes),
        Network::Other(_) => None,
    };
    vec![seen.unwrap_or(Sighting::Frame { mac })]
}

/// A DHCPACK that this machine sent.
fn lease(packet: &Packet<'_>) -> Option<Sighting> {
    let Network::Ip(ip) = &packet.network else {
        return None;
    };
    let Transport::Udp {
        source: dhcp::SERVER,
        ..
    } = ip.transport
    else {
        return None;
    };
    let message = Dhcp::read(ip.payload).ok()?;
    let given = message.your_address;
    // An answer to DHCPINFORM gives no address (RFC 2131 §4.3.5).
    if message.request || message.kind != Some(DhcpKind::Ack) || given.is_unspecified() {
        return None;
    }
    Some(Sighting::Lease {
        mac: LinkAddress::new(message.client),
        address: IpAddr::V4(given),
        seconds: message.lease.unwrap_or(UNNAMED_LEASE),
    })
}

fn answer(mac: LinkAddress, arp: &Arp) -> Sighting {
    Sighting::Arp {
        mac,
        says: LinkAddress::new(arp.sender),
        address: IpAddr::V4(arp.sender_address),
    }
}

fn from_ip(mac: LinkAddress, ip: &Ip<'_>) -> Option<Sighting> {
    match ip.transport {
        Transport::Udp {
            source: dhcp::CLIENT,
            destination: dhcp::SERVER,
        } => {
            let message = Dhcp::read(ip.payload).ok()?;
            // What is said in another's name is not that other's word.
            let own = message.request && LinkAddress::new(message.client) == mac;
            own.then(|| Sighting::DhcpClient {
                mac,
                hostname: message.host_name.as_deref().map(WireText::of_bytes),
                mud: message.mud_url.as_deref().map(mud_url),
            })
        }
        Transport::Udp {
            source: dhcp::CLIENT_V6,
            destination: dhcp::SERVER_V6,
        } => {
            let message = Dhcp6::read(ip.payload).ok()?;
            Some(Sighting::Dhcp6Client {
                mac,
                mud: message.mud_url.as_deref().map(mud_url),
            })
        }
        Transport::Icmp { .. } => claim(mac, ip),
        Transport::Udp { .. } | Transport::Tcp { .. } | Transport::None => None,
    }
}

/// Which address a message of neighbour discovery says is the sender's.
fn claim(mac: LinkAddress, ip: &Ip<'_>) -> Option<Sighting> {
    let IpAddr::V6(from) = ip.source else {
        return None;
    };
    let address: Ipv6Addr = match neighbour::parse(ip)? {
        // RFC 4862 §5.4.2: a probe for duplicates comes from nowhere and asks for the address itself.
        Neighbour::Solicitation { target, .. } if from.is_unspecified() => target,
        Neighbour::Solicitation { .. } => from,
        Neighbour::Advertisement { target, .. } => target,
        Neighbour::RouterAdvertisement { .. } | Neighbour::Redirect { .. } => return None,
    };
    Some(Sighting::Neighbour { mac, address })
}

fn lldp(mac: LinkAddress, bytes: &[u8]) -> Option<Sighting> {
    let frame = Lldp::read(bytes).ok()?;
    Some(Sighting::Lldp {
        mac,
        hostname: frame.system_name.as_deref().map(WireText::of_bytes),
        mud: frame.mud_url.as_deref().map(mud_url),
    })
}
