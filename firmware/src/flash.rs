//! Records in memory that a reset leaves, where a product has a page of its flash.

use stockade_link::endpoint::{Kept, Record};

use crate::board::{Register, kept};

/// Words for each record: its length, a checksum, and the bytes.
const WORDS: u32 = 300;

/// The board's memory for records.
#[derive(Debug)]
pub struct Flash;

/// The first word of a record; the words before are the entropy's.
fn word(record: Record, index: u32) -> Register {
    let first = match record {
        Record::Clock => 16,
        Record::Grants => 16 + WORDS,
    };
    kept(first + index)
}

/// FNV-1a: memory is any bits after power came, which is no attack.
fn sum(length: u32, bytes: &[u8]) -> u32 {
    let start = 0x811C_9DC5 ^ length;
    bytes.iter().fold(start, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl Kept for Flash {
    fn load(&mut self, record: Record, out: &mut [u8]) -> Option<usize> {
        let length = word(record, 0).read();
        let bytes = out.get_mut(..usize::try_from(length).ok()?)?;
        for (chunk, index) in bytes.chunks_mut(4).zip(2..WORDS) {
            let value = word(record, index).read().to_le_bytes();
            chunk.copy_from_slice(&value[..chunk.len()]);
        }
        (word(record, 1).read() == sum(length, bytes)).then_some(bytes.len())
    }

    fn store(&mut self, record: Record, bytes: &[u8]) {
        let Some(length) = u32::try_from(bytes.len())
            .ok()
            .filter(|length| length.div_ceil(4) + 2 <= WORDS)
        else {
            return;
        };
        // Nothing, until all of it is there.
        word(record, 1).write(!sum(length, bytes));
        for (chunk, index) in bytes.chunks(4).zip(2..) {
            let mut value = [0; 4];
            value[..chunk.len()].copy_from_slice(chunk);
            word(record, index).write(u32::from_le_bytes(value));
        }
        word(record, 0).write(length);
        word(record, 1).write(sum(length, bytes));
    }
}
