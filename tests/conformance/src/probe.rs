//! The probe can see: a server made wrong on purpose must be found out.
//!
//! Each test here plays the server on a socket of its own and expects the client to object.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::client::{Client, Connection};
use crate::server::Server;
use crate::wire::{Bytes, Connect, PINGREQ, Properties, Publish, V5, V311, Version, id, subscribe};

/// What the client says about a server that answers its first packet with `answer` and then
/// closes, if it has anything to object to.
fn objection(version: Version, answer: &[u8], test: fn(&mut Client)) -> Option<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let answer = answer.to_vec();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the client connects");
        let mut request = [0; 4096];
        let _count = socket.read(&mut request).expect("the client sends");
        socket.write_all(&answer).expect("the client reads");
        socket
            .shutdown(Shutdown::Write)
            .expect("the client is there");
        socket
    });
    let socket = TcpStream::connect(address).expect("it listens");
    let stream = Box::new(socket.try_clone().expect("a socket can be cloned"));
    let mut client = Client::new(Connection { stream, socket }, version);
    client.patience(std::time::Duration::from_millis(300));
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&mut client)));
    drop(server.join().expect("the server does not panic"));
    let panic = outcome.err()?;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Some(text.unwrap_or_default().to_owned())
}

fn reads(version: Version, answer: &[u8]) -> Option<String> {
    objection(version, answer, |client| {
        client.send(&PINGREQ);
        client.recv();
    })
}

#[track_caller]
fn seen(outcome: Option<String>, expected: &str) {
    let objection = outcome.expect("the client must object");
    assert!(
        objection.contains(expected),
        "{objection:?} does not say {expected:?}"
    );
}

#[test]
fn probe_accepts_what_is_right() {
    for (version, answer) in [
        (V5, &[0xD0, 0][..]),
        (V5, &[0x20, 3, 0, 0, 0]),
        (V311, &[0x20, 2, 1, 0]),
        (V5, &[0x90, 4, 0, 1, 0, 0x87]),
        (V5, &[0xE0, 1, 0x8E]),
        (V311, &[0x40, 2, 0, 9]),
    ] {
        assert_eq!(reads(version, answer), None, "{answer:02x?}");
    }
}

#[test]
fn probe_sees_wrong_headers() {
    seen(reads(V5, &[0xD1, 0]), "MQTT-2.1.3-1");
    seen(reads(V5, &[0x60, 2, 0, 1]), "MQTT-2.1.3-1");
    seen(reads(V5, &[0xD0, 0x80, 0x00]), "MQTT-1.5.5-1");
    seen(reads(V311, &[0x10, 0]), "packet type 1");
    seen(reads(V311, &[0xE0, 0]), "packet type 14");
    seen(reads(V5, &[0xD0, 1, 0]), "too many");
    seen(reads(V5, &[0x40, 1, 0]), "ends in the middle");
}

#[test]
fn probe_sees_wrong_answers() {
    seen(reads(V5, &[0x20, 3, 2, 0, 0]), "MQTT-3.2.2-1");
    seen(reads(V5, &[0x20, 3, 1, 0x87, 0]), "MQTT-3.2.2-6");
    seen(reads(V5, &[0x20, 3, 0, 0x01, 0]), "MQTT-3.2.2-8");
    seen(reads(V311, &[0x20, 2, 0, 6]), "MQTT-3.2.2-6");
    seen(reads(V5, &[0x40, 3, 0, 1, 0x42]), "MQTT-3.4.2-1");
    seen(reads(V311, &[0x90, 3, 0, 1, 3]), "MQTT-3.9.3-2");
    seen(reads(V5, &[0xB0, 4, 0, 1, 0, 0x42]), "MQTT-3.11.3-2");
    seen(reads(V5, &[0xE0, 1, 0x42]), "MQTT-3.14.2-1");
    // Session expiry in a server's DISCONNECT, [MQTT-3.14.2-2].
    seen(
        reads(V5, &[0xE0, 7, 0x8E, 5, 0x11, 0, 0, 0, 1]),
        "may not hold property 0x11",
    );
}

