//! Block-wise transfer (RFC 7959): bodies longer than a datagram.

use core::fmt;
use core::ops::Range;

use super::message::{Code, Token};
use super::option;

/// The value of a Block1 or Block2 option (RFC 7959, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The number of the block, at most 2²⁰ - 1.
    pub number: u32,
    /// Whether more follow.
    pub more: bool,
    /// The size exponent: blocks of 2⁴⁺ˢ bytes, at most 6.
    pub szx: u8,
}

impl Block {
    /// A block; nothing if its number or its size is more than an option can say.
    pub const fn new(number: u32, more: bool, szx: u8) -> Option<Self> {
        if number > 0x000f_ffff || szx > 6 {
            return None;
        }
        Some(Self { number, more, szx })
    }

    /// Reads an option's value. The size exponent 7 is reserved: an error (RFC 7959, section 2.2).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let number = option::uint(value)?;
        let [.., low] = number.to_be_bytes();
        let szx = low & 7;
        (value.len() <= 3 && szx != 7).then_some(Self {
            number: number >> 4,
            more: low & 8 != 0,
            szx,
        })
    }

    /// The number in the option.
    pub fn value(self) -> u32 {
        (self.number << 4) | (u32::from(self.more) << 3) | u32::from(self.szx)
    }

    /// The bytes of a full block.
    pub const fn size(self) -> usize {
        16 << (self.szx & 7)
    }

    /// Where the block begins in the body.
    pub fn offset(self) -> Option<usize> {
        usize::try_from(self.number).ok()?.checked_mul(self.size())
    }
}

/// Why a block is refused; [`code`](BadBlock::code) is what a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBlock {
    /// Its length does not agree with its size (RFC 7959, section 2.2), or it is past the end of the body.
    Malformed,
    /// It does not follow the one before, or belongs to another body (section 2.9.2): 4.08.
    Incomplete,
    /// The body is longer than we take (section 2.9.3): 4.13.
    TooLarge,
}

impl BadBlock {
    /// The response a server gives.
    pub const fn code(self) -> Code {
        match self {
            Self::Malformed => Code::BAD_REQUEST,
            Self::Incomplete => Code::REQUEST_ENTITY_INCOMPLETE,
            Self::TooLarge => Code::REQUEST_ENTITY_TOO_LARGE,
        }
    }
}

impl fmt::Display for BadBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the block's length does not agree with its number and size",
            Self::Incomplete => "the block does not follow the one before",
            Self::TooLarge => "the body is too long",
        })
    }
}

impl core::error::Error for BadBlock {}

/// What came of a body so far, in either direction: Block1 at a server, Block2 at a client. The bytes are the caller's; this says
/// where each block goes. Blocks come in order, one after the other, as RFC 7959 has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Assembly {
    length: usize,
    /// The Request-Tag (RFC 9175, section 3) or `ETag` (RFC 7959, section 2.4) that all of its blocks have.
    tag: Option<Token>,
}

impl Assembly {
    /// Where a block's payload goes; its length is then counted. A block of number 0 begins anew. `announced` is the Size option,
    /// `limit` the longest body that is taken. What is refused changes nothing.
    pub fn place(
        &mut self,
        block: Block,
        tag: Option<&[u8]>,
        payload: usize,
        announced: Option<u32>,
        limit: usize,
    ) -> Result<usize, BadBlock> {
        let tag = tag.map(|tag| Token::new(tag).ok_or(BadBlock::Malformed));
        let tag = tag.transpose()?;
        // Section 2.2: all blocks but the last are full.
        if payload > block.size() || (block.more && payload != block.size()) {
            return Err(BadBlock::Malformed);
        }
        let at = block.offset().ok_or(BadBlock::TooLarge)?;
        if at != 0 && (at != self.length || tag != self.tag) {
            return Err(BadBlock::Incomplete);
        }
        let length = at.checked_add(payload).ok_or(BadBlock::TooLarge)?;
        // Section 4: who says how much will come is refused at once, not at the end.
        let announced =
            announced.map_or(length, |size| usize::try_from(size).unwrap_or(usize::MAX));
        // A body of exactly the limit still needs its last block to say that it is the last.
        if length.max(announced) > limit || (block.more && length >= limit) {
            return Err(BadBlock::TooLarge);
        }
        *self = Self { length, tag };
        Ok(at)
    }

    /// How much has come.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// At a client: the block to ask for next, of the size of the one that came.
    pub fn next(&self, came: Block) -> Option<Block> {
        let number = u32::try_from(self.length.checked_div(came.size())?).ok()?;
        Block::new(number, false, came.szx)
    }
}

/// At a server: the block of a response that is asked for (or its first, if none is), of at most `szx`; and the part of the body.
/// None: the body fits into one block and none is asked for: the option is left out.
pub fn slice(
    total: usize,
    asked: Option<Block>,
    szx: u8,
) -> Result<Option<(Block, Range<usize>)>, BadBlock> {
    let (number, asked_szx) = asked.map_or((0, 6), |block| (block.number, block.szx));
    let szx = szx.min(asked_szx);
    // Section 2.4: blocks smaller than asked for begin at the same place.
    let asked_at = Block::new(number, false, asked_szx).and_then(Block::offset);
    let at = asked_at.ok_or(BadBlock::Malformed)?;
    let first = Block::new(0, false, szx).ok_or(BadBlock::Malformed)?;
    if at != 0 && at >= total {
        return Err(BadBlock::Malformed);
    }
    let end = at.saturating_add(first.size()).min(total);
    if asked.is_none() && end == total {
        return Ok(None);
    }
    let number = at.checked_div(first.size()).map(u32::try_from);
    let number = number.and_then(Result::ok).ok_or(BadBlock::Malformed)?;
    let block = Block::new(number, end < total, szx).ok_or(BadBlock::Malformed)?;
    Ok(Some((block, at..end)))
}
