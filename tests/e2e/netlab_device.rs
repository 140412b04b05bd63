//! The rules of a device for itself, for each profile that we ship: packets to it and from it, in a real kernel.
//!
//! What must happen is written out here by hand, from the profiles' text.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use stockade_controls::firewall::check::{Verdict, compare, differences};
use stockade_controls::firewall::compile::{Slot, device, name_set};
use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::policy::{Policy, Side};
use stockade_controls::firewall::readback::{devices, from_json};
use stockade_controls::firewall::surroundings::Surroundings;
use stockade_e2e::netlab::lab::{HOST, Lab, ROUTER, Seen, Start, UPLINK};
use stockade_e2e::netlab::packet::{Packet, Transport};
use stockade_e2e::netlab::space::{run, unable};
use stockade_e2e::tools::{root, say};
use stockade_profile::{Family, HostName};

/// The device is the lab's host; its gateway and its neighbours are on the LAN's cable.
const GATEWAY: [&str; 2] = ["192.168.7.2", "fd07::2"];
const NEAR: [&str; 2] = ["192.168.7.20", "fd07::20"];
const FAR: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];
const TIME: [&str; 2] = ["198.18.0.1", "2001:db8:77::1"];

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Who may open what: the other end, 6 or 17, the port.
struct Said {
    profile: &'static str,
    out: &'static [([&'static str; 2], u8, u16)],
    inward: &'static [([&'static str; 2], u8, u16)],
}

const SAID: [Said; 4] = [
    Said {
        profile: "cam-2",
        out: &[(GATEWAY, 6, 8883), (TIME, 17, 123)],
        inward: &[(NEAR, 6, 443), (GATEWAY, 6, 443)],
    },
    Said {
        profile: "siren-1",
        out: &[(GATEWAY, 6, 8883), (GATEWAY, 17, 5683)],
        inward: &[],
    },
    Said {
        profile: "thermo-1",
        out: &[(GATEWAY, 6, 8883), (GATEWAY, 6, 8444)],
        inward: &[],
    },
    Said {
        profile: "plug-9",
        out: &[(GATEWAY, 6, 8883)],
        inward: &[],
    },
];

fn around() -> Surroundings {
    let network = |text: &str| text.parse().expect("a network");
    Surroundings {
        own: [HOST, UPLINK].concat().into_iter().map(address).collect(),
        gateway: GATEWAY.map(address).to_vec(),
        local: vec![network("192.168.7.0/24"), network("fd07::/64")],
        resolvers: vec![address(GATEWAY[0])],
        forwarder: Some(5353),
        ..Surroundings::default()
    }
}

/// Loads the rules for a profile, reads them back and has them judged; names get an address in their sets.
fn load(lab: &Lab, name: &str) -> Result<()> {
    let text = fs_err::read_to_string(root().join("profiles").join(format!("{name}.toml")))?;
    let profile = stockade_profile::parse(&text)
        .ok()
        .context("a sound profile")?;
    let around = around();
    let policy = Policy::of(&profile, &around, Side::Device);
    let written = device(&policy, &around, Slot::A);
    lab.load(&format!("flush ruleset\n{written}"))?;
    let mut found = from_json(&run("nft", &["-j", "-p", "list", "ruleset"], "")?)?;
    devices(
        &mut found,
        &String::from_utf8(run("nft", &["list", "ruleset"], "")?)?,
    )?;
    let told: Vec<String> = differences(&written, &found)
        .iter()
        .map(ToString::to_string)
        .collect();
    anyhow::ensure!(told.is_empty(), "{name}: {told:#?}");
    let verdict = compare(&found, &policy, &around, &World::default());
    anyhow::ensure!(matches!(verdict, Verdict::Same { .. }), "{name}: {verdict}");
    for host in policy.names() {
        let host: &HostName = host;
        let (v4, v6) = (name_set(host, Family::Ipv4), name_set(host, Family::Ipv6));
        lab.load(&format!(
            "add element inet stockade {v4} {{ {} timeout 1m }}\nadd element inet stockade {v6} {{ {} timeout 1m }}\n",
            TIME[0], TIME[1]
        ))?;
    }
    Ok(())
}

/// Sends as a program of the host does, through its output hook.
struct Mouth([Socket; 2]);

