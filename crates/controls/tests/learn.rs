//! What is learned from packets, and what is not.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::time::Duration;

use etherparse::PacketBuilder;
use proptest::prelude::*;
use stockade_controls::firewall::learn::{
    Class, Header, Learned, Observation, Observer, Rule, judge, learn,
};
use stockade_profile::{HostName, LinkAddress, Manufacturer, ModelName};
use stockade_wire::capture::{Frame, LinkType};
use stockade_wire::dns::{Data, INTERNET, Message, Question, Record, kind};

const DEVICE: [u8; 6] = [2, 0, 0, 0, 0, 0xd];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PHONE: [u8; 6] = [2, 0, 0, 0, 0, 0xf];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

const LAMP: [u8; 4] = [192, 168, 7, 20];
const ROUTER: [u8; 4] = [192, 168, 7, 1];
const HAND: [u8; 4] = [192, 168, 7, 30];
const CLOUD: [u8; 4] = [203, 0, 113, 5];

/// A capture that is being written.
#[derive(Default)]
struct Wire {
    frames: Vec<Frame>,
}

impl Wire {
    /// The device has its address.
    fn begun() -> Self {
        let mut wire = Self::default();
        let mut ack = vec![0; 236];
        ack[..3].copy_from_slice(&[2, 1, 6]);
        ack[16..20].copy_from_slice(&LAMP);
        ack[28..34].copy_from_slice(&DEVICE);
        ack.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 5, 1, 4, 255, 255, 255, 0]);
        for option in [3, 6] {
            ack.extend([&[option, 4][..], &ROUTER].concat());
        }
        wire.udp((GATEWAY, DEVICE), (ROUTER, 67), (LAMP, 68), &ack);
        wire
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.frames.push(Frame {
            time: Duration::from_secs(u64::try_from(self.frames.len()).unwrap()),
            link: LinkType::Ethernet,
            original_len: u32::try_from(bytes.len()).unwrap(),
            bytes,
        });
    }

    fn udp(
        &mut self,
        (sender, receiver): ([u8; 6], [u8; 6]),
        (from, source): ([u8; 4], u16),
        (to, destination): ([u8; 4], u16),
        payload: &[u8],
    ) {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(sender, receiver)
            .ipv4(from, to, 64)
            .udp(source, destination)
            .write(&mut bytes, payload)
            .unwrap();
        self.push(bytes);
    }

    /// The device sends, by way of the gateway.
    fn says(&mut self, source: u16, to: ([u8; 4], u16), payload: &[u8]) {
        self.udp((DEVICE, GATEWAY), (LAMP, source), to, payload);
    }

    fn tcp(
        &mut self,
        (sender, receiver): ([u8; 6], [u8; 6]),
        (from, source): ([u8; 4], u16),
        (to, destination): ([u8; 4], u16),
        (syn, ack): (bool, bool),
    ) {
        let mut builder = PacketBuilder::ethernet2(sender, receiver)
            .ipv4(from, to, 64)
            .tcp(source, destination, 1, 1024);
        if syn {
            builder = builder.syn();
        }
        if ack {
            builder = builder.ack(1);
        }
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"").unwrap();
        self.push(bytes);
    }

    /// The device asks for a name and is told an address behind an alias.
    fn named(&mut self, host: &str, address: [u8; 4]) {
        let name = host.parse().unwrap();
        let question = Message {
            id: 9,
            questions: vec![Question {
                name,
                kind: kind::A,
                class: INTERNET,
            }],
            ..Message::default()
        };
        self.says(30_000, (ROUTER, 53), &question.write(512));
        let record = |owner: &str, data| Record {
            name: owner.parse().unwrap(),
            class: INTERNET,
            ttl: 60,
            data,
        };
        let answer = Message {
            response: true,
            answers: vec![
                record(host, Data::Cname("edge.cdn.example".parse().unwrap())),
                record("edge.cdn.example", Data::A(address.into())),
                // Not in the chain: nobody asked for it.
                record("other.example", Data::A([203, 0, 113, 99].into())),
            ],
            ..question
        };
        let link = (GATEWAY, DEVICE);
        self.udp(link, (ROUTER, 53), (LAMP, 30_000), &answer.write(512));
    }

    fn watched(&self) -> Observation {
        let mut observer = Observer::new(LinkAddress::new(DEVICE));
        self.frames.iter().for_each(|frame| observer.frame(frame));
        observer.finish()
    }
}

const TO_CLOUD: ([u8; 6], [u8; 6]) = (DEVICE, GATEWAY);

