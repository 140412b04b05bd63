//! Bad input: whoever sends it is shut out, nobody else notices, nothing panics.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{eventually, root, text, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::{self, Five};

fn tools_are_missing() -> bool {
    without(&["openssl", "curl", "mosquitto_pub"])
}

/// The gateway goes on serving another device, quickly, and has not panicked.
fn others_are_served(gateway: &Gateway, other: &Device) -> Result<()> {
    let started = Instant::now();
    let topic = format!("probe/{}/report", other.id);
    let output = other.publish("mqttv5", "1", &topic, "fine")?;
    assert!(output.status.success(), "{}", text(&output));
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "another device waited {took:?}"
    );
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    Ok(())
}

/// Whether the gateway ends the connection, within `patience`, after these bytes.
fn is_shut_out(device: &Device, five: Five, bytes: &[u8]) -> Result<bool> {
    let (mut connection, _) = Connection::resume(device, &device.id, five)?;
    connection.send(bytes)?;
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        match connection.packet(Duration::from_millis(500)) {
            Err(_) => return Ok(true),
            Ok(Some((first, _))) if first >> 4 == wire::DISCONNECT => return Ok(true),
            Ok(_) => {}
        }
    }
    Ok(false)
}

fn connect_from(source: Ipv4Addr, port: u16) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket.into())
}

#[test]
fn silent_sockets_stop_nobody() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    // From several addresses, more than any one may hold open, and more than 256 in all.
    let mut silent = Vec::new();
    for number in 0..900_u32 {
        let [.., last] = (2 + number % 3).to_be_bytes();
        let mut socket = connect_from(Ipv4Addr::new(127, 0, 0, last), device.port)?;
        if number % 2 == 0 {
            // The head of a ClientHello that never comes to its end. The gateway may have hung up on some.
            drop(socket.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
        }
        silent.push(socket);
    }
    others_are_served(&gateway, &device)
}

#[test]
fn above_the_limit_on_open_files_newcomers_are_refused_and_nothing_else_suffers() -> Result<()> {
    if without(&["openssl", "curl", "mosquitto_pub", "prlimit"]) {
        return Ok(());
    }
    // Half of them are for connections.
    let gateway = Gateway::with_open_files(240)?;
    gateway.install(&root().join("tests/profiles/probe.toml"))?;
    let (porch, hall) = (
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "hall")?,
    );
    let (mut open, _) = Connection::resume(&porch, "porch", Five(true))?;
    open.subscribe("probe/+/report", 0)?;
    let mut sockets = Vec::new();
    for number in 0..180_u8 {
        sockets.push(connect_from(
            Ipv4Addr::new(127, 0, 0, 2 + number % 3),
            porch.port,
        )?);
    }
    let told = gateway.event("the refusal", |event| {
        event["reason"] == "too many connections" && event["control"] == "comms"
    })?;
    assert_eq!(told["outcome"], "refused");
    // The one that is in stays in, the operator is heard, and devices can still enrol.
    gateway.enrol("probe", "attic")?;
    gateway.cli(&["publish", "probe/porch/command", "still there?"])?;
    let mut packet = Vec::new();
    wire::publish(Five(true), "probe/porch/report", Some(9), b"x", &mut packet);
    open.send(&packet)?;
    let (first, _) = open.packet(Duration::from_secs(20))?.context("no answer")?;
    assert!([wire::PUBLISH, wire::PUBACK].contains(&(first >> 4)));
    drop(sockets);
    eventually("there is room again", Duration::from_secs(20), || {
        Ok(Connection::resume(&hall, "hall", Five(true)).ok())
    })?;
    others_are_served(&gateway, &hall)
}

#[test]
fn bytes_that_are_no_tls_are_shut_out() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x10, 0x0C, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0],
        &[0xFF; 4096],
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", device.port))?;
        // The gateway may hang up before the last byte is out.
        drop(socket.write_all(bytes));
        socket.set_read_timeout(Some(Duration::from_secs(15)))?;
        let mut answer = Vec::new();
        // Closed or reset, both are fine; an answer in MQTT is not.
        drop(std::io::Read::read_to_end(&mut socket, &mut answer));
        assert!(
            answer.first().is_none_or(|first| *first == 0x15),
            "answered with {answer:02x?}"
        );
    }
    others_are_served(&gateway, &device)
}

#[test]
fn malformed_topics_and_filters_are_shut_out_in_both_versions() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let (bad, good) = (
        gateway.enrol("probe", "bad")?,
        gateway.enrol("probe", "good")?,
    );
    for five in [Five(false), Five(true)] {
        // [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1], [MQTT-1.5.4-2]
        for filter in [
            "probe/#/report",
            "probe/bad/report#",
            "probe/b+/report",
            "",
            "probe/\0/report",
        ] {
            let mut packet = Vec::new();
            wire::subscribe(five, filter, 1, &mut packet);
            assert!(
                is_shut_out(&bad, five, &packet)?,
                "{five:?}: the filter {filter:?} is taken"
            );
        }
        // [MQTT-3.3.2-2]
        for topic in ["probe/+/report", "probe/bad/#", "#"] {
            let mut packet = Vec::new();
            wire::publish(five, topic, Some(1), b"x", &mut packet);
            assert!(
                is_shut_out(&bad, five, &packet)?,
                "{five:?}: the topic {topic:?} is taken"
            );
        }
    }
    others_are_served(&gateway, &good)
}

#[test]
fn malformed_packets_are_shut_out_in_both_versions() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let (bad, good) = (
        gateway.enrol("probe", "bad")?,
        gateway.enrol("probe", "good")?,
    );
    for five in [Five(false), Five(true)] {
        let packets: [(&str, &[u8]); 6] = [
            (
                "a remaining length of five bytes",
                &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
            ),
            ("a packet of 256 MB", &[0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
            ("QoS 3", &[0x36, 5, 0, 1, b'a', 0, 1]),
            (
                "a second CONNECT",
                &[
                    0x10, 0x0D, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'a',
                ],
            ),
            ("packet type 0", &[0x00, 0x00]),
            (
                "SUBSCRIBE with reserved bits",
                &[0x80, 6, 0, 1, 0, 1, b'a', 0],
            ),
        ];
        for (what, packet) in packets {
            assert!(
                is_shut_out(&bad, five, packet)?,
                "{five:?}: {what} is taken"
            );
        }
    }
    others_are_served(&gateway, &good)
}

#[test]
fn a_client_that_reads_nothing_does_not_hold_up_the_others() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let (slow, good) = (
        gateway.enrol("probe", "slow")?,
        gateway.enrol("probe", "good")?,
    );
    let (mut deaf, _) = Connection::resume(&slow, &slow.id, Five(true))?;
    deaf.subscribe("probe/+/report", 0)?;
    let (mut sender, _) = Connection::resume(&good, "good/flood", Five(true))?;
    let mut packet = Vec::new();
    wire::publish(
        Five(true),
        "probe/good/report",
        None,
        &[0x5A; 4000],
        &mut packet,
    );
    // 20 MB: far more than socket buffers hold.
    for _ in 0..5_000 {
        sender.send(&packet)?;
    }
    others_are_served(&gateway, &good)
}
