//! A LAN with one device for each MUD file, a trusted host, and the world beyond.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use stockade_controls::firewall::check::differences;
use stockade_controls::firewall::compile::{GuardPlan, Guarded, Model, Role, guard, name_set};
use stockade_controls::firewall::readback::{devices, from_json};
use stockade_controls::firewall::surroundings::Surroundings;
use stockade_e2e::netlab::lab::{HOST, Lab, ROUTER, Seen, Start};
use stockade_e2e::netlab::mud::{Mud, Opener, Opening, Peer};
use stockade_e2e::netlab::oracle::{Answer, Oracle, Places, Question, authority, inside};
use stockade_e2e::netlab::packet::{Mac, Packet, Transport};
use stockade_e2e::netlab::probes::{ANY, distinct, flow, mirrored, transports};
use stockade_e2e::netlab::space::{ip, run};
use stockade_e2e::tools::{root, say};
use stockade_host::netlink::sets::{Change, Element, Key, SetName, Sets};
use stockade_profile::mud::{ImportOptions, import, read};
use stockade_profile::{Family, HostName, PortRange, Profile};

const TRUSTED: Mac = [2, 0, 0, 0, 3, 1];
const STRANGER: Mac = [2, 0, 0, 0, 9, 9];

/// Names and contents.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Our own MUD files, and the collection where it is there: names and contents, sorted.
pub(crate) fn corpus() -> Result<Files> {
    let mut files = ours()?;
    let folder = root().join("../shared/data/mud");
    if folder.is_dir() {
        collect(&folder, &mut files)?;
    } else {
        say("without the collection of MUD files: no ../shared/data/mud");
    }
    files.sort();
    Ok(files)
}

/// Our own MUD files.
pub(crate) fn ours() -> Result<Files> {
    let mut files = Vec::new();
    collect(&root().join("crates/profile/tests/mud/files"), &mut files)?;
    files.retain(|(name, _)| Path::new(name).extension() == Some("json".as_ref()));
    Ok(files)
}

fn collect(folder: &Path, files: &mut Files) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_none_or(|extension| extension != "md") {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.push((name, fs_err::read(&path)?));
        }
    }
    Ok(())
}

/// One device.
pub(crate) struct House {
    name: String,
    openings: Vec<Opening>,
    url: String,
    authority: String,
    profile: Profile,
    mac: Mac,
    addresses: [IpAddr; 2],
}

/// One packet, and where it must come out.
pub(crate) struct Asked {
    house: usize,
    question: Question,
    start: Start,
    packet: Packet,
    expected: Option<Seen>,
}

