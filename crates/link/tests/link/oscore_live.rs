//! The OSCORE interop list with aiocoap on the other side, over UDP, and restarts of either side (RFC 8613, appendix B.1).

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stockade_link::coap::message::{Code, Message, Type};

use crate::interop::client::{Client, Link};
use crate::interop::server::{Server, Stored};
use crate::python::{Peer, say};

/// Where aiocoap keeps its numbers.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _not_there = fs_err::remove_dir_all(&folder);
    folder
}

fn socket(wait: Duration) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(wait)).unwrap();
    socket
}

/// The way to a server on this machine.
struct Udp {
    socket: UdpSocket,
    /// Requests that were sent.
    asked: usize,
}

impl Udp {
    fn to(port: u16) -> Self {
        let socket = socket(Duration::from_secs(20));
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        Self { socket, asked: 0 }
    }

    /// A test, and how many requests it took.
    fn run(&mut self, client: &mut Client, test: u8) -> usize {
        self.asked = 0;
        client.run(test, self);
        say(&format!("test {test}: as it should be"));
        self.asked
    }
}

impl Link for Udp {
    fn send(&mut self, datagram: &[u8]) {
        self.asked += 1;
        self.socket.send(datagram).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap();
            let message = Message::parse(&buffer[..length]).unwrap();
            if message.kind == Type::Confirmable {
                let [high, low] = message.id.to_be_bytes();
                self.socket.send(&[0x60, 0, high, low]).unwrap();
            }
            if message.code != Code::EMPTY {
                return buffer[..length].to_vec();
            }
        }
    }
}

/// aiocoap as the server of the list, and its port.
fn server(folder: &Path) -> Option<(Peer, Udp)> {
    let peer = Peer::start("oscore_peer.py", &["server", folder.to_str()?])?;
    let port = peer.line().parse().unwrap();
    Some((peer, Udp::to(port)))
}

#[test]
fn aiocoap_answers_the_list_and_asks_who_is_fresh_after_its_restart() {
    let folder = folder("oscore-server");
    let Some((peer, mut link)) = server(&folder) else {
        return;
    };
    let mut client = Client::new(Stored::default());
    for test in (0..=15).chain([17]) {
        link.run(&mut client, test);
    }
    // It is killed, as by a loss of power: what it has seen is not known any more.
    drop(peer);
    let (_peer, mut link) = server(&folder).unwrap();
    assert_eq!(link.run(&mut client, 1), 2);
    assert_eq!(link.run(&mut client, 8), 1);
    // Our own restart: no number is used twice.
    let mut client = Client::new(client.stored);
    assert_eq!(link.run(&mut client, 1), 1);
    assert_eq!(link.run(&mut client, 15), 2);
}

/// `coap-server` of libcoap, which ends with the test.
struct Unaware(Child);

impl Drop for Unaware {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn libcoap_without_oscore_says_so() {
    let free = socket(Duration::from_secs(1)).local_addr().unwrap();
    let port = free.port().to_string();
    let server = Command::new("coap-server-notls")
        .args(["-A", "127.0.0.1", "-p", &port])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(server) = server else {
        return say("skipped: no coap-server-notls (libcoap3-bin)");
    };
    let _server = Unaware(server);
    let mut link = Udp::to(free.port());
    // A ping, until it is there to answer with a reset (RFC 7252, section 4.3).
    let wait = Duration::from_millis(50);
    link.socket.set_read_timeout(Some(wait)).unwrap();
    let mut answer = [0; 16];
    let start = Instant::now();
    let there = loop {
        let _not_yet = link.socket.send(&[0x40, 0, 0, 1]);
        if link.socket.recv(&mut answer).is_ok() {
            break true;
        }
        if start.elapsed() > Duration::from_secs(20) {
            break false;
        }
    };
    assert!(there && answer[0] == 0x70);
    let wait = Duration::from_secs(20);
    link.socket.set_read_timeout(Some(wait)).unwrap();
    link.run(&mut Client::new(Stored::default()), 16);
}

/// aiocoap runs these tests with our server.
fn asks(folder: &Path, server: &mut Server, tests: &[u8]) -> Option<usize> {
    let socket = socket(Duration::from_millis(50));
    let port = socket.local_addr().ok()?.port().to_string();
    let tests: Vec<_> = tests.iter().map(u8::to_string).collect();
    let mut arguments = vec!["client", folder.to_str()?, &port];
    arguments.extend(tests.iter().map(String::as_str));
    let mut peer = Peer::start("oscore_peer.py", &arguments)?;
    let (mut buffer, mut from, mut asked) = ([0; 2048], None, 0);
    let well = loop {
        if let Some(well) = peer.ended() {
            break well;
        }
        let answer = match socket.recv_from(&mut buffer) {
            Ok((length, sender)) => {
                from = Some(sender);
                let answer = server.handle(&buffer[..length]);
                asked += usize::from(answer.is_some());
                answer
            }
            Err(_) => server.notification(),
        };
        if let (Some(answer), Some(from)) = (answer, from) {
            socket.send_to(&answer, from).unwrap();
        }
    };
    for test in tests {
        let said = peer.line();
        assert_eq!(said, format!("test {test}: as it should be"));
        say(&said);
    }
    assert!(well);
    Some(asked)
}

#[test]
fn aiocoap_asks_through_the_list_and_shows_that_it_is_fresh_after_our_restart() {
    let folder = folder("oscore-client");
    let mut server = Server::new(Stored::default());
    let tests: Vec<_> = (0..=15).chain([17]).collect();
    if asks(&folder, &mut server, &tests).is_none() {
        return;
    }
    assert_eq!(asks(&folder, &mut Server::unaware(), &[16]), Some(1));
    let mut server = Server::new(server.stored);
    assert_eq!(asks(&folder, &mut server, &[1, 8, 2, 1]), Some(6));
    // And after its own restart there is nothing to show.
    assert_eq!(asks(&folder, &mut server, &[1, 15]), Some(3));
}
