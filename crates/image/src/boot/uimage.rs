//! Images of old U-Boot (its `include/image.h`, `legacy_img_hdr`), with both checksums.

use stockade_controls::engine::Unseen;

use crate::compress::{Method, stream};
use crate::fields::Fields;
use crate::format::{Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The magic.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"\x27\x05\x19\x56")];

const HEADER: u64 = 64;
/// Types that run; 4 is several files in one.
const STANDALONE: u8 = 1;
const KERNEL: u8 = 2;
const MULTI: u8 = 4;
const FIRMWARE: u8 = 5;
const SCRIPT: u8 = 6;
const KERNEL_ANYWHERE: u8 = 14;

/// Names of the numbers that are met (`IH_OS_*`, `IH_ARCH_*`, `IH_TYPE_*`).
type Names = &'static [(u8, &'static str)];
const SYSTEMS: Names = &[(5, "linux"), (17, "u-boot"), (25, "arm-trusted-firmware")];
const MACHINES: Names = &[
    (2, "arm"),
    (3, "x86"),
    (5, "mips"),
    (6, "mips64"),
    (7, "ppc"),
    (22, "arm64"),
    (24, "x86_64"),
    (26, "riscv"),
];
const TYPES: Names = &[
    (STANDALONE, "standalone"),
    (KERNEL, "kernel"),
    (3, "ramdisk"),
    (MULTI, "multi"),
    (FIRMWARE, "firmware"),
    (SCRIPT, "script"),
    (7, "filesystem"),
    (8, "flat_dt"),
    (KERNEL_ANYWHERE, "kernel_noload"),
];

fn named(names: Names, number: u8) -> String {
    let found = names.iter().find(|(it, _)| *it == number);
    found.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// Reads one.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let mut header = bytes.read(0, 64)?;
    let mut fields = Fields::big(&header);
    fields.take(4)?;
    let said = fields.u32()?;
    fields.u32()?;
    let size = u64::from(fields.u32()?);
    fields.take(8)?;
    let sum = fields.u32()?;
    let (system, machine) = (fields.u8()?, fields.u8()?);
    let (kind, packing) = (fields.u8()?, fields.u8()?);
    let name = fields.take(32)?.split(|byte| *byte == 0).next();
    let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
    if let Some(field) = header.get_mut(4..8) {
        field.fill(0);
    }
    if crc32fast::hash(&header) != said {
        return Err(wrong("its header's checksum is wrong"));
    }
    let data = bytes.part(HEADER, size)?;
    if crc32fast::hash(&data.all(meter.limits().longest)?) != sum {
        return Err(wrong("its checksum is wrong"));
    }
    let notes = vec![
        ("name".to_owned(), name.replace(char::is_control, "")),
        ("operating system".to_owned(), named(SYSTEMS, system)),
        ("architecture".to_owned(), named(MACHINES, machine)),
        ("type".to_owned(), named(TYPES, kind)),
        (
            "signature".to_owned(),
            "none: the format has none".to_owned(),
        ),
    ];
    let pieces = if kind == MULTI {
        several(&data)?
    } else {
        // A script is never packed, whatever the header says (U-Boot's `image_source_script`); mkimage says gzip.
        let packing = if kind == SCRIPT { 0 } else { packing };
        let data = unpacked(packing, data, meter)?;
        let runs = [STANDALONE, KERNEL, FIRMWARE, SCRIPT, KERNEL_ANYWHERE].contains(&kind);
        vec![if runs {
            Piece::program("", data)
        } else {
            Piece::new("", data)
        }]
    };
    Ok(Opened {
        content: Inside::Pieces(pieces),
        length: Some(HEADER.saturating_add(size)),
        notes,
    })
}

/// Lengths, a zero, then the files, each on a place that is a multiple of four. The first is the kernel.
fn several(data: &Bytes) -> Result<Vec<Piece>, Unseen> {
    const MOST: u64 = 32;
    let mut lengths = Vec::new();
    let mut at = 0;
    loop {
        let length = Fields::big(&data.read(at, 4)?).u32()?;
        at = at.saturating_add(4);
        if length == 0 {
            break;
        }
        if at > MOST * 4 {
            return Err(wrong("more files than any has"));
        }
        lengths.push(u64::from(length));
    }
    let mut pieces = Vec::new();
    for (number, length) in lengths.into_iter().enumerate() {
        let name = format!("file {number}");
        let content = data.part(at, length)?;
        pieces.push(if number == 0 {
            Piece::program(name, content)
        } else {
            Piece::new(name, content)
        });
        let end = at.saturating_add(length);
        at = end.checked_next_multiple_of(4).unwrap_or(u64::MAX);
    }
    Ok(pieces)
}

/// By U-Boot's number of the compression (`IH_COMP_*`).
fn unpacked(packing: u8, data: Bytes, meter: &Meter) -> Result<Bytes, Unseen> {
    let name = match packing {
        0 => "none",
        1 => "gzip",
        2 => "bzip2",
        3 => "lzma",
        4 => "lzo",
        5 => "lz4",
        6 => "zstd",
        _ => return Err(wrong("a compression that is not read")),
    };
    by_name(name, data, meter)
}

/// By the name of the compression, as U-Boot's newer images have it.
pub(super) fn by_name(name: &str, data: Bytes, meter: &Meter) -> Result<Bytes, Unseen> {
    let method = match name {
        "none" => return Ok(data),
        "gzip" => Method::Gzip,
        "bzip2" => Method::Bzip2,
        "lzma" => Method::Lzma,
        "lz4" if data.some(0, 4)? == b"\x02\x21\x4c\x18" => Method::Lz4Legacy,
        "lz4" => Method::Lz4Frame,
        "zstd" => Method::Zstd,
        "lzo" => return crate::streams::lzop_content(&data, meter),
        _ => return Err(wrong("a compression that is not read")),
    };
    let (made, _) = stream(method, &data, meter.limits().longest, meter)?;
    Ok(Bytes::memory(made))
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("U-Boot image: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn a_script_is_read_as_it_stands_whatever_its_header_says_of_compression() {
        let script = b"\0\0\0\x08\0\0\0\0echo hi\n";
        let mut image = vec![0x27, 0x05, 0x19, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16];
        image.extend([0; 8]);
        image.extend(crc32fast::hash(script).to_be_bytes());
        image.extend([5, 2, SCRIPT, 1]);
        image.extend([0; 32]);
        let sum = crc32fast::hash(&image).to_be_bytes();
        image[4..8].copy_from_slice(&sum);
        image.extend(script);
        let opened = open(&Bytes::memory(image), &Meter::new(Limits::default())).expect("a script");
        let Inside::Pieces(pieces) = opened.content else {
            panic!("the script is in it");
        };
        assert_eq!(pieces[0].bytes.all(100).expect("it is short"), script);
    }
}
