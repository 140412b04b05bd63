//! What the policy and the place ask of a packet, as tests like those of the rules.

use core::net::IpAddr;

use stockade_profile::{Direction, InterfaceName, Network, PortRange, Protocol, Transport};

use super::super::decide::{self, ERRORS4, ERRORS6, LINK_MESSAGES, World};
use super::super::eval::{Span, number};
use super::super::names;
use super::super::nft::Field;
use super::super::policy::{Peer, Policy};
use super::super::surroundings::Surroundings;
use super::classes::Tests;
use super::questions::{LO, Way};

fn span(network: &Network) -> (bool, Span) {
    match network.address() {
        IpAddr::V4(first) => {
            let host = u32::MAX
                .checked_shr(network.prefix().into())
                .unwrap_or_default();
            (
                true,
                (first.to_bits().into(), (first.to_bits() | host).into()),
            )
        }
        IpAddr::V6(first) => {
            let host = u128::MAX
                .checked_shr(network.prefix().into())
                .unwrap_or_default();
            (false, (first.to_bits(), first.to_bits() | host))
        }
    }
}

pub(super) fn host(address: IpAddr) -> (bool, Span) {
    match address {
        IpAddr::V4(address) => (true, (address.to_bits().into(), address.to_bits().into())),
        IpAddr::V6(address) => (false, (address.to_bits(), address.to_bits())),
    }
}

fn far(direction: Direction) -> (Field, Field) {
    match direction {
        Direction::In => (Field::Ip4Source, Field::Ip6Source),
        Direction::Out => (Field::Ip4Destination, Field::Ip6Destination),
    }
}

/// The policy's own tests: `decide` asks no other.
pub(super) fn of_policy(tests: &mut Tests, direction: Direction, policy: &Policy, world: &World) {
    let (far4, far6) = far(direction);
    let among = |tests: &mut Tests, spans: Vec<(bool, Span)>| {
        let of = |wanted: bool| {
            spans
                .iter()
                .filter(move |(v4, _)| *v4 == wanted)
                .map(|(_, span)| *span)
        };
        tests.add(far4, of(true));
        tests.add(far6, of(false));
    };
    for allow in policy
        .allow
        .iter()
        .filter(|allow| allow.direction == direction)
    {
        match &allow.peer {
            Peer::Any => {}
            Peer::Networks(networks) => among(tests, networks.iter().map(span).collect()),
            Peer::Name(name) => {
                let addresses = world.names.get(name).into_iter().flatten();
                among(tests, addresses.map(|it| host(*it)).collect());
            }
            Peer::Group(group) => {
                let addresses = world.members.get(group).into_iter().flatten();
                among(tests, addresses.map(|it| host(*it)).collect());
            }
        }
        let traffic = &allow.traffic;
        let ports = |range: Option<PortRange>| {
            range.map(|range| (range.first().into(), range.last().into()))
        };
        for (source, destination) in [
            (Field::TcpSource, Field::TcpDestination),
            (Field::UdpSource, Field::UdpDestination),
        ] {
            tests.add(source, ports(traffic.source_port));
            tests.add(destination, ports(traffic.port));
        }
        let one = |number: u8| (number.into(), number.into());
        tests.add(Field::L4Proto, traffic.protocol.number().map(one));
        if let Some(icmp) = traffic.icmp {
            tests.add(Field::IcmpType, [one(icmp.kind)]);
            tests.add(Field::Icmp6Type, [one(icmp.kind)]);
            tests.add(Field::IcmpCode, icmp.code.map(one));
            tests.add(Field::Icmp6Code, icmp.code.map(one));
        }
        tests.add(
            Field::Mark,
            allow.mark.map(|mark| (mark.into(), mark.into())),
        );
    }
    for (_, network) in &policy.direct {
        among(tests, vec![span(network)]);
    }
    among(tests, names::known_networks().map(|it| span(&it)).collect());
}