/// All of it.
pub(crate) struct Town {
    pub(crate) lab: Lab,
    pub(crate) houses: Vec<House>,
    groups: BTreeSet<IpAddr>,
    /// DNS servers that some file names by their address, with the protocol.
    direct: Vec<(Option<u8>, Peer)>,
    places: Places,
    around: Surroundings,
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Town {
    /// Reads the files, by the product and by the oracle.
    pub(crate) fn new(files: Files) -> Result<Self> {
        let mut houses = Vec::new();
        let mut slowest = Duration::ZERO;
        for (name, bytes) in files {
            let number = houses.len();
            let begun = Instant::now();
            let file = match read(&bytes) {
                Ok(file) => file,
                Err(error) => {
                    say(&format!("{name}: {error}"));
                    continue;
                }
            };
            let options = ImportOptions {
                model: format!("lab-{number}").parse().ok(),
                ..ImportOptions::default()
            };
            let profile = import(&file, &options).profile;
            slowest = slowest.max(begun.elapsed());
            let low = u8::try_from(number)?;
            let mud = Mud::read(&bytes).with_context(|| name.clone())?;
            houses.push(House {
                openings: mud.openings(),
                authority: authority(&mud.url),
                url: mud.url,
                profile,
                mac: [2, 0, 0, 0, 1, low],
                addresses: [
                    address(&format!("192.168.7.{}", low + 10)),
                    address(&format!("fd07::{:x}", u16::from(low) + 16)),
                ],
                name,
            });
        }
        say(&format!(
            "{} files read, the slowest in {slowest:.1?}",
            houses.len()
        ));
        let places = places(&houses);
        let around = around(&places);
        Ok(Self {
            lab: Lab::new()?,
            groups: groups(&houses),
            direct: direct(&houses),
            houses,
            places,
            around,
        })
    }

    /// The guard's plan.
    pub(crate) fn plan(&self) -> GuardPlan {
        let models = self.houses.iter().map(|house| {
            let model = Model::of(&house.profile, &self.around, &[8883]);
            (house.profile.device.model.clone(), model)
        });
        let guarded = |mac: Mac, addresses: [IpAddr; 2], role| Guarded {
            mac: stockade_e2e::netlab::lab::spelled(mac)
                .parse()
                .expect("a hardware address"),
            addresses: addresses.to_vec(),
            role,
        };
        let devices = self.houses.iter().map(|house| {
            let role = Role::Model(house.profile.device.model.clone());
            guarded(house.mac, house.addresses, role)
        });
        let trusted = guarded(TRUSTED, trusted(), Role::Trusted);
        GuardPlan {
            interfaces: vec!["lan".parse().expect("a name")],
            around: self.around.clone(),
            models: models.collect(),
            devices: devices.chain([trusted]).collect(),
            repair: vec![8883],
            notice: 8443,
        }
    }

    /// Makes the first rule of the first device one port wider than its file says.
    pub(crate) fn widen(&mut self) {
        for house in &mut self.houses {
            let rules = &mut house.profile.firewall.outward;
            if let Some(rule) = rules.iter_mut().find(|rule| rule.traffic.port.is_some()) {
                let port = rule.traffic.port.expect("it has one");
                rule.traffic.port = PortRange::new(port.first(), port.last() + 1);
            }
        }
    }

    /// Puts the rules into the kernel, reads them back, and gives names their addresses by netlink.
    pub(crate) fn build(&self, plan: &GuardPlan) -> Result<()> {
        let written = guard(plan);
        self.lab.load(&written.to_string())?;
        let mut found = from_json(&run("nft", &["-j", "-p", "list", "ruleset"], "")?)?;
        devices(
            &mut found,
            &String::from_utf8(run("nft", &["list", "ruleset"], "")?)?,
        )?;
        let told: Vec<String> = differences(&written, &found)
            .iter()
            .map(ToString::to_string)
            .collect();
        anyhow::ensure!(told.is_empty(), "the kernel has other rules: {told:#?}");
        self.name_all(&written)?;
        let mut near: Vec<(IpAddr, Mac)> = self
            .houses
            .iter()
            .flat_map(|house| house.addresses.map(|it| (it, house.mac)))
            .collect();
        near.extend(trusted().map(|it| (it, TRUSTED)));
        self.lab.neighbours("lan", &near)?;
        let groups: Vec<String> = self
            .groups
            .iter()
            .map(|group| format!("addr add {group}/32 dev lan autojoin\n"))
            .collect();
        ip(&groups.concat())
    }

    fn name_all(&self, written: &stockade_controls::firewall::nft::Ruleset) -> Result<()> {
        let table = written.tables.first().context("no table")?;
        let mut changes = Vec::new();
        for (name, addresses) in &self.places.names {
            let Ok(name) = name.parse::<HostName>() else {
                continue;
            };
            for address in addresses {
                let (family, key) = match address {
                    IpAddr::V4(address) => (Family::Ipv4, Key::new().with(&address.octets())),
                    IpAddr::V6(address) => (Family::Ipv6, Key::new().with(&address.octets())),
                };
                let set = name_set(&name, family);
                if table.set(set.as_str()).is_none() {
                    continue;
                }
                let set = SetName {
                    family: stockade_controls::firewall::nft::Family::Inet,
                    table: table.name.to_string(),
                    set: set.to_string(),
                };
                let mut element = Element::new(key);
                element.timeout = Some(Duration::from_mins(10));
                changes.push(Change::Put(set, element));
            }
        }
        let mut sets = Sets::open()?;
        for some in changes.chunks(64) {
            sets.change(some)?;
        }
        Ok(())
    }

    /// Every packet worth trying that this side opens with.
    pub(crate) fn questions(&self, opener: Opener) -> Vec<Asked> {
        let mut asked = Vec::new();
        let mut flows = BTreeSet::new();
        for (index, house) in self.houses.iter().enumerate() {
            let oracle = self.oracle(index);
            let mut seen = BTreeSet::new();
            for opening in oracle.openings {
                let mut peers = oracle.addresses(&opening.peer);
                peers.extend(self.elsewhere(index));
                for (peer, transport) in peers
                    .iter()
                    .flat_map(|peer| transports(opening).into_iter().map(move |it| (*peer, it)))
                {
                    if !seen.insert((peer, transport)) {
                        continue;
                    }
                    let number = u32::try_from(asked.len()).expect("not so many");
                    let question = Question {
                        opener,
                        peer,
                        transport: distinct(transport, number),
                    };
                    let near = house.addresses[usize::from(peer.is_ipv6())];
                    if self.judged_here(&question)
                        && flows.insert(flow(near, peer, question.transport))
                    {
                        asked.push(self.asked(index, question, number));
                    }
                }
            }
        }
        asked
    }

    /// Addresses that any rule is tried with: somebody in the world, the trusted host, another device, the gateway.
    fn elsewhere(&self, index: usize) -> Vec<IpAddr> {
        let next = &self.houses[(index + 1) % self.houses.len()];
        let mut found = vec![address("203.0.113.9"), address("2001:db8:9::9")];
        found.extend(trusted());
        found.extend(next.addresses);
        found.extend(HOST.map(address));
        found
    }

    /// Whether the packet passes the guard at all, in this lab, and for the rule alone.
    fn judged_here(&self, question: &Question) -> bool {
        let peer = question.peer;
        let everybody = peer == address("255.255.255.255");
        // Echoes on the own network are every device's right, within a rate.
        let near = inside(peer, address("192.168.7.0"), 24) || inside(peer, address("fd07::"), 64);
        let echo = matches!(question.transport, Transport::Icmp { kind: 8 | 128, .. });
        // Messages of neighbours stay on their link.
        let link = matches!(
            question.transport,
            Transport::Icmp {
                kind: 130..=143,
                ..
            }
        );
        if (near && echo) || (link && peer.is_ipv6()) {
            return false;
        }
        // A host hears the groups that it is in; nobody sends from one, and the gateway's own packets start elsewhere.
        let many = peer.is_multicast() || everybody;
        if many || HOST.map(address).contains(&peer) {
            let heard = !many || everybody || self.groups.contains(&peer);
            return heard && question.opener == Opener::Device;
        }
        // Addresses that no router forwards for.
        let nobody = ["192.168.7.0", "192.168.7.255", "fd07::"].map(address);
        let reserved = matches!(peer, IpAddr::V4(it) if it.octets()[0] >= 240);
        !reserved && !nobody.contains(&peer) && !peer.is_unspecified() && !peer.is_loopback()
    }

    fn asked(&self, house: usize, question: Question, number: u32) -> Asked {
        let its = &self.houses[house];
        let near = its.addresses[usize::from(question.peer.is_ipv6())];
        let lan = |address: IpAddr| {
            self.places
                .local
                .iter()
                .any(|(network, prefix)| inside(address, *network, *prefix))
        };
        let (source, destination, from_mac) = match question.opener {
            Opener::Device => (near, question.peer, its.mac),
            Opener::Peer => (question.peer, near, self.mac_of(question.peer)),
        };
        let start = if lan(source) { Start::Lan } else { Start::Wan };
        let packet = Packet {
            from_mac: if start == Start::Lan {
                from_mac
            } else {
                ROUTER
            },
            to_mac: if start == Start::Lan {
                self.lab.lan_mac
            } else {
                self.lab.wan_mac
            },
            source,
            destination,
            transport: question.transport,
            number,
        };
        Asked {
            house,
            question,
            start,
            packet,
            expected: self.expected(house, &question),
        }
    }

    fn mac_of(&self, address: IpAddr) -> Mac {
        if trusted().contains(&address) {
            return TRUSTED;
        }
        let owner = self
            .houses
            .iter()
            .find(|house| house.addresses.contains(&address));
        owner.map_or(STRANGER, |house| house.mac)
    }

    fn oracle(&self, house: usize) -> Oracle<'_> {
        let house = &self.houses[house];
        Oracle::new(&house.openings, &house.authority, &self.places)
    }

