//! Each message of ours does in the kernel what the usual programs then show.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::{ip, listed, namespace, nft, run};
use socket2::{Domain, Protocol, Socket, Type};
use stockade_controls::firewall::nft::Family;
use stockade_host::netlink::NetlinkError;
use stockade_host::netlink::flows::{Ends, Flows};
use stockade_host::netlink::packets::{Group, Heard};
use stockade_host::netlink::routes::Routes;
use stockade_host::netlink::sets::{Change, Element, Key, SetName, Sets, Verdict};

const TABLE: &str = "table inet t {
    set v4 { type ipv4_addr; flags timeout; }
    set v6 { type ipv6_addr; flags timeout; }
    set pairs { type ipv4_addr . inet_service; flags interval,timeout; }
    set nets { type ipv4_addr; flags interval; }
    chain a { accept; }
    chain b { drop; }
    map to { type ether_addr . ipv4_addr : verdict; flags timeout; }
}";

fn set(name: &str) -> SetName {
    SetName {
        family: Family::Inet,
        table: "t".to_owned(),
        set: name.to_owned(),
    }
}

fn v4(last: u8) -> Key {
    Key::new().with(&Ipv4Addr::new(192, 0, 2, last).octets())
}

/// More than one transaction takes: 20,000 of a map, 20,000 of a set.
#[test]
fn many_elements_are_filled_in_and_none_is_left_out() {
    if !namespace() {
        return;
    }
    nft("table inet t {
        set v4 { type ipv4_addr; }
        chain a { accept; }
        map to { type ether_addr . ipv4_addr : verdict; }
    }");
    let mut sets = Sets::open().expect("a socket");
    let address = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 | number).octets();
    let plain = (0..20_000).map(|number| Element::new(Key::new().with(&address(number))));
    let mapped = (0..20_000_u32).map(|number| Element {
        verdict: Some(Verdict::Goto("a".to_owned())),
        ..Element::new(Key::new().with(&[2, 0, 0, 0, 0, 9]).with(&address(number)))
    });
    let wanted = [
        (set("v4"), plain.collect::<Vec<_>>()),
        (set("to"), mapped.collect::<Vec<_>>()),
    ];
    sets.fill(&wanted).expect("all of them");
    for (name, elements) in &wanted {
        let mut held: Vec<Element> = sets
            .list(name)
            .expect("the set is there")
            .into_iter()
            .map(|it| it.element)
            .collect();
        held.sort_by(|a, b| a.key.cmp(&b.key));
        assert!(held == *elements, "{name:?}: {} elements", held.len());
    }
    // Nothing to fill in is nothing to do; a set that is not there is said.
    sets.fill(&[(set("v4"), Vec::new())]).expect("nothing");
    let nowhere = [(set("nowhere"), vec![Element::new(v4(1))])];
    assert!(matches!(
        sets.fill(&nowhere),
        Err(NetlinkError::Missing { .. })
    ));
}

#[test]
fn elements_that_are_put_are_seen_by_nft_and_those_removed_are_gone() {
    if !namespace() {
        return;
    }
    nft(TABLE);
    let mut sets = Sets::open().expect("a socket");
    let minute = Some(Duration::from_mins(1));
    let v6 = Key::new().with(&Ipv6Addr::LOCALHOST.octets());
    let pair = Element {
        key: v4(0).with(&443u16.to_be_bytes()),
        key_end: Some(v4(255).with(&445u16.to_be_bytes())),
        timeout: minute,
        ..Element::new(Key::new())
    };
    let mac = Key::new()
        .with(&[2, 0, 0, 0, 0, 9])
        .with(&Ipv4Addr::new(192, 0, 2, 9).octets());
    let device = |chain: &str| Element {
        verdict: Some(Verdict::Goto(chain.to_owned())),
        ..Element::new(mac.clone())
    };
    let changes = [
        Change::Put(
            set("v4"),
            Element {
                timeout: minute,
                ..Element::new(v4(1))
            },
        ),
        Change::Put(set("v4"), Element::new(v4(2))),
        Change::Put(set("v6"), Element::new(v6)),
        Change::Put(set("pairs"), pair.clone()),
        Change::Put(set("to"), device("a")),
    ];
    sets.change(&changes).expect("all of them");
    let table = listed("list table inet t");
    for expected in [
        "192.0.2.1 timeout 1m expires",
        "192.0.2.2",
        "::1",
        "192.0.2.0/24 . 443-445 timeout 1m expires",
        "02:00:00:00:00:09 . 192.0.2.9 : goto a",
    ] {
        assert!(table.contains(expected), "{expected} in {table}");
    }
    // The other way round: what we list is what was put.
    let found = sets.list(&set("pairs")).expect("a list");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].element, pair);
    assert!(found[0].left.is_some_and(|left| Some(left) <= minute));
    // A verdict changes in place, and a removed element is gone.
    sets.change(&[
        Change::Put(set("to"), device("b")),
        Change::Remove(set("v4"), Element::new(v4(2))),
    ])
    .expect("both");
    let table = listed("list table inet t");
    assert!(table.contains("192.0.2.9 : goto b"), "{table}");
    assert!(!table.contains("192.0.2.2"), "{table}");
    let maps = sets.list(&set("to")).expect("a list");
    assert_eq!(maps[0].element, device("b"));
}

