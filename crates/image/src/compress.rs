//! Decompression, bounded: nothing is made that the meter does not allow, and no decoder asks for memory by what its input says.

mod bzip2;
mod lz4;
mod xz;

use std::io::{self, BufRead, BufReader, Read};

use stockade_controls::engine::Unseen;

use crate::{Bytes, Meter};

/// How something was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// RFC 1950.
    Zlib,
    /// RFC 1952, with several members.
    Gzip,
    /// RFC 1951.
    RawDeflate,
    /// The .xz format.
    Xz,
    /// The same; the whole of the input.
    XzBlock,
    /// The .lzma format ("alone"): properties, dictionary, length.
    Lzma,
    /// LZMA without a header; ends after `most` bytes, at its end mark or where the input ends.
    LzmaRaw {
        /// The byte of lc, lp and pb.
        props: u8,
        /// The size of the dictionary.
        dict: u32,
    },
    /// One block of LZO1X; the whole of the input.
    Lzo1x,
    /// One block of LZ4; the whole of the input.
    Lz4Block,
    /// LZ4 frames.
    Lz4Frame,
    /// The format of old LZ4 programs and of kernels.
    Lz4Legacy,
    /// RFC 8878, with several frames.
    Zstd,
    /// bzip2, with several streams.
    Bzip2,
}

/// The longest dictionary of an .xz block, in KiB: what `xz -9` asks for, four times.
const MOST_XZ: u32 = 256 << 10;
/// How much is asked of a decoder at once.
const STEP: usize = 64 << 10;

/// Decompresses what is in memory. More than `most` bytes are [`Unseen::TooMuch`].
pub(crate) fn expand(
    method: Method,
    input: &[u8],
    most: usize,
    meter: &Meter,
) -> Result<Vec<u8>, Unseen> {
    let mut input = input;
    run(method, &mut Source::new(&mut input), most, meter)
}

/// Decompresses a file that gzip, xz or zstd made, told by how it begins; none if none of them did.
pub fn decompressed(bytes: &[u8], most: usize, meter: &Meter) -> Option<Result<Vec<u8>, Unseen>> {
    let method = match bytes {
        [0x1f, 0x8b, ..] => Method::Gzip,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Method::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Method::Zstd,
        _ => return None,
    };
    Some(expand(method, bytes, most, meter))
}

/// Decompresses a stream that begins a stretch of bytes and will stay in memory, and says how many bytes of it it took.
pub(crate) fn stream(
    method: Method,
    bytes: &Bytes,
    most: usize,
    meter: &Meter,
) -> Result<(Vec<u8>, u64), Unseen> {
    let mut input = BufReader::with_capacity(STEP, Sequence { bytes, at: 0 });
    let mut source = Source::new(&mut input);
    let made = run(method, &mut source, most, meter)?;
    meter.hold(wide(made.len()))?;
    Ok((made, source.taken))
}

