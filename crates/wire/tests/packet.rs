//! Packets: links, tags, both families, fragments, and headers that lie.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does"
)]

use etherparse::PacketBuilder;
use proptest::prelude::*;
use stockade_wire::capture::LinkType;
use stockade_wire::neighbour::{self, Neighbour};
use stockade_wire::packet::{self, Fragment, Ip, Network, PacketError, Transport, ethertype};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn written(builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.write(&mut bytes, b"payload").unwrap();
    bytes
}

fn udp4() -> Vec<u8> {
    written(
        PacketBuilder::ethernet2(A, B)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1234, 53),
    )
}

fn ip(bytes: &[u8]) -> Ip<'_> {
    match packet::parse(LinkType::Ethernet, bytes).unwrap().network {
        Network::Ip(ip) => ip,
        other => panic!("{other:?} is no IP"),
    }
}

#[test]
fn ports_addresses_and_payload_are_read() {
    let bytes = udp4();
    let packet = packet::parse(LinkType::Ethernet, &bytes).unwrap();
    assert_eq!((packet.source, packet.destination), (Some(A), Some(B)));
    assert_eq!(packet.ethertype, ethertype::IPV4);
    let ip = ip(&bytes);
    assert_eq!(ip.source.to_string(), "10.0.0.1");
    let (source, destination) = (1234, 53);
    assert_eq!(
        ip.transport,
        Transport::Udp {
            source,
            destination
        }
    );
    assert_eq!(ip.payload, b"payload");
}

#[test]
fn tags_of_virtual_networks_are_passed_through() {
    let builder =
        PacketBuilder::ethernet2(A, B).double_vlan(7.try_into().unwrap(), 8.try_into().unwrap());
    let bytes = written(builder.ipv6([1; 16], [2; 16], 255).udp(1, 2));
    let packet = packet::parse(LinkType::Ethernet, &bytes).unwrap();
    assert_eq!((packet.vlan, packet.ethertype), (Some(7), ethertype::IPV6));
    assert!(matches!(packet.network, Network::Ip(_)));
}

#[test]
fn tags_without_end_are_no_packet() {
    let mut bytes = [B, A].concat();
    for _ in 0..10_000 {
        bytes.extend([0x81, 0x00, 0x00, 0x01]);
    }
    let packet = packet::parse(LinkType::Ethernet, &bytes).unwrap();
    assert!(matches!(packet.network, Network::Other(_)));
}

#[test]
fn the_same_packet_is_read_on_every_link() {
    let bytes = udp4();
    let bare = &bytes[14..];
    let loopback = [&[2, 0, 0, 0], bare].concat();
    let mut cooked = vec![0, 0, 0, 1, 0, 6];
    cooked.extend([&A[..], &[0, 0, 8, 0], bare].concat());
    let mut cooked2 = vec![8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6];
    cooked2.extend([&A[..], &[0, 0], bare].concat());
    for (link, bytes, source) in [
        (LinkType::Raw, bare.to_vec(), None),
        (LinkType::Loopback, loopback, None),
        (LinkType::LinuxCooked, cooked, Some(A)),
        (LinkType::LinuxCooked2, cooked2, Some(A)),
    ] {
        let packet = packet::parse(link, &bytes).unwrap();
        assert_eq!(packet.source, source, "{link}");
        let Network::Ip(ip) = packet.network else {
            panic!("{link} holds IP");
        };
        assert_eq!(ip.payload, b"payload", "{link}");
    }
    let unknown = packet::parse(LinkType::Other(127), &bytes);
    assert_eq!(unknown, Err(PacketError::Link(LinkType::Other(127))));
}

#[test]
fn only_the_first_fragment_has_ports() {
    let mut bytes = udp4();
    bytes[20] |= 0x20;
    assert_eq!(ip(&bytes).fragment, Fragment::First);
    assert!(matches!(ip(&bytes).transport, Transport::Udp { .. }));
    bytes[21] = 9;
    assert_eq!(ip(&bytes).fragment, Fragment::Later);
    assert_eq!(ip(&bytes).transport, Transport::None);
}

