//! Bodies in blocks (RFC 7959): gathered as they come, kept while they are fetched; bounded for each device and in all.

use std::ops::Range;

use stockade_link::coap::block::{self, BadBlock, Block};
use stockade_link::coap::message::{Body, Code};
use stockade_link::coap::option;
use stockade_link::oscore::{Owed, To};
use stockade_mqtt::TopicName;

use super::active::{Given, Taking};
use super::core::Core;
use super::resources::Asked;
use crate::broker::{Broker, Output};

/// The largest body in blocks.
pub(super) const BODY: usize = 64 * 1024;
/// Bodies in blocks of all devices.
pub(super) const BODIES: usize = 16 * 1024 * 1024;

/// The size exponent of blocks, where the device asks for none: 1,024 bytes.
const SZX: u8 = 6;

impl Core {
    /// A block of a request, with what it continues. What is refused is forgotten with all before it: to be begun anew
    /// (RFC 7959, section 2.9).
    pub(super) fn take_block(
        &mut self,
        slot: u32,
        topic: TopicName<'_>,
        block: Block,
        message: &Body<'_>,
    ) -> Result<Taking, BadBlock> {
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        let before = active.and_then(|active| active.taking.take());
        let length = before.as_ref().map_or(0, |taking| taking.body.len());
        self.bodies = self.bodies.saturating_sub(length);
        let same = before.filter(|taking| *taking.topic == *topic.as_str());
        let mut taking = same.unwrap_or_else(|| Taking::of(topic));
        let payload = message.payload();
        let (tag, size) = (
            message.get(option::REQUEST_TAG),
            message.uint(option::SIZE1),
        );
        let at = taking
            .assembly
            .place(block, tag, payload.len(), size, BODY)?;
        taking.body.truncate(at);
        taking.body.extend_from_slice(payload);
        Ok(taking)
    }

    /// Keeps it until the next block comes. False, if there is no room for it.
    pub(super) fn keep_taking(&mut self, slot: u32, taking: Taking) -> bool {
        let length = self.bodies.saturating_add(taking.body.len());
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        match active.filter(|_| length <= BODIES) {
            Some(active) => {
                active.taking = Some(taking);
                self.bodies = length;
                true
            }
            None => false,
        }
    }

    pub(super) fn fresh_etag(&mut self) -> u32 {
        self.next_etag = self.next_etag.wrapping_add(1);
        self.next_etag
    }

    /// Answers with a body, or with its first block; the rest is kept for who fetches it.
    pub(super) fn give(
        &mut self,
        (slot, to): (u32, To),
        owed: &mut Owed,
        (path, format, body, etag): (&str, Option<u16>, &[u8], u32),
        asked: Option<Block>,
        now: u64,
    ) {
        let (block, part) = first(body.len(), asked);
        let more = block.is_some_and(|block| block.more);
        if more {
            self.keep(slot, path, body, etag);
        }
        let (etag, length) = (
            etag.to_be_bytes(),
            uint(u32::try_from(body.len()).unwrap_or(u32::MAX)),
        );
        let block = block.map(|block| uint(block.value()));
        let format = format.map(|format| uint(format.into()));
        let mut options: Vec<(u16, &[u8])> = vec![(option::ETAG, &etag)];
        if let Some(format) = &format {
            options.push((option::CONTENT_FORMAT, format));
        }
        if let Some(block) = &block {
            options.push((option::BLOCK2, block));
        }
        if more {
            options.push((option::SIZE2, &length));
        }
        let part = body.get(part).unwrap_or_default();
        let _sent = self.answer(slot, to, owed, (Code::CONTENT, &options, part), now);
    }

    /// Keeps a body whose blocks will be fetched; the one before is forgotten.
    pub(super) fn keep(&mut self, slot: u32, path: &str, body: &[u8], etag: u32) {
        let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut()) else {
            return;
        };
        let before = active.given.take().map_or(0, |given| given.body.len());
        self.bodies = self.bodies.saturating_sub(before);
        if body.len() > BODY || self.bodies + body.len() > BODIES {
            return;
        }
        self.bodies += body.len();
        if let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut()) {
            active.given = Some(Given {
                path: path.into(),
                body: body.to_vec(),
                etag,
            });
        }
    }

    /// A block after the first; with the last, the device has all of it.
    pub(super) fn next_block(
        &mut self,
        asked: &mut Asked<'_>,
        path: &str,
        block: Block,
        broker: &mut Broker,
        out: &mut Output,
    ) -> Option<Code> {
        match self.block(asked, path, block, out.now.mono) {
            Ok(Some(etag)) => {
                self.confirm(asked.slot, etag, broker, out);
                None
            }
            Ok(None) => None,
            Err(code) => Some(code),
        }
    }

    pub(super) fn block(
        &mut self,
        asked: &mut Asked<'_>,
        path: &str,
        block: Block,
        now: u64,
    ) -> Result<Option<u32>, Code> {
        let given = self
            .peers
            .get(asked.slot)
            .and_then(|s| s.active.as_ref())
            .and_then(|active| active.given.as_ref())
            .filter(|given| *given.path == *path);
        let given = given.ok_or(Code::REQUEST_ENTITY_INCOMPLETE)?;
        let slice = block::slice(given.body.len(), Some(block), SZX);
        let (block, part) = slice.ok().flatten().ok_or(Code::BAD_REQUEST)?;
        let part = given.body.get(part).unwrap_or_default().to_vec();
        let number = given.etag;
        let etag = number.to_be_bytes();
        let value = uint(block.value());
        let options = [(option::ETAG, &etag[..]), (option::BLOCK2, &value)];
        let answer = (Code::CONTENT, &options[..], part.as_slice());
        self.reply(asked, answer, now);
        Ok((!block.more).then_some(number))
    }
}

/// The block that a request asks for, if it asks for one.
pub(super) fn asked_for(message: &Body<'_>) -> Result<Option<Block>, Code> {
    let block = message.get(option::BLOCK2).map(Block::parse);
    block.map(|it| it.ok_or(Code::BAD_REQUEST)).transpose()
}

/// The first block of a body and the part that it is; no block, where none was asked for and all of it fits.
pub(super) fn first(total: usize, asked: Option<Block>) -> (Option<Block>, Range<usize>) {
    let first = block::slice(total, asked, SZX).ok().flatten();
    first.map_or((None, 0..total), |(block, part)| (Some(block), part))
}

/// The value of an option with a number in it, in the fewest bytes.
pub(super) fn uint(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(4);
    bytes.get(from..).unwrap_or_default().to_vec()
}
