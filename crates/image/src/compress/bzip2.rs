//! bzip2, as its program writes it: Huffman, move-to-front, Burrows–Wheeler, runs. The crates that do it are unmaintained or
//! under a licence that is not ours to take (docs/decisions/0205).

use std::io::BufRead as _;

use stockade_controls::engine::Unseen;

use super::{Sink, Source, damaged};

const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;
/// Symbols of one selector.
const GROUP: usize = 50;
/// The longest code.
const LONGEST: usize = 20;

/// All streams that follow each other.
pub(super) fn streams(source: &mut Source<'_>, out: &mut Sink<'_>) -> Result<(), Unseen> {
    loop {
        let mut bits = Bits {
            source,
            held: 0,
            count: 0,
        };
        stream(&mut bits, out)?;
        if !source.starts_with(b"BZh")? {
            return Ok(());
        }
    }
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("bzip2: {why}"))
}

fn stream(bits: &mut Bits<'_, '_>, out: &mut Sink<'_>) -> Result<(), Unseen> {
    let magic = bits.take(24)?;
    let level = u8::try_from(bits.take(8)?).unwrap_or_default();
    if magic != 0x42_5a68 || !(b'1'..=b'9').contains(&level) {
        return Err(wrong("not its magic"));
    }
    let most = usize::from(level.wrapping_sub(b'0')).saturating_mul(100_000);
    let mut combined = 0_u32;
    loop {
        let kind = bits.take(24)?.wrapping_shl(24) | bits.take(24)?;
        let said = u32::try_from(bits.take(32)?).unwrap_or_default();
        match kind {
            BLOCK => {
                let found = block(bits, most, out)?;
                if found != said {
                    return Err(wrong("a block's checksum is wrong"));
                }
                combined = combined.rotate_left(1) ^ found;
            }
            END if said == combined => return Ok(()),
            END => return Err(wrong("its checksum is wrong")),
            _ => return Err(wrong("neither a block nor the end")),
        }
    }
}

/// One block; gives its checksum.
fn block(bits: &mut Bits<'_, '_>, most: usize, out: &mut Sink<'_>) -> Result<u32, Unseen> {
    if bits.take(1)? == 1 {
        return Err(wrong("a block of bzip2 0.9, which is not read"));
    }
    let origin = bits.small(24)?;
    let mut symbols = Vec::new();
    let used = bits.small(16)?;
    for high in 0..16_u8 {
        if used.wrapping_shr(15_u32.wrapping_sub(u32::from(high))) & 1 == 0 {
            continue;
        }
        let row = bits.small(16)?;
        for low in 0..16_u8 {
            if row.wrapping_shr(15_u32.wrapping_sub(u32::from(low))) & 1 == 1 {
                symbols.push(high.wrapping_shl(4) | low);
            }
        }
    }
    let groups = bits.small(3)?;
    let selectors = bits.small(15)?;
    if symbols.is_empty() || !(2..=6).contains(&groups) || selectors == 0 {
        return Err(wrong("a block without symbols or codes"));
    }
    let mut order: Vec<usize> = (0..groups).collect();
    let mut chosen = Vec::with_capacity(selectors);
    for _ in 0..selectors {
        let mut place = 0_usize;
        while bits.take(1)? == 1 {
            place = place.saturating_add(1);
            if place >= groups {
                return Err(wrong("a selector of no code"));
            }
        }
        let group = order.remove(place);
        order.insert(0, group);
        chosen.push(group);
    }
    let mut codes = Vec::with_capacity(groups);
    for _ in 0..groups {
        codes.push(Code::read(bits, symbols.len().saturating_add(2))?);
    }
    let transformed = symbols_of(bits, &chosen, &codes, symbols, most)?;
    out.meter.time()?;
    untransform(&transformed, origin, out)
}

/// The bytes before the Burrows–Wheeler transform is undone: codes, runs, move-to-front.
fn symbols_of(
    bits: &mut Bits<'_, '_>,
    chosen: &[usize],
    codes: &[Code],
    mut front: Vec<u8>,
    most: usize,
) -> Result<Vec<u8>, Unseen> {
    let end = front.len().saturating_add(1);
    let mut made = Vec::new();
    let (mut run, mut weight) = (0_usize, 1_usize);
    for group in chosen {
        let code = codes.get(*group).ok_or_else(|| wrong("no such code"))?;
        for _ in 0..GROUP {
            let symbol = code.next(bits)?;
            if symbol <= 1 {
                let more = weight.saturating_mul(symbol.saturating_add(1));
                run = run.saturating_add(more);
                weight = weight.saturating_mul(2);
                if run > most {
                    return Err(wrong("a block is too long"));
                }
                continue;
            }
            let first = front.first().copied().unwrap_or_default();
            made.resize(made.len().saturating_add(run), first);
            (run, weight) = (0, 1);
            if made.len() > most {
                return Err(wrong("a block is too long"));
            }
            if symbol == end {
                return Ok(made);
            }
            let place = symbol.saturating_sub(1);
            if place >= front.len() {
                return Err(wrong("a symbol of no byte"));
            }
            let byte = front.remove(place);
            front.insert(0, byte);
            made.push(byte);
        }
    }
    Err(wrong("a block does not end"))
}