fn header() -> Header {
    Header {
        manufacturer: Manufacturer::new("Lamps \"R\" us").unwrap(),
        model: ModelName::new("lamp-1").unwrap(),
    }
}

fn learned(wires: &[&Wire]) -> Learned {
    let seen: Vec<Observation> = wires.iter().map(|wire| wire.watched()).collect();
    let learned = learn(&header(), &seen).unwrap();
    let text = learned.to_toml();
    let read = stockade_profile::parse(&text);
    assert_eq!(read.as_ref(), Ok(&learned.profile), "{text}");
    let judged = judge(&learned.profile, &seen, &[]);
    assert!(judged.refused.is_empty(), "{:?}", judged.refused);
    learned
}

/// The rules as sentences.
fn words(wires: &[&Wire]) -> Vec<String> {
    let learned = learned(wires);
    learned.rules.iter().map(Rule::words).collect()
}

/// A lamp with a cloud, a clock, an app on a phone, and discovery.
fn lamp() -> Wire {
    let mut wire = Wire::begun();
    wire.push([&GATEWAY[..], &DEVICE, &[0x88, 0x8e, 1, 3]].concat());
    wire.named("cloud.example", CLOUD);
    wire.tcp(TO_CLOUD, (LAMP, 40_000), (CLOUD, 443), (true, false));
    wire.tcp(
        (GATEWAY, DEVICE),
        (CLOUD, 443),
        (LAMP, 40_000),
        (true, true),
    );
    wire.named("pool.ntp.example", [198, 51, 100, 1]);
    wire.says(123, ([198, 51, 100, 1], 123), b"time?");
    wire.named("never.example", [198, 51, 100, 7]);
    wire.tcp((PHONE, DEVICE), (HAND, 50_000), (LAMP, 80), (true, false));
    wire.udp(
        (PHONE, GROUP),
        (HAND, 40_001),
        ([239, 255, 255, 250], 1900),
        b"M-SEARCH",
    );
    wire.udp(
        (DEVICE, PHONE),
        (LAMP, 1900),
        (HAND, 40_001),
        b"HTTP/1.1 200 OK",
    );
    wire.udp((DEVICE, GROUP), (LAMP, 9999), ([255; 4], 9999), b"hello");
    wire
}

#[test]
fn a_lamp_becomes_a_profile_with_its_doubts() {
    insta::assert_snapshot!(learned(&[&lamp(), &lamp(), &Wire::begun()]).to_toml());
}

#[test]
fn a_name_that_was_never_connected_to_is_told() {
    let learned = learned(&[&lamp()]);
    let unused: Vec<&str> = learned.unused_names.iter().map(HostName::as_str).collect();
    assert_eq!(unused, ["never.example"]);
}

#[test]
fn an_address_without_a_name_stays_an_address() {
    let mut wire = Wire::begun();
    wire.named("cloud.example", CLOUD);
    for last in [10, 11, 12, 13] {
        wire.says(5000, ([203, 0, 113, last], 8883), b"x");
    }
    // The answer spoke of this one, but not for the name that was asked for.
    wire.says(5000, ([203, 0, 113, 99], 8883), b"x");
    let words = words(&[&wire]);
    for last in [10, 11, 12, 13, 99] {
        let rule = format!("may connect to the address 203.0.113.{last} on udp port 8883");
        assert!(words.contains(&rule), "{words:?}");
    }
}

#[test]
fn what_others_send_to_groups_is_no_rule_unless_the_device_listens() {
    let mut wire = Wire::begun();
    wire.udp((PHONE, GROUP), (HAND, 5353), ([224, 0, 0, 251], 5353), b"?");
    assert_eq!(words(&[&wire]), Vec::<String>::new());
    wire.udp(
        (DEVICE, GROUP),
        (LAMP, 5353),
        ([224, 0, 0, 251], 5353),
        b"!",
    );
    assert_eq!(
        words(&[&wire]),
        [
            "may be reached from the local network on udp port 5353",
            "may connect to the address 224.0.0.251 on udp port 5353"
        ]
    );
}

#[test]
fn a_flow_older_than_the_capture_is_not_taken_for_one_from_outside() {
    let mut wire = Wire::begun();
    wire.tcp(
        (GATEWAY, DEVICE),
        (CLOUD, 50_443),
        (LAMP, 40_000),
        (false, true),
    );
    let learned = learned(&[&wire]);
    let words: Vec<String> = learned.rules.iter().map(Rule::words).collect();
    assert_eq!(
        words,
        ["may connect to the address 203.0.113.5 on tcp port 50443"]
    );
    assert!(wire.watched().flows.iter().any(|flow| flow.guessed));
}

