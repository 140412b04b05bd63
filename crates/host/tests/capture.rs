//! Captures on real interfaces, in a network namespace of their own.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails as the test does, and says why it is skipped"
)]

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use stockade_host::capture::{Capture, CaptureError, CaptureOptions, Wanted};
use stockade_wire::packet::{self, Network, Transport, ethertype};

/// Moves this thread into a namespace with two ends of a cable; false when that is not possible here.
fn alone() -> bool {
    if !nix::unistd::geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        println!("skipped: only root may make network namespaces");
        return false;
    }
    ip("link add left type veth peer name right");
    ip("link set left up");
    ip("link set right up");
    ip("addr add 192.0.2.1/24 dev left");
    true
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.unwrap().success(), "ip {arguments}");
}

fn ask(address: &str, port: u16) {
    let socket = std::net::UdpSocket::bind("192.0.2.1:4000").unwrap();
    socket.set_broadcast(true).unwrap();
    socket.send_to(b"hello", (address, port)).unwrap();
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn frames_of_the_interface_come_and_others_do_not() {
    if !alone() {
        return;
    }
    let options = CaptureOptions {
        promiscuous: true,
        wanted: Wanted::All,
    };
    let mut capture = Capture::open("right", options).unwrap();
    ask("192.0.2.255", 4001);
    let until = Instant::now() + 20 * SECOND;
    let seen = loop {
        assert!(Instant::now() < until, "the datagram is seen");
        let Some(frame) = capture.next_frame(SECOND).unwrap() else {
            continue;
        };
        let packet = packet::parse(frame.link, &frame.bytes).unwrap();
        if let Network::Ip(ip) = packet.network
            && let Transport::Udp { destination, .. } = ip.transport
        {
            assert!(frame.time > Duration::from_hours(24), "it has a time");
            break (destination, ip.payload.to_vec());
        }
    };
    assert_eq!(seen, (4001, b"hello".to_vec()));
    assert_eq!(capture.lost().unwrap(), 0);
}

#[test]
fn the_filter_lets_announcements_through_and_nothing_else() {
    if !alone() {
        return;
    }
    let options = CaptureOptions {
        promiscuous: false,
        wanted: Wanted::Announcements,
    };
    let mut capture = Capture::open("right", options).unwrap();
    ask("192.0.2.255", 4001);
    ask("192.0.2.255", 67);
    // Nobody has it, so it is asked for by ARP.
    ask("192.0.2.9", 4001);
    let (mut dhcp, mut arp) = (0, 0);
    let until = Instant::now() + 20 * SECOND;
    while (dhcp == 0 || arp == 0) && Instant::now() < until {
        let Some(frame) = capture.next_frame(SECOND).unwrap() else {
            continue;
        };
        let packet = packet::parse(frame.link, &frame.bytes).unwrap();
        match packet.network {
            Network::Arp(_) => arp += 1,
            Network::Ip(ip) => match ip.transport {
                Transport::Udp { destination, .. } => {
                    assert_eq!(destination, 67, "nothing but DHCP");
                    dhcp += 1;
                }
                Transport::Icmp { kind, .. } => assert!((133..=137).contains(&kind)),
                other => panic!("{other:?} is no announcement"),
            },
            Network::Other(_) => assert_eq!(packet.ethertype, ethertype::LLDP),
        }
    }
    assert!(dhcp > 0 && arp > 0, "{dhcp} of DHCP, {arp} of ARP");
}

#[test]
fn an_interface_that_vanishes_is_a_clear_error() {
    if !alone() {
        return;
    }
    let mut capture = Capture::open("right", CaptureOptions::default()).unwrap();
    let gone = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            loop {
                if let Err(error) = capture.next_frame(10 * SECOND) {
                    return error;
                }
            }
        });
        ip("link del left");
        waiting.join().unwrap()
    });
    assert_eq!(
        gone.to_string(),
        "interface \"right\" went down or has gone; bring it up and start again"
    );
}

#[test]
fn a_name_that_no_interface_has_is_told_with_those_there_are() {
    if !alone() {
        return;
    }
    let error = Capture::open("rihgt", CaptureOptions::default()).unwrap_err();
    assert!(matches!(error, CaptureError::NoInterface { .. }));
    let shown = error.to_string();
    assert!(shown.contains("left, lo, right"), "{shown}");
}

#[test]
fn who_may_not_capture_is_told_what_it_takes() {
    if nix::unistd::geteuid().is_root() {
        // The same test again, as a user without rights.
        let again = std::env::current_exe().unwrap();
        let done = Command::new(again)
            .args(["--exact", "who_may_not_capture_is_told_what_it_takes"])
            .uid(65534)
            .output();
        let Ok(done) = done else {
            println!("skipped: another user may not run this test");
            return;
        };
        assert!(done.status.success(), "{done:?}");
        return;
    }
    let error = Capture::open("lo", CaptureOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "only root (CAP_NET_RAW) may capture on \"lo\"; run it with sudo"
    );
}
