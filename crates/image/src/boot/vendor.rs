//! Headers that vendors of routers put before a kernel and a file system: TRX, and both of TP-Link's (as `OpenWrt`'s
//! `firmware-utils` writes them).

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::format::{Inside, Opened, Range, covered};
use crate::{Bytes, Meter};

/// The magics.
pub(crate) const TRX: &[(u64, &[u8])] = &[(0, b"HDR0")];
pub(crate) const TPLINK: &[(u64, &[u8])] = &[
    (0, b"\x01\0\0\0TP-LINK"),
    (0, b"\x02\0\0\0TP-LINK"),
    (0, b"\x02\0\0\0ver. "),
    (0, b"\x03\0\0\0TP-LINK"),
    (0, b"\x03\0\0\0ver. "),
];

/// Broadcom's TRX: a checksum over all behind it, and where its three or four parts begin.
pub(crate) fn trx(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let fixed = bytes.read(0, 32)?;
    let mut fields = Fields::little(&fixed);
    fields.take(4)?;
    let length = u64::from(fields.u32()?);
    let said = fields.u32()?;
    fields.u16()?;
    let count = if fields.u16()? >= 2 { 4_u64 } else { 3 };
    let whole = bytes.part(0, length)?;
    let behind = whole.from(12)?.all(meter.limits().longest)?;
    // Theirs is not inverted at the end.
    if !crc32fast::hash(&behind) != said {
        return Err(wrong("TRX: its checksum is wrong"));
    }
    let mut starts = Vec::new();
    for _ in 0..count {
        let start = u64::from(fields.u32()?);
        if start >= length {
            return Err(wrong("TRX: a part outside of it"));
        }
        if start > 0 {
            starts.push(start);
        }
    }
    starts.sort_unstable();
    let mut ranges = vec![header(count.saturating_mul(4).saturating_add(16))];
    for (number, start) in starts.iter().enumerate() {
        let next = starts.get(number.saturating_add(1)).copied();
        ranges.push(Range {
            name: format!("part {number}"),
            at: *start,
            length: next.unwrap_or(length).saturating_sub(*start),
            program: false,
        });
    }
    Ok(opened(bytes, length, ranges, Vec::new()))
}

/// TP-Link's header of 512 bytes; where a kernel and a file system are, and a boot loader if it has one.
pub(crate) fn tplink(bytes: &Bytes, _: &Meter) -> Result<Opened, Unseen> {
    let fixed = bytes.read(0, 512)?;
    let old = fixed.first() == Some(&1);
    let (vendor, places) = if old { (4..64, 124) } else { (4..52, 112) };
    let mut fields = Fields::big(fixed.get(places..).unwrap_or_default());
    let length = u64::from(fields.u32()?);
    let mut ranges = vec![header(512)];
    for name in ["kernel", "file system", "boot loader"] {
        let (at, size) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        if size > 0 {
            // The header's own place counts, or does not, by the tool that wrote it.
            bytes.part(at, size)?;
            ranges.push(Range {
                name: name.to_owned(),
                at,
                length: size,
                program: name == "boot loader",
            });
        }
    }
    if length < 512 || length > bytes.length() {
        return Err(wrong("TP-Link: a length that it has not"));
    }
    let text = fixed.get(vendor).unwrap_or_default();
    let text: Vec<_> = text.split(|byte| *byte == 0).collect();
    let text = String::from_utf8_lossy(&text.join(&b' ')).trim().to_owned();
    let notes = vec![("version".to_owned(), text.replace(char::is_control, ""))];
    Ok(opened(bytes, length, ranges, notes))
}

fn header(length: u64) -> Range {
    Range {
        name: "header".to_owned(),
        at: 0,
        length,
        program: true,
    }
}

/// All but the header.
fn opened(bytes: &Bytes, length: u64, ranges: Vec<Range>, notes: Vec<(String, String)>) -> Opened {
    let mut pieces = covered(bytes, length, ranges);
    pieces.remove(0);
    Opened {
        content: Inside::Pieces(pieces),
        length: Some(length),
        notes,
    }
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(why.to_owned())
}
