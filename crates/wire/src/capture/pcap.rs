//! pcap (draft-ietf-opsawg-pcap).

use core::time::Duration;

use super::source::{Source, fault_at};
use super::{CaptureFault, Frame, LinkType, MAX_FRAME, Stop};
use crate::bytes::Bytes;

#[derive(Debug)]
pub(super) struct Pcap {
    order: Order,
    /// How many nanoseconds the second field of a time stamp counts.
    unit: u32,
    link: LinkType,
    /// What follows the four fields of a record's header.
    more_header: usize,
}

/// The byte order of the machine that wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    pub(super) fn u16(self, bytes: &mut Bytes<'_>) -> Option<u16> {
        let array = bytes.array()?;
        Some(match self {
            Self::Big => u16::from_be_bytes(array),
            Self::Little => u16::from_le_bytes(array),
        })
    }

    pub(super) fn u32(self, bytes: &mut Bytes<'_>) -> Option<u32> {
        let array = bytes.array()?;
        Some(match self {
            Self::Big => u32::from_be_bytes(array),
            Self::Little => u32::from_le_bytes(array),
        })
    }
}

impl Pcap {
    /// The file header (§4), whose magic number has been read.
    pub(super) fn open(magic: [u8; 4], source: &mut Source) -> Result<Self, Stop> {
        let big = u32::from_be_bytes(magic);
        let known = |magic| match magic {
            0xa1b2_c3d4 => Some((1_000, 0)),
            0xa1b2_3c4d => Some((1, 0)),
            // Alexey Kuznetsov's patched format of 1999: interface, protocol and kind follow each record's header.
            0xa1b2_cd34 => Some((1_000, 8)),
            _ => None,
        };
        let (order, (unit, more_header)) = match (known(big), known(big.swap_bytes())) {
            (Some(kind), _) => (Order::Big, kind),
            (None, Some(kind)) => (Order::Little, kind),
            (None, None) => {
                return Err(fault_at(0, CaptureFault::NoCapture(big)).into());
            }
        };
        let header: [u8; 20] = source.array()?;
        let mut header = Bytes(&header);
        let mut fields = || {
            let major = order.u16(&mut header)?;
            let minor = order.u16(&mut header)?;
            // Two fields that always were 0, and the length at which frames were cut.
            header.take(12)?;
            Some((major, minor, order.u32(&mut header)?))
        };
        let (major, minor, link) = fields().ok_or(Stop::More)?;
        if major != 2 {
            let fault = CaptureFault::Version(major, minor);
            return Err(fault_at(4, fault).into());
        }
        Ok(Self {
            order,
            unit,
            // The upper bits tell of the frame check sequence.
            link: LinkType::from_number(link & 0xffff),
            more_header,
        })
    }

    /// A packet record (§5).
    pub(super) fn next(&mut self, source: &mut Source) -> Result<Frame, Stop> {
        let start = source.offset();
        let header: [u8; 16] = source.array()?;
        let mut header = Bytes(&header);
        let mut field = || self.order.u32(&mut header).ok_or(Stop::More);
        let (seconds, part, kept, original_len) = (field()?, field()?, field()?, field()?);
        if kept > MAX_FRAME {
            let fault = CaptureFault::FrameTooLong(kept);
            return Err(fault_at(start, fault).into());
        }
        source.bytes(self.more_header)?;
        let bytes = source.bytes(usize::try_from(kept).unwrap_or(usize::MAX))?;
        let bytes = bytes.to_vec();
        let part = u64::from(part).saturating_mul(self.unit.into());
        Ok(Frame {
            time: Duration::from_secs(seconds.into()).saturating_add(Duration::from_nanos(part)),
            link: self.link,
            bytes,
            original_len,
        })
    }
}