#[test]
fn putting_an_element_again_begins_its_time_anew() {
    if !namespace() {
        return;
    }
    nft(TABLE);
    let mut sets = Sets::open().expect("a socket");
    let put = |seconds| {
        let timeout = Some(Duration::from_secs(seconds));
        Change::Put(
            set("v4"),
            Element {
                timeout,
                ..Element::new(v4(7))
            },
        )
    };
    sets.change(&[put(5)]).expect("put");
    sets.change(&[put(500)]).expect("put again");
    let found = sets.list(&set("v4")).expect("a list");
    assert_eq!(found.len(), 1);
    assert!(found[0].left > Some(Duration::from_secs(400)), "{found:?}");
}

#[test]
fn a_batch_holds_as_a_whole_or_not_at_all() {
    if !namespace() {
        return;
    }
    nft(TABLE);
    let mut sets = Sets::open().expect("a socket");
    let refused = sets.change(&[
        Change::Put(set("v4"), Element::new(v4(1))),
        Change::Put(set("absent"), Element::new(v4(2))),
    ]);
    assert!(
        matches!(refused, Err(NetlinkError::Missing { .. })),
        "{refused:?}"
    );
    assert_eq!(sets.list(&set("v4")).expect("a list"), []);
    // What is to be gone and never was is no fault.
    sets.change(&[Change::Remove(set("v4"), Element::new(v4(99)))])
        .expect("it is not there");
}

#[test]
fn ten_thousand_elements_go_in_one_batch() {
    if !namespace() {
        return;
    }
    nft(TABLE);
    let mut sets = Sets::open().expect("a socket");
    let changes: Vec<Change> = (0..10_000u32)
        .map(|n| {
            let address = Ipv4Addr::from(0x0a00_0000 + n);
            let key = Key::new().with(&address.octets());
            Change::Put(
                set("v4"),
                Element {
                    timeout: Some(Duration::from_mins(10)),
                    ..Element::new(key)
                },
            )
        })
        .collect();
    sets.change(&changes).expect("all of them");
    assert_eq!(sets.list(&set("v4")).expect("a list").len(), 10_000);
    sets.change(&changes).expect("all of them again");
    assert_eq!(sets.list(&set("v4")).expect("a list").len(), 10_000);
}

#[test]
fn a_connection_that_is_cut_passes_no_more_and_its_neighbour_does() {
    if !namespace() {
        return;
    }
    nft(
        "table inet t { chain c { type filter hook input priority 0; policy drop;
         ct state established accept; tcp dport { 1001, 1002 } ct state new accept; }; }",
    );
    let mut pairs = Vec::new();
    for port in [1001, 1002] {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a listener");
        let client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let (server, _) = listener.accept().expect("a peer");
        pairs.push((client, server));
    }
    // From here on the first of a connection would be refused.
    nft("flush chain inet t c");
    nft("table inet t { chain c { ct state established accept; }; }");
    // A packet in the middle must not be taken up as a new connection.
    fs_err::write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "0").expect("a setting");
    let mut flows = Flows::open().expect("a socket");
    let all = flows.list().expect("a list");
    let to = |port: u16| {
        let is = |ends| matches!(ends, Ends::Ports { destination, .. } if destination == port);
        *all.iter().find(|flow| is(flow.original.ends)).expect("it")
    };
    let (cut, kept) = (to(1001), to(1002));
    assert!(cut.answered() && !cut.expected());
    assert!(flows.cut(&cut).expect("a cut"));
    assert!(!flows.cut(&cut).expect("it is gone"), "it was cut already");
    let left = flows.list().expect("a list");
    assert!(!left.iter().any(|flow| flow.id == cut.id));
    assert!(left.iter().any(|flow| flow.id == kept.id));
    let shown = run("conntrack", "-L", "");
    assert!(
        shown.contains("dport=1002") && !shown.contains("dport=1001"),
        "{shown}"
    );
    for (index, passes) in [(0, false), (1, true)] {
        let (client, server) = &mut pairs[index];
        client.write_all(b"x").expect("buffered");
        let wait = Some(Duration::from_millis(400));
        server.set_read_timeout(wait).expect("a timeout");
        assert_eq!(server.read(&mut [0]).is_ok(), passes);
    }
}

