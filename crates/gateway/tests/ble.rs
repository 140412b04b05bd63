//! The Bluetooth bearer among devices whose radios, controllers and hosts are Bumble's, in virtual air.

#[path = "bumble/air.rs"]
mod air;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_gateway::link::bearer::{Datagram, Place, Port};
use stockade_gateway::link::{BearerStatus, ble};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::air::Air;

const PATIENCE: Duration = Duration::from_secs(20);
const BEARER: u16 = 3;

/// The air, and the bearer at it.
struct World {
    air: Air,
    runtime: Runtime,
    received: mpsc::Receiver<Datagram>,
    to_send: mpsc::Sender<Datagram>,
    bearer: JoinHandle<()>,
}

impl World {
    fn new(air: Air) -> Self {
        let settings: ble::Settings = air.settings.parse().expect("settings");
        let runtime = Runtime::new().expect("a runtime");
        let (core, received) = mpsc::channel(64);
        let (to_send, outgoing) = mpsc::channel(64);
        let port = Port {
            received: core,
            to_send: outgoing,
            status: BearerStatus::new(settings.to_string(), Arc::default()),
        };
        let bearer = runtime.spawn(ble::run(settings, BEARER, port));
        Self {
            air,
            runtime,
            received,
            to_send,
            bearer,
        }
    }

    fn ask(&mut self, words: &str) -> String {
        self.air.ask(words)
    }

    fn add(&mut self, name: &str, number: u8, how: &str) -> Device {
        let port = self.air.add(name, number, how);
        let radio = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        radio.connect(("127.0.0.1", port)).expect("a radio");
        let often = Duration::from_millis(50);
        radio.set_read_timeout(Some(often)).expect("a timeout");
        Device { radio }
    }

    /// What arrives within that time.
    fn arrives(&mut self, patience: Duration) -> Option<(u64, Vec<u8>)> {
        let waited = async { tokio::time::timeout(patience, self.received.recv()).await };
        let Datagram { place, bytes } = self.runtime.block_on(waited).ok()??;
        match place {
            Place::Near {
                bearer: BEARER,
                peer,
            } => Some((peer, bytes)),
            other => panic!("from {other}"),
        }
    }

    /// A message of a device's, repeated as CoAP would until it arrives; by which connection.
    fn hears(&mut self, device: &Device, message: &[u8]) -> u64 {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            device.radio.send(message).expect("sent");
            while let Some((peer, bytes)) = self.arrives(Duration::from_millis(300)) {
                if bytes == message {
                    return peer;
                }
            }
        }
        panic!("a message did not arrive");
    }

    fn send(&self, peer: u64, bytes: &[u8]) {
        let place = Place::Near {
            bearer: BEARER,
            peer,
        };
        let bytes = bytes.to_vec();
        self.to_send
            .try_send(Datagram { place, bytes })
            .expect("the bearer takes it");
    }

    /// Both ways with a message of that length.
    fn exchange(&mut self, device: &Device, length: usize) -> u64 {
        let question = coap(length, 1);
        let peer = self.hears(device, &question);
        let answer = coap(length, 2);
        self.send(peer, &answer);
        assert_eq!(device.receives(), answer, "{length} bytes");
        peer
    }

    /// The bearer ends with the core, and not before.
    fn ends(self) {
        assert!(!self.bearer.is_finished(), "it ended by itself");
        drop((self.received, self.to_send));
        let ended = async { tokio::time::timeout(PATIENCE, self.bearer).await };
        let ended = self.runtime.block_on(ended).expect("in time");
        ended.expect("no panic");
    }
}

struct Device {
    radio: UdpSocket,
}

impl Device {
    fn receives(&self) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        while Instant::now() < until {
            if let Ok(length) = self.radio.recv(&mut buffer) {
                return buffer[..length].to_vec();
            }
        }
        panic!("nothing came");
    }
}

/// A CoAP message of that length: non-confirmable, POST, no token.
fn coap(length: usize, id: u8) -> Vec<u8> {
    let mut message = vec![0x50, 0x02, 0, id, 0xff];
    message.extend((5..length).map(|at| u8::try_from(at % 251).expect("small")));
    message
}

#[test]
fn messages_go_both_ways_by_a_channel_whatever_the_size_of_its_packets() {
    let Some(mut world) = Air::new(None).map(World::new) else {
        return;
    };
    let wide = world.add("wide", 1, "channel mps=247");
    let narrow = world.add("narrow", 2, "channel mps=23");
    let mut peers = Vec::new();
    for length in [6, 101, 300, 1152] {
        peers.push((
            world.exchange(&wide, length),
            world.exchange(&narrow, length),
        ));
    }
    let (first, second) = peers[0];
    assert_ne!(first, second, "a connection each");
    assert!(
        peers.iter().all(|pair| *pair == peers[0]),
        "and the same ones all the time"
    );
    // Longer than what was agreed: not sent, and no harm.
    world.send(first, &coap(1153, 3));
    world.exchange(&wide, 20);
    world.ends();
}

