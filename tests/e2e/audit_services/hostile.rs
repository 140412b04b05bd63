//! Peers that stall, babble, lie and close; and one that leads to others.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use stockade_controls::engine::Verdict;
use stockade_e2e::netlab::space::unable;
use stockade_probe::host::Kind;
use stockade_probe::judge;

use crate::lab::{DEVICE, Lab, THIRD, options, print};

/// What a peer does with a connection.
type Does = fn(TcpStream);

fn stall(mut stream: TcpStream) {
    drop(stream.read_to_end(&mut Vec::new()));
}

fn babble(mut stream: TcpStream) {
    while stream.write_all(&[b'x'; 4096]).is_ok() {}
}

fn close(stream: TcpStream) {
    drop(stream);
}

/// A byte now and then, for ever.
fn drip(mut stream: TcpStream) {
    while stream.write_all(b"H").is_ok() {
        stockade_e2e::tools::pause(Duration::from_millis(50));
    }
}

fn answer(mut stream: TcpStream, said: &[u8]) {
    drop(stream.read(&mut [0; 4096]));
    drop(stream.write_all(said));
    stall(stream);
}

/// A body that is said to be longer than anything.
fn lie(stream: TcpStream) {
    answer(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\nTransfer-Encoding: x\r\n\r\nhello");
}

/// SSH with a packet of 4 GiB.
fn ssh(mut stream: TcpStream) {
    drop(stream.write_all(b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\x14"));
    stall(stream);
}

/// A head of HTTP that never ends.
fn head(mut stream: TcpStream) {
    drop(stream.read(&mut [0; 4096]));
    drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"));
    while stream
        .write_all(b"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
        .is_ok()
    {}
}

const PEERS: [(u16, Does); 7] = [
    (7001, stall),
    (7002, babble),
    (7003, close),
    (7004, drip),
    (7005, lie),
    (7006, ssh),
    (7007, head),
];

/// Serves every connection to a port of the device in a thread of its own. The threads end with the test's process.
fn serve(lab: &Lab, port: u16, does: impl Fn(TcpStream) + Clone + Send + 'static) -> Result<()> {
    let listener = lab.on_device(|| Ok(TcpListener::bind(("0.0.0.0", port))?))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let does = does.clone();
            std::thread::spawn(move || does(stream));
        }
    });
    Ok(())
}

#[test]
fn peers_that_stall_babble_lie_and_close_cost_little_and_pass_nothing() -> Result<()> {
    if unable(&["ip"]) {
        return Ok(());
    }
    let lab = Lab::new()?;
    for (port, does) in PEERS {
        serve(&lab, port, does)?;
    }
    let mut options = options();
    options.line.timeout = Duration::from_millis(300);
    options.ports = "7001-7007".parse().ok().context("ports")?;
    options.try_credentials = true;
    let start = Instant::now();
    let facts = lab.audit(DEVICE, &options)?;
    print("peers that stall, babble, close, drip and lie:", &facts);
    assert!(
        start.elapsed() < Duration::from_mins(1),
        "{:?}",
        start.elapsed()
    );
    assert!(facts.spent.bytes < 4 << 20, "{} bytes", facts.spent.bytes);
    assert_eq!(facts.tcp.len(), PEERS.len());
    for port in &facts.tcp {
        let kind = port.service.as_ref().map_or(Kind::Unknown, |it| it.kind);
        let wanted = match port.port {
            7005 => Kind::Http,
            7006 => Kind::Ssh,
            _ => Kind::Unknown,
        };
        assert_eq!(kind, wanted, "{}", port.port);
    }
    for outcome in judge(&facts, None) {
        let about_ports = [
            "protocols/plain",
            "programs/plain-server",
            "credentials/open-service",
        ];
        if about_ports.contains(&outcome.rule.id) {
            assert!(
                matches!(outcome.verdict, Verdict::CannotTell(..)),
                "{}",
                outcome.rule.id
            );
        }
    }
    // The time of a host is kept to, whatever its ports do.
    options.line.total = Duration::from_secs(3);
    let start = Instant::now();
    let facts = lab.audit(DEVICE, &options)?;
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    let unread = !facts.unread.is_empty() || facts.tcp.iter().any(|it| it.service.is_err());
    assert!(unread, "what was not asked is told");
    Ok(())
}

/// Answers every search with these places.
fn announce(lab: &Lab, places: &[String]) -> Result<()> {
    let socket = lab.on_device(|| {
        let socket = UdpSocket::bind("0.0.0.0:1900")?;
        socket.join_multicast_v4(&"239.255.255.250".parse()?, &DEVICE.parse()?)?;
        Ok(socket)
    })?;
    let places = places.to_vec();
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut bytes) {
            for (number, place) in places.iter().enumerate() {
                let text = format!(
                    "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:{number}::upnp:rootdevice\r\nLOCATION: {place}\r\n\r\n"
                );
                drop(socket.send_to(text.as_bytes(), from));
            }
        }
    });
    Ok(())
}

