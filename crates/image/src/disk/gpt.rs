//! Partitions as EFI has them (UEFI 2.10 chapter 5), with their checksums.

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::format::{Inside, Opened, Range, covered};
use crate::{Bytes, Meter};

/// The magic, behind a first sector of either size.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(512, b"EFI PART"), (4096, b"EFI PART")];

const MOST: u64 = 1024;

/// Reads the table, or its copy at the end.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let small = bytes.read(512, 8)? == b"EFI PART";
    let sector = if small { 512 } else { 4096 };
    let last = bytes.length().saturating_sub(sector);
    let (ranges, notes) = match table(bytes, sector, sector) {
        Ok(ranges) => (ranges, Vec::new()),
        Err(why) => {
            let copy = table(bytes, last, sector).map_err(|_| why.clone())?;
            let note = (
                "partitions".to_owned(),
                format!("read from the copy: {why}"),
            );
            (copy, vec![note])
        }
    };
    meter.time()?;
    Ok(Opened {
        content: Inside::Pieces(covered(bytes, bytes.length(), ranges)),
        length: Some(bytes.length()),
        notes,
    })
}

fn table(bytes: &Bytes, at: u64, sector: u64) -> Result<Vec<Range>, Unseen> {
    let mut header = bytes.read(at, 92)?;
    let mut fields = Fields::little(&header);
    if fields.take(8)? != b"EFI PART" {
        return Err(wrong("no header"));
    }
    fields.u32()?;
    let length = fields.u32()?;
    let said = fields.u32()?;
    fields.take(52)?;
    let entries = fields.u64()?;
    let (count, size) = (u64::from(fields.u32()?), fields.u32()?);
    let sum = fields.u32()?;
    if let Some(field) = header.get_mut(16..20) {
        field.fill(0);
    }
    if length != 92 || crc32fast::hash(&header) != said {
        return Err(wrong("its checksum is wrong"));
    }
    if count > MOST || !(128..=4096).contains(&size) {
        return Err(wrong("a table of a size that none has"));
    }
    let size = usize::try_from(size).unwrap_or_default();
    let whole = usize::try_from(count)
        .unwrap_or_default()
        .saturating_mul(size);
    let entries = bytes.read(entries.saturating_mul(sector), whole)?;
    if crc32fast::hash(&entries) != sum {
        return Err(wrong("the checksum of its table is wrong"));
    }
    let mut ranges = Vec::new();
    for (number, entry) in (1_u32..).zip(entries.chunks(size)) {
        let mut fields = Fields::little(entry);
        if fields.take(16)?.iter().all(|byte| *byte == 0) {
            continue;
        }
        fields.take(16)?;
        let (first, last) = (fields.u64()?, fields.u64()?);
        fields.u64()?;
        let units: Vec<u16> = fields
            .take(72)?
            .chunks_exact(2)
            .map(|it| Fields::little(it).u16().unwrap_or_default())
            .take_while(|unit| *unit != 0)
            .collect();
        let name = String::from_utf16_lossy(&units);
        let name = match name.replace(char::is_control, "") {
            name if name.is_empty() => format!("partition {number}"),
            name => format!("partition {number} ({name})"),
        };
        let sectors = last.checked_sub(first).and_then(|it| it.checked_add(1));
        let sectors = sectors.ok_or_else(|| wrong("a partition that ends before it begins"))?;
        ranges.push(Range {
            name,
            at: first.saturating_mul(sector),
            length: sectors.saturating_mul(sector),
            program: false,
        });
    }
    Ok(ranges)
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("GPT: {why}"))
}