#[test]
fn a_controller_may_be_at_the_end_of_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = folder.path().join("controller");
    let Some(mut world) = Air::new(Some(&line)).map(World::new) else {
        return;
    };
    let device = world.add("cam", 1, "channel");
    for length in [6, 1152] {
        world.exchange(&device, length);
    }
    world.ends();
}

#[test]
fn messages_go_both_ways_by_gatt() {
    let Some(mut world) = Air::new(None).map(World::new) else {
        return;
    };
    let device = world.add("lamp", 1, "gatt mtu=247");
    // A reading, confirmable in the draft's header: M, C, POST, no token.
    let said = value(0x60, b"21.5");
    device.radio.send(&said).expect("sent");
    let (peer, heard) = world.hears_value(&device, &said);
    assert_eq!(heard[..2], [0x40, 0x02], "confirmable, POST");
    assert_eq!(heard[4..], *b"\xff21.5");
    // Our acknowledgement carries the A bit and no code; then a command with a token, and its acknowledgement.
    world.send(peer, &[0x60, 0, heard[2], heard[3]]);
    assert_eq!(device.receives(), [0x50]);
    world.send(peer, &[0x41, 0x03, 0x12, 0x34, 0xaa, 0xff, b'1']);
    assert_eq!(
        device.receives(),
        [0x71, 0x03, 0xaa, 0xff, b'1'],
        "C, and A of what was heard"
    );
    device.radio.send(&[0x10]).expect("sent");
    let acknowledged = world.arrives(PATIENCE).expect("an acknowledgement");
    assert_eq!(acknowledged, (peer, vec![0x60, 0, 0x12, 0x34]));
    // As long as the agreed size has room for, and one more, which is lost.
    let long = [&[0x50, 0x02, 0, 9, 0xff], [7; 244 - 3].as_slice()].concat();
    let longer = [long.as_slice(), &[7]].concat();
    world.send(peer, &longer);
    world.send(peer, &long);
    let value = device.receives();
    assert_eq!((value.len(), value[1..3].to_vec()), (244, vec![0x02, 0xff]));
    assert_eq!(world.ask("connections lamp"), "1");
    world.ends();
}

#[test]
fn who_hangs_up_or_goes_out_of_range_is_connected_again() {
    let Some(mut world) = Air::new(None).map(World::new) else {
        return;
    };
    let device = world.add("cam", 1, "channel");
    let first = world.exchange(&device, 50);
    assert_eq!(world.ask("hang-up cam"), "ok");
    // For a connection that has ended: nobody gets it.
    world.send(first, &coap(60, 9));
    let second = world.exchange(&device, 51);
    assert_eq!(world.ask("away cam"), "ok");
    assert_eq!(world.ask("back cam"), "ok");
    let third = world.exchange(&device, 52);
    assert!(
        first < second && second < third,
        "numbers are not used again"
    );
    world.ends();
}

#[test]
fn what_breaks_the_rules_loses_its_connection_and_nobody_elses() {
    let Some(mut world) = Air::new(None).map(World::new) else {
        return;
    };
    let honest = world.add("honest", 1, "channel");
    let peer = world.exchange(&honest, 30);
    let hostile = world.add("hostile", 2, "channel");
    world.hears(&hostile, &coap(20, 1));
    // An SDU that says it is longer than what was agreed.
    assert_eq!(world.ask("raw hostile 0x40 ffff00"), "ok");
    world.hears(&hostile, &coap(21, 1));
    assert_eq!(world.ask("connections hostile"), "2");
    assert_eq!(world.exchange(&honest, 31), peer, "still connected");
    world.ends();
}

#[test]
fn those_who_never_answer_do_not_keep_one_away_who_does() {
    let Some(mut world) = Air::new(None).map(World::new) else {
        return;
    };
    for number in 0..4 {
        world.add(&format!("deaf-{number}"), 100 + number, "deaf");
    }
    let device = world.add("cam", 1, "channel");
    let until = Instant::now() + Duration::from_secs(50);
    let mut connected = false;
    while !connected && Instant::now() < until {
        connected = world.ask("connections cam") == "1";
        std::thread::park_timeout(Duration::from_millis(200));
    }
    assert!(connected, "its turn comes");
    world.exchange(&device, 40);
    world.ends();
}

impl World {
    /// A value that a device indicates; repeated, it is ignored, so it is the first that counts.
    fn hears_value(&mut self, device: &Device, value: &[u8]) -> (u64, Vec<u8>) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(heard) = self.arrives(Duration::from_millis(300)) {
                return heard;
            }
            device.radio.send(value).expect("sent");
        }
        panic!("a value did not arrive");
    }
}

/// A value of the draft: header, POST, payload.
fn value(header: u8, payload: &[u8]) -> Vec<u8> {
    [&[header, 0x02, 0xff], payload].concat()
}