#[test]
fn probe_sees_wrong_messages() {
    seen(
        reads(V5, &Publish::new("t/a", "x").dup().encode(V5)),
        "MQTT-3.3.1-2",
    );
    seen(
        reads(V5, &Publish::new("t/a", "x").qos(3, 1).encode(V5)),
        "MQTT-3.3.1-4",
    );
    seen(
        reads(V5, &Publish::new("t/a", "x").qos(1, 0).encode(V5)),
        "MQTT-2.2.1-4",
    );
    seen(
        reads(V5, &Publish::new("t/#", "x").encode(V5)),
        "MQTT-3.3.2-2",
    );
    seen(reads(V5, &Publish::new("", "x").encode(V5)), "MQTT-4.7.3-1");
    let alias = |number| Properties::new().two(id::TOPIC_ALIAS, number);
    seen(
        reads(V5, &Publish::new("t/a", "x").with(alias(0)).encode(V5)),
        "MQTT-3.3.2-8",
    );
    seen(
        reads(V5, &Publish::new("t/a", "x").with(alias(1)).encode(V5)),
        "MQTT-3.1.2-26",
    );
    let twice = Properties::new()
        .byte(id::PAYLOAD_FORMAT, 1)
        .byte(id::PAYLOAD_FORMAT, 1);
    seen(
        reads(V5, &Publish::new("t/a", "x").with(twice).encode(V5)),
        "twice",
    );
    seen(
        reads(V5, &Bytes::new().field(b"t/\xC3\x28").byte(0).packet(0x30)),
        "MQTT-1.5.4-1",
    );
    seen(
        reads(V5, &Bytes::new().field(b"t/\0").byte(0).packet(0x30)),
        "MQTT-1.5.4-2",
    );
    let padded = Bytes::new().field(b"t/a").raw(&[0x80, 0x00]).packet(0x30);
    seen(reads(V5, &padded), "MQTT-1.5.5-1");
}

#[test]
fn probe_sees_what_should_not_come() {
    let message = Publish::new("t/a", "x").encode(V5);
    let mut fenced = message.clone();
    fenced.extend([0xD0, 0]);
    seen(
        objection(V5, &fenced, Client::expect_nothing),
        "nothing is due",
    );
    let last_words = |client: &mut Client| {
        client.send(&[0x00, 0x00]);
        client.refused();
    };
    seen(objection(V5, &message, last_words), "closing is due");
    seen(objection(V311, &[0xD0, 0], last_words), "closing is due");
    seen(objection(V5, &[0xE0, 1, 0x00], last_words), "MQTT-4.13.1-1");
    assert_eq!(
        objection(V5, &[0xE0, 1, 0x81], last_words),
        None,
        "this is how it closes"
    );
}

#[test]
fn probe_sees_what_does_not_come() {
    let welcomed = |client: &mut Client| {
        client.send(&[0x10, 0]);
        client.turned_away();
    };
    seen(objection(V5, &[0x20, 3, 0, 0, 0], welcomed), "says success");
    seen(objection(V5, &[0xE0, 1, 0x82], welcomed), "must be refused");
    let subscribes = |client: &mut Client| client.subscribe("t/a", 1);
    seen(objection(V5, &[0xD0, 0], subscribes), "SUBACK is due");
}

/// A server that keeps the connection open is told from one that closes.
#[test]
fn probe_sees_a_connection_that_stays_open() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (_kept, _) = listener.accept().expect("the client connects");
    let stream = Box::new(socket.try_clone().expect("a socket can be cloned"));
    let mut client = Client::new(Connection { stream, socket }, V5);
    client.patience(std::time::Duration::from_millis(100));
    let outcome = catch_unwind(AssertUnwindSafe(|| client.refused()));
    assert!(outcome.is_err(), "nothing was closed");
}

/// More than the client said it takes, [MQTT-3.1.2-24].
#[test]
fn probe_sees_a_packet_that_is_too_large() {
    let mut answer = vec![0x20, 3, 0, 0, 0];
    answer.extend(Publish::new("t/a", &"x".repeat(100)).encode(V5));
    let outcome = objection(V5, &answer, |client| {
        let limit = Properties::new().four(id::MAXIMUM_PACKET_SIZE, 64);
        client.connect(&Connect::new(V5, "small").with(limit));
        client.recv();
    });
    seen(outcome, "MQTT-3.1.2-24");
}

/// Against the real server: a test that expects the wrong thing fails.
#[test]
fn probe_sees_a_missing_message() {
    let server = Server::start();
    let mut client = server.connect(V5, "probe");
    client.send(&subscribe(V5, 1, &Properties::new(), &[(b"t/a", 1)]));
    client.await_suback(1);
    client.publish(&Publish::new("t/b", "elsewhere").qos(1, 1));
    assert_eq!(client.drain(), []);
    client.publish(&Publish::new("t/a", "here").qos(1, 1));
    assert!(catch_unwind(AssertUnwindSafe(|| client.expect_nothing())).is_err());
}
