//! Crowds, stalling and quarrelling peers: those who mean well get through, and memory stays bounded.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, Socket, Type};
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{eventually, pause, say, succeed, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::{self, Five};

/// What an honest device may wait: a second for a slot, and a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// More memory than this would mean that somebody can make us keep things.
const MEMORY: u64 = 200 << 20;

fn tools_are_missing() -> bool {
    without(&["openssl", "curl"])
}

fn connect_from(source: Ipv4Addr, port: u16) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect_timeout(&gateway.into(), Duration::from_secs(5))?;
    Ok(socket.into())
}

/// Connections that say `words` and no more.
fn crowd(port: u16, count: u32, words: &[u8], source: impl Fn(u32) -> Ipv4Addr) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for number in 0..count {
        // The gateway may send some away while others still come.
        if let Ok(mut socket) = connect_from(source(number), port) {
            drop(socket.write_all(words));
            crowd.push(socket);
        }
    }
    crowd
}

fn spread(number: u32) -> Ipv4Addr {
    let [_, _, high, low] = (number / 8 + 257).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low.max(1))
}

/// A real `ClientHello`.
fn hello() -> Result<Vec<u8>> {
    let config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}

fn an_honest_device_connects(device: &Device, when: &str) -> Result<()> {
    let begun = Instant::now();
    eventually(&format!("a device connects {when}"), PATIENCE, || {
        Ok(Connection::resume(device, &device.id, Five(true)).ok())
    })?;
    say(&format!("{when}: connected after {:?}", begun.elapsed()));
    Ok(())
}

fn the_console_answers(gateway: &Gateway, when: &str) -> Result<()> {
    let url = format!("https://{}/login", gateway.address("console")?);
    let asked = ["--silent", "--insecure", "--max-time", "10", "--fail", &url];
    let page = succeed(Command::new("curl").args(asked)).with_context(|| when.to_owned())?;
    ensure!(page.contains("password"), "{when}: {page}");
    Ok(())
}

fn memory_is_bounded(gateway: &Gateway, when: &str) -> Result<()> {
    let status = fs_err::read_to_string(format!("/proc/{}/status", gateway.process()))?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok())
        .context("no VmRSS")?
        * 1024;
    say(&format!("{when}: {} MB resident", resident >> 20));
    ensure!(resident < MEMORY, "{when}: {resident} bytes resident");
    ensure!(!gateway.said().contains("panicked"), "{}", gateway.said());
    Ok(())
}

/// How many sockets this process may hold for the crowd.
fn sockets() -> Result<u32> {
    let limits = fs_err::read_to_string("/proc/self/limits")?;
    let open = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u32>().ok())
        .unwrap_or(1_024);
    Ok(10_000.min(open * 3 / 4))
}

#[test]
fn ten_thousand_half_open_connections_keep_nobody_out() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let count = sockets()?;
    say(&format!("{count} connections"));
    let silent = crowd(device.port, count, &[], spread);
    an_honest_device_connects(&device, "beside silent connections")?;
    the_console_answers(&gateway, "beside silent connections")?;
    memory_is_bounded(&gateway, "beside silent connections")?;
    drop(silent);

    // All slots of the device's own address, and all there are, held by those who said hello.
    let hello = hello()?;
    let here = crowd(device.port, 600, &hello, |_| Ipv4Addr::LOCALHOST);
    an_honest_device_connects(&device, "beside 600 stalled handshakes of its own address")?;
    let all = crowd(device.port, 2_000, &hello, spread);
    an_honest_device_connects(&device, "beside 2,000 stalled handshakes")?;
    memory_is_bounded(&gateway, "beside 2,000 stalled handshakes")?;
    drop((here, all));

    let console = gateway.address("console")?.port();
    let silent = crowd(console, 700, &[], |_| Ipv4Addr::LOCALHOST);
    the_console_answers(&gateway, "beside 700 silent connections to it")?;
    drop(silent);
    let est = gateway.address("est")?.port();
    let silent = crowd(est, 700, &hello, |_| Ipv4Addr::LOCALHOST);
    eventually("a device enrols", PATIENCE, || {
        Ok(gateway
            .enrol("probe", &format!("yard-{}", gateway.said().len()))
            .ok())
    })?;
    drop(silent);
    Ok(())
}

/// Sends a byte a second; how long the gateway bears it.
fn drip(mut stream: impl std::io::Read + std::io::Write, bytes: &[u8]) -> Duration {
    let begun = Instant::now();
    for byte in bytes.iter().chain(std::iter::repeat(&b'a')).take(30) {
        if stream
            .write_all(&[*byte])
            .and_then(|()| stream.flush())
            .is_err()
        {
            break;
        }
        // The socket's time-out is the second between two bytes.
        match stream.read(&mut [0; 64]) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            Ok(_) | Err(_) => {}
        }
    }
    begun.elapsed()
}

