//! Questions worth asking about a rule: what it says, and what is just beside it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::mud::{EVERY_PORT, Opener, Opening, Ports};
use super::packet::Transport;

/// A port that stands for any: it is replaced by one that no other packet has.
pub const ANY: u16 = 0;

/// The packets that try one rule, from an opener: the rule's own, and its neighbours in each field.
pub fn transports(opening: &Opening) -> BTreeSet<Transport> {
    let mut found = BTreeSet::from([
        Transport::Icmp {
            kind: 8,
            code: 0,
            id: ANY,
        },
        Transport::Icmp {
            kind: 128,
            code: 0,
            id: ANY,
        },
        Transport::Other(47),
    ]);
    for to in edges(opening.destination) {
        for from in edges(opening.source) {
            found.insert(Transport::Tcp { from, to, flags: 2 });
            found.insert(Transport::Udp { from, to });
        }
    }
    if let (Some(kind), code) = opening.icmp {
        for kind in [kind.saturating_sub(1), kind, kind.saturating_add(1)] {
            for code in [code.unwrap_or(0), code.unwrap_or(0).saturating_add(1)] {
                found.insert(Transport::Icmp {
                    kind,
                    code,
                    id: ANY,
                });
            }
        }
    }
    if let Some(number) = opening
        .protocol
        .filter(|number| ![1, 6, 17, 58].contains(number))
    {
        // Of the extension headers of IPv6 some are read by the kernel as such (RFC 8200 §4.1).
        let plain = |number: &u8| ![0, 1, 6, 17, 43, 44, 50, 51, 58, 60].contains(number);
        found.extend(
            [number, number.saturating_add(1)]
                .into_iter()
                .filter(plain)
                .map(Transport::Other),
        );
    }
    found
}

/// The ends of a range and their neighbours; one that stands for any, if any will do.
fn edges(ports: Ports) -> BTreeSet<u16> {
    if ports == EVERY_PORT {
        return BTreeSet::from([ANY]);
    }
    let (first, last) = ports;
    let all = [first.saturating_sub(1), first, last, last.saturating_add(1)];
    all.into_iter().filter(|port| *port != ANY).collect()
}

/// The packet with ports, or an identifier, that no other packet has.
pub fn distinct(transport: Transport, number: u32) -> Transport {
    let unique = 20_000 + u16::try_from(number % 40_000).unwrap_or_default();
    let port = |port: u16| if port == ANY { unique } else { port };
    match transport {
        Transport::Tcp { from, to, flags } => Transport::Tcp {
            from: port(from),
            to: port(to),
            flags,
        },
        Transport::Udp { from, to } => Transport::Udp {
            from: port(from),
            to: port(to),
        },
        Transport::Icmp { kind, code, id } => Transport::Icmp {
            kind,
            code,
            id: port(id),
        },
        Transport::Other(number) => Transport::Other(number),
    }
}

/// The flow of a packet, the same for both directions: two packets of one flow would answer for each other.
pub fn flow(
    one: IpAddr,
    other: IpAddr,
    transport: Transport,
) -> (u8, (IpAddr, u16), (IpAddr, u16)) {
    let (protocol, from, to) = match transport {
        Transport::Tcp { from, to, .. } => (6, from, to),
        Transport::Udp { from, to } => (17, from, to),
        Transport::Icmp { kind, code, id } => (1, id, u16::from(kind) << 8 | u16::from(code)),
        Transport::Other(number) => (number, 0, 0),
    };
    let ends = ((one, from), (other, to));
    let (low, high) = if ends.0 <= ends.1 {
        ends
    } else {
        (ends.1, ends.0)
    };
    (protocol, low, high)
}

/// The other side.
pub fn mirrored(opener: Opener) -> Opener {
    match opener {
        Opener::Device => Opener::Peer,
        Opener::Peer => Opener::Device,
    }
}
