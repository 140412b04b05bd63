//! Disks of QEMU (its `docs/interop/qcow2.txt`), versions 2 and 3. Snapshots are left alone; a disk that leans on another file is
//! refused.

use stockade_controls::engine::Unseen;

use crate::compress::{Method, expand, wide};
use crate::fields::Fields;
use crate::format::{Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The magic.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"QFI\xfb\0\0\0")];

/// Where a cluster is, of a table's entry.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// As many stretches are kept at the most.
const MOST: usize = 1_000_000;
/// The largest first table (QEMU's `QCOW_MAX_L1_SIZE`).
const TABLE: usize = 32 << 20;

struct Disk<'a> {
    bytes: &'a Bytes,
    meter: &'a Meter,
    /// Bits of a place in a cluster.
    bits: u32,
    method: Method,
    runs: Vec<Run>,
}

enum Run {
    At(u64, u64),
    Hole(u64),
    Made(Vec<u8>),
}

/// Reads it as the disk that it is.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let fixed = bytes.read(0, 72)?;
    let mut fields = Fields::big(&fixed);
    fields.take(4)?;
    let version = fields.u32()?;
    let backing = fields.u64()?;
    fields.u32()?;
    let bits = fields.u32()?;
    let size = fields.u64()?;
    let crypt = fields.u32()?;
    let (count, table) = (fields.u32()?, fields.u64()?);
    if backing != 0 {
        return Err(wrong("it leans on another file"));
    }
    if crypt != 0 {
        return Err(wrong("it is encrypted"));
    }
    let mut method = Method::RawDeflate;
    match version {
        2 => (),
        3 => {
            let fixed = bytes.read(72, 32)?;
            let mut fields = Fields::big(&fixed);
            let features = fields.u64()?;
            fields.take(20)?;
            let length = fields.u32()?;
            // Dirty and "another compression" change nothing here.
            if features & !0b1001 != 0 {
                return Err(wrong("features that are not read"));
            }
            if features & 0b1000 != 0 && length > 104 && bytes.read(104, 1)? == [1] {
                method = Method::Zstd;
            }
        }
        _ => return Err(wrong("a version that is not read")),
    }
    if !(9..=21).contains(&bits) {
        return Err(wrong("clusters of a size that none has"));
    }
    let mut disk = Disk {
        bytes,
        meter,
        bits,
        method,
        runs: Vec::new(),
    };
    disk.clusters(size, (count, table))?;
    let joined = disk.runs.into_iter().map(|run| match run {
        Run::At(at, length) => bytes.part(at, length),
        Run::Hole(length) => Ok(Bytes::filled(0, length)),
        Run::Made(made) => Ok(Bytes::memory(made)),
    });
    let joined: Vec<_> = joined.collect::<Result<_, _>>()?;
    let whole = Bytes::joined(joined).part(0, size)?;
    Ok(Opened {
        content: Inside::Pieces(vec![Piece::new("", whole)]),
        length: Some(bytes.length()),
        notes: Vec::new(),
    })
}

impl Disk<'_> {
    /// All clusters in order, at least as many as the disk has bytes.
    fn clusters(&mut self, size: u64, (count, table): (u32, u64)) -> Result<(), Unseen> {
        let cluster = 1_u64.wrapping_shl(self.bits);
        let of_table = cluster.saturating_mul(cluster / 8);
        let needed = size.div_ceil(of_table);
        let length = usize::try_from(needed).unwrap_or(usize::MAX);
        let length = length.saturating_mul(8);
        if needed > u64::from(count) || length > TABLE {
            return Err(wrong("a table of a size that none has"));
        }
        let first = self.bytes.read(table, length)?;
        let mut first = Fields::big(&first);
        let mut left = size;
        while left > 0 {
            self.meter.time()?;
            let here = left.min(of_table);
            let second = first.u64()? & OFFSET;
            if second == 0 {
                self.push(Run::Hole(here))?;
            } else {
                let length = here.div_ceil(cluster).saturating_mul(8);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let entries = self.bytes.read(second, length)?;
                let mut entries = Fields::big(&entries);
                while !entries.rest().is_empty() {
                    let entry = entries.u64()?;
                    self.cluster(entry, cluster)?;
                }
            }
            left = left.saturating_sub(here);
        }
        Ok(())
    }

    fn cluster(&mut self, entry: u64, cluster: u64) -> Result<(), Unseen> {
        if entry & COMPRESSED != 0 {
            let shift = 70_u32.saturating_sub(self.bits);
            let at = entry & 1_u64.wrapping_shl(shift).wrapping_sub(1);
            let sectors = (entry & (COMPRESSED - 1))
                .wrapping_shr(shift)
                .saturating_add(1);
            let length = sectors.saturating_mul(512).saturating_sub(at & 511);
            let most = self.bytes.length().saturating_sub(at);
            let packed = usize::try_from(length.min(most)).unwrap_or(usize::MAX);
            let packed = self.bytes.read(at, packed)?;
            let long = usize::try_from(cluster).unwrap_or(usize::MAX);
            let made = expand(self.method, &packed, long, self.meter)?;
            self.meter.hold(cluster)?;
            if wide(made.len()) != cluster {
                return Err(wrong("a cluster is too short"));
            }
            return self.push(Run::Made(made));
        }
        match entry & OFFSET {
            0 => self.push(Run::Hole(cluster)),
            _ if entry & ZERO != 0 => self.push(Run::Hole(cluster)),
            at => {
                // The last one may be cut off where the file ends.
                let there = self.bytes.length().saturating_sub(at).min(cluster);
                self.push(Run::At(at, there))?;
                self.push(Run::Hole(cluster.saturating_sub(there)))
            }
        }
    }

    fn push(&mut self, run: Run) -> Result<(), Unseen> {
        match (self.runs.last_mut(), &run) {
            (_, Run::Hole(0) | Run::At(_, 0)) => return Ok(()),
            (Some(Run::Hole(before)), Run::Hole(more)) => {
                *before = before.saturating_add(*more);
                return Ok(());
            }
            (Some(Run::At(at, before)), Run::At(next, more))
                if at.checked_add(*before) == Some(*next) =>
            {
                *before = before.saturating_add(*more);
                return Ok(());
            }
            _ => (),
        }
        if self.runs.len() >= MOST {
            return Err(Unseen::TooMuch(MOST));
        }
        self.runs.push(run);
        Ok(())
    }
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("qcow2: {why}"))
}