    fn answer(&self, house: usize, question: &Question) -> Answer {
        let oracle = self.oracle(house);
        let number = question.transport.protocol(question.peer.is_ipv6());
        let named = |(protocol, peer): &(Option<u8>, Peer)| {
            protocol.is_none_or(|its| its == number) && oracle.is_peer(peer, question.peer)
        };
        oracle.answer(question, self.direct.iter().any(named))
    }

    /// Where the packet must come out.
    fn expected(&self, house: usize, question: &Question) -> Option<Seen> {
        let peer = question.peer;
        let near = self.houses[house].addresses[usize::from(peer.is_ipv6())];
        let lan = self
            .places
            .local
            .iter()
            .any(|(network, prefix)| inside(peer, *network, *prefix));
        let own = HOST.map(address).contains(&peer);
        let many = peer.is_multicast() || peer == address("255.255.255.255");
        // What every device may do: ask for an address (RFC 2131 §4.1).
        let dhcp = question.opener == Opener::Device
            && question.transport == (Transport::Udp { from: 68, to: 67 });
        if dhcp && (peer == address(HOST[0]) || peer == address("255.255.255.255")) {
            return Some(Seen::Host);
        }
        let other = self
            .houses
            .iter()
            .position(|house| house.addresses.contains(&peer));
        let mirror = Question {
            opener: mirrored(question.opener),
            peer: near,
            transport: question.transport,
        };
        match (self.answer(house, question), question.opener) {
            (Answer::Forwarder, _) => Some(Seen::Host),
            (Answer::Refused, Opener::Device) => None,
            (Answer::Passes, Opener::Device) if own || many => Some(Seen::Host),
            (Answer::Passes, Opener::Device) if lan => match other {
                Some(other) => (self.answer(other, &mirror) == Answer::Passes).then_some(Seen::Lan),
                // The owner's own devices are opened to by each other and by the gateway alone; who is nobody is reached by nobody.
                None => None,
            },
            (Answer::Passes, Opener::Device) => Some(Seen::Wan),
            (answer, Opener::Peer) => {
                // Another device's question to a DNS server never gets that far.
                let theirs = other.map(|other| self.answer(other, &mirror));
                if theirs == Some(Answer::Forwarder) {
                    return Some(Seen::Host);
                }
                let known = !lan || trusted().contains(&peer) || theirs == Some(Answer::Passes);
                (answer == Answer::Passes && known).then_some(Seen::Lan)
            }
        }
    }

