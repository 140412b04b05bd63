//! From frames to what a device did.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stockade_profile::{Direction, HostName, LinkAddress};
use stockade_wire::capture::Frame;
use stockade_wire::dhcp::{self, Dhcp};
use stockade_wire::dns::Message as Dns;
use stockade_wire::neighbour;
use stockade_wire::packet::{
    self, Fragment, Ip, MacBytes, Network as Carried, Packet, Transport, ethertype, protocol,
};

use super::flow::{Class, Ends, Flow, Message, Services, Talk, Way, message, other};
use super::names::Names;
use super::place::{Place, is_broadcast};
use crate::firewall::surroundings::Surroundings;

/// How many flows and groups are kept; beyond it the observation says that it is not whole.
const MAX_TALKS: usize = 250_000;

/// Watches one device in the frames of one capture, in their order.
#[derive(Debug)]
pub struct Observer {
    device: MacBytes,
    talks: BTreeMap<Ends, Talk>,
    /// Packets from others to groups and to everybody.
    heard: BTreeMap<Ends, Talk>,
    /// Groups that the device said it is in (IGMP, MLD).
    groups: BTreeSet<IpAddr>,
    /// Frames that are neither IP nor ARP: their way, kind, and how many.
    frames: BTreeMap<(Way, u16), u64>,
    names: Names,
    place: Place,
    stations: BTreeMap<MacBytes, u64>,
    counts: Counts,
}

/// Packets that make no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    device: u64,
    unread: u64,
    redirects: u64,
    transit: u64,
    astray: u64,
    left_out: u64,
}

/// What one device did in one capture.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Where it stood.
    pub around: Surroundings,
    /// The flows, in the order in which they were opened.
    pub flows: Vec<Flow>,
    /// Frames of the device or to it.
    pub frames_seen: u64,
    /// Frames that could not be read.
    pub unread: u64,
    /// ICMP redirects, which our firewalls drop whatever a profile says.
    pub redirects: u64,
    /// Packets that the device passed on between others: while it is an access point for its set-up.
    pub transit: u64,
    /// Packets to nobody (0.0.0.0 and the like), which no router forwards.
    pub astray: u64,
    /// Flows beyond what is kept.
    pub left_out: u64,
    pub(super) frames: BTreeMap<(Way, u16), u64>,
    pub(super) names: Names,
    stations: Vec<LinkAddress>,
}

impl Observation {
    /// The names that the device asked for.
    pub fn asked(&self) -> impl Iterator<Item = &HostName> {
        self.names.asked()
    }

    /// The stations that sent frames, the busiest first; so that somebody who mistyped an address finds it.
    pub fn stations(&self) -> &[LinkAddress] {
        &self.stations
    }
}