/// Undoes the Burrows–Wheeler transform and the first runs; gives the checksum of what came out.
fn untransform(from: &[u8], origin: usize, out: &mut Sink<'_>) -> Result<u32, Unseen> {
    if origin >= from.len() {
        return Err(wrong("a block begins outside of itself"));
    }
    let mut starts = [0_u32; 256];
    for byte in from {
        if let Some(count) = starts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    let mut sum = 0_u32;
    for start in &mut starts {
        let count = *start;
        *start = sum;
        sum = sum.saturating_add(count);
    }
    let mut next = vec![0_u32; from.len()];
    for (place, byte) in (0_u32..).zip(from) {
        if let Some(start) = starts.get_mut(usize::from(*byte)) {
            if let Some(to) = next.get_mut(usize::try_from(*start).unwrap_or(usize::MAX)) {
                *to = place;
            }
            *start = start.saturating_add(1);
        }
    }
    let begin = out.made.len();
    let step = |at: usize| {
        let at = next.get(at).copied().unwrap_or_default();
        usize::try_from(at).unwrap_or_default()
    };
    let mut at = step(origin);
    let (mut last, mut same) = (0_u8, 0_u8);
    for _ in 0..from.len() {
        let byte = from.get(at).copied().unwrap_or_default();
        at = step(at);
        if same == 4 {
            let length = out.made.len().saturating_add(usize::from(byte));
            out.made.resize(length, last);
            same = 0;
            continue;
        }
        same = if byte == last && same > 0 {
            same.saturating_add(1)
        } else {
            1
        };
        last = byte;
        out.made.push(byte);
        if out.made.len() > out.most {
            return Err(Unseen::TooMuch(out.most));
        }
    }
    let made = out.made.get(begin..).unwrap_or_default();
    let sum = checksum(made);
    out.count(made.len())?;
    Ok(sum)
}

/// CRC-32 with the high bit first, as bzip2 has it.
fn checksum(bytes: &[u8]) -> u32 {
    // The usual one (low bit first) of mirrored bytes is the mirror of this.
    let mut hasher = crc32fast::Hasher::new();
    let mut mirrored = Vec::with_capacity(4096);
    for chunk in bytes.chunks(4096) {
        mirrored.clear();
        mirrored.extend(chunk.iter().map(|byte| byte.reverse_bits()));
        hasher.update(&mirrored);
    }
    hasher.finalize().reverse_bits()
}

/// A canonical Huffman code.
struct Code {
    /// By length: how many codes have it.
    counts: [usize; LONGEST + 1],
    /// Symbols by length, then by number.
    order: Vec<usize>,
}

impl Code {
    fn read(bits: &mut Bits<'_, '_>, symbols: usize) -> Result<Self, Unseen> {
        let mut length = bits.small(5)?;
        let mut lengths = Vec::with_capacity(symbols);
        let mut counts = [0_usize; LONGEST + 1];
        for _ in 0..symbols {
            while bits.take(1)? == 1 {
                length = match bits.take(1)? {
                    0 => length.saturating_add(1),
                    _ => length.saturating_sub(1),
                };
                if !(1..=LONGEST).contains(&length) {
                    return Err(wrong("a code is too long"));
                }
            }
            match counts.get_mut(length) {
                Some(count) if length > 0 => *count = count.saturating_add(1),
                _ => return Err(wrong("a code is too long")),
            }
            lengths.push(length);
        }
        let mut order: Vec<usize> = (0..symbols).collect();
        order.sort_by_key(|symbol| lengths.get(*symbol).copied());
        Ok(Self { counts, order })
    }

    fn next(&self, bits: &mut Bits<'_, '_>) -> Result<usize, Unseen> {
        let (mut code, mut first, mut index) = (0_usize, 0_usize, 0_usize);
        for count in self.counts.iter().skip(1) {
            code |= bits.small(1)?;
            let above = code.wrapping_sub(first);
            if code >= first && above < *count {
                let symbol = self.order.get(index.saturating_add(above));
                return symbol.copied().ok_or_else(|| wrong("a code of no symbol"));
            }
            index = index.saturating_add(*count);
            first = first.saturating_add(*count).wrapping_shl(1);
            code = code.wrapping_shl(1);
        }
        Err(wrong("a code of no symbol"))
    }
}

/// Bits, the high one of a byte first.
struct Bits<'a, 'b> {
    source: &'a mut Source<'b>,
    held: u64,
    count: u32,
}

impl Bits<'_, '_> {
    /// The next bits, 32 at most.
    fn take(&mut self, bits: u32) -> Result<u64, Unseen> {
        while self.count < bits {
            let found = self.source.fill_buf().map_err(damaged)?;
            let byte = found.first().copied();
            let byte = byte.ok_or_else(|| wrong("it ends early"))?;
            self.source.consume(1);
            self.held = self.held.wrapping_shl(8) | u64::from(byte);
            self.count = self.count.saturating_add(8);
        }
        self.count = self.count.saturating_sub(bits);
        let mask = 1_u64.wrapping_shl(bits).wrapping_sub(1);
        Ok(self.held.wrapping_shr(self.count) & mask)
    }

    fn small(&mut self, bits: u32) -> Result<usize, Unseen> {
        Ok(usize::try_from(self.take(bits)?).unwrap_or_default())
    }
}
