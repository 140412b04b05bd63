//! pcapng (draft-ietf-opsawg-pcapng).

use core::time::Duration;

use super::pcap::Order;
use super::source::{Source, fault_at};
use super::{CaptureFault, Frame, LinkType, MAX_FRAME, Stop};
use crate::bytes::Bytes;

/// How many interfaces a section may describe.
pub(super) const MAX_INTERFACES: usize = 4096;

/// The longest block that is looked into: a frame and its options; longer ones of other kinds are passed over.
const MAX_BLOCK: u32 = MAX_FRAME * 2;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete (appendix A), but there are files.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
}

#[derive(Debug)]
struct Interface {
    link: LinkType,
    snap_len: u32,
    resolution: Resolution,
    /// Seconds to add to each time (`if_tsoffset`).
    offset: i64,
}

/// How many parts of a second a time stamp counts (`if_tsresol`).
#[derive(Debug, Clone, Copy)]
struct Resolution(u64);

impl Resolution {
    const MICROSECONDS: Self = Self(1_000_000);

    /// A power of ten or, with the upper bit, of two; no clock is finer than what fits.
    fn from_option(byte: u8) -> Self {
        let power = u32::from(byte & 0x7f);
        let base: u64 = if byte & 0x80 == 0 { 10 } else { 2 };
        Self(base.checked_pow(power).unwrap_or(u64::MAX))
    }

    fn time(self, stamp: u64, offset: i64) -> Duration {
        let seconds = stamp.checked_div(self.0).unwrap_or_default();
        let part = u128::from(stamp.checked_rem(self.0).unwrap_or_default());
        let nanos = part
            .saturating_mul(1_000_000_000)
            .checked_div(self.0.into())
            .and_then(|nanos| u32::try_from(nanos).ok())
            .unwrap_or_default();
        Duration::new(seconds.saturating_add_signed(offset), nanos)
    }
}

impl Pcapng {
    /// The first section header, whose kind has been read.
    pub(super) fn open(source: &mut Source) -> Result<Self, Stop> {
        let mut fresh = Self {
            order: Order::Big,
            interfaces: Vec::new(),
        };
        fresh.section(0, source)?;
        Ok(fresh)
    }

    /// Section Header Block (§4.1), after its kind. It alone says in which order the bytes of the section are.
    fn section(&mut self, start: u64, source: &mut Source) -> Result<(), Stop> {
        let length: [u8; 4] = source.array()?;
        let magic: [u8; 4] = source.array()?;
        self.order = match u32::from_be_bytes(magic) {
            0x1a2b_3c4d => Order::Big,
            0x4d3c_2b1a => Order::Little,
            _ => {
                return Err(fault_at(start, CaptureFault::Block(SECTION_HEADER)).into());
            }
        };
        let order = self.order;
        let length = order.u32(&mut Bytes(&length)).ok_or(Stop::More)?;
        // Kind, length, magic, version, section length, and the length again.
        let sound = length % 4 == 0 && length <= MAX_BLOCK;
        let rest = usize_of(length).checked_sub(28).filter(|_| sound);
        let Some(rest) = rest else {
            return Err(fault_at(start, CaptureFault::BlockLength(length)).into());
        };
        let version: [u8; 4] = source.array()?;
        let mut version = Bytes(&version);
        let major = order.u16(&mut version).unwrap_or_default();
        let minor = order.u16(&mut version).unwrap_or_default();
        if major != 1 {
            let fault = CaptureFault::Version(major, minor);
            return Err(fault_at(start, fault).into());
        }
        // The section's length, its options and the block's length once more.
        source.bytes(8)?;
        source.bytes(rest)?;
        let again: [u8; 4] = source.array()?;
        if order.u32(&mut Bytes(&again)) != Some(length) {
            return Err(fault_at(start, CaptureFault::BlockLength(length)).into());
        }
        self.interfaces.clear();
        Ok(())
    }

    /// The next block; a frame if it holds one.
    pub(super) fn next(&mut self, source: &mut Source) -> Result<Option<Frame>, Stop> {
        let start = source.offset();
        let kind: [u8; 4] = source.array()?;
        self.block(start, kind, source)
    }