impl Observer {
    /// Watches the device with this address on the link.
    pub fn new(device: LinkAddress) -> Self {
        Self {
            device: device.bytes(),
            talks: BTreeMap::new(),
            heard: BTreeMap::new(),
            groups: BTreeSet::new(),
            frames: BTreeMap::new(),
            names: Names::default(),
            place: Place::default(),
            stations: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// The next frame.
    pub fn frame(&mut self, frame: &Frame) {
        let Ok(packet) = packet::parse(frame.link, &frame.bytes) else {
            self.counts.unread = self.counts.unread.saturating_add(1);
            return;
        };
        let (Some(source), Some(destination)) = (packet.source, packet.destination) else {
            self.counts.unread = self.counts.unread.saturating_add(1);
            return;
        };
        if self.stations.len() < 4096 {
            let count = self.stations.entry(source).or_default();
            *count = count.saturating_add(1);
        }
        let direction = if source == self.device {
            Direction::Out
        } else if destination == self.device || LinkAddress::new(destination).is_group() {
            Direction::In
        } else {
            return;
        };
        if source == self.device || destination == self.device {
            self.counts.device = self.counts.device.saturating_add(1);
        }
        match &packet.network {
            Carried::Arp(arp) => self.place.arp(self.device, arp),
            Carried::Ip(ip) => self.ip(frame.time, direction, source, ip),
            Carried::Other(_) => self.link(direction, destination, &packet),
        }
    }

    /// A frame that is neither IP nor ARP; of those to groups only the device's own are its business.
    fn link(&mut self, direction: Direction, destination: MacBytes, packet: &Packet<'_>) {
        let length_field = packet.ethertype < 0x0600;
        let ip = matches!(
            packet.ethertype,
            ethertype::IPV4 | ethertype::IPV6 | ethertype::ARP
        );
        let others = direction == Direction::In && destination != self.device;
        if length_field || ip || others {
            let unread = self.counts.unread.saturating_add(u64::from(ip));
            self.counts.unread = unread;
            return;
        }
        let count = self
            .frames
            .entry((direction.into(), packet.ethertype))
            .or_default();
        *count = count.saturating_add(1);
    }

    fn ip(&mut self, time: Duration, direction: Direction, sender: MacBytes, ip: &Ip<'_>) {
        self.place.packet(self.device, sender, ip.source);
        if let Some(seen) = neighbour::parse(ip) {
            self.place.neighbour(self.device, sender, ip.source, seen);
        }
        let Some((ends, opener)) = self.ends(direction, ip) else {
            return;
        };
        self.look_inside(time, direction, ip);
        let to_group = ip.destination.is_multicast() || is_broadcast(ip.destination, &[]);
        let talks = if to_group && direction == Direction::In {
            &mut self.heard
        } else {
            &mut self.talks
        };
        if talks.len() >= MAX_TALKS && !talks.contains_key(&ends) {
            self.counts.left_out = self.counts.left_out.saturating_add(1);
            return;
        }
        let fresh = || Talk::new(opener, time, ip.hop_limit);
        let talk = talks.entry(ends).or_insert_with(fresh);
        talk.saw(direction, ip.transport);
    }

    /// The two ends, and who would have opened if this were the first packet; none for what belongs to nothing that is judged.
    fn ends(&mut self, direction: Direction, ip: &Ip<'_>) -> Option<(Ends, Direction)> {
        // A later fragment has no ports and opens nothing.
        if ip.fragment == Fragment::Later {
            return None;
        }
        let mut opener = direction;
        let (source_port, destination_port, icmp) = match ip.transport {
            Transport::Tcp {
                source,
                destination,
                ..
            }
            | Transport::Udp {
                source,
                destination,
            } => (source, destination, None),
            // Each family has its own ICMP (RFC 792, RFC 4443); the other's means nothing.
            Transport::Icmp { .. } if (ip.protocol == protocol::ICMPV6) != ip.source.is_ipv6() => {
                self.counts.unread = self.counts.unread.saturating_add(1);
                return None;
            }
            Transport::Icmp { kind, code } => match message(ip, kind) {
                Message::Opens => (0, 0, Some((kind, code))),
                // The question is what is judged; it may have been missed.
                Message::Answers(question) => {
                    opener = other(direction);
                    (0, 0, Some((question, 0)))
                }
                Message::Error => return None,
                Message::Redirect => {
                    self.counts.redirects = self.counts.redirects.saturating_add(1);
                    return None;
                }
            },
            // A header that is cut says nothing about ports.
            Transport::None
                if matches!(
                    ip.protocol,
                    protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6
                ) =>
            {
                self.counts.unread = self.counts.unread.saturating_add(1);
                return None;
            }
            Transport::None => (0, 0, None),
        };
        // Without ports nothing else tells a flow from the one the other way.
        let way = matches!(
            ip.protocol,
            protocol::ICMP | protocol::ICMPV6 | protocol::IGMP
        )
        .then(|| Way::from(opener));
        let ends = match direction {
            Direction::Out => Ends {
                own: ip.source,
                peer: ip.destination,
                protocol: ip.protocol,
                own_port: source_port,
                peer_port: destination_port,
                icmp,
                way,
            },
            Direction::In => Ends {
                own: ip.destination,
                peer: ip.source,
                protocol: ip.protocol,
                own_port: destination_port,
                peer_port: source_port,
                icmp,
                way,
            },
        };
        Some((ends, opener))
    }

    /// DNS, DHCP, and the groups that the device joins.
    fn look_inside(&mut self, time: Duration, direction: Direction, ip: &Ip<'_>) {
        match ip.transport {
            Transport::Udp {
                source,
                destination,
            } => {
                if source == 53 || destination == 53 {
                    if let Ok(dns) = Dns::read(ip.payload) {
                        // Only answers that come in count; and only questions that go out.
                        if dns.response == (direction == Direction::In) {
                            let own = match direction {
                                Direction::Out => ip.source,
                                Direction::In => ip.destination,
                            };
                            self.names.saw(time, own, &dns);
                        }
                    }
                } else if source == dhcp::SERVER
                    && let Ok(dhcp) = Dhcp::read(ip.payload)
                {
                    self.place.dhcp(self.device, ip.source, &dhcp);
                }
            }
            Transport::None if ip.protocol == protocol::IGMP && direction == Direction::Out => {
                joined(ip.payload, &mut self.groups);
            }
            Transport::Tcp { .. } | Transport::Icmp { .. } | Transport::None => {}
        }
    }

    /// What was seen, once there are no more frames.
    pub fn finish(mut self) -> Observation {
        let around = self.place.surroundings();
        self.names.only_of(&around.own);
        let mut finished = Finish {
            around: &around,
            names: &self.names,
            services: Services::default(),
            asked: BTreeSet::new(),
            transit: 0,
            astray: 0,
            flows: Vec::new(),
        };
        finished.talks(&self.talks);
        let everybody = self
            .talks
            .iter()
            .filter(|(ends, _)| finished.to_group(ends.own));
        let heard: Vec<_> = self.heard.iter().chain(everybody).collect();
        finished.heard(&heard, &self.groups);
        let Finish {
            mut flows,
            transit,
            astray,
            ..
        } = finished;
        flows.sort_by_key(|flow| flow.time);
        let mut stations: Vec<_> = self.stations.into_iter().collect();
        stations.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Observation {
            flows,
            frames_seen: self.counts.device,
            unread: self.counts.unread,
            redirects: self.counts.redirects,
            transit,
            astray,
            left_out: self.counts.left_out,
            frames: self.frames,
            names: self.names,
            stations: stations
                .into_iter()
                .map(|(mac, _)| LinkAddress::new(mac))
                .collect(),
            around,
        }
    }
}

/// Questions and news that every host has to hear: IGMP queries to all systems (RFC 3376 §4.1), listener queries, routers'
/// advertisements and neighbours (RFC 4890 §4.4.1).
fn is_for_hosts(ends: &Ends) -> bool {
    let all_systems = ends.own == IpAddr::from([224, 0, 0, 1]);
    match ends.protocol {
        protocol::IGMP => all_systems,
        protocol::ICMPV6 => matches!(ends.icmp, Some((130 | 134..=136, _))),
        _ => false,
    }
}

/// Neighbour and listener discovery: that the device speaks it as well does not mean that it hears what routers hear.
fn is_link_message(ends: &Ends) -> bool {
    ends.protocol == protocol::ICMPV6 && matches!(ends.icmp, Some((130..=137 | 143, _)))
}

/// The groups that a report names: IGMP versions 1 and 2 (RFC 2236 §2) and 3 (RFC 3376 §4.2).
fn joined(report: &[u8], groups: &mut BTreeSet<IpAddr>) {
    let mut add = |bytes: [u8; 4]| {
        if groups.len() < 4096 {
            groups.insert(IpAddr::from(bytes));
        }
    };
    match report {
        [0x12 | 0x16, _, _, _, a, b, c, d, ..] => add([*a, *b, *c, *d]),
        [0x22, _, _, _, _, _, _, _, records @ ..] => {
            let mut rest = records;
            while let [_, auxiliary, high, low, a, b, c, d, more @ ..] = rest {
                add([*a, *b, *c, *d]);
                let sources = usize::from(u16::from_be_bytes([*high, *low]));
                let words = sources.saturating_add(usize::from(*auxiliary));
                rest = more.get(words.saturating_mul(4)..).unwrap_or_default();
            }
        }
        _ => {}
    }
}

/// The last step: who opened what.
struct Finish<'o> {
    around: &'o Surroundings,
    names: &'o Names,
    services: Services,
    /// Questions to groups: who asked, from which port.
    asked: BTreeSet<(IpAddr, u16)>,
    transit: u64,
    astray: u64,
    flows: Vec<Flow>,
}

impl Finish<'_> {
    fn talks(&mut self, talks: &BTreeMap<Ends, Talk>) {
        let own: BTreeSet<IpAddr> = self.around.own.iter().copied().collect();
        // What is certain first; what was missed is then guessed by it.
        for (ends, talk) in talks {
            if self.to_group(ends.peer) {
                self.asked.insert((ends.own, ends.own_port));
            }
            if let Some(opener) = talk.opener() {
                self.services.add(ends, opener);
            } else if ends.protocol == protocol::UDP && talk.first == Direction::Out {
                self.services.add(ends, Direction::Out);
            }
        }
        for (ends, talk) in talks {
            if self.to_group(ends.own) {
                // To everybody on the network, which is only known now; judged as what was heard.
                continue;
            }
            if !own.contains(&ends.own) && !ends.own.is_unspecified() {
                self.transit = self.transit.saturating_add(talk.packets);
            } else if ends.peer.is_unspecified() {
                self.astray = self.astray.saturating_add(talk.packets);
            } else {
                let (opener, guessed) = match ends.protocol {
                    protocol::TCP | protocol::UDP => self.services.opener(ends, talk),
                    _ => (talk.first, false),
                };
                self.push(ends, talk, opener, guessed);
            }
        }
    }

