//! CoAP's reliability over a network that loses, doubles and reorders, by a seed.

use std::collections::BTreeMap;

use stockade_link::coap::exchange::{Exchanges, Full, Output, Received, empty};
use stockade_link::coap::message::{Builder, Code, Message, Token, Type};

use crate::coap::hex;
use crate::random::Random;

/// Two nodes; each is the only peer of the other, by the name of its index.
pub(super) type Node = Exchanges<usize, 4, 32, 1_200>;

pub(super) struct Network {
    now: u64,
    random: Random,
    /// When, for whom, what.
    wire: Vec<(u64, usize, Vec<u8>)>,
    lost: usize,
    doubled: usize,
    slow: usize,
}

impl Network {
    pub(super) fn new(seed: u64, lost: usize, doubled: usize, slow: usize) -> Self {
        Self {
            now: 0,
            random: Random(seed),
            wire: Vec::new(),
            lost,
            doubled,
            slow,
        }
    }

    fn transmit(&mut self, to: usize, datagram: &[u8]) {
        let copies = match self.random.below(100) {
            chance if chance < self.lost => 0,
            chance if chance < self.lost + self.doubled => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = 5 + u64::try_from(self.random.below(self.slow)).unwrap_or_default();
            self.wire.push((self.now + delay, to, datagram.to_vec()));
        }
    }

    /// Lets both nodes talk until neither has anything to do, for a bounded time.
    pub(super) fn run(&mut self, nodes: &mut [Node], app: &mut impl App) {
        for _ in 0..400_000 {
            for at in [0, 1] {
                app.more(at, &mut nodes[at], self.now);
                while let Some(output) = nodes[at].poll(self.now) {
                    match output {
                        Output::Send(peer, datagram) => {
                            assert_eq!(peer, 1 - at);
                            let datagram = datagram.to_vec();
                            self.transmit(peer, &datagram);
                        }
                        Output::TimedOut { token, .. } => app.timed_out(at, token),
                    }
                    app.more(at, &mut nodes[at], self.now);
                }
            }
            let wakes = nodes.iter().filter_map(Node::next_wake);
            let Some(next) = wakes.chain(self.wire.iter().map(|one| one.0)).min() else {
                return;
            };
            self.now = self.now.max(next);
            while let Some(at) = self.wire.iter().position(|one| one.0 <= self.now) {
                let (_, to, datagram) = self.wire.remove(at);
                let node = &mut nodes[to];
                match node.received(self.now, 1 - to, &datagram) {
                    Received::Nothing | Received::Delivered { .. } | Received::Refused { .. } => {}
                    Received::Reset(reset) => self.transmit(1 - to, &reset),
                    Received::Request(message) => app.request(to, node, self.now, &message),
                    Received::Response { message, request } => {
                        if let Some(id) = request {
                            node.finish(1 - to, id);
                            if message.kind == Type::Confirmable {
                                node.answer(self.now, 1 - to, &message, &[]).expect("room");
                            }
                            app.response(to, &message);
                        } else if message.kind == Type::Confirmable {
                            let reset = empty(Type::Reset, message.id);
                            self.transmit(1 - to, &reset);
                        }
                    }
                }
            }
        }
        panic!("there is no end");
    }
}