    /// Sends them all; what fares otherwise is told.
    pub(crate) fn try_all(&self, asked: &[Asked]) -> Result<Vec<String>> {
        let packets: Vec<(Start, Packet)> = asked.iter().map(|it| (it.start, it.packet)).collect();
        let seen = self.lab.send(&packets)?;
        let wrong = asked
            .iter()
            .filter(|it| seen.get(&it.packet.number).copied() != it.expected);
        Ok(wrong
            .map(|it| self.told(it, seen.get(&it.packet.number)))
            .collect())
    }

    fn told(&self, asked: &Asked, seen: Option<&Seen>) -> String {
        let house = &self.houses[asked.house];
        format!(
            "{}: {:?}: expected {:?}, seen {seen:?}",
            house.name, asked.question, asked.expected
        )
    }

    /// The other side answers what passed; answers of an open flow pass.
    pub(crate) fn answers(&self, asked: &[Asked]) -> Result<(usize, Vec<String>)> {
        let opened = asked
            .iter()
            .filter(|it| matches!(it.expected, Some(Seen::Wan | Seen::Lan)));
        let mut answers = Vec::new();
        for it in opened {
            let Transport::Udp { from, to } = it.packet.transport else {
                continue;
            };
            let start = if it.expected == Some(Seen::Wan) {
                Start::Wan
            } else {
                Start::Lan
            };
            let packet = Packet {
                from_mac: if start == Start::Wan {
                    ROUTER
                } else {
                    self.mac_of(it.packet.destination)
                },
                to_mac: if start == Start::Wan {
                    self.lab.wan_mac
                } else {
                    self.lab.lan_mac
                },
                source: it.packet.destination,
                destination: it.packet.source,
                transport: Transport::Udp { from: to, to: from },
                number: it.packet.number,
            };
            let back = if it.start == Start::Lan {
                Seen::Lan
            } else {
                Seen::Wan
            };
            answers.push((start, packet, back));
        }
        let packets: Vec<(Start, Packet)> = answers
            .iter()
            .map(|(start, packet, _)| (*start, *packet))
            .collect();
        let seen = self.lab.send(&packets)?;
        let wrong = answers
            .iter()
            .filter(|(_, packet, back)| seen.get(&packet.number) != Some(back));
        let wrong = wrong.map(|(_, packet, back)| {
            format!(
                "an answer: {packet:?}: expected {back:?}, seen {:?}",
                seen.get(&packet.number)
            )
        });
        Ok((answers.len(), wrong.collect()))
    }