#[test]
fn a_byte_a_second_is_not_borne_for_long() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let hello = hello()?;
    let mut dripping = Vec::new();
    for face in ["mqtt", "est", "console"] {
        let (address, hello) = (gateway.address(face)?, hello.clone());
        dripping.push(std::thread::spawn(move || -> Result<_> {
            let tcp = TcpStream::connect(address)?;
            tcp.set_read_timeout(Some(Duration::from_secs(1)))?;
            Ok((face, drip(tcp, &hello)))
        }));
    }
    let slow = device.clone();
    dripping.push(std::thread::spawn(move || -> Result<_> {
        let mut packet = Vec::new();
        wire::connect(Five(true), "porch/slow", &mut packet);
        let (mut connection, begun) = (Connection::bare(&slow, Five(true))?, Instant::now());
        for byte in packet {
            let sent = connection.send(&[byte]);
            if sent.is_err() || connection.packet(Duration::from_secs(1)).is_err() {
                break;
            }
        }
        Ok(("CONNECT", begun.elapsed()))
    }));
    an_honest_device_connects(&device, "beside slow ones")?;
    for thread in dripping {
        let joined = thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        let (face, took) = joined?;
        assert!(
            took < Duration::from_secs(20),
            "{face} bore it for {took:?}"
        );
    }
    memory_is_bounded(&gateway, "after slow ones")
}

#[test]
fn requests_too_large_are_refused_without_being_kept() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::start()?;
    let large = gateway.folder().join("large");
    fs_err::File::create(&large)?.set_len(100 << 20)?;
    let body = format!("@{}", large.display());
    let header = format!("X-Long: {}", "a".repeat(100_000));
    let faces = [
        ("est", "/.well-known/est/simpleenroll"),
        ("console", "/login"),
    ];
    for (face, path) in faces {
        let url = format!("https://{}{path}", gateway.address(face)?);
        let status = |arguments: &[&str]| -> Result<String> {
            let mut command = Command::new("curl");
            command.args(["--silent", "--insecure", "--max-time", "10"]);
            command.args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
            let output = command.args(arguments).arg(&url).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let asked = status(&["--data-binary", &body])?;
        let sent = status(&["--data-binary", &body, "--header", "Expect:"])?;
        let chunked = "Transfer-Encoding: chunked";
        let pieces = status(&["--data-binary", &body, "--header", chunked])?;
        if face == "est" {
            assert_eq!(asked, "413", "who asks first is told");
        }
        // Who goes on sending may miss the answer: it is cut off (RFC 9112 §9.6).
        for told in [asked, sent, pieces] {
            assert!(
                ["413", "100", "000"].contains(&told.as_str()),
                "{face}: {told}"
            );
        }
        let long = status(&["--header", &header])?;
        assert!(["431", "000"].contains(&long.as_str()), "{face}: {long}");
        memory_is_bounded(&gateway, face)?;
    }
    Ok(())
}

/// Is the device at this address: connects, pings, and connects again when it is cut off.
fn live_at(source: Ipv4Addr, device: &Device, over: &AtomicBool) {
    let over = || over.load(Ordering::Relaxed);
    while !over() {
        let Ok(tcp) = connect_from(source, device.port) else {
            return;
        };
        drop(tcp.set_read_timeout(Some(Duration::from_millis(100))));
        let Ok((mut connection, _)) = Connection::resume_on(tcp, device, &device.id, Five(true))
        else {
            pause(Duration::from_millis(100));
            continue;
        };
        // A PINGREQ (§3.12), until it is displaced.
        while !over()
            && connection.send(&[0xC0, 0x00]).is_ok()
            && connection
                .packet(Duration::from_millis(50))
                .is_ok_and(|packet| packet.is_none_or(|(first, _)| first >> 4 != wire::DISCONNECT))
        {
        }
    }
}

#[test]
fn a_cloned_key_is_an_alarm_and_a_roaming_device_is_not() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let roaming = gateway.enrol("probe", "roaming")?;
    for turn in 0..20_u8 {
        let tcp = connect_from(Ipv4Addr::new(127, 0, 0, 2 + turn % 2), roaming.port)?;
        tcp.set_read_timeout(Some(Duration::from_millis(100)))?;
        let slot = format!("roaming/{}", turn % 3);
        Connection::resume_on(tcp, &roaming, &slot, Five(true))?;
    }
    assert_eq!(gateway.state("roaming")?, "active");

    let cloned = gateway.enrol("probe", "cloned")?;
    let over = Arc::new(AtomicBool::new(false));
    let places = [2, 3].map(|last| {
        let (device, over) = (cloned.clone(), Arc::clone(&over));
        std::thread::spawn(move || live_at(Ipv4Addr::new(127, 0, 0, last), &device, &over))
    });
    let alarm = gateway.event("an alarm for the cloned key", |event| {
        event["outcome"] == "alarm"
            && event["device"] == "cloned"
            && event["reason"].to_string().contains("cloned key")
    });
    let quarantined = alarm.and_then(|_| {
        eventually("quarantine", PATIENCE, || {
            Ok((gateway.state("cloned")? == "quarantined").then_some(()))
        })
    });
    // They quarrel on for a while, of which nothing more must be told.
    pause(Duration::from_secs(3));
    over.store(true, Ordering::Relaxed);
    quarantined?;
    for place in places {
        place
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    }
    let events = gateway.json(&["events", "--limit", "1000"])?;
    let events = events["events"].as_array().context("no events")?;
    let alarms = events.iter().filter(|e| e["outcome"] == "alarm").count();
    assert!(alarms <= 2, "{alarms} alarms of the same thing");
    Ok(())
}