/// What is asked about `UPnP` while it is on, and about plain services behind TLS fronts.
pub(super) fn of_window(tests: &mut Tests, way: Way, policy: &Policy) {
    let one = |number: u128| [(number, number)];
    if way != Way::Through {
        let local = policy.fronted.local.iter().flat_map(|(ports, _)| ports);
        for port in policy.fronted.inward.iter().chain(local) {
            tests.add(Field::TcpDestination, one((*port).into()));
        }
    }
    if let (Way::Out, Some((_, agent))) = (way, &policy.fronted.local) {
        tests.add(Field::SocketUser, one((*agent).into()));
    }
    let Some(window) = &policy.window else { return };
    let place = &window.place;
    let name = |name: &InterfaceName| one(number(name.as_str().as_bytes()));
    let networks = || place.networks.iter().map(|it| span(it).1);
    let igmp = Protocol::Igmp.number().map(|it| (it.into(), it.into()));
    match way {
        Way::In => {
            tests.add(Field::InputInterface, name(&place.lan));
            tests.add(Field::Ip4Source, networks());
            tests.add(Field::UdpDestination, one(decide::SSDP.into()));
            tests.add(Field::TcpDestination, one(place.control.into()));
            tests.add(Field::L4Proto, igmp);
        }
        Way::Out => {
            tests.add(Field::SocketUser, one(place.user.into()));
            tests.add(Field::OutputInterface, name(&place.lan));
            tests.add(Field::Ip4Destination, networks());
            tests.add(
                Field::Ip4Destination,
                one(decide::SSDP_GROUP.to_bits().into()),
            );
            tests.add(Field::Ip4Destination, [(0xe000_0000, 0xefff_ffff)]);
            tests.add(Field::UdpSource, one(decide::SSDP.into()));
            tests.add(Field::UdpDestination, one(decide::SSDP.into()));
            tests.add(Field::L4Proto, igmp);
        }
        Way::Through => {
            tests.add(Field::CtDnat, one(1));
            for field in [Field::InputInterface, Field::OutputInterface] {
                tests.add(field, name(&place.lan));
                tests.add(field, name(&place.outside));
            }
            for field in [Field::Ip4Source, Field::Ip4Destination] {
                tests.add(field, networks());
            }
            for (transport, fields) in [
                (Transport::Tcp, [Field::TcpSource, Field::TcpDestination]),
                (Transport::Udp, [Field::UdpSource, Field::UdpDestination]),
            ] {
                let ports = window.ports(transport);
                let ports = ports.iter().map(|it| (u128::from(*it), u128::from(*it)));
                for field in fields {
                    tests.add(field, ports.clone());
                }
            }
            tests.add(Field::IcmpType, ERRORS4.map(|it| (it.into(), it.into())));
        }
    }
}

/// The tests of `decide` that are about the place and not about the policy.
pub(super) fn of_place(tests: &mut Tests, direction: Direction, around: &Surroundings) {
    let one = |number: u128| [(number, number)];
    let (far4, far6) = far(direction);
    for field in [far4, far6, Field::Ip4Source, Field::Ip6Source] {
        tests.add(field, one(0));
    }
    for port in [decide::DNS, decide::DNS_OVER_TLS, decide::HTTPS] {
        tests.add(Field::TcpDestination, one(port.into()));
        tests.add(Field::UdpDestination, one(port.into()));
    }
    for protocol in [
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::Icmp,
        Protocol::Icmpv6,
    ] {
        tests.add(
            Field::L4Proto,
            protocol.number().map(|it| (it.into(), it.into())),
        );
    }
    tests.add(Field::IcmpType, ERRORS4.map(|it| (it.into(), it.into())));
    tests.add(
        Field::Icmp6Type,
        [((*ERRORS6.start()).into(), (*ERRORS6.end()).into())],
    );
    for kinds in &LINK_MESSAGES {
        tests.add(
            Field::Icmp6Type,
            [((*kinds.start()).into(), (*kinds.end()).into())],
        );
    }
    tests.add(Field::Icmp6Type, one(135));
    tests.add(Field::Icmp6Type, one(136));
    tests.add(Field::HopLimit, one(255));
    tests.add(Field::Mark, one(names::MARK.into()));
    for kind in 1..=2 {
        tests.add(Field::SourceType, one(kind));
        tests.add(Field::DestinationType, one(kind));
    }
    tests.add(Field::SourceType, [(2, 5)]);
    tests.add(Field::InputInterface, one(number(LO)));
    for address in around.own.iter().chain(&around.gateway) {
        if let (false, span) = host(*address) {
            tests.add(Field::NdTarget, [span]);
        }
    }
    if let Some(link) = around.gateway_link {
        tests.add(Field::EtherSource, one(number(&link.bytes())));
    }
}