    /// What others sent to groups is the device's business if it listens: it joined the group, sends to it from or to the
    /// same port, or answered whoever asked.
    fn heard(&mut self, heard: &[(&Ends, &Talk)], groups: &BTreeSet<IpAddr>) {
        let mut sends = BTreeSet::new();
        let mut answers = BTreeSet::new();
        for flow in &self.flows {
            if flow.direction == Direction::Out {
                sends.insert((flow.protocol, flow.peer, flow.destination_port));
                answers.insert((
                    flow.protocol,
                    flow.peer,
                    flow.destination_port,
                    flow.source_port,
                ));
            }
        }
        let mut questions = BTreeSet::new();
        for (ends, talk) in heard {
            let listens = groups.contains(&ends.own)
                || sends.contains(&(ends.protocol, ends.own, ends.own_port))
                || answers.contains(&(ends.protocol, ends.peer, ends.peer_port, ends.own_port));
            if ends.protocol == protocol::UDP {
                questions.insert((ends.peer, ends.peer_port));
            }
            if ends.peer.is_unspecified() && ends.icmp.is_none() {
                self.astray = self.astray.saturating_add(talk.packets);
            } else if is_for_hosts(ends) || (listens && !is_link_message(ends)) {
                self.push(ends, talk, Direction::In, false);
            }
        }
        // Whoever asked a group is answered on the port that the question came from.
        for flow in &mut self.flows {
            let question = (flow.peer, flow.destination_port);
            if flow.direction == Direction::Out
                && flow.class == Class::Outbound
                && questions.contains(&question)
            {
                flow.answers = Some(flow.destination_port);
            }
        }
    }

