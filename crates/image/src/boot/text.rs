//! Programs written as text: Intel HEX (its specification, 1988) and Motorola's S-records, every line with its checksum.

use std::collections::BTreeMap;

use stockade_controls::engine::Unseen;

use crate::compress::wide;
use crate::format::{Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The magics.
pub(crate) const HEX: &[(u64, &[u8])] = &[
    (0, b":02000004"),
    (0, b":02000002"),
    (0, b":10"),
    (0, b":20"),
];
pub(crate) const SRECORD: &[(u64, &[u8])] = &[(0, b"S0"), (0, b"S1"), (0, b"S2"), (0, b"S3")];

/// The most stretches that do not touch.
const MOST: usize = 10_000;

/// Stretches of memory, by where they begin.
#[derive(Default)]
struct Memory(BTreeMap<u64, Vec<u8>>);

impl Memory {
    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), Unseen> {
        let end = |start: u64, made: &[u8]| start.saturating_add(wide(made.len()));
        if let Some((start, made)) = self.0.range_mut(..=at).next_back() {
            if end(*start, made) > at {
                return Err(wrong("two lines for one place"));
            }
            if end(*start, made) == at {
                made.extend_from_slice(bytes);
                return Ok(());
            }
        }
        if self.0.len() == MOST {
            return Err(Unseen::TooMuch(MOST));
        }
        self.0.insert(at, bytes.to_vec());
        Ok(())
    }

    fn opened(self, length: u64) -> Result<Opened, Unseen> {
        let mut before = 0;
        for (at, bytes) in &self.0 {
            if *at < before {
                return Err(wrong("two lines for one place"));
            }
            before = at.saturating_add(wide(bytes.len()));
        }
        let pieces = self.0.into_iter();
        let pieces =
            pieces.map(|(at, bytes)| Piece::new(format!("{at:#010x}"), Bytes::memory(bytes)));
        Ok(Opened {
            content: Inside::Pieces(pieces.collect()),
            length: Some(length),
            notes: Vec::new(),
        })
    }
}

/// Intel HEX.
pub(crate) fn hex(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let text = bytes.all(meter.limits().longest)?;
    meter.hold(wide(text.len() / 2))?;
    let mut memory = Memory::default();
    let (mut base, mut read) = (0_u64, 0_u64);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        meter.time()?;
        read = read.saturating_add(wide(line.len()));
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let digits = line.strip_prefix(b":").ok_or_else(|| wrong("no line"))?;
        let record = octets(digits)?;
        let [count, high, low, kind, rest @ ..] = record.as_slice() else {
            return Err(wrong("a short line"));
        };
        let (sum, data) = rest.split_last().ok_or_else(|| wrong("a short line"))?;
        let total = record.iter().fold(0_u8, |sum, it| sum.wrapping_add(*it));
        if total != 0 || data.len() != usize::from(*count) {
            return Err(wrong(&format!("a line's checksum {sum:#04x} is wrong")));
        }
        let value = number(data);
        match kind {
            0 => {
                let at = u64::from(u16::from_be_bytes([*high, *low]));
                memory.put(base.saturating_add(at), data)?;
            }
            1 => return memory.opened(read),
            2 => base = (value & 0xffff).wrapping_shl(4),
            4 => base = (value & 0xffff).wrapping_shl(16),
            3 | 5 => (),
            _ => return Err(wrong("a line of no kind")),
        }
    }
    Err(wrong("it does not end"))
}

/// S-records.
pub(crate) fn srecord(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let text = bytes.all(meter.limits().longest)?;
    meter.hold(wide(text.len() / 2))?;
    let mut memory = Memory::default();
    let (mut read, mut records, mut counted) = (0_u64, 0_u64, false);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        meter.time()?;
        read = read.saturating_add(wide(line.len()));
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let (Some(b'S'), Some(kind)) = (line.first(), line.get(1)) else {
            return Err(wrong("no line"));
        };
        let record = octets(line.get(2..).unwrap_or_default())?;
        let (sum, body) = record.split_last().ok_or_else(|| wrong("a short line"))?;
        let total = body.iter().fold(0_u8, |sum, it| sum.wrapping_add(*it));
        let count = body.first().copied().unwrap_or_default();
        if total ^ 0xff != *sum || usize::from(count) != body.len() {
            return Err(wrong("a line's checksum is wrong"));
        }
        let width = match kind {
            b'1' => 2_usize,
            b'2' => 3,
            b'3' => 4,
            b'0' => continue,
            b'5' | b'6' => {
                counted = number(body.get(1..).unwrap_or_default()) == records;
                continue;
            }
            b'7'..=b'9' => return memory.opened(read),
            _ => return Err(wrong("a line of no kind")),
        };
        let rest = body.get(1..).unwrap_or_default();
        let (at, data) = rest
            .split_at_checked(width)
            .ok_or_else(|| wrong("a short line"))?;
        records = records.saturating_add(1);
        memory.put(number(at), data)?;
    }
    // Without a last line, the number of those before must be right.
    if counted {
        return memory.opened(read);
    }
    Err(wrong("it does not end"))
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| u64::wrapping_shl(sum, 8) | u64::from(*byte))
}

fn octets(digits: &[u8]) -> Result<Vec<u8>, Unseen> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| {
        let [high, low] = *pair else { return None };
        u8::try_from(digit(high)?.wrapping_shl(4) | digit(low)?).ok()
    };
    let octets: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    octets.ok_or_else(|| wrong("a digit that is none"))
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("hexadecimal text: {why}"))
}