    /// A block (§3.1) after its kind; a frame if it holds one.
    fn block(
        &mut self,
        start: u64,
        kind: [u8; 4],
        source: &mut Source,
    ) -> Result<Option<Frame>, Stop> {
        let order = self.order;
        let kind = order.u32(&mut Bytes(&kind)).ok_or(Stop::More)?;
        // The same in either order of bytes.
        if kind == SECTION_HEADER {
            self.section(start, source)?;
            return Ok(None);
        }
        let length: [u8; 4] = source.array()?;
        let length = order.u32(&mut Bytes(&length)).ok_or(Stop::More)?;
        let bad_length = || Stop::from(fault_at(start, CaptureFault::BlockLength(length)));
        let body = usize_of(length).checked_sub(12);
        let Some(body) = body.filter(|_| length % 4 == 0) else {
            return Err(bad_length());
        };
        let wanted = matches!(
            kind,
            INTERFACE_DESCRIPTION | PACKET | SIMPLE_PACKET | ENHANCED_PACKET
        );
        if length > MAX_BLOCK {
            if wanted {
                return Err(bad_length());
            }
            // Too long to be kept until its end is there, so its second length is not looked at.
            source.pass_over(start, u64::from(length).saturating_sub(8));
            return Ok(None);
        }
        let content = source.bytes(body)?.to_vec();
        let again: [u8; 4] = source.array()?;
        if order.u32(&mut Bytes(&again)) != Some(length) {
            return Err(bad_length());
        }
        if !wanted {
            return Ok(None);
        }
        let content = Bytes(&content);
        let read = match kind {
            INTERFACE_DESCRIPTION => self.interface(content).map(|()| None),
            SIMPLE_PACKET => self.simple(content).map(Some),
            PACKET => self.packet(content, true).map(Some),
            _ => self.packet(content, false).map(Some),
        };
        read.map_err(|fault| {
            let fault = fault.unwrap_or(CaptureFault::Block(kind));
            fault_at(start, fault).into()
        })
    }

    /// Interface Description Block (§4.2).
    fn interface(&mut self, mut content: Bytes<'_>) -> Result<(), Option<CaptureFault>> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(Some(CaptureFault::Interfaces));
        }
        let order = self.order;
        let link = order.u16(&mut content).ok_or(None)?;
        content.take(2).ok_or(None)?;
        let snap_len = order.u32(&mut content).ok_or(None)?;
        let mut interface = Interface {
            link: LinkType::from_number(link.into()),
            snap_len,
            resolution: Resolution::MICROSECONDS,
            offset: 0,
        };
        // Options (§3.5); what can not be read of them ends them.
        while let (Some(code), Some(length)) = (order.u16(&mut content), order.u16(&mut content)) {
            let Some(value) = content.take(length.into()) else {
                break;
            };
            let padding = usize::from(length).wrapping_neg() % 4;
            match (code, value) {
                (0, _) => break,
                (9, &[resolution]) => interface.resolution = Resolution::from_option(resolution),
                (14, value) => {
                    if let Ok(value) = value.try_into() {
                        interface.offset = match order {
                            Order::Big => i64::from_be_bytes(value),
                            Order::Little => i64::from_le_bytes(value),
                        };
                    }
                }
                _ => {}
            }
            if content.take(padding).is_none() {
                break;
            }
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn of(&self, index: u32) -> Result<&Interface, Option<CaptureFault>> {
        let found = self.interfaces.get(usize_of(index));
        found.ok_or(Some(CaptureFault::Interface(index)))
    }

    /// Enhanced Packet Block (§4.3), or the obsolete Packet Block, which differs in its first field.
    fn packet(
        &self,
        mut content: Bytes<'_>,
        obsolete: bool,
    ) -> Result<Frame, Option<CaptureFault>> {
        let order = self.order;
        let index = if obsolete {
            let index = order.u16(&mut content).map(u32::from);
            // Frames that were lost before this one.
            content.take(2).and(index)
        } else {
            order.u32(&mut content)
        };
        let interface = self.of(index.ok_or(None)?)?;
        let mut field = || order.u32(&mut content).ok_or(None);
        let (high, low, kept, original_len) = (field()?, field()?, field()?, field()?);
        if kept > MAX_FRAME {
            return Err(Some(CaptureFault::FrameTooLong(kept)));
        }
        let bytes = content.take(usize_of(kept)).ok_or(None)?;
        let stamp = u64::from(high) << 32 | u64::from(low);
        Ok(Frame {
            time: interface.resolution.time(stamp, interface.offset),
            link: interface.link,
            bytes: bytes.to_vec(),
            original_len,
        })
    }

    /// Simple Packet Block (§4.4): of the first interface, without a time.
    fn simple(&self, mut content: Bytes<'_>) -> Result<Frame, Option<CaptureFault>> {
        let interface = self.of(0)?;
        let original_len = self.order.u32(&mut content).ok_or(None)?;
        let limit = match interface.snap_len {
            0 => MAX_FRAME,
            limit => limit,
        };
        let kept = original_len.min(limit);
        if kept > MAX_FRAME {
            return Err(Some(CaptureFault::FrameTooLong(kept)));
        }
        let bytes = content.take(usize_of(kept)).ok_or(None)?;
        Ok(Frame {
            time: Duration::ZERO,
            link: interface.link,
            bytes: bytes.to_vec(),
            original_len,
        })
    }
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