fn run(
    method: Method,
    source: &mut Source<'_>,
    most: usize,
    meter: &Meter,
) -> Result<Vec<u8>, Unseen> {
    let mut out = Sink {
        made: Vec::new(),
        most,
        meter,
    };
    match method {
        Method::Zlib => out.drain(&mut flate2::bufread::ZlibDecoder::new(&mut *source))?,
        Method::RawDeflate => out.drain(&mut flate2::bufread::DeflateDecoder::new(&mut *source))?,
        Method::Gzip => loop {
            out.drain(&mut flate2::bufread::GzDecoder::new(&mut *source))?;
            if !source.starts_with(&[0x1f, 0x8b])? {
                break;
            }
        },
        Method::Xz => loop {
            let mut reader = lzma_rust2::XzReader::new_mem_limit(&mut *source, false, MOST_XZ);
            out.drain(&mut reader)?;
            if !source.starts_with(b"\xfd7zXZ\0")? {
                break;
            }
        },
        Method::XzBlock => {
            let input = source.rest(most)?;
            if !xz::block(&input, &mut out)? {
                return expand(Method::Xz, &input, most, meter);
            }
        }
        Method::Lzma => {
            let mut header = [0; 13];
            source.read_exact(&mut header).map_err(damaged)?;
            let [props, d0, d1, d2, d3, size @ ..] = header;
            let dict = u32::from_le_bytes([d0, d1, d2, d3]);
            lzma(source, &mut out, (u64::from_le_bytes(size), props, dict))?;
        }
        Method::LzmaRaw { props, dict } => lzma_raw(source, &mut out, props, dict)?,
        Method::Lzo1x => {
            let input = source.rest(most)?;
            // It makes 255 bytes of one at the most.
            let room = input.len().saturating_mul(256).min(most);
            meter.expand(wide(room))?;
            out.made = vec![0; room];
            let made = lzokay::decompress::decompress(&input, &mut out.made);
            out.made
                .truncate(made.map_err(|why| Unseen::Damaged(format!("LZO: {why}")))?);
        }
        Method::Lz4Block => {
            let input = source.rest(most)?;
            let room = input.len().saturating_mul(256).min(most);
            meter.expand(wide(room))?;
            out.made = vec![0; room];
            let made = lz4_flex::block::decompress_into(&input, &mut out.made);
            out.made
                .truncate(made.map_err(|why| Unseen::Damaged(format!("LZ4: {why}")))?);
        }
        Method::Lz4Frame => loop {
            out.drain(&mut lz4_flex::frame::FrameDecoder::new(&mut *source))?;
            // The decoder takes an end between two blocks for the end of the frame.
            if source.ended {
                return Err(Unseen::Damaged("LZ4: it ends early".to_owned()));
            }
            if !source.starts_with(&lz4::FRAME)? {
                break;
            }
        },
        Method::Lz4Legacy => lz4::legacy(source, &mut out)?,
        Method::Zstd => zstd(source, &mut out)?,
        Method::Bzip2 => bzip2::streams(source, &mut out)?,
    }
    out.made.shrink_to_fit();
    Ok(out.made)
}

/// LZMA with its length, which is all ones if only an end mark ends it.
fn lzma(
    source: &mut Source<'_>,
    out: &mut Sink<'_>,
    (size, props, dict): (u64, u8, u32),
) -> Result<(), Unseen> {
    if size != u64::MAX && size > wide(out.most) {
        return Err(Unseen::TooMuch(out.most));
    }
    // A dictionary longer than all that may come of it is never looked up.
    let dict = dict.min(u32::try_from(out.most.max(4096)).unwrap_or(u32::MAX));
    let mut reader = lzma_rust2::LzmaReader::new_with_props(&mut *source, size, props, dict, None)
        .map_err(damaged)?;
    reader.set_relaxed_end_condition(false);
    out.drain(&mut reader)?;
    let unused = reader.into_parts().1.len();
    source.taken = source.taken.saturating_sub(wide(unused));
    if size != u64::MAX && wide(out.made.len()) != size {
        return Err(Unseen::Damaged("LZMA: it ends early".to_owned()));
    }
    Ok(())
}

fn lzma_raw(
    source: &mut Source<'_>,
    out: &mut Sink<'_>,
    props: u8,
    dict: u32,
) -> Result<(), Unseen> {
    let dict = dict.min(u32::try_from(out.most.max(4096)).unwrap_or(u32::MAX));
    let mut reader =
        lzma_rust2::LzmaReader::new_with_props(&mut *source, u64::MAX, props, dict, None)
            .map_err(damaged)?;
    out.meter.expand(wide(out.most))?;
    while out.made.len() < out.most {
        let start = out.made.len();
        let end = start.saturating_add(STEP).min(out.most);
        out.made.resize(end, 0);
        let read = reader.read(out.made.get_mut(start..).unwrap_or_default());
        let count = match read {
            Ok(count) => count,
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(why) => return Err(damaged(why)),
        };
        out.made.truncate(start.saturating_add(count));
        if count == 0 {
            break;
        }
    }
    Ok(())
}

/// Frames and skippable frames (RFC 8878 section 3.1), with their checksums.
fn zstd(source: &mut Source<'_>, out: &mut Sink<'_>) -> Result<(), Unseen> {
    const FRAME: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    loop {
        // Behind what is wanted, an image may have something else.
        if out.made.len() == out.most && source.taken > 0 {
            return Ok(());
        }
        let start = source.peek(4)?;
        if let [low @ 0x50..=0x5f, 0x2a, 0x4d, 0x18] = start.as_slice() {
            let _: &u8 = low;
            let mut header = [0; 8];
            source.read_exact(&mut header).map_err(damaged)?;
            let [.., l0, l1, l2, l3] = header;
            let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
            let skipped = io::copy(&mut source.by_ref().take(length), &mut io::sink());
            if skipped.map_err(damaged)? != length {
                return Err(Unseen::Damaged("zstd: it ends early".to_owned()));
            }
        } else if start == FRAME || out.made.is_empty() && source.taken == 0 {
            let whole = |why| Unseen::Damaged(format!("zstd: {why}"));
            let mut reader = ruzstd::decoding::StreamingDecoder::new(&mut *source)
                .map_err(|why| whole(why.to_string()))?;
            out.drain(&mut reader)?;
            let decoder = reader.into_frame_decoder();
            let said = decoder.get_checksum_from_data();
            if said.is_some() && said != decoder.get_calculated_checksum() {
                return Err(whole("its checksum is wrong".to_owned()));
            }
        } else {
            return Ok(());
        }
    }
}