    fn to_group(&self, address: IpAddr) -> bool {
        address.is_multicast() || is_broadcast(address, &self.around.local)
    }

    fn push(&mut self, ends: &Ends, talk: &Talk, opener: Direction, guessed: bool) {
        let class = match opener {
            _ if self.to_group(ends.peer) || self.to_group(ends.own) => Class::Multicast,
            Direction::Out => Class::Outbound,
            Direction::In => Class::Inbound,
        };
        let (source_port, destination_port) = match opener {
            Direction::Out => (ends.own_port, ends.peer_port),
            Direction::In => (ends.peer_port, ends.own_port),
        };
        // The other side of the device's own question to a group.
        let asked = (ends.own, ends.own_port);
        let answer = ends.protocol == protocol::UDP
            && opener == Direction::In
            && class == Class::Inbound
            && self.asked.contains(&asked);
        self.flows.push(Flow {
            class,
            direction: opener,
            own: ends.own,
            peer: ends.peer,
            protocol: ends.protocol,
            source_port,
            destination_port,
            icmp: ends.icmp,
            // An answer's hop limit says nothing about the question's.
            hop_limit: if talk.first == opener {
                talk.hop_limit
            } else {
                64
            },
            time: talk.time,
            packets: talk.packets,
            name: self.names.at(ends.peer, talk.time).cloned(),
            answers: answer.then_some(destination_port),
            guessed,
        });
    }
}