impl Mouth {
    fn open() -> Result<Self> {
        let raw = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(255)));
        let v6 = raw(Domain::IPV6)?;
        v6.set_header_included_v6(true)?;
        Ok(Self([raw(Domain::IPV4)?, v6]))
    }

    /// A packet that the rules drop is an error to its sender; what arrives is what counts.
    fn say(&self, packet: &Packet) {
        let to = SockAddr::from(std::net::SocketAddr::new(packet.destination, 0));
        let socket = &self.0[usize::from(packet.destination.is_ipv6())];
        drop(socket.send_to(&packet.frame()[14..], &to));
    }
}

/// One packet, and where it must come out.
type Fate = (Packet, bool, Option<Seen>);

/// Each peer, each port that a profile names and those beside it, TCP and UDP, in and out.
fn fates(said: &Said, lab: &Lab) -> Vec<Fate> {
    let mut fates = Vec::new();
    for (v6, peer, out) in (0..2)
        .flat_map(|v6| [GATEWAY, NEAR, FAR, TIME].map(|peer| (v6, peer)))
        .flat_map(|(v6, peer)| [(v6, peer, true), (v6, peer, false)])
    {
        let beyond = peer == FAR || peer == TIME;
        let own = address(if beyond { UPLINK[v6] } else { HOST[v6] });
        for (protocol, port) in PORTS.iter().flat_map(|port| [(6_u8, *port), (17, *port)]) {
            let number = u32::try_from(fates.len()).expect("not so many");
            let from = 20_000 + u16::try_from(number).expect("not so many");
            let transport = match protocol {
                6 => Transport::Tcp {
                    from,
                    to: port,
                    flags: 2,
                },
                _ => Transport::Udp { from, to: port },
            };
            let rules = if out { said.out } else { said.inward };
            let allowed = rules.contains(&(peer, protocol, port));
            let (source, destination) = if out {
                (own, address(peer[v6]))
            } else {
                (address(peer[v6]), own)
            };
            let packet = Packet {
                from_mac: ROUTER,
                to_mac: if beyond { lab.wan_mac } else { lab.lan_mac },
                source,
                destination,
                transport,
                number,
            };
            let seen = match (out, beyond) {
                (false, _) => Seen::Host,
                (true, true) => Seen::Wan,
                (true, false) => Seen::Lan,
            };
            fates.push((packet, out, allowed.then_some(seen)));
        }
    }
    fates
}

const PORTS: [u16; 16] = [
    122, 123, 124, 442, 443, 444, 5682, 5683, 5684, 8443, 8444, 8445, 8882, 8883, 8884, 54,
];

#[test]
fn each_profile_we_ship_holds_on_the_device_itself() -> Result<()> {
    if unable(&["nft", "conntrack"]) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let neighbours = [GATEWAY, NEAR]
        .concat()
        .into_iter()
        .map(|it| (address(it), ROUTER));
    lab.neighbours("lan", &neighbours.collect::<Vec<_>>())?;
    let mouth = Mouth::open()?;
    let mut probes = 0;
    for said in SAID {
        load(&lab, said.profile)?;
        lab.forget()?;
        let fates = fates(&said, &lab);
        probes += fates.len();
        for (packet, _, _) in fates.iter().filter(|(_, out, _)| *out) {
            mouth.say(packet);
        }
        let inward = fates.iter().filter(|(_, out, _)| !out);
        let inward: Vec<(Start, Packet)> = inward
            .map(|(packet, _, _)| {
                let lan = packet.to_mac == lab.lan_mac;
                (if lan { Start::Lan } else { Start::Wan }, *packet)
            })
            .collect();
        let seen = lab.send(&inward)?;
        let wrong = fates
            .iter()
            .filter(|(packet, _, expected)| seen.get(&packet.number) != expected.as_ref());
        let wrong: Vec<String> = wrong
            .map(|(packet, out, expected)| {
                format!(
                    "out {out}: {packet:?}: expected {expected:?}, seen {:?}",
                    seen.get(&packet.number)
                )
            })
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", said.profile);
    }
    say(&format!(
        "{probes} probes, 0 mismatches, {} profiles",
        SAID.len()
    ));
    Ok(())
}