/// An echo request (RFC 792; RFC 4443 §4.1).
fn ping(domain: Domain, protocol: Protocol, kind: u8, to: &str) {
    let socket = Socket::new(domain, Type::RAW, Some(protocol)).expect("a socket");
    let mut echo = [kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    // The checksum of ICMP; the kernel makes that of ICMPv6.
    let sum = !(u16::from_be_bytes([kind, 0]) + 0x1234 + 1);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let to: SocketAddr = to.parse().expect("an address");
    socket.send_to(&echo, &to.into()).expect("sent");
}

#[test]
fn udp_icmp_and_ipv6_connections_are_read_and_cut_alike() {
    if !namespace() {
        return;
    }
    nft("table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }");
    let socket = UdpSocket::bind("[::1]:0").expect("a socket");
    socket.send_to(b"x", "[::1]:9").expect("sent");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.send_to(b"x", "127.0.0.1:9").expect("sent");
    ping(Domain::IPV4, Protocol::ICMPV4, 8, "127.0.0.1:0");
    ping(Domain::IPV6, Protocol::ICMPV6, 128, "[::1]:0");
    let mut flows = Flows::open().expect("a socket");
    let all = flows.list().expect("a list");
    let protocols: Vec<u8> = all.iter().map(|flow| flow.original.protocol).collect();
    for protocol in [17, 1, 58] {
        assert!(protocols.contains(&protocol), "{protocol} in {all:?}");
    }
    for flow in &all {
        assert!(flows.cut(flow).expect("a cut"), "{flow:?}");
    }
    assert_eq!(flows.list().expect("a list"), []);
}

#[test]
fn a_blocked_packet_is_heard_with_its_prefix_and_user() {
    if !namespace() {
        return;
    }
    nft(
        "table inet t { chain c { type filter hook output priority 0;
         udp dport 9 log prefix \"stk:out:end\" group 53 counter drop; }; }",
    );
    let mut group = Group::bind(53).expect("the group");
    let second = Group::bind(53);
    assert!(
        matches!(second, Err(NetlinkError::Busy { .. })),
        "{second:?}"
    );
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    assert!(socket.send_to(b"hello", "127.0.0.1:9").is_err(), "dropped");
    let port = socket.local_addr().expect("an address").port();
    let until = Instant::now() + Duration::from_secs(5);
    let logged = loop {
        match group.next(Duration::from_secs(1)).expect("packets") {
            Heard::Packets(mut packets) if !packets.is_empty() => break packets.remove(0),
            _ => assert!(Instant::now() < until, "nothing was heard"),
        }
    };
    assert_eq!(logged.prefix, "stk:out:end");
    assert_eq!((logged.ethertype, logged.hook), (0x0800, 3));
    assert_eq!(logged.user, Some(0));
    assert_eq!(logged.payload.len(), 20 + 8 + 5);
    assert_eq!(logged.payload[20..22], port.to_be_bytes());
    assert_eq!(&logged.payload[28..], b"hello");
}

#[test]
fn interfaces_addresses_and_routes_are_read() {
    if !namespace() {
        return;
    }
    ip("link add name a type veth peer name b");
    ip("link set dev a address 02:00:00:00:00:01");
    ip("addr add 192.0.2.2/24 dev a");
    ip("addr add 2001:db8::2/64 dev a nodad");
    ip("link set dev a up");
    ip("link set dev b up");
    ip("route add default via 192.0.2.1");
    ip("-6 route add default via 2001:db8::1");
    let mut routes = Routes::open().expect("a socket");
    let links = routes.links().expect("links");
    let link = links.iter().find(|link| link.name == "a").expect("a");
    assert_eq!(link.mac, Some([2, 0, 0, 0, 0, 1]));
    assert!(link.up && !link.loopback);
    let addresses = routes.addresses().expect("addresses");
    let of = |text: &str| {
        addresses
            .iter()
            .find(|found| found.address.to_string() == text)
    };
    assert_eq!(
        of("192.0.2.2").map(|found| (found.index, found.prefix)),
        Some((link.index, 24))
    );
    assert_eq!(of("2001:db8::2").map(|found| found.prefix), Some(64));
    let routes = routes.routes().expect("routes");
    let gateways: Vec<String> = routes
        .iter()
        .filter(|route| route.destination.is_none())
        .filter_map(|route| route.gateway.map(|gateway| gateway.to_string()))
        .collect();
    assert_eq!(gateways, ["192.0.2.1", "2001:db8::1"]);
}