fn page(stream: TcpStream, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    answer(stream, &[head.as_bytes(), body.as_bytes()].concat());
}

/// A redirect, a base of another host, services of another host, entities, and one from there.
fn serve_what_leads_away(lab: &Lab) -> Result<()> {
    let away = format!("http://{THIRD}/");
    serve(lab, 5001, move |stream| {
        answer(
            stream,
            format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{THIRD}/x\r\nContent-Length: 0\r\n\r\n"
            )
            .as_bytes(),
        );
    })?;
    serve(lab, 5002, move |stream| {
        let services = format!(
            "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>{away}ctl</controlURL>\
             <eventSubURL>{away}evt</eventSubURL></service>"
        );
        page(
            stream,
            &format!(
                "<root><URLBase>{away}</URLBase><device><serviceList>{services}</serviceList></device></root>"
            ),
        );
    })?;
    serve(lab, 5003, |stream| {
        page(
            stream,
            &format!(
                "<!DOCTYPE r [<!ENTITY x SYSTEM \"http://{THIRD}/e\">]><root><device>&x;</device></root>"
            ),
        );
    })?;
    serve(lab, 5004, |stream| {
        let entity = |(less, more): (u8, u8)| format!("<!ENTITY a{more} \"&a{less};&a{less};\">");
        let bomb: Vec<String> = (0..29).zip(1..).map(entity).collect();
        let bomb = format!("<!DOCTYPE r [<!ENTITY a0 \"ha\">{}", bomb.concat());
        page(stream, &format!("{bomb}]><root>&a29;</root>"));
    })?;
    serve(lab, 80, move |stream| {
        answer(
            stream,
            format!("HTTP/1.1 301 Moved\r\nLocation: http://{THIRD}/\r\nContent-Length: 0\r\n\r\n")
                .as_bytes(),
        );
    })?;
    Ok(())
}

#[test]
fn nobody_leads_the_auditor_to_another_host() -> Result<()> {
    if unable(&["ip"]) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _third = lab.on_third(|| Ok(TcpListener::bind("0.0.0.0:80")?))?;
    serve_what_leads_away(&lab)?;
    let own = (5001..=5004).map(|port| format!("http://{DEVICE}:{port}/d.xml"));
    let others = [
        format!("http://{THIRD}/d.xml"),
        format!("http://{DEVICE}@{THIRD}/d.xml"),
        "http://localhost/d.xml".to_owned(),
        "file:///etc/passwd".to_owned(),
    ];
    let places: Vec<String> = own.chain(others).collect();
    announce(&lab, &places)?;
    let before = lab.ears_of_third()?;
    let mut options = options();
    options.line.timeout = Duration::from_millis(500);
    options.active = true;
    options.ports = "80".parse().ok().context("ports")?;
    let facts = lab.audit(DEVICE, &options)?;
    print("a device that leads to others:", &facts);
    assert_eq!(lab.ears_of_third()?, before, "the third host saw nothing");
    let upnp = facts.upnp.as_ref().context("asked")?;
    assert_eq!(upnp.elsewhere.len(), 4);
    assert_eq!(
        upnp.devices.len(),
        1,
        "the one description without entities"
    );
    assert!(upnp.gateways.is_empty() && upnp.events.is_empty());
    assert_eq!(
        facts.unread.len(),
        4,
        "a redirect, two bombs and a place elsewhere: {:?}",
        facts.unread
    );
    // The ears hear: a packet of ours arrives there.
    let to: SocketAddr = format!("{THIRD}:80").parse()?;
    lab.on_auditor(|| Ok(TcpStream::connect_timeout(&to, Duration::from_secs(2)).map(drop)?))?;
    assert!(lab.ears_of_third()? > before);
    Ok(())
}
