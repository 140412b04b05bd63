//! Every packet that must be asked about, one for each class.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stockade_profile::{Direction, Family, ServiceName};

use super::super::decide::{self, AddressType, Probe, State, World};
use super::super::eval::{Packet, number};
use super::super::nft::{CgroupPath, Field, Hook};
use super::super::policy::Policy;
use super::super::surroundings::Surroundings;
use super::classes::Tests;
use super::compare::Stop;
use super::sources::{host, of_place, of_policy, of_window};

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
    /// From one network to another.
    Through,
}

impl Way {
    pub(super) fn hooks(self) -> &'static [Hook] {
        match self {
            Self::In => &[Hook::Prerouting, Hook::Input],
            Self::Out => &[Hook::Output],
            Self::Through => &[Hook::Prerouting, Hook::Forward],
        }
    }

    fn direction(self) -> Direction {
        match self {
            Self::In | Self::Through => Direction::In,
            Self::Out => Direction::Out,
        }
    }
}

pub(super) const LO: &[u8] = b"lo";
const V6: u128 = u128::MAX;
const V4: u128 = 0xffff_ffff;
const MAC: u128 = 0xffff_ffff_ffff;

/// The fields that a question gives a value.
const KNOWN: &[Field] = &[
    Field::NfProto,
    Field::Protocol,
    Field::L4Proto,
    Field::InputInterface,
    Field::OutputInterface,
    Field::Mark,
    Field::SocketUser,
    Field::EtherSource,
    Field::Ip4Source,
    Field::Ip4Destination,
    Field::Ip6Source,
    Field::Ip6Destination,
    Field::HopLimit,
    Field::TcpSource,
    Field::TcpDestination,
    Field::UdpSource,
    Field::UdpDestination,
    Field::IcmpType,
    Field::IcmpCode,
    Field::Icmp6Type,
    Field::Icmp6Code,
    Field::NdTarget,
    Field::CtState,
    Field::CtDnat,
    Field::ReversePath,
    Field::SourceType,
    Field::DestinationType,
    Field::LooseSourceRoute,
    Field::StrictSourceRoute,
    Field::RoutingHeader,
];

/// What is to be asked.
pub(super) struct Asked<'a> {
    tests: Tests,
    way: Way,
    around: &'a Surroundings,
    services: Vec<(Option<ServiceName>, Option<CgroupPath>)>,
    /// The interface that `UPnP` is on at.
    lan: Option<u128>,
}

