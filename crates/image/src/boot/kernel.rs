//! Kernels of Linux: of PCs (`Documentation/arch/x86/boot.rst`), of ARM in both widths (`Documentation/arch/arm64/booting.rst`), and
//! those that unpack themselves from EFI. What is packed in them is unpacked, as rules read its configuration.

use stockade_controls::engine::Unseen;

use super::pe::Header;
use super::uimage::by_name;
use crate::compress::wide;
use crate::fields::Fields;
use crate::format::{FORMATS, Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The magics.
pub(crate) const BZIMAGE: &[(u64, &[u8])] = &[(0x202, b"HdrS")];
pub(crate) const ZIMAGE: &[(u64, &[u8])] = &[(0x24, b"\x18\x28\x6f\x01")];
pub(crate) const ARM64: &[(u64, &[u8])] = &[(0x38, b"ARM\x64")];
pub(crate) const ZBOOT: &[(u64, &[u8])] = &[(4, b"zimg")];
pub(crate) const ELF: &[(u64, &[u8])] = &[(0, b"\x7fELF")];

fn note(key: &str, value: impl Into<String>) -> (String, String) {
    (key.to_owned(), value.into())
}

/// A kernel of a PC.
pub(crate) fn bzimage(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let header = bytes.read(0x1f1, 0x60)?;
    let mut fields = Fields::little(&header);
    let sectors = u64::from(fields.u8()?);
    fields.u16()?;
    let paragraphs = u64::from(fields.u32()?);
    fields.take(6)?;
    if fields.u16()? != 0xaa55 {
        return Err(wrong("no boot sector"));
    }
    fields.take(6)?;
    let protocol = fields.u16()?;
    fields.take(6)?;
    let version = u64::from(fields.u16()?);
    let sectors = if sectors == 0 { 4 } else { sectors };
    let setup = sectors.saturating_add(1).saturating_mul(512);
    if !(0x0208..0x0300).contains(&protocol) {
        return Err(wrong("a boot protocol that is not read"));
    }
    let place = bytes.read(0x248, 8)?;
    let mut fields = Fields::little(&place);
    let (at, length) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let packed = bytes.part(setup.saturating_add(at), length)?;
    let text = bytes.some(version.saturating_add(0x200), 256)?;
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text).replace(char::is_control, "");
    let mut whole = setup.saturating_add(paragraphs.saturating_mul(16));
    let mut notes = vec![note("architecture", "x86"), note("version", text)];
    // For EFI it is a program, and may be signed.
    if let Ok(header) = Header::read(bytes) {
        let (signature, end) = header.signature();
        notes.push(signature);
        whole = whole.max(end);
    }
    Ok(Opened {
        content: Inside::Pieces(vec![Piece::program("kernel", unpacked(&packed, meter)?)]),
        length: Some(whole.min(bytes.length())),
        notes,
    })
}

/// A kernel of 32-bit ARM: the packed one lies somewhere behind the code that unpacks it.
pub(crate) fn zimage(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let header = bytes.read(0x28, 8)?;
    let mut fields = Fields::little(&header);
    let (start, end) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let length = end.checked_sub(start).filter(|it| *it > 0x30);
    let whole = bytes.part(0, length.ok_or_else(|| wrong("it ends before it begins"))?)?;
    let text = whole.all(meter.limits().longest)?;
    let magics: [&[u8]; 7] = [
        b"\x1f\x8b\x08",
        b"\xfd7zXZ\0",
        b"\x89LZO\0",
        b"\x02\x21\x4c\x18",
        b"\x28\xb5\x2f\xfd",
        b"BZh",
        b"\x5d\0\0",
    ];
    for magic in magics {
        for at in memchr::memmem::find_iter(&text, magic).take(64) {
            let Ok(kernel) = unpacked(&whole.from(wide(at))?, meter) else {
                continue;
            };
            // Tables of the unpacking code look like streams, too.
            if kernel.length() > whole.length() {
                return Ok(Opened {
                    content: Inside::Pieces(vec![Piece::program("kernel", kernel)]),
                    length: Some(whole.length()),
                    notes: vec![note("architecture", "arm")],
                });
            }
        }
    }
    Err(wrong("nothing that is packed is found in it"))
}

/// A kernel of 64-bit ARM, which is not packed.
pub(crate) fn arm64(bytes: &Bytes, _: &Meter) -> Result<Opened, Unseen> {
    let header = bytes.read(8, 48)?;
    let mut fields = Fields::little(&header);
    let (offset, size) = (fields.u64()?, fields.u64()?);
    fields.u64()?;
    let reserved = fields.take(24)?.iter().any(|byte| *byte != 0);
    if size == 0 || offset > 2 << 20 || reserved {
        return Err(wrong("a header that is not read"));
    }
    Ok(Opened {
        content: Inside::Program,
        // What it needs in memory: more than there is in the file.
        length: Some(size.min(bytes.length())),
        notes: vec![note("architecture", "arm64")],
    })
}

/// A kernel that EFI starts and that unpacks itself (`drivers/firmware/efi/libstub/zboot-header.S`).
pub(crate) fn zboot(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let header = bytes.read(0, 56)?;
    let mut fields = Fields::little(&header);
    if fields.take(2)? != b"MZ" {
        return Err(wrong("not a program of EFI"));
    }
    fields.take(6)?;
    let (at, length) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    fields.take(8)?;
    let name = fields.take(32)?.split(|byte| *byte == 0).next();
    let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
    let packed = bytes.part(at, length)?;
    let kernel = match name.as_str() {
        "gzip" | "lzma" | "lzo" | "zstd" | "lz4" => by_name(&name, packed, meter)?,
        _ => unpacked(&packed, meter)?,
    };
    Ok(Opened {
        content: Inside::Pieces(vec![Piece::program("kernel", kernel)]),
        length: Some(bytes.length()),
        notes: vec![note("compression", name)],
    })
}

/// A program of its own: `vmlinux`, a boot loader.
#[expect(clippy::unnecessary_wraps, reason = "the shape of the table")]
pub(crate) fn elf(bytes: &Bytes, _: &Meter) -> Result<Opened, Unseen> {
    Ok(Opened {
        content: Inside::Program,
        length: Some(bytes.length()),
        notes: Vec::new(),
    })
}

/// What is packed in some way, by its magic; what is not packed stays.
fn unpacked(packed: &Bytes, meter: &Meter) -> Result<Bytes, Unseen> {
    for format in FORMATS.iter().filter(|it| it.stream() && it.begins(packed)) {
        if let Inside::Pieces(mut pieces) = (format.open)(packed, meter)?.content
            && let Some(piece) = pieces.pop()
        {
            return Ok(piece.bytes);
        }
    }
    if packed.some(0, 4)? == b"\x7fELF" {
        return Ok(packed.clone());
    }
    Err(wrong("a compression that is not known"))
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("kernel: {why}"))
}