/// What follows the last header that is whole is another one, of which nothing is there.
#[test]
fn a_packet_that_ends_between_its_headers_is_read_no_further() {
    let mut bytes = [&[0x60, 0, 0, 0, 0, 16, 60, 64], &[0xfe; 32][..]].concat();
    bytes.extend([44, 0, 1, 4, 0, 0, 0, 0]);
    bytes.extend([60, 0, 0, 1, 0, 0, 0, 7]);
    for (offset, expected) in [(0, Fragment::First), (1, Fragment::Later)] {
        bytes[50] = offset;
        let packet = packet::parse(LinkType::Raw, &bytes).unwrap();
        let Network::Ip(ip) = packet.network else {
            panic!("it is IP");
        };
        assert_eq!((ip.fragment, ip.payload), (expected, &[][..]));
    }
}

#[test]
fn a_packet_cut_anywhere_is_read_as_far_as_it_goes() {
    let bytes = udp4();
    for cut in 0..bytes.len() {
        match packet::parse(LinkType::Ethernet, &bytes[..cut]) {
            Err(error) => assert!(error == PacketError::Short && cut < 14),
            Ok(packet) => match packet.network {
                Network::Ip(ip) if cut >= 42 => {
                    assert_eq!(ip.payload, &b"payload"[..cut - 42], "cut at {cut}");
                }
                Network::Ip(ip) => assert_eq!(ip.transport, Transport::None, "cut at {cut}"),
                Network::Other(_) => assert!(cut < 34, "cut at {cut}"),
                Network::Arp(_) => panic!("no ARP"),
            },
        }
    }
}

#[test]
fn an_address_resolution_says_who_claims_what() {
    let mut bytes = [B, A].concat();
    bytes.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
    bytes.extend([&A[..], &[10, 0, 0, 1], &B, &[10, 0, 0, 2]].concat());
    let packet = packet::parse(LinkType::Ethernet, &bytes).unwrap();
    let Network::Arp(arp) = packet.network else {
        panic!("ARP is ARP");
    };
    assert_eq!((arp.operation, arp.sender), (2, A));
    assert_eq!(arp.sender_address.to_string(), "10.0.0.1");
    // Of another kind of link: six bytes of address are not what they seem.
    bytes[18] = 5;
    let packet = packet::parse(LinkType::Ethernet, &bytes).unwrap();
    assert!(!matches!(packet.network, Network::Arp(_)));
}

/// A neighbour message with this hop limit.
fn solicitation(hop_limit: u8, options: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(A, B).ipv6([0; 16], [0xff; 16], hop_limit);
    let mut message = vec![0; 4];
    message.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    message.extend(options);
    let mut bytes = Vec::new();
    let builder = builder.icmpv6_raw(135, 0, [0; 4]);
    builder.write(&mut bytes, &message[4..]).unwrap();
    bytes
}

#[test]
fn a_neighbour_is_believed_only_from_its_own_link() {
    let bytes = solicitation(255, &[1, 1, 2, 0, 0, 0, 0, 0xa]);
    let target = "fe80::1".parse().unwrap();
    let link = Some(A);
    let seen = neighbour::parse(&ip(&bytes));
    assert_eq!(seen, Some(Neighbour::Solicitation { target, link }));
    assert_eq!(neighbour::parse(&ip(&solicitation(254, &[]))), None);
}

#[test]
fn an_option_without_length_ends_the_list() {
    let bytes = solicitation(255, &[9, 0, 1, 1, 2, 0, 0, 0, 0, 0xa]);
    let target = "fe80::1".parse().unwrap();
    let seen = neighbour::parse(&ip(&bytes));
    assert_eq!(seen, Some(Neighbour::Solicitation { target, link: None }));
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        stockade_wire::fuzzing::packet_parse(&bytes);
    }

    #[test]
    fn a_changed_packet_ends(place in 0..49_usize, byte in any::<u8>()) {
        let mut bytes = udp4();
        bytes[place] = byte;
        stockade_wire::fuzzing::packet_parse(&bytes);
    }
}