/// The part of a packet behind its IP header.
struct Transport {
    protocol: u8,
    ports: Option<(u16, u16)>,
    icmp: Option<(u8, u8)>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        mut tests: Tests,
        way: Way,
        policy: &Policy,
        around: &'a Surroundings,
        world: &World,
    ) -> Result<Self, String> {
        let known =
            |field: Field| KNOWN.contains(&field) || matches!(field, Field::SocketCgroup(_));
        if let Some(field) = tests.fields().find(|field| !known(*field)) {
            return Err(format!(
                "the rules ask for `{field}`, which ours never do here"
            ));
        }
        // What passes through is asked about by the window alone.
        if way != Way::Through {
            of_policy(&mut tests, way.direction(), policy, world);
            of_place(&mut tests, way.direction(), around);
        }
        of_window(&mut tests, way, policy);
        let mut services = vec![(None, None)];
        if way == Way::Out {
            let allow = policy
                .allow
                .iter()
                .filter_map(|allow| allow.service.as_ref());
            for service in allow {
                let one = (Some(service.name.clone()), Some(service.cgroup.clone()));
                if !services.contains(&one) {
                    services.push(one);
                }
            }
            let known =
                |path: &&CgroupPath| services.iter().all(|(_, its)| its.as_ref() != Some(*path));
            let foreign: Vec<CgroupPath> = tests.cgroups().filter(known).cloned().collect();
            services.extend(foreign.into_iter().map(|path| (None, Some(path))));
            if services.len() > 1 {
                let other = CgroupPath::new("somebody/else").ok();
                services.extend(other.map(|other| (None, Some(other))));
            }
        }
        Ok(Self {
            tests,
            way,
            around,
            services,
            lan: policy
                .window
                .as_ref()
                .map(|it| number(it.place.lan.as_str().as_bytes())),
        })
    }

    /// Asks everything about one family.
    pub(super) fn all(
        &self,
        family: Family,
        ask: &mut impl FnMut(&Probe, &Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let transports = self.transports(family);
        self.places(family, &mut |probe, packet| {
            for transport in &transports {
                self.messages(transport, probe, packet, ask)?;
            }
            Ok(())
        })
    }

    fn far_field(&self, family: Family) -> Field {
        match (self.way.direction(), family) {
            (Direction::In, Family::Ipv4) => Field::Ip4Source,
            (Direction::In, Family::Ipv6) => Field::Ip6Source,
            (Direction::Out, Family::Ipv4) => Field::Ip4Destination,
            (Direction::Out, Family::Ipv6) => Field::Ip6Destination,
        }
    }

    fn near_field(&self, family: Family) -> Field {
        match (self.way.direction(), family) {
            (Direction::In, Family::Ipv4) => Field::Ip4Destination,
            (Direction::In, Family::Ipv6) => Field::Ip6Destination,
            (Direction::Out, Family::Ipv4) => Field::Ip4Source,
            (Direction::Out, Family::Ipv6) => Field::Ip6Source,
        }
    }

    /// Where a packet comes from and goes to, and what this host knows of that.
    fn places(
        &self,
        family: Family,
        each: &mut impl FnMut(&mut Probe, &mut Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let most = if family == Family::Ipv4 { V4 } else { V6 };
        let own = self.around.own.iter().map(|address| host(*address));
        let own = own.filter(|(v4, _)| *v4 == (family == Family::Ipv4));
        let own: Vec<u128> = own.map(|(_, (address, _))| address).collect();
        let (mut probe, mut packet) = blank(self.way.direction(), family);
        for far in self.tests.values(self.far_field(family), most, &[]) {
            probe.peer = address(far, family);
            packet.set(self.far_field(family), far);
            for near in self.tests.values(self.near_field(family), most, &own) {
                packet.set(self.near_field(family), near);
                let source = if self.way.direction() == Direction::In {
                    far
                } else {
                    near
                };
                probe.way.no_address = source == 0;
                self.kinds(&mut probe, &mut packet, each)?;
            }
        }
        Ok(())
    }

    /// What the source of an honest packet is.
    fn usual_source(&self) -> &'static [u128] {
        match self.way {
            Way::In | Way::Through => &[1],
            Way::Out => &[2],
        }
    }

    fn kinds(
        &self,
        probe: &mut Probe,
        packet: &mut Packet,
        each: &mut impl FnMut(&mut Probe, &mut Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        for source in self.tests.values(Field::SourceType, 5, self.usual_source()) {
            probe.way.source = kind(source);
            packet.set(Field::SourceType, source);
            for destination in self.tests.values(Field::DestinationType, 5, &[1]) {
                packet.set(Field::DestinationType, destination);
                if self.way == Way::Out {
                    probe.way.loopback = kind(destination) == AddressType::Local;
                }
                self.interfaces(probe, packet, each)?;
            }
        }
        Ok(())
    }

    fn interfaces(
        &self,
        probe: &mut Probe,
        packet: &mut Packet,
        each: &mut impl FnMut(&mut Probe, &mut Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let outward = self.way != Way::In;
        let inward = self.way != Way::Out;
        let none = vec![0];
        let entries = if inward {
            self.tests.values(Field::InputInterface, V6, &[])
        } else {
            none.clone()
        };
        let exits = if outward {
            self.tests.values(Field::OutputInterface, V6, &[])
        } else {
            none
        };
        for entry in &entries {
            if inward {
                packet.set(Field::InputInterface, *entry);
            }
            if self.way == Way::In {
                probe.way.loopback = *entry == number(LO);
            }
            for exit in &exits {
                if outward {
                    packet.set(Field::OutputInterface, *exit);
                }
                let near = if outward { *exit } else { *entry };
                probe.way.lan = self.lan == Some(near);
                // Only what comes in has a way back; and to what passes through the policy says the same.
                let asked = match self.way {
                    Way::In => true,
                    Way::Out => false,
                    Way::Through => self.tests.asks(Field::ReversePath),
                };
                for astray in [false, true] {
                    if astray && !asked {
                        continue;
                    }
                    probe.way.astray = astray;
                    if inward {
                        packet.set(Field::ReversePath, u8::from(!astray));
                    }
                    self.marks(probe, packet, each)?;
                }
            }
        }
        Ok(())
    }

    fn marks(
        &self,
        probe: &mut Probe,
        packet: &mut Packet,
        each: &mut impl FnMut(&mut Probe, &mut Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        for mark in self.tests.values(Field::Mark, V4, &[0]) {
            probe.mark = u32::try_from(mark).unwrap_or_default();
            packet.set(Field::Mark, mark);
            for (service, cgroup) in &self.services {
                probe.service.clone_from(service);
                packet.cgroup.clone_from(cgroup);
                self.users(probe, packet, each)?;
            }
        }
        Ok(())
    }

    /// Whose it is, where a rule asks; and nobody's.
    fn users(
        &self,
        probe: &mut Probe,
        packet: &mut Packet,
        each: &mut impl FnMut(&mut Probe, &mut Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let users = match self.way {
            Way::Out => self.tests.values(Field::SocketUser, V4, &[]),
            Way::In | Way::Through => Vec::new(),
        };
        let asked = users.len() > 1;
        for user in users.into_iter().filter(|_| asked) {
            probe.way.user = u32::try_from(user).ok();
            packet.set(Field::SocketUser, user);
            self.routes(probe, packet, each)?;
        }
        probe.way.user = None;
        packet.unset(Field::SocketUser);
        self.routes(probe, packet, each)
    }

    /// Whether it says itself how it is routed.
    fn routes(
        &self,
        probe: &mut Probe,
        packet: &mut Packet,
        each: &mut impl FnMut(&mut Probe, &mut Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let fields: &[Field] = match probe.family() {
            Family::Ipv4 => &[Field::LooseSourceRoute, Field::StrictSourceRoute],
            Family::Ipv6 => &[Field::RoutingHeader],
        };
        for field in fields {
            packet.set(*field, 0_u8);
        }
        probe.way.source_routed = false;
        each(probe, packet)?;
        probe.way.source_routed = true;
        for field in fields {
            if self.way == Way::Through && !self.tests.asks(*field) {
                continue;
            }
            packet.set(*field, 1_u8);
            each(probe, packet)?;
            packet.set(*field, 0_u8);
        }
        probe.way.source_routed = false;
        Ok(())
    }

    /// What the packet is.
    fn messages(
        &self,
        transport: &Transport,
        probe: &mut Probe,
        packet: &mut Packet,
        ask: &mut impl FnMut(&Probe, &Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        dress(transport, probe, packet);
        let icmp6 = transport.icmp.filter(|_| transport.protocol == 58);
        let claims = icmp6.is_some_and(|(kind, _)| kind == 136);
        let named = claims || icmp6.is_some_and(|(kind, _)| self.tests.asks_target(kind));
        let targets = if named {
            self.tests.values(Field::NdTarget, V6, &[])
        } else {
            vec![0]
        };
        let macs = match self.way {
            Way::In | Way::Through
                if named || !self.tests.only_with(Field::EtherSource, Field::NdTarget) =>
            {
                self.tests.values(Field::EtherSource, MAC, &[])
            }
            Way::In | Way::Through | Way::Out => vec![0],
        };
        let everywhere = |field, other| icmp6.is_some() || !self.tests.only_with(field, other);
        let asked = everywhere(Field::HopLimit, Field::Icmp6Type);
        let hops = match probe.family() {
            Family::Ipv6 if asked => self.tests.values(Field::HopLimit, 255, &[64]),
            Family::Ipv4 | Family::Ipv6 => vec![64],
        };
        for target in targets {
            if icmp6.is_some() {
                packet.set(Field::NdTarget, target);
            }
            for mac in &macs {
                if self.way != Way::Out {
                    packet.set(Field::EtherSource, *mac);
                }
                probe.way.false_claim = claims && self.is_false(target, packet);
                for hop in &hops {
                    probe.hop_limit = u8::try_from(*hop).unwrap_or_default();
                    if probe.family() == Family::Ipv6 {
                        packet.set(Field::HopLimit, *hop);
                    }
                    self.flows(probe, packet, ask)?;
                }
            }
        }
        Ok(())
    }

    /// Of which flow it is.
    fn flows(
        &self,
        probe: &mut Probe,
        packet: &mut Packet,
        ask: &mut impl FnMut(&Probe, &Packet) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        for (state, bits) in STATES {
            probe.state = state;
            packet.set(Field::CtState, bits);
            self.redirected(probe, packet);
            if self.way == Way::Through {
                for mapped in self.tests.values(Field::CtDnat, 1, &[]) {
                    packet.set(Field::CtDnat, mapped);
                    ask(probe, packet)?;
                }
            } else {
                ask(probe, packet)?;
            }
        }
        Ok(())
    }

    /// Whether a neighbour that says it has this address says what is not so.
    fn is_false(&self, target: u128, packet: &Packet) -> bool {
        let claimed = |its: &IpAddr| matches!(its, IpAddr::V6(its) if its.to_bits() == target);
        let link = self.around.gateway_link.map(|link| number(&link.bytes()));
        let stranger = link.is_some() && packet.get(Field::EtherSource) != link;
        self.around.own.iter().any(claimed) || (stranger && self.around.gateway.iter().any(claimed))
    }

    /// What a packet becomes when it is sent to a port of this host.
    fn redirected(&self, probe: &Probe, packet: &mut Packet) {
        packet.redirected.clear();
        if self.way == Way::Out && probe.state == State::New {
            let (field, address) = match probe.family() {
                Family::Ipv4 => (
                    Field::Ip4Destination,
                    u128::from(Ipv4Addr::LOCALHOST.to_bits()),
                ),
                Family::Ipv6 => (Field::Ip6Destination, Ipv6Addr::LOCALHOST.to_bits()),
            };
            packet
                .redirected
                .extend([(field, address), (Field::DestinationType, 2)]);
        }
    }

    fn transports(&self, family: Family) -> Vec<Transport> {
        let mut found = Vec::new();
        let all = |field, most| self.tests.values(field, most, &[]);
        for (protocol, source, destination) in [
            (6, Field::TcpSource, Field::TcpDestination),
            (17, Field::UdpSource, Field::UdpDestination),
        ] {
            for from in self.tests.values(source, 0xffff, &[40_000]) {
                for to in all(destination, 0xffff) {
                    let port = |value: u128| u16::try_from(value).unwrap_or_default();
                    found.push(Transport {
                        protocol,
                        ports: Some((port(from), port(to))),
                        icmp: None,
                    });
                }
            }
        }
        let (icmp, kinds, codes) = match family {
            Family::Ipv4 => (1, Field::IcmpType, Field::IcmpCode),
            Family::Ipv6 => (58, Field::Icmp6Type, Field::Icmp6Code),
        };
        for kind in all(kinds, 255) {
            for code in all(codes, 255) {
                let byte = |value: u128| u8::try_from(value).unwrap_or_default();
                found.push(Transport {
                    protocol: icmp,
                    ports: None,
                    icmp: Some((byte(kind), byte(code))),
                });
            }
        }
        let protocols = all(Field::L4Proto, 255);
        let protocols = protocols.into_iter().filter_map(|it| u8::try_from(it).ok());
        found.extend(
            protocols
                .filter(|it| ![6, 17, icmp].contains(it))
                .map(|protocol| Transport {
                    protocol,
                    ports: None,
                    icmp: None,
                }),
        );
        found
    }
}

const STATES: [(State, u8); 5] = [
    (State::New, 8),
    (State::Established, 2),
    (State::Related, 4),
    (State::Invalid, 1),
    (State::Untracked, 64),
];

fn blank(direction: Direction, family: Family) -> (Probe, Packet) {
    let mut packet = Packet::default();
    let (protocol, ethertype) = match family {
        Family::Ipv4 => (2_u8, 0x0800_u16),
        Family::Ipv6 => (10, 0x86dd),
    };
    packet.set(Field::NfProto, protocol);
    packet.set(Field::Protocol, ethertype);
    let probe = Probe {
        direction,
        peer: address(0, family),
        protocol: 0,
        source_port: 0,
        destination_port: 0,
        icmp: None,
        state: State::New,
        hop_limit: 64,
        mark: 0,
        service: None,
        way: decide::Way::default(),
    };
    (probe, packet)
}

fn dress(transport: &Transport, probe: &mut Probe, packet: &mut Packet) {
    probe.protocol = transport.protocol;
    probe.icmp = transport.icmp;
    (probe.source_port, probe.destination_port) = transport.ports.unwrap_or_default();
    packet.set(Field::L4Proto, transport.protocol);
    for field in [
        Field::TcpSource,
        Field::TcpDestination,
        Field::UdpSource,
        Field::UdpDestination,
        Field::IcmpType,
        Field::IcmpCode,
        Field::Icmp6Type,
        Field::Icmp6Code,
        Field::NdTarget,
    ] {
        packet.unset(field);
    }
    let (from, to) = match transport.protocol {
        6 => (Field::TcpSource, Field::TcpDestination),
        _ => (Field::UdpSource, Field::UdpDestination),
    };
    if let Some((source, destination)) = transport.ports {
        packet.set(from, source);
        packet.set(to, destination);
    }
    let (kinds, codes) = match transport.protocol {
        1 => (Field::IcmpType, Field::IcmpCode),
        _ => (Field::Icmp6Type, Field::Icmp6Code),
    };
    if let Some((kind, code)) = transport.icmp {
        packet.set(kinds, kind);
        packet.set(codes, code);
    }
}

/// What an address is to a host, by the kernel's number.
fn kind(number: u128) -> AddressType {
    match number {
        1 => AddressType::Unicast,
        2 => AddressType::Local,
        3 => AddressType::Broadcast,
        4 => AddressType::Anycast,
        5 => AddressType::Multicast,
        _ => AddressType::Unspecified,
    }
}

/// A number as an address of the family.
pub(super) fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(u32::try_from(number).unwrap_or_default().into()),
        Family::Ipv6 => IpAddr::V6(number.into()),
    }
}
