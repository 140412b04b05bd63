//! A client that writes and reads bytes itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gateway::Gateway;

/// MQTT 5 CONNECT of the client `a`: clean start, no keep alive.
const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a";
/// PUBLISH `x` to `home/a/up` with QoS 1 and packet identifier 1.
const PUBLISH: &[u8] = b"\x32\x0f\x00\x09home/a/up\x00\x01\x00x";
/// SUBSCRIBE to `home/#` with QoS 1.
const SUBSCRIBE: &[u8] = b"\x82\x0c\x00\x02\x00\x00\x06home/#\x01";
const PING: &[u8] = b"\xc0\x00";

async fn open(gateway: &Gateway, device: &str) -> TlsStream<TcpStream> {
    open_from(gateway, device, 1).await
}

/// From 127.0.0.`host`.
async fn open_from(gateway: &Gateway, device: &str, host: u8) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(gateway.pki.ca_der().clone()).unwrap();
    let certificate =
        CertificateDer::from(fs_err::read(gateway.file(&format!("{device}.der"))).unwrap());
    let key = fs_err::read(gateway.file(&format!("{device}.key.der"))).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, host], 0).into()).unwrap();
    let tcp = socket.connect(gateway.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap()
}

/// A client that is connected.
async fn connected(gateway: &Gateway, device: &str) -> TlsStream<TcpStream> {
    let mut stream = open(gateway, device).await;
    stream.write_all(CONNECT).await.unwrap();
    let mut connack = [0; 64];
    let n = stream.read(&mut connack).await.unwrap();
    assert!(
        n > 4 && connack.starts_with(b"\x20") && connack[3] == 0,
        "{connack:?}"
    );
    stream
}

#[test]
fn packets_in_pieces_and_many_in_one_piece_are_all_taken() {
    let gateway = Gateway::start();
    gateway.device("a");
    gateway.runtime.block_on(async {
        let mut stream = connected(&gateway, "a").await;
        for byte in PUBLISH {
            stream.write_all(&[*byte]).await.unwrap();
            stream.flush().await.unwrap();
        }
        // PUBACK #1: no matching subscribers.
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\x40\x03\x00\x01\x10");
        let mut many = PUBLISH.repeat(2_000);
        many.extend_from_slice(PING);
        let (mut read, mut write) = tokio::io::split(stream);
        let writing = tokio::spawn(async move {
            write.write_all(&many).await.unwrap();
            write
        });
        let mut answers = vec![0; 2_000 * 5 + 2];
        read.read_exact(&mut answers).await.unwrap();
        // PINGRESP comes last, behind answers that waited for the disk.
        assert!(answers.ends_with(b"\xd0\x00"));
        let _open = writing.await.unwrap();
    });
}

#[test]
fn a_broken_packet_ends_its_connection_with_the_reason_and_harms_nobody() {
    let gateway = Gateway::start();
    gateway.device("a");
    gateway.device("b");
    gateway.runtime.block_on(async {
        let mut other = open(&gateway, "b").await;
        for broken in [
            &b"\x30\x05\x00\x03a/#"[..],
            b"\xf7\x00",
            b"\x36\xff\xff\xff\x7f",
        ] {
            let mut stream = connected(&gateway, "a").await;
            stream.write_all(broken).await.unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert!(rest.starts_with(b"\xe0") && rest[2] >= 0x80, "{rest:?}");
        }
        other
            .write_all(&CONNECT[..CONNECT.len() - 1])
            .await
            .unwrap();
        other.write_all(b"b").await.unwrap();
        assert_eq!(other.read_u8().await.unwrap(), 0x20);
    });
    gateway.event("sent a broken packet");
}

