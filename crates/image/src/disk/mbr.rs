//! Partitions as DOS has them, logical ones too.

use std::collections::BTreeSet;

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::format::{Inside, Opened, Range, covered};
use crate::{Bytes, Meter};

/// The magic.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(510, &[0x55, 0xaa])];

const SECTOR: u64 = 512;
const MOST: usize = 128;

struct Entry {
    kind: u8,
    first: u64,
    count: u64,
}

/// Reads the table and those that hang on it.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let mut ranges = Vec::new();
    let mut logical = 5;
    for (number, entry) in (1_u32..).zip(table(bytes, 0)?) {
        match entry.kind {
            0 => (),
            0xee => return Err(wrong("partitions of EFI without their table")),
            0x05 | 0x0f | 0x85 => {
                // A chain: each table has one partition and the next table.
                let mut seen = BTreeSet::new();
                let mut at = entry.first;
                while seen.insert(at) && seen.len() <= MOST {
                    meter.time()?;
                    let mut links = table(bytes, at)?.into_iter();
                    if let Some(one) = links.next().filter(|it| it.kind != 0) {
                        ranges.push(range(logical, at.saturating_add(one.first), one.count));
                        logical = logical.saturating_add(1);
                    }
                    match links.next() {
                        Some(next) if next.kind != 0 => at = entry.first.saturating_add(next.first),
                        _ => break,
                    }
                }
            }
            _ => ranges.push(range(number, entry.first, entry.count)),
        }
    }
    if ranges.is_empty() {
        return Err(wrong("no partition in it"));
    }
    Ok(Opened {
        content: Inside::Pieces(covered(bytes, bytes.length(), ranges)),
        length: Some(bytes.length()),
        notes: Vec::new(),
    })
}

fn range(number: u32, first: u64, count: u64) -> Range {
    Range {
        name: format!("partition {number}"),
        at: first.saturating_mul(SECTOR),
        length: count.saturating_mul(SECTOR),
        program: false,
    }
}

fn table(bytes: &Bytes, sector: u64) -> Result<Vec<Entry>, Unseen> {
    let text = bytes.read(sector.saturating_mul(SECTOR).saturating_add(446), 66)?;
    let mut fields = Fields::little(&text);
    let mut entries = Vec::new();
    for _ in 0..4 {
        let status = fields.u8()?;
        fields.take(3)?;
        let kind = fields.u8()?;
        fields.take(3)?;
        let (first, count) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        let kind = if count == 0 { 0 } else { kind };
        if status & 0x7f != 0 || kind != 0 && first == 0 {
            return Err(wrong("no table of partitions"));
        }
        entries.push(Entry { kind, first, count });
    }
    if fields.take(2)? != [0x55, 0xaa] {
        return Err(wrong("no table of partitions"));
    }
    Ok(entries)
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("DOS partitions: {why}"))
}
