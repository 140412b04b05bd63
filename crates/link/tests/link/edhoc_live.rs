//! A device's endpoint as Initiator, with aiocoap and lakers on the other side, over UDP.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::coap::option;
use stockade_link::credential::IdCred;
use stockade_link::edhoc::{
    ConnectionId, EdhocError, Identity, Initiator, Method, Proposal, Suite,
};
use stockade_link::endpoint::{Event, Failure, Output, PeerId};

use crate::endpoint::{Device, Flash, GATEWAY, SIZE, crypto, device, party};
use crate::python::Peer;

const US: PeerId = PeerId::GATEWAY;

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// aiocoap, which has this key, and knows the device with that key; and its port.
fn server(port: u16, own: u8, peer: u8) -> Option<(Peer, u16)> {
    let credential = |seed, name| hex(party(seed, name).1.bytes);
    let arguments = [
        port.to_string(),
        credential(own, "gateway"),
        hex(&[own; 32]),
        credential(peer, "cam-2"),
    ];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let peer = Peer::start("edhoc_peer.py", &arguments)?;
    let port = peer.line().parse().unwrap();
    Some((peer, port))
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Response(Code, Vec<u8>),
    Notified(Vec<u8>),
    Failed(Failure),
}

/// A device and its socket.
struct World {
    device: Device,
    socket: UdpSocket,
    since: Instant,
    /// Its time runs ahead where nothing happens: for what is expected to fail.
    hurries: bool,
    ahead: u64,
    /// What was sent and received.
    sent: Vec<Vec<u8>>,
    came: Vec<Vec<u8>>,
}