#[test]
fn from_revoke_to_the_last_byte_of_a_busy_session_is_far_less_than_a_second() {
    let gateway = Gateway::start();
    gateway.device("a");
    let id = gateway.id("a");
    let (registry, took) = (Arc::clone(&gateway.registry), std::sync::Mutex::new(None));
    gateway.runtime.block_on(async {
        let mut stream = connected(&gateway, "a").await;
        stream.write_all(SUBSCRIBE).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let writing = tokio::spawn(async move {
            while write.write_all(PUBLISH).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let revoking = tokio::task::spawn_blocking(move || {
            std::thread::park_timeout(Duration::from_millis(300));
            let at = Instant::now();
            registry
                .revoke(&id, "stolen", time::OffsetDateTime::now_utc())
                .unwrap();
            at
        });
        let mut last = Instant::now();
        let mut bytes = vec![0; 4_096];
        while let Ok(n) = read.read(&mut bytes).await {
            if n == 0 {
                break;
            }
            last = Instant::now();
        }
        let at = revoking.await.unwrap();
        *took.lock().unwrap() = Some(last.saturating_duration_since(at));
        writing.abort();
    });
    let took = took.into_inner().unwrap().unwrap();
    println!("from revoke to the last byte: {took:?}");
    assert!(took < Duration::from_secs(1));
}

#[test]
fn one_silent_socket_and_one_that_never_reads_stop_nobody() {
    let gateway = Gateway::start();
    gateway.device("a");
    gateway.device("b");
    gateway.runtime.block_on(async {
        let _silent = TcpStream::connect(gateway.address).await.unwrap();
        let mut deaf = connected(&gateway, "a").await;
        deaf.write_all(SUBSCRIBE).await.unwrap();
        let pile = PUBLISH.repeat(1_000);
        // It sends and never reads: in the end it is not read from either.
        let stuck = async {
            for _ in 0..2_000 {
                deaf.write_all(&pile).await.unwrap();
            }
        };
        assert!(
            tokio::time::timeout(Duration::from_secs(5), stuck)
                .await
                .is_err()
        );
        let mut other = open(&gateway, "b").await;
        other
            .write_all(&CONNECT[..CONNECT.len() - 1])
            .await
            .unwrap();
        other.write_all(b"b").await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(2), other.read_u8()).await;
        assert_eq!(answer.unwrap().unwrap(), 0x20);
        // Revoked, it is cut off all the same, although it takes nothing in.
        let id = gateway.id("a");
        let now = time::OffsetDateTime::now_utc();
        gateway.registry.revoke(&id, "deaf", now).unwrap();
        let at = Instant::now();
        // The other client is left; the silent socket had its five seconds.
        while gateway.handle.open_connections() > 1 {
            assert!(at.elapsed() < Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!(
            "from revoke to the end of a deaf session: {:?}",
            at.elapsed()
        );
    });
}

/// Connects, and stays until the gateway ends it; then closes in good order, as clients do.
async fn stay(gateway: &Gateway, host: u8) -> tokio::task::JoinHandle<()> {
    let mut stream = open_from(gateway, "a", host).await;
    stream.write_all(CONNECT).await.unwrap();
    let mut connack = [0; 64];
    let _connack = stream.read(&mut connack).await;
    tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ended = stream.read_to_end(&mut rest).await;
        let _closed = stream.shutdown().await;
    })
}

#[test]
fn a_cloned_key_is_quarantined_once_both_keepers_have_shown_that_they_live() {
    let gateway = Gateway::start();
    gateway.device("a");
    gateway.runtime.block_on(async {
        let mut last = None;
        for n in 0..5 {
            let next = stay(&gateway, 1 + n % 2).await;
            if let Some(displaced) = last.replace(next) {
                displaced.await.unwrap();
            }
            // Their libraries wait a little before they come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let event = gateway.event("take its session from each other, both alive");
    assert_eq!(event.device.as_deref(), Some("a"));
    let id = gateway.id("a");
    gateway.wait("the quarantine", || {
        let now = time::OffsetDateTime::now_utc();
        gateway
            .registry
            .get(&id, now)
            .is_some_and(|r| r.state.as_str() == "quarantined")
    });
}

#[test]
fn a_device_that_moves_to_another_address_and_back_is_not_suspected() {
    let gateway = Gateway::start();
    gateway.device("a");
    gateway.runtime.block_on(async {
        let mut dead = Vec::new();
        for n in 0..6 {
            // The connection before is never heard of again.
            let mut stream = open_from(&gateway, "a", 1 + n % 2).await;
            stream.write_all(CONNECT).await.unwrap();
            stream.read_u8().await.unwrap();
            dead.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    });
    let events = gateway.registry.events().latest(Some("a"), 100);
    assert!(
        !events.iter().any(|e| e.reason.contains("cloned")),
        "{events:#?}"
    );
}
