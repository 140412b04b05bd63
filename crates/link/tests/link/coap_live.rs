//! CoAP with aiocoap on the other side, over UDP.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use stockade_link::coap::block::{self, Assembly, Block};
use stockade_link::coap::exchange::{Exchanges, Output, Received, empty};
use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::coap::option::{
    self,
    observe::{DEREGISTER, REGISTER},
};

use crate::python::Peer;

/// A node on a socket; peers are ports of this machine.
struct Udp {
    socket: UdpSocket,
    node: Exchanges<u16, 4, 16, 1_200>,
    since: Instant,
    buffer: Vec<u8>,
}

impl Udp {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let wait = Some(Duration::from_millis(5));
        socket.set_read_timeout(wait).expect("a time");
        Self {
            socket,
            node: Exchanges::new(77),
            since: Instant::now(),
            buffer: vec![0; 1_500],
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn transmit(&self, to: u16, datagram: &[u8]) {
        let sent = self.socket.send_to(datagram, (Ipv4Addr::LOCALHOST, to));
        sent.expect("loopback takes it");
    }

    /// Sends what is due and takes what comes in the next milliseconds. Nobody answers in time: a panic.
    fn turn(&mut self) -> Option<(u16, Vec<u8>)> {
        let now = self.now();
        assert!(now < 30_000, "it takes too long");
        while let Some(output) = self.node.poll(now) {
            let Output::Send(to, datagram) = output else {
                panic!("{output:?}")
            };
            let sent = self.socket.send_to(datagram, (Ipv4Addr::LOCALHOST, to));
            sent.expect("loopback takes it");
        }
        let (length, from) = self.socket.recv_from(&mut self.buffer).ok()?;
        Some((from.port(), self.buffer[..length].to_vec()))
    }

    /// A request and its response, which comes in the acknowledgement or later.
    fn ask(&mut self, port: u16, write: impl FnOnce(&mut Builder<'_>), body: &[u8]) -> Vec<u8> {
        let (id, mut buffer) = (self.node.next_id(), [0; 1_200]);
        let code = if body.is_empty() {
            Code::GET
        } else {
            Code::PUT
        };
        let token = Token::new(&id.to_be_bytes()).expect("short");
        let mut builder = Builder::new(&mut buffer, Type::Confirmable, code, id, &token);
        write(&mut builder);
        let request = builder.payload(body).expect("room");
        self.node.send(port, request, 9).expect("room");
        loop {
            let Some((from, datagram)) = self.turn() else {
                continue;
            };
            let now = self.now();
            if let Received::Response { message, request } =
                self.node.received(now, from, &datagram)
            {
                assert_eq!((request, message.token), (Some(id), token));
                self.node.finish(from, id);
                if message.kind == Type::Confirmable {
                    self.node.answer(now, from, &message, &[]).expect("room");
                }
                return datagram;
            }
        }
    }
}

/// What aiocoap asks of us.
struct Server {
    udp: Udp,
    big: Vec<u8>,
    assembly: Assembly,
    observer: Option<(u16, Token)>,
    slow: Option<(u64, u16, Token)>,
    count: u32,
}

impl Server {
    fn request(&mut self, from: u16, message: &Message<'_>) {
        let (body, now) = (message.body, self.udp.now());
        let mut options: Vec<(u16, u32)> = Vec::new();
        let block1 = body.get(option::BLOCK1).and_then(Block::parse);
        let block2 = body.get(option::BLOCK2).and_then(Block::parse);
        let known = [option::URI_PATH, option::URI_HOST, option::URI_PORT];
        let known = [&known[..], &[option::BLOCK1, option::BLOCK2]].concat();
        assert_eq!(body.unknown_critical(&known), None);
        let (code, payload) = if body.path_is("hello") {
            (Code::CONTENT, b"hello".to_vec())
        } else if body.path_is("slow") {
            self.slow = Some((now + 300, from, message.token));
            let answered = self.udp.node.answer(now, from, message, &[]);
            return answered.expect("room");
        } else if body.path_is("count") {
            match body.uint(option::OBSERVE) {
                Some(REGISTER) => {
                    self.observer = Some((from, message.token));
                    options.push((option::OBSERVE, 0));
                }
                Some(DEREGISTER) => self.forget(from, message.token),
                _ => {}
            }
            (Code::CONTENT, self.count.to_string().into_bytes())
        } else if !body.path_is("big") {
            (Code::NOT_FOUND, Vec::new())
        } else if message.code == Code::GET {
            let slice = block::slice(self.big.len(), block2, 4).expect("a block");
            let (block, range) = slice.expect("it is long");
            options.push((option::BLOCK2, block.value()));
            (Code::CONTENT, self.big[range].to_vec())
        } else {
            let block = block1.expect("it is long");
            let (tag, size) = (body.get(option::REQUEST_TAG), body.uint(option::SIZE1));
            let length = body.payload().len();
            let placed = self.assembly.place(block, tag, length, size, 8_000);
            let code = match placed {
                Ok(at) => {
                    self.big.truncate(at);
                    self.big.extend_from_slice(body.payload());
                    // Smaller blocks than aiocoap would send.
                    let smaller = Block::new(block.number, block.more, block.szx.min(4));
                    options.push((option::BLOCK1, smaller.expect("a block").value()));
                    if block.more {
                        Code::CONTINUE
                    } else {
                        Code::CHANGED
                    }
                }
                Err(bad) => bad.code(),
            };
            (code, Vec::new())
        };
        let (kind, mut buffer) = (Type::Acknowledgement, [0; 1_200]);
        let mut builder = Builder::new(&mut buffer, kind, code, message.id, &message.token);
        for (number, value) in options {
            builder.uint(number, value);
        }
        let answer = builder.payload(&payload).expect("room");
        let answered = self.udp.node.answer(now, from, message, answer);
        answered.expect("room");
    }

    /// What is sent without being asked at this moment.
    fn by_itself(&mut self) {
        let (now, mut buffer) = (self.udp.now(), [0; 64]);
        if let Some((_, to, token)) = self.slow.take_if(|slow| slow.0 <= now) {
            let id = self.udp.node.next_id();
            let con = Type::Confirmable;
            let builder = Builder::new(&mut buffer, con, Code::CONTENT, id, &token);
            let response = builder.payload(b"slow").expect("room");
            self.udp.node.send(to, response, 0).expect("room");
        }
        if now / 50 == u64::from(self.count) || !self.udp.node.has_room() {
            return;
        }
        self.count = u32::try_from(now / 50).expect("short");
        if let Some((to, token)) = self.observer {
            let kind = if self.count.is_multiple_of(8) {
                Type::Confirmable
            } else {
                Type::NonConfirmable
            };
            let id = self.udp.node.next_id();
            let mut builder = Builder::new(&mut buffer, kind, Code::CONTENT, id, &token);
            builder.uint(option::OBSERVE, self.count);
            let text = self.count.to_string();
            let datagram = builder.payload(text.as_bytes()).expect("room");
            self.udp.node.send(to, datagram, 0).expect("room");
        }
    }

    fn forget(&mut self, from: u16, token: Token) {
        self.observer.take_if(|observer| *observer == (from, token));
    }
}

#[test]
fn aiocoap_asks_us_for_blocks_late_answers_and_observations() {
    let udp = Udp::new();
    let port = udp.socket.local_addr().unwrap().port().to_string();
    let Some(mut client) = Peer::start("coap_peer.py", &["client", &port]) else {
        return;
    };
    let mut server = Server {
        udp,
        big: Vec::new(),
        assembly: Assembly::default(),
        observer: None,
        slow: None,
        count: 0,
    };
    let mut observed = false;
    let well = loop {
        if let Some(well) = client.ended() {
            break well;
        }
        server.by_itself();
        observed |= server.observer.is_some();
        let Some((from, datagram)) = server.udp.turn() else {
            continue;
        };
        match server.udp.node.received(server.udp.now(), from, &datagram) {
            Received::Request(message) => server.request(from, &message),
            Received::Refused { token, .. } => server.forget(from, token),
            Received::Reset(reset) => server.udp.transmit(from, &reset),
            Received::Nothing | Received::Delivered { .. } => {}
            Received::Response { message, .. } => panic!("{message:?}"),
        }
    };
    assert!(well);
    assert!(observed && server.observer.is_none());
}

fn put(udp: &mut Udp, port: u16, body: &[u8]) {
    let parts = body.chunks(512);
    let last = parts.len() - 1;
    for (number, part) in (0..).zip(parts) {
        let more = usize::try_from(number).is_ok_and(|number| number < last);
        let block = Block::new(number, more, 5).expect("as it should be");
        let write = |builder: &mut Builder<'_>| {
            builder.path("big").uint(option::BLOCK1, block.value());
        };
        let response = udp.ask(port, write, part);
        let message = Message::parse(&response).expect("as it should be");
        let expected = if more { Code::CONTINUE } else { Code::CHANGED };
        assert_eq!(message.code, expected);
        let echoed = message.body.get(option::BLOCK1).and_then(Block::parse);
        assert_eq!(echoed, Some(block));
    }
}

fn get(udp: &mut Udp, port: u16, most: usize) -> Vec<u8> {
    let (mut download, mut came) = (Assembly::default(), Vec::new());
    let mut asked = Block::new(0, false, 5).expect("as it should be");
    loop {
        let write = |builder: &mut Builder<'_>| {
            builder.path("big").uint(option::BLOCK2, asked.value());
        };
        let response = udp.ask(port, write, &[]);
        let message = Message::parse(&response).expect("as it should be").body;
        let block = Block::parse(message.get(option::BLOCK2).expect("as it should be"))
            .expect("as it should be");
        let (tag, length) = (message.get(option::ETAG), message.payload().len());
        let at = download.place(block, tag, length, message.uint(option::SIZE2), most);
        assert_eq!(at, Ok(came.len()));
        came.extend_from_slice(message.payload());
        if !block.more {
            return came;
        }
        asked = download.next(block).expect("as it should be");
    }
}

