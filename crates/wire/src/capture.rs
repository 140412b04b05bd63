//! Captures: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), told apart by their first bytes.

mod pcap;
mod pcapng;
mod source;

use core::time::Duration;
use std::fmt;

use source::{Source, fault_at};

/// The most bytes of one frame that are read; libpcap's own limit (`MAXIMUM_SNAPLEN`).
pub const MAX_FRAME: u32 = 262_144;

/// What a frame's first bytes are (the registry of LINKTYPE values).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkType {
    /// BSD loopback: four bytes of the family in the order of the machine that captured.
    Loopback,
    /// Ethernet.
    Ethernet,
    /// An IP packet, without any link.
    Raw,
    /// Linux "cooked" capture, of all interfaces at once.
    LinuxCooked,
    /// Linux "cooked" capture, second version.
    LinuxCooked2,
    /// Any other, by its number.
    Other(u32),
}

impl LinkType {
    fn from_number(number: u32) -> Self {
        match number {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            // 12 and 14 are what BSDs call raw IP in their own files.
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            113 => Self::LinuxCooked,
            276 => Self::LinuxCooked2,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Ethernet => f.write_str("Ethernet"),
            Self::Raw => f.write_str("raw IP"),
            Self::LinuxCooked => f.write_str("Linux cooked"),
            Self::LinuxCooked2 => f.write_str("Linux cooked, version 2"),
            Self::Other(number) => write!(f, "link type {number}"),
        }
    }
}

/// A frame as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When, since 1970-01-01 (UTC).
    pub time: Duration,
    /// What the first bytes are.
    pub link: LinkType,
    /// The bytes that were kept.
    pub bytes: Vec<u8>,
    /// How long the frame was on the wire, as the capture says.
    pub original_len: u32,
}

/// Why a capture can not be read on, and where.
#[derive(Debug, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct CaptureError {
    /// Where in the input.
    pub offset: u64,
    /// What is wrong there.
    pub fault: CaptureFault,
}

/// What is wrong in a capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureFault {
    /// There are no bytes, or too few to say what it is.
    #[error("the input is empty or ends in its header")]
    Empty,
    /// Neither format.
    #[error("neither pcap nor pcapng (it begins with {0:08x})")]
    NoCapture(u32),
    /// A compressed file.
    #[error("the input is compressed; unpack it first (gunzip, unzstd)")]
    Compressed,
    /// A version other than the one there is.
    #[error("version {0}.{1} of the format is not known")]
    Version(u16, u16),
    /// A frame beyond [`MAX_FRAME`].
    #[error("a frame claims {0} bytes; {MAX_FRAME} are the most")]
    FrameTooLong(u32),
    /// A block's length can not be.
    #[error("a block claims {0} bytes")]
    BlockLength(u32),
    /// A block is not what its kind demands.
    #[error("a block of kind {0:#x} is malformed")]
    Block(u32),
    /// A frame of an interface that no block describes.
    #[error("a frame of interface {0}, which the capture does not describe")]
    Interface(u32),
    /// More interfaces than anyone has.
    #[error("more than {} interfaces in a section", pcapng::MAX_INTERFACES)]
    Interfaces,
}

/// A capture that is handed in piece by piece; memory stays that of a piece and a frame.
///
/// ```
/// # use stockade_wire::capture::{CaptureError, Decoder};
/// # fn read(pieces: &[&[u8]]) -> Result<(), CaptureError> {
/// let mut decoder = Decoder::default();
/// for piece in pieces {
///     decoder.push(piece);
///     while let Some(frame) = decoder.next_frame()? {
///         println!("{} bytes", frame.bytes.len());
///     }
/// }
/// if let Some(at) = decoder.finish()? {
///     println!("the last frame, at byte {at}, is cut");
/// }
/// # Ok(())
/// # }
/// # assert!(read(&[]).is_err());
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    source: Source,
    format: Option<Format>,
    failed: bool,
}

#[derive(Debug)]
enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
}

/// Why no frame comes.
enum Stop {
    /// It needs bytes that are not there yet.
    More,
    Fault(CaptureError),
}

impl From<CaptureError> for Stop {
    fn from(error: CaptureError) -> Self {
        Self::Fault(error)
    }
}

impl Decoder {
    /// The next piece of the input. Take all frames out before the next one.
    pub fn push(&mut self, bytes: &[u8]) {
        self.source.push(bytes);
    }

    /// The next frame; none if it needs more bytes. Nothing follows an error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        while !self.failed {
            let mark = self.source.mark();
            match self.step() {
                Ok(None) => {}
                Ok(frame) => return Ok(frame),
                Err(Stop::More) => {
                    self.source.go_back(mark);
                    break;
                }
                Err(Stop::Fault(error)) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// The header, a block or a frame.
    fn step(&mut self) -> Result<Option<Frame>, Stop> {
        match &mut self.format {
            None => {
                self.format = Some(open(&mut self.source)?);
                Ok(None)
            }
            Some(Format::Pcap(pcap)) => pcap.next(&mut self.source).map(Some),
            Some(Format::Pcapng(pcapng)) => pcapng.next(&mut self.source),
        }
    }

    /// There is no more input. Where the last frame began, if the input ended within one: that is no error, for whoever
    /// captured may have been killed, or a disk was full.
    pub fn finish(self) -> Result<Option<u64>, CaptureError> {
        if self.failed {
            return Ok(None);
        }
        let begun = self.source.begun();
        if self.format.is_none() {
            return Err(fault_at(self.source.offset(), CaptureFault::Empty));
        }
        Ok(begun)
    }
}

fn open(source: &mut Source) -> Result<Format, Stop> {
    let magic: [u8; 4] = source.array()?;
    match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => pcapng::Pcapng::open(source).map(Format::Pcapng),
        // gzip (RFC 1952 §2.3.1), zstd (RFC 8878 §3.1.1), xz.
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd] | [0xfd, b'7', b'z', b'X'] => {
            Err(fault_at(0, CaptureFault::Compressed).into())
        }
        other => pcap::Pcap::open(other, source).map(Format::Pcap),
    }
}

/// The frames of a capture that is all there.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    decoder: Option<Decoder>,
    cut_at: Option<u64>,
}

/// How much of it is handed to the decoder at a time.
const PIECE: usize = 65_536;

impl<'a> Reader<'a> {
    /// Frames of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            decoder: Some(Decoder::default()),
            cut_at: None,
        }
    }

    /// Where the last, incomplete frame began, if the input ended within one; known when there are no more frames.
    pub fn cut_at(&self) -> Option<u64> {
        self.cut_at
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Frame, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.decoder.as_mut()?.next_frame() {
                Ok(Some(frame)) => return Some(Ok(frame)),
                Ok(None) if self.rest.is_empty() => {
                    match self.decoder.take()?.finish() {
                        Ok(cut_at) => self.cut_at = cut_at,
                        Err(error) => return Some(Err(error)),
                    }
                    return None;
                }
                Ok(None) => {
                    let piece = self.rest.get(..PIECE).unwrap_or(self.rest);
                    self.decoder.as_mut()?.push(piece);
                    self.rest = self.rest.get(piece.len()..).unwrap_or_default();
                }
                Err(error) => {
                    self.decoder = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
