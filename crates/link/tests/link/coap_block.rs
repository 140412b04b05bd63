//! Bodies in blocks: over loss, and from a peer that does as it likes.

use std::ops::Range;

use stockade_link::coap::block::{self, Assembly, BadBlock, Block};
use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::coap::option;

use crate::coap_net::{App, Network, Node};
use crate::random::Random;

/// A body goes up in blocks and comes down again.
struct Transfer {
    body: Vec<u8>,
    sizes: [u8; 2],
    /// At the client, how much went up.
    sent: usize,
    /// At the client, what came back.
    download: Assembly,
    back: Vec<u8>,
    asked: Option<Block>,
    /// At the server.
    assembly: Assembly,
    taken: Vec<u8>,
    attempts: u8,
    waiting: bool,
    done: bool,
    uploaded: bool,
}

impl Transfer {
    fn new(length: usize, sizes: [u8; 2]) -> Self {
        let mut random = Random(u64::try_from(length).unwrap_or(1) + 1);
        let body: Vec<u8> = (0..length)
            .map(|_| u8::try_from(random.below(256)).unwrap_or_default())
            .collect();
        Self {
            sent: 0,
            body,
            sizes,
            download: Assembly::default(),
            back: Vec::new(),
            asked: None,
            assembly: Assembly::default(),
            taken: vec![0; 70_000],
            attempts: 0,
            waiting: false,
            done: false,
            uploaded: false,
        }
    }

    /// The block that is to go up now, and the part of the body it is.
    fn next_block(&self) -> (Block, Range<usize>) {
        let size = 16 << self.sizes[0];
        let end = (self.sent + size).min(self.body.len());
        let number = u32::try_from(self.sent / size).expect("short");
        let more = end < self.body.len();
        (block(number, more, self.sizes[0]), self.sent..end)
    }
}

impl App for Transfer {
    fn more(&mut self, at: usize, node: &mut Node, _: u64) {
        if at == 1 || self.waiting || self.done {
            return;
        }
        self.waiting = true;
        let mut buffer = [0; 1_200];
        let (id, token) = (node.next_id(), Token::default());
        let code = if self.uploaded { Code::GET } else { Code::POST };
        let mut builder = Builder::new(&mut buffer, Type::Confirmable, code, id, &token);
        let payload = if self.uploaded {
            if let Some(asked) = self.asked {
                builder.uint(option::BLOCK2, asked.value());
            }
            &[]
        } else {
            let (block, range) = self.next_block();
            builder.uint(option::BLOCK1, block.value());
            let size = u32::try_from(self.body.len()).expect("short");
            builder.uint(option::SIZE1, size);
            builder.option(option::REQUEST_TAG, &[self.attempts]);
            &self.body[range]
        };
        let datagram = builder.payload(payload).expect("room");
        node.send(1, datagram, 0).expect("room");
    }

    fn request(&mut self, _: usize, node: &mut Node, now: u64, message: &Message<'_>) {
        let body = message.body;
        let mut buffer = [0; 1_200];
        let mut answer = |code: Code, option: u16, block: Option<Block>, payload: &[u8]| {
            let ack = Type::Acknowledgement;
            let mut builder = Builder::new(&mut buffer, ack, code, message.id, &message.token);
            if option == option::BLOCK2 {
                builder.option(option::ETAG, b"v1");
            }
            if let Some(block) = block {
                builder.uint(option, block.value());
            }
            let datagram = builder.payload(payload).expect("room");
            node.answer(now, 0, message, datagram).expect("room");
        };
        if message.code == Code::POST {
            let block = Block::parse(body.get(option::BLOCK1).expect("a block")).expect("a block");
            let (tag, size) = (body.get(option::REQUEST_TAG), body.uint(option::SIZE1));
            let payload = body.payload();
            let placed = self.assembly.place(block, tag, payload.len(), size, 65_536);
            let at = placed.expect("the client is a good one");
            self.taken[at..at + payload.len()].copy_from_slice(payload);
            let code = if block.more {
                Code::CONTINUE
            } else {
                Code::CHANGED
            };
            answer(code, option::BLOCK1, Some(block), &[]);
        } else {
            let asked = body.get(option::BLOCK2).and_then(Block::parse);
            let taken = &self.taken[..self.assembly.length()];
            let slice = block::slice(taken.len(), asked, self.sizes[1]).expect("a block");
            let (block, range) = slice.map_or((None, 0..taken.len()), |(b, r)| (Some(b), r));
            answer(Code::CONTENT, option::BLOCK2, block, &taken[range]);
        }
    }

    fn response(&mut self, _: usize, message: &Message<'_>) {
        self.waiting = false;
        let body = message.body;
        if !self.uploaded {
            let (block, range) = self.next_block();
            assert_eq!(body.get(option::BLOCK1).and_then(Block::parse), Some(block));
            (self.sent, self.uploaded) = (range.end, !block.more);
            return;
        }
        assert_eq!(message.code, Code::CONTENT);
        let Some(block) = body.get(option::BLOCK2) else {
            self.back = body.payload().to_vec();
            self.done = true;
            return;
        };
        let block = Block::parse(block).expect("a block");
        let (tag, length) = (body.get(option::ETAG), body.payload().len());
        let at = self.download.place(block, tag, length, None, 65_536);
        assert_eq!(at, Ok(self.back.len()));
        self.back.extend_from_slice(body.payload());
        self.asked = self.download.next(block);
        self.done = !block.more;
    }

    fn timed_out(&mut self, at: usize, _: Token) {
        assert_eq!(at, 0);
        self.attempts += 1;
        assert!(self.attempts < 50, "the network is not that bad");
        // From the beginning: a block that is repeated as another request is refused.
        (self.waiting, self.asked, self.uploaded) = (false, None, false);
        self.back.clear();
        self.sent = 0;
        self.download = Assembly::default();
    }
}

