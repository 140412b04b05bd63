//! The packet lab: rules in a real kernel, judged by the packets that pass.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use stockade_e2e::netlab::lab::{HOST, Lab, Seen, Start};
use stockade_e2e::netlab::packet::{Mac, Packet, Transport};
use stockade_e2e::netlab::space::unable;

const DEVICE: Mac = [2, 0, 0, 0, 0, 9];

/// Rules that are right by their look.
const PLAIN: &str = "table inet lab {
    chain input {
        type filter hook input priority 0; policy drop
        ip protocol igmp accept
        udp dport 1000-1999 accept
    }
    chain forward {
        type filter hook forward priority 0; policy drop
        ct state established accept
        tcp dport 443 accept
        meta l4proto 47 accept
    }
}
";

/// A packet, and where it must come out.
type Fate = (Start, IpAddr, IpAddr, Transport, Option<Seen>);

/// What becomes of packets under [`PLAIN`].
fn plain(v6: bool) -> Result<Vec<Fate>> {
    let syn = |from, to| Transport::Tcp { from, to, flags: 2 };
    let udp = |to| Transport::Udp { from: 5, to };
    let device: IpAddr = if v6 { "fd07::10" } else { "192.168.7.10" }.parse()?;
    let world: IpAddr = if v6 { "2001:db8::1" } else { "198.51.100.1" }.parse()?;
    let host: IpAddr = HOST[usize::from(v6)].parse()?;
    let igmp = (!v6).then_some(Seen::Host);
    Ok(vec![
        (Start::Lan, device, world, syn(1000, 443), Some(Seen::Wan)),
        (Start::Lan, device, world, syn(1000, 444), None),
        (Start::Wan, world, device, syn(1001, 443), Some(Seen::Lan)),
        (
            Start::Lan,
            device,
            world,
            Transport::Other(47),
            Some(Seen::Wan),
        ),
        (Start::Lan, device, world, Transport::Other(50), None),
        (Start::Lan, device, host, udp(1999), Some(Seen::Host)),
        (Start::Lan, device, host, udp(2000), None),
        (Start::Lan, device, host, Transport::Other(2), igmp),
    ])
}

/// Before the lab is believed: with rules that are right by their look it sees what they pass, and only that.
#[test]
fn the_lab_sees_what_passes_and_what_does_not() -> Result<()> {
    if unable(&["nft", "conntrack"]) {
        return Ok(());
    }
    let lab = Lab::new()?;
    lab.load(PLAIN)?;
    let mut packets = Vec::new();
    let mut expected = BTreeSet::new();
    for (start, source, destination, transport, seen) in
        plain(false)?.into_iter().chain(plain(true)?)
    {
        let number = u32::try_from(packets.len())?;
        let packet = Packet {
            from_mac: DEVICE,
            to_mac: if start == Start::Lan {
                lab.lan_mac
            } else {
                lab.wan_mac
            },
            source,
            destination,
            transport,
            number,
        };
        packets.push((start, packet));
        expected.extend(seen.map(|seen| (number, seen)));
    }
    lab.neighbours(
        "lan",
        &[
            ("192.168.7.10".parse()?, DEVICE),
            ("fd07::10".parse()?, DEVICE),
        ],
    )?;
    let seen: BTreeSet<_> = lab.send(&packets)?.into_iter().collect();
    assert_eq!(seen, expected);
    Ok(())
}
