//! Captures: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), told apart by their first bytes.

mod pcap;
mod pcapng;
mod source;

use std::fmt;
use std::io::Read;
use std::time::Duration;

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
    /// The input can not be read.
    #[error("the input can not be read: {0}")]
    Read(std::io::Error),
}

/// A capture's frames, in their order; memory stays that of one frame.
///
/// An error ends the frames. An input that ends within a frame (the program that captured was killed, a disk was full) is no
/// error: [`Reader::cut_at`] says so afterwards.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    format: Format,
    ended: bool,
    cut_at: Option<u64>,
}

#[derive(Debug)]
enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
}

/// Why no frame comes.
enum Stop {
    /// The input ended where a frame could have begun.
    End,
    /// The input ended within something that began here.
    Cut(u64),
    Fault(CaptureError),
}

impl From<CaptureError> for Stop {
    fn from(error: CaptureError) -> Self {
        Self::Fault(error)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header, which says which format it is.
    pub fn new(input: R) -> Result<Self, CaptureError> {
        let mut source = Source::new(input);
        let opened = open(&mut source);
        let format = opened.map_err(|stop| match stop {
            Stop::Fault(error) => error,
            Stop::End | Stop::Cut(_) => CaptureError {
                offset: source.offset(),
                fault: CaptureFault::Empty,
            },
        })?;
        Ok(Self {
            source,
            format,
            ended: false,
            cut_at: None,
        })
    }

    /// Where the last, incomplete frame began, if the input ended within one.
    pub fn cut_at(&self) -> Option<u64> {
        self.cut_at
    }
}

fn open<R: Read>(source: &mut Source<R>) -> Result<Format, Stop> {
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

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Frame, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.source),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.source),
        };
        match next {
            Ok(frame) => return Some(Ok(frame)),
            Err(Stop::End) => self.ended = true,
            Err(Stop::Cut(at)) => {
                self.ended = true;
                self.cut_at = Some(at);
            }
            Err(Stop::Fault(error)) => {
                self.ended = true;
                return Some(Err(error));
            }
        }
        None
    }
}