#[test]
fn bodies_of_any_length_go_up_and_come_down_in_blocks_over_loss() {
    let mut seed = 0;
    for length in [
        1, 15, 16, 17, 63, 64, 65, 1_023, 1_024, 1_025, 4_096, 65_536,
    ] {
        for sizes in [[0, 6], [2, 6], [6, 2], [6, 6]] {
            if length > 5_000 && sizes[0] == 0 {
                continue;
            }
            seed += 1;
            let mut network = Network::new(seed, 10, 10, 3_000);
            let mut nodes = vec![Node::new(1), Node::new(2)];
            let mut transfer = Transfer::new(length, sizes);
            network.run(&mut nodes, &mut transfer);
            assert!(
                transfer.done && transfer.back == transfer.body,
                "{length}, {sizes:?}"
            );
        }
    }
}

fn block(number: u32, more: bool, szx: u8) -> Block {
    Block::new(number, more, szx).expect("a block")
}

#[test]
fn blocks_that_do_not_follow_are_refused_and_change_nothing() {
    let mut assembly = Assembly::default();
    let tag = Some(b"tag".as_slice());
    assert_eq!(assembly.place(block(0, true, 2), tag, 64, None, 200), Ok(0));
    assert_eq!(
        assembly.place(block(1, true, 2), tag, 64, None, 200),
        Ok(64)
    );
    let before = assembly;
    for (block, tag, payload, announced, expected) in [
        // A jump, the same again, overlapping ones, smaller blocks at another place.
        (block(3, true, 2), tag, 64, None, BadBlock::Incomplete),
        (block(1, true, 2), tag, 64, None, BadBlock::Incomplete),
        (block(7, true, 0), tag, 16, None, BadBlock::Incomplete),
        (
            block(0xf_ffff, true, 6),
            tag,
            1_024,
            None,
            BadBlock::Incomplete,
        ),
        // Another body's, nobody's, a tag that is none.
        (
            block(2, false, 2),
            Some(b"gat".as_slice()),
            9,
            None,
            BadBlock::Incomplete,
        ),
        (block(2, false, 2), None, 9, None, BadBlock::Incomplete),
        (
            block(2, false, 2),
            Some(b"".as_slice()),
            9,
            None,
            BadBlock::Incomplete,
        ),
        (
            block(2, false, 2),
            Some(b"123456789".as_slice()),
            9,
            None,
            BadBlock::Malformed,
        ),
        // Not full though more follow; longer than its size.
        (block(2, true, 2), tag, 63, None, BadBlock::Malformed),
        (block(2, true, 2), tag, 0, None, BadBlock::Malformed),
        (block(2, false, 2), tag, 65, None, BadBlock::Malformed),
        // Past the limit; announced to be; no room for the end.
        (block(1, false, 3), tag, 73, None, BadBlock::TooLarge),
        (block(2, false, 2), tag, 9, Some(201), BadBlock::TooLarge),
        (
            block(0, true, 2),
            tag,
            64,
            Some(u32::MAX),
            BadBlock::TooLarge,
        ),
        (block(1, true, 3), tag, 128, None, BadBlock::TooLarge),
    ] {
        let placed = assembly.place(block, tag, payload, announced, 200);
        assert_eq!(placed, Err(expected), "{block:?}");
        assert_eq!(assembly, before);
    }
    // Smaller ones from here on, as long as they follow; the last of any length; then from the beginning.
    assert_eq!(
        assembly.place(block(8, true, 0), tag, 16, None, 200),
        Ok(128)
    );
    assert_eq!(
        assembly.place(block(9, false, 0), tag, 3, None, 200),
        Ok(144)
    );
    assert_eq!(
        assembly.place(block(0, false, 6), None, 200, Some(200), 200),
        Ok(0)
    );
}

#[test]
fn blocks_without_an_end_are_refused_within_the_limit() {
    let mut assembly = Assembly::default();
    let taken = (0..10_000).take_while(|number| {
        let placed = assembly.place(block(*number, true, 0), None, 16, None, 4_096);
        placed.is_ok()
    });
    assert_eq!(taken.count(), 255);
    // What is no option's value.
    assert_eq!(Block::parse(&[7]), None);
    assert_eq!(Block::parse(&[0, 0, 0, 0]), None);
    assert_eq!(Block::new(0x10_0000, false, 0), None);
}

#[test]
fn a_slice_is_what_was_asked_for_or_nothing() {
    assert_eq!(block::slice(64, None, 2), Ok(None));
    assert_eq!(
        block::slice(65, None, 2),
        Ok(Some((block(0, true, 2), 0..64)))
    );
    let asked = Some(block(1, true, 6));
    assert_eq!(
        block::slice(2_000, asked, 6),
        Ok(Some((block(1, false, 6), 1_024..2_000)))
    );
    // Ours are smaller: the same place.
    assert_eq!(
        block::slice(2_000, asked, 2),
        Ok(Some((block(16, true, 2), 1_024..1_088)))
    );
    assert_eq!(
        block::slice(0, Some(block(0, false, 2)), 6),
        Ok(Some((block(0, false, 2), 0..0)))
    );
    for (total, asked) in [(64, block(1, false, 2)), (0, block(1, false, 0))] {
        assert_eq!(
            block::slice(total, Some(asked), 6),
            Err(BadBlock::Malformed)
        );
    }
    assert_eq!(
        block::slice(64, Some(block(0xf_ffff, false, 6)), 0),
        Err(BadBlock::Malformed)
    );
}