#[test]
fn ports_that_never_come_again_become_a_range_and_a_service_does_not() {
    let capture = |port: u16| {
        let mut wire = Wire::begun();
        wire.tcp((DEVICE, PHONE), (LAMP, 40_000), (HAND, port), (true, false));
        wire.tcp((DEVICE, PHONE), (LAMP, 40_001), (HAND, 8080), (true, false));
        wire
    };
    let wires: Vec<Wire> = [40_001, 50_002, 60_003].map(capture).into();
    let two = words(&[&wires[0], &wires[1]]);
    assert_eq!(two.len(), 3, "two of them may be services: {two:?}");
    let three = words(&[&wires[0], &wires[1], &wires[2]]);
    assert_eq!(
        three,
        [
            "may connect to the local network on tcp port 8080",
            "may connect to the local network on tcp ports 32768-65535"
        ]
    );
}

#[test]
fn guests_of_a_device_that_is_an_access_point_are_not_the_device() {
    let mut wire = Wire::begun();
    wire.tcp(
        (DEVICE, GATEWAY),
        ([10, 22, 22, 2], 1),
        (CLOUD, 443),
        (true, false),
    );
    wire.tcp(
        (PHONE, DEVICE),
        ([10, 22, 22, 2], 1),
        (CLOUD, 443),
        (true, false),
    );
    assert_eq!(words(&[&wire]), Vec::<String>::new());
    assert!(wire.watched().transit > 0);
}

#[test]
fn a_device_that_is_not_there_is_told_by_who_is() {
    let mut wire = Wire::begun();
    wire.frames.clear();
    wire.udp((PHONE, GATEWAY), (HAND, 1), (ROUTER, 2), b"x");
    let seen = wire.watched();
    assert_eq!(seen.frames_seen, 0);
    assert_eq!(seen.stations(), [LinkAddress::new(PHONE)]);
}

#[test]
fn a_second_capture_is_judged_flow_by_flow() {
    let learned = learned(&[&lamp()]);
    let mut second = Wire::begun();
    second.named("cloud.example", [203, 0, 113, 200]);
    second.tcp(
        TO_CLOUD,
        (LAMP, 1),
        ([203, 0, 113, 200], 443),
        (true, false),
    );
    second.named("evil.example", [192, 0, 2, 66]);
    second.tcp(TO_CLOUD, (LAMP, 2), ([192, 0, 2, 66], 443), (true, false));
    let judged = judge(&learned.profile, &[second.watched()], &[]);
    let refused: Vec<String> = judged
        .refused
        .iter()
        .map(|it| it.flow.to_string())
        .collect();
    assert_eq!(refused, ["out to evil.example (192.0.2.66), tcp port 443"]);
    let names: Vec<&str> = judged.unknown_names.keys().map(HostName::as_str).collect();
    assert_eq!(names, ["evil.example"]);
    let outbound = judged.classes[&Class::Outbound];
    assert_eq!(
        (outbound.flows, outbound.allowed),
        (3, 2),
        "DNS and the cloud"
    );
}

#[test]
fn a_device_that_scans_gets_no_profile_that_nobody_could_read() {
    let scan = |ends: u32| {
        let mut wire = Wire::begun();
        for number in 0..ends {
            let [_, _, high, low] = number.to_be_bytes();
            wire.says(40_000, ([198, 18, high, low], 443), b"x");
        }
        wire
    };
    assert_eq!(learned(&[&scan(250)]).rules.len(), 250);
    let error = learn(&header(), &[scan(3000).watched()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "3000 rules are more than a profile may have (a profile has at most 262144 bytes, this has 326360); \
         does the device scan? Learn from other captures"
    );
}

proptest! {
    #[test]
    fn packets_with_any_bytes_changed_are_learned_or_left_out(
        changes in prop::collection::vec((0..24_usize, 0..120_usize, any::<u8>()), 1..40),
    ) {
        let mut wire = lamp();
        for (frame, place, byte) in changes {
            if let Some(it) = wire.frames.get_mut(frame).and_then(|it| it.bytes.get_mut(place)) {
                *it = byte;
            }
        }
        let seen = [wire.watched()];
        let learned = learn(&header(), &seen).unwrap();
        let read = stockade_profile::parse(&learned.to_toml());
        prop_assert_eq!(read.as_ref(), Ok(&learned.profile));
        let judged = judge(&learned.profile, &seen, &[]);
        for refused in judged.refused {
            let flow = refused.flow.to_string();
            let left_out = learned.left_out.iter().any(|it| it.starts_with(&flow));
            prop_assert!(left_out, "{} is refused", flow);
        }
    }
}