/// Where the compressed bytes come from; counts them.
struct Source<'a> {
    input: &'a mut dyn BufRead,
    taken: u64,
    /// Somebody asked for more than there was.
    ended: bool,
    /// Bytes that were looked at and not taken yet.
    ahead: Vec<u8>,
}

impl<'a> Source<'a> {
    fn new(input: &'a mut dyn BufRead) -> Self {
        Self {
            input,
            taken: 0,
            ended: false,
            ahead: Vec::new(),
        }
    }

    /// The next bytes, fewer at the end, without taking them.
    fn peek(&mut self, count: usize) -> Result<Vec<u8>, Unseen> {
        while self.ahead.len() < count {
            let mut byte = [0];
            match self.input.read(&mut byte).map_err(damaged)? {
                0 => break,
                _ => self.ahead.extend(byte),
            }
        }
        Ok(self.ahead.iter().take(count).copied().collect())
    }

    fn starts_with(&mut self, magic: &[u8]) -> Result<bool, Unseen> {
        Ok(self.peek(magic.len())? == magic)
    }

    /// All that is left, which must not be more than a compressed form of `most` bytes may have.
    fn rest(&mut self, most: usize) -> Result<Vec<u8>, Unseen> {
        let bound = wide(most).saturating_add(wide(most / 8)).saturating_add(64);
        let mut rest = Vec::new();
        let mut part = self.by_ref().take(bound.saturating_add(1));
        part.read_to_end(&mut rest).map_err(damaged)?;
        if wide(rest.len()) > bound {
            return Err(Unseen::TooMuch(most));
        }
        Ok(rest)
    }
}

impl Read for Source<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let count = from.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.ahead.is_empty() {
            return Ok(&self.ahead);
        }
        let found = self.input.fill_buf()?;
        self.ended |= found.is_empty();
        Ok(found)
    }

    fn consume(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(wide(count));
        if self.ahead.is_empty() {
            self.input.consume(count);
        } else {
            self.ahead.drain(..count.min(self.ahead.len()));
        }
    }
}

/// Where the bytes go.
struct Sink<'a> {
    made: Vec<u8>,
    most: usize,
    meter: &'a Meter,
}

impl Sink<'_> {
    /// Takes all that a decoder gives.
    fn drain(&mut self, from: &mut dyn Read) -> Result<(), Unseen> {
        loop {
            let start = self.made.len();
            self.made.resize(start.saturating_add(STEP), 0);
            let read = from.read(self.made.get_mut(start..).unwrap_or_default());
            let count = read.map_err(damaged)?;
            self.made.truncate(start.saturating_add(count));
            if count == 0 {
                return Ok(());
            }
            self.count(count)?;
        }
    }

    /// So many bytes were made.
    fn count(&self, more: usize) -> Result<(), Unseen> {
        self.meter.expand(wide(more))?;
        if self.made.len() > self.most {
            return Err(Unseen::TooMuch(self.most));
        }
        Ok(())
    }
}

/// Bytes one after another.
struct Sequence<'a> {
    bytes: &'a Bytes,
    at: u64,
}

impl Read for Sequence<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let found = self.bytes.some(self.at, to.len());
        let found = found.map_err(|why| io::Error::other(why.to_string()))?;
        if let Some(to) = to.get_mut(..found.len()) {
            to.copy_from_slice(&found);
        }
        self.at = self.at.saturating_add(wide(found.len()));
        Ok(found.len())
    }
}

pub(crate) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn damaged(why: io::Error) -> Unseen {
    Unseen::Damaged(format!("it can not be decompressed: {why}"))
}

#[cfg(test)]
mod tests;