#[test]
fn we_ask_aiocoap_for_blocks_late_answers_and_observations() {
    let Some(server) = Peer::start("coap_peer.py", &["server"]) else {
        return;
    };
    let port = server.line().parse().unwrap();
    let mut udp = Udp::new();

    let body: Vec<u8> = (0..5_000_u16)
        .map(|number| number.to_be_bytes()[1])
        .collect();
    put(&mut udp, port, &body);
    assert_eq!(get(&mut udp, port, body.len()), body);

    let slow = |builder: &mut Builder<'_>| _ = builder.path("slow");
    let response = udp.ask(port, slow, &[]);
    assert_eq!(Message::parse(&response).unwrap().body.payload(), b"slow");

    let observe = |builder: &mut Builder<'_>| {
        builder.uint(option::OBSERVE, REGISTER).path("count");
    };
    let response = udp.ask(port, observe, &[]);
    let first = Message::parse(&response).unwrap();
    let mut newest = first.body.uint(option::OBSERVE).unwrap();
    assert_eq!(server.line(), "observers 1");
    let mut notified = 0;
    // Five are taken, then each is refused until that was heard.
    while server.heard().as_deref() != Some("observers 0") {
        let Some((from, datagram)) = udp.turn() else {
            continue;
        };
        let now = udp.now();
        if let Received::Response { message, request } = udp.node.received(now, from, &datagram) {
            assert_eq!((request, message.token), (None, first.token));
            notified += 1;
            if notified > 5 {
                udp.transmit(from, &empty(Type::Reset, message.id));
                continue;
            }
            let sequence = message.body.uint(option::OBSERVE).unwrap();
            assert!(sequence > std::mem::replace(&mut newest, sequence));
            udp.node.answer(now, from, &message, &[]).unwrap();
        }
    }
    assert!(notified > 5);
}