pub(super) trait App {
    /// There may be room for one more message.
    fn more(&mut self, at: usize, node: &mut Node, now: u64);
    fn request(&mut self, at: usize, node: &mut Node, now: u64, message: &Message<'_>);
    fn response(&mut self, at: usize, message: &Message<'_>);
    fn timed_out(&mut self, at: usize, token: Token);
}

/// Each node asks the other; answers come in the acknowledgement or later, by chance.
struct Questions {
    random: Random,
    left: [u8; 2],
    /// How often the handler ran, how often an answer came, how often none.
    count: BTreeMap<Token, [u32; 3]>,
}

fn write(kind: Type, code: Code, id: u16, token: &Token) -> Vec<u8> {
    let mut buffer = [0; 16];
    let builder = Builder::new(&mut buffer, kind, code, id, token);
    builder.payload(b"p").expect("room").to_vec()
}

impl App for Questions {
    fn more(&mut self, at: usize, node: &mut Node, _: u64) {
        if self.left[at] > 0 && node.has_room() {
            self.left[at] -= 1;
            let kind = if self.left[at].is_multiple_of(4) {
                Type::NonConfirmable
            } else {
                Type::Confirmable
            };
            let token = Token::new(&[u8::try_from(at).unwrap_or(9), self.left[at]]).expect("short");
            let datagram = write(kind, Code::GET, node.next_id(), &token);
            let random = u16::try_from(self.random.below(65_536)).unwrap_or_default();
            node.send(1 - at, &datagram, random).expect("room");
            self.count.insert(token, [0; 3]);
        }
    }

    fn request(&mut self, at: usize, node: &mut Node, now: u64, message: &Message<'_>) {
        self.count.get_mut(&message.token).expect("known")[0] += 1;
        let later = self.random.below(3) == 0 && node.has_room();
        if message.kind == Type::Confirmable && !later {
            let answer = write(
                Type::Acknowledgement,
                Code::CONTENT,
                message.id,
                &message.token,
            );
            node.answer(now, 1 - at, message, &answer).expect("room");
            return;
        }
        if message.kind == Type::Confirmable {
            node.answer(now, 1 - at, message, &[]).expect("room");
            let answer = write(
                Type::Confirmable,
                Code::CONTENT,
                node.next_id(),
                &message.token,
            );
            node.send(1 - at, &answer, 0).expect("room");
        } else {
            let answer = write(
                Type::NonConfirmable,
                Code::CONTENT,
                node.next_id(),
                &message.token,
            );
            node.answer(now, 1 - at, message, &answer).expect("room");
        }
    }

    fn response(&mut self, _: usize, message: &Message<'_>) {
        self.count.get_mut(&message.token).expect("known")[1] += 1;
    }

    fn timed_out(&mut self, at: usize, token: Token) {
        // A response that nobody acknowledged has the token of the other's request.
        if usize::from(token.as_bytes()[0]) == at {
            self.count.get_mut(&token).expect("known")[2] += 1;
        }
    }
}

#[test]
fn each_request_ends_answered_or_timed_out_and_is_handled_once() {
    let (mut answered, mut silent, mut unheard) = (0, 0, 0);
    for seed in 1..=300 {
        let lost = usize::try_from(seed % 7).unwrap_or_default() * 10;
        let mut network = Network::new(seed, lost, 20, 6_000);
        let mut nodes = vec![Node::new(0xfffa), Node::new(0xfffa)];
        let mut app = Questions {
            random: Random(seed),
            left: [12, 12],
            count: BTreeMap::new(),
        };
        network.run(&mut nodes, &mut app);
        assert_eq!(app.count.len(), 24);
        for (token, [ran, came, timed_out]) in app.count {
            assert_eq!(came + timed_out, 1, "seed {seed}, {token:?}");
            assert!(ran <= 1 && ran >= came, "seed {seed}, {token:?}");
            assert!(lost > 0 || came == 1, "seed {seed}, {token:?}");
            answered += came;
            silent += timed_out;
            unheard += 1 - ran;
        }
    }
    // The network was bad enough to show something.
    assert!(
        answered > 5_000 && silent > 300 && unheard > 200,
        "{answered} {silent} {unheard}"
    );
}

#[test]
fn repetitions_come_at_the_times_of_rfc_7252() {
    for (random, unit) in [(0, 2_000_u64), (0x8000, 2_500), (0xffff, 2_999)] {
        let mut node = Node::new(7);
        let id = node.next_id();
        let message = write(Type::Confirmable, Code::GET, id, &Token::default());
        node.send(1, &message, random).unwrap();
        let (mut now, mut sent) = (1_000, Vec::new());
        let end = loop {
            match node.poll(now) {
                Some(Output::Send(1, datagram)) if datagram == message => sent.push(now - 1_000),
                Some(Output::TimedOut { peer: 1, id: 7, .. }) => break now - 1_000,
                Some(other) => panic!("{other:?}"),
                None => now = node.next_wake().expect("something is under way"),
            }
        };
        // Section 4.2: the timeout doubles with each of four repetitions.
        assert_eq!(sent, [0, unit, 3 * unit, 7 * unit, 15 * unit]);
        assert_eq!(end, 31 * unit);
        assert!(node.next_wake().is_none());
    }
}

#[test]
fn one_message_at_a_time_is_unacknowledged_and_the_queue_keeps_its_order() {
    let mut node = Node::new(0xfffe);
    for _ in 0..4 {
        let id = node.next_id();
        let message = write(Type::Confirmable, Code::POST, id, &Token::default());
        node.send(1, &message, 0).unwrap();
    }
    let fifth = write(Type::Confirmable, Code::POST, 9, &Token::default());
    assert_eq!(node.send(1, &fifth, 0), Err(Full));
    for id in [0xfffe_u16, 0xffff, 0, 1] {
        let Some(Output::Send(1, datagram)) = node.poll(0) else {
            panic!("nothing to send")
        };
        assert_eq!(Message::parse(datagram).unwrap().id, id);
        assert_eq!(node.poll(0), None);
        assert_eq!(node.next_wake(), Some(2_000));
        let acknowledgement = empty(Type::Acknowledgement, id);
        assert_eq!(node.received(1, 1, &acknowledgement), Received::Nothing);
    }
    // All wait for their responses, and no longer than is worth it, however often they are acknowledged.
    for id in [0xfffe_u16, 0xffff, 0, 1] {
        let acknowledgement = empty(Type::Acknowledgement, id);
        assert_eq!(node.received(9, 1, &acknowledgement), Received::Nothing);
    }
    assert_eq!(node.next_wake(), Some(93_001));
    assert!(matches!(node.poll(93_001), Some(Output::TimedOut { .. })));
    node.forget(1);
    assert_eq!(node.poll(99_999), None);
    assert_eq!(node.next_wake(), None);
}

#[test]
fn what_does_not_belong_changes_nothing() {
    let mut node = Node::new(5);
    let token = Token::new(b"t").unwrap();
    let request = write(Type::Confirmable, Code::GET, node.next_id(), &token);
    node.send(1, &request, 0).unwrap();
    assert!(matches!(node.poll(0), Some(Output::Send(..))));
    let received = |node: &mut Node, peer, text: &str| {
        let datagram = hex(text);
        match node.received(1, peer, &datagram) {
            Received::Nothing => "nothing",
            Received::Reset(reset) => {
                assert_eq!(reset[0], 0x70);
                "reset"
            }
            Received::Request(_) => "request",
            Received::Response { request: None, .. } => "unknown",
            Received::Response { .. } => "response",
            Received::Delivered { .. } => "delivered",
            Received::Refused { .. } => "refused",
        }
    };
    for (peer, datagram, expected) in [
        // Another peer, another message ID, another token, an acknowledgement that is a request.
        (2, "60000005", "nothing"),
        (1, "60000006", "nothing"),
        (1, "61450005 78", "nothing"),
        (1, "61010005 74", "nothing"),
        (2, "70000005", "nothing"),
        // A reset with something in it; one for nothing.
        (1, "70450005", "nothing"),
        (1, "70000009", "nothing"),
        (1, "51450009 78", "unknown"),
        (2, "41450009 74", "unknown"),
        // A ping, rubbish that is confirmable, rubbish that is not.
        (1, "40001234", "reset"),
        (1, "40011234ff", "reset"),
        (1, "50011234ff", "nothing"),
        (1, "50001234", "nothing"),
        (1, "c0011234", "nothing"),
        // Ours is still sent again.
        (1, "", "again"),
        // The response, as often as it takes until one is verified.
        (1, "61450005 74", "response"),
        (1, "51450009 74", "response"),
        (1, "60000005", "nothing"),
        (1, "61450005 74", "response"),
        (1, "70000005", "refused"),
        (1, "61450005 74", "nothing"),
        (1, "51450009 74", "unknown"),
    ] {
        if expected == "again" {
            assert_eq!(node.next_wake(), Some(2_000));
            continue;
        }
        assert_eq!(received(&mut node, peer, datagram), expected, "{datagram}");
    }
    // Nothing of it was kept, and a request is new until it is answered.
    assert_eq!(node.next_wake(), None);
    assert_eq!(received(&mut node, 1, "40017777"), "request");
    assert_eq!(received(&mut node, 1, "40017777"), "request");
    // A response of ours is delivered by an empty acknowledgement alone; nothing answers it.
    let response = write(Type::Confirmable, Code::CONTENT, node.next_id(), &token);
    node.send(1, &response, 0).unwrap();
    assert!(matches!(node.poll(0), Some(Output::Send(..))));
    assert_eq!(received(&mut node, 1, "61450006 74"), "nothing");
    assert_eq!(received(&mut node, 1, "51450009 74"), "unknown");
    assert_eq!(received(&mut node, 1, "60000006"), "delivered");
    assert_eq!(received(&mut node, 1, "60000006"), "nothing");
}

#[test]
fn what_is_not_confirmable_is_sent_once_and_does_not_queue() {
    let mut node = Node::new(5);
    for (kind, code) in [
        (Type::Confirmable, Code::GET),
        (Type::NonConfirmable, Code::CONTENT),
        (Type::NonConfirmable, Code::GET),
        (Type::Confirmable, Code::GET),
    ] {
        let message = write(kind, code, node.next_id(), &Token::default());
        node.send(1, &message, 0).unwrap();
    }
    assert!(!node.has_room());
    for id in [5, 6, 7] {
        let Some(Output::Send(1, datagram)) = node.poll(0) else {
            panic!("nothing to send")
        };
        assert_eq!(Message::parse(datagram).unwrap().id, id);
    }
    assert_eq!(node.poll(0), None);
    // The response is done with; the request waits for its own.
    assert!(node.has_room());
    node.finish(1, 5);
    assert!(matches!(node.poll(0), Some(Output::Send(..))));
    node.finish(1, 8);
    assert_eq!(node.next_wake(), Some(93_000));
    assert!(matches!(
        node.poll(93_000),
        Some(Output::TimedOut { id: 7, .. })
    ));
}

#[test]
fn a_duplicate_gets_the_same_answer_for_as_long_as_its_id_stands() {
    let mut node = Node::new(5);
    let request = hex("40017777");
    let message = Message::parse(&request).unwrap();
    node.answer(0, 1, &message, b"answer").unwrap();
    for now in [0, 1, 246_999] {
        if now > 0 {
            assert_eq!(node.received(now, 1, &request), Received::Nothing);
        }
        assert_eq!(node.poll(now), Some(Output::Send(1, b"answer")));
        assert_eq!(node.poll(now), None);
    }
    // Not for another peer, and not for ever.
    assert!(matches!(
        node.received(1, 2, &request),
        Received::Request(_)
    ));
    assert!(matches!(
        node.received(247_000, 1, &request),
        Received::Request(_)
    ));
    // A non-confirmable one is answered once.
    let request = hex("50018888");
    let message = Message::parse(&request).unwrap();
    node.answer(0, 1, &message, b"answer").unwrap();
    assert_eq!(node.poll(0), Some(Output::Send(1, b"answer")));
    assert_eq!(node.received(144_999, 1, &request), Received::Nothing);
    assert_eq!(node.poll(1), None);
    assert!(matches!(
        node.received(145_000, 1, &request),
        Received::Request(_)
    ));
    // Without a datagram it is an acknowledgement; a later answer takes its place.
    let request = hex("40019999");
    let message = Message::parse(&request).unwrap();
    node.answer(0, 1, &message, &[]).unwrap();
    assert_eq!(node.poll(0), Some(Output::Send(1, &hex("60009999"))));
    node.answer(0, 1, &message, b"later").unwrap();
    assert_eq!(node.poll(0), Some(Output::Send(1, b"later")));
    assert_eq!(node.answer(0, 1, &message, &[0; 1_201]), Err(Full));
    // However many there are, 32 are remembered: the newest.
    for id in 0..1_000_u16 {
        let request = write(Type::Confirmable, Code::GET, id, &Token::default());
        let message = Message::parse(&request).unwrap();
        node.answer(u64::from(id), 1, &message, b"x").unwrap();
        while node.poll(u64::from(id)).is_some() {}
    }
    for (id, known) in [(967, false), (968, true), (999, true)] {
        let request = write(Type::Confirmable, Code::GET, id, &Token::default());
        let new = matches!(node.received(1_000, 1, &request), Received::Request(_));
        assert_eq!(new, !known, "{id}");
    }
    // A peer that is gone is forgotten at once.
    node.forget(1);
    let request = write(Type::Confirmable, Code::GET, 999, &Token::default());
    assert!(matches!(
        node.received(1_000, 1, &request),
        Received::Request(_)
    ));
}