    /// Packets that would pass, from somebody else: no one borrows an address.
    pub(crate) fn spoofs(&self) -> Result<(usize, Vec<String>)> {
        self.lab.forget()?;
        let mut packets = Vec::new();
        let passing = self.questions(Opener::Device);
        let passing = passing.iter().filter(|it| it.expected == Some(Seen::Wan));
        for it in passing {
            let next = &self.houses[(it.house + 1) % self.houses.len()];
            let other = next.addresses[usize::from(it.packet.source.is_ipv6())];
            if next.mac == it.packet.from_mac {
                continue;
            }
            for packet in [
                Packet {
                    from_mac: next.mac,
                    ..it.packet
                },
                Packet {
                    from_mac: STRANGER,
                    ..it.packet
                },
                Packet {
                    source: other,
                    ..it.packet
                },
            ] {
                let number = u32::try_from(packets.len())?;
                packets.push((Start::Lan, Packet { number, ..packet }));
            }
            // From beyond, with an address of the network's own.
            let number = u32::try_from(packets.len())?;
            packets.push((
                Start::Wan,
                Packet {
                    from_mac: ROUTER,
                    to_mac: self.lab.wan_mac,
                    source: other,
                    destination: it.packet.source,
                    number,
                    ..it.packet
                },
            ));
        }
        let seen = self.lab.send(&packets)?;
        let wrong = packets
            .iter()
            .filter(|(_, packet)| seen.contains_key(&packet.number));
        let wrong = wrong.map(|(start, packet)| {
            format!(
                "borrowed: {start:?} {packet:?}, seen {:?}",
                seen.get(&packet.number)
            )
        });
        Ok((packets.len(), wrong.collect()))
    }
}

/// The multicast groups that any file speaks of.
fn groups(houses: &[House]) -> BTreeSet<IpAddr> {
    let openings = houses.iter().flat_map(|house| &house.openings);
    let groups = openings.filter_map(|opening| match opening.peer {
        Peer::Network(address, 32) if address.is_multicast() && address.is_ipv4() => Some(address),
        _ => None,
    });
    groups.collect()
}

fn direct(houses: &[House]) -> Vec<(Option<u8>, Peer)> {
    let openings = houses.iter().flat_map(|house| &house.openings);
    let named = openings.filter(|opening| {
        let dns = opening.destination.0 <= 53 && 53 <= opening.destination.1;
        let literal = matches!(opening.peer, Peer::Network(..));
        opening.accepts && opening.opener == Opener::Device && dns && literal
    });
    named
        .map(|opening| (opening.protocol, opening.peer.clone()))
        .collect()
}

fn trusted() -> [IpAddr; 2] {
    [address("192.168.7.200"), address("fd07::200")]
}

fn places(houses: &[House]) -> Places {
    let mut places = Places {
        local: vec![(address("192.168.7.0"), 24), (address("fd07::"), 64)],
        my_controllers: vec![address("198.51.100.200"), address("2001:db8:88::200")],
        forwarder: true,
        ..Places::default()
    };
    for house in houses {
        let of_maker = places
            .manufacturers
            .entry(house.authority.clone())
            .or_default();
        of_maker.extend(house.addresses);
        let of_model = places.models.entry(house.url.clone()).or_default();
        of_model.extend(house.addresses);
        for opening in &house.openings {
            match opening.peer.clone() {
                Peer::Name(name) => {
                    let next = places.names.len() * 4 + 4;
                    let both = vec![
                        address(&format!("198.18.{}.{}", next / 256, next % 256)),
                        address(&format!("2001:db8:77::{next:x}")),
                    ];
                    places.names.entry(name).or_insert(both);
                }
                Peer::Controller(uri) => {
                    let next = places.controllers.len() * 4 + 4;
                    let both = match uri.as_str() {
                        "urn:ietf:params:mud:gateway" => HOST.map(address).to_vec(),
                        _ => vec![
                            address(&format!("198.51.100.{next}")),
                            address(&format!("2001:db8:88::{next:x}")),
                        ],
                    };
                    places.controllers.entry(uri).or_insert(both);
                }
                _ => {}
            }
        }
    }
    places
}

fn around(places: &Places) -> Surroundings {
    let controllers: BTreeMap<_, _> = places
        .controllers
        .iter()
        .filter_map(|(uri, addresses)| Some((uri.parse().ok()?, addresses.clone())))
        .collect();
    Surroundings {
        own: HOST.map(address).to_vec(),
        gateway: HOST.map(address).to_vec(),
        local: vec![
            "192.168.7.0/24".parse().expect("a network"),
            "fd07::/64".parse().expect("a network"),
        ],
        resolvers: places
            .controllers
            .get("urn:ietf:params:mud:dns")
            .cloned()
            .unwrap_or_default(),
        forwarder: Some(5353),
        controllers,
        my_controllers: places.my_controllers.clone(),
        ..Surroundings::default()
    }
}

/// The port that stands for any is none.
const _: () = assert!(ANY == 0);