impl World {
    fn new(port: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        Self {
            device: device(1, "cam-2", &Flash::default(), 0),
            socket,
            since: Instant::now(),
            hurries: false,
            ahead: 0,
            sent: Vec::new(),
            came: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        self.ahead + u64::try_from(self.since.elapsed().as_millis()).unwrap()
    }

    /// Goes on until something is told.
    fn wait(&mut self) -> Told {
        let mut buffer = [0; 1_500];
        loop {
            assert!(self.since.elapsed().as_secs() < 40, "it takes too long");
            let now = self.now();
            while let Some(output) = self.device.poll(now, &mut buffer) {
                match output {
                    Output::Send(_, length) => {
                        // Nobody may be there to take it.
                        let _refused = self.socket.send(&buffer[..length]);
                        self.sent.push(buffer[..length].to_vec());
                    }
                    Output::Failed(_, why) => return Told::Failed(why),
                }
            }
            let Ok(length) = self.socket.recv(&mut buffer) else {
                if self.hurries {
                    let next = self.device.next_wake(now).unwrap_or(now);
                    self.ahead += next.saturating_sub(self.now());
                }
                continue;
            };
            self.came.push(buffer[..length].to_vec());
            if let Some(told) = self.take(&mut buffer[..length]) {
                return told;
            }
        }
    }

    fn take(&mut self, datagram: &mut [u8]) -> Option<Told> {
        let now = self.now();
        Some(match self.device.received(now, GATEWAY, datagram)? {
            Event::Response { code, body, .. } => Told::Response(code, body.payload().to_vec()),
            Event::Notified { body, .. } => Told::Notified(body.payload().to_vec()),
            Event::Request { .. } => panic!("nobody may ask"),
        })
    }

    fn get(&mut self) -> Told {
        let now = self.now();
        self.device.get(now, US, "value").unwrap();
        self.wait()
    }

    fn put(&mut self, value: &str) -> Told {
        let now = self.now();
        let put = self
            .device
            .request(now, US, (Code::PUT, "value"), value.as_bytes());
        put.unwrap();
        self.wait()
    }

    /// The datagrams since `from` with this option.
    fn with(&self, from: usize, number: u16) -> usize {
        let with = |datagram: &&Vec<u8>| {
            let message = Message::parse(datagram).unwrap();
            message.body.options().any(|(its, _)| its == number)
        };
        self.sent[from..].iter().filter(with).count()
    }
}

fn changed() -> Told {
    Told::Response(Code::CHANGED, Vec::new())
}

#[test]
fn a_device_gets_puts_and_observes_at_aiocoap() {
    let Some((peer, port)) = server(0, 200, 1) else {
        return;
    };
    let mut world = World::new(port);
    assert_eq!(world.put("one"), changed());
    assert_eq!(peer.line(), "put one");
    // Two datagrams: message_1, and message_3 with the request (RFC 9668).
    assert_eq!(world.sent.len(), 2);
    assert_eq!(world.with(0, option::EDHOC), 1);
    assert_eq!(world.get(), Told::Response(Code::CONTENT, b"one".to_vec()));

    world.device.observe(US, "count").unwrap();
    assert_eq!(world.wait(), Told::Notified(b"1".to_vec()));
    assert_eq!(peer.line(), "observers 1");
    let now = world.now();
    let two = world.device.request(now, US, (Code::PUT, "value"), b"two");
    two.unwrap();
    let mut told = [world.wait(), world.wait()];
    told.sort_by_key(|told| matches!(told, Told::Notified(_)));
    assert_eq!(told, [changed(), Told::Notified(b"2".to_vec())]);
    assert_eq!(peer.line(), "put two");

    // Each datagram once more, and as if it were another message: nothing is done twice.
    for datagram in &world.sent.clone() {
        for other in [0, 0xff] {
            let mut datagram = datagram.clone();
            datagram[3] ^= other;
            world.socket.send(&datagram).unwrap();
        }
    }
    for datagram in &world.came.clone() {
        assert_eq!(world.take(&mut datagram.clone()), None);
    }
    assert_eq!(world.get(), Told::Response(Code::CONTENT, b"two".to_vec()));
    // aiocoap forgets an observation whose token comes again; but no value was put again.
    while let Some(line) = peer.heard() {
        assert_eq!(line, "observers 0");
    }
}

#[test]
fn after_a_restart_of_aiocoap_or_the_device_there_is_a_new_session() {
    let Some((peer, port)) = server(0, 200, 1) else {
        return;
    };
    let mut world = World::new(port);
    assert_eq!(world.put("one"), changed());
    drop(peer);
    let (peer, _) = server(port, 200, 1).unwrap();
    let before = world.sent.len();
    assert_eq!(world.put("two"), changed());
    assert_eq!(peer.line(), "put two");
    assert_eq!(world.with(before, option::EDHOC), 1);
    // The device starts anew, at another port of its own.
    let mut world = World::new(port);
    assert_eq!(world.get(), Told::Response(Code::CONTENT, b"two".to_vec()));
}

#[test]
fn with_a_wrong_key_nothing_is_said() {
    // aiocoap has another key than the device was told; then it is the device.
    for (own, peer) in [(199, 1), (200, 2)] {
        let Some((peer, port)) = server(0, own, peer) else {
            return;
        };
        let mut world = World::new(port);
        world.hurries = true;
        assert!(matches!(world.put("secret"), Told::Failed(_)));
        assert!(!world.came.is_empty());
        if own == 199 {
            // Its message_2 is not believed: message_3, which would say who we are, is not sent.
            assert_eq!(world.with(0, option::OSCORE), 0);
        }
        assert_eq!(peer.heard(), None);
    }
}

/// POST to `/.well-known/edhoc`.
fn post(socket: &UdpSocket, id: u16, payload: &[u8]) -> (Code, Vec<u8>) {
    let (mut buffer, mut answer) = ([0; SIZE], [0; SIZE]);
    let token = Token::new(&id.to_be_bytes()).unwrap();
    let mut builder = Builder::new(&mut buffer, Type::Confirmable, Code::POST, id, &token);
    builder.path(".well-known/edhoc");
    let request = builder.payload(payload).unwrap();
    socket.send(request).unwrap();
    let length = socket.recv(&mut answer).unwrap();
    let message = Message::parse(&answer[..length]).unwrap();
    assert_eq!(message.token, token);
    (message.code, message.body.payload().to_vec())
}

#[test]
fn lakers_proves_itself_with_message_4() {
    let Some((_peer, port)) = server(0, 200, 1) else {
        return;
    };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let wait = Some(Duration::from_secs(20));
    socket.set_read_timeout(wait).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut crypto = crypto(5);
    let (key, credential) = party(1, "cam-2");
    let own = Identity {
        id_cred: IdCred::Kid(&[1]),
        credential,
        key: &key,
    };
    let mut handshake = |id: u16, damage: u8| {
        let proposal = Proposal {
            method: Method::StaticStatic,
            suites: &[Suite::S2],
            c_i: ConnectionId::new(&[0x17]).unwrap(),
            ead_1: &[],
        };
        let (mut buffer, mut scratch) = ([0; SIZE], [0; SIZE]);
        let (state, message_1) = Initiator::start(&mut crypto, &proposal, &mut buffer).unwrap();
        let (code, mut message_2) = post(&socket, id, &[&[0xf5], message_1].concat());
        assert_eq!(code, Code::CHANGED);
        let got = state.message_2(&mut crypto, &mut message_2, &[]).unwrap();
        let c_r = got.c_r();
        let gateway = party(200, "gateway").1;
        let verified = got.verify(&mut crypto, &gateway, &own, &mut scratch);
        let third = verified.unwrap().message_3(&mut crypto, &[], &mut buffer);
        let (_, awaited, message_3) = third.unwrap();
        let mut third = [c_r.as_bytes(), message_3].concat();
        *third.last_mut().unwrap() ^= damage;
        let (code, mut message_4) = post(&socket, id + 1, &third);
        (
            code,
            awaited.message_4(&mut crypto, &mut message_4, &[]).err(),
        )
    };
    assert_eq!(handshake(1, 0), (Code::CHANGED, None));
    // Damaged, it is refused, and the refusal is taken for nothing else.
    let (code, error) = handshake(3, 1);
    assert!(!code.is_success(), "{code:?}");
    assert_eq!(error, Some(EdhocError::Malformed));
}
